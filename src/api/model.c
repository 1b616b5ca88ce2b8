/* model.c: the pipeline behind every door: passes, schedule, emitted kernels, and what explain shows of them. */
#include "api/model.h"
#include "api/tune.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "emit/cache.h"
#include "emit/cc.h"
#include "emit/emit.h"
#include "ops/ops.h"
#include "pass/pass.h"
#include "rt/pool.h"
#include "sched/sched.h"

typedef struct ty_stage { const char *name; double seconds; int nodes; } ty_stage;
struct ty_model {
  ty_graph *graph;
  ty_sched *sched;
  int nsyms;
  TY_VEC(ty_stage) stages;
  ty_cache_entry *entries; int nentries, nbuilt;
  ty_str operators;   /* JSON object: ATen operator -> count, as they came */
  char compiler[1200]; /* what compiled the loops, or why none did */
  double seconds;
};

static void json_text(ty_str *o, const char *s) {
  ty_str_add(o, "\"");
  for (; s && *s; s++) {
    if (*s == '"' || *s == '\\') ty_str_add(o, "\\%c", *s);
    else if (*s == '\n') ty_str_add(o, "\\n");
    else if ((unsigned char)*s < 32) ty_str_add(o, " ");
    else ty_str_add(o, "%c", *s);
  }
  ty_str_add(o, "\"");
}

static void count_operators(ty_model *m) {
  int *count = ty_alloc(sizeof(int) * TY_NOP);
  if (!count) return;
  for (ty_node *n = m->graph->first; n; n = n->next) count[n->op]++;
  ty_str_add(&m->operators, "{");
  for (int i = 0, k = 0; i < TY_NOP; i++)
    if (count[i]) ty_str_add(&m->operators, "%s\"%s\": %d", k++ ? ", " : "", ty_op_get(i)->name, count[i]);
  ty_str_add(&m->operators, "}");
  ty_free(count);
}

static bool listed(const char *list, const char *name) {
  if (!list || !*list) return false;
  size_t n = strlen(name);
  for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
    if ((!strncmp(p, name, n) && (p[n] == ',' || !p[n])) || !strncmp(p, "all", 3)) return true;
  return false;
}

static void stage(ty_model *m, const char *name, double since) {
  TY_PUSH(&m->stages, ((ty_stage){ name, ty_now() - since, m->graph->nnodes }));
}

static ty_status passes(ty_ctx *ctx, ty_model *m, const ty_options *o) {
  const char *dump = o->dump ? o->dump : getenv("TUYERE_DUMP");
  for (int i = 0; i < ty_npasses; i++) {
    if (m->graph->eager && ty_passes[i].fused_only) continue;
    double t = ty_now();
    ty_status st = ty_passes[i].run(m->graph);
    if (m->graph->arena.failed) st = ty_fail(ctx, TY_NOMEM, "out of memory"); /* whatever a pass made of it */
    if (st) return ty_note(ctx, st, "in pass %s", ty_passes[i].name);
    stage(m, ty_passes[i].name, t);
#ifndef NDEBUG
    if ((st = ty_graph_verify(m->graph))) return ty_note(ctx, st, "after pass %s", ty_passes[i].name);
#endif
    if (!listed(dump, ty_passes[i].name)) continue;
    ty_str s = { 0 };
    ty_graph_print(m->graph, &s);
    ty_log(ctx, "# after %s\n%s", ty_passes[i].name, s.p ? s.p : "");
    ty_str_free(&s);
  }
  return TY_OK;
}

static void symbol_of(const ty_loop *l, char out[64]) {
  char hex[33];
  ty_hash_hex(l->hash, hex);
  strcpy(out, "ty_k_");
  memcpy(out + 5, hex, 32);
  out[37] = 0;
}

