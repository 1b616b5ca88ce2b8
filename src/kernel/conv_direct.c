/* conv_direct.c: convolution as a matrix product whose A is the image where it lies (no im2col), group by group.
 *
 * Rows are output pixels, k goes over taps and channels, tap by tap. A strip is up to MR pixels of one output line: its rows of
 * A are a constant step apart for every tap. Taps outside the image are left out, not multiplied by zero: whole rows of taps
 * for a line near the top or bottom, single columns of taps, for the pixels that they concern, at the left and right edges.
 * Order of the loops in a thread: block of pixels, tile (group of panels), block of k, panel, strip, sum.
 *
 * Packed weights: of each group, panels of up to nr output channels, as even in width as whole units of 16 allow (64 channels
 * are 32 + 32 where nr is 48: a panel much narrower than nr is slow), each [tap][c][its width], two channels to a word of bf16.
 *
 * Where products take words, the lines that a block of pixels reads are first made into words, in scratch: from there on it is the
 * same convolution of an image with half as many channels. Where words pair rows of the window (first layers: 3 channels), that image has
 * lines of its own for each line of pixels: pairs of lines, with zeros where the window or the image ends. */
#include "kernel/conv_int.h"

enum {
  ROWS_MAX = 128,      /* pixels of a block */
  TILE_FLOATS = 24576, /* largest tile */
  TILE_COLUMNS = 768,  /* widest tile */
  K_BLOCK = 384,       /* k values at a time, when there are pixels enough to come back to them */
  K_BLOCK_ROWS = 32,
  SUM = 96,            /* float32, one group: about as many k values are summed before what came before is added: long sums err more */
  RUNS_MAX = 256,      /* taps of a block */
  NEAR = 1024,         /* floats of B to prefetch ahead when there is one strip */
};

static bool direct_can(const ty_conv_shape *s) { return s->c > 0 && s->o > 0; }

static int64_t direct_packed(int64_t nr, const ty_conv_shape *s) {
  conv_panels p = conv_panels_of(nr, s->o);
  return s->groups * p.units * p.unit * conv_window(s) * s->c;
}

static void direct_pack(int64_t nr, const ty_conv_shape *s, const float *w, const int64_t ldw[5], float *dst, int part, int parts) {
  conv_panels p = conv_panels_of(nr, s->o);
  int64_t k = conv_window(s) * s->c;
  for (int64_t q = kernel_share(s->groups * p.count, part, parts), end = kernel_share(s->groups * p.count, part + 1, parts); q < end; q++) {
    int64_t g = q / p.count, n0 = conv_panel_at(&p, q % p.count), width = conv_panel_at(&p, q % p.count + 1) - n0, real = kernel_min(width, s->o - n0);
    float *d = dst + (g * p.units * p.unit + n0) * k;
    const float *src = w + (g * s->o + n0) * ldw[0];
    for (int64_t c = 0; c < s->c; c++, d += width) { /* channel by channel: a torch weight has its taps together */
      float *row = d;
      for (int64_t t = 0; t < conv_window(s); t++, row += s->c * width) {
        const float *e = src + c * ldw[1] + t / s->k[2] / s->k[1] * ldw[2] + t / s->k[2] % s->k[1] * ldw[3] + t % s->k[2] * ldw[4];
        for (int64_t j = 0; j < real; j++) row[j] = e[j * ldw[0]];
        for (int64_t j = real; j < width; j++) row[j] = 0.0f;
      }
    }
  }
}

