/* conv.c: the public face of the convolutions: the table of kinds and the choice among them. */
#include "kernel/conv_int.h"

static const conv_kind *const kinds[TY_CONV_KINDS] = {
    [TY_CONV_DIRECT] = &ty_conv_kind_direct, [TY_CONV_DEPTHWISE] = &ty_conv_kind_depthwise, [TY_CONV_GROUPED] = &ty_conv_kind_grouped,
    [TY_CONV_WINOGRAD] = &ty_conv_kind_winograd};

const char *const ty_conv_kind_names[TY_CONV_KINDS] = {
    [TY_CONV_DIRECT] = "direct", [TY_CONV_DEPTHWISE] = "depthwise", [TY_CONV_GROUPED] = "grouped", [TY_CONV_WINOGRAD] = "winograd"};

bool ty_conv_kind_parse(const char *name, ty_conv_kind *out) {
  for (int i = 0; i < TY_CONV_KINDS; i++)
    if (!strcmp(name, ty_conv_kind_names[i])) return *out = (ty_conv_kind)i, true;
  return false;
}

bool ty_conv_can(ty_conv_kind kind, const ty_conv_shape *s) { return kinds[kind] && kinds[kind]->can(s); }

bool ty_conv_may(ty_conv_kind kind, const ty_conv_shape *s) {
  enum { EXACT = 48 }; /* of fewer channels Winograd's transforms make most of the error: 3 to 5 times that of the sums, and about 2 times beyond */
  if (!ty_conv_can(kind, s) || (kind != TY_CONV_DEPTHWISE && ty_conv_can(TY_CONV_DEPTHWISE, s))) return false;
  return kind != TY_CONV_WINOGRAD || s->c >= EXACT;
}

/* The second layouts are those of levels that do. */
static bool words_multiply(ty_isa isa, ty_format format) {
  const ty_kernels *ks = ty_kernels_get(isa);
  return ty_format_unit(format) > 1 || (ks->isa == isa && ty_products_get(ks, format)->words);
}

/* Cycles of one core by a model: multiply-adds at two vectors a cycle times what the kernels reach of that, or the weights from memory at
 * 10 bytes a cycle if that takes longer (Winograd's are four times as large), and about 90 and 60 cycles a vector for the transforms.
 * Products of words take as long as those of floats and do more: Winograd, whose products stay float32, then has less to save, and its
 * weights are eight times as large as words, which is worth a quarter of the time. */
static bool winograd_pays(ty_isa isa, ty_format format, const ty_conv_shape *s, const int64_t out[3]) {
  if (out[1] <= 0 || out[2] <= 0) return false;
  int lanes = ty_tier_shape_of(isa).lanes;
  double images = (double)kernel_max(1, out[0]), tiles = images * (double)(kernel_ceil(out[1], 4) * kernel_ceil(out[2], 4));
  double pairs = (double)s->c * (double)s->o, inside = (3 - 2.0 / (double)out[1]) * (3 - 2.0 / (double)out[2]);
  double direct = images * (double)(out[1] * out[2]) * inside * pairs / (2 * lanes) / 0.85, read = 9 * pairs * 4 / 10;
  double products = 36 * tiles * (double)((s->c + 8) * s->o) / (2 * lanes) / 0.85; /* 8: storing and starting the sums */
  bool takes = ty_conv_takes(format, TY_CONV_DIRECT, s);
  double less = takes ? 32.0 / ty_formats[format].bits : 1;
  if (takes && words_multiply(isa, format)) direct /= ty_formats[format].per; /* in both layouts of bf16 */
  if (read / less > direct) direct = read / less;
  if (4 * read > products) products = 4 * read;
  return products + tiles * (double)(s->c * 90 + s->o * 60) / lanes < (less > 1 ? 0.75 : 0.9) * direct;
}

bool ty_conv_takes(ty_format format, ty_conv_kind kind, const ty_conv_shape *s) {
  if (format == TY_FORMAT_f32) return true;
  return kind == TY_CONV_DIRECT && s->k[0] == 1 && (conv_pairs_rows(format, s) ? s->k[1] > 1 : s->c % ty_formats[format].per == 0 && s->c >= CONV_FEW);
}

ty_format ty_conv_format(ty_isa isa, ty_format format, ty_conv_kind kind, const ty_conv_shape *s) {
  bool taken = ty_conv_takes(format, kind, s) && (!conv_pairs_rows(format, s) || words_multiply(isa, format));
  return taken ? format : TY_FORMAT_f32;
}

ty_conv_kind ty_conv_choose(ty_isa isa, ty_format format, const ty_conv_shape *s, const int64_t out[3]) {
  if (ty_conv_can(TY_CONV_DEPTHWISE, s)) return TY_CONV_DEPTHWISE;
  if (ty_conv_can(TY_CONV_GROUPED, s)) return TY_CONV_GROUPED;
  return ty_conv_may(TY_CONV_WINOGRAD, s) && winograd_pays(isa, format, s, out) ? TY_CONV_WINOGRAD : TY_CONV_DIRECT;
}

int64_t ty_packed_conv_words(ty_format format, int nr, ty_conv_kind kind, const ty_conv_shape *s) {
  ty_conv_shape p = conv_paired(format, s);
  return kinds[kind]->packed(nr, &p) * ty_formats[format].bits / 32;
}

void ty_pack_conv(ty_format format, int nr, ty_conv_kind kind, const ty_conv_shape *s, const float *w, const int64_t ldw[5], float *dst,
                  int part, int parts) {
  if (format == TY_FORMAT_f32) kinds[kind]->pack(nr, s, w, ldw, dst, part, parts);
  else ty_conv_direct_pairs(format, nr, s, w, ldw, dst, part, parts);
}

/* Weights that are packed for another architecture are multiplied here where all of a convolution is constant. */
static const ty_kernels *kernels_for(const ty_kernels *ks, const ty_conv *v) {
  return v->b_nr % ks->nr || ty_products_get(ks, v->format)->format != v->format ? &ty_kernels__portable : ks;
}

size_t ty_conv_f32_scratch(const ty_kernels *ks, const ty_conv *v) { return kinds[v->kind]->scratch(kernels_for(ks, v), v); }

void ty_conv_f32(const ty_kernels *ks, const ty_conv *v, int tid, int nt, void *scratch) {
  kinds[v->kind]->run(kernels_for(ks, v), v, tid, nt, scratch);
}
