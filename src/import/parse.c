/* parse.c: reads the text of print.c. The text may be hostile: everything is bounded and messages say line and column. */
#include "ops/ops.h"
#include "import/import.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 1 << 26, MAX_ID = 1 << 18, MAX_LIST = 4096, MAX_ARGS = 64, MAX_NEST = 40, MAX_OUTS = 4096, MAX_WORD = 120, MAX_ELEMENTS = 1 << 20 };

typedef struct parser {
  ty_ctx *ctx;
  ty_graph *g;
  const char *text, *p;
  ty_arena tmp;             /* one line's lists */
  TY_VEC(ty_value *) by_id; /* the text's numbers */
  TY_VEC(ty_arg) entries;   /* of the list being read; lists do not nest */
  int nest;
  bool in_map; /* where _0, _1, ... may stand: the map of a ty.remap */
} parser;

/* The first failure stands: later ones are its consequences. */
static ty_status fail_at(parser *c, const char *at, const char *fmt, ...) TY_PRINTF(3, 4);
static ty_status fail_at(parser *c, const char *at, const char *fmt, ...) {
  char why[600];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(why, sizeof why, fmt, ap);
  va_end(ap);
  int line = 1;
  const char *start = c->text;
  for (const char *q = c->text; q < at; q++)
    if (*q == '\n') line++, start = q + 1;
  return ty_fail(c->ctx, TY_INVALID, "%d:%d: %s", line, (int)(at - start) + 1, why);
}
#define FAIL(...) return fail_at(c, c->p, __VA_ARGS__)

static ty_status nomem(parser *c) { return ty_fail(c->ctx, TY_NOMEM, "out of memory"); }

/* Hands on what the builder said, with the place in front. */
static ty_status refused(parser *c, const char *at, ty_status st) {
  if (st == TY_NOMEM || c->g->arena.failed) return nomem(c);
  char why[500];
  snprintf(why, sizeof why, "%s", ty_ctx_error(c->ctx));
  fail_at(c, at, "%s", *why ? why : "refused");
  return st == TY_OK ? TY_INVALID : st;
}

static void skip(parser *c) { while (*c->p == ' ' || *c->p == '\t' || *c->p == '\r') c->p++; }
static bool word_char(char x) { return (x >= 'a' && x <= 'z') || (x >= 'A' && x <= 'Z') || (x >= '0' && x <= '9') || x == '_'; }

static bool eat(parser *c, const char *s) {
  skip(c);
  size_t n = strlen(s);
  if (strncmp(c->p, s, n) || (word_char(s[n - 1]) && word_char(c->p[n]))) return false;
  c->p += n;
  return true;
}

static bool peek(parser *c, char x) {
  skip(c);
  return *c->p == x;
}

static ty_status word(parser *c, char out[MAX_WORD + 1], bool dots) {
  skip(c);
  size_t n = 0;
  while (word_char(c->p[n]) || (dots && c->p[n] == '.')) n++;
  if (n == 0 || n > MAX_WORD || (c->p[0] >= '0' && c->p[0] <= '9')) FAIL("a name is expected");
  memcpy(out, c->p, n);
  out[n] = 0;
  c->p += n;
  return TY_OK;
}

static ty_status expect(parser *c, const char *s) {
  if (!eat(c, s)) FAIL("\"%s\" is expected", s);
  return TY_OK;
}

static ty_status integer(parser *c, int64_t *v) {
  skip(c);
  char *end;
  const char *d = c->p + (*c->p == '-');
  if (*d < '0' || *d > '9') FAIL("a number is expected");
  errno = 0;
  *v = strtoll(c->p, &end, 10);
  if (errno) FAIL("the number is out of range");
  c->p = end;
  return TY_OK;
}

/* ---- Dims: + and -, then * // %, then atoms ---- */
static ty_status dim_sum(parser *c, ty_dim *d);

