"""Models deployed for AArch64 on this machine and run by qemu on several CPUs: results against PyTorch's, and which level is chosen."""

import inspect
import os
import pathlib
import shutil
import subprocess

import numpy
import pytest
import torch

from capi import BUILD, Failure, Library, models

CROSS = pathlib.Path(f"{BUILD}-aarch64")
ROOT = pathlib.Path(f"{BUILD}-aarch64.root")
CLI = CROSS / "tuyere"
TARGETS = "aarch64,neoverse-n1,neoverse-v1,neoverse-v2"
# qemu's CPU: the level that must be chosen. A64FX has 512-bit SVE and neither dot products nor bf16.
CPUS = {"cortex-a53": "portable", "a64fx": "portable", "neoverse-n1": "neon", "max,sve=off": "neon", "max,sve128=on": "sve128", "max,sve256=on": "sve256"}

pytestmark = pytest.mark.skipif(
    not (CLI.exists() and shutil.which("qemu-aarch64")), reason="no cross build or no qemu-aarch64: ./dev cross aarch64 makes and installs them"
)


def qemu(cpu: str, *args, env=None) -> subprocess.CompletedProcess:
    command = ["qemu-aarch64", "-L", str(ROOT), "-cpu", cpu, *map(str, args)]
    env = {**os.environ, "TUYERE_NUM_THREADS": "2", **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)


def run(cpu: str, so: pathlib.Path, inputs: pathlib.Path, *more) -> subprocess.CompletedProcess:
    given = [word for file in sorted(inputs.glob("*.npy")) for word in ("--input", f"{file.stem}={file}")]
    return qemu(cpu, CLI, "run", so, *given, *more)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """NAME.so for all of AArch64's levels, with arguments NAME/PARAMETER.npy and eager's results NAME.I.npy."""
    folder, library = tmp_path_factory.mktemp("aarch64"), Library()
    for name, (model, args, dynamic) in models().items():
        if name not in ("mlp", "encoder", "net"):
            continue
        with torch.no_grad():
            torch.export.save(torch.export.export(model, args, dynamic_shapes=dynamic), folder / f"{name}.pt2")
            out = model(*args)
        (folder / name).mkdir()
        for parameter, value in zip(inspect.signature(model.forward).parameters, args):
            numpy.save(folder / name / f"{parameter}.npy", value.numpy())
        for i, value in enumerate(out if isinstance(out, tuple) else (out,)):
            numpy.save(folder / f"{name}.{i}.npy", value.numpy())
        library.deploy(folder / f"{name}.pt2", folder / name, targets=TARGETS)
    return folder


@pytest.mark.parametrize("cpu", CPUS)
def test_results(folder, cpu, tmp_path):
    for so in sorted(folder.glob("*.so")):
        done = run(cpu, so, folder / so.stem, "--output", tmp_path / so.stem)
        assert done.returncode == 0, done.stderr
        got = sorted((tmp_path / so.stem).glob("*.npy"))
        want = sorted(folder.glob(f"{so.stem}.*.npy"))
        assert len(got) == len(want) > 0
        for a, b in zip(got, want):
            numpy.testing.assert_allclose(numpy.load(a), numpy.load(b), rtol=1e-4, atol=1e-5, err_msg=f"{so.stem} on {cpu}")


def outputs(folder: pathlib.Path) -> list:
    return [numpy.load(file) for file in sorted(folder.glob("*.npy"))]


def apart(a: list, b: list) -> float:
    """The distance of two lists of results, by the second's norm, of the worst of them."""
    assert len(a) == len(b) > 0 and all(x.shape == y.shape for x, y in zip(a, b))
    return max(float(numpy.linalg.norm(x - y) / numpy.linalg.norm(y)) for x, y in zip(a, b))


@pytest.mark.parametrize("precision", ["fpmath=bf16", "weights=int8"])
def test_precision(folder, precision, tmp_path):
    """Narrow weights, packed here for each level's own products: what this machine makes of the same model, up to how sums are rounded."""
    option = dict([precision.split("=")])
    for name in ("encoder", "net"):
        Library().deploy(folder / f"{name}.pt2", tmp_path / f"{name}_here", **option)
        Library().deploy(folder / f"{name}.pt2", tmp_path / f"{name}_best", targets=TARGETS, **option)
        Library().deploy(folder / f"{name}.pt2", tmp_path / f"{name}_n1", targets="neoverse-n1", **option)
        given = [word for file in sorted((folder / name).glob("*.npy")) for word in ("--input", f"{file.stem}={file}")]
        command = [BUILD / "tuyere", "run", tmp_path / f"{name}_here.so", *given, "--output", tmp_path / name]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        here, eager = outputs(tmp_path / name), [numpy.load(file) for file in sorted(folder.glob(f"{name}.*.npy"))]
        assert 1e-5 < apart(here, eager) < 0.03
        for kind, cpus in (("best", ("cortex-a53", "neoverse-n1", "max,sve=off", "max,sve128=on", "max,sve256=on")), ("n1", ("neoverse-n1", "max,sve256=on"))):
            for cpu in cpus:
                to = tmp_path / f"{name}-{kind}-{cpu}"
                done = run(cpu, tmp_path / f"{name}_{kind}.so", folder / name, "--output", to)
                assert done.returncode == 0, done.stderr
                # A value that lies between two of the narrow ones may become either.
                assert apart(outputs(to), here) < 3e-3, f"{name} {kind} on {cpu}"
                assert apart(outputs(to), eager) < 0.03


