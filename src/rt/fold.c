/* fold.c: the folded part: which steps depend on which parameters, and running those again whose parameters changed. */
#include "rt/program_int.h"
#include "rt/save.h"

#include <string.h>

static void set_or(uint64_t *to, const uint64_t *from, int words) {
  for (int i = 0; i < words; i++) to[i] |= from[i];
}
static bool sets_meet(const uint64_t *a, const uint64_t *b, int words) {
  for (int i = 0; i < words; i++)
    if (a[i] & b[i]) return true;
  return false;
}

/* Union-find by step number. */
static int root(int *up, int i) {
  while (up[i] != i) i = up[i] = up[up[i]];
  return i;
}

/* Steps that share a buffer which does not outlive folding, or which several of them write, run again together: one alone
 * would find what it reads gone, or changed by a later one. */
static bool group_steps(ty_program *p, int *up) {
  int *writers = ty_alloc((size_t)p->buf.n * sizeof *writers), *first = ty_alloc((size_t)p->buf.n * sizeof *first);
  const rt_part *part = &p->part[RT_FOLD];
  bool ok = writers && first;
  for (int pass = 0; ok && pass < 2; pass++)
    for (int i = 0; i < part->order.n; i++) {
      const rt_step *s = &p->step.p[part->order.p[i]];
      for (int r = s->ref0; r < s->ref0 + s->nrefs; r++) {
        rt_ref ref = p->ref.p[r];
        if (ref.buf < 0) continue;
        ty_pbuf_kind kind = p->buf.p[ref.buf].kind;
        if (pass == 0) writers[ref.buf] += ref.write;
        else if (kind == TY_PB_ARENA || (kind == TY_PB_STATE && writers[ref.buf] > 1)) {
          if (first[ref.buf]) up[root(up, i)] = root(up, first[ref.buf] - 1);
          else first[ref.buf] = i + 1;
        }
      }
    }
  ty_free(writers);
  ty_free(first);
  return ok;
}

/* deps: by buffer, the inputs that its bytes depend on. Grows to a fixed point, because groups tie later steps to earlier. */
static void spread_deps(ty_program *p, uint64_t *deps) {
  const rt_part *part = &p->part[RT_FOLD];
  int w = p->words;
  for (bool again = true; again;) {
    again = false;
    for (int i = 0; i < part->order.n; i++) {
      const rt_step *s = &p->step.p[part->order.p[i]];
      uint64_t *g = p->group_deps + (size_t)s->group * (size_t)w;
      for (int r = s->ref0; r < s->ref0 + s->nrefs; r++) {
        ty_pbuf b = p->ref.p[r].buf;
        if (b < 0) continue;
        uint64_t *d = deps + (size_t)b * (size_t)w;
        if (!p->ref.p[r].write) set_or(g, d, w);
      }
      for (int r = s->ref0; r < s->ref0 + s->nrefs; r++) {
        ty_pbuf b = p->ref.p[r].buf;
        if (b < 0 || !p->ref.p[r].write) continue;
        uint64_t *d = deps + (size_t)b * (size_t)w;
        for (int k = 0; k < w; k++) again |= (g[k] & ~d[k]) != 0;
        set_or(d, g, w);
      }
    }
  }
}

/* What is folded outlives all runs, so nothing of it may depend on their sizes. */
static ty_status check_sizes(ty_program *p, ty_ctx *ctx) {
  for (int i = 0; i < p->part[RT_FOLD].order.n; i++) {
    const rt_step *s = &p->step.p[p->part[RT_FOLD].order.p[i]];
    for (int r = s->ref0; r < s->ref0 + s->nrefs; r++) {
      ty_pbuf b = p->ref.p[r].buf;
      if (b >= 0 && p->expr.p[p->buf.p[b].bytes].symbolic)
        return ty_fail(ctx, TY_INTERNAL, "folded step '%s' touches buffer %d '%s', whose size depends on a symbol", s->name, b, p->buf.p[b].name);
    }
  }
  return TY_OK;
}

