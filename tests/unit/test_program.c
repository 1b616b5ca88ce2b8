/* test_program.c: the program: building, bindings, the memory plan, splitting, folding, concurrent runs, failures. --bench: overhead. */
#define _GNU_SOURCE 1
#pragma GCC diagnostic ignored "-Warray-bounds" /* gcc 12 inlines kernels with buffers that only some of them have */
#include "../../src/rt/pool.h"
#include "../../src/rt/routine.h"
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#if defined __FLT16_MAX__ && (!defined __clang__ || __clang_major__ >= 15) /* x86 clang has the type from 15 on */
#define HALF _Float16
#endif

static ty_ctx *ctx;
static uint64_t seed = 1;
static uint32_t rnd(uint32_t n) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(seed >> 33) % n;
}
static void fill(float *p, size_t n) {
  for (size_t i = 0; i < n; i++) p[i] = (float)rnd(2001) / 1000.0f - 1.0f;
}
static ty_pexpr K(ty_program *p, int64_t v) { return ty_program_const(p, v); }
static ty_pexpr mul(ty_program *p, ty_pexpr a, ty_pexpr b) { return ty_program_expr(p, TY_PE_MUL, 0, a, b); }
static ty_pbuf buffer(ty_program *p, ty_pbuf_kind kind, int index, int64_t bytes) { return ty_program_buffer(p, kind, index, TY_f32, K(p, bytes), "x"); }
static ty_step_info step(ty_program *p, const char *name, bool big) {
  return (ty_step_info){.name = name, .kernel = "k", .flops = big ? K(p, 1000000000) : -1, .bytes = -1};
}
static ty_program *program(void) {
  ty_program *p = ty_program_create(ctx);
  if (!p) exit(2);
  return p;
}
static void finish(ty_program *p) {
  if (!CHECK(ty_program_finish(p, ctx) == TY_OK)) fprintf(stderr, "  %s\n", ty_ctx_error(ctx)), exit(1);
}
static bool run(ty_program *p, const int64_t *syms, void *const *in, void *const *out, const uint64_t *changed) {
  ty_run r = {.syms = syms, .inputs = in, .outputs = out, .changed = changed};
  ty_status st = ty_program_run(p, ctx, &r);
  if (st != TY_OK) fprintf(stderr, "  run: %s\n", ty_ctx_error(ctx));
  return st == TY_OK;
}

/* ---- loops for tests: buf[0] is written, the others read; int32; crossing elements, so that threads need each other ---- */
typedef struct mix { int nin; bool accumulate; int slot; } mix; /* slot: of the destination */

static void mix_fn(const ty_kargs *ka, ty_i64 r0, ty_i64 r1, ty_i64 c0, ty_i64 c1) {
  const mix *m = ka->self;
  ty_i64 cols = ka->par[0];
  int *out = ka->buf[0];
  int *scratch = ka->scratch;
  for (ty_i64 c = c0; c < c1; c++) scratch[c] = (int)c + m->slot; /* others must not touch it */
  for (ty_i64 r = r0; r < r1; r++)
    for (ty_i64 c = c0; c < c1; c++) {
      uint32_t i = (uint32_t)(r * cols + c), v = (uint32_t)scratch[c] + (m->accumulate ? (uint32_t)out[i] * 3 : 0);
      for (int j = 1; j <= m->nin; j++) v = v * 31 + (uint32_t)((const int *)ka->buf[j])[(i * 7 + 3) % (uint32_t)ka->par[j]];
      out[i] = (int)v;
    }
}

/* ---- random programs against naive execution ---- */
enum { NBUF = 24, NSTEP = 30, NSYM = 2 };
typedef struct rstep { int out, in[3], big; mix m; } rstep;

static void random_program(int round) {
  ty_program *p = program();
  ty_pexpr sym[NSYM], rows[NBUF], cols[NBUF];
  for (int i = 0; i < NSYM; i++) sym[i] = ty_program_expr(p, TY_PE_SYM, ty_program_symbol(p, "s"), -1, -1);
  ty_pbuf b[NBUF];
  rt_buf shape[NBUF]; /* only kind and index are used */
  int nout = 0, written[NBUF] = {0};
  for (int i = 0; i < NBUF; i++) {
    rows[i] = rnd(2) ? sym[rnd(NSYM)] : K(p, 1 + rnd(9));
    cols[i] = rnd(2) ? mul(p, sym[rnd(NSYM)], K(p, 1 + rnd(40))) : K(p, 1 + rnd(200));
    ty_pbuf_kind kind = i < 2 ? TY_PB_INPUT : rnd(5) ? TY_PB_ARENA : TY_PB_OUTPUT;
    shape[i].kind = kind, shape[i].index = kind == TY_PB_INPUT ? i : kind == TY_PB_OUTPUT ? nout++ : -1;
    b[i] = ty_program_buffer(p, kind, shape[i].index, TY_i32, mul(p, mul(p, rows[i], cols[i]), K(p, 4)), "b");
    written[i] = i < 2;
  }
  rstep steps[NSTEP];
  for (int i = 0; i < NSTEP; i++) {
    rstep *s = &steps[i];
    s->out = 2 + (int)rnd(NBUF - 2);
    s->big = (int)rnd(3);
    s->m = (mix){0, written[s->out] && rnd(2), i};
    for (int j = 0; j < 3; j++) {
      int in = (int)rnd(NBUF);
      if (written[in] && in != s->out) s->in[s->m.nin++] = in;
    }
    written[s->out] = 1;
    ty_pbuf bufs[4] = {b[s->out]};
    bool writes[4] = {true};
    ty_pexpr pars[4] = {cols[s->out]};
    for (int j = 0; j < s->m.nin; j++) bufs[j + 1] = b[s->in[j]], pars[j + 1] = mul(p, rows[s->in[j]], cols[s->in[j]]);
    ty_step_loop l = {.fn = mix_fn, .self = &s->m, .nbufs = 1 + s->m.nin, .bufs = bufs, .writes = writes, .npars = 1 + s->m.nin, .pars = pars,
                      .rows = rows[s->out], .cols = cols[s->out], .whole_cols = rnd(2), .scratch_per_col = 4};
    ty_step_info info = step(p, "mix", s->big != 0);
    CHECK(ty_program_add_loop(p, &info, &l) == i);
  }
  finish(p);
  for (int shape_no = 0; shape_no < 12; shape_no++) { /* more than the cache holds, and some again */
    int64_t syms[NSYM] = {1 + shape_no % 10, 1 + rnd(20)}, n[NBUF], nc[NBUF];
    int *naive[NBUF], *mine[NBUF];
    void *in[2], *out[NBUF];
    rt_bind *bind = NULL;
    if (!CHECK(ty_rt_bind_make(p, ctx, RT_RUN, syms, &bind) == TY_OK)) fprintf(stderr, "  %s\n", ty_ctx_error(ctx)), exit(1);
    CHECK(bind->arena <= bind->naive);
    for (int i = 0; i < NBUF; i++) {
      const rt_expr *e = p->expr.p; /* cols is a constant, a symbol, or a symbol by a constant */
      int64_t c = e[cols[i]].op == TY_PE_CONST ? e[cols[i]].v : syms[e[e[cols[i]].op == TY_PE_MUL ? e[cols[i]].a : cols[i]].v] * (e[cols[i]].op == TY_PE_MUL ? e[e[cols[i]].b].v : 1);
      int64_t r = e[rows[i]].op == TY_PE_CONST ? e[rows[i]].v : syms[e[rows[i]].v];
      nc[i] = c, n[i] = r * c;
      naive[i] = calloc((size_t)n[i], 4), mine[i] = calloc((size_t)n[i], 4);
      if (i < 2) {
        for (int64_t k = 0; k < n[i]; k++) naive[i][k] = (int)rnd(1000);
        in[i] = naive[i];
      }
      if (shape[i].kind == TY_PB_OUTPUT) out[shape[i].index] = mine[i];
    }
    ty_rt_bind_free(bind);
    int *scratch = malloc(4 * 1024);
    for (int i = 0; i < NSTEP; i++) {
      const rstep *s = &steps[i];
      void *bufs[4] = {naive[s->out]};
      ty_i64 par[4] = {nc[s->out]};
      for (int j = 0; j < s->m.nin; j++) bufs[j + 1] = naive[s->in[j]], par[j + 1] = n[s->in[j]];
      mix_fn(&(ty_kargs){.buf = bufs, .par = par, .scratch = scratch, .self = &s->m}, 0, n[s->out] / nc[s->out], 0, nc[s->out]);
    }
    free(scratch);
    ty_pool_set_threads(1 + (round + shape_no) % 4);
    bool ok = run(p, syms, in, out, NULL);
    for (int i = 0; i < NBUF; i++)
      if (shape[i].kind == TY_PB_OUTPUT) ok = ok && !memcmp(naive[i], mine[i], (size_t)n[i] * 4);
    CHECK(ok);
    for (int i = 0; i < NBUF; i++) free(naive[i]), free(mine[i]);
  }
  ty_program_destroy(p);
}

