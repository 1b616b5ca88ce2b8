/* step.c: one thread's part of one step: splits loops over rows or columns, sets the kernels' pointers, runs epilogues on tiles. */
#include "rt/pool.h"
#include "rt/routine.h"

enum { COLUMN_GRAIN = 64 };

/* Rows are split where that is even enough; else columns, in multiples of COLUMN_GRAIN. Shares are contiguous. */
static bool by_rows(int64_t rows, int64_t cols, bool whole_cols, int nt) {
  int64_t grains = (cols + COLUMN_GRAIN - 1) / COLUMN_GRAIN;
  if (whole_cols || grains < 2 || rows % nt == 0 || rows >= 16 * nt) return true;
  /* The longest share as a part of the whole. */
  double r = (double)((rows + nt - 1) / nt) / (double)rows, c = (double)((grains + nt - 1) / nt) * COLUMN_GRAIN / (double)cols;
  return r <= c * 1.05;
}

static void do_loop(const rt_bound *b, ty_kargs *ka, int tid, int nt) {
  ty_loop_fn fn = atomic_load_explicit(&b->step->fn, memory_order_acquire);
  int64_t r0 = 0, r1 = b->rows, c0 = 0, c1 = b->cols;
  if (nt > 1) {
    if (by_rows(r1, c1, b->step->loop.whole_cols, nt)) r0 = rt_share(r1, tid, nt), r1 = rt_share(r1, tid + 1, nt);
    else {
      int64_t grains = (c1 + COLUMN_GRAIN - 1) / COLUMN_GRAIN, end = rt_share(grains, tid + 1, nt) * COLUMN_GRAIN;
      c0 = rt_share(grains, tid, nt) * COLUMN_GRAIN;
      if (end < c1) c1 = end;
    }
  }
  if (r0 < r1 && (c0 < c1 || b->cols == 0)) fn(ka, r0, r1, c0, c1);
}

void ty_rt_epilogue(void *ctx, int tid, int64_t batch, int64_t m0, int64_t m1, int64_t n0, int64_t n1, const float *acc, int64_t ldacc) {
  rt_epilogue *e = ctx;
  int64_t row = e->first + batch * e->m;
  (void)tid;
  e->ka.acc = acc;
  e->ka.acc_ld = ldacc;
  e->fn(&e->ka, row + m0, row + m1, n0, n1);
}

static void do_gemm(const ty_kernels *ks, const rt_bound *b, void *const *all, void *const *ptr, ty_kargs *ka, void *scratch, int tid, int nt) {
  if (b->step->u.gemm.f64) {
    ty_gemm64 g = b->u.gemm64;
    g.a = (const double *)ptr[GEMM_A] + b->off[GEMM_A];
    g.b = (const double *)ptr[GEMM_B] + b->off[GEMM_B];
    g.c = (double *)ptr[GEMM_C] + b->off[GEMM_C];
    ty_gemm_f64(&g, tid, nt);
    return;
  }
  ty_gemm g = b->u.gemm, next;
  rt_epilogue e = {.m = g.m};
  g.a = (const float *)(const void *)((const char *)ptr[GEMM_A] + b->off[GEMM_A] * (g.bytes ? 1 : 4));
  g.b = (const float *)ptr[GEMM_B] + b->off[GEMM_B];
  if (b->step->has_loop) {
    e.ka = *ka;
    e.ka.buf = ptr + GEMM_EPI;
    e.ka.scratch = (char *)scratch + b->loop_scratch_at;
    e.fn = atomic_load_explicit(&b->step->fn, memory_order_acquire);
    g.epi = ty_rt_epilogue, g.epi_ctx = &e;
  } else g.c = (float *)ptr[GEMM_C] + b->off[GEMM_C];
  if (b->next_gemm) {
    next = b->next_gemm->u.gemm;
    next.b = all[b->next_gemm->step->ref0 + GEMM_B];
    g.next = &next;
  }
  ty_gemm_f32(ks, &g, tid, nt, scratch);
}

static void do_attn(const ty_kernels *ks, const rt_bound *b, void *const *ptr, void *scratch, int tid, int nt) {
  ty_attn t = b->u.attn;
  t.q = (const float *)ptr[ATTN_Q] + b->off[ATTN_Q];
  t.k = (const float *)ptr[ATTN_K] + b->off[ATTN_K];
  t.v = (const float *)ptr[ATTN_V] + b->off[ATTN_V];
  t.o = (float *)ptr[ATTN_O] + b->off[ATTN_O];
  if (t.mask_kind) t.mask = (const char *)ptr[ATTN_MASK] + b->off[ATTN_MASK] * (t.mask_kind == TY_MASK_BOOL ? 1 : 4);
  if (ptr[ATTN_BIAS]) t.bias = (const float *)ptr[ATTN_BIAS] + b->off[ATTN_BIAS];
  ty_attn_f32(ks, &t, tid, nt, scratch);
}

static void add_up(_Atomic double *to, double more) {
  double was = atomic_load(to);
  while (!atomic_compare_exchange_weak(to, &was, was + more)) {}
}

