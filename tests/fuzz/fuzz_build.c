/* fuzz_build.c: bytes choose a random program of ATen operators; what is compiled must run and answer as operator by operator.
 * A shape, an argument or an operator that the builder refuses is left out; the rest is the program. Where the last byte says so some
 * sizes are symbols, bound to several values: what no operator could prove about them is refused then, and nothing else goes wrong.
 * FUZZ_SHOW=1 in the environment prints each program and how its runs ended, as one wants it of a single input. */
#include <math.h>
#include "api/model.h"
#include "fuzz.h"
#include "ops/ops.h"
#include "rt/pool.h"

enum { NODES = 14, TRIES = 40, VALUES = 64, LARGEST = 1 << 13 };

typedef struct bytes { const uint8_t *p; size_t n; } bytes;
static int take(bytes *b, int below) {
  if (!b->n) return 0;
  int v = *b->p++;
  b->n--;
  return v % below;
}

/* Symbols: their ranges, and the values that programs are bound to (some out of range). */
enum { SYMS = 3, BINDINGS = 4 };
static const struct { const char *name; int64_t lo, hi; } RANGES[SYMS] = {{"a", 0, INT64_MAX}, {"b", 1, 12}, {"c", 2, INT64_MAX}};
static const int64_t BOUND[BINDINGS][SYMS] = {{3, 2, 4}, {0, 1, 2}, {7, 5, 17}, {2, 13, 2}};

typedef struct maker { ty_graph *g; ty_ctx *ctx; bytes b; bool symbols; ty_value *v[VALUES]; int nv; } maker;

static bool has_symbols(bytes b) { return b.n && (b.p[b.n - 1] & 3) == 1; }
/* One of a, b, c, a + b, a + 1, b - 1, 2 * c, a // 2. */
static ty_dim symbolic(maker *m) {
  ty_graph *g = m->g;
  ty_dim s[SYMS], one = ty_dim_const(g, 1), two = ty_dim_const(g, 2);
  for (int i = 0; i < SYMS; i++) s[i] = ty_dim_symbol(g, RANGES[i].name, RANGES[i].lo, RANGES[i].hi, 4);
  switch (take(&m->b, 8)) {
  case 0: return s[0];
  case 1: return s[1];
  case 2: return s[2];
  case 3: return ty_dim_add(g, s[0], s[1]);
  case 4: return ty_dim_add(g, s[0], one);
  case 5: return ty_dim_sub(g, s[1], one);
  case 6: return ty_dim_mul(g, s[2], two);
  default: return ty_dim_div(g, s[0], two);
  }
}

static const ty_dtype KINDS[] = {TY_f32, TY_f32, TY_f32, TY_f64, TY_i64, TY_i32, TY_bool, TY_u8};
static ty_dtype kind(maker *m) {
  int v = take(&m->b, 256);
  return v >= 240 ? (v & 1 ? TY_bf16 : TY_f16) : KINDS[v % 8];
}
static ty_dim dim(maker *m) {
  static const int sizes[] = {1, 2, 3, 4, 4, 2, 8, 0, 17, 3};
  if (m->symbols && take(&m->b, 2)) return symbolic(m);
  return ty_dim_const(m->g, sizes[take(&m->b, 10)]);
}
static ty_value *any(maker *m) { return m->v[m->nv - 1 - take(&m->b, m->nv < 8 ? m->nv : 8)]; }

static void input(maker *m) {
  ty_dim shape[4];
  int rank = take(&m->b, 5);
  if (m->nv && take(&m->b, 3)) { /* like one that is there: operators find partners */
    ty_value *o = any(m);
    for (rank = 0; rank < o->rank && rank < 4; rank++) shape[rank] = o->shape[rank];
  } else for (int i = 0; i < rank; i++) shape[i] = dim(m);
  ty_role role = take(&m->b, 2) ? TY_ROLE_PARAM : TY_ROLE_INPUT;
  for (int i = 0; i < rank; i++)
    if (!ty_dim_is_const(m->g, shape[i], NULL)) role = TY_ROLE_INPUT;
  ty_value *v = ty_graph_input(m->g, role, kind(m), rank, shape, NULL, NULL);
  if (v) m->v[m->nv++] = v;
}

