"""PyTorch's own samples of every operator that tuyere claims, compiled against eager.

``test_operator`` compiles the samples of one operator and dtype as one function, so that a test costs
one compilation. Many overloads never come out of a trace (PyTorch turns them into others), yet a
saved program may hold them: ``test_overload`` makes a graph of each claimed overload by itself.
"""

import collections
import itertools
import operator

import pytest
import torch
from torch import fx
from torch._dynamo.utils import same
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import make_tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import BinaryUfuncInfo, ReductionOpInfo, SampleInput, UnaryUfuncInfo
from torch.utils import _pytree as pytree

import tuyere
from support import assert_same, clone, native_and_fallbacks
from tuyere import options, partition, stats

aten = torch.ops.aten
NARROW = (torch.bfloat16, torch.float16)
DTYPES = (torch.float32, torch.float64, torch.int64, torch.int32, torch.bool, *NARROW)
FEW = {torch.float32: 10, torch.float64: 4, torch.int64: 4, torch.int32: 3, torch.bool: 3, **dict.fromkeys(NARROW, 2)}  # samples without --full
LARGE = 100_000  # elements; larger samples are left out without --full

def base(name: str) -> str:
    """The family's plain name: aten._softmax.default is softmax, aten.native_layer_norm.default is layer_norm."""
    short = name.split(".")[1].strip("_")
    for prefix in ("native_", "scaled_dot_product_fused_", "unsafe_"):
        short = short.removeprefix(prefix)
    return short


def names_of(info) -> set[str]:
    found = {info.name, info.aten_name or "", *(alias.name for alias in info.aliases)}
    found |= {name.split(".")[-1] for name in found}
    return {name.strip("_").removeprefix("native_") for name in found if name}


INFOS = collections.defaultdict(list)
for _info in op_db:
    for _name in names_of(_info):
        INFOS[_name].append(_info)

