"""bfloat16 and float16: whole models and autocast against eager by PyTorch's own rule, and where values are rounded."""

import contextlib
import copy
import dataclasses
import pathlib

import pytest
import torch
from torch import nn
from torch._dynamo.utils import same
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import tuyere
from support import DOORS, Block, assert_same, fallbacks, through_compile, through_dynamo
from tuyere import stats

BF16, F16 = torch.bfloat16, torch.float16
NARROW = pytest.mark.parametrize("dtype", [BF16, F16], ids=["bfloat16", "float16"])


def to(tree, dtype):
    return pytree.tree_map_only(torch.Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t, tree)


def verify(model, args, kwargs, how, door, tol=1e-3):
    """One program, the types of eager, and PyTorch's rule against float64; our error is at most a little over eager's."""
    exact = copy.deepcopy(model).double()(*to(args, torch.float64), **to(kwargs, torch.float64))
    context = torch.autocast("cpu", BF16) if how == "autocast" else contextlib.nullcontext()
    if how != "autocast":
        model, args, kwargs = model.to(how), to(args, how), to(kwargs, how)
    with context, stats.recording() as records:
        expected = model(*args, **kwargs)
        compiled = door(model, *args, **kwargs)
        for _ in range(2):
            ours = compiled(*args, **kwargs)
    assert sum(len(record.segments) for record in records) == 1, [(record.fallbacks, record.notes) for record in records]
    leaves = [[leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)] for tree in (ours, expected, exact)]
    for mine, theirs, truth in zip(*leaves, strict=True):
        assert (mine.dtype, mine.shape, mine.stride()) == (theirs.dtype, theirs.shape, theirs.stride())
        assert same(theirs, mine, fp64_ref=truth, tol=tol)
        errors = [(t.double() - truth.double()).norm() for t in (mine, theirs)]
        assert errors[0] <= 1.3 * errors[1] + 1e-6 * truth.norm(), errors


