/* cache.c: kernels by content key: looked up and verified, missing ones compiled in batches, published, loaded. */
#define _GNU_SOURCE 1
#include "cache_int.h"

#include "cc.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* Behind the shared object's last byte, where the loader does not look: a truncated or damaged file must be known
 * before dlopen maps it. */
typedef struct trailer { char magic[8]; uint64_t size; ty_hash hash; } trailer;
static const char MAGIC[8] = "TYSO0001";

/* A file seen in this call: hard links of it need not be read again. */
typedef struct seen { dev_t dev; ino_t ino; } seen;

typedef struct build {
  ty_ctx *ctx;
  const ty_cache_opts *o;
  const ty_cache_kernel *k;
  ty_cache_entry *e;
  int n;
  int look;     /* 0: first, 1: with the lock, 2: after compiling */
  bool have_cc; /* it is looked for when something is missing */
  char why[512]; /* the loader's last complaint: its own text does not last */
  ty_cc cc;
  TY_VEC(seen) seen;
} build;

static void hash_text(ty_hash *h, const char *s) { *h = ty_hash_bytes(s, strlen(s) + 1, *h); }

/* Nothing of the compiler is in it: an entry must serve where there is none. The flags are those of gcc's spelling. */
static void make_keys(build *b) {
#if defined __x86_64__
  const char *arch = "x86_64";
#elif defined __aarch64__
  const char *arch = "aarch64";
#else
  const char *arch = "other";
#endif
  char head[128];
  const char *flags[64];
  ty_hash common = {0, 0};
  snprintf(head, sizeof head, "tuyere cache 2, abi %d, %s", b->o->abi, arch);
  hash_text(&common, head);
  static const ty_cc any;
  int nf = ty_cc_flags(&any, b->o->isa, flags, 64);
  for (int i = 0; i < nf; i++) hash_text(&common, flags[i]);
  for (int i = 0; b->o->extra && b->o->extra[i]; i++) hash_text(&common, b->o->extra[i]);
  hash_text(&common, b->o->header ? b->o->header : "");
  for (int i = 0; i < b->n; i++) {
    ty_hash h = common;
    hash_text(&h, b->k[i].symbol);
    hash_text(&h, b->k[i].text);
    ty_hash_hex(h, b->e[i].key);
  }
}

static bool read_all(int fd, char *p, size_t n) {
  for (ssize_t r; n; p += r, n -= (size_t)r)
    if ((r = read(fd, p, n)) <= 0) {
      if (r < 0 && errno == EINTR) r = 0;
      else return false;
    }
  return true;
}

/* Read and not mapped: a file that shrinks while mapped would be a SIGBUS. */
static bool verify(build *b, int fd, const struct stat *st) {
  for (int i = 0; i < b->seen.n; i++)
    if (b->seen.p[i].dev == st->st_dev && b->seen.p[i].ino == st->st_ino) return true;
  trailer t;
  if (!S_ISREG(st->st_mode) || st->st_uid != geteuid() || st->st_size <= (off_t)sizeof t) return false;
  size_t size = (size_t)st->st_size - sizeof t;
  char *p = ty_alloc(size + sizeof t);
  bool ok = p && read_all(fd, p, size + sizeof t);
  if (ok) {
    memcpy(&t, p + size, sizeof t);
    ty_hash h = ty_hash_bytes(p, size, (ty_hash){0, 0});
    ok = !memcmp(t.magic, MAGIC, 8) && t.size == size && t.hash.a == h.a && t.hash.b == h.b;
  }
  ty_free(p);
  seen s = {st->st_dev, st->st_ino};
  if (ok) TY_PUSH(&b->seen, s); /* when there is no room for it, it is read again */
  return ok;
}

/* The loader goes by names first, and what it knows under this one may be a file that has been replaced since: so each
 * look at the directory spells the path in its own way. */
static bool load(build *b, ty_cache_entry *e, const char *dir, const char *symbol) {
  static const char *const spelled[] = {"", "./", "././"};
  char path[TY_CACHE_PATH + 64];
  snprintf(path, sizeof path, "%s/%s%s.so", dir, spelled[b->look], e->key);
  e->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (e->handle && (e->fn = dlsym(e->handle, symbol))) return true;
  const char *why = dlerror();
  snprintf(b->why, sizeof b->why, "%s", why ? why : "");
  if (e->handle) dlclose(e->handle);
  e->handle = NULL;
  return false;
}

