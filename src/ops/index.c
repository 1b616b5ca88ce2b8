/* index.c: gathers: embedding, index_select, gather, index.Tensor, take, and the views that are gathers (diagonal, unfold). */
#include "ops/family.h"

static bool is_index(const ty_value *v) { return v->dtype == TY_i64 || v->dtype == TY_i32; }
static ty_status need_index(ty_graph *g, const ty_value *v) {
  return is_index(v) ? TY_OK : ty_fail(g->ctx, TY_INVALID, "indices must be int32 or int64, got %s", ty_dtypes[v->dtype].torch);
}
static ty_value *index_checked(ty_graph *g, ty_value *x, ty_value **idx) {
  for (int i = 0; i < x->rank; i++)
    if (!idx[i]) return NULL;
  return ty_c_index(g, x, idx);
}
/* An index vector along `dim` of a result of the given rank, shaped to broadcast: [.., n, .., 1]. */
static ty_value *along(ty_graph *g, ty_value *v, int rank, int dim) {
  ty_dim s[TY_MAX_RANK];
  if (!v) return NULL;
  for (int i = 0; i < rank; i++) s[i] = i == dim ? v->shape[0] : ty_dim_const(g, 1);
  return ty_c_reshape(g, v, rank, s);
}
static ty_value *iota_along(ty_graph *g, ty_dim size, int rank, int dim) { return along(g, ty_c_iota(g, 1, &size, 0), rank, dim); }

/* ---- embedding(weight, indices, ...): rows of a table ---- */
ty_status ty_embedding_infer(ty_graph *g, ty_node *n) {
  ty_value *w = ty_o_val(n, 0), *i = ty_o_val(n, 1);
  ty_dim s[TY_MAX_RANK + 1];
  TY_TRY(need_index(g, i));
  if (w->rank != 2) return ty_fail(g->ctx, TY_INVALID, "embedding: weight must have 2 dims");
  for (int k = 0; k < i->rank; k++) s[k] = i->shape[k];
  s[i->rank] = w->shape[1];
  return ty_o_out(g, n, w->dtype, i->rank + 1, s);
}
ty_status ty_embedding_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *w = ty_o_val(n, 0), *i = ty_o_val(n, 1);
  ty_value *idx[2] = { ty_o_unsqueeze(g, i, i->rank), ty_c_iota(g, 1, &w->shape[1], 0) };
  return ty_o_done(g, rep, ty_o_fit(g, index_checked(g, w, idx), n->outs[0]));
}

/* ---- index_select(self, dim, index) ---- */
ty_status ty_index_select_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *i = ty_o_val(n, 2);
  ty_dim s[TY_MAX_RANK];
  int d;
  TY_TRY(need_index(g, i));
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  if (i->rank > 1) return ty_fail(g->ctx, TY_INVALID, "index_select: index must be a vector");
  if (!x->rank) return ty_fail(g->ctx, TY_UNSUPPORTED, "index_select of rank 0");
  for (int k = 0; k < x->rank; k++) s[k] = k == d ? (i->rank ? i->shape[0] : ty_dim_const(g, 1)) : x->shape[k];
  return ty_o_out(g, n, x->dtype, x->rank, s);
}
ty_status ty_index_select_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *i = ty_o_val(n, 2), *idx[TY_MAX_RANK];
  int d;
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  ty_value *flat = ty_c_reshape(g, i, 1, &n->outs[0]->shape[d]);
  for (int k = 0; k < x->rank; k++) idx[k] = k == d ? along(g, flat, x->rank, k) : iota_along(g, x->shape[k], x->rank, k);
  return ty_o_done(g, rep, ty_o_fit(g, index_checked(g, x, idx), n->outs[0]));
}

