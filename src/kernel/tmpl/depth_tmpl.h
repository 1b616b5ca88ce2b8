/* depth_tmpl.h: depthwise micro-kernels for windows of 3, 5 and 7 columns and strides of 1 and 2, from one body: a column of the
 * image is loaded once for each row of the window and goes to all the pixels whose windows cover it. */

#define DEPTH_WEIGHT(t) ((t) == 0 ? w0 : (t) == 1 ? w1 : (t) == 2 ? w2 : (t) == 3 ? w3 : (t) == 4 ? w4 : (t) == 5 ? w5 : w6)
#define DEPTH_OUT(i, p) if (mr > i && (p) >= i * stride && (p) - i * stride < k) c##i = vf_fma(DEPTH_WEIGHT((p) - i * stride), in, c##i);
#define DEPTH_COLUMN(p) \
  if ((p) < (mr - 1) * stride + k) { \
    if (whole || ((p) >= lo && (p) < hi)) { \
      vf in = vf_keep(full ? vf_load(q) : vf_loadn(q, n)); \
      DEPTH_OUT(0, p) DEPTH_OUT(1, p) DEPTH_OUT(2, p) DEPTH_OUT(3, p) DEPTH_OUT(4, p) DEPTH_OUT(5, p) DEPTH_OUT(6, p) DEPTH_OUT(7, p) \
    } \
    q += step; \
  }
#define DEPTH_STORE(i) if (mr > i) { if (full) vf_store(y + i * ldy, c##i); else vf_storen(y + i * ldy, c##i, n); }

VF_FN void depth_window(const int mr, const int k, const int stride, const int whole, const int full, int n, int64_t rows,
                        const ty_conv_run *restrict run, int64_t lo, int64_t hi, const float *x, int64_t step, const float *restrict w,
                        float *restrict y, int64_t ldy) {
  vf c0 = vf_zero(), c1 = c0, c2 = c0, c3 = c0, c4 = c0, c5 = c0, c6 = c0, c7 = c0;
  for (const ty_conv_run *end = run + rows; run < end; run++) {
    const float *q = x + run->a, *r = w + run->b * NARROW_BLOCK;
    vf w0 = vf_load(r), w1 = vf_load(r + NARROW_BLOCK), w2 = vf_load(r + 2 * NARROW_BLOCK);
    vf w3 = k > 3 ? vf_load(r + 3 * NARROW_BLOCK) : w0, w4 = k > 3 ? vf_load(r + 4 * NARROW_BLOCK) : w0;
    vf w5 = k > 5 ? vf_load(r + 5 * NARROW_BLOCK) : w0, w6 = k > 5 ? vf_load(r + 6 * NARROW_BLOCK) : w0;
    DEPTH_COLUMN(0) DEPTH_COLUMN(1) DEPTH_COLUMN(2) DEPTH_COLUMN(3) DEPTH_COLUMN(4) DEPTH_COLUMN(5) DEPTH_COLUMN(6) DEPTH_COLUMN(7)
    DEPTH_COLUMN(8) DEPTH_COLUMN(9) DEPTH_COLUMN(10) DEPTH_COLUMN(11) DEPTH_COLUMN(12) DEPTH_COLUMN(13) DEPTH_COLUMN(14)
    DEPTH_COLUMN(15) DEPTH_COLUMN(16) DEPTH_COLUMN(17) DEPTH_COLUMN(18) DEPTH_COLUMN(19) DEPTH_COLUMN(20)
    if (run->k)
      for (int64_t p = 0, at = run->a + run->k; p < (mr - 1) * stride + k; p++, at += step) __builtin_prefetch(x + at);
    (void)w3, (void)w4, (void)w5, (void)w6;
  }
  GEMM_ROWS(DEPTH_STORE)
}

VF_FN void depth_strip(const int mr, const int k, const int stride, int64_t window, int64_t rows, const ty_conv_run *run, int64_t lo, int64_t hi,
                       int64_t j0, int64_t j1, const float *x, int64_t step, const float *w, float *y, int64_t ldy) {
  int64_t j = j0, block = window * NARROW_BLOCK;
  if (lo <= 0 && hi >= (mr - 1) * stride + k)
    for (; j + VF_LANES <= j1; j += VF_LANES, y += VF_LANES)
      depth_window(mr, k, stride, 1, 1, VF_LANES, rows, run, lo, hi, x + j, step, w + j / NARROW_BLOCK * block + j % NARROW_BLOCK, y, ldy);
  else
    for (; j + VF_LANES <= j1; j += VF_LANES, y += VF_LANES)
      depth_window(mr, k, stride, 0, 1, VF_LANES, rows, run, lo, hi, x + j, step, w + j / NARROW_BLOCK * block + j % NARROW_BLOCK, y, ldy);
  if (j < j1)
    depth_window(mr, k, stride, 0, 0, (int)(j1 - j), rows, run, lo, hi, x + j, step, w + j / NARROW_BLOCK * block + j % NARROW_BLOCK, y, ldy);
}

#define DEPTH_NAME(mr, k, stride) tier_window_##mr##_##k##_##stride
#define DEPTH_KERNEL(mr, k, stride) \
  static void DEPTH_NAME(mr, k, stride)(int64_t window, int64_t rows, const ty_conv_run *run, int64_t lo, int64_t hi, int64_t j0, int64_t j1, \
                                        const float *x, int64_t step, const float *w, float *y, int64_t ldy) { \
    depth_strip(mr, k, stride, window, rows, run, lo, hi, j0, j1, x, step, w, y, ldy); \
  }
#define DEPTH_KERNELS(mr) DEPTH_KERNEL(mr, 3, 1) DEPTH_KERNEL(mr, 3, 2) DEPTH_KERNEL(mr, 5, 1) DEPTH_KERNEL(mr, 5, 2) DEPTH_KERNEL(mr, 7, 1) DEPTH_KERNEL(mr, 7, 2)
#if TIER_SHAPE == 83
DEPTH_KERNELS(4) DEPTH_KERNELS(5) DEPTH_KERNELS(6) DEPTH_KERNELS(7) DEPTH_KERNELS(8)
#define DEPTH_LIST(k, s) {NULL, NULL, NULL, DEPTH_NAME(4, k, s), DEPTH_NAME(5, k, s), DEPTH_NAME(6, k, s), DEPTH_NAME(7, k, s), DEPTH_NAME(8, k, s)}
#elif TIER_SHAPE == 62
DEPTH_KERNELS(3) DEPTH_KERNELS(4) DEPTH_KERNELS(5) DEPTH_KERNELS(6)
#define DEPTH_LIST(k, s) {NULL, NULL, DEPTH_NAME(3, k, s), DEPTH_NAME(4, k, s), DEPTH_NAME(5, k, s), DEPTH_NAME(6, k, s)}
#else
DEPTH_KERNELS(2) DEPTH_KERNELS(3) DEPTH_KERNELS(4)
#define DEPTH_LIST(k, s) {NULL, DEPTH_NAME(2, k, s), DEPTH_NAME(3, k, s), DEPTH_NAME(4, k, s)}
#endif
#define TIER_DEPTH_TABLE {{DEPTH_LIST(3, 1), DEPTH_LIST(3, 2)}, {DEPTH_LIST(5, 1), DEPTH_LIST(5, 2)}, {DEPTH_LIST(7, 1), DEPTH_LIST(7, 2)}}
