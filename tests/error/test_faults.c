/* test_faults.c: every allocation from graph text to a run fails in turn; hostile and wrong graph text gets a message. */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api/model.h"
#include "check.h"
#include "import/import.h"
#include "ops/ops.h"
#include "rt/pool.h"

static ty_ctx *ctx;
static int logged;
static void count_log(void *user, const char *text) { (void)user, (void)text, logged++; }

/* Attention with merged products, a norm, an epilogue, constants, a gather, a scan: something for each room. */
static const char BLOCK[] =
  "sym s in [2, 512] hint 8\n"
  "%0: f32[2, s, 16] = input \"x\"\n"
  "%1: i64[2, s] = input \"ids\"\n"
  "%2: f32[32, 16] = param \"table\"\n"
  "%3: f32[16, 16] = param \"wq\"\n"
  "%4: f32[16, 16] = param \"wk\"\n"
  "%5: f32[16] = param \"b\"\n"
  "%6: f32[2, s, 16] = aten.embedding.default(%2, %1)\n"
  "%7: f32[2, s, 16] = aten.add.Tensor(%0, %6, alpha=1)\n"
  "%8: f32[2, s, 16] = aten.linear.default(%7, %3, %5)\n"
  "%9: f32[2, s, 16] = aten.linear.default(%7, %4, %5)\n"
  "%10: f32[2, 16, s] = aten.transpose.int(%9, 1, 2)\n"
  "%11: f32[2, s, s] = aten.bmm.default(%8, %10)\n"
  "%12: f32[2, s, s] = aten.mul.Tensor(%11, 0.25)\n"
  "%13: f32[2, s, s] = aten._softmax.default(%12, -1, false)\n"
  "%14: f32[2, s, 16] = aten.bmm.default(%13, %9)\n"
  "%15: f32[2, s, 16] = aten.layer_norm.default(%14, [16], %5, %5)\n"
  "%16: f32[2, s, 16] = aten.gelu.default(%15)\n"
  "%17: f32[2, s, 16] = aten.cumsum.default(%16, 1)\n"
  "%18: f32[2, 16] = aten.mean.dim(%17, [1])\n"
  "output %16, %18\n";

enum { SEQ = 5, OUT0 = 2 * SEQ * 16, OUT1 = 2 * 16 };
typedef struct result { float a[OUT0], b[OUT1]; } result;

static float in_x[OUT0], in_table[32 * 16], in_w[2][16 * 16], in_b[16];
static int64_t in_ids[2 * SEQ];

static void fill(float *p, int n, int seed) {
  for (int i = 0; i < n; i++) p[i] = (float)(((unsigned)(i + seed) * 2654435761u >> 9 & 1023) / 512.0 - 1);
}

/* Text to answers; the status of what failed, with the text in ctx. */
static ty_status whole(const char *text, result *out) {
  ty_graph *g = NULL;
  ty_model *m = NULL;
  TY_TRY(ty_graph_parse(ctx, text, &g));
  TY_TRY(ty_model_compile(ctx, g, &(ty_options){ .no_compiler = true }, &m));
  int64_t syms[1] = { SEQ };
  void *inputs[] = { in_x, in_ids, in_table, in_w[0], in_w[1], in_b }, *outputs[] = { out->a, out->b };
  ty_status st = ty_program_run(ty_model_program(m), ctx, &(ty_run){ .syms = syms, .inputs = inputs, .outputs = outputs });
  if (st) { /* the program is good all the same: once there is memory, it runs */
    ty_alloc_fail_after(0);
    char kept[512];
    snprintf(kept, sizeof kept, "%s", ty_ctx_error(ctx));
    CHECK(!ty_program_run(ty_model_program(m), ctx, &(ty_run){ .syms = syms, .inputs = inputs, .outputs = outputs }));
    ty_fail(ctx, st, "%s", kept);
  }
  ty_model_destroy(m);
  return st;
}

static bool near(const result *x, const result *y) {
  const float *p = (const float *)x, *q = (const float *)y;
  for (size_t i = 0; i < sizeof *x / sizeof *p; i++)
    if (!(fabsf(p[i] - q[i]) <= 1e-6f)) return false;
  return true;
}

