/* scatter.c: operators that write at places given by data: scatter, index_put, index_add and their like, masked_scatter, unpooling. */
#include "ops/window.h"

#include <math.h>
#include <string.h>

static ty_status need_index(ty_graph *g, const ty_value *v) {
  if (v->dtype == TY_i64 || v->dtype == TY_i32) return TY_OK;
  return ty_fail(g->ctx, TY_INVALID, "indices must be int32 or int64, got %s", ty_dtypes[v->dtype].torch);
}
static ty_value *like(ty_graph *g, ty_value *v, int rank, const ty_dim *shape) { return v ? ty_c_expand(g, v, rank, shape) : NULL; }
static ty_value *flat(ty_graph *g, ty_value *v) {
  ty_dim n = v ? ty_o_numel(g, v) : -1;
  return v ? ty_c_reshape(g, v, 1, &n) : NULL;
}
/* x [n, w], index [j], y [j, w]; bools join as numbers do: sums are maxima, products minima. */
static ty_value *join(ty_graph *g, ty_value *x, ty_value *index, ty_value *y, const char *kind) {
  if (!x || !index || !y) return NULL;
  if (x->dtype == TY_bool) kind = !strcmp(kind, "sum") ? "max" : !strcmp(kind, "prod") ? "min" : kind;
  ty_arg a[4] = {ty_arg_value(x), ty_arg_value(index), ty_arg_value(y), ty_arg_str(kind)};
  return ty_make(g, TY_OP_scatter, 4, a);
}
/* The same where index is i64 of any shape, of numbers of elements of x, and y has as many elements. */
static ty_value *join_elements(ty_graph *g, ty_value *x, ty_value *index, ty_value *y, const char *kind) {
  if (!x || !index || !y) return NULL;
  ty_dim one = ty_dim_const(g, 1), xs[2] = {ty_o_numel(g, x), one}, ys[2] = {ty_o_numel(g, index), one};
  return ty_o_reshape_like(g, join(g, ty_c_reshape(g, x, 2, xs), flat(g, index), ty_c_reshape(g, y, 2, ys), kind), x);
}
/* Narrow floats are joined as float32, and rounded once. */
static ty_value *wide(ty_graph *g, ty_value *v) { return v ? ty_c_cast(g, v, ty_o_compute(v->dtype)) : NULL; }
/* index, or -1 (which raises) where it is not in [0, size). */
static ty_value *inside(ty_graph *g, ty_value *index, ty_dim size, ty_value *then) {
  ty_value *ok = ty_o2(g, TY_P_and, ty_o2(g, TY_P_ge, index, ty_o_num(g, TY_i64, 0)), ty_o2(g, TY_P_lt, index, ty_o_dimval(g, size, TY_i64)));
  return ty_o_sel(g, ok, then, ty_o_num(g, TY_i64, -1));
}