# What OpInfo names otherwise than ATen does.
OTHERWISE = {
    "addmm": ["nn.functional.linear", "addmm"],
    "mm": ["mm", "nn.functional.linear"],
    "t": ["t", "nn.functional.linear"],
    "scaled_dot_product_flash_attention_for_cpu": ["nn.functional.scaled_dot_product_attention"],
    "batch_norm_legit": ["nn.functional.batch_norm", "nn.functional.instance_norm"],
    "batch_norm_legit_functional": ["nn.functional.batch_norm", "nn.functional.instance_norm"],
    "batch_norm_legit_no_training": ["nn.functional.batch_norm"],
    "batch_norm_no_update": ["nn.functional.batch_norm"],
    "rsub": ["__rsub__", "rsub"],
    "to_copy": ["to", "float", "double", "long", "int", "bool"],
    "unsafe_view": ["matmul", "nn.functional.linear"],
    "view": ["view", "reshape"],
    "slice": ["narrow", "__getitem__", "slice"],
    "select": ["select", "__getitem__"],
    "index": ["__getitem__", "index_select"],
    "clone": ["clone", "contiguous"],
    "scalar_tensor": ["scalar_tensor"],
    "log_softmax": ["log_softmax"],
    "im2col": ["nn.functional.unfold"],
    "col2im": ["nn.functional.fold"],
    "one_hot": ["nn.functional.one_hot"],
    **{f"grid_sampler{n}": ["nn.functional.grid_sample"] for n in ("", "_2d", "_3d")},
    "max_unpool2d": ["nn.functional.max_unpool2d"],
    "max_unpool3d": ["nn.functional.max_unpool3d"],
    "embedding_bag": ["nn.functional.embedding_bag"],
    "embedding_bag_forward_only": ["nn.functional.embedding_bag"],
    "pad_circular": ["nn.functional.pad.circular"],
    "pad_enum": ["nn.functional.pad.reflect", "nn.functional.pad.replicate"],
    **{f"reflection_pad{n}d": ["nn.functional.pad.reflect"] for n in (1, 2, 3)},
    **{f"replication_pad{n}d": ["nn.functional.pad.replicate"] for n in (1, 2, 3)},
    **{f"upsample_{kind}{n}d": [f"nn.functional.interpolate.{kind}"] for n, kind in ((1, "linear"), (2, "bilinear"), (3, "trilinear"), (2, "bicubic"))},
    **{f"upsample_nearest{n}d": ["nn.functional.interpolate.nearest"] for n in (1, 2, 3)},
    **{f"upsample_nearest_exact{n}d": ["nn.functional.interpolate.nearest-exact"] for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": [f"nn.functional.max_pool{n}d"] for n in (1, 2, 3)},
    "lift_fresh_copy": ["tensor_split"],
}
BY_NAME = {info.name + ("." + info.variant_test_name if info.variant_test_name else ""): info for info in op_db}


def infos(name: str) -> list:
    """The OpInfos that exercise an operator."""
    listed = [BY_NAME[other] for other in OTHERWISE.get(base(name), ()) if other in BY_NAME]
    return listed or INFOS[base(name)]


CLAIMED = sorted(set(tuyere.supported_ops()))
FAMILIES = collections.defaultdict(list)
for _name in CLAIMED:
    FAMILIES[base(_name)].append(_name)

def edge_cases(info, dtype):
    """Empty and zero-dimensional inputs, where the kind of operator says that any shape will do."""
    domain = dict(zip(("low", "high"), info.domain)) if isinstance(info, UnaryUfuncInfo) else {}
    for shape in ((), (0,), (3, 0, 2), (1,)):
        first = make_tensor(shape, dtype=dtype, device="cpu", **domain)
        if isinstance(info, BinaryUfuncInfo):
            yield SampleInput(first, args=(make_tensor(shape, dtype=dtype, device="cpu", exclude_zero=True),))
        elif isinstance(info, (UnaryUfuncInfo, ReductionOpInfo)):
            yield SampleInput(first)


def runs(info, sample):
    """What eager makes of the sample; None when it refuses (then there is nothing to compare)."""
    inputs = clone((sample.input, sample.args, sample.kwargs))
    try:
        return info.op(inputs[0], *inputs[1], **inputs[2])
    except (RuntimeError, IndexError, ValueError, TypeError, NotImplementedError):
        return None


def samples(info, dtype, full):
    """(sample, expected) pairs, the first few of each kind: as they come, with other strides, and edge cases."""

    def random(sample):
        return bool(sample.kwargs.get("dropout_p") or sample.kwargs.get("training"))

    def crossed(sample):
        """logit's eps above a half puts the lower bound over the upper: which wins differs between versions and sizes of PyTorch's."""
        return info.name == "logit" and any(isinstance(value, float) and value > 0.5 for value in (*sample.args, *sample.kwargs.values()))

    def small(sample):
        leaves = pytree.tree_leaves((sample.input, sample.args, sample.kwargs))
        return sum(leaf.numel() for leaf in leaves if isinstance(leaf, torch.Tensor)) <= LARGE

    kinds = [
        (sample for sample in info.sample_inputs("cpu", dtype)),
        (sample.noncontiguous() for sample in info.sample_inputs("cpu", dtype)),
        edge_cases(info, dtype),
    ]
    for kind in kinds:
        left = None if full else FEW[dtype]
        for sample in kind:
            if left == 0:
                break
            if random(sample) or crossed(sample) or (not full and not small(sample)):
                continue
            expected = runs(info, sample)
            leaves = pytree.tree_leaves(expected)
            if any(isinstance(leaf, torch.Tensor) for leaf in leaves):
                yield sample, expected
                left = left and left - 1


def by_the_rule(info, sample, ours, expected):
    """PyTorch's rule for whole models, at 1e-4, against float64: long sums of products of numbers up to 9, whose results are
    small beside their terms in places, differ from eager's in another way than element by element."""

    def wide(tree):
        return pytree.tree_map_only(torch.Tensor, lambda t: t.double() if t.dtype == torch.float32 else t, tree)

    truth = info.op(*wide((sample.input, *sample.args)), **wide(sample.kwargs))
    assert (ours.dtype, ours.shape, ours.stride()) == (expected.dtype, expected.shape, expected.stride())
    assert same(expected, ours, fp64_ref=truth, tol=1e-4)


# Where these find the same number twice PyTorch promises no order of the indices: by where the dim stands among the arguments.
TIES = {"sort": 0, "argsort": 0, "topk": 1, "kthvalue": 1}


def without_ties(info, sample, result):
    """The result with what stands at indices in place of them, and that no index comes twice."""
    if info.name not in TIES or sample.kwargs.get("stable") or not sample.input.dim():
        return result
    at = TIES[info.name]
    dim = sample.kwargs.get("dim", sample.args[at] if len(sample.args) > at else -1)
    values, indices = (None, result) if isinstance(result, torch.Tensor) else result
    index = indices if indices.dim() == sample.input.dim() else indices.unsqueeze(dim)
    place = index.sort(dim).values
    assert not (place.narrow(dim, 1, place.size(dim) - 1) == place.narrow(dim, 0, place.size(dim) - 1)).any() if place.numel() else True
    return values, sample.input.gather(dim, index)


def no_worse(info, sample, ours, expected, then):
    """float16 and bfloat16: the error against float64 is at most eager's and one rounding more, element by element."""

    def wide(tree):
        return pytree.tree_map_only(torch.Tensor, lambda t: t.double() if t.dtype in NARROW else t, tree)

    kwargs = {name: torch.float64 if value in NARROW else value for name, value in sample.kwargs.items()}
    args = [torch.float64 if value in NARROW else value for value in sample.args]
    truth = then(info.op(*wide(clone((sample.input, *args))), **wide(clone(kwargs))))
    for mine, theirs, exact in zip(*map(pytree.tree_leaves, (ours, expected, truth)), strict=True):
        if not isinstance(theirs, torch.Tensor) or theirs.dtype not in NARROW:
            assert_same(mine, theirs)
            continue
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        limits, exact = torch.finfo(theirs.dtype), exact.double()
        mine, theirs = mine.double(), theirs.double()
        bound = (theirs - exact).abs() + limits.eps * exact.abs() + limits.smallest_normal * limits.eps
        good = ((mine - exact).abs() <= bound) | (mine == theirs) | (mine.isnan() & (theirs.isnan() | exact.isnan())) | (mine == exact)
        good |= theirs.isinf() & ~exact.isinf()  # eager's own intermediate results left the range
        assert good.all(), f"{mine[~good][:4]}, eager {theirs[~good][:4]}, exact {exact[~good][:4]}"


def tolerances(dtype):
    """assert_close's own; a little more for float32, where reductions and products are summed in another order."""
    return {"rtol": 1e-5, "atol": 2e-5} if dtype == torch.float32 else {}


def is_view(op, first, args, kwargs) -> bool:
    """Does the operator give memory of its inputs? By itself that is no work for a program."""

    def memory(tree):
        return {leaf.untyped_storage().data_ptr() for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)}

    inputs = memory((first, args, kwargs))
    return not memory(op(first, *args, **kwargs)).isdisjoint(inputs)


