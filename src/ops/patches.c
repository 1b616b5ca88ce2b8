/* patches.c: im2col, and channel shuffles: views by dims taken apart and put together. */
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
