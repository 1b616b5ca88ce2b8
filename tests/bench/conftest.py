"""A document as the suites write it, small and made up: what a report must cope with."""

import copy

import pytest

ENVIRONMENT = {
    "cpu": "A CPU", "machine": "x86_64", "isa": ["avx2"], "cores": 2, "variables": {"OMP_NUM_THREADS": "2"},
    "versions": {"python": "3.11", "torch": "2.13.0"}, "pytorch_git_version": "abc", "time": "2026-11-23 12:00:00",
}  # fmt: skip


def result(seconds: float, eager: float, **more) -> dict:
    """A runner that takes always the same time."""
    return {
        "compile_s": 1.5, "weights": "random", "same": True, "error_eager": 1e-7, "error_exact": 2e-7, "min_s": seconds, "median_s": seconds,
        "calls": 4, "ratio": eager / seconds, "rounds": [[seconds, seconds], [seconds, seconds]], "rss_peak_mb": 512.0, "rss_mb": 512.0,
    } | more  # fmt: skip


OURS = {
    "inside_s": 0.1, "warm_compile_s": 0.5, "warm_inside_s": 0.02, "graphs": 2, "breaks": {"Tensor.item()": 1}, "operators": 8,
    "fallbacks": [["aten.sort.default", "not in the table of operators", 2]], "operator_share": 0.8, "time_share": 0.9, "kernels_s": 0.009,
    "torch_s": 0.001, "kernels": [["linear+<gelu>", "gemm_f32__avx2", 3, 0.008, 4e9, 1e8], ["sum", "loop 12ab", 1, 0.001, 0.0, 5e7]],
}  # fmt: skip


@pytest.fixture
def document() -> dict:
    """Three entries of two models in two settings: one fast, one where a peer fails, one wrong."""
    say = {"model": "net", "batch": 8, "settings": ["CPU batch"]}
    models = {
        "net": {
            "eager": result(0.04, 0.04),
            "openvino": result(0.02, 0.04),
            "tuyere": result(0.01, 0.04, best_peer="openvino", over_peer=2.0, **OURS),
        },
        "net-b1": {
            "eager": result(0.004, 0.004),
            "openvino": {"error": "ValueError: <no> such operator\nTraceback: ..\n  line & more"},
            "tuyere": result(0.002, 0.004, best_peer="eager", over_peer=2.0, **OURS),
        },
        "other": {
            "eager": result(0.3, 0.3),
            "openvino": result(0.2, 0.3),
            "tuyere": result(0.1, 0.3, same=False, error_eager=0.5),
        },
    }
    entries = {"net": say, "net-b1": say | {"batch": 1, "settings": ["batch 1"]}, "other": {"model": "other", "settings": ["CPU batch", "batch 1"]}}
    return copy.deepcopy(
        {
            "suite": "torchbench", "environment": ENVIRONMENT, "rounds": 2, "limits": {"gflops": 500.0, "gbs": 50.0},
            "entries": entries, "models": models,
        }  # fmt: skip
    )
