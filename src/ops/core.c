/* core.c: inference for the core vocabulary: shapes and dtypes of every ty.* row. */
#include "kernel/kernel.h"
#include "loop/prelude.h"
#include "ops/ops.h"

#include <string.h>

/* A size that could not be computed: the dim left the reason. */
static ty_status bad_size(ty_graph *g) { return g->arena.failed ? TY_NOMEM : TY_UNSUPPORTED; }

static ty_status out(ty_graph *g, ty_node *n, ty_dtype dt, int rank, const ty_dim *shape) {
  for (int i = 0; i < rank; i++)
    if (shape[i] < 0) return bad_size(g);
  if (rank > TY_MAX_RANK) return ty_fail(g->ctx, TY_UNSUPPORTED, "rank %d is above %d", rank, TY_MAX_RANK);
  for (int i = 0; i < rank; i++) {
    if (ty_dim_get(g, shape[i])->hi < 0) return ty_fail(g->ctx, TY_INVALID, "size %d of the result is negative", i);
    TY_TRY(ty_graph_need(g, n, TY_NEED_LE, ty_dim_const(g, 0), shape[i]));
  }
  return ty_node_out(g, n, dt, rank, shape) ? TY_OK : g->arena.failed ? TY_NOMEM : TY_INVALID;
}

static bool both_const(const ty_graph *g, ty_dim a, ty_dim b) { return ty_dim_is_const(g, a, NULL) && ty_dim_is_const(g, b, NULL); }

/* Two sizes that must be equal: TY_INVALID when they are not for sure, TY_UNSUPPORTED when it cannot be proven. */
static ty_status same(ty_graph *g, ty_dim a, ty_dim b, const char *what) {
  if (a < 0 || b < 0) return bad_size(g);
  if (ty_dim_known_eq(g, a, b)) return TY_OK;
  ty_str s = {0};
  ty_str_add(&s, "%s: sizes ", what);
  ty_dim_print(g, a, &s);
  ty_str_add(&s, " and ");
  ty_dim_print(g, b, &s);
  bool sure = both_const(g, a, b);
  ty_status st = s.failed ? ty_fail(g->ctx, TY_NOMEM, "out of memory")
                          : ty_fail(g->ctx, sure ? TY_INVALID : TY_UNSUPPORTED, "%s %s", s.p, sure ? "differ" : "are not known to be equal");
  ty_str_free(&s);
  return st;
}

/* The same where sizes that differ have no meaning and none of the kernels' own sizes follow from either. */
static ty_status need_same(ty_graph *g, const ty_node *n, ty_dim a, ty_dim b, const char *what) {
  if (a < 0 || b < 0 || both_const(g, a, b)) return same(g, a, b, what);
  return ty_graph_need(g, n, TY_NEED_EQ, a, b);
}

static ty_status axis(ty_graph *g, ty_dim d, int rank, int *axis) {
  int64_t v;
  if (!ty_dim_is_const(g, d, &v) || v < 0 || v >= rank) return ty_fail(g->ctx, TY_INVALID, "dim is not in [0, %d)", rank);
  *axis = (int)v;
  return TY_OK;
}

ty_status ty_broadcast(ty_graph *g, int ra, const ty_dim *a, int rb, const ty_dim *b, int *r, ty_dim *o) {
  if (ra > TY_MAX_RANK || rb > TY_MAX_RANK) return ty_fail(g->ctx, TY_UNSUPPORTED, "rank above %d", TY_MAX_RANK);
  *r = ra > rb ? ra : rb;
  for (int i = 1; i <= *r; i++) {
    ty_dim x = i <= ra ? a[ra - i] : ty_dim_const(g, 1), y = i <= rb ? b[rb - i] : ty_dim_const(g, 1);
    if (x < 0 || y < 0) return bad_size(g);
    if (ty_dim_is(g, y, 1)) o[*r - i] = x;
    else if (ty_dim_is(g, x, 1)) o[*r - i] = y;
    else {
      TY_TRY(same(g, x, y, "broadcast"));
      o[*r - i] = x;
    }
  }
  return TY_OK;
}

static ty_status broadcast_to(ty_graph *g, const ty_value *v, int *r, ty_dim *shape) {
  ty_dim old[TY_MAX_RANK];
  memcpy(old, shape, sizeof old);
  return ty_broadcast(g, *r, old, v->rank, v->shape, r, shape);
}

static ty_status dtype_is(ty_graph *g, const ty_value *v, ty_dtype want) {
  if (v->dtype == want) return TY_OK;
  return ty_fail(g->ctx, TY_INVALID, "dtype %s where %s is needed", ty_dtypes[v->dtype].name, ty_dtypes[want].name);
}

