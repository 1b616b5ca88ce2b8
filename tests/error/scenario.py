"""Runs scenarios of the error tests, one a forked child: a JSON line each on stdin (code, env, out, err), the exit status on stdout.

With an argument: runs that text, in this process. The names below are there for the text.
"""

import json
import os
import sys
import traceback
import warnings

import torch
import torch._functorch.aot_autograd
from torch import nn

warnings.simplefilter("always")


def model(width=16, out=8):
    """Products, epilogues and a reduction: something for the C compiler to do."""
    torch.manual_seed(width)
    return nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, out), nn.Softmax(-1)).eval()


def close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def both(net, x):
    """The model through both doors; their first answers are compared."""
    import tuyere

    want = net(x)
    torch._dynamo.reset()
    compiled = torch.compile(net, backend="tuyere")
    close(compiled(x), want)
    direct = tuyere.compile(net, x)
    close(direct(x), want)
    assert direct._tuyere_engine.records[-1].segments, direct._tuyere_engine.records[-1].notes
    return compiled, direct


def works(width=16):
    return both(model(width), torch.randn(4, width))


def directly(width=16):
    """As works, without Dynamo."""
    import tuyere

    net, x = model(width), torch.randn(4, width)
    direct = tuyere.compile(net, x)
    close(direct(x), net(x))
    return direct


def built(compiled):
    """How many kernels of a tuyere.compile'd model were compiled, not found or interpreted; and by what."""
    program = compiled._tuyere_engine.records[-1].segments[0].program
    facts = json.loads(program.explain())
    return facts["compile"]["built"], facts["compiler"]


def raises(kind, call, *texts):
    """The call raises this kind, and its text has all of these."""
    try:
        call()
    except kind as e:
        for text in texts:
            assert text in str(e), f"{text!r} is not in {e!s}"
        return e
    raise AssertionError(f"no {kind} was raised")


def execute(code):
    with torch.no_grad():
        exec(compile(code, "<scenario>", "exec"), globals())


def main():
    """Returns in each child with its status; in the server at the end of stdin."""
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid:
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            continue
        for fd, path in ((1, job["out"]), (2, job["err"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), fd)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(job["env"])
        try:
            execute(job["code"])
            return 0
        except BaseException:
            traceback.print_exc()
            return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        execute(sys.argv[1])
    else:
        torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1))  # what it imports
        torch._dynamo.reset()
        sys.exit(main())
