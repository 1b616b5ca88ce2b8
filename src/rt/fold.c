/* fold.c: the folded part: which steps depend on which parameters, and running those again whose parameters changed. */
#include "rt/program_int.h"

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

/* The sizes and the place of state, once. */
static ty_status fold_prepare(ty_program *p, ty_ctx *ctx) {
  if (!p->fold_bind) {
    TY_TRY(ty_rt_bind_make(p, ctx, RT_FOLD, NULL, &p->fold_bind));
    p->fold_bind->id = UINT64_MAX; /* its slots serve nothing else */
  }
  if (p->state) return TY_OK;
  size_t total = 0;
  for (int i = 0; i < p->buf.n; i++) {
    rt_buf *b = &p->buf.p[i];
    if (b->kind != TY_PB_STATE || !b->touched[RT_FOLD]) continue;
    b->size = (size_t)p->fold_bind->bytes[i];
    b->state_off = total;
    if (__builtin_add_overflow(total, rt_up(b->size, RT_ALIGN), &total) || total > PTRDIFF_MAX)
      return ty_fail(ctx, TY_INVALID, "the folded state is too large");
  }
  total += RT_ALIGN;
  p->state = ty_pages_alloc(total);
  if (!p->state) return ty_fail(ctx, TY_NOMEM, "out of memory: folded state needs %zu bytes", total);
  p->state_bytes = total;
  p->state_id++;
  return TY_OK;
}

ty_status ty_rt_fold(ty_program *p, ty_ctx *ctx, const ty_run *run) {
  bool all = !p->folded;
  p->folded = false;
  TY_TRY(fold_prepare(p, ctx));
  for (int g = 0; g < p->ngroups; g++) p->chosen[g] = all || sets_meet(run->changed, p->group_deps + (size_t)g * (size_t)p->words, p->words);
  rt_slot *s = ty_rt_slot_create(p);
  if (!s) return ty_fail(ctx, TY_NOMEM, "out of memory for folding");
  ty_status st = ty_rt_phase_run(p, ctx, run, RT_FOLD, p->fold_bind, s, p->chosen);
  ty_rt_slot_destroy(s);
  p->folded = st == TY_OK;
  return st == TY_OK ? st : ty_note(ctx, st, "while folding constants");
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
