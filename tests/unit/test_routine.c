/* Unit tests for src/rt/routine.h: sorting, scattering and bags against the plainest code, over sizes that take each way; bad indices. */
#include "rt/routine.h"
#include "check.h"

#include <math.h>
#include <stdlib.h>

static uint64_t state = 88172645463325252u;
static uint64_t rnd(uint64_t below) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state % below;
}

/* Does a stand before b? NaN is greatest, equal ones stand as they came. */
static bool before(double a, double b, int64_t i, int64_t j, bool down) {
  bool na = a != a, nb = b != b, equal = (na && nb) || a == b, less = !equal && (nb || a < b);
  return equal ? i < j : down != less;
}

static void check_sort(ty_dtype dt, int64_t rows, int64_t n, int64_t k, bool down, int nt, uint64_t values) {
  int64_t size = ty_dtype_size(dt);
  char *x = malloc((size_t)(rows * n * size + 1));
  double *v = malloc((size_t)(rows * n) * sizeof *v + 1);
  int64_t *out = malloc((size_t)(rows * k) * sizeof *out + 1);
  for (int64_t i = 0; i < rows * n; i++) {
    double d = (double)rnd(values) - (double)(values / 2);
    bool nan = rnd(50) == 0;
    switch (dt) {
    case TY_f32: ((float *)x)[i] = (float)(v[i] = nan ? NAN : d == 0 && rnd(2) ? -0.0 : d / 8); break;
    case TY_f64: ((double *)x)[i] = v[i] = nan ? NAN : d / 8; break;
    case TY_i64: v[i] = (double)(((int64_t *)x)[i] = (int64_t)d * 1000003); break;
    case TY_i8: v[i] = ((int8_t *)x)[i] = (int8_t)d; break;
    default: v[i] = ((uint8_t *)x)[i] = (uint8_t)rnd(2);
    }
  }
  rt_routine r = {.which = down ? TY_SORT_DOWN : TY_SORT_UP, .dtype = dt, .in = {x}, .out = out, .size = {rows, n, k}};
  r.scratch = malloc(ty_rt_routine_scratch(r.which, r.size) + 1);
  for (int t = 0; t < nt; t++) ty_rt_routine_do(&r, t, nt);
  bool ok = true;
  for (int64_t o = 0; o < rows; o++) {
    const double *row = v + o * n;
    const int64_t *at = out + o * k;
    for (int64_t i = 0; i < k; i++) ok = ok && at[i] >= 0 && at[i] < n && (!i || before(row[at[i - 1]], row[at[i]], at[i - 1], at[i], down));
    int64_t ahead = 0; /* what is left out stands after the last one */
    for (int64_t i = 0; i < n && k; i++) ahead += before(row[i], row[at[k - 1]], i, at[k - 1], down);
    ok = ok && (!k || ahead == k - 1);
  }
  if (!CHECK(ok)) fprintf(stderr, "  %s rows %lld n %lld k %lld down %d\n", ty_dtypes[dt].name, (long long)rows, (long long)n, (long long)k, down);
  free(x), free(v), free(out), free(r.scratch);
}

static void test_sort(void) {
  static const ty_dtype dt[] = {TY_f32, TY_f64, TY_i64, TY_i8, TY_bool};
  static const int64_t n[] = {1, 2, 13, 100, 1023, 3000};
  for (int d = 0; d < 5; d++)
    for (int i = 0; i < 6; i++)
      for (int down = 0; down < 2; down++) {
        check_sort(dt[d], 3, n[i], n[i], down, 2, 40);
        check_sort(dt[d], 2, n[i], n[i] < 5 ? 1 : 5, down, 1, 10000);
      }
  check_sort(TY_f32, 1, 5000, 900, true, 1, 100);
  check_sort(TY_f32, 4, 700, 0, true, 1, 100);
}

