/* test_ops.c: the operator table, schema text, binding of arguments, and inference of the core vocabulary. */
#include "check.h"
#include "import/import.h"
#include "ops/ops_int.h"

#include <pthread.h>

static ty_ctx *ctx;
static ty_graph *g;

static void fresh(void) {
  ty_graph_destroy(g);
  g = ty_graph_create(ctx);
}

static ty_dim K(int64_t v) { return ty_dim_const(g, v); }
static ty_value *input(ty_dtype dt, int rank, const ty_dim *shape) { return ty_graph_input(g, TY_ROLE_INPUT, dt, rank, shape, NULL, NULL); }
#define INPUT(dt, ...) input(dt, (int)(sizeof((ty_dim[]){__VA_ARGS__}) / sizeof(ty_dim)), (ty_dim[]){__VA_ARGS__})

static void *all_schemas(void *unused) {
  (void)unused;
  for (int i = 0; i < TY_NOP; i++)
    if (!ty_op_schema(i)) return "no memory";
  return NULL;
}

static void test_table(void) {
  pthread_t t[4];
  for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, all_schemas, NULL);
  for (int i = 0; i < 4; i++) {
    void *why;
    pthread_join(t[i], &why);
    CHECK(!why);
  }
  int bad = 0;
  for (int i = 0; i < TY_NOP; i++) {
    const ty_op_info *o = ty_op_get(i);
    if (ty_op_find(o->name) != i || ty_op_schema(i)->nargs < 0 || !o->infer) {
      fprintf(stderr, "row %d %s %s\n", i, o->name, o->schema);
      bad++;
    }
  }
  CHECK(bad == 0);
  CHECK(ty_op_find("aten.nothing.default") == -1 && ty_op_find("") == -1);
  CHECK(ty_op_is_core(TY_OP_cast) && ty_op_is_prim(ty_op_of_prim(TY_P_erf)) && !ty_op_is_prim(TY_OP_cast));
  CHECK_STR(ty_op_get(ty_op_of_prim(TY_P_sel))->name, "ty.sel");
  CHECK(ty_op_schema(ty_op_of_prim(TY_P_sel))->nargs == 3);
  CHECK(ty_prim_find("tanh") == TY_P_tanh && ty_prim_find("tan") == TY_P_tan && ty_prim_find("x") == -1);
  CHECK(ty_prims[TY_P_eq].to_bool && ty_prims[TY_P_erf].cost > 8 && ty_prims[TY_P_add].cost == 1);
  CHECK_STR(ty_prims[TY_P_add].fexpr, "a + b");
  CHECK(ty_prim_takes(TY_P_add, TY_bool) && !ty_prim_takes(TY_P_sqrt, TY_i64) && ty_prim_takes(TY_P_and, TY_u8) && !ty_prim_takes(TY_P_and, TY_f16));
}

static void test_schema(void) {
  ty_arena a = {0};
  ty_schema s;
  const char *why;
  CHECK(ty_schema_parse("(Tensor self, Tensor? weight=None, int[1]? dim=None, bool[3] mask, *, SymInt[] size=[0, -1], float eps=1e-05, Scalar alpha=1, "
                        "Tensor?[] indices, ScalarType? dtype=None, Layout? layout=None, str mode='constant', int reduction=Mean, "
                        "MemoryFormat? memory_format=contiguous_format, bool b=True, float[]? scales=None, str? r=\"none\") -> (Tensor(a!), Tensor out)",
                        &a, &s, &why));
  CHECK(s.nargs == 16 && s.nrets == 2 && !s.ret_list);
  CHECK(s.args[1].optional && s.args[1].has_default && s.args[1].def.kind == TY_ARG_NONE && !s.args[0].has_default);
  CHECK(s.args[2].type == TY_T_INTS && s.args[2].list_size == 1 && s.args[2].optional);
  CHECK(s.args[3].type == TY_T_BOOLS && !s.args[3].kwarg_only && s.args[4].kwarg_only);
  CHECK(s.args[4].def.n == 2 && s.args[4].def.ints[1] == -1);
  CHECK(s.args[5].def.kind == TY_ARG_FLOAT && s.args[5].def.f == 1e-05);
  CHECK(s.args[6].type == TY_T_SCALAR && s.args[6].def.kind == TY_ARG_INT);
  CHECK(s.args[7].type == TY_T_TENSORS && s.args[7].null_entries && !s.args[7].optional);
  CHECK(s.args[9].type == TY_T_OTHER && s.args[12].has_default);
  CHECK_STR(s.args[10].def.str, "constant");
  CHECK(s.args[11].def.i == 1 && s.args[13].def.b);
  CHECK(ty_schema_parse("(Tensor(a!) self, Tensor(a -> *) x) -> Tensor(a)[]", &a, &s, &why) && s.ret_list && s.nargs == 2);
  CHECK(ty_schema_parse("() -> ()", &a, &s, &why) && s.nargs == 0 && s.nrets == 0);
  CHECK(!ty_schema_parse("(Tensor self", &a, &s, &why) && !ty_schema_parse("(Nope self) -> Tensor", &a, &s, &why) && !ty_schema_parse("", &a, &s, &why));
  CHECK(!ty_schema_parse("(int a=[1) -> Tensor", &a, &s, &why) && !ty_schema_parse("(str a=\"x) -> Tensor", &a, &s, &why));
  ty_arena_free(&a);
}

