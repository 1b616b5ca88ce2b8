/* sched_int.h: what the files of sched share: facts about values, groups of fused nodes, index maps. */
#ifndef TY_SCHED_INT_H
#define TY_SCHED_INT_H
#include "kernel/kernel.h"
#include "ops/ops.h"
#include "sched/sched.h"

/* Somebody needs a value: at an index map inside a group, or as memory (group -1). summed: for what the group's reduction loop folds. */
typedef struct ty_req { int group; ty_dim *idx; bool summed; } ty_req;

/* Where a materialised value lies: element address = off + sum(idx[i] * stride[i]). */
typedef struct ty_place { ty_pbuf buf; ty_dim off; ty_dim stride[TY_MAX_RANK]; } ty_place;

typedef struct ty_vinfo {
  TY_VEC(ty_req) reqs;
  bool fold;        /* depends on parameters and literals only, static: computed when they change */
  bool trivial;     /* costs nothing to compute again: constants and index arithmetic */
  bool external;    /* must lie in memory */
  bool apart;       /* graph.eager: a result of one operator that another reads: in memory, computed once */
  int group;        /* the group that computes it: as root or inlined; -1 */
  ty_dim *idx;      /* inlined: the index map it is evaluated at */
  bool placed; ty_place place;
  ty_value *store;  /* lies in this value's memory, NULL: its own; where in it, in elements, per index */
  ty_dim store_off, *store_stride;
  ty_node *joined; int joined_at; /* the cat it was put in place for, as which operand */
  bool alias;       /* a cat whose operands lie side by side already */
  int uses;         /* by nodes that are no views, and as an output */
  ty_node *owner;   /* what it becomes by a change in place: a cat or a scatter, whose memory it has; NULL: it stays */
  int kept;         /* uses found to leave it where it is; changes: all of them do */
  bool changes;
  bool single;      /* its memory is written again: nobody else may read what is joined into it */
  ty_value *before; /* a cat or scatter: what it changes in place */
  int floor;        /* nodes up to this position write the memory before it */
  int output;       /* graph output whose memory it is computed into, -1 */
  bool run_reads;   /* a fold value that the run part reads: state, not fold arena */
} ty_vinfo;

typedef enum ty_varclass { TY_VAR_ROW, TY_VAR_COL, TY_VAR_RED } ty_varclass;
typedef enum ty_gmode { TY_G_PLAIN, TY_G_ROWRED, TY_G_COLRED } ty_gmode;

/* A group of nodes computed by one loop kernel; its root is what it stores. */
typedef struct ty_group {
  ty_value *root;
  ty_gmode mode;
  int nvars; ty_dim var[2 * TY_MAX_RANK], ext[2 * TY_MAX_RANK]; ty_varclass cls[2 * TY_MAX_RANK];
  ty_dim idx[TY_MAX_RANK]; /* root's index map: one variable a dim */
  ty_node *anchor;         /* a matrix product whose tile the group finishes */
  ty_value *into; int into_dim; ty_dim into_off; /* stores into a part of another value (cat) */
  ty_node *at;             /* position in the program */
  bool fold;
  int members;             /* nodes inlined so far */
  const char *declined;
} ty_group;

typedef struct ty_sc {
  ty_ctx *ctx; ty_graph *g; ty_sched *out; ty_program *prog;
  ty_arena tmp;
  ty_vinfo *info;          /* by value id */
  int ninfo;
  TY_VEC(ty_group *) groups;
  TY_VEC(int) dim_expr;    /* program expression of each dim, -1 when not made */
  bool failed;             /* out of memory somewhere */
} ty_sc;

static inline ty_vinfo *ty_sc_info(ty_sc *s, const ty_value *v) { return &s->info[v->id]; }

/* A kernel that hands on its result a tile at a time. */
static inline bool ty_sc_is_product(const ty_node *n) { return n->op == TY_OP_gemm || n->op == TY_OP_matmul || n->op == TY_OP_conv_packed; }
static inline bool ty_sc_is_routine(const ty_node *n) { return n->op == TY_OP_scan || n->op == TY_OP_sort || n->op == TY_OP_scatter || n->op == TY_OP_bag; }

