/* attn_ref.c: attention in plain loops and double: the truth for the attention tests. */
#include "kernel/kernel_int.h"

#define INF __builtin_inf()

/* exp to about 1e-15: x = n ln 2 + r, Taylor's series in r; no libm, because kernels link to nothing. */
static double ref_exp(double x) {
  if (x != x || x > 700) return x * 1e300; /* NaN or huge: scores have had their maximum taken off */
  if (x < -700) return 0;
  double n = (double)(int)(x * 1.4426950408889634 + (x < 0 ? -0.5 : 0.5)), r = x - n * 0.693147180369123816490 - n * 1.90821492927058770002e-10, sum = 1;
  for (int i = 18; i > 0; i--) sum = 1 + sum * r / i;
  union { uint64_t u; double d; } two = {.u = (uint64_t)((int64_t)n + 1023) << 52};
  return sum * two.d;
}

static double score(const ty_attn *t, int64_t b, int64_t h, int64_t i, int64_t j) {
  const float *q = t->q + b * t->q_b + h * t->q_h + i * t->q_s, *k = t->k + b * t->k_b + h / (t->hq / t->hkv) * t->k_h + j * t->k_s;
  double s = 0;
  if (t->causal && j > i) return -INF;
  for (int64_t d = 0; d < t->d; d++) s += (double)q[d] * (double)k[d];
  s *= (double)t->scale;
  int64_t at = b * t->mask_b + h * t->mask_h + i * t->mask_q + j * t->mask_k;
  if (t->mask_kind == TY_MASK_F32) s += (double)((const float *)t->mask)[at];
  if (t->mask_kind == TY_MASK_BOOL) s += ((const uint8_t *)t->mask)[at] ? 0.0 : -INF;
  if (t->bias) s += (double)t->bias[b * t->bias_b + h * t->bias_h + i * t->bias_q + j * t->bias_k];
  return s;
}

void ty_attn_f32_ref(const ty_attn *t, double *scores) {
  for (int64_t b = 0; b < t->b; b++)
    for (int64_t h = 0; h < t->hq; h++)
      for (int64_t i = 0; i < t->sq; i++) {
        double max = -INF, sum = 0;
        for (int64_t j = 0; j < t->sk; j++) {
          scores[j] = score(t, b, h, i, j);
          if (scores[j] > max) max = scores[j];
        }
        if (max == -INF) max = 0;
        for (int64_t j = 0; j < t->sk; j++) sum += scores[j] = ref_exp(scores[j] - max);
        for (int64_t d = 0; d < t->dv; d++) {
          double o = 0;
          for (int64_t j = 0; j < t->sk; j++)
            if (!(t->causal && j > i)) o += scores[j] * (double)t->v[b * t->v_b + h / (t->hq / t->hkv) * t->v_h + j * t->v_s + d];
          t->o[b * t->o_b + h * t->o_h + i * t->o_s + d] = (float)(sum == 0 && !t->empty_nan ? o * 0 : o / sum);
        }
      }
}
