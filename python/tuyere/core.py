"""What both doors share: from a traced graph to a callable, with PyTorch as the answer to everything that goes wrong."""

import contextlib
import time
import warnings

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor

from . import _ext, partition, stats, trace
from .importer import is_tensor


def _relayout(tensor, strides):
    """A copy of a tensor with other strides (None: contiguous)."""
    tensor = tensor.detach()
    if strides is None:
        return tensor.contiguous() if not tensor.is_contiguous() else tensor.clone(memory_format=torch.contiguous_format)
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)


_ext.set_callbacks(_relayout, lambda size, stride, dtype: torch.empty_strided(size, stride, dtype=dtype))

_warned = set()


def warn_once(text: str) -> None:
    if text not in _warned:
        _warned.add(text)
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def build(fn, fakes, roles, options, record: stats.Record, eager, names=None, examples=None):
    """A callable over flat arguments for fn, or `eager` itself when PyTorch should run it.

    fn: Dynamo's graph, or any function over flat arguments that returns a flat tuple. fakes: its arguments, fake.
    roles: "param" or "input", one each. eager: fn as PyTorch runs it. names: of the arguments, for messages.
    examples: the arguments as Dynamo gives them, for AOTAutograd.
    A call raises Unsupported or Mismatch when an argument is no plain dense tensor, or not of the compiled kind.
    """
    try:
        return _build(fn, fakes, roles, options, record, names, examples)
    except Exception as e:  # never a crash: the reason is kept
        if options.strict and not isinstance(e, _ext.Unsupported):
            raise
        reason = str(e) if isinstance(e, _ext.Unsupported) else f"{type(e).__name__}: {e}"
        record.notes.append(f"the graph runs in PyTorch: {reason}")
        if not isinstance(e, _ext.Unsupported):
            warn_once(f"tuyere: {record.name} runs in PyTorch: {reason}")
        return eager
    finally:
        stats.publish(record)


def _build(fn, fakes, roles, options, record, names, examples):
    for fake in fakes:
        if isinstance(fake, (torch.SymFloat, torch.SymBool)):
            raise _ext.Unsupported(f"an argument of type {type(fake).__name__}")
    flat, clean = None, False
    with record.stage("trace"), _fake_mode(fakes):
        try:
            flat, clean = trace.flat_graph(fn, fakes)
            if not clean and not trace.under_modes(flat):
                flat, clean = trace.without_mutation(flat, fakes)
        except Exception as e:
            if not isinstance(fn, fx.GraphModule):
                raise
            record.notes.append(f"AOTAutograd traces the graph, since plain tracing failed: {type(e).__name__}: {e}")
    if clean:
        return partition.compile_graph(flat, _by_placeholder(flat, roles), _by_placeholder(flat, names or ()), options, record)
    if flat is not None:
        record.notes.append("arguments are changed in place, or modes are switched: AOTAutograd makes the graph functional")
    inside = 0.0

    def compile_inner(aten, _):
        nonlocal inside
        start = time.perf_counter()
        placeholders = [node for node in aten.graph.nodes if node.op == "placeholder"]
        kinds = roles if len(roles) == len(placeholders) else ["input"] * len(placeholders)
        called = _by_placeholder(aten, names if names and len(names) == len(placeholders) else ())
        call = partition.compile_graph(aten, _by_placeholder(aten, kinds), called, options, record)
        inside = time.perf_counter() - start
        return call

    with record.stage("trace"):
        call = trace.functionalised(fn if isinstance(fn, fx.GraphModule) else flat, examples or fakes, compile_inner)
    record.seconds["trace"] -= inside
    record.wrapped = True
    return call


@contextlib.contextmanager
def _fake_mode(fakes):
    """The mode that the fake tensors belong to; Dynamo has put another in its place by now."""
    mode = next((fake.fake_mode for fake in fakes if isinstance(fake, FakeTensor)), None)
    context = torch._guards.TracingContext.try_get()
    if mode is None:
        yield
        return
    before = context.fake_mode if context else None
    try:
        if context:
            context.fake_mode = mode
        with mode:
            yield
    finally:
        if context:
            context.fake_mode = before


def _by_placeholder(gm, roles) -> dict:
    placeholders = [node for node in gm.graph.nodes if node.op == "placeholder"]
    return {node: role for node, role in zip(placeholders, roles) if is_tensor(node.meta.get("val"))}


def guarded(call, eager):
    """Runs in PyTorch what turns out at a call to be no plain dense tensor of the compiled kind."""
    declined = (_ext.Unsupported, _ext.Mismatch)

    def run(*args):
        try:
            return call(*args)
        except declined:
            return eager(*args)

    return run
