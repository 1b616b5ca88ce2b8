/* vec_sve.h: the vector vocabulary of the kernels on SVE with a length fixed by the compiler's flags, 128 or 256 bits. Same names
 * as vec_portable.h, which specifies them. */
#ifndef TY_VEC_SVE_H
#define TY_VEC_SVE_H
#if !defined(__ARM_FEATURE_SVE) || !defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC) || !defined(__ARM_FEATURE_SVE_MATMUL_INT8) || __ARM_FEATURE_SVE_BITS + 0 < 128
#error "vec_sve.h needs -march=armv8.2-a+fp16+dotprod+sve+bf16+i8mm and -msve-vector-bits"
#endif
#include <arm_neon.h>
#include <arm_sve.h>
#include <stdint.h>
#include <string.h>

#define VF_FIXED_ __attribute__((arm_sve_vector_bits(__ARM_FEATURE_SVE_BITS)))
typedef svfloat32_t vf VF_FIXED_;
typedef vf vf_one;
enum { VF_LANES = __ARM_FEATURE_SVE_BITS / 32 };
#define VF_FN static inline __attribute__((always_inline, unused))
#define VF_ALL_ svptrue_b32()
#define VF_MM_ALWAYS
#define VF_FIRST_(n) svwhilelt_b32(0, n)

VF_FN vf vf_zero(void) { return svdup_f32(0); }
VF_FN vf vf_set1(float x) { return svdup_f32(x); }
VF_FN vf vf_load(const float *p) { return svld1_f32(VF_ALL_, p); }
VF_FN void vf_store(float *p, vf x) { svst1_f32(VF_ALL_, p, x); }
VF_FN vf vf_loadn(const float *p, int n) { return svld1_f32(VF_FIRST_(n), p); }
VF_FN void vf_storen(float *p, vf x, int n) { svst1_f32(VF_FIRST_(n), p, x); }
VF_FN vf vf_firstn(vf x, int n, float rest) { return svsel_f32(VF_FIRST_(n), x, svdup_f32(rest)); }
VF_FN vf vf_add(vf a, vf b) { return svadd_f32_x(VF_ALL_, a, b); }
VF_FN vf vf_sub(vf a, vf b) { return svsub_f32_x(VF_ALL_, a, b); }
VF_FN vf vf_mul(vf a, vf b) { return svmul_f32_x(VF_ALL_, a, b); }
VF_FN vf vf_fma(vf a, vf b, vf c) { return svmla_f32_x(VF_ALL_, c, a, b); }
VF_FN vf_one vf_load1(const float *p) { return svdup_f32(*p); } /* ld1rw: a load and nothing else */
VF_FN vf vf_fma1(vf_one x, vf b, vf c) { return svmla_f32_x(VF_ALL_, c, b, x); }
VF_FN vf vf_max(vf a, vf b) { return svsel_f32(svcmpgt_f32(VF_ALL_, a, b), a, b); }
VF_FN vf vf_min(vf a, vf b) { return svsel_f32(svcmplt_f32(VF_ALL_, a, b), a, b); }
VF_FN vf vf_less(vf a, vf b, vf x, vf y) { return svsel_f32(svcmplt_f32(VF_ALL_, a, b), x, y); }
VF_FN vf vf_round(vf x) { return svrintn_f32_x(VF_ALL_, x); }
VF_FN vf vf_scale2(vf p, vf n) { return svscale_f32_x(VF_ALL_, p, svcvt_s32_f32_x(VF_ALL_, n)); }
VF_FN vf vf_keep(vf x) { return x; }
VF_FN vf vf_words(vf even, vf odd) {
  return svreinterpret_f32_bf16(svcvtnt_bf16_f32_x(svcvt_bf16_f32_x(VF_ALL_, even), VF_ALL_, odd));
}
VF_FN vf vf_permute(vf x, const int32_t *from) { return svtbl_f32(x, svreinterpret_u32_s32(svld1_s32(VF_ALL_, from))); }
VF_FN vf vf_whole(vf i) { return svcvt_f32_s32_x(VF_ALL_, svreinterpret_s32_f32(i)); }
VF_FN vf vf_addi(vf a, vf b) { return svreinterpret_f32_s32(svadd_s32_x(VF_ALL_, svreinterpret_s32_f32(a), svreinterpret_s32_f32(b))); }
VF_FN vf vf_lessi(vf c, int32_t a, vf b) { return svreinterpret_f32_s32(svmls_n_s32_x(VF_ALL_, svreinterpret_s32_f32(c), svreinterpret_s32_f32(b), a)); }
VF_FN vf vf_signed_(vf w, uint32_t up, uint32_t down) {
  return svcvt_f32_s32_x(VF_ALL_, svasr_n_s32_x(VF_ALL_, svlsl_n_s32_x(VF_ALL_, svreinterpret_s32_f32(w), up), down));
}
VF_FN vf vf_byte(vf w, int i) { return vf_signed_(w, (uint32_t)(24 - 8 * i), 24); }
VF_FN vf vf_nibble(vf w, int i) { return vf_signed_(w, (uint32_t)(28 - 4 * i), 28); }
VF_FN void vf_bytes(uint8_t *to, vf x, int32_t zero) {
  svint32_t i = svadd_n_s32_x(VF_ALL_, svcvt_s32_f32_x(VF_ALL_, svrintn_f32_x(VF_ALL_, x)), zero);
  svst1b_s32(VF_ALL_, (int8_t *)to, svmin_n_s32_x(VF_ALL_, svmax_n_s32_x(VF_ALL_, i, 0), 255));
}
/* For products of matrices: four words in each 128 bits; pairs of words of a and of b in turn, the low or the high half; that undone;
 * words of neighbours; sums of products of the two rows of x with the two columns of b in each 128 bits: of bf16 (each pair's products
 * added, then those to c, rounded to odd; denormals are zero), of bytes without and with signs. */
