"""NumPy files in and out: every dtype, order and version of the format; files that lie about themselves."""

import io
import struct

import numpy as np
import pytest

KINDS = {"b": np.bool_, "u8": np.uint8, "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64, "f32": np.float32, "f64": np.float64}


def arrays():
    rng = np.random.default_rng(7)
    return {name: (rng.standard_normal((2, 3)) * 50).astype(kind) for name, kind in KINDS.items()}


def given(folder, values, save=np.save):
    args = []
    for name, value in values.items():
        save(folder / f"{name}.npy", value)
        args += ["--input", f"{name}={folder / name}.npy"]
    return args


def check(tuyere, folder, values, args):
    result = tuyere("run", "turn.pt2", *args, "--output", folder / "out", "--mode", "eager")
    assert (result.code, result.err) == (0, ""), result.err
    for i, value in enumerate(values.values()):
        got = np.load(folder / "out" / f"out.{i}.npy", allow_pickle=False)
        assert got.dtype == value.dtype.newbyteorder("=")
        np.testing.assert_array_equal(got, value.T)


def test_every_dtype(tuyere, tmp_path):
    values = arrays()
    check(tuyere, tmp_path, values, given(tmp_path, values))


def test_fortran_order(tuyere, tmp_path):
    values = {name: np.asfortranarray(value) for name, value in arrays().items()}
    check(tuyere, tmp_path, values, given(tmp_path, values))
    assert b"'fortran_order': True" in (tmp_path / "f32.npy").read_bytes()


def test_big_endian(tuyere, tmp_path):
    values = {name: value.astype(value.dtype.newbyteorder(">")) for name, value in arrays().items()}
    check(tuyere, tmp_path, values, given(tmp_path, values))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions(tuyere, tmp_path, version):
    def save(path, value):
        with open(path, "wb") as f:
            np.lib.format.write_array(f, value, version)

    values = arrays()
    check(tuyere, tmp_path, values, given(tmp_path, values, save))


def npy(header, data=b"\0" * 32, version=1, length=None):
    text = header.encode("latin1")
    size = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", size) + text + data


def saved(value, **kwargs):
    f = io.BytesIO()
    np.save(f, value, **kwargs)
    return f.getvalue()


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }\n"
HOSTILE = {
    "empty": (b"", "it does not begin as one"),
    "magic": (b"\x93NUMPZ" + b"\0" * 60, "it does not begin as one"),
    "version 9": (npy(GOOD, version=9), "version 9.0 of the .npy format"),
    "no header": (b"\x93NUMPY\1\0", "it ends in the header"),
    "header beyond the end": (npy(GOOD, b"", length=5000), "it ends in the header"),
    "header of 4 GB": (npy(GOOD, b"", version=2, length=0xFFFFFFFF), "the header is too long"),
    "no dict": (npy("[1, 2]"), "the header is no dict"),
    "an open dict": (npy(GOOD[: GOOD.index("}")]), "the header is no dict"),
    "code": (npy("__import__('os').system('true')"), "the header is no dict"),
    "text after it": (npy(GOOD + "x"), "text after the header's dict"),
    "no shape": (npy("{'descr': '<f4', 'fortran_order': False}"), "the header lacks a key"),
    "a key twice": (npy("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 4)}"), "keys that it should not have"),
    "a strange key": (npy(GOOD.replace("shape", "shade")), "keys that it should not have"),
    "an escape": (npy(GOOD.replace("<f4", "<f\\x34")), "the dtype is no text"),
    "fortran": (npy(GOOD.replace("False", "Maybe")), "neither True nor False"),
    "a negative size": (npy(GOOD.replace("(2, 4)", "(2, -4)")), "no tuple of numbers"),
    "a size of 2^64": (npy(GOOD.replace("(2, 4)", "(18446744073709551616,)")), "a size is too large"),
    "sizes that overflow": (npy(GOOD.replace("(2, 4)", "(4294967296, 4294967296, 2)")), "more bytes than the file has"),
    "a size past the end": (npy(GOOD.replace("(2, 4)", "(2, 400000000000)")), "more bytes than the file has"),
    "too many dims": (npy(GOOD.replace("(2, 4)", "(" + "1, " * 40 + ")")), "more than 12 dims"),
    "an open shape": (npy(GOOD.replace("(2, 4), }", "(2, 4")), "no tuple of numbers"),
    "cut": (saved(np.zeros((2, 4), np.float32))[:-1], "more bytes than the file has"),
    "objects": (saved(np.array([{}, []], dtype=object), allow_pickle=True), "pickled objects"),
    "structured": (saved(np.zeros(2, dtype=[("a", "f4"), ("b", "i4")])), "a structured array is no tensor"),
    "text": (saved(np.array(["ab", "c"])), "no tensor has NumPy's dtype '<U2'"),
    "complex": (saved(np.zeros(2, np.complex64)), "no tensor has NumPy's dtype '<c8'"),
    "uint32": (saved(np.zeros(2, np.uint32)), "no tensor has NumPy's dtype '<u4'"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(tuyere, tmp_path, name):
    data, message = HOSTILE[name]
    (tmp_path / "x.npy").write_bytes(data)
    result = tuyere("run", "mlp.pt2", "--input", f"x={tmp_path}/x.npy")
    assert result.code == 1 and message in result.err, result


def test_bfloat16_is_its_bits(tuyere, tmp_path):
    """uint16 in and out, in files and by tuyere.load; what ml_dtypes writes (two opaque bytes) is read as well."""
    import torch

    import tuyere as package
    from command import save

    class Twice(torch.nn.Module):
        def forward(self, x):
            return x * 2

    x = torch.randn(3, 5).bfloat16()
    bits, want = x.view(torch.uint16).numpy(), (x * 2).view(torch.uint16).numpy()
    save(Twice(), (x,), tmp_path / "twice.pt2")
    assert tuyere("compile", tmp_path / "twice.pt2", "-q", "-o", tmp_path / "twice").code == 0
    for given in (bits, bits.view("V2")):
        np.save(tmp_path / "x.npy", given)
        result = tuyere("run", tmp_path / "twice.pt2", "-i", f"x={tmp_path}/x.npy", "-o", tmp_path / "out", "--mode", "eager")
        assert result.code == 0, result.err
        got = np.load(tmp_path / "out" / "out.npy", allow_pickle=False)
        for value in (got, package.load(tmp_path / "twice.so")(given)):
            assert value.dtype == np.uint16
            np.testing.assert_array_equal(value, want)


def test_not_a_file(tuyere, tmp_path):
    result = tuyere("run", "mlp.pt2", "--input", f"x={tmp_path}")
    assert result.code == 1 and result.err.startswith("tuyere run: "), result


def test_wrong_dtype(tuyere, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 4)))
    result = tuyere("run", "mlp.pt2", "--input", f"x={tmp_path}/x.npy")
    assert result.code == 1 and "input 'x' is float32, and" in result.err and "has float64" in result.err, result


def test_wrong_shape(tuyere, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 5), np.float32))
    result = tuyere("run", "mlp.pt2", "--input", f"x={tmp_path}/x.npy")
    assert result.code == 1 and "(x) is 5, and should be 4" in result.err, result


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (1, 1, 1, 1, 2)])
def test_headers_that_are_written(tuyere, tmp_path, shape):
    """What is written is what NumPy itself writes, up to the order of keys and padding."""
    import torch

    from command import save

    class Same(torch.nn.Module):
        def forward(self, x):
            return x + 1

    save(Same(), (torch.zeros(shape),), tmp_path / "same.pt2")
    value = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    np.save(tmp_path / "x.npy", value)
    result = tuyere("run", tmp_path / "same.pt2", "-i", f"x={tmp_path}/x.npy", "-o", tmp_path / "out", "--mode", "eager")
    assert result.code == 0, result.err
    data = (tmp_path / "out" / "out.npy").read_bytes()
    assert data.index(b"\n") % 64 == 63
    np.testing.assert_array_equal(np.load(io.BytesIO(data), allow_pickle=False), value + 1)
