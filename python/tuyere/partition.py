"""Cuts an ATen graph into segments that tuyere runs and nodes that PyTorch runs between them, and makes one callable of it."""

import operator

import torch
from torch import fx

from . import _ext
from .importer import Importer, is_tensor, location, refusal, tensors_of
from .stats import Record, Segment
from .table import op_name

_LITERAL_BYTES = 1 << 16
_TINY = 2  # a segment of at most so many cheap operators beside PyTorch's is not worth a program
_HEAVY = ("mm", "linear", "matmul", "conv", "attention", "norm", "softmax", "gelu", "embedding", "sum", "mean", "einsum", "cumsum")
_VIEWS = {
    "view", "_unsafe_view", "reshape", "transpose", "permute", "t", "expand", "unsqueeze", "squeeze", "slice", "select",
    "narrow", "split", "split_with_sizes", "unbind", "chunk", "alias", "detach", "diagonal", "flatten", "unflatten",
    "swapaxes", "movedim", "view_as", "expand_as", "unfold", "lift_fresh", "getitem", "numpy_T", "mT", "T",
}  # fmt: skip
_SAME_SIZE = {"view", "reshape", "transpose", "permute", "t", "unsqueeze", "squeeze", "flatten", "unflatten", "alias", "detach", "_unsafe_view"}


def short_name(node: fx.Node) -> str:
    """ "add" of aten.add.Tensor."""
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.name.partition("::")[2]
    return getattr(node.target, "__name__", str(node.target))


def compile_graph(gm: fx.GraphModule, roles: dict, names: dict, options, record: Record):
    """A callable over the graph's flat arguments that returns a tuple, and the programs in it.

    `roles`: "param" or "input" by placeholder; `names`: what to call it in messages. Outputs that
    share memory in PyTorch do so here. Raises Unsupported when nothing of the graph is worth a program.
    """
    return _Cutter(gm, roles, names, options, record).run()


