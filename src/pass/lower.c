/* lower.c: ATen operators become core operators, each by its family's own function. Requires: nothing. Leaves: core operators only. */
#include "pass/pass_int.h"
#include <string.h>

/* "aten.gelu.default" gives "gelu". */
static const char *short_name(ty_graph *g, const char *name) {
  const char *dot = strchr(name, '.'), *end = dot ? strrchr(name, '.') : NULL;
  if (!dot || end <= dot) return name;
  return ty_arena_printf(&g->arena, "%.*s", (int)(end - dot - 1), dot + 1);
}

ty_status ty_pass_lower(ty_graph *g) {
  ty_remap m;
  if (!ty_remap_init(&m, g)) return ty_pass_nomem(g);
  ty_status st = TY_OK;
  int origin = 0;
  for (ty_node *n = g->first, *next; n && !st; n = next) {
    next = n->next;
    ty_remap_node(&m, n);
    const ty_op_info *op = ty_op_get(n->op);
    if (!op->lower) continue;
    ty_value *r[64] = { 0 }, **rep = r;
    if (n->nouts > 64 && !(rep = ty_alloc(sizeof *rep * (size_t)n->nouts))) { st = ty_pass_nomem(g); break; }
    ty_graph_at(g, n);
    ty_node *before = n->prev;
    st = op->lower(g, n, rep);
    const char *from = short_name(g, op->name);
    origin++;
    for (ty_node *k = before ? before->next : g->first; k != n; k = k->next) { k->from = from; k->origin = origin; k->loc = n->loc; }
    for (int i = 0; i < n->nouts && !st; i++)
      if (rep[i] && !ty_remap_set(&m, n->outs[i], rep[i])) st = ty_pass_nomem(g);
    if (st) st = ty_note(g->ctx, st, "while lowering %%%d %s%s%s", n->nouts ? n->outs[0]->id : -1, op->name, n->loc ? ", " : "", n->loc ? n->loc : "");
    if (rep != r) ty_free(rep);
    if (!st) ty_graph_remove(g, n);
  }
  ty_remap_finish(&m, g);
  return st;
}
