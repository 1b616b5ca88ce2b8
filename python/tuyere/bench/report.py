"""What was measured, as text: a table for the terminal or for markdown, and geometric means."""

import statistics

from .measure import good
from .runners import OURS, RUNNERS


def _cell(result: dict | None) -> str:
    if result is None:
        return ""
    if "error" in result:
        return "failed"
    text = f"{result['min_s'] * 1e3:.2f} ({result['ratio']:.2f}x)"
    return text if result["same"] else text + " WRONG"


def _columns(document: dict) -> list[str]:
    return [name for name in RUNNERS if any(name in results for results in document["models"].values())]


def table(document: dict, markdown: bool = False) -> str:
    """Least milliseconds a call and, in brackets, times as fast as eager; the last columns are against the fastest of all others."""
    columns = _columns(document)
    ours = [name for name in OURS if name in columns]
    rows = [["model", *columns, *(f"{name} / best peer" for name in ours)]]
    for model, results in document["models"].items():
        row = [model, *(_cell(results.get(name)) for name in columns)]
        for name in ours:
            result = results.get(name, {})
            row.append(f"{result['over_peer']:.2f}x {result['best_peer']}" if "over_peer" in result else "")
        rows.append(row)
    rows.append(["geometric mean", *(_mean(document, name, "ratio") for name in columns)])
    rows[-1] += [_mean(document, name, "over_peer") for name in ours]
    return _layout(rows, markdown)


def details(document: dict, markdown: bool = False) -> str:
    """Compile time, accuracy and memory of every runner on every model."""
    rows = [["model", "runner", "compile s", "in tuyere s", "warm s", "in tuyere s", "same", "error", "error (exact)", "peak MB", "now MB"]]  # fmt: skip

    def number(value, form):
        return "" if value is None else format(value, form)

    for model, results in document["models"].items():
        for name in _columns(document):
            result = results.get(name)
            if result is None or "error" in result:
                continue
            rows.append(
                [
                    model,
                    name,
                    number(result.get("compile_s"), ".2f"),
                    number(result.get("inside_s"), ".2f"),
                    number(result.get("warm_compile_s"), ".2f"),
                    number(result.get("warm_inside_s"), ".2f"),
                    "yes" if result["same"] else "NO",
                    number(result.get("error_eager"), ".1e"),
                    number(result.get("error_exact"), ".1e"),
                    number(result.get("rss_peak_mb"), ".0f"),
                    number(result.get("rss_mb"), ".0f"),
                ]
            )
    return _layout(rows, markdown)


def line(model: str, results: dict) -> str:
    """One model's result on a line."""
    return f"{model}: " + ", ".join(f"{name} {_cell(result)}" for name, result in results.items())


def brief(error: str) -> str:
    """A message on one line: the first and the last of it, without the traceback."""
    lines = [line.strip() for line in error.split("\nTraceback (most recent call last)")[0].splitlines() if line.strip()]
    return " .. ".join(dict.fromkeys((lines[0], lines[-1]))) if lines else ""


def failures(document: dict) -> str:
    """The messages of the runners that failed, one a line; empty when none did."""
    return "\n".join(
        f"{model}: {name}: {brief(result['error'])}"
        for model, results in document["models"].items()
        for name, result in results.items()
        if "error" in result
    )


def rounds(document: dict) -> str:
    """How many rounds its models were measured in: a number, or two where they differ."""
    counts = {len(result["rounds"]) for results in document["models"].values() for result in results.values() if "rounds" in result}
    counts = counts or {document["rounds"]}
    return f"{min(counts)} to {max(counts)}" if len(counts) > 1 else str(*counts)


def head(environment: dict) -> str:
    """The machine, the versions and the variables that matter."""
    variables = " ".join(f"{name}={value}" for name, value in environment["variables"].items()) or "none"
    found = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return (
        f"{environment['cpu']}, {environment['cores']} cores, {environment['machine']} ({' '.join(environment['isa'])})\n"
        f"{found}\nvariables: {variables}"
    )


def _mean(document: dict, name: str, key: str) -> str:
    values = [results[name][key] for results in document["models"].values() if good(results.get(name)) and key in results[name]]
    return f"{statistics.geometric_mean(values):.2f}x ({len(values)})" if values else ""


def _layout(rows: list[list[str]], markdown: bool) -> str:
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
