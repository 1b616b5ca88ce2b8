/* test_quant.c: weights of 8 and 4 bits: packing against its definition, every row of kernels.def against sums in double over the weights
 * that were packed, extremes that would saturate, rows that are zero or not finite. */
#include "test_kernel.h"
#include <stdlib.h>

static const ty_format formats[] = {TY_FORMAT_int8, TY_FORMAT_int8x8, TY_FORMAT_int8wo, TY_FORMAT_int8g32, TY_FORMAT_int4, TY_FORMAT_int4g32, TY_FORMAT_int4g128};
static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 47, 48, 49, 65, 97, 130};

/* ---- packing ---- */
static void one_pack(const ty_kernels *ks, ty_format f, int64_t k, int64_t n, int special) {
  const ty_format_info *info = &ty_formats[f];
  int nr = 8 * (int)(1 + rnd_below(8));
  bool nk = rnd_below(2);
  int64_t pad = rnd_below(3), ldk = nk ? 1 : n + pad, ldn = nk ? k + pad : 1, words = ty_packed_b_words(f, nr, k, n), panels = ty_packed_b_panels(nr, n);
  guarded b = guarded_make((k - 1) * ldk + (n - 1) * ldn + 1), d = guarded_make64(words * 4), e = guarded_make64(words * 4);
  int64_t col = rnd_below(n), row = rnd_below(k);
  if (special == 1) b.p[row * ldk + col * ldn] = rnd_below(2) ? NAN : -INFINITY;
  if (special == 2) for (int64_t i = 0; i < k; i++) b.p[i * ldk + col * ldn] = rnd_below(2) ? 0 : 1e-38f;
  if (special == 3) b.p[row * ldk + col * ldn] = 3.4e38f;
  if (special == 4) for (int64_t i = 0; i < k; i++) b.p[i * ldk + col * ldn] = (float)(rnd_below(256) - 128) * (info->group ? 0.0371f : 1.0f);
  for (int64_t p = panels - 1; p >= 0; p--) ty_pack_b(ks, f, nr, k, n, b.p, ldk, ldn, d.p, p, p + 1);
  ty_pack_b(ty_kernels_get(TY_ISA_PORTABLE), f, nr, k, n, b.p, ldk, ldn, e.p, 0, panels);
  bool ok = true, same = !memcmp(d.p, e.p, (size_t)words * 4);
  for (int64_t j = 0; j < n; j++)
    for (int64_t i = 0; i < k; i++) {
      int64_t g0 = info->group ? i / info->group * info->group : 0, g1 = info->group && g0 + info->group < k ? g0 + info->group : k;
      double top = 0, w = (double)b.p[i * ldk + j * ldn], got = ty_packed_b_value(f, nr, k, d.p, i, j);
      bool finite = true;
      for (int64_t r = g0; r < g1; r++) {
        double x = fabs((double)b.p[r * ldk + j * ldn]);
        finite &= isfinite(x), top = x > top ? x : top;
      }
      if (!finite) ok &= isnan(got);
      else if (top < 1e-30) ok &= got == 0;
      else if (special == 4 && j == col && info->bits == 8) ok &= fabs(got - w) <= (info->group ? 5e-7 * fabs(w) : 0); /* whole numbers stay what they are */
      else ok &= fabs(got - w) <= top / (info->bits == 8 ? 127 : 8) * (info->bits == 8 ? 0.501 : 1.001); /* four bits: +8 is not among them */
    }
  for (int64_t j = 0; j < n && info->extra; j++) { /* the sums of columns */
    int32_t want = 0, got;
    const float *panel = d.p + j / nr * nr * ty_format_rows(f, k) + j % nr;
    memcpy(&got, panel + (ty_format_rows(f, k) - 1) * nr, sizeof got);
    for (int64_t i = 0; i < k; i++) want += (int8_t)((const uint8_t *)(panel - j % nr + ty_format_word(f, nr, i / 4, j % nr)))[i % 4];
    ok &= got == want;
  }
  CHECK(ok && same, "%s pack %s nr %d k %ld n %ld special %d: values %d, same as portable %d", ks->name, info->name, nr, (long)k, (long)n, special, ok, same);
  guarded_free(b), guarded_free(d), guarded_free(e);
}

