/* bind.c: a binding is a phase of a program for one tuple of sizes: expressions evaluated, arena planned, barriers placed. */
#include "rt/program_int.h"

#include <string.h>

/* ---- expressions: floor division and modulus as in Python; by zero gives 0 ---- */
static bool floor_div(int64_t a, int64_t b, int64_t *q, int64_t *r) {
  *q = *r = 0;
  if (b == 0) return true;
  if (b == -1) return !__builtin_sub_overflow((int64_t)0, a, q);
  *q = a / b, *r = a % b;
  if (*r && (*r < 0) != (b < 0)) *q -= 1, *r += b;
  return true;
}

static bool apply(ty_pexpr_op op, int64_t a, int64_t b, int64_t *out) {
  int64_t q, r;
  switch (op) {
  case TY_PE_ADD: return ty_add_i64(a, b, out);
  case TY_PE_MUL: return ty_mul_i64(a, b, out);
  case TY_PE_DIV: return floor_div(a, b, out, &r);
  case TY_PE_MOD: return floor_div(a, b, &q, out) || (*out = 0, true);
  case TY_PE_MIN: return *out = a < b ? a : b, true;
  default: return *out = a > b ? a : b, true;
  }
}

static bool evaluate(const rt_expr *e, const int64_t *v, const bool *bad, const int64_t *syms, int64_t *out) {
  *out = e->v;
  if (e->op == TY_PE_CONST) return true;
  if (e->op == TY_PE_SYM) return syms && (*out = syms[e->v], true);
  return !bad[e->a] && !bad[e->b] && apply(e->op, v[e->a], v[e->b], out);
}

/* One expression by itself. Shared parts are computed again: the budget ends what was made to explode. */
static bool evaluate_alone(const ty_program *p, ty_pexpr i, const int64_t *syms, int *budget, int64_t *out) {
  const rt_expr *e = &p->expr.p[i];
  int64_t a, b;
  *out = e->op == TY_PE_SYM ? syms[e->v] : e->v;
  if (e->op == TY_PE_CONST || e->op == TY_PE_SYM) return true;
  return (*budget)-- > 0 && evaluate_alone(p, e->a, syms, budget, &a) && evaluate_alone(p, e->b, syms, budget, &b) && apply(e->op, a, b, out);
}
enum { ALONE = 4096 };

bool ty_program_eval(const ty_program *p, ty_pexpr e, const int64_t *syms, int64_t *out) {
  int budget = ALONE;
  return evaluate_alone(p, e, syms, &budget, out) || (*out = 0, false);
}

/* -1: none so far, -2: more than one. */
static int unknown(const ty_program *p, ty_pexpr i, const bool *known, int *budget, int seen) {
  const rt_expr *e = &p->expr.p[i];
  if (e->op == TY_PE_SYM && !known[e->v]) return seen == -1 || seen == (int)e->v ? (int)e->v : -2;
  if (e->op == TY_PE_CONST || e->op == TY_PE_SYM || seen == -2) return seen;
  if ((*budget)-- <= 0) return -2;
  return unknown(p, e->b, known, budget, unknown(p, e->a, known, budget, seen));
}

int ty_program_unknown(const ty_program *p, ty_pexpr e, const bool *known) {
  int budget = ALONE;
  return unknown(p, e, known, &budget, -1);
}

/* ---- the arena ---- */
static bool plan_arena(const ty_program *p, rt_phase phase, rt_bind *bind) {
  const rt_part *part = &p->part[phase];
  int nb = p->buf.n, n = 0;
  int *item = ty_alloc((size_t)nb * sizeof *item); /* buffer -> item + 1 */
  rt_life *life = ty_alloc((size_t)nb * sizeof *life);
  size_t *off = ty_alloc((size_t)nb * sizeof *off), *change = ty_alloc(((size_t)part->order.n + 1) * sizeof *change); /* bytes alive, modulo 2^64 */
  bool ok = item && life && off && change;
  for (int i = 0; ok && i < part->order.n; i++) {
    const rt_step *s = &p->step.p[part->order.p[i]];
    int at = bind->bound[i].fed ? i - 1 : i; /* as the step that feeds it: both at once */
    for (int r = s->ref0; r < s->ref0 + s->nrefs; r++) {
      ty_pbuf b = p->ref.p[r].buf;
      if (b < 0 || p->buf.p[b].kind != TY_PB_ARENA) continue;
      if (!item[b]) life[n] = (rt_life){at, at, (size_t)bind->bytes[b]}, item[b] = ++n;
      life[item[b] - 1].last = at;
    }
  }
  ok = ok && ty_rt_plan(n, life, off, &bind->arena);
  size_t live = 0;
  for (int j = 0; ok && j < n; j++) change[life[j].first] += life[j].bytes, change[life[j].last + 1] -= life[j].bytes;
  for (int i = 0; ok && i < part->order.n; i++) {
    live += change[i];
    if (live > bind->live) bind->live = live;
  }
  for (int b = 0; ok && b < nb; b++) {
    if (!item[b]) continue;
    bind->off[b] = off[item[b] - 1];
    ok = !__builtin_add_overflow(bind->naive, rt_up(life[item[b] - 1].bytes, RT_ALIGN), &bind->naive);
  }
  ty_free(item);
  ty_free(life);
  ty_free(off);
  ty_free(change);
  return ok;
}

