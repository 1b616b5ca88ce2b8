/* test_api.c: the public C API over a graph made by hand: sessions, buffers, strides, errors, threads, the allocator hook; and
 * saved programs that were cut or changed. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include "api/model.h"
#include "api/source.h"
#include "check.h"
#include "ops/ops.h"
#include "rt/save.h"

enum { IN = 20, OUT = 37 };
static float weight[OUT * IN], bias[OUT], counter[3] = {1, 2, 3};

/* ---- the allocator of this program: counts what is not given back ---- */
static _Atomic long blocks;
static void *counted(void *user, void *p, size_t bytes) {
  (void)user;
  if (!bytes) {
    if (p) atomic_fetch_sub(&blocks, 1);
    free(p);
    return NULL;
  }
  if (!p) atomic_fetch_add(&blocks, 1);
  return realloc(p, bytes);
}

/* ---- a source: y = relu(x w^T + b), and a state that grows by one a run ---- */
static ty_value *op(ty_graph *g, const char *name, int n, const ty_arg *args) {
  ty_node *o = NULL;
  return ty_build(g, name, n, args, NULL, NULL, &o) ? NULL : o->outs[0];
}

static ty_status import(ty_ctx *ctx, const void *self, const ty_archive_options *options, ty_imported **out) {
  (void)self;
  ty_imported *im = ty_alloc(sizeof *im);
  ty_graph *g = ty_graph_create(ctx);
  *out = im;
  im->graph = g;
  ty_dim n = options && options->nfixes ? ty_dim_const(g, options->fixes[0].sizes[0]) : ty_dim_symbol(g, "batch", 1, 50, 4);
  ty_dim in = ty_dim_const(g, IN), o = ty_dim_const(g, OUT), three = ty_dim_const(g, 3);
  ty_value *x = ty_graph_input(g, TY_ROLE_INPUT, TY_f32, 2, (ty_dim[]){n, in}, NULL, "x");
  ty_value *w = ty_graph_input(g, TY_ROLE_PARAM, TY_f32, 2, (ty_dim[]){o, in}, NULL, "w");
  ty_value *b = ty_graph_input(g, TY_ROLE_PARAM, TY_f32, 1, &o, NULL, "b");
  ty_value *c = ty_graph_input(g, TY_ROLE_INPUT, TY_f32, 1, &three, NULL, "seen");
  ty_value *y = op(g, "aten.linear.default", 3, (ty_arg[]){ty_arg_value(x), ty_arg_value(w), ty_arg_value(b)});
  y = op(g, "aten.relu.default", 1, (ty_arg[]){ty_arg_value(y)});
  ty_value *d = op(g, "aten.add.Scalar", 2, (ty_arg[]){ty_arg_value(c), ty_arg_float(1)});
  ty_graph_output(g, y);
  ty_graph_output(g, d);
  im->ninputs = 4, im->nusers = 1, im->noutputs = 3, im->nguards = 1;
  im->inputs = ty_arena_alloc(&im->arena, 4 * sizeof *im->inputs);
  im->outputs = ty_arena_alloc(&im->arena, 3 * sizeof *im->outputs);
  im->guards = ty_arena_alloc(&im->arena, sizeof *im->guards);
  im->inputs[0] = (ty_imported_input){.name = "x", .input = 0, .update = -1};
  im->inputs[1] = (ty_imported_input){.kind = TY_IMPORTED_PARAM, .name = "w", .input = 1, .data = weight, .bytes = sizeof weight, .update = -1};
  im->inputs[2] = (ty_imported_input){.kind = TY_IMPORTED_PARAM, .name = "b", .input = 2, .data = bias, .bytes = sizeof bias, .update = -1};
  im->inputs[3] = (ty_imported_input){.kind = TY_IMPORTED_BUFFER, .name = "seen", .input = 3, .data = counter, .bytes = sizeof counter, .update = 1};
  im->outputs[0] = (ty_imported_output){"y", 0, {.kind = TY_ARG_NONE}};
  im->outputs[1] = (ty_imported_output){"rows", -1, ty_arg_int(ty_dim_mul(g, n, ty_dim_const(g, 2)))};
  im->outputs[2] = (ty_imported_output){"seen", 1, {.kind = TY_ARG_NONE}};
  im->guards[0] = (ty_imported_guard){n, ty_dim_const(g, 7), TY_GUARD_NE, "batch != 7"};
  return TY_OK;
}
static void nothing(void *self) { (void)self; }

