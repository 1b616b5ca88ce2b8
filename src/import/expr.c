/* expr.c: size expressions as archives write them, sympy's srepr: "Add(Symbol('s0', integer=True), Integer(1))". A call with
 * arguments is all the grammar; what a function means is looked up when a dim or a number is made of it. */
#include "archive_int.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct cursor { const ar_place *at; ty_arena *arena; const char *text, *p; int depth, nodes; } cursor;

static ty_status wrong(cursor *c, const char *what) {
  return ar_fail(c->at, TY_INVALID, "size expression \"%.100s\", character %d: %s", c->text, (int)(c->p - c->text) + 1, what);
}

static void skip(cursor *c) { while (*c->p == ' ') c->p++; }
static bool word_char(char x) { return (x >= 'a' && x <= 'z') || (x >= 'A' && x <= 'Z') || (x >= '0' && x <= '9') || x == '_'; }

static char *copy(cursor *c, const char *from, const char *to) {
  char *s = ty_arena_alloc(c->arena, (size_t)(to - from) + 1);
  if (s) memcpy(s, from, (size_t)(to - from));
  return s;
}

static ty_status expression(cursor *c, ar_expr **out);

static ty_status arguments(cursor *c, ar_expr *e) {
  ar_expr *args[256];
  while (skip(c), *c->p != ')') {
    if (e->nargs) {
      if (*c->p++ != ',') return c->p--, wrong(c, "\",\" or \")\" is expected");
      skip(c);
    }
    const char *q = c->p;
    while (word_char(*q)) q++;
    bool keyword = q > c->p && *q == '=' && q[1] != '=';
    if (keyword) c->p = q + 1;
    if (e->nargs == 256) return wrong(c, "more than 256 arguments");
    TY_TRY(expression(c, &args[e->nargs]));
    if (keyword) args[e->nargs]->kind = AR_WORD; /* integer=True and the like: says nothing about the value */
    e->nargs++;
  }
  c->p++;
  int n = 0;
  for (int i = 0; i < e->nargs; i++)
    if (args[i]->kind != AR_WORD) args[n++] = args[i];
  e->nargs = n;
  if (!(e->args = ty_arena_alloc(c->arena, (size_t)n * sizeof *args))) return ar_nomem(c->at);
  if (n) memcpy(e->args, args, (size_t)n * sizeof *args);
  return TY_OK;
}

static ty_status expression(cursor *c, ar_expr **out) {
  skip(c);
  if (++c->nodes > AR_MAX_EXPR_NODES || ++c->depth > AR_MAX_EXPR_DEPTH) return wrong(c, "the expression is too large");
  ar_expr *e = *out = ty_arena_alloc(c->arena, sizeof *e);
  if (!e) return ar_nomem(c->at);
  const char *start = c->p;
  if (*c->p == '\'' || *c->p == '"') {
    const char *end = strchr(c->p + 1, *c->p);
    if (!end) return wrong(c, "the string does not end");
    e->kind = AR_TEXT;
    e->text = copy(c, c->p + 1, end);
    c->p = end + 1;
  } else if (*c->p == '-' || (*c->p >= '0' && *c->p <= '9')) {
    char *end;
    errno = 0;
    e->kind = AR_INT;
    e->value = strtoll(c->p, &end, 10);
    if (errno || end == c->p || (*c->p == '-' && end == c->p + 1)) return wrong(c, "an int of 64 bits is expected");
    c->p = end;
    e->text = "";
  } else {
    while (word_char(*c->p) || *c->p == '.') c->p++;
    if (c->p == start || c->p - start > 60) return wrong(c, "a name is expected");
    e->kind = *c->p == '(' ? AR_CALL : AR_WORD;
    e->text = copy(c, start, c->p);
    if (*c->p == '(') {
      c->p++;
      TY_TRY(arguments(c, e));
    }
  }
  c->depth--;
  return e->text ? TY_OK : ar_nomem(c->at);
}

ty_status ar_expr_parse(const ar_place *at, ty_arena *arena, const char *text, ar_expr **out) {
  cursor c = {at, arena, text, text, 0, 0};
  TY_TRY(expression(&c, out));
  skip(&c);
  return *c.p ? wrong(&c, "the expression should end here") : TY_OK;
}

