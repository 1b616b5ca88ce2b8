/* rnn.c: LSTM, GRU and plain recurrent networks: the input's part of the gates is one product for all time steps, the rest ty.rnn. */
#include "ops/family.h"
#include "kernel/kernel.h"

#include <string.h>

/* (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first); param: a ty_rnn_kind.
 * params: w_ih, w_hh, then b_ih and b_hh, then w_hr of a projection, for each direction of each layer. */
typedef struct rnn {
  ty_value *x, *h0, *c0, *const *params;
  ty_rnn_kind kind;
  int layers, dirs, each;
  bool biases, batch_first, project;
  ty_dim t, b, hidden, p;
} rnn;

static ty_status weight(ty_graph *g, const rnn *r, int layer, int dir, int i, int rank, ty_dim d0, ty_dim d1) {
  ty_value *w = r->params[(layer * r->dirs + dir) * r->each + i];
  if (!w || w->dtype != r->x->dtype) return ty_fail(g->ctx, TY_UNSUPPORTED, "a recurrent network that is not of one dtype throughout");
  if (w->rank != rank) return ty_fail(g->ctx, TY_INVALID, "a recurrent network's weight of rank %d", w->rank);
  TY_TRY(ty_o_same(g, w->shape[0], d0, "weights of a recurrent network"));
  return rank > 1 ? ty_o_same(g, w->shape[1], d1, "weights of a recurrent network") : TY_OK;
}
static ty_status rnn_of(ty_graph *g, const ty_node *n, rnn *r) {
  int states, count;
  int64_t layers;
  ty_value *const *hx = ty_o_vals(n, 1, &states);
  *r = (rnn){.x = ty_o_val(n, 0), .kind = (ty_rnn_kind)ty_o_param(n), .biases = ty_o_bool(n, 3), .dirs = ty_o_bool(n, 7) ? 2 : 1, .batch_first = ty_o_bool(n, 8)};
  bool lstm = r->kind == TY_RNN_LSTM;
  TY_TRY(ty_o_int(g, n, 4, &layers));
  r->params = ty_o_vals(n, 2, &count);
  if (ty_o_compute(r->x->dtype) != TY_f32) return ty_fail(g->ctx, TY_UNSUPPORTED, "a recurrent network of %s", ty_dtypes[r->x->dtype].torch);
  if (r->x->rank != 3 || states != (lstm ? 2 : 1) || !hx[0] || hx[0]->rank != 3 || layers < 1 || layers > 1000) return ty_fail(g->ctx, TY_INVALID, "a recurrent network: ranks");
  if (ty_o_bool(n, 6) && ty_o_float(g, n, 5, 0) > 0 && layers > 1) return ty_fail(g->ctx, TY_UNSUPPORTED, "dropout between recurrent layers");
  r->layers = (int)layers;
  r->each = count / (r->layers * r->dirs);
  r->project = lstm && r->each == 3 + 2 * r->biases;
  if (count != r->each * r->layers * r->dirs || r->each != 2 + 2 * r->biases + r->project) return ty_fail(g->ctx, TY_INVALID, "a recurrent network: %d weights", count);
  r->h0 = hx[0], r->c0 = lstm ? hx[1] : NULL;
  r->t = r->x->shape[r->batch_first], r->b = r->x->shape[!r->batch_first];
  r->p = r->h0->shape[2];
  r->hidden = r->project ? r->c0 && r->c0->rank == 3 ? r->c0->shape[2] : r->p : r->p;
  if (!ty_dim_is_const(g, r->p, NULL) || !ty_dim_is_const(g, r->hidden, NULL) || !ty_dim_is_const(g, r->x->shape[2], NULL))
    return ty_fail(g->ctx, TY_UNSUPPORTED, "a recurrent network of symbolic size");
  if (ty_dim_get(g, r->t)->hi < 1) return ty_fail(g->ctx, TY_INVALID, "a recurrent network over no time");
  if (ty_dim_is(g, r->hidden, 0)) return ty_fail(g->ctx, TY_UNSUPPORTED, "a recurrent network without units");
  ty_dim want[3] = {ty_dim_const(g, layers * r->dirs), r->b, r->p}, gates = ty_dim_mul(g, ty_dim_const(g, ty_rnn_gates(r->kind)), r->hidden);
  for (int s = 0; s < states; s++) {
    if (!hx[s] || hx[s]->dtype != r->x->dtype || hx[s]->rank != 3) return ty_fail(g->ctx, TY_UNSUPPORTED, "a recurrent network's state");
    for (int i = 0; i < 3; i++) TY_TRY(ty_o_same(g, hx[s]->shape[i], s && i == 2 ? r->hidden : want[i], "a recurrent network's state"));
  }
  for (int l = 0; l < r->layers; l++)
    for (int d = 0; d < r->dirs; d++) {
      ty_dim in = l ? ty_dim_mul(g, r->p, ty_dim_const(g, r->dirs)) : r->x->shape[2];
      TY_TRY(weight(g, r, l, d, 0, 2, gates, in));
      TY_TRY(weight(g, r, l, d, 1, 2, gates, r->p));
      for (int i = 2; i < 4 && r->biases; i++) TY_TRY(weight(g, r, l, d, i, 1, gates, 0));
      if (r->project) TY_TRY(weight(g, r, l, d, r->each - 1, 2, r->p, r->hidden));
    }
  return TY_OK;
}
ty_status ty_rnn_infer(ty_graph *g, ty_node *n) {
  rnn r;
  TY_TRY(rnn_of(g, n, &r));
  ty_dim s[3] = {r.x->shape[0], r.x->shape[1], ty_dim_mul(g, r.p, ty_dim_const(g, r.dirs))};
  TY_TRY(ty_o_out(g, n, r.x->dtype, 3, s));
  TY_TRY(ty_o_out_like(g, n, r.h0));
  return r.c0 ? ty_o_out_like(g, n, r.c0) : TY_OK;
}

