"""Networks of convolutions: layouts in and out, folding of norms, joins in place, sizes that vary."""

import pytest
import torch
from torch import nn
from torch._dynamo.utils import same
from torch.nn import functional as F

import tuyere
from support import DOORS, native_and_fallbacks
from tuyere import stats

doors = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__.removeprefix("through_"))


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch.manual_seed(0)


def trained(model: nn.Module) -> nn.Module:
    """Statistics and weights of norms that are not those of an untrained model."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
    return model.eval()


def agree(model, ours, *args):
    """PyTorch's rule at 1e-4, results in memory as eager's."""
    expected = model(*args)
    truth = type(expected)(expected) if not isinstance(expected, torch.Tensor) else expected.double()
    if isinstance(model, nn.Module):
        truth = model.double()(*[arg.double() for arg in args])
        model.float()
    pairs = zip(*[(tree,) if isinstance(tree, torch.Tensor) else tree for tree in (expected, ours, truth)])
    for theirs, mine, wide in pairs:
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        assert all(n == 1 or a == b for n, a, b in zip(mine.shape, mine.stride(), theirs.stride()))
        assert same(theirs, mine, fp64_ref=wide, tol=1e-4)


def natively(model, *args, door=DOORS[1]):
    """Compiles, compares, and sees that nothing ran in PyTorch; the steps' names."""
    with torch.no_grad(), stats.recording() as records:
        compiled = door(model, *args)
        for _ in range(2):
            agree(model, compiled(*args), *args)
    ran, reasons = native_and_fallbacks(records)
    assert ran and not reasons
    return [step["name"] for record in records for segment in record.segments for step in segment.program.stats() if not step["fold"]]


def block(cin, cout, kernel=3, stride=1, groups=1, act=nn.ReLU, pad=None, bias=False):
    pad = kernel // 2 if pad is None else pad
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, stride, pad, groups=groups, bias=bias), nn.BatchNorm2d(cout), act())