static void do_pack(const ty_kernels *ks, const rt_bound *b, void *const *ptr, int tid, int nt) {
  int64_t panels = ty_packed_b_panels(b->u.pack.nr, b->u.pack.n), p0 = rt_share(panels, tid, nt), p1 = rt_share(panels, tid + 1, nt);
  const float *src = (const float *)ptr[COPY_SRC] + b->off[COPY_SRC];
  ty_format format = b->step->u.pack.format;
  if (p0 >= p1) return;
  ty_pack_b(ks, format, b->u.pack.nr, b->u.pack.k, b->u.pack.n, src, b->u.pack.ldk, b->u.pack.ldn, ptr[COPY_DST], p0, p1);
  if (ty_formats[format].bits > 8) return;
  double sums[2] = {0};
  rt_step *s = (rt_step *)(uintptr_t)b->step; /* figures are no part of what a program is */
  ty_packed_b_error(ks, format, b->u.pack.nr, b->u.pack.k, b->u.pack.n, src, b->u.pack.ldk, b->u.pack.ldn, ptr[COPY_DST], p0, p1, sums);
  add_up(&s->changed, sums[0]);
  add_up(&s->size, sums[1]);
}

static void do_conv(const ty_kernels *ks, const rt_bound *b, void *const *ptr, ty_kargs *ka, void *scratch, int tid, int nt) {
  ty_conv c = b->u.conv;
  rt_epilogue e = {0};
  c.x = (const float *)ptr[CONV_X] + b->off[CONV_X];
  c.b = ptr[CONV_W];
  if (b->step->has_loop) {
    e.ka = *ka;
    e.ka.buf = ptr + CONV_EPI;
    e.ka.scratch = (char *)scratch + b->loop_scratch_at;
    e.fn = atomic_load_explicit(&b->step->fn, memory_order_acquire);
    c.epi = ty_rt_epilogue, c.epi_ctx = &e;
  } else c.y = (float *)ptr[CONV_Y] + b->off[CONV_Y];
  ty_conv_f32(ks, &c, tid, nt, scratch);
}

static void do_conv_pack(const rt_bound *b, void *const *ptr, int tid, int nt) {
  const ty_step_conv_pack *k = &b->step->u.conv_pack;
  ty_pack_conv(k->format, b->u.conv_pack.nr, k->kind, &k->s, (const float *)ptr[COPY_SRC] + b->off[COPY_SRC], b->u.conv_pack.ld, ptr[COPY_DST], tid, nt);
}

static void do_rnn(const ty_kernels *ks, const rt_bound *b, void *const *ptr, int tid, int nt) {
  ty_rnn r = b->u.rnn;
  r.x = ptr[RNN_X], r.whh = ptr[RNN_WHH], r.bhh = ptr[RNN_BHH], r.whr = ptr[RNN_WHR], r.h0 = ptr[RNN_H0], r.c0 = ptr[RNN_C0];
  r.y = ptr[RNN_OUT];
  float *after = r.y + r.t * r.b * r.d * r.p;
  if (r.kind == TY_RNN_LSTM) r.c = after;
  if (r.whr) r.m = after + r.d * r.b * r.h;
  ty_rnn_f32(ks, &r, tid, nt, ty_pool_barrier);
}

static void do_routine(const ty_kernels *ks, const rt_bound *b, void *const *ptr, void *scratch, ty_i32 *fault, int tid, int nt) {
  rt_routine r = {.which = (ty_routine)b->step->u.routine.which, .dtype = b->step->u.routine.dtype, .out = ptr[ROUTINE_OUT], .scratch = scratch, .kernels = ks, .fault = fault};
  for (int i = 0; i < 4; i++) r.in[i] = ptr[i];
  for (int i = 0; i < 6; i++) r.size[i] = b->u.routine[i];
  ty_rt_routine_do(&r, tid, nt);
}

void ty_rt_step_do(const ty_kernels *ks, const rt_bound *b, void *const *ptr, void *scratch, int tid, int nt, ty_i32 *fault) {
  const rt_step *s = b->step;
  ty_kargs ka = {.par = b->par, .scratch = scratch, .fault = fault, .self = s->loop.self};
  void *const *all = ptr;
  ka.buf = ptr += s->ref0;
  switch (s->kind) {
  case RT_LOOP: do_loop(b, &ka, tid, nt); break;
  case RT_GEMM: do_gemm(ks, b, all, ptr, &ka, scratch, tid, nt); break;
  case RT_ATTN: do_attn(ks, b, ptr, scratch, tid, nt); break;
  case RT_PACK: do_pack(ks, b, ptr, tid, nt); break;
  case RT_CONV: do_conv(ks, b, ptr, &ka, scratch, tid, nt); break;
  case RT_CONV_PACK: do_conv_pack(b, ptr, tid, nt); break;
  case RT_RNN: do_rnn(ks, b, ptr, tid, nt); break;
  case RT_ROUTINE: do_routine(ks, b, ptr, scratch, fault, tid, nt); break;
  }
}