/* Loads kernel i from dir when it is there and whole. A damaged or unloadable one counts as missing: it is replaced. */
static bool lookup(build *b, const char *dir, int i) {
  char path[TY_CACHE_PATH + 64];
  struct stat st;
  ty_cache_entry *e = &b->e[i];
  snprintf(path, sizeof path, "%s/%s.so", dir, e->key);
  int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return false;
  bool ok = !fstat(fd, &st) && verify(b, fd, &st);
  /* Touched for the eviction's order; no more often than it matters. */
  if (ok && st.st_mtime + 60 < time(NULL)) futimens(fd, NULL);
  close(fd);
  return ok && load(b, e, dir, b->k[i].symbol);
}

static int lookup_missing(build *b, const char *dir, int look) {
  int missing = 0;
  b->look = look;
  for (int i = 0; i < b->n; i++)
    if (!b->e[i].handle) missing += !lookup(b, dir, i);
  return missing;
}

static bool write_all(int fd, const void *data, size_t n) {
  const char *p = data;
  for (ssize_t r; n; p += r, n -= (size_t)r)
    if ((r = write(fd, p, n)) < 0) {
      if (errno != EINTR) return false;
      r = 0;
    }
  return true;
}

/* Seals a compiled file with its trailer. */
static bool seal(const char *path) {
  struct stat st;
  trailer t;
  int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  bool ok = !fstat(fd, &st);
  char *p = ok ? ty_alloc((size_t)st.st_size) : NULL;
  ok = p && read_all(fd, p, (size_t)st.st_size);
  if (ok) {
    memcpy(t.magic, MAGIC, 8);
    t.size = (uint64_t)st.st_size;
    t.hash = ty_hash_bytes(p, (size_t)st.st_size, (ty_hash){0, 0});
    ok = write_all(fd, &t, sizeof t) && !fchmod(fd, 0700);
  }
  ty_free(p);
  return !close(fd) && ok;
}

static bool copy_file(const char *from, const char *to) {
  char chunk[16384];
  int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
  ssize_t r = -1;
  bool ok = in >= 0 && out >= 0;
  while (ok && (r = read(in, chunk, sizeof chunk)) > 0) ok = write_all(out, chunk, (size_t)r);
  if (in >= 0) close(in);
  if (out >= 0 && close(out)) ok = false;
  return ok && r == 0;
}

/* Gives the finished file its key's name, in one step and over whatever is there. */
static bool publish(const char *dir, const char *file, const char *key) {
  char tmp[TY_CACHE_PATH + 80], path[TY_CACHE_PATH + 64];
  snprintf(tmp, sizeof tmp, "%s.%s", file, key);
  snprintf(path, sizeof path, "%s/%s.so", dir, key);
  bool ok = !link(file, tmp) || copy_file(file, tmp); /* not every file system has hard links */
  ok = ok && !rename(tmp, path);
  unlink(tmp);
  return ok;
}

enum { MAX_BATCHES = 64 };

typedef struct batch {
  char src[TY_CACHE_PATH + 32], out[TY_CACHE_PATH + 32];
  size_t load;
} batch;

static int jobs_at_once(const build *b) {
  unsigned long mask[128] = {0};
  int n = b->o->jobs;
  if (n <= 0 && !sched_getaffinity(0, sizeof mask, (cpu_set_t *)mask))
    for (int i = 0; i < 128; i++) n += __builtin_popcountl(mask[i]);
  return n < 1 ? 1 : n > MAX_BATCHES ? MAX_BATCHES : n;
}

