/* kernel_int.h: what the kernel room shares inside: the tiers' tables, from kernels.def, and small helpers. */
#ifndef TY_KERNEL_INT_H
#define TY_KERNEL_INT_H
#include "kernel/kernel.h"
#include <string.h>

#define TY_TIER(tier, isa, mr, nr, lanes) \
  extern const ty_kernels ty_kernels__##tier; \
  _Static_assert(mr <= TY_KERNEL_MR_MAX && nr % lanes == 0 && nr / lanes <= TY_KERNEL_NV_MAX, #tier);
#define TY_PRODUCTS(format, tier, name, has) extern const ty_products ty_products_##format##__##name;
#include "kernel/kernels.def"

/* quant.c: ty_pack_b for formats of 8 and 4 bits. */
void kernel_pack_quant(const ty_kernels *, ty_format, int nr, int64_t k, int64_t n, const float *b, int64_t ldk, int64_t ldn, float *dst,
                       int64_t p0, int64_t p1);

static inline int64_t kernel_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t kernel_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t kernel_ceil(int64_t a, int64_t by) { return (a + by - 1) / by; }
static inline int64_t kernel_up(int64_t a, int64_t to) { return (a + to - 1) / to * to; }
static inline int64_t kernel_share(int64_t n, int64_t i, int64_t of) { /* start of the i-th of `of` even parts of n */
  return n / of * i + kernel_min(i, n % of);
}
#endif