void ty_conv_direct_pairs(ty_format format, int64_t nr, const ty_conv_shape *given, const float *w, const int64_t ldw[5], float *dst, int part, int parts) {
  enum { MOST = 1024 };
  const ty_conv_shape paired = conv_paired(format, given), *s = &paired;
  bool rows = conv_pairs_rows(format, given);
  conv_panels p = conv_panels_of(nr, s->o);
  int64_t other = rows ? ldw[3] : ldw[1]; /* from one of a pair to the other */
  int64_t k = conv_window(s) * s->c / 2, unit = ty_format_unit(format);
  float row[2][MOST];
  for (int64_t q = kernel_share(s->groups * p.count, part, parts), end = kernel_share(s->groups * p.count, part + 1, parts); q < end; q++) {
    int64_t g = q / p.count, n0 = conv_panel_at(&p, q % p.count), width = conv_panel_at(&p, q % p.count + 1) - n0, real = kernel_min(width, s->o - n0);
    float *d = dst + (g * p.units * p.unit + n0) * k;
    const float *src = w + (g * s->o + n0) * ldw[0];
    for (int64_t c = 0; c < s->c; c += 2)
      for (int64_t t = 0; t < conv_window(s); t++) {
        int64_t first = rows ? t / s->k[2] % s->k[1] * 2 : t / s->k[2] % s->k[1], two = !rows || first + 1 < given->k[1] ? 2 : 1;
        const float *e = src + (rows ? c / 2 : c) * ldw[1] + t / s->k[2] / s->k[1] * ldw[2] + first * ldw[3] + t % s->k[2] * ldw[4];
        for (int i = 0; i < 2; i++)
          for (int64_t j = 0; j < width; j++) row[i][j] = j < real && i < two ? e[i * other + j * ldw[0]] : 0.0f;
        float *to = d + t * s->c / 2 * width + ty_format_word(format, width, c / 2, 0);
        ty_kernels__portable.pair(width, row[0], row[1], unit == 1 ? to : row[0]);
        for (int64_t j = 0; j < width && unit > 1; j++) to[j * unit] = row[0][j];
      }
  }
}

typedef struct direct_plan {
  ty_conv v; /* with dims merged where that loses nothing; of words, where products take them: channels, strides */
  const ty_products *by;
  int64_t per, unit;       /* values of x that a row of B meets; words of a column in such a row */
  int64_t together;        /* words: 2 where a pixel's words stand together with those of the pixel a stride further */
  ty_conv from;            /* made: v before */
  bool made, paired;       /* x is made in scratch, of words or of pairs of lines; the latter */
  int64_t lines, columns;  /* made: of the image in scratch, at most */
  bool lined;              /* made: blocks end with lines, and read some columns only */
  conv_panels p;
  int64_t k;               /* words of a column of B */
  int64_t rows;            /* pixels of a block, at most */
  int64_t taps, channels;  /* of a block of k, at most; channels < c only if taps is 1 */
  int64_t group, width;    /* panels of a tile, at most; its columns */
  int64_t tile_at, cols_at, words_at, zeros_at, bytes;
  const conv_range *cols;  /* for each column of taps, the pixels of a line that it concerns */
  conv_range all;          /* the pixels for which all columns of taps are inside */
} direct_plan;

/* The same convolution with fewer, longer lines. */
static ty_conv direct_merge(ty_conv v) {
  while (v.in[2] == 1 && v.out[2] == 1 && v.s.k[2] == 1 && v.pad[2] == 0 && (v.out[1] > 1 || v.out[0] > 1)) {
    for (int d = 2; d > 0; d--) {
      v.in[d] = v.in[d - 1], v.out[d] = v.out[d - 1], v.pad[d] = v.pad[d - 1], v.x_s[d] = v.x_s[d - 1], v.y_s[d] = v.y_s[d - 1];
      v.s.k[d] = v.s.k[d - 1], v.s.stride[d] = v.s.stride[d - 1], v.s.dil[d] = v.s.dil[d - 1];
    }
    v.in[0] = v.out[0] = v.s.k[0] = v.s.stride[0] = v.s.dil[0] = 1, v.pad[0] = 0;
  }
  for (int d = 1; d >= 0; d--) { /* lines that follow each other, where each pixel is on its own */
    bool same = v.s.k[d] == 1 && v.s.k[2] == 1 && v.s.stride[d] == 1 && v.s.stride[2] == 1 && v.pad[d] == 0 && v.pad[2] == 0 &&
                v.in[d] == v.out[d] && v.in[2] == v.out[2];
    if (!same || (v.out[d] > 1 && (v.x_s[d] != v.in[2] * v.x_s[2] || (!v.epi && v.y_s[d] != v.out[2] * v.y_s[2])))) return v;
    v.in[2] *= v.in[d], v.out[2] *= v.out[d], v.in[d] = v.out[d] = 1;
  }
  if (v.batch > 1 && v.x_n == v.in[2] * v.x_s[2] && (v.epi || v.y_n == v.out[2] * v.y_s[2]))
    v.in[2] *= v.batch, v.out[2] *= v.batch, v.batch = 1;
  return v;
}

/* Room for the lines of a block, and v as the convolution of an image of words (or of pairs of floats), [line of all images][column]
 * [group][word], that begins where scratch begins for a block. */
