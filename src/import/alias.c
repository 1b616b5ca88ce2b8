/* alias.c: programs with in-place operators as graphs without. Tensors that share memory are a tree of views. A write gives the
 * view a new value and puts it back into its parents, up to the root (slice_scatter, permute, view); other views of that root are
 * made again when they are next read. */
#include <string.h>

#include "archive_int.h"
#include "ops/ops.h"

/* ---- What an operator's result shares with its first argument ---- */
typedef enum ar_undo { AR_NONE, AR_SHAPE, AR_PERMUTE, AR_SWAP, AR_SWAP_LAST, AR_T, AR_REVERSE, AR_SLICE, AR_NARROW, AR_SELECT } ar_undo;
typedef enum ar_share { AR_VIEW, AR_SAME_LAYOUT /* itself when nothing is to be done */, AR_IF_VIEWABLE } ar_share;
static const struct { const char *op; ar_share share; ar_undo undo; } views[] = {
  {"view.", AR_VIEW, AR_SHAPE}, {"reshape.", AR_IF_VIEWABLE, AR_SHAPE}, {"flatten.", AR_IF_VIEWABLE, AR_SHAPE}, {"reshape_as.", AR_IF_VIEWABLE, AR_SHAPE},
  {"view_as.", AR_VIEW, AR_SHAPE}, {"_unsafe_view.", AR_VIEW, AR_SHAPE}, {"_reshape_alias.", AR_VIEW, AR_SHAPE}, {"unflatten.", AR_VIEW, AR_SHAPE},
  {"unsqueeze.", AR_VIEW, AR_SHAPE}, {"squeeze.", AR_VIEW, AR_SHAPE}, {"alias.", AR_VIEW, AR_SHAPE}, {"detach.", AR_VIEW, AR_SHAPE},
  {"lift_fresh.", AR_VIEW, AR_SHAPE}, {"positive.", AR_VIEW, AR_SHAPE}, {"resolve_conj.", AR_VIEW, AR_SHAPE}, {"resolve_neg.", AR_VIEW, AR_SHAPE},
  {"dropout.", AR_VIEW, AR_SHAPE}, {"feature_dropout.", AR_VIEW, AR_SHAPE}, {"alpha_dropout.", AR_VIEW, AR_SHAPE},
  {"to.", AR_SAME_LAYOUT, AR_SHAPE}, {"type_as.", AR_SAME_LAYOUT, AR_SHAPE}, {"contiguous.", AR_SAME_LAYOUT, AR_SHAPE},
  {"permute.", AR_VIEW, AR_PERMUTE}, {"transpose.", AR_VIEW, AR_SWAP}, {"swapaxes.", AR_VIEW, AR_SWAP}, {"swapdims.", AR_VIEW, AR_SWAP},
  {"t.", AR_VIEW, AR_T}, {"mT.", AR_VIEW, AR_SWAP_LAST}, {"adjoint.", AR_VIEW, AR_SWAP_LAST}, {"numpy_T.", AR_VIEW, AR_REVERSE},
  {"slice.", AR_VIEW, AR_SLICE}, {"narrow.", AR_VIEW, AR_NARROW}, {"select.", AR_VIEW, AR_SELECT},
};

static int view_row(const char *op) {
  for (size_t i = 0; i < sizeof views / sizeof *views; i++)
    if (!strncmp(op, "aten.", 5) && !strncmp(op + 5, views[i].op, strlen(views[i].op))) return (int)i;
  return -1;
}

typedef enum ar_answer { AR_NO, AR_YES, AR_UNSURE } ar_answer;

static ar_answer same_dim(ty_graph *g, ty_dim a, ty_dim b) {
  if (ty_dim_known_eq(g, a, b)) return AR_YES;
  return ty_dim_is_const(g, a, NULL) && ty_dim_is_const(g, b, NULL) ? AR_NO : AR_UNSURE;
}

static ar_answer same_layout(ty_graph *g, const ar_meta *a, const ar_meta *b) {
  if (!a->known || !b->known) return AR_UNSURE;
  if (a->dtype != b->dtype || a->rank != b->rank) return AR_NO;
  ar_answer all = AR_YES;
  for (int i = 0; i < a->rank; i++) {
    ar_answer one = ty_dim_is(g, a->sizes[i], 1) ? AR_YES : same_dim(g, a->strides[i], b->strides[i]);
    if (one == AR_NO) return AR_NO;
    if (one == AR_UNSURE) all = AR_UNSURE;
  }
  return all;
}

