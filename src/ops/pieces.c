/* pieces.c: tensors taken to pieces, joined and repeated: split, chunk, unbind, meshgrid, cat, stack, diff, flip, repeat, scatter of slices. */
#include "ops/family.h"

#include <string.h>

/* ---- split, split_with_sizes, chunk, unbind, tensor_split: each piece is a slice. param: which ---- */
enum { SPLIT, SIZES, CHUNK, UNBIND, SECTIONS };
enum { MAX_PIECES = 4096 };

/* Number of pieces; *each is the common size (the last may be smaller) unless sizes are listed. Sections differ
 * by one at most, the longer ones first. */
static ty_status pieces_of(ty_graph *g, const ty_node *n, int *dim, int *count, ty_dim *each) {
  ty_value *x = ty_o_val(n, 0);
  int which = ty_o_param(n), listed;
  int64_t total, size;
  if (!x->rank) return ty_fail(g->ctx, TY_INVALID, "split of a tensor of rank 0");
  TY_TRY(ty_o_dim(g, n, which == UNBIND ? 1 : 2, x->rank, dim));
  ty_dim d = x->shape[*dim];
  bool fixed = ty_dim_is_const(g, d, &total);
  *each = d;
  if (which == SIZES) {
    const ty_dim *s = ty_o_ints(n, 1, &listed);
    ty_dim sum = ty_dim_const(g, 0);
    for (int i = 0; i < listed; i++) {
      if (ty_dim_get(g, s[i])->hi < 0) return ty_fail(g->ctx, TY_INVALID, "split: negative size");
      sum = ty_dim_add(g, sum, s[i]);
    }
    *count = listed;
    return ty_o_same(g, sum, d, "sum of split sizes");
  }
  if (which == UNBIND) size = 1;
  else if (which == SECTIONS) {
    int64_t sections;
    TY_TRY(ty_o_int(g, n, 1, &sections));
    if (sections <= 0 || sections > MAX_PIECES) return ty_fail(g->ctx, TY_INVALID, "tensor_split expects sections > 0");
    return *count = (int)sections, TY_OK;
  } else if (which == CHUNK) {
    int64_t chunks;
    TY_TRY(ty_o_int(g, n, 1, &chunks));
    if (chunks <= 0 || chunks > MAX_PIECES) return ty_fail(g->ctx, TY_INVALID, "chunk expects chunks > 0");
    if (!fixed) {
      if (!ty_dim_is(g, ty_dim_mod(g, d, ty_dim_const(g, chunks)), 0)) return ty_fail(g->ctx, TY_UNSUPPORTED, "chunk of a symbolic size");
      *each = ty_dim_div(g, d, ty_dim_const(g, chunks));
      return *count = (int)chunks, TY_OK;
    }
    size = (total + chunks - 1) / chunks;
    if (total == 0) { /* as many empty pieces as asked for */
      *each = ty_dim_const(g, 0);
      return *count = (int)chunks, TY_OK;
    }
  } else if (!ty_dim_is_const(g, n->args[1].i, &size)) {
    if (!ty_dim_known_eq(g, d, n->args[1].i)) {
      ty_dim q = ty_dim_div(g, d, n->args[1].i);
      int64_t c;
      if (!ty_dim_is_const(g, q, &c) || !ty_dim_known_eq(g, ty_dim_mul(g, q, n->args[1].i), d) || c < 1 || c > MAX_PIECES)
        return ty_fail(g->ctx, TY_UNSUPPORTED, "split into a symbolic number of pieces");
      *each = n->args[1].i;
      return *count = (int)c, TY_OK;
    }
    *each = d;
    return *count = 1, TY_OK;
  }
  if (!fixed) return ty_fail(g->ctx, TY_UNSUPPORTED, "a symbolic number of pieces");
  if (size < 0 || (size == 0 && total != 0)) return ty_fail(g->ctx, TY_INVALID, "split expects a positive size");
  int64_t c = size ? (total + size - 1) / size : 1;
  if (c == 0 && which != UNBIND) c = 1;
  if (c > MAX_PIECES) return ty_fail(g->ctx, TY_UNSUPPORTED, "%lld pieces", (long long)c);
  *each = ty_dim_const(g, size);
  return *count = (int)c, TY_OK;
}
static ty_dim piece(ty_graph *g, const ty_node *n, ty_dim total, ty_dim each, int i, ty_dim start) {
  int listed;
  if (ty_o_param(n) == SIZES) return ty_o_ints(n, 1, &listed)[i];
  if (ty_o_param(n) == SECTIONS) {
    int64_t sections = 1;
    (void)ty_dim_is_const(g, n->args[1].i, &sections);
    return ty_dim_div(g, ty_dim_add(g, total, ty_dim_const(g, sections - 1 - i)), ty_dim_const(g, sections));
  }
  return ty_o_min(g, each, ty_dim_sub(g, total, start));
}
ty_status ty_split_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim each, s[TY_MAX_RANK], start = ty_dim_const(g, 0);
  int d, count, drop = ty_o_param(n) == UNBIND;
  TY_TRY(pieces_of(g, n, &d, &count, &each));
  for (int i = 0; i < count; i++) {
    ty_dim len = piece(g, n, x->shape[d], each, i, start);
    for (int k = 0, r = 0; k < x->rank; k++)
      if (!drop || k != d) s[r++] = k == d ? len : x->shape[k];
    TY_TRY(ty_o_out(g, n, x->dtype, x->rank - drop, s));
    start = ty_dim_add(g, start, len);
  }
  return TY_OK;
}
ty_status ty_split_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim each, start = ty_dim_const(g, 0);
  int d, count;
  TY_TRY(pieces_of(g, n, &d, &count, &each));
  for (int i = 0; i < count; i++) {
    ty_dim len = piece(g, n, x->shape[d], each, i, start);
    TY_TRY(ty_o_done(g, rep + i, ty_o_reshape_like(g, ty_c_slice(g, x, d, start, 1, len), n->outs[i])));
    start = ty_dim_add(g, start, len);
  }
  return TY_OK;
}

