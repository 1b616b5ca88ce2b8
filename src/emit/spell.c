/* spell.c: the expressions of a kernel: types, constants, primitives from prims.def, casts, addresses. */
#include "emit_int.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void emit_line(emitter *e, const char *fmt, ...) {
  va_list ap;
  ty_str_add(e->out, "%*s", e->indent * 2, "");
  va_start(ap, fmt);
  ty_str_vadd(e->out, fmt, ap);
  va_end(ap);
  ty_str_add(e->out, "\n");
}

const char *emit_mem_type(ty_dtype d) {
  static const char *const names[TY_NDTYPE] = {[TY_bool] = "ty_u8", [TY_u8] = "ty_u8", [TY_i8] = "ty_i8", [TY_i16] = "ty_i16", [TY_i32] = "ty_i32",
    [TY_i64] = "ty_i64", [TY_f16] = "ty_u16", [TY_bf16] = "ty_u16", [TY_f32] = "float", [TY_f64] = "double"};
  return names[d];
}

const char *emit_type(ty_dtype d) { return d == TY_bool ? "int" : emit_mem_type(d); }

bool emit_inline(const ty_lnode *n) {
  return n->kind == TY_L_CONST || n->kind == TY_L_PAR || n->kind == TY_L_ROWVAR || n->kind == TY_L_REDVAR || n->kind == TY_L_COLVAR;
}

/* The shortest decimal that reads back as the same value. The locale's decimal comma becomes a point. */
static emit_name float_text(double v, bool f64) {
  emit_name r;
  const char *x = f64 ? "" : "f";
  if (isnan(v)) snprintf(r.s, sizeof r.s, "__builtin_nan%s(\"\")", x);
  else if (isinf(v)) snprintf(r.s, sizeof r.s, "%s__builtin_inf%s()%s", v < 0 ? "(-" : "", x, v < 0 ? ")" : "");
  else {
    char t[40];
    for (int digits = 1; digits <= 17; digits++) {
      snprintf(t, sizeof t, "%.*g", digits, v);
      if (f64 ? strtod(t, NULL) == v : strtof(t, NULL) == (float)v) break;
    }
    bool point = false;
    for (char *p = t; *p; p++) {
      if (!isdigit((unsigned char)*p) && !strchr("+-e", *p)) *p = '.';
      point |= *p == '.' || *p == 'e';
    }
    const char *sign = signbit(v) ? "(" : "", *end = signbit(v) ? ")" : "";
    snprintf(r.s, sizeof r.s, "%s%s%s%s%s", sign, t, point ? "" : ".0", x, end);
  }
  return r;
}

static emit_name constant(const ty_lnode *n) {
  emit_name r;
  long long v = n->imm;
  switch (n->dtype) {
  case TY_f32: return float_text((float)n->fimm, false);
  case TY_f64: return float_text(n->fimm, true);
  case TY_bool: snprintf(r.s, sizeof r.s, "%d", v != 0); break;
  case TY_u8: snprintf(r.s, sizeof r.s, "(ty_u8)%d", (int)(v & 255)); break;
  case TY_i32:
    if ((int32_t)v == INT32_MIN) snprintf(r.s, sizeof r.s, "(-2147483647 - 1)");
    else snprintf(r.s, sizeof r.s, (int32_t)v < 0 ? "(%d)" : "%d", (int)(int32_t)v);
    break;
  case TY_i64:
    if (v == INT64_MIN) snprintf(r.s, sizeof r.s, "(-9223372036854775807LL - 1)");
    else snprintf(r.s, sizeof r.s, v < 0 ? "(%lldLL)" : "%lldLL", v);
    break;
  case TY_i8: v = (int8_t)v; /* fall through */
  default: snprintf(r.s, sizeof r.s, "((%s)%d)", emit_type(n->dtype), (int)(int16_t)v);
  }
  return r;
}

emit_name emit_value(const emitter *e, int node) {
  const ty_lnode *n = &e->l->nodes.p[node];
  emit_name r;
  switch (n->kind) {
  case TY_L_CONST: return constant(n);
  case TY_L_PAR: snprintf(r.s, sizeof r.s, "n%d", n->slot); break;
  case TY_L_ROWVAR: snprintf(r.s, sizeof r.s, "i%d", n->slot); break;
  case TY_L_REDVAR: snprintf(r.s, sizeof r.s, "j"); break;
  case TY_L_COLVAR: snprintf(r.s, sizeof r.s, "c"); break;
  default: snprintf(r.s, sizeof r.s, "v%d", node);
  }
  return r;
}

/* prims.def's expression with operands in place of a, b, c and FN(x) as the function for the dtype. */
static void expression(ty_str *out, const char *expr, ty_dtype d, const emit_name op[3]) {
  for (const char *p = expr; *p;) {
    const char *q = p;
    while (isalnum((unsigned char)*q) || *q == '_') q++;
    if (q == p) ty_str_add(out, "%c", *p++);
    else if (q - p == 1 && *p >= 'a' && *p <= 'c') ty_str_add(out, "%s", op[*p - 'a'].s), p = q;
    else if (q - p == 2 && !memcmp(p, "FN", 2)) {
      const char *end = strchr(q, ')');
      ty_str_add(out, "ty_%.*s_%s", (int)(end - q - 1), q + 1, ty_dtypes[d].name);
      p = end + 1;
    } else ty_str_add(out, "%.*s", (int)(q - p), p), p = q;
  }
}

