/* step_bind.c: one step for one tuple of sizes: extents, strides and offsets checked against the buffers, scratch, threads. */
#include "rt/pool.h"
#include "rt/routine.h"

typedef struct sizer {
  ty_program *p;
  ty_ctx *ctx;
  const rt_values *vals;
  const rt_bind *bind;
  rt_bound *b;
  ty_status st;
} sizer;

bool ty_rt_value(const rt_values *v, ty_pexpr e, int64_t *out) {
  *out = v->bad[e] ? 0 : v->v[e];
  return !v->bad[e];
}

#define REFUSE(z, ...) ((z)->st == TY_OK ? (void)((z)->st = ty_fail((z)->ctx, TY_INVALID, __VA_ARGS__)) : (void)0)

static int64_t number(sizer *z, ty_pexpr e, const char *what) {
  int64_t v = 0;
  if (e < 0 || !ty_rt_value(z->vals, e, &v)) {
    if (z->b->step->fold && e >= 0 && z->p->expr.p[e].symbolic) REFUSE(z, "%s: %s of a folded step depends on a symbol", z->b->step->name, what);
    else REFUSE(z, "%s: %s is too large", z->b->step->name, what);
  }
  return v;
}

static int64_t extent(sizer *z, ty_pexpr e, const char *what) {
  int64_t v = number(z, e, what);
  if (v < 0) REFUSE(z, "%s: %s is negative: %lld", z->b->step->name, what, (long long)v);
  return v < 0 ? 0 : v;
}

/* The product of extents must be countable (kernels multiply them); zero when one of them is. */
static int64_t volume(sizer *z, int n, const int64_t *ext) {
  int64_t v = 1;
  bool ok = true;
  for (int i = 0; i < n; i++)
    if (ext[i] == 0) return 0;
  for (int i = 0; i < n; i++) ok = ok && ty_mul_i64(v, ext[i], &v) && v < INT64_MAX / 16;
  if (!ok) REFUSE(z, "%s: its sizes are too large", z->b->step->name);
  return ok ? v : 0;
}

/* Offset of an operand; the furthest element reached must lie inside the buffer. */
static int64_t reach(sizer *z, int ref, int elem, ty_pexpr off_expr, int n, const int64_t *ext, const int64_t *stride, const char *what) {
  const rt_step *s = z->b->step;
  int64_t off = extent(z, off_expr, "an offset"), last = off, step;
  z->b->off[ref] = off;
  for (int i = 0; i < n; i++)
    if (ext[i] == 0) return off;
  bool ok = true;
  for (int i = 0; i < n && ok; i++)
    if (ext[i] > 1) ok = stride[i] >= 0 && ty_mul_i64(ext[i] - 1, stride[i], &step) && ty_add_i64(last, step, &last);
  if (!ok) REFUSE(z, "%s: bad strides of %s", s->name, what);
  int64_t bytes = z->bind->bytes[z->p->ref.p[s->ref0 + ref].buf];
  if (ok && last >= bytes / elem)
    REFUSE(z, "%s: %s reaches element %lld of a buffer of %lld bytes", s->name, what, (long long)last, (long long)bytes);
  return off;
}

static size_t loop_scratch(sizer *z, int64_t cols) {
  const ty_step_loop *l = &z->b->step->loop;
  size_t per = 0;
  if (!ty_mul(l->scratch_per_col, (size_t)cols, &per) || __builtin_add_overflow(per, l->scratch_fixed, &per) || per > SIZE_MAX / 8)
    REFUSE(z, "%s: scratch is too large", z->b->step->name);
  return per;
}

static void loop_pars(sizer *z, ty_arena *mem) {
  const ty_step_loop *l = &z->b->step->loop;
  ty_i64 *par = ty_arena_alloc(mem, (size_t)l->npars * sizeof *par);
  if (!par) {
    z->st = TY_NOMEM;
    return;
  }
  for (int i = 0; i < l->npars; i++) par[i] = number(z, l->pars[i], "a size");
  z->b->par = par;
}

