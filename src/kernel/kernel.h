/* kernel.h: the compute kernels: matrix products from packed panels, attention, and the tiers (CPU levels) they come in.
 *
 * Everything here is freestanding: no allocation, no globals, no system calls. Callers own all memory, scratch included.
 * Drivers are SPMD: each of nt threads calls with its tid in [0, nt) and its own scratch; a call returns when that thread's
 * share is done, and the result is complete when all have returned (the caller's barrier). nt may change rounding, no more.
 * Sizes and strides are in elements. float32 throughout unless a name says f64, but for packed weights, which have a format. NaN and
 * infinities propagate. */
#ifndef TY_KERNEL_H
#define TY_KERNEL_H
#include "base/base.h"

enum { TY_KERNEL_MR_MAX = 8, TY_KERNEL_NV_MAX = 3 };

/* How packed weights are stored (kernels.def). bf16: the upper halves of float32, rounded to nearest even; NaN stays NaN. */
typedef enum ty_format {
#define TY_FORMAT(format, bits, per, group, extra) TY_FORMAT_##format,
#include "kernel/kernels.def"
  TY_NFORMATS
} ty_format;
typedef struct ty_format_info { const char *name; int bits, per, group, extra; } ty_format_info;
extern const ty_format_info ty_formats[TY_NFORMATS];
bool ty_format_parse(const char *name, ty_format *out); /* not second layouts: those are ty_format_on's to choose */
/* The layout in which weights of a format are packed, where isa, of any architecture, is the best level that will multiply by them. */
ty_format ty_format_on(ty_isa isa, ty_format);
static inline int ty_format_unit(ty_format f) { return ty_formats[f].bits * ty_formats[f].per / 32; } /* words of a column that stand together */
static inline int64_t ty_format_rows(ty_format f, int64_t k) { /* words of a column, scales included */
  const ty_format_info *i = &ty_formats[f];
  return i->group ? (k + i->group - 1) / i->group * (i->group / i->per + 1) : (k + i->per - 1) / i->per * ty_format_unit(f) + i->extra;
}
/* Where the r-th word of column j is in a panel of nr columns, or in its part that holds no scales. */
static inline int64_t ty_format_word(ty_format f, int64_t nr, int64_t r, int64_t j) {
  int64_t unit = ty_format_unit(f);
  return r / unit * unit * nr + j * unit + r % unit;
}
/* Products of 8-bit values are summed in 32 bits: the largest k that cannot overflow. */
enum { TY_INT8_K_MAX = 65536 };

/* C[mr, nv*lanes] (+)= A[mr, k] B[k, nv*lanes]: a rows lda apart with k contiguous, b rows ldb apart. accumulate: add to C.
 * Prefetches ahead + p*step (bytes) at the p-th row of b: what comes after b. Any address will do; b and 0 for nothing.
 * For formats other than f32, b (and a, where ty_products.words is set) holds words, whatever their pointers say; a row of b is then one
 * of all columns' words that stand together. */
typedef void (*ty_gemm_f32_fn)(int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc,
                               int accumulate, const char *ahead, int64_t step);

/* A stretch of k: k values from a + run.a (floats) against rows run.b and on of b. */
typedef struct ty_conv_run { int64_t k, a, b; } ty_conv_run;
/* As ty_gemm_f32_fn, the sum going over all runs, with p counting through them: the taps of a convolution. */
typedef void (*ty_conv_f32_fn)(int64_t runs, const ty_conv_run *run, const float *a, int64_t lda, const float *b, int64_t ldb,
                               float *c, int64_t ldc, int accumulate, const char *ahead, int64_t step);

/* Convolutions with few channels a group: out channels are the lanes. y[i, j] for mr pixels i and channels j in [j0, j1), of taps
 * run[0..taps): the pixels of the bits of run.k read the tap run.b at x + run.a + i*lda (which holds channel 0 of all groups).
 * w: blocks of 16 out channels, each [window][c][16]. The forms: */