/* One parameter of both directions, joined along dim 0; NULL where it is absent. */
static ty_value *joined(ty_graph *g, const rnn *r, int layer, int i) {
  ty_value *w[2];
  for (int d = 0; d < r->dirs; d++) w[d] = ty_c_cast(g, r->params[(layer * r->dirs + d) * r->each + i], TY_f32);
  return ty_c_cat(g, r->dirs, w, 0);
}
/* [d * gates * units, k] as ty.rnn wants it: [d, block, k, gate, TY_RNN_BLOCK]. */
static ty_value *in_blocks(ty_graph *g, const rnn *r, ty_value *w, int64_t gates, ty_dim units) {
  static const int perm[5] = {0, 2, 4, 1, 3};
  int64_t h = 0, up = TY_RNN_BLOCK;
  if (!w) return NULL;
  ty_dim k = w->shape[1], s[5] = {ty_dim_const(g, r->dirs), ty_dim_const(g, gates), units, k};
  ty_dim_is_const(g, units, &h);
  w = ty_c_reshape(g, w, 4, s);
  if (h % up && w) {
    s[2] = ty_dim_const(g, up - h % up);
    ty_value *parts[2] = {w, ty_c_full(g, TY_f32, 4, s, 0)};
    w = ty_c_cat(g, 2, parts, 2);
  }
  s[2] = ty_dim_const(g, (h + up - 1) / up), s[3] = ty_dim_const(g, up), s[4] = k;
  w = w ? ty_c_reshape(g, w, 5, s) : NULL;
  return w ? ty_c_permute(g, w, perm) : NULL;
}
/* Elements [from, from + count) of a flat value, shaped. */
static ty_value *part(ty_graph *g, ty_value *flat, ty_dim from, int rank, const ty_dim *s) {
  ty_value *v = ty_c_slice(g, flat, 0, from, 1, ty_dim_product(g, rank, s));
  return v ? ty_c_reshape(g, v, rank, s) : NULL;
}
static ty_value *states_of(ty_graph *g, const rnn *r, ty_value *all, int layer) {
  return ty_c_slice(g, ty_c_cast(g, all, TY_f32), 0, ty_dim_const(g, (int64_t)layer * r->dirs), 1, ty_dim_const(g, r->dirs));
}
/* The last outputs of each direction, [d, b, p]: the second one's are at the first time. */
static ty_value *last_of(ty_graph *g, const rnn *r, ty_value *y) {
  ty_dim one = ty_dim_const(g, 1), zero = ty_dim_const(g, 0), s[3] = {one, r->b, r->p};
  ty_value *v[2];
  for (int d = 0; d < r->dirs; d++) {
    v[d] = ty_c_slice(g, y, r->batch_first, d ? zero : ty_dim_sub(g, r->t, one), 1, one);
    v[d] = ty_c_slice(g, v[d], 2, ty_dim_mul(g, r->p, ty_dim_const(g, d)), 1, r->p);
    if (v[d]) v[d] = ty_c_reshape(g, v[d], 3, s);
  }
  return ty_c_cat(g, r->dirs, v, 0);
}