static tuyere_model *archive(tuyere_context *c) {
  tuyere_model *m = NULL;
  CHECK(!ty_source_model(ty_ctx_of(c), (ty_source){import, nothing, NULL}, &m));
  return m;
}
static tuyere_model *compiled(tuyere_context *c) {
  tuyere_model *a = archive(c), *m = NULL;
  if (!CHECK(!tuyere_model_compile(c, a, &(tuyere_options){.no_compiler = true}, &m))) fprintf(stderr, "%s\n", tuyere_error(c));
  tuyere_model_destroy(a);
  return m;
}

static float x_at(int64_t i, int64_t j) { return (float)((i * 7 + j * 3) % 11) - 5; }
static int right(const tuyere_tensor *y, int64_t rows) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t o = 0; o < OUT; o++) {
      double sum = bias[o];
      for (int64_t j = 0; j < IN; j++) sum += (double)x_at(i, j) * (double)weight[o * IN + j];
      double got = ((const float *)y->data)[i * y->strides[0] + o * y->strides[1]], want = sum > 0 ? sum : 0;
      if (got - want > 1e-4 || want - got > 1e-4) return 0;
    }
  return 1;
}

static void test_looking(tuyere_context *c) {
  tuyere_model *a = archive(c), *m = compiled(c);
  tuyere_session *s;
  tuyere_info info;
  for (int k = 0; k < 2; k++) {
    tuyere_model *each = k ? m : a;
    CHECK(tuyere_model_num_inputs(each) == 1 && tuyere_model_num_outputs(each) == 3);
    CHECK(!tuyere_model_input(each, 0, &info) && info.dtype == TUYERE_F32 && info.rank == 2);
    CHECK_STR(info.name, "x");
    CHECK(info.dims[0].size == -1 && info.dims[0].min == 1 && info.dims[0].max == 50 && info.dims[1].size == IN);
    CHECK_STR(info.dims[0].text, "batch");
    CHECK(!tuyere_model_output(each, 1, &info) && info.dtype == TUYERE_I64 && info.rank == 0);
    CHECK(tuyere_model_input(each, 1, &info) == TUYERE_INVALID && tuyere_model_output(each, -1, &info) == TUYERE_INVALID);
    char *text = tuyere_model_explain(each);
    CHECK_HAS(text, k ? "aten.linear.default" : "{}");
    tuyere_free(text);
  }
  CHECK(tuyere_model_num_steps(a) == 0 && tuyere_model_num_steps(m) > 0);
  CHECK(tuyere_session_create(c, a, &s) == TUYERE_INVALID && !s);
  CHECK_HAS(tuyere_error(c), "compile it first");
  tuyere_model *again;
  CHECK(tuyere_model_compile(c, m, NULL, &again) == TUYERE_INVALID && !again);
  CHECK(!tuyere_model_compile(c, a, &(tuyere_options){.fixed = "x=3x-1", .no_compiler = true}, &again));
  CHECK(!tuyere_model_input(again, 0, &info) && info.dims[0].size == 3);
  tuyere_model_destroy(again);
  CHECK(tuyere_model_compile(c, a, &(tuyere_options){.fixed = "x=3y"}, &again) == TUYERE_INVALID);
  CHECK_HAS(tuyere_error(c), "'3y' is not of the form 1x128");
  tuyere_model_destroy(a);
  tuyere_model_destroy(m);
}

