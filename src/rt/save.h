/* save.h: a folded program as bytes and a block of weights, and back: what a deployed model is made of. */
#ifndef TY_SAVE_H
#define TY_SAVE_H
#include "rt/bytes.h"
#include "rt/program.h"

enum { TY_SAVE_FORMAT = 5 }; /* grows with every change of what is written, steps.def included */

/* ---- Folding ahead of runs ---- */
/* Folds now, so that runs need no input that is folded only. read (or NULL) is called once for each such input when no
 * step of the folding will read it any more. inputs: by position; those that no folded step reads may be NULL. */
ty_status ty_program_fold(ty_program *, ty_ctx *, void *const *inputs, void (*read)(void *user, int input), void *user);

/* ---- Saving ---- */
/* Bytes of the weights: the folded state, and those inputs of which keep[input] that runs read (parameters). Decides their
 * places; before the first run. */
ty_status ty_program_weights_size(ty_program *, ty_ctx *, const bool *keep, size_t *bytes);
/* Folds into `at` (64-byte aligned, zeroed, as many bytes; the program goes on using it) and copies what is kept. */
ty_status ty_program_weights_write(ty_program *, ty_ctx *, void *at, void *const *inputs, void (*read)(void *user, int input), void *user);
/* Where input i lies in the weights; -1: it was not kept, or runs do not read it. */
int64_t ty_program_weights_at(const ty_program *, int input);
/* Appends the run part: symbols, expressions, buffers, literals, steps; kept inputs have become weights. loop_number gives a
 * number to the loop of a step (self as given when it was added). */
ty_status ty_program_save(const ty_program *, ty_ctx *, ty_writer *, int (*loop_number)(void *user, const void *self), void *user);

/* ---- Loading ---- */
/* Reads what ty_program_save wrote. Literals and names stay where they are read, weights too: both outlive the program, and are
 * 64-byte aligned. fns: the compiled loops by number. TY_INVALID for anything that is not as it was written: every size,
 * index and place is checked before use (but what a loop does with its parameters is the loop's, which is code). */
ty_status ty_program_load(ty_ctx *, ty_reader *, ty_isa tier, const void *weights, size_t weights_bytes, int nfns, const ty_loop_fn *fns,
                          ty_program **out);
#endif
