/* source.c: archives as models of the public API: their face, the fixing of sizes, the addresses of their weights. */
#include "api/source.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ops/ops.h"

/* ---- faces ---- */
static ty_pexpr expr_of(ty_program *p, const ty_graph *g, ty_dim d) {
  static const ty_pexpr_op op[] = {[TY_DIM_ADD] = TY_PE_ADD, [TY_DIM_MUL] = TY_PE_MUL, [TY_DIM_DIV] = TY_PE_DIV, [TY_DIM_MOD] = TY_PE_MOD,
                                   [TY_DIM_MIN] = TY_PE_MIN, [TY_DIM_MAX] = TY_PE_MAX};
  if (d < 0) return -1;
  ty_dim_expr e = *ty_dim_get(g, d);
  if (e.op == TY_DIM_CONST) return ty_program_const(p, e.value);
  if (e.op == TY_DIM_SYM) return ty_program_expr(p, TY_PE_SYM, e.value, -1, -1);
  ty_pexpr a = expr_of(p, g, e.a), b = expr_of(p, g, e.b);
  return ty_program_expr(p, op[e.op], 0, a, b);
}

typedef struct facing { const ty_graph *g; ty_program *p; ty_face *f; } facing;

static const char *dim_text(facing *x, ty_dim d) {
  ty_str s = {0};
  ty_dim_print(x->g, d, &s);
  const char *t = ty_arena_strdup(&x->f->mem, s.p && !s.failed ? s.p : "?");
  ty_str_free(&s);
  return t;
}

static void leaf_tensor(facing *x, ty_face_leaf *l, const char *name, int index, ty_dtype dtype, int rank, const ty_dim *shape) {
  tuyere_dim *dims = ty_arena_alloc(&x->f->mem, (size_t)rank * sizeof *dims);
  ty_pexpr *e = ty_arena_alloc(&x->f->mem, (size_t)rank * sizeof *e);
  *l = (ty_face_leaf){.info = {ty_arena_strdup(&x->f->mem, name), (tuyere_dtype)dtype, rank, dims}, .dims = e, .index = index, .number = -1};
  if (!dims || !e) return;
  for (int i = 0; i < rank; i++) {
    int64_t size = -1;
    ty_dim_is_const(x->g, shape[i], &size);
    ty_dim_expr d = *ty_dim_get(x->g, shape[i]);
    dims[i] = (tuyere_dim){size, dim_text(x, shape[i]), d.lo < 0 ? 0 : d.lo, d.hi};
    e[i] = x->p ? expr_of(x->p, x->g, shape[i]) : -1;
  }
}

/* A leaf that is a number; false for what is no number. */
static bool leaf_number(facing *x, ty_face_leaf *l, const char *name, const ty_arg *a) {
  *l = (ty_face_leaf){.info = {ty_arena_strdup(&x->f->mem, name), TUYERE_I64, 0, NULL}, .index = -1, .number = -1};
  if (a->kind == TY_ARG_INT) l->number = x->p ? expr_of(x->p, x->g, a->i) : -1;
  else if (a->kind == TY_ARG_FLOAT) l->info.dtype = TUYERE_F64, l->value = a->f;
  else if (a->kind == TY_ARG_BOOL) l->info.dtype = TUYERE_BOOL, l->value = a->b;
  else return false;
  return true;
}

static void state(facing *x, const ty_imported_input *in, ty_face_state *s) {
  const ty_value *v = x->g->inputs.p[in->input];
  *s = (ty_face_state){.input = in->input, .output = in->update, .bytes = in->bytes};
  s->like = (tuyere_tensor){.data = (void *)(uintptr_t)in->data, .dtype = (tuyere_dtype)v->dtype, .rank = v->rank};
  int64_t contiguous = 1;
  for (int d = v->rank; d-- > 0;) {
    ty_dim_is_const(x->g, v->shape[d], &s->like.shape[d]);
    s->like.strides[d] = contiguous;
    if (v->strides) ty_dim_is_const(x->g, v->strides[d], &s->like.strides[d]);
    contiguous *= s->like.shape[d] > 0 ? s->like.shape[d] : 1;
  }
}

