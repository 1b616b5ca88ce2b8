/* wino_tmpl.h: the transforms of Winograd's F(4x4, 3x3) for a tile, a vector of channels at a time. Points 0, +-A, +-B and
 * infinity with A*B = 1, whose powers are smaller than those of the usual 0, +-1, +-2: half the error. */

#define WINO_A 0.70710678118654752440f
#define WINO_B 1.41421356237309504880f

VF_FN void wino_line(vf d0, vf d1, vf d2, vf d3, vf d4, vf d5, vf *restrict o, const int step) { /* B^T d */
  const vf a = vf_set1(WINO_A), b = vf_set1(WINO_B), sum = vf_set1(-2.5f);
  vf e0 = vf_fma(d2, vf_set1(-2.0f), d4), e1 = vf_fma(d2, vf_set1(-0.5f), d4); /* d4 - B^2 d2, d4 - A^2 d2 */
  vf u0 = vf_mul(vf_fma(d1, vf_set1(-2.0f), d3), a), u1 = vf_mul(vf_fma(d1, vf_set1(-0.5f), d3), b);
  o[0] = vf_fma(d2, sum, vf_add(d0, d4));
  o[step] = vf_add(e0, u0), o[2 * step] = vf_sub(e0, u0);
  o[3 * step] = vf_add(e1, u1), o[4 * step] = vf_sub(e1, u1);
  o[5 * step] = vf_fma(d3, sum, vf_add(d1, d5));
}

VF_FN void wino_in_vector(const int full, int n, const float *x, int64_t line, int64_t pixel, int64_t y0, int64_t y1, int64_t x0, int64_t x1, float *v,
                          int64_t plane) {
  vf t[36], d[6], o[6];
  for (int j = 0; j < 6; j++) {
    for (int i = 0; i < 6; i++) {
      const float *q = x + i * line + j * pixel;
      d[i] = i < y0 || i >= y1 || j < x0 || j >= x1 ? vf_zero() : full ? vf_load(q) : vf_loadn(q, n);
    }
    wino_line(d[0], d[1], d[2], d[3], d[4], d[5], t + j, 6);
  }
  for (int i = 0; i < 6; i++) {
    const vf *r = t + 6 * i;
    wino_line(r[0], r[1], r[2], r[3], r[4], r[5], o, 1);
    for (int j = 0; j < 6; j++, v += plane) {
      if (full) vf_store(v, o[j]);
      else vf_storen(v, o[j], n);
    }
  }
}

static void tier_wino_in(int64_t c, const float *x, int64_t line, int64_t pixel, int64_t y0, int64_t y1, int64_t x0, int64_t x1, float *v, int64_t plane) {
  int64_t i = 0;
  if (y0 <= 0 && y1 >= 6 && x0 <= 0 && x1 >= 6)
    for (; i + VF_LANES <= c; i += VF_LANES) wino_in_vector(1, VF_LANES, x + i, line, pixel, 0, 6, 0, 6, v + i, plane);
  else
    for (; i + VF_LANES <= c; i += VF_LANES) wino_in_vector(1, VF_LANES, x + i, line, pixel, y0, y1, x0, x1, v + i, plane);
  if (i < c) wino_in_vector(0, (int)(c - i), x + i, line, pixel, y0, y1, x0, x1, v + i, plane);
}

VF_FN void wino_back(vf m0, vf m1, vf m2, vf m3, vf m4, vf m5, vf *restrict o, const int step) { /* A^T m */
  vf s0 = vf_add(m1, m2), d0 = vf_mul(vf_sub(m1, m2), vf_set1(WINO_A)), s1 = vf_add(m3, m4), d1 = vf_mul(vf_sub(m3, m4), vf_set1(WINO_B));
  o[0] = vf_add(m0, vf_add(s0, s1));
  o[step] = vf_add(d0, d1);
  o[2 * step] = vf_fma(s0, vf_set1(0.5f), vf_add(s1, s1));
  o[3 * step] = vf_fma(d0, vf_set1(0.5f), vf_add(vf_add(d1, d1), m5));
}

static void tier_wino_out(int64_t n, const float *m, int64_t plane, float *y, int64_t line, int64_t pixel, int64_t lines, int64_t pixels) {
  for (int64_t c = 0; c < n; c += VF_LANES, m += VF_LANES, y += VF_LANES) {
    vf t[24], o[4];
    for (int j = 0; j < 6; j++) {
      const float *q = m + j * plane;
      wino_back(vf_load(q), vf_load(q + 6 * plane), vf_load(q + 12 * plane), vf_load(q + 18 * plane), vf_load(q + 24 * plane), vf_load(q + 30 * plane), t + j, 6);
    }
    for (int i = 0; i < lines; i++) {
      const vf *r = t + 6 * i;
      wino_back(r[0], r[1], r[2], r[3], r[4], r[5], o, 1);
      float *d = y + i * line;
      vf_store(d, o[0]);
      if (pixels > 1) vf_store(d + pixel, o[1]);
      if (pixels > 2) vf_store(d + 2 * pixel, o[2]);
      if (pixels > 3) vf_store(d + 3 * pixel, o[3]);
    }
  }
}
