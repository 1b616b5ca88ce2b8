"""options={"weights": ...}: linear layers with weights of 8 and 4 bits: errors bounded by what the format rounds, for all doors and sizes."""

import pytest
import torch
from torch import nn

import tuyere

FORMATS = ("int8", "int8wo", "int4", "int4g32", "int4g128")


def rounded(weight: torch.Tensor, fmt: str) -> torch.Tensor:
    """The weights that stand for these [N, K], by the formats' definition."""
    if fmt.startswith("int8"):
        scale = weight.abs().amax(1, keepdim=True) / 127
        return (weight / scale).round().clamp(-127, 127) * scale
    group = {"int4": 64, "int4g32": 32, "int4g128": 128}[fmt]
    parts = []
    for part in weight.split(group, 1):
        top = part.gather(1, part.abs().argmax(1, keepdim=True))
        scale = top / -8
        parts.append((part / scale).round().clamp(-8, 7) * scale)
    return torch.cat(parts, 1)


def rows_in_8_bits(x: torch.Tensor) -> torch.Tensor:
    lo, hi = x.amin(-1, keepdim=True).clamp_max(0), x.amax(-1, keepdim=True).clamp_min(0)
    scale = hi / 255 - lo / 255
    zero = (-lo / scale).round()
    return ((x / scale).round() + zero).clamp(0, 255).sub(zero) * scale


class Net(nn.Module):
    """Widths that are no multiples of anything; a merged pair; a product that is no layer."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(70, 131), nn.Linear(70, 131, bias=False), nn.Linear(131, 37)

    def forward(self, x):
        y = torch.relu(self.a(x)) + self.b(x)
        return self.c(y), y @ y.transpose(-1, -2)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("rows", [1, 3, 20])
def test_against_the_definition(fmt, rows):
    torch.manual_seed(rows)
    net, x = Net().eval(), torch.randn(2, rows, 70)
    with torch.no_grad():
        got = tuyere.compile(net, x, weights=fmt, strict=True)(x)

        def made(x, layer):
            return nn.functional.linear(rows_in_8_bits(x) if fmt == "int8" else x, rounded(layer.weight, fmt), layer.bias)

        y = torch.relu(made(x, net.a)) + made(x, net.b)
        want = made(y, net.c), y @ y.transpose(-1, -2)
        # a value halfway between two steps of 8 bits may go either way after another order of summation
        loose = 2e-3 if fmt == "int8" else 1e-5
        for a, b in zip(got, want):
            assert (a - b).norm() <= loose * b.norm()


@pytest.mark.parametrize("fmt", FORMATS)
def test_dynamo_explain_and_memory(fmt):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(512, 768), nn.GELU(), nn.Linear(768, 512)).eval()
    x = torch.randn(9, 512)
    with torch.no_grad():
        want = net(x)
        torch._dynamo.reset()
        got = torch.compile(net, backend="tuyere", options={"weights": fmt})(x)
        direct = tuyere.compile(net, x, weights=fmt)
        torch.testing.assert_close(got, direct(x), rtol=0, atol=0)
        bound = 0.02 if fmt.startswith("int8") else 0.12
        told = tuyere.explain(direct, x)
    assert (got - want).norm() <= bound * want.norm()
    packs = [step["error"] for step in told.steps if step["kernel"] == f"pack_b_{fmt}"]
    true = [(rounded(w, fmt) - w).norm() / w.norm() for w in (net[0].weight.detach(), net[2].weight.detach())]
    assert packs == pytest.approx([t.item() for t in true], rel=1e-2)
    assert told.error["relative"] == pytest.approx(((got - want).norm() / want.norm()).item(), rel=1e-3)
    assert told.error["cosine"] > 0.99 and "outputs against float32" in str(told) and "weights changed by" in str(told)
    bits = 8 if fmt.startswith("int8") else 4
    state = told.graphs[0].programs[0]["memory"]["state"]
    assert state <= (bits / 8 + 0.15) * 2 * 512 * 768 + 8192


def test_not_finite_is_not_hidden():
    """A row with a NaN or an infinity is NaN throughout (int8), others are as they would be; a weight that is not finite shows."""
    torch.manual_seed(0)
    net, x = nn.Linear(64, 40).eval(), torch.randn(5, 64)
    with torch.no_grad():
        clean = tuyere.compile(net, x, weights="int8")(x)
        x[1, 7], x[3, 9], x[4] = float("nan"), float("inf"), 0
        got = tuyere.compile(net, x, weights="int8")(x)
        assert got[1].isnan().all() and got[3].isnan().all()
        torch.testing.assert_close(got[[0, 2]], clean[[0, 2]], rtol=0, atol=0)
        torch.testing.assert_close(got[4], net.bias)
        net.weight[3, 5] = float("nan")
        for fmt in FORMATS:
            out = tuyere.compile(net, x, weights=fmt)(x)
            assert out[:, 3].isnan().all() and not out[0, :3].isnan().any()


def test_changed_weights_are_packed_again():
    net, x = nn.Linear(96, 33).eval(), torch.randn(4, 96)
    with torch.no_grad():
        fast = tuyere.compile(net, x, weights="int8wo")
        fast(x)
        net.weight.mul_(-2)
        torch.testing.assert_close(fast(x), nn.functional.linear(x, rounded(net.weight, "int8wo"), net.bias), rtol=1e-4, atol=1e-5)


def test_models_quantised_by_pytorch_are_right():
    """quantize_dynamic: quantised operators stay in PyTorch; what stands around them compiles."""
    import warnings

    net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16), nn.LayerNorm(16)).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
        x = torch.randn(3, 32)
        torch._dynamo.reset()
        torch.testing.assert_close(torch.compile(quantised, backend="tuyere")(x), quantised(x))
        torch.testing.assert_close(tuyere.compile(quantised, x)(x), quantised(x))


def test_sentences_with_real_weights():
    """MiniLM: embeddings within 1e-2 of float32's by cosine, and pairs of sentences in the same order wherever their scores are apart by
    more than rounding to 8 bits moves them (of the 780 pairs half are within 2.4e-4 of the next: any 8 bits change places among these)."""
    pytest.importorskip("transformers")
    pytest.importorskip("tokenizers")
    import importlib.util
    import pathlib

    from tuyere.bench.text import minilm_path

    if minilm_path() is None:
        pytest.skip("MiniLM's weights are not installed (./dev bench transformers does it)")
    path = pathlib.Path(__file__).parents[2] / "examples" / "sentence_similarity.py"
    spec = importlib.util.spec_from_file_location("sentence_similarity", path)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    model, inputs = demo.load(), demo.tokenize(demo.SENTENCES)
    with torch.no_grad():
        want = model(**inputs)
        scores = (want @ want.T)[tuple(torch.triu_indices(len(want), len(want), 1))]
        for fmt, apart in (("int8", 0.025), ("int8wo", 0.015)):
            got = tuyere.compile(model, example_kwargs=inputs, weights=fmt)(**inputs)
            assert (1 - (got * want).sum(1)).max() < 1e-2
            ours = (got @ got.T)[tuple(torch.triu_indices(len(want), len(want), 1))]
            clear = (scores[:, None] - scores) > apart
            assert (((ours[:, None] - ours) > 0) | ~clear).all(), fmt


def test_unknown_format():
    with pytest.raises(ValueError, match="option 'weights' must be one of 'int8', .*, got 'int3'"):
        tuyere.compile(nn.Linear(2, 2), torch.zeros(1, 2), weights="int3")
