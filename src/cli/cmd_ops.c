/* cmd_ops.c: `tuyere ops`: the table of operators, with the dtypes that each takes, found by asking its own inference. */
#include <stdio.h>
#include <stdlib.h>
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

/* Calls that no rule makes up, by what their names begin with: T2x3 is a tensor of the dtype, L2x3 one of int64, - is None. */
static const struct { const char *name, *call; } examples[] = {
  { "aten.native_dropout", "T4 0 0" }, { "aten._native_batch_norm_legit.no_stats", "T2x4x4 T4 T4 1 0 0" }, { "aten.addmv", "T4 T4x4 T4" }, { "aten._int_mm", "T4x4 B4x4" },
  { "aten.conv3d", "T1x4x4x4x4 T4x4x1x1x1" }, { "aten.conv_transpose3d", "T1x4x4x4x4 T4x4x1x1x1" },
  { "aten.upsample_nearest1d.vec", "T1x1x4 [8] -" }, { "aten._upsample_nearest_exact1d.vec", "T1x1x4 [8] -" },
  { "aten.upsample_nearest2d.vec", "T1x1x4x4 [8,8] -" }, { "aten._upsample_nearest_exact2d.vec", "T1x1x4x4 [8,8] -" },
  { "aten.upsample_nearest3d", "T1x1x4x4x4 [8,8,8] -" }, { "aten._upsample_nearest_exact3d", "T1x1x4x4x4 [8,8,8] -" },
  { "aten.upsample_linear1d.vec", "T1x1x4 [8] 0 -" }, { "aten.upsample_bilinear2d.vec", "T1x1x4x4 [8,8] 0 -" },
  { "aten.upsample_trilinear3d", "T1x1x4x4x4 [8,8,8] 0 -" }, { "aten.upsample_bicubic2d.vec", "T1x1x4x4 [8,8] 0 -" },
  { "aten.lstm", "T3x2x4 [T1x2x5,T1x2x5] [T20x4,T20x5] 0 1 0 0 0 0" }, { "aten.gru", "T3x2x4 T1x2x5 [T15x4,T15x5] 0 1 0 0 0 0" },
  { "aten.rnn_", "T3x2x4 T1x2x5 [T5x4,T5x5] 0 1 0 0 0 0" },
  { "aten.scatter.reduce", "T4x4 0 L4x4 T4x4 add" }, { "aten.scatter.value_reduce", "T4x4 0 L4x4 1 add" },
  { "aten.scatter_reduce", "T4x4 0 L4x4 T4x4 sum" }, { "aten.index_reduce", "T4x4 0 L4 T4x4 prod" },
  { "aten.embedding_bag.padding_idx", "T4x4 L4 L4 0 0 0 - 0 -" }, { "aten.embedding_bag", "T4x4 L4 L4" }, { "aten._embedding_bag", "T4x4 L4 L4" },
  { "aten.grid_sampler_3d", "T1x1x4x4x4 T1x4x4x4x3 0 0 0" }, { "aten.grid_sampler", "T1x1x4x4 T1x4x4x2 0 0 0" },
  { "aten.affine_grid", "T1x2x3 [1,1,4,4] 0" }, { "aten.col2im", "T1x4x16 [4,4] [1,1] [1,1] [0,0] [1,1]" }, { "aten.one_hot", "T4 4" },
  { "aten.meshgrid.indexing", "[T4,T4] ij" },
};

/* One argument of an example; *p is left behind it. */
static ty_arg spelled(ty_graph *g, ty_dtype t, const char **p) {
  if (**p == '[') {
    ty_value *v[4];
    ty_dim d[4];
    int n = 0;
    bool tensors = (*p)[1] == 'T';
    while (**p && **p != ']') {
      ++*p;
      ty_arg a = spelled(g, t, p);
      if (n < 4 && tensors) v[n++] = a.value;
      else if (n < 4) d[n++] = a.i;
    }
    ++*p;
    return tensors ? ty_arg_values(g, n, v) : ty_arg_ints(g, n, d);
  }
  char *end;
  if (**p == 'T' || **p == 'L' || **p == 'B') {
    ty_dim shape[TY_MAX_RANK];
    int rank = 0;
    if (**p != 'T') t = **p == 'L' ? TY_i64 : TY_i8;
    do shape[rank++] = ty_dim_const(g, strtol(*p + 1, &end, 10));
    while (*(*p = end) == 'x' && rank < TY_MAX_RANK);
    return ty_arg_value(ty_graph_input(g, TY_ROLE_INPUT, t, rank, shape, NULL, NULL));
  }
  if (**p == '-') return ++*p, (ty_arg){ .kind = TY_ARG_NONE };
  if (**p >= 'a') {
    const char *word = *p;
    *p += strcspn(*p, " ");
    return ty_arg_str(ty_arena_printf(&g->arena, "%.*s", (int)(*p - word), word));
  }
  long i = strtol(*p, &end, 10);
  *p = end;
  return ty_arg_int(ty_dim_const(g, i));
}

static bool takes_example(ty_ctx *ctx, int op, ty_dtype t, const char *call) {
  ty_graph *g = ty_graph_create(ctx);
  const ty_schema *s = ty_op_schema(op);
  ty_arg args[16];
  const char *names[16];
  int n = 0;
  ty_node *node;
  for (const char *p = call; g && s && *p && n < 16 && n < s->nargs; n++) {
    names[n] = s->args[n].kwarg_only ? s->args[n].name : NULL;
    args[n] = spelled(g, t, &p);
    p += *p == ' ';
  }
  bool good = n && !ty_build(g, ty_op_get(op)->name, n, args, names, NULL, &node);
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
  for (size_t i = 0; i < sizeof examples / sizeof *examples && !out->n; i++)
    for (int t = 0; t < TY_NDTYPE && !strncmp(ty_op_get(op)->name, examples[i].name, strlen(examples[i].name)); t++)
      if (takes_example(ctx, op, (ty_dtype)t, examples[i].call)) ty_str_add(out, "%s%s", out->n ? " " : "", ty_dtypes[t].name);
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
