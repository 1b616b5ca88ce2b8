"""Models that others quantised: their graphs against eager, and which kernels they run on."""

import pytest
import torch
from torch import nn
from torch.ao.quantization.fx import _decomposed  # noqa: F401 (defines the operators)

import tuyere
from tuyere.bench import packages

pytestmark = pytest.mark.usefixtures("no_grad")
Q = torch.ops.quantized_decomposed


def kernels(compiled, *args) -> list[str]:
    return [step["kernel"] for step in tuyere.explain(compiled, *args).steps if "gemm" in step["kernel"]]


def check(model, *args, kernel=None, dynamic=None, tolerance=2e-6):
    """Both doors agree with eager; the products run on kernels whose names hold `kernel`."""
    want = model(*args)
    direct = tuyere.compile(model, *args, dynamic=dynamic, strict=True)
    torch._dynamo.reset()
    for got in (direct(*args), torch.compile(model, backend="tuyere", options={"strict": True})(*args)):
        assert (got - want).norm() <= tolerance * want.norm()
    told = tuyere.explain(direct, *args)
    assert "in PyTorch" not in str(told)
    used = kernels(direct, *args)
    assert used and all(kernel in name for name in used)
    return direct


class Layer(nn.Module):
    """A linear layer with weights of 8 bits, a scale a row, and what `inputs` makes of its input."""

    def __init__(self, k, n, inputs, zeros=False):
        super().__init__()
        self.inputs = inputs
        self.register_buffer("weight", torch.randint(-128, 128, (n, k), dtype=torch.int8))
        self.register_buffer("scales", torch.rand(n) * 0.02)
        self.register_buffer("zeros", torch.randint(-9, 9, (n,)) if zeros else torch.zeros(n, dtype=torch.int64))
        self.bias = nn.Parameter(torch.randn(n))

    def forward(self, x):
        weight = Q.dequantize_per_channel(self.weight, self.scales, self.zeros, 0, -128, 127, torch.int8)
        return nn.functional.linear(self.inputs(x), weight, self.bias)


def as_it_is(x):
    return x


def static(x):
    return Q.dequantize_per_tensor(Q.quantize_per_tensor(x, 0.0273, 99, 0, 255, torch.uint8), 0.0273, 99, 0, 255, torch.uint8)


def static_signed(x):
    return Q.dequantize_per_tensor(Q.quantize_per_tensor(x, 0.031, -7, -128, 127, torch.int8), 0.031, -7, -128, 127, torch.int8)


def dynamic(x):
    scale, zero = Q.choose_qparams.tensor(x, 0, 255, 2**-12, torch.uint8)
    return Q.dequantize_per_tensor.tensor(Q.quantize_per_tensor.tensor(x, scale, zero, 0, 255, torch.uint8), scale, zero, 0, 255, torch.uint8)


def by_token(x):
    scale, zero = Q.choose_qparams_per_token_asymmetric(x, torch.int8)
    q = Q.quantize_per_token(x, scale, zero, -128, 127, torch.int8)
    return Q.dequantize_per_token(q, scale, zero, -128, 127, torch.int8, torch.float32)


@pytest.mark.parametrize("inputs", [as_it_is, static, static_signed, dynamic, by_token])
def test_graphs_of_quantised_operators(inputs):
    """Two layers with something between; sizes that are multiples of nothing."""
    model = nn.Sequential(Layer(71, 37, inputs, zeros=True), nn.GELU(), Layer(37, 50, inputs)).eval()
    x = torch.randn(2, 5, 71)
    fast = check(model, x, kernel="int8wo" if inputs is as_it_is else "of bytes", dynamic={0: [1]})
    x = torch.randn(2, 9, 71)
    # another order of sums in float32 may round a value between two bytes the other way
    assert (fast(x) - model(x)).norm() <= 2e-3 * model(x).norm()


