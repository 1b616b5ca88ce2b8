"""Weights and buffers that change, are shared or released: folded again when that is needed, and only then."""

import copy
import gc
import pickle
import threading

import pytest
import torch
from torch import nn

import tuyere
from support import MLP, STRICT, Block, close, doors, programs_of
from tuyere import stats

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.mark.parametrize("door", [0, 1])
def test_weights_change(door):
    model = MLP().eval()
    x = torch.randn(3, 16)
    compiled = doors(model, x)[door]

    def check():
        for _ in range(2):
            close(compiled(x), model(x))

    check()
    before = tuyere.compile_count()
    model.a.weight.mul_(2)  # in place
    check()
    model.a.weight.data = torch.randn(32, 16)  # other memory, same parameter
    check()
    model.b.load_state_dict({k: torch.randn_like(v) for k, v in model.b.state_dict().items()})
    check()
    model.scale.fill_(3.0)  # a buffer
    check()
    assert tuyere.compile_count() == before
    model.b.weight = nn.Parameter(torch.randn(16, 32))  # replaced
    check()
    model.load_state_dict({k: torch.randn_like(v) for k, v in model.state_dict().items()}, assign=True)
    check()
    model.a = nn.Linear(16, 32)  # another module
    check()
    model.a.weight.data = torch.randn(16, 32).t()  # another layout
    check()


@pytest.mark.parametrize("door", [0, 1])
def test_weights_that_come_back_to_an_address(door):
    """Memory freed by one replacement is given to the next: pointer and version alone would not tell them apart."""
    model = nn.Linear(64, 64, bias=False).eval()
    x = torch.randn(2, 64)
    compiled = doors(model, x)[door]
    for _ in range(5):
        close(compiled(x), model(x))
        for _ in range(3):
            model.weight.data = torch.randn(64, 64)
        close(compiled(x), model(x))
        for _ in range(3):
            model.weight = nn.Parameter(torch.randn(64, 64))


def test_weights_are_packed_once():
    model = MLP().eval()
    x = torch.randn(3, 16)
    compiled = tuyere.compile(model, x, strict=True)
    for _ in range(5):
        compiled(x)
    program = compiled._tuyere_engine.records[0].segments[0].program
    assert program.counts() == {"calls": 6, "folds": 1, "sets": 1, "renewals": 0, "parameters": 5}  # compile made the first


def test_tied_weights():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)).eval()
    model[2].weight = model[0].weight
    x = torch.randn(2, 8)
    for compiled in doors(model, x):
        close(compiled(x), model(x))
        model[0].weight.add_(0.1)
        close(compiled(x), model(x))


@pytest.mark.parametrize("door", [0, 1])
def test_released_weights(door):
    model = MLP(64).eval()
    x = torch.randn(2, 64)
    want = model(x)
    chosen = {"strict": True, "release_weights": True}
    compiled = tuyere.compile(model, x, **chosen) if door else torch.compile(model, backend="tuyere", options=chosen)
    close(compiled(x), want)
    before = tuyere.compile_count()
    for _ in range(3):
        close(compiled(x), want)
    assert tuyere.compile_count() == before
    for use in (
        lambda: model(x),
        lambda: model.a.weight + 1,
        lambda: model.a.weight.data_ptr(),
        lambda: model.state_dict(),
        lambda: pickle.dumps(model),
        lambda: copy.deepcopy(model),
        lambda: model.double(),
    ):
        with pytest.raises(RuntimeError, match="released"):
            use()
    close(compiled(x), want)
    model.a.weight = nn.Parameter(torch.randn(32, 64))
    with pytest.raises(RuntimeError, match="released"):
        compiled(x)


def test_regional_compilation():
    """One compiled block used with several sets of weights."""
    blocks = nn.ModuleList([MLP() for _ in range(3)]).eval()
    x = torch.randn(2, 16)
    want = x
    for block in blocks:
        want = block(want)
    for block in blocks:
        block.compile(backend="tuyere", options=STRICT)
    for _ in range(3):
        got = x
        for block in blocks:
            got = block(got)
        close(got, want)


