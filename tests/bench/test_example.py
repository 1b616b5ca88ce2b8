"""The published sample script in our form, on a small model of T5's kind: the table of PyTorch's profiler, eager and compiled."""

import pathlib
import types

import pytest

pytest.importorskip("transformers")


@pytest.mark.parametrize("mode", ["eager", "compile"])
def test_t5_small_translation(mode, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parents[2] / "examples"))
    import t5_small_translation as example

    small = example.ENTRIES["t5-small-16"].build(small=True)
    vocabulary, inputs = small.model.config.vocab_size, example.inputs
    monkeypatch.setattr(example, "ENTRIES", {"t5-small-16": types.SimpleNamespace(build=lambda: small)})
    monkeypatch.setattr(example, "inputs", lambda: {name: ids % vocabulary for name, ids in inputs().items()})
    monkeypatch.setattr("sys.argv", ["t5_small_translation.py", "-m", mode, "-n", "3"])
    assert example.main() == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    columns = ("Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls")
    head = next(line for line in lines if line.split()[:1] == ["Name"])
    assert [head.index(column) for column in columns] == sorted(head.index(column) for column in columns) and "Self CPU time total: " in said
    assert ("aten::mm" in said) == (mode == "eager") and any("tuyere::" in line and line.split()[-1] == "3" for line in lines) == (mode == "compile")
