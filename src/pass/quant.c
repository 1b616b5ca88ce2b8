/* quant.c: linears whose weights somebody else quantised, (q - zero) * scale with q of 8 bits and both constant along k: they run from
 * the bytes, and where the input is the same of bytes, in bytes. Requires: linear, hoist.
 *
 * With x = (p - zp) * sx and w = (q - zw) * sw, sums over k being exact integers of 32 bits:
 *   x w^T = (p q^T - zp * sum(q) - zw * (sum(p) - k * zp)) * sx * sw
 * With x of float32: x w^T = (x q^T - zw * sum(x)) * sw, from a weight packed as bytes. Where scales and zeros of a weight are by groups of 32
 * or more along k, bytes are packed with them (`int8g32`), and zeros are a product of their own: x w^T = x (q s)^T - (sums of x by groups) (z s)^T. */
#include "kernel/kernel.h"
#include "pass/pass_int.h"

/* v = (bytes - zero) * scale; zero and scale as they broadcast to v, NULL: 0 and 1. */
typedef struct grid { ty_value *bytes, *zero, *scale; } grid;

static bool is_byte(const ty_value *v) { return v->dtype == TY_u8 || v->dtype == TY_i8; }

/* Is v the same along dim k of `like`, which it broadcasts to? *out: as it is before it was expanded. */
static bool constant_along(ty_graph *g, ty_value *v, const ty_value *like, int k, ty_value **out) {
  while (ty_is_op(v, TY_OP_expand)) v = v->def->args[0].value;
  int d = k - (like->rank - v->rank);
  *out = v;
  return d < 0 || ty_dim_is(g, v->shape[d], 1);
}

static bool is_whole(ty_graph *g, ty_value *v) {
  double x;
  if (ty_scalar_const(g, v, &x)) return x == (double)(int64_t)x && x >= -255 && x <= 255;
  while (ty_is_op(v, TY_OP_expand) || ty_is_op(v, TY_OP_reshape) || ty_is_op(v, TY_OP_permute) || ty_is_op(v, TY_OP_cast)) {
    if (ty_dtype_is_int(v->dtype)) return true;
    v = v->def->args[0].value;
  }
  return ty_dtype_is_int(v->dtype);
}

/* Bytes less a zero, in whatever type: conversions of such small numbers to wider types keep them. */
static bool whole_grid(ty_graph *g, ty_value *v, int k, grid *r) {
  ty_value *z;
  if (is_byte(v)) return *r = (grid){ .bytes = v }, true;
  if (ty_is_op(v, TY_OP_cast) && v->dtype != TY_bool && v->dtype != TY_f16 && v->dtype != TY_bf16) return whole_grid(g, v->def->args[0].value, k, r);
  if (!ty_is_prim_op(v, TY_P_sub) || v->dtype == TY_bool) return false;
  ty_value *a = v->def->args[0].value, *b = v->def->args[1].value;
  if (!ty_same_shape(a, v) || !constant_along(g, b, v, k, &z) || !is_whole(g, z) || !whole_grid(g, a, k, r) || r->zero) return false;
  return r->zero = z, true;
}

static bool is_grid(ty_graph *g, ty_value *v, int k, grid *r) {
  if (v->dtype != TY_f32) return false;
  if (whole_grid(g, v, k, r)) return true;
  if (ty_is_op(v, TY_OP_cast) && v->def->args[0].value->dtype == TY_f64) v = v->def->args[0].value; /* a scale of float64 */
  for (int i = 0; i < 2 && ty_is_prim_op(v, TY_P_mul); i++) {
    ty_value *a = v->def->args[i].value, *s;
    if (ty_same_shape(a, v) && constant_along(g, v->def->args[1 - i].value, v, k, &s) && whole_grid(g, a, k, r)) return r->scale = ty_c_cast(g, s, TY_f32), r->scale != NULL;
  }
  return false;
}

/* A scale or a zero of a weight [n, k] (or [k, n]) for rows of results: [n] or [1]; NULL stays NULL. */
static ty_value *as_row(ty_graph *g, ty_value *v) {
  if (!v) return NULL;
  ty_dim n = ty_dim_product(g, v->rank, v->shape);
  return ty_c_reshape(g, v, 1, &n);
}

/* A weight of unsigned bytes as one of signed ones. */
static void with_sign(ty_graph *g, grid *r) {
  r->zero = ty_c_cast(g, r->zero, TY_i32);
  if (r->bytes->dtype == TY_i8) return;
  ty_value *by = ty_c_full_int(g, TY_i32, 0, NULL, -128);
  r->bytes = ty_c_cast(g, ty_c_prim(g, TY_P_add, ty_c_cast(g, r->bytes, TY_i32), by, NULL), TY_i8);
  r->zero = r->zero ? ty_c_prim(g, TY_P_add, r->zero, by, NULL) : by;
}

static ty_value *sum_last(ty_graph *g, ty_value *v, bool keep) { return v ? ty_c_reduce(g, "sum", v, 1, (int[]){ v->rank - 1 }, keep) : NULL; }
static ty_value *less(ty_graph *g, ty_value *a, ty_value *x, ty_value *y) { /* a - x * y */
  return ty_c_prim(g, TY_P_sub, a, ty_c_prim(g, TY_P_mul, x, y, NULL), NULL);
}

static ty_value *times(ty_graph *g, ty_value *a, ty_value *b) { return b ? ty_c_prim(g, TY_P_mul, a, b, NULL) : a; }

enum { K_MAX = 32768 }; /* 255 * 255 * k fits in 32 bits */

