/* test_pool.c: the thread pool: barriers, concurrent callers, fork, sleeping, cgroup limits, places; --bench measures. */
#define _GNU_SOURCE 1
#include "../../src/base/base.h"
#include "../../src/rt/place.h"
#include "../../src/rt/pool.h"
#include "check.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
#define SLOW 1
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#define SLOW 1
#endif
#endif
#ifndef SLOW
#define SLOW 0
#endif

/* The pool allocates nothing, and the leak check of a forked child trips over the parent's threads. */
const char *__lsan_default_options(void);
const char *__lsan_default_options(void) { return "detect_leaks=0"; }

static int live_threads(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/task");
  for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
  if (d) closedir(d);
  return n;
}

typedef struct stress { int rounds, nt; long cell[TY_POOL_MAX]; _Atomic int bad; } stress;

/* Each round writes the own cell and, after the barrier, reads all others: plain memory, so TSan sees a bad barrier. */
static void stress_fn(void *ctx, int tid, int nt) {
  stress *s = ctx;
  if (tid == 0) s->nt = nt;
  for (int r = 1; r <= s->rounds; r++) {
    s->cell[tid] = r;
    ty_pool_barrier(tid, nt);
    for (int t = 0; t < nt; t++)
      if (s->cell[t] != r) atomic_fetch_add(&s->bad, 1);
    ty_pool_barrier(tid, nt);
  }
}

static void test_lazy(void) {
  CHECK(live_threads() <= 1 + SLOW + check_emulated()); /* TSan and qemu have a thread of their own */
  CHECK(ty_pool_default_threads() >= 1 && ty_pool_threads() >= 1);
  ty_pool_set_threads(1);
  stress s = {.rounds = 3};
  CHECK(ty_pool_run(stress_fn, &s, 0) == 1 && s.nt == 1 && !s.bad);
  CHECK(live_threads() <= 1 + SLOW + check_emulated());
  ty_pool_set_threads(0);
  CHECK(ty_pool_threads() == ty_pool_default_threads());
}

static void test_barrier(void) {
  for (int rep = 0; rep < 2; rep++)
    for (int nt = 1; nt <= 8; nt++) {
      ty_pool_set_threads(nt);
      stress s = {.rounds = SLOW ? 200 : nt <= 2 ? 20000 : 1000};
      CHECK(ty_pool_run(stress_fn, &s, 0) == nt && s.nt == nt && !s.bad);
    }
  ty_pool_set_threads(20); /* three levels of the tree */
  stress s = {.rounds = 50};
  CHECK(ty_pool_run(stress_fn, &s, 0) == 20 && !s.bad);
  ty_pool_set_threads(8); /* fewer than there are */
  bool ok = true;
  for (int i = 0; i < 400; i++) {
    s = (stress){.rounds = 1 + i % 3};
    int want = 1 + i * 7 % 8;
    ok &= ty_pool_run(stress_fn, &s, want) == want && s.nt == want && !s.bad;
  }
  CHECK(ok);
  CHECK(ty_pool_run(stress_fn, &s, 100) == 8);
  ty_pool_set_threads(100000);
  CHECK(ty_pool_threads() == TY_POOL_MAX);
  ty_pool_set_threads(0);
}

static void inner(void *ctx, int tid, int nt) { *(int *)ctx += tid == 0 && nt == 1; }
static void nested_fn(void *ctx, int tid, int nt) {
  (void)nt;
  int n = 0;
  if (ty_pool_run(inner, &n, 4) == 1 && n == 1) ((int *)ctx)[tid] = 1;
}

static void test_nested(void) {
  ty_pool_set_threads(4);
  int ok[4] = {0};
  CHECK(ty_pool_run(nested_fn, ok, 4) == 4);
  CHECK(ok[0] && ok[1] && ok[2] && ok[3]);
}