static void test_plan(void) {
  for (int round = 0; round < 200; round++) {
    enum { N = 60 };
    rt_life life[N];
    size_t off[N], total = 0, naive = 0, peak = 0;
    int n = 1 + (int)rnd(N);
    for (int i = 0; i < n; i++) {
      life[i].first = (int)rnd(40), life[i].last = life[i].first + (int)rnd(6);
      life[i].bytes = rnd(8) ? rnd(5000) : 0;
      naive += rt_up(life[i].bytes, RT_ALIGN);
    }
    CHECK(ty_rt_plan(n, life, off, &total));
    bool ok = total <= naive;
    for (int i = 0; i < n; i++) {
      ok = ok && off[i] % RT_ALIGN == 0 && off[i] + life[i].bytes <= total;
      for (int j = 0; j < i; j++)
        if (life[i].first <= life[j].last && life[j].first <= life[i].last && life[i].bytes && life[j].bytes)
          ok = ok && (off[i] + life[i].bytes <= off[j] || off[j] + life[j].bytes <= off[i]);
    }
    for (int t = 0; t < 50; t++) {
      size_t live = 0;
      for (int i = 0; i < n; i++)
        if (life[i].first <= t && t <= life[i].last) live += rt_up(life[i].bytes, RT_ALIGN);
      if (live > peak) peak = live;
    }
    CHECK(ok && total >= peak && total <= peak + peak / 2 + 64);
  }
}

/* ---- gemm with epilogue, attention, pack, scan ---- */
static void bias_relu(const ty_kargs *ka, ty_i64 r0, ty_i64 r1, ty_i64 c0, ty_i64 c1) {
  const float *bias = ka->buf[0];
  float *out = ka->buf[1];
  for (ty_i64 c = c0; c < c1; c++) ((float *)ka->scratch)[c] = bias[c];
  for (ty_i64 r = r0; r < r1; r++)
    for (ty_i64 c = c0; c < c1; c++) {
      float v = ka->acc[(r - r0) * ka->acc_ld + c - c0] + ((float *)ka->scratch)[c];
      out[r * ka->par[0] + c] = v > 0 ? v : 0;
    }
}

static void test_gemm(int64_t b0, int64_t b1, int64_t m, int64_t n, int64_t k, bool packed, bool epilogue, int threads) {
  ty_program *p = program();
  size_t na = (size_t)(b0 * b1 * m * k), nb = (size_t)((packed ? 1 : b0 * b1) * k * n), nc = (size_t)(b0 * b1 * m * n);
  float *a = malloc(na * 4 + 4), *b = malloc(nb * 4 + 4), *bias = malloc((size_t)n * 4 + 4), *c = malloc(nc * 4 + 4), *want = calloc(nc + 1, 4);
  fill(a, na), fill(b, nb), fill(bias, (size_t)n);
  ty_pbuf in = buffer(p, TY_PB_INPUT, 0, (int64_t)na * 4), w = buffer(p, TY_PB_INPUT, 1, (int64_t)nb * 4), bb = buffer(p, TY_PB_INPUT, 2, n * 4);
  ty_pbuf out = buffer(p, TY_PB_OUTPUT, 0, (int64_t)nc * 4), state = w;
  ty_pexpr zero = K(p, 0), N = K(p, n), MK = K(p, m * k);
  if (packed) { /* weight [k, n] row-major */
    ty_step_info info = step(p, "pack", true);
    info.fold = true;
    state = buffer(p, TY_PB_STATE, -1, ty_packed_b_words(TY_FORMAT_f32, p->panel, k, n) * 4);
    ty_step_pack pk = {w, zero, N, K(p, 1), K(p, k), N, state, TY_FORMAT_f32};
    CHECK(ty_program_add_pack(p, &info, &pk) == 0);
  }
  ty_step_loop epi = {.fn = bias_relu, .nbufs = 2, .bufs = (ty_pbuf[]){bb, out}, .writes = (bool[]){false, true}, .npars = 1, .pars = &N,
                      .rows = K(p, b0 * b1 * m), .cols = N, .scratch_per_col = 4};
  ty_step_gemm g = {.a = in, .a_off = zero, .lda = K(p, k), .a_batch = {K(p, b1 * m * k), MK}, .b = state, .packed = packed, .b_off = zero, .ldk = N, .ldn = K(p, 1),
                    .b_batch = {K(p, b1 * k * n), K(p, k * n)}, .c = epilogue ? -1 : out, .c_off = zero, .ldc = N, .c_batch = {K(p, b1 * m * n), K(p, m * n)},
                    .batch = {K(p, b0), K(p, b1)}, .m = K(p, m), .n = N, .k = K(p, k), .epilogue = epilogue ? &epi : NULL};
  ty_step_info info = step(p, "gemm", true);
  CHECK(ty_program_add_gemm(p, &info, &g) >= 0);
  finish(p);
  for (int64_t bt = 0; bt < b0 * b1; bt++)
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < n; j++) {
        double v = epilogue ? bias[j] : 0;
        for (int64_t q = 0; q < k; q++) v += (double)a[(bt * m + i) * k + q] * b[(packed ? 0 : bt * k * n) + q * n + j];
        want[(bt * m + i) * n + j] = (float)(epilogue && v < 0 ? 0 : v);
      }
  ty_pool_set_threads(threads);
  void *ins[] = {a, b, bias}, *outs[] = {c};
  for (int again = 0; again < 3; again++) {
    for (size_t i = 0; i < nc; i++) c[i] = NAN;
    bool ok = run(p, NULL, ins, outs, NULL);
    for (size_t i = 0; i < nc; i++) ok = ok && fabsf(c[i] - want[i]) < 1e-4f;
    CHECK(ok);
    if (packed) ins[1] = NULL; /* let go after the first run */
  }
  CHECK(ty_program_input_folded(p, 1) == packed && !ty_program_input_folded(p, 0) && !ty_program_input_folded(p, 9));
  ty_program_destroy(p);
  free(a), free(b), free(bias), free(c), free(want);
}