static void test_every_allocation(int threads) {
  result want = { 0 };
  ty_pool_set_threads(threads);
  if (!CHECK(!whole(BLOCK, &want))) { fprintf(stderr, "%s\n", ty_ctx_error(ctx)); return; }
  int failures = 0, wrong = 0;
  long n = 1, past = 0;
  double end = ty_now() + 4; /* all near the start, then fewer, so that it ends in any build */
  for (; past < 100; n += ty_now() > end ? n / 8 + 1 : 1) {
    result got = { 0 };
    ty_ctx_clear(ctx);
    ty_alloc_fail_after(n);
    ty_status st = whole(BLOCK, &got);
    ty_alloc_fail_after(0);
    failures += st == TY_NOMEM;
    past = st == TY_OK ? past + 1 : 0; /* one here and there fails without harm */
    if (st != TY_OK && st != TY_NOMEM) { wrong++; fprintf(stderr, "allocation %ld: %s: %s\n", n, ty_status_name(st), ty_ctx_error(ctx)); }
    if (st == TY_NOMEM && !strstr(ty_ctx_error(ctx), "memory")) { wrong++; fprintf(stderr, "allocation %ld: text \"%s\"\n", n, ty_ctx_error(ctx)); }
    if (st == TY_OK && !near(&got, &want)) { wrong++; fprintf(stderr, "allocation %ld: wrong answers\n", n); }
    if (!(n % 16) && (whole(BLOCK, &got) || !near(&got, &want))) { wrong++; fprintf(stderr, "after allocation %ld: the next try failed\n", n); }
    if (wrong > 20) break;
  }
  printf("%d threads: %d allocations failed, up to number %ld\n", threads, failures, n);
  CHECK(wrong == 0 && failures > 50);
}

static ty_status compiled(const char *text) {
  ty_graph *g = NULL;
  ty_model *m = NULL;
  TY_TRY(ty_graph_parse(ctx, text, &g));
  TY_TRY(ty_model_compile(ctx, g, &(ty_options){ .no_compiler = true }, &m));
  ty_free(ty_model_explain(m));
  ty_free(ty_model_source(m));
  ty_model_destroy(m);
  return TY_OK;
}

/* The graphs of the golden tests, compiled only. */
static void test_golden_graphs(const char *dir) {
  struct dirent **list;
  int n = scandir(dir, &list, NULL, alphasort), seen = 0;
  for (int i = 0; i < n; i++) {
    char path[4096], *text = NULL;
    size_t room = 0;
    snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name);
    free(list[i]);
    FILE *f = strstr(path, ".txt") ? fopen(path, "rb") : NULL;
    if (!f) continue;
    if (!CHECK(getdelim(&text, &room, 0, f) > 0)) { fclose(f); continue; }
    fclose(f);
    char *in = strstr(text, "--- in\n"), *out = strstr(text, "--- out\n");
    if (CHECK(in && out)) {
      *out = 0;
      int failures = 0, wrong = 0;
      double end = ty_now() + 0.5;
      for (long k = 1, past = 0; past < 60 && wrong < 5; k += ty_now() > end ? k / 8 + 1 : 1) {
        ty_ctx_clear(ctx);
        ty_alloc_fail_after(k);
        ty_status st = compiled(in + 7);
        ty_alloc_fail_after(0);
        failures += st == TY_NOMEM;
        past = st == TY_OK ? past + 1 : 0;
        if (st == TY_OK || (st == TY_NOMEM && strstr(ty_ctx_error(ctx), "memory"))) continue;
        wrong++;
        fprintf(stderr, "%s, allocation %ld: %s: %s\n", path, k, ty_status_name(st), ty_ctx_error(ctx));
      }
      CHECK(wrong == 0 && failures > 20 && compiled(in + 7) == TY_OK);
    }
    free(text);
    seen++;
  }
  free(list);
  CHECK(seen > 0);
}

