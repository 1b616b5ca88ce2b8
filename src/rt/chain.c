/* chain.c: a product or convolution whose result only the depthwise convolution after it reads is computed a few lines ahead of that one,
 * into the thread's own memory: a large image between them is then never written to memory, nor read from there. Threads share the
 * lines of the second; those around a cut are computed on both sides. */
#include "rt/pool.h"
#include "rt/program_int.h"
#include <string.h>

enum {
  LEAST = 640 << 10,      /* bytes of the result between: less stays in the caches anyway */
  ROOM = 256 << 10,       /* of it in a thread's scratch, about */
  TWICE = 16,             /* at most one line in so many is computed on both sides of a cut */
  BUFS_MAX = 32,          /* of an epilogue */
};

static int64_t window(const ty_conv *c) { return (c->s.k[1] - 1) * c->s.dil[1] + 1; }

/* Does the step write its result, float32, as the second reads it: pixel by pixel, all channels of each? */
static bool gives(const rt_bound *b, const ty_conv *c) {
  if (!b->step->has_loop || !b->step->loop.dense || b->step->loop.nbufs > BUFS_MAX || b->skip) return false;
  if (b->rows != c->batch * c->in[1] * c->in[2] || b->cols != c->s.groups) return false;
  if (b->step->kind == RT_GEMM) return !b->step->u.gemm.f64 && b->u.gemm.batch == 1 && b->u.gemm.heads == 1 && !b->u.gemm.b_strided && !b->u.gemm.bytes;
  const ty_conv *p = &b->u.conv;
  return b->step->kind == RT_CONV && p->kind == TY_CONV_DIRECT && p->batch == c->batch && p->in[0] == 1 && p->out[0] == 1 && p->s.k[0] == 1 && p->pad[0] == 0 &&
         p->out[1] == c->in[1] && p->out[2] == c->in[2];
}

static bool takes(const rt_bound *b) {
  const ty_conv *c = &b->u.conv;
  if (b->step->kind != RT_CONV || b->skip || c->kind != TY_CONV_DEPTHWISE || b->off[CONV_X]) return false;
  if (c->in[0] != 1 || c->out[0] != 1 || c->s.k[0] != 1 || c->pad[0] || c->x_s[2] != c->s.groups || c->x_s[1] != c->in[2] * c->x_s[2]) return false;
  return c->batch == 1 || c->x_n == c->in[1] * c->x_s[1];
}

static bool worth(const ty_conv *c) {
  int64_t lines = c->batch * c->in[1], twice = window(c) - c->s.stride[1];
  return lines * c->x_s[1] * (int64_t)sizeof(float) >= LEAST && twice * (ty_pool_threads() - 1) * TWICE <= lines;
}

/* Is the buffer, of the arena, touched by these two steps only? */
static bool between(const ty_program *p, rt_phase phase, ty_pbuf buf) {
  const rt_part *part = &p->part[phase];
  int touched = 0;
  for (int i = 0; i < part->order.n; i++) {
    const rt_step *s = &p->step.p[part->order.p[i]];
    for (int r = s->ref0; r < s->ref0 + s->nrefs; r++) touched += p->ref.p[r].buf == buf;
  }
  return p->buf.p[buf].kind == TY_PB_ARENA && touched == 2;
}

static bool writes(const ty_program *p, const rt_bound *b, ty_pbuf buf) {
  for (int r = b->step->ref0; r < b->step->ref0 + b->step->nrefs; r++)
    if (p->ref.p[r].write && p->ref.p[r].buf == buf) return true;
  return false;
}

/* The same for lines [y0, y1) of image n; y still begins with the images. */
static ty_conv some_lines(const ty_conv *whole, int64_t n, int64_t y0, int64_t y1) {
  ty_conv c = *whole;
  int64_t first = y0 * c.s.stride[1] - c.pad[1], last = (y1 - 1) * c.s.stride[1] - c.pad[1] + window(&c);
  int64_t from = first < 0 ? 0 : first > c.in[1] ? c.in[1] : first, till = last < from ? from : last > c.in[1] ? c.in[1] : last;
  c.batch = 1, c.out[1] = y1 - y0, c.in[1] = till - from, c.pad[1] = from - first;
  if (c.x) c.x += n * c.x_n + from * c.x_s[1];
  if (c.y) c.y += n * c.y_n + y0 * c.y_s[1];
  return c;
}

/* Scratch for any number of lines up to `most`, which may be more than for all. */
static void room(const ty_kernels *ks, rt_bound *b, int64_t width, int64_t most) {
  size_t loop = b->scratch - b->loop_scratch_at;
  for (int64_t n = 1; n <= most; n++) {
    ty_gemm g = b->u.gemm;
    ty_conv c = b->u.conv;
    size_t need = 0;
    if (b->step->kind == RT_GEMM) g.m = n * width, need = ty_gemm_f32_scratch(ks, &g);
    else if (n <= b->u.conv.out[1]) c = some_lines(&b->u.conv, 0, 0, n), need = ty_conv_f32_scratch(ks, &c);
    if (rt_up(need, RT_ALIGN) > b->loop_scratch_at) b->loop_scratch_at = rt_up(need, RT_ALIGN);
  }
  b->scratch = b->loop_scratch_at + loop;
}

