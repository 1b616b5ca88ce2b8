/* ext.h: what the extension's files share: module state, the value wrappers, and how a torch tensor is read. */
#ifndef TY_EXT_H
#define TY_EXT_H
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030A0000
#endif
#include <Python.h>
#include "api/model.h"
#include "graph/graph.h"
#include "ops/ops.h"
#include "rt/program.h"

/* ---- DLPack's C exchange API, version 1, as much of it as we call (https://dmlc.github.io/dlpack) ---- */
typedef struct ext_dl_tensor {
  void *data;
  struct { int32_t type, id; } device;
  int32_t ndim;
  struct { uint8_t code, bits; uint16_t lanes; } dtype;
  int64_t *shape, *strides; /* elements; owned by the tensor */
  uint64_t byte_offset;
} ext_dl_tensor;
typedef struct ext_dl_api {
  struct { uint32_t major, minor; } version;
  struct ext_dl_api *previous;
  void *allocate, *managed_from_py, *managed_to_py; /* not called */
  int (*tensor_from_py)(void *object, ext_dl_tensor *out); /* -1 with a Python exception set */
  void *current_stream;
} ext_dl_api;

typedef struct ext_state {
  PyTypeObject *graph_type, *program_type, *val_type, *dim_type;
  PyObject *unsupported;   /* tuyere.Unsupported */
  PyObject *mismatch;      /* tuyere.Mismatch: an argument is not what was compiled */
  PyObject *tensor_type, *parameter_type, *buffer_type;
  PyObject *dtype_type;    /* torch.dtype */
  PyObject *dtypes[TY_NDTYPE]; /* torch's dtype objects, by ours */
  const ext_dl_api *dl;    /* NULL: torch has none, attributes are read instead */
  PyObject *version_descr; /* torch.Tensor._version, and the C function behind it */
  PyObject *(*version_get)(PyObject *descr, PyObject *obj, PyObject *type);
  PyObject *empty_strided; /* (size, stride, dtype) -> tensor, the fastest torch has */
  PyObject *relayout;      /* (tensor, strides or None) -> tensor of that layout */
  PyObject *profiler_dict; /* torch.autograd.profiler's namespace, and the flag in it */
  PyObject *profiler_flag;
  PyObject *get_num_threads; /* torch.get_num_threads */
  int torch_threads;       /* what it said last; 0: not asked */
  bool own_threads;        /* asked for here (set_threads, TUYERE_NUM_THREADS): torch's number is not followed */
  PyObject *range_type;    /* torch._C._profiler._RecordFunctionFast, or NULL */
  PyObject *s_data_ptr, *s_shape, *s_stride, *s_dtype, *s_version, *s_enter, *s_exit; /* interned names */
} ext_state;

/* A tensor as C sees it: sizes and strides point into the tensor, or into `room` on the slow path. */
typedef struct ext_tensor {
  void *data;
  ty_dtype dtype;
  int rank;
  const int64_t *sizes, *strides;
  int64_t room[2 * TY_MAX_RANK];
} ext_tensor;
/* False with TypeError, Unsupported or what torch raised. `what` names the argument. */
bool ext_tensor_read(ext_state *, PyObject *, ext_tensor *out, const char *what);
/* Lets torch.set_num_threads lower the number of threads; more than the process may really use are never run. Never raises. */
void ext_follow_threads(ext_state *);
/* The version counter; -1 for tensors that have none (inference tensors). Never raises. */
int64_t ext_tensor_version(ext_state *, PyObject *);
bool ext_torch_init(ext_state *, PyObject *module); /* finds what is needed in torch */

typedef struct ext_graph { PyObject_HEAD ext_state *st; ty_ctx *ctx; ty_graph *g; } ext_graph; /* g is NULL once compiled */
typedef struct ext_val { PyObject_HEAD int id; } ext_val;
typedef struct ext_dim { PyObject_HEAD ty_dim d; ext_graph *graph; } ext_dim;

bool ext_graph_types(PyObject *module, ext_state *);
bool ext_program_types(PyObject *module, ext_state *);
/* A copy of a graph that no pass has been through; NULL: no memory. */
ty_graph *ext_graph_clone(ty_ctx *, const ty_graph *);
/* Makes a Program from a graph that was compiled, and takes over both contexts, the model and `source` (a clone of the graph
 * from before, may be NULL with its context). `args`: what each positional argument of a call is. */
typedef struct ext_made { ty_ctx *ctx; ty_model *model; ty_ctx *source_ctx; ty_graph *source; ty_options options; const char *name; } ext_made;
PyObject *ext_program_new(ext_state *, const ext_made *, PyObject *args);
PyObject *ext_raise(ext_state *, ty_status, const char *text); /* sets the exception of a status; returns NULL */
bool ext_dtype_of(ext_state *, PyObject *torch_dtype_or_name, ty_dtype *out); /* false with Unsupported set */
PyObject *ext_dim_object(ext_graph *, ty_dim); /* int when constant, else Dim */
#endif
