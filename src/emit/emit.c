/* emit.c: the structure of an emitted kernel: parameters, rows, phases, column loops, reductions. */
#include "emit_int.h"
#include "prelude_text.h"
#include <stdio.h>

enum {
  SUM_BLOCK = 2048, /* columns summed apart, so that float error does not grow with the length */
  ARG_BLOCK = 512,  /* columns whose values are kept for finding the index */
  LANES = 16,       /* columns of a pass's masked last turn, see TY_TAIL */
  RED_BLOCK = 256,  /* columns whose accumulators stay in the nearest cache while the red loop runs */
};

const char *ty_emit_prelude(void) { return ty_prelude_text; }

static bool is_arg(const ty_lnode *n) { return n->red == TY_RED_ARGMAX || n->red == TY_RED_ARGMIN; }
static bool is_limit(const ty_lnode *n) { return n->red >= TY_RED_MAX && n->red <= TY_RED_MIN; }
static const char *compare(const ty_lnode *n) { return n->red == TY_RED_MAX || n->red == TY_RED_ARGMAX ? ">" : "<"; }

/* Integer sums wrap in unsigned. */
static const char *sum_type(ty_dtype d) { return d == TY_f32 ? "float" : d == TY_f64 ? "double" : d == TY_i64 ? "ty_u64" : "ty_u32"; }

static const char *initial(const ty_lnode *n, ty_dtype d) {
  const bool low = n->red == TY_RED_MAX || n->red == TY_RED_ARGMAX;
  if (n->red == TY_RED_SUM || n->red == TY_RED_ANY) return "0";
  if (n->red == TY_RED_PROD || n->red == TY_RED_ALL) return "1";
  switch (d) {
  case TY_f32: return low ? "-__builtin_inff()" : "__builtin_inff()";
  case TY_f64: return low ? "-__builtin_inf()" : "__builtin_inf()";
  case TY_i8: return low ? "-128" : "127";
  case TY_i16: return low ? "-32768" : "32767";
  case TY_i32: return low ? "-2147483647 - 1" : "2147483647";
  case TY_i64: return low ? "-9223372036854775807LL - 1" : "9223372036854775807LL";
  case TY_u8: return low ? "0" : "255";
  default: return low ? "0" : "1"; /* bool */
  }
}

static ty_dtype from_dtype(const emitter *e, const ty_lnode *n) { return e->l->nodes.p[n->a].dtype; }
static const char *acc_type(const emitter *e, const ty_lnode *n) {
  const ty_dtype d = from_dtype(e, n);
  return n->red == TY_RED_SUM || n->red == TY_RED_PROD ? sum_type(d) : emit_type(d);
}

/* Is node i part of phase p's pass over the columns? */
static bool in_pass(const emitter *e, int i, int p) {
  const ty_lnode *n = &e->l->nodes.p[i];
  if (n->kind == TY_L_REDUCE) return n->phase == p || (n->level == TY_LV_ELEM && n->uses >> p & 1);
  if (n->kind == TY_L_STORE) return n->level == TY_LV_ELEM && n->phase == p;
  return n->level == TY_LV_ELEM && n->uses >> p & 1;
}
static bool has_pass(const emitter *e, int p) {
  for (int i = 0; i < e->l->nodes.n; i++) {
    const ty_lnode *n = &e->l->nodes.p[i];
    if ((n->kind == TY_L_REDUCE || n->kind == TY_L_STORE) && in_pass(e, i, p)) return true;
    if (n->spill && n->phase == p) return true;
  }
  return false;
}
static bool folds(const emitter *e, int i, int p) { /* a reduction over the columns in pass p */
  const ty_lnode *n = &e->l->nodes.p[i];
  return n->kind == TY_L_REDUCE && n->level == TY_LV_ROW && n->phase == p;
}
/* Does pass p end with one masked turn of LANES columns? Compilers leave what is over after whole vectors to scalar code, which
 * is slow for exp and for reductions. Not where values are kept for argmax, nor where calls make the loop scalar anyway. */
static bool has_tail(const emitter *e, int p) {
  for (int i = 0; i < e->l->nodes.n; i++) {
    const ty_lnode *n = &e->l->nodes.p[i];
    if (in_pass(e, i, p) && ((n->kind == TY_L_REDUCE && is_arg(n)) || emit_calls(e, i))) return false;
  }
  return true;
}
static bool checks(const emitter *e, int p) {
  for (int i = 0; i < e->l->nodes.n; i++)
    if (e->l->nodes.p[i].kind == TY_L_CHECK && in_pass(e, i, p)) return true;
  return false;
}

