/* attention.c: scaled dot product attention, whole where the core operator takes it, written out where it does not. */
#include "ops/family.h"

#include <math.h>

/* ---- Arguments. param: 0 scaled_dot_product_attention(q, k, v, mask, dropout, causal, *, scale, gqa)
 * 1 _scaled_dot_product_flash_attention_for_cpu(q, k, v, dropout, causal, *, mask, scale) -> (out, logsumexp)
 * 2 _scaled_dot_product_attention_math(q, k, v, mask, dropout, causal, dropout_mask, *, scale, gqa) -> (out, weights) ---- */
enum { PLAIN, FLASH, MATH };
typedef struct sdpa {
  ty_value *q, *k, *v, *mask;
  bool causal;
  double scale;
  bool grouped; /* the query's heads may be a multiple of the key's */
  int rank;
  ty_dim batch[TY_MAX_RANK], s, t, e; /* batch: leading dims of the result (the query's heads last); lengths of query and key; value size */
} sdpa;

static ty_status sdpa_of(ty_graph *g, const ty_node *n, sdpa *a) {
  int w = ty_o_param(n), r, br;
  ty_dim kb[TY_MAX_RANK], tmp[TY_MAX_RANK], full[TY_MAX_RANK];
  int64_t hq, hk, size;
  a->q = ty_o_val(n, 0), a->k = ty_o_val(n, 1), a->v = ty_o_val(n, 2);
  a->mask = ty_o_val(n, w == FLASH ? 5 : 3);
  a->causal = ty_o_bool(n, w == FLASH ? 4 : 5);
  a->grouped = w == PLAIN ? ty_o_bool(n, 7) : w == MATH ? ty_o_bool(n, 8) : false;
  if (ty_o_float(g, n, w == FLASH ? 3 : 4, 0) != 0 || (w == MATH && ty_o_val(n, 6))) return ty_fail(g->ctx, TY_UNSUPPORTED, "attention with dropout");
  r = a->rank = a->q->rank;
  if (r < 2 || a->k->rank != r || a->v->rank != r || (w == FLASH && r != 4)) return ty_fail(g->ctx, r < 2 ? TY_INVALID : TY_UNSUPPORTED, "attention of ranks %d, %d, %d", r, a->k->rank, a->v->rank);
  TY_TRY(ty_o_need_float(g, a->q));
  if (a->k->dtype != a->q->dtype || a->v->dtype != a->q->dtype) return ty_fail(g->ctx, TY_INVALID, "query, key and value must have one dtype");
  a->s = a->q->shape[r - 2], a->t = a->k->shape[r - 2], a->e = a->v->shape[r - 1];
  TY_TRY(ty_o_same(g, a->q->shape[r - 1], a->k->shape[r - 1], "head size of query and key"));
  TY_TRY(ty_o_need_same(g, n, a->t, a->v->shape[r - 2], "length of key and value")); /* two caches have a symbol each */
  const ty_arg *sc = &n->args[w == FLASH ? 6 : 7 - (w == PLAIN)];
  if (!ty_o_number(g, sc, &a->scale)) {
    if (sc->kind != TY_ARG_NONE || !ty_dim_is_const(g, a->q->shape[r - 1], &size)) return ty_fail(g->ctx, TY_UNSUPPORTED, "attention with a symbolic scale");
    a->scale = 1 / sqrt((double)size);
  }
  br = r - 2;
  for (int i = 0; i < br; i++) a->batch[i] = a->q->shape[i], kb[i] = a->k->shape[i];
  for (int i = 0; i < br; i++) TY_TRY(ty_o_same(g, a->v->shape[i], kb[i], "batch of key and value"));
  if (a->grouped) {
    if (r < 3 || !ty_dim_is_const(g, a->batch[br - 1], &hq) || !ty_dim_is_const(g, kb[br - 1], &hk)) return ty_fail(g->ctx, TY_UNSUPPORTED, "grouped heads of symbolic number");
    if (hk <= 0 || hq % hk) return ty_fail(g->ctx, TY_INVALID, "the query's heads must be a multiple of the key's");
    kb[br - 1] = a->batch[br - 1];
  }
  if (br && ty_dim_is(g, kb[br - 1], 1)) a->grouped = true; /* one head for all: no need to expand it */
  TY_TRY(ty_broadcast(g, br, a->batch, br, kb, &r, tmp));
  for (int i = 0; i < br; i++) a->batch[i] = tmp[i];
  if (a->mask) {
    if (a->causal) return ty_fail(g->ctx, TY_INVALID, "explicit attn_mask should not be set when is_causal=True");
    if (w == MATH && a->mask->dtype == TY_bool) return ty_fail(g->ctx, TY_UNSUPPORTED, "a bool attn_mask, which the math operator adds as 0 and 1");
    if (a->mask->dtype != TY_bool && a->mask->dtype != a->q->dtype) return ty_fail(g->ctx, TY_UNSUPPORTED, "attn_mask of %s", ty_dtypes[a->mask->dtype].torch);
    tmp[br] = a->s, tmp[br + 1] = a->t;
    int keys = a->mask->rank - 1;
    for (int i = 0; i <= keys; i++) full[i] = a->mask->shape[i];
    if (keys >= 0 && ty_dim_get(g, full[keys])->lo > 1) { /* it is not broadcast: that it fits is checked at the call */
      TY_TRY(ty_o_need_same(g, n, full[keys], a->t, "attn_mask"));
      full[keys] = a->t;
    }
    ty_dim given[TY_MAX_RANK];
    for (int i = 0; i <= keys; i++) given[i] = full[i];
    TY_TRY(ty_broadcast(g, a->mask->rank, given, br + 2, tmp, &r, full));
    if (r != br + 2) return ty_fail(g->ctx, TY_INVALID, "attn_mask has too many dims");
    for (int i = 0; i < r; i++) TY_TRY(ty_o_same(g, full[i], tmp[i], "attn_mask"));
  }
  return TY_OK;
}

