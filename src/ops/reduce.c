/* reduce.c: reductions and scans: sum, mean, products, extrema, arg*, any, all, variance, norms, logsumexp, cumulative sums. */
#include "ops/family.h"

#include <math.h>
#include <string.h>

/* Where a row keeps its dims, keepdim and dtype arguments (0: none; argument 0 is the tensor); packed in the row's param. */
static int dims_at(const ty_node *n) { return ty_o_param(n) & 15; }
static int keep_at(const ty_node *n) { return ty_o_param(n) >> 4 & 15; }
static int dtype_at(const ty_node *n) { return ty_o_param(n) >> 8 & 15; }
static int which_of(const ty_node *n) { return ty_o_param(n) >> 12; }
static bool keeps(const ty_node *n) { return keep_at(n) && ty_o_bool(n, keep_at(n)); }

static ty_status red_dims(ty_graph *g, const ty_node *n, int *cnt, int *dims) {
  ty_value *x = ty_o_val(n, 0);
  int listed;
  if (n->op == TY_OP_aten_any_dims || n->op == TY_OP_aten_all_dims) { /* here [] reduces nothing */
    (void)ty_o_ints(n, dims_at(n), &listed);
    if (!listed && !ty_o_none(n, dims_at(n))) return *cnt = 0, TY_OK;
  }
  if (dims_at(n)) return ty_o_dims(g, n, dims_at(n), x->rank, cnt, dims);
  *cnt = x->rank;
  for (int i = 0; i < x->rank; i++) dims[i] = i;
  return TY_OK;
}
static int red_shape(ty_graph *g, const ty_value *x, int cnt, const int *dims, bool keep, ty_dim *s) {
  int r = 0;
  for (int i = 0, k = 0; i < x->rank; i++) {
    bool gone = k < cnt && dims[k] == i;
    k += gone;
    if (!gone || keep) s[r++] = gone ? ty_dim_const(g, 1) : x->shape[i];
  }
  return r;
}
static bool reduces_empty(ty_graph *g, const ty_value *x, int cnt, const int *dims) {
  for (int i = 0; i < cnt; i++)
    if (ty_dim_is(g, x->shape[dims[i]], 0)) return true;
  return false;
}
static ty_status red_out(ty_graph *g, ty_node *n, ty_dtype dt, int cnt, const int *dims) {
  ty_dim s[TY_MAX_RANK];
  int r = red_shape(g, ty_o_val(n, 0), cnt, dims, keeps(n), s);
  return ty_o_out(g, n, dt, r, s);
}
/* In the compute dtype that the result asks for. */
static ty_value *red_in(ty_graph *g, const ty_node *n) { return ty_c_cast(g, ty_o_val(n, 0), ty_o_compute(n->outs[0]->dtype)); }

/* ---- sum, prod (ints to int64), amax, amin, any, all; which: enum below ---- */
enum { SUM, PROD, AMAX, AMIN, ANY, ALL, MAX, MIN };
static const char *const kinds[] = { "sum", "prod", "max", "min", "any", "all", "max", "min" };

ty_status ty_reduce_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int w = which_of(n), cnt, dims[TY_MAX_RANK];
  ty_dtype dt = x->dtype;
  TY_TRY(red_dims(g, n, &cnt, dims));
  if (w <= PROD && !ty_dtype_is_float(dt)) dt = TY_i64;
  if (w <= PROD && dtype_at(n)) dt = ty_o_dtype(n, dtype_at(n), dt);
  if (w == ANY || w == ALL) dt = x->dtype == TY_u8 ? TY_u8 : TY_bool;
  if ((w == AMAX || w == AMIN || w == MAX || w == MIN) && reduces_empty(g, x, cnt, dims))
    return ty_fail(g->ctx, TY_INVALID, "expected reduction dim to be non-empty");
  return red_out(g, n, dt, cnt, dims);
}
ty_status ty_reduce_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  int w = which_of(n), cnt, dims[TY_MAX_RANK];
  const char *kind = kinds[w];
  TY_TRY(red_dims(g, n, &cnt, dims));
  ty_value *x = w == ANY || w == ALL ? ty_c_cast(g, ty_o_val(n, 0), TY_bool) : red_in(g, n);
  if (x && x->dtype == TY_bool) /* extrema, sums and products of bools are any and all */
    kind = !strcmp(kind, "max") || !strcmp(kind, "sum") ? "any" : !strcmp(kind, "min") || !strcmp(kind, "prod") ? "all" : kind;
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_reduce(g, kind, x, cnt, dims, keeps(n)), n->outs[0]));
}

