/* print.c: the graph as text, one line a node; parse.c reads it back. */
#include "ops/ops.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LITERAL_SHOWN = 64 };

/* The shortest decimal that reads back to the same double, always with a sign of being a float. */
static void print_float(double f, ty_str *out) {
  char s[40];
  if (isnan(f) || isinf(f)) {
    ty_str_add(out, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
    return;
  }
  for (int p = 6; p <= 17; p++) {
    snprintf(s, sizeof s, "%.*g", p, f);
    if (strtod(s, NULL) == f) break;
  }
  ty_str_add(out, "%s%s", s, strpbrk(s, ".e") ? "" : ".0");
}

static void print_string(const char *s, ty_str *out) {
  ty_str_add(out, "\"");
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\') ty_str_add(out, "\\%c", c);
    else if (c < 32 || c == 127) ty_str_add(out, "\\x%02x", c);
    else ty_str_add(out, "%c", c);
  }
  ty_str_add(out, "\"");
}

static void print_value(const ty_value *v, ty_str *out) {
  if (v) ty_str_add(out, "%%%d", v->id);
  else ty_str_add(out, "None");
}

static void print_dims(const ty_graph *g, int n, const ty_dim *d, ty_str *out) {
  ty_str_add(out, "[");
  for (int i = 0; i < n; i++) {
    if (i) ty_str_add(out, ", ");
    ty_dim_print(g, d[i], out);
  }
  ty_str_add(out, "]");
}

static void print_arg(const ty_graph *g, const ty_arg *a, ty_str *out) {
  switch (a->kind) {
  case TY_ARG_NONE: ty_str_add(out, "None"); return;
  case TY_ARG_VALUE: print_value(a->value, out); return;
  case TY_ARG_INT: ty_dim_print(g, a->i, out); return;
  case TY_ARG_INTS: print_dims(g, a->n, a->ints, out); return;
  case TY_ARG_FLOAT: print_float(a->f, out); return;
  case TY_ARG_BOOL: ty_str_add(out, "%s", a->b ? "true" : "false"); return;
  case TY_ARG_STR: print_string(a->str, out); return;
  case TY_ARG_DTYPE: ty_str_add(out, "%s", ty_dtypes[a->dtype].name); return;
  default: break;
  }
  ty_str_add(out, "[");
  for (int i = 0; i < a->n; i++) {
    if (i) ty_str_add(out, ", ");
    if (a->kind == TY_ARG_VALUES) print_value(a->values[i], out);
    else if (a->kind == TY_ARG_FLOATS) print_float(a->floats[i], out);
    else ty_str_add(out, "%s", a->bools[i] ? "true" : "false");
  }
  ty_str_add(out, "]");
}

static void print_type(const ty_graph *g, const ty_value *v, ty_str *out) {
  ty_str_add(out, "%%%d: %s", v->id, ty_dtypes[v->dtype].name);
  print_dims(g, v->rank, v->shape, out);
}

/* 16-bit floats and NaNs are given as bits, so that nothing is lost. */
static void print_element(ty_dtype dt, const char *p, ty_str *out) {
  switch (dt) {
  case TY_bool: ty_str_add(out, "%s", *p ? "true" : "false"); return;
  case TY_u8: ty_str_add(out, "%u", *(const uint8_t *)p); return;
  case TY_i8: ty_str_add(out, "%d", *(const int8_t *)p); return;
  case TY_i16: { int16_t v; memcpy(&v, p, 2); ty_str_add(out, "%d", v); return; }
  case TY_i32: { int32_t v; memcpy(&v, p, 4); ty_str_add(out, "%" PRId32, v); return; }
  case TY_i64: { int64_t v; memcpy(&v, p, 8); ty_str_add(out, "%" PRId64, v); return; }
  case TY_f32: {
    float f;
    uint32_t u;
    memcpy(&f, p, 4);
    memcpy(&u, p, 4);
    if (isnan(f)) ty_str_add(out, "0x%08" PRIx32, u);
    else if (isinf(f)) print_float(f, out);
    else {
      char s[32];
      for (int k = 6; k <= 9; k++) {
        snprintf(s, sizeof s, "%.*g", k, (double)f);
        if (strtof(s, NULL) == f) break;
      }
      ty_str_add(out, "%s%s", s, strpbrk(s, ".e") ? "" : ".0");
    }
    return;
  }
  case TY_f64: {
    double f;
    uint64_t u;
    memcpy(&f, p, 8);
    memcpy(&u, p, 8);
    if (isnan(f)) ty_str_add(out, "0x%016" PRIx64, u);
    else print_float(f, out);
    return;
  }
  default: { uint16_t v; memcpy(&v, p, 2); ty_str_add(out, "0x%04x", v); return; }
  }
}

