/* print.c: a loop nest as text: the canonical form that names a kernel. */
#include "loop_int.h"
#include <string.h>

static const char *const kinds[] = {"const", "par", "row", "red", "col", "load", "acc", "prim", "cast", "check", "reduce", "store"};
static const char *const reds[] = {"sum", "prod", "max", "min", "any", "all", "argmax", "argmin"};

static void operand(ty_str *out, int i) {
  if (i >= 0) ty_str_add(out, " %%%d", i);
  else ty_str_add(out, " -");
}

static void node_text(const ty_lnode *n, ty_str *out) {
  switch (n->kind) {
  case TY_L_CONST:
    if (ty_dtype_is_float(n->dtype)) {
      uint64_t bits;
      memcpy(&bits, &n->fimm, sizeof bits);
      ty_str_add(out, " %#llx (%g)", (unsigned long long)bits, n->fimm);
    } else ty_str_add(out, " %lld", (long long)n->imm);
    return;
  case TY_L_PAR:
  case TY_L_ROWVAR: ty_str_add(out, " %d", n->slot); return;
  case TY_L_LOAD:
  case TY_L_STORE:
    ty_str_add(out, " buf%d:%s [", n->slot, ty_dtypes[n->mem].name);
    operand(out, n->a);
    operand(out, n->b);
    if (n->col_par >= 0) ty_str_add(out, " col*par%d ]", n->col_par);
    else ty_str_add(out, " col*%lld ]", (long long)n->col_stride);
    if (n->kind == TY_L_STORE) operand(out, n->d);
    return;
  default:
    if (n->a >= 0) operand(out, n->a);
    if (n->b >= 0) operand(out, n->b);
    if (n->c >= 0) operand(out, n->c);
  }
}

void loop_text(const ty_loop *l, ty_str *out) {
  ty_str_add(out, "loop bufs=%d pars=%d rows=(", l->nbufs, l->npars);
  for (int i = 0; i < l->nrowvars; i++) ty_str_add(out, "%spar%d", i ? " " : "", l->row_par[i]);
  ty_str_add(out, ")");
  if (l->red_par >= 0) ty_str_add(out, " red=par%d", l->red_par);
  ty_str_add(out, " cols=par%d\n", l->col_par);
  for (int i = 0; i < l->nodes.n; i++) {
    const ty_lnode *n = &l->nodes.p[i];
    if (n->kind == TY_L_STORE) ty_str_add(out, "  store");
    else {
      ty_str_add(out, "  %%%d = ", i);
      if (n->kind == TY_L_PRIM) ty_str_add(out, "%s", ty_prims[n->prim].name);
      else if (n->kind == TY_L_REDUCE) ty_str_add(out, "reduce.%s", reds[n->red]);
      else ty_str_add(out, "%s", kinds[n->kind]);
      ty_str_add(out, ":%s", ty_dtypes[n->dtype].name);
    }
    node_text(n, out);
    ty_str_add(out, "\n");
  }
}
