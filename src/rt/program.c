/* program.c: building a program: symbols, hash-consed expressions, buffers, literals, copies of the steps; checks at the end. */
#define _GNU_SOURCE 1
#include "rt/program_int.h"

#include <stdlib.h>
#include <string.h>

ty_program *ty_program_create(ty_ctx *ctx) {
  ty_program *p = ty_alloc(sizeof *p);
  if (!p) return ty_fail(ctx, TY_NOMEM, "out of memory for a program"), NULL;
  p->kernels = ty_kernels_get(ty_cpu_get()->isa);
  ty_program_set_levels(p, 1u << ty_cpu_get()->isa);
  ty_program_tune(p, &(ty_tuning){0});
  pthread_mutex_init(&p->lock, NULL);
  pthread_mutex_init(&p->prof_lock, NULL);
  pthread_rwlockattr_t attr;
  pthread_rwlockattr_init(&attr);
#ifdef __GLIBC__
  /* Otherwise a fold could wait for ever behind runs that follow each other closely. */
  pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
  pthread_rwlock_init(&p->fold_lock, &attr);
  pthread_rwlockattr_destroy(&attr);
  return p;
}

void ty_program_destroy(ty_program *p) {
  if (!p) return;
  for (int i = 0; i < p->kept.n; i++) ty_rt_bind_free(p->kept.p[i].bind);
  TY_VEC_FREE(&p->kept);
  ty_rt_bind_free(p->fold_bind);
  for (rt_slot *s = p->slots, *next; s; s = next) next = s->next, ty_rt_slot_destroy(s);
  if (!p->state_given) ty_pages_free(p->state, p->state_bytes);
  for (int i = 0; i < RT_NPHASE; i++) {
    TY_VEC_FREE(&p->part[i].order);
    TY_VEC_FREE(&p->part[i].io);
  }
  TY_VEC_FREE(&p->expr);
  TY_VEC_FREE(&p->sym);
  TY_VEC_FREE(&p->buf);
  TY_VEC_FREE(&p->ref);
  TY_VEC_FREE(&p->step);
  TY_VEC_FREE(&p->need);
  ty_free(p->expr_table);
  ty_arena_free(&p->mem);
  pthread_mutex_destroy(&p->lock);
  pthread_mutex_destroy(&p->prof_lock);
  pthread_rwlock_destroy(&p->fold_lock);
  ty_free(p);
}

/* A whole number of the environment, 0 where there is none. */
static int env_number(const char *name, int least, int most) {
  const char *s = getenv(name);
  char *end;
  long n = s ? strtol(s, &end, 10) : 0;
  return !s || end == s || *end || n < least ? 0 : n > most ? most : (int)n;
}

void ty_program_tune(ty_program *p, const ty_tuning *t) {
  const char *huge = getenv("THP_MEM_ALLOC_ENABLE");
  p->tuning = *t;
  if (t->sizes <= 0 && !(p->tuning.sizes = env_number("LRU_CACHE_CAPACITY", 1, 1 << 20))) p->tuning.sizes = RT_SIZES;
  if (!t->huge_pages) p->tuning.huge_pages = huge && !strcmp(huge, "0") ? -1 : 1;
}

bool ty_program_huge_pages(const ty_program *p) { return p->tuning.huge_pages >= 0; }

void *ty_rt_pages(const ty_program *p, size_t bytes) {
  void *at = ty_pages_alloc(bytes);
  if (at && p->tuning.huge_pages < 0) ty_pages_small(at, bytes);
  return at;
}

void ty_program_set_levels(ty_program *p, uint32_t levels) {
  p->panel = 1;
  for (int i = 0; i < TY_NISA; i++)
    if (levels >> i & 1) {
      int nr = ty_tier_shape_of((ty_isa)i).nr, times = 1;
      while (p->panel * times % nr) times++;
      p->panel *= times, p->isa = (ty_isa)i;
    }
}
ty_isa ty_program_isa(const ty_program *p) { return p->isa; }
int ty_program_panel(const ty_program *p) { return p->panel; }

bool ty_rt_multiplies(const ty_program *p) {
  for (int i = 0; i < p->step.n; i++) {
    const rt_step *s = &p->step.p[i];
    ty_format f = s->kind == RT_GEMM ? s->u.gemm.format : s->kind == RT_CONV ? s->u.conv.format : TY_FORMAT_f32;
    if (ty_products_get(p->kernels, f)->format != f) return false;
  }
  return true;
}