/* ---- meshgrid(tensors, indexing), broadcast_tensors: each tensor repeated to what is common to all ---- */
/* The dim of tensor i in the grid: "xy" exchanges the first two. param: is there an indexing? */
static ty_status grid_of(ty_graph *g, const ty_node *n, int *cnt, bool *swapped) {
  const char *indexing = ty_o_param(n) ? ty_o_str(n, 1) : "ij";
  ty_value *const *v = ty_o_vals(n, 0, cnt);
  if (!*cnt) return ty_fail(g->ctx, TY_INVALID, "meshgrid expects a non-empty list of tensors");
  if (*cnt > TY_MAX_RANK) return ty_fail(g->ctx, TY_UNSUPPORTED, "a grid of rank %d", *cnt);
  if (!indexing || (strcmp(indexing, "ij") && strcmp(indexing, "xy"))) return ty_fail(g->ctx, TY_INVALID, "meshgrid's indexing is \"xy\" or \"ij\"");
  for (int i = 0; i < *cnt; i++)
    if (v[i]->rank > 1 || v[i]->dtype != v[0]->dtype) return ty_fail(g->ctx, TY_INVALID, "meshgrid expects scalars or vectors of one dtype");
  *swapped = *cnt > 1 && *indexing == 'x';
  return TY_OK;
}
static int grid_dim(int i, bool swapped) { return swapped && i < 2 ? 1 - i : i; }
ty_status ty_meshgrid_infer(ty_graph *g, ty_node *n) {
  ty_dim s[TY_MAX_RANK];
  int cnt;
  bool swapped;
  TY_TRY(grid_of(g, n, &cnt, &swapped));
  ty_value *const *v = ty_o_vals(n, 0, &cnt);
  for (int i = 0; i < cnt; i++) s[grid_dim(i, swapped)] = v[i]->rank ? v[i]->shape[0] : ty_dim_const(g, 1);
  for (int i = 0; i < cnt; i++) TY_TRY(ty_o_out(g, n, v[i]->dtype, cnt, s));
  return TY_OK;
}
ty_status ty_meshgrid_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_dim s[TY_MAX_RANK];
  int cnt;
  bool swapped;
  TY_TRY(grid_of(g, n, &cnt, &swapped));
  ty_value *const *v = ty_o_vals(n, 0, &cnt);
  for (int i = 0; i < cnt; i++) {
    int d = grid_dim(i, swapped);
    for (int k = 0; k < cnt; k++) s[k] = k == d ? n->outs[i]->shape[d] : ty_dim_const(g, 1);
    TY_TRY(ty_o_done(g, rep + i, ty_o_fit(g, ty_c_reshape(g, v[i], cnt, s), n->outs[i])));
  }
  return TY_OK;
}
ty_status ty_broadcast_tensors_infer(ty_graph *g, ty_node *n) {
  ty_dim s[TY_MAX_RANK];
  int cnt, r = 0;
  ty_value *const *v = ty_o_vals(n, 0, &cnt);
  for (int i = 0; i < cnt; i++) {
    ty_dim old[TY_MAX_RANK];
    int rank = r;
    memcpy(old, s, (size_t)rank * sizeof *old);
    TY_TRY(ty_broadcast(g, rank, old, v[i]->rank, v[i]->shape, &r, s));
  }
  for (int i = 0; i < cnt; i++) TY_TRY(ty_o_out(g, n, v[i]->dtype, r, s));
  return TY_OK;
}
ty_status ty_broadcast_tensors_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  int cnt;
  ty_value *const *v = ty_o_vals(n, 0, &cnt);
  for (int i = 0; i < cnt; i++) TY_TRY(ty_o_done(g, rep + i, ty_o_fit(g, v[i], n->outs[i])));
  return TY_OK;
}

