/* gemm_ref.c: matrix product in plain loops, summed in double: the truth for the GEMM tests. */
#include "kernel/kernel_int.h"

void ty_gemm_f32_ref(const ty_gemm *g) {
  for (int64_t i = 0; i < g->batch; i++)
    for (int64_t j = 0; j < g->heads; j++)
      for (int64_t m = 0; m < g->m; m++)
        for (int64_t n = 0; n < g->n; n++) {
          const float *a = g->a + i * g->a_batch + j * g->a_head + m * g->lda;
          const float *b = g->b + i * g->b_batch + j * g->b_head + n * g->ldn;
          double sum = 0;
          for (int64_t p = 0; p < g->k; p++) sum += (double)a[p] * (double)b[p * g->ldk];
          g->c[i * g->c_batch + j * g->c_head + m * g->ldc + n] = (float)sum;
        }
}
