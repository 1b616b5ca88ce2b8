"""options={"release_weights": True}: frees the originals of packed weights; their later use is an error that says so."""

import torch

from . import core

MESSAGE = (
    'tuyere: this weight was released after packing (options={"release_weights": True}): '
    "only the compiled model can use it; load the model again to use its weights"
)


def releasing(call, record, roles):
    """Like `call`; after its first run the parameters that only folded steps read lose their memory."""
    state = {"done": False}

    def run(*args):
        out = call(*args)
        if not state["done"]:
            state["done"] = True
            release(record, roles, args)
        return out

    return run


def release(record, roles, args) -> int:
    """Releases what may be released; returns how many bytes."""
    free = {i for i, role in enumerate(roles) if role == "param" and isinstance(args[i], torch.Tensor)} - record.read_by_torch
    taken = set()
    for segment in record.segments:
        folded = set(segment.program.folded())
        for position, index in enumerate(segment.arguments):
            if index is not None:
                (taken.add if position in folded else free.discard)(index)
    free &= taken
    error = getattr(torch._C, "_set_storage_access_error_msg", None)
    if not free or error is None:
        core.warn_once("tuyere: release_weights: nothing could be released")
        return 0
    total = 0
    for segment in record.segments:
        segment.program.release({p: args[i] for p, i in enumerate(segment.arguments) if i in free})
    for i in free:
        total += args[i].untyped_storage().nbytes()
        error(args[i], MESSAGE)
    record.notes.append(f"released {len(free)} weights, {total / 2**20:.1f} MiB")
    return total
