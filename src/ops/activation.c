/* activation.c: activation functions as formulas over the primitives, in the order of operations that eager uses. */
#include "ops/family.h"

#include <math.h>
#include <string.h>

TY_PW(relu, TY_PR_SAME, "if", 0) { return TY_B(max, p->x[0], TY_K(0)); }
TY_PW(relu6, TY_PR_SAME, "if", 0) { return TY_B(min, TY_B(max, p->x[0], TY_K(0)), TY_K(6)); }
static ty_status check_hardtanh(ty_graph *g, ty_node *n, ty_dtype common) {
  if (!ty_dtype_is_float(common) && (n->args[1].kind == TY_ARG_FLOAT || n->args[2].kind == TY_ARG_FLOAT) &&
      (ty_o_float(g, n, 1, 0) != floor(ty_o_float(g, n, 1, 0)) || ty_o_float(g, n, 2, 0) != floor(ty_o_float(g, n, 2, 0))))
    return ty_fail(g->ctx, TY_UNSUPPORTED, "fractional bounds for integers");
  return TY_OK;
}
TY_PWC(hardtanh, TY_PR_SAME, "if", check_hardtanh, 0) { return TY_B(min, TY_B(max, p->x[0], TY_N(1)), TY_N(2)); }
TY_PW(silu, TY_PR_SAME, "f", 0) { return TY_B(div, p->x[0], TY_B(add, TY_K(1), TY_U(exp, TY_U(neg, p->x[0])))); }

static ty_status check_gelu(ty_graph *g, ty_node *n, ty_dtype common) {
  const char *a = ty_o_str(n, 1);
  (void)common;
  if (a && strcmp(a, "none") && strcmp(a, "tanh")) return ty_fail(g->ctx, TY_INVALID, "approximate argument must be either none or tanh");
  return TY_OK;
}
TY_PWC(gelu, TY_PR_SAME, "f", check_gelu, 0) {
  ty_value *x = p->x[0], *half = TY_B(mul, TY_K(0.5), x), *in;
  const char *a = ty_o_str(p->n, 1);
  if (a && a[0] == 't') {
    ty_value *cube = TY_B(mul, TY_B(mul, x, x), x);
    in = TY_U(tanh, TY_B(mul, TY_K(M_SQRT2 * M_2_SQRTPI * 0.5), TY_B(add, x, TY_B(mul, TY_K(0.044715), cube))));
  } else
    in = TY_U(erf, TY_B(mul, x, TY_K(M_SQRT1_2)));
  return TY_B(mul, half, TY_B(add, TY_K(1), in));
}

TY_PW(leaky_relu, TY_PR_SAME, "f", 0) { return TY_S(TY_B(gt, p->x[0], TY_K(0)), p->x[0], TY_B(mul, p->x[0], TY_N(1))); }
/* The family of elu: x < 0 ? expm1(x * in) * neg : x * pos. */
static ty_value *elu(ty_pw *p, double neg, double pos, double in) {
  ty_value *x = p->x[0], *e = TY_U(expm1, in == 1 ? x : TY_B(mul, x, TY_K(in)));
  return TY_S(TY_B(lt, x, TY_K(0)), neg == 1 ? e : TY_B(mul, e, TY_K(neg)), pos == 1 ? x : TY_B(mul, x, TY_K(pos)));
}
TY_PW(elu, TY_PR_SAME, "f", 0) { return elu(p, TY_D(1, 1) * TY_D(2, 1), TY_D(2, 1), TY_D(3, 1)); }
TY_PW(selu, TY_PR_SAME, "f", 0) {
  const double alpha = 1.6732632423543772848170429916717, scale = 1.0507009873554804934193349852946;
  return elu(p, alpha * scale, scale, 1);
}
TY_PW(celu, TY_PR_SAME, "f", 0) { return elu(p, TY_D(1, 1), 1, 1 / TY_D(1, 1)); }

static ty_value *relu6_of_plus3(ty_pw *p) { return TY_B(min, TY_B(max, TY_B(add, p->x[0], TY_K(3)), TY_K(0)), TY_K(6)); }
TY_PW(hardsigmoid, TY_PR_SAME, "f", 0) { return TY_B(mul, relu6_of_plus3(p), TY_K(1.0 / 6)); }
TY_PW(hardswish, TY_PR_SAME, "f", 0) { return TY_B(mul, TY_B(mul, p->x[0], relu6_of_plus3(p)), TY_K(1.0 / 6)); }

