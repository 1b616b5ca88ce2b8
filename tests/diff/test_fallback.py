"""What tuyere does not compile runs in PyTorch: operators, dtypes, layouts, modes, gradients, graph breaks."""

import warnings

import pytest
import torch
from torch import nn

import tuyere
from support import MLP, STRICT, close, doors

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.mark.parametrize("door", [0, 1])
def test_fallback_in_the_middle(door):
    lin = nn.Linear(8, 8).eval()

    def f(x):
        y = lin(x).relu()
        y = torch.linalg.inv(y @ y.t() + torch.eye(8))
        return lin(y) + 1

    x = torch.randn(8, 8)
    compiled = doors(f, x)[door]
    torch.testing.assert_close(compiled(x), f(x), rtol=1e-3, atol=1e-4)
    explanation = tuyere.explain(compiled, x)
    assert any("inv" in name for name, _, _ in explanation.fallbacks)
    assert sum(len(graph.programs) for graph in explanation.graphs) == 2
    assert "inv" in str(explanation)


@pytest.mark.parametrize("door", [0, 1])
def test_unsupported_dtypes_run_in_pytorch(door):
    lin = nn.Linear(8, 8).eval()

    def f(x):
        y = torch.complex(lin(x), x)
        return lin((y * y.conj()).real)

    x = torch.randn(3, 8)
    close(doors(f, x)[door](x), f(x))


@pytest.mark.parametrize("door", [0, 1])
def test_complex_models(door):
    class Spectrum(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(8, 8, dtype=torch.complex64))
            self.lin = nn.Linear(16, 4)

        def forward(self, x):
            z = torch.fft.fft(x.to(torch.complex64) @ self.w)
            return self.lin(torch.view_as_real(z).flatten(1)), z

    model = Spectrum().eval()
    compiled = doors(model, torch.randn(3, 8))[door]
    for _ in range(2):
        x = torch.randn(3, 8)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.randn(3, 8, dtype=torch.complex64)
        square = doors(lambda x: x * x + 1, x, strict=False)[door]
        close(square(x), x * x + 1)


def test_sparse_and_subclass_inputs():
    def f(x):
        return x @ torch.ones(4, 4) + 1

    x = torch.eye(4).to_sparse()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for compiled in doors(lambda x: torch.sparse.mm(x, torch.ones(4, 4)) + 1, strict=False):
            close(compiled(x), torch.ones(4, 4) + 1)

        class Mine(torch.Tensor):
            pass

        y = torch.randn(4, 4).as_subclass(Mine)
        for compiled in doors(f, strict=False):
            out = compiled(y)
            close(out.as_subclass(torch.Tensor), f(y).as_subclass(torch.Tensor))


@pytest.mark.parametrize("door", [0, 1])
def test_sparse_after_dense(door):
    def f(a, b):
        return torch.relu(a @ b) + 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = doors(f, strict=False)[door]
        b = torch.randn(8, 8)
        for a in (torch.eye(8), torch.eye(8).to_sparse(), torch.eye(8) * 2):
            got, want = compiled(a, b), f(a, b)
            assert got.layout is want.layout
            close(got.to_dense(), want.to_dense())


def test_objects_that_may_hold_tensors():
    """They are not taken for constants."""

    class Box:
        def __init__(self, x):
            self.x = x

    lin = nn.Linear(8, 8).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = tuyere.compile(lambda x: [Box(lin(x)), Box([Box(lin(x) + 1)])])
        given = tuyere.compile(lambda box: lin(box.x))
        for _ in range(3):
            x = torch.randn(3, 8)
            got = out(x)
            assert type(got[0]) is Box
            close(got[0].x, lin(x))
            close(got[1].x[0].x, lin(x) + 1)
            close(given(Box(x)), lin(x))
    assert out._tuyere_engine.records[-1].segments and not given._tuyere_engine.records[-1].segments


def test_random_operators_follow_the_seed():
    def f(x):
        return torch.dropout(x * 2, 0.5, True) + torch.rand(4) + torch.randn(4)

    x = torch.ones(3, 4)
    for compiled in doors(f, x):
        torch.manual_seed(7)
        got = compiled(x)
        torch.manual_seed(7)
        close(got, f(x))


@pytest.mark.parametrize("door", [0, 1])
def test_autocast(door):
    lin = nn.Linear(8, 8).eval()

    def f(x):
        y = lin(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            z = lin(y)
        return lin(z.float()) + y

    x = torch.randn(3, 8)
    compiled = doors(f, x, strict=False)[door]
    torch.testing.assert_close(compiled(x), f(x), rtol=2e-2, atol=2e-2)
    plain = doors(lin, x, strict=False)[door]
    for _ in range(2):
        close(plain(x), lin(x))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert plain(x).dtype is torch.bfloat16
            torch.testing.assert_close(plain(x), lin(x), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("door", [0, 1])
def test_gradients(door):
    model = MLP()
    x = torch.randn(2, 16)
    compiled = doors(model, x)[door]
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled(x).sum().backward()
    grads = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    with torch.enable_grad():
        model(x).sum().backward()
    for got, p in zip(grads, model.parameters()):
        close(got, p.grad)
    for p in model.parameters():
        p.requires_grad_(False)
    with torch.enable_grad():
        close(compiled(x), model(x))
        z = x.clone().requires_grad_()
        compiled(z).sum().backward()
        assert z.grad is not None


def test_gradient_warning_comes_once():
    tuyere.core._warned.clear()
    model = nn.Linear(4, 4)
    with torch.enable_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for compiled in doors(model, torch.randn(2, 4)):
            compiled(torch.randn(2, 4))
            compiled(torch.randn(3, 4))
    assert sum("gradients" in str(w.message) for w in caught) == 1


def test_graph_breaks():
    def f(x):
        y = x * 2 + 1
        if y.sum() > 0:
            return y.relu() * 3
        return y.tanh() * 2

    compiled = torch.compile(f, backend="tuyere", options=STRICT)
    for x in (torch.ones(3, 4), -torch.ones(3, 4)):
        close(compiled(x), f(x))
    explanation = tuyere.explain(f, torch.ones(3, 4))
    assert len(explanation.graphs) == 2 and explanation.breaks
    with pytest.warns(RuntimeWarning, match="runs in PyTorch"):
        direct = tuyere.compile(f, torch.ones(3, 4))
    close(direct(-torch.ones(3, 4)), f(-torch.ones(3, 4)))
