/* tier.c: one tier's kernels; built once a tier, with its flags and -DTY_TIER_<tier>. */
#include "kernel/tier.h"
#define PRODUCT_PARTS 1
#define PRODUCT_ONE(p) vf_one x = vf_load1(p)
#define PRODUCT_LOAD(p, part) vf_load(p)
#define PRODUCT_MAC(x, b, c) vf_fma1(x, b, c)
#define PRODUCT_ADD(a, b) vf_add(a, b)
#include "kernel/tmpl/gemm_tmpl.h"
#include "kernel/tmpl/conv_tmpl.h"
#include "kernel/tmpl/narrow_tmpl.h"
#include "kernel/tmpl/depth_tmpl.h"
#include "kernel/tmpl/slide_tmpl.h"
#include "kernel/tmpl/pack_tmpl.h"
#include "kernel/tmpl/math_tmpl.h"
#include "kernel/tmpl/wino_tmpl.h"
#include "kernel/tmpl/rnn_tmpl.h"
#include "kernel/tmpl/bag_tmpl.h"

const ty_products TIER_JOIN(ty_products_f32__, TIER_NAME) = {.format = TY_FORMAT_f32, .name = TIER_TEXT(TIER_NAME), .gemm = TIER_GEMM_TABLE, .conv = TIER_CONV_TABLE};

const ty_kernels TIER_JOIN(ty_kernels__, TIER_NAME) = {
    .isa = (ty_isa)TIER_ISA, .name = TIER_TEXT(TIER_NAME), .mr = TIER_MR, .nr = TIER_NR, .lanes = VF_LANES,
    .f32 = &TIER_JOIN(ty_products_f32__, TIER_NAME), .narrow = TIER_NARROW_TABLE, .depth = TIER_DEPTH_TABLE, .slide = TIER_SLIDE_TABLE,
    .wino_in = tier_wino_in, .wino_out = tier_wino_out,
    .pack_b = tier_pack_b, .pair = tier_pair, .exp = tier_exp, .scale = tier_scale, .dot_rows = tier_dot_rows, .softmax_row = tier_softmax_row,
    .rnn_block = tier_rnn_block, .rnn_project = tier_rnn_project, .bag_sum = tier_bag_sum,
};
