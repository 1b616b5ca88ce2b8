/* pool.c: pooling: windows are views of the input (ty.remap), one a tap, folded by max or sum; adaptive windows as well. */
#include "ops/window.h"

#include <string.h>

/* A pooling row's param: spatial dims, and what it is. */
enum { DIMS = 3, AVG = 4, ADAPTIVE = 8, INDICES = 16 };
enum { FEW = 16 }; /* taps that are written out one by one; more are a reduction over the window */

typedef struct pool { ty_value *x; int n, lead; ty_win w[3]; bool avg, adaptive, ceil, include; double divisor; } pool;

/* Size of the result by PyTorch's rule (pooling_output_shape of aten/src/ATen/native/Pool.h). */
static ty_status windows(ty_graph *g, const ty_node *n, pool *p, int i) {
  ty_win *w = &p->w[i];
  ty_dim k = ty_dim_const(g, w->d * (w->k - 1) + 1), s = ty_dim_const(g, w->s), pad = ty_dim_const(g, w->p), one = ty_dim_const(g, 1);
  if (w->k < 1 || w->s < 1 || w->d < 1) return ty_fail(g->ctx, TY_INVALID, "pooling: kernel size, stride and dilation must be positive");
  if (w->p < 0 || w->p > (p->avg ? w->k : w->d * (w->k - 1) + 1) / 2) return ty_fail(g->ctx, TY_INVALID, "pooling: padding should be at most half of the kernel size");
  ty_dim room = ty_dim_sub(g, ty_dim_add(g, w->in, ty_dim_const(g, 2 * w->p)), k);
  w->out = ty_dim_add(g, ty_dim_div(g, p->ceil ? ty_dim_add(g, room, ty_dim_const(g, w->s - 1)) : room, s), one);
  if (p->ceil) { /* the last window must start inside the input or its left padding */
    ty_dim last = ty_dim_mul(g, ty_dim_sub(g, w->out, one), s), end = ty_dim_add(g, w->in, pad);
    if (ty_dim_known_lt(g, ty_dim_sub(g, end, one), last)) w->out = ty_dim_sub(g, w->out, one);
    else if (!ty_dim_known_lt(g, last, end)) return ty_fail(g->ctx, TY_UNSUPPORTED, "ceil_mode of a symbolic size");
  }
  if (ty_dim_get(g, w->out)->hi < 1) return ty_fail(g->ctx, TY_INVALID, "pooling: the output size is too small");
  TY_TRY(ty_graph_need(g, n, TY_NEED_LE, one, w->out));
  if (!p->avg && w->d > 1 && w->p > 0) { /* a window may have all of its taps in the padding */
    int64_t in, out;
    if (!ty_dim_is_const(g, w->in, &in) || !ty_dim_is_const(g, w->out, &out)) return ty_fail(g->ctx, TY_UNSUPPORTED, "dilated pooling of a symbolic size");
    if (in < w->d) return ty_fail(g->ctx, TY_UNSUPPORTED, "pooling with a dilation beyond the size"); /* what a window steps over is less than all */
    if ((w->p - 1) / w->d + 1 >= w->k || (out - 1) * w->s - w->p >= in) return ty_fail(g->ctx, TY_UNSUPPORTED, "a window that has no element");
  }
  return TY_OK;
}
static ty_status adaptive(ty_graph *g, ty_win *w) {
  int64_t in, out;
  bool in_known = ty_dim_is_const(g, w->in, &in), out_known = ty_dim_is_const(g, w->out, &out);
  w->s = w->d = 1, w->p = 0;
  if (ty_dim_known_eq(g, w->in, w->out)) return w->k = 1, TY_OK;
  if (!out_known) return ty_fail(g->ctx, TY_UNSUPPORTED, "adaptive pooling to a symbolic size");
  if (out < 0) return ty_fail(g->ctx, TY_INVALID, "adaptive pooling: output size must be non-negative");
  if (out == 1) return w->whole = true, TY_OK;
  if (!in_known) return ty_fail(g->ctx, TY_UNSUPPORTED, "adaptive pooling of a symbolic size");
  if (out && in % out == 0) return w->k = w->s = in / out, TY_OK;
  /* Window o is [floor(o in / out), ceil((o + 1) in / out)): the rest r of in / out makes it reach into one more element, and into
   * two where some window has a whole number between its ends, which is so unless r divides out. */
  w->adaptive = true, w->k = out ? in / out + 1 + (out % (in % out) != 0) : 1;
  return TY_OK;
}

