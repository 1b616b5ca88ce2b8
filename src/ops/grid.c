/* grid.c: affine_grid, and sampling at the points of a grid: corners are gathered, weights are formulas over the point. */
#include "ops/window.h"

/* ---- affine_grid_generator(theta [N, d, d + 1], size, align_corners) -> [N, .., d]: theta times (x, y, .., 1) ---- */
static ty_status affine_of(ty_graph *g, const ty_node *n, int *dims, const ty_dim **size) {
  ty_value *t = ty_o_val(n, 0);
  int cnt;
  *size = ty_o_ints(n, 1, &cnt);
  *dims = cnt - 2;
  TY_TRY(ty_o_need_float(g, t));
  if (cnt != 4 && cnt != 5) return ty_fail(g->ctx, TY_INVALID, "affine_grid needs 4 or 5 sizes");
  if (t->rank != 3 || !ty_dim_known_eq(g, t->shape[1], ty_dim_const(g, *dims)) || !ty_dim_known_eq(g, t->shape[2], ty_dim_const(g, *dims + 1)))
    return ty_fail(g->ctx, TY_INVALID, "affine_grid: theta must be [N, %d, %d]", *dims, *dims + 1);
  for (int i = 0; i < *dims; i++)
    if (!ty_dim_is_const(g, (*size)[2 + i], NULL)) return ty_fail(g->ctx, TY_UNSUPPORTED, "affine_grid of a symbolic size");
  return ty_o_same(g, t->shape[0], **size, "affine_grid");
}
ty_status ty_affine_grid_infer(ty_graph *g, ty_node *n) {
  ty_dim s[5];
  const ty_dim *size;
  int dims;
  TY_TRY(affine_of(g, n, &dims, &size));
  s[0] = size[0];
  for (int i = 0; i < dims; i++) s[1 + i] = size[2 + i];
  s[dims + 1] = ty_dim_const(g, dims);
  return ty_o_out(g, n, ty_o_val(n, 0)->dtype, dims + 2, s);
}
ty_status ty_affine_grid_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *o = n->outs[0], *sum = NULL;
  const ty_dim *size;
  int dims;
  TY_TRY(affine_of(g, n, &dims, &size));
  ty_dtype dt = ty_o_compute(o->dtype);
  ty_value *theta = ty_c_cast(g, ty_o_val(n, 0), dt);
  for (int i = 0; i <= dims && theta; i++) { /* x is the last dim */
    ty_dim one = ty_dim_const(g, 1), s[5] = {theta->shape[0], one, one, one, one};
    s[dims + 1] = theta->shape[1];
    ty_value *t = ty_c_reshape(g, ty_c_slice(g, theta, 2, ty_dim_const(g, i), 1, one), dims + 2, s);
    if (i < dims) {
      int64_t len = 1;
      ty_dim_is_const(g, size[1 + dims - i], &len);
      ty_value *at = ty_c_cast(g, ty_win_along(g, dims + 2, dims - i, size[1 + dims - i]), dt);
      double step = len > 1 ? 2.0 / (double)(len - 1) : 0, shrink = ty_o_bool(n, 2) ? 1 : (double)(len - 1) / (double)len;
      at = ty_o2(g, TY_P_add, ty_o2(g, TY_P_mul, at, ty_o_num(g, dt, step * shrink)), ty_o_num(g, dt, len > 1 ? -shrink : 0));
      t = ty_o2(g, TY_P_mul, t, at);
    }
    sum = sum ? ty_o2(g, TY_P_add, sum, t) : t;
  }
  return ty_o_done(g, rep, ty_o_fit(g, sum, o));
}

/* ---- grid_sampler(input [N, C, ..], grid [N, .., d], interpolation, padding, align_corners); param: dims, 0: either ---- */
enum { BILINEAR, NEAREST, BICUBIC };
enum { ZEROS, BORDER, REFLECTION };
typedef struct grid { ty_graph *g; ty_value *x, *at; int dims, mode, pad; bool align; ty_dtype dt; int rank; } grid;