/* ---- gather(self, dim, index, sparse_grad), take_along_dim(self, indices, dim) ---- */
static ty_value *gather(ty_graph *g, ty_value *x, int d, ty_value *i) {
  ty_value *idx[TY_MAX_RANK];
  if (!x || !i) return NULL;
  for (int k = 0; k < x->rank; k++) idx[k] = k == d ? i : iota_along(g, i->shape[k], i->rank, k);
  return index_checked(g, x, idx);
}
ty_status ty_gather_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *i = ty_o_val(n, 2);
  int d;
  TY_TRY(need_index(g, i));
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  if (!x->rank || x->rank != i->rank)
    return ty_fail(g->ctx, x->rank && i->rank ? TY_INVALID : TY_UNSUPPORTED, "gather: index of rank %d for input of rank %d", i->rank, x->rank);
  for (int k = 0; k < x->rank; k++)
    if (k != d && ty_dim_known_lt(g, x->shape[k], i->shape[k])) return ty_fail(g->ctx, TY_INVALID, "gather: index is greater than the input in dim %d", k);
  return ty_o_out(g, n, x->dtype, i->rank, i->shape);
}
ty_status ty_gather_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0);
  int d;
  TY_TRY(ty_o_dim(g, n, 1, x->rank, &d));
  return ty_o_done(g, rep, ty_o_fit(g, gather(g, x, d, ty_o_val(n, 2)), n->outs[0]));
}
/* Shapes of input and index after broadcasting all dims but d. */
static ty_status along_shapes(ty_graph *g, const ty_node *n, int *d, ty_dim *xs, ty_dim *is) {
  ty_value *x = ty_o_val(n, 0), *i = ty_o_val(n, 1);
  ty_dim a[TY_MAX_RANK], b[TY_MAX_RANK], out[TY_MAX_RANK];
  int r;
  TY_TRY(need_index(g, i));
  if (!x->rank || x->rank != i->rank) return ty_fail(g->ctx, TY_INVALID, "take_along_dim: ranks must match");
  TY_TRY(ty_o_dim(g, n, 2, x->rank, d));
  for (int k = 0; k < x->rank; k++) a[k] = k == *d ? ty_dim_const(g, 1) : x->shape[k], b[k] = k == *d ? ty_dim_const(g, 1) : i->shape[k];
  TY_TRY(ty_broadcast(g, x->rank, a, x->rank, b, &r, out));
  for (int k = 0; k < x->rank; k++) xs[k] = k == *d ? x->shape[k] : out[k], is[k] = k == *d ? i->shape[k] : out[k];
  return TY_OK;
}
ty_status ty_take_along_dim_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *i = ty_o_val(n, 1);
  ty_dim xs[TY_MAX_RANK], is[TY_MAX_RANK], len = ty_o_numel(g, i);
  int d;
  if (ty_o_none(n, 2)) return is_index(i) ? ty_o_out(g, n, x->dtype, 1, &len) : need_index(g, i);
  TY_TRY(along_shapes(g, n, &d, xs, is));
  return ty_o_out(g, n, x->dtype, x->rank, is);
}
ty_status ty_take_along_dim_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *i = ty_o_val(n, 1);
  ty_dim xs[TY_MAX_RANK], is[TY_MAX_RANK], xn = ty_o_numel(g, x), in = ty_o_numel(g, i);
  int d = 0;
  if (ty_o_none(n, 2)) {
    x = ty_c_reshape(g, x, 1, &xn);
    i = ty_c_reshape(g, i, 1, &in);
  } else {
    TY_TRY(along_shapes(g, n, &d, xs, is));
    x = ty_c_expand(g, x, x->rank, xs);
    i = ty_c_expand(g, i, i->rank, is);
  }
  return ty_o_done(g, rep, gather(g, x, d, x ? ty_o_where_nonneg(g, i, x->shape[d]) : NULL));
}

/* take(self, index): from the flat tensor; negative indices wrap. */
ty_status ty_take_infer(ty_graph *g, ty_node *n) {
  ty_value *i = ty_o_val(n, 1);
  TY_TRY(need_index(g, i));
  return ty_o_out(g, n, ty_o_val(n, 0)->dtype, i->rank, i->shape);
}
ty_status ty_take_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_dim flat = ty_o_numel(g, ty_o_val(n, 0));
  ty_value *x = ty_c_reshape(g, ty_o_val(n, 0), 1, &flat), *idx[1] = { ty_o_where_nonneg(g, ty_o_val(n, 1), flat) };
  return ty_o_done(g, rep, x ? index_checked(g, x, idx) : NULL);
}