/* ---- cat and stack ---- */
static bool legacy_empty(ty_graph *g, const ty_value *v) { return v->rank == 1 && ty_dim_is(g, v->shape[0], 0); }
static ty_status joined(ty_graph *g, const ty_node *n, int *d, ty_dtype *dt, int *rank, ty_dim *s, bool stack) {
  ty_promo pr = TY_PROMO_INIT;
  int cnt;
  ty_value *const *v = ty_o_vals(n, 0, &cnt), *first = NULL;
  if (!cnt) return ty_fail(g->ctx, TY_INVALID, "expected a non-empty list of tensors");
  for (int i = 0; i < cnt; i++) {
    ty_promo_value(&pr, v[i]);
    if (!first && (stack || !legacy_empty(g, v[i]))) first = v[i];
  }
  *dt = ty_promo_result(&pr);
  if (!first) first = v[0];
  if (!first->rank && !stack) return ty_fail(g->ctx, TY_INVALID, "zero-dimensional tensor cannot be concatenated");
  TY_TRY(ty_o_dim(g, n, 1, first->rank + stack, d));
  *rank = first->rank;
  for (int k = 0; k < first->rank; k++) s[k] = first->shape[k];
  if (!stack) s[*d] = ty_dim_const(g, 0);
  for (int i = 0; i < cnt; i++) {
    if (!stack && v[i] != first && legacy_empty(g, v[i])) continue;
    if (v[i]->rank != first->rank) return ty_fail(g->ctx, TY_INVALID, "tensors must have the same number of dimensions");
    for (int k = 0; k < first->rank; k++) {
      if (!stack && k == *d) s[k] = ty_dim_add(g, s[k], v[i]->shape[k]);
      else TY_TRY(ty_o_need_same(g, n, s[k], v[i]->shape[k], stack ? "stack" : "cat"));
    }
  }
  return TY_OK;
}
ty_status ty_cat_infer(ty_graph *g, ty_node *n) {
  ty_dtype dt;
  ty_dim s[TY_MAX_RANK];
  int d, r;
  TY_TRY(joined(g, n, &d, &dt, &r, s, false));
  return ty_o_out(g, n, dt, r, s);
}
static ty_value *join(ty_graph *g, ty_value **v, int cnt, int d) {
  for (int i = 0; i < cnt; i++)
    if (!v[i]) return NULL;
  return cnt == 1 ? v[0] : ty_c_cat(g, cnt, v, d);
}
ty_status ty_cat_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_dtype dt;
  ty_dim s[TY_MAX_RANK];
  int d, r, cnt, k = 0;
  ty_value *const *v = ty_o_vals(n, 0, &cnt);
  ty_value **parts = ty_arena_alloc(&g->arena, (size_t)cnt * sizeof *parts);
  if (!parts) return ty_fail(g->ctx, TY_NOMEM, "out of memory");
  TY_TRY(joined(g, n, &d, &dt, &r, s, false));
  for (int i = 0; i < cnt; i++)
    if (v[i]->rank == r && !ty_dim_is(g, v[i]->shape[d], 0)) parts[k++] = ty_c_cast(g, v[i], dt);
  if (!k) return ty_o_done(g, rep, ty_c_full_int(g, dt, r, s, 0));
  return ty_o_done(g, rep, join(g, parts, k, d));
}
ty_status ty_stack_infer(ty_graph *g, ty_node *n) {
  ty_dtype dt;
  ty_dim s[TY_MAX_RANK], o[TY_MAX_RANK + 1];
  int d, r, cnt;
  TY_TRY(joined(g, n, &d, &dt, &r, s, true));
  (void)ty_o_vals(n, 0, &cnt);
  for (int i = 0; i <= r; i++) o[i] = i < d ? s[i] : i == d ? ty_dim_const(g, cnt) : s[i - 1];
  return ty_o_out(g, n, dt, r + 1, o);
}
ty_status ty_stack_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  int d, cnt;
  ty_value *const *v = ty_o_vals(n, 0, &cnt);
  ty_value **parts = ty_arena_alloc(&g->arena, (size_t)cnt * sizeof *parts);
  if (!parts) return ty_fail(g->ctx, TY_NOMEM, "out of memory");
  TY_TRY(ty_o_dim(g, n, 1, v[0]->rank + 1, &d));
  for (int i = 0; i < cnt; i++) parts[i] = ty_o_unsqueeze(g, ty_c_cast(g, v[i], n->outs[0]->dtype), d);
  return ty_o_done(g, rep, join(g, parts, cnt, d));
}

