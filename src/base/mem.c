/* mem.c: allocation with a fault hook, overflow-safe products, huge pages, arenas, growing text and arrays. */
#define _GNU_SOURCE 1
#include "base.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A test hook, zero outside of tests: the only other global beside the CPU record. */
static _Atomic long fail_after;

void ty_alloc_fail_after(long n) { atomic_store_explicit(&fail_after, n > 0 ? n : 0, memory_order_relaxed); }

static bool must_fail(void) {
  long n = atomic_load_explicit(&fail_after, memory_order_relaxed);
  while (n > 0)
    if (atomic_compare_exchange_weak_explicit(&fail_after, &n, n - 1, memory_order_relaxed, memory_order_relaxed))
      return n == 1;
  return false;
}

/* The process's allocator, set before anything is allocated; then it stays. */
static struct { void *(*fn)(void *user, void *p, size_t bytes); void *user; } hook;
static atomic_bool allocated;

bool ty_set_allocator(void *(*fn)(void *user, void *p, size_t bytes), void *user) {
  if (atomic_load(&allocated)) return false;
  hook.fn = fn, hook.user = user;
  return true;
}

void *ty_alloc(size_t bytes) {
  if (!atomic_load_explicit(&allocated, memory_order_relaxed)) atomic_store(&allocated, true);
  if (must_fail()) return NULL;
  bytes += bytes == 0;
  if (!hook.fn) return calloc(1, bytes);
  void *p = hook.fn(hook.user, NULL, bytes);
  return p ? memset(p, 0, bytes) : NULL;
}
void *ty_grow(void *p, size_t bytes) {
  if (!atomic_load_explicit(&allocated, memory_order_relaxed)) atomic_store(&allocated, true);
  if (must_fail()) return NULL;
  bytes += bytes == 0;
  return hook.fn ? hook.fn(hook.user, p, bytes) : realloc(p, bytes);
}
void ty_free(void *p) {
  if (!hook.fn) free(p);
  else if (p) hook.fn(hook.user, p, 0);
}

bool ty_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
bool ty_mul_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_mul_overflow(a, b, out); }
bool ty_add_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_add_overflow(a, b, out); }

enum { HUGE_PAGE = 2 << 20, PAGE = 4096 };

static size_t round_pages(size_t bytes) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  return (bytes + (bytes == 0) + page - 1) & ~(page - 1);
}

void *ty_pages_alloc(size_t bytes) {
  if (must_fail() || bytes > SIZE_MAX / 2) return NULL;
  size_t size = round_pages(bytes), span = size + HUGE_PAGE;
  if (hook.fn) { /* page-aligned, and the block's address before it */
    char *block = hook.fn(hook.user, NULL, size + PAGE + sizeof block);
    if (!block) return NULL;
    char *at = block + sizeof block;
    at += -(uintptr_t)at & (PAGE - 1);
    memcpy(at - sizeof block, &block, sizeof block);
    return memset(at, 0, size);
  }
  char *raw = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return NULL;
  size_t head = (size_t)(-(uintptr_t)raw & (HUGE_PAGE - 1));
  if (head) munmap(raw, head);
  munmap(raw + head + size, span - head - size); /* never empty: head < HUGE_PAGE */
  if (size >= HUGE_PAGE) madvise(raw + head, size, MADV_HUGEPAGE);
  return raw + head;
}

void ty_pages_small(void *p, size_t bytes) {
  if (!hook.fn) madvise(p, round_pages(bytes), MADV_NOHUGEPAGE);
}

void ty_pages_huge(void *p, size_t bytes) {
  uintptr_t from = ((uintptr_t)p + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1), to = ((uintptr_t)p + bytes) & ~(uintptr_t)(HUGE_PAGE - 1);
  if (from < to) madvise((void *)from, to - from, MADV_HUGEPAGE);
}

void ty_pages_free(void *p, size_t bytes) {
  if (p && hook.fn) {
    char *block;
    memcpy(&block, (char *)p - sizeof block, sizeof block);
    hook.fn(hook.user, block, 0);
  } else if (p) munmap(p, round_pages(bytes));
}

