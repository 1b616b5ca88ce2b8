/* dim.c: the table of dims: hash-consing, proven ranges, symbols, evaluation and printing. */
#include "dim_int.h"

#include <stdio.h>
#include <string.h>

int64_t dim_sat_add(int64_t a, int64_t b) {
  int64_t r;
  if (a == INT64_MIN || b == INT64_MIN) return INT64_MIN;
  if (a == INT64_MAX || b == INT64_MAX) return INT64_MAX;
  return __builtin_add_overflow(a, b, &r) ? (a < 0 ? INT64_MIN : INT64_MAX) : r;
}

int64_t dim_sat_mul(int64_t a, int64_t b) {
  int64_t r;
  if (a == 0 || b == 0) return 0;
  bool inf = a == INT64_MIN || a == INT64_MAX || b == INT64_MIN || b == INT64_MAX;
  if (inf || __builtin_mul_overflow(a, b, &r)) return (a < 0) == (b < 0) ? INT64_MAX : INT64_MIN;
  return r;
}

int64_t dim_floordiv(int64_t a, int64_t b) {
  if (b == 0) return 0;
  if (b == -1) return (int64_t)(0 - (uint64_t)a);
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

int64_t dim_floormod(int64_t a, int64_t b) {
  if (b == 0 || b == -1) return 0;
  int64_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* Floor division of range ends, infinities kept. */
static int64_t sat_div(int64_t a, int64_t b) {
  if (a == INT64_MIN || a == INT64_MAX) return b == INT64_MAX && a == INT64_MAX ? INT64_MAX : a;
  if (b == INT64_MAX) return a < 0 ? -1 : 0;
  return dim_floordiv(a, b);
}

static void range_of(const ty_graph *g, ty_dim_expr *e) {
  if (e->op == TY_DIM_CONST) { e->lo = e->hi = e->value; return; }
  if (e->op == TY_DIM_SYM) return; /* set by the symbol */
  const ty_dim_expr *a = &dim_rec(g, e->a)->e, *b = &dim_rec(g, e->b)->e;
  e->lo = INT64_MIN;
  e->hi = INT64_MAX;
  switch (e->op) {
  case TY_DIM_ADD:
    e->lo = dim_sat_add(a->lo, b->lo);
    e->hi = a->hi == INT64_MAX || b->hi == INT64_MAX ? INT64_MAX : dim_sat_add(a->hi, b->hi);
    break;
  case TY_DIM_MUL: {
    int64_t w = dim_sat_mul(a->lo, b->lo), x = dim_sat_mul(a->lo, b->hi), y = dim_sat_mul(a->hi, b->lo), z = dim_sat_mul(a->hi, b->hi);
    e->lo = min64(min64(w, x), min64(y, z));
    e->hi = max64(max64(w, x), max64(y, z));
    break;
  }
  case TY_DIM_DIV:
    if (b->lo >= 1) {
      e->lo = sat_div(a->lo, a->lo >= 0 ? b->hi : b->lo);
      e->hi = sat_div(a->hi, a->hi >= 0 ? b->lo : b->hi);
    } else if (b->lo >= 0 && a->lo >= 0) {
      e->lo = 0;
      e->hi = a->hi;
    }
    break;
  case TY_DIM_MOD:
    if (b->lo >= 0) {
      e->lo = 0;
      e->hi = b->hi == INT64_MAX ? INT64_MAX : max64(b->hi - 1, 0);
      if (a->lo >= 0) e->hi = min64(e->hi, a->hi);
    }
    break;
  case TY_DIM_MIN: e->lo = min64(a->lo, b->lo); e->hi = min64(a->hi, b->hi); break;
  case TY_DIM_MAX: e->lo = max64(a->lo, b->lo); e->hi = max64(a->hi, b->hi); break;
  default: break;
  }
}

/* ---- The table ---- */
static uint32_t mix(uint64_t h) {
  h ^= h >> 32;
  h *= 0xd6e8feb86659fd93u;
  h ^= h >> 32;
  h *= 0xd6e8feb86659fd93u;
  return (uint32_t)(h ^ h >> 32);
}

static uint32_t key_hash(int op, int64_t value, ty_dim a, ty_dim b) {
  return mix((uint64_t)value * 0x9e3779b97f4a7c15u ^ ((uint64_t)(uint32_t)a << 32 | (uint32_t)b) ^ (uint64_t)op << 59);
}

ty_dim dim_bad(ty_graph *g, const char *why) {
  if (why) ty_fail(g->ctx, TY_UNSUPPORTED, "%s", why);
  else {
    g->arena.failed = true;
    ty_fail(g->ctx, TY_NOMEM, "out of memory");
  }
  return TY_DIM_BAD;
}

static bool table_grow(struct ty_dims *d) {
  int n = d->nslots ? d->nslots * 2 : 256;
  int32_t *s = ty_alloc((size_t)n * sizeof *s);
  if (!s) return false;
  for (int i = 0; i < d->recs.n; i++) {
    const ty_dim_expr *e = &d->recs.p[i].e;
    uint32_t h = key_hash((int)e->op, e->value, e->a, e->b);
    while (s[h & (uint32_t)(n - 1)]) h++;
    s[h & (uint32_t)(n - 1)] = i + 1;
  }
  ty_free(d->slots);
  d->slots = s;
  d->nslots = n;
  return true;
}

ty_dim dim_intern(ty_graph *g, ty_dim_op op, int64_t value, ty_dim a, ty_dim b) {
  struct ty_dims *d = g->dims;
  bool binary = op > TY_DIM_SYM;
  if (binary && (a < 0 || b < 0)) return TY_DIM_BAD;
  if (!binary) a = b = TY_DIM_BAD;
  if (2 * (d->recs.n + 1) > d->nslots && !table_grow(d)) return dim_bad(g, NULL);
  uint32_t h = key_hash((int)op, value, a, b), mask = (uint32_t)d->nslots - 1;
  for (; d->slots[h & mask]; h++) {
    ty_dim i = d->slots[h & mask] - 1;
    const ty_dim_expr *e = &d->recs.p[i].e;
    if (e->op == op && e->value == value && e->a == a && e->b == b) return i;
  }
  if (d->recs.n >= DIM_MAX_EXPRS) return dim_bad(g, "too many symbolic size expressions");
  ty_dim_rec r = {.e = {.op = op, .value = value, .a = a, .b = b}, .weight = 1};
  if (op == TY_DIM_SYM) {
    const ty_sym *s = &d->syms.p[value];
    r.e.lo = s->lo;
    r.e.hi = s->hi;
    r.syms = (uint64_t)1 << (value & 63);
    r.flags = s->extent >= 0 ? DIM_HAS_LOOPVAR : 0;
  } else if (binary) {
    const ty_dim_rec *x = &d->recs.p[a], *y = &d->recs.p[b];
    r.syms = x->syms | y->syms;
    r.weight = 1 + x->weight + y->weight;
    r.depth = (int16_t)(max64(x->depth, y->depth) + (op >= TY_DIM_DIV));
    r.flags = (uint16_t)((x->flags | y->flags) & DIM_HAS_LOOPVAR);
    if (op == TY_DIM_MOD) r.flags |= DIM_HAS_MOD;
    else if (op == TY_DIM_ADD || op == TY_DIM_MUL) r.flags |= (uint16_t)((x->flags | y->flags) & DIM_HAS_MOD);
    if (r.weight > DIM_MAX_WEIGHT || r.depth > DIM_MAX_DEPTH) return dim_bad(g, "a symbolic size grew too large");
  }
  range_of(g, &r.e);
  if (!TY_PUSH(&d->recs, r)) return dim_bad(g, NULL);
  d->slots[h & mask] = d->recs.n;
  return d->recs.n - 1;
}

static uint32_t memo_slot(const ty_dim_memo *m, int n, int op, ty_dim a, ty_dim b) {
  uint32_t h = key_hash(op, 0x5bd1, a, b), mask = (uint32_t)n - 1;
  while (m[h & mask].op && (m[h & mask].op != op || m[h & mask].a != a || m[h & mask].b != b)) h++;
  return h & mask;
}

bool dim_memo_get(const ty_graph *g, int op, ty_dim a, ty_dim b, ty_dim *r) {
  const struct ty_dims *d = g->dims;
  if (!d->nmemo) return false;
  const ty_dim_memo *m = &d->memo[memo_slot(d->memo, d->nmemo, op, a, b)];
  if (!m->op) return false;
  *r = m->r;
  return true;
}

/* Only a cache: without memory for it nothing is lost. */
void dim_memo_put(ty_graph *g, int op, ty_dim a, ty_dim b, ty_dim r) {
  struct ty_dims *d = g->dims;
  if (r < 0) return;
  if (2 * (d->memo_n + 1) > d->nmemo) {
    int n = d->nmemo ? d->nmemo * 2 : 256;
    ty_dim_memo *m = n > DIM_MAX_EXPRS ? NULL : ty_alloc((size_t)n * sizeof *m);
    if (!m) return;
    for (int i = 0; i < d->nmemo; i++)
      if (d->memo[i].op) m[memo_slot(m, n, d->memo[i].op, d->memo[i].a, d->memo[i].b)] = d->memo[i];
    ty_free(d->memo);
    d->memo = m;
    d->nmemo = n;
  }
  ty_dim_memo *m = &d->memo[memo_slot(d->memo, d->nmemo, op, a, b)];
  if (!m->op) d->memo_n++;
  *m = (ty_dim_memo){op, a, b, r};
}

bool dim_init(ty_graph *g) {
  g->dims = ty_alloc(sizeof *g->dims);
  return g->dims && ty_dim_const(g, 0) == 0 && ty_dim_const(g, 1) == TY_DIM_ONE;
}

void dim_free(ty_graph *g) {
  if (!g->dims) return;
  TY_VEC_FREE(&g->dims->recs);
  TY_VEC_FREE(&g->dims->syms);
  TY_VEC_FREE(&g->dims->sym_dims);
  ty_free(g->dims->slots);
  ty_free(g->dims->memo);
  ty_free(g->dims);
  g->dims = NULL;
}

/* ---- Symbols and look-ups ---- */
ty_dim ty_dim_const(ty_graph *g, int64_t v) { return dim_intern(g, TY_DIM_CONST, v, -1, -1); }

static bool name_ok(const char *s) {
  if (!strcmp(s, "min") || !strcmp(s, "max") || !strcmp(s, "input") || !strcmp(s, "param") || !strcmp(s, "literal") || !strcmp(s, "None") ||
      !strcmp(s, "true") || !strcmp(s, "false") || !strcmp(s, "inf") || !strcmp(s, "nan"))
    return false;
  ty_dtype dt;
  if (strlen(s) > 64 || ty_dtype_parse(s, &dt)) return false;
  for (const char *p = s; *p; p++)
    if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || *p == '_' || (p > s && *p >= '0' && *p <= '9'))) return false;
  bool index = *s == '_' && s[1]; /* _0, _1, ... are the indices of ty_dim_index */
  for (const char *p = s + 1; index && *p; p++) index = *p >= '0' && *p <= '9';
  return *s != 0 && !index;
}

