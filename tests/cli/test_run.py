"""Archives that run: eager, compiled and deployed against PyTorch's own run; what bench and profile report."""

import contextlib
import json
import os
import pty
import re
import subprocess

import numpy as np
import pytest
import torch

from command import BINARY


def encoder_inputs(batch=2, length=7):
    rng = np.random.default_rng(batch * 100 + length)
    mask = np.ones((batch, length), np.int64)
    mask[0, length // 2 + 1 :] = 0
    return {"ids": rng.integers(0, 50, (batch, length)), "mask": mask}


def expected(path, values):
    module = torch.export.load(path).module()
    with torch.no_grad():
        out = module(*(torch.from_numpy(v) for v in values.values()))
    return {name: value.numpy() for name, value in out.items()} if isinstance(out, dict) else {"": out.numpy()}


def run(tuyere, folder, model, values, *args):
    given = []
    for name, value in values.items():
        np.save(folder / f"{name}.npy", value)
        given += ["--input", f"{name}={folder / name}.npy"]
    out = folder / f"out{len(list(folder.glob('out*')))}"
    result = tuyere("run", model, *given, "--output", out, *args)
    assert result.code == 0, result.err
    return {p.name.removeprefix("out").removesuffix(".npy").lstrip("."): np.load(p, allow_pickle=False) for p in out.iterdir()}, result


def same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        assert got[name].dtype == want[name].dtype and got[name].shape == want[name].shape
        error = np.linalg.norm(got[name] - want[name]) / max(np.linalg.norm(want[name]), 1e-30)
        assert error < 5e-6, (name, error)


def normal(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


MODELS = {"mlp.pt2": lambda: {"x": normal(2, 4)}, "cnn.pt2": lambda: {"image": normal(2, 3, 16, 20)}, "encoder.pt2": encoder_inputs}


@pytest.mark.parametrize("mode", ["eager", "compile"])
@pytest.mark.parametrize("model", MODELS)
def test_as_pytorch(tuyere, place, tmp_path, model, mode):
    values = MODELS[model]()
    got, result = run(tuyere, tmp_path, model, values, "--mode", mode)
    same(got, expected(place / model, values))
    assert len(result.out.splitlines()) == len(got) and not result.err


@pytest.mark.parametrize("mode", ["eager", "compile"])
@pytest.mark.parametrize("sizes", [(1, 2), (3, 33), (16, 64)])
def test_sizes_that_vary(tuyere, place, tmp_path, sizes, mode):
    values = encoder_inputs(*sizes)
    got, _ = run(tuyere, tmp_path, "encoder.pt2", values, "--mode", mode)
    same(got, expected(place / "encoder.pt2", values))


def test_threads_and_no_compiler(tuyere, place, tmp_path):
    values = encoder_inputs()
    want = expected(place / "encoder.pt2", values)
    got, _ = run(tuyere, tmp_path, "encoder.pt2", values, "--threads", 3)
    same(got, want)
    given = [f"--input={name}={tmp_path / name}.npy" for name in values]
    result = tuyere("run", "encoder.pt2", *given, "-o", tmp_path / "none", TUYERE_CC="none", TUYERE_CACHE_DIR=str(tmp_path / "empty"))
    assert result.code == 0 and "no compiled kernels" in result.err
    same({p.stem.removeprefix("out."): np.load(p) for p in (tmp_path / "none").iterdir()}, want)


def test_sizes_out_of_range(tuyere, tmp_path):
    for name, value in encoder_inputs(2, 65).items():
        np.save(tmp_path / f"{name}.npy", value)
    result = tuyere("run", "encoder.pt2", f"-iids={tmp_path}/ids.npy", f"-imask={tmp_path}/mask.npy")
    assert result.code == 1 and "ids" in result.err, result


def test_index_out_of_range(tuyere, tmp_path):
    values = encoder_inputs()
    values["ids"][0, 0] = 50
    for name, value in values.items():
        np.save(tmp_path / f"{name}.npy", value)
    for mode in ("eager", "compile"):
        result = tuyere("run", "encoder.pt2", f"-iids={tmp_path}/ids.npy", f"-imask={tmp_path}/mask.npy", "--mode", mode)
        assert result.code == 1 and "out of range" in result.err, result


def test_output_that_cannot_be_written(tuyere, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 4), np.float32))
    result = tuyere("run", "mlp.pt2", f"-ix={tmp_path}/x.npy", "-o", tmp_path / "x.npy")
    assert result.code == 1 and "x.npy" in result.err, result