static bool write_source(build *b, batch *bt, int which, const int *owner, const char *dir) {
  ty_str s = {0};
  ty_str_add(&s, "%s\n", b->o->header ? b->o->header : "");
  for (int i = 0; i < b->n; i++)
    if (owner[i] == which) ty_str_add(&s, "%s\n", b->k[i].text);
  snprintf(bt->src, sizeof bt->src, "%s/.ty-XXXXXX.c", dir);
  errno = ENOMEM;
  int fd = s.failed ? -1 : mkostemps(bt->src, 2, O_CLOEXEC);
  if (fd < 0) bt->src[0] = 0;
  bool ok = fd >= 0 && write_all(fd, s.p, s.n);
  if (fd >= 0 && close(fd)) ok = false;
  ty_str_free(&s);
  if (!ok) return false;
  size_t n = strlen(bt->src);
  memcpy(bt->out, bt->src, n - 2);
  strcpy(bt->out + n - 2, ".so"); /* its own because the source's name is */
  return true;
}

static bool disk_full(const char *dir, const char *text) {
  struct statvfs v;
  return strstr(text, strerror(ENOSPC)) || strstr(text, strerror(EFBIG)) || strstr(text, strerror(EDQUOT)) ||
         strstr(text, strsignal(SIGXFSZ)) ||
         (!statvfs(dir, &v) && (v.f_bavail < 1 || (uint64_t)v.f_bavail * v.f_frsize < 64 << 10));
}

/* Which batch compiles which kernel: each to the least loaded one; kernels that come twice are compiled once (-2). */
static int share_out(build *b, batch *bt, int *owner) {
  int missing = 0, nb = jobs_at_once(b);
  for (int i = 0; i < b->n; i++) {
    owner[i] = b->e[i].handle ? -1 : 0;
    for (int j = 0; j < i && !owner[i]; j++)
      if (owner[j] >= 0 && !strcmp(b->e[j].key, b->e[i].key)) owner[i] = -2;
    missing += !owner[i];
  }
  if (nb > missing) nb = missing;
  for (int i = 0; i < b->n; i++) {
    if (owner[i]) continue;
    int least = 0;
    for (int j = 1; j < nb; j++)
      if (bt[j].load < bt[least].load) least = j;
    owner[i] = least;
    bt[least].load += strlen(b->k[i].text) + 1;
  }
  return nb;
}

/* Compiles what is missing into dir and publishes it. TY_IO: this place does not do, another may. */
static ty_status compile_missing(build *b, const char *dir) {
  ty_status s = TY_OK;
  batch *bt = ty_alloc(MAX_BATCHES * sizeof *bt);
  ty_cc_job *jobs = ty_alloc(MAX_BATCHES * sizeof *jobs);
  int *owner = ty_alloc((size_t)b->n * sizeof *owner), nb = 0;
  if (!bt || !jobs || !owner) {
    s = ty_fail(b->ctx, TY_NOMEM, "out of memory");
    goto done;
  }
  /* owner[] uses 0 as "missing" first, then as batch 0: both mean it is to be compiled. */
  nb = share_out(b, bt, owner);
  for (int i = 0; i < nb && !s; i++) {
    if (!write_source(b, &bt[i], i, owner, dir))
      s = ty_fail(b->ctx, TY_IO, "cannot write to the cache directory %s: %s", dir, strerror(errno));
    jobs[i] = (ty_cc_job){.src_path = bt[i].src, .out_path = bt[i].out, .isa = b->o->isa};
  }
  if (!s && (s = ty_cc_compile_all(b->ctx, &b->cc, b->o->extra, jobs, nb, nb))) {
    for (int i = 0; i < nb; i++)
      if (jobs[i].status && disk_full(dir, jobs[i].text)) s = TY_IO;
  }
  for (int i = 0; i < nb && !s; i++)
    if (!seal(bt[i].out)) s = ty_fail(b->ctx, TY_IO, "cannot finish a file in the cache directory %s: %s", dir, strerror(errno));
  for (int i = 0; i < b->n && !s; i++)
    if (owner[i] >= 0 && !publish(dir, bt[owner[i]].out, b->e[i].key))
      s = ty_fail(b->ctx, TY_IO, "cannot publish in the cache directory %s: %s", dir, strerror(errno));
  for (int i = 0; i < b->n && !s; i++) b->e[i].built = owner[i] != -1;
  for (int i = 0; i < nb; i++) {
    if (bt[i].src[0]) unlink(bt[i].src);
    if (bt[i].out[0]) unlink(bt[i].out);
  }
done:
  ty_free(bt);
  ty_free(jobs);
  ty_free(owner);
  return s;
}

