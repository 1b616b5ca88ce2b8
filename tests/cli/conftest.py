"""Archives that the installed torch exports, and the built command."""

import dataclasses
import os
import pathlib
import subprocess

import pytest
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ROOT / os.environ.get("TUYERE_BUILD", "build") / "tuyere"


@dataclasses.dataclass
class Result:
    code: int
    out: str
    err: str


class Mlp(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(4, 8), torch.nn.Linear(8, 3)

    def forward(self, x):
        return self.down(torch.nn.functional.gelu(self.up(x)))


class Encoder(torch.nn.Module):
    """Ids and a mask to a sentence vector: embedding, attention, feed-forward, masked mean."""

    def __init__(self):
        super().__init__()
        self.words, self.places = torch.nn.Embedding(50, 16), torch.nn.Embedding(64, 16)
        self.qkv, self.out = torch.nn.Linear(16, 48), torch.nn.Linear(16, 16)
        self.up, self.down = torch.nn.Linear(16, 32), torch.nn.Linear(32, 16)
        self.norm = torch.nn.LayerNorm(16)

    def forward(self, ids, mask):
        b, s = ids.shape
        x = self.words(ids) + self.places(torch.arange(s))
        q, k, v = (t.view(b, s, 2, 8).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        a = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask[:, None, None, :].bool())
        x = self.norm(x + self.out(a.transpose(1, 2).reshape(b, s, 16)))
        x = x + self.down(torch.relu(self.up(x)))
        m = mask[:, :, None].to(x.dtype)
        return {"tokens": x, "sentence": (x * m).sum(1) / m.sum(1)}


class Cnn(torch.nn.Module):
    """Convolutions with batch norm, a shortcut, pooling and a linear."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.BatchNorm2d(8)
        self.deep, self.head = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8), torch.nn.Linear(8, 5)
        torch.nn.init.uniform_(self.norm.running_mean)
        torch.nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, image):
        x = torch.relu(self.norm(self.stem(image)))
        x = torch.nn.functional.max_pool2d(x + self.deep(x), 2)
        return self.head(x.mean((2, 3)))


class Turn(torch.nn.Module):
    """One tensor of each dtype, transposed."""

    def forward(self, b, u8, i8, i16, i32, i64, f32, f64):
        return tuple(x.transpose(0, 1) for x in (b, u8, i8, i16, i32, i64, f32, f64))


class Sorted(torch.nn.Module):
    """Has an operator that does not compile."""

    def forward(self, x):
        return torch.relu(torch.linalg.inv(x))


def save(module, args, path, **kwargs):
    with torch.no_grad():
        torch.export.save(torch.export.export(module.eval(), args, **kwargs), str(path))


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