ty_status ty_core_prim_infer(ty_graph *g, ty_node *n) {
  ty_prim p = (ty_prim)ty_op_get(n->op)->param;
  int r = 0, first = p == TY_P_sel;
  ty_dim shape[TY_MAX_RANK];
  ty_dtype dt = n->args[first].value->dtype;
  if (first) TY_TRY(dtype_is(g, n->args[0].value, TY_bool));
  for (int i = 0; i < n->nargs; i++) {
    ty_value *v = n->args[i].value;
    if (i >= first) TY_TRY(dtype_is(g, v, dt));
    TY_TRY(broadcast_to(g, v, &r, shape));
  }
  if (!ty_prim_takes(p, dt)) return ty_fail(g->ctx, TY_UNSUPPORTED, "%s does not exist for %s", ty_prims[p].name, ty_dtypes[dt].name);
  return out(g, n, ty_prims[p].to_bool ? TY_bool : dt, r, shape);
}

ty_status ty_core_cast_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value;
  return out(g, n, n->args[1].dtype, x->rank, x->shape);
}

/* As memory of that dtype holds it. */
static int64_t wrapped(ty_dtype dt, int64_t i) {
  switch (dt) {
  case TY_u8: return (uint8_t)i;
  case TY_i8: return (int8_t)i;
  case TY_i16: return (int16_t)i;
  case TY_i32: return (int32_t)i;
  default: return i;
  }
}

/* The value's kind follows the dtype from here on: FLOAT, INT or BOOL. */
/* The value's kind follows the dtype from here on: FLOAT, INT or BOOL; a narrow one is rounded. */
ty_status ty_core_full_infer(ty_graph *g, ty_node *n) {
  ty_arg *v = &n->args[2];
  ty_dtype dt = n->args[1].dtype;
  int64_t i = 0;
  if (v->kind == TY_ARG_INT && !ty_dim_is_const(g, v->i, &i)) {
    if (!ty_dtype_is_int(dt)) return ty_fail(g->ctx, TY_UNSUPPORTED, "a symbolic value of dtype %s", ty_dtypes[dt].name);
  } else if (ty_dtype_is_float(dt)) {
    if (v->kind != TY_ARG_FLOAT) *v = ty_arg_float(v->kind == TY_ARG_BOOL ? (double)v->b : (double)i);
    v->f = dt == TY_bf16 ? ty_bf16_f64(v->f) : dt == TY_f16 ? ty_f16_f64(v->f) : v->f;
  } else if (dt == TY_bool) {
    if (v->kind != TY_ARG_BOOL) *v = ty_arg_bool(v->kind == TY_ARG_FLOAT ? v->f != 0 : i != 0);
  } else if (v->kind != TY_ARG_INT) {
    if (v->kind == TY_ARG_FLOAT && !(v->f > -9.3e18 && v->f < 9.2e18 && v->f >= -9223372036854775808.0))
      return ty_fail(g->ctx, TY_INVALID, "value %g does not fit an integer", v->f);
    *v = ty_arg_int(ty_dim_const(g, wrapped(dt, v->kind == TY_ARG_BOOL ? v->b : (int64_t)v->f)));
    if (v->i < 0) return TY_NOMEM;
  } else if (wrapped(dt, i) != i) {
    *v = ty_arg_int(ty_dim_const(g, wrapped(dt, i)));
    if (v->i < 0) return TY_NOMEM;
  }
  return out(g, n, dt, n->args[0].n, n->args[0].ints);
}

ty_status ty_core_iota_infer(ty_graph *g, ty_node *n) {
  int d = 0;
  TY_TRY(axis(g, n->args[1].i, n->args[0].n, &d));
  return out(g, n, TY_i64, n->args[0].n, n->args[0].ints);
}

ty_status ty_core_dimval_infer(ty_graph *g, ty_node *n) { return out(g, n, TY_i64, 0, NULL); }

ty_status ty_core_reshape_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value;
  TY_TRY(need_same(g, n, ty_dim_product(g, x->rank, x->shape), ty_dim_product(g, n->args[1].n, n->args[1].ints), "reshape"));
  return out(g, n, x->dtype, n->args[1].n, n->args[1].ints);
}

ty_status ty_core_permute_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value;
  ty_dim shape[TY_MAX_RANK];
  bool seen[TY_MAX_RANK] = {0};
  if (n->args[1].n != x->rank) return ty_fail(g->ctx, TY_INVALID, "perm has %d entries for rank %d", n->args[1].n, x->rank);
  for (int i = 0; i < x->rank; i++) {
    int d = 0;
    TY_TRY(axis(g, n->args[1].ints[i], x->rank, &d));
    if (seen[d]) return ty_fail(g->ctx, TY_INVALID, "perm names dim %d twice", d);
    seen[d] = true;
    shape[i] = x->shape[d];
  }
  return out(g, n, x->dtype, x->rank, shape);
}

ty_status ty_core_expand_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value;
  int r = n->args[1].n;
  if (r < x->rank) return ty_fail(g->ctx, TY_INVALID, "expand of rank %d to rank %d", x->rank, r);
  for (int i = 1; i <= x->rank; i++)
    if (!ty_dim_is(g, x->shape[x->rank - i], 1)) TY_TRY(same(g, x->shape[x->rank - i], n->args[1].ints[r - i], "expand"));
  return out(g, n, x->dtype, r, n->args[1].ints);
}