static void direct_made_plan(direct_plan *p) {
  ty_conv *v = &p->v;
  const ty_conv_shape *s = &v->s;
  int64_t all = v->batch * v->in[0] * v->in[1], window = (s->k[1] - 1) * s->dil[1] + 1, line = kernel_max(1, v->out[2]);
  p->lined = line >= p->rows;
  int64_t steps = p->lined ? 0 : (p->rows - 1) / line + 1; /* from one line of pixels to the next, at most; between images they are longer */
  int64_t jump = kernel_max(s->stride[1], v->in[1] - (v->out[1] - 1) * s->stride[1]);
  p->lines = kernel_max(1, kernel_min(all, steps * jump + window));
  p->columns = p->lined ? kernel_min(v->in[2], (p->rows - 1) * s->stride[2] + (s->k[2] - 1) * s->dil[2] + 1) : v->in[2];
  v->x_s[2] = s->groups * s->c * p->together, v->x_s[1] = p->columns * v->x_s[2], v->x_s[0] = v->in[1] * v->x_s[1], v->x_n = v->in[0] * v->x_s[0];
  p->bytes += kernel_up(p->lines * v->x_s[1], 16) * (int64_t)sizeof(float);
  p->zeros_at = p->bytes, p->bytes += p->paired ? kernel_up(p->columns * s->groups * p->from.s.c, 16) * (int64_t)sizeof(float) : 0;
}

static direct_plan direct_plan_make(const ty_kernels *ks, const ty_conv *v) {
  direct_plan p = {.by = ty_products_get(ks, v->format), .per = ty_formats[v->format].per, .unit = ty_format_unit(v->format)};
  const ty_conv_shape *s = &p.v.s;
  p.paired = conv_pairs_rows(v->format, &v->s), p.made = p.paired || p.by->words;
  p.v = p.from = p.paired ? *v : direct_merge(*v);
  if (p.paired) p.v.s = conv_paired(v->format, s), p.v.in[1] = v->out[1] * s->k[1], p.v.pad[1] = 0;
  p.together = p.by->pairs ? 2 : 1;
  if (p.by->words) p.v.s.c /= p.per / p.unit, p.per = p.unit;
  p.p = conv_panels_of(v->b_nr ? v->b_nr : ks->nr, s->o), p.k = conv_window(s) * s->c / p.per * p.unit;
  int64_t line = kernel_max(1, p.v.out[2]), all = kernel_max(1, p.v.batch * p.v.out[0] * p.v.out[1] * line), window = conv_window(s);
  p.rows = line >= ROWS_MAX ? kernel_ceil(line, kernel_ceil(line, ROWS_MAX)) : ROWS_MAX / line * line;
  p.rows = kernel_min(all, kernel_min(ROWS_MAX, kernel_up(p.rows, ks->mr)));
  p.taps = kernel_min(window, RUNS_MAX), p.channels = s->c;
  if (all >= K_BLOCK_ROWS && s->c > K_BLOCK) {
    p.taps = 1;
    p.channels = kernel_up(kernel_ceil(s->c, kernel_ceil(s->c, K_BLOCK)), 16);
  } else if (all >= K_BLOCK_ROWS) {
    p.taps = kernel_min(p.taps, K_BLOCK / s->c);
    p.taps = kernel_ceil(window, kernel_ceil(window, p.taps));
    if (p.taps > s->k[2]) p.taps = p.taps / s->k[2] * s->k[2];
  }
  int64_t widest = (p.p.units + p.p.count - 1) / p.p.count * p.p.unit;
  p.group = kernel_max(1, kernel_min(p.p.count, kernel_min(TILE_COLUMNS, TILE_FLOATS / p.rows) / widest));
  p.width = p.group * widest;
  p.tile_at = 0;
  p.cols_at = kernel_up(p.rows * p.width, 16) * (int64_t)sizeof(float);
  p.words_at = p.bytes = p.cols_at + kernel_up(s->k[2] * (int64_t)sizeof(conv_range), 64);
  if (p.made) direct_made_plan(&p);
  return p;
}

static size_t direct_scratch(const ty_kernels *ks, const ty_conv *v) { return (size_t)direct_plan_make(ks, v).bytes; }

/* A strip: pixels [x, x + n) of a line; row: its first in the block; at: the address its window starts at, perhaps outside the
 * image; kd, kh: the rows of taps inside; whole: all columns are inside for all its pixels. */
