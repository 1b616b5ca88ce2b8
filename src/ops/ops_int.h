/* ops_int.h: what the files of ops share: the schema parser and the binder's helpers. */
#ifndef TY_OPS_INT_H
#define TY_OPS_INT_H
#include "ops/ops.h"

/* Parses "(Tensor self, *, Scalar alpha=1) -> Tensor" into memory of the arena. Defaults of ints are plain numbers.
 * False with `why` for what it does not know, or when out of memory. */
bool ty_schema_parse(const char *text, ty_arena *, ty_schema *, const char **why);
#endif
