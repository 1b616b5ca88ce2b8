/* limits.h: what the benches of kernels share: threads that run a job together, the machine's limits (peak of products, bandwidth), options. */
#ifndef TY_BENCH_LIMITS_H
#define TY_BENCH_LIMITS_H
#include "kernel/kernel.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
#ifdef __x86_64__
/* The same of products of bf16 pairs, and of four bytes, by instructions that compilers only give through their intrinsics' types. */
#define PEAK_DOT(op, r) op " %[x], %[x], " r "\n\t"
#define PEAK_DOTS(op) \
  v16 x = {0}; \
  for (int s = 0; s < PEAK_STEPS; s++) \
    __asm__ volatile(PEAK_DOT(op, "%%zmm20") PEAK_DOT(op, "%%zmm21") PEAK_DOT(op, "%%zmm22") PEAK_DOT(op, "%%zmm23") PEAK_DOT(op, "%%zmm24") \
                     PEAK_DOT(op, "%%zmm25") PEAK_DOT(op, "%%zmm26") PEAK_DOT(op, "%%zmm27") PEAK_DOT(op, "%%zmm28") PEAK_DOT(op, "%%zmm29") \
                     PEAK_DOT(op, "%%zmm30") PEAK_DOT(op, "%%zmm31") \
                     : : [x] "v"(x) : "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
__attribute__((target("avx512f"))) static void peak_bf16(void) { PEAK_DOTS("vdpbf16ps") }
__attribute__((target("avx512f"))) static void peak_int8(void) { PEAK_DOTS("vpdpbusd") }
#endif
static ty_format format;            /* of weights */
static const ty_products *products; /* what multiplies by them */
/* How many products the instruction of these kernels adds in a lane; 1: float32's FMA is the limit, also where weights are widened. */
static int peak_depth(void) {
  if (!products->words || isa != TY_ISA_AVX512) return 1;
  return format == TY_FORMAT_int8 ? (ty_cpu_get()->avx512_vnni ? 4 : 1) : 2;
}
static void peak_job(int tid) {
  (void)tid;
#ifdef __x86_64__
  int depth = peak_depth();
  if (depth == 4) peak_int8();
  else if (depth == 2) peak_bf16();
  else if (isa == TY_ISA_AVX512) peak_avx512();
  else if (isa == TY_ISA_AVX2) peak_avx2();
  else
#endif
    peak_portable();
}
static double peak_flops(const ty_kernels *ks) { return 2.0 * peak_depth() * PEAK_STEPS * PEAK_CHAINS * ks->lanes; } /* per thread */

static float *memory; /* where reading is measured, and copies of weights lie */
static int by_value(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b; }
static double median(double *x, int n) {
  qsort(x, (size_t)n, sizeof *x, by_value);
  return x[n / 2];
}

/* Options that all have; limits_ready after the last. */
static const char *json;
static int rounds = 12;
static bool limits_option(const char *name, const char *value) {
  if (!strcmp(name, "--json")) return json = value, true;
  if (!strcmp(name, "--threads")) return nt = atoi(value), nt >= 1 && nt <= THREADS_MAX;
  if (!strcmp(name, "--rounds")) return rounds = atoi(value), rounds > 0;
  if (!strcmp(name, "--precision")) return ty_format_parse(value, &format);
  return !strcmp(name, "--isa") && ty_isa_parse(value, &isa);
}
static const ty_kernels *limits_ready(void) {
  const ty_kernels *ks = ty_kernels_get(isa);
  isa = ks->isa, products = ty_products_get(ks, format);
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
