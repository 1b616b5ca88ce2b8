/* base.h: status codes, the context (allocator, error text, log), arenas, vectors, strings, dtypes. Every room stands on it. */
#ifndef TY_BASE_H
#define TY_BASE_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 0 is good. Text about a failure is kept in the context; callers add a line each on the way up with ty_note. */
typedef enum ty_status {
  TY_OK = 0,
  TY_INVALID,     /* the caller's input is wrong */
  TY_UNSUPPORTED, /* a normal answer: not done here, the text says why */
  TY_NOMEM,
  TY_IO,       /* files, cache directory, disk */
  TY_COMPILER, /* the C compiler failed or is missing */
  TY_INTERNAL, /* our own invariant broke */
} ty_status;
const char *ty_status_name(ty_status s);

#define TY_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define TY_TRY(expr) do { ty_status ty_s_ = (expr); if (ty_s_ != TY_OK) return ty_s_; } while (0)

/* A context owns the error text. Not thread-safe: one per compilation, or one per thread. */
typedef struct ty_ctx ty_ctx;
typedef void (*ty_log_fn)(void *user, const char *text);
ty_ctx *ty_ctx_create(void); /* NULL when out of memory */
void ty_ctx_destroy(ty_ctx *);
void ty_ctx_set_log(ty_ctx *, ty_log_fn, void *user);
void ty_log(ty_ctx *, const char *fmt, ...) TY_PRINTF(2, 3);
/* Replaces the text and returns the code, so that callers write: return ty_fail(ctx, TY_INVALID, "..."). */
ty_status ty_fail(ty_ctx *, ty_status, const char *fmt, ...) TY_PRINTF(3, 4);
/* Appends a line of context ("while lowering %12 aten.add") and returns the code given. */
ty_status ty_note(ty_ctx *, ty_status, const char *fmt, ...) TY_PRINTF(3, 4);
const char *ty_ctx_error(const ty_ctx *); /* "" when there is none; valid until the next failure */
void ty_ctx_clear(ty_ctx *);

/* Memory. ty_alloc never returns NULL for size 0. Overflow-safe products through ty_mul. */
void *ty_alloc(size_t bytes);  /* malloc, zeroed; NULL when out of memory */
void *ty_grow(void *p, size_t bytes);
void ty_free(void *p);
/* Where memory comes from instead of malloc: fn(user, NULL, n) gives new memory, fn(user, p, 0) frees, else it is realloc.
 * false when something was allocated already. NULL: malloc. */
bool ty_set_allocator(void *(*fn)(void *user, void *p, size_t bytes), void *user);
bool ty_mul(size_t a, size_t b, size_t *out);            /* false on overflow */
bool ty_mul_i64(int64_t a, int64_t b, int64_t *out);     /* false on overflow */
bool ty_add_i64(int64_t a, int64_t b, int64_t *out);
void *ty_pages_alloc(size_t bytes); /* 2 MiB aligned, zeroed, MADV_HUGEPAGE when large; NULL when out of memory */
void ty_pages_small(void *, size_t bytes); /* no huge pages for what ty_pages_alloc gave, not touched yet */
void ty_pages_huge(void *, size_t bytes); /* huge pages for memory of another's, where they lie whole in it; contents stay */
void ty_pages_free(void *p, size_t bytes);
/* Test hook: the n-th allocation from now fails (0: never). Used by tests that fail every allocation in turn. */
void ty_alloc_fail_after(long n);

/* Arena: bump allocation, freed as a whole. On exhaustion allocation returns NULL and sets `failed`,
 * so that a builder checks once at its end. */
typedef struct ty_arena { struct ty_arena_block *head; bool failed; } ty_arena;
void *ty_arena_alloc(ty_arena *, size_t bytes); /* zeroed, 16-byte aligned */
char *ty_arena_strdup(ty_arena *, const char *);
char *ty_arena_printf(ty_arena *, const char *fmt, ...) TY_PRINTF(2, 3);
void ty_arena_reset(ty_arena *);
void ty_arena_free(ty_arena *);

