/* deploy.c: an archive to a shared object, its packed weights and its header. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/deploy.h"
#include "api/source.h"
#include "artefact_text.h"
#include "emit/emit.h"
#include "kernel/kernel.h"
#include "loop/loop.h"
#include "rt/artefact.h"
#include "rt/pool.h"
#include "rt/save.h"

/* ---- the target ---- */
static bool runtime_in(const char *dir, size_t n, const char *below, const char *file, char *out, size_t size) {
  struct stat st;
  return (size_t)snprintf(out, size, "%.*s%s/%s", (int)n, dir, below, file) < size && !stat(out, &st) && S_ISREG(st.st_mode);
}

static ty_status find_runtime(ty_ctx *ctx, ty_arch arch, char *out, size_t size) {
  static const char *const below[] = {"", "/tuyere", "/../lib", "/../lib/tuyere", "/..", "/../.."};
  const char *env = getenv("TUYERE_RT");
  Dl_info info;
  char self[4096], file[64] = "libtuyere_rt.a", how[128] = "";
  if (arch != TY_ARCH_HERE) {
    snprintf(file, sizeof file, "libtuyere_rt-%s.a", ty_arch_name(arch));
    snprintf(how, sizeof how, ". `./dev cross %s` in tuyere's sources makes it", ty_arch_name(arch));
  }
  if (env && *env) return runtime_in(env, strlen(env), "", file, out, size) ? TY_OK : ty_fail(ctx, TY_IO, "TUYERE_RT: no %s in %s%s", file, env, how);
  for (int exe = 0; exe < 2; exe++) { /* beside the library that this is part of, then beside the program */
    ssize_t n = exe ? readlink("/proc/self/exe", self, sizeof self - 1) : -1;
    if (n > 0) self[n] = 0;
    const char *path = exe ? n > 0 ? self : NULL : dladdr((void *)(uintptr_t)ty_target_find, &info) ? info.dli_fname : NULL;
    const char *end = path ? strrchr(path, '/') : NULL;
    for (size_t i = 0; end && i < sizeof below / sizeof *below; i++)
      if (runtime_in(path, (size_t)(end - path), below[i], file, out, size)) return TY_OK;
  }
  if (runtime_in(TUYERE_LIBDIR, strlen(TUYERE_LIBDIR), "", file, out, size)) return TY_OK;
  return ty_fail(ctx, TY_IO, "%s is neither beside this library nor in %s: set TUYERE_RT to its directory%s", file, TUYERE_LIBDIR, how);
}

static const char known[] = ""
#define TY_ISA(id, name, arch) " " #name
#define TY_TARGET(name, isa, arch) " " name
#include "base/isa.def"
#undef TY_ISA
#undef TY_TARGET
  ;

/* A level by its own name, or by that of a CPU. */
static bool level_parse(const char *word, ty_isa *isa, ty_arch *arch) {
  static const struct { const char *name; ty_isa isa; ty_arch arch; } cpus[] = {
#define TY_TARGET(name, isa, arch) {name, isa, arch},
#include "base/isa.def"
#undef TY_TARGET
  };
  if (ty_isa_parse(word, isa)) return *arch = ty_isa_arch(*isa), true;
  for (size_t i = 0; i < sizeof cpus / sizeof *cpus; i++)
    if (!strcmp(word, cpus[i].name)) return *isa = cpus[i].isa, *arch = cpus[i].arch, true;
  return false;
}

ty_status ty_target_find(ty_ctx *ctx, const char *levels, ty_target *t) {
  memset(t, 0, sizeof *t);
  bool want[TY_NISA] = {false};
  for (const char *p = levels; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
    char word[32];
    ty_isa isa;
    ty_arch arch;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(p, ","), p);
    if (!level_parse(word, &isa, &arch)) return ty_fail(ctx, TY_INVALID, "'%s' is not a CPU level; known are%s", word, known);
    if (arch && t->arch && arch != t->arch)
      return ty_fail(ctx, TY_INVALID, "'%s' is a level of %s, and others are of %s: one model is for one of them", word, ty_arch_name(arch), ty_arch_name(t->arch));
    if (arch) t->arch = arch;
    want[isa] = true;
  }
  if (!t->arch) t->arch = TY_ARCH_HERE;
  for (int i = 0; i < TY_NISA; i++)
    if (want[i] || (!levels && ty_kernels_get((ty_isa)i)->isa == (ty_isa)i)) t->levels[t->nlevels++] = (ty_isa)i;
  TY_TRY(find_runtime(ctx, t->arch, t->runtime, sizeof t->runtime));
  return t->arch == TY_ARCH_HERE ? ty_cc_find(ctx, NULL, &t->cc) : ty_cc_find_cross(ctx, t->arch, &t->cc);
}

