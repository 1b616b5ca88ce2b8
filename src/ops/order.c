/* order.c: sorting: sort, argsort, topk, kthvalue; the greatest and least so far; searching in what is sorted. */
#include "ops/window.h"

/* dim taken to the end, and back. */
static ty_value *turned(ty_graph *g, ty_value *x, int d, bool back) {
  int perm[TY_MAX_RANK];
  if (!x) return NULL;
  for (int k = 0; k < x->rank; k++) perm[k] = back ? (k < d ? k : k == d ? x->rank - 1 : k - 1) : k < d ? k : k < x->rank - 1 ? k + 1 : d;
  return ty_c_permute(g, x, perm);
}
/* Places of the k first along the last dim. */
static ty_value *places(ty_graph *g, ty_value *x, ty_dim k, bool descending) {
  ty_arg a[3] = {ty_arg_value(x), ty_arg_int(k), ty_arg_bool(descending)};
  return x ? ty_make(g, TY_OP_sort, 3, a) : NULL;
}
/* What stands at these places of the last dim. */
static ty_value *taken(ty_graph *g, ty_value *x, ty_value *at) {
  ty_value *idx[TY_MAX_RANK];
  if (!x || !at) return NULL;
  for (int k = 0; k < x->rank; k++) idx[k] = k == x->rank - 1 ? at : ty_win_along(g, x->rank, k, x->shape[k]);
  return ty_c_index(g, x, idx);
}

/* ---- sort.default, sort.stable, argsort, argsort.stable, msort, topk, kthvalue ----
 * param: what | where dim stands << 4 (0: the first dim) | where `descending` stands << 8 (0: no). */
enum { SORT, ARGSORT, MSORT, TOPK, KTH };
static ty_status sort_of(ty_graph *g, const ty_node *n, int *d, ty_dim *k, bool *descending) {
  ty_value *x = ty_o_val(n, 0);
  int what = ty_o_param(n) & 15, at = ty_o_param(n) >> 4 & 15, desc = ty_o_param(n) >> 8;
  *d = 0;
  if (at) TY_TRY(ty_o_dim(g, n, at, x->rank, d));
  *k = x->rank ? x->shape[*d] : ty_dim_const(g, 1);
  *descending = desc && ty_o_bool(n, desc);
  if (what != TOPK && what != KTH) return TY_OK;
  if (!ty_o_le(g, n->args[1].i, *k) || ty_dim_get(g, n->args[1].i)->lo < (what == KTH))
    return ty_fail(g->ctx, ty_dim_is_const(g, *k, NULL) ? TY_INVALID : TY_UNSUPPORTED, "selected index k is out of range");
  if (x->rank) *k = n->args[1].i; /* a scalar is its own largest, whether 0 or 1 are asked for */
  return TY_OK;
}
ty_status ty_sort_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int d, what = ty_o_param(n) & 15, r = 0;
  bool desc;
  ty_dim k, s[TY_MAX_RANK];
  TY_TRY(sort_of(g, n, &d, &k, &desc));
  for (int i = 0; i < x->rank; i++)
    if (i != d || what != KTH || ty_o_bool(n, 3)) s[r++] = i != d ? x->shape[i] : what == KTH ? ty_dim_const(g, 1) : k;
  if (what != ARGSORT) TY_TRY(ty_o_out(g, n, x->dtype, r, s));
  return what == MSORT ? TY_OK : ty_o_out(g, n, TY_i64, r, s);
}
ty_status ty_sort_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *o = n->outs[0], *at, *v = NULL;
  int d, what = ty_o_param(n) & 15;
  bool desc;
  ty_dim k, one = ty_dim_const(g, 1);
  TY_TRY(sort_of(g, n, &d, &k, &desc));
  if (!x->rank) x = ty_c_reshape(g, x, 1, &one);
  x = turned(g, x, d, false);
  at = places(g, x, k, desc);
  if (what == KTH && at) at = ty_c_slice(g, at, at->rank - 1, ty_dim_sub(g, k, one), 1, one);
  if (what != ARGSORT) v = taken(g, x, at);
  if (what != ARGSORT) TY_TRY(ty_o_done(g, rep++, ty_o_reshape_like(g, turned(g, v, d, true), o)));
  return what == MSORT ? TY_OK : ty_o_done(g, rep, ty_o_reshape_like(g, turned(g, at, d, true), o));
}

