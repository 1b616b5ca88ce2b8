/* test_gemm.c: micro-kernels, packing, the GEMM driver and float64 GEMM against the references. */
#include "test_kernel.h"
#include <stdlib.h>

static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 95, 96, 97, 129};

void test_micro(const ty_kernels *ks) { /* every [nv][mr] of the tier, both ways of starting, in buffers of the exact size */
  static const int64_t depths[] = {0, 1, 2, 3, 4, 5, 8, 17, 64, 101};
  for (int nv = 1; nv * ks->lanes <= ks->nr; nv++)
    for (int mr = 1; mr <= ks->mr; mr++)
      for (int d = 0; d < 10; d++)
        for (int acc = 0; acc < 2; acc++) {
          int64_t k = depths[d], w = nv * ks->lanes, lda = k + d % 3, ldb = d % 2 ? w : ks->nr, ldc = w + d % 4;
          guarded a = guarded_make(k ? (mr - 1) * lda + k : 0), b = guarded_make(k ? (k - 1) * ldb + w : 0), c = guarded_make((mr - 1) * ldc + w);
          guarded was = guarded_make((mr - 1) * ldc + w);
          memcpy(was.p, c.p, (size_t)((mr - 1) * ldc + w) * 4);
          ks->f32->gemm[nv - 1][mr - 1](k, a.p, lda, b.p, ldb, c.p, ldc, acc, (const char *)b.p, 64);
          bool ok = true;
          for (int64_t i = 0; i < (mr - 1) * ldc + w; i++) {
            int64_t r = i / ldc, j = i % ldc;
            double want = (double)was.p[i], size = 1;
            if (j < w) {
              if (!acc) want = 0;
              for (int64_t p = 0; p < k; p++) want += (double)a.p[r * lda + p] * (double)b.p[p * ldb + j];
              size = 1 + (double)k / 4;
            }
            ok &= near(c.p[i], (float)want, j < w ? size * 4e-7 : 0);
          }
          CHECK(ok, "%s gemm nv %d mr %d k %ld accumulate %d", ks->name, nv, mr, (long)k, acc);
          guarded_free(a), guarded_free(b), guarded_free(c), guarded_free(was);
        }
}

void test_pack(const ty_kernels *ks) {
  for (int round = 0; round < test_rounds(300); round++) {
    int64_t k = RND_OF(sizes), n = RND_OF(sizes), pad = rnd_below(3);
    int form = round % 3; /* k contiguous, n contiguous, neither */
    int64_t ldk = form == 0 ? 1 : form == 1 ? n + pad : 2 * n + pad, ldn = form == 0 ? k + pad : form == 1 ? 1 : 2;
    int nr = 8 * (int)(1 + rnd_below(7)); /* the tier's own width, and those of others */
    int64_t floats = ty_packed_b_words(TY_FORMAT_f32, nr, k, n), panels = ty_packed_b_panels(nr, n);
    guarded b = guarded_make((k - 1) * ldk + (n - 1) * ldn + 1), d = guarded_make64(floats * 4);
    if (round % 2) ty_pack_b(ks, TY_FORMAT_f32, nr, k, n, b.p, ldk, ldn, d.p, 0, panels);
    else for (int64_t p = panels - 1; p >= 0; p--) ty_pack_b(ks, TY_FORMAT_f32, nr, k, n, b.p, ldk, ldn, d.p, p, p + 1);
    bool ok = true;
    for (int64_t i = 0; i < floats; i++) {
      int64_t q = i / (k * nr), p = i / nr % k, j = q * nr + i % nr;
      ok &= d.p[i] == (j < n ? b.p[p * ldk + j * ldn] : 0.0f);
    }
    CHECK(ok, "%s pack nr %d k %ld n %ld form %d", ks->name, nr, (long)k, (long)n, form);
    guarded_free(b), guarded_free(d);
  }
}

/* Context of the epilogue: C and a count of visits. */
typedef struct calls { const ty_gemm *g; float *c; uint8_t *seen; int64_t rows; bool bad; int tid; } calls;

