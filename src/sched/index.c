/* index.c: views as index maps: what a permute, reshape, expand or slice does to indices, and layouts through chains of views. */
#include "sched/sched_int.h"

bool ty_sc_is_view(const ty_node *n) {
  return n && (n->op == TY_OP_reshape || n->op == TY_OP_permute || n->op == TY_OP_expand || n->op == TY_OP_slice || n->op == TY_OP_remap);
}

void ty_sc_contiguous(ty_graph *g, int rank, const ty_dim *shape, ty_dim *strides) {
  ty_dim s = ty_dim_const(g, 1);
  for (int i = rank - 1; i >= 0; i--) { strides[i] = s; s = ty_dim_mul(g, s, shape[i]); }
}

ty_dim ty_sc_flat(ty_graph *g, int rank, const ty_dim *shape, const ty_dim *idx) {
  ty_dim st[TY_MAX_RANK], f = ty_dim_const(g, 0);
  ty_sc_contiguous(g, rank, shape, st);
  for (int i = 0; i < rank; i++) f = ty_dim_add(g, f, ty_dim_mul(g, idx[i], st[i]));
  return f;
}

/* Splits both shapes into runs of dims with equal products and maps run by run, so that a symbolic dim that stays itself
 * never goes through a division. */
void ty_sc_reshape_map(ty_graph *g, int ra, const ty_dim *sa, const ty_dim *idx, int rb, const ty_dim *sb, ty_dim *out) {
  int i = 0, j = 0;
  while (i < ra || j < rb) {
    int i0 = i, j0 = j;
    ty_dim pa = ty_dim_const(g, 1), pb = pa;
    if (i < ra) pa = sa[i++];
    if (j < rb) pb = sb[j++];
    while (pa != pb) { /* grow the side that is smaller, as far as that can be told */
      bool grow_a = j >= rb || (i < ra && ty_dim_hint(g, pa) <= ty_dim_hint(g, pb));
      if (grow_a && i < ra) pa = ty_dim_mul(g, pa, sa[i++]);
      else if (j < rb) pb = ty_dim_mul(g, pb, sb[j++]);
      else break; /* products that are equal in fact though not in form: the whole rest is one run */
    }
    ty_dim f = ty_sc_flat(g, i - i0, sa + i0, idx + i0);
    ty_dim inner = ty_dim_const(g, 1);
    for (int k = j - 1; k >= j0; k--) {
      if (ty_dim_is(g, sb[k], 1)) { out[k] = ty_dim_const(g, 0); continue; }
      ty_dim q = ty_dim_div(g, f, inner);
      bool outermost = true;
      for (int m = j0; m < k; m++) outermost &= ty_dim_is(g, sb[m], 1);
      out[k] = outermost ? q : ty_dim_mod(g, q, sb[k]);
      inner = ty_dim_mul(g, inner, sb[k]);
    }
  }
}

void ty_sc_broadcast_map(ty_sc *s, const ty_value *v, int rank, const ty_dim *idx, ty_dim *out) {
  for (int i = 0; i < v->rank; i++)
    out[i] = ty_dim_is(s->g, v->shape[i], 1) ? ty_dim_const(s->g, 0) : idx[rank - v->rank + i];
}

void ty_sc_view_map(ty_sc *s, const ty_node *n, const ty_dim *oi, ty_dim *ii) {
  ty_graph *g = s->g;
  const ty_value *in = n->args[0].value, *out = n->outs[0];
  switch (n->op) {
  case TY_OP_permute:
    for (int i = 0; i < out->rank; i++) {
      int64_t p = 0;
      ty_dim_is_const(g, n->args[1].ints[i], &p);
      ii[p] = oi[i];
    }
    break;
  case TY_OP_expand: ty_sc_broadcast_map(s, in, out->rank, oi, ii); break;
  case TY_OP_slice: {
    int64_t d = 0;
    ty_dim_is_const(g, n->args[1].i, &d);
    for (int i = 0; i < out->rank; i++) ii[i] = oi[i];
    ii[d] = ty_dim_add(g, n->args[2].i, ty_dim_mul(g, n->args[3].i, oi[d]));
    break;
  }
  case TY_OP_remap: ty_c_remap_at(g, n, oi, ii); break;
  default: ty_sc_reshape_map(g, out->rank, out->shape, oi, in->rank, in->shape, ii);
  }
}