/* ---- diff(self, n, dim, prepend?, append?): neighbours' differences, n times over what cat makes of prepend, self and append ---- */
enum { MAX_DIFFS = 64 };
typedef struct difference { int d, count; int64_t times; ty_dtype dt; ty_value *part[3]; ty_dim len; } difference;
static ty_status difference_of(ty_graph *g, const ty_node *n, difference *f) {
  ty_value *x = ty_o_val(n, 0), *all[3] = {ty_o_val(n, 3), x, ty_o_val(n, 4)};
  ty_promo pr = TY_PROMO_INIT;
  int64_t len;
  *f = (difference){.len = ty_dim_const(g, 0)};
  if (!x->rank) return ty_fail(g->ctx, TY_INVALID, "diff expects input to be at least one-dimensional");
  TY_TRY(ty_o_int(g, n, 1, &f->times));
  if (f->times < 0) return ty_fail(g->ctx, TY_INVALID, "diff: order must be non-negative");
  TY_TRY(ty_o_dim(g, n, 2, x->rank, &f->d));
  for (int i = 0; i < 3; i++) {
    if (!all[i] || (all[i] != x && !f->times)) continue;
    if (all[i]->rank != x->rank) return ty_fail(g->ctx, TY_INVALID, "diff: ranks differ");
    for (int k = 0; k < x->rank; k++)
      if (k != f->d) TY_TRY(ty_o_same(g, x->shape[k], all[i]->shape[k], "diff"));
    ty_promo_value(&pr, all[i]);
    f->len = ty_dim_add(g, f->len, all[i]->shape[f->d]);
    f->part[f->count++] = all[i];
  }
  f->dt = ty_promo_result(&pr);
  if (ty_dim_is_const(g, f->len, &len) && f->times > len) f->times = len;
  if (f->times > MAX_DIFFS) return ty_fail(g->ctx, TY_UNSUPPORTED, "diff of a high order");
  return TY_OK;
}
/* Without elements there is nothing to take away. */
static ty_dim shorter(ty_graph *g, ty_dim len, int64_t by) { return ty_o_max(g, ty_dim_sub(g, len, ty_dim_const(g, by)), ty_dim_const(g, 0)); }
ty_status ty_diff_infer(ty_graph *g, ty_node *n) {
  difference f;
  ty_dim s[TY_MAX_RANK];
  TY_TRY(difference_of(g, n, &f));
  memcpy(s, ty_o_val(n, 0)->shape, sizeof s);
  s[f.d] = shorter(g, f.len, f.times);
  return ty_o_out(g, n, f.dt, ty_o_val(n, 0)->rank, s);
}
ty_status ty_diff_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  difference f;
  TY_TRY(difference_of(g, n, &f));
  for (int i = 0; i < f.count; i++) f.part[i] = ty_c_cast(g, f.part[i], f.dt);
  ty_value *x = join(g, f.part, f.count, f.d);
  for (int64_t i = 0; i < f.times; i++) {
    ty_dim len = shorter(g, f.len, i + 1);
    ty_value *from = ty_c_slice(g, x, f.d, ty_dim_const(g, 0), 1, len), *to = ty_c_slice(g, x, f.d, ty_dim_const(g, 1), 1, len);
    x = ty_o2(g, f.dt == TY_bool ? TY_P_ne : TY_P_sub, to, from);
  }
  return ty_o_done(g, rep, x);
}