/* Compiles the loops that runs call. Failing is no failure: they stay interpreted, and the reason is kept and said once. */
static void compile_loops(ty_ctx *ctx, ty_model *m, const ty_options *o) {
  int n = 0, total = m->sched->loops.n;
  for (int i = 0; i < total; i++) n += m->sched->loops.p[i].compile;
  if (!n) { strcpy(m->compiler, "no loops to compile"); return; }
  if (o->no_compiler) { strcpy(m->compiler, "none (asked for): loops run interpreted"); return; }
  ty_cache_kernel *k = ty_alloc(sizeof *k * (size_t)n);
  ty_str *text = ty_alloc(sizeof *text * (size_t)n);
  char (*sym)[64] = ty_alloc(sizeof *sym * (size_t)n);
  const ty_loop **loops = ty_alloc(sizeof *loops * (size_t)n);
  m->entries = ty_alloc(sizeof *m->entries * (size_t)n);
  ty_status st = k && text && sym && loops && m->entries ? TY_OK : TY_NOMEM;
  int j = 0;
  for (int i = 0; i < total && !st; i++) {
    if (!m->sched->loops.p[i].compile) continue;
    const ty_loop *l = loops[j] = m->sched->loops.p[i].loop;
    symbol_of(l, sym[j]);
    ty_emit_loop(l, sym[j], &text[j]);
    if (text[j].failed) st = TY_NOMEM;
    k[j] = (ty_cache_kernel){ sym[j], text[j].p };
    j++;
  }
  ty_cache_opts opts = { .header = ty_emit_prelude(), .abi = TY_ABI_VERSION, .isa = ty_cpu_get()->isa, .zig = o->python, .jobs = ty_pool_default_threads() };
  if (!st) st = ty_cache_build(ctx, &opts, n, k, m->entries);
  if (!st) {
    m->nentries = n;
    for (int i = 0; i < n; i++) {
      ty_program_set_fn(m->sched->program, loops[i], (ty_loop_fn)m->entries[i].fn);
      m->nbuilt += m->entries[i].built;
    }
    ty_cc cc;
    ty_cc_id id;
    if (!m->nbuilt) strcpy(m->compiler, "cached");
    else if (!ty_cc_find(ctx, o->python, &cc)) snprintf(m->compiler, sizeof m->compiler, "%.1100s", ty_cc_identity(ctx, &cc, &id) ? cc.text : id.version);
    ty_ctx_clear(ctx);
  } else {
    if (st == TY_NOMEM) ty_fail(ctx, st, "out of memory");
    snprintf(m->compiler, sizeof m->compiler, "none: loops run interpreted (%.1000s)", ty_ctx_error(ctx));
    static atomic_bool said;
    if (!atomic_exchange(&said, true)) ty_log(ctx, "no compiled kernels: %s. The model runs from the library's own kernels, slower.", ty_ctx_error(ctx));
    ty_ctx_clear(ctx);
  }
  for (int i = 0; text && i < n; i++) ty_str_free(&text[i]);
  ty_free(k);
  ty_free(text);
  ty_free(sym);
  ty_free(loops);
}

/* A mistake in the environment is said, and no error. */
static ty_status choose_format(ty_ctx *ctx, const ty_options *o, ty_graph *g) {
  const char *own = getenv("TUYERE_FPMATH"), *theirs = getenv("DNNL_DEFAULT_FPMATH_MODE");
  ty_format f = TY_FORMAT_f32;
  if (o->fpmath) {
    if (!ty_format_parse(o->fpmath, &f) || ty_formats[f].bits < 16) return ty_fail(ctx, TY_INVALID, "fpmath is \"f32\" or \"bf16\", not \"%.40s\"", o->fpmath);
  } else if (own && *own) {
    if (!ty_format_parse(own, &f) || ty_formats[f].bits < 16) f = TY_FORMAT_f32, ty_log(ctx, "TUYERE_FPMATH=%.40s ignored (known: f32, bf16)", own);
  } else if (theirs && (!strcasecmp(theirs, "BF16") || !strcasecmp(theirs, "ANY"))) f = TY_FORMAT_bf16;
  g->format = ty_formats[f].name;
  if (o->weights && (!ty_format_parse(o->weights, &f) || ty_formats[f].bits > 8))
    return ty_fail(ctx, TY_INVALID, "weights are \"int8\", \"int8wo\", \"int4\", \"int4g32\" or \"int4g128\", not \"%.40s\"", o->weights);
  g->weights = o->weights && !g->eager ? ty_formats[f].name : NULL;
  return TY_OK;
}

ty_status ty_model_compile(ty_ctx *ctx, ty_graph *g, const ty_options *opts, ty_model **out) {
  static const ty_options none;
  if (!opts) opts = &none;
  ty_model *m = ty_alloc(sizeof *m);
  if (!m) { ty_graph_destroy(g); return ty_fail(ctx, TY_NOMEM, "no memory for a model"); }
  m->graph = g;
  while (m->nsyms < ty_dim_nsyms(g) && ty_dim_sym(g, m->nsyms)->extent < 0) m->nsyms++; /* indices of maps come after them */
  g->eager = opts->eager;
  double t0 = ty_now();
  count_operators(m);
  ty_status st = choose_format(ctx, opts, g);
  if (!st) st = passes(ctx, m, opts);
  double t = ty_now();
  if (!st && opts->max_autotune && !opts->levels) {
    ty_tune_convs(ctx, g);
    stage(m, "tune", t);
    t = ty_now();
  }
  if (!st) st = ty_schedule(ctx, g, opts->levels, &m->sched);
  if (!st) {
    ty_program_tune(m->sched->program, &opts->tuning);
    stage(m, "schedule", t);
    t = ty_now();
    compile_loops(ctx, m, opts);
    stage(m, "compile", t);
  }
  m->seconds = ty_now() - t0;
  if (st) { ty_model_destroy(m); return st; }
  *out = m;
  return TY_OK;
}

