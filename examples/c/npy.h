/* npy.h: reads NumPy's .npy files (C order, version 1 to 3) and raw float32 files: what the examples need of them. */
#ifndef NPY_H
#define NPY_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tuyere.h>

/* On success *t has data from malloc, a dtype and a shape. On failure a message is printed and 0 is returned. */
static int npy_read(const char *path, tuyere_tensor *t) {
  unsigned char head[12];
  char *text = NULL, *at;
  size_t length, bytes;
  int i, ok = 0;
  FILE *f = fopen(path, "rb");
  memset(t, 0, sizeof *t);
  if (!f) {
    perror(path);
    return 0;
  }
  if (fread(head, 1, 10, f) == 10 && !memcmp(head, "\x93NUMPY", 6)) {
    length = head[8] | (size_t)head[9] << 8;
    if (head[6] > 1 && fread(head + 10, 1, 2, f) == 2) length |= (size_t)head[10] << 16 | (size_t)head[11] << 24;
    if (length < 1 << 20 && (text = (char *)calloc(1, length + 1)) != NULL && fread(text, 1, length, f) == length) {
      static const struct { const char *descr; tuyere_dtype dtype; } kinds[] = {
        {"'|b1'", TUYERE_BOOL}, {"'|u1'", TUYERE_U8}, {"'|i1'", TUYERE_I8}, {"'<i4'", TUYERE_I32}, {"'<i8'", TUYERE_I64}, {"'<f4'", TUYERE_F32}, {"'<f8'", TUYERE_F64}};
      for (i = 0; i < (int)(sizeof kinds / sizeof *kinds); i++)
        if (strstr(text, kinds[i].descr)) t->dtype = kinds[i].dtype, ok = 1;
      at = strstr(text, "'shape': (");
      ok = ok && at && strstr(text, "'fortran_order': False");
      bytes = tuyere_dtype_size(t->dtype);
      for (at = at ? at + 10 : NULL; ok && *at && *at != ')';) {
        int64_t n = strtoll(at, &at, 10);
        ok = t->rank < TUYERE_MAX_RANK && n >= 0 && (n == 0 || bytes < ((size_t)1 << 40) / (size_t)n);
        if (ok) t->shape[t->rank++] = n, bytes *= (size_t)n;
        at += strspn(at, ", ");
      }
      if (ok) t->data = malloc(bytes ? bytes : 1);
      ok = ok && t->data && fread(t->data, 1, bytes, f) == bytes;
    }
  }
  if (!ok) fprintf(stderr, "%s: not a .npy file that is read here (little-endian, C order)\n", path);
  if (!ok) free(t->data);
  free(text);
  fclose(f);
  return ok;
}

/* A file of float32 numbers and nothing else, of the shape already in *t. */
static int raw_read(const char *path, tuyere_tensor *t) {
  size_t n = 4;
  int i, ok;
  FILE *f = fopen(path, "rb");
  if (!f) {
    perror(path);
    return 0;
  }
  for (i = 0; i < t->rank; i++) n *= (size_t)t->shape[i];
  t->dtype = TUYERE_F32;
  t->data = malloc(n ? n : 1);
  ok = t->data && fread(t->data, 1, n, f) == n && fgetc(f) == EOF;
  fclose(f);
  if (!ok) fprintf(stderr, "%s: not %lu bytes of float32\n", path, (unsigned long)n);
  if (!ok) free(t->data);
  return ok;
}
#endif