static void test_session(tuyere_context *c) {
  tuyere_model *m = compiled(c);
  tuyere_session *s;
  CHECK(!tuyere_session_create(c, m, &s));
  tuyere_model_destroy(m); /* the session keeps it */
  tuyere_tensor x = {.dtype = TUYERE_F32, .rank = 2, .shape = {5, IN}}, y, n;
  CHECK(tuyere_session_run(s) == TUYERE_INVALID);
  CHECK_HAS(tuyere_error(c), "input 0 (x) is not bound");
  CHECK(tuyere_session_output(s, 0, &y) == TUYERE_INVALID && tuyere_session_input(s, 0, &y) == TUYERE_INVALID);
  CHECK(!tuyere_session_bind_input(s, 0, &x) && !tuyere_session_input(s, 0, &x) && x.data && x.strides[0] == IN); /* the session's memory */
  for (int64_t i = 0; i < 5 * IN; i++) ((float *)x.data)[i] = x_at(i / IN, i % IN);
  for (int run = 1; run < 4; run++) {
    CHECK(!tuyere_session_run(s) && !tuyere_session_output(s, 0, &y) && y.shape[0] == 5 && right(&y, 5));
    CHECK(!tuyere_session_output(s, 1, &n) && *(int64_t *)n.data == 10);
    CHECK(!tuyere_session_output(s, 2, &n) && ((float *)n.data)[2] == 3 + (float)run); /* what the last run left */
  }
  /* the caller's memory, input and output transposed */
  float in[IN * 4], out[OUT * 4 + 8];
  for (int64_t i = 0; i < 4; i++)
    for (int64_t j = 0; j < IN; j++) in[j * 4 + 3 - i] = x_at(i, j);
  out[OUT * 4] = 42;
  x = (tuyere_tensor){.data = in + 3, .dtype = TUYERE_F32, .rank = 2, .shape = {4, IN}, .strides = {-1, 4}};
  y = (tuyere_tensor){.data = out, .dtype = TUYERE_F32, .rank = 2, .shape = {4, OUT}, .strides = {1, 4}};
  CHECK(!tuyere_session_bind_input(s, 0, &x) && !tuyere_session_bind_output(s, 0, &y) && !tuyere_session_run(s));
  CHECK(right(&y, 4) && out[OUT * 4] == 42);
  CHECK(!tuyere_session_run(s) && right(&y, 4));
  y.strides[0] = y.strides[1] = 0; /* contiguous: computed in place */
  CHECK(!tuyere_session_bind_output(s, 0, &y) && !tuyere_session_run(s) && !tuyere_session_output(s, 0, &y) && y.data == out && right(&y, 4));
  y.data = out + 4; /* only other memory */
  y.strides[0] = y.strides[1] = 0;
  CHECK(!tuyere_session_bind_output(s, 0, &y) && !tuyere_session_run(s) && !tuyere_session_output(s, 0, &y) && y.data == out + 4 && right(&y, 4));
  /* what is wrong */
  x.shape[0] = 3;
  CHECK(!tuyere_session_bind_input(s, 0, &x) && tuyere_session_run(s) == TUYERE_INVALID);
  CHECK_HAS(tuyere_error(c), "dim 0 of output 0 (y) is 3, and the memory bound has 4");
  CHECK(!tuyere_session_bind_output(s, 0, NULL) && !tuyere_session_run(s) && !tuyere_session_output(s, 0, &y) && right(&y, 3));
  x.shape[0] = 7;
  CHECK(!tuyere_session_bind_input(s, 0, &x) && tuyere_session_run(s) == TUYERE_INVALID);
  CHECK_HAS(tuyere_error(c), "batch != 7");
  CHECK(tuyere_session_output(s, 0, &y) == TUYERE_INVALID);
  x.shape[0] = 51;
  CHECK(tuyere_session_bind_input(s, 0, &x) == TUYERE_INVALID);
  CHECK_HAS(tuyere_error(c), "dim 0 of input 0 (x) is 51, which is not in 1 to 50");
  x.shape[0] = -1;
  CHECK(tuyere_session_bind_input(s, 0, &x) == TUYERE_INVALID);
  x.shape[0] = 4, x.dtype = TUYERE_F64;
  CHECK(tuyere_session_bind_input(s, 0, &x) == TUYERE_INVALID);
  CHECK_HAS(tuyere_error(c), "input 0 (x) is float64, and should be float32");
  x.dtype = TUYERE_F32, x.rank = 3;
  CHECK(tuyere_session_bind_input(s, 0, &x) == TUYERE_INVALID && tuyere_session_bind_input(s, 1, &x) == TUYERE_INVALID);
  x.rank = 2;
  CHECK(!tuyere_session_bind_input(s, 0, &x) && !tuyere_session_run(s) && !tuyere_session_output(s, 0, &y) && right(&y, 4));
  tuyere_session_destroy(s);
}

static void count_steps(void *user, int step, bool begin) {
  (void)step;
  *(int *)user += begin ? 1 : 1000;
}

static void test_profile(tuyere_context *c) {
  tuyere_model *m = compiled(c);
  tuyere_session *s;
  CHECK(!tuyere_session_create(c, m, &s));
  tuyere_tensor x = {.dtype = TUYERE_F32, .rank = 2, .shape = {5, IN}};
  CHECK(!tuyere_session_bind_input(s, 0, &x));
  tuyere_model_profile(m, true);
  int seen = 0;
  tuyere_session_on_step(s, count_steps, &seen);
  CHECK(!tuyere_session_run(s) && !tuyere_session_run(s));
  tuyere_session_on_step(s, NULL, NULL);
  tuyere_model_profile(m, false);
  CHECK(!tuyere_session_run(s));
  uint64_t calls = 0;
  for (int i = 0; i < tuyere_model_num_steps(m); i++) {
    tuyere_step t;
    CHECK(!tuyere_model_step(m, i, &t) && *t.name && (t.calls == 0 || t.calls == 2));
    calls += t.calls;
  }
  CHECK(calls > 0 && (uint64_t)seen == calls * 1001);
  tuyere_session_destroy(s);
  tuyere_model_destroy(m);
}

