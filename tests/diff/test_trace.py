"""Tracing each distinct call of Dynamo's graph once gives the graph that tracing the whole gives, or is declined."""

import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from support import assert_same, check
from tuyere import snippets, trace
from tuyere.bench import text


def _identity(tensor) -> tuple:
    """The same for tensors that are one in all but the object."""
    return tensor.untyped_storage()._cdata, tensor.dtype, str((tensor.shape, tensor.stride(), tensor.storage_offset()))


def _canonical(gm, memory_too=True) -> list:
    """A graph as text without names: operators, arguments, metadata, and (memory_too) which values share memory.

    Where an operator returned its very argument (dropout that does nothing, from PyTorch 2.14 on), later uses may name either.
    """
    gm.graph.eliminate_dead_code()
    number, memory, lines, tensors = {}, {}, [], {}
    for node in gm.graph.nodes:
        value = node.meta.get("val")
        number[node] = tensors.setdefault(_identity(value), len(number)) if memory_too and isinstance(value, torch.Tensor) else len(number)
        facts = [
            (x.dtype, tuple(x.shape), x.stride(), x.storage_offset(), memory_too and memory.setdefault(x.untyped_storage()._cdata, len(memory)))
            for x in (value if isinstance(value, (tuple, list)) else (value,))
            if isinstance(x, torch.Tensor)
        ]
        args = node.args if node.op != "output" else tuple(node.args[0])
        args = torch.fx.node.map_arg((args, node.kwargs), lambda source: f"%{number[source]}")
        lines.append(f"{node.op} {node.target if node.op == 'call_function' else ''} {args} {facts}")
    return lines


def traces(fn, *args, grad_mode=torch.no_grad, **kwargs):
    """(by distinct calls, whole) for each graph of Dynamo's; the first is the reason where it was declined."""
    found = []

    def backend(gm, examples):
        fakes = [node.meta["example_value"] for node in gm.graph.nodes if node.op == "placeholder"]
        mode = next(fake.fake_mode for fake in fakes if isinstance(fake, torch._subclasses.FakeTensor))
        torch._guards.TracingContext.get().fake_mode = mode
        with mode:
            try:
                ours = _canonical(snippets.assemble(gm, fakes, trace.whole))
            except snippets.Declined as e:
                ours = str(e)
            found.append((ours, _canonical(trace.whole(gm, fakes))))
        return gm.forward

    with grad_mode():
        torch.compile(fn, backend=backend)(*args, **kwargs)
    return found


def _assembled(gm) -> list:
    """The graph made from distinct calls, as text that leaves out which values share memory."""
    fakes = [node.meta["example_value"] for node in gm.graph.nodes if node.op == "placeholder"]
    torch._guards.TracingContext.get().fake_mode = fakes[0].fake_mode
    with torch.no_grad(), fakes[0].fake_mode:
        return _canonical(snippets.assemble(gm, fakes, trace.whole), False)


@pytest.mark.parametrize("grad_mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    "name", ["bert-base-128", "gpt2-128", "opt-125m-128", "bart-base-128", "albert-base-128", "electra-small-128", "vit-s16-224", "minilm-64"]
)
def test_models(name, grad_mode):
    example = text.ENTRIES[name].build(small=True)
    ((ours, whole),) = traces(example.model, *example.args, grad_mode=grad_mode, **example.kwargs)
    assert ours == whole


def _slices(x):
    a, b, c = x.chunk(3, dim=-1)
    y = [part[1:, None, ::2].transpose(-1, -2) for part in (a, b, c)]
    return y[0] + y[1], y[2], x.view(-1)[3:5], a


def _constants(x):
    return x * 0.0, x * -0.0, x * 1, x * 1.0, x + True, x + 1, x.masked_fill(x > 0, float("inf"))


def _identities(x):
    y = F.dropout(x, 0.5, False).to(torch.float32).contiguous()
    return (y + x, y * y, x * y.clone(), x.add(x), x.t().contiguous().t() + 1, y.flatten(0, 1).view_as(y))


def _several_results(x):
    value, index = x.max(dim=-1)
    top, at = torch.topk(x, 2)
    mean, rest = torch.std_mean(x, dim=0)
    return value + top[:, 0], index + at[:, 1], mean, rest, x.max(dim=0)


def _random(x):
    return x + torch.rand(12), x + torch.rand(12), F.dropout(x, 0.5, True)


