"""Each tier of the library and of emitted code gives eager's answers: a process a tier, since the CPU is probed once."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import torch, tuyere
from torch.utils import _pytree as pytree
from tuyere import _ext
from tuyere.bench import text
assert _ext.cpu()["isa"] == {tier!r}, _ext.cpu()
for name in ("minilm-8", "t5-small-64", "gpt2-128", "vit-s16-224"):
    example = text.ENTRIES[name].build(small=True)
    with torch.no_grad():
        expected = [x for x in pytree.tree_leaves(example()) if isinstance(x, torch.Tensor)]
        compiled = tuyere.compile(example.model, *example.args, example_kwargs=example.kwargs, no_compiler={interpreted})
        got = [x for x in pytree.tree_leaves(compiled(*example.args, **example.kwargs)) if isinstance(x, torch.Tensor)]
    for e, g in zip(expected, got, strict=True):
        assert (e - g).norm() <= 5e-6 * e.norm(), (name, (e - g).norm() / e.norm())
print("right")
"""


def has(tier: str) -> bool:
    flags = open("/proc/cpuinfo").read().split()
    return {"portable": True, "avx2": "avx2" in flags and "fma" in flags, "avx512": "avx512bw" in flags and "avx512vl" in flags}[tier]


@pytest.mark.parametrize("interpreted", [False, True], ids=["compiled", "interpreted"])
@pytest.mark.parametrize("tier", ["portable", "avx2", "avx512"])
def test_models_on_tier(tier, interpreted):
    if not has(tier):
        pytest.skip(f"this CPU has no {tier}")
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(tier=tier, interpreted=interpreted)],
        env={**os.environ, "TUYERE_ISA": tier}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0 and "right" in run.stdout, run.stderr[-3000:]
