/* profile.c: what a program looks like and where its time went: per-step figures, memory figures, text. */
#include "rt/routine.h"

#include <math.h>

void ty_program_profile(ty_program *p, bool on) {
  pthread_mutex_lock(&p->prof_lock);
  for (int i = 0; on && i < p->step.n; i++) {
    rt_step *s = &p->step.p[i];
    s->calls = 0, s->seconds = s->sum_flops = s->sum_bytes = 0;
  }
  pthread_mutex_unlock(&p->prof_lock);
  atomic_store(&p->profile, on);
}

int ty_program_nsteps(const ty_program *p) { return p->step.n; }

/* Locks are no part of what a program is. */
static ty_program *unconst(const ty_program *p) { return (ty_program *)(uintptr_t)p; }

void ty_program_stat(const ty_program *p, int step, ty_step_stat *out) {
  *out = (ty_step_stat){.name = "", .kernel = ""};
  if (step < 0 || step >= p->step.n) return;
  const rt_step *s = &p->step.p[step];
  pthread_mutex_lock(&unconst(p)->prof_lock);
  *out = (ty_step_stat){s->name, s->kernel, s->fold, s->origin, s->calls, s->seconds, s->sum_flops, s->sum_bytes, 0};
  double size = atomic_load(&s->size);
  if (size > 0) out->error = sqrt(atomic_load(&s->changed) / size);
  pthread_mutex_unlock(&unconst(p)->prof_lock);
}

void ty_program_memory(const ty_program *p, ty_memory *out) {
  pthread_rwlock_rdlock(&unconst(p)->fold_lock);
  pthread_mutex_lock(&unconst(p)->lock);
  *out = p->memory;
  pthread_mutex_unlock(&unconst(p)->lock);
  out->state = p->state_bytes;
  pthread_rwlock_unlock(&unconst(p)->fold_lock);
  out->literals = p->literals;
  out->buffers = p->buf.n;
  out->steps = p->step.n;
}

ty_status ty_program_cost(ty_program *p, ty_ctx *ctx, const int64_t *syms, double *flops, ty_memory *memory) {
  rt_bind *b;
  rt_slot *s;
  TY_TRY(ty_rt_bind_get(p, ctx, syms, &b, &s));
  *flops = 0;
  for (int i = 0; i < b->nbound; i++)
    if (b->bound[i].step->flops >= 0) *flops += b->bound[i].flops; /* loops have an estimate only */
  ty_rt_bind_put(p, b, s);
  ty_program_memory(p, memory);
  return TY_OK;
}

static void print_expr(const ty_program *p, ty_str *out, ty_pexpr i) {
  static const char *const infix[] = {[TY_PE_ADD] = " + ", [TY_PE_MUL] = "*", [TY_PE_DIV] = "//", [TY_PE_MOD] = "%"};
  if (i < 0 || i >= p->expr.n) {
    ty_str_add(out, "?");
    return;
  }
  const rt_expr *e = &p->expr.p[i];
  if (e->op == TY_PE_CONST) ty_str_add(out, "%lld", (long long)e->v);
  else if (e->op == TY_PE_SYM) ty_str_add(out, "%s", p->sym.p[e->v]);
  else {
    bool call = e->op == TY_PE_MIN || e->op == TY_PE_MAX;
    ty_str_add(out, "%s", call ? e->op == TY_PE_MIN ? "min(" : "max(" : "(");
    print_expr(p, out, e->a);
    ty_str_add(out, "%s", call ? ", " : infix[e->op]);
    print_expr(p, out, e->b);
    ty_str_add(out, ")");
  }
}

static void print_list(const ty_program *p, ty_str *out, const char *label, int n, const ty_pexpr *e) {
  ty_str_add(out, " %s=[", label);
  for (int i = 0; i < n; i++) {
    if (i) ty_str_add(out, ", ");
    print_expr(p, out, e[i]);
  }
  ty_str_add(out, "]");
}

