/* graph.c: Graph, Val and Dim: the builder's calls as Python methods. */
#include "ext.h"
#include <string.h>

PyObject *ext_raise(ext_state *st, ty_status s, const char *text) {
  PyObject *type = PyExc_RuntimeError;
  if (s == TY_INVALID) type = strstr(text, "out of range") && strstr(text, "index") ? PyExc_IndexError : PyExc_ValueError;
  else if (s == TY_UNSUPPORTED) type = st->unsupported;
  else if (s == TY_NOMEM) type = PyExc_MemoryError;
  PyErr_SetString(type, *text ? text : ty_status_name(s));
  return NULL;
}

bool ext_dtype_of(ext_state *st, PyObject *o, ty_dtype *out) {
  for (int i = 0; i < TY_NDTYPE; i++)
    if (o == st->dtypes[i]) { *out = (ty_dtype)i; return true; }
  if (PyUnicode_Check(o)) {
    const char *s = PyUnicode_AsUTF8AndSize(o, NULL);
    if (!s) return false;
    if (ty_dtype_parse(s, out)) return true;
  }
  PyErr_Format(st->unsupported, "dtype %S", o);
  return false;
}

static PyObject *make(PyTypeObject *type) {
  allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
  return alloc(type, 0);
}
static void finish_free(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  freefunc f = (freefunc)PyType_GetSlot(type, Py_tp_free);
  f(self);
  Py_DECREF(type);
}

/* ---- Val and Dim ---- */
static PyObject *val_new(ext_state *st, int id) {
  ext_val *v = (ext_val *)make(st->val_type);
  if (v) v->id = id;
  return (PyObject *)v;
}
static PyObject *val_id(PyObject *self, void *unused) { (void)unused; return PyLong_FromLong(((ext_val *)self)->id); }
static PyObject *val_repr(PyObject *self) { return PyUnicode_FromFormat("%%%d", ((ext_val *)self)->id); }
static PyGetSetDef val_get[] = { { "id", val_id, NULL, "the value's id in its graph", NULL }, { NULL, NULL, NULL, NULL, NULL } };
static PyType_Slot val_slots[] = { { Py_tp_dealloc, finish_free }, { Py_tp_repr, val_repr }, { Py_tp_getset, val_get }, { Py_tp_doc, "A value of a Graph." }, { 0, NULL } };
static PyType_Spec val_spec = { "tuyere._ext.Val", sizeof(ext_val), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, val_slots };

PyObject *ext_dim_object(ext_graph *g, ty_dim d) {
  int64_t value;
  if (d < 0) return ext_raise(g->st, TY_NOMEM, "out of memory");
  if (ty_dim_is_const(g->g, d, &value)) return PyLong_FromLongLong(value);
  ext_dim *o = (ext_dim *)make(g->st->dim_type);
  if (!o) return NULL;
  o->d = d;
  Py_INCREF(g);
  o->graph = g;
  return (PyObject *)o;
}
static void dim_free(PyObject *self) { Py_CLEAR(((ext_dim *)self)->graph); finish_free(self); }
static PyObject *dim_repr(PyObject *self) {
  ext_dim *o = (ext_dim *)self;
  if (!o->graph->g) return PyUnicode_FromString("Dim");
  ty_str s = { 0 };
  ty_dim_print(o->graph->g, o->d, &s);
  PyObject *r = PyUnicode_FromString(s.p ? s.p : "");
  ty_str_free(&s);
  return r;
}
static bool dim_read(ext_graph *g, PyObject *o, ty_dim *out) { /* int or Dim */
  if (Py_TYPE(o) == g->st->dim_type) {
    if (((ext_dim *)o)->graph != g) { PyErr_SetString(PyExc_ValueError, "tuyere: a dim of another graph"); return false; }
    *out = ((ext_dim *)o)->d;
    return true;
  }
  long long v = PyLong_AsLongLong(o);
  if (v == -1 && PyErr_Occurred()) return false;
  *out = ty_dim_const(g->g, v);
  if (*out < 0) { PyErr_NoMemory(); return false; }
  return true;
}
static PyObject *dim_binary(PyObject *a, PyObject *b, ty_dim (*f)(ty_graph *, ty_dim, ty_dim)) {
  /* A Dim has no fixed type object to compare with here: its deallocator tells it. */
  ext_graph *g = NULL;
  if (PyType_GetSlot(Py_TYPE(a), Py_tp_dealloc) == (void *)dim_free) g = ((ext_dim *)a)->graph;
  else if (PyType_GetSlot(Py_TYPE(b), Py_tp_dealloc) == (void *)dim_free) g = ((ext_dim *)b)->graph;
  ty_dim x, y;
  if (!g || !g->g) { PyErr_SetString(PyExc_ValueError, "tuyere: the dim's graph was compiled already"); return NULL; }
  if (!dim_read(g, a, &x) || !dim_read(g, b, &y)) return NULL;
  return ext_dim_object(g, f(g->g, x, y));
}
static PyObject *dim_add(PyObject *a, PyObject *b) { return dim_binary(a, b, ty_dim_add); }
static PyObject *dim_sub(PyObject *a, PyObject *b) { return dim_binary(a, b, ty_dim_sub); }
static PyObject *dim_mul(PyObject *a, PyObject *b) { return dim_binary(a, b, ty_dim_mul); }
static PyObject *dim_div(PyObject *a, PyObject *b) { return dim_binary(a, b, ty_dim_div); }
static PyObject *dim_mod(PyObject *a, PyObject *b) { return dim_binary(a, b, ty_dim_mod); }
static PyType_Slot dim_slots[] = {
  { Py_tp_dealloc, dim_free }, { Py_tp_repr, dim_repr }, { Py_nb_add, dim_add }, { Py_nb_subtract, dim_sub }, { Py_nb_multiply, dim_mul },
  { Py_nb_floor_divide, dim_div }, { Py_nb_remainder, dim_mod }, { Py_tp_doc, "An integer expression over a Graph's symbols." }, { 0, NULL },
};
static PyType_Spec dim_spec = { "tuyere._ext.Dim", sizeof(ext_dim), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, dim_slots };

