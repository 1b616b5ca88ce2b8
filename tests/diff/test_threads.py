"""How many threads a run takes: torch.set_num_threads, tuyere.set_threads and the environment are heard."""

import os
import subprocess
import sys

SCRIPT = """
import torch, tuyere
from tuyere import _ext
f = tuyere.compile(lambda x: (x @ x).relu().sum(-1), torch.randn(64, 64))
usable = len(__import__("os").sched_getaffinity(0))
def threads():
    with torch.no_grad():
        f(torch.randn(64, 64))
    return _ext.threads()
"""


def run(body: str, **env) -> None:
    base = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "TUYERE_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", SCRIPT + body], env={**base, **env}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_torch_lowers_and_raises_again():
    run("torch.set_num_threads(1); assert threads() == 1; torch.set_num_threads(usable); assert threads() == usable")


def test_never_more_than_the_process_may_use():
    run("torch.set_num_threads(usable + 5); assert threads() == usable")


def test_own_setting_wins_and_is_given_back():
    run("tuyere.set_threads(1); torch.set_num_threads(usable); assert threads() == 1; tuyere.set_threads(0); assert threads() == usable")


def test_environment():
    run("torch.set_num_threads(usable); assert threads() == 1", TUYERE_NUM_THREADS="1")
    run("assert threads() == 1", OMP_NUM_THREADS="1")
