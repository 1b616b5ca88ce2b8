/* conv.c: the public face of the convolutions: the table of kinds and the choice among them. */
#include "kernel/conv_int.h"

static const conv_kind *const kinds[TY_CONV_KINDS] = {
    [TY_CONV_DIRECT] = &ty_conv_kind_direct, [TY_CONV_DEPTHWISE] = &ty_conv_kind_depthwise, [TY_CONV_GROUPED] = &ty_conv_kind_grouped};

bool ty_conv_can(ty_conv_kind kind, const ty_conv_shape *s) { return kinds[kind] && kinds[kind]->can(s); }

ty_conv_kind ty_conv_choose(const ty_kernels *ks, const ty_conv_shape *s, const int64_t out[3]) {
  (void)ks, (void)out;
  if (ty_conv_can(TY_CONV_DEPTHWISE, s)) return TY_CONV_DEPTHWISE;
  if (ty_conv_can(TY_CONV_GROUPED, s)) return TY_CONV_GROUPED;
  return TY_CONV_DIRECT;
}

int64_t ty_packed_conv_floats(const ty_kernels *ks, ty_conv_kind kind, const ty_conv_shape *s) { return kinds[kind]->packed(ks->nr, s); }

void ty_pack_conv_f32(const ty_kernels *ks, ty_conv_kind kind, const ty_conv_shape *s, const float *w, const int64_t ldw[5], float *dst,
                      int part, int parts) {
  kinds[kind]->pack(ks->nr, s, w, ldw, dst, part, parts);
}

size_t ty_conv_f32_scratch(const ty_kernels *ks, const ty_conv *v) { return kinds[v->kind]->scratch(ks, v); }

void ty_conv_f32(const ty_kernels *ks, const ty_conv *v, int tid, int nt, void *scratch) { kinds[v->kind]->run(ks, v, tid, nt, scratch); }
