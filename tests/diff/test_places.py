"""Reading and writing at places that data give: what OpInfo does not show, such as indices out of range, and memory read by strides."""

import random

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


def test_first_rows_of_a_product():
    """What follows takes some rows of a product only: that is no epilogue of it, though both begin at the same place."""
    layer, conv = torch.nn.Linear(32, 48), torch.nn.Conv2d(8, 16, 1)
    x, image = torch.randn(1, 40, 32), torch.randn(1, 8, 6, 6)
    cases = (
        (lambda x: layer(x)[:, :5] * 2, (x,)),
        (lambda x: torch.cat([layer(x)[:, :3], x[:, :2].repeat(1, 1, 2)[..., :48]], 1), (x,)),
        (lambda x: (x[0] @ x[0].t())[:7].relu(), (x,)),
        (lambda x: conv(x)[:, :, :2].relu(), (image,)),
    )
    for f, args in cases:
        close(tuyere.compile(f, *args, strict=True)(*args), f(*args))


def test_assignments_in_place():
    """Parts of a tensor that are assigned one after the other are written into one memory: nothing else is copied, and no second one is needed."""

    def assigned(a, index):
        y = a * 2
        y[:, 8:16] = a[:, :8].exp()
        y[2:4, 1] = 3
        y[:, 20:40].scatter_(1, index, a[:, :20])
        y.view(64, 16, 16)[:, 3] = 1
        y[1:9].view(8, 16, 16)[:, 5:7].scatter_add_(2, index[:8, None, :16].expand(8, 2, 16) % 16, a[8:16, :32].reshape(8, 2, 16))
        return y

    a, index = torch.randn(64, 256), torch.randint(0, 20, (64, 20))
    assert not fallbacks(assigned, a, index)
    close(tuyere.compile(assigned, a, index)(a, index), assigned(a, index))
    memory = tuyere.explain(assigned, a, index).graphs[0].programs[0]["memory"]
    assert memory["arena"] < 4 * a.numel()  # the indices and what is scattered: the rest is computed into the result


def _earlier(a, b, i):
    q = b[:2].softmax(1)  # computed before what it is assigned into, which would be written over it
    y = (a * 3).softmax(1)
    y[2:4] = q
    return y


def _earlier_and_changed(a, b, i):
    q = a[:4].cumsum(1) * 2
    y = a * 3
    q[:2] = 5
    y[2:6] = q
    return y


def _apart(a, b, i):
    y = (a * 2).flatten().scatter(0, i.flatten(), b.flatten())  # scattered into memory of its own: in the result its elements lie apart
    y[2:4] = 7
    return torch.stack([y, b.flatten()], 1)


def _both_in_one_place(a, b, i):
    y = (a * 3).softmax(1)
    q = (b[:4] + 1).softmax(1)
    q[:2] = y[2:4]  # would lie in the result already, but so does q
    y[2:6] = q
    return y


def _moved(a, b, i):
    y = (a * 3).softmax(1)
    y[:2] = y[2:4].clone()
    return y


def _read_later(a, b, i):
    y = (a * 3).softmax(1)
    q = b[:4].softmax(1)
    y[2:6] = q
    y[4:6, :3] = 7  # q, read once more, cannot lie there
    return y, q.exp()


def _joined_and_read_later(a, b, i):
    y = (a * 3).softmax(1)
    q = b[:4].softmax(1)
    y[2:8] = torch.cat([q, a[:2].softmax(1)])
    y[4:6] = 7
    return y, q.exp()


class _Constant(torch.nn.Module):
    """What is computed once, from weights alone, is the same at the next call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.randn(8, 8))
        self.register_buffer("places", torch.randint(0, 8, (8, 8)))

    def forward(self, a, b, i):
        y = self.weight.scatter(1, self.places, self.weight * 2)
        y[1:3] = a[:2]
        return y


@pytest.mark.parametrize(
    "f",
    [_earlier, _earlier_and_changed, _apart, _both_in_one_place, _moved, _read_later, _joined_and_read_later, _Constant()],
    ids=lambda f: getattr(f, "__name__", "_Constant")[1:],
)
def test_assignments_out_of_place(f):
    """One reason each not to compute something into the memory of what it becomes a part of."""
    compiled = None
    for _ in range(2):
        args = torch.randn(8, 8), torch.randn(8, 8), torch.randint(0, 8, (8, 8))
        compiled = compiled or tuyere.compile(f, *args, strict=True, no_compiler=True)
        assert_same(compiled(*args), f(*args), rtol=1e-5, atol=1e-5)


def _assignments(seed: int) -> str:
    """A random program that assigns to parts of tensors, reads what was there before, and what is there later."""
    draw = random.Random(seed)
    rows, columns = draw.choice([(6, 8), (5, 6)])
    starts = ("a * 2", "torch.zeros_like(a)", "a.clone()", "(a + 1).relu()", "a @ b.t() @ a", "torch.cat([a[:2] + 1, a[2:] * 2])")
    lines, names = [f"t0 = {draw.choice(starts)}"], ["t0"]
    for _ in range(draw.randint(2, 7)):
        t, other, new = draw.choice(names), draw.choice(names), f"t{len(names)}"
        top, left = draw.randint(0, rows - 1), draw.randint(0, columns - 2)
        high, wide = draw.randint(1, rows - top), draw.randint(1, columns - left)
        part, corner, which = f"[{top}:{top + high}, {left}:{left + wide}]", f"[:{high}, :{wide}]", draw.randint(0, columns // 2 - 1)
        sources = (f"a{part}", f"{other}{part} * 3", f"(b{part} + a{part}.sum())", "5.0", f"{other}.sum()", f"(a.t() @ b){corner}")
        kinds = (
            *[f"{t}{part} = {draw.choice(sources)}" for _ in range(4)],
            f"{t}[{top}] = {other}[{rows - 1 - top}] + 1",
            f"{t}{part}.scatter_(1, i{corner} % {wide}, a{corner})",
            f"{t}[:, {left}:{left + wide}].scatter_add_(1, i[:, :{wide}] % {wide}, b[:, :{wide}])",
            f"{t}.view({rows}, {columns // 2}, 2)[:, {which}].scatter_(1, i[:, :2] % 2, a[:, :2])",
            f"{new} = {draw.choice((f'{t}.clone()', f'{t} + a'))}",
            f"outs.append({t} * 2)",
            f"{t}[{top}:{top + high}][:, {left}:{left + wide}].add_({other}{part})",
            f"q = {t}{part}.clone(); q[0] = 7; {t}{part} = q",
            f"q = {t}{part}.clone(); {t}[{top}:{top + high}] = 1; outs.append(q[:, :1] + {t}[{top}:{top + high}, :1])",
        )
        lines.append(draw.choice(kinds))
        if lines[-1].startswith(new):
            names.append(new)
    shown = ", ".join(draw.sample(names, draw.randint(1, len(names))))
    return f"rows, columns = {rows}, {columns}\ndef f(a, b, i):\n outs = []\n " + "\n ".join([*lines, f"return [{shown}, *outs]"])


def test_random_assignments():
    """What lies in another's memory is neither read late nor written early."""
    for seed in range(40):
        text, space = _assignments(seed), {"torch": torch}
        exec(text, space)
        size, f = (space["rows"], space["columns"]), space["f"]
        args = torch.randn(size), torch.randn(size), torch.randint(0, 99, size)
        for ours, theirs in zip(tuyere.compile(f, *args, strict=True, no_compiler=True)(*args), f(*args), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4, msg=lambda m, t=text: f"{m}\n{t}")
