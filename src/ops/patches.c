/* patches.c: im2col and col2im, channel shuffles, as_strided and one_hot: views by dims taken apart and put together. */
#include "ops/window.h"

/* ---- im2col(self, kernel, dilation, padding, stride): [N, C, H, W] to [N, C * taps, places]; also without N ---- */
static ty_status patches_of(ty_graph *g, const ty_node *n, ty_win w[2]) {
  ty_value *x = ty_o_val(n, 0);
  int64_t k[2], d[2], p[2], s[2];
  TY_TRY(ty_o_need_float(g, x));
  if (x->rank != 3 && x->rank != 4) return ty_fail(g->ctx, TY_INVALID, "im2col: rank %d", x->rank);
  TY_TRY(ty_win_ints(g, n, 1, 2, NULL, k));
  TY_TRY(ty_win_ints(g, n, 2, 2, NULL, d));
  TY_TRY(ty_win_ints(g, n, 3, 2, NULL, p));
  TY_TRY(ty_win_ints(g, n, 4, 2, NULL, s));
  for (int i = 0; i < 2; i++) {
    ty_dim in = x->shape[x->rank - 2 + i];
    if (k[i] < 1 || d[i] < 1 || s[i] < 1 || p[i] < 0) return ty_fail(g->ctx, TY_INVALID, "im2col: kernel, dilation and stride must be positive");
    if (ty_dim_get(g, in)->hi < 1) return ty_fail(g->ctx, TY_UNSUPPORTED, "im2col of an empty image");
    ty_dim room = ty_dim_sub(g, ty_dim_add(g, in, ty_dim_const(g, 2 * p[i])), ty_dim_const(g, d[i] * (k[i] - 1) + 1));
    if (ty_dim_get(g, room)->hi < 0) return ty_fail(g->ctx, TY_INVALID, "im2col: the window is larger than the image");
    TY_TRY(ty_graph_need(g, n, TY_NEED_LE, ty_dim_const(g, 0), room));
    ty_dim out = ty_dim_add(g, ty_dim_div(g, room, ty_dim_const(g, s[i])), ty_dim_const(g, 1));
    w[i] = (ty_win){.dim = x->rank - 2 + i, .in = in, .out = out, .k = k[i], .s = s[i], .p = p[i], .d = d[i]};
  }
  return TY_OK;
}
ty_status ty_im2col_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_win w[2];
  ty_dim s[3];
  int r = 0;
  TY_TRY(patches_of(g, n, w));
  if (x->rank == 4) s[r++] = x->shape[0];
  s[r++] = ty_dim_mul(g, x->shape[x->rank - 3], ty_dim_const(g, w[0].k * w[1].k));
  s[r++] = ty_dim_mul(g, w[0].out, w[1].out);
  return ty_o_out(g, n, x->dtype, r, s);
}
ty_status ty_im2col_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  static const int perm4[6] = {2, 3, 0, 1, 4, 5}, perm3[5] = {2, 0, 1, 3, 4};
  ty_value *x = ty_o_val(n, 0);
  ty_win w[2];
  TY_TRY(patches_of(g, n, w));
  ty_dim front[2] = {ty_dim_const(g, w[0].k), ty_dim_const(g, w[1].k)}, tap[2] = {ty_dim_index(g, 0), ty_dim_index(g, 1)};
  ty_value *v = ty_win_view(g, ty_c_cast(g, x, ty_o_compute(x->dtype)), 2, w, tap, 2, front, true);
  v = v ? ty_c_permute(g, v, x->rank == 4 ? perm4 : perm3) : NULL;
  v = ty_o_reshape_like(g, v, n->outs[0]);
  return ty_o_done(g, rep, v ? ty_c_cast(g, v, n->outs[0]->dtype) : NULL);
}

/* ---- channel_shuffle(self, groups): dim 1 as [groups, rest], the two swapped ---- */
ty_status ty_channel_shuffle_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int64_t groups, channels;
  TY_TRY(ty_o_int(g, n, 1, &groups));
  if (x->rank < 3 || x->rank == TY_MAX_RANK) return ty_fail(g->ctx, TY_INVALID, "channel_shuffle: rank %d", x->rank);
  if (!ty_dim_is_const(g, x->shape[1], &channels)) return ty_fail(g->ctx, TY_UNSUPPORTED, "symbolic number of channels");
  if (groups < 1 || channels % groups) return ty_fail(g->ctx, TY_INVALID, "channels must be divisible by groups");
  return ty_o_out_like(g, n, x);
}
ty_status ty_channel_shuffle_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[TY_MAX_RANK + 1], groups = n->args[1].i;
  int r = 0;
  for (int i = 0; i < x->rank; i++) {
    if (i == 1) s[r++] = groups;
    s[r++] = i == 1 ? ty_dim_div(g, x->shape[1], groups) : x->shape[i];
  }
  return ty_o_done(g, rep, ty_o_reshape_like(g, ty_o_swap(g, ty_c_reshape(g, x, r, s), 1, 2), n->outs[0]));
}

