/* member.c: the members of an archive. libzip reads and checks the container; of a stored member it is noted where libzip would
 * read its first byte, so that its bytes can be used where they are, in the mapped file. */
#include "archive_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zip.h>

/* libzip's view of the mapped file. */
static zip_int64_t source(void *user, void *data, zip_uint64_t len, zip_source_cmd_t cmd) {
  ar_zip *z = user;
  switch (cmd) {
  case ZIP_SOURCE_OPEN: z->pos = 0; return 0;
  case ZIP_SOURCE_READ:
    z->last_read = z->pos;
    if (len > z->size - z->pos) len = z->size - z->pos;
    memcpy(data, z->data + z->pos, len);
    z->pos += len;
    return (zip_int64_t)len;
  case ZIP_SOURCE_SEEK: {
    zip_error_t e;
    zip_int64_t to = zip_source_seek_compute_offset(z->pos, z->size, data, len, &e);
    if (to >= 0) z->pos = (uint64_t)to;
    return to >= 0 ? 0 : -1;
  }
  case ZIP_SOURCE_TELL: return (zip_int64_t)z->pos;
  case ZIP_SOURCE_STAT: {
    zip_stat_t *st = data;
    zip_stat_init(st);
    st->size = z->size;
    st->valid |= ZIP_STAT_SIZE;
    return sizeof *st;
  }
  case ZIP_SOURCE_SUPPORTS: return ZIP_SOURCE_SUPPORTS_SEEKABLE;
  case ZIP_SOURCE_ERROR: {
    int e[2] = {ZIP_ER_SEEK, 0};
    memcpy(data, e, sizeof e);
    return sizeof e;
  }
  default: return 0;
  }
}

static ty_status zip_failed(const ar_place *at, zip_error_t *e, const char *what) {
  if (zip_error_code_zip(e) == ZIP_ER_MEMORY) return ar_nomem(at);
  return ar_fail(at, TY_INVALID, "%s: %s", what, zip_error_strerror(e));
}

/* An error of our own, not the archive's: its text is ours to free. */
static ty_status zip_refused(const ar_place *at, zip_error_t *e) {
  ty_status st = zip_failed(at, e, "not a readable archive");
  zip_error_fini(e);
  return st;
}

