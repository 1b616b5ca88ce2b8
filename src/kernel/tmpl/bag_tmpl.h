/* bag_tmpl.h: the sum of rows of a table named by indices. Rows come from memory at random: many of the next ones are asked for early
 * (a random row of 256 bytes comes at 24 GB/s with 8 rows on the way, at 36 with 32). */
enum { BAG_AHEAD = 32, BAG_LINE = 64 };

#define BAG_COLUMNS(NV, load) \
  do { \
    vf acc[NV]; \
    for (int i = 0; i < (NV); i++) acc[i] = vf_zero(); \
    for (int64_t k = 0; k < n; k++) { \
      if (k + BAG_AHEAD < known) { \
        const char *next = (const char *)(table + index[k + BAG_AHEAD] * width + c); \
        for (int l = 0; l < (NV) * VF_LANES * 4; l += BAG_LINE) __builtin_prefetch(next + l); \
      } \
      if (index[k] == skip) continue; \
      const float *x = table + index[k] * width + c; \
      vf w = vf_set1(weight ? weight[k] : 1); \
      for (int i = 0; i < (NV); i++) acc[i] = vf_fma(load(x + i * VF_LANES), w, acc[i]); \
    } \
    for (int i = 0; i < (NV); i++) { \
      if (c + (i + 1) * VF_LANES <= width) vf_store(y + c + i * VF_LANES, acc[i]); \
      else vf_storen(y + c + i * VF_LANES, acc[i], (int)(width - c - i * VF_LANES)); \
    } \
    c += (NV) * VF_LANES; \
  } while (0)

static void tier_bag_sum(int64_t n, int64_t known, const int64_t *index, int64_t skip, const float *weight, const float *table, int64_t width, float *y) {
  int64_t c = 0;
  while (c + 4 * VF_LANES <= width) BAG_COLUMNS(4, vf_load);
  while (c + VF_LANES <= width) BAG_COLUMNS(1, vf_load);
#define BAG_REST(p) vf_loadn(p, (int)(width - c))
  if (c < width) BAG_COLUMNS(1, BAG_REST);
#undef BAG_REST
}
