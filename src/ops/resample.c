/* resample.c: upsampling: nearest, linear in one to three dims, bicubic: taps are views of the input, weights formulas over the index. */
#include "ops/window.h"

#include <math.h>

/* A row's param: spatial dims, mode, and whether the overload has one list of scale factors (.vec). */
enum { DIMS = 3, NEAREST = 0, EXACT = 4, LINEAR = 8, CUBIC = 12, MODE = 12, VEC = 16 };

/* Output o stands at (a * o + b) / c of the input, whose floor is exact in integers; `scale` is the same as eager rounds it. */
typedef struct axis { int dim; ty_dim in, out; int64_t a, b, c; double scale; } axis;
typedef struct resample { ty_value *x; int n, mode; bool align; axis ax[3]; } resample;

static double round_to(ty_dtype dt, double v) { return dt == TY_f64 ? v : (double)(float)v; }

/* What eager reads for output o (aten/src/ATen/native/UpSample.h). */
static int64_t nearest_eager(const axis *a, bool exact, int64_t o, int64_t in) {
  float at = exact ? (float)(((double)o + 0.5) * (double)(float)a->scale) : (float)o * (float)a->scale;
  int64_t i = (int64_t)floorf(at);
  return i < in ? i : in - 1;
}
static int64_t nearest_ours(const axis *a, int64_t o, int64_t in) {
  int64_t i = (a->a * o + a->b) / a->c;
  return i < in ? i : in - 1;
}
/* The integer formula must give eager's element for every output: its floor is of a rounded product. */
static ty_status nearest(ty_graph *g, axis *a, bool exact, int64_t num, int64_t den) {
  int64_t in, out;
  if (!ty_dim_is_const(g, a->in, &in) || !ty_dim_is_const(g, a->out, &out)) {
    if (num != 1 || (den & (den - 1))) return ty_fail(g->ctx, TY_UNSUPPORTED, "upsampling of a symbolic size");
    return a->a = exact ? 2 : 1, a->b = exact, a->c = exact ? 2 * den : den, TY_OK;
  }
  if (!exact && (out == in || out == 2 * in)) num = 1, den = out / in; /* whatever the scale; but not in all of eager's kernels */
  const int64_t fine = (int64_t)1 << 40, step = (int64_t)(a->scale * 0x1p16);
  for (int t = -1; t < 3; t++) { /* exact first; then what eager's own scale is, a little more, a little less */
    int64_t p = t < 0 ? num : (int64_t)llround(a->scale * (double)fine) + (t == 1 ? step : t == 2 ? -step : 0), q = t < 0 ? den : fine, o = 0;
    a->a = exact ? 2 * p : p, a->b = exact ? p : 0, a->c = exact ? 2 * q : q;
    if (out > 1 << 20) break;
    while (o < out && nearest_ours(a, o, in) == nearest_eager(a, exact, o, in)) o++;
    if (o == out) return TY_OK;
    if (!exact && (out == in || out == 2 * in)) break;
  }
  return ty_fail(g->ctx, TY_UNSUPPORTED, "upsampling whose rounding integers do not follow");
}

static ty_status axis_of(ty_graph *g, const resample *r, axis *a, bool given, double factor) {
  int64_t in, out, num = 0, den = 1;
  bool fixed = ty_dim_is_const(g, a->in, &in) && ty_dim_is_const(g, a->out, &out);
  if (ty_dim_get(g, a->in)->hi < 1 || ty_dim_get(g, a->out)->hi < 1) return ty_fail(g->ctx, TY_INVALID, "input and output sizes should be greater than 0");
  if (fixed && (in > 1 << 24 || out > 1 << 24)) return ty_fail(g->ctx, TY_UNSUPPORTED, "upsampling of a dim this large");
  if (r->mode >= LINEAR && r->align) {
    if (!fixed) return ty_fail(g->ctx, TY_UNSUPPORTED, "align_corners of a symbolic size");
    a->a = out > 1 ? in - 1 : 0, a->b = 0, a->c = out > 1 ? out - 1 : 1;
    a->scale = out > 1 ? round_to(r->x->dtype, (double)(in - 1) / (double)(out - 1)) : 0;
    return TY_OK;
  }
  if (given) {
    double inv = 1 / factor;
    a->scale = r->mode < LINEAR ? (double)(float)inv : round_to(r->x->dtype, inv);
    if (factor == floor(factor) && factor < 1 << 20) num = 1, den = (int64_t)factor;
    else if (inv == floor(inv) && inv < 1 << 20) num = (int64_t)inv;
    else if (inv > 0x1p-20 && inv < 0x1p20) num = (int64_t)llround(inv * 0x1p30), den = (int64_t)1 << 30;
    else return ty_fail(g->ctx, TY_UNSUPPORTED, "scale factor %g", factor);
  } else if (fixed) num = in, den = out, a->scale = r->mode < LINEAR || r->x->dtype != TY_f64 ? (double)((float)in / (float)out) : (double)in / (double)out;
  else {
    for (den = 1; den <= 16 && !ty_dim_known_eq(g, a->out, ty_dim_mul(g, a->in, ty_dim_const(g, den)));) den++;
    if (den > 16) return ty_fail(g->ctx, TY_UNSUPPORTED, "upsampling of a symbolic size");
    num = 1, a->scale = round_to(r->x->dtype, 1 / (double)den);
  }
  if (r->mode < LINEAR) return nearest(g, a, r->mode == EXACT, num, den);
  if (r->mode == LINEAR && fixed && in == out) num = den = 1, a->scale = 1; /* a copy, whatever the scale */
  a->a = 2 * num, a->b = num - den, a->c = 2 * den; /* scale * (o + 1/2) - 1/2 */
  return TY_OK;
}

