/* test_rnn.c: recurrent layers against plain loops in double: kinds, directions, sizes around blocks and vectors, projections, threads. */
#include "test_kernel.h"
#include <pthread.h>

enum { STEPS = 4, MOST = 64 };

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
/* Weight of output unit u's gate g for input k, in blocks of a direction. */
static double at(const float *w, int64_t d, int64_t units, int64_t k, int64_t gates, int64_t u, int64_t g, int64_t i) {
  int64_t blocks = (units + TY_RNN_BLOCK - 1) / TY_RNN_BLOCK;
  return (double)w[((((d * blocks + u / TY_RNN_BLOCK) * k + i) * gates + g) * TY_RNN_BLOCK) + u % TY_RNN_BLOCK];
}

/* y[t][b][d][p] and c[d][b][h] by the book. */
static void reference(const ty_rnn *r, double *y, double *c) {
  int64_t G = ty_rnn_gates(r->kind);
  for (int64_t d = 0; d < r->d; d++)
    for (int64_t b = 0; b < r->b; b++)
      for (int64_t s = 0; s < r->t; s++) {
        int64_t t = d ? r->t - 1 - s : s, was = d ? t + 1 : t - 1;
        double h[MOST], cell, gate[4];
        for (int64_t u = 0; u < r->h; u++) {
          double hid[4] = {0}, prev = r->whr ? 0 : s ? y[((was * r->b + b) * r->d + d) * r->p + u] : (double)r->h0[(d * r->b + b) * r->p + u];
          for (int64_t g = 0; g < G; g++) {
            hid[g] = r->bhh ? (double)r->bhh[(d * G + g) * r->h + u] : 0;
            for (int64_t i = 0; i < r->p; i++)
              hid[g] += at(r->whh, d, r->h, r->p, G, u, g, i) * (s ? y[((was * r->b + b) * r->d + d) * r->p + i] : (double)r->h0[(d * r->b + b) * r->p + i]);
            gate[g] = (double)r->x[t * r->x_t + b * r->x_b + (d * G + g) * r->h + u];
          }
          if (r->kind == TY_RNN_LSTM) {
            double *cc = &c[(d * r->b + b) * r->h + u];
            cell = s ? *cc : (double)r->c0[(d * r->b + b) * r->h + u];
            *cc = sigmoid(gate[1] + hid[1]) * cell + sigmoid(gate[0] + hid[0]) * tanh(gate[2] + hid[2]);
            h[u] = sigmoid(gate[3] + hid[3]) * tanh(*cc);
          } else if (r->kind == TY_RNN_GRU) {
            double z = sigmoid(gate[1] + hid[1]), n = tanh(gate[2] + sigmoid(gate[0] + hid[0]) * hid[2]);
            h[u] = (1 - z) * n + z * prev;
          } else h[u] = r->kind == TY_RNN_TANH ? tanh(gate[0] + hid[0]) : fmax(gate[0] + hid[0], 0);
        }
        for (int64_t o = 0; o < r->p; o++) {
          double sum = r->whr ? 0 : h[o];
          for (int64_t i = 0; i < r->h && r->whr; i++) sum += at(r->whr, d, r->p, r->h, 1, o, 0, i) * h[i];
          y[((t * r->b + b) * r->d + d) * r->p + o] = sum;
        }
      }
}

static pthread_barrier_t barrier;
static void meet(int tid, int nt) { (void)tid, (void)nt, pthread_barrier_wait(&barrier); }
typedef struct part { const ty_kernels *ks; const ty_rnn *r; int tid, nt; } part;
static void *run(void *arg) {
  part *p = arg;
  ty_rnn_f32(p->ks, p->r, p->tid, p->nt, meet);
  return NULL;
}

static void one(const ty_kernels *ks, ty_rnn r, int nt, bool bias, bool project) {
  int64_t G = ty_rnn_gates(r.kind), up = TY_RNN_BLOCK, hb = (r.h + up - 1) / up, pb = (r.p + up - 1) / up;
  guarded x = guarded_make(r.t * r.b * r.d * G * r.h), w = guarded_make(r.d * hb * r.p * G * up), bh = guarded_make(r.d * G * r.h), pr = guarded_make(r.d * pb * r.h * up);
  guarded h0 = guarded_make(r.d * r.b * r.p), c0 = guarded_make(r.d * r.b * r.h), y = guarded_make(r.t * r.b * r.d * r.p), c = guarded_make(r.d * r.b * r.h), m = guarded_make(r.d * r.b * r.h);
  static double yr[STEPS * 16 * 2 * MOST], cr[2 * 16 * MOST];
  pthread_t threads[4];
  part parts[4];
  r.x = x.p, r.whh = w.p, r.bhh = bias ? bh.p : NULL, r.whr = project ? pr.p : NULL, r.h0 = h0.p, r.y = y.p;
  if (r.kind == TY_RNN_LSTM) r.c0 = c0.p, r.c = c.p;
  if (project) r.m = m.p;
  bool batch_first = rnd() & 1;
  r.x_b = batch_first ? r.t * r.d * G * r.h : r.d * G * r.h, r.x_t = batch_first ? r.d * G * r.h : r.b * r.d * G * r.h;
  r.y_b = batch_first ? r.t * r.d * r.p : r.d * r.p, r.y_t = batch_first ? r.d * r.p : r.b * r.d * r.p;
  reference(&r, yr, cr);
  pthread_barrier_init(&barrier, NULL, (unsigned)nt);
  for (int i = 0; i < nt; i++) parts[i] = (part){ks, &r, i, nt}, pthread_create(&threads[i], NULL, run, &parts[i]);
  for (int i = 0; i < nt; i++) pthread_join(threads[i], NULL);
  pthread_barrier_destroy(&barrier);
  bool ok = true;
  for (int64_t t = 0; t < r.t; t++)
    for (int64_t b = 0; b < r.b; b++)
      for (int64_t i = 0; i < r.d * r.p; i++) {
        double want = yr[(t * r.b + b) * r.d * r.p + i];
        ok &= near(r.y[t * r.y_t + b * r.y_b + i], want, 2e-4 * (1 + fabs(want)));
      }
  for (int64_t i = 0; i < r.d * r.b * r.h && r.c; i++) ok &= near(r.c[i], cr[i], 2e-4);
  CHECK(ok, "%s rnn kind %d t %d b %d d %d h %d p %d nt %d%s%s", ks->name, (int)r.kind, (int)r.t, (int)r.b, (int)r.d, (int)r.h, (int)r.p, nt, bias ? " bias" : "", project ? " projected" : "");
  guarded_free(x), guarded_free(w), guarded_free(bh), guarded_free(pr), guarded_free(h0), guarded_free(c0), guarded_free(y), guarded_free(c), guarded_free(m);
}

void test_rnn(const ty_kernels *ks) {
  static const int64_t hidden[] = {1, 3, 15, 16, 17, 33, 48}, batch[] = {1, 2, 3, 4, 5, 6, 7, 13};
  for (int kind = 0; kind <= TY_RNN_LSTM; kind++)
    for (int i = 0; i < test_rounds(60); i++) {
      ty_rnn r = {.kind = (ty_rnn_kind)kind, .t = 1 + rnd_below(STEPS), .b = RND_OF(batch), .d = 1 + rnd_below(2), .h = RND_OF(hidden)};
      bool project = kind == TY_RNN_LSTM && r.h > 1 && rnd_below(3) == 0;
      r.p = project ? 1 + rnd_below(r.h - 1) : r.h;
      one(ks, r, 1 + (int)rnd_below(3), rnd() & 1, project);
    }
}
