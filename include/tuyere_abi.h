/* tuyere_abi.h: what an emitted kernel sees. Freestanding: no system header is included; emitted text begins with this. */
#ifndef TUYERE_ABI_H
#define TUYERE_ABI_H
#define TY_ABI_VERSION 1
typedef signed char ty_i8; typedef unsigned char ty_u8; typedef short ty_i16; typedef unsigned short ty_u16;
typedef int ty_i32; typedef unsigned ty_u32; typedef long long ty_i64; typedef unsigned long long ty_u64;

/* One call of a loop kernel. A kernel's domain is rows x columns (reductions inside it); each call does a rectangle.
 * Buffers do not overlap where one of them is written, but for buffers that a kernel both reads and writes at one index. */
typedef struct ty_kargs {
  void *const *buf;      /* buffer slots of this kernel, base addresses */
  const ty_i64 *par;     /* integer parameters: extents, strides, offsets in elements */
  void *scratch;         /* this thread's own, 64-byte aligned, as many bytes as the kernel asked for */
  ty_i32 *fault;         /* set to 1 when an index was out of range */
  const void *self;      /* the interpreter's program; compiled kernels ignore it */
  const float *acc;      /* GEMM epilogues: the finished tile; element (r, c) at acc[(r - r0) * acc_ld + (c - c0)] */
  ty_i64 acc_ld;
} ty_kargs;
/* Rows [r0, r1) and columns [c0, c1). Kernels that reduce over columns are always given all columns. */
typedef void (*ty_loop_fn)(const ty_kargs *, ty_i64 r0, ty_i64 r1, ty_i64 c0, ty_i64 c1);
#endif
