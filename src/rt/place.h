/* place.h: CPUs that threads go to, for the pool: masks, the order of cores, nodes and SMT siblings, what TUYERE_AFFINITY asks for. */
#ifndef TY_PLACE_H
#define TY_PLACE_H
#include <stdbool.h>

enum { TY_CPUS_MAX = 8192, TY_CPU_BITS = 8 * (int)sizeof(unsigned long), TY_CPU_WORDS = TY_CPUS_MAX / TY_CPU_BITS };

/* A set of CPUs, as the kernel has it: it refuses one smaller than its own. */
typedef struct ty_cpus { unsigned long w[TY_CPU_WORDS]; } ty_cpus;
bool ty_cpus_get(ty_cpus *); /* of the calling thread */
bool ty_cpus_set(const ty_cpus *);
int ty_cpus_count(const ty_cpus *);
static inline bool ty_cpus_has(const ty_cpus *m, int c) { return c >= 0 && c < TY_CPUS_MAX && m->w[c / TY_CPU_BITS] >> c % TY_CPU_BITS & 1; }
static inline void ty_cpus_add(ty_cpus *m, int c) { m->w[c / TY_CPU_BITS] |= 1ul << c % TY_CPU_BITS; }
static inline void ty_cpus_drop(ty_cpus *m, int c) { m->w[c / TY_CPU_BITS] &= ~(1ul << c % TY_CPU_BITS); }

/* "0,4-7,8-14:2" in its order, as /sys and people write it; how many, those past `max` left out; -1: not such a list. */
int ty_cpu_list(const char *text, int *out, int max);

typedef struct ty_place {
  int cpu;
  int core; /* the lowest CPU of its core, in the mask or not */
  int node; /* of memory; 0 where the system does not say */
  int rank; /* how many CPUs of the mask on the same core come before it: 0 for one a core */
} ty_place;
/* The CPUs of a mask in the order in which threads should take them: one a core, beginning with the node of CPU `here`, then the
 * siblings; how many. The lowest TY_PLACES_MAX of a larger mask. `root`: as for ty_pool_cgroup_cores. */
enum { TY_PLACES_MAX = 1024 };
int ty_places(const char *root, const ty_cpus *mask, int here, ty_place out[TY_PLACES_MAX]);

typedef enum ty_affinity {
  TY_AFFINITY_LOOSE, /* not set, or not understood: threads stay on a node and keep out of each other's way */
  TY_AFFINITY_NONE,  /* "none": the system places them */
  TY_AFFINITY_CORES, /* "cores": each on one CPU, in the order of ty_places */
  TY_AFFINITY_LIST,  /* a list: each on one CPU, in its order */
} ty_affinity;
/* TUYERE_AFFINITY. list: room for TY_CPUS_MAX, the CPUs of a list that the mask has; *n of them. */
ty_affinity ty_affinity_asked(const ty_cpus *mask, int *list, int *n);
#endif
