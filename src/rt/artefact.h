/* artefact.h: deployed models: the weights file, and loading one into a model. */
#ifndef TY_ARTEFACT_H
#define TY_ARTEFACT_H
#include "rt/artefact_abi.h"
#include "rt/model.h"

/* The first page of a weights file; the weights follow. */
enum { TY_WEIGHTS_PAGE = 4096 };
typedef struct ty_weights_head {
  char magic[8];             /* "TYWEIGHT" */
  uint32_t format, page;
  uint64_t bytes;
  unsigned char id[16];      /* that of the shared object */
} ty_weights_head;

/* Maps the weights (shared, read-only) and reads the program. opened_from: the handle of dlopen, closed with the model (also on
 * failure); NULL when the artefact is part of the caller. */
ty_status ty_artefact_load(ty_ctx *, const ty_artefact *, const char *weights_path, void *opened_from, tuyere_model **out);
/* Opens a shared object that ty_artefact_load takes; its weights lie beside it. */
ty_status ty_artefact_open(ty_ctx *, const char *path, tuyere_model **out);
#endif