/* ---- Graph ---- */
static PyObject *graph_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  (void)args; (void)kwargs;
  ext_graph *g = (ext_graph *)make(type);
  if (!g) return NULL;
  g->st = PyType_GetModuleState(type);
  g->ctx = ty_ctx_create();
  g->g = g->ctx ? ty_graph_create(g->ctx) : NULL;
  if (!g->g) { Py_DECREF(g); return PyErr_NoMemory(); }
  return (PyObject *)g;
}
static void graph_free(PyObject *self) {
  ext_graph *g = (ext_graph *)self;
  if (g->g) ty_graph_destroy(g->g);
  if (g->ctx) ty_ctx_destroy(g->ctx);
  finish_free(self);
}
static ext_graph *live(PyObject *self) {
  ext_graph *g = (ext_graph *)self;
  if (!g->g) PyErr_SetString(PyExc_ValueError, "tuyere: this graph was compiled already");
  return g->g ? g : NULL;
}
static ty_value *value_of(ext_graph *g, PyObject *o) {
  if (Py_TYPE(o) == g->st->val_type) {
    int id = ((ext_val *)o)->id;
    if (id >= 0 && id < g->g->values.n && g->g->values.p[id]) return g->g->values.p[id];
  }
  PyErr_Format(PyExc_TypeError, "tuyere: not a value of this graph: %R", o);
  return NULL;
}
/* Reads a sequence of ints and Dims into an array from the graph's arena. */
static bool dims_of(ext_graph *g, PyObject *seq, int *n, ty_dim **out) {
  Py_ssize_t len = PySequence_Size(seq);
  if (len < 0) return false;
  ty_dim *d = ty_arena_alloc(&g->g->arena, (size_t)(len ? len : 1) * sizeof *d);
  if (!d) { PyErr_NoMemory(); return false; }
  for (Py_ssize_t i = 0; i < len; i++) {
    PyObject *item = PySequence_GetItem(seq, i);
    bool ok = item && dim_read(g, item, &d[i]);
    Py_XDECREF(item);
    if (!ok) return false;
  }
  *n = (int)len; *out = d;
  return true;
}
static bool shape_of(ext_graph *g, PyObject *seq, int *n, ty_dim **out) {
  if (!dims_of(g, seq, n, out)) return false;
  if (*n <= TY_MAX_RANK) return true;
  PyErr_Format(g->st->unsupported, "a tensor of %d dimensions", *n);
  return false;
}

