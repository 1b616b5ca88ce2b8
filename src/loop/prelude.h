/* prelude.h: what stands before emitted kernels, after tuyere_abi.h: the scalar functions that prims.def names through FN.
 * Freestanding. The hot functions have no branches, tables or calls, so that loops over them vectorise on every ISA.
 * Polynomials are weighted minimax fits made for this file; errors below are against the exact value, in ulp of float. */
#ifndef TY_PRELUDE_H
#define TY_PRELUDE_H
#include "tuyere_abi.h"
#pragma GCC diagnostic ignored "-Wtype-limits" /* one text for signed and unsigned types */
#if defined __GNUC__ && !defined __clang__ /* threads selects that follow each other into a tree of masks: max of max of max .. */
#pragma GCC optimize("no-thread-jumps")
#endif
#define TY_F static inline __attribute__((always_inline, unused))

/* A column loop's last, partial turn [cm, ce): where loads and stores can be masked it is one whole turn of 16, and TY_IN tells
 * its columns from those beyond. The lane number is read from a table, or else compilers split the loop at ce into scalar ones. */
#ifdef __AVX512BW__
static const ty_i32 ty_lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#define TY_TAIL(cm, ce) ((cm) + 16)
#define TY_IN(lane, left) (ty_lane[lane] < (left))
#else
#define TY_TAIL(cm, ce) (ce)
#define TY_IN(lane, left) 1
#endif

/* ---- Bits ---- */
TY_F ty_i32 ty_bits_f32(float a) { ty_i32 r; __builtin_memcpy(&r, &a, 4); return r; }
TY_F float ty_float_i32(ty_i32 a) { float r; __builtin_memcpy(&r, &a, 4); return r; }
TY_F ty_i64 ty_bits_f64(double a) { ty_i64 r; __builtin_memcpy(&r, &a, 8); return r; }
TY_F double ty_float_i64(ty_i64 a) { double r; __builtin_memcpy(&r, &a, 8); return r; }
TY_F float ty_pick_f32(int c, float a, float b) { return ty_float_i32((ty_bits_f32(a) & -c) | (ty_bits_f32(b) & (c - 1))); } /* c: 0 or 1 */
TY_F double ty_pick_f64(int c, double a, double b) { return ty_float_i64((ty_bits_f64(a) & -(ty_i64)c) | (ty_bits_f64(b) & ((ty_i64)c - 1))); }
/* The larger and the smaller of a number k and a, and a between two; a NaN in a is kept. Where the processor's max keeps NaN in one
 * operand (x86) these are one instruction each. gcc turns a select with a constant round, on AArch64 to a comparison that the
 * machine lacks (seven instructions); it has IEEE 754-2008's maxNum and minNum. clang does not, and is slower with these. */
#if defined __aarch64__ && !defined __clang__
#define TY_MAX_NUMBER(X, a, k) ((a) != (a) ? (a) : __builtin_fmax##X(a, k))
#define TY_MIN_NUMBER(X, a, k) ((a) != (a) ? (a) : __builtin_fmin##X(a, k))
TY_F float ty_clamp_f32(float a, float lo, float hi) { return a != a ? a : __builtin_fminf(__builtin_fmaxf(a, lo), hi); }
#else
#define TY_MAX_NUMBER(X, a, k) ((k) > (a) ? (k) : (a))
#define TY_MIN_NUMBER(X, a, k) ((k) < (a) ? (k) : (a))
TY_F float ty_clamp_f32(float a, float lo, float hi) { /* two steps, so that it becomes max and min */
  const float x = lo > a ? lo : a;
  return hi < x ? hi : x;
}
#endif
TY_F float ty_pow2_f32(ty_i32 n) { return ty_float_i32((ty_i32)((ty_u32)(n + 127) << 23)); } /* -126 <= n <= 127 */

