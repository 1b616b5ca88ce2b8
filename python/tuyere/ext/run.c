/* run.c: the call: reads the arguments, checks them against what was compiled, runs the program of their set of weights. */
#include "program.h"
#include <string.h>

/* ---- Frames ---- */
static void frame_free(ext_frame *f) {
  if (!f) return;
  if (f->ctx) ty_ctx_destroy(f->ctx);
  ty_free(f->syms); ty_free(f->inputs); ty_free(f->outputs); ty_free(f->data); ty_free(f->changed); ty_free(f->versions); ty_free(f->odd);
  ty_free(f->held);
  for (int i = 0; i < f->nranges; i++) Py_XDECREF(f->ranges[i]);
  ty_free(f->ranges);
  ty_free(f);
}
void ext_frames_free(ext_program *p) {
  while (p->frames) { ext_frame *next = p->frames->next; frame_free(p->frames); p->frames = next; }
}
static ext_frame *frame_take(ext_program *p) {
  ext_frame *f = p->frames;
  if (f) { p->frames = f->next; return f; }
  if (!(f = ty_alloc(sizeof *f))) return NULL;
  size_t nin = (size_t)p->nin;
  f->ctx = ty_ctx_create();
  f->syms = ty_alloc((size_t)p->nsyms * sizeof *f->syms);
  f->inputs = ty_alloc(nin * sizeof *f->inputs);
  f->outputs = ty_alloc((size_t)p->nout * sizeof *f->outputs);
  f->changed = ty_alloc((nin / 64 + 1) * sizeof *f->changed);
  f->versions = ty_alloc(nin * sizeof *f->versions);
  f->held = ty_alloc(nin * sizeof *f->held);
  f->data = ty_alloc(nin * sizeof *f->data);
  f->odd = ty_alloc(nin * sizeof *f->odd);
  if (f->ctx && f->syms && f->inputs && f->outputs && f->changed && f->versions && f->held && f->data && f->odd) return f;
  frame_free(f);
  return NULL;
}
static void frame_give(ext_program *p, ext_frame *f) {
  if (f->nodd) memset(f->odd, 0, (size_t)p->nin * sizeof *f->odd);
  f->nodd = 0;
  while (f->nheld) Py_DECREF(f->held[--f->nheld]);
  f->next = p->frames;
  p->frames = f;
}