static void bind_loop(sizer *z) {
  rt_bound *b = z->b;
  b->rows = extent(z, b->step->loop.rows, "rows");
  b->cols = extent(z, b->step->loop.cols, "columns");
  int64_t n = volume(z, 2, (int64_t[]){b->rows, b->cols});
  b->scratch = loop_scratch(z, b->cols);
  /* No columns still means a result a row, where the loop reduces over them. */
  b->skip = b->rows == 0 || (b->cols == 0 && !b->step->loop.whole_cols);
  if (b->flops < 0) b->flops = (double)n * 4;
}

static void bind_gemm(sizer *z) {
  rt_bound *b = z->b;
  const ty_step_gemm *g = &b->step->u.gemm;
  int64_t m = extent(z, g->m, "m"), n = extent(z, g->n, "n"), k = extent(z, g->k, "k");
  int64_t b0 = extent(z, g->batch[0], "batch"), b1 = extent(z, g->batch[1], "batch");
  int64_t out = volume(z, 4, (int64_t[]){b0, b1, m, n}), work = volume(z, 5, (int64_t[]){b0, b1, m, n, k});
  int elem = g->f64 ? 8 : 4;
  int64_t lda = number(z, g->lda, "lda"), a0 = number(z, g->a_batch[0], "a stride"), a1 = number(z, g->a_batch[1], "a stride");
  int64_t ldk = 0, ldn = 0, bb0 = 0, bb1 = 0, ldc = 0, c0 = 0, c1 = 0;
  if (out) reach(z, GEMM_A, g->bytes ? 1 : elem, g->a_off, 4, (int64_t[]){b0, b1, m, k}, (int64_t[]){a0, a1, lda, 1}, "A");
  if (g->packed) {
    int64_t padded = 0, floats = 0;
    bool ok = ty_add_i64(n, z->p->panel, &padded) && ty_mul_i64(padded, k, &floats);
    if (!ok) REFUSE(z, "%s: its sizes are too large", b->step->name);
    else if (out && k) reach(z, GEMM_B, 4, g->b_off, 1, (int64_t[]){ty_packed_b_words(g->format, z->p->panel, k, n)}, (int64_t[]){1}, "packed B");
  } else {
    ldk = number(z, g->ldk, "ldk"), ldn = number(z, g->ldn, "ldn");
    bb0 = number(z, g->b_batch[0], "b stride"), bb1 = number(z, g->b_batch[1], "b stride");
    if (out) reach(z, GEMM_B, elem, g->b_off, 4, (int64_t[]){b0, b1, k, n}, (int64_t[]){bb0, bb1, ldk, ldn}, "B");
  }
  if (!b->step->has_loop) {
    ldc = number(z, g->ldc, "ldc"), c0 = number(z, g->c_batch[0], "c stride"), c1 = number(z, g->c_batch[1], "c stride");
    if (out) reach(z, GEMM_C, elem, g->c_off, 4, (int64_t[]){b0, b1, m, n}, (int64_t[]){c0, c1, ldc, 1}, "C");
  }
  b->skip = out == 0;
  b->rows = m, b->cols = n;
  if (b->flops < 0) b->flops = 2.0 * (double)work;
  if (z->st != TY_OK || b->skip) return;
  if (g->f64) {
    b->u.gemm64 = (ty_gemm64){.batch = b0, .heads = b1, .m = m, .n = n, .k = k, .a_m = lda, .a_k = 1, .a_batch = a0, .a_head = a1,
                              .b_k = ldk, .b_n = ldn, .b_batch = bb0, .b_head = bb1, .c_m = ldc, .c_n = 1, .c_batch = c0, .c_head = c1};
    return;
  }
  b->u.gemm = (ty_gemm){.batch = b0, .heads = b1, .m = m, .n = n, .k = k, .lda = lda, .a_batch = a0, .a_head = a1, .b_batch = bb0,
                        .b_head = bb1, .format = g->format, .bytes = g->bytes, .b_nr = z->p->panel, .b_strided = !g->packed, .ldk = ldk, .ldn = ldn, .ldc = ldc, .c_batch = c0, .c_head = c1};
  b->scratch = b->loop_scratch_at = rt_up(ty_gemm_f32_scratch(z->p->kernels, &b->u.gemm), RT_ALIGN);
  if (b->step->has_loop) b->scratch += loop_scratch(z, n);
}