static ty_status build(const char *op, int n, const ty_arg *args, const char *const *names) {
  ty_node *node;
  int nodes = g->nnodes, values = g->values.n;
  ty_status st = ty_build(g, op, n, args, names, "m.py:1", &node);
  if (st != TY_OK) CHECK(g->nnodes == nodes && g->values.n == values && !node);
  else CHECK(node == g->last);
  return st;
}

static void test_bind(void) {
  fresh();
  ty_value *x = INPUT(TY_f32, K(2), K(3));
  ty_arg vx = ty_arg_value(x);
  CHECK(build("aten.nothing.default", 0, NULL, NULL) == TY_UNSUPPORTED);
  CHECK_HAS(ty_ctx_error(ctx), "aten.nothing.default");
  CHECK(build("ty.neg", 1, &vx, NULL) == TY_OK && !strcmp(g->last->loc, "m.py:1"));
  CHECK(build("ty.neg", 0, NULL, NULL) == TY_INVALID);
  CHECK_HAS(ty_ctx_error(ctx), "ty.neg: argument a is missing");
  CHECK(build("ty.neg", 2, (ty_arg[]){vx, vx}, NULL) == TY_INVALID);
  CHECK(build("ty.neg", 2, (ty_arg[]){vx, vx}, (const char *[]){NULL, "a"}) == TY_INVALID);
  CHECK_HAS(ty_ctx_error(ctx), "given twice");
  CHECK(build("ty.neg", 1, &vx, (const char *[]){"q"}) == TY_INVALID);
  CHECK_HAS(ty_ctx_error(ctx), "unknown argument q");
  ty_arg none = {0}, one = ty_arg_int(K(1)), two = ty_arg_int(K(2)), t = ty_arg_bool(true);
  CHECK(build("ty.neg", 1, &none, NULL) == TY_INVALID);
  CHECK_HAS(ty_ctx_error(ctx), "argument a must be a tensor, got None");
  CHECK(build("ty.neg", 1, &one, NULL) == TY_UNSUPPORTED);
  /* a single int for a list, a bool for an int, keywords in any order, None for an optional tensor */
  CHECK(build("ty.reduce", 4, (ty_arg[]){t, one, ty_arg_str("sum"), vx}, (const char *[]){"keepdim", "dims", "kind", "x"}) == TY_OK);
  CHECK(g->last->args[2].kind == TY_ARG_INTS && g->last->args[2].n == 1 && g->last->outs[0]->rank == 2);
  CHECK(build("ty.reduce", 4, (ty_arg[]){vx, ty_arg_str("sum"), two, one}, NULL) == TY_INVALID); /* dim 2 */
  CHECK(build("ty.reduce", 4, (ty_arg[]){vx, ty_arg_str("mean"), one, one}, NULL) == TY_INVALID);
  CHECK_HAS(ty_ctx_error(ctx), "in ty.reduce, m.py:1");
  CHECK(build("ty.cat", 2, (ty_arg[]){{.kind = TY_ARG_VALUES, .n = 2, .values = (ty_value *[]){x, NULL}}, one}, NULL) == TY_INVALID);
  CHECK(build("ty.cat", 2, (ty_arg[]){{.kind = TY_ARG_INTS}, one}, NULL) == TY_INVALID); /* [] has no kind; nothing to join */
  CHECK(build("ty.full", 3, (ty_arg[]){{.kind = TY_ARG_FLOATS}, ty_arg_dtype(TY_f32), two}, NULL) == TY_OK);
  CHECK(g->last->args[2].kind == TY_ARG_FLOAT && g->last->args[2].f == 2 && g->last->outs[0]->rank == 0);
  CHECK(build("ty.full", 3, (ty_arg[]){two, ty_arg_dtype(TY_i64), ty_arg_float((double)__builtin_inff())}, NULL) == TY_INVALID);
  CHECK(build("ty.full", 3, (ty_arg[]){two, ty_arg_dtype(TY_bool), two}, NULL) == TY_OK && g->last->args[2].kind == TY_ARG_BOOL);
  CHECK(build("ty.full", 3, (ty_arg[]){ty_arg_int(-1), ty_arg_dtype(TY_bool), two}, NULL) == TY_UNSUPPORTED);
  /* an ATen row binds its defaults: what is refused here is refused before inference */
  if (ty_op_find("aten.add.Tensor") >= 0) {
    CHECK(build("aten.add.Tensor", 3, (ty_arg[]){vx, vx, one}, NULL) == TY_INVALID); /* alpha is keyword-only */
    CHECK(build("aten.add.Tensor", 2, (ty_arg[]){vx, ty_arg_str("x")}, NULL) == TY_INVALID);
    CHECK(build("aten.add.Tensor", 3, (ty_arg[]){vx, vx, vx}, (const char *[]){NULL, NULL, "alpha"}) == TY_UNSUPPORTED);
    CHECK_HAS(ty_ctx_error(ctx), "argument alpha must be a number, not a tensor");
    /* a number for a tensor takes the overload that has it */
    if (CHECK(build("aten.add.Tensor", 2, (ty_arg[]){vx, one}, NULL) == TY_OK)) CHECK_STR(ty_op_get(g->last->op)->name, "aten.add.Scalar");
  }
}

