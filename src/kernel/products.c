/* products.c: one tier's micro-kernels for bf16 weights; built once a row of kernels.def, as tier.c is, and with -DTY_DOT where the CPU
 * multiplies pairs of bf16: A then becomes words too. Elsewhere weights are widened to float32 in registers and A is read as it is.
 * -DTY_TWO: bf16x4, widened. */
#include "kernel/tier.h"
#define PRODUCT_ADD(a, b) vf_add(a, b)
#define PRODUCT_FORMAT bf16
#define PRODUCT_NAME TIER_NAME
#ifdef TY_DOT
#undef PRODUCT_NAME
#define PRODUCT_NAME TIER_JOIN(TIER_NAME, _bf16)
#define PRODUCT_PARTS 1
#define PRODUCT_LOAD(p, part) vf_load(p)
#define PRODUCT_ONE(p) vf x = vf_set1(*(p))
#define PRODUCT_MAC(x, b, c) vf_dot(x, b, c)
#else
#define PRODUCT_ONE(p) vf_one x = vf_load1(p)
#define PRODUCT_MAC(x, b, c) vf_fma1(x, b, c)
#ifdef TY_TWO
#undef PRODUCT_FORMAT
#define PRODUCT_FORMAT bf16x4
#define PRODUCT_UNIT 2
#define PRODUCT_PARTS 4
#define PRODUCT_LOAD(p, part) vf_quarter(p, part)
#else
#define PRODUCT_PARTS 2
#define PRODUCT_LOAD(p, part) ((part) ? vf_odd(p) : vf_even(p))
#endif
#endif
#include "kernel/tmpl/gemm_tmpl.h"
#include "kernel/tmpl/conv_tmpl.h"

#ifdef TY_DOT
static void tier_words(int64_t k, const float *a, const float *second, float *to) {
  (void)second;
  for (; k >= 2 * VF_LANES; k -= 2 * VF_LANES, a += 2 * VF_LANES, to += VF_LANES) vf_store(to, vf_pairs(vf_load(a), vf_load(a + VF_LANES)));
  if (k > VF_LANES) vf_storen(to, vf_pairs(vf_load(a), vf_loadn(a + VF_LANES, (int)k - VF_LANES)), (int)(k + 1) / 2);
  else if (k) vf_storen(to, vf_pairs(vf_loadn(a, (int)k), vf_zero()), (int)(k + 1) / 2);
}
#endif

const ty_products TIER_PRODUCTS(PRODUCT_FORMAT, PRODUCT_NAME) = {
    .format = TIER_JOIN(TY_FORMAT_, PRODUCT_FORMAT), .name = TIER_TEXT(PRODUCT_NAME), .gemm = TIER_GEMM_TABLE, .conv = TIER_CONV_TABLE,
#ifdef TY_DOT
    .words = tier_words,
#endif
};
