/* mutate.c: libFuzzer's mutations, and every other time one that keeps text (graphs, JSON) nearly whole: a token is replaced by one of
 * its kind from elsewhere in the text or by a telling number, or a piece between brackets or line ends is repeated or left out. */
#include <ctype.h>
#include "fuzz.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

static unsigned state;
static size_t below(size_t n) {
  state = state * 1664525u + 1013904223u;
  return n ? (state >> 8) % n : 0;
}

typedef struct span { size_t at, n; } span;
static int kind_of(uint8_t c) { return isdigit(c) || c == '-' ? 1 : isalpha(c) || c == '_' || c == '.' ? 2 : c == '%' ? 3 : 0; }

/* A token at or after a random place: digits, a word (dots included), or a %reference. */
static span token(const uint8_t *p, size_t n, int kind) {
  for (size_t tries = 0; tries < 32; tries++) {
    size_t i = below(n);
    while (i && kind_of(p[i]) && kind_of(p[i - 1])) i--;
    while (i < n && !kind_of(p[i])) i++;
    if (i == n || (kind && kind_of(p[i]) != kind)) continue;
    size_t e = i + 1;
    while (e < n && (kind_of(p[e]) == kind_of(p[i]) || (kind_of(p[i]) != 1 && isalnum(p[e])))) e++;
    return (span){i, e - i};
  }
  return (span){0, 0};
}

static size_t put(uint8_t *p, size_t n, size_t max, span old, const uint8_t *with, size_t len) {
  if (n - old.n + len > max) return n;
  memmove(p + old.at + len, p + old.at + old.n, n - old.at - old.n);
  memcpy(p + old.at, with, len);
  return n - old.n + len;
}

/* From a random opening bracket to its end, or a line. */
static span piece(const uint8_t *p, size_t n) {
  size_t i = below(n), e;
  while (i && p[i] != '{' && p[i] != '[' && p[i] != '(' && p[i - 1] != '\n') i--;
  int depth = 0;
  for (e = i; e < n; e++) {
    depth += (p[e] == '{' || p[e] == '[' || p[e] == '(') - (p[e] == '}' || p[e] == ']' || p[e] == ')');
    if (depth <= 0 && (e > i || p[e] == '\n')) break;
  }
  e += e < n;
  if (e < n && p[e] == ',') e++; /* an entry of a list, with its comma */
  return (span){i, e - i};
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
  static const char *const numbers[] = {"0", "1", "-1", "2", "3", "7", "64", "4294967296", "9223372036854775807", "-9223372036854775808", "2147483648", "1e300"};
  uint8_t copy[4096];
  state = seed;
  if (!size || below(2)) return LLVMFuzzerMutate(data, size, max);
  for (size_t edits = 1 + below(3); edits; edits--) {
    size_t what = below(4);
    span s = what < 3 ? token(data, size, what == 0 ? 1 : 0) : piece(data, size);
    if (!s.n || s.n > sizeof copy) continue;
    if (what == 0) { /* a number */
      const char *t = numbers[below(sizeof numbers / sizeof *numbers)];
      size = put(data, size, max, s, (const uint8_t *)t, strlen(t));
    } else if (what < 3) {
      span o = token(data, size, kind_of(data[s.at]));
      if (!o.n || o.n > sizeof copy) continue;
      memcpy(copy, data + o.at, o.n);
      size = put(data, size, max, s, copy, o.n);
    } else if (below(2)) size = put(data, size, max, s, copy, 0);
    else {
      memcpy(copy, data + s.at, s.n);
      size = put(data, size, max, (span){s.at, 0}, copy, s.n);
    }
  }
  return size;
}
