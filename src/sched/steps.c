/* steps.c: the groups and kernels in program order: memory for values, parameters of kernels, names for profiles. */
#include <string.h>
#include "kernel/kernel.h"
#include "sched/sched_int.h"

ty_pexpr ty_sc_expr(ty_sc *s, ty_dim d) {
  if (d < 0) return -1;
  while (s->dim_expr.n <= d)
    if (!TY_PUSH(&s->dim_expr, -1)) { s->failed = true; return -1; }
  if (s->dim_expr.p[d] >= 0) return s->dim_expr.p[d];
  ty_dim_expr e = *ty_dim_get(s->g, d);
  ty_pexpr r;
  if (e.op == TY_DIM_CONST) r = ty_program_const(s->prog, e.value);
  else if (e.op == TY_DIM_SYM) r = ty_program_expr(s->prog, TY_PE_SYM, e.value, -1, -1);
  else {
    static const ty_pexpr_op op[] = { [TY_DIM_ADD] = TY_PE_ADD, [TY_DIM_MUL] = TY_PE_MUL, [TY_DIM_DIV] = TY_PE_DIV,
                                      [TY_DIM_MOD] = TY_PE_MOD, [TY_DIM_MIN] = TY_PE_MIN, [TY_DIM_MAX] = TY_PE_MAX };
    ty_pexpr a = ty_sc_expr(s, e.a), b = ty_sc_expr(s, e.b);
    r = ty_program_expr(s->prog, op[e.op], 0, a, b);
  }
  return s->dim_expr.p[d] = r;
}
static ty_pexpr ex(ty_sc *s, ty_dim d) { return ty_sc_expr(s, d); }
static ty_pexpr lit(ty_sc *s, int64_t v) { return ty_program_const(s->prog, v); }

/* Elements from the first to past the last one in memory. */
static ty_dim span(ty_sc *s, const ty_value *v) {
  if (!v->strides) return ty_dim_product(s->g, v->rank, v->shape);
  ty_dim e = ty_dim_const(s->g, 1), one = e;
  for (int i = 0; i < v->rank; i++) e = ty_dim_add(s->g, e, ty_dim_mul(s->g, ty_dim_sub(s->g, v->shape[i], one), v->strides[i]));
  return ty_dim_max(s->g, e, ty_dim_const(s->g, 0));
}

ty_place *ty_sc_place(ty_sc *s, ty_value *v) {
  ty_vinfo *i = ty_sc_info(s, v);
  if (i->placed) return &i->place;
  i->placed = true;
  ty_pexpr bytes = ex(s, ty_dim_mul(s->g, span(s, v), ty_dim_const(s->g, ty_dtype_size(v->dtype))));
  ty_pbuf_kind k = i->output >= 0 ? TY_PB_OUTPUT : i->fold && i->run_reads ? TY_PB_STATE : TY_PB_ARENA;
  int index = i->output;
  if (!v->def && v->role != TY_ROLE_LITERAL) { k = TY_PB_INPUT; index = v->index; }
  if (!v->def && v->role == TY_ROLE_LITERAL) {
    int64_t n = ty_dtype_size(v->dtype), d;
    for (int a = 0; a < v->rank; a++) { ty_dim_is_const(s->g, v->shape[a], &d); n *= d; }
    i->place.buf = ty_program_literal(s->prog, v->data, (size_t)n);
  } else i->place.buf = ty_program_buffer(s->prog, k, index, v->dtype, bytes, v->name);
  return &i->place;
}

/* ---- names ---- */
static void shape_text(ty_sc *s, const ty_value *v, ty_str *t) {
  ty_str_add(t, "[");
  for (int i = 0; i < v->rank; i++) { if (i) ty_str_add(t, ","); ty_dim_print(s->g, v->shape[i], t); }
  ty_str_add(t, "]");
}

/* "add gelu" becomes "add+gelu"; long lists are cut, repeats counted once. */
static void short_name(const char *fused, ty_str *t) {
  char seen[256] = " ";
  int n = 0;
  for (const char *p = fused; *p && n < 7;) {
    const char *e = strchr(p, ' ');
    size_t len = e ? (size_t)(e - p) : strlen(p);
    char w[40];
    if (len > 36) len = 36;
    w[0] = ' '; memcpy(w + 1, p, len); w[len + 1] = ' '; w[len + 2] = 0;
    if (!strstr(seen, w) && strlen(seen) + len + 2 < sizeof seen) {
      strcat(seen, w + 1);
      ty_str_add(t, "%s%.*s", n++ ? "+" : "", (int)len, p);
    }
    p = e ? e + 1 : p + strlen(p);
  }
  if (n >= 7) ty_str_add(t, "+...");
}

