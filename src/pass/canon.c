/* canon.c: one form for views (no identity, no chains of one kind), casts, scalar literals, and products over merged batch dims.
 * Requires: core operators. */
#include "pass/pass_int.h"
#include <string.h>

static bool identity_perm(ty_graph *g, const ty_arg *p) {
  for (int i = 0; i < p->n; i++) if (!ty_dim_is(g, p->ints[i], i)) return false;
  return true;
}

/* permute(permute(x)) */
static ty_value *compose(ty_graph *g, ty_node *n, ty_node *in) {
  int perm[TY_MAX_RANK];
  for (int i = 0; i < n->args[1].n; i++) {
    int64_t a = 0, b = 0;
    ty_dim_is_const(g, n->args[1].ints[i], &a);
    ty_dim_is_const(g, in->args[1].ints[a], &b);
    perm[i] = (int)b;
  }
  return ty_c_permute(g, in->args[0].value, perm);
}

/* Products that torch wrote over one merged batch dim go back to [B, H, M, K] x [B, H, K, N], where views can be seen. */
static ty_value *unmerge(ty_graph *g, ty_node *n) {
  ty_value *a = n->args[0].value, *b = n->args[1].value;
  if (a->rank != 3 || b->rank != 3 || !ty_is_op(a, TY_OP_reshape) || !ty_is_op(b, TY_OP_reshape)) return NULL;
  ty_value *a4 = a->def->args[0].value, *b4 = b->def->args[0].value;
  if (a4->rank != 4 || b4->rank != 4 || a4->shape[0] != b4->shape[0] || a4->shape[1] != b4->shape[1]) return NULL;
  if (a4->shape[2] != a->shape[1] || a4->shape[3] != a->shape[2] || b4->shape[2] != b->shape[1] || b4->shape[3] != b->shape[2]) return NULL;
  ty_value *o = n->outs[0];
  return ty_c_reshape(g, ty_c_matmul(g, a4, b4, n->args[2]), o->rank, o->shape);
}

/* Swapping the matrix dims of a merged batch [BH, S, D] happens before merging: what is left is a merged batch again. */
static ty_value *swap_below(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value, *o = n->outs[0];
  if (x->rank != 3 || !ty_is_op(x, TY_OP_reshape) || !ty_dim_is(g, n->args[1].ints[0], 0)) return NULL;
  ty_value *y = x->def->args[0].value;
  if (y->rank != 4 || y->shape[2] != x->shape[1] || y->shape[3] != x->shape[2]) return NULL;
  return ty_c_reshape(g, ty_c_permute(g, y, (const int[]){ 0, 1, 3, 2 }), 3, o->shape);
}

/* A sum of columns is one chain of additions each: over several dims and many elements, one dim is summed after the other, which errs by
 * what the lengths add up to and not by what they multiply to (the mean of an image whose channels lie last). */
static ty_value *sum_in_turn(ty_graph *g, ty_node *n) {
  enum { MANY = 1024 };
  ty_value *x = n->args[0].value, *o = n->outs[0];
  int64_t count = 1, d;
  int dims[TY_MAX_RANK], k = n->args[2].n, last = 0;
  if (k < 2 || strcmp(n->args[1].str, "sum") || !ty_dtype_is_float(o->dtype)) return NULL;
  for (int i = 0; i < k; i++) {
    ty_dim_is_const(g, n->args[2].ints[i], &d);
    dims[i] = (int)d;
    if (dims[i] > dims[last]) last = i;
    if (count < MANY) count *= ty_dim_hint(g, x->shape[d]);
  }
  if (dims[last] == x->rank - 1 || count < MANY) return NULL;
  x = ty_c_reduce(g, "sum", x, 1, &dims[last], true);
  dims[last] = dims[k - 1];
  x = x ? ty_c_reduce(g, "sum", x, k - 1, dims, true) : NULL;
  return x ? ty_c_reshape(g, x, o->rank, o->shape) : NULL;
}

/* A mask that lets everything through is none, and a causal one is not read. */
static ty_value *unmask(ty_graph *g, ty_node *n) {
  ty_value *in[5], *mask;
  double c;
  for (int i = 0; i < 5; i++) in[i] = n->args[i].kind == TY_ARG_VALUE ? n->args[i].value : NULL;
  if (!(mask = in[3]) || mask->dtype != TY_bool) return NULL;
  bool all = ty_scalar_const(g, mask, &c) && c == 1;
  bool causal = !all && !n->args[5].b && mask->rank >= 2 && ty_dim_known_eq(g, mask->shape[mask->rank - 2], in[0]->shape[2]) &&
                ty_dim_known_eq(g, mask->shape[mask->rank - 1], in[1]->shape[2]) && ty_mask_is_causal(g, mask);
  if (!all && !causal) return NULL;
  return ty_c_attention(g, in[0], in[1], in[2], NULL, in[4], causal || n->args[5].b, n->args[6].f, n->args[7].b, n->args[8]);
}

