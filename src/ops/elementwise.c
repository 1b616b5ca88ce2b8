/* elementwise.c: arithmetic, comparison, logic and the unary functions: pointwise operators that are a primitive or near to one. */
#include "ops/family.h"

#include <math.h>

#define PRIM ((ty_prim)ty_o_param(p->n))

/* ---- One primitive ---- */
TY_PW(unary_float, TY_PR_FLOAT, "bif", 0) { return ty_o1(p->g, PRIM, p->x[0]); }
TY_PW(unary_same, TY_PR_SAME, "if", 0) { return ty_o1(p->g, PRIM, p->x[0]); }
TY_PW(unary_any, TY_PR_SAME, "bif", 0) { return ty_o1(p->g, PRIM, p->x[0]); }
TY_PW(unary_bits, TY_PR_SAME, "bi", 0) { return ty_o1(p->g, PRIM, p->x[0]); }
TY_PW(unary_test, TY_PR_BOOL, "bif", 0) { return ty_o1(p->g, PRIM, p->x[0]); }
TY_PW(binary, TY_PR_SAME, "bif", 0, 1) { return ty_o2(p->g, PRIM, p->x[0], p->x[1]); }
TY_PW(binary_num, TY_PR_SAME, "if", 0, 1) { return ty_o2(p->g, PRIM, p->x[0], p->x[1]); }
TY_PW(binary_bits, TY_PR_SAME, "bi", 0, 1) { return ty_o2(p->g, PRIM, p->x[0], p->x[1]); }
TY_PW(binary_int, TY_PR_SAME, "i", 0, 1) { return ty_o2(p->g, PRIM, p->x[0], p->x[1]); }
TY_PW(binary_float, TY_PR_FLOAT, "bif", 0, 1) { return ty_o2(p->g, PRIM, p->x[0], p->x[1]); }
TY_PW(compare, TY_PR_BOOL, "bif", 0, 1) { return ty_o2(p->g, PRIM, p->x[0], p->x[1]); }
TY_PW(logic, TY_PR_LOGIC, "bif", 0, 1) { return ty_o2(p->g, PRIM, p->x[0], p->x[1]); }
TY_PW(logic_not, TY_PR_LOGIC, "bif", 0) { return TY_U(not, p->x[0]); }

/* ---- add, sub, rsub: self + alpha * other ---- */
static ty_status check_alpha(ty_graph *g, ty_node *n, ty_dtype common) {
  if (n->args[2].kind == TY_ARG_FLOAT && !ty_dtype_is_float(common))
    return ty_fail(g->ctx, TY_INVALID, "for integral tensors, alpha must not be a floating point number");
  return TY_OK;
}
static ty_value *scaled(ty_pw *p, ty_value *x) {
  double a;
  if (p->n->nargs < 3 || (ty_o_number(p->g, &p->n->args[2], &a) && a == 1)) return x;
  return TY_B(mul, x, TY_N(2));
}
TY_PWC(add, TY_PR_SAME, "bif", check_alpha, 0, 1) { return TY_B(add, p->x[0], scaled(p, p->x[1])); }
TY_PWC(sub, TY_PR_SAME, "if", check_alpha, 0, 1) { return TY_B(sub, p->x[0], scaled(p, p->x[1])); }
TY_PWC(rsub, TY_PR_SAME, "if", check_alpha, 0, 1) { return TY_B(sub, p->x[1], scaled(p, p->x[0])); }

/* ---- Division. Integers divide by constants other than 0 only: PyTorch raises ZeroDivisionError, kernels cannot. ---- */
static ty_status check_divisor(ty_graph *g, ty_node *n, ty_dtype common) {
  double d;
  if (ty_dtype_is_float(common)) return TY_OK;
  if (!ty_o_number(g, &n->args[1], &d)) return ty_fail(g->ctx, TY_UNSUPPORTED, "integer division by a tensor (it may hold a zero)");
  return d == 0 ? ty_fail(g->ctx, TY_INVALID, "ZeroDivisionError") : TY_OK;
}
TY_PW(div, TY_PR_FLOAT, "bif", 0, 1) { return TY_B(div, p->x[0], p->x[1]); }
TY_PWC(intdiv, TY_PR_SAME, "if", check_divisor, 0, 1) { return ty_o2(p->g, PRIM, p->x[0], p->x[1]); }

