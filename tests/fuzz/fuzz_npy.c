/* fuzz_npy.c: any bytes as a NumPy file: read or refused, and what was read is written and read back the same. */
#include <sys/mman.h>
#include <unistd.h>
#include "cli/npy.h"
#include "fuzz.h"

static int file_of(const uint8_t *data, size_t size, char path[64]) {
  int fd = memfd_create("npy", 0);
  if (fd < 0 || (size && write(fd, data, size) != (ssize_t)size)) abort();
  snprintf(path, 64, "/proc/self/fd/%d", fd);
  return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char path[64], copy[64];
  ty_ctx *ctx = ty_ctx_create();
  ty_npy a, b;
  int fd = file_of(data, size, path);
  if (ty_npy_read(ctx, path, &a) == TY_OK) {
    int other = file_of(NULL, 0, copy);
    FUZZ_CHECK(a.bytes <= size);
    FUZZ_CHECK(ty_npy_write(ctx, copy, &a) == TY_OK && ty_npy_read(ctx, copy, &b) == TY_OK);
    FUZZ_CHECK(a.dtype == b.dtype && a.rank == b.rank && a.bytes == b.bytes && !memcmp(a.shape, b.shape, sizeof a.shape) && !memcmp(a.data, b.data, a.bytes));
    ty_npy_free(&a), ty_npy_free(&b);
    close(other);
  } else FUZZ_CHECK(*ty_ctx_error(ctx) && !a.data);
  close(fd);
  ty_ctx_destroy(ctx);
  return 0;
}
