/* build.c: ty_build, the one way into the graph: binds arguments to the schema, infers, and takes everything back on refusal. */
#include "ops_int.h"

#include <stdio.h>
#include <string.h>

enum { MAX_ARGS = 64 };

static const char *const type_names[] = {
  [TY_T_TENSOR] = "a tensor", [TY_T_TENSORS] = "a list of tensors", [TY_T_INT] = "an int", [TY_T_INTS] = "a list of ints",
  [TY_T_FLOAT] = "a float", [TY_T_FLOATS] = "a list of floats", [TY_T_BOOL] = "a bool", [TY_T_BOOLS] = "a list of bools",
  [TY_T_SCALAR] = "a number", [TY_T_STR] = "a string", [TY_T_DTYPE] = "a dtype", [TY_T_OTHER] = "None, an int or a string",
};
static const char *const kind_names[] = {
  [TY_ARG_NONE] = "None", [TY_ARG_VALUE] = "a tensor", [TY_ARG_VALUES] = "a list of tensors", [TY_ARG_INT] = "an int",
  [TY_ARG_INTS] = "a list of ints", [TY_ARG_FLOAT] = "a float", [TY_ARG_FLOATS] = "a list of floats", [TY_ARG_BOOL] = "a bool",
  [TY_ARG_BOOLS] = "a list of bools", [TY_ARG_STR] = "a string", [TY_ARG_DTYPE] = "a dtype",
};

static bool is_list(ty_arg_kind k) { return k == TY_ARG_VALUES || k == TY_ARG_INTS || k == TY_ARG_FLOATS || k == TY_ARG_BOOLS; }

/* A list's entries, copied into the graph: the caller's memory need not stay. */
static bool list_copy(ty_graph *g, ty_arg *a, size_t each, const void *p) {
  void *q = ty_arena_alloc(&g->arena, (size_t)a->n * each);
  if (!q) return false;
  if (a->n) memcpy(q, p, (size_t)a->n * each);
  a->values = q; /* the union's pointers are one */
  return true;
}

static bool repeat_int(ty_graph *g, ty_arg *out, ty_dim d, int n) {
  *out = (ty_arg){.kind = TY_ARG_INTS, .n = n > 0 ? n : 1};
  if (!(out->ints = ty_arena_alloc(&g->arena, (size_t)out->n * sizeof d))) return false;
  for (int i = 0; i < out->n; i++) out->ints[i] = d;
  return true;
}

typedef enum fit { FITS, WRONG, OOM, SYMBOLIC, BAD_DIM, NUMBER_FOR_TENSOR, TENSOR_FOR_NUMBER, NONE_IN_LIST } fit;

static fit coerce_list(ty_graph *g, const ty_schema_arg *s, const ty_arg *in, ty_arg *out) {
  *out = *in;
  int64_t v;
  static const ty_arg_kind want[] = {[TY_T_TENSORS] = TY_ARG_VALUES, [TY_T_INTS] = TY_ARG_INTS, [TY_T_FLOATS] = TY_ARG_FLOATS, [TY_T_BOOLS] = TY_ARG_BOOLS};
  if (is_list(in->kind) && in->n == 0) { /* an empty list has no kind of its own */
    out->kind = want[s->type];
    return list_copy(g, out, 1, "") ? FITS : OOM;
  }
  switch (s->type) {
  case TY_T_TENSORS:
    if (in->kind != TY_ARG_VALUES) return WRONG;
    for (int i = 0; i < in->n; i++)
      if (!in->values[i] && !s->null_entries) return NONE_IN_LIST;
    return list_copy(g, out, sizeof *in->values, in->values) ? FITS : OOM;
  case TY_T_INTS:
    if (in->kind == TY_ARG_INT) return in->i < 0 ? BAD_DIM : repeat_int(g, out, in->i, s->list_size) ? FITS : OOM;
    if (in->kind != TY_ARG_INTS) return WRONG;
    for (int i = 0; i < in->n; i++)
      if (in->ints[i] < 0) return BAD_DIM;
    return list_copy(g, out, sizeof *in->ints, in->ints) ? FITS : OOM;
  case TY_T_FLOATS:
    if (in->kind == TY_ARG_FLOAT) {
      out->kind = TY_ARG_FLOATS;
      out->n = 1;
      return list_copy(g, out, sizeof in->f, &in->f) ? FITS : OOM;
    }
    if (in->kind == TY_ARG_FLOATS) return list_copy(g, out, sizeof *in->floats, in->floats) ? FITS : OOM;
    if (in->kind != TY_ARG_INTS) return WRONG;
    out->kind = TY_ARG_FLOATS;
    if (!(out->floats = ty_arena_alloc(&g->arena, (size_t)in->n * sizeof(double)))) return OOM;
    for (int i = 0; i < in->n; i++) {
      if (!ty_dim_is_const(g, in->ints[i], &v)) return SYMBOLIC;
      out->floats[i] = (double)v;
    }
    return FITS;
  default:
    if (in->kind != TY_ARG_BOOLS) return WRONG;
    return list_copy(g, out, sizeof *in->bools, in->bools) ? FITS : OOM;
  }
}

