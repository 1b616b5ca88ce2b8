/* fuzz.h: what the harnesses share. Each defines libFuzzer's entry point; replay.c runs them over files where there is no libFuzzer. */
#ifndef TY_FUZZ_H
#define TY_FUZZ_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A finding: what holds for every input does not hold for this one. */
#define FUZZ_CHECK(x) do { if (!(x)) { fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); abort(); } } while (0)

static inline char *fuzz_text(const uint8_t *data, size_t size) { /* caller frees */
  char *text = malloc(size + 1);
  if (!text) abort();
  memcpy(text, data, size);
  text[size] = 0;
  return text;
}
#endif
