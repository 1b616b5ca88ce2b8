/* cmd_bench.c: `tuyere bench`: eager against compiled, in rounds that take turns; memory and compile time in processes of their own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cli/model.h"
#include "rt/pool.h"

enum { ROUNDS = 10 };

/* What a process of its own measured: it opened the model, compiled it and ran it a few times. */
typedef struct bench_probe { double open, compile, first, again; double peak; } bench_probe;

typedef struct bench_mode {
  bool used;
  bench_probe probe;
  ty_cli_session s;
  int a_round, n;         /* calls measured in a round, and so far */
  double *seconds;        /* every call, in order */
  double round[ROUNDS];   /* medians */
  double median, p90, p99, mean, least;
} bench_mode;

static int timed_run(ty_cli *c, tuyere_session *s, double *seconds) {
  double t = ty_now();
  if (tuyere_session_run(s)) return ty_cli_fail(c, "%s", tuyere_error(c->ctx));
  *seconds = ty_now() - t;
  return TY_CLI_GOOD;
}

static int probe_here(ty_cli *c, ty_cli_mode mode, bench_probe *p) {
  ty_cli_model m;
  ty_cli_session s;
  double t = ty_now(), again = 0;
  int code = ty_cli_model_open(c, c->args[0], &m);
  p->open = ty_now() - t;
  if (!code) code = ty_cli_model_inputs(c, &m, true);
  if (!code) code = ty_cli_session_open(c, &m, mode, false, &s);
  if (code) return code; /* the process ends: nothing is freed */
  p->compile = s.compile_seconds;
  ty_cli_progress(c, "measuring compile time and memory (%s)", ty_cli_mode_name(mode));
  code = timed_run(c, s.session, &p->first);
  p->again = 1e30;
  for (int i = 0; i < 3 && !code; i++)
    if (!(code = timed_run(c, s.session, &again)) && again < p->again) p->again = again;
  struct rusage use;
  getrusage(RUSAGE_SELF, &use);
  p->peak = (double)use.ru_maxrss * 1024;
  return code;
}

static int probe(ty_cli *c, ty_cli_mode mode, bench_probe *p) {
  int fds[2], status = 0;
  if (pipe(fds)) return ty_cli_fail(c, "cannot make a pipe: %s", strerror(errno));
  fflush(stdout);
  pid_t pid = fork();
  if (pid < 0) { close(fds[0]); close(fds[1]); return ty_cli_fail(c, "cannot start a process: %s", strerror(errno)); }
  if (!pid) {
    close(fds[0]);
    int code = probe_here(c, mode, p);
    if (!code && write(fds[1], p, sizeof *p) != (ssize_t)sizeof *p) code = TY_CLI_FAILED;
    _exit(code);
  }
  close(fds[1]);
  bool got = read(fds[0], p, sizeof *p) == (ssize_t)sizeof *p;
  close(fds[0]);
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  if (WIFSIGNALED(status)) return ty_cli_fail(c, "the process that measures memory ended by signal %d", WTERMSIG(status));
  if (WIFEXITED(status) && WEXITSTATUS(status)) return WEXITSTATUS(status);
  return got ? TY_CLI_GOOD : ty_cli_fail(c, "the process that measures memory gave no figures");
}

static double median_of(const double *p, int n, double *tmp) {
  memcpy(tmp, p, sizeof *p * (size_t)n);
  ty_cli_sort(tmp, n);
  return ty_cli_quantile(tmp, n, 0.5);
}

static int measure(ty_cli *c, bench_mode modes[], int rounds) {
  int code = TY_CLI_GOOD;
  double drop;
  for (int r = 0; r < rounds && !code; r++) {
    ty_cli_progress(c, "round %d of %d", r + 1, rounds);
    for (int k = 0; k < TY_CLI_NMODES && !code; k++) {
      bench_mode *b = &modes[r & 1 ? TY_CLI_NMODES - 1 - k : k]; /* who comes first changes */
      int from = b->n;
      if (!b->used) continue;
      code = timed_run(c, b->s.session, &drop); /* finds the caches full of the other's data */
      for (int i = 0; i < b->a_round && !code; i++) code = timed_run(c, b->s.session, &b->seconds[b->n++]);
      if (!code) b->round[r] = median_of(b->seconds + from, b->a_round, b->seconds + b->n);
    }
  }
  for (int k = 0; k < TY_CLI_NMODES && !code; k++) {
    bench_mode *b = &modes[k];
    double *sorted = b->seconds + b->n;
    if (!b->used) continue;
    b->median = median_of(b->seconds, b->n, sorted);
    b->p90 = ty_cli_quantile(sorted, b->n, 0.9);
    b->p99 = ty_cli_quantile(sorted, b->n, 0.99);
    b->least = sorted[0];
    for (int i = 0; i < b->n; i++) b->mean += sorted[i] / b->n;
  }
  return code;
}