/* ---- files ---- */
typedef struct deploy {
  ty_ctx *ctx;
  ty_target target;
  const char *prefix, *name;
  char dir[64];              /* private, for what is compiled */
  ty_imported *im;
  ty_model *model;
  ty_face face;
  ty_writer saved;
  void **inputs;
  int fd;
  size_t bytes;              /* of weights */
  int64_t *state_at;
  char *map;                 /* the weights file */
  size_t mapped;
  ty_weights_head head;
} deploy;

static ty_status write_all(ty_ctx *ctx, const char *path, const void *data, size_t n) {
  FILE *f = fopen(path, "wbe");
  bool ok = f && fwrite(data, 1, n, f) == n;
  int why = errno;
  if (f && fclose(f)) ok = false, why = errno;
  return ok ? TY_OK : ty_fail(ctx, TY_IO, "%s: %s", path, strerror(why));
}

static ty_status write_text(ty_ctx *ctx, const char *path, const ty_str *s) {
  return s->failed || !s->p ? ty_fail(ctx, TY_NOMEM, "out of memory for the text of %s", path) : write_all(ctx, path, s->p, s->n);
}

typedef char path[4352];
static void file_of(const deploy *d, path out, const char *ending) { snprintf(out, sizeof(path), "%s%s", d->prefix, ending); }
static void temporary(const deploy *d, path out, const char *name) { snprintf(out, sizeof(path), "%s/%s", d->dir, name); }

/* ---- weights ---- */
static void drop_input(void *user, int input) {
  const deploy *d = user;
  for (int i = d->im->nusers; i < d->im->ninputs; i++)
    if (d->im->inputs[i].input == input) ty_source_drop(d->im->inputs[i].data, d->im->inputs[i].bytes);
}

/* Maps PREFIX.weights.part with room on the disk for all of it, so that writing to memory cannot fail. */
static ty_status map_weights(deploy *d) {
  path part;
  file_of(d, part, ".weights.part");
  d->mapped = TY_WEIGHTS_PAGE + d->bytes;
  d->fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (d->fd < 0) return ty_fail(d->ctx, TY_IO, "%s: %s", part, strerror(errno));
  int e = posix_fallocate(d->fd, 0, (off_t)d->mapped);
  if (e) return ty_fail(d->ctx, TY_IO, "%s: no room for %zu bytes: %s", part, d->mapped, strerror(e));
  void *p = mmap(NULL, d->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd, 0);
  if (p == MAP_FAILED) return ty_fail(d->ctx, TY_IO, "%s: %s", part, strerror(errno));
  d->map = p;
  return TY_OK;
}

static int loop_number(void *user, const void *self) {
  const deploy *d = user;
  for (int i = 0;; i++) {
    const ty_loop *l = ty_model_loop(d->model, i);
    if (!l || l == self) return l ? i : -1;
  }
}

/* Where all that runs read will lie: folded state, parameters, first contents of state; and the program that says so. */
static ty_status save_program(deploy *d) {
  ty_program *p = ty_model_program(d->model);
  int n = d->face.program_inputs;
  bool *keep = ty_alloc((size_t)n * sizeof *keep);
  d->state_at = ty_alloc((size_t)d->face.nstates * sizeof *d->state_at);
  if (!keep || !d->state_at) return ty_free(keep), ty_fail(d->ctx, TY_NOMEM, "out of memory");
  for (int i = 0; i < n; i++) keep[i] = d->inputs[i] != NULL;
  ty_status st = ty_program_weights_size(p, d->ctx, keep, &d->bytes);
  ty_free(keep);
  TY_TRY(st);
  for (int i = 0; i < d->face.nstates; i++) { /* mapped, each of them: the sum is far from overflow */
    d->state_at[i] = (int64_t)d->bytes;
    d->bytes += (d->face.states[i].bytes + 63) / 64 * 64;
  }
  TY_TRY(ty_program_save(p, d->ctx, &d->saved, loop_number, d));
  ty_face_put(&d->saved, &d->face, d->state_at);
  return d->saved.failed ? ty_fail(d->ctx, TY_NOMEM, "out of memory") : TY_OK;
}