static ty_status resample_of(ty_graph *g, const ty_node *n, resample *r) {
  int param = ty_o_param(n), cnt, at = 2;
  *r = (resample){.x = ty_o_val(n, 0), .n = param & DIMS, .mode = param & MODE};
  if (r->x->rank != r->n + 2) return ty_fail(g->ctx, TY_INVALID, "upsampling: rank %d", r->x->rank);
  if (r->mode >= LINEAR) {
    TY_TRY(ty_o_need_float(g, r->x));
    r->align = ty_o_bool(n, at++);
  }
  for (int i = 0; i < r->n; i++) {
    axis *a = &r->ax[i];
    const ty_arg *f = &n->args[at];
    double factor = 0;
    bool given = param & VEC ? f->kind == TY_ARG_FLOATS : n->args[at + i].kind == TY_ARG_FLOAT;
    if (given && (param & VEC) && f->n != r->n) return ty_fail(g->ctx, TY_INVALID, "upsampling: %d scale factors", f->n);
    if (given) factor = param & VEC ? f->floats[i] : n->args[at + i].f;
    if (factor <= 0 && given && (param & VEC)) return ty_fail(g->ctx, TY_INVALID, "scale factors must be positive");
    given &= factor > 0;
    a->dim = 2 + i;
    a->in = r->x->shape[2 + i];
    if (!ty_o_none(n, 1)) {
      const ty_dim *size = ty_o_ints(n, 1, &cnt);
      if (cnt != r->n && cnt != 1) return ty_fail(g->ctx, TY_INVALID, "upsampling: output_size must have %d entries", r->n);
      a->out = size[cnt == 1 ? 0 : i];
    } else {
      int64_t in;
      if (!given) return ty_fail(g->ctx, TY_INVALID, "upsampling: neither size nor scale factors");
      if (ty_dim_is_const(g, a->in, &in) && (double)in * factor < 1 << 24) a->out = ty_dim_const(g, (int64_t)((double)in * factor));
      else if (factor == floor(factor) && factor < 1 << 20) a->out = ty_dim_mul(g, a->in, ty_dim_const(g, (int64_t)factor));
      else return ty_fail(g->ctx, TY_UNSUPPORTED, "scale factor %g of a symbolic size", factor);
    }
    TY_TRY(axis_of(g, r, a, given, factor));
  }
  return TY_OK;
}
ty_status ty_resample_infer(ty_graph *g, ty_node *n) {
  resample r;
  ty_dim s[TY_MAX_RANK];
  TY_TRY(resample_of(g, n, &r));
  for (int i = 0; i < r.x->rank; i++) s[i] = i < 2 ? r.x->shape[i] : r.ax[i - 2].out;
  return ty_o_out(g, n, r.x->dtype, r.x->rank, s);
}

/* The taps of an axis: the element each reads, and its weight along the axis of the result. */
typedef struct taps { int n; ty_dim at[4]; ty_value *w[4]; } taps;