/* ---- scatter along a dim ---- */
enum { SRC, VALUE, ADD, REDUCE };
/* param: what is joined | where the name of a reduction stands << 4. */
static int what_of(const ty_node *n) { return ty_o_param(n) & 15; }
static const char *kind_of(const ty_node *n) {
  const char *s = ty_o_param(n) >> 4 ? ty_o_str(n, ty_o_param(n) >> 4) : NULL;
  static const char *const names[][2] = {{"add", "sum"}, {"sum", "sum"}, {"multiply", "prod"}, {"prod", "prod"}, {"amax", "max"}, {"amin", "min"}, {"mean", "mean"}};
  if (!s) return what_of(n) == ADD ? "sum" : "set";
  for (int i = 0; i < 7; i++)
    if (!strcmp(s, names[i][0])) return names[i][1];
  return NULL;
}
static ty_status joins(ty_graph *g, const ty_value *x, const char *kind) {
  if (!kind) return ty_fail(g->ctx, TY_INVALID, "no such reduction");
  if (!strcmp(kind, "mean") && x->dtype == TY_bool) return ty_fail(g->ctx, TY_INVALID, "mean of bool");
  return TY_OK;
}
ty_status ty_scatter_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *i = ty_o_val(n, 2), *y = what_of(n) == VALUE ? NULL : ty_o_val(n, 3);
  int d;
  TY_TRY(need_index(g, i));
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  TY_TRY(joins(g, x, kind_of(n)));
  if (i->rank != x->rank || (y && y->rank != x->rank)) return ty_fail(g->ctx, x->rank && i->rank ? TY_INVALID : TY_UNSUPPORTED, "scatter: ranks differ");
  if (y && y->dtype != x->dtype) return ty_fail(g->ctx, TY_INVALID, "scatter: dtypes differ");
  for (int k = 0; k < x->rank; k++) {
    if (k != d && !ty_o_le(g, i->shape[k], x->shape[k])) return ty_fail(g->ctx, TY_UNSUPPORTED, "scatter: index may be greater than self in dim %d", k);
    if (y && !ty_o_le(g, i->shape[k], y->shape[k])) return ty_fail(g->ctx, TY_UNSUPPORTED, "scatter: index may be greater than src in dim %d", k);
  }
  return ty_o_out_like(g, n, x);
}
/* What a result starts from that the elements named by the index are no part of. */
static double identity(ty_dtype dt, const char *kind) {
  if (!strcmp(kind, "prod")) return 1;
  if (!strcmp(kind, "max") || !strcmp(kind, "min")) {
    bool low = !strcmp(kind, "max");
    if (ty_dtype_is_float(dt)) return low ? -INFINITY : INFINITY;
    int bits = dt == TY_bool ? 1 : 8 * (int)ty_dtype_size(dt);
    if (dt == TY_bool || dt == TY_u8) return low ? 0 : ldexp(1, bits) - 1;
    return low ? -ldexp(1, bits - 1) : ldexp(1, bits - 1) - 1;
  }
  return 0;
}
static ty_value *constant(ty_graph *g, const ty_value *of, ty_dtype dt, double v) { /* of's shape */
  bool top = dt == TY_i64 && v >= 0x1p63;
  return top ? ty_c_full_int(g, dt, of->rank, of->shape, INT64_MAX) : ty_c_full(g, dt, of->rank, of->shape, v);
}
/* put(x, y, kind) of an operator that may mean, and may leave x's own elements out. */
typedef struct placed { ty_value *index; ty_value *(*put)(ty_graph *, ty_value *x, ty_value *index, ty_value *y, const char *kind); } placed;
static ty_value *reduced(ty_graph *g, const placed *p, ty_value *x, ty_value *y, const char *kind, bool self) {
  bool mean = !strcmp(kind, "mean");
  ty_value *count = NULL;
  if (!x || !y) return NULL;
  if (mean) {
    count = p->put(g, constant(g, x, x->dtype, self), p->index, constant(g, y, x->dtype, 1), "sum");
    count = ty_o2(g, TY_P_max, count, ty_o_num(g, x->dtype, 1));
  }
  if (!self) x = p->put(g, x, p->index, constant(g, y, x->dtype, identity(x->dtype, kind)), "set");
  x = p->put(g, x, p->index, y, mean ? "sum" : kind);
  return !mean || !x ? x : ty_o2(g, ty_dtype_is_float(x->dtype) ? TY_P_div : TY_P_floordiv, x, count);
}
ty_status ty_scatter_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = wide(g, ty_o_val(n, 0)), *i = ty_o_val(n, 2), *y = what_of(n) == VALUE ? NULL : wide(g, ty_o_val(n, 3)), *at;
  ty_dim one = ty_dim_const(g, 1);
  int d;
  if (!x) return ty_o_done(g, rep, NULL);
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  if (!x->rank) i = ty_c_reshape(g, i, 1, &one), x = ty_c_reshape(g, x, 1, &one), y = y ? ty_c_reshape(g, y, 1, &one) : NULL;
  if (!i || !x) return ty_o_done(g, rep, NULL);
  for (int k = 0; k < x->rank && y; k++) y = ty_c_slice(g, y, k, ty_dim_const(g, 0), 1, i->shape[k]);
  if (what_of(n) == VALUE) y = ty_o_fill(g, x->dtype, i->rank, i->shape, &n->args[3]);
  ty_value *idx = ty_c_cast(g, i, TY_i64);
  at = ty_win_affine(g, idx, ty_dim_product(g, x->rank - d - 1, x->shape + d + 1), 0, -1);
  for (int k = 0; k < x->rank; k++)
    if (k != d) at = ty_o2(g, TY_P_add, at, ty_win_affine(g, ty_win_along(g, i->rank, k, i->shape[k]), ty_dim_product(g, x->rank - k - 1, x->shape + k + 1), 0, -1));
  placed p = {inside(g, idx, x->shape[d], at), join_elements};
  x = reduced(g, &p, x, y, kind_of(n), what_of(n) != REDUCE || ty_o_bool(n, 5));
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_reshape_like(g, x, n->outs[0]), n->outs[0]));
}

