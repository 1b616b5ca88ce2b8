/* model.c: opens what a command was given, reads or makes up its inputs, compiles it in either mode. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/model.h"
#include "cli/npy.h"

const char *ty_cli_mode_name(ty_cli_mode m) { return m == TY_CLI_EAGER ? "eager" : "compile"; }

int ty_cli_model_look(ty_cli *c, const char *path, ty_cli_model *m) {
  *m = (ty_cli_model){ .path = path };
  char magic[4] = "";
  FILE *f = fopen(path, "rb");
  if (!f) return ty_cli_fail(c, "%s: %s", path, strerror(errno));
  m->archive = !(fread(magic, 1, 4, f) == 4 && !memcmp(magic, "\177ELF", 4));
  fclose(f);
  return TY_CLI_GOOD;
}

int ty_cli_model_open(ty_cli *c, const char *path, ty_cli_model *m) {
  int code = ty_cli_model_look(c, path, m);
  if (code) return code;
  ty_cli_progress(c, "opening %s", path);
  if (tuyere_model_open(c->ctx, path, &m->file)) return ty_cli_fail(c, "%s", tuyere_error(c->ctx));
  m->ninputs = tuyere_model_num_inputs(m->file);
  m->inputs = ty_alloc(sizeof *m->inputs * (size_t)m->ninputs);
  if (!m->inputs) return ty_cli_nomem(c);
  for (int i = 0; i < m->ninputs; i++)
    if (tuyere_model_input(m->file, i, &m->inputs[i].info)) return ty_cli_fail(c, "%s", tuyere_error(c->ctx));
  return TY_CLI_GOOD;
}

void ty_cli_model_close(ty_cli_model *m) {
  for (int i = 0; i < m->ninputs && m->inputs; i++) ty_free(m->inputs[i].tensor.data);
  ty_free(m->inputs);
  tuyere_model_destroy(m->file);
}

int ty_cli_shape(const char *text, int64_t out[TUYERE_MAX_RANK]) {
  int n = 0;
  for (char *end;; text = end + 1) {
    long long v = strtoll(text, &end, 10);
    if (end == text || *text < '0' || *text > '9' || n == TUYERE_MAX_RANK || (*end && *end != 'x')) return -1;
    out[n++] = v;
    if (!*end) return n;
  }
}

void ty_cli_sizes(ty_str *s, int rank, const int64_t *shape) {
  ty_str_add(s, "[");
  for (int i = 0; i < rank; i++) ty_str_add(s, "%s%lld", i ? ", " : "", (long long)shape[i]);
  ty_str_add(s, "]");
}

void ty_cli_dims(ty_str *s, const tuyere_info *info) {
  ty_str_add(s, "[");
  for (int i = 0; i < info->rank; i++) ty_str_add(s, "%s%s", i ? ", " : "", info->dims[i].text);
  ty_str_add(s, "]");
}

/* The input that "NAME=.." of an option means; what follows the "=" goes to *rest. */
static int input_named(ty_cli *c, ty_cli_model *m, const char *option, const char *value, ty_cli_input **out, const char **rest) {
  const char *eq = strchr(value, '=');
  if (!eq || eq == value || !eq[1]) return ty_cli_usage(c, "--%s must be NAME=%s, got '%s'", option, strcmp(option, "input") ? "SIZES" : "FILE", value);
  for (int i = 0; i < m->ninputs; i++) {
    const char *name = m->inputs[i].info.name;
    if (strlen(name) != (size_t)(eq - value) || strncmp(name, value, strlen(name))) continue;
    *out = &m->inputs[i];
    *rest = eq + 1;
    return TY_CLI_GOOD;
  }
  ty_str names = { 0 };
  for (int i = 0; i < m->ninputs; i++) ty_str_add(&names, "%s%s", i ? ", " : "", m->inputs[i].info.name);
  int code = ty_cli_usage(c, "the model has no input '%.*s'; it has %s", (int)(eq - value), value, names.n ? names.p : "none");
  ty_str_free(&names);
  return code;
}

static int read_input(ty_cli *c, ty_cli_input *in, const char *path) {
  ty_npy a;
  ty_ctx *ctx = ty_ctx_create();
  if (!ctx) return ty_cli_nomem(c);
  ty_status st = ty_npy_read(ctx, path, &a);
  int code = st ? ty_cli_fail(c, "%s", ty_ctx_error(ctx)) : TY_CLI_GOOD;
  ty_ctx_destroy(ctx);
  if (code) return code;
  if ((int)a.dtype != (int)in->info.dtype) {
    code = ty_cli_fail(c, "input '%s' is %s, and %s has %s", in->info.name, tuyere_dtype_name(in->info.dtype), path, ty_dtypes[a.dtype].torch);
    ty_npy_free(&a);
    return code;
  }
  ty_free(in->tensor.data);
  in->tensor = (tuyere_tensor){ .data = a.data, .dtype = in->info.dtype, .rank = a.rank };
  memcpy(in->tensor.shape, a.shape, sizeof(int64_t) * (size_t)a.rank);
  in->given = true;
  return TY_CLI_GOOD;
}

