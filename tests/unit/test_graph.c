/* test_graph.c: values, nodes, builder, replace and remove, verifier, text that parses back, hostile text, memory that runs out. */
#include "check.h"
#include "import/import.h"
#include "ops/ops.h"

#include <stdlib.h>

static ty_ctx *ctx;

static char *print(const ty_graph *g) {
  ty_str s = {0};
  ty_graph_print(g, &s);
  return s.p;
}

/* x -> linear -> gelu-like chain -> softmax pieces, with symbolic batch; used all over. */
static ty_graph *sample(ty_value **last) {
  ty_graph *g = ty_graph_create(ctx);
  if (!g) return NULL;
  ty_dim b = ty_dim_symbol(g, "s0", 2, 4096, 8), k = ty_dim_const(g, 4), n = ty_dim_const(g, 6);
  ty_value *x = ty_graph_input(g, TY_ROLE_INPUT, TY_f32, 2, (ty_dim[]){b, k}, NULL, "x \"quoted\"");
  ty_value *w = ty_graph_input(g, TY_ROLE_PARAM, TY_f32, 2, (ty_dim[]){n, k}, (ty_dim[]){ty_dim_const(g, 1), n}, "w");
  float lit[] = {0.1f, -1, 1e-30f, (float)__builtin_inff(), 3, -0.0f};
  ty_value *bias = ty_graph_literal(g, TY_f32, 1, (int64_t[]){6}, lit, sizeof lit);
  ty_value *y = ty_c_linear(g, x, w, bias);
  ty_value *h = ty_c_full(g, TY_f32, 0, NULL, 0.1);
  y = ty_c_prim(g, TY_P_mul, y, h, NULL);
  ty_value *m = ty_c_reduce(g, "max", y, 1, (int[]){1}, true);
  y = ty_c_prim(g, TY_P_exp, ty_c_prim(g, TY_P_sub, y, m, NULL), NULL, NULL);
  y = ty_c_reshape(g, y, 3, (ty_dim[]){b, ty_dim_const(g, 2), ty_dim_const(g, 3)});
  y = ty_c_permute(g, y, (int[]){1, 0, 2});
  y = ty_c_slice(g, y, 1, ty_dim_const(g, 0), 1, ty_dim_div(g, b, ty_dim_const(g, 2)));
  y = ty_c_prim(g, TY_P_sel, ty_c_prim(g, TY_P_gt, y, h, NULL), y, h);
  y = ty_c_cat(g, 2, (ty_value *[]){y, y}, 1);
  ty_value *i = ty_c_iota(g, 1, &b, 0);
  y = ty_c_cast(g, y, TY_i64);
  if (y) ty_graph_output(g, y);
  if (i) ty_graph_output(g, i);
  if (last) *last = y;
  if (!y || !i) {
    ty_graph_destroy(g);
    return NULL;
  }
  return g;
}

static void test_builder(void) {
  ty_value *last;
  ty_graph *g = sample(&last);
  if (!CHECK(g)) { fprintf(stderr, "%s\n", ty_ctx_error(ctx)); return; }
  CHECK(ty_graph_verify(g) == TY_OK);
  CHECK(last->dtype == TY_i64 && last->rank == 3 && last->shape[1] == ty_dim_mul(g, ty_dim_const(g, 2), ty_dim_div(g, ty_dim_symbol(g, "s0", 0, 0, 0), ty_dim_const(g, 2))));
  int *uses = ty_graph_use_counts(g);
  CHECK(uses[g->inputs.p[0]->id] == 1 && uses[last->id] == 1);
  ty_free(uses);
  /* insertion before a node, replacing, removing */
  ty_node *lin = g->first;
  while (lin->op != TY_OP_linear) lin = lin->next;
  int count = g->nnodes;
  lin->loc = "model.py:3";
  ty_graph_at(g, lin);
  ty_value *neg = ty_c_prim(g, TY_P_neg, g->inputs.p[0], NULL, NULL);
  ty_graph_at(g, NULL);
  CHECK(lin->prev == neg->def && g->nnodes == count + 1);
  CHECK_STR(neg->def->loc, "model.py:3");
  lin->args[0].value = neg;
  CHECK(ty_graph_verify(g) == TY_OK);
  ty_graph_replace(g, neg, g->inputs.p[0]);
  CHECK(lin->args[0].value == g->inputs.p[0]);
  ty_graph_remove(g, neg->def);
  CHECK(g->nnodes == count && ty_graph_verify(g) == TY_OK);
  /* the verifier finds what is broken */
  lin->args[0].value = last;
  CHECK(ty_graph_verify(g) == TY_INTERNAL);
  CHECK_HAS(ty_ctx_error(ctx), "used before it is defined");
  CHECK_HAS(ty_ctx_error(ctx), "ty.linear");
  lin->args[0] = ty_arg_float(1);
  CHECK(ty_graph_verify(g) == TY_INTERNAL);
  CHECK_HAS(ty_ctx_error(ctx), "wrong kind");
  ty_graph_destroy(g);
}

