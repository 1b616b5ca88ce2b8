/* program.h: a compiled model: buffers, integer expressions over the symbols, and the steps that the pool's threads run together.
 * Built by sched, run by the doors; knows nothing of graphs. Immutable once finished, but for its folded state and caches,
 * which it locks itself: any number of threads may run one program at once. */
#ifndef TY_PROGRAM_H
#define TY_PROGRAM_H
#include "base/base.h"
#include "kernel/kernel.h"
#include "tuyere_abi.h"

typedef struct ty_program ty_program;
typedef int ty_pexpr; /* index into the program's expression table */
typedef enum ty_pexpr_op { TY_PE_CONST, TY_PE_SYM, TY_PE_ADD, TY_PE_MUL, TY_PE_DIV, TY_PE_MOD, TY_PE_MIN, TY_PE_MAX } ty_pexpr_op;

typedef enum ty_pbuf_kind {
  TY_PB_INPUT,   /* caller's memory, per call; `index` is the input's position */
  TY_PB_OUTPUT,  /* caller's memory, per call; `index` is the output's position */
  TY_PB_ARENA,   /* lives within one run: offset planned from the first and last step that touch it */
  TY_PB_STATE,   /* written by fold steps, read by runs; lives as long as the program: packed weights, folded constants */
  TY_PB_LITERAL, /* bytes copied into the program */
} ty_pbuf_kind;
typedef int ty_pbuf;

ty_program *ty_program_create(ty_ctx *); /* NULL: no memory */
void ty_program_destroy(ty_program *);
/* The CPU levels of one architecture that will run the program, bits of ty_isa: weights are packed once, as the best of them likes it
 * and in panels whose width all of theirs divide. Before anything is built; at first this CPU's level. */
void ty_program_set_levels(ty_program *, uint32_t levels);
int ty_program_panel(const ty_program *); /* columns of the panels */
ty_isa ty_program_isa(const ty_program *); /* the best level */

/* How a program runs; each at 0 is what the environment says, and else the default. */
typedef struct ty_tuning {
  int threads;    /* of a run, at most; default: the pool's */
  int sizes;      /* tuples of sizes whose bindings are kept, the least recently used goes first: LRU_CACHE_CAPACITY; default 64 */
  int huge_pages; /* memory of runs and folded weights in huge pages: 1 yes, -1 no: THP_MEM_ALLOC_ENABLE; default yes */
} ty_tuning;
bool ty_program_huge_pages(const ty_program *); /* whether it may have them, THP_MEM_ALLOC_ENABLE included */
void ty_program_tune(ty_program *, const ty_tuning *); /* before its first run */

/* ---- Building ---- (negative results: out of memory; checked once in finish) */
int ty_program_symbol(ty_program *, const char *name);
ty_pexpr ty_program_const(ty_program *, int64_t);
ty_pexpr ty_program_expr(ty_program *, ty_pexpr_op, int64_t value_or_sym, ty_pexpr a, ty_pexpr b); /* hash-consed */
ty_pexpr ty_program_buffer_bytes(const ty_program *, ty_pbuf);
ty_pbuf ty_program_buffer(ty_program *, ty_pbuf_kind, int index, ty_dtype, ty_pexpr bytes, const char *name);
ty_pbuf ty_program_literal(ty_program *, const void *data, size_t bytes);