def test_layers_that_share_a_graph_are_folded_once_each():
    blocks = nn.ModuleList([Block() for _ in range(6)]).eval()
    x = torch.randn(2, 5, 16)

    def run(x):
        for block in blocks:
            x = block(x)
        return x

    want = run(x)
    for block in blocks:
        block.compile(backend="tuyere", options=STRICT)
    with stats.recording() as records:
        close(run(x), want)
        (program,) = programs_of(records)
        assert program.counts()["sets"] == 6
        folds = program.counts()["folds"]
        for _ in range(3):
            close(run(x), want)
        assert program.counts()["folds"] == folds == 6

        blocks[2].qkv.weight.mul_(0.5)  # in place: this layer's only
        blocks[4].out.weight.data = torch.randn(16, 16)  # other memory
        blocks[5].norm.bias = nn.Parameter(torch.randn(16))  # another parameter
        want = x
        for block in blocks:
            want = block.forward(want)
        for _ in range(2):
            close(run(x), want)
        assert program.counts()["folds"] == 9
        assert program.counts()["sets"] == 6
        del block, blocks[1:]  # their folded weights go when others need room
        gc.collect()
        blocks.append(Block().eval())
        want = blocks[1](blocks[0].forward(x))
        blocks[1].compile(backend="tuyere", options=STRICT)
        close(run(x), want)
        assert program.counts()["sets"] < 6
    assert len(records) == 1


def test_more_sets_of_weights_than_are_kept():
    layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(70)]).eval()
    x = torch.randn(3, 8)
    with stats.recording() as records:
        for layer in layers:
            layer.compile(backend="tuyere", options=STRICT)
        for _ in range(5):
            for layer in layers:
                close(layer(x), layer.forward(x))
    for program in programs_of(records):
        counts = program.counts()
        assert counts["sets"] == 64 and counts["renewals"] == 0


def test_sets_of_weights_in_several_threads():
    layers = nn.ModuleList([MLP() for _ in range(4)]).eval()
    x = torch.randn(3, 16)
    wants = [layer(x) for layer in layers]
    for layer in layers:
        layer.compile(backend="tuyere", options=STRICT)
    layers[0](x)
    wrong = []

    def work(first):
        with torch.no_grad():
            for i in range(60):
                k = (first + i) % 4
                if not torch.allclose(layers[k](x), wants[k], atol=1e-5):
                    wrong.append(k)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class Cache(nn.Module):
    """A buffer that is another one, or has other values, at every call; and weights that rest."""

    def __init__(self, width=16):
        super().__init__()
        self.q, self.o = nn.Linear(width, width), nn.Linear(width, width)
        self.register_buffer("keys", torch.randn(8, width))

    def forward(self, x):
        return self.o(torch.softmax(self.q(x) @ self.keys.t(), -1) @ self.keys)


@pytest.mark.parametrize("door", [0, 1])
@pytest.mark.parametrize("change", ["in place", "data", "replaced", "in turn"])
def test_buffers_that_change_at_every_call(door, change):
    model = Cache().eval()
    x = torch.randn(3, 16)
    kept = [torch.randn(8, 16) for _ in range(3)]
    with stats.recording() as records:
        compiled = doors(model, x)[door]
        for i in range(12):
            if change == "in place":
                model.keys[i % 8] = torch.randn(16)
            elif change == "data":
                model.keys.data = torch.randn(8, 16)
            elif change == "replaced":
                model.keys = torch.randn(8, 16)
            else:
                model.keys = kept[i % 3]
            close(compiled(x), model(x))
        before = programs_of(records)[-1].counts()
        assert before["renewals"] == 1 and before["folds"] <= 6
        for _ in range(4):
            model.keys.add_(1)
            close(compiled(x), model(x))
        after = programs_of(records)[-1].counts()
        assert after["folds"] == before["folds"] and after["calls"] == before["calls"] + 4
        model.o.weight.mul_(2)  # what rests is folded still
        close(compiled(x), model(x))
        close(compiled(x), model(x))
        assert programs_of(records)[-1].counts()["folds"] == before["folds"] + 1


def test_running_statistics():
    model, other = nn.BatchNorm1d(6).train(), nn.BatchNorm1d(6).train()
    compiled = torch.compile(model, backend="tuyere", options=STRICT)
    for _ in range(8):
        x = torch.randn(5, 6)
        close(compiled(x), other(x))
        close(model.running_var, other.running_var)


def test_weights_in_training_stay_weights():
    """All of them change at every call: that is no reason to run without packing for ever."""
    model = MLP().eval()
    del model.scale
    model.scale = 1.0
    x = torch.randn(3, 16)
    compiled = tuyere.compile(model, x, strict=True)
    for _ in range(8):
        for p in model.parameters():
            p.mul_(0.9)
        close(compiled(x), model(x))
    counts = compiled._tuyere_engine.records[0].segments[0].program.counts()
    assert counts["renewals"] == 0 and counts["folds"] == 9 and counts["sets"] == 1
