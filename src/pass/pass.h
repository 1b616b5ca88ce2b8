/* pass.h: graph to graph: the pipeline of passes.def. */
#ifndef TY_PASS_H
#define TY_PASS_H
#include "graph/graph.h"

typedef struct ty_pass { const char *name, *what; bool fused_only; ty_status (*run)(ty_graph *); } ty_pass; /* fused_only: not where g->eager */
extern const ty_pass ty_passes[];
extern const int ty_npasses;
int ty_pass_find(const char *name); /* -1 when unknown */

/* One flag a value id: it follows from parameters and literals alone and has a static shape, so it can be computed before
 * any run (none where g->eager). Caller ty_free()s; NULL: no memory. */
bool *ty_pass_constants(const ty_graph *);
#endif