static ty_status grid_of(ty_graph *g, const ty_node *n, grid *s) {
  int64_t mode, pad;
  *s = (grid){.g = g, .x = ty_o_val(n, 0), .at = ty_o_val(n, 1), .align = ty_o_bool(n, 4)};
  TY_TRY(ty_o_int(g, n, 2, &mode));
  TY_TRY(ty_o_int(g, n, 3, &pad));
  TY_TRY(ty_o_need_float(g, s->x));
  s->dims = s->x->rank - 2, s->mode = (int)mode, s->pad = (int)pad, s->rank = s->x->rank, s->dt = ty_o_compute(s->x->dtype);
  bool bad = (s->dims != 2 && s->dims != 3) || (ty_o_param(n) && ty_o_param(n) != s->dims) || s->at->rank != s->rank || s->at->dtype != s->x->dtype ||
             mode < 0 || mode > BICUBIC || pad < 0 || pad > REFLECTION || (mode == BICUBIC && s->dims == 3);
  if (bad) return ty_fail(g->ctx, TY_INVALID, "grid_sampler: ranks %d and %d", s->x->rank, s->at->rank);
  TY_TRY(ty_o_same(g, s->at->shape[s->rank - 1], ty_dim_const(g, s->dims), "grid_sampler"));
  for (int i = 0; i < s->dims; i++) {
    if (ty_dim_get(g, s->x->shape[2 + i])->hi < 1) return ty_fail(g->ctx, TY_INVALID, "grid_sampler: empty spatial dims");
    if (ty_dim_get(g, s->x->shape[2 + i])->lo < 1) return ty_fail(g->ctx, TY_UNSUPPORTED, "grid_sampler of a size that may be 0");
  }
  return ty_o_same(g, s->at->shape[0], s->x->shape[0], "grid_sampler");
}
ty_status ty_grid_sampler_infer(ty_graph *g, ty_node *n) {
  grid s;
  ty_dim o[TY_MAX_RANK];
  TY_TRY(grid_of(g, n, &s));
  for (int i = 0; i < s.rank; i++) o[i] = i < 2 ? s.x->shape[i] : s.at->shape[i - 1];
  return ty_o_out(g, n, s.x->dtype, s.rank, o);
}

static ty_value *num(grid *s, double v) { return ty_o_num(s->g, s->dt, v); }
static ty_value *size_of(grid *s, int axis) { return ty_o_dimval(s->g, s->x->shape[2 + axis], s->dt); }
static ty_value *op2(grid *s, ty_prim p, ty_value *a, ty_value *b) { return ty_o2(s->g, p, a, b); }

/* Reflected at both ends, which lie at low / 2 and low / 2 + span. */
static ty_value *reflect(grid *s, ty_value *p, double low, ty_value *span) {
  ty_value *in = ty_o1(s->g, TY_P_abs, op2(s, TY_P_sub, p, num(s, low))), *times = ty_o1(s->g, TY_P_floor, op2(s, TY_P_div, in, span));
  ty_value *extra = op2(s, TY_P_fmod, in, span), *odd = op2(s, TY_P_ne, op2(s, TY_P_fmod, times, num(s, 2)), num(s, 0));
  ty_value *r = op2(s, TY_P_add, ty_o_sel(s->g, odd, op2(s, TY_P_sub, span, extra), extra), num(s, low));
  return ty_o_sel(s->g, op2(s, TY_P_gt, span, num(s, 0)), r, num(s, 0));
}
/* A coordinate in elements, brought into the image as the padding asks. */
static ty_value *padded(grid *s, ty_value *p, int axis) {
  ty_value *size = size_of(s, axis), *last = op2(s, TY_P_sub, size, num(s, 1));
  if (s->pad == ZEROS) return p;
  if (s->pad == REFLECTION) p = s->align ? reflect(s, p, 0, last) : reflect(s, p, -0.5, size);
  return op2(s, TY_P_fmin, op2(s, TY_P_fmax, p, num(s, 0)), last); /* NaN is clamped, too */
}
/* From [-1, 1] to elements. */
static ty_value *coordinate(grid *s, int axis) {
  ty_graph *g = s->g;
  int last = s->rank - 1;
  ty_dim one = ty_dim_const(g, 1), o[TY_MAX_RANK];
  ty_value *v = ty_c_slice(g, s->at, last, ty_dim_const(g, s->dims - 1 - axis), 1, one), *size = size_of(s, axis);
  for (int i = 0; i < s->rank; i++) o[i] = i == 0 ? s->at->shape[0] : i == 1 ? one : s->at->shape[i - 1];
  v = ty_c_cast(g, v ? ty_c_reshape(g, v, s->rank, o) : NULL, s->dt);
  v = op2(s, TY_P_add, v, num(s, 1));
  if (s->align) return op2(s, TY_P_mul, op2(s, TY_P_div, v, num(s, 2)), op2(s, TY_P_sub, size, num(s, 1)));
  return op2(s, TY_P_div, op2(s, TY_P_sub, op2(s, TY_P_mul, v, size), num(s, 1)), num(s, 2));
}

