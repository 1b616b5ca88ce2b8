/* group.c: which nodes are computed together: one walk from the outputs back, each value joining the group that needs it,
 * if only one does and at one index map, or becoming the root of a group of its own. */
#include "sched/sched_int.h"

static void need_at(ty_sc *s, ty_value *v, int group, const ty_dim *idx, bool summed) {
  ty_vinfo *i = ty_sc_info(s, v);
  for (int k = 0; k < i->reqs.n; k++) {
    bool same = i->reqs.p[k].group == group;
    for (int d = 0; d < v->rank && same; d++) same = i->reqs.p[k].idx[d] == idx[d];
    if (!same) continue;
    i->reqs.p[k].summed |= summed;
    return;
  }
  ty_req r = { group, ty_arena_alloc(&s->tmp, sizeof(ty_dim) * (size_t)(v->rank ? v->rank : 1)), summed };
  if (!r.idx) { s->failed = true; return; }
  for (int d = 0; d < v->rank; d++) r.idx[d] = idx[d];
  if (!TY_PUSH(&i->reqs, r)) s->failed = true;
}

static void need_memory(ty_sc *s, ty_value *v, bool from_run) {
  ty_sc_info(s, v)->external = true;
  if (from_run) ty_sc_info(s, v)->run_reads = true;
}

void ty_sc_reduce_map(ty_sc *s, const ty_group *gr, const ty_node *n, const ty_dim *idx, ty_dim *at) {
  ty_value *x = n->args[0].value;
  bool red[TY_MAX_RANK] = { 0 };
  ty_dim rshape[TY_MAX_RANK], vshape[TY_MAX_RANK], vidx[TY_MAX_RANK], ridx[TY_MAX_RANK];
  int nr = 0, nv = 0;
  for (int i = 0; i < n->args[2].n; i++) { int64_t d = 0; ty_dim_is_const(s->g, n->args[2].ints[i], &d); red[d] = true; }
  for (int d = 0; d < x->rank; d++) if (red[d]) rshape[nr++] = x->shape[d];
  for (int k = 0; k < gr->nvars; k++)
    if (gr->cls[k] == (gr->mode == TY_G_COLRED ? TY_VAR_RED : TY_VAR_COL)) { vshape[nv] = gr->ext[k]; vidx[nv++] = gr->var[k]; }
  ty_sc_reshape_map(s->g, nv, vshape, vidx, nr, rshape, ridx);
  int oi = 0, ri = 0;
  for (int d = 0; d < x->rank; d++) {
    if (red[d]) { at[d] = ridx[ri++]; if (n->args[3].b) oi++; }
    else at[d] = idx[oi++];
  }
}

/* What a node evaluated at idx inside group gi needs of its operands. */
static void push(ty_sc *s, ty_node *n, int gi, const ty_dim *idx, bool summed) {
  ty_group *gr = s->groups.p[gi];
  ty_value *o = n->outs[0];
  ty_dim at[2 * TY_MAX_RANK];
  if (ty_op_is_prim(n->op) || n->op == TY_OP_cast) {
    for (int i = 0; i < n->nargs; i++)
      if (n->args[i].kind == TY_ARG_VALUE) {
        ty_sc_broadcast_map(s, n->args[i].value, o->rank, idx, at);
        need_at(s, n->args[i].value, gi, at, summed);
      }
  } else if (n->op == TY_OP_index) {
    need_memory(s, n->args[0].value, !gr->fold);
    for (int i = 0; i < n->args[1].n; i++) {
      ty_sc_broadcast_map(s, n->args[1].values[i], o->rank, idx, at);
      need_at(s, n->args[1].values[i], gi, at, summed);
    }
  } else if (n->op == TY_OP_reduce) {
    ty_sc_reduce_map(s, gr, n, idx, at);
    need_at(s, n->args[0].value, gi, at, gr->mode == TY_G_COLRED);
  }
}

static ty_group *new_group(ty_sc *s, ty_value *root, ty_node *at, bool fold) {
  ty_group *g = ty_arena_alloc(&s->tmp, sizeof *g);
  if (!g || !TY_PUSH(&s->groups, g)) { s->failed = true; return NULL; }
  *g = (ty_group){ .root = root, .at = at, .fold = fold, .declined = "" };
  for (int i = 0; i < root->rank; i++) {
    g->var[i] = ty_dim_loopvar(s->g, "i", root->shape[i]);
    g->ext[i] = root->shape[i];
    g->cls[i] = TY_VAR_ROW;
    g->idx[i] = ty_dim_is(s->g, root->shape[i], 1) ? ty_dim_const(s->g, 0) : g->var[i];
  }
  g->nvars = root->rank;
  return g;
}

static ty_dim extent(ty_sc *s, const ty_group *g, ty_varclass c) {
  ty_dim e = ty_dim_const(s->g, 1);
  for (int i = 0; i < g->nvars; i++) if (g->cls[i] == c) e = ty_dim_mul(s->g, e, g->ext[i]);
  return e;
}
static bool depends_on(ty_sc *s, const ty_group *g, int rank, const ty_dim *idx, ty_varclass c) {
  for (int d = 0; d < rank; d++)
    for (int i = 0; i < g->nvars; i++)
      if (g->cls[i] == c && ty_dim_depends(s->g, idx[d], g->var[i])) return true;
  return false;
}

