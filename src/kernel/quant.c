/* quant.c: packing weights in 8 and 4 bits: one scale a column, or one a group of values of a column, symmetric about zero.
 *
 * int8: scale = largest magnitude / 127, or 1 where all values of a column are whole numbers that a byte holds: these stay what they are; and
 * with a scale a group, whatever scale makes them whole numbers. int4: the value of the largest magnitude becomes -8, so that the scale may be negative. A column
 * or a group that holds a NaN or an infinity gets the scale NaN: what is computed from it is NaN. */
#include "kernel/kernel_int.h"
#include <math.h>

enum { WIDE = 48, DEEP = 128 }; /* columns and values at a time */

typedef struct quant_source { const ty_kernels *ks; const float *b; int64_t ldk, ldn, n; } quant_source;

/* Values [k0, k0 + kb) of `wide` columns from `at` on, zeros beyond n. */
static void quant_block(const quant_source *s, int64_t k0, int64_t kb, int64_t at, int64_t wide, float *some) {
  int64_t real = kernel_max(0, kernel_min(wide, s->n - at));
  const ty_kernels *ks = wide % s->ks->lanes ? &ty_kernels__portable : s->ks;
  if (real) ks->pack_b((int)wide, kb, real, s->b + k0 * s->ldk + at * s->ldn, s->ldk, s->ldn, some, 0, 1);
  else memset(some, 0, (size_t)(kb * wide) * sizeof *some);
}

/* To the nearest whole number, ties to even, for |x| < 2^22. */
static uint32_t quant_whole(float x) {
  float big = x + 12582912.0f;
  uint32_t u;
  memcpy(&u, &big, sizeof u);
  return u - 0x4b400000u;
}

/* top: the value of the largest magnitude so far of each column; odd: NaN once a value was not finite; part (or NULL): not 0 once one was
 * no whole number from -128 to 127. */
static void quant_range(int64_t kb, int64_t wide, const float *some, float *top, float *odd, float *part) {
  for (int64_t r = 0; r < kb; r++)
    for (int64_t j = 0; j < wide; j++) {
      float x = some[r * wide + j];
      top[j] = fabsf(x) > fabsf(top[j]) ? x : top[j];
      odd[j] += x * 0.0f;
      if (part) {
        float byte = x >= -128.0f ? (x > 127.0f ? 127.0f : x) : -128.0f; /* NaN: -128 */
        part[j] += x - ((byte + 12582912.0f) - 12582912.0f) != 0.0f;
      }
    }
}

/* divide: what the largest magnitude becomes. Far too small values count as zeros: their inverse would not be finite. */
static void quant_scales(int64_t wide, const float *top, const float *odd, float divide, float *scale, float *inverse) {
  for (int64_t j = 0; j < wide; j++) {
    bool any = fabsf(top[j]) > 1e-30f;
    scale[j] = odd[j] != odd[j] ? NAN : any ? top[j] / divide : 0.0f;
    inverse[j] = odd[j] != odd[j] || !any ? 0.0f : divide / top[j];
  }
}

/* unit: words of a column that stand together, a constant. */
static inline __attribute__((always_inline)) void quant_words(int64_t kb, int64_t wide, const float *some, const float *inverse, int per, const int unit,
                                                              float low, float high, int nr, uint32_t *all, uint32_t *sums) {
  int bits = 32 / per;
  uint32_t mask = (1u << bits) - 1;
  for (int64_t r = 0; r < kb; r++) {
    uint32_t *to = all + r / per / unit * unit * nr + r / per % unit;
    for (int64_t j = 0; j < wide; j++) {
      float x = some[r * wide + j] * inverse[j];
      uint32_t q = quant_whole(x >= low ? (x > high ? high : x) : low); /* NaN: low */
      if (sums) sums[j] += q;
      to[j * unit] = (r % per ? to[j * unit] : 0) | (q & mask) << (r % per * bits);
    }
  }
}

