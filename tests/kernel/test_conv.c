/* test_conv.c: every kind of convolution against the reference: random windows, strides, dilations, paddings and groups, in
 * buffers of the exact size, into memory and through an epilogue, by 1 to 4 threads, from panels of other tiers. */
#include "test_kernel.h"
#include <stdlib.h>

typedef struct calls { const ty_conv *v; float *y; uint8_t *seen; int64_t rows; bool bad; int tid; } calls;

static void epilogue(void *ctx, int tid, int64_t batch, int64_t m0, int64_t m1, int64_t n0, int64_t n1, const float *acc, int64_t ldacc) {
  calls *x = ctx;
  int64_t cols = x->v->s.groups * x->v->s.o;
  x->bad |= tid != x->tid || batch != 0 || m0 >= m1 || m1 > x->rows || n0 >= n1 || n1 > cols || ldacc < n1 - n0;
  if (x->bad) return;
  for (int64_t i = m0; i < m1; i++)
    for (int64_t j = n0; j < n1; j++) x->y[i * cols + j] = acc[(i - m0) * ldacc + j - n0], x->seen[i * cols + j]++;
}

/* What a convolution is made of. pad and in follow from the rest where they are -1. */
typedef struct want { ty_conv_shape s; int64_t batch, in[3], pad[3]; bool loose; } want;

static void one_conv(const ty_kernels *ks, const ty_kernels *packer, ty_conv_kind kind, ty_format format, const want *q, bool epi, int nt) {
  ty_conv v = {.kind = kind, .format = format, .s = q->s, .batch = q->batch, .b_nr = packer == ks ? 0 : packer->nr};
  const ty_conv_shape *s = &v.s;
  int64_t cin = s->groups * s->c, cout = s->groups * s->o, window = s->k[0] * s->k[1] * s->k[2], rows = v.batch;
  for (int d = 0; d < 3; d++) {
    v.in[d] = q->in[d], v.pad[d] = q->pad[d];
    v.out[d] = (v.in[d] + 2 * (v.pad[d] > 0 ? v.pad[d] : 0) - (s->k[d] - 1) * s->dil[d] - 1) / s->stride[d] + 1;
    if (v.out[d] < 1) v.out[d] = 1; /* any out will do: what lies beyond is 0 */
    rows *= v.out[d];
  }
  int64_t px = cin + (q->loose ? 3 : 0), py = cout + (q->loose ? 5 : 0);
  v.x_s[2] = px, v.x_s[1] = v.in[2] * px + (q->loose ? 7 : 0), v.x_s[0] = v.in[1] * v.x_s[1], v.x_n = v.in[0] * v.x_s[0];
  v.y_s[2] = py, v.y_s[1] = v.out[2] * py + (q->loose ? 2 : 0), v.y_s[0] = v.out[1] * v.y_s[1], v.y_n = v.out[0] * v.y_s[0];
  guarded x = guarded_make((v.batch - 1) * v.x_n + (v.in[0] - 1) * v.x_s[0] + (v.in[1] - 1) * v.x_s[1] + (v.in[2] - 1) * px + cin);
  int64_t y_size = (v.batch - 1) * v.y_n + (v.out[0] - 1) * v.y_s[0] + (v.out[1] - 1) * v.y_s[1] + (v.out[2] - 1) * py + cout;
  guarded y = guarded_make(y_size), expect = guarded_make(y_size), got = guarded_make(rows * cout);
  memcpy(expect.p, y.p, (size_t)y_size * 4); /* gaps between pixels stay as they are */
  int64_t ldw[5] = {s->c * window, window, s->k[1] * s->k[2], s->k[2], 1};
  if (q->loose) ldw[0] = 1, ldw[1] = cout, ldw[2] = cout * s->c, ldw[3] = ldw[2] * s->k[0], ldw[4] = ldw[3] * s->k[1];
  guarded w = guarded_make(cout * s->c * window), b = guarded_make64(ty_packed_conv_words(format, packer->nr, kind, s) * 4);
  if (format != TY_FORMAT_f32) { /* rounding is test_products.c's: here both sides are bf16 already */
    for (float *p = x.p; p < (float *)((char *)x.base + x.bytes - 4096); p++) *p = bf16(*p);
    for (int64_t i = 0; i < cout * s->c * window; i++) w.p[i] = bf16(w.p[i]);
  }
  for (int part = 2; part >= 0; part--) ty_pack_conv(format, packer->nr, kind, s, w.p, ldw, b.p, part, 3);
  v.x = x.p, v.b = b.p, v.y = expect.p;
  ty_conv_f32_ref(&v, w.p, ldw);
  calls ctx = {.v = &v, .y = got.p, .seen = calloc((size_t)(rows * cout), 1), .rows = rows};
  v.y = epi ? NULL : y.p;
  if (epi) v.epi = epilogue, v.epi_ctx = &ctx;
  for (int t = 0; t < nt; t++) {
    guarded scratch = guarded_make64((int64_t)ty_conv_f32_scratch(ks, &v));
    ctx.tid = t;
    ty_conv_f32(ks, &v, t, nt, scratch.p);
    guarded_free(scratch);
  }
  /* F(4x4) loses about a digit more than a sum in float does */
  double bound = (kind == TY_CONV_WINOGRAD ? 4e-6 : 4e-7) * (1 + (double)(s->c * window) / 4), worst = 0;
  bool ok = !ctx.bad;
  for (int64_t m = 0; m < rows; m++)
    for (int64_t o = 0; o < cout; o++) {
      int64_t p = m / v.out[2], at = p / v.out[1] / v.out[0] * v.y_n + p / v.out[1] % v.out[0] * v.y_s[0] + p % v.out[1] * v.y_s[1] + m % v.out[2] * py;
      double e = fabs((double)(epi ? got.p[m * cout + o] : y.p[at + o]) - (double)expect.p[at + o]);
      if (!(e <= worst)) worst = e;
      if (epi) ok &= ctx.seen[m * cout + o] == 1;
      y.p[at + o] = expect.p[at + o];
    }
  ok &= worst <= bound;
  if (!epi) ok &= !memcmp(y.p, expect.p, (size_t)y_size * 4);
  CHECK(ok, "%s %s (panels of %d) conv kind %d groups %ld c %ld o %ld k %ld,%ld,%ld stride %ld,%ld,%ld dil %ld,%ld,%ld batch %ld in %ld,%ld,%ld "
        "pad %ld,%ld,%ld loose %d epi %d threads %d: off by %g, allowed %g", ks->name, ty_formats[format].name, packer->nr, (int)kind, (long)s->groups, (long)s->c, (long)s->o,
        (long)s->k[0], (long)s->k[1], (long)s->k[2], (long)s->stride[0], (long)s->stride[1], (long)s->stride[2], (long)s->dil[0], (long)s->dil[1],
        (long)s->dil[2], (long)v.batch, (long)v.in[0], (long)v.in[1], (long)v.in[2], (long)v.pad[0], (long)v.pad[1], (long)v.pad[2], q->loose, epi, nt,
        worst, bound);
  guarded_free(x), guarded_free(y), guarded_free(expect), guarded_free(got), guarded_free(w), guarded_free(b);
  free(ctx.seen);
}

