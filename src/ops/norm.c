/* norm.c: softmaxes and normalisations over trailing dims: layer and rms norm, as reductions and elementwise formulas that fuse. */
#include "ops/family.h"

/* ---- softmax.int(self, dim, dtype), _softmax(self, dim, half_to_float), their logs and _safe_softmax ----
 * param: 1 log, 2 the third argument is a dtype, 4 rows of -inf give 0. */
enum { LOG = 1, TYPED = 2, SAFE = 4 };
ty_status ty_softmax_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int d;
  ty_dtype dt = ty_o_param(n) & TYPED ? ty_o_dtype(n, 2, x->dtype) : x->dtype;
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  if (!ty_dtype_is_float(dt)) return ty_fail(g->ctx, TY_INVALID, "softmax is not implemented for %s", ty_dtypes[dt].torch);
  if (!(ty_o_param(n) & TYPED) && ty_o_bool(n, 2)) return ty_fail(g->ctx, TY_INVALID, "softmax with half to float conversion is not supported on CPU");
  return ty_o_out(g, n, dt, x->rank, x->shape);
}
ty_status ty_softmax_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_dtype c = ty_o_compute(n->outs[0]->dtype);
  ty_value *x = ty_c_cast(g, ty_o_val(n, 0), c), *r;
  int d;
  TY_TRY(ty_o_dim(g, n, 1, n->outs[0]->rank, &d));
  r = ty_o_softmax(g, x, d, ty_o_param(n) & LOG);
  if (ty_o_param(n) & SAFE) {
    ty_value *dead = ty_o2(g, TY_P_eq, x, ty_o_num(g, c, -__builtin_inf()));
    r = ty_o_sel(g, ty_o_reduce(g, "all", dead, 1, &d, true), ty_o_num(g, c, 0), r);
  }
  return ty_o_done(g, rep, ty_o_fit(g, r, n->outs[0]));
}

/* ---- Over the trailing dims: layer_norm, native_layer_norm, rms_norm, _fused_rms_norm ---- */
static ty_status trailing(ty_graph *g, const ty_node *n, int *lead) {
  ty_value *x = ty_o_val(n, 0);
  int cnt;
  const ty_dim *s = ty_o_ints(n, 1, &cnt);
  if (!cnt || cnt > x->rank) return ty_fail(g->ctx, TY_INVALID, "normalized_shape does not fit the input");
  *lead = x->rank - cnt;
  for (int i = 0; i < cnt; i++) TY_TRY(ty_o_same(g, x->shape[*lead + i], s[i], "normalized_shape"));
  for (int k = 2; k < 4 && k < n->nargs; k++) {
    ty_value *w = ty_o_val(n, k);
    if (!w) continue;
    if (w->rank != cnt) return ty_fail(g->ctx, TY_INVALID, "weight and bias must have normalized_shape");
    for (int i = 0; i < cnt; i++) TY_TRY(ty_o_same(g, w->shape[i], s[i], "weight of a norm"));
  }
  TY_TRY(ty_o_norm_dtypes(g, n, 2, 4, NULL));
  return ty_o_need_float(g, x);
}
static int tail_dims(const ty_value *x, int lead, int *dims) {
  for (int i = lead; i < x->rank; i++) dims[i - lead] = i;
  return x->rank - lead;
}
static ty_status stat_out(ty_graph *g, ty_node *n, ty_dtype dt, int lead) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[TY_MAX_RANK];
  for (int i = 0; i < x->rank; i++) s[i] = i < lead ? x->shape[i] : ty_dim_const(g, 1);
  return ty_o_out(g, n, dt, x->rank, s);
}
static ty_value *affine(ty_graph *g, ty_value *y, ty_value *w, ty_value *b) {
  if (!y) return NULL;
  if (w) y = ty_o2(g, TY_P_mul, y, ty_c_cast(g, w, y->dtype));
  if (b) y = ty_o2(g, TY_P_add, y, ty_c_cast(g, b, y->dtype));
  return y;
}
/* Mean and 1 / sqrt(variance + eps) by two passes, dims kept. */
static void moments(ty_graph *g, ty_value *x, int cnt, const int *dims, double eps, ty_value **centered, ty_value **mean, ty_value **rstd) {
  *mean = ty_o_mean(g, x, cnt, dims, true);
  *centered = ty_o2(g, TY_P_sub, x, *mean);
  ty_value *var = ty_o_mean(g, ty_o2(g, TY_P_mul, *centered, *centered), cnt, dims, true);
  *rstd = ty_o1(g, TY_P_rsqrt, ty_o2(g, TY_P_add, var, x ? ty_o_num(g, x->dtype, eps) : NULL));
}

