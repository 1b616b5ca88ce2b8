/* harness.c: one call of a loop on a row, for mca_loops.py: `harness LOOP` between two calls of mark, which a tracer looks for;
 * `harness LOOP trace` writes the addresses of the instructions itself (x86-64); `harness LOOP time`: cycles an element.
 * -DPLAIN: of plain.c, else of emitted code. */
#define _GNU_SOURCE
#include "tuyere_abi.h"
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COLS = 768 };
static float x[COLS], rest[COLS], w[COLS], b[COLS], y[COLS], both[COLS];
static _Alignas(64) char scratch[1 << 20];

#ifdef PLAIN
void gelu(const float *, const float *, float *, long rows, long cols);
void softmax(const float *, const float *, float *, long rows, long cols);
void layer_norm(const float *, const float *, const float *, const float *, float *, float *, long rows, long cols);
static void call(char which) {
  if (which == 'g') gelu(x, b, y, 1, COLS);
  else if (which == 's') softmax(x, w, y, 1, COLS);
  else layer_norm(x, rest, w, b, y, both, 1, COLS);
}
#else
void gelu(const ty_kargs *, ty_i64, ty_i64, ty_i64, ty_i64);
void softmax(const ty_kargs *, ty_i64, ty_i64, ty_i64, ty_i64);
void layer_norm(const ty_kargs *, ty_i64, ty_i64, ty_i64, ty_i64);
static void call(char which) {
  static const ty_i64 par[4] = {1, COLS, 1, 0};
  ty_i32 fault = 0;
  void *of[3][6] = {{b, y}, {x, w, y}, {x, rest, w, b, y, both}};
  int i = which == 'g' ? 0 : which == 's' ? 1 : 2;
  ty_kargs k = {.buf = of[i], .par = par, .scratch = scratch, .fault = &fault, .acc = x, .acc_ld = COLS};
  (i == 0 ? gelu : i == 1 ? softmax : layer_norm)(&k, 0, 1, 0, COLS);
}
#endif

__attribute__((noinline)) void mark(void) { __asm__ volatile("" ::: "memory"); }

#ifdef __x86_64__
#include <sys/ptrace.h>
#include <sys/user.h>
static int trace(char which) {
  pid_t child = fork();
  if (!child) {
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    mark();
    call(which);
    mark();
    _exit(0);
  }
  int status, marks = 0;
  for (waitpid(child, &status, 0); marks < 2 && WIFSTOPPED(status); waitpid(child, &status, 0)) {
    struct user_regs_struct regs;
    ptrace(PTRACE_GETREGS, child, NULL, &regs);
    marks += regs.rip == (uintptr_t)mark;
    printf("%llx\n", regs.rip);
    ptrace(PTRACE_SINGLESTEP, child, NULL, NULL);
  }
  kill(child, SIGKILL);
  return marks < 2;
}
#else
static int trace(char which) { return (void)which, 2; }
#endif

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Seconds of a cycle: of rotations that wait for each other. */
static double cycle(void) {
  enum { TURNS = 20000 };
  uint64_t v = 1;
  double t = now();
  for (int i = 0; i < TURNS; i++) {
#ifdef __x86_64__
#define TURN "ror $1, %0\n\t"
#else
#define TURN "ror %0, %0, #1\n\t"
#endif
    __asm__ volatile(TURN TURN TURN TURN TURN TURN TURN TURN TURN TURN TURN TURN TURN TURN TURN TURN : "+r"(v));
  }
  return (now() - t) / TURNS / 16;
}

static int ascending(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

int main(int argc, char **argv) {
  uint32_t seed = 1;
  for (int i = 0; i < 4 * COLS; i++) { /* about normal, as activations are */
    float sum = -6;
    for (int j = 0; j < 12; j++) seed = seed * 1664525 + 1013904223, sum += (float)(seed >> 8) * 0x1p-24f;
    (i % 4 == 0 ? x : i % 4 == 1 ? rest : i % 4 == 2 ? w : b)[i / 4] = sum;
  }
  char which = argc > 1 ? *argv[1] : 'g';
  if (argc > 2 && !strcmp(argv[2], "trace")) return trace(which);
  if (argc > 2) {
    enum { ROUNDS = 101 };
    double took[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) { /* the clock changes: each round has its own */
      double one = cycle(), t = now();
      for (int j = 0; j < 200; j++) call(which);
      took[i] = (now() - t) / 200 / COLS / one;
    }
    qsort(took, ROUNDS, sizeof *took, ascending);
    printf("%.3f\n", took[ROUNDS / 2]);
    return 0;
  }
  mark();
  call(which);
  mark();
  return 0;
}
