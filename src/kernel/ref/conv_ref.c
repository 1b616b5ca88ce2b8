/* conv_ref.c: convolution in plain loops, summed in double: the truth for the convolution tests. */
#include "kernel/kernel_int.h"

static double sum_of(const ty_conv *v, const float *x, const float *w, const int64_t ldw[5], const int64_t at[3]) {
  double sum = 0;
  int64_t i[3];
  for (int64_t a = 0; a < v->s.k[0]; a++)
    for (int64_t b = 0; b < v->s.k[1]; b++)
      for (int64_t d = 0; d < v->s.k[2]; d++) {
        const int64_t tap[3] = {a, b, d};
        bool inside = true;
        for (int q = 0; q < 3; q++) {
          i[q] = at[q] * v->s.stride[q] - v->pad[q] + tap[q] * v->s.dil[q];
          inside &= i[q] >= 0 && i[q] < v->in[q];
        }
        if (!inside) continue;
        const float *p = x + i[0] * v->x_s[0] + i[1] * v->x_s[1] + i[2] * v->x_s[2];
        for (int64_t c = 0; c < v->s.c; c++)
          sum += (double)p[c] * (double)w[c * ldw[1] + a * ldw[2] + b * ldw[3] + d * ldw[4]];
      }
  return sum;
}

void ty_conv_f32_ref(const ty_conv *v, const float *w, const int64_t ldw[5]) {
  int64_t pixels = v->out[0] * v->out[1] * v->out[2];
  for (int64_t n = 0; n < v->batch; n++)
    for (int64_t m = 0; m < pixels; m++) {
      const int64_t at[3] = {m / v->out[2] / v->out[1], m / v->out[2] % v->out[1], m % v->out[2]};
      float *y = v->y + n * v->y_n + at[0] * v->y_s[0] + at[1] * v->y_s[1] + at[2] * v->y_s[2];
      for (int64_t o = 0; o < v->s.groups * v->s.o; o++)
        y[o] = (float)sum_of(v, v->x + n * v->x_n + o / v->s.o * v->s.c, w + o * ldw[0], ldw, at);
    }
}
