/* place.c: where threads may go: CPUs of the affinity mask, one a core first and then SMT siblings, node after node; TUYERE_AFFINITY. */
#define _GNU_SOURCE 1
#include "rt/place.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ty_cpus_get(ty_cpus *m) {
  memset(m, 0, sizeof *m);
  return !sched_getaffinity(0, sizeof m->w, (cpu_set_t *)m->w);
}
bool ty_cpus_set(const ty_cpus *m) { return !sched_setaffinity(0, sizeof m->w, (const cpu_set_t *)m->w); }

int ty_cpus_count(const ty_cpus *m) {
  int n = 0;
  for (int i = 0; i < TY_CPU_WORDS; i++) n += __builtin_popcountl(m->w[i]);
  return n;
}

int ty_cpu_list(const char *text, int *out, int max) {
  int n = 0;
  for (const char *p = text;; p++) {
    char *end;
    long a = strtol(p, &end, 10), b = a, step = 1;
    if (end == p || *p == '-' || *p == '+') return -1;
    if (*end == '-') b = strtol(p = end + 1, &end, 10);
    if (*end == ':') step = strtol(p = end + 1, &end, 10);
    if (end == p || a < 0 || b < a || b >= TY_CPUS_MAX || step < 1) return -1;
    for (long c = a; c <= b; c += step)
      if (n < max) out[n++] = (int)c;
    p = end;
    if (*p != ',') return *p && *p != '\n' ? -1 : n;
  }
}

/* A list of /sys; 0 entries when it is not there. */
static int sys_list(const char *root, const char *path, int *out, int max) {
  char full[512], line[4096];
  if (snprintf(full, sizeof full, "%s/sys/devices/system/%s", root, path) >= (int)sizeof full) return 0;
  FILE *f = fopen(full, "re");
  bool got = f && fgets(line, sizeof line, f);
  if (f) fclose(f);
  int n = got ? ty_cpu_list(line, out, max) : 0;
  return n > 0 ? n : 0;
}

/* node[cpu], where /sys says it. */
static void read_nodes(const char *root, short *node, int *list) {
  int ids[256], n = sys_list(root, "node/online", ids, 256);
  for (int i = 0; i < n; i++) {
    char path[64];
    snprintf(path, sizeof path, "node/node%d/cpulist", ids[i]);
    for (int k = sys_list(root, path, list, TY_CPUS_MAX); k-- > 0;) node[list[k]] = (short)ids[i];
  }
}

/* By rank (how many CPUs of the core come before it), then nodes from `first` on, then number. */
static bool before(const ty_place *a, const ty_place *b, int first) {
  if (a->rank != b->rank) return a->rank < b->rank;
  int na = a->node - first, nb = b->node - first;
  if (na != nb) return (na < 0) != (nb < 0) ? nb < 0 : na < nb;
  return a->cpu < b->cpu;
}

int ty_places(const char *root, const ty_cpus *mask, int here, ty_place out[TY_PLACES_MAX]) {
  short node[TY_CPUS_MAX] = {0};
  int list[TY_CPUS_MAX], n = 0;
  read_nodes(root, node, list);
  int first = here >= 0 && here < TY_CPUS_MAX ? node[here] : 0;
  for (int c = 0; c < TY_CPUS_MAX && n < TY_PLACES_MAX; c++) {
    if (!ty_cpus_has(mask, c)) continue;
    ty_place x = {.cpu = c, .core = c, .node = node[c]};
    char path[64];
    snprintf(path, sizeof path, "cpu/cpu%d/topology/thread_siblings_list", c);
    for (int i = sys_list(root, path, list, TY_CPUS_MAX); i-- > 0;) {
      if (list[i] < x.core) x.core = list[i];
      x.rank += list[i] < c && ty_cpus_has(mask, list[i]);
    }
    int j = n++;
    for (; j > 0 && before(&x, &out[j - 1], first); j--) out[j] = out[j - 1];
    out[j] = x;
  }
  return n;
}

ty_affinity ty_affinity_asked(const ty_cpus *mask, int *list, int *n) {
  const char *s = getenv("TUYERE_AFFINITY");
  *n = 0;
  if (!s || !*s) return TY_AFFINITY_LOOSE;
  if (!strcmp(s, "none")) return TY_AFFINITY_NONE;
  if (!strcmp(s, "cores")) return TY_AFFINITY_CORES;
  int k = ty_cpu_list(s, list, TY_CPUS_MAX);
  for (int i = 0; i < k; i++)
    if (ty_cpus_has(mask, list[i])) list[(*n)++] = list[i];
  return *n ? TY_AFFINITY_LIST : TY_AFFINITY_LOOSE;
}
