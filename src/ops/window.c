/* window.c: sliding windows as views and as index values. */
#include "ops/window.h"

ty_status ty_win_ints(ty_graph *g, const ty_node *n, int arg, int count, const int64_t *dflt, int64_t *out) {
  int cnt;
  const ty_dim *s = ty_o_ints(n, arg, &cnt);
  if (cnt ? cnt != 1 && cnt != count : !dflt) return ty_fail(g->ctx, TY_INVALID, "argument %d must have %d entries", arg, count);
  for (int k = 0; k < count; k++)
    if (!cnt) out[k] = dflt[k];
    else if (!ty_dim_is_const(g, s[cnt == 1 ? 0 : k], &out[k])) return ty_fail(g->ctx, TY_UNSUPPORTED, "argument %d is symbolic", arg);
    else if (out[k] > 1 << 20 || out[k] < -(1 << 20)) return ty_fail(g->ctx, TY_UNSUPPORTED, "argument %d is too large", arg);
  return TY_OK;
}

/* Can the window leave the dim on this side, at some output and tap? Tap numbers are known, or any. */
static bool leaves(ty_graph *g, const ty_win *w, ty_dim tap, bool right) {
  int64_t in, out, t;
  bool one = ty_dim_is_const(g, tap, &t);
  if (w->adaptive) /* every window has floor(in / out) elements at least */
    return right && !(one && ty_dim_is_const(g, w->in, &in) && ty_dim_is_const(g, w->out, &out) && t < in / out);
  if (!one) t = right ? w->k - 1 : 0;
  if (!right) return t * w->d < w->p;
  if (!ty_dim_is_const(g, w->in, &in) || !ty_dim_is_const(g, w->out, &out)) return true;
  return (out - 1) * w->s + t * w->d - w->p >= in;
}

/* The element that tap t of output o reads, kept in the window's part of the dim. */
static ty_dim position(ty_graph *g, const ty_win *w, ty_dim o, ty_dim tap) {
  ty_dim one = ty_dim_const(g, 1), start, end;
  if (w->adaptive) {
    start = ty_dim_div(g, ty_dim_mul(g, o, w->in), w->out);
    if (!leaves(g, w, tap, true)) return ty_dim_add(g, start, tap);
    end = ty_dim_div(g, ty_dim_sub(g, ty_dim_add(g, ty_dim_mul(g, ty_dim_add(g, o, one), w->in), w->out), one), w->out);
    return ty_dim_min(g, ty_dim_add(g, start, tap), ty_dim_sub(g, end, one));
  }
  bool left = leaves(g, w, tap, false), right = leaves(g, w, tap, true);
  ty_dim d = ty_dim_const(g, w->d), zero = ty_dim_const(g, 0), last = ty_dim_sub(g, w->in, one);
  start = ty_dim_sub(g, ty_dim_mul(g, o, ty_dim_const(g, w->s)), ty_dim_const(g, w->p));
  if (w->d == 1) {
    ty_dim at = ty_dim_add(g, start, tap);
    if (left) at = ty_dim_max(g, at, zero);
    return right ? ty_dim_min(g, at, last) : at;
  }
  if (left) tap = ty_dim_max(g, tap, ty_dim_div(g, ty_dim_sub(g, ty_dim_const(g, w->d - 1), start), d)); /* the first one inside */
  if (right) tap = ty_dim_min(g, tap, ty_dim_div(g, ty_dim_sub(g, last, start), d));
  ty_dim at = ty_dim_add(g, start, ty_dim_mul(g, tap, d));
  return ty_dim_min(g, ty_dim_max(g, at, zero), last); /* as it is already, for who can not see it */
}

