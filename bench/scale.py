"""How a compiled model would scale on Graviton3: step times measured here on one thread, bandwidth and barriers modelled.

scale.py [--json FILE]: writes or, where the file is there, reads the measured steps (name, seconds, flops, bytes, calls a run).
What a step takes on one Neoverse V1 core is taken to be its time here times the ratio of the cores' float32 peaks; on T cores a
step takes the longer of that divided by T and of its bytes at the bandwidth of T cores, and then waits at a barrier.
"""

import argparse
import json
import pathlib

CLOCK, FLOPS = 2.6e9, 32  # c7g: two 256-bit FMA units a core
CORES = 64  # of a socket; c7g.4xlarge has 16 of them
SOCKET = 307e9  # bytes a second: eight channels of DDR5-4800
REACHED = 0.8  # of that, in practice
CORE_READS = 25e9  # what one core can draw
BARRIER = (0.10e-6, 0.03e-6)  # seconds: fixed, and a thread: each adds itself to one counter whose cache line travels
MODELS = (("transformers", "bert-base-128"), ("transformers", "t5-small-64"), ("vision", "resnet50"))
BF16 = 4.0  # bfmmla's multiplications a cycle over fmla's


def measured(suite: str, name: str) -> list[dict]:
    import torch

    import tuyere
    from tuyere.bench import models
    from tuyere.profile import profile

    tuyere.set_threads(1)
    torch.set_num_threads(1)
    example = models.build(suite, name)
    with torch.no_grad():
        compiled = example.compiled(lambda m: torch.compile(m, backend="tuyere"))
        runs = 8
        rows = profile(compiled, n=runs).rows
    return [
        {"name": r.name, "kernel": r.kernel, "calls": r.calls / runs, "seconds": r.seconds / runs, "flops": r.flops / runs, "bytes": r.bytes / runs}
        for r in rows
        if not r.fold
    ]


def run(steps, ratio: float, threads: int, bf16: bool = False) -> tuple[float, float, float]:
    """Seconds of a run; of these, in barriers, and in steps that wait for memory."""
    width = min(threads * CORE_READS, SOCKET * REACHED * max(threads, 16) / CORES)  # an instance of 16 cores has its share of the socket's
    barrier = BARRIER[0] + BARRIER[1] * threads if threads > 1 else 0.0
    total = waits = memory = 0.0
    for s in steps:
        product = "gemm_f32" in s["kernel"] or "conv_f32_direct" in s["kernel"]
        compute = s["seconds"] * ratio / threads / (BF16 * 0.8 if bf16 and product else 1)
        reads = s["bytes"] / (2 if bf16 and product else 1) / width
        total += max(compute, reads) + barrier * s["calls"]
        waits += barrier * s["calls"]
        memory += reads if reads > compute else 0.0
    return total, waits, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("docs/results/scale.json"))
    parser.add_argument("--peak", type=float, default=270.0, help="GFLOP/s of one core of the machine that measures (./dev bench gemm says it)")
    args = parser.parse_args()
    if not args.json.exists():
        found = {name: measured(suite, name) for suite, name in MODELS}
        args.json.write_text(json.dumps({"peak": args.peak, "models": found}, indent=1) + "\n")
    data = json.loads(args.json.read_text())
    ratio = data["peak"] * 1e9 / (CLOCK * FLOPS)
    print("| model | weights in | threads | ms | speed-up | in barriers | waiting for memory |\n|---|---|---|---|---|---|---|")
    for name, steps in data["models"].items():
        for bf16 in (False, True):
            one = run(steps, ratio, 1, bf16)[0]
            for threads in (1, 4, 16, 64):
                total, waits, memory = run(steps, ratio, threads, bf16)
                kind = "bfloat16" if bf16 else "float32"
                print(f"| {name} | {kind} | {threads} | {total * 1e3:.2f} | {one / total:.1f} | {waits / total:.1%} | {memory / total:.1%} |")


if __name__ == "__main__":
    main()
