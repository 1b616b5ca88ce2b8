/* test_dim.c: symbolic dims: normal forms, the div and mod rules that reshapes need, proofs, text, and a random check of values. */
#include "check.h"
#include "graph/graph.h"

#include <stdlib.h>

static ty_ctx *ctx;
static ty_graph *g;

static const char *text(ty_dim d) {
  static char bufs[8][1024];
  static int k;
  char *b = bufs[k++ & 7];
  ty_str s = {0};
  ty_dim_print(g, d, &s);
  snprintf(b, sizeof bufs[0], "%s", s.p ? s.p : "");
  ty_str_free(&s);
  return b;
}

static ty_dim K(int64_t v) { return ty_dim_const(g, v); }
static ty_dim A(ty_dim a, ty_dim b) { return ty_dim_add(g, a, b); }
static ty_dim S(ty_dim a, ty_dim b) { return ty_dim_sub(g, a, b); }
static ty_dim M(ty_dim a, ty_dim b) { return ty_dim_mul(g, a, b); }
static ty_dim D(ty_dim a, ty_dim b) { return ty_dim_div(g, a, b); }
static ty_dim R(ty_dim a, ty_dim b) { return ty_dim_mod(g, a, b); }

static void fresh(void) {
  ty_graph_destroy(g);
  g = ty_graph_create(ctx);
}

static void test_normal(void) {
  fresh();
  ty_dim s0 = ty_dim_symbol(g, "s0", 2, 4096, 8), s1 = ty_dim_symbol(g, "s1", 2, INT64_MAX, 16);
  CHECK(ty_dim_symbol(g, "s0", 2, 4096, 8) == s0);
  CHECK(A(s0, s1) == A(s1, s0));
  CHECK(A(K(2), K(3)) == K(5));
  CHECK(M(A(s0, K(1)), s1) == A(M(s1, s0), s1));
  CHECK(S(M(A(s0, s1), A(s0, s1)), M(S(s0, s1), S(s0, s1))) == M(K(4), M(s1, s0)));
  CHECK(S(s0, s0) == K(0));
  CHECK_STR(text(A(M(K(2), s0), D(s1, K(4)))), "2*s0 + s1//4");
  CHECK_STR(text(S(M(K(3), R(s1, K(5))), A(D(s0, K(7)), K(1)))), "-(s0//7) + 3*(s1%5) - 1");
  CHECK_STR(text(ty_dim_min(g, s0, S(s1, K(1)))), "min(s0, s1 - 1)");
  CHECK(ty_dim_hint(g, A(s0, s1)) == 24);
  CHECK(ty_dim_get(g, A(s0, K(1)))->hi == 4097);
  CHECK(ty_dim_get(g, M(s0, s1))->hi == INT64_MAX && ty_dim_get(g, M(s0, s1))->lo == 4);
  CHECK(ty_dim_symbol(g, "min", 0, 4, 0) < 0 && ty_dim_symbol(g, "a b", 0, 4, 0) < 0);
  CHECK(M(K(INT64_MAX), K(2)) < 0 && A(M(K(INT64_MAX), K(2)), s0) < 0);
  CHECK(D(K(-7), K(2)) == K(-4) && R(K(-7), K(2)) == K(1) && D(K(5), K(0)) == K(0));
}

