/* test_archive.c: the pieces of the reader of archives: size expressions, names of leaves, JSON getters, binding of sizes. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "import/archive_int.h"

static ty_ctx *ctx;
static ty_arena arena;
static ar_place at;

/* An expression as a dim's text, or the failure. */
static char text[2000];
static const char *dim(const char *expr) {
  ty_graph *g = ty_graph_create(ctx);
  ar_symbols s = {.g = g, .p = ty_arena_alloc(&arena, AR_MAX_SYMBOLS * sizeof *s.p)};
  ar_expr *e;
  ty_dim d;
  ty_status st = ar_expr_parse(&at, &arena, expr, &e);
  if (!st) st = ar_expr_dim(&at, &s, e, 0, &d);
  ty_str t = {0};
  if (!st) ty_dim_print(g, d, &t);
  snprintf(text, sizeof text, "%s", st ? ty_ctx_error(ctx) : t.p);
  ty_str_free(&t);
  ty_graph_destroy(g);
  return text;
}

static double number(const char *expr) {
  ty_graph *g = ty_graph_create(ctx);
  ar_symbols s = {.g = g, .p = ty_arena_alloc(&arena, AR_MAX_SYMBOLS * sizeof *s.p)};
  ar_expr *e;
  double v = -1;
  if (ar_expr_parse(&at, &arena, expr, &e) || ar_expr_number(&at, &s, e, &v)) v = -1;
  ty_graph_destroy(g);
  return v;
}

static void expressions(void) {
  CHECK_STR(dim("Integer(7)"), "7");
  CHECK_STR(dim("-3"), "-3");
  CHECK_STR(dim("Symbol('s0', positive=True, integer=True)"), "s0");
  CHECK_STR(dim("Add(Symbol(\"s0\"), Integer(1))"), "s0 + 1");
  CHECK_STR(dim("Mul(Integer(2), Symbol('s1', integer=True), Symbol('s0'))"), "2*s1*s0");
  CHECK_STR(dim("Pow(Symbol('s0'), Integer(2))"), "s0*s0");
  CHECK_STR(dim("FloorDiv(Symbol('s0'), Integer(4))"), "s0//4");
  CHECK_STR(dim("CeilToInt(IntTrueDiv(Symbol('s0'), Integer(4)))"), dim("FloorDiv(Add(Symbol('s0'), Integer(3)), Integer(4))"));
  CHECK_STR(dim("Mul(Rational(1, 2), Symbol('s0'))"), "s0//2");
  CHECK_STR(dim("PythonMod(Symbol('s0'), Integer(8))"), "s0%8");
  CHECK_STR(dim("ModularIndexing(Symbol('s0'), Integer(2), Integer(8))"), "(s0//2)%8");
  CHECK_STR(dim("Max(Integer(1), Symbol('s0'))"), "max(s0, 1)");
  CHECK_STR(dim("Min(Integer(5), Integer(3))"), "3");
  CHECK_STR(dim("Identity(Integer(5))"), "5");
  CHECK_HAS(dim("Pow(Symbol('s0'), Integer(-1))"), "f.pt2: m.json: here: a size of the form Pow of 2");
  CHECK_HAS(dim("Piecewise(Integer(1))"), "a size of the form Piecewise of 1");
  CHECK_HAS(dim(""), "character 1: a name is expected");
  CHECK_HAS(dim("Add(Integer(1)"), "\",\" or \")\" is expected");
  CHECK_HAS(dim("Add(Integer(1),)"), "a name is expected");
  CHECK_HAS(dim("Integer(1) x"), "character 12: the expression should end here");
  CHECK_HAS(dim("Integer(99999999999999999999)"), "an int of 64 bits is expected");
  CHECK_HAS(dim("Symbol('s0)"), "the string does not end");
  CHECK_HAS(dim("Symbol('9')"), "\"9\" is no name of a symbol");
  CHECK_HAS(dim("Symbol('min')"), "\"min\" is no name of a symbol");
  CHECK_HAS(dim("Mul(Integer(4611686018427387904), Integer(4))"), "f.pt2: m.json: here: ");
  char deep[400] = "";
  for (int i = 0; i < 70; i++) strcat(deep, "Add(");
  CHECK_HAS(dim(deep), "the expression is too large");
  CHECK(number("IntTrueDiv(Integer(1), Integer(4))") == 0.25);
  CHECK(number("Pow(ToFloat(Integer(9)), Float('0.5', precision=53))") == 3);
  CHECK(number("Add(Float('1.5'), Rational(1, 2), OpaqueUnaryFn_sqrt(Integer(4)))") == 4);
  CHECK(number("Symbol('s0')") == -1);
}