/* print(parse(t)) == t */
static void round_trip(const char *t) {
  ty_graph *g;
  if (!CHECK(ty_graph_parse(ctx, t, &g) == TY_OK)) {
    fprintf(stderr, "%s\n%s\n", ty_ctx_error(ctx), t);
    return;
  }
  CHECK(ty_graph_verify(g) == TY_OK);
  char *again = print(g);
  CHECK_STR(again, t);
  ty_free(again);
  ty_graph_destroy(g);
}

static void test_text(void) {
  ty_graph *g = sample(NULL);
  char *t = print(g);
  CHECK_HAS(t, "sym s0 in [2, 4096] hint 8\n%0: f32[s0, 4] = input \"x \\\"quoted\\\"\"\n%1: f32[6, 4] = param \"w\" strides [1, 6]\n");
  CHECK_HAS(t, "%2: f32[6] = literal [0.1, -1.0, 1e-30, inf, 3.0, -0.0]\n%3: f32[s0, 6] = ty.linear(%0, %1, %2)\n");
  CHECK_HAS(t, "i64[2, 2*(s0//2), 3] = ty.cast(");
  round_trip(t);
  ty_free(t);
  ty_graph_destroy(g);
  round_trip("sym a in [-inf, inf]\nsym b in [1, 9] hint 3\n%3: bool[] = input\n%9: u8[0, 2] = literal []\n%11: i8[2] = literal [-128, 127]\n"
             "%12: f16[2] = literal [0x3c00, 0xffff]\n%13: f64[2] = literal [1e+300, 0x7ff8000000000001]\n%14: bool[2] = literal [true, false]\n"
             "%20: i64[] = ty.dimval(b)  # model.py:7 \"x\"\n%18: f32[b, b + 1] = ty.full([b, b + 1], f32, nan)\n"
             "%17: f32[b, b + 1] = ty.full([b, b + 1], f32, -2.5)\n%16: f32[2*b, b + 1] = ty.cat([%18, %17], 0)\n"
             "%15: f32[b, b + 1] = ty.slice(%16, 0, b//2 + min(b, 4), 1, b)\n# ty.slice needs b + b//2 + min(b, 4) <= 2*b\noutput %15, %3, %9, %11, %12, %13, %14, %20, %15\n");
  /* by hand: keywords, spaces, comments */
  ty_graph *h;
  CHECK(ty_graph_parse(ctx, "# by hand\n\n %0:f32[4]=input\n%1: f32[4] = ty.slice(%0, dim=0, length=4, step=1, start=0) # here\noutput %1", &h) == TY_OK);
  CHECK_STR(h->first->loc, "here");
  ty_graph_destroy(h);
}

/* Random sizes print to text that parses to the same normal form. */
static void test_dim_text(void) {
  uint64_t rng = 7;
  int bad = 0;
  for (int round = 0; round < 300; round++) {
    ty_graph *g = ty_graph_create(ctx), *h;
    ty_dim pool[64];
    int n = 0;
    pool[n++] = ty_dim_symbol(g, "a", 1, 40, 3);
    pool[n++] = ty_dim_symbol(g, "b", 2, INT64_MAX, 3);
    pool[n++] = ty_dim_symbol(g, "c", 0, 9, 0);
    for (int i = 1; i < 8; i++) pool[n++] = ty_dim_const(g, i * i - 9);
    while (n < 40) {
      rng = rng * 6364136223846793005u + 1442695040888963407u;
      ty_dim x = pool[(rng >> 33) % (unsigned)n], y = pool[(rng >> 43) % (unsigned)n], r;
      switch ((rng >> 53) % 7) {
      case 0: r = ty_dim_sub(g, x, y); break;
      case 1: r = ty_dim_mul(g, x, y); break;
      case 2: r = ty_dim_div(g, x, y); break;
      case 3: r = ty_dim_mod(g, x, y); break;
      case 4: r = ty_dim_min(g, x, y); break;
      case 5: r = ty_dim_max(g, x, y); break;
      default: r = ty_dim_add(g, x, y); break;
      }
      if (r < 0) break;
      pool[n++] = r;
      if (ty_dim_get(g, r)->lo > INT64_MIN / 4) ty_c_dimval(g, r);
    }
    char *t = print(g), *u = NULL;
    if (ty_graph_parse(ctx, t, &h) == TY_OK) u = print(h);
    if (!u || strcmp(t, u)) {
      if (bad++ < 3) fprintf(stderr, "%s\n%s\n%s\n", ty_ctx_error(ctx), t, u ? u : "");
    }
    if (u) ty_graph_destroy(h);
    ty_free(t);
    ty_free(u);
    ty_graph_destroy(g);
  }
  CHECK(bad == 0);
}

