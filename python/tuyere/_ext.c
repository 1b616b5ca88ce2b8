/* _ext.c: the module tuyere._ext: types Graph and Program, the parameter gatherer, and what the library tells of itself. */
#include "ext/ext.h"
#include "emit/cache.h"
#include "rt/pool.h"

/* gather(sources, modules, fn, args): fn(*parameters, *args), each parameter being source[0][source[1]] now: the dicts of
 * the owning modules are asked at each call, so that a replaced parameter is seen. modules: (dict, name, module) triples;
 * when one of them is another object now, NotImplemented is returned and nothing is called. */
static PyObject *gather(PyObject *self, PyObject *const *a, Py_ssize_t n) {
  (void)self;
  if (n != 4 || !PyList_Check(a[0]) || !PyList_Check(a[1]) || !PyTuple_Check(a[3])) {
    PyErr_SetString(PyExc_TypeError, "gather(list, list, fn, tuple)");
    return NULL;
  }
  Py_ssize_t nmods = PyList_Size(a[1]), nsrc = PyList_Size(a[0]), nargs = PyTuple_Size(a[3]);
  for (Py_ssize_t i = 0; i < nmods; i++) {
    PyObject *m = PyList_GetItem(a[1], i);
    PyObject *now = PyDict_GetItemWithError(PyTuple_GetItem(m, 0), PyTuple_GetItem(m, 1));
    if (now == PyTuple_GetItem(m, 2)) continue;
    if (PyErr_Occurred()) return NULL;
    Py_INCREF(Py_NotImplemented);
    return Py_NotImplemented;
  }
  PyObject *all = PyTuple_New(nsrc + nargs);
  if (!all) return NULL;
  for (Py_ssize_t i = 0; i < nsrc; i++) {
    PyObject *s = PyList_GetItem(a[0], i);
    PyObject *now = PyDict_GetItemWithError(PyTuple_GetItem(s, 0), PyTuple_GetItem(s, 1));
    if (!now || now == Py_None) {
      Py_DECREF(all);
      if (PyErr_Occurred()) return NULL;
      Py_INCREF(Py_NotImplemented);
      return Py_NotImplemented;
    }
    Py_INCREF(now);
    PyTuple_SetItem(all, i, now);
  }
  for (Py_ssize_t i = 0; i < nargs; i++) {
    PyObject *v = PyTuple_GetItem(a[3], i);
    Py_INCREF(v);
    PyTuple_SetItem(all, nsrc + i, v);
  }
  PyObject *r = PyObject_Call(a[2], all, NULL);
  Py_DECREF(all);
  return r;
}

