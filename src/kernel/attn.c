/* attn.c: attention by blocks of keys with a running softmax (Milakov and Gimelshein 2018; Dao et al. 2022), on the GEMM kernels.
 *
 * Work is a line of units, ordered (batch, key head, query head of the group, block of query rows); a thread takes a run of it.
 * For each key head it meets, it walks the keys in blocks: packs K (transposed) and V once, then all its rows of that head go
 * through scores, softmax and the product with V. o holds the unfinished sums between blocks of keys.
 *
 * Where the format's products take words, those of Q are made for a unit, those of K and V with their packing (pairs of values of a key,
 * pairs of keys; two words together where the format has it so), those of the weights in place behind the softmax; its sums and o stay
 * float32, and so does what reads K or V in place. */
#include "kernel/kernel_int.h"

enum {
  KEYS = 384,        /* keys of a block: a multiple of every tier's nr */
  ROWS = 32,         /* query rows of a unit, at most: a multiple of 8 */
  FEW_ROWS = 4,      /* up to so many rows of a key head, K is read where it lies by dot products */
  V_IN_PLACE = 16,   /* up to so many rows, V is read where it lies */
};

typedef struct attn_plan {
  const ty_products *by;
  int64_t unit;               /* words of a column that stand together */
  int64_t together;           /* rows of A that do */
  int64_t deep;               /* rows of a panel of K: d, or the words of d values */
  int64_t keys, rows, blocks; /* blocks: of query rows in a head */
  int64_t dvp;                /* dv in whole vectors */
  int64_t ld_s;               /* row stride of scores */
  int64_t k_at, v_at, q_at, s_at, o_at, state_at, bytes; /* k_at: its panels, then rows of a panel as words */
} attn_plan;

/* A single query row per head turns the heads of a group into rows, so that they share K and V. */
static ty_attn attn_fold(const ty_attn *given) {
  ty_attn t = *given;
  if (t.sq != 1) return t;
  int64_t group = t.hq / t.hkv;
  if (t.causal) t.sk = kernel_min(t.sk, 1), t.causal = false;
  if (group == 1) return t;
  t.sq = group, t.hq = t.hkv;
  t.q_s = t.q_h, t.q_h *= group;
  t.o_s = t.o_h, t.o_h *= group;
  t.mask_q = t.mask_h, t.mask_h *= group;
  t.bias_q = t.bias_h, t.bias_h *= group;
  return t;
}

/* The unit shrinks when whole ones would leave a thread with over a tenth more than its even share. Scratch is for nt = 1. */
static attn_plan attn_plan_make(const ty_kernels *ks, const ty_attn *t, int nt) {
  attn_plan p = {.by = ty_products_get(ks, t->format)};
  if (!p.by->words) p.by = ks->f32;
  p.unit = ty_format_unit(p.by->format), p.together = p.by->pairs ? 2 : 1;
  p.deep = ty_format_rows(p.by->format, t->d);
  p.keys = kernel_min(KEYS, kernel_up(kernel_max(1, t->sk), ks->nr));
  p.rows = kernel_max(1, kernel_min(ROWS, t->sq));
  for (;;) {
    p.blocks = kernel_ceil(t->sq, p.rows);
    int64_t units = t->b * t->hq * p.blocks;
    if (p.rows <= 8 || kernel_ceil(units, nt) * nt * 10 <= units * 11) break;
    p.rows = p.rows > 16 ? 16 : 8;
  }
  p.dvp = kernel_up(kernel_max(1, t->dv), ks->lanes);
  p.ld_s = p.keys + ks->lanes;
  int64_t at = 0;
  p.k_at = at, at += kernel_up((p.keys + (p.by->words ? ks->nr : 0)) * p.deep, 16);
  p.v_at = at, at += kernel_up(p.keys * p.dvp, 16);
  p.q_at = at, at += p.by->words ? kernel_up(ROWS * p.deep, 16) : 0;
  p.s_at = at, at += kernel_up(kernel_min(ROWS, kernel_max(1, t->sq)) * p.ld_s, 16);
  p.o_at = at, at += kernel_up(8 * p.dvp, 16);
  p.state_at = at, at += kernel_up(2 * (t->hq / kernel_max(1, t->hkv)) * t->sq, 16);
  p.bytes = at * (int64_t)sizeof(float);
  return p;
}

size_t ty_attn_f32_scratch(const ty_kernels *ks, const ty_attn *given) {
  ty_attn t = attn_fold(given);
  return (size_t)attn_plan_make(ks, &t, 1).bytes;
}

/* Where the a-th of the strips of m rows begins: whole pairs, where rows stand in pairs. */
static int64_t attn_strip(const attn_plan *p, int64_t m, int64_t a, int64_t strips) {
  return kernel_min(m, kernel_share(kernel_ceil(m, p->together), a, strips) * p->together);
}