/* ---- Checks ---- */
static void print_size(const ext_program *p, const ext_size *s, ty_str *out) {
  if (s->dim < 0) ty_str_add(out, "%lld", (long long)s->value);
  else ty_dim_print(p->graph, s->dim, out);
}
static bool mismatch(const ext_program *p, const ext_input *in, const ext_tensor *t) {
  ty_str s = { 0 };
  ty_str_add(&s, "%s '%s' (argument %d): expected %s[", in->param ? "parameter" : "input", in->name, in->arg, ty_dtypes[in->dtype].torch);
  for (int i = 0; i < in->rank; i++) { ty_str_add(&s, i ? ", " : ""); print_size(p, &in->sizes[i], &s); }
  ty_str_add(&s, "], got %s[", ty_dtypes[t->dtype].torch);
  for (int i = 0; i < t->rank; i++) ty_str_add(&s, "%s%lld", i ? ", " : "", (long long)t->sizes[i]);
  ty_str_add(&s, "]");
  PyErr_SetString(p->st->mismatch, s.p ? s.p : "out of memory");
  ty_str_free(&s);
  return false;
}
static bool bind_symbol(const ext_program *p, ext_frame *f, int sym, int64_t value) {
  const ty_sym *s = ty_dim_sym(p->graph, sym);
  if (value < s->lo || value > s->hi) {
    PyErr_Format(p->st->mismatch, "size %s is %lld, outside of the compiled range [%lld, %lld]", s->name, (long long)value, (long long)s->lo, (long long)s->hi);
    return false;
  }
  f->syms[sym] = value;
  return true;
}
static int64_t size_value(const ext_program *p, const ext_frame *f, const ext_size *s) {
  return s->dim < 0 ? s->value : s->sym >= 0 ? f->syms[s->sym] : ty_dim_eval(p->graph, s->dim, f->syms);
}
static bool strides_match(const ext_program *p, const ext_frame *f, const ext_input *in, const ext_tensor *t) {
  int64_t want = 1;
  bool same = true;
  for (int i = t->rank - 1; i >= 0; i--) {
    if (t->sizes[i] == 0) return true;
    if (in->strides) want = size_value(p, f, &in->strides[i]);
    if (t->sizes[i] != 1 && t->strides[i] != want) same = false;
    if (!in->strides) want *= t->sizes[i];
  }
  return same;
}
/* Puts a copy with the compiled layout in the place of a tensor laid out otherwise; `kept`: where parameters keep theirs. */
static bool relayout(ext_program *p, ext_frame *f, int i, PyObject *arg, ext_seen *kept) {
  ext_state *st = p->st;
  const ext_input *in = &p->in[i];
  PyObject *copy = NULL;
  if (kept && kept->copy && kept->copy_data == f->data[i] && kept->copy_version == f->versions[i] && f->versions[i] >= 0) {
    copy = kept->copy;
    Py_INCREF(copy);
  } else {
    PyObject *strides = Py_None;
    Py_INCREF(Py_None);
    if (in->strides) {
      Py_DECREF(strides);
      strides = PyTuple_New(in->rank);
      for (int d = 0; strides && d < in->rank; d++) {
        PyObject *v = PyLong_FromLongLong(size_value(p, f, &in->strides[d]));
        if (!v || PyTuple_SetItem(strides, d, v) < 0) Py_CLEAR(strides);
      }
      if (!strides) return false;
    }
    if (!st->relayout) { Py_DECREF(strides); PyErr_SetString(st->mismatch, "strides differ from the compiled ones"); return false; }
    copy = PyObject_CallFunctionObjArgs(st->relayout, arg, strides, NULL);
    Py_DECREF(strides);
    if (!copy) return false;
    PyObject *alias = kept ? PyObject_CallMethod(arg, "detach", NULL) : NULL;
    PyErr_Clear();
    if (alias) {
      PyObject *old = kept->copy, *old_alias = kept->copy_alias;
      Py_INCREF(copy);
      kept->copy = copy; kept->copy_alias = alias; kept->copy_data = f->data[i]; kept->copy_version = f->versions[i];
      Py_XDECREF(old);
      Py_XDECREF(old_alias);
    }
  }
  f->held[f->nheld++] = copy;
  ext_tensor t;
  if (!ext_tensor_read(st, copy, &t, in->name)) return false;
  if (!strides_match(p, f, in, &t)) { PyErr_Format(st->mismatch, "'%s': its layout could not be changed to the compiled one", in->name); return false; }
  f->inputs[i] = t.data;
  return true;
}
static bool read_input(ext_program *p, ext_frame *f, int i, PyObject *arg) {
  ext_input *in = &p->in[i];
  ext_tensor t;
  bool odd;
  if (!ext_tensor_read(p->st, arg, &t, in->name)) return false;
  if (t.dtype != in->dtype || t.rank != in->rank) return mismatch(p, in, &t);
  size_t bytes = (size_t)t.rank * sizeof *t.sizes;
  if (in->fixed) {
    if (memcmp(t.sizes, in->fixed_sizes, bytes)) return mismatch(p, in, &t);
    odd = memcmp(t.strides, in->fixed_strides, bytes) && !strides_match(p, f, in, &t);
  } else {
    for (int d = 0; d < t.rank; d++) {
      const ext_size *s = &in->sizes[d];
      if (s->dim < 0 ? t.sizes[d] != s->value : s->sym < 0 && size_value(p, f, s) != t.sizes[d]) return mismatch(p, in, &t);
      if (s->dim >= 0 && s->sym >= 0 && f->syms[s->sym] != t.sizes[d]) return mismatch(p, in, &t);
    }
    odd = !strides_match(p, f, in, &t);
  }
  f->inputs[i] = f->data[i] = t.data;
  if (!odd) return true;
  if (!in->param) return relayout(p, f, i, arg, NULL);
  f->odd[i] = true; /* later, when the set of weights is known */
  f->nodd++;
  return true;
}
/* Symbols take their values from int arguments, then from the first tensor that has them as a size of its own. */
static bool bind_symbols(ext_program *p, ext_frame *f, PyObject *const *args) {
  for (int i = 0; i < p->nsyms; i++) f->syms[i] = INT64_MIN;
  for (int i = 0; i < p->nints; i++) {
    const ext_intarg *a = &p->ints[i];
    if (a->size.sym < 0) continue;
    int64_t v = PyLong_AsLongLong(args[a->arg]);
    if (v == -1 && PyErr_Occurred()) return false;
    if (!bind_symbol(p, f, a->size.sym, v)) return false;
  }
  for (int i = 0; i < p->nin; i++) {
    ext_input *in = &p->in[i];
    if (in->fixed || in->released) continue;
    ext_tensor t;
    if (!ext_tensor_read(p->st, args[in->arg], &t, in->name)) return false;
    if (t.rank != in->rank) return mismatch(p, in, &t);
    for (int d = 0; d < in->rank; d++) {
      int sym = in->sizes[d].dim >= 0 ? in->sizes[d].sym : -1;
      if (sym >= 0 && f->syms[sym] == INT64_MIN && !bind_symbol(p, f, sym, t.sizes[d])) return false;
    }
  }
  for (int i = 0; i < p->nints; i++) {
    const ext_intarg *a = &p->ints[i];
    if (a->size.sym >= 0) continue;
    int64_t v = PyLong_AsLongLong(args[a->arg]), want = size_value(p, f, &a->size);
    if (v == -1 && PyErr_Occurred()) return false;
    if (v != want) { PyErr_Format(p->st->mismatch, "argument %d: expected %lld, got %lld", a->arg, (long long)want, (long long)v); return false; }
  }
  return true;
}

