/* header.c: the C header of a deployed model, typed by its inputs and outputs, and the entry points behind it. */
#include <ctype.h>
#include <inttypes.h>

#include "api/deploy.h"

static const char *c_type(tuyere_dtype d) {
  static const char *const types[] = {"uint8_t", "uint8_t", "int8_t", "int16_t", "int32_t", "int64_t", "uint16_t", "uint16_t", "float", "double"};
  return types[d];
}

/* A name in C: what is no letter becomes _, and each is numbered, should two of them have become one. */
static void c_name(ty_str *o, const ty_face_leaf *l, int i, int n, const ty_face_leaf *all, const char *kind) {
  char name[64] = "";
  for (int k = 0; k <= i; k++) {
    char other[64];
    size_t len = 0;
    for (const char *p = all[k].info.name; *p && len < sizeof other - 1; p++) other[len++] = isalnum((unsigned char)*p) ? *p : '_';
    other[len] = 0;
    if (k == i) memcpy(name, other, sizeof other);
  }
  (void)n;
  ty_str_add(o, "%s%d_%s", kind, i, name);
  (void)l;
}

/* Does the symbol stand in the text of some dim of an input or output? Names are identifiers. */
static bool word_in(const char *text, const char *word) {
  size_t n = strlen(word);
  for (const char *p = text; (p = strstr(p, word)); p += n)
    if ((p == text || !(isalnum((unsigned char)p[-1]) || p[-1] == '_')) && !(isalnum((unsigned char)p[n]) || p[n] == '_')) return true;
  return false;
}
static bool leafs_have(const ty_face_leaf *l, int n, const char *sym) {
  for (int i = 0; i < n; i++)
    for (int d = 0; d < l[i].info.rank; d++)
      if (word_in(l[i].info.dims[d].text, sym)) return true;
  return false;
}
static bool used(const ty_face *f, int sym) { return leafs_have(f->inputs, f->ninputs, f->syms[sym].name) || leafs_have(f->outputs, f->noutputs, f->syms[sym].name); }

static void shape(ty_str *o, const ty_face_leaf *l) {
  ty_str_add(o, "%s[", tuyere_dtype_name(l->info.dtype));
  for (int d = 0; d < l->info.rank; d++) ty_str_add(o, "%s%s", d ? ", " : "", l->info.dims[d].text);
  ty_str_add(o, "]");
}

static void parameters(ty_str *o, const ty_face *f) {
  for (int i = 0; i < f->nsyms; i++)
    if (used(f, i)) ty_str_add(o, ", int64_t %s", f->syms[i].name);
  for (int i = 0; i < f->ninputs; i++) {
    ty_str_add(o, ", const %s *", c_type(f->inputs[i].info.dtype));
    c_name(o, &f->inputs[i], i, f->ninputs, f->inputs, "in");
  }
  for (int i = 0; i < f->noutputs; i++) {
    ty_str_add(o, ", %s *", c_type(f->outputs[i].info.dtype));
    c_name(o, &f->outputs[i], i, f->noutputs, f->outputs, "out");
  }
}

static void example(ty_str *o, const char *name, const ty_face *f) {
  ty_str_add(o, " *   #include \"%s.h\"\n *   #include <stdio.h>\n *   #include <stdlib.h>\n *   int main(void) {\n", name);
  ty_str_add(o, " *     char error[512];\n *     %s *model;\n *     if (%s_create(&model, NULL, error, sizeof error)) { fprintf(stderr, \"%%s\\n\", error); return 1; }\n", name, name);
  for (int i = 0; i < f->nsyms; i++)
    if (used(f, i)) ty_str_add(o, " *     int64_t %s = %lld;\n", f->syms[i].name, (long long)(f->syms[i].min > 2 ? f->syms[i].min : f->syms[i].max < 2 ? f->syms[i].max : 2));
  for (int k = 0; k < 2; k++) {
    const ty_face_leaf *l = k ? f->outputs : f->inputs;
    int n = k ? f->noutputs : f->ninputs;
    for (int i = 0; i < n; i++) {
      ty_str_add(o, " *     %s *%c%d = (%s *)calloc((size_t)(", c_type(l[i].info.dtype), k ? 'y' : 'x', i, c_type(l[i].info.dtype));
      ty_str_add(o, "1");
      for (int d = 0; d < l[i].info.rank; d++) ty_str_add(o, " * (%s)", l[i].info.dims[d].text);
      ty_str_add(o, "), sizeof *%c%d);\n", k ? 'y' : 'x', i);
    }
  }
  ty_str_add(o, " *     if (%s_run(model", name);
  for (int i = 0; i < f->nsyms; i++)
    if (used(f, i)) ty_str_add(o, ", %s", f->syms[i].name);
  for (int i = 0; i < f->ninputs; i++) ty_str_add(o, ", x%d", i);
  for (int i = 0; i < f->noutputs; i++) ty_str_add(o, ", y%d", i);
  ty_str_add(o, ")) { fprintf(stderr, \"%%s\\n\", %s_error(model)); return 1; }\n", name);
  for (int k = 0; k < 2; k++)
    for (int i = 0; i < (k ? f->noutputs : f->ninputs); i++) ty_str_add(o, " *     free(%c%d);\n", k ? 'y' : 'x', i);
  ty_str_add(o, " *     %s_destroy(model);\n *     return 0;\n *   }\n", name);
}

