/* util.c: arguments, dims, promotion and the small core-level formulas that the operator families share. */
#include "ops/family.h"

/* ---- Arguments ---- */
bool ty_o_number(ty_graph *g, const ty_arg *a, double *out) {
  int64_t v;
  switch (a->kind) {
  case TY_ARG_FLOAT: return *out = a->f, true;
  case TY_ARG_BOOL: return *out = a->b, true;
  case TY_ARG_INT: return ty_dim_is_const(g, a->i, &v) ? (*out = (double)v, true) : false;
  default: return false;
  }
}

double ty_o_float(ty_graph *g, const ty_node *n, int i, double dflt) {
  double v;
  return ty_o_number(g, &n->args[i], &v) ? v : dflt;
}

ty_status ty_o_int(ty_graph *g, const ty_node *n, int i, int64_t *out) {
  const ty_arg *a = &n->args[i];
  if (a->kind == TY_ARG_BOOL) return *out = a->b, TY_OK;
  if (a->kind != TY_ARG_INT) return ty_fail(g->ctx, TY_INVALID, "argument %d must be an int", i);
  if (!ty_dim_is_const(g, a->i, out)) return ty_fail(g->ctx, TY_UNSUPPORTED, "argument %d is symbolic", i);
  return TY_OK;
}

const ty_dim *ty_o_ints(const ty_node *n, int i, int *count) {
  const ty_arg *a = &n->args[i];
  *count = a->kind == TY_ARG_INTS ? a->n : a->kind == TY_ARG_INT ? 1 : 0;
  return a->kind == TY_ARG_INT ? &a->i : a->kind == TY_ARG_INTS ? a->ints : NULL;
}

ty_value *const *ty_o_vals(const ty_node *n, int i, int *count) {
  const ty_arg *a = &n->args[i];
  *count = a->kind == TY_ARG_VALUES ? a->n : a->kind == TY_ARG_VALUE ? 1 : 0;
  return a->kind == TY_ARG_VALUE ? &a->value : a->kind == TY_ARG_VALUES ? a->values : NULL;
}

/* ---- Dims ---- */
ty_status ty_o_wrap(ty_graph *g, int64_t dim, int rank, int *out) {
  int r = rank ? rank : 1;
  if (dim < -r || dim >= r)
    return ty_fail(g->ctx, TY_INVALID, "dimension %lld is out of range for rank %d", (long long)dim, rank);
  *out = (int)(dim < 0 ? dim + r : dim);
  return TY_OK;
}

ty_status ty_o_dim(ty_graph *g, const ty_node *n, int i, int rank, int *out) {
  int64_t v;
  TY_TRY(ty_o_int(g, n, i, &v));
  return ty_o_wrap(g, v, rank, out);
}

ty_status ty_o_dims(ty_graph *g, const ty_node *n, int i, int rank, int *count, int *dims) {
  bool on[TY_MAX_RANK] = { 0 };
  int cnt;
  const ty_dim *list = ty_o_ints(n, i, &cnt);
  for (int k = 0; k < cnt; k++) {
    int64_t v;
    int d = 0;
    if (!ty_dim_is_const(g, list[k], &v)) return ty_fail(g->ctx, TY_UNSUPPORTED, "argument %d is symbolic", i);
    TY_TRY(ty_o_wrap(g, v, rank, &d));
    if (on[d]) return ty_fail(g->ctx, TY_INVALID, "dim %d appears multiple times", d);
    on[d] = true;
  }
  *count = 0;
  for (int d = 0; d < rank; d++)
    if (!cnt || on[d]) dims[(*count)++] = d;
  return TY_OK;
}

bool ty_o_le(ty_graph *g, ty_dim a, ty_dim b) {
  return ty_dim_known_eq(g, a, b) || ty_dim_known_lt(g, a, ty_dim_add(g, b, ty_dim_const(g, 1)));
}
ty_dim ty_o_min(ty_graph *g, ty_dim a, ty_dim b) { return ty_o_le(g, a, b) ? a : ty_o_le(g, b, a) ? b : ty_dim_min(g, a, b); }
ty_dim ty_o_max(ty_graph *g, ty_dim a, ty_dim b) { return ty_o_le(g, a, b) ? b : ty_o_le(g, b, a) ? a : ty_dim_max(g, a, b); }
ty_dim ty_o_numel(ty_graph *g, const ty_value *v) { return ty_dim_product(g, v->rank, v->shape); }
ty_dim ty_o_ceil_div(ty_graph *g, ty_dim a, int64_t b) {
  if (b == 1) return a;
  return ty_dim_div(g, ty_dim_add(g, a, ty_dim_const(g, b - 1)), ty_dim_const(g, b));
}