/* ---- index_put(self, Tensor?[] indices, values, accumulate): rows of the indexed dims, which stand in front ---- */
typedef struct put { ty_value *x, *mask; int nidx, rest, brank, perm[TY_MAX_RANK], at; ty_dim bshape[TY_MAX_RANK]; ty_value *idx[TY_MAX_RANK]; } put;
static ty_status put_of(ty_graph *g, const ty_node *n, put *p) {
  int len, first = -1, last = -1;
  ty_value *const *list = ty_o_vals(n, 1, &len), *v = ty_o_val(n, 2);
  ty_dim old[TY_MAX_RANK];
  *p = (put){.x = ty_o_val(n, 0)};
  if (v->dtype != p->x->dtype) return ty_fail(g->ctx, TY_INVALID, "index_put: dtypes differ");
  TY_TRY(joins(g, v, "set"));
  if (len > p->x->rank) return ty_fail(g->ctx, TY_INVALID, "too many indices for tensor of dimension %d", p->x->rank);
  for (int i = 0; i < len; i++) {
    if (!list[i]) continue;
    if (list[i]->dtype == TY_bool) { /* a mask may be filled with what is the same for all places */
      p->mask = list[i];
      int free = p->x->rank - i - list[i]->rank;
      bool one = v->rank <= free;
      for (int k = 0; k < v->rank - free; k++) one = (k == 0 || one) && ty_dim_is(g, v->shape[k], 1);
      for (int k = 0; k < len; k++) one &= k == i || !list[k];
      if (!one || i || ty_o_bool(n, 3)) return ty_fail(g->ctx, TY_UNSUPPORTED, "index by a mask: the size depends on data");
      for (int k = 0; k < list[i]->rank; k++) TY_TRY(ty_o_need_same(g, n, list[i]->shape[k], p->x->shape[k], "mask"));
      return TY_OK;
    }
    TY_TRY(need_index(g, list[i]));
    if (first < 0) first = i;
    last = i;
    int r = p->brank;
    memcpy(old, p->bshape, sizeof old);
    TY_TRY(ty_broadcast(g, r, old, list[i]->rank, list[i]->shape, &p->brank, p->bshape));
    p->perm[p->nidx] = i;
    p->idx[p->nidx++] = list[i];
  }
  if (!p->nidx) return ty_fail(g->ctx, TY_INVALID, "index without indices");
  p->at = last - first + 1 == p->nidx ? first : 0; /* where the indices' dims stand in the values */
  int r = p->nidx;
  for (int i = 0; i < p->x->rank; i++)
    if (i >= len || !list[i]) p->perm[r++] = i;
  p->rest = p->x->rank - p->nidx;
  return p->brank + p->rest > TY_MAX_RANK ? ty_fail(g->ctx, TY_UNSUPPORTED, "rank %d", p->brank + p->rest) : TY_OK;
}
/* Shape of what is indexed: the values broadcast to it. */
static int put_shape(const put *p, ty_dim *s) {
  int r = 0;
  for (int k = 0; k <= p->rest; k++) {
    for (int b = 0; b < p->brank && k == p->at; b++) s[r++] = p->bshape[b];
    if (k < p->rest) s[r++] = p->x->shape[p->perm[p->nidx + k]];
  }
  return r;
}
ty_status ty_index_put_infer(ty_graph *g, ty_node *n) {
  put p;
  ty_dim s[TY_MAX_RANK], out[TY_MAX_RANK];
  TY_TRY(put_of(g, n, &p));
  if (!p.mask) {
    ty_value *v = ty_o_val(n, 2);
    int r, want = put_shape(&p, s);
    TY_TRY(ty_broadcast(g, want, s, v->rank, v->shape, &r, out));
    if (r != want) return ty_fail(g->ctx, TY_UNSUPPORTED, "index_put: values of rank %d for %d", v->rank, want);
    for (int i = 0; i < r; i++)
      if (!ty_dim_known_eq(g, s[i], out[i])) return ty_fail(g->ctx, TY_INVALID, "index_put: values do not broadcast");
  }
  return ty_o_out_like(g, n, p.x);
}
/* An operand of shape [n.., rest..] as [product of n, product of rest], after a permutation. */
static ty_value *rows(ty_graph *g, ty_value *v, const int *perm, int lead) {
  v = v && perm ? ty_c_permute(g, v, perm) : v;
  if (!v) return NULL;
  ty_dim s[2] = {ty_dim_product(g, lead, v->shape), ty_dim_product(g, v->rank - lead, v->shape + lead)};
  return ty_c_reshape(g, v, 2, s);
}
static ty_value *unrows(ty_graph *g, ty_value *v, const ty_value *as, const int *perm) { /* back to as's shape */
  ty_dim s[TY_MAX_RANK];
  int back[TY_MAX_RANK];
  for (int i = 0; i < as->rank; i++) s[i] = as->shape[perm[i]], back[perm[i]] = i;
  v = v ? ty_c_reshape(g, v, as->rank, s) : NULL;
  return v ? ty_c_permute(g, v, back) : NULL;
}
ty_status ty_index_put_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  put p;
  ty_dim s[TY_MAX_RANK];
  ty_value *v = ty_o_val(n, 2), *at = NULL, *ok = NULL;
  TY_TRY(put_of(g, n, &p));
  if (p.mask) {
    int tail = p.x->rank - p.mask->rank;
    for (int i = 0; i < p.x->rank; i++) s[i] = i < p.mask->rank ? p.mask->shape[i] : ty_dim_const(g, 1);
    if (v->rank > tail) v = ty_c_reshape(g, v, tail, v->shape + v->rank - tail);
    return ty_o_done(g, rep, ty_o_fit(g, ty_o_sel(g, ty_c_reshape(g, p.mask, p.x->rank, s), v, p.x), n->outs[0]));
  }
  for (int i = 0; i < p.nidx; i++) {
    ty_dim size = p.x->shape[p.perm[i]];
    ty_value *k = ty_o_where_nonneg(g, p.idx[i], size), *in = inside(g, k, size, k);
    in = ty_o2(g, TY_P_ge, in, ty_o_num(g, TY_i64, 0));
    at = at ? ty_o2(g, TY_P_add, ty_win_affine(g, at, size, 0, -1), k) : k;
    ok = ok ? ty_o2(g, TY_P_and, ok, in) : in;
  }
  at = flat(g, like(g, ty_o_sel(g, ok, at, ty_o_num(g, TY_i64, -1)), p.brank, p.bshape));
  int want = put_shape(&p, s), perm[TY_MAX_RANK];
  for (int i = 0; i < want; i++) perm[i] = i < p.brank ? p.at + i : i - p.brank < p.at ? i - p.brank : i;
  v = rows(g, like(g, v, want, s), perm, p.brank);
  v = join(g, rows(g, wide(g, p.x), p.perm, p.nidx), at, wide(g, v), ty_o_bool(n, 3) ? "sum" : "set");
  return ty_o_done(g, rep, ty_o_fit(g, unrows(g, v, p.x, p.perm), n->outs[0]));
}

