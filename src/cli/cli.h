/* cli.h: what the commands of `tuyere` share: their tables of options, messages, progress, exit codes. */
#ifndef TY_CLI_H
#define TY_CLI_H
#include "base/base.h"
#include "tuyere.h"

/* Exit codes. */
enum { TY_CLI_GOOD = 0, TY_CLI_FAILED = 1, TY_CLI_USAGE = 2 };

/* An option of a command; a table ends with a row of NULLs. Help text, parsing and shell completion follow from the tables. */
typedef struct ty_cli_opt {
  const char *name;  /* "threads" for --threads */
  char letter;       /* 'o' for -o; 0: none */
  const char *value; /* what its argument is called in the help text; NULL: it takes none */
  const char *help;
} ty_cli_opt;

typedef struct ty_cli ty_cli;
typedef struct ty_cli_command {
  const char *name, *args; /* args: "MODEL [NAME..]", for the usage line */
  const char *summary;     /* one line */
  const char *help;        /* paragraphs below the options; NULL: none */
  const ty_cli_opt *opts;
  int least, most;         /* number of arguments */
  int (*run)(ty_cli *);    /* returns the exit code */
} ty_cli_command;

typedef struct ty_cli_given { const ty_cli_opt *opt; const char *value; } ty_cli_given;
struct ty_cli {
  const ty_cli_command *command; /* NULL before one is known */
  TY_VEC(ty_cli_given) given;    /* options in order */
  int nargs;
  char **args;
  bool quiet, verbose;
  bool tty;                      /* progress is shown: stderr is a terminal, and not --quiet */
  tuyere_context *ctx;
};

/* ---- args.c: arguments ---- */
/* Parses what follows the command's name. TY_CLI_GOOD, or TY_CLI_USAGE with the message printed. */
int ty_cli_parse(ty_cli *, int argc, char **argv);
const char *ty_cli_value(const ty_cli *, const char *option);  /* of the last one given, NULL when it was not ("" for one without argument) */
static inline bool ty_cli_has(const ty_cli *c, const char *option) { return ty_cli_value(c, option) != NULL; }
/* An option's value as a number; *out is left alone when it was not given. */
int ty_cli_int(ty_cli *, const char *option, int least, int most, int *out);
/* One of the words of a comma-separated list; *out: its position. */
int ty_cli_word(ty_cli *, const char *option, const char *words, int *out);
void ty_cli_help(const ty_cli_command *, const ty_cli_opt *common, bool completion);

/* ---- main.c: messages ---- Both return the exit code that fits. */
int ty_cli_usage(const ty_cli *, const char *fmt, ...) TY_PRINTF(2, 3);
int ty_cli_fail(const ty_cli *, const char *fmt, ...) TY_PRINTF(2, 3);
int ty_cli_nomem(const ty_cli *);
/* What is going on, on a terminal and only until the next call; NULL clears the line. */
void ty_cli_progress(const ty_cli *, const char *fmt, ...) TY_PRINTF(2, 3);
int ty_cli_write(ty_cli *, const char *path, const char *text, size_t n); /* "-": stdout */
extern const ty_cli_opt ty_cli_common[];
extern const ty_cli_command *const ty_cli_commands[]; /* ends with NULL */

/* ---- text.c: figures and tables ---- */
typedef struct ty_cli_table { int cols, left; TY_VEC(char *) cells; bool failed; } ty_cli_table; /* left: that many first columns are left-aligned; first row: the heads */
void ty_cli_cell(ty_cli_table *, const char *fmt, ...) TY_PRINTF(2, 3);
void ty_cli_table_print(const ty_cli_table *, bool rules); /* rules: lines of dashes around the heads and at the end */
void ty_cli_table_free(ty_cli_table *);
void ty_cli_time(char out[32], double seconds);  /* "1.234ms", as PyTorch's profiler writes it */
void ty_cli_bytes(char out[32], double bytes);   /* "12.3 MiB" */
void ty_cli_count(char out[32], double n);       /* "22.35 G" */
double ty_cli_quantile(const double *sorted, int n, double q); /* linear between neighbours, as NumPy does it */
void ty_cli_sort(double *, int n);
void ty_cli_json_text(ty_str *, const char *);   /* quoted and escaped */

/* ---- The commands ---- */
extern const ty_cli_command ty_cli_info, ty_cli_run, ty_cli_bench, ty_cli_profile, ty_cli_compile, ty_cli_dump, ty_cli_ops, ty_cli_cache;
#endif