static int no_memory(ty_program *p) {
  p->failed = true;
  return -1;
}
static int bad_argument(ty_program *p) {
  p->broken = true;
  return -1;
}

int ty_program_symbol(ty_program *p, const char *name) {
  const char *copy = ty_arena_strdup(&p->mem, name ? name : "?");
  return copy && TY_PUSH(&p->sym, copy) ? p->sym.n - 1 : no_memory(p);
}

int ty_program_nexprs(const ty_program *p) { return p->expr.n; }
int ty_program_nsyms(const ty_program *p) { return p->sym.n; }
bool ty_program_has_format(const ty_program *p, ty_format format) {
  for (int i = 0; i < p->step.n; i++) {
    const rt_step *s = &p->step.p[i];
    if (s->kind == RT_GEMM ? s->u.gemm.format == format : s->kind == RT_ATTN ? s->u.attn.format == format : s->kind == RT_PACK ? s->u.pack.format == format :
        s->kind == RT_CONV ? s->u.conv.format == format : s->kind == RT_CONV_PACK && s->u.conv_pack.format == format) return true;
  }
  return false;
}
int ty_program_ninputs(const ty_program *p) { return p->ninputs; }
int ty_program_noutputs(const ty_program *p) {
  int n = 0;
  for (int i = 0; i < p->buf.n; i++)
    if (p->buf.p[i].kind == TY_PB_OUTPUT && p->buf.p[i].index >= n) n = p->buf.p[i].index + 1;
  return n;
}

/* ---- expressions ---- */
static uint64_t expr_hash(const rt_expr *e) {
  uint64_t h = (uint64_t)e->op * 0x9e3779b97f4a7c15u + (uint64_t)e->v;
  h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9u + (uint64_t)(uint32_t)e->a;
  h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9u + (uint64_t)(uint32_t)e->b;
  return (h ^ h >> 32) * 0x94d049bb133111ebu >> 20;
}
static bool expr_equal(const rt_expr *x, const rt_expr *y) {
  return x->op == y->op && x->v == y->v && x->a == y->a && x->b == y->b;
}

static int *expr_find(ty_program *p, const rt_expr *e) {
  uint64_t mask = (uint64_t)p->expr_cap - 1, h = expr_hash(e);
  while (p->expr_table[h & mask] && !expr_equal(&p->expr.p[p->expr_table[h & mask] - 1], e)) h++;
  return &p->expr_table[h & mask];
}

static ty_pexpr expr_add(ty_program *p, rt_expr e) {
  if ((p->expr.n + 1) * 2 > p->expr_cap) {
    int cap = p->expr_cap ? p->expr_cap * 2 : 64, *table = ty_alloc((size_t)cap * sizeof *table), *old = p->expr_table;
    if (!table) return no_memory(p);
    p->expr_table = table, p->expr_cap = cap;
    for (int i = 0; i < p->expr.n; i++) *expr_find(p, &p->expr.p[i]) = i + 1;
    ty_free(old);
  }
  int *at = expr_find(p, &e);
  if (!*at) {
    if (!TY_PUSH(&p->expr, e)) return no_memory(p);
    *at = p->expr.n;
  }
  return *at - 1;
}

ty_pexpr ty_program_const(ty_program *p, int64_t v) { return expr_add(p, (rt_expr){TY_PE_CONST, v, -1, -1, false}); }

ty_pexpr ty_program_expr(ty_program *p, ty_pexpr_op op, int64_t v, ty_pexpr a, ty_pexpr b) {
  if (op == TY_PE_CONST) return ty_program_const(p, v);
  if (op == TY_PE_SYM) return v < 0 || v >= p->sym.n ? bad_argument(p) : expr_add(p, (rt_expr){op, v, -1, -1, true});
  if (a < 0 || b < 0) return p->failed ? -1 : bad_argument(p);
  if (a >= p->expr.n || b >= p->expr.n || (unsigned)op > TY_PE_MAX) return bad_argument(p);
  return expr_add(p, (rt_expr){op, 0, a, b, p->expr.p[a].symbolic || p->expr.p[b].symbolic});
}

/* ---- buffers ---- */
static bool expr_ok(const ty_program *p, ty_pexpr e) { return e >= 0 && e < p->expr.n; }

