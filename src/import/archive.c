/* archive.c: opens an archive: maps the file, checks what kind it is, reads the program's JSON and the tables of weights. */
#include "archive_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const char *ar_target(const char *t) { return strncmp(t, "torch.ops.", 10) ? t : t + 10; }

/* ---- Fixed members ---- */
static ty_status fixed(ty_archive *a, const char *member, const char *want, bool needed) {
  ar_place at = {.ctx = a->ctx, .file = a->file, .member = member};
  const ar_member *m = ar_zip_find(&a->zip, member);
  char *text;
  if (!m) return needed ? ar_fail(&at, TY_INVALID, "this member is missing: no archive of torch.export (2.9 or later)") : TY_OK;
  TY_TRY(ar_zip_text(&at, &a->zip, m, 4096, &text));
  size_t n = strcspn(text, "\r\n");
  bool same = strlen(want) == n && !strncmp(text, want, n);
  for (char *p = text; *p; p++)
    if ((unsigned char)*p < 32 || *p == 127) *p = ' ';
  ty_status st = same ? TY_OK : ar_fail(&at, TY_UNSUPPORTED, "\"%s\" is expected, it says \"%.40s\"", want, text);
  ty_free(text);
  return st;
}

static ty_status read_json(ty_archive *a, const char *member, json_object **out) {
  ar_place at = {.ctx = a->ctx, .file = a->file, .member = member};
  const ar_member *m = ar_zip_find(&a->zip, member);
  char *text;
  if (!m) return ar_fail(&at, TY_INVALID, "this member is missing");
  TY_TRY(ar_zip_text(&at, &a->zip, m, AR_MAX_JSON, &text));
  ty_status st = ar_json_parse(&at, text, m->size, out);
  ty_free(text);
  return st;
}

/* ---- Which program ---- */
static bool program_name(const char *member, char out[AR_MAX_NAME + 1]) {
  size_t n = strlen(member);
  if (strncmp(member, "models/", 7) || n < 13 || strcmp(member + n - 5, ".json") || strchr(member + 7, '/')) return false;
  memcpy(out, member + 7, n - 12);
  out[n - 12] = 0;
  return true;
}

static ty_status choose(ty_archive *a, const char *wanted) {
  ar_place at = {.ctx = a->ctx, .file = a->file};
  char name[AR_MAX_NAME + 1], list[300] = "";
  int n = 0;
  bool found = false;
  for (int i = 0; i < a->zip.n && !found; i++) {
    if (!program_name(a->zip.members[i].name, name)) continue;
    n++;
    if (strlen(list) + strlen(name) + 3 < sizeof list) sprintf(list + strlen(list), "%s%s", *list ? ", " : "", name);
    found = !strcmp(name, wanted ? wanted : "model");
    if ((found || !a->info.model) && !(a->info.model = ty_arena_strdup(&a->arena, name))) return ar_nomem(&at);
  }
  if (!n) return ar_fail(&at, TY_UNSUPPORTED, "there is no program in it (models/NAME.json)");
  if (!found && (wanted || n > 1)) return ar_fail(&at, TY_INVALID, "which program? It has: %s", list);
  a->member = ty_arena_printf(&a->arena, "models/%s.json", a->info.model);
  return a->member ? TY_OK : ar_nomem(&at);
}

static ty_status table(ty_archive *a, const char *kind, const char *folder, json_object **config, ar_table *t) {
  char member[AR_MAX_NAME + 80];
  snprintf(member, sizeof member, "%s%s.pt", folder, a->info.model);
  ar_place at = {.ctx = a->ctx, .file = a->file, .member = member};
  if (ar_zip_find(&a->zip, member)) return ar_fail(&at, TY_UNSUPPORTED, "%s are pickled, and pickles are never read: save the program with torch 2.9 or later", kind);
  snprintf(member, sizeof member, "%s%s_%s_config.json", folder, a->info.model, kind);
  TY_TRY(read_json(a, member, config));
  return ar_table_read(&at, &a->zip, &a->arena, folder, *config, t);
}

/* ---- What ty_archive_look shows ---- */
typedef struct counter { ar_place *at; ty_archive *a; ar_map seen; TY_VEC(ty_archive_op) ops; } counter;