static double number(maker *m) {
  static const double n[] = {0, 1, -1, 2, 0.5, -2, 3, 1e-5, INFINITY, NAN, 7, -0.0};
  return n[take(&m->b, 12)];
}
static ty_dim integer(maker *m) { return m->symbols && !take(&m->b, 6) ? symbolic(m) : ty_dim_const(m->g, take(&m->b, 8) - 3); }

static ty_arg argument(maker *m, const ty_schema_arg *s) {
  ty_value *list[3];
  ty_dim ints[5];
  int n;
  if (s->optional && !take(&m->b, 3)) return (ty_arg){.kind = TY_ARG_NONE};
  switch (s->type) {
  case TY_T_TENSOR: return ty_arg_value(any(m));
  case TY_T_TENSORS:
    n = 1 + take(&m->b, 3);
    for (int i = 0; i < n; i++) list[i] = s->null_entries && !take(&m->b, 4) ? NULL : any(m);
    return ty_arg_values(m->g, n, list);
  case TY_T_INT: return ty_arg_int(integer(m));
  case TY_T_INTS: {
    ty_value *o = any(m);
    bool shape = take(&m->b, 2);
    n = shape ? (o->rank < 5 ? o->rank : 5) : take(&m->b, 4);
    for (int i = 0; i < n; i++) ints[i] = shape ? o->shape[i] : integer(m);
    return ty_arg_ints(m->g, n, ints);
  }
  case TY_T_FLOAT: return ty_arg_float(number(m));
  case TY_T_SCALAR: return take(&m->b, 2) ? ty_arg_int(integer(m)) : ty_arg_float(number(m));
  case TY_T_BOOL: return ty_arg_bool(take(&m->b, 2));
  case TY_T_DTYPE: return ty_arg_dtype(kind(m));
  case TY_T_STR: { static const char *const t[] = {"none", "tanh", "mean", "floor", "trunc", "same"}; return ty_arg_str(t[take(&m->b, 6)]); }
  default: return (ty_arg){.kind = TY_ARG_NONE};
  }
}

static bool fits(maker *m, const ty_value *v) {
  for (int k = 0; k < BINDINGS; k++) {
    int64_t n = 1;
    for (int i = 0; i < v->rank; i++) {
      int64_t size = ty_dim_eval(m->g, v->shape[i], BOUND[k]);
      if (size > LARGEST || !ty_mul_i64(n, size < 0 ? 0 : size, &n) || n > LARGEST) return false;
    }
  }
  return true;
}

static void node(maker *m) {
  int op = TY_NPRIM + (take(&m->b, 256) * 256 + take(&m->b, 256)) % (TY_NOP - TY_NPRIM);
  const ty_op_info *info = ty_op_get(op);
  if (ty_op_is_core(op) || strstr(info->name, "empty")) return; /* what is empty has no answer */
  const ty_schema *s = ty_op_schema(op);
  ty_arg args[24];
  const char *names[24];
  int n = 0;
  for (int i = 0; i < s->nargs && n < 24; i++) {
    const ty_schema_arg *a = &s->args[i];
    if (a->has_default && take(&m->b, 2)) continue;
    names[n] = a->kwarg_only || (i && n < i) ? a->name : NULL;
    args[n++] = argument(m, a);
  }
  ty_node *made = NULL;
  ty_status st = ty_build(m->g, info->name, n, args, names, NULL, &made);
  FUZZ_CHECK(st != TY_INTERNAL && st != TY_NOMEM);
  if (st) { FUZZ_CHECK(*ty_ctx_error(m->ctx)); ty_ctx_clear(m->ctx); return; }
  for (int i = 0; i < made->nouts && m->nv < VALUES; i++) m->v[m->nv++] = made->outs[i];
}