static ty_status dim_atom(parser *c, ty_dim *d) {
  char name[MAX_WORD + 1];
  const char *at = c->p;
  skip(c);
  if (eat(c, "(")) {
    TY_TRY(dim_sum(c, d));
    return expect(c, ")");
  }
  if (eat(c, "-")) {
    if (*c->p >= '0' && *c->p <= '9') {
      int64_t v;
      c->p--;
      TY_TRY(integer(c, &v));
      *d = ty_dim_const(c->g, v);
    } else {
      if (++c->nest > MAX_NEST) FAIL("the expression is nested too deeply");
      TY_TRY(dim_atom(c, d));
      c->nest--;
      *d = ty_dim_sub(c->g, ty_dim_const(c->g, 0), *d);
    }
  } else if (*c->p >= '0' && *c->p <= '9') {
    int64_t v;
    TY_TRY(integer(c, &v));
    *d = ty_dim_const(c->g, v);
  } else {
    at = c->p;
    if (word(c, name, false) != TY_OK) return fail_at(c, at, "a size is expected");
    if (!strcmp(name, "min") || !strcmp(name, "max")) {
      ty_dim a, b;
      TY_TRY(expect(c, "("));
      TY_TRY(dim_sum(c, &a));
      TY_TRY(expect(c, ","));
      TY_TRY(dim_sum(c, &b));
      TY_TRY(expect(c, ")"));
      *d = name[1] == 'i' ? ty_dim_min(c->g, a, b) : ty_dim_max(c->g, a, b);
    } else {
      int i = 0, n = ty_dim_nsyms(c->g);
      while (i < n && strcmp(ty_dim_sym(c->g, i)->name, name)) i++;
      int64_t k = -1;
      if (i == n && name[0] == '_' && name[1] >= '0' && name[1] <= '9' && (!name[2] || (name[2] >= '0' && name[2] <= '9' && !name[3]))) k = atoi(name + 1);
      if (i == n && (k < 0 || k >= TY_MAX_RANK)) return fail_at(c, at, "unknown symbol %s", name);
      if (i == n && !c->in_map) return fail_at(c, at, "the index %s outside of a map of ty.remap", name);
      *d = i < n ? ty_dim_of_sym(c->g, i) : ty_dim_index(c->g, (int)k);
    }
  }
  return *d < 0 ? refused(c, at, TY_INVALID) : TY_OK;
}

static ty_status dim_product(parser *c, ty_dim *d) {
  const char *at = c->p;
  skip(c);
  /* a minus sign in front stands for the whole product: -(a//b), -2*a */
  bool neg = *c->p == '-' && !(c->p[1] >= '0' && c->p[1] <= '9');
  if (neg) c->p++;
  TY_TRY(dim_atom(c, d));
  for (;;) {
    ty_dim b;
    int op = eat(c, "*") ? 1 : eat(c, "//") ? 2 : eat(c, "%") ? 3 : 0;
    if (!op) break;
    TY_TRY(dim_atom(c, &b));
    *d = op == 1 ? ty_dim_mul(c->g, *d, b) : op == 2 ? ty_dim_div(c->g, *d, b) : ty_dim_mod(c->g, *d, b);
    if (*d < 0) return refused(c, at, TY_INVALID);
  }
  if (neg) *d = ty_dim_sub(c->g, ty_dim_const(c->g, 0), *d);
  return *d < 0 ? refused(c, at, TY_INVALID) : TY_OK;
}

static ty_status dim_sum(parser *c, ty_dim *d) {
  const char *at = c->p;
  if (++c->nest > MAX_NEST) FAIL("the expression is nested too deeply");
  TY_TRY(dim_product(c, d));
  for (;;) {
    ty_dim b;
    bool plus = eat(c, "+");
    if (!plus && !eat(c, "-")) break;
    TY_TRY(dim_product(c, &b));
    *d = plus ? ty_dim_add(c->g, *d, b) : ty_dim_sub(c->g, *d, b);
    if (*d < 0) return refused(c, at, TY_INVALID);
  }
  c->nest--;
  return TY_OK;
}

