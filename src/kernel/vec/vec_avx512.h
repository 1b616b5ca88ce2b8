/* vec_avx512.h: the vector vocabulary of the kernels on AVX-512. Same names as vec_portable.h, which specifies them. */
#ifndef TY_VEC_AVX512_H
#define TY_VEC_AVX512_H
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__) || !defined(__FMA__)
#error "vec_avx512.h needs -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma"
#endif
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef __m512 vf;
typedef vf vf_one;
enum { VF_LANES = 16 };
#define VF_FN static inline __attribute__((always_inline, unused))

VF_FN vf vf_zero(void) { return _mm512_setzero_ps(); }
VF_FN vf vf_set1(float x) { return _mm512_set1_ps(x); }
VF_FN vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
VF_FN void vf_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
VF_FN vf vf_loadn(const float *p, int n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p); }
VF_FN void vf_storen(float *p, vf x, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), x); }
VF_FN vf vf_firstn(vf x, int n, float rest) { return _mm512_mask_mov_ps(_mm512_set1_ps(rest), (__mmask16)((1u << n) - 1u), x); }
VF_FN vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
VF_FN vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
VF_FN vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
VF_FN vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
VF_FN vf_one vf_load1(const float *p) { return _mm512_set1_ps(*p); }
VF_FN vf vf_fma1(vf_one x, vf b, vf c) { return _mm512_fmadd_ps(x, b, c); }
VF_FN vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
VF_FN vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
VF_FN vf vf_less(vf a, vf b, vf x, vf y) { return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), x); }
VF_FN vf vf_round(vf x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VF_FN vf vf_scale2(vf p, vf n) { return _mm512_scalef_ps(p, n); }
VF_FN vf vf_keep(vf x) { __asm__("" : "+v"(x)); return x; }
VF_FN vf vf_even(const float *p) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16)); }
VF_FN vf vf_odd(const float *p) { return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32((int)0xffff0000u))); }
VF_FN __m512i vf_rounded_(vf x) {
  __m512i u = _mm512_castps_si512(x), up = _mm512_add_epi32(_mm512_set1_epi32(0x7fff), _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1)));
  return _mm512_mask_or_epi32(_mm512_add_epi32(u, up), _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), u, _mm512_set1_epi32(0x400000));
}
VF_FN vf vf_words(vf even, vf odd) {
  return _mm512_castsi512_ps(_mm512_mask_mov_epi16(_mm512_srli_epi32(vf_rounded_(even), 16), 0xaaaaaaaau, vf_rounded_(odd)));
}
#ifdef __AVX512BF16__
/* Denormals, of the words and of the products, count as zero; each of the two products is added and rounded to nearest even. */
VF_FN vf vf_dot(vf x, vf b, vf c) { return _mm512_dpbf16_ps(c, (__m512bh)x, (__m512bh)b); }
VF_FN vf vf_pairs(vf first, vf second) { return (vf)_mm512_cvtne2ps_pbh(second, first); } /* words of 32 neighbours; as vf_words, denormals to zero */
#endif
VF_FN vf vf_permute(vf x, const int32_t *from) { return _mm512_permutexvar_ps(_mm512_loadu_si512(from), x); }
VF_FN float vf_sum(vf x) { return _mm512_reduce_add_ps(x); }
VF_FN float vf_top(vf x) { return _mm512_reduce_max_ps(x); }

VF_FN vf vf_whole(vf i) { return _mm512_cvtepi32_ps(_mm512_castps_si512(i)); }
VF_FN vf vf_addi(vf a, vf b) { return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b))); }
VF_FN vf vf_lessi(vf c, int32_t a, vf b) {
  return _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(c), _mm512_mullo_epi32(_mm512_set1_epi32(a), _mm512_castps_si512(b))));
}
VF_FN vf vf_byte(vf w, int i) { return _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(_mm512_castps_si512(w), (unsigned)(24 - 8 * i)), 24)); }
VF_FN vf vf_nibble(vf w, int i) {
  const vf table = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
  return _mm512_permutexvar_ps(_mm512_srli_epi32(_mm512_castps_si512(w), (unsigned)(4 * i)), table); /* takes four bits of each lane */
}
VF_FN void vf_bytes(uint8_t *to, vf x, int32_t zero) {
  __m512i i = _mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(zero));
  _mm_storeu_si128((__m128i *)to, _mm512_cvtusepi32_epi8(_mm512_max_epi32(i, _mm512_setzero_si512())));
}
enum { VF_DOT8_LESS = 0 };
VF_FN vf vf_dot8(vf_one x, vf b, vf c) {
  __m512i xi = _mm512_castps_si512(x), bi = _mm512_castps_si512(b), ci = _mm512_castps_si512(c);
#ifdef __AVX512VNNI__
  return _mm512_castsi512_ps(_mm512_dpbusd_epi32(ci, xi, bi));
#else /* bytes as pairs of 16 bits, the even and the odd ones: their products cannot overflow */
  __m512i low = _mm512_set1_epi16(255), even = _mm512_srai_epi16(_mm512_slli_epi16(bi, 8), 8), odd = _mm512_srai_epi16(bi, 8);
  ci = _mm512_add_epi32(ci, _mm512_madd_epi16(_mm512_and_si512(xi, low), even));
  return _mm512_castsi512_ps(_mm512_add_epi32(ci, _mm512_madd_epi16(_mm512_srli_epi16(xi, 8), odd)));
#endif
}

/* Rows r[0..16) of four floats each, as four columns. */
#define VF_ROW_(r, j) \
  _mm512_insertf32x4(_mm512_insertf32x4(_mm512_insertf32x4(_mm512_castps128_ps512(_mm_loadu_ps(r(0 + j))), \
    _mm_loadu_ps(r(4 + j)), 1), _mm_loadu_ps(r(8 + j)), 2), _mm_loadu_ps(r(12 + j)), 3)
#define VF_TRANSPOSE4(r, o0, o1, o2, o3) do { \
    __m512 v0_ = VF_ROW_(r, 0), v1_ = VF_ROW_(r, 1), v2_ = VF_ROW_(r, 2), v3_ = VF_ROW_(r, 3); \
    __m512 t0_ = _mm512_unpacklo_ps(v0_, v1_), t1_ = _mm512_unpackhi_ps(v0_, v1_); \
    __m512 t2_ = _mm512_unpacklo_ps(v2_, v3_), t3_ = _mm512_unpackhi_ps(v2_, v3_); \
    o0 = _mm512_shuffle_ps(t0_, t2_, 0x44); o1 = _mm512_shuffle_ps(t0_, t2_, 0xee); \
    o2 = _mm512_shuffle_ps(t1_, t3_, 0x44); o3 = _mm512_shuffle_ps(t1_, t3_, 0xee); } while (0)
#endif
