/* pool.c: the SPMD thread pool: job hand-over, tree barrier, sleeping by futex, fork and exit. */
#define _GNU_SOURCE 1
#include "pool.h"

#include "base/base.h"
#include "rt/place.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where a thread waits for another: a value, and how many sleep on it. A line (and its prefetched neighbour) each. */
typedef struct word {
  _Alignas(128) _Atomic uint32_t v;
  _Atomic uint32_t sleepers;
} word;

typedef struct worker {
  _Alignas(128) _Atomic uint32_t asleep; /* futex: 1 while it sleeps for a job */
  uint64_t seen;                         /* the job word it starts from */
  _Atomic int cpu;                       /* where it was when its last run began */
  pthread_t thread;
} worker;

/* The job word: a run's number above, its thread count below. One word, because a worker that has no part in a run
 * must learn so without reading the job itself, which may change under it. */
enum { NT_BITS = 16, NT_STOP = 0xffff };

/* One pool a process is the design (threads must not multiply); all of it is zero until the first run. Every field is
 * atomic or written only by the owner of `busy`, so a fork needs no lock: the child just zeroes what is here. */
static struct {
  _Alignas(128) _Atomic uint64_t job;
  _Atomic int nsleep; /* workers asleep, or about to be */
  ty_pool_fn fn;      /* these four: written before `job`, read by its participants only */
  void *ctx;
  uint64_t fp;
  bool crowded; /* more threads than cores: waiting must not spin */
  int cpu;      /* the caller's */
  pthread_t caller;
  _Alignas(128) _Atomic int busy;
  int nworkers; /* created; worker[0] is unused, it is the caller */
  int cpus, spin_us;
  bool looked;     /* around: these six are known */
  ty_affinity affinity;
  int nplaces;     /* these four: where threads go, in order */
  ty_place place[TY_PLACES_MAX];
  short core[TY_CPUS_MAX]; /* of a CPU, from 1 on; 0: not known */
  bool nodes;      /* several */
  word gen;               /* barriers passed; the root moves it */
  word slot[TY_POOL_MAX]; /* the barrier that thread tid, and all below it in the tree, has reached */
  worker worker[TY_POOL_MAX];
} pool;

static _Atomic int threads_set, threads_default; /* 0: not set, not yet asked */
static const ty_pool_host *_Atomic host;
static pthread_once_t pool_once = PTHREAD_ONCE_INIT;

static void cpu_relax(void) {
#if defined __x86_64__
  __builtin_ia32_pause();
#elif defined __aarch64__
  __asm__ volatile("isb" ::: "memory");
#endif
}

/* Rounding and denormal control, without the sticky exception flags. */
static uint64_t fp_get(void) {
#if defined __x86_64__
  return __builtin_ia32_stmxcsr() & ~0x3fu;
#elif defined __aarch64__
  uint64_t x;
  __asm__ volatile("mrs %0, fpcr" : "=r"(x));
  return x;
#else
  return 0;
#endif
}

static void fp_set(uint64_t x) {
#if defined __x86_64__
  __builtin_ia32_ldmxcsr((unsigned)x);
#elif defined __aarch64__
  __asm__ volatile("msr fpcr, %0" ::"r"(x));
#else
  (void)x;
#endif
}

