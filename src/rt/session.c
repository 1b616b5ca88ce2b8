/* session.c: the running half of the public API: contexts, what models tell of themselves, sessions and their buffers. */
#include "rt/model.h"
#include "rt/pool.h"
#include "rt/strided.h"

#define SAME(name) _Static_assert((int)TUYERE_##name == (int)TY_##name, #name);
SAME(OK) SAME(INVALID) SAME(UNSUPPORTED) SAME(NOMEM) SAME(IO) SAME(COMPILER) SAME(INTERNAL)
#undef SAME
#define SAME(name, public) _Static_assert((int)TUYERE_##public == (int)TY_##name, #name);
SAME(bool, BOOL) SAME(u8, U8) SAME(i8, I8) SAME(i16, I16) SAME(i32, I32) SAME(i64, I64) SAME(f16, F16) SAME(bf16, BF16) SAME(f32, F32) SAME(f64, F64)
#undef SAME
_Static_assert((int)TUYERE_MAX_RANK == (int)TY_MAX_RANK, "ranks");

/* ---- the library ---- */
const char *tuyere_version(void) { return TUYERE_VERSION; }
const char *tuyere_status_name(tuyere_status s) { return ty_status_name((ty_status)s); }
const char *tuyere_dtype_name(tuyere_dtype d) { return (unsigned)d < TY_NDTYPE ? ty_dtypes[d].torch : "?"; }
size_t tuyere_dtype_size(tuyere_dtype d) { return (unsigned)d < TY_NDTYPE ? (size_t)ty_dtypes[d].bytes : 0; }
tuyere_status tuyere_set_allocator(tuyere_realloc_fn fn, void *user) { return ty_set_allocator(fn, user) ? TUYERE_OK : TUYERE_INVALID; }
void tuyere_set_threads(int n) { ty_pool_set_threads(n); }
void tuyere_free(void *p) { ty_free(p); }

tuyere_context *tuyere_context_create(tuyere_log_fn log, void *user) {
  ty_ctx *c = ty_ctx_create();
  if (c) ty_ctx_set_log(c, log, user);
  return (tuyere_context *)c;
}
void tuyere_context_destroy(tuyere_context *c) { ty_ctx_destroy(ty_ctx_of(c)); }
const char *tuyere_error(const tuyere_context *c) { return ty_ctx_error((const ty_ctx *)c); }

/* ---- models ---- */
tuyere_model *ty_model_new(const ty_model_owner *owner, void *self) {
  tuyere_model *m = ty_alloc(sizeof *m);
  if (!m) return NULL;
  atomic_init(&m->refs, 1);
  m->owner = owner, m->self = self;
  return m;
}

tuyere_model *ty_model_hold(tuyere_model *m) {
  atomic_fetch_add(&m->refs, 1);
  return m;
}

void tuyere_model_destroy(tuyere_model *m) {
  if (!m || atomic_fetch_sub(&m->refs, 1) != 1) return;
  m->owner->destroy(m->self);
  ty_arena_free(&m->face.mem);
  ty_free(m->inputs);
  ty_free(m);
}

int tuyere_model_num_inputs(const tuyere_model *m) { return m->face.ninputs; }
int tuyere_model_num_outputs(const tuyere_model *m) { return m->face.noutputs; }

static tuyere_status look(const ty_face_leaf *l, int n, int i, tuyere_info *out) {
  if (i < 0 || i >= n) return *out = (tuyere_info){0}, TUYERE_INVALID;
  *out = l[i].info;
  return TUYERE_OK;
}
tuyere_status tuyere_model_input(const tuyere_model *m, int i, tuyere_info *out) { return look(m->face.inputs, m->face.ninputs, i, out); }
tuyere_status tuyere_model_output(const tuyere_model *m, int i, tuyere_info *out) { return look(m->face.outputs, m->face.noutputs, i, out); }

char *tuyere_model_explain(const tuyere_model *m) {
  char *s = m->owner->explain ? m->owner->explain(m->self) : ty_alloc(3);
  if (s && !m->owner->explain) memcpy(s, "{}", 3);
  return s;
}

