"""What the C library says of itself: operators, CPU, cache, threads; and which PyTorch decompositions follow from it."""

import functools

import torch

from . import _ext

cpu = _ext.cpu


@functools.cache
def supported_schemas() -> dict[str, str]:
    """Schema text by operator name ("aten.add.Tensor"), as PyTorch prints it."""
    return {name: schema for name, schema in _ext.ops() if not name.startswith("ty.")}


def supported_ops() -> list[str]:
    """Names of the operators that tuyere compiles, sorted."""
    return sorted(supported_schemas())


def cache_clear() -> int:
    """Removes the compiled kernels from the user's cache directory and says how many there were."""
    return _ext.cache_clear()


def cache_dir() -> str:
    """The directory of compiled kernels."""
    return _ext.cache_dir()


def set_threads(n: int) -> None:
    """How many threads run compiled models; 0 goes back to the default (the cores this process may use)."""
    _ext.set_threads(n)


def op_name(target) -> str:
    """The name of an OpOverload in the table: overloads named "default" are written out."""
    return str(target)


@functools.cache
def decompositions() -> dict:
    """What to take apart while tracing: every operator that the table lacks and that PyTorch can express by others.

    Operators of the table stay whole.
    """
    from torch._decomp import core_aten_decompositions

    have = supported_schemas()
    table = {}
    for op, how in core_aten_decompositions().items():
        if isinstance(op, torch._ops.OpOverload) and op_name(op) not in have and op not in _RANDOM:
            table[op] = how
    for op in _composite():
        if op_name(op) not in have:
            table[op] = functools.partial(_decompose, op)
    return table


def _decompose(op, *args, **kwargs):
    return op.decompose(*args, **kwargs)


@functools.cache
def _composite() -> list:
    """The operators that PyTorch itself defines by other operators."""
    try:
        from torch._export.utils import _collect_all_valid_cia_ops_for_aten_namespace as collect

        return [op for op in collect() if not op._schema.is_mutable]
    except ImportError:
        return []


# Their decompositions draw other random numbers than the operators do.
_RANDOM = {
    torch.ops.aten.native_dropout.default,
    torch.ops.aten.rand.default,
    torch.ops.aten.randn.default,
    torch.ops.aten.rand_like.default,
    torch.ops.aten.randn_like.default,
    torch.ops.aten.bernoulli.default,
    torch.ops.aten.bernoulli.p,
}
