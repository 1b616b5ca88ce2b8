/* need.c: what operators need of symbolic sizes: proven here, or kept for who binds the sizes. */
#include "dim_int.h"

static const char *const names[] = {[TY_NEED_EQ] = "==", [TY_NEED_NE] = "!=", [TY_NEED_LE] = "<="};

void ty_need_print(const ty_graph *g, const ty_need *n, ty_str *out) {
  ty_dim_print(g, n->a, out);
  ty_str_add(out, " %s ", names[n->rel]);
  ty_dim_print(g, n->b, out);
}

static bool apart(ty_graph *g, ty_dim a, ty_dim b) { return ty_dim_known_lt(g, a, b) || ty_dim_known_lt(g, b, a); }

static bool holds(ty_graph *g, const ty_need *n) {
  switch (n->rel) {
  case TY_NEED_EQ: return ty_dim_known_eq(g, n->a, n->b);
  case TY_NEED_NE: return apart(g, n->a, n->b);
  default: return dim_ge0(g, ty_dim_sub(g, n->b, n->a));
  }
}
static bool fails(ty_graph *g, const ty_need *n) {
  switch (n->rel) {
  case TY_NEED_EQ: return apart(g, n->a, n->b);
  case TY_NEED_NE: return ty_dim_known_eq(g, n->a, n->b);
  default: return ty_dim_known_lt(g, n->b, n->a);
  }
}

static ty_status need(ty_graph *g, const ty_node *node, ty_need_rel rel, ty_dim a, ty_dim b, bool at_run) {
  ty_need n = {rel, a, b, g->at ? g->at->op : node->op, g->at ? g->at->loc : node->loc};
  if (a < 0 || b < 0) return g->arena.failed ? TY_NOMEM : TY_UNSUPPORTED; /* the dim left the reason */
  if (holds(g, &n)) return TY_OK;
  if (!at_run && fails(g, &n)) {
    ty_str s = {0};
    ty_need_print(g, &n, &s);
    ty_status st = ty_fail(g->ctx, s.failed ? TY_NOMEM : TY_INVALID, "%s is needed", s.failed ? "a size" : s.p);
    ty_str_free(&s);
    return st;
  }
  if ((dim_rec(g, a)->flags | dim_rec(g, b)->flags) & DIM_HAS_LOOPVAR) return ty_fail(g->ctx, TY_UNSUPPORTED, "a size that depends on an index");
  for (int i = 0; i < g->needs.n; i++)
    if (g->needs.p[i].rel == rel && g->needs.p[i].a == a && g->needs.p[i].b == b) return TY_OK;
  return TY_PUSH(&g->needs, n) ? TY_OK : (g->arena.failed = true, ty_fail(g->ctx, TY_NOMEM, "out of memory"));
}

ty_status ty_graph_need(ty_graph *g, const ty_node *n, ty_need_rel rel, ty_dim a, ty_dim b) { return need(g, n, rel, a, b, false); }
ty_status ty_graph_need_at_run(ty_graph *g, const ty_node *n, ty_need_rel rel, ty_dim a, ty_dim b) { return need(g, n, rel, a, b, true); }
