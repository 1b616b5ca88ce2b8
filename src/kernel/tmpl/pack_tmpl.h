/* pack_tmpl.h: packing B into panels of nr columns, k-major: a copy when n is contiguous, a register transpose when k is; pairs of rows
 * as words of bf16. */

static const float tier_zeros[4];

/* VF_LANES columns (rows of the source, ld apart, `rows` of them real) of k values each, to dst rows `nr` apart. */
VF_FN void pack_transpose(const int full, const int nr, int64_t k, int rows, const float *src, int64_t ld, float *dst) {
  int64_t p = 0;
#define PACK_ROW(i) (full || (i) < rows ? src + (i) * ld + p : tier_zeros)
  for (; p + 4 <= k; p += 4, dst += 4 * nr) {
    if (full && (p & 15) == 0)
      for (int i = 0; i < VF_LANES; i++) __builtin_prefetch(src + i * ld + p + 64);
    vf o0, o1, o2, o3;
    VF_TRANSPOSE4(PACK_ROW, o0, o1, o2, o3);
    vf_store(dst, o0);
    vf_store(dst + nr, o1);
    vf_store(dst + 2 * nr, o2);
    vf_store(dst + 3 * nr, o3);
  }
  for (; p < k; p++, dst += nr)
    for (int i = 0; i < VF_LANES; i++) dst[i] = i < rows ? src[i * ld + p] : 0.0f;
#undef PACK_ROW
}

static void pack_zero(int nr, int64_t k, float *dst) { /* a column of vectors that lies beyond n */
  for (int64_t p = 0; p < k; p++) vf_store(dst + p * nr, vf_zero());
}

static void tier_pack_b(int nr, int64_t k, int64_t n, const float *b, int64_t ldk, int64_t ldn, float *dst, int64_t p0, int64_t p1) {
  for (int64_t q = p0; q < p1; q++) {
    float *d = dst + q * k * nr;
    const float *s = b + q * nr * ldn;
    int w = (int)(n - q * nr < nr ? n - q * nr : nr);
    if (ldn == 1 && w == nr) {
      for (int64_t p = 0; p < k; p++, s += ldk, d += nr) {
        __builtin_prefetch(s + 8 * ldk);
        __builtin_prefetch(s + 8 * ldk + 16);
        __builtin_prefetch(s + 8 * ldk + 32);
        for (int v = 0; v < nr; v += VF_LANES) vf_store(d + v, vf_load(s + v));
      }
    } else if (ldk == 1) {
      enum { PACK_K = 64 }; /* k values at a time, so that the panel's rows of dst stay in the nearest cache */
      for (int64_t p = 0; p < k; p += PACK_K) {
        int64_t kb = k - p < PACK_K ? k - p : PACK_K;
        for (int v = 0; v < nr; v += VF_LANES) {
          if (w - v >= VF_LANES) pack_transpose(1, nr, kb, VF_LANES, s + v * ldn + p, ldn, d + p * nr + v);
          else if (w > v) pack_transpose(0, nr, kb, w - v, s + v * ldn + p, ldn, d + p * nr + v);
          else pack_zero(nr, kb, d + p * nr + v);
        }
      }
    } else {
      for (int64_t p = 0; p < k; p++, d += nr) {
        for (int j = 0; j < w; j++) d[j] = s[p * ldk + j * ldn];
        for (int j = w; j < nr; j++) d[j] = 0.0f;
      }
    }
  }
}

static void tier_pair(int64_t n, const float *lo, const float *hi, float *words) {
  int64_t i = 0;
  for (; i + VF_LANES <= n; i += VF_LANES) vf_store(words + i, vf_words(vf_load(lo + i), vf_load(hi + i)));
  if (i < n) vf_storen(words + i, vf_words(vf_loadn(lo + i, (int)(n - i)), vf_loadn(hi + i, (int)(n - i))), (int)(n - i));
}