static fit coerce(ty_graph *g, const ty_schema_arg *s, const ty_arg *in, ty_arg *out) {
  int64_t v;
  *out = *in;
  bool number = in->kind == TY_ARG_INT || in->kind == TY_ARG_FLOAT || in->kind == TY_ARG_BOOL;
  if (in->kind == TY_ARG_NONE) return s->optional || s->type == TY_T_OTHER ? FITS : WRONG;
  if (in->kind == TY_ARG_INT && in->i < 0) return BAD_DIM;
  switch (s->type) {
  case TY_T_TENSOR: return in->kind == TY_ARG_VALUE ? in->value ? FITS : WRONG : number ? NUMBER_FOR_TENSOR : WRONG;
  case TY_T_TENSORS: case TY_T_INTS: case TY_T_FLOATS: case TY_T_BOOLS: return coerce_list(g, s, in, out);
  case TY_T_INT:
    if (in->kind == TY_ARG_BOOL) *out = ty_arg_int(ty_dim_const(g, in->b));
    else if (in->kind == TY_ARG_VALUE) return TENSOR_FOR_NUMBER;
    else if (in->kind != TY_ARG_INT) return WRONG;
    return out->i < 0 ? OOM : FITS;
  case TY_T_FLOAT:
    if (in->kind == TY_ARG_VALUE) return TENSOR_FOR_NUMBER;
    if (!number) return WRONG;
    if (in->kind == TY_ARG_BOOL) *out = ty_arg_float(in->b);
    else if (in->kind == TY_ARG_INT) {
      if (!ty_dim_is_const(g, in->i, &v)) return SYMBOLIC;
      *out = ty_arg_float((double)v);
    }
    return FITS;
  case TY_T_BOOL:
    if (in->kind == TY_ARG_INT && ty_dim_is_const(g, in->i, &v) && (v == 0 || v == 1)) *out = ty_arg_bool(v == 1);
    else if (in->kind != TY_ARG_BOOL) return WRONG;
    return FITS;
  case TY_T_SCALAR: return number ? FITS : in->kind == TY_ARG_VALUE ? TENSOR_FOR_NUMBER : WRONG;
  case TY_T_STR:
  case TY_T_OTHER:
    if (in->kind == TY_ARG_STR) return in->str && (out->str = ty_arena_strdup(&g->arena, in->str)) ? FITS : OOM;
    return s->type == TY_T_OTHER && in->kind == TY_ARG_INT ? FITS : WRONG;
  case TY_T_DTYPE: return in->kind == TY_ARG_DTYPE && (unsigned)in->dtype < TY_NDTYPE ? FITS : WRONG;
  }
  return WRONG;
}

/* The default as a bound argument: plain numbers become dims. */
static fit bind_default(ty_graph *g, const ty_schema_arg *s, ty_arg *out) {
  ty_arg a = s->def;
  if (a.kind == TY_ARG_INT) a.i = ty_dim_const(g, a.i);
  else if (a.kind == TY_ARG_INTS) {
    if (!list_copy(g, &a, sizeof *a.ints, s->def.ints)) return OOM;
    for (int i = 0; i < a.n; i++)
      if ((a.ints[i] = ty_dim_const(g, s->def.ints[i])) < 0) return OOM;
  }
  if (a.kind == TY_ARG_INT && a.i < 0) return OOM;
  fit f = coerce(g, s, &a, out);
  return f;
}

