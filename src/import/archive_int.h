/* archive_int.h: inside the reader of archives: members, JSON with places, size expressions, tables of weights, trees. */
#ifndef TY_ARCHIVE_INT_H
#define TY_ARCHIVE_INT_H
#include <json-c/json.h>

#include "import/archive.h"

/* Bounds that no real archive comes near. */
enum {
  AR_MAX_MEMBERS = 1 << 20, AR_MAX_NAME = 1000, AR_MAX_JSON = 1 << 28, AR_MAX_JSON_DEPTH = 128, AR_MAX_JSON_CONTAINERS = 4 << 20,
  AR_MAX_RATIO = 100, AR_MAX_EXPR = 1 << 16, AR_MAX_EXPR_DEPTH = 64, AR_MAX_EXPR_NODES = 4096, AR_MAX_SYMBOLS = 1024,
  AR_MAX_LIST = 1 << 16, AR_MAX_ARGS = 64, AR_MAX_GRAPH_DEPTH = 8, AR_MAX_NODES = 1 << 20, AR_MAX_VIEWS = 256, AR_MAX_LEAVES = 1 << 16,
};

/* ---- Where in the archive one is, for messages: "model.pt2: models/model.json: node 17 (aten.linear.default): ..." ---- */
typedef struct ar_place { ty_ctx *ctx; const char *file, *member; char at[400]; } ar_place;
ty_status ar_fail(const ar_place *, ty_status, const char *fmt, ...) TY_PRINTF(3, 4);
ty_status ar_nomem(const ar_place *);

/* ---- Members (member.c) ---- */
typedef struct ar_member { const char *name; size_t offset, size; uint64_t index; bool stored; } ar_member; /* name: without the root folder */
typedef struct ar_zip {
  const unsigned char *data; size_t size; bool mapped;
  void *zip; /* libzip's zip_t */
  uint64_t pos, last_read; /* where libzip reads, and where it read last */
  int n; ar_member *members; /* by name */
} ar_zip;
ty_status ar_zip_open(const ar_place *, ty_arena *, ar_zip *); /* data and size are set */
void ar_zip_close(ar_zip *);
const ar_member *ar_zip_find(const ar_zip *, const char *name); /* NULL: there is none */
/* A member's text, CRC checked, 0 after its end; caller ty_free()s. */
ty_status ar_zip_text(const ar_place *, const ar_zip *, const ar_member *, size_t max, char **text);

/* ---- JSON (json.c) ---- getters fail with the place and the key */
ty_status ar_json_parse(const ar_place *, const char *text, size_t n, json_object **out); /* caller json_object_put()s */
json_object *ar_get(json_object *, const char *key); /* NULL when absent, null, or no object */
ty_status ar_object(const ar_place *, json_object *, const char *key, json_object **out);
ty_status ar_list(const ar_place *, json_object *, const char *key, json_object **out, int *n);
ty_status ar_string(const ar_place *, json_object *, const char *key, const char **out); /* no NUL inside, at most AR_MAX_NAME bytes */
ty_status ar_int(const ar_place *, json_object *, const char *key, int64_t *out);
ty_status ar_bool(const ar_place *, json_object *, const char *key, bool *out);
/* A union: an object with exactly one key. */
ty_status ar_union(const ar_place *, json_object *, const char *what, const char **key, json_object **value);
ty_status ar_text_of(const ar_place *, json_object *value, const char *what, size_t max, const char **out);
ty_status ar_int_of(const ar_place *, json_object *value, const char *what, int64_t *out);
ty_status ar_float_of(const ar_place *, json_object *value, const char *what, double *out); /* ints and "Infinity", "-Infinity", "NaN" too */
bool ar_dtype(int64_t code, ty_dtype *out, const char **name); /* the schema's ScalarType; false: not one of ours (name may be set) */

/* Names to ints, in an arena; names are not copied. */
typedef struct ar_map { struct { const char *name; int value; } *slots; int n, cap; } ar_map;
bool ar_map_put(ar_map *, const char *name, int value); /* false: no memory; an older entry is replaced */
int ar_map_get(const ar_map *, const char *name);       /* -1: there is none */
void ar_map_free(ar_map *);

/* ---- Size expressions (expr.c): sympy's srepr ---- */
typedef struct ar_expr ar_expr;
struct ar_expr { enum { AR_CALL, AR_INT, AR_TEXT, AR_WORD } kind; const char *text; int64_t value; int nargs; ar_expr **args; };
ty_status ar_expr_parse(const ar_place *, ty_arena *, const char *text, ar_expr **out);
typedef struct ar_symbols { ty_graph *g; int n; struct { const char *name; int64_t lo, hi; int64_t fixed; } *p; bool is_fixed[AR_MAX_SYMBOLS]; } ar_symbols;
/* As a dim. TY_UNSUPPORTED for functions that have none; a symbol that is not among `s` is made, unbounded. */
ty_status ar_expr_dim(const ar_place *, ar_symbols *s, const ar_expr *, int64_t hint, ty_dim *out);
/* As a number, where no symbol is left. TY_UNSUPPORTED otherwise. */
ty_status ar_expr_number(const ar_place *, ar_symbols *s, const ar_expr *, double *out);
ty_status ar_symbol(const ar_place *, ar_symbols *s, const char *name, int64_t hint, ty_dim *out);

