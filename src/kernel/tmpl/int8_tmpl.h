/* int8_tmpl.h: rows of A as 8 bits, and sums of integers as floats. PRODUCT_UNIT: words of A that stand together; INT8_PAIRS: two rows of A
 * stand together; INT8_LESS: what bytes are short of. */
#include <math.h>

/* Extremes of a row, and NaN where it holds one, or an infinity: 0 times that is NaN. */
typedef struct extent { vf lo, hi, odd; } extent;
VF_FN void int8_more(extent *e, vf x) { e->lo = vf_min(x, e->lo), e->hi = vf_max(x, e->hi), e->odd = vf_fma(x, vf_zero(), e->odd); }
VF_FN extent int8_extent(int64_t k, const float *a) {
  extent e[4];
  for (int i = 0; i < 4; i++) e[i].lo = e[i].hi = e[i].odd = vf_zero();
  int64_t i = 0;
  for (; i + 4 * VF_LANES <= k; i += 4 * VF_LANES)
    int8_more(&e[0], vf_load(a + i)), int8_more(&e[1], vf_load(a + i + VF_LANES)), int8_more(&e[2], vf_load(a + i + 2 * VF_LANES)),
        int8_more(&e[3], vf_load(a + i + 3 * VF_LANES));
  for (; i + VF_LANES <= k; i += VF_LANES) int8_more(&e[0], vf_load(a + i));
  if (i < k) int8_more(&e[0], vf_loadn(a + i, (int)(k - i)));
  return (extent){vf_min(vf_min(e[0].lo, e[1].lo), vf_min(e[2].lo, e[3].lo)), vf_max(vf_max(e[0].hi, e[1].hi), vf_max(e[2].hi, e[3].hi)),
                  vf_add(vf_add(e[0].odd, e[1].odd), vf_add(e[2].odd, e[3].odd))};
}

/* The bytes of a row, units `apart` bytes apart: x is (byte - zero) * scale, 0 being one of these exactly. To ends: scale and zero. */
VF_FN void int8_row(int64_t k, const float *a, uint8_t *to, const int apart, float *ends) {
  enum { UNIT = 4 * PRODUCT_UNIT };
  int64_t i = 0, padded = (k + UNIT - 1) / UNIT * UNIT;
  extent e = int8_extent(k, a);
  float scale = NAN, inverse = 0;
  int32_t zero = 0;
  uint8_t some[4 * VF_LANES] = {0};
  bool finite = vf_sum(e.odd) == 0;
#define INT8_AT(i) (to + (apart == UNIT ? (i) : (i) / UNIT * apart + (i) % UNIT))
  if (finite) {
    float least = -vf_top(vf_sub(vf_zero(), e.lo));
    scale = vf_top(e.hi) / 255.0f - least / 255.0f;
    if (scale > 1e-36f) inverse = 1.0f / scale;
    else scale = 0; /* as good as zeros */
    vf_bytes(some, vf_set1(-least * inverse), 0);
    zero = some[0];
    vf by = vf_set1(inverse);
    for (; i + VF_LANES <= k; i += VF_LANES) vf_bytes(INT8_AT(i), vf_mul(vf_load(a + i), by), zero);
    if (i < k) {
      vf_bytes(some, vf_mul(vf_loadn(a + i, (int)(k - i)), by), zero);
      for (int64_t n = i; i < k; i++) *INT8_AT(i) = some[i - n];
    }
  }
  for (; i < padded; i++) *INT8_AT(i) = 0;
  for (i = 0; INT8_LESS && i < padded; i++) *INT8_AT(i) = (uint8_t)(*INT8_AT(i) - INT8_LESS);
#undef INT8_AT
  zero -= INT8_LESS;
  ends[0] = scale;
  memcpy(ends + 1, &zero, sizeof zero);
}

#ifdef INT8_PAIRS
static void tier_words(int64_t k, const float *a, const float *second, float *to) {
  enum { UNIT = 4 * PRODUCT_UNIT };
  int64_t units = (k + UNIT - 1) / UNIT;
  float *ends = to + units * 2 * PRODUCT_UNIT;
  int8_row(k, a, (uint8_t *)to, 2 * UNIT, ends);
  if (second) int8_row(k, second, (uint8_t *)to + UNIT, 2 * UNIT, ends + 2);
  else {
    for (int64_t i = 0; i < units; i++) memset((uint8_t *)to + i * 2 * UNIT + UNIT, 0, UNIT);
    ends[2] = ends[3] = 0;
  }
}
#define INT8_ENDS(rows, i, lda) ((rows) + (i) / 2 * 2 * (lda) + (i) % 2 * 2)
#else
static void tier_words(int64_t k, const float *a, const float *second, float *to) {
  (void)second;
  int8_row(k, a, (uint8_t *)to, 4 * PRODUCT_UNIT, to + (k + 4 * PRODUCT_UNIT - 1) / (4 * PRODUCT_UNIT) * PRODUCT_UNIT);
}
#define INT8_ENDS(rows, i, lda) ((rows) + (i) * (lda))
#endif

static void tier_finish(int64_t m, int nv, const float *rows, int64_t lda, const float *cols, int64_t ldb, float *c, int64_t ldc) {
  for (int64_t i = 0; i < m; i++, c += ldc) {
    const float *ends = INT8_ENDS(rows, i, lda);
    int32_t zero;
    memcpy(&zero, ends + 1, sizeof zero);
    vf scale = vf_set1(ends[0]);
    for (int v = 0; v < nv; v++) {
      float *at = c + v * VF_LANES;
      vf sum = vf_whole(vf_lessi(vf_load(at), zero, vf_load(cols + ldb + v * VF_LANES)));
      vf_store(at, vf_mul(sum, vf_mul(scale, vf_load(cols + v * VF_LANES))));
    }
  }
}
