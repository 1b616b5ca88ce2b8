"""The options of both doors: their names, defaults and checks, in one table."""

import dataclasses
import difflib
import os

import torch

MODES = (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")

FPMATH = ("f32", "bf16")
WEIGHTS = ("int8", "int8wo", "int4", "int4g32", "int4g128")


@dataclasses.dataclass(frozen=True)
class Options:
    """What options={...} may hold."""

    release_weights: bool = False  # free the originals of packed weights after the first run
    no_compiler: bool = False  # never call a C compiler: the library's own kernels and interpreted loops
    threads: int = 0  # of a run of this model, at most; 0: those of the process (OMP_NUM_THREADS, tuyere.set_threads)
    sizes_kept: int = 0  # tuples of input sizes whose plans are kept; 0: LRU_CACHE_CAPACITY, or 64
    huge_pages: bool | None = None  # for working memory and packed weights; None: THP_MEM_ALLOC_ENABLE, or yes
    weights: str | None = None  # of linear layers, packed in few bits: one of WEIGHTS; "int8" makes their inputs 8 bits too
    fpmath: str | None = None  # "f32", or "bf16": matrix products of float32 round to bf16 and sum in float32; None: see parse
    max_autotune: bool = False  # the kernel of a convolution is chosen by measuring those that could be, and the cache remembers it; mode="max-autotune"
    dump: str | None = None  # comma-separated passes, or "all": graph text after them goes to stderr
    strict: bool = False  # raise what went wrong inside tuyere instead of running in PyTorch (for debugging)


def parse(options, mode=None) -> Options:
    """Options from a mapping; an unknown name or a wrong type is a ValueError that lists the known ones.

    fpmath is what was asked for, else what TUYERE_FPMATH says, else "bf16" where torch.set_float32_matmul_precision("medium") was
    called or DNNL_DEFAULT_FPMATH_MODE is BF16, else "f32".
    """
    if mode not in MODES:
        raise ValueError(f"tuyere: unknown mode {mode!r}; known modes: {', '.join(map(repr, MODES[1:]))}")
    known = {field.name: field for field in dataclasses.fields(Options)}
    given = {"max_autotune": str(mode).startswith("max-autotune"), **(options or {})}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"tuyere: unknown option {name!r}{hint}; known options: {', '.join(sorted(known))}")
        kind = known[name].type
        if not isinstance(value, kind) or (kind is int and (isinstance(value, bool) or not 0 <= value < 2**31)):
            names = "an int of at least 0" if kind is int else "a " + getattr(kind, "__name__", str(kind).replace(" | ", " or "))
            raise ValueError(f"tuyere: option {name!r} must be {names}, got {value!r}")
    if given.get("weights") not in (None, *WEIGHTS):
        raise ValueError(f"tuyere: option 'weights' must be one of {', '.join(map(repr, WEIGHTS))}, got {given['weights']!r}")
    if given.get("fpmath") not in (None, *FPMATH):
        raise ValueError(f"tuyere: option 'fpmath' must be one of {', '.join(map(repr, FPMATH))}, got {given['fpmath']!r}")
    if given.get("fpmath") is None and not os.environ.get("TUYERE_FPMATH") and torch.get_float32_matmul_precision() == "medium":
        given["fpmath"] = "bf16"
    return Options(**given)
