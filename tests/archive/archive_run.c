/* archive_run.c: what the Python tests of archives call: looks at an archive, or runs it over raw files and prints what came out.
 *   archive_run look MODEL.pt2 [--static INPUT=1x128].. [--dump]
 *   archive_run run MODEL.pt2 DIR INPUT=2x16:FILE.. [--static ..] [--times N]
 *   archive_run faults MODEL.pt2      every allocation of opening and importing fails once
 * A run writes DIR/N.bin an output and prints one line each: "output out.0 float32 2x16 0.bin", "output out.1 int 5",
 * "update counter int64 - 1.bin". With --times the run is repeated, with changed buffers carried over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/model.h"
#include "import/archive.h"
#include "ops/ops.h"

static int fail(ty_ctx *ctx, ty_status st) {
  printf("%s: %s\n", ty_status_name(st), ty_ctx_error(ctx));
  return 3;
}

static int parse_sizes(const char *s, int64_t *out) {
  int n = 0;
  char *end;
  if (*s == '-') return 0;
  for (; n < TY_MAX_RANK; s = end + 1) {
    out[n++] = strtoll(s, &end, 10);
    if (*end != 'x') break;
  }
  return n;
}

static void print_dims(const ty_graph *g, int n, const ty_dim *d) {
  ty_str s = {0};
  for (int i = 0; i < n; i++) {
    if (i) ty_str_add(&s, "x");
    ty_dim_print(g, d[i], &s);
  }
  printf("%s", n ? s.p : "-");
  ty_str_free(&s);
}

static void print_literal(const ty_graph *g, const ty_arg *a, const int64_t *syms) {
  if (a->kind == TY_ARG_INT && syms) printf("int %lld", (long long)ty_dim_eval(g, a->i, syms));
  else if (a->kind == TY_ARG_INT) print_dims(g, 1, &a->i);
  else if (a->kind == TY_ARG_FLOAT) printf("float %.17g", a->f);
  else if (a->kind == TY_ARG_BOOL) printf("bool %s", a->b ? "True" : "False");
  else if (a->kind == TY_ARG_STR) printf("str %s", a->str);
  else printf("None");
}

static void look(const ty_archive *a, const ty_imported *m, bool dump) {
  static const char *const kinds[] = {"user", "parameter", "buffer", "constant"};
  const ty_archive_info *info = ty_archive_look(a);
  printf("%s: schema %d.%d, %s, %d nodes, %d parameters, %lld elements, %zu bytes\n", info->model, info->schema_major, info->schema_minor, info->dialect, info->nodes,
         info->nparams, (long long)info->param_elements, info->weight_bytes);
  for (int i = 0; i < info->nops; i++) printf("op %s %d\n", info->ops[i].target, info->ops[i].count);
  for (int i = 0; i < m->ninputs; i++) {
    const ty_imported_input *in = &m->inputs[i];
    const ty_value *v = in->input < 0 ? NULL : m->graph->inputs.p[in->input];
    printf("%s %s ", kinds[in->kind], in->name);
    if (v) printf("%s ", ty_dtypes[v->dtype].torch), print_dims(m->graph, v->rank, v->shape);
    else print_literal(m->graph, &in->literal, NULL);
    printf("%s\n", in->update >= 0 ? " updated" : "");
  }
  for (int i = 0; i < m->noutputs; i++) {
    const ty_value *v = m->outputs[i].output < 0 ? NULL : m->graph->outputs.p[m->outputs[i].output];
    printf("output %s ", m->outputs[i].name);
    if (v) printf("%s ", ty_dtypes[v->dtype].torch), print_dims(m->graph, v->rank, v->shape);
    else print_literal(m->graph, &m->outputs[i].literal, NULL);
    printf("\n");
  }
  for (int i = 0; i < m->nguards; i++) printf("guard %s\n", m->guards[i].text);
  for (int i = 0; i < m->nignored; i++) printf("ignored %s\n", m->ignored[i]);
  for (int i = 0; i < m->ndeclined; i++) printf("declined %s | %s | %s\n", m->declined[i].op, m->declined[i].node, m->declined[i].reason);
  ty_str s = {0};
  if (dump) ty_graph_print(m->graph, &s), printf("%s", s.p);
  ty_str_free(&s);
}

typedef struct given { const char *name, *file; int rank; int64_t sizes[TY_MAX_RANK]; } given;

static void *read_file(const char *path, size_t bytes) {
  FILE *f = fopen(path, "rb");
  void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
  if (!f || !p || fread(p, 1, bytes, f) != bytes || fgetc(f) != EOF) {
    printf("%s: %zu bytes are expected\n", path, bytes);
    exit(2);
  }
  fclose(f);
  return p;
}

static size_t bytes_of(const ty_graph *g, ty_dtype t, int rank, const ty_dim *shape, const int64_t *syms) {
  size_t n = (size_t)ty_dtype_size(t);
  for (int i = 0; i < rank; i++) n *= (size_t)ty_dim_eval(g, shape[i], syms);
  return n;
}

static void tell(const ty_graph *g, const char *kind, const char *name, const ty_model_output *o, const void *data, const int64_t *syms, const char *dir, int k) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%d.bin", dir, k);
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(data, 1, bytes_of(g, o->dtype, o->rank, o->shape, syms), f) != bytes_of(g, o->dtype, o->rank, o->shape, syms)) exit(2);
  fclose(f);
  printf("%s %s %s ", kind, name, ty_dtypes[o->dtype].torch);
  for (int i = 0; i < o->rank; i++) printf("%s%lld", i ? "x" : "", (long long)ty_dim_eval(g, o->shape[i], syms));
  printf("%s %d.bin\n", o->rank ? "" : "-", k);
}

static int run(ty_ctx *ctx, ty_imported *m, const char *dir, int ngiven, const given *in, int times) {
  ty_model *model;
  ty_graph *graph = m->graph;
  int nin = graph->inputs.n, nout = graph->outputs.n, nsyms = m->nsyms;
  m->graph = NULL;
  ty_status st = ty_model_compile(ctx, graph, &(ty_options){0}, &model);
  if (st) return fail(ctx, st);
  const ty_graph *g = ty_model_graph(model);
  void **inputs = calloc((size_t)nin + 1, sizeof *inputs), **outputs = calloc((size_t)nout + 1, sizeof *outputs);
  int64_t *syms = calloc((size_t)nsyms + 1, sizeof *syms), *ints = calloc((size_t)m->nusers + 1, sizeof *ints);
  const int64_t **sizes = calloc((size_t)m->nusers + 1, sizeof *sizes);
  const given **of = calloc((size_t)m->nusers + 1, sizeof *of);
  for (int i = 0; i < m->nusers; i++) {
    for (int k = 0; k < ngiven; k++)
      if (!strcmp(in[k].name, m->inputs[i].name)) of[i] = &in[k];
    if (!of[i] && m->inputs[i].input < 0) continue;
    if (!of[i]) return printf("input %s is missing\n", m->inputs[i].name), 2;
    sizes[i] = of[i]->sizes;
    ints[i] = of[i]->sizes[0];
    if (m->inputs[i].input >= 0 && g->inputs.p[m->inputs[i].input]->rank != of[i]->rank) return printf("input %s has another rank\n", m->inputs[i].name), 2;
  }
  if ((st = ty_imported_bind(ctx, m, g, sizes, ints, syms))) return fail(ctx, st);
  for (int i = 0; i < m->ninputs; i++) {
    const ty_imported_input *t = &m->inputs[i];
    if (t->input < 0) continue;
    const ty_value *v = g->inputs.p[t->input];
    size_t bytes = bytes_of(g, v->dtype, v->rank, v->shape, syms);
    if (i < m->nusers) inputs[t->input] = read_file(of[i]->file, bytes);
    else if (t->update < 0) inputs[t->input] = (void *)(uintptr_t)t->data;
    else inputs[t->input] = memcpy(aligned_alloc(64, (t->bytes + 127) / 64 * 64), t->data, t->bytes);
  }
  ty_model_output o;
  for (int i = 0; i < nout; i++) {
    ty_model_get_output(model, i, &o);
    outputs[i] = aligned_alloc(64, (bytes_of(g, o.dtype, o.rank, o.shape, syms) + 127) / 64 * 64);
  }
  for (int n = 0; n < times; n++) {
    ty_run r = {.syms = syms, .inputs = inputs, .outputs = outputs};
    if ((st = ty_program_run(ty_model_program(model), ctx, &r))) return fail(ctx, st);
    for (int i = 0; i < m->ninputs && n + 1 < times; i++) {
      if (m->inputs[i].update < 0) continue;
      ty_model_get_output(model, m->inputs[i].update, &o);
      memcpy(inputs[m->inputs[i].input], outputs[m->inputs[i].update], bytes_of(g, o.dtype, o.rank, o.shape, syms));
    }
  }
  for (int i = 0; i < m->noutputs; i++) {
    if (m->outputs[i].output >= 0) {
      ty_model_get_output(model, m->outputs[i].output, &o);
      tell(g, "output", m->outputs[i].name, &o, outputs[m->outputs[i].output], syms, dir, i);
      continue;
    }
    printf("output %s ", m->outputs[i].name);
    print_literal(g, &m->outputs[i].literal, syms);
    printf("\n");
  }
  for (int i = 0; i < m->ninputs; i++) {
    if (m->inputs[i].update < 0) continue;
    ty_model_get_output(model, m->inputs[i].update, &o);
    tell(g, "update", m->inputs[i].name, &o, outputs[m->inputs[i].update], syms, dir, m->noutputs + i);
  }
  for (int i = 0; i < m->ninputs; i++)
    if (m->inputs[i].input >= 0 && (i < m->nusers || m->inputs[i].update >= 0)) free(inputs[m->inputs[i].input]);
  for (int i = 0; i < nout; i++) free(outputs[i]);
  free(inputs), free(outputs), free(syms), free(ints), free(sizes), free(of);
  ty_model_destroy(model);
  return 0;
}

static int faults(const char *path) {
  for (long n = 1;; n++) {
    ty_ctx *ctx = ty_ctx_create();
    ty_archive *a = NULL;
    ty_imported *m = NULL;
    ty_alloc_fail_after(n);
    ty_status st = ty_archive_open(ctx, path, NULL, &a);
    if (!st) st = ty_archive_import(ctx, a, NULL, &m);
    ty_alloc_fail_after(0);
    if (st && (st != TY_NOMEM || m)) return printf("allocation %ld: %s: %s\n", n, ty_status_name(st), ty_ctx_error(ctx)), 4;
    ty_imported_destroy(m);
    ty_archive_close(a);
    ty_ctx_destroy(ctx);
    if (!st) return printf("%ld allocations\n", n - 1), 0;
  }
}

int main(int argc, char **argv) {
  ty_archive *a;
  ty_imported *m = NULL;
  given in[64] = {0}, fixed[64] = {0};
  ty_archive_fix fixes[64];
  int nin = 0, nfixed = 0, times = 1;
  bool dump = false, runs = argc > 3 && !strcmp(argv[1], "run");
  if (argc < 3) return 2;
  if (!strcmp(argv[1], "faults")) return faults(argv[2]);
  for (int i = runs ? 4 : 3; i < argc && nin < 64 && nfixed < 64; i++) {
    if (!strcmp(argv[i], "--dump")) dump = true;
    else if (!strcmp(argv[i], "--times") && i + 1 < argc) times = atoi(argv[++i]);
    else {
      bool is_fix = !strcmp(argv[i], "--static");
      given *g = is_fix ? &fixed[nfixed++] : &in[nin++];
      char *eq = strchr(argv[i += is_fix], '='), *colon = eq ? strchr(eq, ':') : NULL;
      if (!eq) return 2;
      *eq = 0;
      *g = (given){.name = argv[i], .file = colon ? colon + 1 : NULL};
      g->rank = parse_sizes(eq + 1, g->sizes);
      if (is_fix) fixes[nfixed - 1] = (ty_archive_fix){g->name, g->rank, g->sizes, NULL};
    }
  }
  ty_ctx *ctx = ty_ctx_create();
  ty_status st = ty_archive_open(ctx, argv[2], NULL, &a);
  int code = st ? fail(ctx, st) : 0;
  if (!st) {
    st = ty_archive_import(ctx, a, &(ty_archive_options){nfixed, fixes}, &m);
    if (st) code = fail(ctx, st);
    if (m && !runs) look(a, m, dump);
    else if (!st) code = run(ctx, m, argv[3], nin, in, times);
    ty_imported_destroy(m);
    ty_archive_close(a);
  }
  ty_ctx_destroy(ctx);
  return code;
}
