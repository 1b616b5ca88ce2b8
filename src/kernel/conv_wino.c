/* conv_wino.c: Winograd's minimal filtering F(4x4, 3x3): 36 products for 16 pixels, where the direct method takes 144.
 * Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015.
 *
 * Order of the loops in a thread: block of tiles (transformed to V[36][tile][c]), panel of output channels, the 36 points (a
 * matrix product each, to M[36][tile][column]), then M back to pixels. V of a block stays in L2 over the panels.
 * Packed weights: the panels of the direct kind, each [36][c][its width]. */
#include "kernel/conv_int.h"

enum {
  TILE = 4, POINTS = 36,
  TILES_MIN = 16, TILES_MAX = 48,  /* of a block */
  BLOCK_BYTES = 640 << 10,         /* wanted for V and M */
  SUM = 32,                        /* channels summed before what came before is added: 512 of them err 7e-7, and 2e-6 in one sum */
  SUM_FEW = 16, FEW = 128,         /* of up to FEW channels: first layers' errors weigh most, and more sums cost them least */
};

static bool wino_can(const ty_conv_shape *s) {
  return s->groups == 1 && s->c > 0 && s->o > 0 && s->k[0] == 1 && s->k[1] == 3 && s->k[2] == 3 && s->stride[0] == 1 && s->stride[1] == 1 &&
         s->stride[2] == 1 && s->dil[1] == 1 && s->dil[2] == 1;
}

static int64_t wino_packed(int64_t nr, const ty_conv_shape *s) {
  conv_panels p = conv_panels_of(nr, s->o);
  return p.units * p.unit * POINTS * s->c;
}

static void wino_weights(const float *w, int64_t l1, int64_t l2, double out[POINTS]) { /* G g G^T; G's rows are 1, p, p^2 over m'(p) */
  static const double a = 0.70710678118654752440, b = 1.41421356237309504880;
  const double g[6][3] = {{1, 0, 0}, {-1 / 1.5, -a / 1.5, -0.5 / 1.5}, {-1 / 1.5, a / 1.5, -0.5 / 1.5},
                          {1 / 6.0, b / 6.0, 2 / 6.0}, {1 / 6.0, -b / 6.0, 2 / 6.0}, {0, 0, 1}};
  double t[6][3];
  for (int i = 0; i < 6; i++)
    for (int j = 0; j < 3; j++) t[i][j] = g[i][0] * (double)w[j * l2] + g[i][1] * (double)w[l1 + j * l2] + g[i][2] * (double)w[2 * l1 + j * l2];
  for (int i = 0; i < 6; i++)
    for (int j = 0; j < 6; j++) out[i * 6 + j] = t[i][0] * g[j][0] + t[i][1] * g[j][1] + t[i][2] * g[j][2];
}

static void wino_pack(int64_t nr, const ty_conv_shape *s, const float *w, const int64_t ldw[5], float *dst, int part, int parts) {
  conv_panels p = conv_panels_of(nr, s->o);
  for (int64_t q = kernel_share(p.count, part, parts), end = kernel_share(p.count, part + 1, parts); q < end; q++) {
    int64_t n0 = conv_panel_at(&p, q), width = conv_panel_at(&p, q + 1) - n0;
    float *d = dst + n0 * POINTS * s->c;
    for (int64_t c = 0; c < s->c; c++, d += width)
      for (int64_t j = 0; j < width; j++) {
        double u[POINTS] = {0};
        if (n0 + j < s->o) wino_weights(w + (n0 + j) * ldw[0] + c * ldw[1], ldw[3], ldw[4], u);
        for (int64_t i = 0; i < POINTS; i++) d[i * s->c * width + j] = (float)u[i];
      }
  }
}

typedef struct wino_plan {
  conv_panels p;
  int64_t across, down; /* tiles of an image */
  int64_t tiles, wide;  /* tiles of a block at most; across of them at most */
  int64_t m_at, y_at, bytes;
} wino_plan;