static ty_status check_mode(ty_graph *g, ty_node *n, ty_dtype common) {
  const char *m = ty_o_str(n, 2);
  if (!m || (m[0] != 't' && m[0] != 'f')) return ty_fail(g->ctx, TY_INVALID, "rounding_mode must be None, trunc or floor");
  return check_divisor(g, n, common);
}
TY_PWC(div_round, TY_PR_SAME, "if", check_mode, 0, 1) {
  return ty_o2(p->g, ty_o_str(p->n, 2)[0] == 't' ? TY_P_truncdiv : TY_P_floordiv, p->x[0], p->x[1]);
}
ty_status ty_div_mode_infer(ty_graph *g, ty_node *n) { return ty_o_none(n, 2) ? ty_div_infer(g, n) : ty_div_round_infer(g, n); }
ty_status ty_div_mode_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  return ty_o_none(n, 2) ? ty_div_lower(g, n, rep) : ty_div_round_lower(g, n, rep);
}

/* ---- pow: the constant exponents that eager takes apart (aten/src/ATen/native/cpu/PowKernel.cpp) ---- */
static ty_status check_pow(ty_graph *g, ty_node *n, ty_dtype common) {
  double e;
  if (!ty_dtype_is_float(common) && ty_o_number(g, &n->args[1], &e) && e < 0)
    return ty_fail(g->ctx, TY_INVALID, "integers to negative integer powers are not allowed");
  return TY_OK;
}
TY_PWC(pow, TY_PR_SAME, "if", check_pow, 0, 1) {
  ty_value *x = p->x[0];
  bool f = ty_dtype_is_float(p->dt);
  double e;
  if (ty_o_number(p->g, &p->n->args[1], &e)) {
    if (e == 0) return TY_K(1);
    if (e == 1) return x;
    if (e == 2) return TY_B(mul, x, x);
    if (e == 3) return TY_B(mul, TY_B(mul, x, x), x);
    if (e == 4 && !f) return TY_B(mul, TY_B(mul, x, x), TY_B(mul, x, x));
    if (f && e == 0.5) return TY_U(sqrt, x);
    if (f && e == -0.5) return TY_U(rsqrt, x);
    if (f && e == -1) return TY_U(recip, x);
    if (f && e == -2) return TY_U(recip, TY_B(mul, x, x));
  }
  return TY_B(pow, x, p->x[1]);
}

