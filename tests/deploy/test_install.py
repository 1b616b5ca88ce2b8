"""The installed library: its pkg-config and CMake files, and the examples in C, built with each compiler and run."""

import pathlib
import shutil
import subprocess
import sys

import numpy
import pytest
import torch

from capi import BUILD, ROOT, Library, models

EXAMPLES = ROOT / "examples" / "c"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """meson install, moved to a place of its own."""
    dest = tmp_path_factory.mktemp("install")
    meson = [shutil.which("meson")] if shutil.which("meson") else [sys.executable, "-m", "mesonbuild.mesonmain"]
    subprocess.run([*meson, "install", "-C", BUILD, "--no-rebuild", "--tags", "runtime,devel", "--destdir", dest], check=True, capture_output=True)
    (header,) = dest.rglob("tuyere.h")
    return header.parents[1]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Archives, deployed models and inputs."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("encoder", "net"):
        model, args, dynamic = models()[name]
        with torch.no_grad():
            torch.export.save(torch.export.export(model, args, dynamic_shapes=dynamic), folder / f"{name}.pt2")
        Library().deploy(folder / f"{name}.pt2", folder / name)
    x = models()["net"][1][0]
    numpy.save(folder / "image.npy", x.numpy())
    x.numpy().tofile(folder / "image.raw")
    (folder / "tokens.txt").write_text("3 14 15 9 26\n3 14 15 9 26 5\n1 2 3\n")
    (folder / "labels.txt").write_text("".join(f"label{i}\n" for i in range(11)))
    return folder


def environment(prefix) -> dict:
    (pc,) = prefix.rglob("tuyere.pc")
    return {"PATH": "/usr/bin:/bin", "PKG_CONFIG_PATH": str(pc.parent), "LD_LIBRARY_PATH": str(pc.parents[1])}


def pkg_config(prefix, env) -> list:
    command = ["pkg-config", f"--define-variable=prefix={prefix}", "--cflags", "--libs", "tuyere"]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.split()


def similarity(model, lines):
    means = []
    for line in lines:
        ids = torch.tensor([line])
        with torch.no_grad():
            means.append(model(ids, torch.ones_like(ids))[0].mean(0))
    return [float(torch.nn.functional.cosine_similarity(means[0], m, 0)) for m in means]


@pytest.mark.parametrize("compiler", ["gcc", "clang", "g++", "gcc -fsanitize=address,undefined -fno-sanitize-recover -g"])
def test_examples(prefix, files, tmp_path, compiler):
    compiler, *sanitizers = compiler.split()
    if not shutil.which(compiler) or not shutil.which("pkg-config"):
        pytest.skip(f"{compiler} or pkg-config is not installed")
    env = environment(prefix)
    flags = pkg_config(prefix, env)
    for example in ("sentence_embedding", "image_classification"):
        how = ["-x", "c++", "-std=c++14"] if compiler == "g++" else ["-std=c99"]
        command = [compiler, *sanitizers, "-Wall", "-Wextra", "-Werror", *how, EXAMPLES / f"{example}.c", "-x", "none", "-o", tmp_path / example, *flags, "-lm"]
        subprocess.run(command, check=True)

    def run(*args):
        return subprocess.run([str(a) for a in args], check=True, capture_output=True, text=True, env=env, timeout=120).stdout

    encoder, net = models()["encoder"][0], models()["net"][0]
    want = similarity(encoder, [[3, 14, 15, 9, 26], [3, 14, 15, 9, 26, 5], [1, 2, 3]])
    for ending in (".pt2", ".so"):
        lines = run(tmp_path / "sentence_embedding", files / f"encoder{ending}", files / "tokens.txt").splitlines()
        assert [round(float(line.split()[-1]), 4) for line in lines] == pytest.approx(want, abs=2e-4)
    with torch.no_grad():
        best = int(net(*models()["net"][1])[0].argmax())
    for ending, image in ((".pt2", "image.npy"), (".so", "image.npy"), (".so", "image.raw")):
        text = run(tmp_path / "image_classification", files / f"net{ending}", files / image, files / "labels.txt")
        assert f"class {best} label{best}" in text.splitlines()[0]
    bad = subprocess.run([tmp_path / "sentence_embedding", files / "tokens.txt", files / "tokens.txt"], capture_output=True, text=True, env=env)
    assert bad.returncode == 1 and "while opening" in bad.stderr


def test_minilm_with_real_weights(prefix, tmp_path):
    """Sentences embedded in C are as alike as PyTorch finds them."""
    if not shutil.which("gcc") or not shutil.which("pkg-config"):
        pytest.skip("gcc or pkg-config is not installed")
    transformers = pytest.importorskip("transformers")
    from tuyere.bench.text import load_minilm, minilm_path

    if minilm_path() is None:
        pytest.skip("MiniLM's weights are not installed (./dev bench transformers does it)")
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm_path())
    lines = [tokenizer(text)["input_ids"] for text in ("A man is eating food.", "Someone has a meal at the table.", "The stock market fell sharply today.")]
    (tmp_path / "tokens.txt").write_text("".join(" ".join(map(str, line)) + "\n" for line in lines))
    model, ids = load_minilm(), torch.tensor(lines[:1])
    want = similarity(lambda *call: model(*call)[0], lines)
    assert want[1] > 0.4 > 0.2 > want[2]  # they mean something
    tokens = {1: torch.export.Dim("tokens", min=2, max=512)}
    with torch.no_grad():
        program = torch.export.export(model, (ids, torch.ones_like(ids)), dynamic_shapes={"input_ids": tokens, "attention_mask": tokens})
    torch.export.save(program, tmp_path / "minilm.pt2")
    Library().deploy(tmp_path / "minilm.pt2", tmp_path / "minilm")
    env = environment(prefix)
    flags = pkg_config(prefix, env)
    subprocess.run(["gcc", EXAMPLES / "sentence_embedding.c", "-o", tmp_path / "embed", *flags, "-lm"], check=True)
    out = subprocess.run([tmp_path / "embed", tmp_path / "minilm.so", tmp_path / "tokens.txt"], check=True, capture_output=True, text=True, env=env).stdout
    assert [float(line.split()[-1]) for line in out.splitlines()] == pytest.approx(want, abs=6e-5)


def test_cmake(prefix, files, tmp_path):
    cmake = shutil.which("cmake")
    if not cmake or subprocess.run([cmake, "--version"], capture_output=True).returncode:
        pytest.skip("cmake is not installed")
    subprocess.run([cmake, "-S", EXAMPLES, "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}"], check=True, capture_output=True)
    subprocess.run([cmake, "--build", tmp_path], check=True, capture_output=True)
    out = subprocess.run([tmp_path / "sentence_embedding", files / "encoder.so", files / "tokens.txt"], check=True, capture_output=True, text=True)
    assert out.stdout.startswith("sentence 0, 5 tokens: 1.0000")
    assert pathlib.Path(prefix).is_dir()
