"""Static pages of what was measured: ``python -m tuyere.bench.pages FILE.json.. --output DIR``.

``index.html`` has the charts and tables of each suite, ``models/`` a page a model, ``charts/`` the charts as PNG and SVG, ``metrics/`` one
file a runner in the form that TorchBench's own runs write. Pages contain all they need and load nothing.
"""

import argparse
import json
import pathlib
import re
import statistics
import sys

import jinja2

from . import charts
from .measure import good
from .report import brief, rounds
from .runners import OURS, PRECISION, RUNNERS

TITLES = {
    "torchbench": "TorchBench",
    "huggingface": "Hugging Face",
    "transformers": "Transformers",
    "vision": "Images and sound",
}


def slug(text: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")


def geometric(values: list[float]) -> float | None:
    """The geometric mean, None of nothing."""
    return statistics.geometric_mean(values) if values else None


class Setting:
    """Entries of a suite that one mean is taken over, such as all at batch 1."""

    def __init__(self, suite: "Suite", name: str, entries: list[str]):
        self.name, self.entries = name, entries
        self.ratios = {
            runner: {entry: suite.ratio(entry, runner) for entry in entries}
            for runner in suite.runners
            if any(runner in suite.models[entry] for entry in entries)
        }
        right = {runner: [ratio for ratio in ratios.values() if ratio] for runner, ratios in self.ratios.items()}
        self.means = {runner: (geometric(ratios), len(ratios)) for runner, ratios in right.items() if ratios}
        shared = [entry for entry in entries if all(ratios[entry] for ratios in self.ratios.values())]
        self.shared = len(shared)
        self.shared_means = {runner: geometric([ratios[entry] for entry in shared]) for runner, ratios in self.ratios.items() if shared}
        ours = [suite.models[entry]["tuyere"] for entry in entries if good(suite.models[entry].get("tuyere"))]
        self.right, self.count = len(ours), sum("tuyere" in suite.models[entry] for entry in entries)
        self.over_peer = geometric([result["over_peer"] for result in ours if "over_peer" in result])
        self.slow = [entry for entry in entries if (suite.ratio(entry, "tuyere") or 1.0) < 0.98]
        self.behind = [entry for entry in entries if suite.models[entry].get("tuyere", {}).get("over_peer", 1.0) < 1 / 1.05]
        shares = sorted(result["time_share"] for result in ours if "time_share" in result)
        self.median_share, self.worst_share = (statistics.median(shares), shares[0]) if shares else (None, None)


class Suite:
    """A document of ``measure.suite``, as pages need it."""

    def __init__(self, document: dict):
        self.document, self.models = document, document["models"]
        self.suite = self.name = document["suite"]
        self.title = TITLES.get(self.name, self.name)
        self.environment, self.limits = document["environment"], document.get("limits")
        if precision := self.environment["variables"].get(PRECISION):
            self.name, self.title = f"{self.name}-{precision}", f"{self.title} in {precision}"
        self.rounds = rounds(document)
        self.facts = {entry: document.get("entries", {}).get(entry, {}) for entry in self.models}
        self.runners = [runner for runner in RUNNERS if any(runner in results for results in self.models.values())]
        names = dict.fromkeys(setting for facts in self.facts.values() for setting in facts.get("settings", ["all models"]))
        self.settings = [
            Setting(self, name, [entry for entry, facts in self.facts.items() if name in facts.get("settings", ["all models"])]) for name in names
        ]
        self.pages: dict[str, list[str]] = {}  # model to its entries
        for entry, facts in self.facts.items():
            self.pages.setdefault(facts.get("model", entry), []).append(entry)

    def ratio(self, entry: str, runner: str) -> float | None:
        """Times as fast as eager; None where the runner did not run, or not right."""
        result = self.models[entry].get(runner)
        return result["ratio"] if good(result) else None

    def page(self, entry: str) -> str:
        """The file of an entry's model, from the index."""
        return f"models/{self.name}-{slug(self.facts[entry].get('model', entry))}.html"

    @property
    def failures(self) -> list[tuple[str, str, str]]:
        """Entry, runner and message of what did not run, or not right."""
        found = []
        for entry, results in self.models.items():
            for runner, result in results.items():
                if "error" in result:
                    found.append((entry, runner, brief(result["error"])))
                elif not result["same"]:
                    found.append((entry, runner, f"wrong: the error is {result['error_eager']} of eager's outputs, by norm"))
        return found

    @property
    def fallbacks(self) -> list[tuple[str, str, int, list[str]]]:
        """Operators that PyTorch ran in the middle of our graphs: name, reason, times, entries; those in most models first."""
        found: dict[tuple, dict[str, int]] = {}
        for entry, results in self.models.items():
            for operator, reason, count in results.get("tuyere", {}).get("fallbacks", []):
                found.setdefault((operator, reason), {})[entry] = count
        return sorted(((*key, sum(of.values()), list(of)) for key, of in found.items()), key=lambda row: -len(row[3]))

    def metrics(self, runner: str) -> dict:
        """A runner's results as TorchBench's cpu runs write them: latency in ms, memory in GB."""
        metrics = {}
        for entry, results in self.models.items():
            if good(results.get(runner)):
                metrics[f"{entry}-eval_latency"] = 1e3 * results[runner]["median_s"]
                metrics[f"{entry}-eval_cmem"] = results[runner]["rss_peak_mb"] / 1024
        environ = {name: self.environment[name] for name in ("pytorch_git_version",) if name in self.environment}
        return {"name": "cpu", "environ": environ | {"pytorch_version": self.environment["versions"].get("torch")}, "metrics": metrics}


def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.ChainableUndefined,
    )

    def number(value, form: str = ".2f", unit: str = "") -> str:
        return "" if value is None else format(value, form) + unit

    def quantile(values, q: int) -> float:
        return statistics.quantiles([*values, *values[-1:]], n=100)[q - 1]

    templates.filters |= {"brief": brief, "number": number, "slug": slug, "quantile": quantile}
    templates.globals |= {"colour": charts.colour, "good": good, "ours": OURS}
    return templates


