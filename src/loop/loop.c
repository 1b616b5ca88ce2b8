/* loop.c: builds a loop nest: nodes with hash-consing, then levels, phases, spills, dead code, registers, text and hash.
 * finish requires operands before users; afterwards every rule of loop.h holds, STOREs stand last, and nodes are numbered anew. */
#include "loop_int.h"
#include <string.h>

ty_loop *ty_loop_create(void) {
  ty_loop *l = ty_alloc(sizeof *l);
  if (l) l->red_par = l->col_par = -1;
  return l;
}

void ty_loop_destroy(ty_loop *l) {
  if (!l) return;
  TY_VEC_FREE(&l->nodes);
  ty_str_free(&l->text);
  ty_arena_free(&l->arena);
  ty_free(l);
}

static bool is_mem(ty_lkind k) { return k == TY_L_LOAD || k == TY_L_STORE; }

bool loop_moves(const ty_lnode *n) { return n->col_par >= 0 || n->col_stride != 0; }

/* Clears what the kind does not use, so that equal nodes compare equal. */
static ty_lnode normalise(ty_lnode n) {
  static const signed char operands[] = {
    [TY_L_CONST] = 0, [TY_L_PAR] = 0, [TY_L_ROWVAR] = 0, [TY_L_REDVAR] = 0, [TY_L_COLVAR] = 0, [TY_L_LOAD] = 2, [TY_L_ACC] = 0,
    [TY_L_PRIM] = 3, [TY_L_CAST] = 1, [TY_L_CHECK] = 2, [TY_L_REDUCE] = 1, [TY_L_STORE] = 2,
  };
  int count = n.kind == TY_L_PRIM && (unsigned)n.prim < TY_NPRIM ? ty_prims[n.prim].arity : operands[n.kind];
  ty_lnode o = {.kind = n.kind, .dtype = n.dtype, .a = -1, .b = -1, .c = -1, .d = -1, .col_par = -1};
  if (count > 0) o.a = n.a < 0 ? -1 : n.a;
  if (count > 1) o.b = n.b < 0 ? -1 : n.b;
  if (count > 2) o.c = n.c < 0 ? -1 : n.c;
  if (n.kind == TY_L_STORE) o.d = n.d;
  if (n.kind == TY_L_CONST && ty_dtype_is_float(n.dtype)) o.fimm = n.fimm;
  else if (n.kind == TY_L_CONST) o.imm = n.imm;
  if (n.kind == TY_L_PAR || n.kind == TY_L_ROWVAR || is_mem(n.kind)) o.slot = n.slot;
  if (n.kind == TY_L_PRIM) o.prim = n.prim;
  if (n.kind == TY_L_REDUCE) o.red = n.red;
  if (is_mem(n.kind)) {
    o.mem = n.mem;
    o.col_par = n.col_par < 0 ? -1 : n.col_par;
    o.col_stride = n.col_par >= 0 ? 0 : n.col_stride;
  }
  return o;
}

static bool same(const ty_lnode *x, const ty_lnode *y) {
  return x->kind == y->kind && x->dtype == y->dtype && x->a == y->a && x->b == y->b && x->c == y->c && x->prim == y->prim &&
         x->red == y->red && x->imm == y->imm && !memcmp(&x->fimm, &y->fimm, sizeof x->fimm) && x->slot == y->slot &&
         x->mem == y->mem && x->col_stride == y->col_stride && x->col_par == y->col_par;
}

int ty_loop_add(ty_loop *l, ty_lnode node) {
  node = normalise(node);
  if (node.kind != TY_L_STORE)
    for (int i = l->nodes.n; i-- > 0;)
      if (same(&l->nodes.p[i], &node)) return i;
  return TY_PUSH(&l->nodes, node) ? l->nodes.n - 1 : -1;
}

static ty_status broken(ty_ctx *ctx, int i, const char *rule) { return ty_fail(ctx, TY_INTERNAL, "loop node %%%d: %s", i, rule); }

