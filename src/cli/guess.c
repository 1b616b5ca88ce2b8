/* guess.c: inputs made up for measurements: sizes from the archive's example, ids below the rows of the table they look up. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "cli/graph.h"
#include "cli/model.h"
#include "ops/ops.h"
#include "pass/pass.h"

typedef struct guess_use { ty_graph *g; const ty_value *index; int64_t below; const bool *same; } guess_use;

/* Rows of the table that a core gather reads at this operand. */
static void look_up(guess_use *u, const ty_node *n) {
  int64_t rows;
  for (int k = 0; n->op == TY_OP_index && k < n->args[1].n; k++) {
    const ty_value *i = n->args[1].values[k];
    if (i && u->same[i->id] && ty_dim_is_const(u->g, n->args[0].value->shape[k], &rows) && rows < u->below) u->below = rows;
  }
}

static void follow(void *user, ty_value **slot) {
  guess_use *u = user;
  if (u->same[(*slot)->id]) u->index = *slot;
}

/* The least number of rows of all tables that an integer input indexes, seen through what keeps its values: views, casts, and
 * sel(x < 0, x + rows, x), as negative indices are written. The graph is of core operators. */
static int64_t rows_below(ty_graph *g, const ty_value *in, bool *same) {
  guess_use u = { .g = g, .below = INT64_MAX, .same = same };
  memset(same, 0, (size_t)g->values.n);
  same[in->id] = true;
  for (ty_node *n = g->first; n; n = n->next) {
    look_up(&u, n);
    u.index = NULL;
    ty_node_each_input(n, follow, &u);
    bool keeps = n->op == TY_OP_reshape || n->op == TY_OP_permute || n->op == TY_OP_expand || n->op == TY_OP_slice || n->op == TY_OP_cast || n->op == TY_OP_cat ||
                 n->op == ty_op_of_prim(TY_P_sel);
    if (u.index && keeps && (ty_dtype_is_int(n->outs[0]->dtype))) same[n->outs[0]->id] = true;
  }
  return u.below;
}

static bool looks_like_mask(const char *name) {
  size_t n = strlen(name);
  for (size_t i = 0; i + 4 <= n; i++) if (!strncasecmp(name + i, "mask", 4)) return true;
  return false;
}

static int from_archive(ty_cli *c, const ty_cli_model *m, ty_cli_guess *out, const int64_t *const *shapes) {
  ty_cli_graph k;
  int code = ty_cli_graph_open(c, m->path, &k);
  if (code) return ty_cli_graph_close(&k), code;
  ty_graph *g = k.imported->graph;
  ty_cli_user users[TY_CLI_USERS];
  int n = ty_cli_graph_users(&k, users);
  if (n > m->ninputs) n = m->ninputs;
  for (int i = 0; i < n; i++) /* sizes that are told settle others */
    for (int d = 0; shapes[i] && users[i].value && d < users[i].value->rank; d++) {
      const ty_dim_expr *e = ty_dim_get(g, users[i].value->shape[d]);
      if (e->op == TY_DIM_SYM) k.syms[e->value] = shapes[i][d];
    }
  ty_status st = ty_passes[ty_pass_find("lower")].run(g);
  bool *same = ty_alloc((size_t)g->values.n);
  for (int i = 0; i < n && same && !st; i++) {
    const ty_value *v = users[i].value;
    if (!v) out[i].below = (out[i].from = ty_dim_eval(g, users[i].number, k.syms)) + 1;
    for (int d = 0; v && d < v->rank; d++) {
      int64_t size = shapes[i] ? shapes[i][d] : ty_dim_eval(g, v->shape[d], k.syms);
      out[i].shape[d] = size < 0 ? 0 : size;
    }
    if (v && ty_dtype_is_int(v->dtype)) out[i].below = rows_below(g, v, same);
  }
  if (st) code = ty_cli_fail(c, "%s", ty_ctx_error(k.ctx));
  else if (!same) code = ty_cli_nomem(c);
  ty_free(same);
  ty_cli_graph_close(&k);
  return code;
}

int ty_cli_guess_inputs(ty_cli *c, const ty_cli_model *m, ty_cli_guess *out, const int64_t *const *shapes) {
  for (int i = 0; i < m->ninputs; i++) {
    const tuyere_info *in = &m->inputs[i].info;
    out[i] = (ty_cli_guess){ .below = INT64_MAX };
    for (int d = 0; d < in->rank; d++) out[i].shape[d] = shapes[i] ? shapes[i][d] : in->dims[d].size >= 0 ? in->dims[d].size : in->dims[d].min > 1 ? in->dims[d].min : 1;
  }
  int code = m->archive ? from_archive(c, m, out, shapes) : TY_CLI_GOOD;
  for (int i = 0; i < m->ninputs; i++) {
    const tuyere_info *in = &m->inputs[i].info;
    out[i].ones = in->dtype == TUYERE_BOOL || (out[i].below == INT64_MAX && looks_like_mask(in->name));
    if (out[i].below == INT64_MAX) out[i].below = 2;
  }
  return code;
}

/* splitmix64 (Steele, Lea and Flood 2014) */
static uint64_t next(uint64_t *s) {
  uint64_t z = *s += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

void ty_cli_fill(const ty_cli_guess *g, tuyere_tensor *t, uint64_t seed) {
  static const double two_pi = 6.283185307179586;
  size_t n = 1;
  for (int i = 0; i < t->rank; i++) n *= (size_t)t->shape[i];
  for (size_t i = 0; i < n; i++) {
    double u = (double)((next(&seed) >> 11) + 1) * 0x1p-53, v = (double)(next(&seed) >> 11) * 0x1p-53;
    double f = g->ones ? 1 : sqrt(-2 * log(u)) * cos(two_pi * v); /* Box and Muller 1958 */
    int64_t k = g->ones ? 1 : g->from + (int64_t)(v * (double)(g->below - g->from < 1 << 30 ? g->below - g->from : 1 << 30));
    switch (t->dtype) {
    case TUYERE_BOOL: case TUYERE_U8: case TUYERE_I8: ((int8_t *)t->data)[i] = (int8_t)(k & 127); break;
    case TUYERE_I16: ((int16_t *)t->data)[i] = (int16_t)(k & 32767); break;
    case TUYERE_I32: ((int32_t *)t->data)[i] = (int32_t)k; break;
    case TUYERE_I64: ((int64_t *)t->data)[i] = k; break;
    case TUYERE_F32: ((float *)t->data)[i] = (float)f; break;
    case TUYERE_F64: ((double *)t->data)[i] = f; break;
    case TUYERE_F16: ((uint16_t *)t->data)[i] = (uint16_t)(k ? 0x3C00 : 0); break; /* 0 or 1 */
    case TUYERE_BF16: ((uint16_t *)t->data)[i] = (uint16_t)(k ? 0x3F80 : 0); break;
    }
  }
}
