/* legal.c: facts about values (folded, trivial) and copies where a kernel needs another layout than views give it. */
#include "sched/sched_int.h"

static bool static_shape(ty_sc *s, const ty_value *v) {
  for (int i = 0; i < v->rank; i++)
    if (!ty_dim_is_const(s->g, v->shape[i], NULL)) return false;
  return true;
}

typedef struct scan_inputs { ty_sc *s; bool fold, trivial; } scan_inputs;
static void look(void *user, ty_value **slot) {
  scan_inputs *c = user;
  ty_vinfo *i = ty_sc_info(c->s, *slot);
  c->fold &= i->fold;
  c->trivial &= i->trivial;
}

static bool static_args(ty_sc *s, const ty_node *n) {
  for (int i = 0; i < n->nargs; i++) {
    const ty_arg *a = &n->args[i];
    if (a->kind == TY_ARG_INT && !ty_dim_is_static(s->g, a->i)) return false;
    if (a->kind == TY_ARG_INTS)
      for (int k = 0; k < a->n; k++)
        if (!ty_dim_is_static(s->g, a->ints[k])) return false;
  }
  return true;
}

static void facts_of(ty_sc *s, ty_node *n) {
  scan_inputs c = { s, true, true };
  ty_node_each_input(n, look, &c);
  bool source = n->op == TY_OP_full || n->op == TY_OP_iota || n->op == TY_OP_dimval;
  bool light = source || ty_sc_is_view(n) || n->op == TY_OP_cast || (ty_op_is_prim(n->op) && ty_prims[n->op - TY_OP_prim_first].cost <= 1);
  for (int i = 0; i < n->nouts; i++) {
    ty_vinfo *v = ty_sc_info(s, n->outs[i]);
    if (v->apart) continue;
    v->fold = !s->g->eager && c.fold && static_shape(s, n->outs[i]) && static_args(s, n);
    v->trivial = light && c.trivial;
  }
}

static bool info_room(ty_sc *s) {
  int n = s->g->values.n;
  if (n <= s->ninfo) return true;
  ty_vinfo *p = ty_grow(s->info, (size_t)(n + 64) * sizeof *p);
  if (!p) return false;
  s->info = p;
  for (int i = s->ninfo; i < n + 64; i++) s->info[i] = (ty_vinfo){ .group = -1, .output = -1 };
  s->ninfo = n + 64;
  return true;
}

/* Where operators are computed each by itself, what one hands to another lies in memory. */
typedef struct scan_origin { ty_sc *s; int origin; } scan_origin;
static void set_apart(void *user, ty_value **slot) {
  scan_origin *o = user;
  ty_value *v = *slot;
  while (v->def && ty_sc_is_view(v->def)) v = v->def->args[0].value;
  if (v->def && v->def->origin != o->origin) ty_sc_info(o->s, v)->apart = ty_sc_info(o->s, v)->external = true;
}

ty_status ty_sc_facts(ty_sc *s) {
  if (!info_room(s)) return ty_fail(s->ctx, TY_NOMEM, "no memory for the schedule");
  for (ty_node *n = s->g->first; n && s->g->eager; n = n->next)
    if (!ty_sc_is_view(n)) ty_node_each_input(n, set_apart, &(scan_origin){ s, n->origin });
  for (int i = 0; i < s->g->values.n; i++) {
    ty_value *v = s->g->values.p[i];
    if (v && !v->def) s->info[i].fold = v->role == TY_ROLE_PARAM || v->role == TY_ROLE_LITERAL;
  }
  for (ty_node *n = s->g->first; n; n = n->next) facts_of(s, n);
  return TY_OK;
}

/* A copy of v before `at`, contiguous: an identity cast, which grouping treats as any other elementwise node. */
static ty_value *copy_before(ty_sc *s, ty_value *v, ty_node *at) {
  ty_graph_at(s->g, at);
  ty_arg args[2] = { ty_arg_value(v), ty_arg_dtype(v->dtype) };
  ty_node *n = ty_graph_node(s->g, TY_OP_cast, 2, args);
  ty_value *o = n ? ty_node_out(s->g, n, v->dtype, v->rank, v->shape) : NULL;
  ty_graph_at(s->g, NULL);
  if (!o || !info_room(s)) { s->failed = true; return v; }
  const ty_node *of = at ? at : v->def; /* whose work the copy is: its reader's, or its own operator's where it is an output */
  while (!at && of && ty_sc_is_view(of)) of = of->args[0].value->def;
  if (of) { n->from = of->from; n->origin = of->origin; }
  facts_of(s, n);
  ty_sc_info(s, o)->trivial = false;
  return o;
}

