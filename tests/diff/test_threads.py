"""How many threads a run takes: torch.set_num_threads, tuyere.set_threads and the environment are heard."""

import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = """
import torch, tuyere
from tuyere import _ext
f = tuyere.compile(lambda x: (x @ x).relu().sum(-1), torch.randn(64, 64))
usable = CORES
def threads():
    with torch.no_grad():
        f(torch.randn(64, 64))
    return _ext.threads()
"""


def cores() -> int:
    """Of the affinity mask, SMT siblings counted once."""
    seen = set()
    for cpu in os.sched_getaffinity(0):
        path = pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        seen.add(path.read_text() if path.exists() else cpu)
    return len(seen)


def run(body: str, **env) -> None:
    base = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "TUYERE_NUM_THREADS")}
    script = SCRIPT.replace("CORES", str(cores())) + body
    done = subprocess.run([sys.executable, "-c", script], env={**base, **env}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_torch_lowers_and_raises_again():
    run("torch.set_num_threads(1); assert threads() == 1; torch.set_num_threads(usable); assert threads() == usable")


def test_never_more_than_the_process_may_use():
    run("torch.set_num_threads(usable + 5); assert threads() == usable")


def test_own_setting_wins_and_is_given_back():
    run("tuyere.set_threads(1); torch.set_num_threads(usable); assert threads() == 1; tuyere.set_threads(0); assert threads() == usable")


def test_option_and_affinity():
    """Options change no result; a list of CPUs sets the threads."""
    body = """
x = torch.randn(96, 512)
model = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.GELU(), torch.nn.Linear(512, 64)).eval()
with torch.no_grad():
    for options in ({"threads": 1}, {"huge_pages": False}, {"huge_pages": True, "sizes_kept": 1, "threads": 64}):
        torch.testing.assert_close(tuyere.compile(model, x, **options)(x), model(x), rtol=1e-4, atol=1e-5)
"""
    cpus = sorted(os.sched_getaffinity(0))
    run(body, TUYERE_AFFINITY="cores", THP_MEM_ALLOC_ENABLE="0", LRU_CACHE_CAPACITY="2")
    run(f"torch.set_num_threads(usable)\nassert threads() == 1, threads()\n{body}", TUYERE_AFFINITY=str(cpus[0]))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU is nothing to share")
def test_two_processes_by_cpuset():
    """Each of two processes with CPUs of its own takes as many threads as these are, and no thread leaves them, whatever it is asked for."""
    cpus = sorted(os.sched_getaffinity(0))
    shares = [cpus[: len(cpus) // 2], cpus[len(cpus) // 2 :]]
    script = """
import os
mine = set(map(int, os.environ["SHARE"].split(",")))
os.sched_setaffinity(0, mine)
import torch, tuyere
from tuyere import _ext
x = torch.randn(64, 512)
model = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.GELU(), torch.nn.Linear(512, 512)).eval()
with torch.no_grad():
    f, want = tuyere.compile(model, x), model(x)
    for _ in range(50):
        torch.testing.assert_close(f(x), want, rtol=1e-4, atol=1e-5)
assert 1 <= _ext.threads() <= len(mine), _ext.threads()
for task in os.listdir("/proc/self/task"):
    assert os.sched_getaffinity(int(task)) <= mine, task
"""
    base = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "TUYERE_NUM_THREADS")}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**base, "SHARE": ",".join(map(str, share)), "TUYERE_AFFINITY": affinity},
            stderr=subprocess.PIPE,
            text=True,
        )
        for share, affinity in zip(shares, ("cores", "0-4095"))
    ]
    for process in both:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-2000:]


@pytest.mark.skipif(not os.path.exists("/sys/kernel/mm/transparent_hugepage/enabled"), reason="the kernel has no huge pages")
def test_large_results_in_huge_pages():
    run("""
def flags(tensor):
    at = tensor.data_ptr() + tensor.nbytes // 2
    for line in open("/proc/self/smaps"):
        head = line.split()
        if "-" in head[0] and ":" not in head[0]:
            low, high = (int(text, 16) for text in head[0].split("-"))
        elif head[0] == "VmFlags:" and low <= at < high:
            return head[1:]

x = torch.randn(3 << 20)
for wanted in True, False:
    result = tuyere.compile(lambda x: x[:, None] + torch.arange(4.0), x, huge_pages=wanted)(x)
    assert ("hg" in flags(result)) == wanted
    torch.testing.assert_close(result, x[:, None] + torch.arange(4.0))
    del result
""")


def test_environment():
    run("torch.set_num_threads(usable); assert threads() == 1", TUYERE_NUM_THREADS="1")
    run("assert threads() == 1", OMP_NUM_THREADS="1")
