/* test_loop.c: loops run by the interpreter and by compiled code: random ones to the bit, the usual kernels against double. */
#define _GNU_SOURCE 1
#include "check.h"
#include "emit/cc.h"
#include "emit/emit.h"
#include "loop_gen.h"

#include <dlfcn.h>
#include <unistd.h>

static ty_ctx *ctx;
static char dir[] = "/tmp/ty_loop_XXXXXX";

/* Compiles text after the prelude, without any system header; NULL when that fails. */
static void *build(const char *text, ty_isa isa, const char *const *extra) {
  static int number;
  static ty_cc cc;
  char src[64], so[64];
  snprintf(src, sizeof src, "%s/k%d.c", dir, number);
  snprintf(so, sizeof so, "%s/k%d.so", dir, number++);
  FILE *f = fopen(src, "w");
  if (!f) return NULL;
  fputs(ty_emit_prelude(), f);
  fputs(text, f);
  fclose(f);
  const char *flags[8] = {"-nostdinc"};
  for (int i = 0; extra && extra[i] && i < 6; i++) flags[i + 1] = extra[i];
  const double t = ty_now();
  if (ty_cc_find(ctx, NULL, &cc) || ty_cc_compile(ctx, &cc, src, so, isa, flags)) {
    fprintf(stderr, "%s\n", ty_ctx_error(ctx));
    return NULL;
  }
  printf("%s: %zu bytes of C compiled in %.2f s\n", src, strlen(text), ty_now() - t);
  unlink(src);
  void *so_handle = dlopen(so, RTLD_NOW | RTLD_LOCAL);
  if (!so_handle) fprintf(stderr, "%s\n", dlerror());
  unlink(so);
  return so_handle;
}

/* ---- Random loops ---- */

/* Calls fn in pieces: rows split, and columns where the kernel allows it. */
static void call_split(ty_loop_fn fn, gen *g, ty_kargs k) {
  const float *acc = k.acc;
  for (int64_t r0 = 0; r0 < g->rows;) {
    int64_t r1 = r0 + 1 + gen_below(g, 5), cols = g->par[GEN_COLS], step = g->l->col_reduce || !cols ? cols : 1 + gen_below(g, (int)cols);
    if (r1 > g->rows) r1 = g->rows;
    int64_t c0 = 0;
    do {
      const int64_t c1 = c0 + step < cols ? c0 + step : cols;
      k.acc = acc + r0 * k.acc_ld + c0;
      fn(&k, r0, r1, c0, c1);
      c0 = c1;
    } while (c0 < cols);
    r0 = r1;
  }
}

static bool same_value(ty_dtype d, const void *a, const void *b, int64_t i) {
  switch (d) {
  case TY_f32: { const float x = ((const float *)a)[i], y = ((const float *)b)[i]; return x == y || (x != x && y != y); }
  case TY_f64: { const double x = ((const double *)a)[i], y = ((const double *)b)[i]; return x == y || (x != x && y != y); }
  case TY_f16:
  case TY_bf16: {
    const uint16_t x = ((const uint16_t *)a)[i], y = ((const uint16_t *)b)[i], inf = d == TY_f16 ? 0x7c00 : 0x7f80;
    return x == y || ((x & 0x7fff) > inf && (y & 0x7fff) > inf);
  }
  default: return !memcmp((const char *)a + i * ty_dtype_size(d), (const char *)b + i * ty_dtype_size(d), (size_t)ty_dtype_size(d));
  }
}