/* ---- index_add, index_copy, index_fill, index_reduce(self, dim, index, ...): whole slices ---- */
enum { IADD, ICOPY, IFILL, IREDUCE };
ty_status ty_index_join_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *i = ty_o_val(n, 2), *y = ty_o_val(n, 3);
  int d, w = what_of(n);
  TY_TRY(need_index(g, i));
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  TY_TRY(joins(g, x, w == IREDUCE ? kind_of(n) : "set"));
  if (i->rank > 1) return ty_fail(g->ctx, TY_INVALID, "index must be a vector");
  if (!x->rank || (w != IFILL && y->rank != x->rank)) return ty_fail(g->ctx, TY_UNSUPPORTED, "ranks %d and %d", x->rank, w == IFILL ? 0 : y->rank);
  if (w == IFILL) return y && y->rank ? ty_fail(g->ctx, TY_INVALID, "index_fill: value must have no dims") : ty_o_out_like(g, n, x);
  if (y->dtype != x->dtype) return ty_fail(g->ctx, TY_INVALID, "dtypes differ");
  for (int k = 0; k < x->rank; k++) TY_TRY(ty_o_need_same(g, n, y->shape[k], k == d ? (i->rank ? i->shape[0] : ty_dim_const(g, 1)) : x->shape[k], "source"));
  return ty_o_out_like(g, n, x);
}
ty_status ty_index_join_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *i = flat(g, ty_c_cast(g, ty_o_val(n, 2), TY_i64)), *y = ty_o_val(n, 3), *xr;
  int d, w = what_of(n), perm[TY_MAX_RANK];
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  for (int k = 0; k < x->rank; k++) perm[k] = k == 0 ? d : k <= d ? k - 1 : k;
  xr = rows(g, x = wide(g, x), perm, 1);
  if (!i || !xr) return ty_o_done(g, rep, NULL);
  if (w == IFILL) {
    ty_dim s[2] = {i->shape[0], xr->shape[1]};
    i = ty_o_where_nonneg(g, i, x->shape[d]);
    y = like(g, ty_o_arg(g, &n->args[3], x->dtype), 2, s);
  } else y = rows(g, wide(g, y), perm, 1);
  double alpha;
  if (w == IADD && !(ty_o_number(g, &n->args[4], &alpha) && alpha == 1)) y = ty_o2(g, TY_P_mul, y, ty_o_arg(g, &n->args[4], x->dtype));
  placed p = {i, join};
  xr = w == IREDUCE ? reduced(g, &p, xr, y, kind_of(n), ty_o_bool(n, 5)) : join(g, xr, i, y, w == IADD ? "sum" : "set");
  return ty_o_done(g, rep, ty_o_fit(g, unrows(g, xr, x, perm), n->outs[0]));
}