static ty_value *softplus(ty_pw *p, double beta, double threshold) {
  ty_value *x = p->x[0], *xb = beta == 1 ? x : TY_B(mul, x, TY_K(beta)), *l = TY_U(log1p, TY_U(exp, xb));
  return TY_S(TY_B(gt, xb, TY_K(threshold)), x, beta == 1 ? l : TY_B(div, l, TY_K(beta)));
}
TY_PW(softplus, TY_PR_SAME, "f", 0) { return softplus(p, TY_D(1, 1), TY_D(2, 20)); }
TY_PW(mish, TY_PR_SAME, "f", 0) { return TY_B(mul, p->x[0], TY_U(tanh, softplus(p, 1, INFINITY))); }
static ty_value *log_sigmoid(ty_pw *p) {
  return TY_B(sub, TY_B(min, p->x[0], TY_K(0)), TY_U(log1p, TY_U(exp, TY_U(neg, TY_U(abs, p->x[0])))));
}
TY_PW(log_sigmoid, TY_PR_SAME, "f", 0) { return log_sigmoid(p); }
/* log_sigmoid_forward has a second output, exp(-|x|), which only its backward reads. */
ty_status ty_log_sigmoid_forward_infer(ty_graph *g, ty_node *n) {
  TY_TRY(ty_log_sigmoid_infer(g, n));
  return ty_o_out_like(g, n, ty_o_val(n, 0));
}
ty_status ty_log_sigmoid_forward_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_pw s = { .g = g, .n = n, .dt = ty_o_compute(n->outs[0]->dtype) }, *p = &s;
  s.x[0] = ty_c_cast(g, ty_o_val(n, 0), s.dt);
  TY_TRY(ty_o_done(g, rep, ty_o_fit(g, log_sigmoid(p), n->outs[0])));
  return ty_o_done(g, rep + 1, ty_o_fit(g, TY_U(exp, TY_U(neg, TY_U(abs, s.x[0]))), n->outs[1]));
}

TY_PW(threshold, TY_PR_SAME, "if", 0) { return TY_S(TY_B(le, p->x[0], TY_N(1)), TY_N(2), p->x[0]); }
TY_PW(softshrink, TY_PR_SAME, "f", 0) {
  ty_value *x = p->x[0], *l = TY_N(1), *low = TY_U(neg, l);
  ty_value *in = TY_S(TY_B(lt, x, low), TY_B(add, x, l), TY_B(mul, x, TY_K(0))); /* x * 0 keeps NaN */
  return TY_S(TY_B(gt, x, l), TY_B(sub, x, l), in);
}
TY_PW(hardshrink, TY_PR_SAME, "f", 0) {
  ty_value *x = p->x[0], *l = TY_N(1);
  return TY_S(TY_B(and, TY_B(ge, x, TY_U(neg, l)), TY_B(le, x, l)), TY_K(0), x);
}
TY_PW(prelu_kernel, TY_PR_SAME, "f", 0, 1) { return TY_S(TY_B(gt, p->x[0], TY_K(0)), p->x[0], TY_B(mul, p->x[1], p->x[0])); }

/* prelu(self, weight): the weight has one element or one a channel (dim 1). */
static ty_value *prelu_weight(ty_graph *g, const ty_value *x, ty_value *w) {
  ty_dim s[TY_MAX_RANK];
  if (w->rank != 1 || x->rank < 2) return ty_c_reshape(g, w, 0, NULL);
  for (int i = 0; i < x->rank; i++) s[i] = i == 1 ? w->shape[0] : ty_dim_const(g, 1);
  return ty_c_reshape(g, w, x->rank, s);
}
ty_status ty_prelu_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *w = ty_o_val(n, 1);
  TY_TRY(ty_o_need_float(g, x));
  if (w->rank > 1 || w->dtype != x->dtype) return ty_fail(g->ctx, TY_INVALID, "prelu: weight must be a vector of the input's dtype");
  if (w->rank == 1 && !ty_dim_is(g, w->shape[0], 1)) {
    if (x->rank < 2) return ty_fail(g->ctx, TY_INVALID, "prelu: weight has more than one element");
    TY_TRY(ty_o_same(g, x->shape[1], w->shape[0], "prelu"));
  }
  return ty_o_out_like(g, n, x);
}
ty_status ty_prelu_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *w = prelu_weight(g, x, ty_o_val(n, 1));
  ty_dtype c = ty_o_compute(x->dtype);
  x = ty_c_cast(g, x, c);
  w = w ? ty_c_cast(g, w, c) : NULL;
  ty_value *r = ty_o_sel(g, ty_o2(g, TY_P_gt, x, ty_o_num(g, c, 0)), x, ty_o2(g, TY_P_mul, w, x));
  return ty_o_done(g, rep, ty_o_fit(g, r, n->outs[0]));
}

/* glu(self, dim): first half times sigmoid of the second. */
ty_status ty_glu_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[TY_MAX_RANK], two = ty_dim_const(g, 2);
  int d;
  TY_TRY(ty_o_need_float(g, x));
  if (!x->rank) return ty_fail(g->ctx, TY_INVALID, "glu does not support tensors of rank 0");
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  for (int i = 0; i < x->rank; i++) s[i] = x->shape[i];
  s[d] = ty_dim_div(g, x->shape[d], two);
  TY_TRY(ty_o_same(g, ty_dim_mul(g, s[d], two), x->shape[d], "glu: halving the dimension"));
  return ty_o_out(g, n, x->dtype, x->rank, s);
}
ty_status ty_glu_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0);
  ty_dtype c = ty_o_compute(x->dtype);
  int d;
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  ty_dim half = n->outs[0]->shape[d];
  ty_value *a = ty_c_slice(g, x, d, ty_dim_const(g, 0), 1, half), *b = ty_c_slice(g, x, d, half, 1, half);
  if (!a || !b) return ty_o_done(g, rep, NULL);
  return ty_o_done(g, rep, ty_o_fit(g, ty_o2(g, TY_P_mul, ty_c_cast(g, a, c), ty_o1(g, TY_P_sigmoid, ty_c_cast(g, b, c))), n->outs[0]));
}
