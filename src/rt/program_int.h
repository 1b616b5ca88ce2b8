/* program_int.h: what the runtime's files share about a program: its tables, bindings, run slots, folded state. */
#ifndef TY_PROGRAM_INT_H
#define TY_PROGRAM_INT_H
#include "kernel/kernel.h"
#include "rt/program.h"

#include <pthread.h>
#include <stdatomic.h>

enum { RT_ALIGN = 64, RT_SIZES = 64 };

/* A phase is the folded part or the run part; each has its own order of steps, bindings and arena. */
typedef enum rt_phase { RT_RUN, RT_FOLD, RT_NPHASE } rt_phase;

typedef struct rt_expr { ty_pexpr_op op; int64_t v; ty_pexpr a, b; bool symbolic; } rt_expr;

typedef struct rt_buf {
  ty_pbuf_kind kind;
  int index;
  ty_dtype dtype;
  ty_pexpr bytes;
  const char *name;
  void *literal;             /* LITERAL: 64-byte aligned */
  size_t size, state_off;    /* LITERAL, STATE, kept: bytes, and where in the state block */
  bool kept;                 /* written by no step: STATE of a loaded program, an INPUT that a saved one takes along */
  bool touched[RT_NPHASE];
} rt_buf;

typedef enum rt_kind { RT_LOOP, RT_GEMM, RT_ATTN, RT_PACK, RT_CONV, RT_CONV_PACK, RT_RNN, RT_ROUTINE } rt_kind;

/* The buffers a step touches are the refs [ref0, ref0 + nrefs) of the program, fixed operands first, then the loop's. */
enum { GEMM_A, GEMM_B, GEMM_C, GEMM_EPI };
enum { ATTN_Q, ATTN_K, ATTN_V, ATTN_O, ATTN_MASK, ATTN_BIAS };
enum { CONV_X, CONV_W, CONV_Y, CONV_EPI };
enum { COPY_SRC, COPY_DST };
enum { ROUTINE_OUT = 4 };
enum { RNN_X, RNN_WHH, RNN_BHH, RNN_WHR, RNN_H0, RNN_C0, RNN_OUT, RNN_NREFS };
typedef struct rt_ref { ty_pbuf buf; bool write; } rt_ref; /* buf < 0: absent */

typedef struct rt_step {
  rt_kind kind;
  const char *name, *kernel;
  ty_pexpr flops, bytes;
  bool fold;
  int origin;
  int ref0, nrefs;
  int group;                 /* fold: steps of one group are run again together */
  bool has_loop;
  _Atomic(ty_loop_fn) fn;    /* of the loop or the epilogue */
  ty_step_loop loop;         /* LOOP, and the epilogue of a GEMM or a CONV */
  union { ty_step_gemm gemm; ty_step_attn attn; ty_step_pack pack; ty_step_conv conv; ty_step_conv_pack conv_pack; ty_step_rnn rnn; ty_step_routine routine; } u;
  uint64_t calls;            /* these four: under prof_lock */
  double seconds, sum_flops, sum_bytes;
  _Atomic double changed, size; /* PACK in few bits: squares of what packing changed, and of the weights */
} rt_step;

/* A step for one tuple of sizes. The kernel structs have their sizes; pointers are set at the call. */
typedef struct rt_bound {
  const rt_step *step;
  bool barrier;              /* before the step */
  bool skip;                 /* nothing to do */
  int threads;               /* worth using, at most; 1: thread 0 alone */
  double work;               /* guessed seconds on one thread */
  int64_t rows, cols;
  size_t scratch, loop_scratch_at;
  const ty_i64 *par;
  int64_t off[RNN_NREFS];            /* elements, by ref */
  double flops, bytes;
  bool chained, fed;         /* chained: hands its lines on to the next step, which is fed by it (chain.c) */
  int64_t chain_lines;       /* chained: of its result, in a thread's scratch from chain_at on */
  size_t chain_at;
  const struct rt_bound *next_gemm; /* the next product with packed weights that all threads work on: a hint to prefetch */
  union {
    ty_gemm gemm;
    ty_gemm64 gemm64;
    ty_attn attn;
    struct { int nr; int64_t k, n, ldk, ldn; } pack;
    ty_conv conv;
    struct { int nr; int64_t ld[5]; } conv_pack;
    ty_rnn rnn;
    int64_t routine[6];      /* its sizes */
  } u;
} rt_bound;

typedef struct rt_bind {
  uint64_t id;               /* unique in the program */
  int refs;                  /* runs that use it; under lock */
  bool cached;
  uint64_t used;
  ty_arena mem;              /* holds all below */
  int64_t *syms;
  rt_bound *bound;           /* in the phase's order */
  int nbound;
  int64_t *bytes;            /* by buffer; -1: not touched in this phase */
  size_t *off;               /* ARENA: place */
  size_t arena, naive, live, scratch; /* live: the most that is alive at a step */
  int wanted, barriers;      /* threads worth waking */
} rt_bind;

/* A binding in the cache, with the hash of its sizes. */
typedef struct rt_kept { uint64_t hash; rt_bind *bind; } rt_kept;

/* What one run needs to itself, reused by later ones. */
typedef struct rt_slot {
  struct rt_slot *next;
  char *mem;
  size_t cap;
  uint64_t bind_id, state_id; /* what ptr was resolved for */
  void **ptr;                /* by ref */
  double *seconds;           /* by position in the phase, while profiling */
  char *scratch;
  size_t stride;
} rt_slot;

/* Buffers of the caller in a phase, and the refs that take their pointers. */
typedef struct rt_io { ty_pbuf buf; int ref; } rt_io;
typedef TY_VEC(rt_io) rt_ios;

