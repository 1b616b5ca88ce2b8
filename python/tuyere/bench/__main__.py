"""Command line: ``python -m tuyere.bench [--models M..] [--runners R..] [--rounds N] [--quick] [--json FILE]``."""

import argparse
import pathlib
import sys

from . import measure, models, report
from .runners import RUNNERS


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench transformers",
        description="Whole models, float32, all cores: tuyere against PyTorch eager, inductor, OpenVINO and ONNX Runtime.",
    )
    parser.add_argument("--models", nargs="+", metavar="NAME", help="names or parts of names; all: " + ", ".join(models.ENTRIES))
    parser.add_argument("--runners", nargs="+", choices=RUNNERS, default=list(RUNNERS), metavar="NAME", help=", ".join(RUNNERS))
    parser.add_argument("--rounds", type=int, default=15, help="turns each runner gets (15)")
    parser.add_argument("--quick", action="store_true", help="5 rounds")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="save everything measured, after each model")
    parser.add_argument("--markdown", action="store_true", help="print the tables as markdown")
    options = parser.parse_args()
    try:
        entries = models.select(options.models)
    except ValueError as error:
        parser.error(str(error))

    print(report.head(measure.environment()), flush=True)
    document = measure.suite(
        entries,
        options.runners,
        5 if options.quick else options.rounds,
        options.json,
        lambda name, result: print(report.line(name, result), flush=True),
    )
    print(f"\nLeast milliseconds a call (times as fast as eager: median of {document['rounds']} rounds' ratios)\n")
    print(report.table(document, options.markdown))
    print("\n" + report.details(document, options.markdown))
    if failed := report.failures(document):
        print("\nFailed, and in nobody's mean:\n" + failed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
