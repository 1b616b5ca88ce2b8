/* test_infer.c: every family's dtype and shape against PyTorch's, and that lowering keeps them; cases are text, one a line. */
#include "check.h"
#include "ops/ops.h"

#include <ctype.h>
#include <stdlib.h>

/* "op | args | results": arguments are f32[2,s], 3, 2.5, true, none, 'text', :f32 (a dtype), {1,2}, (f32[2] none), name=argument.
 * Results are printed the same way; "invalid" and "unsupported" with a part of the message stand for refusals. */
typedef struct infer_case { const char *op, *args, *want; } infer_case;
static const infer_case cases[] = {
  { "aten.add.Tensor", "f32[2,3] f32[3]", "f32[2,3]" },
  { "aten.add.Tensor", "f32[2,1] i64[3]", "f32[2,3]" },
  { "aten.add.Tensor", "i32[2] f64[]", "f64[2]" },
  { "aten.add.Tensor", "i32[2] i64[]", "i32[2]" },
  { "aten.add.Tensor", "u8[2] i8[2]", "i16[2]" },
  { "aten.add.Tensor", "i64[2] 2.5", "f32[2]" },
  { "aten.add.Tensor", "bool[2] 2", "i64[2]" },
  { "aten.add.Tensor", "f32[] f64[]", "f64[]" },
  { "aten.add.Tensor", "f32[0,3] f32[1,3] alpha=2", "f32[0,3]" },
  { "aten.add.Tensor", "i64[2] i64[2] alpha=0.5", "invalid alpha must not be" },
  { "aten.add.Tensor", "f32[2] f32[3]", "invalid broadcast" },
  { "aten.add.Tensor", "f32[s,1] f32[1,t]", "f32[s,t]" },
  { "aten.add.Tensor", "bf16[2] bf16[2]", "bf16[2]" },
  { "aten.add.Tensor", "bf16[2] f16[2]", "f32[2]" },
  { "aten.add.Tensor", "f16[2] 2.5", "f16[2]" },
  { "aten.add.Tensor", "i64[2] f16[]", "f16[2]" },
  { "aten.native_layer_norm.default", "bf16[2,3] {3} f32[3] f32[3] 1e-5", "bf16[2,3] f32[2,1] f32[2,1]" },
  { "aten.native_layer_norm.default", "bf16[2,3] {3} f32[3] bf16[3] 1e-5", "unsupported parameters of a norm" },
  { "aten.native_batch_norm.default", "f16[2,3,4] f32[3] f32[3] f32[3] f32[3] false 0.1 1e-5", "f16[2,3,4] f32[0] f32[0]" },
  { "aten.linspace.default", "0 1 5 dtype=:bf16", "unsupported linspace of bfloat16" },
  { "aten.sub.Tensor", "bool[2] bool[2]", "unsupported not implemented for bool" },
  { "aten.rsub.Scalar", "i32[2] 3", "i32[2]" },
  { "aten.mul.Tensor", "bool[2] bool[2]", "bool[2]" },
  { "aten.div.Tensor", "i64[2] i64[2]", "f32[2]" },
  { "aten.div.Tensor", "f64[2] i64[2]", "f64[2]" },
  { "aten.div.Tensor_mode", "f32[2] f32[2] rounding_mode='floor'", "f32[2]" },
  { "aten.div.Tensor_mode", "i64[2] 3 rounding_mode='trunc'", "i64[2]" },
  { "aten.div.Tensor_mode", "i64[2] i64[2] rounding_mode='trunc'", "unsupported integer division by a tensor" },
  { "aten.div.Tensor_mode", "i64[2] i64[2] rounding_mode=none", "f32[2]" },
  { "aten.floor_divide.Scalar", "i64[2] 0", "invalid ZeroDivisionError" },
  { "aten.floor_divide.Scalar", "i64[2] 2.0", "f32[2]" },
  { "aten.remainder.Scalar", "i32[2] 7", "i32[2]" },
  { "aten.pow.Tensor_Scalar", "f32[2] 2", "f32[2]" },
  { "aten.pow.Tensor_Scalar", "i64[2] 0.5", "f32[2]" },
  { "aten.pow.Tensor_Scalar", "i64[2] -1", "invalid negative integer powers" },
  { "aten.pow.Scalar", "2 f32[3]", "f32[3]" },
  { "aten.maximum.default", "f32[2] f64[]", "f32[2]" },
  { "aten.eq.Scalar", "i64[2,2] 1.5", "bool[2,2]" },
  { "aten.lt.Tensor", "f32[2,1] i64[3]", "bool[2,3]" },
  { "aten.logical_and.default", "f32[2] i64[2]", "bool[2]" },
  { "aten.bitwise_or.Tensor", "bool[2] i32[2]", "i32[2]" },
  { "aten.bitwise_and.Tensor", "f32[2] f32[2]", "unsupported not implemented for float32" },
  { "aten.where.self", "bool[2,1] f32[3] f64[]", "f32[2,3]" },
  { "aten.where.ScalarOther", "bool[2] i64[2] 1.5", "f32[2]" },
  { "aten.where.Scalar", "bool[2] 1 2", "i64[2]" },
  { "aten.where.self", "f32[2] f32[2] f32[2]", "invalid boolean condition" },
  { "aten.masked_fill.Scalar", "f32[2,3] bool[3] 1", "f32[2,3]" },
  { "aten.clamp.default", "i64[3] 1.5 none", "f32[3]" },
  { "aten.clamp.default", "i64[3] none none", "invalid at least one of min or max" },
  { "aten.clamp.Tensor", "f32[3] f32[2,1]", "f32[2,3]" },
  { "aten.exp.default", "i64[2]", "f32[2]" },
  { "aten.exp.default", "bool[]", "f32[]" },
  { "aten.exp.default", "f64[2,0]", "f64[2,0]" },
  { "aten.neg.default", "u8[2]", "u8[2]" },
  { "aten.isnan.default", "i64[2]", "bool[2]" },
  { "aten.signbit.default", "f32[2]", "bool[2]" },
  { "aten.atan2.default", "i64[2] i64[2]", "f32[2]" },
  { "aten.lerp.Scalar", "f32[2] f32[2] 0.5", "f32[2]" },
  { "aten.gelu.default", "f32[2,s] approximate='tanh'", "f32[2,s]" },
  { "aten.gelu.default", "f32[2] approximate='x'", "invalid none or tanh" },
  { "aten.relu.default", "i64[2]", "i64[2]" },
  { "aten.softplus.default", "f32[2]", "f32[2]" },
  { "aten.prelu.default", "f32[2,3,4] f32[3]", "f32[2,3,4]" },
  { "aten.glu.default", "f32[2,6] -1", "f32[2,3]" },
  { "aten.glu.default", "f32[2,5] -1", "invalid glu" },
  { "aten._to_copy.default", "f32[2] dtype=:i64", "i64[2]" },
  { "aten._to_copy.default", "f32[2] dtype=:bf16", "bf16[2]" },
  { "aten.to.dtype", "bf16[2,2] :f32", "f32[2,2]" },
  { "aten.type_as.default", "i64[2] f32[1]", "f32[2]" },
  { "aten.dropout.default", "f32[2] 0.5 true", "unsupported training" },
  { "aten.dropout.default", "f32[2] 0.5 false", "f32[2]" },
  { "aten.copy.default", "f32[2,3] i64[3]", "f32[2,3]" },
  { "aten.full.default", "{2,3} 1", "i64[2,3]" },
  { "aten.full.default", "{} true", "bool[]" },
  { "aten.full_like.default", "i32[2] 2.5", "i32[2]" },
  { "aten.zeros.default", "{s,2}", "f32[s,2]" },
  { "aten.zeros.default", "{-2}", "invalid negative" },
  { "aten.new_ones.default", "i64[2] {3}", "i64[3]" },
  { "aten.ones_like.default", "bool[2] dtype=:f64", "f64[2]" },
  { "aten.scalar_tensor.default", "3", "f32[]" },
  { "aten.arange.default", "5", "i64[5]" },
  { "aten.arange.default", "5.5", "f32[6]" },
  { "aten.arange.start", "1 s", "i64[s - 1]" },
  { "aten.arange.start_step", "0 10 3", "i64[4]" },
  { "aten.arange.start_step", "5 0 -2", "i64[3]" },
  { "aten.arange.start_step", "0.0 1.0 0.25", "f32[4]" },
  { "aten.arange.start_step", "0 1 0", "unsupported step" },
  { "aten.linspace.default", "0 1 5", "f32[5]" },
  { "aten.eye.m", "2 3", "f32[2,3]" },
  { "aten.tril.default", "f32[2,3,3] -1", "f32[2,3,3]" },
  { "aten.view.default", "f32[2,3,4] {-1,4}", "f32[6,4]" },
  { "aten.view.default", "f32[s,t,768] {-1,768}", "f32[s*t,768]" },
  { "aten.view.default", "f32[s,t,768] {s,t,12,64}", "f32[s,t,12,64]" },
  { "aten.view.default", "f32[s,12,64] {-1,768}", "f32[s,768]" },
  { "aten.view.default", "f32[0,3] {0,-1}", "invalid ambiguous" },
  { "aten.view.default", "f32[2,3] {4,-1}", "invalid shape is invalid" },
  { "aten.view.default", "f32[2,3] {7}", "invalid number of elements" },
  { "aten.view.default", "f32[s,3] {2,-1}", "f32[2,s + s//2]" },
  { "aten.permute.default", "f32[2,3,4] {2,0,-2}", "f32[4,2,3]" },
  { "aten.permute.default", "f32[2,3] {0,0}", "invalid repeated" },
  { "aten.transpose.int", "f32[2,3,4] 0 -1", "f32[4,3,2]" },
  { "aten.t.default", "f32[3]", "f32[3]" },
  { "aten.movedim.intlist", "f32[2,3,4,5] {0,2} {3,0}", "f32[4,3,5,2]" },
  { "aten.unsqueeze.default", "f32[2,3] -1", "f32[2,3,1]" },
  { "aten.unsqueeze.default", "f32[] 0", "f32[1]" },
  { "aten.squeeze.default", "f32[1,2,1]", "f32[2]" },
  { "aten.squeeze.dim", "f32[1,2,1] -1", "f32[1,2]" },
  { "aten.squeeze.dims", "f32[1,2,1] {0,1}", "f32[2,1]" },
  { "aten.expand.default", "f32[3,1] {2,-1,4}", "f32[2,3,4]" },
  { "aten.expand.default", "f32[3] {2}", "invalid expand" },
  { "aten.slice.Tensor", "f32[5,6] 1 1 9223372036854775807 2", "f32[5,3]" },
  { "aten.slice.Tensor", "f32[5] 0 -3 -1", "f32[2]" },
  { "aten.slice.Tensor", "f32[5] 0 4 2", "f32[0]" },
  { "aten.slice.Tensor", "f32[s,4] 0 1 9223372036854775807", "f32[s - 1,4]" },
  { "aten.slice.Tensor", "f32[16,4] 0 0 s", "f32[min(s, 16),4]" },
  { "aten.select.int", "f32[2,3] 1 -1", "f32[2]" },
  { "aten.select.int", "f32[2,3] 1 3", "invalid out of range" },
  { "aten.narrow.default", "f32[5] 0 1 3", "f32[3]" },
  { "aten.flatten.using_ints", "f32[2,3,4] 1 -1", "f32[2,12]" },
  { "aten.flatten.using_ints", "f32[]", "f32[1]" },
  { "aten.unflatten.int", "f32[2,12] 1 {3,-1}", "f32[2,3,4]" },
  { "aten.split.Tensor", "f32[5,2] 2", "f32[2,2] f32[2,2] f32[1,2]" },
  { "aten.split_with_sizes.default", "f32[5,2] {1,4}", "f32[1,2] f32[4,2]" },
  { "aten.split.Tensor", "f32[2,s] 3 1", "unsupported symbolic number" },
  { "aten.adaptive_avg_pool2d.default", "f32[3,2,8] {4}", "f32[3,4,4]" }, /* twice as many as there are */
  { "aten.chunk.default", "f32[2,6] 4 1", "f32[2,2] f32[2,2] f32[2,2]" },
  { "aten.chunk.default", "f32[2,s*3] 3 1", "f32[2,s] f32[2,s] f32[2,s]" },
  { "aten.unbind.int", "f32[2,3] 1", "f32[2] f32[2] f32[2]" },
  { "aten.tensor_split.sections", "f32[2,8] 3 1", "f32[2,3] f32[2,3] f32[2,2]" },
  { "aten.tensor_split.sections", "f32[1] 3", "f32[1] f32[0] f32[0]" },
  { "aten.meshgrid.indexing", "(f32[s] f32[3] f32[]) indexing='xy'", "f32[3,s,1] f32[3,s,1] f32[3,s,1]" },
  { "aten.meshgrid.indexing", "(f32[s] f32[3]) indexing='yx'", "invalid indexing" },
  { "aten.meshgrid.default", "(f32[2] i64[3])", "invalid one dtype" },
  { "aten.broadcast_tensors.default", "(f32[2,1] i64[3])", "f32[2,3] i64[2,3]" },
  { "aten.cat.default", "(f32[2,3] i64[1,3]) 0", "f32[3,3]" },
  { "aten.cat.default", "(f32[0] f32[2,3]) 1", "f32[2,3]" },
  { "aten.cat.default", "(f32[s,3] f32[2,3]) 0", "f32[s + 2,3]" },
  { "aten.cat.default", "(f32[2,3] f32[2,4]) 0", "invalid cat" },
  { "aten.stack.default", "(f32[2] f32[2]) -1", "f32[2,2]" },
  { "aten.constant_pad_nd.default", "f32[2,3] {1,-1,0,2}", "f32[4,3]" },
  { "aten.flip.default", "f32[2,3] {0}", "f32[2,3]" },
  { "aten.roll.default", "f32[2,3] {1} {-1}", "f32[2,3]" },
  { "aten.repeat.default", "f32[2,1] {2,1,3}", "f32[2,2,3]" },
  { "aten.tile.default", "f32[2,1] {3}", "f32[2,3]" },
  { "aten.repeat_interleave.self_int", "f32[2,3] 2 1", "f32[2,6]" },
  { "aten.slice_scatter.default", "f32[6,2] f32[2,2] 0 1 5 2", "f32[6,2]" },
  { "aten.select_scatter.default", "f32[2,3] f32[2] 1 0", "f32[2,3]" },
  { "aten.pixel_shuffle.default", "f32[2,8,3,3] 2", "f32[2,2,6,6]" },
  { "aten.diagonal.default", "f32[2,3,4] 1 1 2", "f32[2,3]" },
  { "aten.unfold.default", "f32[7,2] 0 3 2", "f32[3,2,3]" },
  { "aten.sum.default", "bool[2,3]", "i64[]" },
  { "aten.sum.dim_IntList", "f32[2,3] {-1} true", "f32[2,1]" },
  { "aten.sum.dim_IntList", "i32[2,3] {0} dtype=:f32", "f32[3]" },
  { "aten.sum.dim_IntList", "f32[2,3] {} true", "f32[1,1]" },
  { "aten.sum.dim_IntList", "f32[2,3] {0,0}", "invalid multiple times" },
  { "aten.prod.dim_int", "i32[2,3] 0", "i64[3]" },
  { "aten.mean.dim", "f32[s,3] {0}", "f32[3]" },
  { "aten.mean.default", "i64[2]", "invalid should be floating point" },
  { "aten.amax.default", "f32[2,3] {1}", "f32[2]" },
  { "aten.max.default", "f32[0]", "invalid non-empty" },
  { "aten.max.dim", "f32[2,3] 1 true", "f32[2,1] i64[2,1]" },
  { "aten.min.dim", "i64[] 0", "i64[] i64[]" },
  { "aten.argmax.default", "f32[2,3]", "i64[]" },
  { "aten.argmax.default", "f32[2,3] none true", "i64[1,1]" },
  { "aten.argmin.default", "f32[2,3] 0", "i64[3]" },
  { "aten.any.dim", "u8[2,3] 1", "u8[2]" },
  { "aten.all.default", "f32[2,3]", "bool[]" },
  { "aten.var.correction", "f32[2,3] {1} correction=0 keepdim=true", "f32[2,1]" },
  { "aten.std.dim", "f64[2,3] {0} false", "f64[3]" },
  { "aten.var_mean.correction", "f32[2,3] {1}", "f32[2] f32[2]" },
  { "aten.linalg_vector_norm.default", "f32[2,3] 2 {1}", "f32[2]" },
  { "aten.norm.ScalarOpt_dim", "f32[2,3] 3 {0} true", "f32[1,3]" },
  { "aten.logsumexp.default", "i64[2,3] {1}", "f32[2]" },
  { "aten.count_nonzero.default", "f32[2,3]", "i64[]" },
  { "aten.cumsum.default", "bool[2,3] 1", "i64[2,3]" },
  { "aten.cumprod.default", "f32[2,3] 0 dtype=:f64", "f64[2,3]" },
  { "aten.softmax.int", "i64[2,3] -1 :f32", "f32[2,3]" },
  { "aten._softmax.default", "f32[] 0 false", "f32[]" },
  { "aten._log_softmax.default", "f32[2,0] 1 false", "f32[2,0]" },
  { "aten._safe_softmax.default", "f32[2,3] 1", "f32[2,3]" },
  { "aten.layer_norm.default", "f32[2,s,8] {8} f32[8] f32[8]", "f32[2,s,8]" },
  { "aten.layer_norm.default", "f32[2,8] {4}", "invalid normalized_shape" },
  { "aten.native_layer_norm.default", "f32[2,3,8] {3,8} none none 1e-5", "f32[2,3,8] f32[2,1,1] f32[2,1,1]" },
  { "aten.rms_norm.default", "f32[2,8] {8} f32[8]", "f32[2,8]" },
  { "aten._fused_rms_norm.default", "f32[2,3,8] {8} f32[8] none", "f32[2,3,8] f32[2,3,1]" },
  { "aten.group_norm.default", "f32[2,6,4] 3 f32[6] f32[6]", "f32[2,6,4]" },
  { "aten.native_group_norm.default", "f32[2,6,4] none none 2 6 4 3 1e-5", "f32[2,6,4] f32[2,3] f32[2,3]" },
  { "aten.batch_norm.default", "f32[2,6,4] f32[6] f32[6] f32[6] f32[6] false 0.1 1e-5 false", "f32[2,6,4]" },
  { "aten._native_batch_norm_legit_no_training.default", "f32[2,6] none none f32[6] f32[6] 0.1 1e-5", "f32[2,6] f32[0] f32[0]" },
  { "aten.native_batch_norm.default", "f32[2,6] none none f32[6] f32[6] true 0.1 1e-5", "unsupported running statistics" },
  { "aten.embedding.default", "f32[10,4] i64[2,s]", "f32[2,s,4]" },
  { "aten.embedding.default", "f32[10,4] f32[2]", "invalid int32 or int64" },
  { "aten.index_select.default", "f32[3,4] 1 i64[2]", "f32[3,2]" },
  { "aten.gather.default", "f32[3,4] 1 i64[2,5]", "f32[2,5]" },
  { "aten.index.Tensor", "f32[2,3,4,5] (none i64[2,1] i64[3])", "f32[2,2,3,5]" },
  { "aten.index.Tensor", "f32[2,3,4,5] (i64[2] none i64[2])", "f32[2,3,5]" },
  { "aten.index.Tensor", "f32[2,3] (bool[2])", "unsupported mask" },
  { "aten.take.default", "f32[3,4] i64[2,2]", "f32[2,2]" },
  { "aten.take_along_dim.default", "f32[3,4] i64[1,2] 1", "f32[3,2]" },
  { "aten.mm.default", "f32[2,3] f32[3,4]", "f32[2,4]" },
  { "aten.mm.default", "f32[2,3] f32[4,4]", "invalid matrix product" },
  { "aten.mm.default", "i64[2,3] i64[3,4]", "unsupported matrix product of int64" },
  { "aten.bmm.default", "f32[s,2,3] f32[s,3,4]", "f32[s,2,4]" },
  { "aten.matmul.default", "f32[3] f32[2,3,4]", "f32[2,4]" },
  { "aten.matmul.default", "f32[2,1,5,3] f32[4,3,2]", "f32[2,4,5,2]" },
  { "aten.addmm.default", "f32[4] f32[s,3] f32[3,4]", "f32[s,4]" },
  { "aten.baddbmm.default", "f32[2,1,4] f32[2,3,5] f32[2,5,4]", "f32[2,3,4]" },
  { "aten.addmv.default", "f32[3] f32[3,4] f32[4]", "f32[3]" },
  { "aten.linear.default", "f32[s,t,8] f32[4,8] f32[4]", "f32[s,t,4]" },
  { "aten.linear.default", "f32[8] f32[4,8]", "f32[4]" },
  { "aten.outer.default", "f32[2] i64[3]", "f32[2,3]" },
  { "aten.cosine_similarity.default", "f32[2,3] f32[3] 1", "f32[2]" },
  { "aten.convolution.default", "f32[2,3,16,18] f32[8,3,4,4] f32[8] {4,4} {0,0} {1,1} false {0,0} 1", "f32[2,8,4,4]" },
  { "aten.conv2d.default", "f32[2,3,8,8] f32[5,3,1,1] none {2,2}", "f32[2,5,4,4]" },
  { "aten.conv2d.default", "f32[2,3,s,8] f32[5,3,3,3] none {1,1} {1,1}", "f32[2,5,s,8]" },
  { "aten.conv2d.default", "f32[2,3,8,8] f32[5,3,9,9]", "invalid kernel size" },
  { "aten.conv2d.default", "f32[2,4,8,8] f32[6,2,3,3] f32[6] {2,2} {1,1} {1,1} 2", "f32[2,6,4,4]" },
  { "aten.conv2d.default", "f64[2,3,8,8] f64[5,3,3,3]", "unsupported float64" },
  { "aten.conv1d.padding", "f32[3,9] f32[5,3,4] none {1} 'same' {2}", "f32[5,9]" },
  { "aten.conv_transpose2d.input", "f32[2,4,8,s] f32[4,3,3,3] f32[6] {2,2} {1,1} {1,1} 2", "f32[2,6,16,2*s]" },
  { "aten.conv_transpose1d.default", "f32[2,4,8] f32[4,3,3] none {65}", "unsupported stride" },
  { "aten.scaled_dot_product_attention.default", "f32[2,4,s,8] f32[2,4,t,8] f32[2,4,t,8] bool[s,t]", "f32[2,4,s,8]" },
  { "aten.scaled_dot_product_attention.default", "f32[2,4,5,8] f32[2,2,7,8] f32[2,2,7,8] enable_gqa=true", "f32[2,4,5,8]" },
  { "aten.scaled_dot_product_attention.default", "f64[2,5,8] f64[2,7,8] f64[2,7,3]", "f64[2,5,3]" },
  { "aten.scaled_dot_product_attention.default", "f32[2,4,5,8] f32[2,4,7,8] f32[2,4,7,8] none 0.5", "unsupported dropout" },
  { "aten._scaled_dot_product_flash_attention_for_cpu.default", "f32[2,4,5,8] f32[2,4,7,8] f32[2,4,7,8]", "f32[2,4,5,8] f32[2,4,5]" },
  { "aten._scaled_dot_product_attention_math.default", "f32[2,4,5,8] f32[2,4,7,8] f32[2,4,7,8]", "f32[2,4,5,8] f32[2,4,5,7]" },
};

