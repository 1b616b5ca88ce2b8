/* products_mm8.c: one tier's products of int8x8, by usmmla; built once a tier that has it. */
#include "kernel/tier.h"
#define MM_MAC(x, b, c) vf_mm8(x, b, c)
#define MM_ADD(a, b) vf_addi(a, b)
#include "kernel/tmpl/mm_tmpl.h"
MM_ALL(MM_GEMM)
#define PRODUCT_UNIT 2
#define INT8_PAIRS
#define INT8_LESS 0
#include "kernel/tmpl/int8_tmpl.h"

const ty_products TIER_PRODUCTS(int8x8, MM_NAME) = {
    .format = TY_FORMAT_int8x8, .name = TIER_TEXT(MM_NAME), .gemm = MM_TABLE(tier_gemm), .pairs = true, .words = tier_words, .finish = tier_finish,
};