/* All kinds that can, with panels of every tier that fits. */
static void all_kinds(const ty_kernels *ks, const want *q, bool only_bf16) {
  for (int kind = 0; kind < TY_CONV_KINDS; kind++) {
    if (!ty_conv_can((ty_conv_kind)kind, &q->s)) continue;
    const ty_kernels *packer = ks;
    if (rnd_below(4) == 0) {
      packer = ty_kernels_get((ty_isa)rnd_below(TY_NISA));
      if (packer->nr % ks->nr) packer = ks;
    }
    if (!only_bf16) one_conv(ks, packer, (ty_conv_kind)kind, TY_FORMAT_f32, q, rnd_below(2), 1 + (int)rnd_below(4));
    for (int second = 0; second < 2; second++) {
      ty_format f = second ? TY_FORMAT_bf16x4 : TY_FORMAT_bf16;
      if (test_multiplies(ks, f) && ty_conv_takes(f, (ty_conv_kind)kind, &q->s)) one_conv(ks, packer, (ty_conv_kind)kind, f, q, rnd_below(2), 1 + (int)rnd_below(4));
    }
  }
}

static want random_want(int form) {
  static const int64_t channels[] = {1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 24, 31, 32, 33, 48, 49, 64, 65, 96, 130}, widths[] = {1, 2, 4, 8, 16}, taps[] = {1, 1, 2, 3, 3, 3, 4, 5, 7};
  want q = {.s = {.groups = 1, .c = RND_OF(channels), .o = RND_OF(channels), .k = {1, 1, 1}, .stride = {1, 1, 1}, .dil = {1, 1, 1}},
            .batch = 1 + (rnd_below(3) == 0) * rnd_below(3), .in = {1, 1, 1}, .loose = rnd_below(3) == 0};
  int dims = 1 + (int)rnd_below(3);
  if (form == 1) q.s.groups = RND_OF(channels), q.s.c = q.s.o = 1; /* depthwise */
  if (form == 2) q.s.groups = 1 + rnd_below(40), q.s.o = RND_OF(widths), q.s.c = rnd_below(2) ? q.s.o : 1 + rnd_below(q.s.o);
  if (form == 3) q.s.groups = 1 + rnd_below(3), q.s.c = q.s.c % 32 + 1, q.s.o = q.s.o % 52 + 1;
  if (form == 4) dims = 2;
  for (int d = 3 - dims; d < 3; d++) {
    q.s.k[d] = form == 4 ? 3 : RND_OF(taps);
    q.in[d] = 1 + rnd_below(dims == 3 ? 8 : dims == 2 ? 20 : 60);
    if (form == 4) q.pad[d] = rnd_below(3);
    else {
      if (dims == 3 && q.s.k[d] > 3) q.s.k[d] = 2;
      q.s.stride[d] = 1 + (rnd_below(3) == 0) * rnd_below(4), q.s.dil[d] = 1 + (rnd_below(4) == 0) * rnd_below(3);
      q.pad[d] = rnd_below(2) ? q.s.k[d] / 2 : rnd_below(q.s.k[d] + 3) - 1;
    }
  }
  if (dims == 2 && rnd_below(8) == 0) { /* a line that stands upright */
    q.in[2] = 1, q.s.k[2] = 1, q.pad[2] = 0, q.s.stride[2] = 1;
    if (form == 4) q.s.k[2] = 3, q.pad[2] = 1;
  }
  if (rnd_below(6) == 0)
    for (int d = 0; d < 3; d++) q.s.k[d] = 1, q.pad[d] = 0, q.s.stride[d] = 1; /* 1x1 */
  return q;
}