ty_status ty_o_same(ty_graph *g, ty_dim a, ty_dim b, const char *what) {
  int64_t x, y;
  if (ty_dim_known_eq(g, a, b)) return TY_OK;
  if (ty_dim_is_const(g, a, &x) && ty_dim_is_const(g, b, &y))
    return ty_fail(g->ctx, TY_INVALID, "%s: sizes %lld and %lld differ", what, (long long)x, (long long)y);
  if (ty_dim_known_lt(g, a, b) || ty_dim_known_lt(g, b, a)) return ty_fail(g->ctx, TY_INVALID, "%s: sizes differ", what);
  return ty_fail(g->ctx, TY_UNSUPPORTED, "%s: symbolic sizes are not known to be equal", what);
}

ty_status ty_o_need_same(ty_graph *g, const ty_node *n, ty_dim a, ty_dim b, const char *what) {
  ty_status st = ty_graph_need(g, n, TY_NEED_EQ, a, b);
  return st ? ty_note(g->ctx, st, "%s", what) : TY_OK;
}

/* Sizes that stand on both sides are cancelled before dividing, so that symbolic -1 stay simple. */
ty_status ty_o_view_shape(ty_graph *g, const ty_node *node, const ty_value *x, int n, const ty_dim *want, ty_dim *out) {
  bool used[TY_MAX_RANK] = { 0 };
  int hole = -1;
  ty_dim one = ty_dim_const(g, 1), full = one, rest = one, top = one;
  int64_t a, b;
  if (n > TY_MAX_RANK) return ty_fail(g->ctx, TY_UNSUPPORTED, "rank %d", n);
  for (int i = 0; i < n; i++) {
    out[i] = want[i];
    if (ty_dim_is_const(g, want[i], &a) && a < 0) {
      if (a != -1 || hole >= 0) return ty_fail(g->ctx, TY_INVALID, "invalid shape: more than one -1, or a negative size");
      hole = i;
      continue;
    }
    full = ty_dim_mul(g, full, want[i]);
    int j = 0;
    while (j < x->rank && (used[j] || x->shape[j] != want[i])) j++;
    if (j < x->rank) used[j] = true;
    else rest = ty_dim_mul(g, rest, want[i]);
  }
  for (int j = 0; j < x->rank; j++)
    if (!used[j]) top = ty_dim_mul(g, top, x->shape[j]);
  if (hole < 0) {
    if (ty_dim_known_eq(g, full, ty_o_numel(g, x)) || ty_dim_known_eq(g, rest, top)) return TY_OK;
    return ty_o_need_same(g, node, ty_o_numel(g, x), full, "number of elements of the view");
  }
  if (ty_dim_is(g, full, 0)) return ty_fail(g->ctx, TY_INVALID, "-1 is ambiguous in the shape of an empty tensor");
  if (ty_dim_is_const(g, top, &a) && ty_dim_is_const(g, rest, &b) && (b == 0 || a % b))
    return ty_fail(g->ctx, TY_INVALID, "shape is invalid for the number of elements");
  out[hole] = ty_dim_div(g, top, rest);
  return ty_o_need_same(g, node, ty_dim_mul(g, out[hole], rest), top, "dividing for the -1 of a view");
}