/* `text` converted as PyTorch converts. */
static void cast(ty_str *out, ty_dtype from, ty_dtype to, const char *text) {
  if (from == to) ty_str_add(out, "%s", text);
  else if (to == TY_bool) ty_str_add(out, "%s != 0", text);
  else if (ty_dtype_is_float(from) && ty_dtype_is_int(to)) ty_str_add(out, "ty_to_%s_%s(%s)", ty_dtypes[to].name, ty_dtypes[from].name, text);
  else ty_str_add(out, "(%s)%s", emit_type(to), text);
}

static void address(const emitter *e, const ty_lnode *n, ty_str *out) {
  const char *plus = "";
  ty_str_add(out, "p%d[", n->slot);
  if (n->a >= 0) ty_str_add(out, "%s", emit_value(e, n->a).s), plus = " + ";
  if (n->b >= 0) ty_str_add(out, "%s%s", plus, emit_value(e, n->b).s), plus = " + ";
  if (n->col_par >= 0) ty_str_add(out, "%sc * n%d]", plus, n->col_par);
  else if (n->col_stride == 1) ty_str_add(out, "%sc]", plus);
  else if (n->col_stride) ty_str_add(out, "%sc * %lldLL]", plus, (long long)n->col_stride);
  else ty_str_add(out, "%s]", *plus ? "" : "0");
}

static void load(const emitter *e, const ty_lnode *n, ty_str *out) {
  ty_str at = {0};
  const bool half = n->mem == TY_f16 || n->mem == TY_bf16;
  if (half) ty_str_add(&at, "ty_f32_from_%s(", ty_dtypes[n->mem].name);
  address(e, n, &at);
  if (half) ty_str_add(&at, ")");
  cast(out, half ? TY_f32 : n->mem, n->dtype, at.p ? at.p : "");
  out->failed |= at.failed;
  ty_str_free(&at);
}

void emit_node(emitter *e, int i, emit_where where) {
  const ty_lnode *n = &e->l->nodes.p[i], *p = e->l->nodes.p;
  emit_name op[3] = {{""}, {""}, {""}};
  if (n->a >= 0) op[0] = emit_value(e, n->a);
  if (n->b >= 0) op[1] = emit_value(e, n->b);
  if (n->c >= 0) op[2] = emit_value(e, n->c);
  if (n->kind == TY_L_CHECK) {
    emit_line(e, "const int ok%d = (%s >= 0) & (%s < %s);", i, op[0].s, op[0].s, op[1].s);
    if (where != EMIT_SINGLE) emit_line(e, "bad |= %s!ok%d;", where == EMIT_TAIL ? "in & " : "", i);
    else emit_line(e, "if (!ok%d) *k->fault = 1;", i);
    emit_line(e, "const ty_i64 v%d = ok%d ? %s : 0;", i, i, op[0].s);
    return;
  }
  const bool masked = where == EMIT_TAIL && (n->kind == TY_L_LOAD || n->kind == TY_L_ACC);
  ty_str_add(e->out, "%*sconst %s v%d = %s", e->indent * 2, "", emit_type(n->dtype), i, masked ? "in ? " : "");
  if (n->kind == TY_L_PRIM) {
    const ty_dtype d = p[n->prim == TY_P_sel ? n->b : n->a].dtype;
    const ty_prim_info *info = &ty_prims[n->prim];
    /* a choice that is the same for all columns: compilers see no vectors in it, but do in masks */
    if (n->prim == TY_P_sel && where != EMIT_SINGLE && p[n->a].level != TY_LV_ELEM && (d == TY_f32 || d == TY_f64))
      ty_str_add(e->out, "ty_pick_%s(%s, %s, %s)", ty_dtypes[d].name, op[0].s, op[1].s, op[2].s);
    else expression(e->out, ty_dtype_is_float(d) ? info->fexpr : d == TY_bool ? info->bexpr : info->iexpr, d, op);
  } else if (n->kind == TY_L_CAST) cast(e->out, p[n->a].dtype, n->dtype, op[0].s);
  else if (n->kind == TY_L_LOAD) load(e, n, e->out);
  else ty_str_add(e->out, n->dtype == TY_i32 ? "ty_bits_f32(acc[c - c0])" : "acc[c - c0]");
  ty_str_add(e->out, masked ? " : 0;\n" : ";\n");
}

bool emit_calls(const emitter *e, int i) {
  const ty_lnode *n = &e->l->nodes.p[i];
  if (n->kind != TY_L_PRIM || n->prim == TY_P_sel) return false;
  const ty_dtype d = e->l->nodes.p[n->a].dtype;
  const bool division = n->prim == TY_P_floordiv || n->prim == TY_P_rem || n->prim == TY_P_fmod || n->prim == TY_P_pow || n->prim == TY_P_atan2;
  if (!ty_dtype_is_float(d)) return division || n->prim == TY_P_truncdiv;
  return division || (n->prim >= (d == TY_f64 ? TY_P_exp : TY_P_tan) && n->prim <= (d == TY_f64 ? TY_P_erfc : TY_P_atanh));
}

void emit_store(emitter *e, int i, bool masked) {
  const ty_lnode *n = &e->l->nodes.p[i];
  const ty_dtype from = e->l->nodes.p[n->d].dtype;
  const emit_name v = emit_value(e, n->d);
  ty_str_add(e->out, "%*s%s", e->indent * 2, "", masked ? "if (in) " : "");
  address(e, n, e->out);
  ty_str_add(e->out, " = ");
  if (n->mem == TY_f16 || n->mem == TY_bf16) {
    ty_str_add(e->out, "ty_%s_from_f32(", ty_dtypes[n->mem].name);
    cast(e->out, from, TY_f32, v.s);
    ty_str_add(e->out, ")");
  } else cast(e->out, from, n->mem, v.s);
  ty_str_add(e->out, ";\n");
}