static void bind_attn(sizer *z) {
  rt_bound *b = z->b;
  const ty_step_attn *a = &b->step->u.attn;
  ty_attn *t = &b->u.attn;
  *t = (ty_attn){.b = extent(z, a->batch, "batch"), .hq = extent(z, a->heads, "heads"), .hkv = extent(z, a->kv_heads, "key heads"),
                 .sq = extent(z, a->sq, "queries"), .sk = extent(z, a->sk, "keys"), .d = extent(z, a->d, "head size"),
                 .dv = extent(z, a->dv, "value size"), .causal = a->causal, .empty_nan = a->empty_nan, .format = a->format, .scale = (float)a->scale};
  int64_t st[4][4], ms[4] = {0}, bs[4] = {0};
  for (int i = 0; i < 4; i++) {
    for (int j = 0; j < 3; j++) st[i][j] = number(z, a->stride[i][j], "a stride");
    st[i][3] = 1;
    if (a->mask >= 0) ms[i] = number(z, a->mask_stride[i], "a mask stride");
    if (a->bias >= 0) bs[i] = number(z, a->bias_stride[i], "a bias stride");
  }
  if (t->hq && (t->hkv == 0 || t->hq % t->hkv)) REFUSE(z, "%s: %lld heads on %lld key heads", b->step->name, (long long)t->hq, (long long)t->hkv);
  int64_t out = volume(z, 4, (int64_t[]){t->b, t->hq, t->sq, t->dv});
  int64_t scores = volume(z, 6, (int64_t[]){t->b, t->hq, t->sq, t->sk, 1, t->d + t->dv});
  if ((b->skip = out == 0)) return;
  bool keys = t->sk > 0;
  reach(z, ATTN_O, 4, a->off[3], 4, (int64_t[]){t->b, t->hq, t->sq, t->dv}, st[3], "the output");
  if (keys) {
    reach(z, ATTN_Q, 4, a->off[0], 4, (int64_t[]){t->b, t->hq, t->sq, t->d}, st[0], "the queries");
    reach(z, ATTN_K, 4, a->off[1], 4, (int64_t[]){t->b, t->hkv, t->sk, t->d}, st[1], "the keys");
    reach(z, ATTN_V, 4, a->off[2], 4, (int64_t[]){t->b, t->hkv, t->sk, t->dv}, st[2], "the values");
    int64_t ext[4] = {t->b, t->hq, t->sq, t->sk};
    if (a->mask >= 0) reach(z, ATTN_MASK, a->mask_is_bool ? 1 : 4, a->mask_off, 4, ext, ms, "the mask");
    if (a->bias >= 0) reach(z, ATTN_BIAS, 4, a->bias_off, 4, ext, bs, "the bias");
  }
  t->q_b = st[0][0], t->q_h = st[0][1], t->q_s = st[0][2];
  t->k_b = st[1][0], t->k_h = st[1][1], t->k_s = st[1][2];
  t->v_b = st[2][0], t->v_h = st[2][1], t->v_s = st[2][2];
  t->o_b = st[3][0], t->o_h = st[3][1], t->o_s = st[3][2];
  t->mask_kind = a->mask < 0 ? TY_MASK_NONE : a->mask_is_bool ? TY_MASK_BOOL : TY_MASK_F32;
  t->mask_b = ms[0], t->mask_h = ms[1], t->mask_q = ms[2], t->mask_k = ms[3];
  t->bias_b = bs[0], t->bias_h = bs[1], t->bias_q = bs[2], t->bias_k = bs[3];
  if (b->flops < 0) b->flops = 2.0 * (double)scores;
  if (z->st == TY_OK) b->scratch = ty_attn_f32_scratch(z->p->kernels, t);
}

