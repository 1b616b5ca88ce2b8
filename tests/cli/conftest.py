"""Archives that the installed torch exports, in the folder in which commands run."""

import os
import subprocess

import pytest
import torch

from command import BINARY, Cnn, Encoder, Mlp, Result, Sorted, Turn, save


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with the archives, in which commands run."""
    torch.manual_seed(1337)
    path = tmp_path_factory.mktemp("cli")
    save(Mlp(), (torch.randn(2, 4),), path / "mlp.pt2")
    batch, length = torch.export.Dim("batch", min=1, max=16), torch.export.Dim("length", min=2, max=64)
    ids = torch.randint(0, 50, (2, 7))
    dims = {"ids": {0: batch, 1: length}, "mask": {0: batch, 1: length}}
    save(Encoder(), (ids, torch.ones_like(ids)), path / "encoder.pt2", dynamic_shapes=dims)
    save(Cnn(), (torch.randn(2, 3, 16, 20),), path / "cnn.pt2")
    kinds = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float32, torch.float64)
    save(Turn(), tuple(torch.zeros(2, 3, dtype=kind) for kind in kinds), path / "turn.pt2")
    save(Sorted(), (torch.randn(3, 3),), path / "sorted.pt2")
    (path / "text.pt2").write_text("no archive\n")
    return path


@pytest.fixture(scope="session")
def tuyere(place, tmp_path_factory):
    """Runs the command in the folder with the archives, with a kernel cache of the session's own."""
    cache = tmp_path_factory.mktemp("cache")

    def run(*args, **env) -> Result:
        assert BINARY.is_file(), f"{BINARY} is not built"
        chosen = {k: v for k, v in os.environ.items() if not k.startswith("TUYERE_")}
        chosen |= {"TUYERE_CACHE_DIR": str(cache), "TUYERE_NUM_THREADS": "2", **env}
        done = subprocess.run([str(BINARY), *map(str, args)], cwd=place, env=chosen, capture_output=True, text=True, timeout=120)
        return Result(done.returncode, done.stdout, done.stderr)

    return run


def pytest_addoption(parser):
    parser.addoption("--update", action="store_true", help="write the expected output of the golden command lines anew")
