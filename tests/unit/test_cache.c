/* test_cache.c: compiler driver and kernel cache: every compiler, races, damage, refusals, full disks, eviction. */
#define _GNU_SOURCE 1
#include "../../src/emit/cache.h"
#include "../../src/emit/cc.h"
#include "check.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[64], logged[9000];
static int log_lines;
static ty_ctx *ctx;

static void keep_log(void *user, const char *text) {
  (void)user;
  log_lines++;
  snprintf(logged, sizeof logged, "%s", text);
}

static const char *path_of(const char *name) {
  static char buf[4][300];
  static int at;
  at = (at + 1) % 4;
  snprintf(buf[at], sizeof buf[at], "%s/%s", root, name);
  return buf[at];
}

/* A fresh cache directory of this name. */
static const char *use_dir(const char *name) {
  setenv("TUYERE_CACHE_DIR", path_of(name), 1);
  log_lines = 0;
  logged[0] = 0;
  ty_ctx_clear(ctx);
  return getenv("TUYERE_CACHE_DIR");
}

static void put(const char *path, const char *text, mode_t mode) {
  FILE *f = fopen(path, "w");
  if (!CHECK(f)) return;
  fputs(text, f);
  fclose(f);
  chmod(path, mode);
}

static int count(const char *dir, const char *what) {
  int n = 0;
  DIR *d = opendir(dir);
  for (struct dirent *e; d && (e = readdir(d));) n += strstr(e->d_name, what) != NULL;
  if (d) closedir(d);
  return n;
}

static const char HEADER[] = "typedef long i64;\n#define API __attribute__((visibility(\"default\")))\n";
static ty_cache_opts opts(void) { return (ty_cache_opts){.header = HEADER, .abi = 1, .isa = ty_cpu_get()->isa}; }

enum { NK = 5 };
static char texts[NK][200], names[NK][20];
static ty_cache_kernel kernels[NK];

/* Kernel i adds base + i; a new base is new content. */
static void make_kernels(int base) {
  for (int i = 0; i < NK; i++) {
    snprintf(names[i], sizeof names[i], "k_%d_%d", base, i);
    snprintf(texts[i], sizeof texts[i], "API i64 %s(i64 x) { return x + %d; }", names[i], base + i);
    kernels[i] = (ty_cache_kernel){names[i], texts[i]};
  }
}

static long call(const ty_cache_entry *e, long x) { return e->fn ? ((long (*)(long))e->fn)(x) : -1; }

/* Builds the NK kernels, checks that they work, returns how many were compiled; -1 when the build fails. */
static int build(int base) {
  ty_cache_entry e[NK];
  ty_cache_opts o = opts();
  make_kernels(base);
  if (ty_cache_build(ctx, &o, NK, kernels, e)) return -1;
  int built = 0;
  for (int i = 0; i < NK; i++) {
    built += e[i].built;
    if (call(&e[i], 1000) != 1000 + base + i) return -2;
  }
  ty_cache_release(e, NK);
  return built;
}

