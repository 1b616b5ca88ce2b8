/* bench_conv.c: convolutions of well-known networks beside the machine's own limits, measured in turn with each layer.
 *
 * bench_conv [--json FILE] [--threads N] [--isa NAME] [--rounds R] [--only PART_OF_NAME] [--kind direct|depthwise|grouped|winograd]
 *            [--precision f32|bf16: the format of weights, where the kind takes it]
 * "cold": each call takes the next of many copies of the weights, as the layers of a model do, so they come from memory; "warm": one copy.
 * GFLOP/s are those of the direct method, taps in the padding counted, so that Winograd may pass the peak. GB/s count the input and the output
 * once; %cp is their share of what copying the same input to the same output reaches. Figures: best round of each; a cold round is the median
 * of its calls, a warm one the best. */
#include "limits.h"

enum { CALLS_MAX = 150 };
static const size_t cold_bytes = 256 << 20;

typedef struct layer { const char *name; int64_t groups, c, o, size, k, stride, pad; } layer; /* c, o: of one group; square */
static const layer layers[] = {
    {"resnet50.conv1", 1, 3, 64, 224, 7, 2, 3},
    {"resnet50.1.conv1a", 1, 64, 64, 56, 1, 1, 0}, {"resnet50.1.conv1", 1, 256, 64, 56, 1, 1, 0},
    {"resnet50.1.conv2", 1, 64, 64, 56, 3, 1, 1}, {"resnet50.1.conv3", 1, 64, 256, 56, 1, 1, 0},
    {"resnet50.2.conv1a", 1, 256, 128, 56, 1, 1, 0}, {"resnet50.2.conv2a", 1, 128, 128, 56, 3, 2, 1}, {"resnet50.2.down", 1, 256, 512, 56, 1, 2, 0},
    {"resnet50.2.conv1", 1, 512, 128, 28, 1, 1, 0}, {"resnet50.2.conv2", 1, 128, 128, 28, 3, 1, 1}, {"resnet50.2.conv3", 1, 128, 512, 28, 1, 1, 0},
    {"resnet50.3.conv1a", 1, 512, 256, 28, 1, 1, 0}, {"resnet50.3.conv2a", 1, 256, 256, 28, 3, 2, 1}, {"resnet50.3.down", 1, 512, 1024, 28, 1, 2, 0},
    {"resnet50.3.conv1", 1, 1024, 256, 14, 1, 1, 0}, {"resnet50.3.conv2", 1, 256, 256, 14, 3, 1, 1}, {"resnet50.3.conv3", 1, 256, 1024, 14, 1, 1, 0},
    {"resnet50.4.conv1a", 1, 1024, 512, 14, 1, 1, 0}, {"resnet50.4.conv2a", 1, 512, 512, 14, 3, 2, 1}, {"resnet50.4.down", 1, 1024, 2048, 14, 1, 2, 0},
    {"resnet50.4.conv1", 1, 2048, 512, 7, 1, 1, 0}, {"resnet50.4.conv2", 1, 512, 512, 7, 3, 1, 1}, {"resnet50.4.conv3", 1, 512, 2048, 7, 1, 1, 0},
    {"resnet18.2.conv1a", 1, 64, 128, 56, 3, 2, 1},
    {"vgg16.1.1", 1, 3, 64, 224, 3, 1, 1}, {"vgg16.1.2", 1, 64, 64, 224, 3, 1, 1}, {"vgg16.2.2", 1, 128, 128, 112, 3, 1, 1},
    {"vgg16.3.2", 1, 256, 256, 56, 3, 1, 1}, {"vgg16.4.2", 1, 512, 512, 28, 3, 1, 1}, {"vgg16.5.1", 1, 512, 512, 14, 3, 1, 1},
    {"unet.up4", 1, 64, 32, 256, 3, 1, 1}, {"yolov3.52", 1, 128, 256, 52, 3, 1, 1}, {"yolov3.13", 1, 512, 1024, 13, 3, 1, 1},
    {"alexnet.conv1", 1, 3, 64, 224, 11, 4, 2}, {"alexnet.conv2", 1, 64, 192, 27, 5, 1, 2}, {"squeezenet.conv1", 1, 3, 64, 224, 3, 2, 0},
    {"densenet121.1", 1, 128, 32, 56, 3, 1, 1}, {"densenet121.4", 1, 128, 32, 7, 3, 1, 1},
    {"mobilenetv2.conv1", 1, 3, 32, 224, 3, 2, 1}, {"mobilenetv2.project", 1, 96, 24, 56, 1, 1, 0}, {"mobilenetv2.expand", 1, 24, 144, 56, 1, 1, 0},
    {"mobilenetv2.dw1", 32, 1, 1, 112, 3, 1, 1}, {"mobilenetv2.dw2", 96, 1, 1, 112, 3, 2, 1}, {"mobilenetv2.dw3", 144, 1, 1, 56, 3, 1, 1},
    {"mobilenetv2.dw5", 384, 1, 1, 14, 3, 1, 1}, {"mobilenetv2.dw7", 960, 1, 1, 7, 3, 1, 1},
    {"mobilenetv3.dw3", 72, 1, 1, 56, 5, 2, 2}, {"mobilenetv3.dw4", 120, 1, 1, 28, 5, 1, 2}, {"mobilenetv3.dw7", 960, 1, 1, 7, 5, 1, 2},
    {"efficientnet.dw2", 96, 1, 1, 112, 3, 2, 1}, {"efficientnet.dw3", 240, 1, 1, 28, 5, 1, 2}, {"convnext.dw1", 96, 1, 1, 56, 7, 1, 3},
    {"convnext.dw3", 384, 1, 1, 14, 7, 1, 3},
    {"resnext50.1", 32, 4, 4, 56, 3, 1, 1}, {"resnext50.2", 32, 8, 8, 28, 3, 1, 1}, {"resnext50.3", 32, 16, 16, 14, 3, 1, 1},
    {"resnext50.4", 32, 32, 32, 7, 3, 1, 1}, {"regnety120.1", 2, 112, 112, 56, 3, 1, 1}, {"regnety120.3", 8, 112, 112, 14, 3, 1, 1},
};
static const char *const kind_names[TY_CONV_KINDS] = {"direct", "depthwise", "grouped", "winograd"};

