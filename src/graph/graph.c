/* graph.c: values, nodes and the raw builder: append, insert, replace, remove, use counts. */
#include "dim_int.h"

#include <string.h>

ty_graph *ty_graph_create(ty_ctx *ctx) {
  ty_graph *g = ty_alloc(sizeof *g);
  if (!g) return NULL;
  g->ctx = ctx;
  g->format = "f32";
  if (dim_init(g)) return g;
  ty_graph_destroy(g);
  return NULL;
}

void ty_graph_destroy(ty_graph *g) {
  if (!g) return;
  dim_free(g);
  TY_VEC_FREE(&g->values);
  TY_VEC_FREE(&g->inputs);
  TY_VEC_FREE(&g->outputs);
  TY_VEC_FREE(&g->needs);
  ty_arena_free(&g->arena);
  ty_free(g);
}

static void *no_memory(ty_graph *g) {
  g->arena.failed = true;
  ty_fail(g->ctx, TY_NOMEM, "out of memory");
  return NULL;
}

static void *copy(ty_graph *g, const void *p, size_t n, size_t size) {
  size_t bytes;
  void *r = ty_mul(n, size, &bytes) ? ty_arena_alloc(&g->arena, bytes) : NULL;
  if (!r) return no_memory(g);
  if (bytes) memcpy(r, p, bytes);
  return r;
}

/* A size is fine when it may be >= 0; what is surely negative, or failed on the way here, is not. */
static bool shape_ok(ty_graph *g, int rank, const ty_dim *shape) {
  if (rank < 0 || rank > TY_MAX_RANK) {
    ty_fail(g->ctx, TY_UNSUPPORTED, "rank %d is above %d", rank, TY_MAX_RANK);
    return false;
  }
  for (int i = 0; i < rank; i++) {
    if (shape[i] < 0) { /* the dim's own failure left its reason */
      if (!*ty_ctx_error(g->ctx)) ty_fail(g->ctx, TY_INVALID, "size %d of a shape is not known", i);
      return false;
    }
    if (ty_dim_get(g, shape[i])->hi < 0) {
      ty_fail(g->ctx, TY_INVALID, "size %d of a shape is negative", i);
      return false;
    }
  }
  return true;
}

static ty_value *value_new(ty_graph *g, ty_dtype dt, int rank, const ty_dim *shape) {
  if (!shape_ok(g, rank, shape)) return NULL;
  ty_value *v = ty_arena_alloc(&g->arena, sizeof *v);
  if (!v || !(v->shape = copy(g, shape, (size_t)rank, sizeof *shape)) || !TY_PUSH(&g->values, v)) return no_memory(g);
  v->id = g->values.n - 1;
  v->dtype = dt;
  v->rank = rank;
  v->scratch = -1;
  return v;
}

ty_value *ty_graph_input(ty_graph *g, ty_role role, ty_dtype dt, int rank, const ty_dim *shape, const ty_dim *strides, const char *name) {
  ty_value *v = value_new(g, dt, rank, shape);
  if (!v) return NULL;
  v->role = role;
  for (int i = 0; i < rank; i++)
    if (role == TY_ROLE_PARAM && !(ty_dim_is_const(g, shape[i], NULL) && (!strides || ty_dim_is_const(g, strides[i], NULL)))) {
      ty_fail(g->ctx, TY_INVALID, "a parameter has numbers as sizes and strides");
      goto fail;
    }
  if (strides && !(v->strides = copy(g, strides, (size_t)rank, sizeof *strides))) goto fail;
  for (int i = 0; strides && i < rank; i++)
    if (strides[i] < 0) goto fail;
  if (name && !(v->name = ty_arena_strdup(&g->arena, name))) goto oom;
  v->index = g->inputs.n;
  if (!TY_PUSH(&g->inputs, v)) goto oom;
  return v;
oom:
  no_memory(g);
fail:
  g->values.n--;
  return NULL;
}

ty_value *ty_graph_literal(ty_graph *g, ty_dtype dt, int rank, const int64_t *shape, const void *data, size_t bytes) {
  ty_dim dims[TY_MAX_RANK];
  if (rank < 0 || rank > TY_MAX_RANK) return shape_ok(g, rank, NULL), NULL;
  size_t need = (size_t)ty_dtype_size(dt);
  for (int i = 0; i < rank; i++)
    if (shape[i] < 0 || !ty_mul(need, (size_t)shape[i], &need) || (dims[i] = ty_dim_const(g, shape[i])) < 0) {
      ty_fail(g->ctx, TY_INVALID, "literal with size %lld", (long long)shape[i]);
      return NULL;
    }
  if (need != bytes) {
    ty_fail(g->ctx, TY_INVALID, "literal has %zu bytes where its shape needs %zu", bytes, need);
    return NULL;
  }
  void *p = copy(g, data, bytes, 1);
  ty_value *v = p ? value_new(g, dt, rank, dims) : NULL;
  if (!v) return NULL;
  v->role = TY_ROLE_LITERAL;
  v->data = p;
  return v;
}

