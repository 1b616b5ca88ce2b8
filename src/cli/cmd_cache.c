/* cmd_cache.c: `tuyere cache`: where compiled kernels are kept, how much of them, and away with them. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cli/cli.h"
#include "emit/cache.h"

static void measure(const char *dir, int *files, double *bytes) {
  DIR *d = opendir(dir);
  *files = 0, *bytes = 0;
  for (struct dirent *e; d && (e = readdir(d));) {
    struct stat info;
    size_t n = strlen(e->d_name);
    if (n < 4 || strcmp(e->d_name + n - 3, ".so") || fstatat(dirfd(d), e->d_name, &info, 0)) continue;
    ++*files;
    *bytes += (double)info.st_blocks * 512 / (double)(info.st_nlink ? info.st_nlink : 1); /* kernels compiled together share a file */
  }
  if (d) closedir(d);
}

static int run(ty_cli *c) {
  char dir[4096], size[32];
  int files, removed = 0, code = TY_CLI_GOOD;
  double bytes;
  const char *what = c->nargs ? c->args[0] : "";
  if (*what && strcmp(what, "path") && strcmp(what, "size") && strcmp(what, "clear"))
    return ty_cli_usage(c, "'%s' is none of path, size, clear", what);
  ty_ctx *ctx = ty_ctx_create();
  if (!ctx) return ty_cli_nomem(c);
  if (ty_cache_dir(ctx, dir, sizeof dir)) code = ty_cli_fail(c, "%s", ty_ctx_error(ctx));
  else if (!strcmp(what, "clear")) {
    if (ty_cache_clear(ctx, &removed)) code = ty_cli_fail(c, "%s", ty_ctx_error(ctx));
    else if (!c->quiet) printf("%d kernel%s removed from %s\n", removed, removed == 1 ? "" : "s", dir);
  } else {
    measure(dir, &files, &bytes);
    ty_cli_bytes(size, bytes);
    if (strcmp(what, "size")) puts(dir);
    if (strcmp(what, "path")) printf("%s in %d kernel%s\n", size, files, files == 1 ? "" : "s");
  }
  ty_ctx_destroy(ctx);
  return code;
}

static const ty_cli_opt opts[] = { { 0 } };
const ty_cli_command ty_cli_cache = { "cache", "[path|size|clear]", "where compiled kernels are kept, and how much of them",
  "The directory is $TUYERE_CACHE_DIR, else tuyere in the user's cache directory; $TUYERE_CACHE_MB limits it.\n", opts, 0, 1, run };
