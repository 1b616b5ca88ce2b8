"""Runners: one process each, so that no thread pool disturbs another, told by a pipe when to run.

A runner's process builds the model, compiles it and then answers ``run`` with the seconds of each
timed call. ``Runner`` is the parent's handle on it.
"""

import collections
import contextlib
import dataclasses
import functools
import gc
import importlib.metadata
import multiprocessing
import os
import pathlib
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from . import packages
from .models import SEED

# Set by --precision: "bf16" puts PyTorch's runners under autocast and asks the others for it their own way. Processes inherit it.
PRECISION = "TUYERE_BENCH_PRECISION"


def bf16() -> bool:
    return os.environ.get(PRECISION) == "bf16"


class Flat(torch.nn.Module):
    """The model as a function of a flat list of tensors that returns a flat tuple: what exporters take."""

    def __init__(self, example):
        super().__init__()
        self.model = example.model
        self.inputs, self.spec = pytree.tree_flatten((example.args, example.kwargs))

    def forward(self, *inputs):
        args, kwargs = pytree.tree_unflatten(inputs, self.spec)
        return tuple(tensors(self.model(*args, **kwargs)))


def tensors(outputs) -> list[torch.Tensor]:
    """The tensors among nested outputs, in order."""
    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]


# Each of these takes an example and returns a function of no arguments that makes one call. What it
# returns is nested PyTorch outputs, or for other engines a list of arrays.


def _eager(example) -> Callable[[], Any]:
    return example


def _channels_last(example) -> Callable[[], Any]:
    last = torch.channels_last
    args, kwargs = pytree.tree_map_only(
        torch.Tensor, lambda t: t.contiguous(memory_format=last) if t.dim() == 4 else t, (example.args, example.kwargs)
    )
    return dataclasses.replace(example, model=example.model.to(memory_format=last), args=args, kwargs=kwargs)


def _compiled(example, backend: str) -> Callable[[], Any]:
    return example.compiled(functools.partial(torch.compile, backend=backend))


def _flat(example) -> Flat:
    if example.parts:
        raise NotImplementedError(f"Python decides between {', '.join(example.parts)}: there is no one graph to export")
    return Flat(example)


def _inductor(example):
    import torch._inductor.config

    torch._inductor.config.fallback_random = True  # eager's random numbers, or models that draw some could not be compared
    return _compiled(example, "inductor")


def _inductor_freezing(example):
    import torch._inductor.config

    torch._inductor.config.freezing = True
    return _inductor(example)


def _openvino(example):
    import openvino

    flat = _flat(example)
    program = torch.export.export(flat, tuple(flat.inputs))
    compiled = openvino.Core().compile_model(
        openvino.convert_model(program),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16() else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        },
    )
    request = compiled.create_infer_request()
    arrays = {index: tensor.numpy() for index, tensor in enumerate(flat.inputs)}
    count = len(compiled.outputs)

    def call():
        results = request.infer(arrays, share_inputs=True, share_outputs=True)
        return [results[index] for index in range(count)]

    return call