ty_value *ty_win_along(ty_graph *g, int rank, int dim, ty_dim size) {
  ty_dim s[TY_MAX_RANK];
  for (int i = 0; i < rank; i++) s[i] = i == dim ? size : ty_dim_const(g, 1);
  return ty_c_iota(g, rank, s, dim);
}
ty_value *ty_win_affine(ty_graph *g, ty_value *v, ty_dim mul, int64_t add, ty_dim div) {
  if (!ty_dim_is(g, mul, 1)) v = ty_o2(g, TY_P_mul, v, ty_o_dimval(g, mul, TY_i64));
  if (add) v = ty_o2(g, TY_P_add, v, ty_o_dimval(g, ty_dim_const(g, add), TY_i64));
  return div < 0 ? v : ty_o2(g, TY_P_floordiv, v, ty_o_dimval(g, div, TY_i64));
}
ty_value *ty_win_position(ty_graph *g, const ty_win *w, int rank, ty_value *t) {
  ty_value *o = ty_win_along(g, rank, w->dim, w->out), *one = ty_o_num(g, TY_i64, 1), *start;
  if (w->adaptive) {
    start = ty_win_affine(g, o, w->in, 0, w->out);
    ty_value *next = ty_o2(g, TY_P_add, ty_o2(g, TY_P_mul, ty_o2(g, TY_P_add, o, one), ty_o_dimval(g, w->in, TY_i64)), ty_o_dimval(g, w->out, TY_i64));
    ty_value *end = ty_o2(g, TY_P_floordiv, ty_o2(g, TY_P_sub, next, one), ty_o_dimval(g, w->out, TY_i64));
    return ty_o2(g, TY_P_min, ty_o2(g, TY_P_add, start, t), ty_o2(g, TY_P_sub, end, one));
  }
  ty_value *d = ty_o_num(g, TY_i64, (double)w->d), *last = ty_o2(g, TY_P_sub, ty_o_dimval(g, w->in, TY_i64), one);
  start = ty_win_affine(g, o, ty_dim_const(g, w->s), -w->p, -1);
  ty_value *low = ty_o2(g, TY_P_floordiv, ty_o2(g, TY_P_sub, ty_o_num(g, TY_i64, (double)(w->d - 1)), start), d);
  t = ty_o2(g, TY_P_min, ty_o2(g, TY_P_max, t, low), ty_o2(g, TY_P_floordiv, ty_o2(g, TY_P_sub, last, start), d));
  return ty_o2(g, TY_P_add, start, ty_o2(g, TY_P_mul, t, d));
}

/* Is this tap inside? NULL: always. */
static ty_value *inside(ty_graph *g, const ty_win *w, int rank, ty_value *t, ty_dim tap, int dim) {
  ty_value *o = ty_win_along(g, rank, dim, w->out), *in = ty_o_dimval(g, w->in, TY_i64), *ok = NULL;
  if (!leaves(g, w, tap, false) && !leaves(g, w, tap, true)) return NULL;
  if (w->adaptive) {
    ty_value *next = ty_o2(g, TY_P_mul, ty_o2(g, TY_P_add, o, ty_o_num(g, TY_i64, 1)), in), *out = ty_o_dimval(g, w->out, TY_i64);
    ty_value *end = ty_o2(g, TY_P_floordiv, ty_o2(g, TY_P_sub, ty_o2(g, TY_P_add, next, out), ty_o_num(g, TY_i64, 1)), out);
    return ty_o2(g, TY_P_lt, ty_o2(g, TY_P_add, ty_win_affine(g, o, w->in, 0, w->out), t), end);
  }
  ty_value *at = ty_o2(g, TY_P_add, ty_win_affine(g, o, ty_dim_const(g, w->s), -w->p, -1), ty_win_affine(g, t, ty_dim_const(g, w->d), 0, -1));
  if (leaves(g, w, tap, false)) ok = ty_o2(g, TY_P_ge, at, ty_o_num(g, TY_i64, 0));
  if (leaves(g, w, tap, true)) {
    ty_value *r = ty_o2(g, TY_P_lt, at, in);
    ok = ok ? ty_o2(g, TY_P_and, ok, r) : r;
  }
  return ok;
}

/* A tap's number as an i64 value: an expression over the dims in front. */
static ty_value *tap_value(ty_graph *g, ty_dim tap, int rank, int nfront, const ty_dim *front) {
  if (ty_dim_is_const(g, tap, NULL)) return ty_o_dimval(g, tap, TY_i64);
  for (int i = 0; i < nfront; i++)
    if (tap == ty_dim_index(g, i)) return ty_win_along(g, rank, i, front[i]);
  return (void)ty_fail(g->ctx, TY_INTERNAL, "a window's tap is not one of its dims"), NULL;
}

ty_value *ty_win_view(ty_graph *g, ty_value *x, int n, const ty_win *w, const ty_dim *tap, int nfront, const ty_dim *front, bool zero) {
  ty_dim shape[TY_MAX_RANK], map[TY_MAX_RANK];
  ty_value *ok = NULL;
  if (!x) return NULL;
  int rank = nfront + x->rank;
  if (rank > TY_MAX_RANK) return (void)ty_fail(g->ctx, TY_INTERNAL, "rank %d", rank), NULL;
  for (int i = 0; i < nfront; i++) shape[i] = front[i];
  for (int i = 0; i < x->rank; i++) shape[nfront + i] = x->shape[i], map[i] = ty_dim_index(g, nfront + i);
  for (int i = 0; i < n; i++) {
    int d = nfront + w[i].dim;
    shape[d] = w[i].out;
    map[w[i].dim] = position(g, &w[i], ty_dim_index(g, d), tap[i]);
    if (!zero) continue;
    ty_value *in = inside(g, &w[i], rank, tap_value(g, tap[i], rank, nfront, front), tap[i], d);
    if (in) ok = ok ? ty_o2(g, TY_P_and, ok, in) : in;
  }
  ty_value *v = ty_c_remap(g, x, rank, shape, map);
  return ok && v ? ty_o_sel(g, ok, v, ty_o_num(g, v->dtype, 0)) : v;
}