/* ---- flip ---- */
ty_status ty_flip_infer(ty_graph *g, ty_node *n) {
  int cnt, dims[TY_MAX_RANK];
  TY_TRY(ty_o_dims(g, n, 1, ty_o_val(n, 0)->rank, &cnt, dims));
  return ty_o_out_like(g, n, ty_o_val(n, 0));
}
ty_status ty_flip_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0);
  int cnt = 0, listed, dims[TY_MAX_RANK];
  (void)ty_o_ints(n, 1, &listed);
  if (listed) TY_TRY(ty_o_dims(g, n, 1, x->rank, &cnt, dims)); /* no dims: nothing is flipped */
  for (int i = 0; i < cnt && x; i++) {
    ty_dim len = x->shape[dims[i]], last = ty_o_max(g, ty_dim_sub(g, len, ty_dim_const(g, 1)), ty_dim_const(g, 0));
    x = ty_c_slice(g, x, dims[i], last, -1, len);
  }
  return ty_o_done(g, rep, x);
}
/* ---- repeat(repeats) and tile(dims): each size becomes [times, size], expanded; param 1: tile pads repeats with ones ---- */
static ty_status repeat_of(ty_graph *g, const ty_node *n, int *rank, ty_dim *times, ty_dim *size) {
  ty_value *x = ty_o_val(n, 0);
  int cnt;
  const ty_dim *r = ty_o_ints(n, 1, &cnt);
  *rank = cnt > x->rank ? cnt : x->rank;
  if (*rank > TY_MAX_RANK || (cnt < x->rank && !ty_o_param(n))) return ty_fail(g->ctx, TY_INVALID, "repeat: fewer repeats than dims");
  for (int i = 0; i < *rank; i++) {
    int a = i - (*rank - cnt), b = i - (*rank - x->rank);
    times[i] = a >= 0 ? r[a] : ty_dim_const(g, 1);
    size[i] = b >= 0 ? x->shape[b] : ty_dim_const(g, 1);
    if (ty_dim_get(g, times[i])->hi < 0) return ty_fail(g->ctx, TY_INVALID, "repeat: negative repeats");
  }
  return TY_OK;
}
ty_status ty_repeat_infer(ty_graph *g, ty_node *n) {
  ty_dim times[TY_MAX_RANK], size[TY_MAX_RANK];
  int r, pairs = 0;
  TY_TRY(repeat_of(g, n, &r, times, size));
  for (int i = 0; i < r; i++) {
    pairs += 1 + !ty_dim_is(g, times[i], 1);
    size[i] = ty_dim_mul(g, size[i], times[i]);
  }
  if (pairs > TY_MAX_RANK) return ty_fail(g->ctx, TY_UNSUPPORTED, "repeat of rank %d", r);
  return ty_o_out(g, n, ty_o_val(n, 0)->dtype, r, size);
}
ty_status ty_repeat_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_dim times[TY_MAX_RANK], size[TY_MAX_RANK], from[TY_MAX_RANK], to[TY_MAX_RANK];
  int r, k = 0;
  TY_TRY(repeat_of(g, n, &r, times, size));
  for (int i = 0; i < r; i++) {
    if (!ty_dim_is(g, times[i], 1)) from[k] = ty_dim_const(g, 1), to[k++] = times[i];
    from[k] = to[k] = size[i], k++;
  }
  ty_value *x = ty_c_reshape(g, ty_o_val(n, 0), k, from);
  return ty_o_done(g, rep, ty_o_reshape_like(g, x ? ty_c_expand(g, x, k, to) : NULL, n->outs[0]));
}

