/* ops.h: the table of operators (ops.def) as types and calls: schema binding, inference on build, lowering to the core vocabulary. */
#ifndef TY_OPS_H
#define TY_OPS_H
#include "graph/graph.h"
#include "ops/core.h"

typedef enum ty_op {
  TY_OP_prim_first = 0, TY_OP_prim_last = TY_NPRIM - 1,
#define TY_OP(id, name, schema, family, param) TY_OP_##id,
#include "ops.def"
#undef TY_OP
  TY_NOP
} ty_op;

/* One argument of a schema, parsed from its text ("int[1]? dim=None"). */
typedef struct ty_schema_arg {
  const char *name;
  enum { TY_T_TENSOR, TY_T_TENSORS, TY_T_INT, TY_T_INTS, TY_T_FLOAT, TY_T_FLOATS, TY_T_BOOL, TY_T_BOOLS, TY_T_SCALAR, TY_T_STR, TY_T_DTYPE, TY_T_OTHER } type;
  bool optional;    /* "?" */
  bool null_entries; /* "Tensor?[]": the list's entries may be None */
  bool kwarg_only;  /* after "*" */
  bool has_default;
  ty_arg def;       /* INT defaults are stored as plain numbers in .i until bound */
  int list_size;    /* "int[2]": a single int stands for that many; 0 when unsized */
} ty_schema_arg;
typedef struct ty_schema { int nargs; ty_schema_arg *args; int nrets; bool ret_list; } ty_schema;

/* A row TY_OP(id, name, schema, family, param) takes its functions ty_<family>_infer and ty_<family>_lower from the family's file.
 * Core rows name ty_core_<x>_infer and have no lower. Both look only at node->op and node->args.
 * infer: makes the outputs (ty_node_out) with PyTorch's shape, promotion and broadcasting rules; TY_INVALID for what
 *        PyTorch itself would refuse, TY_UNSUPPORTED (with a reason) for what this row does not do.
 * lower: rewrites the node into core operators placed before it and hands back one replacement a output; NULL for core rows.
 *        What a row cannot do must be refused by infer already, so that lower never declines. */
typedef struct ty_op_info {
  const char *name;     /* "aten.add.Tensor", "ty.gemm" */
  const char *schema;   /* text after the name, as PyTorch prints it: "(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor" */
  int param;            /* the row's last column: the family's own (a ty_prim, say) */
  ty_status (*infer)(ty_graph *, ty_node *);
  ty_status (*lower)(ty_graph *, ty_node *, ty_value **replacements);
} ty_op_info;
const ty_op_info *ty_op_get(int op);
const ty_schema *ty_op_schema(int op);          /* parsed once, at first use; thread-safe */
int ty_op_find(const char *name);               /* -1 when unknown */
static inline bool ty_op_is_core(int op) { return ty_op_get(op)->lower == NULL; }
static inline int ty_op_of_prim(ty_prim p) { return TY_OP_prim_first + p; } /* core rows of prims.def stand first, in its order */
static inline bool ty_op_is_prim(int op) { return op >= TY_OP_prim_first && op < TY_OP_prim_first + TY_NPRIM; }

/* The builder: the one way in for both importers. `names` has an entry an argument: NULL for positional ones, else the
 * keyword. Binds to the schema (defaults filled, ints to float/Scalar coerced), infers, appends the node.
 * On TY_UNSUPPORTED nothing was added and the text has the reason. */
ty_status ty_build(ty_graph *, const char *op_name, int nargs, const ty_arg *args, const char *const *names, const char *loc, ty_node **out);
/* For use inside the compiler (passes, lowerings): op by enum, all arguments in schema order, one output returned. NULL on failure. */
ty_value *ty_make(ty_graph *, int op, int nargs, const ty_arg *args);
/* Verifier: SSA order, arity and kinds against ops.def, shapes in range; an internal error names the node. */
ty_status ty_graph_verify(ty_graph *);
/* Text: one line a node, parses back to the same graph (literals print their bytes up to 64 elements, else as a hash,
 * and then the text does not parse back; golden tests use small ones). */
void ty_graph_print(const ty_graph *, ty_str *out);
#endif