class _Cutter:
    def __init__(self, gm, roles, names, options, record):
        self.gm, self.roles, self.names, self.options, self.record = gm, roles, names, options, record
        gm.graph.eliminate_dead_code()
        self.nodes = list(gm.graph.nodes)
        self.placeholders = [node for node in self.nodes if node.op == "placeholder"]
        self.results = list(self.nodes[-1].args[0])
        self.reasons: dict[fx.Node, str] = {}  # why a node runs in PyTorch
        self.constants = {node: _attribute(gm, node.target) for node in self.nodes if node.op == "get_attr"}
        self.tails = self._find_tails()

    def run(self):
        record = self.record
        with record.stage("import"):
            for node in self.nodes:
                if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
                    name = op_name(node.target)
                    record.operators[name] = record.operators.get(name, 0) + 1
            whole = self._probe()
            if self.reasons:
                whole = None
            self._demote()
            stages = self._stages()
        compute = [node for node in self.nodes if self._supported(node) and short_name(node) not in _VIEWS]
        if not compute:
            raise _ext.Unsupported("nothing in this graph is worth a program")
        for node in self.nodes:
            if self.reasons.get(node):
                record.fallbacks.append((_target_name(node), self.reasons[node], location(node) or ""))
        segments = {k for k in stages.values() if k >= 0} if whole is None else {0}
        programs = {}
        wanted = self._wanted(stages if whole is None else None)
        for k in sorted(segments):
            nodes = [node for node in self.nodes if self._supported(node) and (whole is not None or stages[node] == k)]
            known = {node for node in self.nodes if self._is_scalar(node) and stages.get(node, -1) < k}
            programs[k] = self._segment(nodes, whole, wanted, known)
        programs = {k: v for k, v in programs.items() if v is not None}
        return self._emit(programs, stages)

    # ---- what runs where ----

    def _is_scalar(self, node) -> bool:
        """Sizes and other Python numbers: computed by Python where something needs them."""
        return node.op == "call_function" and not tensors_of(node.meta.get("val"))

    def _supported(self, node) -> bool:
        return node.op == "call_function" and node not in self.reasons and not self._is_scalar(node)

    def _external(self, imp, node) -> None:
        """Hands a node's value to a program from outside."""
        value = self.constants.get(node)
        if value is not None and is_tensor(value) and not isinstance(value, torch.nn.Parameter) and value.numel() * value.element_size() <= _LITERAL_BYTES:
            imp.literal(node, value)
        else:
            imp.input(node, "param" if node in self.constants else self.roles.get(node, "input"), self.names.get(node, node.name))

    def _probe(self) -> Importer:
        """Builds the whole graph; notes the nodes that are declined. When none is, the result is the program's graph."""
        imp = Importer()
        for node in self.nodes:
            if node.op in ("placeholder", "get_attr"):
                if is_tensor(node.meta.get("val")) and node.users:
                    why = refusal(node.meta["val"]) or _dtype_refusal(node.meta["val"])
                    if why:
                        for user in node.users:
                            if user.op == "call_function" and not self._is_scalar(user):
                                self.reasons.setdefault(user, why)
                    else:
                        self._external(imp, node)
            elif node.op == "call_function" and not self._is_scalar(node):
                if node.target is operator.getitem and node.args[0] in self.reasons:
                    self.reasons[node] = ""
                if node not in self.reasons:
                    try:
                        imp.node(node)
                        continue
                    except _ext.Unsupported as e:
                        self.reasons[node] = str(e)
                    except ValueError as e:
                        self.reasons[node] = f"internal: the builder refused it: {e}"
                    except KeyError as e:
                        self.reasons[node] = f"needs a value that is not available: {e}"
                try:
                    if node.target is operator.getitem or not isinstance(node.meta.get("val"), (tuple, list)):
                        imp.input(node)
                except _ext.Unsupported as e:
                    for user in node.users:
                        if user.op == "call_function" and not self._is_scalar(user):
                            self.reasons.setdefault(user, str(e))
        return imp

    def _stages(self) -> dict:
        """Segment k holds the supported nodes of stage k; PyTorch's nodes of stage k run after it, those of -1 before all."""
        stage: dict[fx.Node, int] = {}
        random = -1
        for node in self.nodes:
            if node.op != "call_function":
                continue
            if self._supported(node):
                stage[node] = max([0, *(stage[p] + (not self._supported(p)) for p in node.all_input_nodes if p in stage)])
            else:
                stage[node] = max([-1, *(stage[p] for p in node.all_input_nodes if p in stage)])
                if _ordered(node):  # random numbers and side effects keep their order
                    random = stage[node] = max(stage[node], random)
        return stage

    def _demote(self) -> None:
        """Tiny segments beside PyTorch's operators run there too."""
        if not any(self.reasons.values()):
            return
        for _ in range(2):
            stages = self._stages()
            for k in set(stages.values()):
                nodes = [node for node, at in stages.items() if at == k and self._supported(node)]
                work = [node for node in nodes if short_name(node) not in _VIEWS]
                if len(work) <= _TINY and not any(part in short_name(node) for node in work for part in _HEAVY):
                    for node in nodes:
                        self.reasons[node] = ""

    # ---- outputs ----

    def _find_tails(self) -> dict:
        """By result: (base node, view nodes to apply to it in PyTorch), where a result is a view that stays one."""
        tails = {}
        owners: dict[int, fx.Node] = {}
        for node in self.placeholders:
            if is_tensor(node.meta.get("val")):
                owners.setdefault(_storage(node), node)
        shared: dict[int, set] = {}
        for result in self.results:
            if isinstance(result, fx.Node) and is_tensor(result.meta.get("val")):
                shared.setdefault(_storage(result), set()).add(result)
        for result in self.results:
            if not isinstance(result, fx.Node) or not is_tensor(result.meta.get("val")):
                continue
            key = _storage(result)
            if key is not None and (key in owners or len(shared[key]) > 1):
                tail = _chain(result, lambda node: False)
            elif not result.meta["val"].is_contiguous():
                tail = _chain(result, lambda node: node.meta["val"].is_contiguous(), _SAME_SIZE)
                if tail and not tail[0].meta["val"].is_contiguous():
                    tail = None
            else:
                continue
            if tail and tail[1]:
                tails[result] = tail
        return tails

    def _base(self, result):
        return self.tails[result][0] if result in self.tails else result

    def _wanted(self, stages) -> set:
        """Nodes whose values leave their segment."""
        wanted = {self._base(result) for result in self.results if isinstance(result, fx.Node)}
        scalars = [node for node in self.nodes if self._is_scalar(node)]
        for node in self.nodes:
            if node.op != "call_function":
                continue
            eager = not self._supported(node)
            if node in scalars and stages is None and not self._scalar_needed(node):
                continue
            for source in node.all_input_nodes:
                if self._supported(source) and (eager or (stages is not None and stages[source] != stages[node])):
                    wanted.add(source)
        for _base, views in self.tails.values():
            for view in views:
                wanted.update(source for source in view.all_input_nodes[1:])
        return wanted

    def _scalar_needed(self, node) -> bool:
        """Does anything that Python or PyTorch runs use this number?"""
        seen, work = set(), [node]
        while work:
            user = work.pop()
            if user in seen:
                continue
            seen.add(user)
            if user.op == "output" or _acts(user) or (user is not node and not self._supported(user) and not self._is_scalar(user)):
                return True
            if self._is_scalar(user):
                work += list(user.users)
        return False

    # ---- programs ----

    def _segment(self, nodes, whole, wanted, known):
        """(program, nodes whose values are its arguments, nodes that are its results); None when nothing leaves it.

        known: the numbers that there are before the segment runs; a size of what it makes itself is not among them.
        """
        inside = set(nodes)
        outs = [node for node in nodes if node in wanted and is_tensor(node.meta.get("val"))]
        if not outs:
            return None
        with self.record.stage("import"):
            imp = whole or Importer()
            if whole is None:
                nodes = _reach(nodes, outs)
                for node in nodes:
                    for source in node.all_input_nodes:
                        if source in imp.vals or source in inside or not is_tensor(source.meta.get("val")):
                            continue
                        if source.op == "call_function" and self._supported(source):
                            imp.input_from_program(source)
                        else:
                            self._external(imp, source)
                    imp.node(node)
            orders = [imp.output(node) for node in outs]
            args, layout, given = [], [], set()
            position = {node: i for i, node in enumerate(imp.inputs)}
            for node in self.nodes:  # in calling order, sizes where they stand
                value = node.meta.get("val")
                if node in position:
                    args.append(node)
                    layout.append(position[node])
                    continue
                if isinstance(value, torch.SymInt) and (node.op == "placeholder" or node in known):
                    symbol = value.node.expr
                    if symbol in imp.symbols and symbol not in given:
                        given.add(symbol)
                        args.append(node)
                        layout.append(imp.dim(value))
                        continue
                if whole is not None and node.op == "placeholder":  # not used, but handed in
                    args.append(node)
                    layout.append(None)
        operators: dict[str, int] = {}
        for node in nodes:
            if isinstance(node.target, torch._ops.OpOverload):
                operators[op_name(node.target)] = operators.get(op_name(node.target), 0) + 1
        name = f"{self.record.name} part {len(self.record.segments)}" if whole is None else self.record.name
        with self.record.stage("compile"):
            program = imp.graph.compile(layout, self.options, _zig(), name)
            if any(orders):
                program.output_orders(orders)
        place = {node: i for i, node in enumerate(self.placeholders)}
        self.record.segments.append(Segment(program, operators, [place.get(node) for node in args]))
        return program, args, outs

    # ---- the callable ----

    def _emit(self, programs, stages):
        if len(programs) == 1:
            ((program, args, outs),) = programs.values()
            if args == self.placeholders and outs == self.results:
                self.record.code = "the whole graph is one program"
                return program.run
        items = []  # (results, callable or node, sources)
        for k in [-1, *sorted(set(stages.values()) | set(programs))]:
            if k in programs:
                items.append(programs[k])
            if k != -1 or -1 in stages.values():
                eager = [node for node in self.nodes if node.op == "call_function" and not self._supported(node) and stages.get(node) == k]
                items += [node for node in eager if node not in items]
        needed = set()
        for result in self.results:
            if isinstance(result, fx.Node):
                needed.add(self._base(result))
                for view in self.tails.get(result, (None, ()))[1]:
                    needed.update(source for source in view.all_input_nodes[1:])
        needed_at_end = set(needed)
        kept = []
        for item in reversed(items):
            if isinstance(item, tuple):
                needed.update(item[1])
            elif item in needed or _acts(item) or (not self._is_scalar(item) and item.is_impure()):
                needed.update(item.all_input_nodes)
            else:
                continue
            kept.append(item)
        outside = {source for item in kept if not isinstance(item, tuple) for source in item.all_input_nodes} | needed_at_end
        self.record.read_by_torch = {i for i, node in enumerate(self.placeholders) if node in outside}
        writer = _Writer(self.placeholders, self.constants)
        last: dict[fx.Node, int] = {}
        kept.reverse()
        for i, item in enumerate(kept):
            for source in item[1] if isinstance(item, tuple) else item.all_input_nodes:
                last[source] = i
        keep = {self._base(result) for result in self.results if isinstance(result, fx.Node)}
        keep |= {source for _, views in self.tails.values() for view in views for source in view.all_input_nodes[1:]}
        for i, item in enumerate(kept):
            if isinstance(item, tuple):
                writer.program(*item)
            else:
                writer.node(item)
            for source, at in last.items():
                if at == i and source not in keep and source.op == "call_function":
                    writer.forget(source)
        call = writer.finish(self.results, self.tails)
        self.record.code = writer.text
        return call