static void test_infer(void) {
  fresh();
  ty_dim s = ty_dim_symbol(g, "s0", 2, 4096, 8), u = ty_dim_symbol(g, "s1", 2, 4096, 8);
  ty_value *a = INPUT(TY_f32, s, K(1), K(4)), *b = INPUT(TY_f32, K(3), K(4)), *c = INPUT(TY_f32, u, K(3), K(4)), *i = INPUT(TY_i64, s);
  ty_value *v = ty_c_prim(g, TY_P_add, a, b, NULL);
  CHECK(v && v->rank == 3 && v->shape[0] == s && ty_dim_is(g, v->shape[1], 3));
  CHECK(!ty_c_prim(g, TY_P_add, a, c, NULL));
  CHECK_HAS(ty_ctx_error(ctx), "sizes s0 and s1 are not known to be equal");
  CHECK(!ty_c_prim(g, TY_P_add, a, i, NULL));
  CHECK_HAS(ty_ctx_error(ctx), "dtype i64 where f32 is needed");
  CHECK(!ty_c_prim(g, TY_P_sqrt, i, NULL, NULL) && !ty_c_prim(g, TY_P_add, a, NULL, NULL));
  ty_value *gt = ty_c_prim(g, TY_P_gt, a, b, NULL);
  CHECK(gt && gt->dtype == TY_bool && ty_c_prim(g, TY_P_sel, gt, a, b) && !ty_c_prim(g, TY_P_sel, a, a, b));
  int r;
  ty_dim o[TY_MAX_RANK];
  CHECK(ty_broadcast(g, 2, (ty_dim[]){K(2), K(3)}, 1, (ty_dim[]){K(4)}, &r, o) == TY_INVALID);
  CHECK(ty_broadcast(g, 1, (ty_dim[]){s}, 1, (ty_dim[]){K(4)}, &r, o) == TY_UNSUPPORTED);
  CHECK(ty_broadcast(g, 0, NULL, 1, (ty_dim[]){s}, &r, o) == TY_OK && r == 1 && o[0] == s);
  CHECK(ty_c_cast(g, a, TY_f32) == a && ty_c_cast(g, a, TY_f16)->dtype == TY_f16);
  ty_dim flat = ty_dim_mul(g, s, K(4));
  CHECK(ty_c_reshape(g, a, 1, &flat)->rank == 1 && !ty_c_reshape(g, a, 1, &s) && ty_c_reshape(g, a, 3, a->shape) == a);
  CHECK(ty_c_permute(g, a, (int[]){2, 0, 1})->shape[1] == s && ty_c_permute(g, a, (int[]){0, 1, 2}) == a && !ty_c_permute(g, a, (int[]){0, 0, 1}));
  CHECK(ty_c_expand(g, a, 3, (ty_dim[]){s, u, K(4)})->shape[1] == u && !ty_c_expand(g, b, 2, (ty_dim[]){u, K(4)}));
  CHECK(ty_c_slice(g, b, 0, K(2), -1, K(3)) && !ty_c_slice(g, b, 0, K(1), -1, K(3)) && !ty_c_slice(g, b, 0, K(1), 1, K(3)) && !ty_c_slice(g, b, 2, K(0), 1, K(1)));
  CHECK(ty_c_index(g, b, (ty_value *[]){i, i})->shape[0] == s && !ty_c_index(g, b, (ty_value *[]){i, b}));
  v = ty_c_reduce(g, "argmax", a, 1, (int[]){2}, false);
  CHECK(v && v->dtype == TY_i64 && v->rank == 2 && !ty_c_reduce(g, "argmax", a, 2, (int[]){1, 2}, false) && !ty_c_reduce(g, "sum", a, 2, (int[]){1, 1}, false));
  CHECK(ty_c_cat(g, 2, (ty_value *[]){b, b}, 0) && !ty_c_cat(g, 2, (ty_value *[]){b, a}, 0) && ty_c_cat(g, 1, &b, 0) == b);
  ty_value *w = INPUT(TY_f32, K(50), K(4)), *q = INPUT(TY_f32, s, K(12), u, K(64)), *kv = INPUT(TY_f32, s, K(4), u, K(64));
  CHECK(ty_c_linear(g, a, w, NULL)->shape[2] == K(50) && !ty_c_linear(g, a, w, i));
  CHECK(ty_c_matmul(g, q, ty_c_permute(g, q, (int[]){0, 1, 3, 2}), (ty_arg){0})->shape[3] == u && !ty_c_matmul(g, q, q, (ty_arg){0}));
  CHECK(!ty_c_matmul(g, q, ty_c_permute(g, q, (int[]){0, 1, 3, 2}), ty_arg_str("int8")));
  ty_value *p = ty_make(g, TY_OP_pack, 2, (ty_arg[]){ty_arg_value(w), ty_arg_str("f32")});
  CHECK(p && ty_dim_is(g, p->shape[0], 96 * 4 * 4));
  CHECK(ty_make(g, TY_OP_gemm, 3, (ty_arg[]){ty_arg_value(a), ty_arg_value(p), ty_arg_int(K(50))}) != NULL);
  CHECK(!ty_make(g, TY_OP_gemm, 3, (ty_arg[]){ty_arg_value(a), ty_arg_value(p), ty_arg_int(K(500))}));
  CHECK(ty_c_attention(g, q, kv, kv, NULL, NULL, true, 0.125, false, (ty_arg){0})->shape[1] == K(12) && !ty_c_attention(g, kv, q, q, NULL, NULL, true, 0.125, false, (ty_arg){0}));
  CHECK(ty_c_attention(g, q, kv, kv, INPUT(TY_bool, u), INPUT(TY_f32, K(1), K(1), u, u), false, 1, false, (ty_arg){0}) && !ty_c_attention(g, q, kv, kv, INPUT(TY_i64, u), NULL, false, 1, false, (ty_arg){0}));
  CHECK(ty_c_dimval(g, s)->rank == 0 && ty_c_iota(g, 1, &s, 0)->dtype == TY_i64 && !ty_c_iota(g, 1, &s, 1));
  CHECK(!ty_make(g, TY_OP_scan, 3, (ty_arg[]){ty_arg_value(a), ty_arg_str("max"), ty_arg_int(K(0))}));
  CHECK(ty_graph_verify(g) == TY_OK);
}

int main(void) {
  ctx = ty_ctx_create();
  test_table();
  test_schema();
  test_bind();
  test_infer();
  ty_graph_destroy(g);
  ty_ctx_destroy(ctx);
  return check_done();
}