/* ---- the driver ---- */
typedef struct calls { const ty_gemm *g; float *c; } calls;
static void epilogue(void *ctx, int tid, int64_t batch, int64_t m0, int64_t m1, int64_t n0, int64_t n1, const float *acc, int64_t ldacc) {
  const calls *x = ctx;
  (void)tid, (void)batch;
  for (int64_t i = m0; i < m1; i++) memcpy(x->c + i * x->g->ldc + n0, acc + (i - m0) * ldacc, (size_t)(n1 - n0) * 4);
}

/* A row as 8 bits: its values as they count, false where it holds what is not finite. */
static bool row8(int64_t k, const float *a, double *as) {
  float lo = 0, hi = 0;
  for (int64_t i = 0; i < k; i++) {
    if (!isfinite(a[i])) return false;
    lo = a[i] < lo ? a[i] : lo, hi = a[i] > hi ? a[i] : hi;
  }
  float scale = hi / 255.0f - lo / 255.0f;
  bool any = scale > 1e-36f;
  float inverse = any ? 1.0f / scale : 0, zero = nearbyintf(-lo * inverse);
  for (int64_t i = 0; i < k; i++) {
    float q = nearbyintf(a[i] * inverse) + zero;
    q = q < 0 ? 0 : q > 255 ? 255 : q;
    as[i] = any ? ((double)q - (double)zero) * (double)scale : 0;
  }
  return true;
}

static bool is8(ty_format f) { return f == TY_FORMAT_int8 || f == TY_FORMAT_int8x8; } /* of both sides */

enum { EPI = 1, ODD_ROWS = 2 };
static void one_product(const ty_kernels *ks, ty_format f, int64_t m, int64_t n, int64_t k, int how, int nt) {
  int nr = ks->nr * (int)(rnd_below(2) ? 1 + rnd_below(48 / ks->nr) : 1);
  int64_t lda = k + rnd_below(4), ldc = n + rnd_below(4), words = ty_packed_b_words(f, nr, k, n);
  guarded a = guarded_make((m - 1) * lda + k), w = guarded_make(n * k), b = guarded_make64(words * 4), c = guarded_make((m - 1) * ldc + n);
  guarded was = guarded_make((m - 1) * ldc + n);
  memcpy(was.p, c.p, (size_t)((m - 1) * ldc + n) * 4);
  int64_t zeros = -1, bad = -1;
  if (how & ODD_ROWS) {
    zeros = rnd_below(m), bad = rnd_below(m);
    for (int64_t i = 0; i < k; i++) a.p[zeros * lda + i] = 0;
    a.p[bad * lda + rnd_below(k)] = rnd_below(2) ? NAN : INFINITY;
    if (m > 2) for (int64_t i = 0; i < k; i++) a.p[(bad + 1) % m * lda + i] = 1e-40f, a.p[(bad + 2) % m * lda + i] = (i % 2 ? 1.0f : -1.0f) * (is8(f) ? 3e38f : 1e34f); /* sums are scaled once a group */
  }
  ty_pack_b(ks, f, nr, k, n, w.p, 1, k, b.p, 0, ty_packed_b_panels(nr, n));
  ty_gemm g = {.batch = 1, .heads = 1, .m = m, .n = n, .k = k, .a = a.p, .lda = lda, .format = f, .b = b.p, .b_nr = nr, .c = c.p, .ldc = ldc};
  calls x = {&g, c.p};
  if (how & EPI) g.epi = epilogue, g.epi_ctx = &x, g.c = NULL;
  guarded s = guarded_make64((int64_t)ty_gemm_f32_scratch(ks, &g));
  for (int t = nt - 1; t >= 0; t--) ty_gemm_f32(ks, &g, t, nt, s.p);
  double *ws = malloc((size_t)(n * k) * 8), *as = malloc((size_t)k * 8);
  for (int64_t j = 0; j < n; j++)
    for (int64_t p = 0; p < k; p++) ws[j * k + p] = ty_packed_b_value(f, nr, k, b.p, p, j);
  bool ok = true, whole = true;
  for (int64_t i = 0; i < m; i++) {
    const float *row = a.p + i * lda;
    bool finite = !is8(f) || row8(k, row, as);
    for (int64_t p = 0; p < k && !is8(f); p++) as[p] = (double)row[p];
    for (int64_t j = 0; j < n; j++) {
      double sum = 0, size = 0;
      for (int64_t p = 0; p < k; p++) sum += as[p] * ws[j * k + p], size += fabs(as[p] * ws[j * k + p]);
      float got = c.p[i * ldc + j];
      if (!finite) ok &= isnan(got);
      else if (size > 1e38) ok &= is8(f) || isinf(got) || isnan(got) || fabs((double)got - sum) <= size * 1e-5;
      else ok &= near(got, (float)sum, size * (is8(f) ? 4e-7 : (double)(k + 5) * 2e-7) + 1e-37);
    }
    for (int64_t j = n; j < ldc && i + 1 < m; j++) whole &= c.p[i * ldc + j] == was.p[i * ldc + j];
  }
  CHECK(ok && whole, "%s gemm %s nr %d m %ld n %ld k %ld how %d nt %d: values %d padding %d", ks->name, ty_formats[f].name, nr, (long)m, (long)n, (long)k, how,
        nt, ok, whole);
  free(ws), free(as);
  guarded_free(a), guarded_free(w), guarded_free(b), guarded_free(c), guarded_free(was), guarded_free(s);
}

