/* cores.c: how many cores this process may really use: affinity mask, cgroup quota, environment. */
#define _GNU_SOURCE 1
#include "pool.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int affinity_cores(void) {
  unsigned long mask[128] = {0}; /* 8192 CPUs: the kernel refuses a mask smaller than its own */
  if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)mask)) return 1;
  int n = 0;
  for (int i = 0; i < 128; i++) n += __builtin_popcountl(mask[i]);
  return n > 0 ? n : 1;
}

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

int ty_pool_usable_cores(void) { return least_of(affinity_cores(), ty_pool_cgroup_cores("")); }

int ty_pool_default_threads(void) {
  int n = ty_pool_usable_cores();
  n = least_of(n, env_threads("TUYERE_NUM_THREADS"));
  n = least_of(n, env_threads("OMP_NUM_THREADS"));
  return n < TY_POOL_MAX ? n : TY_POOL_MAX;
}
