/* cmd_run.c: `tuyere run`: NumPy files in, NumPy files out. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cli/model.h"
#include "cli/npy.h"

/* Least and greatest value and mean, at the end of a line about an output. */
static void figures(const tuyere_tensor *t, size_t n, ty_str *o) {
  double lo = INFINITY, hi = -INFINITY, sum = 0;
  size_t nans = 0;
  for (size_t i = 0; i < n; i++) {
    double x = 0;
    switch (t->dtype) {
    case TUYERE_BOOL: case TUYERE_U8: x = ((uint8_t *)t->data)[i]; break;
    case TUYERE_I8: x = ((int8_t *)t->data)[i]; break;
    case TUYERE_I16: x = ((int16_t *)t->data)[i]; break;
    case TUYERE_I32: x = ((int32_t *)t->data)[i]; break;
    case TUYERE_I64: x = (double)((int64_t *)t->data)[i]; break;
    case TUYERE_F32: x = ((float *)t->data)[i]; break;
    case TUYERE_F64: x = ((double *)t->data)[i]; break;
    default: return;
    }
    if (isnan(x)) { nans++; continue; }
    lo = fmin(lo, x), hi = fmax(hi, x), sum += x;
  }
  ty_str_add(o, n ? ": " : "");
  if (n > nans) ty_str_add(o, "min %.6g, max %.6g, mean %.6g", lo, hi, sum / (double)(n - nans));
  if (nans) ty_str_add(o, "%s%zu NaN", n > nans ? ", " : "", nans);
}

/* A file's name from an output's, which the archive chose: nothing but letters, digits, "._-", no dot first; names that
 * have been used get a number. */
static void file_name(const ty_cli_model *m, int i, ty_str *o) {
  tuyere_info info = { 0 }, other = { 0 };
  tuyere_model_output(m->file, i, &info);
  ty_str_add(o, "%.*s", 200, info.name ? info.name : "out");
  for (size_t k = 0; k < o->n; k++)
    if (!(isalnum((unsigned char)o->p[k]) || o->p[k] == '_' || o->p[k] == '-' || (o->p[k] == '.' && k))) o->p[k] = '_';
  for (int j = 0; j < i; j++)
    if (!tuyere_model_output(m->file, j, &other) && other.name && info.name && !strcasecmp(other.name, info.name)) { ty_str_add(o, ".%d", i); break; }
  ty_str_add(o, ".npy");
}

static int output(ty_cli *c, const ty_cli_model *m, tuyere_session *s, int i, const char *dir) {
  tuyere_tensor t;
  tuyere_info info;
  if (tuyere_session_output(s, i, &t) || tuyere_model_output(m->file, i, &info)) return ty_cli_fail(c, "%s", tuyere_error(c->ctx));
  size_t n = 1;
  for (int d = 0; d < t.rank; d++) n *= (size_t)t.shape[d];
  ty_str line = { 0 }, path = { 0 };
  ty_str_add(&line, "%s %s ", info.name, tuyere_dtype_name(t.dtype));
  ty_cli_sizes(&line, t.rank, t.shape);
  int code = TY_CLI_GOOD;
  if (dir) {
    ty_npy a = { .dtype = (ty_dtype)t.dtype, .rank = t.rank, .data = t.data, .bytes = n * tuyere_dtype_size(t.dtype) };
    memcpy(a.shape, t.shape, sizeof a.shape);
    ty_str name = { 0 };
    file_name(m, i, &name);
    ty_str_add(&path, "%s/%s", dir, name.p ? name.p : "");
    ty_ctx *ctx = ty_ctx_create();
    if (!ctx || path.failed || name.failed) code = ty_cli_nomem(c);
    else if (ty_npy_write(ctx, path.p, &a)) code = ty_cli_fail(c, "%s", ty_ctx_error(ctx));
    ty_ctx_destroy(ctx);
    ty_str_free(&name);
    ty_str_add(&line, " -> %s", path.p ? path.p : "");
  }
  if (!dir || c->verbose) figures(&t, n, &line);
  if (!code && !c->quiet) puts(line.p ? line.p : "");
  ty_str_free(&line);
  ty_str_free(&path);
  return code;
}

static int run(ty_cli *c) {
  ty_cli_model m = { 0 };
  ty_cli_session s = { 0 };
  const char *dir = ty_cli_value(c, "output");
  int mode = -1, threads = 0, code = ty_cli_word(c, "mode", TY_CLI_MODES, &mode);
  if (!code) code = ty_cli_int(c, "threads", 1, 256, &threads);
  if (!code) code = ty_cli_model_open(c, c->args[0], &m);
  if (!code) code = ty_cli_model_inputs(c, &m, false);
  if (!code && !m.archive && mode == TY_CLI_EAGER) code = ty_cli_fail(c, "%s: a deployed model runs compiled only", m.path);
  tuyere_set_threads(threads);
  if (!code) code = ty_cli_session_open(c, &m, mode < 0 ? TY_CLI_COMPILE : (ty_cli_mode)mode, mode == TY_CLI_EAGER, &s);
  double t = ty_now();
  ty_cli_progress(c, "running");
  if (!code && tuyere_session_run(s.session)) code = ty_cli_fail(c, "%s", tuyere_error(c->ctx));
  t = ty_now() - t;
  ty_cli_progress(c, NULL);
  if (!code && dir && mkdir(dir, 0777) && errno != EEXIST) code = ty_cli_fail(c, "%s: %s", dir, strerror(errno));
  for (int i = 0; !code && i < tuyere_model_num_outputs(m.file); i++) code = output(c, &m, s.session, i, dir);
  if (!code && c->verbose) {
    char a[32], b[32];
    ty_cli_time(a, s.compile_seconds);
    ty_cli_time(b, t);
    printf("%s in %s, first run %s\n", m.archive ? "compiled" : "loaded", a, b);
  }
  ty_cli_session_close(&s);
  ty_cli_model_close(&m);
  return code;
}

static const ty_cli_opt opts[] = {
  { "input", 'i', "NAME=FILE", "a NumPy file (.npy) for an input; once for each" },
  { "output", 'o', "DIR", "where outputs are written, a file NAME.npy each;\nwithout it a line about each is printed" },
  { "mode", 'm', "MODE", "compile (default), or eager: operator by operator\nthrough interpreted loops and the library's kernels" },
  { "threads", 't', "N", "threads of a run (default: the cores there are)" },
  { "verbose", 'v', NULL, "figures of each output that is written, and times" },
  { 0 },
};
const ty_cli_command ty_cli_run = { "run", "MODEL", "runs a model on NumPy files",
  "MODEL is an archive that torch.export.save wrote (.pt2), or a deployed model (.so).\n"
  "bfloat16, which NumPy has not, is uint16 in its files: the bits.\n"
  "Example: tuyere run model.pt2 --input input_ids=ids.npy --input attention_mask=mask.npy --output results\n", opts, 1, 1, run };
