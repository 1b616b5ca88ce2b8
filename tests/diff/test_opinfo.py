"""PyTorch's own samples of every operator that tuyere claims, compiled against eager.

The samples of one operator and dtype are compiled as one function, so that a test costs one
compilation. Operators whose overload no OpInfo reaches are called by hand (``BY_HAND``).
"""

import collections

import pytest
import torch
from torch.testing import make_tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import BinaryUfuncInfo, ReductionOpInfo, SampleInput, UnaryUfuncInfo
from torch.utils import _pytree as pytree

import tuyere
from support import assert_same, clone, native_and_fallbacks
from tuyere import stats

DTYPES = (torch.float32, torch.float64, torch.int64, torch.int32, torch.bool)
FEW = {torch.float32: 10, torch.float64: 4, torch.int64: 4, torch.int32: 3, torch.bool: 3}  # samples without --full
LARGE = 100_000  # elements; larger samples are left out without --full

aten = torch.ops.aten


def _f(*shape):
    return make_tensor(shape, dtype=torch.float32, device="cpu")


# Overloads that a program captured from Python never contains, or that no OpInfo calls: name to calls.
BY_HAND = {}


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
    "batch_norm_legit_no_training": ["nn.functional.batch_norm"],
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

# Over all tests: how often each operator ran natively and in PyTorch, and which tests ran.
native = collections.Counter()
in_pytorch = collections.Counter()
tested = set()


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
            if not full and not small(sample):
                continue
            expected = runs(info, sample)
            leaves = pytree.tree_leaves(expected)
            if any(isinstance(leaf, torch.Tensor) for leaf in leaves):
                yield sample, expected
                left = left and left - 1


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


def compile_and_compare(op, chosen, dtype):
    """Compiles all samples as one function, compares, and counts where each operator ran."""
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
    native.update(ran)
    in_pytorch.update(reasons.keys())
    for index, (ours, (sample, expected)) in enumerate(zip(results, chosen)):
        try:
            assert_same(ours, expected, **(tolerances(dtype) if dtype.is_floating_point else {}))
        except AssertionError as error:
            raise AssertionError(f"sample {index}: {sample.summary()}\n{error}") from None


# Values that are not defined: uninitialised memory, or random numbers.
UNDEFINED = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted", "rand_like", "bernoulli", "dropout"}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_operator(family, dtype, request):
    tested.add((family, dtype))
    found = [info for name in FAMILIES[family] for info in infos(name)]
    found = list({id(info): info for info in found if dtype in info.supported_dtypes("cpu")}.values())
    if not found:
        pytest.skip("no OpInfo of this dtype")
    if family in UNDEFINED:
        pytest.skip("its values are not defined")
    with torch.no_grad():
        for info in found:
            chosen = list(samples(info, dtype, request.config.getoption("--full")))
            if chosen:
                compile_and_compare(info.op, chosen, dtype)


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_operator_by_hand(name):
    _, plain, overload = name.split(".")
    op = getattr(getattr(aten, plain), overload)
    with torch.no_grad():
        chosen = [(SampleInput(call[0], args=call[1:]), op(*clone(call))) for call in BY_HAND[name]]
        compile_and_compare(op, chosen, torch.float32)


# Claimed, and right not to run in any test above: name to reason.
NEVER = {}


def test_every_claimed_operator_ran_natively():
    """Last in the file: needs the counts of all tests above."""
    if len(tested) < len(FAMILIES) * len(DTYPES):
        pytest.skip("not all operators were tested in this run")
    total = sum(native.values())
    print(f"\n{total} operators ran natively, {sum(in_pytorch.values())} in PyTorch; {len(native)} of {len(CLAIMED)} claimed ran")
    missing = [name for name in CLAIMED if not native[name] and name not in NEVER]
    assert not missing, "claimed, but never run natively: " + ", ".join(missing)
    assert not set(NEVER) - set(CLAIMED), "exceptions that no longer are"