static ar_answer contiguous(ty_graph *g, const ar_meta *m) {
  ar_meta dense = *m;
  ty_dim step = ty_dim_const(g, 1);
  for (int i = m->rank - 1; i >= 0; i--) {
    dense.strides[i] = step;
    step = ty_dim_mul(g, step, m->sizes[i]);
  }
  return same_layout(g, m, &dense);
}

/* Does reshaping give a view? A contiguous tensor always does; else, with sizes that are known, when every group of old dims that
 * makes up new ones is one line in memory (what at::detail::computeStride says). */
static ar_answer viewable(ty_graph *g, const ar_meta *from, const ar_meta *to) {
  int64_t size[TY_MAX_RANK], stride[TY_MAX_RANK], want[TY_MAX_RANK], n, numel = 1, view = 1;
  if (!from->known || !to->known) return AR_UNSURE;
  if (contiguous(g, from) == AR_YES) return AR_YES;
  for (int i = 0; i < from->rank; i++)
    if (!ty_dim_is_const(g, from->sizes[i], &size[i]) || !ty_dim_is_const(g, from->strides[i], &stride[i])) return AR_UNSURE;
  for (int i = 0; i < to->rank; i++)
    if (!ty_dim_is_const(g, to->sizes[i], &want[i])) return AR_UNSURE;
  int d = to->rank - 1;
  int64_t base = from->rank ? stride[from->rank - 1] : 1;
  for (int i = from->rank - 1; i >= 0; i--) {
    if (!ty_mul_i64(numel, size[i], &numel) || !ty_mul_i64(numel, base, &n)) return AR_UNSURE;
    if (numel == 0) return AR_YES;
    if (i && (size[i - 1] == 1 || stride[i - 1] == n)) continue;
    while (d >= 0 && (view < numel || want[d] == 1))
      if (!ty_mul_i64(view, want[d--], &view)) return AR_UNSURE;
    if (view != numel) return AR_NO;
    numel = view = 1;
    if (i) base = stride[i - 1];
  }
  return d == -1 ? AR_YES : AR_NO;
}

static const ty_arg *named(const ar_call *c, const char *name) {
  for (int i = 0; i < c->nargs; i++)
    if (c->names[i] && !strcmp(c->names[i], name)) return &c->args[i];
  return NULL;
}

static ar_answer shares(ar_importer *im, const ar_call *c, const ar_meta *self, const ar_meta *result) {
  int row = view_row(c->op);
  int op = ty_op_find(c->op);
  if (row < 0) return op >= 0 && strstr(ty_op_get(op)->schema, "Tensor(a") ? AR_UNSURE : AR_NO;
  const ty_arg *copy = named(c, "copy");
  if (views[row].share == AR_SAME_LAYOUT) return copy && copy->kind == TY_ARG_BOOL && copy->b ? AR_NO : same_layout(im->g, self, result);
  return views[row].share == AR_VIEW ? AR_YES : viewable(im->g, self, result);
}

/* ---- Calls ---- */
static ty_status build(ar_importer *im, const char *op, int n, const ty_arg *args, const char *const *names, const char *loc, ty_value **out) {
  ty_node *node;
  ty_status st = ty_build(im->g, op, n, args, names, loc, &node);
  if (st == TY_OK) *out = node->outs[0];
  return st == TY_INVALID ? ar_fail(&im->at, TY_UNSUPPORTED, "writing through a view: %s", ar_reason(im)) : st;
}

static const ar_call *call_copy(ar_importer *im, const char *op, int n, const ty_arg *args, const char *const *names, const char *loc) {
  ar_call *c = ty_arena_alloc(&im->arena, sizeof *c);
  if (!c || !(c->args = ty_arena_alloc(&im->arena, (size_t)n * sizeof *args)) || !(c->names = ty_arena_alloc(&im->arena, (size_t)n * sizeof *names))) return NULL;
  memcpy(c->args, args, (size_t)n * sizeof *args);
  memcpy(c->names, names, (size_t)n * sizeof *names);
  c->op = op;
  c->nargs = n;
  c->loc = loc;
  return c;
}

/* as_strided reads its argument's memory, which is what the archive says of strides: a flat copy of the argument, its dims in memory
 * order, has the same. Where only dims of size 1 differ it is the argument itself (so run_decompositions ends the average over an image). */