/* j: its first column in the panel. */
static void quant_columns8(const quant_source *s, ty_format format, int nr, int64_t k, int64_t at, int64_t wide, uint32_t *panel, int64_t j) {
  int64_t unit = ty_format_unit(format), words = kernel_ceil(k, 4 * unit) * unit;
  uint32_t *sums = panel + (words + 1) * nr + j, *to = panel + j * unit;
  float some[DEEP * WIDE], top[WIDE] = {0}, odd[WIDE] = {0}, part[WIDE] = {0}, inverse[WIDE], *scale = (float *)panel + words * nr + j;
  for (int64_t k0 = 0; k0 < k; k0 += DEEP) {
    int64_t kb = kernel_min(DEEP, k - k0);
    quant_block(s, k0, kb, at, wide, some);
    quant_range(kb, wide, some, top, odd, part);
  }
  for (int64_t i = 0; i < wide; i++) top[i] = fabsf(top[i]);
  quant_scales(wide, top, odd, 127.0f, scale, inverse);
  for (int64_t i = 0; i < wide; i++) if (part[i] == 0) scale[i] = inverse[i] = 1.0f;
  memset(sums, 0, (size_t)wide * sizeof *sums);
  for (int64_t k0 = 0; k0 < k; k0 += DEEP) {
    int64_t kb = kernel_min(DEEP, k - k0);
    quant_block(s, k0, kb, at, wide, some);
    for (int64_t i = kernel_ceil(kb, 4); i % unit; i++) /* the second word of the last unit, where k ends in the first */
      for (int64_t c = 0; c < wide; c++) to[k0 / 4 * nr + i / unit * unit * nr + c * unit + i % unit] = 0;
    if (unit == 1) quant_words(kb, wide, some, inverse, 4, 1, -128.0f, 127.0f, nr, to + k0 / 4 * nr, sums);
    else quant_words(kb, wide, some, inverse, 4, 2, -128.0f, 127.0f, nr, to + k0 / 4 * nr, sums);
  }
}

/* Where all values of a column are whole multiples of some scale that bytes hold, that scale. */
static void quant_grids(int64_t kb, int64_t wide, const float *some, const float *top, const float *odd, float *scale, float *inverse) {
  const float near = 1e-4f; /* of a whole number: other multiples are at least 1/128 away */
  for (int64_t j = 0; j < wide; j++) {
    if (odd[j] != odd[j] || inverse[j] == 0.0f) continue;
    for (int m = 1, most = top[j] < 0 ? 128 : 127; m <= most; m++) {
      float by = (float)m / fabsf(top[j]);
      int64_t r = 0;
      for (; r < kb; r++) {
        float x = some[r * wide + j] * by;
        if (fabsf(x - ((x + 12582912.0f) - 12582912.0f)) > near) break;
      }
      if (r < kb) continue;
      scale[j] = fabsf(top[j]) / (float)m, inverse[j] = by;
      break;
    }
  }
}

static void quant_groups(const quant_source *s, ty_format format, int nr, int64_t k, int64_t at, int64_t wide, uint32_t *to) {
  const ty_format_info *f = &ty_formats[format];
  float some[DEEP * WIDE], inverse[WIDE], divide = f->bits == 8 ? 127.0f : -8.0f;
  for (int64_t k0 = 0; k0 < k; k0 += f->group, to += (f->group / f->per + 1) * nr) {
    float top[WIDE] = {0}, odd[WIDE] = {0}, *scale = (float *)to + f->group / f->per * nr;
    int64_t kb = kernel_min(f->group, k - k0);
    quant_block(s, k0, kb, at, wide, some);
    quant_range(kb, wide, some, top, odd, NULL);
    quant_scales(wide, top, odd, divide, scale, inverse);
    if (f->bits == 8) quant_grids(kb, wide, some, top, odd, scale, inverse);
    for (int64_t r = kernel_ceil(kb, f->per); r < f->group / f->per; r++) memset(to + r * nr, 0, (size_t)wide * sizeof *to); /* beyond k */
    if (f->bits == 8) quant_words(kb, wide, some, inverse, 4, 1, -128.0f, 127.0f, nr, to, NULL);
    else quant_words(kb, wide, some, inverse, 8, 1, -8.0f, 7.0f, nr, to, NULL);
  }
}

