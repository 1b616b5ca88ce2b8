/* dim_simplify.c: the arithmetic of dims: every result is a normal form, with div and mod simplified as far as ranges prove. */
#include "dim_int.h"

enum { MEMO_ADD = 1, MEMO_MUL, MEMO_DIV, MEMO_MOD, MEMO_SUB };

static const ty_dim_expr *expr(const ty_graph *g, ty_dim d) { return &dim_rec(g, d)->e; }

/* Takes e out of p if p has every term of it, with the same sign and at least its size. */
static bool take_out(ty_graph *g, ty_poly *p, const ty_poly *e) {
  if (e->bad || e->n == 0) return false;
  for (int i = 0; i < e->n; i++) {
    int j = 0;
    while (j < p->n && p->t[j].p != e->t[i].p) j++;
    if (j == p->n) return false;
    int64_t have = p->t[j].c, want = e->t[i].c;
    if ((have < 0) != (want < 0) || (have < 0 ? have > want : have < want)) return false;
  }
  dim_poly_addmul(g, p, e, (ty_term){-1, TY_DIM_ONE});
  return !p->bad;
}

/* p += c * rest-of-product * d, where `by` is that monomial. */
static void add_form(ty_graph *g, ty_poly *p, ty_dim d, ty_term by) {
  ty_poly q;
  dim_poly_of(g, d, &q);
  dim_poly_addmul(g, p, &q, by);
}

/* One step: A*(q*(x//q) + x%q) becomes A*x, and A*(q*((x//q)%a) + x%q) becomes A*(x%(q*a)). */
static bool recombine_once(ty_graph *g, ty_poly *p) {
  for (int i = 0; i < p->n; i++) {
    ty_dim atoms[DIM_MAX_ATOMS];
    if (p->t[i].c == INT64_MIN) continue; /* it has no negative */
    int n = dim_atoms(g, p->t[i].p, atoms);
    for (int j = 0; j < n; j++) {
      if (expr(g, atoms[j])->op != TY_DIM_MOD) continue;
      ty_dim m = atoms[j], x = expr(g, m)->a, q = expr(g, m)->b;
      if (expr(g, q)->lo < 1) continue;
      ty_term by = {p->t[i].c, dim_prod_div(g, p->t[i].p, m)};
      ty_dim d = ty_dim_div(g, x, q);
      if (d < 0 || by.p < 0 || ty_dim_is(g, d, 0)) continue;
      ty_poly left = *p, want = {0};
      dim_poly_add(g, &left, -by.c, p->t[i].p);
      add_form(g, &want, ty_dim_mul(g, q, d), by);
      if (take_out(g, &left, &want)) {
        add_form(g, &left, x, by);
        *p = left;
        return true;
      }
      if (left.bad) { p->bad = true; return false; }
      for (int k = 0; k < left.n; k++) {
        ty_dim inner[DIM_MAX_ATOMS];
        int ni = dim_atoms(g, left.t[k].p, inner);
        for (int l = 0; l < ni; l++) {
          ty_dim_expr e = *expr(g, inner[l]);
          if (e.op != TY_DIM_MOD || e.a != d || expr(g, e.b)->lo < 1) continue;
          want.n = 0;
          want.bad = false;
          add_form(g, &want, ty_dim_mul(g, q, inner[l]), by);
          if (!take_out(g, &left, &want)) continue;
          add_form(g, &left, ty_dim_mod(g, x, ty_dim_mul(g, q, e.b)), by);
          *p = left;
          return true;
        }
      }
    }
  }
  return false;
}

static ty_dim finish(ty_graph *g, ty_poly *p) {
  ty_dim r = dim_of_poly(g, p);
  if (r < 0 || !(dim_rec(g, r)->flags & DIM_HAS_MOD) || p->n < 2) return r;
  bool changed = false;
  for (int i = 0; i < 32 && recombine_once(g, p); i++) changed = true;
  return changed || p->bad ? dim_of_poly(g, p) : r;
}

