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

static void pack(const ty_kernels *ks, ty_format format) {
  for (int round = 0; round < test_rounds(200); round++) {
    int64_t k = rnd_below(140), n = 1 + rnd_below(130), pad = rnd_below(3);
    bool nk = rnd_below(2);
    int64_t ldk = nk ? 1 : n + pad, ldn = nk ? k + pad : 1, per = ty_formats[format].per;
    int nr = round % 20 == 0 ? 1600 : 8 * (int)(1 + rnd_below(7));
    int64_t rows = ty_format_rows(format, k), words = ty_packed_b_words(format, nr, k, n), panels = ty_packed_b_panels(nr, n);
    guarded b = guarded_make(k ? (k - 1) * ldk + (n - 1) * ldn + 1 : 0), d = guarded_make64(words * 4);
    for (int64_t i = 0; k && i < (k - 1) * ldk + (n - 1) * ldn + 1; i++) b.p[i] = odd_value(true);
    for (int64_t p = panels - 1; p >= 0; p--) ty_pack_b(ks, format, nr, k, n, b.p, ldk, ldn, d.p, p, p + 1);
    bool ok = rows == (k + per - 1) / per * per / 2 && words == panels * nr * rows;
    for (int64_t j = 0; j < panels * nr; j++)
      for (int64_t r = 0; r < rows; r++) { /* per / 2 words of a column stand together */
        uint32_t w = bits(d.p[j / nr * nr * rows + r / (per / 2) * (per / 2) * nr + j % nr * (per / 2) + r % (per / 2)]);
        for (int64_t p = 2 * r; p < 2 * r + 2; p++) ok &= same_half(p % 2 ? w >> 16 : w & 0xffff, j < n && p < k ? b.p[p * ldk + j * ldn] : 0.0f);
      }
    CHECK(ok, "%s pack %s nr %d k %ld n %ld [N, K] %d", ks->name, ty_formats[format].name, nr, (long)k, (long)n, nk);
    guarded_free(b), guarded_free(d);
  }
}

/* Where the w-th word of row r of A is, from the first of a run on; rows are lda words long. */
static int64_t a_word(const ty_products *by, int64_t lda, int64_t r, int64_t w) {
  int64_t unit = ty_format_unit(by->format);
  return by->pairs ? r / 2 * 2 * lda + w / unit * 2 * unit + r % 2 * unit + w % unit : r * lda + w;
}

static void words_of_rows(const ty_products *by) {
  for (int64_t k = 0; k < 140; k++) {
    int64_t rows = by->pairs ? 2 : 1, words = ty_format_rows(by->format, k);
    guarded a = guarded_make(k), second = guarded_make(k), w = guarded_make(rows * words);
    for (int64_t i = 0; i < k; i++) a.p[i] = odd_value(false), second.p[i] = odd_value(false);
    bool ok = true, both = k % 4;
    by->words(k, a.p, both ? second.p : NULL, w.p);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < 2 * words; i++) {
        uint32_t word = bits(w.p[a_word(by, words, r, i / 2)]);
        ok &= same_half(i % 2 ? word >> 16 : word & 0xffff, i >= k || (r && !both) ? 0.0f : r ? second.p[i] : a.p[i]);
      }
    CHECK(ok, "%s words of %ld values", by->name, (long)k);
    guarded_free(a), guarded_free(second), guarded_free(w);
  }
}

/* Every [nv][mr], both ways of starting, in buffers of the exact size, for gemm (runs == 1) and conv; bounded by float64 of the same
 * bf16 values: what is rounded is each sum, at most twice a value of k (to odd: once, and twice as much). */
static void micro(const ty_kernels *ks, const ty_products *by) {
  static const int64_t depths[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 17, 64, 101};
  int64_t unit = ty_format_unit(by->format), together = by->pairs ? 2 : 1;
  for (int nv = 1; nv * ks->lanes <= ks->nr; nv++)
    for (int mr = 1; mr <= ks->mr; mr++)
      for (int d = (int)rnd_below(36 / test_rounds(36)); d < 36; d += 36 / test_rounds(36)) {
        int64_t runs = 1 + d / 12, k = depths[d % 12], kw = ty_format_rows(by->format, k), w = nv * ks->lanes, acc = rnd_below(2);
        int64_t ka = by->words ? kw : k, each = runs == 1 ? ka : ka + rnd_below(3), lda = runs * each + rnd_below(3), nb = rnd_below(2) ? w : ks->nr, ldc = w + rnd_below(4);
        int64_t na = ka ? (mr - 1) / together * together * lda + ((runs - 1) * each + ka) * together : 0;
        guarded a = guarded_make(na), b = guarded_make(kw ? (runs * kw / unit - 1) * nb * unit + w * unit : 0), c = guarded_make((mr - 1) * ldc + w), was = guarded_make((mr - 1) * ldc + w);
        memcpy(was.p, c.p, (size_t)((mr - 1) * ldc + w) * 4);
        for (int64_t i = 0; kw && i < (runs * kw / unit - 1) * nb * unit + w * unit; i++) ks->pair(1, &(float){rndf()}, &(float){rndf()}, b.p + i);
        for (int64_t i = 0; i < na && by->words; i++) ks->pair(1, &(float){rndf()}, &(float){rndf()}, a.p + i);
        ty_conv_run run[3];
        for (int64_t i = 0; i < runs; i++) run[i] = (ty_conv_run){ka, i * each * together, (runs - 1 - i) * (kw / unit)};
        if (runs == 1) by->gemm[nv - 1][mr - 1](ka, a.p, lda, b.p, nb * unit, c.p, ldc, (int)acc, (const char *)b.p, 64);
        else by->conv[nv - 1][mr - 1](runs, run, a.p, lda, b.p, nb * unit, c.p, ldc, (int)acc, (const char *)b.p, 64);
        bool ok = true;
        for (int64_t i = 0; i < (mr - 1) * ldc + w; i++) {
          int64_t r = i / ldc, j = i % ldc;
          double want = (double)was.p[i], size = fabs(want);
          if (j < w && !acc) want = size = 0;
          for (int64_t q = 0; q < runs && j < w; q++)
            for (int64_t p = 0; p < (by->words ? 2 * kw : k); p++) {
              float x = by->words ? a.p[q * each * together + a_word(by, lda, r, p / 2)] : a.p[r * lda + q * each + p];
              float y = b.p[(runs - 1 - q) * kw * nb + p / 2 / unit * unit * nb + j * unit + p / 2 % unit];
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
    if (ty_formats[by->format].bits != 16) continue;
    pack(ks, by->format);
    micro(ks, by);
    if (by->words) words_of_rows(by);
  }
  for (int isa = 0; isa < TY_NISA; isa++) { /* what is packed can be multiplied by each level up to its own */
    for (int f = 0; f < TY_NFORMATS; f++) {
      ty_format packed = ty_format_on((ty_isa)isa, (ty_format)f);
      for (int low = 0; low <= isa; low++)
        if (ty_cpu_runs((ty_isa)low) && ty_isa_arch((ty_isa)isa) == TY_ARCH_HERE && ty_format_unit((ty_format)f) == 1)
          CHECK(ty_products_get(ty_kernels_get((ty_isa)low), packed)->format == packed, "%s on %s", ty_formats[packed].name, ty_isa_name((ty_isa)low));
    }
  }
}
