/* home.c: what is joined by a cat is computed into the cat's memory, and read there by its other readers; a cat of values that lie
 * side by side already (the growing lists of a dense block) is computed by nobody.
 *
 * Assignments to parts of a tensor arrive as new tensors: a cat of something new with slices of the old one where they stood, or a scatter.
 * Where nothing else reads the old one, it lies in the new one's memory, and only what is new is written. Nested assignments are cats joined
 * into cats: the slices that the inner ones keep count as well, when they lie where the old value has them. What is joined into memory that
 * has had other values must be computed after these (floor), and be read by nobody else where others follow (single). */
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

static ty_value *unordered(ty_value *x) { /* what it is a reshape or permute of */
  while (x->def && (x->def->op == TY_OP_reshape || x->def->op == TY_OP_permute)) x = x->def->args[0].value;
  return x;
}
static ty_value *unviewed(ty_value *x) {
  while (ty_sc_is_view(x->def)) x = x->def->args[0].value;
  return x;
}

/* Makes z the value that n changes, at this layout in store. */
static bool becomes(ty_sc *s, ty_value *z, ty_node *n, ty_value *store, ty_dim off, const ty_dim *st) {
  if (!live_in(s, z, store, off, st)) return false;
  ty_vinfo *v = ty_sc_info(s, n->outs[0]);
  ty_sc_info(s, z)->owner = n;
  v->before = z;
  v->floor = z->def->scratch;
  return true;
}
static bool may_change(ty_sc *s, const ty_value *z, const ty_node *n) {
  const ty_vinfo *i = ty_sc_info(s, z);
  bool scatter = z->def && z->def->op == TY_OP_scatter && !i->fold && !i->store;
  return (scatter || may_move(s, z)) && z->def->scratch > ty_sc_info(s, n->outs[0])->floor;
}
static bool is_whole(ty_sc *s, const ty_value *v, ty_dim off, const ty_dim *st) {
  ty_dim want[TY_MAX_RANK];
  ty_sc_contiguous(s->g, v->rank, v->shape, want);
  for (int d = 0; d < v->rank; d++)
    if (!ty_sc_single(s->g, v->shape[d]) && st[d] != want[d]) return false;
  return ty_dim_is(s->g, off, 0);
}

/* How often a cat, and those that only it joins, read z. */
static int reads(ty_sc *s, const ty_node *n, const ty_value *z, int depth) {
  int c = 0;
  for (int k = 0; k < n->args[0].n; k++) {
    ty_value *x = n->args[0].values[k], *b = unordered(x);
    if (unviewed(x) == z) c++;
    else if (depth && b->def && b->def->op == TY_OP_cat && ty_sc_info(s, b)->uses == 1) c += reads(s, b->def, z, depth - 1);
  }
  return c;
}

/* Looks for a value of the cat's shape that the cat has slices of at their own places. */
static void change_of_cat(ty_sc *s, ty_node *n, int dim, ty_value *store, ty_dim off, const ty_dim *st) {
  enum { DEPTH = 8 };
  ty_graph *g = s->g;
  ty_value *v = n->outs[0];
  ty_dim at = ty_dim_const(g, 0);
  for (int k = 0; k < n->args[0].n && !s->failed; k++) {
    ty_value *x = n->args[0].values[k], *w = x->def && x->def->op == TY_OP_slice ? x->def->args[0].value : NULL;
    ty_dim from = at, o, zi[TY_MAX_RANK], wi[TY_MAX_RANK], zs[TY_MAX_RANK];
    at = ty_dim_add(g, at, x->shape[dim]);
    if (!w || w->rank != v->rank || !ty_dim_is(g, x->def->args[1].i, dim) || x->def->args[2].i != from || !ty_dim_is(g, x->def->args[3].i, 1)) continue;
    bool same = true;
    for (int d = 0; d < v->rank; d++) same &= w->shape[d] == v->shape[d];
    ty_value *z = unordered(w);
    if (!same || !may_change(s, z, n) || reads(s, n, z, DEPTH) != ty_sc_info(s, z)->uses) continue;
    for (int d = 0; d < z->rank; d++) zi[d] = ty_sc_single(g, z->shape[d]) ? ty_dim_const(g, 0) : ty_dim_loopvar(g, "l", z->shape[d]);
    index_of(s, w, z, zi, wi);
    ty_dim addr = off;
    for (int d = 0; d < w->rank; d++) addr = ty_dim_add(g, addr, ty_dim_mul(g, wi[d], st[d]));
    if (!ty_sc_affine(s, z, zi, addr, &o, zs) || (z->def->op == TY_OP_scatter && !is_whole(s, z, o, zs))) continue;
    if (becomes(s, z, n, store, o, zs)) return;
  }
}
static void change_of_scatter(ty_sc *s, ty_node *n) {
  ty_value *z = n->args[0].value;
  ty_dim off, st[TY_MAX_RANK], zs[TY_MAX_RANK];
  while (z->def && z->def->op == TY_OP_reshape) z = z->def->args[0].value;
  if (ty_sc_info(s, n->outs[0])->fold || !may_change(s, z, n) || ty_sc_info(s, z)->uses != 1) return;
  ty_value *store = ty_sc_own_layout(s, n->outs[0], &off, st);
  ty_sc_contiguous(s->g, z->rank, z->shape, zs);
  if (becomes(s, z, n, store, off, zs)) ty_sc_info(s, z)->kept = 1;
}

