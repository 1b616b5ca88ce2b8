/* args.c: a command's arguments by its table of options; the table as help text and as words for the shell's completion. */
#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/cli.h"

enum { OPTS_MAX = 40 };

static int gather(const ty_cli_command *cmd, const ty_cli_opt *out[OPTS_MAX]) {
  int n = 0;
  for (const ty_cli_opt *o = cmd ? cmd->opts : NULL; o && o->name && n < OPTS_MAX; o++) out[n++] = o;
  for (const ty_cli_opt *o = ty_cli_common; o->name && n < OPTS_MAX; o++) out[n++] = o;
  return n;
}

/* Edits from one word to the other: insertions, deletions, replacements (Wagner and Fischer 1974). */
static int distance(const char *a, const char *b) {
  int row[64], la = (int)strlen(a), lb = (int)strlen(b);
  if (lb > 63) return 64;
  for (int j = 0; j <= lb; j++) row[j] = j;
  for (int i = 1; i <= la; i++) {
    int diagonal = row[0];
    row[0] = i;
    for (int j = 1; j <= lb; j++) {
      int best = diagonal + (a[i - 1] != b[j - 1]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = row[j];
      row[j] = best;
    }
  }
  return row[lb];
}

static int unknown_option(ty_cli *c, int n, const ty_cli_opt **opts, const char *word) {
  const char *near = NULL;
  if (!strncmp(word, "--", 2)) {
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    int best = 3;
    for (int i = 0; i < n; i++) {
      int d = distance(name, opts[i]->name);
      if (d < best) best = d, near = opts[i]->name;
    }
  }
  if (near) return ty_cli_usage(c, "unknown option '%s' (did you mean '--%s'?)", word, near);
  return ty_cli_usage(c, "unknown option '%s'", word);
}

int ty_cli_parse(ty_cli *c, int argc, char **argv) {
  const ty_cli_opt *opts[OPTS_MAX];
  struct option longs[OPTS_MAX + 1];
  char letters[2 * OPTS_MAX + 2] = ":";
  int n = gather(c->command, opts), at, k;
  for (int i = 0; i < n; i++) {
    longs[i] = (struct option){ opts[i]->name, opts[i]->value ? required_argument : no_argument, NULL, 256 + i };
    if (opts[i]->letter) snprintf(letters + strlen(letters), 3, "%c%s", opts[i]->letter, opts[i]->value ? ":" : "");
  }
  longs[n] = (struct option){ 0 };
  opterr = 0;
  optind = 1;
  while (at = optind, (k = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
    char word[3] = { '-', (char)optopt, 0 };
    const char *shown = optopt && optopt < 256 && isprint(optopt) ? word : argv[at < argc && argv[at][0] == '-' ? at : optind - 1];
    if (k == ':') return ty_cli_usage(c, "option '%s' needs an argument", shown);
    if (k == '?' && optopt >= 256) return ty_cli_usage(c, "option '--%s' takes no argument", opts[optopt - 256]->name);
    if (k == '?') return unknown_option(c, n, opts, shown);
    int i = k - 256;
    for (int j = 0; j < n && k < 256; j++) if (opts[j]->letter == k) i = j;
    if (!TY_PUSH(&c->given, ((ty_cli_given){ opts[i], optarg ? optarg : "" }))) return ty_cli_nomem(c);
  }
  c->nargs = argc - optind;
  c->args = argv + optind;
  c->quiet = ty_cli_has(c, "quiet");
  c->verbose = ty_cli_has(c, "verbose");
  if (ty_cli_has(c, "help")) return TY_CLI_GOOD;
  if (c->quiet && c->verbose) return ty_cli_usage(c, "--quiet and --verbose exclude each other");
  if (c->nargs < c->command->least) return ty_cli_usage(c, "missing argument: %s", c->command->args);
  if (c->nargs > c->command->most) return ty_cli_usage(c, "unexpected argument '%s'", c->args[c->command->most]);
  return TY_CLI_GOOD;
}

const char *ty_cli_value(const ty_cli *c, const char *name) {
  for (int i = c->given.n - 1; i >= 0; i--) if (!strcmp(c->given.p[i].opt->name, name)) return c->given.p[i].value;
  return NULL;
}

int ty_cli_int(ty_cli *c, const char *name, int least, int most, int *out) {
  const char *v = ty_cli_value(c, name);
  char *end;
  if (!v) return TY_CLI_GOOD;
  long n = strtol(v, &end, 10);
  if (!*v || *end || isspace((unsigned char)*v) || n < least || n > most) return ty_cli_usage(c, "--%s must be a number from %d to %d, got '%s'", name, least, most, v);
  *out = (int)n;
  return TY_CLI_GOOD;
}

int ty_cli_word(ty_cli *c, const char *name, const char *words, int *out) {
  const char *v = ty_cli_value(c, name);
  if (!v) return TY_CLI_GOOD;
  int i = 0;
  for (const char *p = words; *p; i++) {
    size_t n = strcspn(p, ",");
    if (strlen(v) == n && !strncmp(p, v, n)) { *out = i; return TY_CLI_GOOD; }
    p += n + (p[n] == ',');
  }
  ty_str list = { 0 };
  for (const char *p = words; *p; p++) ty_str_add(&list, *p == ',' ? ", " : "%c", *p);
  int code = ty_cli_usage(c, "--%s must be one of %s, got '%s'", name, list.p ? list.p : words, v);
  ty_str_free(&list);
  return code;
}

static void help_opts(const ty_cli_opt *o) {
  for (; o && o->name; o++) {
    char left[80];
    int n = o->letter ? snprintf(left, sizeof left, "  -%c, ", o->letter) : snprintf(left, sizeof left, "      ");
    snprintf(left + n, sizeof left - (size_t)n, "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
    printf("%-28s", left);
    if (strlen(left) > 27) printf("\n%-28s", "");
    for (const char *p = o->help;; p++) { /* further lines of a text stand under its first */
      size_t k = strcspn(p, "\n");
      printf("%.*s\n", (int)k, p);
      if (!p[k]) break;
      printf("%-28s", "");
      p += k;
    }
  }
}

void ty_cli_help(const ty_cli_command *cmd, const ty_cli_opt *common, bool completion) {
  if (completion) {
    for (int k = 0; k < 2; k++)
      for (const ty_cli_opt *o = k ? common : cmd->opts; o && o->name; o++) printf(" --%s", o->name);
    return;
  }
  printf("Usage: tuyere %s [OPTION..]%s%s\n\n%c%s.\n\n", cmd->name, *cmd->args ? " " : "", cmd->args, toupper((unsigned char)*cmd->summary), cmd->summary + 1);
  printf("Options:\n");
  help_opts(cmd->opts);
  help_opts(common);
  if (cmd->help) printf("\n%s", cmd->help);
}
