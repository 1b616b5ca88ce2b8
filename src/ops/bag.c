/* bag.c: embedding bags: rows of a table summed, averaged or their maxima, bag by bag; and what eager keeps of them for gradients. */
#include "ops/window.h"

/* embedding_bag(weight, indices, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset, padding_idx) -> (bags,
 * bag of each index, size of each bag, index of each maximum). param: 1: padding_idx is there, 2: it may be None */
typedef struct bag { ty_value *w, *i, *starts, *weights; int64_t mode, pad; ty_dim bags, count; } bag;
enum { SUM, MEAN, MAX };

static ty_status bag_of(ty_graph *g, const ty_node *n, bag *b) {
  *b = (bag){.w = ty_o_val(n, 0), .i = ty_o_val(n, 1), .starts = ty_o_val(n, 2), .weights = ty_o_val(n, 6), .pad = -1};
  int64_t rows;
  TY_TRY(ty_o_int(g, n, 4, &b->mode));
  if (ty_o_param(n) && !ty_o_none(n, 8)) TY_TRY(ty_o_int(g, n, 8, &b->pad));
  if (ty_o_param(n) == 2 && b->pad < 0 && !ty_o_none(n, 8)) { /* here it counts from the end; there -1 is none */
    if (!ty_dim_is_const(g, b->w->shape[0], &rows)) return ty_fail(g->ctx, TY_UNSUPPORTED, "padding_idx from the end of a table of symbolic size");
    b->pad += rows;
  }
  if (b->w->dtype != TY_f32 && b->w->dtype != TY_f64) return ty_fail(g->ctx, TY_UNSUPPORTED, "embedding_bag of %s", ty_dtypes[b->w->dtype].torch);
  if (b->w->rank != 2 || b->i->rank != 1 || b->starts->rank != 1) return ty_fail(g->ctx, TY_INVALID, "embedding_bag: indices and offsets must be vectors");
  for (int k = 0; k < 2; k++) {
    ty_dtype t = (k ? b->starts : b->i)->dtype;
    if (t != TY_i64 && t != TY_i32) return ty_fail(g->ctx, TY_INVALID, "embedding_bag: indices must be int32 or int64");
  }
  if (b->mode < SUM || b->mode > MAX || (b->weights && b->mode != SUM)) return ty_fail(g->ctx, TY_INVALID, "embedding_bag: mode %d", (int)b->mode);
  if (b->weights) {
    if (b->weights->rank != 1 || b->weights->dtype != b->w->dtype) return ty_fail(g->ctx, TY_INVALID, "embedding_bag: per_sample_weights");
    TY_TRY(ty_o_same(g, b->weights->shape[0], b->i->shape[0], "per_sample_weights"));
  }
  b->count = b->i->shape[0];
  b->bags = ty_o_bool(n, 7) ? ty_dim_sub(g, b->starts->shape[0], ty_dim_const(g, 1)) : b->starts->shape[0];
  return TY_OK;
}
ty_status ty_embedding_bag_infer(ty_graph *g, ty_node *n) {
  bag b;
  TY_TRY(bag_of(g, n, &b));
  ty_dim s[2] = {b.bags, b.w->shape[1]}, none = ty_dim_const(g, 0);
  TY_TRY(ty_o_out(g, n, b.w->dtype, 2, s));
  TY_TRY(ty_o_out(g, n, TY_i64, 1, b.mode == SUM && b.pad < 0 ? &none : &b.count));
  TY_TRY(ty_o_out(g, n, TY_i64, 1, &b.bags));
  return ty_o_out(g, n, TY_i64, b.mode == MAX ? 2 : 1, s);
}

