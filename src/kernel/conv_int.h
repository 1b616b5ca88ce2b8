/* conv_int.h: what the files of the convolutions share: the kinds' entry points, and the geometry of windows. */
#ifndef TY_CONV_INT_H
#define TY_CONV_INT_H
#include "kernel/kernel_int.h"

/* A kind: what it takes, its packed weights and its driver. */
typedef struct conv_kind {
  bool (*can)(const ty_conv_shape *);
  int64_t (*packed)(int64_t nr, const ty_conv_shape *);
  void (*pack)(int64_t nr, const ty_conv_shape *, const float *w, const int64_t ldw[5], float *dst, int part, int parts);
  size_t (*scratch)(const ty_kernels *, const ty_conv *);
  void (*run)(const ty_kernels *, const ty_conv *, int tid, int nt, void *scratch);
} conv_kind;
/* How the direct kind sees a shape in bf16: words are pairs of channels, or of rows of the window where those are odd or very few. */
enum { CONV_FEW = 8 }; /* fewer channels: a tap's words are mostly overhead */
static inline bool conv_pairs_rows(ty_format format, const ty_conv_shape *s) { return format == TY_FORMAT_bf16 && (s->c % 2 || s->c < CONV_FEW); }
static inline ty_conv_shape conv_paired(ty_format format, const ty_conv_shape *given) {
  ty_conv_shape s = *given;
  if (conv_pairs_rows(format, given)) s.c *= 2, s.k[1] = (s.k[1] + 1) / 2, s.stride[1] = s.k[1], s.dil[1] = 1;
  return s;
}
/* As the direct kind's pack, in words of bf16, in either layout. */
void ty_conv_direct_pairs(ty_format, int64_t nr, const ty_conv_shape *s, const float *w, const int64_t ldw[5], float *dst, int part, int parts);
extern const conv_kind ty_conv_kind_direct, ty_conv_kind_depthwise, ty_conv_kind_grouped, ty_conv_kind_winograd;

/* Panels of n columns: up to nr wide and as even as whole units of 16 allow, or of 8 or 4 where 16 does not divide nr. */
typedef struct conv_panels { int64_t unit, units, count; } conv_panels;
static inline conv_panels conv_panels_of(int64_t nr, int64_t n) {
  int64_t unit = nr % 16 == 0 ? 16 : nr % 8 == 0 ? 8 : 4, units = kernel_ceil(n, unit);
  return (conv_panels){unit, units, kernel_ceil(units, nr / unit)};
}
static inline int64_t conv_panel_at(const conv_panels *p, int64_t i) { return kernel_share(p->units, i, p->count) * p->unit; } /* its first column */

/* Output positions [lo, hi) of [0, out) for which the tap that reads `at` (offset - pad) from position * stride is in [0, in). */
typedef struct conv_range { int64_t lo, hi; } conv_range;
static inline int64_t conv_ceil(int64_t a, int64_t by) { return a > 0 ? (a + by - 1) / by : -(-a / by); }
static inline conv_range conv_inside(int64_t in, int64_t out, int64_t stride, int64_t at) {
  conv_range r = {kernel_min(out, kernel_max(0, conv_ceil(-at, stride))), kernel_min(out, kernel_max(0, conv_ceil(in - at, stride)))};
  if (r.hi < r.lo) r.hi = r.lo;
  return r;
}
/* Taps [lo, hi) of [0, k), dil apart, that are in [0, in) when the first reads `at`. */
static inline conv_range conv_taps(int64_t in, int64_t k, int64_t dil, int64_t at) { return conv_inside(in, k, dil, at); }
static inline int64_t conv_window(const ty_conv_shape *s) { return s->k[0] * s->k[1] * s->k[2]; }
#endif
