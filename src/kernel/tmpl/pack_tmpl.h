/* pack_tmpl.h: packing B into panels of NR columns, k-major: a copy when n is contiguous, a register transpose when k is. */

static const float tier_zeros[4];

/* VF_LANES columns (rows of the source, ld apart, `rows` of them real) of k values each, to dst rows TIER_NR apart. */
VF_FN void pack_transpose(const int full, int64_t k, int rows, const float *src, int64_t ld, float *dst) {
  int64_t p = 0;
#define PACK_ROW(i) (full || (i) < rows ? src + (i) * ld + p : tier_zeros)
  for (; p + 4 <= k; p += 4, dst += 4 * TIER_NR) {
    if (full && (p & 15) == 0)
      for (int i = 0; i < VF_LANES; i++) __builtin_prefetch(src + i * ld + p + 64);
    vf o0, o1, o2, o3;
    VF_TRANSPOSE4(PACK_ROW, o0, o1, o2, o3);
    vf_store(dst, o0);
    vf_store(dst + TIER_NR, o1);
    vf_store(dst + 2 * TIER_NR, o2);
    vf_store(dst + 3 * TIER_NR, o3);
  }
  for (; p < k; p++, dst += TIER_NR)
    for (int i = 0; i < VF_LANES; i++) dst[i] = i < rows ? src[i * ld + p] : 0.0f;
#undef PACK_ROW
}

static void pack_zero(int64_t k, float *dst) { /* a column of vectors that lies beyond n */
  for (int64_t p = 0; p < k; p++) vf_store(dst + p * TIER_NR, vf_zero());
}

static void tier_pack_b(int64_t k, int64_t n, const float *b, int64_t ldk, int64_t ldn, float *dst, int64_t p0, int64_t p1) {
  for (int64_t q = p0; q < p1; q++) {
    float *d = dst + q * k * TIER_NR;
    const float *s = b + q * TIER_NR * ldn;
    int w = (int)(n - q * TIER_NR < TIER_NR ? n - q * TIER_NR : TIER_NR);
    if (ldn == 1 && w == TIER_NR) {
      for (int64_t p = 0; p < k; p++, s += ldk, d += TIER_NR) {
        __builtin_prefetch(s + 8 * ldk);
        __builtin_prefetch(s + 8 * ldk + 16);
        __builtin_prefetch(s + 8 * ldk + 32);
        for (int v = 0; v < TIER_NR; v += VF_LANES) vf_store(d + v, vf_load(s + v));
      }
    } else if (ldk == 1) {
      enum { PACK_K = 64 }; /* k values at a time, so that the panel's rows of dst stay in the nearest cache */
      for (int64_t p = 0; p < k; p += PACK_K) {
        int64_t kb = k - p < PACK_K ? k - p : PACK_K;
        for (int v = 0; v < TIER_NR; v += VF_LANES) {
          if (w - v >= VF_LANES) pack_transpose(1, kb, VF_LANES, s + v * ldn + p, ldn, d + p * TIER_NR + v);
          else if (w > v) pack_transpose(0, kb, w - v, s + v * ldn + p, ldn, d + p * TIER_NR + v);
          else pack_zero(kb, d + p * TIER_NR + v);
        }
      }
    } else {
      for (int64_t p = 0; p < k; p++, d += TIER_NR) {
        for (int j = 0; j < w; j++) d[j] = s[p * ldk + j * ldn];
        for (int j = w; j < TIER_NR; j++) d[j] = 0.0f;
      }
    }
  }
}
