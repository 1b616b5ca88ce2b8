/* import.c: the program of an archive as a graph: each node's arguments become a call of the builder. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive_int.h"
#include "ops/ops.h"

/* The context's text without the place that ar_fail put in front, and without the builder's notes after its first line. */
const char *ar_reason(ar_importer *im) {
  const char *text = ty_ctx_error(im->ctx);
  char place[1600];
  const ar_place *at = &im->at;
  int n = snprintf(place, sizeof place, "%s: %s%s%s%s", at->file, at->member ? at->member : "", at->member ? ": " : "", at->at, *at->at ? ": " : "");
  if (n > 0 && n < (int)sizeof place && !strncmp(text, place, (size_t)n)) text += n;
  char *s = ty_arena_strdup(&im->out->arena, text);
  if (s) s[strcspn(s, "\n")] = 0;
  return s && *s ? s : "refused";
}

/* ---- Values ---- */
int ar_value_new(ar_importer *im, const char *name) {
  int i = im->values.n;
  return TY_PUSH(&im->values, ((ar_value){.name = name, .root = i, .parent = -1, .input = -1})) ? i : -1;
}

ty_status ar_define(ar_importer *im, ar_scope *s, const char *name, int value) {
  if (value < 0) return ar_nomem(&im->at);
  if (ar_map_get(&s->names, name) >= 0) return ar_fail(&im->at, TY_INVALID, "\"%.100s\" is defined twice", name);
  return ar_map_put(&s->names, name, value) ? TY_OK : ar_nomem(&im->at);
}

static ty_status find(ar_importer *im, const ar_scope *s, const char *arg, json_object *ref, const char *key, int *value) {
  const char *name;
  TY_TRY(ar_string(&im->at, ref, key, &name));
  *value = ar_map_get(&s->names, name);
  if (*value < 0) return ar_fail(&im->at, TY_INVALID, "input \"%.60s\" names \"%.100s\", which no earlier node or input defines", arg, name);
  return TY_OK;
}

/* ---- What the archive says of values ---- */
/* {"as_int": 3} or {"as_expr": {"expr_str": .., "hint": {"as_int": ..}}} */
static ty_status size_read(ar_importer *im, json_object *o, ty_dim *out) {
  const char *key, *text;
  json_object *value;
  int64_t v, hint = 0;
  TY_TRY(ar_union(&im->at, o, "a size", &key, &value));
  if (!strcmp(key, "as_int")) {
    TY_TRY(ar_int_of(&im->at, value, key, &v));
    *out = ty_dim_const(im->g, v);
    return *out < 0 ? ar_nomem(&im->at) : TY_OK;
  }
  if (strcmp(key, "as_expr")) return ar_fail(&im->at, TY_INVALID, "a size with the key \"%.40s\"", key);
  ar_expr *e;
  TY_TRY(ar_text_of(&im->at, ar_get(value, "expr_str"), "expr_str", AR_MAX_EXPR, &text));
  json_object *h = ar_get(ar_get(value, "hint"), "as_int");
  if (h) TY_TRY(ar_int_of(&im->at, h, "hint", &hint));
  TY_TRY(ar_expr_parse(&im->at, &im->arena, text, &e));
  return ar_expr_dim(&im->at, &im->syms, e, hint, out);
}

ty_status ar_meta_read(ar_importer *im, const ar_scope *s, const char *name, ar_meta *m) {
  json_object *t = ar_get(ar_get(s->graph, "tensor_values"), name), *sizes, *strides, *device;
  int64_t dtype, layout;
  const char *dname, *type;
  int n, ns;
  m->known = false;
  if (!t) return ar_fail(&im->at, TY_INVALID, "tensor_values has nothing of \"%.100s\"", name);
  TY_TRY(ar_int(&im->at, t, "dtype", &dtype));
  TY_TRY(ar_int(&im->at, t, "layout", &layout));
  TY_TRY(ar_list(&im->at, t, "sizes", &sizes, &n));
  TY_TRY(ar_list(&im->at, t, "strides", &strides, &ns));
  TY_TRY(ar_object(&im->at, t, "device", &device));
  TY_TRY(ar_string(&im->at, device, "type", &type));
  if (n != ns) return ar_fail(&im->at, TY_INVALID, "\"%.100s\" has %d sizes and %d strides", name, n, ns);
  if (!ar_dtype(dtype, &m->dtype, &dname))
    return dname ? ar_fail(&im->at, TY_UNSUPPORTED, "dtype %s", dname) : ar_fail(&im->at, TY_INVALID, "\"%.100s\" has dtype %lld, none of the schema's", name, (long long)dtype);
  if (layout != 7) return ar_fail(&im->at, TY_UNSUPPORTED, "a layout that is not strided");
  if (strcmp(type, "cpu")) return ar_fail(&im->at, TY_UNSUPPORTED, "device %.40s", type);
  if (n > TY_MAX_RANK) return ar_fail(&im->at, TY_UNSUPPORTED, "a tensor of %d dimensions", n);
  m->rank = n;
  for (int i = 0; i < n; i++) {
    int64_t v;
    TY_TRY(size_read(im, json_object_array_get_idx(sizes, (size_t)i), &m->sizes[i]));
    TY_TRY(size_read(im, json_object_array_get_idx(strides, (size_t)i), &m->strides[i]));
    if (ty_dim_is_const(im->g, m->sizes[i], &v) && v < 0) return ar_fail(&im->at, TY_INVALID, "\"%.100s\" has size %lld", name, (long long)v);
  }
  m->known = true;
  return TY_OK;
}