/* Ratios of the rounds' medians: least, median, greatest. */
static void speedup(const bench_mode modes[], int rounds, double out[3]) {
  double r[ROUNDS];
  for (int i = 0; i < rounds; i++) r[i] = modes[TY_CLI_EAGER].round[i] / modes[TY_CLI_COMPILE].round[i];
  ty_cli_sort(r, rounds);
  out[0] = r[0], out[1] = ty_cli_quantile(r, rounds, 0.5), out[2] = r[rounds - 1];
}

static void table(const bench_mode modes[]) {
  static const char *const heads[] = { "", "median", "p90", "p99", "runs/s", "compile", "first run", "peak memory" };
  ty_cli_table t = { .cols = 8, .left = 1 };
  for (int i = 0; i < 8; i++) ty_cli_cell(&t, "%s", heads[i]);
  for (int k = 0; k < TY_CLI_NMODES; k++) {
    const bench_mode *b = &modes[k];
    double times[] = { b->median, b->p90, b->p99, b->mean, b->probe.compile, b->probe.first };
    char text[32];
    if (!b->used) continue;
    ty_cli_cell(&t, "%s", ty_cli_mode_name((ty_cli_mode)k));
    for (int i = 0; i < 6; i++) {
      if (i == 3) { ty_cli_cell(&t, "%.1f", 1 / times[i]); continue; }
      ty_cli_time(text, times[i]);
      ty_cli_cell(&t, "%s", text);
    }
    ty_cli_bytes(text, b->probe.peak);
    ty_cli_cell(&t, "%s", text);
  }
  ty_cli_table_print(&t, false);
  ty_cli_table_free(&t);
}

static int json(ty_cli *c, const ty_cli_model *m, const bench_mode modes[], int rounds, int threads, const char *path) {
  ty_str o = { 0 };
  ty_str_add(&o, "{\"model\": ");
  ty_cli_json_text(&o, m->path);
  ty_str_add(&o, ", \"version\": \"%s\", \"isa\": \"%s\", \"threads\": %d, \"inputs\": [", tuyere_version(), ty_cpu_get()->isa_name, threads);
  for (int i = 0; i < m->ninputs; i++) {
    ty_str_add(&o, "%s{\"name\": ", i ? ", " : "");
    ty_cli_json_text(&o, m->inputs[i].info.name);
    ty_str_add(&o, ", \"dtype\": \"%s\", \"shape\": ", tuyere_dtype_name(m->inputs[i].tensor.dtype));
    ty_cli_sizes(&o, m->inputs[i].tensor.rank, m->inputs[i].tensor.shape);
    ty_str_add(&o, "}");
  }
  ty_str_add(&o, "],\n \"modes\": {");
  for (int k = 0, seen = 0; k < TY_CLI_NMODES; k++) {
    const bench_mode *b = &modes[k];
    if (!b->used) continue;
    ty_str_add(&o, "%s\n  \"%s\": {\"median\": %.9g, \"p90\": %.9g, \"p99\": %.9g, \"mean\": %.9g, \"min\": %.9g, \"runs\": %d, \"runs_per_second\": %.9g,", seen++ ? "," : "",
               ty_cli_mode_name((ty_cli_mode)k), b->median, b->p90, b->p99, b->mean, b->least, b->n, 1 / b->mean);
    ty_str_add(&o, "\n   \"open\": %.9g, \"compile\": %.9g, \"first_run\": %.9g, \"peak_bytes\": %.0f, \"round_medians\": [", b->probe.open, b->probe.compile, b->probe.first, b->probe.peak);
    for (int r = 0; r < rounds; r++) ty_str_add(&o, "%s%.9g", r ? ", " : "", b->round[r]);
    ty_str_add(&o, "]}");
  }
  ty_str_add(&o, "}");
  if (modes[TY_CLI_EAGER].used && modes[TY_CLI_COMPILE].used) {
    double s[3];
    speedup(modes, rounds, s);
    ty_str_add(&o, ",\n \"speedup\": {\"min\": %.6g, \"median\": %.6g, \"max\": %.6g}", s[0], s[1], s[2]);
  }
  ty_str_add(&o, "}\n");
  int code = o.failed ? ty_cli_nomem(c) : ty_cli_write(c, path, o.p, o.n);
  ty_str_free(&o);
  return code;
}

