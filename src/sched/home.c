/* home.c: what is joined by a cat is computed into the cat's memory, and read there by its other readers; a cat of values that lie
 * side by side already (the growing lists of a dense block) is computed by nobody. */
#include "sched/sched_int.h"

static bool may_move(ty_sc *s, const ty_value *z) {
  const ty_node *n = z->def;
  const ty_vinfo *i = ty_sc_info(s, z);
  if (!n || i->fold || i->trivial || i->store) return false;
  return ty_op_is_prim(n->op) || n->op == TY_OP_cast || n->op == TY_OP_reduce || n->op == TY_OP_index || n->op == TY_OP_cat || n->op == TY_OP_gemm ||
         n->op == TY_OP_conv_packed;
}

static bool live_in(ty_sc *s, ty_value *z, ty_value *store, ty_dim off, const ty_dim *st) {
  ty_vinfo *i = ty_sc_info(s, z);
  i->store_stride = ty_arena_alloc(&s->tmp, sizeof(ty_dim) * (size_t)(z->rank ? z->rank : 1));
  if (!i->store_stride) { s->failed = true; return false; }
  i->store = store;
  i->store_off = off;
  for (int d = 0; d < z->rank; d++) i->store_stride[d] = st[d];
  return true;
}

/* Index of x, a reshape or permute of z (or several), from an index of z. */
static void index_of(ty_sc *s, const ty_value *x, const ty_value *z, const ty_dim *zi, ty_dim *xi) {
  if (x == z) { for (int d = 0; d < z->rank; d++) xi[d] = zi[d]; return; }
  const ty_value *in = x->def->args[0].value;
  ty_dim ii[TY_MAX_RANK];
  index_of(s, in, z, zi, ii);
  if (x->def->op == TY_OP_reshape) ty_sc_reshape_map(s->g, in->rank, in->shape, ii, x->rank, x->shape, xi);
  else for (int d = 0; d < x->rank; d++) {
    int64_t p = 0;
    ty_dim_is_const(s->g, x->def->args[1].ints[d], &p);
    xi[d] = ii[p];
  }
}

/* Operand k of a cat, from `at` on along dim. */
static void settle(ty_sc *s, ty_node *n, int k, int dim, ty_dim at, ty_value *store, ty_dim off, const ty_dim *st) {
  ty_graph *g = s->g;
  ty_value *x = n->args[0].values[k], *z = x;
  ty_dim zi[TY_MAX_RANK], xi[TY_MAX_RANK], zs[TY_MAX_RANK];
  while (z->def && (z->def->op == TY_OP_reshape || z->def->op == TY_OP_permute)) z = z->def->args[0].value;
  if (!may_move(s, z)) return;
  for (int d = 0; d < z->rank; d++) zi[d] = ty_sc_single(g, z->shape[d]) ? ty_dim_const(g, 0) : ty_dim_loopvar(g, "l", z->shape[d]);
  index_of(s, x, z, zi, xi);
  ty_dim addr = ty_dim_add(g, off, ty_dim_mul(g, at, st[dim]));
  for (int d = 0; d < x->rank; d++) addr = ty_dim_add(g, addr, ty_dim_mul(g, xi[d], st[d]));
  if (!ty_sc_affine(s, z, zi, addr, &off, zs) || !live_in(s, z, store, off, zs)) return;
  ty_vinfo *i = ty_sc_info(s, z);
  i->joined = n;
  i->joined_at = k;
  i->external = true;
}

/* Do the operands lie side by side in some cat's memory? */
static bool side_by_side(ty_sc *s, ty_node *n, int dim) {
  ty_dim first_off = -1, at = -1, st[TY_MAX_RANK], first[TY_MAX_RANK];
  ty_value *store = NULL, *v = n->outs[0];
  for (int k = 0; k < n->args[0].n; k++) {
    ty_value *x = n->args[0].values[k], *base, *z = x;
    ty_dim off;
    while (z->def && (z->def->op == TY_OP_reshape || z->def->op == TY_OP_permute)) z = z->def->args[0].value;
    if (!ty_sc_info(s, z)->store || !ty_sc_layout(s, x, &base, &off, st)) return false;
    for (int d = 0; d < x->rank; d++) {
      if (k && !ty_dim_is(s->g, x->shape[d], 1) && !ty_dim_is(s->g, n->args[0].values[0]->shape[d], 1) && st[d] != first[d]) return false;
      if (!k || ty_dim_is(s->g, n->args[0].values[0]->shape[d], 1)) first[d] = st[d];
    }
    if (k && (base != store || off != at)) return false;
    if (!k) store = base, first_off = off;
    if (ty_dim_is(s->g, x->shape[dim], 1)) return false; /* its stride along the cat is not known */
    at = ty_dim_add(s->g, off, ty_dim_mul(s->g, x->shape[dim], st[dim]));
  }
  return store && live_in(s, v, store, first_off, first);
}

ty_status ty_sc_homes(ty_sc *s) {
  for (ty_node *n = s->g->last; n && !s->failed && !s->g->eager; n = n->prev) {
    if (n->op != TY_OP_cat || ty_sc_info(s, n->outs[0])->fold) continue;
    ty_value *v = n->outs[0];
    ty_vinfo *i = ty_sc_info(s, v);
    int64_t dim = 0;
    ty_dim_is_const(s->g, n->args[1].i, &dim);
    if (!i->store && side_by_side(s, n, (int)dim)) { i->alias = true; continue; }
    ty_dim off, st[TY_MAX_RANK], at = ty_dim_const(s->g, 0);
    ty_value *store = ty_sc_own_layout(s, v, &off, st);
    for (int k = 0; k < n->args[0].n; k++) {
      settle(s, n, k, (int)dim, at, store, off, st);
      at = ty_dim_add(s->g, at, n->args[0].values[k]->shape[dim]);
    }
  }
  return s->failed ? ty_fail(s->ctx, TY_NOMEM, "no memory for the schedule") : TY_OK;
}