ty_status ar_number_read(ar_importer *im, const ar_scope *s, const char *kind, const char *name, ty_arg *out) {
  json_object *entry = ar_get(ar_get(s->graph, kind), name), *value;
  const char *key, *text;
  ar_expr *e;
  if (!entry) return ar_fail(&im->at, TY_INVALID, "%s has nothing of \"%.100s\"", kind, name);
  if (!strcmp(kind, "sym_int_values")) {
    *out = ty_arg_int(0);
    return size_read(im, entry, &out->i);
  }
  TY_TRY(ar_union(&im->at, entry, name, &key, &value));
  if (strcmp(key, "as_expr")) return ar_literal(im, key, value, out);
  if (strcmp(kind, "sym_float_values")) return ar_fail(&im->at, TY_UNSUPPORTED, "a condition that depends on sizes");
  TY_TRY(ar_text_of(&im->at, ar_get(value, "expr_str"), "expr_str", AR_MAX_EXPR, &text));
  TY_TRY(ar_expr_parse(&im->at, &im->arena, text, &e));
  *out = ty_arg_float(0);
  return ar_expr_number(&im->at, &im->syms, e, &out->f);
}

/* ---- Arguments ---- */
ty_status ar_literal(ar_importer *im, const char *key, json_object *v, ty_arg *out) {
  int64_t i;
  const char *text;
  *out = (ty_arg){0};
  if (!strcmp(key, "as_none")) return TY_OK;
  if (!strcmp(key, "as_int")) {
    TY_TRY(ar_int_of(&im->at, v, key, &i));
    *out = ty_arg_int(ty_dim_const(im->g, i));
    return out->i < 0 ? ar_nomem(&im->at) : TY_OK;
  }
  if (!strcmp(key, "as_float")) return *out = ty_arg_float(0), ar_float_of(&im->at, v, key, &out->f);
  if (!strcmp(key, "as_bool")) {
    if (!v || !json_object_is_type(v, json_type_boolean)) return ar_fail(&im->at, TY_INVALID, "\"as_bool\" must be true or false");
    return *out = ty_arg_bool(json_object_get_boolean(v)), TY_OK;
  }
  if (!strcmp(key, "as_string")) {
    TY_TRY(ar_text_of(&im->at, v, key, AR_MAX_EXPR, &text));
    char *s = ty_arena_strdup(&im->out->arena, text);
    return s ? *out = ty_arg_str(s), TY_OK : ar_nomem(&im->at);
  }
  if (!strcmp(key, "as_scalar_type")) {
    const char *name;
    *out = ty_arg_dtype(TY_f32);
    TY_TRY(ar_int_of(&im->at, v, key, &i));
    if (ar_dtype(i, &out->dtype, &name)) return TY_OK;
    return name ? ar_fail(&im->at, TY_UNSUPPORTED, "dtype %s", name) : ar_fail(&im->at, TY_INVALID, "dtype %lld is none of the schema's", (long long)i);
  }
  return ar_fail(&im->at, TY_UNSUPPORTED, "an argument of the kind \"%.40s\"", key);
}

static ty_status tensor(ar_importer *im, const ar_scope *s, const char *arg, json_object *ref, ty_value **out) {
  int i;
  TY_TRY(find(im, s, arg, ref, "name", &i));
  if (im->values.p[i].is_number) return ar_fail(&im->at, TY_INVALID, "input \"%.60s\" names \"%.100s\", which is no tensor", arg, im->values.p[i].name);
  if (im->values.p[i].lost) return ar_fail(&im->at, TY_UNSUPPORTED, "it needs \"%.100s\", which was declined", im->values.p[i].name);
  return ar_read(im, i, out);
}

/* {"as_name": "sym_size_int"}, or a plain number under another key. */
static ty_status symbolic(ar_importer *im, const ar_scope *s, const char *arg, json_object *o, ty_arg *out) {
  const char *key;
  json_object *value;
  int i;
  TY_TRY(ar_union(&im->at, o, arg, &key, &value));
  if (strcmp(key, "as_name")) return ar_literal(im, key, value, out);
  TY_TRY(find(im, s, arg, o, "as_name", &i));
  const ar_value *x = &im->values.p[i];
  if (!x->is_number) return ar_fail(&im->at, TY_INVALID, "input \"%.60s\" names \"%.100s\", which is no number", arg, x->name);
  if (x->lost) return ar_fail(&im->at, TY_UNSUPPORTED, "it needs the number \"%.100s\", which was declined", x->name);
  *out = x->number;
  return TY_OK;
}

