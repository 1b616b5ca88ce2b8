/* view.c: the same elements in another shape or order: reshapes, permutations, slices, expansions. */
#include "ops/family.h"

/* ---- Anything that is one reshape: infer computes the shape, lower reshapes to it ---- */
ty_status ty_reshaping_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  return ty_o_done(g, rep, ty_o_reshape_like(g, ty_o_val(n, 0), n->outs[0]));
}
ty_status ty_view_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim out[TY_MAX_RANK];
  int cnt;
  const ty_dim *want = ty_o_ints(n, 1, &cnt);
  TY_TRY(ty_o_view_shape(g, n, x, cnt, want, out));
  return ty_o_out(g, n, x->dtype, cnt, out);
}
ty_status ty_view_lower(ty_graph *g, ty_node *n, ty_value **rep) { return ty_reshaping_lower(g, n, rep); }
ty_status ty_view_as_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *o = ty_o_val(n, 1);
  ty_dim out[TY_MAX_RANK];
  TY_TRY(ty_o_view_shape(g, n, x, o->rank, o->shape, out));
  return ty_o_out(g, n, x->dtype, o->rank, out);
}
ty_status ty_view_as_lower(ty_graph *g, ty_node *n, ty_value **rep) { return ty_reshaping_lower(g, n, rep); }

ty_status ty_unsqueeze_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[TY_MAX_RANK + 1];
  int d;
  TY_TRY(ty_o_dim(g, n, 1, x->rank + 1, &d));
  for (int i = 0; i <= x->rank; i++) s[i] = i < d ? x->shape[i] : i == d ? ty_dim_const(g, 1) : x->shape[i - 1];
  return ty_o_out(g, n, x->dtype, x->rank + 1, s);
}
ty_status ty_unsqueeze_lower(ty_graph *g, ty_node *n, ty_value **rep) { return ty_reshaping_lower(g, n, rep); }

/* squeeze(), squeeze(dim), squeeze(dims); param: has a dim argument. A symbolic size must not be 1, as PyTorch specializes on 1. */
ty_status ty_squeeze_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[TY_MAX_RANK];
  int dims[TY_MAX_RANK], cnt = 0, listed = 1, r = 0;
  bool drop[TY_MAX_RANK] = { 0 };
  if (ty_o_param(n)) (void)ty_o_ints(n, 1, &listed);
  if (ty_o_param(n)) TY_TRY(ty_o_dims(g, n, 1, x->rank, &cnt, dims));
  for (int i = 0; i < cnt; i++) drop[dims[i]] = listed > 0;
  for (int i = 0; i < x->rank; i++) {
    bool asked = !ty_o_param(n) || drop[i];
    if (asked && ty_dim_is(g, x->shape[i], 1)) continue;
    if (asked) TY_TRY(ty_graph_need(g, n, TY_NEED_NE, x->shape[i], ty_dim_const(g, 1)));
    s[r++] = x->shape[i];
  }
  return ty_o_out(g, n, x->dtype, r, s);
}
ty_status ty_squeeze_lower(ty_graph *g, ty_node *n, ty_value **rep) { return ty_reshaping_lower(g, n, rep); }

ty_status ty_flatten_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[TY_MAX_RANK], one = ty_dim_const(g, 1);
  int a, b, r = 0;
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &a));
  TY_TRY(ty_o_dim(g, n, 2, x->rank, &b));
  if (!x->rank) return ty_o_out(g, n, x->dtype, 1, &one);
  if (a > b) return ty_fail(g->ctx, TY_INVALID, "flatten: start_dim comes after end_dim");
  for (int i = 0; i < x->rank; i++) {
    if (i > a && i <= b) s[r - 1] = ty_dim_mul(g, s[r - 1], x->shape[i]);
    else s[r++] = x->shape[i];
  }
  return ty_o_out(g, n, x->dtype, r, s);
}
ty_status ty_flatten_lower(ty_graph *g, ty_node *n, ty_value **rep) { return ty_reshaping_lower(g, n, rep); }