static void test_gemm64(void) {
  enum { M = 5, N = 7, KK = 9 };
  static double a[M * KK], b[KK * N], c[M * N];
  for (int i = 0; i < M * KK; i++) a[i] = rnd(100);
  for (int i = 0; i < KK * N; i++) b[i] = rnd(100);
  ty_program *p = program();
  ty_pexpr z = K(p, 0), one = K(p, 1);
  ty_step_gemm g = {.a = buffer(p, TY_PB_INPUT, 0, sizeof a), .a_off = z, .lda = K(p, KK), .a_batch = {z, z}, .b = buffer(p, TY_PB_INPUT, 1, sizeof b), .b_off = z,
                    .ldk = K(p, N), .ldn = one, .b_batch = {z, z}, .c = buffer(p, TY_PB_OUTPUT, 0, sizeof c), .c_off = z, .ldc = K(p, N), .c_batch = {z, z},
                    .batch = {one, one}, .m = K(p, M), .n = K(p, N), .k = K(p, KK), .f64 = true};
  ty_step_info info = step(p, "dgemm", true);
  ty_program_add_gemm(p, &info, &g);
  finish(p);
  ty_pool_set_threads(3);
  bool ok = run(p, NULL, (void *[]){a, b}, (void *[]){c}, NULL);
  for (int i = 0; i < M; i++)
    for (int j = 0; j < N; j++) {
      double v = 0;
      for (int q = 0; q < KK; q++) v += a[i * KK + q] * b[q * N + j];
      ok = ok && c[i * N + j] == v;
    }
  CHECK(ok);
  ty_program_destroy(p);
}

static void test_attn(int64_t sq, int64_t sk, bool mask, bool bias, bool causal, int threads) {
  enum { B = 2, H = 4, HK = 2, D = 16 };
  ty_program *p = program();
  size_t nq = (size_t)(B * H * sq * D), nk = (size_t)(B * HK * sk * D), nm = (size_t)(B * sq * sk), nbias = (size_t)(H * sq * sk);
  float *q = malloc(nq * 4 + 4), *k = malloc(nk * 4 + 4), *v = malloc(nk * 4 + 4), *o = calloc(nq + 1, 4), *want = calloc(nq + 1, 4), *bi = malloc(nbias * 4 + 4);
  uint8_t *keep = malloc(nm + 1);
  double *scores = malloc((size_t)sk * 8 + 8);
  fill(q, nq), fill(k, nk), fill(v, nk), fill(bi, nbias);
  for (size_t i = 0; i < nm; i++) keep[i] = rnd(4) != 0;
  ty_pexpr z = K(p, 0), d = K(p, D), one = K(p, 1), Sk = K(p, sk);
  ty_step_attn a = {.q = buffer(p, TY_PB_INPUT, 0, (int64_t)nq * 4), .k = buffer(p, TY_PB_INPUT, 1, (int64_t)nk * 4), .v = buffer(p, TY_PB_INPUT, 2, (int64_t)nk * 4),
                    .o = buffer(p, TY_PB_OUTPUT, 0, (int64_t)nq * 4), .off = {z, z, z, z}, .batch = K(p, B), .heads = K(p, H), .kv_heads = K(p, HK), .sq = K(p, sq), .sk = Sk,
                    .d = d, .dv = d, .mask = mask ? buffer(p, TY_PB_INPUT, 3, (int64_t)nm) : -1, .mask_is_bool = true, .mask_off = z, .mask_stride = {K(p, sq * sk), z, Sk, one},
                    .bias = bias ? buffer(p, TY_PB_INPUT, 4, (int64_t)nbias * 4) : -1, .bias_off = z, .bias_stride = {z, K(p, sq * sk), Sk, one}, .causal = causal, .scale = 0.25};
  for (int i = 0; i < 4; i++) { /* q and o [b, h, s, d]; k and v [b, s, h, d] */
    bool kv = i == 1 || i == 2;
    a.stride[i][0] = K(p, kv ? HK * sk * D : H * sq * D), a.stride[i][1] = K(p, kv ? D : sq * D), a.stride[i][2] = K(p, kv ? HK * D : D);
  }
  ty_step_info info = step(p, "attn", true);
  CHECK(ty_program_add_attn(p, &info, &a) == 0);
  finish(p);
  ty_attn t = {.b = B, .hq = H, .hkv = HK, .sq = sq, .sk = sk, .d = D, .dv = D, .q = q, .q_b = H * sq * D, .q_h = sq * D, .q_s = D, .k = k, .k_b = HK * sk * D, .k_h = D, .k_s = HK * D,
               .v = v, .v_b = HK * sk * D, .v_h = D, .v_s = HK * D, .o = want, .o_b = H * sq * D, .o_h = sq * D, .o_s = D, .mask_kind = mask ? TY_MASK_BOOL : TY_MASK_NONE,
               .mask = keep, .mask_b = sq * sk, .mask_q = sk, .mask_k = 1, .bias = bias ? bi : NULL, .bias_h = sq * sk, .bias_q = sk, .bias_k = 1, .causal = causal, .scale = 0.25f};
  if (nq) ty_attn_f32_ref(&t, scores);
  ty_pool_set_threads(threads);
  bool ok = run(p, NULL, (void *[]){q, k, v, keep, bi}, (void *[]){o}, NULL);
  for (size_t i = 0; i < nq; i++) ok = ok && fabsf(o[i] - want[i]) < 1e-5f;
  CHECK(ok);
  ty_program_destroy(p);
  free(q), free(k), free(v), free(o), free(want), free(bi), free(keep), free(scores);
}