/* One model, a session a thread. */
static void *use(void *arg) {
  tuyere_context *c = tuyere_context_create(NULL, NULL);
  tuyere_session *s;
  CHECK(!tuyere_session_create(c, arg, &s));
  for (int k = 0; k < 40; k++) {
    tuyere_tensor x = {.dtype = TUYERE_F32, .rank = 2, .shape = {1 + k % 6, IN}}, y;
    CHECK(!tuyere_session_bind_input(s, 0, &x) && !tuyere_session_input(s, 0, &x));
    for (int64_t i = 0; i < x.shape[0] * IN; i++) ((float *)x.data)[i] = x_at(i / IN, i % IN);
    CHECK(!tuyere_session_run(s) && !tuyere_session_output(s, 0, &y) && right(&y, x.shape[0]));
    CHECK(!tuyere_session_output(s, 2, &y) && ((float *)y.data)[0] == (float)(2 + k)); /* each session has its own state */
  }
  tuyere_session_destroy(s);
  tuyere_context_destroy(c);
  return NULL;
}
static void test_threads(tuyere_context *c) {
  tuyere_model *m = compiled(c);
  pthread_t t[4];
  for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, use, m);
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  tuyere_model_destroy(m);
}

/* ---- saved programs ---- */
static void no_loop(const ty_kargs *a, ty_i64 r0, ty_i64 r1, ty_i64 c0, ty_i64 c1) { (void)a, (void)r0, (void)r1, (void)c0, (void)c1; }
static int number(void *user, const void *self) { return (void)user, (void)self, 0; }

static void load_one(ty_ctx *ctx, const uint8_t *p, size_t n, const void *weights, size_t bytes, int *good) {
  ty_reader r = {p, p, p + n, false};
  ty_program *q = NULL;
  ty_loop_fn fns[] = {no_loop};
  ty_face f;
  ty_status st = ty_program_load(ctx, &r, TY_ISA_PORTABLE, weights, bytes, 1, fns, &q);
  if (!st) {
    st = ty_face_get(ctx, &r, q, weights, bytes, &f);
    if (!st) ty_arena_free(&f.mem);
    ty_program_destroy(q);
  }
  CHECK(!st || *ty_ctx_error(ctx));
  *good += !st;
}

static void test_saved(tuyere_context *c) {
  ty_ctx *ctx = ty_ctx_of(c);
  ty_imported *im = NULL;
  ty_face f;
  CHECK(!import(ctx, NULL, NULL, &im));
  ty_graph *g = im->graph;
  im->graph = NULL;
  ty_model *m = NULL;
  CHECK(!ty_model_compile(ctx, g, &(ty_options){.no_compiler = true, .levels = 1u << TY_ISA_PORTABLE | 1u << ty_cpu_get()->isa}, &m));
  ty_program *p = ty_model_program(m);
  bool keep[4] = {false, true, true, false};
  size_t bytes = 0;
  CHECK(!ty_source_face(ctx, im, ty_model_graph(m), p, &f) && !ty_program_weights_size(p, ctx, keep, &bytes) && bytes > sizeof weight);
  ty_writer w = {0};
  int64_t at[1] = {0};
  CHECK(!ty_program_save(p, ctx, &w, number, NULL));
  ty_face_put(&w, &f, at);
  size_t n = (size_t)w.to.n;
  uint8_t *saved = aligned_alloc(64, (n + 63) / 64 * 64), *weights = aligned_alloc(64, (bytes + 63) / 64 * 64);
  void *inputs[4] = {NULL, weight, bias, NULL};
  memset(weights, 0, bytes);
  CHECK(!ty_program_weights_write(p, ctx, weights, inputs, NULL, NULL) && ty_program_weights_at(p, 3) == -1);
  memcpy(saved, w.to.p, n);
  int good = 0;
  load_one(ctx, saved, n, weights, bytes, &good);
  CHECK(good == 1);
  ty_reader r = {saved, saved, saved + n, false}; /* what sizes must satisfy is saved, too */
  ty_program *q = NULL;
  if (CHECK(!ty_program_load(ctx, &r, TY_ISA_PORTABLE, weights, bytes, 1, (ty_loop_fn[]){no_loop}, &q))) {
    CHECK(ty_program_run(q, ctx, &(ty_run){.syms = (int64_t[]){51}, .inputs = inputs, .outputs = inputs}) == TY_INVALID);
    CHECK_HAS(tuyere_error(c), "the program needs batch <= 50, and that is 51 <= 50 where batch = 51");
    ty_program_destroy(q);
  }
  for (size_t i = 0; i < n; i++) load_one(ctx, saved, i, weights, bytes, &good);
  CHECK(good == 1); /* none of those that were cut */
  load_one(ctx, saved, n, weights, bytes - 64, &good);
  CHECK(good == 1);
  static const uint8_t change[] = {1, 2, 128, 255};
  for (size_t i = 0; i < n; i++)
    for (int k = 0; k < 4; k++) {
      saved[i] ^= change[k];
      load_one(ctx, saved, n, weights, bytes, &good);
      saved[i] ^= change[k];
    }
  load_one(ctx, saved, n, weights, bytes, &good);
  free(saved);
  free(weights);
  TY_VEC_FREE(&w.to);
  ty_arena_free(&f.mem);
  ty_model_destroy(m);
  ty_imported_destroy(im);
}