static ty_status misfit(ty_graph *g, const char *op, const ty_schema_arg *s, const ty_arg *a, fit f) {
  switch (f) {
  case OOM: return g->arena.failed = true, ty_fail(g->ctx, TY_NOMEM, "out of memory");
  case SYMBOLIC: return ty_fail(g->ctx, TY_UNSUPPORTED, "%s: argument %s is a symbolic size where a float is needed", op, s->name);
  case TENSOR_FOR_NUMBER: return ty_fail(g->ctx, TY_UNSUPPORTED, "%s: argument %s must be %s, not a tensor", op, s->name, type_names[s->type]);
  case NUMBER_FOR_TENSOR: return ty_fail(g->ctx, TY_UNSUPPORTED, "%s: argument %s must be a tensor, got %s", op, s->name, kind_names[a->kind]);
  case NONE_IN_LIST: return ty_fail(g->ctx, TY_INVALID, "%s: argument %s has None among its tensors", op, s->name);
  case BAD_DIM: {
    char why[512];
    snprintf(why, sizeof why, "%s", ty_ctx_error(g->ctx));
    return ty_fail(g->ctx, g->arena.failed ? TY_NOMEM : TY_UNSUPPORTED, "%s: argument %s: %s", op, s->name, *why ? why : "a size that is not known");
  }
  default:
    return ty_fail(g->ctx, TY_INVALID, "%s: argument %s must be %s%s, got %s", op, s->name, type_names[s->type], s->optional ? " or None" : "",
                   kind_names[a->kind]);
  }
}

/* As PyTorch's own binding does, a number given for a tensor selects the overload that takes one:
 * aten.add.Tensor(x, 1) is aten.add.Scalar(x, 1). -1 when there is none. */
static int scalar_overload(const char *name) {
  const char *dot = strrchr(name, '.');
  bool tensor = dot && !strncmp(dot, ".Tensor", 7) && (!dot[7] || dot[7] == '_');
  if (!tensor && !(dot && !strcmp(dot, ".default"))) return -1;
  for (int i = 0; i < 2; i++) {
    char other[128];
    int n = snprintf(other, sizeof other, "%.*s.%s%s", (int)(dot - name), name, i ? "Tensor_Scalar" : "Scalar", tensor ? dot + 7 : "");
    int op = n < (int)sizeof other ? ty_op_find(other) : -1;
    if (op >= 0) return op;
  }
  return -1;
}

static ty_status bind(ty_graph *g, int op, int nargs, const ty_arg *args, const char *const *names, ty_arg *bound, const ty_schema **schema, bool *retry) {
  const char *name = ty_op_get(op)->name;
  const ty_schema *s = *schema = ty_op_schema(op);
  if (!s) return misfit(g, name, NULL, NULL, OOM);
  if (s->nargs < 0 || s->nargs > MAX_ARGS) return ty_fail(g->ctx, TY_INTERNAL, "%s: its schema does not parse", name);
  bool have[MAX_ARGS] = {0};
  int pos = 0;
  for (int i = 0; i < nargs; i++) {
    int at = 0;
    if (names && names[i]) {
      while (at < s->nargs && strcmp(s->args[at].name, names[i])) at++;
      if (at == s->nargs) return ty_fail(g->ctx, TY_INVALID, "%s: unknown argument %.80s", name, names[i]);
    } else {
      at = pos++;
      if (at >= s->nargs || s->args[at].kwarg_only) return ty_fail(g->ctx, TY_INVALID, "%s: %d positional arguments are too many", name, nargs);
    }
    if (have[at]) return ty_fail(g->ctx, TY_INVALID, "%s: argument %s is given twice", name, s->args[at].name);
    have[at] = true;
    fit f = coerce(g, &s->args[at], &args[i], &bound[at]);
    *retry = f == NUMBER_FOR_TENSOR;
    if (f != FITS) return misfit(g, name, &s->args[at], &args[i], f);
  }
  for (int i = 0; i < s->nargs; i++) {
    const ty_schema_arg *a = &s->args[i];
    if (have[i]) continue;
    if (!a->has_default) return ty_fail(g->ctx, TY_INVALID, "%s: argument %s is missing", name, a->name);
    fit f = bind_default(g, a, &bound[i]);
    if (f != FITS) return f == OOM ? misfit(g, name, a, &a->def, f) : ty_fail(g->ctx, TY_INTERNAL, "%s: default of %s", name, a->name);
  }
  return TY_OK;
}