static ty_status dim_list(parser *c, int max, int *n, ty_dim *d) {
  TY_TRY(expect(c, "["));
  for (*n = 0; !eat(c, "]"); ++*n) {
    if (*n) TY_TRY(expect(c, ","));
    if (*n == max) FAIL("more than %d entries", max);
    TY_TRY(dim_sum(c, &d[*n]));
  }
  return TY_OK;
}

/* ---- Arguments ---- */
static ty_status value_ref(parser *c, ty_value **v) {
  int64_t id;
  const char *at = c->p;
  TY_TRY(expect(c, "%"));
  TY_TRY(integer(c, &id));
  if (id < 0 || id >= c->by_id.n || !(*v = c->by_id.p[id])) return fail_at(c, at, "%%%lld is not defined", (long long)id);
  return TY_OK;
}

static int hex(char x) { return x >= '0' && x <= '9' ? x - '0' : x >= 'a' && x <= 'f' ? x - 'a' + 10 : -1; }

static ty_status string(parser *c, char **out) {
  TY_TRY(expect(c, "\""));
  size_t n = 0;
  while (c->p[n] && c->p[n] != '"' && c->p[n] != '\n') n += c->p[n] == '\\' && c->p[n + 1] && c->p[n + 1] != '\n' ? 2 : 1;
  if (c->p[n] != '"') FAIL("the string does not end");
  char *s = *out = ty_arena_alloc(&c->tmp, n + 1);
  if (!s) return nomem(c);
  const char *end = c->p + n;
  while (c->p < end) {
    if (*c->p != '\\') {
      *s++ = *c->p++;
      continue;
    }
    c->p++;
    if (*c->p == '"' || *c->p == '\\') *s++ = *c->p++;
    else if (*c->p == 'x' && end - c->p >= 3 && hex(c->p[1]) >= 0 && hex(c->p[2]) >= 0 && (c->p[1] != '0' || c->p[2] != '0')) {
      *s++ = (char)(hex(c->p[1]) * 16 + hex(c->p[2]));
      c->p += 3;
    } else FAIL("an escape that is not \\\\, \\\" or \\x");
  }
  c->p++;
  return TY_OK;
}

/* A float has a point, an exponent, or is inf or nan; all other numbers are dims. */
static bool float_here(parser *c, double *f) {
  skip(c);
  const char *q = c->p + (*c->p == '-');
  bool special = (!strncmp(q, "inf", 3) || !strncmp(q, "nan", 3)) && !word_char(q[3]);
  if (special) {
    *f = *q == 'n' ? (double)__builtin_nanf("") : q == c->p ? (double)__builtin_inff() : -(double)__builtin_inff();
    c->p = q + 3;
    return true;
  }
  const char *d = q;
  while (*d >= '0' && *d <= '9') d++;
  if (d == q || (*d != '.' && *d != 'e')) return false;
  char *end;
  *f = strtod(c->p, &end);
  if (end <= d) return false;
  c->p = end;
  return true;
}

static ty_status arg(parser *c, ty_arg *a, bool in_list);

/* The list's kind is that of its entries; ints among floats are refused, None counts as a tensor. */
static ty_status list(parser *c, ty_arg *a) {
  ty_arg e;
  int n = 0;
  ty_arg_kind kind = TY_ARG_INT;
  while (!eat(c, "]")) {
    if (n) TY_TRY(expect(c, ","));
    if (n == MAX_LIST) FAIL("more than %d entries", MAX_LIST);
    const char *at = c->p;
    TY_TRY(arg(c, &e, true));
    if (e.kind == TY_ARG_NONE) e = (ty_arg){.kind = TY_ARG_VALUE};
    if (n == 0) kind = e.kind;
    if (e.kind != kind || kind == TY_ARG_STR || kind == TY_ARG_DTYPE) return fail_at(c, at, "a list of mixed kinds");
    c->entries.n = n++;
    if (!TY_PUSH(&c->entries, e)) return nomem(c);
  }
  *a = (ty_arg){.n = n};
  size_t each = kind == TY_ARG_VALUE ? sizeof(ty_value *) : kind == TY_ARG_FLOAT ? sizeof(double) : kind == TY_ARG_BOOL ? sizeof(bool) : sizeof(ty_dim);
  if (!(a->values = ty_arena_alloc(&c->tmp, (size_t)n * each))) return nomem(c);
  a->kind = kind == TY_ARG_VALUE ? TY_ARG_VALUES : kind == TY_ARG_FLOAT ? TY_ARG_FLOATS : kind == TY_ARG_BOOL ? TY_ARG_BOOLS : TY_ARG_INTS;
  for (int i = 0; i < n; i++) {
    if (kind == TY_ARG_VALUE) a->values[i] = c->entries.p[i].value;
    else if (kind == TY_ARG_FLOAT) a->floats[i] = c->entries.p[i].f;
    else if (kind == TY_ARG_BOOL) a->bools[i] = c->entries.p[i].b;
    else a->ints[i] = c->entries.p[i].i;
  }
  return TY_OK;
}