enum {
  TY_NARROW_DEPTHWISE, /* c = o = 1 */
  TY_NARROW_PERMUTED,  /* o < lanes, a power of two, c <= o: permute[i*lanes + lane] is where input i of the lane's group is */
  TY_NARROW_BROADCAST, /* o is a multiple of lanes */
  TY_NARROW_FORMS
};
typedef struct ty_narrow { int64_t groups, c, o, window; const int32_t *permute; } ty_narrow;
typedef void (*ty_narrow_f32_fn)(const ty_narrow *, int64_t taps, const ty_conv_run *run, int64_t j0, int64_t j1, const float *x, int64_t lda,
                                 const float *w, float *y, int64_t ldy);

/* Depthwise with a window of k columns (3, 5, 7) that moves by stride (1, 2) columns, dilation 1, k and stride being the kernel's: each
 * column of x is loaded once a row of the window. rows: those of the window inside the image, run.a and run.b (first tap) of each,
 * and in run.k, where not 0, how much further the line is that will be needed next;
 * columns [lo, hi) of those that the mr windows cover are inside; they are step apart. The rest as ty_narrow_f32_fn. */
enum { TY_DEPTH_WINDOWS = 3, TY_DEPTH_STRIDES = 2 };
typedef void (*ty_depth_f32_fn)(int64_t window, int64_t rows, const ty_conv_run *run, int64_t lo, int64_t hi, int64_t j0, int64_t j1,
                                const float *x, int64_t step, const float *w, float *y, int64_t ldy);

/* Narrow groups, permuted and broadcast, with a window of 3 columns that moves by 1 or 2 columns: as above, x being at the first of the
 * columns that the mr windows cover; first, last: whether the first and the last of these are inside (all others are). Returns the first
 * channel not done: those of whole vectors are, as many at a time as the kernel takes. */
typedef int64_t (*ty_slide_f32_fn)(const ty_narrow *, int64_t rows, const ty_conv_run *run, bool first, bool last, int64_t j0, int64_t j1,
                                   const float *x, int64_t step, const float *w, float *y, int64_t ldy);

/* What is added to one row of attention scores; each pointer may be NULL; *_k: stride along keys. */
typedef struct ty_score_row {
  const float *mask; int64_t mask_k;
  const uint8_t *keep; int64_t keep_k; /* 0: the key is not attended to */
  const float *bias; int64_t bias_k;
} ty_score_row;

/* Recurrent layers, as torch.nn.RNN, GRU and LSTM: d directions (the second goes backwards in time), h hidden units, p outputs of
 * a direction (h, unless projected). The input's part of the gates, x, is there already. Weights come in blocks of TY_RNN_BLOCK
 * units, zeros after the last: [d][block][p][gate][TY_RNN_BLOCK]; the projection's are [d][block of p][h][TY_RNN_BLOCK]. */
typedef enum ty_rnn_kind { TY_RNN_TANH, TY_RNN_RELU, TY_RNN_GRU, TY_RNN_LSTM } ty_rnn_kind;
enum { TY_RNN_BLOCK = 16 };
static inline int64_t ty_rnn_gates(ty_rnn_kind k) { return k == TY_RNN_LSTM ? 4 : k == TY_RNN_GRU ? 3 : 1; }
typedef struct ty_rnn {
  ty_rnn_kind kind;
  int64_t t, b, d, h, p;
  const float *x; int64_t x_t, x_b;   /* [d][gate][h] for each time and row */
  const float *whh, *bhh, *whr;       /* bhh: [d][gate][h], NULL: none; whr: NULL: no projection */
  const float *h0, *c0;               /* [d][b][p], [d][b][h] */
  float *y; int64_t y_t, y_b;         /* [d][p] for each time and row */
  float *c, *m;                       /* [d][b][h]: LSTM: the cell's state, the last one in the end; with whr: room */
} ty_rnn;

/* C[mr, nv*lanes] = A[mr, k] B, b being the rows of a panel in a format of few bits, scales after each `group` values. */
enum { TY_FEW = 4 };
typedef void (*ty_gemm_few_fn)(int64_t k, int64_t group, const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc);

