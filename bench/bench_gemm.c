/* bench_gemm.c: GEMM speed beside the machine's own limits, measured in turn with each size, so that noise hits both.
 *
 * bench_gemm [--json FILE] [--threads N] [--isa NAME] [--rounds R] [--only M,N,K]
 *            [--precision f32|bf16|int8|int8wo|int4|int4g32|int4g128: the format of weights]
 * "cold": each call takes the next of many copies of the weights, as the layers of a model do, and is told
 * of the one after (ty_gemm.next), so B comes from memory. "warm":
 * one copy, that stays in cache where it fits. Limits: peak of these products (of the FMA, or of the instruction that multiplies
 * pairs of bf16 or bytes, where that is used), and read bandwidth of the same threads. roof: the lower of peak and what the bandwidth allows
 * if B is read once. Figures: best round of each; a cold round is the median of its calls, a warm one the best. */
#include "limits.h"

enum { CALLS_MAX = 150 };
static const int64_t rows[] = {1, 8, 16, 32, 64, 128, 512};
static const int64_t shapes[][2] = {{768, 768}, {2304, 768}, {3072, 768}, {768, 3072}, {1152, 384}, {384, 384}, {1536, 384}, {384, 1536}}; /* N, K */
static const size_t cold_bytes = 256 << 20;

static size_t read_at, read_bytes;
#define READ_BODY(v) \
  v s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}; \
  for (const v *q = (const v *)p; q < (const v *)end; q += 4) s0 += q[0], s1 += q[1], s2 += q[2], s3 += q[3]; \
  s0 += s1 + s2 + s3; \
  sink = s0[0];
#ifdef __x86_64__
__attribute__((target("avx512f"))) static void read_avx512(const char *p, const char *end) { READ_BODY(v16) }
#endif
static void read_portable(const char *p, const char *end) { READ_BODY(v4) }
static void read_job(int tid) {
  size_t share = read_bytes / (size_t)nt / 1024 * 1024;
  const char *p = (const char *)memory + read_at + share * (size_t)tid;
#ifdef __x86_64__
  if (isa == TY_ISA_AVX512) read_avx512(p, p + share);
  else
#endif
    read_portable(p, p + share);
}

static const ty_kernels *ks;
static ty_gemm gemm, following;
static void *scratch[THREADS_MAX];
static void gemm_job(int tid) { ty_gemm_f32(ks, &gemm, tid, nt, scratch[tid]); }

typedef struct row { int64_t m, n, k; double cold, warm, peak, read, read_warm; } row; /* seconds; flop/s; bytes/s */

static row measure(int64_t m, int64_t n, int64_t k) {
  row r = {m, n, k, 1e9, 1e9, 0, 0, 0};
  size_t floats = (size_t)ty_packed_b_words(format, ks->nr, k, n), bytes = (floats * 4 + 4095) / 4096 * 4096, copies = cold_bytes / bytes;
  float *a = ty_pages_alloc((size_t)(m * k) * 4), *c = ty_pages_alloc((size_t)(m * n) * 4);
  for (int64_t i = 0; i < m * k; i++) a[i] = (float)(i % 7) * 0.1f;
  gemm = (ty_gemm){.format = format, .batch = 1, .heads = 1, .m = m, .n = n, .k = k, .a = a, .lda = k, .b = memory, .c = c, .ldc = n};
  size_t need = ty_gemm_f32_scratch(ks, &gemm);
  for (int i = 0; i < nt; i++) scratch[i] = ty_pages_alloc(need);
  double flop = 2.0 * (double)m * (double)n * (double)k;
  int calls = (int)(2e8 / flop) + 3;
  size_t at = 0;
  if (calls > CALLS_MAX) calls = CALLS_MAX;
  for (int i = 0; i < rounds; i++) {
    double t = run(peak_job);
    if (peak_flops(ks) * nt / t > r.peak) r.peak = peak_flops(ks) * nt / t;
    double best = 1e9, each[CALLS_MAX];
    for (int j = 0; j < calls; j++) {
      gemm.b = memory + at++ % copies * (bytes / 4);
      following = gemm, following.b = memory + at % copies * (bytes / 4), gemm.next = &following;
      each[j] = run(gemm_job);
    }
    gemm.next = NULL;
    t = median(each, calls);
    if (t < r.cold) r.cold = t;
    for (int j = 0; j < calls; j++) {
      read_at = at++ % copies * bytes, read_bytes = bytes;
      each[j] = run(read_job);
    }
    double bw = (double)bytes / median(each, calls);
    if (bw > r.read) r.read = bw;
    gemm.b = memory, read_at = 0;
    for (int j = 0; j < calls; j++) t = run(gemm_job), best = t < best ? t : best;
    if (best < r.warm) r.warm = best;
    for (int j = 0; j < 20; j++) t = run(read_job), r.read_warm = (double)bytes / t > r.read_warm ? (double)bytes / t : r.read_warm;
  }
  for (int i = 0; i < nt; i++) ty_pages_free(scratch[i], need);
  ty_pages_free(a, (size_t)(m * k) * 4), ty_pages_free(c, (size_t)(m * n) * 4);
  return r;
}