def test_bench(tuyere, tmp_path):
    result = tuyere("bench", "encoder.pt2", "--iters", 12, "--threads", 1, "--json", tmp_path / "f.json")
    assert (result.code, result.err) == (0, ""), result
    head, columns, eager, compiled, speedup = result.out.splitlines()
    assert "ids int64 [2, 7], mask int64 [2, 7]; 1 thread, " in head and "10 rounds of 1 runs" in head
    assert columns.split() == ["median", "p90", "p99", "runs/s", "compile", "first", "run", "peak", "memory"]
    assert eager.startswith("eager ") and compiled.startswith("compile ") and speedup.startswith("speed-up ")
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["inputs"][0] == {"name": "ids", "dtype": "int64", "shape": [2, 7]} and figures["threads"] == 1
    for mode in ("eager", "compile"):
        f = figures["modes"][mode]
        assert 0 < f["min"] <= f["median"] <= f["p90"] <= f["p99"] and f["runs"] == 10 and len(f["round_medians"]) == 10
        assert f["peak_bytes"] > 1 << 20 and f["compile"] > 0 and f["first_run"] > 0
    ratios = [e / c for e, c in zip(figures["modes"]["eager"]["round_medians"], figures["modes"]["compile"]["round_medians"])]
    assert figures["speedup"]["median"] == pytest.approx(np.median(ratios), rel=1e-4)


def test_bench_of_one_mode_at_a_shape(tuyere):
    result = tuyere("bench", "encoder.pt2", "--mode", "compile", "--iters", 3, "--shape", "ids=4x16", "--json", "-")
    figures = json.loads(result.out)
    assert [i["shape"] for i in figures["inputs"]] == [[4, 16], [4, 16]] and list(figures["modes"]) == ["compile"] and "speedup" not in figures


def test_profile(tuyere, tmp_path):
    result = tuyere("profile", "encoder.pt2", "--iters", 5, "--trace", tmp_path / "t.json")
    assert (result.code, result.err) == (0, ""), result
    eager, compiled = result.out.split("\n\n")
    for text, mode in ((eager, "eager, 2 threads"), (compiled, "compile, 2 threads")):
        title, rule, heads, _, *rows, last, total = text.splitlines()
        assert title == mode and set(rule) == {"-", " "} == set(last)
        assert re.split(r"\s{2,}", heads.strip())[:7] == ["Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls"]
        assert re.match(r"Self CPU time total: [\d.]+m?u?s \(5 runs, [\d.]+m?u?s each\)$", total)
        share = sum(float(re.search(r"([\d.]+)%", row)[1]) for row in rows)
        assert 99 < share < 101 and any("tuyere::run" in row for row in rows)
    calls = {m[1]: int(m[2]) for m in re.finditer(r"(?m)^ *(\S+) .*?(\d+) +\S+$", eager)}
    assert calls["aten::linear"] == 20 and calls["aten::embedding"] == 10 and calls["aten::layer_norm"] == 5 and calls["tuyere::run"] == 5
    trace = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert {e["args"]["name"] for e in trace if e["ph"] == "M"} == {"eager", "compile"}
    for pid in (1, 2):
        runs = [e for e in trace if e["ph"] == "X" and e["pid"] == pid and e["cat"] == "run"]
        steps = [e for e in trace if e["ph"] == "X" and e["pid"] == pid and e["cat"] == "step"]
        assert len(runs) == 5 and steps and all(e["dur"] >= 0 for e in steps)
        for e in steps:
            assert any(r["ts"] <= e["ts"] + 1e-3 and e["ts"] + e["dur"] <= r["ts"] + r["dur"] + 1e-2 for r in runs)