/* Micro-kernels for weights of one format: gemm[nv-1][mr-1] for nv in [1, nr/lanes] and mr in [1, mr] of the tier; NULL elsewhere.
 * words: NULL where a is read as it is, float32, and weights are widened; k then counts values, and of the last word those there are.
 * Else it makes words of a row of k values of A, zeros after the last, for products of words with words: a, lda and k count words, and k
 * is whole rows of b.
 * pairs: two rows of A stand together, words of the first and of the second in turn, as many as stand together in b: those of rows 2i
 * and 2i + 1 from 2i*lda on. words makes both (second NULL: zeros); else second is not looked at. */
typedef struct ty_products {
  ty_format format;
  const char *name; /* "avx512_bf16" */
  ty_gemm_f32_fn gemm[TY_KERNEL_NV_MAX][TY_KERNEL_MR_MAX];
  ty_conv_f32_fn conv[TY_KERNEL_NV_MAX][TY_KERNEL_MR_MAX];
  bool pairs;
  void (*words)(int64_t k, const float *a, const float *second, float *to);
  /* int8: gemm sums integers, words leaves the row's scale and zero point after its words (pairs: the first row's, then the second's), and
   * finish makes floats of m rows of c of nv vectors: rows are A's scales, lda apart (pairs: 2*lda, two at a time), cols the last two rows
   * of the panel, ldb apart. A row with a NaN or an infinity gives NaN throughout. less: what bytes of A are short of, for CPUs whose
   * products want signs; so is the zero point. */
  int less;
  void (*finish)(int64_t m, int nv, const float *rows, int64_t lda, const float *cols, int64_t ldb, float *c, int64_t ldc);
  /* Weight only (gemm and words are not set): up to TY_FEW rows of A at once (NULL: the tier does fewer); k values of nr columns as float32, for more rows. scale:
   * those of the first group; the next are behind each group. */
  ty_gemm_few_fn few[TY_KERNEL_NV_MAX][TY_FEW];
  void (*unpack)(int64_t k, int64_t group, const float *b, int64_t ldb, const float *scale, int nr, float *to);
} ty_products;

/* The kernels of a tier. */
typedef struct ty_kernels {
  ty_isa isa;
  const char *name;
  int mr, nr, lanes;
  const ty_products *f32;
  ty_narrow_f32_fn narrow[TY_NARROW_FORMS][TY_KERNEL_MR_MAX];
  ty_depth_f32_fn depth[TY_DEPTH_WINDOWS][TY_DEPTH_STRIDES][TY_KERNEL_MR_MAX]; /* [k / 2 - 1][stride - 1][mr - 1]; NULL for few rows */
  ty_slide_f32_fn slide[2][TY_DEPTH_STRIDES][TY_KERNEL_MR_MAX]; /* [permuted, broadcast][stride - 1][mr - 1]; NULL for few rows */
  /* Winograd F(4x4, 3x3), one tile. in: c channels of 6x6 pixels of x, those out of lines [y0, y1) and columns [x0, x1) being 0, to the
   * 36 values v + i*plane. out: n channels (whole vectors) of 36 values to `lines` x `pixels` of 4x4 pixels. */
  void (*wino_in)(int64_t c, const float *x, int64_t line, int64_t pixel, int64_t y0, int64_t y1, int64_t x0, int64_t x1, float *v, int64_t plane);
  void (*wino_out)(int64_t n, const float *m, int64_t plane, float *y, int64_t line, int64_t pixel, int64_t lines, int64_t pixels);
  /* Panels [p0, p1) of B[k, n] as float32, see ty_pack_b. */
  void (*pack_b)(int nr, int64_t k, int64_t n, const float *b, int64_t ldk, int64_t ldn, float *dst, int64_t p0, int64_t p1);
  void (*pair)(int64_t n, const float *lo, const float *hi, float *words); /* n words of bf16; words may be lo */
  void (*exp)(int64_t n, const float *x, float *y); /* within 2 ulp; exp(-inf) = 0, overflow gives inf; x == y allowed */
  void (*scale)(int64_t n, float *x, float by);
  void (*dot_rows)(int64_t rows, int64_t d, const float *q, const float *k, int64_t ldk, float *out); /* out[i] = q . k[i] */
  /* One row of a block of scores: s[0..n) holds dot products, becomes exp(s*scale + add - max'). Updates the running
   * *max and *sum; returns the factor by which what was summed before must shrink. add may be NULL. */
  float (*softmax_row)(int64_t n, float *s, float scale, const ty_score_row *add, float *max, float *sum);
  /* One block of hidden units of direction d at time t, `before` being the outputs of the time before it; of its projection. */
  void (*rnn_block)(const ty_rnn *, int64_t d, int64_t block, int64_t t, const float *before, int64_t before_b);
  void (*rnn_project)(const ty_rnn *, int64_t d, int64_t block, int64_t t);
  /* y[width] = the sum of the n rows index[k] of the table, times weight[k] (NULL: 1), but for rows named skip. index[0..known) are
   * rows that there are, and asked for early. */
  void (*bag_sum)(int64_t n, int64_t known, const int64_t *index, int64_t skip, const float *weight, const float *table, int64_t width, float *y);
} ty_kernels;