ty_step_info ty_sc_step_info(ty_sc *s, const ty_node *n, const char *head, const char *fused, const ty_value *shape, const char *kernel, ty_dim flops, bool fold) {
  ty_str t = { 0 };
  if (s->g->eager && n->from) ty_str_add(&t, "aten::%s", n->from); /* as PyTorch's profiler names it */
  else {
    ty_str_add(&t, "%s", head);
    if (*head && *fused) ty_str_add(&t, "+");
    short_name(fused, &t);
    ty_str_add(&t, " ");
    shape_text(s, shape, &t);
  }
  ty_step_info i = { .name = ty_arena_strdup(&s->out->arena, t.p ? t.p : ""), .kernel = kernel, .flops = flops < 0 ? -1 : ex(s, flops), .bytes = -1, .fold = fold,
                     .origin = s->g->eager ? n->origin : 0 };
  ty_str_free(&t);
  if (!i.name) s->failed = true;
  return i;
}

void ty_sc_record(ty_sc *s, const ty_step_info *i, const char *fused, const char *declined, int loop) {
  ty_sched_step st = { i->name, i->kernel, ty_arena_strdup(&s->out->arena, fused), declined, i->fold, loop };
  if (!st.fused || !TY_PUSH(&s->out->steps, st)) s->failed = true;
}

/* ---- loops ---- */
static int keep_loop(ty_sc *s, ty_loop *l, bool compile) {
  for (int i = 0; i < s->out->loops.n; i++) {
    ty_sched_loop *o = &s->out->loops.p[i];
    if (o->loop->hash.a == l->hash.a && o->loop->hash.b == l->hash.b) { o->compile |= compile; ty_loop_destroy(l); return i; }
  }
  if (!TY_PUSH(&s->out->loops, ((ty_sched_loop){ l, compile }))) { s->failed = true; ty_loop_destroy(l); return -1; }
  return s->out->loops.n - 1;
}

static ty_step_loop loop_step(ty_sc *s, const ty_group *gr, ty_built *b, ty_loop *l) {
  const ty_value *root = gr->root;
  bool dense = gr->anchor && !gr->into && !ty_sc_info(s, root)->store && !root->strides && root->dtype == TY_f32;
  size_t one = ty_loop_scratch(l, 1), many = ty_loop_scratch(l, 1 + 1024);
  size_t per = (many - one + 1023) / 1024;
  return (ty_step_loop){ .fn = ty_loop_interp, .self = l, .nbufs = b->bufs.n, .bufs = b->bufs.p, .writes = b->writes.p,
                         .npars = b->pars.n, .pars = b->pars.p, .rows = ex(s, b->rows), .cols = ex(s, b->cols), .whole_cols = l->col_reduce, .dense = dense,
                         .scratch_fixed = one + 4096, .scratch_per_col = per };
}

/* What a loop moves: of each buffer no more than it has, and no more than the loop has places to ask for (rows of a table, a part of a cat). */
static ty_pexpr loop_bytes(ty_sc *s, const ty_built *b, const ty_loop *l) {
  ty_pexpr sum = lit(s, 0);
  for (int i = 0; i < b->bufs.n; i++) {
    ty_dim asked = ty_dim_const(s->g, 0);
    for (int k = 0; k < l->nodes.n; k++) {
      const ty_lnode *n = &l->nodes.p[k];
      if ((n->kind != TY_L_LOAD && n->kind != TY_L_STORE) || n->slot != i) continue;
      ty_dim times[4] = { b->rows, n->level == TY_LV_ELEM ? b->cols : ty_dim_const(s->g, 1), n->level == TY_LV_ROW || n->phase ? ty_dim_const(s->g, 1) : b->red,
                          ty_dim_const(s->g, ty_dtype_size(n->mem)) };
      asked = ty_dim_add(s->g, asked, ty_dim_product(s->g, 4, times));
    }
    ty_pexpr most = ty_program_expr(s->prog, TY_PE_MIN, 0, ty_program_buffer_bytes(s->prog, b->bufs.p[i]), ex(s, asked));
    sum = ty_program_expr(s->prog, TY_PE_ADD, 0, sum, most);
  }
  return sum;
}