ty_status ty_unflatten_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), part;
  ty_dim s[2 * TY_MAX_RANK];
  int d, cnt;
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  const ty_dim *want = ty_o_ints(n, 2, &cnt);
  if (!x->rank || x->rank + cnt - 1 > TY_MAX_RANK) return ty_fail(g->ctx, TY_INVALID, "unflatten of rank %d", x->rank);
  part = (ty_value){ .rank = 1, .shape = &x->shape[d] };
  for (int i = 0; i < d; i++) s[i] = x->shape[i];
  TY_TRY(ty_o_view_shape(g, n, &part, cnt, want, s + d));
  for (int i = d + 1; i < x->rank; i++) s[i + cnt - 1] = x->shape[i];
  return ty_o_out(g, n, x->dtype, x->rank + cnt - 1, s);
}
ty_status ty_unflatten_lower(ty_graph *g, ty_node *n, ty_value **rep) { return ty_reshaping_lower(g, n, rep); }

/* ---- Permutations: permute, transpose.int, t, movedim; param: which ---- */
enum { TRANSPOSE = 1, T, MOVEDIM, SWAP_LAST, NUMPY_T }; /* 0: permute */
static ty_status perm_of(ty_graph *g, const ty_node *n, int *perm) {
  ty_value *x = ty_o_val(n, 0);
  int r = x->rank, a, b, cnt, to;
  bool from_used[TY_MAX_RANK] = { 0 }, to_used[TY_MAX_RANK] = { 0 };
  for (int i = 0; i < r; i++) perm[i] = i;
  switch (ty_o_param(n)) {
  case TRANSPOSE:
    TY_TRY(ty_o_dim(g, n, 1, r, &a));
    TY_TRY(ty_o_dim(g, n, 2, r, &b));
    if (r) perm[a] = b, perm[b] = a;
    return TY_OK;
  case T:
    if (r > 2) return ty_fail(g->ctx, TY_INVALID, "t() expects a tensor with <= 2 dimensions");
    if (r == 2) perm[0] = 1, perm[1] = 0;
    return TY_OK;
  case SWAP_LAST:
    if (r < 2) return ty_fail(g->ctx, TY_INVALID, "needs at least 2 dims");
    perm[r - 1] = r - 2, perm[r - 2] = r - 1;
    return TY_OK;
  case NUMPY_T:
    for (int i = 0; i < r; i++) perm[i] = r - 1 - i;
    return TY_OK;
  default: break;
  }
  const ty_dim *src = ty_o_ints(n, 1, &cnt), *dst = ty_o_param(n) == MOVEDIM ? ty_o_ints(n, 2, &to) : NULL;
  if (dst ? to != cnt : cnt != r) return ty_fail(g->ctx, TY_INVALID, "wrong number of dims");
  for (int i = 0; i < cnt; i++) {
    int64_t s, d;
    if (!ty_dim_is_const(g, src[i], &s) || (dst && !ty_dim_is_const(g, dst[i], &d))) return ty_fail(g->ctx, TY_UNSUPPORTED, "symbolic dim");
    TY_TRY(ty_o_wrap(g, s, r, &a));
    b = i;
    if (dst) TY_TRY(ty_o_wrap(g, d, r, &b));
    if (!r) return TY_OK;
    if (from_used[a] || to_used[b]) return ty_fail(g->ctx, TY_INVALID, "repeated dim");
    from_used[a] = to_used[b] = true;
    perm[b] = a;
  }
  for (int i = 0, from = 0; dst && i < r; i++) {
    if (to_used[i]) continue;
    while (from_used[from]) from++;
    perm[i] = from++;
  }
  return TY_OK;
}
ty_status ty_permutation_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int perm[TY_MAX_RANK];
  ty_dim s[TY_MAX_RANK];
  TY_TRY(perm_of(g, n, perm));
  for (int i = 0; i < x->rank; i++) s[i] = x->shape[perm[i]];
  return ty_o_out(g, n, x->dtype, x->rank, s);
}
ty_status ty_permutation_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0);
  int perm[TY_MAX_RANK];
  bool same = true;
  TY_TRY(perm_of(g, n, perm));
  for (int i = 0; i < x->rank; i++) same &= perm[i] == i;
  return ty_o_done(g, rep, same ? x : ty_c_permute(g, x, perm));
}