static ty_status list(ar_importer *im, const ar_scope *s, const char *arg, const char *key, json_object *v, ty_arg *out) {
  size_t n = v && json_object_is_type(v, json_type_array) ? json_object_array_length(v) : AR_MAX_LIST + 1;
  if (n > AR_MAX_LIST) return ar_fail(&im->at, TY_INVALID, "input \"%.60s\": \"%.40s\" must be a list of at most %d entries", arg, key, AR_MAX_LIST);
  bool tensors = !strcmp(key, "as_tensors"), optional = !strcmp(key, "as_optional_tensors"), floats = !strcmp(key, "as_floats") || !strcmp(key, "as_sym_floats");
  bool ints = !strcmp(key, "as_ints") || !strcmp(key, "as_sym_ints"), bools = !strcmp(key, "as_bools") || !strcmp(key, "as_sym_bools");
  if (!tensors && !optional && !floats && !ints && !bools) return ar_fail(&im->at, TY_UNSUPPORTED, "an argument of the kind \"%.40s\"", key);
  *out = (ty_arg){.kind = floats ? TY_ARG_FLOATS : ints ? TY_ARG_INTS : bools ? TY_ARG_BOOLS : TY_ARG_VALUES, .n = (int)n};
  if (!(out->values = ty_arena_alloc(&im->arena, n * sizeof(double)))) return ar_nomem(&im->at); /* the widest of them */
  for (size_t i = 0; i < n; i++) {
    json_object *e = json_object_array_get_idx(v, i);
    ty_arg one = {0};
    if (tensors) TY_TRY(tensor(im, s, arg, e, &out->values[i]));
    else if (optional) {
      const char *k;
      json_object *ref;
      TY_TRY(ar_union(&im->at, e, arg, &k, &ref));
      if (!strcmp(k, "as_tensor")) TY_TRY(tensor(im, s, arg, ref, &out->values[i]));
    } else {
      if (!strncmp(key, "as_sym_", 7)) TY_TRY(symbolic(im, s, arg, e, &one));
      else TY_TRY(ar_literal(im, floats ? "as_float" : ints ? "as_int" : "as_bool", e, &one));
      if (one.kind != (floats ? TY_ARG_FLOAT : ints ? TY_ARG_INT : TY_ARG_BOOL)) return ar_fail(&im->at, TY_INVALID, "input \"%.60s\": entry %zu is of another kind", arg, i);
      if (floats) out->floats[i] = one.f;
      else if (ints) out->ints[i] = one.i;
      else out->bools[i] = one.b;
    }
  }
  return TY_OK;
}

static ty_status argument(ar_importer *im, const ar_scope *s, const char *arg, json_object *o, ty_arg *out) {
  const char *key;
  json_object *v;
  *out = (ty_arg){0};
  TY_TRY(ar_union(&im->at, o, arg, &key, &v));
  if (!strcmp(key, "as_optional_tensor")) {
    TY_TRY(ar_union(&im->at, v, arg, &key, &v));
    if (!strcmp(key, "as_none")) return TY_OK;
  }
  if (!strcmp(key, "as_tensor")) {
    out->kind = TY_ARG_VALUE;
    return tensor(im, s, arg, v, &out->value);
  }
  if (!strcmp(key, "as_sym_int") || !strcmp(key, "as_sym_float") || !strcmp(key, "as_sym_bool")) return symbolic(im, s, arg, v, out);
  size_t n = strlen(key);
  if (n && key[n - 1] == 's' && strcmp(key, "as_graphs")) return list(im, s, arg, key, v, out);
  return ar_literal(im, key, v, out);
}

/* Arguments that say nothing about values on a CPU: None is handed on, or they are left out, or what asks for more is refused. */
typedef enum plain { VALUED, AS_NONE, LEFT_OUT } plain;
static ty_status no_value(ar_importer *im, const char *arg, json_object *o, plain *how) {
  static const struct { const char *name; plain how; } rows[] = {
    {"device", AS_NONE}, {"layout", AS_NONE}, {"memory_format", AS_NONE}, {"generator", AS_NONE}, {"pin_memory", LEFT_OUT}, {"non_blocking", LEFT_OUT}};
  const char *key, *type;
  json_object *v;
  *how = VALUED;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (!strcmp(arg, rows[i].name)) *how = rows[i].how;
  if (*how == VALUED) return TY_OK;
  TY_TRY(ar_union(&im->at, o, arg, &key, &v));
  if (!strcmp(key, "as_device")) {
    TY_TRY(ar_string(&im->at, v, "type", &type));
    if (strcmp(type, "cpu")) return ar_fail(&im->at, TY_UNSUPPORTED, "device %.40s", type);
  }
  if (!strcmp(key, "as_layout") && json_object_get_int64(v) != 7) return ar_fail(&im->at, TY_UNSUPPORTED, "a layout that is not strided");
  if (!strcmp(arg, "generator") && strcmp(key, "as_none")) return ar_fail(&im->at, TY_UNSUPPORTED, "a random generator");
  return TY_OK;
}

