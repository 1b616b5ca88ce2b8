/* test_products.c: weights of other formats than float32: their rounding and packing bit for bit, and each row's micro-kernels. */
#include "test_kernel.h"

static uint32_t bits(float x) { uint32_t u; memcpy(&u, &x, 4); return u; }

/* Values that rounding must take care of, and random ones of all sizes. Denormals only where they are kept. */
static float odd_value(bool denormals) {
  static const uint32_t list[] = {0x7f800000, 0xff800000, 0x7fc00001, 0x7f800001, 0xffffffff, 0x7f7fffff, 0xff7f8000, 0x7f7f7fff, 0x3f808000, 0x3f818000,
                                  0x3f808001, 0x3f80ffff, 0x00000000, 0x80000000, 0x00800000, 0x80ffffff, 0x0080ffff};
  uint32_t u = rnd_below(3) ? rnd() << 1 ^ rnd() >> 8 : RND_OF(list);
  if (!denormals && !(u & 0x7f800000)) u &= 0x80000000;
  float x;
  memcpy(&x, &u, 4);
  return x;
}
static bool same_half(uint32_t half, float x) { /* NaN may differ in payload */
  uint32_t want = bits(bf16(x)) >> 16;
  return x != x ? (half & 0x7fc0) == 0x7fc0 : half == want;
}

static void pack(const ty_kernels *ks) {
  for (int round = 0; round < test_rounds(200); round++) {
    int64_t k = rnd_below(140), n = 1 + rnd_below(130), pad = rnd_below(3);
    bool nk = rnd_below(2);
    int64_t ldk = nk ? 1 : n + pad, ldn = nk ? k + pad : 1;
    int nr = round % 20 == 0 ? 1600 : 8 * (int)(1 + rnd_below(7));
    int64_t rows = ty_format_rows(TY_FORMAT_bf16, k), words = ty_packed_b_words(TY_FORMAT_bf16, nr, k, n), panels = ty_packed_b_panels(nr, n);
    guarded b = guarded_make(k ? (k - 1) * ldk + (n - 1) * ldn + 1 : 0), d = guarded_make64(words * 4);
    for (int64_t i = 0; k && i < (k - 1) * ldk + (n - 1) * ldn + 1; i++) b.p[i] = odd_value(true);
    for (int64_t p = panels - 1; p >= 0; p--) ty_pack_b(ks, TY_FORMAT_bf16, nr, k, n, b.p, ldk, ldn, d.p, p, p + 1);
    bool ok = rows == (k + 1) / 2;
    for (int64_t i = 0; i < words; i++) {
      int64_t p = i / nr % rows * 2, j = i / (rows * nr) * nr + i % nr;
      uint32_t w = bits(d.p[i]);
      ok &= same_half(w & 0xffff, j < n ? b.p[p * ldk + j * ldn] : 0.0f) && same_half(w >> 16, j < n && p + 1 < k ? b.p[(p + 1) * ldk + j * ldn] : 0.0f);
    }
    CHECK(ok, "%s pack bf16 nr %d k %ld n %ld [N, K] %d", ks->name, nr, (long)k, (long)n, nk);
    guarded_free(b), guarded_free(d);
  }
}

static void words_of_rows(const ty_products *by) {
  for (int64_t k = 0; k < 140; k++) {
    guarded a = guarded_make(k), w = guarded_make((k + 1) / 2);
    for (int64_t i = 0; i < k; i++) a.p[i] = odd_value(false);
    by->words(k, a.p, w.p);
    bool ok = true;
    for (int64_t i = 0; i < (k + 1) / 2; i++)
      ok &= same_half(bits(w.p[i]) & 0xffff, a.p[2 * i]) && same_half(bits(w.p[i]) >> 16, 2 * i + 1 < k ? a.p[2 * i + 1] : 0.0f);
    CHECK(ok, "%s words of %ld values", by->name, (long)k);
    guarded_free(a), guarded_free(w);
  }
}

/* Every [nv][mr], both ways of starting, in buffers of the exact size, for gemm (runs == 1) and conv; bounded by float64 of the same
 * bf16 values: what is rounded is each sum, at most twice a value of k. */