static ty_status arg(parser *c, ty_arg *a, bool in_list) {
  *a = (ty_arg){0};
  if (peek(c, '%')) {
    a->kind = TY_ARG_VALUE;
    return value_ref(c, &a->value);
  }
  if (peek(c, '"')) {
    char *s;
    TY_TRY(string(c, &s));
    *a = ty_arg_str(s);
    return TY_OK;
  }
  if (!in_list && eat(c, "[")) return list(c, a);
  if (eat(c, "None")) return TY_OK;
  if (eat(c, "true")) return *a = ty_arg_bool(true), TY_OK;
  if (eat(c, "false")) return *a = ty_arg_bool(false), TY_OK;
  if (float_here(c, &a->f)) return a->kind = TY_ARG_FLOAT, TY_OK;
  const char *at = c->p;
  char name[MAX_WORD + 1];
  ty_dtype dt;
  if (word_char(*c->p) && !(*c->p >= '0' && *c->p <= '9')) {
    TY_TRY(word(c, name, false));
    if (ty_dtype_parse(name, &dt)) return *a = ty_arg_dtype(dt), TY_OK;
    c->p = at;
  }
  a->kind = TY_ARG_INT;
  return dim_sum(c, &a->i);
}

/* ---- Lines ---- */
typedef struct type { int64_t id; const char *at; ty_dtype dtype; int rank; ty_dim shape[TY_MAX_RANK]; } type;

static ty_status parse_type(parser *c, type *t) {
  char name[MAX_WORD + 1];
  skip(c);
  t->at = c->p;
  TY_TRY(expect(c, "%"));
  TY_TRY(integer(c, &t->id));
  if (t->id < 0 || t->id >= MAX_ID) return fail_at(c, t->at, "value numbers end at %d", MAX_ID - 1);
  TY_TRY(expect(c, ":"));
  const char *at = c->p;
  TY_TRY(word(c, name, false));
  if (!ty_dtype_parse(name, &t->dtype)) return fail_at(c, at, "%s is no dtype", name);
  return dim_list(c, TY_MAX_RANK, &t->rank, t->shape);
}

static ty_status define(parser *c, const type *t, ty_value *v) {
  if (!v) return refused(c, t->at, TY_INVALID);
  while (c->by_id.n <= t->id)
    if (!TY_PUSH(&c->by_id, NULL)) return nomem(c);
  if (c->by_id.p[t->id]) return fail_at(c, t->at, "%%%lld is defined twice", (long long)t->id);
  c->by_id.p[t->id] = v;
  return TY_OK;
}

static ty_status end_of_line(parser *c) {
  skip(c);
  if (*c->p == '#')
    while (*c->p && *c->p != '\n') c->p++;
  if (*c->p && *c->p != '\n') FAIL("the line should end here");
  return TY_OK;
}