static ty_graph *make(ty_ctx *ctx, bytes b) {
  maker m = {.g = ty_graph_create(ctx), .ctx = ctx, .b = b, .symbols = has_symbols(b)};
  for (int i = 0; i < SYMS && m.symbols; i++) ty_dim_symbol(m.g, RANGES[i].name, RANGES[i].lo, RANGES[i].hi, 4); /* in the order of BOUND */
  int inputs = 1 + take(&m.b, 4);
  while (m.nv < inputs) input(&m);
  for (int i = 0; i < TRIES && m.nv < inputs + NODES && m.b.n; i++) {
    int before = m.nv;
    node(&m);
    for (int k = before; k < m.nv; k++)
      if (!fits(&m, m.v[k])) { ty_graph_destroy(m.g); return NULL; }
  }
  for (int i = m.nv - 1, n = 0; i >= inputs && n < 3; i--, n++) ty_graph_output(m.g, m.v[i]);
  if (m.nv == inputs) { ty_graph_destroy(m.g); return NULL; }
  return m.g;
}

static int64_t elements(const ty_graph *g, int rank, const ty_dim *shape, const int64_t *syms) {
  int64_t n = 1;
  for (int i = 0; i < rank; i++) {
    int64_t size = ty_dim_eval(g, shape[i], syms);
    n *= size < 0 ? 0 : size;
  }
  return n;
}
static void fill(void *p, ty_dtype d, int64_t n, unsigned seed) {
  for (int64_t i = 0; i < n; i++) {
    unsigned r = (seed + (unsigned)i) * 2654435761u >> 16;
    switch (d) {
    case TY_f16: ((uint16_t *)p)[i] = (uint16_t)(0x3800 + r % 16 * 0x80 + (r & 16 ? 0x8000 : 0)); break; /* 0.5 to 4 */
    case TY_bf16: ((uint16_t *)p)[i] = (uint16_t)(0x3f00 + r % 16 * 0x10 + (r & 16 ? 0x8000 : 0)); break;
    case TY_f32: ((float *)p)[i] = (float)(r % 17) * 0.25f - 2; break;
    case TY_f64: ((double *)p)[i] = (double)(r % 17) * 0.25 - 2; break;
    case TY_i64: ((int64_t *)p)[i] = r % 4; break;
    case TY_i32: ((int32_t *)p)[i] = (int32_t)(r % 5) - 1; break;
    case TY_bool: ((uint8_t *)p)[i] = r & 1; break;
    default: ((uint8_t *)p)[i] = r % 6; break;
    }
  }
}

typedef struct answer { int n; bool narrow; void *out[3]; int64_t count[3]; ty_dtype dtype[3]; ty_status st; } answer;

/* NULL: no program, or one that is declined. */
static ty_model *compile(ty_ctx *ctx, bytes b, bool eager) {
  ty_graph *g = make(ctx, b);
  ty_model *m = NULL;
  if (!g) return NULL;
  const char *dump = getenv("FUZZ_SHOW");
  if (dump) { ty_str s = {0}; ty_graph_print(g, &s); fprintf(stderr, "%s\n", s.p); ty_str_free(&s); }
  ty_status st = ty_model_compile(ctx, g, &(ty_options){.no_compiler = true, .eager = eager}, &m);
  if (st && st != TY_UNSUPPORTED) fprintf(stderr, "%s: %s\n", ty_status_name(st), ty_ctx_error(ctx));
  FUZZ_CHECK(st == TY_OK || st == TY_UNSUPPORTED);
  return m;
}

