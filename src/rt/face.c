/* face.c: solves sizes for symbols and checks them; the face as bytes. */
#include "rt/face.h"

/* ---- solving ---- */

/* A dim of one unknown symbol is taken for a + b*s; the check that follows tells if it was not. */
static bool solve_one(const ty_program *p, ty_pexpr e, int64_t size, int64_t *syms, bool *known) {
  int sym = ty_program_unknown(p, e, known);
  int64_t at0, at1, step, rest;
  if (sym < 0) return false;
  syms[sym] = 0;
  if (!ty_program_eval(p, e, syms, &at0)) return false;
  syms[sym] = 1;
  if (!ty_program_eval(p, e, syms, &at1)) return false;
  syms[sym] = 0;
  if (__builtin_sub_overflow(at1, at0, &step) || __builtin_sub_overflow(size, at0, &rest) || step == 0 || rest % step) return false;
  syms[sym] = rest / step;
  return known[sym] = true;
}

static int64_t number_of(const tuyere_tensor *t) {
  return t->dtype == TUYERE_I64 ? *(const int64_t *)t->data : t->dtype == TUYERE_I32 ? *(const int32_t *)t->data : 0;
}

ty_status ty_face_check(ty_ctx *ctx, const ty_face *f, const ty_program *p, const int64_t *syms) {
  static const char *const rel[] = {"==", "!=", "<", "<="};
  for (int i = 0; i < f->nsyms; i++)
    if (syms[i] < f->syms[i].min || syms[i] > f->syms[i].max)
      return ty_fail(ctx, TY_INVALID, "%s is %lld, which is not in %lld to %lld", f->syms[i].name, (long long)syms[i], (long long)f->syms[i].min,
                     (long long)f->syms[i].max);
  for (int i = 0; i < f->nguards; i++) {
    const ty_face_guard *g = &f->guards[i];
    int64_t a, b;
    bool known = ty_program_eval(p, g->a, syms, &a) && ty_program_eval(p, g->b, syms, &b);
    bool ok = known && (g->rel == TY_FACE_EQ ? a == b : g->rel == TY_FACE_NE ? a != b : g->rel == TY_FACE_LT ? a < b : a <= b);
    if (!ok) return ty_fail(ctx, TY_INVALID, "the sizes break a rule of the model: %s (%lld %s %lld is needed)", g->text, (long long)(known ? a : 0),
                            rel[g->rel], (long long)(known ? b : 0));
  }
  return TY_OK;
}

ty_status ty_face_solve(ty_ctx *ctx, const ty_face *f, const ty_program *p, const tuyere_tensor *in, int64_t *syms) {
  bool known[64], *k = f->nsyms > 64 ? ty_alloc((size_t)f->nsyms) : known;
  if (!k) return ty_fail(ctx, TY_NOMEM, "out of memory for sizes");
  for (int i = 0; i < f->nsyms; i++) k[i] = false, syms[i] = 0;
  for (bool again = true; again;) { /* sums of two symbols wait until one is known */
    again = false;
    for (int i = 0; i < f->ninputs; i++) {
      const ty_face_leaf *l = &f->inputs[i];
      if (l->index < 0 && l->number >= 0) again |= solve_one(p, l->number, number_of(&in[i]), syms, k);
      for (int d = 0; l->index >= 0 && d < l->info.rank; d++) again |= solve_one(p, l->dims[d], in[i].shape[d], syms, k);
    }
  }
  for (int i = 0; i < f->nsyms; i++) /* appears in no input: any value in range will do */
    if (!k[i]) syms[i] = f->syms[i].min;
  if (k != known) ty_free(k);
  for (int i = 0; i < f->ninputs; i++) {
    const ty_face_leaf *l = &f->inputs[i];
    int64_t want;
    if (l->index < 0 && l->number >= 0 && (!ty_program_eval(p, l->number, syms, &want) || number_of(&in[i]) != want))
      return ty_fail(ctx, TY_INVALID, "input %d (%s) is %lld, which does not fit the other inputs", i, l->info.name, (long long)number_of(&in[i]));
    for (int d = 0; l->index >= 0 && d < l->info.rank; d++) {
      if (ty_program_eval(p, l->dims[d], syms, &want) && in[i].shape[d] == want) continue;
      return ty_fail(ctx, TY_INVALID, "dim %d of input %d (%s) is %lld, and should be %s, which is %lld by the other inputs", d, i, l->info.name,
                     (long long)in[i].shape[d], l->info.dims[d].text, (long long)want);
    }
  }
  return ty_face_check(ctx, f, p, syms);
}