static void test_hit_and_batch(void) {
  const char *dir = use_dir("plain");
  ty_cache_opts o = opts();
  make_kernels(100);
  ty_cache_kernel k[NK + 1];
  memcpy(k, kernels, sizeof kernels);
  k[NK] = k[2]; /* comes twice */
  ty_cache_entry e[NK + 1];
  o.jobs = 2;
  if (!CHECK(!ty_cache_build(ctx, &o, NK + 1, k, e))) { fprintf(stderr, "%s\n", ty_ctx_error(ctx)); return; }
  int handles = 0;
  for (int i = 0; i <= NK; i++) {
    int fresh = 1;
    for (int j = 0; j < i; j++) fresh &= e[j].handle != e[i].handle;
    handles += fresh;
    CHECK(e[i].built);
  }
  CHECK(handles == 2); /* hard links of one file are one library */
  CHECK(call(&e[NK], 1) == 103 && call(&e[4], 1) == 105 && !strcmp(e[NK].key, e[2].key));
  CHECK(count(dir, ".so") == NK && count(dir, ".ty-") == 0);
  struct stat st;
  CHECK(!stat(dir, &st) && (st.st_mode & 0777) == 0700);
  ty_cache_release(e, NK + 1);
  CHECK(!e[0].handle && !e[0].fn);
  CHECK(build(100) == 0);
  /* The key: header, ABI version, ISA and flags each count. */
  char keys[5][33];
  const char *extra[] = {"-DX=1", NULL};
  for (int i = 0; i < 5; i++) {
    o = opts();
    if (i == 1) o.header = "typedef long i64;\n#define API __attribute__((visibility(\"default\"))) \n";
    if (i == 2) o.abi = 2;
    if (i == 3) o.isa = TY_ISA_PORTABLE;
    if (i == 4) o.extra = extra;
    if (!CHECK(!ty_cache_build(ctx, &o, 1, kernels, e))) return;
    strcpy(keys[i], e[0].key);
    CHECK(e[0].built == (i > 0) || (i == 3 && ty_cpu_get()->isa == TY_ISA_PORTABLE));
    for (int j = 0; j < i; j++) CHECK(strcmp(keys[i], keys[j]) || (i == 3 && ty_cpu_get()->isa == TY_ISA_PORTABLE));
    ty_cache_release(e, 1);
  }
  put(path_of("plain/mine.txt"), "not the cache's", 0600);
  int removed = 0;
  CHECK(!ty_cache_clear(ctx, &removed) && removed >= NK + 3);
  CHECK(count(dir, ".so") == 0 && count(dir, ".lock") == 0 && count(dir, "mine.txt") == 1);
  CHECK(!ty_cache_build(ctx, &o, 0, NULL, NULL));
  char got[300];
  CHECK(!ty_cache_dir(ctx, got, sizeof got));
  CHECK_STR(got, dir);
}

static void test_paths(void) {
  char got[300];
  unsetenv("TUYERE_CACHE_DIR");
  setenv("XDG_CACHE_HOME", path_of("xdg"), 1);
  CHECK(!ty_cache_dir(ctx, got, sizeof got));
  CHECK_STR(got, path_of("xdg/tuyere"));
  setenv("XDG_CACHE_HOME", "relative", 1);
  setenv("HOME", path_of("home"), 1);
  CHECK(!ty_cache_dir(ctx, got, sizeof got));
  CHECK_STR(got, path_of("home/.cache/tuyere"));
  unsetenv("XDG_CACHE_HOME");
  setenv("TUYERE_CACHE_DIR", path_of("slash//"), 1);
  CHECK(!ty_cache_dir(ctx, got, sizeof got));
  CHECK_STR(got, path_of("slash"));
}

static void test_damage(void) {
  const char *dir = use_dir("damage");
  CHECK(build(200) == NK);
  for (int mode = 0; mode < 4; mode++) {
    int hurt = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));) {
      if (!strstr(e->d_name, ".so")) continue;
      char p[400];
      struct stat st;
      snprintf(p, sizeof p, "%s/%s", dir, e->d_name);
      stat(p, &st);
      if (hurt && mode != 3) continue;
      hurt++;
      int fd = open(p, O_RDWR);
      if (mode == 0) CHECK(!ftruncate(fd, st.st_size / 2));
      if (mode == 1) CHECK(!ftruncate(fd, 0));
      if (mode == 2) CHECK(pwrite(fd, "xxxx", 4, st.st_size / 3) == 4);
      if (mode == 3) CHECK(!ftruncate(fd, st.st_size - 1));
      close(fd);
    }
    closedir(d);
    CHECK(build(200) > 0); /* rebuilt, and it works */
    CHECK(build(200) == 0);
  }
}

/* Puts what stands under one key under another: whole, but it lacks the symbol. */
static void swap_entries(const char *dir, bool hard) {
  char from[400] = "", to[400] = "", cmd[1000];
  DIR *d = opendir(dir);
  for (struct dirent *e; (e = readdir(d));)
    if (strstr(e->d_name, ".so")) snprintf(*from ? to : from, sizeof from, "%s/%s", dir, e->d_name);
  closedir(d);
  snprintf(cmd, sizeof cmd, hard ? "ln -f %s %s" : "cp --remove-destination %s %s", from, to);
  CHECK(system(cmd) == 0);
}