void ty_header_write(const char *name, const ty_face *f, ty_str *o) {
  ty_str_add(o, "/* %s.h: made by tuyere %s. Compile with a C or C++ compiler, link with %s.so; %s.weights lies beside it.\n *\n", name, tuyere_version(), name, name);
  example(o, name, f);
  ty_str_add(o, " */\n#ifndef TUYERE_MODEL_%s_H\n#define TUYERE_MODEL_%s_H\n#include <stddef.h>\n#include <stdint.h>\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n", name, name);
  ty_str_add(o, "/* A session: for one thread at a time. All sessions of a process share the model and its weights. */\ntypedef struct %s %s;\n", name, name);
  ty_str_add(o, "/* weights: the path of %s.weights, NULL: beside the shared object. 0 is good; else error (of `size` bytes, or NULL) has the text. */\n", name);
  ty_str_add(o, "int %s_create(%s **out, const char *weights, char *error, size_t size);\n", name, name);
  ty_str_add(o, "void %s_destroy(%s *);\n", name, name);
  ty_str_add(o, "/* The threads of a run, for the process; 0: the cores that it may use. */\nvoid %s_threads(int n);\n", name);
  ty_str_add(o, "/* The text of the last failure of a run. */\nconst char *%s_error(const %s *);\n\n", name, name);
  ty_str_add(o, "/* Runs. Memory is the caller's, contiguous, and not NULL. 0 is good.\n");
  for (int i = 0; i < f->nsyms; i++) {
    if (!used(f, i)) continue;
    ty_str_add(o, " *   %s: at least %lld", f->syms[i].name, (long long)f->syms[i].min);
    if (f->syms[i].max < INT64_MAX) ty_str_add(o, ", at most %lld", (long long)f->syms[i].max);
    ty_str_add(o, "\n");
  }
  for (int k = 0; k < 2; k++) {
    const ty_face_leaf *l = k ? f->outputs : f->inputs;
    int n = k ? f->noutputs : f->ninputs;
    for (int i = 0; i < n; i++) {
      ty_str_add(o, " *   ");
      c_name(o, &l[i], i, n, l, k ? "out" : "in");
      ty_str_add(o, ": ");
      shape(o, &l[i]);
      ty_str_add(o, "\n");
    }
  }
  ty_str_add(o, " */\nint %s_run(%s *", name, name);
  parameters(o, f);
  ty_str_add(o, ");\n\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
}

void ty_header_entries(const char *name, const ty_face *f, ty_str *o) {
  ty_str_add(o, "\n#include <stddef.h>\n#include <stdint.h>\nstatic ty_entry_home ty_home;\ntypedef struct %s %s;\n", name, name);
  ty_str_add(o, "#define API __attribute__((visibility(\"default\")))\n");
  ty_str_add(o, "API int %s_create(%s **out, const char *weights, char *error, size_t size) {\n  return ty_entry_create(&tuyere_artefact, &ty_home, weights, (void **)out, error, size);\n}\n", name, name);
  ty_str_add(o, "API void %s_destroy(%s *s) { ty_entry_destroy(&ty_home, s); }\n", name, name);
  ty_str_add(o, "API void %s_threads(int n) { ty_entry_threads(n); }\n", name);
  ty_str_add(o, "API const char *%s_error(const %s *s) { return ty_entry_error(s); }\n", name, name);
  ty_str_add(o, "API int %s_run(%s *s", name, name);
  parameters(o, f);
  ty_str_add(o, ") {\n  const ty_i64 syms[] = {");
  for (int i = 0; i < f->nsyms; i++) {
    if (used(f, i)) ty_str_add(o, "%s, ", f->syms[i].name);
    else ty_str_add(o, "%lldLL, ", (long long)f->syms[i].min);
  }
  ty_str_add(o, "0};\n  const void *const inputs[] = {");
  for (int i = 0; i < f->ninputs; i++) c_name(o, &f->inputs[i], i, f->ninputs, f->inputs, "in"), ty_str_add(o, ", ");
  ty_str_add(o, "0};\n  void *const outputs[] = {");
  for (int i = 0; i < f->noutputs; i++) c_name(o, &f->outputs[i], i, f->noutputs, f->outputs, "out"), ty_str_add(o, ", ");
  ty_str_add(o, "0};\n  return ty_entry_run(s, syms, inputs, outputs);\n}\n");
}
