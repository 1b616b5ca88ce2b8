/* loop_kernels.h: the kernels that models are made of, interpreted and compiled as they are in use, against sums in double. */
#define ADD(...) ty_loop_add(l, (ty_lnode){__VA_ARGS__})
#define I64 .dtype = TY_i64
#define F32 .dtype = TY_f32
static int k_op(ty_loop *l, ty_prim p, int a, int b) {
  const ty_dtype d = ty_prims[p].to_bool ? TY_bool : l->nodes.p[a].dtype;
  return ADD(.kind = TY_L_PRIM, .prim = p, .dtype = d, .a = a, .b = b, .c = -1);
}
static int k_const(ty_loop *l, double v) { return ADD(.kind = TY_L_CONST, F32, .fimm = v); }
static int k_par(ty_loop *l, int slot) { return ADD(.kind = TY_L_PAR, I64, .slot = slot); }
static int k_row(ty_loop *l) { return k_op(l, TY_P_mul, ADD(.kind = TY_L_ROWVAR, I64), k_par(l, 1)); } /* row * columns */
static int k_load(ty_loop *l, int slot, int base, ty_dtype mem) {
  return ADD(.kind = TY_L_LOAD, .dtype = mem == TY_bf16 ? TY_f32 : mem, .mem = mem, .slot = slot, .a = base, .b = -1, .col_stride = 1, .col_par = -1);
}
static int k_reduce(ty_loop *l, ty_lred red, int a) {
  const bool arg = red == TY_RED_ARGMAX || red == TY_RED_ARGMIN;
  return ADD(.kind = TY_L_REDUCE, .red = red, .dtype = arg ? TY_i64 : l->nodes.p[a].dtype, .a = a);
}
static void k_store(ty_loop *l, int slot, int base, ty_dtype mem, int stride, int value) {
  ADD(.kind = TY_L_STORE, .mem = mem, .slot = slot, .a = base, .b = -1, .d = value, .col_stride = stride, .col_par = -1);
}
/* Parameters: 0 rows, 1 columns, 2 turns of the red loop, 3 limit of indices. */
static ty_loop *k_new(int nbufs) {
  ty_loop *l = ty_loop_create();
  l->nrowvars = 1, l->row_par[0] = 0, l->col_par = 1, l->npars = 4, l->nbufs = nbufs;
  return l;
}

/* softmax(x / 8 + mask) */
static ty_loop *k_softmax(void) {
  ty_loop *l = k_new(3);
  const int base = k_row(l), x = k_load(l, 0, base, TY_f32), m = k_load(l, 1, -1, TY_f32);
  const int y = k_op(l, TY_P_add, k_op(l, TY_P_mul, x, k_const(l, 0.125)), m);
  const int e = k_op(l, TY_P_exp, k_op(l, TY_P_sub, y, k_reduce(l, TY_RED_MAX, y)), -1);
  k_store(l, 2, base, TY_f32, 1, k_op(l, TY_P_mul, e, k_op(l, TY_P_recip, k_reduce(l, TY_RED_SUM, e), -1)));
  return l;
}

/* y = layer_norm(x + r) * w + b, and x + r itself into buf 5 */
static ty_loop *k_layer_norm(void) {
  ty_loop *l = k_new(6);
  const int base = k_row(l), x = k_op(l, TY_P_add, k_load(l, 0, base, TY_f32), k_load(l, 1, base, TY_f32));
  const int n = ADD(.kind = TY_L_CAST, F32, .a = k_par(l, 1));
  const int mean = k_op(l, TY_P_div, k_reduce(l, TY_RED_SUM, x), n), d = k_op(l, TY_P_sub, x, mean);
  const int var = k_op(l, TY_P_div, k_reduce(l, TY_RED_SUM, k_op(l, TY_P_mul, d, d)), n);
  const int inv = k_op(l, TY_P_rsqrt, k_op(l, TY_P_add, var, k_const(l, 1e-12)), -1);
  const int y = k_op(l, TY_P_add, k_op(l, TY_P_mul, k_op(l, TY_P_mul, d, inv), k_load(l, 2, -1, TY_f32)), k_load(l, 3, -1, TY_f32));
  k_store(l, 4, base, TY_f32, 1, y);
  k_store(l, 5, base, TY_f32, 1, x);
  return l;
}

