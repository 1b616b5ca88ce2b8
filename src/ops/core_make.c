/* core_make.c: the short builders of core.h over ty_make. */
#include "kernel/kernel.h"
#include "ops/ops.h"

static ty_value *make(ty_graph *g, int op, int n, const ty_arg *args) { return ty_make(g, op, n, args); }

ty_value *ty_c_prim(ty_graph *g, ty_prim p, ty_value *a, ty_value *b, ty_value *c) {
  ty_value *v[3] = {a, b, c};
  ty_arg args[3];
  for (int i = 0; i < ty_prims[p].arity; i++) {
    if (!v[i]) return NULL;
    args[i] = ty_arg_value(v[i]);
  }
  return make(g, ty_op_of_prim(p), ty_prims[p].arity, args);
}

ty_value *ty_c_cast(ty_graph *g, ty_value *x, ty_dtype dt) {
  if (!x || x->dtype == dt) return x;
  return make(g, TY_OP_cast, 2, (ty_arg[]){ty_arg_value(x), ty_arg_dtype(dt)});
}

/* Lists given to ty_make need not outlive the call: it copies them. */
static ty_arg ints(int n, const ty_dim *d) { return (ty_arg){.kind = TY_ARG_INTS, .n = n, .ints = (ty_dim *)(uintptr_t)d}; }
static ty_arg values(int n, ty_value *const *v) { return (ty_arg){.kind = TY_ARG_VALUES, .n = n, .values = (ty_value **)(uintptr_t)v}; }

ty_value *ty_c_full(ty_graph *g, ty_dtype dt, int rank, const ty_dim *shape, double value) {
  return make(g, TY_OP_full, 3, (ty_arg[]){ints(rank, shape), ty_arg_dtype(dt), ty_arg_float(value)});
}

ty_value *ty_c_full_int(ty_graph *g, ty_dtype dt, int rank, const ty_dim *shape, int64_t value) {
  return make(g, TY_OP_full, 3, (ty_arg[]){ints(rank, shape), ty_arg_dtype(dt), ty_arg_int(ty_dim_const(g, value))});
}

ty_value *ty_c_iota(ty_graph *g, int rank, const ty_dim *shape, int dim) {
  return make(g, TY_OP_iota, 2, (ty_arg[]){ints(rank, shape), ty_arg_int(ty_dim_const(g, dim))});
}

ty_value *ty_c_dimval(ty_graph *g, ty_dim d) { return make(g, TY_OP_dimval, 1, (ty_arg[]){ty_arg_int(d)}); }

static bool same_shape(const ty_value *x, int rank, const ty_dim *shape) {
  if (x->rank != rank) return false;
  for (int i = 0; i < rank; i++)
    if (x->shape[i] != shape[i]) return false;
  return true;
}

ty_value *ty_c_reshape(ty_graph *g, ty_value *x, int rank, const ty_dim *shape) {
  if (!x || same_shape(x, rank, shape)) return x;
  return make(g, TY_OP_reshape, 2, (ty_arg[]){ty_arg_value(x), ints(rank, shape)});
}

ty_value *ty_c_permute(ty_graph *g, ty_value *x, const int *perm) {
  if (!x) return NULL;
  ty_dim p[TY_MAX_RANK];
  bool identity = true;
  for (int i = 0; i < x->rank; i++) {
    p[i] = ty_dim_const(g, perm[i]);
    identity &= perm[i] == i;
  }
  return identity ? x : make(g, TY_OP_permute, 2, (ty_arg[]){ty_arg_value(x), ints(x->rank, p)});
}

ty_value *ty_c_expand(ty_graph *g, ty_value *x, int rank, const ty_dim *shape) {
  if (!x || same_shape(x, rank, shape)) return x;
  return make(g, TY_OP_expand, 2, (ty_arg[]){ty_arg_value(x), ints(rank, shape)});
}

ty_value *ty_c_slice(ty_graph *g, ty_value *x, int dim, ty_dim start, int64_t step, ty_dim length) {
  if (!x) return NULL;
  if (dim >= 0 && dim < x->rank && step == 1 && ty_dim_is(g, start, 0) && length == x->shape[dim]) return x;
  return make(g, TY_OP_slice, 5, (ty_arg[]){ty_arg_value(x), ty_arg_int(ty_dim_const(g, dim)), ty_arg_int(start), ty_arg_int(ty_dim_const(g, step)), ty_arg_int(length)});
}

ty_value *ty_c_remap(ty_graph *g, ty_value *x, int rank, const ty_dim *shape, const ty_dim *map) {
  if (!x) return NULL;
  bool identity = same_shape(x, rank, shape);
  for (int i = 0; i < x->rank && identity; i++) identity = map[i] == ty_dim_index(g, i) || ty_dim_is(g, shape[i], 1);
  return identity ? x : make(g, TY_OP_remap, 3, (ty_arg[]){ty_arg_value(x), ints(rank, shape), ints(x->rank, map)});
}

