/* loop_gen.h: random valid loops with data for them. Sums and products get operands whose folds are exact in any order, so that
 * the interpreter and code compiled without contraction must agree to the bit. */
#ifndef TY_LOOP_GEN_H
#define TY_LOOP_GEN_H
#include "loop/loop.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GEN_BUFS = 24, GEN_NODES = 256, GEN_TABLE = 7 };
enum { GEN_COLS = 3, GEN_RED = 4, GEN_STRIDE = 5, GEN_LIMIT = 6, GEN_PARS = 7 };
typedef struct gen {
  uint64_t seed;
  ty_loop *l;
  int64_t par[GEN_PARS], rows;
  bool red;
  int flat;                    /* the flat row number */
  struct { int id; ty_llevel level; int phase; bool red; } pool[GEN_NODES];
  int npool;
  struct { ty_dtype mem; int64_t n; bool written, same; } buf[GEN_BUFS]; /* same: loaded only at [row * cols + c] */
  bool acc;
} gen;

static inline uint32_t gen_next(gen *g) {
  g->seed = g->seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(g->seed >> 33);
}
static inline int gen_below(gen *g, int n) { return (int)(gen_next(g) % (uint32_t)n); }

#define ADD(...) ty_loop_add(g->l, (ty_lnode){__VA_ARGS__})
static inline int gen_prim(gen *g, ty_prim p, ty_dtype d, int a, int b) { return ADD(.kind = TY_L_PRIM, .prim = p, .dtype = d, .a = a, .b = b, .c = -1); }
static inline int gen_i64(gen *g, int64_t v) { return ADD(.kind = TY_L_CONST, .dtype = TY_i64, .imm = v); }
static inline int gen_par(gen *g, int slot) { return ADD(.kind = TY_L_PAR, .dtype = TY_i64, .slot = slot); }
static inline ty_dtype gen_dtype(gen *g, int id) { return g->l->nodes.p[id].dtype; }
static inline int gen_const(gen *g, ty_dtype d, double v) { return ADD(.kind = TY_L_CONST, .dtype = d, .imm = (int64_t)v, .fimm = v); }

static inline void gen_pool(gen *g, int id, ty_llevel level, int phase, bool red) {
  if (g->npool == GEN_NODES) return;
  g->pool[g->npool].id = id, g->pool[g->npool].level = level;
  g->pool[g->npool].phase = phase, g->pool[g->npool++].red = red;
}

static inline int gen_buffer(gen *g, ty_dtype mem, int64_t n, bool written, bool same) {
  int b = g->l->nbufs++;
  g->buf[b].mem = mem, g->buf[b].n = n > 0 ? n : 1, g->buf[b].written = written, g->buf[b].same = same;
  return b;
}

static inline int gen_cast(gen *g, int id, ty_dtype d) { return gen_dtype(g, id) == d ? id : ADD(.kind = TY_L_CAST, .dtype = d, .a = id); }
static inline ty_dtype gen_value_dtype(ty_dtype mem) { return mem == TY_f16 || mem == TY_bf16 ? TY_f32 : mem; }

