/* save.c: a program's run part to bytes and back, by the table of steps; what is read is checked as if an enemy had written it. */
#include "rt/program_int.h"
#include "rt/save.h"

/* ---- the table of fields ---- */
typedef enum field_type { F_BUF, F_EXPR, F_FLAG, F_INT, F_WIDE, F_NUM, F_DTYPE, F_LOOP } field_type;
typedef struct field { field_type type; size_t at, n; } field;
typedef struct fields { const field *p; int n; } fields;

static fields fields_of(rt_kind kind) {
  switch (kind) {
#define FIELD(type, ctype, f) {type, offsetof(step_t, f), sizeof((step_t){0}.f) / sizeof(ctype)},
#define BUF(f) FIELD(F_BUF, ty_pbuf, f)
#define EXPR(f) FIELD(F_EXPR, ty_pexpr, f)
#define FLAG(f) FIELD(F_FLAG, bool, f)
#define INT(f) FIELD(F_INT, int, f)
#define WIDE(f) FIELD(F_WIDE, int64_t, f)
#define NUM(f) FIELD(F_NUM, double, f)
#define DTYPE(f) FIELD(F_DTYPE, ty_dtype, f)
#define LOOP(f) FIELD(F_LOOP, const ty_step_loop *, f)
#define TY_STEP(KIND, member, list) \
  case RT_##KIND: { \
    typedef ty_step_##member step_t; \
    static const field table[] = {list {F_BUF, sizeof(step_t), 0}}; \
    return (fields){table, (int)(sizeof table / sizeof *table) - 1}; \
  }
#include "rt/steps.def"
#undef TY_STEP
  }
  return (fields){NULL, 0};
}

/* ---- writing ---- */
typedef struct saver {
  const ty_program *p;
  ty_writer *w;
  int *buf;                  /* number of a buffer in the saved program, -1: runs do not touch it */
  int (*loop_number)(void *user, const void *self);
  void *user;
} saver;

static void put_buf(saver *s, ty_pbuf b) { ty_put_int(s->w, b < 0 ? -1 : s->buf[b]); }

static void put_loop(saver *s, const ty_step_loop *l) {
  ty_put_int(s->w, s->loop_number(s->user, l->self));
  ty_put_unsigned(s->w, (uint64_t)l->nbufs);
  for (int i = 0; i < l->nbufs; i++) put_buf(s, l->bufs[i]), ty_put_unsigned(s->w, l->writes[i]);
  ty_put_unsigned(s->w, (uint64_t)l->npars);
  for (int i = 0; i < l->npars; i++) ty_put_int(s->w, l->pars[i]);
  ty_put_int(s->w, l->rows);
  ty_put_int(s->w, l->cols);
  ty_put_unsigned(s->w, l->whole_cols);
  ty_put_unsigned(s->w, l->dense);
  ty_put_unsigned(s->w, l->scratch_fixed);
  ty_put_unsigned(s->w, l->scratch_per_col);
}

static void put_field(saver *s, const rt_step *step, const field *f, size_t i) {
  const char *at = (const char *)&step->u + f->at;
  switch (f->type) {
  case F_BUF: put_buf(s, ((const ty_pbuf *)at)[i]); break;
  case F_EXPR: ty_put_int(s->w, ((const ty_pexpr *)at)[i]); break;
  case F_FLAG: ty_put_unsigned(s->w, ((const bool *)at)[i]); break;
  case F_INT: ty_put_int(s->w, ((const int *)at)[i]); break;
  case F_WIDE: ty_put_int(s->w, ((const int64_t *)at)[i]); break;
  case F_NUM: ty_put_double(s->w, ((const double *)at)[i]); break;
  case F_DTYPE: ty_put_int(s->w, ((const ty_dtype *)at)[i]); break;
  case F_LOOP:
    ty_put_unsigned(s->w, step->has_loop);
    if (step->has_loop) put_loop(s, &step->loop);
  }
}

static void put_step(saver *s, const rt_step *step) {
  ty_put_int(s->w, (int)step->kind);
  ty_put_text(s->w, step->name);
  ty_put_text(s->w, step->kernel);
  ty_put_int(s->w, step->flops);
  ty_put_int(s->w, step->bytes);
  fields t = fields_of(step->kind);
  for (int i = 0; i < t.n; i++)
    for (size_t k = 0; k < t.p[i].n; k++) put_field(s, step, &t.p[i], k);
  if (step->kind == RT_LOOP) put_loop(s, &step->loop);
}

