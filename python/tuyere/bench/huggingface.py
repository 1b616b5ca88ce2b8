"""The Hugging Face suite: three models each for eleven tasks, at 16 and at 128 tokens, and ``generate`` where a task writes text.

Configurations are written out in ``configs.py``. Weights and tokenizer are the hub's where they are cached on the machine; otherwise weights
are random, and tokens are those of MiniLM's tokenizer folded into the model's vocabulary (random ones where that is not installed). No time
depends on either. FLAN-T5 and mT5 with random weights share head and embedding, as their classes do without a checkpoint. A
decoder gets a quarter of the encoder's tokens.
"""

import dataclasses
import functools

import torch
from torch import nn
from torch.nn import functional as F

from .models import Entry, Example
from .text import Text, encoder, minilm_path, pair, weights

TITLE = "33 language models of 11 tasks, from transformers"
RUNNERS = ("eager", "inductor", "inductor-freezing", "openvino", "onnxruntime", "tuyere")
LENGTHS = (16, 128)
PROMPT, WRITTEN = 16, 8  # tokens that ``generate`` is given, and that it adds

TEXT = (
    "Studies have been shown that owning a dog is good for you. People who live with one walk more, sleep better and speak with their "
    "neighbours more often than those who do not; their blood pressure is lower, and they recover sooner from an illness of the heart. "
    "Part of this may be that healthy people are more likely to take a dog in the first place. Researchers who followed families for ten "
    "years, before and after the animal came, still found a difference: children had fewer allergies, old people fell less often, and "
    "nearly everyone said that the daily walk, in rain and in sunshine, had become the part of the day that they would miss most of all. "
    "Whether a cat does the same is not known, because nobody has yet persuaded enough cats to take part in such a study."
)


@functools.cache
def cached(hub: str) -> bool:
    """Whether the hub's files of a model lie on this machine."""
    import huggingface_hub

    files = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
    return any(isinstance(huggingface_hub.try_to_load_from_cache(hub, file), str) for file in files)


@dataclasses.dataclass(frozen=True)
class Hub(Text):
    """A model of the hub for a task."""

    task: str = ""
    hub: str = ""

    def network(self, name: str, head: str, small: bool, **fields) -> nn.Module:
        if small or not cached(self.hub):
            return super().network(name, head, small, **fields)
        import transformers

        auto = {"Model": transformers.AutoModel, "MTModel": transformers.AutoModelForSeq2SeqLM, "LMHeadModel": transformers.AutoModelForCausalLM}
        kind = auto.get(head) or getattr(transformers, f"AutoModel{head}".replace("ForConditionalGeneration", "ForSeq2SeqLM"))
        model = kind.from_pretrained(self.hub, local_files_only=True)
        model.config.update({field: value for field, value in fields.items() if field == "use_cache"})
        return model

    def ids(self, model: nn.Module, tokens: int | None = None) -> torch.Tensor:
        tokens = tokens or self.tokens
        if model.name_or_path == self.hub:
            import transformers

            tokenizer = transformers.AutoTokenizer.from_pretrained(self.hub, local_files_only=True)
            return torch.tensor([tokenizer(TEXT, truncation=True, max_length=tokens)["input_ids"]])
        if minilm_path() is None:
            return super().ids(model, tokens)
        import tokenizers

        pieces = tokenizers.Tokenizer.from_file(str(minilm_path() / "tokenizer.json"))
        pieces.no_padding()
        pieces.no_truncation()
        ids = 10 + torch.tensor([pieces.encode(TEXT, add_special_tokens=False).ids[:tokens]]) % (model.config.vocab_size - 10)
        if model.config.is_encoder_decoder:
            ids[:, -1] = model.config.eos_token_id  # BART's classifier looks for it
        return ids

    def text(self, model: nn.Module) -> dict:
        ids = self.ids(model)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


class Sentence(nn.Module):
    """Tokens to a unit vector a sentence: the mean of the hidden states of what is masked in."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, input_ids, attention_mask):
        hidden = self.net(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1).clamp_min(1e-9), dim=1)


class Generation(nn.Module):
    """Greedy ``generate`` of a fixed number of tokens, with the cache on."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, input_ids, attention_mask):
        return self.net.generate(
            input_ids, attention_mask=attention_mask, max_new_tokens=WRITTEN, min_new_tokens=WRITTEN, do_sample=False, num_beams=1
        )


def _sentence(name: str):
    def build(entry: Hub, small: bool) -> Example:
        model = entry.network(name, "Model", small)
        return Example(Sentence(model), (), entry.text(model), weights=weights(model))

    return build


def _generation(name: str, head: str):
    def build(entry: Hub, small: bool) -> Example:
        model = entry.network(name, head, small)
        calls = [model, model.get_encoder()] if model.config.is_encoder_decoder else [model]
        net = Generation(model)
        names = {module: name for name, module in net.named_modules()}
        return Example(net, (), entry.text(model), tuple(f"{names[module]}.forward" for module in calls), weights(model))

    return build


