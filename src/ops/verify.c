/* verify.c: the graph's invariants: links, SSA order, arity and kinds against ops.def, dims in range. */
#include "ops/ops.h"

#include <string.h>

static ty_status broken(ty_graph *g, const ty_node *n, const char *why) {
  if (!n) return ty_fail(g->ctx, TY_INTERNAL, "graph: %s", why);
  bool known = n->op >= 0 && n->op < TY_NOP;
  return ty_fail(g->ctx, TY_INTERNAL, "node %d (%%%d = %s%s%s): %s", n->id, n->nouts && n->outs ? n->outs[0]->id : -1,
                 known ? ty_op_get(n->op)->name : "?", n->loc ? ", " : "", n->loc ? n->loc : "", why);
}

static bool dim_ok(const ty_graph *g, ty_dim d) { return d >= 0 && d < ty_dim_count(g); }

static const char *value_bad(const ty_graph *g, const ty_value *v) {
  if (v->id < 0 || v->id >= g->values.n || g->values.p[v->id] != v) return "a value is not the one of its id";
  if ((unsigned)v->dtype >= TY_NDTYPE || v->rank < 0 || v->rank > TY_MAX_RANK) return "a value has no proper dtype or rank";
  for (int i = 0; i < v->rank; i++)
    if (!dim_ok(g, v->shape[i]) || ty_dim_get(g, v->shape[i])->hi < 0) return "a size is no dim or is negative";
  return NULL;
}

static bool kind_ok(const ty_schema_arg *s, const ty_arg *a) {
  if (a->kind == TY_ARG_NONE) return s->optional || s->type == TY_T_OTHER;
  switch (s->type) {
  case TY_T_TENSOR: return a->kind == TY_ARG_VALUE;
  case TY_T_TENSORS: return a->kind == TY_ARG_VALUES;
  case TY_T_INT: return a->kind == TY_ARG_INT;
  case TY_T_INTS: return a->kind == TY_ARG_INTS;
  case TY_T_FLOAT: return a->kind == TY_ARG_FLOAT;
  case TY_T_FLOATS: return a->kind == TY_ARG_FLOATS;
  case TY_T_BOOL: return a->kind == TY_ARG_BOOL;
  case TY_T_BOOLS: return a->kind == TY_ARG_BOOLS;
  case TY_T_SCALAR: return a->kind == TY_ARG_INT || a->kind == TY_ARG_FLOAT || a->kind == TY_ARG_BOOL;
  case TY_T_STR: return a->kind == TY_ARG_STR && a->str;
  case TY_T_DTYPE: return a->kind == TY_ARG_DTYPE && (unsigned)a->dtype < TY_NDTYPE;
  case TY_T_OTHER: return a->kind == TY_ARG_INT || a->kind == TY_ARG_STR;
  }
  return false;
}

struct use { const ty_graph *g; const bool *defined; const char *why; };
static void check_use(void *user, ty_value **slot) {
  struct use *u = user;
  const ty_value *v = *slot;
  if (!v || v->id < 0 || v->id >= u->g->values.n || u->g->values.p[v->id] != v) u->why = "an argument is no value of this graph";
  else if (!u->defined[v->id]) u->why = "an argument is used before it is defined";
}

static const char *node_bad(ty_graph *g, ty_node *n, bool *defined) {
  if (n->op < 0 || n->op >= TY_NOP) return "unknown operator";
  const ty_schema *s = ty_op_schema(n->op);
  if (!s || s->nargs < 0) return "its schema does not parse";
  if (n->nargs != s->nargs) return "wrong number of arguments";
  if (!s->ret_list && n->nouts != s->nrets) return "wrong number of outputs";
  for (int i = 0; i < n->nargs; i++) {
    const ty_arg *a = &n->args[i];
    if (!kind_ok(&s->args[i], a)) return "an argument has the wrong kind";
    if (a->kind == TY_ARG_INT && !dim_ok(g, a->i)) return "an argument is no dim";
    for (int j = 0; a->kind == TY_ARG_INTS && j < a->n; j++)
      if (!dim_ok(g, a->ints[j])) return "a list has no dim";
    for (int j = 0; a->kind == TY_ARG_VALUES && j < a->n; j++)
      if (!a->values[j] && !s->args[i].null_entries) return "a list lacks a tensor";
  }
  struct use u = {g, defined, NULL};
  ty_node_each_input(n, check_use, &u);
  if (u.why) return u.why;
  for (int i = 0; i < n->nouts; i++) {
    ty_value *v = n->outs[i];
    const char *why = value_bad(g, v);
    if (why) return why;
    if (v->def != n || v->out != i || v->role != TY_ROLE_TEMP) return "an output does not point back";
    if (defined[v->id]) return "an output is defined twice";
    defined[v->id] = true;
  }
  return NULL;
}

static ty_status verify(ty_graph *g, bool *defined) {
  const char *why;
  for (int i = 0; i < g->inputs.n; i++) {
    ty_value *v = g->inputs.p[i];
    if ((why = value_bad(g, v))) return broken(g, NULL, why);
    if (v->def || v->index != i || (v->role != TY_ROLE_INPUT && v->role != TY_ROLE_PARAM)) return broken(g, NULL, "an input is not in its place");
    for (int j = 0; v->strides && j < v->rank; j++)
      if (!dim_ok(g, v->strides[j])) return broken(g, NULL, "a stride is no dim");
    defined[v->id] = true;
  }
  for (int i = 0; i < g->values.n; i++)
    if (g->values.p[i]->role == TY_ROLE_LITERAL) {
      if ((why = value_bad(g, g->values.p[i]))) return broken(g, NULL, why);
      if (!g->values.p[i]->data) return broken(g, NULL, "a literal has no data");
      defined[i] = true;
    }
  int count = 0;
  ty_node *prev = NULL;
  for (ty_node *n = g->first; n; prev = n, n = n->next) {
    if (n->prev != prev || ++count > g->nnodes) return broken(g, n, "the list of nodes is broken");
    if ((why = node_bad(g, n, defined))) return broken(g, n, why);
  }
  if (g->last != prev || count != g->nnodes) return broken(g, NULL, "the list of nodes is broken");
  struct use u = {g, defined, NULL};
  for (int i = 0; i < g->outputs.n; i++) check_use(&u, &g->outputs.p[i]);
  return u.why ? broken(g, NULL, "an output is not defined") : TY_OK;
}

ty_status ty_graph_verify(ty_graph *g) {
  if (g->arena.failed) return ty_fail(g->ctx, TY_NOMEM, "out of memory");
  bool *defined = ty_alloc((size_t)g->values.n);
  if (!defined) return ty_fail(g->ctx, TY_NOMEM, "out of memory");
  ty_status st = verify(g, defined);
  ty_free(defined);
  return st;
}
