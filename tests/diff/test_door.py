"""The doors: torch.compile(backend="tuyere") and tuyere.compile: calls, weights, shapes, fallbacks, options."""

import collections
import copy
import dataclasses
import gc
import os
import pickle
import signal
import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tuyere
from tuyere import stats

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


def programs_of(records):
    return [segment.program for record in records for segment in record.segments]


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


@pytest.mark.parametrize("door", [0, 1])
def test_torch_profiler_shows_steps(door):
    model = Block().eval()
    x = torch.randn(2, 5, 16)
    compiled = doors(model, x)[door]
    compiled(x)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(3):
            compiled(x)
    rows = {row.key: row for row in profiler.key_averages() if row.key.startswith("tuyere::")}
    steps = {name: row for name, row in rows.items() if not name.startswith(("tuyere::graph", "tuyere::model"))}
    (whole,) = set(rows) - set(steps)
    assert rows[whole].count == 3
    known = tuyere.explain(compiled, x) if door else tuyere.explain(model, x)
    names = [f"tuyere::{step['name']}" for step in known.steps if not step.get("fold")]
    assert set(steps) == set(names)
    for name, row in steps.items():
        assert row.count == 3 * names.count(name) and row.self_cpu_time_total > 0
    assert any("linear" in name for name in steps) and any("attention" in name for name in steps)
    for event in profiler.events():
        if event.name in steps:
            assert event.cpu_parent.name == whole
        elif event.name == whole and not door:
            assert event.cpu_parent.name.startswith("Torch-Compiled Region")
    close(compiled(x), model(x))  # and without it again


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
    close(compiled(x), f(x))
    plain = doors(lin, x, strict=False)[door]
    for _ in range(2):
        close(plain(x), lin(x))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert plain(x).dtype is torch.bfloat16
            torch.testing.assert_close(plain(x), lin(x), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("door", [0, 1])
def test_fork_after_compile(door):
    model = Block(64).eval()
    x = torch.randn(2, 40, 64)
    want, want2 = model(x), model(x * 2)  # by the parent: PyTorch's own threads do not survive a fork
    compiled = doors(model, x)[door]
    close(compiled(x), want)
    child = os.fork()
    if child == 0:
        good = False
        signal.alarm(60)
        try:
            good = torch.allclose(compiled(x), want, atol=1e-5) and torch.allclose(compiled(x * 2), want2, atol=1e-5)
        finally:
            os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    close(compiled(x), want)


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


@dataclasses.dataclass
class Result:
    y: torch.Tensor
    more: dict


@pytest.mark.parametrize("door", [0, 1])
def test_dataclasses(door):
    lin = nn.Linear(8, 8).eval()

    def f(given):
        y = lin(given.y) + given.more["z"]
        return {"result": Result(y, {"pair": (y * 2, Result(y + 1, {}))}), "rest": [None, "text", y.shape[0]]}

    compiled = doors(f)[door]
    for _ in range(2):
        given = Result(torch.randn(3, 8), {"z": torch.randn(8)})
        got, want = compiled(given), f(given)
        close(got["result"].y, want["result"].y)
        close(got["result"].more["pair"][0], want["result"].more["pair"][0])
        close(got["result"].more["pair"][1].y, want["result"].more["pair"][1].y)
        assert type(got["result"]) is Result and got["rest"] == want["rest"]


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


def test_the_models_own_attributes():
    model = MLP()
    model.config = {"width": 16}
    compiled = tuyere.compile(model, torch.randn(2, 16))
    assert compiled.config is model.config
    assert compiled.eval() is compiled and not model.training
    assert compiled.train() is compiled and model.training
    state = {name: torch.randn_like(value) for name, value in compiled.state_dict().items()}
    compiled.eval().load_state_dict(state)
    x = torch.randn(2, 16)
    close(compiled(x), model(x))
    close(model.a.weight, state["a.weight"])
    with pytest.raises(AttributeError):
        compiled.nothing  # noqa: B018
    assert compiled.double() is compiled
    x = x.double()
    torch.testing.assert_close(compiled(x), model(x))


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
