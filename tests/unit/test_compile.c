/* test_compile.c: whole graphs through passes, schedule and program: fused results against the same graph operator by operator, and
 * with every intermediate value asked for (so that nothing fuses), over several sizes and thread counts. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api/model.h"
#include "check.h"
#include "import/import.h"
#include "ops/ops.h"
#include "rt/pool.h"

static ty_ctx *ctx;
static ty_graph *G;
static ty_value *all[256];
static int nall;

static ty_value *op(const char *name, int n, const ty_arg *args) {
  ty_node *o = NULL;
  ty_status st = ty_build(G, name, n, args, NULL, NULL, &o);
  if (st) { fprintf(stderr, "%s: %s\n", name, ty_ctx_error(ctx)); CHECK(!"ty_build"); exit(1); }
  if (nall < 256) all[nall++] = o->outs[0];
  return o->outs[0];
}
#define V(x) ty_arg_value(x)
#define I(x) ty_arg_int(ty_dim_const(G, x))
static ty_arg L(int n, ...) {
  ty_dim d[8];
  va_list v;
  va_start(v, n);
  for (int i = 0; i < n; i++) d[i] = va_arg(v, ty_dim);
  va_end(v);
  return ty_arg_ints(G, n, d);
}
static ty_dim C(int64_t v) { return ty_dim_const(G, v); }
static ty_value *in(ty_role r, ty_dtype t, int rank, ...) {
  ty_dim d[8];
  va_list v;
  va_start(v, rank);
  for (int i = 0; i < rank; i++) d[i] = va_arg(v, ty_dim);
  va_end(v);
  return ty_graph_input(G, r, t, rank, d, NULL, NULL);
}

enum { HID = 24, HEADS = 3, FF = 40 };

/* One encoder layer over [b, s, HID], as torch.export would bring it. */
static void encoder(ty_dim b, ty_dim s) {
  ty_value *x = in(TY_ROLE_INPUT, TY_f32, 3, b, s, C(HID)), *mask = in(TY_ROLE_INPUT, TY_f32, 4, b, C(1), C(1), s);
  ty_value *w[4], *bias[4];
  for (int i = 0; i < 4; i++) { w[i] = in(TY_ROLE_PARAM, TY_f32, 2, C(HID), C(HID)); bias[i] = in(TY_ROLE_PARAM, TY_f32, 1, C(HID)); }
  ty_value *w1 = in(TY_ROLE_PARAM, TY_f32, 2, C(FF), C(HID)), *b1 = in(TY_ROLE_PARAM, TY_f32, 1, C(FF));
  ty_value *w2 = in(TY_ROLE_PARAM, TY_f32, 2, C(HID), C(FF)), *g = in(TY_ROLE_PARAM, TY_f32, 1, C(HID)), *h = in(TY_ROLE_PARAM, TY_f32, 1, C(HID));
  ty_value *p[3];
  for (int i = 0; i < 3; i++) {
    ty_value *y = op("aten.linear.default", 3, (ty_arg[]){ V(x), V(w[i]), V(bias[i]) });
    y = op("aten.view.default", 2, (ty_arg[]){ V(y), L(4, b, s, C(HEADS), C(HID / HEADS)) });
    p[i] = op("aten.permute.default", 2, (ty_arg[]){ V(y), L(4, C(0), C(2), C(1), C(3)) });
  }
  ty_value *a = op("aten.scaled_dot_product_attention.default", 4, (ty_arg[]){ V(p[0]), V(p[1]), V(p[2]), V(mask) });
  a = op("aten.permute.default", 2, (ty_arg[]){ V(a), L(4, C(0), C(2), C(1), C(3)) });
  a = op("aten.reshape.default", 2, (ty_arg[]){ V(a), L(3, b, s, C(HID)) });
  a = op("aten.linear.default", 3, (ty_arg[]){ V(a), V(w[3]), V(bias[3]) });
  a = op("aten.add.Tensor", 2, (ty_arg[]){ V(a), V(x) });
  a = op("aten.layer_norm.default", 4, (ty_arg[]){ V(a), L(1, C(HID)), V(g), V(h) });
  ty_value *f = op("aten.linear.default", 3, (ty_arg[]){ V(a), V(w1), V(b1) });
  f = op("aten.gelu.default", 1, (ty_arg[]){ V(f) });
  f = op("aten.linear.default", 2, (ty_arg[]){ V(f), V(w2) });
  f = op("aten.add.Tensor", 2, (ty_arg[]){ V(f), V(a) });
  f = op("aten.softmax.int", 2, (ty_arg[]){ V(f), I(2) });
  f = op("aten.mean.dim", 2, (ty_arg[]){ V(f), L(1, C(1)) });
  op("aten.tanh.default", 1, (ty_arg[]){ V(f) });
}

