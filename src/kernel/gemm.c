/* gemm.c: the GEMM driver: splits work over threads, blocks it for the caches, packs run-time B, calls epilogues.
 *
 * Order of the loops in a thread: product, run of packed panels, block of rows, tile (group of panels), block of k, panel,
 * strip of MR rows. A block of rows of A stays in L2 over a tile; a block of a panel stays near L1 over the strips. A is read
 * where it lies, rows a multiple of 4 KiB apart included: copying it measured slower at every k from 1,024 to 16,384. Where
 * products take A as words of the weights' format, a block of rows is made into words once, before its tiles. */
#include "kernel/kernel_int.h"

enum {
  ROWS_MAX = 128,       /* rows of a tile */
  TILE_FLOATS = 24576,  /* largest tile */
  TILE_COLUMNS = 768,   /* widest tile */
  K_BLOCK = 384,        /* rows of B at a time, when there are rows of A enough to come back to them; sums of sums err less, too */
  A_WORDS = 256 << 10,  /* A as words at a time */
  K_BLOCK_ROWS = 32,    /* fewer rows than this: panels are read once, straight through */
  B_FLOATS = 128 << 10, /* run-time B packed at a time */
  W_BLOCK = 256,        /* values of k of a panel that are unpacked at a time: a multiple of every group */
  NEAR = 1024,          /* floats of B to prefetch ahead when there is one strip */
};

/* How one product is cut; the same for all threads. */
typedef struct gemm_plan {
  const ty_products *by;
  bool words;      /* A is made words, in scratch */
  bool finish;     /* sums are integers that become floats */
  int64_t rows;    /* of a block, at most */
  int64_t unit;    /* words of a column in a row of B */
  int64_t kr;      /* rows of B */
  int64_t pr;      /* words of a column of a panel, scales included */
  int64_t kc;      /* a block of them */
  int64_t group;   /* panels of a tile, at most */
  int64_t b_chunk; /* panels of run-time B packed at a time; 0: packed already */
  int64_t tile_at, a_at, b_at, w_at, bytes;
} gemm_plan;

static gemm_plan gemm_plan_make(const ty_kernels *ks, const ty_gemm *g) {
  gemm_plan p = {.by = ty_products_get(ks, g->format), .unit = ty_format_unit(g->format), .pr = ty_format_rows(g->format, g->k)};
  p.kr = kernel_ceil(g->k, ty_formats[g->format].per);
  int64_t panels = kernel_max(1, ty_packed_b_panels(ks->nr, g->n)), k = kernel_max(1, p.kr), most = ROWS_MAX;
  int64_t block = K_BLOCK / p.unit;
  p.words = g->bytes || p.by->words;
  p.finish = p.by->finish && !g->bytes;
  if (p.words) most = kernel_max(ks->mr, kernel_min(most, A_WORDS / (k * p.unit)));
  p.rows = kernel_max(ks->mr, kernel_min(most / ks->mr * ks->mr, kernel_up(g->m, ks->mr)));
  p.kc = k;
  if (g->m >= K_BLOCK_ROWS && k > block) p.kc = kernel_up(kernel_ceil(k, kernel_ceil(k, block)), 16);
  p.group = kernel_max(1, kernel_min(panels, kernel_min(TILE_COLUMNS, TILE_FLOATS / p.rows) / ks->nr));
  if (g->b_strided) p.b_chunk = kernel_min(panels, kernel_max(1, B_FLOATS / (k * p.unit * ks->nr)));
  int64_t at = 0;
  p.tile_at = at, at += kernel_up(p.rows * p.group * ks->nr, 16);
  p.a_at = at, at += p.words ? kernel_up(p.rows * p.pr, 16) : 0;
  p.b_at = at, at += p.b_chunk * k * p.unit * ks->nr;
  p.w_at = at, at += p.by->unpack ? W_BLOCK * ks->nr : 0;
  p.bytes = at * (int64_t)sizeof(float);
  return p;
}

size_t ty_gemm_f32_scratch(const ty_kernels *ks, const ty_gemm *g) { return (size_t)gemm_plan_make(ks, g).bytes; }