/* ---- Results ---- */
ty_status ty_o_out(ty_graph *g, ty_node *n, ty_dtype dt, int rank, const ty_dim *shape) {
  if (rank > TY_MAX_RANK) return ty_fail(g->ctx, TY_UNSUPPORTED, "rank %d", rank);
  for (int i = 0; i < rank; i++) {
    if (shape[i] < 0) return g->arena.failed ? TY_NOMEM : TY_UNSUPPORTED; /* the dim left the reason */
    if (ty_dim_get(g, shape[i])->hi < 0) return ty_fail(g->ctx, TY_INVALID, "size %d of the result is negative", i);
    TY_TRY(ty_graph_need(g, n, TY_NEED_LE, ty_dim_const(g, 0), shape[i]));
  }
  return ty_node_out(g, n, dt, rank, shape) ? TY_OK : g->arena.failed ? TY_NOMEM : TY_INVALID;
}
ty_status ty_o_out_like(ty_graph *g, ty_node *n, const ty_value *x) { return ty_o_out(g, n, x->dtype, x->rank, x->shape); }

ty_status ty_o_done(ty_graph *g, ty_value **slot, ty_value *v) {
  *slot = v;
  if (v) return TY_OK;
  return g->arena.failed ? ty_fail(g->ctx, TY_NOMEM, "out of memory") : TY_INTERNAL; /* the text is there already */
}

/* ---- Types: c10/core and aten/src/ATen/native/TypeProperties.cpp, result_type ---- */
static int promote(int a, int b) { return a < 0 ? b : b < 0 ? a : (int)ty_dtype_promote((ty_dtype)a, (ty_dtype)b); }

void ty_promo_value(ty_promo *p, const ty_value *v) {
  int *slot = v->rank ? &p->dim : &p->zero;
  *slot = promote(*slot, v->dtype);
}

void ty_promo_arg(ty_promo *p, const ty_arg *a) {
  if (a->kind == TY_ARG_VALUE) ty_promo_value(p, a->value);
  else if (ty_o_is_number(a))
    p->wrapped = promote(p->wrapped, a->kind == TY_ARG_FLOAT ? TY_f32 : a->kind == TY_ARG_INT ? TY_i64 : TY_bool);
}

static int combine(int higher, int lower) {
  if (higher < 0) return lower;
  if (lower < 0 || ty_dtype_is_float((ty_dtype)higher)) return higher;
  if (higher == TY_bool || ty_dtype_is_float((ty_dtype)lower)) return promote(higher, lower);
  return higher;
}

ty_dtype ty_promo_result(const ty_promo *p) {
  int r = combine(p->dim, combine(p->zero, p->wrapped));
  return r < 0 ? TY_f32 : (ty_dtype)r;
}

ty_dtype ty_o_compute(ty_dtype d) { return d == TY_f16 || d == TY_bf16 ? TY_f32 : d; }

ty_status ty_o_norm_dtypes(ty_graph *g, const ty_node *n, int from, int to, ty_dtype *dt) {
  ty_dtype x = ty_o_val(n, 0)->dtype;
  const ty_value *first = NULL;
  for (int i = from; i < to && i < n->nargs; i++) {
    const ty_value *v = ty_o_val(n, i);
    if (!v) continue;
    if (!first) first = v;
    if (v->dtype != first->dtype || (v->dtype != x && v->dtype != ty_o_compute(x)))
      return ty_fail(g->ctx, TY_UNSUPPORTED, "parameters of a norm of dtype %s for %s", ty_dtypes[v->dtype].torch, ty_dtypes[x].torch);
  }
  if (dt) *dt = first ? first->dtype : x;
  return TY_OK;
}

ty_status ty_o_need_float(ty_graph *g, const ty_value *v) {
  if (!ty_dtype_is_float(v->dtype)) return ty_fail(g->ctx, TY_INVALID, "not implemented for %s", ty_dtypes[v->dtype].torch);
  return TY_OK;
}

/* ---- Core-level formulas ---- */
ty_value *ty_o_dimval(ty_graph *g, ty_dim d, ty_dtype dt) {
  int64_t v;
  if (!ty_dim_is_const(g, d, &v)) return ty_c_cast(g, ty_c_dimval(g, d), dt);
  if (ty_dtype_is_float(dt)) return ty_o_num(g, dt, (double)v);
  return ty_c_full_int(g, dt, 0, NULL, dt == TY_bool ? v != 0 : v);
}

