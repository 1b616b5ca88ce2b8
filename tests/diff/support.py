"""What the diff tests share: compiling through both doors and comparing with eager."""

import torch
from torch.utils import _pytree as pytree

import tuyere


def through_dynamo(model, *args, **kwargs):
    """The model through ``torch.compile``; the example inputs are not needed there."""
    return torch.compile(model, backend="tuyere")


def through_compile(model, *args, **kwargs):
    """The model through ``tuyere.compile``."""
    return tuyere.compile(model, *args, **kwargs)


DOORS = (through_dynamo, through_compile)


def clone(tree):
    """Nested inputs with their tensors copied, strides kept, so that mutations can be compared."""

    def copy(tensor):
        fresh = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
        return fresh.copy_(tensor)

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


def fallbacks(function, *args, **kwargs) -> dict[str, str]:
    """Operators of the function that run in PyTorch, with the reasons that explain gives."""
    return tuyere.explain(function, *args, **kwargs).fallbacks
