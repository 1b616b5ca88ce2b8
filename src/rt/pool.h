/* pool.h: the process's one thread pool: a function is run by n threads together (SPMD), with a barrier between them.
 *
 * Where threads run (TUYERE_AFFINITY): the caller's thread is the program's own and is never bound. By default a worker keeps to
 * the node of memory of its place (place.h) and moves away when it finds itself on the core of another; with "cores" or a list each
 * worker is bound to one CPU, the first being left to the caller, who is moved off a worker's CPU where he stands on one; "none"
 * leaves all to the system. A lent thread (below) that wakes on the core of another is moved off it once, with its mask as it was. No thread
 * ever leaves the mask that it was given from outside. */
#ifndef TY_POOL_H
#define TY_POOL_H

/* What the threads of a run execute: tid is 0..nt-1, thread 0 is the caller. It must not fork or exit. */
typedef void (*ty_pool_fn)(void *ctx, int tid, int nt);

enum { TY_POOL_MAX = 256 };

/* Runs fn on nt threads, nt = min(nt_wanted, ty_pool_threads()) (nt_wanted <= 0: all), and returns nt once all are
 * done. When the pool is busy with another caller's run, or inside a run, fn(ctx, 0, 1) runs inline in the caller:
 * callers never wait for each other. When threads cannot be created nt is smaller than wanted: fn goes by its nt.
 * Workers take the caller's rounding mode and denormal flags. Threads are created at the first run that needs them. */
int ty_pool_run(ty_pool_fn fn, void *ctx, int nt_wanted);

/* All nt threads of the run wait for each other; what they wrote before it is seen by all after it. Only inside fn,
 * with the tid and nt that fn got, by all of its threads. Nothing to do for nt == 1. */
void ty_pool_barrier(int tid, int nt);

/* Threads of another pool of this process for runs: those of an OpenMP library whose idle threads spin for milliseconds (PyTorch's, where it has
 * work of its own between runs) and would keep ours from their cores. As in libgomp's interface: `parallel` calls fn(data) on up to nt threads,
 * the caller's among them, and returns when all are done; within, thread_num and num_threads tell them apart. Callers still never wait
 * for each other. Not used where TUYERE_AFFINITY says where threads go, with several nodes of memory, or in a child of fork, where ours are
 * made. The object must live as long as the process; NULL: none. Any thread; counts from the next run. */
typedef struct ty_pool_host {
  void (*parallel)(void (*fn)(void *), void *data, unsigned nt, unsigned flags);
  int (*thread_num)(void);
  int (*num_threads)(void);
} ty_pool_host;
void ty_pool_lend(const ty_pool_host *);

/* Threads of a run: what was set, or else the default. ty_pool_set_threads(n) with n <= 0 goes back to the default;
 * more than the cores is obeyed (waits then sleep instead of spinning). Any thread, any time; counts from the next run. */
int ty_pool_threads(void);
void ty_pool_set_threads(int n);

/* Without a setting: the cores this process may use; else the least of TUYERE_NUM_THREADS, OMP_NUM_THREADS and the length of a
 * list in TUYERE_AFFINITY, and no more than its CPUs. At least 1. Read afresh at each call. */
int ty_pool_default_threads(void);
/* The least of affinity mask and cgroup cpu quota rounded up: counting CPUs, or cores (SMT siblings are one). */
int ty_pool_usable_cpus(void);
int ty_pool_usable_cores(void);
/* The cgroup cpu quota (v2 cpu.max, v1 cpu.cfs_quota_us; least of the own group and its parents) rounded up to
 * cores; 0: no limit. `root` is put before /proc and /sys, "" outside of tests. */
int ty_pool_cgroup_cores(const char *root);
#endif