static bool is(const ar_expr *e, const char *name) { return e->kind == AR_CALL && !strcmp(e->text, name); }

static bool integer(const ar_expr *e, int64_t *v) {
  if (e->kind == AR_CALL && e->nargs == 1 && !strcmp(e->text, "Integer")) e = e->args[0];
  *v = e->value;
  return e->kind == AR_INT;
}

/* ---- As a dim ---- */
static bool symbol_name(const char *s) {
  if (!*s || strlen(s) > 60 || (*s >= '0' && *s <= '9')) return false;
  for (const char *p = s; *p; p++)
    if (!word_char(*p)) return false;
  return strcmp(s, "min") && strcmp(s, "max");
}

ty_status ar_symbol(const ar_place *at, ar_symbols *s, const char *name, int64_t hint, ty_dim *out) {
  int i = 0;
  while (i < s->n && strcmp(s->p[i].name, name)) i++;
  if (i == s->n) {
    if (!symbol_name(name)) return ar_fail(at, TY_INVALID, "\"%.60s\" is no name of a symbol", name);
    if (s->n == AR_MAX_SYMBOLS) return ar_fail(at, TY_INVALID, "more than %d symbols", AR_MAX_SYMBOLS);
    s->p[s->n].name = name;
    s->p[s->n].lo = 0;
    s->p[s->n++].hi = INT64_MAX;
  }
  *out = s->is_fixed[i] ? ty_dim_const(s->g, s->p[i].fixed) : ty_dim_symbol(s->g, name, s->p[i].lo, s->p[i].hi, hint);
  return TY_OK;
}

static ty_status unsupported(const ar_place *at, const ar_expr *e) { return ar_fail(at, TY_UNSUPPORTED, "a size of the form %.60s of %d", e->text, e->nargs); }

static ty_status fold(const ar_place *at, ar_symbols *s, const ar_expr *e, int64_t hint, ty_dim (*f)(ty_graph *, ty_dim, ty_dim), ty_dim *out) {
  if (!e->nargs) return unsupported(at, e);
  TY_TRY(ar_expr_dim(at, s, e->args[0], hint, out));
  for (int i = 1; i < e->nargs; i++) {
    ty_dim d;
    TY_TRY(ar_expr_dim(at, s, e->args[i], hint, &d));
    *out = f(s->g, *out, d);
  }
  return TY_OK;
}

/* A product whose value is an int although factors are fractions: Mul(Rational(1, 2), Symbol('s0')). */
static ty_status product(const ar_place *at, ar_symbols *s, const ar_expr *e, int64_t hint, ty_dim *out) {
  int64_t below = 1, p, q;
  *out = ty_dim_const(s->g, 1);
  for (int i = 0; i < e->nargs; i++) {
    const ar_expr *a = e->args[i];
    ty_dim d;
    if (is(a, "Rational") && a->nargs == 2 && integer(a->args[0], &p) && integer(a->args[1], &q) && q > 0 && ty_mul_i64(below, q, &below)) d = ty_dim_const(s->g, p);
    else TY_TRY(ar_expr_dim(at, s, a, hint, &d));
    *out = ty_dim_mul(s->g, *out, d);
  }
  if (below != 1) *out = ty_dim_div(s->g, *out, ty_dim_const(s->g, below));
  return TY_OK;
}

static ty_status quotient(const ar_place *at, ar_symbols *s, const ar_expr *e, int64_t hint, bool up, ty_dim *out) {
  ty_dim a, b;
  if (e->nargs != 2) return unsupported(at, e);
  TY_TRY(ar_expr_dim(at, s, e->args[0], hint, &a));
  TY_TRY(ar_expr_dim(at, s, e->args[1], hint, &b));
  if (up) a = ty_dim_add(s->g, a, ty_dim_sub(s->g, b, ty_dim_const(s->g, 1)));
  *out = ty_dim_div(s->g, a, b);
  return TY_OK;
}

