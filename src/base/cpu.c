/* cpu.c: the CPU record: ISA tier and extensions from cpuid, what the OS enables, cache sizes. Compiled without ISA flags. */
#include "base.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const isa_names[TY_NISA] = {"portable", "avx2", "avx512"};

static ty_cpu cpu; /* written once, under pthread_once */
static pthread_once_t cpu_once = PTHREAD_ONCE_INIT;

bool ty_isa_parse(const char *name, ty_isa *out) {
  for (int i = 0; i < TY_NISA; i++)
    if (!strcmp(name, isa_names[i])) return *out = (ty_isa)i, true;
  return false;
}

#if defined __x86_64__
#include <cpuid.h>

/* XCR0: which register files the OS saves. An inline instruction, as the intrinsic would need -mxsave. */
static uint64_t xcr0(void) {
  uint32_t lo, hi;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (uint64_t)hi << 32 | lo;
}

/* Intel SDM vol. 2A, CPUID leaves 1, 7.0 and 7.1; vol. 1 ch. 13 and 14 for the OS part. */
static void probe(ty_cpu *c) {
  uint32_t eax, ebx, ecx, edx, l7b, l7c, l7d, ignored;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return;
  if (!(ecx & bit_OSXSAVE) || !(ecx & bit_AVX)) return;
  bool fma = ecx & bit_FMA;
  uint64_t os = xcr0();
  if ((os & 0x6) != 0x6) return;
  if (!__get_cpuid_count(7, 0, &eax, &l7b, &l7c, &l7d)) return;
  uint32_t subleaves = eax, l71a = 0;
  if (subleaves >= 1) __get_cpuid_count(7, 1, &l71a, &ignored, &ignored, &ignored);
  if (!fma || !(l7b & bit_AVX2)) return;
  c->isa = TY_ISA_AVX2;
  uint32_t need = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  if ((l7b & need) != need || (os & 0xe6) != 0xe6) return;
  c->isa = TY_ISA_AVX512;
  c->avx512_vnni = l7c & (1u << 11);
  c->avx512_bf16 = l71a & (1u << 5);
  /* AMX tile and bf16, and the OS saves tiles. Linux wants arch_prctl(ARCH_REQ_XCOMP_PERM) before first use; that is
   * left to who uses tiles, because it changes what signal stacks the process needs. */
  c->amx_bf16 = (l7d & (1u << 24)) && (l7d & (1u << 22)) && (os & 0x60000) == 0x60000;
}
#else
/* aarch64 and others: the portable tier, until a probe by getauxval(AT_HWCAP) brings tiers of their own. */
static void probe(ty_cpu *c) { (void)c; }
#endif

static long sysfs_cache(int level) {
  for (int i = 0; i < 8; i++) {
    char path[96], type[16] = "";
    int lv = 0;
    long size = 0;
    char unit = 0;
    FILE *f;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
    if (!(f = fopen(path, "re"))) return 0;
    bool ok = fscanf(f, "%d", &lv) == 1;
    fclose(f);
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", i);
    if (!ok || lv != level || !(f = fopen(path, "re"))) continue;
    ok = fscanf(f, "%15s", type) == 1 && strcmp(type, "Instruction");
    fclose(f);
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
    if (!ok || !(f = fopen(path, "re"))) continue;
    ok = fscanf(f, "%ld%c", &size, &unit) >= 1;
    fclose(f);
    if (ok) return unit == 'M' ? size << 20 : unit == 'K' ? size << 10 : size;
  }
  return 0;
}

/* sysfs (it knows what one core shares; glibc's sysconf gives some virtual machines the whole socket's L3), then
 * sysconf, then a modest guess: tile sizes need some figure. */
static long cache_size(int level, int name, long guess) {
  long n = sysfs_cache(level);
  if (n <= 0 && name >= 0) n = sysconf(name);
  return n > 0 ? n : guess;
}

#ifdef _SC_LEVEL1_DCACHE_SIZE
enum { SC_L1D = _SC_LEVEL1_DCACHE_SIZE, SC_L2 = _SC_LEVEL2_CACHE_SIZE, SC_L3 = _SC_LEVEL3_CACHE_SIZE };
#else
enum { SC_L1D = -1, SC_L2 = -1, SC_L3 = -1 };
#endif

static void cpu_init(void) {
  probe(&cpu);
  const char *env = getenv("TUYERE_ISA");
  ty_isa want;
  if (env && *env) {
    if (!ty_isa_parse(env, &want))
      fprintf(stderr, "tuyere: TUYERE_ISA=%.40s ignored (known: portable, avx2, avx512)\n", env);
    else if (want < cpu.isa) cpu.isa = want;
  }
  if (cpu.isa < TY_ISA_AVX512) cpu.avx512_bf16 = cpu.avx512_vnni = cpu.amx_bf16 = false;
  cpu.isa_name = isa_names[cpu.isa];
  cpu.l1d = cache_size(1, SC_L1D, 32 << 10);
  cpu.l2 = cache_size(2, SC_L2, 1 << 20);
  cpu.l3 = cache_size(3, SC_L3, 4 << 20);
}

const ty_cpu *ty_cpu_get(void) {
  pthread_once(&cpu_once, cpu_init);
  return &cpu;
}