@pytest.mark.parametrize("model", MODELS)
def test_eager_is_operator_by_operator(tuyere, model):
    program = tuyere("dump", model, "--mode", "eager", "--program").out
    steps = re.findall(r"(?m)^step \d+ (fold )?\w+ '([^']+)'", program)
    assert steps and all(not fold and name.startswith("aten::") for fold, name in steps)


def test_deployed(tuyere, place, tmp_path):
    result = tuyere("compile", "encoder.pt2", "-o", tmp_path / "encoder")
    assert result.code == 0 and [line.split()[0].rsplit(".")[-1] for line in result.out.splitlines()] == ["so", "weights", "h"], result
    values = encoder_inputs(3, 9)
    got, _ = run(tuyere, tmp_path, tmp_path / "encoder.so", values)
    same(got, expected(place / "encoder.pt2", values))
    assert tuyere("info", tmp_path / "encoder.so").code == 0
    result = tuyere("run", tmp_path / "encoder.so", "--mode", "eager", *(f"-i{name}={tmp_path / name}.npy" for name in values))
    assert result.code == 1 and "runs compiled only" in result.err


def test_compile_with_sizes_fixed_and_narrowed(tuyere, place, tmp_path):
    options = ("--static", "ids=-1x9", "--dynamic", "mask=2..4x-1", "--precision", "float32")
    assert tuyere("compile", "encoder.pt2", "-q", "-o", tmp_path / "fixed", *options).code == 0
    values = encoder_inputs(3, 9)
    got, _ = run(tuyere, tmp_path, tmp_path / "fixed.so", values)
    same(got, expected(place / "encoder.pt2", values))
    for name, value in encoder_inputs(5, 9).items():
        np.save(tmp_path / f"{name}.npy", value)
    result = tuyere("run", tmp_path / "fixed.so", *(f"-i{name}={tmp_path / name}.npy" for name in values))
    assert result.code == 1 and "is 5, which is not in 2 to 4" in result.err, result


@pytest.mark.parametrize("option, least, most", [("--precision=bf16", 1e-4, 1e-2), ("--weights=int8", 1e-3, 2e-2), ("--weights=int4g32", 1e-2, 1e-1)])
def test_compile_with_fewer_bits(tuyere, place, tmp_path, option, least, most):
    assert tuyere("compile", "encoder.pt2", "-q", "-o", tmp_path / "small", option).code == 0
    values = encoder_inputs(3, 9)
    got, _ = run(tuyere, tmp_path, tmp_path / "small.so", values)
    for name, want in expected(place / "encoder.pt2", values).items():
        assert least < np.linalg.norm(got[name] - want) / np.linalg.norm(want) < most


def test_dump(tuyere):
    source = tuyere("dump", "encoder.pt2", "--source").out
    assert "ty_k_" in source
    result = tuyere("dump", "encoder.pt2", "--pass", "lower,fly")
    assert result.code == 2 and "unknown pass 'fly'; there are all, lower, " in result.err
    text = tuyere("dump", "encoder.pt2", "--pass", "all").out
    assert [m for m in re.findall(r"(?m)^# after (\w+)$", text)][:4] == ["lower", "empty", "canon", "cse"]


def test_cache(tuyere, tmp_path):
    env = {"TUYERE_CACHE_DIR": str(tmp_path / "kernels")}
    np.save(tmp_path / "x.npy", np.zeros((2, 4), np.float32))
    assert tuyere("run", "mlp.pt2", f"-ix={tmp_path}/x.npy", **env).code == 0
    assert tuyere("cache", "path", **env).out == f"{tmp_path}/kernels\n"
    assert re.fullmatch(r"[\d.]+ \w+ in [1-9]\d* kernels?\n", tuyere("cache", "size", **env).out)
    assert re.match(r"[1-9]\d* kernels? removed", tuyere("cache", "clear", **env).out)
    assert tuyere("cache", "size", **env).out == "0 B in 0 kernels\n"