/* ---- Integers: wrap, never trap ---- */
#define TY_INT_COMMON(T, U, S) \
  TY_F T ty_wadd_##S(T a, T b) { return (T)((U)a + (U)b); } \
  TY_F T ty_wsub_##S(T a, T b) { return (T)((U)a - (U)b); } \
  TY_F T ty_wmul_##S(T a, T b) { return (T)((U)a * (U)b); } \
  TY_F T ty_shl_##S(T a, T b) { const int n = 8 * sizeof(T); return b >= 0 && b < n ? (T)((U)a << (b & (n - 1))) : (T)0; } \
  TY_F T ty_pow_##S(T a, T b) { \
    if (b < 0) return a == 1 ? (T)1 : a == (T)-1 ? (T)(b & 1 ? -1 : 1) : (T)0; \
    U r = 1, p = (U)a; \
    for (; b; b = (T)(b >> 1), p = (U)(p * p)) if (b & 1) r = (U)(r * p); \
    return (T)r; \
  }
#define TY_INT_SIGNED(T, U, S) \
  TY_F T ty_truncdiv_##S(T a, T b) { return b == 0 ? (T)0 : b == -1 ? (T)(0 - (U)a) : (T)(a / b); } \
  TY_F T ty_fmod_##S(T a, T b) { return b == 0 || b == -1 ? (T)0 : (T)(a % b); } \
  TY_F T ty_floordiv_##S(T a, T b) { const T r = ty_fmod_##S(a, b); return (T)(ty_truncdiv_##S(a, b) - ((r != 0) & ((r < 0) != (b < 0)))); } \
  TY_F T ty_rem_##S(T a, T b) { const T r = ty_fmod_##S(a, b); return (T)(((r != 0) & ((r < 0) != (b < 0))) ? r + b : r); } \
  TY_F T ty_shr_##S(T a, T b) { const int n = 8 * sizeof(T); return (T)(a >> (b >= 0 && b < n ? b : n - 1)); } \
  TY_F T ty_abs_##S(T a) { return a < 0 ? (T)(0 - (U)a) : a; }
/* The product of two u16 is formed as int: u32 keeps it from overflowing. */
TY_INT_COMMON(ty_i8, ty_u32, i8)
TY_INT_COMMON(ty_u8, ty_u32, u8)
TY_INT_COMMON(ty_i16, ty_u32, i16)
TY_INT_COMMON(ty_i32, ty_u32, i32)
TY_INT_COMMON(ty_i64, ty_u64, i64)
TY_INT_SIGNED(ty_i8, ty_u32, i8)
TY_INT_SIGNED(ty_i16, ty_u32, i16)
TY_INT_SIGNED(ty_i32, ty_u32, i32)
TY_INT_SIGNED(ty_i64, ty_u64, i64)
TY_F ty_u8 ty_truncdiv_u8(ty_u8 a, ty_u8 b) { return b ? (ty_u8)(a / b) : 0; }
TY_F ty_u8 ty_fmod_u8(ty_u8 a, ty_u8 b) { return b ? (ty_u8)(a % b) : 0; }
TY_F ty_u8 ty_floordiv_u8(ty_u8 a, ty_u8 b) { return ty_truncdiv_u8(a, b); }
TY_F ty_u8 ty_rem_u8(ty_u8 a, ty_u8 b) { return ty_fmod_u8(a, b); }
TY_F ty_u8 ty_shr_u8(ty_u8 a, ty_u8 b) { return b < 8 ? (ty_u8)(a >> (b & 7)) : 0; }
TY_F ty_u8 ty_abs_u8(ty_u8 a) { return a; }