/* ---- Composed of a few primitives ---- */
TY_PW(square, TY_PR_SAME, "if", 0) { return TY_B(mul, p->x[0], p->x[0]); }
TY_PW(frac, TY_PR_SAME, "f", 0) { return TY_B(sub, p->x[0], TY_U(trunc, p->x[0])); }
TY_PW(isfinite, TY_PR_BOOL, "bif", 0) {
  if (!ty_dtype_is_float(p->dt)) return ty_o_num(p->g, TY_bool, 1);
  return TY_B(lt, TY_U(abs, p->x[0]), TY_K(INFINITY));
}
TY_PW(isposinf, TY_PR_BOOL, "bif", 0) { return ty_dtype_is_float(p->dt) ? TY_B(eq, p->x[0], TY_K(INFINITY)) : ty_o_num(p->g, TY_bool, 0); }
TY_PW(isneginf, TY_PR_BOOL, "bif", 0) { return ty_dtype_is_float(p->dt) ? TY_B(eq, p->x[0], TY_K(-INFINITY)) : ty_o_num(p->g, TY_bool, 0); }
TY_PW(deg2rad, TY_PR_FLOAT, "bif", 0) { return TY_B(mul, p->x[0], TY_K(M_PI / 180)); }
TY_PW(rad2deg, TY_PR_FLOAT, "bif", 0) { return TY_B(mul, p->x[0], TY_K(180 / M_PI)); }
TY_PW(sinc, TY_PR_FLOAT, "bif", 0) {
  ty_value *x = TY_B(mul, p->x[0], TY_K(M_PI));
  return TY_S(TY_B(eq, p->x[0], TY_K(0)), TY_K(1), TY_B(div, TY_U(sin, x), x));
}
TY_PW(logit, TY_PR_FLOAT, "bif", 0) {
  ty_value *x = p->x[0];
  if (!ty_o_none(p->n, 1)) {
    double eps = TY_D(1, 0);
    x = TY_B(min, TY_B(max, x, TY_K(eps)), TY_K(1 - eps));
  }
  return TY_U(log, TY_B(div, x, TY_B(sub, TY_K(1), x)));
}
static ty_status check_decimals(ty_graph *g, ty_node *n, ty_dtype common) {
  int64_t d;
  (void)common;
  return ty_o_int(g, n, 1, &d);
}
TY_PWC(round_decimals, TY_PR_SAME, "f", check_decimals, 0) {
  int64_t d = 0;
  (void)ty_o_int(p->g, p->n, 1, &d);
  ty_value *ten = TY_K(pow(10, (double)(d < 0 ? -d : d)));
  if (d > 0) return TY_B(div, TY_U(round, TY_B(mul, p->x[0], ten)), ten);
  return d ? TY_B(mul, TY_U(round, TY_B(div, p->x[0], ten)), ten) : TY_U(round, p->x[0]);
}
TY_PW(heaviside, TY_PR_SAME, "if", 0, 1) {
  ty_value *one = ty_c_cast(p->g, TY_B(gt, p->x[0], TY_K(0)), p->dt);
  return TY_S(TY_B(eq, p->x[0], TY_K(0)), p->x[1], one);
}
/* Scaled by the greater leg, so that squares do not overflow. */
TY_PW(hypot, TY_PR_SAME, "f", 0, 1) {
  ty_value *a = TY_U(abs, p->x[0]), *b = TY_U(abs, p->x[1]), *hi = TY_B(max, a, b), *q = TY_B(div, TY_B(min, a, b), hi);
  ty_value *r = TY_B(mul, hi, TY_U(sqrt, TY_B(add, TY_B(mul, q, q), TY_K(1))));
  r = TY_S(TY_B(eq, hi, TY_K(0)), hi, r);
  return TY_S(TY_B(or, TY_U(isinf, a), TY_U(isinf, b)), TY_K(INFINITY), r);
}
TY_PW(xlogy, TY_PR_FLOAT, "bif", 0, 1) {
  ty_value *r = TY_S(TY_B(eq, p->x[0], TY_K(0)), TY_K(0), TY_B(mul, p->x[0], TY_U(log, p->x[1])));
  return TY_S(TY_U(isnan, p->x[1]), TY_K(NAN), r);
}
TY_PW(xlog1py, TY_PR_FLOAT, "bif", 0, 1) {
  ty_value *r = TY_S(TY_B(eq, p->x[0], TY_K(0)), TY_K(0), TY_B(mul, p->x[0], TY_U(log1p, p->x[1])));
  return TY_S(TY_U(isnan, p->x[1]), TY_K(NAN), r);
}
/* log(exp(a) + exp(b)) and its base-2 sister, param 2. */
TY_PW(logaddexp, TY_PR_SAME, "f", 0, 1) {
  bool two = ty_o_param(p->n) == 2;
  ty_value *a = p->x[0], *b = p->x[1], *d = TY_U(neg, TY_U(abs, TY_B(sub, a, b)));
  ty_value *l = two ? TY_B(mul, TY_U(log1p, TY_U(exp2, d)), TY_K(M_LOG2E)) : TY_U(log1p, TY_U(exp, d));
  return TY_S(TY_B(and, TY_U(isinf, a), TY_B(eq, a, b)), a, TY_B(add, TY_B(max, a, b), l));
}
TY_PW(lerp, TY_PR_SAME, "f", 0, 1, 2) {
  ty_value *a = p->x[0], *b = p->x[1], *w = p->x[2], *d = TY_B(sub, b, a);
  ty_value *low = TY_B(add, a, TY_B(mul, w, d)), *high = TY_B(sub, b, TY_B(mul, d, TY_B(sub, TY_K(1), w)));
  return TY_S(TY_B(lt, TY_U(abs, w), TY_K(0.5)), low, high);
}
static ty_value *times_value(ty_pw *p, ty_value *x) { return TY_D(3, 1) == 1 ? x : TY_B(mul, TY_N(3), x); }
TY_PW(addcmul, TY_PR_SAME, "if", 0, 1, 2) { return TY_B(add, p->x[0], TY_B(mul, times_value(p, p->x[1]), p->x[2])); }
TY_PW(addcdiv, TY_PR_SAME, "f", 0, 1, 2) { return TY_B(add, p->x[0], TY_B(div, times_value(p, p->x[1]), p->x[2])); }