ty_value *ty_sc_own_layout(ty_sc *s, ty_value *v, ty_dim *off, ty_dim *strides) {
  ty_graph *g = s->g;
  const ty_vinfo *i = ty_sc_info(s, v);
  *off = i->store ? i->store_off : ty_dim_const(g, 0);
  if (i->store || v->strides) {
    for (int d = 0; d < v->rank; d++) strides[d] = i->store ? i->store_stride[d] : v->strides[d];
    return i->store ? i->store : v;
  }
  if (v->def && v->def->op == TY_OP_attention) { /* [B, H, S, D] lies as [B, S, H, D]: what follows merges H and D */
    strides[3] = ty_dim_const(g, 1);
    strides[1] = v->shape[3];
    strides[2] = ty_dim_mul(g, v->shape[1], v->shape[3]);
    strides[0] = ty_dim_mul(g, strides[2], v->shape[2]);
    return v;
  }
  ty_sc_contiguous(g, v->rank, v->shape, strides);
  return v;
}

ty_dim ty_sc_address(ty_sc *s, ty_value *v, const ty_dim *idx, ty_value **base) {
  ty_dim a[TY_MAX_RANK], b[TY_MAX_RANK], st[TY_MAX_RANK], f;
  for (int i = 0; i < v->rank; i++) a[i] = idx[i];
  while (ty_sc_is_view(v->def)) {
    ty_sc_view_map(s, v->def, a, b);
    v = v->def->args[0].value;
    for (int i = 0; i < v->rank; i++) a[i] = b[i];
  }
  *base = ty_sc_own_layout(s, v, &f, st);
  for (int i = 0; i < v->rank; i++) f = ty_dim_add(s->g, f, ty_dim_mul(s->g, a[i], st[i]));
  return f;
}

bool ty_sc_affine(ty_sc *s, const ty_value *v, const ty_dim *idx, ty_dim addr, ty_dim *off, ty_dim *strides) {
  ty_graph *g = s->g;
  for (int i = 0; i < v->rank; i++) {
    strides[i] = ty_dim_const(g, 0);
    if (ty_sc_single(g, v->shape[i])) continue;
    ty_dim coef, r;
    if (!ty_dim_linear(g, addr, idx[i], &coef, &r)) return false;
    for (int j = 0; j < v->rank; j++)
      if (!ty_sc_single(g, v->shape[j]) && ty_dim_depends(g, coef, idx[j])) return false;
    strides[i] = coef;
    addr = r;
  }
  *off = addr;
  return true;
}

/* A contiguous value under other shapes alone is contiguous, though its indices may not simplify: by sizes that may be 0 nothing is divided. */
static bool reshaped(ty_sc *s, ty_value *v, ty_value **base, ty_dim *off, ty_dim *strides) {
  ty_value *x = v;
  ty_dim flat[TY_MAX_RANK];
  while (x->def && x->def->op == TY_OP_reshape) x = x->def->args[0].value;
  if (x == v || ty_sc_is_view(x->def)) return false;
  *base = ty_sc_own_layout(s, x, off, strides);
  ty_sc_contiguous(s->g, x->rank, x->shape, flat);
  for (int i = 0; i < x->rank; i++)
    if (strides[i] != flat[i]) return false;
  ty_sc_contiguous(s->g, v->rank, v->shape, strides);
  return true;
}

bool ty_sc_layout(ty_sc *s, ty_value *v, ty_value **base, ty_dim *off, ty_dim *strides) {
  ty_graph *g = s->g;
  ty_dim idx[TY_MAX_RANK];
  for (int i = 0; i < v->rank; i++) idx[i] = ty_sc_single(g, v->shape[i]) ? ty_dim_const(g, 0) : ty_dim_loopvar(g, "l", v->shape[i]);
  return ty_sc_affine(s, v, idx, ty_sc_address(s, v, idx, base), off, strides) || reshaped(s, v, base, off, strides);
}
