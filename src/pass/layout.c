/* layout.c: convolutions compute with channels last: their results stay so through everything that does not care, and permutes move
 * down to where an order of dims matters (outputs, flattening). Permutes are views; what counts is the order in which values that
 * lie in memory are computed. Requires: core operators, attention already recognised. A graph without convolutions stays as it is. */
#include "pass/pass_int.h"
#include <string.h>

/* What a value is known as: permute(y, perm), y NULL when nothing is known of it. plain: that permute as a node, once needed. */
typedef struct form { ty_value *y, *plain; int perm[TY_MAX_RANK]; } form;
typedef struct layout { ty_graph *g; form *form; int n; bool failed; } layout;

static form *form_of(layout *l, const ty_value *v) { return v->id < l->n && l->form[v->id].y ? &l->form[v->id] : NULL; }

static bool identity(const int *perm, int rank) {
  for (int i = 0; i < rank; i++) if (perm[i] != i) return false;
  return true;
}

static void set_form(layout *l, const ty_value *v, ty_value *y, const int *perm) {
  if (!y) { l->failed = true; return; }
  if (v->id >= l->n) {
    int n = v->id * 2 + 64;
    form *p = ty_grow(l->form, sizeof *p * (size_t)n);
    if (!p) { l->failed = true; return; }
    memset(p + l->n, 0, sizeof *p * (size_t)(n - l->n));
    l->form = p, l->n = n;
  }
  form *f = &l->form[v->id];
  *f = (form){ .y = y };
  for (int i = 0; i < v->rank; i++) f->perm[i] = perm ? perm[i] : i;
}

/* permute(v, perm), through a permute that v is. */
static ty_value *permuted(layout *l, ty_value *v, const int *perm) {
  int p[TY_MAX_RANK];
  if (!v || !ty_is_op(v, TY_OP_permute)) return v ? ty_c_permute(l->g, v, perm) : NULL;
  for (int i = 0; i < v->rank; i++) {
    int64_t d = 0;
    ty_dim_is_const(l->g, v->def->args[1].ints[perm[i]], &d);
    p[i] = (int)d;
  }
  return ty_c_permute(l->g, v->def->args[0].value, p);
}

static ty_value *plain(layout *l, ty_value *v) {
  form *f = form_of(l, v);
  if (!f) return v;
  if (identity(f->perm, v->rank)) return f->y;
  ty_value *p = f->plain ? f->plain : permuted(l, f->y, f->perm);
  if (!p) l->failed = true;
  l->form[v->id].plain = p;
  return p ? p : v;
}

static ty_value *lift(layout *l, ty_value *y, int rank) { /* ones before the dims it has */
  ty_dim s[TY_MAX_RANK];
  int more = rank - y->rank;
  for (int i = 0; i < rank; i++) s[i] = i < more ? ty_dim_const(l->g, 1) : y->shape[i - more];
  return ty_c_reshape(l->g, y, rank, s);
}

/* The value z for which v, with ones before its dims, is permute(z, perm). */
static ty_value *in_space(layout *l, ty_value *v, int rank, const int *perm) {
  form *f = form_of(l, v);
  int q[TY_MAX_RANK], more = rank - v->rank;
  ty_value *y = f ? f->y : v;
  if (ty_dim_is(l->g, ty_dim_product(l->g, v->rank, v->shape), 1)) return plain(l, v);
  if (more) y = lift(l, y, rank);
  for (int i = 0; i < rank; i++) q[perm[i]] = i < more ? i : more + (f ? f->perm[i - more] : i - more);
  return permuted(l, y, q);
}

static void each_plain(void *user, ty_value **slot) { *slot = plain(user, *slot); }

/* The node with other arguments. */
static ty_value *remake(layout *l, const ty_node *n, ty_arg *args) {
  ty_value *v = ty_make(l->g, n->op, n->nargs, args);
  if (!v) l->failed = true;
  return v;
}

typedef struct run { int in0, in1, out0, out1; } run; /* dims [in0, in1) become [out0, out1) */