static ty_dim gemm_flops(ty_sc *s, ty_dim batch, ty_dim m, ty_dim n, ty_dim k) {
  ty_dim f[5] = { ty_dim_const(s->g, 2), batch, m, n, k };
  return ty_dim_product(s->g, 5, f);
}

/* In what a product without packed weights is computed. */
static ty_format format_of(ty_sc *s, const ty_arg *own) {
  ty_format f = TY_FORMAT_f32;
  ty_format_parse(own->kind == TY_ARG_STR ? own->str : s->g->format, &f);
  return f;
}

static bool fill_gemm(ty_sc *s, ty_node *n, ty_step_gemm *g, ty_dim *flops) {
  ty_value *a = n->args[0].value, *b = n->args[1].value, *o = n->outs[0], *base;
  ty_dim off, st[TY_MAX_RANK], sb[TY_MAX_RANK], so[TY_MAX_RANK], m, ld, one = ty_dim_const(s->g, 1);
  if (!ty_sc_layout(s, a, &base, &off, st)) return false;
  *g = (ty_step_gemm){ .a = ty_sc_place(s, base)->buf, .a_off = ex(s, off), .c = -1, .f64 = o->dtype == TY_f64, .bytes = a->dtype == TY_u8 };
  g->c_off = g->a_batch[0] = g->a_batch[1] = g->b_batch[0] = g->b_batch[1] = g->c_batch[0] = g->c_batch[1] = g->b_off = g->ldk = g->ldn = lit(s, 0);
  g->batch[0] = g->batch[1] = lit(s, 1);
  ty_dim N = o->shape[o->rank - 1], K = a->shape[a->rank - 1];
  g->n = g->ldc = ex(s, N);
  g->k = ex(s, K);
  if (n->op == TY_OP_gemm) {
    if (!ty_sc_collapse_rows(s, a->rank, a->shape, st, &m, &ld)) return false;
    g->m = ex(s, m);
    g->lda = ex(s, ld);
    g->packed = true;
    ty_dim unused_off, ub[TY_MAX_RANK];
    if (!ty_sc_layout(s, b, &base, &unused_off, ub)) return false;
    g->b = ty_sc_place(s, base)->buf;
    *flops = gemm_flops(s, one, m, N, K);
    if (!base->def || base->def->op != TY_OP_pack || !ty_format_parse(base->def->args[1].str, &g->format)) return false;
    g->format = ty_format_on(ty_program_isa(s->prog), g->format);
    return true;
  }
  int nb = o->rank - 2;
  ty_dim full[3][TY_MAX_RANK], batch[2], bs[3][2];
  g->m = ex(s, a->shape[a->rank - 2]);
  g->lda = ex(s, st[a->rank - 2]);
  if (!ty_sc_layout(s, b, &base, &off, sb)) return false;
  g->b = ty_sc_place(s, base)->buf;
  g->b_off = ex(s, off);
  /* What is folded is computed on this machine, whichever will run the rest. */
  if (!g->f64 && !ty_sc_info(s, o)->fold) g->format = ty_format_on(ty_program_isa(s->prog), format_of(s, &n->args[2]));
  g->ldk = ex(s, sb[b->rank - 2]);
  g->ldn = ex(s, sb[b->rank - 1]);
  ty_dim so_off;
  ty_sc_own_layout(s, o, &so_off, so); /* a product that lies in a part of another value goes through an epilogue */
  for (int i = 0; i < nb; i++) {
    int ja = i - (nb - (a->rank - 2)), jb = i - (nb - (b->rank - 2));
    full[0][i] = ja < 0 || ty_dim_is(s->g, a->shape[ja], 1) ? ty_dim_const(s->g, 0) : st[ja];
    full[1][i] = jb < 0 || ty_dim_is(s->g, b->shape[jb], 1) ? ty_dim_const(s->g, 0) : sb[jb];
    full[2][i] = so[i];
  }
  if (!ty_sc_batch2(s, nb, o->shape, 3, (const ty_dim *const[]){ full[0], full[1], full[2] }, batch, bs)) return false;
  for (int i = 0; i < 2; i++) {
    g->batch[i] = ex(s, batch[i]);
    g->a_batch[i] = ex(s, bs[0][i]);
    g->b_batch[i] = ex(s, bs[1][i]);
    g->c_batch[i] = ex(s, bs[2][i]);
  }
  *flops = gemm_flops(s, ty_dim_product(s->g, nb, o->shape), a->shape[a->rank - 2], N, K);
  return true;
}