/* ---- as bytes ---- */
static void put_leaf(ty_writer *w, const ty_face_leaf *l) {
  ty_put_text(w, l->info.name);
  ty_put_int(w, (int)l->info.dtype);
  ty_put_int(w, l->info.rank);
  for (int i = 0; i < l->info.rank; i++) {
    const tuyere_dim *d = &l->info.dims[i];
    ty_put_int(w, l->dims[i]);
    ty_put_int(w, d->size);
    ty_put_text(w, d->text);
    ty_put_int(w, d->min);
    ty_put_int(w, d->max);
  }
  ty_put_int(w, l->index);
  ty_put_int(w, l->number);
  ty_put_double(w, l->value);
}

void ty_face_put(ty_writer *w, const ty_face *f, const int64_t *at) {
  ty_put_int(w, f->program_inputs);
  ty_put_int(w, f->program_outputs);
  ty_put_unsigned(w, (uint64_t)f->nsyms);
  for (int i = 0; i < f->nsyms; i++) ty_put_text(w, f->syms[i].name), ty_put_int(w, f->syms[i].min), ty_put_int(w, f->syms[i].max);
  ty_put_unsigned(w, (uint64_t)f->ninputs);
  for (int i = 0; i < f->ninputs; i++) put_leaf(w, &f->inputs[i]);
  ty_put_unsigned(w, (uint64_t)f->noutputs);
  for (int i = 0; i < f->noutputs; i++) put_leaf(w, &f->outputs[i]);
  ty_put_unsigned(w, (uint64_t)f->nstates);
  for (int i = 0; i < f->nstates; i++) {
    const ty_face_state *s = &f->states[i];
    ty_put_int(w, s->input);
    ty_put_int(w, s->output);
    ty_put_int(w, (int)s->like.dtype);
    ty_put_int(w, s->like.rank);
    for (int d = 0; d < s->like.rank; d++) ty_put_int(w, s->like.shape[d]), ty_put_int(w, s->like.strides[d]);
    ty_put_unsigned(w, (uint64_t)at[i]);
    ty_put_unsigned(w, s->bytes);
  }
  ty_put_unsigned(w, (uint64_t)f->nguards);
  for (int i = 0; i < f->nguards; i++) {
    const ty_face_guard *g = &f->guards[i];
    ty_put_int(w, g->a), ty_put_int(w, g->b), ty_put_int(w, (int)g->rel);
    ty_put_text(w, g->text);
  }
}

static void get_leaf(ty_reader *r, ty_face *f, int nexprs, int limit, ty_face_leaf *l) {
  l->info.name = ty_get_text(r);
  l->info.dtype = (tuyere_dtype)ty_get_range(r, 0, TY_NDTYPE - 1);
  l->info.rank = ty_get_range(r, 0, TUYERE_MAX_RANK);
  tuyere_dim *dims = ty_arena_alloc(&f->mem, (size_t)l->info.rank * sizeof *dims);
  ty_pexpr *e = ty_arena_alloc(&f->mem, (size_t)l->info.rank * sizeof *e);
  if (!dims || !e) { r->bad = true; return; }
  for (int i = 0; i < l->info.rank; i++) {
    e[i] = ty_get_range(r, 0, nexprs - 1);
    dims[i].size = ty_get_int(r);
    dims[i].text = ty_get_text(r);
    dims[i].min = ty_get_int(r);
    dims[i].max = ty_get_int(r);
  }
  l->info.dims = dims, l->dims = e;
  l->index = ty_get_range(r, -1, limit - 1);
  l->number = ty_get_range(r, -1, nexprs - 1);
  l->value = ty_get_double(r);
}

