/* tree.c: names for the leaves of nested inputs and outputs, from the pytree specs of the archive: "mask", "out.logits", "xs.0". */
#include "archive_int.h"

#include <stdio.h>
#include <string.h>

typedef struct walker { const ar_place *at; ty_arena *arena; TY_VEC(const char *) names; ar_map seen; } walker;

/* Names go into file names and C headers: letters, digits, _ and - only. */
static void append(char *out, size_t size, const char *parent, const char *key) {
  snprintf(out, size, "%s%s%.200s", parent, *parent ? "." : "", *key ? key : "_");
  for (char *p = out + strlen(parent) + (*parent != 0); *p; p++)
    if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '-')) *p = '_';
}

static ty_status leaf(walker *w, const char *path) {
  char name[AR_MAX_NAME + 40];
  snprintf(name, sizeof name, "%s", path);
  for (int i = 2; ar_map_get(&w->seen, name) >= 0; i++) snprintf(name, sizeof name, "%s_%d", path, i);
  char *s = ty_arena_strdup(w->arena, name);
  if (w->names.n >= AR_MAX_LEAVES) return ar_fail(w->at, TY_INVALID, "more than %d leaves", AR_MAX_LEAVES);
  return s && TY_PUSH(&w->names, s) && ar_map_put(&w->seen, s, 1) ? TY_OK : ar_nomem(w->at);
}

/* The keys of a dict's children: its context, which is JSON text again; else NULL, and they are numbered. */
static json_object *keys_of(json_object *node, int n) {
  json_object *context = ar_get(node, "context");
  if (!json_object_is_type(context, json_type_string) || json_object_get_string_len(context) > AR_MAX_EXPR) return NULL;
  json_tokener *t = json_tokener_new_ex(8);
  json_object *keys = t ? json_tokener_parse_ex(t, json_object_get_string(context), json_object_get_string_len(context)) : NULL;
  if (t) json_tokener_free(t);
  bool good = keys && json_object_is_type(keys, json_type_array) && (int)json_object_array_length(keys) == n;
  for (int i = 0; good && i < n; i++) {
    json_object *k = json_object_array_get_idx(keys, (size_t)i);
    good = json_object_is_type(k, json_type_string) || json_object_is_type(k, json_type_int);
  }
  if (good) return keys;
  json_object_put(keys);
  return NULL;
}

static ty_status walk(walker *w, json_object *node, const char *path, json_object *names, int depth) {
  char child[AR_MAX_NAME + 1], number[16];
  json_object *kids;
  int n;
  if (depth > AR_MAX_EXPR_DEPTH || strlen(path) > AR_MAX_NAME - 220) return ar_fail(w->at, TY_INVALID, "nested too deeply");
  TY_TRY(ar_list(w->at, node, "children_spec", &kids, &n));
  if (!ar_get(node, "type")) return n ? ar_fail(w->at, TY_INVALID, "a leaf with children") : leaf(w, path);
  json_object *own = names ? NULL : keys_of(node, n), *keys = names ? names : own;
  int nkeys = keys ? (int)json_object_array_length(keys) : 0;
  ty_status st = TY_OK;
  for (int i = 0; i < n && !st; i++) {
    json_object *k = i < nkeys ? json_object_array_get_idx(keys, (size_t)i) : NULL;
    snprintf(number, sizeof number, "%d", i);
    append(child, sizeof child, path, k && (own || json_object_is_type(k, json_type_string)) ? json_object_get_string(k) : number);
    st = walk(w, json_object_array_get_idx(kids, (size_t)i), child, NULL, depth + 1);
  }
  json_object_put(own);
  return st;
}

/* in_spec is (args, kwargs): the first take the forward's argument names, the second their keys. */
static ty_status root(walker *w, json_object *spec, json_object *names) {
  if (!json_object_is_type(spec, json_type_array) || json_object_array_length(spec) != 2) return ar_fail(w->at, TY_INVALID, "[1, {..}] is expected");
  json_object *top = json_object_array_get_idx(spec, 1), *kids;
  int n;
  if (!names) return walk(w, top, "out", NULL, 0);
  TY_TRY(ar_list(w->at, top, "children_spec", &kids, &n));
  if (n != 2) return ar_fail(w->at, TY_INVALID, "%d children where (args, kwargs) is expected", n);
  TY_TRY(walk(w, json_object_array_get_idx(kids, 0), "", names, 1));
  return walk(w, json_object_array_get_idx(kids, 1), "", NULL, 1);
}

ty_status ar_tree_leaves(const ar_place *at, ty_arena *arena, const char *text, json_object *names, ar_leaves *out) {
  json_object *spec;
  walker w = {.at = at, .arena = arena};
  TY_TRY(ar_json_parse(at, text, strlen(text), &spec));
  ty_status st = root(&w, spec, names);
  json_object_put(spec);
  if (!st && !(out->names = ty_arena_alloc(arena, (size_t)w.names.n * sizeof *out->names))) st = ar_nomem(at);
  if (!st && w.names.n) memcpy(out->names, w.names.p, (size_t)w.names.n * sizeof *out->names);
  out->n = w.names.n;
  TY_VEC_FREE(&w.names);
  ar_map_free(&w.seen);
  return st;
}
