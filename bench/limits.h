/* limits.h: what the benches of kernels share: threads that run a job together, and the machine's limits (FMA peak, bandwidth). */
#ifndef TY_BENCH_LIMITS_H
#define TY_BENCH_LIMITS_H
#include "kernel/kernel.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

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
/* The same of products of bf16 pairs, by an instruction that compilers only give through their intrinsics' types. */
#define PEAK_DOT(r) "vdpbf16ps %[x], %[x], " r "\n\t"
__attribute__((target("avx512f"))) static void peak_bf16(void) {
  v16 x = {0};
  for (int s = 0; s < PEAK_STEPS; s++)
    __asm__ volatile(PEAK_DOT("%%zmm20") PEAK_DOT("%%zmm21") PEAK_DOT("%%zmm22") PEAK_DOT("%%zmm23") PEAK_DOT("%%zmm24") PEAK_DOT("%%zmm25")
                     PEAK_DOT("%%zmm26") PEAK_DOT("%%zmm27") PEAK_DOT("%%zmm28") PEAK_DOT("%%zmm29") PEAK_DOT("%%zmm30") PEAK_DOT("%%zmm31")
                     : : [x] "v"(x) : "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
}
#endif
static const ty_products *products; /* what is measured; NULL: float32's */
static bool peak_is_dot(void) { return products && products->words; }
static void peak_job(int tid) {
  (void)tid;
#ifdef __x86_64__
  if (peak_is_dot()) peak_bf16();
  else if (isa == TY_ISA_AVX512) peak_avx512();
  else if (isa == TY_ISA_AVX2) peak_avx2();
  else
#endif
    peak_portable();
}
static double peak_flops(const ty_kernels *ks) { return (peak_is_dot() ? 4.0 : 2.0) * PEAK_STEPS * PEAK_CHAINS * ks->lanes; } /* per thread */

static float *memory; /* where reading is measured, and copies of weights lie */
static int by_value(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b; }
static double median(double *x, int n) {
  qsort(x, (size_t)n, sizeof *x, by_value);
  return x[n / 2];
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
