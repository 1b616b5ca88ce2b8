/* interp.c: runs a finished loop 256 columns at a time, each node a tight loop over typed chunk buffers made from prims.def. */
#include "loop_int.h"
#include <string.h>

/* A chunk function: o[i] = f(a[i], b[i], c[i]) for i < n. Operands that the primitive does not have are not read. */
typedef void (*chunk_fn)(void *o, const void *a, const void *b, const void *c, int n);
typedef void (*cast_fn)(void *o, const void *a, int n);
/* Folds n values of a into the running value; `best` is the value that the index in acc belongs to. */
typedef void (*fold_fn)(void *acc, void *best, const void *a, ty_i64 first, int n, bool fresh);
/* Folds column by column: acc[i] with a[i], for one turn of the red loop. */
typedef void (*fold_cols_fn)(void *acc, void *best, const void *a, ty_i64 red, int n);

#include "loop/prelude.h"

#define NONE 0
#define R_SAME T
#define R_BOOL ty_u8
#define A_1 T
#define A_2 T
#define A_3 ty_u8
#define CAT_(x, y) x##_##y
#define CAT(x, y) CAT_(x, y)
#define CHUNK(name, arity, result, expr) \
  static void CAT(chunk_##name, S)(void *o_, const void *a_, const void *b_, const void *c_, int n) { \
    R_##result *restrict o = o_; const A_##arity *pa = a_; const T *pb = b_, *pc = c_; \
    for (int i = 0; i < n; i++) { \
      const A_##arity a = pa[i]; \
      const T b = arity > 1 ? pb[i] : (T)0, c = arity > 2 ? pc[i] : (T)0; \
      (void)a, (void)b, (void)c; \
      o[i] = (R_##result)(expr); \
    } \
  }
#define FN(x) CAT(ty_##x, S)

/* What each dtype's section defines beside the primitives: loads, casts and folds. `NANS`: the comparison lets NaN win. */
#define TYPE_FOLDS(ACC, LOWEST, HIGHEST) \
  static void CAT(fold_sum, S)(void *acc, void *best, const void *a_, ty_i64 first, int n, bool fresh) { \
    (void)best, (void)first; const T *a = a_; ACC s = 0; \
    _Pragma("omp simd reduction(+:s)") for (int i = 0; i < n; i++) s += (ACC)a[i]; \
    T *r = acc; *r = (T)((fresh ? (ACC)0 : (ACC)*r) + s); \
  } \
  static void CAT(fold_prod, S)(void *acc, void *best, const void *a_, ty_i64 first, int n, bool fresh) { \
    (void)best, (void)first; const T *a = a_; ACC s = 1; \
    for (int i = 0; i < n; i++) s = (ACC)(s * (ACC)a[i]); \
    T *r = acc; *r = (T)((fresh ? (ACC)1 : (ACC)*r) * s); \
  } \
  static void CAT(fold_max, S)(void *acc, void *best, const void *a_, ty_i64 first, int n, bool fresh) { \
    (void)best, (void)first; const T *p = a_; T a = fresh ? LOWEST : *(T *)acc; \
    for (int i = 0; i < n; i++) { const T b = p[i]; a = (T)(((a > b) | (a != a)) ? a : b); } \
    *(T *)acc = a; \
  } \
  static void CAT(fold_min, S)(void *acc, void *best, const void *a_, ty_i64 first, int n, bool fresh) { \
    (void)best, (void)first; const T *p = a_; T a = fresh ? HIGHEST : *(T *)acc; \
    for (int i = 0; i < n; i++) { const T b = p[i]; a = (T)(((a < b) | (a != a)) ? a : b); } \
    *(T *)acc = a; \
  } \
  TYPE_ARG(argmax, >) \
  TYPE_ARG(argmin, <) \
  static void CAT(cols_sum, S)(void *acc, void *best, const void *a_, ty_i64 red, int n) { \
    (void)best; const T *a = a_; T *restrict r = acc; \
    for (int i = 0; i < n; i++) r[i] = (T)((red ? (ACC)r[i] : (ACC)0) + (ACC)a[i]); \
  } \
  static void CAT(cols_prod, S)(void *acc, void *best, const void *a_, ty_i64 red, int n) { \
    (void)best; const T *a = a_; T *restrict r = acc; \
    for (int i = 0; i < n; i++) r[i] = (T)((red ? (ACC)r[i] : (ACC)1) * (ACC)a[i]); \
  } \
  static void CAT(cols_max, S)(void *acc, void *best, const void *a_, ty_i64 red, int n) { \
    (void)best; const T *p = a_; T *restrict r = acc; \
    for (int i = 0; i < n; i++) { const T a = r[i], b = p[i]; r[i] = red && ((a > b) | (a != a)) ? a : b; } \
  } \
  static void CAT(cols_min, S)(void *acc, void *best, const void *a_, ty_i64 red, int n) { \
    (void)best; const T *p = a_; T *restrict r = acc; \
    for (int i = 0; i < n; i++) { const T a = r[i], b = p[i]; r[i] = red && ((a < b) | (a != a)) ? a : b; } \
  } \
  static const void *const CAT(limits, S)[2] = {&(const T){LOWEST}, &(const T){HIGHEST}};
#define TYPE_ARG(name, OP) \
  static void CAT(fold_##name, S)(void *acc, void *best, const void *a_, ty_i64 first, int n, bool fresh) { \
    const T *p = a_; ty_i64 at = *(ty_i64 *)acc; T v = *(T *)best; \
    for (int i = 0; i < n; i++) \
      if ((fresh && i == 0) || p[i] OP v || (p[i] != p[i] && v == v)) v = p[i], at = first + i; \
    *(ty_i64 *)acc = at, *(T *)best = v; \
  } \
  static void CAT(cols_##name, S)(void *acc, void *best, const void *a_, ty_i64 red, int n) { \
    const T *p = a_; ty_i64 *restrict at = acc; T *restrict v = best; \
    for (int i = 0; i < n; i++) \
      if (!red || p[i] OP v[i] || (p[i] != p[i] && v[i] == v[i])) v[i] = p[i], at[i] = red; \
  }
#define CAST_TO(to, U, expr) \
  static void CAT(CAT(cast, S), to)(void *o_, const void *a_, int n) { \
    U *restrict o = o_; const T *p = a_; \
    for (int i = 0; i < n; i++) { const T a = p[i]; o[i] = (U)(expr); } \
  }

/* -- floats -- */
#define CASTS_F CAST_TO(b8, ty_u8, a != 0) CAST_TO(u8, ty_u8, FN(to_u8)(a)) CAST_TO(i8, ty_i8, FN(to_i8)(a)) \
  CAST_TO(i16, ty_i16, FN(to_i16)(a)) CAST_TO(i32, ty_i32, FN(to_i32)(a)) CAST_TO(i64, ty_i64, FN(to_i64)(a)) \
  CAST_TO(f32, float, a) CAST_TO(f64, double, a)
#define CASTS_I CAST_TO(b8, ty_u8, a != 0) CAST_TO(u8, ty_u8, a) CAST_TO(i8, ty_i8, a) CAST_TO(i16, ty_i16, a) \
  CAST_TO(i32, ty_i32, a) CAST_TO(i64, ty_i64, a) CAST_TO(f32, float, a) CAST_TO(f64, double, a)

#define TY_PRIM(name, arity, result, f, i, b) CHUNK(name, arity, result, f)
#define T float
#define S f32
#include "prims.def"
TYPE_FOLDS(float, -__builtin_inff(), __builtin_inff())
CASTS_F
#undef T
#undef S
#define T double
#define S f64
#include "prims.def"
TYPE_FOLDS(double, -__builtin_inf(), __builtin_inf())
CASTS_F
#undef T
#undef S
#undef TY_PRIM

/* -- integers -- */
#define TY_PRIM(name, arity, result, f, i, b) CHUNK(name, arity, result, i)
#define T ty_u8
#define S u8
#include "prims.def"
TYPE_FOLDS(ty_u32, 0, 255)
CASTS_I
#undef T
#undef S
#define T ty_i8
#define S i8
#include "prims.def"
TYPE_FOLDS(ty_u32, -128, 127)
CASTS_I
#undef T
#undef S
#define T ty_i16
#define S i16
#include "prims.def"
TYPE_FOLDS(ty_u32, -32768, 32767)
CASTS_I
#undef T
#undef S
#define T ty_i32
#define S i32
#include "prims.def"
TYPE_FOLDS(ty_u32, -0x7fffffff - 1, 0x7fffffff)
CASTS_I
#undef T
#undef S
#define T ty_i64
#define S i64
#include "prims.def"
TYPE_FOLDS(ty_u64, -0x7fffffffffffffffLL - 1, 0x7fffffffffffffffLL)
CASTS_I
#undef T
#undef S
#undef TY_PRIM

/* -- bools: any is max, all is min -- */
#define TY_PRIM(name, arity, result, f, i, b) CHUNK(name, arity, result, b)
#define T ty_u8
#define S b8
#include "prims.def"
TYPE_FOLDS(ty_u32, 0, 1)
CASTS_I
#undef T
#undef S
#undef TY_PRIM

static const chunk_fn prim_fns[TY_NPRIM][TY_NDTYPE] = {
#define TY_PRIM(name, arity, result, f, i, b) \
  [TY_P_##name] = {[TY_bool] = chunk_##name##_b8, [TY_u8] = chunk_##name##_u8, [TY_i8] = chunk_##name##_i8, [TY_i16] = chunk_##name##_i16, \
                   [TY_i32] = chunk_##name##_i32, [TY_i64] = chunk_##name##_i64, [TY_f32] = chunk_##name##_f32, [TY_f64] = chunk_##name##_f64},
#include "prims.def"
#undef TY_PRIM
};
#define EACH_TO(M, s) {[TY_bool] = M(s, b8), [TY_u8] = M(s, u8), [TY_i8] = M(s, i8), [TY_i16] = M(s, i16), [TY_i32] = M(s, i32), \
                       [TY_i64] = M(s, i64), [TY_f32] = M(s, f32), [TY_f64] = M(s, f64)}
#define CAST_NAME(s, t) cast_##s##_##t
static const cast_fn cast_fns[TY_NDTYPE][TY_NDTYPE] = {
  [TY_bool] = EACH_TO(CAST_NAME, b8), [TY_u8] = EACH_TO(CAST_NAME, u8), [TY_i8] = EACH_TO(CAST_NAME, i8), [TY_i16] = EACH_TO(CAST_NAME, i16),
  [TY_i32] = EACH_TO(CAST_NAME, i32), [TY_i64] = EACH_TO(CAST_NAME, i64), [TY_f32] = EACH_TO(CAST_NAME, f32), [TY_f64] = EACH_TO(CAST_NAME, f64),
};
#define FOLD_NAME(k, t) k##_##t
#define FOLDS(p) { \
  [TY_RED_SUM] = EACH_TO(FOLD_NAME, p##_sum), [TY_RED_PROD] = EACH_TO(FOLD_NAME, p##_prod), [TY_RED_MAX] = EACH_TO(FOLD_NAME, p##_max), \
  [TY_RED_MIN] = EACH_TO(FOLD_NAME, p##_min), [TY_RED_ANY] = EACH_TO(FOLD_NAME, p##_max), [TY_RED_ALL] = EACH_TO(FOLD_NAME, p##_min), \
  [TY_RED_ARGMAX] = EACH_TO(FOLD_NAME, p##_argmax), [TY_RED_ARGMIN] = EACH_TO(FOLD_NAME, p##_argmin)}
static const fold_fn fold_fns[][TY_NDTYPE] = FOLDS(fold);
static const fold_cols_fn cols_fns[][TY_NDTYPE] = FOLDS(cols);
#define LIMIT_NAME(k, t) limits_##t
static const void *const *const limits[TY_NDTYPE] = EACH_TO(LIMIT_NAME, x);

/* ---- Memory ---- */

/* o[i] = base[at + b[i] + i * stride] and back, by the size of the element. */
#define MOVES(U) \
  static void gather_##U(U *restrict o, const U *p, ty_i64 at, const ty_i64 *b, ty_i64 stride, int n) { \
    if (b) for (int i = 0; i < n; i++) o[i] = p[at + b[i] + i * stride]; \
    else for (int i = 0; i < n; i++) o[i] = p[at + i * stride]; \
  } \
  static void scatter_##U(U *p, const U *restrict v, ty_i64 at, const ty_i64 *b, ty_i64 stride, int n) { \
    if (b) for (int i = 0; i < n; i++) p[at + b[i] + i * stride] = v[i]; \
    else for (int i = 0; i < n; i++) p[at + i * stride] = v[i]; \
  }
MOVES(ty_u8)
MOVES(ty_u16)
MOVES(ty_u32)
MOVES(ty_u64)

static void load_raw(void *o, const void *p, int size, ty_i64 at, const ty_i64 *b, ty_i64 stride, int n) {
  if (!b && stride == 1) memcpy(o, (const char *)p + at * size, (size_t)n * (size_t)size);
  else if (size == 1) gather_ty_u8(o, p, at, b, stride, n);
  else if (size == 2) gather_ty_u16(o, p, at, b, stride, n);
  else if (size == 4) gather_ty_u32(o, p, at, b, stride, n);
  else gather_ty_u64(o, p, at, b, stride, n);
}

static void store_raw(void *p, const void *v, int size, ty_i64 at, const ty_i64 *b, ty_i64 stride, int n) {
  if (!b && stride == 1) memcpy((char *)p + at * size, v, (size_t)n * (size_t)size);
  else if (size == 1) scatter_ty_u8(p, v, at, b, stride, n);
  else if (size == 2) scatter_ty_u16(p, v, at, b, stride, n);
  else if (size == 4) scatter_ty_u32(p, v, at, b, stride, n);
  else scatter_ty_u64(p, v, at, b, stride, n);
}

/* Memory's form to a value and back; o and a do not overlap. */
static void widen(void *o_, ty_dtype to, const void *a_, ty_dtype mem, int n) {
  ty_dtype v = loop_value_dtype(mem);
  _Alignas(64) float wide[LOOP_CHUNK];
  const ty_u16 *a = a_;
  if (v != mem) {
    if (mem == TY_bf16) for (int i = 0; i < n; i++) wide[i] = ty_f32_from_bf16(a[i]);
    else for (int i = 0; i < n; i++) wide[i] = ty_f32_from_f16(a[i]);
    a_ = wide;
  }
  cast_fns[v][to](o_, a_, n);
}

static void narrow(void *o_, ty_dtype mem, const void *a_, ty_dtype from, int n) {
  ty_dtype v = loop_value_dtype(mem);
  if (v == mem) {
    cast_fns[from][v](o_, a_, n);
    return;
  }
  _Alignas(64) float wide[LOOP_CHUNK];
  ty_u16 *o = o_;
  cast_fns[from][TY_f32](wide, a_, n);
  if (mem == TY_bf16) for (int i = 0; i < n; i++) o[i] = ty_bf16_from_f32(wide[i]);
  else for (int i = 0; i < n; i++) o[i] = ty_f16_from_f32(wide[i]);
}

/* ---- Running ---- */

typedef struct run {
  const ty_loop *l;
  const ty_kargs *k;
  char *cells, *regs, *rows; /* scratch: single values, chunk registers, spilled rows */
  size_t row_bytes;
  ty_i64 r0, c0;             /* the call's corner: the tile's, too */
  ty_i64 row, red, col;      /* where we are; col is the chunk's first column */
  ty_i64 var[TY_MAX_RANK];
} run;

static void *place(const run *m, int i) {
  const ty_lnode *n = &m->l->nodes.p[i];
  if (n->spill) return m->rows + (size_t)n->reg * m->row_bytes + (size_t)(m->col - m->c0) * (size_t)ty_dtype_size(n->dtype);
  return n->reg >= 0 ? m->regs + (size_t)n->reg * LOOP_REG : m->cells + (size_t)i * 16;
}

static ty_i64 scalar_i64(const run *m, int i) {
  ty_i64 v = 0;
  if (i >= 0) memcpy(&v, place(m, i), sizeof v);
  return v;
}

static void constant(void *o, const ty_lnode *n) {
  if (ty_dtype_is_float(n->dtype)) cast_fns[TY_f64][n->dtype](o, &n->fimm, 1);
  else {
    ty_i64 v = n->imm;
    cast_fns[TY_i64][n->dtype](o, &v, 1);
  }
}

static void check(const run *m, ty_i64 *o, const ty_i64 *a, const ty_i64 *b, int n) {
  int bad = 0;
  for (int i = 0; i < n; i++) {
    const bool ok = a[i] >= 0 && a[i] < b[i];
    o[i] = ok ? a[i] : 0;
    bad |= !ok;
  }
  if (bad) *m->k->fault = 1;
}

static void memory(const run *m, const ty_lnode *n, void *o, int count) {
  _Alignas(64) ty_u64 raw[LOOP_CHUNK];
  const bool elem = n->level == TY_LV_ELEM, varies = n->b >= 0 && m->l->nodes.p[n->b].level == TY_LV_ELEM;
  const ty_i64 stride = n->col_par >= 0 ? m->k->par[n->col_par] : n->col_stride, *b = varies ? place(m, n->b) : NULL;
  const ty_i64 at = scalar_i64(m, n->a) + (varies ? 0 : scalar_i64(m, n->b)) + (elem ? m->col * stride : 0);
  const int size = ty_dtype_size(n->mem);
  void *p = m->k->buf[n->slot];
  if (n->kind == TY_L_LOAD && n->mem == n->dtype) load_raw(o, p, size, at, b, stride, count);
  else if (n->kind == TY_L_LOAD) {
    load_raw(raw, p, size, at, b, stride, count);
    widen(o, n->dtype, raw, n->mem, count);
  } else if (n->mem == m->l->nodes.p[n->d].dtype) store_raw(p, place(m, n->d), size, at, b, stride, count);
  else {
    narrow(raw, n->mem, place(m, n->d), m->l->nodes.p[n->d].dtype, count);
    store_raw(p, raw, size, at, b, stride, count);
  }
}

/* Fills the register of a single value that chunks want as an operand. */
static void broadcast(const run *m, int i, int count) {
  void *p = place(m, i);
  const int size = ty_dtype_size(m->l->nodes.p[i].dtype);
#define FILL(U) { U *q = p; const U v = q[0]; for (int j = 1; j < count; j++) q[j] = v; }
  if (m->l->nodes.p[i].reg < 0) return;
  if (size == 1) FILL(ty_u8) else if (size == 2) FILL(ty_u16) else if (size == 4) FILL(ty_u32) else FILL(ty_u64)
}

/* Computes node i: count columns of it, or one value. */
static void step(const run *m, int i, int count) {
  const ty_lnode *n = &m->l->nodes.p[i];
  const ty_dtype from = n->a >= 0 ? m->l->nodes.p[n->a].dtype : TY_f32;
  void *o = n->kind == TY_L_STORE ? NULL : place(m, i);
  switch (n->kind) {
  case TY_L_CONST: constant(o, n); return;
  case TY_L_PAR: memcpy(o, &m->k->par[n->slot], 8); return;
  case TY_L_ROWVAR: memcpy(o, &m->var[n->slot], 8); return;
  case TY_L_REDVAR: memcpy(o, &m->red, 8); return;
  case TY_L_COLVAR: for (int j = 0; j < count; j++) ((ty_i64 *)o)[j] = m->col + j; return;
  case TY_L_ACC: memcpy(o, m->k->acc + (m->row - m->r0) * m->k->acc_ld + (m->col - m->c0), (size_t)count * 4); return;
  case TY_L_CAST: cast_fns[from][n->dtype](o, place(m, n->a), count); return;
  case TY_L_CHECK: check(m, o, place(m, n->a), place(m, n->b), count); return;
  case TY_L_PRIM: {
    const void *a = place(m, n->a), *b = n->b >= 0 ? place(m, n->b) : a, *c = n->c >= 0 ? place(m, n->c) : a;
    prim_fns[n->prim][n->prim == TY_P_sel ? m->l->nodes.p[n->b].dtype : from](o, a, b, c, count);
    return;
  }
  case TY_L_LOAD:
  case TY_L_STORE: memory(m, n, o, count); return;
  case TY_L_REDUCE:
    if (n->level == TY_LV_ELEM) cols_fns[n->red][from](o, (char *)o + LOOP_REG, place(m, n->a), m->red, count);
    else fold_fns[n->red][from](m->cells + (size_t)i * 16, m->cells + (size_t)i * 16 + 8, place(m, n->a), m->col, count, m->col == m->c0);
    return;
  }
}

/* A reduction's value over nothing. */
static void neutral(const ty_lnode *n, ty_dtype from, void *o) {
  const ty_i64 zero = 0, one = 1;
  switch (n->red) {
  case TY_RED_MAX:
  case TY_RED_MIN: memcpy(o, limits[from][n->red == TY_RED_MIN], (size_t)ty_dtype_size(from)); return;
  default: cast_fns[TY_i64][n->dtype](o, n->red == TY_RED_PROD || n->red == TY_RED_ALL ? &one : &zero, 1);
  }
}

/* All of phase p that is once a column, for one chunk. */
static void chunk(const run *m, int p, int count) {
  const ty_lnode *n = m->l->nodes.p;
  for (int i = 0; i < m->l->nodes.n; i++) {
    if (n[i].kind == TY_L_REDUCE || n[i].kind == TY_L_STORE) {
      if (n[i].phase == p && (n[i].kind == TY_L_REDUCE || n[i].level == TY_LV_ELEM)) step(m, i, count);
    } else if (n[i].level == TY_LV_ELEM && (n[i].spill ? n[i].phase == p : n[i].uses >> p & 1)) step(m, i, count);
  }
}

static void singles(const run *m, ty_llevel level, bool uniform, int p, int count) {
  const ty_lnode *n = m->l->nodes.p;
  for (int i = 0; i < m->l->nodes.n; i++)
    if (n[i].level == level && n[i].kind != TY_L_REDUCE && n[i].kind != TY_L_STORE && n[i].uniform == uniform && n[i].phase == p) {
      step(m, i, 1);
      broadcast(m, i, count);
    }
}

static int chunk_size(ty_i64 left) { return left < LOOP_CHUNK ? (int)left : LOOP_CHUNK; }

static void row_columns(run *m, int p, ty_i64 c1) {
  const ty_lnode *n = m->l->nodes.p;
  for (m->col = m->c0; m->col < c1; m->col += LOOP_CHUNK) chunk(m, p, chunk_size(c1 - m->col));
  m->col = m->c0;
  for (int i = 0; i < m->l->nodes.n; i++)
    if (n[i].kind == TY_L_REDUCE && n[i].phase == p) {
      if (m->c0 >= c1) neutral(&n[i], n[n[i].a].dtype, m->cells + (size_t)i * 16);
      if (n[i].reg >= 0) memcpy(place(m, i), m->cells + (size_t)i * 16, 8);
      broadcast(m, i, chunk_size(c1 - m->c0));
    }
}

/* Column reductions: the red loop stands outside of a chunk, whose accumulators are registers. */
static void red_columns(run *m, ty_i64 c1) {
  const ty_lnode *n = m->l->nodes.p;
  const ty_i64 turns = m->k->par[m->l->red_par];
  for (m->col = m->c0; m->col < c1; m->col += LOOP_CHUNK) {
    const int count = chunk_size(c1 - m->col);
    for (m->red = 0; m->red < turns; m->red++) {
      singles(m, TY_LV_RED, false, 0, count);
      for (int i = 0; i < m->l->nodes.n; i++) /* stores of RED level */
        if (n[i].kind == TY_L_STORE && n[i].level == TY_LV_RED && m->col == m->c0) step(m, i, 1);
      chunk(m, 0, count);
    }
    for (int i = 0; i < m->l->nodes.n && turns <= 0; i++)
      if (n[i].kind == TY_L_REDUCE) neutral(&n[i], n[n[i].a].dtype, place(m, i)), broadcast(m, i, count);
    for (int p = 1; p < m->l->nphases; p++) chunk(m, p, count);
  }
  m->col = m->c0;
}

void ty_loop_interp(const ty_kargs *k, ty_i64 r0, ty_i64 r1, ty_i64 c0, ty_i64 c1) {
  const ty_loop *l = k->self;
  if (r0 >= r1) return;
  run m = {.l = l, .k = k, .r0 = r0, .c0 = c0, .col = c0};
  m.cells = k->scratch;
  m.regs = m.cells + loop_cells(l);
  m.rows = m.regs + (size_t)l->nregs * LOOP_REG;
  m.row_bytes = (size_t)(c1 > c0 ? c1 - c0 : 0) * 8;
  const int count = chunk_size(c1 > c0 ? c1 - c0 : 1);
  singles(&m, TY_LV_ROW, true, 0, count);
  ty_i64 left = r0;
  for (int v = l->nrowvars; v-- > 0; left /= k->par[l->row_par[v]]) m.var[v] = left % k->par[l->row_par[v]];
  for (m.row = r0; m.row < r1; m.row++) {
    for (int p = 0; p < l->nphases; p++) {
      singles(&m, TY_LV_ROW, false, p, count);
      if (l->red_par < 0) row_columns(&m, p, c1);
    }
    if (l->red_par >= 0) red_columns(&m, c1);
    for (int i = 0; i < l->nodes.n; i++)
      if (l->nodes.p[i].kind == TY_L_STORE && l->nodes.p[i].level == TY_LV_ROW) step(&m, i, 1);
    for (int v = l->nrowvars; v-- > 0;) {
      if (++m.var[v] < k->par[l->row_par[v]]) break;
      m.var[v] = 0;
    }
  }
}
