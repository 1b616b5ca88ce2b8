/* attention.c: softmax(q k^T * scale + mask + bias) v, however it was written, becomes one ty.attention.
 * Requires: core operators in canonical form. Looks through casts that do nothing, views, and the order of sums and scales. */
#include "pass/pass_int.h"
#include <string.h>

typedef struct ty_match {
  ty_graph *g; const int *uses;
  const ty_value *top; /* the softmax's operand: used twice, by the maximum and the difference */
  double scale;
  ty_value *add[2]; int nadd;
  ty_value *q, *k;  /* k as [.., Sk, D] */
  ty_arg format;    /* of their product */
} ty_match;

static bool last_reduce(ty_graph *g, const ty_value *v, const char *kind, const ty_value *of) {
  if (!ty_is_op(v, TY_OP_reduce) || v->def->args[0].value != of || strcmp(v->def->args[1].str, kind) || v->def->args[2].n != 1) return false;
  return ty_dim_is(g, v->def->args[2].ints[0], of->rank - 1) && v->def->args[3].b;
}

/* exp(x - max x) / sum of it: returns x. */
static ty_value *softmax_of(ty_graph *g, ty_value *p) {
  if (!ty_is_prim_op(p, TY_P_div)) return NULL;
  ty_value *e = p->def->args[0].value, *s = p->def->args[1].value;
  if (!ty_is_prim_op(e, TY_P_exp) || !last_reduce(g, s, "sum", e)) return NULL;
  ty_value *d = e->def->args[0].value;
  if (!ty_is_prim_op(d, TY_P_sub)) return NULL;
  ty_value *x = d->def->args[0].value, *m = d->def->args[1].value;
  return last_reduce(g, m, "max", x) ? x : NULL;
}

/* Takes constant factors off a value; reports their product. */
static ty_value *unscale(ty_graph *g, ty_value *v, double *scale) {
  double c;
  for (;;) {
    if (ty_is_prim_op(v, TY_P_mul) && ty_scalar_const(g, v->def->args[1].value, &c) && ty_same_shape(v, v->def->args[0].value)) { *scale *= c; v = v->def->args[0].value; }
    else if (ty_is_prim_op(v, TY_P_mul) && ty_scalar_const(g, v->def->args[0].value, &c) && ty_same_shape(v, v->def->args[1].value)) { *scale *= c; v = v->def->args[1].value; }
    else if (ty_is_prim_op(v, TY_P_div) && ty_scalar_const(g, v->def->args[1].value, &c) && ty_same_shape(v, v->def->args[0].value) && c != 0) { *scale /= c; v = v->def->args[0].value; }
    else return v;
  }
}

static bool scores(ty_match *m, ty_value *x);

/* x = y + mask, with scores on one side. */
static bool sum_of(ty_match *m, ty_value *x) {
  for (int k = 0; k < 2; k++) {
    ty_value *y = x->def->args[k].value, *a = x->def->args[1 - k].value;
    if (m->uses[y->id] != 1 || !ty_same_shape(y, x) || m->nadd == 2 || a->dtype != TY_f32) continue;
    ty_match keep = *m;
    m->add[m->nadd++] = a;
    if (scores(m, y)) return true;
    *m = keep;
  }
  return false;
}

static bool scores(ty_match *m, ty_value *x) {
  double c = 1;
  if (ty_is_prim_op(x, TY_P_add)) return sum_of(m, x);
  ty_value *y = unscale(m->g, x, &c);
  if (!ty_is_op(y, TY_OP_matmul) || y->dtype != TY_f32 || m->uses[y->id] != (y == m->top ? 2 : 1)) return false;
  m->scale = c, m->format = y->def->args[2];
  double qs = 1, ks = 1;
  m->q = unscale(m->g, y->def->args[0].value, &qs);
  ty_value *kt = unscale(m->g, y->def->args[1].value, &ks);
  m->scale *= qs * ks;
  if (m->q->rank != kt->rank || m->q->rank < 3) return false;
  int perm[TY_MAX_RANK];
  for (int i = 0; i < kt->rank; i++) perm[i] = i;
  perm[kt->rank - 1] = kt->rank - 2;
  perm[kt->rank - 2] = kt->rank - 1;
  m->k = ty_c_permute(m->g, kt, perm);
  return m->k != NULL;
}

/* Rank 3 [BH, S, D] as [BH, 1, S, D]. */
static ty_value *four(ty_graph *g, ty_value *v) {
  if (v->rank == 4) return v;
  ty_dim s[4] = { v->shape[0], ty_dim_const(g, 1), v->shape[1], v->shape[2] };
  return ty_c_reshape(g, v, 4, s);
}
static ty_value *four_mask(ty_graph *g, ty_value *v, int rank) {
  if (!v || rank == 4) return v;
  if (v->rank < 3) return v;
  return four(g, v);
}

static ty_value *rewrite(ty_graph *g, const int *uses, ty_node *n) {
  ty_value *p = n->args[0].value, *v = n->args[1].value, *o = n->outs[0];
  if (o->dtype != TY_f32 || v->rank != p->rank || (p->rank != 3 && p->rank != 4) || uses[p->id] != 1) return NULL;
  ty_value *x = softmax_of(g, p);
  if (!x || uses[x->id] != 2) return NULL; /* the maximum and the difference */
  ty_match m = { .g = g, .uses = uses, .top = x };
  if (!scores(&m, x)) return NULL;
  for (int i = 0; i < m.q->rank - 2; i++) /* no broadcast over batch or heads between q, k and v */
    if (m.q->shape[i] != m.k->shape[i] || m.q->shape[i] != v->shape[i]) return NULL;
  int r = p->rank;
  ty_value *a = ty_c_attention(g, four(g, m.q), four(g, m.k), four(g, v), m.nadd ? four_mask(g, m.add[0], r) : NULL,
                               m.nadd > 1 ? four_mask(g, m.add[1], r) : NULL, false, m.scale, true, m.format);
  return ty_c_reshape(g, a, o->rank, o->shape);
}

ty_status ty_pass_attention(ty_graph *g) {
  ty_remap m;
  int *uses = ty_graph_use_counts(g), n0 = g->values.n;
  if (!uses || !ty_remap_init(&m, g)) { ty_free(uses); return ty_pass_nomem(g); }
  ty_status st = TY_OK;
  for (ty_node *n = g->first, *next; n && !st; n = next) {
    next = n->next;
    ty_remap_node(&m, n);
    if (n->op != TY_OP_matmul || n->outs[0]->id >= n0) continue;
    bool old = true;
    for (int k = 0; k < 2; k++) old &= n->args[k].value->id < n0;
    if (!old) continue;
    ty_graph_at(g, n);
    ty_value *r = rewrite(g, uses, n);
    if (r && !ty_remap_set(&m, n->outs[0], r)) st = ty_pass_nomem(g);
  }
  ty_remap_finish(&m, g);
  ty_free(uses);
  return st ? st : ty_pass_dce(g);
}