def computed(tree):
    """Something that must be computed from every tensor, so that a view is used and not only handed on."""
    return pytree.tree_map_only(torch.Tensor, lambda t: ~t if t.dtype == torch.bool else t * 3 - 1, tree)


def compile_and_compare(info, chosen, dtype, record_property):
    """Compiles all samples as one function, compares, and notes where the operators ran."""
    op = info.op
    inputs = [(sample.input, sample.args, sample.kwargs) for sample, _ in chosen]
    only_views = is_view(op, *clone(inputs[0]))
    if only_views:
        chosen = [(sample, computed(expected)) for sample, expected in chosen]

    def function(*inputs):
        results = [op(first, *args, **kwargs) for first, args, kwargs in inputs]
        return [computed(result) for result in results] if only_views else results

    with stats.recording() as records:
        compiled = tuyere.compile(function, *clone(inputs))
    results = compiled(*clone(inputs))
    ran, reasons = native_and_fallbacks(records)
    record_property("native", sum(ran.values()))
    record_property("in_pytorch", sorted(reasons))
    for index, (ours, (sample, expected)) in enumerate(zip(results, chosen)):
        try:
            if dtype in NARROW and info.name not in TIES:
                no_worse(info, sample, ours, expected, computed if only_views else lambda tree: tree)
                continue
            if dtype == torch.float32 and info.name.startswith("nn.functional.conv"):
                by_the_rule(info, sample, ours, expected)
                continue
            ours, expected = (without_ties(info, sample, result) for result in (ours, expected))
            assert_same(ours, expected, **(tolerances(dtype) if dtype.is_floating_point else {}))
        except AssertionError as error:
            raise AssertionError(f"sample {index}: {sample.summary()}\n{error}") from None


