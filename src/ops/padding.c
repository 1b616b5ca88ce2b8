/* padding.c: padding by a constant, by reflection, by the nearest element, and circular; rolls: each a view of the input. */
#include "ops/window.h"

#include <string.h>

enum { CONSTANT, REFLECT, REPLICATE, CIRCULAR, ANY }; /* a row's param; ANY: aten.pad with its mode, ENUM: _pad_enum */
enum { ENUM = 5 };
typedef struct padding { ty_value *x; const ty_dim *pad; int pairs, mode; const ty_arg *value; } padding;

static ty_status pad_args(ty_graph *g, const ty_node *n, padding *p) {
  static const char *const names[] = {"constant", "reflect", "replicate", "circular"};
  int cnt, param = ty_o_param(n);
  *p = (padding){.x = ty_o_val(n, 0), .mode = param};
  if (param == ANY) {
    const char *mode = ty_o_str(n, 2);
    for (p->mode = 0; p->mode < 4 && mode && strcmp(mode, names[p->mode]);) p->mode++;
    if (p->mode == 4) return ty_fail(g->ctx, TY_INVALID, "pad mode %.40s", mode);
  } else if (param == ENUM) {
    int64_t mode;
    TY_TRY(ty_o_int(g, n, 2, &mode));
    if (mode < 0 || mode > 3) return ty_fail(g->ctx, TY_INVALID, "pad mode %lld", (long long)mode);
    p->mode = (const int[]){REFLECT, REPLICATE, CIRCULAR, CONSTANT}[mode]; /* ATen's order */
  }
  p->value = &n->args[param >= ANY ? 3 : 2];
  p->pad = ty_o_ints(n, 1, &cnt);
  p->pairs = cnt / 2;
  if (cnt % 2 || p->pairs > p->x->rank) return ty_fail(g->ctx, TY_INVALID, "pad: wrong number of pads");
  for (int i = 0; i < cnt; i++) {
    const ty_dim_expr *e = ty_dim_get(g, p->pad[i]);
    if (e->lo < 0 && e->hi > 0) return ty_fail(g->ctx, TY_UNSUPPORTED, "pad of unknown sign");
  }
  for (int k = 0; k < p->pairs && p->mode == CONSTANT; k++) {
    ty_dim zero = ty_dim_const(g, 0), cut = ty_dim_add(g, ty_o_min(g, p->pad[2 * k], zero), ty_o_min(g, p->pad[2 * k + 1], zero));
    ty_dim left = ty_dim_add(g, p->x->shape[p->x->rank - 1 - k], cut);
    if (left >= 0 && ty_dim_get(g, left)->hi < 0) return ty_fail(g->ctx, TY_INVALID, "pad: more is cut off than there is");
    TY_TRY(ty_graph_need(g, n, TY_NEED_LE, zero, left));
  }
  for (int k = 0; k < p->pairs && p->mode != CONSTANT; k++) { /* edges that lie inside */
    ty_dim size = p->x->shape[p->x->rank - 1 - k];
    if (ty_dim_get(g, size)->hi < 1) return ty_fail(g->ctx, TY_UNSUPPORTED, "padding of an empty dim");
    for (int side = 0; side < 2; side++) {
      ty_dim a = p->pad[2 * k + side], most = p->mode == REFLECT ? ty_dim_sub(g, size, ty_dim_const(g, 1)) : size;
      if (p->mode == CIRCULAR && ty_dim_get(g, a)->lo < 0) return ty_fail(g->ctx, TY_UNSUPPORTED, "circular padding by a negative size");
      if (p->mode != REPLICATE && ty_dim_known_lt(g, most, a)) return ty_fail(g->ctx, TY_INVALID, "padding size should be less than the dimension");
      if (p->mode != REPLICATE) TY_TRY(ty_graph_need(g, n, TY_NEED_LE, a, most));
    }
  }
  return TY_OK;
}
ty_status ty_pad_infer(ty_graph *g, ty_node *n) {
  padding p;
  ty_dim s[TY_MAX_RANK];
  TY_TRY(pad_args(g, n, &p));
  for (int i = 0; i < p.x->rank; i++) {
    int k = p.x->rank - 1 - i;
    s[i] = k < p.pairs ? ty_dim_add(g, p.x->shape[i], ty_dim_add(g, p.pad[2 * k], p.pad[2 * k + 1])) : p.x->shape[i];
    if (ty_dim_get(g, s[i])->hi < 0) return ty_fail(g->ctx, TY_INVALID, "pad: the result has a negative size");
  }
  return ty_o_out(g, n, p.x->dtype, p.x->rank, s);
}

