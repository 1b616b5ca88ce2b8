/* pass_int.h: helpers the passes share. */
#ifndef TY_PASS_INT_H
#define TY_PASS_INT_H
#include "ops/ops.h"
#include "pass/pass.h"

#define TY_PASS(name, in, what) ty_status ty_pass_##name(ty_graph *);
#include "passes.def"
#undef TY_PASS

/* Replacements collected while a pass walks forward, applied to each node before it is looked at and to the outputs last. */
typedef struct ty_remap { ty_value **to; int n; } ty_remap;
bool ty_remap_init(ty_remap *, const ty_graph *);
bool ty_remap_set(ty_remap *, ty_value *from, ty_value *to); /* false: no memory */
void ty_remap_node(ty_remap *, ty_node *);
void ty_remap_finish(ty_remap *, ty_graph *); /* to the outputs; new nodes go to the end again, and the remap is freed */

static inline bool ty_is_op(const ty_value *v, int op) { return v && v->def && v->def->op == op; }
static inline bool ty_is_prim_op(const ty_value *v, ty_prim p) { return ty_is_op(v, ty_op_of_prim(p)); }
bool ty_same_shape(const ty_value *, const ty_value *);
bool ty_scalar_const(ty_graph *, const ty_value *, double *value); /* ty.full, looked at through views: the number that its elements are; none of f16 and bf16 */
ty_value *ty_pass_packed_gemm(ty_graph *, ty_value *x, ty_value *w, const char *format); /* products.c: x w^T, w [n, k] packed in a format */
/* decide.c */
bool ty_decided(ty_graph *, const ty_node *, bool *value);    /* a comparison of integers that has one answer for all elements */
bool ty_mask_is_causal(ty_graph *, const ty_value *mask);     /* true where the index along its last dim is at most that along the one before */
static inline ty_status ty_pass_nomem(ty_graph *g) { return ty_fail(g->ctx, TY_NOMEM, "no memory in a pass"); }
#endif
