/* test_attn.c: exp, softmax rows and attention against the references. */
#include "test_kernel.h"
#include <stdlib.h>

static double ulps(float got, double want) {
  int e;
  frexp(want, &e);
  return fabs((double)got - want) / ldexp(1.0, e - 24 < -149 ? -149 : e - 24);
}

void test_math(const ty_kernels *ks) {
  enum { N = 4099 };
  float x[N], y[N];
  double worst = 0;
  for (int round = 0; round < test_rounds(200); round++) {
    for (int i = 0; i < N; i++) x[i] = rndf() * (round % 2 ? 88.0f : 2.0f) - (round % 4 == 3 ? 16.0f : 0.0f);
    ks->exp(N, x, y);
    for (int i = 0; i < N; i++) {
      double want = exp((double)x[i]), off = ulps(y[i], want);
      if (want < 3.4028e38 && off > worst) worst = off;
    }
  }
  CHECK(worst <= 2.0, "%s exp: %.2f ulp", ks->name, worst);
  const float special[] = {-INFINITY, INFINITY, NAN, 0.0f, -0.0f, 88.7f, 88.73f, 90.0f, 1e30f, -1e30f, -103.9f, -105.0f, -95.0f};
  const int count = sizeof special / 4;
  ks->exp(count, special, y);
  for (int i = 0; i < count; i++) {
    float want = (float)exp((double)special[i]);
    CHECK(isnan(want) ? isnan(y[i]) : isinf(want) ? y[i] == want : ulps(y[i], (double)want) <= 2, "%s exp(%g) = %g, want %g", ks->name,
          (double)special[i], (double)y[i], (double)want);
  }
  for (int n = 1; n < 70; n++) {
    guarded g = guarded_make(n), h = guarded_make(n);
    ks->exp(n, g.p, h.p);
    ks->scale(n, g.p, 2.0f);
    bool ok = true;
    for (int i = 0; i < n; i++) ok &= near(h.p[i], expf(g.p[i] / 2), 1e-6);
    float dot, want = 0;
    for (int i = 0; i < n; i++) want += g.p[i] * h.p[i];
    ks->dot_rows(1, n, g.p, h.p, n, &dot);
    CHECK(ok && near(dot, want, 1e-4), "%s tails of %d", ks->name, n);
    guarded_free(g), guarded_free(h);
  }
}

enum { FORM_MASK = 3, WITH_BIAS = 4, CAUSAL = 8, SPECIAL = 16, MERGED = 32, EMPTY_ROW = 64, IN_BF16 = 128, FORMS = 256 };

