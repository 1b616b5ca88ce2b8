"""Whole models and the behaviour around a call: shapes, threads, weights, gradients, graph breaks, aliasing."""

import copy
import multiprocessing
import threading
import warnings

import pytest
import torch
from torch import nn

import tuyere
from support import DOORS, assert_same, check, fallbacks, native_and_fallbacks, through_dynamo
from tuyere import stats
from tuyere.bench import text
from tuyere.bench.runners import compare, tensors

doors = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__.removeprefix("through_"))


class MLP(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        return self.norm(x + self.down(nn.functional.gelu(self.up(x))))


class Tied(nn.Module):
    """An embedding whose weight is the output projection too."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(40, 16)
        self.head = nn.Linear(16, 40, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        return self.head(torch.tanh(self.embed(ids)))


# ---- The benchmark's models at small configurations


@doors
@pytest.mark.parametrize("name", text.ENTRIES)
def test_model(name, door):
    example = text.ENTRIES[name].build(small=True)
    double = copy.deepcopy(example.model).double()
    with torch.no_grad():
        expected = example()
        exact = double(
            *example.args, **{k: v.double() if v.is_floating_point() else v for k, v in example.kwargs.items()}
        )
        with stats.recording() as records:
            compiled = door(example.model, *example.args, **example.kwargs)
            for _ in range(2):
                ours = compiled(*example.args, **example.kwargs)
    assert type(ours) is type(expected)
    verdict = compare(tensors(ours), tensors(expected), tensors(exact))
    assert verdict["same"], verdict
    assert verdict["error_eager"] < 5e-6, verdict
    # It was not PyTorch that gave the right answer, and it was compiled once and whole.
    native, reasons = native_and_fallbacks(records)
    assert len(records) == 1 and native and not reasons, (reasons, [record.notes for record in records])


# ---- Dynamic shapes


@pytest.mark.parametrize("dim,shape", [(0, lambda n: (n, 10, 24)), (1, lambda n: (3, n, 24))], ids=["batch", "length"])
def test_marked_dynamic_does_not_recompile(dim, shape):
    model = MLP().eval()
    compiled = torch.compile(model, backend="tuyere")
    before = tuyere.compile_count()
    with torch.no_grad():
        for size in (7, 2, 33, 16, 130):
            x = torch.randn(shape(size))
            torch._dynamo.mark_dynamic(x, dim, min=2, max=512)
            assert_same(compiled(x), model(x))
    assert tuyere.compile_count() - before == 1


def test_dynamic_through_compile():
    model = MLP().eval()
    with torch.no_grad():
        compiled = tuyere.compile(model, torch.randn(4, 10, 24), dynamic=True)
        before = tuyere.compile_count()
        for batch, length in ((4, 10), (2, 33), (9, 5), (3, 64)):
            x = torch.randn(batch, length, 24)
            assert_same(compiled(x), model(x))
    assert tuyere.compile_count() == before


@pytest.mark.parametrize("name", ["bert-base-128", "gpt2-128", "t5-small-64"])
def test_dynamic_length_of_a_model(name):
    entry = text.ENTRIES[name]
    example = entry.build(small=True)
    compiled = torch.compile(example.model, backend="tuyere", dynamic=True)
    counts = []
    with torch.no_grad(), stats.recording() as records:
        for batch, length in ((2, 12), (3, 31), (5, 64), (2, 100)):
            inputs = {key: torch.randint(10, 200, (batch, length)) for key in example.kwargs}
            assert_same(dict(compiled(**inputs)), dict(example.model(**inputs)), atol=2e-5, rtol=1e-4)
            counts.append(tuyere.compile_count())
    # The first call may compile twice: with dynamic=True Dynamo gives floats as inputs, and once more as constants.
    assert len(set(counts)) == 1, counts
    native, reasons = native_and_fallbacks(records[-1:])
    assert native and not reasons, (reasons, records[-1].notes)


@doors
def test_another_shape_is_right(door):
    """Without dynamic a new shape compiles anew or is refused with names, and is never wrong."""
    model = MLP().eval()
    with torch.no_grad():
        compiled = door(model, torch.randn(4, 24))
        compiled(torch.randn(4, 24))
        x = torch.randn(6, 24)
        if door is through_dynamo:
            assert_same(compiled(x), model(x))
        else:
            try:
                assert_same(compiled(x), model(x))
            except (RuntimeError, ValueError) as error:
                assert "6" in str(error) and "4" in str(error)


# ---- Threads and processes


@doors
def test_threads_share_a_model(door):
    model = MLP().eval()
    inputs = [torch.randn(8, 24) for _ in range(6)]
    errors = []
    with torch.no_grad():
        expected = [model(x) for x in inputs]
        compiled = door(model, inputs[0])
        compiled(inputs[0])

    def work(index):
        try:
            with torch.no_grad():
                for _ in range(50):
                    assert_same(compiled(inputs[index]), expected[index])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert not errors, errors[0]


def test_two_models_take_turns():
    first, second = MLP().eval(), MLP(40).eval()
    a, b = torch.randn(5, 24), torch.randn(5, 40)
    with torch.no_grad():
        one, two = tuyere.compile(first, a), tuyere.compile(second, b)
        for _ in range(5):
            assert_same(one(a), first(a))
            assert_same(two(b), second(b))


def _in_child(compiled, x, expected, queue):
    with torch.no_grad():
        queue.put(torch.allclose(compiled(x), expected, atol=1e-5))


def test_fork_is_survived():
    model, x = MLP().eval(), torch.randn(8, 24)
    with torch.no_grad():
        expected = model(x)
        compiled = tuyere.compile(model, x)
        compiled(x)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = context.Process(target=_in_child, args=(compiled, x, expected, queue))
        child.start()
    child.join(60)
    if child.is_alive():
        child.kill()
        pytest.fail("the forked process hangs in a compiled model")
    assert child.exitcode == 0
    assert queue.get()
    with torch.no_grad():
        assert_same(compiled(x), expected)


# ---- Weights that change


def _in_place(model):
    model.up.weight.mul_(2.0)
    model.norm.bias.add_(1.0)


def _replaced(model):
    model.up.weight = nn.Parameter(torch.randn_like(model.up.weight))
    model.down = nn.Linear(96, 24)


def _loaded(model):
    model.load_state_dict(MLP().state_dict())


def _assigned(model):
    model.load_state_dict(MLP().state_dict(), assign=True)


def _through_data(model):
    model.up.weight.data = torch.randn_like(model.up.weight)


@doors
@pytest.mark.parametrize("change", [_in_place, _replaced, _loaded, _assigned, _through_data])
def test_changed_weights_are_seen(door, change):
    model, x = MLP().eval(), torch.randn(6, 24)
    with torch.no_grad():
        compiled = door(model, x)
        before = compiled(x)
        for _ in range(2):
            change(model)
            expected = model(x)
            assert not torch.allclose(before, expected)
            assert_same(compiled(x), expected)
            assert_same(compiled(x), expected)


@doors
def test_tied_weights(door):
    model, ids = Tied().eval(), torch.randint(40, (3, 7))
    with torch.no_grad():
        compiled = door(model, ids)
        assert_same(compiled(ids), model(ids))
        model.embed.weight.mul_(0.5)
        assert_same(compiled(ids), model(ids))


# ---- Inputs and outputs


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.scale = 3

    def forward(self, pair, *, extra, flag=True, names=None):
        first, (second,) = pair
        total = self.linear(first) + second * self.scale
        if flag:
            total = total + extra["bias"]
        return {"total": total, "parts": [total[0], (total.sum(), names)], "none": None, "n": 4}


@doors
def test_nested_and_keyword_inputs(door):
    pair = (torch.randn(2, 8), [torch.randn(2, 8)])
    compiled = check(Nested().eval(), pair, extra={"bias": torch.randn(8)}, names="abc", door=door)
    assert compiled.scale == 3  # attributes as on the original
    assert compiled.linear.weight.shape == (8, 8)


def _alias_input(x):
    return x.view(-1), x, x.t(), x + 1


def _same_output_twice(x):
    y = x * 2
    return y, y, y[0]


def _mutate(x):
    x.add_(1)
    return x * 2


def _mutate_view(x):
    x[0].mul_(3)
    x.t()[1] = 0
    return x.sum()


def _constant(x):
    return torch.ones(3), x.shape[0], torch.arange(4)


def _no_tensors_computed(x):
    return x


@doors
@pytest.mark.parametrize(
    "function", [_alias_input, _same_output_twice, _mutate, _mutate_view, _constant, _no_tensors_computed]
)
def test_aliasing_and_mutation(function, door):
    check(function, torch.randn(4, 5), door=door)


@doors
def test_outputs_alias_as_in_eager(door):
    x = torch.randn(4, 5)
    with torch.no_grad():
        flat, same, turned, fresh = door(_alias_input, x)(x)
    assert flat.data_ptr() == x.data_ptr() and turned.data_ptr() == x.data_ptr()
    assert same is x or same.data_ptr() == x.data_ptr()
    assert fresh.data_ptr() != x.data_ptr()
    fresh.zero_()
    assert x.abs().sum() > 0


@doors
def test_outputs_are_not_overwritten_by_the_next_call(door):
    model = MLP().eval()
    with torch.no_grad():
        x, y = torch.randn(6, 24), torch.randn(6, 24)
        compiled = door(model, x)
        first = compiled(x)
        kept = first.clone()
        compiled(y)
    assert torch.equal(first, kept)


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(3))

    def forward(self, x):
        self.calls += 1
        return x * self.calls


@doors
def test_buffers_are_mutated(door):
    model, reference = Counter().eval(), Counter().eval()
    x = torch.randn(3)
    with torch.no_grad():
        compiled = door(model, x)
        model.calls.zero_()
        for _ in range(3):
            assert_same(compiled(x), reference(x))
    assert_same(model.calls, reference.calls)


@doors
@pytest.mark.parametrize(
    "x",
    [torch.randn(24, 6).t(), torch.randn(12, 24)[::2], torch.randn(6, 1).expand(6, 24), torch.randn(0, 24)],
    ids=["transposed", "every second row", "expanded", "empty"],
)
def test_strided_and_empty_inputs(x, door):
    check(MLP().eval(), x, door=door)


@doors
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_special_values(value, door):
    x = torch.randn(4, 24)
    x[1, 3] = value
    check(lambda x: (torch.softmax(x, -1), torch.relu(x), x.amax(-1), torch.tanh(x), x.clamp(0, 1)), x, door=door)


def test_wrong_input_is_an_error():
    model = MLP().eval()
    with torch.no_grad():
        compiled = tuyere.compile(model, torch.randn(4, 24))
        with pytest.raises((RuntimeError, ValueError, TypeError)):
            compiled(torch.randn(4, 25))
        with pytest.raises((RuntimeError, ValueError, TypeError)):
            compiled(torch.zeros(4, 24, dtype=torch.int64))
        x = torch.randn(4, 24)
        assert_same(compiled(x), model(x))  # and nothing is broken after it


# ---- What runs in PyTorch


@doors
def test_gradients_run_in_pytorch_with_one_warning(door):
    model, x = MLP(), torch.randn(4, 24)
    compiled = door(model, x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            model.zero_grad()
            compiled(x).sum().backward()
    ours = [w for w in caught if "tuyere" in str(w.message)]
    assert len(ours) <= 1
    gradient = model.up.weight.grad.clone()
    model.zero_grad()
    model(x).sum().backward()
    torch.testing.assert_close(gradient, model.up.weight.grad)


def test_graph_breaks():
    def function(x):
        y = torch.relu(x) * 2
        torch._dynamo.graph_break()
        if y.sum() > 0:
            y = y - 1
        return y.tanh()

    before = tuyere.compile_count()
    check(function, torch.randn(5, 6))
    assert tuyere.compile_count() - before >= 2


def _unsupported_in_the_middle(x):
    y = torch.relu(x) @ x.t()
    z = torch.linalg.inv(y + 10 * torch.eye(x.shape[0]))
    return torch.sigmoid(z) + 1


@doors
def test_unsupported_operator_runs_in_pytorch(door):
    x = torch.randn(5, 7)
    check(_unsupported_in_the_middle, x, door=door)
    with torch.no_grad():
        found = fallbacks(_unsupported_in_the_middle, x)
        text = str(tuyere.explain(_unsupported_in_the_middle, x))
    assert any("linalg_inv" in name and reason for name, reason in found.items()), found
    assert "linalg_inv" in text and "relu" in text


@doors
@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn], ids=str)
def test_unsupported_dtypes_run_in_pytorch(dtype, door):
    check(lambda x: (x.to(torch.complex64) * 2).sin(), torch.randn(4, 4).to(dtype), door=door)


def test_unknown_option_lists_the_known_ones():
    with pytest.raises(Exception, match="release_weights"):
        torch.compile(MLP(), backend="tuyere", options={"no_such_option": 1})(torch.randn(2, 24))
    with pytest.raises((TypeError, ValueError), match="release_weights"):
        tuyere.compile(MLP(), torch.randn(2, 24), no_such_option=1)


def test_released_weights():
    model, x = MLP().eval(), torch.randn(4, 24)
    with torch.no_grad():
        expected = model(x)
        compiled = tuyere.compile(model, x, release_weights=True)
        assert_same(compiled(x), expected)
        assert_same(compiled(x), expected)
        with pytest.raises(RuntimeError):
            model(x)


def test_no_compiler_gives_the_same_answers():
    model, x = MLP().eval(), torch.randn(4, 24)
    with torch.no_grad():
        compiled = tuyere.compile(model, x, no_compiler=True)
        assert_same(compiled(x), model(x))


def test_backend_is_found_by_entry_point():
    assert "tuyere" in torch._dynamo.list_backends()