static void test_div(void) {
  fresh();
  ty_dim s0 = ty_dim_symbol(g, "s0", 2, 4096, 8), s1 = ty_dim_symbol(g, "s1", 2, INT64_MAX, 16);
  CHECK(D(M(K(12), s0), K(4)) == M(K(3), s0));
  CHECK(D(A(M(K(8), s0), K(9)), K(4)) == A(M(K(2), s0), K(2)));
  CHECK(D(M(s0, s1), s1) == s0 && R(M(s0, s1), s1) == K(0));
  CHECK(D(D(s1, K(4)), K(8)) == D(s1, K(32)));
  CHECK(D(A(D(s1, K(4)), K(3)), K(8)) == D(A(s1, K(12)), K(32)));
  CHECK(R(R(s1, K(32)), K(8)) == R(s1, K(8)));
  CHECK(D(R(s1, K(32)), K(8)) == R(D(s1, K(8)), K(4)));
  CHECK(A(M(K(4), D(s1, K(4))), R(s1, K(4))) == s1);
  CHECK(A(A(M(K(12), D(s1, K(4))), s0), A(M(K(3), R(s1, K(4))), K(7))) == A(A(M(K(3), s1), s0), K(7)));
  CHECK(A(M(s0, D(s1, s0)), R(s1, s0)) == s1);
  CHECK(A(A(M(K(768), D(s1, K(768))), M(K(64), R(D(s1, K(64)), K(12)))), R(s1, K(64))) == s1);
  CHECK(A(M(K(64), R(D(s1, K(64)), K(12))), R(s1, K(64))) == R(s1, K(768)));
  CHECK(R(M(K(6), s1), K(4)) == M(K(2), R(s1, K(2))));
  CHECK(D(M(K(6), s1), K(4)) == A(s1, D(s1, K(2))));
  ty_dim e = A(s0, K(1)); /* a divisor that is a sum */
  CHECK(D(M(s1, e), e) == s1 && R(M(s1, e), e) == K(0));
  CHECK(A(M(e, D(s1, e)), R(s1, e)) == s1);
  ty_dim z = ty_dim_symbol(g, "z", 0, 100, 0); /* may be 0: nothing cancels */
  CHECK(D(M(s0, z), z) != s0);
}

/* Index maps of reshapes between [B,S,H*D], [B,S,H,D], [B*S,N]. */
static void test_reshapes(void) {
  fresh();
  ty_dim B = ty_dim_symbol(g, "B", 1, 4096, 2), Q = ty_dim_symbol(g, "S", 1, INT64_MAX, 128);
  ty_dim b = ty_dim_loopvar(g, "b", B), s = ty_dim_loopvar(g, "s", Q), h = ty_dim_loopvar(g, "h", K(12)), d = ty_dim_loopvar(g, "d", K(64)),
         c = ty_dim_loopvar(g, "c", K(768));
  ty_dim flat = A(M(b, Q), s);
  CHECK(D(flat, Q) == b && R(flat, Q) == s);
  CHECK(ty_dim_known_lt(g, flat, M(B, Q)) && !ty_dim_known_lt(g, flat, S(M(B, Q), K(1))));
  ty_dim f4 = A(M(A(M(flat, K(12)), h), K(64)), d);
  CHECK(D(f4, K(768)) == flat);
  CHECK(R(f4, K(768)) == A(M(K(64), h), d));
  CHECK(D(R(f4, K(768)), K(64)) == h && R(f4, K(64)) == d);
  CHECK(D(f4, M(K(768), Q)) == b);
  CHECK(R(D(f4, K(768)), Q) == s);
  CHECK(D(f4, K(64)) == A(M(flat, K(12)), h) && R(D(f4, K(64)), K(12)) == h);
  CHECK_STR(text(D(c, K(64))), "c//64");
  CHECK_STR(text(R(c, K(64))), "c%64");
  CHECK(ty_dim_known_lt(g, D(c, K(64)), K(12)) && A(M(K(64), D(c, K(64))), R(c, K(64))) == c);
  ty_dim fc = A(M(flat, K(768)), c);
  CHECK(D(fc, K(768)) == flat && R(fc, K(768)) == c);
  CHECK(D(R(fc, K(768)), K(64)) == D(c, K(64)));
  CHECK(R(D(fc, K(64)), K(12)) == D(c, K(64)));
  CHECK(D(fc, M(Q, K(768))) == b);
  /* one row variable over all rows */
  ty_dim n = ty_dim_loopvar(g, "n", M(B, Q));
  CHECK(ty_dim_known_lt(g, D(n, Q), B) && ty_dim_known_lt(g, R(n, Q), Q));
  CHECK(A(M(D(n, Q), Q), R(n, Q)) == n);
  ty_dim fn = A(M(n, K(768)), c);
  CHECK(D(fn, M(Q, K(768))) == D(n, Q) && R(D(fn, K(768)), Q) == R(n, Q));
  CHECK(ty_dim_known_lt(g, fn, M(M(B, Q), K(768))));
  /* transposed: [B,H,S,D] from flat [B,S,H*D] */
  ty_dim t = A(M(A(M(A(M(b, K(12)), h), Q), s), K(64)), d);
  CHECK(D(t, K(64)) == A(M(A(M(b, K(12)), h), Q), s));
  CHECK(D(t, M(Q, K(64))) == A(M(b, K(12)), h) && D(t, M(Q, K(768))) == b);
  CHECK(R(D(t, M(Q, K(64))), K(12)) == h && R(D(t, K(64)), Q) == s);
  /* the length grew by one: [B, S+1] */
  ty_dim Q1 = A(Q, K(1)), s1 = ty_dim_loopvar(g, "s1", Q1), f1 = A(M(b, Q1), s1);
  CHECK(D(f1, Q1) == b && R(f1, Q1) == s1);
  CHECK(ty_dim_known_lt(g, f1, M(B, Q1)));
  ty_dim k1, k2;
  CHECK(ty_dim_linear(g, f4, h, &k1, &k2) && k1 == K(64) && k2 == A(M(K(768), flat), d));
  CHECK(ty_dim_linear(g, flat, b, &k1, &k2) && k1 == Q && k2 == s);
  CHECK(!ty_dim_linear(g, D(c, K(64)), c, &k1, &k2) && !ty_dim_linear(g, M(h, h), h, &k1, &k2));
  CHECK(ty_dim_linear(g, flat, d, &k1, &k2) && k1 == K(0) && k2 == flat);
  CHECK(ty_dim_subst(g, R(fc, K(64)), c, A(M(h, K(64)), d)) == d);
  CHECK(ty_dim_depends(g, R(n, Q), n) && !ty_dim_depends(g, R(n, Q), c));
}

