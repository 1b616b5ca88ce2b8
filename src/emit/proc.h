/* proc.h: child processes with their output captured and a time limit, several at once, without a shell. */
#ifndef TY_PROC_H
#define TY_PROC_H
#include "base/base.h"

#include <sys/types.h>

/* A child. After ty_proc_wait: code is the exit status, 128 + signal when killed, -1 when the host program discards
 * its children's status (SIGCHLD ignored). Output beyond the buffer is read and dropped. */
typedef struct ty_proc {
  pid_t pid; /* 0: none, or done */
  int fd, code;
  bool timed_out;
  double deadline;
  char *text; /* stdout and stderr, 0-terminated */
  size_t size, n;
} ty_proc;

/* Starts argv (argv[0] is a path) in a process group of its own, with this process's environment and `env` (NULL, or
 * NULL-terminated "NAME=value", at most TY_PROC_ENV) before it. False with the reason in `text` when it cannot. */
enum { TY_PROC_ENV = 4 };
bool ty_proc_start(ty_proc *, char *const argv[], const char *const *env, double timeout, char *text, size_t size);
/* Waits until one of the n children ends or is killed for its deadline; its index, -1 when none is running. */
int ty_proc_wait(ty_proc *, int n);
#endif
