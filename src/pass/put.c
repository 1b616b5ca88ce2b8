/* put.c: a scatter into a slice of a tensor whose result goes back to the slice's place (x[:, 1].scatter_(..)) becomes a scatter into the
 * whole: nothing is copied out and back, and the scheduler can do it in place. Requires: core operators, views in one form. */
#include "pass/pass_int.h"

/* A cat along dim of w's own slices, all but operand k, which starts at `at` and is a scatter into w's slice there. */
typedef struct put { ty_value *w; ty_node *scatter; int dim; ty_dim at, len; } put;

static ty_value *unshaped(ty_value *x) {
  while (ty_is_op(x, TY_OP_reshape)) x = x->def->args[0].value;
  return x;
}

/* Is x the slice of `length` elements of another value from `at` on along dim? Which value. */
static ty_value *sliced(ty_graph *g, const ty_value *x, int dim, ty_dim at, ty_dim length) {
  const ty_node *n = x->def;
  bool is = ty_is_op(x, TY_OP_slice) && ty_dim_is(g, n->args[1].i, dim) && n->args[2].i == at && ty_dim_is(g, n->args[3].i, 1);
  return is && x->shape[dim] == length ? n->args[0].value : NULL;
}

/* Does only the next value read each from x to the scatter? */
static bool alone(const int *uses, const ty_value *x) {
  while (uses[x->id] == 1 && ty_is_op(x, TY_OP_reshape)) x = x->def->args[0].value;
  return uses[x->id] == 1;
}

static bool match(ty_graph *g, const ty_node *n, const int *uses, put *p) {
  ty_value *o = n->outs[0];
  ty_dim at = ty_dim_const(g, 0);
  int64_t dim = 0;
  ty_dim_is_const(g, n->args[1].i, &dim);
  *p = (put){ .dim = (int)dim };
  for (int k = 0; k < n->args[0].n; k++) {
    ty_value *x = n->args[0].values[k], *y = unshaped(x);
    ty_dim len = x->shape[dim];
    ty_value *w = ty_is_op(y, TY_OP_scatter) ? sliced(g, unshaped(y->def->args[0].value), p->dim, at, len) : sliced(g, x, p->dim, at, len);
    if (!w || (p->w && w != p->w) || !ty_same_shape(w, o)) return false;
    p->w = w;
    if (ty_is_op(y, TY_OP_scatter)) {
      if (p->scatter || !alone(uses, x)) return false;
      p->scatter = y->def;
      p->at = at;
      p->len = len;
    }
    at = ty_dim_add(g, at, len);
  }
  return p->scatter != NULL;
}

static ty_value *number(ty_graph *g, ty_dim d) { /* a constant where it is one: loops divide by these without a division */
  int64_t v;
  return ty_dim_is_const(g, d, &v) ? ty_c_full_int(g, TY_i64, 0, NULL, v) : ty_c_dimval(g, d);
}

/* Row i of a slice [before, len, after], in rows, is row i + i / (len * after) * (size - len) * after + at * after of the whole. */
static ty_value *rebuilt(ty_graph *g, const put *p) {
  ty_value *w = p->w, *flat = p->scatter->args[1].value, *index = unshaped(flat), *y = p->scatter->args[2].value;
  ty_dim width = p->scatter->outs[0]->shape[1], after = ty_dim_product(g, w->rank - p->dim - 1, w->shape + p->dim + 1);
  if (!ty_dim_is(g, ty_dim_mod(g, after, width), 0)) return NULL;
  after = ty_dim_div(g, after, width);
  ty_dim rows = p->scatter->outs[0]->shape[0], inner = ty_dim_mul(g, p->len, after), gap = ty_dim_mul(g, ty_dim_sub(g, w->shape[p->dim], p->len), after);
  ty_dim whole[2] = { ty_dim_div(g, ty_dim_product(g, w->rank, w->shape), width), width };
  ty_value *low = number(g, ty_dim_const(g, 0)), *none = number(g, ty_dim_const(g, -1)), *there = index;
  if (!ty_dim_is(g, ty_dim_product(g, p->dim, w->shape), 1)) {
    ty_value *block = ty_c_prim(g, TY_P_floordiv, index, number(g, inner), NULL);
    there = ty_c_prim(g, TY_P_add, there, ty_c_prim(g, TY_P_mul, block, number(g, gap), NULL), NULL);
  }
  there = ty_c_prim(g, TY_P_add, there, number(g, ty_dim_mul(g, p->at, after)), NULL);
  ty_value *ok = ty_c_prim(g, TY_P_and, ty_c_prim(g, TY_P_ge, index, low, NULL), ty_c_prim(g, TY_P_lt, index, number(g, rows), NULL), NULL);
  ty_value *x = ty_c_reshape(g, w, 2, whole);
  there = ty_c_prim(g, TY_P_sel, ok, there, none); /* out of the slice stays out of range */
  there = there ? ty_c_reshape(g, there, 1, flat->shape) : NULL;
  if (!x || !there) return NULL;
  ty_arg args[4] = { ty_arg_value(x), ty_arg_value(there), ty_arg_value(y), p->scatter->args[3] };
  ty_value *r = ty_make(g, TY_OP_scatter, 4, args);
  if (r) r->def->from = p->scatter->from, r->def->loc = p->scatter->loc, r->def->origin = p->scatter->origin;
  return r ? ty_c_reshape(g, r, w->rank, w->shape) : NULL;
}

ty_status ty_pass_put(ty_graph *g) {
  ty_remap m;
  int known = g->values.n, *uses = ty_graph_use_counts(g);
  if (!uses || !ty_remap_init(&m, g)) { ty_free(uses); return ty_pass_nomem(g); }
  ty_status st = TY_OK;
  put p;
  for (ty_node *n = g->first, *next; n && !st; n = next) {
    next = n->next;
    ty_remap_node(&m, n);
    if (n->op != TY_OP_cat || !match(g, n, uses, &p)) continue;
    ty_graph_at(g, n);
    ty_value *r = rebuilt(g, &p);
    int *more = r ? ty_grow(uses, sizeof *uses * (size_t)g->values.n) : NULL;
    if (!more || !ty_remap_set(&m, n->outs[0], r)) { st = r || g->arena.failed ? ty_pass_nomem(g) : TY_OK; continue; }
    for (uses = more; known < g->values.n; known++) uses[known] = 1; /* what was made is for the slice around this one, if there is one */
    uses[r->id] = uses[n->outs[0]->id];
  }
  ty_remap_finish(&m, g);
  ty_free(uses);
  return st ? st : ty_pass_dce(g);
}
