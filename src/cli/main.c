/* main.c: the command `tuyere`: finds the command, prints help, messages and progress. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "cli/cli.h"

const ty_cli_opt ty_cli_common[] = {
  { "quiet", 'q', NULL, "no output but results and errors" },
  { "help", 'h', NULL, "this text" },
  { 0 },
};

const ty_cli_command *const ty_cli_commands[] = {
  &ty_cli_info, &ty_cli_run, &ty_cli_bench, &ty_cli_profile, &ty_cli_compile, &ty_cli_dump, &ty_cli_ops, &ty_cli_cache, NULL,
};

static void message(const ty_cli *c, const char *fmt, va_list ap) {
  ty_cli_progress(c, NULL);
  fflush(stdout);
  fputs("tuyere", stderr);
  if (c->command) fprintf(stderr, " %s", c->command->name);
  fputs(": ", stderr);
  vfprintf(stderr, fmt, ap);
  fputc('\n', stderr);
}

int ty_cli_usage(const ty_cli *c, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  message(c, fmt, ap);
  va_end(ap);
  fprintf(stderr, "Try 'tuyere %s%s--help'.\n", c->command ? c->command->name : "", c->command ? " " : "");
  return TY_CLI_USAGE;
}

int ty_cli_fail(const ty_cli *c, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  message(c, fmt, ap);
  va_end(ap);
  return TY_CLI_FAILED;
}

int ty_cli_nomem(const ty_cli *c) { return ty_cli_fail(c, "out of memory"); }

void ty_cli_progress(const ty_cli *c, const char *fmt, ...) {
  if (!c->tty) return;
  fputs("\r\033[K", stderr);
  if (fmt) {
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
  }
  fflush(stderr);
}

int ty_cli_write(ty_cli *c, const char *path, const char *text, size_t n) {
  bool out = !strcmp(path, "-"), good;
  FILE *f = out ? stdout : fopen(path, "wb");
  good = f && fwrite(text, 1, n, f) == n;
  if (f && !out && fclose(f)) good = false;
  return good ? TY_CLI_GOOD : ty_cli_fail(c, "%s: %s", path, strerror(errno));
}

static void log_line(void *user, const char *text) {
  const ty_cli *c = user;
  if (c->quiet) return;
  ty_cli_progress(c, NULL);
  fprintf(stderr, "tuyere: %s\n", text);
}

static int help(void) {
  puts("Usage: tuyere COMMAND [OPTION..] [ARGUMENT..]\n\n"
       "Compiles PyTorch models that torch.export saved, and runs them on CPUs, without Python.\n\nCommands:");
  for (const ty_cli_command *const *k = ty_cli_commands; *k; k++) printf("  %-9s %s\n", (*k)->name, (*k)->summary);
  puts("\n'tuyere COMMAND --help' has the command's options; 'tuyere --version' the version.\n"
       "Exit codes: 0 done, 1 it failed, 2 the command line was wrong.");
  return TY_CLI_GOOD;
}

/* A completion script for bash, from the tables of options; made when tuyere is built. */
static int completion(void) {
  puts("# Completion of tuyere for bash.\n_tuyere() {\n  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=\n"
       "  if [ \"$COMP_CWORD\" = 1 ]; then");
  printf("    words='");
  for (const ty_cli_command *const *k = ty_cli_commands; *k; k++) printf("%s ", (*k)->name);
  puts("help --help --version'\n  elif [[ $cur == -* ]]; then\n    case ${COMP_WORDS[1]} in");
  for (const ty_cli_command *const *k = ty_cli_commands; *k; k++) {
    printf("      %s) words='", (*k)->name);
    ty_cli_help(*k, ty_cli_common, true);
    puts("' ;;");
  }
  puts("    esac\n  elif [ \"$prev\" = --mode ]; then\n    words='eager compile'\n  elif [ \"${COMP_WORDS[1]}\" = cache ]; then\n    words='path size clear'\n  fi\n"
       "  if [ -n \"$words\" ]; then\n    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
       "  else\n    compopt -o default\n    COMPREPLY=()\n  fi\n}\ncomplete -F _tuyere tuyere");
  return TY_CLI_GOOD;
}

static const ty_cli_command *find(const char *name) {
  for (const ty_cli_command *const *k = ty_cli_commands; *k; k++) if (!strcmp((*k)->name, name)) return *k;
  return NULL;
}

static int dispatch(ty_cli *c, int argc, char **argv) {
  const char *word = argc > 1 ? argv[1] : "--help";
  if (argc < 2) { help(); return TY_CLI_USAGE; }
  if (!strcmp(word, "--version") || !strcmp(word, "-V")) return printf("tuyere %s\n", tuyere_version()), TY_CLI_GOOD;
  if (!strcmp(word, "--completion")) return completion();
  if (!strcmp(word, "--help") || !strcmp(word, "-h") || (!strcmp(word, "help") && argc == 2)) return help();
  bool helped = !strcmp(word, "help");
  if (helped) word = argv[2];
  c->command = find(word);
  if (!c->command) return ty_cli_usage(c, *word == '-' ? "unknown option '%s'" : "unknown command '%s'", word);
  if (helped) return ty_cli_help(c->command, ty_cli_common, false), TY_CLI_GOOD;
  int code = ty_cli_parse(c, argc - 1, argv + 1);
  if (code) return code;
  if (ty_cli_has(c, "help")) return ty_cli_help(c->command, ty_cli_common, false), TY_CLI_GOOD;
  c->tty = !c->quiet && isatty(STDERR_FILENO);
  c->ctx = tuyere_context_create(log_line, c);
  return c->ctx ? c->command->run(c) : ty_cli_nomem(c);
}

int main(int argc, char **argv) {
  ty_cli c = { 0 };
  int code = dispatch(&c, argc, argv);
  ty_cli_progress(&c, NULL);
  if ((fflush(stdout) || ferror(stdout)) && !code) code = ty_cli_fail(&c, "cannot write the output: %s", strerror(errno));
  tuyere_context_destroy(c.ctx);
  TY_VEC_FREE(&c.given);
  return code;
}