static ty_status sym_line(parser *c) {
  char name[MAX_WORD + 1];
  int64_t lo = INT64_MIN, hi = INT64_MAX, hint = 0;
  skip(c);
  const char *at = c->p;
  TY_TRY(word(c, name, false));
  TY_TRY(expect(c, "in"));
  TY_TRY(expect(c, "["));
  if (!eat(c, "-inf")) TY_TRY(integer(c, &lo));
  TY_TRY(expect(c, ","));
  if (!eat(c, "inf")) TY_TRY(integer(c, &hi));
  TY_TRY(expect(c, "]"));
  if (eat(c, "hint")) TY_TRY(integer(c, &hint));
  int before = ty_dim_nsyms(c->g);
  if (before >= 4096) return fail_at(c, at, "too many symbols");
  if (before && ty_dim_sym(c->g, before - 1)->extent >= 0) return fail_at(c, at, "symbol %s is declared after a ty.remap", name);
  if (ty_dim_symbol(c->g, name, lo, hi, hint) < 0) return refused(c, at, TY_INVALID);
  if (ty_dim_nsyms(c->g) == before) return fail_at(c, at, "symbol %s is declared twice", name);
  return TY_OK;
}

static ty_status input_line(parser *c, const type *t, ty_role role) {
  char *name = NULL;
  ty_dim strides[TY_MAX_RANK];
  int n = -1;
  if (peek(c, '"')) TY_TRY(string(c, &name));
  if (eat(c, "strides")) {
    TY_TRY(dim_list(c, TY_MAX_RANK, &n, strides));
    if (n != t->rank) FAIL("%d strides for rank %d", n, t->rank);
  }
  return define(c, t, ty_graph_input(c->g, role, t->dtype, t->rank, t->shape, n < 0 ? NULL : strides, name));
}

static bool fits(ty_dtype dt, int64_t v) {
  int bits = 8 * ty_dtype_size(dt);
  if (dt == TY_u8) return v >= 0 && v <= 255;
  return bits == 64 || (v >= -((int64_t)1 << (bits - 1)) && v < (int64_t)1 << (bits - 1));
}

static ty_status element(parser *c, ty_dtype dt, char *p) {
  skip(c);
  double f;
  int64_t v;
  size_t size = (size_t)ty_dtype_size(dt);
  if (dt == TY_bool) {
    if (eat(c, "true")) *p = 1;
    else if (!eat(c, "false")) FAIL("true or false is expected");
  } else if (c->p[0] == '0' && c->p[1] == 'x') { /* bits; little-endian machines only, as everywhere */
    char *end;
    errno = 0;
    uint64_t u = strtoull(c->p, &end, 16);
    if (errno || end == c->p + 2 || (size < 8 && u >> (8 * size))) FAIL("bits that do not fit");
    c->p = end;
    memcpy(p, &u, size);
  } else if (ty_dtype_is_float(dt)) {
    if (size == 2) FAIL("16-bit floats are written as bits, 0x3c00");
    const char *at = c->p;
    if (!float_here(c, &f)) {
      TY_TRY(integer(c, &v));
      f = (double)v;
    }
    if (size == 8) memcpy(p, &f, 8);
    else {
      float s = strtof(at, NULL); /* rounded once, from the text */
      memcpy(p, &s, 4);
    }
  } else {
    TY_TRY(integer(c, &v));
    if (!fits(dt, v)) FAIL("%lld does not fit %s", (long long)v, ty_dtypes[dt].name);
    memcpy(p, &v, size);
  }
  return TY_OK;
}

static ty_status literal_line(parser *c, const type *t) {
  int64_t shape[TY_MAX_RANK], n = 1;
  if (eat(c, "hash")) FAIL("the literal's data was left out of this text");
  for (int i = 0; i < t->rank; i++)
    if (!ty_dim_is_const(c->g, t->shape[i], &shape[i]) || shape[i] < 0 || !ty_mul_i64(n, shape[i], &n)) return fail_at(c, t->at, "a literal has a fixed shape");
  if (n > MAX_ELEMENTS) return fail_at(c, t->at, "a literal of more than %d elements", MAX_ELEMENTS);
  size_t size = (size_t)ty_dtype_size(t->dtype), bytes = (size_t)n * size;
  if (n > (int64_t)strlen(c->p)) FAIL("%lld elements are expected", (long long)n);
  char *data = ty_arena_alloc(&c->tmp, bytes);
  if (!data) return nomem(c);
  TY_TRY(expect(c, "["));
  for (int64_t i = 0; i < n; i++) {
    if (i) TY_TRY(expect(c, ","));
    TY_TRY(element(c, t->dtype, data + (size_t)i * size));
  }
  TY_TRY(expect(c, "]"));
  return define(c, t, ty_graph_literal(c->g, t->dtype, t->rank, shape, data, bytes));
}