typedef struct rt_part {
  TY_VEC(int) order;         /* steps */
  rt_ios io;
} rt_part;

typedef struct rt_need { ty_pneed_rel rel; ty_pexpr a, b; const char *what; } rt_need;

struct ty_program {
  ty_arena mem;
  bool failed, broken, finished; /* failed: out of memory while building; broken: bad arguments */
  const ty_kernels *kernels;
  ty_tuning tuning;          /* all settled */
  int panel;                 /* columns of packed panels */
  ty_isa isa;                /* the best level that runs it */
  TY_VEC(rt_expr) expr;
  int *expr_table;           /* hash set of expressions, index + 1 */
  int expr_cap;
  TY_VEC(const char *) sym;
  TY_VEC(rt_buf) buf;
  TY_VEC(rt_ref) ref;
  TY_VEC(rt_step) step;
  TY_VEC(rt_need) need;
  rt_part part[RT_NPHASE];
  size_t literals;
  _Atomic bool ready;        /* every loop has its function */

  int ninputs, words;        /* words of 64 bits in a set of inputs */
  int ngroups;
  uint64_t *group_deps;      /* [ngroups][words]: inputs that a group of fold steps depends on */
  uint64_t *fold_inputs;     /* [words]: union of these */
  size_t state_bytes;

  pthread_rwlock_t fold_lock; /* runs read, folds write */
  bool folded;               /* under fold_lock, as are state, state_id, fold_bind, chosen */
  char *state;
  bool state_given;          /* state is another's memory */
  uint64_t state_id;
  rt_bind *fold_bind;
  bool *chosen;              /* by group */

  pthread_mutex_t lock;      /* the cache of bindings, free slots, the last shape's figures */
  TY_VEC(rt_kept) kept;
  uint64_t tick, next_id;
  rt_slot *slots;
  ty_memory memory;

  pthread_mutex_t prof_lock;
  _Atomic bool profile;
};

/* plan.c: places items that live from step `first` to step `last` (both included) so that none overlaps another that lives at
 * the same time; offsets are multiples of RT_ALIGN. False: out of memory or sizes past counting. */
typedef struct rt_life { int first, last; size_t bytes; } rt_life;
bool ty_rt_plan(int n, const rt_life *items, size_t *offsets, size_t *total);

/* Memory of whole pages, huge ones where the program may have them. */
void *ty_rt_pages(const ty_program *, size_t bytes);

/* bind.c */
ty_status ty_rt_bind_make(ty_program *, ty_ctx *, rt_phase, const int64_t *syms, rt_bind **out);
bool ty_rt_multiplies(const ty_program *); /* each product and convolution by kernels of this machine */
void ty_rt_bind_free(rt_bind *);
ty_status ty_rt_bind_get(ty_program *, ty_ctx *, const int64_t *syms, rt_bind **out, rt_slot **slot); /* counted; slot may be NULL */
void ty_rt_bind_put(ty_program *, rt_bind *, rt_slot *);

/* step_bind.c: sizes of one step, from evaluated expressions. */
typedef struct rt_values { const int64_t *v; const bool *bad; } rt_values;
ty_status ty_rt_bound_make(ty_program *, ty_ctx *, const rt_values *, rt_bind *, rt_bound *);
/* An expression's value; false when it overflowed or has no symbols to work with. */
bool ty_rt_value(const rt_values *, ty_pexpr, int64_t *out);

/* step.c: a product's loop as its epilogue. Rows are those of all products (of m rows), one after the other, from `first` on. */
typedef struct rt_epilogue { ty_kargs ka; ty_loop_fn fn; int64_t m, first; } rt_epilogue;
void ty_rt_epilogue(void *epilogue, int tid, int64_t batch, int64_t m0, int64_t m1, int64_t n0, int64_t n1, const float *acc, int64_t ldacc);

/* chain.c: finds steps that are chained, once all are bound and before the arena is planned; runs such a step and the one it feeds.
 * fed: seconds that the latter took are added to it, unless NULL. */
void ty_rt_chain_find(const ty_program *, rt_phase, rt_bind *);
void ty_rt_chain_do(const ty_kernels *, const rt_bound *, void *const *ptr, void *scratch, int tid, int nt, ty_i32 *fault, double *fed);

/* step.c: thread tid's part of a step, of nt threads that take part. */
void ty_rt_step_do(const ty_kernels *, const rt_bound *, void *const *ptr, void *scratch, int tid, int nt, ty_i32 *fault);

/* run.c: runs a phase's steps; chosen: groups of fold steps to run, NULL for all. */
ty_status ty_rt_phase_run(ty_program *, ty_ctx *, const ty_run *, rt_phase, const rt_bind *, rt_slot *, const bool *chosen);
rt_slot *ty_rt_slot_create(const ty_program *);
void ty_rt_slot_destroy(rt_slot *);

/* fold.c */
ty_status ty_rt_fold_finish(ty_program *, ty_ctx *); /* dependencies and groups, once steps are known */
ty_status ty_rt_fold_place(ty_program *, ty_ctx *); /* sizes and places of state, once */
bool ty_rt_fold_wanted(const ty_program *, const ty_run *);
ty_status ty_rt_fold(ty_program *, ty_ctx *, const ty_run *); /* under the write side of fold_lock */

static inline size_t rt_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
static inline int64_t rt_share(int64_t n, int64_t i, int64_t of) { /* start of the i-th of `of` even parts of n */
  int64_t extra = n % of;
  return n / of * i + (i < extra ? i : extra);
}
#endif
