/* cache_dir.c: the cache's directory: where it is, whether it can be trusted, its private stand-in, eviction, clearing. */
#define _GNU_SOURCE 1
#include "cache_int.h"

#include "cc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The path by the rules, absolute, because dlopen looks elsewhere for a name without a slash. */
static bool cache_path(char *out, size_t size) {
  const char *s = getenv("TUYERE_CACHE_DIR"), *home;
  int n;
  if (s && *s == '/') n = snprintf(out, size, "%s", s);
  else if (s && *s) {
    char cwd[TY_CACHE_PATH];
    if (!getcwd(cwd, sizeof cwd)) return false;
    n = snprintf(out, size, "%s/%s", cwd, s);
  } else if ((s = getenv("XDG_CACHE_HOME")) && *s == '/') n = snprintf(out, size, "%s/tuyere", s);
  else {
    char buf[4096];
    struct passwd pw, *got = NULL;
    home = getenv("HOME");
    if ((!home || *home != '/') && !getpwuid_r(geteuid(), &pw, buf, sizeof buf, &got) && got) home = pw.pw_dir;
    if (!home || *home != '/') return false;
    n = snprintf(out, size, "%s/.cache/tuyere", home);
  }
  if (n < 0 || (size_t)n >= size) return false;
  while (n > 1 && out[n - 1] == '/') out[--n] = 0; /* "dir/" would follow a symlink */
  return true;
}

/* mkdir -p; 0 or errno. The XDG specification wants 0700 for what is made on the way. */
static int make_dirs(char *path) {
  for (char *p = path + 1;; p++) {
    if (*p && *p != '/') continue;
    char was = *p;
    *p = 0;
    int err = mkdir(path, 0700) ? errno : 0;
    if (err == EROFS || err == EACCES) { /* may be there all the same */
      struct stat st;
      if (!stat(path, &st)) err = 0;
    }
    *p = was;
    if (err && err != EEXIST) return err;
    if (!was) return 0;
  }
}

cache_place cache_dir_open(ty_ctx *ctx, char *out, size_t size) {
  if (!cache_path(out, size)) {
    ty_fail(ctx, TY_IO, "no cache directory: neither TUYERE_CACHE_DIR nor XDG_CACHE_HOME nor HOME gives a path");
    return CACHE_FAILS;
  }
  struct stat st;
  int err = lstat(out, &st) ? errno : 0;
  if (err) {
    if ((err = make_dirs(out)) == 0 && lstat(out, &st)) err = errno;
    if (err) {
      ty_fail(ctx, TY_IO, "cannot make the cache directory %s: %s", out, strerror(err));
      return CACHE_FAILS;
    }
  }
  /* Whoever can write here can run code as this user. */
  const char *todo = "remove it, or set TUYERE_CACHE_DIR to a directory of your own";
  if (S_ISLNK(st.st_mode)) ty_fail(ctx, TY_IO, "the cache directory %s is a symbolic link, which is refused: %s", out, todo);
  else if (!S_ISDIR(st.st_mode)) ty_fail(ctx, TY_IO, "the cache directory %s is not a directory: %s", out, todo);
  else if (st.st_uid != geteuid())
    ty_fail(ctx, TY_IO, "the cache directory %s belongs to uid %u and not to you (uid %u), which is refused: set "
            "TUYERE_CACHE_DIR to a directory of your own", out, (unsigned)st.st_uid, (unsigned)geteuid());
  else if (st.st_mode & 022)
    ty_fail(ctx, TY_IO, "the cache directory %s can be written by others (mode %03o), which is refused: run chmod 700 on "
            "it (and clear it if others may have), or set TUYERE_CACHE_DIR to a directory of your own", out,
            (unsigned)st.st_mode & 0777);
  else return CACHE_GOOD;
  return CACHE_REFUSED;
}

ty_status ty_cache_dir(ty_ctx *ctx, char *out, size_t size) {
  return cache_dir_open(ctx, out, size) == CACHE_GOOD ? TY_OK : TY_IO;
}

/* What this cache writes: entries, locks and unfinished files. Anything else in the directory is not touched. */
typedef enum kind { OTHER, ENTRY, LOCK, UNFINISHED } kind;

static kind kind_of(const char *name) {
  if (!strncmp(name, ".ty-", 4)) return UNFINISHED;
  if (strspn(name, "0123456789abcdef") != 32) return OTHER;
  return !strcmp(name + 32, ".so") || !strcmp(name + 32, ".txt") ? ENTRY : !strcmp(name + 32, ".lock") ? LOCK : OTHER;
}

static bool word_path(ty_ctx *ctx, ty_hash about, char *dir, char *out, size_t size) {
  char hex[33];
  ty_hash_hex(about, hex);
  bool good = cache_dir_open(ctx, dir, TY_CACHE_PATH) == CACHE_GOOD;
  ty_ctx_clear(ctx);
  return good && snprintf(out, size, "%s/%s.txt", dir, hex) < (int)size;
}

bool ty_cache_recall(ty_ctx *ctx, ty_hash about, char *out, size_t size) {
  char dir[TY_CACHE_PATH], path[TY_CACHE_PATH + 64];
  if (!word_path(ctx, about, dir, path, sizeof path)) return false;
  int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, out, size - 1);
  close(fd);
  out[n > 0 ? n : 0] = 0;
  return n > 0;
}

