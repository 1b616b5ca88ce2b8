/* import_one.h: one archive in memory through reader, builder, passes and scheduler; each tensor's first and last bytes are read. */
#ifndef TY_FUZZ_IMPORT_ONE_H
#define TY_FUZZ_IMPORT_ONE_H
#include "api/model.h"
#include "fuzz.h"
#include "import/archive.h"

static int import_sum; /* so that the reads are made */

static inline void import_one(const uint8_t *data, size_t size) {
  static const ty_options options = {.no_compiler = true};
  ty_ctx *ctx = ty_ctx_create();
  ty_archive *a = NULL;
  ty_imported *im = NULL;
  ty_model *m = NULL;
  ty_status st = ty_archive_open_memory(ctx, data, size, "fuzz.pt2", NULL, &a);
  FUZZ_CHECK(st == TY_OK ? a != NULL : a == NULL && *ty_ctx_error(ctx));
  if (!st) {
    FUZZ_CHECK(ty_archive_look(a));
    st = ty_archive_import(ctx, a, NULL, &im);
    FUZZ_CHECK(st != TY_INTERNAL && (st == TY_OK || *ty_ctx_error(ctx)));
  }
  for (int i = im ? im->nusers : 0; im && i < im->ninputs; i++)
    if (im->inputs[i].bytes) {
      const uint8_t *p = im->inputs[i].data;
      FUZZ_CHECK(p >= data && p + im->inputs[i].bytes <= data + size);
      import_sum += p[0] + p[im->inputs[i].bytes - 1];
    }
  if (im && !st) {
    ty_graph *g = im->graph;
    im->graph = NULL;
    st = ty_model_compile(ctx, g, &options, &m);
    FUZZ_CHECK(st != TY_INTERNAL);
    ty_model_destroy(m);
  }
  ty_imported_destroy(im);
  ty_archive_close(a);
  ty_ctx_destroy(ctx);
}
#endif
