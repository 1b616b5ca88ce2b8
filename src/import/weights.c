/* weights.c: the tables of weights and constants: which bytes of which member a name stands for. Every tensor is checked to lie
 * inside its member, which is a whole storage of PyTorch's, little-endian and without header. */
#include "archive_int.h"

#include <stdio.h>
#include <string.h>

/* An int, or a size as the schema writes it: {"as_int": 3}. */
static ty_status size_of(const ar_place *at, json_object *o, const char *what, int64_t *out) {
  TY_TRY(ar_int_of(at, ar_get(o, "as_int"), what, out));
  if (*out < 0) return ar_fail(at, TY_INVALID, "\"%s\" is %lld, and negative", what, (long long)*out);
  return TY_OK;
}

static ty_status extent(const ar_place *at, ar_payload *p, const ar_member *m, int64_t offset, const unsigned char *base) {
  int64_t last = 0, step, first, end, size = ty_dtype_size(p->dtype);
  bool empty = false;
  for (int i = 0; i < p->rank; i++) empty |= p->sizes[i] == 0;
  for (int i = 0; i < p->rank; i++)
    if (!empty && (!ty_mul_i64(p->sizes[i] - 1, p->strides[i], &step) || !ty_add_i64(last, step, &last)))
      return ar_fail(at, TY_INVALID, "its sizes and strides reach past 64 bits");
  int64_t n = size;
  for (int i = 0; i < p->rank; i++)
    if (!empty && !ty_mul_i64(n, p->sizes[i], &n)) return ar_fail(at, TY_INVALID, "its sizes multiply past 64 bits");
  if (empty) return p->data = (const unsigned char *)"", TY_OK;
  if (!ty_mul_i64(offset, size, &first) || !ty_add_i64(offset, last, &end) || !ty_add_i64(end, 1, &end) || !ty_mul_i64(end, size, &end))
    return ar_fail(at, TY_INVALID, "its offset reaches past 64 bits");
  if ((uint64_t)end > m->size)
    return ar_fail(at, TY_INVALID, "its last element ends at byte %lld of member \"%.80s\", which has %zu", (long long)end, m->name, m->size);
  p->data = base + m->offset + first;
  p->bytes = (size_t)(end - first);
  if ((m->offset + (size_t)first) % (size_t)size)
    return ar_fail(at, TY_UNSUPPORTED, "its data starts at byte %zu of the file, no multiple of %lld: the archive was not written by torch.export", m->offset + (size_t)first,
                   (long long)size);
  return TY_OK;
}

static ty_status payload(const ar_place *at, const ar_zip *z, ty_arena *arena, const char *folder, json_object *o, ar_payload *p) {
  bool pickled;
  TY_TRY(ar_string(at, o, "path_name", &p->path));
  TY_TRY(ar_bool(at, o, "use_pickle", &pickled));
  json_object *meta = ar_get(o, "tensor_meta"), *sizes, *strides, *device;
  if (pickled || !meta) return p->refused = pickled ? "it is pickled, and pickles are never read" : "it is no tensor", TY_OK;
  int64_t dtype, layout, offset;
  const char *name, *type;
  int nsizes, nstrides;
  TY_TRY(ar_int(at, meta, "dtype", &dtype));
  TY_TRY(ar_int(at, meta, "layout", &layout));
  TY_TRY(ar_list(at, meta, "sizes", &sizes, &nsizes));
  TY_TRY(ar_list(at, meta, "strides", &strides, &nstrides));
  TY_TRY(ar_object(at, meta, "device", &device));
  TY_TRY(ar_string(at, device, "type", &type));
  TY_TRY(size_of(at, ar_get(meta, "storage_offset"), "storage_offset", &offset));
  if (nsizes != nstrides) return ar_fail(at, TY_INVALID, "%d sizes and %d strides", nsizes, nstrides);
  if (!ar_dtype(dtype, &p->dtype, &name)) {
    if (!name) return ar_fail(at, TY_INVALID, "dtype %lld is none of the schema's", (long long)dtype);
    return p->refused = ty_arena_printf(arena, "its dtype is %s", name), p->refused ? TY_OK : ar_nomem(at);
  }
  if (layout != 7) return p->refused = "its layout is not strided", TY_OK;
  if (nsizes > TY_MAX_RANK) return p->refused = "it has too many dimensions", TY_OK;
  p->rank = nsizes;
  for (int i = 0; i < nsizes; i++) {
    TY_TRY(size_of(at, json_object_array_get_idx(sizes, (size_t)i), "sizes", &p->sizes[i]));
    TY_TRY(size_of(at, json_object_array_get_idx(strides, (size_t)i), "strides", &p->strides[i]));
  }
  char path[2 * AR_MAX_NAME];
  snprintf(path, sizeof path, "%s%s", folder, p->path);
  const ar_member *m = ar_zip_find(z, path);
  if (!m) return ar_fail(at, TY_INVALID, "member \"%.200s\" is missing", path);
  if (!m->stored) return p->refused = "its member is compressed, so that it cannot be mapped", TY_OK;
  return extent(at, p, m, offset, z->data);
}

ty_status ar_table_read(const ar_place *at, const ar_zip *z, ty_arena *arena, const char *folder, json_object *config, ar_table *t) {
  json_object *all;
  ar_place here = *at;
  TY_TRY(ar_object(at, config, "config", &all));
  size_t n = (size_t)json_object_object_length(all);
  if (!(t->p = ty_arena_alloc(arena, n * sizeof *t->p))) return ar_nomem(at);
  json_object_iter it;
  json_object_object_foreachC(all, it) {
    ar_payload *p = &t->p[t->n];
    p->fqn = it.key;
    snprintf(here.at, sizeof here.at, "\"%.200s\"", it.key);
    if (strlen(it.key) > AR_MAX_NAME) return ar_fail(&here, TY_INVALID, "a name of %zu bytes", strlen(it.key));
    TY_TRY(payload(&here, z, arena, folder, it.val, p));
    if (!ar_map_put(&t->by_name, p->fqn, t->n++)) return ar_nomem(at);
  }
  return TY_OK;
}
