/* narrow_tmpl.h: micro-kernels of convolutions with few channels a group, from one body: output channels are lanes, up to MR
 * pixels keep their sums in registers over a window. Depthwise takes two vectors of channels at a time. */

enum { NARROW_BLOCK = 16 }; /* output channels of a block of packed weights */

#define NARROW_SETUP(i) const float *a##i = x + (mr > i ? i : 0) * lda; vf c##i##0 = vf_zero(), c##i##1 = vf_zero(), x##i = vf_zero();
#define NARROW_LOAD(q) (full ? vf_load(q) : vf_loadn(q, n))
#define DEPTH_TAP(i) \
  if (mr > i) { \
    c##i##0 = vf_fma(w0, NARROW_LOAD(a##i + at), c##i##0); \
    if (nv > 1) c##i##1 = vf_fma(w1, vf_load(a##i + at + VF_LANES), c##i##1); \
  }
#define DEPTH_TAP_SOME(i) if (some >> i & 1) DEPTH_TAP(i)
#define NARROW_STORE(i) \
  if (mr > i) { \
    if (full) vf_store(y + i * ldy, c##i##0); \
    else vf_storen(y + i * ldy, c##i##0, out); \
    if (nv > 1) vf_store(y + i * ldy + VF_LANES, c##i##1); \
  }

/* Depthwise, nv vectors of channels from x, w and y; not full: the first n channels of one vector. */
VF_FN void depth_body(const int mr, const int nv, const int full, int n, int64_t taps, const ty_conv_run *restrict run, const float *x, int64_t lda,
                      const float *restrict w, int64_t w_1, float *restrict y, int64_t ldy) {
  const int64_t all = (1 << mr) - 1;
  const int out = n;
  GEMM_ROWS(NARROW_SETUP)
  for (const ty_conv_run *end = run + taps; run < end; run++) {
    int64_t at = run->a, some = run->k;
    const float *r = w + run->b * NARROW_BLOCK;
    vf w0 = vf_load(r), w1 = nv > 1 ? vf_load(r + w_1) : w0;
    if (__builtin_expect(some == all, 1)) { GEMM_ROWS(DEPTH_TAP) }
    else { GEMM_ROWS(DEPTH_TAP_SOME) }
  }
  GEMM_ROWS(NARROW_STORE)
  (void)x0, (void)x1, (void)x2, (void)x3, (void)x4, (void)x5, (void)x6, (void)x7;
}

VF_FN void depth_row(const int mr, const ty_narrow *s, int64_t taps, const ty_conv_run *run, int64_t j0, int64_t j1, const float *x, int64_t lda,
                     const float *w, float *y, int64_t ldy) {
  int64_t j = j0, block = s->window * NARROW_BLOCK, w_1 = (int)VF_LANES < (int)NARROW_BLOCK ? VF_LANES : block;
  for (; j + 2 * VF_LANES <= j1; j += 2 * VF_LANES, y += 2 * VF_LANES)
    depth_body(mr, 2, 1, VF_LANES, taps, run, x + j, lda, w + j / NARROW_BLOCK * block + j % NARROW_BLOCK, w_1, y, ldy);
  for (; j < j1; j += VF_LANES, y += VF_LANES) {
    const float *r = w + j / NARROW_BLOCK * block + j % NARROW_BLOCK;
    if (j + VF_LANES <= j1) depth_body(mr, 1, 1, VF_LANES, taps, run, x + j, lda, r, 0, y, ldy);
    else depth_body(mr, 1, 0, (int)(j1 - j), taps, run, x + j, lda, r, 0, y, ldy);
  }
}

/* Groups: one vector of output channels. permuted: its inputs are lanes of one vector of x, n of them there; else each is one of x. */
#define GROUP_POINT(i) if (mr > i && permuted && some >> i & 1) x##i = NARROW_LOAD(a##i + at);
#define GROUP_TAP(i) if (mr > i) c##i##0 = permuted ? vf_fma(w0, vf_permute(x##i, from), c##i##0) : vf_fma1(vf_load1(a##i + at + q), w0, c##i##0);
#define GROUP_TAP_SOME(i) if (some >> i & 1) GROUP_TAP(i)
VF_FN void group_body(const int mr, const int permuted, const int full, int n, int out, int64_t c, const int32_t *restrict permute, int64_t taps,
                      const ty_conv_run *restrict run, const float *x, int64_t lda, const float *restrict w, float *restrict y, int64_t ldy) {
  const int64_t all = (1 << mr) - 1;
  const int nv = 1;
  GEMM_ROWS(NARROW_SETUP)
  for (const ty_conv_run *end = run + taps; run < end; run++) {
    int64_t at = run->a, some = run->k;
    const float *r = w + run->b * c * NARROW_BLOCK;
    const int32_t *from = permute;
    if (__builtin_expect(some == all, 1)) {
      GEMM_ROWS(GROUP_POINT)
      for (int64_t q = 0; q < c; q++, r += NARROW_BLOCK, from += VF_LANES) {
        vf w0 = vf_load(r);
        GEMM_ROWS(GROUP_TAP)
      }
    } else {
      GEMM_ROWS(GROUP_POINT)
      for (int64_t q = 0; q < c; q++, r += NARROW_BLOCK, from += VF_LANES) {
        vf w0 = vf_load(r);
        GEMM_ROWS(GROUP_TAP_SOME)
      }
    }
  }
  GEMM_ROWS(NARROW_STORE)
  (void)c01, (void)c11, (void)c21, (void)c31, (void)c41, (void)c51, (void)c61, (void)c71;
}

VF_FN void group_row(const int mr, const int permuted, const ty_narrow *s, int64_t taps, const ty_conv_run *run, int64_t j0, int64_t j1,
                     const float *x, int64_t lda, const float *w, float *y, int64_t ldy) {
  int64_t block = s->window * s->c * NARROW_BLOCK, in = s->groups * s->c;
  for (int64_t j = j0; j < j1; j += VF_LANES, y += VF_LANES) {
    const float *r = w + j / NARROW_BLOCK * block + j % NARROW_BLOCK;
    int64_t from = j / s->o * s->c, n = in - from < VF_LANES ? in - from : VF_LANES, out = j1 - j < VF_LANES ? j1 - j : VF_LANES;
    if (out == VF_LANES && (!permuted || n == VF_LANES))
      group_body(mr, permuted, 1, VF_LANES, VF_LANES, s->c, s->permute, taps, run, x + from, lda, r, y, ldy);
    else group_body(mr, permuted, 0, (int)n, (int)out, s->c, s->permute, taps, run, x + from, lda, r, y, ldy);
  }
}

#define NARROW_KERNEL(mr) \
  static void tier_depth_##mr(const ty_narrow *s, int64_t taps, const ty_conv_run *run, int64_t j0, int64_t j1, const float *x, int64_t lda, \
                              const float *w, float *y, int64_t ldy) { depth_row(mr, s, taps, run, j0, j1, x, lda, w, y, ldy); } \
  static void tier_permuted_##mr(const ty_narrow *s, int64_t taps, const ty_conv_run *run, int64_t j0, int64_t j1, const float *x, int64_t lda, \
                                 const float *w, float *y, int64_t ldy) { group_row(mr, 1, s, taps, run, j0, j1, x, lda, w, y, ldy); } \
  static void tier_broadcast_##mr(const ty_narrow *s, int64_t taps, const ty_conv_run *run, int64_t j0, int64_t j1, const float *x, int64_t lda, \
                                  const float *w, float *y, int64_t ldy) { group_row(mr, 0, s, taps, run, j0, j1, x, lda, w, y, ldy); }
#define NARROW_LIST_4(form) tier_##form##_1, tier_##form##_2, tier_##form##_3, tier_##form##_4
NARROW_KERNEL(1) NARROW_KERNEL(2) NARROW_KERNEL(3) NARROW_KERNEL(4)
#if TIER_SHAPE == 83
NARROW_KERNEL(5) NARROW_KERNEL(6) NARROW_KERNEL(7) NARROW_KERNEL(8)
#define NARROW_LIST(form) {NARROW_LIST_4(form), tier_##form##_5, tier_##form##_6, tier_##form##_7, tier_##form##_8}
#elif TIER_SHAPE == 62
NARROW_KERNEL(5) NARROW_KERNEL(6)
#define NARROW_LIST(form) {NARROW_LIST_4(form), tier_##form##_5, tier_##form##_6}
#else
#define NARROW_LIST(form) {NARROW_LIST_4(form)}
#endif
#define TIER_NARROW_TABLE {NARROW_LIST(depth), NARROW_LIST(permuted), NARROW_LIST(broadcast)}