ty_status ty_core_slice_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value;
  int d = 0;
  int64_t step, start, len, size, last;
  ty_dim shape[TY_MAX_RANK];
  TY_TRY(axis(g, n->args[1].i, x->rank, &d));
  if (!ty_dim_is_const(g, n->args[3].i, &step) || step == 0) return ty_fail(g->ctx, TY_INVALID, "step must be a number other than 0");
  if (ty_dim_get(g, n->args[2].i)->hi < 0) return ty_fail(g->ctx, TY_INVALID, "start is negative");
  if (ty_dim_is_const(g, n->args[2].i, &start) && ty_dim_is_const(g, n->args[4].i, &len) && ty_dim_is_const(g, x->shape[d], &size)) {
    if (len > 0 && (!ty_mul_i64(len - 1, step, &last) || !ty_add_i64(last, start, &last) || start >= size || last < 0 || last >= size))
      return ty_fail(g->ctx, TY_INVALID, "slice start %lld step %lld length %lld leaves a dim of %lld", (long long)start, (long long)step,
                     (long long)len, (long long)size);
  } else {
    /* The first and the last element lie inside, where there are some: an empty slice forwards keeps to that as well, a flip of nothing does not. */
    ty_dim one = ty_dim_const(g, 1), zero = ty_dim_const(g, 0), first = n->args[2].i, some = step > 0 ? one : ty_dim_min(g, one, n->args[4].i);
    ty_dim end = ty_dim_add(g, first, ty_dim_mul(g, ty_dim_sub(g, n->args[4].i, one), ty_dim_const(g, step)));
    TY_TRY(ty_graph_need(g, n, TY_NEED_LE, zero, ty_dim_mul(g, some, step > 0 ? first : end)));
    TY_TRY(ty_graph_need(g, n, TY_NEED_LE, ty_dim_mul(g, some, ty_dim_add(g, step > 0 ? end : first, one)), ty_dim_mul(g, some, x->shape[d])));
  }
  memcpy(shape, x->shape, (size_t)x->rank * sizeof *shape);
  shape[d] = n->args[4].i;
  return out(g, n, x->dtype, x->rank, shape);
}

/* An index into a dim stays inside wherever the result has elements. */
static ty_status stays_inside(ty_graph *g, const ty_node *n, ty_dim e, ty_dim size, int i) {
  ty_dim zero = ty_dim_const(g, 0), one = ty_dim_const(g, 1), lo, hi;
  if (ty_dim_known_lt(g, ty_dim_const(g, -1), e) && ty_dim_known_lt(g, e, size)) return TY_OK;
  bool fixed = ty_dim_is_const(g, size, NULL);
  for (int d = 0; d < n->args[1].n; d++) fixed &= ty_dim_is_const(g, n->args[1].ints[d], NULL);
  if (fixed) return ty_fail(g->ctx, TY_INVALID, "the map may leave dim %d", i);
  if (!ty_dim_bounds(g, e, &lo, &hi)) return ty_fail(g->ctx, TY_UNSUPPORTED, "the map is not seen to stay in dim %d", i);
  ty_dim some = ty_dim_min(g, one, ty_dim_product(g, n->args[1].n, n->args[1].ints));
  TY_TRY(ty_graph_need(g, n, TY_NEED_LE, zero, ty_dim_mul(g, some, lo)));
  return ty_graph_need(g, n, TY_NEED_LE, ty_dim_mul(g, some, ty_dim_add(g, hi, one)), ty_dim_mul(g, some, size));
}

ty_status ty_core_remap_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value;
  const ty_arg *shape = &n->args[1], *map = &n->args[2];
  ty_dim var[TY_MAX_RANK];
  bool empty = false;
  if (map->n != x->rank) return ty_fail(g->ctx, TY_INVALID, "a map of %d entries for rank %d", map->n, x->rank);
  if (shape->n > TY_MAX_RANK) return ty_fail(g->ctx, TY_UNSUPPORTED, "rank %d is above %d", shape->n, TY_MAX_RANK);
  for (int d = 0; d < shape->n; d++) {
    empty |= ty_dim_is(g, shape->ints[d], 0);
    var[d] = ty_dim_loopvar(g, "i", shape->ints[d]);
  }
  for (int i = 0; i < x->rank && !empty; i++) {
    ty_dim e = map->ints[i];
    for (int d = 0; d < shape->n; d++) e = ty_dim_subst(g, e, ty_dim_index(g, d), var[d]);
    for (int d = shape->n; d < TY_MAX_RANK; d++)
      if (ty_dim_depends(g, e, ty_dim_index(g, d))) return ty_fail(g->ctx, TY_INVALID, "the map has index _%d of a result of rank %d", d, shape->n);
    if (e < 0) return bad_size(g);
    TY_TRY(stays_inside(g, n, e, x->shape[i], i));
  }
  return out(g, n, x->dtype, shape->n, shape->ints);
}