static ty_graph *g;

static ty_dim parse_dim(const char **p) {
  if (isalpha((unsigned char)**p)) {
    char name[2] = { *(*p)++, 0 };
    ty_dim d = ty_dim_symbol(g, name, 2, 4096, 8);
    if (**p != '*') return d;
    ++*p;
    return ty_dim_mul(g, d, parse_dim(p));
  }
  return ty_dim_const(g, strtoll(*p, (char **)(uintptr_t)p, 10));
}

/* "f32[2,s]" */
static ty_value *parse_tensor(const char **p) {
  char name[16];
  int n = 0, rank = 0;
  ty_dtype dt = TY_f32;
  ty_dim shape[TY_MAX_RANK];
  while (**p != '[') name[n++] = *(*p)++;
  name[n] = 0;
  CHECK(ty_dtype_parse(name, &dt));
  for (++*p; **p != ']'; *p += **p == ',') shape[rank++] = parse_dim(p);
  ++*p;
  return ty_graph_input(g, TY_ROLE_INPUT, dt, rank, shape, NULL, NULL);
}

static bool word(const char **p, const char *w) { return !strncmp(*p, w, strlen(w)) ? (*p += strlen(w), true) : false; }
static bool is_tensor(const char *p) {
  while (isalnum((unsigned char)*p)) p++;
  return *p == '[';
}