static void compare_random(uint64_t seed, ty_loop_fn fn, const char *what) {
  gen g;
  gen_loop(&g, seed);
  if (!CHECK(ty_loop_finish(ctx, g.l) == TY_OK)) return;
  void *bufs[2][GEN_BUFS];
  ty_i64 par[GEN_PARS];
  for (int i = 0; i < GEN_PARS; i++) par[i] = g.par[i];
  for (int b = 0; b < g.l->nbufs; b++) {
    const size_t bytes = (size_t)g.buf[b].n * (size_t)ty_dtype_size(g.buf[b].mem);
    bufs[0][b] = ty_alloc(bytes), bufs[1][b] = ty_alloc(bytes);
    gen_fill(&g, b, bufs[0][b]);
    memcpy(bufs[1][b], bufs[0][b], bytes);
  }
  const int64_t cols = g.par[GEN_COLS], ld = cols + 3;
  float *acc = ty_alloc((size_t)((g.rows + 1) * ld) * 4);
  for (int64_t i = 0; i < g.rows * ld; i++) acc[i] = gen_float(&g);
  void *scratch = aligned_alloc(64, (ty_loop_scratch(g.l, cols) + 63) & ~(size_t)63);
  ty_i32 fault[2] = {0};
  ty_kargs k = {.buf = bufs[0], .par = par, .scratch = scratch, .fault = &fault[0], .self = g.l, .acc = acc, .acc_ld = ld};
  call_split(ty_loop_interp, &g, k);
  k.buf = bufs[1], k.fault = &fault[1];
  call_split(fn, &g, k);
  bool ok = fault[0] == fault[1];
  for (int b = 0; b < g.l->nbufs; b++)
    for (int64_t i = 0; i < g.buf[b].n && g.buf[b].written && ok; i++)
      if (!same_value(g.buf[b].mem, bufs[0][b], bufs[1][b], i)) {
        ok = false;
        fprintf(stderr, "%s seed %llu: buf%d[%lld] of %s differs\n", what, (unsigned long long)seed, b, (long long)i, ty_dtypes[g.buf[b].mem].name);
      }
  if (!CHECK(ok) && getenv("SHOW")) {
    ty_str t = {0};
    ty_emit_loop(g.l, "kernel", &t);
    fprintf(stderr, "faults %d %d\n%s%s", fault[0], fault[1], g.l->text.p, t.p);
    ty_str_free(&t);
  }
  for (int b = 0; b < g.l->nbufs; b++) ty_free(bufs[0][b]), ty_free(bufs[1][b]);
  ty_free(acc);
  free(scratch);
  ty_loop_destroy(g.l);
}

static void test_random(ty_isa isa, uint64_t first, int count) {
  static const char *const exact[] = {"-ffp-contract=off", "-O2", "-ftree-vectorize", NULL};
  ty_str text = {0};
  char name[32];
  for (int i = 0; i < count; i++) {
    gen g;
    gen_loop(&g, first + (uint64_t)i);
    if (CHECK(ty_loop_finish(ctx, g.l) == TY_OK)) {
      snprintf(name, sizeof name, "kernel%d", i);
      ty_emit_loop(g.l, name, &text);
    } else fprintf(stderr, "seed %llu: %s\n", (unsigned long long)first + (unsigned)i, ty_ctx_error(ctx));
    ty_loop_destroy(g.l);
  }
  void *so = text.p ? build(text.p, isa, exact) : NULL;
  ty_str_free(&text);
  if (!CHECK(so != NULL)) return;
  for (int i = 0; i < count; i++) {
    snprintf(name, sizeof name, "kernel%d", i);
    void *sym = dlsym(so, name);
    ty_loop_fn fn;
    memcpy(&fn, &sym, sizeof fn);
    if (CHECK(fn != NULL)) compare_random(first + (uint64_t)i, fn, ty_isa_name(isa));
  }
  dlclose(so);
}

#include "loop_check.h"

int main(int argc, char **argv) {
  ctx = ty_ctx_create();
  if (!mkdtemp(dir)) return 1;
  const uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
  const int count = argc > 2 ? atoi(argv[2]) : 40;
  for (int isa = 0; isa < TY_NISA; isa++)
    if (ty_cpu_runs((ty_isa)isa)) test_random((ty_isa)isa, first + (uint64_t)(isa * count), count);
  test_kernels();
  rmdir(dir);
  ty_ctx_destroy(ctx);
  return check_done();
}