void tuyere_model_profile(tuyere_model *m, bool on) {
  if (m->program) ty_program_profile(m->program, on);
}
int tuyere_model_num_steps(const tuyere_model *m) { return m->program ? ty_program_nsteps(m->program) : 0; }
tuyere_status tuyere_model_step(const tuyere_model *m, int i, tuyere_step *out) {
  *out = (tuyere_step){.name = "", .kernel = ""};
  if (i < 0 || i >= tuyere_model_num_steps(m)) return TUYERE_INVALID;
  ty_step_stat s;
  ty_program_stat(m->program, i, &s);
  *out = (tuyere_step){.name = s.name, .kernel = s.kernel, .calls = s.calls, .seconds = s.seconds, .flops = s.flops, .bytes = s.bytes, .origin = s.origin};
  return TUYERE_OK;
}

/* ---- sessions ---- */
typedef struct buffer {      /* one input or output */
  tuyere_tensor t;           /* as it is bound, strides filled in; data NULL: not yet */
  bool callers;              /* data is the caller's */
  bool copied;               /* the program sees `mem` instead */
  char *mem;                 /* 64-byte aligned, inside raw */
  void *raw;
  size_t cap;
} buffer;

struct tuyere_session {
  ty_ctx *ctx;
  tuyere_model *model;
  buffer *in, *out, *next;   /* by the face's inputs, outputs, states: what a state will be */
  char **state;              /* by the face's states: what it is now */
  int64_t *syms;
  void **inputs, **outputs;  /* as the program takes them */
  bool planned, copies, ran, numbers; /* planned: symbols, shapes and tables fit what is bound */
  tuyere_step_fn on_step;
  void *on_step_user;
  ty_arena mem;
};

static bool room(buffer *b, size_t bytes) {
  if (b->cap >= bytes && b->mem) return true;
  ty_free(b->raw);
  b->mem = NULL, b->cap = 0;
  b->raw = bytes < SIZE_MAX / 2 ? ty_alloc(bytes + 64) : NULL;
  if (!b->raw) return false;
  b->mem = (char *)b->raw + (-(uintptr_t)b->raw & 63);
  b->cap = bytes;
  return true;
}

tuyere_status tuyere_session_create(tuyere_context *c, tuyere_model *m, tuyere_session **out) {
  ty_ctx *ctx = ty_ctx_of(c);
  *out = NULL;
  if (!m->program) return (tuyere_status)ty_fail(ctx, TY_INVALID, "an archive cannot run: compile it first (tuyere_model_compile)");
  const ty_face *f = &m->face;
  tuyere_session *s = ty_alloc(sizeof *s);
  if (!s) return (tuyere_status)ty_fail(ctx, TY_NOMEM, "out of memory for a session");
  s->ctx = ctx;
  s->in = ty_arena_alloc(&s->mem, (size_t)f->ninputs * sizeof *s->in);
  s->out = ty_arena_alloc(&s->mem, (size_t)f->noutputs * sizeof *s->out);
  s->next = ty_arena_alloc(&s->mem, (size_t)f->nstates * sizeof *s->next);
  s->state = ty_arena_alloc(&s->mem, (size_t)f->nstates * sizeof *s->state);
  s->syms = ty_arena_alloc(&s->mem, (size_t)f->nsyms * sizeof *s->syms);
  s->inputs = ty_arena_alloc(&s->mem, (size_t)f->program_inputs * sizeof *s->inputs);
  s->outputs = ty_arena_alloc(&s->mem, (size_t)f->program_outputs * sizeof *s->outputs);
  bool ok = !s->mem.failed;
  for (int i = 0; ok && m->inputs && i < f->program_inputs; i++) s->inputs[i] = m->inputs[i];
  for (int i = 0; ok && i < f->nstates; i++) {
    s->inputs[f->states[i].input] = s->state[i] = ty_alloc(f->states[i].bytes);
    if (!(ok = s->state[i] != NULL)) break;
    memcpy(s->state[i], f->states[i].like.data, f->states[i].bytes);
  }
  for (int i = 0; i < f->ninputs; i++) s->numbers |= f->inputs[i].index < 0;
  s->model = ty_model_hold(m);
  if (ok) return *out = s, TUYERE_OK;
  tuyere_session_destroy(s);
  return (tuyere_status)ty_fail(ctx, TY_NOMEM, "out of memory for a session");
}

