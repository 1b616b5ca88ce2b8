/* replay.c: a harness over the files of the given folders and files, once each: regressions in the ordinary test run. */
#include <dirent.h>
#include <sys/stat.h>
#include "fuzz.h"

static int ran;

static void replay(const char *path) {
  struct stat st;
  if (stat(path, &st)) { perror(path); exit(2); }
  if (S_ISDIR(st.st_mode)) {
    struct dirent **list;
    int n = scandir(path, &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
      char name[4096];
      snprintf(name, sizeof name, "%s/%s", path, list[i]->d_name);
      if (list[i]->d_name[0] != '.') replay(name);
      free(list[i]);
    }
    free(list);
    return;
  }
  FILE *f = fopen(path, "rb");
  uint8_t *data = f ? malloc((size_t)st.st_size + 1) : NULL;
  if (!data || fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size) { perror(path); exit(2); }
  fclose(f);
  LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
  free(data);
  ran++;
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) replay(argv[i]);
  printf("%d passed, %d failed\n", ran, !ran);
  return !ran;
}