typedef struct strip { int64_t x, n, row, at; conv_range kd, kh; bool whole; float *y; } strip;

static int64_t strips_cut(const ty_kernels *ks, const direct_plan *p, int64_t m0, int64_t m1, strip *out, conv_range *lines) {
  const ty_conv *v = &p->v;
  const ty_conv_shape *s = &v->s;
  int64_t count = 0;
  *lines = (conv_range){0, 0}; /* of all images, that the block reads */
  for (int64_t m = m0; m < m1;) {
    int64_t line = m / v->out[2], x0 = m % v->out[2], len = kernel_min(v->out[2] - x0, m1 - m), parts = kernel_ceil(len, ks->mr);
    int64_t n = line / v->out[1] / v->out[0], z = line / v->out[1] % v->out[0], y = line % v->out[1];
    int64_t iz = z * s->stride[0] - v->pad[0], iy = y * s->stride[1] - v->pad[1];
    conv_range kd = conv_taps(v->in[0], s->k[0], s->dil[0], iz), kh = conv_taps(v->in[1], s->k[1], s->dil[1], iy);
    if (kd.lo < kd.hi && kh.lo < kh.hi) { /* where taps are apart, a line of pixels may read lines before those of the one above it */
      int64_t from = (n * v->in[0] + iz + kd.lo * s->dil[0]) * v->in[1] + iy + kh.lo * s->dil[1];
      int64_t to = (n * v->in[0] + iz + (kd.hi - 1) * s->dil[0]) * v->in[1] + iy + (kh.hi - 1) * s->dil[1] + 1;
      *lines = (conv_range){lines->hi ? kernel_min(lines->lo, from) : from, kernel_max(lines->hi, to)};
    }
    for (int64_t i = 0; i < parts; i++) {
      int64_t x = x0 + kernel_share(len, i, parts), end = x0 + kernel_share(len, i + 1, parts);
      strip *t = out + count++;
      *t = (strip){.x = x, .n = end - x, .row = m - m0 + x - x0, .kd = kd, .kh = kh, .whole = x >= p->all.lo && end <= p->all.hi};
      t->at = n * v->x_n + iz * v->x_s[0] + iy * v->x_s[1] + (x * s->stride[2] - v->pad[2]) * v->x_s[2];
      t->y = v->y + (v->epi ? 0 : n * v->y_n + z * v->y_s[0] + y * v->y_s[1] + x * v->y_s[2]);
    }
    m += len;
  }
  return count;
}

/* n values of each of two lines (NULL: zeros), in runs that are step apart, as pairs. */
static void pair_lines(const ty_kernels *ks, const direct_plan *p, int64_t n, int64_t run, int64_t step, const float *const of[2], const float *zeros, float *d) {
  for (int64_t i = 0; i < n; i += run, d += run * (p->by->words ? 1 : 2)) {
    const float *lo = of[0] ? of[0] + i / run * step : zeros, *hi = of[1] ? of[1] + i / run * step : zeros;
    if (p->by->words) ks->pair(run, lo, hi, d);
    else
      for (int64_t j = 0; j < run; j++) d[2 * j] = lo[j], d[2 * j + 1] = hi[j];
  }
}