/* ---- Floats: what both widths share. Two selects, not one with an or: gcc leaves chains of those as branches ---- */
#define TY_FLOAT_COMMON(T, S, B, X) \
  TY_F T ty_max_##S(T a, T b) { \
    if (__builtin_constant_p(b) && b == b) return TY_MAX_NUMBER(X, a, b); \
    T r = a > b ? a : b; \
    return a != a ? a : r; \
  } \
  TY_F T ty_min_##S(T a, T b) { \
    if (__builtin_constant_p(b) && b == b) return TY_MIN_NUMBER(X, a, b); \
    T r = a < b ? a : b; \
    return a != a ? a : r; \
  } \
  TY_F T ty_fmax_##S(T a, T b) { T r = a > b ? a : b; return b != b ? a : r; } \
  TY_F T ty_fmin_##S(T a, T b) { T r = a < b ? a : b; return b != b ? a : r; } \
  TY_F T ty_abs_##S(T a) { return __builtin_fabs##X(a); } \
  TY_F T ty_sign_##S(T a) { return (T)((a > 0) - (a < 0)); } \
  TY_F int ty_signbit_##S(T a) { return ty_bits_##S(a) < 0; } \
  TY_F int ty_isinf_##S(T a) { return __builtin_fabs##X(a) == __builtin_inf##X(); } \
  TY_F T ty_floor_##S(T a) { return __builtin_floor##X(a); } \
  TY_F T ty_ceil_##S(T a) { return __builtin_ceil##X(a); } \
  TY_F T ty_trunc_##S(T a) { return __builtin_trunc##X(a); } \
  TY_F T ty_round_##S(T a) { return __builtin_rint##X(a); } \
  TY_F T ty_sqrt_##S(T a) { return __builtin_sqrt##X(a); } \
  TY_F T ty_copysign_##S(T a, T b) { return __builtin_copysign##X(a, b); } \
  TY_F T ty_fmod_##S(T a, T b) { return __builtin_fmod##X(a, b); } \
  TY_F T ty_rem_##S(T a, T b) { const T m = __builtin_fmod##X(a, b); return ((m != 0) & ((b < 0) != (m < 0))) ? m + b : m; } \
  TY_F T ty_floordiv_##S(T a, T b) { /* PyTorch's: the quotient of a - mod, which is nearly an integer, made one */ \
    const T m = __builtin_fmod##X(a, b), q = (a - m) / b - (T)((m != 0) & ((b < 0) != (m < 0))), f = __builtin_floor##X(q); \
    const T r = q != 0 ? f + (T)(q - f > (T)0.5) : __builtin_copysign##X((T)0, a / b); \
    return b == 0 ? a / b : r; \
  } \
  TY_F T ty_pow_##S(T a, T b) { return __builtin_pow##X(a, b); } \
  TY_F T ty_atan2_##S(T a, T b) { return __builtin_atan2##X(a, b); } \
  TY_F T ty_tan_##S(T a) { return __builtin_tan##X(a); } \
  TY_F T ty_asin_##S(T a) { return __builtin_asin##X(a); } \
  TY_F T ty_acos_##S(T a) { return __builtin_acos##X(a); } \
  TY_F T ty_atan_##S(T a) { return __builtin_atan##X(a); } \
  TY_F T ty_sinh_##S(T a) { return __builtin_sinh##X(a); } \
  TY_F T ty_cosh_##S(T a) { return __builtin_cosh##X(a); } \
  TY_F T ty_asinh_##S(T a) { return __builtin_asinh##X(a); } \
  TY_F T ty_acosh_##S(T a) { return __builtin_acosh##X(a); } \
  TY_F T ty_atanh_##S(T a) { return __builtin_atanh##X(a); } \
  /* Out of range is what x86 does: the smallest integer. By masks, or gcc takes a cast of the result to T for trunc(a), which has -0. */ \
  TY_F ty_i32 ty_to_i32_##S(T a) { \
    const ty_i32 in = -((a > -(T)0x1.000001p31) & (a < (T)0x1p31)); \
    return ((ty_i32)(in ? a : 0) & in) | (~in & (-0x7fffffff - 1)); \
  } \
  TY_F ty_i64 ty_to_i64_##S(T a) { \
    const ty_i64 in = -(ty_i64)((a >= -(T)0x1p63) & (a < (T)0x1p63)); \
    return ((ty_i64)(in ? a : 0) & in) | (~in & (-0x7fffffffffffffffLL - 1)); \
  } \
  TY_F ty_i16 ty_to_i16_##S(T a) { return (ty_i16)ty_to_i32_##S(a); } \
  TY_F ty_i8 ty_to_i8_##S(T a) { return (ty_i8)ty_to_i32_##S(a); } \
  TY_F ty_u8 ty_to_u8_##S(T a) { return (ty_u8)ty_to_i32_##S(a); }
TY_FLOAT_COMMON(float, f32, ty_i32, f)
TY_FLOAT_COMMON(double, f64, ty_i64, )

/* ---- Doubles: libm, exact enough and rare ---- */
#define TY_F64(name) TY_F double ty_##name##_f64(double a) { return __builtin_##name(a); }
TY_F64(exp) TY_F64(exp2) TY_F64(expm1) TY_F64(log) TY_F64(log2) TY_F64(log10) TY_F64(log1p)
TY_F64(sin) TY_F64(cos) TY_F64(tanh) TY_F64(erf) TY_F64(erfc)