# Values that are not defined: uninitialised memory, or random numbers.
UNDEFINED = {
    "empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted",
    "rand_like", "bernoulli", "alpha_dropout", "feature_alpha_dropout",
}  # fmt: skip


# Families also compiled in float16 and bfloat16 without --full.
SAMPLED = {
    torch.bfloat16: {"linear", "conv2d", "scaled_dot_product_attention", "softmax", "var", "cumsum", "embedding", "where", "floor_divide", "to_copy"},
    torch.float16: {"addmm", "batch_norm", "logsumexp", "pow", "index_put"},
}


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_operator(family, dtype, request, record_property):
    found = [info for name in FAMILIES[family] for info in infos(name)]
    found = list({id(info): info for info in found if dtype in info.supported_dtypes("cpu")}.values())
    if not found:
        pytest.skip("no OpInfo of this dtype")
    if family in UNDEFINED:
        pytest.skip("its values are not defined")
    if family not in SAMPLED.get(dtype, FAMILIES) and not request.config.getoption("--full"):
        pytest.skip("not in the sample of this dtype")
    with torch.no_grad():
        for info in found:
            chosen = list(samples(info, dtype, request.config.getoption("--full")))
            if chosen:
                compile_and_compare(info, chosen, dtype, record_property)


# ---- Every overload by itself


def adapted(schema, values, named):
    """Arguments as a schema wants them: numbers where it has numbers, tensors where it has tensors; None if they don't fit."""
    values, named, result = list(values), dict(named), []
    for argument in schema.arguments:
        if argument.kwarg_only or not values:
            break
        value, kind = values.pop(0), str(argument.type)
        if kind == "Tensor" and isinstance(value, (bool, int, float)):
            value = torch.tensor(value)
        elif kind == "number" and isinstance(value, torch.Tensor):
            value = value.flatten()[0].item() if value.numel() else 2
        result.append(value)
    return None if values else (result, named)


def made_up(schema, dtype):
    """Arguments from the schema alone, for operators that no OpInfo knows."""
    plain = {"number": 2, "int": 0, "SymInt": 0, "bool": False, "float": 0.5, "List[int]": [4, 3], "List[SymInt]": [4, 3]}
    values, named = [], {}
    for argument in schema.arguments:
        if argument.has_default_value():
            continue
        kind = str(argument.type)
        if kind == "Tensor":
            value = make_tensor((4, 3), dtype=dtype, device="cpu", low=0, high=2)
        elif kind == "List[Tensor]":
            value = [make_tensor((4, 3), dtype=dtype, device="cpu") for _ in range(2)]
        elif kind.startswith("Optional"):
            value = None
        elif kind == "Device":
            value = torch.device("cpu")
        else:
            value = plain.get(kind, torch.float32 if argument.name == "dtype" else 1)
        if argument.kwarg_only:
            named[argument.name] = value
        else:
            values.append(value)
    return values, named


def _f(*shape):
    return make_tensor(shape, dtype=torch.float32, device="cpu")


def _norm(*more):
    return [_f(2, 3, 4, 4), _f(3), _f(3), _f(3), _f(3).abs(), *more]


