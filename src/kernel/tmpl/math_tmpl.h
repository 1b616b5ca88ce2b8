/* math_tmpl.h: exp, and the passes of attention's softmax over one row of scores. */

/* exp within 2 ulp: 2^n * e^r with |r| <= ln(2)/2, ln(2) in two parts (Cody and Waite), polynomial of Cephes expf.
 * Below -104 the result is 0, above 89 infinity; NaN stays NaN. */
VF_FN vf vf_exp(vf x) {
  x = vf_min(vf_set1(89.0f), vf_max(vf_set1(-104.0f), x));
  vf n = vf_round(vf_mul(x, vf_set1(1.44269504f)));
  vf r = vf_fma(n, vf_set1(-0.693359375f), x);
  r = vf_fma(n, vf_set1(2.12194440e-4f), r);
  vf p = vf_fma(vf_set1(1.9875691500e-4f), r, vf_set1(1.3981999507e-3f));
  p = vf_fma(p, r, vf_set1(8.3334519073e-3f));
  p = vf_fma(p, r, vf_set1(4.1665795894e-2f));
  p = vf_fma(p, r, vf_set1(1.6666665459e-1f));
  p = vf_fma(p, r, vf_set1(5.0000001201e-1f));
  p = vf_fma(vf_mul(r, r), p, r);
  return vf_scale2(vf_add(p, vf_set1(1.0f)), n);
}

static float exp_one(float x) {
  float y;
  vf_storen(&y, vf_exp(vf_set1(x)), 1);
  return y;
}

static void tier_exp(int64_t n, const float *x, float *y) {
  int64_t i = 0;
  for (; i + VF_LANES <= n; i += VF_LANES) vf_store(y + i, vf_exp(vf_load(x + i)));
  if (i < n) vf_storen(y + i, vf_exp(vf_loadn(x + i, (int)(n - i))), (int)(n - i));
}

static void tier_scale(int64_t n, float *x, float by) {
  int64_t i = 0;
  for (; i + VF_LANES <= n; i += VF_LANES) vf_store(x + i, vf_mul(vf_load(x + i), vf_set1(by)));
  for (; i < n; i++) x[i] *= by;
}

static void tier_dot_rows(int64_t rows, int64_t d, const float *q, const float *k, int64_t ldk, float *out) {
  for (int64_t r = 0; r < rows; r++, k += ldk) {
    vf s0 = vf_zero(), s1 = vf_zero();
    int64_t i = 0;
    __builtin_prefetch(k + 8 * ldk);
    for (; i + 2 * VF_LANES <= d; i += 2 * VF_LANES) {
      s0 = vf_fma(vf_load(q + i), vf_load(k + i), s0);
      s1 = vf_fma(vf_load(q + i + VF_LANES), vf_load(k + i + VF_LANES), s1);
    }
    for (; i < d; i += VF_LANES) {
      int n = (int)(d - i < VF_LANES ? d - i : VF_LANES);
      s0 = vf_fma(vf_loadn(q + i, n), vf_loadn(k + i, n), s0);
    }
    out[r] = vf_sum(vf_add(s0, s1));
  }
}

/* Adds mask, keep and bias to scaled scores. Unit strides are the common case and get loops of their own. */
static void score_add(int64_t n, float *restrict s, float scale, const ty_score_row *add) {
  const float *restrict m = add->mask, *restrict e = add->bias;
  const uint8_t *restrict u = add->keep;
  if (m && add->mask_k == 1) for (int64_t i = 0; i < n; i++) s[i] = s[i] * scale + m[i];
  else if (m) for (int64_t i = 0; i < n; i++) s[i] = s[i] * scale + m[i * add->mask_k];
  else for (int64_t i = 0; i < n; i++) s[i] *= scale;
  if (u && add->keep_k == 1) for (int64_t i = 0; i < n; i++) s[i] += u[i] ? 0.0f : -__builtin_inff();
  else if (u) for (int64_t i = 0; i < n; i++) s[i] += u[i * add->keep_k] ? 0.0f : -__builtin_inff();
  if (e && add->bias_k == 1) for (int64_t i = 0; i < n; i++) s[i] += e[i];
  else if (e) for (int64_t i = 0; i < n; i++) s[i] += e[i * add->bias_k];
}

static float tier_softmax_row(int64_t n, float *s, float scale, const ty_score_row *add, float *max, float *sum) {
  const float low = -__builtin_inff();
  if (add || !(scale >= 0)) { /* with nothing to add and a scale that keeps order, scaling joins the exponential's pass */
    ty_score_row none = {0};
    score_add(n, s, scale, add ? add : &none);
    scale = 1.0f;
  }
  vf m0 = vf_set1(low), m1 = m0;
  int64_t i = 0;
  for (; i + 2 * VF_LANES <= n; i += 2 * VF_LANES) {
    m0 = vf_max(vf_load(s + i), m0);
    m1 = vf_max(vf_load(s + i + VF_LANES), m1);
  }
  if (i + VF_LANES <= n) m0 = vf_max(vf_load(s + i), m0), i += VF_LANES;
  if (i < n) m1 = vf_max(vf_firstn(vf_loadn(s + i, (int)(n - i)), (int)(n - i), low), m1);
  float top = vf_top(vf_max(m0, m1)) * scale;
  if (!(top > *max)) top = *max; /* a NaN here (inf * 0) leaves the NaN to the sum */
  float base = top == low ? 0.0f : top, shrink = *max == low ? 0.0f : *max == top ? 1.0f : exp_one(*max - base);
  vf vs = vf_set1(scale), vb = vf_set1(-base), t0 = vf_zero(), t1 = vf_zero();
  for (i = 0; i + 2 * VF_LANES <= n; i += 2 * VF_LANES) {
    vf e0 = vf_exp(vf_fma(vf_load(s + i), vs, vb)), e1 = vf_exp(vf_fma(vf_load(s + i + VF_LANES), vs, vb));
    vf_store(s + i, e0);
    vf_store(s + i + VF_LANES, e1);
    t0 = vf_add(t0, e0);
    t1 = vf_add(t1, e1);
  }
  for (; i < n; i += VF_LANES) {
    int w = (int)(n - i < VF_LANES ? n - i : VF_LANES);
    vf e = vf_exp(vf_fma(vf_loadn(s + i, w), vs, vb));
    vf_storen(s + i, e, w);
    t0 = vf_add(t0, vf_firstn(e, w, 0.0f));
  }
  *sum = *sum * shrink + vf_sum(vf_add(t0, t1));
  *max = top;
  return shrink;
}
