/* products.c: matrix products with constant matrices: recognised with their bias (linear), merged over one input (merge), and
 * given packed weights (pack). Requires: core operators; merge requires constants first (hoist). */
#include "kernel/kernel.h"
#include "pass/pass_int.h"

#include <string.h>

static ty_value *transposed(ty_graph *g, ty_value *w) {
  static const int swap[2] = { 1, 0 };
  if (ty_is_op(w, TY_OP_permute) && w->rank == 2) return w->def->args[0].value; /* w is square-swapped already */
  return ty_c_permute(g, w, swap);
}
/* The weight that a product with constant w [K, N] has as a linear: its dtype says in what it is computed. */
static ty_value *weight(ty_graph *g, const ty_node *product) {
  bool half = product->args[2].kind == TY_ARG_STR && !strcmp(product->args[2].str, ty_formats[TY_FORMAT_bf16].name);
  ty_value *w = transposed(g, product->args[1].value);
  return half ? ty_c_cast(g, w, TY_bf16) : w;
}

/* matmul(x [..., K], w [K, N]) with constant w */
static bool const_product(const bool *c, const ty_value *v) {
  return ty_is_op(v, TY_OP_matmul) && v->dtype == TY_f32 && v->def->args[1].value->rank == 2 && c[v->def->args[1].value->id] &&
         !c[v->def->args[0].value->id];
}

static bool is_bias(ty_graph *g, const bool *c, const ty_value *b, const ty_value *out) {
  if (!c[b->id] || b->dtype != TY_f32 || b->rank < 1) return false;
  for (int i = 0; i < b->rank - 1; i++) if (!ty_dim_is(g, b->shape[i], 1)) return false;
  return b->shape[b->rank - 1] == out->shape[out->rank - 1];
}

ty_status ty_pass_linear(ty_graph *g) {
  ty_remap m;
  bool *c = ty_pass_constants(g);
  int nc = g->values.n, *uses = ty_graph_use_counts(g);
  if (!c || !uses || !ty_remap_init(&m, g)) { ty_free(c); ty_free(uses); return ty_pass_nomem(g); }
  ty_status st = TY_OK;
  for (ty_node *n = g->first, *next; n && !st; n = next) {
    next = n->next;
    ty_value *o = n->nouts ? n->outs[0] : NULL, *r = NULL;
    if (!o || o->id >= nc) continue;
    ty_graph_at(g, n);
    if (n->op == ty_op_of_prim(TY_P_add))
      for (int k = 0; k < 2 && !r; k++) {
        ty_value *p = n->args[k].value, *b = n->args[1 - k].value;
        if (p->id < nc && b->id < nc && const_product(c, p) && uses[p->id] == 1 && ty_same_shape(p, o) && is_bias(g, c, b, o)) {
          ty_value *b1 = ty_c_reshape(g, b, 1, &b->shape[b->rank - 1]);
          r = ty_c_linear(g, p->def->args[0].value, weight(g, p->def), b1);
        }
      }
    else if (const_product(c, o) && uses[o->id] != 1) r = ty_c_linear(g, n->args[0].value, weight(g, n), NULL);
    else if (const_product(c, o)) { /* only where no bias add takes it */
      bool taken = false;
      for (ty_node *u = n->next; u && !taken; u = u->next)
        if (u->op == ty_op_of_prim(TY_P_add))
          for (int k = 0; k < 2; k++)
            taken |= u->args[k].value == o && u->args[1 - k].value->id < nc && ty_same_shape(o, u->outs[0]) && is_bias(g, c, u->args[1 - k].value, u->outs[0]);
      if (!taken) r = ty_c_linear(g, n->args[0].value, weight(g, n), NULL);
    }
    if (r && !ty_remap_set(&m, o, r)) st = ty_pass_nomem(g);
  }
  for (ty_node *n = g->first; n; n = n->next) ty_remap_node(&m, n);
  ty_remap_finish(&m, g);
  ty_free(c);
  ty_free(uses);
  return st ? st : ty_pass_dce(g);
}

enum { MERGE_MAX = 16 };

/* Of bytes as they are: what stands for one has its scales to put into an epilogue of its own. */
static bool of_bytes(const ty_value *w) { return w->dtype == TY_i8 || (ty_is_op(w, TY_OP_cast) && w->def->args[0].value->dtype == TY_i8); }

/* The linears after n that read the same input with constant weights. */
static int siblings(const bool *c, int nc, ty_node *n, ty_node **out) {
  int k = 0;
  for (ty_node *u = n; u && k < MERGE_MAX; u = u->next)
    if (u->op == TY_OP_linear && u->args[0].value == n->args[0].value && u->outs[0]->id < nc && c[u->args[1].value->id] &&
        u->args[1].value->dtype == n->args[1].value->dtype && !of_bytes(u->args[1].value) &&
        (u->args[2].kind == TY_ARG_NONE || c[u->args[2].value->id]))
      out[k++] = u;
  return k;
}

