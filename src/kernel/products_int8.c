/* products_int8.c: one tier's products of 8-bit weights with rows of A made 8 bits as they come; built once a tier, and with -DTY_DOT where
 * the CPU multiplies bytes. All tiers sum the same integers: their results are the same to the bit. */
#include "kernel/tier.h"
#include <math.h>
#define PRODUCT_PARTS 1
#define PRODUCT_ONE(p) vf x = vf_set1(*(p))
#define PRODUCT_LOAD(p, part) vf_load(p)
#define PRODUCT_MAC(x, b, c) vf_dot8(x, b, c)
#define PRODUCT_ADD(a, b) vf_addi(a, b)
#ifdef TY_DOT
#define PRODUCT_NAME TIER_JOIN(TIER_NAME, _vnni)
#else
#define PRODUCT_NAME TIER_NAME
#endif
#include "kernel/tmpl/gemm_tmpl.h"

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

/* The bytes of a row: x is (byte - zero) * scale, 0 being one of these exactly. */
static void tier_words(int64_t k, const float *a, float *to) {
  int64_t words = (k + 3) / 4, i = 0;
  extent e = int8_extent(k, a);
  float scale = NAN, inverse = 0;
  int32_t zero = 0;
  uint8_t *bytes = (uint8_t *)to, some[4 * VF_LANES];
  bool finite = vf_sum(e.odd) == 0;
  if (finite) {
    float least = -vf_top(vf_sub(vf_zero(), e.lo));
    scale = vf_top(e.hi) / 255.0f - least / 255.0f;
    if (scale > 1e-36f) inverse = 1.0f / scale;
    else scale = 0; /* as good as zeros */
    vf_bytes(some, vf_set1(-least * inverse), 0);
    zero = some[0];
    vf by = vf_set1(inverse);
    for (; i + VF_LANES <= k; i += VF_LANES) vf_bytes(bytes + i, vf_mul(vf_load(a + i), by), zero);
    if (i < k) {
      vf_bytes(some, vf_mul(vf_loadn(a + i, (int)(k - i)), by), zero);
      memcpy(bytes + i, some, (size_t)(k - i));
    }
    for (i = k; i < 4 * words; i++) bytes[i] = 0;
  } else memset(bytes, 0, (size_t)words * 4);
  to[words] = scale;
  memcpy(to + words + 1, &zero, sizeof zero);
}

static void tier_finish(int64_t m, int nv, const float *rows, int64_t lda, const float *cols, int64_t ldb, float *c, int64_t ldc) {
  for (int64_t i = 0; i < m; i++, rows += lda, c += ldc) {
    int32_t zero;
    memcpy(&zero, rows + 1, sizeof zero);
    vf scale = vf_set1(rows[0]);
    for (int v = 0; v < nv; v++) {
      float *at = c + v * VF_LANES;
      vf sum = vf_whole(vf_lessi(vf_load(at), zero, vf_load(cols + ldb + v * VF_LANES)));
      vf_store(at, vf_mul(sum, vf_mul(scale, vf_load(cols + v * VF_LANES))));
    }
  }
}

const ty_products TIER_JOIN(ty_products_int8__, PRODUCT_NAME) = {
    .format = TY_FORMAT_int8, .name = TIER_TEXT(PRODUCT_NAME), .gemm = TIER_GEMM_TABLE, .words = tier_words, .finish = tier_finish,
};