void kernel_pack_quant(const ty_kernels *ks, ty_format format, int nr, int64_t k, int64_t n, const float *b, int64_t ldk, int64_t ldn, float *dst,
                       int64_t p0, int64_t p1) {
  quant_source s = {ks, b, ldk, ldn, n};
  for (int64_t p = p0; p < p1; p++)
    for (int64_t j = 0; j < nr; j += WIDE) {
      int64_t wide = kernel_min(nr - j, WIDE);
      uint32_t *to = (uint32_t *)dst + p * nr * ty_format_rows(format, k);
      if (ty_formats[format].group) quant_groups(&s, format, nr, k, p * nr + j, wide, to + j);
      else quant_columns8(&s, format, nr, k, p * nr + j, wide, to, j);
    }
}

void ty_packed_b_error(const ty_kernels *ks, ty_format format, int nr, int64_t k, int64_t n, const float *b, int64_t ldk, int64_t ldn, const float *packed,
                       int64_t p0, int64_t p1, double sums[2]) {
  const ty_format_info *f = &ty_formats[format];
  quant_source s = {ks, b, ldk, ldn, n};
  int64_t group = f->group ? f->group : kernel_up(k, f->per), unit = ty_format_unit(format);
  float some[DEEP * WIDE], now[DEEP * WIDE], row[DEEP / 4 * WIDE]; /* row: words of 8 bits in rows of their own */
  for (int64_t p = p0; p < p1; p++)
    for (int64_t j = 0; j < nr; j += WIDE) {
      int64_t wide = kernel_min(nr - j, WIDE), real = kernel_max(0, kernel_min(wide, n - p * nr - j));
      const float *panel = packed + p * nr * ty_format_rows(format, k);
      const ty_products *by = ty_products_get(wide % ks->lanes ? &ty_kernels__portable : ks, f->bits == 8 ? TY_FORMAT_int8wo : format);
      for (int64_t k0 = 0; k0 < k; k0 += DEEP) {
        int64_t kb = kernel_min(DEEP, k - k0), at = k0 / f->per * unit + (f->group ? k0 / f->group : 0);
        const float *words = panel + at * nr + j, *scale = panel + ((f->group ? at : 0) + group / f->per * unit) * nr + j;
        quant_block(&s, k0, kb, p * nr + j, wide, some);
        if (unit > 1)
          for (int64_t r = 0; r < kernel_ceil(kb, 4); r++)
            for (int64_t c = 0; c < wide; c++) row[r * wide + c] = panel[at * nr + ty_format_word(format, nr, r, j + c)];
        by->unpack(kb, group, unit > 1 ? row : words, unit > 1 ? wide : nr, scale, (int)wide, now);
        for (int64_t r = 0; r < kb; r++) {
          float change = 0, size = 0; /* of few values: float is enough */
          for (int64_t c = r * wide; c < r * wide + real; c++) change += (now[c] - some[c]) * (now[c] - some[c]), size += some[c] * some[c];
          sums[0] += (double)change, sums[1] += (double)size;
        }
      }
    }
}

double ty_packed_b_value(ty_format format, int nr, int64_t k, const float *packed, int64_t i, int64_t j) {
  const ty_format_info *f = &ty_formats[format];
  const float *panel = packed + j / nr * nr * ty_format_rows(format, k);
  int64_t group = f->group ? i / f->group : 0, inside = 32 / f->bits, row = i / inside + group;
  uint32_t word, up;
  memcpy(&word, panel + ty_format_word(format, nr, row, j % nr), sizeof word);
  up = word << (32 - f->bits - i % inside * f->bits);
  if (f->bits >= 16) {
    float x;
    up &= format == TY_FORMAT_f32 ? ~0u : 0xffff0000u;
    memcpy(&x, &up, sizeof x);
    return x;
  }
  int64_t scale = f->group ? (group + 1) * (f->group / f->per + 1) - 1 : ty_format_rows(format, k) - f->extra;
  return (double)((int32_t)up >> (32 - f->bits)) * (double)panel[scale * nr + j % nr];
}