/* ---- deployed: compiled and linked as this program is, so that the sanitizers watch the artefact as well ---- */
static void test_deployed(tuyere_context *c) {
#if defined __clang__
#define CC "clang"
#else
#define CC "gcc"
#endif
#if defined __SANITIZE_ADDRESS__
  setenv("TUYERE_CC", CC " -fsanitize=address,undefined", 1);
#elif defined __SANITIZE_THREAD__
  setenv("TUYERE_CC", CC " -fsanitize=thread", 1);
#elif defined __clang__ /* does not say what it links */
  return;
#endif
  char dir[] = "/tmp/tuyere-test-XXXXXX", path[64];
  if (!CHECK(mkdtemp(dir))) return;
  snprintf(path, sizeof path, "%s/net", dir);
  tuyere_model *a = archive(c), *m = NULL;
  tuyere_session *s = NULL;
  tuyere_status st = tuyere_model_deploy(c, a, &(tuyere_options){.targets = "portable"}, path);
  tuyere_model_destroy(a);
  snprintf(path, sizeof path, "%s/net.so", dir);
  if (!st) st = tuyere_model_open(c, path, &m);
  if (!st) st = tuyere_session_create(c, m, &s);
  if (!CHECK(!st)) fprintf(stderr, "%s\n", tuyere_error(c));
  for (int rows = 1; rows < 51 && s; rows += 7) {
    tuyere_tensor x = {.dtype = TUYERE_F32, .rank = 2, .shape = {rows, IN}}, y;
    st = tuyere_session_bind_input(s, 0, &x);
    if (!CHECK(!st && !tuyere_session_input(s, 0, &x))) break;
    for (int64_t i = 0; i < rows * IN; i++) ((float *)x.data)[i] = x_at(i / IN, i % IN);
    CHECK(!tuyere_session_run(s) && !tuyere_session_output(s, 0, &y) && right(&y, rows));
  }
  tuyere_session_destroy(s);
  tuyere_model_destroy(m);
  static const char *const endings[] = {"so", "weights", "h"};
  for (int i = 0; i < 3; i++) snprintf(path, sizeof path, "%s/net.%s", dir, endings[i]), CHECK(!unlink(path));
  CHECK(!rmdir(dir));
}

int main(void) {
  CHECK(!tuyere_set_allocator(counted, NULL));
  for (int i = 0; i < OUT * IN; i++) weight[i] = (float)(i * 13 % 17 - 8) / 8;
  for (int i = 0; i < OUT; i++) bias[i] = (float)(i % 5 - 2);
  tuyere_context *c = tuyere_context_create(NULL, NULL);
  CHECK(tuyere_set_allocator(NULL, NULL) == TUYERE_INVALID); /* too late */
  CHECK_STR(tuyere_error(c), "");
  CHECK_STR(tuyere_dtype_name(TUYERE_BF16), "bfloat16");
  CHECK(tuyere_dtype_size(TUYERE_F64) == 8 && tuyere_dtype_size((tuyere_dtype)99) == 0);
  tuyere_model *none;
  CHECK(tuyere_model_open(c, "/nowhere/model.pt2", &none) == TUYERE_IO && !none);
  CHECK_HAS(tuyere_error(c), "/nowhere/model.pt2: No such file");
  long left[2];
  for (int round = 0; round < 2; round++) { /* the first leaves what a process makes once: schemas, threads */
    test_looking(c);
    test_session(c);
    test_profile(c);
    test_threads(c);
    test_saved(c);
    test_deployed(c);
    left[round] = atomic_load(&blocks);
  }
  CHECK(left[0] == left[1]);
  tuyere_session_destroy(NULL);
  tuyere_model_destroy(NULL);
  tuyere_context_destroy(c);
  return check_done();
}