/* ---- col2im(self, output_size, kernel, dilation, padding, stride): [N, C * taps, places] to [N, C, H, W]; also without N ----
 * Each element gathers the windows that reach it, tap by tap. */
typedef struct fold { ty_win w[2]; ty_dim channels; } fold;
static ty_status fold_of(ty_graph *g, const ty_node *n, fold *f) {
  ty_value *x = ty_o_val(n, 0);
  int64_t k[2], d[2], p[2], s[2], channels, out;
  int cnt;
  const ty_dim *size = ty_o_ints(n, 1, &cnt);
  TY_TRY(ty_o_need_float(g, x));
  if (x->rank != 2 && x->rank != 3) return ty_fail(g->ctx, TY_INVALID, "col2im: rank %d", x->rank);
  TY_TRY(ty_win_ints(g, n, 2, 2, NULL, k));
  TY_TRY(ty_win_ints(g, n, 3, 2, NULL, d));
  TY_TRY(ty_win_ints(g, n, 4, 2, NULL, p));
  TY_TRY(ty_win_ints(g, n, 5, 2, NULL, s));
  if (!ty_dim_is_const(g, x->shape[x->rank - 2], &channels)) return ty_fail(g->ctx, TY_UNSUPPORTED, "col2im of a symbolic number of channels");
  ty_dim places = ty_dim_const(g, 1);
  for (int i = 0; i < 2; i++) {
    if (k[i] < 1 || d[i] < 1 || s[i] < 1 || p[i] < 0) return ty_fail(g->ctx, TY_INVALID, "col2im: kernel, dilation and stride must be positive");
    if (!ty_dim_is_const(g, size[cnt == 1 ? 0 : i], &out)) return ty_fail(g->ctx, TY_UNSUPPORTED, "col2im to a symbolic size");
    int64_t room = out + 2 * p[i] - (d[i] * (k[i] - 1) + 1);
    if (out < 1 || out > 1 << 20 || room < 0) return ty_fail(g->ctx, TY_INVALID, "col2im: the window is larger than the image");
    f->w[i] = (ty_win){.in = ty_dim_const(g, out), .out = ty_dim_const(g, room / s[i] + 1), .k = k[i], .s = s[i], .p = p[i], .d = d[i]};
    places = ty_dim_mul(g, places, f->w[i].out);
  }
  if (channels % (k[0] * k[1])) return ty_fail(g->ctx, TY_INVALID, "col2im: channels do not divide by the window");
  f->channels = ty_dim_const(g, channels / (k[0] * k[1]));
  return ty_o_same(g, x->shape[x->rank - 1], places, "col2im: number of places");
}
ty_status ty_col2im_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  fold f;
  int r = 0;
  TY_TRY(fold_of(g, n, &f));
  ty_dim s[4] = {x->shape[0]};
  r += x->rank == 3;
  s[r++] = f.channels, s[r++] = f.w[0].in, s[r++] = f.w[1].in;
  return ty_o_out(g, n, x->dtype, r, s);
}
ty_status ty_col2im_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *o = n->outs[0], *ok = NULL;
  fold f;
  TY_TRY(fold_of(g, n, &f));
  ty_dim batch = x->rank == 3 ? x->shape[0] : ty_dim_const(g, 1), zero = ty_dim_const(g, 0);
  ty_dim taps[2] = {ty_dim_const(g, f.w[0].k), ty_dim_const(g, f.w[1].k)};
  ty_dim from[6] = {batch, f.channels, taps[0], taps[1], f.w[0].out, f.w[1].out}, to[6] = {taps[0], taps[1], batch, f.channels, f.w[0].in, f.w[1].in};
  ty_dim map[6] = {ty_dim_index(g, 2), ty_dim_index(g, 3), ty_dim_index(g, 0), ty_dim_index(g, 1)};
  for (int i = 0; i < 2; i++) {
    const ty_win *w = &f.w[i];
    ty_dim at = ty_dim_sub(g, ty_dim_add(g, ty_dim_index(g, 4 + i), ty_dim_const(g, w->p)), ty_dim_mul(g, ty_dim_index(g, i), ty_dim_const(g, w->d)));
    map[4 + i] = ty_dim_min(g, ty_dim_max(g, ty_dim_div(g, at, ty_dim_const(g, w->s)), zero), ty_dim_sub(g, w->out, ty_dim_const(g, 1)));
    ty_value *v = ty_o2(g, TY_P_sub, ty_win_affine(g, ty_win_along(g, 6, 4 + i, w->in), ty_dim_const(g, 1), w->p, -1),
                        ty_win_affine(g, ty_win_along(g, 6, i, taps[i]), ty_dim_const(g, w->d), 0, -1));
    ty_value *in = ty_o2(g, TY_P_and, ty_o2(g, TY_P_ge, v, ty_o_num(g, TY_i64, 0)), ty_o2(g, TY_P_lt, v, ty_o_dimval(g, ty_dim_mul(g, w->out, ty_dim_const(g, w->s)), TY_i64)));
    if (w->s > 1) in = ty_o2(g, TY_P_and, in, ty_o2(g, TY_P_eq, ty_o2(g, TY_P_rem, v, ty_o_num(g, TY_i64, (double)w->s)), ty_o_num(g, TY_i64, 0)));
    ok = ok ? ty_o2(g, TY_P_and, ok, in) : in;
  }
  static const int front[2] = {0, 1};
  x = ty_c_cast(g, x, ty_o_compute(x->dtype));
  ty_value *v = ty_c_remap(g, ty_c_reshape(g, x, 6, from), 6, to, map);
  v = v ? ty_o_reduce(g, "sum", ty_o_sel(g, ok, v, ty_o_num(g, v->dtype, 0)), 2, front, false) : NULL;
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_reshape_like(g, v, o), o));
}

