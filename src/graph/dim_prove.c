/* dim_prove.c: what is provable about dims: bounds by the extremes of loop variables and the ranges of sizes; substitution. */
#include "dim_int.h"

enum { MEMO_GE0 = 16, MEMO_MAX, MEMO_MIN, MAX_NEST = 8 };

static const ty_dim_expr *expr(const ty_graph *g, ty_dim d) { return &dim_rec(g, d)->e; }

/* d = coef * atom + rest, with atom of degree 1 or less in every term (it may still occur inside other atoms). */
static bool by_atom(ty_graph *g, const ty_poly *d, ty_dim atom, ty_dim *coef, ty_dim *rest) {
  ty_poly c = {0}, r = {0};
  for (int i = 0; i < d->n; i++) {
    ty_dim p = dim_prod_div(g, d->t[i].p, atom);
    if (p < 0) dim_poly_add(g, &r, d->t[i].c, d->t[i].p);
    else if (dim_prod_div(g, p, atom) >= 0) return false;
    else dim_poly_add(g, &c, d->t[i].c, p);
  }
  *coef = dim_of_poly(g, &c);
  *rest = dim_of_poly(g, &r);
  return *coef >= 0 && *rest >= 0;
}

static ty_dim first_atom(const ty_graph *g, const ty_poly *p, bool (*want)(const ty_graph *, ty_dim)) {
  for (int i = 0; i < p->n; i++) {
    ty_dim atoms[DIM_MAX_ATOMS];
    int n = dim_atoms(g, p->t[i].p, atoms);
    for (int j = 0; j < n; j++)
      if (want(g, atoms[j])) return atoms[j];
  }
  return TY_DIM_BAD;
}

static bool loops_inside(const ty_graph *g, ty_dim a) { return expr(g, a)->op != TY_DIM_SYM && (dim_rec(g, a)->flags & DIM_HAS_LOOPVAR); }
static bool loops(const ty_graph *g, ty_dim a) { return dim_rec(g, a)->flags & DIM_HAS_LOOPVAR; }
static bool is_min_max(const ty_graph *g, ty_dim a) { return expr(g, a)->op == TY_DIM_MIN || expr(g, a)->op == TY_DIM_MAX; }
static bool is_mod(const ty_graph *g, ty_dim a) { return expr(g, a)->op == TY_DIM_MOD && expr(g, expr(g, a)->b)->lo >= 1; }
static bool is_div_const(const ty_graph *g, ty_dim a) {
  return expr(g, a)->op == TY_DIM_DIV && ty_dim_is_const(g, expr(g, a)->b, NULL) && expr(g, expr(g, a)->b)->lo >= 1;
}

/* A bound of d free of loop variables: at least (max) or at most (min) its value everywhere. BAD when none is found.
 * Atoms are bounded one by one, as if independent. */
static ty_dim extreme(ty_graph *g, ty_dim d, bool max, int nest);

static ty_dim atom_bound(ty_graph *g, ty_dim atom, bool max, int nest) {
  ty_dim_expr e = *expr(g, atom);
  if (e.op == TY_DIM_SYM) {
    ty_dim extent = g->dims->syms.p[e.value].extent;
    return max ? ty_dim_sub(g, extent, TY_DIM_ONE) : ty_dim_const(g, 0);
  }
  if (e.op == TY_DIM_MIN || e.op == TY_DIM_MAX) {
    ty_dim a = extreme(g, e.a, max, nest), b = extreme(g, e.b, max, nest);
    return a < 0 || b < 0 ? TY_DIM_BAD : e.op == TY_DIM_MIN ? ty_dim_min(g, a, b) : ty_dim_max(g, a, b);
  }
  if ((dim_rec(g, e.b)->flags & DIM_HAS_LOOPVAR) || expr(g, e.b)->lo < (e.op == TY_DIM_DIV)) return TY_DIM_BAD;
  ty_dim zero = ty_dim_const(g, 0);
  if (e.op == TY_DIM_MOD) return max ? ty_dim_max(g, ty_dim_sub(g, e.b, TY_DIM_ONE), zero) : zero; /* modulo 0 is 0 */
  ty_dim x = extreme(g, e.a, max, nest);
  return x < 0 ? x : ty_dim_div(g, x, e.b);
}