ty_status ty_rnn_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  static const char *const names[] = {[TY_RNN_TANH] = "tanh", [TY_RNN_RELU] = "relu", [TY_RNN_GRU] = "gru", [TY_RNN_LSTM] = "lstm"};
  rnn r;
  TY_TRY(rnn_of(g, n, &r));
  int64_t gates = ty_rnn_gates(r.kind);
  bool late_bias = r.kind == TY_RNN_GRU; /* its hidden bias stands inside a product */
  ty_value *x = ty_c_cast(g, r.x, TY_f32), **last = ty_arena_alloc(&g->arena, sizeof *last * (size_t)r.layers), **cell = ty_arena_alloc(&g->arena, sizeof *cell * (size_t)r.layers);
  if (!last || !cell) return ty_fail(g->ctx, TY_NOMEM, "out of memory");
  ty_dim ys[3] = {r.x->shape[0], r.x->shape[1], ty_dim_mul(g, r.p, ty_dim_const(g, r.dirs))}, cs[3] = {ty_dim_const(g, r.dirs), r.b, r.hidden};
  for (int l = 0; l < r.layers; l++) {
    ty_value *bias = r.biases ? joined(g, &r, l, 2) : NULL, *bhh = r.biases ? joined(g, &r, l, 3) : NULL;
    if (bias && !late_bias) bias = ty_o2(g, TY_P_add, bias, bhh);
    ty_value *xg = ty_c_linear(g, x, joined(g, &r, l, 0), bias);
    ty_value *whh = in_blocks(g, &r, joined(g, &r, l, 1), gates, r.hidden);
    ty_value *whr = r.project ? in_blocks(g, &r, joined(g, &r, l, r.each - 1), 1, r.p) : NULL;
    ty_value *h0 = states_of(g, &r, r.h0, l), *c0 = r.c0 ? states_of(g, &r, r.c0, l) : NULL;
    if (!xg || !whh || !h0 || (r.project && !whr) || (r.c0 && !c0)) return ty_o_done(g, rep, NULL);
    ty_value *flat = ty_make(g, TY_OP_rnn, 9, (ty_arg[]){ty_arg_value(xg), ty_arg_value(whh), ty_arg_value(late_bias ? bhh : NULL), ty_arg_value(whr), ty_arg_value(h0),
      ty_arg_value(c0), ty_arg_str(names[r.kind]), ty_arg_int(r.hidden), ty_arg_bool(r.batch_first)});
    if (!flat) return ty_o_done(g, rep, NULL);
    x = part(g, flat, ty_dim_const(g, 0), 3, ys);
    last[l] = last_of(g, &r, x);
    cell[l] = r.c0 ? part(g, flat, ty_dim_product(g, 3, ys), 3, cs) : NULL;
  }
  TY_TRY(ty_o_done(g, rep, ty_o_fit(g, x, n->outs[0])));
  TY_TRY(ty_o_done(g, rep + 1, ty_o_fit(g, ty_c_cat(g, r.layers, last, 0), n->outs[1])));
  return r.c0 ? ty_o_done(g, rep + 2, ty_o_fit(g, ty_c_cat(g, r.layers, cell, 0), n->outs[2])) : TY_OK;
}