/* ---- cummax (param 0), cummin (1): values, indices ---- */
ty_status ty_cumextremum_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int d;
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  TY_TRY(ty_o_out_like(g, n, x));
  return ty_o_out(g, n, TY_i64, x->rank, x->shape);
}
ty_status ty_cumextremum_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *idx[TY_MAX_RANK], *at;
  int d;
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  if (!x->rank) {
    TY_TRY(ty_o_done(g, rep, x));
    return ty_o_done(g, rep + 1, ty_c_full_int(g, TY_i64, 0, NULL, 0));
  }
  ty_arg a[3] = {ty_arg_value(ty_c_cast(g, x, ty_o_compute(x->dtype))), ty_arg_str(ty_o_param(n) ? "argmin" : "argmax"), ty_arg_int(ty_dim_const(g, d))};
  if (!(at = ty_make(g, TY_OP_scan, 3, a))) return ty_o_done(g, rep, NULL);
  for (int k = 0; k < x->rank; k++) idx[k] = k == d ? at : ty_win_along(g, x->rank, k, x->shape[k]);
  TY_TRY(ty_o_done(g, rep, ty_c_index(g, x, idx)));
  return ty_o_done(g, rep + 1, at);
}

/* ---- searchsorted(sorted, values), bucketize(values, sorted): a binary search of as many steps as the length has bits ----
 * param: where the values stand | out_int32 << 4 | right << 8 | side << 12 | sorter << 16 (0: not there) */
typedef struct search { ty_value *seq, *v; int64_t len; bool right; ty_dtype out; } search;
static ty_status search_of(ty_graph *g, const ty_node *n, search *s) {
  int p = ty_o_param(n), at = p & 15, side = p >> 12 & 15;
  const char *text = side ? ty_o_str(n, side) : NULL;
  *s = (search){.seq = ty_o_val(n, !at), .v = ty_o_val(n, at), .right = ty_o_bool(n, p >> 8 & 15), .out = ty_o_bool(n, p >> 4 & 15) ? TY_i32 : TY_i64};
  if (text) s->right = text[0] == 'r';
  if (p >> 16 && !ty_o_none(n, p >> 16)) return ty_fail(g->ctx, TY_UNSUPPORTED, "a sorter");
  if (s->v->dtype != s->seq->dtype) return ty_fail(g->ctx, TY_INVALID, "dtypes of values and boundaries must be the same");
  if (s->v->dtype == TY_bool) return ty_fail(g->ctx, TY_UNSUPPORTED, "searching bools");
  if (s->seq->rank < 1 || (s->seq->rank > 1 && s->seq->rank != s->v->rank)) return ty_fail(g->ctx, TY_INVALID, "ranks %d and %d", s->seq->rank, s->v->rank);
  for (int k = 0; k < s->seq->rank - 1; k++) TY_TRY(ty_o_same(g, s->seq->shape[k], s->v->shape[k], "searchsorted"));
  if (!ty_dim_is_const(g, s->seq->shape[s->seq->rank - 1], &s->len)) return ty_fail(g->ctx, TY_UNSUPPORTED, "searching a symbolic number of boundaries");
  return TY_OK;
}
ty_status ty_search_infer(ty_graph *g, ty_node *n) {
  search s;
  TY_TRY(search_of(g, n, &s));
  return ty_o_out(g, n, s.out, s.v->rank, s.v->shape);
}
ty_status ty_search_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  search s;
  TY_TRY(search_of(g, n, &s));
  ty_value *lo = ty_c_full_int(g, TY_i64, s.v->rank, s.v->shape, 0), *idx[TY_MAX_RANK], *end = ty_o_num(g, TY_i64, (double)s.len), *one = ty_o_num(g, TY_i64, 1);
  ty_dtype dt = ty_o_compute(s.v->dtype);
  ty_value *v = ty_c_cast(g, s.v, dt);
  int64_t step = 1;
  while (step <= s.len / 2) step *= 2;
  for (; step && s.len && lo; step /= 2) { /* all before lo are passed */
    ty_value *next = ty_o2(g, TY_P_add, lo, ty_o_num(g, TY_i64, (double)step)), *there = ty_o2(g, TY_P_sub, ty_o2(g, TY_P_min, next, end), one);
    for (int k = 0; k < s.seq->rank; k++) idx[k] = k == s.seq->rank - 1 ? there : ty_win_along(g, s.v->rank, k, s.v->shape[k]);
    ty_value *at = there ? ty_c_cast(g, ty_c_index(g, s.seq, idx), dt) : NULL, *stop = ty_o2(g, s.right ? TY_P_gt : TY_P_ge, at, v); /* NaN is beyond all */
    lo = ty_o_sel(g, ty_o2(g, TY_P_and, ty_o1(g, TY_P_not, stop), ty_o2(g, TY_P_le, next, end)), next, lo);
  }
  return ty_o_done(g, rep, ty_o_fit(g, lo, n->outs[0]));
}
