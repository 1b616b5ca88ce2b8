/* cc.h: the C compiler driver: finds a compiler, says what it is, and runs it on emitted files without a shell. */
#ifndef TY_CC_H
#define TY_CC_H
#include "base/base.h"

enum { TY_CC_ARGS = 24, TY_CC_TEXT = 4096 };

/* A compiler command: its words lie one after the other in text, the first is the program's path. Copyable. */
typedef struct ty_cc {
  ty_arch arch; /* what it compiles for */
  bool zig;     /* `zig cc` spells targets its own way */
  int nargs, arg[TY_CC_ARGS];
  char text[TY_CC_TEXT];
} ty_cc;

/* What a compiler is: the first line of --version, and from it "gcc", "clang", "zig" or "other", and a number. */
typedef struct ty_cc_id {
  char version[256], family[16];
  int major;
} ty_cc_id;

/* Looks for a compiler: TUYERE_CC (may hold arguments; "none": do without), then cc, clang, gcc on the PATH, then
 * `zig` (the ziglang package's program, or a Python that has the package: the Python door knows; may be NULL), then the
 * ziglang package of python3 on the PATH. Runs nothing but, at last, python3. TY_COMPILER with the reason when there is none. */
ty_status ty_cc_find(ty_ctx *, const char *zig, ty_cc *out);

/* The same for another architecture: TUYERE_CC, if it makes code for that, aarch64-linux-gnu-gcc, then zig, which does for all. */
ty_status ty_cc_find_cross(ty_ctx *, ty_arch, ty_cc *out);

/* Runs `--version`, once a process for the same command. TY_COMPILER when that fails. */
ty_status ty_cc_identity(ty_ctx *, const ty_cc *, ty_cc_id *out);

/* The flags for a shared object at an ISA level, NULL-terminated, not yet with files and libraries; at most `max` with the NULL. */
int ty_cc_flags(const ty_cc *, ty_isa isa, const char **out, int max);

/* One file to compile, to a shared object or an object file. When it fails, out_path does not exist and text is the compiler's own, cut to a few KB. */
typedef struct ty_cc_job {
  const char *src_path, *out_path;
  ty_isa isa;
  bool object;
  ty_status status;
  char text[4096];
} ty_cc_job;

/* Compiles n files, at most `parallel` at once (<= 0: all). extra: more flags, NULL-terminated, or
 * NULL. Each is killed, with its children, after TUYERE_CC_TIMEOUT seconds (default 120). Returns the first job's
 * failure that there is, with its text in ctx; each job has its own status. */
ty_status ty_cc_compile_all(ty_ctx *, const ty_cc *, const char *const *extra, ty_cc_job *jobs, int n, int parallel);
ty_status ty_cc_compile(ty_ctx *, const ty_cc *, const char *src_path, const char *out_path, ty_isa isa,
                        const char *const *extra);
/* Links objects and libraries to a shared object that exports what the version script says, and needs libc, libm and libpthread only. */
ty_status ty_cc_link(ty_ctx *, const ty_cc *, const char *const *inputs, int n, const char *script, const char *out);
double ty_cc_timeout(void);
#endif