def _reach(nodes, outs) -> list:
    """The nodes that the results need, in order."""
    inside, need, work = set(nodes), set(), list(outs)
    while work:
        node = work.pop()
        if node in need or node not in inside:
            continue
        need.add(node)
        work += node.all_input_nodes
    return [node for node in nodes if node in need]


class _Writer:
    """Python source of a function over the flat arguments."""

    def __init__(self, placeholders, constants):
        self.names: dict[fx.Node, str] = {}
        self.scope: dict[str, object] = {}
        self.lines: list[str] = []
        for node in placeholders:
            self.names[node] = f"a{len(self.names)}"
        self.args = ", ".join(self.names.values())
        for node, value in constants.items():
            self.names[node] = self._bind("c", value)

    def _bind(self, prefix, value):
        name = f"{prefix}{len(self.scope)}"
        self.scope[name] = value
        return name

    def program(self, program, args, outs):
        names = [self._name(node) for node in outs]
        sources = ", ".join(self.names[node] for node in args)
        self.lines.append(f"{', '.join(names)}, = {self._bind('program', program.run)}({sources})")

    def _name(self, node):
        return self.names.setdefault(node, f"v{len(self.names)}")

    def node(self, node, first=None):
        args = [first] if first else []
        args += [self._arg(arg) for arg in node.args[len(args) :]]
        args += [f"{key}={self._arg(value)}" for key, value in node.kwargs.items()]
        text = f"{self._bind(short_name(node) + '_', node.target)}({', '.join(args)})"
        if first:
            return text
        self.lines.append(f"{self._name(node)} = {text}")
        return None

    def forget(self, node):
        if node in self.names:
            self.lines.append(f"{self.names[node]} = None")

    def _arg(self, arg):
        if isinstance(arg, fx.Node):
            return self.names[arg]
        if isinstance(arg, (list, tuple)):
            return f"[{', '.join(map(self._arg, arg))}]"
        if arg is None or isinstance(arg, (bool, int, str)):
            return repr(arg)
        return self._bind("k", arg)

    def finish(self, results, tails):
        texts = []
        for result in results:
            if result not in tails:
                texts.append(self._arg(result))
                continue
            base, views = tails[result]
            text = self.names[base]
            for view in views:
                text = self.node(view, first=text)
            texts.append(text)
        body = "".join(f"    {line}\n" for line in self.lines)
        self.text = f"def call({self.args}):\n{body}    return ({''.join(text + ', ' for text in texts)})\n"
        exec(compile(self.text, "<tuyere>", "exec"), self.scope)
        return self.scope["call"]