static ty_dim symbol_new(ty_graph *g, ty_sym s) {
  struct ty_dims *d = g->dims;
  s.name = ty_arena_strdup(&g->arena, s.name);
  if (!s.name || !TY_PUSH(&d->syms, s)) return dim_bad(g, NULL);
  ty_dim r = dim_intern(g, TY_DIM_SYM, d->syms.n - 1, -1, -1);
  if (r < 0 || !TY_PUSH(&d->sym_dims, r)) return d->syms.n--, dim_bad(g, NULL);
  return r;
}

ty_dim ty_dim_symbol(ty_graph *g, const char *name, int64_t lo, int64_t hi, int64_t hint) {
  struct ty_dims *d = g->dims;
  for (int i = 0; i < d->syms.n; i++)
    if (d->syms.p[i].extent < 0 && !strcmp(d->syms.p[i].name, name)) return d->sym_dims.p[i];
  if (!name_ok(name)) return ty_fail(g->ctx, TY_INVALID, "\"%.80s\" is no name for a symbol", name), TY_DIM_BAD;
  if (lo > hi) return ty_fail(g->ctx, TY_INVALID, "symbol %s has an empty range", name), TY_DIM_BAD;
  return symbol_new(g, (ty_sym){.name = name, .lo = lo, .hi = hi, .extent = -1, .hint = hint});
}

