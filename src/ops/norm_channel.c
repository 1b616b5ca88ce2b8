/* norm_channel.c: normalisations of images, [N, C, ...]: group, instance and batch norm, with computed or running statistics.
 * Statistics are sums over the spatial dims, a channel at a time, and then over what shares them: so written they suit any layout. */
#include "ops/family.h"

/* Weights and statistics at arguments from to to - 1: one element a channel, or absent. */
static ty_status check_vectors(ty_graph *g, const ty_node *n, int from, int to, ty_dtype *dt) {
  ty_value *x = ty_o_val(n, 0);
  TY_TRY(ty_o_need_float(g, x));
  if (x->rank < 2) return ty_fail(g->ctx, TY_INVALID, "a norm over channels needs at least 2 dims");
  for (int i = from; i < to; i++) {
    ty_value *v = ty_o_val(n, i);
    if (!v) continue;
    if (v->rank != 1) return ty_fail(g->ctx, TY_INVALID, "parameters of a norm must be vectors");
    TY_TRY(ty_o_same(g, v->shape[0], x->shape[1], "a norm's parameters: channels"));
  }
  return ty_o_norm_dtypes(g, n, from, to, dt);
}

/* A vector of one element a channel, shaped to broadcast against x. */
static ty_value *per_channel(ty_graph *g, ty_value *v, const ty_value *x, ty_dtype dt) {
  ty_dim s[TY_MAX_RANK];
  if (!v) return NULL;
  for (int i = 0; i < x->rank; i++) s[i] = i == 1 ? v->shape[0] : ty_dim_const(g, 1);
  v = ty_c_reshape(g, v, x->rank, s);
  return v ? ty_c_cast(g, v, dt) : NULL;
}

/* Statistics of `groups` groups of channels a sample, or (groups 0) of each channel over all samples: [N or 1, C, 1, ...] each. */
typedef struct stats { ty_value *mean, *var, *centered; ty_dim count; } stats;

static ty_value *mean_of(ty_graph *g, ty_value *v, int64_t groups, ty_dim count) {
  enum { LARGE = 4096 }; /* elements of an image that are summed row by row first: sums in order lose precision, and rows make work for threads */
  int dims[TY_MAX_RANK], k = 0, batch = 0, last;
  if (!v) return NULL;
  for (int d = 2; d < v->rank; d++) dims[k++] = d;
  last = v->rank - 1;
  if (k > 1 && ty_dim_hint(g, ty_dim_product(g, k, v->shape + 2)) >= LARGE) v = ty_o_reduce(g, "sum", v, 1, &last, true), k--;
  if (v) v = ty_o_reduce(g, "sum", v, k, dims, true);
  if (v && !groups) v = ty_o_reduce(g, "sum", v, 1, &batch, true);
  else if (v && !ty_dim_is(g, v->shape[1], groups)) { /* [N, C, 1..] to [N, G, C / G], summed over the last and spread again */
    int two = 2;
    ty_dim channels = v->shape[1], s[3] = {v->shape[0], ty_dim_const(g, groups), ty_dim_div(g, channels, ty_dim_const(g, groups))}, full[TY_MAX_RANK];
    for (int i = 0; i < v->rank; i++) full[i] = v->shape[i];
    ty_value *sum = ty_o_reduce(g, "sum", ty_c_reshape(g, v, 3, s), 1, &two, true);
    sum = ty_o2(g, TY_P_div, sum, ty_o_dimval(g, count, v->dtype));
    sum = sum ? ty_c_expand(g, sum, 3, s) : NULL;
    return sum ? ty_c_reshape(g, sum, v->rank, full) : NULL;
  }
  return ty_o2(g, TY_P_div, v, v ? ty_o_dimval(g, count, v->dtype) : NULL);
}
static void stats_of(ty_graph *g, ty_value *x, int64_t groups, stats *s) {
  *s = (stats){0};
  if (!x) return;
  s->count = ty_dim_product(g, x->rank - 2, x->shape + 2);
  if (!groups) s->count = ty_dim_mul(g, s->count, x->shape[0]);
  else s->count = ty_dim_mul(g, s->count, ty_dim_div(g, x->shape[1], ty_dim_const(g, groups)));
  s->mean = mean_of(g, x, groups, s->count);
  s->centered = ty_o2(g, TY_P_sub, x, s->mean);
  s->var = mean_of(g, ty_o2(g, TY_P_mul, s->centered, s->centered), groups, s->count);
}
static ty_value *rstd_of(ty_graph *g, ty_value *var, double eps) {
  return ty_o1(g, TY_P_rsqrt, ty_o2(g, TY_P_add, var, var ? ty_o_num(g, var->dtype, eps) : NULL));
}
static ty_value *normalised(ty_graph *g, const stats *s, ty_value *rstd, ty_value *w, ty_value *b) {
  ty_value *x = s->centered, *scale = rstd;
  if (w && x) scale = ty_o2(g, TY_P_mul, rstd, per_channel(g, w, x, x->dtype));
  ty_value *y = ty_o2(g, TY_P_mul, x, scale);
  return b && x ? ty_o2(g, TY_P_add, y, per_channel(g, b, x, x->dtype)) : y;
}

