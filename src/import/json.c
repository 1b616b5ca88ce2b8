/* json.c: JSON that may be hostile: bounded before it is parsed, and read through getters that say where and what was expected. */
#include "archive_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

ty_status ar_fail(const ar_place *at, ty_status st, const char *fmt, ...) {
  char why[1200];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(why, sizeof why, fmt, ap);
  va_end(ap);
  return ty_fail(at->ctx, st, "%s: %s%s%s%s%s", at->file, at->member ? at->member : "", at->member ? ": " : "", at->at, *at->at ? ": " : "", why);
}

ty_status ar_nomem(const ar_place *at) { return ty_fail(at->ctx, TY_NOMEM, "out of memory"); }

ty_status ar_json_parse(const ar_place *at, const char *text, size_t n, json_object **out) {
  /* each container costs some hundred bytes once parsed, and takes three in the text */
  size_t containers = 0;
  for (size_t i = 0; i < n; i++) containers += text[i] == '{' || text[i] == '[';
  if (n > AR_MAX_JSON || containers > AR_MAX_JSON_CONTAINERS) return ar_fail(at, TY_INVALID, "JSON of %zu bytes with %zu lists and objects is too large", n, containers);
  json_tokener *t = json_tokener_new_ex(AR_MAX_JSON_DEPTH);
  if (!t) return ar_nomem(at);
  json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
  json_object *o = json_tokener_parse_ex(t, text, (int)n);
  enum json_tokener_error e = json_tokener_get_error(t);
  size_t end = json_tokener_get_parse_end(t);
  json_tokener_free(t);
  if (e == json_tokener_success && json_object_is_type(o, json_type_object)) return *out = o, TY_OK;
  bool list = e == json_tokener_success && json_object_is_type(o, json_type_array);
  if (list) return *out = o, TY_OK;
  json_object_put(o);
  const char *why = e == json_tokener_success ? "an object is expected" : e == json_tokener_continue ? "it ends too early" : json_tokener_error_desc(e);
  return ar_fail(at, TY_INVALID, "not the JSON of an archive, at byte %zu: %s", end, why);
}

