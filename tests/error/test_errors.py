"""What bad input and bad surroundings get: a clear message, and the right answers all the same."""

import ctypes
import os
import signal
import textwrap

import pytest

INTERPRETED = "no compiled kernels: "


def script(path, text):
    path.write_text("#!/bin/sh\n" + textwrap.dedent(text))
    path.chmod(0o755)
    return path


def leftovers(directory):
    return [name for name in os.listdir(directory) if name.startswith(".ty-")]


# ---- the compiler ----

TWO_MODELS = """
_, direct = works()
assert built(direct)[0] == 0, built(direct)
print(built(directly(24))[1])
"""


def test_no_compiler(scenario):
    """Right answers from the library's own kernels, and it is said once."""
    result = scenario(TWO_MODELS, TUYERE_CC="none")
    assert result.said(INTERPRETED + "no C compiler is used: TUYERE_CC=none. The model runs from the library's own kernels, slower.") == 1
    assert result.said(INTERPRETED) == 1
    assert "none: loops run interpreted (no C compiler is used: TUYERE_CC=none)" in result.out


def test_no_compiler_on_the_machine(scenario, tmp_path):
    """An empty PATH, and no ziglang package that Python could find."""
    hide = "import importlib.util as u; find = u.find_spec; u.find_spec = lambda name, *more: None if name == 'ziglang' else find(name, *more)\n"
    result = scenario(hide + TWO_MODELS, PATH=tmp_path)
    assert result.said(INTERPRETED + "no C compiler found: set TUYERE_CC, or install gcc or clang, or pip install ziglang") == 1


def test_no_such_compiler(scenario):
    result = scenario(TWO_MODELS, TUYERE_CC="no-such-compiler")
    assert result.said(INTERPRETED + 'TUYERE_CC=no-such-compiler: there is no program "no-such-compiler"') == 1


def test_warm_cache_needs_no_compiler(scenario, tmp_path):
    """What one machine compiled serves another that has no compiler."""
    scenario("works()")
    result = scenario("_, direct = works()\nassert built(direct) == (0, 'cached'), built(direct)", TUYERE_CC="none", PATH=tmp_path)
    assert result.err == ""
    result = scenario("direct = directly()\nassert built(direct) == (0, 'cached'), built(direct)", TUYERE_CC=script(tmp_path / "other", "exit 1"))
    assert result.err == ""


def test_compiler_fails(scenario, tmp_path):
    cc = script(tmp_path / "cc", "echo 'the disk of the compiler is broken' >&2\nexit 1\n")
    result = scenario(TWO_MODELS, TUYERE_CC=cc)
    assert result.said(INTERPRETED) == 1
    assert result.said(f"{cc} failed with status 1:\nthe disk of the compiler is broken") == 1
    assert not leftovers(tmp_path / "cache")


def test_compiler_hangs(scenario, tmp_path):
    """It is killed with its children after TUYERE_CC_TIMEOUT."""
    cc = script(tmp_path / "cc", f"sleep 100 &\necho $! >{tmp_path}/pid\nwait\n")
    code = """
import tuyere
net, x = model(), torch.randn(4, 16)
close(tuyere.compile(net, x)(x), net(x))
"""
    result = scenario(code, TUYERE_CC=cc, TUYERE_CC_TIMEOUT=1)
    assert result.said(f"{INTERPRETED}{cc} took longer than 1 s (TUYERE_CC_TIMEOUT)") == 1
    child = int((tmp_path / "pid").read_text())
    stat = f"/proc/{child}/stat"
    assert not os.path.exists(stat) or ") Z" in open(stat).read() or "sleep" not in open(stat).read()


def test_compiler_killed_in_the_middle(scenario, tmp_path):
    """It has written half of its output; nothing of that is ever loaded, and the next process compiles."""
    cc = script(tmp_path / "cc", 'while [ $# -gt 0 ]; do [ "$1" = -o ] && printf "\\177ELF half" >"$2"; shift; done\nkill -9 $$\n')
    result = scenario(TWO_MODELS, TUYERE_CC=cc)
    assert result.said(f"{INTERPRETED}{cc} was killed by signal 9") == 1
    assert not leftovers(tmp_path / "cache") and not [name for name in os.listdir(tmp_path / "cache") if name.endswith(".so")]
    result = scenario("_, direct = works()\nassert built(direct) == (0, 'cached'), built(direct)\nimport tuyere\n"
                      "direct = tuyere.compile(model(64), torch.randn(4, 64))\nprint(built(direct))")  # fmt: skip
    assert result.err == ""


