/* cache_int.h: inside the cache: where the directory is, and its upkeep (cache_dir.c), for building (cache.c). */
#ifndef TY_CACHE_INT_H
#define TY_CACHE_INT_H
#include "cache.h"

enum { TY_CACHE_PATH = 4096 };

/* The text of a refusal is for a person, the kind for the caller: only a place that fails (and is not refused) makes
 * the private directory step in. */
typedef enum cache_place { CACHE_GOOD, CACHE_FAILS, CACHE_REFUSED } cache_place;
cache_place cache_dir_open(ty_ctx *, char *out, size_t size);
/* The private directory, made at first need. `why` is for the one log line. */
ty_status cache_private_dir(ty_ctx *, const char *why, char *out, size_t size);
/* Removes the least recently used entries beyond TUYERE_CACHE_MB, and leftovers of killed processes. */
void cache_evict(const char *dir);
#endif