static wino_plan wino_plan_make(const ty_kernels *ks, const ty_conv *v) {
  wino_plan p = {.p = conv_panels_of(v->b_nr ? v->b_nr : ks->nr, v->s.o)};
  int64_t width = (p.p.units + p.p.count - 1) / p.p.count * p.p.unit;
  p.across = kernel_max(1, kernel_ceil(v->out[2], TILE)), p.down = kernel_ceil(v->out[1], TILE);
  int64_t rows = kernel_max(1, v->batch * v->out[0] * p.down);
  p.tiles = kernel_min(TILES_MAX, kernel_max(TILES_MIN, BLOCK_BYTES / (POINTS * (v->s.c + width) * (int64_t)sizeof(float))));
  if (p.across <= p.tiles) p.wide = p.across, p.tiles = kernel_min(rows, p.tiles / p.across) * p.across;
  else p.wide = p.tiles = kernel_ceil(p.across, kernel_ceil(p.across, p.tiles));
  p.m_at = kernel_up(POINTS * p.tiles * v->s.c, 16);
  p.y_at = p.m_at + POINTS * p.tiles * width;
  p.bytes = (p.y_at + p.tiles * TILE * TILE * width) * (int64_t)sizeof(float);
  return p;
}

static size_t wino_scratch(const ty_kernels *ks, const ty_conv *v) { return (size_t)wino_plan_make(ks, v).bytes; }

/* Rows [t0, t1) of tiles (over all images), tiles [a0, a1) across, to V[36][tile][c]. */
static void wino_in(const ty_kernels *ks, const ty_conv *v, const wino_plan *p, int64_t t0, int64_t t1, int64_t a0, int64_t a1, float *to, int64_t plane) {
  for (int64_t t = t0; t < t1; t++) {
    int64_t image = t / p->down, n = image / v->out[0], z = image % v->out[0], iy = t % p->down * TILE - v->pad[1], iz = z - v->pad[0];
    bool out = iz < 0 || iz >= v->in[0];
    for (int64_t a = a0; a < a1; a++, to += v->s.c) {
      int64_t ix = a * TILE - v->pad[2];
      const float *x = v->x + (n * v->x_n + iz * v->x_s[0] + iy * v->x_s[1] + ix * v->x_s[2]);
      ks->wino_in(v->s.c, x, v->x_s[1], v->x_s[2], out ? TILE + 2 : -iy, v->in[1] - iy, -ix, v->in[2] - ix, to, plane);
    }
  }
}

/* M of one panel: 36 products of m tiles. after: what will be read then. */
static void wino_products(const ty_kernels *ks, int64_t m, int64_t c, const float *a, int64_t plane, const float *b, int64_t width, int64_t real,
                          float *to, const float *after) {
  int64_t strips = kernel_ceil(m, ks->mr), each = c * width * (int64_t)sizeof *b / strips, step = width * (int64_t)sizeof *b / strips;
  int64_t sum = c > FEW ? SUM : SUM_FEW;
  for (int64_t i = 0; i < POINTS; i++, a += plane, b += c * width, to += m * width) {
    const char *ahead = (const char *)(i + 1 < POINTS ? b + c * width : after);
    for (int64_t j = 0; j < real; j += ks->nr) {
      int64_t nv = kernel_ceil(kernel_min(ks->nr, real - j), ks->lanes);
      for (int64_t s = 0, m0 = 0; s < strips; s++) {
        int64_t m1 = kernel_share(m, s + 1, strips);
        for (int64_t k = 0; k < c; k += sum)
          ks->f32->gemm[nv - 1][m1 - m0 - 1](kernel_min(c - k, sum), a + m0 * c + k, c, b + k * width + j, width, to + m0 * width + j, width, k > 0,
                                             ahead + s * each + k * step, step);
        m0 = m1;
      }
    }
  }
}