/* repeat_interleave.self_int(self, repeats, dim, output_size): each element `repeats` times in place. */
ty_status ty_repeat_interleave_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[TY_MAX_RANK], flat = ty_o_numel(g, x);
  int d = 0;
  if (!ty_o_none(n, 2)) TY_TRY(ty_o_dim(g, n, 2, x->rank, &d));
  bool one = ty_o_none(n, 2) || !x->rank;
  if (ty_dim_get(g, n->args[1].i)->hi < 0) return ty_fail(g->ctx, TY_INVALID, "repeat_interleave: repeats can not be negative");
  if (x->rank == TY_MAX_RANK) return ty_fail(g->ctx, TY_UNSUPPORTED, "rank %d", x->rank);
  for (int i = 0; i < x->rank; i++) s[i] = x->shape[i];
  if (one) s[0] = flat;
  s[d] = ty_dim_mul(g, s[d], n->args[1].i);
  return ty_o_out(g, n, x->dtype, one ? 1 : x->rank, s);
}
ty_status ty_repeat_interleave_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim flat = ty_o_numel(g, x), s[TY_MAX_RANK + 1];
  int d = 0;
  if (!ty_o_none(n, 2)) TY_TRY(ty_o_dim(g, n, 2, x->rank, &d));
  if (ty_o_none(n, 2) || !x->rank) x = ty_c_reshape(g, x, 1, &flat);
  x = x ? ty_o_unsqueeze(g, x, d + 1) : NULL;
  if (!x) return ty_o_done(g, rep, NULL);
  for (int i = 0; i < x->rank; i++) s[i] = i == d + 1 ? n->args[1].i : x->shape[i];
  return ty_o_done(g, rep, ty_o_reshape_like(g, ty_c_expand(g, x, x->rank, s), n->outs[0]));
}