ty_status ty_core_index_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value;
  int r = 0;
  ty_dim shape[TY_MAX_RANK];
  if (n->args[1].n != x->rank) return ty_fail(g->ctx, TY_INVALID, "%d indices for rank %d", n->args[1].n, x->rank);
  for (int i = 0; i < x->rank; i++) {
    ty_value *v = n->args[1].values[i];
    if (!ty_dtype_is_int(v->dtype)) return ty_fail(g->ctx, TY_INVALID, "an index of dtype %s", ty_dtypes[v->dtype].name);
    TY_TRY(broadcast_to(g, v, &r, shape));
  }
  /* An index out of range is read as 0 and reported after the run: there must be something to read. */
  ty_dim some = ty_dim_min(g, ty_dim_const(g, 1), ty_dim_product(g, r, shape));
  for (int i = 0; i < x->rank; i++) TY_TRY(ty_graph_need_at_run(g, n, TY_NEED_LE, some, x->shape[i]));
  return out(g, n, x->dtype, r, shape);
}

ty_status ty_core_reduce_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value;
  const char *kind = n->args[1].str;
  static const char *const kinds[] = {"sum", "prod", "max", "min", "any", "all", "argmax", "argmin"};
  int k = 0, r = 0;
  bool red[TY_MAX_RANK] = {0};
  ty_dim shape[TY_MAX_RANK];
  while (k < 8 && strcmp(kind, kinds[k])) k++;
  if (k == 8) return ty_fail(g->ctx, TY_INVALID, "no reduction is called \"%.40s\"", kind);
  if (k >= 6 && n->args[2].n != 1) return ty_fail(g->ctx, TY_INVALID, "%s takes one dim", kind);
  for (int i = 0; i < n->args[2].n; i++) {
    int d = 0;
    TY_TRY(axis(g, n->args[2].ints[i], x->rank, &d));
    if (red[d]) return ty_fail(g->ctx, TY_INVALID, "dim %d is named twice", d);
    red[d] = true;
  }
  for (int i = 0; i < x->rank; i++)
    if (!red[i]) shape[r++] = x->shape[i];
    else if (n->args[3].b) shape[r++] = ty_dim_const(g, 1);
  return out(g, n, k >= 6 ? TY_i64 : k >= 4 ? TY_bool : x->dtype, r, shape);
}

ty_status ty_core_cat_infer(ty_graph *g, ty_node *n) {
  ty_arg *xs = &n->args[0];
  if (xs->n < 1) return ty_fail(g->ctx, TY_INVALID, "nothing to join");
  ty_value *x = xs->values[0];
  int d = 0;
  ty_dim shape[TY_MAX_RANK];
  TY_TRY(axis(g, n->args[1].i, x->rank, &d));
  memcpy(shape, x->shape, (size_t)x->rank * sizeof *shape);
  for (int i = 1; i < xs->n; i++) {
    ty_value *y = xs->values[i];
    TY_TRY(dtype_is(g, y, x->dtype));
    if (y->rank != x->rank) return ty_fail(g->ctx, TY_INVALID, "ranks %d and %d", x->rank, y->rank);
    for (int j = 0; j < x->rank; j++)
      if (j != d) TY_TRY(need_same(g, n, x->shape[j], y->shape[j], "cat"));
    shape[d] = ty_dim_add(g, shape[d], y->shape[d]);
  }
  return out(g, n, x->dtype, x->rank, shape);
}

ty_status ty_core_scan_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value;
  int d = 0;
  bool arg = !strcmp(n->args[1].str, "argmax") || !strcmp(n->args[1].str, "argmin");
  if (!arg && strcmp(n->args[1].str, "sum") && strcmp(n->args[1].str, "prod"))
    return ty_fail(g->ctx, TY_INVALID, "no scan is called \"%.40s\"", n->args[1].str);
  TY_TRY(axis(g, n->args[2].i, x->rank, &d));
  return out(g, n, arg ? TY_i64 : x->dtype, x->rank, x->shape);
}

ty_status ty_core_sort_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value;
  ty_dim shape[TY_MAX_RANK];
  if (x->rank < 1) return ty_fail(g->ctx, TY_INVALID, "rank 0");
  if (ty_dim_known_lt(g, x->shape[x->rank - 1], n->args[1].i)) return ty_fail(g->ctx, TY_INVALID, "more are wanted than there are");
  memcpy(shape, x->shape, (size_t)x->rank * sizeof *shape);
  shape[x->rank - 1] = n->args[1].i;
  return out(g, n, TY_i64, x->rank, shape);
}