TY_PW(nan_to_num, TY_PR_SAME, "bif", 0) {
  if (!ty_dtype_is_float(p->dt)) return p->x[0];
  double top = p->n->outs[0]->dtype == TY_f64 ? 0x1.fffffffffffffp1023 : p->n->outs[0]->dtype == TY_f16 ? 65504
             : p->n->outs[0]->dtype == TY_bf16 ? 0x1.fep127 : 0x1.fffffep127;
  ty_value *x = p->x[0], *r = TY_S(TY_B(eq, x, TY_K(INFINITY)), TY_K(TY_D(2, top)), x);
  r = TY_S(TY_B(eq, x, TY_K(-INFINITY)), TY_K(TY_D(3, -top)), r);
  return TY_S(TY_U(isnan, x), TY_K(TY_D(1, 0)), r);
}

/* ---- clamp: min and max may be missing; either bound being NaN gives NaN ---- */
static ty_status check_bounds(ty_graph *g, ty_node *n, ty_dtype common) {
  (void)common;
  return ty_o_none(n, 1) && ty_o_none(n, 2) ? ty_fail(g->ctx, TY_INVALID, "at least one of min or max must not be None") : TY_OK;
}
TY_PWC(clamp, TY_PR_SAME, "if", check_bounds, 0, 1, 2) {
  ty_value *x = p->x[0];
  if (p->x[1]) x = TY_B(max, x, p->x[1]);
  return p->x[2] ? TY_B(min, x, p->x[2]) : x;
}

/* ---- where and masked_fill: the condition does not take part in promotion ---- */
static ty_status where_promote(ty_graph *g, ty_node *n, ty_dtype *dt) {
  ty_promo pr = TY_PROMO_INIT;
  ty_value *c = ty_o_val(n, 0);
  ty_promo_arg(&pr, &n->args[1]);
  ty_promo_arg(&pr, &n->args[2]);
  if (c->dtype != TY_bool && c->dtype != TY_u8) return ty_fail(g->ctx, TY_INVALID, "where expects a boolean condition");
  return *dt = ty_promo_result(&pr), TY_OK;
}
static ty_status out_broadcast(ty_graph *g, ty_node *n, ty_dtype dt, int nops) {
  ty_dim a[TY_MAX_RANK] = { 0 }, b[TY_MAX_RANK];
  int r = 0;
  for (int i = 0; i < nops; i++) {
    ty_value *v = ty_o_val(n, i);
    if (!v) continue;
    TY_TRY(ty_broadcast(g, r, a, v->rank, v->shape, &r, b));
    for (int k = 0; k < r; k++) a[k] = b[k];
  }
  return ty_o_out(g, n, dt, r, a);
}
ty_status ty_where_infer(ty_graph *g, ty_node *n) {
  ty_dtype dt = TY_f32;
  TY_TRY(where_promote(g, n, &dt));
  return out_broadcast(g, n, dt, 3);
}
ty_status ty_where_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_dtype dt = n->outs[0]->dtype;
  ty_value *c = ty_c_cast(g, ty_o_val(n, 0), TY_bool);
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_sel(g, c, ty_o_arg(g, &n->args[1], dt), ty_o_arg(g, &n->args[2], dt)), n->outs[0]));
}

