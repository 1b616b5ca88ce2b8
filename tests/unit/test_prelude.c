/* test_prelude.c: every function of emitted code's prelude against libm in double, special values included, as the interpreter
 * compiles it and as each ISA level of this machine does; half conversions against the compiler's; integers at their edges.
 * test_prelude [PART [LEVEL]]: one value in PART, that level only. */
#define _GNU_SOURCE 1
#include "check.h"
#include "emit/cc.h"
#include "emit/emit.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { N = 4096, STEP = 2003 };
static unsigned part = 1;
typedef void (*sweep_fn)(const float *x, float *y, int n);
typedef struct row { const char *name; double (*want)(double); double ulp, limit; } row; /* |x| above the limit is not checked */
static const row rows[] = {
  {"exp", exp, 1.5, INFINITY}, {"exp2", exp2, 1.5, INFINITY}, {"expm1", expm1, 2, INFINITY}, {"log", log, 1.5, INFINITY},
  {"log2", log2, 2, INFINITY}, {"log10", log10, 2.5, INFINITY}, {"log1p", log1p, 2, INFINITY}, {"tanh", tanh, 3, INFINITY},
  {"sin", sin, 2, 2e9}, {"cos", cos, 2, 2e9}, {"erf", erf, 5, INFINITY}, {"erfc", erfc, 6, INFINITY}, {"sqrt", sqrt, 0.51, INFINITY},
  {"floor", floor, 0, INFINITY}, {"ceil", ceil, 0, INFINITY}, {"trunc", trunc, 0, INFINITY}, {"round", rint, 0, INFINITY},
  {"tan", tan, 2, 1e5}, {"asin", asin, 2, INFINITY}, {"acos", acos, 2, INFINITY}, {"atan", atan, 2, INFINITY}, {"sinh", sinh, 3, INFINITY},
  {"cosh", cosh, 3, INFINITY}, {"asinh", asinh, 3, INFINITY}, {"acosh", acosh, 3, INFINITY}, {"atanh", atanh, 3, INFINITY},
};
enum { NROWS = sizeof rows / sizeof *rows };

static double ulps(float got, double want) {
  int e;
  if (isnan(want)) return isnan(got) ? 0 : INFINITY;
  if (isinf((float)want) || isinf(got)) return (float)want == got ? 0 : INFINITY;
  if (want == 0) return got == 0 && !signbit(got) == !signbit(want) ? 0 : fabs(got) / 0x1p-149;
  frexp(fabs(want) < 0x1p-126 ? 0x1p-126 : want, &e);
  return fabs(got - want) / ldexp(1, e - 24);
}

static void sweep(const row *r, sweep_fn fn, const char *what) {
  static float x[N], y[N];
  static const float special[] = {0, -0.0f, INFINITY, -INFINITY, NAN, 1, -1, 0x1p-149f, -0x1p-149f, 0x1p-126f, 0x1.fffffep127f, 88.7f, -87.4f, -103.9f};
  double worst = 0;
  float at = 0;
  for (uint64_t u = 0; u < 1ull << 32;) {
    int n = 0;
    if (u == 0)
      for (; n < (int)(sizeof special / 4); n++) x[n] = special[n];
    for (; n < N && u < 1ull << 32; n++, u += (uint64_t)STEP * part) {
      const uint32_t b = (uint32_t)u;
      memcpy(&x[n], &b, 4);
    }
    fn(x, y, n);
    for (int i = 0; i < n; i++) {
      if (fabs((double)x[i]) > r->limit && !isnan(x[i])) continue;
      const double err = ulps(y[i], r->want((double)x[i]));
      if (err > worst) worst = err, at = x[i];
    }
  }
  if (!CHECK(worst <= r->ulp)) fprintf(stderr, "%s %s: %.2f ulp at %.9g\n", what, r->name, worst, (double)at);
  if (getenv("SHOW")) printf("%s %s: %.2f ulp at %.9g\n", what, r->name, worst, (double)at);
}

