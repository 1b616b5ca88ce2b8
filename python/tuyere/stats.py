"""What was compiled in this process: counts, seconds, and the records that explain shows."""

import contextlib
import dataclasses
import threading
import time
import weakref
from typing import Any


@dataclasses.dataclass
class Segment:
    """A part of a graph that became one program."""

    program: Any
    operators: dict[str, int]
    arguments: list[int | None]  # which argument of the graph each of the program's is; None: computed on the way


@dataclasses.dataclass
class Record:
    """One graph's way through the door."""

    name: str
    operators: dict[str, int] = dataclasses.field(default_factory=dict)
    segments: list[Segment] = dataclasses.field(default_factory=list)
    fallbacks: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)  # operator, reason, place
    notes: list[str] = dataclasses.field(default_factory=list)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)  # by stage
    code: str = ""
    wrapped: bool = False  # AOTAutograd's wrapper stands around the call
    read_by_torch: set[int] = dataclasses.field(default_factory=set)  # arguments of the graph that PyTorch's part reads

    @contextlib.contextmanager
    def stage(self, name: str):
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


_lock = threading.Lock()
_listeners: list[list[Record]] = []
_programs: weakref.WeakSet = weakref.WeakSet()
_count = 0
_seconds = 0.0


def publish(record: Record) -> None:
    """Counts a finished graph and hands it to whoever records."""
    global _count, _seconds
    with _lock:
        _count += 1
        _seconds = sum(record.seconds.values())
        _programs.update(segment.program for segment in record.segments)
        for listener in _listeners:
            listener.append(record)


def programs() -> list:
    """The programs alive in this process."""
    with _lock:
        return list(_programs)


@contextlib.contextmanager
def recording():
    """Collects the records of the graphs compiled in the block (by any thread)."""
    records: list[Record] = []
    with _lock:
        _listeners.append(records)
    try:
        yield records
    finally:
        with _lock:
            _listeners[:] = [other for other in _listeners if other is not records]


def compile_count() -> int:
    """How many graphs were compiled in this process."""
    return _count


def last_compile_seconds() -> float:
    """Seconds inside tuyere (tracing to ATen, import, compilation) for the graph compiled last."""
    return _seconds
