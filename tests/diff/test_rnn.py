"""Recurrent networks against eager: every kind, layers, directions, projections, sizes around the kernels' blocks."""

import pytest
import torch

import tuyere
from support import assert_same, native_and_fallbacks
from tuyere import stats

KINDS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "tanh": torch.nn.RNN, "relu": torch.nn.RNN}


class Net(torch.nn.Module):
    """A layer with or without states of its own, whose states are results too."""

    def __init__(self, kind, size, hidden, **more):
        super().__init__()
        if kind in ("tanh", "relu"):
            more["nonlinearity"] = kind
        self.rnn = KINDS[kind](size, hidden, **more)

    def forward(self, x, *states):
        y, states = self.rnn(x, (states if len(states) > 1 else states[0]) if states else None)
        return y, states


def compare(net, *inputs):
    with torch.no_grad():
        expected = net(*inputs)
        with stats.recording() as records:
            fast = tuyere.compile(net, *inputs)
        for _ in range(2):
            assert_same(fast(*inputs), expected, rtol=1e-4, atol=2e-5)
    ran, reasons = native_and_fallbacks(records)
    assert not reasons and any("input" in name for name in ran), reasons


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("hidden", [1, 16, 21, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_sizes(kind, hidden, batch):
    compare(Net(kind, 9, hidden), torch.randn(5, batch, 9))


@pytest.mark.parametrize("more", [
    {"num_layers": 2}, {"bidirectional": True}, {"batch_first": True}, {"bias": False},
    {"num_layers": 2, "bidirectional": True, "batch_first": True}, {"num_layers": 3, "bidirectional": True, "bias": False},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_forms(kind, more):
    net = Net(kind, 12, 20, **more)
    states = [torch.randn(more.get("num_layers", 1) * (1 + more.get("bidirectional", False)), 3, 20) for _ in range(1 + (kind == "lstm"))]
    compare(net, torch.randn(*((3, 6) if more.get("batch_first") else (6, 3)), 12))
    compare(net, torch.randn(*((3, 6) if more.get("batch_first") else (6, 3)), 12), *states)


@pytest.mark.parametrize("more", [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True, "num_layers": 3}], ids=str)
def test_projection(more):
    compare(Net("lstm", 10, 40, proj_size=18, **more), torch.randn(4, 5, 10))


@pytest.mark.parametrize("kind", KINDS)
def test_dynamo(kind):
    """Through ``torch.compile`` a recurrent layer is part of the graph, too."""
    net, x = Net(kind, 5, 7, batch_first=True).eval(), torch.randn(2, 4, 5)
    with torch.no_grad(), stats.recording() as records:
        assert_same(torch.compile(net, backend="tuyere")(x), net(x), rtol=1e-4, atol=2e-5)
    ran, reasons = native_and_fallbacks(records)
    assert not reasons and any("input" in name for name in ran), reasons


def test_large_meets_at_each_step():
    """Hidden layers that all threads share, in one direction."""
    compare(Net("lstm", 64, 200, num_layers=2), torch.randn(20, 3, 64))
    compare(Net("gru", 64, 200), torch.randn(20, 9, 64))
    compare(Net("lstm", 32, 160, proj_size=80), torch.randn(12, 8, 32))


def test_values_that_are_not_finite():
    x = torch.randn(4, 2, 8)
    x[1, 0, 3] = float("nan")
    x[2, 1, 0] = float("inf")
    for kind in KINDS:
        compare(Net(kind, 8, 16), x)


def test_declined():
    net = Net("lstm", 4, 5).double()
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    with torch.no_grad():
        assert_same(tuyere.compile(net, x)(x), net(x))