static void describe(const ty_cli_model *m, int threads, int rounds, const bench_mode modes[]) {
  ty_str o = { 0 };
  ty_str_add(&o, "%s:", m->path);
  for (int i = 0; i < m->ninputs; i++) {
    ty_str_add(&o, "%s %s %s ", i ? "," : "", m->inputs[i].info.name, tuyere_dtype_name(m->inputs[i].tensor.dtype));
    ty_cli_sizes(&o, m->inputs[i].tensor.rank, m->inputs[i].tensor.shape);
  }
  const bench_mode *b = &modes[TY_CLI_COMPILE], *e = &modes[TY_CLI_EAGER];
  ty_str_add(&o, "; %d thread%s, %s, %d rounds of ", threads, threads == 1 ? "" : "s", ty_cpu_get()->isa_name, rounds);
  if (e->used && b->used && e->a_round != b->a_round) ty_str_add(&o, "%d and ", e->a_round);
  ty_str_add(&o, "%d runs\n", b->used ? b->a_round : e->a_round);
  fputs(o.p && !o.failed ? o.p : "", stdout);
  ty_str_free(&o);
}

static int bench(ty_cli *c, ty_cli_model *m, bench_mode modes[], int iters, int threads) {
  int rounds = iters && iters < ROUNDS ? iters : ROUNDS, code = ty_cli_model_open(c, c->args[0], m);
  if (!code) code = ty_cli_model_inputs(c, m, true);
  for (int k = 0; k < TY_CLI_NMODES && !code; k++) {
    bench_mode *b = &modes[k];
    if (!b->used) continue;
    double fit = 0.15 / (b->probe.again > 1e-9 ? b->probe.again : 1e-9);
    b->a_round = iters ? iters / rounds : fit < 1 ? 1 : fit > 2000 ? 2000 : (int)fit;
    b->seconds = ty_alloc(sizeof(double) * 2 * (size_t)b->a_round * (size_t)rounds); /* the second half is for sorting */
    if (!b->seconds) code = ty_cli_nomem(c);
    else code = ty_cli_session_open(c, m, (ty_cli_mode)k, false, &b->s);
  }
  if (!code) code = measure(c, modes, rounds);
  ty_cli_progress(c, NULL);
  if (code) return code;
  const char *path = ty_cli_value(c, "json");
  if (!c->quiet && !(path && !strcmp(path, "-"))) {
    double s[3];
    describe(m, threads, rounds, modes);
    table(modes);
    if (modes[TY_CLI_EAGER].used && modes[TY_CLI_COMPILE].used) {
      speedup(modes, rounds, s);
      printf("speed-up %.2f (%.2f to %.2f)\n", s[1], s[0], s[2]);
    }
  }
  return path ? json(c, m, modes, rounds, threads, path) : TY_CLI_GOOD;
}

static int run(ty_cli *c) {
  ty_cli_model m = { 0 };
  bench_mode modes[TY_CLI_NMODES] = { 0 };
  bool use[TY_CLI_NMODES];
  int iters = 0, threads = ty_pool_default_threads(), code = ty_cli_int(c, "iters", 1, 1000000, &iters);
  if (!code) code = ty_cli_int(c, "threads", 1, TY_POOL_MAX, &threads);
  if (!code) code = ty_cli_model_look(c, c->args[0], &m);
  if (!code) code = ty_cli_modes(c, &m, use);
  tuyere_set_threads(threads);
  for (int k = 0; k < TY_CLI_NMODES && !code; k++)
    if ((modes[k].used = use[k])) code = probe(c, (ty_cli_mode)k, &modes[k].probe);
  if (!code) code = bench(c, &m, modes, iters, threads);
  for (int k = 0; k < TY_CLI_NMODES; k++) {
    ty_cli_session_close(&modes[k].s);
    ty_free(modes[k].seconds);
  }
  ty_cli_model_close(&m);
  return code;
}

static const ty_cli_opt opts[] = {
  { "input", 'i', "NAME=FILE", "a NumPy file for an input; what is not given is made up" },
  { "shape", 's', "NAME=1x128", "sizes of an input that is made up" },
  { "mode", 'm', "MODE", "eager or compile alone (default: one against the other)" },
  { "threads", 't', "N", "threads of a run (default: the cores there are)" },
  { "iters", 'n', "N", "runs of each mode (default: about 1.5 seconds of each)" },
  { "json", 0, "FILE", "the figures as JSON, in seconds and bytes (-: to stdout)" },
  { 0 },
};
const ty_cli_command ty_cli_bench = { "bench", "MODEL", "measures eager against compiled runs",
  "Eager is operator by operator through tuyere's own kernels, weights packed anew at each run: not PyTorch's eager mode.\n"
  "Modes take turns in rounds; the speed-up is the median of the rounds' ratios, in brackets the least and the greatest.\n"
  "Compile time, first run and peak memory (resident set) are those of a process that does nothing else.\n", opts, 1, 1, run };