static const char *leaves(const char *spec, const char *names) {
  json_object *n = names ? json_tokener_parse(names) : NULL;
  ar_leaves l = {0};
  ty_status st = ar_tree_leaves(&at, &arena, spec, n, &l);
  *text = 0;
  for (int i = 0; i < l.n && !st; i++) snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "", l.names[i]);
  if (st) snprintf(text, sizeof text, "%s", ty_ctx_error(ctx));
  json_object_put(n);
  return text;
}

#define LEAF "{\"type\": null, \"context\": null, \"children_spec\": []}"
#define TUPLE(...) "{\"type\": \"builtins.tuple\", \"context\": \"null\", \"children_spec\": [" __VA_ARGS__ "]}"
#define DICT(keys, ...) "{\"type\": \"builtins.dict\", \"context\": \"" keys "\", \"children_spec\": [" __VA_ARGS__ "]}"

static void trees(void) {
  CHECK_STR(leaves("[1, " LEAF "]", NULL), "out");
  CHECK_STR(leaves("[1, " TUPLE(LEAF ", " TUPLE(LEAF)) "]", NULL), "out.0 out.1.0");
  CHECK_STR(leaves("[1, " DICT("[\\\"a\\\", \\\"b c\\\"]", LEAF ", " LEAF) "]", NULL), "out.a out.b_c");
  CHECK_STR(leaves("[1, " DICT("[\\\"a.b\\\", \\\"a b\\\"]", LEAF ", " LEAF) "]", NULL), "out.a_b out.a_b_2");
  CHECK_STR(leaves("[1, " DICT("[\\\"a\\\"]", LEAF ", " LEAF) "]", NULL), "out.0 out.1"); /* keys that do not fit */
  CHECK_STR(leaves("[1, " DICT("[[", LEAF) "]", NULL), "out.0");
  CHECK_STR(leaves("[1, " TUPLE(TUPLE(LEAF ", " TUPLE(LEAF)) ", " DICT("[\\\"k\\\"]", LEAF)) "]", "[\"x\", \"y\", \"k\"]"), "x y.0 k");
  CHECK_HAS(leaves("[1, " TUPLE(LEAF) "]", "[]"), "1 children where (args, kwargs) is expected");
  CHECK_HAS(leaves("[1]", NULL), "[1, {..}] is expected");
  CHECK_HAS(leaves("[1, 2]", NULL), "\"children_spec\" must be a list, got nothing");
  CHECK_HAS(leaves("nothing", NULL), "not the JSON of an archive");
}

