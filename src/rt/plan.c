/* plan.c: the memory plan: greedy best fit by size over lifetimes (Pisarchyk and Lee 2020, "greedy by size"). */
#include "rt/program_int.h"

#include <stdlib.h>

typedef struct placed { size_t from, to; int first, last; } placed;
typedef struct by_size { size_t bytes; int item; } by_size;

static int larger_first(const void *a, const void *b) {
  const by_size *x = a, *y = b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return (x->item > y->item) - (x->item < y->item);
}

/* The smallest gap that fits between items living at the same time, or the end of them. */
static size_t place(const placed *p, int n, const rt_life *it, size_t bytes) {
  size_t end = 0, best = 0, best_gap = SIZE_MAX;
  for (int i = 0; i < n; i++) { /* by offset */
    if (p[i].last < it->first || p[i].first > it->last) continue;
    if (p[i].from > end && p[i].from - end >= bytes && p[i].from - end < best_gap) best = end, best_gap = p[i].from - end;
    if (p[i].to > end) end = p[i].to;
  }
  return best_gap == SIZE_MAX ? end : best;
}

bool ty_rt_plan(int n, const rt_life *items, size_t *offsets, size_t *total) {
  *total = 0;
  if (n == 0) return true;
  by_size *order = ty_alloc((size_t)n * sizeof *order);
  placed *done = ty_alloc((size_t)n * sizeof *done);
  bool ok = order && done;
  int ndone = 0;
  for (int i = 0; ok && i < n; i++) order[i] = (by_size){items[i].bytes, i};
  if (ok) qsort(order, (size_t)n, sizeof *order, larger_first);
  for (int i = 0; ok && i < n; i++) {
    const rt_life *it = &items[order[i].item];
    offsets[order[i].item] = 0;
    if (!it->bytes) continue;
    if (!(ok = it->bytes < SIZE_MAX / 4)) break;
    size_t bytes = rt_up(it->bytes, RT_ALIGN), at = place(done, ndone, it, bytes);
    if (!(ok = at < SIZE_MAX / 4)) break;
    offsets[order[i].item] = at;
    if (at + bytes > *total) *total = at + bytes;
    int j = ndone++;
    for (; j > 0 && done[j - 1].from > at; j--) done[j] = done[j - 1];
    done[j] = (placed){at, at + bytes, it->first, it->last};
  }
  ty_free(order);
  ty_free(done);
  return ok;
}
