/* torch.c: how tensors are read without libtorch: DLPack's exchange table where torch has it, attributes where not. */
#define _GNU_SOURCE 1
#include "ext.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include "rt/pool.h"

static bool dl_dtype(const ext_dl_tensor *t, ty_dtype *out) {
  enum { INT, UINT, FLOAT, BFLOAT = 4, COMPLEX = 5, BOOL = 6 };
  if (t->dtype.lanes != 1) return false;
  int bits = t->dtype.bits;
  switch (t->dtype.code) {
  case FLOAT: *out = bits == 32 ? TY_f32 : bits == 64 ? TY_f64 : bits == 16 ? TY_f16 : TY_NDTYPE; break;
  case INT: *out = bits == 64 ? TY_i64 : bits == 32 ? TY_i32 : bits == 16 ? TY_i16 : bits == 8 ? TY_i8 : TY_NDTYPE; break;
  case UINT: *out = bits == 8 ? TY_u8 : TY_NDTYPE; break;
  case BFLOAT: *out = bits == 16 ? TY_bf16 : TY_NDTYPE; break;
  case BOOL: *out = bits == 8 ? TY_bool : TY_NDTYPE; break;
  default: return false;
  }
  return *out != TY_NDTYPE;
}

static int longs(PyObject *seq, int64_t *out, int max) { /* takes the reference; -1 with an exception */
  if (!seq) return -1;
  Py_ssize_t n = PyTuple_Check(seq) ? PyTuple_Size(seq) : -1;
  if (n < 0 || n > max) { Py_DECREF(seq); PyErr_SetString(PyExc_TypeError, "tuyere: unexpected shape"); return -1; }
  for (Py_ssize_t i = 0; i < n; i++) out[i] = PyLong_AsLongLong(PyTuple_GetItem(seq, i));
  Py_DECREF(seq);
  return PyErr_Occurred() ? -1 : (int)n;
}

static bool read_slow(ext_state *st, PyObject *o, ext_tensor *out) {
  PyObject *stride = PyObject_GetAttr(o, st->s_stride), *value;
  if (!stride) return false;
  value = PyObject_CallFunctionObjArgs(stride, NULL);
  Py_DECREF(stride);
  int nstrides = longs(value, out->room + TY_MAX_RANK, TY_MAX_RANK);
  if (nstrides < 0) return false;
  out->rank = longs(PyObject_GetAttr(o, st->s_shape), out->room, TY_MAX_RANK);
  if (out->rank < 0) return false;
  out->sizes = out->room; out->strides = out->room + TY_MAX_RANK;
  PyObject *dtype = PyObject_GetAttr(o, st->s_dtype);
  if (!dtype) return false;
  bool ok = ext_dtype_of(st, dtype, &out->dtype);
  Py_DECREF(dtype);
  if (!ok) return false;
  PyObject *f = PyObject_GetAttr(o, st->s_data_ptr);
  if (!f) return false;
  value = PyObject_CallFunctionObjArgs(f, NULL);
  Py_DECREF(f);
  if (!value) return false;
  out->data = PyLong_AsVoidPtr(value);
  Py_DECREF(value);
  return !PyErr_Occurred();
}

bool ext_tensor_read(ext_state *st, PyObject *o, ext_tensor *out, const char *what) {
  PyObject *type = (PyObject *)Py_TYPE(o);
  if (type != st->tensor_type && type != st->parameter_type && type != st->buffer_type) {
    int is = PyObject_IsInstance(o, st->tensor_type);
    if (is < 0) return false;
    PyErr_Format(is ? st->unsupported : PyExc_TypeError, "tuyere: %s: expected a torch.Tensor, got %S", what, type);
    return false;
  }
  if (!st->dl) return read_slow(st, o, out);
  ext_dl_tensor t;
  if (st->dl->tensor_from_py(o, &t)) {
    PyObject *kind, *text, *trace;
    PyErr_Fetch(&kind, &text, &trace);
    PyErr_Format(st->unsupported, "tuyere: %s: %S", what, text ? text : Py_None);
    Py_XDECREF(kind); Py_XDECREF(text); Py_XDECREF(trace);
    return false;
  }
  if (t.device.type != 1 || t.ndim > TY_MAX_RANK || !dl_dtype(&t, &out->dtype)) {
    PyErr_Format(st->unsupported, "tuyere: %s: a tensor of this device, dtype or rank is not supported", what);
    return false;
  }
  out->data = (char *)t.data + t.byte_offset;
  out->rank = t.ndim; out->sizes = t.shape; out->strides = t.strides;
  return true;
}

int64_t ext_tensor_version(ext_state *st, PyObject *o) {
  PyObject *v = st->version_get ? st->version_get(st->version_descr, o, (PyObject *)Py_TYPE(o)) : PyObject_GetAttr(o, st->s_version);
  if (!v) { PyErr_Clear(); return -1; }
  int64_t r = PyLong_AsLongLong(v);
  Py_DECREF(v);
  return r;
}

