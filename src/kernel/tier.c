/* tier.c: one tier's kernels; built once a tier, with its flags and -DTY_TIER_NAME=<tier>, -DTY_TIER_<tier>. */
#include "kernel/kernel_int.h"
/* TIER_SHAPE: rows of a tile, and its vectors, as two digits. */
#if defined(TY_TIER_avx512)
#include "kernel/vec/vec_avx512.h"
#define TIER_SHAPE 83
enum { TIER_MR = 8, TIER_NR = 48, TIER_ISA = TY_ISA_AVX512 };
#define TIER_GEMM ty_gemm_f32_8x48__avx512
#define TIER_TABLE ty_kernels__avx512
#define TIER_TEXT "avx512"
#elif defined(TY_TIER_avx2)
#include "kernel/vec/vec_avx2.h"
#define TIER_SHAPE 62
enum { TIER_MR = 6, TIER_NR = 16, TIER_ISA = TY_ISA_AVX2 };
#define TIER_GEMM ty_gemm_f32_6x16__avx2
#define TIER_TABLE ty_kernels__avx2
#define TIER_TEXT "avx2"
#elif defined(TY_TIER_neon)
#include "kernel/vec/vec_neon.h"
#define TIER_SHAPE 83
enum { TIER_MR = 8, TIER_NR = 12, TIER_ISA = TY_ISA_NEON };
#define TIER_GEMM ty_gemm_f32_8x12__neon
#define TIER_TABLE ty_kernels__neon
#define TIER_TEXT "neon"
#elif defined(TY_TIER_sve128)
#include "kernel/vec/vec_sve.h"
#define TIER_SHAPE 83
enum { TIER_MR = 8, TIER_NR = 12, TIER_ISA = TY_ISA_SVE128 };
#define TIER_GEMM ty_gemm_f32_8x12__sve128
#define TIER_TABLE ty_kernels__sve128
#define TIER_TEXT "sve128"
#elif defined(TY_TIER_sve256)
#include "kernel/vec/vec_sve.h"
#define TIER_SHAPE 83
enum { TIER_MR = 8, TIER_NR = 24, TIER_ISA = TY_ISA_SVE256 };
#define TIER_GEMM ty_gemm_f32_8x24__sve256
#define TIER_TABLE ty_kernels__sve256
#define TIER_TEXT "sve256"
#else
#include "kernel/vec/vec_portable.h"
#define TIER_SHAPE 42
enum { TIER_MR = 4, TIER_NR = 8, TIER_ISA = TY_ISA_PORTABLE };
#define TIER_GEMM ty_gemm_f32_4x8__portable
#define TIER_TABLE ty_kernels__portable
#define TIER_TEXT "portable"
#endif
enum { TIER_NV = TIER_NR / VF_LANES };
#define TY_TIER(tier, id, mr, nr, lanes) \
  _Static_assert((int)(id) != (int)TIER_ISA || (mr == TIER_MR && nr == TIER_NR && lanes == VF_LANES), #tier " disagrees with kernels.def");
#include "kernel/kernels.def"
#undef TY_TIER
#include "kernel/tmpl/gemm_tmpl.h"
#include "kernel/tmpl/conv_tmpl.h"
#include "kernel/tmpl/narrow_tmpl.h"
#include "kernel/tmpl/depth_tmpl.h"
#include "kernel/tmpl/pack_tmpl.h"
#include "kernel/tmpl/math_tmpl.h"
#include "kernel/tmpl/wino_tmpl.h"
#include "kernel/tmpl/rnn_tmpl.h"

const ty_kernels TIER_TABLE = {
    .isa = (ty_isa)TIER_ISA, .name = TIER_TEXT, .mr = TIER_MR, .nr = TIER_NR, .lanes = VF_LANES,
    .gemm = TIER_GEMM_TABLE, .conv = TIER_CONV_TABLE, .narrow = TIER_NARROW_TABLE, .depth = TIER_DEPTH_TABLE, .wino_in = tier_wino_in, .wino_out = tier_wino_out,
    .pack_b = tier_pack_b, .exp = tier_exp, .scale = tier_scale, .dot_rows = tier_dot_rows, .softmax_row = tier_softmax_row,
    .rnn_block = tier_rnn_block, .rnn_project = tier_rnn_project,
};
