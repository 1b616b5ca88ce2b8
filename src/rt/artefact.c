/* artefact.c: loads deployed models: dlopen, weights mapped shared and read-only, the program read; the typed entry points. */
#define _GNU_SOURCE 1
#include "rt/artefact.h"
#include "rt/pool.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct deployed {
  void *handle;
  char *map;
  size_t mapped;
  ty_program *program;
} deployed;

static void deployed_destroy(void *self) {
  deployed *d = self;
  ty_program_destroy(d->program);
  if (d->map) munmap(d->map, d->mapped);
  if (d->handle) dlclose(d->handle);
  ty_free(d);
}
static const ty_model_owner owner = {deployed_destroy, NULL};

static ty_status map_weights(ty_ctx *ctx, const ty_artefact *a, const char *path, deployed *d) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ty_fail(ctx, TY_IO, "%s: %s", path, strerror(errno));
  struct stat st;
  ty_status r = TY_OK;
  if (fstat(fd, &st) || !S_ISREG(st.st_mode)) r = ty_fail(ctx, TY_IO, "%s: not a file", path);
  else if (st.st_size < TY_WEIGHTS_PAGE) r = ty_fail(ctx, TY_INVALID, "%s: not a file of weights", path);
  if (!r) {
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) r = ty_fail(ctx, TY_IO, "%s: %s", path, strerror(errno));
    else d->map = p, d->mapped = (size_t)st.st_size;
  }
  close(fd);
  TY_TRY(r);
  ty_weights_head h;
  memcpy(&h, d->map, sizeof h);
  if (memcmp(h.magic, "TYWEIGHT", 8) || h.format != TY_SAVE_FORMAT || h.page != TY_WEIGHTS_PAGE)
    return ty_fail(ctx, TY_INVALID, "%s: not a file of weights of this version", path);
  if (memcmp(h.id, a->id, sizeof h.id)) return ty_fail(ctx, TY_INVALID, "%s: weights of another model, or of another compilation of %s", path, a->name);
  if (d->mapped - TY_WEIGHTS_PAGE < a->weights_bytes)
    return ty_fail(ctx, TY_INVALID, "%s: %zu bytes, which is too short for the weights of %s (%llu)", path, d->mapped, a->name,
                   (unsigned long long)a->weights_bytes + TY_WEIGHTS_PAGE);
  return TY_OK;
}

static ty_status load(ty_ctx *ctx, const ty_artefact *a, const char *weights, deployed *d, tuyere_model *m) {
  if (memcmp(a->magic, "TYMODEL", 8) || a->format != TY_SAVE_FORMAT)
    return ty_fail(ctx, TY_UNSUPPORTED, "made by another version of tuyere (format %d, this is %d): use its own entry points, or compile it again", a->format,
                   TY_SAVE_FORMAT);
  const ty_artefact_level *level = NULL;
  for (int i = 0; i < a->nlevels; i++)
    if (a->levels[i].isa >= 0 && a->levels[i].isa < TY_NISA && ty_cpu_runs((ty_isa)a->levels[i].isa)) level = &a->levels[i];
  if (!level) return ty_fail(ctx, TY_UNSUPPORTED, "%s has no code for this CPU (%s)", a->name, ty_cpu_get()->isa_name);
  TY_TRY(map_weights(ctx, a, weights, d));
  ty_reader r = {a->program, a->program, a->program + a->program_bytes, false};
  TY_TRY(ty_program_load(ctx, &r, (ty_isa)level->isa, d->map + TY_WEIGHTS_PAGE, (size_t)a->weights_bytes, a->nloops, level->fns, &d->program));
  TY_TRY(ty_face_get(ctx, &r, d->program, d->map + TY_WEIGHTS_PAGE, (size_t)a->weights_bytes, &m->face));
  m->program = d->program;
  return TY_OK;
}

ty_status ty_artefact_load(ty_ctx *ctx, const ty_artefact *a, const char *weights, void *handle, tuyere_model **out) {
  *out = NULL;
  deployed *d = ty_alloc(sizeof *d);
  tuyere_model *m = d ? ty_model_new(&owner, d) : NULL;
  if (!m) {
    ty_free(d);
    if (handle) dlclose(handle);
    return ty_fail(ctx, TY_NOMEM, "out of memory for a model");
  }
  d->handle = handle;
  ty_status st = load(ctx, a, weights, d, m);
  if (st) tuyere_model_destroy(m);
  else *out = m;
  return st;
}

/* DIR/model.so -> DIR/model.weights */
static bool beside(const char *so, char *out, size_t size) {
  size_t n = strlen(so);
  if (n > 3 && !strcmp(so + n - 3, ".so")) n -= 3;
  return (size_t)snprintf(out, size, "%.*s.weights", (int)n, so) < size;
}

ty_status ty_artefact_open(ty_ctx *ctx, const char *path, tuyere_model **out) {
  char weights[4096], file[4096];
  *out = NULL;
  bool fits = snprintf(file, sizeof file, "%s%s", strchr(path, '/') ? "" : "./", path) < (int)sizeof file && beside(file, weights, sizeof weights);
  if (!fits) return ty_fail(ctx, TY_INVALID, "the path is too long");
  void *h = dlopen(file, RTLD_NOW | RTLD_LOCAL); /* with a slash: no search */
  if (!h) return ty_fail(ctx, TY_IO, "%s", dlerror());
  const ty_artefact *a = dlsym(h, "tuyere_artefact");
  if (!a) {
    dlclose(h);
    return ty_fail(ctx, TY_INVALID, "%s: a shared object, but no deployed model", path);
  }
  return ty_artefact_load(ctx, a, weights, h, out);
}

