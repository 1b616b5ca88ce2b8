"""The parent that gives runners turns and keeps what they measured.

Absolute times move by a third from one minute to the next on shared machines, so a round gives
every runner one short turn and ratios are taken within the round; the result is their median.
"""

import contextlib
import functools
import json
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import torch

from . import models
from .runners import OURS, PEERS, Runner, RunnerError, versions

PAUSE = 0.05  # seconds before each turn: the last runner's threads stop spinning


def environment() -> dict:
    """The machine and the settings that a measurement depends on."""
    cpu, flags = platform.processor(), ""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
            elif line.startswith(("flags", "Features")):
                flags = line.split(":", 1)[1]
                break
    wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "sve", "bf16", "i8mm")
    prefixes = ("OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "DNNL_", "TUYERE_", "MALLOC_", "LD_PRELOAD")
    return {
        "cpu": cpu,
        "machine": platform.machine(),
        "isa": [flag for flag in wanted if flag in flags.split()],
        "cores": len(os.sched_getaffinity(0)),
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith(prefixes)},
        "versions": {"python": platform.python_version(), **versions()},
        "pytorch_git_version": torch.version.git_version,
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


class _Sum(torch.nn.Module):
    def forward(self, x):
        return x.sum()


def _product() -> models.Example:
    return models.Example(torch.nn.Linear(2048, 2048), (torch.randn(1024, 2048),))


def _reading() -> models.Example:
    return models.Example(_Sum(), (torch.randn(1 << 26),))


def limits() -> dict:
    """What a share of the peak refers to: GFLOP/s of a large matrix product and GB/s of reading memory, the best of many calls."""
    best = {}
    for name, build in (("tuyere-direct", _product), ("eager", _reading)):
        with contextlib.closing(Runner(name, build)) as runner:
            runner.ask("setup")
            best[name] = min(second for _ in range(5) for second in runner.ask("run"))
    return {"gflops": 2e-9 * 1024 * 2048 * 2048 / best["tuyere-direct"], "gbs": 4e-9 * (1 << 26) / best["eager"]}


def _available_mb() -> float:
    """Memory that can be had without swapping; infinite where nobody says."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 1024
    return float("inf")


class Progress:
    """One line on stderr that says what is being done and how long it will take; plain lines off a terminal."""

    def __init__(self):
        self._tty = sys.stderr.isatty()
        self._last = float("-inf")

    def show(self, text: str) -> None:
        """Shows what is being done now; off a terminal a new line at most every 10 s, and one when a model's rounds begin."""
        now = time.monotonic()
        if self._tty:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif now - self._last > 10 or ": round 1 " in text:
            self._last = now
            print(text, file=sys.stderr, flush=True)

    def done(self) -> None:
        """Clears the line."""
        if self._tty:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def take_turns(runners: list[Runner], rounds: int, tick: Callable[[int], None]) -> dict[str, list[list[float]]]:
    """Gives each runner (already set up) a turn a round: runner name to seconds, a list a round.

    The order moves on by one each round. A runner that fails is left out of the result.
    """
    seconds = {runner.name: [] for runner in runners}
    for index in range(rounds):
        tick(index)
        start = index % len(runners)
        for runner in runners[start:] + runners[:start]:
            if runner.name in seconds:
                time.sleep(PAUSE)
                try:
                    seconds[runner.name].append(runner.ask("run"))
                except RunnerError:
                    del seconds[runner.name]
    return seconds


def ratio(slow: list[list[float]], fast: list[list[float]]) -> float:
    """How many times faster ``fast`` is: the median of the rounds' own ratios."""
    return statistics.median(statistics.median(a) / statistics.median(b) for a, b in zip(slow, fast))


def _judge(runner: Runner, seconds: dict, result: dict) -> None:
    """Adds to a runner's result what its turns say."""
    if runner.name not in seconds:
        result["error"] = "failed while it was being timed"
        return
    times = [second for turn in seconds[runner.name] for second in turn]
    result |= {
        "min_s": min(times),
        "median_s": statistics.median(times),
        "calls": len(times),
        "ratio": ratio(seconds["eager"], seconds[runner.name]),
        "rounds": [[round(second, 7) for second in turn] for turn in seconds[runner.name]],
    }
    result |= runner.ask("memory")
    if runner.name in OURS:
        try:
            result |= runner.ask("details")
        except RunnerError as error:
            result["no_details"] = str(error)


def over_peer(results: dict) -> None:
    """Adds to ours how they stand against the fastest right peer: its time over ours, by both ratios to eager."""
    peers = {name: results[name]["ratio"] for name in PEERS if good(results.get(name))}
    for name in OURS:
        if good(results.get(name)) and peers:
            best = max(peers, key=peers.get)
            results[name] |= {"best_peer": best, "over_peer": results[name]["ratio"] / peers[best]}


def good(result: dict | None) -> bool:
    """Whether a runner ran, and right: else it has no speed."""
    return result is not None and "error" not in result and result["same"]


def model(name: str, build: Callable, args: tuple, names: list[str], rounds: int, progress: Callable) -> dict:
    """Measures one model with the named runners; eager is always among them.

    The result has an entry a runner: ``error``, or times in seconds, ``ratio`` (to eager),
    ``compile_s``, accuracy, memory; for ours ``warm_s``, what ``details`` says and ``over_peer`` (the fastest peer's time
    over ours, with ``best_peer`` its name). Runners whose models do not all fit into memory are measured one by one beside eager.
    """
    names = ["eager"] + [other for other in names if other != "eager"]
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory(prefix="tuyere-bench-") as folder, contextlib.ExitStack() as stack:

        def begin(runner_name: str, cache: str) -> Runner:
            caches = os.path.join(folder, cache)
            env = {"XDG_CACHE_HOME": caches, "TORCHINDUCTOR_CACHE_DIR": os.path.join(caches, "inductor")}
            runner = Runner(runner_name, build, args, env)
            stack.callback(runner.close)
            return runner

        def compiled(runner_name: str) -> Runner | None:
            progress(f"{name}: compiling with {runner_name}")
            runner = begin(runner_name, runner_name)
            try:
                results[runner_name] = runner.ask("setup") | runner.ask("accuracy", reference)
                if runner_name in OURS:
                    progress(f"{name}: compiling with {runner_name} again, from its cache")
                    again = begin(runner_name, runner_name)
                    warm = again.ask("setup")
                    results[runner_name] |= {f"warm_{key}": warm[key] for key in ("compile_s", "inside_s")}
                    again.close()
                return runner
            except RunnerError as error:
                results[runner_name] = {"error": str(error)}
                runner.close()
                if runner_name == "eager":
                    raise
                return None

        progress(f"{name}: reference")
        reference = os.path.join(folder, "reference.pt")
        oracle = begin("eager", "oracle")
        oracle.ask("setup")
        memory = 1.7 * oracle.ask("memory")["rss_mb"]  # packed weights come on top
        oracle.ask("save_reference", reference)
        oracle.close()

        eager = compiled("eager")
        others = names[1:]
        fits = memory * len(names) < 0.8 * _available_mb()
        for group in [others] if fits or not others else [[other] for other in others]:
            runners = [eager, *(runner for runner in map(compiled, group) if runner)]
            began = time.monotonic()

            def tick(index: int, began=began, group=group) -> None:
                left = (time.monotonic() - began) / index * (rounds - index) if index else 0
                of = "" if fits else f" with {group[0]}"
                progress(f"{name}: round {index + 1} of {rounds}{of}" + (f", {left:.0f} s left" if index else ""))

            seconds = take_turns(runners, rounds, tick)
            for runner in runners:
                _judge(runner, seconds, results[runner.name])
            for runner in runners[1:]:
                runner.close()
    over_peer(results)
    return results


def save(document: dict, path: pathlib.Path) -> None:
    """Writes a document with a line a runner and model; what was there stays until all is written."""
    lines = []
    for name, results in document["models"].items():
        runners = ",\n".join(f"   {json.dumps(runner)}: {json.dumps(result)}" for runner, result in results.items())
        lines.append(f"  {json.dumps(name)}: {{\n{runners}\n  }}")
    rest = json.dumps({key: value for key, value in document.items() if key != "models"}, indent=1)
    partial = path.with_suffix(path.suffix + ".part")
    partial.write_text(rest[:-2] + ',\n "models": {\n' + ",\n".join(lines) + "\n }\n}\n")
    partial.replace(path)


def suite(
    of: str,
    entries: list,
    names: list[str],
    rounds: int,
    path: pathlib.Path | None,
    each: Callable,
    known: dict | None = None,
    checkout: str = "",
) -> dict:
    """Measures entries of the suite ``of``, saves after each one, and calls ``each(name, result)`` with it.

    What the document ``known`` (of an earlier run on the same machine) has of a runner is kept, and not measured again.
    """
    progress = Progress()
    document = {"suite": of, "environment": environment(), "rounds": rounds, "checkout": bool(checkout), "entries": {}, "models": {}}
    document |= known or {}
    if "limits" not in document:
        progress.show("the machine's limits")
        document["limits"] = limits()
    every = {name: set(names) - set(document["models"].get(name, ())) for name in (entry.name for entry in entries)}
    entries = [entry for entry in entries if every[entry.name]]
    began = time.monotonic()
    for index, entry in enumerate(entries):
        spent = time.monotonic() - began
        left = f", about {spent / index * (len(entries) - index) / 60:.0f} min left" if index else ""
        show = functools.partial(lambda head, text: progress.show(head + text), f"[{index + 1}/{len(entries)}{left}] ")
        wanted = [name for name in names if name in every[entry.name]]
        try:
            args = (of, entry.name, checkout) if checkout else (of, entry.name)
            result = model(entry.name, models.build, args, wanted, rounds, show)
        except RunnerError as error:
            result = {"eager": {"error": str(error)}}
        progress.done()
        document["entries"][entry.name] = entry.facts()
        document["models"][entry.name] = result | document["models"].get(entry.name, {})
        over_peer(document["models"][entry.name])
        if path:
            save(document, path)
        each(entry.name, result)
    return document
