"""What both doors share: from a traced graph to a callable, with PyTorch as the answer to everything that goes wrong."""

import warnings

import torch
from torch import fx

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


def build(gm: fx.GraphModule, fakes, roles, options, record: stats.Record, eager, traced: bool = False):
    """A callable over flat arguments for gm, or `eager` itself when PyTorch should run it.

    gm: a graph of torch calls, or of ATen when `traced`. fakes: what its placeholders are, fake. roles: "param" or
    "input", one each. eager: gm as PyTorch runs it.
    """
    try:
        call = _build(gm, fakes, roles, options, record, traced)
    except Exception as e:  # never a crash: the reason is kept
        if options.strict:
            raise
        reason = str(e) if isinstance(e, _ext.Unsupported) else f"{type(e).__name__}: {e}"
        record.notes.append(f"the graph runs in PyTorch: {reason}")
        if not isinstance(e, _ext.Unsupported):
            warn_once(f"tuyere: {record.name} runs in PyTorch: {reason}")
        return eager
    finally:
        stats.publish(record)
    return guarded(call, eager)


def _build(gm, fakes, roles, options, record, traced):
    for fake in fakes:
        if isinstance(fake, (torch.SymFloat, torch.SymBool)):
            raise _ext.Unsupported(f"an argument of type {type(fake).__name__}")
    with record.stage("trace"):
        flat = trace.flat_graph(gm, fakes) if not traced or _mutates(gm) is False else None
    if flat is not None:
        return partition.compile_graph(flat, _by_placeholder(flat, roles), options, record)
    record.notes.append("inputs or temporaries are changed in place: AOTAutograd makes the graph functional")
    inner = {}

    def compile_inner(aten, inner_fakes):
        inner["seconds"] = sum(record.seconds.values())
        placeholders = [node for node in aten.graph.nodes if node.op == "placeholder"]
        kinds = roles if len(roles) == len(placeholders) else ["input"] * len(placeholders)
        return partition.compile_graph(aten, _by_placeholder(aten, kinds), options, record, keep_aliases=False)

    with record.stage("trace"):
        before = {k: v for k, v in record.seconds.items() if k != "trace"}
        call = trace.functionalised(gm, fakes, compile_inner)
    nested = sum(v - before.get(k, 0.0) for k, v in record.seconds.items() if k != "trace")
    record.seconds["trace"] -= nested
    return call


def _mutates(gm) -> bool:
    return any(
        node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable for node in gm.graph.nodes
    )


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
