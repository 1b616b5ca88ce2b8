/* tune.c: convolutions run once by each kind of kernel that could do them, and the fastest kind is written into the graph. */
#include "api/tune.h"
#include <string.h>
#include "emit/cache.h"
#include "ops/ops.h"
#include "rt/pool.h"
#include "sched/sched.h"

enum { ROUNDS = 7, FLUSH = 64 << 20, FLOATS_MAX = 1 << 28 };
#define PLAINLY 0.9 /* what is faster than the cost model's choice by less is noise */

typedef struct candidate { ty_conv conv; float *packed; size_t bytes; double seconds; } candidate;
typedef struct trial {
  const ty_kernels *ks;
  const ty_conv *conv;
  float *x; size_t floats;
  char *scratch; size_t stride;
  ty_format format; ty_conv_kind kind; const ty_conv_shape *shape; const float *w; const int64_t *ldw; float *packed;
} trial;

static void run_conv(void *ctx, int tid, int nt) {
  const trial *t = ctx;
  ty_conv_f32(t->ks, t->conv, tid, nt, t->scratch + (size_t)tid * t->stride);
}

/* The input comes from the layer before: it is in the caches. */
static void make_input(void *ctx, int tid, int nt) {
  const trial *t = ctx;
  size_t end = t->floats / (size_t)nt * (size_t)(tid + 1);
  for (size_t i = t->floats / (size_t)nt * (size_t)tid; i < end; i++) t->x[i] = (float)(i % 61) * 0.03f - 0.9f;
}

static void pack(void *ctx, int tid, int nt) {
  const trial *t = ctx;
  ty_pack_conv(t->format, t->ks->nr, t->kind, t->shape, t->w, t->ldw, t->packed, tid, nt);
}

/* Sizes of a convolution that a graph computes; symbols as they were when it was captured. */
static void sizes(ty_graph *g, const ty_node *n, ty_conv *c) {
  const ty_value *x = n->args[0].value, *o = n->outs[0];
  int dims = x->rank - 2;
  int64_t channels = c->s.groups * c->s.c, outs = c->s.groups * c->s.o;
  c->batch = ty_dim_hint(g, x->shape[0]);
  for (int i = 0; i < 3; i++) {
    int d = i - (3 - dims);
    c->in[i] = d < 0 ? 1 : ty_dim_hint(g, x->shape[1 + d]);
    c->out[i] = d < 0 ? 1 : ty_dim_hint(g, o->shape[1 + d]);
    if (d >= 0) ty_dim_is_const(g, n->args[5].ints[d], &c->pad[i]);
  }
  c->x_s[2] = channels, c->x_s[1] = c->in[2] * channels, c->x_s[0] = c->in[1] * c->x_s[1], c->x_n = c->in[0] * c->x_s[0];
  c->y_s[2] = outs, c->y_s[1] = c->out[2] * outs, c->y_s[0] = c->out[1] * c->y_s[1], c->y_n = c->out[0] * c->y_s[0];
}

static ty_hash about(const ty_conv *c, ty_format format, int nt) {
  const ty_cpu *cpu = ty_cpu_get();
  int64_t key[] = { 1, cpu->isa, cpu->l1d, cpu->l2, cpu->l3, nt, format, c->s.groups, c->s.c, c->s.o, c->s.k[0], c->s.k[1], c->s.k[2], c->s.stride[0], c->s.stride[1],
                    c->s.stride[2], c->s.dil[0], c->s.dil[1], c->s.dil[2], c->batch, c->in[0], c->in[1], c->in[2], c->pad[0], c->pad[1], c->pad[2] };
  return ty_hash_bytes(key, sizeof key, (ty_hash){ 0, 0 });
}

