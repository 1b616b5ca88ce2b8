/* prims.h: the scalar primitives of prims.def as an enum with their arity and result. */
#ifndef TY_PRIMS_H
#define TY_PRIMS_H
#include "base/base.h"
typedef enum ty_prim {
#define TY_PRIM(name, arity, result, f, i, b) TY_P_##name,
#include "prims.def"
#undef TY_PRIM
  TY_NPRIM
} ty_prim;
typedef struct ty_prim_info {
  const char *name;
  int arity;
  bool to_bool;                 /* result BOOL */
  const char *fexpr, *iexpr, *bexpr; /* "NONE" where the class has none */
  int cost;                     /* rough cycles a vector: 1 for arithmetic, 10 and more where FN calls a transcendental */
} ty_prim_info;
extern const ty_prim_info ty_prims[TY_NPRIM];
int ty_prim_find(const char *name); /* -1 when unknown */
bool ty_prim_takes(ty_prim, ty_dtype); /* the operand class (of b for sel) has an expression */
#endif