/* Threads form a grid: tm parts of the rows times nt/tm parts of the line of all panels of all products. The grid that costs least is
 * taken, in cycles by a rough model: multiply-adds; B, which each block of rows reads again; A, which comes from other threads' caches,
 * of as many products as a part of the line touches. Making rows of A into bytes costs what one and a half panels do. */
static int64_t gemm_row_parts(const ty_kernels *ks, const ty_gemm *g, int64_t line, int nt) {
  int64_t strips = kernel_ceil(g->m, ks->mr), panels = ty_packed_b_panels(ks->nr, g->n), best = 1, most = strips;
  double least = 0, k = (double)g->k, per_a = 1, per_b = g->b_strided ? 1 : 0.25;
  if (!g->bytes && ty_products_get(ks, g->format)->finish) per_a = 1.5 * ks->nr / (2 * ks->lanes), most = kernel_max(1, strips * ks->mr / K_BLOCK_ROWS);
  for (int64_t tm = 1; tm <= nt && tm <= most; tm++) {
    int64_t rows = kernel_ceil(strips, tm) * ks->mr, units = kernel_ceil(line, nt / tm), products = kernel_ceil(units, panels);
    double m = (double)rows, n = (double)(units == line ? g->batch * g->heads * kernel_up(g->n, ks->lanes) : units * ks->nr);
    double cost = (m * n / (2 * ks->lanes) + (double)kernel_ceil(rows, ROWS_MAX) * n * per_b + m * (double)products * per_a) * k;
    if (tm == 1 || cost < least) best = tm, least = cost;
  }
  return best;
}

static void gemm_copy(int64_t m, int64_t n, const float *src, int64_t ls, float *dst, int64_t ld) {
  for (int64_t i = 0; i < m; i++) memcpy(dst + i * ld, src + i * ls, (size_t)n * sizeof *dst);
}

/* Packed B from the tier's panel `first` on; its own panels have nr columns, a multiple of the tier's. */
typedef struct gemm_packed { const float *p; int64_t nr, first; } gemm_packed;

/* Where the tier's panel q lies: its rows are those of the wider panel, b.nr columns apart. unit: words of a column in a row. */
static const float *gemm_panel(const ty_kernels *ks, gemm_packed b, int64_t pr, int64_t unit, int64_t q) {
  int64_t at = (q - b.first) * ks->nr;
  return b.p + at / b.nr * b.nr * pr + at % b.nr * unit;
}

/* A row of bytes (two, where two stand together; second NULL: zeros) as words. */
static void gemm_bytes(const gemm_plan *p, int64_t k, const uint8_t *a, const uint8_t *second, uint8_t *to) {
  int64_t all = p->kr * p->unit * 4, chunk = p->by->pairs ? p->unit * 4 : all, rows = p->by->pairs ? 2 : 1;
  for (int64_t at = 0; at < all; at += chunk)
    for (int64_t r = 0; r < rows; r++, to += chunk) {
      const uint8_t *from = r ? second : a;
      int64_t n = from ? kernel_min(chunk, k - at) : 0;
      if (n > 0) memcpy(to, from + at, (size_t)n);
      if (n < chunk) memset(to + kernel_max(0, n), 0, (size_t)(chunk - kernel_max(0, n)));
      for (int64_t i = 0; i < chunk && p->by->less; i++) to[i] ^= 128;
    }
}

/* Adds what bytes with `less` taken off have left out, to sums of 32 bits: that times the sums of columns. */
static void gemm_more(int64_t m, int64_t n, const float *sums, int less, float *c, int64_t ldc) {
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      uint32_t sum, have;
      memcpy(&sum, sums + j, sizeof sum), memcpy(&have, c + i * ldc + j, sizeof have);
      have += sum * (uint32_t)less;
      memcpy(c + i * ldc + j, &have, sizeof have);
    }
}

/* One tile: rows [0, m) of a against panels [p0, p1) of b, into c (row stride ldc). wide: c has room for whole
 * panels; else the last panel's columns beyond n are left alone, by way of `spill` (room for m rows of a panel).
 * after: what will be read when the tile is done. */