/* Where a node came from: "model.py:88 encoder.layer.0". */
static const char *location(ar_importer *im, json_object *node) {
  json_object *meta = ar_get(node, "metadata"), *t = ar_get(meta, "stack_trace"), *m = ar_get(meta, "nn_module_stack");
  char where[300] = "";
  size_t n = 0;
  if (json_object_is_type(t, json_type_string)) {
    const char *last = NULL;
    for (const char *p = json_object_get_string(t); (p = strstr(p, "File \"")); p += 6) last = p + 6;
    const char *quote = last ? strstr(last, "\", line ") : NULL;
    if (quote) {
      const char *file = quote;
      while (file > last && file[-1] != '/') file--;
      n = (size_t)snprintf(where, 200, "%.*s:%d", (int)(quote - file < 100 ? quote - file : 100), file, atoi(quote + 8));
    }
  }
  if (json_object_is_type(m, json_type_string)) { /* "key,path,type;key,path,type" */
    const char *s = json_object_get_string(m), *entry = strrchr(s, ';');
    const char *path = strchr(entry ? entry : s, ',');
    size_t len = path ? strcspn(path + 1, ",;") : 0;
    if (len && len < sizeof where - n - 2 && strncmp(path + 1, "_empty_nn_module", 16)) snprintf(where + n, sizeof where - n, "%s%.*s", n ? " " : "", (int)len, path + 1);
  }
  for (char *p = where; *p; p++)
    if ((unsigned char)*p < 32) *p = ' ';
  return *where ? ty_arena_strdup(&im->out->arena, where) : NULL;
}

/* ---- Nodes ---- */
typedef struct node_view { json_object *json, *inputs, *outputs; const char *target, *name, *loc; int nin, nout; } node_view;

/* The names that a node defines, in order: tensors and numbers, whose table is `kind`. */
typedef struct result { const char *name, *kind; } result;
enum { MAX_RESULTS = 4096 };

static ty_status one_result(ar_importer *im, const char *key, json_object *v, result *r) {
  *r = (result){0};
  if (!strcmp(key, "as_tensor")) return ar_string(&im->at, v, "name", &r->name);
  if (!strcmp(key, "as_none")) return TY_OK;
  r->kind = !strcmp(key, "as_sym_int") ? "sym_int_values" : !strcmp(key, "as_sym_float") ? "sym_float_values" : !strcmp(key, "as_sym_bool") ? "sym_bool_values" : NULL;
  if (!r->kind) return ar_fail(&im->at, TY_UNSUPPORTED, "a result of the kind \"%.40s\"", key);
  if (!ar_get(v, "as_name")) return TY_OK; /* a constant: nobody can name it */
  return ar_string(&im->at, v, "as_name", &r->name);
}

static ty_status results(ar_importer *im, const node_view *n, result **out, int *count) {
  TY_VEC(result) all = {0};
  ty_status st = TY_OK;
  for (int i = 0; i < n->nout && !st; i++) {
    const char *key;
    json_object *v;
    result r;
    st = ar_union(&im->at, json_object_array_get_idx(n->outputs, (size_t)i), "output", &key, &v);
    bool many = !st && !strcmp(key, "as_tensors");
    size_t k = many && json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 1;
    for (size_t j = 0; j < k && !st; j++) {
      st = many ? one_result(im, "as_tensor", json_object_is_type(v, json_type_array) ? json_object_array_get_idx(v, j) : NULL, &r) : one_result(im, key, v, &r);
      if (!st && all.n == MAX_RESULTS) st = ar_fail(&im->at, TY_UNSUPPORTED, "more than %d results", MAX_RESULTS);
      if (!st && !TY_PUSH(&all, r)) st = ar_nomem(&im->at);
    }
  }
  *count = all.n;
  *out = st ? NULL : ty_arena_alloc(&im->arena, (size_t)all.n * sizeof **out);
  if (!st && !*out) st = ar_nomem(&im->at);
  if (!st && all.n) memcpy(*out, all.p, (size_t)all.n * sizeof **out);
  TY_VEC_FREE(&all);
  return st;
}

static ty_status define_number(ar_importer *im, ar_scope *s, const result *r) {
  int i = ar_value_new(im, r->name);
  TY_TRY(ar_define(im, s, r->name, i));
  ty_arg number = {0};
  ty_status st = ar_number_read(im, s, r->kind, r->name, &number);
  if (st && st != TY_UNSUPPORTED) return st;
  im->values.p[i].is_number = true;
  im->values.p[i].lost = st == TY_UNSUPPORTED;
  im->values.p[i].number = number;
  return TY_OK;
}

/* Notes why a node is not in the graph; inputs of its results' types stand in for them, so that what follows is tried as well. */
static ty_status decline(ar_importer *im, ar_scope *s, const node_view *n) {
  const char *reason = ar_reason(im);
  const char *where = n->loc ? ty_arena_printf(&im->out->arena, "%s, %s", n->name, n->loc) : ty_arena_strdup(&im->out->arena, n->name);
  const char *op = ty_arena_strdup(&im->out->arena, n->target);
  if (!where || !op || !TY_PUSH(&im->declined, ((ty_imported_decline){op, where, reason}))) return ar_nomem(&im->at);
  result *r;
  int count;
  ty_status st = results(im, n, &r, &count);
  if (st) return st == TY_UNSUPPORTED ? TY_OK : st;
  for (int i = 0; i < count; i++) {
    if (!r[i].name || ar_map_get(&s->names, r[i].name) >= 0) continue;
    if (r[i].kind) {
      TY_TRY(define_number(im, s, &r[i]));
      continue;
    }
    int v = ar_value_new(im, r[i].name);
    ar_meta m;
    TY_TRY(ar_define(im, s, r[i].name, v));
    st = ar_meta_read(im, s, r[i].name, &m);
    if (st && st != TY_UNSUPPORTED) return st;
    im->values.p[v].lost = st == TY_UNSUPPORTED;
    if (st) continue;
    im->values.p[v].meta = m;
    im->values.p[v].v = ty_graph_input(im->g, TY_ROLE_INPUT, m.dtype, m.rank, m.sizes, NULL, r[i].name);
    if (!im->values.p[v].v) return ar_nomem(&im->at);
  }
  return TY_OK;
}

