/* slide_tmpl.h: micro-kernels of narrow groups for windows of 3 columns that move by 1 or 2: an input channel of a column of the image
 * is spread over the lanes once, and goes to all the pixels whose windows cover it (narrow_tmpl.h spreads it for each of them). */

#if TIER_SHAPE == 83
enum { SLIDE_NV = 2 }; /* vectors of output channels at a time */
#else
enum { SLIDE_NV = 1 };
#endif
#define SLIDE_WEIGHT(t, v) ((t) == 0 ? w0##v : (t) == 1 ? w1##v : w2##v)
#define SLIDE_OUT(i, p) \
  if (mr > i && (p) >= i * stride && (p) - i * stride < 3) { \
    c##i##0 = vf_fma(SLIDE_WEIGHT((p) - i * stride, 0), in0, c##i##0); \
    if (SLIDE_NV > 1) c##i##1 = vf_fma(SLIDE_WEIGHT((p) - i * stride, 1), in1, c##i##1); \
  }
#define SLIDE_SPREAD(a) vf_keep(permuted ? vf_permute(vf_load(a), from) : vf_set1((a)[q]))
#define SLIDE_COLUMN(p) \
  if ((p) < (mr - 1) * stride + 3) { \
    if (((p) > 0 || first) && ((p) < (mr - 1) * stride + 2 || last)) { \
      vf in0 = SLIDE_SPREAD(a), in1 = SLIDE_NV > 1 ? SLIDE_SPREAD(a + more) : in0; \
      SLIDE_OUT(0, p) SLIDE_OUT(1, p) SLIDE_OUT(2, p) SLIDE_OUT(3, p) SLIDE_OUT(4, p) SLIDE_OUT(5, p) SLIDE_OUT(6, p) SLIDE_OUT(7, p) \
      (void)in1; \
    } \
    a += step; \
  }
