"""Archives made by the installed torch, run by tests/archive/archive_run and compared with PyTorch's own run of the same program."""

import os
import pathlib
import subprocess

import numpy
import torch
from torch.utils import _pytree as pytree

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("TUYERE_BUILD", "build")
TOOL = BUILD / "tests" / "archive_run"


def tool(*args) -> tuple[int, str]:
    """Runs archive_run; its exit code and what it printed."""
    done = subprocess.run([str(TOOL), *map(str, args)], capture_output=True, text=True, timeout=300)
    assert done.returncode >= 0, f"signal {-done.returncode}: {done.stderr}"
    return done.returncode, done.stdout


def save(folder, model, args=(), kwargs=None, dynamic=None, core=False, name="model.pt2"):
    """Exports a model and saves it; the path, and the exported program."""
    with torch.no_grad():
        program = torch.export.export(model, tuple(args), kwargs or {}, dynamic_shapes=dynamic)
        if core:
            program = program.run_decompositions()
    path = pathlib.Path(folder) / name
    torch.export.save(program, path)
    return path, program


def look(path, *args) -> str:
    code, text = tool("look", path, *args)
    assert code == 0, text
    return text


def text_of(shape) -> str:
    return "x".join(map(str, shape)) or "-"


def _leaf(words, folder):
    if words[0] == "None":
        return None
    if len(words) == 2 or words[0] == "str":
        return {"int": int, "float": float, "bool": lambda x: x == "True", "str": str}[words[0]](words[1])
    shape = [] if words[1] == "-" else [int(n) for n in words[1].split("x")]
    dtype = getattr(torch, words[0])
    data = bytearray((folder / words[2]).read_bytes())
    return torch.frombuffer(data, dtype=dtype).reshape(shape).clone() if data else torch.empty(shape, dtype=dtype)


def run(path, inputs: dict, times: int = 1, static=()):
    """Runs an archive over tensors by name: (leaves of the result by name, changed buffers by name)."""
    folder = pathlib.Path(path).parent / "run"
    folder.mkdir(exist_ok=True)
    args = []
    for name, value in inputs.items():
        if isinstance(value, int):
            args.append(f"{name}={value}")
            continue
        file = folder / f"{name}.in"
        file.write_bytes(value.detach().contiguous().view(torch.uint8).numpy().tobytes() if value.dim() else numpy.asarray(value).tobytes())
        args.append(f"{name}={text_of(value.shape)}:{file}")
    for fix in static:
        args += ["--static", fix]
    code, text = tool("run", path, folder, *args, "--times", times)
    assert code == 0, text
    kinds = {"output": {}, "update": {}}
    for line in text.splitlines():
        kind, name, *rest = line.split(" ")
        kinds[kind][name] = _leaf(rest, folder)
    return kinds["output"], kinds["update"]


def close(got, want, tolerance=5e-6):
    """Equal kinds; floats within a relative error of the largest magnitude, everything else exactly."""
    if not isinstance(want, torch.Tensor):
        assert got == want, f"{got} != {want}"
        return
    assert got.dtype == want.dtype and got.shape == want.shape, f"{got.dtype}{tuple(got.shape)} != {want.dtype}{tuple(want.shape)}"
    if not want.is_floating_point():
        assert torch.equal(got, want)
    elif want.numel():
        error = (got.double() - want.double()).abs().max() / want.double().abs().max().clamp(min=1e-30)
        assert error <= tolerance, f"relative error {error:.2e}"


def compare(path, program, args=(), kwargs=None, names=None, static=(), tolerance=5e-6):
    """One call of the archive against the same call of the program by PyTorch, leaf by leaf."""
    kwargs = kwargs or {}
    leaves = [leaf for leaf in pytree.tree_leaves((tuple(args), kwargs)) if isinstance(leaf, (torch.Tensor, int))]
    given = dict(zip(names or [*_arg_names(program, args), *kwargs], leaves))
    with torch.no_grad():
        module = program.module()
        want = pytree.tree_leaves(module(*pytree.tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, tuple(args)), **kwargs))
    got, updates = run(path, given, static=static)
    assert len(got) == len(want)
    for value, expected in zip(got.values(), want):
        close(value, expected, tolerance)
    buffers = dict(module.named_buffers())
    for name, value in updates.items():
        if name in buffers:
            close(value, buffers[name], tolerance)
    return got, updates


def _arg_names(program, args):
    names = program.module_call_graph[0].signature.forward_arg_names
    return names[: len(args)]