static PyObject *mod_ops(PyObject *self, PyObject *u) {
  (void)self; (void)u;
  PyObject *r = PyList_New(0);
  for (int i = 0; r && i < TY_NOP; i++) {
    const ty_op_info *op = ty_op_get(i);
    PyObject *t = Py_BuildValue("sz", op->name, op->schema);
    if (!t || PyList_Append(r, t) < 0) Py_CLEAR(r);
    Py_XDECREF(t);
  }
  return r;
}
static PyObject *mod_cpu(PyObject *self, PyObject *u) {
  (void)self; (void)u;
  const ty_cpu *c = ty_cpu_get();
  return Py_BuildValue("{s:s,s:N,s:N,s:N,s:l,s:l,s:l}", "isa", c->isa_name, "avx512_bf16", PyBool_FromLong(c->avx512_bf16), "avx512_vnni",
                       PyBool_FromLong(c->avx512_vnni), "amx_bf16", PyBool_FromLong(c->amx_bf16), "l1d", c->l1d, "l2", c->l2, "l3", c->l3);
}
static PyObject *mod_set_callbacks(PyObject *self, PyObject *args) {
  ext_state *st = PyModule_GetState(self);
  PyObject *relayout, *empty;
  if (!PyArg_ParseTuple(args, "OO", &relayout, &empty)) return NULL;
  Py_INCREF(relayout);
  Py_XDECREF(st->relayout);
  st->relayout = relayout;
  if (!st->empty_strided) { Py_INCREF(empty); st->empty_strided = empty; }
  Py_RETURN_NONE;
}
static PyObject *mod_threads(PyObject *self, PyObject *n) {
  ext_state *st = PyModule_GetState(self);
  long v = PyLong_AsLong(n);
  if (v == -1 && PyErr_Occurred()) return NULL;
  if (v < 0 || v > TY_POOL_MAX) return PyErr_Format(PyExc_ValueError, "tuyere: a number of threads from 0 (the default) to %d, got %ld", TY_POOL_MAX, v);
  st->own_threads = v > 0;
  st->torch_threads = 0;
  ty_pool_set_threads((int)v);
  Py_RETURN_NONE;
}
static PyObject *mod_get_threads(PyObject *self, PyObject *u) { (void)self; (void)u; return PyLong_FromLong(ty_pool_threads()); }
static PyObject *mod_cache_clear(PyObject *self, PyObject *u) {
  (void)u;
  ty_ctx *ctx = ty_ctx_create();
  int removed = 0;
  if (!ctx) return PyErr_NoMemory();
  ty_status s = ty_cache_clear(ctx, &removed);
  PyObject *r = s == TY_OK ? PyLong_FromLong(removed) : ext_raise(PyModule_GetState(self), s, ty_ctx_error(ctx));
  ty_ctx_destroy(ctx);
  return r;
}
static PyObject *mod_cache_dir(PyObject *self, PyObject *u) {
  (void)u;
  char path[4096];
  ty_ctx *ctx = ty_ctx_create();
  if (!ctx) return PyErr_NoMemory();
  ty_status s = ty_cache_dir(ctx, path, sizeof path);
  PyObject *r = s == TY_OK ? PyUnicode_DecodeFSDefault(path) : ext_raise(PyModule_GetState(self), s, ty_ctx_error(ctx));
  ty_ctx_destroy(ctx);
  return r;
}
static PyObject *mod_fast(PyObject *self, PyObject *u) { /* which fast ways were found in this torch */
  (void)u;
  ext_state *st = PyModule_GetState(self);
  return Py_BuildValue("{s:N,s:N}", "dlpack", PyBool_FromLong(st->dl != NULL), "version", PyBool_FromLong(st->version_get != NULL));
}
static PyMethodDef methods[] = {
  { "gather", (PyCFunction)(void (*)(void))gather, METH_FASTCALL, "gather(sources, modules, fn, args): fn(*parameters, *args)" },
  { "ops", mod_ops, METH_NOARGS, "list of (name, schema)" },
  { "cpu", mod_cpu, METH_NOARGS, "what the CPU probe found" },
  { "fast_paths", mod_fast, METH_NOARGS, "which fast ways into torch are in use" },
  { "set_threads", mod_threads, METH_O, "set_threads(n): 0 goes back to the default" },
  { "threads", mod_get_threads, METH_NOARGS, "threads of a run" },
  { "cache_clear", mod_cache_clear, METH_NOARGS, "removes compiled kernels; how many" },
  { "cache_dir", mod_cache_dir, METH_NOARGS, "the directory of compiled kernels" },
  { "set_callbacks", mod_set_callbacks, METH_VARARGS, "set_callbacks(relayout, empty_strided)" },
  { NULL, NULL, 0, NULL },
};

static int module_exec(PyObject *module) {
  ext_state *st = PyModule_GetState(module);
  st->unsupported = PyErr_NewExceptionWithDoc("tuyere.Unsupported", "Not done by tuyere; the text says why. The door runs it in PyTorch.", NULL, NULL);
  st->mismatch = PyErr_NewExceptionWithDoc("tuyere.Mismatch", "An argument is not what was compiled; the text names it.", PyExc_ValueError, NULL);
  if (!st->unsupported || !st->mismatch || !ext_torch_init(st, module) || !ext_graph_types(module, st) || !ext_program_types(module, st)) return -1;
  if (PyModule_AddObjectRef(module, "Unsupported", st->unsupported) < 0 || PyModule_AddObjectRef(module, "Mismatch", st->mismatch) < 0) return -1;
  return 0;
}
static int module_traverse(PyObject *module, visitproc visit, void *arg) {
  ext_state *st = PyModule_GetState(module);
  if (!st) return 0;
  Py_VISIT(st->relayout);
  return 0;
}
static PyModuleDef_Slot module_slots[] = { { Py_mod_exec, module_exec }, { 0, NULL } };
static PyModuleDef module_def = {
  .m_base = PyModuleDef_HEAD_INIT, .m_name = "tuyere._ext", .m_doc = "tuyere's compiler and runtime.", .m_size = sizeof(ext_state),
  .m_methods = methods, .m_slots = module_slots, .m_traverse = module_traverse,
};
PyMODINIT_FUNC PyInit__ext(void) { return PyModuleDef_Init(&module_def); }