ty_status ty_rt_fold_finish(ty_program *p, ty_ctx *ctx) {
  rt_part *part = &p->part[RT_FOLD];
  int n = part->order.n;
  p->words = (p->ninputs + 63) / 64;
  p->fold_inputs = ty_arena_alloc(&p->mem, (size_t)p->words * 8);
  if (!p->fold_inputs) return ty_fail(ctx, TY_NOMEM, "out of memory while finishing the program");
  for (int i = 0; i < part->io.n; i++) {
    int in = p->buf.p[part->io.p[i].buf].index;
    p->fold_inputs[in / 64] |= (uint64_t)1 << in % 64;
  }
  if (!n) return TY_OK;
  TY_TRY(check_sizes(p, ctx));
  int *up = ty_alloc((size_t)n * sizeof *up), *number = ty_alloc((size_t)n * sizeof *number);
  uint64_t *deps = ty_alloc((size_t)p->buf.n * (size_t)p->words * 8);
  bool ok = up && number && deps;
  for (int i = 0; ok && i < n; i++) up[i] = i;
  ok = ok && group_steps(p, up);
  for (int i = 0; ok && i < n; i++) {
    int *g = &number[root(up, i)];
    if (!*g) *g = ++p->ngroups;
    p->step.p[part->order.p[i]].group = *g - 1;
  }
  if (ok) {
    p->group_deps = ty_arena_alloc(&p->mem, (size_t)p->ngroups * (size_t)p->words * 8);
    p->chosen = ty_arena_alloc(&p->mem, (size_t)p->ngroups);
    ok = p->group_deps && p->chosen;
  }
  if (ok) {
    for (int b = 0; b < p->buf.n; b++) {
      int in = p->buf.p[b].index;
      if (p->buf.p[b].kind == TY_PB_INPUT) deps[(size_t)b * (size_t)p->words + (size_t)in / 64] |= (uint64_t)1 << in % 64;
    }
    spread_deps(p, deps);
  }
  ty_free(up);
  ty_free(number);
  ty_free(deps);
  return ok ? TY_OK : ty_fail(ctx, TY_NOMEM, "out of memory while finishing the program");
}

bool ty_rt_fold_wanted(const ty_program *p, const ty_run *run) {
  return !p->folded || (run->changed && sets_meet(run->changed, p->fold_inputs, p->words));
}

ty_status ty_rt_fold_place(ty_program *p, ty_ctx *ctx) {
  if (p->fold_bind) return TY_OK;
  rt_bind *bind;
  TY_TRY(ty_rt_bind_make(p, ctx, RT_FOLD, NULL, &bind));
  bind->id = UINT64_MAX; /* its slots serve nothing else */
  size_t total = 0;
  for (int i = 0; i < p->buf.n; i++) {
    rt_buf *b = &p->buf.p[i];
    if (b->kind != TY_PB_STATE || !b->touched[RT_FOLD]) continue;
    b->size = (size_t)bind->bytes[i];
    b->state_off = total;
    if (__builtin_add_overflow(total, rt_up(b->size, RT_ALIGN), &total) || total > PTRDIFF_MAX / 2) {
      ty_rt_bind_free(bind);
      return ty_fail(ctx, TY_INVALID, "the folded state is too large");
    }
  }
  p->state_bytes = total + RT_ALIGN;
  p->fold_bind = bind;
  return TY_OK;
}

static ty_status fold_prepare(ty_program *p, ty_ctx *ctx) {
  TY_TRY(ty_rt_fold_place(p, ctx));
  if (p->state) return TY_OK;
  p->state = ty_rt_pages(p, p->state_bytes);
  if (!p->state) return ty_fail(ctx, TY_NOMEM, "out of memory: folded state needs %zu bytes", p->state_bytes);
  p->state_id++;
  return TY_OK;
}

ty_status ty_rt_fold(ty_program *p, ty_ctx *ctx, const ty_run *run) {
  bool all = !p->folded;
  p->folded = false;
  TY_TRY(fold_prepare(p, ctx));
  for (int g = 0; g < p->ngroups; g++) p->chosen[g] = all || sets_meet(run->changed, p->group_deps + (size_t)g * (size_t)p->words, p->words);
  for (int i = 0; i < p->step.n; i++)
    if (p->step.p[i].fold && p->chosen[p->step.p[i].group]) atomic_store(&p->step.p[i].changed, 0), atomic_store(&p->step.p[i].size, 0);
  rt_slot *s = ty_rt_slot_create(p);
  if (!s) return ty_fail(ctx, TY_NOMEM, "out of memory for folding");
  ty_status st = ty_rt_phase_run(p, ctx, run, RT_FOLD, p->fold_bind, s, p->chosen);
  ty_rt_slot_destroy(s);
  p->folded = st == TY_OK;
  return st == TY_OK ? st : ty_note(ctx, st, "while folding constants");
}

/* ---- folding ahead of runs ---- */
typedef struct reading { const ty_program *p; int *last; void (*read)(void *user, int input); void *user; } reading; /* last: by input, the step + 1 */