/* ---- mean ---- */
ty_status ty_mean_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int cnt, dims[TY_MAX_RANK];
  ty_dtype dt = ty_o_dtype(n, dtype_at(n), x->dtype);
  TY_TRY(red_dims(g, n, &cnt, dims));
  if (!ty_dtype_is_float(dt)) return ty_fail(g->ctx, TY_INVALID, "mean(): input dtype should be floating point, got %s", ty_dtypes[dt].torch);
  return red_out(g, n, dt, cnt, dims);
}
ty_status ty_mean_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  int cnt, dims[TY_MAX_RANK];
  TY_TRY(red_dims(g, n, &cnt, dims));
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_mean(g, red_in(g, n), cnt, dims, keeps(n)), n->outs[0]));
}

/* ---- argmax, argmin (dim None: of the flat tensor), max.dim, min.dim (values, indices) ---- */
enum { ARGMAX, ARGMIN, MAX_DIM, MIN_DIM };
ty_status ty_arg_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int cnt, dims[TY_MAX_RANK], w = which_of(n);
  TY_TRY(red_dims(g, n, &cnt, dims));
  if (x->dtype == TY_bool && w < MAX_DIM) return ty_fail(g->ctx, TY_INVALID, "argmax and argmin are not implemented for bool");
  if (reduces_empty(g, x, cnt, dims)) return ty_fail(g->ctx, TY_INVALID, "expected reduction dim to have non-zero size");
  if (w >= MAX_DIM) TY_TRY(red_out(g, n, x->dtype, cnt, dims));
  return red_out(g, n, TY_i64, cnt, dims);
}
ty_status ty_arg_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *o = n->outs[n->nouts - 1];
  int cnt, dims[TY_MAX_RANK], w = which_of(n), zero = 0;
  bool max = w == ARGMAX || w == MAX_DIM, is_bool = x->dtype == TY_bool;
  TY_TRY(red_dims(g, n, &cnt, dims));
  if (w >= MAX_DIM) {
    const char *kind = is_bool ? (max ? "any" : "all") : max ? "max" : "min";
    TY_TRY(ty_o_done(g, rep++, ty_o_fit(g, ty_o_reduce(g, kind, ty_c_cast(g, x, ty_o_compute(x->dtype)), cnt, dims, keeps(n)), n->outs[0])));
  }
  if (!x->rank) return ty_o_done(g, rep, ty_c_full_int(g, TY_i64, 0, NULL, 0));
  x = ty_c_cast(g, x, is_bool ? TY_u8 : ty_o_compute(x->dtype));
  if (ty_o_none(n, dims_at(n)) && x && x->rank > 1) {
    ty_dim flat = ty_o_numel(g, x);
    x = ty_c_reshape(g, x, 1, &flat);
  }
  if (!x) return ty_o_done(g, rep, NULL);
  return ty_o_done(g, rep, ty_o_reshape_like(g, ty_c_reduce(g, max ? "argmax" : "argmin", x, 1, x->rank == 1 ? &zero : dims, keeps(n) && x->rank > 1), o));
}

/* aminmax(self, *, dim, keepdim). */
ty_status ty_aminmax_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int cnt, dims[TY_MAX_RANK];
  TY_TRY(red_dims(g, n, &cnt, dims));
  if (x->dtype == TY_bool) return ty_fail(g->ctx, TY_UNSUPPORTED, "aminmax of bool");
  if (reduces_empty(g, x, cnt, dims)) return ty_fail(g->ctx, TY_INVALID, "expected reduction dim to have non-zero size");
  TY_TRY(red_out(g, n, x->dtype, cnt, dims));
  return red_out(g, n, x->dtype, cnt, dims);
}
ty_status ty_aminmax_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  int cnt, dims[TY_MAX_RANK];
  TY_TRY(red_dims(g, n, &cnt, dims));
  TY_TRY(ty_o_done(g, rep, ty_o_fit(g, ty_o_reduce(g, "min", red_in(g, n), cnt, dims, keeps(n)), n->outs[0])));
  return ty_o_done(g, rep + 1, ty_o_fit(g, ty_o_reduce(g, "max", red_in(g, n), cnt, dims, keeps(n)), n->outs[1]));
}