static ty_dim add_scaled(ty_graph *g, ty_dim a, ty_dim b, int64_t by) {
  if (a < 0 || b < 0) return TY_DIM_BAD;
  int op = by == 1 ? MEMO_ADD : MEMO_SUB;
  ty_dim r;
  if (dim_memo_get(g, op, a, b, &r)) return r;
  ty_poly p;
  dim_poly_of(g, a, &p);
  add_form(g, &p, b, (ty_term){by, TY_DIM_ONE});
  r = finish(g, &p);
  dim_memo_put(g, op, a, b, r);
  return r;
}

ty_dim ty_dim_add(ty_graph *g, ty_dim a, ty_dim b) { return add_scaled(g, a, b, 1); }
ty_dim ty_dim_sub(ty_graph *g, ty_dim a, ty_dim b) { return add_scaled(g, a, b, -1); }

ty_dim ty_dim_mul(ty_graph *g, ty_dim a, ty_dim b) {
  if (a < 0 || b < 0) return TY_DIM_BAD;
  if (a == TY_DIM_ONE) return b;
  if (b == TY_DIM_ONE) return a;
  ty_dim r;
  if (dim_memo_get(g, MEMO_MUL, a, b, &r)) return r;
  ty_poly p = {0}, x, y;
  dim_poly_of(g, a, &x);
  dim_poly_of(g, b, &y);
  for (int i = 0; i < y.n; i++) dim_poly_addmul(g, &p, &x, y.t[i]);
  r = finish(g, &p);
  dim_memo_put(g, MEMO_MUL, a, b, r);
  return r;
}

/* -1: r in [-q, 0); 0: r in [0, q); 1: not proven. */
static int in_range(ty_graph *g, ty_dim r, ty_dim q) {
  int64_t lo = expr(g, r)->lo, hi = expr(g, r)->hi;
  ty_dim one = TY_DIM_ONE;
  if (hi >= 0 && dim_ge0(g, r)) return dim_ge0(g, ty_dim_sub(g, ty_dim_sub(g, q, r), one)) ? 0 : 1;
  if (lo < 0 && dim_ge0(g, ty_dim_add(g, r, q))) return dim_ge0(g, ty_dim_sub(g, ty_dim_const(g, -1), r)) ? -1 : 1;
  return 1;
}

static int64_t gcd64(int64_t a, int64_t b) {
  if (a < 0) a = -a;
  if (b < 0) b = -b;
  while (b) {
    int64_t t = a % b;
    a = b;
    b = t;
  }
  return a;
}

static ty_term gcd_term(ty_graph *g, ty_term a, ty_term b) {
  ty_dim x[DIM_MAX_ATOMS], y[DIM_MAX_ATOMS], both[DIM_MAX_ATOMS];
  int n = dim_atoms(g, a.p, x), m = dim_atoms(g, b.p, y), k = 0;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < m; j++)
      if (x[i] == y[j]) {
        if (expr(g, x[i])->lo >= 1) both[k++] = x[i];
        y[j] = TY_DIM_BAD;
        break;
      }
  return (ty_term){gcd64(a.c, b.c), dim_prod(g, k, both)};
}

/* r = k*y + small with 0 <= small < k, k a divisor of the single term q: then r//q = y//(q/k) and r%q = k*(y%(q/k)) + small. */
static bool factor(ty_graph *g, ty_dim r, ty_dim q, ty_dim *y, ty_dim *q_by_k, ty_dim *k, ty_dim *small) {
  ty_poly pr, pq;
  dim_poly_of(g, r, &pr);
  dim_poly_of(g, q, &pq);
  if (pq.n != 1 || pr.n > 16 || pr.t[0].p == TY_DIM_ONE) return false;
  for (int i = 0; i < pr.n; i++) if (pr.t[i].c == INT64_MIN) return false;
  ty_term all = pq.t[0];
  ty_dim tried[33];
  int ntried = 0;
  for (int i = 0; i < 2 * pr.n; i++) {
    ty_term t = pr.t[i % pr.n];
    if (t.p == TY_DIM_ONE) continue;
    t = i < pr.n ? gcd_term(g, pq.t[0], t) : (all = gcd_term(g, all, t));
    ty_poly one = {.n = 1, .t = {t}};
    *k = dim_of_poly(g, &one);
    if (*k < 0 || *k == TY_DIM_ONE) continue;
    bool seen = false;
    for (int j = 0; j < ntried; j++) seen |= tried[j] == *k;
    if (seen) continue;
    tried[ntried++] = *k;
    ty_poly a, b;
    dim_split(g, r, *k, &a, &b);
    *y = dim_of_poly(g, &a);
    *small = dim_of_poly(g, &b);
    if (*y < 0 || *small < 0 || in_range(g, *small, *k) != 0) continue;
    dim_split(g, q, *k, &a, &b);
    *q_by_k = dim_of_poly(g, &a);
    if (*q_by_k < 0 || b.bad || b.n) continue;
    return true;
  }
  return false;
}

