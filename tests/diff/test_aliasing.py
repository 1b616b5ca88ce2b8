"""Inputs and buffers that a model changes, and outputs that share memory, as in eager."""

import pytest
import torch
from torch import nn

import tuyere
from support import close, doors

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.mark.parametrize("door", [0, 1])
def test_mutation_of_inputs(door):
    def f(x, y):
        x.add_(1)
        y[:, 1:3] = x[:, :2] * 2
        return x * y

    compiled = doors(f)[door]
    for _ in range(2):
        x, y = torch.randn(3, 4), torch.randn(3, 4)
        x2, y2 = x.clone(), y.clone()
        close(compiled(x, y), f(x2, y2))
        close(x, x2)
        close(y, y2)


@pytest.mark.parametrize("door", [0, 1])
def test_mutation_of_buffers(door):
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(4))
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x):
            self.seen += x.sum(0)
            return self.norm(x) * self.seen

    model, other = Counter().train(), Counter().train()
    compiled = doors(model)[door]
    for _ in range(3):
        x = torch.randn(5, 4)
        close(compiled(x), other(x))
    for got, want in zip(model.state_dict().values(), other.state_dict().values()):
        close(got, want)


@pytest.mark.parametrize("door", [0, 1])
def test_in_place_on_temporaries(door):
    def f(x):
        y = x * 2
        y[:, 0] = 5
        y.relu_()
        z = y.view(-1)
        z += 1
        return y.sum(), y

    compiled = doors(f)[door]
    x = torch.randn(3, 4)
    close(compiled(x), f(x))


def test_arguments_that_get_other_tensors():
    lin = nn.Linear(8, 8).eval()

    def f(given):
        given["y"] = lin(given["x"])
        return given["y"] + 1

    compiled = tuyere.compile(f)
    for _ in range(2):
        given = {"x": torch.randn(3, 8)}
        close(compiled(given), lin(given["x"]) + 1)
        close(given["y"], lin(given["x"]))
    assert "into its arguments" in compiled._tuyere_engine.records[0].notes[0]


@pytest.mark.parametrize("door", [0, 1])
def test_outputs_that_alias(door):
    def f(x):
        h = x * 2
        return x, x.view(-1), x.t()[1:], h, h.view(-1), h.t(), x[0]

    x = torch.randn(3, 4)
    compiled = doors(f)[door]
    got, want = compiled(x), f(x)
    close(got, want)
    for i in (0, 1, 2, 6):
        assert got[i].untyped_storage().data_ptr() == x.untyped_storage().data_ptr(), i
        assert got[i].stride() == want[i].stride()
    for i in (4, 5):
        assert got[i].untyped_storage().data_ptr() == got[3].untyped_storage().data_ptr(), i
        assert got[i].stride() == want[i].stride()
    got[1].zero_()
    assert x.abs().sum() == 0


@pytest.mark.parametrize("door", [0, 1])
def test_outputs_that_are_inputs(door):
    lin = nn.Linear(8, 8).eval()

    def f(a, b):
        return a, {"b": b, "c": lin(a) + b}, a, lin.weight

    a, b = torch.randn(3, 8), torch.randn(8)
    compiled = doors(f, a, b)[door]
    for _ in range(2):
        got = compiled(a, b)
        assert got[0] is a and got[2] is a and got[1]["b"] is b
        assert got[3] is lin.weight
        close(got[1]["c"], lin(a) + b)


def test_transposed_output_is_a_view():
    def f(x):
        return (x * 2).transpose(0, 1)

    x = torch.randn(3, 4)
    for compiled in doors(f, x):
        got = compiled(x)
        close(got, f(x))
        assert got.stride() == f(x).stride()
