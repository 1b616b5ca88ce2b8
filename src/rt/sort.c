/* sort.c: where the k first elements of each row stand in order, stable: keys as unsigned numbers with their places, by radix or merging. */
#include "rt/routine.h"

#include <string.h>

typedef struct item { uint64_t key; int64_t at; } item;
enum { RUN = 12, RADIX_FROM = 1024 };

/* Numbers as unsigned ones of the same order; NaN is greatest, zeros are equal. */
static inline uint64_t key_u8(uint8_t v) { return v; }
static inline uint64_t key_i8(int8_t v) { return (uint8_t)v ^ 0x80u; }
static inline uint64_t key_i16(int16_t v) { return (uint16_t)v ^ 0x8000u; }
static inline uint64_t key_i32(int32_t v) { return (uint32_t)v ^ 0x80000000u; }
static inline uint64_t key_i64(int64_t v) { return (uint64_t)v ^ (uint64_t)1 << 63; }
static inline uint64_t key_half(uint16_t v, unsigned inf) {
  return (v & 0x7fffu) > inf ? 0xffff : !(v & 0x7fff) ? 0x8000 : v & 0x8000 ? (uint16_t)~v : v | 0x8000u;
}
static inline uint64_t key_f16(uint16_t v) { return key_half(v, 0x7c00); }
static inline uint64_t key_bf16(uint16_t v) { return key_half(v, 0x7f80); }
static inline uint64_t key_f32(float v) {
  uint32_t u;
  memcpy(&u, &v, sizeof u);
  return v != v ? 0xffffffffu : v == 0 ? 0x80000000u : u >> 31 ? ~u : u | 0x80000000u;
}
static inline uint64_t key_f64(double v) {
  uint64_t u, sign = (uint64_t)1 << 63;
  memcpy(&u, &v, sizeof u);
  return v != v ? UINT64_MAX : v == 0 ? sign : u >> 63 ? ~u : u | sign;
}
static int key_bytes(ty_dtype dt) { return dt == TY_bool ? 1 : (int)ty_dtype_size(dt); }

static void keys(ty_dtype dt, const void *row, int64_t from, int64_t n, uint64_t flip, item *out) {
#define KEYS(T, name) for (int64_t i = 0; i < n; i++) out[i] = (item){key_##name(((const T *)row)[from + i]) ^ flip, from + i}
  switch (dt) {
  case TY_bool: case TY_u8: KEYS(uint8_t, u8); break;
  case TY_i8: KEYS(int8_t, i8); break;
  case TY_i16: KEYS(int16_t, i16); break;
  case TY_i32: KEYS(int32_t, i32); break;
  case TY_i64: KEYS(int64_t, i64); break;
  case TY_f16: KEYS(uint16_t, f16); break;
  case TY_bf16: KEYS(uint16_t, bf16); break;
  case TY_f32: KEYS(float, f32); break;
  case TY_f64: KEYS(double, f64); break;
  case TY_NDTYPE: break;
  }
}

/* Least significant byte first; bytes that are the same in all keys are passed over. */
static void radix(item *a, item *tmp, int64_t n, int bytes) {
  for (int b = 0; b < bytes; b++) {
    int64_t count[256] = {0}, sum = 0;
    for (int64_t i = 0; i < n; i++) count[a[i].key >> 8 * b & 255]++;
    if (count[a[0].key >> 8 * b & 255] == n) continue;
    for (int k = 0; k < 256; k++) { int64_t c = count[k]; count[k] = sum; sum += c; }
    for (int64_t i = 0; i < n; i++) tmp[count[a[i].key >> 8 * b & 255]++] = a[i];
    memcpy(a, tmp, (size_t)n * sizeof *a);
  }
}

static void merge(item *a, item *tmp, int64_t n) {
  for (int64_t r = 0; r < n; r += RUN)
    for (int64_t i = r + 1; i < n && i < r + RUN; i++) {
      item v = a[i];
      int64_t k = i;
      for (; k > r && a[k - 1].key > v.key; k--) a[k] = a[k - 1];
      a[k] = v;
    }
  for (int64_t w = RUN; w < n; w *= 2) {
    for (int64_t r = 0; r < n; r += 2 * w) {
      int64_t mid = r + w < n ? r + w : n, end = r + 2 * w < n ? r + 2 * w : n, i = r, j = mid;
      for (int64_t k = r; k < end; k++) {
        bool left = j >= end || (i < mid && a[i].key <= a[j].key);
        tmp[k] = a[left ? i : j];
        i += left, j += !left;
      }
    }
    memcpy(a, tmp, (size_t)n * sizeof *a);
  }
}

static void sort(item *a, item *tmp, int64_t n, int bytes) {
  if (n < 2) return;
  if (n < RADIX_FROM) merge(a, tmp, n);
  else radix(a, tmp, n, bytes);
}

/* Few of many: a room of candidates, from which all but the k first are dropped when it is full. */
static int64_t room_of(int64_t len, int64_t k) {
  enum { BLOCK = 64 };
  return k > (len - BLOCK) / 4 ? len : 2 * k + BLOCK;
}
size_t ty_rt_sort_scratch(int64_t len, int64_t k) { return 2 * (size_t)room_of(len, k) * sizeof(item); }

static int64_t choose(const rt_routine *r, const void *row, uint64_t flip, item *a, item *tmp, int64_t room, int bytes) {
  int64_t len = r->size[1], k = r->size[2], have = 0;
  item block[32];
  uint64_t worst = UINT64_MAX; /* what is not before the k-th so far is not wanted; a later equal one neither */
  bool full = false;
  for (int64_t i = 0; i < len; i += 32) {
    int64_t n = len - i < 32 ? len - i : 32;
    keys(r->dtype, row, i, n, flip, block);
    for (int64_t j = 0; j < n; j++)
      if (!full || block[j].key < worst) a[have++] = block[j];
    if (have + 32 <= room && i + 32 < len) continue;
    sort(a, tmp, have, bytes);
    if (have >= k) have = k, full = true, worst = k ? a[k - 1].key : 0;
  }
  return have;
}

void ty_rt_sort(const rt_routine *r, int tid, int nt) {
  int64_t len = r->size[1], k = r->size[2], room = room_of(len, k);
  int bytes = key_bytes(r->dtype);
  uint64_t flip = r->which == TY_SORT_DOWN ? UINT64_MAX >> (64 - 8 * bytes) : 0;
  item *a = r->scratch, *tmp = a + room;
  for (int64_t o = rt_share(r->size[0], tid, nt), end = rt_share(r->size[0], tid + 1, nt); o < end; o++) {
    const char *row = (const char *)r->in[0] + o * len * ty_dtype_size(r->dtype);
    int64_t *out = (int64_t *)r->out + o * k;
    if (room < len) (void)choose(r, row, flip, a, tmp, room, bytes);
    else {
      keys(r->dtype, row, 0, len, flip, a);
      sort(a, tmp, len, bytes);
    }
    for (int64_t i = 0; i < k; i++) out[i] = a[i].at;
  }
}
