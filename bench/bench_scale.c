/* bench_scale.c: what each thread of a large machine would have to do, measured on one core: the shares of every step, one after the other.
 *
 * bench_scale MODEL.pt2 ROUNDS THREADS..: for each number of threads, every step of a run is cut as that many threads cut it, one core does
 * all shares in turn, and each is timed (least of the rounds). Prints JSON: for each step whether a barrier stands before it, its bytes
 * and products, how many threads it is worth, and by number of threads the longest share and the sum of all. Inputs are ones. */
#include "rt/model.h"
#include "rt/pool.h"
#include "rt/program_int.h"
#include "tuyere.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tuyere_context *ctx;
static int fail(void) { return fprintf(stderr, "%s\n", tuyere_error(ctx)), 1; }

static tuyere_status give(tuyere_session *s, const tuyere_model *m) {
  for (int i = 0; i < tuyere_model_num_inputs(m); i++) {
    tuyere_info info;
    tuyere_status st = tuyere_model_input(m, i, &info);
    if (st) return st;
    tuyere_tensor t = {.dtype = info.dtype, .rank = info.rank};
    int64_t n = 1;
    for (int d = 0; d < info.rank; d++) n *= t.shape[d] = info.dims[d].size < 0 ? 1 : info.dims[d].size;
    if ((st = tuyere_session_bind_input(s, i, &t)) || (st = tuyere_session_input(s, i, &t))) return st;
    for (int64_t e = 0; e < n; e++) switch (info.dtype) {
      case TUYERE_F32: ((float *)t.data)[e] = 1; break;
      case TUYERE_I64: ((int64_t *)t.data)[e] = 1; break;
      case TUYERE_BOOL: ((bool *)t.data)[e] = 1; break;
      default: return fprintf(stderr, "input '%s' is of another type\n", info.name), TUYERE_UNSUPPORTED;
    }
  }
  return TUYERE_OK;
}

/* Into longest and sum, by step. */
static void shares(const ty_program *p, const rt_bind *bind, rt_slot *slot, int nt, int rounds, double *longest, double *sum) {
  double *least = malloc((size_t)(bind->nbound * nt) * sizeof *least);
  ty_i32 fault = 0;
  for (int round = 0; least && round < rounds; round++)
    for (int i = 0; i < bind->nbound; i++) {
      const rt_bound *b = &bind->bound[i];
      int n = b->threads < nt ? b->threads : nt;
      for (int tid = 0; tid < n && !b->skip; tid++) {
        double t = ty_now(), *at = &least[i * nt + tid];
        ty_rt_step_do(p->kernels, b, slot->ptr, slot->scratch, tid, n, &fault);
        t = ty_now() - t;
        if (!round || t < *at) *at = t;
      }
    }
  for (int i = 0; i < bind->nbound; i++) {
    longest[i] = sum[i] = 0;
    for (int tid = 0; least && !bind->bound[i].skip && tid < nt && tid < bind->bound[i].threads; tid++) {
      double t = least[i * nt + tid];
      sum[i] += t, longest[i] = t > longest[i] ? t : longest[i];
    }
  }
  free(least);
}

int main(int argc, char **argv) {
  enum { COUNTS = 8 };
  tuyere_model *archive, *m;
  tuyere_session *s;
  int counts[COUNTS], n = 0, rounds = argc > 2 ? atoi(argv[2]) : 0;
  for (int i = 3; i < argc && n < COUNTS; i++) counts[n++] = atoi(argv[i]);
  if (!n || rounds < 1) return fprintf(stderr, "bench_scale MODEL.pt2 ROUNDS THREADS..\n"), 2;
  tuyere_set_threads(1);
  if (!(ctx = tuyere_context_create(NULL, NULL))) return 1;
  if (tuyere_model_open(ctx, argv[1], &archive) || tuyere_model_compile(ctx, archive, NULL, &m) || tuyere_session_create(ctx, m, &s)) return fail();
  if (give(s, m) || tuyere_session_run(s)) return fail();
  ty_program *p = m->program;
  rt_slot *slot = p->slots; /* of the run above, with its pointers */
  const rt_bind *bind = p->kept.p[0].bind;
  for (int i = 0; i < bind->nbound; i++)
    if (bind->bound[i].step->kind == RT_RNN) return fprintf(stderr, "threads of a recurrent step wait for each other\n"), 1;
  double *longest = calloc((size_t)(bind->nbound * n), sizeof *longest), *sum = calloc((size_t)(bind->nbound * n), sizeof *sum);
  for (int c = 0; c < n && longest && sum; c++) shares(p, bind, slot, counts[c], rounds, longest + c * bind->nbound, sum + c * bind->nbound);
  printf("{\"isa\": \"%s\", \"wanted\": %d, \"steps\": [", ty_cpu_get()->isa_name, bind->wanted);
  for (int i = 0; i < bind->nbound && longest && sum; i++) {
    const rt_bound *b = &bind->bound[i];
    printf("%s\n{\"name\": \"%s\", \"kernel\": \"%s\", \"barrier\": %d, \"bytes\": %.0f, \"flops\": %.0f, \"worth\": %d, \"longest\": [", i ? "," : "", b->step->name,
           b->step->kernel ? b->step->kernel : "", b->barrier, b->bytes, b->flops, b->threads);
    for (int c = 0; c < n; c++) printf("%s%.3e", c ? ", " : "", longest[c * bind->nbound + i]);
    printf("], \"sum\": [");
    for (int c = 0; c < n; c++) printf("%s%.3e", c ? ", " : "", sum[c * bind->nbound + i]);
    printf("]}");
  }
  printf("\n]}\n");
  free(longest), free(sum);
  tuyere_session_destroy(s);
  tuyere_model_destroy(m);
  tuyere_model_destroy(archive);
  tuyere_context_destroy(ctx);
  return 0;
}
