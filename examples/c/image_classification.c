/* image_classification.c: what is in an image, by a classifier saved by torch.export, without Python.
 *
 *   image_classification MODEL IMAGE [LABELS.txt]
 *
 * MODEL: model.pt2, or model.so made of it by `tuyere compile`. Its input is float32 [1, 3, height, width], its output float32
 * [1, classes]. IMAGE: a .npy file of the input, or a raw file of its float32 numbers (when height and width are fixed).
 * Prints the five likeliest classes. Both ends are the caller's memory: the output is bound to an array of this program. */
#include <math.h>
#include "npy.h"

static const char *label(const char *path, int64_t line) {
  static char text[256];
  FILE *f = path ? fopen(path, "r") : NULL;
  int64_t i = 0;
  text[0] = 0;
  while (f && fgets(text, sizeof text, f) && i < line) i++;
  if (f) fclose(f);
  text[strcspn(text, "\n")] = 0;
  return text;
}

static void print_best(const float *score, int64_t n, const char *labels) {
  float max = score[0], last = INFINITY;
  double sum = 0;
  int64_t i, best, k;
  for (i = 0; i < n; i++) max = score[i] > max ? score[i] : max;
  for (i = 0; i < n; i++) sum += exp((double)(score[i] - max));
  for (k = 0; k < 5 && k < n; k++) {
    for (best = -1, i = 0; i < n; i++)
      if (score[i] < last && (best < 0 || score[i] > score[best])) best = i;
    if (best < 0) return;
    last = score[best];
    printf("%5.1f %%  class %lld %s\n", 100 * exp((double)(last - max)) / sum, (long long)best, label(labels, best));
  }
}

int main(int argc, char **argv) {
  tuyere_context *c = tuyere_context_create(NULL, NULL);
  tuyere_model *opened = NULL, *model = NULL;
  tuyere_session *s = NULL;
  tuyere_status st = TUYERE_NOMEM;
  tuyere_info in, out;
  tuyere_tensor x, y;
  int d, read = 0;
  memset(&x, 0, sizeof x);
  memset(&y, 0, sizeof y);
  if (argc < 3 || argc > 4) {
    fprintf(stderr, "usage: %s MODEL IMAGE [LABELS.txt]\n", argv[0]);
    return 2;
  }
  if (c) st = tuyere_model_open(c, argv[1], &opened);
  if (!st) st = tuyere_model_input(opened, 0, &in);
  if (!st) st = tuyere_model_output(opened, 0, &out);
  if (!st && (out.rank != 2 || out.dims[1].size < 1 || out.dtype != TUYERE_F32)) st = TUYERE_UNSUPPORTED;
  if (!st) {
    for (d = 0; d < in.rank; d++) x.shape[d] = in.dims[d].size < 0 ? 1 : in.dims[d].size;
    x.rank = in.rank;
    read = strstr(argv[2], ".npy") ? npy_read(argv[2], &x) : raw_read(argv[2], &x);
    st = read ? TUYERE_OK : TUYERE_IO;
  }
  if (!st) {
    y.dtype = TUYERE_F32, y.rank = 2, y.shape[0] = x.shape[0], y.shape[1] = out.dims[1].size;
    y.data = malloc((size_t)(y.shape[0] * y.shape[1]) * sizeof(float));
    st = y.data ? TUYERE_OK : TUYERE_NOMEM;
  }
  if (!st && tuyere_model_num_steps(opened) == 0) st = tuyere_model_compile(c, opened, NULL, &model); /* an archive */
  if (!st) st = tuyere_session_create(c, model ? model : opened, &s);
  if (!st) st = tuyere_session_bind_input(s, 0, &x);
  if (!st) st = tuyere_session_bind_output(s, 0, &y);
  if (!st) st = tuyere_session_run(s);
  if (!st) print_best((const float *)y.data, y.shape[1], argc > 3 ? argv[3] : NULL);
  else fprintf(stderr, "%s: %s %s\n", argv[0], tuyere_status_name(st), c ? tuyere_error(c) : "");
  tuyere_session_destroy(s);
  tuyere_model_destroy(model);
  tuyere_model_destroy(opened);
  tuyere_context_destroy(c);
  if (read) free(x.data);
  free(y.data);
  return st != TUYERE_OK;
}