ty_dim ty_dim_loopvar(ty_graph *g, const char *name, ty_dim extent) {
  if (extent < 0) return TY_DIM_BAD;
  int64_t lo = dim_rec(g, extent)->e.lo, hi = dim_rec(g, extent)->e.hi;
  /* Over an extent that may be 0 it stays a variable: as the constant 0 it would be read where there is nothing. */
  return symbol_new(g, (ty_sym){.name = name, .lo = 0, .hi = hi == INT64_MAX ? hi : max64(hi, 1 + (lo < 1)) - 1, .extent = extent});
}

ty_dim ty_dim_index(ty_graph *g, int d) {
  ty_dim *slot = &g->dims->index[d];
  char name[16];
  if (*slot) return *slot;
  snprintf(name, sizeof name, "_%d", d);
  ty_dim i = ty_dim_loopvar(g, name, ty_dim_const(g, (int64_t)1 << 40)); /* more than any size; bounded, so that ranges stay finite */
  if (i >= 0) *slot = i;
  return i;
}

static const ty_dim_expr bad_expr = {.op = TY_DIM_CONST, .a = TY_DIM_BAD, .b = TY_DIM_BAD, .lo = INT64_MIN, .hi = INT64_MAX};
const ty_dim_expr *ty_dim_get(const ty_graph *g, ty_dim d) { return d < 0 || d >= g->dims->recs.n ? &bad_expr : &dim_rec(g, d)->e; }
const ty_sym *ty_dim_sym(const ty_graph *g, int sym) { return &g->dims->syms.p[sym]; }
int ty_dim_nsyms(const ty_graph *g) { return g->dims->syms.n; }

