/* loop.h: a fused kernel as a loop nest over buffers: rows x (optional serial reduction loop) x columns, scalar primitives in SSA.
 *
 * A kernel runs for a rectangle of rows and columns. The flat row number is split into row variables (outermost first) by
 * the extents in par; the column variable is innermost and is the vector loop. Each node has a level: how often it has a value.
 *   ROW   once a row            (integer index arithmetic, results of reductions over columns, loads that do not move with c)
 *   RED   once a (row, red)     (only in kernels with a reduction loop)
 *   ELEM  once a column
 * and a phase: the pass over the columns in which it is computed. A reduction node of phase p has its result from phase p+1 on.
 *   Row reduction (softmax, norms): red extent absent; REDUCE folds an ELEM operand over all columns into a ROW value.
 *   Column reduction (mean over the sequence): red extent present; phase 0 runs inside the red loop, REDUCE folds an ELEM
 *   operand over red into an ELEM value (an accumulator row in scratch), later phases run once after it.
 * Values of ELEM level needed in a later phase are spilled to a scratch row, or computed again where that is a load and cheap. */
#ifndef TY_LOOP_H
#define TY_LOOP_H
#include "tuyere_abi.h"
#include "loop/prims.h"

typedef enum ty_lkind {
  TY_L_CONST,   /* imm / fimm of `dtype` */
  TY_L_PAR,     /* i64: par[slot] */
  TY_L_ROWVAR,  /* i64: row variable number slot */
  TY_L_REDVAR,  /* i64 */
  TY_L_COLVAR,  /* i64 */
  TY_L_LOAD,    /* element of buf[slot], stored as mem, converted to dtype; address (elements) = a + b + c * col stride, see below */
  TY_L_ACC,     /* f32, i32: the GEMM tile at this row and column */
  TY_L_PRIM,    /* ty_prims[prim](a, b, c) */
  TY_L_CAST,    /* a converted to dtype with PyTorch's rules */
  TY_L_CHECK,   /* i64: operand a if 0 <= a < b, else 0 with *fault = 1 */
  TY_L_REDUCE,  /* fold of a: red names the operator */
  TY_L_STORE,   /* buf[slot] at the address of LOAD's form := d, converted to mem */
} ty_lkind;
typedef enum ty_lred { TY_RED_SUM, TY_RED_PROD, TY_RED_MAX, TY_RED_MIN, TY_RED_ANY, TY_RED_ALL, TY_RED_ARGMAX, TY_RED_ARGMIN } ty_lred;
typedef enum ty_llevel { TY_LV_ROW, TY_LV_RED, TY_LV_ELEM } ty_llevel;

typedef struct ty_lnode {
  ty_lkind kind;
  ty_dtype dtype;          /* of the value; f16 and bf16 appear only as mem, values are f32 */
  ty_prim prim; ty_lred red;
  int a, b, c, d;          /* operand nodes, -1 when absent */
  int64_t imm; double fimm;
  int slot;                /* PAR, ROWVAR, LOAD, STORE */
  ty_dtype mem;            /* LOAD, STORE: dtype in memory */
  /* LOAD, STORE addresses, in elements: a (ROW or RED level i64 node, -1: 0) + b (ELEM level i64 node: a gather or a
   * non-affine map, -1: 0) + column * stride, where the stride is the constant col_stride, or par[col_par] if col_par >= 0.
   * STORE of a ROW level value has col_stride 0 and col_par -1 and is done once a row. */
  int64_t col_stride; int col_par;
  /* set by ty_loop_finish: */
  ty_llevel level; int phase;
  uint32_t uses;           /* ELEM: bit p: the value is needed in phase p. Computed in each of them, or once when spilled */
  bool spill;              /* an ELEM value kept in a scratch row for later phases */
  bool uniform;            /* ROW: the same for all rows of a call */
  int reg;                 /* the interpreter's chunk register, the row's number when spilled, -1 for a single cell */
} ty_lnode;

typedef struct ty_loop {
  ty_arena arena;
  int nrowvars; int row_par[TY_MAX_RANK];  /* par slots of the row extents, outermost first */
  int col_par;                             /* par slot of the column extent */
  int red_par;                             /* par slot of the serial reduction extent, -1 without */
  TY_VEC(ty_lnode) nodes;                  /* in order of definition */
  int nbufs, npars;
  bool col_reduce;                         /* some REDUCE folds over the columns: calls must cover all of them */
  int nphases, nspills, nregs;
  bool has_acc;
  ty_str text;                             /* canonical text (no sizes): equal text means one kernel */
  ty_hash hash;
} ty_loop;

ty_loop *ty_loop_create(void);
void ty_loop_destroy(ty_loop *);
/* Appends, with hash-consing of pure nodes (an equal node is returned instead). -1 when out of memory. Operands that the
 * kind does not have are ignored. Loads read what was there before the kernel's own stores at that index. */
int ty_loop_add(ty_loop *, ty_lnode);
/* Levels, phases, spills, dead nodes removed (STOREs are roots), canonical text and hash. TY_INTERNAL names the broken rule.
 * Node numbers change: those that ty_loop_add returned are void afterwards. */
ty_status ty_loop_finish(ty_ctx *, ty_loop *);
/* Bytes of scratch a thread needs for the given number of columns (spills and accumulator rows, each padded to 64 bytes,
 * and the interpreter's chunk buffers, whichever of both is larger). Linear in cols: fixed part at 0, per column the rest. */
size_t ty_loop_scratch(const ty_loop *, int64_t cols);

/* The interpreter: runs any finished loop chunk by chunk. It is the oracle for emitted code, the constant folder, and what
 * runs when there is no compiler. kargs->self must be the ty_loop. */
void ty_loop_interp(const ty_kargs *, ty_i64 r0, ty_i64 r1, ty_i64 c0, ty_i64 c1);
#endif
