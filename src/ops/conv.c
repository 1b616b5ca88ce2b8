/* conv.c: convolutions: channels are put last around ty.conv; a transposed convolution is one convolution a phase of its stride,
 * whose results interleave. */
#include "ops/family.h"

/* conv1d/2d/3d(input, weight, bias, stride, padding, dilation, groups), param: spatial dims; the .padding overloads have a string;
 * conv_transpose1d/2d/3d(input, weight, bias, stride, padding, output_padding, groups, dilation), param: dims + TRANSPOSED;
 * convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups), param 0. */
enum { TRANSPOSED = 8, PHASES_MAX = 64, FAR = 1 << 20 };
typedef struct conv {
  ty_value *x, *w, *b;
  int n;
  bool batched, transposed;
  int64_t groups, kernel[3], stride[3], pad[3], dil[3];
  ty_dim out[3];
} conv;

static ty_status ints_at(ty_graph *g, const ty_node *n, int i, int count, int64_t dflt, int64_t *out) {
  int cnt;
  const ty_dim *s = ty_o_ints(n, i, &cnt);
  for (int k = 0; k < count; k++) {
    out[k] = dflt;
    if (cnt && !ty_dim_is_const(g, s[cnt == 1 ? 0 : k < cnt ? k : cnt - 1], &out[k])) return ty_fail(g->ctx, TY_UNSUPPORTED, "symbolic stride, padding or dilation");
  }
  return TY_OK;
}

static ty_dim more(ty_graph *g, ty_dim d, int64_t by) { return ty_dim_add(g, d, ty_dim_const(g, by)); }

/* Sizes of the result; with padding="same", the padding. */
static ty_status out_sizes(ty_graph *g, const ty_node *n, conv *c, bool same, const int64_t *out_pad) {
  for (int i = 0; i < c->n; i++) {
    ty_dim in = c->x->shape[c->batched + 1 + i];
    int64_t k = c->kernel[i], s = c->stride[i], total, window;
    if (s < 1 || k < 1 || c->dil[i] < 1 || c->pad[i] < 0) return ty_fail(g->ctx, TY_INVALID, "convolution: stride, dilation and kernel size must be positive");
    if (s > FAR || c->dil[i] > FAR || c->pad[i] > FAR || k > FAR) return ty_fail(g->ctx, TY_UNSUPPORTED, "convolution: a window this large");
    total = 2 * c->pad[i], window = c->dil[i] * (k - 1) + 1;
    if (c->transposed) {
      if (out_pad[i] < 0 || (out_pad[i] >= s && out_pad[i] >= c->dil[i])) return ty_fail(g->ctx, TY_INVALID, "output padding must be smaller than stride or dilation");
      if (c->pad[i] >= window) return ty_fail(g->ctx, TY_UNSUPPORTED, "transposed convolution with more padding than kernel");
      c->out[i] = more(g, ty_dim_mul(g, more(g, in, -1), ty_dim_const(g, s)), window + out_pad[i] - total);
      if (ty_dim_get(g, c->out[i])->hi < 1) return ty_fail(g->ctx, TY_INVALID, "calculated output size is too small");
      TY_TRY(ty_graph_need(g, n, TY_NEED_LE, ty_dim_const(g, 1), c->out[i]));
      continue;
    }
    if (same) {
      if (s != 1) return ty_fail(g->ctx, TY_INVALID, "padding='same' is not supported for strided convolutions");
      total = window - 1, c->pad[i] = total / 2;
    }
    ty_dim room = more(g, in, total - window);
    if (ty_dim_get(g, room)->hi < 0) return ty_fail(g->ctx, TY_INVALID, "kernel size can't be greater than the input size");
    TY_TRY(ty_graph_need(g, n, TY_NEED_LE, ty_dim_const(g, 0), room));
    c->out[i] = window == s && !total ? ty_dim_div(g, in, ty_dim_const(g, s)) : more(g, ty_dim_div(g, room, ty_dim_const(g, s)), 1);
  }
  return TY_OK;
}