/* ---- Outputs ---- */
static PyObject *tuple_of(int n, const int64_t *v) {
  PyObject *t = PyTuple_New(n);
  for (int i = 0; t && i < n; i++) {
    PyObject *x = PyLong_FromLongLong(v[i]);
    if (!x || PyTuple_SetItem(t, i, x) < 0) Py_CLEAR(t);
  }
  return t;
}
static PyObject *empty_args(ext_program *p, const ext_frame *f, const ext_output *o) {
  int64_t size[TY_MAX_RANK], stride[TY_MAX_RANK], step = 1;
  for (int i = o->rank - 1; i >= 0; i--) {
    int d = o->order[i];
    size[d] = ty_dim_eval(p->graph, o->shape[i], f->syms);
    stride[d] = step;
    step *= size[d] > 1 ? size[d] : 1;
  }
  PyObject *a = tuple_of(o->rank, size), *b = tuple_of(o->rank, stride), *r = NULL;
  if (a && b) r = Py_BuildValue("OOO", a, b, p->st->dtypes[o->dtype]);
  Py_XDECREF(a); Py_XDECREF(b);
  return r;
}
/* A result this large comes fresh from the kernel at each call: every small page of it would be a fault. */
static void few_faults(const ext_set *s, const ext_tensor *t) {
  enum { FRESH = 32 << 20 };
  size_t bytes = (size_t)ty_dtype_size(t->dtype);
  for (int i = 0; i < t->rank; i++) bytes *= (size_t)t->sizes[i];
  if (bytes >= FRESH && ty_program_huge_pages(s->program)) ty_pages_huge(t->data, bytes);
}

static PyObject *make_outputs(ext_program *p, const ext_set *s, ext_frame *f) {
  static char nothing[64]; /* where empty tensors have no memory of their own */
  PyObject *r = PyTuple_New(p->nout);
  for (int i = 0; r && i < p->nout; i++) {
    ext_output *o = &p->out[i];
    PyObject *args = o->empty_args;
    if (args) Py_INCREF(args);
    else if ((args = empty_args(p, f, o)) && o->fixed) { Py_INCREF(args); o->empty_args = args; }
    PyObject *t = args ? PyObject_Call(p->st->empty_strided, args, NULL) : NULL;
    Py_XDECREF(args);
    ext_tensor info;
    if (!t || !ext_tensor_read(p->st, t, &info, "output")) { Py_XDECREF(t); Py_DECREF(r); return NULL; }
    f->outputs[i] = info.data ? info.data : nothing;
    few_faults(s, &info);
    PyTuple_SetItem(r, i, t);
  }
  return r;
}

