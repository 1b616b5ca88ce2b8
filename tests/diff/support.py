"""What the diff tests share: compiling through both doors and comparing with eager."""

import collections

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import tuyere
from tuyere import stats


def through_dynamo(model, *args, **kwargs):
    """The model through ``torch.compile``; the example inputs are not needed there."""
    return torch.compile(model, backend="tuyere")


def through_compile(model, *args, **kwargs):
    """The model through ``tuyere.compile``."""
    return tuyere.compile(model, *args, example_kwargs=kwargs)


DOORS = (through_dynamo, through_compile)
STRICT = {"strict": True}


def doors(model, *args, strict=True, **options):
    """The model through both doors."""
    chosen = {"strict": True, **options} if strict else options
    return [torch.compile(model, backend="tuyere", options=chosen), tuyere.compile(model, *args, **chosen)]


def close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def clone(tree):
    """Nested inputs with their tensors copied, strides kept, so that mutations can be compared."""

    def copy(tensor):
        fresh = torch.empty(0, dtype=tensor.dtype)
        return fresh.set_(tensor.untyped_storage().clone(), tensor.storage_offset(), tensor.shape, tensor.stride())

    return pytree.tree_map_only(torch.Tensor, copy, tree)


def assert_same(ours, theirs, **tolerances):
    """Same structure, same types, shapes and dtypes, values close (bit for bit where they are not floating point)."""
    our_leaves, our_spec = pytree.tree_flatten(ours)
    their_leaves, their_spec = pytree.tree_flatten(theirs)
    assert our_spec == their_spec
    for mine, expected in zip(our_leaves, their_leaves):
        assert type(mine) is type(expected)
        if isinstance(expected, torch.Tensor):
            torch.testing.assert_close(mine, expected, equal_nan=True, **tolerances)
        else:
            assert mine == expected


def check(model, *args, door=through_dynamo, **kwargs):
    """Compiles the model, calls it twice and compares outputs and inputs (mutations) with eager; returns the compiled one."""
    with torch.no_grad():
        eager_args, eager_kwargs = clone((args, kwargs))
        expected = model(*eager_args, **eager_kwargs)
        compiled = door(model, *clone(args), **clone(kwargs))
        for _ in range(2):
            our_args, our_kwargs = clone((args, kwargs))
            assert_same(compiled(*our_args, **our_kwargs), expected)
            assert_same((our_args, our_kwargs), (eager_args, eager_kwargs))
    return compiled


def native_and_fallbacks(records) -> tuple[collections.Counter, dict[str, str]]:
    """From what ``tuyere.stats.recording`` collected: how often each operator runs natively, and why others do not."""
    native, reasons = collections.Counter(), {}
    for record in records:
        for segment in record.segments:
            native.update(segment.operators)
        reasons.update({operator: reason for operator, reason, _ in record.fallbacks})
    return native, reasons


def fallbacks(function, *args, **kwargs) -> dict[str, str]:
    """Operators of the function that run in PyTorch, with the reasons."""
    with stats.recording() as records:
        tuyere.compile(function, *args, example_kwargs=kwargs)
    assert any(record.segments for record in records), [record.notes for record in records]
    return native_and_fallbacks(records)[1]


def programs_of(records):
    return [segment.program for record in records for segment in record.segments]


class MLP(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.a, self.b = nn.Linear(width, 32), nn.Linear(32, width)
        self.register_buffer("scale", torch.tensor([2.0]))

    def forward(self, x):
        return x + self.b(F.gelu(self.a(x))) * self.scale


class Block(nn.Module):
    def __init__(self, width=16, heads=2):
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, mask=None):
        b, s, w = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, s, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return x + self.out(y.transpose(1, 2).reshape(b, s, w))
