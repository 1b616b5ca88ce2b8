/* matmul.c: the matrix products of ATen over ty.linear (constant right-hand sides) and ty.matmul. */
#include "ops/family.h"

static ty_status need_matrix(ty_graph *g, const ty_value *a, const ty_value *b) {
  if (a->dtype != b->dtype) return ty_fail(g->ctx, TY_INVALID, "expected the same dtype, got %s and %s", ty_dtypes[a->dtype].torch, ty_dtypes[b->dtype].torch);
  if (!ty_dtype_is_float(a->dtype)) return ty_fail(g->ctx, TY_UNSUPPORTED, "matrix product of %s", ty_dtypes[a->dtype].torch);
  return TY_OK;
}

/* Inner sizes; a weight's are numbers, and then the other must be known. */
static ty_status same_inner(ty_graph *g, const ty_node *n, ty_dim a, ty_dim b, const char *what) {
  return ty_dim_is_const(g, a, NULL) || ty_dim_is_const(g, b, NULL) ? ty_o_same(g, a, b, what) : ty_o_need_same(g, n, a, b, what);
}

/* The value before a transposition of its last two dims, when v is one (ATen or core, whatever was lowered so far); else NULL. */
static ty_value *untransposed(ty_graph *g, const ty_value *v) {
  ty_node *d = v->def;
  if (!d || v->rank != 2) return NULL;
  int cnt;
  int64_t first;
  ty_value *x = d->nargs ? ty_o_val(d, 0) : NULL;
  if (!x || x->rank != 2) return NULL;
  switch (d->op) {
  case TY_OP_aten_t_default: return x;
  case TY_OP_aten_transpose_int: return x->shape[0] == v->shape[1] && x->shape[1] == v->shape[0] && d->args[1].i != d->args[2].i ? x : NULL;
  case TY_OP_permute:
  case TY_OP_aten_permute_default: {
    const ty_dim *p = ty_o_ints(d, 1, &cnt);
    return cnt == 2 && ty_dim_is_const(g, p[0], &first) && (first == 1 || first == -1) ? x : NULL;
  }
  default: return NULL;
  }
}
static bool is_constant(const ty_value *v) {
  for (int i = 0; i < 8 && v; i++) {
    if (v->role == TY_ROLE_PARAM || v->role == TY_ROLE_LITERAL) return true;
    ty_node *d = v->def;
    v = d && d->nargs ? ty_o_val(d, 0) : NULL;
    if (d && d->op != TY_OP_permute && d->op != TY_OP_reshape && d->op != TY_OP_slice && d->op != TY_OP_cast && d->op != ty_op_of_prim(TY_P_bf16) && d->op != ty_op_of_prim(TY_P_f16))
      return false;
  }
  return false;
}
/* Its dtype says in what the product is computed. */
static ty_value *as_weight(ty_graph *g, ty_value *w) { return w && w->dtype == TY_f16 ? ty_c_cast(g, w, TY_f32) : w; }
/* a [.., K] times b [K, N], bias [N] or NULL: a linear layer when b is constant. */
static ty_value *product(ty_graph *g, ty_value *a, ty_value *b, ty_value *bias) {
  static const int swap[2] = { 1, 0 };
  if (!a || !b) return NULL;
  ty_dtype c = ty_o_compute(a->dtype);
  ty_arg format = ty_c_format_of(a->dtype);
  a = ty_c_cast(g, a, c);
  bias = ty_c_cast(g, bias, c);
  if (b->rank == 2) {
    ty_value *w = untransposed(g, b);
    if (w && is_constant(w)) return ty_c_linear(g, a, as_weight(g, w), bias);
    if (is_constant(b)) return ty_c_linear(g, a, as_weight(g, ty_c_permute(g, b, swap)), bias);
  }
  ty_value *r = ty_c_matmul(g, a, ty_c_cast(g, b, c), format);
  return bias ? ty_o2(g, TY_P_add, r, bias) : r;
}

