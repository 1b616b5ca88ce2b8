/* program.c: Program: made from a compiled model; what it shows of itself. The call is in run.c. */
#include "program.h"
#include <structmember.h>
#include <stddef.h>
#include <string.h>

static ext_size size_of(const ty_graph *g, ty_dim d) {
  ext_size s = { .dim = d, .sym = -1 };
  if (ty_dim_is_const(g, d, &s.value)) { s.dim = -1; return s; }
  const ty_dim_expr *e = ty_dim_get(g, d);
  if (e->op == TY_DIM_SYM) s.sym = (int)e->value;
  return s;
}
static bool fill_input(ext_program *p, int i, int arg) {
  const ty_value *v = p->graph->inputs.p[i];
  ext_input *in = &p->in[i];
  in->arg = arg;
  in->name = v->name ? v->name : "";
  in->param = v->role == TY_ROLE_PARAM;
  in->dtype = v->dtype;
  in->rank = v->rank;
  size_t n = (size_t)v->rank;
  in->sizes = ty_alloc(n * sizeof *in->sizes);
  in->fixed_sizes = ty_alloc(n * sizeof(int64_t));
  in->fixed_strides = ty_alloc(n * sizeof(int64_t));
  in->strides = v->strides ? ty_alloc(n * sizeof *in->strides) : NULL;
  if (!in->sizes || !in->fixed_sizes || !in->fixed_strides || (v->strides && !in->strides)) { PyErr_NoMemory(); return false; }
  in->fixed = true;
  in->bytes = ty_dtype_size(in->dtype);
  int64_t step = 1;
  for (int d = v->rank - 1; d >= 0; d--) {
    in->sizes[d] = size_of(p->graph, v->shape[d]);
    in->fixed &= in->sizes[d].dim < 0;
    in->fixed_sizes[d] = in->sizes[d].value;
    in->bytes *= (double)in->sizes[d].value;
    if (in->strides) {
      in->strides[d] = size_of(p->graph, v->strides[d]);
      in->fixed &= in->strides[d].dim < 0;
      in->fixed_strides[d] = in->strides[d].value;
    } else {
      in->fixed_strides[d] = step;
      step *= in->sizes[d].value > 1 ? in->sizes[d].value : 1;
    }
    if (in->sizes[d].dim >= 0 && in->sizes[d].sym >= 0) p->bound[in->sizes[d].sym] = true;
  }
  if (!in->fixed) in->bytes = 1;
  p->nparams += in->param;
  return true;
}
static void inputs_free(ext_input *in, int n) {
  for (int i = 0; in && i < n; i++) {
    ty_free(in[i].sizes); ty_free(in[i].strides); ty_free(in[i].fixed_sizes); ty_free(in[i].fixed_strides);
    Py_XDECREF(in[i].released);
  }
  ty_free(in);
}
static void fill_outputs(ext_program *p, ty_model *model) {
  for (int i = 0; i < p->nout; i++) {
    ty_model_output o;
    ty_model_get_output(model, i, &o);
    ext_output *out = &p->out[i];
    Py_CLEAR(out->empty_args);
    out->dtype = o.dtype, out->shape = o.shape, out->fixed = true;
    for (int d = 0; d < o.rank && out->rank != o.rank; d++) out->order[d] = (signed char)d; /* until output_orders says otherwise */
    out->rank = o.rank;
    for (int d = 0; d < o.rank; d++) out->fixed &= ty_dim_is_const(p->graph, o.shape[d], NULL);
  }
}
bool ext_program_refill(ext_program *p, ty_model *model) {
  ext_input *old = p->in;
  const ty_graph *old_graph = p->graph;
  int old_params = p->nparams;
  bool ok = (p->in = ty_alloc((size_t)p->nin * sizeof *p->in)) != NULL;
  p->graph = ty_model_graph(model);
  p->nparams = 0;
  for (int i = 0; ok && i < p->nin; i++) ok = fill_input(p, i, old[i].arg);
  if (!ok) {
    PyErr_Clear();
    inputs_free(p->in, p->nin);
    p->in = old; p->graph = old_graph; p->nparams = old_params;
    return false;
  }
  inputs_free(old, p->nin);
  fill_outputs(p, model);
  return true;
}
static bool fill(ext_program *p, PyObject *layout) {
  ty_model *model = p->sets[0]->model;
  p->nargs = (int)PySequence_Size(layout);
  p->nout = ty_model_noutputs(model);
  p->nsyms = ty_model_nsyms(model);
  if (p->nargs < 0) return false;
  p->in = ty_alloc((size_t)p->nin * sizeof *p->in);
  p->ints = ty_alloc((size_t)p->nargs * sizeof *p->ints);
  p->out = ty_alloc((size_t)p->nout * sizeof *p->out);
  p->bound = ty_alloc((size_t)p->nsyms + 1);
  if (!p->in || !p->ints || !p->out || !p->bound) { PyErr_NoMemory(); return false; }
  int seen = 0;
  for (int a = 0; a < p->nargs; a++) {
    PyObject *item = PySequence_GetItem(layout, a);
    if (!item) return false;
    bool ok = true;
    if (Py_TYPE(item) == p->st->dim_type) {
      ext_size s = size_of(p->graph, ((ext_dim *)item)->d);
      if (s.dim >= 0 && s.sym >= 0) p->bound[s.sym] = true;
      p->ints[p->nints++] = (ext_intarg){ .arg = a, .size = s };
    } else if (item != Py_None) {
      long i = PyLong_AsLong(item);
      if (PyErr_Occurred()) ok = false;
      else if (i < 0 || i >= p->nin || p->in[i].sizes) { PyErr_SetString(PyExc_ValueError, "tuyere: bad argument layout"); ok = false; }
      else { ok = fill_input(p, (int)i, a); seen++; }
    }
    Py_DECREF(item);
    if (!ok) return false;
  }
  if (seen != p->nin) { PyErr_Format(PyExc_ValueError, "tuyere: %d of %d inputs have an argument", seen, p->nin); return false; }
  for (int s = 0; s < p->nsyms; s++)
    if (!p->bound[s] && ty_dim_sym(p->graph, s)->extent < 0) { PyErr_Format(p->st->unsupported, "no argument tells the size %s", ty_dim_sym(p->graph, s)->name); return false; }
  fill_outputs(p, model);
  return true;
}
static char *copied(const char *s) {
  char *r = s ? ty_alloc(strlen(s) + 1) : NULL;
  return r ? strcpy(r, s) : NULL;
}
PyObject *ext_program_new(ext_state *st, const ext_made *made, PyObject *layout) {
  allocfunc alloc = (allocfunc)PyType_GetSlot(st->program_type, Py_tp_alloc);
  ext_program *p = (ext_program *)alloc(st->program_type, 0);
  if (p) {
    p->st = st;
    p->source = made->source; p->source_ctx = made->source_ctx;
    p->options = made->options;
    p->options.dump = ""; /* once */
    p->options.python = p->python = copied(made->options.python); p->name = copied(made->name);
    p->options.fpmath = p->fpmath = copied(made->options.fpmath); p->options.weights = p->weights = copied(made->options.weights);
    p->graph = ty_model_graph(made->model);
    p->nin = p->graph->inputs.n;
    p->sets[0] = ext_set_new(p, made->ctx, made->model);
    p->nsets = p->sets[0] != NULL;
    if (p->nsets && fill(p, layout)) return (PyObject *)p;
    Py_DECREF(p);
    return NULL;
  }
  ty_model_destroy(made->model);
  ty_ctx_destroy(made->ctx);
  if (made->source) ty_graph_destroy(made->source);
  if (made->source_ctx) ty_ctx_destroy(made->source_ctx);
  return NULL;
}
static void program_free(PyObject *self) {
  ext_program *p = (ext_program *)self;
  PyTypeObject *type = Py_TYPE(self);
  if (p->weakrefs) PyObject_ClearWeakRefs(self);
  ext_frames_free(p);
  inputs_free(p->in, p->nin);
  for (int i = 0; p->out && i < p->nout; i++) Py_XDECREF(p->out[i].empty_args);
  ty_free(p->ints); ty_free(p->out); ty_free(p->bound); ty_free(p->python); ty_free(p->fpmath); ty_free(p->weights); ty_free(p->name);
  if (p->renewed) ext_set_free(p, p->renewed);
  while (p->nsets) ext_set_free(p, p->sets[--p->nsets]);
  if (p->source) ty_graph_destroy(p->source);
  if (p->source_ctx) ty_ctx_destroy(p->source_ctx);
  freefunc f = (freefunc)PyType_GetSlot(type, Py_tp_free);
  f(self);
  Py_DECREF(type);
}

