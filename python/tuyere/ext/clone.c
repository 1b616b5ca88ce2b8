/* clone.c: a graph copied as it stands, so that it can be compiled once more: compiling uses a graph up. */
#include "ext.h"
#include <string.h>

typedef struct cloner {
  const ty_graph *from;
  ty_graph *to;
  ty_dim *dims;       /* by handle in `from` */
  ty_value **values;  /* by id in `from` */
} cloner;

static bool clone_dims(cloner *c) {
  const ty_graph *g = c->from;
  for (int i = 0; i < ty_dim_nsyms(g); i++) { /* in order, so that symbol i stays symbol i */
    const ty_sym *s = ty_dim_sym(g, i);
    if (s->extent >= 0 || ty_dim_symbol(c->to, s->name, s->lo, s->hi, s->hint) < 0) return false;
  }
  for (int i = 0; i < ty_dim_count(g); i++) { /* operands come before what is made of them */
    const ty_dim_expr *e = ty_dim_get(g, i);
    ty_dim a = e->op >= TY_DIM_ADD ? c->dims[e->a] : -1, b = e->op >= TY_DIM_ADD ? c->dims[e->b] : -1;
    switch (e->op) {
    case TY_DIM_CONST: c->dims[i] = ty_dim_const(c->to, e->value); break;
    case TY_DIM_SYM: c->dims[i] = ty_dim_of_sym(c->to, (int)e->value); break;
    case TY_DIM_ADD: c->dims[i] = ty_dim_add(c->to, a, b); break;
    case TY_DIM_MUL: c->dims[i] = ty_dim_mul(c->to, a, b); break;
    case TY_DIM_DIV: c->dims[i] = ty_dim_div(c->to, a, b); break;
    case TY_DIM_MOD: c->dims[i] = ty_dim_mod(c->to, a, b); break;
    case TY_DIM_MIN: c->dims[i] = ty_dim_min(c->to, a, b); break;
    case TY_DIM_MAX: c->dims[i] = ty_dim_max(c->to, a, b); break;
    }
    if (c->dims[i] < 0) return false;
  }
  return true;
}

static ty_dim *dims_of(const cloner *c, int n, const ty_dim *d) {
  ty_dim *r = ty_arena_alloc(&c->to->arena, (size_t)(n ? n : 1) * sizeof *r);
  for (int i = 0; r && i < n; i++) r[i] = c->dims[d[i]];
  return r;
}
static void *bytes_of(const cloner *c, int n, const void *p, size_t size) {
  void *r = ty_arena_alloc(&c->to->arena, (size_t)(n ? n : 1) * size);
  if (r && n) memcpy(r, p, (size_t)n * size);
  return r;
}

/* Values from outside: inputs in calling order, and literals. */
static bool clone_sources(cloner *c) {
  for (int i = 0; i < c->from->inputs.n; i++) {
    const ty_value *v = c->from->inputs.p[i];
    ty_dim *shape = dims_of(c, v->rank, v->shape), *strides = v->strides ? dims_of(c, v->rank, v->strides) : NULL;
    if (!shape || (v->strides && !strides)) return false;
    if (!(c->values[v->id] = ty_graph_input(c->to, v->role, v->dtype, v->rank, shape, strides, v->name))) return false;
  }
  for (int i = 0; i < c->from->values.n; i++) {
    const ty_value *v = c->from->values.p[i];
    if (!v || v->role != TY_ROLE_LITERAL) continue;
    int64_t shape[TY_MAX_RANK];
    size_t bytes = (size_t)ty_dtype_size(v->dtype);
    for (int d = 0; d < v->rank; d++)
      if (!ty_dim_is_const(c->from, v->shape[d], &shape[d]) || !ty_mul(bytes, (size_t)shape[d], &bytes)) return false;
    if (!(c->values[i] = ty_graph_literal(c->to, v->dtype, v->rank, shape, v->data, bytes))) return false;
  }
  return true;
}

static bool clone_arg(const cloner *c, ty_arg *a) {
  switch (a->kind) {
  case TY_ARG_VALUE: return (a->value = c->values[a->value->id]) != NULL;
  case TY_ARG_INT: a->i = c->dims[a->i]; return true;
  case TY_ARG_INTS: return (a->ints = dims_of(c, a->n, a->ints)) != NULL;
  case TY_ARG_FLOATS: return (a->floats = bytes_of(c, a->n, a->floats, sizeof *a->floats)) != NULL;
  case TY_ARG_BOOLS: return (a->bools = bytes_of(c, a->n, a->bools, sizeof *a->bools)) != NULL;
  case TY_ARG_STR: return (a->str = ty_arena_strdup(&c->to->arena, a->str)) != NULL;
  case TY_ARG_VALUES:
    if (!(a->values = bytes_of(c, a->n, a->values, sizeof *a->values))) return false;
    for (int i = 0; i < a->n; i++)
      if (a->values[i] && !(a->values[i] = c->values[a->values[i]->id])) return false;
    return true;
  default: return true;
  }
}

static bool clone_node(cloner *c, const ty_node *n) {
  ty_node *m = ty_graph_node(c->to, n->op, n->nargs, n->args);
  if (!m) return false;
  for (int i = 0; i < n->nargs; i++)
    if (!clone_arg(c, &m->args[i])) return false;
  m->loc = n->loc ? ty_arena_strdup(&c->to->arena, n->loc) : NULL;
  m->from = n->from ? ty_arena_strdup(&c->to->arena, n->from) : NULL;
  for (int i = 0; i < n->nouts; i++) {
    const ty_value *v = n->outs[i];
    ty_dim *shape = dims_of(c, v->rank, v->shape);
    if (!shape || !(c->values[v->id] = ty_node_out(c->to, m, v->dtype, v->rank, shape))) return false;
  }
  return true;
}

ty_graph *ext_graph_clone(ty_ctx *ctx, const ty_graph *g) {
  cloner c = { .from = g, .to = ty_graph_create(ctx) };
  if (!c.to) return NULL;
  c.dims = ty_alloc((size_t)ty_dim_count(g) * sizeof *c.dims);
  c.values = ty_alloc((size_t)g->values.n * sizeof *c.values);
  bool ok = c.dims && c.values && clone_dims(&c) && clone_sources(&c);
  for (const ty_node *n = g->first; ok && n; n = n->next) ok = clone_node(&c, n);
  for (int i = 0; ok && i < g->outputs.n; i++) ok = ty_graph_output(c.to, c.values[g->outputs.p[i]->id]) == TY_OK;
  for (int i = 0; ok && i < g->needs.n; i++) {
    ty_need n = g->needs.p[i];
    n.a = c.dims[n.a], n.b = c.dims[n.b];
    n.loc = n.loc ? ty_arena_strdup(&c.to->arena, n.loc) : NULL;
    ok = TY_PUSH(&c.to->needs, n);
  }
  ok = ok && !c.to->arena.failed;
  ty_free(c.dims);
  ty_free(c.values);
  if (ok) return c.to;
  ty_graph_destroy(c.to);
  return NULL;
}
