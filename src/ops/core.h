/* core.h: the core vocabulary every ATen operator is lowered to, and short builders for it. Passes and sched see only this.
 *
 * ty.<prim>(a[,b[,c]])          elementwise, one row of prims.def; operands broadcast as in PyTorch
 *                               and have one compute dtype (casts are explicit). Result dtype by the prim (bool for compares).
 * ty.cast(x, dtype)             elementwise conversion with PyTorch's rules (float to int truncates, to bool is != 0)
 * ty.full(shape, dtype, float|int|bool value)   constant of any (symbolic) shape
 * ty.iota(shape, dim)           int64: the index along `dim`
 * ty.dimval(int)                int64 scalar (rank 0): a symbolic size as a value
 * ty.reshape(x, shape)          same elements in row-major order; shape is fully resolved (no -1)
 * ty.permute(x, perm)           out.shape[i] = x.shape[perm[i]]
 * ty.expand(x, shape)           broadcast to shape, right-aligned
 * ty.slice(x, dim, start, step, length)   start and step as they index; 0 <= start; step may be negative (flip)
 * ty.remap(x, shape, map)       out[i] = x[map[0](i), map[1](i), ...]: an entry a dim of x, an expression over the result's indices
 *                               (ty_dim_index, printed _0, _1, ...) that stays inside the dim: windows, clamped and wrapped edges, roll
 * ty.index(x, i0, ..., ir-1)    elementwise gather: one integer value per dim of x, broadcast together; out of range raises
 * ty.reduce(x, kind, dims, keepdim)       kind: "sum" "prod" "max" "min" "any" "all" "argmax" "argmin" (arg*: one dim, int64 result)
 *                               float max and min propagate NaN; accumulates in x's dtype (lowering casts first)
 * ty.cat(xs, dim)
 * ty.scan(x, kind, dim)         inclusive scan: "sum", "prod"; "argmax", "argmin": i64, the last place of the greatest (least) so far
 * ty.sort(x, k, descending)     [..., n] -> i64 [..., k]: places of the k first in order along the last dim, stable; NaN is greatest
 * ty.scatter(x, index, y, kind) x [n, w] with the rows of y [j, w] put to rows index [j] (i64) in order: "set", or joined with what
 *                               is there: "sum" "prod" "max" "min"; out of range raises
 * ty.bag(table, index, starts, weights?, kind, bags, without)   table [r, w], index i64 [j], starts i64 [bags] or [bags + 1] -> [bags, w]:
 *                               "sum", "mean" or "max" of the rows of each bag, see ty_step_routine; rows named `without` do not count
 * ty.matmul(a, b, format?)      a [..., M, K], b [..., K, N]: batch dims broadcast; float32 or float64. format, for float32: "bf16": a product in
 *                               bfloat16, as for ty.linear; None: as fpmath has it
 * ty.linear(x, w, bias?)        x [..., K], w [N, K], bias [N]; also x float32 and w bfloat16, for a product in bfloat16: x is rounded to it
 *                               (in packed words; where the CPU or the kernel has none, float32 multiplies), sums and result are float32; x uint8 and w int8: the result is int32, exact where it fits (bias: int32)
 * ty.pack(w, format)            weight [N, K] in kernel layout (opaque bytes, u8 rank 1; the shape is that of "f32", not the size in memory);
 *                               format: of ty_formats (kernel.h); folded when w is constant
 * ty.gemm(x, packed, N)         x [..., K] times packed weight -> [..., N]; x uint8 times a weight packed as "int8", which was whole numbers -> int32
 * ty.conv(x, w, stride, padding, dilation, groups, out)   channels last: x [N, in.., C], w [O, C / groups, k..] -> [N, out.., O], one to
 *                               three spatial dims; padding is what stands before the first element (it may be negative), and what lies
 *                               beyond either end reads as 0; float32, w also bfloat16 as above
 * ty.conv_pack(w, stride, dilation, groups, out, format, kind)   w in kernel layout (opaque bytes; the shape is the plain weight's, not the size in memory);
 *                               the kernel is chosen from these arguments (out: 0 where symbolic; kind, if
 *                               there is one, says it), so that ty.conv_packed names the same ones
 * ty.conv_packed(x, packed, channels, kernel, stride, padding, dilation, groups, out)   the same from the packed weight; channels: O
 * ty.attention(q, k, v, mask?, bias?, is_causal, scale, empty_nan, format?)   q [B,H,S,D], k, v [B,Hkv,Sk,D(v)]; mask bool or float, bias float, both broadcastable to [B,H,S,Sk];
 *                               a row with no key to attend to gives 0, or NaN with empty_nan;
 *                               format: that of its products, as for ty.matmul
 * ty.rnn(x, whh, bhh?, whr?, h0, c0?, kind, hidden, batch_first)   recurrent layer over time, see ty_rnn of kernel.h and ty_step_rnn of program.h:
 *                               x [t, b, d*gates*h] ([b, t, ..] if batch_first) -> all results in one flat value: y, last cell state, room
 * ty.layer_norm / rms_norm / softmax are NOT core: they lower to reduce + elementwise and fuse into one loop.
 */