static void type_text(const ty_graph *g, ty_dtype dt, int rank, const ty_dim *shape, ty_str *s) {
  ty_str_add(s, "%s[", ty_dtypes[dt].name);
  for (int i = 0; i < rank; i++) {
    if (i) ty_str_add(s, ", ");
    ty_dim_print(g, shape[i], s);
  }
  ty_str_add(s, "]");
}

static ty_status same_type(parser *c, const type *t, const ty_value *v) {
  bool same = v->dtype == t->dtype && v->rank == t->rank;
  for (int i = 0; same && i < t->rank; i++) same = ty_dim_known_eq(c->g, v->shape[i], t->shape[i]);
  if (same) return TY_OK;
  ty_str s = {0};
  type_text(c->g, t->dtype, t->rank, t->shape, &s);
  ty_str_add(&s, " is written where inference gives ");
  type_text(c->g, v->dtype, v->rank, v->shape, &s);
  ty_status st = s.failed ? nomem(c) : fail_at(c, t->at, "%s", s.p);
  ty_str_free(&s);
  return st;
}

static ty_status node_line(parser *c, int n, const type *types) {
  char name[MAX_WORD + 1];
  ty_arg args[MAX_ARGS];
  const char *names[MAX_ARGS];
  char *loc = NULL;
  int nargs = 0;
  skip(c);
  const char *at = c->p;
  TY_TRY(word(c, name, true));
  int op = ty_op_find(name);
  const ty_schema *s = op < 0 ? NULL : ty_op_schema(op);
  if (op < 0) return fail_at(c, at, "operator %s is not known", name);
  if (!s) return nomem(c);
  TY_TRY(expect(c, "("));
  bool keywords = false;
  while (!eat(c, ")")) {
    if (nargs) TY_TRY(expect(c, ","));
    if (nargs == MAX_ARGS || nargs >= s->nargs) FAIL("%s takes %d arguments", name, s->nargs);
    names[nargs] = keywords ? NULL : s->args[nargs].name;
    skip(c);
    const char *q = c->p;
    while (word_char(*q)) q++;
    if (*q == '=' && q > c->p) { /* for text written by hand */
      size_t len = (size_t)(q - c->p);
      char *kw = ty_arena_alloc(&c->tmp, len + 1);
      if (!kw) return nomem(c);
      memcpy(kw, c->p, len);
      names[nargs] = kw;
      keywords = true;
      c->p = q + 1;
    } else if (keywords) FAIL("a positional argument after a keyword");
    c->in_map = op == TY_OP_remap && names[nargs] && !strcmp(names[nargs], "map");
    TY_TRY(arg(c, &args[nargs++], false));
    c->in_map = false;
  }
  skip(c);
  if (*c->p == '#') {
    c->p++;
    if (*c->p == ' ') c->p++;
    size_t len = strcspn(c->p, "\r\n");
    if (!(loc = ty_arena_alloc(&c->tmp, len + 1))) return nomem(c);
    memcpy(loc, c->p, len);
    c->p += len;
  }
  TY_TRY(end_of_line(c));
  ty_node *node;
  ty_status st = ty_build(c->g, name, nargs, args, names, loc && *loc ? loc : NULL, &node);
  if (st != TY_OK) return refused(c, at, st);
  if (node->nouts != n) return fail_at(c, at, "%s has %d outputs, not %d", name, node->nouts, n);
  for (int i = 0; i < n; i++) {
    TY_TRY(same_type(c, &types[i], node->outs[i]));
    TY_TRY(define(c, &types[i], node->outs[i]));
  }
  return TY_OK;
}

