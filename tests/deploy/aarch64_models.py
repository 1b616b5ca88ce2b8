"""Whole models deployed for AArch64, run by qemu on a CPU of each level, against PyTorch's results: python tests/deploy/aarch64_models.py

Needs ./dev cross aarch64, transformers and torchvision (each model is left out without its package). A few minutes of emulation."""

import inspect
import pathlib
import sys
import tempfile
import time

import numpy
import torch

from capi import Library
from test_aarch64 import TARGETS, run


def sentence(config):
    import transformers

    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**config, attn_implementation="sdpa")).eval()

    class First(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    ids = torch.randint(0, 1000, (1, 12))
    return First().eval(), (ids, torch.ones_like(ids))


def minilm():
    return sentence({"model_type": "bert", "hidden_size": 384, "num_hidden_layers": 2, "num_attention_heads": 12, "intermediate_size": 1536})


def bert():
    return sentence({"model_type": "bert", "num_hidden_layers": 2})


def t5():
    import transformers

    torch.manual_seed(0)
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(num_layers=2, num_decoder_layers=2, d_model=512, d_ff=2048, num_heads=8)).eval()

    class Step(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, decoder_input_ids):
            return self.model(input_ids=input_ids, decoder_input_ids=decoder_input_ids, use_cache=False).logits

    return Step().eval(), (torch.randint(0, 1000, (1, 10)), torch.randint(0, 1000, (1, 4)))


def resnet18():
    from tuyere.bench import packages

    torch.manual_seed(0)
    return packages.torchvision().models.resnet18().eval(), (torch.randn(1, 3, 64, 64),)


def main() -> int:
    bad = 0
    for make in (minilm, bert, t5, resnet18):
        try:
            model, args = make()
        except (ImportError, FileNotFoundError) as e:
            print(f"{make.__name__}: left out, {e}")
            continue
        with tempfile.TemporaryDirectory() as tmp, torch.no_grad():
            folder = pathlib.Path(tmp)
            torch.export.save(torch.export.export(model, args), folder / "model.pt2")
            want = model(*args).numpy()
            (folder / "in").mkdir()
            for name, value in zip(inspect.signature(model.forward).parameters, args):
                numpy.save(folder / "in" / f"{name}.npy", value.numpy())
            so = Library().deploy(folder / "model.pt2", folder / "model", targets=TARGETS)
            for cpu in ("cortex-a53", "neoverse-n1", "max,sve128=on", "max,sve256=on"):
                began = time.time()
                done = run(cpu, so, folder / "in", "--output", folder / cpu)
                if done.returncode:
                    print(f"{make.__name__} on {cpu}: {done.stderr}")
                    bad += 1
                    continue
                got = numpy.load(next((folder / cpu).glob("*.npy")))
                off = float(numpy.linalg.norm(got - want) / numpy.linalg.norm(want))
                bad += not (got.shape == want.shape and off < 1e-5)
                print(f"{make.__name__} on {cpu}: off by {off:.1e} of the norm, {time.time() - began:.0f} s", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main())
