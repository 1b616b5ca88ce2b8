/* npy.c: reads and writes NumPy's .npy files: a magic, a Python dict as text, the elements. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cli/npy.h"

enum { HEADER_MAX = 1 << 16 }; /* numpy's own writes stay below 10,000 characters */

/* What NumPy calls our dtypes: kind and size. uint16 is none of ours, but the bits of bfloat16. */
static const char *const descrs[TY_NDTYPE] = { [TY_bool] = "b1", [TY_u8] = "u1", [TY_i8] = "i1", [TY_i16] = "i2", [TY_i32] = "i4", [TY_i64] = "i8",
                                               [TY_f16] = "f2", [TY_bf16] = "u2", [TY_f32] = "f4", [TY_f64] = "f8" };

typedef struct npy_scan { ty_ctx *ctx; const char *path, *p, *end; } npy_scan;

static ty_status bad(npy_scan *s, const char *what) { return ty_fail(s->ctx, TY_INVALID, "%s: not a .npy file: %s", s->path, what); }
static void skip(npy_scan *s) { while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r')) s->p++; }
static bool take(npy_scan *s, char c) {
  skip(s);
  if (s->p == s->end || *s->p != c) return false;
  s->p++;
  return true;
}
static bool word(npy_scan *s, const char *w) {
  size_t n = strlen(w);
  skip(s);
  if ((size_t)(s->end - s->p) < n || memcmp(s->p, w, n)) return false;
  s->p += n;
  return true;
}

/* A Python string without escapes. */
static bool text(npy_scan *s, char *out, size_t size) {
  skip(s);
  if (s->p == s->end || (*s->p != '\'' && *s->p != '"')) return false;
  const char *from = s->p + 1, *to = memchr(from, *s->p, (size_t)(s->end - from));
  if (!to || (size_t)(to - from) >= size || memchr(from, '\\', (size_t)(to - from))) return false;
  memcpy(out, from, (size_t)(to - from));
  out[to - from] = 0;
  s->p = to + 1;
  return true;
}

static ty_status descr(npy_scan *s, ty_npy *a, bool *swap) {
  char d[32];
  skip(s);
  if (s->p < s->end && *s->p == '[') return ty_fail(s->ctx, TY_UNSUPPORTED, "%s: a structured array is no tensor", s->path);
  if (!text(s, d, sizeof d)) return bad(s, "the dtype is no text");
  if (!strcmp(d + (strchr("<>=|", *d) && *d), "O")) return ty_fail(s->ctx, TY_UNSUPPORTED, "%s: an array of pickled objects is not read", s->path);
  if (*d && strchr("<>=|", *d))
    for (int t = 0; t < TY_NDTYPE; t++)
      if (!strcmp(d + 1, descrs[t]) || (t == TY_bf16 && !strcmp(d + 1, "V2"))) {
        a->dtype = (ty_dtype)t;
        *swap = *d == '>';
        return TY_OK;
      }
  return ty_fail(s->ctx, TY_UNSUPPORTED, "%s: no tensor has NumPy's dtype '%s'", s->path, d);
}

static ty_status shape(npy_scan *s, ty_npy *a) {
  if (!take(s, '(')) return bad(s, "the shape is no tuple");
  for (a->rank = 0; !take(s, ')');) {
    if (a->rank && !take(s, ',')) return bad(s, "the shape is no tuple of numbers");
    if (take(s, ')')) return TY_OK;
    int64_t n = 0;
    const char *from = (skip(s), s->p);
    for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++)
      if (!ty_mul_i64(n, 10, &n) || !ty_add_i64(n, *s->p - '0', &n)) return bad(s, "a size is too large");
    if (s->p == from) return bad(s, "the shape is no tuple of numbers");
    if (s->p < s->end && *s->p == 'L') s->p++; /* Python 2's long */
    if (a->rank == TY_MAX_RANK) return ty_fail(s->ctx, TY_UNSUPPORTED, "%s: more than %d dims", s->path, TY_MAX_RANK);
    a->shape[a->rank++] = n;
  }
  return TY_OK;
}

static ty_status header(npy_scan *s, ty_npy *a, bool *fortran, bool *swap) {
  bool seen[3] = { 0 };
  if (!take(s, '{')) return bad(s, "the header is no dict");
  while (!take(s, '}')) {
    char key[32];
    if (!text(s, key, sizeof key) || !take(s, ':')) return bad(s, "the header is no dict");
    int k = !strcmp(key, "descr") ? 0 : !strcmp(key, "fortran_order") ? 1 : !strcmp(key, "shape") ? 2 : -1;
    if (k < 0 || seen[k]) return bad(s, "the header has keys that it should not have");
    seen[k] = true;
    if (k == 0) TY_TRY(descr(s, a, swap));
    else if (k == 2) TY_TRY(shape(s, a));
    else if (word(s, "True")) *fortran = true;
    else if (!word(s, "False")) return bad(s, "fortran_order is neither True nor False");
    if (!take(s, ',') && (skip(s), s->p == s->end || *s->p != '}')) return bad(s, "the header is no dict");
  }
  skip(s);
  return s->p != s->end ? bad(s, "text after the header's dict") : seen[0] && seen[1] && seen[2] ? TY_OK : bad(s, "the header lacks a key");
}

static void swap_bytes(char *p, size_t elems, size_t size) {
  for (size_t i = 0; i < elems; i++, p += size)
    for (size_t k = 0; k < size / 2; k++) { char t = p[k]; p[k] = p[size - 1 - k]; p[size - 1 - k] = t; }
}

