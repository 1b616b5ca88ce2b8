"""Models of a checkout of pytorch/benchmark: a small one, made up, with classes as there."""

import sys

import pytest
import torch

from tuyere.bench import models

MODEL = """
import torch
from ...util.model import BenchmarkModel

class Model(BenchmarkModel):
    DEFAULT_EVAL_BSIZE = 3

    def get_module(self):
        net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Dropout())
        x = torch.randn(self.batch_size, 4)
        return net, {inputs}
"""
BASE = """
class BenchmarkModel:
    def __init__(self, test, device, batch_size=None, extra_args=[]):
        assert test == "eval" and device == "cpu"
        self.batch_size = batch_size or self.DEFAULT_EVAL_BSIZE
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    files = {"util/model.py": BASE, "models/dcgan/__init__.py": MODEL.format(inputs="[x]")}
    files["models/tts_angular/__init__.py"] = MODEL.format(inputs='{"input": x}')
    for name, text in files.items():
        path = tmp_path / "torchbenchmark" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield str(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchbenchmark"]:
        del sys.modules[name]


def test_models(checkout):
    for name, batch, keyword in (("dcgan", 3, False), ("dcgan-b1", 1, False), ("tts_angular", 3, True), ("tts_angular-b1", 1, True)):
        runs = []
        for seed in (1, 2):  # as in two processes
            torch.manual_seed(seed)
            runs.append(models.build("torchbench", name, checkout))
        first, second = runs
        assert list(first.kwargs) == ["input"] * keyword and len(first.args) == 1 - keyword and not first.model.training
        assert first().shape == (batch, 5) and torch.equal(first(), second())


def test_what_it_lacks(checkout):
    with pytest.raises(ModuleNotFoundError, match="resnet18"):
        models.build("torchbench", "resnet18", checkout)