static void test_scan(int threads) {
  enum { O = 3, L = 17, I = 70, T = O * L * I };
  static float x[T], y[T];
  static int64_t xi[T], yi[T];
  static uint16_t xh[T], yh[T];
  for (int i = 0; i < T; i++) x[i] = (float)rnd(100) / 64, xi[i] = (int64_t)rnd(1000) - 500, xh[i] = 0x3c00 + (uint16_t)(i % 2 ? 0x8000 : 0);
  for (int prod = 0; prod < 2; prod++) {
    ty_program *p = program();
    ty_dtype dt[] = {TY_f32, TY_i64, TY_f16};
    for (int i = 0; i < 3; i++) {
      int64_t bytes = (int64_t)T * ty_dtype_size(dt[i]);
      ty_step_routine s = {prod ? TY_SCAN_PROD : TY_SCAN_SUM, dt[i], {buffer(p, TY_PB_INPUT, i, bytes), -1, -1, -1}, buffer(p, TY_PB_OUTPUT, i, bytes),
                           {K(p, O), K(p, L), K(p, I), -1, -1, -1}};
      ty_step_info info = step(p, "scan", true);
      ty_program_add_routine(p, &info, &s);
    }
    finish(p);
    ty_pool_set_threads(threads);
    bool ok = run(p, NULL, (void *[]){x, xi, xh}, (void *[]){y, yi, yh}, NULL);
    for (int o = 0; o < O; o++)
      for (int j = 0; j < I; j++) {
        double d = prod;
        uint64_t u = (uint64_t)prod;
        int h = prod;
        for (int l = 0; l < L; l++) {
          int at = (o * L + l) * I + j, s = xh[at] >> 15 ? -1 : 1;
          d = prod ? d * x[at] : d + x[at], u = prod ? u * (uint64_t)xi[at] : u + (uint64_t)xi[at], h = prod ? h * s : h + s;
          ok = ok && y[at] == (float)d && yi[at] == (int64_t)u;
          (void)h;
#ifdef HALF
          HALF want = (HALF)h, got;
          memcpy(&got, &yh[at], 2);
          ok = ok && got == want;
#endif
        }
      }
    CHECK(ok);
    ty_program_destroy(p);
  }
}

/* Every half-precision value and every rounding boundary, against the compiler's own conversion. */
static void test_half(void) {
  bool ok = true;
  for (uint32_t u = 0; u < 0x10000; u++) {
    uint16_t in[2] = {(uint16_t)u, 0}, out[2];
    rt_routine s = {.which = TY_SCAN_SUM, .dtype = TY_f16, .in = {in}, .out = out, .size = {1, 1, 1}};
    ty_rt_routine_do(&s, 0, 1);
    bool nan = (u & 0x7fff) > 0x7c00;
    ok = ok && (nan ? (out[0] & 0x7fff) > 0x7c00 : out[0] == (u == 0x8000 ? 0 : u)); /* 0 + -0 is 0 */
    in[1] = (uint16_t)rnd(0x7c00), in[0] &= 0x7fff;
    if (nan) continue;
    s.size[1] = 2;
    ty_rt_routine_do(&s, 0, 1);
#ifdef HALF
    HALF a, b, c;
    memcpy(&a, &in[0], 2), memcpy(&b, &in[1], 2), memcpy(&c, &out[1], 2);
    ok = ok && c == (HALF)((float)a + (float)b);
#endif
  }
  CHECK(ok);
}

/* ---- folding ---- */
static _Atomic int fold_calls[4];
typedef struct adder { int which, nin; } adder; /* out = sum of inputs + which */
static void adder_fn(const ty_kargs *ka, ty_i64 r0, ty_i64 r1, ty_i64 c0, ty_i64 c1) {
  const adder *a = ka->self;
  if (a->which < 4) atomic_fetch_add(&fold_calls[a->which], 1);
  for (ty_i64 i = r0; i < r1; i++)
    for (ty_i64 c = c0; c < c1; c++) {
      int v = a->which;
      for (int j = 0; j < a->nin; j++) v += ((const int *)ka->buf[1 + j])[i];
      ((int *)ka->buf[0])[i] = v;
    }
}
static int add_adder(ty_program *p, const adder *a, bool fold, ty_pbuf out, ty_pbuf x, ty_pbuf y) {
  ty_step_info info = step(p, "adder", false);
  info.fold = fold;
  ty_step_loop l = {.fn = adder_fn, .self = a, .nbufs = 1 + a->nin, .bufs = (ty_pbuf[]){out, x, y}, .writes = (bool[]){true, false, false}, .rows = K(p, 8), .cols = K(p, 1)};
  return ty_program_add_loop(p, &info, &l);
}
static const adder A0 = {0, 1}, A1 = {1, 2}, A2 = {2, 1}, A3 = {3, 2}, R = {10, 2}, R2 = {20, 2};

/* t = f0(p0); s0 = f1(t, p1); s1 = f2(p2); s2 = f3(s0, s1); out = s2 + s1 + x */
static ty_program *fold_program(void) {
  ty_program *p = ty_program_create(ctx);
  if (!p) return NULL;
  ty_pbuf in[4], out = buffer(p, TY_PB_OUTPUT, 0, 32), s[3], t = buffer(p, TY_PB_ARENA, -1, 32), u = buffer(p, TY_PB_ARENA, -1, 32);
  for (int i = 0; i < 4; i++) in[i] = buffer(p, TY_PB_INPUT, i, 32);
  for (int i = 0; i < 3; i++) s[i] = buffer(p, TY_PB_STATE, -1, 32);
  add_adder(p, &A0, true, t, in[0], -1);
  add_adder(p, &A1, true, s[0], t, in[1]);
  add_adder(p, &A2, true, s[1], in[2], -1);
  add_adder(p, &A3, true, s[2], s[0], s[1]);
  add_adder(p, &R, false, u, s[2], in[3]);
  add_adder(p, &R2, false, out, u, s[1]);
  return p;
}
static bool fold_right(const int *x, const int *out) { /* by the values that params and input are filled with */
  return out[3] == 10 + 20 + 3 + (1 + x[0] + x[1]) + 2 * (2 + x[2]) + x[3];
}
static void fold_set(int v[4][8], const int *x) {
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 8; j++) v[i][j] = x[i];
}
static bool calls_are(int a, int b, int c, int d) {
  int want[4] = {a, b, c, d};
  bool ok = true;
  for (int i = 0; i < 4; i++) ok = ok && atomic_exchange(&fold_calls[i], 0) == want[i];
  return ok;
}