void tuyere_session_destroy(tuyere_session *s) {
  if (!s) return;
  const ty_face *f = &s->model->face;
  for (int i = 0; s->in && i < f->ninputs; i++) ty_free(s->in[i].raw);
  for (int i = 0; s->out && i < f->noutputs; i++) ty_free(s->out[i].raw);
  for (int i = 0; s->next && s->state && i < f->nstates; i++) ty_free(s->next[i].raw), ty_free(s->state[i]);
  tuyere_model_destroy(s->model);
  ty_arena_free(&s->mem);
  ty_free(s);
}

/* Checks a caller's tensor against what a leaf takes; fills in strides. */
static ty_status check_tensor(tuyere_session *s, const char *what, int i, const tuyere_info *info, tuyere_tensor *t) {
  if (t->dtype != info->dtype)
    return ty_fail(s->ctx, TY_INVALID, "%s %d (%s) is %s, and should be %s", what, i, info->name, tuyere_dtype_name(t->dtype), tuyere_dtype_name(info->dtype));
  if (t->rank != info->rank)
    return ty_fail(s->ctx, TY_INVALID, "%s %d (%s) has %d dims, and should have %d", what, i, info->name, t->rank, info->rank);
  bool contiguous = true;
  size_t bytes;
  for (int d = 0; d < t->rank; d++) {
    const tuyere_dim *want = &info->dims[d];
    contiguous = contiguous && t->strides[d] == 0;
    if (t->shape[d] >= want->min && t->shape[d] <= want->max && t->shape[d] >= 0) continue;
    if (want->min == want->max)
      return ty_fail(s->ctx, TY_INVALID, "dim %d of %s %d (%s) is %lld, and should be %lld", d, what, i, info->name, (long long)t->shape[d], (long long)want->min);
    return ty_fail(s->ctx, TY_INVALID, "dim %d of %s %d (%s) is %lld, which is not in %lld to %lld", d, what, i, info->name, (long long)t->shape[d],
                   (long long)want->min, (long long)want->max);
  }
  if (!ty_tensor_bytes(t, &bytes)) return ty_fail(s->ctx, TY_INVALID, "%s %d (%s) is too large", what, i, info->name);
  if (contiguous) ty_tensor_contiguous(t);
  return TY_OK;
}

static ty_status bind_input(tuyere_session *s, int i, const tuyere_tensor *given) {
  const ty_face *f = &s->model->face;
  if (i < 0 || i >= f->ninputs) return ty_fail(s->ctx, TY_INVALID, "there is no input %d: the model has %d", i, f->ninputs);
  const ty_face_leaf *l = &f->inputs[i];
  buffer *b = &s->in[i];
  tuyere_tensor t = *given;
  TY_TRY(check_tensor(s, "input", i, &l->info, &t));
  size_t bytes = 0;
  ty_tensor_bytes(&t, &bytes);
  bool copied = t.data && !ty_tensor_is_contiguous(&t);
  s->ran = false;
  if ((!t.data || copied) && !room(b, bytes)) {
    b->t.data = NULL, s->planned = false;
    return ty_fail(s->ctx, TY_NOMEM, "out of memory: input %d needs %zu bytes", i, bytes);
  }
  if (!b->t.data || l->index < 0 || memcmp(t.shape, b->t.shape, (size_t)t.rank * sizeof *t.shape)) s->planned = false;
  b->callers = t.data != NULL;
  b->copied = copied;
  if (!t.data) t.data = b->mem, ty_tensor_contiguous(&t);
  s->copies |= copied;
  b->t = t;
  if (l->index >= 0) s->inputs[l->index] = copied ? b->mem : t.data;
  return TY_OK;
}
tuyere_status tuyere_session_bind_input(tuyere_session *s, int i, const tuyere_tensor *t) { return (tuyere_status)bind_input(s, i, t); }