static ty_arg parse_arg(const char **p) {
  ty_dim dims[16];
  ty_value *vals[16];
  char text[32];
  int n = 0;
  if (word(p, "none")) return (ty_arg){ 0 };
  if (word(p, "true")) return ty_arg_bool(true);
  if (word(p, "false")) return ty_arg_bool(false);
  if (is_tensor(*p)) return ty_arg_value(parse_tensor(p));
  if (word(p, "{")) {
    for (; **p != '}'; *p += **p == ',') dims[n++] = parse_dim(p);
    ++*p;
    return ty_arg_ints(g, n, dims);
  }
  if (word(p, "(")) {
    for (; **p != ')'; *p += **p == ' ') vals[n++] = word(p, "none") ? NULL : parse_tensor(p);
    ++*p;
    return ty_arg_values(g, n, vals);
  }
  if (**p == '\'' || **p == ':') {
    char end = *(*p)++ == ':' ? ' ' : '\'';
    while (**p && **p != end) text[n++] = *(*p)++;
    *p += **p == '\'';
    text[n] = 0;
    ty_dtype dt = TY_f32;
    if (end == ' ') return CHECK(ty_dtype_parse(text, &dt)), ty_arg_dtype(dt);
    return ty_arg_str(ty_arena_strdup(&g->arena, text));
  }
  if (isalpha((unsigned char)**p)) return ty_arg_int(parse_dim(p));
  char *end;
  double f = strtod(*p, &end);
  if (!memchr(*p, '.', (size_t)(end - *p)) && !memchr(*p, 'e', (size_t)(end - *p))) return ty_arg_int(parse_dim(p));
  *p = end;
  return ty_arg_float(f);
}