static bool merge_these(ty_graph *g, ty_remap *m, int k, ty_node **s) {
  ty_value *w[MERGE_MAX], *b[MERGE_MAX];
  bool biased = false;
  for (int i = 0; i < k; i++) biased |= s[i]->args[2].kind == TY_ARG_VALUE;
  ty_graph_at(g, s[0]);
  for (int i = 0; i < k; i++) {
    w[i] = s[i]->args[1].value;
    b[i] = s[i]->args[2].kind == TY_ARG_VALUE ? s[i]->args[2].value : biased ? ty_c_full(g, TY_f32, 1, &w[i]->shape[0], 0) : NULL;
    if (biased && !b[i]) return false;
  }
  ty_value *all = ty_c_linear(g, s[0]->args[0].value, ty_c_cat(g, k, w, 0), biased ? ty_c_cat(g, k, b, 0) : NULL);
  ty_dim off = ty_dim_const(g, 0);
  for (int i = 0; i < k && all; i++) {
    ty_value *part = ty_c_slice(g, all, all->rank - 1, off, 1, w[i]->shape[0]);
    if (!part || !ty_remap_set(m, s[i]->outs[0], part)) return false;
    off = ty_dim_add(g, off, w[i]->shape[0]);
  }
  return all != NULL;
}

ty_status ty_pass_merge(ty_graph *g) {
  ty_remap m;
  bool *c = ty_pass_constants(g);
  int nc = g->values.n;
  if (!c || !ty_remap_init(&m, g)) { ty_free(c); return ty_pass_nomem(g); }
  ty_status st = TY_OK;
  for (ty_node *n = g->first, *next; n && !st; n = next) {
    next = n->next;
    ty_remap_node(&m, n);
    ty_node *s[MERGE_MAX];
    if (n->op != TY_OP_linear || n->outs[0]->id >= nc || n->args[0].value->rank < 2 || of_bytes(n->args[1].value)) continue;
    if (n->outs[0]->id < m.n && m.to[n->outs[0]->id]) continue; /* merged already */
    int k = siblings(c, nc, n, s);
    if (k < 2) continue;
    if (!merge_these(g, &m, k, s)) st = ty_pass_nomem(g);
  }
  ty_remap_finish(&m, g);
  ty_free(c);
  if (!st) st = ty_pass_dce(g);
  return st ? st : ty_pass_hoist(g);
}

static const char *format_of(const ty_graph *g, const ty_value *w) { return w->dtype == TY_bf16 ? "bf16" : g->format; }

ty_value *ty_pass_packed_gemm(ty_graph *g, ty_value *x, ty_value *w, const char *format) {
  ty_value *p = ty_make(g, TY_OP_pack, 2, (ty_arg[]){ ty_arg_value(ty_c_cast(g, w, TY_f32)), ty_arg_str(format) });
  if (!p) return NULL;
  ty_arg ga[3] = { ty_arg_value(x), ty_arg_value(p), ty_arg_int(w->shape[0]) };
  return ty_make(g, TY_OP_gemm, 3, ga);
}

static const char *linear_format(ty_graph *g, const ty_value *w) {
  if (of_bytes(w)) return ty_formats[w->dtype == TY_i8 ? TY_FORMAT_int8 : TY_FORMAT_int8wo].name;
  int64_t k;
  bool fits = ty_dim_is_const(g, w->shape[1], &k) && k <= TY_INT8_K_MAX;
  return !g->weights || (!fits && !strcmp(g->weights, ty_formats[TY_FORMAT_int8].name)) ? format_of(g, w) : g->weights;
}

/* A convolution of points is a product; any other gets a packed weight. */
static ty_value *packed_conv(ty_graph *g, const bool *c, int nc, ty_node *n) {
  ty_value *x = n->args[0].value, *w = n->args[1].value;
  int d = x->rank - 2;
  bool points = ty_dim_is(g, n->args[5].i, 1);
  ty_dim kernel[3], hint[3];
  for (int i = 0; i < d; i++) {
    kernel[i] = w->shape[2 + i];
    hint[i] = ty_dim_is_const(g, n->args[6].ints[i], NULL) ? n->args[6].ints[i] : ty_dim_const(g, 0);
    points &= ty_dim_is(g, kernel[i], 1) && ty_dim_is(g, n->args[2].ints[i], 1) && ty_dim_is(g, n->args[3].ints[i], 0) &&
              n->args[6].ints[i] == x->shape[1 + i];
  }
  if (points && w->id < nc && c[w->id]) return ty_pass_packed_gemm(g, x, ty_c_reshape(g, w, 2, w->shape), format_of(g, w));
  ty_arg out = ty_arg_ints(g, d, hint);
  ty_value *p = ty_make(g, TY_OP_conv_pack, 7, (ty_arg[]){ ty_arg_value(ty_c_cast(g, w, TY_f32)), n->args[2], n->args[4], n->args[5], out, ty_arg_str(format_of(g, w)), { 0 } });
  if (!p) return NULL;
  return ty_make(g, TY_OP_conv_packed, 9, (ty_arg[]){ ty_arg_value(x), ty_arg_value(p), ty_arg_int(w->shape[0]), ty_arg_ints(g, d, kernel),
                                                      n->args[2], n->args[3], n->args[4], n->args[5], n->args[6] });
}

