/* schema.c: parses PyTorch's schema text ("(Tensor self, int[2] stride=[], *, bool ceil_mode=False) -> Tensor") to ty_schema. */
#include "ops_int.h"

#include <stdlib.h>
#include <string.h>

typedef struct cur { const char *p; ty_arena *arena; const char *why; } cur;

static void skip(cur *c) { while (*c->p == ' ') c->p++; }

static bool eat(cur *c, const char *s) {
  skip(c);
  size_t n = strlen(s);
  if (strncmp(c->p, s, n)) return false;
  c->p += n;
  return true;
}

static bool word_char(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

static size_t word(cur *c, const char **w) {
  skip(c);
  *w = c->p;
  while (word_char(*c->p)) c->p++;
  return (size_t)(c->p - *w);
}

static bool is(const char *w, size_t n, const char *s) { return strlen(s) == n && !strncmp(w, s, n); }

/* Type names and what they are alone and as a list; -1: there is no such list. */
static const struct { const char *name; int one, list; } types[] = {
  {"Tensor", TY_T_TENSOR, TY_T_TENSORS}, {"int", TY_T_INT, TY_T_INTS}, {"SymInt", TY_T_INT, TY_T_INTS},
  {"float", TY_T_FLOAT, TY_T_FLOATS}, {"bool", TY_T_BOOL, TY_T_BOOLS}, {"Scalar", TY_T_SCALAR, TY_T_OTHER},
  {"str", TY_T_STR, TY_T_OTHER}, {"ScalarType", TY_T_DTYPE, TY_T_OTHER}, {"Layout", TY_T_OTHER, -1}, {"Device", TY_T_OTHER, -1},
  {"MemoryFormat", TY_T_OTHER, -1}, {"Generator", TY_T_OTHER, -1}, {"Dimname", TY_T_OTHER, TY_T_OTHER}, {"Storage", TY_T_OTHER, -1},
  {"QScheme", TY_T_OTHER, -1}, {"Stream", TY_T_OTHER, -1}, {"SymBool", TY_T_BOOL, -1}, {"SymFloat", TY_T_FLOAT, -1},
};

/* Words that stand for numbers in defaults (at::Reduction, and formats nobody reads). */
static bool default_word(const char *w, size_t n, ty_schema_arg *a) {
  if (is(w, n, "None")) return a->def = (ty_arg){0}, true;
  if (is(w, n, "True") || is(w, n, "False")) return a->def = ty_arg_bool(w[0] == 'T'), true;
  if (is(w, n, "Mean")) return a->def = ty_arg_int(1), true;
  if (is(w, n, "Sum")) return a->def = ty_arg_int(2), true;
  if (a->type == TY_T_OTHER) return a->def = (ty_arg){0}, true;
  if (a->type == TY_T_DTYPE) {
    ty_dtype d;
    char name[24];
    if (n >= sizeof name) return false;
    memcpy(name, w, n);
    name[n] = 0;
    if (is(w, n, "long")) return a->def = ty_arg_dtype(TY_i64), true;
    if (is(w, n, "float")) return a->def = ty_arg_dtype(TY_f32), true;
    if (ty_dtype_parse(name, &d)) return a->def = ty_arg_dtype(d), true;
  }
  return false;
}

static bool number(cur *c, bool *is_float, double *f, int32_t *i) {
  skip(c);
  char *end, *iend;
  *f = strtod(c->p, &end);
  if (end == c->p) return false;
  long long v = strtoll(c->p, &iend, 10);
  *is_float = iend != end;
  if (!*is_float && (v > INT32_MAX || v < INT32_MIN)) return c->why = "default out of range", false;
  *i = (int32_t)v;
  c->p = end;
  return true;
}

static bool parse_default(cur *c, ty_schema_arg *a) {
  skip(c);
  a->has_default = true;
  if (*c->p == '"' || *c->p == '\'') {
    char q = *c->p++;
    const char *e = strchr(c->p, q);
    if (!e) return false;
    char *s = ty_arena_alloc(c->arena, (size_t)(e - c->p) + 1);
    if (!s) return false;
    memcpy(s, c->p, (size_t)(e - c->p));
    c->p = e + 1;
    a->def = ty_arg_str(s);
    return true;
  }
  bool fl;
  double f;
  int32_t i;
  if (*c->p == '[') {
    int32_t v[16];
    double fv[16];
    bool bv[16];
    int n = 0;
    c->p++;
    while (!eat(c, "]")) {
      if (n == 16 || (n && !eat(c, ","))) return false;
      const char *w;
      skip(c);
      if (*c->p == 'T' || *c->p == 'F') bv[n] = word(c, &w) == 4, v[n] = bv[n], fv[n] = v[n];
      else if (number(c, &fl, &f, &i)) v[n] = i, fv[n] = f, bv[n] = i != 0;
      else return false;
      n++;
    }
    a->def.n = n;
    size_t each = a->type == TY_T_FLOATS ? sizeof *fv : a->type == TY_T_BOOLS ? sizeof *bv : sizeof *v;
    void *p = ty_arena_alloc(c->arena, (size_t)n * each);
    if (!p) return false;
    if (a->type == TY_T_FLOATS) a->def.kind = TY_ARG_FLOATS, a->def.floats = memcpy(p, fv, (size_t)n * each);
    else if (a->type == TY_T_BOOLS) a->def.kind = TY_ARG_BOOLS, a->def.bools = memcpy(p, bv, (size_t)n * each);
    else if (a->type == TY_T_TENSORS) a->def.kind = TY_ARG_VALUES, a->def.values = p;
    else a->def.kind = TY_ARG_INTS, a->def.ints = memcpy(p, v, (size_t)n * each);
    return true;
  }
  if ((*c->p >= '0' && *c->p <= '9') || *c->p == '-' || *c->p == '.') {
    if (!number(c, &fl, &f, &i)) return false;
    a->def = fl || a->type == TY_T_FLOAT ? ty_arg_float(f) : ty_arg_int(i);
    return true;
  }
  const char *w;
  size_t n = word(c, &w);
  if (is(w, n, "inf")) return a->def = ty_arg_float((double)__builtin_inff()), true;
  return n && default_word(w, n, a);
}

static bool parse_type(cur *c, ty_schema_arg *a) {
  const char *w;
  size_t n = word(c, &w);
  int t = -1;
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (is(w, n, types[i].name)) t = (int)i;
  if (t < 0) return c->why = "unknown type", false;
  int type = types[t].one;
  if (*c->p == '(') { /* alias annotation: (a), (a!), (a -> *), (a!|b) */
    const char *e = strchr(c->p, ')');
    if (!e) return false;
    c->p = e + 1;
  }
  bool inner = *c->p == '?';
  if (inner) c->p++;
  if (*c->p == '[') {
    c->p++;
    type = types[t].list;
    if (type < 0) return c->why = "unknown list type", false;
    while (*c->p >= '0' && *c->p <= '9' && a->list_size < 100) a->list_size = a->list_size * 10 + (*c->p++ - '0');
    if (*c->p++ != ']') return false;
    a->null_entries = inner;
    inner = *c->p == '?';
    if (inner) c->p++;
  }
  a->optional = inner;
  memcpy(&a->type, &type, sizeof type);
  return true;
}

static bool parse_rets(cur *c, ty_schema *s) {
  if (!eat(c, "->")) return true; /* core rows of prims leave it out */
  ty_schema_arg a;
  const char *w;
  if (!eat(c, "(")) {
    memset(&a, 0, sizeof a);
    if (!parse_type(c, &a)) return false;
    s->nrets = 1;
    s->ret_list = a.type == TY_T_TENSORS;
    return true;
  }
  while (!eat(c, ")")) {
    if (s->nrets && !eat(c, ",")) return false;
    memset(&a, 0, sizeof a);
    if (!parse_type(c, &a)) return false;
    word(c, &w);
    s->nrets++;
  }
  return true;
}

bool ty_schema_parse(const char *text, ty_arena *arena, ty_schema *s, const char **why) {
  enum { MAX = 64 };
  ty_schema_arg args[MAX];
  cur c = {text, arena, "syntax"};
  bool kw = false;
  int n = 0;
  *s = (ty_schema){0};
  *why = c.why;
  if (!eat(&c, "(")) return false;
  for (bool first = true; !eat(&c, ")"); first = false) {
    if (!first && !eat(&c, ",")) goto fail;
    if (eat(&c, "*")) {
      kw = true;
      continue;
    }
    if (n == MAX) goto fail;
    ty_schema_arg *a = &args[n++];
    memset(a, 0, sizeof *a);
    a->kwarg_only = kw;
    if (!parse_type(&c, a)) goto fail;
    const char *w;
    size_t len = word(&c, &w);
    char *name = len ? ty_arena_alloc(arena, len + 1) : NULL;
    if (!name) goto fail;
    memcpy(name, w, len);
    a->name = name;
    if (eat(&c, "=") && !parse_default(&c, a)) goto fail;
  }
  if (!parse_rets(&c, s)) goto fail;
  skip(&c);
  if (*c.p) goto fail;
  s->args = ty_arena_alloc(arena, (size_t)n * sizeof *args);
  if (!s->args) goto fail;
  if (n) memcpy(s->args, args, (size_t)n * sizeof *args);
  s->nargs = n;
  return true;
fail:
  *why = c.why;
  return false;
}