static void test_unloadable(void) {
  const char *dir = use_dir("unloadable");
  ty_cache_opts o = opts();
  ty_cache_entry e[2];
  make_kernels(250);
  o.jobs = 2; /* a file each */
  for (int hard = 0; hard < 2; hard++) {
    CHECK(!ty_cache_build(ctx, &o, 2, kernels, e));
    ty_cache_release(e, 2);
    swap_entries(dir, hard);
    if (!CHECK(!ty_cache_build(ctx, &o, 2, kernels, e))) { fprintf(stderr, "%s\n", ty_ctx_error(ctx)); return; }
    CHECK(e[0].built + e[1].built == 1 && call(&e[0], 1) == 251 && call(&e[1], 1) == 252);
    ty_cache_release(e, 2);
    CHECK(!ty_cache_build(ctx, &o, 2, kernels, e) && !e[0].built && !e[1].built);
    ty_cache_release(e, 2);
  }
  /* Wrong again after it was compiled again: an error, and nothing of it stays. */
  ty_cache_kernel absent = {"absent", "API i64 other(i64 x) { return x; }"};
  int before = count(dir, ".so");
  for (int i = 0; i < 2; i++) {
    CHECK(ty_cache_build(ctx, &o, 1, &absent, e) == TY_COMPILER && !e[0].handle && log_lines == 0);
    CHECK_HAS(ty_ctx_error(ctx), "cannot load what was compiled");
    CHECK_HAS(ty_ctx_error(ctx), "absent");
    CHECK(count(dir, ".so") == before);
  }
}

/* A cache that was filled by a compiler is good without one, and without asking what a compiler is. */
static void test_warm_without_compiler(void) {
  use_dir("warm");
  put(path_of("other cc"), "#!/bin/sh\n[ \"$1\" = --version ] && echo 'other 1.0' && exit\nexec gcc \"$@\"\n", 0700);
  setenv("TUYERE_CC", path_of("other cc"), 1);
  CHECK(build(270) == NK);
  char *old = strdup(getenv("PATH"));
  setenv("TUYERE_CC", "none", 1);
  CHECK(build(270) == 0);
  setenv("TUYERE_CC", "no-such-compiler", 1);
  CHECK(build(270) == 0);
  char text[200];
  snprintf(text, sizeof text, "#!/bin/sh\ntouch %s\nexit 1\n", path_of("asked"));
  put(path_of("asked cc"), text, 0700);
  setenv("TUYERE_CC", path_of("asked cc"), 1);
  CHECK(build(270) == 0 && access(path_of("asked"), F_OK)); /* not run */
  unsetenv("TUYERE_CC");
  setenv("PATH", path_of("nothing"), 1);
  CHECK(build(270) == 0);
  setenv("PATH", old, 1);
  free(old);
  CHECK(build(270) == 0); /* cc's own version is no part of the key */
  setenv("TUYERE_CC", "none", 1);
  CHECK(build(271) == -1);
  CHECK_HAS(ty_ctx_error(ctx), "TUYERE_CC=none");
  setenv("TUYERE_CACHE_DIR", "/proc/tuyere", 1);
  CHECK(build(270) == -1 && log_lines == 0); /* no private directory for nothing */
  CHECK_HAS(ty_ctx_error(ctx), "TUYERE_CC=none");
  unsetenv("TUYERE_CC");
}

