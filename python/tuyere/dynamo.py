"""The torch.compile backend: ``torch.compile(model, backend="tuyere", options={...})``."""

import itertools

import torch
import torch._dynamo.config

from . import core, stats, wrapped
from . import options as _options

torch._dynamo.config.allow_rnn = True  # else it breaks its graph at LSTM, GRU and RNN, which we run whole

_numbers = itertools.count()
_PLAIN = (torch.Tensor, torch.nn.Parameter)
GRAD_WARNING = (
    "tuyere: gradients are required, so the model runs as PyTorch runs it; "
    "call it under torch.no_grad() or torch.inference_mode() to run it compiled"
)


def backend(gm: torch.fx.GraphModule, example_inputs, *, options=None, mode=None):
    """Compiles one Dynamo graph; the entry point named "tuyere"."""
    parsed = _options.parse(options, mode)
    record = stats.Record(f"graph {next(_numbers)}")
    eager = gm.forward
    if needs_grad(gm, example_inputs):
        core.warn_once(GRAD_WARNING)
        record.notes.append("gradients are required: the graph runs in PyTorch")
        stats.publish(record)
        return eager
    placeholders = [node for node in gm.graph.nodes if node.op == "placeholder"]
    fakes = [node.meta.get("example_value", example) for node, example in zip(placeholders, example_inputs)]
    why = _refusal(example_inputs)
    if why:
        record.notes.append(f"the graph runs in PyTorch: {why}")
        stats.publish(record)
        return eager
    _specialize_floats(placeholders)
    roles = [role(node, example) for node, example in zip(placeholders, example_inputs)]
    if any(map(wrapped.wraps, example_inputs)):
        return _unwrapped(gm, example_inputs, fakes, roles, parsed, record)
    call = core.build(gm, fakes, roles, parsed, record, eager, examples=example_inputs)
    if call is not eager and parsed.release_weights:
        # Now, before Dynamo makes its guards: they then expect the released parameters.
        from .release import release

        values = [example.node.hint if isinstance(example, torch.SymInt) else example for example in example_inputs]
        if record.segments and not record.wrapped:
            call(*values)
            release(record, roles, values)
    return call if call is eager else core.guarded(call, eager)


def _unwrapped(gm, examples, fakes, roles, parsed, record):
    """A graph over tensors that wrap others, compiled over these."""
    record.wrapped = True
    counts = [len(wrapped.plain(fake)) for fake in fakes]
    flat = [leaf for fake in fakes for leaf in wrapped.plain(fake)]
    kinds = [kind for kind, count in zip(roles, counts) for _ in range(count)]
    inner = core.build(wrapped.over_plain(gm, fakes), flat, kinds, parsed, record, None)
    return gm.forward if inner is None else core.guarded(wrapped.flattening(inner, examples), gm.forward)


def _specialize_floats(placeholders) -> None:
    """Asks Dynamo to trace anew with the model's floats (an epsilon, a scale) as constants.

    With dynamic=True it makes them inputs: tensors of one number whose only use is ``item``.
    """
    from torch._dynamo.exc import TensorifyScalarRestartAnalysis
    from torch._dynamo.symbolic_convert import TensorifyState

    names = set()
    for node in placeholders:
        memo = getattr(node.meta.get("example_value"), "item_memo", None)
        if isinstance(memo, torch.SymFloat) and all(user.target == "item" for user in node.users):
            names.add(getattr(memo.node._expr, "name", None))
    names = {name for name in names if name and not TensorifyState.should_specialize(name)}
    for name in names:
        TensorifyState.specialize(name)
    if names:
        raise TensorifyScalarRestartAnalysis


def needs_grad(gm, examples) -> bool:
    """Would PyTorch record this graph for a backward pass?"""
    if not torch.is_grad_enabled():
        return False
    tensors = [x for x in examples if isinstance(x, torch.Tensor)]
    tensors += [*gm.parameters(), *gm.buffers()]
    return any(t.requires_grad for t in tensors)


def role(node, example) -> str:
    """"param" for tensors that outlive the call: the model's parameters and buffers."""
    if isinstance(example, torch.nn.Parameter):
        return "input" if example.is_inference() else "param"
    grapharg = node.meta.get("grapharg")
    source = getattr(grapharg, "source", None)
    if source is None or not isinstance(example, torch.Tensor):
        return "input"
    name = source.name() if callable(source.name) else source.name
    kept = "._buffers[" in name or "._parameters[" in name
    return "param" if kept and not example.is_inference() else "input"


def _refusal(examples) -> str | None:
    from torch._subclasses.fake_tensor import FakeTensor

    for example in examples:
        if isinstance(example, torch.Tensor):
            if type(example) not in _PLAIN and not isinstance(example, FakeTensor) and not wrapped.wraps(example):
                return f"a tensor subclass: {type(example).__name__}"
    return None
