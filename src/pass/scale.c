/* scale.c: constants that multiply the channels of a convolution's result (batch norm) go into its weight, and what is added on the
 * way becomes one vector. bfloat16 weights are left, as they would be rounded again. Requires: channels last (layout). */
#include "pass/pass_int.h"

/* A value that is conv * scale + shift, both constant along all but the last dim; NULL: none. */
typedef struct chain { ty_node *conv; ty_value *scale, *shift; bool goes_on; } chain;

static bool per_channel(ty_graph *g, const ty_value *v, const ty_value *out) {
  if (v->dtype != out->dtype || v->rank > out->rank) return false;
  for (int i = 0; i < v->rank - 1; i++) if (!ty_dim_is(g, v->shape[i], 1)) return false;
  return !v->rank || ty_dim_is(g, v->shape[v->rank - 1], 1) || v->shape[v->rank - 1] == out->shape[out->rank - 1];
}

static ty_value *both(ty_graph *g, ty_prim p, ty_value *a, ty_value *b) { return a ? ty_c_prim(g, p, a, b, NULL) : NULL; }

/* The chain that n ends when operand x has one already and the other is k. */
static bool extend(ty_graph *g, const ty_node *n, int which, const chain *c, ty_value *k, chain *r) {
  *r = *c;
  r->goes_on = false;
  if (n->op == ty_op_of_prim(TY_P_add)) r->shift = c->shift ? both(g, TY_P_add, c->shift, k) : k;
  else if (n->op == ty_op_of_prim(TY_P_sub) && which == 0) r->shift = c->shift ? both(g, TY_P_sub, c->shift, k) : ty_c_prim(g, TY_P_neg, k, NULL, NULL);
  else if (n->op == ty_op_of_prim(TY_P_mul) || (n->op == ty_op_of_prim(TY_P_div) && which == 0)) {
    ty_prim p = n->op == ty_op_of_prim(TY_P_mul) ? TY_P_mul : TY_P_div;
    r->scale = c->scale ? both(g, p, c->scale, k) : p == TY_P_mul ? k : ty_c_prim(g, TY_P_recip, k, NULL, NULL);
    r->shift = both(g, p, c->shift, k);
    if (c->shift && !r->shift) r->scale = NULL;
  } else return false;
  return r->scale || r->shift;
}

static ty_value *rebuilt(ty_graph *g, const chain *c) {
  ty_value *w = c->conv->args[1].value, *s = c->scale;
  ty_dim shape[5];
  for (int i = 0; i < w->rank; i++) shape[i] = ty_dim_const(g, 1);
  shape[0] = ty_dim_product(g, s->rank, s->shape);
  ty_arg args[7];
  for (int i = 0; i < 7; i++) args[i] = c->conv->args[i];
  ty_value *scaled = ty_c_reshape(g, s, w->rank, shape);
  scaled = scaled ? ty_c_prim(g, TY_P_mul, w, scaled, NULL) : NULL;
  if (!scaled) return NULL;
  args[1] = ty_arg_value(scaled);
  ty_value *y = ty_make(g, TY_OP_conv, 7, args);
  if (!y) return NULL;
  y->def->from = c->conv->from, y->def->loc = c->conv->loc, y->def->origin = c->conv->origin;
  return c->shift ? ty_c_prim(g, TY_P_add, y, c->shift, NULL) : y;
}

ty_status ty_pass_scale(ty_graph *g) {
  ty_remap m;
  bool *c = ty_pass_constants(g);
  int nc = g->values.n, *uses = ty_graph_use_counts(g);
  chain *at = ty_alloc(sizeof *at * (size_t)nc);
  if (!c || !uses || !at || !ty_remap_init(&m, g)) { ty_free(c); ty_free(uses); ty_free(at); return ty_pass_nomem(g); }
  ty_status st = TY_OK;
  for (ty_node *n = g->first; n; n = n->next) {
    ty_value *o = n->nouts ? n->outs[0] : NULL;
    if (!o || o->id >= nc) continue;
    if (n->op == TY_OP_conv && c[n->args[1].value->id] && n->args[1].value->dtype == TY_f32) at[o->id] = (chain){ .conv = n };
    if (!ty_op_is_prim(n->op) || n->nargs != 2) continue;
    ty_graph_at(g, n);
    for (int k = 0; k < 2; k++) {
      ty_value *x = n->args[k].value, *y = n->args[1 - k].value;
      if (x->id >= nc || y->id >= nc || !at[x->id].conv || uses[x->id] != 1 || !c[y->id] || !per_channel(g, y, o) || !ty_same_shape(x, o)) continue;
      chain longer;
      if (extend(g, n, k, &at[x->id], y, &longer)) at[x->id].goes_on = true, at[o->id] = longer;
      break;
    }
  }
  for (ty_node *n = g->first, *next; n && !st; n = next) {
    next = n->next;
    ty_value *o = n->nouts ? n->outs[0] : NULL;
    if (!o || o->id >= nc || !at[o->id].scale || at[o->id].goes_on) continue;
    ty_graph_at(g, n);
    ty_value *r = rebuilt(g, &at[o->id]);
    if (!r || !ty_remap_set(&m, o, r)) st = ty_pass_nomem(g);
  }
  for (ty_node *n = g->first; n; n = n->next) ty_remap_node(&m, n);
  ty_remap_finish(&m, g);
  ty_free(c);
  ty_free(uses);
  ty_free(at);
  return st ? st : ty_pass_dce(g);
}
