"""Pages, charts and metrics of a document: numbers are where they belong, what failed is shown, nothing is loaded from elsewhere."""

import copy
import html.parser
import json
import xml.etree.ElementTree

import pytest

from conftest import result
from tuyere.bench import measure, pages, report


class Reader(html.parser.HTMLParser):
    """The text of a page, its links, and whether each tag is closed."""

    VOID = {"meta", "br", "link", "img"}

    def __init__(self, text: str):
        super().__init__()
        self.open, self.links, self.rows, self.words, self.ids = [], [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs[name] for name in ("href", "src", "xlink:href") if name in attrs]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)
            if "tr" in self.open:
                self.rows[-1][-1:] = [(self.rows[-1] or [""])[-1] + data.strip()]


@pytest.fixture
def output(document, tmp_path):
    pages.write([document], tmp_path)
    return tmp_path


def test_index(output):
    page = Reader((output / "index.html").read_text())
    rows = [row[:5] for row in page.rows if row and len(row) > 6]
    assert ["net", "8", "40.00", "2.00x", "4.00x"] in rows and ["net", "1", "4.00", "failed", "2.00x"] in rows
    assert rows.count(["other", "1", "300.00", "1.50x", "wrong"]) == 2  # wrong: no speed
    means = [row for row in page.rows if row[0] == "geometric mean"]
    assert [row[4] for row in means] == ["4.00x", "2.00x"]  # one entry each: the wrong one counts nowhere
    assert "ValueError: <no> such operator" in "".join(page.words)
    assert len(page.ids) == len(set(page.ids))


def test_nothing_is_loaded(output):
    for path in output.rglob("*.html"):
        page = Reader(path.read_text())
        for link in page.links:
            assert "//" not in link, link
            target, _, anchor = link.partition("#")
            file = (path.parent / target).resolve() if target else path
            assert file.exists(), link
            assert not anchor or f'id="{anchor}"' in file.read_text(), link


def test_model_page(output):
    page = Reader((output / "models" / "torchbench-net.html").read_text())
    kernel = next(row for row in page.rows if row[0] == "linear+<gelu>")
    assert kernel[2:] == ["3", "8.000", "88.9%", "500.0", "100%", "12.5", "25%"]
    words = "".join(page.words)
    assert "90.00% of the time" in " ".join(words.split()) and "graph break: Tensor.item()" in words and "line & more" in words
    assert any(row[:2] == ["aten.sort.default", "2"] for row in page.rows)


def test_charts(output):
    names = {path.name for path in (output / "charts").iterdir()}
    assert names >= {f"torchbench-{setting}{kind}.{end}" for setting in ("CPU-batch", "batch-1") for kind in ("", "-means", "-all") for end in ("svg", "png")}
    for path in (output / "charts").glob("*.svg"):
        xml.etree.ElementTree.parse(path)
    text = (output / "charts" / "torchbench-CPU-batch.svg").read_text()
    assert "4.00" in text and "geometric mean" in text and "×" in text  # the wrong model has a mark and no bar


def test_metrics(output):
    """As TorchBench's cpu runs write them: milliseconds and GB."""
    metrics = json.loads((output / "metrics" / "torchbench-tuyere.json").read_text())
    assert metrics["name"] == "cpu" and metrics["environ"]["pytorch_git_version"] == "abc"
    assert metrics["metrics"] == {"net-eval_latency": 10.0, "net-eval_cmem": 0.5, "net-b1-eval_latency": 2.0, "net-b1-eval_cmem": 0.5}


def test_document_is_saved_whole(document, tmp_path):
    path = tmp_path / "results.json"
    measure.save(document, path)
    assert json.loads(path.read_text()) == document and list(tmp_path.iterdir()) == [path]


def test_documents_name_no_folders(document, tmp_path):
    path, where = tmp_path / "results.json", "/opt/some-env/lib/python3.11/site-packages"
    document["models"]["net"]["failed"] = {"error": f'File "{where}/torch/x.py"\nFile "/srv/pkg/tuyere/bench/runners.py" of a/b'}
    measure.save(document, path)
    assert json.loads(path.read_text())["models"]["net"]["failed"]["error"] == 'File "torch/x.py"\nFile "tuyere/bench/runners.py" of a/b'


def test_terminal(document):
    table = report.table(document)
    assert "10.00 (4.00x)" in table and "WRONG" in table and "failed" in table
    assert "net-b1: openvino: ValueError" in report.failures(document)


def test_earlier_documents(document, tmp_path):
    """Those of suites without settings, and written before there were any."""
    del document["entries"], document["limits"]
    document["suite"] = "transformers"
    pages.write([document], tmp_path)
    assert {path.name for path in (tmp_path / "models").iterdir()} == {f"transformers-{name}.html" for name in ("net", "net-b1", "other")}


def test_precisions_side_by_side(document, tmp_path):
    """The same suite in float32 and in bf16, in one report."""
    half = copy.deepcopy(document)
    half["environment"]["variables"]["TUYERE_BENCH_PRECISION"] = "bf16"
    half["models"]["net"]["tuyere"] |= result(0.005, 0.04)
    pages.write([document, half], tmp_path)
    page = Reader((tmp_path / "index.html").read_text())
    assert {"TorchBench", "TorchBench in bf16"} <= set(page.words) and len(page.ids) == len(set(page.ids))
    metrics = [json.loads((tmp_path / "metrics" / f"torchbench{of}-tuyere.json").read_text())["metrics"] for of in ("", "-bf16")]
    assert [of["net-eval_latency"] for of in metrics] == [10.0, 5.0]
    assert (tmp_path / "models" / "torchbench-bf16-net.html").exists() and (tmp_path / "charts" / "torchbench-bf16-batch-1.svg").exists()


def test_messages_are_brief():
    error = "ValueError: no such operator\n\n- aten.foo\nTraceback (most recent call last):\n  line"
    assert report.brief(error) == "ValueError: no such operator .. - aten.foo"
    assert report.brief("one line") == "one line" and report.brief("") == ""
