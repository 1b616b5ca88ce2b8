"""The door without Dynamo at call time: ``tuyere.compile(model, *example_args, dynamic=..., **options)``."""

import contextlib
import functools
import inspect
import itertools
import threading

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import stateless
from torch.utils import _pytree as pytree

from . import _ext, core, stats, tree, wrapped
from . import options as _options
from .dynamo import GRAD_WARNING

_numbers = itertools.count()
_LIMIT = 8  # programs of one model; beyond that new shapes run in eager


def compile(model, *args, dynamic=None, mode=None, options=None, example_kwargs=None, **more):
    """A callable like `model`, compiled for inference without Dynamo.

    model: a module or a function of tensors. args, example_kwargs: example inputs, nested as the model takes them; when
    there are none, the first call compiles. dynamic: None (static at first, and the sizes that change become dynamic),
    False (never), True (all sizes of inputs), or a dict of dims by argument name or position ({"input_ids": [0, 1]}).
    options: as for torch.compile(backend="tuyere"), also as keywords.
    """
    parsed = _options.parse({**(options or {}), **more}, mode)
    compiled = Compiled(model, parsed, dynamic) if isinstance(model, torch.nn.Module) else _Function(model, parsed, dynamic)
    if args or example_kwargs:
        compiled._tuyere_engine.prepare(args, example_kwargs or {})
    return compiled


class _Entry:
    """One capture of the model."""

    __slots__ = ("call", "constants", "guard", "modules", "record", "roles", "sources", "unflatten")