static void bind_pack(sizer *z) {
  rt_bound *b = z->b;
  const ty_step_pack *k = &b->step->u.pack;
  int64_t ext[2] = {extent(z, k->k, "k"), extent(z, k->n, "n")}, stride[2] = {number(z, k->ldk, "ldk"), number(z, k->ldn, "ldn")};
  int64_t n = volume(z, 2, ext);
  b->skip = n == 0;
  if (b->flops < 0) b->flops = 0;
  if (b->skip) return;
  reach(z, COPY_SRC, 4, k->off, 2, ext, stride, "the matrix");
  int64_t words = ty_packed_b_words(k->format, z->p->panel, ext[0], ext[1]), have = z->bind->bytes[k->dst] / 4;
  if (words > have) REFUSE(z, "%s: %lld packed words in room for %lld", b->step->name, (long long)words, (long long)have);
  b->u.pack.nr = z->p->panel, b->u.pack.k = ext[0], b->u.pack.n = ext[1], b->u.pack.ldk = stride[0], b->u.pack.ldn = stride[1];
}

static void bind_conv(sizer *z) {
  rt_bound *b = z->b;
  const ty_step_conv *c = &b->step->u.conv;
  const ty_conv_shape *s = &c->s;
  ty_conv *t = &b->u.conv;
  *t = (ty_conv){.kind = c->kind, .format = c->format, .s = *s, .b_nr = z->p->panel, .batch = extent(z, c->batch, "batch"), .x_n = number(z, c->x_n, "a stride")};
  for (int i = 0; i < 3; i++) {
    t->in[i] = extent(z, c->in[i], "a size"), t->out[i] = extent(z, c->out[i], "a size");
    t->x_s[i] = number(z, c->x_s[i], "a stride"), t->pad[i] = c->pad[i];
  }
  int64_t channels = s->groups * s->o, rows = volume(z, 4, (int64_t[]){t->batch, t->out[0], t->out[1], t->out[2]});
  int64_t out = volume(z, 2, (int64_t[]){rows, channels}), in = volume(z, 5, (int64_t[]){t->batch, t->in[0], t->in[1], t->in[2], s->groups * s->c});
  int64_t work = volume(z, 5, (int64_t[]){out, s->c, s->k[0], s->k[1], s->k[2]});
  if (in && out) reach(z, CONV_X, 4, c->x_off, 5, (int64_t[]){t->batch, t->in[0], t->in[1], t->in[2], s->groups * s->c}, (int64_t[]){t->x_n, t->x_s[0], t->x_s[1], t->x_s[2], 1}, "the input");
  int64_t words = ty_packed_conv_words(c->format, z->p->panel, c->kind, s), have = z->bind->bytes[c->w] / 4;
  if (out && words > have) REFUSE(z, "%s: a packed weight of %lld words, not %lld", b->step->name, (long long)have, (long long)words);
  if (!b->step->has_loop) {
    t->y_n = number(z, c->y_n, "a stride");
    for (int i = 0; i < 3; i++) t->y_s[i] = number(z, c->y_s[i], "a stride");
    if (out) reach(z, CONV_Y, 4, c->y_off, 5, (int64_t[]){t->batch, t->out[0], t->out[1], t->out[2], channels}, (int64_t[]){t->y_n, t->y_s[0], t->y_s[1], t->y_s[2], 1}, "the result");
  }
  b->skip = out == 0;
  b->rows = rows, b->cols = channels;
  if (b->flops < 0) b->flops = 2.0 * (double)work;
  if (z->st != TY_OK || b->skip) return;
  b->scratch = b->loop_scratch_at = rt_up(ty_conv_f32_scratch(z->p->kernels, t), RT_ALIGN);
  if (b->step->has_loop) b->scratch += loop_scratch(z, channels);
}

static void bind_conv_pack(sizer *z) {
  rt_bound *b = z->b;
  const ty_step_conv_pack *k = &b->step->u.conv_pack;
  const ty_conv_shape *s = &k->s;
  int64_t ext[5] = {s->groups * s->o, s->c, s->k[0], s->k[1], s->k[2]};
  b->u.conv_pack.nr = z->p->panel;
  for (int i = 0; i < 5; i++) b->u.conv_pack.ld[i] = number(z, k->ld[i], "a stride");
  b->skip = volume(z, 5, ext) == 0;
  if (b->flops < 0) b->flops = 0;
  if (b->skip) return;
  reach(z, COPY_SRC, 4, k->off, 5, ext, b->u.conv_pack.ld, "the weight");
  int64_t words = ty_packed_conv_words(k->format, z->p->panel, k->kind, s), have = z->bind->bytes[k->dst] / 4;
  if (words > have) REFUSE(z, "%s: %lld packed words in room for %lld", b->step->name, (long long)words, (long long)have);
}

