/* set.c: sets of weights: which folded program a call uses, what is remembered of its parameters, and which parameters
 * change too often to be folded. */
#include "program.h"
#include <string.h>

ext_set *ext_set_new(ext_program *p, ty_ctx *ctx, ty_model *model) {
  ext_set *s = ty_alloc(sizeof *s);
  ext_seen *seen = ty_alloc((size_t)p->nin * sizeof *seen);
  if (s && seen) {
    *s = (ext_set){ .ctx = ctx, .model = model, .program = ty_model_program(model), .seen = seen };
    pthread_rwlock_init(&s->lock, NULL);
    if (p->profiling) ty_program_profile(s->program, true);
    return s;
  }
  ty_free(s);
  ty_free(seen);
  ty_model_destroy(model);
  ty_ctx_destroy(ctx);
  PyErr_NoMemory();
  return NULL;
}
void ext_set_free(ext_program *p, ext_set *s) {
  for (int i = 0; i < p->nin; i++) {
    ext_seen *e = &s->seen[i];
    Py_XDECREF(e->alias); Py_XDECREF(e->owner); Py_XDECREF(e->copy); Py_XDECREF(e->copy_alias);
  }
  ty_free(s->seen);
  ty_model_destroy(s->model);
  ty_ctx_destroy(s->ctx);
  pthread_rwlock_destroy(&s->lock);
  ty_free(s);
}

/* The graph compiled once more: its kernels are there already. NULL without an exception when that fails. */
static ext_set *compile_again(ext_program *p) {
  ty_ctx *ctx = ty_ctx_create();
  ty_graph *g = ctx ? ext_graph_clone(ctx, p->source) : NULL;
  ty_model *model = NULL;
  ty_status st = TY_NOMEM;
  if (g) {
    Py_BEGIN_ALLOW_THREADS
    st = ty_model_compile(ctx, g, &p->options, &model);
    Py_END_ALLOW_THREADS
  }
  if (st != TY_OK) {
    if (ctx) ty_ctx_destroy(ctx);
    return NULL;
  }
  ext_set *s = ext_set_new(p, ctx, model);
  if (!s) PyErr_Clear();
  return s;
}

/* ---- Which set ---- */
static bool same_data(const ext_program *p, const ext_set *s, const ext_frame *f) {
  for (int i = 0; i < p->nin; i++)
    if (p->in[i].param && !p->in[i].released && s->seen[i].data != f->data[i]) return false;
  return true;
}
static double matching_bytes(const ext_program *p, const ext_set *s, const ext_frame *f) {
  double sum = 0;
  for (int i = 0; i < p->nin; i++)
    if (p->in[i].param && s->seen[i].data == f->data[i]) sum += p->in[i].bytes;
  return sum;
}
/* Is one of the tensors that it was folded from gone, or has other data now? Its weights will not come again. */
static bool dead(const ext_program *p, const ext_set *s) {
  if (!s->ran) return s->users == 0;
  for (int i = 0; i < p->nin; i++) {
    const ext_seen *e = &s->seen[i];
    if (!p->in[i].param || !e->owner) continue;
    PyObject *owner = PyWeakref_GetObject(e->owner); /* borrowed */
    ext_tensor t;
    if (!owner || owner == Py_None) return true;
    if (!ext_tensor_read(p->st, owner, &t, "")) { PyErr_Clear(); return true; }
    if (t.data != e->data) return true;
  }
  return false;
}
static int index_of(const ext_program *p, const ext_set *s) {
  for (int i = 0; i < p->nsets; i++)
    if (p->sets[i] == s) return i;
  return 0;
}

/* None was folded from this data. In order: one whose weights are gone; one that differs in less than half of its bytes,
 * where a parameter was replaced and the old one kept; a new one; the one that was used longest ago. */
static ext_set *choose_slow(ext_program *p, const ext_frame *f) {
  ext_set *gone = NULL, *near = NULL, *oldest = NULL;
  double total = 0, most_gone = -1, most_near = -1;
  for (int i = 0; i < p->nin; i++) total += p->in[i].param ? p->in[i].bytes : 0;
  bool doomed[EXT_SETS];
  for (int i = 0; i < p->nsets; i++) {
    ext_set *s = p->sets[i];
    double same = matching_bytes(p, s, f);
    if ((doomed[i] = dead(p, s))) {
      if (same > most_gone) most_gone = same, gone = s;
      continue;
    }
    if (same > most_near) most_near = same, near = s;
    if (!oldest || s->used < oldest->used) oldest = s;
  }
  if (gone) {
    int n = 1; /* the first one's graph has the names and sizes: it stays */
    for (int i = 1; i < p->nsets; i++) {
      if (doomed[i] && p->sets[i] != gone && !p->sets[i]->users) ext_set_free(p, p->sets[i]);
      else p->sets[n++] = p->sets[i];
    }
    p->nsets = n;
    return gone;
  }
  if (2 * most_near >= total) return near;
  if (p->source && p->nsets < EXT_SETS && !p->renewing) {
    int generation = p->generation;
    ext_set *s = compile_again(p);
    if (s && p->generation == generation && !p->renewing && p->nsets < EXT_SETS) return p->sets[p->nsets++] = s;
    if (s) ext_set_free(p, s);
    return p->sets[p->current < p->nsets ? p->current : 0];
  }
  ext_set_calm(p, oldest); /* its folds say nothing of its parameters */
  return oldest;
}
ext_set *ext_set_choose(ext_program *p, const ext_frame *f) {
  ext_set *s = p->sets[p->current];
  if (!s->ran || p->released || same_data(p, s, f)) return s;
  for (int k = 1; k < p->nsets; k++) { /* layers are called in turn: the next is likely the one */
    int i = (p->current + k) % p->nsets;
    if (!p->sets[i]->ran || !same_data(p, p->sets[i], f)) continue;
    p->current = i;
    return p->sets[i];
  }
  s = choose_slow(p, f);
  p->current = index_of(p, s);
  return s;
}