/* ---- barriers ----
 * A step needs one before it where it touches what another thread may have written since the last barrier, or writes what
 * another may have read. Steps that thread 0 does alone keep their order among themselves without one. */
enum { READ_ALONE = 1, READ_ALL = 2, WROTE_ALONE = 4, WROTE_ALL = 8 };

static bool same_bytes(const ty_program *p, const rt_bind *bind, ty_pbuf a, ty_pbuf b) {
  const rt_buf *x = &p->buf.p[a], *y = &p->buf.p[b];
  if (a == b) return true;
  if (x->kind != y->kind) return false;
  if (x->kind == TY_PB_INPUT || x->kind == TY_PB_OUTPUT) return x->index == y->index;
  if (x->kind != TY_PB_ARENA) return false;
  return bind->off[a] < bind->off[b] + (size_t)bind->bytes[b] && bind->off[b] < bind->off[a] + (size_t)bind->bytes[a];
}

static bool place_barriers(const ty_program *p, rt_bind *bind) {
  unsigned char *use = ty_alloc((size_t)p->buf.n); /* since the last barrier, by buffer */
  ty_pbuf *seen = ty_alloc((size_t)p->buf.n * sizeof *seen);
  if (!use || !seen) {
    ty_free(use);
    ty_free(seen);
    return false;
  }
  int nseen = 0;
  for (int i = 0; i < bind->nbound; i++) {
    rt_bound *b = &bind->bound[i];
    if (b->skip || b->fed) continue;
    bool alone = b->threads == 1;
    for (const rt_bound *s = b; s <= b + b->chained; s++) /* with the step that it feeds */
      for (int r = s->step->ref0; r < s->step->ref0 + s->step->nrefs && !b->barrier; r++) {
        rt_ref ref = p->ref.p[r];
        int clash = (alone ? 0 : WROTE_ALONE) | WROTE_ALL | (ref.write ? (alone ? 0 : READ_ALONE) | READ_ALL : 0);
        for (int j = 0; j < nseen && !b->barrier; j++) b->barrier = ref.buf >= 0 && (use[seen[j]] & clash) && same_bytes(p, bind, ref.buf, seen[j]);
      }
    if (b->barrier) {
      bind->barriers++;
      while (nseen) use[seen[--nseen]] = 0;
    }
    for (const rt_bound *s = b; s <= b + b->chained; s++)
      for (int r = s->step->ref0; r < s->step->ref0 + s->step->nrefs; r++) {
        rt_ref ref = p->ref.p[r];
        if (ref.buf < 0) continue;
        if (!use[ref.buf]) seen[nseen++] = ref.buf;
        use[ref.buf] |= ref.write ? (alone ? WROTE_ALONE : WROTE_ALL) : (alone ? READ_ALONE : READ_ALL);
      }
  }
  ty_free(use);
  ty_free(seen);
  return true;
}

static void link_gemms(rt_bind *bind) {
  const rt_bound *next = NULL;
  for (int i = bind->nbound - 1; i >= 0; i--) {
    rt_bound *b = &bind->bound[i];
    if (b->step->kind != RT_GEMM) continue;
    b->next_gemm = next;
    if (b->step->u.gemm.packed && !b->skip) next = b;
  }
}

/* Guessed seconds until nt threads have met: each parent of the pool's tree reads the lines of its four children, level by level. */
static double barrier_cost(int nt) {
  const double least = 0.25e-6, line = 0.05e-6;
  int lines = 0;
  for (int left = nt - 1, level = 4; left > 0; left -= level, level *= 4) lines += left < 4 ? left : 4;
  return least + line * lines;
}

/* As many threads as make the run short by that guess: waking the pool and each barrier cost, the latter more with more threads, and a step
 * has no more than its own are worth. */
