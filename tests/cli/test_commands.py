"""Golden command lines: commands.txt has each command with its exact output and exit code.

A block is "$ tuyere ARGS", then standard output, then standard error with "! " before each line, then "[CODE]" where it is not 0.
``pytest tests/cli/test_commands.py --update`` writes the file anew: read the difference before committing it.
"""

import pathlib
import re
import shlex

import pytest

FILE = pathlib.Path(__file__).with_name("commands.txt")


def blocks(text):
    return [block for block in re.split(r"(?m)^(?=\$ tuyere)", text) if block.strip()]


def shown(command, result):
    out = f"$ {command}\n{result.out}"
    # What the installed torch decides: its version, its schema's, lines of its sources.
    out = re.sub(r"of PyTorch \S+, (.*) schema \S+", r"of PyTorch VERSION, \1 schema VERSION", out)
    out = re.sub(r"\.py:\d+", ".py:N", out)
    if result.out and not result.out.endswith("\n"):
        out += "\n"
    out += "".join(f"! {line}\n" for line in re.sub(r"\.py:\d+", ".py:N", result.err).splitlines())
    return out + (f"[{result.code}]\n" if result.code else "")


def run(tuyere, block):
    command = block.splitlines()[0].removeprefix("$ ")
    return shown(command, tuyere(*shlex.split(command)[1:]))


@pytest.mark.parametrize("block", blocks(FILE.read_text()), ids=lambda block: block.splitlines()[0].removeprefix("$ tuyere") or "nothing")
def test_command(tuyere, block, request):
    if request.config.getoption("--update"):
        pytest.skip("written anew by test_update")
    assert run(tuyere, block) == block.rstrip("\n") + "\n"


def test_update(tuyere, request):
    if request.config.getoption("--update"):
        FILE.write_text("\n".join(run(tuyere, block) for block in blocks(FILE.read_text())))