static void step_watch(void *user, int step, bool begin) {
  reading *x = user;
  const rt_step *s = &x->p->step.p[step];
  for (int r = s->ref0; !begin && r < s->ref0 + s->nrefs; r++) {
    ty_pbuf b = x->p->ref.p[r].buf;
    int in = b >= 0 && x->p->buf.p[b].kind == TY_PB_INPUT ? x->p->buf.p[b].index : -1;
    if (in >= 0 && x->last[in] == step + 1) x->last[in] = 0, x->read(x->user, in);
  }
}

ty_status ty_program_fold(ty_program *p, ty_ctx *ctx, void *const *inputs, void (*read)(void *user, int input), void *user) {
  if (!p->finished) return ty_fail(ctx, TY_INTERNAL, "the program is not finished");
  const rt_part *part = &p->part[RT_FOLD];
  if (!part->order.n) return TY_OK;
  reading x = {p, ty_alloc((size_t)p->ninputs * sizeof *x.last), read, user};
  if (!x.last) return ty_fail(ctx, TY_NOMEM, "out of memory for folding");
  for (int i = 0; i < part->order.n; i++) {
    const rt_step *s = &p->step.p[part->order.p[i]];
    for (int r = s->ref0; r < s->ref0 + s->nrefs; r++) {
      ty_pbuf b = p->ref.p[r].buf;
      if (b >= 0 && p->buf.p[b].kind == TY_PB_INPUT) x.last[p->buf.p[b].index] = part->order.p[i] + 1;
    }
  }
  ty_run run = {.inputs = inputs, .on_step = read ? step_watch : NULL, .on_step_user = &x};
  pthread_rwlock_wrlock(&p->fold_lock);
  ty_status st = p->folded ? TY_OK : ty_rt_fold(p, ctx, &run);
  pthread_rwlock_unlock(&p->fold_lock);
  for (int i = 0; read && st == TY_OK && i < p->ninputs; i++)
    if (x.last[i]) read(user, i); /* read by steps that had nothing to do */
  ty_free(x.last);
  return st;
}

/* ---- weights of a program that will be saved ---- */
ty_status ty_program_weights_size(ty_program *p, ty_ctx *ctx, const bool *keep, size_t *bytes) {
  if (!p->finished || p->state) return ty_fail(ctx, TY_INTERNAL, "the program is not finished, or was folded already");
  TY_TRY(ty_rt_fold_place(p, ctx));
  size_t total = p->state_bytes;
  for (int i = 0; i < p->buf.n; i++) {
    rt_buf *b = &p->buf.p[i];
    if (b->kind != TY_PB_INPUT || !keep[b->index] || !b->touched[RT_RUN]) continue;
    const rt_expr *e = &p->expr.p[b->bytes];
    total = rt_up(total, RT_ALIGN);
    if (e->op != TY_PE_CONST || e->v < 0) return ty_fail(ctx, TY_INTERNAL, "the size of input %d '%s' is not fixed", b->index, b->name);
    b->kept = true, b->size = (size_t)e->v, b->state_off = total;
    if (__builtin_add_overflow(total, b->size, &total) || total > PTRDIFF_MAX / 2) return ty_fail(ctx, TY_INVALID, "the weights are too large");
  }
  p->state_bytes = *bytes = rt_up(total, RT_ALIGN);
  return TY_OK;
}

ty_status ty_program_weights_write(ty_program *p, ty_ctx *ctx, void *at, void *const *inputs, void (*read)(void *user, int input), void *user) {
  p->state = at, p->state_given = true;
  p->state_id++;
  TY_TRY(ty_program_fold(p, ctx, inputs, read, user));
  for (int i = 0; i < p->buf.n; i++) {
    const rt_buf *b = &p->buf.p[i];
    if (!b->kept) continue;
    memcpy(p->state + b->state_off, inputs[b->index], b->size);
    if (read) read(user, b->index);
  }
  return TY_OK;
}

int64_t ty_program_weights_at(const ty_program *p, int input) {
  for (int i = 0; i < p->buf.n; i++)
    if (p->buf.p[i].kept && p->buf.p[i].index == input) return (int64_t)p->buf.p[i].state_off;
  return -1;
}

bool ty_program_input_folded(const ty_program *p, int input) {
  if (!p->finished || input < 0 || input >= p->ninputs || !(p->fold_inputs[input / 64] >> input % 64 & 1)) return false;
  const rt_part *part = &p->part[RT_RUN];
  for (int i = 0; i < part->io.n; i++) {
    const rt_buf *b = &p->buf.p[part->io.p[i].buf];
    if (b->kind == TY_PB_INPUT && b->index == input) return false;
  }
  return true;
}