/* ---- var, std, var_mean, std_mean. The argument before keepdim is `correction` or (which & 4) `unbiased` before the dims ---- */
enum { VAR, STD, VAR_MEAN, STD_MEAN, UNBIASED = 4 };
static ty_status correction_of(ty_graph *g, const ty_node *n, double *c) {
  const ty_arg *a = &n->args[which_of(n) & UNBIASED ? (dims_at(n) ? 2 : 1) : 2];
  *c = 1;
  if (a->kind == TY_ARG_NONE || ty_o_number(g, a, c)) return TY_OK;
  return ty_fail(g->ctx, TY_UNSUPPORTED, "symbolic correction");
}
ty_status ty_var_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int cnt, dims[TY_MAX_RANK];
  double c;
  TY_TRY(red_dims(g, n, &cnt, dims));
  TY_TRY(ty_o_need_float(g, x));
  TY_TRY(correction_of(g, n, &c));
  TY_TRY(red_out(g, n, x->dtype, cnt, dims));
  return (which_of(n) & 3) >= VAR_MEAN ? red_out(g, n, x->dtype, cnt, dims) : TY_OK;
}
ty_status ty_var_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = red_in(g, n), *den;
  int cnt, dims[TY_MAX_RANK];
  int64_t total;
  double c;
  TY_TRY(red_dims(g, n, &cnt, dims));
  TY_TRY(correction_of(g, n, &c));
  if (!x) return ty_o_done(g, rep, NULL);
  ty_dim count = ty_dim_const(g, 1);
  for (int i = 0; i < cnt; i++) count = ty_dim_mul(g, count, x->shape[dims[i]]);
  if (ty_dim_is_const(g, count, &total)) den = ty_o_num(g, x->dtype, fmax((double)total - c, 0));
  else den = ty_o2(g, TY_P_max, ty_o2(g, TY_P_sub, ty_o_dimval(g, count, x->dtype), ty_o_num(g, x->dtype, c)), ty_o_num(g, x->dtype, 0));
  ty_value *mean = ty_o_mean(g, x, cnt, dims, true), *d = ty_o2(g, TY_P_sub, x, mean);
  ty_value *v = ty_o2(g, TY_P_div, ty_o_reduce(g, "sum", ty_o2(g, TY_P_mul, d, d), cnt, dims, keeps(n)), den);
  if (which_of(n) & 1) v = ty_o1(g, TY_P_sqrt, v);
  TY_TRY(ty_o_done(g, rep, ty_o_fit(g, v, n->outs[0])));
  if (n->nouts < 2) return TY_OK;
  mean = ty_o_reshape_like(g, mean, n->outs[1]);
  return ty_o_done(g, rep + 1, ty_o_fit(g, mean, n->outs[1]));
}

/* ---- Norms: linalg_vector_norm(x, ord, dim, keepdim, dtype), norm.Scalar, norm.ScalarOpt_dim ---- */
ty_status ty_norm_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int cnt, dims[TY_MAX_RANK];
  ty_dtype dt = dtype_at(n) ? ty_o_dtype(n, dtype_at(n), x->dtype) : x->dtype;
  double p;
  TY_TRY(red_dims(g, n, &cnt, dims));
  TY_TRY(ty_o_need_float(g, x));
  if (!ty_dtype_is_float(dt)) return ty_fail(g->ctx, TY_INVALID, "norm: dtype must be floating point");
  if (!ty_o_none(n, 1) && !ty_o_number(g, &n->args[1], &p)) return ty_fail(g->ctx, TY_UNSUPPORTED, "symbolic order of a norm");
  p = ty_o_float(g, n, 1, 2);
  if ((isinf(p) || p < 0) && reduces_empty(g, x, cnt, dims)) return ty_fail(g->ctx, TY_INVALID, "this norm has no value for an empty tensor");
  return red_out(g, n, dt, cnt, dims);
}
ty_status ty_norm_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = red_in(g, n), *r;
  int cnt, dims[TY_MAX_RANK];
  bool keep = keeps(n);
  double p = ty_o_float(g, n, 1, 2);
  TY_TRY(red_dims(g, n, &cnt, dims));
  ty_value *a = ty_o1(g, TY_P_abs, x);
  ty_dtype c = ty_o_compute(n->outs[0]->dtype);
  if (isinf(p)) r = ty_o_reduce(g, p > 0 ? "max" : "min", a, cnt, dims, keep);
  else if (p == 0) {
    ty_value *nz = ty_o2(g, TY_P_ne, x, ty_o_num(g, c, 0));
    r = ty_o_reduce(g, "sum", nz ? ty_c_cast(g, nz, c) : NULL, cnt, dims, keep);
  } else if (p == 1) r = ty_o_reduce(g, "sum", a, cnt, dims, keep);
  else if (p == 2) r = ty_o1(g, TY_P_sqrt, ty_o_reduce(g, "sum", ty_o2(g, TY_P_mul, x, x), cnt, dims, keep));
  else {
    ty_value *pw = p == 3 ? ty_o2(g, TY_P_mul, ty_o2(g, TY_P_mul, a, a), a) : ty_o2(g, TY_P_pow, a, ty_o_num(g, c, p));
    r = ty_o2(g, TY_P_pow, ty_o_reduce(g, "sum", pw, cnt, dims, keep), ty_o_num(g, c, 1 / p));
  }
  return ty_o_done(g, rep, ty_o_fit(g, r, n->outs[0]));
}

