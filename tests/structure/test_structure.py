"""Holds the tree to its architecture: which room includes which, names, sizes, and no private paths."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest
import torch

import tuyere
from tuyere import stats

ROOT = pathlib.Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
BUILD = ROOT / os.environ.get("TUYERE_BUILD", "build")

# A room may include itself and the rooms before it. The first three are libtuyere_rt, all that a
# deployed model needs: they come before graph, so they know nothing of it.
ROOMS = ["base", "kernel", "rt", "graph", "loop", "ops", "import", "pass", "sched", "emit", "api", "cli"]

# Headers that are bodies: included once for each tier or table, with macros set, never alone.
BODIES = ("*_tmpl.h",)
# Vector headers refuse flags that disagree with them.
VECTOR_FLAGS = {
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"],
}
LINES = 1000

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
SYSTEM_INCLUDE = re.compile(r"^\s*#\s*include\s+<([^>]+)>", re.M)


def c_files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in (".c", ".h", ".def"))


def tracked() -> list[pathlib.Path]:
    """Files of the project: what git tracks or would; without git, all but what is built."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
        paths = [ROOT / name for name in names if name]
    else:
        skip = re.compile(r"^(build|\.venv|\.git|__pycache__|\.\w+_cache|\.hypothesis)")
        paths = [p for p in ROOT.rglob("*") if not any(skip.match(part) for part in p.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file()]


def resolve(path: pathlib.Path, name: str) -> pathlib.Path | None:
    """The file that an include names, as the compiler looks: beside the file, in src and include, and what the build makes."""
    for folder in (path.parent, SRC, ROOT / "include", BUILD):
        if (folder / name).is_file():
            return (folder / name).resolve()
    return None


def room(path: pathlib.Path) -> str | None:
    return path.relative_to(SRC).parts[0] if path.is_relative_to(SRC) else None


def test_every_room_has_a_place():
    present = {path.name for path in SRC.iterdir() if path.is_dir()}
    assert present <= set(ROOMS), f"rooms missing from the order: {sorted(present - set(ROOMS))}"


def test_includes_go_one_way():
    wrong = []
    for path in c_files(SRC):
        for name in INCLUDE.findall(path.read_text()):
            target = resolve(path, name)
            if target is None:
                wrong.append(f"{path.relative_to(ROOT)}: {name} is not found")
                continue
            mine, theirs = room(path), room(target)
            if theirs is None:
                continue  # include/ is open to all
            if ROOMS.index(theirs) > ROOMS.index(mine):
                wrong.append(f"{path.relative_to(ROOT)}: {mine} may not include {theirs} ({name})")
            elif theirs != mine and target.stem.endswith("_int"):
                wrong.append(f"{path.relative_to(ROOT)}: {name} is for the room {theirs} only")
    assert not wrong, "\n".join(wrong)


def test_public_headers_include_nothing_of_ours():
    for path in sorted((ROOT / "include").glob("*.h")):
        for name in INCLUDE.findall(path.read_text()):
            assert (ROOT / "include" / name).is_file(), f"{path.name} includes {name}"


def headers() -> list[pathlib.Path]:
    found = sorted((ROOT / "include").glob("*.h")) + [path for path in c_files(SRC) if path.suffix == ".h"]
    return [path for path in found if not any(path.match(pattern) for pattern in BODIES)]


@pytest.mark.parametrize("path", headers(), ids=lambda path: str(path.relative_to(ROOT)))
def test_header_compiles_alone(path):
    tier = re.search(r"_(avx\w+|neon|sve)$", path.stem)
    flags = []
    if path.parent.name == "vec" and tier:
        if os.uname().machine != "x86_64" or tier[1] not in VECTOR_FLAGS:
            pytest.skip(f"{tier[1]} is not of this machine")
        flags = VECTOR_FLAGS[tier[1]]
    command = [os.environ.get("CC", "cc"), "-std=gnu11", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-x", "c"]
    command += ["-Wno-unused-function", *flags, f"-I{SRC}", f"-I{ROOT / 'include'}", "-"]
    result = subprocess.run(command, input=f'#include "{path}"\n', capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def libraries() -> list[pathlib.Path]:
    return [path for path in BUILD.rglob("*.so*") if path.is_file() and not path.is_symlink() and ".p" not in path.suffixes]


def test_exported_symbols():
    found = libraries()
    assert found, f"no shared library in {BUILD}: build first"
    wrong = []
    for path in found:
        command = ["nm", "-D", "--defined-only", "--format=posix", str(path)]
        for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
            name, kind = line.split()[:2]
            if kind in "TDBRVWi" and not name.startswith(("ty_", "tuyere_", "PyInit_")):
                wrong.append(f"{path.name}: {name}")
    assert not wrong, "\n".join(wrong)


def test_files_are_of_readable_size():
    long = []
    for path in tracked():
        if path.suffix in (".c", ".h", ".py"):
            count = len(path.read_text().splitlines())
            if count > LINES:
                long.append(f"{path.relative_to(ROOT)}: {count} lines")
    assert not long, "\n".join(long)


def test_the_package_is_installed_whole():
    package = ROOT / "python/tuyere"
    listed = (package / "meson.build").read_text()
    names = [str(path.relative_to(package)) for path in package.rglob("*") if path.suffix in (".py", ".html", ".js", ".css")]
    missing = [name for name in names if f"'{name}'" not in listed]
    assert not missing, f"not in python/tuyere/meson.build: {missing}"


def test_no_paths_of_one_machine():
    # Written in pieces, so that this file does not name what it looks for.
    private = re.compile("|".join(("/wo" + r"rk/\w", "/tmp/" + "venv", "/ro" + r"ot/\w", "/home/" + r"\w")))
    wrong = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if private.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not wrong, "\n".join(wrong)


def test_schemas_are_those_of_torch():
    wrong = []
    schemas = tuyere.supported_schemas()
    assert schemas
    for name, schema in schemas.items():
        _, base, overload = name.split(".")
        try:
            theirs = str(getattr(getattr(torch.ops.aten, base), overload)._schema)
        except AttributeError:
            wrong.append(f"{name}: torch has no such operator")
            continue
        theirs = theirs[theirs.index("(") :]
        if theirs != schema:
            wrong.append(f"{name}:\n  ours  {schema}\n  torch {theirs}")
    assert not wrong, "\n".join(wrong)


def test_emitted_files_include_no_system_headers():
    with torch.no_grad(), stats.recording() as records:
        tuyere.compile(torch.nn.Sequential(torch.nn.LayerNorm(8), torch.nn.Linear(8, 16), torch.nn.GELU()), torch.randn(4, 8))
    sources = [segment.program.source() for record in records for segment in record.segments]
    assert any(sources)
    for source in sources:
        assert not SYSTEM_INCLUDE.findall(source)