/* ---- exp and its kin: x = n ln2 + r, e^x = 2^n e^r; 2^n is applied in two halves, which reach subnormals and infinity ---- */
#define TY_ROUND_F32 0x1.8p+23f /* adding this rounds to an integer, which then stands in the low bits */
TY_F ty_i32 ty_low_f32(float t) { return (ty_i32)((ty_u32)ty_bits_f32(t) << 9) >> 9; }
TY_F float ty_exp_poly_f32(float r) { /* e^r - 1 for |r| <= ln2 / 2 */
  float q = 0x1.9efcdcp-13f;
  q = q * r + 0x1.6d9bd6p-10f;
  q = q * r + 0x1.11128ep-7f;
  q = q * r + 0x1.55547ep-5f;
  q = q * r + 0x1.555554p-3f;
  q = q * r + 0.5f;
  return q * (r * r) + r;
}
TY_F float ty_scale_f32(float p, ty_i32 n) { return p * ty_pow2_f32(n >> 1) * ty_pow2_f32(n - (n >> 1)); }
TY_F float ty_exp_f32(float a) { /* 1 ulp */
  const float x = ty_clamp_f32(a, -104.0f, 89.0f);
  const float t = x * 0x1.715476p+0f + TY_ROUND_F32, n = t - TY_ROUND_F32;
  const float r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f; /* 16 bits of ln2, so that n times it is exact */
  return ty_scale_f32(1.0f + ty_exp_poly_f32(r), ty_low_f32(t));
}
TY_F float ty_exp2_f32(float a) { /* 1 ulp */
  const float x = ty_clamp_f32(a, -151.0f, 129.0f);
  const float t = x + TY_ROUND_F32, r = (x - (t - TY_ROUND_F32)) * 0x1.62e43p-1f;
  return ty_scale_f32(1.0f + ty_exp_poly_f32(r), ty_low_f32(t));
}
TY_F float ty_expm1_f32(float a) { /* 2 ulp */
  const float x = ty_clamp_f32(a, -18.0f, 89.0f);
  const float t = x * 0x1.715476p+0f + TY_ROUND_F32, n = t - TY_ROUND_F32;
  const float r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
  const float h = ty_pow2_f32((ty_low_f32(t)) - 1); /* half of 2^n, which itself may overflow */
  const float y = 2.0f * (ty_exp_poly_f32(r) * h + (h - 0.5f));
  return a == 0 ? a : y;
}
TY_F float ty_tanh_f32(float a) { /* 2 ulp; from e^(-2|a|) - 1, so that nothing overflows or cancels */
  const float m = __builtin_fabsf(a), x = m > 9.5f ? -19.0f : m * -2.0f;
  const float t = x * 0x1.715476p+0f + TY_ROUND_F32, n = t - TY_ROUND_F32;
  const float r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
  const float s = ty_pow2_f32(ty_low_f32(t)), e = ty_exp_poly_f32(r) * s + (s - 1.0f);
  return __builtin_copysignf(e / (2.0f + e), a);
}