static void gemm_tile(const ty_kernels *ks, const gemm_plan *p, int64_t m, int64_t n, int64_t values, const float *a, int64_t lda,
                      gemm_packed b, int64_t p0, int64_t p1, float *c, int64_t ldc, bool wide, float *spill, const float *after) {
  int64_t strips = kernel_ceil(m, ks->mr), nr = ks->nr, ldb = b.nr * p->unit, k = p->kr, per = p->by->words ? p->unit : ty_formats[p->by->format].per;
  int64_t together = p->by->pairs ? 2 : 1; /* rows of A */
  for (int64_t k0 = 0; k0 < k; k0 += p->kc) {
    int64_t kb = kernel_min(p->kc, k - k0), ka = p->by->words ? kb * per : kernel_min(kb * per, values - k0 * per);
    for (int64_t q = p0; q < p1; q++) {
      int64_t w = kernel_min(nr, n - q * nr), nv = kernel_ceil(w, ks->lanes);
      const float *bq = gemm_panel(ks, b, p->pr, p->unit, q) + k0 * ldb;
      float *cq = c + (q - p0) * nr;
      int64_t ld = ldc;
      const float *then = q + 1 < p1 ? gemm_panel(ks, b, p->pr, p->unit, q + 1) + k0 * ldb : k0 + kb < k ? gemm_panel(ks, b, p->pr, p->unit, p0) + (k0 + kb) * ldb : after;
      /* The strips share the prefetching of the block that comes next, so that memory is read evenly; one strip alone reads a
       * little ahead of itself, straight through. */
      int64_t each = kb * ldb * (int64_t)sizeof *bq / strips, step = ldb * (int64_t)sizeof *bq / strips;
      const char *ahead = (const char *)(strips == 1 ? bq + NEAR : then);
      if (!wide && w < nv * ks->lanes) cq = spill, ld = nr;
      for (int64_t s = 0, m0 = 0; s < strips; s++) {
        int64_t m1 = kernel_min(m, kernel_share(kernel_ceil(m, together), s + 1, strips) * together);
        p->by->gemm[nv - 1][m1 - m0 - 1](ka, a + m0 * lda + k0 * per * together, lda, bq, ldb, cq + m0 * ld, ld, k0 > 0, ahead + s * each, step);
        m0 = m1;
      }
      if (p->finish && k0 + kb == k)
        p->by->finish(m, (int)nv, a + k * p->unit * together, lda, gemm_panel(ks, b, p->pr, 1, q) + k * ldb, b.nr, cq, ld);
      else if (p->words && p->by->less && k0 + kb == k) gemm_more(m, nv * ks->lanes, gemm_panel(ks, b, p->pr, 1, q) + k * ldb + b.nr, p->by->less, cq, ld);
    }
  }
  int64_t w = n - (p1 - 1) * nr;
  if (!wide && w < nr && w % ks->lanes) gemm_copy(m, w, spill, nr, c + (p1 - 1 - p0) * nr, ldc);
}

/* The same for weights of few bits that float32 multiplies: for a few rows in registers, else a block of a panel is unpacked first. */
static void gemm_tile_unpacked(const ty_kernels *ks, const gemm_plan *p, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, gemm_packed b,
                               int64_t p0, int64_t p1, float *c, int64_t ldc, bool wide, float *spill, float *room) {
  const ty_format_info *f = &ty_formats[p->by->format];
  int64_t strips = kernel_ceil(m, ks->mr), nr = ks->nr, ldb = b.nr, group = f->group ? f->group : kernel_up(k, f->per);
  for (int64_t q = p0; q < p1; q++) {
    int64_t w = kernel_min(nr, n - q * nr), nv = kernel_ceil(w, ks->lanes), ld = ldc;
    const float *bq = gemm_panel(ks, b, p->pr, 1, q);
    float *cq = c + (q - p0) * nr;
    bool spills = !wide && w < nv * ks->lanes;
    if (spills) cq = spill, ld = nr;
    ty_gemm_few_fn few = m <= TY_FEW ? p->by->few[nv - 1][m - 1] : NULL;
    if (few) few(k, group, a, lda, bq, ldb, cq, ld);
    for (int64_t k0 = 0; !few && k0 < k; k0 += W_BLOCK) {
      int64_t kb = kernel_min(W_BLOCK, k - k0), at = k0 / f->per + (f->group ? k0 / f->group : 0);
      p->by->unpack(kb, group, bq + at * ldb, ldb, bq + (f->group ? at + group / f->per : group / f->per) * ldb, (int)nr, room);
      for (int64_t s = 0, m0 = 0; s < strips; s++) {
        int64_t m1 = kernel_share(m, s + 1, strips);
        ks->f32->gemm[nv - 1][m1 - m0 - 1](kb, a + m0 * lda + k0, lda, room, nr, cq + m0 * ld, ld, k0 > 0, (const char *)room, 0);
        m0 = m1;
      }
    }
    if (spills) gemm_copy(m, w, spill, nr, c + (q - p0) * nr, ldc);
  }
}

