/* conv_narrow.c: depthwise convolution and groups of few channels: output channels are lanes, so nothing is wasted on zeros.
 *
 * Order of the loops in a thread: tile of channels, block of pixels, strip of up to MR pixels of a line, vector of channels,
 * tap. A strip at the left or right edge has, for each tap, the set of its pixels that the tap concerns.
 * Packed weights: blocks of 16 output channels, each [tap][c][16]. */
#include "kernel/conv_int.h"

enum {
  BLOCK = 16,          /* output channels of a block of weights */
  TILE_FLOATS = 8192,  /* wanted */
  COLUMNS_MIN = 480, /* of a tile, over the lines of a window: each of these reads x again */
  COLUMNS_MAX = 1024,
  NEAR_FLOATS = 6144,  /* of x in the nearest cache */
  LANES_MAX = 16, C_MAX = 16,
};

static bool depthwise_can(const ty_conv_shape *s) { return s->c == 1 && s->o == 1; }
static bool grouped_can(const ty_conv_shape *s) {
  return s->groups > 1 && s->c >= 1 && s->c <= s->o && (s->o == 2 || s->o == 4 || s->o == 8 || s->o == 16);
}

static int64_t narrow_packed(int64_t nr, const ty_conv_shape *s) {
  (void)nr;
  return kernel_up(s->groups * s->o, BLOCK) * s->c * conv_window(s);
}

static void narrow_pack(int64_t nr, const ty_conv_shape *s, const float *w, const int64_t ldw[5], float *dst, int part, int parts) {
  (void)nr;
  int64_t out = s->groups * s->o, blocks = kernel_ceil(out, BLOCK), window = conv_window(s);
  for (int64_t i = kernel_share(blocks, part, parts), end = kernel_share(blocks, part + 1, parts); i < end; i++)
    for (int64_t t = 0; t < window; t++)
      for (int64_t c = 0; c < s->c; c++) {
        float *d = dst + ((i * window + t) * s->c + c) * BLOCK;
        const float *e = w + c * ldw[1] + t / s->k[2] / s->k[1] * ldw[2] + t / s->k[2] % s->k[1] * ldw[3] + t % s->k[2] * ldw[4];
        for (int64_t j = 0; j < BLOCK; j++) d[j] = i * BLOCK + j < out ? e[(i * BLOCK + j) * ldw[0]] : 0.0f;
      }
}

typedef struct narrow_plan { int64_t rows, columns, runs_at, bytes; } narrow_plan;

static narrow_plan narrow_plan_make(const ty_kernels *ks, const ty_conv *v) {
  narrow_plan p = {0};
  int64_t out = kernel_up(v->s.groups * v->s.o, BLOCK), line = kernel_max(1, v->out[2]);
  /* As many channels at a time as let the lines of a window, and one more on its way, stay in the nearest cache. */
  int64_t pixels = (v->s.k[0] * v->s.k[1] + 1) * kernel_max(1, kernel_min(v->in[2], (v->out[2] - 1) * v->s.stride[2] + v->s.k[2]));
  int64_t columns = kernel_max(COLUMNS_MIN / v->s.k[1], NEAR_FLOATS / pixels * v->s.o / v->s.c);
  int64_t unit = v->s.c > 1 ? 2 * BLOCK : BLOCK; /* groups: the weights stay there, too; vectors go in pairs */
  if (v->s.c > 1) columns = kernel_min(columns, kernel_max(unit, NEAR_FLOATS / (conv_window(&v->s) * v->s.c)));
  p.columns = kernel_up(kernel_ceil(out, kernel_ceil(out, kernel_min(columns, COLUMNS_MAX))), unit);
  p.rows = kernel_max(2 * ks->mr, TILE_FLOATS / p.columns);
  p.rows = p.rows >= line ? p.rows / line * line : kernel_up(kernel_ceil(line, kernel_ceil(line, p.rows)), ks->mr);
  p.runs_at = kernel_up(p.rows * p.columns, 16) * (int64_t)sizeof(float);
  p.bytes = p.runs_at + kernel_up((conv_window(&v->s) + v->s.k[0] * v->s.k[1]) * (int64_t)sizeof(ty_conv_run), 64);
  return p;
}

static size_t narrow_scratch(const ty_kernels *ks, const ty_conv *v) { return (size_t)narrow_plan_make(ks, v).bytes; }