/* ---- logsumexp(self, dims, keepdim): aten/src/ATen/native/ReduceOps.cpp; infinite maxima are replaced by 0 ---- */
ty_status ty_logsumexp_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int cnt, dims[TY_MAX_RANK];
  TY_TRY(red_dims(g, n, &cnt, dims));
  return red_out(g, n, ty_dtype_is_float(x->dtype) ? x->dtype : TY_f32, cnt, dims);
}
ty_status ty_logsumexp_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = red_in(g, n), *m = NULL;
  int cnt, dims[TY_MAX_RANK];
  TY_TRY(red_dims(g, n, &cnt, dims));
  if (!reduces_empty(g, ty_o_val(n, 0), cnt, dims)) {
    m = ty_o_reduce(g, "max", x, cnt, dims, true);
    m = ty_o_sel(g, ty_o1(g, TY_P_isinf, m), ty_o_num(g, ty_o_compute(n->outs[0]->dtype), 0), m);
    x = ty_o2(g, TY_P_sub, x, m);
  }
  ty_value *r = ty_o1(g, TY_P_log, ty_o_reduce(g, "sum", ty_o1(g, TY_P_exp, x), cnt, dims, keeps(n)));
  if (m) r = ty_o2(g, TY_P_add, r, ty_o_reshape_like(g, m, n->outs[0]));
  return ty_o_done(g, rep, ty_o_fit(g, r, n->outs[0]));
}

/* ---- count_nonzero, cumsum, cumprod ---- */
ty_status ty_count_nonzero_infer(ty_graph *g, ty_node *n) {
  int cnt, dims[TY_MAX_RANK];
  TY_TRY(red_dims(g, n, &cnt, dims));
  return red_out(g, n, TY_i64, cnt, dims);
}
ty_status ty_count_nonzero_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  int cnt, dims[TY_MAX_RANK];
  TY_TRY(red_dims(g, n, &cnt, dims));
  ty_value *nz = ty_c_cast(g, ty_o_val(n, 0), TY_bool);
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_reduce(g, "sum", nz ? ty_c_cast(g, nz, TY_i64) : NULL, cnt, dims, false), n->outs[0]));
}

ty_status ty_scan_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int d;
  ty_dtype dt = ty_o_dtype(n, 2, ty_dtype_is_float(x->dtype) ? x->dtype : TY_i64);
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  if (dt == TY_bool) return ty_fail(g->ctx, TY_UNSUPPORTED, "cumulative sum in bool");
  return ty_o_out(g, n, dt, x->rank, x->shape);
}
ty_status ty_scan_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = red_in(g, n);
  int d;
  if (!x) return ty_o_done(g, rep, NULL);
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  if (x->rank) {
    ty_arg a[3] = { ty_arg_value(x), ty_arg_str(ty_o_param(n) ? "prod" : "sum"), ty_arg_int(ty_dim_const(g, d)) };
    x = ty_make(g, TY_OP_scan, 3, a);
  }
  return ty_o_done(g, rep, ty_o_fit(g, x, n->outs[0]));
}
