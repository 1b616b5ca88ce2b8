/* test_kernels.c: every tier that this CPU can run against the plain references: odd sizes, guarded buffers, callbacks, threads
 * (run one after another), masks, strides, NaN and infinities. Prints each failure and a closing count. */
#include "test_kernel.h"
#include <stdio.h>
#include <stdlib.h>

static int passed, failed, part = 1;
int test_rounds(int n) { return (n + part - 1) / part; }
void check_at(bool ok, const char *file, int line, const char *fmt, ...) {
  if (ok) { passed++; return; }
  if (failed++ > 50) return;
  va_list v;
  va_start(v, fmt);
  printf("FAIL %s:%d: ", file, line), vprintf(fmt, v), printf("\n");
  va_end(v);
}

bool test_multiplies(const ty_kernels *ks, ty_format format) { return format == TY_FORMAT_f32 || ty_products_get(ks, format)->format == format; }

/* Arguments: one in how many rounds to run (where the CPU is emulated), and the only tier to run; or "products": only those of formats
 * other than float32. */
int main(int argc, char **argv) {
  bool all = argc < 2 || strcmp(argv[1], "products");
  if (argc > 1 && atoi(argv[1]) > 0) part = atoi(argv[1]);
  const ty_kernels *seen = NULL;
  for (int isa = 0; isa < TY_NISA; isa++) {
    const ty_kernels *ks = ty_kernels_get((ty_isa)isa);
    if (!ty_cpu_runs((ty_isa)isa) || ks == seen) continue;
    seen = ks;
    if (argc > 2 && strcmp(argv[2], ks->name)) continue;
    int p = passed, f = failed;
    if (all) test_micro(ks), test_math(ks), test_pack(ks), test_gemm(ks, TY_FORMAT_f32), test_attn(ks), test_rnn(ks);
    test_conv(ks, !all);
    test_gemm(ks, TY_FORMAT_bf16), test_gemm(ks, TY_FORMAT_bf16x4);
    test_quant(ks);
    printf("%-9s MR %d NR %d: %d passed, %d failed\n", ks->name, ks->mr, ks->nr, passed - p, failed - f);
  }
  test_products();
  test_quant_rows();
  if (all) test_gemm64();
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