/* Appends the node and infers; on any refusal the graph is as it was. */
static ty_status place(ty_graph *g, int op, const ty_schema *s, const ty_arg *bound, const char *loc, ty_node **out) {
  int nvalues = g->values.n, nneeds = g->needs.n, next = g->next_node;
  ty_node *n = ty_graph_node(g, op, s->nargs, bound);
  if (!n) return TY_NOMEM;
  ty_status st = TY_OK;
  if (loc && !(n->loc = ty_arena_strdup(&g->arena, loc))) st = TY_NOMEM;
  if (!loc && g->at) n->loc = g->at->loc; /* what replaces a node comes from where it came from */
  if (st == TY_OK) st = ty_op_get(op)->infer(g, n);
  if (st == TY_OK && (s->ret_list ? n->nouts < 0 : s->nrets != n->nouts))
    st = ty_fail(g->ctx, TY_INTERNAL, "inference made %d outputs of %d", n->nouts, s->nrets);
  if (st == TY_OK) return *out = n, TY_OK;
  if (g->arena.failed) st = TY_NOMEM;
  ty_graph_remove(g, n);
  g->values.n = nvalues;
  g->needs.n = nneeds;
  g->next_node = next;
  return ty_note(g->ctx, st, "in %s%s%s", ty_op_get(op)->name, loc ? ", " : "", loc ? loc : "");
}

ty_status ty_build(ty_graph *g, const char *op_name, int nargs, const ty_arg *args, const char *const *names, const char *loc, ty_node **out) {
  ty_node *n = NULL;
  if (out) *out = NULL;
  int op = ty_op_find(op_name);
  if (op < 0) return ty_fail(g->ctx, TY_UNSUPPORTED, "operator %.200s is not known", op_name);
  ty_arg bound[MAX_ARGS];
  const ty_schema *s;
  bool retry = false;
  ty_status st = bind(g, op, nargs, args, names, bound, &s, &retry);
  if (st != TY_OK && retry && (op = scalar_overload(op_name)) >= 0) {
    ty_ctx_clear(g->ctx);
    st = bind(g, op, nargs, args, names, bound, &s, &retry);
  }
  TY_TRY(st);
  TY_TRY(place(g, op, s, bound, loc, &n));
  if (out) *out = n;
  return TY_OK;
}

ty_value *ty_make(ty_graph *g, int op, int nargs, const ty_arg *args) {
  const char *name = ty_op_get(op)->name;
  const ty_schema *s = ty_op_schema(op);
  if (!s || g->arena.failed) return misfit(g, name, NULL, NULL, OOM), NULL;
  if (s->nargs != nargs || nargs > MAX_ARGS) {
    ty_fail(g->ctx, TY_INTERNAL, "%s: %d arguments where it takes %d", name, nargs, s->nargs);
    return NULL;
  }
  ty_arg bound[MAX_ARGS];
  for (int i = 0; i < nargs; i++) {
    /* what failed before keeps its own text */
    bool absent = args[i].kind == TY_ARG_NONE && !s->args[i].optional && s->args[i].type == TY_T_TENSOR;
    if (absent && *ty_ctx_error(g->ctx)) return NULL;
    fit f = coerce(g, &s->args[i], &args[i], &bound[i]);
    if (f != FITS) return misfit(g, name, &s->args[i], &args[i], f), NULL;
  }
  ty_node *n;
  return place(g, op, s, bound, NULL, &n) == TY_OK && n->nouts ? n->outs[0] : NULL;
}