/* Times the candidates in turn, each with its weights out of the caches; the least of a few rounds counts. */
static bool measure(const ty_kernels *ks, candidate *c, int n) {
  const ty_conv *v = &c->conv;
  int64_t ldw[5] = { v->s.c * v->s.k[0] * v->s.k[1] * v->s.k[2], v->s.k[0] * v->s.k[1] * v->s.k[2], v->s.k[1] * v->s.k[2], v->s.k[2], 1 };
  size_t nx = (size_t)(v->batch * v->x_n), ny = (size_t)(v->batch * v->y_n), nw = (size_t)(v->s.groups * v->s.o * ldw[0]);
  if (nx > FLOATS_MAX || ny > FLOATS_MAX || nw > FLOATS_MAX) return false;
  size_t bytes = (nx + ny + nw) * sizeof(float) + FLUSH, stride = 64;
  for (int i = 0; i < n; i++) {
    size_t need = ty_conv_f32_scratch(ks, &c[i].conv);
    if (need > stride) stride = (need + 127) & ~(size_t)127;
  }
  size_t room = stride * (size_t)ty_pool_threads();
  float *x = ty_pages_alloc(bytes);
  char *scratch = ty_pages_alloc(room);
  bool ok = x && scratch;
  trial t = { .ks = ks, .x = x, .floats = nx, .scratch = scratch, .stride = stride, .shape = &v->s, .ldw = ldw };
  for (int i = 0; i < n && ok; i++) {
    float *w = x + nx + ny;
    for (size_t k = 0; k < nw; k++) w[k] = (float)(k % 53) * 0.01f - 0.26f;
    t.format = c[i].conv.format, t.kind = c[i].conv.kind, t.w = w;
    c[i].bytes = (size_t)ty_packed_conv_words(t.format, ks->nr, t.kind, &v->s) * sizeof(float);
    c[i].packed = t.packed = ty_pages_alloc(c[i].bytes);
    if (!(ok = t.packed)) break;
    ty_pool_run(pack, &t, 0);
    c[i].conv.x = x, c[i].conv.y = x + nx, c[i].conv.b = t.packed, c[i].seconds = 1e30;
  }
  for (int r = 0; r < ROUNDS && ok; r++)
    for (int i = 0; i < n; i++) {
      memset(x + nx + ny + nw, r, FLUSH);
      ty_pool_run(make_input, &t, 0);
      t.conv = &c[i].conv;
      double start = ty_now();
      ty_pool_run(run_conv, &t, 0);
      double took = ty_now() - start;
      if (took < c[i].seconds) c[i].seconds = took;
    }
  for (int i = 0; i < n; i++) ty_pages_free(c[i].packed, c[i].bytes);
  ty_pages_free(scratch, room);
  ty_pages_free(x, bytes);
  return ok;
}

static void tune(ty_ctx *ctx, ty_graph *g, const ty_node *n, ty_node *packing) {
  const ty_kernels *ks = ty_kernels_get(ty_cpu_get()->isa);
  candidate c[TY_CONV_KINDS] = { 0 };
  ty_conv conv = { 0 };
  ty_format wanted = TY_FORMAT_f32, unused;
  char word[32];
  int count = 0, best = 0;
  ty_conv_kind kind, modelled;
  conv.s = ty_sched_conv(g, ks->isa, packing, &modelled, &unused);
  ty_format_parse(packing->args[5].str, &wanted);
  wanted = ty_format_on(ks->isa, wanted);
  sizes(g, n, &conv);
  for (int k = 0; k < TY_CONV_KINDS; k++) {
    if (!ty_conv_may((ty_conv_kind)k, &conv.s)) continue;
    c[count].conv = conv;
    c[count].conv.kind = (ty_conv_kind)k;
    c[count++].conv.format = ty_conv_format(ks->isa, wanted, (ty_conv_kind)k, &conv.s);
  }
  if (count < 2) return;
  ty_hash key = about(&conv, wanted, ty_pool_threads());
  if (!ty_cache_recall(ctx, key, word, sizeof word) || !ty_conv_kind_parse(word, &kind) || !ty_conv_may(kind, &conv.s)) {
    if (!measure(ks, c, count)) return; /* no room: what the model of costs says stays */
    for (int i = 0; i < count; i++)
      if (c[i].conv.kind == modelled) c[i].seconds *= PLAINLY;
    for (int i = 1; i < count; i++)
      if (c[i].seconds < c[best].seconds) best = i;
    kind = c[best].conv.kind;
    ty_cache_remember(ctx, key, ty_conv_kind_names[kind]);
  }
  packing->args[6] = (ty_arg){ .kind = TY_ARG_STR, .str = ty_conv_kind_names[kind] };
}

void ty_tune_convs(ty_ctx *ctx, ty_graph *g) {
  for (ty_node *n = g->first; n && !g->eager; n = n->next) {
    ty_node *packing = n->op == TY_OP_conv_packed ? n->args[1].value->def : NULL;
    bool known = packing && packing->op == TY_OP_conv_pack && packing->args[6].kind == TY_ARG_NONE;
    for (int i = 0; known && i < packing->args[4].n; i++) known = !ty_dim_is(g, packing->args[4].ints[i], 0);
    if (known) tune(ctx, g, n, packing);
  }
}