static void test_refusals(void) {
  char got[300];
  mkdir(path_of("open"), 0700);
  chmod(path_of("open"), 0777);
  use_dir("open");
  CHECK(build(1) == -1);
  CHECK_HAS(ty_ctx_error(ctx), "can be written by others (mode 777)");
  CHECK_HAS(ty_ctx_error(ctx), "chmod 700");
  chmod(path_of("open"), 0720);
  CHECK(ty_cache_dir(ctx, got, sizeof got) == TY_IO && ty_cache_clear(ctx, NULL) == TY_IO);
  chmod(path_of("open"), 0755);
  CHECK(ty_cache_dir(ctx, got, sizeof got) == TY_OK);
  CHECK(!symlink(path_of("open"), path_of("link")));
  use_dir("link");
  CHECK(build(1) == -1);
  CHECK_HAS(ty_ctx_error(ctx), "symbolic link");
  setenv("TUYERE_CACHE_DIR", path_of("link/"), 1);
  CHECK(build(1) == -1);
  put(path_of("file"), "x", 0600);
  use_dir("file");
  CHECK(build(1) == -1);
  CHECK_HAS(ty_ctx_error(ctx), "is not a directory");
  CHECK(log_lines == 0); /* a refusal is no reason to go elsewhere quietly */
  if (geteuid()) { printf("skipped: foreign-owned directory (not root)\n"); return; }
  mkdir(path_of("foreign"), 0700);
  CHECK(!chown(path_of("foreign"), 12345, 12345));
  use_dir("foreign");
  CHECK(build(1) == -1);
  CHECK_HAS(ty_ctx_error(ctx), "belongs to uid 12345");
}

/* Runs in a child, as the private directory is a process's own and goes at its exit. */
static int in_child(int (*fn)(void)) {
  fflush(stdout);
  pid_t pid = fork();
  if (!pid) {
    atomic_store(&check_failed, 0);
    int r = fn();
    exit(r || atomic_load(&check_failed));
  }
  int st;
  waitpid(pid, &st, 0);
  return WIFEXITED(st) ? WEXITSTATUS(st) : 1000 + WTERMSIG(st);
}

static int private_used(const char *why) {
  int r = 0;
  r |= !CHECK(build(300) == NK);
  r |= !CHECK_HAS(logged, why);
  r |= !CHECK_HAS(logged, "until exit");
  r |= !CHECK(build(300) == 0 && build(310) == NK && log_lines == 1);
  r |= !CHECK(count(getenv("TMPDIR"), "tuyere-") == 1);
  return r;
}

static int unwritable_file(void) { return put(path_of("afile"), "", 0600), use_dir("afile/below"), private_used("cannot make the cache"); }
static int unwritable_proc(void) { return setenv("TUYERE_CACHE_DIR", "/proc/tuyere", 1), log_lines = 0, private_used("/proc/tuyere"); }
static int unwritable_home(void) {
  unsetenv("TUYERE_CACHE_DIR");
  setenv("HOME", "/proc/nobody", 1);
  log_lines = 0;
  return private_used("/proc/nobody/.cache/tuyere");
}
static int nowhere(void) {
  setenv("TUYERE_CACHE_DIR", "/proc/tuyere", 1);
  setenv("TMPDIR", "/proc/tmp", 1);
  make_kernels(1);
  ty_cache_entry e[NK];
  ty_cache_opts o = opts();
  int r = !CHECK(ty_cache_build(ctx, &o, NK, kernels, e) == TY_IO);
  return r || !CHECK_HAS(ty_ctx_error(ctx), "/proc/tuyere") || !CHECK_HAS(ty_ctx_error(ctx), "nor could a private directory");
}
static int file_limit(void) {
  use_dir("limit");
  signal(SIGXFSZ, SIG_IGN);
  CHECK(build(400) == NK);
  struct rlimit l = {300, 300}; /* less than any shared object */
  setrlimit(RLIMIT_FSIZE, &l);
  int r = !CHECK(build(400) == 0); /* what is there still loads */
  r |= !CHECK(build(401) == -1 && ty_ctx_error(ctx)[0]);
  return r || !CHECK(count(path_of("limit"), ".so") == NK && count(path_of("limit"), ".ty-") == 0);
}
/* A small file system of its own: full, then read-only. Needs to be root in a namespace. */
static int small_disk(void) {
  mkdir(path_of("small"), 0700);
  if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
      mount("none", path_of("small"), "tmpfs", 0, "size=256k,mode=700")) {
    printf("skipped: full and read-only disk (cannot mount: %s)\n", strerror(errno));
    return 0;
  }
  use_dir("small");
  int r = !CHECK(build(500) == NK);
  char junk[4096] = {1};
  int fd = open(path_of("small/junk"), O_CREAT | O_WRONLY, 0600);
  while (write(fd, junk, sizeof junk) > 0) {}
  close(fd);
  r |= !CHECK(build(500) == 0);
  r |= private_used("small");
  r |= !CHECK(count(path_of("small"), ".ty-") == 0);
  unlink(path_of("small/junk"));
  r |= !CHECK(build(510) == NK && !mount("none", path_of("small"), NULL, MS_REMOUNT | MS_RDONLY, NULL));
  r |= !CHECK(build(510) == 0 && build(500) == 0 && build(520) == NK);
  return r;
}