/* ---- as_strided(self, size, stride, storage_offset): the importers see to it that self lies contiguous, from the start of its memory ---- */
ty_status ty_as_strided_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int rank, strides;
  const ty_dim *size = ty_o_ints(n, 1, &rank), *stride = ty_o_ints(n, 2, &strides);
  ty_dim one = ty_dim_const(g, 1), last = ty_o_none(n, 3) ? ty_dim_const(g, 0) : n->args[3].i;
  if (x->strides) return ty_fail(g->ctx, TY_UNSUPPORTED, "as_strided of what is not contiguous");
  if (rank != strides || rank > TY_MAX_RANK) return ty_fail(g->ctx, TY_INVALID, "as_strided: %d sizes and %d strides", rank, strides);
  if (ty_dim_get(g, last)->lo < 0) return ty_fail(g->ctx, TY_UNSUPPORTED, "as_strided: the offset may be negative");
  bool empty = false;
  for (int i = 0; i < rank; i++) {
    if (ty_dim_get(g, stride[i])->lo < 0) return ty_fail(g->ctx, TY_UNSUPPORTED, "as_strided: a stride may be negative");
    empty |= ty_dim_is(g, size[i], 0);
    last = ty_dim_add(g, last, ty_dim_mul(g, ty_dim_sub(g, size[i], one), stride[i]));
  }
  if (!empty && !ty_o_le(g, ty_dim_add(g, last, one), ty_o_numel(g, x))) return ty_fail(g->ctx, TY_UNSUPPORTED, "as_strided: not known to stay inside its argument");
  return ty_o_out(g, n, x->dtype, rank, size);
}
ty_status ty_as_strided_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *o = n->outs[0];
  const ty_dim *stride = n->args[2].ints;
  ty_dim at = ty_o_none(n, 3) ? ty_dim_const(g, 0) : n->args[3].i, flat = ty_o_numel(g, x);
  if (ty_dim_get(g, ty_o_numel(g, o))->hi == 0) return ty_o_done(g, rep, ty_c_full(g, o->dtype, o->rank, o->shape, 0));
  for (int i = 0; i < o->rank; i++) at = ty_dim_add(g, at, ty_dim_mul(g, ty_dim_index(g, i), stride[i]));
  return ty_o_done(g, rep, ty_c_remap(g, ty_c_reshape(g, x, 1, &flat), o->rank, o->shape, &at));
}

/* ---- one_hot(self, num_classes) ---- */
ty_status ty_one_hot_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[TY_MAX_RANK + 1];
  int64_t classes;
  if (x->dtype != TY_i64) return ty_fail(g->ctx, TY_INVALID, "one_hot is only applicable to index tensors of type LongTensor");
  TY_TRY(ty_o_int(g, n, 1, &classes));
  if (classes < 1) return ty_fail(g->ctx, TY_UNSUPPORTED, "one_hot: the number of classes depends on data");
  for (int i = 0; i < x->rank; i++) s[i] = x->shape[i];
  s[x->rank] = n->args[1].i;
  return ty_o_out(g, n, TY_i64, x->rank + 1, s);
}
ty_status ty_one_hot_lower(ty_graph *g, ty_node *n, ty_value **rep) { /* a class that there is not raises: it is looked up */
  ty_value *x = ty_o_val(n, 0), *o = n->outs[0], *table = ty_c_iota(g, 1, &n->args[1].i, 0);
  ty_value *class = table ? ty_c_index(g, table, &x) : NULL;
  class = class ? ty_o_unsqueeze(g, class, x->rank) : NULL;
  ty_value *eq = ty_o2(g, TY_P_eq, class, ty_win_along(g, o->rank, x->rank, o->shape[x->rank]));
  return ty_o_done(g, rep, eq ? ty_o_fit(g, ty_c_cast(g, eq, TY_i64), o) : NULL);
}
