"""options={"release_weights": True}: frees the originals of packed weights; their later use is an error that says so."""

import torch

from . import core

MESSAGE = (
    'tuyere: this weight was released after packing (options={"release_weights": True}): only the compiled model has it now; '
    "load the model again to use or save its weights, and compile with dynamic sizes to run other shapes"
)
# What guards and counters ask of a parameter without touching its data.
_METADATA = {
    "_base", "_is_view", "_is_zerotensor", "_version", "__hash__", "device", "dim", "dtype", "element_size", "grad", "grad_fn",
    "is_complex", "is_conj", "is_contiguous", "is_cpu", "is_cuda", "is_floating_point", "is_inference", "is_leaf", "is_meta",
    "is_mkldnn", "is_neg", "is_nested", "is_quantized", "is_sparse", "is_sparse_csr", "itemsize", "layout", "names", "nbytes",
    "ndim", "nelement", "numel", "output_nr", "requires_grad", "shape", "size", "storage_offset", "stride",
}  # fmt: skip


class ReleasedParameter(torch.nn.Parameter):
    """A parameter whose memory was freed: it keeps shape and dtype; every use of its data raises."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", str(func))
        if name == "__get__":  # a property: its descriptor has the name
            name = getattr(getattr(func, "__self__", None), "__name__", name)
        if name not in _METADATA:
            raise RuntimeError(MESSAGE)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    def __reduce_ex__(self, protocol):
        raise RuntimeError(MESSAGE)

    def __deepcopy__(self, memo):
        raise RuntimeError(MESSAGE)

    def __repr__(self):
        return "ReleasedParameter(...)"


def release(record, roles, args) -> int:
    """Frees the parameters among a graph's arguments that only folded steps read; returns how many bytes.

    To be called after the first run. Where several tensors share memory, it goes when the last of them does.
    """
    free = {i for i, kind in enumerate(roles) if i < len(args) and kind == "param" and type(args[i]) is torch.nn.Parameter}
    free -= record.read_by_torch
    folded = set()
    for segment in record.segments:
        positions = set(segment.program.folded())
        for position, index in enumerate(segment.arguments):
            if index is not None:
                (folded.add if position in positions else free.discard)(index)
    free &= folded
    if not free:
        core.warn_once("tuyere: release_weights: nothing could be released")
        return 0
    for segment in record.segments:
        segment.program.release({p: args[i] for p, i in enumerate(segment.arguments) if i in free})
    total = sum(args[i].numel() * args[i].element_size() for i in free)
    # Address space that is never touched, and so is no memory, stands in for the data.
    most = max(sum((n - 1) * s for n, s in zip(args[i].shape, args[i].stride())) * args[i].element_size() for i in free) + 16
    nothing = torch.empty(most, dtype=torch.uint8)
    for i in free:
        tensor = args[i]
        stand_in = torch.empty(0, dtype=tensor.dtype).set_(nothing.untyped_storage(), 0, tensor.shape, tensor.stride())
        tensor.data = stand_in
        tensor.__class__ = ReleasedParameter
    record.notes.append(f"released {len(free)} weights, {total / 2**20:.1f} MiB")
    return total
