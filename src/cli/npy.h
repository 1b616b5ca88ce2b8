/* npy.h: tensors in NumPy's .npy files (versions 1, 2 and 3 of the format, numpy/lib/format.py). */
#ifndef TY_CLI_NPY_H
#define TY_CLI_NPY_H
#include "base/base.h"

typedef struct ty_npy { ty_dtype dtype; int rank; int64_t shape[TY_MAX_RANK]; void *data; size_t bytes; } ty_npy; /* C order, this machine's bytes */

/* Reads a file, whatever its order in memory and its byte order. Hostile files are in scope: what is not as the format wants
 * it, structured dtypes, pickled objects and dtypes that no tensor has are refused, and never more memory is taken than
 * the file has. TY_IO, TY_INVALID or TY_UNSUPPORTED with the path in the text. */
ty_status ty_npy_read(ty_ctx *, const char *path, ty_npy *out);
void ty_npy_free(ty_npy *);
/* Writes contiguous data. bfloat16, which NumPy has not, is its bits as uint16, as tuyere.load has it; ml_dtypes' own ("V2") is read as well. */
ty_status ty_npy_write(ty_ctx *, const char *path, const ty_npy *);
#endif