static int make_up(ty_cli *c, ty_cli_model *m) {
  int64_t (*told)[TUYERE_MAX_RANK] = ty_alloc(sizeof *told * (size_t)m->ninputs);
  const int64_t **shapes = ty_alloc(sizeof *shapes * (size_t)m->ninputs);
  ty_cli_guess *g = ty_alloc(sizeof *g * (size_t)m->ninputs);
  int code = told && shapes && g ? TY_CLI_GOOD : ty_cli_nomem(c);
  for (int i = 0; i < m->ninputs && !code; i++) if (m->inputs[i].given) shapes[i] = m->inputs[i].tensor.shape;
  for (int i = 0; i < c->given.n && !code; i++) {
    ty_cli_input *in;
    const char *text;
    if (strcmp(c->given.p[i].opt->name, "shape")) continue;
    code = input_named(c, m, "shape", c->given.p[i].value, &in, &text);
    if (code) break;
    int k = (int)(in - m->inputs), n = ty_cli_shape(text, told[k]);
    if (n != in->info.rank) code = ty_cli_usage(c, "--shape %s must have %d sizes as in 1x128, got '%s'", in->info.name, in->info.rank, text);
    else if (in->given) code = ty_cli_usage(c, "--input and --shape for '%s' exclude each other", in->info.name);
    else shapes[k] = told[k];
  }
  if (!code) code = ty_cli_guess_inputs(c, m, g, shapes);
  for (int i = 0; i < m->ninputs && !code; i++) {
    ty_cli_input *in = &m->inputs[i];
    size_t bytes = tuyere_dtype_size(in->info.dtype);
    if (in->given) continue;
    in->tensor = (tuyere_tensor){ .dtype = in->info.dtype, .rank = in->info.rank };
    for (int d = 0; d < in->info.rank && !code; d++) {
      in->tensor.shape[d] = g[i].shape[d];
      if (!ty_mul(bytes, (size_t)g[i].shape[d], &bytes)) code = ty_cli_fail(c, "input '%s' would be too large", in->info.name);
    }
    if (!code && !(in->tensor.data = ty_alloc(bytes))) code = ty_cli_nomem(c);
    if (!code) ty_cli_fill(&g[i], &in->tensor, (uint64_t)i + 1);
  }
  ty_free(told);
  ty_free(shapes);
  ty_free(g);
  return code;
}

int ty_cli_model_inputs(ty_cli *c, ty_cli_model *m, bool random) {
  int code = TY_CLI_GOOD;
  for (int i = 0; i < c->given.n && !code; i++) {
    ty_cli_input *in;
    const char *path;
    if (strcmp(c->given.p[i].opt->name, "input")) continue;
    code = input_named(c, m, "input", c->given.p[i].value, &in, &path);
    if (!code) code = read_input(c, in, path);
  }
  if (code) return code;
  if (random) return make_up(c, m);
  for (int i = 0; i < m->ninputs; i++) {
    if (m->inputs[i].given) continue;
    ty_str dims = { 0 };
    ty_cli_dims(&dims, &m->inputs[i].info);
    code = ty_cli_usage(c, "input '%s' is missing: --input %s=FILE.npy (%s %s)", m->inputs[i].info.name, m->inputs[i].info.name,
                        tuyere_dtype_name(m->inputs[i].info.dtype), dims.p ? dims.p : "");
    ty_str_free(&dims);
    return code;
  }
  return TY_CLI_GOOD;
}

int ty_cli_session_open(ty_cli *c, const ty_cli_model *m, ty_cli_mode mode, bool interpreted, ty_cli_session *s) {
  *s = (ty_cli_session){ 0 };
  double t = ty_now();
  tuyere_model *runs = m->file;
  if (m->archive) {
    tuyere_options o = { .eager = mode == TY_CLI_EAGER, .no_compiler = interpreted };
    ty_cli_progress(c, "compiling %s (%s)", m->path, ty_cli_mode_name(mode));
    if (tuyere_model_compile(c->ctx, m->file, &o, &s->compiled)) return ty_cli_fail(c, "%s", tuyere_error(c->ctx));
    runs = s->compiled;
  }
  if (tuyere_session_create(c->ctx, runs, &s->session)) return ty_cli_fail(c, "%s", tuyere_error(c->ctx));
  s->compile_seconds = ty_now() - t;
  for (int i = 0; i < m->ninputs; i++)
    if (tuyere_session_bind_input(s->session, i, &m->inputs[i].tensor)) return ty_cli_fail(c, "%s", tuyere_error(c->ctx));
  return TY_CLI_GOOD;
}

void ty_cli_session_close(ty_cli_session *s) {
  tuyere_session_destroy(s->session);
  tuyere_model_destroy(s->compiled);
}

int ty_cli_modes(ty_cli *c, const ty_cli_model *m, bool use[TY_CLI_NMODES]) {
  int only = -1, code = ty_cli_word(c, "mode", TY_CLI_MODES, &only);
  if (code) return code;
  if (!m->archive && only == TY_CLI_EAGER) return ty_cli_fail(c, "%s: a deployed model runs compiled only", m->path);
  for (int i = 0; i < TY_CLI_NMODES; i++) use[i] = only < 0 ? m->archive || i == TY_CLI_COMPILE : only == i;
  return TY_CLI_GOOD;
}