ty_pexpr ty_program_buffer_bytes(const ty_program *p, ty_pbuf b) { return b >= 0 && b < p->buf.n ? p->buf.p[b].bytes : -1; }
ty_pbuf ty_program_buffer(ty_program *p, ty_pbuf_kind kind, int index, ty_dtype dtype, ty_pexpr bytes, const char *name) {
  if (p->failed) return -1;
  bool io = kind == TY_PB_INPUT || kind == TY_PB_OUTPUT;
  if (!expr_ok(p, bytes) || (unsigned)kind >= TY_PB_LITERAL || (unsigned)dtype >= TY_NDTYPE || (io && (index < 0 || index > 1 << 20)))
    return bad_argument(p);
  rt_buf b = {.kind = kind, .index = io ? index : -1, .dtype = dtype, .bytes = bytes};
  if (kind == TY_PB_INPUT && index >= p->ninputs) p->ninputs = index + 1;
  b.name = ty_arena_strdup(&p->mem, name ? name : "");
  return b.name && TY_PUSH(&p->buf, b) ? p->buf.n - 1 : no_memory(p);
}

ty_pbuf ty_program_literal(ty_program *p, const void *data, size_t bytes) {
  if (bytes > PTRDIFF_MAX / 2) return bad_argument(p);
  rt_buf b = {.kind = TY_PB_LITERAL, .index = -1, .dtype = TY_u8, .name = "", .size = bytes, .bytes = ty_program_const(p, (int64_t)bytes)};
  char *raw = ty_arena_alloc(&p->mem, bytes + RT_ALIGN);
  if (!raw || b.bytes < 0) return no_memory(p);
  b.literal = raw + (-(uintptr_t)raw & (RT_ALIGN - 1));
  if (bytes) memcpy(b.literal, data, bytes);
  if (!TY_PUSH(&p->buf, b)) return no_memory(p);
  p->literals += bytes;
  return p->buf.n - 1;
}

/* ---- steps ---- */
static bool ref_add(ty_program *p, ty_pbuf buf, bool write) {
  rt_ref r = {buf, write};
  if (buf >= p->buf.n) return bad_argument(p), false;
  if (buf < 0) r = (rt_ref){-1, false};
  return TY_PUSH(&p->ref, r) || (no_memory(p), false);
}

/* Copies a loop's arrays; its buffers become refs. */
static bool loop_copy(ty_program *p, rt_step *s, const ty_step_loop *l) {
  if (l->nbufs < 0 || l->npars < 0) return bad_argument(p), false;
  s->loop = *l;
  s->has_loop = true;
  atomic_init(&s->fn, l->fn);
  ty_pexpr *pars = ty_arena_alloc(&p->mem, (size_t)l->npars * sizeof *pars);
  ty_pbuf *bufs = ty_arena_alloc(&p->mem, (size_t)l->nbufs * sizeof *bufs);
  bool *writes = ty_arena_alloc(&p->mem, (size_t)l->nbufs * sizeof *writes);
  if (!pars || !bufs || !writes) return no_memory(p), false;
  for (int i = 0; i < l->npars; i++) {
    pars[i] = l->pars[i];
    if (!expr_ok(p, pars[i])) return bad_argument(p), false;
  }
  for (int i = 0; i < l->nbufs; i++) {
    bufs[i] = l->bufs[i], writes[i] = l->writes[i];
    if (!ref_add(p, bufs[i], writes[i])) return false;
  }
  s->loop.pars = pars, s->loop.bufs = bufs, s->loop.writes = writes;
  return true;
}

static bool step_begin(ty_program *p, rt_step *s, const ty_step_info *info, rt_kind kind) {
  *s = (rt_step){.kind = kind, .flops = info->flops, .bytes = info->bytes, .fold = info->fold, .origin = info->origin, .ref0 = p->ref.n, .group = -1};
  atomic_init(&s->fn, NULL);
  s->name = ty_arena_strdup(&p->mem, info->name ? info->name : "step");
  s->kernel = ty_arena_strdup(&p->mem, info->kernel ? info->kernel : "");
  if (!s->name || !s->kernel) return no_memory(p), false;
  if (info->flops >= p->expr.n || info->bytes >= p->expr.n) return bad_argument(p), false;
  return !p->failed && !p->finished;
}
static int step_end(ty_program *p, rt_step *s) {
  s->nrefs = p->ref.n - s->ref0;
  return TY_PUSH(&p->step, *s) ? p->step.n - 1 : no_memory(p);
}
static bool all_ok(ty_program *p, const ty_pexpr *e, int n) {
  for (int i = 0; i < n; i++)
    if (!expr_ok(p, e[i])) return bad_argument(p), false;
  return true;
}
#define EXPRS(...) all_ok(p, (const ty_pexpr[]){__VA_ARGS__}, (int)(sizeof((ty_pexpr[]){__VA_ARGS__}) / sizeof(ty_pexpr)))