/* ---- log and its kin: x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2) ---- */
TY_F float ty_log_poly_f32(float f) { /* (log(1 + f) - f + f^2 / 2) / f^3 */
  float q = 0x1.145736p-4f;
  q = q * f + -0x1.de660cp-4f;
  q = q * f + 0x1.e70714p-4f;
  q = q * f + -0x1.fc1d46p-4f;
  q = q * f + 0x1.2335bp-3f;
  q = q * f + -0x1.555c5cp-3f;
  q = q * f + 0x1.99a4cap-3f;
  q = q * f + -0x1.000006p-2f;
  return q * f + 0x1.555548p-2f;
}
TY_F float ty_log_tail_f32(float f) { return f * f * (f * ty_log_poly_f32(f) - 0.5f); } /* log(1 + f) - f */
TY_F float ty_log_split_f32(float a, float *f) { /* the exponent */
  const int tiny = a < 0x1p-126f;
  const ty_i32 b = ty_bits_f32(tiny ? a * 0x1p+23f : a), e = (ty_i32)((ty_u32)b - 0x3f3504f3u) >> 23;
  *f = ty_float_i32((ty_i32)((ty_u32)b - ((ty_u32)e << 23))) - 1.0f;
  return (float)(e - (tiny ? 23 : 0));
}
TY_F float ty_log_ends_f32(float a, float y) { /* zero, negative, infinite, NaN */
  const float z = a == __builtin_inff() ? a : y;
  return a > 0 ? z : a == 0 ? -__builtin_inff() : __builtin_nanf("");
}
TY_F float ty_log_f32(float a) { /* 1 ulp */
  float f;
  const float e = ty_log_split_f32(a, &f);
  return ty_log_ends_f32(a, e * 0x1.62e4p-1f + (f + (ty_log_tail_f32(f) + e * 0x1.7f7d1cp-20f)));
}
TY_F float ty_log2_f32(float a) { /* 2 ulp; log2(e) = 1 + 0.4427 */
  float f;
  const float e = ty_log_split_f32(a, &f), t = ty_log_tail_f32(f);
  return ty_log_ends_f32(a, e + (f + (t + (f * 0x1.c551dap-2f + t * 0x1.c551dap-2f))));
}
TY_F float ty_log10_f32(float a) { /* 2 ulp */
  float f;
  const float e = ty_log_split_f32(a, &f), t = ty_log_tail_f32(f);
  const float low = t * 0x1.bcb7b2p-2f + (f * -0x1.09d5b2p-15f + e * 0x1.3509f8p-18f);
  return ty_log_ends_f32(a, e * 0x1.344p-2f + (f * 0x1.bccp-2f + low));
}
TY_F float ty_log1p_f32(float a) { /* 2 ulp; what 1 + a rounds off is added to f */
  const float u = 1.0f + a;
  const float lost = a > 1.0f ? 1.0f - (u - a) : a - (u - 1.0f);
  float f;
  const float e = ty_log_split_f32(u, &f);
  const ty_i32 n = (ty_i32)e;
  f += lost * ty_pow2_f32(n > 126 ? -126 : n < -100 ? 100 : -n);
  const float y = e * 0x1.62e4p-1f + (f + (ty_log_tail_f32(f) + e * 0x1.7f7d1cp-20f));
  return a == 0 ? a : ty_log_ends_f32(u, y);
}

/* ---- sin and cos: x = j pi/2 + r in double, three parts of pi/2; right for |x| < 2^31, beyond that in [-1, 1] only ---- */
TY_F float ty_sin_quadrant_f32(float a, ty_i64 shift) {
  const double x = (double)a, t = x * 0x1.45f306dc9c883p-1 + 0x1.8p+52, j = t - 0x1.8p+52;
  const float r = (float)(((x - j * 0x1.921fb8p+0) - j * -0x1.5dde98p-23) - j * 0x1.8469898cc517p-48);
  const ty_i32 q = (ty_i32)(ty_bits_f64(t) + shift);
  const float z = r * r;
  const float s = r + r * z * (-0x1.555556p-3f + z * (0x1.111108p-7f + z * (-0x1.a00f32p-13f + z * 0x1.6cbecep-19f)));
  const float c = 1.0f - (0.5f * z - z * z * (0x1.555556p-5f + z * (-0x1.6c16b8p-10f + z * (0x1.a010c4p-16f + z * -0x1.2417ep-22f))));
  const float y = q & 1 ? c : s;
  return ty_float_i32(ty_bits_f32(y) ^ (ty_i32)((ty_u32)(q & 2) << 30));
}
TY_F float ty_sin_f32(float a) { const float y = ty_sin_quadrant_f32(a, 0); return a == 0 ? a : y; }
TY_F float ty_cos_f32(float a) { return ty_sin_quadrant_f32(a, 1); }