#ifndef TY_CORE_H
#define TY_CORE_H
#include "graph/graph.h"
#include "loop/prims.h"

/* Each returns NULL when out of memory or on a broken precondition (the context has the text). Elementwise builders
 * broadcast; dtypes of the operands must agree already. A NULL operand gives NULL, so that calls nest. */
ty_value *ty_c_prim(ty_graph *, ty_prim, ty_value *a, ty_value *b, ty_value *c);
ty_value *ty_c_cast(ty_graph *, ty_value *, ty_dtype); /* returns the operand itself when the dtype is right already */
ty_value *ty_c_full(ty_graph *, ty_dtype, int rank, const ty_dim *shape, double value);
ty_value *ty_c_full_int(ty_graph *, ty_dtype, int rank, const ty_dim *shape, int64_t value);
ty_value *ty_c_iota(ty_graph *, int rank, const ty_dim *shape, int dim);
ty_value *ty_c_dimval(ty_graph *, ty_dim);
ty_value *ty_c_reshape(ty_graph *, ty_value *, int rank, const ty_dim *shape); /* folds identity */
ty_value *ty_c_permute(ty_graph *, ty_value *, const int *perm);
ty_value *ty_c_expand(ty_graph *, ty_value *, int rank, const ty_dim *shape);
ty_value *ty_c_slice(ty_graph *, ty_value *, int dim, ty_dim start, int64_t step, ty_dim length);
ty_value *ty_c_remap(ty_graph *, ty_value *, int rank, const ty_dim *shape, const ty_dim *map); /* x->rank entries of map; folds identity */
/* The indices into x that a ty.remap reads for its result at `at`, which may hold ty_dim_index itself. */
void ty_c_remap_at(ty_graph *, const ty_node *remap, const ty_dim *at, ty_dim *x_at);
ty_value *ty_c_index(ty_graph *, ty_value *x, ty_value *const *indices); /* x->rank entries */
ty_value *ty_c_reduce(ty_graph *, const char *kind, ty_value *, int ndims, const int *dims, bool keepdim);
ty_value *ty_c_cat(ty_graph *, int n, ty_value *const *, int dim);
ty_value *ty_c_matmul(ty_graph *, ty_value *a, ty_value *b, ty_arg format); /* format: a string or none; see ty_c_format_of */
ty_arg ty_c_format_of(ty_dtype); /* of products of operands of a type */
ty_value *ty_c_linear(ty_graph *, ty_value *x, ty_value *w, ty_value *bias);
/* The same for bytes, x uint8 or int8, w int8: int32 (a linear of x + 128 where x has signs). */
ty_value *ty_c_linear_bytes(ty_graph *, ty_value *x, ty_value *w);
typedef struct ty_conv_args { int64_t groups, stride[3], pad[3], dil[3]; ty_dim out[3]; } ty_conv_args; /* as many of each as spatial dims */
ty_value *ty_c_conv(ty_graph *, ty_value *x, ty_value *w, const ty_conv_args *);
ty_value *ty_c_attention(ty_graph *, ty_value *q, ty_value *k, ty_value *v, ty_value *mask, ty_value *bias, bool causal, double scale, bool empty_nan,
                         ty_arg format);
/* Broadcast of two shapes by PyTorch's rule; TY_INVALID when they do not match. */
ty_status ty_broadcast(ty_graph *, int ra, const ty_dim *a, int rb, const ty_dim *b, int *r, ty_dim *out);
#endif
