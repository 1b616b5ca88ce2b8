"""What the C library says of itself: operators, CPU, cache, threads; and which PyTorch decompositions follow from it."""

import functools
from collections.abc import Mapping

import torch

from . import _ext, quantised

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


class _Decompositions(Mapping):
    """What to take apart while tracing: every operator that the table lacks and that PyTorch can express by others.

    Operators of the table stay whole. Looked up one by one: listing all that PyTorch has takes longer than tracing a model.
    """

    def __contains__(self, op):
        return _decomposition(op) is not None

    def __getitem__(self, op):
        return _decomposition(op)

    def __iter__(self):
        from torch._export.utils import _collect_all_valid_cia_ops

        return (op for op in {**_core(), **dict.fromkeys(_collect_all_valid_cia_ops())} if op in self)

    def __bool__(self):
        return True

    def __len__(self):
        return sum(1 for _ in self)


DECOMPOSITIONS = _Decompositions()


@functools.cache
def _decomposition(op):
    from torch._export.utils import _is_preservable_cia_op

    if not isinstance(op, torch._ops.OpOverload) or op_name(op) in supported_schemas():
        return None
    function = quantised.decomposition(op)
    if function is not None:
        return function
    if _is_preservable_cia_op(op):
        return functools.partial(_decompose, op)
    return _core().get(op) if op not in _RANDOM else None


@functools.cache
def _core() -> dict:
    from torch._decomp import _core_aten_decompositions_post_autograd

    return {torch.ops.aten.sym_numel.default: torch._decomp.decompositions.sym_numel, **_core_aten_decompositions_post_autograd()}


def _decompose(op, *args, **kwargs):
    return op.decompose(*args, **kwargs)


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