class _Engine:
    """Captures of one model, by the structure of the call, and the call itself."""

    def __init__(self, model, options, dynamic):
        self.model, self.options, self.dynamic = model, options, dynamic
        self.module = model if isinstance(model, torch.nn.Module) else None
        self.entries: dict[tuple, list[_Entry]] = {}
        self.shapes: dict[tuple, list] = {}
        self.records: list[stats.Record] = []
        self.lock = threading.RLock()
        self.eager_keys: set = set()

    # ---- the call ----

    def __call__(self, args, kwargs):
        flat, key = self._flatten(args, kwargs)
        if _autocast() and torch.is_autocast_enabled("cpu"):
            key = (torch.get_autocast_dtype("cpu"), key)
        if torch.is_grad_enabled() and self._needs_grad(flat):
            core.warn_once(GRAD_WARNING)
            return self.model(*args, **kwargs)
        entries = self.entries.get(key)
        if entries:
            for entry in entries:
                if entry.guard is not None and not entry.guard(flat):
                    continue
                try:
                    out = _ext.gather(entry.sources, entry.modules, entry.call, flat)
                except _ext.Mismatch:
                    continue
                except _ext.Unsupported as e:
                    core.warn_once(f"tuyere: a call runs in PyTorch: {e}")
                    return self.model(*args, **kwargs)
                if out is NotImplemented:  # a submodule or a parameter is another one now
                    self.entries.pop(key, None)
                    break
                return entry.unflatten(out)
        entry = self._capture(args, kwargs, flat, key)
        if entry is None:
            return self.model(*args, **kwargs)
        return entry.unflatten(self._first(entry, flat))

    def prepare(self, args, kwargs):
        """Compiles for these arguments, and packs the weights by a first run."""
        flat, key = self._flatten(args, kwargs)
        if _autocast() and torch.is_autocast_enabled("cpu"):
            key = (torch.get_autocast_dtype("cpu"), key)
        if torch.is_grad_enabled() and any(x.requires_grad for x in flat):
            return
        with torch.no_grad():
            entry = self._capture(args, kwargs, flat, key)
            if entry is not None and not entry.record.wrapped:  # a wrapped one may change its inputs
                self._first(entry, flat)

    def _first(self, entry, flat):
        out = _ext.gather(entry.sources, entry.modules, entry.call, flat)
        if self.options.release_weights and not entry.record.wrapped:
            from .release import release

            release(entry.record, entry.roles, [held[name] for held, name in entry.sources])
        return out

    def _flatten(self, args, kwargs):
        """The tensors of a call, and a key of all else: structure, numbers, strings."""
        flat, key = [], [self.module.training if self.module is not None else None, tuple(kwargs), len(args)]
        for arg in args if not kwargs else (*args, *kwargs.values()):
            kind = type(arg)
            if kind is torch.Tensor:
                flat.append(arg)
                key.append(_TENSOR)
            elif arg is None or kind in tree.PLAIN:
                key.append((kind, arg))
            else:
                return self._flatten_nested(args, kwargs)
        return tuple(flat), tuple(key)

    def _flatten_nested(self, args, kwargs):
        leaves, spec = tree.leaves_of((args, kwargs))
        flat, key = [], [self.module.training if self.module is not None else None, spec]
        for leaf in leaves:
            if isinstance(leaf, torch.Tensor):
                flat.append(leaf)
                key.append(_TENSOR)
            else:
                key.append((type(leaf), leaf) if leaf is None or type(leaf) in tree.PLAIN else tree.Same(leaf))
        return tuple(flat), tuple(tree.Spec(k) if isinstance(k, pytree.TreeSpec) else k for k in key)

    def _needs_grad(self, flat) -> bool:
        if any(x.requires_grad for x in flat):
            return True
        return self.module is not None and any(p.requires_grad for p in self.module.parameters())

    # ---- capture ----

    def _capture(self, args, kwargs, flat, key):
        with self.lock:
            if key in self.eager_keys:
                return None
            entries = self.entries.setdefault(key, [])
            if len(entries) >= _LIMIT:
                core.warn_once(f"tuyere: the model was compiled for {_LIMIT} shapes; further ones run in PyTorch (see dynamic=)")
                return None
            dims = self._dynamic_dims(args, kwargs, flat, key)
            try:
                entry = self._trace(args, kwargs, flat, dims)
            except Exception as e:
                if self.options.strict:
                    raise
                core.warn_once(f"tuyere: the model runs in PyTorch: it could not be captured: {type(e).__name__}: {_first_line(e)}")
                self.records.append(stats.Record("direct", notes=[f"not captured: {type(e).__name__}: {e}"]))
                entry = None
            if entry is None:
                self.eager_keys.add(key)
                return None
            entries.insert(0, entry)
            return entry

    def _dynamic_dims(self, args, kwargs, flat, key) -> list[set]:
        """Which dims of each flat tensor are symbols."""
        seen = self.shapes.get(key)
        now = [(t.shape, t.dtype) for t in flat]
        self.shapes[key] = now
        if self.dynamic is False:
            return [set() for _ in flat]
        if self.dynamic is True:
            return [set(range(t.dim())) for t in flat]
        if self.dynamic is None:
            changed = self.__dict__.setdefault("changed", {}).setdefault(key, [set() for _ in flat])
            for dims, old, (shape, _) in zip(changed, seen or (), now):
                if len(old[0]) == len(shape):
                    dims |= {d for d in range(len(shape)) if old[0][d] != shape[d]}
            return [set(dims) for dims in changed]
        names = tree.names_of(self._called(), args, kwargs)
        dims = []
        for name, (index, value) in names.items():
            chosen = self.dynamic.get(name, self.dynamic.get(index, ()))
            for leaf in tree.leaves_of(value)[0]:
                if isinstance(leaf, torch.Tensor):
                    dims.append({d % leaf.dim() for d in chosen})
        unknown = [name for name in self.dynamic if name not in names and name not in {i for i, _ in names.values()}]
        if unknown:
            raise ValueError(f"tuyere: dynamic names no argument: {unknown}; arguments: {list(names)}")
        return dims

    def _called(self):
        return self.module.forward if self.module is not None else self.model

    def _trace(self, args, kwargs, flat, dims):
        from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

        record = stats.Record(f"model {next(_numbers)}")
        entry = _Entry()
        entry.record = record
        entry.modules, entry.sources, tensors, names, held = [], [], [], [], {}
        if self.module is not None:
            held = _sources(self.module, entry, tensors, names)
        leaves, spec = tree.leaves_of((args, kwargs))
        for leaf in leaves:
            if not isinstance(leaf, torch.Tensor) and not tree.constant(leaf):
                raise _ext.Unsupported(f"an argument of type {type(leaf).__name__}")
        holes = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        env = ShapeEnv() if any(dims) else None
        mode = FakeTensorMode(shape_env=env, allow_non_fake_inputs=True)
        out = {}

        def fake(i, tensor):
            if env is None:
                return mode.from_tensor(tensor, static_shapes=True)
            kinds = [DimDynamic.DUCK if d in dims[i] and tensor.shape[d] > 1 else DimDynamic.STATIC for d in range(tensor.dim())]
            from torch._dynamo.source import ConstantSource

            return mode.from_tensor(tensor, source=ConstantSource(f"arg{i}"), symbolic_context=StatelessSymbolicContext(dynamic_sizes=kinds))

        def fn(*values):
            filled = list(leaves)
            for i, value in zip(holes, values[len(tensors) :]):
                filled[i] = value
            call_args, call_kwargs = pytree.tree_unflatten(filled, spec)
            if self.module is None:
                result = self.model(*call_args, **call_kwargs)
            else:
                given = iter(values)
                with stateless._reparametrize_module(self.module, {name: wrapped.again(like, given) for name, like in held.items()}):
                    result = self.module(*call_args, **call_kwargs)
            again = tree.leaves_of((call_args, call_kwargs))[0]
            if len(again) != len(filled) or any(x is not y for x, y in zip(again, filled)):
                raise _ext.Unsupported("the model puts other tensors or values into its arguments")
            flat_out, out["spec"] = tree.leaves_of(result, objects=True)
            for leaf in flat_out:
                if not isinstance(leaf, (torch.Tensor, torch.SymInt)) and not tree.constant(leaf):
                    raise _ext.Unsupported(f"the model returns an object of type {type(leaf).__name__}")
            out["constants"] = [(i, leaf) for i, leaf in enumerate(flat_out) if not isinstance(leaf, (torch.Tensor, torch.SymInt))]
            out["n"] = len(flat_out)
            return [leaf for leaf in flat_out if isinstance(leaf, (torch.Tensor, torch.SymInt))]

        def eager(*values):
            return fn(*values)

        for x in flat:
            if type(x) is not torch.Tensor and type(x) is not torch.nn.Parameter:
                raise _ext.Unsupported(f"an input of type {type(x).__name__}")
        static = [mode.from_tensor(t, static_shapes=True) for t in tensors]
        fakes = static + [fake(i, t) for i, t in enumerate(flat)]
        roles = ["input" if t.is_inference() else "param" for t in tensors] + ["input"] * len(flat)
        context = torch._guards.TracingContext(mode)
        with torch._guards.tracing(context), mode, _capturing():
            entry.call = core.build(fn, fakes, roles, self.options, record, eager, names + tree.leaf_names(self._called(), args, kwargs))
        self.records.append(record)
        if entry.call is eager:
            return None
        if not out:
            raise RuntimeError("the model was not traced")
        entry.unflatten = tree.unflattener(out["spec"], out["n"], out["constants"])
        entry.guard = _guard(env, fakes[len(tensors) :]) if env is not None else None
        entry.roles = roles
        return entry


