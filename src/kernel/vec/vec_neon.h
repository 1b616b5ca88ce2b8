/* vec_neon.h: the vector vocabulary of the kernels on AArch64's Advanced SIMD. Same names as vec_portable.h, which specifies them. */
#ifndef TY_VEC_NEON_H
#define TY_VEC_NEON_H
#if !defined(__aarch64__) || !defined(__ARM_FEATURE_DOTPROD) || !defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC) || defined(__ARM_FEATURE_SVE)
#error "vec_neon.h needs -march=armv8.2-a+fp16+dotprod and no SVE"
#endif
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

typedef float32x4_t vf;
typedef float vf_one;
enum { VF_LANES = 4 };
#define VF_FN static inline __attribute__((always_inline, unused))

VF_FN vf vf_zero(void) { return vdupq_n_f32(0); }
VF_FN vf vf_set1(float x) { return vdupq_n_f32(x); }
VF_FN vf vf_load(const float *p) { return vld1q_f32(p); }
VF_FN void vf_store(float *p, vf x) { vst1q_f32(p, x); }
VF_FN vf vf_loadn(const float *p, int n) {
  if (n == 4) return vld1q_f32(p);
  vf x = vsetq_lane_f32(p[0], vdupq_n_f32(0), 0);
  if (n > 1) x = vld1q_lane_f32(p + 1, x, 1);
  if (n > 2) x = vld1q_lane_f32(p + 2, x, 2);
  return x;
}
VF_FN void vf_storen(float *p, vf x, int n) {
  if (n == 4) { vst1q_f32(p, x); return; }
  vst1q_lane_f32(p, x, 0);
  if (n > 1) vst1q_lane_f32(p + 1, x, 1);
  if (n > 2) vst1q_lane_f32(p + 2, x, 2);
}
VF_FN vf vf_firstn(vf x, int n, float rest) {
  const int32_t at[4] = {0, 1, 2, 3};
  return vbslq_f32(vcltq_s32(vld1q_s32(at), vdupq_n_s32(n)), x, vdupq_n_f32(rest));
}
VF_FN vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
VF_FN vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
VF_FN vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
VF_FN vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
/* By element, from a scalar register: a load that fills all lanes (ld1r) would take one of the multipliers' slots. Written out,
 * because compilers make such a load of it when x is used more than once. */
