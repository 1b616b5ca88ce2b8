/* cmd_dump.c: `tuyere dump`: an archive's graph as it comes and after passes, the emitted source, the program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/model.h"
#include "cli/graph.h"
#include "cli/model.h"
#include "ops/ops.h"
#include "pass/pass.h"

static void to_stdout(void *user, const char *text) {
  (void)user;
  fputs(text, stdout);
}

static int check_passes(ty_cli *c, const char *list) {
  for (const char *p = list; *p;) {
    size_t n = strcspn(p, ",");
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)n, p);
    if (strcmp(name, "all") && ty_pass_find(name) < 0) {
      ty_str s = { 0 };
      for (int i = 0; i < ty_npasses; i++) ty_str_add(&s, ", %s", ty_passes[i].name);
      int code = ty_cli_usage(c, "unknown pass '%s'; there are all%s", name, s.p ? s.p : "");
      ty_str_free(&s);
      return code;
    }
    p += n + (p[n] == ',');
  }
  return TY_CLI_GOOD;
}

static int run(ty_cli *c) {
  const char *pass = ty_cli_value(c, "pass");
  bool source = ty_cli_has(c, "source"), program = ty_cli_has(c, "program");
  int mode = TY_CLI_COMPILE, code = ty_cli_word(c, "mode", TY_CLI_MODES, &mode);
  if (!code && pass) code = check_passes(c, pass);
  if (code) return code;
  ty_cli_graph k;
  ty_str text = { 0 };
  ty_model *m = NULL;
  code = ty_cli_graph_open(c, c->args[0], &k);
  if (!code && !pass && !source && !program) ty_graph_print(k.imported->graph, &text);
  else if (!code && k.imported->ndeclined) code = ty_cli_fail(c, "%s: what does not compile has no passes and no program ('tuyere info' lists it)", c->args[0]);
  else if (!code) {
    ty_ctx_set_log(k.ctx, to_stdout, NULL);
    ty_options o = { .eager = mode == TY_CLI_EAGER, .no_compiler = true, .dump = pass ? pass : "" };
    ty_graph *g = k.imported->graph;
    k.imported->graph = NULL;
    if (ty_model_compile(k.ctx, g, &o, &m)) code = ty_cli_fail(c, "%s", ty_ctx_error(k.ctx));
    if (!code && program) ty_program_print(ty_model_program(m), &text);
    char *c_text = !code && source ? ty_model_source(m) : NULL;
    if (!code && source && !c_text) code = ty_cli_nomem(c);
    if (c_text) fputs(c_text, stdout);
    ty_free(c_text);
  }
  if (!code && text.failed) code = ty_cli_nomem(c);
  if (!code && text.p) fputs(text.p, stdout);
  ty_str_free(&text);
  ty_model_destroy(m);
  ty_cli_graph_close(&k);
  return code;
}

static const ty_cli_opt opts[] = {
  { "pass", 'p', "LIST", "the graph after these passes, or after all" },
  { "program", 0, NULL, "the program: buffers and steps" },
  { "source", 0, NULL, "the C text of the loops" },
  { "mode", 'm', "MODE", "compile (default) or eager" },
  { 0 },
};
const ty_cli_command ty_cli_dump = { "dump", "ARCHIVE", "prints the graph, passes, program and emitted source",
  "Without an option: the graph as it comes from the archive. It parses back, but for large literals.\n", opts, 1, 1, run };