static void micro(const ty_kernels *ks, const ty_products *by) {
  static const int64_t depths[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 17, 64, 101};
  for (int nv = 1; nv * ks->lanes <= ks->nr; nv++)
    for (int mr = 1; mr <= ks->mr; mr++)
      for (int d = (int)rnd_below(36 / test_rounds(36)); d < 36; d += 36 / test_rounds(36)) {
        int64_t runs = 1 + d / 12, k = depths[d % 12], kr = ty_format_rows(by->format, k), w = nv * ks->lanes, acc = rnd_below(2);
        int64_t ka = by->words ? kr : k, each = runs == 1 ? ka : ka + rnd_below(3), lda = runs * each + rnd_below(3), ldb = rnd_below(2) ? w : ks->nr, ldc = w + rnd_below(4);
        int64_t na = ka ? (mr - 1) * lda + (runs - 1) * each + ka : 0;
        guarded a = guarded_make(na), b = guarded_make(kr ? (runs * kr - 1) * ldb + w : 0), c = guarded_make((mr - 1) * ldc + w), was = guarded_make((mr - 1) * ldc + w);
        memcpy(was.p, c.p, (size_t)((mr - 1) * ldc + w) * 4);
        for (int64_t i = 0; kr && i < (runs * kr - 1) * ldb + w; i++) ks->pair(1, &(float){rndf()}, &(float){rndf()}, b.p + i);
        for (int64_t i = 0; i < na; i++) {
          float x[2] = {rndf(), rndf()};
          if (by->words) by->words(2, x, a.p + i);
        }
        ty_conv_run run[3];
        for (int64_t i = 0; i < runs; i++) run[i] = (ty_conv_run){ka, i * each, (runs - 1 - i) * kr};
        if (runs == 1) by->gemm[nv - 1][mr - 1](ka, a.p, lda, b.p, ldb, c.p, ldc, (int)acc, (const char *)b.p, 64);
        else by->conv[nv - 1][mr - 1](runs, run, a.p, lda, b.p, ldb, c.p, ldc, (int)acc, (const char *)b.p, 64);
        bool ok = true;
        for (int64_t i = 0; i < (mr - 1) * ldc + w; i++) {
          int64_t r = i / ldc, j = i % ldc;
          double want = (double)was.p[i], size = fabs(want);
          if (j < w && !acc) want = size = 0;
          for (int64_t q = 0; q < runs && j < w; q++)
            for (int64_t p = 0; p < (by->words ? 2 * kr : k); p++) {
              float x = a.p[r * lda + q * each + (by->words ? p / 2 : p)], y = b.p[((runs - 1 - q) * kr + p / 2) * ldb + j];
              uint32_t ux = by->words ? p % 2 ? bits(x) & 0xffff0000u : bits(x) << 16 : bits(x), uy = p % 2 ? bits(y) & 0xffff0000u : bits(y) << 16;
              memcpy(&x, &ux, 4), memcpy(&y, &uy, 4);
              want += (double)x * (double)y, size += fabs((double)x * (double)y);
            }
          ok &= j < w ? fabs((double)c.p[i] - want) <= size * (double)(2 * runs * k + 2) * 0x1p-24 : c.p[i] == was.p[i];
        }
        CHECK(ok, "%s products nv %d mr %d runs %ld k %ld accumulate %ld", by->name, nv, mr, (long)runs, (long)k, (long)acc);
        guarded_free(a), guarded_free(b), guarded_free(c), guarded_free(was);
      }
}

void test_products(void) {
  const ty_products *by;
  const ty_kernels *ks;
  bool runs;
  for (int i = 0; (by = ty_products_row(i, &ks, &runs)); i++) {
    if (!runs) continue;
    CHECK(ty_products_get(ks, TY_FORMAT_f32) == ks->f32 && ty_products_get(ks, by->format)->format == by->format, "%s: no products", by->name);
    if (by->format != TY_FORMAT_bf16) continue;
    pack(ks);
    micro(ks, by);
    if (by->words) words_of_rows(by);
  }
}
