"""tuyere: compiles PyTorch models for inference on CPUs: ``torch.compile(model, backend="tuyere")``."""

from ._ext import Mismatch, Unsupported
from .direct import Compiled, compile
from .explain import Explanation, explain
from .profile import Profile, profile
from .stats import compile_count, last_compile_seconds
from .table import cache_clear, cache_dir, cpu, set_threads, supported_ops, supported_schemas

__version__ = "0.1.0"
__all__ = [
    "Compiled",
    "Explanation",
    "Mismatch",
    "Profile",
    "Unsupported",
    "cache_clear",
    "cache_dir",
    "compile",
    "compile_count",
    "cpu",
    "explain",
    "last_compile_seconds",
    "profile",
    "set_threads",
    "supported_ops",
    "supported_schemas",
]
