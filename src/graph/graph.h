/* graph.h: the graph: values, nodes and symbolic dims, and their builder. The waist of the compiler. */
#ifndef TY_GRAPH_H
#define TY_GRAPH_H
#include "base/base.h"

/* ---- Dims -------------------------------------------------------------------------------------------------------
 * An integer expression over symbols, hash-consed in its graph: equal handles mean equal normal forms. Normal form is a
 * sum of monomials (coefficient times sorted atoms); atoms are symbols and div, mod, min, max of normal forms.
 * Sizes, strides and (in sched) index maps over loop variables are all dims. div and mod floor, as in Python.
 * A negative handle is a dim that could not be made (no memory, 64-bit overflow, grown too large: the context has the
 * reason). Operations hand it on, and no value or argument is made from it, so that callers check once, at the end. */
typedef int32_t ty_dim;
typedef struct ty_graph ty_graph;
typedef enum ty_dim_op { TY_DIM_CONST, TY_DIM_SYM, TY_DIM_ADD, TY_DIM_MUL, TY_DIM_DIV, TY_DIM_MOD, TY_DIM_MIN, TY_DIM_MAX } ty_dim_op;
typedef struct ty_dim_expr {
  ty_dim_op op;
  int64_t value;  /* CONST: the value; SYM: index into the graph's symbols */
  ty_dim a, b;    /* operands of the binary ops; ADD is left-leaning in canonical order; MUL is (constant, product) or a left-leaning product of atoms */
  int64_t lo, hi; /* proven range, inclusive */
} ty_dim_expr;
typedef struct ty_sym {
  const char *name;
  int64_t lo, hi;  /* inclusive; hi INT64_MAX when unbounded */
  ty_dim extent;   /* loop variables: 0 <= var < extent; -1 for size symbols */
  int64_t hint;    /* example value seen at trace time, 0 when none */
} ty_sym;

ty_dim ty_dim_const(ty_graph *, int64_t);
ty_dim ty_dim_symbol(ty_graph *, const char *name, int64_t lo, int64_t hi, int64_t hint); /* the same name gives the same symbol, whose range stays the first one; the name is an identifier */
ty_dim ty_dim_loopvar(ty_graph *, const char *name, ty_dim extent);                       /* always a new symbol */
/* The index along dim d of a result, in the maps of ty.remap (printed _d): a variable over no size in particular, put in with ty_dim_subst. */
ty_dim ty_dim_index(ty_graph *, int d); /* 0 <= d < 2 * TY_MAX_RANK */
ty_dim ty_dim_add(ty_graph *, ty_dim, ty_dim);
ty_dim ty_dim_sub(ty_graph *, ty_dim, ty_dim);
ty_dim ty_dim_mul(ty_graph *, ty_dim, ty_dim);
ty_dim ty_dim_div(ty_graph *, ty_dim, ty_dim); /* floor; divisor of 0 gives 0 */
ty_dim ty_dim_mod(ty_graph *, ty_dim, ty_dim);
ty_dim ty_dim_min(ty_graph *, ty_dim, ty_dim);
ty_dim ty_dim_max(ty_graph *, ty_dim, ty_dim);
const ty_dim_expr *ty_dim_get(const ty_graph *, ty_dim); /* pointer is valid until the next dim is made */
const ty_sym *ty_dim_sym(const ty_graph *, int sym);
int ty_dim_nsyms(const ty_graph *);
int ty_dim_count(const ty_graph *); /* handles are 0 to this less 1 */
ty_dim ty_dim_of_sym(const ty_graph *, int sym);
bool ty_dim_is_const(const ty_graph *, ty_dim, int64_t *value); /* value may be NULL */
bool ty_dim_is(const ty_graph *, ty_dim, int64_t value);
bool ty_dim_is_static(const ty_graph *, ty_dim);        /* no size symbol in it: a number, or an expression over indices */
bool ty_dim_known_eq(ty_graph *, ty_dim, ty_dim); /* provably equal for all values of the symbols */
bool ty_dim_known_lt(ty_graph *, ty_dim, ty_dim); /* provably a < b */
bool ty_dim_depends(const ty_graph *, ty_dim, ty_dim sym);
ty_dim ty_dim_subst(ty_graph *, ty_dim, ty_dim sym, ty_dim with);
/* d == a + b * var with b free of var: true and *coef, *rest set (coef 0 when d does not depend on var). */
bool ty_dim_linear(ty_graph *, ty_dim d, ty_dim var, ty_dim *coef, ty_dim *rest);
/* Value for the given symbol values (indexed by symbol; loop variables included), overflow wraps. */
int64_t ty_dim_eval(const ty_graph *, ty_dim, const int64_t *syms);
int64_t ty_dim_hint(const ty_graph *, ty_dim); /* value at the hints: for cost decisions only */
void ty_dim_print(const ty_graph *, ty_dim, ty_str *out);
ty_dim ty_dim_product(ty_graph *, int n, const ty_dim *);
/* Bounds of d, free of loop variables: lo <= d <= hi wherever they run. False when none are found. */
bool ty_dim_bounds(ty_graph *, ty_dim d, ty_dim *lo, ty_dim *hi);