static void bind_rnn(sizer *z) {
  rt_bound *b = z->b;
  const ty_step_rnn *s = &b->step->u.rnn;
  ty_rnn *r = &b->u.rnn;
  *r = (ty_rnn){.kind = (ty_rnn_kind)s->kind, .t = extent(z, s->t, "time steps"), .b = extent(z, s->b, "batch"), .d = extent(z, s->d, "directions"),
                .h = extent(z, s->h, "hidden size"), .p = extent(z, s->p, "outputs")};
  int64_t gates = ty_rnn_gates(r->kind), up = TY_RNN_BLOCK, blocks = (r->h + up - 1) / up, parts = (r->p + up - 1) / up, last = 0;
  int64_t y = volume(z, 4, (int64_t[]){r->t, r->b, r->d, r->p}), cells = volume(z, 3, (int64_t[]){r->d, r->b, r->h});
  int64_t work = volume(z, 6, (int64_t[]){r->t, r->b, r->d, r->h, r->p, gates});
  bool lstm = r->kind == TY_RNN_LSTM, project = s->whr >= 0;
  if (r->d > 2 || (r->p != r->h && !project)) REFUSE(z, "%s: %lld directions, %lld units, %lld outputs", b->step->name, (long long)r->d, (long long)r->h, (long long)r->p);
  const struct { ty_pbuf buf; int64_t n; const char *what; } ops[] = {
    {s->x, volume(z, 5, (int64_t[]){r->t, r->b, r->d, gates, r->h}), "the input"},
    {s->whh, volume(z, 5, (int64_t[]){r->d, blocks, r->p, gates, up}), "the weights"}, {s->bhh, volume(z, 3, (int64_t[]){r->d, gates, r->h}), "the bias"},
    {s->whr, volume(z, 4, (int64_t[]){r->d, parts, r->h, up}), "the projection"}, {s->h0, volume(z, 3, (int64_t[]){r->d, r->b, r->p}), "the state"},
    {s->c0, cells, "the cell"}, {s->out, ty_add_i64(y, cells * (lstm + project), &last) ? last : INT64_MAX, "the result"},
  };
  for (int i = 0; i < RNN_NREFS; i++)
    if (ops[i].buf >= 0 && ops[i].n > z->bind->bytes[ops[i].buf] / 4) REFUSE(z, "%s: %s needs %lld elements", b->step->name, ops[i].what, (long long)ops[i].n);
  int64_t xn = r->d * gates * r->h, yn = r->d * r->p;
  r->x_b = s->batch_first ? r->t * xn : xn, r->x_t = s->batch_first ? xn : r->b * xn;
  r->y_b = s->batch_first ? r->t * yn : yn, r->y_t = s->batch_first ? yn : r->b * yn;
  b->skip = r->b == 0 || r->d == 0 || (y == 0 && cells == 0);
  if (b->flops < 0) b->flops = 2.0 * (double)work;
}

/* Threads meet at each time step, so either all of the run take part, or one a direction, who need not meet. */
static int rnn_threads(const ty_rnn *r) {
  const double least = 64e3; /* products of a time step that are worth meeting for */
  double step = (double)(r->b * r->d) * (double)(r->h * r->p) * (double)ty_rnn_gates(r->kind);
  return step >= least ? TY_POOL_MAX : step * (double)r->t < 2 * least ? 1 : (int)r->d;
}