static ty_status count_graph(counter *c, json_object *graph, int depth) {
  json_object *nodes, *inputs, *value;
  int n, nargs;
  if (depth > AR_MAX_GRAPH_DEPTH) return ar_fail(c->at, TY_INVALID, "graphs inside graphs more than %d deep", AR_MAX_GRAPH_DEPTH);
  TY_TRY(ar_list(c->at, graph, "nodes", &nodes, &n));
  for (int i = 0; i < n; i++) {
    json_object *node = json_object_array_get_idx(nodes, (size_t)i);
    const char *target, *key;
    snprintf(c->at->at, sizeof c->at->at, "node %d", i);
    TY_TRY(ar_string(c->at, node, "target", &target));
    target = ar_target(target);
    snprintf(c->at->at, sizeof c->at->at, "node %d (%.100s)", i, target);
    int k = ar_map_get(&c->seen, target);
    if (k < 0 && (!ar_map_put(&c->seen, target, k = c->ops.n) || !TY_PUSH(&c->ops, ((ty_archive_op){target, 0})))) return ar_nomem(c->at);
    c->ops.p[k].count++;
    if (++c->a->info.nodes > AR_MAX_NODES) return ar_fail(c->at, TY_INVALID, "more than %d nodes", AR_MAX_NODES);
    TY_TRY(ar_list(c->at, node, "inputs", &inputs, &nargs));
    for (int j = 0; j < nargs; j++) {
      json_object *arg = ar_get(json_object_array_get_idx(inputs, (size_t)j), "arg");
      TY_TRY(ar_union(c->at, arg, "arg", &key, &value));
      if (!strcmp(key, "as_graph")) TY_TRY(count_graph(c, ar_get(value, "graph"), depth + 1));
    }
  }
  *c->at->at = 0;
  return TY_OK;
}

static int by_count(const void *a, const void *b) {
  const ty_archive_op *x = a, *y = b;
  return x->count != y->count ? y->count - x->count : strcmp(x->target, y->target);
}

static ty_status count_ops(ty_archive *a, ar_place *at, json_object *graph) {
  counter c = {.at = at, .a = a};
  ty_status st = count_graph(&c, graph, 0);
  ar_map_free(&c.seen);
  if (!st) {
    qsort(c.ops.p, (size_t)c.ops.n, sizeof *c.ops.p, by_count);
    ty_archive_op *ops = ty_arena_alloc(&a->arena, (size_t)c.ops.n * sizeof *ops);
    if (ops && c.ops.n) memcpy(ops, c.ops.p, (size_t)c.ops.n * sizeof *ops);
    a->info.ops = ops;
    a->info.nops = c.ops.n;
    if (!ops) st = ar_nomem(at);
  }
  TY_VEC_FREE(&c.ops);
  return st;
}

/* The elements of the parameters, memory that several share once; their count as the signature has it. */
static ty_status count_weights(ty_archive *a, ar_place *at, json_object *specs, int n) {
  ar_map seen = {0};
  ty_status st = TY_OK;
  for (int i = 0; i < n && !st; i++) {
    const char *key, *fqn;
    json_object *value;
    snprintf(at->at, sizeof at->at, "input_specs %d", i);
    st = ar_union(at, json_object_array_get_idx(specs, (size_t)i), "input spec", &key, &value);
    if (st) break;
    a->info.nbuffers += !strcmp(key, "buffer");
    a->info.nconstants += !strcmp(key, "tensor_constant");
    if (strcmp(key, "parameter")) continue;
    a->info.nparams++;
    st = ar_string(at, value, "parameter_name", &fqn);
    int k = st ? -1 : ar_map_get(&a->weights.by_name, fqn);
    const ar_payload *p = k < 0 ? NULL : &a->weights.p[k];
    if (!p || ar_map_get(&seen, p->path) >= 0) continue;
    int64_t count = 1;
    for (int d = 0; d < p->rank; d++)
      if (!ty_mul_i64(count, p->sizes[d], &count)) count = 0; /* of a tensor without elements only */
    if (!p->refused) ty_add_i64(a->info.param_elements, count, &a->info.param_elements);
    if (!ar_map_put(&seen, p->path, 1)) st = ar_nomem(at);
  }
  *at->at = 0;
  ar_map_free(&seen);
  for (int i = 0; i < a->zip.n; i++) {
    const ar_member *m = &a->zip.members[i];
    if (!strncmp(m->name, "data/weights/weight_", 20) || !strncmp(m->name, "data/constants/tensor_", 22)) a->info.weight_bytes += m->size;
  }
  return st;
}