/* param 1: native_layer_norm, which also gives mean and rstd. */
ty_status ty_layer_norm_infer(ty_graph *g, ty_node *n) {
  int lead;
  ty_dtype dt = TY_f32;
  TY_TRY(trailing(g, n, &lead));
  TY_TRY(ty_o_norm_dtypes(g, n, 2, 4, &dt));
  TY_TRY(ty_o_out_like(g, n, ty_o_val(n, 0)));
  for (int i = 0; i < 2 && ty_o_param(n); i++) TY_TRY(stat_out(g, n, dt, lead));
  return TY_OK;
}
ty_status ty_layer_norm_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *c, *mean, *rstd;
  int lead, cnt, dims[TY_MAX_RANK];
  TY_TRY(trailing(g, n, &lead));
  cnt = tail_dims(x, lead, dims);
  x = ty_c_cast(g, x, ty_o_compute(x->dtype));
  moments(g, x, cnt, dims, ty_o_float(g, n, 4, 1e-5), &c, &mean, &rstd);
  ty_value *y = affine(g, ty_o2(g, TY_P_mul, c, rstd), ty_o_val(n, 2), ty_o_val(n, 3));
  TY_TRY(ty_o_done(g, rep, ty_o_fit(g, y, n->outs[0])));
  if (n->nouts < 3) return TY_OK;
  TY_TRY(ty_o_done(g, rep + 1, ty_o_fit(g, mean, n->outs[1])));
  return ty_o_done(g, rep + 2, ty_o_fit(g, rstd, n->outs[2]));
}

/* rms_norm(input, normalized_shape, weight, eps), param 1: _fused_rms_norm with rstd. eps None is the dtype's epsilon. */
ty_status ty_rms_norm_infer(ty_graph *g, ty_node *n) {
  int lead;
  if (ty_o_val(n, 3)) return ty_fail(g->ctx, TY_INVALID, "rms_norm: eps must be a number");
  TY_TRY(trailing(g, n, &lead));
  TY_TRY(ty_o_out_like(g, n, ty_o_val(n, 0)));
  return ty_o_param(n) ? stat_out(g, n, ty_o_compute(ty_o_val(n, 0)->dtype), lead) : TY_OK;
}
ty_status ty_rms_norm_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0);
  int lead, cnt, dims[TY_MAX_RANK];
  TY_TRY(trailing(g, n, &lead));
  cnt = tail_dims(x, lead, dims);
  double eps = ty_o_float(g, n, 3, x->dtype == TY_f64 ? 0x1p-52 : 0x1p-23);
  x = ty_c_cast(g, x, ty_o_compute(x->dtype));
  if (!x) return ty_o_done(g, rep, NULL);
  ty_value *ms = ty_o_mean(g, ty_o2(g, TY_P_mul, x, x), cnt, dims, true);
  ty_value *rstd = ty_o1(g, TY_P_rsqrt, ty_o2(g, TY_P_add, ms, ty_o_num(g, x->dtype, eps)));
  TY_TRY(ty_o_done(g, rep, ty_o_fit(g, affine(g, ty_o2(g, TY_P_mul, x, rstd), ty_o_val(n, 2), NULL), n->outs[0])));
  return n->nouts < 2 ? TY_OK : ty_o_done(g, rep + 1, ty_o_fit(g, rstd, n->outs[1]));
}