/* Pixels of the tiles [t0, t1) x [a0, a1) from M, a panel's columns [n0, n0 + real), to the caller. */
static void wino_out(const ty_kernels *ks, const ty_conv *v, const wino_plan *p, int tid, int64_t t0, int64_t t1, int64_t a0, int64_t a1, const float *m,
                     int64_t width, int64_t n0, int64_t real, float *y) {
  int64_t x0 = a0 * TILE, pixels = kernel_min(a1 * TILE, v->out[2]) - x0, plane = (t1 - t0) * (a1 - a0) * width, row = 0, first = 0;
  for (int64_t t = t0; t < t1; t++) {
    int64_t y0 = t % p->down * TILE, lines = kernel_min(TILE, v->out[1] - y0), at = (t / p->down * v->out[1] + y0) * v->out[2] + x0;
    if (t == t0) first = at;
    for (int64_t a = a0; a < a1; a++, m += width)
      ks->wino_out(real, m, plane, y + (row * pixels + (a - a0) * TILE) * width, pixels * width, width, lines, kernel_min(TILE, v->out[2] - a * TILE));
    if (!v->epi) {
      int64_t image = t / p->down;
      float *d = v->y + image / v->out[0] * v->y_n + image % v->out[0] * v->y_s[0] + y0 * v->y_s[1] + x0 * v->y_s[2] + n0;
      for (int64_t i = 0; i < lines; i++)
        for (int64_t j = 0; j < pixels; j++)
          memcpy(d + i * v->y_s[1] + j * v->y_s[2], y + ((row + i) * pixels + j) * width, (size_t)real * sizeof *y);
    } else if (pixels < v->out[2]) {
      for (int64_t i = 0; i < lines; i++, at += v->out[2])
        v->epi(v->epi_ctx, tid, 0, at, at + pixels, n0, n0 + real, y + (row + i) * pixels * width, width);
    }
    row += lines;
  }
  if (v->epi && pixels == v->out[2]) v->epi(v->epi_ctx, tid, 0, first, first + row * pixels, n0, n0 + real, y, width);
}

/* Threads form a grid over rows of tiles and panels. Panels shared: V is made by each; tiles shared: all weights are read by each. */
static int64_t wino_row_parts(const ty_kernels *ks, const ty_conv *v, const wino_plan *p, int64_t rows, int nt) {
  int64_t best = 1;
  double least = 0, c = (double)v->s.c;
  for (int64_t tm = 1; tm <= nt && tm <= rows; tm++) {
    double t = (double)(kernel_ceil(rows, tm) * p->across);
    double n = (double)(kernel_ceil(p->p.units, kernel_min(nt / tm, p->p.count)) * p->p.unit);
    double products = POINTS * t * c * n / (2 * ks->lanes), read = POINTS * c * n * 4 / 10 * (t < (double)p->tiles ? 1 : t / (double)p->tiles);
    double cost = (products > read ? products : read) + t * (c * 90 + n * 60) / ks->lanes;
    if (tm == 1 || cost < least) best = tm, least = cost;
  }
  return best;
}

static void wino_run(const ty_kernels *ks, const ty_conv *v, int tid, int nt, void *scratch) {
  int64_t rows = v->batch * v->out[0] * kernel_ceil(v->out[1], TILE), c = v->s.c;
  if (rows <= 0 || v->out[2] <= 0) return;
  wino_plan p = wino_plan_make(ks, v);
  int64_t tm = wino_row_parts(ks, v, &p, rows, nt), tn = kernel_min(nt / tm, p.p.count), im = tid / tn, in = tid % tn;
  if (im >= tm) return;
  int64_t r0 = kernel_share(rows, im, tm), r1 = kernel_share(rows, im + 1, tm), q0 = kernel_share(p.p.count, in, tn), q1 = kernel_share(p.p.count, in + 1, tn);
  int64_t high = p.tiles / p.wide, blocks = kernel_ceil(r1 - r0, high), segments = kernel_ceil(p.across, p.wide);
  float *tv = scratch, *tm_ = tv + p.m_at, *ty = tv + p.y_at;
  for (int64_t i = 0; i < blocks; i++)
    for (int64_t j = 0; j < segments; j++) {
      int64_t t0 = r0 + kernel_share(r1 - r0, i, blocks), t1 = r0 + kernel_share(r1 - r0, i + 1, blocks);
      int64_t a0 = kernel_share(p.across, j, segments), a1 = kernel_share(p.across, j + 1, segments), m = (t1 - t0) * (a1 - a0);
      wino_in(ks, v, &p, t0, t1, a0, a1, tv, m * c);
      for (int64_t q = q0; q < q1; q++) {
        int64_t n0 = conv_panel_at(&p.p, q), width = conv_panel_at(&p.p, q + 1) - n0, real = kernel_min(width, v->s.o - n0);
        const float *b = v->b + n0 * POINTS * c, *after = v->b + conv_panel_at(&p.p, q + 1 < q1 ? q + 1 : q0) * POINTS * c;
        wino_products(ks, m, c, tv, m * c, b, width, real, tm_, after);
        wino_out(ks, v, &p, tid, t0, t1, a0, a1, tm_, width, n0, real, ty);
      }
    }
}

const conv_kind ty_conv_kind_winograd = {wino_can, wino_packed, wino_pack, wino_scratch, wino_run};
