/* cse.c: of equal nodes (operator, arguments) the first is kept. Requires: core operators (pure). */
#include "pass/pass_int.h"
#include <string.h>

static uint64_t mix(uint64_t h, uint64_t x) { return (h ^ x) * 0x9E3779B97F4A7C15u ^ (h >> 29); }

static uint64_t hash_of(const ty_node *n) {
  uint64_t h = (uint64_t)n->op + 77;
  for (int i = 0; i < n->nargs; i++) {
    const ty_arg *a = &n->args[i];
    h = mix(h, (uint64_t)a->kind);
    if (a->kind == TY_ARG_VALUE) h = mix(h, (uint64_t)a->value->id);
    else if (a->kind == TY_ARG_INT) h = mix(h, (uint64_t)a->i);
    else if (a->kind == TY_ARG_INTS) for (int k = 0; k < a->n; k++) h = mix(h, (uint64_t)a->ints[k]);
    else if (a->kind == TY_ARG_VALUES) for (int k = 0; k < a->n; k++) h = mix(h, a->values[k] ? (uint64_t)a->values[k]->id : 0);
  }
  return h;
}

static bool same_arg(const ty_arg *a, const ty_arg *b) {
  if (a->kind != b->kind || a->n != b->n) return false;
  switch (a->kind) {
  case TY_ARG_NONE: return true;
  case TY_ARG_VALUE: return a->value == b->value;
  case TY_ARG_INT: return a->i == b->i;
  case TY_ARG_FLOAT: return !memcmp(&a->f, &b->f, sizeof a->f);
  case TY_ARG_BOOL: return a->b == b->b;
  case TY_ARG_DTYPE: return a->dtype == b->dtype;
  case TY_ARG_STR: return !strcmp(a->str, b->str);
  case TY_ARG_VALUES: return !memcmp(a->values, b->values, sizeof *a->values * (size_t)a->n);
  case TY_ARG_INTS: return !memcmp(a->ints, b->ints, sizeof *a->ints * (size_t)a->n);
  case TY_ARG_FLOATS: return !memcmp(a->floats, b->floats, sizeof *a->floats * (size_t)a->n);
  case TY_ARG_BOOLS: return !memcmp(a->bools, b->bools, sizeof *a->bools * (size_t)a->n);
  }
  return false;
}
static bool same(const ty_node *a, const ty_node *b) {
  if (a->op != b->op || a->nargs != b->nargs || a->nouts != b->nouts) return false;
  for (int i = 0; i < a->nargs; i++) if (!same_arg(&a->args[i], &b->args[i])) return false;
  for (int i = 0; i < a->nouts; i++) if (a->outs[i]->dtype != b->outs[i]->dtype || !ty_same_shape(a->outs[i], b->outs[i])) return false;
  return true;
}

ty_status ty_pass_cse(ty_graph *g) {
  ty_remap m;
  size_t cap = 64;
  while (cap < (size_t)g->nnodes * 2 + 2) cap *= 2;
  ty_node **table = ty_alloc(sizeof *table * cap);
  if (!table || !ty_remap_init(&m, g)) { ty_free(table); return ty_pass_nomem(g); }
  ty_status st = TY_OK;
  for (ty_node *n = g->first, *next; n && !st; n = next) {
    next = n->next;
    ty_remap_node(&m, n);
    size_t h = (size_t)hash_of(n) & (cap - 1);
    while (table[h] && !same(table[h], n)) h = (h + 1) & (cap - 1);
    if (!table[h]) { table[h] = n; continue; }
    for (int i = 0; i < n->nouts; i++) if (!ty_remap_set(&m, n->outs[i], table[h]->outs[i])) st = ty_pass_nomem(g);
    ty_graph_remove(g, n);
  }
  ty_remap_finish(&m, g);
  ty_free(table);
  return st;
}
