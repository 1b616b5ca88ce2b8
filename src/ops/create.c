/* create.c: tensors made from sizes and numbers: full and its like, arange, linspace, eye, tril and triu. */
#include "ops/family.h"

#include <math.h>

/* ---- full, zeros, ones, empty (as zeros): the param says where shape, value and dtype stand ----
 * param = shape | value << 4 | dtype << 8; shape 0 of a tensor argument means its own shape; value 14: zero, 15: one. */
static const ty_arg *value_arg(const ty_node *n, ty_arg *tmp) {
  int v = ty_o_param(n) >> 4 & 15;
  if (v < 14) return &n->args[v];
  *tmp = ty_arg_float(v == 15);
  return tmp;
}
ty_status ty_fill_infer(ty_graph *g, ty_node *n) {
  int at = ty_o_param(n) & 15, v = ty_o_param(n) >> 4 & 15, count;
  ty_value *self = ty_o_val(n, 0);
  ty_dtype dt = self ? self->dtype : TY_f32;
  if (!self && v < 14) dt = n->args[v].kind == TY_ARG_BOOL ? TY_bool : n->args[v].kind == TY_ARG_INT ? TY_i64 : TY_f32;
  dt = ty_o_dtype(n, ty_o_param(n) >> 8, dt);
  if (self && at == 0) return ty_o_out(g, n, dt, self->rank, self->shape);
  const ty_dim *s = ty_o_ints(n, at, &count);
  return ty_o_out(g, n, dt, count, s);
}
ty_status ty_fill_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *o = n->outs[0];
  ty_arg tmp;
  return ty_o_done(g, rep, ty_o_fill(g, o->dtype, o->rank, o->shape, value_arg(n, &tmp)));
}

/* fill(self, value): self's shape and dtype. */
ty_status ty_fill_self_infer(ty_graph *g, ty_node *n) {
  if (n->args[1].kind == TY_ARG_VALUE && n->args[1].value->rank) return ty_fail(g->ctx, TY_INVALID, "fill only supports 0-dimension value tensor");
  return ty_o_out_like(g, n, ty_o_val(n, 0));
}
ty_status ty_fill_self_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_arg(g, &n->args[1], n->outs[0]->dtype), n->outs[0]));
}

ty_status ty_scalar_tensor_infer(ty_graph *g, ty_node *n) { return ty_o_out(g, n, ty_o_dtype(n, 1, TY_f32), 0, NULL); }
ty_status ty_scalar_tensor_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  return ty_o_done(g, rep, ty_o_fill(g, n->outs[0]->dtype, 0, NULL, &n->args[0]));
}

/* ---- arange; param: the number of leading scalars (end; start, end; start, end, step) ---- */
typedef struct arange { const ty_arg *start, *end, *step; bool ints; } arange;
static arange arange_args(const ty_node *n) {
  int k = ty_o_param(n);
  arange a = { k > 1 ? &n->args[0] : NULL, &n->args[k > 1 ? 1 : 0], k > 2 ? &n->args[2] : NULL, true };
  a.ints = a.end->kind != TY_ARG_FLOAT && (!a.start || a.start->kind != TY_ARG_FLOAT) && (!a.step || a.step->kind != TY_ARG_FLOAT);
  return a;
}
static double number(ty_graph *g, const ty_arg *a, double dflt) {
  double v;
  return a && ty_o_number(g, a, &v) ? v : dflt;
}
static ty_dim dim_of(ty_graph *g, const ty_arg *a, int64_t dflt) {
  return !a ? ty_dim_const(g, dflt) : a->kind == TY_ARG_BOOL ? ty_dim_const(g, a->b) : a->i;
}
ty_status ty_arange_infer(ty_graph *g, ty_node *n) {
  arange a = arange_args(n);
  ty_dtype dt = ty_o_dtype(n, ty_o_param(n), a.ints ? TY_i64 : TY_f32);
  ty_dim len;
  double v;
  if ((a.step && !ty_o_number(g, a.step, &v)) || number(g, a.step, 1) == 0) return ty_fail(g->ctx, TY_UNSUPPORTED, "arange: step is symbolic or 0");
  if (dt == TY_bool) return ty_fail(g->ctx, TY_UNSUPPORTED, "arange of bool");
  if (a.ints) {
    int64_t step = (int64_t)number(g, a.step, 1);
    ty_dim s = dim_of(g, a.start, 0), e = dim_of(g, a.end, 0);
    len = step > 0 ? ty_o_ceil_div(g, ty_dim_sub(g, e, s), step) : ty_o_ceil_div(g, ty_dim_sub(g, s, e), -step);
    if (ty_dim_get(g, len)->hi < 0) return ty_fail(g->ctx, TY_INVALID, "arange: bounds inconsistent with the step's sign");
    len = ty_o_max(g, len, ty_dim_const(g, 0));
  } else {
    double s = number(g, a.start, 0), e = number(g, a.end, NAN), l = ceil((e - s) / number(g, a.step, 1));
    if ((a.start && !ty_o_number(g, a.start, &v)) || isnan(l)) return ty_fail(g->ctx, TY_UNSUPPORTED, "arange: symbolic or NaN bounds");
    if (!ty_dtype_is_float(dt)) return ty_fail(g->ctx, TY_UNSUPPORTED, "arange of integers from floats");
    if (l < 0 || l > 0x1p53) return ty_fail(g->ctx, TY_INVALID, "arange: bounds inconsistent with the step's sign");
    len = ty_dim_const(g, (int64_t)l);
  }
  return ty_o_out(g, n, dt, 1, &len);
}
/* Eager computes start + step * i in int64, or in double for floats. */
ty_status ty_arange_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  arange a = arange_args(n);
  ty_value *o = n->outs[0], *i = ty_c_iota(g, 1, o->shape, 0);
  ty_dtype c = ty_dtype_is_float(o->dtype) && !a.ints ? TY_f64 : TY_i64;
  i = i ? ty_c_cast(g, i, c) : NULL;
  if (number(g, a.step, 1) != 1) i = ty_o2(g, TY_P_mul, i, ty_o_arg(g, a.step, c));
  if (a.start && number(g, a.start, 1) != 0) i = ty_o2(g, TY_P_add, i, ty_o_arg(g, a.start, c));
  return ty_o_done(g, rep, i ? ty_c_cast(g, i, o->dtype) : NULL);
}