static ty_status pool_of(ty_graph *g, const ty_node *n, pool *p) {
  int param = ty_o_param(n), cnt;
  int64_t k[3], s[3], pad[3], dil[3] = {1, 1, 1};
  *p = (pool){.x = ty_o_val(n, 0), .n = param & DIMS, .avg = param & AVG, .adaptive = param & ADAPTIVE};
  if (p->x->rank != p->n + 1 && p->x->rank != p->n + 2) return ty_fail(g->ctx, TY_INVALID, "pooling: rank %d", p->x->rank);
  p->lead = p->x->rank - p->n;
  if (p->x->dtype == TY_bool) return ty_fail(g->ctx, TY_INVALID, "pooling is not implemented for bool");
  for (int i = 0; i < p->n; i++) {
    p->w[i].dim = p->lead + i;
    p->w[i].in = p->x->shape[p->lead + i];
    if (ty_dim_is(g, p->w[i].in, 0)) return ty_fail(g->ctx, p->adaptive ? TY_UNSUPPORTED : TY_INVALID, "pooling of an empty dim");
  }
  for (int i = 1; i < p->lead; i++)
    if (!p->adaptive && ty_dim_is(g, p->x->shape[i], 0)) return ty_fail(g->ctx, TY_UNSUPPORTED, "pooling of no channels");
  if (p->adaptive) {
    const ty_dim *out = ty_o_ints(n, 1, &cnt);
    if (cnt != p->n && cnt != 1) return ty_fail(g->ctx, TY_INVALID, "adaptive pooling: output_size must have %d entries", p->n);
    if (p->avg && !ty_dtype_is_float(p->x->dtype)) return ty_fail(g->ctx, TY_INVALID, "adaptive_avg_pool is not implemented for integers");
    for (int i = 0; i < p->n; i++) {
      p->w[i].out = out[cnt == 1 ? 0 : i];
      TY_TRY(adaptive(g, &p->w[i]));
      if (p->w[i].whole && !(param & INDICES)) continue;
      if (p->w[i].whole && !ty_dim_is_const(g, p->w[i].in, &p->w[i].k)) return ty_fail(g->ctx, TY_UNSUPPORTED, "adaptive pooling of a symbolic size");
      p->w[i].whole = false;
      if (ty_dim_is(g, p->w[i].out, 1)) p->w[i].s = p->w[i].k;
    }
    return TY_OK;
  }
  int ceil_at = p->avg ? 4 : 5;
  TY_TRY(ty_win_ints(g, n, 1, p->n, NULL, k));
  TY_TRY(ty_win_ints(g, n, 2, p->n, k, s));
  TY_TRY(ty_win_ints(g, n, 3, p->n, (int64_t[]){0, 0, 0}, pad));
  if (!p->avg) TY_TRY(ty_win_ints(g, n, 4, p->n, dil, dil));
  p->ceil = ty_o_bool(n, ceil_at);
  p->include = p->avg && ty_o_bool(n, 5);
  if (p->avg && p->n > 1 && !ty_o_none(n, 6)) {
    p->divisor = ty_o_float(g, n, 6, 0);
    if (p->divisor == 0) return ty_fail(g->ctx, TY_INVALID, "divisor must be not zero");
  }
  for (int i = 0; i < p->n; i++) {
    p->w[i].k = k[i], p->w[i].s = s[i], p->w[i].p = pad[i], p->w[i].d = dil[i];
    TY_TRY(windows(g, n, p, i));
    p->w[i].whole = !(param & INDICES) && k[i] > 1 && !pad[i] && dil[i] == 1 && ty_dim_is(g, p->w[i].in, k[i]) && ty_dim_is(g, p->w[i].out, 1);
  }
  return TY_OK;
}
static void out_shape(const pool *p, ty_dim *s) {
  for (int i = 0; i < p->x->rank; i++) s[i] = i < p->lead ? p->x->shape[i] : p->w[i - p->lead].out;
}
ty_status ty_pool_infer(ty_graph *g, ty_node *n) {
  pool p;
  ty_dim s[TY_MAX_RANK];
  TY_TRY(pool_of(g, n, &p));
  out_shape(&p, s);
  TY_TRY(ty_o_out(g, n, p.x->dtype, p.x->rank, s));
  return ty_o_param(n) & INDICES ? ty_o_out(g, n, TY_i64, p.x->rank, s) : TY_OK;
}

