"""The simulation of many threads: its model on made-up steps, and the shares that bench_scale measures of a real one."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "bench"))
import scale

BUILD = pathlib.Path(os.environ.get("TUYERE_BUILD", "build"))


def test_barrier():
    """Of the tree that rt/pool.c has: lines that are read one after the other, the root's word, and its other readers."""
    fan = int((pathlib.Path(__file__).parents[2] / "src/rt/pool.c").read_text().split("enum { FAN = ")[1].split(" ")[0])
    assert scale.FAN == fan
    assert scale.barrier(1) == 0
    assert scale.barrier(2) == pytest.approx(2 * scale.LINE)
    assert scale.barrier(16) == pytest.approx(9 * scale.LINE + 14 * scale.SHARED)
    assert scale.barrier(16, 8) == pytest.approx(16 * scale.LINE + 14 * scale.SHARED)


def test_run():
    step = {"name": "s", "kernel": "loop", "worth": 64, "calls": 1, "barrier": 1, "bytes": 0, "flops": 0}
    even = {**step, "longest": [64e-6, 16e-6, 4e-6, 1e-6], "sum": [64e-6] * 4}
    got = scale.run([even], 1.0, 3)
    assert got["seconds"] == pytest.approx(1e-6 + scale.barrier(64)) and got["uneven"] == pytest.approx(0) and got["memory"] == 0
    uneven = {**even, "longest": [64e-6, 16e-6, 4e-6, 3e-6]}
    assert scale.run([uneven], 1.0, 3)["uneven"] == pytest.approx(2e-6)
    waits = scale.run([{**even, "bytes": 1e6}], 1.0, 3)
    assert waits["seconds"] - waits["barriers"] == pytest.approx(1e6 / (scale.SOCKET * scale.REACHED)) and waits["memory"] > 0
    assert scale.run([{**even, "kernel": "gemm_f32_8x24"}], 1.0, 0, bf16=True)["seconds"] == pytest.approx(64e-6 / scale.BF16)


def test_chart(tmp_path):
    data = json.loads((pathlib.Path(__file__).parents[2] / "docs/results/scale.json").read_text())
    scale.chart(data, tmp_path / "scale.svg")
    assert "64 threads" in (tmp_path / "scale.svg").read_text()


def test_shares(tmp_path):
    program = next(iter(BUILD.glob("**/bench_scale")), None)
    assert program, f"no bench_scale in {BUILD}"
    model = torch.nn.Sequential(torch.nn.Linear(96, 512), torch.nn.GELU(), torch.nn.Linear(512, 96), torch.nn.Softmax(-1)).eval()
    torch.export.save(torch.export.export(model, (torch.ones(64, 96),)), tmp_path / "m.pt2")
    done = subprocess.run([program, tmp_path / "m.pt2", "2", "1", "4"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["steps"]
    assert len(steps) >= 2 and sum(s["barrier"] for s in steps) >= 1
    for s in steps:
        assert s["longest"][0] == s["sum"][0] > 0  # one thread
        threads = min(4, s["worth"])
        assert s["sum"][1] / threads * 0.999 <= s["longest"][1] <= s["sum"][1] * 1.001