static bool ge0(ty_graph *g, ty_dim d, int nest);

static ty_dim extreme(ty_graph *g, ty_dim d, bool max, int nest) {
  if (d < 0 || nest <= 0) return TY_DIM_BAD;
  ty_dim first = d, r;
  int op = max ? MEMO_MAX : MEMO_MIN;
  if (dim_memo_get(g, op, d, 0, &r)) return r;
  for (int i = 0; i < 32 && d >= 0 && loops(g, d); i++) {
    ty_poly p;
    dim_poly_of(g, d, &p);
    ty_dim a = first_atom(g, &p, loops_inside), c, rest;
    if (a < 0) a = first_atom(g, &p, loops);
    if (a < 0 || !by_atom(g, &p, a, &c, &rest)) return TY_DIM_BAD;
    bool pos = ge0(g, c, nest - 1);
    if (!pos && !ge0(g, ty_dim_sub(g, ty_dim_const(g, 0), c), nest - 1)) return TY_DIM_BAD;
    ty_dim b = atom_bound(g, a, pos == max, nest - 1);
    d = ty_dim_add(g, rest, ty_dim_mul(g, c, b));
  }
  if (d >= 0 && loops(g, d)) return TY_DIM_BAD;
  dim_memo_put(g, op, first, 0, d);
  return d;
}

/* With each size symbol written as its least value plus something >= 0, are all coefficients >= 0? */
static bool shifted_ge0(ty_graph *g, ty_dim d) {
  ty_poly p, sum = {0};
  dim_poly_of(g, d, &p);
  if (p.n > 12) return false;
  for (int i = 0; i < p.n; i++) {
    ty_dim atoms[DIM_MAX_ATOMS];
    int n = dim_atoms(g, p.t[i].p, atoms);
    if (n > 5) return false;
    ty_poly prod = {.n = 1, .t = {{p.t[i].c, TY_DIM_ONE}}};
    for (int j = 0; j < n; j++) {
      int64_t lo = expr(g, atoms[j])->lo;
      if (lo < 0) return false;
      ty_poly next = {0};
      dim_poly_addmul(g, &next, &prod, (ty_term){1, atoms[j]});
      if (lo) dim_poly_addmul(g, &next, &prod, (ty_term){lo, TY_DIM_ONE});
      prod = next;
    }
    dim_poly_addmul(g, &sum, &prod, (ty_term){1, TY_DIM_ONE});
  }
  if (sum.bad) return false;
  for (int i = 0; i < sum.n; i++)
    if (sum.t[i].c < 0) return false;
  return true;
}

/* Sizes only. Min and max are one of their operands; c*(x//q) lies between c*(x-q+1)/q and c*x/q. */
static bool sizes_ge0(ty_graph *g, ty_dim d, int nest) {
  if (d < 0 || expr(g, d)->hi < 0) return false;
  if (expr(g, d)->lo >= 0 || shifted_ge0(g, d)) return true;
  if (nest <= 0) return false;
  ty_poly p;
  dim_poly_of(g, d, &p);
  ty_dim a = first_atom(g, &p, is_min_max), c, rest;
  if (a >= 0) {
    if (!by_atom(g, &p, a, &c, &rest)) return false;
    ty_dim_expr e = *expr(g, a);
    bool one = ge0(g, ty_dim_add(g, rest, ty_dim_mul(g, c, e.a)), nest - 1);
    /* one operand is enough where the atom is at least as good as it: min with c <= 0, max with c >= 0 */
    bool enough = e.op == TY_DIM_MAX ? expr(g, c)->lo >= 0 : expr(g, c)->hi <= 0;
    if (one == enough) return one;
    return ge0(g, ty_dim_add(g, rest, ty_dim_mul(g, c, e.b)), nest - 1);
  }
  a = first_atom(g, &p, is_mod);
  if (a >= 0 && by_atom(g, &p, a, &c, &rest)) {
    ty_dim_expr e = *expr(g, a);
    if (expr(g, c)->lo >= 0) return ge0(g, rest, nest - 1);
    if (expr(g, c)->hi <= 0) return ge0(g, ty_dim_add(g, rest, ty_dim_mul(g, c, ty_dim_sub(g, e.b, TY_DIM_ONE))), nest - 1);
    return false;
  }
  a = first_atom(g, &p, is_div_const);
  if (a >= 0 && by_atom(g, &p, a, &c, &rest)) {
    ty_dim_expr e = *expr(g, a);
    ty_dim x = e.a;
    if (expr(g, c)->lo >= 0) x = ty_dim_sub(g, ty_dim_add(g, x, TY_DIM_ONE), e.b);
    else if (expr(g, c)->hi > 0) return false;
    return ge0(g, ty_dim_add(g, ty_dim_mul(g, rest, e.b), ty_dim_mul(g, c, x)), nest - 1);
  }
  return false;
}