def _entries(task: str, *models: tuple) -> list[Hub]:
    """Entries of a task from rows: name, the hub's name, configuration, end of the class's name, fields."""
    entries = []
    for name, hub, known, head, *more in models:
        fields = more[0] if more else {}
        writes = head in ("LMHeadModel", "ForCausalLM", "ForConditionalGeneration", "MTModel") and task != "feature extraction"
        if head == "Sentence":
            family = _sentence(known)
        elif head in ("ForConditionalGeneration", "MTModel"):
            family = pair(known, head, use_cache=False)
        else:
            family = encoder(known, head, **({"use_cache": False} if writes else {}), **fields)
        say = {"task": task, "hub": hub, "model": name, "note": hub}
        for tokens in LENGTHS:
            entries.append(Hub(f"{name}-{tokens}", family, tokens, max(4, tokens // 4), settings=(f"{tokens} tokens",), **say))
        if writes:
            entries.append(Hub(f"{name}-generate", _generation(known, head), PROMPT, settings=("generate",), **say))
    return entries


_QA, _CLASS, _TOKEN, _MASK, _SEQ = "ForQuestionAnswering", "ForSequenceClassification", "ForTokenClassification", "ForMaskedLM", "ForConditionalGeneration"

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entries in (
        _entries(
            "question answering",
            ("distilbert-squad", "distilbert/distilbert-base-cased-distilled-squad", "distilbert-base-cased", _QA),
            ("roberta-squad2", "deepset/roberta-base-squad2", "roberta-base", _QA),
            ("bert-large-squad", "google-bert/bert-large-uncased-whole-word-masking-finetuned-squad", "bert-large-uncased", _QA),
        ),
        _entries(
            "text classification",
            ("distilbert-sst2", "distilbert/distilbert-base-uncased-finetuned-sst-2-english", "distilbert-base-uncased", _CLASS),
            ("roberta-sentiment", "cardiffnlp/twitter-roberta-base-sentiment-latest", "roberta-base", _CLASS, {"num_labels": 3}),
            ("bert-multilingual-sentiment", "nlptown/bert-base-multilingual-uncased-sentiment", "bert-base-multilingual-uncased", _CLASS, {"num_labels": 5}),
        ),
        _entries(
            "token classification",
            ("bert-base-ner", "dslim/bert-base-NER", "bert-base-cased", _TOKEN, {"num_labels": 9}),
            ("xlm-roberta-ner", "Davlan/xlm-roberta-base-ner-hrl", "xlm-roberta-base", _TOKEN, {"num_labels": 9}),
            ("bert-large-ner", "dbmdz/bert-large-cased-finetuned-conll03-english", "bert-large-cased", _TOKEN, {"num_labels": 9}),
        ),
        _entries(
            "translation",
            ("t5-small", "google-t5/t5-small", "t5-small", _SEQ),
            ("marian-en-de", "Helsinki-NLP/opus-mt-en-de", "marian-en-de", "MTModel"),
            ("m2m100-418m", "facebook/m2m100_418M", "m2m100-418m", _SEQ),
        ),
        _entries(
            "zero-shot classification",
            ("bart-large-mnli", "facebook/bart-large-mnli", "bart-large-mnli", _CLASS),
            ("deberta-v3-base-mnli", "MoritzLaurer/DeBERTa-v3-base-mnli-fever-anli", "deberta-v3-base", _CLASS, {"num_labels": 3}),
            ("distilbert-mnli", "typeform/distilbert-base-uncased-mnli", "distilbert-base-uncased", _CLASS, {"num_labels": 3}),
        ),
        _entries(
            "summarization",
            ("bart-large-cnn", "facebook/bart-large-cnn", "bart-large-cnn", _SEQ),
            ("distilbart-cnn", "sshleifer/distilbart-cnn-12-6", "distilbart-cnn-12-6", _SEQ),
            ("pegasus-cnn", "google/pegasus-cnn_dailymail", "pegasus-cnn", _SEQ),
        ),
        _entries(
            "feature extraction",
            ("bart-base", "facebook/bart-base", "bart-base", "Model"),
            ("codebert", "microsoft/codebert-base", "roberta-base", "Model"),
            ("e5-small", "intfloat/e5-small-v2", "e5-small-v2", "Model"),
        ),
        _entries(
            "text generation",
            ("gpt2", "openai-community/gpt2", "gpt2", "LMHeadModel"),
            ("distilgpt2", "distilbert/distilgpt2", "distilgpt2", "LMHeadModel"),
            ("opt-125m", "facebook/opt-125m", "opt-125m", "ForCausalLM"),
        ),
        _entries(
            "text2text generation",
            ("flan-t5-base", "google/flan-t5-base", "flan-t5-base", _SEQ),
            ("t5-base", "google-t5/t5-base", "t5-base", _SEQ),
            ("mt5-small", "google/mt5-small", "mt5-small", _SEQ),
        ),
        _entries(
            "fill-mask",
            ("bert-base", "google-bert/bert-base-uncased", "bert-base-uncased", _MASK),
            ("roberta-base", "FacebookAI/roberta-base", "roberta-base", _MASK),
            ("albert-base", "albert/albert-base-v2", "albert-base-v2", _MASK),
        ),
        _entries(
            "sentence similarity",
            ("minilm-l6", "sentence-transformers/all-MiniLM-L6-v2", "minilm-l6", "Sentence"),
            ("mpnet-base", "sentence-transformers/all-mpnet-base-v2", "mpnet-base", "Sentence"),
            ("minilm-l12-multilingual", "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", "minilm-l12-multilingual", "Sentence"),
        ),
    )
    for entry in entries
}