/* m rows of k values as words, one by one or two together; `to` may be a. */
static void attn_words(const attn_plan *p, int64_t m, int64_t k, const float *a, int64_t lda, float *to, int64_t ld) {
  for (int64_t i = 0; i < m; i += p->together) p->by->words(k, a + i * lda, p->together == 2 && i + 1 < m ? a + (i + 1) * lda : NULL, to + i * ld);
}

/* rows x columns product of a with b in scratch or in place; columns in even runs of up to nr. */
static void attn_product(const ty_kernels *ks, const ty_products *by, int64_t m, int64_t columns, int64_t k, const float *a, int64_t lda, const float *b,
                         int64_t ldb, float *c, int64_t ldc, int accumulate) {
  int64_t unit = ty_format_unit(by->format), vectors = kernel_ceil(columns, ks->lanes), runs = kernel_ceil(vectors, ks->nr / ks->lanes);
  for (int64_t r = 0; r < runs; r++) {
    int64_t v0 = kernel_share(vectors, r, runs), nv = kernel_share(vectors, r + 1, runs) - v0, at = v0 * ks->lanes;
    by->gemm[nv - 1][m - 1](k, a, lda, b + at * unit, ldb, c + at, ldc, accumulate, (const char *)b, 0);
  }
}

/* The keys that query rows [i0, i1) of a unit see within block [j0, j0 + n). */
static int64_t attn_seen(const ty_attn *t, int64_t i, int64_t j0, int64_t n) {
  return t->causal ? kernel_max(0, kernel_min(n, i + 1 - j0)) : n;
}

typedef struct attn_block { /* what the rows of one key head share for one block of keys */
  int64_t b, j0, n;
  const float *k; int64_t k_s; /* in place, when kp is NULL */
  const float *kp;             /* panels */
  const float *v; int64_t v_s;
  bool words;                  /* v holds pairs of keys */
  bool first, last;
} attn_block;

/* Scores of rows [i0, i1) of head h: raw dot products to s. */
static void attn_scores(const ty_kernels *ks, const ty_attn *t, const attn_plan *p, const attn_block *x, int64_t h, int64_t i0,
                        int64_t i1, float *s, float *room) {
  const float *q = t->q + x->b * t->q_b + h * t->q_h + i0 * t->q_s;
  int64_t m = i1 - i0, n = attn_seen(t, i1 - 1, x->j0, x->n), lda = t->q_s;
  if (!x->kp) {
    for (int64_t i = 0; i < m; i++) ks->dot_rows(n, t->d, q + i * t->q_s, x->k, x->k_s, s + i * p->ld_s);
    return;
  }
  if (p->by->words) {
    attn_words(p, m, t->d, q, t->q_s, room, p->deep);
    q = room, lda = p->deep;
  }
  int64_t strips = kernel_ceil(m, ks->mr);
  for (int64_t j = 0; j < n; j += ks->nr) {
    int64_t nv = kernel_ceil(kernel_min(ks->nr, n - j), ks->lanes);
    for (int64_t a = 0, r0 = 0; a < strips; a++) {
      int64_t r1 = attn_strip(p, m, a + 1, strips);
      p->by->gemm[nv - 1][r1 - r0 - 1](p->deep, q + r0 * lda, lda, x->kp + j * p->deep, ks->nr * p->unit, s + r0 * p->ld_s + j, p->ld_s, 0,
                                       (const char *)x->kp, 0);
      r0 = r1;
    }
  }
}

static float attn_softmax(const ty_kernels *ks, const ty_attn *t, const attn_block *x, int64_t h, int64_t i, int64_t n, float *s,
                          float *state) {
  ty_score_row add = {0};
  int64_t at = x->b * t->mask_b + h * t->mask_h + i * t->mask_q + x->j0 * t->mask_k;
  if (t->mask_kind == TY_MASK_F32) add.mask = (const float *)t->mask + at, add.mask_k = t->mask_k;
  if (t->mask_kind == TY_MASK_BOOL) add.keep = (const uint8_t *)t->mask + at, add.keep_k = t->mask_k;
  if (t->bias) add.bias = t->bias + x->b * t->bias_b + h * t->bias_h + i * t->bias_q + x->j0 * t->bias_k, add.bias_k = t->bias_k;
  return ks->softmax_row(n, s, t->scale, add.mask || add.keep || add.bias ? &add : NULL, state, state + 1);
}