static void put_buffers(saver *s) {
  int n = 0;
  for (int i = 0; i < s->p->buf.n; i++) s->buf[i] = s->p->buf.p[i].touched[RT_RUN] ? n++ : -1;
  ty_put_unsigned(s->w, (uint64_t)n);
  for (int i = 0; i < s->p->buf.n; i++) {
    const rt_buf *b = &s->p->buf.p[i];
    if (s->buf[i] < 0) continue;
    ty_pbuf_kind kind = b->kept ? TY_PB_STATE : b->kind;
    ty_put_int(s->w, (int)kind);
    ty_put_int(s->w, (int)b->dtype);
    ty_put_text(s->w, b->name);
    ty_put_int(s->w, b->bytes);
    if (kind == TY_PB_STATE) ty_put_unsigned(s->w, b->state_off);
    else if (kind == TY_PB_LITERAL) {
      ty_put_unsigned(s->w, b->size);
      ty_put_align(s->w, RT_ALIGN);
      ty_put_bytes(s->w, b->literal, b->size);
    } else ty_put_int(s->w, b->index);
  }
}

ty_status ty_program_save(const ty_program *p, ty_ctx *ctx, ty_writer *w, int (*loop_number)(void *user, const void *self), void *user) {
  if (!p->finished) return ty_fail(ctx, TY_INTERNAL, "the program is not finished");
  saver s = {p, w, ty_alloc((size_t)p->buf.n * sizeof *s.buf), loop_number, user};
  if (!s.buf) return ty_fail(ctx, TY_NOMEM, "out of memory while saving a program");
  ty_put_int(w, TY_SAVE_FORMAT);
  ty_put_int(w, p->panel);
  ty_put_unsigned(w, (uint64_t)p->sym.n);
  for (int i = 0; i < p->sym.n; i++) ty_put_text(w, p->sym.p[i]);
  ty_put_unsigned(w, (uint64_t)p->expr.n);
  for (int i = 0; i < p->expr.n; i++) {
    const rt_expr *e = &p->expr.p[i];
    ty_put_int(w, (int)e->op);
    if (e->op == TY_PE_CONST || e->op == TY_PE_SYM) ty_put_int(w, e->v);
    else ty_put_int(w, e->a), ty_put_int(w, e->b);
  }
  put_buffers(&s);
  const rt_part *part = &p->part[RT_RUN];
  ty_put_unsigned(w, (uint64_t)part->order.n);
  for (int i = 0; i < part->order.n; i++) put_step(&s, &p->step.p[part->order.p[i]]);
  ty_put_unsigned(w, (uint64_t)p->need.n);
  for (int i = 0; i < p->need.n; i++) {
    const rt_need *n = &p->need.p[i];
    ty_put_int(w, (int)n->rel), ty_put_int(w, n->a), ty_put_int(w, n->b), ty_put_text(w, n->what);
  }
  ty_free(s.buf);
  return w->failed ? ty_fail(ctx, TY_NOMEM, "out of memory while saving a program") : TY_OK;
}

/* ---- reading ---- */
typedef struct loader {
  ty_program *p;
  ty_reader *r;
  int nfns;
  const ty_loop_fn *fns;
  size_t weights;
  ty_arena tmp;              /* arrays of a loop, until it is copied */
} loader;

static ty_pexpr get_expr(loader *l) { return ty_get_range(l->r, -1, l->p->expr.n - 1); }
static ty_pbuf get_buf(loader *l) { return ty_get_range(l->r, -1, l->p->buf.n - 1); }
static bool get_flag(loader *l) { return ty_get_unsigned(l->r) != 0; }
static size_t get_scratch(loader *l) {
  uint64_t v = ty_get_unsigned(l->r);
  if (v > 1u << 30) l->r->bad = true;
  return l->r->bad ? 0 : (size_t)v;
}