/* Attention written out, a column mean, concatenation, a gather, index arithmetic. */
static void pieces(ty_dim b, ty_dim s) {
  ty_value *q = in(TY_ROLE_INPUT, TY_f32, 4, b, C(2), s, C(8)), *table = in(TY_ROLE_PARAM, TY_f32, 2, C(140), C(16));
  ty_value *kt = op("aten.transpose.int", 3, (ty_arg[]){ V(q), I(2), I(3) });
  ty_value *sc = op("aten.matmul.default", 2, (ty_arg[]){ V(q), V(kt) });
  sc = op("aten.mul.Tensor", 2, (ty_arg[]){ V(sc), ty_arg_float(0.25) });
  ty_value *p = op("aten._softmax.default", 3, (ty_arg[]){ V(sc), I(-1), ty_arg_bool(false) });
  ty_value *o = op("aten.matmul.default", 2, (ty_arg[]){ V(p), V(q) });
  o = op("aten.permute.default", 2, (ty_arg[]){ V(o), L(4, C(0), C(2), C(1), C(3)) });
  o = op("aten.reshape.default", 2, (ty_arg[]){ V(o), L(3, b, s, C(16)) });
  ty_value *ids = op("aten.arange.default", 1, (ty_arg[]){ ty_arg_int(s) });
  ids = op("aten.add.Tensor", 2, (ty_arg[]){ V(ids), I(2) });
  ty_value *e = op("aten.embedding.default", 2, (ty_arg[]){ V(table), V(ids) });
  e = op("aten.add.Tensor", 2, (ty_arg[]){ V(o), V(e) });
  ty_value *c = op("aten.cat.default", 2, (ty_arg[]){ ty_arg_values(G, 2, (ty_value *[]){ e, o }), I(-1) });
  c = op("aten.slice.Tensor", 4, (ty_arg[]){ V(c), I(2), I(3), I(29) });
  op("aten.sum.dim_IntList", 2, (ty_arg[]){ V(c), L(2, C(1), C(2)) });
}

typedef void (*make)(ty_dim, ty_dim);

static float value_at(size_t i) { return (float)((i * 2654435761u >> 7 & 1023) / 512.0 - 1.0); }

typedef struct result { float *p; size_t n; } result;

static size_t count(const ty_model *m, const ty_dim *shape, int rank, const int64_t *syms) {
  size_t n = 1;
  for (int i = 0; i < rank; i++) n *= (size_t)ty_dim_eval(ty_model_graph(m), shape[i], syms);
  return n;
}

static ty_model *build(make f, bool everything, bool eager, bool no_compiler, int *last) {
  G = ty_graph_create(ctx);
  nall = 0;
  ty_dim b = ty_dim_symbol(G, "b", 1, 64, 2), s = ty_dim_symbol(G, "s", 2, 512, 7);
  f(b, s);
  *last = 0;
  if (everything)
    for (int i = 0; i < nall; i++)
      if (all[i]->dtype == TY_f32) { ty_graph_output(G, all[i]); *last = G->outputs.n - 1; }
  if (!everything) ty_graph_output(G, all[nall - 1]);
  ty_model *m = NULL;
  ty_status st = ty_model_compile(ctx, G, &(ty_options){ .eager = eager, .no_compiler = no_compiler }, &m);
  if (st) fprintf(stderr, "compile: %s\n", ty_ctx_error(ctx));
  CHECK(st == TY_OK);
  return m;
}