ty_status ty_graph_output(ty_graph *g, ty_value *v) {
  if (!v) return ty_fail(g->ctx, TY_INVALID, "an output of the graph is missing");
  return TY_PUSH(&g->outputs, v) ? TY_OK : ty_fail(g->ctx, TY_NOMEM, "out of memory");
}

ty_node *ty_graph_node(ty_graph *g, int op, int nargs, const ty_arg *args) {
  ty_node *n = ty_arena_alloc(&g->arena, sizeof *n);
  if (!n || !(n->args = copy(g, args, (size_t)nargs, sizeof *args))) return no_memory(g);
  n->id = g->next_node++;
  n->op = op;
  n->nargs = nargs;
  n->scratch = -1;
  n->next = g->at;
  n->prev = g->at ? g->at->prev : g->last;
  *(n->prev ? &n->prev->next : &g->first) = n;
  *(n->next ? &n->next->prev : &g->last) = n;
  g->nnodes++;
  return n;
}

ty_value *ty_node_out(ty_graph *g, ty_node *n, ty_dtype dt, int rank, const ty_dim *shape) {
  ty_value *v = value_new(g, dt, rank, shape);
  if (!v) return NULL;
  /* the array doubles at powers of two, so that operators of many outputs (split, unbind) stay linear */
  if ((n->nouts & (n->nouts - 1)) == 0) {
    ty_value **outs = ty_arena_alloc(&g->arena, (n->nouts ? 2 * (size_t)n->nouts : 1) * sizeof *outs);
    if (!outs) return g->values.n--, no_memory(g);
    if (n->nouts) memcpy(outs, n->outs, (size_t)n->nouts * sizeof *outs);
    n->outs = outs;
  }
  v->def = n;
  v->out = n->nouts;
  n->outs[n->nouts++] = v;
  return v;
}

void ty_graph_at(ty_graph *g, ty_node *before) { g->at = before; }

void ty_graph_remove(ty_graph *g, ty_node *n) {
  if (g->at == n) g->at = n->next;
  *(n->prev ? &n->prev->next : &g->first) = n->next;
  *(n->next ? &n->next->prev : &g->last) = n->prev;
  n->prev = n->next = NULL; /* outputs keep their ids and their def */
  g->nnodes--;
}

void ty_node_each_input(ty_node *n, void (*f)(void *, ty_value **), void *user) {
  for (int i = 0; i < n->nargs; i++) {
    ty_arg *a = &n->args[i];
    if (a->kind == TY_ARG_VALUE) f(user, &a->value);
    else if (a->kind == TY_ARG_VALUES)
      for (int j = 0; j < a->n; j++)
        if (a->values[j]) f(user, &a->values[j]);
  }
}

struct swap { ty_value *from, *to; };
static void swap_one(void *user, ty_value **slot) {
  struct swap *s = user;
  if (*slot == s->from) *slot = s->to;
}

void ty_graph_replace(ty_graph *g, ty_value *from, ty_value *to) {
  struct swap s = {from, to};
  for (ty_node *n = g->first; n; n = n->next) ty_node_each_input(n, swap_one, &s);
  for (int i = 0; i < g->outputs.n; i++) swap_one(&s, &g->outputs.p[i]);
}

static void count_one(void *user, ty_value **slot) { ((int *)user)[(*slot)->id]++; }

int *ty_graph_use_counts(const ty_graph *g) {
  int *uses = ty_alloc((size_t)g->values.n * sizeof *uses);
  if (!uses) return NULL;
  for (ty_node *n = g->first; n; n = n->next) ty_node_each_input(n, count_one, uses);
  for (int i = 0; i < g->outputs.n; i++) uses[g->outputs.p[i]->id]++;
  return uses;
}

ty_arg ty_arg_ints(ty_graph *g, int n, const ty_dim *d) {
  ty_arg a = {.kind = TY_ARG_INTS, .n = n};
  a.ints = copy(g, d, (size_t)n, sizeof *d);
  if (!a.ints) a.n = 0;
  return a;
}

ty_arg ty_arg_values(ty_graph *g, int n, ty_value *const *v) {
  ty_arg a = {.kind = TY_ARG_VALUES, .n = n};
  a.values = copy(g, v, (size_t)n, sizeof *v);
  if (!a.values) a.n = 0;
  return a;
}