# Calls that neither OpInfo nor the schema gives: functions that make the arguments, since they are random.
BY_HAND = {
    "aten._native_batch_norm_legit_no_training.default": lambda: _norm(0.1, 1e-5),
    "aten.native_batch_norm.default": lambda: _norm(False, 0.1, 1e-5),
    "aten.batch_norm.default": lambda: _norm(False, 0.1, 1e-5, False),
    "aten.instance_norm.default": lambda: [_f(2, 3, 4, 4), _f(3), _f(3), None, None, True, 0.1, 1e-5, False],
    "aten._native_batch_norm_legit.no_stats": lambda: [_f(2, 3, 4, 4), _f(3), _f(3), True, 0.1, 1e-5],
    "aten._native_batch_norm_legit_functional.default": lambda: _norm(True, 0.1, 1e-5),
    "aten._batch_norm_no_update.default": lambda: _norm(0.1, 1e-5),
    "aten._reshape_alias.default": lambda: [_f(4, 3), [3, 4], [4, 1]],
    "aten._unsafe_index.Tensor": lambda: [_f(5, 4), [torch.tensor([1, 3])]],
    "aten.clamp.default": lambda: [_f(4, 3), -0.5, 0.5],
    "aten.clip.default": lambda: [_f(4, 3), -0.5, 0.5],
    "aten.empty_permuted.default": lambda: [[2, 3], [1, 0]],
    "aten.eye.default": lambda: [4],
    "aten.eye.m": lambda: [3, 4],
    "aten.fill.Tensor": lambda: [_f(4, 3), torch.tensor(2.0)],
    "aten.native_group_norm.default": lambda: [_f(2, 6, 4), _f(6), _f(6), 2, 6, 4, 3, 1e-5],  # PyTorch 2.12 has no OpInfo of it
    "aten.native_dropout.default": lambda: [_f(4, 3), 0.5, False],
    "aten.index.Tensor": lambda: [_f(5, 4), [torch.tensor([1, 3])]],
    "aten.meshgrid.default": lambda: [[_f(4), _f(3), _f(())]],
    "aten.meshgrid.indexing": lambda: ([[_f(4), _f(3), _f(2)]], {"indexing": "xy"}),
    "aten.movedim.int": lambda: [_f(5, 4, 3), 0, 2],
    "aten.tensor_split.sections": lambda: [_f(7, 3), 3],
    "aten.to.dtype": lambda: [_f(4, 3), torch.float64],
    "aten.to.device": lambda: [_f(4, 3), torch.device("cpu"), torch.float64],
    "aten.to.other": lambda: [_f(4, 3), torch.ones(1, dtype=torch.float64)],
    "aten.scalar_tensor.default": lambda: [2.5],
    "aten.empty.memory_format": lambda: [[4, 3]],
    "aten.empty_strided.default": lambda: [[4, 3], [3, 1]],
    "aten.norm.ScalarOpt_dtype": lambda: ([_f(4, 3), 2], {"dtype": torch.float32}),
    "aten.norm.ScalarOpt_dim_dtype": lambda: ([_f(4, 3), 2, [1], False], {"dtype": torch.float32}),
    "aten.special_logsumexp.default": lambda: [_f(4, 3), [1]],
    **{f"aten.max_pool{n}d{which}.default": lambda n=n: [_f(2, 3, *[9] * n), [3], [2], [1]] for n in (1, 2, 3) for which in ("", "_with_indices")},
    **{f"aten.avg_pool{n}d.default": lambda n=n: [_f(2, 3, *[9] * n), [3], [2], [1], True, False] for n in (1, 2, 3)},
    **{f"aten.adaptive_{kind}_pool{n}d.default": lambda n=n: [_f(2, 3, *[9] * n), [4] * n] for n in (1, 2, 3) for kind in ("avg", "max")},
    **{f"aten._adaptive_avg_pool{n}d.default": lambda n=n: [_f(2, 3, *[9] * n), [4] * n] for n in (2, 3)},
    "aten.convolution.default": lambda: [_f(1, 4, 8, 8), _f(6, 2, 3, 3), _f(6), [2, 2], [1, 1], [1, 1], False, [0, 0], 2],
}


for _n, _kind in ((1, "linear1d"), (2, "bilinear2d"), (3, "trilinear3d"), (2, "bicubic2d")):
    BY_HAND[f"aten.upsample_{_kind}.default"] = lambda n=_n: [_f(2, 3, *[5] * n), [8] * n, False]
    BY_HAND[f"aten.upsample_{_kind}.vec"] = lambda n=_n: [_f(2, 3, *[5] * n), None, True, [1.7] * n]
for _n in (1, 2, 3):
    for _kind in ("upsample_nearest", "_upsample_nearest_exact"):
        BY_HAND[f"aten.{_kind}{_n}d.default"] = lambda n=_n: [_f(2, 3, *[5] * n), [8] * n]
        BY_HAND[f"aten.{_kind}{_n}d.vec"] = lambda n=_n: [_f(2, 3, *[5] * n), None, [1.7] * n]
    for _kind in ("reflection", "replication"):
        BY_HAND[f"aten.{_kind}_pad{_n}d.default"] = lambda n=_n: [_f(2, 3, *[5] * n), [1, 2] * n]
