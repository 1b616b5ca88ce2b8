/* products_int8.c: one tier's products of 8-bit weights with rows of A made 8 bits as they come; built once a tier, and with -DTY_DOT where
 * the CPU multiplies bytes. -DTY_TWO: int8x8. All tiers sum the same integers: their results are the same to the bit. */
#include "kernel/tier.h"
#define PRODUCT_ONE(p) vf_one x = vf_load1(p)
#define PRODUCT_MAC(x, b, c) vf_dot8(x, b, c)
#define PRODUCT_ADD(a, b) vf_addi(a, b)
#ifdef TY_TWO
#define PRODUCT_FORMAT int8x8
#define PRODUCT_UNIT 2
#define PRODUCT_PARTS 2
#define PRODUCT_LOAD(p, part) vf_half(p, part)
#else
#define PRODUCT_FORMAT int8
#define PRODUCT_PARTS 1
#define PRODUCT_LOAD(p, part) vf_load(p)
#endif
#ifdef TY_DOT
#define PRODUCT_NAME TIER_JOIN(TIER_NAME, _vnni)
#else
#define PRODUCT_NAME TIER_NAME
#endif
#include "kernel/tmpl/gemm_tmpl.h"
#define INT8_LESS VF_DOT8_LESS
#include "kernel/tmpl/int8_tmpl.h"

const ty_products TIER_PRODUCTS(PRODUCT_FORMAT, PRODUCT_NAME) = {
    .format = TIER_JOIN(TY_FORMAT_, PRODUCT_FORMAT), .name = TIER_TEXT(PRODUCT_NAME), .gemm = TIER_GEMM_TABLE, .words = tier_words, .finish = tier_finish,
    .less = INT8_LESS,
};