void ty_c_remap_at(ty_graph *g, const ty_node *n, const ty_dim *at, ty_dim *x_at) {
  const ty_value *x = n->args[0].value, *o = n->outs[0];
  for (int i = 0; i < x->rank; i++) {
    ty_dim e = n->args[2].ints[i];
    /* all at once, by way of indices that `at` does not have */
    for (int d = 0; d < o->rank; d++) e = ty_dim_subst(g, e, ty_dim_index(g, d), ty_dim_index(g, TY_MAX_RANK + d));
    for (int d = 0; d < o->rank; d++) e = ty_dim_subst(g, e, ty_dim_index(g, TY_MAX_RANK + d), at[d]);
    x_at[i] = e;
  }
}

ty_value *ty_c_index(ty_graph *g, ty_value *x, ty_value *const *indices) {
  if (!x) return NULL;
  for (int i = 0; i < x->rank; i++)
    if (!indices[i]) return NULL;
  return make(g, TY_OP_index, 2, (ty_arg[]){ty_arg_value(x), values(x->rank, indices)});
}

ty_value *ty_c_reduce(ty_graph *g, const char *kind, ty_value *x, int ndims, const int *dims, bool keepdim) {
  if (!x) return NULL;
  ty_dim d[TY_MAX_RANK];
  if (ndims < 0 || ndims > TY_MAX_RANK) return ty_fail(g->ctx, TY_INTERNAL, "reduce over %d dims", ndims), NULL;
  for (int i = 0; i < ndims; i++) d[i] = ty_dim_const(g, dims[i]);
  return make(g, TY_OP_reduce, 4, (ty_arg[]){ty_arg_value(x), ty_arg_str(kind), ints(ndims, d), ty_arg_bool(keepdim)});
}

ty_value *ty_c_cat(ty_graph *g, int n, ty_value *const *xs, int dim) {
  for (int i = 0; i < n; i++)
    if (!xs[i]) return NULL;
  if (n == 1) return xs[0];
  return make(g, TY_OP_cat, 2, (ty_arg[]){values(n, xs), ty_arg_int(ty_dim_const(g, dim))});
}

ty_arg ty_c_format_of(ty_dtype d) { return d == TY_bf16 ? ty_arg_str(ty_formats[TY_FORMAT_bf16].name) : (ty_arg){0}; }

ty_value *ty_c_matmul(ty_graph *g, ty_value *a, ty_value *b, ty_arg format) {
  if (!a || !b) return NULL;
  return make(g, TY_OP_matmul, 3, (ty_arg[]){ty_arg_value(a), ty_arg_value(b), format});
}

ty_value *ty_c_linear(ty_graph *g, ty_value *x, ty_value *w, ty_value *bias) {
  if (!x || !w) return NULL;
  return make(g, TY_OP_linear, 3, (ty_arg[]){ty_arg_value(x), ty_arg_value(w), ty_arg_value(bias)});
}

ty_value *ty_c_linear_bytes(ty_graph *g, ty_value *x, ty_value *w) {
  if (!x || !w || x->dtype == TY_u8) return ty_c_linear(g, x, w, NULL);
  ty_value *by = ty_c_full_int(g, TY_i32, 0, NULL, 128), *up = ty_c_cast(g, ty_c_prim(g, TY_P_add, ty_c_cast(g, x, TY_i32), by, NULL), TY_u8);
  ty_value *more = ty_c_prim(g, TY_P_mul, by, ty_c_reduce(g, "sum", ty_c_cast(g, w, TY_i32), 1, (int[]){1}, false), NULL);
  return ty_c_prim(g, TY_P_sub, ty_c_linear(g, up, w, NULL), more, NULL);
}

ty_value *ty_c_conv(ty_graph *g, ty_value *x, ty_value *w, const ty_conv_args *c) {
  if (!x || !w) return NULL;
  ty_dim d[4][3];
  int n = x->rank - 2;
  if (n < 1 || n > 3) return ty_fail(g->ctx, TY_INTERNAL, "convolution of rank %d", x->rank), NULL;
  for (int i = 0; i < n; i++)
    d[0][i] = ty_dim_const(g, c->stride[i]), d[1][i] = ty_dim_const(g, c->pad[i]), d[2][i] = ty_dim_const(g, c->dil[i]), d[3][i] = c->out[i];
  return make(g, TY_OP_conv, 7, (ty_arg[]){ty_arg_value(x), ty_arg_value(w), ints(n, d[0]), ints(n, d[1]), ints(n, d[2]), ty_arg_int(ty_dim_const(g, c->groups)), ints(n, d[3])});
}

ty_value *ty_c_attention(ty_graph *g, ty_value *q, ty_value *k, ty_value *v, ty_value *mask, ty_value *bias, bool causal, double scale, bool empty_nan,
                         ty_arg format) {
  if (!q || !k || !v) return NULL;
  return make(g, TY_OP_attention, 9, (ty_arg[]){ty_arg_value(q), ty_arg_value(k), ty_arg_value(v), ty_arg_value(mask), ty_arg_value(bias), ty_arg_bool(causal), ty_arg_float(scale),
    ty_arg_bool(empty_nan), format});
}