def _chain(result, stop, only=None):
    """From a result back through views of the same memory: (base, views in order of application)."""
    views, node = [], result
    while not (views and stop(node)):
        source = node.args[0] if node.op == "call_function" and node.args else None
        if not isinstance(source, fx.Node):
            break
        if node.target is operator.getitem:
            if only is not None or not isinstance(source.target, torch._ops.OpOverload) or short_name(source) not in _VIEWS:
                break
            owner = source.args[0]
            if not isinstance(owner, fx.Node) or _storage(owner) != _storage(node):
                break
            views += [node, source]
            node = owner
            continue
        name = short_name(node)
        if name not in _VIEWS or (only is not None and name not in only) or not is_tensor(source.meta.get("val")):
            break
        if _storage(source) != _storage(node):
            break
        views.append(node)
        node = source
    return node, views[::-1]


def _storage(node):
    value = node.meta.get("val")
    try:
        return value.untyped_storage()._cdata
    except (AttributeError, NotImplementedError, RuntimeError):
        return None


def _ordered(node) -> bool:
    if not isinstance(node.target, torch._ops.OpOverload):
        return node.is_impure()
    return torch.Tag.nondeterministic_seeded in node.target.tags or node.target._schema.is_mutable


def _acts(node) -> bool:
    """Checks or changes tensors and has no value: errors of linalg, asserts. (Asserts about sizes are Dynamo's guards.)"""
    return node.op == "call_function" and node.is_impure() and any(tensors_of(source.meta.get("val")) for source in node.all_input_nodes)


def _dtype_refusal(value) -> str | None:
    known = {getattr(torch, name) for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")}
    if value.dtype not in known:
        return f"dtype {value.dtype}"
    return None


def _target_name(node) -> str:
    return op_name(node.target) if isinstance(node.target, torch._ops.OpOverload) else short_name(node)


def _attribute(gm, path):
    value = gm
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _zig() -> str | None:
    """The compiler of the ziglang package, when it is installed."""
    import importlib.util
    import os

    spec = importlib.util.find_spec("ziglang")
    if not spec or not spec.submodule_search_locations:
        return None
    path = os.path.join(spec.submodule_search_locations[0], "zig")
    return path if os.path.exists(path) else None
