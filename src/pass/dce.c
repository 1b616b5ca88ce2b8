/* dce.c: removes nodes that nothing needs. Requires: core operators (no side effects). */
#include "pass/pass_int.h"

static void count(void *user, ty_value **slot) { ((int *)user)[(*slot)->id]--; }

ty_status ty_pass_dce(ty_graph *g) {
  int *uses = ty_graph_use_counts(g);
  if (!uses) return ty_pass_nomem(g);
  for (ty_node *n = g->last, *prev; n; n = prev) {
    prev = n->prev;
    int u = 0;
    for (int i = 0; i < n->nouts; i++) u += uses[n->outs[i]->id];
    if (u) continue;
    ty_node_each_input(n, count, uses);
    ty_graph_remove(g, n);
  }
  ty_free(uses);
  return TY_OK;
}
