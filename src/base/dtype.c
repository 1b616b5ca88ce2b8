/* dtype.c: the dtype table, names to dtypes, and PyTorch's type promotion. */
#include "base.h"

#include <string.h>

const ty_dtype_info ty_dtypes[TY_NDTYPE] = {
#define TY_DTYPE(name, bytes, torch, ctype, cls) {#name, bytes, torch, ctype, cls},
#include "dtype.def"
#undef TY_DTYPE
};

/* Promotion below takes the greater of two rows inside a class. */
_Static_assert(TY_bool < TY_u8 && TY_u8 < TY_i8 && TY_i8 < TY_i16 && TY_i16 < TY_i32 && TY_i32 < TY_i64,
               "integer rows in promotion order");
_Static_assert(TY_i64 < TY_f16 && TY_f16 < TY_bf16 && TY_bf16 < TY_f32 && TY_f32 < TY_f64,
               "float rows in promotion order, after the integers");

bool ty_dtype_parse(const char *s, ty_dtype *out) {
  for (int i = 0; i < TY_NDTYPE; i++)
    if (!strcmp(s, ty_dtypes[i].torch) || !strcmp(s, ty_dtypes[i].name)) return *out = (ty_dtype)i, true;
  return false;
}

/* c10/core/ScalarType.cpp promoteTypes: the greater one, except for the two pairs where neither holds the other. */
ty_dtype ty_dtype_promote(ty_dtype a, ty_dtype b) {
  if (a > b) {
    ty_dtype t = a;
    a = b;
    b = t;
  }
  if (a == TY_u8 && b == TY_i8) return TY_i16;
  if (a == TY_f16 && b == TY_bf16) return TY_f32;
  return b;
}