static inline void gen_load(gen *g) {
  static const ty_dtype mems[] = {TY_f32, TY_f32, TY_f32, TY_f64, TY_i64, TY_i32, TY_i16, TY_i8, TY_u8, TY_bool, TY_f16, TY_bf16};
  ty_dtype mem = mems[gen_below(g, 12)];
  const int64_t cols = g->par[GEN_COLS], red = g->red ? g->par[GEN_RED] : 1;
  const int row_base = gen_prim(g, TY_P_mul, TY_i64, g->flat, gen_par(g, GEN_COLS));
  ty_lnode n = {.kind = TY_L_LOAD, .dtype = gen_below(g, 8) ? gen_value_dtype(mem) : TY_f32, .mem = mem, .a = -1, .b = -1, .col_par = -1};
  ty_llevel level = TY_LV_ELEM;
  bool dep = false;
  switch (gen_below(g, 8)) {
  case 0: n.col_stride = 1, n.slot = gen_buffer(g, mem, cols, false, false); break;
  case 1: n.a = g->flat, level = TY_LV_ROW, n.slot = gen_buffer(g, mem, g->rows, false, false); break;
  case 2: n.a = row_base, n.col_stride = 3, n.slot = gen_buffer(g, mem, (g->rows + 3) * cols, false, false); break;
  case 3: n.a = row_base, n.col_par = GEN_STRIDE, n.slot = gen_buffer(g, mem, (g->rows + 2) * cols, false, false); break;
  case 4: { /* gather */
    const int ix = gen_buffer(g, TY_i64, cols, false, false);
    g->buf[ix].mem = TY_i64;
    int at = ADD(.kind = TY_L_LOAD, .dtype = TY_i64, .mem = TY_i64, .a = -1, .b = -1, .slot = ix, .col_stride = 1, .col_par = -1);
    n.b = ADD(.kind = TY_L_CHECK, .dtype = TY_i64, .a = at, .b = gen_par(g, GEN_LIMIT));
    n.slot = gen_buffer(g, mem, GEN_TABLE + cols, false, false), n.col_stride = gen_below(g, 2);
    break;
  }
  case 5:
    if (g->red) { /* moves with the red loop */
      int j = ADD(.kind = TY_L_REDVAR, .dtype = TY_i64);
      n.a = gen_prim(g, TY_P_mul, TY_i64, j, gen_par(g, GEN_COLS)), n.col_stride = 1, dep = true;
      n.slot = gen_buffer(g, mem, red * cols, false, false);
      break;
    } /* fall through */
  default: n.a = row_base, n.col_stride = 1, n.slot = gen_buffer(g, mem, g->rows * cols, false, true);
  }
  gen_pool(g, ty_loop_add(g->l, n), level, 0, dep);
}

/* An operand whose folds are exact: small whole numbers for sums, 1, -1 and 2 for products, no -0 for max. */
static inline int gen_tame(gen *g, int id, ty_lred red) {
  ty_dtype d = gen_dtype(g, id);
  if (!ty_dtype_is_float(d)) return id;
  if (red == TY_RED_SUM) {
    id = gen_prim(g, TY_P_round, d, id, -1);
    return gen_prim(g, TY_P_fmin, d, gen_prim(g, TY_P_fmax, d, id, gen_const(g, d, -8)), gen_const(g, d, 8));
  }
  if (red == TY_RED_PROD) {
    int neg = ADD(.kind = TY_L_PRIM, .prim = TY_P_lt, .dtype = TY_bool, .a = id, .b = gen_const(g, d, 0), .c = -1);
    return ADD(.kind = TY_L_PRIM, .prim = TY_P_sel, .dtype = d, .a = neg, .b = gen_const(g, d, -1), .c = gen_const(g, d, 2));
  }
  return gen_prim(g, TY_P_add, d, id, gen_const(g, d, 0));
}

static inline void gen_reduce(gen *g) {
  const int k = gen_below(g, g->npool), id = g->pool[k].id;
  if (g->red && g->pool[k].phase > 0) return;
  if (g->pool[k].phase > 4) return;
  const ty_dtype d = gen_dtype(g, id);
  static const ty_lred for_bool[] = {TY_RED_ANY, TY_RED_ALL, TY_RED_MAX, TY_RED_ARGMAX};
  ty_lred red = d == TY_bool ? for_bool[gen_below(g, 4)] : (ty_lred)gen_below(g, 8);
  if (d != TY_bool && (red == TY_RED_ANY || red == TY_RED_ALL)) red = TY_RED_SUM;
  const bool arg = red == TY_RED_ARGMAX || red == TY_RED_ARGMIN;
  const int node = ADD(.kind = TY_L_REDUCE, .red = red, .dtype = arg ? TY_i64 : d, .a = gen_tame(g, id, red));
  gen_pool(g, node, g->red ? TY_LV_ELEM : TY_LV_ROW, g->pool[k].phase + 1, false);
}