const char *ty_sc_products(ty_sc *s, ty_format format, const char **text) {
  ty_isa isa = ty_program_isa(s->prog);
  const ty_kernels *k = ty_kernels_get(isa);
  const ty_products *by = k->isa == isa ? ty_products_get(k, format) : NULL; /* else of another architecture */
  *text = by ? ty_products_text(by) : "";
  return by ? by->name : ty_isa_name(isa);
}

static const char *gemm_kernel(ty_sc *s, const ty_step_gemm *g) {
  ty_tier_shape t = ty_tier_shape_of(ty_program_isa(s->prog));
  const char *text, *by = ty_sc_products(s, g->format, &text);
  const char *r = g->f64 ? "gemm_f64" : ty_arena_printf(&s->out->arena, "gemm_%s_%dx%d__%s%s%s", ty_formats[g->format].name, t.mr, t.nr, by,
                                                        g->packed ? " prepacked" : " packs at run time", g->bytes ? " of bytes" : text);
  return r ? r : "";
}

static ty_status emit_group(ty_sc *s, int gi) {
  ty_group *gr = s->groups.p[gi];
  ty_built b;
  ty_status st = ty_sc_build_loop(s, gi, &b);
  if (st) { ty_loop_destroy(b.loop); ty_built_free(&b); return ty_note(s->ctx, st, "while scheduling %%%d", gr->root->id); }
  const char *fused = b.fused.p ? b.fused.p : "";
  int li = keep_loop(s, b.loop, !gr->fold);
  if (li < 0) { ty_built_free(&b); return ty_fail(s->ctx, TY_NOMEM, "no memory for the schedule"); }
  ty_loop *l = s->out->loops.p[li].loop;
  ty_step_loop sl = loop_step(s, gr, &b, l);
  if (gr->anchor && gr->anchor->op == TY_OP_conv_packed) st = ty_sc_emit_conv(s, gr->anchor, gr, fused, &sl, li);
  else if (gr->anchor) {
    ty_step_gemm g;
    ty_dim flops = -1;
    if (!fill_gemm(s, gr->anchor, &g, &flops)) { ty_built_free(&b); return ty_fail(s->ctx, TY_INTERNAL, "a product's operands are not affine"); }
    g.epilogue = &sl;
    ty_step_info i = ty_sc_step_info(s, gr->at, "", fused, gr->root, gemm_kernel(s, &g), flops, gr->fold);
    ty_program_add_gemm(s->prog, &i, &g);
    ty_sc_record(s, &i, fused, gr->declined, li);
  } else {
    char hex[33];
    ty_hash_hex(l->hash, hex);
    const char *kn = ty_arena_printf(&s->out->arena, "loop_%.8s", hex);
    ty_step_info i = ty_sc_step_info(s, gr->at, *fused ? "" : "copy", fused, gr->root, kn ? kn : "", -1, gr->fold);
    i.bytes = loop_bytes(s, &b, l);
    ty_program_add_loop(s->prog, &i, &sl);
    ty_sc_record(s, &i, *fused ? fused : "copy", gr->declined, li);
  }
  ty_built_free(&b);
  return st;
}

static ty_status emit_gemm(ty_sc *s, ty_node *n) {
  ty_step_gemm g;
  ty_dim flops = -1;
  if (!fill_gemm(s, n, &g, &flops)) return ty_fail(s->ctx, TY_INTERNAL, "operands of %%%d are not affine", n->outs[0]->id);
  g.c = ty_sc_place(s, n->outs[0])->buf;
  bool fold = ty_sc_info(s, n->outs[0])->fold;
  ty_step_info i = ty_sc_step_info(s, n, "gemm", "", n->outs[0], gemm_kernel(s, &g), flops, fold);
  ty_program_add_gemm(s->prog, &i, &g);
  ty_sc_record(s, &i, strrchr(ty_op_get(n->op)->name, '.') + 1, "its result is needed in memory as it is", -1);
  return TY_OK;
}

