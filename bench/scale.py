"""How a compiled model would scale on Graviton3: shares of threads measured here on one core, bandwidth and barriers modelled.

scale.py [--json FILE] [--build BUILD] [--chart FILE.svg]: reads FILE, or, where it is not there, measures and writes it (bench_scale on
each model's torch.export archive, with TUYERE_ISA=avx2: two FMA units of 256 bits, as a Neoverse V1 core has them). What a share takes
on such a core is its time here times the ratio of the peaks. A step on T threads takes as long as its longest share, or as its bytes at
the bandwidth of T cores if that is longer; a barrier before it costs what the pool's tree of four children a thread does (rt/pool.c).
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile

CLOCK, FLOPS = 2.6e9, 32  # c7g: two 256-bit FMA units a core
CORES = 64  # of a socket; c7g.4xlarge has 16 of them
SOCKET = 307e9  # bytes a second: eight channels of DDR5-4800
REACHED = 0.8  # of that, in practice
CORE_READS = 25e9  # what one core can draw
LINE = 50e-9  # a cache line from another core of the mesh
SHARED = 5e-9  # each further reader of a line that many read
FAN = 4  # of the barrier's tree
THREADS = (1, 4, 16, 64)
MODELS = (("transformers", "bert-base-128"), ("transformers", "t5-small-64"), ("transformers", "minilm-8"), ("vision", "resnet50"))
BF16 = 4.0 * 0.8  # bfmmla's multiplications a cycle over fmla's, and how much of that is reached


def measured(build: pathlib.Path) -> dict:
    import torch

    from tuyere.bench import models

    environment = {**os.environ, "TUYERE_ISA": "avx2"}
    found = {"isa": "avx2", "models": {}}
    with tempfile.TemporaryDirectory() as tmp:
        peak = pathlib.Path(tmp) / "peak.json"
        subprocess.run([build / "bench/bench_gemm", "--json", peak, "--isa", "avx2", "--threads", "1", "--rounds", "3", "--only", "128,768,768"], check=True)
        found["peak"] = json.loads(peak.read_text())["rows"][0]["peak_gflops"]
        for suite, name in MODELS:
            example, archive = models.build(suite, name), f"{tmp}/{name}.pt2"
            with torch.no_grad():
                torch.export.save(torch.export.export(example.model, example.args, example.kwargs), archive)
            command = [build / "bench/bench_scale", archive, "3", *map(str, THREADS)]
            text = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
            found["models"][name] = merged(json.loads(text)["steps"])
    return found


def merged(steps: list[dict]) -> list[dict]:
    """Steps of one name and kernel as one row."""
    rows = {}
    for s in steps:
        row = rows.setdefault((s["name"], s["kernel"], s["worth"]), {"name": s["name"], "kernel": s["kernel"], "worth": s["worth"], "calls": 0})
        row["calls"] += 1
        for key in ("barrier", "bytes", "flops"):
            row[key] = row.get(key, 0) + s[key]
        for key in ("longest", "sum"):
            row[key] = [float(f"{a + b:.3e}") for a, b in zip(row.get(key, [0] * len(THREADS)), s[key])]
    return list(rows.values())


def barrier(threads: int, fan: int = FAN) -> float:
    """Seconds until all have arrived, each parent reading its children's lines in turn, and all have seen the root's word."""

    def arrived(tid: int) -> float:
        at = 0.0
        for child in range(fan * tid + 1, min(fan * tid + fan + 1, threads)):
            at = max(at, arrived(child)) + LINE
        return at

    return arrived(0) + LINE + SHARED * (threads - 2) if threads > 1 else 0.0


def run(steps: list[dict], ratio: float, at: int, bf16: bool = False) -> dict:
    """Seconds of a run on THREADS[at] threads, and what of them is lost where."""
    threads = THREADS[at]
    width = min(threads * CORE_READS, SOCKET * REACHED * max(threads, 16) / CORES)  # an instance of 16 cores has its share of the socket's
    total = {"seconds": 0.0, "barriers": 0.0, "uneven": 0.0, "memory": 0.0}
    for s in steps:
        fast = bf16 and ("gemm_f32" in s["kernel"] or "conv_f32_direct" in s["kernel"])
        scale = ratio / (BF16 if fast else 1)
        longest, even = s["longest"][at] * scale, s["sum"][at] * scale / threads
        reads = s["bytes"] / (2 if fast else 1) / width
        waits = barrier(threads) * s["barrier"]
        total["seconds"] += max(longest, reads) + waits
        total["barriers"] += waits
        total["uneven"] += max(0.0, longest - max(even, reads))
        total["memory"] += max(0.0, reads - longest)
    return total


def table(data: dict) -> list[str]:
    ratio = data["peak"] * 1e9 / (CLOCK * FLOPS)
    lines = ["| model | weights in | threads | ms | speed-up | in barriers | shares uneven | waiting for memory |", "|---|---|---|---|---|---|---|---|"]
    for name, steps in data["models"].items():
        for bf16 in (False, True):
            one = run(steps, ratio, 0, bf16)["seconds"]
            for at, threads in enumerate(THREADS):
                t = run(steps, ratio, at, bf16)
                parts = " | ".join(f"{t[key] / t['seconds']:.1%}" for key in ("barriers", "uneven", "memory"))
                lines.append(f"| {name} | {'bfloat16' if bf16 else 'float32'} | {threads} | {t['seconds'] * 1e3:.2f} | {one / t['seconds']:.1f} | {parts} |")
    return lines


def chart(data: dict, path: pathlib.Path) -> None:
    """Where the time of 16 and of 64 threads goes, a bar each."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "scale"
    from matplotlib import pyplot

    ratio = data["peak"] * 1e9 / (CLOCK * FLOPS)
    figure, axes = pyplot.subplots(figsize=(8, 0.45 * 2 * len(data["models"]) + 1.2))
    labels, left = [], []
    parts = {"work, spread evenly": [], "shares uneven": [], "waiting for memory": [], "barriers": []}
    for name, steps in data["models"].items():
        for at in (THREADS.index(16), THREADS.index(64)):
            t = run(steps, ratio, at)
            labels.append(f"{name}, {THREADS[at]} threads, {t['seconds'] * 1e3:.2f} ms")
            lost = {"shares uneven": t["uneven"], "waiting for memory": t["memory"], "barriers": t["barriers"]}
            lost["work, spread evenly"] = t["seconds"] - sum(lost.values())
            for key in parts:
                parts[key].append(100 * lost[key] / t["seconds"])
    left = [0.0] * len(labels)
    for key, values in parts.items():
        axes.barh(labels, values, left=left, label=key)
        left = [a + b for a, b in zip(left, values)]
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of a run, float32, modelled for Graviton3")
    axes.legend(loc="upper center", bbox_to_anchor=(0.3, -0.12), ncols=4, frameon=False, fontsize=8)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("docs/results/scale.json"))
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path(os.environ.get("TUYERE_BUILD", "build")))
    parser.add_argument("--chart", type=pathlib.Path)
    args = parser.parse_args()
    if not args.json.exists():
        args.json.write_text(json.dumps(measured(args.build)).replace('{"name"', '\n{"name"') + "\n")
    data = json.loads(args.json.read_text())
    print("\n".join(table(data)))
    if args.chart:
        chart(data, args.chart)


if __name__ == "__main__":
    main()