#define SLIDE_SETUP(i) vf c##i##0 = vf_zero(), c##i##1 = vf_zero();
#define SLIDE_STORE(i) \
  if (mr > i) { \
    vf_store(y + i * ldy, c##i##0); \
    if (SLIDE_NV > 1) vf_store(y + i * ldy + VF_LANES, c##i##1); \
  }

/* x + more, w + w_more: the second vector's. first, last: whether the first and the last column are inside the image. */
VF_FN void slide_body(const int mr, const int permuted, const int stride, const ty_narrow *s, int64_t rows, const ty_conv_run *restrict run, int first,
                      int last, const float *x, int64_t more, int64_t step, const float *restrict w, int64_t w_more, float *restrict y, int64_t ldy) {
  GEMM_ROWS(SLIDE_SETUP)
  for (const ty_conv_run *end = run + rows; run < end; run++) {
    const float *r = w + run->b * s->c * NARROW_BLOCK;
    const int32_t *from = s->permute;
    for (int64_t q = 0; q < s->c; q++, r += NARROW_BLOCK, from += VF_LANES) {
      const float *a = x + run->a;
      __asm__ volatile("" : "+r"(a)); /* columns are loaded again for each channel: there are no registers to keep them in */
      const float *r1 = r + s->c * NARROW_BLOCK, *r2 = r1 + s->c * NARROW_BLOCK;
      vf w00 = vf_load(r), w10 = vf_load(r1), w20 = vf_load(r2);
      vf w01 = SLIDE_NV > 1 ? vf_load(r + w_more) : w00, w11 = SLIDE_NV > 1 ? vf_load(r1 + w_more) : w10, w21 = SLIDE_NV > 1 ? vf_load(r2 + w_more) : w20;
      SLIDE_COLUMN(0) SLIDE_COLUMN(1) SLIDE_COLUMN(2) SLIDE_COLUMN(3) SLIDE_COLUMN(4) SLIDE_COLUMN(5) SLIDE_COLUMN(6) SLIDE_COLUMN(7) SLIDE_COLUMN(8)
      SLIDE_COLUMN(9) SLIDE_COLUMN(10) SLIDE_COLUMN(11) SLIDE_COLUMN(12) SLIDE_COLUMN(13) SLIDE_COLUMN(14) SLIDE_COLUMN(15) SLIDE_COLUMN(16)
      (void)w01, (void)w11, (void)w21;
    }
  }
  GEMM_ROWS(SLIDE_STORE)
}

VF_FN int64_t slide_strip(const int mr, const int permuted, const int stride, const ty_narrow *s, int64_t rows, const ty_conv_run *run, int first, int last,
                          int64_t j0, int64_t j1, const float *x, int64_t step, const float *w, float *y, int64_t ldy) {
  int64_t j = j0, block = s->window * s->c * NARROW_BLOCK, in = s->groups * s->c;
  for (; j + SLIDE_NV * VF_LANES <= j1; j += SLIDE_NV * VF_LANES, y += SLIDE_NV * VF_LANES) {
    int64_t next = j + (SLIDE_NV - 1) * VF_LANES, from = j / s->o * s->c, more = next / s->o * s->c - from, at = j / NARROW_BLOCK * block + j % NARROW_BLOCK;
    if (permuted && from + more + VF_LANES > in) break; /* a vector would read past the last channel */
    slide_body(mr, permuted, stride, s, rows, run, first, last, x + from, more, step, w + at, next / NARROW_BLOCK * block + next % NARROW_BLOCK - at, y, ldy);
  }
  return j;
}

#define SLIDE_NAME(form, mr, stride) tier_slide_##form##_##mr##_##stride
#define SLIDE_KERNEL(form, permuted, mr, stride) \
  static int64_t SLIDE_NAME(form, mr, stride)(const ty_narrow *s, int64_t rows, const ty_conv_run *run, bool first, bool last, int64_t j0, int64_t j1, \
                                              const float *x, int64_t step, const float *w, float *y, int64_t ldy) { \
    return slide_strip(mr, permuted, stride, s, rows, run, first, last, j0, j1, x, step, w, y, ldy); \
  }
#define SLIDE_KERNELS(mr) SLIDE_KERNEL(permuted, 1, mr, 1) SLIDE_KERNEL(permuted, 1, mr, 2) SLIDE_KERNEL(broadcast, 0, mr, 1) SLIDE_KERNEL(broadcast, 0, mr, 2)
#if TIER_SHAPE == 83
SLIDE_KERNELS(4) SLIDE_KERNELS(5) SLIDE_KERNELS(6) SLIDE_KERNELS(7) SLIDE_KERNELS(8)
#define SLIDE_LIST(f, s) {NULL, NULL, NULL, SLIDE_NAME(f, 4, s), SLIDE_NAME(f, 5, s), SLIDE_NAME(f, 6, s), SLIDE_NAME(f, 7, s), SLIDE_NAME(f, 8, s)}
#elif TIER_SHAPE == 62
SLIDE_KERNELS(3) SLIDE_KERNELS(4) SLIDE_KERNELS(5) SLIDE_KERNELS(6)
#define SLIDE_LIST(f, s) {NULL, NULL, SLIDE_NAME(f, 3, s), SLIDE_NAME(f, 4, s), SLIDE_NAME(f, 5, s), SLIDE_NAME(f, 6, s)}
#else
SLIDE_KERNELS(2) SLIDE_KERNELS(3) SLIDE_KERNELS(4)
#define SLIDE_LIST(f, s) {NULL, SLIDE_NAME(f, 2, s), SLIDE_NAME(f, 3, s), SLIDE_NAME(f, 4, s)}
#endif
#define TIER_SLIDE_TABLE {{SLIDE_LIST(permuted, 1), SLIDE_LIST(permuted, 2)}, {SLIDE_LIST(broadcast, 1), SLIDE_LIST(broadcast, 2)}}