bool ty_sc_collapse_rows(ty_sc *s, int rank, const ty_dim *shape, const ty_dim *strides, ty_dim *rows, ty_dim *ld) {
  ty_graph *g = s->g;
  *rows = ty_dim_const(g, 1);
  *ld = -1;
  ty_dim next = -1; /* what the next outer dim's stride must be */
  for (int i = rank - 2; i >= 0; i--) {
    *rows = ty_dim_mul(g, *rows, shape[i]);
    if (ty_sc_single(g, shape[i])) continue;
    if (*ld < 0) *ld = strides[i];
    else if (next != strides[i]) return false;
    next = ty_dim_mul(g, strides[i], shape[i]);
  }
  if (*ld < 0) *ld = shape[rank - 1];
  return true;
}

bool ty_sc_batch2(ty_sc *s, int nb, const ty_dim *shape, int nop, const ty_dim *const *st, ty_dim batch[2], ty_dim (*bst)[2]) {
  ty_graph *g = s->g;
  int n = 0;
  for (int i = 0; i < nb; i++) {
    if (ty_sc_single(g, shape[i])) continue;
    bool merge = n > 0;
    for (int o = 0; o < nop && merge; o++) merge = bst[o][n - 1] == ty_dim_mul(g, st[o][i], shape[i]);
    if (merge) {
      batch[n - 1] = ty_dim_mul(g, batch[n - 1], shape[i]);
      for (int o = 0; o < nop; o++) bst[o][n - 1] = st[o][i];
      continue;
    }
    if (n == 2) return false;
    batch[n] = shape[i];
    for (int o = 0; o < nop; o++) bst[o][n] = st[o][i];
    n++;
  }
  ty_dim one = ty_dim_const(g, 1), zero = ty_dim_const(g, 0);
  for (; n < 2; n++) { /* shift right: batch[1] is the inner one */
    batch[1] = n ? batch[0] : one;
    batch[0] = one;
    for (int o = 0; o < nop; o++) { bst[o][1] = n ? bst[o][0] : zero; bst[o][0] = zero; }
  }
  return true;
}

/* x of gemm, q, k, v: the last dim must be contiguous (or of size 1). */
static bool last_unit(ty_sc *s, const ty_value *v, const ty_dim *st) {
  return v->rank == 0 || ty_dim_is(s->g, v->shape[v->rank - 1], 1) || ty_dim_is(s->g, st[v->rank - 1], 1);
}

static void fix(ty_sc *s, ty_arg *a, ty_node *n, bool rows, bool unit) {
  ty_value *v = a->value, *base;
  ty_dim off, st[TY_MAX_RANK], m, ld;
  bool ok = ty_sc_layout(s, v, &base, &off, st);
  for (int i = 0; i < v->rank && ok; i++) ok = ty_dim_get(s->g, st[i])->lo >= 0; /* flipped */
  if (ok && unit) ok = last_unit(s, v, st);
  if (ok && rows) ok = ty_sc_collapse_rows(s, v->rank, v->shape, st, &m, &ld);
  if (!ok) a->value = copy_before(s, v, n);
}

/* The copy is made in the shape that was reshaped last: no number of an element is taken to pieces for it. */
static void contiguous(ty_sc *s, ty_arg *a, ty_node *n) {
  ty_value *v = a->value, *base, *z = v;
  ty_dim off, st[TY_MAX_RANK], want[TY_MAX_RANK];
  bool ok = ty_sc_layout(s, v, &base, &off, st) && ty_dim_is(s->g, off, 0);
  ty_sc_contiguous(s->g, v->rank, v->shape, want);
  for (int i = 0; i < v->rank && ok; i++) ok = ty_sc_single(s->g, v->shape[i]) || st[i] == want[i];
  if (ok) return;
  while (z->def && z->def->op == TY_OP_reshape) z = z->def->args[0].value;
  z = copy_before(s, z, n);
  ty_graph_at(s->g, n);
  a->value = ty_c_reshape(s->g, z, v->rank, v->shape);
  ty_graph_at(s->g, NULL);
  if (!a->value || !info_room(s)) { s->failed = true; a->value = v; }
  else facts_of(s, a->value->def);
}