static bool divides(ty_graph *g, ty_dim n, ty_dim by, ty_dim *quotient) {
  ty_poly a, b;
  dim_split(g, n, by, &a, &b);
  if (a.bad || b.bad || b.n) return false;
  *quotient = dim_of_poly(g, &a);
  return *quotient >= 0;
}

/* r // q where no multiple of q is left in r. */
static ty_dim div_rest(ty_graph *g, ty_dim r, ty_dim q) {
  if (r < 0) return r;
  int64_t c = 0;
  if (ty_dim_is(g, r, 0)) return r;
  int where = in_range(g, r, q);
  if (where <= 0) return ty_dim_const(g, where);
  ty_dim y, qk, k, small;
  if (factor(g, r, q, &y, &qk, &k, &small)) return ty_dim_div(g, y, qk);
  ty_dim head = r;
  const ty_dim_expr *e = expr(g, r);
  if (e->op == TY_DIM_ADD && ty_dim_is_const(g, e->b, &c)) head = e->a;
  ty_dim_expr h = *expr(g, head);
  if (h.op == TY_DIM_DIV && expr(g, h.b)->lo >= 1) {
    ty_dim x = ty_dim_add(g, h.a, ty_dim_mul(g, h.b, ty_dim_const(g, c))), by = ty_dim_mul(g, h.b, q);
    if (x >= 0 && by >= 0) return ty_dim_div(g, x, by);
  }
  if (h.op == TY_DIM_MOD && head == r && divides(g, h.b, q, &k) && expr(g, k)->lo >= 1 && expr(g, h.b)->lo >= 1)
    return ty_dim_mod(g, ty_dim_div(g, h.a, q), k);
  return dim_intern(g, TY_DIM_DIV, 0, r, q);
}

ty_dim ty_dim_div(ty_graph *g, ty_dim a, ty_dim b) {
  if (a < 0 || b < 0) return TY_DIM_BAD;
  int64_t x, y;
  bool cb = ty_dim_is_const(g, b, &y);
  if (cb && y == 0) return b;
  if (cb && y == 1) return a;
  if (cb && ty_dim_is_const(g, a, &x) && !(y == -1 && x == INT64_MIN)) return ty_dim_const(g, dim_floordiv(x, y));
  if (ty_dim_is(g, a, 0)) return a;
  if (expr(g, b)->lo < 1) return dim_intern(g, TY_DIM_DIV, 0, a, b);
  ty_dim r;
  if (dim_memo_get(g, MEMO_DIV, a, b, &r)) return r;
  ty_poly quot, rest;
  dim_split(g, a, b, &quot, &rest);
  r = quot.bad ? dim_intern(g, TY_DIM_DIV, 0, a, b) : ty_dim_add(g, dim_of_poly(g, &quot), div_rest(g, dim_of_poly(g, &rest), b));
  dim_memo_put(g, MEMO_DIV, a, b, r);
  return r;
}

