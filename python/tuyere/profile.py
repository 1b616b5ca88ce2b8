"""``tuyere.profile(compiled, *args)``: time by kernel, with GFLOP/s and GB/s."""

import dataclasses

import torch

from . import stats


@dataclasses.dataclass
class Row:
    """A kernel: steps of one name, summed over the calls."""

    name: str
    kernel: str
    calls: int
    seconds: float
    flops: float
    bytes: float
    fold: bool


@dataclasses.dataclass
class Profile:
    """Rows by falling self time; prints as a table."""

    rows: list[Row]
    calls: int
    seconds: float  # of all calls, Python included

    def __str__(self) -> str:
        total = sum(row.seconds for row in self.rows) or 1e-30
        width = max([4, *(len(row.name) for row in self.rows)])
        wide = max([6, *(len(row.kernel) for row in self.rows)])
        rule = "-" * (width + wide + 62)
        lines = [rule, f"{'name':<{width}}  {'kernel':<{wide}}  {'self':>10} {'self %':>7} {'calls':>7} {'avg':>10} {'GFLOP/s':>9} {'GB/s':>8}", rule]
        for row in self.rows:
            rate = f"{row.flops / row.seconds / 1e9:9.1f}" if row.flops > 0 and row.seconds > 0 else f"{'':9}"
            width_rate = f"{row.bytes / row.seconds / 1e9:8.1f}" if row.bytes > 0 and row.seconds > 0 else f"{'':8}"
            average = row.seconds / row.calls if row.calls else 0.0
            lines.append(
                f"{row.name:<{width}}  {row.kernel:<{wide}}  {_time(row.seconds):>10} {100 * row.seconds / total:6.1f}% {row.calls:7d} "
                f"{_time(average):>10} {rate} {width_rate}"
            )
        lines += [rule, f"kernels {_time(total / max(self.calls, 1))} of {_time(self.seconds / max(self.calls, 1))} a call, {self.calls} calls"]
        return "\n".join(lines)

    __repr__ = __str__


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3f} {unit}"
    return f"{seconds * 1e6:.3f} us"


def profile(compiled, *args, n: int = 10, warmup: int = 2, **kwargs) -> Profile:
    """Calls compiled(*args, **kwargs) n times and sums the time of each kernel.

    compiled: what torch.compile(backend="tuyere") or tuyere.compile returned, or any callable that runs such.
    """
    import time

    with torch.no_grad():
        for _ in range(max(warmup, 1)):
            compiled(*args, **kwargs)
        programs = stats.programs()
        for program in programs:
            program.profile(True)
        start = time.perf_counter()
        for _ in range(n):
            compiled(*args, **kwargs)
        seconds = time.perf_counter() - start
    rows: dict[tuple, Row] = {}
    for program in programs:
        for s in program.stats():
            if s["calls"] == 0:
                continue
            row = rows.setdefault((s["name"], s["kernel"]), Row(s["name"] or "?", s["kernel"] or "", 0, 0.0, 0.0, 0.0, s["fold"]))
            row.calls += s["calls"]
            row.seconds += s["seconds"]
            row.flops += max(s["flops"], 0.0)
            row.bytes += max(s["bytes"], 0.0)
        program.profile(False)
    return Profile(sorted(rows.values(), key=lambda row: -row.seconds), n, seconds)
