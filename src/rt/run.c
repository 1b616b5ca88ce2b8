/* run.c: one run: takes a binding and a slot, resolves pointers, runs the steps on the pool's threads, reports faults. */
#include "rt/pool.h"
#include "rt/program_int.h"

/* ---- slots ---- */
rt_slot *ty_rt_slot_create(const ty_program *p) {
  rt_slot *s = ty_alloc(sizeof *s);
  if (!s) return NULL;
  s->ptr = ty_alloc((size_t)p->ref.n * sizeof *s->ptr);
  s->seconds = ty_alloc((size_t)p->step.n * sizeof *s->seconds);
  if (s->ptr && s->seconds) return s;
  ty_rt_slot_destroy(s);
  return NULL;
}

void ty_rt_slot_destroy(rt_slot *s) {
  if (!s) return;
  ty_pages_free(s->mem, s->cap);
  ty_free(s->ptr);
  ty_free(s->seconds);
  ty_free(s);
}

/* Memory for the binding's arena and nt threads' scratch. */
static ty_status slot_room(const ty_program *p, rt_slot *s, ty_ctx *ctx, const rt_bind *b, int nt) {
  size_t at = rt_up(b->arena, RT_ALIGN), need = 0;
  s->stride = rt_up(b->scratch, 2 * RT_ALIGN);
  if (!ty_mul(s->stride, (size_t)nt, &need) || __builtin_add_overflow(need, at + RT_ALIGN, &need) || need > PTRDIFF_MAX)
    return ty_fail(ctx, TY_INVALID, "the sizes need more memory than there can be");
  if (need > s->cap) {
    ty_pages_free(s->mem, s->cap);
    s->cap = 0, s->bind_id = 0;
    s->mem = ty_rt_pages(p, need);
    if (!s->mem) return ty_fail(ctx, TY_NOMEM, "out of memory: a run needs %zu bytes", need);
    s->cap = need;
  }
  s->scratch = s->mem + at;
  return TY_OK;
}

static void *buffer_base(const ty_program *p, const rt_bind *b, const rt_slot *s, ty_pbuf i) {
  if (i < 0) return NULL;
  const rt_buf *buf = &p->buf.p[i];
  switch (buf->kind) {
  case TY_PB_ARENA: return s->mem + b->off[i];
  case TY_PB_STATE: return p->state + buf->state_off;
  case TY_PB_LITERAL: return buf->literal;
  default: return NULL; /* the caller's: set at each run */
  }
}

static ty_status resolve(const ty_program *p, ty_ctx *ctx, const ty_run *run, rt_phase phase, const rt_bind *b, rt_slot *s, const bool *chosen) {
  const rt_part *part = &p->part[phase];
  if (s->bind_id != b->id || s->state_id != p->state_id) {
    for (int i = 0; i < part->order.n; i++) {
      const rt_step *st = &p->step.p[part->order.p[i]];
      for (int r = st->ref0; r < st->ref0 + st->nrefs; r++) s->ptr[r] = buffer_base(p, b, s, p->ref.p[r].buf);
    }
    s->bind_id = b->id, s->state_id = p->state_id;
  }
  for (int i = 0; i < part->io.n; i++) {
    rt_io io = part->io.p[i];
    const rt_buf *buf = &p->buf.p[io.buf];
    bool in = buf->kind == TY_PB_INPUT;
    void *const *table = in ? run->inputs : run->outputs;
    void *at = table ? table[buf->index] : NULL;
    if (!at && b->bytes[io.buf] == 0) at = s->mem;
    /* A parameter that was let go after folding is not missed by folds that need others only: see refs_missing. */
    if (!at && !chosen) return ty_fail(ctx, TY_INVALID, "%s %d ('%s') is NULL", in ? "input" : "output", buf->index, buf->name);
    s->ptr[io.ref] = at;
  }
  return TY_OK;
}

static ty_status refs_missing(const ty_program *p, ty_ctx *ctx, const rt_bind *b, const rt_slot *s, const bool *chosen) {
  for (int i = 0; i < b->nbound; i++) {
    const rt_step *st = b->bound[i].step;
    if (!chosen[st->group] || b->bound[i].skip) continue;
    for (int r = st->ref0; r < st->ref0 + st->nrefs; r++)
      if (p->ref.p[r].buf >= 0 && !s->ptr[r])
        return ty_fail(ctx, TY_INVALID, "input %d ('%s') is NULL, and is needed to fold '%s' again", p->buf.p[p->ref.p[r].buf].index,
                       p->buf.p[p->ref.p[r].buf].name, st->name);
  }
  return TY_OK;
}

/* ---- steps ---- */
typedef struct exec {
  const ty_kernels *kernels;
  const rt_bind *bind;
  rt_slot *slot;
  const bool *chosen;
  const ty_program *program;
  bool profile, alone;       /* alone: no step runs beside another, so that each has its own time */
  void (*on_step)(void *user, int step, bool begin);
  void *on_step_user;
  _Atomic int fault;         /* the first step that faulted; nbound: none */
} exec;

static void fault_note(exec *x, int step) {
  int seen = atomic_load(&x->fault);
  while (step < seen && !atomic_compare_exchange_weak(&x->fault, &seen, step)) {}
}

static void tell(const exec *x, const rt_bound *b, bool begin) {
  x->on_step(x->on_step_user, (int)(b->step - x->program->step.p), begin);
}

