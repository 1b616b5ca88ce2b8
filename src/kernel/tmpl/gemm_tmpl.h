/* gemm_tmpl.h: the GEMM micro-kernels of a tier for a format, from one body: C[mr, nv vectors] (+)= A[mr, k] B[k, nv vectors].
 * Accumulators are named scalars, because gcc keeps arrays of vectors in memory; mr and nv are constants at each call.
 * Of the format: PRODUCT_PARTS values of A (words, where it has words) meet a row of B, in which PRODUCT_UNIT words of a column stand
 * together; PRODUCT_LOAD(p, part) is what the part-th of them multiplies, PRODUCT_ONE(p) declares x, that value for all lanes, and
 * PRODUCT_MAC(x, b, c) adds the product to c; PRODUCT_ADD(a, b) is the sum of two such c. */

enum { GEMV_AHEAD = 1024 }; /* floats of B to prefetch ahead by one-row kernels */
#ifndef PRODUCT_UNIT
#define PRODUCT_UNIT 1
#endif
enum { GEMM_COLUMNS = VF_LANES * PRODUCT_UNIT }; /* words of a vector's columns in a row of B */

#define GEMM_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define GEMM_SETUP(i) \
  const float *a##i = a + (mr > i ? i : 0) * lda; \
  vf c##i##0 = vf_zero(), c##i##1 = vf_zero(), c##i##2 = vf_zero();
#define GEMM_STEP(i) \
  if (mr > i) { \
    PRODUCT_ONE(a##i + p + part); \
    c##i##0 = PRODUCT_MAC(x, b0, c##i##0); \
    if (nv > 1) c##i##1 = PRODUCT_MAC(x, b1, c##i##1); \
    if (nv > 2) c##i##2 = PRODUCT_MAC(x, b2, c##i##2); \
  }
#define GEMM_PART(r, which) { \
    enum { part = which }; \
    vf b0 = PRODUCT_LOAD(r, part), b1 = nv > 1 ? PRODUCT_LOAD((r) + GEMM_COLUMNS, part) : b0, b2 = nv > 2 ? PRODUCT_LOAD((r) + 2 * GEMM_COLUMNS, part) : b0; \
    GEMM_ROWS(GEMM_STEP) \
  }
/* k values of A against rows of B from r on, which moves past them. */
#define GEMM_K(r, k) { \
    int64_t p = 0; \
    for (; p + PRODUCT_PARTS <= k; p += PRODUCT_PARTS, r += ldb, ahead += step) { \
      __builtin_prefetch(ahead); \
      if (nv > 2 && step > 64) __builtin_prefetch(ahead + 64), __builtin_prefetch(ahead + 128); \
      GEMM_PART(r, 0) \
      if (PRODUCT_PARTS > 1) { \
        __asm__ volatile("" : : : "memory"); /* words are loaded once more: there is no register to keep them in */ \
        GEMM_PART(r, 1) \
      } \
      if (PRODUCT_PARTS > 2) { GEMM_PART(r, 2) GEMM_PART(r, 3) } \
    } \
    if (PRODUCT_PARTS > 1 && p < k) { \
      GEMM_PART(r, 0) \
      if (PRODUCT_PARTS > 2 && p + 1 < k) GEMM_PART(r, 1) \
      if (PRODUCT_PARTS > 2 && p + 2 < k) GEMM_PART(r, 2) \
      r += ldb; \
    } \
  }