/* The sweeps, a loop each, and the conversions; exported from one file a level. */
static const char edges[] =
  "static int bad;\n#define IS(x) (bad += !(x) ? __LINE__ : 0)\n"
  "__attribute__((visibility(\"default\"))) int edges(void) {\n"
  "IS(ty_truncdiv_i32(-2147483647 - 1, -1) == -2147483647 - 1); IS(ty_truncdiv_i32(7, 0) == 0); IS(ty_rem_i8(-7, 3) == 2); IS(ty_fmod_i8(-7, 3) == -1);\n"
  "IS(ty_floordiv_i64(-7, 2) == -4); IS(ty_rem_u8(7, 0) == 0); IS(ty_pow_i32(3, 5) == 243); IS(ty_pow_i32(2, -1) == 0); IS(ty_pow_i64(-1, -3) == -1);\n"
  "IS(ty_shl_i32(1, 32) == 0); IS(ty_shl_i32(1, -1) == 0); IS(ty_shr_i32(-8, 40) == -1); IS(ty_shr_u8(200, 9) == 0); IS(ty_wadd_i8(127, 1) == -128);\n"
  "IS(ty_wmul_i16(-32768, -32768) == 0); IS(ty_abs_i8(-128) == -128); IS(ty_to_i32_f32(3e9f) == -2147483647 - 1); IS(ty_to_i64_f32(-1.5f) == -1);\n"
  "IS(ty_to_u8_f32(-1.0f) == 255); IS(ty_to_i32_f32(-2147483648.0f) == -2147483647 - 1); IS(ty_to_i32_f64(2147483647.5) == 2147483647);\n"
  "IS(ty_rem_f32(-7, 3) == 2); IS(ty_fmod_f32(-7, 3) == -1); IS(ty_floordiv_f64(-7, 2) == -4); IS(ty_floordiv_f32(1, 0) == __builtin_inff());\n"
  "const float nan = __builtin_nanf(\"\"); IS(ty_max_f32(nan, 1) != ty_max_f32(nan, 1)); IS(ty_min_f32(1, nan) != ty_min_f32(1, nan));\n"
  "IS(ty_fmax_f32(nan, 1) == 1); IS(ty_fmin_f32(1, nan) == 1); IS(ty_sign_f32(nan) == 0); IS(ty_signbit_f32(-0.0f)); IS(ty_isinf_f64(-__builtin_inf()));\n"
  "IS(ty_copysign_f32(2, -0.0f) == -2); IS(ty_round_f32(2.5f) == 2); IS(ty_bf16_from_f32(1.00390625f) == 0x3f80); IS(ty_bf16_from_f32(nan) == 0x7fc0);\n"
  "IS(ty_f16_from_f32(65519.0f) == 0x7bff); IS(ty_f16_from_f32(65520.0f) == 0x7c00); IS(ty_f16_from_f32(-0x1p-25f) == 0x8000); IS(ty_f16_from_f32(0x1.8p-25f) == 1);\n"
  "for (int h = 0; h < 65536; h++) { const float f = ty_f32_from_f16((ty_u16)h), b = ty_f32_from_bf16((ty_u16)h);\n"
  "if (f == f) IS(ty_f16_from_f32(f) == h); if (b == b) IS(ty_bf16_from_f32(b) == h); }\n"
  "return bad; }\n";

static void test_level(ty_ctx *ctx, const char *dir, ty_isa isa, const char *what, const char *const *extra) {
  char src[64], so[64];
  ty_cc cc;
  snprintf(src, sizeof src, "%s/p.c", dir);
  snprintf(so, sizeof so, "%s/p%s.so", dir, what);
  FILE *f = fopen(src, "w");
  if (!CHECK(f != NULL)) return;
  fprintf(f, "%s%s", ty_emit_prelude(), edges);
  for (int i = 0; i < NROWS; i++)
    fprintf(f, "__attribute__((visibility(\"default\"))) void s_%s(const float *restrict x, float *restrict y, int n) { for (int i = 0; i < n; i++) y[i] = ty_%s_f32(x[i]); }\n",
            rows[i].name, rows[i].name);
  fclose(f);
  const bool built = ty_cc_find(ctx, NULL, &cc) == TY_OK && ty_cc_compile(ctx, &cc, src, so, isa, extra) == TY_OK;
  if (!CHECK(built)) fprintf(stderr, "%s\n", ty_ctx_error(ctx));
  unlink(src);
  void *lib = built ? dlopen(so, RTLD_NOW | RTLD_LOCAL) : NULL;
  unlink(so);
  if (!CHECK(lib != NULL)) return;
  for (int i = 0; i < NROWS; i++) {
    char name[32];
    snprintf(name, sizeof name, "s_%s", rows[i].name);
    void *sym = dlsym(lib, name);
    sweep_fn fn;
    memcpy(&fn, &sym, sizeof fn);
    if (CHECK(fn != NULL)) sweep(&rows[i], fn, what);
  }
  void *sym = dlsym(lib, "edges");
  int (*fn)(void);
  memcpy(&fn, &sym, sizeof fn);
  CHECK(fn && fn() == 0);
  dlclose(lib);
}

int main(int argc, char **argv) {
  static const char *const plain[] = {"-nostdinc", NULL};
  static const char *const interp[] = {"-nostdinc", "-ffp-contract=off", NULL};
  char dir[] = "/tmp/ty_prelude_XXXXXX";
  ty_ctx *ctx = ty_ctx_create();
  if (!mkdtemp(dir)) return 1;
  if (argc > 1 && atoi(argv[1]) > 0) part = (unsigned)atoi(argv[1]);
  if (argc < 3) test_level(ctx, dir, TY_ISA_PORTABLE, "interpreter", interp);
  for (int isa = TY_ISA_PORTABLE + 1; isa < TY_NISA; isa++)
    if (ty_cpu_runs((ty_isa)isa) && (argc < 3 || !strcmp(argv[2], ty_isa_name((ty_isa)isa)))) test_level(ctx, dir, (ty_isa)isa, ty_isa_name((ty_isa)isa), plain);
  rmdir(dir);
  ty_ctx_destroy(ctx);
  return check_done();
}