class Groups(nn.Module):
    """A linear layer with weights of 8 bits, scales and zeros by groups along its inputs."""

    def __init__(self, k, n, group, least=-128, most=127):
        super().__init__()
        self.group = group
        self.register_buffer("weight", torch.randint(least, most + 1, (n, k), dtype=torch.int8))
        self.register_buffer("scales", torch.rand(n, k // group) * 0.02)
        self.register_buffer("zeros", torch.randint(least, most + 1, (n, k // group), dtype=torch.int8))
        self.bias = nn.Parameter(torch.randn(n))

    def forward(self, x):
        weight = self.weight.view(-1, self.weight.shape[1] // self.group, self.group).to(torch.float32, False, True)
        weight = (weight - self.zeros.to(torch.float32).unsqueeze(2)) * self.scales.unsqueeze(2)
        return nn.functional.linear(x, weight.view_as(self.weight), self.bias)


@pytest.mark.parametrize("bits", [8, 4])
def test_scales_by_groups(bits):
    """Bytes as they are, with their scales; groups of 32 and of twice that; a layer with smaller ones is float32."""
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    model = nn.Sequential(Groups(96, 64, 32, *ends), nn.GELU(), Groups(64, 50, 64, *ends)).eval()
    x = torch.randn(2, 5, 96)
    want = model(x)
    direct = tuyere.compile(model, x, dynamic={0: [1]}, strict=True)
    for compiled in (direct, torch.compile(model, backend="tuyere", options={"strict": True})):
        assert (compiled(x) - want).norm() <= 2e-6 * want.norm()
    assert "in PyTorch" not in str(tuyere.explain(direct, x))
    assert sum("gemm_int8g32" in name for name in kernels(direct, x)) == 2
    x = torch.randn(2, 1, 96)
    assert (direct(x) - model(x)).norm() <= 2e-6 * model(x).norm()
    small = Groups(64, 32, 16, *ends).eval()
    check(small, torch.randn(3, 64), kernel="f32")


def test_an_input_that_two_layers_share():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = Layer(64, 48, as_it_is), Layer(64, 16, as_it_is), nn.Linear(64, 8)

        def forward(self, x):
            y = static(x)
            return torch.cat([self.a(y), self.b(y), self.c(y)], 1)

    model, x = Two().eval(), torch.randn(6, 64)
    names = kernels(tuyere.compile(model, x, strict=True), x)
    torch.testing.assert_close(tuyere.compile(model, x, strict=True)(x), model(x), rtol=1e-5, atol=1e-5)
    assert sum("of bytes" in name for name in names) == 2 and sum("f32" in name for name in names) == 1


def test_weights_that_are_only_stored_in_8_bits():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("a", torch.randint(-128, 128, (40, 96), dtype=torch.int8))
            self.register_buffer("b", torch.randint(0, 256, (40, 24), dtype=torch.uint8))
            self.register_buffer("sa", torch.rand(40, 1))
            self.register_buffer("sb", torch.rand(24))

        def forward(self, x):
            y = x @ (self.a.float() * self.sa).t()
            return torch.relu(y) @ ((self.b.float() - 128) * self.sb)

    check(Net(), torch.randn(3, 96), kernel="int8wo")


def test_products_of_bytes():
    weight, scales = torch.randint(-128, 128, (24, 70), dtype=torch.int8), torch.rand(24)
    for dtype in (torch.int8, torch.uint8):
        a = torch.randint(*((-128, 128) if dtype is torch.int8 else (0, 256)), (17, 70), dtype=dtype)

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("weight", weight)

            def forward(self, a):
                return torch._int_mm(a, self.weight.t())

        want = a.int() @ weight.int().t()
        fast = tuyere.compile(Net(), a, strict=True)
        assert torch.equal(fast(a), want) and kernels(fast, a) == [kernels(fast, a)[0]] and "of bytes" in kernels(fast, a)[0]
        both = tuyere.compile(lambda a, b: torch._int_mm(a, b), a, weight.t(), strict=True)  # no constant: no kernel of its own
        assert torch.equal(both(a, weight.t()), want)

    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("weight", weight)
            self.register_buffer("scales", scales)

        def forward(self, x):
            return torch.ops.aten._weight_int8pack_mm(x, self.weight, self.scales)

    check(Packed(), torch.randn(5, 70), kernel="int8wo", tolerance=1e-5)


def test_changed_weights_are_packed_again():
    model, x = Layer(32, 16, static).eval(), torch.randn(4, 32)
    fast = tuyere.compile(model, x, strict=True)
    fast(x)
    model.weight.copy_(torch.randint(-128, 128, (16, 32), dtype=torch.int8))
    torch.testing.assert_close(fast(x), model(x), rtol=1e-5, atol=1e-5)


def torchao(monkeypatch):
    """Models quantised by torchao, each with what the names of its kernels hold."""
    monkeypatch.syspath_prepend(packages.FOLDER)
    ao = pytest.importorskip("torchao.quantization")
    return {
        "weights": (ao.Int8WeightOnlyConfig(), "int8wo"),
        "dynamic": (ao.Int8DynamicActivationInt8WeightConfig(), "of bytes"),
        "int4 by groups": (ao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=ao.PerGroup(32)), "int8g32"),
    }


@pytest.mark.parametrize("which", ["weights", "dynamic", "int4 by groups"])
def test_torchao(which, monkeypatch):
    config, kernel = torchao(monkeypatch)[which]
    from torchao.quantization import quantize_

    model, x = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32)).eval(), torch.randn(3, 128)
    quantize_(model, config)
    want, direct = model(x), tuyere.compile(model, x, strict=True)
    fast = torch.compile(model, backend="tuyere", options={"strict": True})
    for compiled in (fast, direct):
        assert (compiled(x) - want).norm() <= 2e-6 * want.norm()
    assert "in PyTorch" not in str(tuyere.explain(direct, x))
    for names in (kernels(model, x), kernels(direct, x)):
        zeros = sum("gemm_f32" in name for name in names) if kernel == "int8g32" else 0
        assert zeros in (0, 2) and sum(kernel in name for name in names) == len(names) - zeros == 2
    model[0].bias.add_(1)  # what wraps a weight is looked through at each call
    for compiled in (fast, direct):
        assert (compiled(x) - model(x)).norm() <= 2e-6 * model(x).norm()
