/* limits.h: what the benches of kernels share: threads that run a job together, the machine's limits (peak of products, bandwidth), common options. */
#ifndef TY_BENCH_LIMITS_H
#define TY_BENCH_LIMITS_H
#include "kernel/kernel.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum { THREADS_MAX = 64 };

/* Threads: each round, all run `job` with their number, and thread 0 takes the time from barrier to barrier. */
static int nt = 2;
static _Alignas(64) atomic_int arrived;
static _Alignas(64) atomic_int turn;
static void (*job)(int tid);
static bool quit;
static void barrier(void) {
  int t = atomic_load_explicit(&turn, memory_order_acquire);
  if (atomic_fetch_add(&arrived, 1) == nt - 1) {
    atomic_store(&arrived, 0);
    atomic_store_explicit(&turn, t + 1, memory_order_release);
  } else {
    while (atomic_load_explicit(&turn, memory_order_acquire) == t) {
#ifdef __x86_64__
      __builtin_ia32_pause();
#endif
    }
  }
}
static void *worker(void *arg) {
  for (;;) {
    barrier();
    if (quit) return NULL;
    job((int)(intptr_t)arg);
    barrier();
  }
}
static double run(void (*j)(int)) {
  job = j;
  barrier();
  double t = ty_now();
  j(0);
  barrier();
  return ty_now() - t;
}

/* Limits of the machine. */
static ty_isa isa;
static volatile float sink;
enum { PEAK_STEPS = 20000, PEAK_CHAINS = 12 };
typedef float v16 __attribute__((vector_size(64)));
typedef float v8 __attribute__((vector_size(32)));
typedef float v4 __attribute__((vector_size(16)));
#ifdef __x86_64__
#define PEAK_REG(r) "+v"(r)
#else
#define PEAK_REG(r) "+w"(r)
#endif
#define PEAK_BODY(v) \
  v x = {1.0f}, y = {0.5f}, a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x; \
  __asm__("" : PEAK_REG(a), PEAK_REG(b), PEAK_REG(c), PEAK_REG(d), PEAK_REG(e), PEAK_REG(f)); /* twelve chains that the compiler cannot tell to be one */ \
  __asm__("" : PEAK_REG(g), PEAK_REG(h), PEAK_REG(i), PEAK_REG(j), PEAK_REG(k), PEAK_REG(l)); \
  for (int s = 0; s < PEAK_STEPS; s++) { \
    a = a * y + x, b = b * y + x, c = c * y + x, d = d * y + x, e = e * y + x, f = f * y + x; \
    g = g * y + x, h = h * y + x, i = i * y + x, j = j * y + x, k = k * y + x, l = l * y + x; \
  } \
  a += b + c + d + e + f + g + h + i + j + k + l; \
  sink = a[0];
#ifdef __x86_64__
__attribute__((target("avx512f,fma"))) static void peak_avx512(void) { PEAK_BODY(v16) }
__attribute__((target("avx2,fma"))) static void peak_avx2(void) { PEAK_BODY(v8) }
#endif
static void peak_portable(void) { PEAK_BODY(v4) }
static ty_format precision; /* of packed weights */
#ifdef __x86_64__
#define DOT_PEAK(v, zero, op) \
  v x = zero, a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x; \
  __asm__("" : PEAK_REG(a), PEAK_REG(b), PEAK_REG(c), PEAK_REG(d), PEAK_REG(e), PEAK_REG(f)); \
  __asm__("" : PEAK_REG(g), PEAK_REG(h), PEAK_REG(i), PEAK_REG(j), PEAK_REG(k), PEAK_REG(l), PEAK_REG(x)); \
  for (int s = 0; s < PEAK_STEPS; s++) { \
    a = op(a), b = op(b), c = op(c), d = op(d), e = op(e), f = op(f), g = op(g), h = op(h), i = op(i), j = op(j), k = op(k), l = op(l); \
    __asm__("" : PEAK_REG(x)); \
  } \
  __asm__("" ::"v"(a), "v"(b), "v"(c), "v"(d), "v"(e), "v"(f), "v"(g), "v"(h), "v"(i), "v"(j), "v"(k), "v"(l));
#define DOT_INT8(c) _mm512_dpbusd_epi32(c, x, x)
#define DOT_BF16(c) _mm512_dpbf16_ps(c, (__m512bh)x, (__m512bh)x)
__attribute__((target("avx512f,avx512vnni"))) static void peak_int8(void) { DOT_PEAK(__m512i, _mm512_setzero_si512(), DOT_INT8) }
__attribute__((target("avx512f,avx512bf16"))) static void peak_bf16(void) { DOT_PEAK(__m512, _mm512_setzero_ps(), DOT_BF16) }
#endif
/* How many products of this precision the CPU adds at once, in a lane: 1 where they are float32's. */
static int peak_depth(const ty_kernels *ks) { return ty_products_get(ks, precision)->words && ks->isa == TY_ISA_AVX512 ? 32 / ty_formats[precision].bits : 1; }
static int peak_of_lane;
static void peak_job(int tid) {
  (void)tid;
#ifdef __x86_64__
  if (peak_of_lane == 4 && ty_cpu_get()->avx512_vnni) peak_int8();
  else if (peak_of_lane == 2) peak_bf16();
  else if (isa == TY_ISA_AVX512) peak_avx512();
  else if (isa == TY_ISA_AVX2) peak_avx2();
  else
#endif
    peak_portable();
}
static double peak_flops(const ty_kernels *ks) { return 2.0 * PEAK_STEPS * PEAK_CHAINS * ks->lanes * peak_of_lane; } /* per thread */

static float *memory; /* where reading is measured, and copies of weights lie */
static int by_value(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b; }
static double median(double *x, int n) {
  qsort(x, (size_t)n, sizeof *x, by_value);
  return x[n / 2];
}

/* Options that all have; the others are the bench's own. limits_ready after the last. */
static const char *json;
static int rounds = 12;
static bool limits_option(const char *name, const char *value) {
  if (!strcmp(name, "--json")) return json = value, true;
  if (!strcmp(name, "--threads")) return nt = atoi(value), nt >= 1 && nt <= THREADS_MAX;
  if (!strcmp(name, "--rounds")) return rounds = atoi(value), rounds > 0;
  if (!strcmp(name, "--precision")) return ty_format_parse(value, &precision);
  return !strcmp(name, "--isa") && ty_isa_parse(value, &isa);
}
static const ty_kernels *limits_ready(void) {
  const ty_kernels *ks = ty_kernels_get(isa);
  isa = ks->isa;
  peak_of_lane = peak_depth(ks);
  if (peak_of_lane == 4 && !ty_cpu_get()->avx512_vnni) peak_of_lane = 1;
  return ks;
}

static pthread_t threads[THREADS_MAX];
static void threads_start(void) {
  for (int i = 1; i < nt; i++) pthread_create(threads + i, NULL, worker, (void *)(intptr_t)i);
}
static void threads_stop(void) {
  quit = true;
  barrier();
  for (int i = 1; i < nt; i++) pthread_join(threads[i], NULL);
}
#endif
