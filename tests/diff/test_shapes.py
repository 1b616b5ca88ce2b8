"""Shapes, dtypes and layouts of inputs: sizes that vary compile once more and then never."""

import warnings

import pytest
import torch
from torch import nn

import tuyere
from support import MLP, STRICT, Block, close, doors

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.mark.parametrize("door", [0, 1])
def test_dynamic_sizes(door):
    model = Block().eval()
    x = torch.randn(2, 6, 16)
    if door:
        compiled = tuyere.compile(model, x, dynamic={"x": [0, 1]}, strict=True)
    else:
        compiled = torch.compile(model, backend="tuyere", options=STRICT)
        torch._dynamo.mark_dynamic(x, 0)
        torch._dynamo.mark_dynamic(x, 1)
    close(compiled(x), model(x))
    before = tuyere.compile_count()
    for shape in ((3, 7), (4, 2), (2, 33), (9, 6)):
        y = torch.randn(*shape, 16)
        close(compiled(y), model(y))
    assert tuyere.compile_count() == before


@pytest.mark.parametrize("door", [0, 1])
def test_new_shapes_become_dynamic(door):
    model = MLP().eval()
    compiled = doors(model)[door]
    first = tuyere.compile_count()
    for n in (3, 4, 5, 6, 7, 8, 9, 10):
        x = torch.randn(n, 16)
        close(compiled(x), model(x))
    assert tuyere.compile_count() - first == 2


@pytest.mark.parametrize("door", [0, 1])
def test_third_batch_size_compiles_nothing(door):
    model = Block().eval()
    compiled = doors(model)[door]
    counts = []
    for n in (2, 3, 5, 4, 9, 2):
        before = tuyere.compile_count()
        x = torch.randn(n, 6, 16)
        close(compiled(x), model(x))
        counts.append(tuyere.compile_count() - before)
    assert counts == [1, 1, 0, 0, 0, 0]


def test_two_sizes_that_were_equal():
    def f(a, b):
        return a.sum(0) + b.sum(0)

    for compiled in (torch.compile(f, backend="tuyere", dynamic=True, options=STRICT), tuyere.compile(f, dynamic=True, strict=True)):
        for n, m in ((4, 4), (4, 5), (6, 6), (7, 3)):
            a, b = torch.randn(n, 8), torch.randn(m, 8)
            close(compiled(a, b), f(a, b))


def test_sizes_used_as_numbers():
    def f(x):
        return x.reshape(x.shape[0] * x.shape[1], -1) / x.shape[1] + x.shape[0], x.shape[0] * 2

    compiled = torch.compile(f, backend="tuyere", dynamic=True, options=STRICT)
    for shape in ((2, 3, 4), (5, 6, 4)):
        x = torch.randn(*shape)
        got, want = compiled(x), f(x)
        close(got[0], want[0])
        assert got[1] == want[1]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("door", [0, 1])
def test_shapes_that_depend_on_data(door, inside):
    lin = nn.Linear(8, 8).eval()

    def f(x):
        y = lin(x).relu()
        chosen = torch.nonzero(y.sum(-1) > 1.0).squeeze(-1)
        return lin(y[chosen]).relu() + 1, chosen

    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=inside), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = doors(f, strict=False)[door]
        for n in (3, 30, 31, 32):
            x = torch.randn(n, 8)
            close(compiled(x), f(x))
        close(compiled(-1e3 * torch.ones(4, 8)), f(-1e3 * torch.ones(4, 8)))
        if not door:
            explanation = tuyere.explain(f, torch.randn(16, 8))
            assert sum(len(graph.programs) for graph in explanation.graphs) == 2
            assert len(explanation.graphs) == (1 if inside else 2)


def test_dtypes_and_layouts():
    def f(x):
        return (x * 2 + 1).sum(-1)

    for compiled in doors(f):
        for dtype in (torch.float32, torch.float64, torch.int64, torch.int32, torch.bool, torch.uint8):
            x = torch.randint(0, 2, (4, 6)).to(dtype)
            torch.testing.assert_close(compiled(x), f(x))
    x = torch.randn(6, 4)
    for compiled in doors(f, x):
        for view in (x, x.t().contiguous().t(), torch.randn(12, 4)[::2], torch.randn(6, 1).expand(6, 4), torch.randn(6, 8)[:, 3:7]):
            close(compiled(view), f(view))


def test_empty_and_scalar_tensors():
    def f(x, y):
        return x + y, (x * y).sum()

    for compiled in doors(f):
        for x, y in ((torch.zeros(0, 3), torch.ones(3)), (torch.tensor(2.0), torch.tensor(3.0)), (torch.ones(2, 0), torch.ones(1, 0))):
            close(compiled(x, y), f(x, y))