/* Our inference against what the archive says. */
static ty_status agrees(ar_importer *im, const char *name, const ar_meta *m, const ty_value *v) {
  if (m->dtype != v->dtype) return ar_fail(&im->at, TY_UNSUPPORTED, "%.80s: dtype %s inferred, the archive says %s", name, ty_dtypes[v->dtype].torch, ty_dtypes[m->dtype].torch);
  bool same = m->rank == v->rank;
  for (int i = 0; same && i < m->rank; i++) same = ty_dim_known_eq(im->g, m->sizes[i], v->shape[i]);
  if (same) return TY_OK;
  ty_str t = {0};
  ty_str_add(&t, "%.80s: shape [", name);
  for (int i = 0; i < v->rank; i++) ty_str_add(&t, i ? ", " : ""), ty_dim_print(im->g, v->shape[i], &t);
  ty_str_add(&t, "] inferred, the archive says [");
  for (int i = 0; i < m->rank; i++) ty_str_add(&t, i ? ", " : ""), ty_dim_print(im->g, m->sizes[i], &t);
  ty_status st = t.failed ? ar_nomem(&im->at) : ar_fail(&im->at, TY_UNSUPPORTED, "%s]", t.p);
  ty_str_free(&t);
  return st;
}

static ty_status arguments(ar_importer *im, const ar_scope *s, const node_view *n, ty_arg *args, const char **names, int *count, int *self) {
  *count = 0;
  *self = -1;
  for (int i = 0; i < n->nin; i++) {
    json_object *in = json_object_array_get_idx(n->inputs, (size_t)i), *o = ar_get(in, "arg");
    const char *name;
    plain how;
    int64_t kind = 1;
    TY_TRY(ar_string(&im->at, in, "name", &name));
    if (ar_get(in, "kind")) TY_TRY(ar_int(&im->at, in, "kind", &kind));
    TY_TRY(no_value(im, name, o, &how));
    if (how == LEFT_OUT) continue;
    if (*count == AR_MAX_ARGS) return ar_fail(&im->at, TY_INVALID, "more than %d arguments", AR_MAX_ARGS);
    if (!*name && kind != 1) return ar_fail(&im->at, TY_INVALID, "a keyword argument without a name");
    names[*count] = *name ? name : NULL;
    args[*count] = (ty_arg){0};
    if (how == VALUED) TY_TRY(argument(im, s, name, o, &args[*count]));
    if (*count == 0 && args[0].kind == TY_ARG_VALUE) TY_TRY(find(im, s, name, ar_get(o, "as_tensor"), "name", self));
    ++*count;
  }
  return TY_OK;
}

/* The builder's answer; what it calls invalid is the archive's fault. */
static ty_status call(ar_importer *im, const ar_call *c, ty_node **node) {
  ty_ctx_clear(im->ctx);
  ty_status st = ty_build(im->g, c->op, c->nargs, c->args, c->names, c->loc, node);
  return st == TY_INVALID ? ar_fail(&im->at, TY_INVALID, "%s", ar_reason(im)) : st;
}

/* "aten.add_.Tensor" to "aten.add.Tensor"; false for operators that change nothing in place. */
static bool functional(const char *target, char out[200]) {
  const char *dot = strrchr(target, '.');
  if (!dot || dot - target < 7 || dot[-1] != '_' || dot[-2] == '_' || strlen(target) >= 200) return false;
  snprintf(out, 200, "%.*s%s", (int)(dot - target) - 1, target, dot);
  return true;
}

/* x.add_(y) is x = x + y, in x's own dtype and shape. */
static ty_status in_place(ar_importer *im, ar_call *c, int self) {
  ty_node *node;
  if (self < 0) return ar_fail(&im->at, TY_UNSUPPORTED, "it changes something other than its first argument");
  if (!strcmp(c->op, "aten.zero.default")) { /* which has no functional form in the table */
    c->op = "aten.fill.Scalar";
    c->args[1] = ty_arg_int(ty_dim_const(im->g, 0));
    c->names[1] = "value";
    c->nargs = 2;
  }
  c->names[0] = NULL; /* functional forms may call it something else: dropout's is "input" */
  int op = ty_op_find(c->op);
  if (op >= 0 && strstr(ty_op_get(op)->schema, "Tensor(a")) return ar_fail(&im->at, TY_UNSUPPORTED, "it changes its argument's shape in place");
  ty_value *before = c->args[0].value;
  TY_TRY(call(im, c, &node));
  if (node->nouts != 1) return ar_fail(&im->at, TY_UNSUPPORTED, "it changes its argument in place");
  ty_value *now = node->outs[0];
  if (now->dtype != before->dtype) {
    ar_call cast = {.op = "aten._to_copy.default", .nargs = 2, .args = (ty_arg[]){ty_arg_value(now), ty_arg_dtype(before->dtype)}, .names = (const char *[]){"self", "dtype"}, .loc = c->loc};
    TY_TRY(call(im, &cast, &node));
    now = node->outs[0];
  }
  bool same = now->rank == before->rank;
  for (int i = 0; same && i < now->rank; i++) same = ty_dim_known_eq(im->g, now->shape[i], before->shape[i]);
  if (!same) return ar_fail(&im->at, TY_UNSUPPORTED, "its result has another shape than what it changes in place");
  return ar_write(im, self, now);
}