ty_status ty_sdpa_infer(ty_graph *g, ty_node *n) {
  sdpa a;
  TY_TRY(sdpa_of(g, n, &a));
  int b = a.rank - 2;
  a.batch[b] = a.s, a.batch[b + 1] = a.e;
  TY_TRY(ty_o_out(g, n, a.q->dtype, a.rank, a.batch));
  a.batch[b + 1] = a.t;
  if (ty_o_param(n) == FLASH) return ty_o_out(g, n, ty_o_compute(a.q->dtype), b + 1, a.batch);
  return ty_o_param(n) == MATH ? ty_o_out(g, n, a.q->dtype, a.rank, a.batch) : TY_OK;
}

/* ---- Four dims for the core operator: [B, H, length, size] ---- */
/* v [batch.., x, y] as [B, H, x, y]; heads: those of v itself when they are grouped, else of the result. */
static ty_value *four(ty_graph *g, ty_value *v, const sdpa *a, bool grouped) {
  int b = a->rank - 2;
  ty_dim s[TY_MAX_RANK];
  if (!v) return NULL;
  for (int i = 0; i < b; i++) s[i] = a->batch[i];
  if (grouped) s[b - 1] = v->shape[b - 1];
  for (int i = 0; i < 2; i++) s[b + i] = v->shape[b + i];
  bool same = true;
  for (int i = 0; i < a->rank; i++) same &= s[i] == v->shape[i];
  if (!same) v = ty_c_expand(g, v, a->rank, s);
  if (b == 2 || !v) return v;
  ty_dim f[4] = { b > 2 ? ty_dim_product(g, b - 1, s) : ty_dim_const(g, 1), b ? s[b - 1] : ty_dim_const(g, 1), s[b], s[b + 1] };
  return ty_c_reshape(g, v, 4, f);
}
/* A mask broadcastable to the result's batch, as one broadcastable to [B, H, S, T]. */
static ty_value *mask_four(ty_graph *g, ty_value *m, const sdpa *a) {
  int b = a->rank - 2;
  ty_dim s[TY_MAX_RANK], one = ty_dim_const(g, 1);
  if (m->rank <= 2 || b == 2) return m;
  if (b == 1) { /* [H, S, T] of a result without batch */
    ty_dim f[4] = { one, m->shape[0], m->shape[1], m->shape[2] };
    return ty_c_reshape(g, m, 4, f);
  }
  for (int i = 0; i < a->rank; i++) s[i] = i < b ? a->batch[i] : m->shape[i - a->rank + m->rank];
  m = ty_c_expand(g, m, a->rank, s);
  ty_dim f[4] = { ty_dim_product(g, b - 1, s), s[b - 1], s[b], s[b + 1] };
  return m ? ty_c_reshape(g, m, 4, f) : NULL;
}