static void test_places(void) {
  mkdir(path_of("tmp"), 0700);
  setenv("TMPDIR", path_of("tmp"), 1);
  int (*const cases[])(void) = {unwritable_file, unwritable_proc, unwritable_home, nowhere, file_limit, small_disk};
  for (int i = 0; i < 6; i++) {
    CHECK(in_child(cases[i]) == 0);
    CHECK(count(path_of("tmp"), "tuyere-") == 0); /* removed at exit */
  }
}

static void test_compiler_trouble(void) {
  const char *dir = use_dir("trouble");
  ty_cache_entry e[2];
  ty_cache_opts o = opts();
  ty_cache_kernel bad[2] = {{"good", "API i64 good(i64 x) { return x; }"}, {"bad", "API i64 bad(i64 x) { return nonesuch; }"}};
  CHECK(ty_cache_build(ctx, &o, 2, bad, e) == TY_COMPILER && !e[0].handle && !e[1].handle);
  CHECK_HAS(ty_ctx_error(ctx), "nonesuch");
  CHECK_HAS(ty_ctx_error(ctx), "failed with status");
  CHECK(count(dir, ".so") == 0 && count(dir, ".ty-") == 0);
  bad[1].symbol = "absent"; /* compiles, but has not the symbol */
  bad[1].text = "API i64 other(i64 x) { return x; }";
  CHECK(ty_cache_build(ctx, &o, 2, bad, e) == TY_COMPILER && !e[0].handle);

  make_kernels(600);
  setenv("TUYERE_CC", "none", 1);
  CHECK(build(600) == -1);
  CHECK_HAS(ty_ctx_error(ctx), "TUYERE_CC=none");
  setenv("TUYERE_CC", "no-such-compiler -x", 1);
  CHECK(build(600) == -1);
  CHECK_HAS(ty_ctx_error(ctx), "no program \"no-such-compiler\"");

  /* One that hangs, with a child of its own, after writing half a file: killed with the child, nothing left. */
  char text[600];
  snprintf(text, sizeof text,
           "#!/bin/sh\n[ \"$1\" = --version ] && echo 'gcc 1.2.3' && exit\nout=\nwhile [ $# -gt 0 ]; do [ \"$1\" = -o ] && "
           "out=$2; shift; done\necho half >$out\nsleep 33 &\necho $! >%s\nwait\n", path_of("pid"));
  put(path_of("hang cc"), text, 0700); /* with a space in its path */
  setenv("TUYERE_CC", path_of("hang cc"), 1);
  setenv("TUYERE_CC_TIMEOUT", "0.3", 1);
  double t = ty_now();
  CHECK(build(600) == -1);
  CHECK(ty_now() - t < 5);
  CHECK_HAS(ty_ctx_error(ctx), "took longer than 0.3 s");
  CHECK(count(dir, ".so") == 1 && count(dir, ".ty-") == 0); /* "good" of the case before */
  int pid = 0;
  FILE *f = fopen(path_of("pid"), "r");
  CHECK(f && fscanf(f, "%d", &pid) == 1 && pid > 1);
  if (f) fclose(f);
  bool gone = false;
  for (int i = 0; i < 100 && !gone; i++) { /* dead, or a zombie until init looks */
    char stat_path[64], line[256] = "";
    snprintf(stat_path, sizeof stat_path, "/proc/%d/stat", pid);
    f = fopen(stat_path, "r");
    gone = !f || !fgets(line, sizeof line, f) || strstr(line, ") Z");
    if (f) fclose(f);
    usleep(10000);
  }
  CHECK(gone);
  unsetenv("TUYERE_CC_TIMEOUT");

  put(path_of("die"), "#!/bin/sh\n[ \"$1\" = --version ] && echo 'gcc 1.2.3' && exit\nkill -SEGV $$\n", 0700);
  setenv("TUYERE_CC", path_of("die"), 1);
  CHECK(build(600) == -1);
  CHECK_HAS(ty_ctx_error(ctx), "killed by signal 11");
  put(path_of("loud"), "#!/bin/sh\n[ \"$1\" = --version ] && echo 'gcc 1.2.3' && exit\nyes | head -c 3000000 >&2; exit 3\n", 0700);
  setenv("TUYERE_CC", path_of("loud"), 1);
  CHECK(build(600) == -1); /* more text than any buffer: no deadlock, and cut */
  CHECK_HAS(ty_ctx_error(ctx), "failed with status 3");
  put(path_of("lazy"), "#!/bin/sh\n[ \"$1\" = --version ] && echo 'gcc 1.2.3'\nexit 0\n", 0700);
  setenv("TUYERE_CC", path_of("lazy"), 1);
  CHECK(build(600) == -1);
  CHECK_HAS(ty_ctx_error(ctx), "wrote no output");
  unsetenv("TUYERE_CC");
  signal(SIGCHLD, SIG_IGN); /* a host program that throws away exit statuses */
  CHECK(build(610) == NK);
  CHECK(ty_cache_build(ctx, &o, 1, &(ty_cache_kernel){"b2", "i64 b2(i64 x) { return nonesuch; }"}, e) == TY_COMPILER);
  signal(SIGCHLD, SIG_DFL);
}