/* What is left of linears: packed where the weight is constant, else a product with the transposed weight; and products whose
 * right side has no batch take all rows at once. */
static ty_value *rewrite(ty_graph *g, const bool *c, int nc, ty_node *n) {
  ty_value *x = n->args[0].value, *w = n->args[1].value, *o = n->outs[0], *r;
  if (n->op == TY_OP_matmul) {
    if (x->rank <= 2 || w->rank != 2) return NULL;
    ty_dim flat[2] = { ty_dim_product(g, x->rank - 1, x->shape), x->shape[x->rank - 1] };
    return ty_c_reshape(g, ty_c_matmul(g, ty_c_reshape(g, x, 2, flat), w, n->args[2]), o->rank, o->shape);
  }
  if (n->op == TY_OP_conv) return packed_conv(g, c, nc, n);
  if (n->op != TY_OP_linear) return NULL;
  int64_t k;
  bool vec = x->rank == 1, bytes = x->dtype == TY_u8;
  bool packs = w->id < nc && c[w->id] && (x->dtype == TY_f32 || bytes) && !(x->id < nc && c[x->id]); /* else it is computed once, here */
  if (bytes) packs &= ty_dim_is_const(g, w->shape[1], &k) && k <= TY_INT8_K_MAX;
  ty_dim row[2] = { ty_dim_const(g, 1), x->shape[x->rank - 1] };
  if (vec) x = ty_c_reshape(g, x, 2, row);
  if (packs) r = ty_pass_packed_gemm(g, x, w, linear_format(g, w));
  else if (bytes) {
    ty_dim rows[3] = { ty_dim_product(g, x->rank - 1, x->shape), ty_dim_const(g, 1), x->shape[x->rank - 1] };
    r = ty_c_prim(g, TY_P_mul, ty_c_reshape(g, ty_c_cast(g, x, TY_i32), 3, rows), ty_c_cast(g, w, TY_i32), NULL);
    r = ty_c_reduce(g, "sum", r, 1, (int[]){ 2 }, false);
  } else {
    ty_dim flat[2] = { ty_dim_product(g, x->rank - 1, x->shape), x->shape[x->rank - 1] };
    r = ty_c_matmul(g, ty_c_reshape(g, x, 2, flat), transposed(g, ty_c_cast(g, w, x->dtype)), ty_c_format_of(w->dtype));
  }
  r = ty_c_reshape(g, r, o->rank, o->shape);
  if (n->args[2].kind == TY_ARG_VALUE) r = ty_c_prim(g, TY_P_add, r, n->args[2].value, NULL);
  return r;
}

ty_status ty_pass_pack(ty_graph *g) {
  ty_remap m;
  bool *c = ty_pass_constants(g);
  int nc = g->values.n;
  if (!c || !ty_remap_init(&m, g)) { ty_free(c); return ty_pass_nomem(g); }
  ty_status st = TY_OK;
  for (ty_node *n = g->first, *next; n && !st; n = next) {
    next = n->next;
    ty_remap_node(&m, n);
    if (n->op != TY_OP_linear && n->op != TY_OP_matmul && n->op != TY_OP_conv) continue;
    ty_graph_at(g, n);
    ty_node *before = n->prev;
    ty_value *r = rewrite(g, c, nc, n);
    for (ty_node *k = before ? before->next : g->first; k != n; k = k->next) {
      k->from = !g->eager && (k->op == TY_OP_pack || k->op == TY_OP_conv_pack) ? NULL : n->op == TY_OP_linear ? "linear" : n->from;
      k->origin = n->origin;
    }
    if (!r) {
      if (n->op != TY_OP_matmul) st = ty_note(g->ctx, TY_INTERNAL, "a linear or a convolution could not be rewritten");
      continue;
    }
    if (!ty_remap_set(&m, n->outs[0], r)) st = ty_pass_nomem(g);
    ty_graph_remove(g, n);
  }
  ty_remap_finish(&m, g);
  ty_free(c);
  return st;
}