/* The tier's kernels, or the next lower tier that is built. Never NULL. Does not probe the CPU: see ty_cpu_get. */
const ty_kernels *ty_kernels_get(ty_isa);
typedef struct ty_tier_shape { int mr, nr, lanes; } ty_tier_shape;
ty_tier_shape ty_tier_shape_of(ty_isa); /* of a tier of any architecture, built here or not */
/* The tier's products for a format that are best on this CPU (ty_cpu_get). Never NULL. */
const ty_products *ty_products_get(const ty_kernels *, ty_format);
static inline const char *ty_products_text(const ty_products *p) { /* for names of kernels */
  return p->format == TY_FORMAT_f32 || (p->words && !p->finish) ? "" : p->finish ? ", rows of the input in 8 bits" : ", weights widened to float32";
}
/* The rows of kernels.def in turn, for tests: NULL after the last. tier: whose row it is; runs: this CPU has what it needs. */
const ty_products *ty_products_row(int i, const ty_kernels **tier, bool *runs);
/* The symbol of row i, of any architecture, and its format; NULL past the last. A deployed model defines those of formats that it does
 * not use as a weak int of -1, which is no format: their kernels are then not linked, but where they share a file with one that is used. */
const char *ty_products_symbol(int i, ty_format *format);

/* Packed B: panels of nr columns, each of rows [k / per][nr] of words, the last of each padded with zeros; panel p starts at
 * p*rows*nr. dst is 64-byte aligned. B[i, j] = b[i*ldk + j*ldn], so a torch Linear weight [N, K] has ldk 1, ldn K.
 * nr is any multiple of 8, so that weights packed once serve every tier: a tier multiplies from panels whose width is a
 * multiple of its own, and is fastest with its own. The tier that packs makes no difference to the bytes. */
static inline int64_t ty_packed_b_panels(int nr, int64_t n) { return (n + nr - 1) / nr; }
static inline int64_t ty_packed_b_words(ty_format f, int nr, int64_t k, int64_t n) { return ty_packed_b_panels(nr, n) * nr * ty_format_rows(f, k); }
/* Panels [p0, p1), so that threads can share the work; dst is the start of the whole packed B. */
void ty_pack_b(const ty_kernels *, ty_format, int nr, int64_t k, int64_t n, const float *b, int64_t ldk, int64_t ldn, float *dst, int64_t p0,
               int64_t p1);
/* Adds the squares of what packing in 8 or 4 bits changed to sums[0], and those of the weights to sums[1], for panels [p0, p1). */
void ty_packed_b_error(const ty_kernels *, ty_format, int nr, int64_t k, int64_t n, const float *b, int64_t ldk, int64_t ldn, const float *packed,
                       int64_t p0, int64_t p1, double sums[2]);
/* The weight that stands for B[i, j] in packed B. */
double ty_packed_b_value(ty_format, int nr, int64_t k, const float *packed, int64_t i, int64_t j);

/* Epilogue: rows [m0, m1), columns [n0, n1) of product `batch` (= outer*heads + head) are complete in acc[(i-m0)*ldacc + j-n0].
 * It writes the result wherever it likes, and may overwrite acc's tile in place ((float *)acc). Each element of the
 * product is passed exactly once. */
