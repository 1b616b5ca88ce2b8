"""Archives of whole models and of what export makes of Python: outputs and changed buffers against PyTorch's own run."""

import copy
import dataclasses

import pytest
import torch
from functorch.experimental import control_flow
from torch import nn
from torch._higher_order_ops import while_loop
from torch.export import Dim

from archives import close, compare, look, run, save, tool

DIALECTS = pytest.mark.parametrize("core", [False, True], ids=["export", "core"])
BATCH = Dim("b", min=1, max=64)
SEQ = Dim("s", min=2, max=64)


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function, **tensors):
        super().__init__()
        self.function = function
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self, *args):
        return self.function(*args)


def check(tmp_path, model, args=(), kwargs=None, core=False, **options):
    path, program = save(tmp_path, model.eval(), args, kwargs, core=core, **{k: v for k, v in options.items() if k == "dynamic"})
    return compare(path, program, args, kwargs, **{k: v for k, v in options.items() if k != "dynamic"})


# ---- Whole models ----


def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def tokens(batch=2, length=16):
    return torch.randint(0, 99, (batch, length))


MODELS = (
    "minilm-8", "bert-base-16", "distilbert-128", "roberta-base-128", "albert-base-128", "electra-small-128", "mpnet-base-128", "gpt2-128",
    "opt-125m-128", "bart-base-128", "t5-small-sentence", "vit-s16-224",
)  # fmt: skip


def transformer(name, core, batch=3, tokens=20):
    """A model of the benchmark in its small configuration, at some size."""
    pytest.importorskip("transformers")
    from tuyere.bench import text

    example = dataclasses.replace(text.ENTRIES[name], batch=batch, tokens=tokens).build(small=True)
    if core and name.startswith("gpt2"):
        example.model.set_attn_implementation("eager")  # PyTorch 2.13 cannot decompose it with fused attention
    return example.model, example.kwargs


@DIALECTS
@pytest.mark.parametrize("name", MODELS)
def test_transformers(tmp_path, name, core):
    model, kwargs = transformer(name, core)
    check(tmp_path, model, kwargs=kwargs, core=core)


