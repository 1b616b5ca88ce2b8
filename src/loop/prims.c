/* prims.c: the table of scalar primitives, made from prims.def by stringification. */
#include "loop/prims.h"

#include <string.h>

/* Rough cycles a vector. Cheap is the default; these rows have a division or a root, or call a polynomial (or two). */
#define COST(p) \
  ((p) == TY_P_div || (p) == TY_P_truncdiv || (p) == TY_P_floordiv || (p) == TY_P_rem || (p) == TY_P_fmod || (p) == TY_P_sqrt || \
           (p) == TY_P_rsqrt || (p) == TY_P_recip                                                                              \
       ? 4                                                                                                                     \
   : (p) == TY_P_pow || (p) == TY_P_erfc || (p) == TY_P_atan2 || (p) == TY_P_asinh || (p) == TY_P_acosh ? 40                   \
   : (p) >= TY_P_exp ? 12                                                                                                      \
                     : 1)

/* Every row from exp to the end of prims.def calls a transcendental. */
_Static_assert(TY_P_recip < TY_P_exp && TY_P_round < TY_P_exp && TY_P_sigmoid > TY_P_exp && TY_P_erf > TY_P_exp, "order of prims.def");

const ty_prim_info ty_prims[TY_NPRIM] = {
#define RESULT_SAME false
#define RESULT_BOOL true
#define TY_PRIM(name, arity, result, f, i, b) {#name, arity, RESULT_##result, #f, #i, #b, COST(TY_P_##name)},
#include "prims.def"
#undef TY_PRIM
};

int ty_prim_find(const char *name) {
  for (int i = 0; i < TY_NPRIM; i++)
    if (!strcmp(ty_prims[i].name, name)) return i;
  return -1;
}

bool ty_prim_takes(ty_prim p, ty_dtype d) {
  const ty_prim_info *i = &ty_prims[p];
  return strcmp(ty_dtype_is_float(d) ? i->fexpr : d == TY_bool ? i->bexpr : i->iexpr, "NONE") != 0;
}