/* ---- slice_scatter(self, src, dim, start, end, step), select_scatter(self, src, dim, index) ---- */
ty_status ty_slice_scatter_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *src = ty_o_val(n, 1);
  ty_dim start, len;
  int64_t step;
  int d;
  if (!x->rank || src->rank != x->rank) return ty_fail(g->ctx, TY_INVALID, "slice_scatter: ranks differ");
  TY_TRY(ty_o_dim(g, n, 2, x->rank, &d));
  TY_TRY(ty_o_slice_range(g, n, 3, x->shape[d], &start, &step, &len));
  for (int i = 0; i < x->rank; i++) TY_TRY(ty_o_same(g, src->shape[i], i == d ? len : x->shape[i], "slice_scatter"));
  return ty_o_out_like(g, n, x);
}
/* x with src in place of len elements along d, from start on. */
static ty_value *replaced(ty_graph *g, ty_value *x, ty_value *src, int d, ty_dim start, ty_dim len) {
  ty_dim end = ty_dim_add(g, start, len), rest = ty_dim_sub(g, x->shape[d], end);
  ty_value *parts[3];
  int cnt = 0;
  if (!ty_dim_is(g, start, 0)) parts[cnt++] = ty_c_slice(g, x, d, ty_dim_const(g, 0), 1, start);
  parts[cnt++] = src;
  if (!ty_dim_is(g, rest, 0)) parts[cnt++] = ty_c_slice(g, x, d, end, 1, rest);
  return join(g, parts, cnt, d);
}
/* With a step src is read where the stepped slice stands. */
ty_status ty_slice_scatter_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *src = ty_c_cast(g, ty_o_val(n, 1), x->dtype), *idx[TY_MAX_RANK];
  ty_dim start, len;
  int64_t step;
  int d;
  TY_TRY(ty_o_dim(g, n, 2, x->rank, &d));
  TY_TRY(ty_o_slice_range(g, n, 3, x->shape[d], &start, &step, &len));
  if (ty_dim_is(g, len, 0)) return ty_o_done(g, rep, x);
  if (step == 1) return ty_o_done(g, rep, replaced(g, x, src, d, start, len));
  ty_value *zero = ty_o_num(g, TY_i64, 0), *at = ty_o2(g, TY_P_sub, ty_c_iota(g, x->rank, x->shape, d), ty_o_dimval(g, start, TY_i64));
  ty_value *k = ty_o_num(g, TY_i64, (double)step), *q = ty_o2(g, TY_P_floordiv, at, k);
  ty_value *hit = ty_o2(g, TY_P_and, ty_o2(g, TY_P_ge, at, zero), ty_o2(g, TY_P_eq, ty_o2(g, TY_P_rem, at, k), zero));
  hit = ty_o2(g, TY_P_and, hit, ty_o2(g, TY_P_lt, q, ty_o_dimval(g, len, TY_i64)));
  ty_value *last = ty_o_dimval(g, ty_dim_sub(g, len, ty_dim_const(g, 1)), TY_i64);
  for (int i = 0; i < x->rank; i++)
    idx[i] = i == d ? ty_o2(g, TY_P_min, ty_o2(g, TY_P_max, q, zero), last) : ty_c_iota(g, x->rank, x->shape, i);
  for (int i = 0; i < x->rank; i++)
    if (!idx[i] || !src) return ty_o_done(g, rep, NULL);
  return ty_o_done(g, rep, ty_o_sel(g, hit, ty_c_index(g, src, idx), x));
}
ty_status ty_select_scatter_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0), *src = ty_o_val(n, 1);
  int64_t at, size;
  int d;
  if (!x->rank || src->rank != x->rank - 1) return ty_fail(g->ctx, TY_INVALID, "select_scatter: ranks differ");
  TY_TRY(ty_o_dim(g, n, 2, x->rank, &d));
  TY_TRY(ty_o_int(g, n, 3, &at));
  if (ty_dim_is_const(g, x->shape[d], &size) && (at < -size || at >= size)) return ty_fail(g->ctx, TY_INVALID, "select_scatter: index out of range");
  for (int i = 0, k = 0; i < x->rank; i++)
    if (i != d) TY_TRY(ty_o_same(g, src->shape[k++], x->shape[i], "select_scatter"));
  return ty_o_out_like(g, n, x);
}
ty_status ty_select_scatter_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0), *src = ty_o_val(n, 1);
  int64_t at = 0;
  int d;
  TY_TRY(ty_o_dim(g, n, 2, x->rank, &d));
  TY_TRY(ty_o_int(g, n, 3, &at));
  ty_dim pos = ty_dim_const(g, at);
  if (at < 0) pos = ty_dim_add(g, x->shape[d], pos);
  return ty_o_done(g, rep, replaced(g, x, ty_o_unsqueeze(g, ty_c_cast(g, src, x->dtype), d), d, pos, ty_dim_const(g, 1)));
}

