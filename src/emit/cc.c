/* cc.c: the C compiler driver: search, identity, flags by ISA level, parallel compilation. */
#define _GNU_SOURCE 1
#include "cc.h"

#include "proc.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_program(const char *path) {
  struct stat st;
  return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

/* A name without a slash is looked up on the PATH, as execvp does. */
static bool find_program(const char *name, char *out, size_t size) {
  if (strchr(name, '/')) return snprintf(out, size, "%s", name) < (int)size && is_program(out);
  const char *path = getenv("PATH");
  if (!path) path = "/usr/local/bin:/usr/bin:/bin";
  for (size_t n; *path; path += n + (path[n] == ':')) {
    n = strcspn(path, ":");
    if (n && snprintf(out, size, "%.*s/%s", (int)n, path, name) < (int)size && is_program(out)) return true;
  }
  return false;
}

static bool cc_word(ty_cc *c, const char *word, size_t n) {
  int at = c->nargs ? c->arg[c->nargs - 1] + (int)strlen(c->text + c->arg[c->nargs - 1]) + 1 : 0;
  if (c->nargs == TY_CC_ARGS || (size_t)at + n + 1 > TY_CC_TEXT) return false;
  memcpy(c->text + at, word, n);
  c->text[at + (int)n] = 0;
  c->arg[c->nargs++] = at;
  const char *base = strrchr(c->text + at, '/');
  base = base ? base + 1 : c->text + at;
  if (!strcmp(base, "zig") || !strcmp(base, "ziglang")) c->zig = true;
  return true;
}

/* TUYERE_CC: a program, perhaps with arguments behind it. A path with spaces works when it is the whole. */
static ty_status from_env(ty_ctx *ctx, const char *env, ty_cc *out) {
  char path[TY_CC_TEXT];
  if (!strcmp(env, "none")) return ty_fail(ctx, TY_COMPILER, "no C compiler is used: TUYERE_CC=none");
  if (strchr(env, '/') && is_program(env) && cc_word(out, env, strlen(env))) return TY_OK;
  for (const char *s = env + strspn(env, " \t"); *s; s += strspn(s, " \t")) {
    size_t n = strcspn(s, " \t");
    if (!out->nargs) {
      char name[1024];
      if (n >= sizeof name) return ty_fail(ctx, TY_COMPILER, "TUYERE_CC is too long");
      snprintf(name, sizeof name, "%.*s", (int)n, s);
      if (!find_program(name, path, sizeof path))
        return ty_fail(ctx, TY_COMPILER, "TUYERE_CC=%s: there is no program \"%s\"", env, name);
      if (!cc_word(out, path, strlen(path))) return ty_fail(ctx, TY_COMPILER, "TUYERE_CC is too long");
    } else if (!cc_word(out, s, n)) return ty_fail(ctx, TY_COMPILER, "TUYERE_CC has too many words");
    s += n;
  }
  return out->nargs ? TY_OK : ty_fail(ctx, TY_COMPILER, "TUYERE_CC is empty");
}

/* What a process learns once: the last compiler's identity, and where python3 keeps zig. Facts about the machine and
 * not state of a compilation; a lock that a fork left behind only costs asking again. */
static pthread_mutex_t memo_lock = PTHREAD_MUTEX_INITIALIZER;
static struct { bool zig_asked; char zig[1024]; bool known; ty_cc cc; ty_cc_id id; } memo;

/* zig keeps headers and objects in $XDG_CACHE_HOME/zig or ~/.cache/zig, and fails or even hangs where it cannot. Then
 * it gets a directory under TMPDIR: the user's own, or none. */
typedef struct zig_env { const char *env[3]; char text[2][1100]; } zig_env;

static bool can_make(char *path) {
  for (char *p = path + 1;; p++) {
    if (*p && *p != '/') continue;
    char was = *p;
    *p = 0;
    mkdir(path, 0700); /* what counts is what is there at the end */
    *p = was;
    if (!was) return !access(path, W_OK | X_OK);
  }
}