static PyObject *text(char *s) { /* takes ownership */
  PyObject *r = s ? PyUnicode_DecodeUTF8(s, (Py_ssize_t)strlen(s), "replace") : PyErr_NoMemory();
  ty_free(s);
  return r;
}
static const ext_set *first(PyObject *self) { return ((ext_program *)self)->sets[0]; }
static PyObject *program_output_orders(PyObject *self, PyObject *list) {
  ext_program *p = (ext_program *)self;
  if (PySequence_Size(list) != p->nout) return PyErr_Format(PyExc_ValueError, "tuyere: orders of %d outputs are wanted", p->nout);
  for (int i = 0; i < p->nout; i++) {
    PyObject *order = PySequence_GetItem(list, i);
    ext_output *o = &p->out[i];
    bool ok = order != NULL, seen[TY_MAX_RANK] = { 0 };
    if (ok && order != Py_None) {
      ok = PySequence_Size(order) == o->rank;
      for (int d = 0; ok && d < o->rank; d++) {
        PyObject *item = PySequence_GetItem(order, d);
        long v = item ? PyLong_AsLong(item) : -1;
        Py_XDECREF(item);
        if ((ok = v >= 0 && v < o->rank && !seen[v])) seen[v] = true, o->order[d] = (signed char)v;
      }
      Py_CLEAR(o->empty_args);
    }
    Py_XDECREF(order);
    if (!ok) return PyErr_Occurred() ? NULL : (PyErr_SetString(PyExc_ValueError, "tuyere: an order of dims is a permutation"), NULL);
  }
  Py_RETURN_NONE;
}
static PyObject *program_explain(PyObject *self, PyObject *u) { (void)u; return text(ty_model_explain(first(self)->model)); }
static PyObject *program_source(PyObject *self, PyObject *u) { (void)u; return text(ty_model_source(first(self)->model)); }
static PyObject *program_text(PyObject *self, PyObject *u) {
  (void)u;
  ty_str s = { 0 };
  ty_program_print(first(self)->program, &s);
  PyObject *r = s.failed ? PyErr_NoMemory() : PyUnicode_FromString(s.p ? s.p : "");
  ty_str_free(&s);
  return r;
}
static PyObject *program_seconds(PyObject *self, PyObject *u) { (void)u; return PyFloat_FromDouble(ty_model_seconds(first(self)->model)); }
static PyObject *program_memory(PyObject *self, PyObject *u) {
  (void)u;
  ty_memory m = { 0 };
  ext_program *p = (ext_program *)self;
  size_t state = 0, arena = 0;
  for (int i = 0; i < p->nsets; i++) { /* each set of weights has its own */
    ty_program_memory(p->sets[i]->program, &m);
    state += m.state; arena += m.arena;
  }
  ty_program_memory(p->sets[0]->program, &m);
  m.state = state; m.arena = arena;
  return Py_BuildValue("{s:n,s:n,s:n,s:n,s:n,s:i,s:i,s:i}", "arena", (Py_ssize_t)m.arena, "arena_naive", (Py_ssize_t)m.arena_naive, "arena_live",
                       (Py_ssize_t)m.arena_live, "state", (Py_ssize_t)m.state,
                       "literals", (Py_ssize_t)m.literals, "buffers", m.buffers, "barriers", m.barriers, "steps", m.steps);
}
static PyObject *program_profile(PyObject *self, PyObject *on) {
  int yes = PyObject_IsTrue(on);
  if (yes < 0) return NULL;
  ext_program *p = (ext_program *)self;
  p->profiling = yes;
  for (int i = 0; i < p->nsets; i++) ty_program_profile(p->sets[i]->program, yes);
  Py_RETURN_NONE;
}
static PyObject *program_stats(PyObject *self, PyObject *u) {
  (void)u;
  ext_program *p = (ext_program *)self;
  int n = ty_program_nsteps(first(self)->program);
  PyObject *r = PyList_New(n);
  for (int i = 0; r && i < n; i++) {
    ty_step_stat s = { 0 }, one;
    ty_program_stat(first(self)->program, i, &s);
    for (int k = 1; k < p->nsets; k++) {
      ty_program_stat(p->sets[k]->program, i, &one);
      s.calls += one.calls; s.seconds += one.seconds; s.flops += one.flops; s.bytes += one.bytes;
    }
    PyObject *d = Py_BuildValue("{s:z,s:z,s:N,s:K,s:d,s:d,s:d}", "name", s.name, "kernel", s.kernel, "fold", PyBool_FromLong(s.fold), "calls",
                                (unsigned long long)s.calls, "seconds", s.seconds, "flops", s.flops, "bytes", s.bytes);
    if (!d || PyList_SetItem(r, i, d) < 0) Py_CLEAR(r);
  }
  return r;
}
static PyObject *program_folded(PyObject *self, PyObject *u) { /* argument positions of parameters that only folded steps read */
  (void)u;
  ext_program *p = (ext_program *)self;
  PyObject *r = PyList_New(0);
  for (int i = 0; r && i < p->nin; i++) {
    if (!p->in[i].param || !ty_program_input_folded(p->sets[0]->program, i)) continue;
    PyObject *v = PyLong_FromLong(p->in[i].arg);
    if (!v || PyList_Append(r, v) < 0) Py_CLEAR(r);
    Py_XDECREF(v);
  }
  return r;
}
/* release({argument position: tensor}): these folded parameters are not read any more; another tensor in their place is an error. */
static PyObject *program_release(PyObject *self, PyObject *tensors) {
  ext_program *p = (ext_program *)self;
  if (!PyDict_Check(tensors)) { PyErr_SetString(PyExc_TypeError, "release(dict)"); return NULL; }
  if (!p->sets[0]->ran) { PyErr_SetString(PyExc_RuntimeError, "tuyere: weights can be released after the first run only"); return NULL; }
  for (int i = 0; i < p->nin; i++) {
    ext_input *in = &p->in[i];
    if (!in->param || in->released || !ty_program_input_folded(p->sets[0]->program, i)) continue;
    PyObject *key = PyLong_FromLong(in->arg);
    PyObject *tensor = key ? PyDict_GetItemWithError(tensors, key) : NULL;
    Py_XDECREF(key);
    if (!tensor && PyErr_Occurred()) return NULL;
    if (!tensor) continue;
    Py_INCREF(tensor);
    in->released = tensor;
    ext_seen *seen = &p->sets[0]->seen[i];
    Py_CLEAR(seen->copy);
    Py_CLEAR(seen->copy_alias);
    Py_CLEAR(seen->alias);
    p->released = true;
    p->current = 0;
  }
  Py_RETURN_NONE;
}
static PyObject *program_counts(PyObject *self, PyObject *u) {
  (void)u;
  ext_program *p = (ext_program *)self;
  int params = 0;
  for (int i = 0; i < p->nin; i++) params += p->in[i].param;
  return Py_BuildValue("{s:K,s:K,s:i,s:i,s:i}", "calls", (unsigned long long)p->calls, "folds", (unsigned long long)p->folds, "sets", p->nsets,
                       "renewals", p->generation, "parameters", params);
}
static PyMethodDef methods[] = {
  { "run", (PyCFunction)(void (*)(void))ext_program_run, METH_FASTCALL, "run(*args) -> tuple of tensors" },
  { "output_orders", program_output_orders, METH_O, "output_orders([None or the order of dims in memory, ...]): each result is handed out as that permute" },
  { "explain", program_explain, METH_NOARGS, "what was compiled, as JSON text" },
  { "source", program_source, METH_NOARGS, "the C text of the emitted kernels" },
  { "text", program_text, METH_NOARGS, "the steps, as text" },
  { "seconds", program_seconds, METH_NOARGS, "time spent compiling" },
  { "memory", program_memory, METH_NOARGS, "the memory plan's figures" },
  { "profile", program_profile, METH_O, "profile(on): clears and starts, or stops" },
  { "stats", program_stats, METH_NOARGS, "a dict a step" },
  { "folded", program_folded, METH_NOARGS, "positions of arguments that are read by folded steps only" },
  { "release", program_release, METH_O, "release({argument: tensor}): stop reading these folded parameters" },
  { "counts", program_counts, METH_NOARGS, "calls and folds so far, sets of weights, and parameters that are folded over" },
  { NULL, NULL, 0, NULL },
};
static PyMemberDef members[] = { { "__weaklistoffset__", T_PYSSIZET, offsetof(ext_program, weakrefs), READONLY, NULL }, { NULL, 0, 0, 0, NULL } };
static PyType_Slot slots[] = { { Py_tp_dealloc, program_free }, { Py_tp_methods, methods }, { Py_tp_members, members }, { Py_tp_doc, "A compiled graph." }, { 0, NULL } };
static PyType_Spec spec = { "tuyere._ext.Program", sizeof(ext_program), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots };

bool ext_program_types(PyObject *module, ext_state *st) {
  st->program_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
  return st->program_type && PyModule_AddType(module, st->program_type) == 0;
}