def test_process_killed_while_it_compiles(scenario, tmp_path):
    cc = script(tmp_path / "cc", f"touch {tmp_path}/started\nsleep 20\n")
    code = f"""
import signal, threading, time
def kill():
    while not os.path.exists({str(tmp_path / "started")!r}):
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=kill, daemon=True).start()
works()
"""
    assert scenario(code, check=False, TUYERE_CC=cc).status == -signal.SIGKILL
    result = scenario("direct = directly()\nassert built(direct)[0] > 0")
    assert result.err == ""


def test_compiler_makes_something_else(scenario, tmp_path):
    """A shared object without the kernels, and a file that is none."""
    (tmp_path / "empty.c").write_text("int nothing;\n")
    cc = script(tmp_path / "cc", f'while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done\nexec gcc -shared -fPIC -o "$out" {tmp_path}/empty.c\n')
    result = scenario(TWO_MODELS, TUYERE_CC=cc)
    assert result.said(INTERPRETED + "cannot load what was compiled in ") == 1 and result.said("undefined symbol: ty_k_") == 1
    assert result.said("until exit") == 0  # another place would not help
    assert not [name for name in os.listdir(tmp_path / "cache") if name.endswith(".so")]
    cc = script(tmp_path / "cc", 'while [ $# -gt 0 ]; do [ "$1" = -o ] && echo text >"$2"; shift; done\n')
    result = scenario(TWO_MODELS, TUYERE_CC=cc)
    assert result.said(INTERPRETED + "cannot load what was compiled in ") == 1


# ---- the cache directory ----


@pytest.mark.parametrize("kind", ["writable by others", "a file", "a link", "foreign"])
def test_cache_directory_refused(scenario, tmp_path, kind):
    """It is not used, nothing is put elsewhere quietly, and the text says what to do."""
    place = tmp_path / "place"
    if kind == "writable by others":
        place.mkdir()
        place.chmod(0o777)
        text = f"the cache directory {place} can be written by others (mode 777), which is refused: run chmod 700 on it"
    elif kind == "a file":
        place.write_text("")
        text = f"the cache directory {place} is not a directory: remove it, or set TUYERE_CACHE_DIR to a directory of your own"
    elif kind == "a link":
        (tmp_path / "real").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "real")
        text = f"the cache directory {place} is a symbolic link, which is refused"
    elif os.geteuid() == 0:
        place.mkdir(mode=0o700)
        os.chown(place, 12345, 12345)
        text = f"the cache directory {place} belongs to uid 12345 and not to you (uid 0), which is refused"
    else:
        place = "/usr"
        text = f"the cache directory {place} belongs to uid 0 and not to you"
    result = scenario(TWO_MODELS, TUYERE_CACHE_DIR=place)
    assert result.said(INTERPRETED + text) == 1 and result.said(INTERPRETED) == 1
    assert os.listdir(tmp_path / "tmp") == []
    if kind == "writable by others":
        assert os.listdir(place) == []


ELSEWHERE = """
_, direct = works()
count, compiler = built(direct)
assert count > 0 or compiler == 'cached', (count, compiler)
directly(24)
print([name for name in os.listdir(os.environ['TMPDIR']) if name.startswith('tuyere-')])
"""


def used_elsewhere(result, tmp_path, text):
    """A private directory took its place, which was said once, and went with the process."""
    assert result.said(text) == 1 and result.said("until exit") == 1, result.err
    assert result.said(INTERPRETED) == 0
    assert result.out.count("tuyere-") == 1
    assert [name for name in os.listdir(tmp_path / "tmp") if name.startswith("tuyere-")] == []


def test_cache_directory_cannot_be_made(scenario, tmp_path):
    used_elsewhere(scenario(ELSEWHERE, TUYERE_CACHE_DIR="/proc/tuyere"), tmp_path, "cannot make the cache directory /proc/tuyere")


AS_NOBODY = "os.chmod(os.environ['TMPDIR'], 0o777)\nos.setgid(65534), os.setuid(65534)\n"