/* Panels [p0, p1) of product (i, j), rows [r0, r1), in blocks of rows and tiles. after: as in gemm_tile. */
static void gemm_run(const ty_kernels *ks, const ty_gemm *g, const gemm_plan *p, int tid, int64_t i, int64_t j, int64_t r0,
                     int64_t r1, gemm_packed b, int64_t p0, int64_t p1, const float *after, float *scratch) {
  int64_t nr = ks->nr, batch = i * g->heads + j;
  int64_t blocks = kernel_ceil(r1 - r0, p->rows), step = kernel_up(kernel_ceil(r1 - r0, blocks), ks->mr);
  int64_t tiles = kernel_ceil(p1 - p0, p->group);
  float *tile = scratch + p->tile_at;
  for (int64_t m0 = r0; m0 < r1; m0 += step) {
    int64_t m1 = kernel_min(m0 + step, r1), lda = g->lda;
    int64_t at = i * g->a_batch + j * g->a_head + m0 * lda, together = p->by->pairs ? 2 : 1;
    const float *a = g->bytes ? (const float *)(const void *)((const uint8_t *)g->a + at) : g->a + at;
    if (g->bytes && !p->by->pairs && !p->by->less && g->k % (4 * p->unit) == 0 && lda % 4 == 0 && (uintptr_t)a % 4 == 0) lda /= 4; /* words as they lie */
    else if (p->words && g->k) {
      for (int64_t r = 0; r < m1 - m0; r += together) {
        float *to = scratch + p->a_at + r * p->pr;
        bool two = together == 2 && r + 1 < m1 - m0;
        if (!g->bytes) p->by->words(g->k, a + r * lda, two ? a + (r + 1) * lda : NULL, to);
        else gemm_bytes(p, g->k, (const uint8_t *)a + r * lda, two ? (const uint8_t *)a + (r + 1) * lda : NULL, (uint8_t *)to);
      }
      a = scratch + p->a_at, lda = p->pr;
    }
    for (int64_t t = 0; t < tiles; t++) {
      int64_t q0 = p0 + kernel_share(p1 - p0, t, tiles), q1 = p0 + kernel_share(p1 - p0, t + 1, tiles);
      int64_t n0 = q0 * nr, n1 = kernel_min(q1 * nr, g->n), ldt = (q1 - q0) * nr;
      const float *then = q1 < p1 ? gemm_panel(ks, b, p->pr, p->unit, q1) : m1 < r1 ? gemm_panel(ks, b, p->pr, p->unit, p0) : after;
      float *c = g->epi ? tile : g->c + i * g->c_batch + j * g->c_head + m0 * g->ldc + n0;
      int64_t ldc = g->epi ? ldt : g->ldc;
      if (g->k == 0)
        for (int64_t r = 0; r < m1 - m0; r++) memset(c + r * ldc, 0, (size_t)(n1 - n0) * sizeof *c);
      else if (p->by->unpack)
        gemm_tile_unpacked(ks, p, m1 - m0, g->n, g->k, a, lda, b, q0, q1, c, ldc, g->epi != NULL, tile, scratch + p->w_at);
      else gemm_tile(ks, p, m1 - m0, g->n, g->k, a, lda, b, q0, q1, c, ldc, g->epi != NULL, tile, then);
      if (g->epi) g->epi(g->epi_ctx, tid, batch, m0, m1, n0, n1, tile, ldt);
    }
  }
}

