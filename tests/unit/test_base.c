/* test_base.c: the ground room: status and context, memory and its failures, dtypes, hash, the CPU record. */
#define _GNU_SOURCE 1
#include "../../src/base/base.h"
#include "check.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char logged[256];
static void keep_log(void *user, const char *text) { snprintf(user, sizeof logged, "%s", text); }

static void test_ctx(void) {
  ty_ctx *c = ty_ctx_create();
  CHECK_STR(ty_ctx_error(c), "");
  CHECK(ty_fail(c, TY_INVALID, "bad dim %d", 7) == TY_INVALID);
  CHECK(ty_note(c, TY_INVALID, "while lowering %%%d", 12) == TY_INVALID);
  CHECK_STR(ty_ctx_error(c), "bad dim 7\nwhile lowering %12");
  ty_fail(c, TY_IO, "again: %s", ty_ctx_error(c)); /* the old text as an argument */
  CHECK_STR(ty_ctx_error(c), "again: bad dim 7\nwhile lowering %12");
  char *big = malloc(20000);
  memset(big, 'x', 19999);
  big[19999] = 0;
  ty_fail(c, TY_IO, "%s", big);
  size_t n = strlen(ty_ctx_error(c));
  CHECK(n > 1000 && n < 10000 && !strcmp(ty_ctx_error(c) + n - 3, "..."));
  ty_note(c, TY_IO, "no room, no overflow");
  CHECK(strlen(ty_ctx_error(c)) == n);
  free(big);
  ty_ctx_clear(c);
  CHECK_STR(ty_ctx_error(c), "");
  ty_note(c, TY_IO, "alone");
  CHECK_STR(ty_ctx_error(c), "alone");
  ty_ctx_set_log(c, keep_log, logged);
  ty_log(c, "n=%d", 3);
  CHECK_STR(logged, "n=3");
  CHECK(ty_fail(NULL, TY_NOMEM, "no context") == TY_NOMEM);
  CHECK_STR(ty_status_name(TY_UNSUPPORTED), "unsupported");
  CHECK_STR(ty_status_name((ty_status)99), "unknown status");
  ty_ctx_destroy(c);
  ty_alloc_fail_after(1);
  CHECK(!ty_ctx_create());
}

static void test_mem(void) {
  char *p = ty_alloc(0);
  CHECK(p);
  ty_free(p);
  p = ty_alloc(100);
  int sum = 0;
  for (int i = 0; i < 100; i++) sum |= p[i];
  CHECK(!sum);
  p = ty_grow(p, 1000);
  p[999] = 1;
  ty_free(p);
  size_t z;
  int64_t i;
  CHECK(ty_mul(3, 4, &z) && z == 12);
  CHECK(!ty_mul(SIZE_MAX / 2, 3, &z));
  CHECK(ty_mul_i64(-3, 4, &i) && i == -12);
  CHECK(!ty_mul_i64(INT64_MAX, 2, &i) && !ty_add_i64(INT64_MIN, -1, &i));
  CHECK(ty_add_i64(5, -7, &i) && i == -2);
  for (size_t n = 0; n < 6u << 20; n = n * 3 + 4095) {
    char *q = ty_pages_alloc(n);
    CHECK(q && (uintptr_t)q % (2 << 20) == 0);
    if (n) CHECK(!q[0] && !q[n - 1]), q[n - 1] = 1;
    ty_pages_free(q, n);
  }
  CHECK(!ty_pages_alloc(SIZE_MAX));
  ty_pages_free(NULL, 5);
}