def test_cache_directory_is_read_only(scenario, tmp_path):
    """Root may write all the same, so that root becomes somebody else first."""
    place = tmp_path / "place"
    place.mkdir()
    before = ""
    if os.geteuid() == 0:
        os.chown(place, 65534, 65534)
        before = AS_NOBODY
        for parent in place.parents:
            if parent.owner() == "root" and "pytest" in str(parent):
                parent.chmod(parent.stat().st_mode | 0o055)
    place.chmod(0o500)
    try:
        used_elsewhere(scenario(before + ELSEWHERE, TUYERE_CACHE_DIR=place), tmp_path, f"cannot write to the cache directory {place}: Permission denied")
    finally:
        place.chmod(0o700)


def test_nowhere_to_write(scenario):
    result = scenario(TWO_MODELS, TUYERE_CACHE_DIR="/proc/tuyere", TMPDIR="/proc/nowhere")
    assert result.said(INTERPRETED + "cannot make the cache directory /proc/tuyere") == 1
    assert result.said("nor could a private directory be made under /proc/nowhere") == 1


SMALL_DISK = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def mount(source, target, kind, flags, data):
    if libc.mount(source, target.encode(), kind, ctypes.c_ulong(flags), data):
        raise OSError(ctypes.get_errno(), 'mount')
assert libc.unshare(0x20000) == 0  # CLONE_NEWNS
mount(b'none', '/', None, 16384 | 262144, None)  # MS_REC | MS_PRIVATE
place = os.environ['TUYERE_CACHE_DIR']
mount(b'none', place, b'tmpfs', 0, b'size=64k,mode=700')
"""
FILL = "open(place + '/junk', 'wb', 0).write(bytes(1 << 20))\n"
READ_ONLY = "mount(b'none', place, None, 33, None)  # MS_REMOUNT | MS_RDONLY\n"


def may_mount() -> bool:
    libc = ctypes.CDLL(None)
    pid = os.fork()
    if not pid:
        bad = libc.unshare(0x20000) or libc.mount(b"none", b"/", None, ctypes.c_ulong(16384 | 262144), None)
        os._exit(1 if bad or libc.mount(b"none", b"/mnt", b"tmpfs", ctypes.c_ulong(0), b"size=64k") else 0)
    return os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("how", [FILL, READ_ONLY], ids=["full", "read-only"])
def test_disk(scenario, tmp_path, how):
    """A file system of its own that is full, or mounted read-only."""
    if os.geteuid() or not may_mount():
        pytest.skip("only root may mount")
    text = "cache directory" if how is FILL else "Read-only file system"
    used_elsewhere(scenario(SMALL_DISK + how + ELSEWHERE), tmp_path, text)


def test_damaged_entries_are_compiled_again(scenario, tmp_path):
    scenario("directly()")
    for name in os.listdir(tmp_path / "cache"):
        if name.endswith(".so"):
            os.truncate(tmp_path / "cache" / name, 1000)
    result = scenario("direct = directly()\nassert built(direct)[0]\ndirect = directly()\nassert built(direct)[1] == 'cached'")
    assert result.err == ""


# ---- settings ----


def test_unknown_isa(scenario):
    result = scenario("import tuyere\nworks()\nprint(tuyere.cpu())", new=True, TUYERE_ISA="sse9")
    assert result.said("tuyere: TUYERE_ISA=sse9 ignored (known: portable, avx2, avx512, avx512_vnni, avx512_bf16)") == 1


def test_unknown_options(scenario):
    """Names and modes that do not exist: an error that lists those that do; nothing is swallowed by the fallback."""
    scenario("""