/* Rows of bytes times whole numbers: exact. */
static void one_of_bytes(const ty_kernels *ks, ty_format f, int64_t m, int64_t n, int64_t k, int nt, bool epi, bool ends) {
  int64_t lda = k + rnd_below(2) * rnd_below(5), ldc = n + rnd_below(4), words = ty_packed_b_words(f, ks->nr, k, n), from = rnd_below(2) * rnd_below(4);
  guarded a = guarded_make(((m - 1) * lda + k + from + 3) / 4), w = guarded_make(n * k), b = guarded_make64(words * 4), c = guarded_make((m - 1) * ldc + n);
  uint8_t *bytes = (uint8_t *)a.p + from;
  for (int64_t i = 0; i < m; i++) for (int64_t p = 0; p < k; p++) bytes[i * lda + p] = (uint8_t)(ends ? 255 : rnd_below(256));
  for (int64_t i = 0; i < n * k; i++) w.p[i] = (float)(ends ? -128 : rnd_below(256) - 128);
  ty_pack_b(ks, f, ks->nr, k, n, w.p, 1, k, b.p, 0, ty_packed_b_panels(ks->nr, n));
  ty_gemm g = {.batch = 1, .heads = 1, .m = m, .n = n, .k = k, .a = (const float *)(const void *)bytes, .lda = lda, .format = f, .bytes = true,
               .b = b.p, .c = c.p, .ldc = ldc};
  calls x = {&g, c.p};
  if (epi) g.epi = epilogue, g.epi_ctx = &x, g.c = NULL;
  guarded s = guarded_make64((int64_t)ty_gemm_f32_scratch(ks, &g));
  for (int t = nt - 1; t >= 0; t--) ty_gemm_f32(ks, &g, t, nt, s.p);
  bool ok = true;
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      int32_t sum = 0, got;
      for (int64_t p = 0; p < k; p++) sum += bytes[i * lda + p] * (int32_t)w.p[j * k + p];
      memcpy(&got, &c.p[i * ldc + j], sizeof got);
      ok &= got == sum;
    }
  CHECK(ok, "%s bytes m %ld n %ld k %ld lda %ld from %ld nt %d", ks->name, (long)m, (long)n, (long)k, (long)lda, (long)from, nt);
  guarded_free(a), guarded_free(w), guarded_free(b), guarded_free(c), guarded_free(s);
}

void test_quant(const ty_kernels *ks) {
  static const int threads[] = {1, 2, 3, 64};
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
    for (int round = 0; round < test_rounds(60); round++) one_pack(ks, formats[i], rnd_below(3) ? RND_OF(sizes) : 1 + rnd_below(400), RND_OF(sizes), round % 5);
    if (!test_multiplies(ks, formats[i])) continue;
    for (int round = 0; round < test_rounds(80); round++)
      one_product(ks, formats[i], RND_OF(sizes), RND_OF(sizes), RND_OF(sizes), (int)rnd_below(4), RND_OF(threads));
    for (int round = 0; (formats[i] == TY_FORMAT_int8 || formats[i] == TY_FORMAT_int8x8) && round < test_rounds(60); round++)
      one_of_bytes(ks, formats[i], RND_OF(sizes), RND_OF(sizes), RND_OF(sizes), RND_OF(threads), rnd_below(2), rnd_below(4) == 0);
    one_product(ks, formats[i], 150, 100, 1700, EPI, 2);
    one_product(ks, formats[i], 33, 60, 3300, 0, 1);
    one_product(ks, formats[i], 1, 700, 515, EPI, 3);
  }
}