static void refuse(const char *text, const char *why) {
  ty_graph *g = (ty_graph *)&g;
  CHECK(ty_graph_parse(ctx, text, &g) != TY_OK);
  CHECK(g == NULL);
  CHECK_HAS(ty_ctx_error(ctx), why);
}

static void test_refusals(void) {
  refuse("", "1:1: the output line is missing");
  refuse("what", "1:1: a line starts with");
  refuse("%0: f32[4] = input\n%1: f32[5] = ty.neg(%0)\noutput %1\n", "2:1: f32[5] is written where inference gives f32[4]");
  refuse("%0: f32[4] = input\n%1: f32[4] = ty.neg(%7)\noutput %1\n", "2:21: %7 is not defined");
  refuse("%0: f32[4] = input\n%0: f32[4] = ty.neg(%0)\noutput %0\n", "%0 is defined twice");
  refuse("%0: f32[s9] = input\noutput\n", "1:9: unknown symbol s9");
  refuse("%0: f32[_0] = input\noutput\n", "1:9: the index _0 outside of a map of ty.remap");
  refuse("%0: f32[4] = input\n%1: f32[4] = aten.add.Tensor(%0, _0%3)\noutput %1\n", "2:34: the index _0 outside of a map");
  refuse("%0: f32[4] = input\n%1: f32[4] = ty.remap(%0, [_1], [_0])\noutput %1\n", "2:28: the index _1 outside of a map");
  refuse("%0: f32[4] = input\n%1: f32[4] = ty.nope(%0)\noutput %1\n", "2:14: operator ty.nope is not known");
  refuse("%0: f32[4] = input\n%1: f32[4] = ty.neg(%0, %0)\noutput %1\n", "takes 1 arguments");
  refuse("%0: f32[4] = input\n%1: f32[4] = ty.neg(1.5)\noutput %1\n", "argument a must be a tensor");
  refuse("%0: f32[4] = input\n%1: f32[4] = ty.neg()\noutput %1\n", "argument a is missing");
  refuse("%0: f32[4] = input\n%1: f32[4] = ty.neg(b=%0)\noutput %1\n", "unknown argument b");
  refuse("%0: f32[-4] = input\noutput\n", "negative");
  refuse("%99999999: f32[4] = input\noutput\n", "value numbers end");
  refuse("%0: f32[1,1,1,1,1,1,1,1,1,1,1,1,1] = input\noutput\n", "more than 12");
  refuse("%0: f32[99999999999999999999] = input\noutput\n", "out of range");
  refuse("%0: f32[9223372036854775807*2] = input\noutput\n", "overflow");
  refuse("%0: f32[4] = literal [1, 2]\noutput\n", "\",\" is expected");
  refuse("%0: f32[400000] = literal [1, 2]\noutput\n", "elements are expected");
  refuse("%0: f32[70] = literal hash 00\noutput\n", "left out");
  refuse("%0: i8[1] = literal [200]\noutput\n", "does not fit");
  refuse("%0: f32[4] = input \"a\n\"\noutput\n", "does not end");
  refuse("sym a in [3, 2]\noutput\n", "empty range");
  refuse("sym a in [2, 3]\nsym a in [2, 3]\noutput\n", "twice");
  refuse("%0: f32[4] = input\n%1: f32[4] = ty.remap(%0, [4], [_0])\nsym a in [2, 3]\noutput\n", "3:5: symbol a is declared after a ty.remap");
  refuse("output\noutput\n", "2:1: text after");
  char deep[2000] = "%0: f32[";
  for (int i = 0; i < 900; i++) strcat(deep, "(");
  refuse(deep, "nested too deeply");
  strcpy(deep, "sym a in [1, inf]\n%0: f32[a");
  for (int i = 0; i < 300; i++) strcat(deep, "*a");
  strcat(deep, "]=input\noutput\n");
  refuse(deep, "too many factors");
  strcpy(deep, "sym a in [1, inf]\nsym b in [1, inf]\nsym c in [1, inf]\n%0: f32[(a+b+c)");
  for (int i = 0; i < 60; i++) strcat(deep, "*(a+b+c)");
  strcat(deep, "]=input\noutput\n");
  refuse(deep, "too");
}