static void add_vars(ty_sc *s, ty_group *g, ty_node *n, ty_varclass c) {
  ty_value *x = n->args[0].value;
  for (int d = 0; d < x->rank; d++)
    for (int i = 0; i < n->args[2].n; i++)
      if (ty_dim_is(s->g, n->args[2].ints[i], d)) {
        g->var[g->nvars] = ty_dim_loopvar(s->g, "k", x->shape[d]);
        g->ext[g->nvars] = x->shape[d];
        g->cls[g->nvars++] = c;
      }
}

/* Makes room for a reduction in a group: turns a plain domain into one with columns (or a reduction loop) that the
 * reduction runs over, or sees that the group's own columns are it. */
static bool join_reduce(ty_sc *s, ty_group *g, ty_node *n, const ty_dim *idx, bool summed) {
  ty_graph *gr = s->g;
  ty_value *x = n->args[0].value, *o = n->outs[0];
  if (g->anchor) return false;
  ty_dim re = ty_dim_const(gr, 1);
  bool trailing = true;
  for (int i = 0; i < n->args[2].n; i++) {
    int64_t d = 0;
    ty_dim_is_const(gr, n->args[2].ints[i], &d);
    re = ty_dim_mul(gr, re, x->shape[d]);
    trailing &= d >= x->rank - n->args[2].n;
  }
  if (g->mode == TY_G_ROWRED) return extent(s, g, TY_VAR_COL) == re && !depends_on(s, g, o->rank, idx, TY_VAR_COL);
  if (g->mode == TY_G_COLRED) return !summed && extent(s, g, TY_VAR_RED) == re && !depends_on(s, g, o->rank, idx, TY_VAR_RED);
  if (trailing) {
    ty_dim p = ty_dim_const(gr, 1);
    for (int k = g->nvars - 1; k >= 0 && k >= g->nvars - n->args[2].n - 2; k--) { /* the root's own trailing dims? */
      p = ty_dim_mul(gr, p, g->ext[k]);
      if (p != re) continue;
      ty_group t = *g;
      for (int j = k; j < t.nvars; j++) t.cls[j] = TY_VAR_COL;
      if (depends_on(s, &t, o->rank, idx, TY_VAR_COL)) break;
      t.mode = TY_G_ROWRED;
      *g = t;
      return true;
    }
  }
  /* the value is computed once for each element of the root: its reduction becomes the inner loop */
  ty_dim no = ty_dim_product(gr, o->rank, o->shape), nr = ty_dim_product(gr, g->root->rank, g->root->shape);
  if (no != nr) return false;
  g->mode = trailing ? TY_G_ROWRED : TY_G_COLRED;
  add_vars(s, g, n, trailing ? TY_VAR_COL : TY_VAR_RED);
  if (!trailing) { /* the innermost dim of the root is the vector loop */
    int k = g->root->rank - 1;
    while (k > 0 && ty_dim_is(gr, g->ext[k], 1)) k--;
    if (k >= 0) g->cls[k] = TY_VAR_COL;
  }
  return true;
}

static bool join_gemm(ty_sc *s, ty_group *g, ty_node *n, const ty_dim *idx) {
  if (g->mode != TY_G_PLAIN || g->anchor || g->root->rank == 0) return false;
  if (n->outs[0]->dtype != TY_f32 && n->outs[0]->dtype != TY_i32) return false;
  ty_value *o = n->outs[0];
  ty_value *r = g->root;
  if (o->shape[o->rank - 1] != r->shape[r->rank - 1]) return false;
  if (ty_sc_flat(s->g, o->rank, o->shape, idx) != ty_sc_flat(s->g, r->rank, r->shape, g->idx)) return false;
  if (ty_dim_product(s->g, o->rank, o->shape) != ty_dim_product(s->g, r->rank, r->shape)) return false; /* the first rows of it only */
  g->anchor = n;
  return true;
}

/* May an elementwise node be evaluated at this index map inside the group? */
static bool join_elementwise(ty_sc *s, ty_group *g, ty_node *n, const ty_dim *idx) {
  ty_value *o = n->outs[0];
  if (g->mode == TY_G_ROWRED && !depends_on(s, g, o->rank, idx, TY_VAR_COL)) return true; /* once a row */
  ty_dim dom = ty_dim_const(s->g, 1);
  for (int i = 0; i < g->nvars; i++) dom = ty_dim_mul(s->g, dom, g->ext[i]);
  /* Broadcast along the trailing dims only: once a row. Broadcast otherwise: computing it again for each row costs more than
   * reading it. */
  double cols = 1, have = (double)ty_dim_hint(s->g, ty_dim_product(s->g, o->rank, o->shape)), all = (double)ty_dim_hint(s->g, dom);
  for (int k = g->nvars - 1; k >= 0 && g->mode == TY_G_PLAIN && !g->anchor; k--) {
    for (int d = 0; d < o->rank; d++)
      if (ty_dim_depends(s->g, idx[d], g->var[k])) k = 0;
    if (k > 0 || !o->rank) cols *= (double)ty_dim_hint(s->g, g->ext[k]);
  }
  return have * cols * 2 > all;
}