ty_status ty_core_scatter_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value, *index = n->args[1].value, *y = n->args[2].value;
  static const char *const kinds[] = {"set", "sum", "prod", "max", "min"};
  int k = 0;
  while (k < 5 && strcmp(n->args[3].str, kinds[k])) k++;
  if (k == 5) return ty_fail(g->ctx, TY_INVALID, "no way of joining is called \"%.40s\"", n->args[3].str);
  if (x->dtype == TY_f16 || x->dtype == TY_bf16) return ty_fail(g->ctx, TY_UNSUPPORTED, "scatter of dtype %s", ty_dtypes[x->dtype].name);
  TY_TRY(dtype_is(g, index, TY_i64));
  TY_TRY(dtype_is(g, y, x->dtype));
  if (x->rank != 2 || index->rank != 1 || y->rank != 2) return ty_fail(g->ctx, TY_INVALID, "ranks %d, %d and %d", x->rank, index->rank, y->rank);
  TY_TRY(need_same(g, n, index->shape[0], y->shape[0], "scatter"));
  TY_TRY(need_same(g, n, x->shape[1], y->shape[1], "scatter"));
  return out(g, n, x->dtype, 2, x->shape);
}

ty_status ty_core_bag_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value, *index = n->args[1].value, *starts = n->args[2].value, *w = n->args[3].kind == TY_ARG_VALUE ? n->args[3].value : NULL;
  const char *kind = n->args[4].str;
  ty_dim shape[2] = {n->args[5].i, x->rank == 2 ? x->shape[1] : -1};
  if (strcmp(kind, "sum") && strcmp(kind, "mean") && strcmp(kind, "max")) return ty_fail(g->ctx, TY_INVALID, "no bag is called \"%.40s\"", kind);
  if (x->dtype != TY_f32 && x->dtype != TY_f64) return ty_fail(g->ctx, TY_UNSUPPORTED, "bags of dtype %s", ty_dtypes[x->dtype].name);
  TY_TRY(dtype_is(g, index, TY_i64));
  TY_TRY(dtype_is(g, starts, TY_i64));
  if (x->rank != 2 || index->rank != 1 || starts->rank != 1) return ty_fail(g->ctx, TY_INVALID, "ranks %d, %d and %d", x->rank, index->rank, starts->rank);
  if (w) {
    if (strcmp(kind, "sum") || w->rank != 1) return ty_fail(g->ctx, TY_INVALID, "weights of a bag");
    TY_TRY(dtype_is(g, w, x->dtype));
    TY_TRY(same(g, w->shape[0], index->shape[0], "bag"));
  }
  if (!ty_dim_known_eq(g, starts->shape[0], shape[0])) TY_TRY(same(g, starts->shape[0], ty_dim_add(g, shape[0], ty_dim_const(g, 1)), "bag"));
  return out(g, n, x->dtype, 2, shape);
}

static ty_status blas_dtype(ty_graph *g, const ty_value *a, const ty_value *b) {
  if (a->dtype != TY_f32 && a->dtype != TY_f64) return ty_fail(g->ctx, TY_UNSUPPORTED, "matrix product of dtype %s", ty_dtypes[a->dtype].name);
  return dtype_is(g, b, a->dtype);
}

static ty_status format_known(ty_graph *g, const char *name) {
  ty_format f;
  return ty_format_parse(name, &f) ? TY_OK : ty_fail(g->ctx, TY_INVALID, "no format of weights is called '%.40s'", name);
}

static ty_status format_wide(ty_graph *g, const ty_arg *a) { /* of a product without weights */
  ty_format f;
  if (a->kind != TY_ARG_STR) return TY_OK;
  TY_TRY(format_known(g, a->str));
  return ty_format_parse(a->str, &f) && ty_formats[f].bits < 16 ? ty_fail(g->ctx, TY_INVALID, "no product in %s", a->str) : TY_OK;
}

ty_status ty_core_matmul_infer(ty_graph *g, ty_node *n) {
  ty_value *a = n->args[0].value, *b = n->args[1].value;
  int r = 0;
  ty_dim shape[TY_MAX_RANK];
  TY_TRY(blas_dtype(g, a, b));
  TY_TRY(format_wide(g, &n->args[2]));
  if (a->rank < 2 || b->rank < 2) return ty_fail(g->ctx, TY_INVALID, "ranks %d and %d of a matrix product", a->rank, b->rank);
  ty_dim inner = a->shape[a->rank - 1], of_b = b->shape[b->rank - 2];
  bool number = ty_dim_is_const(g, inner, NULL) || ty_dim_is_const(g, of_b, NULL); /* it may be packed by that number */
  TY_TRY(number ? same(g, inner, of_b, "inner dims") : need_same(g, n, inner, of_b, "inner dims"));
  TY_TRY(ty_broadcast(g, a->rank - 2, a->shape, b->rank - 2, b->shape, &r, shape));
  shape[r] = a->shape[a->rank - 2];
  shape[r + 1] = b->shape[b->rank - 1];
  return out(g, n, a->dtype, r + 2, shape);
}