/* ---- mm, bmm, mv, dot, matmul, outer; shapes by matmul's rules. param: the ranks demanded, 16 * a + b; 0 any ---- */
ty_status ty_matmul_infer(ty_graph *g, ty_node *n) {
  ty_value *a = ty_o_val(n, 0), *b = ty_o_val(n, 1);
  int want = ty_o_param(n), r = 0;
  ty_dim s[TY_MAX_RANK + 2];
  if (!a->rank || !b->rank || (want && (a->rank != want >> 4 || b->rank != (want & 15))))
    return ty_fail(g->ctx, TY_INVALID, "ranks %d and %d", a->rank, b->rank);
  TY_TRY(need_matrix(g, a, b));
  TY_TRY(same_inner(g, n, a->shape[a->rank - 1], b->shape[b->rank > 1 ? b->rank - 2 : 0], "matrix product"));
  if (want == 0x33) { /* bmm does not broadcast */
    TY_TRY(ty_o_same(g, a->shape[0], b->shape[0], "batch of bmm"));
    s[r++] = a->shape[0];
  } else
    TY_TRY(ty_broadcast(g, a->rank > 2 ? a->rank - 2 : 0, a->shape, b->rank > 2 ? b->rank - 2 : 0, b->shape, &r, s));
  if (a->rank > 1) s[r++] = a->shape[a->rank - 2];
  if (b->rank > 1) s[r++] = b->shape[b->rank - 1];
  return ty_o_out(g, n, a->dtype, r, s);
}
ty_status ty_matmul_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *a = ty_o_val(n, 0), *b = ty_o_val(n, 1);
  if (a->rank == 1) a = ty_o_unsqueeze(g, a, 0);
  if (b->rank == 1) b = ty_o_unsqueeze(g, b, 1);
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_reshape_like(g, product(g, a, b, NULL), n->outs[0]), n->outs[0]));
}
ty_status ty_outer_infer(ty_graph *g, ty_node *n) {
  ty_value *a = ty_o_val(n, 0), *b = ty_o_val(n, 1);
  ty_promo p = TY_PROMO_INIT;
  if (a->rank != 1 || b->rank != 1) return ty_fail(g->ctx, TY_INVALID, "outer: expected vectors");
  ty_promo_value(&p, a);
  ty_promo_value(&p, b);
  ty_dim s[2] = { a->shape[0], b->shape[0] };
  return ty_o_out(g, n, ty_promo_result(&p), 2, s);
}
ty_status ty_outer_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_dtype dt = ty_o_compute(n->outs[0]->dtype);
  ty_value *a = ty_o_unsqueeze(g, ty_c_cast(g, ty_o_val(n, 0), dt), 1);
  return ty_o_done(g, rep, ty_o_fit(g, ty_o2(g, TY_P_mul, a, ty_c_cast(g, ty_o_val(n, 1), dt)), n->outs[0]));
}

/* ---- addmm, addmv, baddbmm: beta * self + alpha * (a @ b); param as above ---- */
ty_status ty_addmm_infer(ty_graph *g, ty_node *n) {
  ty_value *c = ty_o_val(n, 0), *a = ty_o_val(n, 1), *b = ty_o_val(n, 2);
  int want = ty_o_param(n), r = 0, rr;
  ty_dim s[3], full[TY_MAX_RANK];
  double v;
  if (a->rank != want >> 4 || b->rank != (want & 15)) return ty_fail(g->ctx, TY_INVALID, "ranks %d and %d", a->rank, b->rank);
  TY_TRY(need_matrix(g, a, b));
  if (c->dtype != a->dtype) return ty_fail(g->ctx, TY_INVALID, "self must have the dtype of the matrices");
  if (!ty_o_number(g, &n->args[3], &v) || !ty_o_number(g, &n->args[4], &v)) return ty_fail(g->ctx, TY_UNSUPPORTED, "symbolic alpha or beta");
  TY_TRY(same_inner(g, n, a->shape[a->rank - 1], b->shape[b->rank > 1 ? b->rank - 2 : 0], "matrix product"));
  if (want == 0x33) {
    TY_TRY(ty_o_same(g, a->shape[0], b->shape[0], "batch of baddbmm"));
    s[r++] = a->shape[0];
  }
  s[r++] = a->shape[a->rank - 2];
  if (b->rank > 1) s[r++] = b->shape[b->rank - 1];
  TY_TRY(ty_broadcast(g, c->rank, c->shape, r, s, &rr, full));
  if (rr != r) return ty_fail(g->ctx, TY_INVALID, "self does not expand to the result");
  for (int i = 0; i < r; i++) TY_TRY(ty_o_same(g, full[i], s[i], "self of a matrix product"));
  return ty_o_out(g, n, a->dtype, r, s);
}
ty_status ty_addmm_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *c = ty_o_val(n, 0), *a = ty_o_val(n, 1), *b = ty_o_val(n, 2), *o = n->outs[0];
  double beta = ty_o_float(g, n, 3, 1), alpha = ty_o_float(g, n, 4, 1);
  bool vec = b->rank == 1, plain = alpha == 1 && beta == 1;
  if (vec) b = ty_o_unsqueeze(g, b, 1);
  if (plain && !vec && c->rank == 1 && c->shape[0] == o->shape[o->rank - 1]) return ty_o_done(g, rep, ty_o_fit(g, product(g, a, b, c), o));
  ty_value *r = ty_o_reshape_like(g, product(g, a, b, NULL), o);
  ty_dtype dt = ty_o_compute(o->dtype);
  c = ty_c_cast(g, c, dt);
  if (alpha != 1) r = ty_o2(g, TY_P_mul, r, ty_o_num(g, dt, alpha));
  if (beta != 0) r = ty_o2(g, TY_P_add, beta == 1 ? c : ty_o2(g, TY_P_mul, c, ty_o_num(g, dt, beta)), r);
  return ty_o_done(g, rep, ty_o_fit(g, r, o));
}