static ty_status look(ty_archive *a) {
  ar_place at = {.ctx = a->ctx, .file = a->file, .member = a->member};
  json_object *version, *graph, *signature, *specs, *verifiers;
  int64_t major, minor;
  int n;
  TY_TRY(ar_object(&at, a->root, "schema_version", &version));
  TY_TRY(ar_int(&at, version, "major", &major));
  TY_TRY(ar_int(&at, version, "minor", &minor));
  if (major != 8) return ar_fail(&at, TY_UNSUPPORTED, "schema %lld.%lld; 8.x is read", (long long)major, (long long)minor);
  a->info.schema_major = (int)major;
  a->info.schema_minor = (int)minor;
  a->info.torch_version = a->info.dialect = "";
  if (ar_get(a->root, "torch_version")) TY_TRY(ar_string(&at, a->root, "torch_version", &a->info.torch_version));
  if (ar_get(a->root, "verifiers")) {
    TY_TRY(ar_list(&at, a->root, "verifiers", &verifiers, &n));
    if (n) TY_TRY(ar_text_of(&at, json_object_array_get_idx(verifiers, 0), "verifiers", 100, &a->info.dialect));
  }
  TY_TRY(ar_object(&at, a->root, "graph_module", &a->program));
  TY_TRY(ar_object(&at, a->program, "graph", &graph));
  TY_TRY(ar_object(&at, a->program, "signature", &signature));
  TY_TRY(ar_list(&at, signature, "input_specs", &specs, &n));
  TY_TRY(count_ops(a, &at, graph));
  return count_weights(a, &at, specs, n);
}

/* ---- Opening ---- */
static ty_status read_all(ty_archive *a, const char *model) {
  ar_place at = {.ctx = a->ctx, .file = a->file};
  TY_TRY(ar_zip_open(&at, &a->arena, &a->zip));
  TY_TRY(fixed(a, "archive_format", "pt2", true));
  TY_TRY(fixed(a, "archive_version", "0", true));
  TY_TRY(fixed(a, "byteorder", "little", false));
  TY_TRY(choose(a, model));
  TY_TRY(read_json(a, a->member, &a->root));
  TY_TRY(table(a, "weights", "data/weights/", &a->configs[0], &a->weights));
  TY_TRY(table(a, "constants", "data/constants/", &a->configs[1], &a->constants));
  return look(a);
}

static ty_status open_bytes(ty_ctx *ctx, const void *data, size_t size, bool mapped, const char *name, const char *model, ty_archive **out) {
  ty_archive *a = ty_alloc(sizeof *a);
  *out = NULL;
  if (a) {
    a->ctx = ctx;
    a->zip.data = data;
    a->zip.size = size;
    a->zip.mapped = mapped;
    const char *slash = strrchr(name, '/');
    a->file = ty_arena_strdup(&a->arena, slash ? slash + 1 : name);
  } else if (mapped) munmap((void *)(uintptr_t)data, size);
  ty_status st = a && a->file ? read_all(a, model) : ty_fail(ctx, TY_NOMEM, "out of memory");
  if (mapped && !st) madvise((void *)(uintptr_t)data, size, MADV_DONTNEED), madvise((void *)(uintptr_t)data, size, MADV_NORMAL); /* weights are read in order */
  if (!st && a->arena.failed) st = ty_fail(ctx, TY_NOMEM, "out of memory");
  if (st) ty_archive_close(a);
  else *out = a;
  return st;
}

ty_status ty_archive_open_memory(ty_ctx *ctx, const void *data, size_t size, const char *name, const char *model, ty_archive **out) {
  return open_bytes(ctx, data, size, false, name, model, out);
}

ty_status ty_archive_open(ty_ctx *ctx, const char *path, const char *model, ty_archive **out) {
  *out = NULL;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is refused below, not waited for */
  struct stat st;
  if (fd < 0 || fstat(fd, &st)) {
    int e = errno;
    if (fd >= 0) close(fd);
    return ty_fail(ctx, TY_IO, "%s: %s", path, strerror(e));
  }
  if (!S_ISREG(st.st_mode) || st.st_size <= 0) {
    close(fd);
    return ty_fail(ctx, TY_INVALID, "%s: %s", path, S_ISREG(st.st_mode) ? "the file is empty" : "not a file");
  }
  void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  int e = errno;
  close(fd);
  if (p == MAP_FAILED) return ty_fail(ctx, TY_IO, "%s: it cannot be mapped: %s", path, strerror(e));
  madvise(p, (size_t)st.st_size, MADV_RANDOM); /* a header here and there: what lies between is not read ahead */
  return open_bytes(ctx, p, (size_t)st.st_size, true, path, model, out);
}

void ty_archive_close(ty_archive *a) {
  if (!a) return;
  json_object_put(a->root);
  for (int i = 0; i < 2; i++) json_object_put(a->configs[i]);
  ar_map_free(&a->weights.by_name);
  ar_map_free(&a->constants.by_name);
  ar_zip_close(&a->zip);
  if (a->zip.mapped) munmap((void *)(uintptr_t)a->zip.data, a->zip.size);
  ty_arena_free(&a->arena);
  ty_free(a);
}

const ty_archive_info *ty_archive_look(const ty_archive *a) { return &a->info; }
