/* conv_tmpl.h: the convolution micro-kernels of a tier: the GEMM micro-kernel with a loop over runs of k (taps) around it, so
 * that the accumulators stay in registers over a whole window. Uses gemm_tmpl.h's rows. */

#define CONV_POINT(i) a##i = a + run->a + (mr > i ? i : 0) * lda;
#define CONV_SETUP(i) const float *a##i = a; \
  vf c##i##0 = vf_zero(), c##i##1 = vf_zero(), c##i##2 = vf_zero();

VF_FN void conv_body(const int mr, const int nv, int64_t runs, const ty_conv_run *restrict run, const float *restrict a, int64_t lda,
                     const float *restrict b, int64_t ldb, float *restrict c, int64_t ldc, int accumulate, const char *ahead,
                     int64_t step) {
  GEMM_ROWS(CONV_SETUP)
  for (const ty_conv_run *end = run + runs; run < end; run++) {
    GEMM_ROWS(CONV_POINT)
    const float *r = b + run->b * ldb;
    GEMM_K(r, run->k)
  }
  GEMM_ROWS(GEMM_STORE)
}

#define CONV_KERNEL(mr, nv) \
  static void tier_conv_##mr##_##nv(int64_t runs, const ty_conv_run *run, const float *a, int64_t lda, const float *b, int64_t ldb, \
                                    float *c, int64_t ldc, int accumulate, const char *ahead, int64_t step) { \
    conv_body(mr, nv, runs, run, a, lda, b, ldb, c, ldc, accumulate, ahead, step); \
  }
#define CONV_KERNELS_4(nv) CONV_KERNEL(1, nv) CONV_KERNEL(2, nv) CONV_KERNEL(3, nv) CONV_KERNEL(4, nv)
#define CONV_LIST_4(nv) tier_conv_1_##nv, tier_conv_2_##nv, tier_conv_3_##nv, tier_conv_4_##nv
CONV_KERNELS_4(1) CONV_KERNELS_4(2)
#if TIER_SHAPE == 83
#define CONV_KERNELS_8(nv) CONV_KERNEL(5, nv) CONV_KERNEL(6, nv) CONV_KERNEL(7, nv) CONV_KERNEL(8, nv)
#define CONV_LIST_8(nv) CONV_LIST_4(nv), tier_conv_5_##nv, tier_conv_6_##nv, tier_conv_7_##nv, tier_conv_8_##nv
CONV_KERNELS_4(3) CONV_KERNELS_8(1) CONV_KERNELS_8(2) CONV_KERNELS_8(3)
#define TIER_CONV_TABLE {{CONV_LIST_8(1)}, {CONV_LIST_8(2)}, {CONV_LIST_8(3)}}
#elif TIER_SHAPE == 62
#define CONV_KERNELS_6(nv) CONV_KERNEL(5, nv) CONV_KERNEL(6, nv)
#define CONV_LIST_6(nv) CONV_LIST_4(nv), tier_conv_5_##nv, tier_conv_6_##nv
CONV_KERNELS_6(1) CONV_KERNELS_6(2)
#define TIER_CONV_TABLE {{CONV_LIST_6(1)}, {CONV_LIST_6(2)}}
#else
#define TIER_CONV_TABLE {{CONV_LIST_4(1)}, {CONV_LIST_4(2)}}
#endif
