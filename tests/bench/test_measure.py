"""Turns and resumed runs: who fails is left out and ended; what is there is kept; what is compared shares rounds where it can."""

import json

import pytest

from conftest import result
from tuyere.bench import measure
from tuyere.bench.runners import RunnerError


class Turns:
    """A runner that takes ``seconds`` a call and fails at its turn number ``fails``."""

    def __init__(self, name: str, seconds: float, fails: int = -1):
        self.name, self.seconds, self.fails = name, seconds, fails
        self.turns, self.closed, self.failure = 0, False, ""

    def ask(self, verb: str):
        assert not self.closed
        if verb != "run":
            return {}
        self.turns += 1
        if self.turns == self.fails:
            raise RunnerError("lost")
        return [self.seconds, self.seconds]

    def close(self):
        self.closed = True


def test_who_fails_is_left_out():
    runners = [Turns("eager", 0.4), Turns("openvino", 0.2, fails=2), Turns("tuyere", 0.1)]
    seconds = measure.take_turns(runners, 3, lambda index: None)
    assert list(seconds) == ["eager", "tuyere"] and len(seconds["tuyere"]) == 3 and runners[1].closed and runners[1].turns == 2
    results = {runner.name: {} for runner in runners}
    for runner in runners:
        measure._judge(runner, seconds, results[runner.name])
    assert results["openvino"] == {"error": "lost"}
    assert results["tuyere"]["ratio"] == results["tuyere"]["over"]["eager"] == pytest.approx(4.0)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a suite of one model, in which the runners' seconds are given; returns the document and who was measured."""
    path = tmp_path / "run.json"

    def go(names: list[str], seconds: dict[str, float]):
        asked = []

        def model(name, build, args, wanted, rounds, progress):
            asked.extend(wanted)
            eager = seconds["eager"]
            results = {runner: result(seconds[runner], eager) for runner in {"eager": 0} | dict.fromkeys(wanted)}
            if "tuyere" in results:
                results["tuyere"]["over"] = {peer: seconds[peer] / seconds["tuyere"] for peer in results if peer != "tuyere"}
            return results

        monkeypatch.setattr(measure, "model", model)
        monkeypatch.setattr(measure, "limits", lambda: {"gflops": 1.0, "gbs": 1.0})
        entry = measure.models.Entry("net", lambda entry, small: None)
        known = json.loads(path.read_text()) if path.exists() else None
        return measure.suite("torchbench", [entry], names, 2, path, lambda name, of: None, known)["models"]["net"], asked

    return go


def test_resume(run):
    first, asked = run(["eager", "tuyere"], {"eager": 4.0, "tuyere": 1.0})
    assert asked == ["eager", "tuyere"] and first["tuyere"]["over_peer"] == 4.0
    # The machine is twice as slow now. Ours is measured again beside the peers, whose quotient is that of these rounds.
    second, asked = run(["eager", "tuyere", "openvino"], {"eager": 8.0, "openvino": 3.2, "tuyere": 2.0})
    assert asked == ["openvino", "tuyere"] and second["eager"]["min_s"] == 8.0 and second["tuyere"]["min_s"] == 2.0
    assert second["tuyere"]["best_peer"] == "openvino" and second["tuyere"]["over_peer"] == pytest.approx(1.6)
    third, asked = run(["eager", "tuyere", "openvino", "inductor"], {"eager": 4.0, "inductor": 3.0, "tuyere": 1.25})
    assert asked == ["inductor", "tuyere"] and third["openvino"]["min_s"] == 3.2
    assert third["tuyere"]["over"] == {"eager": 3.2, "openvino": pytest.approx(1.6), "inductor": pytest.approx(2.4)}
    assert third["tuyere"]["over_peer"] == pytest.approx(1.6)
    assert run(["eager", "tuyere", "inductor"], {"eager": 4.0})[1] == []
    # Ours of two kinds: no peer is added, so that peers are compared by ratios to eager.
    fourth, asked = run(["tuyere-direct"], {"eager": 4.0, "tuyere-direct": 0.8})
    assert asked == ["tuyere-direct"] and fourth["tuyere-direct"]["over_peer"] == pytest.approx(2.0)


def test_failures_are_kept(run):
    first, _ = run(["eager", "tuyere"], {"eager": 4.0, "tuyere": 1.0})
    assert measure.missing(["openvino"], first | {"openvino": {"error": "lost"}}) == []
    assert measure.missing(["openvino"], {"eager": first["eager"], "tuyere": {"error": "lost"}}) == ["openvino"]
