"""The ATen graph of Dynamo's graph from one trace of each distinct call in it: a transformer makes the same calls in every layer."""

import functools
import inspect
import operator

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx._lazy_graph_module import _LazyGraphModule

# Operators that change their first argument, and those that give the same as a new value: __iadd__ and __add__.
_AUGMENTED = {vars(operator)[name]: vars(operator)[f"__{name[3:]}"] for name in dir(operator) if name.startswith("__i") and f"__{name[3:]}" in vars(operator)}

_EXACT = (bool, int, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(None), type(Ellipsis))


class Declined(Exception):
    """The graph holds something whose trace may depend on more than what calls are compared by."""


def assemble(gm: fx.GraphModule, fakes, trace, most: float = 1.0) -> fx.GraphModule:
    """What trace(gm, fakes) gives, tracing each distinct call once.

    trace(fn, fakes) -> GraphModule. Calls are the same when target, constants, the tensors' metadata and the places where one
    tensor stands twice agree, and when Dynamo saw results of the same metadata and aliasing. A call that changes a tensor in place
    is traced as the one that gives a new value, where nothing reads the tensor's memory afterwards but through the call's result.
    Raises Declined where that would not do: sizes that vary, other changes in place, modes, operators of higher order, functions
    that are not PyTorch's; and where more than the share ``most`` of the calls are distinct.
    """
    calls, values, known = [], {}, {}
    holders: dict[int, list] = {}  # by storage: the nodes so far whose values lie in it
    position = {node: at for at, node in enumerate(gm.graph.nodes)}
    firsts: dict[tuple, _Call] = {}
    fakes = iter(fakes)
    for node in gm.graph.nodes:
        if node.op == "output":
            continue
        value = values[node] = next(fakes) if node.op == "placeholder" else node.meta.get("example_value")
        for tensor in value if isinstance(value, (tuple, list)) else (value,):
            if id(tensor) not in known:
                known[id(tensor)] = _facts(tensor)
        if node.op in ("call_function", "call_method"):
            if not _picks(node, values):
                calls.append(_Call(node, values, known, _as_function(node, values, holders, position)))
        elif node.op != "placeholder":
            raise Declined(f"a node of kind {node.op}")
        for tensor in _tensors(value):
            holders.setdefault(_storage(tensor), []).append(node)
    for call in calls:
        call.first = firsts.setdefault(call.key, call)
    if len(firsts) > most * len(calls):
        raise Declined("few calls are alike")
    traced = _trace_calls(list(firsts.values()), trace)
    graph, made, calls = fx.Graph(), {}, iter(calls)
    for node in gm.graph.nodes:
        if node.op == "placeholder":
            made[node] = graph.placeholder(node.name)
            made[node].meta["val"] = values[node]
        elif node.op == "output":
            graph.output(fx.node.map_arg(node.args[0], made.__getitem__))
        elif _picks(node, values):
            made[node] = made[node.args[0]][node.args[1]]
        else:
            made[node] = next(calls).emit(graph, made)
    return _LazyGraphModule(traced, graph)


def _picks(node, values) -> bool:
    """Is this node one of the results of a call with several?"""
    return node.target is operator.getitem and isinstance(values[node.args[0]], (tuple, list))


@functools.cache
def _inplace_at(fn) -> int:
    """Which of a function's parameters is ``inplace``; -1 where there is none."""
    if getattr(fn, "__module__", None) != "torch.nn.functional":
        return -1
    names = list(inspect.signature(fn).parameters)
    return names.index("inplace") if "inplace" in names else -1


def without_changes(gm: fx.GraphModule) -> fx.GraphModule:
    """The same graph with the functions of its calls in place; Declined where there are some that assemble would decline."""
    graph, made, values, holders = fx.Graph(), {}, {}, {}
    position = {node: at for at, node in enumerate(gm.graph.nodes)}
    for node in gm.graph.nodes:
        values[node] = node.meta.get("example_value")
        new = made[node] = graph.node_copy(node, made.__getitem__)
        if node.op in ("call_function", "call_method"):
            as_function = _as_function(node, values, holders, position)
            if as_function:
                new.target, args, kwargs = as_function
                new.args, new.kwargs = fx.node.map_arg((args, kwargs), made.__getitem__)
        for tensor in _tensors(values[node]):
            holders.setdefault(_storage(tensor), []).append(node)
    return _LazyGraphModule(gm, graph)