/* Where element `at` (before or past the ends, perhaps) is read. */
static ty_dim edge(ty_graph *g, int mode, ty_dim at, ty_dim size) {
  ty_dim zero = ty_dim_const(g, 0), last = ty_dim_sub(g, size, ty_dim_const(g, 1));
  if (mode == CIRCULAR) return ty_dim_mod(g, at, size);
  if (mode == REFLECT) {
    at = ty_dim_max(g, at, ty_dim_sub(g, zero, at));
    at = ty_dim_min(g, at, ty_dim_sub(g, ty_dim_add(g, last, last), at));
  }
  return ty_dim_min(g, ty_dim_max(g, at, zero), last);
}
static ty_value *view(ty_graph *g, const padding *p, const ty_value *out) {
  ty_dim map[TY_MAX_RANK];
  ty_value *ok = NULL, *fill;
  for (int d = 0; d < p->x->rank; d++) {
    int k = p->x->rank - 1 - d;
    map[d] = ty_dim_index(g, d);
    if (k >= p->pairs) continue;
    ty_dim a = p->pad[2 * k], b = p->pad[2 * k + 1], at = ty_dim_sub(g, map[d], a);
    bool left = ty_dim_get(g, a)->hi > 0, right = ty_dim_get(g, b)->hi > 0;
    map[d] = left || right ? edge(g, p->mode, at, p->x->shape[d]) : at;
    if (p->mode != CONSTANT || !(left || right)) continue;
    ty_value *i = ty_win_along(g, p->x->rank, d, out->shape[d]), *end = ty_o_dimval(g, ty_dim_add(g, p->x->shape[d], a), TY_i64);
    ty_value *l = left ? ty_o2(g, TY_P_ge, i, ty_o_dimval(g, a, TY_i64)) : NULL, *r = right ? ty_o2(g, TY_P_lt, i, end) : NULL;
    ty_value *in = l && r ? ty_o2(g, TY_P_and, l, r) : l ? l : r;
    ok = ok ? ty_o2(g, TY_P_and, ok, in) : in;
  }
  ty_value *v = ty_c_remap(g, p->x, p->x->rank, out->shape, map);
  if (!ok || !v) return v;
  ty_dtype dt = ty_o_compute(v->dtype);
  ty_arg zero = ty_arg_float(0);
  fill = ty_o_fill(g, dt, 0, NULL, ty_o_is_number(p->value) ? p->value : &zero);
  return ty_o_sel(g, ok, ty_c_cast(g, v, dt), fill);
}
/* A constant around few dims is joined to them: where columns are padded that copies whole lines. */
static ty_value *joined(ty_graph *g, const padding *p) {
  ty_value *x = p->x;
  ty_arg zero = ty_arg_float(0);
  ty_dim z = ty_dim_const(g, 0);
  for (int k = 0; k < p->pairs && x; k++) { /* what is cut first */
    int d = x->rank - 1 - k;
    ty_dim a = ty_o_min(g, p->pad[2 * k], z), b = ty_o_min(g, p->pad[2 * k + 1], z);
    if (ty_dim_is(g, a, 0) && ty_dim_is(g, b, 0)) continue;
    x = ty_c_slice(g, x, d, ty_dim_sub(g, z, a), 1, ty_dim_add(g, x->shape[d], ty_dim_add(g, a, b)));
  }
  for (int k = 0; k < p->pairs && x; k++) {
    int d = x->rank - 1 - k, cnt = 0;
    ty_dim s[TY_MAX_RANK];
    ty_value *parts[3];
    for (int i = 0; i < x->rank; i++) s[i] = x->shape[i];
    for (int side = 0; side < 2; side++) {
      if (side) parts[cnt++] = x;
      s[d] = ty_o_max(g, p->pad[2 * k + side], z);
      if (!ty_dim_is(g, s[d], 0)) parts[cnt++] = ty_o_fill(g, x->dtype, x->rank, s, ty_o_is_number(p->value) ? p->value : &zero);
    }
    x = ty_c_cat(g, cnt, parts, d);
  }
  return x;
}
ty_status ty_pad_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  padding p;
  TY_TRY(pad_args(g, n, &p));
  bool empty = false;
  for (int i = 0; i < p.x->rank; i++) empty |= ty_dim_get(g, p.x->shape[i])->lo < 1;
  return ty_o_done(g, rep, ty_o_fit(g, p.mode != CONSTANT || (p.x->rank > 3 && !empty) ? view(g, &p, n->outs[0]) : joined(g, &p), n->outs[0]));
}

