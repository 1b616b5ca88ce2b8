/* model.h: from a graph to something that runs: the pipeline behind every door. */
#ifndef TY_MODEL_H
#define TY_MODEL_H
#include "graph/graph.h"
#include "rt/program.h"

typedef struct ty_options {
  bool eager;              /* operator by operator, as they came: no fusion across operators, nothing folded or packed ahead */
  bool no_compiler;        /* never call a C compiler: interpreted loops */
  const char *dump;        /* comma-separated pass names, or "all": graph text after them goes to the log; NULL: TUYERE_DUMP */
  const char *weights;     /* format of the packed weights of linear layers: "int8" (their inputs are made 8 bits as well), "int8wo", "int4",
                            * "int4g32", "int4g128" (weights only, the latter with a scale for 64, 32, 128 values); NULL: as fpmath has it */
  const char *fpmath;      /* in which matrix products of float32 are computed: "f32", or "bf16": both sides rounded to it, sums in
                            * float32. NULL: by the environment, TUYERE_FPMATH or DNNL_DEFAULT_FPMATH_MODE, else "f32" */
  bool max_autotune;       /* kernels of convolutions are chosen by measuring those that could be, where this CPU will run them */
  uint32_t levels;         /* CPU levels that will run it (ty_program_set_levels); 0: this CPU's */
  ty_tuning tuning;
  const char *python;      /* path of a Python that has ziglang, may be NULL */
} ty_options;

/* A compiled model owns its graph (for dims and names) and its program. */
typedef struct ty_model ty_model;
/* Takes the graph over, also on failure. */
ty_status ty_model_compile(ty_ctx *, ty_graph *, const ty_options *, ty_model **out);
void ty_model_destroy(ty_model *);
ty_program *ty_model_program(ty_model *);
/* The loops that runs call, in an order that stays: what a deployed model has compiled. */
int ty_model_nloops(const ty_model *);
const struct ty_loop *ty_model_loop(const ty_model *, int i);
const ty_graph *ty_model_graph(const ty_model *); /* inputs (in calling order) and their shapes; outputs */
int ty_model_nsyms(const ty_model *);             /* size symbols; symbol i of the graph is symbol i of the program */
int ty_model_noutputs(const ty_model *);
typedef struct ty_model_output { ty_dtype dtype; int rank; const ty_dim *shape; } ty_model_output; /* outputs are contiguous */
void ty_model_get_output(const ty_model *, int i, ty_model_output *);
/* What explain shows, as JSON text: {"operators": {...}, "steps": [{"name", "kernel", "fused": [...], "declined": [...]}],
 * "passes": [{"name", "seconds", "nodes"}], "compile": {...}, "compiler": "...", "memory": {...}}. Caller ty_free()s. */
char *ty_model_explain(const ty_model *);
/* C text of the emitted kernels, for people. Caller ty_free()s. */
char *ty_model_source(const ty_model *);
double ty_model_seconds(const ty_model *); /* time spent inside ty_model_compile */
#endif
