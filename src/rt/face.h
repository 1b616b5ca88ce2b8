/* face.h: what a compiled model looks like from outside: symbols, inputs and outputs with names and dims, guards, state. */
#ifndef TY_FACE_H
#define TY_FACE_H
#include "rt/save.h"
#include "tuyere.h"

typedef struct ty_face_sym { const char *name; int64_t min, max; } ty_face_sym;

/* An input or output that the caller sees. A number (index < 0) is a rank 0 tensor to him: an integer that is `number`, or,
 * when that is -1, the constant `value`. */
typedef struct ty_face_leaf {
  tuyere_info info;
  const ty_pexpr *dims;  /* info.rank of them; NULL while there is no program */
  int index;             /* among the program's inputs or outputs */
  ty_pexpr number;
  double value;
} ty_face_leaf;

/* An input that is no caller's: after a run it holds what output `output` was, which has its shape. */
typedef struct ty_face_state {
  int input, output;
  tuyere_tensor like;    /* shape and strides of the input's memory; data: what it holds at first */
  size_t bytes;
} ty_face_state;

typedef enum ty_face_rel { TY_FACE_EQ, TY_FACE_NE, TY_FACE_LT, TY_FACE_LE } ty_face_rel;
typedef struct ty_face_guard { ty_pexpr a, b; ty_face_rel rel; const char *text; } ty_face_guard; /* a REL b holds */

typedef struct ty_face {
  ty_arena mem;
  int nsyms, ninputs, noutputs, nstates, nguards;
  int program_inputs, program_outputs; /* lengths of the tables that a run takes */
  ty_face_sym *syms;
  ty_face_leaf *inputs, *outputs;
  ty_face_state *states;
  ty_face_guard *guards;
} ty_face;

/* at[i]: where in the weights state i's first contents lie. */
void ty_face_put(ty_writer *, const ty_face *, const int64_t *at);
/* Reads it back; expressions are those of the program. Texts stay in what is read. */
ty_status ty_face_get(ty_ctx *, ty_reader *, const ty_program *, const void *weights, size_t weights_bytes, ty_face *);

/* The symbols' values from the sizes of the inputs, which are checked: each dim, ranges, guards. numbers: values of the
 * inputs that are numbers. */
ty_status ty_face_solve(ty_ctx *, const ty_face *, const ty_program *, const tuyere_tensor *inputs, int64_t *syms);
/* The same where the symbols are known. */
ty_status ty_face_check(ty_ctx *, const ty_face *, const ty_program *, const int64_t *syms);
#endif