/* ---- index.Tensor(self, Tensor?[] indices): NumPy's advanced indexing by integers ----
 * Indexed dims that stand side by side are replaced in place by the indices' broadcast shape; else that shape comes first. */
typedef struct advanced { int rank, at, nlist, brank; ty_dim bshape[TY_MAX_RANK], shape[TY_MAX_RANK]; ty_value *const *list; } advanced;
static ty_status advanced_of(ty_graph *g, const ty_node *n, advanced *o) {
  ty_value *x = ty_o_val(n, 0);
  int first = -1, last = -1, used = 0;
  ty_dim old[TY_MAX_RANK];
  o->list = ty_o_vals(n, 1, &o->nlist);
  o->brank = 0;
  if (o->nlist > x->rank) return ty_fail(g->ctx, TY_INVALID, "too many indices for tensor of dimension %d", x->rank);
  for (int i = 0; i < o->nlist; i++) {
    ty_value *v = o->list[i];
    if (!v) continue;
    if (v->dtype == TY_bool || v->dtype == TY_u8) return ty_fail(g->ctx, TY_UNSUPPORTED, "index by a mask: the size depends on data");
    TY_TRY(need_index(g, v));
    if (first < 0) first = i;
    last = i, used++;
    int r = o->brank;
    for (int k = 0; k < r; k++) old[k] = o->bshape[k];
    TY_TRY(ty_broadcast(g, r, old, v->rank, v->shape, &o->brank, o->bshape));
  }
  if (!used) return ty_fail(g->ctx, TY_INVALID, "index without indices");
  o->rank = x->rank - used + o->brank;
  if (o->rank > TY_MAX_RANK) return ty_fail(g->ctx, TY_UNSUPPORTED, "rank %d", o->rank);
  o->at = last - first + 1 == used ? first : 0;
  int r = 0;
  for (int i = 0; i <= x->rank; i++) {
    bool indexed = i < o->nlist && o->list[i];
    if (r == o->at && (i == x->rank || (o->at == 0 ? i == 0 : i == o->at)))
      for (int k = 0; k < o->brank; k++) o->shape[r++] = o->bshape[k];
    if (i < x->rank && !indexed) o->shape[r++] = x->shape[i];
  }
  return TY_OK;
}
ty_status ty_index_infer(ty_graph *g, ty_node *n) {
  advanced o;
  TY_TRY(advanced_of(g, n, &o));
  return ty_o_out(g, n, ty_o_val(n, 0)->dtype, o.rank, o.shape);
}
ty_status ty_index_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *idx[TY_MAX_RANK];
  advanced o;
  TY_TRY(advanced_of(g, n, &o));
  for (int i = 0, plain = 0; i < x->rank; i++) {
    if (i < o.nlist && o.list[i]) { /* right-aligned against the dims that the broadcast shape fills */
      ty_value *v = ty_o_where_nonneg(g, o.list[i], x->shape[i]);
      ty_dim s[TY_MAX_RANK];
      int tail = o.rank - o.at - o.brank, r = o.list[i]->rank + tail;
      for (int k = 0; k < r; k++) s[k] = k < o.list[i]->rank ? o.list[i]->shape[k] : ty_dim_const(g, 1);
      idx[i] = v ? ty_c_reshape(g, v, r, s) : NULL;
    } else {
      int place = plain < o.at ? plain : plain + o.brank;
      plain++;
      idx[i] = iota_along(g, x->shape[i], o.rank, place);
    }
  }
  return ty_o_done(g, rep, ty_o_fit(g, index_checked(g, x, idx), n->outs[0]));
}

