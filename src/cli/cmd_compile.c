/* cmd_compile.c: `tuyere compile`: an archive as a shared library with its weights and a header. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cli/model.h"

/* "dir/all-MiniLM.pt2" as an identifier: "all_MiniLM". */
static void stem(const char *path, ty_str *o) {
  const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path, *dot = strrchr(name, '.');
  if (isdigit((unsigned char)*name)) ty_str_add(o, "_");
  for (const char *p = name; *p && p != dot; p++) ty_str_add(o, "%c", isalnum((unsigned char)*p) ? *p : '_');
  if (!o->n) ty_str_add(o, "model");
}

/* What --precision takes: in which numbers matrix products are computed, and what tuyere.h calls them. */
#define PRECISIONS "float32,bf16"
static const char *const fpmath[] = { "f32", "bf16" };
#define WEIGHTS "int8,int8wo,int4,int4g32,int4g128" /* what --weights takes */

static int run(ty_cli *c) {
  ty_cli_model m = { 0 };
  ty_str prefix = { 0 }, fixed = { 0 };
  for (int i = 0; i < c->given.n; i++)
    if (!strcmp(c->given.p[i].opt->name, "static") || !strcmp(c->given.p[i].opt->name, "dynamic")) ty_str_add(&fixed, "%s%s", fixed.n ? "," : "", c->given.p[i].value);
  if (ty_cli_has(c, "output")) ty_str_add(&prefix, "%s", ty_cli_value(c, "output"));
  else stem(c->args[0], &prefix);
  int precision = 0, format, code = ty_cli_word(c, "precision", PRECISIONS, &precision);
  if (!code) code = ty_cli_word(c, "weights", WEIGHTS, &format);
  if (!code) code = prefix.failed || fixed.failed ? ty_cli_nomem(c) : ty_cli_model_open(c, c->args[0], &m);
  if (!code && !m.archive) code = ty_cli_fail(c, "%s: deployed already", m.path);
  double t = ty_now();
  ty_cli_progress(c, "compiling %s", c->args[0]);
  tuyere_options o = { .targets = ty_cli_value(c, "target"), .fixed = fixed.n ? fixed.p : NULL, .weights = ty_cli_value(c, "weights"),
                       .fpmath = ty_cli_has(c, "precision") ? fpmath[precision] : NULL };
  if (!code && tuyere_model_deploy(c->ctx, m.file, &o, prefix.p)) code = ty_cli_fail(c, "%s", tuyere_error(c->ctx));
  t = ty_now() - t;
  ty_cli_progress(c, NULL);
  static const char *const ends[] = { "so", "weights", "h" };
  for (int i = 0; i < 3 && !code && !c->quiet; i++) {
    struct stat info;
    char size[32];
    ty_str path = { 0 };
    ty_str_add(&path, "%s.%s", prefix.p, ends[i]);
    if (path.p && !stat(path.p, &info)) {
      ty_cli_bytes(size, (double)info.st_size);
      printf("%s  %s\n", path.p, size);
    }
    ty_str_free(&path);
  }
  if (!code && c->verbose) {
    char took[32];
    ty_cli_time(took, t);
    printf("took %s\n", took);
  }
  ty_str_free(&prefix);
  ty_str_free(&fixed);
  ty_cli_model_close(&m);
  return code;
}

static const ty_cli_opt opts[] = {
  { "output", 'o', "PREFIX", "PREFIX.so, PREFIX.weights and PREFIX.h are written\n(default: the archive's name, in this directory)" },
  { "target", 0, "LIST", "CPU levels of one architecture to compile for, with commas between (default:\nall of this one); the best one is chosen when it is loaded. Levels:\n"
#define TY_ISA(id, name, arch) #name " "
#include "base/isa.def"
#undef TY_ISA
    "\nor, for these CPUs: "
#define TY_TARGET(name, isa, arch) name " "
#include "base/isa.def"
#undef TY_TARGET
  },
  { "static", 0, "NAME=1x128", "sizes that are fixed for an input (-1: left as archived)" },
  { "dynamic", 0, "NAME=1..8x2..512", "sizes that stay open, and between what (2..: no end);\nonly what was exported with dynamic shapes is open" },
  { "precision", 0, "NAME", "numbers of matrix products: " PRECISIONS },
  { "weights", 0, "FORMAT", "those of linear layers in few bits: int8 (inputs of such layers, too), or weights\nalone: int8wo, int4 (a scale for 64 values), int4g32, int4g128" },
  { "verbose", 'v', NULL, "how long it took" },
  { 0 },
};
const ty_cli_command ty_cli_compile = { "compile", "ARCHIVE", "makes a shared library that needs nothing but libc",
  "PREFIX.h has the entry points and an example. Sizes are those of the archive: what was exported with\n"
  "dynamic shapes stays open unless --static fixes it or --dynamic narrows it.\n"
  "Example: tuyere compile model.pt2 -o build/model --target avx2,avx512 --static input_ids=1x128\n", opts, 1, 1, run };