int ty_program_add_loop(ty_program *p, const ty_step_info *info, const ty_step_loop *l) {
  rt_step s;
  if (!step_begin(p, &s, info, RT_LOOP) || !EXPRS(l->rows, l->cols) || !loop_copy(p, &s, l)) return -1;
  return step_end(p, &s);
}

/* What convolutions and products without packed weights take. */
static bool wide_format(ty_format f) { return (unsigned)f < TY_NFORMATS && ty_formats[f].bits >= 16; }

int ty_program_add_gemm(ty_program *p, const ty_step_info *info, const ty_step_gemm *g) {
  rt_step s;
  if (!step_begin(p, &s, info, RT_GEMM)) return -1;
  if (!EXPRS(g->a_off, g->lda, g->a_batch[0], g->a_batch[1], g->b_off, g->batch[0], g->batch[1], g->m, g->n, g->k)) return -1;
  if (!g->packed && !EXPRS(g->ldk, g->ldn, g->b_batch[0], g->b_batch[1])) return -1;
  if (!g->epilogue && !EXPRS(g->c_off, g->ldc, g->c_batch[0], g->c_batch[1])) return -1;
  /* A double product has no float tile to hand on, and no packed form; tiles are never whole rows. */
  bool bad = g->a < 0 || g->b < 0 || (g->f64 && (g->epilogue || g->packed)) || (!g->epilogue && g->c < 0) ||
             (g->epilogue && g->epilogue->whole_cols) || (unsigned)g->format >= TY_NFORMATS || (!g->packed && !wide_format(g->format)) || (g->f64 && g->format != TY_FORMAT_f32) ||
             (g->bytes && (!g->packed || (g->format != TY_FORMAT_int8 && g->format != TY_FORMAT_int8x8)));
  if (bad) return bad_argument(p);
  s.u.gemm = *g;
  s.u.gemm.epilogue = NULL;
  if (!ref_add(p, g->a, false) || !ref_add(p, g->b, false) || !ref_add(p, g->epilogue ? -1 : g->c, true)) return -1;
  if (g->epilogue && !loop_copy(p, &s, g->epilogue)) return -1;
  return step_end(p, &s);
}

int ty_program_add_attn(ty_program *p, const ty_step_info *info, const ty_step_attn *a) {
  rt_step s;
  if (!step_begin(p, &s, info, RT_ATTN) || !all_ok(p, a->off, 4) || !all_ok(p, a->stride[0], 12)) return -1;
  if (!EXPRS(a->batch, a->heads, a->kv_heads, a->sq, a->sk, a->d, a->dv)) return -1;
  if (a->mask >= 0 && (!EXPRS(a->mask_off) || !all_ok(p, a->mask_stride, 4))) return -1;
  if (a->bias >= 0 && (!EXPRS(a->bias_off) || !all_ok(p, a->bias_stride, 4))) return -1;
  if (a->q < 0 || a->k < 0 || a->v < 0 || a->o < 0 || !wide_format(a->format)) return bad_argument(p);
  s.u.attn = *a;
  if (!ref_add(p, a->q, false) || !ref_add(p, a->k, false) || !ref_add(p, a->v, false) || !ref_add(p, a->o, true) ||
      !ref_add(p, a->mask, false) || !ref_add(p, a->bias, false))
    return -1;
  return step_end(p, &s);
}

int ty_program_add_pack(ty_program *p, const ty_step_info *info, const ty_step_pack *k) {
  rt_step s;
  if (!step_begin(p, &s, info, RT_PACK) || !EXPRS(k->off, k->ldk, k->ldn, k->k, k->n)) return -1;
  if (k->src < 0 || k->dst < 0 || (unsigned)k->format >= TY_NFORMATS) return bad_argument(p);
  s.u.pack = *k;
  return ref_add(p, k->src, false) && ref_add(p, k->dst, true) ? step_end(p, &s) : -1;
}

