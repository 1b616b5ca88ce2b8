"""Inner loops of the compiled kernels under llvm-mca: cycles by its model of a CPU, and the share of that CPU's modelled peak.

mca.py [--arm BUILD] [--x86 BUILD] [--markdown FILE] [--only kernels|loops]: BUILD are Meson build directories; FILE's tables are replaced
by new ones, its text stays. The peak is what the model gives to
independent instructions of the kernel's own kind, so that shares say what the loop loses and not what the model thinks of a unit.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# Tier: its machine, tools, and the CPUs that run it.
ARM = ("aarch64", "aarch64-linux-gnu-objdump", "+sve,+bf16,+i8mm,+dotprod,+fullfp16")
X86 = ("x86_64", "objdump", "")
CPUS = {
    "neon": ("neoverse-n1", "neoverse-v1", "neoverse-v2"),
    "sve256": ("neoverse-v1",),
    "sve128": ("neoverse-v2",),
    "avx2": ("znver4", "sapphirerapids"),
    "avx512": ("znver4", "sapphirerapids"),
}
# What a kernel multiplies with; the last name that a loop has is its kind.
PRODUCTS = r"(fmla|bfdot|bfmmla|sdot|udot|usdot|smmla|ummla|usmmla|vfn?madd\d+ps|vdpbf16ps|vpdpbusds?)"
# Kernel: of which object, and its function's name.
TILE, FOUR, ONE, CONV = r"tier_gemm_(8_3|6_2)$", r"tier_gemm_4_(3|2)$", r"tier_gemm_1_(3|2)$", r"tier_conv_(8_3|6_2)$"
KERNELS = {
    "gemm f32": ("tier", TILE),
    "conv f32": ("tier", CONV),
    "gemm f32, 4 rows": ("tier", FOUR),
    "gemm f32, 1 row": ("tier", ONE),
    "gemm bf16": ("products(_mm)?", TILE),
    "conv bf16": ("products(_mm)?", CONV),
    "gemm bf16, 1 row": ("products(_mm)?", ONE),
    "gemm int8": ("products_(int8|mm8)", TILE),
    "gemm int8, 4 rows": ("products_(int8|mm8)", FOUR),
    "gemm int8, 1 row": ("products_(int8|mm8)", ONE),
    "depthwise 3x3": ("tier", r"tier_window_(8|6)_3_1$"),
    "exp": ("tier", r"tier_exp$"),
    "softmax row": ("tier", r"tier_softmax_row$"),
}


def mca_program() -> str:
    for name in ("llvm-mca-19", "llvm-mca"):
        if shutil.which(name):
            return name
    sys.exit("llvm-mca is not installed (Debian: llvm-19)")


class Code:
    """A function of an object: its instructions as (address, text)."""

    def __init__(self, lines):
        self.code = []
        for line in lines:
            m = re.match(r"\s*([0-9a-f]+):\s+(\S.*)", line)
            if m:
                self.code.append((int(m[1], 16), re.sub(r"\s+(# |//).*", "", m[2]).strip()))

    def loops(self):
        """Innermost loops: bodies that end in a branch back and have no other such branch inside."""
        at = {address: i for i, (address, _) in enumerate(self.code)}
        spans = []
        for i, (_, text) in enumerate(self.code):
            m = re.match(r"(b\.?\w*|cbn?z|tbn?z|j\w+)\s+(?:[wx]\d+, )?(?:#\w+, )?(?:0x)?([0-9a-f]+)\b", text)
            if m and m[1] not in ("bl", "br") and int(m[2], 16) in at and at[int(m[2], 16)] <= i:
                spans.append((at[int(m[2], 16)], i))
        inner = [s for s in spans if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
        return [[text for _, text in self.code[a : b + 1]] for a, b in inner]


def functions(obj: pathlib.Path, objdump: str) -> dict:
    text = subprocess.run([objdump, "-d", "--no-show-raw-insn", obj], capture_output=True, text=True, check=True).stdout
    parts = re.split(r"^[0-9a-f]+ <([^>]+)>:\n", text, flags=re.M)
    return {name: Code(body.splitlines()) for name, body in zip(parts[1::2], parts[2::2])}


def cycles(machine, cpu: str, body, tries: int = 400) -> float:
    """Cycles of one pass through the body, in the steady state by the model."""
    lines = []
    for text in body:
        text = re.sub(r"\b(?:0x)?[0-9a-f]+ <[^>]*>", "loop", text)
        lines.append(text.replace("{sae},", ""))
    with tempfile.NamedTemporaryFile("w", suffix=".s") as f:
        f.write("loop:\n" + "\n".join(lines) + "\n")
        f.flush()
        command = [mca_program(), f"-mtriple={machine[0]}-linux-gnu", f"-mcpu={cpu}", f"-iterations={tries}"]
        command += ["-resource-pressure=false", "-instruction-info=false", f.name]
        if machine[2] and cpu.startswith("neoverse"):
            command.insert(1, f"-mattr={machine[2] if cpu != 'neoverse-n1' else '+dotprod,+fullfp16'}")
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[:400])
    return int(re.search(r"Total Cycles: +(\d+)", done.stdout)[1]) / tries


def products(body):
    """Instructions of the kind that multiplies, and the one that stands for them."""
    found = [text for text in body if re.match(PRODUCTS + r"\b", text)]
    return len(found), (found[-1] if found else "")


def peak(machine, cpu: str, one: str) -> float:
    """Cycles that the model gives to one such instruction when nothing waits."""
    name = one.split()[0]
    if machine is X86:
        reg = "zmm" if "zmm" in one else "ymm"
        body = [f"{name} %{reg}30, %{reg}31, %{reg}{i}" if reg == "zmm" else f"{name} %{reg}14, %{reg}15, %{reg}{i}" for i in range(24 if reg == "zmm" else 12)]
    else:
        regs = re.findall(r"([zv])\d+\.(\w+)", one)
        kind = regs[0][0]
        predicate = ", p0/m" if "/m" in one else ""
        last = f".{regs[-1][1]}[0]" if re.search(r"\[\d\]", one) else "." + regs[-1][1]
        body = [f"{name} {kind}{i}.{regs[0][1]}{predicate}, {kind}30.{regs[1][1]}, {kind}{31 if '[' not in last else 7}{last}" for i in range(24) if i != 7]
    return cycles(machine, cpu, body) / len(body)


def tier_objects(build: pathlib.Path, tier: str) -> list:
    """(name, source's name, functions) of the tier's objects, those of CPUs that have more than the tier among them."""
    found = []
    for path in sorted(build.glob(f"src/kernel/lib*_{tier}*.a.p/*.o")):
        name = re.search(r"lib(?:ty_kernel|ty_products)_(\w+)\.a\.p$", str(path.parent))[1]
        found.append((name, path.name.removesuffix(".c.o"), path))
    return found


def rows(build: pathlib.Path, machine, tiers):
    for tier in tiers:
        objects = tier_objects(build, tier)
        code = {path: functions(path, machine[1]) for _, _, path in objects}
        for kernel, (source, pattern) in KERNELS.items():
            for tier_name, object_name, path in objects:
                names = [n for n in code[path] if re.fullmatch(source, object_name) and re.match(pattern, n)]
                for name in sorted(names)[-1:]:  # the widest
                    loops = [b for b in code[path][name].loops() if products(b)[0]]
                    if not loops:
                        continue
                    body = max(loops, key=lambda b: products(b)[0])
                    n, one = products(body)
                    for cpu in CPUS[tier]:
                        if cpu == "neoverse-n1" and "mm" in tier_name:
                            continue  # it has no such instructions
                        took, least = cycles(machine, cpu, body), n * peak(machine, cpu, one)
                        yield tier_name, kernel, cpu, one.split()[0], n, took, least / took


def replaced(text: str, tables: dict) -> str:
    """text with the tables that begin so in place of those it has, or at its end."""
    for head, lines in tables.items():
        new = "\n".join(lines) + "\n"
        old = re.search(rf"^{re.escape(head)}.*\n(?:\|.*\n)*", text, re.M)
        text = text[: old.start()] + new + text[old.end() :] if old else f"{text}\n{new}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", type=pathlib.Path, default=pathlib.Path("build-aarch64"))
    parser.add_argument("--x86", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--markdown", type=pathlib.Path)
    parser.add_argument("--only", choices=("kernels", "loops"))
    args = parser.parse_args()
    tables = {}
    if args.only != "loops":
        lines = ["| tier | kernel | CPU | instruction | of them in the loop | cycles | share of the modelled peak |", "|---|---|---|---|---|---|---|"]
        print(lines[0], lines[1], sep="\n")
        for build, machine, tiers in ((args.x86, X86, ("avx2", "avx512")), (args.arm, ARM, ("neon", "sve128", "sve256"))):
            for tier, kernel, cpu, name, n, took, share in rows(build, machine, tiers):
                lines.append(f"| {tier} | {kernel} | {cpu} | {name} | {n} | {took:.2f} | {share:.1%} |")
                print(lines[-1], flush=True)
        tables["| tier |"] = lines
    if args.only != "kernels":
        import mca_loops

        tables["| loop |"] = mca_loops.table(args.x86)
    if args.markdown:
        args.markdown.write_text(replaced(args.markdown.read_text() if args.markdown.exists() else "", tables))


if __name__ == "__main__":
    main()
