"""Command line: ``python -m tuyere.bench SUITE [--models M..] [--runners R..] [--rounds N] [--json FILE] ..``; ``--help`` has the rest."""

import argparse
import json
import os
import pathlib
import signal
import sys

from . import measure, models, report
from .runners import PRECISION, RUNNERS


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench", description="Whole models, float32, all cores: tuyere against PyTorch eager, inductor, OpenVINO and ONNX Runtime."
    )
    parser.add_argument("suite", choices=models.SUITES, help="what is measured")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="names or parts of names")
    parser.add_argument("--list", action="store_true", help="print the names of the suite's models, and end")
    parser.add_argument("--runners", nargs="+", choices=RUNNERS, metavar="NAME", help=", ".join(RUNNERS))
    parser.add_argument("--batch", choices=("1", "many"), help="only models at batch 1, or only the others")
    parser.add_argument("--tokens", type=int, metavar="N", help="only models that are given N tokens")
    parser.add_argument("--torchbench", metavar="PATH", help="the models' classes of a checkout of pytorch/benchmark (suite torchbench)")
    parser.add_argument("--rounds", type=int, default=15, help="turns each runner gets (15)")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32", help="bf16: PyTorch under autocast, OpenVINO's hint, tuyere's fpmath")
    parser.add_argument("--quick", action="store_true", help="5 rounds")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="save everything measured, after each model")
    parser.add_argument("--resume", action="store_true", help="keep what FILE has, failures too; measure what it lacks, beside eager and ours")
    parser.add_argument("--markdown", action="store_true", help="print the tables as markdown")
    options = parser.parse_args()
    if options.precision == "bf16":
        os.environ.update({PRECISION: "bf16", "TUYERE_FPMATH": "bf16"})  # the runners' processes inherit it
    suite = models.suite(options.suite)
    if options.list:
        print(suite.TITLE, *suite.ENTRIES, sep="\n")
        return 0
    try:
        entries = models.select(suite.ENTRIES, options.models)
    except ValueError as error:
        parser.error(str(error))
    if options.batch:
        entries = [entry for entry in entries if (entry.batch == 1) == (options.batch == "1")]
    if options.tokens:
        entries = [entry for entry in entries if getattr(entry, "tokens", None) == options.tokens]
    if options.torchbench and options.suite != "torchbench":
        parser.error("--torchbench goes with the suite torchbench")
    if options.resume and not options.json:
        parser.error("--resume needs the --json FILE of the run that it goes on with")
    known = json.loads(options.json.read_text()) if options.resume and options.json.exists() else None
    if known and known.get("suite") != options.suite:
        parser.error(f"{options.json} is of another suite: {known.get('suite')}")
    if known and known.get("checkout", False) != bool(options.torchbench):
        parser.error(f"{options.json} has models of {'our definitions' if options.torchbench else 'a checkout'}")

    environment = measure.environment()
    if known and any(known["environment"][what] != environment[what] for what in ("cpu", "cores", "versions", "variables")):
        parser.error(f"{options.json} was measured on another machine, with other versions or other variables: {report.head(known['environment'])}")

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # told to end, as by Ctrl-C: the runners' processes end, too
    print(report.head(environment), flush=True)
    try:
        document = measure.suite(
            options.suite,
            entries,
            options.runners or suite.RUNNERS,
            5 if options.quick else options.rounds,
            options.json,
            lambda name, result: print(report.line(name, result), flush=True),
            known,
            options.torchbench or "",
        )
    except KeyboardInterrupt:
        print(f"\ncut off; {options.json} has what was measured, --resume goes on" if options.json else "\ncut off", file=sys.stderr)
        return 130
    print(f"\nLeast milliseconds a call (times as fast as eager: median of {report.rounds(document)} rounds' ratios)\n")
    print(report.table(document, options.markdown))
    print("\n" + report.details(document, options.markdown))
    if failed := report.failures(document):
        print("\nFailed, and in nobody's mean:\n" + failed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
