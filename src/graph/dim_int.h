/* dim_int.h: the room's own view of dims: the hash-consing table, and dims taken apart as polynomials over atoms. */
#ifndef TY_DIM_INT_H
#define TY_DIM_INT_H
#include "graph/graph.h"

/* A failed dim (out of memory, overflow, or grown past the limits below) is TY_DIM_BAD. Every operation hands it on, so
 * that a builder checks once; the context has the reason. */
enum { TY_DIM_BAD = -1, TY_DIM_ONE = 1 };
enum { DIM_MAX_TERMS = 96, DIM_MAX_ATOMS = 16, DIM_MAX_DEPTH = 40, DIM_MAX_WEIGHT = 4000, DIM_MAX_EXPRS = 1 << 24 };

typedef struct ty_dim_rec {
  ty_dim_expr e;
  uint64_t syms;  /* Bloom mask of the symbols below: bit (index % 64) */
  int32_t weight; /* nodes of the expression as a tree, an upper bound */
  int16_t depth;  /* of div, mod, min and max inside each other */
  uint16_t flags;
} ty_dim_rec;
enum { DIM_HAS_LOOPVAR = 1, DIM_HAS_MOD = 2 /* a MOD is a factor of one of the terms */ };

typedef struct ty_dim_memo { int32_t op; ty_dim a, b, r; } ty_dim_memo;

struct ty_dims {
  TY_VEC(ty_dim_rec) recs;
  TY_VEC(ty_sym) syms;
  TY_VEC(ty_dim) sym_dims;
  ty_dim index[2 * TY_MAX_RANK];        /* ty_dim_index; 0 where not made */
  int32_t *slots; int nslots;           /* power of two; entries are dim + 1, 0 when empty */
  int proving;                          /* proofs under way inside each other: bounded */
  ty_dim_memo *memo; int nmemo, memo_n; /* results of operations; same scheme, op 0 when empty */
};

/* One monomial: coefficient times a product of atoms (ONE for the constant). Terms stand in canonical order. */
typedef struct ty_term { int64_t c; ty_dim p; } ty_term;
typedef struct ty_poly { int n; bool bad; ty_term t[DIM_MAX_TERMS]; } ty_poly;

bool dim_init(ty_graph *);
void dim_free(ty_graph *);
static inline const ty_dim_rec *dim_rec(const ty_graph *g, ty_dim d) { return &g->dims->recs.p[d]; }
ty_dim dim_bad(ty_graph *, const char *why); /* records the reason, returns TY_DIM_BAD */
ty_dim dim_intern(ty_graph *, ty_dim_op, int64_t value, ty_dim a, ty_dim b);
bool dim_memo_get(const ty_graph *, int op, ty_dim a, ty_dim b, ty_dim *r);
void dim_memo_put(ty_graph *, int op, ty_dim a, ty_dim b, ty_dim r);

/* Saturating arithmetic: INT64_MIN and INT64_MAX stand for the infinities. */
int64_t dim_sat_add(int64_t, int64_t);
int64_t dim_sat_mul(int64_t, int64_t);
int64_t dim_floordiv(int64_t, int64_t);
int64_t dim_floormod(int64_t, int64_t);

/* dim_poly.c */
int dim_atoms(const ty_graph *, ty_dim product, ty_dim atoms[DIM_MAX_ATOMS]);
ty_dim dim_prod(ty_graph *, int n, ty_dim *atoms); /* sorts; BAD when too many */
int dim_cmp(const ty_graph *, ty_dim, ty_dim);     /* canonical order of products (or atoms): by structure, not by age */
void dim_poly_of(const ty_graph *, ty_dim, ty_poly *);
ty_dim dim_of_poly(ty_graph *, const ty_poly *);
void dim_poly_add(ty_graph *, ty_poly *, int64_t c, ty_dim p); /* one term into its place */
void dim_poly_addmul(ty_graph *, ty_poly *, const ty_poly *, ty_term by);
ty_dim dim_prod_mul(ty_graph *, ty_dim p, ty_dim q);
ty_dim dim_prod_div(ty_graph *, ty_dim p, ty_dim q); /* p / q when q's atoms are all in p, else BAD (no reason recorded) */

bool dim_ge0(ty_graph *, ty_dim); /* provably >= 0 */
/* p and q are hash-consed monomials etc.; x = q * quotient + rest exactly. */
void dim_split(ty_graph *, ty_dim x, ty_dim q, ty_poly *quotient, ty_poly *rest);
#endif
