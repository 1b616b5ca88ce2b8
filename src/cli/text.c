/* text.c: figures as people read them, tables, quantiles, JSON text. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/cli.h"

void ty_cli_cell(ty_cli_table *t, const char *fmt, ...) {
  ty_str s = { 0 };
  va_list ap;
  va_start(ap, fmt);
  ty_str_vadd(&s, fmt, ap);
  va_end(ap);
  if (s.failed || !TY_PUSH(&t->cells, s.p)) { t->failed = true; ty_str_free(&s); }
}

/* Columns on a terminal: bytes that begin a character. */
static int width(const char *s) {
  int n = 0;
  for (; s && *s; s++) n += ((unsigned char)*s & 0xC0) != 0x80;
  return n;
}

static void rule(const ty_cli_table *t, const int *wide) {
  for (int i = 0; i < t->cols; i++) {
    for (int k = 0; k < wide[i]; k++) putchar('-');
    fputs(i + 1 < t->cols ? "  " : "\n", stdout);
  }
}

void ty_cli_table_print(const ty_cli_table *t, bool rules) {
  int wide[24] = { 0 }, rows = t->cols ? t->cells.n / t->cols : 0;
  if (t->failed) { puts("(no memory for a table)"); return; }
  for (int i = 0; i < rows * t->cols; i++) {
    int w = width(t->cells.p[i]), *have = &wide[i % t->cols];
    if (w > *have) *have = w;
  }
  if (rules) rule(t, wide);
  for (int r = 0; r < rows; r++) {
    for (int i = 0; i < t->cols; i++) {
      const char *cell = t->cells.p[r * t->cols + i];
      int pad = wide[i] - width(cell);
      bool left = i < t->left, last = i + 1 == t->cols;
      printf("%*s%s%*s%s", left ? 0 : pad, "", cell ? cell : "", left && !last ? pad : 0, "", last ? "\n" : "  ");
    }
    if (rules && (!r || r == rows - 1)) rule(t, wide);
  }
}

void ty_cli_table_free(ty_cli_table *t) {
  for (int i = 0; i < t->cells.n; i++) ty_free(t->cells.p[i]);
  TY_VEC_FREE(&t->cells);
}

void ty_cli_time(char out[32], double s) {
  if (s >= 1) snprintf(out, 32, "%.3fs", s);
  else if (s >= 1e-3) snprintf(out, 32, "%.3fms", s * 1e3);
  else snprintf(out, 32, "%.3fus", s * 1e6);
}

static void scaled(char out[32], double n, double base, const char *const *units) {
  bool whole = n < base;
  while (n >= base && units[1]) n /= base, units++;
  snprintf(out, 32, "%.*f%s", whole ? 0 : n < 10 ? 2 : 1, n, *units);
}
void ty_cli_bytes(char out[32], double n) { scaled(out, n, 1024, (const char *const[]){ " B", " KiB", " MiB", " GiB", " TiB", NULL }); }
void ty_cli_count(char out[32], double n) { scaled(out, n, 1000, (const char *const[]){ "", " K", " M", " G", " T", NULL }); }

static int order(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}
void ty_cli_sort(double *p, int n) { qsort(p, (size_t)n, sizeof *p, order); }

double ty_cli_quantile(const double *p, int n, double q) {
  if (n < 1) return 0;
  double at = q * (n - 1);
  int i = (int)at;
  return i + 1 < n ? p[i] + (at - i) * (p[i + 1] - p[i]) : p[n - 1];
}

void ty_cli_json_text(ty_str *o, const char *s) {
  ty_str_add(o, "\"");
  for (; s && *s; s++) {
    if (*s == '"' || *s == '\\') ty_str_add(o, "\\%c", *s);
    else if ((unsigned char)*s < 32) ty_str_add(o, "\\u%04x", *s);
    else ty_str_add(o, "%c", *s);
  }
  ty_str_add(o, "\"");
}