/* The lines [l0, l1) that strips read, as words (or pairs) in `to`; strips then start there. */
static void strips_make(const ty_kernels *ks, const direct_plan *p, conv_range lines, strip *strips, int64_t count, float *to, float *zeros) {
  const ty_conv *v = &p->from, *w = &p->v;
  const ty_conv_shape *s = &v->s;
  int64_t c0 = 0, c1 = v->in[2], pixel = s->groups * s->c, words = w->x_s[2], next = p->by->pairs ? s->stride[2] : c1;
  if (p->lined) {
    const strip *last = strips + count - 1;
    c0 = kernel_min(c1, kernel_max(0, strips->x * s->stride[2] - v->pad[2]));
    c1 = kernel_max(c0, kernel_min(c1, (last->x + last->n - 1) * s->stride[2] - v->pad[2] + (s->k[2] - 1) * s->dil[2] + 1));
  }
  int64_t room = (c1 - c0) * pixel, run = v->x_s[2] == pixel ? kernel_max(1, room) : pixel;
  if (p->paired) memset(zeros, 0, (size_t)kernel_min(run, room) * sizeof *zeros);
  for (int64_t l = lines.lo; p->paired && l < lines.hi; l++) {
    int64_t image = l / w->in[1], y = l % w->in[1] / w->s.k[1] * s->stride[1] - v->pad[1];
    const float *x = v->x + image / v->in[0] * v->x_n + image % v->in[0] * v->x_s[0] + c0 * v->x_s[2], *of[2];
    for (int64_t i = 0, tap = l % w->s.k[1] * 2; i < 2; i++, tap++) {
      int64_t at = y + tap * s->dil[1];
      of[i] = tap < s->k[1] && at >= 0 && at < v->in[1] ? x + at * v->x_s[1] : NULL;
    }
    pair_lines(ks, p, room, run, v->x_s[2], of, zeros, to + (l - lines.lo) * w->x_s[1]);
  }
  for (int64_t l = lines.lo; !p->paired && l < lines.hi; l++) {
    const float *x = v->x + l / v->in[1] / v->in[0] * v->x_n + l / v->in[1] % v->in[0] * v->x_s[0] + l % v->in[1] * v->x_s[1] + c0 * v->x_s[2];
    float *d = to + (l - lines.lo) * w->x_s[1];
    if (v->x_s[2] == pixel && !p->by->pairs) p->by->words((c1 - c0) * pixel, x, NULL, d);
    else
      for (int64_t c = c0; c < c1; c++, x += v->x_s[2], d += words) p->by->words(pixel, x, c + next < c1 ? x + next * v->x_s[2] : NULL, d);
  }
  for (int64_t i = 0; i < count; i++) strips[i].at -= lines.lo * w->x_s[1] + c0 * words;
}

typedef struct block { int64_t t0, t1, c0, c1; } block; /* of k: taps and channels */

/* The runs of a block over the taps' columns [w0, w1) and the rows of taps inside. Their a is an offset from the window's start
 * in x, their b from the block's start. */
static int64_t runs_list(const direct_plan *p, const block *b, conv_range kd, conv_range kh, int64_t w0, int64_t w1, ty_conv_run *run) {
  const ty_conv *v = &p->v;
  const ty_conv_shape *s = &v->s;
  int64_t count = 0, cb = b->c1 - b->c0;
  bool line = s->dil[2] == 1 && v->x_s[2] == cb * p->together; /* neighbouring taps are one run */
  for (int64_t d = kd.lo; d < kd.hi; d++)
    for (int64_t h = kh.lo; h < kh.hi; h++) {
      int64_t first = (d * s->k[1] + h) * s->k[2], e0 = kernel_max(w0, b->t0 - first), e1 = kernel_min(w1, b->t1 - first);
      if (e0 >= e1) continue;
      int64_t at = d * s->dil[0] * v->x_s[0] + h * s->dil[1] * v->x_s[1] + b->c0 * p->together;
      if (line) run[count++] = (ty_conv_run){(e1 - e0) * cb, at + e0 * cb * p->together, (first + e0 - b->t0) * cb / p->per};
      else
        for (int64_t w = e0; w < e1; w++) run[count++] = (ty_conv_run){cb, at + w * s->dil[2] * v->x_s[2], (first + w - b->t0) * cb / p->per};
    }
  return count;
}

typedef struct sub { const float *x, *b; int64_t ldb, nv; bool first; const char *ahead; int64_t step; } sub; /* columns of a panel */

/* A strip's pixels, `rows` of them, times the runs; their a is an offset from x. */
static void runs_multiply(const direct_plan *p, const sub *u, int64_t rows, int64_t n, const ty_conv_run *run, const float *x, int64_t lda,
                          float *c, int64_t ldc, bool started) {
  ty_conv_f32_fn f = p->by->conv[u->nv - 1][rows - 1];
  int64_t all = 0, done = 0, at = 0;
  for (int64_t i = 0; i < n; i++) all += run[i].k;
  if (all < SUM + SUM / 2 || p->v.format != TY_FORMAT_f32 || p->v.s.groups > 1) {
    f(n, run, x, lda, u->b, u->ldb, c, ldc, started, u->ahead, u->step);
    return;
  }
  for (int64_t parts = (all + SUM / 2) / SUM, i = 0; i < parts; i++, started = true) {
    ty_conv_run part[SUM + SUM / 2];
    int64_t count = 0, from = done, end = kernel_share(all, i + 1, parts);
    for (; done < end; count++) {
      int64_t k = kernel_min(run->k - at, end - done);
      part[count] = (ty_conv_run){k, run->a + at, run->b + at};
      done += k, at += k;
      if (at == run->k) run++, at = 0;
    }
    f(count, part, x, lda, u->b, u->ldb, c, ldc, started, u->ahead + from * u->step, u->step);
  }
}