static void *entries(ty_reader *r, ty_face *f, int *n, size_t size) {
  *n = ty_get_count(r);
  void *p = ty_arena_alloc(&f->mem, (size_t)*n * size);
  if (!p) r->bad = true, *n = 0;
  return p;
}

static void get_state(ty_reader *r, const ty_face *f, const char *weights, size_t have, ty_face_state *s) {
  s->input = ty_get_range(r, 0, f->program_inputs - 1);
  s->output = ty_get_range(r, 0, f->program_outputs - 1);
  s->like.dtype = (tuyere_dtype)ty_get_range(r, 0, TY_NDTYPE - 1);
  s->like.rank = ty_get_range(r, 0, TUYERE_MAX_RANK);
  int64_t last = 0, step, elements = 1, size = (int64_t)tuyere_dtype_size(s->like.dtype);
  bool empty = false;
  for (int d = 0; d < s->like.rank; d++) {
    int64_t n = s->like.shape[d] = ty_get_int(r), st = s->like.strides[d] = ty_get_int(r);
    if (n < 0 || st < 0 || !ty_mul_i64(n > 0 ? n - 1 : 0, st, &step) || !ty_add_i64(last, step, &last) || !ty_mul_i64(elements, n, &elements)) r->bad = true;
    empty |= n == 0;
  }
  uint64_t at = ty_get_unsigned(r), bytes = ty_get_unsigned(r);
  if (at > have || bytes > have - at || (!empty && (last >= INT64_MAX / 8 || (uint64_t)((last + 1) * size) > bytes))) r->bad = true;
  else s->like.data = (void *)(uintptr_t)(weights + at), s->bytes = (size_t)bytes;
}

ty_status ty_face_get(ty_ctx *ctx, ty_reader *r, const ty_program *p, const void *weights, size_t weights_bytes, ty_face *f) {
  int nexprs = ty_program_nexprs(p);
  *f = (ty_face){0};
  f->program_inputs = ty_get_range(r, 0, 1 << 21);
  f->program_outputs = ty_get_range(r, 0, 1 << 21);
  if (f->program_inputs < ty_program_ninputs(p) || f->program_outputs < ty_program_noutputs(p)) r->bad = true;
  f->syms = entries(r, f, &f->nsyms, sizeof *f->syms);
  if (f->nsyms != ty_program_nsyms(p)) r->bad = true;
  for (int i = 0; i < f->nsyms && !r->bad; i++) f->syms[i].name = ty_get_text(r), f->syms[i].min = ty_get_int(r), f->syms[i].max = ty_get_int(r);
  f->inputs = entries(r, f, &f->ninputs, sizeof *f->inputs);
  for (int i = 0; i < f->ninputs && !r->bad; i++) get_leaf(r, f, nexprs, f->program_inputs, &f->inputs[i]);
  f->outputs = entries(r, f, &f->noutputs, sizeof *f->outputs);
  for (int i = 0; i < f->noutputs && !r->bad; i++) get_leaf(r, f, nexprs, f->program_outputs, &f->outputs[i]);
  f->states = entries(r, f, &f->nstates, sizeof *f->states);
  for (int i = 0; i < f->nstates && !r->bad; i++) get_state(r, f, weights, weights_bytes, &f->states[i]);
  f->guards = entries(r, f, &f->nguards, sizeof *f->guards);
  for (int i = 0; i < f->nguards && !r->bad; i++) {
    ty_face_guard *g = &f->guards[i];
    g->a = ty_get_range(r, 0, nexprs - 1), g->b = ty_get_range(r, 0, nexprs - 1), g->rel = (ty_face_rel)ty_get_range(r, 0, TY_FACE_LE);
    g->text = ty_get_text(r);
  }
  if (!r->bad && !f->mem.failed) return TY_OK;
  bool memory = f->mem.failed;
  ty_arena_free(&f->mem);
  *f = (ty_face){0};
  return memory ? ty_fail(ctx, TY_NOMEM, "out of memory while loading a model") : ty_fail(ctx, TY_INVALID, "the saved model's inputs and outputs are damaged");
}