static void test_fold(void) {
  ty_program *p = fold_program();
  finish(p);
  int v[4][8], out[8], x[4] = {1, 2, 3, 4};
  void *in[4] = {v[0], v[1], v[2], v[3]}, *outs[] = {out};
  fold_set(v, x);
  ty_pool_set_threads(1);
  CHECK(calls_are(0, 0, 0, 0) | true);
  CHECK(run(p, NULL, in, outs, NULL) && fold_right(x, out) && calls_are(1, 1, 1, 1));
  uint64_t none = 0, bit1 = 2, bit2 = 4, bit3 = 8;
  x[3] = 9, fold_set(v, x);
  CHECK(run(p, NULL, in, outs, &none) && fold_right(x, out) && calls_are(0, 0, 0, 0));
  x[1] = 7, fold_set(v, x);
  CHECK(run(p, NULL, in, outs, &bit1) && fold_right(x, out) && calls_are(1, 1, 0, 1)); /* t had gone: f0 again */
  x[2] = -5, fold_set(v, x);
  CHECK(run(p, NULL, in, outs, &bit2) && fold_right(x, out) && calls_are(0, 0, 1, 1));
  CHECK(run(p, NULL, in, outs, &bit3) && fold_right(x, out) && calls_are(0, 0, 0, 0)); /* no parameter */
  for (int i = 0; i < 3; i++) CHECK(ty_program_input_folded(p, i));
  CHECK(!ty_program_input_folded(p, 3) && !ty_program_input_folded(p, -1));
  in[0] = NULL; /* let go: folding p2 again does without, p1 does not */
  CHECK(run(p, NULL, in, outs, &bit2) && fold_right(x, out));
  ty_run r = {.inputs = in, .outputs = outs, .changed = &bit1};
  CHECK(ty_program_run(p, ctx, &r) == TY_INVALID);
  CHECK_HAS(ty_ctx_error(ctx), "input 0 ('x') is NULL, and is needed to fold 'adder' again\nwhile folding constants");
  in[0] = v[0];
  atomic_store(&fold_calls[0], 0);
  CHECK(run(p, NULL, in, outs, NULL) && fold_right(x, out) && atomic_load(&fold_calls[0]) == 1); /* a failure: all again */
  ty_memory m;
  ty_program_memory(p, &m);
  CHECK(m.state >= 96 && m.steps == 6 && m.arena == 64);
  ty_program_destroy(p);
}

/* ---- errors ---- */
static void faulty(const ty_kargs *ka, ty_i64 r0, ty_i64 r1, ty_i64 c0, ty_i64 c1) {
  (void)c0, (void)c1;
  if (r0 <= ka->par[0] && ka->par[0] < r1) *ka->fault = 1;
}
static ty_program *faulty_program(bool fold) {
  ty_program *p = program();
  ty_step_info info = step(p, "gather [9]", true);
  info.fold = fold;
  ty_pexpr at = fold ? K(p, 3) : ty_program_expr(p, TY_PE_SYM, ty_program_symbol(p, "at"), -1, -1);
  ty_step_loop l = {.fn = faulty, .npars = 1, .pars = &at, .rows = K(p, 8), .cols = K(p, 1)};
  ty_program_add_loop(p, &info, &l);
  finish(p);
  return p;
}

static void test_errors(void) {
  ty_program *p = faulty_program(false);
  for (int64_t at = 0; at < 9; at++) {
    ty_pool_set_threads(1 + (int)at % 4);
    CHECK(ty_program_run(p, ctx, &(ty_run){.syms = &at}) == (at < 8 ? TY_INVALID : TY_OK));
    if (at < 8) CHECK_STR(ty_ctx_error(ctx), "index out of range in gather [9]");
  }
  CHECK(ty_program_run(p, ctx, &(ty_run){0}) == TY_INVALID);
  ty_program_destroy(p);
  p = faulty_program(true);
  for (int i = 0; i < 2; i++) {
    CHECK(ty_program_run(p, ctx, &(ty_run){0}) == TY_INVALID);
    CHECK_HAS(ty_ctx_error(ctx), "index out of range in gather [9]\nwhile folding");
  }
  ty_program_destroy(p);

  p = fold_program(); /* NULL pointers, missing functions, finishing twice */
  finish(p);
  CHECK(ty_program_finish(p, ctx) == TY_INTERNAL);
  int v[8] = {0};
  void *in[4] = {v, v, v, NULL}, *out[1] = {v};
  CHECK(ty_program_run(p, ctx, &(ty_run){.inputs = in, .outputs = out}) == TY_INVALID);
  CHECK_HAS(ty_ctx_error(ctx), "input 3 ('x') is NULL");
  ty_program_set_fn(p, &R, NULL);
  CHECK(ty_program_run(p, ctx, &(ty_run){.inputs = in, .outputs = out}) == TY_INTERNAL);
  CHECK_HAS(ty_ctx_error(ctx), "no function");
  ty_program_set_fn(p, &R, adder_fn);
  in[3] = v;
  CHECK(run(p, NULL, in, out, NULL));
  ty_program_destroy(p);

  p = program(); /* sizes from symbols that make no sense */
  ty_pexpr s = ty_program_expr(p, TY_PE_SYM, ty_program_symbol(p, "n"), -1, -1);
  CHECK(s == ty_program_expr(p, TY_PE_SYM, 0, -1, -1) && K(p, 4) == K(p, 4) && mul(p, s, K(p, 4)) == mul(p, s, K(p, 4)));
  ty_pbuf o = ty_program_buffer(p, TY_PB_OUTPUT, 0, TY_i32, mul(p, s, K(p, 4)), "o");
  static const adder none = {5, 0};
  ty_step_info info = step(p, "fill", false);
  ty_step_loop l = {.fn = adder_fn, .self = &none, .nbufs = 1, .bufs = &o, .writes = (bool[]){true}, .rows = s, .cols = K(p, 1)};
  ty_program_add_loop(p, &info, &l);
  finish(p);
  int64_t n[] = {8, -1, INT64_MAX, INT64_MAX / 8, 0, 8};
  for (int i = 0; i < 6; i++)
    CHECK(ty_program_run(p, ctx, &(ty_run){.syms = &n[i], .outputs = i == 4 ? (void *[]){NULL} : out}) == (n[i] >= 0 && n[i] <= 8 ? TY_OK : TY_INVALID));
  ty_program_destroy(p);

  p = program(); /* a product that reaches past its buffer */
  ty_pexpr z = K(p, 0), one = K(p, 1);
  ty_step_gemm g = {.a = buffer(p, TY_PB_INPUT, 0, 4 * 5 * 4 - 1), .a_off = z, .lda = K(p, 5), .a_batch = {z, z}, .b = buffer(p, TY_PB_INPUT, 1, 5 * 6 * 4), .b_off = z, .ldk = K(p, 6),
                    .ldn = one, .b_batch = {z, z}, .c = buffer(p, TY_PB_OUTPUT, 0, 4 * 6 * 4), .c_off = z, .ldc = K(p, 6), .c_batch = {z, z}, .batch = {one, one}, .m = K(p, 4), .n = K(p, 6), .k = K(p, 5)};
  info = step(p, "mm", false);
  ty_program_add_gemm(p, &info, &g);
  finish(p);
  CHECK(ty_program_run(p, ctx, &(ty_run){.inputs = in, .outputs = out}) == TY_INVALID);
  CHECK_HAS(ty_ctx_error(ctx), "mm: A reaches element 19 of a buffer of 79 bytes");
  ty_program_destroy(p);

  p = program(); /* what finish refuses */
  ty_pbuf t = buffer(p, TY_PB_ARENA, -1, 32);
  add_adder(p, &A0, false, buffer(p, TY_PB_OUTPUT, 0, 32), t, -1);
  CHECK(ty_program_finish(p, ctx) == TY_INTERNAL);
  CHECK_HAS(ty_ctx_error(ctx), "reads before anything was written");
  ty_program_destroy(p);
  p = program();
  ty_program_expr(p, TY_PE_ADD, 0, 7, 8);
  CHECK(ty_program_finish(p, ctx) == TY_INTERNAL);
  ty_program_destroy(p);
}