static void test_fail_injection(void) {
  ty_alloc_fail_after(3);
  void *a = ty_alloc(1), *b = ty_grow(NULL, 1), *c = ty_pages_alloc(1), *d = ty_alloc(1);
  CHECK(a && b && !c && d);
  ty_free(a), ty_free(b), ty_free(d);
  /* Every structure survives each of its allocations failing. */
  for (int n = 1; n < 8; n++) {
    ty_alloc_fail_after(n);
    TY_VEC(int) v = {0};
    int pushed = 0;
    for (int i = 0; i < 100; i++) pushed += TY_PUSH(&v, i);
    CHECK(pushed == v.n && pushed >= 99 - (n == 1 ? 0 : 8 << n) && (v.n == 0 || v.p[0] <= 1));
    TY_VEC_FREE(&v);
    ty_alloc_fail_after(n);
    ty_str s = {0};
    for (int i = 0; i < 100; i++) ty_str_add(&s, "%d,", i);
    CHECK(s.failed == (n <= 4) && (!s.p || strlen(s.p) == s.n));
    ty_str_free(&s);
    ty_alloc_fail_after(n);
    ty_arena ar = {0};
    int got = 0;
    for (int i = 0; i < 100; i++) got += ty_arena_alloc(&ar, 4000) != NULL;
    CHECK(ar.failed == (got < 100));
    ty_arena_free(&ar);
    ty_alloc_fail_after(0);
  }
}

static void test_arena_str_vec(void) {
  ty_arena a = {0};
  char *last = NULL;
  bool apart = true, zero = true;
  for (int i = 0; i < 3000; i++) {
    size_t n = (size_t)(i * 7 % 900);
    char *p = ty_arena_alloc(&a, n);
    apart &= p && p != last && (uintptr_t)p % 16 == 0;
    for (size_t k = 0; k < n; k++) zero &= !p[k];
    memset(p, 0xff, n);
    last = p;
    if (i % 1000 == 999) ty_arena_reset(&a);
  }
  CHECK(apart && zero);
  CHECK(ty_arena_alloc(&a, 5 << 20) && !a.failed);
  CHECK(!ty_arena_alloc(&a, SIZE_MAX - 3) && a.failed);
  ty_arena_reset(&a);
  CHECK(!a.failed);
  CHECK_STR(ty_arena_strdup(&a, "hello"), "hello");
  CHECK_STR(ty_arena_printf(&a, "%s-%d", "x", 42), "x-42");
  ty_arena_free(&a);
  ty_arena_reset(&a); /* an empty one too */
  ty_str s = {0};
  ty_str_add(&s, "%s", "");
  CHECK_STR(s.p, "");
  for (int i = 0; i < 1000; i++) ty_str_add(&s, "%04d", i);
  CHECK(s.n == 4000 && !s.failed && !strncmp(s.p + 3996, "0999", 5));
  ty_str_free(&s);
  TY_VEC(double) v = {0};
  for (int i = 0; i < 1000; i++) TY_PUSH(&v, i);
  CHECK(v.n == 1000 && v.p[999] == 999);
  CHECK(!ty_vec_room((void **)&v.p, &v.cap, -1, 8));
  TY_VEC_FREE(&v);
  CHECK(!v.p && !v.cap);
}