static void one_attn(const ty_kernels *ks, int64_t sq, int64_t sk, int64_t d, int64_t dv, int how, int nt) {
  ty_attn t = {.b = 1 + rnd_below(2), .hkv = 1 + rnd_below(3), .sq = sq, .sk = sk, .d = d, .dv = dv, .scale = rnd_below(5) ? 1.0f / sqrtf((float)d) : 0.7f};
  t.hq = t.hkv * (1 + rnd_below(3));
  if (sq * sk > 100000) t.b = t.hkv = t.hq = 1;
  t.causal = how & CAUSAL;
  t.empty_nan = how & 1;
  if (how & IN_BF16) t.format = ty_products_get(ks, TY_FORMAT_bf16x4)->words ? TY_FORMAT_bf16x4 : TY_FORMAT_bf16;
  guarded q, k, v, o;
  int64_t floats;
  if (how & MERGED) { /* [b, s, h, d] views with a gap between rows */
    t.q_h = d, t.q_s = t.hq * d + 3, t.q_b = sq * t.q_s, t.k_h = d, t.k_s = t.hkv * d + 5, t.k_b = sk * t.k_s;
    t.v_h = dv, t.v_s = t.hkv * dv + 1, t.v_b = sk * t.v_s, t.o_h = dv, t.o_s = t.hq * dv, t.o_b = sq * t.o_s;
  } else {
    t.q_s = d, t.q_h = sq * d, t.q_b = t.hq * t.q_h, t.k_s = d, t.k_h = sk * d, t.k_b = t.hkv * t.k_h;
    t.v_s = dv, t.v_h = sk * dv, t.v_b = t.hkv * t.v_h, t.o_s = dv, t.o_h = sq * dv, t.o_b = t.hq * t.o_h;
  }
  int64_t nq = (t.b - 1) * t.q_b + (t.hq - 1) * t.q_h + (sq - 1) * t.q_s + d;
  int64_t nk = sk ? (t.b - 1) * t.k_b + (t.hkv - 1) * t.k_h + (sk - 1) * t.k_s + d : 0;
  int64_t nv = sk ? (t.b - 1) * t.v_b + (t.hkv - 1) * t.v_h + (sk - 1) * t.v_s + dv : 0;
  q = guarded_make(nq), k = guarded_make(nk), v = guarded_make(nv);
  floats = (t.b - 1) * t.o_b + (t.hq - 1) * t.o_h + (sq - 1) * t.o_s + dv;
  o = guarded_make(floats);
  guarded ref = guarded_make(floats), weights = guarded_make(floats), mask = guarded_make(t.b * t.hq * sq * sk * 2), bias = guarded_make(t.b * t.hq * sq * sk);
  t.q = q.p, t.k = k.p, t.v = v.p;
  if (how & IN_BF16) { /* operands that bf16 holds: what is left to be rounded are the weights of the keys */
    for (int64_t i = 0; i < nq; i++) q.p[i] = bf16(q.p[i]);
    for (int64_t i = 0; i < nk; i++) k.p[i] = bf16(k.p[i]);
    for (int64_t i = 0; i < nv; i++) v.p[i] = bf16(v.p[i]);
  }
  if ((how & SPECIAL) && sk) {
    q.p[rnd_below(d)] = rnd_below(2) ? NAN : INFINITY;
    if (rnd_below(2)) k.p[rnd_below(d)] = -INFINITY;
    else v.p[rnd_below(dv)] = NAN;
  }
  int form = how & FORM_MASK;
  uint8_t *keep = (uint8_t *)mask.p;
  int64_t step = rnd_below(3) == 0 ? 2 : 1;
  if (form == 1) {
    t.mask_kind = TY_MASK_F32, t.mask = mask.p;
    for (int64_t i = 0; i < t.b * t.hq * sq * sk * 2; i++) if (rnd_below(4) == 0) mask.p[i] = -INFINITY;
  } else if (form == 2) {
    t.mask_kind = TY_MASK_BOOL, t.mask = keep;
    for (int64_t i = 0; i < t.b * t.hq * sq * sk * 2; i++) keep[i] = rnd_below(4) != 0;
  }
  t.mask_k = step, t.mask_q = sk * step, t.mask_h = sq * sk * step, t.mask_b = t.hq * sq * sk * step;
  if (rnd_below(2)) t.mask_h = 0;
  if (rnd_below(2)) t.mask_q = 0;
  if (rnd_below(8) == 0) t.mask_k = 0;
  if (how & EMPTY_ROW) {
    for (int64_t j = 0; j < sk * step; j++) {
      if (form == 1) mask.p[j] = -INFINITY;
      if (form == 2) keep[j] = 0;
    }
  }
  if (how & WITH_BIAS) t.bias = bias.p, t.bias_k = 1, t.bias_q = sk, t.bias_h = sq * sk, t.bias_b = rnd_below(2) ? 0 : t.hq * sq * sk;
  double *scores = malloc((size_t)(sk + 1) * 8);
  t.o = ref.p, memcpy(ref.p, o.p, (size_t)floats * 4);
  ty_attn_f32_ref(&t, scores);
  for (int64_t i = 0; i < floats; i++) weights.p[i] = 0;
  if (how & IN_BF16) {
    guarded sizes = guarded_make(nv);
    for (int64_t i = 0; i < nv; i++) sizes.p[i] = fabsf(v.p[i]);
    t.v = sizes.p, t.o = weights.p;
    ty_attn_f32_ref(&t, scores);
    t.v = v.p;
    guarded_free(sizes);
  }
  t.o = o.p;
  guarded s = guarded_make64((int64_t)ty_attn_f32_scratch(ks, &t));
  for (int i = nt - 1; i >= 0; i--) ty_attn_f32(ks, &t, i, nt, s.p);
  int64_t bad = -1;
  for (int64_t i = 0; i < floats && bad < 0; i++) if (!near(o.p[i], ref.p[i], 4e-6 + weights.p[i] / 255)) bad = i;
  CHECK(bad < 0, "%s attn b %ld hq %ld hkv %ld sq %ld sk %ld d %ld dv %ld how %d nt %d: at %ld got %g want %g", ks->name, (long)t.b, (long)t.hq,
        (long)t.hkv, (long)sq, (long)sk, (long)d, (long)dv, how, nt, (long)bad, bad < 0 ? 0 : (double)o.p[bad], bad < 0 ? 0 : (double)ref.p[bad]);
  free(scores);
  guarded_free(q), guarded_free(k), guarded_free(v), guarded_free(o), guarded_free(ref), guarded_free(weights), guarded_free(mask), guarded_free(bias), guarded_free(s);
}

void test_attn(const ty_kernels *ks) {
  static const int64_t lengths[] = {1, 1, 2, 3, 7, 8, 9, 16, 17, 31, 33, 47, 48, 49, 65, 97, 130}, dims[] = {1, 3, 8, 16, 20, 32, 48, 64, 72, 80, 128};
  static const int threads[] = {1, 2, 3, 5, 64};
  for (int round = 0; round < test_rounds(700); round++) {
    int64_t sq = RND_OF(lengths), d = RND_OF(dims);
    one_attn(ks, sq, rnd_below(2) ? sq : RND_OF(lengths), d, rnd_below(2) ? d : RND_OF(dims), (int)rnd_below(FORMS), RND_OF(threads));
  }
  for (int how = 0; how < FORMS; how += 19) { /* more than one block of keys */
    one_attn(ks, 5, 900, 64, 64, how, threads[how % 5]);
    one_attn(ks, 1, 1200, 32, 40, how, threads[how % 5]);
    one_attn(ks, 500, 500, 16, 16, how, threads[how % 5]);
    one_attn(ks, 3, 0, 8, 8, how, threads[how % 5]);
  }
}
