/* model.h: a model file opened for a command, its inputs from files or made up, and sessions in either mode. */
#ifndef TY_CLI_MODEL_H
#define TY_CLI_MODEL_H
#include "cli/cli.h"

typedef enum ty_cli_mode { TY_CLI_EAGER, TY_CLI_COMPILE, TY_CLI_NMODES } ty_cli_mode;
#define TY_CLI_MODES "eager,compile" /* their names, in that order */
const char *ty_cli_mode_name(ty_cli_mode);

typedef struct ty_cli_input { tuyere_info info; tuyere_tensor tensor; bool given; } ty_cli_input; /* data is ours */
typedef struct ty_cli_model {
  const char *path;
  bool archive;        /* else a deployed model, which runs compiled only */
  tuyere_model *file;
  int ninputs; ty_cli_input *inputs;
} ty_cli_model;

/* All return exit codes, with the message printed. */
int ty_cli_model_look(ty_cli *, const char *path, ty_cli_model *); /* what kind of file it is, no more */
int ty_cli_model_open(ty_cli *, const char *path, ty_cli_model *);
/* From --input NAME=FILE.npy. What is not given is an error, or, with `random`, made up: ids that an embedding has rows for, masks
 * of ones, normal floats; sizes that the archive leaves open are those of its example, or as --shape NAME=1x128 says. */
int ty_cli_model_inputs(ty_cli *, ty_cli_model *, bool random);
void ty_cli_model_close(ty_cli_model *);

typedef struct ty_cli_session { tuyere_model *compiled; tuyere_session *session; double compile_seconds; } ty_cli_session;
/* Compiled in a mode, with the inputs bound. interpreted: no C compiler is used. */
int ty_cli_session_open(ty_cli *, const ty_cli_model *, ty_cli_mode, bool interpreted, ty_cli_session *);
void ty_cli_session_close(ty_cli_session *);

/* The modes to measure, from --mode; a deployed model has one. */
int ty_cli_modes(ty_cli *, const ty_cli_model *, bool use[TY_CLI_NMODES]);
/* "1x128" as sizes; -1 when it is none. */
int ty_cli_shape(const char *text, int64_t out[TUYERE_MAX_RANK]);
void ty_cli_dims(ty_str *, const tuyere_info *);                   /* "[1, seq]" */
void ty_cli_sizes(ty_str *, int rank, const int64_t *shape);       /* "[1, 128]" */

/* ---- guess.c ---- */
typedef struct ty_cli_guess { int64_t shape[TUYERE_MAX_RANK]; int64_t from, below; bool ones; } ty_cli_guess; /* integers are at least from, and less than below */
/* Sizes and ranges of values for each input (user input i is out[i]). Sizes of the inputs already given or told by `shapes` (one a
 * given input, NULL: none) settle those of others. */
int ty_cli_guess_inputs(ty_cli *, const ty_cli_model *, ty_cli_guess *out, const int64_t *const *shapes);
/* Normal floats, integers in range, or ones; the same at every call. */
void ty_cli_fill(const ty_cli_guess *, tuyere_tensor *, uint64_t seed);
#endif