/* Growing text buffer; on out-of-memory `failed` is set and text stays valid. */
typedef struct ty_str { char *p; size_t n, cap; bool failed; } ty_str;
void ty_str_add(ty_str *, const char *fmt, ...) TY_PRINTF(2, 3);
void ty_str_vadd(ty_str *, const char *fmt, va_list);
void ty_str_free(ty_str *);

/* Growing array of any element type: struct { T *p; int n, cap; }. Pushing past memory returns false. */
#define TY_VEC(T) struct { T *p; int n, cap; }
#define TY_PUSH(v, x) (ty_vec_room((void **)&(v)->p, &(v)->cap, (v)->n + 1, sizeof *(v)->p) ? ((v)->p[(v)->n++] = (x), true) : false)
#define TY_VEC_FREE(v) (ty_free((v)->p), (v)->p = NULL, (v)->n = (v)->cap = 0)
bool ty_vec_room(void **p, int *cap, int need, size_t elem);

/* 128-bit content hash (names cache entries; the cache directory is the user's own, so no defence against crafted
 * collisions is needed). */
typedef struct ty_hash { uint64_t a, b; } ty_hash;
ty_hash ty_hash_bytes(const void *p, size_t n, ty_hash seed);
void ty_hash_hex(ty_hash, char out[33]);

typedef enum ty_dtype {
#define TY_DTYPE(name, bytes, torch, ctype, cls) TY_##name,
#include "dtype.def"
#undef TY_DTYPE
  TY_NDTYPE
} ty_dtype;
typedef struct ty_dtype_info { const char *name; int bytes; const char *torch, *ctype; char cls; } ty_dtype_info;
extern const ty_dtype_info ty_dtypes[TY_NDTYPE];
static inline int ty_dtype_size(ty_dtype d) { return ty_dtypes[d].bytes; }
static inline bool ty_dtype_is_float(ty_dtype d) { return ty_dtypes[d].cls == 'f'; }
static inline bool ty_dtype_is_int(ty_dtype d) { return ty_dtypes[d].cls == 'i' || ty_dtypes[d].cls == 'u'; }
bool ty_dtype_parse(const char *torch_name, ty_dtype *out); /* "float32" or "f32" */
ty_dtype ty_dtype_promote(ty_dtype a, ty_dtype b);          /* torch.promote_types */

enum { TY_MAX_RANK = 12 };
double ty_now(void); /* seconds, monotonic */
/* CPU levels of all architectures that code is made for (isa.def); those of another one are only ever compiled for. */
typedef enum ty_arch { TY_ARCH_ANY, TY_ARCH_X86_64, TY_ARCH_AARCH64 } ty_arch;
#if defined __x86_64__
#define TY_ARCH_HERE TY_ARCH_X86_64
#elif defined __aarch64__
#define TY_ARCH_HERE TY_ARCH_AARCH64
#else
#define TY_ARCH_HERE TY_ARCH_ANY
#endif
typedef enum ty_isa {
#define TY_ISA(id, name, arch) TY_ISA_##id,
#include "isa.def"
#undef TY_ISA
  TY_NISA
} ty_isa;
const char *ty_arch_name(ty_arch); /* "x86_64", "aarch64", as in the names of compilers */
const char *ty_isa_name(ty_isa);
ty_arch ty_isa_arch(ty_isa);
bool ty_isa_parse(const char *name, ty_isa *out); /* "portable", "avx2", .. */

/* The CPU: its best level from the probe, lowered by TUYERE_ISA. Written once. */
typedef struct ty_cpu {
  ty_isa isa;
  const char *isa_name;
  uint32_t levels; /* a bit for each level up to isa that runs here: see ty_cpu_runs */
  bool avx512_bf16, avx512_vnni, amx_bf16;
  bool arm_mm; /* products of matrices of bf16 and of 8 bits, in Advanced SIMD */
  long l1d, l2, l3;
} ty_cpu;
const ty_cpu *ty_cpu_get(void);
static inline bool ty_cpu_runs(ty_isa isa) { return ty_cpu_get()->levels >> isa & 1; }
#endif
