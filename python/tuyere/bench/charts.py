"""Charts of what was measured, by matplotlib: speed over eager as bars, one runner or all; means; a model's latency, compile time and memory.

A chart is saved as PNG and SVG with a light ground; ``inline`` gives the SVG that a page contains, whose text has the page's colours.
"""

import contextlib
import html
import io
import pathlib
import re
from collections.abc import Iterator

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

COLOURS = {
    "eager": "#8f98a3",
    "eager-channels-last": "#b5bcc4",
    "inductor": "#4f86c6",
    "inductor-freezing": "#86b3e0",
    "openvino": "#8a6fc0",
    "onnxruntime": "#4aa678",
    "tuyere": "#ec6f1f",
    "tuyere-direct": "#b9480c",
}
INK, FAINT, RED = "#20252b", "#d9dde2", "#d62728"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tuyere",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.bottom": False,
    "ytick.left": False,
    "legend.frameon": False,
}


def colour(runner: str) -> str:
    """A runner's colour; what is added to a name in brackets or as a precision does not change it."""
    return COLOURS.get(runner) or next((COLOURS[name] for name in sorted(COLOURS, key=len, reverse=True) if runner.startswith(name)), "#777777")


@contextlib.contextmanager
def _figure(width: float, height: float, columns: int = 1) -> Iterator[tuple[Figure, list]]:
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, columns, figsize=(width, height), layout="constrained", squeeze=False)
        try:
            yield figure, list(axes[0])
        finally:
            plt.close(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def _save(figure: Figure, path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".svg", ".png"):
        figure.savefig(path.with_suffix(suffix), dpi=150, facecolor="white", metadata={"Date": None} if suffix == ".svg" else None)


def inline(svg: str, label: str, prefix: str) -> str:
    """An SVG to stand in a page: no prologue, a name for those who cannot see it, identifiers of its own, the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'\b(id="|url\(#|href="#)', lambda match: match[0] + prefix + "-", svg)
    svg = svg.replace(INK, "currentColor").replace(FAINT, "var(--line)")
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"([^>]*?) (?:width|height)="[^"]*"', r"\1\2", svg, count=1)
    # Wide ones are scrolled on narrow screens; none becomes larger or smaller than its letters should be.
    style = f"min-width: {width:.0f}px; max-width: {1.3 * width:.0f}px"
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}" style="{style}"', 1)


def speed(ratios: dict[str, float | None], mean: float | None, runner: str, path: pathlib.Path) -> str:
    """A bar a model, eager = 1.0 as the red dotted line; None is a model without a speed. Returns the SVG."""
    names = sorted(ratios, key=lambda name: -(ratios[name] or 0.0))
    with _figure(max(7.0, 1.2 + 0.25 * len(names)), 3.9) as (figure, (axes,)):
        for index, name in enumerate(names):
            if ratios[name] is None:
                axes.text(index, 0.05, "×", ha="center", va="bottom", color=RED)
                continue
            bar = axes.bar(index, ratios[name], 0.72, color=colour(runner))
            axes.bar_label(bar, [f"{ratios[name]:.2f}"], padding=3, rotation=90, fontsize=7)
        if mean is not None:
            axes.bar_label(axes.bar(len(names) + 0.5, mean, 0.9, color=INK), [f"{mean:.2f}"], padding=3, rotation=90, fontsize=8, fontweight="bold")
        ticks = [*range(len(names)), len(names) + 0.5]
        axes.set_xticks(ticks, [*names, "geometric mean"], rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
        _over_eager(axes, len(names) + 1.2, [ratio for ratio in ratios.values() if ratio])
        _save(figure, path)
        return _svg(figure)


def _over_eager(axes, end: float, ratios: list[float]) -> None:
    axes.axhline(1.0, color=RED, linestyle=":", linewidth=1.4, zorder=3)
    axes.set_xlim(-0.8, end)
    axes.set_ylim(0, 1.2 * max([1.2, *ratios]))
    axes.set_ylabel("times as fast as eager")
    axes.grid(axis="x", visible=False)


def runners(ratios: dict[str, dict[str, float | None]], path: pathlib.Path) -> str:
    """All runners (name to ratios by model), a group of bars a model. Returns the SVG."""
    names = sorted(next(iter(ratios.values())), key=lambda name: -(ratios.get("tuyere", {}).get(name) or 0.0))
    width = 0.82 / len(ratios)
    with _figure(max(7.0, 1.2 + (0.1 + 0.062 * len(ratios)) * len(names)), 4.1) as (figure, (axes,)):
        for order, (runner, of) in enumerate(ratios.items()):
            places = [index - 0.41 + (order + 0.5) * width for index in range(len(names))]
            axes.bar(places, [of[name] or 0.0 for name in names], width, color=colour(runner), label=runner)
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
        _over_eager(axes, len(names) - 0.2, [ratio for of in ratios.values() for ratio in of.values() if ratio])
        axes.legend(ncols=len(ratios), loc="upper left", fontsize=8, handlelength=1, columnspacing=1.2)
        _save(figure, path)
        return _svg(figure)


def means(values: dict[str, tuple[float, int]], path: pathlib.Path) -> str:
    """Geometric means (value, number of models) by runner. Returns the SVG."""
    with _figure(4.9, 0.7 + 0.36 * len(values)) as (figure, (axes,)):
        for index, (runner, (mean, count)) in enumerate(values.items()):
            axes.bar_label(axes.barh(-index, mean, 0.7, color=colour(runner)), [f"{mean:.2f}x ({count} models)"], padding=5)
        axes.axvline(1.0, color=RED, linestyle=":", linewidth=1.4, zorder=3)
        axes.set_yticks([-index for index in range(len(values))], list(values))
        axes.set_xlim(0, 1.6 * max([1.0, *(mean for mean, _ in values.values())]))
        axes.set_xlabel("times as fast as eager, geometric mean")
        axes.grid(axis="y", visible=False)
        _save(figure, path)
        return _svg(figure)


def model(results: dict[str, dict]) -> str:
    """A model's runners (good results by name): latency of all calls, compile time, memory. Returns the SVG."""
    names = list(results)
    with _figure(9.0, 0.95 + 0.36 * len(names), 3) as (figure, (left, middle, right)):
        calls = [[1e3 * second for turn in results[name].get("rounds", [[results[name]["median_s"]]]) for second in turn] for name in names]
        boxes = left.boxplot(
            calls, positions=[-index for index in range(len(names))], orientation="horizontal", widths=0.6, patch_artist=True, showfliers=False,
            whis=(0, 100), medianprops={"color": INK}, whiskerprops={"color": INK, "linewidth": 0.8}, capprops={"color": INK, "linewidth": 0.8},
        )  # fmt: skip
        for box, name in zip(boxes["boxes"], names):
            box.set(facecolor=colour(name), edgecolor="none")
        left.set(xlabel="milliseconds a call", xlim=(0, None))
        for axes, key, scale, label in ((middle, "compile_s", 1.0, "seconds to the first result"), (right, "rss_peak_mb", 2**-10, "peak memory, GiB")):
            for index, name in enumerate(names):
                value = scale * (results[name].get(key) or 0.0)
                axes.bar_label(axes.barh(-index, value, 0.6, color=colour(name)), [f"{value:.2f}"], padding=4, fontsize=8)
            axes.set(xlabel=label)
            axes.margins(x=0.2)
        for axes in (left, middle, right):
            axes.set_yticks([-index for index in range(len(names))], names if axes is left else [""] * len(names))
            axes.grid(axis="y", visible=False)
        return _svg(figure)