static void epilogue(void *ctx, int tid, int64_t batch, int64_t m0, int64_t m1, int64_t n0, int64_t n1, const float *acc, int64_t ldacc) {
  calls *x = ctx;
  x->bad |= tid != x->tid || m0 >= m1 || m1 > x->g->m || n0 >= n1 || n1 > x->g->n || ldacc < n1 - n0;
  for (int64_t i = m0; i < m1; i++)
    for (int64_t j = n0; j < n1; j++) {
      x->c[batch / x->g->heads * x->g->c_batch + batch % x->g->heads * x->g->c_head + i * x->g->ldc + j] = acc[(i - m0) * ldacc + j - n0];
      x->seen[(batch * x->g->m + i) * x->g->n + j]++;
    }
}

enum { WITH_EPI = 1, STRIDED = 2, SHARED_B = 4, ALIASED = 8, ODD = 16 };

static void one_gemm(const ty_kernels *ks, ty_format format, int64_t m, int64_t n, int64_t k, int how, int nt) {
  ty_gemm g = {.format = format, .batch = 1 + rnd_below(3), .heads = 1 + rnd_below(3), .m = m, .n = n, .k = k};
  if (m * n * k > 1000000) g.batch = g.heads = 1;
  int64_t z = g.batch * g.heads, pad = m > 0 && n > 0 ? rnd_below(5) : 0;
  g.lda = how & ALIASED ? (k + 1023) / 1024 * 1024 : k + pad;
  g.a_head = m * g.lda, g.a_batch = g.heads * g.a_head;
  g.ldc = n + pad, g.c_head = m * g.ldc, g.c_batch = g.heads * g.c_head;
  bool nk = rnd_below(2); /* source stored [N, K] */
  int64_t ldk = nk ? 1 : n + pad, ldn = nk ? k + pad : 1, b_size = (nk ? n : k) * (nk ? k + pad : n + pad);
  if (how & ODD) ldk *= 2, ldn *= 2, b_size *= 2;
  int64_t b_count = how & SHARED_B ? 1 : z, packed;
  int nr = ks->nr * (int)(rnd_below(3) ? 1 + rnd_below(48 / ks->nr) : 1); /* weights packed for a wider tier, or the own */
  packed = ty_packed_b_words(format, nr, k, n);
  /* the last row ends at the page: nothing may be read or written after it */
  guarded a = guarded_make(z * m * g.lda - (g.lda - k)), b = guarded_make(b_count * b_size), c = guarded_make(z * m * g.ldc - pad);
  guarded was = guarded_make(z * m * g.ldc - pad), ref = guarded_make(z * m * g.ldc - pad), pb = guarded_make64(b_count * packed * 4);
  memcpy(was.p, c.p, (size_t)(z * m * g.ldc - pad) * 4);
  if (format != TY_FORMAT_f32) /* rounding is test_products.c's: here both sides are bf16 already */
    for (int64_t i = 0; i < z * m * g.lda - (g.lda - k) || i < b_count * b_size; i++) {
      if (i < z * m * g.lda - (g.lda - k)) a.p[i] = bf16(a.p[i]);
      if (i < b_count * b_size) b.p[i] = bf16(b.p[i]);
    }
  if (rnd_below(8) == 0 && m * k > 0) a.p[rnd_below(m) * g.lda + rnd_below(k)] = rnd_below(2) ? NAN : INFINITY;
  g.a = a.p, g.b = b.p, g.ldk = ldk, g.ldn = ldn, g.c = ref.p, g.b_strided = true;
  if (!(how & SHARED_B)) g.b_head = b_size, g.b_batch = g.heads * b_size;
  ty_gemm_f32_ref(&g);
  if (!(how & STRIDED)) {
    for (int64_t i = 0; i < b_count; i++) ty_pack_b(ks, format, nr, k, n, b.p + i * b_size, ldk, ldn, pb.p + i * packed, 0, ty_packed_b_panels(nr, n));
    g.b = pb.p, g.b_strided = false, g.b_nr = nr == ks->nr && rnd_below(2) ? 0 : nr;
    if (!(how & SHARED_B)) g.b_head = packed, g.b_batch = g.heads * packed;
  }
  calls x = {.g = &g, .c = c.p, .seen = calloc(1, (size_t)(z * m * n + 1))};
  g.c = c.p;
  if (how & WITH_EPI) g.epi = epilogue, g.epi_ctx = &x, g.c = NULL;
  ty_gemm next = g;
  if (rnd_below(2)) g.next = &next;
  guarded s = guarded_make64((int64_t)ty_gemm_f32_scratch(ks, &g));
  for (int t = nt - 1; t >= 0; t--) x.tid = t, ty_gemm_f32(ks, &g, t, nt, s.p);
  bool ok = true, whole = true, once = true;
  for (int64_t i = 0; i < z * m * g.ldc - pad; i++) {
    if (i % g.ldc < n) ok &= near(c.p[i], ref.p[i], (double)(k + 5) * 2e-7);
    else whole &= c.p[i] == was.p[i];
  }
  if (how & WITH_EPI) for (int64_t i = 0; i < z * m * n; i++) once &= x.seen[i] == 1;
  CHECK(ok && whole && once && !x.bad, "%s %s gemm nr %d m %ld n %ld k %ld batch %ld x %ld how %d nt %d: values %d padding %d once %d calls %d", ks->name, ty_formats[format].name,
        nr, (long)m, (long)n, (long)k, (long)g.batch, (long)g.heads, how, nt, ok, whole, once, !x.bad);
  free(x.seen);
  guarded_free(a), guarded_free(b), guarded_free(c), guarded_free(was), guarded_free(ref), guarded_free(pb), guarded_free(s);
}

