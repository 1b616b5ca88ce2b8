/* tune.h: choices that are made by measuring (the option max_autotune). */
#ifndef TY_TUNE_H
#define TY_TUNE_H
#include "graph/graph.h"

/* Between passes and schedule: each ty.conv_pack whose convolution several kinds of kernel could do, at a size that is known, names the one
 * that is fastest here with weights from memory, on the threads of a run. The cache on disk remembers what was found. */
void ty_tune_convs(ty_ctx *, ty_graph *);
#endif