void ty_cache_remember(ty_ctx *ctx, ty_hash about, const char *word) {
  char dir[TY_CACHE_PATH], path[TY_CACHE_PATH + 64], made[TY_CACHE_PATH + 64];
  if (!word_path(ctx, about, dir, path, sizeof path) || snprintf(made, sizeof made, "%s/.ty-XXXXXX", dir) >= (int)sizeof made) return;
  int fd = mkstemp(made);
  if (fd < 0) return;
  size_t n = strlen(word);
  bool whole = write(fd, word, n) == (ssize_t)n;
  if (close(fd) || !whole || rename(made, path)) unlink(made);
  cache_evict(dir);
}

static int remove_all(const char *dir) {
  DIR *d = opendir(dir);
  int entries = 0;
  for (struct dirent *e; d && (e = readdir(d));) {
    kind k = kind_of(e->d_name);
    if (k != OTHER && !unlinkat(dirfd(d), e->d_name, 0)) entries += k == ENTRY;
  }
  if (d) closedir(d);
  return entries;
}

/* The private directory: a fact of the process, like the CPU record, because it must live until exit. Taken over by
 * compare-and-swap, as a lock might be held by another thread at a fork. */
typedef struct private_dir { pid_t owner; char path[TY_CACHE_PATH]; } private_dir;
static _Atomic(private_dir *) private_now;

static private_dir *private_own(private_dir *p) { return p && p->owner == getpid() ? p : NULL; }

__attribute__((destructor)) static void private_remove(void) {
  private_dir *p = private_own(atomic_load(&private_now)); /* a fork's child leaves it to its parent */
  if (!p) return;
  remove_all(p->path);
  rmdir(p->path);
}

ty_status cache_private_dir(ty_ctx *ctx, const char *why, char *out, size_t size) {
  private_dir *old = atomic_load(&private_now), *p = private_own(old);
  if (!p) {
    const char *tmp = getenv("TMPDIR");
    if (!tmp || *tmp != '/') tmp = "/tmp";
    if (!(p = ty_alloc(sizeof *p))) return ty_fail(ctx, TY_NOMEM, "out of memory");
    p->owner = getpid();
    if (snprintf(p->path, sizeof p->path, "%s/tuyere-XXXXXX", tmp) >= (int)sizeof p->path || !mkdtemp(p->path)) {
      ty_free(p);
      return ty_note(ctx, TY_IO, "nor could a private directory be made under %s: %s", tmp, strerror(errno));
    }
    if (atomic_compare_exchange_strong(&private_now, &old, p))
      ty_log(ctx, "%s; compiled kernels are kept in %s until exit", why, p->path);
    else { /* another thread was first */
      rmdir(p->path);
      ty_free(p);
      p = old;
    }
  }
  snprintf(out, size, "%s", p->path);
  return TY_OK;
}

ty_status ty_cache_clear(ty_ctx *ctx, int *removed) {
  char dir[TY_CACHE_PATH];
  if (removed) *removed = 0;
  TY_TRY(ty_cache_dir(ctx, dir, sizeof dir));
  int n = remove_all(dir);
  if (removed) *removed = n;
  return TY_OK;
}

typedef struct item { struct timespec used; ino_t ino; off_t size; char name[40]; } item;

/* Oldest first; the hard links of one file side by side. */
static int item_order(const void *pa, const void *pb) {
  const item *a = pa, *b = pb;
  if (a->used.tv_sec != b->used.tv_sec) return a->used.tv_sec < b->used.tv_sec ? -1 : 1;
  if (a->used.tv_nsec != b->used.tv_nsec) return a->used.tv_nsec < b->used.tv_nsec ? -1 : 1;
  return a->ino < b->ino ? -1 : a->ino > b->ino;
}

static void evict_locked(DIR *d, double limit) {
  TY_VEC(item) v = {0};
  double total = 0, stale = 2 * ty_cc_timeout() + 60;
  time_t now = time(NULL);
  for (struct dirent *e; (e = readdir(d));) {
    kind k = kind_of(e->d_name);
    struct stat st;
    if (k == OTHER || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW)) continue;
    if (k == ENTRY) {
      item it = {.used = st.st_mtim, .ino = st.st_ino, .size = st.st_size};
      snprintf(it.name, sizeof it.name, "%.38s", e->d_name);
      TY_PUSH(&v, it);
    } else if (difftime(now, st.st_mtime) > stale) unlinkat(dirfd(d), e->d_name, 0);
  }
  if (v.n) qsort(v.p, (size_t)v.n, sizeof *v.p, item_order);
  for (int i = 0; i < v.n; i++)
    if (!i || v.p[i].ino != v.p[i - 1].ino) total += (double)v.p[i].size;
  for (int i = 0; i < v.n && total > limit;) { /* all names of a file together: only then is its space free */
    total -= (double)v.p[i].size;
    ino_t ino = v.p[i].ino;
    for (; i < v.n && v.p[i].ino == ino; i++) unlinkat(dirfd(d), v.p[i].name, 0);
  }
  TY_VEC_FREE(&v);
}

void cache_evict(const char *dir) {
  const char *s = getenv("TUYERE_CACHE_MB");
  double mb = s && *s ? strtod(s, NULL) : 512;
  if (!(mb >= 0)) mb = 512;
  DIR *d = opendir(dir);
  if (!d) return;
  /* The directory itself is the lock; another process at it does the same work. */
  if (!flock(dirfd(d), LOCK_EX | LOCK_NB)) evict_locked(d, mb * (1 << 20));
  closedir(d);
}