/* ---- Tables of weights (weights.c) ---- */
typedef struct ar_payload {
  const char *fqn, *path;  /* path: the member's own name, "weight_3"; tensors of one member share memory */
  const char *refused;     /* why it cannot be used; NULL when it can */
  ty_dtype dtype; int rank;
  int64_t sizes[TY_MAX_RANK], strides[TY_MAX_RANK];
  const unsigned char *data; size_t bytes; /* first element, and from there to the end of the last */
} ar_payload;
typedef struct ar_table { int n; ar_payload *p; ar_map by_name; } ar_table;
ty_status ar_table_read(const ar_place *, const ar_zip *, ty_arena *, const char *folder, json_object *config, ar_table *);

/* ---- Trees (tree.c) ---- names of the leaves of a pytree, in order: identifiers joined by dots */
typedef struct ar_leaves { int n; const char **names; } ar_leaves;
/* in_spec with the forward's argument names, or out_spec (names NULL), JSON text. */
ty_status ar_tree_leaves(const ar_place *, ty_arena *, const char *spec, json_object *names, ar_leaves *out);

struct ty_archive {
  ty_ctx *ctx;
  ty_arena arena;
  const char *file, *member; /* the program's member, for messages */
  ar_zip zip;
  json_object *root, *program, *configs[2];
  ar_table weights, constants;
  ty_archive_info info;
};

/* ---- The import: nodes (import.c), inputs, outputs and sizes (signature.c), values and aliases (alias.c) ---- */
typedef struct ar_meta { bool known; ty_dtype dtype; int rank; ty_dim sizes[TY_MAX_RANK], strides[TY_MAX_RANK]; } ar_meta;
typedef struct ar_call { const char *op; int nargs; ty_arg *args; const char **names; const char *loc; } ar_call; /* of the builder, kept to be made again */

/* A name of the program. Tensors that share memory form a tree: the root owns it, each other one is a view of its parent. */
typedef struct ar_value {
  const char *name;
  bool is_number, lost; /* lost: it has no value here, since what made it was declined */
  ty_arg number;
  ty_value *v;         /* tensor: what it was at `version` of its root; NULL: a parameter that nobody has used yet */
  int root, parent;    /* parent < 0: it is a root */
  int depth, version;  /* of a root: writes so far */
  bool sealed;         /* root: it may share memory in a way that is not followed: writes are declined */
  const ar_call *view; /* how it is made of its parent, whose place is argument 0 */
  int input;           /* root: index among the program's inputs; -1 */
  ar_meta meta;
} ar_value;

typedef struct ar_input { /* one of the program's inputs, as the signature lists them */
  ty_imported_kind kind;
  const char *name, *fqn; /* name: of the value; fqn: of the parameter, or the path of a user's leaf */
  const ar_payload *payload;
  bool is_tensor;
  ty_arg literal;
  int value;          /* index among the values; -1 */
  ty_value *v;        /* in the graph, once it is used */
  ty_value *update;   /* what it holds after a run; NULL: the same */
} ar_input;

typedef struct ar_scope { ar_map names; json_object *graph; } ar_scope; /* a (sub-)graph's names: indices of values */

typedef struct ar_importer {
  ty_ctx *ctx;
  const ty_archive *a;
  ty_graph *g;
  ty_imported *out;
  ty_arena arena; /* of the import alone */
  ar_place at;
  ar_symbols syms;
  TY_VEC(ar_value) values;
  int ninputs; ar_input *inputs;
  ar_map members; /* of the archive: the input that a member's bytes belong to */
  TY_VEC(ty_imported_decline) declined;
  int64_t least;  /* recorded minima up to 2 are taken as this at most, and there were such */
  bool lowered;
} ar_importer;

ty_status ar_meta_read(ar_importer *, const ar_scope *, const char *name, ar_meta *out); /* TY_UNSUPPORTED: a dtype or size we lack */
ty_status ar_define(ar_importer *, ar_scope *, const char *name, int value);             /* TY_INVALID when the name is taken */
int ar_value_new(ar_importer *, const char *name);                                       /* -1: no memory */
ty_status ar_number_read(ar_importer *, const ar_scope *, const char *kind, const char *name, ty_arg *out); /* kind: "sym_int_values".. */
ty_status ar_literal(ar_importer *, const char *key, json_object *value, ty_arg *out);   /* as_int, as_none and so on; TY_UNSUPPORTED: no literal */
const char *ar_reason(ar_importer *);                                                    /* the context's text without the place; in the arena */

/* inputs: all of the signature, users as graph inputs; outputs and what else the caller is told. */
ty_status ar_inputs(ar_importer *, ar_scope *, const ty_archive_options *);
ty_status ar_outputs(ar_importer *, ar_scope *);
ty_status ar_guards(ar_importer *);
bool ar_solve(ty_graph *, ty_dim, int *sym, int64_t *coef, int64_t *rest); /* d == coef * symbol + rest */

ty_status ar_read(ar_importer *, int value, ty_value **out);
ty_status ar_write(ar_importer *, int value, ty_value *now);
/* The results of a call whose argument 0 is `self` (-1: none): views of it, copies, or new memory, as the operator has it. */
ty_status ar_results(ar_importer *, const ar_call *, int self, ty_node *, int n, const int *values);
ty_status ar_as_strided(ar_importer *, ar_call *, int self); /* makes the call one that a flat copy of its argument has the answer of */
const char *ar_target(const char *target); /* without "torch.ops." */
#endif
