/* archive.h: torch.export archives (.pt2): opened and checked without pickle and without trust, and made into graphs.
 *
 *   ty_archive_open       maps the file, checks the container, the program's JSON and the tables of weights
 *   ty_archive_import     builds the graph through ty_build, and says what its inputs and outputs are
 *   ty_model_compile      (api/model.h) takes imported->graph
 *   ty_imported_bind      at each change of sizes: the symbols' values for ty_run, from the sizes handed in
 *
 * Tensors of the archive are never copied: the table points into the mapped file, which lives until ty_archive_close. */
#ifndef TY_ARCHIVE_H
#define TY_ARCHIVE_H
#include "graph/graph.h"

typedef struct ty_archive ty_archive;

/* `model`: which of the archive's programs (models/NAME.json); NULL: the only one, or the one named "model".
 * TY_IO: the file cannot be read. TY_INVALID: it is no archive, or damaged; the text names the member or node and what was
 * expected. TY_UNSUPPORTED: an archive of a kind that is not read here (pickled weights, another schema, sparse tensors).
 * The context must outlive the archive. */
ty_status ty_archive_open(ty_ctx *, const char *path, const char *model, ty_archive **out);
/* The same from memory, which must stay until the archive is closed; `name` is for messages. Aligned to 64 bytes as the file's
 * pages would be, else tensors are not aligned either. */
ty_status ty_archive_open_memory(ty_ctx *, const void *data, size_t size, const char *name, const char *model, ty_archive **out);
void ty_archive_close(ty_archive *); /* NULL is fine */

/* ---- Looking ---- (strings belong to the archive) */
typedef struct ty_archive_op { const char *target; int count; } ty_archive_op; /* "aten.linear.default", "_operator.mul" */
typedef struct ty_archive_info {
  const char *model, *torch_version;
  const char *dialect;       /* "TRAINING": as export gives it; "ATEN": after run_decompositions; else what the archive says */
  int schema_major, schema_minor;
  int nodes;                 /* of the program's own graph and of the sub-graphs of higher-order operators */
  int nops; const ty_archive_op *ops; /* most frequent first, then by name */
  int nparams, nbuffers, nconstants;  /* as the program lists them, tied ones singly */
  int64_t param_elements;    /* of the parameters, tied ones once */
  size_t weight_bytes;       /* of all members with weights and constants */
} ty_archive_info;
const ty_archive_info *ty_archive_look(const ty_archive *);

/* ---- The graph ---- */
/* Sizes of one user input, as in --static ids=1x128; -1 leaves a dim as archived. With `most` (or NULL) a dim stays open between
 * its size and most, where the archive has it open. */
typedef struct ty_archive_fix { const char *input; int rank; const int64_t *sizes, *most; } ty_archive_fix;
typedef struct ty_archive_options { int nfixes; const ty_archive_fix *fixes; } ty_archive_options;

typedef enum ty_imported_kind {
  TY_IMPORTED_USER,     /* handed in at each call */
  TY_IMPORTED_PARAM,    /* a parameter: its bytes are in the archive */
  TY_IMPORTED_BUFFER,
  TY_IMPORTED_CONSTANT, /* a tensor that export lifted out of the code */
} ty_imported_kind;

/* One input of the program. First all user inputs, in the order of the call (flattened), then those parameters, buffers and
 * constants that the graph uses, each once however many names it has. */
typedef struct ty_imported_input {
  ty_imported_kind kind;
  const char *name;     /* user inputs: the path in the call, "input_ids", "batch.mask", "xs.0"; others: "encoder.layer.0.weight" */
  int input;            /* position among graph->inputs (value: dtype, shape, strides); -1: no tensor, see literal */
  ty_arg literal;       /* input < 0: the number that is expected (fixed at export; INT of a symbolic dim: any that fits the
                           symbols, see ty_imported_bind), a string, or NONE */
  /* Not for user inputs: the first element, inside the mapping. Element [i0, i1, ..] is at data + (i0*stride0 + ..) * size. */
  const void *data;
  size_t bytes;         /* from `data` to the end of the last element */
  int update;           /* position among graph->outputs of what this input holds after a run, where the program changes it in
                           place (counters, caches): the owner of the state copies it over before the next run. Else -1. Such a
                           buffer has TY_ROLE_INPUT in the graph, so that nothing is folded over it. */
} ty_imported_input;

/* One leaf of what the program returns, in order. */
typedef struct ty_imported_output {
  const char *name; /* the path in the result: "out" when it is one tensor, else "out.0", "out.logits" */
  int output;       /* position among graph->outputs; -1: no tensor, see literal */
  ty_arg literal;   /* output < 0: NONE, BOOL, INT (maybe of a symbolic dim: evaluate it), FLOAT or STR */
} ty_imported_output;

/* A node that the builder declined. */
typedef struct ty_imported_decline { const char *op, *node, *reason; } ty_imported_decline; /* node: its name and where it came from */

/* A relation of sizes that must hold, from the program's guards: a REL b. */
typedef struct ty_imported_guard { ty_dim a, b; enum { TY_GUARD_EQ, TY_GUARD_NE, TY_GUARD_LT, TY_GUARD_LE } rel; const char *text; } ty_imported_guard;

/* Where a symbol's value comes from: (size `dim` of a user input, or the int itself when dim is -1, less rest) / coef. */
typedef struct ty_imported_source { int user, dim; int64_t coef, rest; } ty_imported_source;

typedef struct ty_imported {
  ty_graph *graph; /* set it to NULL once something else (ty_model_compile) has taken it over */
  int ninputs, nusers; ty_imported_input *inputs; /* the first nusers are the user's */
  int noutputs; ty_imported_output *outputs;      /* graph->outputs may have more: updates */
  int nsyms; ty_imported_source *sources;         /* a symbol of the graph each */
  int nguards; ty_imported_guard *guards;
  int nignored; const char **ignored;             /* guards that are not understood, and not checked */
  int ndeclined; ty_imported_decline *declined;   /* see ty_archive_import */
  ty_arena arena;  /* owns all of the above but the graph */
} ty_imported;

/* Builds the graph. What the builder declines does not end the import: every node is tried, results of declined ones stand in
 * as inputs with the dtype and shape that the archive gives, and the reasons are listed. Then the status is TY_UNSUPPORTED, its
 * text tells the operators and reasons, and *out is set for looking only: its graph must not be compiled. With any other
 * failure *out is NULL. */
ty_status ty_archive_import(ty_ctx *, const ty_archive *, const ty_archive_options *, ty_imported **out); /* options may be NULL */
void ty_imported_destroy(ty_imported *); /* destroys the graph too unless it was set to NULL; NULL is fine */

/* The symbols' values (ty_dim_nsyms of them at import) from what a call hands in. g: the graph, which a model may have taken over
 * (ty_model_graph). sizes[i]: the sizes of user input i (rank of its value), NULL where it is no tensor; ints[i]: its number where
 * it is a symbolic int (ints may be NULL when there is none). Checks all sizes against the program's, ranges and guards.
 * TY_INVALID with the input's name. */
ty_status ty_imported_bind(ty_ctx *, const ty_imported *, const ty_graph *g, const int64_t *const *sizes, const int64_t *ints, int64_t *syms);
#endif
