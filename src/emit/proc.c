/* proc.c: child processes by posix_spawn, their output through a pipe, killed as a group at their deadline. */
#define _GNU_SOURCE 1
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* What comes first counts: getenv takes the first of equal names. */
static char **environ_with(const char *const *env) {
  size_t n = 0, k = 0;
  while (environ && environ[n]) n++;
  char **all = ty_alloc((n + TY_PROC_ENV + 1) * sizeof *all);
  if (!all) return NULL;
  for (; env[k] && k < TY_PROC_ENV; k++) all[k] = (char *)env[k];
  for (size_t i = 0; i < n; i++) all[k++] = environ[i];
  return all;
}

bool ty_proc_start(ty_proc *p, char *const argv[], const char *const *env, double timeout, char *text, size_t size) {
  *p = (ty_proc){.fd = -1, .text = text, .size = size, .deadline = ty_now() + timeout};
  text[0] = 0;
  int fd[2];
  char **envp = env ? environ_with(env) : environ;
  if (env && !envp) return snprintf(text, size, "out of memory"), false;
  if (pipe2(fd, O_CLOEXEC)) {
    snprintf(text, size, "pipe: %s", strerror(errno));
    if (env) ty_free(envp);
    return false;
  }
  posix_spawn_file_actions_t fa;
  posix_spawnattr_t at;
  posix_spawn_file_actions_init(&fa);
  posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&fa, fd[1], 1);
  posix_spawn_file_actions_adddup2(&fa, fd[1], 2);
  posix_spawnattr_init(&at);
  sigset_t none, dfl;
  sigemptyset(&none);
  sigemptyset(&dfl);
  sigaddset(&dfl, SIGPIPE); /* Python ignores it; a compiler must not inherit that */
  sigaddset(&dfl, SIGCHLD);
  posix_spawnattr_setsigmask(&at, &none);
  posix_spawnattr_setsigdefault(&at, &dfl);
  posix_spawnattr_setpgroup(&at, 0); /* so that a kill reaches cc1 and as too */
  posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t pid;
  int err = posix_spawn(&pid, argv[0], &fa, &at, argv, envp);
  if (env) ty_free(envp);
  posix_spawn_file_actions_destroy(&fa);
  posix_spawnattr_destroy(&at);
  close(fd[1]);
  if (err) {
    close(fd[0]);
    snprintf(text, size, "%s: %s", argv[0], strerror(err));
    return false;
  }
  fcntl(fd[0], F_SETFL, O_NONBLOCK);
  p->pid = pid;
  p->fd = fd[0];
  return true;
}

/* Takes what is there; false at the end of the stream. */
static bool drain(ty_proc *p) {
  char chunk[4096];
  for (;;) {
    ssize_t r = read(p->fd, chunk, sizeof chunk);
    if (r < 0 && errno == EINTR) continue;
    if (r < 0) return errno == EAGAIN;
    if (r == 0) return false;
    size_t room = p->size - 1 - p->n, k = (size_t)r < room ? (size_t)r : room;
    memcpy(p->text + p->n, chunk, k);
    p->n += k;
    p->text[p->n] = 0;
  }
}

static void finish(ty_proc *p, int status, bool known) {
  if (p->fd >= 0) {
    drain(p);
    close(p->fd);
    p->fd = -1;
  }
  p->pid = 0;
  p->code = !known ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool reap(ty_proc *p, int flags) {
  int st = 0;
  pid_t r;
  do r = waitpid(p->pid, &st, flags);
  while (r < 0 && errno == EINTR);
  if (r == 0) return false;
  finish(p, st, r > 0);
  return true;
}

enum { POLL_MAX = 64 };

int ty_proc_wait(ty_proc *p, int n) {
  for (int nap = 1;; nap = nap < 20 ? nap * 2 : 20) {
    struct pollfd fds[POLL_MAX];
    int running = 0, nfds = 0;
    double now = ty_now();
    for (int i = 0; i < n; i++) {
      if (!p[i].pid) continue;
      running++;
      /* Its end is seen by waitpid and not by the pipe, which a grandchild may hold open. */
      if (reap(&p[i], WNOHANG)) return i;
      if (now > p[i].deadline) {
        kill(-p[i].pid, SIGKILL);
        p[i].timed_out = true;
        reap(&p[i], 0);
        return i;
      }
      if (p[i].fd >= 0 && nfds < POLL_MAX) fds[nfds++] = (struct pollfd){.fd = p[i].fd, .events = POLLIN};
    }
    if (!running) return -1;
    poll(fds, (nfds_t)nfds, nap);
    for (int i = 0; i < n; i++)
      if (p[i].pid && p[i].fd >= 0 && !drain(&p[i])) {
        close(p[i].fd);
        p[i].fd = -1;
        nap = 1; /* about to end: look soon */
      }
  }
}
