"""Emitted loops (GELU, softmax, layer norm on a row of 768) under llvm-mca beside plain C for the same: cycles an element.

What runs is followed instruction by instruction (under qemu for AArch64, by ptrace here), and the whole of it, calls into libm
included, is put to llvm-mca as one straight piece of code. For this machine the same calls are measured besides. For mca.py."""

import pathlib
import re
import shutil
import subprocess
import tempfile

import mca

COLS = 768
LOOPS = ("gelu", "softmax", "layer_norm")
HERE = pathlib.Path(__file__).parent
# Name, tier, models of llvm-mca, qemu's CPU (None: here), flags that gcc and clang get for plain C.
TARGETS = (
    ("neoverse-n1", "neon", ("neoverse-n1",), "neoverse-n1", "-mcpu=neoverse-n1", "-mcpu=neoverse-n1"),
    ("neoverse-v1", "sve256", ("neoverse-v1",), "max,sve256=on", "-mcpu=neoverse-v1", "-mcpu=neoverse-v1"),
    ("neoverse-v2", "sve128", ("neoverse-v2",), "max,sve128=on", "-mcpu=demeter", "-mcpu=neoverse-v2"),  # gcc 12's name for it
    ("x86-64-v4", "avx512", ("znver4", "sapphirerapids"), None, "-march=x86-64-v4", "-march=x86-64-v4"),
)


def run(*command, **more) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stderr[:2000]}")
    return done.stdout


def compilers(arm: bool) -> list[tuple[str, list[str]]]:
    clang = next((c for c in ("clang-19", "clang") if shutil.which(c)), None)
    found = [("gcc", ["aarch64-linux-gnu-gcc"] if arm else ["gcc"])]
    if clang:
        found.append(("clang", [clang, "--target=aarch64-linux-gnu"] if arm else [clang]))
    return found


def binaries(folder: pathlib.Path, emitted: pathlib.Path, target):
    """(who, program) for emitted code by each compiler, and for plain C without and with -ffast-math."""
    name, tier, _, qemu, *plain_flags = target
    text = folder / "emitted.c"
    text.write_text(run(emitted))
    root = HERE.parent
    for i, (who, cc) in enumerate(compilers(qemu is not None)):
        known = set()
        flags = [f for f in run(emitted, tier).split() if f not in ("-shared", "-nostdlib") and not f.startswith("-Wl,")]
        if who == "clang":
            known = {"-fmax-errors=3", "-fno-semantic-interposition"}  # gcc's own
        for label, source, how in (
            (f"emitted, {who}", text, [f for f in flags if f not in known]),
            (f"plain, {who}", HERE / "loops/plain.c", ["-O3", plain_flags[i]]),
            (f"plain, {who} -ffast-math", HERE / "loops/plain.c", ["-O3", plain_flags[i], "-ffast-math"]),
        ):
            program = folder / re.sub(r"\W+", "-", f"{name}-{label}")
            run(*cc, *how, "-c", source, "-o", f"{program}.o")
            gcc = compilers(qemu is not None)[0][1]
            plain = ["-DPLAIN"] if label.startswith("plain") else []
            libs = ["-lm"] if qemu else ["-lmvec", "-lm"]
            run(*gcc, "-O1", *plain, f"-I{root}/include", HERE / "loops/harness.c", f"{program}.o", "-static", "-no-pie", "-o", program, *libs)
            yield label, program


def trace(program: pathlib.Path, loop: str, qemu: str | None) -> list[int]:
    """Addresses of the instructions of one call, in order."""
    mark = int(re.search(r"^([0-9a-f]+) \w mark$", run("nm", program), re.M)[1], 16)
    if qemu is None:
        at = [int(line, 16) for line in run(program, loop, "trace").split()]
    else:
        log = f"{program}.log"
        run("qemu-aarch64", "-cpu", qemu, "-singlestep", "-d", "exec,nochain", "-D", log, program, loop)
        at = [int(m, 16) for m in re.findall(r"\[[0-9a-f]+/([0-9a-f]+)/", pathlib.Path(log).read_text())]
        pathlib.Path(log).unlink()
    first, second = [i for i, a in enumerate(at) if a == mark]
    return at[first:second]


def modelled(machine, cpu: str, program: pathlib.Path, addresses: list[int]) -> float:
    text = {}
    for code in mca.functions(program, machine[1]).values():
        text.update(code.code)
    body = []
    for a in addresses:
        # Where control goes is known: what calls, returns or jumps becomes a plain jump, which is all that it costs when predicted.
        if re.match(r"(bnd |notrack )*(call|ret|jmp|bl|blr|br|b)\b(?!\.)", text[a]):
            body.append("jmp loop" if machine is mca.X86 else "b loop")
        elif not re.match(r"(endbr64|nop|bti|paciasp|autiasp|data16)", text[a]):
            body.append(text[a])
    return mca.cycles(machine, cpu, body, 1) / COLS


def table(x86: pathlib.Path) -> list[str]:
    """Lines of a table in Markdown; x86: the build directory of this machine."""
    labels, rows = [], []
    with tempfile.TemporaryDirectory() as tmp:
        for target in TARGETS:
            name, _, models, qemu, *_ = target
            machine = mca.ARM if qemu else mca.X86
            programs = list(binaries(pathlib.Path(tmp), x86 / "bench/emitted", target))
            labels = [label for label, _ in programs]
            for loop in LOOPS:
                traces = [trace(program, loop, qemu) for _, program in programs]
                for cpu in models:
                    took = [modelled(machine, cpu, program, t) for (_, program), t in zip(programs, traces)]
                    rows.append([loop, cpu, *(f"{t:.2f}" for t in took)])
                    print(*rows[-1], flush=True)
                if qemu is None:
                    took = [float(run(program, loop, "time")) for _, program in programs]
                    rows.append([loop, "measured here", *(f"{t:.2f}" for t in took)])
                    print(*rows[-1], flush=True)
    rows.sort(key=lambda r: LOOPS.index(r[0]))
    head = ["loop", "CPU", *labels]
    return ["| " + " | ".join(r) + " |" for r in (head, ["---"] * len(head), *rows)]