static void strip_zero(float *c, int64_t ldc, int64_t rows, int64_t width) {
  for (int64_t r = 0; r < rows; r++) memset(c + r * ldc, 0, (size_t)width * sizeof *c);
}

static void strip_edge(const ty_kernels *ks, const direct_plan *p, const block *b, const strip *t, const sub *u, float *c, int64_t ldc) {
  const ty_conv *v = &p->v;
  int64_t k2 = v->s.k[2], lda = v->s.stride[2] * v->x_s[2];
  bool started = !u->first;
  ty_conv_run runs[RUNS_MAX];
  for (int pass = 0; pass < 2; pass++) { /* first the columns of taps that concern all pixels: they need no zeros to add to */
    for (int64_t w0 = 0, w1; w0 < k2; w0 = w1) {
      int64_t lo = kernel_max(0, p->cols[w0].lo - t->x), hi = kernel_min(t->n, p->cols[w0].hi - t->x);
      for (w1 = w0 + 1; w1 < k2; w1++)
        if (kernel_max(0, p->cols[w1].lo - t->x) != lo || kernel_min(t->n, p->cols[w1].hi - t->x) != hi) break;
      if (lo >= hi || (lo == 0 && hi == t->n) == (pass == 1)) continue;
      int64_t n = runs_list(p, b, t->kd, t->kh, w0, w1, runs);
      if (n == 0) continue;
      int64_t shift = t->at + lo * lda + runs[0].a, back = runs[0].a;
      for (int64_t i = 0; i < n; i++) runs[i].a -= back;
      runs_multiply(p, u, hi - lo, n, runs, u->x + shift, lda, c + lo * ldc, ldc, started);
      started = true;
    }
    if (!started) strip_zero(c, ldc, t->n, u->nv * ks->lanes), started = true;
  }
}

/* Columns of a panel over all strips, for one block of k. cq: the first pixel's sums; NULL: into y, at column n0. */
static void direct_columns(const ty_kernels *ks, const direct_plan *p, const block *b, const strip *strips, int64_t count, const sub *of,
                           float *cq, int64_t ldc, int64_t n0) {
  const ty_conv *v = &p->v;
  ty_conv_run runs[RUNS_MAX];
  int64_t n = 0, lda = v->s.stride[2] * v->x_s[2], back = 0;
  conv_range kd = {-1, -1}, kh = {-1, -1};
  sub u = *of;
  for (int64_t i = 0; i < count; i++) {
    const strip *t = strips + i;
    float *c = cq ? cq + t->row * ldc : t->y + n0;
    if (!t->whole) strip_edge(ks, p, b, t, &u, c, ldc);
    else {
      if (kd.lo != t->kd.lo || kd.hi != t->kd.hi || kh.lo != t->kh.lo || kh.hi != t->kh.hi) {
        kd = t->kd, kh = t->kh;
        n = runs_list(p, b, kd, kh, 0, v->s.k[2], runs), back = n ? runs[0].a : 0;
        for (int64_t r = 0; r < n; r++) runs[r].a -= back;
      }
      if (n) runs_multiply(p, &u, t->n, n, runs, u.x + (t->at + back), lda, c, ldc, !u.first);
      else if (u.first) strip_zero(c, ldc, t->n, u.nv * ks->lanes);
    }
    u.ahead += (b->t1 - b->t0) * (b->c1 - b->c0) / p->per * u.step;
  }
}