/* From the first index running fastest to the last one running fastest. */
static bool from_fortran(ty_npy *a, size_t elems, size_t size) {
  char *to = ty_alloc(a->bytes), *out = to;
  size_t stride[TY_MAX_RANK], at = 0, step = size;
  int64_t idx[TY_MAX_RANK] = { 0 };
  if (!to) return false;
  for (int i = 0; i < a->rank; i++) { stride[i] = step; step *= (size_t)a->shape[i]; }
  for (size_t e = 0; e < elems; e++, out += size) {
    memcpy(out, (char *)a->data + at, size);
    for (int i = a->rank - 1; i >= 0; i--) {
      at += stride[i];
      if (++idx[i] < a->shape[i]) break;
      at -= stride[i] * (size_t)a->shape[i];
      idx[i] = 0;
    }
  }
  ty_free(a->data);
  a->data = to;
  return true;
}

static ty_status read_open(ty_ctx *ctx, const char *path, FILE *f, ty_npy *a) {
  struct stat info;
  unsigned char magic[12];
  npy_scan s = { .ctx = ctx, .path = path };
  if (fstat(fileno(f), &info)) return ty_fail(ctx, TY_IO, "%s: %s", path, strerror(errno));
  if (!S_ISREG(info.st_mode)) return ty_fail(ctx, TY_IO, "%s: not a file", path);
  if (fread(magic, 1, 8, f) != 8 || memcmp(magic, "\x93NUMPY", 6)) return bad(&s, "it does not begin as one");
  int version = magic[6], wide = version == 1 ? 2 : 4;
  if (version < 1 || version > 3 || magic[7]) return ty_fail(ctx, TY_UNSUPPORTED, "%s: version %d.%d of the .npy format", path, version, magic[7]);
  if (fread(magic + 8, 1, (size_t)wide, f) != (size_t)wide) return bad(&s, "it ends in the header");
  size_t n = 0;
  for (int i = wide - 1; i >= 0; i--) n = n << 8 | (i < 4 ? magic[8 + i] : 0);
  if (n > HEADER_MAX) return bad(&s, "the header is too long");
  char *text = ty_alloc(n + 1);
  if (!text) return ty_fail(ctx, TY_NOMEM, "%s: out of memory", path);
  bool fortran = false, swap = false;
  s.p = text, s.end = text + n;
  ty_status st = fread(text, 1, n, f) == n ? header(&s, a, &fortran, &swap) : bad(&s, "it ends in the header");
  ty_free(text);
  TY_TRY(st);
  size_t elems = 1, size = (size_t)ty_dtype_size(a->dtype), head = 8 + (size_t)wide + n, have = (size_t)info.st_size > head ? (size_t)info.st_size - head : 0;
  bool empty = false, fits = true;
  for (int i = 0; i < a->rank; i++) empty |= !a->shape[i];
  for (int i = 0; i < a->rank && !empty; i++) fits &= ty_mul(elems, (size_t)a->shape[i], &elems);
  if (empty) elems = 0;
  if (!fits || !ty_mul(elems, size, &a->bytes) || a->bytes > have) return ty_fail(ctx, TY_INVALID, "%s: the shape needs more bytes than the file has", path);
  a->data = ty_alloc(a->bytes);
  if (!a->data) return ty_fail(ctx, TY_NOMEM, "%s: out of memory", path);
  if (fread(a->data, 1, a->bytes, f) != a->bytes) return ty_fail(ctx, TY_IO, "%s: %s", path, ferror(f) ? strerror(errno) : "it ends early");
  if (swap) swap_bytes(a->data, elems, size);
  for (size_t i = 0; i < elems && a->dtype == TY_bool; i++) ((uint8_t *)a->data)[i] = ((uint8_t *)a->data)[i] != 0;
  if (fortran && a->rank > 1 && elems && !from_fortran(a, elems, size)) return ty_fail(ctx, TY_NOMEM, "%s: out of memory", path);
  return TY_OK;
}

ty_status ty_npy_read(ty_ctx *ctx, const char *path, ty_npy *out) {
  *out = (ty_npy){ 0 };
  FILE *f = fopen(path, "rb");
  if (!f) return ty_fail(ctx, TY_IO, "%s: %s", path, strerror(errno));
  ty_status st = read_open(ctx, path, f, out);
  fclose(f);
  if (st) ty_npy_free(out);
  return st;
}

void ty_npy_free(ty_npy *a) {
  ty_free(a->data);
  *a = (ty_npy){ 0 };
}

ty_status ty_npy_write(ty_ctx *ctx, const char *path, const ty_npy *a) {
  ty_str h = { 0 };
  ty_str_add(&h, "{'descr': '%c%s', 'fortran_order': False, 'shape': (", ty_dtype_size(a->dtype) == 1 ? '|' : '<', descrs[a->dtype]);
  for (int i = 0; i < a->rank; i++) ty_str_add(&h, "%lld%s", (long long)a->shape[i], a->rank == 1 ? "," : i + 1 < a->rank ? ", " : "");
  ty_str_add(&h, "), }");
  while ((10 + h.n + 1) % 64 && !h.failed) ty_str_add(&h, " "); /* the elements begin at a multiple of 64 */
  ty_str_add(&h, "\n");
  if (h.failed) { ty_str_free(&h); return ty_fail(ctx, TY_NOMEM, "%s: out of memory", path); }
  const unsigned char head[10] = { 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)(h.n & 255), (unsigned char)(h.n >> 8) };
  FILE *f = fopen(path, "wb");
  bool good = f && fwrite(head, 1, 10, f) == 10 && fwrite(h.p, 1, h.n, f) == h.n && fwrite(a->data, 1, a->bytes, f) == a->bytes;
  if (f && fclose(f)) good = false;
  ty_str_free(&h);
  return good ? TY_OK : ty_fail(ctx, TY_IO, "%s: %s", path, strerror(errno));
}
