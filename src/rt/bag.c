/* bag.c: sums, means and maxima of rows of a table, in bags: rows come from memory at random, so the next ones are asked for early. */
#include "rt/routine.h"

#include <string.h>

enum { AHEAD = 8, LINE = 64 };

/* Result blocks of BLOCK columns stay in registers while a bag's rows pass, so that each row's line is read once. */
#define BAG_OF(name, T) \
  typedef T vec_##name __attribute__((vector_size(64), aligned(sizeof(T)), may_alias)); \
  static void bag_##name(const rt_routine *r, int64_t b, int64_t from, int64_t to, int64_t known) { \
    enum { LANES = 64 / sizeof(T), BLOCK = 4 * LANES }; \
    const T *table = r->in[0], *weight = r->in[3]; \
    const int64_t *index = r->in[1]; \
    int64_t width = r->size[1], pad = r->size[5], n = 0; \
    T *y = (T *)r->out + b * width; \
    for (int64_t k = from; k < to; k++) n += index[k] != pad; \
    if (!n) { memset(y, 0, (size_t)width * sizeof(T)); return; } \
    bool max = r->which == TY_BAG_MAX; \
    T scale = (T)1; \
    if (r->which == TY_BAG_MEAN) scale = (T)n; \
    for (int64_t c = 0; c < width; c += BLOCK) { \
      int64_t w = width - c < BLOCK ? width - c : BLOCK; \
      bool first = true; \
      vec_##name acc[4] = {0}; \
      T part[BLOCK] = {0}; \
      for (int64_t k = from; k < to; k++) { \
        if (k + AHEAD < known) \
          for (int64_t l = 0; l < w * (int64_t)sizeof(T); l += LINE) __builtin_prefetch((const char *)(table + index[k + AHEAD] * width + c) + l); \
        if (index[k] == pad) continue; \
        const T *x = table + index[k] * width + c; \
        T f = weight ? weight[k] : (T)1; \
        if (max) { \
          for (int64_t i = 0; i < w; i++) part[i] = first || x[i] > part[i] || x[i] != x[i] ? x[i] : part[i]; \
          first = false; \
        } else if (w < BLOCK) { \
          for (int64_t i = 0; i < w; i++) part[i] += x[i] * f; \
        } else { \
          const vec_##name *v = (const vec_##name *)x; \
          for (int i = 0; i < 4; i++) acc[i] += v[i] * f; \
        } \
      } \
      if (!max && w == BLOCK) memcpy(part, acc, sizeof part); \
      for (int64_t i = 0; i < w; i++) y[c + i] = r->which == TY_BAG_MEAN ? part[i] / scale : part[i]; \
    } \
  }
BAG_OF(f32, float)
BAG_OF(f64, double)

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
  for (int64_t b = first; b < end; b++) {
    int64_t from = mark[b], to = b + 1 < marks ? mark[b + 1] : count;
    if (r->dtype == TY_f64) bag_f64(r, b, from, to, known);
    else bag_f32(r, b, from, to, known);
  }
}