/* Memory is as large as it has to be: the sanitizers see who leaves it. */
static answer run(ty_ctx *ctx, ty_model *m, const int64_t *syms) {
  answer a = {.n = ty_model_noutputs(m)};
  const ty_graph *g = ty_model_graph(m);
  for (int i = 0; i < g->values.n; i++) { /* fusion rounds these less often, which what follows may magnify beyond any bound */
    const ty_value *v = g->values.p[i];
    a.narrow |= v && (v->dtype == TY_f16 || v->dtype == TY_bf16);
  }
  void *in[VALUES];
  for (int i = 0; i < g->inputs.n; i++) {
    ty_value *v = g->inputs.p[i];
    int64_t n = elements(g, v->rank, v->shape, syms);
    fill(in[i] = malloc((size_t)(n * ty_dtype_size(v->dtype))), v->dtype, n, (unsigned)i * 977);
  }
  for (int i = 0; i < a.n; i++) {
    ty_model_output o;
    ty_model_get_output(m, i, &o);
    a.count[i] = elements(g, o.rank, o.shape, syms), a.dtype[i] = o.dtype;
    a.out[i] = malloc((size_t)(a.count[i] * ty_dtype_size(o.dtype)));
  }
  ty_ctx_clear(ctx);
  uint64_t all = ~(uint64_t)0; /* parameters are new memory in each run */
  a.st = ty_program_run(ty_model_program(m), ctx, &(ty_run){.syms = syms, .inputs = in, .outputs = a.out, .changed = &all});
  if (getenv("FUZZ_SHOW")) fprintf(stderr, "%s %s\n", ty_status_name(a.st), ty_ctx_error(ctx));
  FUZZ_CHECK(a.st == TY_OK || (a.st == TY_INVALID && *ty_ctx_error(ctx))); /* an index out of range, sizes that do not fit */
  for (int i = 0; i < g->inputs.n; i++) free(in[i]);
  return a;
}

/* Floats are compared loosely: sums are made in another order, and what follows may magnify that. */
static bool near(double x, double y) { return (isnan(x) && isnan(y)) || x == y || fabs(x - y) <= 1e-2 * fmax(1, fmax(fabs(x), fabs(y))); }
static bool same(const answer *a, const answer *b, int i, int64_t k) {
  switch (a->dtype[i]) {
  case TY_f32: return near(((float *)a->out[i])[k], ((float *)b->out[i])[k]);
  case TY_f64: return near(((double *)a->out[i])[k], ((double *)b->out[i])[k]);
  default: {
    size_t w = (size_t)ty_dtype_size(a->dtype[i]);
    return !memcmp((char *)a->out[i] + (size_t)k * w, (char *)b->out[i] + (size_t)k * w, w);
  }
  }
}

static void compare(ty_ctx *ctx, ty_model *m[2], const int64_t *syms) {
  answer fused = run(ctx, m[0], syms), plain = run(ctx, m[1], syms);
  if (fused.st == TY_OK && plain.st == TY_OK) {
    FUZZ_CHECK(fused.n == plain.n);
    for (int i = 0; i < fused.n; i++) {
      FUZZ_CHECK(fused.count[i] == plain.count[i] && fused.dtype[i] == plain.dtype[i]);
      for (int64_t k = 0; k < fused.count[i] && !fused.narrow; k++)
        if (!same(&fused, &plain, i, k)) { fprintf(stderr, "output %d differs at %lld\n", i, (long long)k); abort(); }
    }
  }
  for (int i = 0; i < 3; i++) free(fused.out[i]), free(plain.out[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  ty_pool_set_threads(1);
  ty_ctx *ctx = ty_ctx_create();
  bytes b = {data, size};
  ty_model *m[2] = {compile(ctx, b, false), NULL};
  if (m[0]) m[1] = compile(ctx, b, true);
  for (int k = 0; m[1] && k < (has_symbols(b) ? BINDINGS : 1); k++) compare(ctx, m, BOUND[k]);
  ty_model_destroy(m[0]);
  ty_model_destroy(m[1]);
  ty_ctx_destroy(ctx);
  return 0;
}