int main(int argc, char **argv) {
  long om = 0, on = 0, ok = 0;
  isa = ty_cpu_get()->isa;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (limits_option(argv[i], argv[i + 1])) continue;
    else if (!strcmp(argv[i], "--only") && sscanf(argv[i + 1], "%ld,%ld,%ld", &om, &on, &ok) == 3) continue;
    else return fprintf(stderr, "bench_gemm: cannot read %s %s\n", argv[i], argv[i + 1]), 1;
  }
  ks = limits_ready();
  memory = ty_pages_alloc(cold_bytes);
  for (size_t i = 0; i < cold_bytes / 4; i++) memory[i] = format == TY_FORMAT_f32 ? (float)(i % 11) * 0.01f : 0.011f; /* whose halves are bf16 of a like size or so */
  threads_start();
  FILE *f = json ? fopen(json, "w") : NULL;
  if (f) fprintf(f, "{\"isa\": \"%s\", \"precision\": \"%s\", \"threads\": %d, \"rows\": [", products->name, ty_formats[format].name, nt);
  printf("%s, %s, %d threads; GF: GFLOP/s; %%pk: of the peak; %%rf: of the roof; GB: GB/s of B read; %%bw: of read bandwidth, same place\n", products->name, ty_formats[format].name, nt);
  printf("%4s %5s %5s | %7s %6s %6s | %7s %5s %5s %6s %5s | %7s %5s %6s %5s\n", "M", "N", "K", "peak", "rd GB", "rdW GB", "cold GF", "%pk", "%rf", "GB",
         "%bw", "warm GF", "%pk", "GB", "%bw");
  bool first = true;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) {
      if (om && i + j > 0) continue;
      int64_t m = om ? om : rows[i], n = om ? on : shapes[j][0], k = om ? ok : shapes[j][1];
      row r = measure(m, n, k);
      double flop = 2.0 * (double)m * (double)n * (double)k, bytes = 4.0 * (double)ty_packed_b_words(format, ks->nr, k, n), roof = r.peak;
      if (flop / (bytes / r.read) < roof) roof = flop / (bytes / r.read);
      printf("%4ld %5ld %5ld | %7.1f %6.1f %6.1f | %7.1f %5.1f %5.1f %6.1f %5.1f | %7.1f %5.1f %6.1f %5.1f\n", (long)m, (long)n, (long)k, r.peak / 1e9,
             r.read / 1e9, r.read_warm / 1e9, flop / r.cold / 1e9, 100 * flop / r.cold / r.peak, 100 * flop / r.cold / roof, bytes / r.cold / 1e9,
             100 * bytes / r.cold / r.read, flop / r.warm / 1e9, 100 * flop / r.warm / r.peak, bytes / r.warm / 1e9, 100 * bytes / r.warm / r.read_warm);
      fflush(stdout);
      if (f)
        fprintf(f, "%s\n {\"m\": %ld, \"n\": %ld, \"k\": %ld, \"peak_gflops\": %.2f, \"read_gbs\": %.2f, \"read_warm_gbs\": %.2f, \"cold_us\": %.3f, "
                "\"warm_us\": %.3f, \"cold_gflops\": %.2f, \"warm_gflops\": %.2f, \"cold_of_peak\": %.4f, \"warm_of_peak\": %.4f, \"cold_of_roof\": %.4f}",
                first ? "" : ",", (long)m, (long)n, (long)k, r.peak / 1e9, r.read / 1e9, r.read_warm / 1e9, r.cold * 1e6, r.warm * 1e6, flop / r.cold / 1e9,
                flop / r.warm / 1e9, flop / r.cold / r.peak, flop / r.warm / r.peak, flop / r.cold / roof);
      first = false;
    }
  if (f) fprintf(f, "\n]}\n"), fclose(f);
  threads_stop();
  ty_pages_free(memory, cold_bytes);
  return 0;
}
