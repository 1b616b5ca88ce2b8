"""The doors: torch.compile(backend="tuyere") and tuyere.compile: calls, weights, shapes, fallbacks, options."""

import collections
import copy
import pickle
import threading
import warnings

import pytest
import torch
import tuyere
from torch import nn
from torch.nn import functional as F

STRICT = {"strict": True}


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def doors(model, *args, strict=True, **options):
    """The model through both doors."""
    chosen = {"strict": True, **options} if strict else options
    return [torch.compile(model, backend="tuyere", options=chosen), tuyere.compile(model, *args, **chosen)]


def close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


class MLP(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.a, self.b = nn.Linear(width, 32), nn.Linear(32, width)
        self.register_buffer("scale", torch.tensor([2.0]))

    def forward(self, x):
        return x + self.b(F.gelu(self.a(x))) * self.scale


class Block(nn.Module):
    def __init__(self, width=16, heads=2):
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, mask=None):
        b, s, w = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, s, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return x + self.out(y.transpose(1, 2).reshape(b, s, w))


@pytest.mark.parametrize("make", [MLP, Block])
def test_same_answers(make):
    model = make().eval()
    x = torch.randn(2, 5, 16)
    for compiled in doors(model, x):
        close(compiled(x), model(x))
        explanation = tuyere.explain(compiled, x)
        assert not explanation.fallbacks and len(explanation.graphs) == 1


def test_keyword_and_nested_arguments():
    class Model(nn.Module):
        def forward(self, batch, *, mask=None, flag=True, scale=2.0):
            y = batch["x"] * batch["pair"][0] + batch["pair"][1]
            if mask is not None:
                y = y.masked_fill(mask, 0.0)
            return {"y": y * scale, "extra": [y, (y.sum(-1), None, "text", 3)]} if flag else y

    model = Model()
    batch = {"x": torch.randn(3, 4), "pair": (torch.randn(4), torch.randn(3, 1))}
    mask = torch.rand(3, 4) > 0.5
    for compiled in doors(model, strict=True):
        for kwargs in ({}, {"mask": mask}, {"flag": False}, {"scale": 3.0, "mask": mask}):
            got, want = compiled(batch, **kwargs), model(batch, **kwargs)
            assert torch.utils._pytree.tree_structure(got) == torch.utils._pytree.tree_structure(want)
            close(got, want) if kwargs.get("flag") is False else close(got["y"], want["y"])
            if kwargs.get("flag", True):
                close(got["extra"][1][0], want["extra"][1][0])
                assert got["extra"][1][1:] == (None, "text", 3)


def test_named_tuples_and_positional_or_keyword():
    Pair = collections.namedtuple("Pair", "sum product")

    class Model(nn.Module):
        def forward(self, a, b):
            return Pair(a + b, a * b)

    a, b = torch.randn(4), torch.randn(4)
    for compiled in doors(Model()):
        for got in (compiled(a, b), compiled(a, b=b), compiled(b=b, a=a)):
            close(got.sum, a + b)
            close(got.product, a * b)


def test_attributes_are_the_models():
    model = MLP().eval()
    compiled = tuyere.compile(model, torch.randn(2, 16))
    assert compiled.a is model.a and isinstance(compiled, nn.Module)
    assert list(compiled.state_dict()) == list(model.state_dict())
    assert [n for n, _ in compiled.named_parameters()] == [n for n, _ in model.named_parameters()]
    assert compiled.eval() is compiled and compiled.training is False
    compiled.extra = 7
    assert model.extra == 7
    again = pickle.loads(pickle.dumps(compiled))
    x = torch.randn(2, 16)
    close(again(x), model(x))
    close(copy.deepcopy(compiled)(x), model(x))


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


def test_transposed_output_is_a_view():
    def f(x):
        return (x * 2).transpose(0, 1)

    x = torch.randn(3, 4)
    for compiled in doors(f, x):
        got = compiled(x)
        close(got, f(x))
        assert got.stride() == f(x).stride()


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


def test_several_python_threads():
    model = Block().eval()
    xs = [torch.randn(2, 5, 16) for _ in range(6)]
    for compiled in doors(model, xs[0]):
        compiled(xs[0])
        wrong = []

        def work(x, compiled=compiled, wrong=wrong):
            with torch.no_grad():
                want = model(x)
                for _ in range(50):
                    if not torch.allclose(compiled(x), want, atol=1e-5):
                        wrong.append(x)

        threads = [threading.Thread(target=work, args=(x,)) for x in xs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_inference_mode():
    model = MLP().eval()
    x = torch.randn(2, 16)
    with torch.inference_mode():
        for compiled in doors(model, x):
            close(compiled(x), model(x))


def test_options():
    model = nn.Linear(4, 4).eval()
    x = torch.randn(2, 4)
    for bad in ({"unknown": 1}, {"release_weight": True}, {"release_weights": "yes"}):
        with pytest.raises(ValueError, match="known options|must be"):
            tuyere.compile(model, x, options=bad)
        with pytest.raises(Exception, match="known options|must be"):
            torch.compile(model, backend="tuyere", options=bad)(x)
    with pytest.raises(ValueError, match="known modes"):
        tuyere.compile(model, x, mode="fastest")
    for mode in ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"):
        torch._dynamo.reset()
        close(torch.compile(model, backend="tuyere", mode=mode)(x), model(x))
    close(tuyere.compile(model, x, no_compiler=True, strict=True)(x), model(x))


def test_backend_is_listed():
    assert "tuyere" in torch.compiler.list_backends()


def test_explain_and_profile():
    model = Block().eval()
    x = torch.randn(2, 5, 16)
    explanation = tuyere.explain(model, x)
    assert explanation.operators and explanation.steps and explanation.seconds > 0
    assert "linear" in str(explanation)
    for compiled in doors(model, x):
        table = tuyere.profile(compiled, x, n=5)
        assert table.rows and all(row.calls >= 5 for row in table.rows)
        assert "GFLOP/s" in str(table)


def test_supported_schemas_are_pytorchs():
    schemas = tuyere.supported_schemas()
    assert sorted(schemas) == tuyere.supported_ops() and len(schemas) > 100


def test_errors_name_the_input():
    compiled = tuyere.compile(MLP().eval(), torch.randn(2, 16), strict=True)
    with pytest.raises(RuntimeError):
        compiled(torch.randn(2, 17))  # PyTorch's own error
    program = compiled._tuyere_engine.records[0].segments[0].program
    with pytest.raises(tuyere.Mismatch, match=r"parameter 'scale' \(argument 0\): expected float32\[1\], got float32\[2, 2\]"):
        program.run(*[torch.ones(2, 2)] * 6)
    with pytest.raises(TypeError, match="expected 6 arguments"):
        program.run(1)
    with pytest.raises(TypeError, match="expected a torch.Tensor"):
        program.run(*[1] * 6)


def test_index_out_of_range_raises():
    model = nn.Embedding(10, 4)
    ids = torch.tensor([1, 2, 3])
    for compiled in doors(model, ids):
        close(compiled(ids), model(ids))
        with pytest.raises(IndexError):
            compiled(torch.tensor([1, 2, 11]))


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
