/* artefact_abi.h: what a deployed model's own C file and the runtime linked into it know of each other. Freestanding, after
 * tuyere_abi.h: its text begins the file that deploy writes. */
#ifndef TY_ARTEFACT_ABI_H
#define TY_ARTEFACT_ABI_H
#include "tuyere_abi.h"

/* The compiled loops for one CPU level, by number; the lowest level comes first. */
typedef struct ty_artefact_level { int isa; const ty_loop_fn *fns; } ty_artefact_level;

/* The one object that a deployed model exports beside its entry points, as `tuyere_artefact`. */
typedef struct ty_artefact {
  char magic[8];             /* "TYMODEL". These four stay as they are in all versions */
  int format;                /* TY_SAVE_FORMAT of who wrote it */
  int ncalls; void *const *calls; /* ty_entry_calls */
  const char *version, *name;
  const unsigned char *program; ty_u64 program_bytes; /* 64-byte aligned: ty_program_save, ty_face_put */
  unsigned char id[16];      /* that of the weights it belongs with */
  ty_u64 weights_bytes;      /* without the file's first page */
  int nloops, nlevels;
  const ty_artefact_level *levels;
} ty_artefact;

/* A deployed model, loaded once for all its sessions. */
typedef struct ty_entry_home { void *model; int sessions; } ty_entry_home;

/* The model's own runtime, for loaders of any version: functions of tuyere.h in the order of artefact.c, to which later versions
 * append, with ty_entry_load(context, artefact, path of the weights, model) in the place of tuyere_model_open. */
enum { TY_ENTRY_CALLS = 19 };
extern void *const ty_entry_calls[TY_ENTRY_CALLS];

/* What the typed entry points call. weights: path, NULL for the file beside the shared object. 0 is good; else error has the text
 * (NUL-terminated, cut to size). */
int ty_entry_create(const ty_artefact *, ty_entry_home *, const char *weights, void **session, char *error, ty_u64 size);
void ty_entry_destroy(ty_entry_home *, void *session);
int ty_entry_run(void *session, const ty_i64 *syms, const void *const *inputs, void *const *outputs); /* contiguous */
const char *ty_entry_error(const void *session);
void ty_entry_threads(int n);
#endif
