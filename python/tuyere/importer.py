"""From FX's ATen graphs to the C builder: values, symbolic sizes and arguments, one node at a time."""

import operator

import sympy
import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.fx import Node
from torch.utils._sympy import functions as sf

from . import _ext, table

_INT_MAX = 2**63 - 1
# Arguments that say nothing about values on a CPU: dropped, or refused when they ask for what we do not do.
_NO_VALUE = {"device", "layout", "pin_memory", "memory_format", "generator", "non_blocking"}


def is_tensor(value) -> bool:
    return isinstance(value, torch.Tensor)


def refusal(value: torch.Tensor) -> str | None:
    """Why a tensor like this cannot enter a program; None when it can."""
    if value.layout is not torch.strided:
        return f"layout {value.layout}"
    if value.device.type != "cpu":
        return f"device {value.device}"
    if value.is_quantized:
        return "a quantized tensor"
    if value.is_conj() or value.is_neg():
        return "a conjugated or negated view"
    return None


class Importer:
    """Calls the builder for nodes of one FX graph, in order."""

    def __init__(self):
        self.graph = _ext.Graph()
        self.vals: dict[Node, object] = {}  # Val, or a tuple of Val for operators with several results
        self.inputs: list[Node] = []
        self._dims: dict[sympy.Expr, object] = {}
        self.symbols: set[sympy.Symbol] = set()

    # ---- sizes ----

    def dim(self, size):
        """A Python int, SymInt or sympy expression as the builder takes it."""
        if isinstance(size, int):
            return size
        if isinstance(size, torch.SymInt):
            self._env = size.node.shape_env
            return self._expr(size.node.expr)
        return self._expr(size)

    def _expr(self, e):
        if e in self._dims:
            return self._dims[e]
        g = self.graph
        if isinstance(e, (int, sympy.Integer)):
            out = int(e)
        elif isinstance(e, sympy.Symbol):
            out = self._symbol(e)
        elif isinstance(e, sympy.Add):
            out = self._fold(operator.add, e.args)
        elif isinstance(e, sympy.Mul):
            out = self._fold(operator.mul, e.args)
        elif isinstance(e, sympy.Pow) and e.exp.is_Integer and 0 < int(e.exp) <= 8:
            out = self._fold(operator.mul, [e.base] * int(e.exp))
        elif isinstance(e, (sf.FloorDiv, sf.CleanDiv)):
            out = self._expr(e.args[0]) // self._expr(e.args[1])
        elif isinstance(e, (sf.Mod, sf.PythonMod, sympy.Mod)):
            out = self._expr(e.args[0]) % self._expr(e.args[1])
        elif isinstance(e, sf.ModularIndexing):
            out = (self._expr(e.args[0]) // self._expr(e.args[1])) % self._expr(e.args[2])
        elif isinstance(e, (sf.Max, sympy.Max)):
            out = self._fold(g.max, e.args)
        elif isinstance(e, (sf.Min, sympy.Min)):
            out = self._fold(g.min, e.args)
        else:
            raise _ext.Unsupported(f"a size of the form {e}")
        self._dims[e] = out
        return out

    def _fold(self, f, args):
        out = self._expr(args[0])
        for arg in args[1:]:
            out = f(out, self._expr(arg))
        return out

    def _symbol(self, s):
        env = self._env
        bounds = env.var_to_range.get(s)
        low, high = 0, _INT_MAX
        if bounds is not None:
            low = int(bounds.lower) if bounds.lower.is_Integer else 0
            high = int(bounds.upper) if bounds.upper.is_Integer else _INT_MAX
        values = getattr(env, "backed_var_to_val", None)
        hint = (values if values is not None else env.var_to_val).get(s, 0)
        self.symbols.add(s)
        return self.graph.sym(str(s), low, min(high, _INT_MAX), int(hint))

    # ---- values ----

    def input(self, node: Node, role: str = "input", name: str | None = None) -> None:
        """A tensor that is handed in at each call."""
        value = node.meta["val"]
        why = refusal(value)
        if why:
            raise _ext.Unsupported(why)
        shape = [self.dim(size) for size in value.shape]
        strides = None if value.is_contiguous() else [self.dim(stride) for stride in value.stride()]
        self.vals[node] = self.graph.input(role, value.dtype, shape, strides, name or node.name)
        self.inputs.append(node)

    def input_from_program(self, node: Node) -> None:
        """A result of another program: as that one hands it out (see output)."""
        value = node.meta["val"]
        shape, order = [self.dim(size) for size in value.shape], memory_order(value)
        strides, step = [None] * len(shape), 1
        for d in reversed(order or ()):
            strides[d] = self.dim(step)
            step = step * value.shape[d]
        self.vals[node] = self.graph.input("input", value.dtype, shape, strides if order else None, node.name)
        self.inputs.append(node)

    def output(self, node: Node) -> list | None:
        """Makes a value a result; returns the order of its dims in memory, None when they stand as they are. The program's own
        result is the contiguous permute."""
        order, value = memory_order(node.meta["val"]), self.vals[node]
        if order:
            value = self.graph.node("aten.permute.default", [value, order], {}, None)[0]
        self.graph.output(value)
        return order

    def literal(self, node: Node, value: torch.Tensor) -> None:
        """A small constant tensor: its bytes go into the program."""
        with unset_fake_temporarily():
            value = value.detach().cpu().contiguous()
            data = bytes(value.reshape(-1).view(torch.uint8).numpy()) if value.numel() else b""
        self.vals[node] = self.graph.literal(value.dtype, tuple(value.shape), data)

    def node(self, node: Node) -> None:
        """An operator; raises Unsupported with the reason when it must run in PyTorch."""
        target = node.target
        if target is operator.getitem:
            self.vals[node] = self.vals[node.args[0]][node.args[1]]
            return
        if not isinstance(target, torch._ops.OpOverload):
            raise _ext.Unsupported(f"not an ATen operator: {getattr(target, '__name__', target)}")
        if target is torch.ops.aten.as_strided.default and _strided_as_it_is(node):
            self.vals[node] = self.vals[node.args[0]]
            return
        strided = target is torch.ops.aten.as_strided.default
        if strided and not _in_order(node):
            raise _ext.Unsupported("how its argument lies in memory is not known")
        name = table.op_name(target)
        if name not in table.supported_schemas():
            raise _ext.Unsupported("not in the table of operators")
        if target._schema.is_mutable:
            raise _ext.Unsupported("it changes its argument in place")
        for value in tensors_of(node.meta.get("val")):
            why = refusal(value)
            if why:
                raise _ext.Unsupported(f"result: {why}")
        args, kwargs = self._arguments(node, target._schema)
        if strided and (order := memory_order(node.args[0].meta["val"])):
            args[0] = self.graph.node("aten.permute.default", [args[0], order], {}, None)[0]
        outs = self.graph.node(name, args, kwargs, location(node))
        self._check(node, outs)
        many = isinstance(node.meta.get("val"), (tuple, list))
        self.vals[node] = outs if many else outs[0]

    def _arguments(self, node, schema):
        args, kwargs = [], {}
        for spec, arg in zip(schema.arguments, node.args):
            if spec.name in _NO_VALUE:
                self._no_value(spec.name, arg)
                args.append(spec.default_value)
            else:
                args.append(self._arg(arg))
        while args and args[-1] is None and schema.arguments[len(args) - 1].name in _NO_VALUE:
            args.pop()
        for name, arg in node.kwargs.items():
            if name in _NO_VALUE:
                self._no_value(name, arg)
            else:
                kwargs[name] = self._arg(arg)
        return args, kwargs

    def _no_value(self, name, arg):
        if name == "device" and arg is not None and torch.device(arg).type != "cpu":
            raise _ext.Unsupported(f"device {arg}")
        if name == "layout" and arg not in (None, torch.strided):
            raise _ext.Unsupported(f"layout {arg}")
        if name == "generator" and arg is not None:
            raise _ext.Unsupported("a random generator")
        return None

    def _arg(self, arg):
        if isinstance(arg, Node):
            if arg in self.vals:
                return self.vals[arg]
            value = arg.meta.get("val")
            if isinstance(value, torch.SymInt):
                return self.dim(value)
            if isinstance(value, (bool, int, float)):
                return value
            raise _ext.Unsupported(f"an argument that is not a tensor or a size: {type(value).__name__}")
        if isinstance(arg, (list, tuple)):
            return [self._arg(item) for item in arg]
        if isinstance(arg, torch.SymInt):
            return self.dim(arg)
        if isinstance(arg, (torch.SymFloat, torch.SymBool, complex)):
            raise _ext.Unsupported(f"an argument of type {type(arg).__name__}")
        return arg

    def _check(self, node, outs):
        """Our inference against PyTorch's own, of the results that something reads (it is wrong about statistics of mixed dtypes)."""
        want = tensors_of(node.meta.get("val"), keep=True)
        if len(want) != len(outs):
            raise _ext.Unsupported(f"internal: {len(outs)} results inferred, PyTorch says {len(want)}")
        many = isinstance(node.meta.get("val"), (tuple, list))
        read = {user.args[1] for user in node.users if user.target is operator.getitem} if many else {0}
        for index, (value, out) in enumerate(zip(want, outs)):
            if value is None or index not in read:
                continue
            dtype, shape = self.graph.value_info(out)
            if dtype != value.dtype:
                raise _ext.Unsupported(f"internal: dtype {dtype} inferred, PyTorch says {value.dtype}")
            sizes = [self.dim(size) for size in value.shape]
            if not self.graph.same_dims(shape, sizes):
                raise _ext.Unsupported(f"internal: shape {list(shape)} inferred, PyTorch says {sizes}")


def memory_order(value) -> list | None:
    """The order in which a dense tensor's dims lie in memory, outermost first, as eager has it (channels_last); None: contiguous,
    or not dense. Of sizes that vary the examples count."""
    if value.dim() < 2:
        return None
    sizes, strides = [_hint(size) for size in value.shape], [_hint(stride) for stride in value.stride()]
    order = sorted((d for d in range(len(sizes))), key=lambda d: (-strides[d], d))
    order = [d for d in order if sizes[d] == 1] + [d for d in order if sizes[d] != 1]
    step = 1
    for d in reversed(order):
        if sizes[d] != 1 and strides[d] != step:
            return None
        step *= sizes[d]
    wide = [d for d in order if sizes[d] != 1]
    return order if wide != sorted(wide) else None


def _strided_as_it_is(node: Node) -> bool:
    """as_strided that changes the strides of dims of size 1 at most (AOTAutograd's average over an image has one)."""
    value, source = node.meta["val"], node.args[0].meta["val"]
    return (
        [*map(str, value.shape)] == [*map(str, source.shape)]
        and all(str(n) == "1" or str(a) == str(b) for n, a, b in zip(value.shape, value.stride(), source.stride()))
        and (_offset(node) is None or _whole_memory(node.args[0]))
    )


def _offset(node: Node):
    """Where an as_strided starts, if not where its argument does."""
    return node.args[3] if len(node.args) > 3 else node.kwargs.get("storage_offset")


def _in_order(node: Node) -> bool:
    """Does an as_strided read what a flat copy of its argument has, dims in memory order? (That it stays inside is the operator's own check.)"""
    value = node.args[0].meta["val"]
    if not value.is_contiguous():
        fixed = all(isinstance(size, int) for size in (*value.shape, *value.stride()))
        return fixed and memory_order(value) is not None and _offset(node) is None
    return _offset(node) is None or _whole_memory(node.args[0])


def _whole_memory(node: Node) -> bool:
    """Is the tensor all of its memory, in order? Of what comes from outside that may change with the call."""
    value, given = node.meta["val"], [other.meta.get("val") for other in node.graph.nodes if other.op in ("placeholder", "get_attr")]
    if any(is_tensor(other) and other.untyped_storage()._cdata == value.untyped_storage()._cdata for other in given):
        return False
    return value.is_contiguous() and str(value.storage_offset()) == "0" and str(value.untyped_storage().nbytes()) == str(value.numel() * value.element_size())


def _hint(size) -> int:
    return size if isinstance(size, int) else size.node.hint if size.node.hint is not None else 2


def tensors_of(value, keep: bool = False) -> list:
    """The tensors of a node's meta value, in order; with `keep` other entries stay as None."""
    items = list(value) if isinstance(value, (tuple, list)) else [value]
    if keep:
        return [item if is_tensor(item) else None for item in items]
    return [item for item in items if is_tensor(item)]


def location(node: Node) -> str | None:
    """Where in the user's code a node came from: "model.py:88 encoder.layer.0"."""
    parts = []
    trace = node.meta.get("stack_trace")
    if trace:
        lines = [line for line in trace.splitlines() if line.lstrip().startswith('File "')]
        if lines:
            file, _, rest = lines[-1].strip()[6:].partition('", line ')
            parts.append(f"{file.rpartition('/')[2]}:{rest.partition(',')[0]}")
    stack = node.meta.get("nn_module_stack")
    if stack:
        path = list(stack.values())[-1][0]
        if path:
            parts.append(str(path))
    return " ".join(parts) or None