static _Atomic int wide, narrow;
static void *caller(void *arg) {
  int n = SLOW ? 100 : 2000;
  for (int i = 0; i < n; i++) {
    stress s = {.rounds = 3};
    int nt = ty_pool_run(stress_fn, &s, 2 + (int)(intptr_t)arg % 3);
    if (s.bad || s.nt != nt) return arg;
    atomic_fetch_add(nt > 1 ? &wide : &narrow, 1);
  }
  return NULL;
}

static void test_concurrent(void) {
  ty_pool_set_threads(3);
  pthread_t t[6];
  for (intptr_t i = 0; i < 6; i++) pthread_create(&t[i], NULL, caller, (void *)(i + 1));
  for (int i = 0; i < 6; i++) {
    void *bad;
    pthread_join(t[i], &bad);
    CHECK(!bad);
  }
  CHECK(wide > 0);
}

static void test_sleep(void) {
  ty_pool_set_threads(2);
  stress s = {.rounds = 1};
  ty_pool_run(stress_fn, &s, 0);
  usleep(50000);
  clock_t c0 = clock(); /* asleep: no CPU time passes */
  usleep(100000);
  CHECK(clock() - c0 < CLOCKS_PER_SEC / 50);
  bool ok = true;
  for (int i = 0; i < (SLOW ? 30 : 300); i++) { /* around the edge between spinning and sleeping */
    usleep((useconds_t)(i * 13 % 200));
    s = (stress){.rounds = 2};
    ok &= ty_pool_run(stress_fn, &s, 0) == 2 && !s.bad;
  }
  CHECK(ok);
}

/* One thread late by far more than the spin: the others sleep inside the barrier and must wake. */
static void late_fn(void *ctx, int tid, int nt) {
  for (int r = 0; r < nt; r++) {
    if (tid == r) usleep(3000);
    ty_pool_barrier(tid, nt);
  }
  if (tid == nt - 1) *(int *)ctx = nt;
}

static void test_late(void) {
  for (int nt = 2; nt <= 8; nt += 3) {
    ty_pool_set_threads(nt);
    int got = 0;
    CHECK(ty_pool_run(late_fn, &got, 0) == nt && got == nt);
  }
}

static int child_runs(void) {
  stress s = {.rounds = 100};
  ty_pool_set_threads(3);
  for (int i = 0; i < 3; i++)
    if (ty_pool_run(stress_fn, &s, 0) != 3 || s.bad) return 1;
  return live_threads() < 3;
}

/* _exit or exit: the latter runs the pool's own end in the child. */
static bool fork_child_ok(bool by_exit) {
  pid_t pid = fork();
  if (!pid) {
    alarm(20);
    int r = child_runs();
    if (by_exit) exit(r);
    _exit(r);
  }
  int st;
  waitpid(pid, &st, 0);
  return WIFEXITED(st) && WEXITSTATUS(st) == 0;
}

static _Atomic int stop;
static void *keep_running(void *arg) {
  (void)arg;
  while (!atomic_load(&stop)) {
    stress s = {.rounds = 20};
    ty_pool_run(stress_fn, &s, 0);
    if (s.bad) return &stop;
  }
  return NULL;
}

static void test_fork(void) {
  ty_pool_set_threads(3);
  stress s = {.rounds = 5};
  ty_pool_run(stress_fn, &s, 0);
#if !SLOW || defined __clang__ /* gcc 12's TSan cannot make threads after a fork ("dup thread with used id") */
  if (!check_emulated()) CHECK(fork_child_ok(false)), CHECK(fork_child_ok(true));
#endif
  CHECK(ty_pool_run(stress_fn, &s, 0) == 3 && !s.bad); /* the parent's pool is as before */
  if (SLOW || check_emulated()) return; /* TSan's own fork support is for one thread */
  pthread_t t;
  pthread_create(&t, NULL, keep_running, NULL);
  bool ok = true;
  for (int i = 0; i < 30; i++) {
    usleep(500);
    ok &= fork_child_ok(i % 2);
  }
  CHECK(ok);
  atomic_store(&stop, 1);
  void *bad;
  pthread_join(t, &bad);
  CHECK(!bad);
}