static void test_scatter(void) {
  enum { N = 7, J = 40, W = 3 };
  static const ty_routine kinds[] = {TY_SCATTER_SET, TY_SCATTER_SUM, TY_SCATTER_PROD, TY_SCATTER_MAX, TY_SCATTER_MIN};
  for (int k = 0; k < 5; k++)
    for (int nt = 1; nt <= 3; nt++) {
      float x[N * W], y[J * W], out[N * W], want[N * W];
      int64_t ix[N * W], iy[J * W], iout[N * W], iwant[N * W], at[J];
      ty_i32 fault = 0;
      for (int i = 0; i < N * W; i++) want[i] = x[i] = (float)rnd(9) - 4, iwant[i] = ix[i] = (int64_t)rnd(9) - 4;
      for (int i = 0; i < J * W; i++) y[i] = i == 17 ? NAN : (float)rnd(9) - 4, iy[i] = (int64_t)rnd(9) - 4;
      for (int j = 0; j < J; j++) at[j] = (int64_t)rnd(N);
      for (int i = 0; i < J * W; i++) {
        int64_t to = at[i / W] * W + i % W, t = iy[i], *e = &iwant[to];
        float *d = &want[to], s = y[i];
        *d = k == 0 ? s : k == 1 ? *d + s : k == 2 ? *d * s : s != s || *d != *d ? NAN : k == 3 ? fmaxf(*d, s) : fminf(*d, s);
        *e = k == 0 ? t : k == 1 ? *e + t : k == 2 ? (int64_t)((uint64_t)*e * (uint64_t)t) : k == 3 ? (t > *e ? t : *e) : t < *e ? t : *e;
      }
      rt_routine r = {.which = kinds[k], .dtype = TY_f32, .in = {x, at, y}, .out = out, .size = {N, J, W}, .fault = &fault};
      rt_routine s = {.which = kinds[k], .dtype = TY_i64, .in = {ix, at, iy}, .out = iout, .size = {N, J, W}, .fault = &fault};
      for (int t = 0; t < nt; t++) ty_rt_routine_do(&r, t, nt), ty_rt_routine_do(&s, t, nt);
      bool ok = !fault && !memcmp(iout, iwant, sizeof iout);
      for (int i = 0; i < N * W; i++) ok = ok && (out[i] == want[i] || (isnan(out[i]) && isnan(want[i])));
      CHECK(ok);
      at[3] = nt == 2 ? -1 : N;
      ty_rt_routine_do(&r, 0, 1);
      CHECK(fault == 1);
    }
}

static void test_bag(const ty_kernels *ks) {
  enum { R = 50, B = 9, J = 60 };
  for (int width = 1; width < 200; width += 43)
    for (int mode = 0; mode < 4; mode++) { /* 3: weights */
      float *table = malloc((size_t)(R * width) * sizeof *table), *out = malloc((size_t)(B * width) * sizeof *out), weight[J];
      int64_t index[J], start[B + 1] = {0};
      ty_i32 fault = 0;
      for (int i = 0; i < R * width; i++) table[i] = (float)rnd(100) - 50;
      for (int j = 0; j < J; j++) index[j] = (int64_t)rnd(R), weight[j] = (float)rnd(5);
      for (int b = 1; b <= B; b++) start[b] = b == 4 ? start[3] : b == B ? J : start[b - 1] + (int64_t)rnd(8);
      for (int last = 0; last < 2; last++) {
        rt_routine r = {.which = mode == 3 ? TY_BAG_SUM : (ty_routine)(TY_BAG_SUM + mode), .dtype = TY_f32, .in = {table, index, start, mode == 3 ? weight : NULL},
                        .out = out, .size = {R, width, J, B, B + last, index[1]}, .kernels = ks, .fault = &fault};
        for (int t = 0; t < 2; t++) ty_rt_routine_do(&r, t, 2);
        bool ok = !fault;
        for (int b = 0; b < B; b++)
          for (int c = 0; c < width; c++) {
            float sum = 0, most = -INFINITY;
            int n = 0;
            for (int64_t j = start[b]; j < start[b + 1]; j++) {
              if (index[j] == index[1]) continue;
              float v = table[index[j] * width + c];
              n++, sum += mode == 3 ? v * weight[j] : v, most = fmaxf(most, v);
            }
            ok = ok && out[b * width + c] == (!n ? 0 : mode == 2 ? most : mode == 1 ? sum / (float)n : sum);
          }
        CHECK(ok);
      }
      rt_routine r = {.which = TY_BAG_SUM, .dtype = TY_f32, .in = {table, index, start}, .out = out, .size = {R, width, J, B, B, -1}, .kernels = ks, .fault = &fault};
      start[2] = J + 1;
      ty_rt_routine_do(&r, 0, 1);
      CHECK(fault == 1);
      start[2] = start[1], index[5] = R, fault = 0;
      ty_rt_routine_do(&r, 0, 1);
      CHECK(fault == 1);
      free(table), free(out);
    }
}

static void test_extrema(void) {
  const float x[] = {1, 3, 3, 2, NAN, 9, NAN, 1};
  int64_t out[8];
  rt_routine r = {.which = TY_SCAN_ARGMAX, .dtype = TY_f32, .in = {x}, .out = out, .size = {1, 8, 1}};
  ty_rt_routine_do(&r, 0, 1);
  CHECK(!memcmp(out, (int64_t[]){0, 1, 2, 2, 4, 4, 6, 6}, sizeof out));
  r.which = TY_SCAN_ARGMIN;
  ty_rt_routine_do(&r, 0, 1);
  CHECK(!memcmp(out, (int64_t[]){0, 0, 0, 0, 4, 4, 6, 6}, sizeof out));
}

int main(void) {
  test_sort();
  test_scatter();
  const ty_kernels *ks = NULL; /* each tier that this CPU runs */
  for (int isa = 0; isa < TY_NISA; isa++)
    if (ty_cpu_runs((ty_isa)isa) && ty_kernels_get((ty_isa)isa) != ks) test_bag(ks = ty_kernels_get((ty_isa)isa));
  test_extrema();
  return check_done();
}