static void bind_routine(sizer *z) {
  rt_bound *b = z->b;
  const ty_step_routine *r = &b->step->u.routine;
  ty_routine which = (ty_routine)r->which;
  bool bag = which >= TY_BAG_SUM, sort = which == TY_SORT_UP || which == TY_SORT_DOWN, empty = true;
  int64_t *size = b->u.routine, bytes = 0;
  for (int i = 0; i < 6; i++) size[i] = i < 3 || (bag && i < 5) ? extent(z, r->size[i], "a size") : bag ? number(z, r->size[i], "a size") : 0;
  for (int i = 0; i < 5; i++) {
    ty_pbuf buf = i == ROUTINE_OUT ? r->out : r->in[i];
    if (buf < 0) continue;
    int64_t n = ty_rt_routine_elements(which, size, i), each = ty_dtype_size(ty_rt_routine_dtype(which, r->dtype, i));
    if (n < 0 || n > z->bind->bytes[buf] / each) REFUSE(z, "%s: operand %d has %lld elements, which do not fit", b->step->name, i, (long long)n);
    bytes += n * each;
    if (i == ROUTINE_OUT || i == 2) empty = empty && n == 0; /* rows to scatter where there are none are a fault */
  }
  if ((sort && size[2] > size[1]) || (bag && size[4] != size[3] && size[4] != size[3] + 1)) REFUSE(z, "%s: its sizes do not fit each other", b->step->name);
  b->skip = empty;
  if (z->st != TY_OK) return;
  b->scratch = ty_rt_routine_scratch(which, size);
  if (b->flops < 0) b->flops = ty_rt_routine_work(which, size);
  if (b->bytes < 0) b->bytes = bag ? (double)size[2] * (double)size[1] * (double)ty_dtype_size(r->dtype) : (double)bytes; /* not the whole table */
}

/* Guessed seconds of a step on one thread, for one purpose: how many threads it is worth. */
static double work_of(const rt_bound *b) {
  static const double rate[] = {[RT_LOOP] = 16e9, [RT_GEMM] = 80e9, [RT_ATTN] = 40e9, [RT_PACK] = 16e9, [RT_CONV] = 60e9, [RT_CONV_PACK] = 16e9, [RT_RNN] = 30e9, [RT_ROUTINE] = 8e9};
  const double bytes_rate = 16e9;
  double t = b->flops / (b->step->kind == RT_GEMM && b->step->u.gemm.f64 ? 8e9 : rate[b->step->kind]), tb = b->bytes / bytes_rate;
  return t > tb ? t : tb;
}

/* A thread that joins must have `share` seconds of work: test_program --bench shows two threads ahead from about 1 us of work in all, with
 * the pool awake. */
static int threads_worth(double work) {
  const double share = 0.5e-6;
  double n = work / share;
  return n < 1 ? 1 : n > TY_POOL_MAX ? TY_POOL_MAX : (int)n;
}

ty_status ty_rt_bound_make(ty_program *p, ty_ctx *ctx, const rt_values *vals, rt_bind *bind, rt_bound *b) {
  sizer z = {p, ctx, vals, bind, b, TY_OK};
  const rt_step *s = b->step;
  int64_t v;
  b->flops = s->flops >= 0 && ty_rt_value(vals, s->flops, &v) && v >= 0 ? (double)v : -1;
  b->bytes = s->bytes >= 0 && ty_rt_value(vals, s->bytes, &v) && v >= 0 ? (double)v : -1;
  switch (s->kind) {
  case RT_LOOP: bind_loop(&z); break;
  case RT_GEMM: bind_gemm(&z); break;
  case RT_ATTN: bind_attn(&z); break;
  case RT_PACK: bind_pack(&z); break;
  case RT_CONV: bind_conv(&z); break;
  case RT_CONV_PACK: bind_conv_pack(&z); break;
  case RT_RNN: bind_rnn(&z); break;
  case RT_ROUTINE: bind_routine(&z); break;
  }
  if (z.st == TY_OK && s->has_loop) loop_pars(&z, &bind->mem);
  if (z.st != TY_OK) return z.st == TY_NOMEM ? ty_fail(ctx, TY_NOMEM, "out of memory for the sizes of %s", s->name) : z.st;
  if (b->bytes < 0) {
    b->bytes = 0;
    for (int i = s->ref0; i < s->ref0 + s->nrefs; i++)
      if (p->ref.p[i].buf >= 0) b->bytes += (double)bind->bytes[p->ref.p[i].buf];
  }
  if (b->flops < 0) b->flops = 0;
  b->work = work_of(b);
  b->threads = s->kind == RT_RNN ? rnn_threads(&b->u.rnn) : threads_worth(b->work);
  if (b->skip) b->scratch = 0;
  return TY_OK;
}