import tuyere
known = "known options: dump, fpmath, huge_pages, max_autotune, no_compiler, release_weights, sizes_kept, strict, threads, weights"
net, x = model(), torch.randn(4, 16)
raises(ValueError, lambda: tuyere.compile(net, x, no_compilr=True), "unknown option 'no_compilr' (did you mean 'no_compiler'?)", known)
raises(ValueError, lambda: tuyere.compile(net, x, options={"banana": 1}), "unknown option 'banana'", known)
raises(ValueError, lambda: tuyere.compile(net, x, no_compiler="yes"), "option 'no_compiler' must be a bool, got 'yes'")
raises(ValueError, lambda: tuyere.compile(net, x, threads=-1), "option 'threads' must be an int of at least 0, got -1")
raises(ValueError, lambda: tuyere.compile(net, x, sizes_kept=True), "option 'sizes_kept' must be an int of at least 0, got True")
raises(ValueError, lambda: tuyere.compile(net, x, huge_pages=1), "option 'huge_pages' must be a bool or None, got 1")
raises(ValueError, lambda: tuyere.compile(net, x, mode="fastest"), "unknown mode 'fastest'", "known modes: 'default', 'reduce-overhead', 'max-autotune'")
dynamo = lambda **more: torch.compile(net, backend="tuyere", **more)(x)
raises(Exception, lambda: dynamo(options={"banana": 1}), "unknown option 'banana'", known)
raises(Exception, lambda: dynamo(options={"strict": 1}), "option 'strict' must be a bool, got 1")
raises(Exception, lambda: dynamo(mode="fastest"), "unknown mode 'fastest'", "known modes: 'default'")
close(dynamo(mode="max-autotune"), net(x))
raises(ValueError, lambda: tuyere.compile(net, x, dynamic={"inputs": [0]}), "dynamic names no argument: ['inputs']", "arguments: ['input']")
""")


# ---- arguments ----


def test_wrong_arguments(scenario):
    """What the model itself refuses is PyTorch's own error; what it takes is compiled anew. It works again afterwards."""
    result = scenario("""
net, x = model(), torch.randn(4, 16)
want = net(x)
dynamo, direct = both(net, x)
for compiled in (dynamo, direct):
    for bad in (torch.randn(4, 17), torch.randn(4, 16).double(), torch.ones(4, 16, dtype=torch.int64), torch.tensor(1.0), None, "text", 3):
        try:
            net(bad)
        except Exception as e:
            own = e
        kinds = (type(own), RuntimeError, TypeError)  # Dynamo has kinds of its own for what fails while it traces
        raised = raises(kinds, lambda: compiled(bad))
        if compiled is direct:
            assert str(raised) == str(own), (raised, own)
        close(compiled(x), want)
    for good in (torch.randn(5, 16), torch.randn(2, 3, 16), torch.randn(16), torch.randn(0, 16), torch.randn(16, 4).t()):
        close(compiled(good), net(good))
    close(compiled(x), want)
""")
    assert result.said(INTERPRETED) == 0


def test_a_program_names_what_is_wrong(scenario):
    scenario("""
import tuyere
net, x = model(), torch.randn(4, 16)
direct = tuyere.compile(net, x, strict=True)
segment = direct._tuyere_engine.records[0].segments[0]
run, weights = segment.program.run, list(net.parameters())
close(run(*weights, x)[0], net(x))
for bad, got in ((torch.randn(4, 15), "got float32[4, 15]"), (x.double(), "got float64[4, 16]"), (x[None], "got float32[1, 4, 16]")):
    raises(tuyere.Mismatch, lambda: run(*weights, bad), "input 'input' (argument 6): expected float32[4, 16]", got)
raises(tuyere.Mismatch, lambda: run(torch.ones(3), *weights[1:], x), "parameter '0.weight' (argument 0): expected float32[32, 16], got float32[3]")
raises(TypeError, lambda: run(x), "expected 7 arguments, got 1")
raises(TypeError, lambda: run(*weights, "x"), "input: expected a torch.Tensor, got", "str")
close(run(*weights, x)[0], net(x))
""")


def test_dynamic_range(scenario):
    """A size outside of the compiled range is another program, or PyTorch; never a wrong answer."""
    scenario("""
import tuyere
net = model()
direct = tuyere.compile(net, torch.randn(4, 16), dynamic={0: [0]})
for rows in (2, 3, 7, 1, 0, 129):
    x = torch.randn(rows, 16)
    close(direct(x), net(x))
raises(RuntimeError, lambda: direct(torch.randn(4, 15)), "mat1 and mat2 shapes cannot be multiplied (4x15 and 16x32)")
close(direct(x), net(x))
""")


