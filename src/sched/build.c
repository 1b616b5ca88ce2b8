/* build.c: a group as a loop: index maps become addresses, domain dims that lie in one line in all of them become one. */
#include "sched/sched_int.h"
#include <string.h>

/* What a value is inside the loop: a node, or an integer that index arithmetic still knows as a dim. */
typedef struct ty_lv { int node; ty_dim dim; } ty_lv;
typedef struct ty_memo { ty_value *v; const ty_dim *idx; ty_lv r; } ty_memo;
typedef struct ty_subst { ty_dim var, with; } ty_subst;

typedef struct ty_b {
  ty_sc *s; ty_graph *g; int gi; ty_group *gr; ty_built *out; ty_loop *l;
  bool collect;               /* first pass: only gathers the dims that addresses and indices use */
  TY_VEC(ty_dim) used;
  TY_VEC(ty_subst) subst;
  TY_VEC(ty_memo) memo;
  int nrow; ty_dim row[TY_MAX_RANK * 2], row_ext[TY_MAX_RANK * 2];
  ty_dim col, col_ext, red, red_ext; /* -1: none */
  bool failed; /* out of memory */
  bool broken; /* index arithmetic that has no place in the loop */
} ty_b;

static const ty_lv NONE_LV = { -1, -1 };

static int add(ty_b *b, ty_lnode n) {
  if (b->collect) return 0;
  int r = ty_loop_add(b->l, n);
  if (r < 0) b->failed = true;
  return r;
}
static ty_lnode node0(ty_lkind k, ty_dtype t) { return (ty_lnode){ .kind = k, .dtype = t, .a = -1, .b = -1, .c = -1, .d = -1, .col_par = -1 }; }
static int prim2(ty_b *b, ty_prim p, ty_dtype t, int x, int y) {
  ty_lnode n = node0(TY_L_PRIM, t);
  n.prim = p; n.a = x; n.b = y;
  return add(b, n);
}

static int par_slot(ty_b *b, ty_dim d) {
  ty_pexpr e = ty_sc_expr(b->s, d);
  if (e < 0) b->failed = true; /* the program, or the size, found no memory */
  for (int i = 0; i < b->out->pars.n; i++) if (b->out->pars.p[i] == e) return i;
  if (!TY_PUSH(&b->out->pars, e)) b->failed = true;
  return b->out->pars.n - 1;
}
static int buf_slot(ty_b *b, ty_pbuf p, bool write) {
  if (p < 0) b->failed = true;
  for (int i = 0; i < b->out->bufs.n; i++) if (b->out->bufs.p[i] == p) { b->out->writes.p[i] |= write; return i; }
  if (!TY_PUSH(&b->out->writes, write) || !TY_PUSH(&b->out->bufs, p)) b->failed = true; /* never fewer writes than bufs */
  return b->out->bufs.n - 1;
}

static ty_dim settle(ty_b *b, ty_dim d) {
  for (int i = 0; i < b->subst.n; i++) d = ty_dim_subst(b->g, d, b->subst.p[i].var, b->subst.p[i].with);
  return d;
}
static bool moves(ty_b *b, ty_dim d) { /* depends on a loop variable */
  ty_dim_expr e = *ty_dim_get(b->g, d);
  if (e.op == TY_DIM_CONST) return false;
  if (e.op == TY_DIM_SYM) return ty_dim_sym(b->g, (int)e.value)->extent >= 0;
  return moves(b, e.a) || moves(b, e.b);
}

