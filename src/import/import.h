/* import.h: graphs from the outside: the text form. */
#ifndef TY_IMPORT_H
#define TY_IMPORT_H
#include "graph/graph.h"

/* Reads what ty_graph_print (ops/ops.h) writes, through the builder: shapes are inferred again and must be those written.
 * Hostile text is in scope. */
ty_status ty_graph_parse(ty_ctx *, const char *text, ty_graph **out); /* TY_INVALID with line and column */
#endif
