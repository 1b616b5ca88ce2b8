/* family.h: what the operator families share: arguments, type promotion, pointwise descriptions, small core-level formulas. */
#ifndef TY_FAMILY_H
#define TY_FAMILY_H
#include "ops/ops.h"

/* ---- Arguments of a bound node ---- */
static inline ty_value *ty_o_val(const ty_node *n, int i) { return n->args[i].kind == TY_ARG_VALUE ? n->args[i].value : NULL; }
static inline bool ty_o_none(const ty_node *n, int i) { return n->args[i].kind == TY_ARG_NONE; }
static inline bool ty_o_bool(const ty_node *n, int i) { return n->args[i].kind == TY_ARG_BOOL && n->args[i].b; }
static inline const char *ty_o_str(const ty_node *n, int i) { return n->args[i].kind == TY_ARG_STR ? n->args[i].str : NULL; }
static inline int ty_o_param(const ty_node *n) { return ty_op_get(n->op)->param; }
static inline ty_dtype ty_o_dtype(const ty_node *n, int i, ty_dtype dflt) { return n->args[i].kind == TY_ARG_DTYPE ? n->args[i].dtype : dflt; }
static inline bool ty_o_is_number(const ty_arg *a) { return a->kind == TY_ARG_INT || a->kind == TY_ARG_FLOAT || a->kind == TY_ARG_BOOL; }
bool ty_o_number(ty_graph *, const ty_arg *, double *out);             /* false when absent or symbolic */
double ty_o_float(ty_graph *, const ty_node *, int i, double dflt);    /* the same with a default */
ty_status ty_o_int(ty_graph *, const ty_node *, int i, int64_t *out);  /* a constant int; symbolic ones decline */
const ty_dim *ty_o_ints(const ty_node *, int i, int *count);           /* an int list; a single int is a list of one; none is empty */
ty_value *const *ty_o_vals(const ty_node *, int i, int *count);

/* ---- Dims ---- */
ty_status ty_o_wrap(ty_graph *, int64_t dim, int rank, int *out);      /* -1 is the last; rank 0 counts as 1 */
ty_status ty_o_dim(ty_graph *, const ty_node *, int i, int rank, int *out);
/* A list of reduced dims as a sorted list without repetition; none or [] means all of them. */
ty_status ty_o_dims(ty_graph *, const ty_node *, int i, int rank, int *count, int *dims);
bool ty_o_le(ty_graph *, ty_dim a, ty_dim b);                          /* provably a <= b */
ty_dim ty_o_min(ty_graph *, ty_dim, ty_dim);
ty_dim ty_o_max(ty_graph *, ty_dim, ty_dim);
ty_dim ty_o_numel(ty_graph *, const ty_value *);
ty_dim ty_o_ceil_div(ty_graph *, ty_dim a, int64_t b);
/* TY_OK when equal; TY_INVALID when they differ, TY_UNSUPPORTED when it cannot be told. */
ty_status ty_o_same(ty_graph *, ty_dim a, ty_dim b, const char *what);
/* The same where PyTorch has no other meaning for sizes that differ: what can not be told is kept as a need of the node. */
ty_status ty_o_need_same(ty_graph *, const ty_node *, ty_dim a, ty_dim b, const char *what);
/* The shape of a view with at most one -1. */
ty_status ty_o_view_shape(ty_graph *, const ty_node *, const ty_value *x, int n, const ty_dim *want, ty_dim *out);
/* start, end, step of a slice at arguments at, at + 1, at + 2 over `size`. */
ty_status ty_o_slice_range(ty_graph *, const ty_node *, int at, ty_dim size, ty_dim *start, int64_t *step, ty_dim *len);

/* ---- Results ---- */
ty_status ty_o_out(ty_graph *, ty_node *, ty_dtype, int rank, const ty_dim *shape);
ty_status ty_o_out_like(ty_graph *, ty_node *, const ty_value *);
ty_status ty_o_done(ty_graph *, ty_value **slot, ty_value *v); /* sets the slot; NULL gives the failure's code */

/* ---- Types ---- */
/* torch.result_type: tensors with dims, then rank-0 tensors, then Python numbers. */
typedef struct ty_promo { int dim, zero, wrapped; } ty_promo;
#define TY_PROMO_INIT { -1, -1, -1 }
void ty_promo_value(ty_promo *, const ty_value *);
void ty_promo_arg(ty_promo *, const ty_arg *); /* a tensor, a number or nothing */
ty_dtype ty_promo_result(const ty_promo *);
ty_dtype ty_o_compute(ty_dtype);                  /* float16 and bfloat16 compute in float32 */
ty_status ty_o_need_float(ty_graph *, const ty_value *);
/* Parameters of a norm at arguments [from, to): of the input's dtype, or all float32 where it is narrow; *dt, if not NULL: theirs. */
ty_status ty_o_norm_dtypes(ty_graph *, const ty_node *, int from, int to, ty_dtype *dt);