static PyObject *graph_sym(PyObject *self, PyObject *args) {
  ext_graph *g = live(self);
  const char *name; long long lo, hi, hint;
  if (!g || !PyArg_ParseTuple(args, "sLLL", &name, &lo, &hi, &hint)) return NULL;
  return ext_dim_object(g, ty_dim_symbol(g->g, name, lo, hi, hint));
}
static PyObject *graph_two(PyObject *self, PyObject *args, ty_dim (*f)(ty_graph *, ty_dim, ty_dim)) {
  ext_graph *g = live(self);
  PyObject *a, *b; ty_dim x, y;
  if (!g || !PyArg_ParseTuple(args, "OO", &a, &b) || !dim_read(g, a, &x) || !dim_read(g, b, &y)) return NULL;
  return ext_dim_object(g, f(g->g, x, y));
}
static PyObject *graph_min(PyObject *self, PyObject *args) { return graph_two(self, args, ty_dim_min); }
static PyObject *graph_max(PyObject *self, PyObject *args) { return graph_two(self, args, ty_dim_max); }

static PyObject *graph_input(PyObject *self, PyObject *args) {
  ext_graph *g = live(self);
  const char *role, *name; PyObject *dtype, *shape, *strides;
  if (!g || !PyArg_ParseTuple(args, "sOOOs", &role, &dtype, &shape, &strides, &name)) return NULL;
  ty_dtype dt; int rank, ns; ty_dim *dims, *st = NULL;
  if (!ext_dtype_of(g->st, dtype, &dt) || !shape_of(g, shape, &rank, &dims)) return NULL;
  if (strides != Py_None) {
    if (!dims_of(g, strides, &ns, &st)) return NULL;
    if (ns != rank) { PyErr_SetString(PyExc_ValueError, "tuyere: strides do not match the shape"); return NULL; }
  }
  ty_value *v = ty_graph_input(g->g, strcmp(role, "param") ? TY_ROLE_INPUT : TY_ROLE_PARAM, dt, rank, dims, st, name);
  if (!v && !g->g->arena.failed) return PyErr_SetString(PyExc_ValueError, ty_ctx_error(g->g->ctx)), NULL;
  return v ? val_new(g->st, v->id) : PyErr_NoMemory();
}
static PyObject *graph_literal(PyObject *self, PyObject *args) {
  ext_graph *g = live(self);
  PyObject *dtype, *shape; const char *data; Py_ssize_t bytes;
  if (!g || !PyArg_ParseTuple(args, "OOy#", &dtype, &shape, &data, &bytes)) return NULL;
  ty_dtype dt; int64_t sizes[TY_MAX_RANK];
  if (!ext_dtype_of(g->st, dtype, &dt)) return NULL;
  Py_ssize_t rank = PySequence_Size(shape);
  if (rank < 0) return NULL;
  if (rank > TY_MAX_RANK) return PyErr_Format(g->st->unsupported, "a tensor of %zd dimensions", rank);
  size_t need = (size_t)ty_dtype_size(dt);
  for (Py_ssize_t i = 0; i < rank; i++) {
    PyObject *item = PySequence_GetItem(shape, i);
    sizes[i] = item ? PyLong_AsLongLong(item) : -1;
    Py_XDECREF(item);
    if (PyErr_Occurred()) return NULL;
    if (sizes[i] < 0 || !ty_mul(need, (size_t)sizes[i], &need)) { PyErr_SetString(PyExc_ValueError, "tuyere: bad literal shape"); return NULL; }
  }
  if (need != (size_t)bytes) return PyErr_Format(PyExc_ValueError, "tuyere: a literal of %zu bytes got %zd", need, bytes);
  ty_value *v = ty_graph_literal(g->g, dt, (int)rank, sizes, data, (size_t)bytes);
  return v ? val_new(g->st, v->id) : PyErr_NoMemory();
}