bool ty_dim_is_const(const ty_graph *g, ty_dim d, int64_t *value) {
  if (d < 0 || dim_rec(g, d)->e.op != TY_DIM_CONST) return false;
  if (value) *value = dim_rec(g, d)->e.value;
  return true;
}

bool ty_dim_is(const ty_graph *g, ty_dim d, int64_t value) {
  int64_t v;
  return ty_dim_is_const(g, d, &v) && v == value;
}

bool ty_dim_is_static(const ty_graph *g, ty_dim d) {
  if (d < 0) return false;
  const ty_dim_expr *e = &dim_rec(g, d)->e;
  if (e->op == TY_DIM_SYM) return ty_dim_sym(g, (int)e->value)->extent >= 0;
  return e->op == TY_DIM_CONST || (ty_dim_is_static(g, e->a) && ty_dim_is_static(g, e->b));
}

bool ty_dim_depends(const ty_graph *g, ty_dim d, ty_dim sym) {
  if (d < 0 || sym < 0) return false;
  if (d == sym) return true;
  const ty_dim_rec *r = dim_rec(g, d);
  if (r->e.op <= TY_DIM_SYM || (r->syms & dim_rec(g, sym)->syms) != dim_rec(g, sym)->syms) return false;
  return ty_dim_depends(g, r->e.a, sym) || ty_dim_depends(g, r->e.b, sym);
}

/* ---- Values ---- */
static int64_t eval_op(ty_dim_op op, int64_t a, int64_t b) {
  switch (op) {
  case TY_DIM_ADD: return (int64_t)((uint64_t)a + (uint64_t)b);
  case TY_DIM_MUL: return (int64_t)((uint64_t)a * (uint64_t)b);
  case TY_DIM_DIV: return dim_floordiv(a, b);
  case TY_DIM_MOD: return dim_floormod(a, b);
  case TY_DIM_MIN: return min64(a, b);
  default: return max64(a, b);
  }
}

int64_t ty_dim_eval(const ty_graph *g, ty_dim d, const int64_t *syms) {
  if (d < 0) return 0;
  const ty_dim_expr *e = &dim_rec(g, d)->e;
  if (e->op == TY_DIM_CONST) return e->value;
  if (e->op == TY_DIM_SYM) return syms[e->value];
  return eval_op(e->op, ty_dim_eval(g, e->a, syms), ty_dim_eval(g, e->b, syms));
}