static void test_dtype(void) {
  static const char names[][2][10] = {{"bool", "bool"}, {"uint8", "u8"}, {"int64", "i64"}, {"bfloat16", "bf16"}, {"float32", "f32"}};
  for (int i = 0; i < 5; i++) {
    ty_dtype a, b;
    CHECK(ty_dtype_parse(names[i][0], &a) && ty_dtype_parse(names[i][1], &b) && a == b);
  }
  ty_dtype d;
  CHECK(!ty_dtype_parse("complex64", &d) && !ty_dtype_parse("", &d));
  CHECK(ty_dtype_size(TY_bf16) == 2 && ty_dtype_is_float(TY_f16) && ty_dtype_is_int(TY_u8) && !ty_dtype_is_int(TY_bool));
  /* The whole table of torch.promote_types (docs, "Type promotion"), rows and columns in enum order. */
  static const ty_dtype want[TY_NDTYPE][TY_NDTYPE] = {
    {TY_bool, TY_u8, TY_i8, TY_i16, TY_i32, TY_i64, TY_f16, TY_bf16, TY_f32, TY_f64},
    {TY_u8, TY_u8, TY_i16, TY_i16, TY_i32, TY_i64, TY_f16, TY_bf16, TY_f32, TY_f64},
    {TY_i8, TY_i16, TY_i8, TY_i16, TY_i32, TY_i64, TY_f16, TY_bf16, TY_f32, TY_f64},
    {TY_i16, TY_i16, TY_i16, TY_i16, TY_i32, TY_i64, TY_f16, TY_bf16, TY_f32, TY_f64},
    {TY_i32, TY_i32, TY_i32, TY_i32, TY_i32, TY_i64, TY_f16, TY_bf16, TY_f32, TY_f64},
    {TY_i64, TY_i64, TY_i64, TY_i64, TY_i64, TY_i64, TY_f16, TY_bf16, TY_f32, TY_f64},
    {TY_f16, TY_f16, TY_f16, TY_f16, TY_f16, TY_f16, TY_f16, TY_f32, TY_f32, TY_f64},
    {TY_bf16, TY_bf16, TY_bf16, TY_bf16, TY_bf16, TY_bf16, TY_f32, TY_bf16, TY_f32, TY_f64},
    {TY_f32, TY_f32, TY_f32, TY_f32, TY_f32, TY_f32, TY_f32, TY_f32, TY_f32, TY_f64},
    {TY_f64, TY_f64, TY_f64, TY_f64, TY_f64, TY_f64, TY_f64, TY_f64, TY_f64, TY_f64}};
  for (int i = 0; i < TY_NDTYPE; i++)
    for (int j = 0; j < TY_NDTYPE; j++) CHECK(ty_dtype_promote((ty_dtype)i, (ty_dtype)j) == want[i][j]);
}

static void test_hash(void) {
  char hex[33];
  const char *fox = "The quick brown fox jumps over the lazy dog";
  ty_hash_hex(ty_hash_bytes(fox, strlen(fox), (ty_hash){0, 0}), hex);
  CHECK_STR(hex, "e34bbc7bbc071b6c7a433ca9c49a9347"); /* the published vector */
  ty_hash_hex(ty_hash_bytes("", 0, (ty_hash){0, 0}), hex);
  CHECK_STR(hex, "00000000000000000000000000000000");
  unsigned char buf[70];
  for (int i = 0; i < 70; i++) buf[i] = (unsigned char)(i * 37);
  ty_hash h0 = ty_hash_bytes(buf, 64, (ty_hash){1, 2});
  bool differs = true;
  for (int i = 0; i < 64 * 8; i++) { /* each bit counts */
    buf[i / 8] ^= (unsigned char)(1 << i % 8);
    ty_hash h = ty_hash_bytes(buf, 64, (ty_hash){1, 2});
    differs &= h.a != h0.a && h.b != h0.b;
    buf[i / 8] ^= (unsigned char)(1 << i % 8);
  }
  CHECK(differs);
  for (size_t n = 0; n < 64; n++) { /* so do length and seed */
    ty_hash h = ty_hash_bytes(buf, n, (ty_hash){1, 2}), g = ty_hash_bytes(buf, n + 1, (ty_hash){1, 2});
    ty_hash k = ty_hash_bytes(buf, n, (ty_hash){1, 3});
    differs &= h.a != g.a && h.a != k.a && h.b != k.b;
  }
  CHECK(differs);
  memmove(buf + 1, buf, 64); /* alignment does not count */
  ty_hash h1 = ty_hash_bytes(buf + 1, 64, (ty_hash){1, 2});
  CHECK(h1.a == h0.a && h1.b == h0.b);
}

