/* tuyere.h: the public C API of tuyere: PyTorch models, as torch.export saved them, compiled and run on CPUs without Python.
 *
 *   tuyere_context *c = tuyere_context_create(NULL, NULL);
 *   tuyere_model *archive, *model;
 *   tuyere_session *s;
 *   if (tuyere_model_open(c, "model.pt2", &archive) || tuyere_model_compile(c, archive, NULL, &model) ||
 *       tuyere_session_create(c, model, &s)) fail(tuyere_error(c));
 *   tuyere_tensor x = {.data = ids, .dtype = TUYERE_I64, .rank = 2, .shape = {1, 7}}, y;
 *   if (tuyere_session_bind_input(s, 0, &x) || tuyere_session_run(s) || tuyere_session_output(s, 0, &y)) fail(tuyere_error(c));
 *   use(y.data, y.shape);
 *
 * Errors. What can fail returns a tuyere_status, 0 is good; tuyere_error(context) then has the text, outermost circumstances
 * last, a line each. On failure an out parameter is set to NULL. Bad arguments and hostile files are errors, never crashes;
 * the exception are pointers to memory that does not exist. NULL is allowed for every handle that is destroyed.
 *
 * Threads. A context, and the sessions made with it, are for one thread at a time: make a context a thread. A model
 * is immutable and may be used by any number of contexts and sessions at once. One run uses the threads of the process's
 * pool; runs that find it busy go on alone, none waits for another.
 *
 * Ownership. A handle is destroyed by who created it, in any order: a session keeps its model alive. Text and pointers inside
 * info structs belong to the model; the buffers of a session to the session, unless the caller bound his own. */
#ifndef TUYERE_H
#define TUYERE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#if defined __GNUC__ && !defined TUYERE_API
#define TUYERE_API __attribute__((visibility("default")))
#elif !defined TUYERE_API
#define TUYERE_API
#endif

typedef enum tuyere_status {
  TUYERE_OK = 0,
  TUYERE_INVALID,     /* an argument, a shape or a file is wrong */
  TUYERE_UNSUPPORTED, /* the text says what is not done here, and why */
  TUYERE_NOMEM,
  TUYERE_IO,          /* files, directories, disk */
  TUYERE_COMPILER,    /* the C compiler failed or is missing */
  TUYERE_INTERNAL,    /* a defect of tuyere */
} tuyere_status;

typedef enum tuyere_dtype {
  TUYERE_BOOL, TUYERE_U8, TUYERE_I8, TUYERE_I16, TUYERE_I32, TUYERE_I64, TUYERE_F16, TUYERE_BF16, TUYERE_F32, TUYERE_F64,
} tuyere_dtype;

enum { TUYERE_MAX_RANK = 12 };

typedef struct tuyere_context tuyere_context; /* error text and log of one thread */
typedef struct tuyere_model tuyere_model;     /* an archive, or something compiled that can run */
typedef struct tuyere_session tuyere_session; /* the inputs, outputs and working memory of one run at a time */

/* ---- The library ---- */
TUYERE_API const char *tuyere_version(void); /* "0.1.0" */
TUYERE_API const char *tuyere_status_name(tuyere_status);
TUYERE_API const char *tuyere_dtype_name(tuyere_dtype); /* PyTorch's: "float32"; "?" for none */
TUYERE_API size_t tuyere_dtype_size(tuyere_dtype);      /* bytes; 0 for none */
/* All memory of the library comes from `realloc` (but for mapped files, and what libraries under it take): p NULL: new
 * memory; bytes 0: p is freed, NULL is returned; else as C's realloc, aligned as malloc aligns. Called from any thread.
 * Before anything else, once; NULL goes back to malloc. TUYERE_INVALID when a context has been created already. */
typedef void *(*tuyere_realloc_fn)(void *user, void *p, size_t bytes);
TUYERE_API tuyere_status tuyere_set_allocator(tuyere_realloc_fn, void *user);
/* Threads of a run, for the process; n <= 0: the cores that affinity mask, cgroup quota, TUYERE_NUM_THREADS and OMP_NUM_THREADS leave. */
TUYERE_API void tuyere_set_threads(int n);
/* Frees what a function of this library gave with "tuyere_free it". */
TUYERE_API void tuyere_free(void *);

