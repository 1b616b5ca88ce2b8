/* fuzz_archive.c: any bytes as a torch.export archive: refused with a message, or imported, and then compiled too. */
#include "import_one.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint8_t *copy = aligned_alloc(64, (size + 63) / 64 * 64 + 64); /* aligned as the file's pages would be */
  if (!copy) abort();
  memcpy(copy, data, size);
  import_one(copy, size);
  free(copy);
  return 0;
}
