/* fuzz_program.c: the JSON inside an archive. The input is models/model.json, a zero byte, the table of weights, a zero byte, and the
 * bytes of weight_0; a ZIP file is put around them, so that mutations need not keep its checksums right. */
#include <zlib.h>
#include "import_one.h"

typedef struct zip { uint8_t *p; size_t n; uint8_t dir[4096]; size_t ndir; int members; } zip;

static void put2(uint8_t *p, unsigned v) { p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8); }
static void put4(uint8_t *p, uint32_t v) { put2(p, v & 0xffff), put2(p + 2, v >> 16); }

/* A stored member, its data at a multiple of 64 bytes as torch has it. */
static void add(zip *z, const char *name, const void *data, size_t n) {
  uint8_t *h = z->p + z->n, *d = z->dir + z->ndir;
  size_t len = strlen(name), extra = 64 - (z->n + 30 + len + 4) % 64 + 4;
  uint32_t crc = (uint32_t)crc32(0, data, (uInt)n);
  memset(h, 0, 30), memset(d, 0, 46);
  put4(h, 0x04034b50), put2(h + 4, 20), put4(h + 14, crc), put4(h + 18, (uint32_t)n), put4(h + 22, (uint32_t)n), put2(h + 26, (unsigned)len), put2(h + 28, (unsigned)extra);
  memcpy(h + 30, name, len);
  memset(h + 30 + len, 0, extra);
  put2(h + 30 + len, 0x4246), put2(h + 32 + len, (unsigned)extra - 4);
  memcpy(h + 30 + len + extra, data, n);
  put4(d, 0x02014b50), put2(d + 6, 20), put4(d + 16, crc), put4(d + 20, (uint32_t)n), put4(d + 24, (uint32_t)n), put2(d + 28, (unsigned)len), put4(d + 42, (uint32_t)z->n);
  memcpy(d + 46, name, len);
  z->ndir += 46 + len, z->n += 30 + len + extra + n, z->members++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const uint8_t *end = data + size, *config = memchr(data, 0, size), *weight = NULL;
  if (config) weight = memchr(config + 1, 0, (size_t)(end - config - 1));
  if (!weight) return 0;
  zip z = {.p = aligned_alloc(64, (size + 8191) / 64 * 64)};
  if (!z.p) abort();
  add(&z, "m/archive_format", "pt2", 3);
  add(&z, "m/models/model.json", data, (size_t)(config - data));
  add(&z, "m/data/weights/model_weights_config.json", config + 1, (size_t)(weight - config - 1));
  add(&z, "m/data/weights/weight_0", weight + 1, (size_t)(end - weight - 1));
  add(&z, "m/data/constants/model_constants_config.json", "{\"config\": {}}", 14);
  add(&z, "m/archive_version", "0", 1);
  add(&z, "m/byteorder", "little", 6);
  add(&z, "m/.data/version", "6\n", 2);
  uint8_t tail[22] = {0};
  put4(tail, 0x06054b50), put2(tail + 8, (unsigned)z.members), put2(tail + 10, (unsigned)z.members), put4(tail + 12, (uint32_t)z.ndir), put4(tail + 16, (uint32_t)z.n);
  memcpy(z.p + z.n, z.dir, z.ndir), memcpy(z.p + z.n + z.ndir, tail, 22);
  import_one(z.p, z.n + z.ndir + 22);
  free(z.p);
  return 0;
}