/* index.c: views as index maps */
bool ty_sc_is_view(const ty_node *);
void ty_sc_view_map(ty_sc *, const ty_node *view, const ty_dim *out_idx, ty_dim *in_idx);
void ty_sc_reshape_map(ty_graph *, int ra, const ty_dim *sa, const ty_dim *idx, int rb, const ty_dim *sb, ty_dim *out); /* index over sa to index over sb */
void ty_sc_broadcast_map(ty_sc *, const ty_value *operand, int rank, const ty_dim *idx, ty_dim *out);
void ty_sc_contiguous(ty_graph *, int rank, const ty_dim *shape, ty_dim *strides);
ty_dim ty_sc_flat(ty_graph *, int rank, const ty_dim *shape, const ty_dim *idx);
/* Layout (strides and offset, in elements of the base's memory) that a value has through its chain of views, from the layout
 * its base will have. False when some dim is not affine. *base is the value in memory. */
bool ty_sc_layout(ty_sc *, ty_value *, ty_value **base, ty_dim *off, ty_dim *strides);
/* The layout a base is materialised in, and the value whose memory it is: itself, or the cat that it is a part of. */
ty_value *ty_sc_own_layout(ty_sc *, ty_value *base, ty_dim *off, ty_dim *strides);
/* addr as off + sum of idx[i] * strides[i]; false when it is not that. */
/* Is its index always 0, so that no stride of it matters? A symbol may be so, too. */
static inline bool ty_sc_single(const ty_graph *g, ty_dim d) { return ty_dim_get(g, d)->hi <= 1; }
bool ty_sc_affine(ty_sc *, const ty_value *, const ty_dim *idx, ty_dim addr, ty_dim *off, ty_dim *strides);
ty_dim ty_sc_address(ty_sc *, ty_value *, const ty_dim *idx, ty_value **base); /* any index map, affine or not */

/* legal.c: facts (fold, trivial), copies where a kernel needs another layout */
ty_status ty_sc_facts(ty_sc *);
ty_status ty_sc_legalize(ty_sc *);
bool ty_sc_collapse_rows(ty_sc *, int rank, const ty_dim *shape, const ty_dim *strides, ty_dim *rows, ty_dim *ld); /* dims [0, rank-1) as one */
/* Batch dims [0, rank-2) of shape as at most two with strides; false when they need more. */
bool ty_sc_batch2(ty_sc *, int nb, const ty_dim *shape, int noperands, const ty_dim *const *strides, ty_dim batch[2], ty_dim (*bstrides)[2]);

/* home.c: operands of a cat are computed into its memory, and what it only changes a part of lies there */
ty_status ty_sc_homes(ty_sc *);

/* group.c */
ty_status ty_sc_group(ty_sc *);
/* Index of a reduction's operand from the index of its result, over the group's columns or reduction loop. */
void ty_sc_reduce_map(ty_sc *, const ty_group *, const ty_node *reduce, const ty_dim *idx, ty_dim *at);

/* build.c: a group as a loop over the program's buffers */
typedef struct ty_built {
  ty_loop *loop;
  TY_VEC(ty_pbuf) bufs; TY_VEC(bool) writes;
  TY_VEC(ty_pexpr) pars;
  ty_dim rows, cols, red; /* red: of the serial reduction, 1 without */
  ty_str fused; /* names of the operators computed, space-separated */
} ty_built;
ty_status ty_sc_build_loop(ty_sc *, int group, ty_built *); /* free the vectors and the text; the loop goes on living */
void ty_built_free(ty_built *);

/* steps.c */
ty_status ty_sc_steps(ty_sc *);
ty_pexpr ty_sc_expr(ty_sc *, ty_dim);
ty_place *ty_sc_place(ty_sc *, ty_value *base); /* gives it memory at first need */
ty_step_info ty_sc_step_info(ty_sc *, const ty_node *, const char *head, const char *fused, const ty_value *shape, const char *kernel, ty_dim flops, bool fold);
void ty_sc_record(ty_sc *, const ty_step_info *, const char *fused, const char *declined, int loop);

/* conv.c: a convolution that stores its result, or with the epilogue of a group; its weight */
/* For names of kernels: the products that the program's best level has for a format; text: what else there is to say. */
const char *ty_sc_products(ty_sc *, ty_format, const char **text);
ty_status ty_sc_emit_conv(ty_sc *, ty_node *, const ty_group *, const char *fused, const ty_step_loop *, int loop);
ty_status ty_sc_emit_conv_pack(ty_sc *, ty_node *);
#endif
