/* narrow.c: float16 and bfloat16 between operators. Every operator computes in float32 and casts its result; such a cast rounds where
 * the value is stored, and what is fused with it reads it unrounded. Requires: core operators.
 * Here what is not continuous in its operand (comparisons, floors, indices) gets it rounded, as it would read it from memory; and
 * a cast and the cast back are taken out where one reader needs the float32 value in memory anyway, or no other reads it at all. */
#include "pass/pass_int.h"

static bool narrow(ty_dtype d) { return d == TY_f16 || d == TY_bf16; }
static bool view(const ty_value *v) {
  return ty_is_op(v, TY_OP_reshape) || ty_is_op(v, TY_OP_permute) || ty_is_op(v, TY_OP_expand) || ty_is_op(v, TY_OP_slice) || ty_is_op(v, TY_OP_remap);
}
static ty_value *behind_views(ty_value *v) {
  while (view(v)) v = v->def->args[0].value;
  return v;
}

static bool jumps(const ty_node *n) {
  if (n->op == TY_OP_reduce || n->op == TY_OP_scan) return n->outs[0]->dtype == TY_i64; /* places of extrema */
  if (n->op == TY_OP_cast) return !ty_dtype_is_float(n->outs[0]->dtype);
  if (!ty_op_is_prim(n->op)) return false;
  switch ((ty_prim)(n->op - TY_OP_prim_first)) {
  case TY_P_floordiv: case TY_P_truncdiv: case TY_P_rem: case TY_P_fmod: case TY_P_sign: case TY_P_signbit: case TY_P_isnan: case TY_P_isinf:
  case TY_P_floor: case TY_P_ceil: case TY_P_trunc: case TY_P_round: return true;
  default: return ty_prims[n->op - TY_OP_prim_first].to_bool;
  }
}

/* Operand `a` of a node that jumps: rounded, if it may be the unrounded value of a narrow one. */
static ty_value *rounded(ty_graph *g, ty_value *a) {
  ty_value *wide = behind_views(a), *from;
  if (!ty_dtype_is_float(a->dtype)) return a;
  if (!narrow(wide->dtype) && (!ty_is_op(wide, TY_OP_cast) || !narrow(wide->def->args[0].value->dtype))) return a;
  from = behind_views(narrow(wide->dtype) ? wide : wide->def->args[0].value);
  if (!from->def || ty_is_op(from, TY_OP_full)) return a;
  ty_value *w = ty_c_cast(g, a, narrow(a->dtype) ? TY_f32 : a->dtype);
  return ty_c_cast(g, ty_c_prim(g, from->dtype == TY_bf16 ? TY_P_bf16 : TY_P_f16, w, NULL, NULL), a->dtype);
}

/* The float32 value that a cast back to float32 stands for: y where v is view(cast(y, narrow)); NULL where it is none. */
static ty_value *unrounded(const ty_node *back) {
  ty_value *v = back->args[0].value;
  if (back->op != TY_OP_cast || back->outs[0]->dtype != TY_f32 || !narrow(v->dtype)) return NULL;
  v = behind_views(v);
  return ty_is_op(v, TY_OP_cast) && v->def->args[0].value->dtype == TY_f32 ? v : NULL;
}

/* Does the only way from the narrow value to here have no other reader? */
static bool alone(const int *uses, const ty_value *v, const ty_value *from) {
  for (; v != from; v = v->def->args[0].value)
    if (uses[v->id] != 1) return false;
  return uses[from->id] == 1;
}

static bool in_memory(const ty_node *n) { /* a kernel that reads float32 */
  return n->op == TY_OP_linear || n->op == TY_OP_matmul || n->op == TY_OP_conv || n->op == TY_OP_attention || n->op == TY_OP_rnn || n->op == TY_OP_scan;
}
static void mark(void *user, ty_value **slot) {
  bool *direct = user;
  ty_value *v = behind_views(*slot), *from = v->def ? unrounded(v->def) : NULL;
  if (from) direct[from->id] = true;
}

/* The views between a narrow value and v, over y. */
static ty_value *again(ty_graph *g, const ty_value *v, const ty_value *from, ty_value *y) {
  if (v == from) return y;
  ty_node *n = v->def;
  ty_value *x = again(g, n->args[0].value, from, y);
  if (!x) return NULL;
  ty_arg args[8];
  for (int i = 0; i < n->nargs && i < 8; i++) args[i] = n->args[i];
  args[0] = ty_arg_value(x);
  return ty_make(g, n->op, n->nargs, args);
}

static ty_status round_for_jumps(ty_graph *g) {
  for (ty_node *n = g->first; n; n = n->next) {
    if (!jumps(n)) continue;
    ty_graph_at(g, n);
    for (int i = 0; i < n->nargs; i++) {
      if (n->args[i].kind != TY_ARG_VALUE) continue;
      ty_value *r = rounded(g, n->args[i].value);
      if (!r) return ty_pass_nomem(g);
      n->args[i].value = r;
    }
  }
  ty_graph_at(g, NULL);
  return TY_OK;
}

ty_status ty_pass_narrow(ty_graph *g) {
  bool any = false;
  for (int i = 0; i < g->values.n && !any; i++) any = g->values.p[i] && narrow(g->values.p[i]->dtype);
  if (!any) return TY_OK;
  TY_TRY(round_for_jumps(g));
  int n0 = g->values.n, *uses = ty_graph_use_counts(g);
  bool *direct = ty_alloc((size_t)n0 + 1);
  ty_remap m;
  if (!uses || !direct || !ty_remap_init(&m, g)) { ty_free(uses); ty_free(direct); return ty_pass_nomem(g); }
  ty_status st = TY_OK;
  for (ty_node *n = g->first; n; n = n->next)
    if (in_memory(n)) ty_node_each_input(n, mark, direct);
  for (ty_node *n = g->first, *next; n && !st; n = next) {
    next = n->next;
    ty_value *from = unrounded(n), *y;
    if (!from || !(direct[from->id] || alone(uses, n->args[0].value, from))) continue;
    ty_graph_at(g, n);
    y = again(g, n->args[0].value, from, from->def->args[0].value);
    if (!y || !ty_remap_set(&m, n->outs[0], y)) st = ty_pass_nomem(g);
  }
  for (ty_node *n = g->first; n; n = n->next) ty_remap_node(&m, n);
  ty_remap_finish(&m, g);
  ty_free(uses);
  ty_free(direct);
  return st ? st : ty_pass_dce(g);
}