static ty_dtype operand_dtype(const ty_loop *l, const ty_lnode *n) { return l->nodes.p[n->prim == TY_P_sel ? n->b : n->a].dtype; }

static const char *check_prim(const ty_loop *l, const ty_lnode *n) {
  const ty_lnode *p = l->nodes.p;
  if ((unsigned)n->prim >= TY_NPRIM) return "no such primitive";
  const ty_prim_info *info = &ty_prims[n->prim];
  if (n->a < 0 || (info->arity > 1 && n->b < 0) || (info->arity > 2 && n->c < 0)) return "a primitive lacks an operand";
  ty_dtype d = operand_dtype(l, n);
  if (n->prim == TY_P_sel) {
    if (p[n->a].dtype != TY_bool) return "sel takes a bool first";
    if (p[n->c].dtype != d) return "the operands of sel differ in dtype";
  } else if (info->arity > 1 && p[n->b].dtype != d) return "the operands of a primitive differ in dtype";
  if (!ty_prim_takes(n->prim, d)) return "the primitive does not exist for this dtype";
  if (n->dtype != (info->to_bool ? TY_bool : d)) return "the result of a primitive has the wrong dtype";
  return NULL;
}

static const char *check_mem(const ty_loop *l, const ty_lnode *n) {
  const ty_lnode *p = l->nodes.p;
  if (n->slot < 0 || n->slot >= l->nbufs) return "no such buffer";
  if (n->col_par >= l->npars) return "no such column stride parameter";
  if ((n->a >= 0 && p[n->a].dtype != TY_i64) || (n->b >= 0 && p[n->b].dtype != TY_i64)) return "an address is not i64";
  if (n->kind == TY_L_STORE && n->d < 0) return "a store lacks its value";
  for (int i = 0; i < l->nodes.n; i++)
    if (is_mem(p[i].kind) && p[i].slot == n->slot && p[i].mem != n->mem) return "one buffer is used with two dtypes";
  return NULL;
}

static const char *check_reduce(const ty_loop *l, const ty_lnode *n) {
  if (n->a < 0) return "a reduction lacks its operand";
  ty_dtype d = l->nodes.p[n->a].dtype;
  bool arg = n->red == TY_RED_ARGMAX || n->red == TY_RED_ARGMIN, logic = n->red == TY_RED_ANY || n->red == TY_RED_ALL;
  if (logic && d != TY_bool) return "any and all reduce bools";
  if (!logic && !arg && d == TY_bool && n->red != TY_RED_MAX && n->red != TY_RED_MIN) return "bools have no sum or product";
  if (n->dtype != (arg ? TY_i64 : d)) return "the result of a reduction has the wrong dtype";
  return NULL;
}

/* The rule that node i breaks, or NULL. */
static const char *check_node(const ty_loop *l, int i) {
  const ty_lnode *n = &l->nodes.p[i], *p = l->nodes.p;
  int op[4];
  loop_operands(n, op);
  for (int k = 0; k < 4; k++)
    if (op[k] >= i || (op[k] >= 0 && p[op[k]].kind == TY_L_STORE)) return "an operand does not come before its user";
  if (n->kind != TY_L_STORE && (n->dtype == TY_f16 || n->dtype == TY_bf16)) return "f16 and bf16 are memory dtypes only";
  switch (n->kind) {
  case TY_L_CONST: return NULL;
  case TY_L_PAR: return n->dtype != TY_i64 ? "a parameter is i64" : n->slot < 0 || n->slot >= l->npars ? "no such parameter" : NULL;
  case TY_L_ROWVAR: return n->dtype != TY_i64 ? "a row variable is i64" : n->slot < 0 || n->slot >= l->nrowvars ? "no such row variable" : NULL;
  case TY_L_REDVAR: return n->dtype != TY_i64 || l->red_par < 0 ? "a reduction variable without its loop" : NULL;
  case TY_L_COLVAR: return n->dtype != TY_i64 ? "the column variable is i64" : NULL;
  case TY_L_ACC: return n->dtype != TY_f32 && n->dtype != TY_i32 ? "the GEMM tile is f32 or i32" : NULL;
  case TY_L_CAST: return n->a < 0 ? "a cast lacks its operand" : NULL;
  case TY_L_CHECK:
    if (n->a < 0 || n->b < 0) return "a check lacks an operand";
    return n->dtype != TY_i64 || p[n->a].dtype != TY_i64 || p[n->b].dtype != TY_i64 ? "a check is i64" : NULL;
  case TY_L_PRIM: return check_prim(l, n);
  case TY_L_REDUCE: return check_reduce(l, n);
  case TY_L_LOAD:
  case TY_L_STORE: return check_mem(l, n);
  }
  return "no such kind";
}

