/* source.h: what the public API compiles: an opened archive, or (for tests) a graph made by hand. */
#ifndef TY_SOURCE_H
#define TY_SOURCE_H
#include "import/archive.h"
#include "rt/model.h"

/* A source makes the graph afresh for each compilation. */
typedef struct ty_source {
  ty_status (*import)(ty_ctx *, const void *self, const ty_archive_options *, ty_imported **out); /* as ty_archive_import */
  void (*destroy)(void *self);
  void *self;
} ty_source;

/* An archive model of the API. Takes the source over, also on failure. */
ty_status ty_source_model(ty_ctx *, ty_source, tuyere_model **out);
/* The source of an archive model; NULL when it is another kind. */
const ty_source *ty_source_of(const tuyere_model *);

/* "ids=1x128,mask=-1x128" for ty_archive_import, in the arena. */
ty_status ty_source_fixes(ty_ctx *, const char *text, ty_arena *, ty_archive_options *);
/* What the imported graph g looks like from outside; p: the program compiled of it, NULL: none yet. */
ty_status ty_source_face(ty_ctx *, const ty_imported *, const ty_graph *g, ty_program *p, ty_face *);
/* The program's table of inputs: addresses of what the archive holds, NULL for the caller's. ty_free it. */
void **ty_source_inputs(const ty_imported *, const ty_graph *g);
/* Tells the system that the pages of a mapped tensor are not needed now. */
void ty_source_drop(const void *data, size_t bytes);
#endif
