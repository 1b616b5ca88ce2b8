"""TorchBench's 45 models that were published with packed weights on CPUs: at its CPU batch sizes, and at batch 1 (``-b1``).

Definitions are transformers', torchvision's and timm's, or ours in ``nets``; weights are random. What TorchBench's eval does around the
network (suppression of boxes, NumPy) is left out; ``--torchbench PATH`` runs the classes of a checkout of pytorch/benchmark instead.
"""

import contextlib
import dataclasses
import importlib
import sys

import torch

from . import packages, vision
from .models import SEED, Entry, Example
from .nets import bert, policy, recommend
from .text import Text, encoder, pair

TITLE = "45 models of TorchBench at its CPU sizes"
RUNNERS = ("eager", "inductor", "inductor-freezing", "openvino", "onnxruntime", "tuyere")
CPU, ONE = "CPU batch", "batch 1"


def _bert(entry: Text, tiny: bool) -> Example:
    vocab = 200 if tiny else 20000
    model = bert.Bert(vocab, 48, 2, 4) if tiny else bert.Bert(vocab)
    tokens, lengths = torch.randint(5, vocab, (entry.batch, entry.tokens)), torch.randint(entry.tokens // 2, entry.tokens, (entry.batch, 1))
    place = torch.arange(entry.tokens)
    used = place < lengths  # two sentences, and nothing behind them
    return Example(model, (tokens * used, (1 + (place >= lengths // 2)) * used))


def _dlrm(entry: Entry, tiny: bool) -> Example:
    rows, lookups, dense = (1000, 10, 24) if tiny else (DLRM_ROWS, 100, 512)
    model = recommend.DLRM(rows, 4, 8, (dense, 16), (16, 16)) if tiny else recommend.DLRM(rows)
    count = len(model.tables)
    indices = [torch.randint(0, rows, (entry.batch * lookups,)) for _ in range(count)]
    offsets = torch.arange(0, entry.batch * lookups, lookups).repeat(count, 1)
    return Example(model, (torch.rand(entry.batch, dense), offsets, indices))


def _actor(entry: Entry, tiny: bool) -> Example:
    return Example(policy.Actor(width=32) if tiny else policy.Actor(), (torch.randn(entry.batch, 3),))


def _ratings(entry: Entry, tiny: bool) -> Example:
    model = recommend.Ratings(300, (16, 16, 24)) if tiny else recommend.Ratings()
    return Example(model, (torch.randn(entry.batch, 300 if tiny else 197951),))


def _batches(make, model: str, batch: int, note: str = "") -> list[Entry]:
    """The model at TorchBench's batch, and at batch 1 where that is another."""
    if batch == 1:
        return [make(model, batch=1, model=model, settings=(CPU, ONE), note=note)]
    many = make(model, batch=batch, model=model, settings=(CPU,), note=note)
    return [many, dataclasses.replace(many, name=f"{model}-b1", batch=1, settings=(ONE,))]


def _words(model: str, family, tokens: int, batch: int = 1) -> list[Entry]:
    return _batches(lambda name, **more: Text(name, family, tokens, **more), model, batch)


def _images(model: str, known: str = "", note: str = "") -> list[Entry]:
    """A model of the vision suite, by its name there, at the batch that it has there."""
    one = vision.ENTRIES[known or model]
    batch = max(entry.batch for entry in vision.ENTRIES.values() if entry.family is one.family)
    return _batches(lambda name, **more: dataclasses.replace(one, name=name, heavy=False, **more), model, batch, note)


def _own(model: str, family, batch: int, note: str = "") -> list[Entry]:
    return _batches(lambda name, **more: Entry(name, family, **more), model, batch, note)


DLRM_ROWS = 250_000

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entries in (
        _words("BERT_pytorch", _bert, 128, 2),
        _words("hf_Bert", encoder("bert-base-uncased", "ForMaskedLM"), 512),
        _words("hf_Bert_large", encoder("bert-large-uncased", "ForMaskedLM", intermediate_size=3072), 512),
        _words("hf_GPT2", encoder("gpt2", "LMHeadModel"), 256),
        _words("hf_GPT2_large", encoder("gpt2-large", "LMHeadModel"), 1024),
        _words("hf_Albert", encoder("albert-base-v2", "ForMaskedLM"), 512),
        _words("hf_Bart", pair("bart-base"), 512),
        _words("hf_BigBird", encoder("bigbird-roberta-base", "ForMaskedLM"), 819),
        _words("hf_DistilBert", encoder("distilbert-base-uncased", "ForMaskedLM"), 512),
        _words("hf_T5", pair("t5-small"), 512),
        _words("hf_Longformer", encoder("longformer-base-4096", "ForMaskedLM"), 512),
        _words("hf_Reformer", encoder("reformer", "ForMaskedLM"), 2048),
        _own("dlrm", _dlrm, 2048, f"8 tables of {DLRM_ROWS:,} rows instead of 1,000,000"),
        *(
            _images(name)
            for name in (
                "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large", "squeezenet1_1", "shufflenet_v2_x1_0", "resnet18", "resnet50", "resnet152",
                "resnext50_32x4d", "densenet121", "alexnet", "vgg16",
            )  # fmt: skip
        ),
        _images("timm_efficientnet", "efficientnet_b0"),
        _images("timm_regnet", "regnety_120"),
        _images("timm_vovnet", "vovnet39a"),
        _images("timm_nfnet", "dm_nfnet_f0"),
        _images("timm_vision_transformer", "vit_small"),
        _images("timm_vision_transformer_large", "vit_giant_4layers", "4 of ViT-giant's 40 layers"),
        _own("soft_actor_critic", _actor, 256, "the actor alone, without Pendulum"),
        _images("phlippe_densenet"),
        _images("phlippe_resnet"),
        _images("doctr_det_predictor", "doctr_det"),
        _images("doctr_reco_predictor", "doctr_reco"),
        _images("dcgan"),
        _images("yolov3", "yolov3_spp"),
        _images("pytorch_stargan"),
        _images("pytorch_CycleGAN_and_pix2pix", "cyclegan"),
        _images("pytorch_unet"),
        _own("nvidia_deeprecommender", _ratings, 256),
        _images("demucs"),
        _images("tts_angular"),
        _images("functorch_dp_cifar10"),
    )
    for entry in entries
}


def from_checkout(entry: Entry, path: str) -> Example:
    """The model of the entry's name from a checkout of pytorch/benchmark, at its own size for CPUs (batch 1 where the entry says so)."""
    sys.path.insert(0, path)
    with contextlib.suppress(FileNotFoundError):
        packages.torchvision()
    kind = importlib.import_module(f"torchbenchmark.models.{entry.model}").Model
    torch.manual_seed(SEED)  # each runner's process makes the same weights
    model, inputs = kind(test="eval", device="cpu", batch_size=1 if entry.settings == (ONE,) else None).get_module()
    args, kwargs = ((), dict(inputs)) if isinstance(inputs, dict) else (tuple(inputs), {})
    return Example(model.eval(), args, kwargs)
