"""To a flat, functional ATen graph: by tracing with large operators kept whole, or through AOTAutograd where inputs are mutated."""

import contextlib

import torch
from torch import fx
from torch._dispatch.python import enable_python_dispatcher
from torch.fx.experimental.proxy_tensor import decompose, make_fx

from . import _ext, snippets, table

_ALIKE = 0.5  # share of distinct calls, above which tracing the whole graph is as fast
# Switches of modes that tracing writes into the graph. Those of gradients mean nothing where none are computed.
_GRAD_SWITCHES = {torch._C._set_grad_enabled}


def flat_graph(fn, fakes) -> tuple[fx.GraphModule, bool]:
    """The ATen graph of fn over fake tensors and sizes, and whether it is functional as it stands."""
    gm = None
    if isinstance(fn, fx.GraphModule):
        with contextlib.suppress(snippets.Declined):
            gm = snippets.assemble(fn, fakes, whole, _ALIKE)
    if gm is None:
        with contextlib.suppress(snippets.Declined):
            fn = snippets.without_changes(fn) if isinstance(fn, fx.GraphModule) else fn
        gm = whole(fn, fakes)
    return gm, not _mutates(gm) and not under_modes(gm)


def whole(fn, fakes) -> fx.GraphModule:
    # Autocast puts its casts in below the place where large operators are still whole: under it they are traced as AOTAutograd does.
    with torch.no_grad(), _no_inference_mode():
        gm = make_fx(_decomposing(fn), pre_dispatch=not torch.is_autocast_enabled("cpu"), _allow_non_fake_inputs=True)(*fakes)
    for node in list(gm.graph.nodes):
        if node.op == "get_attr" and "val" not in node.meta:
            node.meta["val"] = getattr(gm, node.target, None)
        if node.op == "call_function" and node.target in _GRAD_SWITCHES:
            gm.graph.erase_node(node)
    gm.recompile()
    return gm


def without_mutation(gm: fx.GraphModule, fakes) -> tuple[fx.GraphModule, bool]:
    """The same graph with operators that change temporaries in place replaced by functional ones.

    Not functional still when arguments are changed.
    """
    with torch.no_grad(), _no_inference_mode(), enable_python_dispatcher():
        fn = torch.func.functionalize(gm, remove="mutations")
        gm = make_fx(_decomposing(fn), decomposition_table={}, _allow_non_fake_inputs=True)(*fakes)
    for node in gm.graph.nodes:
        if node.op == "get_attr" and "val" not in node.meta:
            node.meta["val"] = getattr(gm, node.target, None)
    return gm, not _mutates(gm)


def _decomposing(fn):
    """fn, to be traced with the table of decompositions looked up as needed (make_fx's own argument is copied whole)."""

    def traced(*args):
        with decompose(table.DECOMPOSITIONS):
            return fn(*args)

    return traced


def _mutates(gm) -> bool:
    return any(
        node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable for node in gm.graph.nodes
    )


def under_modes(gm) -> bool:
    """Are modes such as autocast switched inside the graph?"""
    return any(
        node.op == "call_function"
        and not isinstance(node.target, torch._ops.OpOverload)
        and (getattr(node.target, "__module__", None) or "").startswith(("torch._C", "torch.amp"))
        for node in gm.graph.nodes
    )


@contextlib.contextmanager
def _no_inference_mode():
    if torch.is_inference_mode_enabled():
        with torch.inference_mode(False), torch.no_grad():
            yield
    else:
        yield


def functionalised(gm: fx.GraphModule, examples, compile_inner):
    """Through AOTAutograd, which takes mutation and aliasing apart and puts them back around the call.

    compile_inner(aten graph, fake inputs) -> callable over flat arguments.
    """
    from torch._functorch.aot_autograd import aot_module_simplified, make_boxed_func

    found = {}

    def inference(inner, fakes):
        context = torch._guards.TracingContext.try_get()
        found["meta"] = getattr(context, "fw_metadata", None)
        found["call"] = compile_inner(inner, fakes)
        return make_boxed_func(found["call"])

    def training(inner, fakes):
        raise _ext.Unsupported("AOTAutograd asked for a training graph")

    with torch.no_grad():
        wrapped = aot_module_simplified(
            gm, examples, fw_compiler=training, bw_compiler=training, inference_compiler=inference, decompositions=table.DECOMPOSITIONS
        )
    if _clean(found.get("meta")) and not dict(gm.named_parameters()) and not dict(gm.named_buffers()):
        return found["call"]
    return wrapped


def _clean(meta) -> bool:
    """Is there nothing that AOTAutograd's wrapper must do at a call?"""
    if meta is None:
        return False
    from torch._functorch._aot_autograd.schemas import OutputType

    try:
        return (
            not meta.mutated_inp_runtime_indices
            and not meta.tokens
            and not meta.is_rng_op_functionalized
            and all(info.output_type is OutputType.non_alias for info in meta.output_info)
        )
    except AttributeError:
        return False