/* Windows along some axes, folded: written out tap by tap where they are few, else a reduction whose dims stand in front, so that
 * the loop's columns are those of the result. */
static ty_value *fold(ty_graph *g, ty_value *x, bool avg, int n, const ty_win *w) {
  static const int front[3] = {0, 1, 2};
  int64_t taps = 1, t[3] = {0};
  ty_dim shape[TY_MAX_RANK], tap[3];
  for (int i = 0; i < n; i++) taps *= w[i].k;
  if (taps > FEW) {
    for (int i = 0; i < n; i++) shape[i] = ty_dim_const(g, w[i].k), tap[i] = ty_dim_index(g, i);
    x = ty_win_view(g, x, n, w, tap, n, shape, avg);
    return x ? ty_c_reduce(g, avg ? "sum" : "max", x, n, front, false) : NULL;
  }
  ty_value *r = NULL;
  for (int64_t k = 0; k < taps; k++) {
    for (int i = 0; i < n; i++) tap[i] = ty_dim_const(g, t[i]);
    ty_value *v = ty_win_view(g, x, n, w, tap, 0, NULL, avg);
    r = k ? ty_o2(g, avg ? TY_P_add : TY_P_max, r, v) : v;
    for (int i = n - 1; i >= 0; t[i--] = 0)
      if (++t[i] < w[i].k) break;
  }
  return r;
}
/* Windows that are the whole dim are plain reductions; many taps at once are done one axis after another. */
static ty_value *fold_all(ty_graph *g, const pool *p, ty_value *x) {
  int64_t taps = 1;
  int whole[3], n = 0, m = 0;
  ty_win w[3];
  for (int i = 0; i < p->n; i++)
    if (p->w[i].whole) whole[n++] = p->w[i].dim;
    else if (p->w[i].adaptive || p->w[i].k > 1 || p->w[i].s > 1 || p->w[i].p) w[m++] = p->w[i], taps *= p->w[i].k;
  if (n) x = ty_o_reduce(g, p->avg ? "sum" : "max", x, n, whole, true);
  if (taps <= FEW) return m ? fold(g, x, p->avg, m, w) : x;
  for (int i = m - 1; i >= 0; i--) x = fold(g, x, p->avg, 1, &w[i]);
  return x;
}

/* How many elements the windows of an axis count, as a vector over the axis of the result; NULL: always *k. */
static ty_value *count_of(ty_graph *g, const pool *p, const ty_win *w, int rank, ty_dim *k) {
  *k = w->whole ? w->in : ty_dim_const(g, w->k);
  int64_t in, out;
  bool inside = w->p == 0 && ty_dim_is_const(g, w->in, &in) && ty_dim_is_const(g, w->out, &out) && (out - 1) * w->s + w->k <= in;
  if (w->whole || (!w->adaptive && (inside || (w->p == 0 && !p->ceil) || (p->include && !p->ceil)))) return NULL;
  ty_value *o = ty_win_along(g, rank, w->dim, w->out), *start, *end;
  if (w->adaptive) {
    start = ty_win_affine(g, o, w->in, 0, w->out);
    end = ty_win_affine(g, ty_o2(g, TY_P_add, o, ty_o_num(g, TY_i64, 1)), w->in, out - 1, w->out);
    return ty_o2(g, TY_P_sub, end, start);
  }
  start = ty_win_affine(g, o, ty_dim_const(g, w->s), -w->p, -1);
  end = ty_o2(g, TY_P_min, ty_o2(g, TY_P_add, start, ty_o_num(g, TY_i64, (double)w->k)), ty_o_dimval(g, ty_dim_add(g, w->in, ty_dim_const(g, w->p)), TY_i64));
  if (!p->include) {
    start = ty_o2(g, TY_P_max, start, ty_o_num(g, TY_i64, 0));
    end = ty_o2(g, TY_P_min, end, ty_o_dimval(g, w->in, TY_i64));
  }
  return ty_o2(g, TY_P_sub, end, start);
}