static ty_status bind_output(tuyere_session *s, int i, const tuyere_tensor *given) {
  const ty_face *f = &s->model->face;
  if (i < 0 || i >= f->noutputs) return ty_fail(s->ctx, TY_INVALID, "there is no output %d: the model has %d", i, f->noutputs);
  buffer *b = &s->out[i];
  tuyere_tensor t = {0};
  if (given) {
    t = *given;
    TY_TRY(check_tensor(s, "output", i, &f->outputs[i].info, &t));
    if (!t.data) return ty_fail(s->ctx, TY_INVALID, "output %d (%s) is bound to no memory", i, f->outputs[i].info.name);
  }
  const ty_face_leaf *l = &f->outputs[i];
  bool same = s->planned && given && b->callers && !b->copied && l->index >= 0 && s->outputs[l->index] == b->t.data &&
              ty_tensor_is_contiguous(&t) && !memcmp(t.shape, b->t.shape, (size_t)t.rank * sizeof *t.shape);
  if (same) s->outputs[l->index] = t.data; /* other memory, and nothing else */
  b->t = t, b->callers = given != NULL;
  s->planned = same;
  s->ran = false;
  return TY_OK;
}
tuyere_status tuyere_session_bind_output(tuyere_session *s, int i, const tuyere_tensor *t) { return (tuyere_status)bind_output(s, i, t); }

tuyere_status tuyere_session_input(tuyere_session *s, int i, tuyere_tensor *out) {
  *out = (tuyere_tensor){0};
  if (i < 0 || i >= s->model->face.ninputs || !s->in[i].t.data) return (tuyere_status)ty_fail(s->ctx, TY_INVALID, "input %d is not bound", i);
  *out = s->in[i].t;
  return TUYERE_OK;
}

tuyere_status tuyere_session_output(tuyere_session *s, int i, tuyere_tensor *out) {
  *out = (tuyere_tensor){0};
  if (i < 0 || i >= s->model->face.noutputs) return (tuyere_status)ty_fail(s->ctx, TY_INVALID, "there is no output %d: the model has %d", i, s->model->face.noutputs);
  if (!s->ran) return (tuyere_status)ty_fail(s->ctx, TY_INVALID, "output %d has no value: nothing was run since inputs or outputs were bound", i);
  *out = s->out[i].t;
  return TUYERE_OK;
}

/* An output's shape for the symbols, and the memory that it goes to. */
static ty_status plan_output(tuyere_session *s, int i) {
  const ty_face_leaf *l = &s->model->face.outputs[i];
  buffer *b = &s->out[i];
  tuyere_tensor t = {.dtype = l->info.dtype, .rank = l->info.rank};
  for (int d = 0; d < t.rank; d++) {
    if (!ty_program_eval(s->model->program, l->dims[d], s->syms, &t.shape[d]) || t.shape[d] < 0)
      return ty_fail(s->ctx, TY_INVALID, "dim %d of output %d (%s) has no size", d, i, l->info.name);
    if (b->callers && b->t.shape[d] != t.shape[d])
      return ty_fail(s->ctx, TY_INVALID, "dim %d of output %d (%s) is %lld, and the memory bound has %lld", d, i, l->info.name, (long long)t.shape[d], (long long)b->t.shape[d]);
  }
  size_t bytes;
  if (!ty_tensor_bytes(&t, &bytes)) return ty_fail(s->ctx, TY_INVALID, "output %d (%s) is too large", i, l->info.name);
  bool shared = l->index >= 0 && s->outputs[l->index]; /* the same tensor twice in the result */
  b->copied = shared || (b->callers && !ty_tensor_is_contiguous(&b->t));
  if ((!b->callers || (b->copied && !shared)) && !room(b, bytes)) return ty_fail(s->ctx, TY_NOMEM, "out of memory: output %d needs %zu bytes", i, bytes);
  s->copies |= b->copied || l->index < 0;
  if (!b->callers) t.data = b->mem, ty_tensor_contiguous(&t), b->t = t;
  if (l->index >= 0 && !shared) s->outputs[l->index] = b->copied ? b->mem : b->t.data;
  return TY_OK;
}