static ty_value *in_bytes(ty_graph *g, grid p, const grid *w, ty_dim k) {
  p.zero = ty_c_cast(g, p.zero, TY_i32);
  ty_value *y = ty_c_linear_bytes(g, p.bytes, w->bytes);
  if (p.zero) y = less(g, y, p.zero, sum_last(g, ty_c_cast(g, w->bytes, TY_i32), false));
  if (w->zero) {
    ty_value *sum = sum_last(g, ty_c_cast(g, p.bytes, TY_i32), true);
    if (p.zero) sum = less(g, sum, p.zero, ty_c_cast(g, ty_c_dimval(g, k), TY_i32));
    y = less(g, y, sum, as_row(g, w->zero));
  }
  y = ty_c_cast(g, y, TY_f32);
  return p.scale && w->scale ? times(g, y, times(g, p.scale, as_row(g, w->scale))) : times(g, times(g, y, p.scale), as_row(g, w->scale));
}

/* w: [n, groups of k, a group]. */
static ty_value *by_groups(ty_graph *g, ty_value *x, ty_value *w) {
  grid q;
  int64_t each;
  if (x->rank < 2 || x->rank == TY_MAX_RANK || !ty_dim_is_const(g, w->shape[2], &each) || each % ty_formats[TY_FORMAT_int8g32].group || !is_grid(g, w, 2, &q))
    return NULL;
  with_sign(g, &q);
  ty_dim rows = w->shape[0], groups = w->shape[1], flat[2] = { rows, x->shape[x->rank - 1] }, all[3] = { rows, groups, ty_dim_const(g, 1) }, split[TY_MAX_RANK];
  ty_value *whole = ty_c_reshape(g, times(g, ty_c_cast(g, q.bytes, TY_f32), q.scale), 2, flat);
  ty_value *y = ty_pass_packed_gemm(g, x, whole, ty_formats[TY_FORMAT_int8g32].name);
  if (!q.zero) return y;
  ty_value *zeros = ty_c_reshape(g, ty_c_expand(g, times(g, ty_c_cast(g, q.zero, TY_f32), q.scale), 3, all), 2, all);
  for (int i = 0; i + 1 < x->rank; i++) split[i] = x->shape[i];
  split[x->rank - 1] = groups, split[x->rank] = w->shape[2];
  return ty_c_prim(g, TY_P_sub, y, ty_c_linear(g, sum_last(g, ty_c_reshape(g, x, x->rank + 1, split), false), zeros, NULL), NULL);
}

static ty_value *with_bias(ty_graph *g, const ty_node *n, ty_value *y) {
  return y && n->args[2].kind == TY_ARG_VALUE ? ty_c_prim(g, TY_P_add, y, n->args[2].value, NULL) : y;
}

static ty_value *rewrite(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value, *w = n->args[1].value, *o = n->outs[0], *y;
  grid p, q;
  if (x->dtype == TY_f32 && ty_is_op(w, TY_OP_reshape) && w->def->args[0].value->rank == 3 && w->def->args[0].value->shape[0] == w->shape[0]) return with_bias(g, n, by_groups(g, x, w->def->args[0].value));
  int swapped = ty_is_op(w, TY_OP_permute) ? 1 : 0; /* linear has [n, k], so a permute swaps */
  if (x->dtype != TY_f32 || !is_grid(g, swapped ? w->def->args[0].value : w, 1 - swapped, &q)) return NULL;
  ty_dim k = x->shape[x->rank - 1];
  int64_t number;
  if (!ty_dim_is_const(g, k, &number)) return NULL;
  with_sign(g, &q);
  if (swapped) q.bytes = ty_c_permute(g, q.bytes, (int[]){ 1, 0 });
  while (ty_is_op(x, TY_OP_reshape) && x->def->args[0].value->rank && x->def->args[0].value->shape[x->def->args[0].value->rank - 1] == k) x = x->def->args[0].value;
  if (number <= K_MAX && is_grid(g, x, x->rank - 1, &p)) y = in_bytes(g, p, &q, k);
  else {
    x = n->args[0].value;
    y = ty_c_linear(g, x, ty_c_cast(g, q.bytes, TY_f32), NULL);
    if (q.zero) y = less(g, y, sum_last(g, x, true), ty_c_cast(g, as_row(g, q.zero), TY_f32));
    y = times(g, y, as_row(g, q.scale));
  }
  return with_bias(g, n, ty_c_reshape(g, y, o->rank, o->shape));
}

ty_status ty_pass_quant(ty_graph *g) {
  ty_remap m;
  bool *c = ty_pass_constants(g);
  int nc = g->values.n;
  if (!c || !ty_remap_init(&m, g)) { ty_free(c); return ty_pass_nomem(g); }
  ty_status st = TY_OK;
  for (ty_node *n = g->first, *next; n && !st; n = next) {
    next = n->next;
    ty_remap_node(&m, n);
    if (n->op != TY_OP_linear || n->args[1].value->id >= nc || !c[n->args[1].value->id]) continue;
    ty_graph_at(g, n);
    ty_node *before = n->prev;
    ty_value *y = rewrite(g, n);
    for (ty_node *k = before ? before->next : g->first; k != n; k = k->next) k->from = "linear", k->origin = n->origin;
    if (y && !ty_remap_set(&m, n->outs[0], y)) st = ty_pass_nomem(g);
  }
  ty_remap_finish(&m, g);
  ty_free(c);
  if (!st) st = ty_pass_dce(g);
  return st ? st : ty_pass_hoist(g);
}