/* Runs of dims (those of size 1 left out) that a reshape maps to each other; -1: it cannot be told. */
static int runs_of(ty_graph *g, int na, const ty_dim *a, int nb, const ty_dim *b, run *r) {
  int i = 0, j = 0, n = 0;
  while (i < na && j < nb) {
    run k = { i, i + 1, j, j + 1 };
    ty_dim pa = a[i++], pb = b[j++];
    while (pa != pb) {
      bool grow_a = j >= nb || (i < na && ty_dim_hint(g, pa) <= ty_dim_hint(g, pb));
      if (grow_a && i < na) pa = ty_dim_mul(g, pa, a[i++]);
      else if (j < nb) pb = ty_dim_mul(g, pb, b[j++]);
      else return -1;
    }
    k.in1 = i, k.out1 = j;
    r[n++] = k;
  }
  return i == na && j == nb ? n : -1;
}

/* reshape(permute(y, perm)) as permute(reshape(permute(y, q)), perm'): runs keep the order in which they start in y; q puts the
 * dims of a run side by side, and is nothing unless dims were swapped within a run (a shuffle of channels). */
static bool reshape_form(layout *l, ty_node *n, const form *f) {
  ty_graph *g = l->g;
  const ty_value *x = n->args[0].value, *o = n->outs[0];
  int in[TY_MAX_RANK], to[TY_MAX_RANK], na = 0, nb = 0, order[TY_MAX_RANK], q[TY_MAX_RANK], nq = 0, perm[TY_MAX_RANK], at = 0;
  ty_dim a[TY_MAX_RANK], b[TY_MAX_RANK], s[TY_MAX_RANK];
  run r[TY_MAX_RANK];
  for (int i = 0; i < x->rank; i++) if (!ty_dim_is(g, x->shape[i], 1)) a[na] = x->shape[i], in[na++] = i;
  for (int i = 0; i < o->rank; i++) if (!ty_dim_is(g, o->shape[i], 1)) b[nb] = o->shape[i], to[nb++] = i;
  int nr = runs_of(g, na, a, nb, b, r);
  if (nr < 0) return false;
  for (int i = 0; i < nr; i++) {
    int k = i;
    for (; k > 0 && f->perm[in[r[order[k - 1]].in0]] > f->perm[in[r[i].in0]]; k--) order[k] = order[k - 1];
    order[k] = i;
  }
  for (int i = 0; i < x->rank; i++) if (ty_dim_is(g, f->y->shape[i], 1)) q[nq++] = i;
  bool sorted = true;
  for (int i = 0, last = -1; i < nr; i++)
    for (int k = r[order[i]].in0; k < r[order[i]].in1; k++) {
      q[nq++] = f->perm[in[k]];
      sorted &= q[nq - 1] > last;
      last = q[nq - 1];
    }
  for (int j = 0; j < o->rank && ty_dim_is(g, o->shape[j], 1); j++) s[at] = o->shape[j], perm[j] = at++; /* ones in front stay there */
  int front = at;
  for (int i = 0; i <= nr; i++) {
    if (i == (nr ? nr - 1 : 0)) /* the other ones stand before the last run */
      for (int j = front; j < o->rank; j++) if (ty_dim_is(g, o->shape[j], 1)) s[at] = o->shape[j], perm[j] = at++;
    for (int k = i < nr ? r[order[i]].out0 : 0; i < nr && k < r[order[i]].out1; k++) s[at] = b[k], perm[to[k]] = at++;
  }
  ty_value *y = sorted ? f->y : permuted(l, f->y, q);
  set_form(l, o, y ? ty_c_reshape(g, y, o->rank, s) : NULL, perm);
  return true;
}

static void reduce_form(layout *l, ty_node *n, const form *f) {
  const ty_value *x = n->args[0].value, *o = n->outs[0];
  bool red[TY_MAX_RANK] = { 0 };
  int dims[TY_MAX_RANK], perm[TY_MAX_RANK], nd = n->args[2].n, k = 0;
  for (int i = 0; i < nd; i++) {
    int64_t d = 0;
    ty_dim_is_const(l->g, n->args[2].ints[i], &d);
    red[f->perm[d]] = true;
  }
  for (int i = 0, j = 0; i < x->rank; i++) if (red[i]) dims[j++] = i;
  bool keep = n->args[3].b;
  for (int i = 0; i < x->rank; i++) { /* dims of y that are gone no longer count */
    if (red[f->perm[i]] && !keep) continue;
    int p = f->perm[i];
    for (int j = 0; j < f->perm[i] && !keep; j++) p -= red[j];
    perm[k++] = p;
  }
  set_form(l, o, ty_c_reduce(l->g, n->args[1].str, f->y, nd, dims, keep), perm);
}