static ty_status output_line(parser *c) {
  ty_value *v = NULL;
  while (peek(c, '%')) {
    TY_TRY(value_ref(c, &v));
    if (c->g->outputs.n >= 1 << 16) FAIL("too many outputs");
    TY_TRY(ty_graph_output(c->g, v));
    if (!eat(c, ",")) break;
  }
  return TY_OK;
}

static ty_status value_line(parser *c) {
  TY_VEC(type) types = {0};
  type t;
  ty_status st = TY_OK;
  while (st == TY_OK && !peek(c, '=')) {
    memset(&t, 0, sizeof t);
    st = types.n ? expect(c, ",") : TY_OK;
    if (st == TY_OK && types.n == MAX_OUTS) st = fail_at(c, c->p, "too many outputs");
    if (st == TY_OK) st = parse_type(c, &t);
    if (st == TY_OK && !TY_PUSH(&types, t)) st = nomem(c);
  }
  if (st == TY_OK) st = expect(c, "=");
  if (st == TY_OK) {
    bool one = types.n == 1;
    if (one && eat(c, "input")) st = input_line(c, types.p, TY_ROLE_INPUT);
    else if (one && eat(c, "param")) st = input_line(c, types.p, TY_ROLE_PARAM);
    else if (one && eat(c, "literal")) st = literal_line(c, types.p);
    else st = node_line(c, types.n, types.p);
  }
  TY_VEC_FREE(&types);
  return st;
}

/* The values take the text's numbers; numbers left out belong to values that no longer take part. */
static ty_status renumber(parser *c) {
  ty_graph *g = c->g;
  int old = g->values.n;
  for (int i = 0; i < c->by_id.n; i++) {
    if (c->by_id.p[i]) continue;
    ty_value *v = ty_arena_alloc(&g->arena, sizeof *v);
    if (!v) return nomem(c);
    v->scratch = -1;
    c->by_id.p[i] = v;
  }
  if (c->by_id.n < old) return ty_fail(c->ctx, TY_INTERNAL, "values without a number");
  while (g->values.n < c->by_id.n)
    if (!TY_PUSH(&g->values, NULL)) return nomem(c);
  for (int i = 0; i < c->by_id.n; i++) {
    g->values.p[i] = c->by_id.p[i];
    g->values.p[i]->id = i;
  }
  return TY_OK;
}

static ty_status parse(parser *c) {
  bool ended = false;
  while (*c->p) {
    ty_arena_reset(&c->tmp);
    c->nest = 0;
    skip(c);
    if (*c->p != '\n' && *c->p != '#' && *c->p) {
      if (ended) FAIL("text after the output line");
      if (eat(c, "sym")) TY_TRY(sym_line(c));
      else if (eat(c, "output")) {
        TY_TRY(output_line(c));
        ended = true;
      } else if (peek(c, '%') || peek(c, '=')) TY_TRY(value_line(c));
      else FAIL("a line starts with sym, output, or a value");
    }
    TY_TRY(end_of_line(c));
    if (*c->p == '\n') c->p++;
  }
  if (!ended) FAIL("the output line is missing");
  return renumber(c);
}

ty_status ty_graph_parse(ty_ctx *ctx, const char *text, ty_graph **out) {
  *out = NULL;
  if (strlen(text) > MAX_TEXT) return ty_fail(ctx, TY_INVALID, "1:1: the text is longer than %d bytes", MAX_TEXT);
  parser c = {.ctx = ctx, .g = ty_graph_create(ctx), .text = text, .p = text};
  ty_ctx_clear(ctx);
  ty_status st = c.g ? parse(&c) : nomem(&c);
  if (st == TY_OK && c.g->arena.failed) st = nomem(&c);
  ty_arena_free(&c.tmp);
  TY_VEC_FREE(&c.by_id);
  TY_VEC_FREE(&c.entries);
  if (st == TY_OK) *out = c.g;
  else ty_graph_destroy(c.g);
  return st;
}