class Layers(nn.Module):
    """Layers alike but for a width, a stride, a dtype or a parameter that two of them share."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(12, 12), nn.Linear(12, 12, bias=False), nn.Linear(12, 8), nn.Linear(8, 12), nn.Linear(12, 12)])
        self.layers[4].weight = self.layers[0].weight
        self.norm = nn.LayerNorm(12)

    def forward(self, x):
        for layer in self.layers:
            x = F.gelu(layer(x), approximate="tanh") if layer.bias is not None else layer(x).double().float()
        return self.norm(x), self.norm(x.t().contiguous().t())


FUNCTIONS = [_slices, _constants, _identities, _several_results, _random]


@pytest.mark.parametrize("fn", FUNCTIONS, ids=lambda fn: fn.__name__.strip("_"))
def test_functions(fn):
    ((ours, whole),) = traces(fn, torch.randn(6, 12))
    assert ours == whole
    if fn is not _random:
        check(fn, torch.randn(6, 12))


def test_layers():
    ((ours, whole),) = traces(Layers().eval(), torch.randn(6, 12))
    assert ours == whole
    check(Layers().eval(), torch.randn(6, 12))


def _in_place(x):
    y = x + 1
    y.add_(2)
    return y * 2


def _in_place_view(x):
    y = x.clone()
    y[1:] = 0
    return y


def _under_autocast(x):
    with torch.autocast("cpu", torch.bfloat16):
        return x @ x.t()


def _constant_tensors(x):
    return x + torch.tensor([1.0, 2.0, 3.0]).repeat(2), x + torch.tensor([3.0, 2.0, 1.0]).repeat(2)


def _branches(x):
    return torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))


@pytest.mark.parametrize("fn", [_in_place, _in_place_view, _under_autocast, _constant_tensors, _branches], ids=lambda fn: fn.__name__.strip("_"))
def test_declined(fn):
    for ours, _ in traces(fn, torch.randn(6, 6)):
        assert isinstance(ours, str), ours
    check(fn, torch.randn(6, 6))


def _with_out(x):
    y = torch.empty_like(x)
    torch.add(x, 1, out=y)
    return y


def _augmented(x):
    y = x * 2
    y += x
    return y


def _in_place_activation(x):
    return F.relu(x * 2, inplace=True)


def _several_in_place(x):
    y = F.hardtanh(F.silu(x + 1, inplace=True).t().contiguous(), 0.0, 6.0, True)
    z = F.dropout(F.relu(y[1:3] * 2, True), 0.5, False, True)
    z *= y[3:5]
    return F.relu(z.view(3, -1), inplace=True), F.relu(x + 1)


def _one_after_another(x):
    y = F.hardtanh(F.silu(x + 1).t().contiguous(), 0.0, 6.0)
    z = F.dropout(F.relu(y[1:3] * 2), 0.5, False)
    z = z * y[3:5]
    return F.relu(z.view(3, -1)), F.relu(x + 1)


PAIRS = {
    "augmented": (_augmented, lambda x: x * 2 + x),
    "activation": (_in_place_activation, lambda x: F.relu(x * 2)),
    "several": (_several_in_place, _one_after_another),
}


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_changed_in_place_and_read_no_more_becomes_a_value_of_its_own(name):
    graphs = []
    for fn in PAIRS[name]:
        torch.compile(fn, backend=lambda gm, _: graphs.append(_assembled(gm)) or gm.forward)(torch.randn(6, 6))
    assert graphs[0] == graphs[1]
    check(PAIRS[name][0], torch.randn(6, 6))


def _changed_argument(x):
    x += 1
    return F.relu(x, inplace=True)


def _changed_and_read(x):
    y = x * 2
    z = F.relu(y, True)
    return y + z


def _changed_view_and_read(x):
    y = x * 2
    part = y[:3]
    part += 1
    return y * part.sum()


def _converted(x):
    y = x * 2
    y += x.double()
    return y


def _not_dense(x):
    y = (x * 2)[:, ::2]
    return F.relu(y, inplace=True)


def _changed_by_itself(x):
    y = x * 2
    y += y.view(6, 6)
    return y


DECLINED = [_in_place, _in_place_view, _with_out, _changed_argument, _changed_and_read, _changed_view_and_read, _changed_by_itself, _converted, _not_dense]


@pytest.mark.parametrize("fn", DECLINED, ids=lambda fn: fn.__name__.strip("_"))
def test_what_changes_tensors_is_declined_before_it_is_traced(fn):
    found = []

    def untraced(fn, fakes):
        raise AssertionError("traced")

    def backend(gm, examples):
        fakes = [node.meta["example_value"] for node in gm.graph.nodes if node.op == "placeholder"]
        with fakes[0].fake_mode, pytest.raises(snippets.Declined) as reason:
            snippets.assemble(gm, fakes, untraced)
        found.append(reason)
        return gm.forward

    with torch.no_grad():
        torch.compile(fn, backend=backend)(torch.randn(6, 6))
    assert found
    check(fn, torch.randn(6, 6))


def test_sizes_that_vary_are_declined():
    x = torch.randn(6, 12)
    torch._dynamo.mark_dynamic(x, 0)
    ((ours, _),) = traces(lambda x: x.view(-1, 3) * 2, x)
    assert isinstance(ours, str)


def test_each_distinct_call_is_traced_once():
    seen = []

    def counting(fn, fakes):
        seen.append(trace.whole(fn, fakes))
        return seen[-1]

    def backend(gm, examples):
        fakes = [node.meta["example_value"] for node in gm.graph.nodes if node.op == "placeholder"]
        with fakes[0].fake_mode:
            snippets.assemble(gm, fakes, counting)
        return gm.forward

    x = torch.randn(6, 12)

    def fn(x):
        for _ in range(7):
            x = operator.mul(F.gelu(x), 3.0)
        return x

    with torch.no_grad():
        assert_same(torch.compile(fn, backend=backend)(x), fn(x))
    (gm,) = seen
    assert sum(node.op == "call_function" for node in gm.graph.nodes) == 2


def test_a_graph_of_distinct_calls_is_traced_whole_without_what_it_changes():
    graphs = []

    def backend(gm, _):
        fakes = [node.meta["example_value"] for node in gm.graph.nodes if node.op == "placeholder"]
        torch._guards.TracingContext.get().fake_mode = fakes[0].fake_mode
        with torch.no_grad(), fakes[0].fake_mode:
            graphs.append(trace.flat_graph(gm, fakes))
        return gm.forward

    for fn in PAIRS["several"]:
        torch.compile(fn, backend=backend)(torch.randn(6, 6))
    (ours, clean), (other, _) = graphs
    assert clean and _canonical(ours) == _canonical(other)