/* ---- expand(size): -1 keeps a size. expand_as(other), broadcast_to ---- */
ty_status ty_expand_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *like = ty_o_val(n, 1);
  ty_dim s[TY_MAX_RANK];
  int r;
  const ty_dim *want = ty_o_ints(n, 1, &r);
  if (like) want = like->shape, r = like->rank;
  if (r < x->rank || r > TY_MAX_RANK) return ty_fail(g->ctx, TY_INVALID, "expand to rank %d of rank %d", r, x->rank);
  for (int i = 0; i < r; i++) {
    int k = i - (r - x->rank);
    s[i] = want[i];
    if (ty_dim_is(g, want[i], -1)) {
      if (k < 0) return ty_fail(g->ctx, TY_INVALID, "expand: -1 is not allowed in a leading, non-existing dimension");
      s[i] = x->shape[k];
    } else if (k >= 0 && !ty_dim_is(g, x->shape[k], 1))
      TY_TRY(ty_o_same(g, x->shape[k], want[i], "expand"));
  }
  return ty_o_out(g, n, x->dtype, r, s);
}
ty_status ty_expand_lower(ty_graph *g, ty_node *n, ty_value **rep) { return ty_o_done(g, rep, ty_o_fit(g, ty_o_val(n, 0), n->outs[0])); }

/* ---- Slices ---- */
/* A bound of a slice as an index in [0, size]. */
static ty_status slice_bound(ty_graph *g, const ty_arg *a, ty_dim size, ty_dim dflt, ty_dim *out) {
  ty_dim zero = ty_dim_const(g, 0);
  if (a->kind != TY_ARG_INT) return *out = dflt, TY_OK;
  int64_t lo = ty_dim_get(g, a->i)->lo, hi = ty_dim_get(g, a->i)->hi;
  if (lo == hi && lo >= INT32_MAX) *out = size; /* sys.maxsize: no bound */
  else if (lo >= 0) *out = ty_o_min(g, a->i, size);
  else if (hi < 0) *out = lo == hi && lo < -INT32_MAX ? zero : ty_o_max(g, zero, ty_dim_add(g, size, a->i));
  else return ty_fail(g->ctx, TY_UNSUPPORTED, "slice bound of unknown sign");
  return TY_OK;
}
ty_status ty_o_slice_range(ty_graph *g, const ty_node *n, int at, ty_dim size, ty_dim *start, int64_t *step, ty_dim *len) {
  ty_dim end, zero = ty_dim_const(g, 0);
  TY_TRY(ty_o_int(g, n, at + 2, step));
  if (*step <= 0) return ty_fail(g->ctx, TY_INVALID, "slice step must be positive");
  TY_TRY(slice_bound(g, &n->args[at], size, zero, start));
  TY_TRY(slice_bound(g, &n->args[at + 1], size, size, &end));
  *len = ty_o_max(g, zero, ty_o_ceil_div(g, ty_dim_sub(g, end, *start), *step));
  return TY_OK;
}
static ty_status slice_args(ty_graph *g, const ty_node *n, int *d, ty_dim *start, int64_t *step, ty_dim *len) {
  ty_value *x = ty_o_val(n, 0);
  if (!x->rank) return ty_fail(g->ctx, TY_INVALID, "slice of a tensor of rank 0");
  TY_TRY(ty_o_dim(g, n, 1, x->rank, d));
  return ty_o_slice_range(g, n, 2, x->shape[*d], start, step, len);
}
ty_status ty_slice_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[TY_MAX_RANK], start = 0, len = 0;
  int64_t step;
  int d;
  TY_TRY(slice_args(g, n, &d, &start, &step, &len));
  for (int i = 0; i < x->rank; i++) s[i] = i == d ? len : x->shape[i];
  return ty_o_out(g, n, x->dtype, x->rank, s);
}
static ty_value *slice_of(ty_graph *g, ty_value *x, int d, ty_dim start, int64_t step, ty_dim len) {
  if (step == 1 && ty_dim_is(g, start, 0) && len == x->shape[d]) return x;
  return ty_c_slice(g, x, d, start, step, len);
}
ty_status ty_slice_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_dim start = 0, len = 0;
  int64_t step;
  int d;
  TY_TRY(slice_args(g, n, &d, &start, &step, &len));
  return ty_o_done(g, rep, slice_of(g, ty_o_val(n, 0), d, start, step, len));
}

