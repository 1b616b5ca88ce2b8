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
  bool late;             /* a size or stride must wait until all symbols are bound */
  PyObject *released;    /* the tensor whose memory was freed after folding: not read any more, but must stay the one */
  ty_dtype dtype;
  int rank;
  ext_size *sizes, *strides; /* strides NULL: contiguous */
  int64_t *fixed_sizes, *fixed_strides; /* when fixed; strides of contiguous memory included */
  void *seen_data; int64_t seen_version; bool seen; /* parameters: at the last fold; guarded by the program's lock */
  PyObject *seen_alias;  /* shares seen_data's memory: while it lives the address is not given to other data */
  PyObject *copy;        /* parameters whose layout is not the compiled one: our copy, of this data and version */
  PyObject *copy_alias;  /* as seen_alias, of what was copied */
  void *copy_data; int64_t copy_version;
} ext_input;
typedef struct ext_intarg { int arg; ext_size size; } ext_intarg;
typedef struct ext_output { ty_dtype dtype; int rank; const ty_dim *shape; bool fixed; PyObject *empty_args; } ext_output;

/* What one call needs; kept in a list, taken and given back under the GIL. */
typedef struct ext_frame {
  struct ext_frame *next;
  ty_ctx *ctx;
  int64_t *syms;
  void **inputs, **outputs;
  uint64_t *changed;
  int64_t *versions;
  PyObject **held; int nheld; /* relaid inputs */
  PyObject **relaid;          /* by input: the copy that is read in its place, or NULL */
} ext_frame;

typedef struct ext_program {
  PyObject_HEAD
  PyObject *weakrefs;
  ext_state *st;
  ty_ctx *ctx;
  ty_model *model;
  ty_program *program;
  const ty_graph *graph;
  int nargs, nin, nout, nsyms, nints;
  ext_input *in;
  ext_intarg *ints;
  ext_output *out;
  bool *bound;            /* symbols that a call binds */
  ext_frame *frames;
  bool ran;               /* folded once; guarded by lock */
  bool released;
  bool profiling;
  uint64_t calls, folds;  /* under the GIL */
  pthread_rwlock_t lock;  /* readers run, a writer folds; never waited for with the GIL held */
} ext_program;

PyObject *ext_program_run(PyObject *self, PyObject *const *args, Py_ssize_t n);
void ext_frames_free(ext_program *);
#endif