static int64_t hint_of(const ty_graph *g, ty_dim d) {
  const ty_dim_expr *e = &dim_rec(g, d)->e;
  if (e->op == TY_DIM_CONST) return e->value;
  if (e->op == TY_DIM_SYM) {
    const ty_sym *s = ty_dim_sym(g, (int)e->value);
    if (s->hint || s->extent >= 0) return s->hint;
    return s->lo > 0 ? s->lo : s->hi < 1 ? s->hi : 1;
  }
  return eval_op(e->op, hint_of(g, e->a), hint_of(g, e->b));
}
int64_t ty_dim_hint(const ty_graph *g, ty_dim d) {
  const int64_t most = (int64_t)1 << 48; /* more than any size: whoever weighs hints may add and double them */
  return d < 0 ? 0 : min64(max64(hint_of(g, d), -most), most);
}

ty_dim ty_dim_product(ty_graph *g, int n, const ty_dim *d) {
  ty_dim r = ty_dim_const(g, 1);
  for (int i = 0; i < n; i++) r = ty_dim_mul(g, r, d[i]);
  return r;
}

/* ---- Text: infix with Python's meaning ---- */
static void print_operand(const ty_graph *g, ty_dim d, ty_str *out) {
  const ty_dim_expr *e = &dim_rec(g, d)->e;
  bool bare = e->op == TY_DIM_SYM || e->op == TY_DIM_MIN || e->op == TY_DIM_MAX || (e->op == TY_DIM_CONST && e->value >= 0);
  if (!bare) ty_str_add(out, "(");
  ty_dim_print(g, d, out);
  if (!bare) ty_str_add(out, ")");
}

/* One atom, or a product: factors that are div or mod stand in parentheses when they are not alone. */
static void print_product(const ty_graph *g, ty_dim p, bool alone, ty_str *out) {
  const ty_dim_expr *e = &dim_rec(g, p)->e;
  switch (e->op) {
  case TY_DIM_CONST: ty_str_add(out, "%lld", (long long)e->value); break;
  case TY_DIM_SYM: ty_str_add(out, "%s", ty_dim_sym(g, (int)e->value)->name); break;
  case TY_DIM_MUL:
    print_product(g, e->a, false, out);
    ty_str_add(out, "*");
    print_product(g, e->b, false, out);
    break;
  case TY_DIM_DIV:
  case TY_DIM_MOD:
    if (!alone) ty_str_add(out, "(");
    print_operand(g, e->a, out);
    ty_str_add(out, e->op == TY_DIM_DIV ? "//" : "%%");
    print_operand(g, e->b, out);
    if (!alone) ty_str_add(out, ")");
    break;
  case TY_DIM_MIN:
  case TY_DIM_MAX:
    ty_str_add(out, e->op == TY_DIM_MIN ? "min(" : "max(");
    ty_dim_print(g, e->a, out);
    ty_str_add(out, ", ");
    ty_dim_print(g, e->b, out);
    ty_str_add(out, ")");
    break;
  default: break;
  }
}

void ty_dim_print(const ty_graph *g, ty_dim d, ty_str *out) {
  if (d < 0) {
    ty_str_add(out, "?");
    return;
  }
  ty_poly p;
  dim_poly_of(g, d, &p);
  if (p.n == 0) ty_str_add(out, "0");
  for (int i = 0; i < p.n; i++) {
    int64_t c = p.t[i].c;
    bool one = p.t[i].p == TY_DIM_ONE, neg = c < 0;
    uint64_t mag = neg ? 0 - (uint64_t)c : (uint64_t)c;
    if (i) ty_str_add(out, neg ? " - " : " + ");
    else if (neg) ty_str_add(out, "-");
    if (one) ty_str_add(out, "%llu", (unsigned long long)mag);
    else if (mag != 1) ty_str_add(out, "%llu*", (unsigned long long)mag);
    if (!one) print_product(g, p.t[i].p, mag == 1 && !neg, out);
  }
}
int ty_dim_count(const ty_graph *g) { return g->dims->recs.n; }
ty_dim ty_dim_of_sym(const ty_graph *g, int sym) { return g->dims->sym_dims.p[sym]; }