/* Batch norm by the statistics of its batch changes the running ones: the functional form gives them as results. false: this is none. */
static bool trains(ar_call *c) {
  bool training = false, running = false;
  for (int i = 0; i < c->nargs && !strcmp(c->op, "aten.batch_norm.default"); i++) {
    if (!c->names[i]) return false;
    training |= !strcmp(c->names[i], "training") && c->args[i].kind == TY_ARG_BOOL && c->args[i].b;
    running |= !strcmp(c->names[i], "running_mean") && c->args[i].kind == TY_ARG_VALUE;
  }
  return training && running;
}

static ty_status batch_norm(ar_importer *im, ar_scope *s, const node_view *n, ar_call *c, const char *result) {
  static const char *const changed[] = {"running_mean", "running_var"};
  ty_node *node;
  int v, out = ar_value_new(im, result);
  if (out < 0) return ar_nomem(&im->at);
  c->op = "aten._native_batch_norm_legit_functional.default";
  if (c->nargs && !strcmp(c->names[c->nargs - 1], "cudnn_enabled")) c->nargs--;
  TY_TRY(call(im, c, &node));
  TY_TRY(ar_meta_read(im, s, result, &im->values.p[out].meta));
  TY_TRY(agrees(im, result, &im->values.p[out].meta, node->outs[0]));
  TY_TRY(ar_results(im, c, -1, node, 1, &out));
  for (int k = 0; k < 2; k++)
    for (int i = 0; i < n->nin; i++) {
      json_object *in = json_object_array_get_idx(n->inputs, (size_t)i);
      const char *name;
      TY_TRY(ar_string(&im->at, in, "name", &name));
      if (strcmp(name, changed[k])) continue;
      TY_TRY(find(im, s, name, ar_get(ar_get(in, "arg"), "as_tensor"), "name", &v));
      TY_TRY(ar_write(im, v, node->outs[3 + k]));
    }
  return ar_define(im, s, result, out);
}

static ty_status operator(ar_importer *im, ar_scope *s, const node_view *n) {
  ty_arg args[AR_MAX_ARGS + 1];
  const char *names[AR_MAX_ARGS + 1];
  char name[200];
  result *r;
  int count, self, *values;
  ar_call c = {.args = args, .names = names, .loc = n->loc};
  TY_TRY(arguments(im, s, n, args, names, &c.nargs, &self));
  TY_TRY(results(im, n, &r, &count));
  if (functional(n->target, name)) {
    c.op = name;
    TY_TRY(in_place(im, &c, self));
    for (int i = 0; i < count; i++)
      if (r[i].name) TY_TRY(ar_define(im, s, r[i].name, self));
    return TY_OK;
  }
  if (!(c.op = ty_arena_strdup(&im->arena, n->target)) || !(values = ty_arena_alloc(&im->arena, (size_t)count * sizeof *values))) return ar_nomem(&im->at);
  for (int i = 0; i < count; i++)
    if (r[i].kind) return ar_fail(&im->at, TY_UNSUPPORTED, "a number that is taken out of a tensor");
  if (count == 1 && r[0].name && trains(&c)) return batch_norm(im, s, n, &c, r[0].name);
  if (!strcmp(c.op, "aten.as_strided.default")) TY_TRY(ar_as_strided(im, &c, self));
  ty_node *node;
  TY_TRY(call(im, &c, &node));
  if (node->nouts != count) return ar_fail(&im->at, TY_UNSUPPORTED, "%d results inferred, the archive says %d", node->nouts, count);
  for (int i = 0; i < count; i++) {
    values[i] = ar_value_new(im, r[i].name);
    if (values[i] < 0) return ar_nomem(&im->at);
    if (!r[i].name) continue;
    TY_TRY(ar_meta_read(im, s, r[i].name, &im->values.p[values[i]].meta));
    TY_TRY(agrees(im, r[i].name, &im->values.p[values[i]].meta, node->outs[i]));
  }
  TY_TRY(ar_results(im, &c, self, node, count, values));
  for (int i = 0; i < count; i++)
    if (r[i].name) TY_TRY(ar_define(im, s, r[i].name, values[i]));
  return TY_OK;
}

/* Arithmetic on sizes: the archive has its results written out; what it names must be there. */
static ty_status sizes(ar_importer *im, ar_scope *s, const node_view *n) {
  result *r;
  int count, v;
  for (int i = 0; i < n->nin; i++) {
    json_object *in = json_object_array_get_idx(n->inputs, (size_t)i), *o = ar_get(in, "arg"), *value;
    const char *key;
    TY_TRY(ar_union(&im->at, o, "arg", &key, &value));
    if (!strcmp(key, "as_tensor")) TY_TRY(find(im, s, key, value, "name", &v));
    else if (ar_get(value, "as_name")) TY_TRY(find(im, s, key, value, "as_name", &v));
  }
  TY_TRY(results(im, n, &r, &count));
  for (int i = 0; i < count; i++) {
    if (!r[i].kind) return ar_fail(&im->at, TY_UNSUPPORTED, "an operator on sizes that gives a tensor");
    if (r[i].name) TY_TRY(define_number(im, s, &r[i]));
  }
  return TY_OK;
}