static const char *attn_kernel(ty_sc *s, const ty_step_attn *a) {
  const ty_products *by = ty_products_get(ty_kernels_get(ty_cpu_get()->isa), a->format);
  const char *r = by->words ? ty_arena_printf(&s->out->arena, "attn_%s__%s", ty_formats[a->format].name, by->name) : "attn_f32";
  return r ? r : "";
}

static bool strides4(ty_sc *s, ty_value *v, const ty_value *like, ty_pbuf *buf, ty_pexpr *off, ty_pexpr st4[4]) {
  ty_dim o, st[TY_MAX_RANK];
  ty_value *base;
  if (!ty_sc_layout(s, v, &base, &o, st)) return false;
  *buf = ty_sc_place(s, base)->buf;
  *off = ex(s, o);
  for (int i = 0; i < 4; i++) {
    int j = i - (4 - v->rank);
    st4[i] = j < 0 || (ty_dim_is(s->g, v->shape[j], 1) && like) ? lit(s, 0) : ex(s, st[j]);
  }
  return true;
}

static ty_status emit_attention(ty_sc *s, ty_node *n) {
  ty_value *q = n->args[0].value, *k = n->args[1].value, *v = n->args[2].value, *o = n->outs[0];
  ty_step_attn a = { .mask = -1, .bias = -1, .mask_off = lit(s, 0), .bias_off = lit(s, 0), .causal = n->args[5].b, .scale = n->args[6].f, .empty_nan = n->args[7].b };
  ty_value *ops[4] = { q, k, v, o };
  ty_pbuf *bufs[4] = { &a.q, &a.k, &a.v, &a.o };
  for (int i = 0; i < 4; i++) {
    ty_pexpr st[4];
    if (!strides4(s, ops[i], NULL, bufs[i], &a.off[i], st)) return ty_fail(s->ctx, TY_INTERNAL, "attention operand %d is not affine", i);
    for (int d = 0; d < 3; d++) a.stride[i][d] = st[d];
  }
  a.batch = ex(s, q->shape[0]); a.heads = ex(s, q->shape[1]); a.kv_heads = ex(s, k->shape[1]);
  a.sq = ex(s, q->shape[2]); a.sk = ex(s, k->shape[2]); a.d = ex(s, q->shape[3]); a.dv = ex(s, v->shape[3]);
  for (int i = 0; i < 4; i++) a.mask_stride[i] = a.bias_stride[i] = lit(s, 0);
  a.format = format_of(s, &n->args[8]);
  if (!ty_sc_info(s, o)->fold) a.format = ty_format_on(ty_program_isa(s->prog), a.format);
  if (n->args[3].kind == TY_ARG_VALUE) {
    a.mask_is_bool = n->args[3].value->dtype == TY_bool;
    if (!strides4(s, n->args[3].value, o, &a.mask, &a.mask_off, a.mask_stride)) return ty_fail(s->ctx, TY_INTERNAL, "attention mask is not affine");
  }
  if (n->args[4].kind == TY_ARG_VALUE && !strides4(s, n->args[4].value, o, &a.bias, &a.bias_off, a.bias_stride))
    return ty_fail(s->ctx, TY_INTERNAL, "attention bias is not affine");
  ty_dim bh = ty_dim_mul(s->g, q->shape[0], q->shape[1]), dd = ty_dim_add(s->g, q->shape[3], v->shape[3]);
  ty_step_info i = ty_sc_step_info(s, n, "attention", "", o, attn_kernel(s, &a), gemm_flops(s, bh, q->shape[2], k->shape[2], dd), ty_sc_info(s, o)->fold);
  ty_program_add_attn(s->prog, &i, &a);
  ty_sc_record(s, &i, "attention", "", -1);
  return TY_OK;
}

