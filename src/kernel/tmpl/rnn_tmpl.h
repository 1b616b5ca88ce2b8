/* rnn_tmpl.h: one block of hidden units of a recurrent layer at one time step: its products and its gates, for all rows. */

enum { RNN_B = TY_RNN_BLOCK, RNN_HALVES = RNN_B / VF_LANES, RNN_ROWS = TIER_SHAPE == 83 ? 6 : 3 };

/* out[r][g][RNN_B] = sum over k of a[r][k] * w[k][g][RNN_B]; U sums side by side, so that few rows do not wait for themselves. */
VF_FN void rnn_dot(int R, int G, int U, int64_t k, const float *a, int64_t lda, const float *w, float *out) {
  for (int h = 0; h < RNN_HALVES; h++) {
    vf s[24];
    const float *b = w + h * VF_LANES;
    int64_t p = 0;
#pragma GCC unroll 24
    for (int i = 0; i < U * R * G; i++) s[i] = vf_zero();
    for (; p + U <= k; p += U, b += U * G * RNN_B) {
#pragma GCC unroll 4
      for (int u = 0; u < U; u++)
#pragma GCC unroll 4
        for (int g = 0; g < G; g++) {
          const vf v = vf_load(b + (u * G + g) * RNN_B);
#pragma GCC unroll 6
          for (int r = 0; r < R; r++) s[(u * R + r) * G + g] = vf_fma1(vf_load1(a + r * lda + p + u), v, s[(u * R + r) * G + g]);
        }
    }
    for (; U > 1 && p < k; p++, b += G * RNN_B)
#pragma GCC unroll 4
      for (int g = 0; g < G; g++)
#pragma GCC unroll 6
        for (int r = 0; r < R; r++) s[r * G + g] = vf_fma1(vf_load1(a + r * lda + p), vf_load(b + g * RNN_B), s[r * G + g]);
#pragma GCC unroll 24
    for (int i = 0; i < R * G; i++) {
      vf t = s[i];
#pragma GCC unroll 4
      for (int u = 1; u < U; u++) t = vf_add(t, s[u * R * G + i]);
      vf_store(out + i * RNN_B + h * VF_LANES, t);
    }
  }
}
#define RNN_DOT(R, G, U) case R: rnn_dot(R, G, U, k, a, lda, w, out); return;
static void rnn_dot1(int rows, int64_t k, const float *a, int64_t lda, const float *w, float *out) {
  switch (rows) { RNN_DOT(1, 1, 4) RNN_DOT(2, 1, 4) RNN_DOT(3, 1, 2) RNN_DOT(4, 1, 2) RNN_DOT(5, 1, 1) default: rnn_dot(6, 1, 1, k, a, lda, w, out); }
}
static void rnn_dot3(int rows, int64_t k, const float *a, int64_t lda, const float *w, float *out) {
  switch (rows) { RNN_DOT(1, 3, RNN_ROWS > 3 ? 4 : 2) RNN_DOT(2, 3, RNN_ROWS > 3 ? 2 : 1) RNN_DOT(3, 3, 1) RNN_DOT(4, 3, 1) RNN_DOT(5, 3, 1) default: rnn_dot(6, 3, 1, k, a, lda, w, out); }
}
static void rnn_dot4(int rows, int64_t k, const float *a, int64_t lda, const float *w, float *out) {
  switch (rows) { RNN_DOT(1, 4, RNN_ROWS > 3 ? 4 : 2) RNN_DOT(2, 4, RNN_ROWS > 3 ? 2 : 1) RNN_DOT(3, 4, 1) RNN_DOT(4, 4, 1) RNN_DOT(5, 4, 1) default: rnn_dot(6, 4, 1, k, a, lda, w, out); }
}
#undef RNN_DOT

VF_FN vf rnn_sigmoid(vf x) { return vf_set1(1) / vf_add(vf_set1(1), vf_exp(vf_sub(vf_zero(), x))); }
/* Cephes tanhf: a polynomial near 0, exponentials beyond. */
VF_FN vf rnn_tanh(vf x) {
  vf z = vf_mul(x, x), p = vf_fma(vf_set1(-5.70498872745e-3f), z, vf_set1(2.06390887954e-2f));
  p = vf_fma(p, z, vf_set1(-5.37397155531e-2f));
  p = vf_fma(p, z, vf_set1(1.33314422036e-1f));
  p = vf_fma(p, z, vf_set1(-3.33332819422e-1f));
  vf small = vf_fma(vf_mul(x, z), p, x), e = vf_exp(vf_add(x, x)), large = vf_sub(vf_set1(1), vf_set1(2) / vf_add(e, vf_set1(1)));
  return vf_less(z, vf_set1(0.390625f), small, large);
}