void ty_rt_chain_find(const ty_program *p, rt_phase phase, rt_bind *bind) {
  for (int i = 0; phase == RT_RUN && i + 1 < bind->nbound; i++) {
    rt_bound *b = &bind->bound[i], *to = b + 1;
    if (b->fed || !takes(to) || !gives(b, &to->u.conv) || !worth(&to->u.conv)) continue;
    ty_pbuf buf = p->ref.p[to->step->ref0 + CONV_X].buf;
    if (!between(p, phase, buf) || !writes(p, b, buf)) continue;
    int64_t line = to->u.conv.x_s[1] * (int64_t)sizeof(float), least = window(&to->u.conv) + to->u.conv.s.stride[1];
    b->chained = to->fed = true;
    b->chain_lines = ROOM / line < least ? least : ROOM / line;
    room(p->kernels, b, to->u.conv.in[2], b->chain_lines);
    room(p->kernels, to, 0, b->chain_lines);
    b->chain_at = rt_up(b->scratch > to->scratch ? b->scratch : to->scratch, RT_ALIGN);
    b->threads = b->threads > to->threads ? b->threads : to->threads;
    size_t need = b->chain_at + (size_t)(b->chain_lines * line);
    if (need > bind->scratch) bind->scratch = need;
    bind->bytes[buf] = 0;
  }
}

void ty_rt_chain_do(const ty_kernels *ks, const rt_bound *b, void *const *ptr, void *scratch, int tid, int nt, ty_i32 *fault, double *fed) {
  const rt_bound *to = b + 1;
  void *const *pa = ptr + b->step->ref0, *const *pb = ptr + to->step->ref0;
  bool gemm = b->step->kind == RT_GEMM;
  int at = gemm ? GEMM_EPI : CONV_EPI, result = -1;
  ty_conv c = to->u.conv, conv = {0};
  ty_gemm g = {0};
  void *bufs[BUFS_MAX];
  float *lines = (float *)((char *)scratch + b->chain_at);
  for (int i = 0; i < b->step->loop.nbufs; i++) {
    bufs[i] = pa[at + i];
    if (b->step->loop.writes[i]) result = i;
  }
  rt_epilogue ea = {.ka = {.buf = bufs, .par = b->par, .scratch = (char *)scratch + b->loop_scratch_at, .fault = fault, .self = b->step->loop.self}};
  rt_epilogue eb = {.ka = {.buf = pb + CONV_EPI, .par = to->par, .scratch = (char *)scratch + to->loop_scratch_at, .fault = fault, .self = to->step->loop.self}};
  ea.fn = atomic_load_explicit(&b->step->fn, memory_order_acquire);
  if (gemm) {
    g = b->u.gemm, g.epi = ty_rt_epilogue, g.epi_ctx = &ea;
    g.a = (const float *)pa[GEMM_A] + b->off[GEMM_A], g.b = (const float *)pa[GEMM_B] + b->off[GEMM_B];
  } else {
    conv = b->u.conv, conv.epi = ty_rt_epilogue, conv.epi_ctx = &ea;
    conv.x = (const float *)pa[CONV_X] + b->off[CONV_X], conv.b = pa[CONV_W];
  }
  c.b = pb[CONV_W];
  if (to->step->has_loop) {
    eb.fn = atomic_load_explicit(&to->step->fn, memory_order_acquire);
    c.epi = ty_rt_epilogue, c.epi_ctx = &eb;
  } else c.y = (float *)pb[CONV_Y] + to->off[CONV_Y];

  int64_t line = c.x_s[1], width = c.in[2], height = c.in[1], s = c.s.stride[1], span = window(&c), step = (b->chain_lines - span) / s + 1;
  int64_t l = rt_share(c.batch * c.out[1], tid, nt), end = rt_share(c.batch * c.out[1], tid + 1, nt), lo = 0, hi = 0;
  for (int64_t image = -1; l < end;) {
    int64_t n = l / c.out[1], y0 = l % c.out[1], y1 = y0 + step < c.out[1] ? y0 + step : c.out[1];
    if (y1 - y0 > end - l) y1 = y0 + end - l;
    l += y1 - y0;
    /* Lines [lo, hi) of the image are there; [from, till) are needed. */
    int64_t first = y0 * s - c.pad[1], last = (y1 - 1) * s - c.pad[1] + span;
    int64_t from = first < 0 ? 0 : first > height ? height : first, till = last < from ? from : last > height ? height : last;
    if (n != image || from > hi) image = n, lo = hi = from;
    if (from > lo) memmove(lines, lines + (from - lo) * line, (size_t)((hi - from) * line) * sizeof *lines), lo = from;
    if (till > hi) {
      ea.first = (n * height + hi) * width;
      bufs[result] = (void *)((uintptr_t)lines - (uintptr_t)((n * height + lo) * line) * sizeof *lines); /* what it stores at a row goes to lines */
      if (gemm) {
        ty_gemm part = g;
        part.m = (till - hi) * width, part.a += ea.first * g.lda;
        ty_gemm_f32(ks, &part, 0, 1, scratch);
      } else {
        ty_conv part = some_lines(&conv, n, hi, till);
        ty_conv_f32(ks, &part, 0, 1, scratch);
      }
      hi = till;
    }
    double before = fed ? ty_now() : 0;
    ty_conv part = some_lines(&c, n, y0, y1);
    part.x = lines;
    eb.first = (n * c.out[1] + y0) * c.out[2];
    ty_conv_f32(ks, &part, 0, 1, scratch);
    if (fed) *fed += ty_now() - before;
  }
}