/* ---- The call ---- */
typedef struct watch { ext_program *p; ext_frame *f; PyThreadState *saved; } watch;
static void on_step(void *user, int step, bool begin) {
  watch *w = user;
  PyEval_RestoreThread(w->saved);
  ext_range(w->p, w->f, step, begin);
  w->saved = PyEval_SaveThread();
}

/* Runs with what the frame has. `outputs` are made already. False with an exception. */
static bool run_set(ext_program *p, ext_set *s, ext_frame *f, PyObject *const *args) {
  ty_run run = { .syms = f->syms, .inputs = f->inputs, .outputs = f->outputs, .changed = NULL };
  ty_status status = TY_OK;
  bool folds = false, stale = false;
  watch w = { .p = p, .f = f };
  bool watched = ext_profiler_on(p->st);
  if (watched) {
    ext_range(p, f, -1, true);
    run.on_step = on_step;
    run.on_step_user = &w;
  }
  ext_follow_threads(p->st);
  ty_ctx_clear(f->ctx);
  w.saved = PyEval_SaveThread();
  pthread_rwlock_rdlock(&s->lock);
  if (ext_set_changed(p, s, f)) { /* a fold has the program to itself */
    pthread_rwlock_unlock(&s->lock);
    pthread_rwlock_wrlock(&s->lock);
    folds = ext_set_changed(p, s, f);
    stale = folds && s->ran && p->released;
    run.changed = folds ? f->changed : NULL;
  }
  if (!stale) status = ty_program_run(s->program, f->ctx, &run);
  if (folds && !stale) { /* the GIL is waited for with the lock held, and never the other way round */
    PyEval_RestoreThread(w.saved);
    p->folds++;
    ext_set_remember(p, s, f, args, status == TY_OK);
    pthread_rwlock_unlock(&s->lock);
    ext_set_review(p, s, args);
  } else {
    pthread_rwlock_unlock(&s->lock);
    PyEval_RestoreThread(w.saved);
    if (s->streaks) ext_set_calm(p, s);
  }
  if (watched) ext_range(p, f, -1, false);
  p->calls++;
  if (stale) PyErr_SetString(PyExc_RuntimeError, "tuyere: a parameter changed after the weights were released (release_weights); compile the model again");
  else if (status != TY_OK) ext_raise(p->st, status, ty_ctx_error(f->ctx));
  return !stale && status == TY_OK;
}

static PyObject *run_frame(ext_program *p, ext_frame *f, PyObject *const *args) {
  if ((p->nsyms || p->nints) && !bind_symbols(p, f, args)) return NULL;
  for (int i = 0; i < p->nin; i++) {
    const ext_input *in = &p->in[i];
    if (in->released) {
      if (args[in->arg] == in->released) continue;
      PyErr_Format(PyExc_RuntimeError, "tuyere: parameter '%s' was replaced after the weights were released (release_weights); compile the model again", in->name);
      return NULL;
    }
    if (!read_input(p, f, i, args[in->arg])) return NULL;
    if (in->param) f->versions[i] = ext_tensor_version(p->st, args[in->arg]);
  }
  ext_set *s = ext_set_choose(p, f);
  s->users++; /* from here on nobody frees it */
  s->used = p->calls;
  bool ok = true;
  for (int i = 0; f->nodd && ok && i < p->nin; i++)
    if (f->odd[i]) ok = relayout(p, f, i, args[p->in[i].arg], &s->seen[i]);
  PyObject *outputs = ok ? make_outputs(p, s, f) : NULL;
  if (outputs && !run_set(p, s, f, args)) Py_CLEAR(outputs);
  s->users--;
  return outputs;
}

PyObject *ext_program_run(PyObject *self, PyObject *const *args, Py_ssize_t n) {
  ext_program *p = (ext_program *)self;
  if (n != p->nargs) return PyErr_Format(PyExc_TypeError, "tuyere: expected %d arguments, got %zd", p->nargs, n);
  ext_frame *f = frame_take(p);
  if (!f) return PyErr_NoMemory();
  p->active++;
  PyObject *outputs = run_frame(p, f, args);
  p->active--;
  frame_give(p, f);
  if (p->renewed) ext_program_renew(p);
  return outputs;
}