/* Index arithmetic as i64 nodes; whatever does not move is one parameter. */
static int dim_node(ty_b *b, ty_dim d) {
  if (b->collect) return 0;
  ty_lnode n = node0(TY_L_CONST, TY_i64);
  int64_t c;
  if (ty_dim_is_const(b->g, d, &c) && c >= -1 && c <= 1) { n.imm = c; return add(b, n); }
  if (!moves(b, d)) { n.kind = TY_L_PAR; n.slot = par_slot(b, d); return add(b, n); }
  ty_dim_expr e = *ty_dim_get(b->g, d);
  if (e.op == TY_DIM_SYM) {
    n.kind = d == b->col ? TY_L_COLVAR : d == b->red ? TY_L_REDVAR : TY_L_ROWVAR;
    if (n.kind == TY_L_ROWVAR) {
      while (n.slot < b->nrow && b->row[n.slot] != d) n.slot++;
      if (n.slot == b->nrow) { b->broken = true; return -1; }
    }
    return add(b, n);
  }
  static const ty_prim p[] = { [TY_DIM_ADD] = TY_P_add, [TY_DIM_MUL] = TY_P_mul, [TY_DIM_DIV] = TY_P_floordiv,
                               [TY_DIM_MOD] = TY_P_rem, [TY_DIM_MIN] = TY_P_min, [TY_DIM_MAX] = TY_P_max };
  int x = dim_node(b, e.a), y;
  if ((e.op == TY_DIM_DIV || e.op == TY_DIM_MOD) && ty_dim_is_const(b->g, e.b, &c)) { n.imm = c; y = add(b, n); } /* head sizes: baked in */
  else y = dim_node(b, e.b);
  return prim2(b, p[e.op], TY_i64, x, y);
}

static int as_node(ty_b *b, ty_lv v) {
  if (v.dim < 0) return v.node;
  if (b->collect) { if (!TY_PUSH(&b->used, v.dim)) b->failed = true; return 0; }
  return dim_node(b, settle(b, v.dim));
}

/* The address part of a LOAD or STORE: the affine part as row node and column stride; what is not affine as an ELEM node. */
static void address(ty_b *b, ty_lnode *n, ty_dim addr) {
  if (b->collect) { if (!TY_PUSH(&b->used, addr)) b->failed = true; return; }
  addr = settle(b, addr);
  ty_dim coef, rest;
  if (b->col >= 0 && ty_dim_linear(b->g, addr, b->col, &coef, &rest) && !moves(b, coef)) {
    int64_t c;
    if (ty_dim_is_const(b->g, coef, &c) && (c == 0 || c == 1)) n->col_stride = c;
    else n->col_par = par_slot(b, coef);
    n->a = ty_dim_is(b->g, rest, 0) ? -1 : dim_node(b, rest);
  } else if (b->col >= 0 && ty_dim_depends(b->g, addr, b->col)) n->b = dim_node(b, addr);
  else n->a = ty_dim_is(b->g, addr, 0) ? -1 : dim_node(b, addr);
}

static bool elem_level(ty_b *b, int node);

static ty_lv load(ty_b *b, ty_value *v, const ty_dim *idx) {
  ty_value *base;
  ty_dim addr = ty_sc_address(b->s, v, idx, &base);
  ty_place *p = ty_sc_place(b->s, base);
  ty_lnode n = node0(TY_L_LOAD, v->dtype == TY_f16 || v->dtype == TY_bf16 ? TY_f32 : v->dtype);
  n.mem = v->dtype;
  if (!b->collect) n.slot = buf_slot(b, p->buf, false);
  address(b, &n, addr);
  return (ty_lv){ add(b, n), -1 };
}

static ty_lv gen(ty_b *b, ty_value *v, const ty_dim *idx);