static void elementwise_form(layout *l, ty_node *n) {
  ty_value *o = n->outs[0];
  ty_arg args[3] = { { 0 } };
  int perm[TY_MAX_RANK], best = -1;
  for (int i = 0; i < n->nargs; i++) { /* the operand of most dims leads */
    form *f = n->args[i].kind == TY_ARG_VALUE ? form_of(l, n->args[i].value) : NULL;
    int rank = f ? n->args[i].value->rank : 0, more = o->rank - rank;
    if (!f || rank < best || (rank == best && identity(f->perm, rank))) continue;
    best = rank;
    for (int d = 0; d < o->rank; d++) perm[d] = d < more ? d : more + f->perm[d - more];
  }
  for (int i = 0; i < n->nargs; i++) {
    args[i] = n->args[i];
    if (args[i].kind != TY_ARG_VALUE) continue;
    args[i].value = in_space(l, args[i].value, o->rank, perm);
    if (!args[i].value) { l->failed = true; return; }
  }
  set_form(l, o, remake(l, n, args), perm);
}

static bool cat_form(layout *l, ty_node *n, const form *f) {
  ty_value *o = n->outs[0], *x[256];
  int64_t d = 0;
  int perm[TY_MAX_RANK];
  if (n->args[0].n > 256) return false;
  for (int i = 0; i < o->rank; i++) perm[i] = f->perm[i];
  for (int i = 0; i < n->args[0].n; i++)
    if (!(x[i] = in_space(l, n->args[0].values[i], o->rank, perm))) { l->failed = true; return true; }
  ty_dim_is_const(l->g, n->args[1].i, &d);
  set_form(l, o, ty_c_cat(l->g, n->args[0].n, x, perm[d]), perm);
  return true;
}

/* A gather by one index a dim: of y it is the same, the indices in another order; its result is put in y's order as well. */
static void index_form(layout *l, ty_node *n, const form *f) {
  ty_value *o = n->outs[0], *at[TY_MAX_RANK];
  int perm[TY_MAX_RANK], rank = n->args[1].n;
  bool same = o->rank == rank;
  for (int i = 0; i < rank; i++) perm[i] = f->perm[i];
  ty_value *y = f->y;
  for (int i = 0; i < rank; i++)
    at[perm[i]] = same ? in_space(l, n->args[1].values[i], rank, perm) : plain(l, n->args[1].values[i]);
  set_form(l, o, ty_c_index(l->g, y, at), same ? perm : NULL);
}

/* A general view reads y as well. Its own dims are put in y's order: for each dim of y, the last dim of the result that moves in it
 * (of a window, the one after its taps); the others stay where they are. */
static void remap_form(layout *l, ty_node *n, const form *f) {
  ty_graph *g = l->g;
  const ty_value *x = n->args[0].value, *o = n->outs[0];
  int perm[TY_MAX_RANK], of[TY_MAX_RANK], slots[TY_MAX_RANK], ns = 0, k = 0;
  bool moves[TY_MAX_RANK] = { 0 }, distinct = true;
  ty_dim at[TY_MAX_RANK], xi[TY_MAX_RANK], yi[TY_MAX_RANK], s[TY_MAX_RANK];
  for (int i = 0; i < x->rank; i++) {
    int j = o->rank - 1;
    while (j >= 0 && !ty_dim_depends(g, n->args[2].ints[i], ty_dim_index(g, j))) j--;
    of[f->perm[i]] = j;
    distinct &= j < 0 || !moves[j];
    if (j >= 0) moves[j] = true;
  }
  for (int j = 0; j < o->rank; j++) {
    perm[j] = j;
    if (moves[j]) slots[ns++] = j;
  }
  for (int d = 0; d < x->rank && distinct; d++) if (of[d] >= 0) perm[of[d]] = slots[k++];
  for (int j = 0; j < o->rank; j++) at[j] = ty_dim_index(g, perm[j]), s[perm[j]] = o->shape[j];
  ty_c_remap_at(g, n, at, xi);
  for (int i = 0; i < x->rank; i++) yi[f->perm[i]] = xi[i];
  set_form(l, o, ty_c_remap(g, f->y, o->rank, s, yi), perm);
}