typedef void (*ty_gemm_epi)(void *ctx, int tid, int64_t batch, int64_t m0, int64_t m1, int64_t n0, int64_t n1,
                            const float *acc, int64_t ldacc);

/* C = A B, for batch x heads products. Zero-initialise and set what is used; batch = heads = 1 for a plain product. */
typedef struct ty_gemm {
  int64_t batch, heads;
  int64_t m, n, k;
  const float *a; int64_t lda, a_batch, a_head;    /* k contiguous */
  ty_format format;                                /* of packed b; of what is packed in scratch, where b_strided */
  bool bytes;                                      /* a holds uint8_t, b is packed as int8 and its scales are not used: the product is int32_t,
                                                    * in c and for epi, which are float by name only */
  const float *b; int64_t b_batch, b_head;         /* packed (ty_pack_b), unless b_strided; strides (of words) may be 0 */
  int b_nr;                                        /* packed b: columns of its panels, a multiple of the tier's nr; 0: nr */
  bool b_strided; int64_t ldk, ldn;                /* b at run time: B[i, j] = b[i*ldk + j*ldn], packed in scratch */
  float *c; int64_t ldc, c_batch, c_head;          /* n contiguous; unused if epi is set */
  ty_gemm_epi epi; void *epi_ctx;
  const struct ty_gemm *next;                      /* hint: the product that these threads compute after this one; the start of
                                                    * its packed b is prefetched towards the end. NULL: not known */
} ty_gemm;
size_t ty_gemm_f32_scratch(const ty_kernels *, const ty_gemm *); /* bytes per thread; any tid and nt; pointers are not read */
void ty_gemm_f32(const ty_kernels *, const ty_gemm *, int tid, int nt, void *scratch); /* scratch 64-byte aligned */

/* Convolution (cross-correlation, as torch's), activations channels-last: the channels of a pixel are contiguous. Three spatial
 * dims, depth, height, width; those not used have size, kernel, stride and dilation 1 and no padding. */
typedef enum ty_conv_kind {
  TY_CONV_DIRECT,    /* a matrix product whose A is read where it lies, group by group; any shape */
  TY_CONV_DEPTHWISE, /* c = o = 1 */
  TY_CONV_GROUPED,   /* narrow groups: c <= o, o a power of two from 2 to 16 */
  TY_CONV_WINOGRAD,  /* F(4x4, 3x3): kernel 1x3x3, stride and dilation 1, one group */
} ty_conv_kind;
enum { TY_CONV_KINDS = 4 };
extern const char *const ty_conv_kind_names[TY_CONV_KINDS];
bool ty_conv_kind_parse(const char *name, ty_conv_kind *out);

typedef struct ty_conv_shape {
  int64_t groups, c, o;             /* c, o: channels in and out of one group */
  int64_t k[3], stride[3], dil[3];
} ty_conv_shape;

bool ty_conv_can(ty_conv_kind, const ty_conv_shape *);
bool ty_conv_may(ty_conv_kind, const ty_conv_shape *); /* can, within the accuracy that models need, and with no other kind plainly faster */
/* The kind that a model of the costs says is fastest, among those that can, on a level of any architecture. format: in which products are
 * wanted, as ty_format_on has it. out: output sizes, 0 where not known. */
ty_conv_kind ty_conv_choose(ty_isa, ty_format, const ty_conv_shape *, const int64_t out[3]);
/* Formats other than f32 are for DIRECT with no depth to the window, and channels that fill what stands together, not very few; bf16 also
 * with rows of the window to be paired. */
bool ty_conv_takes(ty_format, ty_conv_kind, const ty_conv_shape *);
ty_format ty_conv_format(ty_isa, ty_format wanted, ty_conv_kind, const ty_conv_shape *); /* f32 where it is not taken, or costs more */

/* Packed weights; dst is 64-byte aligned.
 * nr: see ty_pack_b; only DIRECT and WINOGRAD depend on it. ldw: strides of output channel (over groups*o), c, k0, k1, k2.
 * Threads share the work by calling with each part of parts. */
int64_t ty_packed_conv_words(ty_format, int nr, ty_conv_kind, const ty_conv_shape *);
void ty_pack_conv(ty_format, int nr, ty_conv_kind, const ty_conv_shape *, const float *w, const int64_t ldw[5], float *dst,
                  int part, int parts);

