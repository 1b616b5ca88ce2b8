/* wo_tmpl.h: products with weights of WO_PER values a word, WO_VALUE(w, i) being the i-th of them as a float before its scale; included
 * once a width. Sums go over a group and are scaled once a group. */
#ifndef WO_AHEAD
#define WO_AHEAD 1024 /* floats of B to prefetch ahead */
/* A second set of sums for odd values, where there are so few that the chain of additions would set the pace. */
#define WO_ROWS(X) X(0) X(1) X(2) X(3)
#define WO_SETUP(i) vf t##i##0 = vf_zero(), t##i##1 = vf_zero(), t##i##2 = vf_zero(); const float *a##i = a + (mr > i ? i : 0) * lda;
#define WO_CLEAR(i) vf s##i##0 = vf_zero(), s##i##1 = vf_zero(), s##i##2 = vf_zero(), o##i##0 = vf_zero(), o##i##1 = vf_zero(), o##i##2 = vf_zero();
#define WO_ADD(i) \
  if (mr > i) { \
    vf x = vf_set1(a##i[p + part]); \
    if (mr < (TIER_SHAPE == 83 ? 3 : 2) && part % 2) { \
      o##i##0 = vf_fma(x, w0, o##i##0); \
      if (nv > 1) o##i##1 = vf_fma(x, w1, o##i##1); \
      if (nv > 2) o##i##2 = vf_fma(x, w2, o##i##2); \
    } else { \
      s##i##0 = vf_fma(x, w0, s##i##0); \
      if (nv > 1) s##i##1 = vf_fma(x, w1, s##i##1); \
      if (nv > 2) s##i##2 = vf_fma(x, w2, s##i##2); \
    } \
  }
#define WO_PART(which) { \
    enum { part = which }; \
    vf w0 = WO_VALUE(b0, part), w1 = nv > 1 ? WO_VALUE(b1, part) : w0, w2 = nv > 2 ? WO_VALUE(b2, part) : w0; \
    WO_ROWS(WO_ADD) \
  }
#define WO_SCALE(i) \
  if (mr > i) { \
    t##i##0 = vf_fma(vf_add(s##i##0, o##i##0), vf_load(b), t##i##0); \
    if (nv > 1) t##i##1 = vf_fma(vf_add(s##i##1, o##i##1), vf_load(b + VF_LANES), t##i##1); \
    if (nv > 2) t##i##2 = vf_fma(vf_add(s##i##2, o##i##2), vf_load(b + 2 * VF_LANES), t##i##2); \
  }
#define WO_STORE(i) \
  if (mr > i) { \
    vf_store(c + i * ldc, t##i##0); \
    if (nv > 1) vf_store(c + i * ldc + VF_LANES, t##i##1); \
    if (nv > 2) vf_store(c + i * ldc + 2 * VF_LANES, t##i##2); \
  }
#define WO_LOAD vf b0 = vf_load(b), b1 = nv > 1 ? vf_load(b + VF_LANES) : b0, b2 = nv > 2 ? vf_load(b + 2 * VF_LANES) : b0;
#endif

VF_FN void WO_NAME(few)(const int mr, const int nv, int64_t k, int64_t group, const float *restrict a, int64_t lda, const float *restrict b, int64_t ldb,
                        float *restrict c, int64_t ldc) {
  WO_ROWS(WO_SETUP)
  for (int64_t p = 0, end; p < k; p = end, b += ldb) {
    WO_ROWS(WO_CLEAR)
    const float *scales = b + group / WO_PER * ldb;
    end = p + group < k ? p + group : k;
    for (; p + WO_PER <= end; p += WO_PER, b += ldb) {
      for (int i = 0; i < nv * VF_LANES; i += 16) __builtin_prefetch(b + WO_AHEAD + i);
      WO_LOAD
      WO_PART(0) WO_PART(1) WO_PART(2) WO_PART(3)
      if (WO_PER > 4) { WO_PART((WO_PER > 4 ? 4 : 0)) WO_PART((WO_PER > 4 ? 5 : 0)) WO_PART((WO_PER > 4 ? 6 : 0)) WO_PART((WO_PER > 4 ? 7 : 0)) }
    }
    if (p < end) { /* of the last word, only the values there are in A */
      WO_LOAD
      int64_t left = end - p;
      WO_PART(0)
      if (left > 1) WO_PART(1)
      if (left > 2) WO_PART(2)
      if (WO_PER > 4) {
        if (left > 3) WO_PART(3)
        if (left > 4) WO_PART((WO_PER > 4 ? 4 : 0))
        if (left > 5) WO_PART((WO_PER > 4 ? 5 : 0))
        if (left > 6) WO_PART((WO_PER > 4 ? 6 : 0))
      }
    }
    b = scales;
    WO_ROWS(WO_SCALE)
  }
  WO_ROWS(WO_STORE)
}

#define WO_KERNEL(mr, nv) \
  static void WO_NAME(few_##mr##_##nv)(int64_t k, int64_t group, const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc) { \
    WO_NAME(few)(mr, nv, k, group, a, lda, b, ldb, c, ldc); \
  }
WO_KERNEL(1, 1) WO_KERNEL(2, 1) WO_KERNEL(1, 2) WO_KERNEL(2, 2)
#if TIER_SHAPE == 83
WO_KERNEL(3, 1) WO_KERNEL(4, 1) WO_KERNEL(3, 2) WO_KERNEL(4, 2)
WO_KERNEL(1, 3) WO_KERNEL(2, 3) WO_KERNEL(3, 3) WO_KERNEL(4, 3)
#endif
#undef WO_KERNEL

static void WO_NAME(unpack)(int64_t k, int64_t group, const float *b, int64_t ldb, const float *scale, int nr, float *to) {
  for (int64_t p = 0; p < k;) {
    int64_t end = p + group < k ? p + group : k;
    for (; p < end; p += WO_PER, b += ldb)
      for (int v = 0; v < nr; v += VF_LANES) {
        vf w = vf_load(b + v), s = vf_load(scale + v);
        float *t = to + p * nr + v;
        int64_t left = end - p;
#define WO_OUT(i) if (left > i) vf_store(t + i * nr, vf_mul(WO_VALUE(w, (i < WO_PER ? i : 0)), s));
        WO_OUT(0) WO_OUT(1) WO_OUT(2) WO_OUT(3)
        if (WO_PER > 4) { WO_OUT(4) WO_OUT(5) WO_OUT(6) WO_OUT(7) }
#undef WO_OUT
      }
    p = end;
    b += ldb;
    scale = b + group / WO_PER * ldb;
  }
}