static void view_form(layout *l, ty_node *n, const form *f) {
  ty_graph *g = l->g;
  ty_value *o = n->outs[0], *y = f->y;
  int perm[TY_MAX_RANK];
  ty_dim s[TY_MAX_RANK];
  int64_t d = 0, more = o->rank - n->args[0].value->rank, step = 1;
  switch (n->op) {
  case TY_OP_permute:
    for (int i = 0; i < o->rank; i++) ty_dim_is_const(g, n->args[1].ints[i], &d), perm[i] = f->perm[d];
    break;
  case TY_OP_expand:
    for (int i = 0; i < o->rank; i++) s[perm[i] = i < more ? i : (int)more + f->perm[i - more]] = o->shape[i];
    y = ty_c_expand(g, lift(l, y, o->rank), o->rank, s);
    break;
  default:
    ty_dim_is_const(g, n->args[n->op == TY_OP_slice ? 1 : 2].i, &d);
    for (int i = 0; i < o->rank; i++) perm[i] = f->perm[i];
    if (n->op == TY_OP_slice) ty_dim_is_const(g, n->args[3].i, &step), y = ty_c_slice(g, y, perm[d], n->args[2].i, step, n->args[4].i);
    else y = remake(l, n, (ty_arg[]){ ty_arg_value(y), n->args[1], ty_arg_int(ty_dim_const(g, perm[d])) });
  }
  set_form(l, o, y, perm);
}

/* Rewrites a node in terms of what its operands are permutes of; false: it takes them as they are. */
static bool rewrite(layout *l, ty_node *n) {
  form *f = n->nargs && n->args[0].kind == TY_ARG_VALUE ? form_of(l, n->args[0].value) : NULL, copy;
  if (f) copy = *f; /* the table may move */
  if (ty_op_is_prim(n->op) || n->op == TY_OP_cast) {
    for (int i = 0; i < n->nargs; i++)
      if (n->args[i].kind == TY_ARG_VALUE && form_of(l, n->args[i].value)) return elementwise_form(l, n), true;
    return false;
  }
  if (n->op == TY_OP_cat) {
    for (int i = 0; i < n->args[0].n; i++)
      if ((f = form_of(l, n->args[0].values[i]))) return copy = *f, cat_form(l, n, &copy);
    return false;
  }
  if (!f) return false;
  switch (n->op) {
  case TY_OP_permute: case TY_OP_expand: case TY_OP_slice: case TY_OP_scan: view_form(l, n, &copy); return true;
  case TY_OP_reshape: return reshape_form(l, n, &copy);
  case TY_OP_remap: remap_form(l, n, &copy); return true;
  case TY_OP_reduce: reduce_form(l, n, &copy); return true;
  case TY_OP_index: index_form(l, n, &copy); return true;
  default: return false;
  }
}

ty_status ty_pass_layout(ty_graph *g) {
  layout l = { .g = g, .n = g->values.n };
  ty_node *first = g->first;
  while (first && first->op != TY_OP_conv) first = first->next;
  if (!first) return TY_OK;
  if (!(l.form = ty_alloc(sizeof *l.form * (size_t)l.n))) return ty_pass_nomem(g);
  for (ty_node *n = g->first, *next; n && !l.failed; n = next) {
    next = n->next;
    ty_graph_at(g, n);
    ty_node *before = n->prev;
    if (rewrite(&l, n)) {
      for (ty_node *k = before ? before->next : g->first; k != n; k = k->next) { k->from = n->from; k->loc = n->loc; k->origin = n->origin; }
      if (!l.failed) ty_graph_remove(g, n);
      continue;
    }
    ty_node_each_input(n, each_plain, &l);
    if (n->op == TY_OP_conv || n->op == TY_OP_linear) set_form(&l, n->outs[0], n->outs[0], NULL);
  }
  ty_graph_at(g, NULL);
  for (int i = 0; i < g->outputs.n && !l.failed; i++) each_plain(&l, &g->outputs.p[i]);
  ty_free(l.form);
  if (l.failed) return g->arena.failed ? ty_pass_nomem(g) : TY_INTERNAL; /* the text is there already */
  return ty_pass_dce(g);
}
