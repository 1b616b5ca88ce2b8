/* cpu.c: the CPU record: levels and extensions from cpuid or the kernel's word, what the OS enables, cache sizes. Compiled without ISA flags. */
#include "base.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct { const char *name; ty_arch arch; } isas[TY_NISA] = {
#define TY_ISA(id, name, arch) {#name, arch},
#include "isa.def"
#undef TY_ISA
};
const char *ty_isa_name(ty_isa isa) { return isas[isa].name; }
const char *ty_arch_name(ty_arch a) { return a == TY_ARCH_X86_64 ? "x86_64" : a == TY_ARCH_AARCH64 ? "aarch64" : "any"; }
ty_arch ty_isa_arch(ty_isa isa) { return isas[isa].arch; }

/* What TUYERE_ISA may say beyond levels: one with some of its extensions. A level's own name leaves all of them out. */
static const struct { const char *name; ty_isa isa; bool vnni, bf16, mm; } extended[] = {{"avx512_vnni", TY_ISA_AVX512, true, false, false},
                                                                                        {"avx512_bf16", TY_ISA_AVX512, true, true, false},
                                                                                        {"neon_mm", TY_ISA_NEON, false, false, true}};
enum { NEXTENDED = sizeof extended / sizeof *extended };

static ty_cpu cpu; /* written once, under pthread_once */
static pthread_once_t cpu_once = PTHREAD_ONCE_INIT;

bool ty_isa_parse(const char *name, ty_isa *out) {
  for (int i = 0; i < TY_NISA; i++)
    if (!strcmp(name, isas[i].name)) return *out = (ty_isa)i, true;
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
  c->levels |= 1u << TY_ISA_AVX2;
  uint32_t need = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  if ((l7b & need) != need || (os & 0xe6) != 0xe6) return;
  c->levels |= 1u << TY_ISA_AVX512;
  c->avx512_vnni = l7c & (1u << 11);
  c->avx512_bf16 = l71a & (1u << 5);
  /* AMX tile and bf16, and the OS saves tiles. Linux wants arch_prctl(ARCH_REQ_XCOMP_PERM) before first use; that is
   * left to who uses tiles, because it changes what signal stacks the process needs. */
  c->amx_bf16 = (l7d & (1u << 24)) && (l7d & (1u << 22)) && (os & 0x60000) == 0x60000;
}
#elif defined __aarch64__
#include <sys/auxv.h>
#include <sys/prctl.h>

/* Linux, Documentation/arch/arm64/elf_hwcaps.rst and sve.rst; the bits are its ABI, and older headers lack some. A level wants all
 * that its compiler flags allow: those of Armv8.2-A include CRC, LSE atomics and rounding doubling products. */
enum { CRC32 = 1 << 7, ATOMICS = 1 << 8, FPHP = 1 << 9, ASIMDHP = 1 << 10, ASIMDRDM = 1 << 12, ASIMDDP = 1 << 20, SVE = 1 << 22 };
enum { SVEI8MM = 1 << 9, SVEBF16 = 1 << 12, I8MM = 1 << 13, BF16 = 1 << 14 };
#ifndef PR_SVE_GET_VL
enum { PR_SVE_GET_VL = 51, PR_SVE_VL_LEN_MASK = 0xffff };
#endif

static void probe(ty_cpu *c) {
  const unsigned long neon = CRC32 | ATOMICS | FPHP | ASIMDHP | ASIMDRDM | ASIMDDP, sve2 = SVEI8MM | SVEBF16 | I8MM | BF16;
  unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
  if ((cap & neon) != neon) return;
  c->levels |= 1u << TY_ISA_NEON;
  c->arm_mm = (cap2 & (I8MM | BF16)) == (I8MM | BF16);
  if (!(cap & SVE) || (cap2 & sve2) != sve2) return;
  int vl = prctl(PR_SVE_GET_VL);
  if (vl < 0) return;
  vl &= PR_SVE_VL_LEN_MASK; /* bytes; code for one length runs at no other */
  if (vl == 16) c->levels |= 1u << TY_ISA_SVE128;
  if (vl == 32) c->levels |= 1u << TY_ISA_SVE256;
}
#else
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

/* Whether TUYERE_ISA may name it. */
static bool is_here(int isa) { return isas[isa].arch == TY_ARCH_ANY || isas[isa].arch == TY_ARCH_HERE; }

static void unknown_level(const char *env) {
  fprintf(stderr, "tuyere: TUYERE_ISA=%.40s ignored (known: %s", env, isas[0].name);
  for (int i = 1; i < TY_NISA; i++)
    if (is_here(i)) fprintf(stderr, ", %s", isas[i].name);
  for (int i = 0; i < NEXTENDED; i++)
    if (is_here((int)extended[i].isa)) fprintf(stderr, ", %s", extended[i].name);
  fprintf(stderr, ")\n");
}

/* Takes out what env does not name; the highest level it leaves. */
static ty_isa lower(ty_cpu *c, const char *env) {
  ty_isa most = TY_NISA - 1;
  for (int i = 0; i < NEXTENDED; i++)
    if (!strcmp(env, extended[i].name) && is_here((int)extended[i].isa)) {
      c->avx512_vnni &= extended[i].vnni, c->avx512_bf16 &= extended[i].bf16, c->arm_mm &= extended[i].mm, c->amx_bf16 = false;
      return extended[i].isa;
    }
  if (!ty_isa_parse(env, &most) || !is_here((int)most)) {
    unknown_level(env);
    return TY_NISA - 1;
  }
  c->avx512_vnni = c->avx512_bf16 = c->amx_bf16 = c->arm_mm = false;
  return most;
}

static void cpu_init(void) {
  const char *env = getenv("TUYERE_ISA");
  cpu.levels = 1u << TY_ISA_PORTABLE;
  probe(&cpu);
  ty_isa most = env && *env ? lower(&cpu, env) : TY_NISA - 1;
  cpu.levels &= (2u << most) - 1;
  for (int i = 0; i < TY_NISA; i++)
    if (cpu.levels >> i & 1) cpu.isa = (ty_isa)i;
  if (cpu.isa != TY_ISA_AVX512) cpu.avx512_bf16 = cpu.avx512_vnni = cpu.amx_bf16 = false;
  cpu.isa_name = isas[cpu.isa].name;
  cpu.l1d = cache_size(1, SC_L1D, 32 << 10);
  cpu.l2 = cache_size(2, SC_L2, 1 << 20);
  cpu.l3 = cache_size(3, SC_L3, 4 << 20);
}

const ty_cpu *ty_cpu_get(void) {
  pthread_once(&cpu_once, cpu_init);
  return &cpu;
}
