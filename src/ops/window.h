/* window.h: sliding windows along some dims of a value: where each tap reads, as views (ty.remap) and as index values. */
#ifndef TY_WINDOW_H
#define TY_WINDOW_H
#include "ops/family.h"

/* Output o and tap t read element o * s + t * d - p; adaptive windows read floor(o * in / out) + t up to their own end. */
typedef struct ty_win {
  int dim;              /* of the value */
  ty_dim in, out;       /* sizes before and after */
  int64_t k, s, p, d;   /* taps, stride, padding in front, dilation */
  bool adaptive, whole; /* whole: the only window is the dim itself, of any size */
} ty_win;

/* A list of numbers, one an axis; a single one stands for all, an empty list for dflt (NULL: may not be empty). */
ty_status ty_win_ints(ty_graph *, const ty_node *, int arg, int count, const int64_t *dflt, int64_t *out);
/* The elements that one tap of every axis reads: x with the axes' sizes `out`, and `nfront` dims in front, which the taps
 * (expressions over ty_dim_index, or numbers) may vary along. Taps outside of x give 0 with `zero`, else the nearest element of
 * the same window. */
ty_value *ty_win_view(ty_graph *, ty_value *x, int n, const ty_win *, const ty_dim *tap, int nfront, const ty_dim *front, bool zero);
/* i64 values that broadcast against a result of this rank: the index along dim; v * mul + add, divided by div (-1: not); the element that tap t reads. */
ty_value *ty_win_along(ty_graph *, int rank, int dim, ty_dim size);
ty_value *ty_win_affine(ty_graph *, ty_value *v, ty_dim mul, int64_t add, ty_dim div);
ty_value *ty_win_position(ty_graph *, const ty_win *, int rank, ty_value *tap);
#endif