static void choose_threads(rt_bind *bind) {
  const double wake = 1.5e-6;
  double best = 0;
  int most = 1;
  for (int i = 0; i < bind->nbound; i++) {
    const rt_bound *b = &bind->bound[i];
    if (b->skip) continue;
    best += b->work;
    if (b->threads > most) most = b->threads;
  }
  bind->wanted = 1;
  for (int nt = 2; nt <= most; nt += nt < 8 ? 1 : nt / 8) {
    double t = wake + barrier_cost(nt) * bind->barriers;
    for (int i = 0; i < bind->nbound; i++) {
      const rt_bound *b = &bind->bound[i];
      if (!b->skip) t += b->work / (b->threads < nt ? b->threads : nt);
    }
    if (t < best) best = t, bind->wanted = nt;
  }
}

/* ---- making one ---- */
void ty_rt_bind_free(rt_bind *b) {
  if (!b) return;
  ty_arena_free(&b->mem);
  ty_free(b);
}

static ty_status buffer_sizes(const ty_program *p, ty_ctx *ctx, rt_phase phase, const rt_values *vals, rt_bind *bind) {
  for (int i = 0; i < p->buf.n; i++) {
    const rt_buf *b = &p->buf.p[i];
    bind->bytes[i] = -1;
    if (!b->touched[phase]) continue;
    if (!ty_rt_value(vals, b->bytes, &bind->bytes[i]) || bind->bytes[i] > PTRDIFF_MAX / 4)
      return ty_fail(ctx, TY_INVALID, "the size of buffer %d '%s' is not a usable number", i, b->name);
    if (bind->bytes[i] < 0)
      return ty_fail(ctx, TY_INVALID, "the size of buffer %d '%s' is negative: %lld", i, b->name, (long long)bind->bytes[i]);
  }
  return TY_OK;
}

/* Refuses sizes that break a need; the text names the operator and all sizes. The folded part knows no symbols (syms is NULL): it answers
 * for what needs none. */
static ty_status needs(const ty_program *p, ty_ctx *ctx, const rt_values *vals, const int64_t *syms) {
  static const char *const names[] = {[TY_PN_EQ] = "==", [TY_PN_NE] = "!=", [TY_PN_LE] = "<="};
  for (int i = 0; i < p->need.n; i++) {
    const rt_need *n = &p->need.p[i];
    int64_t a, b;
    bool known_a = ty_rt_value(vals, n->a, &a), known = ty_rt_value(vals, n->b, &b) && known_a;
    if (known && (n->rel == TY_PN_EQ ? a == b : n->rel == TY_PN_NE ? a != b : a <= b)) continue;
    if (!known && !syms) continue;
    ty_str s = {0};
    for (int k = 0; syms && k < p->sym.n && k < 16; k++) ty_str_add(&s, "%s%s = %lld", k ? ", " : "", p->sym.p[k], (long long)syms[k]);
    ty_status st = !s.n  ? ty_fail(ctx, TY_INVALID, "%s", n->what)
                 : known ? ty_fail(ctx, TY_INVALID, "%s, and that is %lld %s %lld where %s", n->what, (long long)a, names[n->rel], (long long)b, s.p && !s.failed ? s.p : "")
                         : ty_fail(ctx, TY_INVALID, "%s, and these sizes are too large where %s", n->what, s.p && !s.failed ? s.p : "");
    ty_str_free(&s);
    return st;
  }
  return TY_OK;
}

static ty_status bind_fill(ty_program *p, ty_ctx *ctx, rt_phase phase, const rt_values *vals, rt_bind *bind) {
  TY_TRY(buffer_sizes(p, ctx, phase, vals, bind));
  for (int i = 0; i < bind->nbound; i++) {
    rt_bound *b = &bind->bound[i];
    b->step = &p->step.p[p->part[phase].order.p[i]];
    TY_TRY(ty_rt_bound_make(p, ctx, vals, bind, b));
    if (b->scratch > bind->scratch) bind->scratch = b->scratch;
  }
  link_gemms(bind);
  ty_rt_chain_find(p, phase, bind);
  if (!plan_arena(p, phase, bind) || !place_barriers(p, bind)) return ty_fail(ctx, TY_NOMEM, "out of memory for the memory plan");
  choose_threads(bind);
  return TY_OK;
}