static ty_status conv_of(ty_graph *g, const ty_node *n, conv *c) {
  int param = ty_o_param(n);
  int64_t out_pad[3] = { 0 }, in_ch, out_ch, phases = 1;
  c->x = ty_o_val(n, 0), c->w = ty_o_val(n, 1), c->b = ty_o_val(n, 2);
  c->n = param ? param & 3 : c->w->rank - 2;
  c->transposed = param ? (param & TRANSPOSED) != 0 : ty_o_bool(n, 6);
  if (c->n < 1 || c->n > 3 || c->w->rank != c->n + 2 || (c->x->rank != c->n + 2 && c->x->rank != c->n + 1)) return ty_fail(g->ctx, TY_INVALID, "convolution: ranks %d and %d", c->x->rank, c->w->rank);
  c->batched = c->x->rank == c->n + 2;
  TY_TRY(ty_o_need_float(g, c->x));
  if (c->w->dtype != c->x->dtype || (c->b && c->b->dtype != c->x->dtype)) return ty_fail(g->ctx, TY_INVALID, "convolution: input, weight and bias must have one dtype");
  TY_TRY(ty_o_int(g, n, !param ? 8 : 6, &c->groups));
  TY_TRY(ints_at(g, n, 3, c->n, 1, c->stride));
  TY_TRY(ints_at(g, n, param && c->transposed ? 7 : 5, c->n, 1, c->dil));
  if (c->transposed) TY_TRY(ints_at(g, n, param ? 5 : 7, c->n, 0, out_pad));
  const char *mode = ty_o_str(n, 4);
  for (int i = 0; i < 3; i++) c->pad[i] = 0;
  if (!mode) TY_TRY(ints_at(g, n, 4, c->n, 0, c->pad));
  for (int i = 0; i < c->n; i++)
    if (!ty_dim_is_const(g, c->w->shape[2 + i], &c->kernel[i])) return ty_fail(g->ctx, TY_UNSUPPORTED, "symbolic kernel size");
  if (!ty_dim_is_const(g, c->w->shape[0], &out_ch) || !ty_dim_is_const(g, c->w->shape[1], &in_ch)) return ty_fail(g->ctx, TY_UNSUPPORTED, "symbolic number of channels");
  if (c->groups < 1 || out_ch < 1 || in_ch < 1 || out_ch % c->groups) return ty_fail(g->ctx, TY_INVALID, "convolution: channels must be divisible by groups");
  int64_t whole;
  if (!ty_mul_i64(in_ch, c->groups, &whole)) return ty_fail(g->ctx, TY_INVALID, "convolution: too many channels");
  int64_t takes = c->transposed ? out_ch : whole, gives = c->transposed ? whole : out_ch;
  TY_TRY(ty_o_same(g, c->x->shape[c->batched], ty_dim_const(g, takes), "channels of a convolution"));
  if (c->b && (c->b->rank != 1 || !ty_dim_is(g, c->b->shape[0], gives))) return ty_fail(g->ctx, TY_INVALID, "convolution: bias");
  TY_TRY(out_sizes(g, n, c, mode && mode[0] == 's', out_pad));
  for (int i = 0; i < c->n && c->transposed; i++) phases *= c->stride[i];
  if (phases > PHASES_MAX) return ty_fail(g->ctx, TY_UNSUPPORTED, "transposed convolution with a stride this large");
  if (c->x->dtype == TY_f64) return ty_fail(g->ctx, TY_UNSUPPORTED, "convolution of dtype float64");
  return TY_OK;
}

ty_status ty_conv_infer(ty_graph *g, ty_node *n) {
  conv c;
  ty_dim s[5];
  int r = 0;
  TY_TRY(conv_of(g, n, &c));
  if (c.batched) s[r++] = c.x->shape[0];
  s[r++] = c.transposed ? ty_dim_mul(g, c.w->shape[1], ty_dim_const(g, c.groups)) : c.w->shape[0];
  for (int i = 0; i < c.n; i++) s[r++] = c.out[i];
  return ty_o_out(g, n, c.x->dtype, r, s);
}

static ty_value *biased(ty_graph *g, ty_value *y, ty_value *b) { return b && y ? ty_o2(g, TY_P_add, y, b) : y; }

/* ---- Transposed: output o gets x[i] w[k] where o = i * stride - pad + k * dil. Outputs q * stride + r, for one r, are the
 * convolution (of stride 1) of x with those k for which stride divides r + pad - k * dil, last first. ---- */
typedef struct phase { int64_t last, step, taps, pad, dil; } phase; /* along one dim: the last k, the way to the one before it */

static phase phase_of(const conv *c, int dim, int64_t r) {
  phase p = { -1, 1, 0, 0, 1 };
  int64_t s = c->stride[dim], before = -1;
  for (int64_t k = 0; k < c->kernel[dim]; k++)
    if ((r + c->pad[dim] - k * c->dil[dim]) % s == 0) before = p.last, p.last = k, p.taps++;
  if (!p.taps) return p;
  if (before >= 0) p.step = p.last - before, p.dil = p.step * c->dil[dim] / s;
  p.pad = -((r + c->pad[dim] - p.last * c->dil[dim]) / s);
  return p;
}

