/* dim_poly.c: dims taken apart as sums of monomials over atoms, their canonical order, and putting them together again. */
#include "dim_int.h"

#include <string.h>

int dim_atoms(const ty_graph *g, ty_dim p, ty_dim atoms[DIM_MAX_ATOMS]) {
  if (p == TY_DIM_ONE) return 0;
  int n = 0;
  for (; dim_rec(g, p)->e.op == TY_DIM_MUL; p = dim_rec(g, p)->e.a) atoms[n++] = dim_rec(g, p)->e.b;
  atoms[n++] = p;
  for (int i = 0; i < n / 2; i++) {
    ty_dim t = atoms[i];
    atoms[i] = atoms[n - 1 - i];
    atoms[n - 1 - i] = t;
  }
  return n;
}

static int form_cmp(const ty_graph *g, ty_dim a, ty_dim b) {
  if (a == b) return 0;
  ty_poly p, q;
  dim_poly_of(g, a, &p);
  dim_poly_of(g, b, &q);
  for (int i = 0; i < p.n && i < q.n; i++) {
    int r = dim_cmp(g, p.t[i].p, q.t[i].p);
    if (r) return r;
    if (p.t[i].c != q.t[i].c) return p.t[i].c < q.t[i].c ? -1 : 1;
  }
  return p.n - q.n;
}

static int atom_cmp(const ty_graph *g, ty_dim a, ty_dim b) {
  if (a == b) return 0;
  const ty_dim_expr *x = &dim_rec(g, a)->e, *y = &dim_rec(g, b)->e;
  if (x->op != y->op) return x->op < y->op ? -1 : 1;
  if (x->op == TY_DIM_SYM) return x->value < y->value ? -1 : 1;
  int r = form_cmp(g, x->a, y->a);
  return r ? r : form_cmp(g, x->b, y->b);
}

/* Graded lexicographic: more atoms first, the constant last. It is compatible with multiplication, so that the first term
 * is the leading one in dim_split. */
int dim_cmp(const ty_graph *g, ty_dim a, ty_dim b) {
  if (a == b) return 0;
  ty_dim x[DIM_MAX_ATOMS], y[DIM_MAX_ATOMS];
  int n = dim_atoms(g, a, x), m = dim_atoms(g, b, y);
  if (n != m) return m - n;
  for (int i = 0; i < n; i++) {
    int r = atom_cmp(g, x[i], y[i]);
    if (r) return r;
  }
  return 0;
}

ty_dim dim_prod(ty_graph *g, int n, ty_dim *atoms) {
  if (n > DIM_MAX_ATOMS) return dim_bad(g, "a symbolic size has too many factors");
  if (n == 0) return TY_DIM_ONE;
  for (int i = 1; i < n; i++)
    for (int j = i; j > 0 && atom_cmp(g, atoms[j - 1], atoms[j]) > 0; j--) {
      ty_dim t = atoms[j];
      atoms[j] = atoms[j - 1];
      atoms[j - 1] = t;
    }
  ty_dim r = atoms[0];
  for (int i = 1; i < n; i++) r = dim_intern(g, TY_DIM_MUL, 0, r, atoms[i]);
  return r;
}

ty_dim dim_prod_mul(ty_graph *g, ty_dim p, ty_dim q) {
  if (p < 0 || q < 0) return TY_DIM_BAD;
  if (p == TY_DIM_ONE) return q;
  if (q == TY_DIM_ONE) return p;
  ty_dim a[2 * DIM_MAX_ATOMS];
  int n = dim_atoms(g, p, a);
  ty_dim b[DIM_MAX_ATOMS];
  int m = dim_atoms(g, q, b);
  memcpy(a + n, b, (size_t)m * sizeof *a);
  return dim_prod(g, n + m, a);
}

ty_dim dim_prod_div(ty_graph *g, ty_dim p, ty_dim q) {
  if (q == TY_DIM_ONE) return p;
  ty_dim a[DIM_MAX_ATOMS], b[DIM_MAX_ATOMS];
  int n = dim_atoms(g, p, a), m = dim_atoms(g, q, b);
  for (int j = 0; j < m; j++) {
    int i = 0;
    while (i < n && a[i] != b[j]) i++;
    if (i == n) return TY_DIM_BAD;
    memmove(a + i, a + i + 1, (size_t)(--n - i) * sizeof *a);
  }
  return dim_prod(g, n, a);
}