static result run(ty_model *m, int64_t b, int64_t s, int which) {
  const ty_graph *g = ty_model_graph(m);
  int64_t syms[2] = { b, s };
  void *inputs[64], *outputs[256];
  for (int i = 0; i < g->inputs.n; i++) {
    size_t n = count(m, g->inputs.p[i]->shape, g->inputs.p[i]->rank, syms);
    float *p = malloc(n * 4);
    for (size_t k = 0; k < n; k++) p[k] = value_at(k + 131 * (size_t)i) * (g->inputs.p[i]->role == TY_ROLE_PARAM ? 0.3f : 1);
    inputs[i] = p;
  }
  result r = { 0 };
  for (int i = 0; i < ty_model_noutputs(m); i++) {
    ty_model_output o;
    ty_model_get_output(m, i, &o);
    size_t n = count(m, o.shape, o.rank, syms);
    outputs[i] = malloc(n * 4 + 4);
    if (i == which) r = (result){ outputs[i], n };
  }
  ty_status st = ty_program_run(ty_model_program(m), ctx, &(ty_run){ .syms = syms, .inputs = inputs, .outputs = outputs });
  if (st) fprintf(stderr, "run: %s\n", ty_ctx_error(ctx));
  CHECK(st == TY_OK);
  for (int i = 0; i < g->inputs.n; i++) free(inputs[i]);
  for (int i = 0; i < ty_model_noutputs(m); i++) if (i != which) free(outputs[i]);
  return r;
}

static void compare(make f, bool eager, bool no_compiler) {
  int last, unused;
  ty_model *apart = eager ? build(f, false, true, no_compiler, &last) : build(f, true, false, no_compiler, &last);
  ty_model *fused = build(f, false, false, no_compiler, &unused);
  if (!apart || !fused) return;
  for (int i = 0; i < ty_program_nsteps(ty_model_program(apart)) && eager; i++) {
    ty_step_stat step;
    ty_program_stat(ty_model_program(apart), i, &step);
    CHECK(!strncmp(step.name, "aten::", 6) && !step.fold); /* each is one operator's, and runs at every call */
  }
  static const int64_t sizes[][2] = { { 1, 2 }, { 2, 7 }, { 3, 33 }, { 1, 130 } };
  for (int t = 1; t <= 3; t++) {
    ty_pool_set_threads(t);
    for (int i = 0; i < 4; i++) {
      result a = run(apart, sizes[i][0], sizes[i][1], last), b = run(fused, sizes[i][0], sizes[i][1], 0);
      double worst = 0;
      CHECK(a.n == b.n && a.n > 0);
      for (size_t k = 0; k < a.n && k < b.n; k++) worst = fmax(worst, isnan(a.p[k]) || isnan(b.p[k]) ? 1 : fabs(a.p[k] - b.p[k]) / (1 + fabs(a.p[k])));
      if (worst > 2e-6) fprintf(stderr, "threads %d, b %d, s %d: differs by %g\n", t, (int)sizes[i][0], (int)sizes[i][1], worst);
      CHECK(worst <= 2e-6);
      free(a.p);
      free(b.p);
    }
  }
  ty_str s = { 0 };
  if (getenv("SHOW")) { ty_program_print(ty_model_program(eager ? apart : fused), &s); puts(s.p); puts(ty_model_explain(fused)); }
  ty_str_free(&s);
  ty_model_destroy(apart);
  ty_model_destroy(fused);
}

/* What is empty is not read: the mean of no elements is NaN, and so is what follows from it. */
static void empty(ty_dim b, ty_dim s) {
  (void)s;
  ty_value *w = in(TY_ROLE_PARAM, TY_f32, 1, C(0)), *x = in(TY_ROLE_INPUT, TY_f32, 1, b);
  ty_value *d = op("aten.std.correction", 2, (ty_arg[]){ V(w), L(1, C(0)) });
  op("aten.add.Tensor", 2, (ty_arg[]){ V(x), V(d) });
}
static void test_empty(void) {
  int last;
  ty_model *m = build(empty, false, false, true, &last);
  result r = run(m, 2, 2, 0); /* inputs have as many bytes as they need: the sanitizers watch */
  CHECK(r.n == 2 && isnan(r.p[0]) && isnan(r.p[1]));
  free(r.p);
  ty_model_destroy(m);
}

/* What operators need of sizes and nobody proves is checked when sizes are bound: with a, b: sizes, and the error or NULL. Buffers have as
 * many bytes as they need: the sanitizers watch. */
