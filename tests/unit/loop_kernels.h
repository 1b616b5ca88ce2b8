/* loop_kernels.h: the kernels that models are made of, as loops. */
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

typedef struct kernel { const char *name; ty_loop *(*make)(void); ty_loop *l; ty_loop_fn fn; } kernel;
static kernel kernels[] = {{"softmax", k_softmax, 0, 0}, {"layer_norm", k_layer_norm, 0, 0}, {"gelu", k_gelu, 0, 0},
  {"embedding", k_embedding, 0, 0}, {"mean", k_mean, 0, 0}, {"folds", k_folds, 0, 0}};
enum { K_SOFTMAX, K_LAYER_NORM, K_GELU, K_EMBEDDING, K_MEAN, K_FOLDS, NKERNELS };