ty_status ty_source_face(ty_ctx *ctx, const ty_imported *im, const ty_graph *g, ty_program *p, ty_face *f) {
  facing x = {g, p, f};
  *f = (ty_face){.nsyms = p ? ty_program_nsyms(p) : 0, .program_inputs = g->inputs.n, .program_outputs = g->outputs.n};
  for (int i = 0; i < im->ninputs; i++) f->nstates += im->inputs[i].input >= 0 && im->inputs[i].update >= 0;
  f->syms = ty_arena_alloc(&f->mem, (size_t)f->nsyms * sizeof *f->syms);
  f->inputs = ty_arena_alloc(&f->mem, (size_t)im->nusers * sizeof *f->inputs);
  f->outputs = ty_arena_alloc(&f->mem, (size_t)im->noutputs * sizeof *f->outputs);
  f->states = ty_arena_alloc(&f->mem, (size_t)f->nstates * sizeof *f->states);
  f->guards = ty_arena_alloc(&f->mem, (size_t)im->nguards * sizeof *f->guards);
  if (f->mem.failed) return ty_fail(ctx, TY_NOMEM, "out of memory for a model");
  for (int i = 0; i < f->nsyms; i++) {
    const ty_sym *s = ty_dim_sym(g, i);
    f->syms[i] = (ty_face_sym){ty_arena_strdup(&f->mem, s->name), s->lo, s->hi};
  }
  for (int i = 0; i < im->nusers; i++) {
    const ty_imported_input *in = &im->inputs[i];
    const ty_value *v = in->input >= 0 ? g->inputs.p[in->input] : NULL;
    if (v) leaf_tensor(&x, &f->inputs[f->ninputs++], in->name, in->input, v->dtype, v->rank, v->shape);
    else if (in->literal.kind == TY_ARG_INT && !ty_dim_is_const(g, in->literal.i, NULL)) leaf_number(&x, &f->inputs[f->ninputs++], in->name, &in->literal);
  }
  for (int i = 0; i < im->noutputs; i++) {
    const ty_imported_output *o = &im->outputs[i];
    const ty_value *v = o->output >= 0 ? g->outputs.p[o->output] : NULL;
    if (v) leaf_tensor(&x, &f->outputs[f->noutputs++], o->name, o->output, v->dtype, v->rank, v->shape);
    else f->noutputs += leaf_number(&x, &f->outputs[f->noutputs], o->name, &o->literal);
  }
  int n = 0;
  for (int i = 0; i < im->ninputs; i++)
    if (im->inputs[i].input >= 0 && im->inputs[i].update >= 0) state(&x, &im->inputs[i], &f->states[n++]);
  for (int i = 0; p && i < im->nguards; i++) {
    const ty_imported_guard *u = &im->guards[i];
    f->guards[f->nguards++] = (ty_face_guard){expr_of(p, g, u->a), expr_of(p, g, u->b), (ty_face_rel)u->rel, ty_arena_strdup(&f->mem, u->text)};
  }
  return f->mem.failed ? ty_fail(ctx, TY_NOMEM, "out of memory for a model") : TY_OK;
}
_Static_assert((int)TY_GUARD_EQ == (int)TY_FACE_EQ && (int)TY_GUARD_NE == (int)TY_FACE_NE && (int)TY_GUARD_LT == (int)TY_FACE_LT &&
                   (int)TY_GUARD_LE == (int)TY_FACE_LE, "relations");

void **ty_source_inputs(const ty_imported *im, const ty_graph *g) {
  void **in = ty_alloc((size_t)g->inputs.n * sizeof *in);
  for (int i = im->nusers; in && i < im->ninputs; i++)
    if (im->inputs[i].input >= 0 && im->inputs[i].update < 0) in[im->inputs[i].input] = (void *)(uintptr_t)im->inputs[i].data;
  return in;
}