static void test_needs(void) {
  static const struct { const char *body; int64_t a, b; const char *error; } t[] = {
    { "%1: f32[8] = aten.select.int(%0, 0, 5)", 6, 8, NULL },
    { "%1: f32[8] = aten.select.int(%0, 0, 5)", 5, 8, "aten.select.int needs 6 <= a, and that is 6 <= 5 where a = 5, b = 8" },
    { "%1: f32[8] = aten.select.int(%0, 0, -4)", 3, 8, "aten.select.int needs 0 <= a - 4" },
    { "%1: f32[b, 8] = aten.narrow.default(%0, 0, 2, b)", 7, 5, NULL },
    { "%1: f32[b, 8] = aten.narrow.default(%0, 0, 2, b)", 6, 5, "aten.narrow.default needs b + 2 <= a, and that is 7 <= 6" },
    { "%1: f32[a - 4, 8, 5] = aten.unfold.default(%0, 0, 5, 1)", 4, 1, "aten.unfold.default needs 5 <= a" },
    { "%1: f32[b, 8*a//b] = aten.view.default(%0, [b, -1])", 6, 4, NULL },
    { "%1: f32[b, 8*a//b] = aten.view.default(%0, [b, -1])", 6, 5, "aten.view.default needs" },
    { "%1: f32[a, 8] = aten.squeeze.dim(%0, 0)", 2, 1, NULL },
    { "%1: f32[a, 8] = aten.squeeze.dim(%0, 0)", 1, 1, "aten.squeeze.dim needs a != 1" },
    { "%1: f32[a + 8, 8] = aten.pad.default(%0, [0, 0, 4, 4], \"reflect\")", 4, 1, "aten.pad.default needs 4 <= a - 1" },
    { "%1: f32[a, 8] = aten.roll.default(%0, [2], [0])", 3, 1, NULL },
    { "%1: f32[a, 8] = aten.roll.default(%0, [2], [0])", 0, 1, NULL },
    { "%1: f32[a, 8] = aten.flip.default(%0, [0])", 0, 1, NULL },
    { "%1: f32[a, 8] = aten.add.Scalar(%0, 1)", 17, 1, "the program needs a <= 16, and that is 17 <= 16" },
  };
  for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
    ty_str s = { 0 };
    ty_graph *g;
    ty_model *m = NULL;
    const char *last = strrchr(t[i].body, '%');
    while (last > t[i].body && last[-1] != '\n') last--;
    ty_str_add(&s, "sym a in [0, 16]\nsym b in [1, inf]\n%%0: f32[a, 8] = input\n%s\noutput %%%d\n", t[i].body, atoi(last + 1));
    ty_status st = ty_graph_parse(ctx, s.p, &g);
    if (!st) st = ty_model_compile(ctx, g, &(ty_options){ .no_compiler = true }, &m);
    if (st) fprintf(stderr, "%s\n%s\n", s.p, ty_ctx_error(ctx));
    ty_str_free(&s);
    if (!CHECK(st == TY_OK)) continue;
    int64_t syms[2] = { t[i].a, t[i].b };
    ty_model_output o;
    ty_model_get_output(m, 0, &o);
    float *x = calloc((size_t)t[i].a * 8 + !t[i].a, 4), *y = malloc(t[i].error ? 1 : count(m, o.shape, o.rank, syms) * 4);
    st = ty_program_run(ty_model_program(m), ctx, &(ty_run){ .syms = syms, .inputs = (void *[]){ x }, .outputs = (void *[]){ y } });
    if (!CHECK(st == (t[i].error ? TY_INVALID : TY_OK))) fprintf(stderr, "%s: %s\n", t[i].body, ty_ctx_error(ctx));
    if (t[i].error) CHECK_HAS(ty_ctx_error(ctx), t[i].error);
    free(x);
    free(y);
    ty_model_destroy(m);
  }
}

int main(void) {
  ctx = ty_ctx_create();
  test_needs();
  test_empty();
  for (int interpreted = 1; interpreted >= 0; interpreted--) {
    for (int eager = 0; eager < 2; eager++) {
      compare(encoder, eager, interpreted);
      compare(pieces, eager, interpreted);
    }
  }
  ty_ctx_destroy(ctx);
  return check_done();
}