ty_status ty_masked_fill_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *m = ty_o_val(n, 1), *v = ty_o_val(n, 2);
  if (m->dtype != TY_bool) return ty_fail(g->ctx, TY_INVALID, "masked_fill expects a boolean mask");
  if (v && v->rank) return ty_fail(g->ctx, TY_INVALID, "masked_fill expects a value of rank 0");
  return out_broadcast(g, n, x->dtype, 2);
}
ty_status ty_masked_fill_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0);
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_sel(g, ty_o_val(n, 1), ty_o_arg(g, &n->args[2], x->dtype), x), n->outs[0]));
}

/* ---- Conversions and what is the identity in inference; param: position of the dtype, or -1 ---- */
ty_status ty_convert_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int at = ty_o_param(n);
  return ty_o_out(g, n, at < 0 ? x->dtype : ty_o_dtype(n, at, x->dtype), x->rank, x->shape);
}
ty_status ty_convert_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  return ty_o_done(g, rep, ty_o_round(g, ty_o_val(n, 0), n->outs[0]->dtype));
}
ty_status ty_type_as_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  return ty_o_out(g, n, ty_o_val(n, 1)->dtype, x->rank, x->shape);
}
ty_status ty_type_as_lower(ty_graph *g, ty_node *n, ty_value **rep) { return ty_convert_lower(g, n, rep); }

/* copy(self, src): src in self's dtype and shape. */
ty_status ty_copy_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *s = ty_o_val(n, 1);
  ty_dim b[TY_MAX_RANK];
  int r;
  TY_TRY(ty_broadcast(g, x->rank, x->shape, s->rank, s->shape, &r, b));
  if (r != x->rank) return ty_fail(g->ctx, TY_INVALID, "copy: source has more dims");
  for (int i = 0; i < r; i++) TY_TRY(ty_o_same(g, x->shape[i], b[i], "copy"));
  return ty_o_out_like(g, n, x);
}
ty_status ty_copy_lower(ty_graph *g, ty_node *n, ty_value **rep) { return ty_o_done(g, rep, ty_o_fit(g, ty_o_round(g, ty_o_val(n, 1), n->outs[0]->dtype), n->outs[0])); }

/* dropout(x, p, train): the identity unless it trains. native_dropout also gives a mask of ones. */
ty_status ty_dropout_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  if (!ty_o_none(n, 2) && ty_o_bool(n, 2) && ty_o_float(g, n, 1, 0) != 0) return ty_fail(g->ctx, TY_UNSUPPORTED, "dropout in training");
  if (ty_o_none(n, 2)) return ty_fail(g->ctx, TY_UNSUPPORTED, "dropout without train=False");
  TY_TRY(ty_o_out_like(g, n, x));
  return ty_o_param(n) == 2 ? ty_o_out(g, n, TY_bool, x->rank, x->shape) : TY_OK;
}
ty_status ty_dropout_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0);
  if (ty_o_param(n) == 2) TY_TRY(ty_o_done(g, rep + 1, ty_c_full_int(g, TY_bool, x->rank, x->shape, 1)));
  return ty_o_done(g, rep, x);
}
