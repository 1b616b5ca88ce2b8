/* test_kernel.h: what the kernel tests share: checks, random values, buffers that end at a page without access. */
#ifndef TY_TEST_KERNEL_H
#define TY_TEST_KERNEL_H
#include "kernel/kernel.h"
#include <math.h>
#include <string.h>
#include <sys/mman.h>

void check_at(bool ok, const char *file, int line, const char *fmt, ...) TY_PRINTF(4, 5);
#define CHECK(ok, ...) check_at(ok, __FILE__, __LINE__, __VA_ARGS__)

int test_rounds(int n); /* of n rounds with random values, those that were asked for */
void test_micro(const ty_kernels *);
void test_math(const ty_kernels *);
void test_pack(const ty_kernels *);
void test_gemm(const ty_kernels *, ty_format);
void test_products(void);
void test_gemm64(void);
void test_attn(const ty_kernels *);
void test_conv(const ty_kernels *, bool only_bf16);
bool test_multiplies(const ty_kernels *, ty_format); /* whether the tier has a row for the format */
void test_rnn(const ty_kernels *);
void test_quant(const ty_kernels *);
void test_quant_rows(void);

static uint64_t rnd_state = 1;
static inline uint32_t rnd(void) { rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u; return (uint32_t)(rnd_state >> 33); }
static inline float rndf(void) { return (float)((double)rnd() / 1073741824.0 - 1.0); }
static inline int64_t rnd_below(int64_t n) { return (int64_t)(rnd() % (uint64_t)n); }
static inline float bf16(float x) { /* to nearest even; by arithmetic on bits that is not the kernels' */
  uint32_t u;
  memcpy(&u, &x, 4);
  uint32_t low = u & 0xffff;
  if (x != x) u |= 0x400000;
  else if (low > 0x8000 || (low == 0x8000 && (u & 0x10000))) u += 0x10000;
  u &= 0xffff0000u;
  memcpy(&x, &u, 4);
  return x;
}
#define RND_OF(list) ((list)[rnd_below((int64_t)(sizeof(list) / sizeof *(list)))])

/* n floats that end exactly at an inaccessible page, filled with random values in [-1, 1]. */
typedef struct guarded { float *p; void *base; size_t bytes; } guarded;
static inline guarded guarded_make(int64_t n) {
  size_t body = ((size_t)n * 4 + 4095) / 4096 * 4096;
  guarded g = {.bytes = body + 8192};
  g.base = mmap(NULL, g.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mprotect(g.base, 4096, PROT_NONE);
  mprotect((char *)g.base + 4096 + body, 4096, PROT_NONE);
  g.p = (float *)((char *)g.base + 4096 + body) - n;
  for (int64_t i = 0; i < n; i++) g.p[i] = rndf();
  return g;
}
static inline void guarded_free(guarded g) { munmap(g.base, g.bytes); }
/* The same for scratch and packed B: 64-byte aligned, so up to 15 floats may lie between its end and the page. */
static inline guarded guarded_make64(int64_t bytes) {
  guarded g = guarded_make((bytes + 63) / 64 * 16);
  memset(g.p, 0xff, (size_t)((bytes + 63) / 64 * 64)); /* NaN: what is read must have been written */
  return g;
}
/* Relative to the size of the sum's terms. */
static inline bool near(float got, float want, double bound) {
  if (isnan(want) || isnan(got)) return isnan(want) && isnan(got);
  if (isinf(want) || isinf(got)) return want == got;
  return fabs((double)got - (double)want) <= bound;
}
#endif