static inline void gen_op(gen *g) {
  ty_prim p = (ty_prim)gen_below(g, TY_NPRIM);
  if (p == TY_P_signbit || p == TY_P_copysign) return; /* the sign of a NaN is nobody's promise; test_kernels has them */
  int k[3], arity = ty_prims[p].arity, op[3] = {-1, -1, -1}, phase = 0;
  ty_llevel level = TY_LV_ROW;
  bool red = false;
  for (int i = 0; i < arity; i++) {
    k[i] = gen_below(g, g->npool);
    if (g->pool[k[i]].level > level) level = g->pool[k[i]].level;
    if (g->pool[k[i]].phase > phase) phase = g->pool[k[i]].phase;
    red |= g->pool[k[i]].red;
    op[i] = g->pool[k[i]].id;
  }
  if (red && phase > 0) return;
  if (p >= TY_P_tan && p <= TY_P_atanh) { /* compilers simplify sinh(atanh(x)) and the like, which rounds otherwise */
    const ty_lnode *a = &g->l->nodes.p[op[0]];
    if (a->kind == TY_L_PRIM && a->prim >= TY_P_tan && a->prim <= TY_P_atanh) return;
  }
  const int main = p == TY_P_sel;
  ty_dtype d = gen_dtype(g, op[main]);
  if (!ty_prim_takes(p, d)) {
    static const ty_dtype tries[] = {TY_f32, TY_i32, TY_bool};
    for (int i = 0; i < 3 && !ty_prim_takes(p, d); i++) d = tries[i];
  }
  for (int i = main; i < arity; i++) op[i] = gen_cast(g, op[i], d);
  if (main) op[0] = gen_cast(g, op[0], TY_bool);
  if (p == TY_P_pow && !ty_dtype_is_float(d)) op[1] = gen_prim(g, TY_P_and, d, op[1], gen_const(g, d, 15));
  const int id = ADD(.kind = TY_L_PRIM, .prim = p, .dtype = ty_prims[p].to_bool ? TY_bool : d, .a = op[0], .b = op[1], .c = op[2]);
  gen_pool(g, id, level, phase, red);
}

static inline void gen_store(gen *g) {
  int k = gen_below(g, g->npool);
  for (int i = 0; i < 50 && (g->pool[k].red || (i < 25 && k < g->npool / 2)); i++) k = gen_below(g, g->npool);
  if (g->pool[k].red) return;
  static const ty_dtype mems[] = {TY_f32, TY_f32, TY_f64, TY_i64, TY_i32, TY_i16, TY_i8, TY_u8, TY_bool, TY_f16, TY_bf16};
  const int id = g->pool[k].id;
  ty_dtype mem = gen_below(g, 3) ? gen_dtype(g, id) : mems[gen_below(g, 11)];
  ty_lnode n = {.kind = TY_L_STORE, .mem = mem, .a = g->flat, .b = -1, .c = -1, .d = id, .col_par = -1};
  if (g->pool[k].level == TY_LV_ELEM) {
    n.a = gen_prim(g, TY_P_mul, TY_i64, g->flat, gen_par(g, GEN_COLS)), n.col_stride = 1;
    for (int b = 0; b < g->l->nbufs && gen_below(g, 2); b++) /* in place */
      if (g->buf[b].same && !g->buf[b].written) {
        g->buf[b].written = true, n.slot = b, n.mem = g->buf[b].mem;
        ty_loop_add(g->l, n);
        return;
      }
    n.slot = gen_buffer(g, mem, g->rows * g->par[GEN_COLS], true, false);
  } else n.slot = gen_buffer(g, mem, g->rows, true, false);
  ty_loop_add(g->l, n);
}