typedef struct ty_step_loop {  /* a loop kernel over rows x cols */
  ty_loop_fn fn; const void *self; /* fn may be set later, through ty_program_set_fn */
  int nbufs; const ty_pbuf *bufs; const bool *writes;
  int npars; const ty_pexpr *pars;
  ty_pexpr rows, cols;
  bool whole_cols;       /* never split columns across threads */
  bool dense;            /* an epilogue that stores one float32 for each element of the product, at row * cols + column */
  size_t scratch_fixed, scratch_per_col; /* bytes a thread */
} ty_step_loop;
typedef struct ty_step_gemm {  /* C = A x B for a batch; C goes through the epilogue, or is written when there is none */
  ty_pbuf a; ty_pexpr a_off, lda, a_batch[2];   /* elements */
  ty_pbuf b; bool packed; ty_pexpr b_off, ldk, ldn, b_batch[2]; /* packed: only b and b_off (0) are read */
  ty_format format;      /* of b as packed, before or during the run; f64: TY_FORMAT_f32 */
  ty_pbuf c; ty_pexpr c_off, ldc, c_batch[2];   /* c < 0 with an epilogue */
  ty_pexpr batch[2], m, n, k;
  bool f64, bytes;       /* bytes: a is u8, b packed as int8, c and the epilogue's tile i32 */
  const ty_step_loop *epilogue; /* rows = batch0 * batch1 * m in that order, cols = n; NULL: none */
} ty_step_gemm;
typedef struct ty_step_attn {
  ty_pbuf q, k, v, o; ty_pexpr off[4];          /* q, k, v, o */
  ty_pexpr stride[4][3];                        /* of q, k, v, o over batch, head, sequence; the last dim is contiguous */
  ty_pexpr batch, heads, kv_heads, sq, sk, d, dv;
  ty_pbuf mask; bool mask_is_bool; ty_pexpr mask_off, mask_stride[4];   /* mask < 0: none; strides over b, h, q, k */
  ty_pbuf bias; ty_pexpr bias_off, bias_stride[4];
  bool causal, empty_nan; double scale; ty_format format; /* see ty_attn of kernel.h */
} ty_step_attn;
typedef struct ty_step_pack { ty_pbuf src; ty_pexpr off, ldk, ldn, k, n; ty_pbuf dst; ty_format format; } ty_step_pack; /* of float32 */
/* A convolution, channels last; y goes through the epilogue, or is written when there is none. See ty_conv of kernel.h. */
typedef struct ty_step_conv {
  ty_conv_kind kind; ty_format format; ty_conv_shape s; int64_t pad[3];
  ty_pbuf x; ty_pexpr x_off, x_n, x_s[3];      /* elements */
  ty_pbuf w;                                   /* packed for this kind, format and shape */
  ty_pbuf y; ty_pexpr y_off, y_n, y_s[3];      /* y < 0 with an epilogue */
  ty_pexpr batch, in[3], out[3];
  const ty_step_loop *epilogue;                /* rows = batch * out0 * out1 * out2 in that order, cols = channels out; NULL: none */
} ty_step_conv;
typedef struct ty_step_conv_pack { ty_conv_kind kind; ty_format format; ty_conv_shape s; ty_pbuf src; ty_pexpr off, ld[5]; ty_pbuf dst; } ty_step_conv_pack; /* ld: as ldw of kernel.h */
/* Recurrent layers, see ty_rnn of kernel.h; all operands contiguous. out: y [t, b, d, p] ([b, t, d, p] if batch_first, as x), then
 * LSTM's last cell state [d, b, h], then room for as much with a projection. */
typedef struct ty_step_rnn {
  int kind; bool batch_first;
  ty_pbuf x, whh, bhh, whr, h0, c0, out;       /* bhh, whr, c0 < 0: none */
  ty_pexpr t, b, d, h, p;
} ty_step_rnn;
/* What no loop expresses, on contiguous operands (absent ones and sizes that are not named: -1). T: the step's dtype.
 *   SCAN     in x T [0, 1, 2] -> along the middle; T, or for ARGMAX, ARGMIN i64 places along it
 *   SORT     in x T [0, 1] -> i64 [0, 2]: places of the [2] first elements of each row in order, stable; NaN is greatest
 *   SCATTER  in x T [0, 2], i64 index [1], y T [1, 2] -> x with the rows of y put to, or joined with, rows index of it, in order; T not narrow
 *   BAG      in table T [0, 1], i64 index [2], i64 start [4], T weight [2] or none -> T [3, 1]: bag b has the rows index[start[b]] to
 *            index[start[b + 1]], the last one (where [4] is [3]) the rest; index [5] counts for nothing; f32, f64 */
typedef enum ty_routine {
  TY_SCAN_SUM, TY_SCAN_PROD, TY_SCAN_ARGMAX, TY_SCAN_ARGMIN, TY_SORT_UP, TY_SORT_DOWN,
  TY_SCATTER_SET, TY_SCATTER_SUM, TY_SCATTER_PROD, TY_SCATTER_MAX, TY_SCATTER_MIN, TY_BAG_SUM, TY_BAG_MEAN, TY_BAG_MAX, TY_NROUTINES
} ty_routine;
typedef struct ty_step_routine { int which; ty_dtype dtype; ty_pbuf in[4], out; ty_pexpr size[6]; } ty_step_routine;

/* Appends a step. `fold`: it belongs to the folded part (reads inputs that are parameters, literals and state only), which
 * runs when a parameter it depends on has changed and not at each call. The structs and their arrays are copied.
 * `name`: what profile and explain show, e.g. "linear+gelu [M,768]x[768,3072]"; `flops`, `bytes`: work as expressions, for
 * GFLOP/s and GB/s (-1: none). */
