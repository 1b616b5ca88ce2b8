"""Tensor subclasses that wrap plain tensors (quantised weights of torchao): a graph over them as one over the plain tensors."""

from torch.utils._python_dispatch import is_traceable_wrapper_subclass as wraps


def plain(value) -> list:
    """The plain tensors of a value, in order; another value is its own."""
    if not wraps(value):
        return [value]
    return [leaf for name in value.__tensor_flatten__()[0] for leaf in plain(getattr(value, name))]


def places(value, path: str = ""):
    """Where the plain tensors of a wrapping one are kept: (dict, key, tensor, path), in order."""
    for name in value.__tensor_flatten__()[0]:
        inner = getattr(value, name)
        if wraps(inner):
            yield from places(inner, f"{path}.{name}")
        else:
            yield vars(value), name, inner, f"{path}.{name}"


def again(like, leaves):
    """A value like `like` of the next plain tensors."""
    if not wraps(like):
        return next(leaves)
    names, context = like.__tensor_flatten__()
    inner = {name: again(getattr(like, name), leaves) for name in names}
    return type(like).__tensor_unflatten__(inner, context, like.shape, like.stride())


def over_plain(fn, fakes):
    """fn as a function of the plain tensors of its arguments."""

    def flat(*values):
        leaves = iter(values)
        return fn(*[again(fake, leaves) for fake in fakes])

    return flat


def flattening(call, examples):
    """A function over plain tensors as one over arguments like the examples."""
    wrapped = [wraps(example) for example in examples]

    def run(*args):
        return call(*[leaf for arg, many in zip(args, wrapped) for leaf in (plain(arg) if many else (arg,))])

    return run