static void print_value(ty_str *s, const ty_value *v) {
  ty_str_add(s, "%s%s[", s->n ? " " : "", ty_dtypes[v->dtype].name);
  for (int i = 0; i < v->rank; i++) {
    if (i) ty_str_add(s, ",");
    ty_dim_print(g, v->shape[i], s);
  }
  ty_str_add(s, "]");
}

static void run(ty_ctx *ctx, const infer_case *c) {
  ty_arg args[16];
  const char *names[16], *p = c->args;
  int n = 0;
  ty_node *node = NULL;
  ty_str got = { 0 }, low = { 0 };
  g = ty_graph_create(ctx);
  while (*p) {
    const char *q = p;
    names[n] = NULL;
    while (isalnum((unsigned char)*q) || *q == '_') q++;
    if (*q == '=') {
      char *name = ty_arena_strdup(&g->arena, p);
      name[q - p] = 0;
      names[n] = name;
      p = q + 1;
    }
    args[n++] = parse_arg(&p);
    p += *p == ' ';
  }
  ty_status st = ty_build(g, c->op, n, args, names, NULL, &node);
  if (st != TY_OK) ty_str_add(&got, "%s %s", ty_status_name(st), ty_ctx_error(ctx));
  else
    for (int i = 0; i < node->nouts; i++) print_value(&got, node->outs[i]);
  bool ok = got.p && (st == TY_OK ? !strcmp(got.p, c->want) : strstr(c->want, " ") ? !strncmp(got.p, c->want, strcspn(c->want, " ")) && strstr(got.p, strchr(c->want, ' ') + 1) : !strncmp(got.p, c->want, strlen(c->want)));
  if (!CHECK(ok)) fprintf(stderr, "  %s | %s\n  want %s\n  got  %s\n", c->op, c->args, c->want, got.p ? got.p : "");
  if (st == TY_OK) { /* lowering: core operators only, and the same results */
    ty_value **rep = ty_alloc((size_t)node->nouts * sizeof *rep + 1);
    ty_graph_at(g, node);
    if (CHECK(ty_op_get(node->op)->lower(g, node, rep) == TY_OK)) {
      for (int i = 0; i < node->nouts; i++) print_value(&low, rep[i]);
      CHECK_STR(low.p ? low.p : "", got.p ? got.p : "");
      for (ty_node *m = g->first; m; m = m->next) CHECK(m == node || ty_op_is_core(m->op));
    } else
      fprintf(stderr, "  lowering %s | %s: %s\n", c->op, c->args, ty_ctx_error(ctx));
    ty_free(rep);
  }
  ty_str_free(&got);
  ty_str_free(&low);
  ty_graph_destroy(g);
  ty_ctx_clear(ctx);
}

int main(void) {
  ty_ctx *ctx = ty_ctx_create();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) run(ctx, &cases[i]);
  ty_ctx_destroy(ctx);
  return check_done();
}
