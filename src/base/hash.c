/* hash.c: MurmurHash3 x64 128 (Austin Appleby, public domain), with both halves of the state seeded. */
#include "base.h"

#include <endian.h>
#include <string.h>

static uint64_t rotl(uint64_t x, int r) { return x << r | x >> (64 - r); }

static uint64_t mix(uint64_t k) {
  k ^= k >> 33;
  k *= 0xff51afd7ed558ccdULL;
  k ^= k >> 33;
  k *= 0xc4ceb9fe1a85ec53ULL;
  return k ^ k >> 33;
}

static uint64_t load(const uint8_t *p) {
  uint64_t x;
  memcpy(&x, p, 8);
  return le64toh(x);
}

enum { R1 = 31, R2 = 33 };
static const uint64_t C1 = 0x87c37b91114253d5ULL, C2 = 0x4cf5ad432745937fULL;

ty_hash ty_hash_bytes(const void *data, size_t n, ty_hash seed) {
  const uint8_t *p = data;
  uint64_t a = seed.a, b = seed.b;
  size_t left = n;
  for (; left >= 16; left -= 16, p += 16) {
    a ^= rotl(load(p) * C1, R1) * C2;
    a = (rotl(a, 27) + b) * 5 + 0x52dce729;
    b ^= rotl(load(p + 8) * C2, R2) * C1;
    b = (rotl(b, 31) + a) * 5 + 0x38495ab5;
  }
  if (left) {
    uint8_t tail[16] = {0}; /* zero words mix to zero, as in the reference's switch */
    memcpy(tail, p, left);
    b ^= rotl(load(tail + 8) * C2, R2) * C1;
    a ^= rotl(load(tail) * C1, R1) * C2;
  }
  a ^= n;
  b ^= n;
  a += b;
  b += a;
  a = mix(a);
  b = mix(b);
  a += b;
  b += a;
  return (ty_hash){a, b};
}

void ty_hash_hex(ty_hash h, char out[33]) {
  for (int i = 0; i < 32; i++) out[i] = "0123456789abcdef"[(i < 16 ? h.a : h.b) >> (60 - i % 16 * 4) & 15];
  out[32] = 0;
}