static void getters(void) {
  json_object *o, *v;
  const char *s, *key;
  int64_t i;
  double f;
  int n;
  const char *json = "{\"i\": 5, \"s\": \"x\\u0000y\", \"big\": 18446744073709551615, \"inf\": \"-Infinity\", \"l\": [1, 2], \"u\": {\"as_int\": 3}, \"two\": {\"a\": 1, \"b\": 2}, \"null\": null}";
  CHECK(ar_json_parse(&at, json, strlen(json), &o) == TY_OK);
  CHECK(ar_int(&at, o, "i", &i) == TY_OK && i == 5);
  CHECK(ar_string(&at, o, "s", &s) == TY_INVALID);
  CHECK_HAS(ty_ctx_error(ctx), "without NUL are expected");
  CHECK(ar_int(&at, o, "big", &i) == TY_INVALID);
  CHECK_HAS(ty_ctx_error(ctx), "does not fit 64 bits");
  CHECK(ar_int(&at, o, "l", &i) == TY_INVALID);
  CHECK_STR(ty_ctx_error(ctx), "f.pt2: m.json: here: \"l\" must be an int, got array");
  CHECK(ar_float_of(&at, ar_get(o, "inf"), "inf", &f) == TY_OK && f < -1e308);
  CHECK(ar_list(&at, o, "l", &v, &n) == TY_OK && n == 2);
  CHECK(ar_union(&at, ar_get(o, "u"), "u", &key, &v) == TY_OK && !strcmp(key, "as_int"));
  CHECK(ar_union(&at, ar_get(o, "two"), "two", &key, &v) == TY_INVALID);
  CHECK(!ar_get(o, "null") && !ar_get(NULL, "x") && !ar_get(ar_get(o, "l"), "x"));
  json_object_put(o);
  ar_map m = {0};
  char name[200][8];
  for (int k = 0; k < 200; k++) {
    snprintf(name[k], sizeof name[k], "n%d", k);
    CHECK(ar_map_put(&m, name[k], k));
  }
  for (int k = 0; k < 200; k++) CHECK(ar_map_get(&m, name[k]) == k);
  CHECK(ar_map_get(&m, "other") == -1);
  ar_map_free(&m);
}

/* Sizes of two inputs, [2*s + 1] and [s, 4], with a guard s % 2 == 0. */
static void binding(void) {
  ty_graph *g = ty_graph_create(ctx);
  ty_dim s = ty_dim_symbol(g, "s", 2, 100, 0), odd = ty_dim_add(g, ty_dim_mul(g, s, ty_dim_const(g, 2)), ty_dim_const(g, 1));
  ty_graph_input(g, TY_ROLE_INPUT, TY_f32, 1, &odd, NULL, "a");
  ty_graph_input(g, TY_ROLE_INPUT, TY_f32, 2, (ty_dim[]){s, ty_dim_const(g, 4)}, NULL, "b");
  int64_t coef, rest, syms[1];
  int sym;
  CHECK(ar_solve(g, odd, &sym, &coef, &rest) && sym == 0 && coef == 2 && rest == 1);
  CHECK(!ar_solve(g, ty_dim_mul(g, s, s), &sym, &coef, &rest));
  CHECK(!ar_solve(g, ty_dim_const(g, 3), &sym, &coef, &rest));
  ty_imported_input in[] = {{.name = "a", .input = 0}, {.name = "b", .input = 1}};
  ty_imported_source source = {0, 0, 2, 1};
  ty_imported_guard guard = {ty_dim_mod(g, s, ty_dim_const(g, 2)), ty_dim_const(g, 0), TY_GUARD_EQ, "b.size()[0] % 2 == 0"};
  ty_imported m = {.ninputs = 2, .nusers = 2, .inputs = in, .nsyms = 1, .sources = &source, .nguards = 1, .guards = &guard};
  const struct { int64_t a, b, c; const char *why; } cases[] = {
    {9, 4, 4, NULL}, {10, 4, 4, "input a: size 0 is 10, 9 is expected"}, {9, 5, 4, "input b: size 0 is 5, 4 is expected"},
    {9, 4, 3, "input b: size 1 is 3, 4 is expected"}, {3, 1, 4, "input a: size s is 1, outside of [2, 100]"}, {INT64_MIN, 4, 4, "outside of [2, 100]"},
    {7, 3, 4, "the program requires b.size()[0] % 2 == 0; it is 1 == 0"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const int64_t a[] = {cases[i].a}, b[] = {cases[i].b, cases[i].c}, *sizes[] = {a, b};
    ty_status st = ty_imported_bind(ctx, &m, g, sizes, NULL, syms);
    CHECK((st == TY_OK) == !cases[i].why);
    if (cases[i].why) CHECK_HAS(ty_ctx_error(ctx), cases[i].why);
    else CHECK(syms[0] == 4);
  }
  ty_graph_destroy(g);
}

int main(void) {
  ctx = ty_ctx_create();
  at = (ar_place){.ctx = ctx, .file = "f.pt2", .member = "m.json", .at = "here"};
  expressions();
  trees();
  getters();
  binding();
  ty_arena_free(&arena);
  ty_ctx_destroy(ctx);
  return check_done();
}