ty_status ty_pool_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  pool p;
  TY_TRY(pool_of(g, n, &p));
  ty_dtype dt = ty_o_compute(p.x->dtype);
  ty_value *x = ty_c_cast(g, p.x, dt), *o = n->outs[0];
  if (ty_dim_is(g, ty_o_numel(g, o), 0)) return ty_o_done(g, rep, ty_c_full(g, o->dtype, o->rank, o->shape, 0));
  ty_value *y = fold_all(g, &p, x);
  if (!p.avg) return ty_o_done(g, rep, ty_o_fit(g, y, o));
  ty_prim div = ty_dtype_is_float(dt) ? TY_P_div : TY_P_truncdiv;
  ty_dim all = ty_dim_const(g, 1), k;
  ty_value *count = NULL;
  for (int i = 0; i < p.n && p.divisor == 0; i++) {
    ty_value *c = count_of(g, &p, &p.w[i], p.x->rank, &k);
    if (!c) all = ty_dim_mul(g, all, k);
    else count = count ? ty_o2(g, TY_P_mul, count, c) : c;
  }
  ty_value *by = p.divisor != 0 ? ty_o_num(g, dt, p.divisor) : ty_o_dimval(g, all, dt);
  if (count) by = ty_o2(g, TY_P_mul, by, ty_c_cast(g, count, dt));
  return ty_o_done(g, rep, ty_o_fit(g, ty_o2(g, div, y, by), o));
}

/* Values and indices into the flat spatial dims: the window's taps are one reduced dim, whose number gives the position back. */
ty_status ty_pool_indices_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  static const int front = 0;
  pool p;
  TY_TRY(pool_of(g, n, &p));
  ty_dtype dt = ty_o_compute(p.x->dtype);
  ty_value *x = ty_c_cast(g, p.x, dt), *o = n->outs[0];
  if (ty_dim_is(g, ty_o_numel(g, o), 0)) {
    TY_TRY(ty_o_done(g, rep, ty_c_full(g, o->dtype, o->rank, o->shape, 0)));
    return ty_o_done(g, rep + 1, ty_c_full_int(g, TY_i64, o->rank, o->shape, 0));
  }
  TY_TRY(ty_o_done(g, rep, ty_o_fit(g, fold_all(g, &p, x), o)));
  ty_dim taps = ty_dim_const(g, 1), tap[3], below[3];
  for (int i = p.n - 1; i >= 0; i--) below[i] = taps, taps = ty_dim_mul(g, taps, ty_dim_const(g, p.w[i].k));
  for (int i = 0; i < p.n; i++) tap[i] = ty_dim_mod(g, ty_dim_div(g, ty_dim_index(g, 0), below[i]), ty_dim_const(g, p.w[i].k));
  x = ty_win_view(g, x, p.n, p.w, tap, 1, &taps, false);
  ty_value *best = x ? ty_c_reduce(g, "argmax", x, 1, &front, false) : NULL, *flat = NULL;
  for (int i = 0; i < p.n; i++) {
    ty_value *t = ty_o2(g, TY_P_rem, ty_o2(g, TY_P_floordiv, best, ty_o_dimval(g, below[i], TY_i64)), ty_o_num(g, TY_i64, (double)p.w[i].k));
    ty_value *at = ty_win_position(g, &p.w[i], p.x->rank, t);
    flat = flat ? ty_o2(g, TY_P_add, ty_o2(g, TY_P_mul, flat, ty_o_dimval(g, p.w[i].in, TY_i64)), at) : at;
  }
  return ty_o_done(g, rep + 1, ty_o_fit(g, flat, n->outs[1]));
}
ty_status ty_pool_indices_infer(ty_graph *g, ty_node *n) { return ty_pool_infer(g, n); }
