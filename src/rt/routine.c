/* routine.c: the table of routines: what each needs of its operands, and its call. */
#include "rt/routine.h"

typedef enum family { SCAN, SORT, SCATTER, BAG } family;
typedef struct row { const char *name; family family; void (*run)(const rt_routine *, int tid, int nt); } row;
static const row table[TY_NROUTINES] = {
  [TY_SCAN_SUM] = {"cumsum", SCAN, ty_rt_scan}, [TY_SCAN_PROD] = {"cumprod", SCAN, ty_rt_scan},
  [TY_SCAN_ARGMAX] = {"cumargmax", SCAN, ty_rt_scan}, [TY_SCAN_ARGMIN] = {"cumargmin", SCAN, ty_rt_scan},
  [TY_SORT_UP] = {"sort", SORT, ty_rt_sort}, [TY_SORT_DOWN] = {"sort descending", SORT, ty_rt_sort},
  [TY_SCATTER_SET] = {"scatter", SCATTER, ty_rt_scatter}, [TY_SCATTER_SUM] = {"scatter sum", SCATTER, ty_rt_scatter},
  [TY_SCATTER_PROD] = {"scatter prod", SCATTER, ty_rt_scatter}, [TY_SCATTER_MAX] = {"scatter max", SCATTER, ty_rt_scatter},
  [TY_SCATTER_MIN] = {"scatter min", SCATTER, ty_rt_scatter},
  [TY_BAG_SUM] = {"bag sum", BAG, ty_rt_bag}, [TY_BAG_MEAN] = {"bag mean", BAG, ty_rt_bag}, [TY_BAG_MAX] = {"bag max", BAG, ty_rt_bag},
};

const char *ty_rt_routine_name(ty_routine which) { return table[which].name; }

/* Which sizes make up an operand, -1 for none: see ty_step_routine. */
static const int made_of[][5][3] = {
  [SCAN] = {{0, 1, 2}, {-2}, {-2}, {-2}, {0, 1, 2}},
  [SORT] = {{0, 1, -1}, {-2}, {-2}, {-2}, {0, 2, -1}},
  [SCATTER] = {{0, 2, -1}, {1, -1, -1}, {1, 2, -1}, {-2}, {0, 2, -1}},
  [BAG] = {{0, 1, -1}, {2, -1, -1}, {4, -1, -1}, {2, -1, -1}, {3, 1, -1}},
};

int64_t ty_rt_routine_elements(ty_routine which, const int64_t *size, int operand) {
  const int *of = made_of[table[which].family][operand];
  int64_t n = 1;
  if (of[0] == -2) return -1;
  for (int i = 0; i < 3 && of[i] >= 0; i++)
    if (!ty_mul_i64(n, size[of[i]], &n)) return -1;
  return n < INT64_MAX / 16 ? n : -1;
}

ty_dtype ty_rt_routine_dtype(ty_routine which, ty_dtype dtype, int operand) {
  family f = table[which].family;
  bool arg = operand == 4 && (f == SORT || which == TY_SCAN_ARGMAX || which == TY_SCAN_ARGMIN);
  bool index = (f == SCATTER && operand == 1) || (f == BAG && (operand == 1 || operand == 2));
  return arg || index ? TY_i64 : dtype;
}

size_t ty_rt_routine_scratch(ty_routine which, const int64_t *size) {
  return table[which].family == SORT ? ty_rt_sort_scratch(size[1], size[2]) : 0;
}

double ty_rt_routine_work(ty_routine which, const int64_t *size) {
  const double n[] = {[SCAN] = 8, [SORT] = 60, [SCATTER] = 8, [BAG] = 1};
  family f = table[which].family;
  double count = f == BAG ? (double)size[2] * (double)size[1] : f == SCATTER ? (double)size[1] * (double)size[2] : (double)size[0] * (double)size[1];
  return n[f] * (f == SCAN ? count * (double)size[2] : count);
}

void ty_rt_routine_do(const rt_routine *r, int tid, int nt) { table[r->which].run(r, tid, nt); }