ty_status ar_as_strided(ar_importer *im, ar_call *c, int self) {
  const ar_value *x = self < 0 ? NULL : &im->values.p[self];
  const ty_arg *from = named(c, "storage_offset");
  ty_graph *g = im->g;
  if (!x || !x->meta.known || c->nargs < 3 || c->args[1].kind != TY_ARG_INTS || c->args[2].kind != TY_ARG_INTS)
    return ar_fail(&im->at, TY_UNSUPPORTED, "how its argument lies in memory is not known");
  if (from && from->kind != TY_ARG_NONE && (x->parent >= 0 || x->sealed || x->input >= 0))
    return ar_fail(&im->at, TY_UNSUPPORTED, "where its argument lies in memory is not known");
  bool moved = from && from->kind != TY_ARG_NONE && !ty_dim_is(g, from->i, 0);
  const ar_meta *old = &x->meta;
  ar_meta m = *old;
  bool itself = !moved && c->args[1].n == m.rank && c->args[2].n == m.rank;
  for (int i = 0; i < m.rank && itself; i++) itself = ty_dim_known_eq(g, m.sizes[i], c->args[1].ints[i]), m.strides[i] = c->args[2].ints[i];
  if (itself && same_layout(g, old, &m) == AR_YES) {
    c->op = "aten.alias.default";
    c->nargs = 1;
    return TY_OK;
  }
  int by[TY_MAX_RANK]; /* dims by stride, the greatest first */
  ty_dim order[TY_MAX_RANK];
  for (int i = 0; i < m.rank; i++) {
    int k = i;
    for (int64_t a, b; k > 0 && ty_dim_is_const(g, old->strides[by[k - 1]], &a) && ty_dim_is_const(g, old->strides[i], &b) && a < b; k--) by[k] = by[k - 1];
    by[k] = i;
  }
  for (int i = 0; i < m.rank; i++) order[i] = ty_dim_const(g, by[i]), m.sizes[i] = old->sizes[by[i]], m.strides[i] = old->strides[by[i]];
  if (contiguous(g, &m) != AR_YES) return ar_fail(&im->at, TY_UNSUPPORTED, "its argument has gaps in memory, or overlaps");
  ty_arg args[] = {c->args[0], {.kind = TY_ARG_INTS, .n = m.rank, .ints = order}};
  return build(im, "aten.permute.default", 2, args, (const char *const[]){NULL, NULL}, c->loc, &c->args[0].value);
}

/* The graph's input for a parameter, at its first use. */
static ty_status first_use(ar_importer *im, int i, ty_value **out) {
  ar_value *x = &im->values.p[i];
  ar_input *in = x->input < 0 ? NULL : &im->inputs[x->input];
  if (!in || !in->payload) return ar_fail(&im->at, TY_UNSUPPORTED, "it needs %.100s, which an operator gives that was declined", x->name);
  const ar_payload *p = in->payload;
  if (p->refused) return ar_fail(&im->at, TY_UNSUPPORTED, "%.200s cannot be used: %s", in->fqn, p->refused);
  ty_dim sizes[TY_MAX_RANK], strides[TY_MAX_RANK];
  bool dense = true;
  int64_t step = 1;
  for (int d = p->rank - 1; d >= 0; d--) {
    sizes[d] = ty_dim_const(im->g, p->sizes[d]);
    strides[d] = ty_dim_const(im->g, p->strides[d]);
    dense &= p->sizes[d] <= 1 || p->strides[d] == step;
    if (p->bytes) step *= p->sizes[d]; /* the bytes are there: no overflow */
  }
  in->v = ty_graph_input(im->g, TY_ROLE_PARAM, p->dtype, p->rank, sizes, dense || !p->bytes ? NULL : strides, in->fqn);
  if (!in->v) return ar_nomem(&im->at);
  *out = x->v = in->v;
  return TY_OK;
}

ty_status ar_read(ar_importer *im, int i, ty_value **out) {
  ar_value *x = &im->values.p[i];
  if (x->parent < 0) return x->v ? *out = x->v, TY_OK : first_use(im, i, out);
  int now = im->values.p[x->root].version;
  if (x->version != now || !x->v) {
    ty_value *parent;
    TY_TRY(ar_read(im, x->parent, &parent)); /* at most AR_MAX_VIEWS deep */
    x->view->args[0] = ty_arg_value(parent);
    TY_TRY(build(im, x->view->op, x->view->nargs, x->view->args, x->view->names, x->view->loc, &x->v));
    x->version = now;
  }
  *out = x->v;
  return TY_OK;
}

