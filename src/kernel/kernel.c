/* kernel.c: the dispatch table over tiers, from kernels.def, and packing's public face. */
#include "kernel/kernel_int.h"

const ty_kernels *ty_kernels_get(ty_isa isa) {
  const ty_kernels *best = &ty_kernels__portable;
#define TY_TIER(tier, id, mr, nr, lanes) if ((id) <= isa) best = &ty_kernels__##tier;
#include "kernel/kernels.def"
#undef TY_TIER
  return best;
}

#define TY_TIERS_ALL
int ty_kernels_panel(ty_isa isa) {
  switch (isa) {
#define TY_TIER(tier, id, mr, nr, lanes) case id: return nr;
#include "kernel/kernels.def"
#undef TY_TIER
    default: return 0;
  }
}
#undef TY_TIERS_ALL

void ty_pack_b_f32(const ty_kernels *ks, int nr, int64_t k, int64_t n, const float *b, int64_t ldk, int64_t ldn, float *dst) {
  ty_pack_b_f32_range(ks, nr, k, n, b, ldk, ldn, dst, 0, ty_packed_b_panels(nr, n));
}

void ty_pack_b_f32_range(const ty_kernels *ks, int nr, int64_t k, int64_t n, const float *b, int64_t ldk, int64_t ldn, float *dst,
                         int64_t p0, int64_t p1) {
  if (nr % ks->lanes) ks = &ty_kernels__portable; /* narrower than a vector */
  ks->pack_b(nr, k, n, b, ldk, ldn, dst, p0, p1);
}
