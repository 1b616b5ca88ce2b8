/* cmd_info.c: `tuyere info`: what a model takes and gives, what it is made of, what would not compile, what a run costs. */
#include <stdio.h>
#include <string.h>
#include "api/model.h"
#include "cli/graph.h"
#include "cli/model.h"

static void title(const char *text) { printf("\n%s\n", text); }

static void tensors(ty_cli *c, const tuyere_model *m, bool outputs) {
  ty_cli_table t = { .cols = 4, .left = 4 };
  int n = outputs ? tuyere_model_num_outputs(m) : tuyere_model_num_inputs(m);
  title(outputs ? "Outputs" : "Inputs");
  for (int i = 0; i < n; i++) {
    tuyere_info info;
    if (outputs ? tuyere_model_output(m, i, &info) : tuyere_model_input(m, i, &info)) { ty_cli_fail(c, "%s", tuyere_error(c->ctx)); break; }
    ty_str dims = { 0 };
    ty_cli_dims(&dims, &info);
    ty_cli_cell(&t, " ");
    ty_cli_cell(&t, "%s", info.name);
    ty_cli_cell(&t, "%s", tuyere_dtype_name(info.dtype));
    ty_cli_cell(&t, "%s", dims.p ? dims.p : "");
    ty_str_free(&dims);
  }
  if (n) ty_cli_table_print(&t, false);
  else puts("   none");
  ty_cli_table_free(&t);
}

static void sizes(const ty_cli_graph *k) {
  const ty_graph *g = k->imported->graph;
  if (!ty_dim_nsyms(g)) return;
  title("Sizes that vary");
  ty_cli_table t = { .cols = 4, .left = 4 };
  for (int i = 0; i < ty_dim_nsyms(g); i++) {
    const ty_sym *s = ty_dim_sym(g, i);
    ty_cli_cell(&t, " ");
    ty_cli_cell(&t, "%s", s->name);
    if (s->hi == INT64_MAX) ty_cli_cell(&t, "%lld or more", (long long)s->lo);
    else ty_cli_cell(&t, "%lld to %lld", (long long)s->lo, (long long)s->hi);
    ty_cli_cell(&t, "example %lld", (long long)k->syms[i]);
  }
  ty_cli_table_print(&t, false);
  ty_cli_table_free(&t);
}

static void operators(const ty_archive_info *a) {
  char text[64];
  int n = 0;
  for (int i = 0; i < a->nops; i++) n += a->ops[i].count;
  snprintf(text, sizeof text, "Operators: %d of %d kinds", n, a->nops);
  title(text);
  ty_cli_table t = { .cols = 3, .left = 2 };
  for (int i = 0; i < a->nops; i++) {
    ty_cli_cell(&t, " ");
    ty_cli_cell(&t, "%s", a->ops[i].target);
    ty_cli_cell(&t, "%d", a->ops[i].count);
  }
  ty_cli_table_print(&t, false);
  ty_cli_table_free(&t);
}

/* Compiles without a C compiler, which reads no weight, and asks the program. */
static int cost(ty_cli *c, ty_cli_graph *k) {
  ty_model *m = NULL;
  ty_memory mem = { 0 };
  double flops = 0;
  char work[32], text[32];
  ty_str at = { 0 };
  ty_graph *g = k->imported->graph;
  for (int i = 0; i < ty_dim_nsyms(g); i++) ty_str_add(&at, "%s%s = %lld", i ? ", " : " of ", ty_dim_sym(g, i)->name, (long long)k->syms[i]);
  k->imported->graph = NULL;
  ty_status st = ty_model_compile(k->ctx, g, &(ty_options){ .no_compiler = true, .dump = "" }, &m);
  if (!st) st = ty_program_cost(ty_model_program(m), k->ctx, k->syms, &flops, &mem);
  if (st) {
    int code = ty_cli_fail(c, "%s", ty_ctx_error(k->ctx));
    ty_model_destroy(m);
    ty_str_free(&at);
    return code;
  }
  ty_str head = { 0 };
  ty_str_add(&head, "A run%s", at.n ? at.p : "");
  title(head.p ? head.p : "");
  ty_cli_count(work, flops);
  ty_cli_bytes(text, (double)mem.arena);
  printf("   %s%sFLOP in products and attention, %s of working memory, %d steps, %d barriers\n", work, work[0] && strchr(work, ' ') ? "" : " ", text, mem.steps, mem.barriers);
  ty_str_free(&head);
  ty_str_free(&at);
  ty_model_destroy(m);
  return TY_CLI_GOOD;
}

static int run(ty_cli *c) {
  ty_cli_model m;
  int code = ty_cli_model_open(c, c->args[0], &m);
  ty_cli_progress(c, NULL);
  if (code || !m.archive) {
    if (!code) { printf("%s: a deployed model\n", m.path); tensors(c, m.file, false); tensors(c, m.file, true); }
    ty_cli_model_close(&m);
    return code;
  }
  ty_cli_graph k;
  code = ty_cli_graph_open(c, m.path, &k);
  if (!code) {
    const ty_archive_info *a = ty_archive_look(k.archive);
    char elements[32], bytes[32];
    ty_cli_count(elements, (double)a->param_elements);
    ty_cli_bytes(bytes, (double)a->weight_bytes);
    printf("%s: program '%s' of PyTorch %s, dialect %s, schema %d.%d\n", m.path, a->model, a->torch_version, a->dialect, a->schema_major, a->schema_minor);
    printf("%s parameters in %d tensors, %d buffers, %d constants: %s\n", elements, a->nparams, a->nbuffers, a->nconstants, bytes);
    tensors(c, m.file, false);
    tensors(c, m.file, true);
    sizes(&k);
    operators(a);
    for (int i = 0; i < k.imported->nignored; i++) {
      if (!i) title("Guards that are not checked");
      printf("   %s\n", k.imported->ignored[i]);
    }
    if (k.imported->ndeclined) title("Does not compile");
    for (int i = 0; i < k.imported->ndeclined; i++) {
      const ty_imported_decline *d = &k.imported->declined[i];
      printf("   %s (%s): %s\n", d->op, d->node, d->reason);
    }
    if (!k.imported->ndeclined) code = cost(c, &k);
  }
  ty_cli_graph_close(&k);
  ty_cli_model_close(&m);
  return code;
}

static const ty_cli_opt opts[] = { { 0 } };
const ty_cli_command ty_cli_info = { "info", "MODEL", "what a model takes, gives, contains and costs", NULL, opts, 1, 1, run };