static bool arg_of(ext_graph *g, PyObject *o, ty_arg *out);
static bool list_of(ext_graph *g, PyObject *o, ty_arg *out) {
  ext_state *st = g->st;
  Py_ssize_t n = PySequence_Size(o);
  if (n < 0) return false;
  ty_arg *items = ty_arena_alloc(&g->g->arena, (size_t)(n ? n : 1) * sizeof *items);
  if (!items) { PyErr_NoMemory(); return false; }
  int count[TY_ARG_DTYPE + 1] = { 0 };
  for (Py_ssize_t i = 0; i < n; i++) {
    PyObject *item = PySequence_GetItem(o, i);
    bool ok = item && arg_of(g, item, &items[i]);
    Py_XDECREF(item);
    if (!ok) return false;
    count[items[i].kind]++;
  }
  out->n = (int)n;
  if (count[TY_ARG_VALUE] + count[TY_ARG_NONE] == n && n > 0) {
    out->kind = TY_ARG_VALUES;
    out->values = ty_arena_alloc(&g->g->arena, (size_t)n * sizeof *out->values);
    if (!out->values) { PyErr_NoMemory(); return false; }
    for (Py_ssize_t i = 0; i < n; i++) out->values[i] = items[i].kind == TY_ARG_VALUE ? items[i].value : NULL;
  } else if (count[TY_ARG_BOOL] == n && n > 0) {
    out->kind = TY_ARG_BOOLS;
    out->bools = ty_arena_alloc(&g->g->arena, (size_t)n * sizeof *out->bools);
    if (!out->bools) { PyErr_NoMemory(); return false; }
    for (Py_ssize_t i = 0; i < n; i++) out->bools[i] = items[i].b;
  } else if (count[TY_ARG_INT] == n) {
    out->kind = TY_ARG_INTS;
    out->ints = ty_arena_alloc(&g->g->arena, (size_t)(n ? n : 1) * sizeof *out->ints);
    if (!out->ints) { PyErr_NoMemory(); return false; }
    for (Py_ssize_t i = 0; i < n; i++) out->ints[i] = items[i].i;
  } else if (count[TY_ARG_FLOAT] + count[TY_ARG_INT] == n) {
    out->kind = TY_ARG_FLOATS;
    out->floats = ty_arena_alloc(&g->g->arena, (size_t)n * sizeof *out->floats);
    if (!out->floats) { PyErr_NoMemory(); return false; }
    for (Py_ssize_t i = 0; i < n; i++) {
      int64_t k = 0;
      if (items[i].kind == TY_ARG_INT && !ty_dim_is_const(g->g, items[i].i, &k)) {
        PyErr_SetString(st->unsupported, "a list of floats and symbolic sizes");
        return false;
      }
      out->floats[i] = items[i].kind == TY_ARG_INT ? (double)k : items[i].f;
    }
  } else {
    PyErr_Format(st->unsupported, "a list argument of mixed kinds: %R", o);
    return false;
  }
  return true;
}
static bool arg_of(ext_graph *g, PyObject *o, ty_arg *out) {
  ext_state *st = g->st;
  memset(out, 0, sizeof *out);
  if (o == Py_None) { out->kind = TY_ARG_NONE; return true; }
  if (Py_TYPE(o) == st->val_type) {
    ty_value *v = value_of(g, o);
    if (v) *out = ty_arg_value(v);
    return v != NULL;
  }
  if (PyBool_Check(o)) { *out = ty_arg_bool(o == Py_True); return true; }
  if (PyLong_Check(o) || Py_TYPE(o) == st->dim_type) {
    ty_dim d;
    if (!dim_read(g, o, &d)) return false;
    *out = ty_arg_int(d);
    return true;
  }
  if (PyFloat_Check(o)) { *out = ty_arg_float(PyFloat_AsDouble(o)); return true; }
  if (PyUnicode_Check(o)) {
    const char *s = PyUnicode_AsUTF8AndSize(o, NULL);
    char *copy = s ? ty_arena_strdup(&g->g->arena, s) : NULL;
    if (!copy) { if (s) PyErr_NoMemory(); return false; }
    *out = ty_arg_str(copy);
    return true;
  }
  if ((PyObject *)Py_TYPE(o) == st->dtype_type) {
    ty_dtype dt;
    if (!ext_dtype_of(st, o, &dt)) return false;
    *out = ty_arg_dtype(dt);
    return true;
  }
  if (PyList_Check(o) || PyTuple_Check(o)) return list_of(g, o, out);
  PyErr_Format(st->unsupported, "an argument of type %S", (PyObject *)Py_TYPE(o));
  return false;
}