static ty_status write_weights(deploy *d) {
  TY_TRY(map_weights(d));
  char *to = d->map + TY_WEIGHTS_PAGE;
  TY_TRY(ty_program_weights_write(ty_model_program(d->model), d->ctx, to, d->inputs, drop_input, d));
  for (int i = 0; i < d->face.nstates; i++) memcpy(to + d->state_at[i], d->face.states[i].like.data, d->face.states[i].bytes);
  /* The identity: of the program, and of a line of each page of weights. */
  ty_hash h = ty_hash_bytes(d->saved.to.p, (size_t)d->saved.to.n, (ty_hash){d->bytes, 1});
  for (size_t i = 0; i < d->bytes; i += 4096) h = ty_hash_bytes(to + i, d->bytes - i < 64 ? d->bytes - i : 64, h);
  d->head = (ty_weights_head){.magic = {'T', 'Y', 'W', 'E', 'I', 'G', 'H', 'T'}, .format = TY_SAVE_FORMAT, .page = TY_WEIGHTS_PAGE, .bytes = d->bytes};
  memcpy(d->head.id, &h, sizeof d->head.id);
  memcpy(d->map, &d->head, sizeof d->head);
  return TY_OK;
}

/* ---- code ---- */
static void level_text(deploy *d, ty_isa isa, ty_str *o) {
  const char *tier = ty_isa_name(isa);
  int n = ty_model_nloops(d->model);
  ty_str_add(o, "%s", ty_emit_prelude());
  for (int i = 0; i < n; i++) {
    char fn[64];
    snprintf(fn, sizeof fn, "ty_loop_%d_%s", i, tier);
    ty_emit_loop(ty_model_loop(d->model, i), fn, o);
  }
  ty_str_add(o, "extern const ty_loop_fn ty_level_%s[];\nconst ty_loop_fn ty_level_%s[] = {", tier, tier);
  for (int i = 0; i < n; i++) ty_str_add(o, "ty_loop_%d_%s, ", i, tier);
  ty_str_add(o, "0};\n");
}

static void main_text(deploy *d, const char *saved, ty_str *o) {
  ty_str_add(o, "%s\n", ty_artefact_text);
  ty_str_add(o, "__asm__(\".section .rodata,\\\"a\\\"\\n.balign 64\\n.globl ty_saved\\n.hidden ty_saved\\nty_saved:\\n.incbin \\\"%s\\\"\\n.previous\\n\");\n", saved);
  ty_str_add(o, "extern const unsigned char ty_saved[] __attribute__((visibility(\"hidden\")));\n");
  for (int i = 0; i < d->target.nlevels; i++)
    ty_str_add(o, "extern const ty_loop_fn ty_level_%s[] __attribute__((visibility(\"hidden\")));\n", ty_isa_name(d->target.levels[i]));
  ty_str_add(o, "static const ty_artefact_level levels[] = {");
  for (int i = 0; i < d->target.nlevels; i++) ty_str_add(o, "{%d, ty_level_%s}, ", (int)d->target.levels[i], ty_isa_name(d->target.levels[i]));
  ty_str_add(o, "};\nextern const ty_artefact tuyere_artefact;\n__attribute__((visibility(\"default\"))) const ty_artefact tuyere_artefact = {\n");
  ty_str_add(o, "  \"TYMODEL\", %d, TY_ENTRY_CALLS, ty_entry_calls, \"%s\", \"%s\", ty_saved, %d, {", TY_SAVE_FORMAT, tuyere_version(), d->name, d->saved.to.n);
  for (size_t i = 0; i < sizeof d->head.id; i++) ty_str_add(o, "%d, ", d->head.id[i]);
  ty_str_add(o, "}, %lluULL, %d, %d, levels};\n", (unsigned long long)d->head.bytes, ty_model_nloops(d->model), d->target.nlevels);
  ty_format format;
  const char *symbol;
  for (int i = 0; (symbol = ty_products_symbol(i, &format)); i++)
    if (format != TY_FORMAT_f32 && !ty_program_has_format(ty_model_program(d->model), format))
      ty_str_add(o, "extern const int %s;\n__attribute__((weak, visibility(\"hidden\"))) const int %s = -1;\n", symbol, symbol);
  ty_header_entries(d->name, &d->face, o);
}

static void object_of(const deploy *d, int level, path out) {
  char name[64];
  snprintf(name, sizeof name, "%s.o", ty_isa_name(d->target.levels[level]));
  temporary(d, out, name);
}