/* linspace(start, end, steps): from both ends, as aten/src/ATen/native/cpu/RangeFactoriesKernel.cpp. */
ty_status ty_linspace_infer(ty_graph *g, ty_node *n) {
  ty_dtype dt = ty_o_dtype(n, 3, TY_f32);
  double v;
  int64_t steps;
  TY_TRY(ty_o_int(g, n, 2, &steps));
  if (!ty_dtype_is_float(dt)) return ty_fail(g->ctx, TY_UNSUPPORTED, "linspace of integers");
  if (ty_o_compute(dt) != dt) return ty_fail(g->ctx, TY_UNSUPPORTED, "linspace of %s, whose step eager rounds", ty_dtypes[dt].torch);
  if (steps < 0) return ty_fail(g->ctx, TY_INVALID, "number of steps must be non-negative");
  if (!ty_o_number(g, &n->args[0], &v) || !ty_o_number(g, &n->args[1], &v)) return ty_fail(g->ctx, TY_UNSUPPORTED, "linspace: symbolic bounds");
  ty_dim len = ty_dim_const(g, steps);
  return ty_o_out(g, n, dt, 1, &len);
}
ty_status ty_linspace_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *o = n->outs[0];
  ty_dtype c = ty_o_compute(o->dtype);
  int64_t steps = 0;
  TY_TRY(ty_o_int(g, n, 2, &steps));
  double s = ty_o_float(g, n, 0, 0), e = ty_o_float(g, n, 1, 0);
  if (steps < 2) return ty_o_done(g, rep, ty_o_fill(g, o->dtype, 1, o->shape, &n->args[0]));
  double step = c == TY_f32 ? (double)(((float)e - (float)s) / (float)(steps - 1)) : (e - s) / (double)(steps - 1);
  ty_value *i = ty_c_iota(g, 1, o->shape, 0), *f = i ? ty_c_cast(g, i, c) : NULL, *k = ty_o_num(g, c, step);
  ty_value *low = ty_o2(g, TY_P_add, ty_o_num(g, c, s), ty_o2(g, TY_P_mul, k, f));
  ty_value *back = ty_o2(g, TY_P_sub, ty_o_num(g, c, (double)(steps - 1)), f);
  ty_value *high = ty_o2(g, TY_P_sub, ty_o_num(g, c, e), ty_o2(g, TY_P_mul, k, back));
  ty_value *half = ty_o2(g, TY_P_lt, i, ty_o_num(g, TY_i64, (double)(steps / 2)));
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_sel(g, half, low, high), o));
}

/* ---- eye(n), eye(n, m); param: the number of sizes ---- */
ty_status ty_eye_infer(ty_graph *g, ty_node *n) {
  int k = ty_o_param(n);
  ty_dim s[2] = { n->args[0].i, n->args[k - 1].i };
  return ty_o_out(g, n, ty_o_dtype(n, k, TY_f32), 2, s);
}
ty_status ty_eye_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *o = n->outs[0], *eq = ty_o2(g, TY_P_eq, ty_c_iota(g, 2, o->shape, 0), ty_c_iota(g, 2, o->shape, 1));
  return ty_o_done(g, rep, eq ? ty_c_cast(g, eq, o->dtype) : NULL);
}

/* ---- tril (param 0) and triu (param 1) of the last two dims ---- */
ty_status ty_triangle_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  if (x->rank < 2) return ty_fail(g->ctx, TY_INVALID, "tril and triu need two dims");
  return ty_o_out_like(g, n, x);
}
ty_status ty_triangle_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0);
  const ty_dim *s = x->shape + x->rank - 2;
  ty_value *below = ty_o2(g, TY_P_sub, ty_c_iota(g, 2, s, 1), ty_c_iota(g, 2, s, 0)); /* column - row */
  ty_value *keep = ty_o2(g, ty_o_param(n) ? TY_P_ge : TY_P_le, below, ty_o_arg(g, &n->args[1], TY_i64));
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_sel(g, keep, x, ty_o_num(g, x->dtype, 0)), x));
}