/* Counts its runs: appends a byte, then works as cc. */
static void make_counter(const char *name) {
  char text[400];
  snprintf(text, sizeof text, "#!/bin/sh\n[ \"$1\" = --version ] || { printf x >>%s; sleep 0.3; }\nexec cc \"$@\"\n", path_of("runs"));
  put(path_of(name), text, 0700);
  setenv("TUYERE_CC", path_of(name), 1);
}

static void test_race(void) {
  const char *dir = use_dir("race");
  make_counter("countcc");
  pid_t pid[4];
  fflush(stdout);
  for (int i = 0; i < 4; i++)
    if (!(pid[i] = fork())) _exit(build(700) < 0);
  for (int i = 0; i < 4; i++) {
    int st;
    waitpid(pid[i], &st, 0);
    CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 0);
  }
  struct stat st;
  CHECK(!stat(path_of("runs"), &st) && st.st_size >= 1 && st.st_size <= 64);
  off_t once = st.st_size; /* batches of one process */
  CHECK(build(701) == NK);
  CHECK(!stat(path_of("runs"), &st) && st.st_size == 2 * once);
  CHECK(count(dir, ".so") == 2 * NK && count(dir, ".ty-") == 0);

  /* A process killed in the middle of its compile leaves no entry and no lock behind. */
  if (!(pid[0] = fork())) _exit(build(702) < 0);
  usleep(150000);
  kill(pid[0], SIGKILL);
  waitpid(pid[0], NULL, 0);
  CHECK(count(dir, ".so") - count(dir, ".ty-") <= 2 * NK);
  double t = ty_now();
  CHECK(build(702) == NK && ty_now() - t < 20);
  unsetenv("TUYERE_CC");
}

/* Threads with a context each; they share nothing but the directory and what the process knows of its compiler. */
static void *thread_build(void *arg) {
  ty_ctx *c = ty_ctx_create();
  ty_cache_entry e[NK];
  ty_cache_opts o = opts();
  bool ok = !ty_cache_build(c, &o, NK, kernels, e) && call(&e[3], 5) == 758;
  if (ok) ty_cache_release(e, NK);
  ty_ctx_destroy(c);
  return ok ? NULL : arg;
}

