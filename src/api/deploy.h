/* deploy.h: the files of a deployed model: the parts that src/api/deploy.c puts together. */
#ifndef TY_DEPLOY_H
#define TY_DEPLOY_H
#include "api/model.h"
#include "emit/cc.h"
#include "rt/face.h"

/* For whom a model is compiled. */
typedef struct ty_target {
  ty_arch arch;
  ty_cc cc;
  int nlevels; ty_isa levels[TY_NISA]; /* lowest first */
  char runtime[4096];                  /* path of libtuyere_rt.a */
} ty_target;
/* levels: comma-separated, NULL for all of this architecture. Finds the compiler and the runtime: in $TUYERE_RT, beside this library or program, in
 * ../lib, and where it was installed. */
ty_status ty_target_find(ty_ctx *, const char *levels, ty_target *);

/* header.c: PREFIX.h, and the C text of the entry points it declares. name: an identifier. */
void ty_header_write(const char *name, const ty_face *, ty_str *out);
void ty_header_entries(const char *name, const ty_face *, ty_str *out);
#endif