ty_status ty_core_linear_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value, *w = n->args[1].value, *bias = n->args[2].kind == TY_ARG_VALUE ? n->args[2].value : NULL;
  ty_dim shape[TY_MAX_RANK];
  bool bytes = x->dtype == TY_u8 && w->dtype == TY_i8;
  if (!bytes && (x->dtype != TY_f32 || w->dtype != TY_bf16)) TY_TRY(blas_dtype(g, x, w));
  if (x->rank < 1 || w->rank != 2) return ty_fail(g->ctx, TY_INVALID, "ranks %d and %d", x->rank, w->rank);
  TY_TRY(same(g, x->shape[x->rank - 1], w->shape[1], "inner dims"));
  if (bias) {
    TY_TRY(dtype_is(g, bias, bytes ? TY_i32 : x->dtype));
    if (bias->rank != 1) return ty_fail(g->ctx, TY_INVALID, "bias of rank %d", bias->rank);
    TY_TRY(same(g, bias->shape[0], w->shape[0], "bias"));
  }
  memcpy(shape, x->shape, (size_t)x->rank * sizeof *shape);
  shape[x->rank - 1] = w->shape[0];
  return out(g, n, bytes ? TY_i32 : x->dtype, x->rank, shape);
}

/* Room for any tier's panels: their widths (8, 16, 48) all divide this, so that graphs do not depend on the CPU. */
enum { PACK_PANEL = 48 };
static ty_dim packed_bytes(ty_graph *g, ty_dim k, ty_dim n) {
  ty_dim panel = ty_dim_const(g, PACK_PANEL);
  ty_dim panels = ty_dim_div(g, ty_dim_add(g, n, ty_dim_const(g, PACK_PANEL - 1)), panel);
  return ty_dim_mul(g, ty_dim_mul(g, ty_dim_mul(g, panels, panel), k), ty_dim_const(g, 4));
}

ty_status ty_core_pack_infer(ty_graph *g, ty_node *n) {
  ty_value *w = n->args[0].value;
  TY_TRY(dtype_is(g, w, TY_f32));
  if (w->rank != 2) return ty_fail(g->ctx, TY_INVALID, "rank %d", w->rank);
  TY_TRY(format_known(g, n->args[1].str));
  ty_dim bytes = packed_bytes(g, w->shape[1], w->shape[0]);
  return out(g, n, TY_u8, 1, &bytes);
}

ty_status ty_core_gemm_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value, *packed = n->args[1].value;
  ty_dim shape[TY_MAX_RANK];
  if (x->dtype != TY_u8) TY_TRY(dtype_is(g, x, TY_f32));
  TY_TRY(dtype_is(g, packed, TY_u8));
  if (x->rank < 1 || packed->rank != 1) return ty_fail(g->ctx, TY_INVALID, "ranks %d and %d", x->rank, packed->rank);
  TY_TRY(same(g, packed->shape[0], packed_bytes(g, x->shape[x->rank - 1], n->args[2].i), "packed weight"));
  memcpy(shape, x->shape, (size_t)x->rank * sizeof *shape);
  shape[x->rank - 1] = n->args[2].i;
  return out(g, n, x->dtype == TY_u8 ? TY_i32 : TY_f32, x->rank, shape);
}

/* A list of numbers of a convolution, one a dim; sizes and steps are positive, all are far from the edge of what can be computed. */
static ty_status conv_numbers(ty_graph *g, const ty_arg *a, int dims, int64_t least) {
  int64_t v, most = (int64_t)1 << 31;
  if (a->n != dims) return ty_fail(g->ctx, TY_INVALID, "%d entries for %d dims of a convolution", a->n, dims);
  for (int k = 0; k < dims; k++)
    if (!ty_dim_is_const(g, a->ints[k], &v) || v < least || v > most) return ty_fail(g->ctx, TY_INVALID, "a window of a convolution is no number in range");
  return TY_OK;
}

/* From argument `at` on: stride, padding, dilation, groups, sizes of the result. */
static ty_status conv_windows(ty_graph *g, const ty_node *n, int at, int dims, int64_t *groups) {
  TY_TRY(conv_numbers(g, &n->args[at], dims, 1));
  TY_TRY(conv_numbers(g, &n->args[at + 1], dims, -((int64_t)1 << 31)));
  TY_TRY(conv_numbers(g, &n->args[at + 2], dims, 1));
  if (!ty_dim_is_const(g, n->args[at + 3].i, groups) || *groups < 1) return ty_fail(g->ctx, TY_INVALID, "groups of a convolution");
  if (n->args[at + 4].n != dims) return ty_fail(g->ctx, TY_INVALID, "sizes of a convolution's result");
  return TY_OK;
}

static ty_status conv_out(ty_graph *g, ty_node *n, ty_dim channels, const ty_arg *sizes) {
  ty_dim shape[5] = {n->args[0].value->shape[0]};
  for (int i = 0; i < sizes->n; i++) shape[1 + i] = sizes->ints[i];
  shape[1 + sizes->n] = channels;
  return out(g, n, TY_f32, 2 + sizes->n, shape);
}