/* One tile: panels [p0, p1) of group g over the strips. after: what will be read when it is done. */
static void direct_tile(const ty_kernels *ks, const direct_plan *p, int64_t g, int64_t p0, int64_t p1, const strip *strips, int64_t count,
                        float *tile, int64_t ldt, const float *after) {
  const ty_conv *v = &p->v;
  int64_t window = conv_window(&v->s), base = conv_panel_at(&p->p, p0);
  const float *weights = v->b + g * p->p.units * p->p.unit * p->k;
  for (block b = {0}; b.t0 < window; b.t0 = b.t1)
    for (b.t1 = kernel_min(b.t0 + p->taps, window), b.c0 = 0; b.c0 < v->s.c; b.c0 = b.c1) {
      b.c1 = kernel_min(b.c0 + p->channels, v->s.c);
      for (int64_t q = p0; q < p1; q++) {
        int64_t n0 = conv_panel_at(&p->p, q), width = conv_panel_at(&p->p, q + 1) - n0, real = kernel_min(width, v->s.o - n0);
        const float *start = weights + n0 * p->k + (b.t0 * v->s.c + b.c0) / p->per * p->unit * width, *then = start + width * p->k;
        if (q + 1 == p1) {
          bool last = b.t1 == window && b.c1 == v->s.c;
          then = last ? after : weights + base * p->k + (b.c1 < v->s.c ? b.t0 * v->s.c + b.c1 : b.t1 * v->s.c) / p->per * p->unit * (conv_panel_at(&p->p, p0 + 1) - base);
        }
        bool spill = !v->epi && real < width;
        for (int64_t j = 0; j < real; j += ks->nr) {
          sub u = {.x = v->x + g * v->s.c * p->together, .b = start + j * p->unit, .ldb = width * p->unit, .nv = kernel_ceil(kernel_min(ks->nr, real - j), ks->lanes)};
          u.first = b.t0 == 0 && b.c0 == 0;
          u.ahead = (const char *)(count == 1 ? start + NEAR : then), u.step = u.ldb * (int64_t)sizeof(float) / count;
          if (v->epi) direct_columns(ks, p, &b, strips, count, &u, tile + n0 - base + j, ldt, 0);
          else if (spill) direct_columns(ks, p, &b, strips, count, &u, tile + j, width, 0);
          else direct_columns(ks, p, &b, strips, count, &u, NULL, v->y_s[2], g * v->s.o + n0 + j);
        }
      }
    }
  int64_t n0 = conv_panel_at(&p->p, p1 - 1), width = conv_panel_at(&p->p, p1) - n0, real = kernel_min(width, v->s.o - n0);
  if (v->epi || real == width) return;
  for (const strip *t = strips; t < strips + count; t++)
    for (int64_t i = 0; i < t->n; i++)
      memcpy(t->y + i * v->y_s[2] + g * v->s.o + n0, tile + (t->row + i) * width, (size_t)real * sizeof *tile);
}

/* Threads form a grid: parts of the pixels times threads that share the line of all panels, which is cut anywhere: a panel may be
 * divided between two of them by pixels. The grid that costs least, in cycles by a rough model, is taken. */
static int64_t direct_parts(const ty_kernels *ks, const direct_plan *p, int64_t strips, int64_t strip, int nt) {
  const ty_conv_shape *s = &p->v.s;
  int64_t best = 1;
  double least = 0, columns = (double)(s->groups * p->p.units * p->p.unit), k = (double)p->k;
  for (int64_t tm = 1; tm <= nt && tm <= strips; tm++) {
    double m = (double)(kernel_ceil(strips, tm) * strip), n = columns / (double)(nt / tm);
    double cost = m * n * k / (2 * ks->lanes) + n * k / 4 + m * (double)(s->c * s->groups);
    if (tm == 1 || cost < least) best = tm, least = cost;
  }
  return best;
}

/* The i-th of `of` cuts through the line of panels: a panel and the strips of it that come before the cut. */
typedef struct cut { int64_t panel, strips; } cut;
static cut direct_cut(const direct_plan *p, int64_t strips, int64_t i, int64_t of) {
  int64_t at = kernel_share(p->v.s.groups * p->p.units * strips, i, of), group = at / (p->p.units * strips), u = 0;
  at -= group * p->p.units * strips; /* units x strips */
  while (u < p->p.count && conv_panel_at(&p->p, u + 1) / p->p.unit * strips <= at) u++;
  if (u == p->p.count) return (cut){(group + 1) * p->p.count, 0};
  int64_t first = conv_panel_at(&p->p, u) / p->p.unit, wide = conv_panel_at(&p->p, u + 1) / p->p.unit - first;
  return (cut){group * p->p.count + u, (at - first * strips) / wide};
}

