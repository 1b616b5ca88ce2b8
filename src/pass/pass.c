/* pass.c: the pipeline as a table, and what passes share: replacements, constants. */
#include "pass/pass_int.h"
#include <string.h>

enum { EACH = false, FUSED = true };
const ty_pass ty_passes[] = {
#define TY_PASS(name, in, what) { #name, what, in, ty_pass_##name },
#include "passes.def"
#undef TY_PASS
};
const int ty_npasses = (int)(sizeof ty_passes / sizeof *ty_passes);

int ty_pass_find(const char *name) {
  for (int i = 0; i < ty_npasses; i++) if (!strcmp(ty_passes[i].name, name)) return i;
  return -1;
}

bool ty_remap_init(ty_remap *m, const ty_graph *g) {
  *m = (ty_remap){ .n = g->values.n + 256 };
  m->to = ty_alloc(sizeof *m->to * (size_t)m->n);
  return m->to != NULL;
}
bool ty_remap_set(ty_remap *m, ty_value *from, ty_value *to) {
  if (from->id >= m->n) {
    int n = from->id * 2;
    ty_value **p = ty_grow(m->to, sizeof *p * (size_t)n);
    if (!p) return false;
    memset(p + m->n, 0, sizeof *p * (size_t)(n - m->n));
    m->to = p;
    m->n = n;
  }
  m->to[from->id] = to;
  return true;
}
static void apply(void *user, ty_value **slot) {
  ty_remap *m = user;
  while ((*slot)->id < m->n && m->to[(*slot)->id]) *slot = m->to[(*slot)->id];
}
void ty_remap_node(ty_remap *m, ty_node *n) { ty_node_each_input(n, apply, m); }
void ty_remap_finish(ty_remap *m, ty_graph *g) {
  ty_graph_at(g, NULL);
  for (int i = 0; i < g->outputs.n; i++) apply(m, &g->outputs.p[i]);
  ty_free(m->to);
}

bool ty_same_shape(const ty_value *a, const ty_value *b) {
  if (a->rank != b->rank) return false;
  for (int i = 0; i < a->rank; i++) if (a->shape[i] != b->shape[i]) return false;
  return true;
}

bool ty_scalar_const(ty_graph *g, const ty_value *v, double *out) {
  while (v && (ty_is_op(v, TY_OP_expand) || ty_is_op(v, TY_OP_reshape) || ty_is_op(v, TY_OP_permute))) v = v->def->args[0].value;
  if (!ty_is_op(v, TY_OP_full)) return false;
  const ty_arg *a = &v->def->args[2];
  int64_t i;
  if (a->kind == TY_ARG_FLOAT) *out = a->f;
  else if (a->kind == TY_ARG_BOOL) *out = a->b;
  else if (a->kind == TY_ARG_INT && ty_dim_is_const(g, a->i, &i)) *out = (double)i;
  else return false;
  switch (v->dtype) { /* as the element has it: full's argument may be -1 of a u8 */
  case TY_f32: *out = (float)*out; return true;
  case TY_f64: return true;
  case TY_bool: *out = *out != 0; return true;
  default:
    if (!(*out >= -0x1p53 && *out <= 0x1p53)) return false;
    i = (int64_t)*out;
    *out = (double)(v->dtype == TY_u8 ? (uint8_t)i : v->dtype == TY_i8 ? (int8_t)i : v->dtype == TY_i16 ? (int16_t)i : v->dtype == TY_i32 ? (int32_t)i : i);
    return ty_dtype_is_int(v->dtype);
  }
}

typedef struct all_const { const bool *flag; bool all; } all_const;
static void check(void *user, ty_value **slot) {
  all_const *c = user;
  c->all &= c->flag[(*slot)->id];
}
bool *ty_pass_constants(const ty_graph *g) {
  bool *f = ty_alloc((size_t)g->values.n + 1);
  if (!f || g->eager) return f;
  for (int i = 0; i < g->values.n; i++) {
    ty_value *v = g->values.p[i];
    if (v && !v->def) f[i] = v->role == TY_ROLE_PARAM || v->role == TY_ROLE_LITERAL;
  }
  for (ty_node *n = g->first; n; n = n->next) {
    all_const c = { f, true };
    ty_node_each_input(n, check, &c);
    for (int k = 0; k < n->nargs && c.all; k++) {
      if (n->args[k].kind == TY_ARG_INT) c.all &= ty_dim_is_static(g, n->args[k].i);
      if (n->args[k].kind == TY_ARG_INTS) for (int d = 0; d < n->args[k].n; d++) c.all &= ty_dim_is_static(g, n->args[k].ints[d]);
    }
    for (int k = 0; k < n->nouts; k++) {
      bool fixed = true;
      for (int d = 0; d < n->outs[k]->rank; d++) fixed &= ty_dim_is_const(g, n->outs[k]->shape[d], NULL);
      f[n->outs[k]->id] = c.all && fixed;
    }
  }
  return f;
}
