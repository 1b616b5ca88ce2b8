/* vec_avx2.h: the vector vocabulary of the kernels on AVX2 with FMA. Same names as vec_portable.h, which specifies them. */
#ifndef TY_VEC_AVX2_H
#define TY_VEC_AVX2_H
#if !defined(__AVX2__) || !defined(__FMA__) || defined(__AVX512F__)
#error "vec_avx2.h needs -mavx2 -mfma and no AVX-512"
#endif
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef __m256 vf;
typedef vf vf_one;
enum { VF_LANES = 8 };
#define VF_FN static inline __attribute__((always_inline, unused))

VF_FN vf vf_zero(void) { return _mm256_setzero_ps(); }
VF_FN vf vf_set1(float x) { return _mm256_set1_ps(x); }
VF_FN vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
VF_FN void vf_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
VF_FN __m256i vf_first(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
VF_FN vf vf_loadn(const float *p, int n) { return _mm256_maskload_ps(p, vf_first(n)); }
VF_FN void vf_storen(float *p, vf x, int n) { _mm256_maskstore_ps(p, vf_first(n), x); }
VF_FN vf vf_firstn(vf x, int n, float rest) { return _mm256_blendv_ps(_mm256_set1_ps(rest), x, _mm256_castsi256_ps(vf_first(n))); }
VF_FN vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
VF_FN vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
VF_FN vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
VF_FN vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
VF_FN vf_one vf_load1(const float *p) { return _mm256_set1_ps(*p); }
VF_FN vf vf_fma1(vf_one x, vf b, vf c) { return _mm256_fmadd_ps(x, b, c); }
VF_FN vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
VF_FN vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
VF_FN vf vf_less(vf a, vf b, vf x, vf y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
VF_FN vf vf_round(vf x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VF_FN vf vf_pow2_(__m256i n) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)); }
VF_FN vf vf_scale2(vf p, vf n) {
  __m256i i = _mm256_cvtps_epi32(n), h = _mm256_srai_epi32(i, 1);
  return _mm256_mul_ps(_mm256_mul_ps(p, vf_pow2_(h)), vf_pow2_(_mm256_sub_epi32(i, h)));
}
VF_FN vf vf_keep(vf x) { __asm__("" : "+x"(x)); return x; }
VF_FN vf vf_even(const float *p) { /* by intrinsics, gcc 12 takes the loaded word over the stack where registers are few */
  vf x;
  __asm__("vmovdqu %1, %0\n\tvpslld $16, %0, %0" : "=x"(x) : "m"(*(const __m256i_u *)p));
  return x;
}
VF_FN vf vf_odd(const float *p) { /* a mask would take a register */
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_srli_epi32(_mm256_loadu_si256((const __m256i *)p), 16), 16));
}
VF_FN __m256i vf_rounded_(vf x) {
  __m256i u = _mm256_castps_si256(x), quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
  __m256i up = _mm256_add_epi32(u, _mm256_add_epi32(_mm256_set1_epi32(0x7fff), _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1))));
  return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(up), _mm256_castsi256_ps(quiet), _mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}
VF_FN vf vf_words(vf even, vf odd) { return _mm256_castsi256_ps(_mm256_blend_epi16(_mm256_srli_epi32(vf_rounded_(even), 16), vf_rounded_(odd), 0xaa)); }
VF_FN vf vf_permute(vf x, const int32_t *from) { return _mm256_permutevar8x32_ps(x, _mm256_loadu_si256((const __m256i *)from)); }
VF_FN vf vf_whole(vf i) { return _mm256_cvtepi32_ps(_mm256_castps_si256(i)); }
VF_FN vf vf_addi(vf a, vf b) { return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b))); }
VF_FN vf vf_lessi(vf c, int32_t a, vf b) {
  return _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_castps_si256(c), _mm256_mullo_epi32(_mm256_set1_epi32(a), _mm256_castps_si256(b))));
}
VF_FN vf vf_byte(vf w, int i) { return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(_mm256_castps_si256(w), 24 - 8 * i), 24)); }
VF_FN vf vf_nibble(vf w, int i) { return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(_mm256_castps_si256(w), 28 - 4 * i), 28)); }
VF_FN void vf_bytes(uint8_t *to, vf x, int32_t zero) {
  __m256i i = _mm256_add_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(zero));
  __m128i h = _mm_packus_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
  _mm_storel_epi64((__m128i *)to, _mm_packus_epi16(h, h));
}
enum { VF_DOT8_LESS = 0 };
VF_FN vf vf_dot8(vf_one x, vf b, vf c) { /* bytes as pairs of 16 bits, the even and the odd ones: their products cannot overflow */
  __m256i xi = _mm256_castps_si256(x), bi = _mm256_castps_si256(b), ci = _mm256_castps_si256(c);
  __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(bi, 8), 8), odd = _mm256_srai_epi16(bi, 8);
  ci = _mm256_add_epi32(ci, _mm256_madd_epi16(_mm256_and_si256(xi, _mm256_set1_epi16(255)), even));
  return _mm256_castsi256_ps(_mm256_add_epi32(ci, _mm256_madd_epi16(_mm256_srli_epi16(xi, 8), odd)));
}
VF_FN float vf_sum(vf x) {
  __m128 h = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  h = _mm_add_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
}
VF_FN float vf_top(vf x) {
  __m128 h = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  h = _mm_max_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
}

/* Rows r[0..8) of four floats each, as four columns. */
#define VF_ROW_(r, j) _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(r(0 + j))), _mm_loadu_ps(r(4 + j)), 1)
#define VF_TRANSPOSE4(r, o0, o1, o2, o3) do { \
    __m256 v0_ = VF_ROW_(r, 0), v1_ = VF_ROW_(r, 1), v2_ = VF_ROW_(r, 2), v3_ = VF_ROW_(r, 3); \
    __m256 t0_ = _mm256_unpacklo_ps(v0_, v1_), t1_ = _mm256_unpackhi_ps(v0_, v1_); \
    __m256 t2_ = _mm256_unpacklo_ps(v2_, v3_), t3_ = _mm256_unpackhi_ps(v2_, v3_); \
    o0 = _mm256_shuffle_ps(t0_, t2_, 0x44); o1 = _mm256_shuffle_ps(t0_, t2_, 0xee); \
    o2 = _mm256_shuffle_ps(t1_, t3_, 0x44); o3 = _mm256_shuffle_ps(t1_, t3_, 0xee); } while (0)
#endif