/* ---- Values, arguments and nodes -------------------------------------------------------------------------------- */
typedef struct ty_node ty_node;
typedef enum ty_role { TY_ROLE_TEMP, TY_ROLE_INPUT, TY_ROLE_PARAM, TY_ROLE_LITERAL } ty_role;
typedef struct ty_value {
  int id;              /* unique in the graph, printed as %id */
  ty_dtype dtype;
  int rank;
  ty_dim *shape;       /* rank entries */
  ty_node *def;        /* NULL for inputs, params and literals */
  int out;             /* which output of def */
  ty_role role;        /* PARAM: a tensor whose data outlives calls (weights, buffers) and may be folded over */
  int index;           /* INPUT, PARAM: position among the graph's inputs */
  ty_dim *strides;     /* INPUT, PARAM: element strides of the memory handed in; NULL means contiguous */
  const void *data;    /* LITERAL: contiguous bytes owned by the graph's arena */
  const char *name;    /* may be NULL */
  int scratch;         /* free for the running pass; -1 between passes */
} ty_value;

typedef enum ty_arg_kind {
  TY_ARG_NONE, TY_ARG_VALUE, TY_ARG_VALUES, /* VALUES entries may be NULL (optional tensors) */
  TY_ARG_INT, TY_ARG_INTS,                  /* dims: constant or symbolic */
  TY_ARG_FLOAT, TY_ARG_FLOATS, TY_ARG_BOOL, TY_ARG_BOOLS, TY_ARG_STR, TY_ARG_DTYPE,
} ty_arg_kind;
typedef struct ty_arg {
  ty_arg_kind kind;
  int n; /* entries of a list */
  union { ty_value *value; ty_value **values; ty_dim i; ty_dim *ints; double f; double *floats; bool b; bool *bools; const char *str; ty_dtype dtype; };
} ty_arg;

/* An operator is a row of ops.def: an ATen overload ("aten.add.Tensor") or one of the core vocabulary ("ty.add").
 * Arguments stand in the order of the row's schema, defaults filled in. */
struct ty_node {
  int id;
  int op;               /* enum ty_op of ops/ops.h */
  int nargs; ty_arg *args;
  int nouts; ty_value **outs;
  const char *loc;      /* where it came from ("model.py:88 encoder.layer.0"), may be NULL */
  const char *from;     /* short name of the ATen operator that it was lowered from ("gelu"), may be NULL; for names in profiles */
  int origin;           /* number of that operator, one each, counted from 1; 0: none */
  ty_node *prev, *next; /* topological order */
  int scratch;
};

/* What an operator needs of the sizes and could not prove when it was built: a rel b. It goes to the program, which checks it when
 * sizes are bound, so that no kernel relies on what was only hoped for. */
typedef enum ty_need_rel { TY_NEED_EQ, TY_NEED_NE, TY_NEED_LE } ty_need_rel;
typedef struct ty_need { ty_need_rel rel; ty_dim a, b; int op; const char *loc; } ty_need; /* op, loc: of the node as it came */

