/* emit_int.h: what emit.c (structure of a kernel) and spell.c (its expressions) share. */
#ifndef TY_EMIT_INT_H
#define TY_EMIT_INT_H
#include "emit/emit.h"

typedef struct emitter {
  const ty_loop *l;
  ty_str *out;
  int indent;
} emitter;
typedef struct emit_name { char s[64]; } emit_name;

void emit_line(emitter *, const char *fmt, ...) TY_PRINTF(2, 3);
const char *emit_type(ty_dtype);     /* of a value */
const char *emit_mem_type(ty_dtype); /* of an element in memory */
emit_name emit_value(const emitter *, int node);      /* how an operand is written */
typedef enum emit_where { EMIT_SINGLE, EMIT_LOOP, EMIT_TAIL } emit_where; /* TAIL: columns from ce on touch no memory but scratch */
/* `const T vN = ...;` for a PRIM, CAST, CHECK, LOAD or ACC; a CHECK inside the column loop sets `bad`. */
void emit_node(emitter *, int node, emit_where);
void emit_store(emitter *, int node, bool masked);
bool emit_calls(const emitter *, int node); /* libm or a division of integers: such loops are not vectorised */
bool emit_inline(const ty_lnode *); /* has no statement of its own: constants, parameters, variables */
#endif
