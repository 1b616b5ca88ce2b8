/* graph.c: opens an archive and builds its graph. */
#include <stdio.h>
#include "cli/graph.h"

static void log_line(void *user, const char *text) {
  const ty_cli *c = user;
  ty_cli_progress(c, NULL);
  if (!c->quiet) fprintf(stderr, "tuyere: %s\n", text);
}

int ty_cli_graph_open(ty_cli *c, const char *path, ty_cli_graph *k) {
  *k = (ty_cli_graph){ .ctx = ty_ctx_create() };
  if (!k->ctx) return ty_cli_nomem(c);
  ty_ctx_set_log(k->ctx, log_line, c);
  ty_status st = ty_archive_open(k->ctx, path, NULL, &k->archive);
  if (!st) st = ty_archive_import(k->ctx, k->archive, NULL, &k->imported);
  if (!k->imported) return ty_cli_fail(c, "%s", ty_ctx_error(k->ctx));
  const ty_graph *g = k->imported->graph;
  k->syms = ty_alloc(sizeof *k->syms * (size_t)ty_dim_nsyms(g));
  if (!k->syms) return ty_cli_nomem(c);
  for (int i = 0; i < ty_dim_nsyms(g); i++) {
    const ty_sym *s = ty_dim_sym(g, i);
    k->syms[i] = s->hint > 0 ? s->hint : s->lo > 1 ? s->lo : 1;
  }
  return TY_CLI_GOOD;
}

void ty_cli_graph_close(ty_cli_graph *k) {
  ty_free(k->syms);
  ty_imported_destroy(k->imported);
  ty_archive_close(k->archive);
  ty_ctx_destroy(k->ctx);
}

int ty_cli_graph_users(const ty_cli_graph *k, ty_cli_user out[TY_CLI_USERS]) {
  const ty_graph *g = k->imported->graph;
  int n = 0;
  for (int i = 0; i < k->imported->nusers && n < TY_CLI_USERS; i++) {
    const ty_imported_input *in = &k->imported->inputs[i];
    if (in->input >= 0) out[n++] = (ty_cli_user){ g->inputs.p[in->input], -1 };
    else if (in->literal.kind == TY_ARG_INT && !ty_dim_is_const(g, in->literal.i, NULL)) out[n++] = (ty_cli_user){ NULL, in->literal.i };
  }
  return n;
}
