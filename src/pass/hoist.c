/* hoist.c: constants first: a stable partition of the nodes, so that what follows from parameters alone precedes what does not. */
#include "pass/pass_int.h"

ty_status ty_pass_hoist(ty_graph *g) {
  bool *c = ty_pass_constants(g);
  if (!c) return ty_pass_nomem(g);
  ty_node *head[2] = { 0 }, *tail[2] = { 0 };
  for (ty_node *n = g->first, *next; n; n = next) {
    next = n->next;
    int k = n->nouts && c[n->outs[0]->id] ? 0 : 1;
    n->prev = tail[k];
    n->next = NULL;
    if (tail[k]) tail[k]->next = n;
    else head[k] = n;
    tail[k] = n;
  }
  if (head[0] && head[1]) { tail[0]->next = head[1]; head[1]->prev = tail[0]; }
  g->first = head[0] ? head[0] : head[1];
  g->last = tail[1] ? tail[1] : tail[0];
  ty_free(c);
  return TY_OK;
}