/* gelu(acc + bias): the epilogue of a GEMM */
static ty_loop *k_gelu(void) {
  ty_loop *l = k_new(2);
  const int base = k_row(l), x = k_op(l, TY_P_add, ADD(.kind = TY_L_ACC, F32), k_load(l, 0, -1, TY_f32));
  const int e = k_op(l, TY_P_erf, k_op(l, TY_P_mul, x, k_const(l, 0.70710678118654752)), -1);
  k_store(l, 1, base, TY_f32, 1, k_op(l, TY_P_mul, k_op(l, TY_P_mul, x, k_const(l, 0.5)), k_op(l, TY_P_add, e, k_const(l, 1))));
  return l;
}

/* table[ids[row]] + positions[row], ids checked */
static ty_loop *k_embedding(void) {
  ty_loop *l = k_new(4);
  const int row = ADD(.kind = TY_L_ROWVAR, I64), base = k_row(l);
  const int id = ADD(.kind = TY_L_LOAD, I64, .mem = TY_i64, .slot = 0, .a = row, .b = -1, .col_par = -1);
  const int ok = ADD(.kind = TY_L_CHECK, I64, .a = id, .b = k_par(l, 3));
  const int x = k_load(l, 1, k_op(l, TY_P_mul, ok, k_par(l, 1)), TY_f32);
  k_store(l, 3, base, TY_bf16, 1, k_op(l, TY_P_add, x, k_load(l, 2, base, TY_f32)));
  return l;
}

/* mean and argmax over red of x[row, red, col], and how many rows of it hold a NaN */
static ty_loop *k_mean(void) {
  ty_loop *l = k_new(4);
  l->red_par = 2;
  const int flat = ADD(.kind = TY_L_ROWVAR, I64), at = k_op(l, TY_P_add, k_op(l, TY_P_mul, flat, k_par(l, 2)), ADD(.kind = TY_L_REDVAR, I64));
  const int x = k_load(l, 0, k_op(l, TY_P_mul, at, k_par(l, 1)), TY_f32), n = ADD(.kind = TY_L_CAST, F32, .a = k_par(l, 2));
  k_store(l, 1, k_row(l), TY_f32, 1, k_op(l, TY_P_div, k_reduce(l, TY_RED_SUM, x), n));
  k_store(l, 2, k_row(l), TY_i64, 1, k_reduce(l, TY_RED_ARGMAX, x));
  k_store(l, 3, k_row(l), TY_bool, 1, k_reduce(l, TY_RED_ANY, k_op(l, TY_P_isnan, x, -1)));
  return l;
}

/* argmax, argmin, max, any(NaN), all(x > 0), the sign of the last column's copysign(1, x) */
static ty_loop *k_folds(void) {
  ty_loop *l = k_new(6);
  const int row = ADD(.kind = TY_L_ROWVAR, I64), base = k_row(l), x = k_load(l, 0, base, TY_f32);
  k_store(l, 1, row, TY_i64, 0, k_reduce(l, TY_RED_ARGMAX, x));
  k_store(l, 2, row, TY_i64, 0, k_reduce(l, TY_RED_ARGMIN, x));
  k_store(l, 3, row, TY_f32, 0, k_reduce(l, TY_RED_MAX, x));
  k_store(l, 4, row, TY_bool, 0, k_reduce(l, TY_RED_ANY, k_op(l, TY_P_isnan, x, -1)));
  k_store(l, 5, row, TY_bool, 0, k_reduce(l, TY_RED_ALL, k_op(l, TY_P_gt, x, k_const(l, 0))));
  return l;
}

enum { K_COLS = 2100, K_ROWS = 6 };
typedef struct kernel { const char *name; ty_loop *(*make)(void); ty_loop *l; ty_loop_fn fn; } kernel;
static kernel kernels[] = {{"softmax", k_softmax, 0, 0}, {"layer_norm", k_layer_norm, 0, 0}, {"gelu", k_gelu, 0, 0},
  {"embedding", k_embedding, 0, 0}, {"mean", k_mean, 0, 0}, {"folds", k_folds, 0, 0}};
enum { K_SOFTMAX, K_LAYER_NORM, K_GELU, K_EMBEDDING, K_MEAN, K_FOLDS, NKERNELS };

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