/* A thread's share: rows [r0, r1) of the units [u0, u1) on the line of panels; r0 == r1: nothing. */
typedef struct gemm_share { int64_t r0, r1, u0, u1; } gemm_share;

static gemm_share gemm_share_of(const ty_kernels *ks, const ty_gemm *g, int tid, int nt) {
  gemm_share s = {0};
  int64_t line = ty_packed_b_panels(ks->nr, g->n) * g->batch * g->heads, strips = kernel_ceil(g->m, ks->mr);
  if (line <= 0 || g->m <= 0) return s;
  int64_t tm = gemm_row_parts(ks, g, line, nt), tn = nt / tm;
  if (tid >= tm * tn) return s;
  s.r0 = kernel_share(strips, tid / tn, tm) * ks->mr, s.r1 = kernel_min(g->m, kernel_share(strips, tid / tn + 1, tm) * ks->mr);
  s.u0 = kernel_share(line, tid % tn, tn), s.u1 = kernel_share(line, tid % tn + 1, tn);
  return s;
}

static gemm_packed gemm_b(const ty_kernels *ks, const ty_gemm *g, int64_t batch) { /* packed b of a product */
  return (gemm_packed){g->b + batch / g->heads * g->b_batch + batch % g->heads * g->b_head, g->b_nr ? g->b_nr : ks->nr, 0};
}
static const float *gemm_unit(const ty_kernels *ks, const ty_gemm *g, int64_t u) { /* its panel */
  int64_t panels = ty_packed_b_panels(ks->nr, g->n);
  return gemm_panel(ks, gemm_b(ks, g, u / panels), ty_format_rows(g->format, g->k), ty_format_unit(g->format), u % panels);
}

void ty_gemm_f32(const ty_kernels *ks, const ty_gemm *g, int tid, int nt, void *scratch) {
  gemm_share s = gemm_share_of(ks, g, tid, nt);
  if (s.r0 >= s.r1 || s.u0 >= s.u1) return;
  gemm_plan p = gemm_plan_make(ks, g);
  int64_t panels = ty_packed_b_panels(ks->nr, g->n);
  float *packed = (float *)scratch + p.b_at;
  const float *last = NULL; /* where the run-time panels in `packed` came from, and how many they are */
  int64_t last_n = 0;
  for (int64_t u = s.u0; u < s.u1;) {
    int64_t batch = u / panels, p0 = u - batch * panels, p1 = kernel_min(panels, p0 + s.u1 - u), i = batch / g->heads, j = batch % g->heads;
    u += p1 - p0;
    if (!g->b_strided) {
      const float *after = gemm_unit(ks, g, u - (p1 - p0));
      if (u < s.u1) after = gemm_unit(ks, g, u);
      else if (g->next && !g->next->b_strided) {
        gemm_share n = gemm_share_of(ks, g->next, tid, nt);
        if (n.u0 < n.u1) after = gemm_unit(ks, g->next, n.u0);
      }
      gemm_run(ks, g, &p, tid, i, j, s.r0, s.r1, gemm_b(ks, g, batch), p0, p1, after, scratch);
      continue;
    }
    for (int64_t q0 = p0; q0 < p1; q0 += p.b_chunk) {
      int64_t q1 = kernel_min(q0 + p.b_chunk, p1);
      const float *first = g->b + i * g->b_batch + j * g->b_head + q0 * ks->nr * g->ldn;
      if (first != last || last_n < q1 - q0)
        ty_pack_b(ks, g->format, (int)ks->nr, g->k, g->n - q0 * ks->nr, first, g->ldk, g->ldn, packed, 0, q1 - q0);
      last = first, last_n = q1 - q0;
      gemm_run(ks, g, &p, tid, i, j, s.r0, s.r1, (gemm_packed){packed, ks->nr, q0}, q0, q1, packed, scratch);
    }
  }
}
