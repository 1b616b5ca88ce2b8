/* vec_portable.h: the vector vocabulary of the kernels in GNU C vectors, for any CPU. It specifies the other vec headers:
 * a new ISA writes this list of names, nothing else. */
#ifndef TY_VEC_PORTABLE_H
#define TY_VEC_PORTABLE_H
#include <stdint.h>
#include <string.h>

typedef float vf __attribute__((vector_size(16)));
typedef int32_t vf_int __attribute__((vector_size(16)));
typedef vf vf_one; /* a number for all lanes, as vf_fma1 likes it */
typedef uint32_t vf_bits __attribute__((vector_size(16)));
enum { VF_LANES = 4 };
#define VF_FN static inline __attribute__((always_inline, unused))

VF_FN vf vf_zero(void) { return (vf){0}; }
VF_FN vf vf_set1(float x) { return (vf){x, x, x, x}; }
VF_FN vf vf_load(const float *p) { vf x; memcpy(&x, p, sizeof x); return x; } /* any alignment */
VF_FN void vf_store(float *p, vf x) { memcpy(p, &x, sizeof x); }
/* The first n lanes, 0 < n <= VF_LANES: memory beyond is not touched, lanes beyond load as 0. */
VF_FN vf vf_loadn(const float *p, int n) { vf x = {0}; for (int i = 0; i < n; i++) x[i] = p[i]; return x; }
VF_FN void vf_storen(float *p, vf x, int n) { for (int i = 0; i < n; i++) p[i] = x[i]; }
/* The first n lanes of x, 0 <= n <= VF_LANES, and `rest` in the others. */
VF_FN vf vf_firstn(vf x, int n, float rest) { for (int i = n; i < VF_LANES; i++) x[i] = rest; return x; }
VF_FN vf vf_add(vf a, vf b) { return a + b; }
VF_FN vf vf_sub(vf a, vf b) { return a - b; }
VF_FN vf vf_mul(vf a, vf b) { return a * b; }
VF_FN vf vf_fma(vf a, vf b, vf c) { return a * b + c; } /* rounds once or twice */
VF_FN vf_one vf_load1(const float *p) { return vf_set1(*p); }
VF_FN vf vf_fma1(vf_one x, vf b, vf c) { return vf_fma(x, b, c); }
/* b where either is NaN: vf_max(x, best) passes over NaN, vf_max(limit, x) keeps it. */
VF_FN vf vf_max(vf a, vf b) { vf_int m = a > b; return (vf)(((vf_int)a & m) | ((vf_int)b & ~m)); }
VF_FN vf vf_min(vf a, vf b) { vf_int m = a < b; return (vf)(((vf_int)a & m) | ((vf_int)b & ~m)); }
VF_FN vf vf_less(vf a, vf b, vf x, vf y) { vf_int m = a < b; return (vf)(((vf_int)x & m) | ((vf_int)y & ~m)); } /* x where a < b */
VF_FN vf vf_round(vf x) { vf big = vf_set1(12582912.0f); return (x + big) - big; } /* to nearest even, |x| < 2^22 */
/* p * 2^n for whole n in [-252, 254]: overflows to infinity, underflows by denormals to 0. NaN in either gives NaN. */
VF_FN vf vf_scale2(vf p, vf n) {
  vf_int i = (vf_int)(n + vf_set1(12582912.0f)) - 0x4b400000, h = i >> 1;
  i -= h;
  return p * (vf)((h + 127) << 23) * (vf)((i + 127) << 23);
}
VF_FN vf vf_keep(vf x) { return x; } /* x in a register from here on: gcc would rather load it again at each use */
/* Words of two bf16 each: those at p, even and odd, as floats; from floats, to nearest even, NaN quiet. */
VF_FN vf vf_even(const float *p) { return (vf)((vf_bits)vf_load(p) << 16); }
VF_FN vf vf_odd(const float *p) { return (vf)((vf_bits)vf_load(p) & 0xffff0000u); }
/* Two words of each column stand together at p: the i-th of them; of their four bf16, the i-th as floats. */
VF_FN vf vf_half(const float *p, int i) { return (vf){p[i], p[2 + i], p[4 + i], p[6 + i]}; }
VF_FN vf vf_quarter(const float *p, int i) { return i % 2 ? (vf)((vf_bits)vf_half(p, i / 2) & 0xffff0000u) : (vf)((vf_bits)vf_half(p, i / 2) << 16); }
VF_FN vf_bits vf_rounded_(vf x) { /* bf16 in the upper half, anything in the lower */
  vf_bits u = (vf_bits)x, nan = (vf_bits)(x != x);
  return ((u | 0x400000u) & nan) | ((u + 0x7fffu + (u >> 16 & 1u)) & ~nan);
}
VF_FN vf vf_words(vf even, vf odd) { return (vf)(vf_rounded_(even) >> 16 | (vf_rounded_(odd) & 0xffff0000u)); }
VF_FN vf vf_permute(vf x, const int32_t *from) { return (vf){x[from[0]], x[from[1]], x[from[2]], x[from[3]]}; } /* lane i: x[from[i]] */
VF_FN float vf_sum(vf x) { return (x[0] + x[1]) + (x[2] + x[3]); }
VF_FN float vf_top(vf x) { float a = x[0] > x[1] ? x[0] : x[1], b = x[2] > x[3] ? x[2] : x[3]; return a > b ? a : b; } /* no NaN in x */