static void print_sizes(const ty_program *p, ty_str *out, const rt_step *s) {
  const ty_step_gemm *g = &s->u.gemm;
  const ty_step_attn *a = &s->u.attn;
  switch (s->kind) {
  case RT_LOOP: print_list(p, out, "rows,cols", 2, (ty_pexpr[]){s->loop.rows, s->loop.cols}); break;
  case RT_GEMM:
    print_list(p, out, "batch", 2, g->batch);
    print_list(p, out, "m,n,k", 3, (ty_pexpr[]){g->m, g->n, g->k});
    ty_str_add(out, "%s %s", g->packed ? " packed" : "", g->f64 ? "f64" : ty_formats[g->format].name);
    break;
  case RT_ATTN:
    print_list(p, out, "b,hq,hkv,sq,sk,d,dv", 7, (ty_pexpr[]){a->batch, a->heads, a->kv_heads, a->sq, a->sk, a->d, a->dv});
    ty_str_add(out, " %s%s%s", ty_formats[a->format].name, a->causal ? " causal" : "", a->mask < 0 ? "" : a->mask_is_bool ? " mask=bool" : " mask");
    break;
  case RT_PACK: print_list(p, out, "k,n", 2, (ty_pexpr[]){s->u.pack.k, s->u.pack.n}); break;
  case RT_CONV:
    ty_str_add(out, " kind=%d groups=%lld c=%lld o=%lld", (int)s->u.conv.kind, (long long)s->u.conv.s.groups, (long long)s->u.conv.s.c, (long long)s->u.conv.s.o);
    print_list(p, out, "batch", 1, &s->u.conv.batch);
    print_list(p, out, "in", 3, s->u.conv.in);
    print_list(p, out, "out", 3, s->u.conv.out);
    break;
  case RT_CONV_PACK:
    ty_str_add(out, " kind=%d groups=%lld c=%lld o=%lld", (int)s->u.conv_pack.kind, (long long)s->u.conv_pack.s.groups, (long long)s->u.conv_pack.s.c, (long long)s->u.conv_pack.s.o);
    break;
  case RT_RNN:
    print_list(p, out, "t,b,d,h,p", 5, (ty_pexpr[]){s->u.rnn.t, s->u.rnn.b, s->u.rnn.d, s->u.rnn.h, s->u.rnn.p});
    break;
  case RT_ROUTINE:
    print_list(p, out, ty_rt_routine_name((ty_routine)s->u.routine.which), s->u.routine.which >= TY_BAG_SUM ? 6 : 3, s->u.routine.size);
    ty_str_add(out, " %s", ty_dtypes[s->u.routine.dtype].name);
    break;
  }
  if (s->has_loop && s->loop.npars) print_list(p, out, "par", s->loop.npars, s->loop.pars);
}

void ty_program_print(const ty_program *p, ty_str *out) {
  static const char *const kinds[] = {"input", "output", "arena", "state", "literal"};
  static const char *const steps[] = {"loop", "gemm", "attn", "pack", "conv", "conv_pack", "rnn", "routine"};
  for (int i = 0; i < p->sym.n; i++) ty_str_add(out, "symbol %d %s\n", i, p->sym.p[i]);
  for (int i = 0; i < p->buf.n; i++) {
    const rt_buf *b = &p->buf.p[i];
    ty_str_add(out, "buffer b%d %s", i, kinds[b->kind]);
    if (b->index >= 0) ty_str_add(out, " %d", b->index);
    ty_str_add(out, " %s bytes=", ty_dtypes[b->dtype].name);
    print_expr(p, out, b->bytes);
    ty_str_add(out, *b->name ? " '%s'\n" : "%s\n", b->name);
  }
  for (int i = 0; i < p->step.n; i++) {
    const rt_step *s = &p->step.p[i];
    ty_str_add(out, "step %d %s%s '%s'", i, s->fold ? "fold " : "", steps[s->kind], s->name);
    if (*s->kernel) ty_str_add(out, " kernel=%s", s->kernel);
    print_sizes(p, out, s);
    for (int w = 0; w < 2; w++) {
      ty_str_add(out, w ? " writes=" : " reads=");
      const char *sep = "";
      for (int r = s->ref0; r < s->ref0 + s->nrefs; r++)
        if (p->ref.p[r].buf >= 0 && p->ref.p[r].write == w) ty_str_add(out, "%sb%d", sep, p->ref.p[r].buf), sep = ",";
    }
    ty_str_add(out, "\n");
  }
}
