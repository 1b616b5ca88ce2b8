/* cmd_ops.c: `tuyere ops`: the table of operators, with the dtypes that each takes, found by asking its own inference. */
#include <stdio.h>
#include <string.h>
#include "cli/cli.h"
#include "ops/ops.h"

static const char *const families[TY_NOP] = {
#define TY_OP(id, name, schema, family, param) [TY_OP_##id] = #family,
#include "ops/ops.def"
#undef TY_OP
};

/* A way of calling an operator with arguments made up from its schema. Tensors are 4 in each dim. */
typedef struct ops_call {
  int rank;                                      /* of the first tensor */
  enum { LIKE, INDEX, VECTOR, NUMBER, NLATER } later; /* the tensors after it */
  int list;                                      /* what stands for a list of ints: ones, 0 1 2.., the sizes, the last size */
  int first;                                     /* ints are first, first + 1, first, .. */
  bool all;                                      /* arguments that may be left out are given, too */
} ops_call;
enum { RANKS = 4, LISTS = 4, FIRSTS = 3, CALLS = RANKS * NLATER * LISTS * FIRSTS * 2 };

static ops_call call_of(int i) {
  static const int ranks[RANKS] = { 2, 3, 4, 1 }, firsts[FIRSTS] = { 0, 1, 2 };
  return (ops_call){ ranks[i % RANKS], i / RANKS % NLATER, i / RANKS / NLATER % LISTS, firsts[i / RANKS / NLATER / LISTS % FIRSTS], i >= CALLS / 2 };
}

static ty_value *tensor(ty_graph *g, const ops_call *call, ty_dtype t, int at) {
  ty_dim shape[TY_MAX_RANK];
  int rank = !at || call->later == LIKE || call->later == INDEX ? call->rank : call->later == VECTOR;
  for (int i = 0; i < rank; i++) shape[i] = ty_dim_const(g, 4);
  return ty_graph_input(g, TY_ROLE_INPUT, at && call->later == INDEX ? TY_i64 : t, rank, shape, NULL, NULL);
}

static ty_arg argument(ty_graph *g, const ops_call *call, const ty_schema_arg *a, ty_dtype t, int *tensors, int *ints) {
  ty_dim d[TY_MAX_RANK];
  ty_value *v[2];
  int n = call->list == 0 ? (a->list_size ? a->list_size : 1) : call->list == 3 ? 1 : call->rank;
  switch (a->type) {
  case TY_T_TENSOR: return ty_arg_value(tensor(g, call, t, (*tensors)++));
  case TY_T_TENSORS:
    for (int k = 0; k < 2; k++) v[k] = tensor(g, call, t, *tensors);
    ++*tensors;
    return ty_arg_values(g, 2, v);
  case TY_T_INT: return ty_arg_int(ty_dim_const(g, call->first + (*ints)++ % 2));
  case TY_T_INTS:
    for (int i = 0; i < n; i++) d[i] = ty_dim_const(g, call->list == 0 ? 1 : call->list == 1 ? i : 4);
    return ty_arg_ints(g, n, d);
  case TY_T_FLOAT: return ty_arg_float(1);
  case TY_T_BOOL: return ty_arg_bool(false);
  case TY_T_SCALAR: return ty_arg_int(ty_dim_const(g, 1));
  case TY_T_DTYPE: return ty_arg_dtype(t);
  default: return (ty_arg){ .kind = TY_ARG_NONE };
  }
}

static bool takes(ty_ctx *ctx, int op, ty_dtype t, const ops_call *call) {
  ty_graph *g = ty_graph_create(ctx);
  const ty_schema *s = ty_op_schema(op);
  ty_arg args[64];
  const char *names[64];
  int n = 0, tensors = 0, ints = 0;
  ty_node *node;
  if (!g || !s) return ty_graph_destroy(g), false;
  for (int i = 0; i < s->nargs && n < 64; i++) {
    const ty_schema_arg *a = &s->args[i];
    bool given = !a->optional || (call->all && a->type == TY_T_SCALAR) || (call->all && a->type == TY_T_TENSOR);
    if (a->has_default && !(a->optional && given)) continue;
    names[n] = a->kwarg_only || call->all ? a->name : NULL;
    args[n++] = given ? argument(g, call, a, t, &tensors, &ints) : (ty_arg){ .kind = TY_ARG_NONE };
  }
  bool good = (tensors || strstr(ty_op_get(op)->schema, "ScalarType")) && !ty_build(g, ty_op_get(op)->name, n, args, names, NULL, &node);
  ty_graph_destroy(g);
  return good;
}

static void dtypes_of(ty_ctx *ctx, int op, ty_str *out) {
  static const ty_dtype tries[] = { TY_f32, TY_i64, TY_bool };
  for (int k = 0; k < 3 * CALLS; k++) {
    ops_call call = call_of(k % CALLS);
    if (!takes(ctx, op, tries[k / CALLS], &call)) continue;
    for (int t = 0; t < TY_NDTYPE; t++)
      if (takes(ctx, op, (ty_dtype)t, &call)) ty_str_add(out, "%s%s", out->n ? " " : "", ty_dtypes[t].name);
    return;
  }
}

static int run(ty_cli *c) {
  const char *word = c->nargs ? c->args[0] : "";
  ty_ctx *ctx = ty_ctx_create();
  ty_cli_table t = { .cols = 4, .left = 4 };
  if (!ctx) return ty_cli_nomem(c);
  int shown = 0;
  if (!c->quiet) { ty_cli_cell(&t, "name"); ty_cli_cell(&t, "family"); ty_cli_cell(&t, "dtypes"); ty_cli_cell(&t, "schema"); }
  for (int op = 0; op < TY_NOP; op++) {
    const ty_op_info *i = ty_op_get(op);
    if (ty_op_is_core(op) || !strstr(i->name, word)) continue;
    ty_str dtypes = { 0 };
    dtypes_of(ctx, op, &dtypes);
    ty_cli_cell(&t, "%s", i->name);
    ty_cli_cell(&t, "%s", families[op]);
    ty_cli_cell(&t, "%s", dtypes.p && !dtypes.failed ? dtypes.p : "?");
    ty_cli_cell(&t, "%s", i->schema);
    ty_str_free(&dtypes);
    shown++;
  }
  int code = shown ? TY_CLI_GOOD : ty_cli_fail(c, "no operator's name has '%s' in it", word);
  if (shown) ty_cli_table_print(&t, false);
  if (shown && !c->quiet) printf("%d operator%s\n", shown, shown == 1 ? "" : "s");
  ty_cli_table_free(&t);
  ty_ctx_destroy(ctx);
  return code;
}

static const ty_cli_opt opts[] = { { 0 } };
const ty_cli_command ty_cli_ops = { "ops", "[WORD]", "the ATen operators that compile: name, family, dtypes, schema",
  "With WORD: those that have it in their name. dtypes: of the first tensor; which combinations are taken is PyTorch's own rule.\n", opts, 0, 1, run };
