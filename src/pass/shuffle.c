/* shuffle.c: what was joined and then shuffled is joined shuffled, so that who computes the parts writes them where they end up:
 * permute(reshape(cat(x..))), where the reshape sets the parts apart again, becomes a cat of permutes. Requires: core operators, canonical views. */
#include "pass/pass_int.h"

static ty_value *rewrite(ty_graph *g, const int *uses, int counted, ty_node *n) {
  ty_value *r = n->args[0].value, *x[64];
  if (!ty_is_op(r, TY_OP_reshape) || r->id >= counted || uses[r->id] != 1) return NULL;
  ty_value *c = r->def->args[0].value;
  if (!ty_is_op(c, TY_OP_cat) || c->id >= counted || uses[c->id] != 1 || r->rank != c->rank + 1) return NULL;
  int64_t d = 0, parts = c->def->args[0].n;
  int perm[TY_MAX_RANK], to = 0;
  ty_dim shape[TY_MAX_RANK];
  ty_dim_is_const(g, c->def->args[1].i, &d);
  if (parts > 64 || !ty_dim_is(g, r->shape[d], parts)) return NULL;
  for (int i = 0; i < r->rank; i++) {
    shape[i] = i == d ? ty_dim_const(g, 1) : r->shape[i];
    if (i != d && r->shape[i] != (i < d ? c : c->def->args[0].values[0])->shape[i < d ? i : i - 1]) return NULL;
    int64_t p = 0;
    ty_dim_is_const(g, n->args[1].ints[i], &p);
    perm[i] = (int)p;
    if (p == d) to = i;
  }
  for (int k = 0; k < parts; k++) {
    ty_value *v = c->def->args[0].values[k];
    if (v->shape[d] != r->shape[d + 1]) return NULL;
    x[k] = ty_c_reshape(g, v, r->rank, shape);
    x[k] = x[k] ? ty_c_permute(g, x[k], perm) : NULL;
    if (!x[k]) return NULL;
  }
  return ty_c_cat(g, (int)parts, x, to);
}

ty_status ty_pass_shuffle(ty_graph *g) {
  ty_remap m;
  int counted = g->values.n, *uses = ty_graph_use_counts(g);
  if (!uses || !ty_remap_init(&m, g)) { ty_free(uses); return ty_pass_nomem(g); }
  ty_status st = TY_OK;
  for (ty_node *n = g->first; n && !st; n = n->next) {
    ty_remap_node(&m, n);
    if (n->op != TY_OP_permute) continue;
    ty_graph_at(g, n);
    ty_value *r = rewrite(g, uses, counted, n);
    if (r && !ty_remap_set(&m, n->outs[0], r)) st = ty_pass_nomem(g);
  }
  ty_remap_finish(&m, g);
  ty_free(uses);
  return st ? st : ty_pass_dce(g);
}
