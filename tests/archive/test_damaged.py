"""Archives that are damaged, hostile, or of a kind that is not read: each is refused with a message that says where and why."""

import json
import struct
import zipfile
import zlib

import pytest
import torch
from torch import nn

from archives import save, tool


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(4, 3)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.count.add_(1)
        return (torch.relu(self.lin(x)) + self.count).view(-1)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The bytes of a good archive, and its members in order."""
    path, _ = save(tmp_path_factory.mktemp("good"), Small(), (torch.randn(2, 4),))
    with zipfile.ZipFile(path) as z:
        return path.read_bytes(), {info.filename: z.read(info) for info in z.infolist()}


def entry(name, data, offset, method=0, size=None, crc=None, packed=None):
    """A local header with 64-byte aligned data, and the central entry for it."""
    packed = data if packed is None else packed
    size = len(data) if size is None else size
    crc = zlib.crc32(data) if crc is None else crc
    raw = name.encode()
    pad = -(offset + 30 + len(raw) + 4) % 64
    extra = b"FB" + struct.pack("<H", pad) + b"Z" * pad
    fixed = struct.pack("<HHHHHIIIHH", 20, 0x800, method, 0, 0x21, crc, len(packed), size, len(raw), len(extra))
    local = b"PK\x03\x04" + fixed + raw + extra + packed
    central = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0x800, method, 0, 0x21, crc, len(packed), size, len(raw), 0, 0, 0, 0, 0, offset) + raw
    return local, central


def container(members, edit=None):
    """A ZIP file of members: name to data, or to keywords of entry."""
    body, directory, n = b"", b"", 0
    for name, data in members.items():
        local, central = entry(name, offset=len(body), **(data if isinstance(data, dict) else {"data": data}))
        if edit:
            central = edit(name, central, body)
        body, directory, n = body + local, directory + central, n + 1
    return body + directory + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, n, n, len(directory), len(body), 0)


def refused(tmp_path, data, *texts):
    path = tmp_path / "bad.pt2"
    path.write_bytes(data)
    code, out = tool("look", path)
    assert code == 3, out
    for text in texts:
        assert text in out.splitlines()[0], out
    return out


def edited(good, change, name="model/models/model.json"):
    """The archive with one JSON member changed."""
    members = dict(good[1])
    program = json.loads(members[name])
    members[name] = json.dumps(change(program) or program).encode()
    return container(members)


def graph_of(program):
    return program["graph_module"]["graph"]


def node_of(program, target):
    return next(node for node in graph_of(program)["nodes"] if target in node["target"])


def test_rewritten_archive_is_read(good, tmp_path):
    path = tmp_path / "again.pt2"
    path.write_bytes(container(good[1]))
    assert tool("look", path)[0] == 0
    # unknown keys are ignored, and JSON may be compressed
    members = dict(good[1])
    program = json.loads(members["model/models/model.json"])
    program["new"] = {"deep": [1, 2]}
    graph_of(program)["nodes"][0]["also_new"] = "x"
    data = json.dumps(program).encode()
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = squeezed.compress(data) + squeezed.flush()
    members["model/models/model.json"] = {"data": data, "packed": packed, "method": 8}
    path.write_bytes(container(members))
    code, text = tool("look", path)
    assert code == 0, text


# ---- The container ----


@pytest.mark.parametrize("size", [0, 1, 100, 4096, -1, -22, -200])
def test_truncated(good, tmp_path, size):
    data = good[0][:size]
    refused(tmp_path, data, "bad.pt2: " if data else "the file is empty")


def test_no_archive(good, tmp_path):
    refused(tmp_path, b"x" * 5000, "invalid: bad.pt2: not a readable archive: Not a zip archive")
    code, text = tool("look", tmp_path / "missing.pt2")
    assert code == 3 and "No such file" in text
    code, text = tool("look", tmp_path)
    assert code == 3 and "not a file" in text


def test_wrong_crc(good, tmp_path):
    members = dict(good[1])
    members["model/models/model.json"] = {"data": members["model/models/model.json"], "crc": 1}
    refused(tmp_path, container(members), "invalid: bad.pt2: models/model.json: damaged: CRC error")


def test_overlapping_members(good, tmp_path):
    def edit(name, central, body):
        if name.endswith("weight_1"):  # where weight_0 is
            return central[:42] + struct.pack("<I", 0) + central[46:]
        return central

    weights = {name: data for name, data in good[1].items() if "/weight_" in name}
    same = {**weights, **{name: data for name, data in good[1].items() if name not in weights}}
    refused(tmp_path, container(same, edit), "invalid: bad.pt2: ")  # libzip sees another name there already

    def inside(name, central, body):  # a member inside another's bytes, with a local header of its own
        return central[:42] + struct.pack("<I", start) + central[46:] if name.endswith("inner") else central

    inner, _ = entry("model/extra/inner", b"1234", 0)
    start = 128  # entry pads the outer's data to here
    outer = {"model/outer_" + "y" * 40: b"\0" * 0 + inner + b"\0" * 10}
    local, _ = entry(next(iter(outer)), next(iter(outer.values())), 0)
    start = len(local) - len(next(iter(outer.values())))
    data = container({**outer, "model/extra/inner": b"1234", **good[1]}, inside)
    refused(tmp_path, data, 'invalid: bad.pt2: members "outer_', 'and "extra/inner" overlap')


def test_member_past_the_end(good, tmp_path):
    def edit(name, central, body):
        return central[:20] + struct.pack("<II", 1 << 30, 1 << 30) + central[28:] if name.endswith("weight_0") else central

    refused(tmp_path, container(good[1], edit), "invalid: bad.pt2: ")


def test_zip64_sizes(good, tmp_path):
    """Sizes and offsets of 64 bits in the central directory."""

    def edit(name, central, body):
        if not name.endswith("weight_0"):
            return central
        extra = struct.pack("<HHQQQ", 1, 24, size, size, offset)
        header = central[:20] + b"\xff" * 8 + central[28:30] + struct.pack("<H", len(extra)) + central[32:42] + b"\xff" * 4
        return header + central[46:] + extra

    places = ((1 << 62, 0), (16, 1 << 63), ((1 << 64) - 8, (1 << 64) - 64))
    for place in places:
        size, offset = place
        refused(tmp_path, container(good[1], edit), "invalid: bad.pt2: ")


def test_zip_bomb(good, tmp_path):
    bomb = b"[" + b" " * (200 << 20) + b"]"
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = squeezed.compress(bomb) + squeezed.flush()
    members = {**good[1], "model/models/model.json": {"data": b"", "size": len(bomb), "packed": packed, "method": 8, "crc": zlib.crc32(bomb)}}
    refused(tmp_path, container(members), "invalid: bad.pt2: model/models/model.json: 209715202 bytes out of", "more than 100 to 1 is refused")


def test_json_bomb(good, tmp_path):
    members = {**good[1], "model/models/model.json": b"[" + b"[]," * (5 << 20) + b"[]]"}
    refused(tmp_path, container(members), "invalid: bad.pt2: models/model.json: JSON of", "is too large")
    members["model/models/model.json"] = b"[" * 100000
    refused(tmp_path, container(members), "invalid: bad.pt2: models/model.json: not the JSON of an archive, at byte", "nesting too deep")


@pytest.mark.parametrize(
    "name, text",
    [
        ("model/../../etc/passwd", "it leaves the archive with .."),
        ("/etc/passwd", "it is no relative path"),
        ("model\\x", "it is no relative path"),
        ("other/file", "is not in the archive's root folder"),
        ("file", "is not in a root folder"),
        ("model/" + "n" * 2000, "it is empty or too long"),
    ],
)
def test_names(good, tmp_path, name, text):
    refused(tmp_path, container({**good[1], name: b"x"}), "invalid: bad.pt2: member ", text)


def test_two_members_of_one_name(good, tmp_path):
    def edit(name, central, body):
        return central.replace(b"model/extra/b", b"model/extra/a")

    data = container({**good[1], "model/extra/a": b"x", "model/extra/b": b"y"}, edit).replace(b"model/extra/b", b"model/extra/a")
    refused(tmp_path, data, "invalid: bad.pt2: ")


def test_compression_that_is_not_read(good, tmp_path):
    members = {**good[1], "model/extra/x": {"data": b"abc", "method": 12}}
    refused(tmp_path, container(members), "unsupported: bad.pt2: model/extra/x: compression method 12; only stored and deflated members are read")


# ---- The kind of archive ----


@pytest.mark.parametrize(
    "member, data, text",
    [
        ("archive_format", b"zip", 'unsupported: bad.pt2: archive_format: "pt2" is expected, it says "zip"'),
        ("archive_version", b"7", 'unsupported: bad.pt2: archive_version: "0" is expected, it says "7"'),
        ("byteorder", b"big", 'unsupported: bad.pt2: byteorder: "little" is expected, it says "big"'),
        ("archive_format", None, "invalid: bad.pt2: archive_format: this member is missing"),
        ("models/model.json", None, "unsupported: bad.pt2: there is no program in it"),
        ("models/model.json", b"{", "invalid: bad.pt2: models/model.json: not the JSON of an archive, at byte 1: it ends too early"),
        ("models/model.json", b'{"a" 1}', "invalid: bad.pt2: models/model.json: not the JSON of an archive, at byte 5"),
        ("models/model.json", b"{}", 'invalid: bad.pt2: models/model.json: "schema_version" must be an object, got nothing'),
        ("data/weights/model_weights_config.json", None, "invalid: bad.pt2: data/weights/model_weights_config.json: this member is missing"),
        ("data/weights/model.pt", b"\x80\x02", "unsupported: bad.pt2: data/weights/model.pt: weights are pickled, and pickles are never read"),
    ],
)
def test_kind(good, tmp_path, member, data, text):
    members = {**good[1], f"model/{member}": data}
    if data is None:
        del members[f"model/{member}"]
    refused(tmp_path, container(members), text)


def test_schema_version(good, tmp_path):
    def change(program):
        program["schema_version"] = {"major": 9, "minor": 1}

    refused(tmp_path, edited(good, change), "unsupported: bad.pt2: models/model.json: schema 9.1; 8.x is read")


# ---- Weights ----

WEIGHTS = "model/data/weights/model_weights_config.json"


def weight_changes(**fields):
    def change(config):
        entry = config["config"]["lin.weight"]
        for key, value in fields.items():
            (entry if key in entry else entry["tensor_meta"])[key] = value

    return change


def ints(*values):
    return [{"as_int": value} for value in values]


@pytest.mark.parametrize(
    "fields, text",
    [
        ({"sizes": ints(3, 400)}, 'its last element ends at byte 1632 of member "data/weights/weight_'),
        ({"storage_offset": {"as_int": 1}}, "its last element ends at byte 52 of member"),
        ({"strides": ints(4, 2)}, "its last element ends at byte 60 of member"),
        ({"storage_offset": {"as_int": -1}}, '"storage_offset" is -1, and negative'),
        ({"strides": ints(-4, 1)}, '"strides" is -4, and negative'),
        ({"sizes": ints(1 << 62, 1 << 62)}, "past 64 bits"),
        ({"sizes": ints(1 << 31, 1 << 31), "strides": ints(0, 0)}, "past 64 bits"),
        ({"storage_offset": {"as_int": (1 << 63) - 1}}, "past 64 bits"),
        ({"sizes": ints(3)}, "1 sizes and 2 strides"),
        ({"sizes": 3}, '"sizes" must be a list, got int'),
        ({"sizes": [3, 4]}, '"sizes" must be an int, got nothing'),
        ({"sizes": [{"as_int": 3}, {"as_int": 1e30}]}, '"sizes" must be an int, got double'),
        ({"dtype": 99}, "dtype 99 is none of the schema's"),
        ({"dtype": "float"}, '"dtype" must be an int, got string'),
        ({"path_name": "weight_77"}, 'member "data/weights/weight_77" is missing'),
        ({"path_name": "../../x"}, 'member "data/weights/../../x" is missing'),
        ({"use_pickle": 1}, '"use_pickle" must be true or false, got int'),
    ],
)
def test_weights(good, tmp_path, fields, text):
    refused(tmp_path, edited(good, weight_changes(**fields), WEIGHTS), 'invalid: bad.pt2: data/weights/model_weights_config.json: "lin.weight": ', text)


@pytest.mark.parametrize(
    "fields, text",
    [
        ({"use_pickle": True}, "it is pickled, and pickles are never read"),
        ({"tensor_meta": None}, "it is no tensor"),
        ({"dtype": 10}, "its dtype is complex64"),
        ({"layout": 1}, "its layout is not strided"),
    ],
)
def test_weights_that_are_not_read(good, tmp_path, fields, text):
    out = refused(tmp_path, edited(good, weight_changes(**fields), WEIGHTS), "unsupported: bad.pt2: models/model.json: 1 nodes cannot be compiled:")
    assert f"aten.linear.default: lin.weight cannot be used: {text}" in out


def test_weights_of_another_shape(good, tmp_path):
    data = edited(good, weight_changes(sizes=ints(4, 3), strides=ints(3, 1)), WEIGHTS)
    refused(tmp_path, data, 'invalid: bad.pt2: models/model.json: input 0 (lin.weight): "lin.weight" has another dtype or shape in the table of weights')


def test_compressed_weights(good, tmp_path):
    name = next(name for name in good[1] if name.endswith("weight_0"))
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = squeezed.compress(good[1][name]) + squeezed.flush()
    members = {**good[1], name: {"data": good[1][name], "packed": packed, "method": 8}}
    out = refused(tmp_path, container(members), "unsupported: bad.pt2: models/model.json: ")
    assert "its member is compressed, so that it cannot be mapped" in out


def test_unaligned_weights(good, tmp_path):
    path = tmp_path / "zipped.pt2"
    with zipfile.ZipFile(path, "w") as z:
        for name, data in good[1].items():
            z.writestr(name, data)
    code, text = tool("look", path)
    assert code == 0 or "the archive was not written by torch.export" in text, text


# ---- The program ----


def broken_reference(program):
    node_of(program, "linear")["inputs"][1]["arg"] = {"as_tensor": {"name": "p_x"}}


def forward_reference(program):
    node_of(program, "linear")["inputs"][0]["arg"] = {"as_tensor": {"name": "relu"}}


def own_reference(program):
    node_of(program, "relu")["inputs"][0]["arg"] = {"as_tensor": {"name": "relu"}}


def defined_twice(program):
    node_of(program, "relu")["outputs"] = [{"as_tensor": {"name": "linear"}}]


def two_keys(program):
    node_of(program, "relu")["inputs"][0]["arg"] = {"as_tensor": {"name": "linear"}, "as_int": 3}


def no_meta(program):
    del graph_of(program)["tensor_values"]["relu"]


def unknown_argument(program):
    node_of(program, "relu")["inputs"][0]["name"] = "nobody"


def too_many(program):
    node_of(program, "relu")["inputs"] *= 70


def wrong_kind(program):
    node_of(program, "view")["inputs"][1]["arg"] = {"as_string": "x"}


def bad_dtype(program):
    graph_of(program)["tensor_values"]["relu"]["dtype"] = 77


def negative_size(program):
    graph_of(program)["tensor_values"]["relu"]["sizes"][0] = {"as_int": -2}


def bad_expression(program):
    graph_of(program)["tensor_values"]["relu"]["sizes"][0] = {"as_expr": {"expr_str": "Add(Symbol('s0'), ", "hint": None}}


def deep_expression(program):
    graph_of(program)["tensor_values"]["relu"]["sizes"][0] = {"as_expr": {"expr_str": "Add(" * 1000 + "Integer(1)" + ")" * 1000, "hint": None}}


def bad_symbol(program):
    graph_of(program)["tensor_values"]["relu"]["sizes"][0] = {"as_expr": {"expr_str": "Symbol('a b')", "hint": None}}


def fewer_specs(program):
    program["graph_module"]["signature"]["input_specs"].pop()


def missing_parameter(program):
    program["graph_module"]["signature"]["input_specs"][0]["parameter"]["parameter_name"] = "nothing"


def no_output(program):
    program["graph_module"]["signature"]["output_specs"][-1]["user_output"]["arg"] = {"as_tensor": {"name": "nothing"}}


def other_leaves(program):
    signature = program["graph_module"]["module_call_graph"][0]["signature"]
    signature["in_spec"] = signature["in_spec"].replace('[{"type": null', '[{"type": null, "context": null, "children_spec": []}, {"type": null', 1)


def deep_leaves(program):
    leaf = '{"type": "builtins.list", "context": "null", "children_spec": [' * 70 + '{"type": null, "context": null, "children_spec": []}' + "]}" * 70
    program["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = f"[1, {leaf}]".replace("[[", "[")


def empty_range(program):
    program["range_constraints"]["s0"] = {"min_val": 5, "max_val": 2}


def nodes_of_graphs(program):
    inner = {"inputs": [], "outputs": [], "nodes": []}
    for _ in range(12):
        node = {"target": "torch.ops.higher_order.cond", "inputs": [{"name": "", "arg": {"as_graph": {"name": "g", "graph": inner}}, "kind": 1}], "outputs": []}
        inner = {"inputs": [], "outputs": [], "nodes": [node]}
    graph_of(program)["nodes"] += inner["nodes"]


@pytest.mark.parametrize(
    "change, text",
    [
        (broken_reference, 'node 1 (aten.linear.default): input "weight" names "p_x", which no earlier node or input defines'),
        (forward_reference, 'node 1 (aten.linear.default): input "input" names "relu", which no earlier node or input defines'),
        (own_reference, 'node 2 (aten.relu.default): input "self" names "relu", which no earlier node or input defines'),
        (defined_twice, 'node 2 (aten.relu.default): "linear" is defined twice'),
        (two_keys, 'node 2 (aten.relu.default): "arg" must have exactly one key, it has 2'),
        (no_meta, 'node 2 (aten.relu.default): tensor_values has nothing of "relu"'),
        (unknown_argument, "node 2 (aten.relu.default): aten.relu.default: unknown argument nobody"),
        (too_many, "node 2 (aten.relu.default): more than 64 arguments"),
        (wrong_kind, "(aten.view.default): aten.view.default: argument size must be a list of ints, got a string"),
        (bad_dtype, 'node 2 (aten.relu.default): "relu" has dtype 77, none of the schema\'s'),
        (negative_size, 'node 2 (aten.relu.default): "relu" has size -2'),
        (bad_expression, "node 2 (aten.relu.default): size expression \"Add(Symbol('s0'), \", character 19: a name is expected"),
        (deep_expression, "the expression is too large"),
        (bad_symbol, '"a b" is no name of a symbol'),
        (fewer_specs, "3 input_specs for a graph of 4 inputs"),
        (missing_parameter, 'input 0: the archive has no tensor "nothing"'),
        (no_output, '"nothing" is no tensor that a node or input defines'),
        (other_leaves, "in_spec: 2 leaves where input_specs has 1 user inputs"),
        (deep_leaves, "out_spec: "),
        (empty_range, "range_constraints: s0 is between 5 and 2"),
        (nodes_of_graphs, "graphs inside graphs more than 8 deep"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_program(good, tmp_path, change, text):
    refused(tmp_path, edited(good, change), "invalid: bad.pt2: models/model.json: ", text)


def test_unknown_operators_and_lies_are_declined(good, tmp_path):
    def change(program):
        node_of(program, "relu")["target"] = "torch.ops.aten.made_up.default"
        graph_of(program)["tensor_values"]["linear"]["sizes"][0] = {"as_int": 7}

    out = refused(tmp_path, edited(good, change), "unsupported: bad.pt2: models/model.json: ")
    assert "aten.made_up.default: operator aten.made_up.default is not known (1 node, first relu" in out
    assert "aten.linear.default: linear: shape [2, 3] inferred, the archive says [7, 3]" in out


def test_size_of_nothing_that_is_handed_in(good, tmp_path):
    def change(program):
        program["graph_module"]["graph"]["sym_int_values"]["u0"] = {"as_expr": {"expr_str": "Symbol('u0', integer=True)", "hint": None}}
        program["graph_module"]["graph"]["nodes"].append(
            {"target": "_operator.add", "inputs": [], "outputs": [{"as_sym_int": {"as_name": "u0"}}], "metadata": {}}
        )

    refused(tmp_path, edited(good, change), "unsupported: bad.pt2: models/model.json: ", "the size u0 follows from no input's size")


def test_every_allocation_may_fail(good, tmp_path):
    path = tmp_path / "good.pt2"
    path.write_bytes(good[0])
    code, text = tool("faults", path)
    assert code == 0 and text.endswith(" allocations\n"), text