@DIALECTS
@pytest.mark.parametrize("name", MODELS)
def test_transformers_of_any_size(tmp_path, name, core):
    model, kwargs = transformer(name, core)
    vary = {0: Dim.DYNAMIC} if name.startswith("vit") else {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
    path, program = save(tmp_path, model, kwargs=kwargs, dynamic={key: vary for key in kwargs}, core=core)
    for batch, length in ((3, 20), (1, 9)):
        compare(path, program, kwargs=transformer(name, core, batch, length)[1])


@DIALECTS
def test_bert_of_any_size(tmp_path, core):
    model, kwargs = transformer("minilm-8", core)
    path, program = save(tmp_path, model.eval(), kwargs=kwargs, dynamic={name: {0: BATCH, 1: SEQ} for name in kwargs}, core=core)
    for batch, length in ((2, 16), (1, 2), (5, 33), (3, 64)):
        mask = torch.ones(batch, length, dtype=torch.int64)
        mask[0, length // 2 :] = 0
        compare(path, program, kwargs={"input_ids": tokens(batch, length), "attention_mask": mask})
    # sizes that the caller fixes
    compare(path, program, kwargs={"input_ids": tokens(1, 8), "attention_mask": torch.ones(1, 8, dtype=torch.int64)}, static=["input_ids=1x8"])
    assert "user attention_mask int64 1xs" in look(path, "--static", "input_ids=1x-1")


@DIALECTS
def test_mlp(tmp_path, core):
    check(tmp_path, mlp(), (torch.randn(2, 8),), core=core)


# ---- Inputs and outputs ----


@DIALECTS
def test_nested_inputs_and_literals(tmp_path, core):
    class Nested(nn.Module):
        def forward(self, x, batch, n, flag=True, *, scale=2.0):
            y = batch["a"] + batch["more"][0] * n
            return {"y": y * scale if flag else y, "parts": (x.sum(), 5, None, "text", [y[0], 2.5])}, x

    args = (torch.randn(3), {"a": torch.randn(2, 3), "more": [torch.randn(3)]}, 3)
    path, program = save(tmp_path, Nested(), args, core=core)
    text = look(path)
    for line in ("user x float32 3", "user batch.a float32 2x3", "user batch.more.0 float32 3", "user n 3"):
        assert line in text.splitlines()
    got, _ = compare(path, program, args, names=["x", "batch.a", "batch.more.0", "n"])
    assert list(got) == ["out.0.y", "out.0.parts.0", "out.0.parts.1", "out.0.parts.2", "out.0.parts.3", "out.0.parts.4.0", "out.0.parts.4.1", "out.1"]


def test_names_fit_file_names(tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return {"../a b": x + 1, "..": x, "a/b": x * 2}

    path, _ = save(tmp_path, Odd(), (torch.randn(3),))
    got, _ = run(path, {"x": torch.ones(3)})
    assert list(got) == ["out.___a_b", "out.__", "out.a_b"]


@DIALECTS
def test_sizes_as_values(tmp_path, core):
    def f(x, y):
        n = x.shape[0]
        z = torch.cat([x, y]) * n + torch.arange(n * 2)[:, None]
        return z.reshape(n * 2, 3, 2), n, n * 2 + 1, x.new_zeros((n + 1) // 2)

    n = Dim("n", min=3, max=100)
    path, program = save(tmp_path, Call(f), (torch.randn(4, 6), torch.randn(4, 6)), dynamic={"args": ({0: n}, {0: n})}, core=core)
    for size in (4, 7, 3, 100):
        compare(path, program, (torch.randn(size, 6), torch.randn(size, 6)), names=["args_0", "args_1"])


def test_guards_and_ranges(tmp_path):
    class Half(nn.Module):
        def forward(self, x, y):
            return x.view(-1, 2).sum(1) + y

    n = Dim("n", min=2, max=20)
    path, program = save(tmp_path, Half(), (torch.randn(8), torch.randn(4)), dynamic={"x": {0: 2 * n}, "y": {0: n}})
    compare(path, program, (torch.randn(12), torch.randn(6)))
    for x, y, text in (
        (torch.randn(9), torch.randn(4), "input x: size 0 is 9, 8 is expected"),
        (torch.randn(8), torch.randn(5), "input y: size 0 is 5, 4 is expected"),
        (torch.randn(42), torch.randn(21), "is 21, outside of [0, 20]"),
    ):
        with pytest.raises(AssertionError, match=text.replace("[", r"\[")):
            run(path, {"x": x, "y": y})
    code, text = tool("look", path, "--static", "x=9")
    assert code == 3 and "input x: size 0 cannot be 9" in text
    code, text = tool("look", path, "--static", "x=60")
    assert code == 3 and "input x: size 0 is 60, outside of what the archive allows" in text
    code, text = tool("look", path, "--static", "z=60")
    assert code == 3 and "there is no input z" in text


@DIALECTS
def test_sizes_that_export_did_not_try(tmp_path, core):
    class Rows(nn.Module):
        def forward(self, x):
            return x.softmax(-1).view(-1), x.sum(0), x.shape[0] * 2

    path, program = save(tmp_path, Rows(), (torch.randn(4, 6),), dynamic={"x": {0: Dim.DYNAMIC}}, core=core)
    assert [(r.lower, r.upper) for r in program.range_constraints.values()] == [(2, torch.utils._sympy.numbers.int_oo)]
    for size in (4, 2, 1, 0):
        compare(path, program, (torch.randn(size, 6),))

    # the recorded shape of the first rows holds from one row on
    path, program = save(tmp_path, Call(lambda x: x - x[:1]), (torch.randn(4, 6),), dynamic={"args": ({0: Dim.DYNAMIC},)}, core=core)
    for size in (4, 1):
        compare(path, program, (torch.randn(size, 6),), names=["args_0"])
    with pytest.raises(AssertionError, match=r"is 0, outside of \[1, "):
        run(path, {"args_0": torch.randn(0, 6)})


# ---- Weights ----


@DIALECTS
def test_tied_and_strided_weights(tmp_path, core):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(20, 8)
            self.head = nn.Linear(8, 20, bias=False)
            self.head.weight = self.embed.weight
            self.part = nn.Parameter(torch.arange(20.0)[4:10:2])
            self.turned = nn.Parameter(torch.randn(8, 3).t())
            self.empty = nn.Parameter(torch.empty(0, 8))
            self.conv = nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
            self.constant = torch.tensor([1.0, 2.0])
            self.register_buffer("table", torch.arange(8.0), persistent=False)
            self.register_buffer("flags", torch.tensor([True, False, True]))

        def forward(self, i):
            e = self.embed(i)
            return self.head(e), self.part * 2, self.turned @ e[0, 0], torch.cat([self.empty, e[0]]) + self.table, self.conv * 2, self.constant, self.flags

    path, program = save(tmp_path, Tied(), (torch.randint(0, 20, (2, 3)),), core=core)
    compare(path, program, (torch.randint(0, 20, (2, 3)),))
    text = look(path)
    assert text.count("float32 20x8") == 1, "tied weights enter once"
    assert "4 parameters" not in text and "6 parameters" in text


# ---- In-place operators ----


def overwrite(x):
    y = torch.zeros(4, 8)
    y.copy_(x)
    y[0] = x[1] + 3
    z = y.view(8, 4)
    z[1] = 3
    y.t().relu_()
    z.transpose(0, 1).add_(1)
    y[:, 2:6:2].mul_(2)
    y[..., 1].zero_()
    return y, z, z.sin()


def several_views(x):
    y = x * 2
    a, b, c = y.split([2, 4, 2], dim=1)
    first, *_ = y.unbind(0)
    b.add_(10)
    first.mul_(-1)
    d = y.permute(1, 0)[3:5]
    d.fill_(7)
    e = y.unsqueeze(0).squeeze(0).narrow(1, 6, 2)
    e.sub_(a)
    return y, a, b, c, first, d, e


def copies_do_not_share(x):
    y = x + 1
    turned = y.t().reshape(-1)  # a copy: the memory is not one line
    flat = y.reshape(-1)  # a view
    same = y.contiguous()
    other = y.t().contiguous()
    wide = y.to(torch.float64)
    equal = y.to(torch.float32)
    y.add_(1)
    return y, turned, flat, same, other, wide, equal


def keeps_its_type(x):
    n = torch.arange(8)
    n.mul_(3)
    f = x[0].clone()
    f.add_(n)  # float32 stays
    f.clamp_(0, 5)
    nn.functional.dropout(f, training=False, inplace=True)
    n.bitwise_and_(5)
    return f, n, f.exp_()


def strided(x):
    windows = (x - 1).t().as_strided((7, 3, 2), (4, 2, 1))  # of memory, where dims lie the other way round
    later = (x + 1).as_strided((4, 2), (8, 1), 5)
    same = (x * 2).as_strided((4, 8), (8, 1))
    image = torch.nn.functional.relu(x.view(1, 4, 2, 4)).contiguous(memory_format=torch.channels_last)
    return windows, later, same, image.as_strided((1, 8, 4), (99, 4, 1)), image.mean((2, 3), keepdim=True) * 2


def grids(x):
    y = x * 2
    a, b, c = y.tensor_split(3, dim=1)
    b.mul_(3)
    return *torch.meshgrid(x[0], x[:, 1], indexing="xy"), *torch.meshgrid(x[0], x[:, 1]), *torch.broadcast_tensors(x[0], x), y, a, b, c


@DIALECTS
@pytest.mark.parametrize("function", [overwrite, several_views, copies_do_not_share, keeps_its_type, strided, grids])
def test_in_place(tmp_path, function, core):
    check(tmp_path, Call(function), (torch.randn(4, 8),), core=core, names=["args_0"])


@DIALECTS
def test_buffers_that_change(tmp_path, core):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros((), dtype=torch.int64))
            self.register_buffer("mean", torch.zeros(8))
            self.register_buffer("cache", torch.zeros(2, 8), persistent=False)
            self.register_buffer("seen", torch.ones(3))

        def forward(self, x):
            self.count.add_(1)
            self.mean.mul_(0.9).add_(x.mean(0) * 0.1)
            self.cache[1] = x[0]
            self.seen.zero_()
            return x * self.mean + self.count, self.cache

    x = torch.randn(4, 8)
    path, program = save(tmp_path, Counting(), (x,), core=core)
    got, updates = compare(path, program, (x,))
    assert set(updates) == {"count", "mean", "cache", "seen"}
    # ten runs, state carried over
    model = Counting()
    for _ in range(10):
        want = model(x)
    got, updates = run(path, {"x": x}, times=10)
    close(got["out.0"], want[0])
    close(updates["count"], model.count)
    close(updates["mean"], model.mean)


@DIALECTS
@pytest.mark.parametrize("momentum, affine", [(0.1, True), (0.7, False)])
def test_batch_norm_in_training_mode(tmp_path, core, momentum, affine):
    """Running statistics are state: eager's after as many calls."""

    class Trains(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, momentum=momentum, affine=affine)
            self.flat, self.still = nn.BatchNorm1d(6, momentum=momentum), nn.BatchNorm1d(6, track_running_stats=False)

        def forward(self, x):
            y = torch.relu(self.norm(self.conv(x))).mean((2, 3))
            return self.still(self.flat(y) * self.norm.running_var)

    x, model = torch.randn(4, 3, 9, 7) * 3 + 1, Trains().train()
    path, program = save(tmp_path, copy.deepcopy(model), (x,), core=core)
    _, updates = compare(path, program, (x,))
    assert set(updates) == {f"{norm}.{name}" for norm in ("norm", "flat") for name in ("running_mean", "running_var", "num_batches_tracked")}
    with torch.no_grad():
        for _ in range(3):
            want = model(x)
    got, updates = run(path, {"x": x}, times=3)
    close(got["out"], want)
    for name, value in updates.items():
        close(value, model.get_buffer(name))


@DIALECTS
def test_input_that_changes(tmp_path, core):
    class Change(nn.Module):
        def forward(self, x):
            x[0].add_(1)
            return x * 2

    x = torch.randn(4, 8)
    path, _ = save(tmp_path, Change(), (x.clone(),), core=core)
    got, updates = run(path, {"x": x})
    want = x.clone()
    want[0] += 1
    close(got["out"], want * 2)
    close(updates["x"], want)


def test_changed_memory_that_is_not_followed_is_declined(tmp_path):
    def f(x):
        y, z = x + 1, x[0] * 2
        y.expand(2, 4, 8)[0, 0].add_(1)
        first, *_ = torch.meshgrid(z, x[1], indexing="ij")
        z.mul_(2)
        return y, first

    path, _ = save(tmp_path, Call(f), (torch.randn(4, 8),))
    code, text = tool("look", path)
    assert code == 3, text
    for op in ("add_", "mul_"):
        assert f"aten.{op}.Tensor: a write to memory that other tensors may share" in text, text


def test_as_strided_of_memory_that_is_not_known_is_declined(tmp_path):
    def f(x):
        wide, part = x.expand(2, 4, 8), (x + 1)[1:]
        return wide.as_strided((4, 8), (8, 1)), part.as_strided((4,), (1,), 2), part.as_strided((40,), (1,))

    path, _ = save(tmp_path, Call(f), (torch.randn(4, 8),))
    code, text = tool("look", path)
    assert code == 3
    for why in ("its argument has gaps in memory, or overlaps", "where its argument lies in memory is not known", "as_strided: not known to stay inside"):
        assert f"aten.as_strided.default: {why}" in text, text


# ---- Higher-order operators, and what is declined ----


def test_gradient_regions_are_inlined(tmp_path):
    class Regions(nn.Module):
        def forward(self, x):
            y = x + 1
            with torch.no_grad():
                z = y.sin() * 2
                y.add_(3)
            with torch.enable_grad():
                u = z + y
            return u, y

    x = torch.randn(3)
    program = torch.export.export(Regions(), (x,))
    path = tmp_path / "model.pt2"
    torch.export.save(program, path)
    assert "higher_order.wrap_with_set_grad_enabled" in look(path)
    compare(path, program, (x,))


def repeated(x):
    return while_loop(lambda n, y: n < 3, lambda n, y: (n + 1, y.sin() + x), (torch.zeros((), dtype=torch.int64), x.cos()))[1] * 2


def chosen(x):
    return torch.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos(), (x,)) * 2


def each_row(x):
    return control_flow.map(lambda row: row * row.sum(), x) * 2


@DIALECTS
@pytest.mark.parametrize("function, name", [(repeated, "while_loop"), (chosen, "cond"), (each_row, "map_impl")])
def test_operators_on_graphs_are_declined(tmp_path, function, name, core):
    path, _ = save(tmp_path, Call(function), (torch.randn(4, 8),), core=core)
    code, text = tool("look", path)
    assert code == 3 and text.startswith("unsupported: model.pt2: models/model.json: 1 nodes cannot be compiled:\n"), text
    assert f"  higher_order.{name}: a higher-order operator: the graphs that it calls are not compiled (1 node, first {name}" in text, text


def test_everything_declined_is_told(tmp_path):
    def f(x):
        y = torch.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos(), (x,))
        z = torch.linalg.inv(y.view(4, 4))
        return z + torch.rand(4, 4), torch.linalg.inv(z).relu()

    path, _ = save(tmp_path, Call(f), (torch.randn(16),))
    code, text = tool("look", path)
    assert code == 3
    for line in (
        "unsupported: model.pt2: models/model.json: 4 nodes cannot be compiled:",
        "higher_order.cond: a higher-order operator: the graphs that it calls are not compiled (1 node, first cond",
        "aten.linalg_inv.default is not known (2 nodes, first",
        "declined aten.rand.default | rand",
    ):
        assert line in text, text
    assert text.count("\ndeclined ") == 4


def test_counts(tmp_path):
    path, _ = save(tmp_path, mlp(), (torch.randn(2, 8),))
    text = look(path)
    assert "model: schema 8." in text and "TRAINING, 3 nodes, 4 parameters, 212 elements, 848 bytes" in text
    assert "op aten.linear.default 2\nop aten.relu.default 1\n" in text