/* Variables of a block's partial result: sN the value, qN whether a NaN was met, xN the values for argmax. */
static void fold_begin(emitter *e, int i) {
  const ty_lnode *n = &e->l->nodes.p[i];
  emit_line(e, "%s s%d = %s;", acc_type(e, n), i, initial(n, from_dtype(e, n)));
  if (is_limit(n) || is_arg(n)) emit_line(e, "int q%d = 0;", i);
  if (is_arg(n)) emit_line(e, "%s x%d[%d];", emit_mem_type(from_dtype(e, n)), i, ARG_BLOCK);
}

static void fold_clause(const emitter *e, int i) {
  const ty_lnode *n = &e->l->nodes.p[i];
  static const char *const ops[] = {[TY_RED_SUM] = "+", [TY_RED_PROD] = "*", [TY_RED_MAX] = "max", [TY_RED_MIN] = "min", [TY_RED_ANY] = "|",
    [TY_RED_ALL] = "&", [TY_RED_ARGMAX] = "max", [TY_RED_ARGMIN] = "min"};
  ty_str_add(e->out, " reduction(%s:s%d)", ops[n->red], i);
  if (is_limit(n) || is_arg(n)) ty_str_add(e->out, " reduction(|:q%d)", i);
}

/* masked: columns from ce on are padding. */
static void fold_step(emitter *e, int i, bool masked) {
  const ty_lnode *n = &e->l->nodes.p[i];
  const emit_name v = emit_value(e, n->a);
  const char *in = masked ? "in ? " : "", *zero = masked ? " : 0" : "", *one = masked ? " : 1" : "";
  switch (n->red) {
  case TY_RED_SUM: emit_line(e, "s%d += %s(%s)%s%s;", i, in, acc_type(e, n), v.s, zero); return;
  case TY_RED_PROD: emit_line(e, "s%d *= %s(%s)%s%s;", i, in, acc_type(e, n), v.s, one); return;
  case TY_RED_ANY: emit_line(e, "s%d |= %s%s%s;", i, in, v.s, zero); return;
  case TY_RED_ALL: emit_line(e, "s%d &= %s%s%s;", i, in, v.s, one); return;
  default:
    if (is_arg(n)) emit_line(e, "x%d[c - cb] = %s;", i, v.s);
    emit_line(e, "s%d = %s(%s %s s%d) ? %s : s%d;", i, masked ? "in & " : "", v.s, compare(n), i, v.s, i);
    emit_line(e, "q%d |= %s(%s != %s);", i, masked ? "in & " : "", v.s, v.s);
  }
}

/* tN takes up the block's result. */
static void fold_end(emitter *e, int i) {
  const ty_lnode *n = &e->l->nodes.p[i];
  switch (n->red) {
  case TY_RED_SUM: emit_line(e, "t%d += s%d;", i, i); return;
  case TY_RED_PROD: emit_line(e, "t%d *= s%d;", i, i); return;
  case TY_RED_ANY: emit_line(e, "t%d |= s%d;", i, i); return;
  case TY_RED_ALL: emit_line(e, "t%d &= s%d;", i, i); return;
  default: break;
  }
  if (is_limit(n)) {
    emit_line(e, "t%d = s%d %s t%d ? s%d : t%d;", i, i, compare(n), i, i, i);
    emit_line(e, "nan%d |= q%d;", i, i);
    return;
  }
  emit_line(e, "if (!nan%d && (q%d | (s%d %s best%d) | (cb == c0))) {", i, i, i, compare(n), i);
  emit_line(e, "  for (ty_i64 x = 0; x < ce - cb; x++)");
  emit_line(e, "    if (q%d ? x%d[x] != x%d[x] : x%d[x] == s%d) { t%d = cb + x; break; }", i, i, i, i, i, i);
  emit_line(e, "  best%d = s%d, nan%d = q%d;", i, i, i, i);
  emit_line(e, "}");
}

