/* fuzz_compile.c: graph text through the whole pipeline, all passes and the scheduler, without a C compiler. */
#include <stdlib.h>
#include "api/model.h"
#include "fuzz.h"
#include "import/import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const ty_options options = {.no_compiler = true};
  char *text = fuzz_text(data, size);
  ty_ctx *ctx = ty_ctx_create();
  ty_graph *g = NULL;
  ty_model *m = NULL;
  if (ty_graph_parse(ctx, text, &g) == TY_OK) {
    ty_status st = ty_model_compile(ctx, g, &options, &m);
    FUZZ_CHECK(st != TY_INTERNAL && (st == TY_OK || *ty_ctx_error(ctx)));
    if (st == TY_OK) {
      char *text_of = ty_model_explain(m);
      ty_free(text_of);
      ty_model_destroy(m);
    }
  }
  ty_ctx_destroy(ctx);
  free(text);
  return 0;
}