static ty_status emit_pack(ty_sc *s, ty_node *n) {
  ty_value *w = n->args[0].value, *o = n->outs[0], *base;
  ty_dim off, st[2];
  int64_t N = 0, K = 0;
  if (!ty_sc_layout(s, w, &base, &off, st) || !ty_dim_is_const(s->g, w->shape[0], &N) || !ty_dim_is_const(s->g, w->shape[1], &K))
    return ty_fail(s->ctx, TY_INTERNAL, "a weight to be packed is not a static matrix");
  ty_step_pack p = { .src = ty_sc_place(s, base)->buf, .off = ex(s, off), .ldk = ex(s, st[1]), .ldn = ex(s, st[0]), .k = lit(s, K), .n = lit(s, N) };
  ty_vinfo *i = ty_sc_info(s, o);
  ty_format_parse(n->args[1].str, &p.format);
  p.format = ty_format_on(ty_program_isa(s->prog), p.format);
  i->placed = true;
  i->place.buf = p.dst = ty_program_buffer(s->prog, i->fold ? TY_PB_STATE : TY_PB_ARENA, -1, TY_f32,
                                           lit(s, ty_packed_b_words(p.format, ty_program_panel(s->prog), K, N) * (int64_t)sizeof(float)), o->name);
  const char *kernel = ty_arena_printf(&s->out->arena, "pack_b_%s", n->args[1].str);
  ty_step_info inf = ty_sc_step_info(s, n, "pack", "", w, kernel ? kernel : "", -1, i->fold);
  ty_program_add_pack(s->prog, &inf, &p);
  ty_sc_record(s, &inf, "pack", "", -1);
  return TY_OK;
}

/* The routine of a kind, by its place among the names. */
static int among(const char *kind, int first, const char *const *names) {
  while (strcmp(kind, *names)) names++, first++;
  return first;
}

static ty_status emit_routine(ty_sc *s, ty_node *n) {
  static const char *const scans[] = { "sum", "prod", "argmax", "argmin" }, *const joins[] = { "set", "sum", "prod", "max", "min" }, *const bags[] = { "sum", "mean", "max" };
  ty_value *x = n->args[0].value, *o = n->outs[0], *base;
  ty_dim off, st[TY_MAX_RANK], size[6] = { -1, -1, -1, -1, -1, -1 };
  int64_t d = 0;
  ty_step_routine r = { .dtype = x->dtype, .out = ty_sc_place(s, ty_sc_own_layout(s, o, &off, st))->buf };
  for (int i = 0; i < 4; i++) {
    r.in[i] = -1;
    if (i >= n->nargs || n->args[i].kind != TY_ARG_VALUE) continue;
    if (!ty_sc_layout(s, n->args[i].value, &base, &off, st)) return ty_fail(s->ctx, TY_INTERNAL, "an operand of a routine is not affine");
    r.in[i] = ty_sc_place(s, base)->buf;
  }
  switch (n->op) {
  case TY_OP_scan:
    ty_dim_is_const(s->g, n->args[2].i, &d);
    r.which = among(n->args[1].str, TY_SCAN_SUM, scans);
    size[0] = ty_dim_product(s->g, (int)d, x->shape);
    size[1] = x->rank ? x->shape[d] : ty_dim_const(s->g, 1);
    size[2] = x->rank ? ty_dim_product(s->g, x->rank - (int)d - 1, x->shape + d + 1) : ty_dim_const(s->g, 1);
    break;
  case TY_OP_sort:
    r.which = n->args[2].b ? TY_SORT_DOWN : TY_SORT_UP;
    size[0] = ty_dim_product(s->g, x->rank - 1, x->shape);
    size[1] = x->shape[x->rank - 1];
    size[2] = n->args[1].i;
    break;
  case TY_OP_scatter:
    r.which = among(n->args[3].str, TY_SCATTER_SET, joins);
    size[0] = x->shape[0];
    size[1] = n->args[1].value->shape[0];
    size[2] = x->shape[1];
    break;
  default:
    r.which = among(n->args[4].str, TY_BAG_SUM, bags);
    size[0] = x->shape[0];
    size[1] = x->shape[1];
    size[2] = n->args[1].value->shape[0];
    size[3] = n->args[5].i;
    size[4] = n->args[2].value->shape[0];
    size[5] = n->args[6].i;
  }
  for (int i = 0; i < 6; i++) r.size[i] = ex(s, size[i]);
  const char *name = strrchr(ty_op_get(n->op)->name, '.') + 1;
  ty_step_info i = ty_sc_step_info(s, n, name, "", o, name, -1, ty_sc_info(s, o)->fold);
  ty_program_add_routine(s->prog, &i, &r);
  ty_sc_record(s, &i, name, "", -1);
  return TY_OK;
}

