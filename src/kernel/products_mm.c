/* products_mm.c: one tier's products of bf16x4, by bfmmla; built once a tier that has it. Rows of A become words, two rows together. */
#include "kernel/tier.h"
#define MM_MAC(x, b, c) vf_mm16(x, b, c)
#define MM_ADD(a, b) vf_add(a, b)
#include "kernel/tmpl/mm_tmpl.h"
MM_ALL(MM_GEMM)
MM_ALL(MM_CONV)

static void tier_words(int64_t k, const float *a, const float *second, float *to) {
  enum { SOME = 2 * VF_LANES };
  for (; k >= SOME; k -= SOME, a += SOME, second += second ? SOME : 0, to += SOME) {
    vf x = vf_pairs(vf_load(a), vf_load(a + VF_LANES)), y = second ? vf_pairs(vf_load(second), vf_load(second + VF_LANES)) : vf_zero();
    vf_store(to, vf_zip(x, y, 0)), vf_store(to + VF_LANES, vf_zip(x, y, 1));
  }
  if (k <= 0) return;
  float in[2][SOME] = {{0}}, out[SOME];
  memcpy(in[0], a, (size_t)k * sizeof *a);
  if (second) memcpy(in[1], second, (size_t)k * sizeof *a);
  tier_words(SOME, in[0], in[1], out);
  memcpy(to, out, (size_t)((k + 3) / 4 * 4) * sizeof *to);
}

const ty_products TIER_PRODUCTS(bf16x4, MM_NAME) = {
    .format = TY_FORMAT_bf16x4, .name = TIER_TEXT(MM_NAME), .gemm = MM_TABLE(tier_gemm), .conv = MM_TABLE(tier_conv), .pairs = true, .words = tier_words,
};