static bool ge0(ty_graph *g, ty_dim d, int nest) {
  if (d < 0) return false;
  if (expr(g, d)->lo >= 0) return true;
  if (expr(g, d)->hi < 0 || nest <= 0) return false;
  ty_dim known;
  if (dim_memo_get(g, MEMO_GE0, d, 0, &known)) return known == 1;
  if (g->dims->proving > 24) return false;
  g->dims->proving++;
  bool r = sizes_ge0(g, loops(g, d) ? extreme(g, d, false, nest) : d, nest);
  if (--g->dims->proving == 0 || r) dim_memo_put(g, MEMO_GE0, d, 0, r);
  return r;
}

/* Overflow met on the way to a proof says nothing about the question: the error text stays as it was only by luck, and
 * callers look at handles alone. */
bool dim_ge0(ty_graph *g, ty_dim d) { return ge0(g, d, MAX_NEST); }

bool ty_dim_bounds(ty_graph *g, ty_dim d, ty_dim *lo, ty_dim *hi) {
  *lo = extreme(g, d, false, MAX_NEST);
  *hi = extreme(g, d, true, MAX_NEST);
  return *lo >= 0 && *hi >= 0;
}

bool ty_dim_known_eq(ty_graph *g, ty_dim a, ty_dim b) {
  if (a < 0 || b < 0) return false;
  return a == b || ty_dim_is(g, ty_dim_sub(g, a, b), 0);
}

bool ty_dim_known_lt(ty_graph *g, ty_dim a, ty_dim b) { return dim_ge0(g, ty_dim_sub(g, ty_dim_sub(g, b, a), TY_DIM_ONE)); }

ty_dim ty_dim_subst(ty_graph *g, ty_dim d, ty_dim sym, ty_dim with) {
  if (with < 0 || d < 0) return TY_DIM_BAD;
  if (d == sym) return with;
  if (!ty_dim_depends(g, d, sym)) return d;
  ty_dim_expr e = *expr(g, d);
  ty_dim a = ty_dim_subst(g, e.a, sym, with), b = ty_dim_subst(g, e.b, sym, with);
  switch (e.op) {
  case TY_DIM_ADD: return ty_dim_add(g, a, b);
  case TY_DIM_MUL: return ty_dim_mul(g, a, b);
  case TY_DIM_DIV: return ty_dim_div(g, a, b);
  case TY_DIM_MOD: return ty_dim_mod(g, a, b);
  case TY_DIM_MIN: return ty_dim_min(g, a, b);
  default: return ty_dim_max(g, a, b);
  }
}

bool ty_dim_linear(ty_graph *g, ty_dim d, ty_dim var, ty_dim *coef, ty_dim *rest) {
  if (d < 0 || var < 0) return false;
  if (!ty_dim_depends(g, d, var)) {
    *coef = ty_dim_const(g, 0);
    *rest = d;
    return true;
  }
  ty_poly p;
  dim_poly_of(g, d, &p);
  return by_atom(g, &p, var, coef, rest) && !ty_dim_depends(g, *coef, var) && !ty_dim_depends(g, *rest, var);
}
