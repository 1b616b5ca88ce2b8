/* strided.h: tensors with strides: their size, and copying between them. */
#ifndef TY_STRIDED_H
#define TY_STRIDED_H
#include "base/base.h"
#include "tuyere.h"

#include <string.h>

/* Bytes of the elements; false when there are more than can be. */
static inline bool ty_tensor_bytes(const tuyere_tensor *t, size_t *out) {
  int64_t n = (int64_t)tuyere_dtype_size(t->dtype);
  for (int d = 0; d < t->rank; d++)
    if (t->shape[d] == 0) return *out = 0, true;
  for (int d = 0; d < t->rank; d++)
    if (t->shape[d] < 0 || !ty_mul_i64(n, t->shape[d], &n) || n > PTRDIFF_MAX / 4) return *out = 0, false;
  return *out = (size_t)n, true;
}

static inline void ty_tensor_contiguous(tuyere_tensor *t) {
  int64_t n = 1;
  for (int d = t->rank; d-- > 0;) t->strides[d] = n, n *= t->shape[d] > 0 ? t->shape[d] : 1;
}

static inline bool ty_tensor_is_contiguous(const tuyere_tensor *t) {
  int64_t n = 1;
  for (int d = 0; d < t->rank; d++)
    if (t->shape[d] == 0) return true;
  for (int d = t->rank; d-- > 0; n *= t->shape[d])
    if (t->shape[d] != 1 && t->strides[d] != n) return false;
  return true;
}

/* Element by element, rows at once where both lie in a row. Shapes and dtypes are equal. */
static inline void ty_tensor_copy(const tuyere_tensor *to, const tuyere_tensor *from) {
  int64_t at[TUYERE_MAX_RANK] = {0}, size = (int64_t)tuyere_dtype_size(to->dtype);
  int last = to->rank - 1;
  for (int d = 0; d < to->rank; d++)
    if (to->shape[d] == 0) return;
  int64_t n = last < 0 ? 1 : to->shape[last], sd = last < 0 ? 1 : to->strides[last], ss = last < 0 ? 1 : from->strides[last];
  for (;;) {
    char *d = to->data;
    const char *s = from->data;
    for (int i = 0; i < last; i++) d += at[i] * to->strides[i] * size, s += at[i] * from->strides[i] * size;
    if (n == 1 || (sd == 1 && ss == 1)) memcpy(d, s, (size_t)(n * size));
    else
      for (int64_t i = 0; i < n; i++) memcpy(d + i * sd * size, s + i * ss * size, (size_t)size);
    int i = last - 1;
    while (i >= 0 && ++at[i] == to->shape[i]) at[i--] = 0;
    if (i < 0) return;
  }
}
#endif