static void test_exprs(void) {
  static const struct { ty_pexpr_op op; int64_t a, b, want; } t[] = {
    {TY_PE_DIV, 7, 2, 3}, {TY_PE_DIV, -7, 2, -4}, {TY_PE_DIV, 7, -2, -4}, {TY_PE_DIV, 5, 0, 0}, {TY_PE_MOD, -7, 2, 1}, {TY_PE_MOD, 7, -2, -1},
    {TY_PE_MOD, 5, 0, 0}, {TY_PE_MOD, INT64_MIN, -1, 0}, {TY_PE_MIN, 3, -4, -4}, {TY_PE_MAX, 3, -4, 3}, {TY_PE_ADD, 3, 4, 7}, {TY_PE_MUL, -3, 4, -12}};
  ty_program *p = program();
  ty_pexpr e[12];
  for (int i = 0; i < 12; i++) e[i] = ty_program_expr(p, t[i].op, 0, K(p, t[i].a), K(p, t[i].b));
  static int64_t got[12];
  ty_step_info info = step(p, "look", false);
  ty_pbuf o = buffer(p, TY_PB_OUTPUT, 0, sizeof got);
  void look(const ty_kargs *ka, ty_i64 r0, ty_i64 r1, ty_i64 c0, ty_i64 c1);
  ty_step_loop l = {.fn = look, .nbufs = 1, .bufs = &o, .writes = (bool[]){true}, .npars = 12, .pars = e, .rows = K(p, 12), .cols = K(p, 1)};
  ty_program_add_loop(p, &info, &l);
  finish(p);
  CHECK(run(p, NULL, NULL, (void *[]){got}, NULL));
  for (int i = 0; i < 12; i++) CHECK(got[i] == t[i].want);
  ty_program_destroy(p);
}
void look(const ty_kargs *ka, ty_i64 r0, ty_i64 r1, ty_i64 c0, ty_i64 c1);
void look(const ty_kargs *ka, ty_i64 r0, ty_i64 r1, ty_i64 c0, ty_i64 c1) {
  (void)c0, (void)c1;
  for (ty_i64 r = r0; r < r1; r++) ((int64_t *)ka->buf[0])[r] = ka->par[r];
}

/* ---- many threads, one program; parameters change now and then; sizes differ ---- */
typedef struct shared { ty_program *fold, *mixed; int v[3][8]; mix m[2]; uint64_t seed; } shared;

static void *hammer(void *arg) {
  shared *s = arg;
  ty_ctx *mine = ty_ctx_create();
  bool ok = true;
  for (int i = 0; i < 200; i++) {
    int x[8] = {i}, out[8], big[40 * 70], in[64] = {i};
    void *ins[4] = {s->v[0], s->v[1], s->v[2], x};
    for (int j = 0; j < 8; j++) x[j] = i;
    uint64_t bits = (uint64_t)(i % 16 == 0) << i % 3;
    ok = ok && ty_program_run(s->fold, mine, &(ty_run){.inputs = ins, .outputs = (void *[]){out}, .changed = &bits}) == TY_OK;
    ok = ok && fold_right((int[]){1, 2, 3, i}, out);
    int64_t rows = 1 + i % 12;
    ok = ok && ty_program_run(s->mixed, mine, &(ty_run){.syms = &rows, .inputs = (void *[]){in}, .outputs = (void *[]){big}}) == TY_OK;
    int mid[40 * 70], want[40 * 70], scratch[70];
    mix_fn(&(ty_kargs){.buf = (void *[]){mid, in}, .par = (ty_i64[]){70, 64}, .scratch = scratch, .self = &s->m[0]}, 0, rows, 0, 70);
    mix_fn(&(ty_kargs){.buf = (void *[]){want, mid}, .par = (ty_i64[]){70, rows * 70}, .scratch = scratch, .self = &s->m[1]}, 0, rows, 0, 70);
    ok = ok && !memcmp(big, want, (size_t)rows * 280);
  }
  ty_ctx_destroy(mine);
  CHECK(ok);
  return NULL;
}

static ty_program *mixed_program(mix *m) {
  ty_program *p = ty_program_create(ctx);
  if (!p) return NULL;
  ty_pexpr s = ty_program_expr(p, TY_PE_SYM, ty_program_symbol(p, "rows"), -1, -1), n = mul(p, s, K(p, 70)), bytes = mul(p, n, K(p, 4)), cols = K(p, 70), len = K(p, 64);
  ty_pbuf in = buffer(p, TY_PB_INPUT, 0, 256), mid = ty_program_buffer(p, TY_PB_ARENA, -1, TY_i32, bytes, "mid"), out = ty_program_buffer(p, TY_PB_OUTPUT, 0, TY_i32, bytes, "out");
  for (int i = 0; i < 2; i++) {
    m[i] = (mix){1, false, i};
    ty_step_loop l = {.fn = mix_fn, .self = &m[i], .nbufs = 2, .bufs = i ? (ty_pbuf[]){out, mid} : (ty_pbuf[]){mid, in}, .writes = (bool[]){true, false}, .npars = 2,
                      .pars = (ty_pexpr[]){cols, i ? n : len}, .rows = s, .cols = cols, .scratch_per_col = 4};
    ty_step_info info = step(p, "mixed", true);
    ty_program_add_loop(p, &info, &l);
  }
  return p;
}