/* ---- Writing ---- */
static ty_status unpermute(ar_importer *im, const ar_call *c, ar_undo undo, ty_value *part, ty_value **out) {
  int rank = part->rank, p[TY_MAX_RANK];
  ty_dim inverse[TY_MAX_RANK];
  int64_t a = rank - 2, b = rank - 1;
  for (int i = 0; i < rank; i++) p[i] = undo == AR_REVERSE ? rank - 1 - i : i;
  if (undo == AR_PERMUTE) {
    const ty_arg *dims = named(c, "dims");
    for (int i = 0; dims && dims->kind == TY_ARG_INTS && i < rank && i < dims->n; i++)
      if (ty_dim_is_const(im->g, dims->ints[i], &a)) p[i] = (int)(a < 0 ? a + rank : a);
  } else if (undo == AR_SWAP) {
    const ty_arg *x = c->nargs == 3 ? &c->args[1] : NULL;
    if (!x || x[0].kind != TY_ARG_INT || x[1].kind != TY_ARG_INT || !ty_dim_is_const(im->g, x[0].i, &a) || !ty_dim_is_const(im->g, x[1].i, &b))
      return ar_fail(&im->at, TY_UNSUPPORTED, "a write through a view by %s", c->op);
    if (a < 0) a += rank;
    if (b < 0) b += rank;
  }
  if (undo != AR_REVERSE && undo != AR_PERMUTE && rank >= 2 && a >= 0 && a < rank && b >= 0 && b < rank) p[a] = (int)b, p[b] = (int)a;
  for (int i = 0; i < rank; i++) inverse[p[i]] = ty_dim_const(im->g, i); /* a permutation: the builder has seen it */
  ty_arg args[] = {ty_arg_value(part), {.kind = TY_ARG_INTS, .n = rank, .ints = inverse}};
  return build(im, "aten.permute.default", 2, args, (const char *const[]){NULL, NULL}, c->loc, out);
}

/* The parent's new value, of its old one and the view's new one. */
static ty_status put_back(ar_importer *im, const ar_call *c, ty_value *whole, ty_value *part, ty_value **out) {
  int row = view_row(c->op);
  ty_arg args[AR_MAX_ARGS + 1];
  const char *names[AR_MAX_ARGS + 1];
  ar_undo undo = row < 0 ? AR_NONE : views[row].undo;
  if (undo == AR_NONE) return ar_fail(&im->at, TY_UNSUPPORTED, "a write through a view by %s", c->op);
  if (undo == AR_SHAPE) {
    if (part->dtype != whole->dtype) return ar_fail(&im->at, TY_UNSUPPORTED, "a write through a view of another dtype");
    ty_arg view[] = {ty_arg_value(part), {.kind = TY_ARG_INTS, .n = whole->rank, .ints = whole->shape}};
    return build(im, "aten.view.default", 2, view, (const char *const[]){NULL, NULL}, c->loc, out);
  }
  if (undo != AR_SLICE && undo != AR_NARROW && undo != AR_SELECT) return unpermute(im, c, undo, part, out);
  int n = c->nargs + 1;
  args[0] = ty_arg_value(whole);
  args[1] = ty_arg_value(part);
  names[0] = "self";
  names[1] = "src";
  for (int i = 1; i < c->nargs; i++) args[i + 1] = c->args[i], names[i + 1] = c->names[i];
  if (undo == AR_NARROW) {
    const ty_arg *start = named(c, "start"), *length = named(c, "length");
    if (!start || !length || start->kind != TY_ARG_INT || length->kind != TY_ARG_INT) return ar_fail(&im->at, TY_UNSUPPORTED, "a write through a view by %s", c->op);
    for (int i = 2; i < n; i++)
      if (names[i] && !strcmp(names[i], "length")) names[i] = "end", args[i] = ty_arg_int(ty_dim_add(im->g, start->i, length->i));
  }
  return build(im, undo == AR_SELECT ? "aten.select_scatter.default" : "aten.slice_scatter.default", n, args, names, c->loc, out);
}