static void test_threads(void) {
  use_dir("threads");
  make_kernels(750);
  pthread_t t[4];
  for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, thread_build, &t);
  for (int i = 0; i < 4; i++) {
    void *bad;
    pthread_join(t[i], &bad);
    CHECK(!bad);
  }
}

static void test_evict(void) {
  const char *dir = use_dir("evict");
  CHECK(build(800) == NK);
  DIR *d = opendir(dir);
  char first[300] = "";
  for (struct dirent *e; (e = readdir(d));) { /* these are old */
    utimensat(dirfd(d), e->d_name, (struct timespec[]){{1000000, 0}, {1000000, 0}}, 0);
    if (strstr(e->d_name, ".so")) snprintf(first, sizeof first, "evict/%s", e->d_name);
  }
  closedir(d);
  put(path_of("evict/.ty-dead.c"), "", 0600);
  utimensat(AT_FDCWD, path_of("evict/.ty-dead.c"), (struct timespec[]){{1000000, 0}, {1000000, 0}}, 0);
  put(path_of("evict/mine.txt"), "", 0600);
  struct stat st;
  char mb[32];
  snprintf(mb, sizeof mb, "%.6f", CHECK(!stat(path_of(first), &st)) ? 3.75 * (double)st.st_size / (1 << 20) : 0.06); /* a few files */
  setenv("TUYERE_CACHE_MB", mb, 1);
  CHECK(build(800) == 0);               /* touched by the hit: now the newest */
  for (int i = 0; i < 10; i++) CHECK(build(810 + i) == NK);
  CHECK(count(dir, ".so") > 0 && count(dir, ".so") <= 5 * NK && count(dir, "mine.txt") == 1);
  CHECK(count(dir, ".ty-") == 0);
  CHECK(build(819) == 0); /* the newest stayed */
  CHECK(build(810) > 0);  /* an old one went */
  setenv("TUYERE_CACHE_MB", "0", 1);
  CHECK(build(830) == NK && count(dir, ".so") == 0);
  unsetenv("TUYERE_CACHE_MB");
}

static void test_fail_alloc(void) {
  use_dir("alloc");
  CHECK(build(900) == NK);
  int failed = 0;
  for (int n = 1; n < 12; n++) {
    ty_alloc_fail_after(n);
    int r = build(900 + n);
    failed += r < 0;
    CHECK(r == NK || r == -1);
  }
  ty_alloc_fail_after(0);
  CHECK(failed > 0);
}

