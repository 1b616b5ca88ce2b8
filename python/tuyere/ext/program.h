/* program.h: a Program: what a call checks, and what it remembers of parameters. For program.c (looking) and run.c (the call). */
#ifndef TY_EXT_PROGRAM_H
#define TY_EXT_PROGRAM_H
#include "ext.h"
#include <pthread.h>

typedef struct ext_size { int64_t value; ty_dim dim; int sym; } ext_size; /* sym >= 0: a plain symbol; dim < 0: the constant value */
typedef struct ext_input {
  int arg;               /* position in a call */
  const char *name;      /* owned by the model's graph, or "" */
  bool param, fixed;     /* fixed: every size and stride is a constant */
  PyObject *released;    /* the tensor whose memory was freed after folding: not read any more, but must stay the one */
  ty_dtype dtype;
  int rank;
  ext_size *sizes, *strides; /* strides NULL: contiguous */
  int64_t *fixed_sizes, *fixed_strides; /* when fixed; strides of contiguous memory included */
  double bytes;          /* when fixed; else 1 */
} ext_input;
typedef struct ext_intarg { int arg; ext_size size; } ext_intarg;
/* shape: of the program's own, contiguous result, of which the tensor is a permute: dim order[i] of the tensor lies i-th in memory. */
typedef struct ext_output { ty_dtype dtype; int rank; const ty_dim *shape; bool fixed; PyObject *empty_args; signed char order[TY_MAX_RANK]; } ext_output;

/* What one call needs; kept in a list, taken and given back under the GIL. */
typedef struct ext_frame {
  struct ext_frame *next;
  ty_ctx *ctx;
  int64_t *syms;
  void **inputs, **outputs;
  void **data;                /* by input: the tensor's memory, also where a relaid copy is read in its place */
  uint64_t *changed;
  int64_t *versions;
  bool *odd; int nodd;        /* parameters that need another layout */
  PyObject **held; int nheld; /* relaid tensors */
  PyObject **ranges; int nranges; /* torch.profiler's: one a step, and one of the whole */
} ext_frame;

/* One parameter as it was folded. Data pointer and version tell whether it changed, and do so only while that memory stays
 * taken: `alias` holds it. */
typedef struct ext_seen {
  bool seen;
  void *data; int64_t version;
  PyObject *alias;       /* shares data's memory: while it lives the address is not given to other data */
  PyObject *owner;       /* weak reference to the tensor: gone, or with other data, nobody has these weights any more */
  PyObject *copy, *copy_alias; /* when its layout is not the compiled one: our copy, of this data and version */
  void *copy_data; int64_t copy_version;
  int streak;            /* folds in a row that it caused */
} ext_seen;

/* The folded program of one set of weights. One graph may serve several: torch.compile gives layers of one shape the same
 * graph. Written under the GIL and, while a run may read it, under the write side of lock. */
enum { EXT_SETS = 64, EXT_STREAK = 3 };
typedef struct ext_set {
  ty_ctx *ctx;
  ty_model *model;
  ty_program *program;
  ext_seen *seen;         /* by input */
  bool ran;               /* folded once */
  int streaks;            /* the longest streak */
  int users;              /* calls that are using it */
  uint64_t used;          /* the program's call that used it last */
  pthread_rwlock_t lock;  /* readers run, a writer folds; never waited for with the GIL held */
} ext_set;

typedef struct ext_program {
  PyObject_HEAD
  PyObject *weakrefs;
  ext_state *st;
  const ty_graph *graph;  /* the first set's: sizes and names for checks */
  int nargs, nin, nout, nsyms, nints, nparams;
  ext_input *in;
  ext_intarg *ints;
  ext_output *out;
  bool *bound;            /* symbols that a call binds */
  ext_frame *frames;
  ext_set *sets[EXT_SETS];
  int nsets, current;     /* current: the one used last */
  ty_graph *source;       /* the graph before compilation, for further sets; NULL: there will be none */
  ty_ctx *source_ctx;
  ty_options options; char *python, *name, *fpmath, *weights; /* for further sets */
  int active;             /* calls in progress */
  ext_set *renewed;       /* waits to take the place of all sets, when no call is in progress */
  bool renewing;
  int generation;         /* how often that happened */
  bool released;
  bool profiling;
  uint64_t calls, folds;
} ext_program; /* all but the sets' state: under the GIL */

/* set.c: sets of weights. */
ext_set *ext_set_new(ext_program *, ty_ctx *, ty_model *); /* takes both over; NULL with MemoryError */
void ext_set_free(ext_program *, ext_set *);
ext_set *ext_set_choose(ext_program *, const ext_frame *); /* the one folded from these parameters, or one to fold into */
bool ext_set_changed(const ext_program *, const ext_set *, ext_frame *);    /* marks what is new since its last fold; under its lock */
void ext_set_remember(ext_program *, ext_set *, ext_frame *, PyObject *const *args, bool good); /* after a fold, under the GIL and its lock */
void ext_set_calm(ext_program *, ext_set *);                                /* after a call that folded nothing */
void ext_set_review(ext_program *, const ext_set *, PyObject *const *args);  /* after a fold: compiles anew without parameters that never rest */
void ext_program_renew(ext_program *);                                      /* when no call is in progress */
/* program.c: reads sizes and names from another compilation of the same graph. */
bool ext_program_refill(ext_program *, ty_model *);

/* ranges.c: torch.profiler's ranges around steps. */
bool ext_profiler_on(ext_state *);
void ext_range(ext_program *, ext_frame *, int step, bool begin); /* step -1: the whole program; raises nothing */

PyObject *ext_program_run(PyObject *self, PyObject *const *args, Py_ssize_t n);
void ext_frames_free(ext_program *);
#endif