void test_conv(const ty_kernels *ks, bool only_bf16) {
  for (int round = 0; round < test_rounds(300); round++) {
    want q = random_want(round % 5);
    all_kinds(ks, &q, only_bf16);
  }
  static const want deep[] = { /* more than one block of k, of rows, of panels */
      {.s = {1, 400, 50, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}}, .batch = 1, .in = {1, 7, 7}, .pad = {0, 1, 1}},
      {.s = {1, 900, 20, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}}, .batch = 2, .in = {1, 5, 9}, .pad = {0, 0, 0}},
      {.s = {1, 1, 3, {1, 20, 20}, {1, 1, 2}, {1, 1, 1}}, .batch = 1, .in = {1, 40, 40}, .pad = {0, 3, 9}},
      {.s = {1, 3, 24, {1, 7, 7}, {1, 2, 2}, {1, 1, 1}}, .batch = 1, .in = {1, 61, 300}, .pad = {0, 3, 3}},
      {.s = {2, 20, 50, {1, 3, 3}, {1, 2, 2}, {1, 2, 1}}, .batch = 3, .in = {1, 9, 150}, .pad = {0, 2, 1}}, /* lines as long as blocks, groups */
      {.s = {1, 10, 40, {1, 1, 1}, {1, 2, 2}, {1, 1, 1}}, .batch = 5, .in = {3, 4, 9}, .pad = {0, 0, 0}}, /* blocks over several images */
      {.s = {1, 16, 900, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}}, .batch = 1, .in = {1, 14, 14}, .pad = {0, 1, 1}},
      {.s = {11, 4, 4, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}}, .batch = 2, .in = {1, 5, 23}, .pad = {0, 1, 1}}, /* groups: several to a vector, pairs of vectors */
      {.s = {19, 3, 8, {1, 2, 3}, {1, 2, 2}, {1, 1, 1}}, .batch = 1, .in = {1, 6, 35}, .pad = {0, 0, 1}},
      {.s = {5, 16, 16, {1, 3, 3}, {1, 2, 2}, {1, 1, 1}}, .batch = 1, .in = {1, 8, 30}, .pad = {0, 1, 0}},
      {.s = {7, 16, 16, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}}, .batch = 1, .in = {1, 4, 14}, .pad = {0, 1, 1}},
      {.s = {1, 16, 24, {1, 3, 3}, {1, 1, 1}, {1, 3, 1}}, .batch = 2, .in = {1, 20, 33}, .pad = {0, 2, 1}}, /* a later line of pixels reads earlier lines */
      {.s = {1, 2, 5, {1, 1, 300}, {1, 1, 1}, {1, 1, 1}}, .batch = 1, .in = {1, 1, 400}, .pad = {0, 0, 150}},
  };
  for (size_t i = 0; i < sizeof deep / sizeof *deep; i++) all_kinds(ks, deep + i, only_bf16);
}
