/* guard.c: the relations that export wrote down as Python, "L['a'].size()[0] == 2*L['b'].size()[0]": comparisons of sizes with + - *
 * // and % are checked at each call; whatever else there is, is listed as not checked. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive_int.h"

typedef struct cursor { ar_importer *im; const char *p; int depth; } cursor;

static void skip(cursor *c) { while (*c->p == ' ') c->p++; }

static bool eat(cursor *c, const char *s) {
  skip(c);
  size_t n = strlen(s);
  if (strncmp(c->p, s, n)) return false;
  c->p += n;
  return true;
}

static bool number(cursor *c, int64_t *v) {
  char *end;
  skip(c);
  if (*c->p < '0' || *c->p > '9') return false;
  errno = 0;
  *v = strtoll(c->p, &end, 10);
  c->p = end;
  return errno == 0;
}

/* Paths as guards have them, and as the tree of arguments has: args.0 is args_0 there, and kwargs.x is x. */
static bool same_leaf(const char *path, const char *leaf) {
  const char *dot = strchr(path, '.');
  size_t n = dot ? (size_t)(dot - path) : 0;
  return (dot && !strcmp(dot + 1, leaf)) || (dot && !strncmp(path, leaf, n) && leaf[n] == '_' && !strcmp(dot + 1, leaf + n + 1));
}

/* L['x']['k'][0].size()[1]: the leaf "x.k.0", its size 1. */
static bool size(cursor *c, ty_dim *out) {
  char path[300] = "";
  size_t n = 0;
  int64_t index;
  if (!eat(c, "L[")) return false;
  do {
    if (n && n < sizeof path - 1) path[n++] = '.';
    char quote = *c->p;
    if (quote == '\'' || quote == '"') {
      for (c->p++; *c->p && *c->p != quote; c->p++)
        if (n < sizeof path - 1) path[n++] = *c->p;
      if (!*c->p++) return false;
    } else {
      if (!number(c, &index)) return false;
      n += (size_t)snprintf(path + n, sizeof path - n, "%lld", (long long)index);
    }
    if (n >= sizeof path - 24 || !eat(c, "]")) return false;
  } while (eat(c, "["));
  if (!eat(c, ".size()[") || !number(c, &index) || !eat(c, "]")) return false;
  path[n] = 0;
  for (int pass = 0; pass < 2; pass++) /* the very name first */
    for (int i = 0; i < c->im->ninputs; i++) {
      const ar_input *in = &c->im->inputs[i];
      if (in->kind != TY_IMPORTED_USER || !in->v || !(pass ? same_leaf(path, in->fqn) : !strcmp(path, in->fqn)) || index >= in->v->rank) continue;
      *out = in->v->shape[index];
      return true;
    }
  return false;
}

static bool sum(cursor *c, ty_dim *out);

static bool atom(cursor *c, ty_dim *out) {
  int64_t v;
  if (++c->depth > AR_MAX_EXPR_DEPTH) return false;
  bool good = true;
  if (eat(c, "(")) good = sum(c, out) && eat(c, ")");
  else if (eat(c, "-")) good = atom(c, out) && (*out = ty_dim_sub(c->im->g, ty_dim_const(c->im->g, 0), *out)) >= 0;
  else if (number(c, &v)) good = (*out = ty_dim_const(c->im->g, v)) >= 0;
  else good = size(c, out);
  c->depth--;
  return good;
}

static bool product(cursor *c, ty_dim *out) {
  ty_graph *g = c->im->g;
  ty_dim b;
  if (!atom(c, out)) return false;
  for (;;) {
    int op = eat(c, "//") ? 1 : eat(c, "%") ? 2 : eat(c, "*") ? 3 : 0;
    if (!op) return true;
    if (!atom(c, &b)) return false;
    *out = op == 1 ? ty_dim_div(g, *out, b) : op == 2 ? ty_dim_mod(g, *out, b) : ty_dim_mul(g, *out, b);
    if (*out < 0) return false;
  }
}

static bool sum(cursor *c, ty_dim *out) {
  ty_dim b;
  if (!product(c, out)) return false;
  for (;;) {
    int op = eat(c, "+") ? 1 : eat(c, "-") ? 2 : 0;
    if (!op) return true;
    if (!product(c, &b)) return false;
    *out = op == 1 ? ty_dim_add(c->im->g, *out, b) : ty_dim_sub(c->im->g, *out, b);
    if (*out < 0) return false;
  }
}

static bool guard(ar_importer *im, const char *text, ty_imported_guard *out) {
  cursor c = {im, text, 0};
  ty_dim a, b;
  if (!sum(&c, &a)) return false;
  bool eq = eat(&c, "=="), ne = !eq && eat(&c, "!="), le = !eq && !ne && eat(&c, "<="), ge = !eq && !ne && !le && eat(&c, ">=");
  bool lt = !eq && !ne && !le && !ge && eat(&c, "<"), gt = !eq && !ne && !le && !ge && !lt && eat(&c, ">");
  if (!(eq || ne || le || ge || lt || gt) || !sum(&c, &b)) return false;
  skip(&c);
  if (*c.p) return false;
  bool swap = ge || gt;
  *out = (ty_imported_guard){swap ? b : a, swap ? a : b, eq ? TY_GUARD_EQ : ne ? TY_GUARD_NE : lt || gt ? TY_GUARD_LT : TY_GUARD_LE, text};
  return true;
}

/* true when the symbols' ranges say so already. */
static bool known(ty_graph *g, const ty_imported_guard *q) {
  switch (q->rel) {
  case TY_GUARD_EQ: return ty_dim_known_eq(g, q->a, q->b);
  case TY_GUARD_NE: return ty_dim_known_lt(g, q->a, q->b) || ty_dim_known_lt(g, q->b, q->a);
  case TY_GUARD_LT: return ty_dim_known_lt(g, q->a, q->b);
  default: return ty_dim_known_lt(g, q->a, ty_dim_add(g, q->b, ty_dim_const(g, 1)));
  }
}

ty_status ar_guards(ar_importer *im) {
  json_object *all;
  int n;
  ty_imported *out = im->out;
  if (!ar_get(im->a->root, "guards_code")) return TY_OK;
  TY_TRY(ar_list(&im->at, im->a->root, "guards_code", &all, &n));
  if (n > AR_MAX_LIST) return ar_fail(&im->at, TY_INVALID, "%d guards", n);
  out->guards = ty_arena_alloc(&out->arena, (size_t)n * sizeof *out->guards);
  out->ignored = ty_arena_alloc(&out->arena, (size_t)n * sizeof *out->ignored);
  if (!out->guards || !out->ignored) return ar_nomem(&im->at);
  for (int i = 0; i < n; i++) {
    const char *text;
    TY_TRY(ar_text_of(&im->at, json_object_array_get_idx(all, (size_t)i), "guards_code", AR_MAX_EXPR, &text));
    char *kept = ty_arena_strdup(&out->arena, text);
    ty_imported_guard q;
    if (!kept) return ar_nomem(&im->at);
    ty_ctx_clear(im->ctx);
    if (!guard(im, kept, &q)) out->ignored[out->nignored++] = kept;
    else if (!known(im->g, &q)) out->guards[out->nguards++] = q;
  }
  return TY_OK;
}