ty_status ar_write(ar_importer *im, int i, ty_value *now) {
  int chain[AR_MAX_VIEWS + 1], n = 0, root = im->values.p[i].root;
  ty_value *old, *value[AR_MAX_VIEWS + 1];
  const ar_value *r = &im->values.p[root];
  const ar_input *in = r->input < 0 ? NULL : &im->inputs[r->input];
  if (r->sealed) return ar_fail(&im->at, TY_UNSUPPORTED, "a write to memory that other tensors may share");
  for (int k = 0; in && in->payload && k < im->ninputs; k++) {
    const ar_payload *p = im->inputs[k].payload;
    if (p && im->inputs[k].value != root && p->path == in->payload->path) return ar_fail(&im->at, TY_UNSUPPORTED, "a write to memory that %.80s and %.80s share", in->fqn, im->inputs[k].fqn);
  }
  value[0] = now;
  for (int x = i; x >= 0; x = im->values.p[x].parent) chain[n++] = x;
  for (int k = 1; k < n; k++) {
    TY_TRY(ar_read(im, chain[k], &old));
    TY_TRY(put_back(im, im->values.p[chain[k - 1]].view, old, value[k - 1], &value[k]));
  }
  int version = ++im->values.p[root].version;
  for (int k = 0; k < n; k++) im->values.p[chain[k]].v = value[k], im->values.p[chain[k]].version = version;
  return TY_OK;
}

/* ---- Results ---- */
/* A part of a list of views (split, chunk, unbind) is a slice, or a row, of what was split. */
static const ar_call *part_of(ar_importer *im, const ar_call *c, const ty_node *node, int k) {
  static const char *const slice_names[] = {"self", "dim", "start", "end"}, *const select_names[] = {"self", "dim", "index"};
  const ty_arg *dim = named(c, "dim");
  ty_graph *g = im->g;
  ty_arg at = dim && dim->kind == TY_ARG_INT ? *dim : ty_arg_int(ty_dim_const(g, 0));
  if (!strncmp(c->op, "aten.unbind.", 12)) return call_copy(im, "aten.select.int", 3, (ty_arg[]){c->args[0], at, ty_arg_int(ty_dim_const(g, k))}, select_names, c->loc);
  int64_t d;
  if (!ty_dim_is_const(g, at.i, &d)) return NULL;
  if (d < 0) d += node->outs[k]->rank;
  ty_dim start = ty_dim_const(g, 0);
  for (int i = 0; i < k; i++) start = ty_dim_add(g, start, node->outs[i]->shape[d]);
  ty_dim end = ty_dim_add(g, start, node->outs[k]->shape[d]);
  return call_copy(im, "aten.slice.Tensor", 4, (ty_arg[]){c->args[0], at, ty_arg_int(start), ty_arg_int(end)}, slice_names, c->loc);
}

ty_status ar_results(ar_importer *im, const ar_call *c, int self, ty_node *node, int n, const int *values) {
  const ty_schema *s = ty_op_schema(node->op);
  bool list = s && s->ret_list && (!strncmp(c->op, "aten.split", 10) || !strncmp(c->op, "aten.chunk.", 11) || !strncmp(c->op, "aten.unbind.", 12) ||
                                !strncmp(c->op, "aten.tensor_split.", 18));
  bool mixed = s && s->ret_list && c->nargs && c->args[0].kind == TY_ARG_VALUES; /* meshgrid: its results share their arguments' memory */
  for (int i = 0; mixed && i < c->args[0].n; i++)
    for (int k = 0; k < im->values.n; k++)
      if (im->values.p[k].v == c->args[0].values[i]) im->values.p[im->values.p[k].root].sealed = true;
  for (int k = 0; k < n; k++) {
    ar_value *x = &im->values.p[values[k]];
    const ar_value *of = self < 0 ? NULL : &im->values.p[self];
    ar_answer view = !of ? AR_NO : list ? AR_YES : k ? AR_NO : shares(im, c, &of->meta, &x->meta);
    bool complete = c->nargs > 0 && c->args[0].kind == TY_ARG_VALUE;
    const ar_call *how = NULL;
    if (view == AR_YES && !(complete && of->depth + 1 < AR_MAX_VIEWS)) view = AR_UNSURE;
    if (view == AR_YES && !(how = list ? part_of(im, c, node, k) : call_copy(im, c->op, c->nargs, c->args, c->names, c->loc))) return ar_nomem(&im->at);
    x->v = node->outs[k];
    x->parent = -1;
    x->root = values[k];
    x->sealed = mixed || view == AR_UNSURE;
    if (view == AR_UNSURE) im->values.p[of->root].sealed = true;
    if (view != AR_YES) continue;
    x->parent = self;
    x->root = of->root;
    x->depth = of->depth + 1;
    x->version = im->values.p[of->root].version;
    x->view = how;
  }
  return TY_OK;
}
