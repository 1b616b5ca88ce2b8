/* emit.h: spells a finished loop as one C function, and holds the text that stands before such functions. No decisions here. */
#ifndef TY_EMIT_H
#define TY_EMIT_H
#include "loop/loop.h"

/* Appends the kernel as a function of type ty_loop_fn, exported with default visibility. The same loop and name give the same
 * text. out->failed tells when memory ran out. */
void ty_emit_loop(const ty_loop *, const char *fn_name, ty_str *out);
/* What each file of kernels begins with: tuyere_abi.h and prelude.h. Needs no system header; links with -lm. */
const char *ty_emit_prelude(void);
#endif