static void run_steps(void *ctx, int tid, int nt) {
  exec *x = ctx;
  const rt_bind *bind = x->bind;
  const rt_bound *b = bind->bound, *end = b + bind->nbound;
  void *scratch = x->slot->scratch + (size_t)tid * x->slot->stride;
  ty_i32 fault = 0;
  double before = x->profile && !tid ? ty_now() : 0, fed = 0;
  for (; b < end; b++) {
    if (b->barrier && nt > 1 && !x->alone) ty_pool_barrier(tid, nt);
    bool runs = !b->skip && !b->fed && (!x->chosen || x->chosen[b->step->group]), told = runs && x->on_step && !tid;
    if (told) tell(x, b, true);
    if (runs && tid < b->threads) {
      int share = b->threads < nt ? b->threads : nt;
      if (b->chained) ty_rt_chain_do(x->kernels, b, x->slot->ptr, scratch, tid, share, &fault, x->profile && !tid ? &fed : NULL);
      else ty_rt_step_do(x->kernels, b, x->slot->ptr, scratch, tid, share, &fault);
      if (fault) fault_note(x, (int)(b - bind->bound)), fault = 0;
    }
    if (!x->alone) continue;
    if (nt > 1) ty_pool_barrier(tid, nt);
    if (told) tell(x, b, false);
    if (x->profile && !tid) {
      double now = ty_now();
      x->slot->seconds[b - bind->bound] = b->fed ? fed : now - before - (b->chained ? fed : 0);
      if (!b->chained) fed = 0;
      before = now;
    }
  }
}

static void profile_add(ty_program *p, const exec *x) {
  pthread_mutex_lock(&p->prof_lock);
  for (int i = 0; i < x->bind->nbound; i++) {
    const rt_bound *b = &x->bind->bound[i];
    if (x->chosen && !x->chosen[b->step->group]) continue;
    rt_step *s = &p->step.p[b->step - p->step.p];
    s->calls++;
    s->seconds += x->slot->seconds[i];
    s->sum_flops += b->flops;
    s->sum_bytes += b->bytes;
  }
  pthread_mutex_unlock(&p->prof_lock);
}

ty_status ty_rt_phase_run(ty_program *p, ty_ctx *ctx, const ty_run *run, rt_phase phase, const rt_bind *b, rt_slot *s, const bool *chosen) {
  int nt = 1;
  if (b->wanted > 1) nt = ty_pool_threads();
  if (nt > b->wanted) nt = b->wanted;
  if (p->tuning.threads > 0 && nt > p->tuning.threads) nt = p->tuning.threads;
  TY_TRY(slot_room(p, s, ctx, b, nt));
  TY_TRY(resolve(p, ctx, run, phase, b, s, chosen));
  if (chosen) TY_TRY(refs_missing(p, ctx, b, s, chosen));
  exec x = {.kernels = p->kernels, .bind = b, .slot = s, .chosen = chosen, .program = p, .on_step = run->on_step, .on_step_user = run->on_step_user,
            .profile = atomic_load_explicit(&p->profile, memory_order_relaxed)};
  x.alone = x.profile || x.on_step;
  atomic_init(&x.fault, b->nbound);
  if (nt > 1) ty_pool_run(run_steps, &x, nt);
  else run_steps(&x, 0, 1);
  if (x.profile) profile_add(p, &x);
  int fault = atomic_load(&x.fault);
  if (fault < b->nbound) return ty_fail(ctx, TY_INVALID, "index out of range in %s", b->bound[fault].step->name);
  return TY_OK;
}

/* ---- the call ---- */
static ty_status check_ready(ty_program *p, ty_ctx *ctx) {
  if (!p->finished) return ty_fail(ctx, TY_INTERNAL, "the program is not finished");
  for (int i = 0; i < p->step.n; i++)
    if (p->step.p[i].has_loop && !atomic_load(&p->step.p[i].fn)) return ty_fail(ctx, TY_INTERNAL, "step '%s' has no function yet", p->step.p[i].name);
  atomic_store(&p->ready, true);
  return TY_OK;
}

static ty_status run_bound(ty_program *p, ty_ctx *ctx, const ty_run *run) {
  rt_bind *b;
  rt_slot *s;
  TY_TRY(ty_rt_bind_get(p, ctx, run->syms, &b, &s));
  ty_status st = TY_OK;
  if (!s && !(s = ty_rt_slot_create(p))) st = ty_fail(ctx, TY_NOMEM, "out of memory for a run");
  if (st == TY_OK) st = ty_rt_phase_run(p, ctx, run, RT_RUN, b, s, NULL);
  ty_rt_bind_put(p, b, s);
  return st;
}

ty_status ty_program_run(ty_program *p, ty_ctx *ctx, const ty_run *run) {
  if (!atomic_load_explicit(&p->ready, memory_order_acquire)) TY_TRY(check_ready(p, ctx));
  if (p->sym.n && !run->syms) return ty_fail(ctx, TY_INVALID, "the program has %d symbols and got no values", p->sym.n);
  if (!p->part[RT_FOLD].order.n) return run_bound(p, ctx, run);
  pthread_rwlock_rdlock(&p->fold_lock);
  if (ty_rt_fold_wanted(p, run)) {
    pthread_rwlock_unlock(&p->fold_lock);
    pthread_rwlock_wrlock(&p->fold_lock);
    if (ty_rt_fold_wanted(p, run)) { /* another thread may have folded meanwhile, but not what is new with this call */
      ty_status st = ty_rt_fold(p, ctx, run);
      if (st != TY_OK) return pthread_rwlock_unlock(&p->fold_lock), st;
    }
  }
  ty_status st = run_bound(p, ctx, run);
  pthread_rwlock_unlock(&p->fold_lock);
  return st;
}
