/* mm_tmpl.h: the micro-kernels of a tier by instructions that multiply matrices: in each 128 bits of their operands stand two rows of A, or
 * two columns of B, of as many values as 64 bits hold, and 2 x 2 sums. MM_MAC(x, b, c) is the instruction, MM_ADD(a, b) adds two such c.
 * Sums c<pair of rows><vector of columns><half of it> are named scalars, as in gemm_tmpl.h; a row's columns are put in order when they
 * are stored, and what was there is added then. Where mr is odd, the last pair's second row is computed and not stored. */

#define MM_PAIRS(X) X(0) X(1) X(2) X(3)
#define MM_START(i, v) vf c##i##v##0 = vf_zero(), c##i##v##1 = vf_zero();
#define MM_SETUP(i) const float *a##i = a; MM_START(i, 0) MM_START(i, 1) MM_START(i, 2)
#define MM_POINT(i) a##i = a + run->a + (mr > 2 * i ? 2 * i : 0) * lda;
#define MM_MULTIPLY(i, words) { \
    vf x = words; \
    c##i##00 = MM_MAC(x, b00, c##i##00), c##i##01 = MM_MAC(x, b01, c##i##01); \
    if (nv > 1) c##i##10 = MM_MAC(x, b10, c##i##10), c##i##11 = MM_MAC(x, b11, c##i##11); \
    if (nv > 2) c##i##20 = MM_MAC(x, b20, c##i##20), c##i##21 = MM_MAC(x, b21, c##i##21); \
  }
#define MM_LOAD(v) vf b##v##0 = vf_load(r + (nv > v ? 2 * v : 0) * VF_LANES), b##v##1 = vf_load(r + (nv > v ? 2 * v + 1 : 1) * VF_LANES);
#define MM_FETCH \
  __builtin_prefetch(ahead); \
  if (2 * nv * VF_LANES > 16 && step > 64) __builtin_prefetch(ahead + 64); \
  if (2 * nv * VF_LANES > 32 && step > 64) __builtin_prefetch(ahead + 128); \
  MM_LOAD(0) MM_LOAD(1) MM_LOAD(2) \
  r += ldb, ahead += step;
#define MM_STEP(i) if (mr > 2 * i) MM_MULTIPLY(i, vf_four(a##i + 2 * p))
#define MM_ROW(at, sum) vf_store(c + (at), accumulate ? MM_ADD(sum, vf_load(c + (at))) : sum);
#define MM_KEEP(i, v) \
  if (mr > 2 * i && nv > v) { \
    vf top = vf_unzip(c##i##v##0, c##i##v##1, 0), low = vf_unzip(c##i##v##0, c##i##v##1, 1); \
    MM_ROW(2 * i * ldc + v * VF_LANES, top) \
    if (mr > 2 * i + 1) MM_ROW((2 * i + 1) * ldc + v * VF_LANES, low) \
  }
/* One pair of rows: a step for each of the four sets of sums in turn, or their chains would set the pace. */
#define MM_TURN(i) { MM_FETCH MM_MULTIPLY(i, vf_four(a0 + 2 * p + 4 * i)) }
#define MM_JOIN(v, half) c0##v##half = MM_ADD(MM_ADD(c0##v##half, c1##v##half), MM_ADD(c2##v##half, c3##v##half));
#define MM_STORE(i) MM_KEEP(i, 0) MM_KEEP(i, 1) MM_KEEP(i, 2)

VF_FN void mm_body(const int mr, const int nv, int64_t runs, const ty_conv_run *restrict run, const float *restrict a, int64_t lda, const float *restrict b,
                   int64_t ldb, float *restrict c, int64_t ldc, int accumulate, const char *ahead, int64_t step) {
  MM_PAIRS(MM_SETUP)
  for (const ty_conv_run *end = run + runs; run < end; run++) {
    MM_PAIRS(MM_POINT)
    const float *r = b + run->b * ldb;
    int64_t p = 0;
    for (; mr <= 2 && p + 8 <= run->k; p += 8) { MM_PAIRS(MM_TURN) }
    for (; p < run->k; p += 2) { MM_FETCH MM_PAIRS(MM_STEP) }
  }
  if (mr <= 2) { MM_JOIN(0, 0) MM_JOIN(0, 1) MM_JOIN(1, 0) MM_JOIN(1, 1) MM_JOIN(2, 0) MM_JOIN(2, 1) }
  MM_PAIRS(MM_STORE)
}

#define MM_GEMM(mr, nv) \
  static void tier_gemm_##mr##_##nv(int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, int accumulate, \
                                    const char *ahead, int64_t step) { \
    ty_conv_run one = {k, 0, 0}; \
    mm_body(mr, nv, 1, &one, a, lda, b, ldb, c, ldc, accumulate, ahead, step); \
  }
#define MM_CONV(mr, nv) \
  static void tier_conv_##mr##_##nv(int64_t runs, const ty_conv_run *run, const float *a, int64_t lda, const float *b, int64_t ldb, float *c, \
                                    int64_t ldc, int accumulate, const char *ahead, int64_t step) { \
    mm_body(mr, nv, runs, run, a, lda, b, ldb, c, ldc, accumulate, ahead, step); \
  }
#define MM_COLUMN(X, nv) X(1, nv) X(2, nv) X(3, nv) X(4, nv) X(5, nv) X(6, nv) X(7, nv) X(8, nv)
#define MM_ALL(X) MM_COLUMN(X, 1) MM_COLUMN(X, 2) MM_COLUMN(X, 3)
#define MM_LIST(of, nv) {of##_1_##nv, of##_2_##nv, of##_3_##nv, of##_4_##nv, of##_5_##nv, of##_6_##nv, of##_7_##nv, of##_8_##nv}
#define MM_TABLE(of) {MM_LIST(of, 1), MM_LIST(of, 2), MM_LIST(of, 3)}