ty_value *ty_o_fill(ty_graph *g, ty_dtype dt, int rank, const ty_dim *shape, const ty_arg *a) {
  int64_t i;
  double f = 0;
  if (a->kind == TY_ARG_INT && !ty_dim_is_const(g, a->i, NULL))
    return ty_c_expand(g, ty_c_cast(g, ty_c_dimval(g, a->i), dt), rank, shape);
  (void)ty_o_number(g, a, &f);
  if (ty_dtype_is_float(dt)) return ty_c_full(g, dt, rank, shape, f);
  i = a->kind == TY_ARG_INT && ty_dim_is_const(g, a->i, &i) ? i : f >= -0x1p63 && f < 0x1p63 ? (int64_t)f : INT64_MIN;
  return ty_c_full_int(g, dt, rank, shape, dt == TY_bool ? f != 0 : i);
}

ty_value *ty_o_num(ty_graph *g, ty_dtype dt, double f) {
  ty_arg a = ty_arg_float(f);
  return ty_o_fill(g, dt, 0, NULL, &a);
}

ty_value *ty_o_arg(ty_graph *g, const ty_arg *a, ty_dtype dt) {
  if (a->kind == TY_ARG_VALUE) return ty_c_cast(g, a->value, dt);
  return ty_o_fill(g, dt, 0, NULL, a);
}

ty_value *ty_o_round(ty_graph *g, ty_value *v, ty_dtype dt) {
  if (!v || v->dtype == dt || v->dtype == TY_bool || ty_o_compute(dt) == dt) return v ? ty_c_cast(g, v, dt) : NULL;
  v = ty_c_cast(g, v, v->dtype == TY_f64 ? TY_f64 : TY_f32);
  return ty_c_cast(g, ty_o1(g, dt == TY_bf16 ? TY_P_bf16 : TY_P_f16, v), dt);
}

ty_value *ty_o_fit(ty_graph *g, ty_value *v, const ty_value *out) {
  if (!v) return NULL;
  v = ty_c_cast(g, v, out->dtype);
  if (!v) return NULL;
  bool same = v->rank == out->rank;
  for (int i = 0; same && i < v->rank; i++) same = v->shape[i] == out->shape[i];
  return same ? v : ty_c_expand(g, v, out->rank, out->shape);
}

ty_value *ty_o_reshape_like(ty_graph *g, ty_value *v, const ty_value *out) { return v ? ty_c_reshape(g, v, out->rank, out->shape) : NULL; }

ty_value *ty_o_reduce(ty_graph *g, const char *kind, ty_value *v, int n, const int *dims, bool keepdim) {
  if (!v || !v->rank || !n) return v;
  return ty_c_reduce(g, kind, v, n, dims, keepdim);
}

ty_value *ty_o_mean(ty_graph *g, ty_value *v, int n, const int *dims, bool keepdim) {
  if (!v) return NULL;
  ty_dim count = ty_dim_const(g, 1);
  for (int i = 0; v->rank && i < n; i++) count = ty_dim_mul(g, count, v->shape[dims[i]]);
  return ty_o2(g, TY_P_div, ty_o_reduce(g, "sum", v, n, dims, keepdim), ty_o_dimval(g, count, v->dtype));
}

ty_value *ty_o_softmax(ty_graph *g, ty_value *x, int dim, bool log) {
  if (!x) return NULL;
  if (!x->rank) {
    ty_dim one = ty_dim_const(g, 1);
    ty_value *r = ty_o_softmax(g, ty_c_reshape(g, x, 1, &one), 0, log);
    return r ? ty_c_reshape(g, r, 0, NULL) : NULL;
  }
  if (ty_dim_is(g, x->shape[dim], 0)) return x;
  ty_value *e = ty_o2(g, TY_P_sub, x, ty_c_reduce(g, "max", x, 1, &dim, true));
  ty_value *ex = ty_o1(g, TY_P_exp, e);
  ty_value *sum = ex ? ty_c_reduce(g, "sum", ex, 1, &dim, true) : NULL;
  return log ? ty_o2(g, TY_P_sub, e, ty_o1(g, TY_P_log, sum)) : ty_o2(g, TY_P_div, ex, sum);
}