VF_FN vf_one vf_load1(const float *p) { return *p; }
VF_FN vf vf_fma1(vf_one x, vf b, vf c) { __asm__("fmla %0.4s, %1.4s, %2.s[0]" : "+w"(c) : "w"(b), "w"(x)); return c; }
VF_FN vf vf_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
VF_FN vf vf_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
VF_FN vf vf_less(vf a, vf b, vf x, vf y) { return vbslq_f32(vcltq_f32(a, b), x, y); }
VF_FN vf vf_round(vf x) { return vrndnq_f32(x); }
VF_FN vf vf_scale2(vf p, vf n) {
  int32x4_t i = vcvtnq_s32_f32(n), h = vshrq_n_s32(i, 1);
  i = vsubq_s32(i, h);
  vf a = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(h, vdupq_n_s32(127)), 23));
  return vmulq_f32(vmulq_f32(p, a), vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(i, vdupq_n_s32(127)), 23)));
}
VF_FN vf vf_keep(vf x) { __asm__("" : "+w"(x)); return x; }
VF_FN vf vf_even(const float *p) { return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(vld1q_f32(p)), 16)); }
VF_FN vf vf_odd(const float *p) { return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(vld1q_f32(p)), vdupq_n_u32(0xffff0000u))); }
VF_FN vf vf_half(const float *p, int i) { return vld2q_f32(p).val[i]; }
VF_FN vf vf_quarter(const float *p, int i) {
  uint32x4_t w = vreinterpretq_u32_f32(vf_half(p, i / 2));
  return vreinterpretq_f32_u32(i % 2 ? vandq_u32(w, vdupq_n_u32(0xffff0000u)) : vshlq_n_u32(w, 16));
}
VF_FN uint32x4_t vf_rounded_(vf x) {
  uint32x4_t u = vreinterpretq_u32_f32(x), up = vaddq_u32(u, vaddq_u32(vdupq_n_u32(0x7fff), vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1))));
  return vbslq_u32(vceqq_f32(x, x), up, vorrq_u32(u, vdupq_n_u32(0x400000)));
}
VF_FN vf vf_words(vf even, vf odd) { return vreinterpretq_f32_u32(vsriq_n_u32(vf_rounded_(odd), vf_rounded_(even), 16)); }
VF_FN vf vf_permute(vf x, const int32_t *from) {
  uint8x16_t at = vreinterpretq_u8_u32(vmlaq_n_u32(vdupq_n_u32(0x03020100), vreinterpretq_u32_s32(vld1q_s32(from)), 0x04040404));
  return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(x), at));
}
#define VF_PAIR_(f, a, b) vreinterpretq_f32_f64(f(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)))
VF_FN int32x4_t vf_int_(vf x) { return vreinterpretq_s32_f32(x); }
VF_FN vf vf_whole(vf i) { return vcvtq_f32_s32(vf_int_(i)); }
VF_FN vf vf_addi(vf a, vf b) { return vreinterpretq_f32_s32(vaddq_s32(vf_int_(a), vf_int_(b))); }
VF_FN vf vf_lessi(vf c, int32_t a, vf b) { return vreinterpretq_f32_s32(vmlsq_n_s32(vf_int_(c), vf_int_(b), a)); }
VF_FN vf vf_byte(vf w, int i) { return vcvtq_f32_s32(vshrq_n_s32(vshlq_s32(vf_int_(w), vdupq_n_s32(24 - 8 * i)), 24)); }
VF_FN vf vf_nibble(vf w, int i) { return vcvtq_f32_s32(vshrq_n_s32(vshlq_s32(vf_int_(w), vdupq_n_s32(28 - 4 * i)), 28)); }
VF_FN void vf_bytes(uint8_t *to, vf x, int32_t zero) {
  uint16x4_t h = vqmovun_s32(vaddq_s32(vcvtnq_s32_f32(x), vdupq_n_s32(zero)));
  vst1_lane_u32((uint32_t *)(void *)to, vreinterpret_u32_u8(vqmovn_u16(vcombine_u16(h, h))), 0);
}
enum { VF_DOT8_LESS = 128 };
VF_FN vf vf_dot8(vf_one x, vf b, vf c) { __asm__("sdot %0.4s, %1.16b, %2.4b[0]" : "+w"(c) : "w"(b), "w"(x)); return c; }
#ifdef __ARM_FEATURE_MATMUL_INT8
VF_FN vf vf_four(const float *p) { return vf_load(p); }
VF_FN vf vf_zip(vf a, vf b, int high) { return high ? VF_PAIR_(vzip2q_f64, a, b) : VF_PAIR_(vzip1q_f64, a, b); }
VF_FN vf vf_unzip(vf a, vf b, int odd) { return vf_zip(a, b, odd); }
VF_FN vf vf_pairs(vf first, vf second) { return vreinterpretq_f32_bf16(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(first), second)); }
VF_FN vf vf_mm16(vf x, vf b, vf c) { return vbfmmlaq_f32(c, vreinterpretq_bf16_f32(x), vreinterpretq_bf16_f32(b)); }
VF_FN vf vf_mm8(vf x, vf b, vf c) { __asm__("usmmla %0.4s, %1.16b, %2.16b" : "+w"(c) : "w"(x), "w"(b)); return c; }
#endif
VF_FN float vf_sum(vf x) { return vaddvq_f32(x); }
VF_FN float vf_top(vf x) { return vmaxvq_f32(x); }

#define VF_TRANSPOSE4(r, o0, o1, o2, o3) do { \
    vf v0_ = vf_load(r(0)), v1_ = vf_load(r(1)), v2_ = vf_load(r(2)), v3_ = vf_load(r(3)); \
    vf t0_ = vtrn1q_f32(v0_, v1_), t1_ = vtrn2q_f32(v0_, v1_), t2_ = vtrn1q_f32(v2_, v3_), t3_ = vtrn2q_f32(v2_, v3_); \
    o0 = VF_PAIR_(vtrn1q_f64, t0_, t2_); o1 = VF_PAIR_(vtrn1q_f64, t1_, t3_); \
    o2 = VF_PAIR_(vtrn2q_f64, t0_, t2_); o3 = VF_PAIR_(vtrn2q_f64, t1_, t3_); } while (0)
#endif
