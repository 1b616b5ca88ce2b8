/* sentence_embedding.c: sentences as vectors, by an encoder saved by torch.export (MiniLM and its like), without Python.
 *
 *   sentence_embedding MODEL TOKENS.txt
 *
 * MODEL: model.pt2, or model.so made of it by `tuyere compile`. Its inputs are the token ids and the attention mask, int64
 * [batch, tokens]; its first output is float32 [batch, tokens, size]. TOKENS.txt: a sentence a line, as numbers from the
 * model's tokenizer. Prints the cosine of each sentence with the first: the mean over the tokens, as sentence-transformers do it. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tuyere.h>

enum { SENTENCES = 64, TOKENS = 512 };

static int64_t tokens[SENTENCES][TOKENS];
static int count[SENTENCES];

static int read_tokens(const char *path) {
  static char line[16 * TOKENS];
  int n = 0;
  FILE *f = fopen(path, "r");
  if (!f) {
    perror(path);
    return -1;
  }
  while (n < SENTENCES && fgets(line, sizeof line, f)) {
    char *at = line, *end;
    for (; count[n] < TOKENS; at = end) {
      long long id = strtoll(at, &end, 10);
      if (end == at) break;
      tokens[n][count[n]++] = id;
    }
    if (count[n]) n++;
  }
  fclose(f);
  return n;
}

/* Mean over the tokens, of length 1. */
static void mean(const float *x, int64_t n, int64_t size, float *out) {
  double length = 0;
  int64_t i, j;
  for (j = 0; j < size; j++) {
    double sum = 0;
    for (i = 0; i < n; i++) sum += x[i * size + j];
    out[j] = (float)(sum / (double)n);
    length += (double)out[j] * out[j];
  }
  for (j = 0; j < size; j++) out[j] = (float)(out[j] / sqrt(length));
}

static tuyere_status embed(tuyere_session *s, int sentence, float **vector, int64_t *size) {
  tuyere_tensor x, y;
  int64_t *mask;
  int i;
  tuyere_status st;
  memset(&x, 0, sizeof x);
  x.dtype = TUYERE_I64, x.rank = 2, x.shape[0] = 1, x.shape[1] = count[sentence];
  x.data = tokens[sentence]; /* read where it lies */
  if ((st = tuyere_session_bind_input(s, 0, &x)) != TUYERE_OK) return st;
  x.data = NULL; /* the session's own memory, filled in place */
  if ((st = tuyere_session_bind_input(s, 1, &x)) != TUYERE_OK) return st;
  if ((st = tuyere_session_input(s, 1, &x)) != TUYERE_OK) return st;
  mask = (int64_t *)x.data;
  for (i = 0; i < count[sentence]; i++) mask[i] = 1;
  if ((st = tuyere_session_run(s)) != TUYERE_OK) return st;
  if ((st = tuyere_session_output(s, 0, &y)) != TUYERE_OK) return st;
  if (y.dtype != TUYERE_F32 || y.rank != 3) return TUYERE_UNSUPPORTED;
  *size = y.shape[2];
  *vector = (float *)malloc((size_t)*size * sizeof **vector);
  if (!*vector) return TUYERE_NOMEM;
  mean((const float *)y.data, y.shape[1], *size, *vector);
  return TUYERE_OK;
}

int main(int argc, char **argv) {
  tuyere_context *c = tuyere_context_create(NULL, NULL);
  tuyere_model *opened = NULL, *model = NULL;
  tuyere_session *s = NULL;
  tuyere_status st;
  float *first = NULL;
  int n, i, bad = 1;
  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL TOKENS.txt\n", argv[0]);
    return 2;
  }
  n = read_tokens(argv[2]);
  st = !c ? TUYERE_NOMEM : n < 0 ? TUYERE_IO : tuyere_model_open(c, argv[1], &opened);
  if (!st && tuyere_model_num_inputs(opened) != 2) st = TUYERE_UNSUPPORTED;
  if (!st && tuyere_model_num_steps(opened) == 0) st = tuyere_model_compile(c, opened, NULL, &model); /* an archive */
  if (!st) st = tuyere_session_create(c, model ? model : opened, &s);
  for (i = 0; i < n && !st; i++) {
    float *v = NULL;
    int64_t size = 0, j;
    double cosine = 0;
    st = embed(s, i, &v, &size);
    if (st) break;
    if (!first) first = v;
    for (j = 0; j < size; j++) cosine += (double)first[j] * v[j];
    printf("sentence %d, %d tokens: %.4f\n", i, count[i], cosine);
    if (v != first) free(v);
  }
  bad = st != TUYERE_OK;
  if (bad) fprintf(stderr, "%s: %s %s\n", argv[0], tuyere_status_name(st), c ? tuyere_error(c) : "");
  free(first);
  tuyere_session_destroy(s);
  tuyere_model_destroy(model);
  tuyere_model_destroy(opened);
  tuyere_context_destroy(c);
  return bad;
}
