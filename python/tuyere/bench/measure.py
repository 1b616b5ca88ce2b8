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
import re
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

    The order moves on by one each round. A runner that fails is left out of the result, and ended so that it disturbs nobody.
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
                except RunnerError as error:
                    runner.failure = str(error)
                    del seconds[runner.name]
                    runner.close()
    return seconds


def ratio(slow: list[list[float]], fast: list[list[float]]) -> float:
    """How many times faster ``fast`` is: the median of the rounds' own ratios."""
    return statistics.median(statistics.median(a) / statistics.median(b) for a, b in zip(slow, fast))


def _judge(runner: Runner, seconds: dict, result: dict) -> None:
    """Adds to a runner's result what its turns say."""
    if runner.name not in seconds:
        result["error"] = runner.failure
        return
    turns = seconds[runner.name]
    times = [second for turn in turns for second in turn]
    result |= {
        "min_s": min(times),
        "median_s": statistics.median(times),
        "calls": len(times),
        "ratio": ratio(seconds["eager"], turns),
        "rounds": [[round(second, 7) for second in turn] for turn in turns],
    }
    if runner.name in OURS:
        result["over"] = {peer: ratio(seconds[peer], turns) for peer in PEERS if peer in seconds}
    for verb, lacks in (("memory", "error"), ("details", "no_details")):
        if verb == "memory" or runner.name in OURS:
            try:
                result |= runner.ask(verb)
            except RunnerError as error:
                result[lacks] = str(error)


def over_peer(results: dict) -> None:
    """Adds to ours how they stand against the fastest right peer: its time over ours.

    That is the median over the rounds which both took part in; where there were none, the quotient of their ratios to eager.
    """
    peers = {name: results[name]["ratio"] for name in PEERS if good(results.get(name))}
    for name in OURS:
        if good(result := results.get(name)) and peers:
            over = {peer: result.get("over", {}).get(peer, result["ratio"] / peers[peer]) for peer in peers}
            best = min(over, key=over.get)
            result |= {"best_peer": best, "over_peer": over[best]}


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
            if "eager" not in seconds:
                raise RunnerError(eager.failure)
            for runner in runners:
                _judge(runner, seconds, results[runner.name])
            for runner in runners[1:]:
                runner.close()
    return results


def missing(names: list[str], known: dict) -> list[str]:
    """Which of the named runners a model's results ``known`` lack. Ours that ran right are among them where peers are: they are measured again
    in the same rounds."""
    lacking = [name for name in names if name not in known]
    if any(name in PEERS for name in lacking):
        lacking += [name for name in OURS if good(known.get(name))]
    return lacking


def _joined(known: dict, result: dict) -> dict:
    """A model's results after another run: the newest of each runner, and of ours what they are against peers of earlier rounds."""
    for name in OURS:
        if good(known.get(name)) and good(result.get(name)):
            result[name]["over"] = known[name].get("over", {}) | result[name]["over"]
    return known | result


def save(document: dict, path: pathlib.Path) -> None:
    """Writes a document with a line a runner and model; what was there stays until all is written. Files that messages name lose the
    folders that packages are installed in: they say nothing of other machines."""
    lines = []
    for name, results in document["models"].items():
        runners = ",\n".join(f"   {json.dumps(runner)}: {json.dumps(result)}" for runner, result in results.items())
        lines.append(f"  {json.dumps(name)}: {{\n{runners}\n  }}")
    rest = json.dumps({key: value for key, value in document.items() if key != "models"}, indent=1)
    partial = path.with_suffix(path.suffix + ".part")
    text = rest[:-2] + ',\n "models": {\n' + ",\n".join(lines) + "\n }\n}\n"
    partial.write_text(re.sub(r"(/[\w.+-]+)+/(?=site-packages/|tuyere/)(site-packages/)?", "", text))
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

    What the document ``known`` (of an earlier run on the same machine) has of a runner is kept, failures too, and not measured again. What it
    lacks is measured beside eager, which therefore has the newest times; peers that are added, beside ours, too (``missing``).
    """
    progress = Progress()
    document = {"suite": of, "environment": environment(), "rounds": rounds, "checkout": bool(checkout), "entries": {}, "models": {}}
    document |= known or {}
    if "limits" not in document:
        progress.show("the machine's limits")
        document["limits"] = limits()
    wanted = {entry.name: missing(names, document["models"].get(entry.name, {})) for entry in entries}
    entries = [entry for entry in entries if wanted[entry.name]]
    began = time.monotonic()
    for index, entry in enumerate(entries):
        spent = time.monotonic() - began
        left = f", about {spent / index * (len(entries) - index) / 60:.0f} min left" if index else ""
        show = functools.partial(lambda head, text: progress.show(head + text), f"[{index + 1}/{len(entries)}{left}] ")
        try:
            args = (of, entry.name, checkout) if checkout else (of, entry.name)
            result = model(entry.name, models.build, args, wanted[entry.name], rounds, show)
        except RunnerError as error:
            result = {"eager": {"error": str(error)}}
        progress.done()
        document["entries"][entry.name] = entry.facts()
        document["models"][entry.name] = _joined(document["models"].get(entry.name, {}), result)
        over_peer(document["models"][entry.name])
        if path:
            save(document, path)
        each(entry.name, result)
    return document