static const ty_step_loop *get_loop(loader *l) {
  ty_step_loop *s = ty_arena_alloc(&l->tmp, sizeof *s);
  int fn = ty_get_range(l->r, 0, l->nfns - 1), n = ty_get_count(l->r);
  ty_pbuf *bufs = ty_arena_alloc(&l->tmp, (size_t)n * sizeof *bufs);
  bool *writes = ty_arena_alloc(&l->tmp, (size_t)n * sizeof *writes);
  if (!s || !bufs || !writes || l->r->bad) return NULL;
  for (int i = 0; i < n; i++) bufs[i] = ty_get_range(l->r, 0, l->p->buf.n - 1), writes[i] = get_flag(l);
  int np = ty_get_count(l->r);
  ty_pexpr *pars = ty_arena_alloc(&l->tmp, (size_t)np * sizeof *pars);
  if (!pars || l->r->bad) return NULL;
  for (int i = 0; i < np; i++) pars[i] = get_expr(l);
  *s = (ty_step_loop){.fn = l->fns[fn], .nbufs = n, .bufs = bufs, .writes = writes, .npars = np, .pars = pars};
  s->rows = get_expr(l), s->cols = get_expr(l), s->whole_cols = get_flag(l), s->dense = get_flag(l);
  s->scratch_fixed = get_scratch(l), s->scratch_per_col = get_scratch(l);
  return l->r->bad ? NULL : s;
}

static void get_field(loader *l, char *step, const field *f, size_t i) {
  char *at = step + f->at;
  switch (f->type) {
  case F_BUF: ((ty_pbuf *)at)[i] = get_buf(l); break;
  case F_EXPR: ((ty_pexpr *)at)[i] = get_expr(l); break;
  case F_FLAG: ((bool *)at)[i] = get_flag(l); break;
  case F_INT: ((int *)at)[i] = ty_get_range(l->r, INT32_MIN, INT32_MAX); break;
  case F_WIDE: ((int64_t *)at)[i] = ty_get_int(l->r); break;
  case F_NUM: ((double *)at)[i] = ty_get_double(l->r); break;
  case F_DTYPE: ((ty_dtype *)at)[i] = (ty_dtype)ty_get_range(l->r, 0, TY_NDTYPE - 1); break;
  case F_LOOP:
    if (get_flag(l) && !(*(const ty_step_loop **)at = get_loop(l))) l->r->bad = true;
  }
}

static bool get_step(loader *l) {
  rt_kind kind = (rt_kind)ty_get_int(l->r);
  ty_step_info info = {.name = ty_get_text(l->r), .kernel = ty_get_text(l->r)};
  info.flops = get_expr(l), info.bytes = get_expr(l);
  union { ty_step_loop loop; ty_step_gemm gemm; ty_step_attn attn; ty_step_pack pack; ty_step_conv conv; ty_step_conv_pack conv_pack; ty_step_rnn rnn; ty_step_routine routine; } u = {0};
  fields t = fields_of(kind);
  for (int i = 0; i < t.n; i++)
    for (size_t k = 0; k < t.p[i].n; k++) get_field(l, (char *)&u, &t.p[i], k);
  const ty_step_loop *own = kind == RT_LOOP ? get_loop(l) : NULL;
  if (own) u.loop = *own;
  if (l->r->bad || l->tmp.failed || (kind == RT_LOOP && !own)) return false;
  switch (kind) {
#define TY_STEP(KIND, member, list) case RT_##KIND: return ty_program_add_##member(l->p, &info, &u.member) >= 0;
#include "rt/steps.def"
#undef TY_STEP
  }
  return false;
}

static bool get_expressions(loader *l) {
  int n = ty_get_count(l->r);
  for (int i = 0; i < n && !l->r->bad; i++) {
    ty_pexpr_op op = (ty_pexpr_op)ty_get_range(l->r, 0, TY_PE_MAX);
    int64_t v = op == TY_PE_CONST || op == TY_PE_SYM ? ty_get_int(l->r) : 0;
    ty_pexpr a = -1, b = -1;
    if (op != TY_PE_CONST && op != TY_PE_SYM) a = ty_get_range(l->r, 0, i - 1), b = ty_get_range(l->r, 0, i - 1);
    if (!l->r->bad && ty_program_expr(l->p, op, v, a, b) != i) l->r->bad = true; /* they were told apart when they were saved */
  }
  return !l->r->bad;
}