/* ---- put(self, index, source, accumulate): elements of the flat tensor ---- */
ty_status ty_put_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *i = ty_o_val(n, 1), *y = ty_o_val(n, 2);
  TY_TRY(need_index(g, i));
  TY_TRY(joins(g, x, "set"));
  if (y->dtype != x->dtype) return ty_fail(g->ctx, TY_INVALID, "put: dtypes differ");
  TY_TRY(ty_o_need_same(g, n, ty_o_numel(g, i), ty_o_numel(g, y), "put"));
  return ty_o_out_like(g, n, x);
}
ty_status ty_put_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *i = ty_o_where_nonneg(g, ty_o_val(n, 1), ty_o_numel(g, x));
  return ty_o_done(g, rep, ty_o_fit(g, join_elements(g, wide(g, x), i, wide(g, ty_o_val(n, 2)), ty_o_bool(n, 3) ? "sum" : "set"), n->outs[0]));
}

/* ---- masked_scatter(self, mask, source): the masked places take the source's elements in order ---- */
ty_status ty_masked_scatter_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *m = ty_o_val(n, 1), *y = ty_o_val(n, 2);
  ty_dim s[TY_MAX_RANK];
  int r;
  if (m->dtype != TY_bool || y->dtype != x->dtype) return ty_fail(g->ctx, TY_INVALID, "masked_scatter: dtypes");
  if (ty_dim_get(g, ty_o_numel(g, y))->lo < 1) return ty_fail(g->ctx, TY_UNSUPPORTED, "masked_scatter: the source may be empty");
  TY_TRY(ty_broadcast(g, x->rank, x->shape, m->rank, m->shape, &r, s));
  return ty_o_out(g, n, x->dtype, r, s);
}
ty_status ty_masked_scatter_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *o = n->outs[0], *m = like(g, ty_o_val(n, 1), o->rank, o->shape), *count = ty_c_cast(g, flat(g, m), TY_i64), *one = ty_o_num(g, TY_i64, 1);
  ty_arg a[3] = {ty_arg_value(count), ty_arg_str("sum"), ty_arg_int(ty_dim_const(g, 0))};
  count = count ? ty_o_reshape_like(g, ty_make(g, TY_OP_scan, 3, a), o) : NULL;
  ty_value *i = ty_o_sel(g, m, ty_o2(g, TY_P_sub, count, one), ty_o_num(g, TY_i64, 0));
  ty_value *v = i ? ty_c_index(g, flat(g, ty_o_val(n, 2)), &i) : NULL;
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_sel(g, m, v, ty_o_val(n, 0)), o));
}