/* Elementwise gather: index values that are plain index arithmetic stay in the affine address; the others are checked. */
static ty_lv gather(ty_b *b, ty_node *n, const ty_dim *idx) {
  ty_value *x = n->args[0].value, *base;
  ty_dim off, st[TY_MAX_RANK], at[TY_MAX_RANK];
  if (!ty_sc_layout(b->s, x, &base, &off, st)) { b->broken = true; return NONE_LV; }
  ty_place *p = ty_sc_place(b->s, base);
  ty_lnode ld = node0(TY_L_LOAD, x->dtype == TY_f16 || x->dtype == TY_bf16 ? TY_f32 : x->dtype);
  ld.mem = x->dtype;
  if (!b->collect) ld.slot = buf_slot(b, p->buf, false);
  ty_dim addr = off;
  int row = -1, elem = -1;
  for (int i = 0; i < x->rank; i++) {
    ty_value *iv = n->args[1].values[i];
    ty_sc_broadcast_map(b->s, iv, n->outs[0]->rank, idx, at);
    ty_lv r = gen(b, iv, at);
    if (r.dim >= 0 && ty_dim_known_lt(b->g, ty_dim_const(b->g, -1), r.dim) && ty_dim_known_lt(b->g, r.dim, x->shape[i])) { addr = ty_dim_add(b->g, addr, ty_dim_mul(b->g, r.dim, st[i])); continue; }
    ty_lnode ck = node0(TY_L_CHECK, TY_i64);
    ck.a = as_node(b, r);
    if (!b->collect && iv->dtype != TY_i64) { ty_lnode c = node0(TY_L_CAST, TY_i64); c.a = ck.a; ck.a = add(b, c); }
    ck.b = dim_node(b, x->shape[i]);
    int k = prim2(b, TY_P_mul, TY_i64, add(b, ck), dim_node(b, st[i]));
    if (b->collect) continue;
    int *part = elem_level(b, k) ? &elem : &row;
    *part = *part < 0 ? k : prim2(b, TY_P_add, TY_i64, *part, k);
  }
  address(b, &ld, addr);
  if (row >= 0) ld.a = ld.a < 0 ? row : prim2(b, TY_P_add, TY_i64, ld.a, row);
  if (elem >= 0) ld.b = ld.b < 0 ? elem : prim2(b, TY_P_add, TY_i64, ld.b, elem);
  return (ty_lv){ add(b, ld), -1 };
}

/* Does a node (of index arithmetic or its operands) move with the column? */
static bool elem_level(ty_b *b, int k) {
  if (k < 0) return false;
  ty_lnode *n = &b->l->nodes.p[k];
  if (n->kind == TY_L_COLVAR || n->kind == TY_L_ACC) return true;
  if (n->kind == TY_L_LOAD && (n->col_stride || n->col_par >= 0 || n->b >= 0)) return true;
  if (n->kind == TY_L_REDUCE) return b->gr->mode == TY_G_COLRED;
  return elem_level(b, n->a) || elem_level(b, n->b) || elem_level(b, n->c);
}

static ty_dtype compute_type(ty_dtype t) { return t == TY_f16 || t == TY_bf16 ? TY_f32 : t; }

static int constant(ty_b *b, ty_dtype t, const ty_arg *a) {
  ty_lnode n = node0(TY_L_CONST, compute_type(t));
  int64_t i = 0;
  if (a->kind == TY_ARG_INT) ty_dim_is_const(b->g, a->i, &i);
  else if (a->kind == TY_ARG_BOOL) i = a->b;
  double f = a->kind == TY_ARG_FLOAT ? a->f : (double)i;
  if (ty_dtype_is_float(t)) n.fimm = f;
  else n.imm = a->kind == TY_ARG_FLOAT ? (int64_t)f : i;
  if (t == TY_bool) n.imm = n.imm != 0 || (a->kind == TY_ARG_FLOAT && f != 0);
  return add(b, n);
}

static void note_fused(ty_b *b, const ty_node *n) {
  if (b->collect) return;
  const char *name = n->from ? n->from : strrchr(ty_op_get(n->op)->name, '.') + 1, *t = b->out->fused.p;
  size_t len = strlen(name), have = b->out->fused.n;
  if (have >= len && !strcmp(t + have - len, name) && (have == len || t[have - len - 1] == ' ')) return; /* as the one before */
  ty_str_add(&b->out->fused, "%s%s", have ? " " : "", name);
}