void ty_source_drop(const void *data, size_t bytes) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)data + page - 1) & -page, to = ((uintptr_t)data + bytes) & -page;
  if (from < to) madvise((void *)from, to - from, MADV_DONTNEED);
}

/* ---- sizes to fix ---- */
ty_status ty_source_fixes(ty_ctx *ctx, const char *text, ty_arena *mem, ty_archive_options *out) {
  *out = (ty_archive_options){0};
  if (!text || !*text) return TY_OK;
  int n = 1;
  for (const char *p = text; *p; p++) n += *p == ',';
  ty_archive_fix *fix = ty_arena_alloc(mem, (size_t)n * sizeof *fix);
  char *s = ty_arena_strdup(mem, text);
  if (!fix || !s) return ty_fail(ctx, TY_NOMEM, "out of memory");
  for (int i = 0; i < n; i++) {
    char *end = s + strcspn(s, ","), *eq = strchr(s, '=');
    bool last = !*end;
    *end = 0;
    if (!eq || eq == s) return ty_fail(ctx, TY_INVALID, "'%s' is not of the form NAME=1x128", s);
    *eq = 0;
    int64_t *sizes = ty_arena_alloc(mem, 2 * TY_MAX_RANK * sizeof *sizes), *most = sizes + TY_MAX_RANK;
    if (!sizes) return ty_fail(ctx, TY_NOMEM, "out of memory");
    fix[i] = (ty_archive_fix){s, 0, sizes, most};
    for (char *p = eq + 1; *p;) {
      char *q;
      long long v = strtoll(p, &q, 10), to = v;
      bool range = q != p && q[0] == '.' && q[1] == '.';
      if (range) {
        p = q + 2;
        to = strtoll(p, &q, 10);
        if (q == p) to = INT64_MAX, p = q - 2; /* "2..": no end */
      }
      if (q == p || (*q && *q != 'x') || (*q == 'x' && !q[1]) || v < -1 || (range && (v < 0 || to <= v)) || fix[i].rank == TY_MAX_RANK)
        return ty_fail(ctx, TY_INVALID, "sizes of '%s': '%s' is not of the form 1x128 or 1..8x128", s, eq + 1);
      sizes[fix[i].rank] = v;
      most[fix[i].rank++] = to;
      p = *q ? q + 1 : q;
    }
    if (!last) s = end + 1;
  }
  *out = (ty_archive_options){n, fix};
  return TY_OK;
}

/* ---- the model ---- */
typedef struct archive { ty_source source; ty_imported *look; } archive; /* look: for its face, and why it would not compile */

static void archive_destroy(void *self) {
  archive *a = self;
  ty_imported_destroy(a->look);
  a->source.destroy(a->source.self);
  ty_free(a);
}
static const ty_model_owner owner = {archive_destroy, NULL};

const ty_source *ty_source_of(const tuyere_model *m) { return m->owner == &owner ? &((const archive *)m->self)->source : NULL; }

ty_status ty_source_model(ty_ctx *ctx, ty_source s, tuyere_model **out) {
  *out = NULL;
  archive *a = ty_alloc(sizeof *a);
  tuyere_model *m = a ? ty_model_new(&owner, a) : NULL;
  if (!m) {
    ty_free(a);
    s.destroy(s.self);
    return ty_fail(ctx, TY_NOMEM, "out of memory for a model");
  }
  a->source = s;
  ty_status st = s.import(ctx, s.self, NULL, &a->look);
  if (st == TY_UNSUPPORTED && a->look) st = TY_OK; /* can be looked at; compiling it tells the reasons */
  if (!st) st = ty_source_face(ctx, a->look, a->look->graph, NULL, &m->face);
  if (st) tuyere_model_destroy(m);
  else *out = m;
  return st;
}