struct ty_graph {
  ty_ctx *ctx;
  ty_arena arena;
  ty_node *first, *last;
  TY_VEC(ty_value *) values;  /* by id; entries of removed nodes stay */
  TY_VEC(ty_value *) inputs;  /* INPUT and PARAM values in calling order */
  TY_VEC(ty_value *) outputs; /* in order; may repeat, may be inputs */
  TY_VEC(ty_need) needs;      /* each once */
  int nnodes;                 /* nodes that are in the graph now */
  int next_node;              /* id of the next node made */
  ty_node *at;                /* insertion point, see ty_graph_at; NULL: the end */
  const char *weights;        /* NULL, or the format of few bits in which those of linear layers are packed */
  const char *format;         /* in which products are computed and weights packed, of ty_formats (kernel.h); "f32" at first */
  bool eager;                 /* each ATen operator is computed by itself: nothing is constant, nothing is fused across operators */
  struct ty_dims *dims;       /* opaque */
};

ty_graph *ty_graph_create(ty_ctx *); /* NULL when out of memory */
void ty_graph_destroy(ty_graph *);
/* NULL: out of memory, or (the context has the text) no shape for that; a parameter has numbers as sizes and strides. */
ty_value *ty_graph_input(ty_graph *, ty_role, ty_dtype, int rank, const ty_dim *shape, const ty_dim *strides_or_null, const char *name);
/* A literal tensor: static shape; copies `bytes` of contiguous data. */
ty_value *ty_graph_literal(ty_graph *, ty_dtype, int rank, const int64_t *shape, const void *data, size_t bytes);
ty_status ty_graph_output(ty_graph *, ty_value *);

/* The raw node: appends (or inserts before the insertion point, see ty_graph_at) without inference. Outputs are given by
 * dtype and shape through ty_node_out. Importers do not call this: they call ty_build (ops/ops.h), which infers. */
ty_node *ty_graph_node(ty_graph *, int op, int nargs, const ty_arg *args);
ty_value *ty_node_out(ty_graph *, ty_node *, ty_dtype, int rank, const ty_dim *shape);
/* Says that n, being inferred, is right only where a rel b. Proven: nothing is kept. TY_INVALID when it can not be. */
ty_status ty_graph_need(ty_graph *, const ty_node *n, ty_need_rel, ty_dim a, ty_dim b);
/* The same, but what can not be is kept, too: the program then refuses each run, as PyTorch would. */
ty_status ty_graph_need_at_run(ty_graph *, const ty_node *n, ty_need_rel, ty_dim a, ty_dim b);
void ty_need_print(const ty_graph *, const ty_need *, ty_str *out); /* "4 <= s0" */
void ty_graph_at(ty_graph *, ty_node *before); /* following nodes go before this one; NULL: at the end */
void ty_graph_remove(ty_graph *, ty_node *);   /* its outputs must have no users */
/* All uses of `from` (in nodes and outputs) become `to`. */
void ty_graph_replace(ty_graph *, ty_value *from, ty_value *to);
/* Calls f for each value argument (lists included) of a node; f may overwrite *slot. */
void ty_node_each_input(ty_node *, void (*f)(void *user, ty_value **slot), void *user);
/* Uses of every value, counted afresh: result has one entry a value id (outputs of the graph count as uses); caller ty_free()s. NULL: no memory. */
int *ty_graph_use_counts(const ty_graph *);

static inline ty_arg ty_arg_value(ty_value *v) { return (ty_arg){ .kind = v ? TY_ARG_VALUE : TY_ARG_NONE, .value = v }; }
static inline ty_arg ty_arg_int(ty_dim d) { return (ty_arg){ .kind = TY_ARG_INT, .i = d }; }
static inline ty_arg ty_arg_float(double f) { return (ty_arg){ .kind = TY_ARG_FLOAT, .f = f }; }
static inline ty_arg ty_arg_bool(bool b) { return (ty_arg){ .kind = TY_ARG_BOOL, .b = b }; }
static inline ty_arg ty_arg_dtype(ty_dtype d) { return (ty_arg){ .kind = TY_ARG_DTYPE, .dtype = d }; }
static inline ty_arg ty_arg_str(const char *s) { return (ty_arg){ .kind = TY_ARG_STR, .str = s }; } /* s must outlive the graph */
ty_arg ty_arg_ints(ty_graph *, int n, const ty_dim *);            /* copied into the arena */
ty_arg ty_arg_values(ty_graph *, int n, ty_value *const *);       /* copied into the arena */

#endif
