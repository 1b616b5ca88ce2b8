"""``tuyere.explain(model, *args)``: what became of a model: graphs, fusions, kernels, fallbacks, memory, compile time."""

import collections
import dataclasses
import inspect
import json

import torch

from . import stats


@dataclasses.dataclass
class Graph:
    """One graph as it was compiled."""

    name: str
    operators: dict[str, int]  # ATen operators as they arrived, with counts
    programs: list[dict]  # what each program says of itself: steps, passes, memory
    fallbacks: list[tuple[str, str, str]]  # operator, reason, place in the model
    notes: list[str]
    seconds: dict[str, float]  # by stage of the door
    code: str  # how programs and PyTorch's operators alternate


@dataclasses.dataclass
class Explanation:
    """Printable; the fields hold the same facts."""

    graphs: list[Graph]
    breaks: list[str]  # why Dynamo cut the model into several graphs
    parameters: int = 0
    error: dict[str, float] | None = None  # of the outputs against float32, where weights are packed in few bits: "relative", "cosine"

    @property
    def operators(self) -> dict[str, int]:
        total = collections.Counter()
        for graph in self.graphs:
            total.update(graph.operators)
        return dict(total)

    @property
    def fallbacks(self) -> list[tuple[str, str, str]]:
        return [fallback for graph in self.graphs for fallback in graph.fallbacks]

    @property
    def steps(self) -> list[dict]:
        return [step for graph in self.graphs for program in graph.programs for step in program.get("steps", [])]

    @property
    def seconds(self) -> float:
        return sum(sum(graph.seconds.values()) for graph in self.graphs)

    def __str__(self) -> str:
        lines = [f"{len(self.graphs)} graph(s), {sum(self.operators.values())} operators, {len(self.steps)} steps, {self.seconds:.2f} s to compile"]
        for reason in self.breaks:
            lines.append(f"graph break: {reason}")
        if self.error:
            lines.append(f"outputs against float32: relative error {self.error['relative']:.2e}, least cosine {self.error['cosine']:.6f}")
        for graph in self.graphs:
            lines += ["", *_graph_lines(graph)]
        return "\n".join(lines)

    __repr__ = __str__


def _graph_lines(graph: Graph) -> list[str]:
    lines = [f"== {graph.name}"]
    lines += [f"note: {note}" for note in graph.notes]
    counts = sorted(graph.operators.items(), key=lambda item: (-item[1], item[0]))
    lines.append("operators: " + ", ".join(f"{n} {name}" for name, n in counts))
    if graph.fallbacks:
        lines.append("in PyTorch:")
        grouped: dict[tuple, list[str]] = {}
        for name, reason, place in graph.fallbacks:
            grouped.setdefault((name, reason), []).append(place)
        for (name, reason), places in grouped.items():
            times = f" x{len(places)}" if len(places) > 1 else ""
            where = f" ({places[0]})" if places[0] else ""
            lines.append(f"  {name}{times}: {reason}{where}")
    for i, program in enumerate(graph.programs):
        lines.append(f"program {i}: compiler: {program.get('compiler', '?')}")
        if program.get("fpmath", "f32") != "f32":
            lines.append(f"  fpmath {program['fpmath']}")
        for number, step in enumerate(program.get("steps", [])):
            lines.append(f"  {number:4d} {'fold ' if step.get('fold') else ''}{step.get('name', '?')}  [{step.get('kernel', '?')}]")
            if step.get("fused"):
                lines.append(f"       fused: {_join(step['fused'])}")
            if step.get("error"):
                lines.append(f"       weights changed by {step['error']:.2e} of their size")
            if step.get("declined"):
                lines.append(f"       declined: {_join(step['declined'])}")
        memory = program.get("memory")
        if memory:
            lines.append("  memory: " + ", ".join(f"{name} {_bytes(name, value)}" for name, value in memory.items()))
        passes = program.get("passes")
        if passes:
            lines.append("  passes: " + ", ".join(f"{p['name']} {p['seconds'] * 1e3:.1f} ms ({p['nodes']} nodes)" for p in passes))
    lines.append("compile time: " + ", ".join(f"{name} {value:.3f} s" for name, value in graph.seconds.items()))
    return lines