/* ---- group_norm(input, groups, weight, bias, eps, cudnn), param 1: native_group_norm(input, weight, bias, N, C, HxW, group, eps) ---- */
static ty_status group_args(ty_graph *g, const ty_node *n, int64_t *groups, double *eps, ty_dtype *dt) {
  ty_value *x = ty_o_val(n, 0);
  int native = ty_o_param(n);
  int64_t channels;
  TY_TRY(check_vectors(g, n, native ? 1 : 2, native ? 3 : 4, dt));
  TY_TRY(ty_o_int(g, n, native ? 6 : 1, groups));
  *eps = ty_o_float(g, n, native ? 7 : 4, 1e-5);
  if (!ty_dim_is_const(g, x->shape[1], &channels)) return ty_fail(g->ctx, TY_UNSUPPORTED, "symbolic number of channels");
  if (*groups < 1 || channels % *groups) return ty_fail(g->ctx, TY_INVALID, "channels must be divisible by num_groups");
  return TY_OK;
}
ty_status ty_group_norm_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int64_t groups;
  double eps;
  ty_dtype dt = TY_f32;
  TY_TRY(group_args(g, n, &groups, &eps, &dt));
  TY_TRY(ty_o_out_like(g, n, x));
  ty_dim s[2] = {x->shape[0], ty_dim_const(g, groups)};
  for (int i = 0; i < 2 && ty_o_param(n); i++) TY_TRY(ty_o_out(g, n, dt, 2, s));
  return TY_OK;
}
/* [N, C, 1, ...] with equal values in a group: one a group. */
static ty_value *one_a_group(ty_graph *g, ty_value *v, const ty_value *out) {
  if (!v) return NULL;
  ty_dim per = ty_dim_div(g, v->shape[1], out->shape[1]), s[3] = {out->shape[0], out->shape[1], per}, one = ty_dim_const(g, 1);
  ty_value *r = ty_c_reshape(g, v, 3, s);
  return ty_o_reshape_like(g, r ? ty_c_slice(g, r, 2, ty_dim_const(g, 0), 1, ty_dim_is(g, per, 0) ? per : one) : NULL, out);
}
ty_status ty_group_norm_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0);
  int native = ty_o_param(n);
  int64_t groups;
  double eps;
  stats s;
  TY_TRY(group_args(g, n, &groups, &eps, NULL));
  stats_of(g, ty_c_cast(g, x, ty_o_compute(x->dtype)), groups, &s);
  ty_value *rstd = rstd_of(g, s.var, eps), *y = normalised(g, &s, rstd, ty_o_val(n, native ? 1 : 2), ty_o_val(n, native ? 2 : 3));
  TY_TRY(ty_o_done(g, rep, ty_o_fit(g, y, n->outs[0])));
  if (n->nouts < 3) return TY_OK;
  TY_TRY(ty_o_done(g, rep + 1, ty_o_fit(g, one_a_group(g, s.mean, n->outs[1]), n->outs[1])));
  return ty_o_done(g, rep + 2, ty_o_fit(g, one_a_group(g, rstd, n->outs[2]), n->outs[2]));
}

/* ---- Batch and instance norm ----
 * (x, w, b, mean, var, training, momentum, eps, ...) but for the two rows that lack some. What follows the result:
 * two statistics (none of instance_norm and batch_norm), then what a row adds. Computing statistics while running ones are given
 * would change those in place, which a graph does not do: only the functional row returns them. */
enum { BATCH, NATIVE, NO_TRAINING, NO_STATS, FUNCTIONAL, NO_UPDATE, INSTANCE };
typedef struct bn { ty_value *x, *w, *b, *mean, *var; bool computed, stats; double momentum, eps; ty_dtype dt; /* of its parameters */ } bn;

