/* conv.c: convolutions that are a linear layer over patches (stride equal to the kernel) or over points (1x1); others decline. */
#include "ops/family.h"

/* conv1d/2d/3d(input, weight, bias, stride, padding, dilation, groups), param: spatial dims; the .padding overloads have a string;
 * convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups), param 0. */
typedef struct conv { ty_value *x, *w, *b; int n; bool batched; int64_t kernel[3], stride[3]; ty_dim out[3]; } conv;

static ty_status ints_at(ty_graph *g, const ty_node *n, int i, int count, int64_t dflt, int64_t *out) {
  int cnt;
  const ty_dim *s = ty_o_ints(n, i, &cnt);
  for (int k = 0; k < count; k++) {
    out[k] = dflt;
    if (cnt && !ty_dim_is_const(g, s[cnt == 1 ? 0 : k < cnt ? k : cnt - 1], &out[k])) return ty_fail(g->ctx, TY_UNSUPPORTED, "symbolic stride, padding or dilation");
  }
  return TY_OK;
}
static ty_status conv_of(ty_graph *g, const ty_node *n, conv *c) {
  int param = ty_o_param(n);
  int64_t pad[3] = { 0 }, dil[3], groups;
  bool points = true, patches = true;
  c->x = ty_o_val(n, 0), c->w = ty_o_val(n, 1), c->b = ty_o_val(n, 2);
  c->n = param ? param : c->w->rank - 2;
  if (c->n < 1 || c->n > 3 || c->w->rank != c->n + 2 || (c->x->rank != c->n + 2 && c->x->rank != c->n + 1)) return ty_fail(g->ctx, TY_INVALID, "convolution: ranks %d and %d", c->x->rank, c->w->rank);
  c->batched = c->x->rank == c->n + 2;
  TY_TRY(ty_o_need_float(g, c->x));
  if (c->w->dtype != c->x->dtype || (c->b && c->b->dtype != c->x->dtype)) return ty_fail(g->ctx, TY_INVALID, "convolution: input, weight and bias must have one dtype");
  if (!param && ty_o_bool(n, 6)) return ty_fail(g->ctx, TY_UNSUPPORTED, "transposed convolution");
  TY_TRY(ty_o_int(g, n, param ? 6 : 8, &groups));
  TY_TRY(ints_at(g, n, 3, c->n, 1, c->stride));
  TY_TRY(ints_at(g, n, 5, c->n, 1, dil));
  const char *mode = ty_o_str(n, 4);
  if (!mode) TY_TRY(ints_at(g, n, 4, c->n, 0, pad));
  if (groups != 1) return ty_fail(g->ctx, TY_UNSUPPORTED, "convolution with %lld groups", (long long)groups);
  TY_TRY(ty_o_same(g, c->x->shape[c->batched], c->w->shape[1], "channels of a convolution"));
  for (int i = 0; i < c->n; i++) {
    ty_dim in = c->x->shape[c->batched + 1 + i];
    if (!ty_dim_is_const(g, c->w->shape[2 + i], &c->kernel[i])) return ty_fail(g->ctx, TY_UNSUPPORTED, "symbolic kernel size");
    int64_t k = c->kernel[i], s = c->stride[i];
    if (s < 1 || k < 1) return ty_fail(g->ctx, TY_INVALID, "stride and kernel size must be positive");
    points &= k == 1;
    patches &= k == s;
    if (pad[i] || (mode && mode[0] == 's' && k != 1)) return ty_fail(g->ctx, TY_UNSUPPORTED, "convolution with padding");
    if (dil[i] != 1 && k != 1) return ty_fail(g->ctx, TY_UNSUPPORTED, "convolution with dilation");
    ty_dim room = ty_dim_sub(g, in, ty_dim_const(g, k));
    if (ty_dim_get(g, room)->hi < 0) return ty_fail(g->ctx, TY_INVALID, "kernel size can't be greater than the input size");
    c->out[i] = k == s ? ty_dim_div(g, in, ty_dim_const(g, k)) : ty_dim_add(g, ty_dim_div(g, room, ty_dim_const(g, s)), ty_dim_const(g, 1));
  }
  if (!points && !patches) return ty_fail(g->ctx, TY_UNSUPPORTED, "convolution whose stride differs from its kernel size");
  if (c->b && (c->b->rank != 1 || !ty_dim_known_eq(g, c->b->shape[0], c->w->shape[0]))) return ty_fail(g->ctx, TY_INVALID, "convolution: bias");
  return TY_OK;
}
ty_status ty_conv_infer(ty_graph *g, ty_node *n) {
  conv c;
  ty_dim s[5];
  int r = 0;
  TY_TRY(conv_of(g, n, &c));
  if (c.batched) s[r++] = c.x->shape[0];
  s[r++] = c.w->shape[0];
  for (int i = 0; i < c.n; i++) s[r++] = c.out[i];
  return ty_o_out(g, n, c.x->dtype, r, s);
}
/* [N, C, (out, k)..] -> [N, out.., C, k..] -> [N, out.., C * k..] times weight [O, C * k..] -> [N, out.., O] -> [N, O, out..] */
ty_status ty_conv_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  conv c;
  TY_TRY(conv_of(g, n, &c));
  ty_dtype dt = ty_o_compute(c.x->dtype);
  ty_value *x = ty_c_cast(g, c.x, dt);
  ty_dim s[8], flat = c.w->shape[1], zero = ty_dim_const(g, 0);
  int perm[8], r = 0;
  bool points = true;
  if (!c.batched) x = ty_o_unsqueeze(g, x, 0);
  for (int i = 0; i < c.n && x; i++) { /* what the windows leave over at the end, or between points */
    bool point = c.kernel[i] == 1;
    ty_dim want = point ? c.out[i] : ty_dim_mul(g, c.out[i], ty_dim_const(g, c.kernel[i]));
    points &= point;
    flat = ty_dim_mul(g, flat, c.w->shape[2 + i]);
    if (want != x->shape[2 + i] || (point && c.stride[i] != 1)) x = ty_c_slice(g, x, 2 + i, zero, point ? c.stride[i] : 1, want);
  }
  if (!x) return ty_o_done(g, rep, NULL);
  if (!points) {
    s[r++] = x->shape[0], s[r++] = x->shape[1];
    for (int i = 0; i < c.n; i++) s[r++] = c.out[i], s[r++] = c.w->shape[2 + i];
    x = ty_c_reshape(g, x, r, s);
    r = 0, perm[r++] = 0;
    for (int i = 0; i < c.n; i++) perm[r++] = 2 + 2 * i;
    perm[r++] = 1;
    for (int i = 0; i < c.n; i++) perm[r++] = 3 + 2 * i;
  } else {
    perm[r++] = 0;
    for (int i = 0; i < c.n; i++) perm[r++] = 2 + i;
    perm[r++] = 1;
  }
  x = x ? ty_c_permute(g, x, perm) : NULL;
  if (!x) return ty_o_done(g, rep, NULL);
  s[0] = x->shape[0];
  for (int i = 0; i < c.n; i++) s[1 + i] = c.out[i];
  s[1 + c.n] = flat;
  x = ty_c_reshape(g, x, c.n + 2, s);
  ty_dim ws[2] = { c.w->shape[0], flat };
  ty_value *w = ty_c_cast(g, c.w, dt), *b = c.b ? ty_c_cast(g, c.b, dt) : NULL;
  w = w ? ty_c_reshape(g, w, 2, ws) : NULL;
  ty_value *y = x && w ? ty_c_linear(g, x, w, b) : NULL;
  r = 0, perm[r++] = 0, perm[r++] = c.n + 1;
  for (int i = 0; i < c.n; i++) perm[r++] = 1 + i;
  y = y ? ty_c_permute(g, y, perm) : NULL;
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_reshape_like(g, y, n->outs[0]), n->outs[0]));
}