/* One tap of an axis: its element as i64 inside the image, and whether it was inside (NULL: always). */
typedef struct tap { ty_value *at, *in, *w; } tap;
static tap tap_at(grid *s, ty_value *p, int axis, ty_value *w) {
  ty_value *last = op2(s, TY_P_sub, size_of(s, axis), num(s, 1)), *zero = num(s, 0);
  tap t = {.w = w};
  if (s->pad == ZEROS) t.in = op2(s, TY_P_and, op2(s, TY_P_ge, p, zero), op2(s, TY_P_le, p, last));
  p = op2(s, TY_P_fmin, op2(s, TY_P_fmax, p, zero), last);
  t.at = p ? ty_c_cast(s->g, p, TY_i64) : NULL;
  return t;
}
static int taps_of(grid *s, int axis, tap t[4]) {
  ty_graph *g = s->g;
  ty_value *p = coordinate(s, axis), *one = num(s, 1);
  if (s->mode != BICUBIC) p = padded(s, p, axis);
  if (s->mode == NEAREST) return t[0] = tap_at(s, ty_o1(g, TY_P_round, p), axis, NULL), 1;
  ty_value *low = ty_o1(g, TY_P_floor, p), *f = op2(s, TY_P_sub, p, low), *rest = op2(s, TY_P_sub, one, f);
  if (s->mode == BILINEAR) {
    t[0] = tap_at(s, low, axis, rest);
    t[1] = tap_at(s, op2(s, TY_P_add, low, one), axis, f);
    return 2;
  }
  for (int i = 0; i < 4; i++) { /* each tap is padded by itself */
    ty_value *d = i == 0 ? op2(s, TY_P_add, f, one) : i == 1 ? f : i == 2 ? rest : op2(s, TY_P_add, rest, one);
    const double a = -0.75, near[] = {a + 2, -(a + 3), 0, 1}, far[] = {a, -5 * a, 8 * a, -4 * a}, *k = i == 1 || i == 2 ? near : far;
    ty_value *w = num(s, k[0]);
    for (int j = 1; j < 4; j++) w = op2(s, TY_P_add, op2(s, TY_P_mul, w, d), num(s, k[j]));
    t[i] = tap_at(s, padded(s, op2(s, TY_P_add, low, num(s, i - 1)), axis), axis, w);
  }
  return 4;
}
/* The weighted sum over the taps of axes d and on. */
static ty_value *sampled(grid *s, ty_value *x, tap t[3][4], const int *count, int d, ty_value **idx, ty_value *in) {
  if (d >= s->dims || d == 3) {
    ty_value *v = ty_c_index(s->g, x, idx);
    return in ? ty_o_sel(s->g, in, v, num(s, 0)) : v;
  }
  ty_value *sum = NULL;
  for (int i = 0; i < count[d]; i++) {
    ty_value *ok = t[d][i].in;
    idx[2 + d] = t[d][i].at;
    ty_value *v = sampled(s, x, t, count, d + 1, idx, ok && in ? op2(s, TY_P_and, in, ok) : in ? in : ok);
    if (t[d][i].w) v = op2(s, TY_P_mul, v, t[d][i].w);
    sum = sum ? op2(s, TY_P_add, sum, v) : v;
  }
  return sum;
}
ty_status ty_grid_sampler_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  grid s;
  tap t[3][4];
  int count[3];
  TY_TRY(grid_of(g, n, &s));
  for (int i = 0; i < s.dims; i++) count[i] = taps_of(&s, i, t[i]);
  ty_value *idx[5] = {ty_win_along(g, s.rank, 0, s.x->shape[0]), ty_win_along(g, s.rank, 1, s.x->shape[1])};
  return ty_o_done(g, rep, ty_o_fit(g, sampled(&s, ty_c_cast(g, s.x, s.dt), t, count, 0, idx, NULL), n->outs[0]));
}