static ty_value *simplify(ty_graph *g, ty_node *n) {
  ty_value *o = n->outs[0], *x = n->nargs && n->args[0].kind == TY_ARG_VALUE ? n->args[0].value : NULL;
  double c;
  bool known;
  switch (n->op) {
  case TY_OP_reshape:
    if (ty_same_shape(o, x)) return x;
    if (ty_is_op(x, TY_OP_reshape)) return ty_c_reshape(g, x->def->args[0].value, o->rank, o->shape);
    return NULL;
  case TY_OP_permute:
    if (identity_perm(g, &n->args[1])) return x;
    return ty_is_op(x, TY_OP_permute) ? compose(g, n, x->def) : swap_below(g, n);
  case TY_OP_expand: return ty_same_shape(o, x) ? x : NULL;
  case TY_OP_slice: return ty_same_shape(o, x) && ty_dim_is(g, n->args[2].i, 0) && ty_dim_is(g, n->args[3].i, 1) ? x : NULL;
  case TY_OP_cast:
    if (x->dtype == o->dtype) return x;
    if (ty_scalar_const(g, x, &c) && ty_dtype_is_float(o->dtype)) return ty_c_full(g, o->dtype, o->rank, o->shape, o->dtype == TY_f32 ? (float)c : c);
    return NULL;
  case TY_OP_reduce: return sum_in_turn(g, n);
  case TY_OP_cat: return n->args[0].n == 1 ? n->args[0].values[0] : NULL;
  case TY_OP_matmul: return unmerge(g, n);
  case TY_OP_attention: return unmask(g, n);
  default: break;
  }
  if (ty_decided(g, n, &known)) return ty_c_full_int(g, TY_bool, o->rank, o->shape, known);
  if (n->op == ty_op_of_prim(TY_P_and) && o->dtype == TY_bool)
    for (int k = 0; k < 2; k++)
      if (ty_scalar_const(g, n->args[k].value, &c) && c == 1) return ty_c_expand(g, n->args[1 - k].value, o->rank, o->shape);
  if (n->op == ty_op_of_prim(TY_P_sel) && ty_scalar_const(g, x, &c)) return ty_c_expand(g, n->args[c != 0 ? 1 : 2].value, o->rank, o->shape);
  if ((n->op == ty_op_of_prim(TY_P_mul) || n->op == ty_op_of_prim(TY_P_div)) && ty_dtype_is_float(o->dtype))
    for (int k = 0; k < 2; k++) { /* times one */
      ty_value *y = n->args[1 - k].value;
      if (k == 1 && n->op == ty_op_of_prim(TY_P_div)) break;
      if (ty_scalar_const(g, y, &c) && c == 1 && ty_same_shape(o, n->args[k].value)) return n->args[k].value;
    }
  return NULL;
}

/* A literal of one element is a constant that loops can spell. */
static ty_value *literal_scalar(ty_graph *g, ty_value *v) {
  double d = 0;
  int64_t i = 0;
  switch (v->dtype) {
  case TY_f32: { float f; memcpy(&f, v->data, 4); d = f; break; }
  case TY_f64: memcpy(&d, v->data, 8); break;
  case TY_i64: memcpy(&i, v->data, 8); break;
  case TY_i32: { int32_t t; memcpy(&t, v->data, 4); i = t; break; }
  case TY_bool: case TY_u8: i = *(const uint8_t *)v->data; break;
  default: return NULL;
  }
  return ty_dtype_is_float(v->dtype) ? ty_c_full(g, v->dtype, v->rank, v->shape, d) : ty_c_full_int(g, v->dtype, v->rank, v->shape, i);
}

ty_status ty_pass_canon(ty_graph *g) {
  ty_remap m;
  if (!ty_remap_init(&m, g)) return ty_pass_nomem(g);
  ty_status st = TY_OK;
  ty_graph_at(g, g->first);
  for (int i = 0, n = g->values.n; i < n && !st; i++) {
    ty_value *v = g->values.p[i];
    if (!v || v->def || v->role != TY_ROLE_LITERAL || !ty_dim_is(g, ty_dim_product(g, v->rank, v->shape), 1)) continue;
    ty_value *f = literal_scalar(g, v);
    if (f && !ty_remap_set(&m, v, f)) st = ty_pass_nomem(g);
  }
  for (ty_node *n = g->first, *next; n && !st; n = next) {
    next = n->next;
    ty_remap_node(&m, n);
    ty_graph_at(g, n);
    ty_value *r = n->nouts == 1 ? simplify(g, n) : NULL;
    if (!r) continue;
    if (!ty_remap_set(&m, n->outs[0], r)) st = ty_pass_nomem(g);
    ty_graph_remove(g, n);
  }
  ty_remap_finish(&m, g);
  return st;
}

ty_status ty_pass_tidy(ty_graph *g) {
  TY_TRY(ty_pass_canon(g));
  TY_TRY(ty_pass_cse(g)); /* a layer used twelve times has its weights joined and packed once */
  TY_TRY(ty_pass_dce(g));
  return ty_pass_hoist(g);
}