/* ---- Contexts ---- */
/* log gets warnings and what was asked to be shown, a message a call, without a newline at its end; NULL: to stderr. */
typedef void (*tuyere_log_fn)(void *user, const char *text);
TUYERE_API tuyere_context *tuyere_context_create(tuyere_log_fn log, void *user); /* NULL: no memory */
TUYERE_API void tuyere_context_destroy(tuyere_context *);                        /* after the sessions made with it */
TUYERE_API const char *tuyere_error(const tuyere_context *); /* of the last failure, "" when there was none; valid until the next */

/* ---- Models ---- */
/* Opens a file by its content: a torch.export archive (.pt2), or a deployed model (.so; its .weights must lie beside it).
 * Of an archive the graph is read, and no weight: they are mapped. A deployed model is code and is run: open only what you
 * trust. It can run at once; an archive is compiled first. Files stay mapped while their model lives: replace them by renaming others
 * over them; one that is cut short in place ends the process that reads it (SIGBUS). */
TUYERE_API tuyere_status tuyere_model_open(tuyere_context *, const char *path, tuyere_model **out);
TUYERE_API void tuyere_model_destroy(tuyere_model *);

typedef struct tuyere_dim {
  int64_t size;         /* -1: not known before a run */
  const char *text;     /* "128", "batch", "2*seq + 1" */
  int64_t min, max;     /* inclusive; max INT64_MAX: no limit */
} tuyere_dim;
typedef struct tuyere_info {
  const char *name;
  tuyere_dtype dtype;
  int rank;
  const tuyere_dim *dims;
} tuyere_info;
/* Inputs and outputs in calling order, nested ones flattened as PyTorch's tree does; parameters are none of them. */
TUYERE_API int tuyere_model_num_inputs(const tuyere_model *);
TUYERE_API int tuyere_model_num_outputs(const tuyere_model *);
TUYERE_API tuyere_status tuyere_model_input(const tuyere_model *, int i, tuyere_info *out);
TUYERE_API tuyere_status tuyere_model_output(const tuyere_model *, int i, tuyere_info *out);

/* What tuyere_model_compile and tuyere_model_deploy are asked for; zeros are the defaults. NULL may stand for all defaults. */
typedef struct tuyere_options {
  const char *targets; /* deploy: comma-separated CPU levels ("avx2") or CPUs ("neoverse-v1") of one architecture; NULL: all levels of this one */
  const char *fixed;   /* comma-separated: sizes to fix before compiling, "input_ids=1x128,mask=1x128" (-1: left as it is;
                        * 1..128 or 1..: an open size stays open, within that range) */
  const char *dump;    /* comma-separated passes, or "all": the graph after them goes to the log */
  bool eager;          /* compile: operator by operator, as PyTorch's eager mode runs it: nothing fused, nothing packed ahead */
  int threads;         /* compile: threads of a run of this model, at most; 0: those of the process (tuyere_set_threads) */
  int sizes_kept;      /* compile: tuples of input sizes whose plans are kept; 0: LRU_CACHE_CAPACITY, or 64 */
  int huge_pages;      /* compile: huge pages for working memory and packed weights: 1 yes, -1 no; 0: THP_MEM_ALLOC_ENABLE, or yes */
  bool no_compiler;    /* compile: never call a C compiler; loops are interpreted, slower, with the same results */
  const char *weights; /* those of linear layers, packed in few bits: "int8" (inputs of such layers are made 8 bits, row by row), or weights
                        * only "int8wo", "int4" (a scale for 64 values), "int4g32", "int4g128"; NULL: none */
  const char *fpmath;  /* matrix products of float32: "f32", or "bf16": both sides are rounded to it, sums stay float32; NULL: by the
                        * environment (TUYERE_FPMATH, DNNL_DEFAULT_FPMATH_MODE), else "f32" */
} tuyere_options;
/* Compiles an archive for this machine; weights are packed now. The archive stays as it was, and may be destroyed. */
TUYERE_API tuyere_status tuyere_model_compile(tuyere_context *, const tuyere_model *archive, const tuyere_options *, tuyere_model **out);
/* Compiles an archive to files: PREFIX.so (the program, its kernels at each level and the runtime; needs libc, libm and
 * libpthread only), PREFIX.weights (packed; mapped shared and read-only by each process that runs it) and PREFIX.h (typed
 * entry points, usable without this library). PREFIX's last part must be an identifier: it names the entry points. Needs a C compiler. */
