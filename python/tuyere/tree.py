"""Arguments and results as flat tensors: what tuyere.compile opens, by what it knows a call again, and how results are put back."""

import dataclasses
import enum
import inspect
import types

import torch
from torch.utils import _pytree as pytree

PLAIN = {bool, int, float, str, torch.dtype, torch.device}
_CONSTANTS = (complex, bytes, enum.Enum, type, types.FunctionType, types.BuiltinFunctionType, torch.layout, torch.memory_format, range, slice)


def constant(leaf) -> bool:
    """Can this stand in the captured graph as it is? Other objects may hold tensors, or change."""
    return leaf is None or type(leaf) in PLAIN or isinstance(leaf, _CONSTANTS)


class Same:
    """Equal to wrappers of the same object, which it keeps alive."""

    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def __hash__(self):
        return id(self.value)

    def __eq__(self, other):
        return isinstance(other, Same) and self.value is other.value


class _Fields:
    """Stands for an object that pytree does not know, so that the tensors in its fields are found."""

    def __init__(self, kind, fields):
        self.kind, self.fields = kind, fields

    def flatten(self):
        return list(self.fields.values()), (self.kind, tuple(self.fields))

    def flatten_with_keys(self):
        return [(pytree.GetAttrKey(name), value) for name, value in self.fields.items()], (self.kind, tuple(self.fields))

    @staticmethod
    def rebuild(values, context):
        kind, names = context
        out = object.__new__(kind)
        held = getattr(out, "__dict__", None)
        for name, value in zip(names, values):
            if held is None:
                object.__setattr__(out, name, value)
            else:
                held[name] = value
        return out


pytree.register_pytree_node(
    _Fields, _Fields.flatten, _Fields.rebuild, serialized_type_name="tuyere.fields", flatten_with_keys_fn=_Fields.flatten_with_keys
)


def leaves_of(tree, objects=False):
    """As pytree.tree_flatten, with dataclasses opened; objects: plain objects of Python classes as well (a cache of keys and values)."""
    leaves, spec = pytree.tree_flatten(tree)
    if any(hasattr(type(leaf), "__dataclass_fields__") or (objects and _plain_object(leaf)) for leaf in leaves):
        leaves, spec = pytree.tree_flatten(pytree.tree_map(lambda leaf: _open(leaf, objects), tree))
    return leaves, spec


def _open(leaf, objects=False, depth=0):
    kind = type(leaf)
    if depth > 8 or isinstance(leaf, (type, dict, list, tuple, set)):
        return leaf
    held = getattr(leaf, "__dict__", {})
    if dataclasses.is_dataclass(leaf):
        names = [field.name for field in dataclasses.fields(leaf)]
        if set(held) - set(names):
            return leaf
        fields = {name: getattr(leaf, name) for name in names}
    elif objects and _plain_object(leaf):
        fields = dict(held)
    else:
        return leaf
    return _Fields(kind, {name: pytree.tree_map(lambda x: _open(x, objects, depth + 1), value) for name, value in fields.items()})


def _plain_object(leaf) -> bool:
    """Is its __dict__ all that there is to it?"""
    kind = type(leaf)
    if kind.__new__ is not object.__new__ or not hasattr(leaf, "__dict__") or constant(leaf) or isinstance(leaf, torch.nn.Module):
        return False
    return kind.__basicsize__ == _Empty.__basicsize__


class _Empty:
    """As large as an instance of a class without slots."""


class Spec:
    """A TreeSpec that hashes by its text, once."""

    __slots__ = ("hash", "spec")

    def __init__(self, spec):
        self.spec, self.hash = spec, hash(str(spec))

    def __hash__(self):
        return self.hash

    def __eq__(self, other):
        return isinstance(other, Spec) and self.spec == other.spec


def unflattener(spec, n, constants):
    """From the program's results to what the model returns."""
    if not constants and spec.is_leaf():
        return lambda out: out[0]
    if not constants and spec.type is tuple and all(child.is_leaf() for child in spec.children()):
        return tuple
    if not constants and spec.type is list and all(child.is_leaf() for child in spec.children()):
        return list
    if not constants and spec.type is dict and all(child.is_leaf() for child in spec.children()):
        keys = list(spec.context)
        return lambda out: dict(zip(keys, out))
    if not constants:
        return spec.unflatten

    def unflatten(out):
        leaves, it = dict(constants), iter(out)
        return spec.unflatten([leaves[at] if at in leaves else next(it) for at in range(n)])

    return unflatten


def names_of(fn, args, kwargs) -> dict:
    """(position, value) by the name of each argument of a call."""
    names = {}
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for i, arg in enumerate(args):
        names[positional[i] if i < len(positional) else f"args[{i}]"] = (i, arg)
    for name, arg in kwargs.items():
        names[name] = (None, arg)
    return names


def leaf_names(fn, args, kwargs) -> list[str]:
    """A name for each tensor of a call: "batch['x']"."""
    names = []
    for name, (_, value) in names_of(fn, args, kwargs).items():
        for path, leaf in pytree.tree_flatten_with_path(pytree.tree_map(_open, value))[0]:
            if isinstance(leaf, torch.Tensor):
                names.append(name + pytree.keystr(path))
    return names
