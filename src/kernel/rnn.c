/* rnn.c: recurrent layers over all time steps: threads share the blocks of hidden units, and meet where they read each other's. */
#include "kernel/kernel_int.h"

bool ty_rnn_apart(const ty_rnn *r, int nt) { return nt == 1 || r->d % nt == 0; } /* each thread has whole directions */

void ty_rnn_f32(const ty_kernels *ks, const ty_rnn *r, int tid, int nt, void (*meet)(int tid, int nt)) {
  int64_t blocks = kernel_ceil(r->h, TY_RNN_BLOCK), parts = kernel_ceil(r->p, TY_RNN_BLOCK), apart = ty_rnn_apart(r, nt);
  int64_t lo = kernel_share(r->d * blocks, tid, nt), hi = kernel_share(r->d * blocks, tid + 1, nt);
  int64_t plo = kernel_share(r->d * parts, tid, nt), phi = kernel_share(r->d * parts, tid + 1, nt);
  for (int64_t i = lo; i < hi && r->c; i++) {
    int64_t d = i / blocks, u = i % blocks * TY_RNN_BLOCK, n = kernel_min(TY_RNN_BLOCK, r->h - u);
    for (int64_t b = 0; b < r->b; b++) memcpy(r->c + (d * r->b + b) * r->h + u, r->c0 + (d * r->b + b) * r->h + u, (size_t)n * sizeof(float));
  }
  for (int64_t s = 0; s < r->t; s++) {
    for (int64_t i = lo; i < hi; i++) {
      int64_t d = i / blocks, t = d ? r->t - 1 - s : s, was = d ? t + 1 : t - 1;
      const float *before = s ? r->y + was * r->y_t + d * r->p : r->h0 + d * r->b * r->p;
      ks->rnn_block(r, d, i % blocks, t, before, s ? r->y_b : r->p);
    }
    if (!apart) meet(tid, nt);
    if (!r->whr) continue;
    for (int64_t i = plo; i < phi; i++) ks->rnn_project(r, i / parts, i % parts, i / parts ? r->t - 1 - s : s);
    if (!apart) meet(tid, nt);
  }
}