/* Drops what no STORE needs and moves STOREs behind all else. map: n ints of scratch. */
static void compact(ty_loop *l, int *map) {
  ty_lnode *p = l->nodes.p;
  int n = l->nodes.n, op[4], count = 0;
  for (int i = n; i-- > 0;) {
    if (p[i].kind == TY_L_STORE) map[i] = 1;
    if (!map[i]) continue;
    loop_operands(&p[i], op);
    for (int k = 0; k < 4; k++)
      if (op[k] >= 0) map[op[k]] = 1;
  }
  ty_lnode *out = ty_arena_alloc(&l->arena, (size_t)n * sizeof *out);
  if (!out) return;
  for (int pass = 0; pass < 2; pass++)
    for (int i = 0; i < n; i++) {
      if ((p[i].kind == TY_L_STORE) != pass || (!pass && !map[i])) continue;
      ty_lnode x = p[i];
      if (x.a >= 0) x.a = map[x.a];
      if (x.b >= 0) x.b = map[x.b];
      if (x.c >= 0) x.c = map[x.c];
      if (x.d >= 0) x.d = map[x.d];
      out[count] = x;
      map[i] = count++;
    }
  memcpy(p, out, (size_t)count * sizeof *p);
  l->nodes.n = count;
}

/* Level, uniformity and the earliest phase, from the operands. `red`: n flags, set where the value depends on the red loop. */
static ty_status levels(ty_ctx *ctx, ty_loop *l, bool *red) {
  ty_lnode *p = l->nodes.p;
  int op[4];
  for (int i = 0; i < l->nodes.n; i++) {
    ty_lnode *n = &p[i];
    n->level = TY_LV_ROW, n->phase = 0, n->uniform = true;
    loop_operands(n, op);
    for (int k = 0; k < 4; k++) {
      if (op[k] < 0) continue;
      const ty_lnode *o = &p[op[k]];
      int ready = o->phase + (o->kind == TY_L_REDUCE);
      if (o->level > n->level) n->level = o->level;
      if (ready > n->phase) n->phase = ready;
      n->uniform &= o->uniform;
      red[i] |= red[op[k]];
    }
    if (n->phase >= LOOP_MAX_PHASES) return ty_fail(ctx, TY_UNSUPPORTED, "a loop with more than %d phases", LOOP_MAX_PHASES);
    if (is_mem(n->kind) && n->a >= 0 && p[n->a].level == TY_LV_ELEM) return broken(ctx, i, "the address operand a moves with the column");
    if (n->kind == TY_L_ROWVAR) n->uniform = false;
    if (n->kind == TY_L_REDVAR) n->level = TY_LV_RED, red[i] = true;
    if (n->kind == TY_L_COLVAR || n->kind == TY_L_ACC || (is_mem(n->kind) && loop_moves(n))) n->level = TY_LV_ELEM;
    if (n->kind == TY_L_ACC) l->has_acc = true;
    if (n->kind == TY_L_REDUCE) {
      if (l->red_par >= 0 && n->phase > 0) return broken(ctx, i, "a second reduction over the red loop");
      n->level = l->red_par >= 0 ? TY_LV_ELEM : TY_LV_ROW;
      l->col_reduce |= l->red_par < 0;
      red[i] = false;
    }
    if (n->kind == TY_L_STORE && l->red_par >= 0 && !red[i] && n->phase == 0) n->phase = 1;
    if (red[i] && n->phase > 0) return broken(ctx, i, "a value of the red loop is used outside of it");
    if (n->level != TY_LV_ROW || n->kind == TY_L_REDUCE) n->uniform = false;
  }
  return TY_OK;
}

