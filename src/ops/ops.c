/* ops.c: the table of operators, made from prims.def and ops.def, with look-up by name and schemas parsed at first use. */
#include "ops_int.h"

#include <stdatomic.h>
#include <string.h>

ty_status ty_core_prim_infer(ty_graph *, ty_node *);
#undef TY_OP_CORE
#define TY_OP_CORE(id, name, schema, family, param) ty_status ty_##family##_infer(ty_graph *, ty_node *);
#define TY_OP(id, name, schema, family, param)             \
  ty_status ty_##family##_infer(ty_graph *, ty_node *);    \
  ty_status ty_##family##_lower(ty_graph *, ty_node *, ty_value **);
#include "ops.def"
#undef TY_OP_CORE
#undef TY_OP

#define PRIM_SCHEMA_1 "(Tensor a) -> Tensor"
#define PRIM_SCHEMA_2 "(Tensor a, Tensor b) -> Tensor"
#define PRIM_SCHEMA_3 "(Tensor a, Tensor b, Tensor c) -> Tensor"

static const ty_op_info infos[TY_NOP] = {
#define TY_PRIM(name, arity, result, f, i, b) {"ty." #name, PRIM_SCHEMA_##arity, TY_P_##name, ty_core_prim_infer, NULL},
#include "loop/prims.def"
#undef TY_PRIM
#define TY_OP_CORE(id, name, schema, family, param) {name, schema, param, ty_##family##_infer, NULL},
#define TY_OP(id, name, schema, family, param) {name, schema, param, ty_##family##_infer, ty_##family##_lower},
#include "ops.def"
#undef TY_OP_CORE
#undef TY_OP
};

const ty_op_info *ty_op_get(int op) { return &infos[op]; }

/* Derived from the constant table, built by whoever needs it first and never changed after: schemas and the name index. When
 * memory runs out nothing is published and the next caller tries again. */
enum { INDEX = 4096 };
_Static_assert(TY_NOP * 2 <= INDEX, "name index too small");
typedef struct derived {
  ty_arena arena;
  ty_schema schema[TY_NOP];
  int16_t index[INDEX]; /* op + 1, open addressing */
} derived;
static derived *_Atomic published;

static uint32_t name_hash(const char *s) {
  uint32_t h = 2166136261u;
  for (; *s; s++) h = (h ^ (uint8_t)*s) * 16777619u;
  return h ^ h >> 15;
}

static derived *derive(void) {
  derived *d = atomic_load_explicit(&published, memory_order_acquire);
  if (d) return d;
  if (!(d = ty_alloc(sizeof *d))) return NULL;
  for (int i = 0; i < TY_NOP; i++) {
    const char *why;
    if (!ty_schema_parse(infos[i].schema, &d->arena, &d->schema[i], &why)) {
      if (d->arena.failed) {
        ty_arena_free(&d->arena);
        ty_free(d);
        return NULL;
      }
      d->schema[i] = (ty_schema){.nargs = -1}; /* a broken row: a test finds it, ty_build refuses it */
    }
    uint32_t h = name_hash(infos[i].name);
    while (d->index[h % INDEX]) h++;
    d->index[h % INDEX] = (int16_t)(i + 1);
  }
  derived *other = NULL;
  if (atomic_compare_exchange_strong(&published, &other, d)) return d;
  ty_arena_free(&d->arena);
  ty_free(d);
  return other;
}

const ty_schema *ty_op_schema(int op) {
  derived *d = derive();
  return d ? &d->schema[op] : NULL;
}

int ty_op_find(const char *name) {
  derived *d = derive();
  if (!d) { /* without memory the slow way is still right */
    for (int i = 0; i < TY_NOP; i++)
      if (!strcmp(infos[i].name, name)) return i;
    return -1;
  }
  for (uint32_t h = name_hash(name); d->index[h % INDEX]; h++)
    if (!strcmp(infos[d->index[h % INDEX] - 1].name, name)) return d->index[h % INDEX] - 1;
  return -1;
}
