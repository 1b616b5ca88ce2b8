"""Calls of a compiled model, through both doors: arguments, results, attributes, threads, options, reports, errors."""

import collections
import copy
import dataclasses
import os
import pickle
import signal
import threading

import pytest
import torch
from torch import nn

import tuyere
from support import MLP, Block, close, doors

pytestmark = pytest.mark.usefixtures("no_grad")


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
