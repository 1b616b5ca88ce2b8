/* emitted.c: for mca_loops.py: the C text of GELU, softmax and layer norm as models have them; `emitted TIER`: the flags it is compiled with. */
#include "emit/cc.h"
#include "emit/emit.h"
#include "unit/loop_kernels.h"
#include <stdio.h>

int main(int argc, char **argv) {
  ty_isa isa;
  if (argc > 1) {
    const char *flags[64];
    if (!ty_isa_parse(argv[1], &isa)) return 2;
    ty_cc_flags(&(ty_cc){.arch = ty_isa_arch(isa)}, isa, flags, 64);
    for (int i = 0; flags[i]; i++) puts(flags[i]);
    return 0;
  }
  ty_ctx *ctx = ty_ctx_create();
  ty_str text = {0};
  int code = 0;
  for (int i = 0; i < NKERNELS; i++) {
    kernels[i].l = kernels[i].make();
    code |= ty_loop_finish(ctx, kernels[i].l);
    if (!code && i <= K_GELU) ty_emit_loop(kernels[i].l, kernels[i].name, &text);
    ty_loop_destroy(kernels[i].l);
  }
  if (!code && text.p && !text.failed) printf("%s%s", ty_emit_prelude(), text.p);
  else fprintf(stderr, "%s\n", ty_ctx_error(ctx)), code = 1;
  ty_str_free(&text);
  ty_ctx_destroy(ctx);
  return code;
}
