"""Seeds for the fuzzers: archives of small models in both dialects, their JSON, graphs before and after the passes, NumPy files.

``seeds.py DIRECTORY`` fills DIRECTORY/archive, /program, /graph, /build and /npy.
"""

import json
import pathlib
import random
import re
import sys
import zipfile

import numpy as np
import torch
from torch import nn
from torch.export import Dim, export


class Everything(nn.Module):
    """Symbolic sizes, literals, lists of tensors, in-place updates, tied and strided weights, a changed buffer, constants."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(16, 8)
        self.out = nn.Linear(8, 16, bias=False)
        self.out.weight = self.table.weight
        self.part = nn.Parameter(torch.arange(64.0)[3::2][:8])
        self.norm = nn.LayerNorm(8)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("scale", torch.ones(8), persistent=False)

    def forward(self, ids, mask=None, *, flag=True):
        self.calls.add_(1)
        x = self.table(ids) * self.part + self.scale
        x = x + nn.functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], attn_mask=mask)[:, 0]
        a, b = self.norm(x).split([4, 4], dim=-1)
        a = a.relu_()
        y = torch.cat([b, a * float("-inf") if not flag else a], dim=-1).reshape(-1, 8)
        return {"logits": self.out(y), "sizes": (ids.shape[0] * 2, None, 3, "text")}, x.mean(1) + torch.tensor([1.0, 2.0] * 4)


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1, groups=2)
        )

    def forward(self, x):
        return self.layers(x).flatten(1)


def models():
    batch, length = Dim("batch", min=1, max=64), Dim("length", min=2, max=512)
    ids = torch.zeros(2, 5, dtype=torch.int64)
    yield "everything", Everything(), (ids,), {}, {"ids": {0: batch, 1: length}}
    yield "masked", Everything(), (ids, torch.ones(2, 1, 5, 5, dtype=torch.bool)), {"flag": False}, None
    yield "convolution", Convolution(), (torch.zeros(2, 3, 8, 8),), {}, {"x": {0: batch}}
    yield "mlp", nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2)), (torch.zeros(3, 4),), {}, None


def member(archive, ending):
    data = next((archive.read(name) for name in archive.namelist() if name.endswith(ending)), b"")
    if not ending.endswith("model.json"):
        return data
    program = json.loads(data)  # without traces, which are most of it
    for node in program["graph_module"]["graph"]["nodes"]:
        node["metadata"] = {key: text for key, text in node["metadata"].items() if key == "nn_module_stack"}
    return json.dumps(program).encode()


def main() -> None:
    out = pathlib.Path(sys.argv[1])
    for kind in ("archive", "program", "graph", "build", "npy"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    for name, model, args, kwargs, dynamic in models():
        with torch.no_grad():
            whole = export(model.eval(), args, kwargs, dynamic_shapes=dynamic)
        for dialect, exported in (("export", whole), ("core", whole.run_decompositions())):
            path = out / "archive" / f"{name}_{dialect}.pt2"
            torch.export.save(exported, path)
            with zipfile.ZipFile(path) as archive:
                program, config = (member(archive, end) for end in ("models/model.json", "model_weights_config.json"))
                weights = [archive.read(each) for each in archive.namelist() if "/weight_" in each]
            config = re.sub(rb"weight_\d+", b"weight_0", config)  # the fuzzer has one member for all
            (out / "program" / f"{name}_{dialect}").write_bytes(b"\0".join((program, config, max(weights, key=len, default=b""))))
    golden = pathlib.Path(__file__).parent.parent / "golden"
    for path in golden.glob("*.txt"):
        before, after = path.read_text().split("--- in\n")[1].split("--- out\n")
        (out / "graph" / f"{path.stem}_in").write_text(before)
        (out / "graph" / f"{path.stem}_out").write_text(after)
    for index, kind in enumerate(("?", "u1", "i1", "<i2", ">i4", "<i8", "<f2", ">f4", "<f8")):
        for version in ((1, 0), (2, 0)):
            with open(out / "npy" / f"{index}_{version[0]}", "wb") as f:
                np.lib.format.write_array(f, np.ones((2, 3, index % 3)[: index % 4], kind, order="CF"[index % 2]), version)
    random.seed(0)
    for index in range(64):
        (out / "build" / f"random_{index}").write_bytes(random.randbytes(40 + 8 * index))


if __name__ == "__main__":
    main()