json_object *ar_get(json_object *o, const char *key) {
  json_object *v = NULL;
  return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static ty_status expected(const ar_place *at, const char *key, json_object *got, const char *what) {
  return ar_fail(at, TY_INVALID, "\"%.80s\" must be %s, got %s", key, what, got ? json_type_to_name(json_object_get_type(got)) : "nothing");
}

ty_status ar_object(const ar_place *at, json_object *o, const char *key, json_object **out) {
  *out = ar_get(o, key);
  return json_object_is_type(*out, json_type_object) && *out ? TY_OK : expected(at, key, *out, "an object");
}

ty_status ar_list(const ar_place *at, json_object *o, const char *key, json_object **out, int *n) {
  *out = ar_get(o, key);
  if (!*out || !json_object_is_type(*out, json_type_array)) return expected(at, key, *out, "a list");
  size_t len = json_object_array_length(*out);
  if (len > AR_MAX_NODES) return ar_fail(at, TY_INVALID, "\"%.80s\" has %zu entries", key, len);
  *n = (int)len;
  return TY_OK;
}

ty_status ar_text_of(const ar_place *at, json_object *v, const char *what, size_t max, const char **out) {
  if (!v || !json_object_is_type(v, json_type_string)) return expected(at, what, v, "a string");
  size_t n = (size_t)json_object_get_string_len(v);
  *out = json_object_get_string(v);
  if (n > max || strlen(*out) != n) return ar_fail(at, TY_INVALID, "\"%.80s\" is a string of %zu bytes; at most %zu without NUL are expected", what, n, max);
  return TY_OK;
}

ty_status ar_string(const ar_place *at, json_object *o, const char *key, const char **out) { return ar_text_of(at, ar_get(o, key), key, AR_MAX_NAME, out); }

ty_status ar_int_of(const ar_place *at, json_object *v, const char *what, int64_t *out) {
  if (!v || !json_object_is_type(v, json_type_int)) return expected(at, what, v, "an int");
  *out = json_object_get_int64(v);
  if (*out == INT64_MAX && json_object_get_uint64(v) != INT64_MAX) return ar_fail(at, TY_INVALID, "\"%.80s\" does not fit 64 bits", what);
  return TY_OK;
}

ty_status ar_int(const ar_place *at, json_object *o, const char *key, int64_t *out) { return ar_int_of(at, ar_get(o, key), key, out); }

ty_status ar_bool(const ar_place *at, json_object *o, const char *key, bool *out) {
  json_object *v = ar_get(o, key);
  if (!v || !json_object_is_type(v, json_type_boolean)) return expected(at, key, v, "true or false");
  *out = json_object_get_boolean(v);
  return TY_OK;
}

ty_status ar_float_of(const ar_place *at, json_object *v, const char *what, double *out) {
  if (v && (json_object_is_type(v, json_type_double) || json_object_is_type(v, json_type_int))) return *out = json_object_get_double(v), TY_OK;
  const char *s = v && json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
  if (!strcmp(s, "Infinity")) *out = INFINITY;
  else if (!strcmp(s, "-Infinity")) *out = -INFINITY;
  else if (!strcmp(s, "NaN")) *out = NAN;
  else return expected(at, what, v, "a number");
  return TY_OK;
}

ty_status ar_union(const ar_place *at, json_object *o, const char *what, const char **key, json_object **value) {
  if (!o || !json_object_is_type(o, json_type_object)) return expected(at, what, o, "an object with one key");
  if (json_object_object_length(o) != 1) return ar_fail(at, TY_INVALID, "\"%.80s\" must have exactly one key, it has %d", what, json_object_object_length(o));
  json_object_iter it;
  json_object_object_foreachC(o, it) *key = it.key, *value = it.val;
  return TY_OK;
}

bool ar_dtype(int64_t code, ty_dtype *out, const char **name) {
  static const struct { int code; int dtype; const char *name; } known[] = {
    {1, TY_u8, "uint8"}, {2, TY_i8, "int8"}, {3, TY_i16, "int16"}, {4, TY_i32, "int32"}, {5, TY_i64, "int64"}, {6, TY_f16, "float16"},
    {7, TY_f32, "float32"}, {8, TY_f64, "float64"}, {9, -1, "complex32"}, {10, -1, "complex64"}, {11, -1, "complex128"}, {12, TY_bool, "bool"},
    {13, TY_bf16, "bfloat16"}, {28, -1, "uint16"}, {29, -1, "float8_e4m3fn"}, {30, -1, "float8_e5m2"}, {31, -1, "float8_e4m3fnuz"},
    {32, -1, "float8_e5m2fnuz"}, {33, -1, "float8_e8m0fnu"}, {34, -1, "uint32"}, {35, -1, "uint64"},
  };
  *name = NULL;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (known[i].code == code) {
      *name = known[i].name;
      if (known[i].dtype >= 0) *out = (ty_dtype)known[i].dtype;
      return known[i].dtype >= 0;
    }
  return false;
}

/* ---- Names ---- */
static uint64_t hash_of(const char *s) { return ty_hash_bytes(s, strlen(s), (ty_hash){0, 0}).a; }

static bool grow(ar_map *m) {
  ar_map old = *m;
  m->cap = old.cap ? 2 * old.cap : 64;
  m->n = 0;
  if (!(m->slots = ty_alloc((size_t)m->cap * sizeof *m->slots))) return *m = old, false;
  for (int i = 0; i < old.cap; i++)
    if (old.slots[i].name) ar_map_put(m, old.slots[i].name, old.slots[i].value);
  ty_free(old.slots);
  return true;
}

bool ar_map_put(ar_map *m, const char *name, int value) {
  if (2 * (m->n + 1) > m->cap && !grow(m)) return false;
  int i = (int)(hash_of(name) & (uint64_t)(m->cap - 1));
  while (m->slots[i].name && strcmp(m->slots[i].name, name)) i = (i + 1) & (m->cap - 1);
  m->n += !m->slots[i].name;
  m->slots[i].name = name;
  m->slots[i].value = value;
  return true;
}

int ar_map_get(const ar_map *m, const char *name) {
  if (!m->cap) return -1;
  for (int i = (int)(hash_of(name) & (uint64_t)(m->cap - 1)); m->slots[i].name; i = (i + 1) & (m->cap - 1))
    if (!strcmp(m->slots[i].name, name)) return m->slots[i].value;
  return -1;
}

void ar_map_free(ar_map *m) {
  ty_free(m->slots);
  *m = (ar_map){0};
}