static ty_status plan(tuyere_session *s) {
  const ty_face *f = &s->model->face;
  tuyere_tensor few[16], *in = f->ninputs > 16 ? ty_alloc((size_t)f->ninputs * sizeof *in) : few;
  if (!in) return ty_fail(s->ctx, TY_NOMEM, "out of memory for a run");
  ty_status st = TY_OK;
  s->copies = f->nstates > 0;
  for (int i = 0; i < f->ninputs && !st; i++) {
    in[i] = s->in[i].t;
    s->copies |= s->in[i].copied;
    if (!in[i].data) st = ty_fail(s->ctx, TY_INVALID, "input %d (%s) is not bound", i, f->inputs[i].info.name);
  }
  if (!st) st = ty_face_solve(s->ctx, f, s->model->program, in, s->syms);
  if (in != few) ty_free(in);
  for (int i = 0; i < f->program_outputs; i++) s->outputs[i] = NULL;
  for (int i = 0; i < f->noutputs && !st; i++) st = plan_output(s, i);
  for (int i = 0; i < f->nstates && !st; i++) {
    void **at = &s->outputs[f->states[i].output];
    if (*at) continue;
    if (!room(&s->next[i], f->states[i].bytes)) return ty_fail(s->ctx, TY_NOMEM, "out of memory for the model's state");
    *at = s->next[i].mem;
  }
  s->planned = !st;
  return st;
}

static void numbers(tuyere_session *s, const ty_face_leaf *l, void *to) {
  int64_t v = 0;
  if (l->number < 0) {
    if (l->info.dtype == TUYERE_F64) memcpy(to, &l->value, 8);
    else if (l->info.dtype == TUYERE_BOOL) *(uint8_t *)to = l->value != 0;
    else v = (int64_t)l->value, memcpy(to, &v, 8);
  } else ty_program_eval(s->model->program, l->number, s->syms, &v), memcpy(to, &v, 8);
}

static void copies_after(tuyere_session *s) {
  const ty_face *f = &s->model->face;
  for (int i = 0; i < f->noutputs; i++) {
    buffer *b = &s->out[i];
    if (f->outputs[i].index < 0) numbers(s, &f->outputs[i], b->t.data);
    else if (b->copied) {
      tuyere_tensor from = b->t;
      from.data = s->outputs[f->outputs[i].index];
      ty_tensor_contiguous(&from);
      ty_tensor_copy(&b->t, &from);
    }
  }
  for (int i = 0; i < f->nstates; i++) {
    tuyere_tensor to = f->states[i].like, from = to;
    to.data = s->state[i], from.data = s->outputs[f->states[i].output];
    ty_tensor_contiguous(&from);
    ty_tensor_copy(&to, &from);
  }
}

static ty_status run(tuyere_session *s) {
  const ty_face *f = &s->model->face;
  s->ran = false;
  if (!s->planned || s->numbers) TY_TRY(plan(s)); /* a number's memory may hold another one now */
  for (int i = 0; s->copies && i < f->ninputs; i++) {
    tuyere_tensor to = s->in[i].t;
    if (!s->in[i].copied) continue;
    to.data = s->in[i].mem;
    ty_tensor_contiguous(&to);
    ty_tensor_copy(&to, &s->in[i].t);
  }
  ty_run r = {.syms = s->syms, .inputs = s->inputs, .outputs = s->outputs, .on_step = s->on_step, .on_step_user = s->on_step_user};
  TY_TRY(ty_program_run(s->model->program, s->ctx, &r));
  if (s->copies) copies_after(s);
  s->ran = true;
  return TY_OK;
}
tuyere_status tuyere_session_run(tuyere_session *s) { return (tuyere_status)run(s); }

void tuyere_session_on_step(tuyere_session *s, tuyere_step_fn fn, void *user) { s->on_step = fn, s->on_step_user = user; }
