/* kernel.c: the dispatch table over tiers, from kernels.def, and packing's public face. */
#include "kernel/kernel_int.h"

const ty_kernels *ty_kernels_get(ty_isa isa) {
  const ty_kernels *best = &ty_kernels__portable;
#define TY_TIER(tier, id, mr, nr, lanes) if ((id) <= isa) best = &ty_kernels__##tier;
#include "kernel/kernels.def"
  return best;
}

#define TY_TIERS_ALL
ty_tier_shape ty_tier_shape_of(ty_isa isa) {
  switch (isa) {
#define TY_TIER(tier, id, mr, nr, lanes) case id: return (ty_tier_shape){mr, nr, lanes};
#include "kernel/kernels.def"
    default: return (ty_tier_shape){0};
  }
}
#undef TY_TIERS_ALL

const ty_format_info ty_formats[TY_NFORMATS] = {
#define TY_FORMAT(format, bits, per, group, extra) {#format, bits, per, group, extra},
#include "kernel/kernels.def"
};

bool ty_format_parse(const char *name, ty_format *out) {
  for (int i = 0; i < TY_NFORMATS; i++)
    if (!strcmp(name, ty_formats[i].name) && ty_format_unit((ty_format)i) == 1) return *out = (ty_format)i, true;
  return false;
}

#define TY_TIERS_ALL
ty_format ty_format_on(ty_isa isa, ty_format f) {
  static const ty_cpu none;
  const ty_cpu *c = ty_cpu_get()->isa == isa ? ty_cpu_get() : &none; /* of another one only what its level says is known */
  ty_format twin = f == TY_FORMAT_bf16 ? TY_FORMAT_bf16x4 : f == TY_FORMAT_int8 ? TY_FORMAT_int8x8 : f, best = f;
  (void)c;
  enum {
#define TY_TIER(tier, id, mr, nr, lanes) isa_of_##tier = id,
#include "kernel/kernels.def"
  };
#define TY_PRODUCTS(format, of, name, has) \
  if (isa_of_##of == (int)isa && (TY_FORMAT_##format == f || TY_FORMAT_##format == twin) && (has)) best = TY_FORMAT_##format;
#include "kernel/kernels.def"
  return best;
}
#undef TY_TIERS_ALL

const ty_products *ty_products_row(int i, const ty_kernels **tier, bool *runs) {
  const ty_cpu *c = ty_cpu_get();
  (void)c;
#define TY_PRODUCTS(format, of, name, has) \
  if (i-- == 0) return *tier = &ty_kernels__##of, *runs = ty_cpu_runs(ty_kernels__##of.isa) && (has), &ty_products_##format##__##name;
#include "kernel/kernels.def"
  return NULL;
}

#define TY_TIERS_ALL
const char *ty_products_symbol(int i, ty_format *format) {
#define TY_PRODUCTS(f, of, name, has) if (i-- == 0) return *format = TY_FORMAT_##f, "ty_products_" #f "__" #name;
#include "kernel/kernels.def"
  return NULL;
}
#undef TY_TIERS_ALL

const ty_products *ty_products_get(const ty_kernels *ks, ty_format format) {
  const ty_products *best = ks->f32, *row;
  const ty_kernels *tier;
  bool runs;
  for (int i = 0; format != TY_FORMAT_f32 && (row = ty_products_row(i, &tier, &runs)); i++)
    if (tier == ks && row->format == format && runs) best = row;
  return best;
}

enum { PAIRED = 3072 }; /* values of a panel that are paired at a time, where that makes rows of words */

void ty_pack_b(const ty_kernels *ks, ty_format format, int nr, int64_t k, int64_t n, const float *b, int64_t ldk, int64_t ldn, float *dst,
               int64_t p0, int64_t p1) {
  if (nr % ks->lanes) ks = &ty_kernels__portable; /* narrower than a vector */
  if (format == TY_FORMAT_f32) {
    ks->pack_b(nr, k, n, b, ldk, ldn, dst, p0, p1);
    return;
  }
  if (ty_formats[format].bits <= 8) {
    kernel_pack_quant(ks, format, nr, k, n, b, ldk, ldn, dst, p0, p1);
    return;
  }
  float some[PAIRED];
  int64_t unit = ty_format_unit(format);
  for (int64_t p = p0; p < p1; p++) {
    float *d = dst + p * nr * ty_format_rows(format, k);
    for (int64_t j = 0; j < nr; j += PAIRED / (2 * unit)) { /* a panel is rarely so wide that its columns are taken in parts */
      int64_t wide = kernel_min(nr - j, PAIRED / (2 * unit)), deep = PAIRED / wide / (2 * unit) * (2 * unit), at = p * nr + j;
      for (int64_t k0 = 0; k0 < k; k0 += deep) {
        int64_t kb = kernel_min(deep, k - k0), real = kernel_max(0, kernel_min(wide, n - at));
        if (real) ks->pack_b((int)wide, kb, real, b + k0 * ldk + at * ldn, ldk, ldn, some, 0, 1);
        else memset(some, 0, (size_t)(kb * wide) * sizeof *some);
        int64_t whole = kernel_up(kb, 2 * unit);
        memset(some + kb * wide, 0, (size_t)((whole - kb) * wide) * sizeof *some);
        for (int64_t r = 0; r < whole; r += 2) {
          float *row = some + r * wide, *to = d + ty_format_word(format, nr, (k0 + r) / 2, j);
          ks->pair(wide, row, row + wide, unit == 1 ? to : row);
          for (int64_t i = 0; i < wide && unit > 1; i++) to[i * unit] = row[i];
        }
      }
    }
  }
}