TUYERE_API tuyere_status tuyere_model_deploy(tuyere_context *, const tuyere_model *archive, const tuyere_options *, const char *prefix);
/* How a model was compiled, as JSON: operators, steps, passes, compiler, memory. tuyere_free it; NULL: no memory. */
TUYERE_API char *tuyere_model_explain(const tuyere_model *);

/* ---- Sessions ---- */
TUYERE_API tuyere_status tuyere_session_create(tuyere_context *, tuyere_model *compiled, tuyere_session **out);
TUYERE_API void tuyere_session_destroy(tuyere_session *);

typedef struct tuyere_tensor {
  void *data;
  tuyere_dtype dtype;
  int rank;
  int64_t shape[TUYERE_MAX_RANK];
  int64_t strides[TUYERE_MAX_RANK]; /* elements, may be 0 or negative; all 0: contiguous. Filled in by functions that give a tensor */
} tuyere_tensor;
/* Binds an input, until it is bound again: to the caller's memory, which runs read (through a copy where the strides are not
 * contiguous), or, when data is NULL, to contiguous memory of that shape which the session owns. dtype and rank must
 * be the input's; sizes are checked against its dims now, and against those of the other inputs at the run. */
TUYERE_API tuyere_status tuyere_session_bind_input(tuyere_session *, int i, const tuyere_tensor *);
/* Binds an output to the caller's memory (any strides without overlap); the run fails if its shape is another. NULL: back to
 * memory that the session owns, which is how a session begins. Outputs may not overlap inputs. */
TUYERE_API tuyere_status tuyere_session_bind_output(tuyere_session *, int i, const tuyere_tensor *);
/* The bound input: memory that the session owns may be filled through it. TUYERE_INVALID before it was bound. */
TUYERE_API tuyere_status tuyere_session_input(tuyere_session *, int i, tuyere_tensor *out);
/* The output of the last run. Memory that the session owns is valid until the next run or bind. */
TUYERE_API tuyere_status tuyere_session_output(tuyere_session *, int i, tuyere_tensor *out);
/* Runs. The first run with new sizes plans its memory; later ones allocate nothing. On failure outputs are undefined. */
TUYERE_API tuyere_status tuyere_session_run(tuyere_session *);

/* ---- Profiles ---- of a model, over all its sessions. While one is taken, steps run one after the other, each with its own time. */
typedef struct tuyere_step {
  const char *name, *kernel; /* "linear+gelu [128,3072]", "gemm_f32_8x48__avx512 prepacked" */
  uint64_t calls;
  double seconds, flops, bytes; /* sums over the calls */
  int origin;                   /* eager: number of the operator that it computes (part of), "aten::NAME" being its name; else 0 */
} tuyere_step;
TUYERE_API void tuyere_model_profile(tuyere_model *, bool on); /* clears and starts, or stops */
TUYERE_API int tuyere_model_num_steps(const tuyere_model *);    /* 0 for an archive */
TUYERE_API tuyere_status tuyere_model_step(const tuyere_model *, int i, tuyere_step *out);
/* fn is called by the running thread before (begin) and after each step of this session's runs; NULL: no longer. */
typedef void (*tuyere_step_fn)(void *user, int step, bool begin);
TUYERE_API void tuyere_session_on_step(tuyere_session *, tuyere_step_fn fn, void *user);

#ifdef __cplusplus
}
#endif
#endif
