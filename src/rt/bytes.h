/* bytes.h: writing and reading the saved form of a program: numbers of variable length (LEB128), texts, aligned blocks. */
#ifndef TY_BYTES_H
#define TY_BYTES_H
#include "base/base.h"
#include <string.h>

typedef struct ty_writer { TY_VEC(uint8_t) to; bool failed; } ty_writer; /* failed: out of memory */
typedef struct ty_reader { const uint8_t *start, *p, *end; bool bad; } ty_reader; /* bad: past the end, or no sense; reads give 0 then */

static inline void ty_put_bytes(ty_writer *w, const void *p, size_t n) {
  if (w->failed || n > INT32_MAX / 2 || !ty_vec_room((void **)&w->to.p, &w->to.cap, w->to.n + (int)n, 1)) w->failed = true;
  else if (n) memcpy(w->to.p + w->to.n, p, n), w->to.n += (int)n;
}
static inline void ty_put_unsigned(ty_writer *w, uint64_t v) {
  uint8_t b[10];
  int n = 0;
  for (; v > 127; v >>= 7) b[n++] = (uint8_t)(v | 128);
  b[n++] = (uint8_t)v;
  ty_put_bytes(w, b, (size_t)n);
}
static inline void ty_put_int(ty_writer *w, int64_t v) { ty_put_unsigned(w, (uint64_t)v << 1 ^ (uint64_t)(v >> 63)); }
static inline void ty_put_double(ty_writer *w, double v) {
  uint64_t u;
  memcpy(&u, &v, 8);
  for (int i = 0; i < 8; i++) ty_put_bytes(w, &(uint8_t){(uint8_t)(u >> 8 * i)}, 1);
}
static inline void ty_put_text(ty_writer *w, const char *s) { /* with its NUL, so that the reader need not copy */
  size_t n = strlen(s);
  ty_put_unsigned(w, n);
  ty_put_bytes(w, s, n + 1);
}
static inline void ty_put_align(ty_writer *w, int to) {
  while (!w->failed && w->to.n % to) ty_put_bytes(w, "", 1);
}

static inline const void *ty_get_bytes(ty_reader *r, uint64_t n) { /* NULL when there are not so many */
  if (r->bad || n > (uint64_t)(r->end - r->p)) return r->bad = true, NULL;
  const uint8_t *at = r->p;
  r->p += n;
  return at;
}
static inline uint64_t ty_get_unsigned(ty_reader *r) {
  uint64_t v = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const uint8_t *b = ty_get_bytes(r, 1);
    if (!b) return 0;
    v |= (uint64_t)(*b & 127) << shift;
    if (!(*b & 128)) return v;
  }
  return r->bad = true, 0;
}
static inline int64_t ty_get_int(ty_reader *r) {
  uint64_t v = ty_get_unsigned(r);
  return (int64_t)(v >> 1 ^ -(v & 1));
}
/* A number in [lo, hi]. */
static inline int ty_get_range(ty_reader *r, int lo, int hi) {
  int64_t v = ty_get_int(r);
  if (v < lo || v > hi) return r->bad = true, lo;
  return (int)v;
}
/* How many entries follow: each takes at least a byte, so more than there are bytes is a lie. */
static inline int ty_get_count(ty_reader *r) {
  uint64_t v = ty_get_unsigned(r);
  if (v > (uint64_t)(r->end - r->p) || v > INT32_MAX / 256) return r->bad = true, 0;
  return (int)v;
}
static inline double ty_get_double(ty_reader *r) {
  const uint8_t *b = ty_get_bytes(r, 8);
  uint64_t u = 0;
  double v;
  for (int i = 0; b && i < 8; i++) u |= (uint64_t)b[i] << 8 * i;
  memcpy(&v, &u, 8);
  return v;
}
static inline const char *ty_get_text(ty_reader *r) { /* lies in what is read; never NULL */
  uint64_t n = ty_get_unsigned(r);
  if (n >= (uint64_t)(r->end - r->p)) return r->bad = true, "";
  const char *s = ty_get_bytes(r, n + 1);
  if (!s || s[n] || memchr(s, 0, (size_t)n)) return r->bad = true, "";
  return s;
}
static inline void ty_get_align(ty_reader *r, int to) {
  ty_get_bytes(r, (uint64_t)((to - (r->p - r->start) % to) % to));
}
#endif