static ty_status nodes(ar_importer *im, ar_scope *s, int depth);

/* A region whose setting says nothing here (gradients off, autocast off): its graph's nodes stand in the outer one. */
static ty_status inlined(ar_importer *im, ar_scope *s, const node_view *n, int depth) {
  json_object *graph = NULL, *inner, *outer, *value;
  const char *key, *name;
  int first = 0, nin, nout, v;
  for (int i = 0; i < n->nin && !graph; i++) {
    json_object *o = ar_get(json_object_array_get_idx(n->inputs, (size_t)i), "arg");
    TY_TRY(ar_union(&im->at, o, "arg", &key, &value));
    if (!strcmp(key, "as_graph")) graph = ar_get(value, "graph"), first = i + 1;
    bool autocast = !strcmp(n->target, "higher_order.wrap_with_autocast") && i == 2;
    if (autocast && !(!strcmp(key, "as_bool") && !json_object_get_boolean(value))) return ar_fail(&im->at, TY_UNSUPPORTED, "autocast");
  }
  if (!graph || depth >= AR_MAX_GRAPH_DEPTH) return ar_fail(&im->at, TY_INVALID, graph ? "graphs nested too deeply" : "an argument \"as_graph\" is expected");
  TY_TRY(ar_list(&im->at, graph, "inputs", &inner, &nin));
  if (nin != n->nin - first) return ar_fail(&im->at, TY_INVALID, "%d arguments for a graph of %d inputs", n->nin - first, nin);
  ar_scope sub = {.graph = graph};
  ty_status st = TY_OK;
  for (int i = 0; i < nin && !st; i++) {
    json_object *in = json_object_array_get_idx(inner, (size_t)i), *arg = ar_get(json_object_array_get_idx(n->inputs, (size_t)(first + i)), "arg");
    bool is_tensor = ar_get(in, "as_tensor") != NULL, is_sym = ar_get(ar_get(in, "as_sym_int"), "as_name") != NULL;
    if (!is_tensor && !is_sym) continue; /* a constant: the graph has it written out */
    json_object *ref = ar_get(in, is_tensor ? "as_tensor" : "as_sym_int");
    st = find(im, s, "operand", ar_get(arg, is_tensor ? "as_tensor" : "as_sym_int"), is_tensor ? "name" : "as_name", &v);
    if (!st) st = ar_string(&im->at, ref, is_tensor ? "name" : "as_name", &name);
    if (!st) st = ar_define(im, &sub, name, v);
  }
  char here[sizeof im->at.at];
  memcpy(here, im->at.at, sizeof here);
  if (!st) st = nodes(im, &sub, depth + 1);
  if (!st) memcpy(im->at.at, here, sizeof here);
  result *r = NULL;
  int count = 0;
  if (!st) st = ar_list(&im->at, graph, "outputs", &outer, &nout);
  if (!st) st = results(im, n, &r, &count);
  if (!st && count != nout) st = ar_fail(&im->at, TY_INVALID, "%d results of a graph with %d outputs", count, nout);
  for (int i = 0; i < count && !st; i++) {
    json_object *o = json_object_array_get_idx(outer, (size_t)i);
    bool is_tensor = ar_get(o, "as_tensor") != NULL;
    if (!r[i].name) continue;
    st = find(im, &sub, "output", ar_get(o, is_tensor ? "as_tensor" : "as_sym_int"), is_tensor ? "name" : "as_name", &v);
    if (!st && im->values.p[v].is_number == is_tensor) st = ar_fail(&im->at, TY_INVALID, "output %d is of another kind", i);
    if (!st) st = ar_define(im, s, r[i].name, v);
  }
  ar_map_free(&sub.names);
  return st;
}

static bool starts(const char *s, const char *with) { return !strncmp(s, with, strlen(with)); }

static ty_status one_node(ar_importer *im, ar_scope *s, const node_view *n, int depth) {
  const char *t = n->target;
  if (starts(t, "aten._assert_") || starts(t, "aten.sym_constrain_range") || starts(t, "aten._check")) return TY_OK; /* they only check */
  if (starts(t, "_operator.") || starts(t, "torch.sym_") || starts(t, "math.") || starts(t, "aten.sym_")) return sizes(im, s, n);
  if (!strcmp(t, "higher_order.wrap_with_set_grad_enabled") || !strcmp(t, "higher_order.wrap_with_autocast")) return inlined(im, s, n, depth);
  if (starts(t, "higher_order.")) return ar_fail(&im->at, TY_UNSUPPORTED, "a higher-order operator: the graphs that it calls are not compiled");
  if (!starts(t, "aten.")) return ar_fail(&im->at, TY_UNSUPPORTED, "not an ATen operator");
  return operator(im, s, n);
}