def _onnxruntime(example):
    import onnxruntime

    flat = _flat(example)
    program = torch.onnx.export(flat, tuple(flat.inputs), dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        program.save(path)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    # An input that the model does not use may be gone from the exported program.
    names = [value.name for value in program.model.graph.inputs]
    wanted = {value.name for value in session.get_inputs()}
    feed = {name: tensor.numpy() for name, tensor in zip(names, flat.inputs, strict=True) if name in wanted}
    return lambda: session.run(None, feed)


def _tuyere(example):
    return _compiled(example, "tuyere")


def _tuyere_direct(example):
    import tuyere

    if example.parts:  # the first calls compile
        return example.compiled(tuyere.compile)
    return example.compiled(lambda model: tuyere.compile(model, *example.args, example_kwargs=example.kwargs))


RUNNERS = {
    "eager": _eager,
    "eager-channels-last": _channels_last,
    "inductor": _inductor,
    "inductor-freezing": _inductor_freezing,
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "tuyere": _tuyere,
    "tuyere-direct": _tuyere_direct,
}
OURS = ("tuyere", "tuyere-direct")
PEERS = tuple(name for name in RUNNERS if name not in OURS)


KERNELS = 20  # rows of a profile that are kept


def as_tensors(outputs) -> list[torch.Tensor]:
    """Copies of a runner's outputs as tensors that own their memory."""
    if isinstance(outputs, list):
        return [torch.as_tensor(array).clone() for array in outputs]
    return [(tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().clone() for tensor in tensors(outputs)]


def compare(outputs: list, reference: list, exact: list | None) -> dict:
    """Judges outputs as PyTorch's own benchmarks do, and by norms.

    ``reference`` is what eager gave and ``exact`` what it gave in float64, None where it cannot (their rule is then the cosine). The
    errors are the largest over the outputs of ``|output - reference| / |reference|`` (2-norms).
    """
    from torch._dynamo.utils import same

    if len(outputs) != len(reference) or any(ours.shape != theirs.shape for ours, theirs in zip(outputs, reference)):
        return {"same": False, "error_eager": None, "error_exact": None}

    def error(truth):
        worst = 0.0
        for ours, theirs in zip(outputs, truth, strict=True):
            ours, theirs = ours.double(), theirs.double()
            worst = max(worst, ((ours - theirs).norm() / theirs.norm().clamp_min(1e-300)).item())
        return worst

    return {
        "same": bool(same(list(reference), list(outputs), exact and list(exact), cos_similarity=exact is None, tol=1e-2 if bf16() else 1e-4)),
        "error_eager": error(reference),
        "error_exact": None if exact is None else error(exact),
    }


def _status(field: str) -> float:
    """A line of /proc/self/status, in MB; 0 where there is none (not Linux)."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    return 0.0


class _Server:
    """What lives in a runner's process: answers (verb, arguments) with a picklable result."""

    def __init__(self, runner: str, build: Callable, args: tuple):
        self.runner = runner
        self.example = build(*args)

    @staticmethod
    def _first(call: Callable[[], Any]) -> Any:
        """A call whose outputs are compared: what a model draws at random is the same for everyone."""
        torch.manual_seed(SEED)
        return call()

    def setup(self) -> dict:
        """Compiles and makes the first call: seconds that both took together, and those inside tuyere."""
        start = time.perf_counter()
        with contextlib.ExitStack() as stack:
            if self.runner in OURS:
                from tuyere import stats

                self.records = stack.enter_context(stats.recording())
            self.call = self._autocast(self._autocast(RUNNERS[self.runner])(self.example))
            self.outputs = as_tensors(self._first(self.call))
        seconds = {"compile_s": time.perf_counter() - start, "weights": self.example.weights}
        if self.runner in OURS:
            seconds["inside_s"] = sum(sum(record.seconds.values()) for record in self.records)
        self.call()
        start = time.perf_counter()
        self.call()
        second = time.perf_counter() - start
        self.timed_calls = max(2, min(20, int(0.1 / second))) if second < 0.5 else 1
        self.untimed_calls = 1 if second < 0.5 else 0  # a long call does not notice how it began
        gc.collect()
        gc.disable()
        with contextlib.suppress(OSError):  # from here on the peak is that of running, not of compiling
            pathlib.Path("/proc/self/clear_refs").write_text("5")
        return seconds

    def _autocast(self, call: Callable) -> Callable:
        """Under --precision bf16 PyTorch's own runners compile and run under autocast."""
        if not bf16() or not self.runner.startswith(("eager", "inductor")):
            return call

        def under(*args):
            with torch.autocast("cpu", torch.bfloat16):
                return call(*args)

        return under

    def run(self) -> list[float]:
        """One turn: an untimed call, then a few timed ones; their seconds."""
        for _ in range(self.untimed_calls):
            self.call()
        seconds = []
        for _ in range(self.timed_calls):
            start = time.perf_counter()
            self.call()
            seconds.append(time.perf_counter() - start)
        return seconds

    def memory(self) -> dict:
        """Peak resident memory while running, and now, in MB."""
        return {"rss_peak_mb": _status("VmHWM"), "rss_mb": _status("VmRSS")}

    def save_reference(self, path: str) -> None:
        """Writes eager's outputs in the model's own precision and, where it can run so, in float64."""
        try:
            double = dataclasses.replace(
                self.example,
                model=self.example.model.double(),
                args=_to_double(self.example.args),
                kwargs=_to_double(self.example.kwargs),
            )
            exact = as_tensors(self._first(double))
        except Exception:  # PyTorch's benchmarks do so too
            exact = None
        torch.save((self.outputs, exact), path)

    def accuracy(self, path: str) -> dict:
        """Compares one call's outputs with those that ``save_reference`` wrote."""
        return compare(self.outputs, *torch.load(path))

    def details(self) -> dict:
        """What became of the model in ours: graphs, operators here and in PyTorch, and where the time of a call goes."""
        import tuyere

        fallbacks = collections.Counter((operator, reason) for record in self.records for operator, reason, _ in record.fallbacks)
        native = sum(sum(segment.operators.values()) for record in self.records for segment in record.segments)
        count = max(3, self.timed_calls)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as trace:
            for _ in range(count):
                self.call()
        torch_s = sum(event.self_cpu_time_total for event in trace.key_averages() if event.key.startswith("aten::")) / count * 1e-6
        profile = tuyere.profile(self.call, n=count, warmup=1)
        rows = [row for row in profile.rows if not row.fold]
        ours_s = sum(row.seconds for row in rows) / count
        return {
            "graphs": len(self.records),
            "breaks": dict(torch._dynamo.utils.counters["graph_break"]),
            "operators": native,
            "fallbacks": [[operator, reason, count] for (operator, reason), count in fallbacks.most_common()],
            "operator_share": native / max(1, native + fallbacks.total()),
            "time_share": ours_s / ((ours_s + torch_s) or 1.0),
            "kernels_s": ours_s,
            "torch_s": torch_s,
            "kernels": [
                [row.name, row.kernel, row.calls / count, row.seconds / count, row.flops / count, row.bytes / count] for row in rows[:KERNELS]
            ],
        }


def _to_double(tree):
    return pytree.tree_map_only(torch.Tensor, lambda t: t.double() if t.is_floating_point() else t, tree)


def _serve(pipe, runner, build, args) -> None:
    # Exporters and compilers chat; what matters comes back through the pipe.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    with torch.no_grad(), contextlib.suppress(EOFError, KeyboardInterrupt):
        server = None
        while True:
            verb, arguments = pipe.recv()
            try:
                server = server or _Server(runner, build, args)
                pipe.send((True, getattr(server, verb)(*arguments)))
            except Exception as error:  # the parent shows it; the others go on
                pipe.send((False, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))


class RunnerError(RuntimeError):
    """A runner that could not do what it was told; the message is its own."""


class Runner:
    """A runner's process, seen from its parent.

    ``build(*args)`` makes the example there, so both must be picklable; ``environment`` is added to
    the process's (a cache directory, for one).
    """

    def __init__(self, name: str, build: Callable, args: tuple = (), environment: dict[str, str] | None = None):
        self.name = name
        self.failure = ""  # what ended its turns
        context = multiprocessing.get_context("spawn")
        self._pipe, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(child, name, build, args))
        saved = dict(os.environ)
        os.environ.update(environment or {})  # the process inherits it
        try:
            self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(saved)
        child.close()

    def ask(self, verb: str, *arguments, timeout: float = 900.0):
        """Calls a method of the process's server; RunnerError if it fails, dies or takes longer than ``timeout``."""
        try:
            self._pipe.send((verb, arguments))
            if not self._pipe.poll(timeout):
                raise RunnerError(f"{self.name}: no answer to {verb} in {timeout:.0f} s")
            ok, result = self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join(5)
            raise RunnerError(f"{self.name}: its process died (exit code {self._process.exitcode})") from None
        if not ok:
            raise RunnerError(result)
        return result

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join(3)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def versions() -> dict:
    """Installed versions of everything that is measured."""
    found = {}
    for name in ("torch", "transformers", "torchvision", "timm", "openvino", "onnxruntime", "tuyere"):
        for package in importlib.metadata.distributions(name=name, path=[*sys.path, packages.FOLDER]):
            found.setdefault(name, package.version)
    return found