/* The phases of dims [dim, n), r known for those before: [N, q, 1.., q, stride.., O]. */
static ty_value *phases(ty_graph *g, const conv *c, ty_value *x, ty_value *w, ty_value *b, const ty_dim *q, int dim, int64_t *r) {
  ty_dim s[8];
  if (dim < c->n && dim < 3) {
    ty_value *part[PHASES_MAX];
    for (r[dim] = 0; r[dim] < c->stride[dim]; r[dim]++) {
      part[r[dim]] = phases(g, c, x, w, b, q, dim + 1, r);
      if (!part[r[dim]]) return NULL;
    }
    return ty_c_cat(g, (int)c->stride[dim], part, 2 + 2 * dim);
  }
  ty_conv_args a = { .groups = c->groups };
  bool empty = false;
  for (int i = 0; i < c->n; i++) {
    phase p = phase_of(c, i, r[i]);
    a.stride[i] = 1, a.pad[i] = p.pad, a.dil[i] = p.dil, a.out[i] = q[i];
    if (!p.taps) { empty = true; continue; }
    w = ty_c_slice(g, w, 2 + i, ty_dim_const(g, p.last), p.taps == 1 ? 1 : -p.step, ty_dim_const(g, p.taps));
  }
  if (!w) return NULL;
  s[0] = x->shape[0], s[1 + c->n] = w->shape[0];
  for (int i = 0; i < c->n; i++) s[1 + i] = q[i];
  ty_value *y = biased(g, empty ? ty_c_full(g, TY_f32, c->n + 2, s, 0) : ty_c_conv(g, x, w, &a), b);
  s[1 + 2 * c->n] = w->shape[0];
  for (int i = 0; i < c->n; i++) s[1 + 2 * i] = q[i], s[2 + 2 * i] = ty_dim_const(g, 1);
  return ty_c_reshape(g, y, 2 + 2 * c->n, s);
}

static ty_value *transposed(ty_graph *g, const conv *c, ty_value *x, ty_value *w, ty_value *b) {
  ty_dim s[8], q[3], per = ty_dim_div(g, w->shape[0], ty_dim_const(g, c->groups));
  int perm[6] = { 0, 2, 1, 3, 4, 5 }, swap[5] = { 1, 0, 2, 3, 4 };
  int64_t r[3];
  if (c->groups > 1) { /* [G * Cin, Cout, k..] -> [G * Cout, Cin, k..] */
    s[0] = ty_dim_const(g, c->groups), s[1] = per, s[2] = w->shape[1];
    for (int i = 0; i < c->n; i++) s[3 + i] = w->shape[2 + i];
    ty_dim to = ty_dim_mul(g, w->shape[1], s[0]);
    w = ty_c_permute(g, ty_c_reshape(g, w, 3 + c->n, s), perm);
    s[0] = to, s[1] = per;
    for (int i = 0; i < c->n; i++) s[2 + i] = s[3 + i];
    w = ty_c_reshape(g, w, 2 + c->n, s);
  } else w = ty_c_permute(g, w, swap);
  for (int i = 0; i < c->n; i++) q[i] = ty_o_ceil_div(g, c->out[i], c->stride[i]);
  ty_value *y = w ? phases(g, c, x, w, b, q, 0, r) : NULL;
  if (!y) return NULL;
  s[0] = x->shape[0], s[1 + c->n] = w->shape[0];
  for (int i = 0; i < c->n; i++) s[1 + i] = ty_dim_mul(g, q[i], ty_dim_const(g, c->stride[i]));
  y = ty_c_reshape(g, y, c->n + 2, s);
  for (int i = 0; i < c->n && y; i++) y = ty_c_slice(g, y, 1 + i, ty_dim_const(g, 0), 1, c->out[i]);
  return y;
}

ty_status ty_conv_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  conv c;
  TY_TRY(conv_of(g, n, &c));
  ty_dtype dt = ty_o_compute(c.x->dtype);
  ty_value *x = ty_c_cast(g, c.x, dt), *w = c.w->dtype == TY_bf16 && !c.transposed ? c.w : ty_c_cast(g, c.w, dt), *b = c.b ? ty_c_cast(g, c.b, dt) : NULL, *y;
  int in[5] = { 0 }, out[5] = { 0, c.n + 1 };
  for (int i = 0; i < c.n; i++) in[1 + i] = 2 + i, out[2 + i] = 1 + i;
  in[c.n + 1] = 1;
  if (!c.batched) x = ty_o_unsqueeze(g, x, 0);
  if (!x || !w || (c.b && !b)) return ty_o_done(g, rep, NULL);
  if (!(x = ty_c_permute(g, x, in))) y = NULL;
  else if (c.transposed) y = transposed(g, &c, x, w, b);
  else {
    ty_conv_args a = { .groups = c.groups };
    for (int i = 0; i < c.n; i++) a.stride[i] = c.stride[i], a.pad[i] = c.pad[i], a.dil[i] = c.dil[i], a.out[i] = c.out[i];
    y = biased(g, ty_c_conv(g, x, w, &a), b);
  }
  y = y ? ty_c_permute(g, y, out) : NULL;
  return ty_o_done(g, rep, ty_o_fit(g, ty_o_reshape_like(g, y, n->outs[0]), n->outs[0]));
}