def test_progress_only_on_a_terminal(tuyere, place, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 4), np.float32))
    args = ["run", "mlp.pt2", f"-ix={tmp_path}/x.npy", "--mode", "eager"]
    assert tuyere(*args).err == ""
    for extra, shown in ((), True), (("--quiet",), False):
        master, slave = pty.openpty()
        subprocess.run([str(BINARY), *args, *extra], cwd=place, stderr=slave, stdout=subprocess.DEVNULL, check=True)
        os.close(slave)
        text = b""
        with contextlib.suppress(OSError):  # at the end of what was written, of which one read may give a part
            while part := os.read(master, 10000):
                text += part
        os.close(master)
        assert (b"compiling mlp.pt2" in text and text.endswith(b"\r\x1b[K")) if shown else not text


def test_quiet(tuyere, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 4), np.float32))
    result = tuyere("run", "mlp.pt2", f"-ix={tmp_path}/x.npy", "-o", tmp_path / "out", "-q")
    assert (result.code, result.out, result.err) == (0, "", "") and (tmp_path / "out" / "out.npy").is_file()


def test_verbose(tuyere, tmp_path):
    given = f"-ix={tmp_path}/x.npy"
    np.save(tmp_path / "x.npy", np.zeros((2, 4), np.float32))
    lines = tuyere("run", "mlp.pt2", given, "-o", tmp_path / "out", "-v").out.splitlines()
    out, time = np.load(tmp_path / "out" / "out.npy"), r"[\d.]+(s|ms|us)"
    number = r"(-?[\d.]+(?:e-\d+)?)"
    found = re.fullmatch(rf"out float32 \[2, 3\] -> \S+/out\.npy: min {number}, max {number}, mean {number}", lines[0])
    assert found and np.allclose([float(x) for x in found.groups()], [out.min(), out.max(), out.mean()], rtol=1e-5), lines
    assert len(lines) == 2 and re.fullmatch(rf"compiled in {time}, first run {time}", lines[1]), lines
    lines = tuyere("compile", "mlp.pt2", "-o", tmp_path / "mlp", "--target", "portable", "--verbose").out.splitlines()
    assert len(lines) == 4 and re.fullmatch(rf"took {time}", lines[3]), lines
    assert re.match(rf"loaded in {time}, ", tuyere("run", tmp_path / "mlp.so", given, "-v").out.splitlines()[1])
    assert tuyere("info", "mlp.pt2", "--verbose").code == 2  # only where it changes something


def test_full_disk(tuyere, place):
    with open("/dev/full", "w") as full:
        done = subprocess.run([str(BINARY), "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "cannot write the output" in done.stderr


def test_completion(tuyere):
    script = tuyere("--completion").out
    words = 'COMP_WORDS=(%s); COMP_CWORD=%d; _tuyere 2>/dev/null; echo "${COMPREPLY[*]}"'

    def complete(*given):
        text = script + words % (" ".join(f"'{w}'" for w in given), len(given) - 1)
        return subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True).stdout.split()

    assert complete("tuyere", "pro") == ["profile"]
    assert {"info", "run", "bench", "compile", "--version"} <= set(complete("tuyere", ""))
    assert complete("tuyere", "bench", "--js") == ["--json"]
    assert complete("tuyere", "run", "--mode", "") == ["eager", "compile"]
    assert complete("tuyere", "cache", "c") == ["clear"]


def test_every_operator_has_its_dtypes(tuyere):
    rows = [line.split() for line in tuyere("ops").out.splitlines()[1:-1]]
    assert len(rows) > 400 and not [row[0] for row in rows if "?" in row[2:3]]
