/* loop_int.h: what loop.c, print.c and interp.c share: chunk size, scratch layout and operand walking. */
#ifndef TY_LOOP_INT_H
#define TY_LOOP_INT_H
#include "loop/loop.h"

enum {
  LOOP_CHUNK = 256,                  /* columns the interpreter does at a time */
  LOOP_REG = LOOP_CHUNK * 8,         /* bytes of a chunk register */
  LOOP_MAX_PHASES = 32,
  LOOP_PAD = 64,                     /* spilled rows are padded to this many elements */
};

/* Operands in the order a, b, c, d; those that the kind does not have are -1 (ty_loop_add sees to it). */
static inline void loop_operands(const ty_lnode *n, int out[4]) { out[0] = n->a, out[1] = n->b, out[2] = n->c, out[3] = n->d; }

/* The interpreter's cells: two of 8 bytes a node (ROW values; the best value of a running argmax), padded to 64 bytes. */
static inline size_t loop_cells(const ty_loop *l) { return ((size_t)l->nodes.n * 16 + 63) & ~(size_t)63; }
/* One value, in any of its types, from memory's dtype to that of a register. */
static inline ty_dtype loop_value_dtype(ty_dtype mem) { return mem == TY_f16 || mem == TY_bf16 ? TY_f32 : mem; }
bool loop_moves(const ty_lnode *);   /* LOAD, STORE: the address changes with the column even without b */
void loop_text(const ty_loop *, ty_str *out);
#endif