def _join(items) -> str:
    if isinstance(items, str):
        return items
    return ", ".join(item if isinstance(item, str) else ": ".join(map(str, item.values())) if isinstance(item, dict) else str(item) for item in items)


def _bytes(name, value) -> str:
    if name in ("buffers", "barriers", "steps"):
        return str(value)
    return f"{value / 2**20:.2f} MiB"


def graph_of(record: stats.Record) -> Graph:
    programs = []
    for segment in record.segments:
        facts = json.loads(segment.program.explain())
        facts["memory"] = {**facts.get("memory", {}), **segment.program.memory()}
        programs.append(facts)
    return Graph(record.name, dict(record.operators), programs, list(record.fallbacks), list(record.notes), dict(record.seconds), record.code)


def explain(model, *args, **kwargs) -> Explanation:
    """Compiles and runs the model on the example inputs and tells what was done.

    model: a module, a function, what torch.compile returned (its options count), or what tuyere.compile returned.
    """
    engine = getattr(model, "_tuyere_engine", None)
    if engine is not None:
        error = None
        if args or kwargs:
            got = model(*args, **kwargs)
            if engine.options.weights:
                with torch.no_grad():
                    error = _error(got, engine.model(*args, **kwargs))
        return Explanation([graph_of(record) for record in engine.records], [], _parameters(model), error)
    original = getattr(model, "_orig_mod", getattr(model, "_torchdynamo_orig_callable", model))
    breaks: list[str] = []
    with stats.recording() as records:
        from .dynamo import backend

        def explaining(gm, example_inputs, **options):
            why = getattr(gm, "compile_subgraph_reason", None)
            if why is not None and why.graph_break:
                breaks.append(_break_text(why))
            return backend(gm, example_inputs, **options)

        with torch.no_grad():
            torch.compile(original, backend=explaining, **_asked(model, backend))(*args, **kwargs)
    return Explanation([graph_of(record) for record in records], breaks, _parameters(original))


def _asked(model, backend) -> dict:
    """The mode and the options that torch.compile was given with this backend: its context keeps them behind wrappers."""
    config = getattr(model, "get_compiler_config", None)
    context = inspect.getclosurevars(config).nonlocals.get("self") if inspect.isfunction(config) else None
    asked = getattr(context, "callback", None)
    while hasattr(asked, "_torchdynamo_orig_backend"):
        asked = asked._torchdynamo_orig_backend
    return dict(asked.kwargs) if getattr(asked, "compiler_fn", None) is backend else {}


def _error(got, want) -> dict[str, float] | None:
    """The largest relative error of a floating-point output, and the least cosine of two rows of the last dim."""
    leaves = zip(*map(torch.utils._pytree.tree_leaves, (got, want)))
    pairs = [(a.double(), b.double()) for a, b in leaves if isinstance(b, torch.Tensor) and b.is_floating_point()]
    if not pairs:
        return None
    relative = max(((a - b).norm() / b.norm().clamp_min(1e-300)).item() for a, b in pairs)
    cosine = min((torch.nn.functional.cosine_similarity(a, b, dim=-1).min().item() for a, b in pairs if b.dim() and b.numel()), default=1.0)
    return {"relative": relative, "cosine": cosine}


def _parameters(model) -> int:
    return sum(p.numel() for p in model.parameters()) if isinstance(model, torch.nn.Module) else 0


def _break_text(why) -> str:
    """Dynamo's reason for ending a graph, and where."""
    reason = str(why.reason).strip().splitlines()[0]
    stack = getattr(why, "user_stack", None)
    return f"{reason} ({stack[-1].filename.rpartition('/')[2]}:{stack[-1].lineno})" if stack else reason