/* A normal form is ADD(ADD(t1, t2), t3) with t = atom product, constant, or MUL(constant, product). */
void dim_poly_of(const ty_graph *g, ty_dim d, ty_poly *p) {
  p->n = 0;
  p->bad = d < 0;
  if (d < 0 || ty_dim_is(g, d, 0)) return;
  int n = 1;
  for (ty_dim x = d; dim_rec(g, x)->e.op == TY_DIM_ADD; x = dim_rec(g, x)->e.a) n++;
  p->n = n; /* dim_of_poly made it, so n <= DIM_MAX_TERMS */
  for (int i = n; i-- > 0;) {
    ty_dim t = i ? dim_rec(g, d)->e.b : d;
    const ty_dim_expr *e = &dim_rec(g, t)->e;
    int64_t c;
    if (e->op == TY_DIM_CONST) p->t[i] = (ty_term){e->value, TY_DIM_ONE};
    else if (e->op == TY_DIM_MUL && ty_dim_is_const(g, e->a, &c)) p->t[i] = (ty_term){c, e->b};
    else p->t[i] = (ty_term){1, t};
    if (i) d = dim_rec(g, d)->e.a;
  }
}

ty_dim dim_of_poly(ty_graph *g, const ty_poly *p) {
  if (p->bad) return TY_DIM_BAD;
  if (p->n == 0) return ty_dim_const(g, 0);
  ty_dim r = TY_DIM_BAD;
  for (int i = 0; i < p->n; i++) {
    ty_dim t = p->t[i].p;
    if (t == TY_DIM_ONE) t = ty_dim_const(g, p->t[i].c);
    else if (p->t[i].c != 1) t = dim_intern(g, TY_DIM_MUL, 0, ty_dim_const(g, p->t[i].c), t);
    r = i ? dim_intern(g, TY_DIM_ADD, 0, r, t) : t;
    if (r < 0) return r;
  }
  const ty_dim_expr *e = &dim_rec(g, r)->e;
  if (e->lo == e->hi && e->lo != INT64_MIN && e->lo != INT64_MAX) return ty_dim_const(g, e->lo);
  return r;
}

void dim_poly_add(ty_graph *g, ty_poly *p, int64_t c, ty_dim q) {
  if (q < 0) p->bad = true;
  if (p->bad || c == 0) return;
  int i = 0, r = -1;
  while (i < p->n && (r = dim_cmp(g, p->t[i].p, q)) < 0) i++;
  if (i < p->n && r == 0) {
    if (__builtin_add_overflow(p->t[i].c, c, &p->t[i].c)) {
      dim_bad(g, "a symbolic size overflows 64 bits");
      p->bad = true;
    } else if (p->t[i].c == 0) memmove(p->t + i, p->t + i + 1, (size_t)(--p->n - i) * sizeof *p->t);
    return;
  }
  if (p->n == DIM_MAX_TERMS) {
    dim_bad(g, "a symbolic size has too many terms");
    p->bad = true;
    return;
  }
  memmove(p->t + i + 1, p->t + i, (size_t)(p->n++ - i) * sizeof *p->t);
  p->t[i] = (ty_term){c, q};
}

void dim_poly_addmul(ty_graph *g, ty_poly *out, const ty_poly *p, ty_term by) {
  out->bad |= p->bad;
  for (int i = 0; i < p->n && !out->bad; i++) {
    int64_t c;
    if (__builtin_mul_overflow(p->t[i].c, by.c, &c)) {
      dim_bad(g, "a symbolic size overflows 64 bits");
      out->bad = true;
      return;
    }
    dim_poly_add(g, out, c, dim_prod_mul(g, p->t[i].p, by.p));
  }
}

/* Division of polynomials. A single divisor term takes out as many multiples as each coefficient holds (constants with
 * floor, so that what stays is in [0, q)); a sum divides by its leading term as long as that goes exactly. */
void dim_split(ty_graph *g, ty_dim x, ty_dim q, ty_poly *quot, ty_poly *rest) {
  ty_poly d;
  dim_poly_of(g, q, &d);
  dim_poly_of(g, x, rest);
  quot->n = 0;
  quot->bad = rest->bad || d.bad || d.n == 0;
  if (quot->bad) return;
  int64_t k = d.t[0].c;
  if (k == -1 && x == 0) return;
  for (int i = 0, steps = 0; i < rest->n && steps < 256; steps++) {
    ty_term t = rest->t[i];
    ty_dim p = dim_prod_div(g, t.p, d.t[0].p);
    int64_t c = k == -1 ? 0 : p < 0 ? 0 : d.n > 1 ? (t.c % k ? 0 : t.c / k) : t.p == TY_DIM_ONE ? dim_floordiv(t.c, k) : t.c / k;
    if (c == 0 || c == INT64_MIN) {
      i++;
      continue;
    }
    int before = rest->n;
    dim_poly_add(g, quot, c, p);
    dim_poly_addmul(g, rest, &d, (ty_term){-c, p});
    if (quot->bad || rest->bad) {
      quot->bad = true;
      return;
    }
    if (d.n > 1) i = 0;
    else if (rest->n == before) i++;
  }
}