/* May this load be done in a phase after the earliest without seeing this kernel's own stores? */
static bool load_late(const ty_loop *l, const ty_lnode *n, int phase) {
  for (int i = l->nodes.n; i-- > 0 && l->nodes.p[i].kind == TY_L_STORE;)
    if (l->nodes.p[i].slot == n->slot && l->nodes.p[i].level == TY_LV_ELEM && l->nodes.p[i].phase < phase) return false;
  return true;
}

/* Cost of computing an ELEM value again in `phase`: a spill costs a store and a load, so that up to 2 is worth it. */
static int again(const ty_loop *l, int i, int phase, const int *known) {
  const ty_lnode *n = &l->nodes.p[i];
  if (n->level != TY_LV_ELEM) return 0;
  enum { NEVER = 1000 };
  switch (n->kind) {
  case TY_L_COLVAR: return 0;
  case TY_L_ACC: return 1;
  case TY_L_LOAD: return !load_late(l, n, phase) ? NEVER : n->b >= 0 ? 8 + known[n->b] : n->mem == n->dtype ? 1 : 2;
  case TY_L_CAST: return 1 + known[n->a];
  case TY_L_CHECK: return 2 + known[n->a] + known[n->b];
  case TY_L_PRIM: {
    int cost = ty_prims[n->prim].cost, op[4];
    loop_operands(n, op);
    for (int k = 0; k < 3; k++)
      if (op[k] >= 0) cost += known[op[k]];
    return cost > NEVER ? NEVER : cost;
  }
  default: return NEVER;
  }
}

/* In which phases each ELEM value is needed (latest first), and whether it is spilled or computed in each of them. */
static void schedule(ty_loop *l, const bool *red, int *cost) {
  ty_lnode *p = l->nodes.p;
  int op[4];
  for (int i = 0; i < l->nodes.n; i++) {
    int to = p[i].phase + (p[i].kind == TY_L_REDUCE);
    if (to + 1 > l->nphases) l->nphases = to + 1;
  }
  for (int i = 0; i < l->nodes.n; i++) {
    cost[i] = again(l, i, l->nphases - 1, cost);
    if (cost[i] > 1000) cost[i] = 1000;
  }
  for (int i = l->nodes.n; i-- > 0;) {
    ty_lnode *n = &p[i];
    if (n->kind == TY_L_STORE || n->kind == TY_L_REDUCE) {
      if (n->kind == TY_L_REDUCE && n->level == TY_LV_ELEM) n->uses &= ~1u; /* an accumulator: no pass computes it */
      uint32_t at = 1u << n->phase;
      loop_operands(n, op);
      for (int k = 0; k < 4; k++)
        if (op[k] >= 0) p[op[k]].uses |= at;
      continue;
    }
    uint32_t want = n->uses;
    if (n->level == TY_LV_ELEM && want) {
      int first = __builtin_ctz(want);
      bool whole = cost[i] < 1000; /* no load that a store would spoil */
      if (l->red_par >= 0 && !red[i]) whole = true; /* the red loop may run zero times: nothing spilled there */
      else if (!whole && n->kind == TY_L_LOAD) first = n->phase, want |= 1u << first;
      if ((want & (want - 1)) && !(l->red_par >= 0 && first == 0) && (!whole || cost[i] > 2)) {
        n->spill = true;
        n->uses = want;
        want = 1u << first;
      } else n->uses = want;
      n->phase = first;
    }
    loop_operands(n, op);
    for (int k = 0; k < 4; k++)
      if (op[k] >= 0) p[op[k]].uses |= want;
  }
}

