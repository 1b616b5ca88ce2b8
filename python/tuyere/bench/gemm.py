"""Matrix products alone: our kernels beside the machine's limits (bench_gemm), then MKL or OpenBLAS through torch.

``python -m tuyere.bench.gemm PATH_OF_BENCH_GEMM [its options]``; ``./dev bench gemm`` knows the path.
"""

import itertools
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch

COLD_BYTES = 256 << 20  # as many copies of a weight as leave every cache, as the layers of a model do
SECONDS = 0.2  # a size's share of time


def linear_seconds(m: int, n: int, k: int) -> float:
    """Median time of torch's x @ w.T with weights that come from memory, as bench_gemm's "cold"."""
    copies = max(2, min(256, COLD_BYTES // (4 * n * k)))
    x, weights = torch.randn(m, k), [torch.randn(n, k) for _ in range(copies)]
    seconds, began = [], time.perf_counter()
    for weight in itertools.cycle(weights):
        start = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        end = time.perf_counter()
        seconds.append(end - start)
        if len(seconds) >= 5 and end - began > SECONDS:
            return statistics.median(seconds[1:])
    raise AssertionError("the weights never end")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "ours.json"
        code = subprocess.run([*sys.argv[1:], "--json", str(path)]).returncode
        if code:
            return code
        ours = json.loads(path.read_text())
    threads = ours["threads"]
    torch.set_num_threads(threads)
    print(f"\nthe same through torch {torch.__version__} (weights from memory too), {threads} threads")
    print(f"{'M':>4} {'N':>5} {'K':>5} {'torch GF':>9} {'tuyere GF':>10} {'faster':>7}")
    ratios = []
    with torch.no_grad():
        for row in ours["rows"]:
            m, n, k = row["m"], row["n"], row["k"]
            theirs, mine = linear_seconds(m, n, k), row["cold_us"] * 1e-6
            work = 2e-9 * m * n * k
            ratios.append(theirs / mine)
            print(f"{m:4} {n:5} {k:5} {work / theirs:9.1f} {work / mine:10.1f} {ratios[-1]:6.2f}x", flush=True)
    print(f"geometric mean {statistics.geometric_mean(ratios):.2f}x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