/* ---- _int_mm: bytes times int8, summed in int32 ---- */
ty_status ty_int_mm_infer(ty_graph *g, ty_node *n) {
  ty_value *a = ty_o_val(n, 0), *b = ty_o_val(n, 1);
  if (a->rank != 2 || b->rank != 2) return ty_fail(g->ctx, TY_INVALID, "ranks %d and %d", a->rank, b->rank);
  if ((a->dtype != TY_i8 && a->dtype != TY_u8) || b->dtype != TY_i8)
    return ty_fail(g->ctx, TY_UNSUPPORTED, "_int_mm of %s and %s", ty_dtypes[a->dtype].torch, ty_dtypes[b->dtype].torch);
  TY_TRY(same_inner(g, n, a->shape[1], b->shape[0], "matrix product"));
  return ty_o_out(g, n, TY_i32, 2, (ty_dim[]){ a->shape[0], b->shape[1] });
}
ty_status ty_int_mm_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  static const int swap[2] = { 1, 0 };
  return ty_o_done(g, rep, ty_c_linear_bytes(g, ty_o_val(n, 0), ty_c_permute(g, ty_o_val(n, 1), swap)));
}

/* ---- linear(input, weight, bias) ---- */
ty_status ty_linear_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *w = ty_o_val(n, 1), *b = ty_o_val(n, 2);
  ty_dim s[TY_MAX_RANK];
  if (!x->rank || w->rank < 1 || w->rank > 2) return ty_fail(g->ctx, TY_INVALID, "linear: ranks %d and %d", x->rank, w->rank);
  TY_TRY(need_matrix(g, x, w));
  TY_TRY(ty_o_same(g, x->shape[x->rank - 1], w->shape[w->rank - 1], "linear"));
  if (b) {
    TY_TRY(need_matrix(g, x, b));
    if (b->rank > 1 || w->rank == 1) return ty_fail(g->ctx, TY_UNSUPPORTED, "linear: bias of rank %d", b->rank);
    if (b->rank == 1 && !ty_dim_is(g, b->shape[0], 1)) TY_TRY(ty_o_same(g, b->shape[0], w->shape[0], "bias of linear"));
  }
  for (int i = 0; i + 1 < x->rank; i++) s[i] = x->shape[i];
  if (w->rank == 2) s[x->rank - 1] = w->shape[0];
  return ty_o_out(g, n, x->dtype, x->rank - (w->rank == 1), s);
}
ty_status ty_linear_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *w = ty_o_val(n, 1), *b = ty_o_val(n, 2);
  if (x->rank == 1) x = ty_o_unsqueeze(g, x, 0);
  if (w->rank == 1) w = ty_o_unsqueeze(g, w, 0);
  if (!x || !w) return ty_o_done(g, rep, NULL);
  ty_dtype c = ty_o_compute(x->dtype);
  if (b) b = ty_c_cast(g, ty_c_expand(g, b, 1, &w->shape[0]), c);
  ty_value *y = ty_c_linear(g, ty_c_cast(g, x, c), as_weight(g, w), b);
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_reshape_like(g, y, n->outs[0]), n->outs[0]));
}

/* cosine_similarity(x1, x2, dim, eps): x / max(norm, eps) of each, multiplied and summed, as eager. */
static ty_status cosine_shape(ty_graph *g, const ty_node *n, int *r, ty_dim *s, int *d, ty_dtype *dt) {
  ty_value *a = ty_o_val(n, 0), *b = ty_o_val(n, 1);
  ty_promo p = TY_PROMO_INIT;
  ty_promo_value(&p, a);
  ty_promo_value(&p, b);
  *dt = ty_promo_result(&p);
  if (!ty_dtype_is_float(*dt)) return ty_fail(g->ctx, TY_INVALID, "expected common dtype to be floating point");
  TY_TRY(ty_broadcast(g, a->rank, a->shape, b->rank, b->shape, r, s));
  return ty_o_dim(g, n, 2, *r, d);
}
ty_status ty_cosine_similarity_infer(ty_graph *g, ty_node *n) {
  ty_dim s[TY_MAX_RANK];
  int r, d, k = 0;
  ty_dtype dt;
  TY_TRY(cosine_shape(g, n, &r, s, &d, &dt));
  for (int i = 0; i < r; i++)
    if (i != d) s[k++] = s[i];
  return ty_o_out(g, n, dt, k, s);
}
ty_status ty_cosine_similarity_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_dim s[TY_MAX_RANK];
  int r, d;
  ty_dtype dt;
  ty_value *u[2];
  TY_TRY(cosine_shape(g, n, &r, s, &d, &dt));
  dt = ty_o_compute(dt);
  for (int i = 0; i < 2; i++) {
    ty_value *x = ty_c_cast(g, ty_o_val(n, i), dt);
    x = x ? ty_c_expand(g, x, r, s) : NULL;
    ty_value *norm = ty_o1(g, TY_P_sqrt, ty_o_reduce(g, "sum", ty_o2(g, TY_P_mul, x, x), 1, &d, true));
    u[i] = ty_o2(g, TY_P_div, x, ty_o2(g, TY_P_max, norm, ty_o_num(g, dt, ty_o_float(g, n, 3, 1e-8))));
  }
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_reduce(g, "sum", ty_o2(g, TY_P_mul, u[0], u[1]), 1, &d, false), n->outs[0]));
}