typedef struct ty_step_info { const char *name; const char *kernel; ty_pexpr flops, bytes; bool fold; int origin; } ty_step_info; /* origin: see tuyere.h */
int ty_program_add_loop(ty_program *, const ty_step_info *, const ty_step_loop *);
int ty_program_add_gemm(ty_program *, const ty_step_info *, const ty_step_gemm *);
int ty_program_add_attn(ty_program *, const ty_step_info *, const ty_step_attn *);
int ty_program_add_pack(ty_program *, const ty_step_info *, const ty_step_pack *);
int ty_program_add_conv(ty_program *, const ty_step_info *, const ty_step_conv *);
int ty_program_add_conv_pack(ty_program *, const ty_step_info *, const ty_step_conv_pack *);
int ty_program_add_rnn(ty_program *, const ty_step_info *, const ty_step_rnn *);
int ty_program_add_routine(ty_program *, const ty_step_info *, const ty_step_routine *);
/* Which inputs are parameters (folded steps depend on them) and what may be freed after folding follow from the steps. */
ty_status ty_program_finish(ty_program *, ty_ctx *);
/* What sizes must satisfy, checked when they are bound, before any is used: a rel b. `what` begins the message: "aten.select.int
 * needs 4 <= s0". Before finish. */
typedef enum ty_pneed_rel { TY_PN_EQ, TY_PN_NE, TY_PN_LE } ty_pneed_rel;
void ty_program_need(ty_program *, ty_pneed_rel, ty_pexpr a, ty_pexpr b, const char *what);
/* Sets the compiled function of loop kernels after the compiler has run (by the `self` pointer given at the build). */
void ty_program_set_fn(ty_program *, const void *self, ty_loop_fn fn);

/* ---- Expressions, for the doors ---- */
bool ty_program_eval(const ty_program *, ty_pexpr, const int64_t *syms, int64_t *out); /* false (and 0): overflow, or far too large an expression */
int ty_program_unknown(const ty_program *, ty_pexpr, const bool *known); /* the one symbol in it that is not known; negative: none, or several */
int ty_program_nexprs(const ty_program *);
int ty_program_nsyms(const ty_program *);
bool ty_program_has_format(const ty_program *, ty_format); /* do any of its steps read or make weights in this format? */
int ty_program_ninputs(const ty_program *);  /* one more than the highest index */
int ty_program_noutputs(const ty_program *);

/* ---- Running ---- */
typedef struct ty_run {
  const int64_t *syms;     /* value of each symbol */
  void *const *inputs;     /* by input position; parameters included */
  void *const *outputs;    /* by output position; memory the caller allocated */
  const uint64_t *changed; /* bit an input: this parameter's data is new since the last call; NULL: none is. The first run
                              folds everything; runs that fold wait for runs in progress. */
  /* Called by the calling thread before and after each step, folded ones included; NULL: nobody watches. While it is set
   * all threads meet after each step, so that the time between the two calls is the step's. */
  void (*on_step)(void *user, int step, bool begin);
  void *on_step_user;
} ty_run;
ty_status ty_program_run(ty_program *, ty_ctx *, const ty_run *);
/* true when the input is read by folded steps only, so that its memory may be released after the first run. */
bool ty_program_input_folded(const ty_program *, int input);

/* ---- Looking ---- */
typedef struct ty_step_stat { const char *name, *kernel; bool fold; int origin; uint64_t calls; double seconds; double flops, bytes; double error; } ty_step_stat; /* sums over
                              * calls; error: of weights packed in few bits, relative (root of squares), once they are; else 0 */
void ty_program_profile(ty_program *, bool on); /* clears and starts, or stops */
int ty_program_nsteps(const ty_program *);
void ty_program_stat(const ty_program *, int step, ty_step_stat *);
/* For the last bound shape. arena_live: bytes of the largest set of values alive at one step, which no plan can do without. */
typedef struct ty_memory { size_t arena, arena_naive, arena_live, state, literals; int buffers, barriers, steps; } ty_memory;
void ty_program_memory(const ty_program *, ty_memory *);
/* What a run with these sizes would cost, without running: floating-point operations of products and attention, and memory. */
ty_status ty_program_cost(ty_program *, ty_ctx *, const int64_t *syms, double *flops, ty_memory *);
void ty_program_print(const ty_program *, ty_str *out);
#endif
