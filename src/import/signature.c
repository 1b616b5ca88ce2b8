/* signature.c: the program's inputs, outputs and symbols: what the caller hands in, what stands in the archive, what comes back. */
#include <stdio.h>
#include <string.h>

#include "archive_int.h"

/* ---- Symbols ---- */
bool ar_solve(ty_graph *g, ty_dim d, int *sym, int64_t *coef, int64_t *rest) {
  for (int i = 0; i < ty_dim_nsyms(g); i++) {
    ty_dim s = ty_dim_of_sym(g, i), c, r;
    if (!ty_dim_depends(g, d, s)) continue;
    *sym = i;
    return ty_dim_linear(g, d, s, &c, &r) && ty_dim_is_const(g, c, coef) && ty_dim_is_const(g, r, rest) && *coef > 0;
  }
  return false;
}

/* {"s43": {"min_val": 1, "max_val": 64}}; keys may be expressions, which say nothing that their symbols do not. */
static ty_status ranges(ar_importer *im) {
  json_object *all = ar_get(im->a->root, "range_constraints");
  if (!all) return TY_OK;
  if (!json_object_is_type(all, json_type_object)) return ar_fail(&im->at, TY_INVALID, "\"range_constraints\" must be an object");
  json_object_iter it;
  json_object_object_foreachC(all, it) {
    int64_t lo = 0, hi = INT64_MAX;
    if (strspn(it.key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != strlen(it.key) || (*it.key >= '0' && *it.key <= '9')) continue;
    if (ar_get(it.val, "min_val")) TY_TRY(ar_int(&im->at, it.val, "min_val", &lo));
    if (ar_get(it.val, "max_val")) TY_TRY(ar_int(&im->at, it.val, "max_val", &hi));
    if (lo > hi) return ar_fail(&im->at, TY_INVALID, "range_constraints: %.60s is between %lld and %lld", it.key, (long long)lo, (long long)hi);
    if (im->syms.n == AR_MAX_SYMBOLS) return ar_fail(&im->at, TY_INVALID, "more than %d symbols", AR_MAX_SYMBOLS);
    im->syms.p[im->syms.n].name = it.key;
    if (lo < 0) lo = 0; /* sizes */
    if (lo <= 2 && lo > im->least) lo = im->least, im->lowered = true;
    im->syms.p[im->syms.n].lo = lo;
    im->syms.p[im->syms.n++].hi = hi;
  }
  return TY_OK;
}

static ty_status fix_dim(ar_importer *im, const ty_archive_fix *f, int d, ty_dim size) {
  ty_graph *g = im->g;
  int64_t v, coef, rest, want = f->sizes[d], most = f->most ? f->most[d] : want, lo, hi;
  int sym;
  if (want < 0) return TY_OK;
  if (ty_dim_is_const(g, size, &v)) {
    if (want == most && v == want) return TY_OK;
    if (want == most) return ty_fail(im->ctx, TY_INVALID, "input %s: size %d is fixed at %lld, not %lld", f->input, d, (long long)v, (long long)want);
    return ty_fail(im->ctx, TY_INVALID, "input %s: size %d is fixed at %lld in the archive: what is to stay open is exported with dynamic_shapes", f->input, d, (long long)v);
  }
  if (!ar_solve(g, size, &sym, &coef, &rest)) return ty_fail(im->ctx, TY_INVALID, "input %s: size %d cannot be fixed: it depends on several others", f->input, d);
  const char *name = ty_dim_sym(g, sym)->name;
  int i = 0;
  while (i < im->syms.n && strcmp(im->syms.p[i].name, name)) i++;
  if (i == im->syms.n || most < rest || (want == most && (want - rest) % coef))
    return ty_fail(im->ctx, TY_INVALID, "input %s: size %d cannot be %lld", f->input, d, (long long)want);
  lo = want <= rest ? 0 : (want - rest + coef - 1) / coef, hi = most == INT64_MAX ? INT64_MAX : (most - rest) / coef;
  if (want != most && hi > im->syms.p[i].hi && most == INT64_MAX) hi = im->syms.p[i].hi; /* no end asked for: the archive's */
  if (lo < im->syms.p[i].lo || hi > im->syms.p[i].hi || lo > hi) {
    char to[32] = "";
    if (want != most && most < INT64_MAX) snprintf(to, sizeof to, " to %lld", (long long)most);
    return ty_fail(im->ctx, TY_INVALID, "input %s: size %d is %lld%s, outside of what the archive allows (%s from %lld to %lld)", f->input, d, (long long)want, to, name,
                   (long long)im->syms.p[i].lo, (long long)im->syms.p[i].hi);
  }
  if (want != most) {
    im->syms.p[i].lo = lo, im->syms.p[i].hi = hi;
    return TY_OK;
  }
  if (im->syms.is_fixed[i] && im->syms.p[i].fixed != lo) return ty_fail(im->ctx, TY_INVALID, "input %s: size %d is %lld, but another input says otherwise", f->input, d, (long long)want);
  im->syms.is_fixed[i] = true;
  im->syms.p[i].fixed = lo;
  return TY_OK;
}

/* Sizes that the caller fixes: solved for their symbols in a graph that is thrown away. */
static ty_status fixes(ar_importer *im, const ar_scope *s, const ty_archive_options *o) {
  ty_graph *kept = im->g;
  ty_status st = TY_OK;
  if (!o->nfixes) return TY_OK;
  if (!(im->g = im->syms.g = ty_graph_create(im->ctx))) st = ar_nomem(&im->at);
  for (int k = 0; k < o->nfixes && !st; k++) {
    const ty_archive_fix *f = &o->fixes[k];
    const ar_input *in = NULL;
    ar_meta m;
    for (int i = 0; i < im->ninputs; i++)
      if (im->inputs[i].kind == TY_IMPORTED_USER && im->inputs[i].is_tensor && !strcmp(im->inputs[i].fqn, f->input)) in = &im->inputs[i];
    if (!in) st = ty_fail(im->ctx, TY_INVALID, "there is no input %.100s", f->input);
    else st = ar_meta_read(im, s, in->name, &m);
    if (!st && m.rank != f->rank) st = ty_fail(im->ctx, TY_INVALID, "input %.100s has %d dimensions, not %d", f->input, m.rank, f->rank);
    for (int d = 0; d < f->rank && !st; d++) st = fix_dim(im, f, d, m.sizes[d]);
  }
  ty_graph_destroy(im->g == kept ? NULL : im->g);
  im->g = im->syms.g = kept;
  return st;
}

/* ---- Inputs ---- */
static ty_status user(ar_importer *im, ar_input *in, json_object *arg) {
  const char *key;
  json_object *v;
  in->kind = TY_IMPORTED_USER;
  TY_TRY(ar_union(&im->at, arg, "arg", &key, &v));
  in->is_tensor = !strcmp(key, "as_tensor");
  if (in->is_tensor) return ar_string(&im->at, v, "name", &in->name);
  if (!strncmp(key, "as_sym_", 7) && ar_get(v, "as_name")) {
    if (strcmp(key, "as_sym_int")) return ar_fail(&im->at, TY_UNSUPPORTED, "a number that is handed in at each call");
    return ar_string(&im->at, v, "as_name", &in->name);
  }
  return ar_literal(im, key, v, &in->literal);
}

static ty_status stored(ar_importer *im, ar_input *in, json_object *spec, const char *key, bool constant) {
  json_object *arg;
  const ar_table *first = constant ? &im->a->constants : &im->a->weights, *second = constant ? &im->a->weights : &im->a->constants;
  in->is_tensor = true;
  TY_TRY(ar_object(&im->at, spec, "arg", &arg));
  TY_TRY(ar_string(&im->at, arg, "name", &in->name));
  TY_TRY(ar_string(&im->at, spec, key, &in->fqn));
  int i = ar_map_get(&first->by_name, in->fqn), k = i < 0 ? ar_map_get(&second->by_name, in->fqn) : -1;
  if (i < 0 && k < 0) return ar_fail(&im->at, TY_INVALID, "the archive has no tensor \"%.200s\"", in->fqn);
  in->payload = i >= 0 ? &first->p[i] : &second->p[k];
  return TY_OK;
}

static ty_status input_spec(ar_importer *im, ar_input *in, json_object *spec) {
  const char *key;
  json_object *v;
  bool persistent = true;
  in->value = -1;
  TY_TRY(ar_union(&im->at, spec, "input spec", &key, &v));
  if (!strcmp(key, "user_input")) return user(im, in, ar_get(v, "arg"));
  if (!strcmp(key, "constant_input")) return user(im, in, ar_get(v, "value"));
  if (!strcmp(key, "parameter")) return in->kind = TY_IMPORTED_PARAM, stored(im, in, v, "parameter_name", false);
  if (!strcmp(key, "tensor_constant")) return in->kind = TY_IMPORTED_CONSTANT, stored(im, in, v, "tensor_constant_name", true);
  if (!strcmp(key, "buffer")) {
    if (ar_get(v, "persistent")) TY_TRY(ar_bool(&im->at, v, "persistent", &persistent));
    return in->kind = TY_IMPORTED_BUFFER, stored(im, in, v, "buffer_name", !persistent);
  }
  return ar_fail(&im->at, TY_UNSUPPORTED, "an input of the kind \"%.40s\"", key);
}

/* The call's leaves: their names come from the tree of arguments. */
static ty_status name_users(ar_importer *im) {
  json_object *calls, *signature, *names, *none = NULL;
  const char *text;
  int n, nusers = 0, k = 0;
  ar_leaves leaves = {0};
  for (int i = 0; i < im->ninputs; i++) nusers += im->inputs[i].kind == TY_IMPORTED_USER;
  TY_TRY(ar_list(&im->at, im->a->program, "module_call_graph", &calls, &n));
  signature = ar_get(json_object_array_get_idx(calls, 0), "signature");
  if (n && signature) {
    TY_TRY(ar_text_of(&im->at, ar_get(signature, "in_spec"), "in_spec", 1 << 24, &text));
    if (!(names = ar_get(signature, "forward_arg_names")) && !(names = none = json_object_new_array())) return ar_nomem(&im->at);
    snprintf(im->at.at, sizeof im->at.at, "in_spec");
    ty_status st = json_object_is_type(names, json_type_array) ? ar_tree_leaves(&im->at, &im->out->arena, text, names, &leaves)
                                                               : ar_fail(&im->at, TY_INVALID, "\"forward_arg_names\" must be a list");
    json_object_put(none);
    if (st) return st;
    if (leaves.n != nusers) return ar_fail(&im->at, TY_INVALID, "%d leaves where input_specs has %d user inputs", leaves.n, nusers);
  }
  for (int i = 0; i < im->ninputs; i++) {
    ar_input *in = &im->inputs[i];
    if (in->kind == TY_IMPORTED_USER) in->fqn = leaves.n ? leaves.names[k++] : in->name ? in->name : "";
  }
  return TY_OK;
}

/* Tied: the same memory, seen in the same way. */
static bool same_tensor(const ar_payload *a, const ar_payload *b) {
  size_t n = (size_t)a->rank * sizeof *a->sizes;
  return !a->refused && !b->refused && a->bytes && a->data == b->data && a->bytes == b->bytes && a->dtype == b->dtype && a->rank == b->rank &&
         !memcmp(a->sizes, b->sizes, n) && !memcmp(a->strides, b->strides, n);
}

/* Values of the inputs; tensors of the user's enter the graph now, those of the archive when they are used. */
static ty_status define_input(ar_importer *im, ar_scope *s, int i) {
  ar_input *in = &im->inputs[i];
  if (!in->name) return TY_OK;
  int k = in->payload ? ar_map_get(&im->members, in->payload->path) : -1;
  if (k >= 0 && same_tensor(in->payload, im->inputs[k].payload)) {
    in->value = im->inputs[k].value;
    return ar_define(im, s, in->name, in->value);
  }
  if (in->payload && !ar_map_put(&im->members, in->payload->path, i)) return ar_nomem(&im->at);
  int v = in->value = ar_value_new(im, in->name);
  TY_TRY(ar_define(im, s, in->name, v));
  if (!in->is_tensor) {
    ty_arg number;
    TY_TRY(ar_number_read(im, s, "sym_int_values", in->name, &number));
    in->literal = im->values.p[v].number = number;
    im->values.p[v].is_number = true;
    return TY_OK;
  }
  ar_meta m;
  im->values.p[v].input = i;
  if (in->payload && in->payload->refused) return TY_OK; /* whoever uses it says so */
  TY_TRY(ar_meta_read(im, s, in->name, &m));
  im->values.p[v].meta = m;
  const ar_payload *p = in->payload;
  if (!p) {
    in->v = im->values.p[v].v = ty_graph_input(im->g, TY_ROLE_INPUT, m.dtype, m.rank, m.sizes, NULL, in->fqn);
    return in->v ? TY_OK : ar_nomem(&im->at);
  }
  bool same = p->dtype == m.dtype && p->rank == m.rank;
  for (int d = 0; d < m.rank && same; d++) same = ty_dim_is(im->g, m.sizes[d], p->sizes[d]);
  return same ? TY_OK : ar_fail(&im->at, TY_INVALID, "\"%.200s\" has another dtype or shape in the table of weights", in->fqn);
}

ty_status ar_inputs(ar_importer *im, ar_scope *s, const ty_archive_options *o) {
  json_object *signature, *specs, *args;
  int n, nargs;
  TY_TRY(ranges(im));
  TY_TRY(ar_object(&im->at, im->a->program, "signature", &signature));
  TY_TRY(ar_list(&im->at, signature, "input_specs", &specs, &n));
  TY_TRY(ar_list(&im->at, s->graph, "inputs", &args, &nargs));
  if (n != nargs) return ar_fail(&im->at, TY_INVALID, "%d input_specs for a graph of %d inputs", n, nargs);
  if (!(im->inputs = ty_arena_alloc(&im->arena, (size_t)n * sizeof *im->inputs))) return ar_nomem(&im->at);
  im->ninputs = n;
  for (int i = 0; i < n; i++) {
    const char *name = NULL;
    snprintf(im->at.at, sizeof im->at.at, "input %d", i);
    TY_TRY(input_spec(im, &im->inputs[i], json_object_array_get_idx(specs, (size_t)i)));
    json_object *t = ar_get(json_object_array_get_idx(args, (size_t)i), "as_tensor");
    if (t) TY_TRY(ar_string(&im->at, t, "name", &name));
    if (im->inputs[i].is_tensor && (!name || strcmp(name, im->inputs[i].name)))
      return ar_fail(&im->at, TY_INVALID, "the graph names it \"%.80s\", the signature \"%.80s\"", name ? name : "", im->inputs[i].name);
  }
  TY_TRY(name_users(im));
  *im->at.at = 0;
  TY_TRY(fixes(im, s, o));
  for (int pass = 0; pass < 2; pass++) /* users first: their sizes make the symbols */
    for (int i = 0; i < n; i++) {
      if ((im->inputs[i].kind == TY_IMPORTED_USER) == pass) continue;
      snprintf(im->at.at, sizeof im->at.at, "input %d (%.200s)", i, im->inputs[i].fqn);
      TY_TRY(define_input(im, s, i));
    }
  *im->at.at = 0;
  return TY_OK;
}

/* ---- Outputs ---- */
static ty_status graph_output(ar_importer *im, ty_value *v, int *index) {
  *index = im->g->outputs.n;
  return ty_graph_output(im->g, v);
}

static ty_status read_named(ar_importer *im, const ar_scope *s, json_object *arg, ty_value **out) {
  const char *name;
  TY_TRY(ar_string(&im->at, arg, "name", &name));
  int v = ar_map_get(&s->names, name);
  if (v < 0 || im->values.p[v].is_number) return ar_fail(&im->at, TY_INVALID, "\"%.100s\" is no tensor that a node or input defines", name);
  if (im->values.p[v].lost) return ar_fail(&im->at, TY_UNSUPPORTED, "it needs \"%.100s\", which was declined", name);
  return ar_read(im, v, out);
}

static ty_status user_output(ar_importer *im, const ar_scope *s, json_object *arg, ty_imported_output *o) {
  const char *key, *name;
  json_object *v;
  ty_value *value;
  o->output = -1;
  TY_TRY(ar_union(&im->at, arg, "arg", &key, &v));
  if (!strcmp(key, "as_tensor")) {
    TY_TRY(read_named(im, s, v, &value));
    return graph_output(im, value, &o->output);
  }
  if (strncmp(key, "as_sym_", 7)) return ar_literal(im, key, v, &o->literal);
  if (!ar_get(v, "as_name")) {
    TY_TRY(ar_union(&im->at, v, key, &key, &v));
    return ar_literal(im, key, v, &o->literal);
  }
  TY_TRY(ar_string(&im->at, v, "as_name", &name));
  int k = ar_map_get(&s->names, name);
  if (k < 0 || !im->values.p[k].is_number) return ar_fail(&im->at, TY_INVALID, "\"%.100s\" is no number that a node or input defines", name);
  if (im->values.p[k].lost) return ar_fail(&im->at, TY_UNSUPPORTED, "it needs \"%.100s\", which was declined", name);
  o->literal = im->values.p[k].number;
  return TY_OK;
}

static ty_status mutation(ar_importer *im, const ar_scope *s, json_object *spec, const char *key) {
  const char *fqn;
  json_object *arg;
  bool of_user = !strcmp(key, "user_input_name");
  TY_TRY(ar_object(&im->at, spec, "arg", &arg));
  TY_TRY(ar_string(&im->at, spec, key, &fqn));
  for (int i = 0; i < im->ninputs; i++) {
    ar_input *in = &im->inputs[i];
    if ((in->kind == TY_IMPORTED_USER) != of_user || !in->is_tensor || strcmp(of_user ? in->name : in->fqn, fqn)) continue;
    if (in->value >= 0 && im->values.p[in->value].input >= 0) in = &im->inputs[im->values.p[in->value].input]; /* of tied ones, the first */
    TY_TRY(read_named(im, s, arg, &in->update));
    const ar_meta *m = &im->values.p[in->value].meta;
    bool same = in->update->dtype == m->dtype && in->update->rank == m->rank;
    for (int d = 0; d < m->rank && same; d++) same = ty_dim_known_eq(im->g, m->sizes[d], in->update->shape[d]);
    return same ? TY_OK : ar_fail(&im->at, TY_INVALID, "\"%.100s\" would change its dtype or shape", fqn);
  }
  return ar_fail(&im->at, TY_INVALID, "there is no input \"%.100s\" to change", fqn);
}

static ty_status name_outputs(ar_importer *im) {
  json_object *signature = ar_get(json_object_array_get_idx(ar_get(im->a->program, "module_call_graph"), 0), "signature");
  ar_leaves leaves = {0};
  const char *text;
  if (signature) {
    TY_TRY(ar_text_of(&im->at, ar_get(signature, "out_spec"), "out_spec", 1 << 24, &text));
    snprintf(im->at.at, sizeof im->at.at, "out_spec");
    TY_TRY(ar_tree_leaves(&im->at, &im->out->arena, text, NULL, &leaves));
    if (leaves.n != im->out->noutputs) return ar_fail(&im->at, TY_INVALID, "%d leaves where output_specs has %d user outputs", leaves.n, im->out->noutputs);
  }
  for (int i = 0; i < im->out->noutputs; i++) {
    im->out->outputs[i].name = signature ? leaves.names[i] : ty_arena_printf(&im->out->arena, "out.%d", i);
    if (!im->out->outputs[i].name) return ar_nomem(&im->at);
  }
  return TY_OK;
}

enum { LITERAL_BYTES = 1 << 16 };

/* Small tensors that never change become part of the program, so that what follows from them is computed once. */
static ty_status literals(ar_importer *im) {
  ty_graph *g = im->g;
  int n = 0;
  for (int i = 0; i < im->ninputs; i++) {
    ar_input *in = &im->inputs[i];
    const ar_payload *p = in->payload;
    bool dense = p && in->v && !in->v->strides;
    if (!dense || in->kind == TY_IMPORTED_PARAM || in->update || p->bytes > LITERAL_BYTES) continue;
    void *data = ty_arena_alloc(&g->arena, p->bytes);
    if (!data) return ar_nomem(&im->at);
    memcpy(data, p->data, p->bytes);
    in->v->data = data;
    in->v->role = TY_ROLE_LITERAL;
  }
  for (int i = 0; i < g->inputs.n; i++)
    if (g->inputs.p[i]->role != TY_ROLE_LITERAL) g->inputs.p[i]->index = n, g->inputs.p[n++] = g->inputs.p[i];
  g->inputs.n = n;
  return TY_OK;
}

static ty_status tell_inputs(ar_importer *im) {
  ty_imported *out = im->out;
  if (!(out->inputs = ty_arena_alloc(&out->arena, (size_t)im->ninputs * sizeof *out->inputs))) return ar_nomem(&im->at);
  for (int pass = 0; pass < 2; pass++)
    for (int i = 0; i < im->ninputs; i++) {
      ar_input *in = &im->inputs[i];
      bool is_user = in->kind == TY_IMPORTED_USER, in_graph = in->v && in->v->role != TY_ROLE_LITERAL;
      if (is_user == pass || (!is_user && !in_graph)) continue;
      ty_imported_input *t = &out->inputs[out->ninputs++];
      *t = (ty_imported_input){.kind = in->kind, .name = ty_arena_strdup(&out->arena, in->fqn), .input = in_graph ? in->v->index : -1, .literal = in->literal, .update = -1};
      if (!t->name) return ar_nomem(&im->at);
      if (in->payload) t->data = in->payload->data, t->bytes = in->payload->bytes;
      if (!in->update) continue;
      if (in->v->strides) return ar_fail(&im->at, TY_UNSUPPORTED, "%.200s changes in place, and is not contiguous", in->fqn);
      if (!is_user) in->v->role = TY_ROLE_INPUT;
      TY_TRY(graph_output(im, in->update, &t->update));
    }
  for (int i = 0; i < out->ninputs; i++) out->nusers += out->inputs[i].kind == TY_IMPORTED_USER;
  return TY_OK;
}

/* Each symbol must follow from what a call hands in. */
static ty_status sources(ar_importer *im) {
  ty_imported *out = im->out;
  int64_t coef, rest;
  int sym;
  out->nsyms = ty_dim_nsyms(im->g);
  if (!(out->sources = ty_arena_alloc(&out->arena, (size_t)out->nsyms * sizeof *out->sources))) return ar_nomem(&im->at);
  for (int i = 0; i < out->nusers; i++) {
    const ty_value *v = out->inputs[i].input < 0 ? NULL : im->g->inputs.p[out->inputs[i].input];
    bool is_int = !v && out->inputs[i].literal.kind == TY_ARG_INT;
    for (int d = is_int ? -1 : 0; d < (v ? v->rank : 0); d++)
      if (ar_solve(im->g, v ? v->shape[d] : out->inputs[i].literal.i, &sym, &coef, &rest) && !out->sources[sym].coef)
        out->sources[sym] = (ty_imported_source){i, d, coef, rest};
  }
  for (int i = 0; i < out->nsyms && !im->declined.n; i++)
    if (!out->sources[i].coef) return ar_fail(&im->at, TY_UNSUPPORTED, "the size %s follows from no input's size", ty_dim_sym(im->g, i)->name);
  return TY_OK;
}

ty_status ar_outputs(ar_importer *im, ar_scope *s) {
  json_object *signature, *specs;
  int n;
  TY_TRY(ar_object(&im->at, im->a->program, "signature", &signature));
  TY_TRY(ar_list(&im->at, signature, "output_specs", &specs, &n));
  ty_imported *out = im->out;
  if (!(out->outputs = ty_arena_alloc(&out->arena, (size_t)n * sizeof *out->outputs))) return ar_nomem(&im->at);
  for (int i = 0; i < im->ninputs; i++) { /* what was written in place */
    ar_input *in = &im->inputs[i];
    const ar_value *x = in->value < 0 ? NULL : &im->values.p[in->value];
    if (x && x->input == i && x->version) in->update = x->v;
  }
  for (int i = 0; i < n; i++) {
    const char *key;
    json_object *v;
    snprintf(im->at.at, sizeof im->at.at, "output %d", i);
    TY_TRY(ar_union(&im->at, json_object_array_get_idx(specs, (size_t)i), "output spec", &key, &v));
    ty_status st = TY_OK;
    if (!strcmp(key, "user_output")) st = user_output(im, s, ar_get(v, "arg"), &out->outputs[out->noutputs++]);
    else if (!strcmp(key, "buffer_mutation")) st = mutation(im, s, v, "buffer_name");
    else if (!strcmp(key, "parameter_mutation")) st = mutation(im, s, v, "parameter_name");
    else if (!strcmp(key, "user_input_mutation")) st = mutation(im, s, v, "user_input_name");
    else st = ar_fail(&im->at, TY_UNSUPPORTED, "an output of the kind \"%.40s\"", key);
    if (st == TY_UNSUPPORTED && im->declined.n) continue; /* a consequence */
    if (st) return st;
  }
  TY_TRY(name_outputs(im));
  *im->at.at = 0;
  for (int i = 0; i < im->ninputs; i++) /* changed, though nothing reads it */
    if (im->inputs[i].update && !im->inputs[i].v) {
      ty_value *v;
      TY_TRY(ar_read(im, im->inputs[i].value, &v));
    }
  TY_TRY(literals(im));
  TY_TRY(tell_inputs(im));
  return sources(im);
}

/* ---- At a call ---- */
ty_status ty_imported_bind(ty_ctx *ctx, const ty_imported *m, const ty_graph *g, const int64_t *const *sizes, const int64_t *ints, int64_t *syms) {
  static const char *const rel[] = {"==", "!=", "<", "<="};
  for (int i = 0; i < m->nsyms; i++) {
    const ty_imported_source *s = &m->sources[i];
    const ty_sym *sym = ty_dim_sym(g, i);
    int64_t v;
    bool fits = !__builtin_sub_overflow(s->dim < 0 ? ints[s->user] : sizes[s->user][s->dim], s->rest, &v);
    syms[i] = v / s->coef; /* what does not divide is found below */
    if (!fits || syms[i] < sym->lo || syms[i] > sym->hi)
      return ty_fail(ctx, TY_INVALID, "input %s: size %s is %lld, outside of [%lld, %lld]", m->inputs[s->user].name, sym->name, (long long)syms[i], (long long)sym->lo, (long long)sym->hi);
  }
  for (int i = 0; i < m->nusers; i++) {
    const ty_imported_input *in = &m->inputs[i];
    if (in->input < 0) {
      if (in->literal.kind != TY_ARG_INT || ty_dim_is_const(g, in->literal.i, NULL)) continue;
      int64_t want = ty_dim_eval(g, in->literal.i, syms);
      if (ints[i] != want) return ty_fail(ctx, TY_INVALID, "input %s is %lld, %lld is expected", in->name, (long long)ints[i], (long long)want);
      continue;
    }
    const ty_value *v = g->inputs.p[in->input];
    for (int d = 0; d < v->rank; d++) {
      int64_t want = ty_dim_eval(g, v->shape[d], syms);
      if (sizes[i][d] != want) return ty_fail(ctx, TY_INVALID, "input %s: size %d is %lld, %lld is expected", in->name, d, (long long)sizes[i][d], (long long)want);
    }
  }
  for (int i = 0; i < m->nguards; i++) {
    const ty_imported_guard *q = &m->guards[i];
    int64_t a = ty_dim_eval(g, q->a, syms), b = ty_dim_eval(g, q->b, syms);
    bool holds = q->rel == TY_GUARD_EQ ? a == b : q->rel == TY_GUARD_NE ? a != b : q->rel == TY_GUARD_LT ? a < b : a <= b;
    if (!holds) return ty_fail(ctx, TY_INVALID, "the program requires %s; it is %lld %s %lld", q->text, (long long)a, rel[q->rel], (long long)b);
  }
  return TY_OK;
}
