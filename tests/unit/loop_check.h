/* loop_check.h: the kernels that models are made of, interpreted and compiled as they are in use, against sums in double. */
#include "loop_kernels.h"

enum { K_COLS = 2100, K_ROWS = 6 };
static float k_x[K_ROWS * 8 * K_COLS], k_y[K_ROWS * 8 * K_COLS], k_w[K_COLS], k_b[K_COLS], k_out[2][K_ROWS * K_COLS];
static ty_i64 k_index[2][K_ROWS * K_COLS];
static uint8_t k_flag[2][K_ROWS * K_COLS];

/* Runs kernel i, interpreted or compiled; the fault flag. */
static int k_run(int i, bool interp, void *const *buf, ty_i64 rows, ty_i64 cols, ty_i64 red, ty_i64 limit) {
  const ty_i64 par[4] = {rows, cols, red, limit};
  ty_i32 fault = 0;
  void *scratch = aligned_alloc(64, (ty_loop_scratch(kernels[i].l, cols) + 63) & ~(size_t)63);
  const ty_kargs k = {.buf = buf, .par = par, .scratch = scratch, .fault = &fault, .self = kernels[i].l, .acc = k_x, .acc_ld = cols};
  (interp ? ty_loop_interp : kernels[i].fn)(&k, 0, rows, 0, cols);
  free(scratch);
  return fault;
}

static bool near(double got, double want, double tol) { return fabs(got - want) <= tol * (1 + fabs(want)) || (got != got && want != want) || got == want; }

static void check_dense(bool interp, ty_i64 cols) {
  bool soft = true, norm = true, gelu = true, emb = true;
  k_run(K_SOFTMAX, interp, (void *[]){k_x, k_w, k_out[0]}, K_ROWS, cols, 1, 0);
  for (int r = 0; r < K_ROWS; r++) {
    double top = -INFINITY, sum = 0;
    for (int c = 0; c < cols; c++) top = fmax(top, k_x[r * cols + c] * 0.125 + k_w[c]);
    for (int c = 0; c < cols; c++) sum += exp(k_x[r * cols + c] * 0.125 + k_w[c] - top);
    for (int c = 0; c < cols; c++) soft &= near(k_out[0][r * cols + c] * sum, exp(k_x[r * cols + c] * 0.125 + k_w[c] - top), 2e-6);
  }
  CHECK(soft);
  k_run(K_LAYER_NORM, interp, (void *[]){k_x, k_y, k_w, k_b, k_out[0], k_out[1]}, K_ROWS, cols, 1, 0);
  for (int r = 0; r < K_ROWS; r++) {
    double mean = 0, var = 0;
    for (int c = 0; c < cols; c++) mean += (double)k_x[r * cols + c] + k_y[r * cols + c];
    mean /= (double)cols;
    for (int c = 0; c < cols; c++) var += pow((double)k_x[r * cols + c] + k_y[r * cols + c] - mean, 2);
    for (int c = 0; c < cols; c++) {
      const double x = (double)k_x[r * cols + c] + k_y[r * cols + c];
      norm &= near(k_out[0][r * cols + c], (x - mean) / sqrt(var / (double)cols + 1e-12) * k_w[c] + k_b[c], 1e-5) || cols == 1;
      norm &= k_out[1][r * cols + c] == (float)x;
    }
  }
  CHECK(norm);
  k_run(K_GELU, interp, (void *[]){k_b, k_out[0]}, K_ROWS, cols, 1, 0);
  for (int i = 0; i < K_ROWS * cols; i++) {
    const double x = (double)k_x[i] + k_b[i % cols];
    gelu &= near(k_out[0][i], 0.5 * x * (1 + erf(x * M_SQRT1_2)), 1e-6);
  }
  CHECK(gelu);
  static uint16_t half[K_ROWS * K_COLS];
  ty_i64 ids[K_ROWS] = {3, 0, 7, 7, 1, 2};
  void *eb[] = {ids, k_x, k_y, half};
  CHECK(k_run(K_EMBEDDING, interp, eb, K_ROWS, cols, 1, 8) == 0);
  for (int i = 0; i < K_ROWS * cols; i++) {
    const uint32_t bits = (uint32_t)half[i] << 16;
    float got;
    memcpy(&got, &bits, 4);
    emb &= near(got, (double)k_x[ids[i / cols] * cols + i % cols] + k_y[i], 1.0 / 200);
  }
  CHECK(emb);
  ids[4] = 8; /* out of range: the fault is set, row 0 is read */
  CHECK(k_run(K_EMBEDDING, interp, eb, K_ROWS, cols, 1, 8) == 1);
  ids[4] = -1;
  CHECK(k_run(K_EMBEDDING, interp, eb, K_ROWS, cols, 1, 8) == 1);
}