static ty_lv compute(ty_b *b, ty_node *n, const ty_dim *idx) {
  ty_value *o = n->outs[0];
  ty_dim at[2 * TY_MAX_RANK];
  ty_lnode r = node0(TY_L_PRIM, compute_type(o->dtype));
  if (n->op == TY_OP_full) {
    if (o->dtype == TY_i64 && n->args[2].kind == TY_ARG_INT) return (ty_lv){ -1, n->args[2].i };
    return (ty_lv){ constant(b, o->dtype, &n->args[2]), -1 };
  }
  if (n->op == TY_OP_iota) {
    int64_t d = 0;
    ty_dim_is_const(b->g, n->args[1].i, &d);
    return (ty_lv){ -1, idx[d] };
  }
  if (n->op == TY_OP_dimval) return (ty_lv){ -1, n->args[0].i };
  if (n->op == TY_OP_index) {
    ty_lv lv = gather(b, n, idx);
    note_fused(b, n);
    return lv;
  }
  if (ty_sc_is_product(n)) {
    note_fused(b, n);
    return (ty_lv){ add(b, node0(TY_L_ACC, o->dtype)), -1 };
  }
  if (n->op == TY_OP_reduce) {
    static const char *const kinds[] = { "sum", "prod", "max", "min", "any", "all", "argmax", "argmin" };
    ty_sc_reduce_map(b->s, b->gr, n, idx, at);
    r.kind = TY_L_REDUCE;
    r.a = as_node(b, gen(b, n->args[0].value, at));
    for (int k = 0; k < 8; k++) if (!strcmp(kinds[k], n->args[1].str)) r.red = (ty_lred)k;
    note_fused(b, n);
    return (ty_lv){ add(b, r), -1 };
  }
  ty_lv x[3] = { NONE_LV, NONE_LV, NONE_LV };
  int nv = 0;
  for (int i = 0; i < n->nargs && nv < 3; i++)
    if (n->args[i].kind == TY_ARG_VALUE) {
      ty_sc_broadcast_map(b->s, n->args[i].value, o->rank, idx, at);
      x[nv++] = gen(b, n->args[i].value, at);
    }
  if (n->op == TY_OP_cast) {
    ty_value *in = n->args[0].value;
    if (in->dtype == TY_i64 && o->dtype == TY_i64) return x[0];
    r.kind = TY_L_CAST;
    r.a = as_node(b, x[0]);
    if (compute_type(in->dtype) == r.dtype) return (ty_lv){ r.a, -1 }; /* narrow values are rounded where they are stored */
    note_fused(b, n);
    return (ty_lv){ add(b, r), -1 };
  }
  ty_prim p = (ty_prim)(n->op - TY_OP_prim_first);
  if (x[0].dim >= 0 && x[1].dim >= 0 && nv == 2) {
    ty_dim d = p == TY_P_add   ? ty_dim_add(b->g, x[0].dim, x[1].dim)
               : p == TY_P_sub ? ty_dim_sub(b->g, x[0].dim, x[1].dim)
               : p == TY_P_mul ? ty_dim_mul(b->g, x[0].dim, x[1].dim)
                               : -1;
    if (d >= 0) return (ty_lv){ -1, d }; /* what is too large for a dim wraps around as numbers do */
  }
  note_fused(b, n);
  r.prim = p;
  r.a = as_node(b, x[0]);
  if (nv > 1) r.b = as_node(b, x[1]);
  if (nv > 2) r.c = as_node(b, x[2]);
  return (ty_lv){ add(b, r), -1 };
}

static ty_lv gen(ty_b *b, ty_value *v, const ty_dim *idx) {
  ty_dim at[TY_MAX_RANK];
  ty_vinfo *i = ty_sc_info(b->s, v);
  for (int k = 0; k < b->memo.n; k++) {
    ty_memo *m = &b->memo.p[k];
    bool same = m->v == v;
    for (int d = 0; d < v->rank && same; d++) same = m->idx[d] == idx[d];
    if (same) return m->r;
  }
  ty_lv r;
  bool mine = v->def && !ty_sc_is_view(v->def) && i->group == b->gi;
  for (int d = 0; d < v->rank && mine; d++) mine = i->idx[d] == idx[d];
  if (ty_sc_is_view(v->def)) {
    ty_sc_view_map(b->s, v->def, idx, at);
    r = gen(b, v->def->args[0].value, at);
  } else if (mine || (v->def && i->trivial)) r = compute(b, v->def, idx);
  else r = load(b, v, idx);
  ty_memo m = { v, ty_arena_alloc(&b->s->tmp, sizeof(ty_dim) * (size_t)(v->rank ? v->rank : 1)), r };
  if (!m.idx) { b->failed = true; return r; }
  memcpy((ty_dim *)m.idx, idx, sizeof(ty_dim) * (size_t)v->rank);
  if (!TY_PUSH(&b->memo, m)) b->failed = true;
  return r;
}

