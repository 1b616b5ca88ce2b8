/* empty.c: what is known to be empty becomes a constant of no elements, so that nobody reads it: loops read what does not move with
 * the column once a row, even where there are no columns. Requires: core operators. */
#include "pass/pass_int.h"

static bool is_empty(ty_graph *g, const ty_value *v) { return ty_dim_is(g, ty_dim_product(g, v->rank, v->shape), 0); }

static ty_status replace(ty_graph *g, ty_remap *m, ty_value *v) {
  ty_value *f = ty_c_full(g, v->dtype, v->rank, v->shape, 0);
  return f && ty_remap_set(m, v, f) ? TY_OK : ty_pass_nomem(g);
}

ty_status ty_pass_empty(ty_graph *g) {
  ty_remap m;
  if (!ty_remap_init(&m, g)) return ty_pass_nomem(g);
  ty_status st = TY_OK;
  ty_graph_at(g, g->first);
  for (int i = 0, n = g->values.n; i < n && !st; i++) {
    ty_value *v = g->values.p[i];
    if (v && !v->def && is_empty(g, v)) st = replace(g, &m, v);
  }
  for (ty_node *n = g->first, *next; n && !st; n = next) {
    next = n->next;
    ty_remap_node(&m, n);
    if (n->nouts != 1 || n->op == TY_OP_full || !is_empty(g, n->outs[0])) continue;
    ty_graph_at(g, n);
    if (!(st = replace(g, &m, n->outs[0]))) ty_graph_remove(g, n);
  }
  ty_remap_finish(&m, g);
  return st;
}