ty_status ty_rt_bind_make(ty_program *p, ty_ctx *ctx, rt_phase phase, const int64_t *syms, rt_bind **out) {
  rt_bind *b = ty_alloc(sizeof *b);
  int64_t *v = ty_alloc((size_t)p->expr.n * sizeof *v);
  bool *bad = ty_alloc((size_t)p->expr.n * sizeof *bad);
  ty_status st = TY_NOMEM;
  if (b && v && bad) {
    b->nbound = p->part[phase].order.n;
    b->syms = ty_arena_alloc(&b->mem, (size_t)p->sym.n * sizeof *b->syms);
    b->bound = ty_arena_alloc(&b->mem, (size_t)b->nbound * sizeof *b->bound);
    b->bytes = ty_arena_alloc(&b->mem, (size_t)p->buf.n * sizeof *b->bytes);
    b->off = ty_arena_alloc(&b->mem, (size_t)p->buf.n * sizeof *b->off);
  }
  if (b && v && bad && !b->mem.failed) {
    if (syms && p->sym.n) memcpy(b->syms, syms, (size_t)p->sym.n * sizeof *syms);
    for (int i = 0; i < p->expr.n; i++) bad[i] = !evaluate(&p->expr.p[i], v, bad, syms, &v[i]);
    rt_values vals = {v, bad};
    st = needs(p, ctx, &vals, phase == RT_RUN ? b->syms : NULL);
    if (!st) st = bind_fill(p, ctx, phase, &vals, b);
  } else ty_fail(ctx, st, "out of memory for a binding");
  ty_free(v);
  ty_free(bad);
  if (st == TY_OK) *out = b;
  else ty_rt_bind_free(b);
  return st;
}

/* ---- the cache ---- (under lock) */
static uint64_t sizes_hash(const ty_program *p, const int64_t *syms) {
  uint64_t h = 0;
  for (int i = 0; i < p->sym.n; i++) h = (h ^ (uint64_t)syms[i]) * 0x9e3779b97f4a7c15u, h ^= h >> 29;
  return h;
}

static rt_bind *cache_find(ty_program *p, const int64_t *syms, uint64_t hash) {
  for (int i = 0; i < p->kept.n; i++)
    if (p->kept.p[i].hash == hash && (!p->sym.n || !memcmp(p->kept.p[i].bind->syms, syms, (size_t)p->sym.n * sizeof *syms)))
      return p->kept.p[i].bind;
  return NULL;
}

static bool cache_add(ty_program *p, rt_bind *b, uint64_t hash) {
  b->id = ++p->next_id;
  rt_kept new = {hash, b};
  if (p->kept.n < p->tuning.sizes) {
    return b->cached = TY_PUSH(&p->kept, new);
  }
  int at = 0;
  for (int i = 1; i < p->kept.n; i++)
    if (p->kept.p[i].bind->used < p->kept.p[at].bind->used) at = i;
  rt_bind *old = p->kept.p[at].bind;
  old->cached = false;
  if (!old->refs) ty_rt_bind_free(old);
  p->kept.p[at] = new;
  return b->cached = true;
}

/* Counts the use and takes a free slot, one resolved for this binding if there is one. */
static rt_slot *take(ty_program *p, rt_bind *b) {
  b->refs++;
  b->used = ++p->tick;
  rt_slot **at = &p->slots;
  for (rt_slot **s = at; *s; s = &(*s)->next)
    if ((*s)->bind_id == b->id) {
      at = s;
      break;
    }
  rt_slot *s = *at;
  if (s) *at = s->next;
  return s;
}

static void show(ty_program *p, const rt_bind *b) {
  p->memory.arena = b->arena;
  p->memory.arena_naive = b->naive;
  p->memory.arena_live = b->live;
  p->memory.barriers = b->barriers;
}

ty_status ty_rt_bind_get(ty_program *p, ty_ctx *ctx, const int64_t *syms, rt_bind **out, rt_slot **slot) {
  rt_bind *made = NULL;
  uint64_t hash = sizes_hash(p, syms);
  pthread_mutex_lock(&p->lock);
  *out = cache_find(p, syms, hash);
  if (!*out) {
    pthread_mutex_unlock(&p->lock);
    TY_TRY(ty_rt_bind_make(p, ctx, RT_RUN, syms, &made));
    pthread_mutex_lock(&p->lock);
    *out = cache_find(p, syms, hash); /* another thread may have been faster */
    if (!*out && cache_add(p, made, hash)) *out = made, made = NULL;
    if (!*out) {
      pthread_mutex_unlock(&p->lock);
      ty_rt_bind_free(made);
      return ty_fail(ctx, TY_NOMEM, "out of memory for a binding");
    }
  }
  *slot = take(p, *out);
  show(p, *out);
  pthread_mutex_unlock(&p->lock);
  ty_rt_bind_free(made);
  return TY_OK;
}

void ty_rt_bind_put(ty_program *p, rt_bind *b, rt_slot *slot) {
  pthread_mutex_lock(&p->lock);
  if (slot) slot->next = p->slots, p->slots = slot;
  bool last = --b->refs == 0 && !b->cached;
  pthread_mutex_unlock(&p->lock);
  if (last) ty_rt_bind_free(b);
}
