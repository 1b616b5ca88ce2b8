/* open.c: the compiling half of the public API: opens archives and deployed models, and compiles for this machine. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "api/model.h"
#include "api/source.h"
#include "rt/artefact.h"

/* ---- opening ---- */
typedef struct opened { ty_ctx *ctx; ty_archive *archive; } opened; /* ctx: an archive needs one as long as it lives */

static ty_status opened_import(ty_ctx *ctx, const void *self, const ty_archive_options *o, ty_imported **out) {
  return ty_archive_import(ctx, ((const opened *)self)->archive, o, out);
}
static void opened_destroy(void *self) {
  opened *o = self;
  ty_archive_close(o->archive);
  ty_ctx_destroy(o->ctx);
  ty_free(o);
}

static ty_status open_archive(ty_ctx *ctx, const char *path, tuyere_model **out) {
  opened *o = ty_alloc(sizeof *o);
  if (o) o->ctx = ty_ctx_create();
  if (!o || !o->ctx) {
    ty_free(o);
    return ty_fail(ctx, TY_NOMEM, "out of memory for an archive");
  }
  ty_status st = ty_archive_open(o->ctx, path, NULL, &o->archive);
  if (st) {
    ty_fail(ctx, st, "%s", ty_ctx_error(o->ctx));
    opened_destroy(o);
    return st;
  }
  return ty_source_model(ctx, (ty_source){opened_import, opened_destroy, o}, out);
}

static ty_status open_model(ty_ctx *ctx, const char *path, tuyere_model **out) {
  char head[4] = {0};
  *out = NULL;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ty_fail(ctx, TY_IO, "%s: %s", path, strerror(errno));
  ssize_t n = read(fd, head, sizeof head);
  int why = errno;
  close(fd);
  if (n < 0) return ty_fail(ctx, TY_IO, "%s: %s", path, strerror(why));
  ty_status st;
  if (n == 4 && !memcmp(head, "\x7f" "ELF", 4)) st = ty_artefact_open(ctx, path, out);
  else st = open_archive(ctx, path, out); /* says what is wrong with what is none */
  return st ? ty_note(ctx, st, "while opening %s", path) : st;
}
tuyere_status tuyere_model_open(tuyere_context *c, const char *path, tuyere_model **out) { return (tuyere_status)open_model(ty_ctx_of(c), path, out); }

/* ---- compiling for this machine ---- */
typedef struct compiled { ty_model *model; tuyere_model *archive; } compiled; /* the archive has the parameters that runs read */

static void compiled_destroy(void *self) {
  compiled *c = self;
  ty_model_destroy(c->model);
  tuyere_model_destroy(c->archive);
  ty_free(c);
}
static char *compiled_explain(const void *self) { return ty_model_explain(((const compiled *)self)->model); }
static const ty_model_owner owner = {compiled_destroy, compiled_explain};

typedef struct dropping { const ty_imported *im; } dropping;
static void drop_input(void *user, int input) {
  const ty_imported *im = ((const dropping *)user)->im;
  for (int i = im->nusers; i < im->ninputs; i++)
    if (im->inputs[i].input == input) ty_source_drop(im->inputs[i].data, im->inputs[i].bytes);
}

static ty_status compile(ty_ctx *ctx, const tuyere_model *archive, const tuyere_options *o, const ty_imported *im, ty_graph *g, tuyere_model *m, compiled *c) {
  ty_options opts = {.eager = o->eager, .no_compiler = o->no_compiler, .dump = o->dump, .weights = o->weights, .fpmath = o->fpmath,
                     .tuning = {.threads = o->threads, .sizes = o->sizes_kept, .huge_pages = o->huge_pages}};
  (void)archive;
  TY_TRY(ty_model_compile(ctx, g, &opts, &c->model));
  const ty_graph *now = ty_model_graph(c->model);
  m->program = ty_model_program(c->model);
  m->inputs = ty_source_inputs(im, now);
  if (!m->inputs) return ty_fail(ctx, TY_NOMEM, "out of memory for a model");
  TY_TRY(ty_source_face(ctx, im, now, m->program, &m->face));
  return ty_program_fold(m->program, ctx, m->inputs, drop_input, &(dropping){im});
}

static ty_status compile_model(ty_ctx *ctx, const tuyere_model *archive, const tuyere_options *o, tuyere_model **out) {
  static const tuyere_options none;
  *out = NULL;
  if (!o) o = &none;
  const ty_source *s = ty_source_of(archive);
  if (!s) return ty_fail(ctx, TY_INVALID, "the model is compiled already");
  ty_arena tmp = {0};
  ty_archive_options fix;
  ty_imported *im = NULL;
  ty_status st = ty_source_fixes(ctx, o->fixed, &tmp, &fix);
  if (!st) st = s->import(ctx, s->self, &fix, &im);
  compiled *c = !st ? ty_alloc(sizeof *c) : NULL;
  tuyere_model *m = c ? ty_model_new(&owner, c) : NULL;
  if (!st && !m) st = ty_fail(ctx, TY_NOMEM, "out of memory for a model");
  if (m) {
    c->archive = ty_model_hold((tuyere_model *)(uintptr_t)archive);
    ty_graph *g = im->graph;
    im->graph = NULL;
    st = compile(ctx, archive, o, im, g, m, c);
    if (st) tuyere_model_destroy(m);
    else *out = m;
  } else ty_free(c);
  ty_imported_destroy(im);
  ty_arena_free(&tmp);
  return st;
}
tuyere_status tuyere_model_compile(tuyere_context *c, const tuyere_model *archive, const tuyere_options *o, tuyere_model **out) {
  return (tuyere_status)compile_model(ty_ctx_of(c), archive, o, out);
}