static const ty_kernels *ks;
static ty_conv conv;
static int64_t x_floats, y_floats;
static void *scratch[THREADS_MAX];
static void conv_job(int tid) { ty_conv_f32(ks, &conv, tid, nt, scratch[tid]); }
static void copy_job(int tid) { /* each thread its share of both, read and written once */
  const v4 *p = (const v4 *)conv.x + x_floats / 4 * tid / nt, *end = (const v4 *)conv.x + x_floats / 4 * (tid + 1) / nt;
  v4 *q = (v4 *)conv.y + y_floats / 4 * tid / nt, *last = (v4 *)conv.y + y_floats / 4 * (tid + 1) / nt, sum = {0}, more = {0};
  for (; p < end && q < last; p++, q++) *q = *p;
  for (; p + 8 <= end; p += 8) sum += (p[0] + p[1]) + (p[2] + p[3]), more += (p[4] + p[5]) + (p[6] + p[7]);
  for (; q < last; q++) *q = sum;
  sink = sum[0] + more[0];
}

typedef struct row { double cold, warm, peak, copy; } row; /* seconds; flop/s; seconds */

static row measure(const layer *l, ty_conv_kind kind) {
  row r = {1e9, 1e9, 0, 1e9};
  int64_t out = (l->size + 2 * l->pad - l->k) / l->stride + 1, cin = l->groups * l->c, cout = l->groups * l->o;
  ty_conv v = {.kind = kind, .format = ty_conv_takes(format, kind, &(ty_conv_shape){l->groups, l->c, l->o, {1, l->k, l->k}, {1, l->stride, l->stride}, {1, 1, 1}}) ? format : TY_FORMAT_f32, .s = {l->groups, l->c, l->o, {1, l->k, l->k}, {1, l->stride, l->stride}, {1, 1, 1}}, .batch = 1,
               .in = {1, l->size, l->size}, .out = {1, out, out}, .pad = {0, l->pad, l->pad}};
  v.x_s[2] = cin, v.x_s[0] = v.x_n = (v.x_s[1] = l->size * cin) * l->size, v.y_s[2] = cout, v.y_s[0] = v.y_n = (v.y_s[1] = out * cout) * out;
  x_floats = v.x_n, y_floats = v.y_n;
  float *x = ty_pages_alloc((size_t)x_floats * 4), *y = ty_pages_alloc((size_t)y_floats * 4);
  for (int64_t i = 0; i < x_floats; i++) x[i] = (float)(i % 7) * 0.1f;
  v.x = x, v.y = y, v.b = memory;
  size_t bytes = ((size_t)ty_packed_conv_words(v.format, ks->nr, kind, &v.s) * 4 + 4095) / 4096 * 4096, copies = cold_bytes / bytes, need = ty_conv_f32_scratch(ks, &v), at = 0;
  for (int i = 0; i < nt; i++) scratch[i] = ty_pages_alloc(need);
  conv = v;
  double flop = 2.0 * (double)(out * out * cout * l->c * l->k * l->k);
  int calls = (int)(2e8 / flop) + 3;
  if (calls > CALLS_MAX) calls = CALLS_MAX;
  for (int i = 0; i < rounds; i++) {
    double t = run(peak_job), each[CALLS_MAX];
    if (peak_flops(ks) * nt / t > r.peak) r.peak = peak_flops(ks) * nt / t;
    for (int j = 0; j < calls; j++) conv.b = memory + at++ % copies * (bytes / 4), each[j] = run(conv_job);
    t = median(each, calls);
    if (t < r.cold) r.cold = t;
    conv.b = memory;
    for (int j = 0; j < calls; j++) t = run(conv_job), r.warm = t < r.warm ? t : r.warm;
    for (int j = 0; j < 20; j++) t = run(copy_job), r.copy = t < r.copy ? t : r.copy;
  }
  for (int i = 0; i < nt; i++) ty_pages_free(scratch[i], need);
  ty_pages_free(x, (size_t)x_floats * 4), ty_pages_free(y, (size_t)y_floats * 4);
  return r;
}