/* The record is written once a process: each setting is looked at in a child. Returns the tier; its stderr in text. */
static int isa_under(const char *env, char *text, size_t size) {
  int fd[2];
  if (pipe(fd)) return -1;
  pid_t pid = fork();
  if (!pid) {
    dup2(fd[1], 2);
    if (env) setenv("TUYERE_ISA", env, 1);
    else unsetenv("TUYERE_ISA");
    const ty_cpu *c = ty_cpu_get();
    bool ext = c->avx512_bf16 || c->avx512_vnni || c->amx_bf16;
    if (strcmp(c->isa_name, ty_isa_name(c->isa)) || !ty_cpu_runs(c->isa) || !ty_cpu_runs(TY_ISA_PORTABLE)) _exit(50);
    if ((c->isa != TY_ISA_AVX512 || (env && !strcmp(env, "avx512"))) && ext) _exit(51);
    if (env && !strcmp(env, "avx512_vnni") && c->avx512_bf16) _exit(54);
    for (int i = 0; i < TY_NISA; i++)
      if (ty_cpu_runs((ty_isa)i) && (i > (int)c->isa || (ty_isa_arch((ty_isa)i) != TY_ARCH_ANY && ty_isa_arch((ty_isa)i) != TY_ARCH_HERE))) _exit(53);
    if (c != ty_cpu_get()) _exit(52);
    _exit((int)c->isa);
  }
  close(fd[1]);
  ssize_t n, at = 0;
  while ((n = read(fd[0], text + at, size - 1 - (size_t)at)) > 0) at += n;
  text[at] = 0;
  close(fd[0]);
  int st;
  waitpid(pid, &st, 0);
  return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

static void test_cpu(void) {
  char text[300];
  int full = isa_under(NULL, text, sizeof text);
  CHECK(full >= 0 && full < TY_NISA);
  CHECK_STR(text, "");
  CHECK(isa_under("portable", text, sizeof text) == TY_ISA_PORTABLE);
  int got[TY_NISA];
  for (int i = 0; i < TY_NISA; i++) {
    bool here = ty_isa_arch((ty_isa)i) == TY_ARCH_ANY || ty_isa_arch((ty_isa)i) == TY_ARCH_HERE;
    got[i] = isa_under(ty_isa_name((ty_isa)i), text, sizeof text);
    CHECK(here == !text[0] && (here ? got[i] <= i : got[i] == full));
  }
  CHECK(isa_under("", text, sizeof text) == full);
  if (TY_ARCH_HERE == TY_ARCH_X86_64) CHECK(isa_under("avx512_vnni", text, sizeof text) == full && isa_under("avx512_bf16", text, sizeof text) == full && !text[0]);
  CHECK(isa_under("sse9", text, sizeof text) == full);
  const char *known = TY_ARCH_HERE == TY_ARCH_X86_64 ? "portable, avx2, avx512, avx512_vnni, avx512_bf16" : TY_ARCH_HERE == TY_ARCH_AARCH64 ? "portable, neon, sve128, sve256, neon_mm" : "portable";
  char want[200];
  snprintf(want, sizeof want, "tuyere: TUYERE_ISA=sse9 ignored (known: %s)\n", known);
  CHECK_STR(text, want);
  ty_isa i;
  CHECK(ty_isa_parse("avx2", &i) && i == TY_ISA_AVX2 && !ty_isa_parse("AVX", &i));
  const ty_cpu *c = ty_cpu_get(); /* this process's own, after all children: they inherit it */
  for (int i = 0; i <= full; i++) CHECK(got[i] == i || !ty_cpu_runs((ty_isa)i));
  CHECK(c->l1d >= 8 << 10 && c->l2 >= c->l1d && c->l3 >= 0);
  printf("cpu: %s bf16=%d vnni=%d amx=%d l1d=%ld l2=%ld l3=%ld\n", c->isa_name, c->avx512_bf16, c->avx512_vnni, c->amx_bf16,
         c->l1d, c->l2, c->l3);
}

int main(void) {
  test_ctx();
  test_mem();
  test_fail_injection();
  test_arena_str_vec();
  test_dtype();
  test_hash();
  test_cpu();
  double t = ty_now();
  CHECK(ty_now() >= t);
  return check_done();
}
