/* scatter.c: rows of a table replaced by, or joined with, other rows at given places, in the order in which they come. */
#include "rt/routine.h"

#include <string.h>

/* Floats: NaN wins, as it does in PyTorch. Integers wrap. */
#define JOIN(name, T, U, nan) \
  static void join_##name(ty_routine which, T *d, const T *s, int64_t w) { \
    switch (which) { \
    case TY_SCATTER_SUM: for (int64_t i = 0; i < w; i++) d[i] = (T)((U)d[i] + (U)s[i]); break; \
    case TY_SCATTER_PROD: for (int64_t i = 0; i < w; i++) d[i] = (T)((U)d[i] * (U)s[i]); break; \
    case TY_SCATTER_MAX: for (int64_t i = 0; i < w; i++) d[i] = s[i] > d[i] || (nan && s[i] != s[i]) ? s[i] : d[i]; break; \
    default: for (int64_t i = 0; i < w; i++) d[i] = s[i] < d[i] || (nan && s[i] != s[i]) ? s[i] : d[i]; \
    } \
  }
JOIN(u8, uint8_t, uint32_t, false)
JOIN(i8, int8_t, uint32_t, false)
JOIN(i16, int16_t, uint32_t, false)
JOIN(i32, int32_t, uint32_t, false)
JOIN(i64, int64_t, uint64_t, false)
JOIN(f32, float, float, true)
JOIN(f64, double, double, true)

/* Numbers of 4 or 8 bytes take a row's place one by one; else rows are copied. */
static inline void set(char *d, const char *s, int64_t bytes) {
  if (bytes == 4) memcpy(d, s, 4);
  else if (bytes == 8) memcpy(d, s, 8);
  else memcpy(d, s, (size_t)bytes);
}

/* The table may be the result itself. A thread has a share of the table's rows and passes over the others: no two threads write one row, and each row's order stays. */
void ty_rt_scatter(const rt_routine *r, int tid, int nt) {
  int64_t rows = r->size[0], count = r->size[1], width = r->size[2], bytes = ty_dtype_size(r->dtype) * width;
  int64_t lo = rt_share(rows, tid, nt), hi = rt_share(rows, tid + 1, nt);
  const int64_t *index = r->in[1];
  const char *src = r->in[2];
  char *out = r->out;
  if (hi > lo && bytes && out != r->in[0]) memcpy(out + lo * bytes, (const char *)r->in[0] + lo * bytes, (size_t)((hi - lo) * bytes));
  for (int64_t j = 0; j < count; j++) {
    int64_t at = index[j];
    if (at < 0 || at >= rows) { *r->fault = 1; continue; }
    if (at < lo || at >= hi) continue;
    void *d = out + at * bytes;
    const void *s = src + j * bytes;
    if (r->which == TY_SCATTER_SET) { set(d, s, bytes); continue; }
    switch (r->dtype) {
    case TY_bool: case TY_u8: join_u8(r->which, d, s, width); break;
    case TY_i8: join_i8(r->which, d, s, width); break;
    case TY_i16: join_i16(r->which, d, s, width); break;
    case TY_i32: join_i32(r->which, d, s, width); break;
    case TY_i64: join_i64(r->which, d, s, width); break;
    case TY_f32: join_f32(r->which, d, s, width); break;
    case TY_f64: join_f64(r->which, d, s, width); break;
    default: break; /* narrow floats are refused */
    }
  }
}