/* Column by column, for one turn of the red loop. */
static void fold_column(emitter *e, int i) {
  const ty_lnode *n = &e->l->nodes.p[i];
  const emit_name v = emit_value(e, n->a);
  switch (n->red) {
  case TY_RED_SUM: emit_line(e, "a%d[c - cb] += (%s)%s;", i, acc_type(e, n), v.s); return;
  case TY_RED_PROD: emit_line(e, "a%d[c - cb] *= (%s)%s;", i, acc_type(e, n), v.s); return;
  case TY_RED_ANY: emit_line(e, "a%d[c - cb] |= %s;", i, v.s); return;
  case TY_RED_ALL: emit_line(e, "a%d[c - cb] &= %s;", i, v.s); return;
  default: break;
  }
  const char *was = is_arg(n) ? "best" : "a";
  emit_line(e, "const %s old%d = %s%d[c - cb];", emit_type(from_dtype(e, n)), i, was, i);
  if (is_arg(n)) {
    emit_line(e, "const int take%d = (j == 0) | (%s %s old%d) | ((%s != %s) & (old%d == old%d));", i, v.s, compare(n), i, v.s, v.s, i, i);
    emit_line(e, "best%d[c - cb] = take%d ? %s : old%d;", i, i, v.s, i);
    emit_line(e, "a%d[c - cb] = take%d ? j : a%d[c - cb];", i, i, i);
  } else emit_line(e, "a%d[c - cb] = (old%d %s %s) | (old%d != old%d) ? old%d : %s;", i, i, compare(n), v.s, i, i, i, v.s);
}

/* The loop over columns [from, to) of pass p. */
static void column_loop(emitter *e, int p, const char *from, const char *to, bool masked) {
  const ty_lnode *n = e->l->nodes.p;
  const bool bad = checks(e, p);
  if (bad) emit_line(e, "int bad = 0;");
  ty_str_add(e->out, "#pragma omp simd");
  if (bad) ty_str_add(e->out, " reduction(|:bad)");
  for (int i = 0; i < e->l->nodes.n; i++)
    if (folds(e, i, p)) fold_clause(e, i);
  ty_str_add(e->out, "\n");
  emit_line(e, "for (ty_i64 c = %s; c < %s; c++) {", from, to);
  e->indent++;
  if (masked) emit_line(e, "const int in = TY_IN(c - cm, left);");
  for (int i = 0; i < e->l->nodes.n; i++) {
    if (!in_pass(e, i, p)) continue;
    if (n[i].kind == TY_L_REDUCE) {
      if (n[i].level == TY_LV_ROW) fold_step(e, i, masked);
      else if (n[i].phase == p) fold_column(e, i);
      else emit_line(e, "const %s v%d = (%s)a%d[c - cb];", emit_type(n[i].dtype), i, emit_type(n[i].dtype), i);
    } else if (n[i].kind == TY_L_STORE) emit_store(e, i, masked);
    else if (emit_inline(&n[i])) continue;
    else if (n[i].spill && n[i].phase != p) emit_line(e, "const %s v%d = s%d[c];", emit_type(n[i].dtype), i, i);
    else {
      emit_node(e, i, masked ? EMIT_TAIL : EMIT_LOOP);
      if (n[i].spill) emit_line(e, "s%d[c] = v%d;", i, i);
    }
  }
  e->indent--;
  emit_line(e, "}");
  if (bad) emit_line(e, "if (bad) *k->fault = 1;");
}

static void singles(emitter *e, ty_llevel level, bool uniform, int p) {
  const ty_lnode *n = e->l->nodes.p;
  for (int i = 0; i < e->l->nodes.n; i++)
    if (n[i].level == level && n[i].uniform == uniform && n[i].phase == p && n[i].kind != TY_L_REDUCE && n[i].kind != TY_L_STORE &&
        !emit_inline(&n[i]))
      emit_node(e, i, EMIT_SINGLE);
}

