/* plain.c: GELU, softmax and layer norm as one would write them in C, for what compilers make of that: mca_loops.py. */
#include <math.h>

void gelu(const float *restrict x, const float *restrict bias, float *restrict y, long rows, long cols) {
  for (long r = 0; r < rows; r++)
    for (long c = 0; c < cols; c++) {
      float v = x[r * cols + c] + bias[c];
      y[r * cols + c] = 0.5f * v * (1.0f + erff(v * 0.70710678f));
    }
}

void softmax(const float *restrict x, const float *restrict mask, float *restrict y, long rows, long cols) {
  for (long r = 0; r < rows; r++, x += cols, y += cols) {
    float top = -INFINITY, sum = 0;
    for (long c = 0; c < cols; c++) {
      y[c] = x[c] * 0.125f + mask[c];
      if (y[c] > top) top = y[c];
    }
    for (long c = 0; c < cols; c++) {
      y[c] = expf(y[c] - top);
      sum += y[c];
    }
    for (long c = 0; c < cols; c++) y[c] *= 1.0f / sum;
  }
}

void layer_norm(const float *restrict x, const float *restrict rest, const float *restrict w, const float *restrict b, float *restrict y,
                float *restrict both, long rows, long cols) {
  for (long r = 0; r < rows; r++, x += cols, rest += cols, y += cols, both += cols) {
    float mean = 0, var = 0;
    for (long c = 0; c < cols; c++) {
      both[c] = x[c] + rest[c];
      mean += both[c];
    }
    mean /= (float)cols;
    for (long c = 0; c < cols; c++) var += (both[c] - mean) * (both[c] - mean);
    float scale = 1.0f / sqrtf(var / (float)cols + 1e-12f);
    for (long c = 0; c < cols; c++) y[c] = (both[c] - mean) * scale * w[c] + b[c];
  }
}
