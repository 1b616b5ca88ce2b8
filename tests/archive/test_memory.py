"""What opening and compiling an archive reads and holds: no weight is read before it is packed, one weight is in memory beside the packed ones."""

import ctypes
import json
import mmap
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from archives import BUILD, look, save

MB = 1 << 20


def cached(path) -> int:
    """Bytes of a file that the system holds in memory."""
    libc = ctypes.CDLL(None)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        view = (ctypes.c_char * len(mapped)).from_buffer(mapped)
        assert libc.mincore(ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(len(mapped)), pages) == 0
        del view
        return sum(page & 1 for page in bytes(pages)) * mmap.PAGESIZE


def drop(path):
    """The system holds nothing of the file any more, if the file system lets it."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def layers(count, width):
    return nn.Sequential(*(nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(count)))


def test_opening_reads_no_weight(tmp_path):
    path, _ = save(tmp_path, layers(32, 512), (torch.randn(2, 512),))
    size = path.stat().st_size
    assert size > 32 * MB
    drop(path)
    if cached(path) > size // 100:
        pytest.skip("this file system keeps files in memory")
    look(path)
    assert cached(path) < size // 10


# Without torch, whose threads and libraries would be in the figures. Prints what compiling held at its peak, and the packed weights.
CHILD = """
import ctypes, json, pathlib, sys

so = ctypes.CDLL(sys.argv[1])
so.tuyere_context_create.restype = ctypes.c_void_p
so.tuyere_model_explain.restype = ctypes.c_char_p
context, archive, model = ctypes.c_void_p(so.tuyere_context_create(None, None)), ctypes.c_void_p(), ctypes.c_void_p()


def resident(kind):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


before = resident("VmRSS")
assert so.tuyere_model_open(context, sys.argv[2].encode(), ctypes.byref(archive)) == 0
opened = resident("VmRSS")
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
assert so.tuyere_model_compile(context, archive, None, ctypes.byref(model)) == 0
packed = json.loads(so.tuyere_model_explain(model))["memory"]["state"]
print(json.dumps({"opening": opened - before, "peak": resident("VmHWM") - before, "packed": packed}))
"""


def held(path) -> dict:
    out = subprocess.run([sys.executable, "-c", CHILD, str(BUILD / "libtuyere.so"), str(path)], stdout=subprocess.PIPE, check=True, text=True).stdout
    return json.loads(out)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak cannot be told")
def test_peak_is_the_packed_weights_and_one(tmp_path):
    path, _ = save(tmp_path, layers(32, 1024), (torch.randn(2, 1024),))
    of = held(path)
    assert 128 * MB <= of["packed"] < 136 * MB, of  # panels are padded
    assert of["opening"] < 24 * MB, of
    assert of["peak"] - of["packed"] < 20 * MB, of  # a weight has 4 MB, all of them 128
