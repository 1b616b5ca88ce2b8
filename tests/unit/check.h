/* check.h: what every C unit test uses: CHECK counts and reports, check_done prints "N passed, N failed". */
#ifndef TY_CHECK_H
#define TY_CHECK_H
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int check_passed, check_failed;

static inline int check_one(int ok, const char *file, int line, const char *what) {
  if (ok) atomic_fetch_add(&check_passed, 1);
  else {
    atomic_fetch_add(&check_failed, 1);
    fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
  }
  return ok;
}

static inline int check_text(const char *got, const char *want, int part, const char *file, int line) {
  int ok = got && (part ? strstr(got, want) != NULL : !strcmp(got, want));
  check_one(ok, file, line, want);
  if (!ok) fprintf(stderr, "  got: %s\n", got ? got : "(null)");
  return ok;
}

/* Each yields whether it held, so that a test can stop early: if (!CHECK(p)) return; From any thread. */
#define CHECK(cond) check_one(!!(cond), __FILE__, __LINE__, #cond)
#define CHECK_STR(got, want) check_text(got, want, 0, __FILE__, __LINE__)
#define CHECK_HAS(got, want) check_text(got, want, 1, __FILE__, __LINE__)

/* Under ./dev qemu, which tells nothing of pages and dies of threads made by a forked child. */
static inline int check_emulated(void) { return getenv("QEMU_CPU") != NULL; }

/* The closing line, and main's return value. */
static inline int check_done(void) {
  int bad = atomic_load(&check_failed);
  printf("%d passed, %d failed\n", atomic_load(&check_passed), bad);
  return bad != 0;
}
#endif