/* ---- typed entry points: one model a home, one session a caller ---- */
typedef struct entry { tuyere_context *ctx; tuyere_model *model; tuyere_session *session; } entry;

static pthread_mutex_t home_lock = PTHREAD_MUTEX_INITIALIZER;

static ty_status home_take(ty_ctx *ctx, const ty_artefact *a, ty_entry_home *home, const char *weights, tuyere_model **out) {
  char path[4096];
  if (!weights) {
    Dl_info info;
    if (!dladdr(a, &info) || !info.dli_fname || !beside(info.dli_fname, path, sizeof path))
      return ty_fail(ctx, TY_IO, "it is not known where the shared object lies: give the path of its weights");
    weights = path;
  }
  ty_status st = TY_OK;
  pthread_mutex_lock(&home_lock);
  tuyere_model *m = home->model;
  if (!m) st = ty_artefact_load(ctx, a, weights, NULL, &m);
  if (!st) home->model = m, home->sessions++, *out = m;
  pthread_mutex_unlock(&home_lock);
  return st;
}

static void home_put(ty_entry_home *home) {
  pthread_mutex_lock(&home_lock);
  tuyere_model *m = home->model;
  if (--home->sessions == 0) home->model = NULL, tuyere_model_destroy(m);
  pthread_mutex_unlock(&home_lock);
}

int ty_entry_create(const ty_artefact *a, ty_entry_home *home, const char *weights, void **out, char *error, ty_u64 size) {
  *out = NULL;
  entry *e = ty_alloc(sizeof *e);
  ty_ctx *ctx = e ? ty_ctx_create() : NULL;
  ty_status st = ctx ? home_take(ctx, a, home, weights, &e->model) : TY_NOMEM;
  if (!st) {
    e->ctx = (tuyere_context *)ctx;
    st = (ty_status)tuyere_session_create(e->ctx, e->model, &e->session);
    if (st) home_put(home);
  }
  if (st && error && size) snprintf(error, (size_t)size, "%s", ctx ? ty_ctx_error(ctx) : "out of memory");
  if (st) {
    ty_ctx_destroy(ctx);
    ty_free(e);
  } else *out = e;
  return (int)st;
}

void ty_entry_destroy(ty_entry_home *home, void *self) {
  entry *e = self;
  if (!e) return;
  tuyere_session_destroy(e->session);
  tuyere_context_destroy(e->ctx);
  home_put(home);
  ty_free(e);
}

/* ---- the same for loaders that know nothing of this version ---- */
static tuyere_status entry_load(tuyere_context *c, const ty_artefact *a, const char *weights, tuyere_model **out) {
  return (tuyere_status)ty_artefact_load(ty_ctx_of(c), a, weights, NULL, out);
}

#define CALL(f) (void *)(uintptr_t)f
void *const ty_entry_calls[TY_ENTRY_CALLS] = {
  CALL(tuyere_context_create), CALL(tuyere_context_destroy), CALL(tuyere_error), CALL(entry_load), CALL(tuyere_model_destroy),
  CALL(tuyere_model_num_inputs), CALL(tuyere_model_num_outputs), CALL(tuyere_model_input), CALL(tuyere_model_output),
  CALL(tuyere_session_create), CALL(tuyere_session_destroy), CALL(tuyere_session_bind_input), CALL(tuyere_session_bind_output),
  CALL(tuyere_session_run), CALL(tuyere_session_output), CALL(tuyere_set_threads), CALL(tuyere_model_profile),
  CALL(tuyere_model_num_steps), CALL(tuyere_model_step),
};

static tuyere_status entry_tensor(entry *e, const ty_face_leaf *l, const ty_i64 *syms, const void *data, tuyere_tensor *t) {
  *t = (tuyere_tensor){.data = (void *)(uintptr_t)data, .dtype = l->info.dtype, .rank = l->info.rank};
  for (int d = 0; d < t->rank; d++)
    if (!ty_program_eval(e->model->program, l->dims[d], (const int64_t *)syms, &t->shape[d])) return TUYERE_INVALID;
  return TUYERE_OK;
}

int ty_entry_run(void *self, const ty_i64 *syms, const void *const *inputs, void *const *outputs) {
  entry *e = self;
  const ty_face *f = &e->model->face;
  ty_ctx *ctx = ty_ctx_of(e->ctx);
  tuyere_status st = (tuyere_status)ty_face_check(ctx, f, e->model->program, (const int64_t *)syms);
  tuyere_tensor t;
  for (int i = 0; i < f->ninputs && !st; i++) {
    if (!inputs[i]) return (int)ty_fail(ctx, TY_INVALID, "%s is NULL", f->inputs[i].info.name);
    st = entry_tensor(e, &f->inputs[i], syms, inputs[i], &t);
    if (!st) st = tuyere_session_bind_input(e->session, i, &t);
  }
  for (int i = 0; i < f->noutputs && !st; i++) {
    if (!outputs[i]) return (int)ty_fail(ctx, TY_INVALID, "%s is NULL", f->outputs[i].info.name);
    st = entry_tensor(e, &f->outputs[i], syms, outputs[i], &t);
    if (!st) st = tuyere_session_bind_output(e->session, i, &t);
  }
  return (int)(st ? st : tuyere_session_run(e->session));
}

const char *ty_entry_error(const void *self) { return tuyere_error(((const entry *)self)->ctx); }
void ty_entry_threads(int n) { ty_pool_set_threads(n); }