/* ---- What changed ---- */
bool ext_set_changed(const ext_program *p, const ext_set *s, ext_frame *f) { /* touches no Python object */
  bool any = !s->ran;
  memset(f->changed, 0, ((size_t)p->nin / 64 + 1) * sizeof *f->changed);
  for (int i = 0; i < p->nin; i++) {
    const ext_seen *e = &s->seen[i];
    if (!p->in[i].param || p->in[i].released || (e->seen && e->data == f->data[i] && e->version == f->versions[i] && e->version >= 0)) continue;
    f->changed[i / 64] |= (uint64_t)1 << (i % 64);
    any = true;
  }
  return any;
}

/* Parameters that change at every call (a cache in a buffer, running statistics) become inputs. Not when all parameters
 * change: the weights are being trained or loaded then, and will rest again. */
void ext_set_review(ext_program *p, const ext_set *s, PyObject *const *args) {
  if (s->streaks < EXT_STREAK || !p->source || p->released || p->renewing) return;
  for (int i = 0; i < p->nints; i++)
    if (p->ints[i].size.dim >= 0 && p->ints[i].size.sym < 0) return;
  bool rest = false, any = false;
  for (int i = 0; i < p->nin; i++)
    if (p->in[i].param && (PyObject *)Py_TYPE(args[p->in[i].arg]) == p->st->parameter_type && s->seen[i].streak < EXT_STREAK) rest = true;
  ty_role *before = ty_alloc((size_t)p->nin * sizeof *before);
  for (int i = 0; before && i < p->nin; i++) {
    ty_value *v = p->source->inputs.p[i];
    before[i] = v->role;
    if (!p->in[i].param || s->seen[i].streak < EXT_STREAK) continue;
    if (!rest && (PyObject *)Py_TYPE(args[p->in[i].arg]) == p->st->parameter_type) continue;
    v->role = TY_ROLE_INPUT;
    any = true;
  }
  if (any) {
    p->renewing = true;
    p->renewed = compile_again(p);
    if (!p->renewed) {
      for (int i = 0; i < p->nin; i++) p->source->inputs.p[i]->role = before[i];
      p->renewing = false;
    }
  }
  ty_free(before);
}
void ext_program_renew(ext_program *p) {
  ext_set *s = p->renewed;
  if (!s || p->active) return;
  p->renewed = NULL;
  p->renewing = false;
  if (!ext_program_refill(p, s->model)) { ext_set_free(p, s); return; }
  p->generation++;
  ext_frames_free(p);
  ext_set *old[EXT_SETS];
  int n = p->nsets;
  memcpy(old, p->sets, (size_t)n * sizeof *old);
  p->sets[0] = s;
  p->nsets = 1;
  p->current = 0;
  for (int i = 0; i < n; i++) ext_set_free(p, old[i]);
}

void ext_set_calm(ext_program *p, ext_set *s) {
  for (int i = 0; s->streaks && i < p->nin; i++) s->seen[i].streak = 0;
  s->streaks = 0;
}
void ext_set_remember(ext_program *p, ext_set *s, ext_frame *f, PyObject *const *args, bool good) {
  int most = 0;
  for (int i = 0; i < p->nin; i++) {
    ext_seen *e = &s->seen[i];
    if (!(f->changed[i / 64] >> (i % 64) & 1)) { e->streak = 0; continue; }
    if (!good) { e->seen = false; continue; } /* its folded state may be of either */
    PyObject *arg = args[p->in[i].arg], *alias = PyObject_CallMethod(arg, "detach", NULL), *owner = PyWeakref_NewRef(arg, NULL);
    PyErr_Clear();
    PyObject *old_alias = e->alias, *old_owner = e->owner;
    e->streak = e->seen ? e->streak + 1 : 0;
    if (e->streak > most) most = e->streak;
    e->seen = alias != NULL;
    e->data = f->data[i]; e->version = f->versions[i];
    e->alias = alias; e->owner = owner;
    Py_XDECREF(old_alias);
    Py_XDECREF(old_owner);
  }
  s->ran |= good;
  s->streaks = most;
}