for _kind, _gates, _states in (("lstm", 4, 2), ("gru", 3, 1), ("rnn_tanh", 1, 1), ("rnn_relu", 1, 1)):
    BY_HAND[f"aten.{_kind}.input"] = lambda gates=_gates, states=_states: [
        _f(3, 2, 4), [_f(1, 2, 5), _f(1, 2, 5)] if states == 2 else _f(1, 2, 5),
        [_f(gates * 5, 4), _f(gates * 5, 5), _f(gates * 5), _f(gates * 5)], True, 1, 0.0, False, False, False,
    ]  # fmt: skip
BY_HAND["aten.im2col.default"] = lambda: [_f(2, 3, 7, 6), [3, 2], [1, 2], [1, 0], [2, 1]]
for _kind in ("", "native_"):
    BY_HAND[f"aten.{_kind}channel_shuffle.default"] = lambda: [_f(2, 6, 3, 3), 3]
for _name, _more in (("_embedding_bag", (False, -1)), ("_embedding_bag_forward_only", (False, -1)), ("embedding_bag", (False,))):
    BY_HAND[f"aten.{_name}.default"] = lambda more=_more: [_f(9, 6), torch.tensor([1, 5, 1, 8, 0]), torch.tensor([0, 3, 3]), False, 1, False, None, *more]
BY_HAND["aten.embedding_bag.padding_idx"] = lambda: [_f(9, 6), torch.tensor([1, 5, 1, 8, 0]), torch.tensor([0, 3, 3]), False, 2, False, None, False, 5]
BY_HAND["aten.affine_grid_generator.default"] = lambda: [_f(2, 2, 3), [2, 3, 5, 4], False]
BY_HAND["aten.col2im.default"] = lambda: [_f(2, 12, 25), [8, 9], [2, 3], [1, 2], [1, 0], [2, 1]]
BY_HAND["aten._int_mm.default"] = lambda: [torch.randint(-128, 128, (33, 16), dtype=torch.int8), torch.randint(-128, 128, (16, 24), dtype=torch.int8)]
BY_HAND["aten.one_hot.default"] = lambda: [torch.randint(0, 5, (3, 4)), 5]
for _name, _n in (("_2d", 2), ("_3d", 3), ("", 2)):
    BY_HAND[f"aten.grid_sampler{_name}.default"] = lambda n=_n: [_f(2, 3, *[5] * n), _f(2, *[4] * n, n), 0, 0, False]
BY_HAND["aten.index_put.default"] = BY_HAND["aten._unsafe_index_put.default"] = lambda: [_f(5, 4), [torch.tensor([1, 3])], _f(2, 4)]
BY_HAND["aten.scatter.reduce"] = lambda: ([_f(3, 4), 0, torch.randint(0, 3, (2, 4)), _f(2, 4)], {"reduce": "add"})
BY_HAND["aten.scatter.value_reduce"] = lambda: ([_f(3, 4), 0, torch.randint(0, 3, (2, 4)), 2.0], {"reduce": "multiply"})
BY_HAND["aten.max_unpool2d.default"] = lambda: [_f(2, 3, 2, 2), torch.arange(4).view(2, 2).expand(2, 3, 2, 2) * 3, [4, 4]]
BY_HAND["aten.max_unpool3d.default"] = lambda: [_f(2, 3, 1, 2, 2), torch.arange(4).view(1, 2, 2).expand(2, 3, 1, 2, 2) * 3, [2, 4, 4], [2, 2, 2], [0, 0, 0]]
BY_HAND["aten._pad_circular.default"] = lambda: [_f(2, 3, 5, 5), [1, 2, 0, 1]]
BY_HAND["aten._pad_enum.default"] = lambda: [_f(2, 3, 5, 5), [1, 2, 0, 1], 1]


def candidates(name, op, dtype):
    """Arguments by hand, or else from OpInfo, given to the overload as it wants them."""
    if name in BY_HAND:
        made = BY_HAND[name]()
        return [made if isinstance(made, tuple) else (made, {})]
    known = [info for info in infos(name) if dtype in info.supported_dtypes("cpu")]
    chosen = [sample for info in known for sample in itertools.islice(info.sample_inputs("cpu", dtype), 30)]
    fitting = [adapted(op._schema, (sample.input, *sample.args), sample.kwargs) for sample in chosen]
    return [one for one in fitting if one]


