"""BERT-base deployed, and what a call costs.

    python tests/deploy/full.py DIR        figures: tuyere compile with a cold cache, sizes, loading to the first result, ten processes, a call
    python tests/deploy/full.py --export DIR    exports the archives into DIR, which takes longer; once, before

Needs the command and the libraries (TUYERE_BUILD), gcc, and Linux. Measure while nothing else runs: nothing is asserted here.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("TUYERE_BUILD", "build")).resolve()
MB = 1 << 20

# Loads a deployed model from argv[1] in a process without PyTorch, and waits where told to.
CHILD = """
import importlib.util, os, sys, time
spec = importlib.util.spec_from_file_location("artefact", sys.argv[2])
artefact = importlib.util.module_from_spec(spec)
spec.loader.exec_module(artefact)
import numpy
ids = numpy.arange(16)[None] + 100
start = time.perf_counter()
model = artefact.load(sys.argv[1])
model(ids)
print(1e3 * (time.perf_counter() - start), flush=True)
sys.stdin.read()
"""

# One number plus one: what is left is the call.
CALLS = """
#include <stdio.h>
#include <time.h>
#include "tuyere.h"
#include "one.h"
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (double)t.tv_sec * 1e9 + (double)t.tv_nsec; }
static int fail(const char *why) { fprintf(stderr, "%s\\n", why); return 1; }
int main(int argc, char **argv) {
  enum { N = 200000 };
  char error[512];
  float x = 1, y = 0;
  one *entry;
  tuyere_context *c = tuyere_context_create(NULL, NULL);
  tuyere_model *m;
  tuyere_session *s;
  tuyere_tensor in = {.data = &x, .dtype = TUYERE_F32, .rank = 1, .shape = {1}}, out = {.data = &y, .dtype = TUYERE_F32, .rank = 1, .shape = {1}};
  tuyere_set_threads(1);
  if (argc < 2 || one_create(&entry, NULL, error, sizeof error)) return fail(error);
  one_threads(1);
  if (tuyere_model_open(c, argv[1], &m) || tuyere_session_create(c, m, &s)) return fail(tuyere_error(c));
  if (tuyere_session_bind_input(s, 0, &in) || tuyere_session_bind_output(s, 0, &out)) return fail(tuyere_error(c));
  double session = 1e9, typed = 1e9;
  for (int round = 0; round < 15; round++) {
    double t = now();
    for (int i = 0; i < N; i++) if (tuyere_session_run(s)) return fail(tuyere_error(c));
    t = (now() - t) / N;
    if (t < session) session = t;
    t = now();
    for (int i = 0; i < N; i++) if (one_run(entry, &x, &y)) return fail(one_error(entry));
    t = (now() - t) / N;
    if (t < typed) typed = t;
  }
  if (y != 2) return fail("wrong");
  printf("%.0f %.0f\\n", session, typed);
  return 0;
}
"""


def export(folder):
    import torch
    import transformers

    class One(torch.nn.Module):
        def forward(self, x):
            return x + 1

    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    with torch.no_grad():
        torch.export.save(torch.export.export(One(), (torch.ones(1),)), folder / "one.pt2")
        bert = transformers.BertModel(transformers.BertConfig()).eval()
        torch.export.save(torch.export.export(bert, (torch.arange(16)[None] + 100,)), folder / "bert.pt2")


def deploy(folder, name) -> float:
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        command = [BUILD / "tuyere", "compile", "-q", folder / f"{name}.pt2", "-o", folder / name]
        subprocess.run(command, check=True, env={**os.environ, "TUYERE_CACHE_DIR": cache})
        return time.perf_counter() - start


def start(folder):
    args = [sys.executable, "-c", CHILD, folder / "bert.so", ROOT / "python/tuyere/artefact.py"]
    return subprocess.Popen(list(map(str, args)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def weights_of(pid) -> int:
    """Bytes of the mapped weights, each page divided by the number of processes that have it (Pss)."""
    total, ours = 0, False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        word = line.split()
        if not word[0].endswith(":"):
            ours = line.endswith("bert.weights")
        elif ours and word[0] == "Pss:":
            total += int(word[1]) * 1024
    return total


def measure(folder) -> dict:
    found = {"compile_s": [deploy(folder, "bert") for _ in range(3)]}
    found["so_mb"], found["weights_mb"] = ((folder / f"bert.{ending}").stat().st_size / MB for ending in ("so", "weights"))
    times = []
    for _ in range(7):
        run = start(folder)
        times.append(float(run.stdout.readline()))
        run.communicate()
    found["load_to_first_result_ms"] = {"first": times[0], "least": min(times), "median": statistics.median(times)}
    crowd = [start(folder) for _ in range(10)]
    for run in crowd:
        run.stdout.readline()
    found["weights_of_ten_processes_mb"] = sum(weights_of(run.pid) for run in crowd) / MB
    for run in crowd:
        run.communicate()
    deploy(folder, "one")
    (folder / "calls.c").write_text(CALLS)
    libraries = [folder / "one.so", BUILD / "libtuyere.so", f"-Wl,-rpath,{folder}", f"-Wl,-rpath,{BUILD}"]
    subprocess.run(["gcc", "-O2", f"-I{folder}", f"-I{ROOT / 'include'}", folder / "calls.c", "-o", folder / "calls", *libraries], check=True)
    session, typed = subprocess.run([folder / "calls", folder / "one.so"], check=True, capture_output=True, text=True).stdout.split()
    return found | {"call_ns": {"tuyere_session_run": float(session), "one_run": float(typed)}}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=pathlib.Path)
    options.add_argument("--export", action="store_true")
    o = options.parse_args()
    folder = o.folder.resolve()
    export(folder) if o.export else print(json.dumps(measure(folder), indent=1))


if __name__ == "__main__":
    main()
