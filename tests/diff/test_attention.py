"""Attention written out by hand, in the ways models write it, is recognised and equals eager: rows without a key included."""

import pytest
import torch

import tuyere

INF = float("inf")


def scores_first(q, k, v, mask):
    scores = torch.matmul(q, k.transpose(-1, -2)) / q.shape[-1] ** 0.5 + mask
    return torch.matmul(torch.softmax(scores, -1), v)


def scaled_query(q, k, v, mask):
    return torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + mask, -1) @ v


def batched(q, k, v, mask):
    b, h, s, d = q.shape
    flat = [t.reshape(b * h, s, d) for t in (q, k, v)]
    scores = torch.bmm(flat[0], flat[1].transpose(1, 2)).view(b, h, s, s) * 0.3 + mask
    weights = torch.nn.functional.softmax(scores, dim=-1).view(b * h, s, s)
    return torch.bmm(weights, flat[2]).view(b, h, s, d)


def position_bias(q, k, v, mask):
    bias = torch.arange(q.shape[2], dtype=torch.float32)
    bias = -(bias[:, None] - bias[None, :]).abs()[None, None] * 0.1
    return torch.softmax(q @ k.transpose(-1, -2) + bias + mask, -1) @ v


@pytest.mark.parametrize("attend", [scores_first, scaled_query, batched, position_bias])
@pytest.mark.parametrize("kind", ["none", "padding", "causal", "empty_row"])
def test_written_out(attend, kind):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 17, 8) for _ in range(3))
    mask = torch.zeros(2, 1, 17, 17)
    if kind == "padding":
        mask[1, :, :, 11:] = torch.finfo(torch.float32).min
    elif kind == "causal":
        mask += torch.full((17, 17), -INF).triu(1)
    elif kind == "empty_row":
        mask[0, :, 5, :] = -INF
    with torch.no_grad():
        expected = attend(q, k, v, mask)
        compiled = tuyere.compile(attend, q, k, v, mask)
        torch.testing.assert_close(compiled(q, k, v, mask), expected, equal_nan=True, atol=2e-6, rtol=1e-5)
    assert torch.isnan(expected).any() == (kind == "empty_row")
    assert "attention [2,3,17,8]" in str(tuyere.explain(attend, q, k, v, mask))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_growing_caches(dtype):
    """One step of a decoder: keys and values of the past are inputs with a length each, which are one length only by what attention asks."""

    def step(q, past_k, past_v, k, v, mask):
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask) * 2, k, v

    def given(past, values=None):
        shapes = (1, 4, past, 8), (1, 4, values or past, 8)
        new = [torch.randn(1, 4, 1, 8, dtype=dtype) for _ in range(3)]
        return (new[0], *(torch.randn(shape, dtype=dtype) for shape in shapes), *new[1:], torch.rand(1, 1, 1, past + 1) > 0.2)

    with torch.no_grad():
        compiled = torch.compile(step, backend="tuyere", dynamic=True, options={"strict": True})
        compiled(*given(5))
        before = tuyere.compile_count()
        for past in (6, 11, 64):
            args = given(past)
            torch.testing.assert_close(compiled(*args), step(*args), atol=2e-6, rtol=1e-5)
        assert tuyere.compile_count() == before
        assert not tuyere.explain(compiled, *given(7)).fallbacks
        with pytest.raises(Exception, match="size|must match"):
            compiled(*given(7, 9))