def calls(name, op, dtype):
    """Calls (args, kwargs, expected) of an overload that eager accepts; made up where there are no others."""

    def accepted(args, kwargs):
        try:
            expected = op(*clone(args), **clone(kwargs))
        except Exception:  # eager refuses: not a call of this overload
            return None
        leaves = [leaf for leaf in pytree.tree_leaves(expected) if isinstance(leaf, torch.Tensor)]
        return (args, kwargs, expected) if 0 < sum(leaf.numel() for leaf in leaves) <= LARGE else None

    found = [call for call in itertools.starmap(accepted, candidates(name, op, dtype)) if call]
    return found or [call for call in [accepted(*made_up(op._schema, dtype))] if call]


def graph_of(op, args, kwargs):
    """A graph of one node, with something computed from each of its results, and the tensors that go in."""
    graph, mode, tensors = fx.Graph(), FakeTensorMode(), []

    def hole(tensor):
        node = graph.placeholder(f"x{len(tensors)}")
        node.meta["val"] = mode.from_tensor(tensor, static_shapes=True)
        tensors.append(tensor)
        return node

    def call(target, args, kwargs):
        node = graph.call_function(target, args, kwargs)
        with mode:
            values = fx.node.map_arg((args, kwargs), lambda n: n.meta["val"])
            node.meta["val"] = target(*values[0], **values[1])
        return node

    args, kwargs = pytree.tree_map_only(torch.Tensor, hole, (tuple(args), dict(kwargs)))
    node = call(op, args, kwargs)
    value = node.meta["val"]
    results = [node] if isinstance(value, torch.Tensor) else [
        call(operator.getitem, (node, index), {}) for index, part in enumerate(value) if isinstance(part, torch.Tensor)
    ]  # fmt: skip
    results = [
        call(aten.logical_not.default, (result,), {}) if result.meta["val"].dtype == torch.bool else call(aten.mul.Tensor, (result, 3), {})
        for result in results
    ]
    graph.output(tuple(results))
    return fx.GraphModule({}, graph), tensors


# Claimed, and right not to run by itself: name to reason.
NEVER = dict.fromkeys(("aten.broadcast_tensors.default", "aten.meshgrid.default"), "PyTorch cannot run it with fake tensors; tests/archive does")


@pytest.mark.parametrize("name", CLAIMED)
def test_overload(name):
    """A claimed overload runs natively, and as PyTorch does."""
    if name in NEVER:
        pytest.skip(NEVER[name])
    _, plain, overload = name.split(".")
    op = getattr(getattr(aten, plain), overload)
    tried, reasons = 0, set()
    with torch.no_grad():
        for dtype in (torch.float32, torch.int64, torch.bool):
            for args, kwargs, expected in calls(name, op, dtype)[:12]:
                tried += 1
                gm, tensors = graph_of(op, args, kwargs)
                record = stats.Record(name)
                roles = {node: "input" for node in gm.graph.nodes if node.op == "placeholder"}
                try:
                    run = partition.compile_graph(gm, roles, {}, options.parse({}), record)
                except tuyere.Unsupported as reason:
                    reasons.add(str(reason))
                    continue
                if name not in native_and_fallbacks([record])[0]:
                    reasons.update(reason for _, reason, _ in record.fallbacks)
                    continue
                ours = list(run(*clone(tensors)))
                expected = [leaf for leaf in pytree.tree_leaves(expected) if isinstance(leaf, torch.Tensor)]
                expected = [t.logical_not() if t.dtype == torch.bool else t * 3 for t in expected]
                if base(name) in UNDEFINED:
                    assert [(t.shape, t.dtype) for t in ours] == [(t.shape, t.dtype) for t in expected]
                else:
                    assert_same(ours, expected, **tolerances(torch.float32) if expected[0].dtype == torch.float32 else {})
                return
    assert tried, "no call of it is known: add one, or a reason to NEVER"
    pytest.fail(f"never runs natively: {sorted(reasons)}")