static bool inline_at(ty_sc *s, ty_node *n, int gi, const ty_dim *idx, bool summed) {
  ty_group *g = s->groups.p[gi];
  if (g->fold != ty_sc_info(s, n->outs[0])->fold || g->members > 150) return false;
  if (n->op == TY_OP_reduce) return join_reduce(s, g, n, idx, summed);
  if (ty_sc_is_product(n)) return join_gemm(s, g, n, idx);
  if (ty_op_is_prim(n->op) || n->op == TY_OP_cast || n->op == TY_OP_index) return join_elementwise(s, g, n, idx);
  return false;
}

/* Operands of kernels that read memory. */
static void opaque(ty_sc *s, ty_node *n) {
  bool run = !ty_sc_info(s, n->outs[0])->fold;
  for (int i = 0; i < n->nargs; i++)
    if (n->args[i].kind == TY_ARG_VALUE) need_memory(s, n->args[i].value, run);
}

static void visit(ty_sc *s, ty_node *n) {
  ty_value *v = n->outs[0];
  ty_vinfo *i = ty_sc_info(s, v);
  if (ty_sc_is_view(n)) {
    ty_dim at[TY_MAX_RANK];
    ty_value *in = n->args[0].value;
    if (i->external) need_memory(s, in, i->run_reads);
    for (int k = 0; k < i->reqs.n; k++) {
      ty_sc_view_map(s, n, i->reqs.p[k].idx, at);
      need_at(s, in, i->reqs.p[k].group, at, i->reqs.p[k].summed);
    }
    return;
  }
  if (i->output >= 0) i->external = true;
  bool external = i->external;
  if (i->trivial) { /* computed again wherever it is needed */
    for (int k = 0; k < i->reqs.n; k++) push(s, n, i->reqs.p[k].group, i->reqs.p[k].idx, i->reqs.p[k].summed);
    if (!external) return;
  } else if (!external && i->reqs.n == 1 && inline_at(s, n, i->reqs.p[0].group, i->reqs.p[0].idx, i->reqs.p[0].summed)) {
    i->group = i->reqs.p[0].group;
    i->idx = i->reqs.p[0].idx;
    s->groups.p[i->group]->members++;
    if (ty_sc_is_product(n)) opaque(s, n);
    else push(s, n, i->group, i->idx, i->reqs.p[0].summed);
    return;
  }
  if (!external && !i->reqs.n) return; /* dead */
  for (int k = 0; k < i->reqs.n && !i->trivial; k++)
    if (!s->groups.p[i->reqs.p[k].group]->fold) i->run_reads = true;
  i->external = true;
  if (n->op == TY_OP_cat) {
    ty_dim off = ty_dim_const(s->g, 0);
    int64_t dim = 0;
    ty_dim_is_const(s->g, n->args[1].i, &dim);
    for (int k = 0; k < n->args[0].n; k++) {
      ty_value *x = n->args[0].values[k], *z = x;
      ty_dim at = off;
      off = ty_dim_add(s->g, off, x->shape[dim]);
      while (ty_sc_is_view(z->def)) z = z->def->args[0].value;
      if (i->alias || ty_sc_info(s, z)->changes || (ty_sc_info(s, z)->joined == n && ty_sc_info(s, z)->joined_at == k)) {
        need_memory(s, x, !i->fold);
        continue;
      }
      ty_group *g = new_group(s, x, n, i->fold);
      if (!g) return;
      g->into = v; g->into_dim = (int)dim; g->into_off = at;
      need_at(s, x, s->groups.n - 1, g->idx, false);
    }
    return;
  }
  bool product = ty_sc_is_product(n);
  if ((product && !i->store) || n->op == TY_OP_attention || n->op == TY_OP_pack || n->op == TY_OP_conv_pack || n->op == TY_OP_rnn || ty_sc_is_routine(n)) { opaque(s, n); return; }
  ty_group *g = new_group(s, v, n, i->fold);
  if (!g) return;
  i->group = s->groups.n - 1;
  i->idx = g->idx;
  if (product) { /* an epilogue puts it in its place */
    join_gemm(s, g, n, g->idx);
    opaque(s, n);
    return;
  }
  if (n->op == TY_OP_reduce) join_reduce(s, g, n, g->idx, false);
  push(s, n, i->group, g->idx, false);
}

ty_status ty_sc_group(ty_sc *s) {
  for (ty_node *n = s->g->last; n && !s->failed; n = n->prev) visit(s, n);
  return s->failed ? ty_fail(s->ctx, TY_NOMEM, "no memory for the schedule") : TY_OK;
}