/* The gates of `n` units from VF_LANES sums each: x and bias lie h apart, sums RNN_B apart. */
VF_FN vf rnn_gate(const float *x, const float *sum, const float *bias, int64_t at, int64_t g, int n) {
  vf v = vf_load(sum + g * RNN_B);
  if (bias) v = vf_add(v, vf_loadn(bias + at, n));
  return x ? vf_add(v, vf_loadn(x + at, n)) : v;
}
static void rnn_cell(const ty_rnn *r, const float *x, const float *bias, const float *sum, const float *before, float *c, float *out, int64_t units) {
  int64_t h = r->h;
  for (int64_t i = 0; i < units; i += VF_LANES, sum += VF_LANES) {
    int n = units - i < VF_LANES ? (int)(units - i) : VF_LANES;
    if (r->kind == TY_RNN_LSTM) {
      vf in = rnn_sigmoid(rnn_gate(x, sum, bias, i, 0, n)), forget = rnn_sigmoid(rnn_gate(x, sum, bias, h + i, 1, n));
      vf cell = rnn_tanh(rnn_gate(x, sum, bias, 2 * h + i, 2, n)), gate = rnn_sigmoid(rnn_gate(x, sum, bias, 3 * h + i, 3, n));
      cell = vf_fma(forget, vf_loadn(c + i, n), vf_mul(in, cell));
      vf_storen(c + i, cell, n);
      vf_storen(out + i, vf_mul(gate, rnn_tanh(cell)), n);
    } else if (r->kind == TY_RNN_GRU) {
      vf reset = rnn_sigmoid(rnn_gate(x, sum, bias, i, 0, n)), update = rnn_sigmoid(rnn_gate(x, sum, bias, h + i, 1, n));
      vf new = rnn_tanh(vf_fma(reset, rnn_gate(NULL, sum, bias, 2 * h + i, 2, n), vf_loadn(x + 2 * h + i, n)));
      vf_storen(out + i, vf_fma(update, vf_sub(vf_loadn(before + i, n), new), new), n);
    } else {
      vf v = rnn_gate(x, sum, bias, i, 0, n);
      vf_storen(out + i, r->kind == TY_RNN_TANH ? rnn_tanh(v) : vf_max(vf_zero(), v), n); /* NaN stays: vf_max gives its second then */
    }
  }
}

static void tier_rnn_block(const ty_rnn *r, int64_t d, int64_t block, int64_t t, const float *before, int64_t before_b) {
  int64_t u = block * RNN_B, units = r->h - u < RNN_B ? r->h - u : RNN_B, gates = ty_rnn_gates(r->kind), blocks = (r->h + RNN_B - 1) / RNN_B;
  const float *w = r->whh + (d * blocks + block) * r->p * gates * RNN_B;
  float sum[6 * 4 * RNN_B] __attribute__((aligned(64)));
  for (int64_t b = 0; b < r->b; b += RNN_ROWS) {
    int rows = r->b - b < RNN_ROWS ? (int)(r->b - b) : RNN_ROWS;
    const float *a = before + b * before_b;
    if (gates == 4) rnn_dot4(rows, r->p, a, before_b, w, sum);
    else if (gates == 3) rnn_dot3(rows, r->p, a, before_b, w, sum);
    else rnn_dot1(rows, r->p, a, before_b, w, sum);
    for (int i = 0; i < rows; i++) {
      const float *x = r->x + t * r->x_t + (b + i) * r->x_b + d * gates * r->h + u;
      float *out = r->whr ? r->m + (d * r->b + b + i) * r->h + u : r->y + t * r->y_t + (b + i) * r->y_b + d * r->p + u;
      rnn_cell(r, x, r->bhh ? r->bhh + d * gates * r->h + u : NULL, sum + i * gates * RNN_B, a + i * before_b + u,
               r->c ? r->c + (d * r->b + b + i) * r->h + u : NULL, out, units);
    }
  }
}

static void tier_rnn_project(const ty_rnn *r, int64_t d, int64_t block, int64_t t) {
  int64_t u = block * RNN_B, units = r->p - u < RNN_B ? r->p - u : RNN_B, blocks = (r->p + RNN_B - 1) / RNN_B;
  float sum[6 * RNN_B] __attribute__((aligned(64)));
  for (int64_t b = 0; b < r->b; b += 6) {
    int rows = r->b - b < 6 ? (int)(r->b - b) : 6;
    rnn_dot1(rows, r->h, r->m + (d * r->b + b) * r->h, r->h, r->whr + (d * blocks + block) * r->h * RNN_B, sum);
    for (int i = 0; i < rows; i++) memcpy(r->y + t * r->y_t + (b + i) * r->y_b + d * r->p + u, sum + i * RNN_B, (size_t)units * sizeof(float));
  }
}