/* ---- Core-level formulas; a NULL operand gives NULL ---- */
static inline ty_value *ty_o1(ty_graph *g, ty_prim p, ty_value *a) { return ty_c_prim(g, p, a, NULL, NULL); }
static inline ty_value *ty_o2(ty_graph *g, ty_prim p, ty_value *a, ty_value *b) { return ty_c_prim(g, p, a, b, NULL); }
static inline ty_value *ty_o_sel(ty_graph *g, ty_value *c, ty_value *a, ty_value *b) { return ty_c_prim(g, TY_P_sel, c, a, b); }
ty_value *ty_o_fill(ty_graph *, ty_dtype, int rank, const ty_dim *shape, const ty_arg *number); /* also narrow and symbolic */
ty_value *ty_o_num(ty_graph *, ty_dtype, double);                /* rank 0 */
ty_value *ty_o_arg(ty_graph *, const ty_arg *, ty_dtype);        /* tensor or number, cast to the dtype */
ty_value *ty_o_dimval(ty_graph *, ty_dim, ty_dtype);             /* rank 0 */
ty_value *ty_o_round(ty_graph *, ty_value *, ty_dtype);          /* a cast whose rounding is meant, not only the border of an operator */
ty_value *ty_o_fit(ty_graph *, ty_value *, const ty_value *out); /* cast and expand to out's dtype and shape */
ty_value *ty_o_reshape_like(ty_graph *, ty_value *, const ty_value *out);
ty_value *ty_o_reduce(ty_graph *, const char *kind, ty_value *, int n, const int *dims, bool keepdim); /* rank 0 and n 0 too */
ty_value *ty_o_mean(ty_graph *, ty_value *, int n, const int *dims, bool keepdim);
ty_value *ty_o_softmax(ty_graph *, ty_value *, int dim, bool log);
ty_value *ty_o_unsqueeze(ty_graph *, ty_value *, int dim);
ty_value *ty_o_swap(ty_graph *, ty_value *, int d0, int d1);
ty_value *ty_o_where_nonneg(ty_graph *, ty_value *index, ty_dim size); /* negative indices count from the end */

/* ---- Pointwise operators ----
 * TY_PW(family, promotion, classes, operand positions...) { return formula; } defines the family's infer and lower: operands
 * (tensors or numbers) are promoted together, cast to the compute dtype and handed to the formula as p->x[]; its value is
 * cast and broadcast to the result. classes: which of "bif" the promoted type may be. TY_PWC has a check that infer calls. */
typedef enum ty_pw_promo { TY_PR_SAME, TY_PR_FLOAT /* ints become float32 */, TY_PR_BOOL /* result is bool */, TY_PR_LOGIC /* operands are made bool */ } ty_pw_promo;
typedef struct ty_pw { ty_graph *g; ty_node *n; ty_dtype dt; ty_value *x[4]; } ty_pw;
typedef struct ty_pw_def {
  ty_pw_promo promo;
  const char *classes;
  ty_value *(*body)(ty_pw *);
  ty_status (*check)(ty_graph *, ty_node *, ty_dtype common);
  int nops, at[4];
} ty_pw_def;
ty_status ty_pw_infer(ty_graph *, ty_node *, const ty_pw_def *);
ty_status ty_pw_lower(ty_graph *, ty_node *, const ty_pw_def *, ty_value **rep);
#define TY_PWC(name, promo, classes, check, ...) \
  static ty_value *name##_body(ty_pw *); \
  static const ty_pw_def name##_def = { promo, classes, name##_body, check, (int)(sizeof((int[]){ __VA_ARGS__ }) / sizeof(int)), { __VA_ARGS__ } }; \
  ty_status ty_##name##_infer(ty_graph *g, ty_node *n) { return ty_pw_infer(g, n, &name##_def); } \
  ty_status ty_##name##_lower(ty_graph *g, ty_node *n, ty_value **rep) { return ty_pw_lower(g, n, &name##_def, rep); } \
  static ty_value *name##_body(ty_pw *p)
#define TY_PW(name, promo, classes, ...) TY_PWC(name, promo, classes, NULL, __VA_ARGS__)
/* Inside formulas. */
#define TY_K(v) ty_o_num(p->g, p->dt, v)                          /* constant of the compute dtype */
#define TY_N(i) ty_o_arg(p->g, &p->n->args[i], p->dt)             /* argument i as a value of the compute dtype */
#define TY_D(i, dflt) ty_o_float(p->g, p->n, i, dflt)             /* argument i as a C double */
#define TY_U(prim, a) ty_o1(p->g, TY_P_##prim, a)
#define TY_B(prim, a, b) ty_o2(p->g, TY_P_##prim, a, b)
#define TY_S(c, a, b) ty_o_sel(p->g, c, a, b)
#endif
