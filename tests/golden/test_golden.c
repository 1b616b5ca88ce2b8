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
    bool same = !strcmp(s.p, out + 8);
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