/* A loop that finish has not seen yet. */
static inline void gen_loop(gen *g, uint64_t seed) {
  static const int cols[] = {0, 1, 3, 16, 17, 64, 100, 257, 300, 700};
  *g = (gen){.seed = seed * 7919 + 1, .l = ty_loop_create()};
  ty_loop *l = g->l;
  gen_next(g);
  l->nrowvars = 1 + gen_below(g, 3), l->npars = GEN_PARS, l->col_par = GEN_COLS;
  g->rows = 1;
  for (int i = 0; i < l->nrowvars; i++) g->rows *= g->par[i] = 1 + gen_below(g, 4), l->row_par[i] = i;
  if (gen_below(g, 20) == 0) g->rows = g->par[0] = 0;
  g->par[GEN_COLS] = cols[gen_below(g, 10)];
  g->par[GEN_STRIDE] = gen_below(g, 3);
  g->par[GEN_LIMIT] = GEN_TABLE;
  g->red = gen_below(g, 3) == 0;
  if (g->red) l->red_par = GEN_RED, g->par[GEN_RED] = gen_below(g, 5) ? 1 + gen_below(g, 20) : 0;
  for (int i = 0; i < l->nrowvars; i++) {
    int v = ADD(.kind = TY_L_ROWVAR, .dtype = TY_i64, .slot = i);
    g->flat = i ? gen_prim(g, TY_P_add, TY_i64, gen_prim(g, TY_P_mul, TY_i64, g->flat, gen_par(g, i)), v) : v;
  }
  gen_pool(g, g->flat, TY_LV_ROW, 0, false);
  if (gen_below(g, 3) == 0) gen_pool(g, ADD(.kind = TY_L_COLVAR, .dtype = TY_i64), TY_LV_ELEM, 0, false);
  if (gen_below(g, 4) == 0) gen_pool(g, ADD(.kind = TY_L_ACC, .dtype = TY_f32), TY_LV_ELEM, 0, false), g->acc = true;
  if (g->red && gen_below(g, 3) == 0) gen_pool(g, ADD(.kind = TY_L_REDVAR, .dtype = TY_i64), TY_LV_RED, 0, true);
  for (int i = 1 + gen_below(g, 5); i-- > 0;) gen_load(g);
  for (int i = 4 + gen_below(g, 22); i-- > 0;) {
    if (gen_below(g, 6) == 0) gen_reduce(g);
    else gen_op(g);
  }
  for (int i = 1 + gen_below(g, 3); i-- > 0;) gen_store(g);
}

static inline float gen_float(gen *g) {
  const uint32_t kind = gen_next(g) % 32;
  if (kind == 0) return NAN;
  if (kind == 1) return gen_below(g, 2) ? INFINITY : -INFINITY;
  if (kind == 2) return 0;
  if (kind == 3) return 1e30f;
  if (kind == 4) return -1e-20f;
  return (float)(gen_below(g, 20001) - 10000) * (kind < 16 ? 1e-3f : 1e-4f);
}

static inline void gen_fill(gen *g, int b, void *p) {
  for (int64_t i = 0; i < g->buf[b].n; i++) {
    const float f = gen_float(g);
    const bool extreme = gen_below(g, 16) == 0, index = g->buf[b].mem == TY_i64;
    const int64_t v = extreme && !index ? (int64_t)((uint64_t)gen_next(g) << 33 | gen_next(g)) : gen_below(g, 8) - (gen_below(g, 64) == 0);
    switch (g->buf[b].mem) {
    case TY_bool: ((uint8_t *)p)[i] = v & 1; break;
    case TY_f32: ((float *)p)[i] = f; break;
    case TY_f64: ((double *)p)[i] = f; break;
    case TY_f16: ((uint16_t *)p)[i] = (uint16_t)(gen_below(g, 8) ? 0x3000 + gen_below(g, 0x1800) + (gen_below(g, 2) << 15) : (int)gen_next(g)); break;
    case TY_bf16: { uint32_t u; memcpy(&u, &f, 4); ((uint16_t *)p)[i] = (uint16_t)(u >> 16 | (f != f)); break; }
    case TY_i64: ((int64_t *)p)[i] = v; break;
    case TY_i32: ((int32_t *)p)[i] = (int32_t)v; break;
    case TY_i16: ((int16_t *)p)[i] = (int16_t)v; break;
    default: ((uint8_t *)p)[i] = (uint8_t)v;
    }
  }
}
#undef ADD
#endif
