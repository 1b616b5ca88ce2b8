/* test_golden.c: graph text in, passes, expected graph text out. Each file of tests/golden (.txt):
 *   pass NAME          run the pipeline up to and including this pass (or "only NAME": that pass alone)
 *   --- in ... --- out ...
 * `test_golden DIR --update` rewrites the expected parts: read the difference before committing it. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "import/import.h"
#include "ops/ops.h"
#include "pass/pass.h"

static char *slurp(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  char *p = calloc(1, 1 << 20);
  size_t n = fread(p, 1, (1 << 20) - 1, f);
  p[n] = 0;
  fclose(f);
  return p;
}

/* A graph's text with each node after its operands, in the order in which outputs ask for them, and numbered so: the order in which
 * arguments of one call are evaluated, and what they make numbered, is the compiler's. */
enum { VALUES = 1000 };
typedef struct order { const char *def[VALUES]; int name[VALUES], named; ty_str text; } order;
static int value_at(const char *p) { return *p == '%' && p[1] >= '0' && p[1] <= '9' && atoi(p + 1) < VALUES ? atoi(p + 1) : -1; }
static void put_line(order *o, const char *line) {
  const char *end = strchr(line, '\n'), *eq = strstr(line, " = "), *operands = *line == '%' && eq ? eq : line;
  for (const char *p = operands; p < end; p++)
    if (value_at(p) >= 0 && !o->name[value_at(p)] && o->def[value_at(p)]) put_line(o, o->def[value_at(p)]);
  for (const char *p = line; p < operands; p++)
    if (value_at(p) >= 0) o->name[value_at(p)] = ++o->named;
  for (const char *p = line; p <= end; p++) {
    ty_str_add(&o->text, "%c", *p);
    if (value_at(p) < 0) continue;
    ty_str_add(&o->text, "%d", o->name[value_at(p)]);
    while (p[1] >= '0' && p[1] <= '9') p++;
  }
}
static char *ordered(const char *text) { /* lines end with \n */
  static order o;
  o = (order){0};
  for (const char *p = text; *p; p = strchr(p, '\n') + 1)
    for (const char *q = p; *p == '%' && strncmp(q, " = ", 3); q++)
      if (value_at(q) >= 0) o.def[value_at(q)] = p;
  for (int dead = 0; dead < 2; dead++) /* first all but nodes, which come with what uses them, then those that nothing uses */
    for (const char *p = text; *p; p = strchr(p, '\n') + 1) {
      const char *op = strstr(p, " = ");
      const bool node = *p == '%' && strncmp(op, " = input", 8) && strncmp(op, " = param", 8);
      if (dead ? node && !o.name[value_at(p)] : !node) put_line(&o, p);
    }
  return o.text.p;
}

static void run(const char *path, bool update) {
  char *text = slurp(path), name[64] = "";
  if (!text) { CHECK(!"cannot read a golden file"); return; }
  char *in = strstr(text, "--- in\n"), *out = strstr(text, "--- out\n");
  bool only = !strncmp(text, "only ", 5);
  if (!in || !out || sscanf(text, "%*s %60s", name) != 1) { CHECK(!"a golden file lacks a part"); free(text); return; }
  char *graph_text = strndup(in + 7, (size_t)(out - in - 7));
  ty_ctx *ctx = ty_ctx_create();
  ty_graph *g = NULL;
  ty_status st = ty_graph_parse(ctx, graph_text, &g);
  int last = ty_pass_find(name);
  CHECK(last >= 0);
  for (int i = only ? last : 0; i <= last && !st; i++) st = ty_passes[i].run(g);
  if (!st) st = ty_graph_verify(g);
  if (st) fprintf(stderr, "%s: %s\n", path, ty_ctx_error(ctx));
  CHECK(st == TY_OK);
  ty_str s = { 0 };
  if (!st) ty_graph_print(g, &s);
  if (update && !st) {
    FILE *f = fopen(path, "wb");
    fprintf(f, "%.*s%s", (int)(out + 8 - text), text, s.p);
    fclose(f);
  } else if (!st) {
    char *want = ordered(out + 8), *got = ordered(s.p);
    bool same = want && got && !strcmp(got, want);
    ty_free(want), ty_free(got);
    if (!same) fprintf(stderr, "%s: expected\n%s\ngot\n%s\n", path, out + 8, s.p);
    CHECK(same);
    ty_graph *again = NULL; /* what is printed parses back to the same text */
    CHECK(ty_graph_parse(ctx, s.p, &again) == TY_OK);
    if (again) {
      ty_str t = { 0 };
      ty_graph_print(again, &t);
      CHECK(!strcmp(s.p, t.p));
      ty_str_free(&t);
      ty_graph_destroy(again);
    } else fprintf(stderr, "%s: %s\n", path, ty_ctx_error(ctx));
  }
  ty_str_free(&s);
  if (g) ty_graph_destroy(g);
  ty_ctx_destroy(ctx);
  free(graph_text);
  free(text);
}

int main(int argc, char **argv) {
  if (argc < 2) { fprintf(stderr, "usage: test_golden DIR [--update]\n"); return 2; }
  struct dirent **list;
  int n = scandir(argv[1], &list, NULL, alphasort), seen = 0;
  for (int i = 0; i < n; i++) {
    char path[4096];
    const char *dot = strrchr(list[i]->d_name, '.');
    if (dot && !strcmp(dot, ".txt")) {
      snprintf(path, sizeof path, "%s/%s", argv[1], list[i]->d_name);
      run(path, argc > 2);
      seen++;
    }
    free(list[i]);
  }
  free(list);
  CHECK(seen > 0);
  return check_done();
}