/* node(target, args, kwargs or None, loc or None) -> tuple of Val */
static PyObject *graph_node(PyObject *self, PyObject *args) {
  ext_graph *g = live(self);
  const char *target, *loc; PyObject *pos, *kw;
  if (!g || !PyArg_ParseTuple(args, "sOOz", &target, &pos, &kw, &loc)) return NULL;
  Py_ssize_t np = PySequence_Size(pos), nk = kw == Py_None ? 0 : PyDict_Size(kw);
  if (np < 0 || nk < 0) return NULL;
  enum { MAX = 64 };
  if (np + nk > MAX) return PyErr_Format(g->st->unsupported, "%zd arguments", np + nk);
  ty_arg a[MAX]; const char *names[MAX];
  for (Py_ssize_t i = 0; i < np; i++) {
    PyObject *item = PySequence_GetItem(pos, i);
    names[i] = NULL;
    bool ok = item && arg_of(g, item, &a[i]);
    Py_XDECREF(item);
    if (!ok) return NULL;
  }
  if (nk) {
    PyObject *key, *item; Py_ssize_t at = 0, i = np;
    while (PyDict_Next(kw, &at, &key, &item)) {
      if (!(names[i] = PyUnicode_AsUTF8AndSize(key, NULL)) || !arg_of(g, item, &a[i])) return NULL;
      i++;
    }
  }
  const char *where = loc ? ty_arena_strdup(&g->g->arena, loc) : NULL;
  ty_node *node = NULL;
  ty_ctx_clear(g->ctx);
  ty_status s = ty_build(g->g, target, (int)(np + nk), a, names, where, &node);
  if (s != TY_OK) return ext_raise(g->st, s, ty_ctx_error(g->ctx));
  PyObject *r = PyTuple_New(node->nouts);
  for (int i = 0; r && i < node->nouts; i++) {
    PyObject *v = val_new(g->st, node->outs[i]->id);
    if (!v || PyTuple_SetItem(r, i, v) < 0) Py_CLEAR(r);
  }
  return r;
}
static PyObject *graph_value_info(PyObject *self, PyObject *o) { /* (dtype, (size, ...)) */
  ext_graph *g = live(self);
  ty_value *v = g ? value_of(g, o) : NULL;
  if (!v) return NULL;
  PyObject *shape = PyTuple_New(v->rank);
  for (int i = 0; shape && i < v->rank; i++) {
    PyObject *d = ext_dim_object(g, v->shape[i]);
    if (!d || PyTuple_SetItem(shape, i, d) < 0) Py_CLEAR(shape);
  }
  return shape ? Py_BuildValue("ON", g->st->dtypes[v->dtype], shape) : NULL;
}
static PyObject *graph_same_dims(PyObject *self, PyObject *args) { /* (a, b): are two shapes equal for all symbol values? */
  ext_graph *g = live(self);
  PyObject *a, *b; int na, nb; ty_dim *x, *y;
  if (!g || !PyArg_ParseTuple(args, "OO", &a, &b) || !dims_of(g, a, &na, &x) || !dims_of(g, b, &nb, &y)) return NULL;
  bool same = na == nb;
  for (int i = 0; same && i < na; i++) same = ty_dim_known_eq(g->g, x[i], y[i]);
  return PyBool_FromLong(same);
}
static PyObject *graph_output(PyObject *self, PyObject *o) {
  ext_graph *g = live(self);
  ty_value *v = g ? value_of(g, o) : NULL;
  if (!v) return NULL;
  ty_status s = ty_graph_output(g->g, v);
  if (s != TY_OK) return ext_raise(g->st, s, ty_ctx_error(g->ctx));
  Py_RETURN_NONE;
}
static PyObject *graph_text(PyObject *self, PyObject *unused) {
  (void)unused;
  ext_graph *g = live(self);
  if (!g) return NULL;
  ty_str s = { 0 };
  ty_graph_print(g->g, &s);
  PyObject *r = s.failed ? PyErr_NoMemory() : PyUnicode_FromString(s.p ? s.p : "");
  ty_str_free(&s);
  return r;
}
static void log_to_python(void *user, const char *text) {
  (void)user;
  PyGILState_STATE gil = PyGILState_Ensure();
  if (*text != '#') PySys_WriteStderr("tuyere: "); /* graph text is to be parsed again */
  for (const char *p = text; *p; p += strnlen(p, 900)) PySys_WriteStderr("%.900s", p); /* it cuts at 1000 bytes */
  if (*text && text[strlen(text) - 1] != '\n') PySys_WriteStderr("\n");
  PyGILState_Release(gil);
}
static bool has_params(const ty_graph *g) {
  for (int i = 0; i < g->inputs.n; i++)
    if (g->inputs.p[i]->role == TY_ROLE_PARAM) return true;
  return false;
}
/* Fields of options.py's class. Texts belong to it. */
static bool option_int(PyObject *o, const char *name, int *out) { /* None: left as it is */
  PyObject *v = PyObject_GetAttrString(o, name);
  if (v && v != Py_None) *out = (int)PyLong_AsLong(v);
  Py_XDECREF(v);
  return !PyErr_Occurred();
}
static bool option_text(PyObject *o, const char *name, const char **out) {
  PyObject *v = PyObject_GetAttrString(o, name);
  if (v && v != Py_None) *out = PyUnicode_AsUTF8AndSize(v, NULL);
  Py_XDECREF(v);
  return !PyErr_Occurred();
}
static bool read_options(PyObject *from, ty_options *o) {
  int no_compiler = 0, autotune = 0, huge = -1;
  if (!option_int(from, "no_compiler", &no_compiler) || !option_int(from, "max_autotune", &autotune) || !option_text(from, "dump", &o->dump) || !option_text(from, "fpmath", &o->fpmath) ||
      !option_text(from, "weights", &o->weights) || !option_int(from, "threads", &o->tuning.threads) ||
      !option_int(from, "sizes_kept", &o->tuning.sizes) || !option_int(from, "huge_pages", &huge)) return false;
  o->no_compiler = no_compiler;
  o->max_autotune = autotune;
  o->tuning.huge_pages = huge < 0 ? 0 : huge ? 1 : -1;
  return true;
}

