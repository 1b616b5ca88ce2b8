/* model.h: what stands behind the public handles tuyere_model and tuyere_context. */
#ifndef TY_RT_MODEL_H
#define TY_RT_MODEL_H
#include "rt/face.h"

#include <stdatomic.h>

/* A context is a ty_ctx. */
static inline ty_ctx *ty_ctx_of(tuyere_context *c) { return (ty_ctx *)c; }

typedef struct ty_model_owner { /* who made the model */
  void (*destroy)(void *self);
  char *(*explain)(const void *self); /* NULL: nothing to tell */
} ty_model_owner;

struct tuyere_model {
  _Atomic int refs;          /* the caller and sessions */
  ty_face face;
  ty_program *program;       /* NULL: an archive */
  void **inputs;             /* by the program's input: memory of parameters; NULL where the caller's comes. face.program_inputs of them */
  const ty_model_owner *owner;
  void *self;                /* the owner's; owns program, and what inputs point to */
};

/* An empty one of an owner; NULL: no memory. */
tuyere_model *ty_model_new(const ty_model_owner *, void *self);
tuyere_model *ty_model_hold(tuyere_model *);
#endif