/* One unit against one block of keys. state: running (max, sum) of each row. */
static void attn_unit(const ty_kernels *ks, const ty_attn *t, const attn_plan *p, const attn_block *x, int64_t h, int64_t i0,
                      int64_t i1, float *state, float *scratch) {
  float *s = scratch + p->s_at, *spill = scratch + p->o_at;
  float *o = t->o + x->b * t->o_b + h * t->o_h + i0 * t->o_s;
  int64_t m = i1 - i0, strips = kernel_ceil(m, ks->mr), seen = attn_seen(t, i1 - 1, x->j0, x->n);
  bool direct = p->dvp == t->dv;
  const ty_products *by = x->words ? p->by : ks->f32;
  if (seen > 0) attn_scores(ks, t, p, x, h, i0, i1, s, scratch + p->q_at);
  for (int64_t a = 0, r0 = 0; a < strips; a++) {
    int64_t r1 = attn_strip(p, m, a + 1, strips), deep = attn_seen(t, i0 + r1 - 1, x->j0, x->n);
    for (int64_t r = r0; r < r1; r++) {
      int64_t n = attn_seen(t, i0 + r, x->j0, x->n);
      float *sr = s + r * p->ld_s, shrink = 1.0f;
      if (n > 0) shrink = attn_softmax(ks, t, x, h, i0 + r, n, sr, state + 2 * r);
      for (int64_t j = n; j < deep; j++) sr[j] = 0.0f;
      if (!x->first && shrink != 1.0f) ks->scale(t->dv, o + r * t->o_s, shrink);
    }
    float *os = o + r0 * t->o_s;
    if (x->words) {
      attn_words(p, r1 - r0, deep, s + r0 * p->ld_s, p->ld_s, s + r0 * p->ld_s, p->ld_s);
      deep = ty_format_rows(by->format, deep);
    }
    if (deep > 0 && direct) {
      attn_product(ks, by, r1 - r0, t->dv, deep, s + r0 * p->ld_s, p->ld_s, x->v, x->v_s, os, t->o_s, !x->first);
    } else if (deep > 0) {
      attn_product(ks, by, r1 - r0, t->dv, deep, s + r0 * p->ld_s, p->ld_s, x->v, x->v_s, spill, p->dvp, 0);
      for (int64_t r = 0; r < r1 - r0; r++)
        for (int64_t d = 0; d < t->dv; d++) os[r * t->o_s + d] = (x->first ? 0.0f : os[r * t->o_s + d]) + spill[r * p->dvp + d];
    } else if (x->first) {
      for (int64_t r = r0; r < r1; r++) memset(o + r * t->o_s, 0, (size_t)t->dv * sizeof *o);
    }
    if (x->last)
      for (int64_t r = r0; r < r1; r++) {
        float sum = state[2 * r + 1];
        ks->scale(t->dv, o + r * t->o_s, sum == 0.0f && !t->empty_nan ? 0.0f : 1.0f / sum);
      }
    r0 = r1;
  }
}

/* Panels of K, through rows of words, which are transposed as floats are; two rows of pairs hold the bits that stand together in turn. */
static void attn_pack_k(const ty_kernels *ks, const ty_attn *t, const attn_plan *p, const attn_block *x, float *kp) {
  int64_t nr = ks->nr, panels = ty_packed_b_panels((int)nr, x->n);
  if (!p->by->words) {
    ks->pack_b((int)nr, t->d, x->n, x->k, 1, x->k_s, kp, 0, panels);
    return;
  }
  float *rows = kp + p->keys * p->deep;
  for (int64_t q = 0; q < panels; q++, kp += nr * p->deep) {
    int64_t n = kernel_min(nr, x->n - q * nr);
    const float *k = x->k + q * nr * x->k_s;
    if (p->together == 1) {
      attn_words(p, n, t->d, k, x->k_s, rows, p->deep);
      ks->pack_b((int)nr, p->deep, n, rows, 1, p->deep, kp, 0, 1);
      continue;
    }
    for (int64_t i = 0; i < nr; i += 2) {
      if (i < n) attn_words(p, kernel_min(2, n - i), t->d, k + i * x->k_s, x->k_s, rows, p->deep);
      else memset(rows, 0, (size_t)(2 * p->deep) * sizeof *rows);
      for (int64_t r = 0; r < p->deep; r += 2) memcpy(kp + r * nr + 2 * i, rows + 2 * r, 4 * sizeof *rows);
    }
  }
}