/* What was there is added at the end: a sum of sums of blocks errs less than one long chain. */
#define GEMM_STORE(i) \
  if (mr > i && accumulate) { \
    c##i##0 = PRODUCT_ADD(c##i##0, vf_load(c + i * ldc)); \
    if (nv > 1) c##i##1 = PRODUCT_ADD(c##i##1, vf_load(c + i * ldc + VF_LANES)); \
    if (nv > 2) c##i##2 = PRODUCT_ADD(c##i##2, vf_load(c + i * ldc + 2 * VF_LANES)); \
  } \
  if (mr > i) { \
    vf_store(c + i * ldc, c##i##0); \
    if (nv > 1) vf_store(c + i * ldc + VF_LANES, c##i##1); \
    if (nv > 2) vf_store(c + i * ldc + 2 * VF_LANES, c##i##2); \
  }

VF_FN void gemm_body(const int mr, const int nv, int64_t k, const float *restrict a, int64_t lda, const float *restrict b,
                     int64_t ldb, float *restrict c, int64_t ldc, int accumulate, const char *ahead, int64_t step) {
  GEMM_ROWS(GEMM_SETUP)
  GEMM_K(b, k)
  GEMM_ROWS(GEMM_STORE)
}

/* One row: four values at a time on accumulators of their own, or the chain of additions would set the pace. */
#define GEMV_SETUP(i) vf c##i##0 = vf_zero(), c##i##1 = vf_zero(), c##i##2 = vf_zero();
#define GEMV_STEP(i) { \
    PRODUCT_ONE(a + p + i); \
    const float *r = b + i / PRODUCT_PARTS * ldb; \
    c##i##0 = PRODUCT_MAC(x, PRODUCT_LOAD(r, i % PRODUCT_PARTS), c##i##0); \
    if (nv > 1) c##i##1 = PRODUCT_MAC(x, PRODUCT_LOAD(r + GEMM_COLUMNS, i % PRODUCT_PARTS), c##i##1); \
    if (nv > 2) c##i##2 = PRODUCT_MAC(x, PRODUCT_LOAD(r + 2 * GEMM_COLUMNS, i % PRODUCT_PARTS), c##i##2); \
  }
VF_FN void gemv_body(const int nv, int64_t k, const float *restrict a, const float *restrict b, int64_t ldb,
                     float *restrict c, int accumulate) {
  GEMV_SETUP(0) GEMV_SETUP(1) GEMV_SETUP(2) GEMV_SETUP(3)
  if (accumulate) {
    c00 = vf_load(c);
    if (nv > 1) c01 = vf_load(c + VF_LANES);
    if (nv > 2) c02 = vf_load(c + 2 * VF_LANES);
  }
  int64_t p = 0;
  for (; p + 4 <= k; p += 4, b += 4 / PRODUCT_PARTS * ldb) {
    for (int i = 0; i < 4 / PRODUCT_PARTS * nv * GEMM_COLUMNS; i += 16) __builtin_prefetch(b + GEMV_AHEAD + i);
    GEMV_STEP(0) GEMV_STEP(1) GEMV_STEP(2) GEMV_STEP(3)
  }
  for (; p + PRODUCT_PARTS <= k; p += PRODUCT_PARTS, b += ldb) {
    GEMV_STEP(0)
    if (PRODUCT_PARTS > 1) GEMV_STEP(1)
  }
  if (PRODUCT_PARTS > 1 && p < k) GEMV_STEP(0)
  if (PRODUCT_PARTS > 2 && p + 1 < k) GEMV_STEP(1)
  if (PRODUCT_PARTS > 2 && p + 2 < k) GEMV_STEP(2)
  vf_store(c, PRODUCT_ADD(PRODUCT_ADD(c00, c10), PRODUCT_ADD(c20, c30)));
  if (nv > 1) vf_store(c + VF_LANES, PRODUCT_ADD(PRODUCT_ADD(c01, c11), PRODUCT_ADD(c21, c31)));
  if (nv > 2) vf_store(c + 2 * VF_LANES, PRODUCT_ADD(PRODUCT_ADD(c02, c12), PRODUCT_ADD(c22, c32)));
}

#define GEMM_KERNEL(name, mr, nv) \
  void name(int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, int accumulate, \
            const char *ahead, int64_t step) { \
    if (mr == 1) gemv_body(nv, k, a, b, ldb, c, accumulate); \
    else gemm_body(mr, nv, k, a, lda, b, ldb, c, ldc, accumulate, ahead, step); \
  }
#define GEMM_STATIC(mr, nv) static GEMM_KERNEL(tier_gemm_##mr##_##nv, mr, nv)
#define GEMM_COLUMN_1(nv) GEMM_STATIC(1, nv) GEMM_STATIC(2, nv) GEMM_STATIC(3, nv)
#define GEMM_LIST_3(nv) tier_gemm_1_##nv, tier_gemm_2_##nv, tier_gemm_3_##nv

GEMM_COLUMN_1(1) GEMM_COLUMN_1(2)
#if TIER_SHAPE == 83
#define GEMM_COLUMN_2(nv) GEMM_STATIC(4, nv) GEMM_STATIC(5, nv) GEMM_STATIC(6, nv) GEMM_STATIC(7, nv)
GEMM_COLUMN_1(3) GEMM_COLUMN_2(1) GEMM_COLUMN_2(2) GEMM_COLUMN_2(3) GEMM_STATIC(8, 1) GEMM_STATIC(8, 2) GEMM_STATIC(8, 3)
#define GEMM_LIST_7(nv) GEMM_LIST_3(nv), tier_gemm_4_##nv, tier_gemm_5_##nv, tier_gemm_6_##nv, tier_gemm_7_##nv
#define TIER_GEMM_TABLE {{GEMM_LIST_7(1), tier_gemm_8_1}, {GEMM_LIST_7(2), tier_gemm_8_2}, {GEMM_LIST_7(3), tier_gemm_8_3}}
#elif TIER_SHAPE == 62
GEMM_STATIC(4, 1) GEMM_STATIC(5, 1) GEMM_STATIC(6, 1) GEMM_STATIC(4, 2) GEMM_STATIC(5, 2) GEMM_STATIC(6, 2)
#define TIER_GEMM_TABLE {{GEMM_LIST_3(1), tier_gemm_4_1, tier_gemm_5_1, tier_gemm_6_1}, \
                         {GEMM_LIST_3(2), tier_gemm_4_2, tier_gemm_5_2, tier_gemm_6_2}}
#else
GEMM_STATIC(4, 1) GEMM_STATIC(4, 2)
#define TIER_GEMM_TABLE {{GEMM_LIST_3(1), tier_gemm_4_1}, {GEMM_LIST_3(2), tier_gemm_4_2}}
#endif