#define VF_64_(f, a, b) svreinterpret_f32_f64(f(svreinterpret_f64_f32(a), svreinterpret_f64_f32(b)))
VF_FN vf vf_four(const float *p) { return svld1rq_f32(VF_ALL_, p); }
VF_FN vf vf_zip(vf a, vf b, int high) { return high ? VF_64_(svzip2_f64, a, b) : VF_64_(svzip1_f64, a, b); }
VF_FN vf vf_unzip(vf a, vf b, int odd) { return odd ? VF_64_(svuzp2_f64, a, b) : VF_64_(svuzp1_f64, a, b); }
VF_FN vf vf_pairs(vf first, vf second) { return vf_words(svuzp1_f32(first, second), svuzp2_f32(first, second)); }
VF_FN vf vf_mm16(vf x, vf b, vf c) { return svbfmmla_f32(c, svreinterpret_bf16_f32(x), svreinterpret_bf16_f32(b)); }
/* Written out: sums as integers would be copied at each use (gcc 12). */
#ifdef __clang__
VF_FN vf vf_mm8(vf x, vf b, vf c) { return svreinterpret_f32_s32(svusmmla_s32(svreinterpret_s32_f32(c), svreinterpret_u8_f32(x), svreinterpret_s8_f32(b))); }
#else
VF_FN vf vf_mm8(vf x, vf b, vf c) { __asm__("usmmla %0.s, %1.b, %2.b" : "+w"(c) : "w"(x), "w"(b)); return c; }
#endif
VF_FN float vf_sum(vf x) { return svaddv_f32(VF_ALL_, x); }
VF_FN float vf_top(vf x) { return svmaxv_f32(VF_ALL_, x); }

/* Four rows of four floats at a time, by Advanced SIMD, side by side. */
#define VF_PAIR_(f, a, b) vreinterpretq_f32_f64(f(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)))
#define VF_TRANSPOSE4(r, o0, o1, o2, o3) do { \
    float t_[4][VF_LANES] __attribute__((aligned(32))); \
    for (int i_ = 0; i_ < VF_LANES; i_ += 4) { \
      float32x4_t v0_ = vld1q_f32(r(i_)), v1_ = vld1q_f32(r(i_ + 1)), v2_ = vld1q_f32(r(i_ + 2)), v3_ = vld1q_f32(r(i_ + 3)); \
      float32x4_t a_ = vtrn1q_f32(v0_, v1_), b_ = vtrn2q_f32(v0_, v1_), c_ = vtrn1q_f32(v2_, v3_), d_ = vtrn2q_f32(v2_, v3_); \
      vst1q_f32(t_[0] + i_, VF_PAIR_(vtrn1q_f64, a_, c_)); vst1q_f32(t_[1] + i_, VF_PAIR_(vtrn1q_f64, b_, d_)); \
      vst1q_f32(t_[2] + i_, VF_PAIR_(vtrn2q_f64, a_, c_)); vst1q_f32(t_[3] + i_, VF_PAIR_(vtrn2q_f64, b_, d_)); \
    } \
    o0 = vf_load(t_[0]); o1 = vf_load(t_[1]); o2 = vf_load(t_[2]); o3 = vf_load(t_[3]); } while (0)
#endif
