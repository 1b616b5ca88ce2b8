/* conv.c: steps of convolutions: sizes and strides for the kernel that was chosen, and the packing of weights for it. */
#include "kernel/kernel.h"
#include "sched/sched_int.h"

static ty_pexpr ex(ty_sc *s, ty_dim d) { return ty_sc_expr(s, d); }
static ty_pexpr lit(ty_sc *s, int64_t v) { return ty_program_const(s->prog, v); }

static void numbers(const ty_graph *g, const ty_arg *a, int64_t dflt, int64_t out[3]) { /* the last of the three dims are used */
  for (int i = 0; i < 3; i++) {
    out[i] = dflt;
    if (i >= 3 - a->n) ty_dim_is_const(g, a->ints[i - (3 - a->n)], &out[i]);
  }
}

ty_conv_shape ty_sched_conv(const ty_graph *g, ty_isa isa, const ty_node *pack, ty_conv_kind *kind, ty_format *format) {
  const ty_value *w = pack->args[0].value;
  ty_conv_shape c = { .groups = 1, .c = 1, .o = 1 };
  ty_arg kernel = { .n = w->rank - 2, .ints = w->shape + 2 };
  int64_t out[3];
  ty_dim_is_const(g, pack->args[3].i, &c.groups);
  ty_dim_is_const(g, w->shape[0], &c.o);
  ty_dim_is_const(g, w->shape[1], &c.c);
  c.o /= c.groups;
  numbers(g, &kernel, 1, c.k);
  numbers(g, &pack->args[1], 1, c.stride);
  numbers(g, &pack->args[2], 1, c.dil);
  numbers(g, &pack->args[4], 1, out);
  ty_format_parse(pack->args[5].str, format);
  *format = ty_format_on(isa, *format);
  bool said = pack->args[6].kind == TY_ARG_STR && ty_conv_kind_parse(pack->args[6].str, kind) && ty_conv_can(*kind, &c);
  if (!said) *kind = ty_conv_choose(isa, *format, &c, out);
  *format = ty_conv_format(isa, *format, *kind, &c);
  return c;
}

static const char *kernel_name(ty_sc *s, ty_conv_kind kind, ty_format format) {
  const char *text, *by = ty_sc_products(s, format, &text);
  const char *r = ty_arena_printf(&s->out->arena, "conv_%s_%s__%s%s", ty_formats[format].name, ty_conv_kind_names[kind], by, text);
  return r ? r : "";
}

/* Strides of image, depth, height, width of a value [N, spatial.., C]. */
static void strides4(ty_sc *s, const ty_value *v, const ty_dim *st, ty_pexpr *n, ty_pexpr sp[3]) {
  int missing = 3 - (v->rank - 2);
  *n = ex(s, st[0]);
  for (int i = 0; i < 3; i++) sp[i] = i < missing ? lit(s, 0) : ex(s, st[1 + i - missing]);
}

ty_status ty_sc_emit_conv(ty_sc *s, ty_node *n, const ty_group *gr, const char *fused, const ty_step_loop *epilogue, int loop) {
  ty_value *x = n->args[0].value, *o = n->outs[0], *base, *packed = n->args[1].value;
  ty_dim off, st[TY_MAX_RANK], so[TY_MAX_RANK];
  int missing = 3 - (x->rank - 2);
  if (!ty_sc_layout(s, x, &base, &off, st)) return ty_fail(s->ctx, TY_INTERNAL, "the input of %%%d is not affine", o->id);
  if (!packed->def || packed->def->op != TY_OP_conv_pack) return ty_fail(s->ctx, TY_INTERNAL, "the weight of %%%d is not a packed one", o->id);
  ty_step_conv c = { .x = ty_sc_place(s, base)->buf, .x_off = ex(s, off), .y = -1, .batch = ex(s, x->shape[0]), .epilogue = epilogue };
  c.s = ty_sched_conv(s->g, ty_program_isa(s->prog), packed->def, &c.kind, &c.format);
  c.w = ty_sc_place(s, packed)->buf;
  numbers(s->g, &n->args[5], 0, c.pad);
  strides4(s, x, st, &c.x_n, c.x_s);
  for (int i = 0; i < 3; i++) {
    c.in[i] = i < missing ? lit(s, 1) : ex(s, x->shape[1 + i - missing]);
    c.out[i] = i < missing ? lit(s, 1) : ex(s, o->shape[1 + i - missing]);
  }
  ty_dim flops = ty_dim_mul(s->g, ty_dim_const(s->g, 2 * c.s.c * c.s.k[0] * c.s.k[1] * c.s.k[2]), ty_dim_product(s->g, o->rank, o->shape));
  if (!gr) {
    base = ty_sc_own_layout(s, o, &off, so);
    c.y = ty_sc_place(s, base)->buf;
    c.y_off = ex(s, off);
    strides4(s, o, so, &c.y_n, c.y_s);
  }
  bool fold = gr ? gr->fold : ty_sc_info(s, o)->fold;
  ty_step_info i = ty_sc_step_info(s, gr ? gr->at : n, gr ? "" : "convolution", fused, gr ? gr->root : o, kernel_name(s, c.kind, c.format), flops, fold);
  ty_program_add_conv(s->prog, &i, &c);
  ty_sc_record(s, &i, gr ? fused : "convolution", gr ? gr->declined : "its result is needed in memory as it is", loop);
  return TY_OK;
}

ty_status ty_sc_emit_conv_pack(ty_sc *s, ty_node *n) {
  ty_value *w = n->args[0].value, *o = n->outs[0], *base;
  ty_dim off, st[TY_MAX_RANK];
  if (!ty_sc_layout(s, w, &base, &off, st)) return ty_fail(s->ctx, TY_INTERNAL, "a weight to be packed is not affine");
  ty_step_conv_pack p = { .src = ty_sc_place(s, base)->buf, .off = ex(s, off) };
  p.s = ty_sched_conv(s->g, ty_program_isa(s->prog), n, &p.kind, &p.format);
  for (int i = 0; i < 5; i++) {
    int d = i < 2 ? i : i - (5 - w->rank);
    p.ld[i] = d < (i < 2 ? 0 : 2) ? lit(s, 0) : ex(s, st[d]);
  }
  ty_vinfo *i = ty_sc_info(s, o);
  i->placed = true;
  i->place.buf = p.dst = ty_program_buffer(s->prog, i->fold ? TY_PB_STATE : TY_PB_ARENA, -1, TY_f32,
                                           lit(s, ty_packed_conv_words(p.format, ty_program_panel(s->prog), p.kind, &p.s) * (int64_t)sizeof(float)), o->name);
  ty_step_info inf = ty_sc_step_info(s, n, "pack", "", w, p.format == TY_FORMAT_f32 ? "pack_conv_f32" : "pack_conv_bf16", -1, i->fold);
  ty_program_add_conv_pack(s->prog, &inf, &p);
  ty_sc_record(s, &inf, "pack", "", -1);
  return TY_OK;
}