/* ---- rows of the table ---- */
/* All bytes at their ends, k as large as it may be: nothing saturates, on the way or in the end. Each row gives the same bits. */
static void extremes(const ty_kernels *ks, const ty_products *row, int64_t k) {
  ty_format f = row->format;
  int64_t rows = ty_format_rows(f, k), unit = ty_format_unit(f), together = row->pairs ? 2 : 1, part = 4 * unit;
  int nr = ks->nr;
  guarded a = guarded_make(ks->mr * k), w = guarded_make(nr * k), b = guarded_make64(rows * nr * 4), c = guarded_make(ks->mr * nr), q = guarded_make64(ks->mr * rows * 4);
  for (int64_t i = 0; i < ks->mr; i++)
    for (int64_t p = 0; p < k; p++) a.p[i * k + p] = i == 0 ? 1 : i == 1 ? -1 : i == 2 ? (p % 2 ? 1.0f : -1.0f) : rndf();
  for (int64_t j = 0; j < nr; j++)
    for (int64_t p = 0; p < k; p++) w.p[j * k + p] = j == 0 ? 0.75f : j == 1 ? -0.75f : j == 2 ? (p % 2 ? 0.75f : -0.75f) : rndf();
  ty_pack_b(ks, f, nr, k, nr, w.p, 1, k, b.p, 0, 1);
  for (int64_t i = 0; i < ks->mr; i += together) row->words(k, a.p + i * k, a.p + (i + 1) * k, q.p + i * rows);
  for (int nv = 1; nv <= nr / ks->lanes; nv++)
    for (int mr = 1; mr <= ks->mr; mr++) {
      int64_t half = (rows - 2) / 2 / unit * unit;
      for (int64_t i = 0; i < ks->mr * nr; i++) c.p[i] = -7;
      if (half) row->gemm[nv - 1][mr - 1](half, q.p, rows, b.p, nr * unit, c.p, nr, 0, (const char *)b.p, 0);
      row->gemm[nv - 1][mr - 1](rows - 2 - half, q.p + half * together, rows, b.p + half * nr, nr * unit, c.p, nr, half > 0, (const char *)b.p, 0);
      row->finish(mr, nv, q.p + (rows - 2) * together, rows, b.p + (rows - 2) * nr, nr, c.p, nr);
      bool ok = true, rest = true;
      for (int64_t i = 0; i < ks->mr * nr; i++) {
        int64_t r = i / nr, j = i % nr;
        if (r >= mr || j >= nv * ks->lanes) { rest &= c.p[i] == -7; continue; }
        if (r < 3 && j < 3) {
          double sum = 0;
          for (int64_t p = 0; p < k; p++) sum += (double)a.p[r * k + p] * (double)w.p[j * k + p];
          ok &= fabs((double)c.p[i] - sum) <= (double)k * (r == 2 ? 4.5e-3 : 1e-6); /* from -1 to 1 there is no step at 0 */
        }
        uint8_t *x = (uint8_t *)(q.p + r / together * together * rows) + r % together * part;
        const float *ends = q.p + r / together * together * rows + (rows - 2) * together + r % together * 2;
        int32_t zero, sum = 0;
        memcpy(&zero, ends + 1, sizeof zero);
        for (int64_t p = 0; p < k; p++) {
          uint8_t byte = x[p / part * part * together + p % part];
          sum += ((row->less ? (int8_t)byte : byte) - zero) * (int8_t)((uint8_t *)(b.p + ty_format_word(f, nr, p / 4, j)))[p % 4];
        }
        ok &= c.p[i] == (float)sum * (ends[0] * b.p[(rows - 2) * nr + j]);
      }
      CHECK(ok && rest, "%s int8 k %ld mr %d nv %d: values %d rest %d", row->name, (long)k, mr, nv, ok, rest);
    }
  guarded_free(a), guarded_free(w), guarded_free(b), guarded_free(c), guarded_free(q);
}

void test_quant_rows(void) {
  const ty_kernels *ks;
  bool runs;
  const ty_products *row;
  for (int i = 0; (row = ty_products_row(i, &ks, &runs)); i++) {
    if (!is8(row->format) || !runs) continue;
    extremes(ks, row, 1), extremes(ks, row, 7), extremes(ks, row, 260);
    extremes(ks, row, ks->isa ? TY_INT8_K_MAX : 20000);
  }
}
