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
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


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


def model(name: str, build: Callable, args: tuple, names: list[str], rounds: int, progress: Callable) -> dict:
    """Measures one model with the named runners; eager is always among them.

    The result has an entry a runner: ``error``, or times in seconds, ``ratio`` (to eager),
    ``compile_s``, accuracy, memory; for ours ``warm_s`` and ``over_peer`` (the fastest peer's time
    over ours, with ``best_peer`` its name).
    """
    names = ["eager"] + [other for other in names if other != "eager"]
    results: dict[str, dict] = {}
    runners: list[Runner] = []
    with tempfile.TemporaryDirectory(prefix="tuyere-bench-") as folder, contextlib.ExitStack() as stack:

        def begin(runner_name: str, cache: str) -> Runner:
            caches = os.path.join(folder, cache)
            env = {"XDG_CACHE_HOME": caches, "TORCHINDUCTOR_CACHE_DIR": os.path.join(caches, "inductor")}
            runner = Runner(runner_name, build, args, env)
            stack.callback(runner.close)
            return runner

        progress(f"{name}: reference")
        reference = os.path.join(folder, "reference.pt")
        oracle = begin("eager", "oracle")
        oracle.ask("setup")
        oracle.ask("save_reference", reference)
        oracle.close()

        for runner_name in names:
            progress(f"{name}: compiling with {runner_name}")
            runner = begin(runner_name, runner_name)
            try:
                results[runner_name] = runner.ask("setup") | runner.ask("accuracy", reference)
                runners.append(runner)
                if runner_name in OURS:
                    progress(f"{name}: compiling with {runner_name} again, from its cache")
                    again = begin(runner_name, runner_name)
                    warm = again.ask("setup")
                    results[runner_name] |= {f"warm_{key}": value for key, value in warm.items()}
                    again.close()
            except RunnerError as error:
                results[runner_name] = {"error": str(error)}
                runner.close()
                if runner_name == "eager":
                    raise

        began = time.monotonic()

        def tick(index: int) -> None:
            left = (time.monotonic() - began) / index * (rounds - index) if index else 0
            progress(f"{name}: round {index + 1} of {rounds}" + (f", {left:.0f} s left" if index else ""))

        seconds = take_turns(runners, rounds, tick)
        for runner in runners:
            result = results[runner.name]
            if runner.name not in seconds:
                result["error"] = "failed while it was being timed"
                continue
            times = [second for turn in seconds[runner.name] for second in turn]
            result |= {
                "min_s": min(times),
                "median_s": statistics.median(times),
                "calls": len(times),
                "ratio": ratio(seconds["eager"], seconds[runner.name]),
                **runner.ask("memory"),
            }
    peers = [peer for peer in PEERS if peer in seconds]
    for ours in OURS:
        if ours in seconds and peers:
            over = {peer: ratio(seconds[peer], seconds[ours]) for peer in peers}
            best = min(over, key=over.get)
            results[ours] |= {"best_peer": best, "over_peer": over[best]}
    return results


def suite(
    of: str, entries: list, names: list[str], rounds: int, path: pathlib.Path | None, each: Callable, known: dict | None = None
) -> dict:
    """Measures entries of the suite ``of``, saves after each one, and calls ``each(name, result)`` with it.

    What the document ``known`` (of an earlier run) has is kept, and not measured again.
    """
    progress = Progress()
    document = {"suite": of, "environment": environment(), "rounds": rounds, "models": dict(known["models"]) if known else {}}
    entries = [entry for entry in entries if entry.name not in document["models"]]
    began = time.monotonic()
    for index, entry in enumerate(entries):
        spent = time.monotonic() - began
        left = f", about {spent / index * (len(entries) - index) / 60:.0f} min left" if index else ""
        show = functools.partial(lambda head, text: progress.show(head + text), f"[{index + 1}/{len(entries)}{left}] ")
        try:
            result = model(entry.name, models.build, (of, entry.name), names, rounds, show)
        except RunnerError as error:
            result = {"eager": {"error": str(error)}}
        progress.done()
        document["models"][entry.name] = result
        if path:
            partial = path.with_suffix(path.suffix + ".part")
            partial.write_text(json.dumps(document, indent=1) + "\n")
            partial.replace(path)
        each(entry.name, result)
    return document
