"""The built command, and the models whose archives it is tried on."""

import dataclasses
import os
import pathlib

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