class Bottleneck(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = block(3, 16, 7, 2)
        self.body = nn.Sequential(block(16, 8, 1), block(8, 8, 3, 2), nn.Conv2d(8, 32, 1, bias=False), nn.BatchNorm2d(32))
        self.down = nn.Sequential(nn.Conv2d(16, 32, 1, 2, bias=False), nn.BatchNorm2d(32))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = F.max_pool2d(self.stem(x), 3, 2, 1)
        x = F.relu(self.body(x) + self.down(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Mobile(nn.Module):
    """An inverted bottleneck with squeeze and excite."""

    def __init__(self):
        super().__init__()
        self.stem = block(3, 16, 3, 2, act=nn.Hardswish)
        self.up, self.deep = block(16, 48, 1, act=nn.SiLU), block(48, 48, 5, groups=48, act=nn.SiLU)
        self.squeeze, self.excite = nn.Conv2d(48, 8, 1), nn.Conv2d(8, 48, 1)
        self.down = nn.Sequential(nn.Conv2d(48, 16, 1, bias=False), nn.BatchNorm2d(16))

    def forward(self, x):
        x = self.stem(x)
        y = self.deep(self.up(x))
        y = y * torch.sigmoid(self.excite(F.silu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return x + self.down(y)


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(16 + 8 * i) for i in range(4))
        self.convs = nn.ModuleList(nn.Conv2d(16 + 8 * i, 8, 3, padding=1, bias=False) for i in range(4))

    def forward(self, x):
        found = [F.relu(self.stem(x))]
        for norm, conv in zip(self.norms, self.convs):
            found.append(conv(F.relu(norm(torch.cat(found, 1)))))
        return torch.cat(found, 1).mean((2, 3))


class Shuffle(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.deep, self.point = block(3, 16), block(8, 8, groups=8), block(8, 8, 1)

    def forward(self, x):
        for _ in range(2):
            kept, work = self.stem(x).chunk(2, 1)
            y = torch.cat([kept, self.point(self.deep(work))], 1)
            n, c, h, w = y.shape
            y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return y


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.deep, self.leave = block(3, 8), block(8, 16), block(16, 8)
        self.up, self.out = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.enter(x)
        return self.out(self.leave(torch.cat([x, self.up(self.deep(F.max_pool2d(x, 2)))], 1)))


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(12, 16, 4, 1, 0, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1, groups=2), nn.Tanh(),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x[:, :, None, None] if x.dim() == 2 else x)


class Standardised(nn.Module):
    """A convolution whose weight is computed from a parameter, as in normaliser-free networks."""

    def __init__(self):
        super().__init__()
        self.weight, self.gain = nn.Parameter(torch.randn(12, 6, 3, 3)), nn.Parameter(torch.rand(12, 1, 1, 1))

    def forward(self, x):
        var, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        return F.gelu(F.conv2d(x, (self.weight - mean) * torch.rsqrt(var * 54 + 1e-4) * self.gain, padding=1)) * 1.7


class Signal(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(4, 8, 9, 4, 4), nn.Conv1d(8, 8, 3, padding="same", dilation=3, groups=2)
        self.up = nn.ConvTranspose1d(8, 2, 8, 4, 2)

    def forward(self, x):
        return self.up(F.glu(torch.cat([self.second(F.elu(self.first(x)))] * 2, 1), 1))


class Volume(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv3d(2, 8, 3, (1, 2, 2), 1), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 8, (3, 1, 1), padding=(1, 0, 0)))

    def forward(self, x):
        return self.layers(x)


NETS = {
    Bottleneck: (3, 32, 40), Mobile: (3, 20, 24), Dense: (3, 9, 11), Shuffle: (3, 8, 8), UNet: (3, 16, 12), Generator: (12, 1, 1),
    Standardised: (6, 7, 9), Signal: (4, 64), Volume: (2, 5, 8, 8),
}  # fmt: skip
nets = pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)


@doors
@nets
def test_net(net, door):
    natively(trained(net()), torch.randn(2, *NETS[net]), door=door)


@doors
@pytest.mark.parametrize("which", ["input", "weights", "both"])
@pytest.mark.parametrize("net", [Bottleneck, Mobile, Shuffle, UNet], ids=lambda net: net.__name__)
def test_channels_last(net, which, door):
    """Results lie in memory as eager's, and channels-last inputs are read where they are."""
    x, model = torch.randn(2, *NETS[net]), trained(net())
    if which != "weights":
        x = x.to(memory_format=torch.channels_last)
    if which != "input":
        model = model.to(memory_format=torch.channels_last)
    steps = natively(model, x, door=door)
    copied = [name for name in steps if name.startswith("copy")]
    assert which == "weights" or net is Shuffle or not copied  # half of what is split is joined again


def test_norms_fold_and_joins_are_free():
    """No step for a norm after a convolution, an activation, a residual or a join of channels."""

    def kinds(net):
        return {name.partition(" ")[0] for name in natively(trained(net()), torch.randn(1, *NETS[net]).to(memory_format=torch.channels_last))}

    assert kinds(UNet) == {"conv2d+add+relu", "conv_transpose2d", "max_pool2d", "conv2d"}
    assert not [name for name in kinds(Dense) if "cat" in name or "copy" in name]
    assert not [name for name in kinds(Bottleneck) if "batch_norm" in name]


def test_weights_change():
    """Folded norms and packed weights follow the parameters."""
    model, x = trained(Bottleneck()), torch.randn(2, 3, 32, 40)
    compiled = tuyere.compile(model, x)
    with torch.no_grad():
        agree(model, compiled(x), x)
        model.stem[1].running_var.mul_(3)
        agree(model, compiled(x), x)
        model.body[0][0].weight.neg_()
        agree(model, compiled(x), x)


@pytest.mark.parametrize("net", [Bottleneck, Mobile, Dense, UNet, Standardised], ids=lambda net: net.__name__)
def test_varying_batch_and_image(net):
    """One program for every batch and image size."""
    model = trained(net())
    c, h, w = NETS[net]
    with torch.no_grad():
        compiled = torch.compile(model, backend="tuyere", dynamic=True)
        with stats.recording() as records:
            for n, dh, dw in [(2, 0, 0), (3, 8, 4), (5, 4, 16), (2, 12, 0)]:
                x = torch.randn(n, c, h + dh, w + dw)
                agree(model, compiled(x), x)
        assert len(records) == 1


@pytest.mark.parametrize("stem", [False, True], ids=["pointwise", "stem"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 2), (7, 1)])
def test_lines_are_handed_on(stem, kernel, stride):
    """A large result that a depthwise convolution alone reads is computed a few lines ahead of it, and takes no memory of the run's."""
    first = block(3, 48, 3, 2) if stem else block(16, 48, 1, act=nn.SiLU)
    model = trained(nn.Sequential(first, block(48, 48, kernel, stride, groups=48, act=nn.Hardswish), nn.Conv2d(48, 8, 1)))
    x = torch.randn(2, 3, 131, 126) if stem else torch.randn(2, 16, 66, 63)
    with torch.no_grad(), stats.recording() as records:
        compiled = tuyere.compile(model, x)
        agree(model, compiled(x), x)
        after = model[1](first(x))
    (memory,) = [segment.program.memory() for record in records for segment in record.segments]
    others = 4 * (x.numel() + after.numel() + after.numel() // 6)  # channels last copies included
    assert memory["arena"] < others + 4096


def test_join_reaches():
    """What is joined may have other readers, be joined twice, be an output, or be joined already."""

    def net(x, w, v):
        a, b = F.relu(F.conv2d(x, w, padding=1)), F.conv2d(x, v)
        ab = torch.cat([a, b], 1)
        twice = torch.cat([ab, a * 2, ab.mean((2, 3), keepdim=True).expand_as(ab)], 1)
        return ab, twice, torch.cat([a, a, b], 1), b, torch.cat([a, b, x], 1), torch.cat([x.sigmoid(), x], 2)

    args = torch.randn(2, 6, 5, 7), torch.randn(4, 6, 3, 3), torch.randn(3, 6, 1, 1)
    with torch.no_grad():
        compiled = tuyere.compile(net, *args)
        for mine, theirs in zip(compiled(*args), net(*args)):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_transposed(dims):
    """Every stride, padding and dilation of a transposed convolution, of groups too."""
    call = getattr(F, f"conv_transpose{dims}d")
    settings = [(k, s, p, d) for k in (1, 2, 3, 5) for s in (1, 2, 3) for p in (0, 1, 2) for d in (1, 2) if p < d * (k - 1) + 1][:: dims * 2 - 1]
    x, inputs = torch.randn(2, 4, *(5, 4, 3)[:dims]), [torch.randn(4, 3, *[k] * dims) for k, *_ in settings]

    def all_of(x, *weights):
        return [call(x, w, stride=s, padding=p, dilation=d, output_padding=s - 1, groups=2 - s % 2) for w, (k, s, p, d) in zip(weights, settings)]

    with torch.no_grad():
        for mine, theirs in zip(tuyere.compile(all_of, x, *inputs)(x, *inputs), all_of(x, *inputs)):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=2e-5)


def test_measured_choices_are_remembered(tmp_path, monkeypatch):
    """The option max_autotune takes the word that the cache has for a convolution, and finds it out where there is none that could be."""
    monkeypatch.setenv("TUYERE_CACHE_DIR", str(tmp_path / "cache"))
    model, x = nn.Conv2d(64, 32, 3, padding=1).eval(), torch.randn(1, 64, 12, 12)
    with torch.no_grad():
        tuyere.compile(model, x)
        assert not list(tmp_path.glob("cache/*.txt"))
        agree(model, tuyere.compile(model, x, mode="max-autotune")(x), x)
        (word,) = tmp_path.glob("cache/*.txt")
        assert word.read_text() in ("direct", "winograd")
        for kind in ("direct", "winograd"):
            word.write_text(kind)
            compiled = tuyere.compile(model, x, max_autotune=True)
            assert f"conv_f32_{kind}" in str(tuyere.explain(compiled))
            agree(model, compiled(x), x)
        for nonsense in ("grouped", "?"):
            word.write_text(nonsense)
            agree(model, tuyere.compile(model, x, max_autotune=True)(x), x)
            assert word.read_text() in ("direct", "winograd")