static ty_value *cubic_near(ty_graph *g, ty_value *t, double A) { /* |t| <= 1 */
  ty_dtype dt = t->dtype;
  ty_value *r = ty_o2(g, TY_P_sub, ty_o2(g, TY_P_mul, t, ty_o_num(g, dt, A + 2)), ty_o_num(g, dt, A + 3));
  return ty_o2(g, TY_P_add, ty_o2(g, TY_P_mul, ty_o2(g, TY_P_mul, r, t), t), ty_o_num(g, dt, 1));
}
static ty_value *cubic_far(ty_graph *g, ty_value *t, double A) { /* 1 <= |t| <= 2 */
  ty_dtype dt = t->dtype;
  ty_value *r = ty_o2(g, TY_P_sub, ty_o2(g, TY_P_mul, t, ty_o_num(g, dt, A)), ty_o_num(g, dt, 5 * A));
  r = ty_o2(g, TY_P_add, ty_o2(g, TY_P_mul, r, t), ty_o_num(g, dt, 8 * A));
  return ty_o2(g, TY_P_sub, ty_o2(g, TY_P_mul, r, t), ty_o_num(g, dt, 4 * A));
}
static void taps_of(ty_graph *g, const resample *r, const axis *a, ty_dtype dt, taps *t) {
  ty_dim zero = ty_dim_const(g, 0), last = ty_dim_sub(g, a->in, ty_dim_const(g, 1));
  ty_dim at = ty_dim_div(g, ty_dim_add(g, ty_dim_mul(g, ty_dim_index(g, a->dim), ty_dim_const(g, a->a)), ty_dim_const(g, a->b)), ty_dim_const(g, a->c));
  *t = (taps){.n = r->mode == CUBIC ? 4 : r->mode == LINEAR ? 2 : 1};
  if (ty_dim_known_eq(g, a->in, a->out) && a->a == a->c && (!a->b || r->mode == EXACT)) { /* nothing to do along this axis */
    t->n = 1, t->at[0] = ty_dim_index(g, a->dim);
    return;
  }
  for (int i = 0; i < t->n; i++) {
    ty_dim shifted = ty_dim_add(g, r->mode == LINEAR && a->b < 0 ? ty_dim_max(g, at, zero) : at, ty_dim_const(g, r->mode == CUBIC ? i - 1 : i));
    t->at[i] = ty_dim_min(g, a->b < 0 || r->mode == CUBIC ? ty_dim_max(g, shifted, zero) : shifted, last);
  }
  if (t->n == 1) return;
  ty_value *o = ty_win_along(g, r->x->rank, a->dim, a->out), *f = o ? ty_c_cast(g, o, dt) : NULL, *floor_of = ty_win_affine(g, o, ty_dim_const(g, a->a), a->b, ty_dim_const(g, a->c));
  ty_value *scale = ty_o_num(g, dt, a->scale), *half = ty_o_num(g, dt, 0.5), *n0 = ty_o_num(g, dt, 0), *one = ty_o_num(g, dt, 1);
  ty_value *real = r->align ? ty_o2(g, TY_P_mul, f, scale) : ty_o2(g, TY_P_sub, ty_o2(g, TY_P_mul, ty_o2(g, TY_P_add, f, half), scale), half);
  if (r->mode == LINEAR) {
    floor_of = ty_o2(g, TY_P_min, ty_o2(g, TY_P_max, floor_of, ty_o_num(g, TY_i64, 0)), ty_o_dimval(g, last, TY_i64));
    real = ty_o2(g, TY_P_max, real, n0);
  }
  ty_value *frac = ty_o2(g, TY_P_sub, real, floor_of ? ty_c_cast(g, floor_of, dt) : NULL);
  frac = ty_o2(g, TY_P_min, ty_o2(g, TY_P_max, frac, n0), one);
  if (!frac) return;
  if (r->mode == LINEAR) {
    t->w[0] = ty_o2(g, TY_P_sub, one, frac), t->w[1] = frac;
    return;
  }
  const double A = -0.75;
  ty_value *rest = ty_o2(g, TY_P_sub, one, frac), *more = ty_o2(g, TY_P_add, frac, one), *most = ty_o2(g, TY_P_add, rest, one);
  if (!most || !more) return;
  t->w[0] = cubic_far(g, more, A), t->w[1] = cubic_near(g, frac, A), t->w[2] = cubic_near(g, rest, A), t->w[3] = cubic_far(g, most, A);
}

/* The weighted sum over the taps of axes d and on, the map being set for those before. */
static ty_value *combine(ty_graph *g, const resample *r, const taps *t, ty_value *x, const ty_dim *shape, int d, ty_dim *map) {
  if (d >= r->n || d == 3) return ty_c_remap(g, x, r->x->rank, shape, map);
  ty_value *sum = NULL;
  for (int i = 0; i < t[d].n; i++) {
    map[2 + d] = t[d].at[i];
    ty_value *v = combine(g, r, t, x, shape, d + 1, map);
    if (t[d].n > 1) v = ty_o2(g, TY_P_mul, v, t[d].w[i]);
    sum = i ? ty_o2(g, TY_P_add, sum, v) : v;
  }
  return sum;
}
ty_status ty_resample_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  resample r;
  taps t[3];
  ty_value *o = n->outs[0];
  ty_dim map[TY_MAX_RANK];
  TY_TRY(resample_of(g, n, &r));
  ty_dtype dt = r.mode < LINEAR ? r.x->dtype : ty_o_compute(r.x->dtype);
  ty_value *x = ty_c_cast(g, r.x, dt);
  for (int i = 0; i < 2; i++) map[i] = ty_dim_index(g, i);
  for (int i = 0; i < r.n; i++) taps_of(g, &r, &r.ax[i], dt, &t[i]);
  return ty_o_done(g, rep, ty_o_fit(g, combine(g, &r, t, x, o->shape, 0, map), o));
}
