"""Deployed models: results on each CPU level, what they need, the sharing of weights, damaged files, running without torch."""

import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import numpy
import pytest
import torch

import tuyere
from capi import Failure, Library, models

LEVELS = ("portable", "avx2", "avx512")
PACKAGE = pathlib.Path(tuyere.__file__).parents[1]
HAVE = LEVELS[: 1 + LEVELS.index(tuyere.cpu()["isa"])]

# Runs in a process where torch cannot be imported.
CHILD = """
    import sys

    class Blocked:
        def find_spec(self, name, *rest):
            if name.split(".")[0] == "torch":
                raise ImportError("torch is blocked")

    sys.meta_path.insert(0, Blocked())
    import numpy
    import tuyere

    def results(model, arrays):
        out = model(*arrays)
        return out if isinstance(out, tuple) else (out,)
"""


def child(code: str, *args, env=None, **more) -> subprocess.Popen:
    text = textwrap.dedent(CHILD) + textwrap.dedent(code)
    paths = os.pathsep.join([str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": paths, **(env or {})}
    return subprocess.Popen([sys.executable, "-c", text, *map(str, args)], env=env, stdout=subprocess.PIPE, text=True, **more)


@pytest.fixture(scope="session")
def library():
    return Library()


@pytest.fixture(scope="session")
def folder(tmp_path_factory, library):
    """Each model's archive NAME.pt2, NAME.so with all levels, inputs NAME.in.npz and eager's results NAME.out.npz."""
    folder = tmp_path_factory.mktemp("deploy")
    for name, (model, args, dynamic) in models().items():
        with torch.no_grad():
            program = torch.export.export(model, args, dynamic_shapes=dynamic)
            torch.export.save(program, folder / f"{name}.pt2")
            out = model(*args)
        numpy.savez(folder / f"{name}.in.npz", *(a.numpy() for a in args))
        numpy.savez(folder / f"{name}.out.npz", *(o.numpy() for o in (out if isinstance(out, tuple) else (out,))))
        library.deploy(folder / f"{name}.pt2", folder / name)
    return folder


def arrays(folder, name, kind="in"):
    with numpy.load(folder / f"{name}.{kind}.npz") as file:
        return [file[key] for key in file.files]


def close(got, want):
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert g.shape == w.shape and g.dtype == w.dtype
        numpy.testing.assert_allclose(g, w, rtol=2e-5, atol=5e-6 * max(1.0, float(numpy.abs(w).max())))


def results(model, inputs):
    out = model(*inputs)
    return out if isinstance(out, tuple) else (out,)


@pytest.mark.parametrize("level", HAVE)
@pytest.mark.parametrize("name", models())
def test_each_level_without_torch(folder, name, level):
    code = """
        model = tuyere.load(sys.argv[1] + ".so")
        with numpy.load(sys.argv[1] + ".in.npz") as file:
            inputs = [file[key] for key in file.files]
        numpy.savez(sys.argv[2], *results(model, inputs))
        assert "torch" not in sys.modules
    """
    run = child(code, folder / name, folder / f"{name}.{level}.npz", env={"TUYERE_ISA": level})
    run.communicate(timeout=120)
    assert run.returncode == 0
    close(arrays(folder, name, level), arrays(folder, name, "out"))


def test_a_level_left_out_is_replaced_by_a_lower(folder, library, tmp_path):
    model = tuyere.load(library.deploy(folder / "encoder.pt2", tmp_path / "encoder", targets="portable"))
    close(results(model, arrays(folder, "encoder")), arrays(folder, "encoder", "out"))
    (tmp_path / "other").mkdir()
    if "avx2" not in HAVE:
        pytest.skip("this CPU has one level")
    so = library.deploy(folder / "encoder.pt2", tmp_path / "other" / "encoder", targets="avx2")
    close(results(tuyere.load(so), arrays(folder, "encoder")), arrays(folder, "encoder", "out"))
    run = child("tuyere.load(sys.argv[1])", so, env={"TUYERE_ISA": "portable"}, stderr=subprocess.STDOUT)
    assert "encoder has no code for this CPU (portable)" in run.communicate(timeout=120)[0]


def test_other_sizes_without_compiling_again(folder):
    model = tuyere.load(folder / "mlp.so")
    eager, _, _ = models()["mlp"]
    for batch, tokens in ((1, 2), (5, 33), (64, 3), (1, 512)):
        ids, x = torch.randint(0, 50, (batch, tokens)), torch.randn(batch, tokens, 64)
        with torch.no_grad():
            close(results(model, (ids, x)), [o.numpy() for o in eager(ids, x)])


def test_sizes_fixed_ahead(folder, library, tmp_path):
    model = tuyere.load(library.deploy(folder / "mlp.pt2", tmp_path / "mlp", fixed="ids=3x7"))
    assert model.inputs[1].shape == (3, 7, 64)
    close(results(model, arrays(folder, "mlp")), arrays(folder, "mlp", "out"))


def test_strides_and_dlpack(folder):
    model = tuyere.load(folder / "mlp.so")
    ids, x = arrays(folder, "mlp")
    want = arrays(folder, "mlp", "out")
    close(model(numpy.asfortranarray(ids), x=numpy.asfortranarray(x)), want)
    close(model(ids[::-1], x[::-1]), [w[::-1] for w in want])
    close(model(torch.from_numpy(ids), torch.from_numpy(x.swapaxes(0, 1).copy()).transpose(0, 1)), want)


def test_state_is_kept_by_the_session(folder):
    model = tuyere.load(folder / "counter.so")
    x, eager = arrays(folder, "counter")[0], models()["counter"][0]
    for _ in range(3):
        close((model(x),), (eager(torch.from_numpy(x)).numpy(),))


def test_what_is_wrong_is_said(folder):
    model = tuyere.load(folder / "mlp.so")
    ids, x = arrays(folder, "mlp")
    with pytest.raises(TypeError, match=r"2 inputs are needed \(ids, x\), 1 were given"):
        model(ids)
    with pytest.raises(TypeError, match="no input named 'y'"):
        model(ids, y=x)
    with pytest.raises(ValueError, match=r"input 0 \(ids\) is float32, and should be int64"):
        model(x, x)
    with pytest.raises(ValueError, match=r"input 1 \(x\) has 2 dims, and should have 3"):
        model(ids, x[0])
    with pytest.raises(ValueError, match=r"dim 2 of input 1 \(x\) is 63, and should be 64"):
        model(ids, x[..., 1:])
    with pytest.raises(ValueError, match=r"dim 0 of input 0 \(ids\) is 66, which is not in 0 to 64"):
        model(numpy.repeat(ids, 22, 0), x)
    with pytest.raises(ValueError, match=r"dim 0 of input 1 \(x\) is 3, and should be .* which is 2 by the other inputs"):
        model(ids[:2], x)
    with pytest.raises(ValueError, match="index out of range"):
        model(ids + 50, x)
    close(model(ids, x), arrays(folder, "mlp", "out"))  # after all this


def test_needs_only_the_c_library(folder):
    for so in folder.glob("*.so"):
        text = subprocess.run(["readelf", "-d", so], capture_output=True, text=True, check=True).stdout
        needed = {line.split("[")[1].rstrip("]") for line in text.splitlines() if "(NEEDED)" in line}
        assert needed <= {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}, needed
        text = subprocess.run(["nm", "-D", "--defined-only", so], capture_output=True, text=True, check=True).stdout
        exported = {line.split()[-1] for line in text.splitlines()}
        assert exported == {"tuyere_artefact", *(f"{so.stem}_{f}" for f in ("create", "destroy", "threads", "error", "run"))}


def test_size_without_weights(folder):
    for so in folder.glob("*.so"):
        assert so.stat().st_size < 1 << 20


def test_ten_processes_share_the_weights(folder):
    code = """
        model = tuyere.load(sys.argv[1] + ".so")
        with numpy.load(sys.argv[1] + ".in.npz") as file:
            results(model, [file[key] for key in file.files])
        print("ready", flush=True)
        sys.stdin.read()
    """
    crowd = [child(code, folder / "encoder", stdin=subprocess.PIPE) for _ in range(10)]
    try:
        assert all(run.stdout.readline() == "ready\n" for run in crowd)
        mapped = []
        for run in crowd:
            fields, ours = {}, False
            for line in pathlib.Path(f"/proc/{run.pid}/smaps").read_text().splitlines():
                word = line.split()
                if not word[0].endswith(":"):
                    ours = line.endswith("encoder.weights")
                    if ours:
                        assert word[1] == "r--s", line
                elif ours and word[-1] == "kB":
                    fields[word[0]] = fields.get(word[0], 0) + int(word[1])
            assert fields["Rss:"] > 0
            assert fields["Private_Dirty:"] == fields["Private_Clean:"] == fields["Anonymous:"] == 0, fields
            assert fields["Shared_Clean:"] + fields["Shared_Dirty:"] == fields["Rss:"], fields  # dirty: not on the disk yet
            mapped.append(fields["Pss:"])
        assert sum(mapped) <= (folder / "encoder.weights").stat().st_size / 1024 + 10  # all together one copy; Pss is cut to kB
    finally:
        for run in crowd:
            run.communicate("", timeout=60)


def test_damaged_files(folder, tmp_path):
    for name in ("mlp", "net"):
        for ending in (".so", ".weights"):
            shutil.copy(folder / (name + ending), tmp_path / (name + ending))
    tuyere.load(tmp_path / "mlp.so")
    (tmp_path / "mlp.weights").write_bytes((folder / "mlp.weights").read_bytes()[:-1])
    with pytest.raises(ValueError, match="too short for the weights of mlp"):
        tuyere.load(tmp_path / "mlp.so")
    changed = bytearray((folder / "mlp.weights").read_bytes())
    changed[0] ^= 1
    (tmp_path / "mlp.weights").write_bytes(changed)
    with pytest.raises(ValueError, match="not a file of weights"):
        tuyere.load(tmp_path / "mlp.so")
    (tmp_path / "mlp.weights").unlink()
    with pytest.raises(OSError, match="No such file"):
        tuyere.load(tmp_path / "mlp.so")
    with pytest.raises(ValueError, match="weights of another model"):
        tuyere.load(tmp_path / "net.so", weights=folder / "encoder.weights")
    with pytest.raises(ValueError, match="no deployed model"):
        tuyere.load(next(PACKAGE.glob("tuyere/_ext*.so")))


def test_weights_of_another_compilation(folder, library, tmp_path):
    with torch.no_grad():
        model, args, dynamic = models()["mlp"]
        model.a.weight.mul_(2)
        torch.export.save(torch.export.export(model, args, dynamic_shapes=dynamic), tmp_path / "mlp.pt2")
    library.deploy(tmp_path / "mlp.pt2", tmp_path / "mlp")
    with pytest.raises(ValueError, match="another compilation of mlp"):
        tuyere.load(tmp_path / "mlp.so", weights=folder / "mlp.weights")


def test_refusals(folder, library, tmp_path):
    with pytest.raises(Failure, match="'a-b' is not a C identifier"):
        library.deploy(folder / "mlp.pt2", tmp_path / "a-b")
    with pytest.raises(Failure, match="'double' is a word of C"):
        library.deploy(folder / "mlp.pt2", tmp_path / "double")
    with pytest.raises(Failure, match="'sse9' is not a CPU level"):
        library.deploy(folder / "mlp.pt2", tmp_path / "mlp", targets="avx2,sse9")
    with pytest.raises(Failure, match="mlp.weights.part: No such file or directory"):
        library.deploy(folder / "mlp.pt2", tmp_path / "none" / "mlp")
    with pytest.raises(Failure, match="compiled already"):
        library.deploy(folder / "mlp.so", tmp_path / "mlp")
    with pytest.raises(Failure, match="sizes of 'ids': '3x' is not of the form 1x128"):
        library.deploy(folder / "mlp.pt2", tmp_path / "mlp", fixed="ids=3x")
    assert list(tmp_path.iterdir()) == []  # nothing half made is left


@pytest.mark.parametrize("compiler", ["gcc", "clang", "g++"])
@pytest.mark.parametrize("name", ["mlp", "net"])
def test_the_header_and_its_example(folder, name, compiler, tmp_path):
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    text = (folder / f"{name}.h").read_text()
    example = text[text.index(" *   #include") : text.index("\n */")].replace("\n *   ", "\n").removeprefix(" *   ")
    (tmp_path / "main.c").write_text(example + "\n")
    flags = ["-Wall", "-Wextra", "-Werror", "-pedantic", *(["-x", "c++"] if compiler == "g++" else ["-std=c99"])]
    command = [compiler, *flags, f"-I{folder}", tmp_path / "main.c", "-x", "none", folder / f"{name}.so", "-o", tmp_path / "main"]
    subprocess.run(command, check=True)
    subprocess.run([tmp_path / "main"], check=True, timeout=60)


def test_what_a_model_tells_of_itself(folder):
    model = tuyere.load(folder / "net.so")
    assert [tuple(t) for t in model.inputs] == [("x", "float32", (1, 3, 33, 40))]
    assert [t.shape for t in model.outputs] == [(1, 11)]
    assert repr(tuyere.load(folder / "mlp.so")).startswith("<tuyere model (ids: int64[")


def at_level(prefix, level, monkeypatch):
    """The deployed model with a runtime of its own (as a copy has it), which takes this level."""
    for ending in ("so", "weights"):
        shutil.copy(f"{prefix}.{ending}", f"{prefix}.{level}.{ending}")
    monkeypatch.setenv("TUYERE_ISA", level)
    return tuyere.load(f"{prefix}.{level}.so")


def far(got, exact):
    return numpy.linalg.norm(got - exact) / numpy.linalg.norm(exact)


def weight_bytes(prefix):
    return pathlib.Path(f"{prefix}.weights").stat().st_size


@pytest.mark.parametrize("name", ["encoder", "net"])
def test_bf16_weights_serve_every_level(folder, library, tmp_path, name, monkeypatch):
    library.deploy(folder / f"{name}.pt2", tmp_path / name, fpmath="bf16")
    assert weight_bytes(tmp_path / name) < (0.65 if name == "encoder" else 1) * weight_bytes(folder / name)  # Winograd's stay float32, as do embeddings
    for level in [*HAVE, "avx512_bf16"] if "avx512" in HAVE else HAVE:
        out = results(at_level(tmp_path / name, level, monkeypatch), arrays(folder, name))
        for got, exact in zip(out, arrays(folder, name, "out"), strict=True):
            assert 1e-5 < far(got, exact) < 1e-2


@pytest.mark.parametrize("weights, least, most", [("int8", 1e-3, 2e-2), ("int8wo", 1e-3, 2e-2), ("int4", 1e-2, 2e-1)])
def test_weights_of_few_bits_serve_every_level(folder, library, tmp_path, weights, least, most, monkeypatch):
    """As tuyere.compile has them, which tests/diff holds to the formats' definition."""
    library.deploy(folder / "encoder.pt2", tmp_path / "encoder", weights=weights)
    assert weight_bytes(tmp_path / "encoder") < 0.5 * weight_bytes(folder / "encoder")
    model, args, _ = models()["encoder"]
    with torch.no_grad():
        want = tuyere.compile(model, *args, weights=weights)(*args).numpy()
    assert least < far(want, arrays(folder, "encoder", "out")[0]) < most
    for level in [*HAVE, "avx512_vnni"] if "avx512" in HAVE else HAVE:
        # a value halfway between two steps of 8 bits may go either way after another order of summation
        assert far(at_level(tmp_path / "encoder", level, monkeypatch)(*arrays(folder, "encoder")), want) < (2e-3 if weights == "int8" else 1e-5)
