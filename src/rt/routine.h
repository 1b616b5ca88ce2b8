/* routine.h: the routines behind ty_step_routine: what no loop expresses, on contiguous operands. */
#ifndef TY_ROUTINE_H
#define TY_ROUTINE_H
#include "rt/program_int.h"

/* One routine at one size; meaning of operands and sizes: see ty_step_routine of program.h. */
typedef struct rt_routine {
  ty_routine which;
  ty_dtype dtype;
  const void *in[4];
  void *out;
  int64_t size[6];
  void *scratch;
  const ty_kernels *kernels;
  ty_i32 *fault;             /* set to 1: an index is out of range */
} rt_routine;

/* Elements that an operand (4: the result) must have; negative: it is absent, or their number cannot be told. */
int64_t ty_rt_routine_elements(ty_routine, const int64_t *size, int operand);
ty_dtype ty_rt_routine_dtype(ty_routine, ty_dtype, int operand);
size_t ty_rt_routine_scratch(ty_routine, const int64_t *size); /* bytes a thread */
double ty_rt_routine_work(ty_routine, const int64_t *size);    /* about so many simple operations */
const char *ty_rt_routine_name(ty_routine);
/* Thread tid's part, of nt. */
void ty_rt_routine_do(const rt_routine *, int tid, int nt);
void ty_rt_scan(const rt_routine *, int tid, int nt);
void ty_rt_sort(const rt_routine *, int tid, int nt);
size_t ty_rt_sort_scratch(int64_t len, int64_t k);
void ty_rt_scatter(const rt_routine *, int tid, int nt);
void ty_rt_bag(const rt_routine *, int tid, int nt);
#endif