#define X "%0: f32[2, 3] = input \"x\"\n"
static const struct { const char *text, *message; } bad[] = {
  { "", "1:1: the output line is missing" },
  { "hello", "1:1: a line starts with sym, output, or a value" },
  { X, "2:1: the output line is missing" },
  { X "output %1\n", "2:8: %1 is not defined" },
  { X "output %0\noutput %0\n", "3:1: text after the output line" },
  { X "%1: f32[2, 3] = aten.nonesuch.default(%0)\noutput %1\n", "2:17: operator aten.nonesuch.default is not known" },
  { X "%1: f32[2, 3] = aten.relu.default(%7)\noutput %1\n", "2:35: %7 is not defined" },
  { X "%1: f32[2, 3] = aten.relu.default()\noutput %1\n", "argument self is missing" },
  { X "%1: f32[2, 3] = aten.relu.default(%0, %0)\noutput %1\n", "2:38: aten.relu.default takes 1 argument" },
  { X "%1: f32[2, 4] = aten.relu.default(%0)\noutput %1\n", "f32[2, 4] is written where inference gives f32[2, 3]" },
  { X "%1: f64[2, 3] = aten.relu.default(%0)\noutput %1\n", "f64[2, 3] is written where inference gives f32[2, 3]" },
  { X "%1: f32[2, 3] = aten.relu.default(%0\noutput %1\n", "2:37: \",\" is expected" },
  { X "%1: f32[2, 2] = aten.mm.default(%0, %0)\noutput %1\n", "matrix product: sizes 3 and 2 differ" },
  { X "%0: f32[2, 3] = aten.relu.default(%0)\noutput %0\n", "2:1: %0 is defined twice" },
  { "%0: f32[2, 3 = input \"x\"\noutput %0\n", "1:14: \",\" is expected" },
  { "%0: f99[2, 3] = input \"x\"\noutput %0\n", "1:4: f99 is no dtype" },
  { "%0: f32[-2] = input \"x\"\noutput %0\n", "size 0 of a shape is negative" },
  { "%0: f32[99999999999999999999] = input \"x\"\noutput %0\n", "the number is out of range" },
  { "%0: f32[q] = input \"x\"\noutput %0\n", "1:9: unknown symbol q" },
  { "%0: f32[1,1,1,1,1,1,1,1,1,1,1,1,1,1] = input \"x\"\noutput %0\n", "more than 12 entries" },
  { "%0: f32[2] = input \"x\noutput %0\n", "the string does not end" },
  { "sym s in [9, 2]\n%0: f32[s] = input \"x\"\noutput %0\n", "symbol s has an empty range" },
  { "sym s in [1, 2]\nsym s in [1, 2]\n%0: f32[s] = input \"x\"\noutput %0\n", "symbol s is declared twice" },
  { "%0: f32[((((((((((((((((((((((((((((((((((((((((((((2))))))))))))] = input \"x\"\noutput %0\n", "nested too deeply" },
  { "%0: f32[4611686018427387904, 16] = input \"x\"\n%1: f32[73786976294838206464] = aten.view.default(%0, [-1])\noutput %1\n", "2:9: the number is out of range" },
};

static void test_bad_text(void) {
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    ty_graph *g = NULL;
    ty_ctx_clear(ctx);
    ty_status st = ty_graph_parse(ctx, bad[i].text, &g);
    if (!CHECK((st == TY_INVALID || st == TY_UNSUPPORTED) && !g)) fprintf(stderr, "%s\n", bad[i].text);
    if (!CHECK_HAS(ty_ctx_error(ctx), bad[i].message)) fprintf(stderr, "%s\n", bad[i].text);
    if (getenv("SHOW")) printf("%s\n", ty_ctx_error(ctx));
    if (g) ty_graph_destroy(g);
  }
}

int main(int argc, char **argv) {
  ctx = ty_ctx_create();
  ty_ctx_set_log(ctx, count_log, NULL);
  fill(in_x, OUT0, 1); fill(in_table, 32 * 16, 2); fill(in_w[0], 256, 3); fill(in_w[1], 256, 4); fill(in_b, 16, 5);
  for (int i = 0; i < 2 * SEQ; i++) in_ids[i] = i * 7 % 32;
  test_bad_text();
  test_every_allocation(1);
  test_every_allocation(2);
  if (argc > 1) test_golden_graphs(argv[1]);
  CHECK(logged == 0);
  ty_ctx_destroy(ctx);
  return check_done();
}