/* ---- max_unpool2d, max_unpool3d(self, indices, output_size, ...); param: spatial dims ---- */
ty_status ty_unpool_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *i = ty_o_val(n, 1);
  int dims = ty_o_param(n), cnt;
  const ty_dim *size = ty_o_ints(n, 2, &cnt);
  ty_dim s[TY_MAX_RANK];
  TY_TRY(joins(g, x, "set"));
  if (i->dtype != TY_i64) return ty_fail(g->ctx, TY_INVALID, "max_unpool: indices must be int64");
  if (cnt != dims || (x->rank != dims + 1 && x->rank != dims + 2) || i->rank != x->rank) return ty_fail(g->ctx, TY_INVALID, "max_unpool: rank %d", x->rank);
  for (int k = 0; k < x->rank; k++) {
    TY_TRY(ty_o_same(g, x->shape[k], i->shape[k], "max_unpool"));
    s[k] = k < x->rank - dims ? x->shape[k] : size[k - (x->rank - dims)];
  }
  return ty_o_out(g, n, x->dtype, x->rank, s);
}
ty_status ty_unpool_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *i = ty_o_val(n, 1), *o = n->outs[0], *plane = NULL;
  int dims = ty_o_param(n), lead = x->rank - dims;
  ty_dim size = ty_dim_product(g, dims, o->shape + lead);
  for (int k = 0; k < lead; k++) {
    ty_value *along = ty_win_along(g, x->rank, k, x->shape[k]);
    plane = plane ? ty_o2(g, TY_P_add, ty_win_affine(g, plane, x->shape[k], 0, -1), along) : along;
  }
  ty_value *at = inside(g, i, size, ty_o2(g, TY_P_add, ty_win_affine(g, plane, size, 0, -1), i));
  x = wide(g, x);
  return ty_o_done(g, rep, x ? ty_o_fit(g, join_elements(g, ty_c_full(g, x->dtype, o->rank, o->shape, 0), at, x, "set"), o) : NULL);
}