def _as_function(node, values, holders, position) -> tuple | None:
    """(target, args, kwargs) of the call that gives as a new value what this one writes into its first argument; None if it writes nothing.

    Values so far that lie in the argument's memory must be neither arguments of the graph nor read later on.
    """
    if getattr(node.target, "__module__", None) == "_operator":
        if node.target not in _AUGMENTED:  # and_ and or_ are named after keywords
            return None
        target, args, kwargs = _AUGMENTED[node.target], node.args, node.kwargs
    else:
        name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
        if (name.endswith("_") and not name.endswith("__")) or node.kwargs.get("out") is not None:
            raise Declined(f"{node.target}, which changes a tensor in place")
        at = _inplace_at(node.target)
        if not (node.kwargs.get("inplace") is True or 0 <= at < len(node.args) and node.args[at] is True):
            return None
        if at < 0:
            raise Declined(f"{node.target}, which changes a tensor in place")
        target, args = node.target, tuple(False if i == at else arg for i, arg in enumerate(node.args))
        kwargs = {name: value for name, value in node.kwargs.items() if name != "inplace"}
    changed = args[0] if args else kwargs.get("input")
    if not isinstance(changed, fx.Node) or not isinstance(values[changed], torch.Tensor):
        raise Declined(f"{node.target}, which changes something in place")
    # The new value is to have the metadata of the old one.
    old, others = values[changed], [values[source] for source in node.all_input_nodes if source is not changed]
    if not all(type(size) is int for size in (*old.shape, *old.stride())):
        raise Declined("a shape that varies")
    if not (old.is_contiguous() or (old.dim() == 4 and old.is_contiguous(memory_format=torch.channels_last))):
        raise Declined(f"{node.target}, which changes a tensor that is not dense")
    if not old.is_floating_point() or any(not isinstance(other, torch.Tensor) or other.dtype != old.dtype for other in others):
        raise Declined(f"{node.target}, which may convert what it gives")
    key = _storage(old)
    if any(holder.op == "placeholder" or any(position[user] > position[node] for user in holder.users) for holder in holders[key]):
        raise Declined(f"{node.target}, which changes a tensor that is read afterwards")
    if any(other is not old and _storage(other) == key for other in others):
        raise Declined(f"{node.target}, which reads what it changes")
    return target, args, kwargs




def _facts(tensor) -> tuple:
    """What a trace may see of a tensor."""
    if not isinstance(tensor, FakeTensor) or tensor.layout is not torch.strided or tensor.is_quantized:
        raise Declined(f"a value of type {type(tensor).__name__}")
    facts = (tuple(tensor.shape), tensor.stride(), tensor.storage_offset())
    if not all(type(size) is int for part in (*facts[:2], facts[2:]) for size in part):
        raise Declined("a shape that varies")
    flags = (tensor.is_conj(), tensor.is_neg(), tensor.is_inference(), tensor.requires_grad, isinstance(tensor, torch.nn.Parameter))
    return *facts, tensor.dtype, tensor.device, flags, id(tensor.constant)