/* A shape that a kernel takes, of numbers that cannot overflow when they are combined. */
static bool conv_ok(ty_conv_kind kind, ty_format format, const ty_conv_shape *s) {
  const int64_t most = (int64_t)1 << 31, v[] = {s->groups, s->c, s->o, s->k[0], s->k[1], s->k[2], s->stride[0], s->stride[1], s->stride[2], s->dil[0], s->dil[1], s->dil[2]};
  int64_t floats = 1;
  for (size_t i = 0; i < sizeof v / sizeof *v; i++)
    if (v[i] < 1 || v[i] > most || (i < 6 && (!ty_mul_i64(floats, v[i], &floats) || floats > (int64_t)1 << 40))) return false;
  return (unsigned)kind < TY_CONV_KINDS && wide_format(format) && ty_conv_can(kind, s) && ty_conv_takes(format, kind, s);
}

int ty_program_add_conv(ty_program *p, const ty_step_info *info, const ty_step_conv *c) {
  rt_step s;
  if (!step_begin(p, &s, info, RT_CONV) || !EXPRS(c->x_off, c->x_n, c->batch) || !all_ok(p, c->x_s, 3) || !all_ok(p, c->in, 3) || !all_ok(p, c->out, 3)) return -1;
  if (!c->epilogue && (!EXPRS(c->y_off, c->y_n) || !all_ok(p, c->y_s, 3))) return -1;
  if (c->x < 0 || c->w < 0 || (!c->epilogue && c->y < 0) || (c->epilogue && c->epilogue->whole_cols) || !conv_ok(c->kind, c->format, &c->s)) return bad_argument(p);
  for (int i = 0; i < 3; i++)
    if (c->pad[i] > (int64_t)1 << 31 || c->pad[i] < -((int64_t)1 << 31)) return bad_argument(p);
  s.u.conv = *c;
  s.u.conv.epilogue = NULL;
  if (!ref_add(p, c->x, false) || !ref_add(p, c->w, false) || !ref_add(p, c->epilogue ? -1 : c->y, true)) return -1;
  if (c->epilogue && !loop_copy(p, &s, c->epilogue)) return -1;
  return step_end(p, &s);
}

int ty_program_add_conv_pack(ty_program *p, const ty_step_info *info, const ty_step_conv_pack *k) {
  rt_step s;
  if (!step_begin(p, &s, info, RT_CONV_PACK) || !EXPRS(k->off) || !all_ok(p, k->ld, 5)) return -1;
  if (k->src < 0 || k->dst < 0 || !conv_ok(k->kind, k->format, &k->s)) return bad_argument(p);
  s.u.conv_pack = *k;
  return ref_add(p, k->src, false) && ref_add(p, k->dst, true) ? step_end(p, &s) : -1;
}

int ty_program_add_rnn(ty_program *p, const ty_step_info *info, const ty_step_rnn *r) {
  rt_step s;
  if (!step_begin(p, &s, info, RT_RNN) || !EXPRS(r->t, r->b, r->d, r->h, r->p)) return -1;
  bool bad = r->x < 0 || r->whh < 0 || r->h0 < 0 || r->out < 0 || r->kind < 0 || r->kind > TY_RNN_LSTM || (r->kind == TY_RNN_LSTM) != (r->c0 >= 0) ||
             (r->whr >= 0 && r->kind != TY_RNN_LSTM);
  if (bad) return bad_argument(p);
  s.u.rnn = *r;
  if (!ref_add(p, r->x, false) || !ref_add(p, r->whh, false) || !ref_add(p, r->bhh, false) || !ref_add(p, r->whr, false) ||
      !ref_add(p, r->h0, false) || !ref_add(p, r->c0, false) || !ref_add(p, r->out, true))
    return -1;
  return step_end(p, &s);
}

int ty_program_add_routine(ty_program *p, const ty_step_info *info, const ty_step_routine *r) {
  rt_step s;
  if (!step_begin(p, &s, info, RT_ROUTINE) || !EXPRS(r->size[0], r->size[1], r->size[2])) return -1;
  bool scatter = r->which >= TY_SCATTER_SET && r->which <= TY_SCATTER_MIN, bag = r->which >= TY_BAG_SUM, narrow = r->dtype == TY_f16 || r->dtype == TY_bf16;
  bool bad = r->which < 0 || r->which >= TY_NROUTINES || (unsigned)r->dtype >= TY_NDTYPE || r->out < 0 || r->in[0] < 0 ||
             ((scatter || bag) && (r->in[1] < 0 || r->in[2] < 0)) || (scatter && narrow) || (bag && r->dtype != TY_f32 && r->dtype != TY_f64);
  if (bad) return bad_argument(p);
  if (bag && !EXPRS(r->size[3], r->size[4], r->size[5])) return -1;
  s.u.routine = *r;
  for (int i = 0; i < 4; i++)
    if (!ref_add(p, r->in[i], false)) return -1;
  return ref_add(p, r->out, true) ? step_end(p, &s) : -1;
}

