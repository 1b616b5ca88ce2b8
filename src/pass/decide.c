/* decide.c: comparisons of indices that sizes alone decide, and masks that say "keys up to the query": what an exported model writes out
 * for "attend to everything" or "be causal". An element of an integer tensor is a dim over the indices of the result. */
#include "pass/pass_int.h"

enum { FUEL = 100 }; /* values looked at for one answer */

/* The indices into a view's argument; false for views that are not followed. */
static bool below(ty_graph *g, const ty_node *n, const ty_dim *idx, ty_dim *in) {
  const ty_value *x = n->args[0].value, *o = n->outs[0];
  int64_t d = 0;
  switch (n->op) {
  case TY_OP_permute:
    for (int i = 0; i < o->rank; i++)
      if (ty_dim_is_const(g, n->args[1].ints[i], &d)) in[d] = idx[i];
    return true;
  case TY_OP_expand:
    for (int i = 0; i < x->rank; i++) in[i] = ty_dim_is(g, x->shape[i], 1) ? ty_dim_const(g, 0) : idx[o->rank - x->rank + i];
    return true;
  case TY_OP_slice:
    for (int i = 0; i < x->rank; i++) in[i] = idx[i];
    if (!ty_dim_is_const(g, n->args[1].i, &d)) return false;
    in[d] = ty_dim_add(g, n->args[2].i, ty_dim_mul(g, n->args[3].i, idx[d]));
    return true;
  case TY_OP_reshape: /* that adds or takes away dims of size 1 */
    for (int i = 0, k = 0; i < x->rank || k < o->rank;) {
      if (i < x->rank && ty_dim_is(g, x->shape[i], 1)) in[i++] = ty_dim_const(g, 0);
      else if (k < o->rank && ty_dim_is(g, o->shape[k], 1)) k++;
      else if (i < x->rank && k < o->rank && x->shape[i] == o->shape[k]) in[i++] = idx[k++];
      else return false;
    }
    return true;
  default: return false;
  }
}

static ty_dim element(ty_graph *g, const ty_value *v, const ty_dim *idx, int *fuel);
static ty_dim operand(ty_graph *g, const ty_node *n, int k, const ty_dim *idx, int *fuel) { /* broadcast against the result */
  const ty_value *x = n->args[k].value;
  ty_dim in[TY_MAX_RANK];
  for (int i = 0; i < x->rank; i++) in[i] = ty_dim_is(g, x->shape[i], 1) ? ty_dim_const(g, 0) : idx[n->outs[0]->rank - x->rank + i];
  return element(g, x, in, fuel);
}

/* What an i64 element is; negative where data decides it. */
static ty_dim element(ty_graph *g, const ty_value *v, const ty_dim *idx, int *fuel) {
  const ty_node *n = v->def;
  ty_dim in[TY_MAX_RANK];
  int64_t d = 0;
  if (!n || v->dtype != TY_i64 || --*fuel < 0) return -1;
  if (n->op == TY_OP_full) return n->args[2].kind == TY_ARG_INT ? n->args[2].i : -1;
  if (n->op == TY_OP_dimval) return n->args[0].i;
  if (n->op == TY_OP_iota) return ty_dim_is_const(g, n->args[1].i, &d) ? idx[d] : -1;
  if (n->op == TY_OP_cast && n->args[0].value->dtype == TY_i64) return element(g, n->args[0].value, idx, fuel);
  bool plus = ty_is_prim_op(v, TY_P_add), minus = ty_is_prim_op(v, TY_P_sub), times = ty_is_prim_op(v, TY_P_mul);
  if (plus || minus || times) {
    ty_dim a = operand(g, n, 0, idx, fuel), b = a < 0 ? a : operand(g, n, 1, idx, fuel);
    return b < 0 ? -1 : plus ? ty_dim_add(g, a, b) : minus ? ty_dim_sub(g, a, b) : ty_dim_mul(g, a, b);
  }
  return below(g, n, idx, in) ? element(g, n->args[0].value, in, fuel) : -1;
}

static void indices(ty_graph *g, const ty_value *v, ty_dim *idx) {
  for (int i = 0; i < v->rank; i++) idx[i] = ty_dim_is(g, v->shape[i], 1) ? ty_dim_const(g, 0) : ty_dim_loopvar(g, "m", v->shape[i]);
}

/* Is v "x less than y", or "at most"? *a: which argument is x. */
static bool less(const ty_value *v, int *a, bool *strict) {
  bool lt = ty_is_prim_op(v, TY_P_lt), gt = ty_is_prim_op(v, TY_P_gt);
  *a = gt || ty_is_prim_op(v, TY_P_ge);
  *strict = lt || gt;
  return lt || *a || ty_is_prim_op(v, TY_P_le);
}

bool ty_decided(ty_graph *g, const ty_node *n, bool *value) {
  ty_dim idx[TY_MAX_RANK];
  int first, fuel = FUEL;
  bool strict;
  if (!less(n->outs[0], &first, &strict) || n->args[0].value->dtype != TY_i64) return false;
  indices(g, n->outs[0], idx);
  ty_dim a = operand(g, n, first, idx, &fuel), b = a < 0 ? a : operand(g, n, 1 - first, idx, &fuel);
  if (b < 0) return false;
  ty_dim one = ty_dim_const(g, 1), least = strict ? b : ty_dim_add(g, b, one); /* a < least */
  *value = ty_dim_known_lt(g, a, least);
  return *value || ty_dim_known_lt(g, ty_dim_sub(g, least, one), a);
}

bool ty_mask_is_causal(ty_graph *g, const ty_value *mask) {
  ty_dim idx[TY_MAX_RANK], in[TY_MAX_RANK];
  int first, fuel = FUEL;
  bool strict;
  if (mask->rank < 2) return false;
  indices(g, mask, idx);
  ty_dim ahead = ty_dim_sub(g, idx[mask->rank - 2], idx[mask->rank - 1]); /* of the key: query less key */
  while (mask->def && --fuel > 0 && !less(mask, &first, &strict)) {
    if (!below(g, mask->def, idx, in)) return false;
    mask = mask->def->args[0].value;
    for (int i = 0; i < mask->rank; i++) idx[i] = in[i];
  }
  if (!less(mask, &first, &strict)) return false;
  ty_dim a = operand(g, mask->def, first, idx, &fuel), b = a < 0 ? a : operand(g, mask->def, 1 - first, idx, &fuel);
  if (b < 0) return false;
  return ty_dim_sub(g, strict ? ty_dim_sub(g, b, ty_dim_const(g, 1)) : b, a) == ahead;
}