_TENSOR = object()
_autocast = getattr(torch._C, "_is_any_autocast_enabled", torch.is_autocast_enabled)


def _sources(module, entry, tensors, names) -> dict:
    """Where each parameter and buffer lives, so that a call finds what is there then; tied ones once. Of those that wrap others
    these. Returns the parameters and buffers by name."""
    seen, found = {}, {}
    for path, owner in module.named_modules():
        prefix = f"{path}." if path else ""
        for held in (owner._parameters, owner._buffers):
            for name, tensor in held.items():
                if tensor is None:
                    continue
                if id(tensor) in seen and held is owner._parameters:
                    continue
                seen[id(tensor)] = True
                found[prefix + name] = tensor
                if wrapped.wraps(tensor):
                    entry.modules.append((held, name, tensor))
                for place, key, leaf, inner in wrapped.places(tensor) if wrapped.wraps(tensor) else ((held, name, tensor, ""),):
                    entry.sources.append((place, key))
                    tensors.append(leaf)
                    names.append(prefix + name + inner)
        for name, child in owner._modules.items():
            if child is not None:
                entry.modules.append((owner._modules, name, child))
    return found


@contextlib.contextmanager
def _capturing():
    """What the model can ask to know that it is traced (masks are then made without looking at data)."""
    flag = getattr(torch.compiler, "_is_exporting_flag", None)
    compiling = getattr(torch.compiler, "_is_compiling_flag", None)
    try:
        if flag is not None:
            torch.compiler._is_exporting_flag = True
        if compiling is not None:
            torch.compiler._is_compiling_flag = True
        yield
    finally:
        if flag is not None:
            torch.compiler._is_exporting_flag = flag
        if compiling is not None:
            torch.compiler._is_compiling_flag = compiling