/* Each compiler that is here, with its flags at each level, and what it says it is. */
static void test_compilers(void) {
  static const char src[] = "float expf(float); typedef float v16 __attribute__((vector_size(64)));\n"
    "__attribute__((visibility(\"default\"))) void f(float *x, long n) {\n"
    "#pragma omp simd\n for (long i = 0; i < n; i++) x[i] = x[i] * 2 + 1;\n x[0] = expf(x[0]); }\n";
  const char *which[] = {"gcc", "clang-19", "clang", "python3 -m ziglang cc", NULL};
  put(path_of("f.c"), src, 0600);
  put(path_of("undef.c"), "int nonesuch(void);\n__attribute__((visibility(\"default\"))) int f(void) { return nonesuch(); }\n", 0600);
  for (int i = 0; which[i]; i++) {
    ty_cc cc;
    ty_cc_id id, again;
    setenv("TUYERE_CC", which[i], 1);
    if (ty_cc_find(ctx, NULL, &cc)) { printf("skipped: %s is not here\n", which[i]); continue; }
    if (ty_cc_identity(ctx, &cc, &id)) { printf("skipped: %s does not run\n", which[i]); continue; }
    CHECK(!ty_cc_identity(ctx, &cc, &again) && !memcmp(&id, &again, sizeof id));
    printf("%s: family %s, major %d\n", which[i], id.family, id.major);
    CHECK(id.major >= 8 && (!strcmp(id.family, cc.zig ? "zig" : i ? "clang" : "gcc")));
    for (int isa = 0; isa < TY_NISA; isa++) {
      if (!ty_cpu_runs((ty_isa)isa)) continue;
      double t = ty_now();
      if (!CHECK(!ty_cc_compile(ctx, &cc, path_of("f.c"), path_of("f.so"), (ty_isa)isa, NULL))) {
        fprintf(stderr, "%s\n", ty_ctx_error(ctx));
        continue;
      }
      t = ty_now() - t;
      void *h = dlopen(path_of("f.so"), RTLD_NOW | RTLD_LOCAL);
      void (*f)(float *, long) = NULL;
      if (CHECK(h)) *(void **)&f = dlsym(h, "f");
      float x[33] = {[0] = -0.5f, [32] = 3};
      if (CHECK(f)) f(x, 33);
      CHECK(x[0] == 1 && x[1] == 1 && x[32] == 7);
      if (h) dlclose(h);
      unlink(path_of("f.so")); /* or dlopen would know the name */
      CHECK(ty_cc_compile(ctx, &cc, path_of("undef.c"), path_of("f.so"), (ty_isa)isa, NULL) == TY_COMPILER);
      CHECK_HAS(ty_ctx_error(ctx), "nonesuch");
      printf("  level %d: %.0f ms\n", isa, t * 1e3);
    }
  }
  unsetenv("TUYERE_CC");
  /* zig hangs or fails where it cannot write to HOME, unless it is given another place. */
  ty_cc zc;
  ty_cc_id zid;
  setenv("TUYERE_CC", which[3], 1);
  if (!ty_cc_find(ctx, NULL, &zc) && !ty_cc_identity(ctx, &zc, &zid)) {
    char *home = strdup(getenv("HOME"));
    setenv("HOME", "/proc/nobody", 1);
    setenv("TMPDIR", root, 1);
    double t = ty_now();
    CHECK(!ty_cc_compile(ctx, &zc, path_of("f.c"), path_of("f.so"), TY_ISA_PORTABLE, NULL) && ty_now() - t < 60);
    unsetenv("TMPDIR");
    setenv("HOME", home, 1);
    free(home);
  }
  unsetenv("TUYERE_CC");
  /* Nothing on the PATH: zig by the path that a door knows, else a clear answer. */
  char *old = strdup(getenv("PATH"));
  ty_cc cc;
  setenv("PATH", root, 1);
  CHECK(ty_cc_find(ctx, NULL, &cc) == TY_COMPILER);
  CHECK_HAS(ty_ctx_error(ctx), "pip install ziglang");
  put(path_of("zig"), "#!/bin/sh\n", 0700);
  CHECK(!ty_cc_find(ctx, path_of("zig"), &cc) && cc.zig && cc.nargs == 2);
  put(path_of("python3.11"), "#!/bin/sh\n", 0700);
  CHECK(!ty_cc_find(ctx, path_of("python3.11"), &cc) && cc.zig && cc.nargs == 4 && !strcmp(cc.text + cc.arg[2], "ziglang"));
  setenv("PATH", old, 1);
  free(old);
}

int main(void) {
  setvbuf(stdout, NULL, _IONBF, 0);
  strcpy(root, "/tmp/ty_cache_XXXXXX");
  if (!mkdtemp(root)) return 2;
  static const char *const vars[] = {"TUYERE_CC", "TUYERE_CACHE_MB", "TUYERE_CC_TIMEOUT", "XDG_CACHE_HOME"};
  for (int i = 0; i < 4; i++) unsetenv(vars[i]);
  ctx = ty_ctx_create();
  ty_ctx_set_log(ctx, keep_log, NULL);
  char *home = strdup(getenv("HOME") ? getenv("HOME") : "/tmp");
  test_paths();
  setenv("HOME", home, 1);
  free(home);
  test_compilers();
  test_hit_and_batch();
  test_damage();
  test_unloadable();
  test_warm_without_compiler();
  test_refusals();
  test_places();
  test_compiler_trouble();
  test_race();
  test_threads();
  test_evict();
  test_fail_alloc();
  ty_ctx_destroy(ctx);
  char cmd[100];
  snprintf(cmd, sizeof cmd, "rm -rf '%s'", root);
  CHECK(system(cmd) == 0);
  return check_done();
}