/* Counts operand k of a cat, from `at` on along dim, if it lies there already as a part of a value that the cat, or one that it is joined
 * into, changes; a cat between them that changes another value has that one's elements there. */
static void keep(ty_sc *s, ty_node *n, int k, int dim, ty_dim at, ty_value *store, ty_dim off, const ty_dim *st) {
  ty_graph *g = s->g;
  ty_value *x = n->args[0].values[k], *base;
  ty_vinfo *z = ty_sc_info(s, unviewed(x));
  ty_dim idx[TY_MAX_RANK], addr = ty_dim_add(g, off, ty_dim_mul(g, at, st[dim]));
  if (!z->owner) return;
  for (const ty_node *c = n; c != z->owner; c = ty_sc_info(s, c->outs[0])->joined)
    if (!ty_sc_info(s, c->outs[0])->joined || ty_sc_info(s, c->outs[0])->before) return;
  for (int d = 0; d < x->rank; d++) {
    idx[d] = ty_sc_single(g, x->shape[d]) ? ty_dim_const(g, 0) : ty_dim_loopvar(g, "l", x->shape[d]);
    addr = ty_dim_add(g, addr, ty_dim_mul(g, idx[d], st[d]));
  }
  if (ty_sc_address(s, x, idx, &base) == addr && base == store) z->kept++;
}

/* Operand k of a cat, from `at` on along dim. */
static void settle(ty_sc *s, ty_node *n, int k, int dim, ty_dim at, ty_value *store, ty_dim off, const ty_dim *st) {
  ty_graph *g = s->g;
  ty_value *x = n->args[0].values[k], *z = unordered(x);
  ty_vinfo *v = ty_sc_info(s, n->outs[0]);
  ty_dim zi[TY_MAX_RANK], xi[TY_MAX_RANK], zs[TY_MAX_RANK];
  if (!may_move(s, z) || z->def->scratch <= v->floor || (v->single && ty_sc_info(s, z)->uses != 1)) return;
  for (int d = 0; d < z->rank; d++) zi[d] = ty_sc_single(g, z->shape[d]) ? ty_dim_const(g, 0) : ty_dim_loopvar(g, "l", z->shape[d]);
  index_of(s, x, z, zi, xi);
  ty_dim addr = ty_dim_add(g, off, ty_dim_mul(g, at, st[dim]));
  for (int d = 0; d < x->rank; d++) addr = ty_dim_add(g, addr, ty_dim_mul(g, xi[d], st[d]));
  if (!ty_sc_affine(s, z, zi, addr, &off, zs) || !live_in(s, z, store, off, zs)) return;
  ty_vinfo *i = ty_sc_info(s, z);
  i->joined = n;
  i->joined_at = k;
  i->external = true;
  i->single = v->single;
  i->floor = v->floor;
}

/* Do the operands lie side by side in some cat's memory? */
static bool side_by_side(ty_sc *s, ty_node *n, int dim) {
  ty_dim first_off = -1, at = -1, st[TY_MAX_RANK], first[TY_MAX_RANK];
  ty_value *store = NULL, *v = n->outs[0];
  for (int k = 0; k < n->args[0].n; k++) {
    ty_value *x = n->args[0].values[k], *base, *z = unordered(x);
    ty_dim off;
    if (!ty_sc_info(s, z)->store || ty_sc_info(s, z)->owner || !ty_sc_layout(s, x, &base, &off, st)) return false;
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

static void count_use(void *user, ty_value **slot) { ty_sc_info(user, *slot)->uses++; }

static void count_uses(ty_sc *s) {
  int at = 0;
  for (int i = 0; i < s->g->outputs.n; i++) ty_sc_info(s, s->g->outputs.p[i])->uses++;
  for (ty_node *n = s->g->last; n; n = n->prev)
    if (!ty_sc_is_view(n)) ty_node_each_input(n, count_use, s);
    else ty_sc_info(s, n->args[0].value)->uses += ty_sc_info(s, n->outs[0])->uses;
  for (ty_node *n = s->g->first; n; n = n->next) n->scratch = ++at;
}

ty_status ty_sc_homes(ty_sc *s) {
  if (s->g->eager) return TY_OK;
  count_uses(s);
  for (ty_node *n = s->g->last; n && !s->failed; n = n->prev) {
    ty_value *v = n->nouts ? n->outs[0] : NULL;
    ty_vinfo *i = v ? ty_sc_info(s, v) : NULL;
    if (i && i->owner) { /* all that read it have been seen */
      i->changes = i->single = i->kept == i->uses;
      if (!i->changes) i->store = NULL, i->owner = NULL;
    }
    if (n->op == TY_OP_scatter) change_of_scatter(s, n);
    if (n->op != TY_OP_cat || i->fold) continue;
    int64_t dim = 0;
    ty_dim_is_const(s->g, n->args[1].i, &dim);
    if (!i->store && side_by_side(s, n, (int)dim)) { i->alias = true; continue; }
    ty_dim off, st[TY_MAX_RANK], at = ty_dim_const(s->g, 0);
    ty_value *store = ty_sc_own_layout(s, v, &off, st);
    change_of_cat(s, n, (int)dim, store, off, st);
    for (int k = 0; k < n->args[0].n; k++) {
      settle(s, n, k, (int)dim, at, store, off, st);
      keep(s, n, k, (int)dim, at, store, off, st);
      at = ty_dim_add(s->g, at, n->args[0].values[k]->shape[dim]);
    }
  }
  return s->failed ? ty_fail(s->ctx, TY_NOMEM, "no memory for the schedule") : TY_OK;
}