/* The taps of pixels [x, x + n) of a line, for rows of taps kd x kh; addresses from where the window of the first pixel starts. */
static int64_t narrow_taps(const ty_conv *v, conv_range kd, conv_range kh, int64_t x, int64_t n, ty_conv_run *run) {
  const ty_conv_shape *s = &v->s;
  int64_t count = 0;
  for (int64_t w = 0; w < s->k[2]; w++) {
    conv_range r = conv_inside(v->in[2], v->out[2], s->stride[2], w * s->dil[2] - v->pad[2]);
    int64_t lo = kernel_max(0, r.lo - x), hi = kernel_min(n, r.hi - x);
    if (lo >= hi) continue;
    int64_t some = ((int64_t)1 << hi) - ((int64_t)1 << lo), at = w * s->dil[2] * v->x_s[2];
    for (int64_t d = kd.lo; d < kd.hi; d++)
      for (int64_t h = kh.lo; h < kh.hi; h++)
        run[count++] = (ty_conv_run){some, at + d * s->dil[0] * v->x_s[0] + h * s->dil[1] * v->x_s[1], (d * s->k[1] + h) * s->k[2] + w};
  }
  return count;
}

/* Depthwise with one of the usual windows: the kernel for strips of `rows` pixels, or NULL. */
static ty_depth_f32_fn depth_kernel(const ty_kernels *ks, const ty_conv_shape *s, int64_t rows) {
  if (s->o > 1 || s->dil[2] != 1 || s->stride[2] > TY_DEPTH_STRIDES || s->k[2] % 2 == 0 || s->k[2] < 3 || s->k[2] / 2 > TY_DEPTH_WINDOWS) return NULL;
  return ks->depth[s->k[2] / 2 - 1][s->stride[2] - 1][rows - 1];
}

/* Narrow groups, likewise, for a strip of which columns before the second and after the last but one of those read may be outside. */
static ty_slide_f32_fn slide_kernel(const ty_kernels *ks, const ty_conv *v, int form, int64_t rows, int64_t ix) {
  const ty_conv_shape *s = &v->s;
  if (form == TY_NARROW_DEPTHWISE || s->dil[2] != 1 || s->k[2] != 3 || s->stride[2] > TY_DEPTH_STRIDES) return NULL;
  if (ix < -1 || ix + (rows - 1) * s->stride[2] + 2 > v->in[2]) return NULL;
  return ks->slide[form - TY_NARROW_PERMUTED][s->stride[2] - 1][rows - 1];
}

static int64_t depth_rows(const ty_conv *v, conv_range kd, conv_range kh, ty_conv_run *run) {
  const ty_conv_shape *s = &v->s;
  int64_t count = 0, next = s->stride[1] * v->x_s[1]; /* the lines that the next line of pixels will add to those read */
  for (int64_t d = kd.lo; d < kd.hi; d++)
    for (int64_t h = kh.lo; h < kh.hi; h++)
      run[count++] = (ty_conv_run){h + s->stride[1] < kh.hi ? 0 : next, d * s->dil[0] * v->x_s[0] + h * s->dil[1] * v->x_s[1], (d * s->k[1] + h) * s->k[2]};
  return count;
}