static ty_status compile_levels(deploy *d, ty_ctx *ctx) {
  path src[TY_NISA], obj[TY_NISA];
  ty_cc_job job[TY_NISA];
  ty_status st = TY_OK;
  int n = d->target.nlevels;
  for (int i = 0; i < n && !st; i++) {
    char name[64];
    snprintf(name, sizeof name, "%s.c", ty_isa_name(d->target.levels[i]));
    temporary(d, src[i], name);
    object_of(d, i, obj[i]);
    ty_str s = {0};
    level_text(d, d->target.levels[i], &s);
    st = write_text(ctx, src[i], &s);
    ty_str_free(&s);
    job[i] = (ty_cc_job){.src_path = src[i], .out_path = obj[i], .isa = d->target.levels[i], .object = true};
  }
  return st ? st : ty_cc_compile_all(ctx, &d->target.cc, NULL, job, n, ty_pool_default_threads());
}

/* The compilers work while this thread folds. */
typedef struct compiling { deploy *d; ty_ctx *ctx; ty_status st; pthread_t thread; } compiling;
static void *compiling_main(void *arg) {
  compiling *c = arg;
  c->st = compile_levels(c->d, c->ctx);
  return NULL;
}

static ty_status weights_and_levels(deploy *d) {
  compiling c = {.d = d, .ctx = ty_ctx_create()};
  if (!c.ctx) return ty_fail(d->ctx, TY_NOMEM, "out of memory");
  bool started = !pthread_create(&c.thread, NULL, compiling_main, &c);
  ty_status st = write_weights(d);
  if (started) pthread_join(c.thread, NULL);
  else compiling_main(&c);
  if (!st && c.st) st = ty_fail(d->ctx, c.st, "%s", ty_ctx_error(c.ctx));
  ty_ctx_destroy(c.ctx);
  return st;
}

static ty_status build(deploy *d) {
  path obj[TY_NISA], saved, src, main_o, script, part;
  for (int i = 0; i < d->target.nlevels; i++) object_of(d, i, obj[i]);
  temporary(d, saved, "saved"), temporary(d, src, "main.c"), temporary(d, main_o, "main.o"), temporary(d, script, "exports");
  TY_TRY(write_all(d->ctx, saved, d->saved.to.p, (size_t)d->saved.to.n));
  ty_str s = {0};
  main_text(d, saved, &s);
  ty_status st = write_text(d->ctx, src, &s);
  ty_str_free(&s);
  ty_str_add(&s, "{ global: tuyere_artefact; %s_create; %s_destroy; %s_threads; %s_error; %s_run; local: *; };\n", d->name, d->name, d->name, d->name, d->name);
  if (!st) st = write_text(d->ctx, script, &s);
  ty_str_free(&s);
  TY_TRY(st);
  ty_cc_job job = {.src_path = src, .out_path = main_o, .isa = TY_ISA_PORTABLE, .object = true};
  TY_TRY(ty_cc_compile_all(d->ctx, &d->target.cc, NULL, &job, 1, 1));
  const char *in[TY_NISA + 2];
  int n = 0;
  in[n++] = main_o;
  for (int i = 0; i < d->target.nlevels; i++) in[n++] = obj[i];
  in[n++] = d->target.runtime;
  file_of(d, part, ".so.part");
  return ty_cc_link(d->ctx, &d->target.cc, in, n, script, part);
}

static ty_status publish(deploy *d) {
  path from, to;
  ty_str s = {0};
  ty_header_write(d->name, &d->face, &s);
  file_of(d, from, ".h.part");
  ty_status st = write_text(d->ctx, from, &s);
  ty_str_free(&s);
  static const char *const endings[] = {".weights", ".so", ".h"};
  for (int i = 0; i < 3 && !st; i++) {
    snprintf(from, sizeof from, "%s%s.part", d->prefix, endings[i]);
    file_of(d, to, endings[i]);
    if (rename(from, to)) st = ty_fail(d->ctx, TY_IO, "%s: %s", to, strerror(errno));
  }
  return st;
}

static void clean(deploy *d) {
  static const char *const endings[] = {".weights.part", ".so.part", ".h.part"};
  static const char *const inside[] = {"saved", "main.c", "main.o", "exports",
#define TY_ISA(id, name, arch) #name ".c", #name ".o",
#include "base/isa.def"
#undef TY_ISA
  };
  path p;
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) file_of(d, p, endings[i]), unlink(p);
  for (size_t i = 0; d->dir[0] && i < sizeof inside / sizeof *inside; i++) temporary(d, p, inside[i]), unlink(p);
  if (d->dir[0]) rmdir(d->dir);
  if (d->map) munmap(d->map, d->mapped);
  if (d->fd >= 0) close(d->fd);
  ty_model_destroy(d->model);
  ty_imported_destroy(d->im);
  ty_arena_free(&d->face.mem);
  TY_VEC_FREE(&d->saved.to);
  ty_free(d->inputs);
  ty_free(d->state_at);
}