/* Exit while another thread is in a run: no hang, no crash. */
static void test_exit_midrun(void) {
  if (SLOW || check_emulated()) return;
  for (int i = 0; i < 5; i++) {
    pid_t pid = fork();
    if (!pid) {
      alarm(20);
      pthread_t t;
      atomic_store(&stop, 0);
      pthread_create(&t, NULL, keep_running, NULL);
      usleep(2000);
      exit(0);
    }
    int st;
    waitpid(pid, &st, 0);
    CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 0);
  }
}

static void signal_fn(void *ctx, int tid, int nt) {
  sigset_t set;
  pthread_sigmask(SIG_SETMASK, NULL, &set);
  ((int *)ctx)[tid] = sigismember(&set, SIGINT);
  (void)nt;
}

#ifdef __x86_64__
static void fp_fn(void *ctx, int tid, int nt) {
  ((unsigned *)ctx)[tid] = __builtin_ia32_stmxcsr() & 0xffc0;
  (void)nt;
}
#endif

static void test_state(void) {
  ty_pool_set_threads(2);
  int masked[2];
  CHECK(ty_pool_run(signal_fn, masked, 0) == 2 && masked[0] == 0 && masked[1] == 1);
#ifdef __x86_64__
  unsigned was = __builtin_ia32_stmxcsr(), got[2];
  __builtin_ia32_ldmxcsr(was | 0x8040 | 0x6000); /* FTZ, DAZ, round to zero */
  ty_pool_run(fp_fn, got, 0);
  __builtin_ia32_ldmxcsr(was);
  CHECK(got[0] == got[1] && (got[0] & 0xe040) == 0xe040);
  ty_pool_run(fp_fn, got, 0);
  CHECK(got[0] == got[1] && (got[1] & 0xe040) == 0);
#endif
}

/* Threads on one core in turn: the run ends although every peer is descheduled. */
static void test_crowded(void) {
#if SLOW && !defined __clang__
  return;
#endif
  if (check_emulated()) return;
  cpu_set_t old, one;
  sched_getaffinity(0, sizeof old, &old);
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE; i++)
    if (CPU_ISSET(i, &old)) { CPU_SET(i, &one); break; }
  pid_t pid = fork(); /* so that the workers are born on the one core */
  if (!pid) {
    sched_setaffinity(0, sizeof one, &one);
    if (ty_pool_default_threads() != 1) _exit(2);
    ty_pool_set_threads(4);
    stress s = {.rounds = 100};
    double t = ty_now();
    int nt = ty_pool_run(stress_fn, &s, 0);
    t = ty_now() - t;
    printf("4 threads on 1 core: %.1f us a barrier\n", t / 200 * 1e6);
    fflush(stdout);
    _exit(nt != 4 || s.bad);
  }
  int st;
  waitpid(pid, &st, 0);
  CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 0);
}

static void put(const char *root, const char *path, const char *text) {
  char full[400];
  snprintf(full, sizeof full, "%s/%s", root, path);
  for (char *p = full + 1; *p; p++)
    if (*p == '/') *p = 0, mkdir(full, 0700), *p = '/';
  FILE *f = fopen(full, "w");
  if (CHECK(f)) fputs(text, f), fclose(f);
}