typedef struct ty_conv {
  ty_conv_kind kind;
  ty_format format;                     /* of b: one that ty_conv_takes */
  ty_conv_shape s;
  int64_t batch, in[3], out[3];
  int64_t pad[3];                       /* on the low side, also negative; whatever lies out of range reads as 0 */
  const float *x; int64_t x_n, x_s[3];  /* strides of image, depth, height, width */
  const float *b; int64_t b_nr;         /* packed, with this nr, a multiple of the tier's; 0: the tier's */
  float *y; int64_t y_n, y_s[3];        /* unused if epi is set */
  ty_gemm_epi epi; void *epi_ctx;       /* batch: 0; rows: pixels flattened (image, out0, out1, out2); columns: output channels */
} ty_conv;
size_t ty_conv_f32_scratch(const ty_kernels *, const ty_conv *); /* bytes per thread; any tid and nt; pointers are not read */
void ty_conv_f32(const ty_kernels *, const ty_conv *, int tid, int nt, void *scratch); /* scratch 64-byte aligned */

/* float64, any strides: C[i, j] = sum A[i, p] B[p, j]. Correct and vectorised, not tuned. No scratch. */
typedef struct ty_gemm64 {
  int64_t batch, heads, m, n, k;
  const double *a; int64_t a_m, a_k, a_batch, a_head;
  const double *b; int64_t b_k, b_n, b_batch, b_head;
  double *c; int64_t c_m, c_n, c_batch, c_head;
} ty_gemm64;
void ty_gemm_f64(const ty_gemm64 *, int tid, int nt);

/* o = softmax(q k^T * scale + mask + bias) v, as torch's scaled_dot_product_attention: query head h uses key head
 * h / (hq/hkv); causal: query i sees keys j <= i; a row with no key to attend to gives 0. d and dv are contiguous, the rest
 * strided: views of a merged QKV need no copy. format: in which products are wanted; where the CPU multiplies no words of it, and where
 * K or V are read in place for a few rows, they are float32's. */
typedef enum ty_mask { TY_MASK_NONE = 0, TY_MASK_F32, TY_MASK_BOOL } ty_mask; /* f32: added; bool: uint8, nonzero = attend */
typedef struct ty_attn {
  int64_t b, hq, hkv, sq, sk, d, dv; /* hq is a multiple of hkv */
  const float *q; int64_t q_b, q_h, q_s;
  const float *k; int64_t k_b, k_h, k_s;
  const float *v; int64_t v_b, v_h, v_s;
  float *o; int64_t o_b, o_h, o_s;
  ty_format format;
  ty_mask mask_kind; const void *mask; int64_t mask_b, mask_h, mask_q, mask_k; /* strides may be 0 */
  const float *bias; int64_t bias_b, bias_h, bias_q, bias_k;                    /* NULL: none */
  bool causal;
  bool empty_nan; /* a row with no key to attend to gives NaN, as softmax written out does, and not 0 */
  float scale;
} ty_attn;
size_t ty_attn_f32_scratch(const ty_kernels *, const ty_attn *); /* bytes per thread; any tid and nt; pointers are not read */
void ty_attn_f32(const ty_kernels *, const ty_attn *, int tid, int nt, void *scratch); /* scratch 64-byte aligned */

/* Threads meet (by `meet`, a barrier of all nt) after each time step, unless they are apart: then meet may be NULL. */
void ty_rnn_f32(const ty_kernels *, const ty_rnn *, int tid, int nt, void (*meet)(int tid, int nt));
bool ty_rnn_apart(const ty_rnn *, int nt);

/* The same in plain loops: the truth for tests. The gemm reference reads b as strided (b_strided is ignored) and writes c.
 * All sum in double. scores: sk doubles. */
void ty_gemm_f32_ref(const ty_gemm *);
void ty_attn_f32_ref(const ty_attn *, double *scores);
void ty_conv_f32_ref(const ty_conv *, const float *w, const int64_t ldw[5]); /* w: not packed; writes y; kind is ignored */
#endif