static int64_t literal_count(const ty_graph *g, const ty_value *v) {
  int64_t n = 1, d;
  for (int i = 0; i < v->rank; i++)
    if (!ty_dim_is_const(g, v->shape[i], &d) || !ty_mul_i64(n, d, &n)) return 0;
  return n;
}

static void print_literal(const ty_graph *g, const ty_value *v, ty_str *out) {
  int64_t n = literal_count(g, v);
  print_type(g, v, out);
  ty_str_add(out, " = literal ");
  if (n > LITERAL_SHOWN) {
    char hex[33];
    ty_hash_hex(ty_hash_bytes(v->data, (size_t)n * (size_t)ty_dtype_size(v->dtype), (ty_hash){0, 0}), hex);
    ty_str_add(out, "hash %s\n", hex);
    return;
  }
  ty_str_add(out, "[");
  for (int64_t i = 0; i < n; i++) {
    if (i) ty_str_add(out, ", ");
    print_element(v->dtype, (const char *)v->data + i * ty_dtype_size(v->dtype), out);
  }
  ty_str_add(out, "]\n");
}

static void print_end(const char *name, int64_t v, int64_t inf, ty_str *out) {
  if (v == inf) ty_str_add(out, "%s", name);
  else ty_str_add(out, "%" PRId64, v);
}

static void print_header(const ty_graph *g, const int *uses, ty_str *out) {
  for (int i = 0; i < ty_dim_nsyms(g); i++) {
    const ty_sym *s = ty_dim_sym(g, i);
    if (s->extent >= 0) continue; /* loop variables belong to sched's index maps */
    ty_str_add(out, "sym %s in [", s->name);
    print_end("-inf", s->lo, INT64_MIN, out);
    ty_str_add(out, ", ");
    print_end("inf", s->hi, INT64_MAX, out);
    ty_str_add(out, "]");
    if (s->hint) ty_str_add(out, " hint %" PRId64, s->hint);
    ty_str_add(out, "\n");
  }
  for (int i = 0; i < g->inputs.n; i++) {
    const ty_value *v = g->inputs.p[i];
    print_type(g, v, out);
    ty_str_add(out, " = %s", v->role == TY_ROLE_PARAM ? "param" : "input");
    if (v->name) {
      ty_str_add(out, " ");
      print_string(v->name, out);
    }
    if (v->strides) {
      ty_str_add(out, " strides ");
      print_dims(g, v->rank, v->strides, out);
    }
    ty_str_add(out, "\n");
  }
  for (int i = 0; i < g->values.n; i++)
    if (g->values.p[i]->role == TY_ROLE_LITERAL && uses[i]) print_literal(g, g->values.p[i], out);
}

static void print_node(const ty_graph *g, const ty_node *n, ty_str *out) {
  for (int i = 0; i < n->nouts; i++) {
    if (i) ty_str_add(out, ", ");
    print_type(g, n->outs[i], out);
  }
  ty_str_add(out, "%s= %s(", n->nouts ? " " : "", ty_op_get(n->op)->name);
  for (int i = 0; i < n->nargs; i++) {
    if (i) ty_str_add(out, ", ");
    print_arg(g, &n->args[i], out);
  }
  ty_str_add(out, ")");
  if (n->loc && *n->loc) {
    ty_str_add(out, "  # ");
    for (const char *p = n->loc; *p; p++) ty_str_add(out, "%c", (unsigned char)*p < 32 ? ' ' : *p);
  }
  ty_str_add(out, "\n");
}

void ty_graph_print(const ty_graph *g, ty_str *out) {
  int *uses = ty_graph_use_counts(g);
  if (!uses) {
    out->failed = true;
    return;
  }
  print_header(g, uses, out);
  ty_free(uses);
  for (const ty_node *n = g->first; n; n = n->next) print_node(g, n, out);
  for (int i = 0; i < g->needs.n; i++) {
    ty_str_add(out, "# %s needs ", ty_op_get(g->needs.p[i].op)->name);
    ty_need_print(g, &g->needs.p[i], out);
    ty_str_add(out, "\n");
  }
  ty_str_add(out, "output");
  for (int i = 0; i < g->outputs.n; i++) ty_str_add(out, "%s %%%d", i ? "," : "", g->outputs.p[i]->id);
  ty_str_add(out, "\n");
}
