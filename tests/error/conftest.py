"""Settings of the error tests: scenarios run in children of one process that has torch imported already."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


class Result:
    """What a scenario printed and how it ended."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def said(self, text) -> int:
        """How often a text stands on stderr."""
        return self.err.count(text)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The process that forks one child a scenario: importing torch takes longer than a scenario."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TUYERE_")}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # also for a package that is not installed
    process = subprocess.Popen([sys.executable, str(HERE / "scenario.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdin.close()
    process.wait(30)


@pytest.fixture
def scenario(server, tmp_path):
    """Runs Python text in a process of its own, after scenario.py's names, with a fresh cache directory and TMPDIR."""

    def run(code, *, check=True, new=False, **env) -> Result:
        for name in ("cache", "tmp"):
            (tmp_path / name).mkdir(mode=0o700, exist_ok=True)
        chosen = {"TUYERE_CACHE_DIR": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp"), **{k: str(v) for k, v in env.items()}}
        out, err = tmp_path / "stdout", tmp_path / "stderr"
        if new:  # what is read once, at import, needs an interpreter of its own
            with open(out, "w") as o, open(err, "w") as e:
                status = subprocess.run([sys.executable, str(HERE / "scenario.py"), code], stdout=o, stderr=e, env={**os.environ, **chosen}).returncode
        else:
            server.stdin.write(json.dumps({"code": code, "env": chosen, "out": str(out), "err": str(err)}) + "\n")
            server.stdin.flush()
            status = int(server.stdout.readline())
        result = Result(status, out.read_text(), err.read_text())
        assert not check or status == 0, f"status {status}\n{result.out}\n{result.err}"
        return result

    return run