static ty_status bn_args(ty_graph *g, const ty_node *n, bn *o) {
  int which = ty_o_param(n), at = which == NO_STATS ? 3 : 5;
  ty_dtype dt = TY_f32;
  TY_TRY(check_vectors(g, n, 1, at, &dt));
  *o = (bn){.dt = dt, .x = ty_o_val(n, 0), .w = ty_o_val(n, 1), .b = ty_o_val(n, 2)};
  if (which != NO_STATS) o->mean = ty_o_val(n, 3), o->var = ty_o_val(n, 4);
  bool flag = which != NO_TRAINING && which != NO_UPDATE;
  o->computed = flag && ty_o_bool(n, at);
  o->momentum = ty_o_float(g, n, at + flag, 0.1);
  o->eps = ty_o_float(g, n, at + flag + 1, 1e-5);
  o->stats = which != BATCH && which != INSTANCE;
  if (!o->computed && (!o->mean || !o->var)) return ty_fail(g->ctx, TY_INVALID, "a norm without statistics");
  if (o->computed && (o->mean || o->var) && which != FUNCTIONAL) return ty_fail(g->ctx, TY_UNSUPPORTED, "a norm that changes its running statistics");
  if (which == FUNCTIONAL && (!o->mean || !o->var)) return ty_fail(g->ctx, TY_INVALID, "a norm without running statistics");
  if (o->computed) {
    ty_dim all = ty_dim_product(g, o->x->rank - 2, o->x->shape + 2);
    if (which != INSTANCE) all = ty_dim_mul(g, all, o->x->shape[0]);
    if (ty_dim_get(g, all)->hi < 2) return ty_fail(g->ctx, TY_UNSUPPORTED, "statistics of less than two values");
    if (which == INSTANCE && !ty_dim_is_const(g, o->x->shape[1], NULL)) return ty_fail(g->ctx, TY_UNSUPPORTED, "symbolic number of channels");
  }
  return TY_OK;
}
ty_status ty_batch_norm_infer(ty_graph *g, ty_node *n) {
  bn o;
  TY_TRY(bn_args(g, n, &o));
  ty_dim none = ty_dim_const(g, 0), size = o.computed ? o.x->shape[1] : none;
  TY_TRY(ty_o_out_like(g, n, o.x));
  for (int i = 0; i < 2 && o.stats; i++) TY_TRY(ty_o_out(g, n, o.dt, 1, &size));
  for (int i = 0; i < 2 && ty_o_param(n) == FUNCTIONAL; i++) TY_TRY(ty_o_out(g, n, o.dt, 1, &o.x->shape[1]));
  return ty_o_param(n) == NO_UPDATE ? ty_o_out(g, n, TY_u8, 1, &none) : TY_OK;
}

/* x * alpha + beta with alpha and beta a channel, as eager, and so folded when constant. */
static ty_value *with_running(ty_graph *g, const bn *o, ty_dtype dt) {
  ty_value *alpha = rstd_of(g, ty_c_cast(g, o->var, dt), o->eps);
  if (o->w) alpha = ty_o2(g, TY_P_mul, alpha, ty_c_cast(g, o->w, dt));
  ty_value *beta = ty_o2(g, TY_P_mul, ty_c_cast(g, o->mean, dt), alpha);
  beta = o->b ? ty_o2(g, TY_P_sub, ty_c_cast(g, o->b, dt), beta) : ty_o1(g, TY_P_neg, beta);
  return ty_o2(g, TY_P_add, ty_o2(g, TY_P_mul, ty_c_cast(g, o->x, dt), per_channel(g, alpha, o->x, dt)), per_channel(g, beta, o->x, dt));
}
static ty_value *blend(ty_graph *g, ty_value *was, ty_value *now, double momentum) {
  if (!was || !now) return NULL;
  return ty_o2(g, TY_P_add, ty_o2(g, TY_P_mul, now, ty_o_num(g, now->dtype, momentum)), ty_o2(g, TY_P_mul, was, ty_o_num(g, now->dtype, 1 - momentum)));
}
ty_status ty_batch_norm_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  bn o;
  TY_TRY(bn_args(g, n, &o));
  ty_dtype dt = ty_o_compute(o.x->dtype);
  int which = ty_o_param(n), next = 1;
  int64_t channels = 0;
  stats s = {0};
  ty_value *y, *rstd = NULL, *mean = NULL, *var = NULL;
  if (o.computed) {
    if (which == INSTANCE) ty_dim_is_const(g, o.x->shape[1], &channels);
    stats_of(g, ty_c_cast(g, o.x, dt), channels, &s);
    rstd = rstd_of(g, s.var, o.eps);
    y = normalised(g, &s, rstd, o.w, o.b);
  } else y = with_running(g, &o, dt);
  TY_TRY(ty_o_done(g, rep, ty_o_fit(g, y, n->outs[0])));
  for (int i = 0; i < 2 && o.stats; i++, next++) {
    ty_value *out = n->outs[next], *v = o.computed ? ty_o_reshape_like(g, i ? rstd : s.mean, out) : ty_c_full(g, out->dtype, 1, out->shape, 0);
    TY_TRY(ty_o_done(g, rep + next, ty_o_fit(g, v, out)));
  }
  if (which == FUNCTIONAL && o.computed) { /* the running variance is the unbiased one */
    ty_value *count = ty_o_dimval(g, s.count, dt);
    mean = blend(g, ty_c_cast(g, o.mean, dt), ty_o_reshape_like(g, s.mean, n->outs[3]), o.momentum);
    var = ty_o2(g, TY_P_mul, s.var, ty_o2(g, TY_P_div, count, ty_o2(g, TY_P_sub, count, ty_o_num(g, dt, 1))));
    var = blend(g, ty_c_cast(g, o.var, dt), ty_o_reshape_like(g, var, n->outs[4]), o.momentum);
  } else mean = o.mean, var = o.var;
  if (which == FUNCTIONAL) {
    TY_TRY(ty_o_done(g, rep + 3, ty_o_fit(g, mean, n->outs[3])));
    return ty_o_done(g, rep + 4, ty_o_fit(g, var, n->outs[4]));
  }
  return which == NO_UPDATE ? ty_o_done(g, rep + 3, ty_c_full_int(g, TY_u8, 1, n->outs[3]->shape, 0)) : TY_OK;
}