ty_value *ty_o_unsqueeze(ty_graph *g, ty_value *v, int dim) {
  ty_dim s[TY_MAX_RANK + 1];
  if (!v) return NULL;
  if (v->rank == TY_MAX_RANK) return (void)ty_fail(g->ctx, TY_INTERNAL, "rank %d", v->rank + 1), NULL;
  for (int i = 0; i <= v->rank; i++) s[i] = i < dim ? v->shape[i] : i == dim ? ty_dim_const(g, 1) : v->shape[i - 1];
  return ty_c_reshape(g, v, v->rank + 1, s);
}

ty_value *ty_o_swap(ty_graph *g, ty_value *v, int d0, int d1) {
  int perm[TY_MAX_RANK];
  if (!v || d0 == d1) return v;
  for (int i = 0; i < v->rank; i++) perm[i] = i == d0 ? d1 : i == d1 ? d0 : i;
  return ty_c_permute(g, v, perm);
}

ty_value *ty_o_where_nonneg(ty_graph *g, ty_value *index, ty_dim size) {
  ty_value *i = index ? ty_c_cast(g, index, TY_i64) : NULL;
  return ty_o_sel(g, ty_o2(g, TY_P_lt, i, ty_o_num(g, TY_i64, 0)), ty_o2(g, TY_P_add, i, ty_o_dimval(g, size, TY_i64)), i);
}

/* ---- Pointwise ---- */
static ty_status pw_common(ty_graph *g, ty_node *n, const ty_pw_def *d, ty_dtype *common, int *rank, ty_dim *shape) {
  ty_promo p = TY_PROMO_INIT;
  *rank = 0;
  for (int i = 0; i < d->nops; i++) {
    const ty_arg *a = &n->args[d->at[i]];
    ty_promo_arg(&p, a);
    if (a->kind != TY_ARG_VALUE) continue;
    ty_dim old[TY_MAX_RANK];
    int r = *rank;
    for (int k = 0; k < r; k++) old[k] = shape[k];
    TY_TRY(ty_broadcast(g, r, old, a->value->rank, a->value->shape, rank, shape));
  }
  *common = ty_promo_result(&p);
  return TY_OK;
}

static ty_dtype pw_compute(const ty_pw_def *d, ty_dtype common) {
  if (d->promo == TY_PR_LOGIC) return TY_bool;
  if (d->promo == TY_PR_FLOAT && !ty_dtype_is_float(common)) return TY_f32;
  return common;
}

ty_status ty_pw_infer(ty_graph *g, ty_node *n, const ty_pw_def *d) {
  ty_dtype common;
  ty_dim shape[TY_MAX_RANK];
  int rank;
  TY_TRY(pw_common(g, n, d, &common, &rank, shape));
  char cls = common == TY_bool ? 'b' : ty_dtype_is_float(common) ? 'f' : 'i';
  const char *c = d->classes;
  while (*c && *c != cls) c++;
  if (!*c) return ty_fail(g->ctx, TY_UNSUPPORTED, "not implemented for %s", ty_dtypes[common].torch);
  if (d->check) TY_TRY(d->check(g, n, common));
  ty_dtype out = d->promo == TY_PR_BOOL || d->promo == TY_PR_LOGIC ? TY_bool : pw_compute(d, common);
  return ty_o_out(g, n, out, rank, shape);
}

ty_status ty_pw_lower(ty_graph *g, ty_node *n, const ty_pw_def *d, ty_value **rep) {
  ty_pw p = { .g = g, .n = n };
  ty_dtype common;
  ty_dim shape[TY_MAX_RANK];
  int rank;
  TY_TRY(pw_common(g, n, d, &common, &rank, shape));
  p.dt = ty_o_compute(pw_compute(d, common));
  for (int i = 0; i < d->nops; i++) {
    const ty_arg *a = &n->args[d->at[i]];
    if (a->kind == TY_ARG_NONE) continue;
    p.x[i] = d->promo == TY_PR_BOOL && a->kind != TY_ARG_VALUE ? ty_o_arg(g, a, common) : ty_o_arg(g, a, p.dt); /* a narrow number is compared as one */
    p.x[i] = p.x[i] ? ty_c_cast(g, p.x[i], p.dt) : NULL;
  }
  return ty_o_done(g, rep, ty_o_fit(g, d->body(&p), n->outs[0]));
}
