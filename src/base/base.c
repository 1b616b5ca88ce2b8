/* base.c: status names, the context with its error text and log, and the clock. */
#include "base.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* The text has a fixed place: reporting "out of memory" must not need memory. */
enum { ERROR_MAX = 8192 };

struct ty_ctx {
  ty_log_fn log;
  void *log_user;
  size_t n;
  char text[ERROR_MAX];
};

const char *ty_status_name(ty_status s) {
  switch (s) {
  case TY_OK: return "ok";
  case TY_INVALID: return "invalid";
  case TY_UNSUPPORTED: return "unsupported";
  case TY_NOMEM: return "out of memory";
  case TY_IO: return "i/o error";
  case TY_COMPILER: return "compiler error";
  case TY_INTERNAL: return "internal error";
  }
  return "unknown status";
}

/* Without a door that listens, a log line goes to stderr. */
static void log_stderr(void *user, const char *text) {
  (void)user;
  fprintf(stderr, "tuyere: %s\n", text);
}

ty_ctx *ty_ctx_create(void) {
  ty_ctx *ctx = ty_alloc(sizeof *ctx);
  if (ctx) ctx->log = log_stderr;
  return ctx;
}

void ty_ctx_destroy(ty_ctx *ctx) { ty_free(ctx); }

void ty_ctx_set_log(ty_ctx *ctx, ty_log_fn fn, void *user) {
  ctx->log = fn ? fn : log_stderr;
  ctx->log_user = user;
}

void ty_log(ty_ctx *ctx, const char *fmt, ...) {
  ty_str s = { 0 };
  va_list ap;
  va_start(ap, fmt);
  ty_str_vadd(&s, fmt, ap);
  va_end(ap);
  const char *text = s.p && !s.failed ? s.p : "(no memory for a message)";
  if (ctx) ctx->log(ctx->log_user, text);
  else log_stderr(NULL, text);
  ty_str_free(&s);
}

/* Puts the formatted text at `at`, cutting with "..." what does not fit. Formats aside first, because an argument
 * may be the error text itself. */
static void text_put(ty_ctx *ctx, size_t at, bool newline, const char *fmt, va_list ap) {
  char line[ERROR_MAX];
  int r = vsnprintf(line, sizeof line, fmt, ap);
  size_t n = r < 0 ? 0 : (size_t)r < sizeof line ? (size_t)r : sizeof line - 1;
  bool cut = r >= 0 && (size_t)r > n;
  if (newline && at + 1 < sizeof ctx->text) ctx->text[at++] = '\n';
  if (n > sizeof ctx->text - 1 - at) n = sizeof ctx->text - 1 - at, cut = true;
  memcpy(ctx->text + at, line, n);
  ctx->n = at + n;
  ctx->text[ctx->n] = 0;
  if (cut && ctx->n >= 3) memcpy(ctx->text + ctx->n - 3, "...", 3);
}

ty_status ty_fail(ty_ctx *ctx, ty_status s, const char *fmt, ...) {
  if (!ctx) return s;
  va_list ap;
  va_start(ap, fmt);
  text_put(ctx, 0, false, fmt, ap);
  va_end(ap);
  return s;
}

ty_status ty_note(ty_ctx *ctx, ty_status s, const char *fmt, ...) {
  if (!ctx) return s;
  va_list ap;
  va_start(ap, fmt);
  text_put(ctx, ctx->n, ctx->n > 0, fmt, ap);
  va_end(ap);
  return s;
}

const char *ty_ctx_error(const ty_ctx *ctx) { return ctx ? ctx->text : ""; }

void ty_ctx_clear(ty_ctx *ctx) {
  ctx->n = 0;
  ctx->text[0] = 0;
}

double ty_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
