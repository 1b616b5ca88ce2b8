"""libtuyere.so through ctypes: archives opened and deployed, as a C program does it; and the models that are deployed."""

import ctypes
import os
import pathlib

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("TUYERE_BUILD", "build")


class Options(ctypes.Structure):
    _fields_ = [
        ("targets", ctypes.c_char_p),
        ("fixed", ctypes.c_char_p),
        ("dump", ctypes.c_char_p),
        ("eager", ctypes.c_bool),
        ("threads", ctypes.c_int),
        ("sizes_kept", ctypes.c_int),
        ("huge_pages", ctypes.c_int),
        ("no_compiler", ctypes.c_bool),
        ("weights", ctypes.c_char_p),
        ("fpmath", ctypes.c_char_p),
    ]


class Failure(Exception):
    pass


class Library:
    def __init__(self):
        self.so = so = ctypes.CDLL(str(BUILD / "libtuyere.so"))
        so.tuyere_context_create.restype = ctypes.c_void_p
        so.tuyere_error.restype = ctypes.c_char_p
        so.tuyere_error.argtypes = [ctypes.c_void_p]
        so.tuyere_model_destroy.restype = None
        self.context = ctypes.c_void_p(so.tuyere_context_create(None, None))

    def check(self, status: int) -> None:
        if status:
            raise Failure(self.so.tuyere_error(self.context).decode())

    def deploy(self, archive, prefix, targets: str | None = None, fixed: str | None = None, **numbers: str) -> pathlib.Path:
        """The shared object's path; ``numbers``: fpmath, weights."""
        model = ctypes.c_void_p()
        self.check(self.so.tuyere_model_open(self.context, os.fsencode(archive), ctypes.byref(model)))
        options = Options(targets and targets.encode(), fixed and fixed.encode(), **{name: text.encode() for name, text in numbers.items()})
        try:
            self.check(self.so.tuyere_model_deploy(self.context, model, ctypes.byref(options), os.fsencode(prefix)))
        finally:
            self.so.tuyere_model_destroy(model)
        return pathlib.Path(f"{prefix}.so")


class Mlp(torch.nn.Module):
    """Products with and without epilogues, an embedding that runs read, layer norm, softmax; two outputs."""

    def __init__(self):
        super().__init__()
        self.table, self.norm = torch.nn.Embedding(50, 64), torch.nn.LayerNorm(64)
        self.a, self.b = torch.nn.Linear(64, 100), torch.nn.Linear(100, 37)

    def forward(self, ids, x):
        h = self.norm(self.table(ids) + x)
        return torch.softmax(self.b(torch.nn.functional.gelu(self.a(h))), -1), h.mean(1)


class Encoder(torch.nn.Module):
    """Two encoder layers: attention, merged products, and a first output [batch, tokens, size] as sentence encoders have."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(90, 32)
        self.q, self.k, self.v, self.o = (torch.nn.Linear(32, 32) for _ in range(4))
        self.up, self.down, self.norm = torch.nn.Linear(32, 80), torch.nn.Linear(80, 32), torch.nn.LayerNorm(32)

    def forward(self, ids, mask):
        x = self.table(ids)
        for _ in range(2):
            q, k, v = (f(x).view(*x.shape[:2], 4, 8).transpose(1, 2) for f in (self.q, self.k, self.v))
            keep = mask[:, None, None, :].bool()
            y = torch.nn.functional.scaled_dot_product_attention(q, k, v, keep.expand(-1, -1, ids.shape[1], -1))
            x = self.norm(x + self.o(y.transpose(1, 2).reshape(x.shape)))
            x = self.norm(x + self.down(torch.relu(self.up(x))))
        return x


class Net(torch.nn.Module):
    """Convolutions, dense, depthwise and with narrow groups; batch norm that folds; pooling; a classifier."""

    def __init__(self):
        super().__init__()
        self.a, self.n = torch.nn.Conv2d(3, 20, 3, 2, 1), torch.nn.BatchNorm2d(20)
        self.b, self.c, self.d = torch.nn.Conv2d(20, 20, 3, 1, 1, groups=20), torch.nn.Conv2d(20, 70, 1), torch.nn.Conv2d(70, 70, 3, 1, 1)
        self.out = torch.nn.Linear(70, 11)
        torch.nn.init.uniform_(self.n.running_mean)

    def forward(self, x):
        x = torch.relu(self.n(self.a(x)))
        return self.out(torch.relu(self.d(torch.relu(self.c(self.b(x))))).mean((2, 3)))


class Counter(torch.nn.Module):
    """A buffer that a run changes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.arange(6.0).reshape(2, 3))

    def forward(self, x):
        self.seen.add_(x)
        return self.seen * 2


def dims(**ranges):
    return {name: torch.export.Dim(name, min=lo, max=hi) for name, (lo, hi) in ranges.items()}


def models() -> dict:
    """name: (model, arguments, dynamic_shapes)"""
    torch.manual_seed(0)
    d = dims(batch=(1, 64), tokens=(2, 512))
    two = {0: d["batch"], 1: d["tokens"]}
    ids = torch.randint(0, 50, (3, 7))
    return {
        "mlp": (Mlp().eval(), (ids, torch.randn(3, 7, 64)), (two, two)),
        "encoder": (Encoder().eval(), (ids, (torch.rand(3, 7) < 0.8).long().index_fill(1, torch.tensor([0]), 1)), (two, two)),
        "net": (Net().eval(), (torch.randn(1, 3, 33, 40),), None),
        "counter": (Counter().eval(), (torch.randn(2, 3),), None),
    }
