/* bag.c: sums, means and maxima of rows of a table, in bags. */
#include "rt/routine.h"

#include <string.h>

/* What the tiers' kernel does not do: maxima, and doubles. */
#define BAG_OF(name, T) \
  static void bag_##name(const rt_routine *r, const int64_t *index, const T *weight, int64_t n, T *y) { \
    const T *table = r->in[0]; \
    bool first = true; \
    for (int64_t k = 0; k < n; k++) { \
      if (index[k] == r->size[5]) continue; \
      const T *x = table + index[k] * r->size[1], f = weight ? weight[k] : (T)1; \
      for (int64_t i = 0; i < r->size[1]; i++) \
        if (r->which != TY_BAG_MAX) y[i] += x[i] * f; \
        else if (first || x[i] > y[i] || x[i] != x[i]) y[i] = x[i]; \
      first = false; \
    } \
  }
BAG_OF(f32, float)
BAG_OF(f64, double)

static void bag(const rt_routine *r, int64_t b, int64_t from, int64_t to, int64_t known) {
  int64_t width = r->size[1], n = 0;
  const int64_t *index = (const int64_t *)r->in[1] + from;
  const char *weight = r->in[3];
  bool wide = r->dtype == TY_f64;
  char *y = (char *)r->out + b * width * ty_dtype_size(r->dtype);
  if (weight) weight += from * ty_dtype_size(r->dtype);
  if (!wide && r->which != TY_BAG_MAX) r->kernels->bag_sum(to - from, known - from, index, r->size[5], (const float *)weight, r->in[0], width, (float *)y);
  else {
    memset(y, 0, (size_t)(width * ty_dtype_size(r->dtype)));
    if (wide) bag_f64(r, index, (const double *)weight, to - from, (double *)y);
    else bag_f32(r, index, (const float *)weight, to - from, (float *)y);
  }
  if (r->which != TY_BAG_MEAN) return;
  for (int64_t k = 0; k < to - from; k++) n += index[k] != r->size[5];
  for (int64_t i = 0; i < width && n > 1; i++) {
    if (wide) ((double *)y)[i] /= (double)n;
    else ((float *)y)[i] /= (float)n;
  }
}

/* Everything is checked before it is read, by the thread that reads it. */
void ty_rt_bag(const rt_routine *r, int tid, int nt) {
  int64_t rows = r->size[0], count = r->size[2], bags = r->size[3], marks = r->size[4];
  int64_t first = rt_share(bags, tid, nt), end = rt_share(bags, tid + 1, nt);
  const int64_t *index = r->in[1], *mark = r->in[2];
  if (first == end) return;
  for (int64_t b = 0; b < marks; b++)
    if (mark[b] < (b ? mark[b - 1] : 0) || mark[b] > count) { *r->fault = 1; return; }
  int64_t known = end < marks ? mark[end] : count;
  for (int64_t k = mark[first]; k < known; k++)
    if (index[k] < 0 || index[k] >= rows) { *r->fault = 1; return; }
  for (int64_t b = first; b < end; b++) bag(r, b, mark[b], b + 1 < marks ? mark[b + 1] : count, known);
}