static ty_value *scattered(ty_graph *g, ty_value *x, ty_value *at, ty_value *y, const char *kind) {
  ty_arg a[4] = {ty_arg_value(x), ty_arg_value(at), ty_arg_value(y), ty_arg_str(kind)};
  return x && at && y ? ty_make(g, TY_OP_scatter, 4, a) : NULL;
}
ty_status ty_embedding_bag_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  static const char *const kinds[] = {"sum", "mean", "max"};
  bag b;
  TY_TRY(bag_of(g, n, &b));
  ty_value *i = ty_c_cast(g, b.i, TY_i64), *starts = ty_c_cast(g, b.starts, TY_i64);
  if (!i || !starts) return ty_o_done(g, rep, NULL);
  ty_arg a[7] = {ty_arg_value(b.w), ty_arg_value(i), ty_arg_value(starts), ty_arg_value(b.weights), ty_arg_str(kinds[b.mode]), ty_arg_int(b.bags),
                 ty_arg_int(ty_dim_const(g, b.pad))};
  ty_value *y = ty_make(g, TY_OP_bag, 7, a);
  TY_TRY(ty_o_done(g, rep, y));
  /* The rest is dead code in inference. Bag of an index: how many start at it or before, less one. */
  ty_dim one = ty_dim_const(g, 1), grid[2] = {b.count, b.bags}, column[2] = {b.bags, one}, column_i[2] = {b.count, one};
  int last = 1;
  ty_value *at = ty_win_along(g, 2, 0, b.count), *ones = ty_c_slice(g, starts, 0, ty_dim_const(g, 0), 1, b.bags);
  ty_value *begun = ty_o2(g, TY_P_ge, at, ones);
  ty_value *of = ty_o_reduce(g, "sum", begun ? ty_c_cast(g, ty_c_expand(g, begun, 2, grid), TY_i64) : NULL, 1, &last, false);
  of = ty_o2(g, TY_P_sub, of, ty_o_num(g, TY_i64, 1));
  TY_TRY(ty_o_done(g, rep + 1, b.mode == SUM && b.pad < 0 ? ty_c_full_int(g, TY_i64, 1, n->outs[1]->shape, 0) : of));
  if (b.mode == SUM) {
    TY_TRY(ty_o_done(g, rep + 2, ty_c_full_int(g, TY_i64, 1, &b.bags, 0)));
    return ty_o_done(g, rep + 3, ty_c_full_int(g, TY_i64, 1, &b.bags, 0));
  }
  ty_value *counts = ty_o2(g, TY_P_ne, i, ty_o_num(g, TY_i64, (double)b.pad)), *c = counts ? ty_c_cast(g, counts, TY_i64) : NULL;
  ty_value *size = scattered(g, ty_c_full_int(g, TY_i64, 2, column, 0), of, ty_c_reshape(g, c, 2, column_i), "sum");
  TY_TRY(ty_o_done(g, rep + 2, ty_o_reshape_like(g, size, n->outs[2])));
  if (b.mode == MEAN) return ty_o_done(g, rep + 3, rep[2]);
  /* The first index of the bag whose row has the maximum. */
  ty_dim wide[2] = {b.count, b.w->shape[1]};
  ty_value *columns = ty_win_along(g, 2, 1, wide[1]), *ic = ty_c_reshape(g, i, 2, column_i), *oc = ty_c_reshape(g, of, 2, column_i), *idx[2] = {ic, columns}, *odx[2] = {oc, columns};
  ty_value *hit = ty_o2(g, TY_P_and, ty_o2(g, TY_P_eq, ty_c_index(g, b.w, idx), ty_c_index(g, y, odx)), ty_c_reshape(g, counts, 2, column_i));
  ty_value *where = ty_o_sel(g, hit, at, ty_o_dimval(g, b.count, TY_i64)), *start = ty_o_dimval(g, b.count, TY_i64);
  where = scattered(g, start ? ty_c_expand(g, start, 2, n->outs[3]->shape) : NULL, of, where ? ty_c_expand(g, where, 2, wide) : NULL, "min");
  ty_value *found = ty_o2(g, TY_P_lt, where, ty_o_dimval(g, b.count, TY_i64)), *safe = ty_o_sel(g, found, where, ty_o_num(g, TY_i64, 0));
  ty_value *index = safe ? ty_c_index(g, i, &safe) : NULL;
  return ty_o_done(g, rep + 3, ty_o_fit(g, ty_o_sel(g, found, index, ty_o_num(g, TY_i64, 0)), n->outs[3]));
}