static ty_status make(deploy *d, const ty_source *s, const tuyere_options *o, const ty_archive_options *fix) {
  TY_TRY(s->import(d->ctx, s->self, fix, &d->im));
  uint32_t levels = 0;
  for (int i = 0; i < d->target.nlevels; i++) levels |= 1u << d->target.levels[i];
  ty_options opts = {.no_compiler = true, .dump = o->dump, .weights = o->weights, .fpmath = o->fpmath, .levels = levels};
  ty_graph *g = d->im->graph;
  d->im->graph = NULL;
  TY_TRY(ty_model_compile(d->ctx, g, &opts, &d->model));
  const ty_graph *now = ty_model_graph(d->model);
  if (!(d->inputs = ty_source_inputs(d->im, now))) return ty_fail(d->ctx, TY_NOMEM, "out of memory");
  TY_TRY(ty_source_face(d->ctx, d->im, now, ty_model_program(d->model), &d->face));
  return TY_OK;
}

/* Entry points are named after it, and so is a type: words of C and C++, and main, cannot be. */
static bool reserved(const char *s) {
  static const char words[] =
    " alignas alignof and asm auto bool break case catch char class const constexpr continue decltype default delete do double else enum explicit "
    "export extern false float for friend goto if inline int long main mutable namespace new not nullptr operator or private protected public "
    "register requires restrict return short signed sizeof static struct switch template this throw true try typedef typename union unsigned "
    "using virtual void volatile while xor ";
  char word[112];
  snprintf(word, sizeof word, " %s ", s);
  return strstr(words, word) != NULL;
}

static bool identifier(const char *s) {
  if (!(*s == '_' || (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z')) || strlen(s) > 100) return false;
  for (; *s; s++)
    if (!(*s == '_' || (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9'))) return false;
  return true;
}

static ty_status deploy_model(ty_ctx *ctx, const tuyere_model *archive, const tuyere_options *o, const char *prefix) {
  static const tuyere_options none;
  if (!o) o = &none;
  const ty_source *s = ty_source_of(archive);
  deploy d = {.ctx = ctx, .prefix = prefix, .fd = -1, .name = strrchr(prefix, '/') ? strrchr(prefix, '/') + 1 : prefix};
  if (!s) return ty_fail(ctx, TY_INVALID, "the model is compiled already: only an archive can be deployed");
  if (!identifier(d.name)) return ty_fail(ctx, TY_INVALID, "'%s' is not a C identifier: it names the entry points of the model", d.name);
  if (reserved(d.name)) return ty_fail(ctx, TY_INVALID, "'%s' is a word of C or C++: it names the entry points of the model", d.name);
  if (strlen(prefix) > 4096) return ty_fail(ctx, TY_INVALID, "the path is too long");
  TY_TRY(ty_target_find(ctx, o->targets, &d.target));
  ty_arena tmp = {0};
  ty_archive_options fix;
  ty_status st = ty_source_fixes(ctx, o->fixed, &tmp, &fix);
  const char *dir = getenv("TMPDIR");
  if (!st && (size_t)snprintf(d.dir, sizeof d.dir, "%s/tuyere-XXXXXX", dir && *dir == '/' && strlen(dir) < 40 && !strpbrk(dir, "\"\\") ? dir : "/tmp") < sizeof d.dir && !mkdtemp(d.dir)) {
    st = ty_fail(ctx, TY_IO, "%s: %s", d.dir, strerror(errno));
    d.dir[0] = 0;
  }
  if (!st) st = make(&d, s, o, &fix);
  if (!st) st = save_program(&d);
  if (!st) st = weights_and_levels(&d);
  if (!st) st = build(&d);
  if (!st) st = publish(&d);
  clean(&d);
  ty_arena_free(&tmp);
  return st;
}

tuyere_status tuyere_model_deploy(tuyere_context *c, const tuyere_model *archive, const tuyere_options *o, const char *prefix) {
  return (tuyere_status)deploy_model(ty_ctx_of(c), archive, o, prefix);
}
