/* sched.h: decides what fuses with what, in which layout and on which kernel each piece runs; gives a program and its loops. */
#ifndef TY_SCHED_H
#define TY_SCHED_H
#include "graph/graph.h"
#include "kernel/kernel.h"
#include "loop/loop.h"
#include "rt/program.h"

/* One loop kernel that the program calls. Equal loops (by hash) are listed once; the emitter compiles those with compile set. */
typedef struct ty_sched_loop { ty_loop *loop; bool compile; } ty_sched_loop;
typedef struct ty_sched_step {
  const char *name, *kernel; /* as in the program */
  const char *fused;         /* operator names, space-separated, in order of computation */
  const char *declined;      /* why a better kernel or fusion was not taken; "" when there is nothing to say */
  bool fold;
  int loop;                  /* index into loops, -1 */
} ty_sched_step;
/* A schedule owns its loops, the program and its texts. The program does not outlive the loops. */
typedef struct ty_sched {
  ty_arena arena;
  ty_program *program;
  TY_VEC(ty_sched_loop) loops;
  TY_VEC(ty_sched_step) steps;
} ty_sched;

/* Requires a graph of core operators, constants first (pass "hoist"). Changes the graph (copies are inserted where a kernel
 * needs a layout). The program is finished but for the functions of compiled loops, which run interpreted until set. */
/* levels: see ty_program_set_levels; 0: this CPU's. */
ty_status ty_schedule(ty_ctx *, ty_graph *, uint32_t levels, ty_sched **out);
void ty_sched_destroy(ty_sched *);
/* What a node that packs a convolution's weight says, for a level: the shape, the kind that is chosen, and in which format it multiplies. */
ty_conv_shape ty_sched_conv(const ty_graph *, ty_isa, const ty_node *pack, ty_conv_kind *kind, ty_format *format);
#endif
