/* scan.c: cumulative sums, products and places of the greatest and least so far, along the middle of [outer, len, inner], for every
 * dtype; floats accumulate as PyTorch does. */
#include "rt/routine.h"

#include <string.h>

enum { CHAINS = 64 }; /* neighbours scanned together, so that rows of `inner` are read in runs */

static float from_bits(uint32_t u) {
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}
static uint32_t to_bits(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  return u;
}
static float bf16_get(uint16_t h) { return from_bits((uint32_t)h << 16); }
static uint16_t bf16_put(float f) { /* to nearest even */
  uint32_t u = to_bits(f);
  return f != f ? 0x7fc0 : (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
static float f16_get(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = h & 0x7fff;
  if (mag >= 0x7c00) return from_bits(sign | 0x7f800000 | (mag & 0x3ff) << 13);
  return from_bits(sign | to_bits(from_bits(mag << 13) * 0x1p112f)); /* denormals become normal */
}
static uint16_t f16_put(float f) { /* to nearest even */
  uint32_t u = to_bits(f), sign = u >> 16 & 0x8000;
  float x = from_bits(u & 0x7fffffff);
  if (x != x) return (uint16_t)(sign | 0x7e00);
  if (x >= 65520.0f) return (uint16_t)(sign | 0x7c00);
  if (x < 0x1p-14f) return (uint16_t)(sign | (to_bits(x + 0.5f) - to_bits(0.5f))); /* 0.5 + x: one ulp is 2^-24 */
  u = to_bits(x);
  return (uint16_t)(sign | (((u + 0xfff + (u >> 13 & 1)) >> 13) - (112u << 10)));
}

#define SAME(x) (x)
/* Integers wrap, as in PyTorch: their arithmetic is done unsigned, wide enough that no promotion is signed. */
#define SCAN(name, T, A, get, put) \
  static void scan_##name(const T *x, T *y, bool prod, int64_t len, int64_t step, int64_t width) { \
    A acc[CHAINS]; \
    for (int64_t j = 0; j < width; j++) acc[j] = (A)(prod ? 1 : 0); \
    for (int64_t i = 0; i < len; i++, x += step, y += step) \
      for (int64_t j = 0; j < width; j++) { \
        A v = (A)get(x[j]); \
        acc[j] = prod ? acc[j] * v : acc[j] + v; \
        y[j] = (T)put(acc[j]); \
      } \
  }
SCAN(u8, uint8_t, uint32_t, SAME, SAME)
SCAN(i8, int8_t, uint32_t, SAME, SAME)
SCAN(i16, int16_t, uint32_t, SAME, SAME)
SCAN(i32, int32_t, uint32_t, SAME, SAME)
SCAN(i64, int64_t, uint64_t, SAME, SAME)
SCAN(f16, uint16_t, float, f16_get, f16_put)
SCAN(bf16, uint16_t, float, bf16_get, bf16_put)
SCAN(f32, float, double, SAME, SAME)
SCAN(f64, double, double, SAME, SAME)

/* The last place at which the greatest (least) so far stands; the first NaN is greater and less than all, a later one than that. */
#define ARG(name, T, A, get) \
  static void arg_##name(const T *x, int64_t *y, bool min, int64_t len, int64_t step, int64_t width) { \
    A best[CHAINS] = {0}; \
    int64_t at[CHAINS] = {0}; \
    for (int64_t i = 0; i < len; i++, x += step, y += step) \
      for (int64_t j = 0; j < width; j++) { \
        A v = (A)get(x[j]); \
        bool better = min ? v <= best[j] : v >= best[j]; \
        if (!i || v != v || better) best[j] = v, at[j] = i; \
        y[j] = at[j]; \
      } \
  }
ARG(u8, uint8_t, uint8_t, SAME)
ARG(i8, int8_t, int8_t, SAME)
ARG(i16, int16_t, int16_t, SAME)
ARG(i32, int32_t, int32_t, SAME)
ARG(i64, int64_t, int64_t, SAME)
ARG(f16, uint16_t, float, f16_get)
ARG(bf16, uint16_t, float, bf16_get)
ARG(f32, float, float, SAME)
ARG(f64, double, double, SAME)

void ty_rt_scan(const rt_routine *r, int tid, int nt) {
  int64_t outer = r->size[0], len = r->size[1], inner = r->size[2];
  int64_t blocks = (inner + CHAINS - 1) / CHAINS, size = ty_dtype_size(r->dtype);
  bool arg = r->which == TY_SCAN_ARGMAX || r->which == TY_SCAN_ARGMIN, other = r->which == TY_SCAN_PROD || r->which == TY_SCAN_ARGMIN;
  for (int64_t u = rt_share(outer * blocks, tid, nt), end = rt_share(outer * blocks, tid + 1, nt); u < end; u++) {
    int64_t j = u % blocks * CHAINS, width = inner - j < CHAINS ? inner - j : CHAINS, at = u / blocks * len * inner + j;
    const void *x = (const char *)r->in[0] + at * size;
    void *y = (char *)r->out + at * (arg ? (int64_t)sizeof(int64_t) : size);
#define RUN(name) (arg ? arg_##name(x, y, other, len, inner, width) : scan_##name(x, y, other, len, inner, width))
    switch (r->dtype) {
    case TY_bool:
    case TY_u8: RUN(u8); break;
    case TY_i8: RUN(i8); break;
    case TY_i16: RUN(i16); break;
    case TY_i32: RUN(i32); break;
    case TY_i64: RUN(i64); break;
    case TY_f16: RUN(f16); break;
    case TY_bf16: RUN(bf16); break;
    case TY_f32: RUN(f32); break;
    case TY_f64: RUN(f64); break;
    case TY_NDTYPE: break;
    }
  }
}
