/* hoist.c: constants first: what follows from parameters alone precedes what does not. Each constant stands right after what it is
 * made of, in the order of first need, so that what is only a step on the way (weights joined before packing) lives briefly. */
#include "pass/pass_int.h"

typedef struct ty_order { const bool *constant; ty_node *head, *tail; } ty_order;

static void append(ty_order *o, ty_node *n) {
  n->prev = o->tail;
  n->next = NULL;
  if (o->tail) o->tail->next = n;
  else o->head = n;
  o->tail = n;
}

static bool is_constant(const ty_order *o, const ty_node *n) { return n->nouts && o->constant[n->outs[0]->id]; }

static void need(void *user, ty_value **slot) {
  ty_order *o = user;
  ty_node *n = (*slot)->def;
  if (!n || n->scratch || !is_constant(o, n)) return;
  n->scratch = 1;
  ty_node_each_input(n, need, o);
  append(o, n);
}

ty_status ty_pass_hoist(ty_graph *g) {
  ty_order first = { .constant = ty_pass_constants(g) }, rest = first;
  if (!first.constant) return ty_pass_nomem(g);
  for (ty_node *n = g->first; n; n = n->next) n->scratch = 0;
  for (ty_node *n = g->first, *next; n; n = next) {
    next = n->next;
    if (is_constant(&first, n)) continue;
    ty_node_each_input(n, need, &first);
    append(&rest, n);
  }
  for (int i = 0; i < g->outputs.n; i++) need(&first, &g->outputs.p[i]);
  if (first.head && rest.head) { first.tail->next = rest.head; rest.head->prev = first.tail; }
  g->first = first.head ? first.head : rest.head;
  g->last = rest.tail ? rest.tail : first.tail;
  ty_free((void *)first.constant);
  return TY_OK;
}