/* ---- what the environment and options ask for ---- */
static void where_fn(const ty_kargs *ka, ty_i64 r0, ty_i64 r1, ty_i64 c0, ty_i64 c1) { /* each row: is it a thread's first? */
  int *out = ka->buf[0];
  for (ty_i64 r = r0; r < r1; r++) out[r] = r == r0;
  (void)c0, (void)c1;
}

/* Is this memory asked for in huge pages ("hg"), or kept out of them ("nh")? */
static bool has_flag(const void *at, const char *flag) {
  FILE *f = fopen("/proc/self/smaps", "r");
  char line[512];
  bool here = false, found = false;
  unsigned long lo, hi;
  while (f && fgets(line, sizeof line, f)) {
    if (sscanf(line, "%lx-%lx ", &lo, &hi) == 2) here = (unsigned long)(uintptr_t)at >= lo && (unsigned long)(uintptr_t)at < hi;
    if (here && !strncmp(line, "VmFlags:", 8)) found = strstr(line, flag) != NULL;
  }
  if (f) fclose(f);
  return found;
}

/* A step that many threads share and others that few do, one after the other: the barriers of many threads would cost more than they save. */
static void test_wanted(void) {
  static const struct { int64_t first, rest; int steps, least, most; } cases[] = {
    {1 << 24, 1 << 24, 4, TY_POOL_MAX / 2, TY_POOL_MAX}, /* large steps: as many as there are, or nearly */
    {80000, 1 << 12, 40, 2, 16},                         /* one of 20 us, which is worth 40 threads, and forty of 1 us */
    {1 << 12, 1 << 12, 40, 1, 2},                        /* small ones only */
  };
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    ty_program *p = program();
    ty_pbuf at = buffer(p, TY_PB_INPUT, 0, cases[k].first * 4);
    for (int i = 0; i <= cases[k].steps; i++) {
      int64_t n = i ? cases[k].rest : cases[k].first;
      ty_pbuf to = i == cases[k].steps ? buffer(p, TY_PB_OUTPUT, 0, n * 4) : buffer(p, TY_PB_ARENA, 0, n * 4);
      ty_step_loop l = {.fn = where_fn, .nbufs = 2, .bufs = (ty_pbuf[]){to, at}, .writes = (bool[]){true, false}, .rows = K(p, n), .cols = K(p, 1)};
      ty_step_info info = step(p, "s", false);
      info.flops = K(p, n * 4), info.bytes = K(p, 0);
      ty_program_add_loop(p, &info, &l);
      at = to;
    }
    finish(p);
    rt_bind *b = NULL;
    rt_slot *slot = NULL;
    if (CHECK(ty_rt_bind_get(p, ctx, NULL, &b, &slot) == TY_OK)) {
      CHECK(b->barriers == cases[k].steps && b->wanted >= cases[k].least && b->wanted <= cases[k].most);
      printf("%d steps: %d threads, %d of the largest step\n", cases[k].steps + 1, b->wanted, b->bound[0].threads);
      ty_rt_bind_put(p, b, slot);
    }
    ty_program_destroy(p);
  }
}

static void test_tuning(void) {
  mix m[2];
  int in[64] = {1}, out[40 * 70];
  static const struct { const char *env; int option, kept; } sizes[] = {{NULL, 0, 40}, {"3", 0, 3}, {"3", 5, 5}, {NULL, 1, 1}, {"-2", 0, 40}, {"many", 0, 40}};
  ty_pool_set_threads(2);
  for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
    if (sizes[k].env) setenv("LRU_CACHE_CAPACITY", sizes[k].env, 1);
    else unsetenv("LRU_CACHE_CAPACITY");
    ty_program *p = mixed_program(m);
    finish(p);
    if (sizes[k].option) ty_program_tune(p, &(ty_tuning){.sizes = sizes[k].option});
    for (int64_t i = 0; i < 80; i++) CHECK(run(p, &(int64_t){i % 40 + 1}, (void *[]){in}, (void *[]){out}, NULL));
    CHECK(p->kept.n == sizes[k].kept);
    uint64_t made = p->next_id;
    CHECK(made == (sizes[k].kept == 40 ? 40 : 80));
    CHECK(run(p, &(int64_t){40}, (void *[]){in}, (void *[]){out}, NULL) && p->next_id == made); /* the last one is there */
    ty_program_destroy(p);
  }
  unsetenv("LRU_CACHE_CAPACITY");
  ty_pool_set_threads(4);
  for (int threads = 0; threads <= 5; threads++) {
    int first[1024], n = 0;
    ty_program *p = program();
    ty_step_loop l = {.fn = where_fn, .nbufs = 1, .bufs = (ty_pbuf[]){buffer(p, TY_PB_OUTPUT, 0, sizeof first)}, .writes = (bool[]){true}, .rows = K(p, 1024), .cols = K(p, 1)};
    ty_step_info info = step(p, "where", true);
    ty_program_add_loop(p, &info, &l);
    finish(p);
    ty_program_tune(p, &(ty_tuning){.threads = threads});
    CHECK(run(p, NULL, NULL, (void *[]){first}, NULL));
    for (int i = 0; i < 1024; i++) n += first[i];
    CHECK(n == (threads == 0 || threads > 4 ? 4 : threads));
    ty_program_destroy(p);
  }
  static const struct { const char *env; int option; bool huge; } pages[] = {{NULL, 0, true}, {"0", 0, false}, {"1", 0, true}, {"0", 1, true}, {"1", -1, false}};
  bool can = !access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) && !check_emulated();
  for (size_t k = 0; can && k < sizeof pages / sizeof *pages; k++) {
    enum { BIG = 8 << 20 };
    if (pages[k].env) setenv("THP_MEM_ALLOC_ENABLE", pages[k].env, 1);
    else unsetenv("THP_MEM_ALLOC_ENABLE");
    ty_program *p = program();
    if (pages[k].option) ty_program_tune(p, &(ty_tuning){.huge_pages = pages[k].option});
    char *at = ty_rt_pages(p, BIG);
    CHECK(at && has_flag(at, pages[k].huge ? " hg" : " nh") && !has_flag(at, pages[k].huge ? " nh" : " hg"));
    if (at) at[BIG - 1] = 1;
    ty_pages_free(at, BIG);
    ty_program_destroy(p);
  }
  unsetenv("THP_MEM_ALLOC_ENABLE");
}