/* One pass over the columns of a row, with its reductions over them. */
static void row_pass(emitter *e, int p) {
  const ty_lnode *n = e->l->nodes.p;
  int block = 0;
  bool any = false;
  if (!has_pass(e, p)) return;
  for (int i = 0; i < e->l->nodes.n; i++) {
    if (!folds(e, i, p)) continue;
    any = true;
    const ty_dtype d = from_dtype(e, &n[i]);
    if (n[i].red == TY_RED_SUM && ty_dtype_is_float(d) && !block) block = SUM_BLOCK;
    if (is_arg(&n[i])) block = ARG_BLOCK;
    if (is_arg(&n[i])) emit_line(e, "ty_i64 t%d = 0;", i);
    else emit_line(e, "%s t%d = %s;", acc_type(e, &n[i]), i, initial(&n[i], d));
    if (is_arg(&n[i])) emit_line(e, "%s best%d = %s;", emit_type(d), i, initial(&n[i], d));
    if (is_arg(&n[i]) || is_limit(&n[i])) emit_line(e, "int nan%d = 0;", i);
  }
  if (block) {
    emit_line(e, "for (ty_i64 cb = c0; cb < c1; cb += %d) {", block);
    e->indent++;
    emit_line(e, "const ty_i64 ce = c1 - cb < %d ? c1 : cb + %d;", block, block);
  } else emit_line(e, "{"), e->indent++;
  const bool tail = has_tail(e, p);
  if (tail && !block) emit_line(e, "const ty_i64 cb = c0, ce = c1;");
  for (int i = 0; i < e->l->nodes.n; i++)
    if (folds(e, i, p)) fold_begin(e, i);
  if (tail) {
    emit_line(e, "const ty_i64 cm = cb + ((ce - cb) & ~%dLL);", LANES - 1);
    emit_line(e, "if (cb < cm) {"); /* a loop with reductions costs some 15 ns even when it does not turn */
    e->indent++;
    column_loop(e, p, "cb", "cm", false);
    e->indent--;
    emit_line(e, "}");
    emit_line(e, "if (cm < ce) {");
    e->indent++;
    emit_line(e, "const ty_i32 left = (ty_i32)(ce - cm);");
    column_loop(e, p, "cm", "TY_TAIL(cm, ce)", true);
    e->indent--;
    emit_line(e, "}");
  } else column_loop(e, p, block ? "cb" : "c0", block ? "ce" : "c1", false);
  for (int i = 0; i < e->l->nodes.n; i++)
    if (folds(e, i, p)) fold_end(e, i);
  e->indent--;
  emit_line(e, "}");
  for (int i = 0; any && i < e->l->nodes.n; i++) {
    if (!folds(e, i, p)) continue;
    const ty_dtype d = from_dtype(e, &n[i]);
    if (is_limit(&n[i]) && ty_dtype_is_float(d))
      emit_line(e, "const %s v%d = nan%d ? __builtin_nan%s(\"\") : t%d;", emit_type(d), i, i, d == TY_f32 ? "f" : "", i);
    else emit_line(e, "const %s v%d = (%s)t%d;", emit_type(n[i].dtype), i, emit_type(n[i].dtype), i);
  }
}

/* Blocks of columns, each with the red loop and the passes after it. */
static void red_passes(emitter *e) {
  const ty_lnode *n = e->l->nodes.p;
  emit_line(e, "for (ty_i64 cb = c0; cb < c1; cb += %d) {", RED_BLOCK);
  e->indent++;
  emit_line(e, "const ty_i64 ce = c1 - cb < %d ? c1 : cb + %d;", RED_BLOCK, RED_BLOCK);
  for (int i = 0; i < e->l->nodes.n; i++) {
    if (n[i].kind != TY_L_REDUCE) continue;
    const ty_dtype d = from_dtype(e, &n[i]);
    const char *type = is_arg(&n[i]) ? "ty_i64" : acc_type(e, &n[i]);
    emit_line(e, "%s a%d[%d] __attribute__((aligned(64)));", type, i, RED_BLOCK);
    if (is_arg(&n[i])) emit_line(e, "%s best%d[%d] __attribute__((aligned(64)));", emit_type(d), i, RED_BLOCK);
    emit_line(e, "for (int x = 0; x < %d; x++) a%d[x] = %s;", RED_BLOCK, i, is_arg(&n[i]) ? "0" : initial(&n[i], d));
    if (is_arg(&n[i])) emit_line(e, "for (int x = 0; x < %d; x++) best%d[x] = 0;", RED_BLOCK, i);
  }
  emit_line(e, "for (ty_i64 j = 0; j < n%d; j++) {", e->l->red_par);
  e->indent++;
  singles(e, TY_LV_RED, false, 0);
  for (int i = 0; i < e->l->nodes.n; i++)
    if (n[i].kind == TY_L_STORE && n[i].level == TY_LV_RED) emit_line(e, "if (cb == c0)"), emit_store(e, i, false);
  if (has_pass(e, 0)) column_loop(e, 0, "cb", "ce", false);
  e->indent--;
  emit_line(e, "}");
  for (int p = 1; p < e->l->nphases; p++) {
    if (!has_pass(e, p)) continue;
    emit_line(e, "{");
    e->indent++;
    column_loop(e, p, "cb", "ce", false);
    e->indent--;
    emit_line(e, "}");
  }
  e->indent--;
  emit_line(e, "}");
}