void test_gemm(const ty_kernels *ks, ty_format format) {
  static const int threads[] = {1, 2, 3, 5, 64};
  if (!test_multiplies(ks, format)) return;
  for (int round = 0; round < test_rounds(format == TY_FORMAT_f32 ? 700 : 150); round++)
    one_gemm(ks, format, RND_OF(sizes), RND_OF(sizes), RND_OF(sizes), (int)rnd_below(32), RND_OF(threads));
  for (int i = 0; i < test_rounds(11); i++) { /* more than one block of rows, of k, and more than one tile */
    int how = 3 * i;
    one_gemm(ks, format, 300, 410, 900, how, threads[how % 5]);
    one_gemm(ks, format, 3, 2000, 1500, how, threads[how % 5]);
    one_gemm(ks, format, 140, 50, 2048, how, threads[how % 5]);
    one_gemm(ks, format, 9, 5, 0, how, threads[how % 5]);
    one_gemm(ks, format, 0, 5, 3, how, threads[how % 5]);
    one_gemm(ks, format, 5, 0, 3, how, threads[how % 5]);
  }
}

void test_gemm64(void) {
  for (int round = 0; round < test_rounds(200); round++) {
    int64_t m = RND_OF(sizes), n = RND_OF(sizes), k = RND_OF(sizes), nt = 1 + rnd_below(4);
    bool at = rnd_below(2), bt = rnd_below(2), ct = rnd_below(2);
    double *a = malloc((size_t)(2 * m * k) * 8), *b = malloc((size_t)(2 * n * k) * 8), *c = malloc((size_t)(2 * m * n) * 8);
    for (int64_t i = 0; i < 2 * m * k; i++) a[i] = (double)rndf();
    for (int64_t i = 0; i < 2 * n * k; i++) b[i] = (double)rndf();
    ty_gemm64 g = {.batch = 1, .heads = 2, .m = m, .n = n, .k = k, .a = a, .a_m = at ? 1 : k, .a_k = at ? m : 1, .a_head = m * k,
                   .b = b, .b_k = bt ? 1 : n, .b_n = bt ? k : 1, .b_head = n * k, .c = c, .c_m = ct ? 1 : n, .c_n = ct ? m : 1, .c_head = m * n};
    for (int t = 0; t < nt; t++) ty_gemm_f64(&g, t, (int)nt);
    bool ok = true;
    for (int64_t h = 0; h < 2; h++)
      for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
          double want = 0;
          for (int64_t p = 0; p < k; p++) want += a[h * m * k + i * g.a_m + p * g.a_k] * b[h * n * k + p * g.b_k + j * g.b_n];
          ok &= fabs(c[h * m * n + i * g.c_m + j * g.c_n] - want) <= 1e-14 * (double)(k + 1);
        }
    CHECK(ok, "gemm f64 m %ld n %ld k %ld", (long)m, (long)n, (long)k);
    free(a), free(b), free(c);
  }
}
