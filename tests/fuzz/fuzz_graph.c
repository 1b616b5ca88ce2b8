/* fuzz_graph.c: any bytes as graph text: the parser answers or refuses, and what it accepts prints and parses back. */
#include <stdlib.h>
#include <string.h>
#include "fuzz.h"
#include "import/import.h"
#include "ops/ops.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *text = fuzz_text(data, size);
  ty_ctx *ctx = ty_ctx_create();
  ty_graph *g = NULL, *again = NULL;
  if (ty_graph_parse(ctx, text, &g) == TY_OK) {
    ty_str a = {0}, b = {0};
    FUZZ_CHECK(ty_graph_verify(g) == TY_OK);
    ty_graph_print(g, &a);
    FUZZ_CHECK(ty_graph_parse(ctx, a.p, &again) == TY_OK);
    ty_graph_print(again, &b);
    FUZZ_CHECK(!strcmp(a.p, b.p));
    ty_str_free(&a), ty_str_free(&b);
    ty_graph_destroy(again), ty_graph_destroy(g);
  } else FUZZ_CHECK(*ty_ctx_error(ctx));
  ty_ctx_destroy(ctx);
  free(text);
  return 0;
}