/* ---- erf and erfc ---- */
TY_F float ty_erf_f32(float a) { /* 4 ulp (5 without FMA); a P(a^2), the argument of P centred, which keeps its terms small */
  const float z = a * a, t = TY_MIN_NUMBER(f, z, 15.6025f) * 0x1.0685a4p-3f - 1.0f; /* beyond 3.95, P stays and y passes 1 */
  float p = -0x1.fe31aap-11f;
  p = p * t + 0x1.39583ep-9f;
  p = p * t + -0x1.83827ap-10f;
  p = p * t + 0x1.f77784p-10f;
  p = p * t + -0x1.0e5d7ep-7f;
  p = p * t + 0x1.f21384p-7f;
  p = p * t + -0x1.555dccp-6f;
  p = p * t + 0x1.f403cap-6f;
  p = p * t + -0x1.6b3fecp-5f;
  p = p * t + 0x1.e429cp-5f;
  p = p * t + -0x1.306aap-4f;
  p = p * t + 0x1.7287bp-4f;
  p = p * t + -0x1.bcfaecp-4f;
  p = p * t + 0x1.10bf98p-3f;
  p = p * t + -0x1.6e1eb8p-3f;
  p = p * t + 0x1.6e97cp-2f;
  return ty_clamp_f32(p * a, -1.0f, 1.0f);
}
TY_F float ty_erfc_f32(float a) { /* 5 ulp; e^(-x^2) P((x - 3) / (x + 3)), the square in two parts */
  const float m = __builtin_fabsf(a), x = m > 10.5f ? 10.5f : m;
  const float u = (x - 3.0f) / (x + 3.0f), h = ty_float_i32(ty_bits_f32(x) & ~0xfff);
  float p = -0x1.c3625ep-18f;
  p = p * u + -0x1.433bdp-17f;
  p = p * u + 0x1.0c04b2p-14f;
  p = p * u + 0x1.6b399ep-15f;
  p = p * u + -0x1.3920c2p-11f;
  p = p * u + 0x1.735dc2p-11f;
  p = p * u + 0x1.17c952p-8f;
  p = p * u + -0x1.8fa5eap-6f;
  p = p * u + 0x1.258b12p-4f;
  p = p * u + -0x1.336ffcp-3f;
  p = p * u + 0x1.f6ff2p-3f;
  p = p * u + -0x1.4e102cp-2f;
  p = p * u + 0x1.6e9828p-3f;
  const float y = ty_exp_f32(-h * h) * (p + p * ty_exp_poly_f32((h - x) * (x + h)));
  return a < 0 ? 2.0f - y : y;
}

/* ---- Halves: round to nearest even ---- */
TY_F float ty_f32_from_bf16(ty_u16 a) { return ty_float_i32((ty_i32)((ty_u32)a << 16)); }
TY_F ty_u16 ty_bf16_from_f32(float a) {
  const ty_u32 b = (ty_u32)ty_bits_f32(a), r = (b + 0x7fffu + (b >> 16 & 1u)) >> 16;
  return (ty_u16)(a != a ? 0x7fc0u : r);
}
TY_F float ty_f32_from_f16(ty_u16 a) {
  const ty_u32 s = (ty_u32)(a & 0x8000u) << 16, m = a & 0x7fffu;
  const ty_u32 normal = (m << 13) + 0x38000000u + (m >= 0x7c00u ? 0x38000000u : 0u);
  const ty_u32 small = (ty_u32)ty_bits_f32((float)(ty_i32)m * 0x1p-24f);
  return ty_float_i32((ty_i32)(s | (m < 0x400u ? small : normal)));
}
TY_F ty_u16 ty_f16_from_f32(float a) {
  const ty_u32 b = (ty_u32)ty_bits_f32(a), m = b & 0x7fffffffu;
  const ty_u32 normal = (m - 0x38000000u + 0xfffu + (m >> 13 & 1u)) >> 13;
  const ty_u32 small = (ty_u32)ty_bits_f32(ty_float_i32((ty_i32)m) + 0.5f) - 0x3f000000u; /* the sum rounds to 2^-24 */
  const ty_u32 big = m > 0x7f800000u ? 0x7e00u : 0x7c00u;
  return (ty_u16)((b >> 16 & 0x8000u) | (m >= 0x47800000u ? big : m < 0x38800000u ? small : normal));
}
TY_F float ty_bf16_f32(float a) { return ty_f32_from_bf16(ty_bf16_from_f32(a)); }
TY_F double ty_bf16_f64(double a) { return ty_bf16_f32((float)a); }
TY_F float ty_f16_f32(float a) { return ty_f32_from_f16(ty_f16_from_f32(a)); }
TY_F double ty_f16_f64(double a) { return ty_f16_f32((float)a); }
#endif
