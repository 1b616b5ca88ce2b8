/* cores.c: how many cores this process may really use: affinity mask, cgroup quota, environment. */
#define _GNU_SOURCE 1
#include "pool.h"

#include "rt/place.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_line(char *out, size_t size, const char *path) {
  FILE *f = fopen(path, "re");
  if (!f) return false;
  bool ok = fgets(out, (int)size, f);
  fclose(f);
  return ok;
}

static int ceil_cores(long long quota, long long period) {
  if (quota <= 0 || period <= 0) return 0;
  long long n = quota / period + (quota % period > 0);
  return n > INT_MAX ? INT_MAX : (int)n;
}

static int quota_v2(const char *dir) {
  char path[1200], line[128];
  long long quota, period = 100000;
  snprintf(path, sizeof path, "%s/cpu.max", dir);
  if (!read_line(line, sizeof line, path) || sscanf(line, "%lld %lld", &quota, &period) < 1) return 0;
  return ceil_cores(quota, period); /* "max 100000" does not scan: no limit */
}

static int quota_v1(const char *dir) {
  char path[1200], line[128];
  snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", dir);
  if (!read_line(line, sizeof line, path)) return 0;
  long long quota = atoll(line);
  snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
  return read_line(line, sizeof line, path) ? ceil_cores(quota, atoll(line)) : 0;
}

/* The least quota of a group and its parents up to the mount. A container often sees the host's name of its group
 * without the folders of it: those steps find nothing, and the mount's own folder is the container's group. */
static int walk_up(const char *mount, const char *group, int (*quota)(const char *dir)) {
  char dir[1100];
  size_t base = strlen(mount), more = strlen(group);
  if (base + more >= sizeof dir) more = 0;
  memcpy(dir, mount, base);
  memcpy(dir + base, group, more);
  dir[base + more] = 0;
  int least = 0;
  for (;;) {
    int n = quota(dir);
    if (n && (!least || n < least)) least = n;
    char *slash = strrchr(dir + base, '/');
    if (!slash) return least;
    *slash = 0;
  }
}

static int least_of(int a, int b) { return !a ? b : !b || a < b ? a : b; }

static bool has_controller(const char *list, const char *name) {
  size_t n = strlen(name);
  for (const char *p = list; (p = strstr(p, name)); p += n)
    if ((p == list || p[-1] == ',') && (p[n] == ',' || p[n] == 0)) return true;
  return false;
}

int ty_pool_cgroup_cores(const char *root) {
  char path[256], mount[256], line[1024];
  if (strlen(root) > 180) return 0;
  snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
  FILE *f = fopen(path, "re");
  if (!f) return 0;
  int least = 0;
  /* Each line is "id:controllers:path"; v2's is "0::path". */
  while (fgets(line, sizeof line, f)) {
    line[strcspn(line, "\n")] = 0;
    char *list = strchr(line, ':'), *group = list ? strchr(list + 1, ':') : NULL;
    if (!group) continue;
    *list++ = 0;
    *group++ = 0;
    if (!*list) {
      static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
      for (int i = 0; i < 2; i++) {
        snprintf(mount, sizeof mount, "%s%s", root, mounts[i]);
        least = least_of(least, walk_up(mount, group, quota_v2));
      }
    } else if (has_controller(list, "cpu")) {
      static const char *const mounts[] = {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"};
      for (int i = 0; i < 2; i++) {
        snprintf(mount, sizeof mount, "%s%s", root, mounts[i]);
        least = least_of(least, walk_up(mount, group, quota_v1));
      }
    }
  }
  fclose(f);
  return least;
}

/* 0 for unset or not a positive number. OMP_NUM_THREADS may be a list, one a nesting level: the first counts. */
static int env_threads(const char *name) {
  const char *s = getenv(name);
  if (!s) return 0;
  char *end;
  long n = strtol(s, &end, 10);
  if (end == s || n <= 0 || (*end && *end != ',')) return 0;
  return n > INT_MAX ? INT_MAX : (int)n;
}

/* CPUs of the mask, or of them one a core. */
static int mask_cpus(bool cores) {
  ty_cpus mask;
  if (!ty_cpus_get(&mask)) return 1;
  ty_place p[TY_PLACES_MAX];
  int n = ty_cpus_count(&mask), places = cores ? ty_places("", &mask, 0, p) : 0, first = 0;
  for (int i = 0; i < places; i++) first += p[i].rank == 0;
  return first ? first : n > 0 ? n : 1;
}

int ty_pool_usable_cpus(void) { return least_of(mask_cpus(false), ty_pool_cgroup_cores("")); }
int ty_pool_usable_cores(void) { return least_of(mask_cpus(true), ty_pool_cgroup_cores("")); }

int ty_pool_default_threads(void) {
  int asked = least_of(env_threads("TUYERE_NUM_THREADS"), env_threads("OMP_NUM_THREADS"));
  ty_cpus mask;
  int list[TY_CPUS_MAX], listed = 0;
  if (ty_cpus_get(&mask)) ty_affinity_asked(&mask, list, &listed);
  asked = least_of(asked, listed);
  int n = asked ? least_of(asked, ty_pool_usable_cpus()) : ty_pool_usable_cores();
  return n < TY_POOL_MAX ? n : TY_POOL_MAX;
}
