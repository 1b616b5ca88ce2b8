/* cmd_profile.c: `tuyere profile`: the table of PyTorch's profiler for eager and compiled runs, and their trace. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/model.h"
#include "rt/pool.h"

typedef struct prof_event { int step; double begin, end; } prof_event; /* step -1: a whole run */
typedef struct prof_row { const char *name, *kernel; double self, total, flops; long calls; } prof_row;
typedef struct prof_mode {
  bool used;
  ty_cli_session s;
  tuyere_model *model;
  TY_VEC(prof_event) events; /* room for all is there before the first run */
  TY_VEC(prof_row) rows;
  double start, total, steps;
} prof_mode;

static void on_step(void *user, int step, bool begin) {
  prof_mode *p = user;
  if (begin) { if (p->events.n < p->events.cap) p->events.p[p->events.n++] = (prof_event){ step, ty_now(), 0 }; }
  else if (p->events.n && p->events.p[p->events.n - 1].step == step) p->events.p[p->events.n - 1].end = ty_now();
}

static int measure(ty_cli *c, prof_mode *p, int iters) {
  int a_run = tuyere_model_num_steps(p->model) + 1;
  if (!ty_vec_room((void **)&p->events.p, &p->events.cap, a_run * iters, sizeof *p->events.p)) return ty_cli_nomem(c);
  for (int i = 0; i < 2; i++)
    if (tuyere_session_run(p->s.session)) return ty_cli_fail(c, "%s", tuyere_error(c->ctx));
  tuyere_model_profile(p->model, true);
  tuyere_session_on_step(p->s.session, on_step, p);
  p->start = ty_now();
  for (int i = 0; i < iters; i++) {
    int at = p->events.n;
    on_step(p, -1, true);
    if (tuyere_session_run(p->s.session)) return ty_cli_fail(c, "%s", tuyere_error(c->ctx));
    p->events.p[at].end = ty_now();
  }
  tuyere_session_on_step(p->s.session, NULL, NULL);
  tuyere_model_profile(p->model, false);
  return TY_CLI_GOOD;
}

static prof_row *row_of(prof_mode *p, const char *name, const char *kernel) {
  for (int i = 0; i < p->rows.n; i++)
    if (!strcmp(p->rows.p[i].name, name) && !strcmp(p->rows.p[i].kernel, kernel)) return &p->rows.p[i];
  return TY_PUSH(&p->rows, ((prof_row){ .name = name, .kernel = kernel })) ? &p->rows.p[p->rows.n - 1] : NULL;
}

static int by_self(const void *a, const void *b) {
  double x = ((const prof_row *)a)->self, y = ((const prof_row *)b)->self;
  return (x < y) - (x > y);
}

static int sum_up(ty_cli *c, prof_mode *p, bool eager) {
  int origin = 0;
  prof_row run = { .name = "tuyere::run", .kernel = "" };
  for (int i = 0; i < p->events.n; i++) {
    const prof_event *e = &p->events.p[i];
    tuyere_step s;
    if (e->step < 0) { run.calls++; run.total += e->end - e->begin; origin = 0; continue; }
    if (tuyere_model_step(p->model, e->step, &s)) return ty_cli_fail(c, "%s", "a step is missing");
    prof_row *r = row_of(p, s.name, eager ? "" : s.kernel);
    if (!r) return ty_cli_nomem(c);
    r->total = r->self += e->end - e->begin;
    if (s.flops > 0 && s.calls) r->flops += s.flops / (double)s.calls;
    r->calls += !s.origin || s.origin != origin; /* an operator of several steps is called once */
    origin = s.origin;
    p->steps += e->end - e->begin;
  }
  p->total = run.total;
  run.self = run.total - p->steps;
  if (!TY_PUSH(&p->rows, run)) return ty_cli_nomem(c);
  qsort(p->rows.p, (size_t)p->rows.n, sizeof *p->rows.p, by_self);
  return TY_CLI_GOOD;
}

static void table(const prof_mode *p, bool eager, int threads) {
  static const char *const heads[] = { "Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls", "GFLOP/s", "Kernel" };
  int cols = eager ? 8 : 9;
  ty_cli_table t = { .cols = cols };
  char text[32];
  long calls = 0;
  for (int i = 0; i < cols; i++) ty_cli_cell(&t, "%s", heads[i]);
  for (int i = 0; i < p->rows.n; i++) {
    const prof_row *r = &p->rows.p[i];
    if (!strcmp(r->name, "tuyere::run")) calls = r->calls;
    ty_cli_cell(&t, "%s", r->name);
    ty_cli_cell(&t, "%.2f%%", 100 * r->self / p->total);
    ty_cli_time(text, r->self);
    ty_cli_cell(&t, "%s", text);
    ty_cli_cell(&t, "%.2f%%", 100 * r->total / p->total);
    ty_cli_time(text, r->total);
    ty_cli_cell(&t, "%s", text);
    ty_cli_time(text, r->calls ? r->total / (double)r->calls : 0);
    ty_cli_cell(&t, "%s", text);
    ty_cli_cell(&t, "%ld", r->calls);
    if (r->flops > 0 && r->self > 0) ty_cli_cell(&t, "%.1f", r->flops / r->self * 1e-9);
    else ty_cli_cell(&t, "--");
    if (!eager) ty_cli_cell(&t, "%s", *r->kernel ? r->kernel : "--");
  }
  printf("%s, %d thread%s\n", eager ? "eager" : "compile", threads, threads == 1 ? "" : "s");
  ty_cli_table_print(&t, true);
  ty_cli_table_free(&t);
  ty_cli_time(text, p->total);
  printf("Self CPU time total: %s", text);
  ty_cli_time(text, p->total / (double)(calls ? calls : 1));
  printf(" (%ld runs, %s each)\n", calls, text);
}