static void store(ty_b *b) {
  ty_value *root = b->gr->root;
  int k = as_node(b, gen(b, root, b->gr->idx));
  ty_value *dst = b->gr->into ? b->gr->into : root;
  ty_dim idx[TY_MAX_RANK], st[TY_MAX_RANK];
  for (int i = 0; i < root->rank; i++) idx[i] = b->gr->idx[i];
  if (b->gr->into) idx[b->gr->into_dim] = ty_dim_add(b->g, idx[b->gr->into_dim], b->gr->into_off);
  ty_dim addr;
  dst = ty_sc_own_layout(b->s, dst, &addr, st);
  for (int i = 0; i < root->rank; i++) addr = ty_dim_add(b->g, addr, ty_dim_mul(b->g, idx[i], st[i]));
  ty_lnode n = node0(TY_L_STORE, compute_type(root->dtype));
  n.mem = root->dtype;
  n.d = k;
  ty_place *p = ty_sc_place(b->s, dst);
  if (!b->collect) n.slot = buf_slot(b, p->buf, true);
  address(b, &n, addr);
  add(b, n);
}

static void substitute(ty_b *b, ty_dim var, ty_dim with) {
  if (!TY_PUSH(&b->subst, ((ty_subst){ var, with }))) b->failed = true;
  for (int i = 0; i < b->used.n; i++) b->used.p[i] = ty_dim_subst(b->g, b->used.p[i], var, with);
}

/* Do all index maps see (outer, inner) as the one number outer * ext + inner? */
static bool in_line(ty_b *b, ty_dim outer, ty_dim inner, ty_dim ext) {
  for (int i = 0; i < b->used.n; i++) {
    ty_dim co, ci, r;
    if (!ty_dim_linear(b->g, b->used.p[i], outer, &co, &r) || !ty_dim_linear(b->g, b->used.p[i], inner, &ci, &r)) return false;
    if (co != ty_dim_mul(b->g, ci, ext)) return false;
  }
  return true;
}

/* Variables of one class, outermost first, become as few as the index maps allow; with `one`, exactly one. */
static int merge(ty_b *b, int n, ty_dim *var, ty_dim *ext, bool one) {
  ty_graph *g = b->g;
  for (int i = n - 2; i >= 0; i--) {
    bool line = in_line(b, var[i], var[i + 1], ext[i + 1]);
    if (!line && !one) continue;
    ty_dim e = ty_dim_mul(g, ext[i], ext[i + 1]), t = ty_dim_loopvar(g, "t", e);
    substitute(b, var[i], line ? ty_dim_const(g, 0) : ty_dim_div(g, t, ext[i + 1]));
    substitute(b, var[i + 1], line ? t : ty_dim_mod(g, t, ext[i + 1]));
    var[i] = t; ext[i] = e;
    for (int k = i + 1; k + 1 < n; k++) { var[k] = var[k + 1]; ext[k] = ext[k + 1]; }
    n--;
  }
  return n;
}

/* Which dim becomes the columns: the last, unless it is only a few long (the channels of an image that is turned channels last). */
static int long_dim(ty_b *b) {
  enum { FEW = 8 };
  int last = b->nrow - 1, best = last;
  for (int i = last; i >= 0 && ty_dim_hint(b->g, b->row_ext[last]) < FEW; i--)
    if (ty_dim_hint(b->g, b->row_ext[i]) > 4 * ty_dim_hint(b->g, b->row_ext[best])) best = i;
  return best;
}