static ty_status emit_rnn(ty_sc *s, ty_node *n) {
  static const char *const kinds[] = { "tanh", "relu", "gru", "lstm" };
  ty_value *x = n->args[0].value, *h0 = n->args[4].value, *o = n->outs[0], *base;
  ty_dim off, st[TY_MAX_RANK];
  ty_step_rnn r = { .batch_first = n->args[8].b };
  while (strcmp(kinds[r.kind], n->args[6].str)) r.kind++;
  ty_pbuf *bufs[6] = { &r.x, &r.whh, &r.bhh, &r.whr, &r.h0, &r.c0 };
  for (int i = 0; i < 6; i++) {
    *bufs[i] = -1;
    if (n->args[i].kind != TY_ARG_VALUE) continue;
    if (!ty_sc_layout(s, n->args[i].value, &base, &off, st)) return ty_fail(s->ctx, TY_INTERNAL, "an operand of a recurrent layer is not affine");
    *bufs[i] = ty_sc_place(s, base)->buf;
  }
  r.out = ty_sc_place(s, o)->buf;
  ty_dim t = x->shape[r.batch_first], d = h0->shape[0], b = h0->shape[1], p = h0->shape[2], h = n->args[7].i, gates = ty_dim_const(s->g, ty_rnn_gates((ty_rnn_kind)r.kind));
  r.t = ex(s, t); r.b = ex(s, b); r.d = ex(s, d); r.h = ex(s, h); r.p = ex(s, p);
  if (r.whr >= 0) gates = ty_dim_add(s->g, gates, ty_dim_const(s->g, 1));
  ty_dim f[6] = { ty_dim_const(s->g, 2), t, b, ty_dim_mul(s->g, d, gates), h, p };
  ty_step_info i = ty_sc_step_info(s, n, n->args[6].str, "", x, "rnn_f32", ty_dim_product(s->g, 6, f), ty_sc_info(s, o)->fold);
  ty_program_add_rnn(s->prog, &i, &r);
  ty_sc_record(s, &i, n->args[6].str, "", -1);
  return TY_OK;
}

ty_status ty_sc_steps(ty_sc *s) {
  int *first = ty_alloc(sizeof(int) * (size_t)(s->g->nnodes + s->g->values.n + 1)); /* groups by node id, as chains through `next` */
  int *next = ty_alloc(sizeof(int) * (size_t)(s->groups.n + 1));
  ty_status st = first && next ? TY_OK : ty_fail(s->ctx, TY_NOMEM, "no memory for the schedule");
  int nn = 0;
  for (ty_node *n = s->g->first; n; n = n->next) n->scratch = nn++;
  for (int i = 0; i < nn && !st; i++) first[i] = -1;
  for (int i = 0; i < s->groups.n && !st; i++) { int *f = &first[s->groups.p[i]->at->scratch]; next[i] = *f; *f = i; }
  for (ty_node *n = s->g->first; n && !st; n = n->next) {
    for (int i = first[n->scratch]; i >= 0 && !st; i = next[i]) st = emit_group(s, i);
    ty_vinfo *v = n->nouts ? ty_sc_info(s, n->outs[0]) : NULL;
    if (!v || !v->external || v->group >= 0) continue;
    switch (n->op) {
    case TY_OP_gemm: case TY_OP_matmul: st = emit_gemm(s, n); break;
    case TY_OP_conv_packed: st = ty_sc_emit_conv(s, n, NULL, "", NULL, -1); break;
    case TY_OP_conv_pack: st = ty_sc_emit_conv_pack(s, n); break;
    case TY_OP_attention: st = emit_attention(s, n); break;
    case TY_OP_pack: st = emit_pack(s, n); break;
    case TY_OP_rnn: st = emit_rnn(s, n); break;
    default: if (ty_sc_is_routine(n)) st = emit_routine(s, n);
    }
  }
  ty_free(first);
  ty_free(next);
  return st ? st : s->failed ? ty_fail(s->ctx, TY_NOMEM, "no memory for the schedule") : TY_OK;
}