/* ---- roll(self, shifts, dims); no dims: of the flat tensor ---- */
ty_status ty_roll_infer(ty_graph *g, ty_node *n) {
  ty_value *x = ty_o_val(n, 0);
  int shifts, dims, d;
  const ty_dim *s = ty_o_ints(n, 1, &shifts), *list = ty_o_ints(n, 2, &dims);
  int64_t v;
  if (shifts != (dims ? dims : 1)) return ty_fail(g->ctx, TY_INVALID, "roll: shifts and dims must have the same length");
  for (int i = 0; i < shifts; i++)
    if (!ty_dim_is_const(g, s[i], NULL)) return ty_fail(g->ctx, TY_UNSUPPORTED, "roll: symbolic shift");
  for (int i = 0; i < dims; i++) {
    if (!ty_dim_is_const(g, list[i], &v)) return ty_fail(g->ctx, TY_UNSUPPORTED, "roll: symbolic dim");
    TY_TRY(ty_o_wrap(g, v, x->rank, &d));
  }
  return ty_o_out_like(g, n, x);
}
/* A view, but for the last dim, whose columns are copied in two pieces. */
ty_status ty_roll_lower(ty_graph *g, ty_node *n, ty_value **rep) {
  ty_value *x = ty_o_val(n, 0);
  int shifts, dims, d = 0;
  const ty_dim *s = ty_o_ints(n, 1, &shifts), *list = ty_o_ints(n, 2, &dims);
  ty_dim flat = ty_o_numel(g, x), z = ty_dim_const(g, 0), map[TY_MAX_RANK];
  int64_t v;
  if (!x->rank || ty_dim_is(g, flat, 0)) return ty_o_done(g, rep, x);
  if (!dims) x = ty_c_reshape(g, x, 1, &flat);
  for (int i = 0; x && i < x->rank; i++) map[i] = ty_dim_index(g, i);
  for (int i = 0; i < shifts && x; i++) {
    if (dims && ty_dim_is_const(g, list[i], &v)) TY_TRY(ty_o_wrap(g, v, x->rank, &d));
    ty_dim len = x->shape[d];
    if (d < x->rank - 1) {
      map[d] = ty_dim_mod(g, ty_dim_sub(g, map[d], s[i]), len);
      continue;
    }
    ty_dim by = ty_dim_mod(g, s[i], len), rest = ty_dim_sub(g, len, by);
    if (ty_dim_is(g, by, 0)) continue;
    ty_value *parts[2] = { ty_c_slice(g, x, d, rest, 1, by), ty_c_slice(g, x, d, z, 1, rest) };
    x = ty_c_cat(g, 2, parts, d);
  }
  return ty_o_done(g, rep, ty_o_reshape_like(g, x ? ty_c_remap(g, x, x->rank, x->shape, map) : NULL, n->outs[0]));
}