static bool get_buffer(loader *l) {
  ty_pbuf_kind kind = (ty_pbuf_kind)ty_get_range(l->r, 0, TY_PB_LITERAL);
  ty_dtype dtype = (ty_dtype)ty_get_range(l->r, 0, TY_NDTYPE - 1);
  const char *name = ty_get_text(l->r);
  ty_pexpr bytes = get_expr(l);
  uint64_t number = kind == TY_PB_STATE || kind == TY_PB_LITERAL ? ty_get_unsigned(l->r) : (uint64_t)ty_get_int(l->r);
  if (l->r->bad || bytes < 0) return false;
  const rt_expr *e = &l->p->expr.p[bytes];
  rt_buf b = {.kind = kind, .index = -1, .dtype = dtype, .name = name, .bytes = bytes, .size = (size_t)e->v};
  if (kind == TY_PB_STATE) { /* lies in the weights, whole */
    b.kept = true, b.state_off = (size_t)number;
    if (e->op != TY_PE_CONST || e->v < 0 || number % RT_ALIGN || number > l->weights || (uint64_t)e->v > l->weights - number) return false;
  } else if (kind == TY_PB_LITERAL) {
    ty_get_align(l->r, RT_ALIGN);
    b.literal = (void *)(uintptr_t)ty_get_bytes(l->r, number);
    if (!b.literal || e->op != TY_PE_CONST || (uint64_t)e->v != number) return false;
    l->p->literals += (size_t)number;
  } else return ty_program_buffer(l->p, kind, (int)(number > INT32_MAX ? -1 : (int64_t)number), dtype, bytes, name) >= 0;
  return TY_PUSH(&l->p->buf, b) || (l->p->failed = true, false);
}

static bool get_program(loader *l) {
  if (ty_get_int(l->r) != TY_SAVE_FORMAT) return false;
  l->p->panel = ty_get_range(l->r, 8, 1024);
  if (l->r->bad || l->p->panel % l->p->kernels->nr) return false;
  for (int i = ty_get_count(l->r); i > 0; i--)
    if (ty_program_symbol(l->p, ty_get_text(l->r)) < 0) return false;
  if (!get_expressions(l)) return false;
  for (int i = ty_get_count(l->r); i > 0; i--)
    if (!get_buffer(l)) return false;
  for (int i = ty_get_count(l->r); i > 0; i--) {
    bool ok = get_step(l);
    ty_arena_reset(&l->tmp);
    if (!ok) return false;
  }
  if (!ty_rt_multiplies(l->p)) return false;
  for (int i = ty_get_count(l->r); i > 0; i--) {
    ty_pneed_rel rel = (ty_pneed_rel)ty_get_range(l->r, 0, TY_PN_LE);
    ty_pexpr a = get_expr(l), b = get_expr(l);
    ty_program_need(l->p, rel, a, b, ty_get_text(l->r));
    if (l->p->broken) return false;
  }
  return !l->r->bad;
}

ty_status ty_program_load(ty_ctx *ctx, ty_reader *r, ty_isa tier, const void *weights, size_t weights_bytes, int nfns, const ty_loop_fn *fns,
                          ty_program **out) {
  *out = NULL;
  ty_program *p = ty_program_create(ctx);
  if (!p) return TY_NOMEM;
  p->kernels = ty_kernels_get(tier);
  p->state = (char *)(uintptr_t)weights; /* never written: no step may write STATE outside of folding */
  p->state_bytes = weights_bytes, p->state_given = p->folded = true;
  loader l = {.p = p, .r = r, .nfns = nfns, .fns = fns, .weights = weights_bytes};
  bool ok = get_program(&l), memory = p->failed || p->mem.failed || l.tmp.failed;
  ty_arena_free(&l.tmp);
  ty_status st = ok ? ty_program_finish(p, ctx)
                 : memory ? ty_fail(ctx, TY_NOMEM, "out of memory while loading a program")
                          : ty_fail(ctx, TY_INVALID, "the saved program is damaged, near byte %td of %td", r->p - r->start, r->end - r->start);
  if (st) ty_program_destroy(p);
  else *out = p;
  return st;
}