def _guard(env, fakes):
    """A check of what tracing assumed about the sizes beyond their ranges (which the program checks); None when nothing."""
    import sympy
    from torch.utils._sympy.printers import PythonPrinter

    symbols: dict[sympy.Symbol, tuple[int, int]] = {}
    for i, fake in enumerate(fakes):
        for d, size in enumerate(fake.shape):
            if isinstance(size, torch.SymInt) and isinstance(size.node._expr, sympy.Symbol):
                symbols.setdefault(size.node._expr, (i, d))
    conditions = []
    for item in env.guards:
        expr = item.expr
        names = expr.free_symbols
        if not names or not names <= set(symbols):
            continue
        conditions.append(PythonPrinter().doprint(expr))
    if not conditions:
        return None
    used = [s for s in symbols if any(str(s) in c for c in conditions)]
    text = f"lambda {', '.join(map(str, used))}: {' and '.join(f'({c})' for c in conditions)}"
    import math

    test = functools.lru_cache(256)(eval(text, {"math": math, "torch": torch}))
    places = [symbols[s] for s in used]
    return lambda flat: test(*[flat[i].shape[d] for i, d in places])


def _first_line(e) -> str:
    text = str(e).strip()
    return text.splitlines()[0] if text else ""


class _Function:
    """A compiled function."""

    def __init__(self, fn, options, dynamic):
        self._tuyere_engine = _Engine(fn, options, dynamic)
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, *args, **kwargs):
        return self._tuyere_engine(args, kwargs)


class Compiled(torch.nn.Module):
    """A compiled module: calls run the program; everything else is the original's."""

    def __init__(self, model, options, dynamic):
        object.__setattr__(self, "_orig_mod", model)
        object.__setattr__(self, "_tuyere_engine", _Engine(model, options, dynamic))

    def __call__(self, *args, **kwargs):
        return self._tuyere_engine(args, kwargs)

    def __getattr__(self, name):
        return getattr(object.__getattribute__(self, "_orig_mod"), name)

    def __setattr__(self, name, value):
        setattr(self._orig_mod, name, value)

    def __delattr__(self, name):
        delattr(self._orig_mod, name)

    def __repr__(self):
        return f"tuyere.Compiled({self._orig_mod!r})"

    def __dir__(self):
        return dir(self._orig_mod)

    def __reduce__(self):
        return (_again, (self._orig_mod, self._tuyere_engine.options, self._tuyere_engine.dynamic))


def _again(model, options, dynamic):
    return Compiled(model, options, dynamic)


def _delegate(name):
    def method(self, *args, **kwargs):
        result = getattr(self._orig_mod, name)(*args, **kwargs)
        return self if result is self._orig_mod else result

    return functools.wraps(getattr(torch.nn.Module, name))(method)


for _name, _value in vars(torch.nn.Module).items():
    if inspect.isfunction(_value) and not (_name.startswith("__") and _name.endswith("__")) and _name not in vars(Compiled):
        setattr(Compiled, _name, _delegate(_name))