/* Names are only compared, never opened, but whoever writes them out should not have to think of it. */
static const char *bad_name(const char *s) {
  size_t n = strlen(s);
  if (n == 0 || n > AR_MAX_NAME) return "it is empty or too long";
  if (*s == '/' || strchr(s, '\\')) return "it is no relative path";
  for (const char *p = s; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
    if (!strncmp(p, "..", 2) && (p[2] == '/' || !p[2])) return "it leaves the archive with ..";
  for (; *s; s++)
    if ((unsigned char)*s < 32 || *s == 127) return "it has control characters";
  return NULL;
}

static void quote(const char *s, char out[80]) {
  int n = 0;
  for (; *s && n < 70; s++) out[n++] = (unsigned char)*s < 32 || *s == 127 ? '?' : *s;
  out[n] = 0;
}

static int by_name(const void *a, const void *b) { return strcmp(((const ar_member *)a)->name, ((const ar_member *)b)->name); }
static int by_offset(const void *a, const void *b) {
  const ar_member *const *x = a, *const *y = b;
  return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

/* The place of a stored member's bytes: where libzip reads when it is asked for the first one. */
static ty_status locate(const ar_place *at, ar_zip *z, ar_member *m, const char *shown) {
  char byte;
  if (m->size == 0) return TY_OK;
  zip_file_t *f = zip_fopen_index(z->zip, m->index, 0);
  if (!f) return zip_failed(at, zip_get_error(z->zip), shown);
  z->last_read = z->size;
  zip_int64_t got = zip_fread(f, &byte, 1);
  m->offset = z->last_read;
  zip_fclose(f);
  if (got != 1 || m->offset >= z->size || m->size > z->size - m->offset || z->data[m->offset] != (unsigned char)byte)
    return ar_fail(at, TY_INVALID, "%s: its %zu bytes reach past the end of the file (%zu bytes)", shown, m->size, z->size);
  return TY_OK;
}

static ty_status member(const ar_place *at, ty_arena *arena, ar_zip *z, uint64_t i, char *root, ar_member *m) {
  zip_stat_t st;
  char shown[80];
  const zip_uint64_t need = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
  if (zip_stat_index(z->zip, i, ZIP_FL_ENC_RAW, &st) || (st.valid & need) != need) return ar_fail(at, TY_INVALID, "member %llu cannot be read", (unsigned long long)i);
  quote(st.name, shown);
  const char *why = bad_name(st.name);
  if (why) return ar_fail(at, TY_INVALID, "member %llu has the name \"%s\": %s", (unsigned long long)i, shown, why);
  const char *slash = strchr(st.name, '/');
  size_t n = slash ? (size_t)(slash - st.name) + 1 : 0;
  if (!slash) return ar_fail(at, TY_INVALID, "member \"%s\" is not in a root folder, as in all archives of torch.export", shown);
  if (!*root) memcpy(root, st.name, n);
  if (strncmp(st.name, root, n) || root[n]) return ar_fail(at, TY_INVALID, "member \"%s\" is not in the archive's root folder \"%.70s\"", shown, root);
  if ((st.valid & ZIP_STAT_ENCRYPTION_METHOD) && st.encryption_method != ZIP_EM_NONE) return ar_fail(at, TY_UNSUPPORTED, "%s: it is encrypted", shown);
  if (st.comp_method != ZIP_CM_STORE && st.comp_method != ZIP_CM_DEFLATE)
    return ar_fail(at, TY_UNSUPPORTED, "%s: compression method %d; only stored and deflated members are read", shown, st.comp_method);
  *m = (ar_member){.name = ty_arena_strdup(arena, st.name + n), .size = st.size, .index = i, .stored = st.comp_method == ZIP_CM_STORE};
  if (!m->name) return ar_nomem(at);
  if (m->stored && st.size != st.comp_size) return ar_fail(at, TY_INVALID, "%s: stored, but with two sizes, %llu and %llu", shown, (unsigned long long)st.size, (unsigned long long)st.comp_size);
  if (!m->stored && st.size / AR_MAX_RATIO > st.comp_size + 1024)
    return ar_fail(at, TY_INVALID, "%s: %llu bytes out of %llu compressed ones; more than %d to 1 is refused", shown, (unsigned long long)st.size,
                   (unsigned long long)st.comp_size, AR_MAX_RATIO);
  return m->stored ? locate(at, z, m, shown) : TY_OK;
}

/* No byte belongs to two members: a small file could else pose as terabytes. */
static ty_status overlaps(const ar_place *at, ar_zip *z) {
  int n = 0;
  ar_member **order = ty_alloc((size_t)z->n * sizeof *order);
  if (!order) return ar_nomem(at);
  for (int i = 0; i < z->n; i++)
    if (z->members[i].stored && z->members[i].size) order[n++] = &z->members[i];
  qsort(order, (size_t)n, sizeof *order, by_offset);
  ty_status st = TY_OK;
  for (int i = 1; i < n && !st; i++)
    if (order[i]->offset - order[i - 1]->offset < order[i - 1]->size)
      st = ar_fail(at, TY_INVALID, "members \"%.80s\" and \"%.80s\" overlap", order[i - 1]->name, order[i]->name);
  ty_free(order);
  return st;
}

ty_status ar_zip_open(const ar_place *at, ty_arena *arena, ar_zip *z) {
  zip_error_t e;
  char root[AR_MAX_NAME + 2] = "";
  zip_error_init(&e);
  zip_source_t *src = zip_source_function_create(source, z, &e);
  if (!src) return zip_refused(at, &e);
  if (!(z->zip = zip_open_from_source(src, ZIP_RDONLY | ZIP_CHECKCONS, &e))) {
    zip_source_free(src);
    return zip_refused(at, &e);
  }
  zip_int64_t n = zip_get_num_entries(z->zip, 0);
  if (n <= 0 || n > AR_MAX_MEMBERS) return ar_fail(at, TY_INVALID, "an archive of %lld members", (long long)n);
  if (!(z->members = ty_arena_alloc(arena, (size_t)n * sizeof *z->members))) return ar_nomem(at);
  for (zip_int64_t i = 0; i < n; i++, z->n++) TY_TRY(member(at, arena, z, (uint64_t)i, root, &z->members[i]));
  qsort(z->members, (size_t)z->n, sizeof *z->members, by_name);
  for (int i = 1; i < z->n; i++)
    if (!strcmp(z->members[i - 1].name, z->members[i].name)) return ar_fail(at, TY_INVALID, "there are two members \"%.80s\"", z->members[i].name);
  return overlaps(at, z);
}

void ar_zip_close(ar_zip *z) {
  if (z->zip) zip_discard(z->zip);
  z->zip = NULL;
}

const ar_member *ar_zip_find(const ar_zip *z, const char *name) {
  ar_member key = {.name = name};
  return z->n ? bsearch(&key, z->members, (size_t)z->n, sizeof key, by_name) : NULL;
}

ty_status ar_zip_text(const ar_place *at, const ar_zip *z, const ar_member *m, size_t max, char **text) {
  *text = NULL;
  if (m->size > max) return ar_fail(at, TY_INVALID, "%zu bytes, where at most %zu are read", m->size, max);
  char *p = ty_alloc(m->size + 1);
  if (!p) return ar_nomem(at);
  if (z->mapped && m->stored) {
    size_t into = m->offset % (size_t)sysconf(_SC_PAGESIZE);
    madvise((void *)(uintptr_t)(z->data + m->offset - into), m->size + into, MADV_WILLNEED);
  }
  zip_file_t *f = zip_fopen_index(z->zip, m->index, 0);
  if (!f) {
    ty_free(p);
    return zip_failed(at, zip_get_error(z->zip), "cannot be read");
  }
  size_t got = 0;
  zip_int64_t n;
  char more;
  while (got < m->size && (n = zip_fread(f, p + got, m->size - got)) > 0) got += (size_t)n;
  bool good = got == m->size && zip_fread(f, &more, 1) == 0; /* the CRC is checked at the end */
  ty_status st = TY_OK;
  if (!good) st = zip_failed(at, zip_file_get_error(f), "damaged");
  zip_fclose(f);
  if (st) ty_free(p);
  else *text = p;
  return st;
}