/* Arena. The head block is the one being filled; blocks double so that a large graph needs few of them. */
struct ty_arena_block {
  struct ty_arena_block *next;
  size_t used, cap;
  size_t pad; /* keeps the data 16-byte aligned */
  char data[];
};
_Static_assert(sizeof(struct ty_arena_block) % 16 == 0, "arena data must stay aligned");

enum { ARENA_FIRST = 16 << 10, ARENA_LAST = 1 << 20 };

void *ty_arena_alloc(ty_arena *a, size_t bytes) {
  if (bytes > SIZE_MAX / 2) return a->failed = true, NULL;
  bytes = (bytes + (bytes == 0) + 15) & ~(size_t)15;
  struct ty_arena_block *b = a->head;
  if (!b || b->cap - b->used < bytes) {
    size_t cap = b ? b->cap * 2 : ARENA_FIRST;
    if (cap > ARENA_LAST) cap = ARENA_LAST;
    if (cap < bytes) cap = bytes;
    struct ty_arena_block *nb = ty_alloc(sizeof *nb + cap);
    if (!nb) return a->failed = true, NULL;
    nb->cap = cap;
    nb->next = b;
    a->head = b = nb;
  }
  void *p = b->data + b->used;
  b->used += bytes;
  return p;
}

char *ty_arena_strdup(ty_arena *a, const char *s) {
  size_t n = strlen(s) + 1;
  char *p = ty_arena_alloc(a, n);
  if (p) memcpy(p, s, n);
  return p;
}

char *ty_arena_printf(ty_arena *a, const char *fmt, ...) {
  va_list ap, again;
  va_start(ap, fmt);
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  va_end(ap);
  char *p = NULL;
  if (n < 0) a->failed = true;
  else p = ty_arena_alloc(a, (size_t)n + 1);
  if (p) vsnprintf(p, (size_t)n + 1, fmt, again);
  va_end(again);
  return p;
}

static void blocks_free(struct ty_arena_block *b) {
  while (b) {
    struct ty_arena_block *next = b->next;
    ty_free(b);
    b = next;
  }
}

/* Keeps the newest block, so that a scratch arena reset after each pass stops calling malloc. */
void ty_arena_reset(ty_arena *a) {
  struct ty_arena_block *b = a->head;
  a->failed = false;
  if (!b) return;
  blocks_free(b->next);
  b->next = NULL;
  memset(b->data, 0, b->used);
  b->used = 0;
}

void ty_arena_free(ty_arena *a) {
  blocks_free(a->head);
  a->head = NULL;
  a->failed = false;
}

void ty_str_vadd(ty_str *s, const char *fmt, va_list ap) {
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(s->p ? s->p + s->n : NULL, s->p ? s->cap - s->n : 0, fmt, ap);
  if (n < 0) s->failed = true;
  else if (!s->p || (size_t)n >= s->cap - s->n) {
    size_t need = s->n + (size_t)n + 1, cap = s->cap * 2 > need ? s->cap * 2 : need < 64 ? 64 : need;
    char *p = ty_grow(s->p, cap);
    if (p) {
      s->p = p;
      s->cap = cap;
      vsnprintf(p + s->n, cap - s->n, fmt, again);
      s->n += (size_t)n;
    } else {
      s->failed = true;
      if (s->p) s->p[s->n] = 0; /* undo the partial text */
    }
  } else s->n += (size_t)n;
  va_end(again);
}

void ty_str_add(ty_str *s, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  ty_str_vadd(s, fmt, ap);
  va_end(ap);
}

void ty_str_free(ty_str *s) {
  ty_free(s->p);
  *s = (ty_str){0};
}

bool ty_vec_room(void **p, int *cap, int need, size_t elem) {
  if (need <= *cap) return need >= 0;
  int ncap = *cap > INT_MAX / 2 ? INT_MAX : *cap * 2;
  if (ncap < 8) ncap = 8;
  if (ncap < need) ncap = need;
  size_t bytes;
  void *old, *grown;
  /* The caller's pointer has another type than void *: going through memcpy keeps aliasing rules. */
  memcpy(&old, p, sizeof old);
  if (!ty_mul((size_t)ncap, elem, &bytes) || bytes > PTRDIFF_MAX || !(grown = ty_grow(old, bytes))) return false;
  memcpy(p, &grown, sizeof grown);
  *cap = ncap;
  return true;
}