/* Pixels [m0, m1), channels [j0, j1). tile NULL: into y. */
static void narrow_tile(const ty_kernels *ks, const ty_conv *v, const ty_narrow *f, int form, int64_t m0, int64_t m1, int64_t j0, int64_t j1,
                        float *tile, int64_t ldt, ty_conv_run *runs) {
  const ty_conv_shape *s = &v->s;
  int64_t lda = s->stride[2] * v->x_s[2], taps = 0, lines = 0, seen_x = -1, seen_n = 0;
  ty_conv_run *line = runs + conv_window(s); /* the rows of a window, after its taps */
  int64_t x0 = m0 % v->out[2], y = m0 / v->out[2] % v->out[1], z = m0 / v->out[2] / v->out[1] % v->out[0], n = m0 / v->out[2] / v->out[1] / v->out[0];
  conv_range seen_d = {-1, -1}, seen_h = {-1, -1};
  for (int64_t m = m0; m < m1;) {
    int64_t len = kernel_min(v->out[2] - x0, m1 - m), parts = kernel_ceil(len, ks->mr);
    int64_t iz = z * s->stride[0] - v->pad[0], iy = y * s->stride[1] - v->pad[1];
    conv_range kd = conv_taps(v->in[0], s->k[0], s->dil[0], iz), kh = conv_taps(v->in[1], s->k[1], s->dil[1], iy);
    lines = depth_rows(v, kd, kh, line);
    for (int64_t i = 0; i < parts; i++) {
      int64_t x = x0 + kernel_share(len, i, parts), rows = x0 + kernel_share(len, i + 1, parts) - x, ix = x * s->stride[2] - v->pad[2];
      const float *from = v->x + (n * v->x_n + iz * v->x_s[0] + iy * v->x_s[1] + ix * v->x_s[2]);
      float *out = tile ? tile + (m - m0 + x - x0) * ldt : v->y + n * v->y_n + z * v->y_s[0] + y * v->y_s[1] + x * v->y_s[2] + j0;
      int64_t ldy = tile ? ldt : v->y_s[2];
      ty_depth_f32_fn depth = depth_kernel(ks, s, rows);
      if (depth) {
        depth(f->window, lines, line, -ix, v->in[2] - ix, j0, j1, from, v->x_s[2], v->b, out, ldy);
        continue;
      }
      ty_slide_f32_fn slide = slide_kernel(ks, v, form, rows, ix);
      int64_t done = slide ? slide(f, lines, line, ix >= 0, ix + (rows - 1) * s->stride[2] + 2 < v->in[2], j0, j1, from, v->x_s[2], v->b, out, ldy) : j0;
      if (done == j1) continue;
      bool whole = ix >= 0 && ix + (rows - 1) * s->stride[2] + (s->k[2] - 1) * s->dil[2] < v->in[2];
      int64_t key = whole ? -2 : x;
      if (seen_x != key || seen_n != rows || seen_d.lo != kd.lo || seen_d.hi != kd.hi || seen_h.lo != kh.lo || seen_h.hi != kh.hi)
        taps = narrow_taps(v, kd, kh, x, rows, runs), seen_x = key, seen_n = rows, seen_d = kd, seen_h = kh;
      ks->narrow[form][rows - 1](f, taps, runs, done, j1, from, lda, v->b, out + (done - j0), ldy);
    }
    m += len, x0 = 0;
    if (++y == v->out[1]) y = 0, n += ++z == v->out[0], z %= v->out[0];
  }
}

static void narrow_run(const ty_kernels *ks, const ty_conv *v, int tid, int nt, void *scratch) {
  const ty_conv_shape *s = &v->s;
  int64_t pixels = v->batch * v->out[0] * v->out[1] * v->out[2], out = s->groups * s->o, blocks = kernel_ceil(out, BLOCK);
  if (pixels <= 0 || out <= 0) return;
  narrow_plan p = narrow_plan_make(ks, v);
  int32_t permute[C_MAX * LANES_MAX];
  ty_narrow f = {s->groups, s->c, s->o, conv_window(s), permute};
  int form = s->o == 1 ? TY_NARROW_DEPTHWISE : s->o < ks->lanes ? TY_NARROW_PERMUTED : TY_NARROW_BROADCAST;
  if (form == TY_NARROW_PERMUTED)
    for (int64_t i = 0; i < s->c * ks->lanes; i++) permute[i] = (int32_t)(i % ks->lanes / s->o * s->c + i / ks->lanes);
  /* Threads share the pixels; where these are few, the channels too. */
  int64_t tm = kernel_max(1, kernel_min(nt, pixels / ks->mr)), tn = kernel_min(nt / tm, blocks), im = tid / tn, in = tid % tn;
  if (im >= tm) return;
  int64_t r0 = kernel_share(pixels, im, tm), r1 = kernel_share(pixels, im + 1, tm);
  int64_t c0 = kernel_share(blocks, in, tn) * BLOCK, c1 = kernel_min(out, kernel_share(blocks, in + 1, tn) * BLOCK);
  float *tile = v->epi ? scratch : NULL;
  ty_conv_run *runs = (ty_conv_run *)((char *)scratch + p.runs_at);
  for (int64_t j0 = c0; j0 < c1; j0 += p.columns)
    for (int64_t m0 = r0; m0 < r1; m0 += p.rows) {
      int64_t m1 = kernel_min(m0 + p.rows, r1), j1 = kernel_min(j0 + p.columns, c1);
      narrow_tile(ks, v, &f, form, m0, m1, j0, j1, tile, p.columns, runs);
      if (v->epi) v->epi(v->epi_ctx, tid, 0, m0, m1, j0, j1, tile, p.columns);
    }
}

const conv_kind ty_conv_kind_depthwise = {depthwise_can, narrow_packed, narrow_pack, narrow_scratch, narrow_run};
const conv_kind ty_conv_kind_grouped = {grouped_can, narrow_packed, narrow_pack, narrow_scratch, narrow_run};