ty_status ty_core_conv_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value, *w = n->args[1].value;
  int64_t groups = 1;
  TY_TRY(dtype_is(g, x, TY_f32));
  if (w->dtype != TY_bf16) TY_TRY(dtype_is(g, w, TY_f32));
  if (x->rank < 3 || x->rank > 5 || w->rank != x->rank) return ty_fail(g->ctx, TY_INVALID, "ranks %d and %d of a convolution", x->rank, w->rank);
  TY_TRY(conv_windows(g, n, 2, x->rank - 2, &groups));
  TY_TRY(conv_numbers(g, &(ty_arg){.n = w->rank - 2, .ints = w->shape + 2}, w->rank - 2, 1));
  TY_TRY(same(g, x->shape[x->rank - 1], ty_dim_mul(g, w->shape[1], ty_dim_const(g, groups)), "channels"));
  TY_TRY(same(g, ty_dim_mod(g, w->shape[0], ty_dim_const(g, groups)), ty_dim_const(g, 0), "channels per group"));
  return conv_out(g, n, w->shape[0], &n->args[6]);
}

ty_status ty_core_conv_pack_infer(ty_graph *g, ty_node *n) {
  ty_value *w = n->args[0].value;
  TY_TRY(dtype_is(g, w, TY_f32));
  int64_t groups = 0, channels = 0, of = 0;
  if (w->rank < 3 || w->rank > 5) return ty_fail(g->ctx, TY_INVALID, "rank %d", w->rank);
  TY_TRY(conv_numbers(g, &(ty_arg){.n = w->rank - 2, .ints = w->shape + 2}, w->rank - 2, 1));
  TY_TRY(conv_numbers(g, &n->args[1], w->rank - 2, 1));
  TY_TRY(conv_numbers(g, &n->args[2], w->rank - 2, 1));
  TY_TRY(conv_numbers(g, &n->args[4], w->rank - 2, 0));
  if (!ty_dim_is_const(g, n->args[3].i, &groups) || !ty_dim_is_const(g, w->shape[0], &channels) || !ty_dim_is_const(g, w->shape[1], &of) ||
      groups < 1 || channels < 1 || of < 1 || channels % groups)
    return ty_fail(g->ctx, TY_INVALID, "channels and groups of a convolution");
  TY_TRY(format_known(g, n->args[5].str));
  ty_format f;
  if (ty_format_parse(n->args[5].str, &f) && ty_formats[f].bits < 16) return ty_fail(g->ctx, TY_INVALID, "convolutions have no weights in %s", n->args[5].str);
  ty_conv_kind kind;
  if (n->args[6].kind == TY_ARG_STR && !ty_conv_kind_parse(n->args[6].str, &kind)) return ty_fail(g->ctx, TY_INVALID, "no convolution is of the kind %.40s", n->args[6].str);
  ty_dim bytes = ty_dim_mul(g, ty_dim_product(g, w->rank, w->shape), ty_dim_const(g, 4));
  return out(g, n, TY_u8, 1, &bytes);
}

ty_status ty_core_conv_packed_infer(ty_graph *g, ty_node *n) {
  ty_value *x = n->args[0].value;
  int64_t groups = 1;
  TY_TRY(dtype_is(g, x, TY_f32));
  TY_TRY(dtype_is(g, n->args[1].value, TY_u8));
  if (x->rank < 3 || x->rank > 5 || n->args[1].value->rank != 1) return ty_fail(g->ctx, TY_INVALID, "ranks %d and %d", x->rank, n->args[1].value->rank);
  TY_TRY(conv_numbers(g, &n->args[3], x->rank - 2, 1));
  TY_TRY(conv_windows(g, n, 4, x->rank - 2, &groups));
  ty_dim per = ty_dim_div(g, x->shape[x->rank - 1], ty_dim_const(g, groups));
  ty_dim floats = ty_dim_mul(g, ty_dim_mul(g, n->args[2].i, per), ty_dim_product(g, x->rank - 2, n->args[3].ints));
  TY_TRY(same(g, n->args[1].value->shape[0], ty_dim_mul(g, floats, ty_dim_const(g, 4)), "packed weight"));
  return conv_out(g, n, n->args[2].i, &n->args[8]);
}