void ty_model_destroy(ty_model *m) {
  if (!m) return;
  ty_sched_destroy(m->sched);
  if (m->nentries) ty_cache_release(m->entries, m->nentries);
  ty_free(m->entries);
  TY_VEC_FREE(&m->stages);
  ty_str_free(&m->operators);
  ty_graph_destroy(m->graph);
  ty_free(m);
}

int ty_model_nloops(const ty_model *m) {
  int n = 0;
  for (int i = 0; i < m->sched->loops.n; i++) n += m->sched->loops.p[i].compile;
  return n;
}
const ty_loop *ty_model_loop(const ty_model *m, int at) {
  for (int i = 0; i < m->sched->loops.n; i++)
    if (m->sched->loops.p[i].compile && at-- == 0) return m->sched->loops.p[i].loop;
  return NULL;
}
ty_program *ty_model_program(ty_model *m) { return m->sched->program; }
const ty_graph *ty_model_graph(const ty_model *m) { return m->graph; }
int ty_model_nsyms(const ty_model *m) { return m->nsyms; }
int ty_model_noutputs(const ty_model *m) { return m->graph->outputs.n; }
double ty_model_seconds(const ty_model *m) { return m->seconds; }
void ty_model_get_output(const ty_model *m, int i, ty_model_output *o) {
  const ty_value *v = m->graph->outputs.p[i];
  *o = (ty_model_output){ v->dtype, v->rank, v->shape };
}

char *ty_model_source(const ty_model *m) {
  ty_str s = { 0 };
  for (int i = 0; i < m->sched->loops.n; i++) {
    char sym[64];
    if (!m->sched->loops.p[i].compile) continue;
    symbol_of(m->sched->loops.p[i].loop, sym);
    ty_emit_loop(m->sched->loops.p[i].loop, sym, &s);
  }
  if (s.failed) { ty_str_free(&s); return NULL; }
  return s.p ? s.p : ty_alloc(1);
}

char *ty_model_explain(const ty_model *m) {
  ty_str s = { 0 };
  ty_str_add(&s, "{\"operators\": %s, \"steps\": [", m->operators.p && !m->operators.failed ? m->operators.p : "{}");
  for (int i = 0; i < m->sched->steps.n; i++) {
    const ty_sched_step *p = &m->sched->steps.p[i];
    ty_str_add(&s, "%s{\"name\": ", i ? ", " : "");
    json_text(&s, p->name);
    ty_str_add(&s, ", \"kernel\": ");
    json_text(&s, p->kernel);
    ty_str_add(&s, ", \"fused\": ");
    json_text(&s, p->fused);
    ty_str_add(&s, ", \"declined\": ");
    json_text(&s, p->declined);
    ty_str_add(&s, ", \"fold\": %s, \"loop\": %d", p->fold ? "true" : "false", p->loop);
    ty_step_stat stat;
    ty_program_stat(m->sched->program, i, &stat);
    if (stat.error > 0 && stat.error < 1e30) ty_str_add(&s, ", \"error\": %.3g", stat.error);
    ty_str_add(&s, "}");
  }
  ty_str_add(&s, "], \"passes\": [");
  for (int i = 0; i < m->stages.n; i++)
    ty_str_add(&s, "%s{\"name\": \"%s\", \"seconds\": %.6f, \"nodes\": %d}", i ? ", " : "", m->stages.p[i].name, m->stages.p[i].seconds, m->stages.p[i].nodes);
  ty_memory mem = { 0 };
  ty_program_memory(m->sched->program, &mem);
  ty_str_add(&s, "], \"compile\": {\"seconds\": %.6f, \"loops\": %d, \"built\": %d}, \"compiler\": ", m->seconds, m->sched->loops.n, m->nbuilt);
  json_text(&s, m->compiler);
  ty_format format = TY_FORMAT_f32;
  ty_format_parse(m->graph->format, &format);
  ty_isa isa = ty_cpu_get()->isa;
  const ty_products *by = ty_products_get(ty_kernels_get(isa), ty_format_on(isa, format));
  ty_str_add(&s, ", \"fpmath\": \"%s%s\"", m->graph->format,
             format == TY_FORMAT_f32 ? "" : by->words ? ": products of bf16 pairs, sums in float32" : ": weights are bf16; this CPU multiplies no bf16, products are float32");
  ty_str_add(&s, ", \"isa\": \"%s\", \"memory\": {\"arena\": %zu, \"arena_naive\": %zu, \"arena_live\": %zu, \"state\": %zu, \"literals\": %zu, \"buffers\": %d, \"barriers\": %d, \"steps\": %d}}",
             ty_cpu_get()->isa_name, mem.arena, mem.arena_naive, mem.arena_live, mem.state, mem.literals, mem.buffers, mem.barriers, mem.steps);
  if (s.failed) { ty_str_free(&s); return NULL; }
  return s.p;
}