ty_status ar_expr_dim(const ar_place *at, ar_symbols *s, const ar_expr *e, int64_t hint, ty_dim *out) {
  int64_t v;
  ty_graph *g = s->g;
  if (integer(e, &v)) *out = ty_dim_const(g, v);
  else if (is(e, "Symbol") && e->nargs == 1 && e->args[0]->kind == AR_TEXT) TY_TRY(ar_symbol(at, s, e->args[0]->text, hint, out));
  else if (is(e, "Add")) TY_TRY(fold(at, s, e, 0, ty_dim_add, out));
  else if (is(e, "Mul")) TY_TRY(product(at, s, e, 0, out));
  else if (is(e, "Max")) TY_TRY(fold(at, s, e, 0, ty_dim_max, out));
  else if (is(e, "Min")) TY_TRY(fold(at, s, e, 0, ty_dim_min, out));
  else if (is(e, "FloorDiv") || is(e, "CleanDiv")) TY_TRY(quotient(at, s, e, 0, false, out));
  else if ((is(e, "FloorToInt") || is(e, "CeilToInt")) && e->nargs == 1 && is(e->args[0], "IntTrueDiv"))
    TY_TRY(quotient(at, s, e->args[0], 0, is(e, "CeilToInt"), out));
  else if (is(e, "CeilDiv")) TY_TRY(quotient(at, s, e, 0, true, out));
  else if ((is(e, "Mod") || is(e, "PythonMod")) && e->nargs == 2) TY_TRY(fold(at, s, e, 0, ty_dim_mod, out));
  else if (is(e, "Identity") && e->nargs == 1) TY_TRY(ar_expr_dim(at, s, e->args[0], 0, out));
  else if (is(e, "ModularIndexing") && e->nargs == 3) {
    ar_expr div = {.kind = AR_CALL, .text = "FloorDiv", .nargs = 2, .args = e->args};
    ty_dim m;
    TY_TRY(quotient(at, s, &div, 0, false, out));
    TY_TRY(ar_expr_dim(at, s, e->args[2], 0, &m));
    *out = ty_dim_mod(g, *out, m);
  } else if ((is(e, "Pow") || is(e, "PowByNatural")) && e->nargs == 2 && integer(e->args[1], &v) && v > 0 && v <= 8) {
    ty_dim base;
    TY_TRY(ar_expr_dim(at, s, e->args[0], 0, &base));
    for (*out = base; v > 1; v--) *out = ty_dim_mul(g, *out, base);
  } else return unsupported(at, e);
  if (*out >= 0) return TY_OK;
  char why[300];
  snprintf(why, sizeof why, "%s", ty_ctx_error(g->ctx));
  return g->arena.failed ? ar_nomem(at) : ar_fail(at, TY_UNSUPPORTED, "%s", *why ? why : "a size that cannot be written");
}

/* ---- As a number ---- */
ty_status ar_expr_number(const ar_place *at, ar_symbols *s, const ar_expr *e, double *out) {
  double a, b;
  int64_t v;
  if (is(e, "Float") && e->nargs >= 1 && e->args[0]->kind == AR_TEXT) return *out = strtod(e->args[0]->text, NULL), TY_OK;
  if (e->kind == AR_CALL && e->nargs == 1 && !is(e, "Integer") && !is(e, "Symbol")) {
    TY_TRY(ar_expr_number(at, s, e->args[0], &a));
    if (is(e, "ToFloat") || is(e, "Identity")) *out = a;
    else if (strstr(e->text, "sqrt")) *out = sqrt(a); /* OpaqueUnaryFn_sqrt */
    else return unsupported(at, e);
    return TY_OK;
  }
  bool add = is(e, "Add"), mul = is(e, "Mul");
  if (add || mul) {
    *out = mul;
    for (int i = 0; i < e->nargs; i++) {
      TY_TRY(ar_expr_number(at, s, e->args[i], &a));
      *out = add ? *out + a : *out * a;
    }
    return TY_OK;
  }
  bool divide = is(e, "IntTrueDiv") || is(e, "FloatTrueDiv") || is(e, "Rational"), power = is(e, "Pow") || is(e, "FloatPow");
  if ((divide || power) && e->nargs == 2) {
    TY_TRY(ar_expr_number(at, s, e->args[0], &a));
    TY_TRY(ar_expr_number(at, s, e->args[1], &b));
    *out = divide ? a / b : pow(a, b);
    return TY_OK;
  }
  ty_dim d;
  TY_TRY(ar_expr_dim(at, s, e, 0, &d));
  if (!ty_dim_is_const(s->g, d, &v)) return ar_fail(at, TY_UNSUPPORTED, "a float that depends on sizes");
  *out = (double)v;
  return TY_OK;
}
