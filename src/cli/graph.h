/* graph.h: an archive's graph, for the commands that look inside. */
#ifndef TY_CLI_GRAPH_H
#define TY_CLI_GRAPH_H
#include "cli/cli.h"
#include "import/archive.h"

enum { TY_CLI_USERS = 1024 }; /* more inputs than that are not made up */

typedef struct ty_cli_graph {
  ty_ctx *ctx;
  ty_archive *archive;
  ty_imported *imported; /* with declined operators it is for looking only */
  int64_t *syms;         /* the sizes of the archive's example, by symbol */
} ty_cli_graph;

/* Exit code, with the message printed. Operators that do not compile are no failure. Close it also after a failure. */
int ty_cli_graph_open(ty_cli *, const char *path, ty_cli_graph *);
void ty_cli_graph_close(ty_cli_graph *);
/* What is handed in at each call, as tuyere_model_input counts it: tensors, and integers that sizes depend on. */
typedef struct ty_cli_user { const ty_value *value; ty_dim number; } ty_cli_user; /* value NULL: the integer */
int ty_cli_graph_users(const ty_cli_graph *, ty_cli_user out[TY_CLI_USERS]);
#endif