/* Chunk registers by linear scan over the definition order; what lives across the column loop keeps its own. */
static bool registers(ty_loop *l) {
  ty_lnode *p = l->nodes.p;
  int n = l->nodes.n, op[4];
  int *last = ty_arena_alloc(&l->arena, (size_t)n * sizeof *last), *free_at = ty_arena_alloc(&l->arena, 2 * (size_t)n * sizeof *free_at);
  if (!last || !free_at) return false;
  for (int i = 0; i < n; i++) {
    p[i].reg = -1;
    loop_operands(&p[i], op);
    for (int k = 0; k < 4; k++) {
      if (op[k] < 0) continue;
      last[op[k]] = i;
      bool chunk = p[i].level == TY_LV_ELEM || p[i].kind == TY_L_REDUCE;
      if (chunk && p[op[k]].level != TY_LV_ELEM) p[op[k]].reg = 0; /* wants to be broadcast */
    }
  }
  for (int i = 0; i < n; i++) { /* registers of the whole call first */
    bool acc = p[i].kind == TY_L_REDUCE && p[i].level == TY_LV_ELEM;
    if (p[i].reg == 0 || acc) p[i].reg = l->nregs, l->nregs += 1 + acc;
  }
  int base = l->nregs;
  for (int i = 0; i < n; i++) {
    if (p[i].level != TY_LV_ELEM || p[i].kind == TY_L_REDUCE || p[i].kind == TY_L_STORE) continue;
    if (p[i].spill) {
      p[i].reg = l->nspills++;
      continue;
    }
    int r = base;
    while (r < l->nregs && free_at[r - base] >= i) r++; /* free once its last user lies before this node */
    if (r == l->nregs) l->nregs++;
    free_at[r - base] = last[i];
    p[i].reg = r;
  }
  return true;
}

ty_status ty_loop_finish(ty_ctx *ctx, ty_loop *l) {
  if (l->col_par < 0 || l->col_par >= l->npars || l->red_par >= l->npars || l->nrowvars < 0 || l->nrowvars > TY_MAX_RANK)
    return ty_fail(ctx, TY_INTERNAL, "loop: an extent is no parameter");
  for (int i = 0; i < l->nrowvars; i++)
    if (l->row_par[i] < 0 || l->row_par[i] >= l->npars) return ty_fail(ctx, TY_INTERNAL, "loop: the extent of row variable %d is no parameter", i);
  for (int i = 0; i < l->nodes.n; i++) {
    const char *rule = check_node(l, i);
    if (rule) return broken(ctx, i, rule);
  }
  int *map = ty_arena_alloc(&l->arena, ((size_t)l->nodes.n + 1) * sizeof *map);
  bool *red = ty_arena_alloc(&l->arena, (size_t)l->nodes.n + 1);
  if (!map || !red) return ty_fail(ctx, TY_NOMEM, "out of memory");
  compact(l, map);
  if (l->arena.failed) return ty_fail(ctx, TY_NOMEM, "out of memory");
  TY_TRY(levels(ctx, l, red));
  schedule(l, red, map);
  if (!registers(l)) return ty_fail(ctx, TY_NOMEM, "out of memory");
  loop_text(l, &l->text);
  if (l->text.failed) return ty_fail(ctx, TY_NOMEM, "out of memory");
  l->hash = ty_hash_bytes(l->text.p, l->text.n, (ty_hash){0});
  ty_arena_reset(&l->arena);
  return TY_OK;
}

size_t ty_loop_scratch(const ty_loop *l, int64_t cols) {
  /* Spilled rows of compiled code fit into the interpreter's, which hold 8 bytes a column. */
  return loop_cells(l) + (size_t)l->nregs * LOOP_REG + (size_t)l->nspills * 8 * ((size_t)cols + LOOP_PAD);
}