/* Typed pointers, parameters and spilled rows. */
static void declarations(emitter *e) {
  const ty_loop *l = e->l;
  const ty_lnode *n = l->nodes.p;
  for (int b = 0; b < l->nbufs; b++) {
    bool loads = false, stores = false;
    ty_dtype mem = TY_f32;
    for (int i = 0; i < l->nodes.n; i++) {
      if ((n[i].kind != TY_L_LOAD && n[i].kind != TY_L_STORE) || n[i].slot != b) continue;
      mem = n[i].mem;
      if (n[i].kind == TY_L_LOAD) loads = true;
      else stores = true;
    }
    if (loads || stores)
      emit_line(e, "%s%s *%sconst p%d = k->buf[%d];", stores ? "" : "const ", emit_mem_type(mem), loads && stores ? "" : "restrict ", b, b);
  }
  for (int s = 0; s < l->npars; s++) {
    bool used = s == l->red_par;
    for (int i = 0; i < l->nrowvars; i++) used |= l->row_par[i] == s;
    for (int i = 0; i < l->nodes.n; i++)
      used |= (n[i].kind == TY_L_PAR && n[i].slot == s) || ((n[i].kind == TY_L_LOAD || n[i].kind == TY_L_STORE) && n[i].col_par == s);
    if (used) emit_line(e, "const ty_i64 n%d = k->par[%d];", s, s);
  }
  int bytes = 0; /* of the rows before, a column */
  if (l->nspills) emit_line(e, "const ty_i64 pad = (c1 - c0 + 63) & ~63LL;");
  for (int i = 0; i < l->nodes.n; i++) {
    if (!n[i].spill) continue;
    const char *type = emit_mem_type(n[i].dtype);
    emit_line(e, "%s *restrict const s%d = (%s *)((char *)k->scratch + pad * %d) - c0;", type, i, type, bytes);
    bytes += ty_dtype_size(n[i].dtype);
  }
}

void ty_emit_loop(const ty_loop *l, const char *fn_name, ty_str *out) {
  emitter em = {l, out, 0}, *e = &em;
  emit_line(e, "__attribute__((visibility(\"default\")))");
  emit_line(e, "void %s(const ty_kargs *k, ty_i64 r0, ty_i64 r1, ty_i64 c0, ty_i64 c1) {", fn_name);
  e->indent = 1;
  emit_line(e, "if (r0 >= r1) return;");
  declarations(e);
  singles(e, TY_LV_ROW, true, 0);
  const int last = l->nrowvars - 1;
  for (int v = last; v >= 0; v--) {
    const int s = l->row_par[v];
    if (v == last) emit_line(e, v ? "ty_i64 i%d = r0 %% n%d, rest = r0 / n%d;" : "ty_i64 i%d = r0;", v, s, s);
    else emit_line(e, v ? "ty_i64 i%d = rest %% n%d; rest /= n%d;" : "ty_i64 i%d = rest;", v, s, s);
  }
  emit_line(e, "for (ty_i64 r = r0; r < r1; r++) {");
  e->indent++;
  if (l->has_acc) emit_line(e, "const float *restrict const acc = k->acc + (r - r0) * k->acc_ld;");
  for (int p = 0; p < l->nphases; p++) {
    singles(e, TY_LV_ROW, false, p);
    if (l->red_par < 0) row_pass(e, p);
  }
  if (l->red_par >= 0) red_passes(e);
  for (int i = 0; i < l->nodes.n; i++)
    if (l->nodes.p[i].kind == TY_L_STORE && l->nodes.p[i].level == TY_LV_ROW) emit_store(e, i, false);
  for (int v = last; v >= 0; v--) {
    if (v > 0) emit_line(e, "if (++i%d == n%d) {", v, l->row_par[v]), e->indent++, emit_line(e, "i%d = 0;", v);
    else emit_line(e, "i0++;");
  }
  for (int v = last; v > 0; v--) e->indent--, emit_line(e, "}");
  e->indent--;
  emit_line(e, "}");
  e->indent--;
  emit_line(e, "}");
}