/* Integers of 32 bits in the bits of a vf, wrapping. */
VF_FN vf vf_whole(vf i) { return __builtin_convertvector((vf_int)i, vf); }
VF_FN vf vf_addi(vf a, vf b) { return (vf)((vf_bits)a + (vf_bits)b); }
VF_FN vf vf_lessi(vf c, int32_t a, vf b) { return (vf)((vf_bits)c - (uint32_t)a * (vf_bits)b); }
/* The i-th byte of each word, and the i-th four bits, both signed, as floats. */
VF_FN vf vf_byte(vf w, int i) { return __builtin_convertvector((vf_int)((vf_bits)w << (24 - 8 * i)) >> 24, vf); }
VF_FN vf vf_nibble(vf w, int i) { return __builtin_convertvector((vf_int)((vf_bits)w << (28 - 4 * i)) >> 28, vf); }
/* The nearest whole numbers plus zero, cut to what a byte holds; |x| < 2^22. */
VF_FN void vf_bytes(uint8_t *to, vf x, int32_t zero) {
  __asm__("" : "+m"(x)); /* a product is rounded before it is rounded again */
  vf q = vf_min(vf_max(vf_add(vf_round(x), vf_set1((float)zero)), vf_zero()), vf_set1(255.0f));
  for (int i = 0; i < VF_LANES; i++) to[i] = (uint8_t)(int)q[i];
}
/* c plus the four products of the bytes of each word: those of b have signs, those of x do where they are VF_DOT8_LESS less. */
enum { VF_DOT8_LESS = 0 };
VF_FN vf vf_dot8(vf_one x, vf b, vf c) {
  for (int i = 0; i < 4; i++) c = (vf)((vf_int)c + (vf_int)((vf_bits)x >> (8 * i) & 255u) * ((vf_int)((vf_bits)b << (24 - 8 * i)) >> 24));
  return c;
}

/* r(i) is the address of row i's four floats, for i in [0, VF_LANES): o0..o3 become the four columns. */
#define VF_TRANSPOSE4(r, o0, o1, o2, o3) do { \
    vf v0_ = vf_load(r(0)), v1_ = vf_load(r(1)), v2_ = vf_load(r(2)), v3_ = vf_load(r(3)); \
    o0 = (vf){v0_[0], v1_[0], v2_[0], v3_[0]}; o1 = (vf){v0_[1], v1_[1], v2_[1], v3_[1]}; \
    o2 = (vf){v0_[2], v1_[2], v2_[2], v3_[2]}; o3 = (vf){v0_[3], v1_[3], v2_[3], v3_[3]}; } while (0)
#endif