static void check_folds(bool interp, ty_i64 cols, bool with_nan) {
  bool ok = true;
  float saved = k_x[2 * cols + cols / 2];
  if (with_nan) k_x[2 * cols + cols / 2] = NAN;
  k_run(K_FOLDS, interp, (void *[]){k_x, k_index[0], k_index[1], k_out[0], k_flag[0], k_flag[1]}, K_ROWS, cols, 1, 0);
  for (int r = 0; r < K_ROWS; r++) {
    int top = 0, low = 0, nan = 0, all = 1;
    for (int c = 0; c < cols; c++) {
      const float x = k_x[r * cols + c];
      if (!nan && (x > k_x[r * cols + top] || x != x)) top = c;
      if (!nan && (x < k_x[r * cols + low] || x != x)) low = c;
      nan |= x != x, all &= x > 0;
    }
    ok &= k_index[0][r] == top && k_index[1][r] == low && k_flag[0][r] == nan && k_flag[1][r] == all;
    ok &= cols ? near(k_out[0][r], nan ? NAN : k_x[r * cols + top], 0) : k_out[0][r] == -INFINITY;
  }
  CHECK(ok);
  bool mean = true;
  k_run(K_MEAN, interp, (void *[]){k_x, k_out[0], k_index[0], k_flag[0]}, 2, cols, 20, 0);
  for (int r = 0; r < 2; r++)
    for (int c = 0; c < cols; c++) {
      double sum = 0;
      int top = 0, nan = 0;
      for (int j = 0; j < 20; j++) {
        const float x = k_x[(r * 20 + j) * cols + c];
        if (!nan && (x > k_x[(r * 20 + top) * cols + c] || x != x)) top = j;
        sum += x, nan |= x != x;
      }
      mean &= near(k_out[0][r * cols + c], sum / 20, 1e-6) && k_index[0][r * cols + c] == top && k_flag[0][r * cols + c] == nan;
    }
  CHECK(mean);
  k_x[2 * cols + cols / 2] = saved;
}

static double k_time(int i, void *const *buf, ty_i64 rows, ty_i64 cols) { /* ns an element, the least of many */
  double best = 1e9;
  for (int t = 0; t < 300; t++) {
    const double t0 = ty_now();
    for (int j = 0; j < 10; j++) k_run(i, false, buf, rows, cols, 8, 8);
    const double t1 = (ty_now() - t0) * 1e8 / (double)(rows * cols);
    if (t1 < best) best = t1;
  }
  return best;
}

static void k_bench(void) {
  static float x[128 * 3072], y[128 * 3072], z[128 * 3072], u[128 * 3072];
  for (int i = 0; i < 128 * 3072; i++) x[i] = k_x[i % 9000], y[i] = k_y[i % 9000];
  printf("  gelu 8x768 %.3f", k_time(K_GELU, (void *[]){k_b, z}, 8, 768));
  for (int c = 384; c <= 1536; c *= 2) printf("  layer_norm %d %.3f", c, k_time(K_LAYER_NORM, (void *[]){x, y, k_w, k_b, z, u}, 16, c));
  for (int c = 8; c <= 512; c *= 4) printf("  softmax %d %.3f", c, k_time(K_SOFTMAX, (void *[]){x, k_w, z}, 16, c));
  printf("  mean %.3f  argmax.. %.3f  (ns an element)\n", k_time(K_MEAN, (void *[]){x, z, k_index[0], k_flag[0]}, 2, 768),
         k_time(K_FOLDS, (void *[]){x, k_index[0], k_index[1], z, k_flag[0], k_flag[1]}, 6, 2048));
}

static void test_kernels(void) {
  gen g = {.seed = 5};
  for (size_t i = 0; i < sizeof k_x / 4; i++) k_x[i] = (float)(gen_below(&g, 2001) - 1000) * 4e-3f, k_y[i] = (float)(gen_below(&g, 2001) - 1000) * 1e-3f;
  for (int i = 0; i < K_COLS; i++) k_w[i] = 1 + (float)gen_below(&g, 100) * 1e-2f, k_b[i] = (float)gen_below(&g, 100) * 1e-2f;
  ty_str text = {0};
  for (int i = 0; i < NKERNELS; i++) {
    kernels[i].l = kernels[i].make();
    if (!CHECK(ty_loop_finish(ctx, kernels[i].l) == TY_OK)) return;
    ty_emit_loop(kernels[i].l, kernels[i].name, &text);
  }
  static const ty_i64 cols[] = {0, 1, 7, 16, 33, 300, K_COLS};
  for (int isa = -1; isa < TY_NISA; isa++) {
    if (isa >= 0 && !ty_cpu_runs((ty_isa)isa)) continue;
    void *so = isa < 0 ? NULL : build(text.p, (ty_isa)isa, NULL);
    if (isa >= 0 && !CHECK(so != NULL)) return;
    for (int i = 0; i < NKERNELS && so; i++) {
      void *sym = dlsym(so, kernels[i].name);
      memcpy(&kernels[i].fn, &sym, sizeof sym);
    }
    for (int i = 0; i < 7; i++) {
      check_dense(isa < 0, cols[i]);
      if (cols[i] * 40 <= (ty_i64)(sizeof k_x / 4)) check_folds(isa < 0, cols[i], false), check_folds(isa < 0, cols[i], cols[i] > 0);
    }
    for (int i = 0; i < NKERNELS && so; i++) k_run(i, false, (void *[]){k_x, k_index[0], k_index[1], k_out[0], k_out[0], k_out[0]}, 0, 0, 0, 0);
    if (so && getenv("BENCH")) k_bench();
    if (so) dlclose(so);
  }
  if (getenv("SHOW")) printf("%s%s", ty_emit_prelude(), text.p);
  ty_str_free(&text);
  for (int i = 0; i < NKERNELS; i++) ty_loop_destroy(kernels[i].l);
}