/* ---- pixel_shuffle(self, r) and its inverse (param 1) ---- */
static ty_status pixel_args(ty_graph *g, const ty_node *n, ty_dim s[3], int64_t *r) {
  ty_value *x = ty_o_val(n, 0);
  TY_TRY(ty_o_int(g, n, 1, r));
  if (x->rank < 3 || x->rank + 2 > TY_MAX_RANK || *r < 1 || *r > 1 << 15) return ty_fail(g->ctx, TY_INVALID, "pixel_shuffle: rank %d, factor %lld", x->rank, (long long)*r);
  for (int i = 0; i < 3; i++) s[i] = x->shape[x->rank - 3 + i];
  ty_dim k = ty_dim_const(g, *r), k2 = ty_dim_mul(g, k, k);
  if (!ty_o_param(n)) {
    TY_TRY(ty_o_same(g, ty_dim_mod(g, s[0], k2), ty_dim_const(g, 0), "pixel_shuffle: channels"));
    s[0] = ty_dim_div(g, s[0], k2);
  } else
    for (int i = 1; i < 3; i++) {
      TY_TRY(ty_o_same(g, ty_dim_mod(g, s[i], k), ty_dim_const(g, 0), "pixel_unshuffle: size"));
      s[i] = ty_dim_div(g, s[i], k);
    }
  return TY_OK;
}
ty_status ty_pixel_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[3], o[TY_MAX_RANK];
  int64_t r;
  TY_TRY(pixel_args(g, n, s, &r));
  ty_dim k = ty_dim_const(g, r);
  for (int i = 0; i < x->rank - 3; i++) o[i] = x->shape[i];
  ty_dim *t = o + x->rank - 3;
  t[0] = ty_o_param(n) ? ty_dim_mul(g, s[0], ty_dim_mul(g, k, k)) : s[0];
  for (int i = 1; i < 3; i++) t[i] = ty_o_param(n) ? s[i] : ty_dim_mul(g, s[i], k);
  return ty_o_out(g, n, x->dtype, x->rank, o);
}
ty_status ty_pixel_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  static const int shuffle[5] = { 0, 3, 1, 4, 2 }, unshuffle[5] = { 0, 2, 4, 1, 3 };
  ty_value *x = ty_o_val(n, 0);
  ty_dim s[3], o[TY_MAX_RANK];
  int64_t r;
  int b = x->rank - 3, perm[TY_MAX_RANK];
  TY_TRY(pixel_args(g, n, s, &r));
  ty_dim k = ty_dim_const(g, r), a[5] = { s[0], k, k, s[1], s[2] }, u[5] = { s[0], s[1], k, s[2], k };
  for (int i = 0; i < b; i++) o[i] = x->shape[i], perm[i] = i;
  for (int i = 0; i < 5; i++) {
    o[b + i] = ty_o_param(n) ? u[i] : a[i];
    perm[b + i] = b + (ty_o_param(n) ? unshuffle : shuffle)[i];
  }
  x = ty_c_reshape(g, x, b + 5, o);
  return ty_o_done(g, rep, ty_o_reshape_like(g, x ? ty_c_permute(g, x, perm) : NULL, n->outs[0]));
}