/* One process compiles a request while others with the same wait: servers start several workers at once. Without
 * locks on the file system, or past the time limit, work is done twice, which is harmless. */
static int lock_request(build *b, const char *dir) {
  char path[TY_CACHE_PATH + 64], hex[33];
  ty_hash h = {0, 0};
  for (int i = 0; i < b->n; i++) hash_text(&h, b->e[i].key);
  ty_hash_hex(h, hex);
  snprintf(path, sizeof path, "%s/%s.lock", dir, hex);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return -1;
  double end = ty_now() + ty_cc_timeout();
  for (useconds_t nap = 1000; flock(fd, LOCK_EX | LOCK_NB); nap = nap < 20000 ? nap * 2 : 20000) {
    if ((errno != EWOULDBLOCK && errno != EINTR) || ty_now() > end) break;
    usleep(nap);
  }
  return fd;
}

static void unlock_request(int fd) {
  if (fd < 0) return;
  flock(fd, LOCK_UN); /* by hand: a forked child may hold a copy of the descriptor */
  close(fd);          /* the file stays for the next; eviction removes it when it is old */
}

static ty_status need_cc(build *b) {
  if (!b->have_cc) TY_TRY(ty_cc_find(b->ctx, b->o->zig, &b->cc));
  b->have_cc = true;
  return TY_OK;
}

/* What is still missing after it was built cannot be loaded: removed, so that it is not found again. Where the place is
 * to blame (mounted noexec) another may do; else it is what the compiler made. */
static ty_status remove_unloadable(build *b, const char *dir) {
  char path[TY_CACHE_PATH + 64];
  for (int i = 0; i < b->n; i++)
    if (!b->e[i].handle && snprintf(path, sizeof path, "%s/%s.so", dir, b->e[i].key) > 0) unlink(path);
  ty_status s = strstr(b->why, "map segment") ? TY_IO : TY_COMPILER;
  return ty_fail(b->ctx, s, "cannot load what was compiled in %s: %s", dir, b->why[0] ? b->why : "a file is missing");
}

static ty_status build_in(build *b, const char *dir) {
  if (!lookup_missing(b, dir, 0)) return TY_OK;
  TY_TRY(need_cc(b));
  int lock = lock_request(b, dir);
  ty_status s = TY_OK;
  if (lookup_missing(b, dir, 1)) { /* again: another may have built them meanwhile */
    s = compile_missing(b, dir);
    if (!s && lookup_missing(b, dir, 2)) s = remove_unloadable(b, dir);
    if (!s) cache_evict(dir);
  }
  unlock_request(lock);
  return s;
}

ty_status ty_cache_build(ty_ctx *ctx, const ty_cache_opts *o, int n, const ty_cache_kernel *k, ty_cache_entry *out) {
  build b = {.ctx = ctx, .o = o, .k = k, .e = out, .n = n};
  char dir[TY_CACHE_PATH], why[1024];
  if (n <= 0) return TY_OK;
  memset(out, 0, (size_t)n * sizeof *out);
  make_keys(&b);
  cache_place place = cache_dir_open(ctx, dir, sizeof dir);
  ty_status s = place == CACHE_GOOD ? build_in(&b, dir) : TY_IO;
  if (s == TY_IO && place != CACHE_REFUSED) {
    snprintf(why, sizeof why, "%.1000s", ty_ctx_error(ctx));
    s = need_cc(&b); /* without one no other place helps */
    if (!s) s = cache_private_dir(ctx, why, dir, sizeof dir);
    if (!s) s = build_in(&b, dir);
    if (!s) ty_ctx_clear(ctx); /* what failed first was made up for */
  }
  TY_VEC_FREE(&b.seen);
  if (s) ty_cache_release(out, n);
  return s;
}

void ty_cache_release(ty_cache_entry *e, int n) {
  for (int i = 0; i < n; i++) {
    if (e[i].handle) dlclose(e[i].handle);
    e[i].handle = e[i].fn = NULL;
  }
}