static void domain(ty_b *b) {
  ty_group *gr = b->gr;
  ty_graph *g = b->g;
  ty_dim cv[2 * TY_MAX_RANK], ce[2 * TY_MAX_RANK], kv[2 * TY_MAX_RANK], ke[2 * TY_MAX_RANK];
  int nc = 0, nk = 0;
  b->nrow = 0;
  for (int i = 0; i < gr->nvars; i++) {
    if (ty_dim_is(g, gr->ext[i], 1) && gr->mode == TY_G_PLAIN) continue; /* its index is 0 */
    if (gr->cls[i] == TY_VAR_ROW) { b->row[b->nrow] = gr->var[i]; b->row_ext[b->nrow++] = gr->ext[i]; }
    else if (gr->cls[i] == TY_VAR_COL) { cv[nc] = gr->var[i]; ce[nc++] = gr->ext[i]; }
    else { kv[nk] = gr->var[i]; ke[nk++] = gr->ext[i]; }
  }
  bool plain = gr->mode == TY_G_PLAIN;
  if (plain && gr->anchor) { /* columns are the product's N, whatever its size */
    int last = gr->nvars - 1;
    if (b->nrow && b->row[b->nrow - 1] == gr->var[last]) b->nrow--;
    cv[nc] = gr->var[last]; ce[nc++] = gr->ext[last];
  }
  b->nrow = merge(b, b->nrow, b->row, b->row_ext, false);
  if (plain && !gr->anchor && b->nrow) {
    int last = long_dim(b);
    cv[nc] = b->row[last]; ce[nc++] = b->row_ext[last];
    b->nrow--;
    for (int i = last; i < b->nrow; i++) { b->row[i] = b->row[i + 1]; b->row_ext[i] = b->row_ext[i + 1]; }
  }
  merge(b, nc, cv, ce, true);
  merge(b, nk, kv, ke, true);
  b->col = nc ? cv[0] : -1; b->col_ext = nc ? ce[0] : ty_dim_const(g, 1);
  b->red = nk ? kv[0] : -1; b->red_ext = nk ? ke[0] : -1;
}

void ty_built_free(ty_built *o) {
  TY_VEC_FREE(&o->bufs);
  TY_VEC_FREE(&o->writes);
  TY_VEC_FREE(&o->pars);
  ty_str_free(&o->fused);
}

ty_status ty_sc_build_loop(ty_sc *s, int gi, ty_built *out) {
  ty_b b = { .s = s, .g = s->g, .gi = gi, .gr = s->groups.p[gi], .out = out, .collect = true };
  *out = (ty_built){ .loop = ty_loop_create() };
  if (!out->loop) return ty_fail(s->ctx, TY_NOMEM, "no memory for a loop");
  b.l = out->loop;
  store(&b);
  domain(&b);
  b.collect = false;
  b.memo.n = 0;
  b.l->nrowvars = b.nrow;
  out->rows = ty_dim_product(b.g, b.nrow, b.row_ext);
  out->cols = b.col_ext;
  out->red = b.gr->mode == TY_G_COLRED ? b.red_ext : ty_dim_const(b.g, 1);
  if (b.nrow > TY_MAX_RANK) b.broken = true;
  for (int i = 0; i < b.nrow && !b.broken; i++) b.l->row_par[i] = par_slot(&b, b.row_ext[i]);
  b.l->col_par = par_slot(&b, b.col_ext);
  b.l->red_par = b.gr->mode == TY_G_COLRED ? par_slot(&b, b.red_ext) : -1;
  store(&b);
  b.l->nbufs = out->bufs.n;
  b.l->npars = out->pars.n;
  TY_VEC_FREE(&b.used);
  TY_VEC_FREE(&b.subst);
  TY_VEC_FREE(&b.memo);
  if (b.failed || s->failed || out->fused.failed) return ty_fail(s->ctx, TY_NOMEM, "no memory for a loop");
  if (b.broken) return ty_fail(s->ctx, TY_INTERNAL, "a loop for %%%d could not be built", b.gr->root->id);
  return ty_loop_finish(s->ctx, out->loop);
}
