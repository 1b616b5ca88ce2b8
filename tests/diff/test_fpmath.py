"""bf16 fast math: float32 models whose products round to bf16: who asks for it, how far results move, what explain and memory say."""

import copy
import pathlib

import pytest
import torch

import tuyere


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down, self.norm = torch.nn.Linear(129, 300), torch.nn.Linear(300, 129), torch.nn.LayerNorm(129)

    def forward(self, x):
        return self.norm(x + self.down(torch.nn.functional.gelu(self.up(x))))


@pytest.fixture
def model():
    torch.manual_seed(3)
    return Small().eval()


def kernels(compiled):
    return [step["kernel"] for step in tuyere.explain(compiled).steps]


def error(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_rounds_products_and_nothing_else(model, rows):
    x = torch.randn(rows, 129)
    with torch.no_grad():
        exact, half = copy.deepcopy(model).double()(x.double()), copy.deepcopy(model).bfloat16()(x.bfloat16())
        fast, plain = tuyere.compile(model, x, fpmath="bf16"), tuyere.compile(model, x)
        assert error(plain(x), exact) < 1e-6
        assert 1e-5 < error(fast(x), exact) < 0.7 * error(half, exact)  # sums and what lies between products stay float32
    assert any("gemm_bf16" in kernel for kernel in kernels(fast)) and not any("bf16" in kernel for kernel in kernels(plain))


def test_who_asks_for_it(model, monkeypatch):
    x = torch.randn(2, 129)

    def is_bf16(**options):
        with torch.no_grad():
            return any("gemm_bf16" in kernel for kernel in kernels(tuyere.compile(model, x, **options)))

    assert not is_bf16()
    monkeypatch.setenv("DNNL_DEFAULT_FPMATH_MODE", "BF16")
    assert is_bf16() and not is_bf16(fpmath="f32")
    monkeypatch.setenv("TUYERE_FPMATH", "f32")
    assert not is_bf16()
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert not is_bf16()
        monkeypatch.delenv("TUYERE_FPMATH")
        monkeypatch.delenv("DNNL_DEFAULT_FPMATH_MODE")
        assert is_bf16()
    finally:
        torch.set_float32_matmul_precision(before)
    monkeypatch.setenv("TUYERE_FPMATH", "bf16")
    assert is_bf16()
    with pytest.raises(ValueError, match="must be one of 'f32', 'bf16'"):
        is_bf16(fpmath="f16")


def test_explain_knows_the_options(model):
    x = torch.randn(2, 129)

    def function(x):
        return model(x)

    for what in (model, function):
        for options, backend in (({"fpmath": "bf16"}, "tuyere"), (None, "tuyere"), (None, "eager")):
            report = tuyere.explain(torch.compile(what, backend=backend, options=options), x)
            assert any("gemm_bf16" in step["kernel"] for step in report.steps) == bool(options)


def test_weights_take_half_the_memory(model):
    x = torch.randn(2, 129)
    with torch.no_grad():
        state = {}
        for fpmath in ("f32", "bf16"):
            compiled = tuyere.compile(model, x, fpmath=fpmath)
            compiled(x)
            report = tuyere.explain(compiled)
            state[fpmath] = report.graphs[0].programs[0]["memory"]["state"]
            assert ("fpmath bf16" in str(report)) == (fpmath == "bf16")
    assert state["bf16"] < 0.6 * state["f32"]


def test_sentences_stay_as_alike(monkeypatch):
    """MiniLM with its real weights: cosines within 5e-3 of float32's, the sentence next to each and the ranking of the closest pairs unchanged."""
    pytest.importorskip("transformers")
    pytest.importorskip("tokenizers")
    from tuyere.bench.text import minilm_path

    if minilm_path() is None:
        pytest.skip("MiniLM's weights are not installed (./dev bench transformers does it)")
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parents[2] / "examples"))
    import sentence_similarity as example

    encoder, tokens = example.load(), example.tokenize(example.SENTENCES)
    with torch.no_grad():
        alike = [vectors @ vectors.T for vectors in (encoder(**tokens), tuyere.compile(encoder, example_kwargs=tokens, fpmath="bf16")(**tokens))]
    assert 1e-6 < (alike[0] - alike[1]).abs().max() < 5e-3
    pairs = torch.triu_indices(*alike[0].shape, offset=1)
    others = [cosines - 2 * torch.eye(len(cosines)) for cosines in alike]
    assert torch.equal(others[0].argmax(1), others[1].argmax(1))
    ranked = [cosines[tuple(pairs)].argsort(descending=True)[:10] for cosines in alike]
    assert torch.equal(*ranked)
