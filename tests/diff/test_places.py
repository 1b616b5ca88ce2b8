"""Reading and writing at places that data give: what OpInfo does not show, such as indices out of range, and memory read by strides."""

import pytest
import torch
from torch.nn import functional as F

import tuyere
from support import assert_same, close, fallbacks

pytestmark = pytest.mark.usefixtures("no_grad")


def test_out_of_range():
    """As in eager it is an error, and the next call is right again."""
    x, index = torch.randn(4, 6), torch.randint(0, 4, (4, 6))
    table, words, starts = torch.randn(9, 3), torch.tensor([1, 8, 0]), torch.tensor([0, 2])
    cases = [
        (lambda x, i: x.scatter_add(0, i, x * 2), (x, index), (x, index + 3)),
        (lambda x, i: (x + 1).index_put((i[0],), x[:1]), (x, index), (x, index - 8)),
        (lambda t, w, s: F.embedding_bag(w, t, s), (table, words, starts), (table, words + 1, starts)),
        (lambda t, w, s: F.embedding_bag(w, t, s), (table, words, starts), (table, words, starts + 2)),
    ]
    for f, good, bad in cases:
        compiled = tuyere.compile(f, *good, strict=True)
        close(compiled(*good), f(*good))
        with pytest.raises(IndexError):
            compiled(*bad)
        close(compiled(*good), f(*good))


def test_empty_table():
    """There is nothing to read in place of what an index out of range names: such a call is refused before it runs."""
    table, none, some = torch.randn(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(3, dtype=torch.long)
    compiled = tuyere.compile(lambda i, t: F.embedding(i, t) * 2, none, table, strict=True)
    assert compiled(none, table).shape == (0, 4)
    compiled = tuyere.compile(lambda i, t: F.embedding(i, t) * 2, some, torch.randn(5, 4), dynamic={1: [0]}, strict=True)
    with pytest.raises((IndexError, ValueError)):
        compiled(some, table)
    empty = torch.nn.Embedding(0, 4)  # folded, since nothing in it is an input
    with pytest.raises((IndexError, ValueError, RuntimeError)):
        tuyere.compile(lambda x: x + empty(some).sum(), torch.randn(2), strict=True)(torch.randn(2))


def test_assignment_by_a_mask():
    """A number for all places has a known size and stays in the graph; as many numbers as there are places do not."""
    x, many = torch.randn(5, 4), torch.randn(20)

    def number(x):
        y = x * 2
        y[x > 0] = 3.0
        y[x[:, 0] > 0] = x[0]
        return y + 1

    def numbers(x, many):
        y = x * 2
        y[x > 0] = many[: int(x.gt(0).sum())]
        return y + 1

    assert not fallbacks(number, x)
    close(tuyere.compile(number, x)(x), number(x))
    close(torch.compile(numbers, backend="tuyere")(x, many), numbers(x, many))


def test_overlapping_windows():
    """as_strided as Longformer cuts its chunks: of a tensor whose dims lie in another order, too."""

    def chunks(x):
        y = (x * 2).transpose(0, 1).view(3, 4, 4, 5)
        size, stride = list(y.size()), list(y.stride())
        size[1], stride[1] = 7, stride[1] // 2
        return y.as_strided(size, stride).sum(2)

    x = torch.randn(16, 3, 5)
    assert not fallbacks(chunks, x)
    assert_same(tuyere.compile(chunks, x)(x), chunks(x), rtol=1e-5, atol=1e-5)
    base = torch.randn(40)
    for part in (base[8:24], base[0:16]):  # with an offset, what is read depends on where the argument lies
        f = lambda x: x.as_strided((2, 3), (3, 1), 4).exp() * 2  # noqa: E731
        close(tuyere.compile(f, part)(part), f(part))


def test_rows_in_order():
    """Of several rows for one place the last stays, and sums are made in order, whatever the threads."""
    index = torch.randint(0, 50, (4000,))
    rows = torch.randn(4000, 8)
    put, add = (lambda x, i, y: x.index_put((i,), y) + 0), (lambda x, i, y: x.index_add(0, i, y) + 0)
    x = torch.zeros(50, 8)
    last = torch.stack([rows[index == k][-1] for k in range(50)])
    assert torch.equal(tuyere.compile(put, x, index, rows)(x, index, rows), last)
    close(tuyere.compile(add, x, index, rows)(x, index, rows), torch.stack([rows[index == k].sum(0) for k in range(50)]))