/* compile(args, options, python or None, name) -> Program; the graph is used up, also on failure. */
static PyObject *graph_compile(PyObject *self, PyObject *args) {
  ext_graph *g = live(self);
  PyObject *layout, *asked; const char *name;
  ty_options options = { 0 };
  if (!g || !PyArg_ParseTuple(args, "OOzs", &layout, &asked, &options.python, &name) || !read_options(asked, &options)) return NULL;
  ty_graph *graph = g->g;
  ext_made made = { .ctx = g->ctx, .options = options, .name = name };
  if (has_params(graph) && (made.source_ctx = ty_ctx_create())) made.source = ext_graph_clone(made.source_ctx, graph);
  g->g = NULL;
  ty_status s;
  ty_ctx_clear(made.ctx);
  ty_ctx_set_log(made.ctx, log_to_python, NULL);
  Py_BEGIN_ALLOW_THREADS
  s = ty_model_compile(made.ctx, graph, &options, &made.model);
  Py_END_ALLOW_THREADS
  if (s != TY_OK) {
    if (made.source) ty_graph_destroy(made.source);
    if (made.source_ctx) ty_ctx_destroy(made.source_ctx);
    return ext_raise(g->st, s, ty_ctx_error(made.ctx));
  }
  g->ctx = NULL; /* the program keeps it: the model may refer to it */
  return ext_program_new(g->st, &made, layout);
}
static PyMethodDef graph_methods[] = {
  { "sym", graph_sym, METH_VARARGS, "sym(name, lo, hi, hint) -> Dim" },
  { "min", graph_min, METH_VARARGS, "min(a, b) -> dim" },
  { "max", graph_max, METH_VARARGS, "max(a, b) -> dim" },
  { "input", graph_input, METH_VARARGS, "input('input'|'param', dtype, shape, strides or None, name) -> Val" },
  { "literal", graph_literal, METH_VARARGS, "literal(dtype, shape, bytes) -> Val" },
  { "node", graph_node, METH_VARARGS, "node(target, args, kwargs or None, loc or None) -> tuple of Val; raises Unsupported, ValueError" },
  { "value_info", graph_value_info, METH_O, "value_info(val) -> (dtype, shape)" },
  { "same_dims", graph_same_dims, METH_VARARGS, "same_dims(a, b): the shapes are equal for all values of the symbols" },
  { "output", graph_output, METH_O, "output(val)" },
  { "text", graph_text, METH_NOARGS, "the graph's text" },
  { "compile", graph_compile, METH_VARARGS, "compile(args, options, python, name) -> Program; uses the graph up" },
  { NULL, NULL, 0, NULL },
};
static PyType_Slot graph_slots[] = { { Py_tp_new, graph_new }, { Py_tp_dealloc, graph_free }, { Py_tp_methods, graph_methods }, { Py_tp_doc, "A graph under construction." }, { 0, NULL } };
static PyType_Spec graph_spec = { "tuyere._ext.Graph", sizeof(ext_graph), 0, Py_TPFLAGS_DEFAULT, graph_slots };

bool ext_graph_types(PyObject *module, ext_state *st) {
  st->graph_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &graph_spec, NULL);
  st->val_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &val_spec, NULL);
  st->dim_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &dim_spec, NULL);
  return st->graph_type && st->val_type && st->dim_type && PyModule_AddType(module, st->graph_type) == 0 && PyModule_AddType(module, st->dim_type) == 0 && PyModule_AddType(module, st->val_type) == 0;
}