static void test_prove(void) {
  fresh();
  ty_dim p = ty_dim_symbol(g, "p", 1, INT64_MAX, 0), q = ty_dim_symbol(g, "q", 2, INT64_MAX, 0), z = ty_dim_symbol(g, "z", 0, INT64_MAX, 0);
  CHECK(ty_dim_known_lt(g, z, A(z, p)) && !ty_dim_known_lt(g, z, A(z, z)));
  CHECK(ty_dim_known_lt(g, p, M(p, q)) && !ty_dim_known_lt(g, q, M(p, q)));
  CHECK(ty_dim_known_lt(g, D(q, K(2)), q));
  CHECK(ty_dim_known_lt(g, R(z, q), q));
  CHECK(ty_dim_known_lt(g, ty_dim_min(g, p, q), A(q, K(1))) && ty_dim_known_lt(g, p, A(ty_dim_max(g, p, q), K(1))));
  CHECK(ty_dim_min(g, p, A(p, K(3))) == p && ty_dim_max(g, K(1), p) == p);
  CHECK(ty_dim_min(g, p, q) == ty_dim_min(g, q, p));
  CHECK(!ty_dim_known_lt(g, p, q));
  ty_dim i = ty_dim_loopvar(g, "i", p), w = ty_dim_loopvar(g, "w", K(3));
  CHECK(ty_dim_known_lt(g, A(i, w), A(p, K(2))) && !ty_dim_known_lt(g, A(i, w), A(p, K(1))));
  CHECK(ty_dim_known_lt(g, S(S(p, i), K(1)), p) && ty_dim_known_lt(g, K(-1), S(S(p, i), K(1))));
}

static uint64_t rng = 88172645463325252u;
static uint32_t rnd(uint32_t n) {
  rng ^= rng << 13;
  rng ^= rng >> 7;
  rng ^= rng << 17;
  return (uint32_t)(rng >> 33) % n;
}