/* ---- Written out over four dims: scores, then their softmax; a row that may look nowhere gives zeros ---- */
static ty_value *repeat_heads(ty_graph *g, ty_value *k, ty_dim heads) {
  if (!k || k->shape[1] == heads || ty_dim_is(g, k->shape[1], 1)) return k;
  ty_dim times = ty_dim_div(g, heads, k->shape[1]), s[5] = { k->shape[0], k->shape[1], times, k->shape[2], k->shape[3] };
  ty_dim f[4] = { k->shape[0], heads, k->shape[2], k->shape[3] };
  ty_value *u = ty_o_unsqueeze(g, k, 2);
  u = u ? ty_c_expand(g, u, 5, s) : NULL;
  return u ? ty_c_reshape(g, u, 4, f) : NULL;
}
static ty_value *scores(ty_graph *g, ty_value *q, ty_value *k, ty_value *mask, const sdpa *a) {
  ty_value *minus_inf;
  if (!q || !k) return NULL;
  minus_inf = ty_o_num(g, q->dtype, -INFINITY);
  k = repeat_heads(g, k, q->shape[1]);
  ty_value *w = k ? ty_c_matmul(g, q, ty_o_swap(g, k, 2, 3), (ty_arg){0}) : NULL;
  w = ty_o2(g, TY_P_mul, w, ty_o_num(g, q->dtype, a->scale));
  if (mask) w = mask->dtype == TY_bool ? ty_o_sel(g, mask, w, minus_inf) : ty_o2(g, TY_P_add, w, mask);
  if (a->causal) {
    ty_dim s[2] = { a->s, a->t };
    w = ty_o_sel(g, ty_o2(g, TY_P_le, ty_c_iota(g, 2, s, 1), ty_c_iota(g, 2, s, 0)), w, minus_inf);
  }
  return w;
}
static ty_value *weights(ty_graph *g, ty_value *w) {
  static const int last = 3;
  ty_value *r = ty_o_softmax(g, w, 3, false);
  if (!w) return NULL;
  ty_value *dead = ty_o_reduce(g, "all", ty_o2(g, TY_P_eq, w, ty_o_num(g, w->dtype, -INFINITY)), 1, &last, true);
  return ty_o_sel(g, dead, ty_o_num(g, w->dtype, 0), r);
}

ty_status ty_sdpa_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  sdpa a;
  TY_TRY(sdpa_of(g, n, &a));
  static const int last = 3;
  ty_dtype c = ty_o_compute(a.q->dtype);
  ty_dim zero = ty_dim_const(g, 0); /* what is as long as the keys by a need gets their symbol */
  a.v = ty_c_slice(g, a.v, a.rank - 2, zero, 1, a.t);
  if (a.mask && a.mask->rank && ty_dim_get(g, a.mask->shape[a.mask->rank - 1])->lo > 1) a.mask = ty_c_slice(g, a.mask, a.mask->rank - 1, zero, 1, a.t);
  if (!a.v || (ty_o_val(n, ty_o_param(n) == FLASH ? 5 : 3) && !a.mask)) return ty_o_done(g, rep, NULL);
  ty_value *q = four(g, ty_c_cast(g, a.q, c), &a, false), *k = four(g, ty_c_cast(g, a.k, c), &a, a.grouped), *v = four(g, ty_c_cast(g, a.v, c), &a, a.grouped);
  ty_value *m = a.mask ? mask_four(g, a.mask, &a) : NULL, *w = NULL, *o;
  if (!q || !k || !v || (a.mask && !m)) return ty_o_done(g, rep, NULL);
  if (m && m->dtype != TY_bool) m = ty_c_cast(g, m, c);
  if (c != TY_f32 || ty_o_param(n) != PLAIN) w = scores(g, q, k, m, &a);
  if (c == TY_f32) o = ty_c_attention(g, q, k, v, m, NULL, a.causal, a.scale, false, (ty_arg){0});
  else o = w ? ty_c_matmul(g, weights(g, w), repeat_heads(g, v, q->shape[1]), (ty_arg){0}) : NULL;
  TY_TRY(ty_o_done(g, rep, ty_o_fit(g, ty_o_reshape_like(g, o, n->outs[0]), n->outs[0])));
  if (ty_o_param(n) == MATH) return ty_o_done(g, rep + 1, ty_o_fit(g, ty_o_reshape_like(g, weights(g, w), n->outs[1]), n->outs[1]));
  if (ty_o_param(n) == PLAIN) return TY_OK;
  if (ty_dim_is(g, a.t, 0)) return ty_o_done(g, rep + 1, ty_c_full(g, n->outs[1]->dtype, n->outs[1]->rank, n->outs[1]->shape, -INFINITY));
  ty_value *top = ty_o_reduce(g, "max", w, 1, &last, true); /* logsumexp of the scores: backward only, so mostly dead */
  ty_value *lse = ty_o1(g, TY_P_log, ty_o_reduce(g, "sum", ty_o1(g, TY_P_exp, ty_o2(g, TY_P_sub, w, top)), 1, &last, true));
  return ty_o_done(g, rep + 1, ty_o_reshape_like(g, ty_o2(g, TY_P_add, lse, top), n->outs[1]));
}