void ty_program_need(ty_program *p, ty_pneed_rel rel, ty_pexpr a, ty_pexpr b, const char *what) {
  rt_need n = {rel, a, b, ty_arena_strdup(&p->mem, what)};
  if (!EXPRS(a, b) || (unsigned)rel > TY_PN_LE) bad_argument(p);
  else if (!n.what || !TY_PUSH(&p->need, n)) no_memory(p);
}

/* ---- the end of building ---- */

/* One step's place in the order: what it reads was written, and folded steps touch only what outlives a run. */
static ty_status step_check(ty_program *p, ty_ctx *ctx, const rt_step *s, bool *written) {
  for (int pass = 0; pass < 2; pass++) /* reads, then writes: a slot that is written may be read as well */
    for (int i = s->ref0; i < s->ref0 + s->nrefs; i++) {
      rt_ref r = p->ref.p[i];
      if (r.buf < 0 || r.write != (pass == 1)) continue;
      rt_buf *b = &p->buf.p[r.buf];
      b->touched[s->fold ? RT_FOLD : RT_RUN] = true;
      const char *why = NULL;
      if (r.write && b->kind == TY_PB_LITERAL) why = "writes a literal";
      else if (r.write && b->kind == TY_PB_STATE && (!s->fold || b->kept)) why = "writes folded state during a run";
      else if (s->fold && b->kind == TY_PB_OUTPUT) why = "is folded and touches an output";
      else if (s->fold && r.write && b->kind == TY_PB_INPUT) why = "is folded and writes an input";
      else if (b->kind == TY_PB_ARENA && b->touched[RT_FOLD] && b->touched[RT_RUN]) why = "shares an arena buffer between folding and running:";
      else if (!r.write && (b->kind == TY_PB_ARENA || b->kind == TY_PB_STATE) && !b->kept && !written[r.buf]) why = "reads before anything was written:";
      if (why) return ty_fail(ctx, TY_INTERNAL, "step '%s' %s buffer %d '%s'", s->name, why, r.buf, b->name);
      if (r.write) written[r.buf] = true;
    }
  return TY_OK;
}

ty_status ty_program_finish(ty_program *p, ty_ctx *ctx) {
  if (p->failed || p->mem.failed) return ty_fail(ctx, TY_NOMEM, "out of memory while building the program");
  if (p->broken) return ty_fail(ctx, TY_INTERNAL, "the program was built with bad arguments");
  if (p->finished) return ty_fail(ctx, TY_INTERNAL, "the program is finished already");
  bool *written = ty_alloc((size_t)p->buf.n * sizeof *written);
  ty_status st = written ? TY_OK : ty_fail(ctx, TY_NOMEM, "out of memory while finishing the program");
  for (int phase = RT_FOLD; st == TY_OK && phase >= 0; phase--) /* folded steps come first */
    for (int i = 0; st == TY_OK && i < p->step.n; i++) {
      const rt_step *s = &p->step.p[i];
      if (s->fold != (phase == RT_FOLD)) continue;
      st = step_check(p, ctx, s, written);
      rt_part *part = &p->part[phase];
      bool ok = TY_PUSH(&part->order, i);
      for (int r = s->ref0; ok && r < s->ref0 + s->nrefs; r++) {
        rt_io io = {p->ref.p[r].buf, r};
        if (io.buf >= 0 && p->buf.p[io.buf].kind <= TY_PB_OUTPUT) ok = TY_PUSH(&part->io, io);
      }
      if (!ok && st == TY_OK) st = ty_fail(ctx, TY_NOMEM, "out of memory while finishing the program");
    }
  ty_free(written);
  TY_TRY(st);
  TY_TRY(ty_rt_fold_finish(p, ctx));
  p->finished = true;
  return TY_OK;
}

void ty_program_set_fn(ty_program *p, const void *self, ty_loop_fn fn) {
  for (int i = 0; i < p->step.n; i++)
    if (p->step.p[i].has_loop && p->step.p[i].loop.self == self) atomic_store(&p->step.p[i].fn, fn);
  atomic_store(&p->ready, false); /* the next run looks again */
}