/* Within mod q, c*(y % n) is c*y when q divides c*n. */
static bool open_mods(ty_graph *g, ty_poly *p, ty_dim q) {
  for (int i = 0; i < p->n; i++) {
    ty_term t = p->t[i];
    ty_dim_expr e = *expr(g, t.p);
    ty_dim k;
    if (e.op != TY_DIM_MOD || t.c == INT64_MIN || expr(g, e.b)->lo < 1 || !divides(g, ty_dim_mul(g, e.b, ty_dim_const(g, t.c)), q, &k)) continue;
    dim_poly_add(g, p, -t.c, t.p);
    add_form(g, p, e.a, (ty_term){t.c, TY_DIM_ONE});
    return true;
  }
  return false;
}

static ty_dim mod_rest(ty_graph *g, ty_dim r, ty_dim q) {
  if (r < 0 || ty_dim_is(g, r, 0)) return r;
  int where = in_range(g, r, q);
  if (where == 0) return r;
  if (where < 0) return ty_dim_add(g, r, q);
  ty_dim y, qk, k, small;
  if (factor(g, r, q, &y, &qk, &k, &small)) return ty_dim_add(g, ty_dim_mul(g, k, ty_dim_mod(g, y, qk)), small);
  return dim_intern(g, TY_DIM_MOD, 0, r, q);
}

ty_dim ty_dim_mod(ty_graph *g, ty_dim a, ty_dim b) {
  if (a < 0 || b < 0) return TY_DIM_BAD;
  int64_t x, y;
  bool cb = ty_dim_is_const(g, b, &y);
  if (cb && (y == 0 || y == 1)) return ty_dim_const(g, 0);
  if (cb && ty_dim_is_const(g, a, &x)) return ty_dim_const(g, dim_floormod(x, y));
  if (ty_dim_is(g, a, 0)) return a;
  if (expr(g, b)->lo < 1) return dim_intern(g, TY_DIM_MOD, 0, a, b);
  ty_dim r;
  if (dim_memo_get(g, MEMO_MOD, a, b, &r)) return r;
  ty_poly quot, rest;
  dim_split(g, a, b, &quot, &rest);
  for (int i = 0; i < 16 && !quot.bad && !rest.bad && open_mods(g, &rest, b); i++)
    dim_split(g, dim_of_poly(g, &rest), b, &quot, &rest);
  r = quot.bad || rest.bad ? dim_intern(g, TY_DIM_MOD, 0, a, b) : mod_rest(g, dim_of_poly(g, &rest), b);
  dim_memo_put(g, MEMO_MOD, a, b, r);
  return r;
}

static ty_dim min_max(ty_graph *g, ty_dim_op op, ty_dim a, ty_dim b) {
  if (a < 0 || b < 0) return TY_DIM_BAD;
  if (a == b) return a;
  bool min = op == TY_DIM_MIN;
  ty_dim d = ty_dim_sub(g, b, a);
  if (d < 0) return d;
  if (dim_ge0(g, d)) return min ? a : b;
  if (dim_ge0(g, ty_dim_sub(g, a, b))) return min ? b : a;
  /* min(min(x, y), y) and the like */
  for (int i = 0; i < 2; i++) {
    ty_dim m = i ? b : a, o = i ? a : b;
    const ty_dim_expr *e = expr(g, m);
    if (e->op == op && (e->a == o || e->b == o)) return m;
  }
  ty_poly pa, pb; /* canonical order by structure */
  dim_poly_of(g, a, &pa);
  dim_poly_of(g, b, &pb);
  int r = 0;
  for (int i = 0; !r && i < pa.n && i < pb.n; i++) {
    r = dim_cmp(g, pa.t[i].p, pb.t[i].p);
    if (!r && pa.t[i].c != pb.t[i].c) r = pa.t[i].c < pb.t[i].c ? -1 : 1;
  }
  if (!r) r = pa.n - pb.n;
  return r <= 0 ? dim_intern(g, op, 0, a, b) : dim_intern(g, op, 0, b, a);
}

ty_dim ty_dim_min(ty_graph *g, ty_dim a, ty_dim b) { return min_max(g, TY_DIM_MIN, a, b); }
ty_dim ty_dim_max(ty_graph *g, ty_dim a, ty_dim b) { return min_max(g, TY_DIM_MAX, a, b); }