static void test_concurrent(void) {
  ty_pool_set_threads(2);
  static shared s;
  s.fold = fold_program(), s.mixed = mixed_program(s.m);
  ty_program_tune(s.mixed, &(ty_tuning){.sizes = 4});
  finish(s.fold), finish(s.mixed);
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 8; j++) s.v[i][j] = i + 1;
  ty_program_profile(s.mixed, true);
  pthread_t t[4];
  for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, hammer, &s);
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  ty_step_stat st;
  ty_program_stat(s.mixed, 1, &st);
  CHECK(st.calls == 800 && st.seconds > 0 && st.flops == 800e9 && st.bytes > 0 && !st.fold);
  CHECK_STR(st.name, "mixed");
  ty_program_profile(s.mixed, false);
  ty_program_stat(s.mixed, 99, &st);
  CHECK(st.calls == 0 && ty_program_nsteps(s.mixed) == 2);
  ty_str text = {0};
  ty_program_print(s.mixed, &text);
  CHECK_HAS(text.p, "buffer b1 arena i32 bytes=((rows*70)*4) 'mid'\n");
  CHECK_HAS(text.p, "reads=b1 writes=b2");
  ty_str_free(&text);
  ty_program_destroy(s.fold), ty_program_destroy(s.mixed);
}

/* ---- every allocation fails in turn ---- */

static void test_no_memory(void) {
  ty_pool_set_threads(2);
  mix m[2];
  int in[64] = {0}, v[4][8], out[40 * 70], x[4] = {1, 2, 3, 4};
  fold_set(v, x);
  bool done = false;
  int n = 0;
  for (n = 1; !done && n < 2000; n++) {
    bool ok = true;
    ty_alloc_fail_after(n);
    for (int which = 0; which < 2; which++) {
      ty_program *p = which ? fold_program() : mixed_program(m);
      if (!p) {
        ok = false;
        continue;
      }
      ty_program_literal(p, "abc", 3);
      ty_status st = ty_program_finish(p, ctx);
      int64_t rows = 12;
      ty_run r = {.syms = &rows, .inputs = which ? (void *[]){v[0], v[1], v[2], v[3]} : (void *[]){in}, .outputs = (void *[]){out}};
      if (st == TY_OK && (st = ty_program_run(p, ctx, &r)) != TY_OK) {
        if (ty_program_run(p, ctx, &r) != TY_OK) check_one(0, __FILE__, __LINE__, "a run after a failed one"); /* memory is back */
      }
      if (st != TY_OK && st != TY_NOMEM) check_one(0, __FILE__, __LINE__, ty_ctx_error(ctx));
      ok = ok && st == TY_OK;
      ty_program_destroy(p);
    }
    ty_alloc_fail_after(0);
    done = ok;
  }
  CHECK(done && n > 50);
}

/* ---- what a run costs beside its work ---- */
static void bench(int64_t rows, int threads, bool big) {
  ty_pool_set_threads(threads);
  ty_program *p = program();
  ty_pbuf in = buffer(p, TY_PB_INPUT, 0, 256), mid = buffer(p, TY_PB_ARENA, -1, rows * 280), out = buffer(p, TY_PB_OUTPUT, 0, rows * 280);
  mix m[2] = {{0, false, 0}, {0, false, 1}};
  ty_pexpr cols = K(p, 70);
  for (int i = 0; i < 2; i++) {
    ty_step_loop l = {.fn = mix_fn, .self = &m[i], .nbufs = 2, .bufs = i ? (ty_pbuf[]){out, mid} : (ty_pbuf[]){mid, in}, .writes = (bool[]){true, false}, .npars = 1, .pars = &cols,
                      .rows = K(p, rows), .cols = cols, .scratch_per_col = 4};
    ty_step_info info = step(p, "bench", big);
    ty_program_add_loop(p, &info, &l);
  }
  finish(p);
  int *o = malloc((size_t)rows * 280), x[64] = {0};
  ty_run r = {.inputs = (void *[]){x}, .outputs = (void *[]){o}};
  double best = 1;
  for (int round = 0; round < 30; round++) {
    double t = ty_now();
    for (int i = 0; i < 200; i++) ty_program_run(p, ctx, &r);
    t = (ty_now() - t) / 200;
    if (t < best) best = t;
  }
  double direct = 1;
  int scratch[70], *md = malloc((size_t)rows * 280);
  for (int round = 0; round < 30; round++) {
    double t = ty_now();
    for (int i = 0; i < 200; i++)
      for (int j = 0; j < 2; j++) mix_fn(&(ty_kargs){.buf = (void *[]){j ? o : md}, .par = (ty_i64[]){70}, .scratch = scratch, .self = &m[j]}, 0, rows, 0, 70);
    t = (ty_now() - t) / 200;
    if (t < direct) direct = t;
  }
  printf("rows %5lld threads %d %s: %.3f us a run of two steps, %.3f us the loops alone\n", (long long)rows, threads, big ? "told big" : "        ", best * 1e6, direct * 1e6);
  free(o), free(md);
  ty_program_destroy(p);
}

int main(int argc, char **argv) {
  ctx = ty_ctx_create();
  if (argc > 1 && !strcmp(argv[1], "--bench")) {
    for (int64_t rows = 1; rows <= 256; rows *= 4)
      for (int t = 1; t <= 2; t++)
        for (int big = 0; big < 2; big++) bench(rows, t, big);
    return 0;
  }
  test_plan();
  for (int i = 0; i < 40; i++) random_program(i);
  for (int t = 1; t <= 4; t++) {
    for (int packed = 0; packed < 2; packed++)
      for (int epi = 0; epi < 2; epi++) {
        test_gemm(1, 1, 37, 101, 65, packed, epi, t);
        test_gemm(2, 3, 5, 50, 33, packed, epi, t);
        test_gemm(1, 1, 1, 200, 128, packed, epi, t);
        test_gemm(1, 2, 3, 20, 0, packed, epi, t);
        test_gemm(1, 1, 0, 20, 7, packed, epi, t);
        test_gemm(0, 2, 3, 20, 7, packed, epi, t);
        test_gemm(1, 1, 4, 0, 7, packed, epi, t);
      }
    for (int i = 0; i < 8; i++) test_attn(19, 33, i & 1, i & 2, i & 4, t);
    test_attn(1, 40, false, false, false, t);
    test_attn(5, 0, false, false, false, t);
    test_attn(0, 9, true, false, false, t);
    test_scan(t);
  }
  test_half();
  test_gemm64();
  test_fold();
  test_errors();
  test_exprs();
  test_wanted();
  test_tuning();
  test_concurrent();
  test_no_memory();
  ty_pool_set_threads(0);
  ty_ctx_destroy(ctx);
  return check_done();
}