@pytest.mark.parametrize("cc", ["none", ""])
def test_index_out_of_range(scenario, cc):
    """From compiled and from interpreted kernels; the program works again afterwards."""
    env = {"TUYERE_CC": cc} if cc else {}
    scenario(
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(10, 16), nn.Linear(16, 4)
    def forward(self, ids):
        return torch.tanh(self.out(self.table(ids) * 2))
torch.manual_seed(0)
net, good = Net().eval(), torch.tensor([[1, 2, 9]])
want = net(good)
for compiled in both(net, good):
    for bad in (10, -1, 1 << 40, -(1 << 62)):
        ids = torch.tensor([[1, bad, 2]])
        raises(IndexError, lambda: net(ids), "index out of range")
        raises(IndexError, lambda: compiled(ids), "index out of range", "embedding")
        close(compiled(good), want)
""",
        **env,
    )


def test_exception_of_a_fallback_operator(scenario):
    """An operator that PyTorch runs between two programs: its exception is the one that arrives."""
    scenario("""
@torch.library.custom_op("errors::picky", mutates_args=())
def picky(x: torch.Tensor) -> torch.Tensor:
    if x.sum() > 1000:
        raise KeyError("picky does not like large numbers")
    return x.clone()
picky.register_fake(lambda x: torch.empty_like(x))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)
    def forward(self, x):
        return torch.softmax(self.b(picky(torch.exp(self.a(x)))), -1)

torch.manual_seed(0)
net, x, bad = Net().eval(), torch.rand(16, 16), torch.full((16, 16), 60.0)
want = net(x)
raises(KeyError, lambda: net(bad), "picky does not like large numbers")
for compiled in both(net, x):
    for _ in range(2):
        raises(KeyError, lambda: compiled(bad), "picky does not like large numbers")
        close(compiled(x), want)
""")


@pytest.mark.parametrize("check", ["linalg", "assert"])
def test_operators_that_only_check(scenario, check):
    """They have no result that anything needs, and are kept for their error."""
    scenario(
        f"check = {check!r}\n"
        + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)
    def forward(self, x):
        y = self.a(x)
        if check == "linalg":
            y = torch.linalg.cholesky(y.t() @ y + x.sum() * torch.eye(16))
        else:
            torch._assert_async((x.sum() > 0).all(), "x is too small")
        return torch.softmax(self.b(y), -1)

torch.manual_seed(0)
net, x, bad = Net().eval(), torch.rand(16, 16), torch.full((16, 16), -9.0)
want = net(x)
for compiled in both(net, x):
    for _ in range(2):
        raises(RuntimeError, lambda: compiled(bad), "linalg.cholesky: The factorization could not be completed" if check == "linalg" else "x is too small")
        close(compiled(x), want)
"""
    )


# ---- processes ----


def test_fork_in_the_middle(scenario):
    """A child runs what its parent compiled, and compiles more; so does the parent, at the same time and afterwards."""
    scenario("""
import tuyere
torch.set_num_threads(2)
tuyere.set_threads(2)
net, x = model(64), torch.randn(256, 64)
want = net(x)
compiled, direct = both(net, x)
other = model(24)
y = torch.randn(4, 24)
wanted = other(y)
for _ in range(3):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            torch.set_num_threads(1)  # libgomp's own threads do not survive a fork
            for _ in range(20):
                close(direct(x), want)
                close(compiled(x), want)
            close(tuyere.compile(other, y)(y), wanted)
            status = 0
        finally:
            os._exit(status)
    for _ in range(20):
        close(direct(x), want)
    assert os.waitpid(pid, 0)[1] == 0
close(compiled(x), want)
close(tuyere.compile(other, y)(y), wanted)
""")


def test_fork_while_a_thread_runs_and_compiles(scenario):
    scenario("""
import threading, time
import tuyere
tuyere.set_threads(2)
net, x = model(64), torch.randn(64, 64)
want = net(x)
direct = tuyere.compile(net, x)
stop = False
def busy():
    with torch.no_grad():
        width = 17
        while not stop:
            direct(x)
            tuyere.compile(model(width), torch.randn(2, width))
            width += 1
            time.sleep(0.001)
thread = threading.Thread(target=busy)
thread.start()
try:
    for _ in range(5):
        time.sleep(0.1)
        pid = os.fork()
        if not pid:
            status = 1
            try:
                for _ in range(5):
                    close(direct(x), want)
                status = 0
            finally:
                os._exit(status)
        end = time.monotonic() + 20
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done or time.monotonic() > end:
                break
            time.sleep(0.01)
        if not done:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        assert done and status == 0, (done, status)
finally:
    stop = True
    thread.join()
""")