/* select(dim, index) and narrow(dim, start, length): the index wraps. */
static ty_status start_arg(ty_graph *g, const ty_node *n, ty_dim size, ty_dim *start) {
  const ty_arg *a = &n->args[2];
  if (a->kind != TY_ARG_INT) return ty_fail(g->ctx, TY_UNSUPPORTED, "the index is a tensor");
  int64_t lo = ty_dim_get(g, a->i)->lo, hi = ty_dim_get(g, a->i)->hi;
  *start = a->i;
  if (hi < 0) *start = ty_dim_add(g, size, a->i);
  else if (lo < 0) return ty_fail(g->ctx, TY_UNSUPPORTED, "index of unknown sign");
  return TY_OK;
}
static ty_status select_args(ty_graph *g, const ty_node *n, int *d, ty_dim *start) {
  ty_value *x = ty_o_val(n, 0);
  if (!x->rank) return ty_fail(g->ctx, TY_INVALID, "select of a tensor of rank 0");
  TY_TRY(ty_o_dim(g, n, 1, x->rank, d));
  TY_TRY(start_arg(g, n, x->shape[*d], start));
  if (ty_dim_get(g, *start)->hi < 0 || ty_dim_known_lt(g, x->shape[*d], ty_dim_add(g, *start, ty_dim_const(g, 1))))
    return ty_fail(g->ctx, TY_INVALID, "select: index out of range");
  return TY_OK;
}
ty_status ty_select_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[TY_MAX_RANK], start;
  int d;
  TY_TRY(select_args(g, n, &d, &start));
  for (int i = 0; i < x->rank; i++)
    if (i != d) s[i > d ? i - 1 : i] = x->shape[i];
  return ty_o_out(g, n, x->dtype, x->rank - 1, s);
}
ty_status ty_select_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_dim start;
  int d;
  TY_TRY(select_args(g, n, &d, &start));
  return ty_o_done(g, rep, ty_o_reshape_like(g, ty_c_slice(g, ty_o_val(n, 0), d, start, 1, ty_dim_const(g, 1)), n->outs[0]));
}

static ty_status narrow_args(ty_graph *g, const ty_node *n, int *d, ty_dim *start, ty_dim *len) {
  ty_value *x = ty_o_val(n, 0);
  if (!x->rank) return ty_fail(g->ctx, TY_INVALID, "narrow of a tensor of rank 0");
  TY_TRY(ty_o_dim(g, n, 1, x->rank, d));
  TY_TRY(start_arg(g, n, x->shape[*d], start));
  *len = n->args[3].i;
  if (ty_dim_get(g, *len)->lo < 0 || ty_dim_get(g, *start)->hi < 0 || ty_dim_known_lt(g, x->shape[*d], ty_dim_add(g, *start, *len)))
    return ty_fail(g->ctx, TY_INVALID, "narrow: out of range");
  return TY_OK;
}
ty_status ty_narrow_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[TY_MAX_RANK], start = 0, len = 0;
  int d;
  TY_TRY(narrow_args(g, n, &d, &start, &len));
  for (int i = 0; i < x->rank; i++) s[i] = i == d ? len : x->shape[i];
  return ty_o_out(g, n, x->dtype, x->rank, s);
}
ty_status ty_narrow_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_dim start = 0, len = 0;
  int d;
  TY_TRY(narrow_args(g, n, &d, &start, &len));
  return ty_o_done(g, rep, slice_of(g, ty_o_val(n, 0), d, start, 1, len));
}