/* Expressions made by the arithmetic have the values that plain arithmetic gives, and lie in their ranges. */
enum { NV = 6 };
static int64_t floordiv(int64_t a, int64_t b) { return b ? a / b - (a % b && (a < 0) != (b < 0)) : 0; }
static void test_random(void) {
  int bad = 0, range_bad = 0;
  for (int round = 0; round < 3000; round++) {
    if (round % 50 == 0) fresh();
    ty_dim sym[NV];
    int64_t val[4][NV + 512] = {0};
    sym[0] = ty_dim_symbol(g, "a", 1, 40, 3);
    sym[1] = ty_dim_symbol(g, "b", 2, INT64_MAX, 3);
    sym[2] = ty_dim_symbol(g, "c", 0, 9, 3);
    sym[3] = ty_dim_loopvar(g, "i", sym[0]);
    sym[4] = ty_dim_loopvar(g, "j", K(24));
    sym[5] = ty_dim_loopvar(g, "k", M(sym[1], K(4)));
    int64_t leaf[4][NV];
    for (int t = 0; t < 4; t++) {
      int64_t *v = leaf[t];
      v[0] = 1 + rnd(40), v[1] = 2 + rnd(30), v[2] = rnd(10), v[3] = rnd((uint32_t)v[0]), v[4] = rnd(24), v[5] = rnd((uint32_t)v[1] * 4);
      for (int i = 0; i < NV; i++) val[t][ty_dim_get(g, sym[i])->value] = v[i];
    }
    ty_dim pool[40];
    int64_t pv[4][40];
    int n = NV;
    for (int i = 0; i < NV; i++) {
      pool[i] = sym[i];
      for (int t = 0; t < 4; t++) pv[t][i] = leaf[t][i];
    }
    while (n < 24) {
      uint32_t x = rnd((uint32_t)n), y = rnd((uint32_t)n), op = rnd(9);
      if (op >= 7) x = (uint32_t)n - 1;
      static const int64_t ks[] = {1, 2, 3, 4, 6, 8, 12, 24, 64, -1, -2, 5};
      int64_t k = ks[rnd(12)];
      bool use_k = rnd(2);
      ty_dim a = pool[x], b = use_k ? K(k) : pool[y], r;
      switch (op) {
      case 0: case 7: r = A(a, b); break;
      case 1: r = S(a, b); break;
      case 2: r = M(a, b); break;
      case 3: case 8: r = D(a, b); break;
      case 4: r = R(a, b); break;
      case 5: r = ty_dim_min(g, a, b); break;
      default: r = ty_dim_max(g, a, b); break;
      }
      if (r < 0) continue;
      bool huge = false;
      for (int t = 0; t < 4; t++) {
        int64_t u = pv[t][x], v = use_k ? k : pv[t][y], w;
        switch (op) {
        case 0: case 7: w = u + v; break;
        case 1: w = u - v; break;
        case 2: w = u * v; break;
        case 3: case 8: w = floordiv(u, v); break;
        case 4: w = v ? u - v * floordiv(u, v) : 0; break;
        case 5: w = u < v ? u : v; break;
        default: w = u > v ? u : v; break;
        }
        pv[t][n] = w;
        huge |= w > 1000000 || w < -1000000;
        if (ty_dim_eval(g, r, val[t]) != w) {
          if (bad++ < 5)
            fprintf(stderr, "op %u of %s and %s gives %s: %lld, want %lld\n", op, text(a), text(b), text(r), (long long)ty_dim_eval(g, r, val[t]), (long long)w);
        }
        if (w < ty_dim_get(g, r)->lo || w > ty_dim_get(g, r)->hi) range_bad++;
        if (ty_dim_known_lt(g, a, b) && !(u < v)) range_bad++;
      }
      pool[n] = r;
      if (!huge) n++;
      else if (rnd(4) == 0) break;
    }
  }
  CHECK(bad == 0);
  CHECK(range_bad == 0);
}

static void test_speed(void) {
  fresh();
  double t = ty_now();
  ty_dim B = ty_dim_symbol(g, "B", 1, 4096, 2), Q = ty_dim_symbol(g, "S", 1, INT64_MAX, 128);
  int ok = 1;
  for (int i = 0; i < 1000; i++) {
    ty_dim b = ty_dim_loopvar(g, "b", B), s = ty_dim_loopvar(g, "s", Q), c = ty_dim_loopvar(g, "c", K(768));
    ty_dim f = A(M(A(M(b, Q), s), K(768)), c);
    ok &= D(f, M(Q, K(768))) == b && R(D(f, K(768)), Q) == s && R(D(f, K(64)), K(12)) == D(c, K(64));
  }
  CHECK(ok);
  t = ty_now() - t;
  fprintf(stderr, "1000 reshape maps with fresh loop variables: %.1f ms\n", t * 1e3);
  CHECK(t < 5);
}

int main(void) {
  ctx = ty_ctx_create();
  test_normal();
  test_div();
  test_reshapes();
  test_prove();
  test_random();
  test_speed();
  ty_graph_destroy(g);
  ty_ctx_destroy(ctx);
  return check_done();
}