/* Chrome's trace format ("Trace Event Format", complete events): a process a mode, times from its own beginning. */
static int trace(ty_cli *c, const prof_mode modes[], const char *path) {
  ty_str o = { 0 };
  int n = 0;
  ty_str_add(&o, "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [");
  for (int k = 0; k < TY_CLI_NMODES; k++) {
    const prof_mode *p = &modes[k];
    if (!p->used) continue;
    ty_str_add(&o, "%s\n{\"ph\": \"M\", \"name\": \"process_name\", \"pid\": %d, \"tid\": 1, \"args\": {\"name\": \"%s\"}}", n++ ? "," : "", k + 1, ty_cli_mode_name((ty_cli_mode)k));
    for (int i = 0; i < p->events.n; i++) {
      const prof_event *e = &p->events.p[i];
      tuyere_step s = { .name = "tuyere::run", .kernel = "" };
      if (e->step >= 0 && tuyere_model_step(p->model, e->step, &s)) continue;
      ty_str_add(&o, ",\n{\"ph\": \"X\", \"cat\": \"%s\", \"name\": ", e->step < 0 ? "run" : "step");
      ty_cli_json_text(&o, s.name);
      ty_str_add(&o, ", \"pid\": %d, \"tid\": 1, \"ts\": %.3f, \"dur\": %.3f", k + 1, (e->begin - p->start) * 1e6, (e->end - e->begin) * 1e6);
      if (e->step >= 0) {
        ty_str_add(&o, ", \"args\": {\"kernel\": ");
        ty_cli_json_text(&o, s.kernel);
        if (s.flops > 0 && s.calls && e->end > e->begin) ty_str_add(&o, ", \"GFLOP/s\": %.1f", s.flops / (double)s.calls / (e->end - e->begin) * 1e-9);
        ty_str_add(&o, "}");
      }
      ty_str_add(&o, "}");
    }
  }
  ty_str_add(&o, "\n]}\n");
  int code = o.failed ? ty_cli_nomem(c) : ty_cli_write(c, path, o.p, o.n);
  ty_str_free(&o);
  return code;
}

static int run(ty_cli *c) {
  ty_cli_model m = { 0 };
  prof_mode modes[TY_CLI_NMODES] = { 0 };
  bool use[TY_CLI_NMODES] = { 0 };
  const char *file = ty_cli_value(c, "trace");
  int iters = 10, threads = ty_pool_default_threads(), code = ty_cli_int(c, "iters", 1, 100000, &iters);
  if (!code) code = ty_cli_int(c, "threads", 1, TY_POOL_MAX, &threads);
  if (!code) code = ty_cli_model_open(c, c->args[0], &m);
  if (!code) code = ty_cli_modes(c, &m, use);
  if (!code) code = ty_cli_model_inputs(c, &m, true);
  tuyere_set_threads(threads);
  for (int k = 0; k < TY_CLI_NMODES && !code; k++) {
    prof_mode *p = &modes[k];
    if (!(p->used = use[k])) continue;
    code = ty_cli_session_open(c, &m, (ty_cli_mode)k, false, &p->s);
    p->model = p->s.compiled ? p->s.compiled : m.file;
    ty_cli_progress(c, "running (%s)", ty_cli_mode_name((ty_cli_mode)k));
    if (!code) code = measure(c, p, iters);
    if (!code) code = sum_up(c, p, k == TY_CLI_EAGER);
    ty_cli_progress(c, NULL);
    if (code || c->quiet || (file && !strcmp(file, "-"))) continue;
    if (k == TY_CLI_COMPILE && use[TY_CLI_EAGER]) putchar('\n');
    table(p, k == TY_CLI_EAGER, threads);
  }
  if (!code && file) code = trace(c, modes, file);
  for (int k = 0; k < TY_CLI_NMODES; k++) {
    ty_cli_session_close(&modes[k].s);
    TY_VEC_FREE(&modes[k].events);
    TY_VEC_FREE(&modes[k].rows);
  }
  ty_cli_model_close(&m);
  return code;
}

static const ty_cli_opt opts[] = {
  { "input", 'i', "NAME=FILE", "a NumPy file for an input; what is not given is made up" },
  { "shape", 's', "NAME=1x128", "sizes of an input that is made up" },
  { "mode", 'm', "MODE", "eager or compile alone (default: both)" },
  { "threads", 't', "N", "threads of a run (default: the cores there are)" },
  { "iters", 'n', "N", "runs that are summed up (default: 10)" },
  { "trace", 0, "FILE", "each step of each run in Chrome's trace format,\nfor about:tracing, Perfetto or docs/trace.html (-: to stdout)" },
  { 0 },
};
const ty_cli_command ty_cli_profile = { "profile", "MODEL", "where the time of a run goes, operator by operator and step by step",
  "Steps run one after the other while they are timed; times are those of the thread that calls. tuyere::run is what lies between steps.\n", opts, 1, 1, run };