class _Call:
    """A call in Dynamo's graph; the first of its kind also has the nodes that it was traced to."""

    def __init__(self, node, values, known, as_function):
        where = node.target if node.op == "call_function" else torch.Tensor
        if isinstance(where, torch._ops.HigherOrderOperator) or (getattr(where, "__module__", None) or "").partition(".")[0] not in ("torch", "_operator"):
            raise Declined(f"{node.target}, which may look at anything")
        self.node, self.values, self.known = node, values, known
        self.target, self.args, self.kwargs = as_function or (node.target, node.args, node.kwargs)
        self.sources: list[fx.Node] = []  # of its tensors, each tensor once
        self.key = (node.op, self.target, self._key(self.args), self._key(self.kwargs), as_function is None)
        self.first = self
        value = values[node]
        self.results = list(value) if isinstance(value, (tuple, list)) else [value]
        # What the same calls must agree in as well. A call in place shares its argument's memory: its function may or may not.
        memory = _aliases([values[source] for source in self.sources] + self.results) if as_function is None else None
        self.effect = ([known[id(result)] for result in self.results], memory)

    def _key(self, arg):
        if isinstance(arg, fx.Node):
            value = self.values[arg]
            for at, source in enumerate(self.sources):
                if self.values[source] is value:
                    return fx.Node, at
            self.sources.append(arg)
            return fx.Node, len(self.sources), self.known[id(value)]
        if isinstance(arg, float):
            return float, arg.hex()  # 0.0 and -0.0 are equal
        if isinstance(arg, _EXACT):
            return type(arg), arg
        if isinstance(arg, slice):
            return slice, self._key((arg.start, arg.stop, arg.step))
        if isinstance(arg, (tuple, list)):
            return (type(arg), *map(self._key, arg))
        if isinstance(arg, dict):
            return (dict, *((name, self._key(value)) for name, value in arg.items()))
        raise Declined(f"an argument of type {type(arg).__name__}")

    def __call__(self, stand_ins):
        """Makes the call with other tensors in the place of its own; returns the list of its results."""
        by_id = {id(self.values[source]): tensor for source, tensor in zip(self.sources, stand_ins)}
        args, kwargs = fx.node.map_arg((self.args, self.kwargs), lambda source: by_id[id(self.values[source])])
        if self.node.op == "call_method":
            out = getattr(args[0], self.target)(*args[1:], **kwargs)
        else:
            out = self.target(*args, **kwargs)
        return list(out) if isinstance(out, (tuple, list)) else [out]

    def traced_to(self, inputs, body, outputs):
        """Keeps what the call was traced to: nodes of its tensors, of what happens, of its results."""
        self.inputs, self.body, self.outputs = inputs, body, outputs
        vals = [node.meta["val"] for node in outputs]
        memory = self.effect[1] and _aliases([node.meta["val"] for node in inputs] + vals)
        if ([_facts(val)[:5] for val in vals], memory) != ([f[:5] for f in self.effect[0]], self.effect[1]):
            raise Declined(f"{self.node.target}, which Dynamo saw otherwise")
        seen = {_storage(node.meta["val"]) for node in (*inputs, *outputs)}
        # Views between: their memory is that of the call's tensors.
        self.views = {node for node in body if node not in outputs and any(_storage(val) in seen for val in _tensors(node.meta.get("val")))}

    def emit(self, graph, made):
        """Puts this call's nodes into the graph; returns that of its result, or a tuple."""
        first = self.first
        if self.effect != first.effect:
            raise Declined(f"{self.node.target}, whose results differ")
        copied = {node: made[source] for node, source in zip(first.inputs, self.sources)}
        for node in first.body:
            new = copied[node] = graph.node_copy(node, copied.__getitem__)
            if node in first.outputs:
                new.meta["val"] = self.results[first.outputs.index(node)]
                if node.target is operator.getitem:
                    several = list(new.args[0].meta["val"])
                    several[new.args[1]] = new.meta["val"]
                    new.args[0].meta["val"] = tuple(several)
            elif node in first.views:
                args, kwargs = fx.node.map_arg((new.args, new.kwargs), lambda source: source.meta["val"])
                new.meta["val"] = new.target(*args, **kwargs)
            new.meta.update((name, self.node.meta[name]) for name in ("stack_trace", "nn_module_stack") if name in self.node.meta)
        out = tuple(copied[node] for node in first.outputs)
        return out if isinstance(self.values[self.node], (tuple, list)) else out[0]


def _trace_calls(calls, trace) -> fx.GraphModule:
    """One trace of all calls side by side, dealt out to them."""
    given, places = [], []
    for call in calls:
        places.append(range(len(given), len(given) + len(call.sources)))
        given += [_twin(call.values[source], call.known) for source in call.sources]

    def side_by_side(*stand_ins):
        return [call([stand_ins[i] for i in place]) for call, place in zip(calls, places)]

    gm = trace(side_by_side, given)
    gm.graph.eliminate_dead_code()
    nodes = list(gm.graph.nodes)
    owner, position = {}, {node: i for i, node in enumerate(nodes)}
    for call, place, outputs in zip(calls, places, nodes[-1].args[0]):
        inputs, work = [nodes[i] for i in place], list(outputs)
        while work:
            node = work.pop()
            if node in inputs or (node in owner and owner[node] is call):
                continue
            if not isinstance(node, fx.Node) or node.op == "placeholder" or node in owner:
                raise Declined(f"{call.node.target}, whose trace is not its own")
            owner[node] = call
            work += node.all_input_nodes
        call.traced_to(inputs, sorted((node for node in owner if owner[node] is call), key=position.__getitem__), list(outputs))
    for node in nodes[len(given) : -1]:
        if node not in owner or (isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable):
            raise Declined("operators that act on something else than their results")
    return gm


def _twin(fake, known):
    """Another tensor like this one, in the same memory: a call that returns its argument must not change what another is traced to."""
    with fake.fake_mode:
        twin = fake.detach()
        twin = torch.nn.Parameter(twin, fake.requires_grad) if isinstance(fake, torch.nn.Parameter) else twin.requires_grad_(fake.requires_grad)
    if _facts(twin) != known[id(fake)]:
        raise Declined("a tensor that cannot be stood in for")
    return twin


def _tensors(value) -> list:
    return [x for x in (value if isinstance(value, (tuple, list)) else (value,)) if isinstance(x, torch.Tensor)]


def _storage(tensor) -> int:
    return tensor.untyped_storage()._cdata


def _aliases(tensors) -> tuple:
    """Which of the tensors share memory."""
    seen: dict[int, int] = {}
    return tuple(seen.setdefault(_storage(tensor), len(seen)) for tensor in tensors)