/* Rows of V, or words of two of them, dvp apart; or such words of four of them, in turn. room: 3 dvp floats. */
static void attn_pack_v(const ty_kernels *ks, const ty_attn *t, const attn_plan *p, const attn_block *x, float *vp, float *room) {
  int64_t per = x->words ? 2 * p->unit : 1;
  float *some = room + p->dvp; /* after zeros, for rows that there are none of */
  if (x->words) memset(room, 0, (size_t)p->dvp * sizeof *room);
  for (int64_t j = 0; j < x->n; j += per, vp += p->dvp * p->unit) {
    const float *v = x->v + j * x->v_s, *row[4];
    for (int64_t r = 0; r < per; r++) row[r] = j + r < x->n ? v + r * x->v_s : room;
    float *to = p->unit == 2 ? some : vp;
    for (int64_t r = 0; r < per; r += 2, to += p->dvp) {
      if (x->words) ks->pair(t->dv, row[r], row[r + 1], to);
      else memcpy(to, v, (size_t)t->dv * sizeof *to);
      for (int64_t d = t->dv; d < p->dvp; d++) to[d] = 0.0f;
    }
    for (int64_t d = 0; d < p->dvp && p->unit == 2; d++) vp[2 * d] = some[d], vp[2 * d + 1] = some[p->dvp + d];
  }
}

/* Units [u0, u1) of key head (b, hk), counted from the first of that head. */
static void attn_head(const ty_kernels *ks, const ty_attn *t, const attn_plan *p, int64_t b, int64_t hk, int64_t u0, int64_t u1,
                      float *scratch) {
  int64_t group = t->hq / t->hkv, rows = 0, deepest = 0;
  for (int64_t u = u0; u < u1; u++) {
    int64_t i0 = u % p->blocks * p->rows, i1 = kernel_min(i0 + p->rows, t->sq);
    rows += i1 - i0, deepest = kernel_max(deepest, i1);
  }
  int64_t sk = t->causal ? kernel_min(t->sk, deepest) : t->sk;
  float *state = scratch + p->state_at, *kp = scratch + p->k_at, *vp = scratch + p->v_at;
  for (int64_t i = 0; i < rows; i++) state[2 * i] = -__builtin_inff(), state[2 * i + 1] = 0.0f;
  for (int64_t j0 = 0; j0 < sk || j0 == 0; j0 += p->keys) {
    attn_block x = {.b = b, .j0 = j0, .n = kernel_min(p->keys, sk - j0), .first = j0 == 0, .last = j0 + p->keys >= sk};
    x.k = t->k + b * t->k_b + hk * t->k_h + j0 * t->k_s, x.k_s = t->k_s;
    x.v = t->v + b * t->v_b + hk * t->v_h + j0 * t->v_s, x.v_s = t->v_s;
    if (rows > FEW_ROWS) attn_pack_k(ks, t, p, &x, kp), x.kp = kp;
    if (rows > V_IN_PLACE || p->dvp != t->dv) {
      x.words = p->by->words != NULL;
      attn_pack_v(ks, t, p, &x, vp, scratch + p->o_at);
      x.v = vp, x.v_s = p->dvp * p->unit;
    }
    float *st = state;
    for (int64_t u = u0; u < u1; u++) {
      int64_t i0 = u % p->blocks * p->rows, i1 = kernel_min(i0 + p->rows, t->sq);
      attn_unit(ks, t, p, &x, hk * group + u / p->blocks, i0, i1, st, scratch);
      st += 2 * (i1 - i0);
    }
  }
}

/* Where share `part` of nt begins on the line of units. Causal units weigh as many keys as their last row sees. */
static int64_t attn_cut(const ty_attn *t, const attn_plan *p, int part, int nt) {
  int64_t heads = t->b * t->hq;
  if (!t->causal) return kernel_share(heads * p->blocks, part, nt);
  int64_t whole = 0, in = 0;
  for (int64_t u = 0; u < p->blocks; u++) whole += kernel_min(t->sk, kernel_min((u + 1) * p->rows, t->sq));
  if (whole == 0) return kernel_share(heads * p->blocks, part, nt);
  int64_t target = kernel_share(heads * whole, part, nt), head = target / whole, u = 0;
  for (target -= head * whole; u < p->blocks; u++) {
    int64_t w = kernel_min(t->sk, kernel_min((u + 1) * p->rows, t->sq));
    if (in + w / 2 >= target) break;
    in += w;
  }
  return head * p->blocks + u;
}

void ty_attn_f32(const ty_kernels *ks, const ty_attn *given, int tid, int nt, void *scratch) {
  ty_attn t = attn_fold(given);
  if (t.b <= 0 || t.hq <= 0 || t.sq <= 0 || t.dv <= 0) return;
  attn_plan p = attn_plan_make(ks, &t, nt);
  int64_t u = attn_cut(&t, &p, tid, nt), end = attn_cut(&t, &p, tid + 1, nt), units = t.hq / t.hkv * p.blocks;
  while (u < end) {
    int64_t head = u / units, first = u - head * units, last = kernel_min(units, first + end - u);
    attn_head(ks, &t, &p, head / t.hkv, head % t.hkv, first, last, scratch);
    u += last - first;
  }
}
