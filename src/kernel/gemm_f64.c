/* gemm_f64.c: float64 matrix product for any strides, left to the compiler to vectorise. */
#include "kernel/kernel_int.h"

enum { WIDE = 32 }; /* columns of C summed at a time */

static inline __attribute__((always_inline)) void row_block(const int unit, int64_t k, const double *a, int64_t a_k, const double *b,
                                                            int64_t b_k, int64_t b_n, double *sum) {
  for (int64_t p = 0; p < k; p++, a += a_k, b += b_k)
    for (int j = 0; j < WIDE; j++) sum[j] += *a * b[unit ? j : j * b_n];
}

void ty_gemm_f64(const ty_gemm64 *g, int tid, int nt) {
  int64_t rows = g->batch * g->heads * g->m;
  for (int64_t r = kernel_share(rows, tid, nt), end = kernel_share(rows, tid + 1, nt); r < end; r++) {
    int64_t z = r / g->m, m = r % g->m, i = z / g->heads, j = z % g->heads;
    const double *a = g->a + i * g->a_batch + j * g->a_head + m * g->a_m, *b = g->b + i * g->b_batch + j * g->b_head;
    double *c = g->c + i * g->c_batch + j * g->c_head + m * g->c_m;
    int64_t n = 0;
    for (; n + WIDE <= g->n; n += WIDE) {
      double sum[WIDE] = {0};
      if (g->b_n == 1) row_block(1, g->k, a, g->a_k, b + n, g->b_k, 1, sum);
      else row_block(0, g->k, a, g->a_k, b + n * g->b_n, g->b_k, g->b_n, sum);
      for (int q = 0; q < WIDE; q++) c[(n + q) * g->c_n] = sum[q];
    }
    for (; n < g->n; n++) {
      double sum = 0;
      for (int64_t p = 0; p < g->k; p++) sum += a[p * g->a_k] * b[p * g->b_k + n * g->b_n];
      c[n * g->c_n] = sum;
    }
  }
}