static const char *const *zig_environ(const ty_cc *cc, zig_env *z) {
  const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME"), *tmp = getenv("TMPDIR");
  char path[1024];
  struct stat st;
  if (!cc->zig || getenv("ZIG_GLOBAL_CACHE_DIR")) return NULL;
  int n = 0;
  if (xdg && *xdg == '/') n = snprintf(path, sizeof path, "%s/zig", xdg);
  else if (home && *home == '/') n = snprintf(path, sizeof path, "%s/.cache/zig", home);
  if (n > 0 && n < (int)sizeof path && can_make(path)) return NULL;
  n = snprintf(path, sizeof path, "%s/tuyere-zig-%u", tmp && *tmp == '/' ? tmp : "/tmp", (unsigned)geteuid());
  if (n >= (int)sizeof path || !can_make(path) || lstat(path, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
      (st.st_mode & 022))
    return NULL;
  snprintf(z->text[0], sizeof z->text[0], "ZIG_GLOBAL_CACHE_DIR=%s", path);
  snprintf(z->text[1], sizeof z->text[1], "ZIG_LOCAL_CACHE_DIR=%s", path);
  z->env[0] = z->text[0];
  z->env[1] = z->text[1];
  z->env[2] = NULL;
  return z->env;
}

static bool run_quick(char *const argv[], const char *const *env, char *text, size_t size) {
  ty_proc p;
  if (!ty_proc_start(&p, argv, env, 20, text, size)) return false;
  ty_proc_wait(&p, 1);
  return !p.timed_out && (p.code == 0 || p.code == -1);
}

static bool zig_of_python(char *out, size_t size) {
  char py[1024];
  bool memoed = !pthread_mutex_trylock(&memo_lock), found = false;
  if (memoed && memo.zig_asked) snprintf(out, size, "%s", memo.zig);
  else if (find_program("python3", py, sizeof py)) {
    char *argv[] = {py, "-c", "import ziglang,os;print(os.path.join(os.path.dirname(ziglang.__file__),'zig'))", NULL};
    if (!run_quick(argv, NULL, out, size)) out[0] = 0;
    out[strcspn(out, "\n")] = 0;
    if (memoed) snprintf(memo.zig, sizeof memo.zig, "%s", out), memo.zig_asked = true;
  } else out[0] = 0;
  found = out[0] == '/' && is_program(out);
  if (memoed) pthread_mutex_unlock(&memo_lock);
  return found;
}

static ty_status zig_cc(ty_ctx *ctx, const char *path, ty_cc *out) {
  const char *base = strrchr(path, '/');
  bool ok = cc_word(out, path, strlen(path));
  out->zig = true;
  if (!strncmp(base ? base + 1 : path, "python", 6)) ok = ok && cc_word(out, "-m", 2) && cc_word(out, "ziglang", 7);
  return ok && cc_word(out, "cc", 2) ? TY_OK : ty_fail(ctx, TY_COMPILER, "path of zig is too long");
}

ty_status ty_cc_find(ty_ctx *ctx, const char *zig, ty_cc *out) {
  static const char *const names[] = {"cc", "clang", "gcc"};
  char path[1024];
  memset(out, 0, sizeof *out); /* compared as bytes by the memo */
  out->arch = TY_ARCH_HERE;
  const char *env = getenv("TUYERE_CC");
  if (env && *env) return from_env(ctx, env, out);
  for (int i = 0; i < 3; i++)
    if (find_program(names[i], path, sizeof path) && cc_word(out, path, strlen(path))) return TY_OK;
  if (zig && is_program(zig)) snprintf(path, sizeof path, "%s", zig);
  else if (!zig_of_python(path, sizeof path))
    return ty_fail(ctx, TY_COMPILER, "no C compiler found: set TUYERE_CC, or install gcc or clang, or pip install ziglang");
  return zig_cc(ctx, path, out);
}

/* What a compiler makes code for, as it says itself. */
static bool machine_is(const ty_cc *cc, const char *arch, char *said, size_t size) {
  char *argv[TY_CC_ARGS + 2];
  for (int i = 0; i < cc->nargs; i++) argv[i] = (char *)cc->text + cc->arg[i];
  argv[cc->nargs] = "-dumpmachine";
  argv[cc->nargs + 1] = NULL;
  zig_env z;
  if (!run_quick(argv, zig_environ(cc, &z), said, size)) said[0] = 0;
  said[strcspn(said, "\n")] = 0;
  return !strncmp(said, arch, strlen(arch));
}

ty_status ty_cc_find_cross(ty_ctx *ctx, ty_arch arch, ty_cc *out) {
  const char *name = ty_arch_name(arch), *env = getenv("TUYERE_CC");
  char path[1024], gcc[64];
  memset(out, 0, sizeof *out);
  out->arch = arch;
  if (env && *env) {
    TY_TRY(from_env(ctx, env, out));
    if (out->zig || machine_is(out, name, path, sizeof path)) return TY_OK;
    return ty_fail(ctx, TY_COMPILER, "TUYERE_CC=%s makes code for %s, not for %s", env, path[0] ? path : "another machine", name);
  }
  snprintf(gcc, sizeof gcc, "%s-linux-gnu-gcc", name);
  if (find_program(gcc, path, sizeof path) && cc_word(out, path, strlen(path))) return TY_OK;
  if (find_program("zig", path, sizeof path) || zig_of_python(path, sizeof path)) return zig_cc(ctx, path, out);
  return ty_fail(ctx, TY_COMPILER, "no C compiler for %s: install %s (Debian: gcc-%s-linux-gnu), or pip install ziglang, or set TUYERE_CC", name, gcc,
                 arch == TY_ARCH_X86_64 ? "x86-64" : name);
}

/* "gcc (Debian 12.2.0-14) 12.2.0", "Debian clang version 19.1.7 (..)", "clang version 22.1.8", "cc (GCC) 13.2.0". */
static void parse_version(ty_cc_id *id, bool zig) {
  const char *v = id->version, *s = strstr(v, "version ");
  if (strstr(v, "clang")) strcpy(id->family, zig ? "zig" : "clang");
  else if (!strncmp(v, "gcc", 3) || strstr(v, "-gcc") || strstr(v, "GCC") || !strncmp(v, "cc (", 4)) strcpy(id->family, "gcc");
  else strcpy(id->family, "other");
  if (s) s += 8;
  else if ((s = strrchr(v, ')'))) s += 1 + strspn(s + 1, " ");
  else s = v + strcspn(v, "0123456789");
  id->major = atoi(s);
}

ty_status ty_cc_identity(ty_ctx *ctx, const ty_cc *cc, ty_cc_id *out) {
  bool memoed = !pthread_mutex_trylock(&memo_lock);
  if (memoed && memo.known && !memcmp(&memo.cc, cc, sizeof *cc)) {
    *out = memo.id;
    pthread_mutex_unlock(&memo_lock);
    return TY_OK;
  }
  if (memoed) pthread_mutex_unlock(&memo_lock); /* not held while a program runs */
  char text[2048], *argv[TY_CC_ARGS + 2];
  for (int i = 0; i < cc->nargs; i++) argv[i] = (char *)cc->text + cc->arg[i];
  argv[cc->nargs] = "--version";
  argv[cc->nargs + 1] = NULL;
  zig_env z;
  if (!run_quick(argv, zig_environ(cc, &z), text, sizeof text) || !text[0])
    return ty_fail(ctx, TY_COMPILER, "%s --version failed: %s", cc->text, text);
  memset(out, 0, sizeof *out);
  text[strcspn(text, "\n")] = 0;
  snprintf(out->version, sizeof out->version, "%.255s", text);
  parse_version(out, cc->zig);
  if (!pthread_mutex_trylock(&memo_lock)) {
    memo.cc = *cc;
    memo.id = *out;
    memo.known = true;
    pthread_mutex_unlock(&memo_lock);
  }
  return TY_OK;
}

/* Nothing here may break NaN, infinities or signed zero: no -ffast-math, no -ffinite-math-only. Contraction to FMA is
 * allowed by the contract on numerics. -nostdlib: emitted code wants no start files, and of libc and libm what it calls
 * itself. -z defs: a name that nothing defines fails here, with the compiler's text, and not when it is loaded. */
static const char *const flags_all[] = {"-O3", "-std=gnu11", "-shared", "-fPIC", "-ffp-contract=fast", "-fno-math-errno",
  "-fno-trapping-math", "-fopenmp-simd", "-fno-semantic-interposition", "-fvisibility=hidden", "-nostdlib", "-Wl,-z,defs", "-w",
  "-fmax-errors=3", NULL};
static const char *const flags_isa[TY_NISA][10] = {
  [TY_ISA_PORTABLE] = {NULL},
  [TY_ISA_AVX2] = {"-mavx2", "-mfma", NULL},
  [TY_ISA_AVX512] = {"-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mavx2",
                     "-mprefer-vector-width=512", NULL},
  [TY_ISA_NEON] = {"-march=armv8.2-a+fp16+dotprod", NULL},
  /* Loops under masks throughout keep their sums in memory, and gcc 12 loses half of those that take two vectors (the sum of floats made
   * of 16-bit integers): masks are for what is left at a loop's end. clang does not know the parameter and passes over it. */
  [TY_ISA_SVE128] = {"-march=armv8.2-a+fp16+dotprod+sve+bf16+i8mm", "-msve-vector-bits=128", "--param=vect-partial-vector-usage=1", NULL},
  [TY_ISA_SVE256] = {"-march=armv8.2-a+fp16+dotprod+sve+bf16+i8mm", "-msve-vector-bits=256", "--param=vect-partial-vector-usage=1", NULL},
};
/* zig has sanitizers on unless told otherwise. A target is given so that "native" is never meant. */
static const char *const flags_zig[TY_NISA][3] = {
  [TY_ISA_PORTABLE] = {NULL},
  [TY_ISA_AVX2] = {"-mcpu=x86_64_v3", NULL},
  [TY_ISA_AVX512] = {"-mcpu=x86_64_v4", "-mprefer-vector-width=512", NULL},
  [TY_ISA_NEON] = {"-mcpu=generic+v8_2a+fullfp16+dotprod", NULL},
  [TY_ISA_SVE128] = {"-mcpu=generic+v8_2a+fullfp16+dotprod+sve+bf16+i8mm", "-msve-vector-bits=128", NULL},
  [TY_ISA_SVE256] = {"-mcpu=generic+v8_2a+fullfp16+dotprod+sve+bf16+i8mm", "-msve-vector-bits=256", NULL},
};

static int zig_flags(ty_arch arch, ty_isa isa, const char **out) {
  int n = 0;
  out[n++] = "-fno-sanitize=all";
  if (arch == TY_ARCH_X86_64) out[n++] = "-target", out[n++] = "x86_64-linux-gnu";
  else if (arch == TY_ARCH_AARCH64) out[n++] = "-target", out[n++] = "aarch64-linux-gnu";
  if (isa == TY_ISA_PORTABLE && arch == TY_ARCH_X86_64) out[n++] = "-mcpu=x86_64";
  for (const char *const *f = flags_zig[isa]; *f; f++) out[n++] = *f;
  return n;
}

int ty_cc_flags(const ty_cc *cc, ty_isa isa, const char **out, int max) {
  const char *zig[8], *const *more = flags_isa[isa];
  int n = 0;
  for (int i = 0; flags_all[i] && n < max - 1; i++) out[n++] = flags_all[i];
  if (cc->zig) zig[zig_flags(cc->arch, isa, zig)] = NULL, more = zig;
  for (; *more && n < max - 1; more++) out[n++] = *more;
  out[n] = NULL;
  return n;
}

double ty_cc_timeout(void) {
  const char *s = getenv("TUYERE_CC_TIMEOUT");
  double t = s && *s ? strtod(s, NULL) : 0;
  return t > 0 && t < 1e6 ? t : 120;
}

static void job_end(const ty_cc *cc, ty_cc_job *j, const ty_proc *p) {
  struct stat st;
  bool there = !stat(j->out_path, &st) && st.st_size > 0;
  if (!p->timed_out && there && (p->code == 0 || p->code == -1)) return;
  j->status = TY_COMPILER;
  char why[TY_CC_TEXT + 64];
  if (p->timed_out) snprintf(why, sizeof why, "%s took longer than %g s (TUYERE_CC_TIMEOUT)", cc->text, ty_cc_timeout());
  else if (p->code > 128) snprintf(why, sizeof why, "%s was killed by signal %d", cc->text, p->code - 128);
  else if (p->code == 0) snprintf(why, sizeof why, "%s wrote no output", cc->text);
  else snprintf(why, sizeof why, "%s failed with status %d", cc->text, p->code);
  size_t n = strlen(why);
  if (n > sizeof j->text / 2) n = sizeof j->text / 2;
  size_t keep = strlen(j->text);
  if (keep > sizeof j->text - n - 3) keep = sizeof j->text - n - 3;
  memmove(j->text + n + 2, j->text, keep);
  memcpy(j->text, why, n);
  memcpy(j->text + n, keep ? ":\n" : "", keep ? 2 : 1);
  j->text[n + (keep ? 2 + keep : 0)] = 0;
  unlink(j->out_path);
}

enum { MAX_FLAGS = 64, MAX_RUNNING = 64 };

static void job_argv(const ty_cc *cc, const char *const *extra, const ty_cc_job *j, const char **argv) {
  int na = 0;
  for (int i = 0; i < cc->nargs; i++) argv[na++] = cc->text + cc->arg[i];
  na += ty_cc_flags(cc, j->isa, argv + na, MAX_FLAGS / 2);
  for (int i = 0; extra && extra[i]; i++) argv[na++] = extra[i];
  const char *tail[] = {"-o", j->out_path, j->src_path, j->object ? "-c" : "-lm", j->object ? NULL : "-lc", NULL};
  memcpy(argv + na, tail, sizeof tail);
}

ty_status ty_cc_compile_all(ty_ctx *ctx, const ty_cc *cc, const char *const *extra, ty_cc_job *jobs, int n, int parallel) {
  const char *argv[TY_CC_ARGS + MAX_FLAGS + 8];
  for (int i = 0; extra && extra[i]; i++)
    if (i == MAX_FLAGS / 2) return ty_fail(ctx, TY_INVALID, "more than %d extra compiler flags", i);
  ty_proc running[MAX_RUNNING] = {0};
  int job_of[MAX_RUNNING], next = 0;
  if (parallel <= 0 || parallel > MAX_RUNNING) parallel = MAX_RUNNING;
  double limit = ty_cc_timeout();
  zig_env z;
  const char *const *env = zig_environ(cc, &z);
  for (;;) {
    for (int s = 0; s < parallel && next < n; s++) {
      if (running[s].pid) continue;
      ty_cc_job *j = &jobs[next];
      j->status = TY_OK;
      job_argv(cc, extra, j, argv);
      if (!ty_proc_start(&running[s], (char *const *)argv, env, limit, j->text, sizeof j->text)) j->status = TY_COMPILER;
      else job_of[s] = next;
      next++;
    }
    int s = ty_proc_wait(running, parallel);
    if (s >= 0) job_end(cc, &jobs[job_of[s]], &running[s]);
    else if (next == n) break;
  }
  for (int i = 0; i < n; i++)
    if (jobs[i].status) return ty_fail(ctx, jobs[i].status, "%s", jobs[i].text);
  return TY_OK;
}

ty_status ty_cc_link(ty_ctx *ctx, const ty_cc *cc, const char *const *inputs, int n, const char *script, const char *out) {
  const char *argv[TY_CC_ARGS + MAX_FLAGS];
  char version[1100];
  int na = 0;
  if (n > MAX_FLAGS - 20 || snprintf(version, sizeof version, "-Wl,--version-script,%s", script) >= (int)sizeof version)
    return ty_fail(ctx, TY_INVALID, "too much to link");
  for (int i = 0; i < cc->nargs; i++) argv[na++] = cc->text + cc->arg[i];
  const char *const how[] = {"-shared", "-Wl,-z,defs", "-Wl,--gc-sections", "-Wl,-O1", "-Wl,--build-id=none", "-s", version, "-o", out};
  for (size_t i = 0; i < sizeof how / sizeof *how; i++) argv[na++] = how[i];
  if (cc->zig) na += zig_flags(cc->arch, TY_ISA_PORTABLE, argv + na);
  for (int i = 0; i < n; i++) argv[na++] = inputs[i];
  const char *const libs[] = {"-Wl,--as-needed", "-lpthread", "-lm", "-ldl"};
  for (size_t i = 0; i < sizeof libs / sizeof *libs; i++) argv[na++] = libs[i];
  argv[na] = NULL;
  ty_cc_job job = {.out_path = out};
  ty_proc p = {0};
  zig_env z;
  if (!ty_proc_start(&p, (char *const *)argv, zig_environ(cc, &z), ty_cc_timeout(), job.text, sizeof job.text))
    return ty_fail(ctx, TY_COMPILER, "%s", job.text);
  ty_proc_wait(&p, 1);
  job_end(cc, &job, &p);
  return job.status ? ty_fail(ctx, job.status, "%s", job.text) : TY_OK;
}

ty_status ty_cc_compile(ty_ctx *ctx, const ty_cc *cc, const char *src, const char *out, ty_isa isa, const char *const *extra) {
  ty_cc_job job = {.src_path = src, .out_path = out, .isa = isa};
  return ty_cc_compile_all(ctx, cc, extra, &job, 1, 1);
}
