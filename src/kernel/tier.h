/* tier.h: what a file that is built once a tier (with its flags and -DTY_TIER_<tier>) begins with: the tier's vectors, tile and names. */
#ifndef TY_TIER_H
#define TY_TIER_H
#include "kernel/kernel_int.h"
/* TIER_SHAPE: rows of a tile, and its vectors, as two digits. */
#if defined(TY_TIER_avx512)
#include "kernel/vec/vec_avx512.h"
#define TIER_SHAPE 83
enum { TIER_MR = 8, TIER_NR = 48, TIER_ISA = TY_ISA_AVX512 };
#define TIER_NAME avx512
#elif defined(TY_TIER_avx2)
#include "kernel/vec/vec_avx2.h"
#define TIER_SHAPE 62
enum { TIER_MR = 6, TIER_NR = 16, TIER_ISA = TY_ISA_AVX2 };
#define TIER_NAME avx2
#elif defined(TY_TIER_neon)
#include "kernel/vec/vec_neon.h"
#define TIER_SHAPE 83
enum { TIER_MR = 8, TIER_NR = 12, TIER_ISA = TY_ISA_NEON };
#define TIER_NAME neon
#elif defined(TY_TIER_sve128)
#include "kernel/vec/vec_sve.h"
#define TIER_SHAPE 83
enum { TIER_MR = 8, TIER_NR = 12, TIER_ISA = TY_ISA_SVE128 };
#define TIER_NAME sve128
#elif defined(TY_TIER_sve256)
#include "kernel/vec/vec_sve.h"
#define TIER_SHAPE 83
enum { TIER_MR = 8, TIER_NR = 24, TIER_ISA = TY_ISA_SVE256 };
#define TIER_NAME sve256
#else
#include "kernel/vec/vec_portable.h"
#define TIER_SHAPE 42
enum { TIER_MR = 4, TIER_NR = 8, TIER_ISA = TY_ISA_PORTABLE };
#define TIER_NAME portable
#endif
enum { TIER_NV = TIER_NR / VF_LANES };
#define TY_TIER(tier, id, mr, nr, lanes) \
  _Static_assert((int)(id) != (int)TIER_ISA || (mr == TIER_MR && nr == TIER_NR && lanes == VF_LANES), #tier " disagrees with kernels.def");
#include "kernel/kernels.def"
#define TIER_JOIN_(a, b) a##b
#define TIER_JOIN(a, b) TIER_JOIN_(a, b)
#define TIER_PRODUCTS_(format, name) ty_products_##format##__##name
#define TIER_PRODUCTS(format, name) TIER_PRODUCTS_(format, name)
#ifdef VF_MM_ALWAYS /* products of matrices: the tier's own, or beyond it */
#define MM_NAME TIER_NAME
#else
#define MM_NAME TIER_JOIN(TIER_NAME, _mm)
#endif
#define TIER_TEXT_(a) #a
#define TIER_TEXT(a) TIER_TEXT_(a)
#endif