/* Pixels [m0, m1) of the panels [u0, u1) on the line of all groups' panels. */
static void direct_part(const ty_kernels *ks, const direct_plan *p, int tid, int64_t m0, int64_t m1, int64_t u0, int64_t u1, float *tile) {
  const ty_conv *v = &p->v;
  strip strips[ROWS_MAX];
  if (u0 >= u1) return;
  for (int64_t end; m0 < m1; m0 = end) {
    conv_range lines;
    end = kernel_min(m0 + p->rows, m1);
    if (p->lined) end = kernel_min(end, (m0 / v->out[2] + 1) * v->out[2]);
    int64_t count = strips_cut(ks, p, m0, end, strips, &lines);
    if (p->made) {
      for (; lines.hi - lines.lo > p->lines && end - m0 > 1; count = strips_cut(ks, p, m0, end, strips, &lines)) end = m0 + (end - m0) / 2; /* lines apart */
      strips_make(ks, p, lines, strips, count, tile + p->words_at / (int64_t)sizeof *tile, tile + p->zeros_at / (int64_t)sizeof *tile);
    }
    for (int64_t u = u0; u < u1;) {
      int64_t g = u / p->p.count, p0 = u % p->p.count, last = kernel_min(p->p.count, p0 + u1 - u);
      int64_t p1 = p0 + kernel_share(last - p0, 1, kernel_ceil(last - p0, p->group));
      int64_t n0 = conv_panel_at(&p->p, p0), n1 = kernel_min(conv_panel_at(&p->p, p1), v->s.o), ldt = conv_panel_at(&p->p, p1) - n0;
      u += p1 - p0;
      int64_t next = u < u1 ? u : u0;
      const float *after = v->b + (next / p->p.count * p->p.units * p->p.unit + conv_panel_at(&p->p, next % p->p.count)) * p->k;
      direct_tile(ks, p, g, p0, p1, strips, count, tile, ldt, after);
      if (v->epi) v->epi(v->epi_ctx, tid, 0, m0, end, g * v->s.o + n0, g * v->s.o + n1, tile, ldt);
    }
  }
}

static void direct_run(const ty_kernels *ks, const ty_conv *conv, int tid, int nt, void *scratch) {
  direct_plan p = direct_plan_make(ks, conv);
  const ty_conv *v = &p.v;
  const ty_conv_shape *s = &v->s;
  int64_t pixels = v->batch * v->out[0] * v->out[1] * v->out[2], line = s->groups * p.p.count;
  if (v->batch <= 0 || v->out[0] <= 0 || v->out[1] <= 0 || v->out[2] <= 0) return;
  int64_t strip = kernel_ceil(v->out[2], kernel_ceil(v->out[2], ks->mr)), count = kernel_ceil(pixels, strip);
  int64_t tm = direct_parts(ks, &p, count, strip, nt), tn = nt / tm, im = tid / tn, in = tid % tn;
  if (im >= tm) return;
  conv_range *cols = (conv_range *)((char *)scratch + p.cols_at);
  p.all = (conv_range){0, v->out[2]};
  for (int64_t w = 0; w < s->k[2]; w++) {
    cols[w] = conv_inside(v->in[2], v->out[2], s->stride[2], w * s->dil[2] - v->pad[2]);
    p.all.lo = kernel_max(p.all.lo, cols[w].lo), p.all.hi = kernel_min(p.all.hi, cols[w].hi);
  }
  p.cols = cols;
  if (p.made) p.v.x = (const float *)((char *)scratch + p.words_at);
  int64_t s0 = kernel_share(count, im, tm), m0 = s0 * strip, m1 = kernel_min(kernel_share(count, im + 1, tm) * strip, pixels);
  int64_t strips = kernel_share(count, im + 1, tm) - s0;
  cut a = direct_cut(&p, strips, in, tn), b = direct_cut(&p, strips, in + 1, tn);
  int64_t first = m0 + a.strips * strip, end = m0 + b.strips * strip;
  if (a.panel == b.panel && a.panel < line) direct_part(ks, &p, tid, first, end, a.panel, a.panel + 1, scratch);
  else {
    if (a.strips) direct_part(ks, &p, tid, first, m1, a.panel, a.panel + 1, scratch), a.panel++;
    direct_part(ks, &p, tid, m0, m1, a.panel, b.panel, scratch);
    if (b.strips) direct_part(ks, &p, tid, m0, end, b.panel, b.panel + 1, scratch);
  }
}

const conv_kind ty_conv_kind_direct = {direct_can, direct_packed, direct_pack, direct_scratch, direct_run};