def write(documents: list[dict], output: pathlib.Path) -> None:
    """Writes the pages, charts and metrics of documents into a folder."""
    templates = _templates()
    suites = [Suite(document) for document in documents]
    drawings = {}
    for suite in suites:
        for setting in suite.settings:
            stem = output / "charts" / f"{suite.name}-{slug(setting.name)}"
            title = f"{suite.title}, {setting.name}"

            def draw(kind: str, label: str, svg: str, title=title, key=(suite.name, setting.name)):
                drawings[(*key, kind)] = charts.inline(svg, f"{title}: {label}", slug("-".join((*key, kind))))

            named = {entry: suite.facts[entry].get("model", entry) for entry in setting.entries}
            ratios = {runner: {named[entry]: ratio for entry, ratio in of.items()} for runner, of in setting.ratios.items()}
            if "tuyere" in ratios:
                mean = setting.means.get("tuyere", (None, 0))[0]
                draw("tuyere", "tuyere over eager by model", charts.speed(ratios["tuyere"], mean, "tuyere", stem))
            draw("means", "geometric means of all runners", charts.means(setting.means, stem.with_name(stem.name + "-means")))
            others = {runner: of for runner, of in ratios.items() if runner != "eager"}
            if others:
                draw("all", "all runners by model", charts.runners(others, stem.with_name(stem.name + "-all")))
        for model, entries in suite.pages.items():
            for entry in entries:
                right = {runner: result for runner, result in suite.models[entry].items() if good(result)}
                ordered = {runner: right[runner] for runner in suite.runners if runner in right}
                if ordered:
                    drawings[suite.name, entry] = charts.inline(charts.model(ordered), f"{entry}: latency, compile time and memory", slug(entry))
            path = output / suite.page(entries[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(templates.get_template("model.html").render(suite=suite, model=model, entries=entries, drawings=drawings, up="../"))
        (output / "metrics").mkdir(parents=True, exist_ok=True)
        for runner in suite.runners:
            (output / "metrics" / f"{suite.name}-{runner}.json").write_text(json.dumps(suite.metrics(runner), indent=1) + "\n")
    (output / "index.html").write_text(templates.get_template("index.html").render(suites=suites, drawings=drawings, up=""))


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench report", description="Pages and charts of what the suites measured (their --json files).")
    parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("report"), metavar="DIR", help="where they go (report)")
    options = parser.parse_args()
    write([json.loads(file.read_text()) for file in options.files], options.output)
    print(f"written: {options.output / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