/* Every prefix and many one-byte changes of good text: an answer, never a crash. */
static void test_mutations(void) {
  ty_graph *g = sample(NULL), *h;
  char *t = print(g);
  ty_graph_destroy(g);
  size_t n = strlen(t);
  uint64_t rng = 1;
  int parsed = 0;
  char *m = malloc(n + 1);
  for (int i = 0; i < 6000; i++) {
    memcpy(m, t, n + 1);
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    if ((size_t)i < n) m[i] = 0;
    else {
      static const char junk[] = "0123456789%[](),.-+*/\"#\nx=sfin e";
      m[(rng >> 33) % n] = junk[(rng >> 20) % (sizeof junk - 1)];
      if (i & 1) m[(rng >> 40) % n] = junk[(rng >> 50) % (sizeof junk - 1)];
    }
    if (ty_graph_parse(ctx, m, &h) == TY_OK) {
      parsed++;
      CHECK(ty_graph_verify(h) == TY_OK);
      ty_graph_destroy(h);
    }
  }
  CHECK(parsed > 0);
  free(m);
  ty_free(t);
}

/* Each allocation fails in turn: NULL or TY_NOMEM, nothing leaks (under ASan). */
static void test_no_memory(void) {
  ty_graph *g = sample(NULL), *h;
  char *t = print(g);
  ty_graph_destroy(g);
  int done = 0;
  for (long n = 1; n < 3000 && !done; n++) {
    ty_alloc_fail_after(n);
    g = sample(NULL);
    ty_alloc_fail_after(0);
    if (g) done = 1;
    ty_graph_destroy(g);
  }
  CHECK(done);
  done = 0;
  for (long n = 1; n < 3000 && !done; n++) {
    ty_alloc_fail_after(n);
    ty_status st = ty_graph_parse(ctx, t, &h);
    ty_alloc_fail_after(0);
    if (st == TY_OK) {
      char *u = print(h);
      CHECK_STR(u, t);
      ty_free(u);
      ty_graph_destroy(h);
      done = 1;
    } else if (st != TY_NOMEM) CHECK(st == TY_NOMEM);
  }
  CHECK(done);
  ty_free(t);
}

static void test_large(void) {
  double t0 = ty_now();
  ty_graph *g = ty_graph_create(ctx);
  ty_dim b = ty_dim_symbol(g, "s0", 2, 4096, 8), k = ty_dim_const(g, 64);
  ty_value *x = ty_graph_input(g, TY_ROLE_INPUT, TY_f32, 2, (ty_dim[]){b, k}, NULL, "x"), *y = x;
  for (int i = 0; i < 5000; i++) y = ty_c_prim(g, i & 1 ? TY_P_add : TY_P_mul, y, x, NULL);
  ty_graph_output(g, y);
  double t1 = ty_now();
  for (ty_node *n = g->first; n->next; n = n->next) {
    ty_graph_replace(g, n->outs[0], n->outs[0]);
    if (n->id == 500) break;
  }
  double t2 = ty_now();
  char *t = print(g);
  double t3 = ty_now();
  round_trip(t);
  double t4 = ty_now();
  CHECK(ty_graph_verify(g) == TY_OK);
  fprintf(stderr, "5000 nodes: build %.1f ms, replace %.3f ms each, print %.1f ms, round trip %.1f ms\n", (t1 - t0) * 1e3, (t2 - t1) * 2, (t3 - t2) * 1e3, (t4 - t3) * 1e3);
  ty_free(t);
  ty_graph_destroy(g);
}

int main(void) {
  ctx = ty_ctx_create();
  test_builder();
  test_text();
  test_dim_text();
  test_refusals();
  test_mutations();
  test_no_memory();
  test_large();
  ty_ctx_destroy(ctx);
  return check_done();
}