/* ---- diagonal(self, offset, dim1, dim2): the diagonal is the last dim ---- */
static ty_status diagonal_of(ty_graph *g, const ty_node *n, int *d1, int *d2, int64_t *off, ty_dim *len) {
  ty_value *x = ty_o_val(n, 0);
  if (x->rank < 2) return ty_fail(g->ctx, TY_INVALID, "diagonal needs 2 dims");
  TY_TRY(ty_o_int(g, n, 1, off));
  TY_TRY(ty_o_dim(g, n, 2, x->rank, d1));
  TY_TRY(ty_o_dim(g, n, 3, x->rank, d2));
  if (*d1 == *d2) return ty_fail(g->ctx, TY_INVALID, "diagonal dimensions cannot be identical");
  ty_dim a = x->shape[*d1], b = x->shape[*d2], k = ty_dim_const(g, *off < 0 ? -*off : *off);
  if (*off < 0) a = ty_dim_sub(g, a, k);
  else b = ty_dim_sub(g, b, k);
  *len = ty_o_max(g, ty_o_min(g, a, b), ty_dim_const(g, 0));
  return TY_OK;
}
ty_status ty_diagonal_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[TY_MAX_RANK], len;
  int d1, d2, r = 0;
  int64_t off;
  TY_TRY(diagonal_of(g, n, &d1, &d2, &off, &len));
  for (int i = 0; i < x->rank; i++)
    if (i != d1 && i != d2) s[r++] = x->shape[i];
  s[r++] = len;
  return ty_o_out(g, n, x->dtype, r, s);
}
ty_status ty_diagonal_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *o = n->outs[0], *idx[TY_MAX_RANK];
  ty_dim len;
  int d1, d2;
  int64_t off;
  TY_TRY(diagonal_of(g, n, &d1, &d2, &off, &len));
  ty_value *i = ty_c_iota(g, 1, &len, 0), *j = off ? ty_o2(g, TY_P_add, i, ty_o_num(g, TY_i64, (double)(off < 0 ? -off : off))) : i;
  for (int k = 0, r = 0; k < x->rank; k++)
    idx[k] = k == d1 ? (off < 0 ? j : i) : k == d2 ? (off < 0 ? i : j) : iota_along(g, x->shape[k], o->rank, r++);
  return ty_o_done(g, rep, ty_o_fit(g, index_checked(g, x, idx), o));
}

/* ---- unfold(self, dimension, size, step): windows; the window is the last dim ---- */
static ty_status unfold_of(ty_graph *g, const ty_node *n, int *d, int64_t *size, int64_t *step, ty_dim *count) {
  ty_value *x = ty_o_val(n, 0);
  TY_TRY(ty_o_dim(g, n, 1, x->rank, d));
  TY_TRY(ty_o_int(g, n, 2, size));
  TY_TRY(ty_o_int(g, n, 3, step));
  if (!x->rank) return ty_fail(g->ctx, TY_UNSUPPORTED, "unfold of rank 0");
  if (*step <= 0 || *size < 0 || ty_dim_known_lt(g, x->shape[*d], ty_dim_const(g, *size))) return ty_fail(g->ctx, TY_INVALID, "unfold: size or step is out of range");
  TY_TRY(ty_graph_need(g, n, TY_NEED_LE, ty_dim_const(g, *size), x->shape[*d]));
  ty_dim room = ty_dim_sub(g, x->shape[*d], ty_dim_const(g, *size));
  if (*step != 1) room = ty_dim_div(g, room, ty_dim_const(g, *step));
  *count = ty_dim_add(g, room, ty_dim_const(g, 1));
  return TY_OK;
}
ty_status ty_unfold_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[TY_MAX_RANK + 1], count;
  int d;
  int64_t size, step;
  TY_TRY(unfold_of(g, n, &d, &size, &step, &count));
  for (int i = 0; i < x->rank; i++) s[i] = i == d ? count : x->shape[i];
  s[x->rank] = ty_dim_const(g, size);
  return ty_o_out(g, n, x->dtype, x->rank + 1, s);
}
ty_status ty_unfold_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *o = n->outs[0], *idx[TY_MAX_RANK];
  ty_dim count;
  int d;
  int64_t size, step;
  TY_TRY(unfold_of(g, n, &d, &size, &step, &count));
  for (int i = 0; i < x->rank; i++) {
    idx[i] = iota_along(g, o->shape[i], o->rank, i);
    if (i != d) continue;
    if (step != 1) idx[i] = ty_o2(g, TY_P_mul, idx[i], ty_o_num(g, TY_i64, (double)step));
    idx[i] = ty_o2(g, TY_P_add, idx[i], iota_along(g, o->shape[x->rank], o->rank, x->rank));
  }
  return ty_o_done(g, rep, ty_o_fit(g, index_checked(g, x, idx), o));
}
