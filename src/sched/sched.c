/* sched.c: the scheduler's own list: facts, homes, legal layouts, groups, steps. */
#include "sched/sched_int.h"

/* What the graph needs of sizes, the ranges of its symbols included: every proof relies on them. */
static void needs(ty_sc *s) {
  ty_graph *g = s->g;
  for (int i = 0; i < ty_dim_nsyms(g) && ty_dim_sym(g, i)->extent < 0; i++) {
    const ty_sym *sym = ty_dim_sym(g, i);
    int64_t lo = sym->lo, hi = sym->hi;
    ty_pexpr e = ty_program_expr(s->prog, TY_PE_SYM, i, -1, -1);
    const char *least = ty_arena_printf(&s->tmp, "the program needs %lld <= %s", (long long)lo, sym->name);
    const char *most = ty_arena_printf(&s->tmp, "the program needs %s <= %lld", sym->name, (long long)hi);
    if (!least || !most) return; /* the arena knows */
    if (lo > INT64_MIN) ty_program_need(s->prog, TY_PN_LE, ty_program_const(s->prog, lo), e, least);
    if (hi < INT64_MAX) ty_program_need(s->prog, TY_PN_LE, e, ty_program_const(s->prog, hi), most);
  }
  for (int i = 0; i < g->needs.n; i++) {
    static const ty_pneed_rel rel[] = { [TY_NEED_EQ] = TY_PN_EQ, [TY_NEED_NE] = TY_PN_NE, [TY_NEED_LE] = TY_PN_LE };
    const ty_need *n = &g->needs.p[i];
    ty_str t = { 0 };
    ty_str_add(&t, "%s", ty_op_get(n->op)->name);
    if (n->loc) ty_str_add(&t, " (%s)", n->loc);
    ty_str_add(&t, " needs ");
    ty_need_print(g, n, &t);
    if (t.failed) s->failed = true;
    else ty_program_need(s->prog, rel[n->rel], ty_sc_expr(s, n->a), ty_sc_expr(s, n->b), t.p);
    ty_str_free(&t);
  }
}

void ty_sched_destroy(ty_sched *o) {
  if (!o) return;
  ty_program_destroy(o->program);
  for (int i = 0; i < o->loops.n; i++) ty_loop_destroy(o->loops.p[i].loop);
  TY_VEC_FREE(&o->loops);
  TY_VEC_FREE(&o->steps);
  ty_arena_free(&o->arena);
  ty_free(o);
}

ty_status ty_schedule(ty_ctx *ctx, ty_graph *g, uint32_t levels, ty_sched **out) {
  ty_sched *o = ty_alloc(sizeof *o);
  if (!o) return ty_fail(ctx, TY_NOMEM, "no memory for the schedule");
  ty_sc s = { .ctx = ctx, .g = g, .out = o };
  o->program = s.prog = ty_program_create(ctx);
  ty_status st = s.prog ? TY_OK : ty_fail(ctx, TY_NOMEM, "no memory for the program");
  if (!st && levels) ty_program_set_levels(s.prog, levels);
  for (int i = 0; i < ty_dim_nsyms(g) && !st && ty_dim_sym(g, i)->extent < 0; i++) ty_program_symbol(s.prog, ty_dim_sym(g, i)->name);
  if (!st) needs(&s);
  if (!st) st = ty_sc_facts(&s);
  if (!st) st = ty_sc_homes(&s);
  if (!st) st = ty_sc_legalize(&s);
  if (!st) st = ty_sc_group(&s);
  if (!st) st = ty_sc_steps(&s);
  if (!st) st = ty_program_finish(s.prog, ctx);
  /* A size or a text that found no memory looks like one that is not affine, or not known: what came of it is not the reason. */
  if (g->arena.failed || s.failed || s.tmp.failed || o->arena.failed) st = ty_fail(ctx, TY_NOMEM, "no memory for the schedule");
  for (int i = 0; i < s.ninfo; i++) TY_VEC_FREE(&s.info[i].reqs);
  ty_free(s.info);
  TY_VEC_FREE(&s.groups);
  TY_VEC_FREE(&s.dim_expr);
  ty_arena_free(&s.tmp);
  if (st) { ty_sched_destroy(o); return st; }
  *out = o;
  return TY_OK;
}