class Net(nn.Module):
    """Convolutions with norms, a block of attention, a recurrent layer and a head."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.next = nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.block, self.rnn, self.head = Block(16), nn.GRU(16, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = F.max_pool2d(x + F.hardswish(self.next(x)), 2)
        y = self.block(x.flatten(2).transpose(1, 2))
        return self.head(self.rnn(y)[0].mean(1)).softmax(-1)


@pytest.mark.parametrize("how", [BF16, F16, "autocast"], ids=str)
def test_net(how, request):
    if how == F16 and not request.config.getoption("--full"):
        pytest.skip("with --full")
    torch.manual_seed(1)
    door = through_dynamo if how == BF16 else through_compile
    with torch.no_grad():
        if how == "autocast":
            model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(2), nn.Linear(36, 16), Block(16)).eval()
        else:
            model = Net().eval()
        verify(model, (torch.randn(2, 3, 8, 8),), {}, how, door)


HALVES = [("bert-base-16", "autocast", 0), ("gpt2-128", BF16, 1)]
ALL = [(name, how, 1) for name in ("bert-base-16", "gpt2-128", "t5-small-sentence", "vit-s16-224", "albert-base-128") for how in (BF16, F16, "autocast")]


@pytest.mark.parametrize("name,how,door", [*HALVES, *(case for case in ALL if case[:2] not in [half[:2] for half in HALVES])], ids=str)
def test_transformer(name, how, door, request):
    if (name, how, door) not in HALVES and not request.config.getoption("--full"):
        pytest.skip("with --full")
    pytest.importorskip("transformers")
    from tuyere.bench import text

    entry = text.ENTRIES[name]
    example = dataclasses.replace(entry, tokens=min(entry.tokens, 20)).build(small=True)
    with torch.no_grad():
        verify(example.model, (), example.kwargs, how, DOORS[door])


@pytest.mark.parametrize("how", [BF16, F16, "autocast"], ids=str)
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "mobilenet_v3_large", "convnext_tiny", "swin_tiny"])
def test_vision(name, how, request):
    if (name, how) != ("resnet18", BF16) and not request.config.getoption("--full"):
        pytest.skip("with --full")
    from tuyere.bench import packages, vision

    if not pathlib.Path(packages.FOLDER, "torchvision").exists():
        pytest.skip("torchvision is not installed")
    example = vision.ENTRIES[name].build(small=True)
    with torch.no_grad():
        verify(example.model, example.args, {}, how, through_compile, tol=1e-2)


# ---- Rounding


@NARROW
def test_casts_round(dtype):
    """Conversions that the model itself makes are never taken out, also where they are fused, and twice is once."""
    x = torch.randn(37) * 3

    def f(x):
        narrow = (x * 1.37).to(dtype)
        return narrow.float() - x * 1.37, narrow.to(torch.float64).to(dtype).float(), (x.exp().to(dtype) * 2).float(), torch.zeros_like(narrow).copy_(x)

    for door in DOORS:
        assert_same(door(f, x)(x), f(x), rtol=0, atol=1e-6)


@NARROW
def test_jumps_see_rounded_values(dtype):
    """What is not continuous reads values as eager rounds them, also where they are fused with what computes them."""
    x, y = torch.randn(4, 300).to(dtype), torch.randn(4, 300).to(dtype)

    def f(x, y):
        z = x + y  # one operation on float32: its rounding is eager's
        return (z * 8).floor(), z == (y + x).clone(), (z / 0.125).to(torch.int32), z.argmax(1), (x * 3).view(2, -1).max(1)[1], (x * y > 0.1), torch.sign(z * z)

    for door in DOORS:
        assert_same(door(f, x, y)(x, y), f(x, y), rtol=0, atol=0)
    assert not fallbacks(f, x, y)


@NARROW
def test_constants_are_of_the_type(dtype):
    x = torch.randn(9).to(dtype)
    x[3] = 0.1

    def f(x):
        full = torch.full((3,), 0.1, dtype=dtype).float()
        return x == 0.1, full, x.new_tensor([1 / 3]).float() * 3, torch.where(x > 0, x, 0.3).float(), x.masked_fill(x > 0, 0.7) * 1.0

    for door in DOORS:
        assert_same(door(f, x)(x), f(x), rtol=0, atol=0)


@NARROW
def test_extremes(dtype):
    """Subnormal numbers, infinities, NaN, and what leaves the range of the type."""
    bits = torch.arange(0, 65536, 7, dtype=torch.int32).to(torch.int16)
    x = bits.view(dtype)

    def f(x):
        return x * 1.5, x * x, x / 2, x.abs().sqrt(), x.float(), x.isinf(), (x * 4).isinf(), x.nan_to_num()

    for door in DOORS:
        assert_same(door(f, x)(x), f(x), rtol=0, atol=0)


@NARROW
def test_compiled_as_interpreted(dtype):
    """Emitted code and the interpreter agree bit for bit: tails, strides, gathers, reductions over rows of one size."""
    x, w, at = torch.randn(7, 45).to(dtype), torch.randn(45).to(dtype), torch.tensor([3, 0, 6])

    def f(x):
        return torch.relu(x + w) * 0.3, x.t()[::2] - 1, x[at] * w, x.max(1)[0], (x * 0.7).to(dtype).float()

    results = [tuyere.compile(f, x, no_compiler=quiet)(x) for quiet in (False, True)]
    assert_same(*results, rtol=0, atol=0)


def test_autocast_inside():
    """Autocast switched on in a part of the model: one program, whose casts are in the graph."""
    a, b = nn.Linear(16, 16).eval(), nn.Linear(16, 16).eval()

    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = a, b

        def forward(self, x):
            with torch.autocast("cpu", BF16):
                y = self.a(x)
            return self.b(y.float()) + x

    x = torch.randn(3, 16)
    with torch.no_grad():
        for door in DOORS:
            ours = door(Part().eval(), x)(x)
            torch.testing.assert_close(ours, Part()(x), rtol=1e-2, atol=1e-2)
        assert not fallbacks(Part().eval(), x)


@NARROW
def test_weights_in_place(dtype):
    """Folded weights of the type are packed again when they change."""
    model, x = nn.Linear(24, 24).to(dtype).eval(), torch.randn(3, 24).to(dtype)
    with torch.no_grad():
        compiled = tuyere.compile(model, x)
        before = compiled(x).clone()
        model.weight.mul_(2)
        assert_same(compiled(x), model(x), rtol=1e-2, atol=1e-2)
        assert not torch.equal(before, compiled(x))