static void futex_wait(_Atomic uint32_t *p, uint32_t seen) {
  syscall(SYS_futex, p, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}
static void futex_wake(_Atomic uint32_t *p, int n) { syscall(SYS_futex, p, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0); }

/* Storing the value and looking for sleepers are both sequentially consistent, as are a sleeper's announcement and its
 * last look at the value: one of the two sees the other. */
static void word_set(word *w, uint32_t v) {
  atomic_store(&w->v, v);
  if (atomic_load(&w->sleepers)) futex_wake(&w->v, 1 << 30);
}

/* A peer that is late by more than this is descheduled or has far more work: the core is better given away, also
 * because an idle core pulls the peer over. Well below a time slice (3 ms), well above a wake-up. */
enum { LATE_US = 200, YIELDS = 16, PAUSES = 32 };

static bool word_spin(word *w, uint32_t want, int us) {
  double end = 0;
  do {
    for (int i = 0; i < PAUSES; i++) {
      if (atomic_load_explicit(&w->v, memory_order_acquire) == want) return true;
      cpu_relax();
    }
    if (!end) end = ty_now() + us * 1e-6;
  } while (ty_now() < end);
  for (int i = 0; i < YIELDS; i++) {
    if (atomic_load_explicit(&w->v, memory_order_acquire) == want) return true;
    sched_yield();
  }
  return false;
}

/* A word only ever moves to the value waited for and stays until the waiter moved on. */
static void word_wait(word *w, uint32_t want) {
  if (word_spin(w, want, pool.crowded ? 0 : LATE_US)) return;
  atomic_fetch_add(&w->sleepers, 1);
  for (uint32_t v; (v = atomic_load(&w->v)) != want;) futex_wait(&w->v, v);
  atomic_fetch_sub(&w->sleepers, 1);
}

/* The arrival half of the barrier: a tree of four children a thread, so that no line is fought for. A parent reads its children's lines one
 * after the other: 16 threads wait for eight lines in turn, 64 for twelve (with eight children 15 and 16; bench/scale.py). Returns the number of the barrier reached; the root has then seen all others. */
enum { FAN = 4 };

static uint32_t arrive(int tid, int nt) {
  uint32_t next = atomic_load_explicit(&pool.gen.v, memory_order_relaxed) + 1;
  for (int c = FAN * tid + 1; c <= FAN * tid + FAN && c < nt; c++) word_wait(&pool.slot[c], next);
  if (tid) word_set(&pool.slot[tid], next);
  return next;
}

void ty_pool_barrier(int tid, int nt) {
  if (nt <= 1) return;
  uint32_t next = arrive(tid, nt);
  if (tid) word_wait(&pool.gen, next);
  else word_set(&pool.gen, next);
}

/* True when the job word is news for this thread; news for others is only noted. */
static bool job_mine(uint64_t job, uint64_t *seen, int tid) {
  if (job == *seen) return false;
  *seen = job;
  int nt = (int)(job & NT_STOP);
  return tid < nt; /* NT_STOP is above any tid */
}

static uint64_t job_wait(uint64_t seen, int tid, int spin_us) {
  worker *me = &pool.worker[tid];
  double end = ty_now() + spin_us * 1e-6;
  do
    for (int i = 0; i < PAUSES; i++) {
      if (job_mine(atomic_load_explicit(&pool.job, memory_order_acquire), &seen, tid)) return seen;
      cpu_relax();
    }
  while (ty_now() < end);
  atomic_fetch_add(&pool.nsleep, 1);
  for (;;) { /* announced anew each time round: a waker may clear the flag late, after the run it meant */
    atomic_store(&me->asleep, 1);
    if (job_mine(atomic_load(&pool.job), &seen, tid)) break;
    futex_wait(&me->asleep, 1);
  }
  atomic_store(&me->asleep, 0);
  atomic_fetch_sub(&pool.nsleep, 1);
  return seen;
}

/* A worker's masks: all it may use, and what it set itself last. Where the system has another now, somebody else set that. */
typedef struct bounds { ty_cpus all, mine; } bounds;

static bool same_core(int a, int b) { return a == b || (a >= 0 && b >= 0 && pool.core[a] && pool.core[a] == pool.core[b]); }

static int cpu_of(int tid) { return tid ? atomic_load_explicit(&pool.worker[tid].cpu, memory_order_relaxed) : pool.cpu; }

/* Takes the CPU away, or its core. */
static void keep_off(ty_cpus *m, int cpu, bool core) {
  if (cpu < 0 || cpu >= TY_CPUS_MAX) return;
  ty_cpus_drop(m, cpu);
  for (int i = 0; i < pool.nplaces && core; i++)
    if (same_core(pool.place[i].cpu, cpu)) ty_cpus_drop(m, pool.place[i].cpu);
}

/* A sleeper is often woken on its waker's own CPU, and short waits never let the system's balancer see it: the two would
 * take turns for the whole run, at a spin a barrier. Such a worker steps aside to a core that no thread of this run is on (or else
 * to a CPU), and keeps off theirs until it meets one again: given back at once, it would be pulled over at the next wake-up. */
static void step_aside(int tid, int nt, bounds *b) {
  int cpu = sched_getcpu();
  bool cpu_shared = false, core_shared = false;
  for (int i = 0; i < tid && !cpu_shared; i++) {
    int other = cpu_of(i);
    cpu_shared = cpu == other;
    core_shared |= same_core(cpu, other);
  }
  ty_cpus now, callers;
  if (core_shared && !pool.crowded && pool.affinity == TY_AFFINITY_LOOSE && ty_cpus_get(&now)) {
    bool foreign = memcmp(&now, &b->mine, sizeof now) != 0;
    if (!foreign && memcmp(&now, &b->all, sizeof now)) /* set by itself, or the same by somebody who set the caller's with it */
      foreign = !pthread_getaffinity_np(pool.caller, sizeof callers.w, (cpu_set_t *)callers.w) && !memcmp(&now, &callers, sizeof now);
    if (foreign) b->all = now;
    ty_cpus cores = b->all, cpus = b->all;
    for (int i = 0; i < nt; i++)
      if (i != tid) keep_off(&cores, cpu_of(i), true), keep_off(&cpus, cpu_of(i), false);
    const ty_cpus *to = ty_cpus_count(&cores) ? &cores : cpu_shared && ty_cpus_count(&cpus) ? &cpus : NULL;
    if (to && ty_cpus_set(to)) b->mine = *to, cpu = sched_getcpu();
  }
  atomic_store_explicit(&pool.worker[tid].cpu, cpu, memory_order_relaxed);
}

/* At its start: bound to one CPU, or kept to a node, so that what it touches first stays near it. */
static void settle(int tid, bounds *b) {
  if (!ty_cpus_get(&b->all)) memset(&b->all, 0, sizeof b->all);
  b->mine = b->all;
  if (!pool.nplaces || pool.affinity == TY_AFFINITY_NONE || (pool.affinity == TY_AFFINITY_LOOSE && !pool.nodes)) return;
  const ty_place *at = &pool.place[tid % pool.nplaces];
  ty_cpus to = {{0}};
  for (int i = 0; i < pool.nplaces; i++) {
    const ty_place *p = &pool.place[i];
    if (pool.affinity == TY_AFFINITY_LOOSE ? p->node == at->node : p == at) ty_cpus_add(&to, p->cpu);
  }
  if (ty_cpus_set(&to)) b->all = b->mine = to;
}

/* The caller stands where a worker is bound to: moved once, and free again. */
static void make_way(int nt) {
  if (pool.affinity < TY_AFFINITY_CORES) return;
  ty_cpus was;
  for (int i = 1; i < nt && i < pool.nplaces; i++) {
    if (pool.place[i].cpu != pool.cpu || !ty_cpus_get(&was)) continue;
    ty_cpus to = was;
    for (int j = 1; j < nt && j < pool.nplaces; j++) ty_cpus_drop(&to, pool.place[j].cpu);
    if (ty_cpus_count(&to) && ty_cpus_set(&to)) pool.cpu = sched_getcpu(), ty_cpus_set(&was);
    return;
  }
}

static void *worker_main(void *arg) {
  int tid = (int)(intptr_t)arg;
  int spin_us = pool.spin_us;
  bounds b;
  settle(tid, &b);
  for (uint64_t seen = pool.worker[tid].seen;;) {
    seen = job_wait(seen, tid, spin_us);
    int nt = (int)(seen & NT_STOP);
    if (nt == NT_STOP) return NULL;
    fp_set(pool.fp);
    step_aside(tid, nt, &b);
    pool.fn(pool.ctx, tid, nt);
    spin_us = pool.crowded ? 0 : pool.spin_us;
    arrive(tid, nt);
  }
}

/* Announces a run of nt threads and wakes those workers below `end` that sleep. */
static void job_publish(int nt, int end) {
  uint64_t number = (atomic_load_explicit(&pool.job, memory_order_relaxed) >> NT_BITS) + 1;
  atomic_store(&pool.job, number << NT_BITS | (uint64_t)nt);
  if (atomic_load(&pool.nsleep))
    for (int i = 1; i < end; i++)
      if (atomic_exchange(&pool.worker[i].asleep, 0)) futex_wake(&pool.worker[i].asleep, 1);
}

/* The CPUs there are, before the first run of the process (or of a fork's child). */
static void look_around(void) {
  ty_cpus mask;
  int list[TY_CPUS_MAX], listed = 0;
  pool.nplaces = 0, pool.nodes = false, pool.looked = true;
  pool.cpus = ty_pool_usable_cpus();
  pool.affinity = ty_cpus_get(&mask) ? ty_affinity_asked(&mask, list, &listed) : TY_AFFINITY_NONE;
  if (pool.affinity == TY_AFFINITY_NONE) return;
  pool.nplaces = ty_places("", &mask, sched_getcpu(), pool.place);
  for (int i = 0; i < pool.nplaces; i++) {
    pool.nodes |= pool.place[i].node != pool.place[0].node;
    pool.core[pool.place[i].cpu] = (short)(pool.place[i].core + 1);
  }
  if (!listed) return;
  pool.nplaces = listed < TY_PLACES_MAX ? listed : TY_PLACES_MAX;
  for (int i = 0; i < pool.nplaces; i++) pool.place[i].cpu = list[i];
}

/* Grows the pool to n threads with the caller; returns what there is when the system gives no more. */
static int grow(int n) {
  if (pool.nworkers + 1 >= n) return n;
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are for the program's own threads */
  while (pool.nworkers + 1 < n) {
    int tid = pool.nworkers + 1;
    worker *w = &pool.worker[tid];
    w->seen = atomic_load_explicit(&pool.job, memory_order_relaxed);
    if (pthread_create(&w->thread, NULL, worker_main, (void *)(intptr_t)tid)) break;
    char name[16];
    snprintf(name, sizeof name, "tuyere-%d", tid & 0x3ff);
    pthread_setname_np(w->thread, name);
    pool.nworkers = tid;
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return pool.nworkers + 1 < n ? pool.nworkers + 1 : n;
}

/* The child of a fork has only the thread that forked. Whatever the others were doing with the pool is theirs. */
static void fork_child(void) {
  atomic_store(&pool.job, 0);
  atomic_store(&pool.nsleep, 0);
  atomic_store(&pool.gen.v, 0);
  atomic_store(&pool.gen.sleepers, 0);
  for (int i = 0; i < TY_POOL_MAX; i++) {
    atomic_store(&pool.slot[i].v, 0);
    atomic_store(&pool.slot[i].sleepers, 0);
    atomic_store(&pool.worker[i].asleep, 0);
  }
  pool.nworkers = 0, pool.looked = false;
  atomic_store(&host, NULL); /* its threads are gone, and it may not know */
  atomic_store(&threads_default, 0);
  atomic_store(&pool.busy, 0);
}

static void pool_init(void) {
  const char *s = getenv("TUYERE_SPIN_US");
  long us = s && *s ? strtol(s, NULL, 10) : 80;
  pool.spin_us = us < 0 ? 0 : us > 1000000 ? 1000000 : (int)us;
  pthread_atfork(NULL, NULL, fork_child);
}

/* At exit (or dlclose) idle workers are joined; the pool stays busy for ever, so late runs go inline. When a run is
 * under way in another thread the process is ending around it: then nothing can be waited for. */
__attribute__((destructor)) static void pool_exit(void) {
  if (atomic_exchange_explicit(&pool.busy, 1, memory_order_acquire) || !pool.nworkers) return;
  job_publish(NT_STOP, pool.nworkers + 1);
  for (int i = 1; i <= pool.nworkers; i++) pthread_join(pool.worker[i].thread, NULL);
}

int ty_pool_threads(void) {
  int n = atomic_load_explicit(&threads_set, memory_order_relaxed);
  if (n > 0) return n;
  n = atomic_load_explicit(&threads_default, memory_order_relaxed);
  if (n > 0) return n;
  n = ty_pool_default_threads();
  atomic_store_explicit(&threads_default, n, memory_order_relaxed);
  return n;
}

void ty_pool_set_threads(int n) {
  atomic_store_explicit(&threads_set, n <= 0 ? 0 : n < TY_POOL_MAX ? n : TY_POOL_MAX, memory_order_relaxed);
  if (n <= 0) atomic_store_explicit(&threads_default, 0, memory_order_relaxed);
}

void ty_pool_lend(const ty_pool_host *h) { atomic_store(&host, h); }

typedef struct lent { const ty_pool_host *host; int nt; } lent;

static void lent_main(void *arg) {
  lent *l = arg;
  int tid = l->host->thread_num(), nt = l->host->num_threads();
  if (!tid) {
    l->nt = nt;
    pool.fn(pool.ctx, 0, nt);
    return;
  }
  uint64_t fp = fp_get();
  bounds b;
  memset(&b, 0, sizeof b);
  fp_set(pool.fp);
  step_aside(tid, nt, &b);
  if (ty_cpus_count(&b.mine)) ty_cpus_set(&b.all); /* not ours to keep off anything: moved, and free again */
  pool.fn(pool.ctx, tid, nt);
  fp_set(fp);
}

int ty_pool_run(ty_pool_fn fn, void *ctx, int nt_wanted) {
  int nt = ty_pool_threads();
  if (nt_wanted > 0 && nt_wanted < nt) nt = nt_wanted;
  if (nt <= 1 || atomic_load_explicit(&pool.busy, memory_order_relaxed) ||
      atomic_exchange_explicit(&pool.busy, 1, memory_order_acquire)) {
    fn(ctx, 0, 1);
    return 1;
  }
  pthread_once(&pool_once, pool_init);
  if (!pool.looked) look_around();
  const ty_pool_host *h = atomic_load_explicit(&host, memory_order_acquire);
  if (pool.affinity != TY_AFFINITY_LOOSE || pool.nodes) h = NULL;
  if (!h) nt = grow(nt);
  pool.fn = fn;
  pool.ctx = ctx;
  pool.fp = fp_get();
  pool.crowded = nt > pool.cpus;
  pool.cpu = sched_getcpu(), pool.caller = pthread_self();
  if (h) {
    lent l = {h, 1};
    h->parallel(lent_main, &l, (unsigned)nt, 0);
    atomic_store_explicit(&pool.busy, 0, memory_order_release);
    return l.nt;
  }
  if (nt > 1) {
    make_way(nt);
    job_publish(nt, nt);
    fn(ctx, 0, nt);
    word_set(&pool.gen, arrive(0, nt)); /* all are done; nobody waits for gen here */
  }
  atomic_store_explicit(&pool.busy, 0, memory_order_release);
  if (nt <= 1) fn(ctx, 0, 1);
  return nt;
}
