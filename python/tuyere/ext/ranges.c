/* ranges.c: torch.profiler sees each step of a run as a range of its own. */
#include "program.h"
#include <string.h>

bool ext_profiler_on(ext_state *st) {
  return st->range_type && st->profiler_dict && PyDict_GetItem(st->profiler_dict, st->profiler_flag) == Py_True;
}

static PyObject *range_new(ext_program *p, int step) {
  ty_step_stat s = { 0 };
  const char *name = p->name ? p->name : "program";
  if (step >= 0) {
    ty_program_stat(p->sets[0]->program, step, &s);
    name = s.name && *s.name ? s.name : s.kernel;
  }
  return PyObject_CallFunction(p->st->range_type, "N", PyUnicode_FromFormat("tuyere::%s", name));
}

/* Ranges belong to the frame: one may be open once at a time, and a frame serves one call at a time. */
void ext_range(ext_program *p, ext_frame *f, int step, bool begin) {
  if (!f->ranges) {
    int n = ty_program_nsteps(p->sets[0]->program) + 1;
    if (!(f->ranges = ty_alloc((size_t)n * sizeof *f->ranges))) return;
    f->nranges = n;
  }
  if (step + 1 >= f->nranges) return;
  PyObject **range = &f->ranges[step + 1];
  if (!*range) *range = range_new(p, step);
  PyObject *r = NULL;
  if (*range && begin) r = PyObject_CallMethodObjArgs(*range, p->st->s_enter, NULL);
  else if (*range) r = PyObject_CallMethodObjArgs(*range, p->st->s_exit, Py_None, Py_None, Py_None, NULL);
  if (!r) PyErr_Clear(); /* a profile that lacks a range is better than a call that fails */
  Py_XDECREF(r);
}
