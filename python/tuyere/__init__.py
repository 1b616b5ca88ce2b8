"""tuyere: compiles PyTorch models for inference on CPUs: ``torch.compile(model, backend="tuyere")``.

Names are imported when they are first used: what runs deployed models (``load``) needs no PyTorch.
"""

import importlib

__version__ = "0.1.0"

_FROM = {
    "Compiled": "direct",
    "Explanation": "explain",
    "LoadedModel": "artefact",
    "Mismatch": "_ext",
    "Profile": "profile",
    "Unsupported": "_ext",
    "cache_clear": "table",
    "cache_dir": "table",
    "compile": "direct",
    "compile_count": "stats",
    "cpu": "table",
    "explain": "explain",
    "last_compile_seconds": "stats",
    "load": "artefact",
    "profile": "profile",
    "set_threads": "table",
    "supported_ops": "table",
    "supported_schemas": "table",
}
__all__ = list(_FROM)


def __getattr__(name: str):
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_FROM[name]}", __name__)
    # All of the module's at once: the import has put the module itself where a function of that name belongs.
    globals().update({other: getattr(module, other) for other, source in _FROM.items() if source == _FROM[name]})
    return globals()[name]


def __dir__():
    return sorted({*globals(), *_FROM})