static ty_status nodes(ar_importer *im, ar_scope *s, int depth) {
  json_object *all;
  int count;
  TY_TRY(ar_list(&im->at, s->graph, "nodes", &all, &count));
  for (int i = 0; i < count; i++) {
    node_view n = {.json = json_object_array_get_idx(all, (size_t)i), .name = ""};
    snprintf(im->at.at, sizeof im->at.at, "node %d", i);
    TY_TRY(ar_string(&im->at, n.json, "target", &n.target));
    n.target = ar_target(n.target);
    snprintf(im->at.at, sizeof im->at.at, "node %d (%.100s)", i, n.target);
    if (ar_get(n.json, "name")) TY_TRY(ar_string(&im->at, n.json, "name", &n.name));
    TY_TRY(ar_list(&im->at, n.json, "inputs", &n.inputs, &n.nin));
    TY_TRY(ar_list(&im->at, n.json, "outputs", &n.outputs, &n.nout));
    n.loc = location(im, n.json);
    ty_status st = one_node(im, s, &n, depth);
    if (st == TY_UNSUPPORTED) st = decline(im, s, &n);
    if (im->g->arena.failed || im->arena.failed || im->out->arena.failed) return ar_nomem(&im->at);
    if (st) return st;
  }
  *im->at.at = 0;
  return TY_OK;
}

/* ---- The whole ---- */
/* What was declined, in one text: each operator and reason once. */
static ty_status summary(ar_importer *im) {
  ty_str t = {0};
  int told = 0;
  for (int i = 0; i < im->declined.n && told < 20; i++) {
    const ty_imported_decline *d = &im->declined.p[i];
    int same = 0;
    for (int k = 0; k < im->declined.n && same >= 0; k++) {
      bool equal = !strcmp(d->op, im->declined.p[k].op) && !strcmp(d->reason, im->declined.p[k].reason);
      same = equal && k < i ? -1 : same + equal;
    }
    if (same < 0) continue; /* told already */
    ty_str_add(&t, "\n  %s: %s (%d node%s, first %s)", d->op, d->reason, same, same > 1 ? "s" : "", d->node);
    told++;
  }
  *im->at.at = 0;
  ty_status st = t.failed ? ar_nomem(&im->at) : ty_fail(im->ctx, TY_UNSUPPORTED, "%s: %s: %d nodes cannot be compiled:%s", im->at.file, im->at.member, im->declined.n, t.p ? t.p : "");
  ty_str_free(&t);
  return st;
}

static ty_status whole(ar_importer *im, const ty_archive_options *options) {
  ar_scope s = {0};
  ty_status st = ar_object(&im->at, im->a->program, "graph", &s.graph);
  if (!st) st = ar_inputs(im, &s, options);
  if (!st) st = nodes(im, &s, 0);
  if (!st) st = ar_outputs(im, &s);
  if (!st) st = ar_guards(im);
  ar_map_free(&s.names);
  if (!st && (im->g->arena.failed || im->out->arena.failed)) st = ar_nomem(&im->at);
  return st;
}

static ty_status import_from(ty_ctx *ctx, const ty_archive *a, const ty_archive_options *options, int64_t least, bool *lowered, ty_imported **out) {
  static const ty_archive_options none;
  ar_importer im = {.ctx = ctx, .a = a, .at = {.ctx = ctx, .file = a->file, .member = a->member}, .least = least};
  *out = NULL;
  ty_ctx_clear(ctx);
  if (!(im.out = ty_alloc(sizeof *im.out))) return ar_nomem(&im.at);
  im.g = im.syms.g = im.out->graph = ty_graph_create(ctx);
  im.syms.p = ty_arena_alloc(&im.arena, AR_MAX_SYMBOLS * sizeof *im.syms.p);
  ty_status st = im.g && im.syms.p ? whole(&im, options ? options : &none) : ar_nomem(&im.at);
  if (!st && im.declined.n) {
    ty_imported_decline *d = im.out->declined = ty_arena_alloc(&im.out->arena, (size_t)im.declined.n * sizeof *d);
    im.out->ndeclined = im.declined.n;
    if (d) memcpy(d, im.declined.p, (size_t)im.declined.n * sizeof *d);
    st = d ? summary(&im) : ar_nomem(&im.at);
    if (st == TY_UNSUPPORTED) *out = im.out;
  } else if (!st) *out = im.out;
  ar_map_free(&im.members);
  TY_VEC_FREE(&im.declined);
  TY_VEC_FREE(&im.values);
  ty_arena_free(&im.arena);
  if (!*out) ty_imported_destroy(im.out);
  *lowered = im.lowered;
  return st;
}

/* A minimum of 2 says that export tried neither 0 nor 1, and PyTorch lets both through at a call. So the program is read without
 * such minima; where its shapes do not hold then (those of x[:, :1] need one element), with the least under which they do. */
ty_status ty_archive_import(ty_ctx *ctx, const ty_archive *a, const ty_archive_options *options, ty_imported **out) {
  for (int64_t least = 0;; least++) {
    bool lowered = false;
    ty_status st = import_from(ctx, a, options, least, &lowered, out);
    if (st != TY_UNSUPPORTED || !lowered) return st;
    ty_imported_destroy(*out);
    *out = NULL;
  }
}

void ty_imported_destroy(ty_imported *i) {
  if (!i) return;
  ty_graph_destroy(i->graph);
  ty_arena_free(&i->arena);
  ty_free(i);
}