class Bytes(torch.nn.Module):
    """Two layers that somebody else quantised: weights of 8 bits with a scale and a zero a row; the second's input in 8 bits, too."""

    def __init__(self):
        super().__init__()
        for i, (n, k) in enumerate(((96, 64), (40, 96))):
            self.register_buffer(f"weight{i}", torch.randint(-128, 128, (n, k), dtype=torch.int8))
            self.register_buffer(f"scales{i}", torch.rand(n, 1) * 0.02)
            self.register_buffer(f"zeros{i}", torch.randint(-9, 9, (n, 1)))

    def forward(self, x):
        x = torch.nn.functional.linear(x, (self.weight0.float() - self.zeros0) * self.scales0)
        x = torch.clamp(torch.round(x * 20.0) + 99.0, 0, 255).to(torch.uint8)
        x = (x.float() - 99.0) * 0.05
        return torch.nn.functional.linear(x, (self.weight1.float() - self.zeros1) * self.scales1)


def test_bytes(tmp_path):
    """A quantised model runs from its bytes on each level: bytes times float32, and bytes times bytes, exact on all of them."""
    torch.manual_seed(0)
    model, x = Bytes().eval(), torch.randn(9, 64)
    with torch.no_grad():
        torch.export.save(torch.export.export(model, (x,)), tmp_path / "bytes.pt2")
        want = model(x).numpy()
    (tmp_path / "in").mkdir()
    numpy.save(tmp_path / "in" / "x.npy", x.numpy())
    so = Library().deploy(tmp_path / "bytes.pt2", tmp_path / "bytes", targets=TARGETS)
    assert (tmp_path / "bytes.weights").stat().st_size < 2 * (96 * 64 + 40 * 96)  # of four times that in float32
    for cpu in ("cortex-a53", "neoverse-n1", "max,sve=off", "max,sve128=on", "max,sve256=on"):
        done = run(cpu, so, tmp_path / "in", "--output", tmp_path / cpu)
        assert done.returncode == 0, done.stderr
        assert apart(outputs(tmp_path / cpu), [want]) < 2e-6, cpu


@pytest.mark.parametrize("cpu", CPUS)
def test_level(cpu):
    """The probe; and that a level which this CPU lacks cannot be had by asking."""
    for asked in ("", "sve256"):
        done = qemu(cpu, CROSS / "tests" / "test_base", env={"TUYERE_ISA": asked})
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"cpu: {CPUS[cpu]} " in done.stdout


def test_a_model_without_a_level_for_the_cpu(folder, tmp_path):
    Library().deploy(folder / "mlp.pt2", tmp_path / "mlp", targets="neoverse-v1")
    done = run("neoverse-n1", tmp_path / "mlp.so", folder / "mlp")
    assert done.returncode == 1 and "no code for this CPU (neon)" in done.stderr  # and no instruction of SVE before that


def test_refusals(folder, tmp_path, monkeypatch):
    library = Library()
    with pytest.raises(Failure, match="'avx2' is a level of x86_64, and others are of aarch64"):
        library.deploy(folder / "mlp.pt2", tmp_path / "mlp", targets="neoverse-n1,avx2")
    monkeypatch.setenv("TUYERE_CC", "gcc")
    with pytest.raises(Failure, match="TUYERE_CC=gcc makes code for x86_64-linux-gnu, not for aarch64"):
        library.deploy(folder / "mlp.pt2", tmp_path / "mlp", targets="neoverse-n1")
    monkeypatch.setenv("TUYERE_RT", str(tmp_path))
    with pytest.raises(Failure, match="no libtuyere_rt-aarch64.a in .*dev cross aarch64"):
        library.deploy(folder / "mlp.pt2", tmp_path / "mlp", targets="neoverse-n1")
    assert list(tmp_path.iterdir()) == []