void ext_follow_threads(ext_state *st) {
  if (st->own_threads || !st->get_num_threads) return;
  PyObject *r = PyObject_CallNoArgs(st->get_num_threads);
  long n = r ? PyLong_AsLong(r) : 0;
  Py_XDECREF(r);
  if (PyErr_Occurred()) PyErr_Clear();
  if (n < 1 || n == st->torch_threads) return;
  st->torch_threads = (int)n;
  int most = ty_pool_default_threads();
  ty_pool_set_threads(n < most ? (int)n : most);
}

static PyObject *attr_path(PyObject *from, const char *path) { /* "a.b.c"; NULL without an exception when missing */
  char part[64];
  Py_INCREF(from);
  while (from && *path) {
    size_t n = strcspn(path, ".");
    if (n >= sizeof part) break;
    memcpy(part, path, n); part[n] = 0;
    PyObject *next = PyObject_GetAttrString(from, part);
    Py_DECREF(from);
    from = next;
    path += n + (path[n] == '.');
  }
  if (!from) PyErr_Clear();
  return from;
}

/* PyTorch's OpenMP library, if it is loaded for all to see: its threads run our programs, too. */
static void borrow_threads(void) {
  static ty_pool_host omp;
  void *find[3] = { dlsym(RTLD_DEFAULT, "GOMP_parallel"), dlsym(RTLD_DEFAULT, "omp_get_thread_num"), dlsym(RTLD_DEFAULT, "omp_get_num_threads") };
  if (!find[0] || !find[1] || !find[2]) return;
  memcpy(&omp.parallel, &find[0], sizeof omp.parallel);
  memcpy(&omp.thread_num, &find[1], sizeof omp.thread_num);
  memcpy(&omp.num_threads, &find[2], sizeof omp.num_threads);
  ty_pool_lend(&omp);
}

bool ext_torch_init(ext_state *st, PyObject *module) {
  (void)module;
  PyObject *torch = PyImport_ImportModule("torch");
  if (!torch) return false;
  bool ok = false;
  st->tensor_type = attr_path(torch, "Tensor");
  st->parameter_type = attr_path(torch, "nn.Parameter");
  st->buffer_type = attr_path(torch, "nn.Buffer"); /* never the type of an object: Buffer() returns a Tensor */
  st->dtype_type = attr_path(torch, "dtype");
  if (!st->tensor_type || !st->parameter_type || !st->dtype_type) { PyErr_SetString(PyExc_ImportError, "tuyere: this torch lacks Tensor or nn.Parameter"); goto done; }
  for (int i = 0; i < TY_NDTYPE; i++)
    if (!(st->dtypes[i] = PyObject_GetAttrString(torch, ty_dtypes[i].torch))) goto done;
  PyObject *capsule = attr_path(torch, "Tensor.__dlpack_c_exchange_api__");
  if (capsule && PyCapsule_IsValid(capsule, "dlpack_exchange_api")) {
    const ext_dl_api *api = PyCapsule_GetPointer(capsule, "dlpack_exchange_api"); /* lives as long as the process */
    if (api && api->version.major == 1 && api->tensor_from_py) st->dl = api;
  }
  Py_XDECREF(capsule);
  st->version_descr = attr_path(torch, "Tensor._version");
  if (st->version_descr) {
    void *get = PyType_GetSlot(Py_TYPE(st->version_descr), Py_tp_descr_get);
    if (get) memcpy(&st->version_get, &get, sizeof get);
  }
  st->empty_strided = attr_path(torch, "_C._dynamo.guards._empty_strided_cpu");
  st->get_num_threads = attr_path(torch, "get_num_threads");
  const char *asked = getenv("TUYERE_NUM_THREADS");
  st->own_threads = asked && *asked;
  borrow_threads();
  PyObject *profiler = PyImport_ImportModule("torch.autograd.profiler");
  if (!profiler) PyErr_Clear();
  st->profiler_dict = profiler ? PyObject_GetAttrString(profiler, "__dict__") : NULL;
  Py_XDECREF(profiler);
  st->range_type = attr_path(torch, "_C._profiler._RecordFunctionFast");
  PyErr_Clear();
  st->profiler_flag = PyUnicode_InternFromString("_is_profiler_enabled");
  st->s_data_ptr = PyUnicode_InternFromString("data_ptr");
  st->s_shape = PyUnicode_InternFromString("shape");
  st->s_stride = PyUnicode_InternFromString("stride");
  st->s_dtype = PyUnicode_InternFromString("dtype");
  st->s_version = PyUnicode_InternFromString("_version");
  st->s_enter = PyUnicode_InternFromString("__enter__");
  st->s_exit = PyUnicode_InternFromString("__exit__");
  ok = st->s_enter && st->s_exit && st->s_data_ptr && st->s_shape && st->s_stride && st->s_dtype && st->s_version && st->profiler_flag;
done:
  Py_DECREF(torch);
  return ok;
}
