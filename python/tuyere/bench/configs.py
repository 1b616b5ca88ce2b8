"""Configurations of language models as their authors published them: class prefix, and the fields that are not the class's defaults.

Sizes are always written out, because tests shrink what they find here (``small``).
"""

from typing import Any


def _bert(layers: int, hidden: int, heads: int, inner: int, vocab: int, **more) -> dict[str, Any]:
    """The fields that BERT and what came of it have in common."""
    sizes = dict(num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads, intermediate_size=inner)
    return dict(vocab_size=vocab, **sizes, **more)


def _pair(layers: tuple[int, int], width: int, heads: int, inner: int, vocab: int, **more) -> dict[str, Any]:
    """Encoder and decoder of BART's kind."""
    return dict(
        vocab_size=vocab, d_model=width, encoder_layers=layers[0], decoder_layers=layers[1], encoder_attention_heads=heads,
        decoder_attention_heads=heads, encoder_ffn_dim=inner, decoder_ffn_dim=inner, **more,
    )  # fmt: skip


def _t5(layers: int, width: int, key: int, heads: int, inner: int, **more) -> dict[str, Any]:
    more = dict(vocab_size=32128, feed_forward_proj="relu", decoder_start_token_id=0) | more
    return dict(num_layers=layers, d_model=width, d_kv=key, num_heads=heads, d_ff=inner, **more)


_BASE, _LARGE = (12, 768, 12, 3072), (24, 1024, 16, 4096)
_ROBERTA = dict(max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
_DISTILBERT = dict(n_layers=6, dim=768, n_heads=12, hidden_dim=3072)
_GPT2 = dict(vocab_size=50257, bos_token_id=50256, eos_token_id=50256)

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "albert-base-v2": (
        "Albert",
        _bert(*_BASE, 30000, embedding_size=128, hidden_act="gelu_new", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
    ),
    "bart-base": ("Bart", _pair((6, 6), 768, 12, 3072, 50265)),
    "bart-large-cnn": ("Bart", _pair((12, 12), 1024, 16, 4096, 50264)),
    "bart-large-mnli": ("Bart", _pair((12, 12), 1024, 16, 4096, 50265, num_labels=3)),
    "bert-base-cased": ("Bert", _bert(*_BASE, 28996)),
    "bert-base-multilingual-uncased": ("Bert", _bert(*_BASE, 105879)),
    "bert-base-uncased": ("Bert", _bert(*_BASE, 30522)),
    "bert-large-cased": ("Bert", _bert(*_LARGE, 28996)),
    "bert-large-uncased": ("Bert", _bert(*_LARGE, 30522)),
    "bigbird-roberta-base": ("BigBird", _bert(*_BASE, 50358, attention_type="block_sparse", block_size=64, num_random_blocks=3)),
    "deberta-v3-base": (
        "DebertaV2",
        _bert(
            *_BASE, 128100, relative_attention=True, max_relative_positions=-1, position_buckets=256, norm_rel_ebd="layer_norm",
            share_att_key=True, pos_att_type=["p2c", "c2p"], position_biased_input=False, type_vocab_size=0, layer_norm_eps=1e-7,
        ),
    ),
    "distilbart-cnn-12-6": ("Bart", _pair((12, 6), 1024, 16, 4096, 50264)),
    "distilbert-base-cased": ("DistilBert", dict(vocab_size=28996, **_DISTILBERT)),
    "distilbert-base-uncased": ("DistilBert", dict(vocab_size=30522, **_DISTILBERT)),
    "distilgpt2": ("GPT2", dict(n_layer=6, n_embd=768, n_head=12, **_GPT2)),
    "e5-small-v2": ("Bert", _bert(12, 384, 12, 1536, 30522)),
    "electra-small": ("Electra", _bert(12, 256, 4, 1024, 30522, embedding_size=128)),
    "flan-t5-base": ("T5", _t5(12, 768, 64, 12, 2048, feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
    "gpt2": ("GPT2", dict(n_layer=12, n_embd=768, n_head=12, **_GPT2)),
    "gpt2-large": ("GPT2", dict(n_layer=36, n_embd=1280, n_head=20, **_GPT2)),
    "longformer-base-4096": ("Longformer", _bert(*_BASE, 50265, attention_window=512, **_ROBERTA | {"max_position_embeddings": 4098})),
    "m2m100-418m": ("M2M100", _pair((12, 12), 1024, 16, 4096, 128112)),
    "marian-en-de": (
        "Marian",
        _pair(
            (6, 6), 512, 8, 2048, 58101, activation_function="swish", max_position_embeddings=512, scale_embedding=True,
            pad_token_id=58100, decoder_start_token_id=58100, eos_token_id=0, forced_eos_token_id=0,
        ),
    ),
    "minilm-l12-multilingual": ("Bert", _bert(12, 384, 12, 1536, 250037)),
    "minilm-l6": ("Bert", _bert(6, 384, 12, 1536, 30522)),
    "mpnet-base": ("MPNet", _bert(*_BASE, 30527, max_position_embeddings=514, layer_norm_eps=1e-5)),
    "mt5-small": ("MT5", _t5(8, 512, 64, 6, 1024, vocab_size=250112, feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
    "opt-125m": (
        "OPT",
        dict(
            vocab_size=50272, num_hidden_layers=12, hidden_size=768, word_embed_proj_dim=768, num_attention_heads=12, ffn_dim=3072,
            max_position_embeddings=2048,
        ),
    ),
    "pegasus-cnn": (
        "Pegasus",
        _pair((16, 16), 1024, 16, 4096, 96103, activation_function="relu", scale_embedding=True, max_position_embeddings=1024),
    ),
    "reformer": ("Reformer", dict(vocab_size=320, attn_layers=["local", "lsh"] * 3, num_buckets=128, eos_token_id=2)),
    "roberta-base": ("Roberta", _bert(*_BASE, 50265, **_ROBERTA)),
    "t5-base": ("T5", _t5(12, 768, 64, 12, 3072)),
    "t5-small": ("T5", _t5(6, 512, 64, 8, 2048)),
    "vit-small": ("ViT", dict(image_size=224, patch_size=16, num_hidden_layers=12, hidden_size=384, num_attention_heads=6, intermediate_size=1536)),
    "xlm-roberta-base": ("XLMRoberta", _bert(*_BASE, 250002, **_ROBERTA)),
}  # fmt: skip

_SMALL = {
    "vocab_size": 200, "image_size": 32, "patch_size": 8, "embedding_size": 24, "word_embed_proj_dim": 48,
    "num_hidden_layers": 2, "hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96, "ffn_dim": 96,
    "n_layers": 2, "dim": 48, "n_heads": 4, "hidden_dim": 96, "n_layer": 2, "n_embd": 48, "n_head": 4,
    "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "num_layers": 2, "d_model": 48, "d_kv": 12, "num_heads": 4, "d_ff": 96,
    "attn_layers": ["local", "lsh"], "attention_window": 64,
}  # fmt: skip


def config(name: str, small: bool) -> tuple[str, dict[str, Any]]:
    """Class prefix and fields of a configuration; ``small`` gives two narrow layers and 200 words."""
    prefix, fields = CONFIGS[name]
    if small:
        fields = {field: _SMALL.get(field, value) for field, value in fields.items()}
        fields |= {field: min(value, 199) for field, value in fields.items() if field.endswith("_token_id")}
    return prefix, fields