/* Batch dims of a product: operands are expanded to the output's batch, and copied when two batch dims do not say it. */
static void legal_matmul(ty_sc *s, ty_node *n) {
  ty_value *o = n->outs[0];
  fix(s, &n->args[0], n, false, true);
  fix(s, &n->args[1], n, false, false);
  for (int tries = 0; tries < 2; tries++) {
    ty_dim st[3][TY_MAX_RANK], full[3][TY_MAX_RANK], off, batch[2], b2[3][2];
    int nb = o->rank - 2;
    for (int k = 0; k < 2; k++) {
      ty_value *v = n->args[k].value, *base;
      if (!ty_sc_layout(s, v, &base, &off, st[k])) return;
      for (int i = 0; i < nb; i++) {
        int j = i - (nb - (v->rank - 2));
        full[k][i] = j < 0 || ty_dim_is(s->g, v->shape[j], 1) ? ty_dim_const(s->g, 0) : st[k][j];
      }
    }
    ty_sc_own_layout(s, o, &off, full[2]);
    if (ty_sc_batch2(s, nb, o->shape, 3, (const ty_dim *const[]){ full[0], full[1], full[2] }, batch, b2)) return;
    for (int k = 0; k < 2; k++) { /* write both out at the output's batch shape */
      ty_value *v = n->args[k].value;
      ty_dim sh[TY_MAX_RANK];
      for (int i = 0; i < nb; i++) sh[i] = o->shape[i];
      sh[nb] = v->shape[v->rank - 2];
      sh[nb + 1] = v->shape[v->rank - 1];
      ty_graph_at(s->g, n);
      ty_value *e = ty_c_expand(s->g, v, o->rank, sh);
      ty_graph_at(s->g, NULL);
      if (!e || !info_room(s)) { s->failed = true; return; }
      if (e->def) facts_of(s, e->def);
      n->args[k].value = copy_before(s, e, n);
    }
  }
}

/* An output is computed straight into the caller's memory where its base is a value of its own in the right order. */
static void legal_output(ty_sc *s, int i) {
  ty_value *o = s->g->outputs.p[i], *v = o;
  while (v->def && v->def->op == TY_OP_reshape) v = v->def->args[0].value;
  bool own = v->def && !ty_sc_is_view(v->def) && v->def->op != TY_OP_attention && !ty_sc_info(s, v)->fold && !ty_sc_info(s, v)->store && ty_sc_info(s, v)->output < 0;
  if (!own) v = s->g->outputs.p[i] = copy_before(s, o, NULL);
  ty_sc_info(s, v)->output = i;
  ty_sc_info(s, v)->trivial = false;
  if (!own) ty_sc_info(s, v)->fold = false;
}

ty_status ty_sc_legalize(ty_sc *s) {
  for (ty_node *n = s->g->first; n; n = n->next) switch (n->op) {
    case TY_OP_gemm: fix(s, &n->args[0], n, true, true); break;
    case TY_OP_matmul: legal_matmul(s, n); break;
    case TY_OP_conv_packed: fix(s, &n->args[0], n, false, true); break;
    case TY_OP_pack: case TY_OP_conv_pack: fix(s, &n->args[0], n, false, false); break;
    case TY_OP_rnn:
      for (int i = 0; i < 6; i++)
        if (n->args[i].kind == TY_ARG_VALUE) contiguous(s, &n->args[i], n);
      break;
    case TY_OP_scan: case TY_OP_sort: case TY_OP_scatter: case TY_OP_bag:
      for (int i = 0; i < n->nargs; i++)
        if (n->args[i].kind == TY_ARG_VALUE) contiguous(s, &n->args[i], n);
      break;
    case TY_OP_index: fix(s, &n->args[0], n, false, false); break;
    case TY_OP_attention:
      for (int i = 0; i < 3; i++) fix(s, &n->args[i], n, false, true);
      for (int i = 3; i < 5; i++)
        if (n->args[i].kind == TY_ARG_VALUE) fix(s, &n->args[i], n, false, false);
      break;
    default: break;
  }
  for (int i = 0; i < s->g->outputs.n; i++) legal_output(s, i);
  return s->failed ? ty_fail(s->ctx, TY_NOMEM, "no memory for the schedule") : TY_OK;
}