static void test_cgroup(void) {
  char root[] = "/tmp/ty_cgroup_XXXXXX", cmd[100];
  if (!CHECK(mkdtemp(root))) return;
  CHECK(ty_pool_cgroup_cores(root) == 0);
  put(root, "proc/self/cgroup", "0::/a/b\n");
  CHECK(ty_pool_cgroup_cores(root) == 0);
  put(root, "sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  CHECK(ty_pool_cgroup_cores(root) == 0);
  put(root, "sys/fs/cgroup/a/cpu.max", "250000 100000\n");
  CHECK(ty_pool_cgroup_cores(root) == 3); /* a parent's, rounded up */
  put(root, "sys/fs/cgroup/a/b/cpu.max", "400000 100000\n");
  CHECK(ty_pool_cgroup_cores(root) == 3);
  put(root, "sys/fs/cgroup/a/b/cpu.max", "1000 100000\n");
  CHECK(ty_pool_cgroup_cores(root) == 1);
  put(root, "proc/self/cgroup", "0::/host/name/of/it\n"); /* container: only the mount's own folder is there */
  put(root, "sys/fs/cgroup/cpu.max", "200000 100000\n");
  CHECK(ty_pool_cgroup_cores(root) == 2);
  put(root, "proc/self/cgroup", "3:cpuset:/x\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n");
  put(root, "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "-1\n");
  put(root, "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
  CHECK(ty_pool_cgroup_cores(root) == 0);
  put(root, "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "510000\n");
  CHECK(ty_pool_cgroup_cores(root) == 6);
  put(root, "proc/self/cgroup", "junk\n:\n::\n2:cpu\n");
  put(root, "sys/fs/cgroup/cpu.max", "-5 0 what");
  CHECK(ty_pool_cgroup_cores(root) == 0);
  snprintf(cmd, sizeof cmd, "rm -r %s", root);
  CHECK(system(cmd) == 0);
}

static void test_lists(void) {
  int l[16];
  CHECK(ty_cpu_list("3", l, 16) == 1 && l[0] == 3);
  CHECK(ty_cpu_list("7,1-3,8-14:3\n", l, 16) == 7 && l[0] == 7 && l[1] == 1 && l[3] == 3 && l[5] == 11 && l[6] == 14);
  CHECK(ty_cpu_list("0-8191", l, 16) == 16 && l[15] == 15);
  static const char *const bad[] = {"", ",", "1,", "1-", "-1", "2-1", "a", "1 2", "0-8192", "1:2:3x", "0-4:0", "99999999999999999999", "1-2-3"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(ty_cpu_list(bad[i], l, 16) == -1);
}

/* Two nodes of two cores with two siblings each: 0-3 and 8-11 on node 0 (cores 0/8 ..), others on node 1. */
static void test_places(void) {
  char root[] = "/tmp/ty_places_XXXXXX", cmd[100], path[100], text[20];
  static ty_place p[TY_PLACES_MAX];
  if (!CHECK(mkdtemp(root))) return;
  ty_cpus all = {{0}};
  for (int c = 0; c < 8; c++) ty_cpus_add(&all, c);
  CHECK(ty_places(root, &all, 0, p) == 8 && p[0].cpu == 0 && p[7].cpu == 7 && !p[7].rank && !p[7].node); /* nothing known */
  put(root, "sys/devices/system/node/online", "0-1\n");
  put(root, "sys/devices/system/node/node0/cpulist", "0-1,4-5\n");
  put(root, "sys/devices/system/node/node1/cpulist", "2-3,6-7\n");
  for (int c = 0; c < 8; c++) {
    snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", c);
    snprintf(text, sizeof text, "%d,%d\n", c % 4, c % 4 + 4);
    put(root, path, text);
  }
  static const int from0[] = {0, 1, 2, 3, 4, 5, 6, 7}, from1[] = {2, 3, 0, 1, 6, 7, 4, 5};
  CHECK(ty_places(root, &all, 0, p) == 8);
  for (int i = 0; i < 8; i++) CHECK(p[i].cpu == from0[i] && p[i].rank == i / 4 && p[i].core == p[i].cpu % 4);
  CHECK(ty_places(root, &all, 7, p) == 8); /* the node of the caller comes first, cores before siblings all the same */
  for (int i = 0; i < 8; i++) CHECK(p[i].cpu == from1[i] && p[i].node == (i / 2 + 1) % 2);
  ty_cpus_drop(&all, 0), ty_cpus_drop(&all, 1), ty_cpus_drop(&all, 6);
  static const int part[] = {4, 5, 2, 3, 7}; /* 4 and 5 are alone on their cores now */
  CHECK(ty_places(root, &all, 4, p) == 5);
  for (int i = 0; i < 5; i++) CHECK(p[i].cpu == part[i] && p[i].rank == (i == 4));
  put(root, "sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "junk");
  put(root, "sys/devices/system/node/online", "1-\n");
  CHECK(ty_places(root, &all, 4, p) == 5);
  snprintf(cmd, sizeof cmd, "rm -r %s", root);
  CHECK(system(cmd) == 0);
}

/* Every thread's mask and CPU, after `fn` ran on all. */
typedef struct whereabouts { ty_cpus mask[4]; int cpu[4]; } whereabouts;
static void where_fn(void *ctx, int tid, int nt) {
  whereabouts *w = ctx;
  for (int i = 0; i < 20; i++) ty_pool_barrier(tid, nt);
  ty_cpus_get(&w->mask[tid]);
  w->cpu[tid] = sched_getcpu();
}

/* Runs with nt threads, sleeps between them included; are all CPUs of all threads among those allowed? */
static bool stay_inside(int nt, const ty_cpus *allowed, whereabouts *w) {
  ty_pool_set_threads(nt);
  for (int round = 0; round < 60; round++) {
    if (ty_pool_run(where_fn, w, 0) != nt) return false;
    for (int t = 0; t < nt; t++) {
      if (!ty_cpus_has(allowed, w->cpu[t]) || !ty_cpus_count(&w->mask[t])) return false;
      for (int i = 0; i < TY_CPU_WORDS; i++)
        if (w->mask[t].w[i] & ~allowed->w[i]) return false;
    }
    if (round % 8 == 0) usleep(500);
  }
  return true;
}

static void everybody_to(const ty_cpus *m) { /* as taskset -ap does */
  DIR *d = opendir("/proc/self/task");
  for (struct dirent *e; d && (e = readdir(d));)
    if (e->d_name[0] != '.') sched_setaffinity(atoi(e->d_name), sizeof m->w, (const cpu_set_t *)m->w);
  if (d) closedir(d);
}

/* Two processes at once, each on half of the CPUs: none leaves its half, also when its half is another one later. */
static void test_two_processes(void) {
  ty_cpus all, half[2] = {{{0}}, {{0}}};
  if (!CHECK(ty_cpus_get(&all))) return;
  int n = 0;
  pid_t pid[2];
  for (int c = 0; c < TY_CPUS_MAX; c++)
    if (ty_cpus_has(&all, c)) ty_cpus_add(&half[n++ % 2], c);
  if (n < 2) half[1] = half[0];
  for (int k = 0; k < 2; k++) {
    if ((pid[k] = fork())) continue;
    whereabouts w;
    if (!ty_cpus_set(&half[k])) _exit(1);
    if (ty_pool_default_threads() > ty_cpus_count(&half[k])) _exit(2);
    if (!stay_inside(3, &half[k], &w) || !stay_inside(2, &half[k], &w)) _exit(3);
    everybody_to(&half[1 - k]);
    _exit(stay_inside(2, &half[1 - k], &w) ? 0 : 4);
  }
  for (int k = 0, st; k < 2; k++) CHECK(waitpid(pid[k], &st, 0) == pid[k] && WIFEXITED(st) && WEXITSTATUS(st) == 0);
  pid[0] = fork(); /* a process with all of them is confined while it runs */
  if (!pid[0]) {
    whereabouts w;
    if (!stay_inside(2, &all, &w)) _exit(1);
    everybody_to(&half[1]);
    _exit(stay_inside(2, &half[1], &w) ? 0 : 2);
  }
  int st;
  CHECK(waitpid(pid[0], &st, 0) == pid[0] && WIFEXITED(st) && WEXITSTATUS(st) == 0);
}

static int affinity_child(const char *asked, const ty_cpus *all, int first, int last) {
  whereabouts w;
  setenv("TUYERE_AFFINITY", asked, 1);
  if (!stay_inside(2, all, &w)) return 1;
  bool bound = ty_cpus_count(&w.mask[1]) == 1, free_caller = !memcmp(&w.mask[0], all, sizeof *all);
  if (!free_caller) return 2; /* the caller's thread is the program's own */
  if (!strcmp(asked, "none") || !strcmp(asked, "what")) return !strcmp(asked, "none") && memcmp(&w.mask[1], all, sizeof *all) ? 3 : 0;
  if (!bound) return 4;
  if (strchr(asked, ',') && !ty_cpus_has(&w.mask[1], last)) return 5;
  if (strchr(asked, ',') && ty_pool_default_threads() != (first == last ? 1 : 2)) return 6;
  return 0;
}

static void test_affinity(void) {
  ty_cpus all;
  if (!CHECK(ty_cpus_get(&all))) return;
  int first = -1, last = 0;
  for (int c = 0; c < TY_CPUS_MAX; c++)
    if (ty_cpus_has(&all, c)) first = first < 0 ? c : first, last = c;
  char list[40];
  snprintf(list, sizeof list, "%d,%d", first, last);
  const char *const asked[] = {"none", "cores", "what", list};
  for (int i = 0; i < 4; i++) {
    pid_t pid = fork();
    if (!pid) _exit(affinity_child(asked[i], &all, first, last));
    int st;
    if (!CHECK(waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 0)) printf("TUYERE_AFFINITY=%s: %d\n", asked[i], WEXITSTATUS(st));
  }
}

static void test_env(void) {
  unsetenv("TUYERE_NUM_THREADS");
  unsetenv("OMP_NUM_THREADS");
  int n = ty_pool_default_threads();
  CHECK(n == ty_pool_usable_cores());
  setenv("OMP_NUM_THREADS", "1,2", 1);
  CHECK(ty_pool_default_threads() == 1);
  setenv("OMP_NUM_THREADS", "-3", 1);
  setenv("TUYERE_NUM_THREADS", "junk", 1);
  CHECK(ty_pool_default_threads() == n);
  setenv("TUYERE_NUM_THREADS", "1", 1);
  CHECK(ty_pool_default_threads() == 1);
  unsetenv("TUYERE_NUM_THREADS");
  unsetenv("OMP_NUM_THREADS");
}

/* ---- a host: another pool whose threads run what is given to ours ---- */
static _Thread_local int lent_tid, lent_nt;
static int lent_most; /* threads that it gives at most */
static int lent_at = -1; /* where they start: the waker's CPU, as sleepers often do */
typedef struct lent_thread { void (*fn)(void *); void *data; int tid, nt; } lent_thread;

static void *lent_start(void *arg) {
  lent_thread *t = arg;
  lent_tid = t->tid, lent_nt = t->nt;
  ty_cpus was, one = {{0}};
  if (t->tid && lent_at >= 0 && ty_cpus_get(&was)) ty_cpus_add(&one, lent_at), ty_cpus_set(&one), ty_cpus_set(&was);
  t->fn(t->data);
  return NULL;
}

static void lent_parallel(void (*fn)(void *), void *data, unsigned wanted, unsigned flags) {
  pthread_t thread[8];
  lent_thread of[8];
  int nt = (int)wanted < lent_most ? (int)wanted : lent_most;
  CHECK(flags == 0);
  for (int i = 1; i < nt; i++) of[i] = (lent_thread){fn, data, i, nt}, CHECK(!pthread_create(&thread[i], NULL, lent_start, &of[i]));
  of[0] = (lent_thread){fn, data, 0, nt};
  lent_start(&of[0]);
  for (int i = 1; i < nt; i++) pthread_join(thread[i], NULL);
}
static int lent_thread_num(void) { return lent_tid; }
static int lent_num_threads(void) { return lent_nt; }

typedef struct lent_where { int cpu[2]; ty_cpus mask[2]; } lent_where;
static void lent_where_fn(void *ctx, int tid, int nt) {
  lent_where *w = ctx;
  w->cpu[tid] = sched_getcpu();
  CHECK(ty_cpus_get(&w->mask[tid]));
  ty_pool_barrier(tid, nt);
}

/* A lent thread that wakes on its caller's CPU steps aside, and its mask is as before. The system may move either, too: most rounds count. */
static void lent_apart(void) {
  ty_cpus all;
  lent_where w;
  int apart = 0;
  if (ty_pool_usable_cores() < 2 || !CHECK(ty_cpus_get(&all))) return;
  for (int i = 0; i < 40; i++) {
    lent_at = sched_getcpu();
    CHECK(ty_pool_run(lent_where_fn, &w, 2) == 2);
    apart += w.cpu[1] != w.cpu[0];
    CHECK(!memcmp(&w.mask[0], &all, sizeof all) && !memcmp(&w.mask[1], &all, sizeof all));
  }
  lent_at = -1;
  if (!CHECK(apart > 20)) printf("%d of 40 rounds apart\n", apart);
}

static bool exits_well(pid_t child) {
  int state;
  return waitpid(child, &state, 0) == child && WIFEXITED(state) && !WEXITSTATUS(state);
}

static void test_host(void) {
  static const ty_pool_host host = {lent_parallel, lent_thread_num, lent_num_threads};
  if (SLOW || check_emulated()) return; /* it forks, and makes threads then */
  pid_t child = fork(); /* a process without workers */
  if (!child) {
    unsetenv("TUYERE_AFFINITY");
    ty_pool_lend(&host);
    ty_pool_set_threads(3);
    stress s = {.rounds = 50};
    for (lent_most = 3; lent_most >= 1; lent_most--) CHECK(ty_pool_run(stress_fn, &s, 0) == lent_most && s.nt == lent_most && !s.bad);
    lent_most = 2;
    lent_apart();
    CHECK(live_threads() == 1); /* the host's came and went, and none of ours was made */
    lent_most = 3;
    int ok[4] = {0};
    CHECK(ty_pool_run(nested_fn, ok, 4) == 3 && ok[0] && ok[1] && ok[2]);
    pid_t grandchild = fork();
    if (grandchild) CHECK(exits_well(grandchild));
    else atomic_store(&check_failed, 0); /* the host's threads are not here: goes on with ours, as after taking the host away */
    if (grandchild) ty_pool_lend(NULL);
    CHECK(ty_pool_run(stress_fn, &s, 0) == 3 && !s.bad && live_threads() == 3);
    _exit(atomic_load(&check_failed) != 0);
  }
  CHECK(exits_well(child));
}

static void empty_fn(void *ctx, int tid, int nt) { (void)ctx, (void)tid, (void)nt; }
static void barriers_fn(void *ctx, int tid, int nt) {
  for (int i = *(int *)ctx; i > 0; i--) ty_pool_barrier(tid, nt);
}

static void bench(void) {
  ty_pool_set_threads(2);
  double best_b = 1, best_r = 1, best_s = 1;
  for (int rep = 0; rep < 20; rep++) {
    int n = 20000;
    double t = ty_now();
    ty_pool_run(barriers_fn, &n, 2);
    t = (ty_now() - t) / n;
    if (t < best_b) best_b = t;
    t = ty_now();
    for (int i = 0; i < n; i++) ty_pool_run(empty_fn, NULL, 2);
    t = (ty_now() - t) / n;
    if (t < best_r) best_r = t;
    for (int i = 0; i < 20; i++) {
      usleep(2000);
      t = ty_now();
      ty_pool_run(empty_fn, NULL, 2);
      t = ty_now() - t;
      if (t < best_s) best_s = t;
    }
  }
  printf("2 threads: barrier %.3f us, empty run warm %.3f us, run that wakes a sleeper %.1f us\n", best_b * 1e6, best_r * 1e6,
         best_s * 1e6);
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IONBF, 0); /* children must not print the parent's text again */
  if (argc > 1 && !strcmp(argv[1], "--bench")) return bench(), 0;
  test_cgroup();
  test_lists();
  test_places();
  test_two_processes();
  test_affinity();
  test_env();
  test_lazy();
  test_barrier();
  test_nested();
  test_concurrent();
  test_sleep();
  test_late();
  test_state();
  test_fork();
  test_host();
  test_exit_midrun();
  test_crowded();
  return check_done();
}