ty_status ty_core_rnn_infer(ty_graph *g, ty_node *n) {
  static const char *const kinds[] = {"tanh", "relu", "gru", "lstm"};
  static const int gates_of[] = {1, 1, 3, 4};
  ty_value *x = n->args[0].value, *whh = n->args[1].value, *h0 = n->args[4].value;
  const char *kind = n->args[6].str;
  ty_dim hidden = n->args[7].i, block = ty_dim_const(g, 16), room = ty_dim_const(g, 15);
  bool first = n->args[8].b;
  int k = 0;
  while (k < 4 && strcmp(kind, kinds[k])) k++;
  if (k == 4) return ty_fail(g->ctx, TY_INVALID, "no recurrent layer is called \"%.40s\"", kind);
  for (int i = 0; i < 6; i++)
    if (n->args[i].kind == TY_ARG_VALUE) TY_TRY(dtype_is(g, n->args[i].value, TY_f32));
  if (x->rank != 3 || whh->rank != 5 || h0->rank != 3) return ty_fail(g->ctx, TY_INVALID, "ranks %d, %d, %d", x->rank, whh->rank, h0->rank);
  if ((k == 3) != (n->args[5].kind == TY_ARG_VALUE) || (k != 3 && n->args[3].kind == TY_ARG_VALUE)) return ty_fail(g->ctx, TY_INVALID, "operands of another kind of recurrent layer");
  ty_dim d = h0->shape[0], b = h0->shape[1], p = h0->shape[2], gates = ty_dim_const(g, gates_of[k]), cells = ty_dim_mul(g, ty_dim_mul(g, d, b), hidden);
  if (!ty_dim_is(g, d, 1) && !ty_dim_is(g, d, 2)) return ty_fail(g->ctx, TY_INVALID, "a recurrent layer has one direction or two");
  TY_TRY(same(g, x->shape[!first], b, "batch"));
  TY_TRY(same(g, x->shape[2], ty_dim_mul(g, ty_dim_mul(g, d, gates), hidden), "gates"));
  ty_dim blocks = ty_dim_div(g, ty_dim_add(g, hidden, room), block), parts = ty_dim_div(g, ty_dim_add(g, p, room), block);
  const ty_dim wants[3][5] = {{d, blocks, p, gates, block}, {d, parts, hidden, ty_dim_const(g, 1), block}, {d, b, hidden}};
  const ty_arg *args[3] = {&n->args[1], &n->args[3], &n->args[5]};
  for (int i = 0; i < 3; i++) {
    if (args[i]->kind != TY_ARG_VALUE) continue;
    if (args[i]->value->rank != (i == 2 ? 3 : 5)) return ty_fail(g->ctx, TY_INVALID, "rank %d of an operand", args[i]->value->rank);
    for (int j = 0; j < args[i]->value->rank; j++) TY_TRY(same(g, args[i]->value->shape[j], wants[i][j], "recurrent layer"));
  }
  if (n->args[3].kind != TY_ARG_VALUE) TY_TRY(same(g, p, hidden, "outputs and hidden units"));
  if (n->args[2].kind == TY_ARG_VALUE) TY_TRY(same(g, ty_dim_product(g, n->args[2].value->rank, n->args[2].value->shape), x->shape[2], "bias"));
  ty_dim total = ty_dim_mul(g, ty_dim_mul(g, x->shape[0], x->shape[1]), ty_dim_mul(g, d, p));
  for (int i = 0; i < (k == 3) + (n->args[3].kind == TY_ARG_VALUE); i++) total = ty_dim_add(g, total, cells);
  return out(g, n, TY_f32, 1, &total);
}

ty_status ty_core_attention_infer(ty_graph *g, ty_node *n) {
  ty_value *q = n->args[0].value, *k = n->args[1].value, *v = n->args[2].value;
  TY_TRY(blas_dtype(g, q, k));
  TY_TRY(format_wide(g, &n->args[8]));
  TY_TRY(dtype_is(g, v, q->dtype));
  if (q->rank != 4 || k->rank != 4 || v->rank != 4) return ty_fail(g->ctx, TY_INVALID, "ranks %d, %d, %d", q->rank, k->rank, v->rank);
  TY_TRY(same(g, q->shape[0], k->shape[0], "batch"));
  TY_TRY(same(g, q->shape[0], v->shape[0], "batch"));
  TY_TRY(same(g, k->shape[1], v->shape[1], "heads of k and v"));
  if (!ty_dim_known_eq(g, q->shape[1], k->shape[1])) TY_TRY(same(g, ty_dim_mod(g, q->shape[1], k->shape[1]), ty_dim_const(g, 0), "heads per key head"));
  TY_TRY(same(g, q->shape[3], k->shape[3], "head size"));
  TY_TRY(need_same(g, n, k->shape[2], v->shape[2], "keys"));
  ty_dim scores[4] = {q->shape[0], q->shape[1], q->shape[2], k->shape[2]};
  for (int i = 3; i <= 4; i++) {
    if (n->args[i].kind != TY_ARG_VALUE) continue;
    ty_value *m = n->args[i].value;
    if (i == 4 || m->dtype != TY_bool) TY_TRY(dtype_is(g, m, q->dtype));
    if (m->rank > 4) return ty_fail(g->ctx, TY_INVALID, "mask of rank %d", m->rank);
    for (int j = 1; j <= m->rank; j++)
      if (ty_dim_get(g, m->shape[m->rank - j])->lo > 1) TY_TRY(need_same(g, n, m->shape[m->rank - j], scores[4 - j], "mask"));
      else if (!ty_dim_is(g, m->shape[m->rank - j], 1)) TY_TRY(same(g, m->shape[m->rank - j], scores[4 - j], "mask"));
  }
  ty_dim shape[4] = {q->shape[0], q->shape[1], q->shape[2], v->shape[3]};
  return out(g, n, q->dtype, 4, shape);
}