int main(int argc, char **argv) {
  const char *only = NULL;
  int forced = -1;
  isa = ty_cpu_get()->isa;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (limits_option(argv[i], argv[i + 1])) continue;
    else if (!strcmp(argv[i], "--only")) only = argv[i + 1];
    else if (!strcmp(argv[i], "--kind"))
      for (int k = 0; k < TY_CONV_KINDS; k++) forced = strcmp(argv[i + 1], kind_names[k]) ? forced : k;
    else return fprintf(stderr, "bench_conv: cannot read %s %s\n", argv[i], argv[i + 1]), 1;
  }
  if (ty_formats[format].bits < 16) return fprintf(stderr, "bench_conv: no convolution takes weights in %s\n", ty_formats[format].name), 1;
  ks = limits_ready();
  memory = ty_pages_alloc(cold_bytes);
  for (size_t i = 0; i < cold_bytes / 4; i++) memory[i] = format == TY_FORMAT_f32 ? (float)(i % 11) * 0.01f : 0.011f;
  threads_start();
  FILE *f = json ? fopen(json, "w") : NULL;
  if (f) fprintf(f, "{\"isa\": \"%s\", \"threads\": %d, \"rows\": [", ks->name, nt);
  printf("%s, %d threads; GF: GFLOP/s of the direct method; %%pk: of the FMA peak; GB: GB/s of input and output; %%cp: of copying\n", ks->name, nt);
  printf("%-20s %-9s %4s %5s %5s | %7s | %8s %7s %5s | %8s %7s %5s | %6s %5s\n", "layer", "kind", "size", "c", "o", "peak", "cold us", "GF", "%pk", "warm us", "GF",
         "%pk", "GB", "%cp");
  bool first = true;
  for (const layer *l = layers; l < layers + sizeof layers / sizeof *layers; l++) {
    ty_conv_shape s = {l->groups, l->c, l->o, {1, l->k, l->k}, {1, l->stride, l->stride}, {1, 1, 1}};
    int64_t out = (l->size + 2 * l->pad - l->k) / l->stride + 1;
    ty_conv_kind kind = forced >= 0 ? (ty_conv_kind)forced : ty_conv_choose(isa, format, &s, (int64_t[3]){1, out, out});
    if ((only && !strstr(l->name, only)) || !ty_conv_can(kind, &s)) continue;
    row r = measure(l, kind);
    double flop = 2.0 * (double)(out * out * l->groups * l->o * l->c * l->k * l->k), bytes = 4.0 * (double)(x_floats + y_floats);
    printf("%-20s %-9s %4ld %5ld %5ld | %7.1f | %8.1f %7.1f %5.1f | %8.1f %7.1f %5.1f | %6.1f %5.1f\n", l->name, kind_names[kind], (long)l->size,
           (long)(l->groups * l->c), (long)(l->groups * l->o), r.peak / 1e9, r.cold * 1e6, flop / r.cold / 1e9, 100 * flop / r.cold / r.peak, r.warm * 1e6,
           flop / r.warm / 1e9, 100 * flop / r.warm / r.peak, bytes / r.warm / 1e9, 100 * r.copy / r.warm);
    fflush(stdout);
    if (f)
      fprintf(f, "%s\n {\"layer\": \"%s\", \"kind\": \"%s\", \"peak_gflops\": %.2f, \"cold_us\": %.3f, \"warm_us\": %.3f, \"copy_us\": %.3f, \"cold_of_peak\": %.4f, "
              "\"warm_of_peak\": %.4f}", first ? "" : ",", l->name, kind_names[kind], r.peak / 1e9, r.cold * 1e6, r.warm * 1e6, r.copy * 1e6, flop / r.cold / r.peak,
              flop / r.warm / r.peak);
    first = false;
  }
  if (f) fprintf(f, "\n]}\n"), fclose(f);
  threads_stop();
  ty_pages_free(memory, cold_bytes);
  return 0;
}
