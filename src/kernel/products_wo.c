/* products_wo.c: one tier's products of float32 with weights of 8 or 4 bits, which become float32 in registers, for a few rows of A, or in
 * a block of their own, for many; built once a tier. */
#include "kernel/tier.h"
#define WO_NAME(name) wo8_##name
#define WO_PER 4
#define WO_VALUE(w, i) vf_byte(w, i)
#include "kernel/tmpl/wo_tmpl.h"
#undef WO_NAME
#undef WO_PER
#undef WO_VALUE
#define WO_NAME(name) wo4_##name
#define WO_PER 8
#define WO_VALUE(w, i) vf_nibble(w, i)
#include "kernel/tmpl/wo_tmpl.h"

#if TIER_SHAPE == 83
#define WO_TABLE(f) {{f(1_1), f(2_1), f(3_1), f(4_1)}, {f(1_2), f(2_2), f(3_2), f(4_2)}, {f(1_3), f(2_3), f(3_3), f(4_3)}}
#else
#define WO_TABLE(f) {{f(1_1), f(2_1)}, {f(1_2), f(2_2)}} /* more would not stay in registers */
#endif
#define WO8(x) wo8_few_##x
#define WO4(x) wo4_few_##x
#define WO_ROW(of, table, un) \
  const ty_products TIER_JOIN(ty_products_##of##__, TIER_NAME) = {.format = TY_FORMAT_##of, .name = TIER_TEXT(TIER_NAME), .few = WO_TABLE(table), .unpack = un};
WO_ROW(int8wo, WO8, wo8_unpack)
WO_ROW(int8g32, WO8, wo8_unpack)
WO_ROW(int4, WO4, wo4_unpack)
WO_ROW(int4g32, WO4, wo4_unpack)
WO_ROW(int4g128, WO4, wo4_unpack)
