/* cache.h: emitted kernels as shared objects on disk, named by content: found, or compiled in parallel, and loaded. */
#ifndef TY_CACHE_H
#define TY_CACHE_H
#include "base/base.h"

/* A kernel: the exported function's name and its C text. Kernels share files, so every name at file scope must be the
 * kernel's own (put a hash of the content into it). Equal kernels may come several times. */
typedef struct ty_cache_kernel { const char *symbol, *text; } ty_cache_kernel;

typedef struct ty_cache_opts {
  const char *header;       /* text put before the kernels of each file; NULL: none */
  int abi;                  /* TY_ABI_VERSION */
  ty_isa isa;               /* level to compile for */
  const char *const *extra; /* more compiler flags, NULL-terminated, or NULL */
  const char *zig;          /* the ziglang package's program or its Python, or NULL (ty_cc_find) */
  int jobs;                 /* compilers at once; <= 0: the affinity mask's cores */
} ty_cache_opts;

/* A loaded kernel. */
typedef struct ty_cache_entry {
  void *handle; /* dlopen's; kernels compiled together share it, each entry holds a reference */
  void *fn;     /* the symbol's address */
  bool built;   /* compiled by this call */
  char key[33];
} ty_cache_entry;

/* Loads n kernels. Those not on disk are compiled in as many files as cores, in parallel, and published under each
 * kernel's key with hard links. The key is made of text, header, flags, architecture and ABI version, and of nothing that
 * belongs to a compiler: a cache that was filled elsewhere (another machine of the same level, the stage of an image that
 * had gcc) serves a machine without any, and a compiler is not even looked for when nothing is missing. So a new
 * compiler does not replace what an older one made: ty_cache_clear does. An entry that is damaged, or whole and cannot
 * be loaded here (made against a newer libc), is compiled again, once; when that cannot be loaded either, it is removed.
 * Several processes may race: one compiles, others wait for it. All entries are loaded, or none: TY_COMPILER (missing,
 * failed, too slow, with its text; made what cannot be loaded), TY_IO (no place to write, or the directory is refused). */
ty_status ty_cache_build(ty_ctx *, const ty_cache_opts *, int n, const ty_cache_kernel *, ty_cache_entry *out);
void ty_cache_release(ty_cache_entry *, int n);

/* A word that was found out by measuring, under the hash of what it is about: read, false: not there; written, for later processes, or
 * quietly not, where nothing can be. */
bool ty_cache_recall(ty_ctx *, ty_hash about, char *out, size_t size);
void ty_cache_remember(ty_ctx *, ty_hash about, const char *word);

/* The directory: $TUYERE_CACHE_DIR, $XDG_CACHE_HOME/tuyere or ~/.cache/tuyere, made with mode 0700. TY_IO when it is
 * refused (not the user's own, or others can write to it) or cannot be made. Where it cannot be written, builds go to
 * a private directory under $TMPDIR that is removed at exit, and the log says so once. */
ty_status ty_cache_dir(ty_ctx *, char *out, size_t size);
/* Removes the entries, and nothing else that lies there. `removed` (may be NULL) gets how many. */
ty_status ty_cache_clear(ty_ctx *, int *removed);
#endif
