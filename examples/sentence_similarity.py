"""Sentence similarity with all-MiniLM-L6-v2: real weights, real sentences, eager against tuyere.

Run it with ``./dev demo``. The one line that a user of tuyere writes is marked below.
"""

import statistics
import sys
import time

import tokenizers
import torch
from torch import nn

from tuyere.bench.measure import Progress, ratio, take_turns
from tuyere.bench.models import Example
from tuyere.bench.runners import Runner, RunnerError
from tuyere.bench.text import load_minilm, minilm_path

SENTENCES = """\
A tuyere is the nozzle through which air is blown into a forge.
Blacksmiths pump air through a pipe to make the fire hotter.
The bellows feed the furnace with a steady stream of air.
Iron ore is smelted into pig iron in a blast furnace.
The cat is sleeping on the windowsill in the sun.
A kitten naps beside the sunny window.
Our dog barks every time the postman rings the bell.
Owning a dog is good for your health.
Studies show that people with dogs walk more every day.
Regular exercise lowers the risk of heart disease.
Walking half an hour a day keeps the heart healthy.
The new bridge across the river opens to traffic next spring.
Next year cars will be able to cross the river on a new bridge.
The city council voted to extend the tram line to the airport.
How do I reset the password of my account?
I forgot my password and can't log in any more.
Where can I see the invoices of the last three months?
My parcel was delivered to the wrong address.
The package I ordered arrived at my neighbour's house.
Can I return the shoes if they don't fit?
It will rain all weekend, with strong winds along the coast.
The forecast for Saturday and Sunday is wet and stormy.
The drought has left the reservoirs at a third of their capacity.
Water levels in the lakes behind the dams are very low this summer.
She plays the violin in the city's youth orchestra.
The young musicians gave a concert of Mozart and Haydn.
The guitar on the wall once belonged to his grandfather.
Boil the pasta for nine minutes in plenty of salted water.
Cook the spaghetti until it is just tender, then drain it.
Knead the dough until it is smooth and let it rise for an hour.
The central bank raised interest rates by a quarter of a point.
Borrowing money became more expensive after the bank's decision.
The company's profits rose by twelve percent last quarter.
A compiler translates a program into instructions for a processor.
The loop was vectorised, so eight numbers are added at once.
Matrix multiplication takes most of the time in a neural network.
Language models spend nearly all their time multiplying matrices.
The telescope sent back its first pictures of a distant galaxy.
Astronomers photographed stars that are billions of light years away.
The chess match ended in a draw after six hours.
""".splitlines()

BATCHES = (1, 16)
RUNNERS = ("eager", "inductor", "tuyere")
ROUNDS = 5
INDUCTOR_DEADLINE = 45.0  # seconds from the start: what inductor has not compiled by then is left out


class SentenceEncoder(nn.Module):
    """The sentence-transformers recipe: mean of the token vectors under the mask, scaled to length one."""

    def __init__(self, bert: nn.Module):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        tokens = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(tokens.dtype)
        return nn.functional.normalize((tokens * mask).sum(1) / mask.sum(1).clamp(min=1e-9), dim=1)


def load() -> SentenceEncoder:
    """The encoder with its real weights."""
    return SentenceEncoder(load_minilm()).eval()


def tokenize(sentences: list[str]) -> dict[str, torch.Tensor]:
    """Token ids and mask, padded to the longest sentence."""
    tokenizer = tokenizers.Tokenizer.from_file(str(minilm_path() / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(sentences)
    return {
        "input_ids": torch.tensor([one.ids for one in encoded]),
        "attention_mask": torch.tensor([one.attention_mask for one in encoded]),
    }


def example(batch: int) -> Example:
    """The encoder with the first few sentences, for the processes that measure."""
    return Example(load(), (), tokenize(SENTENCES[:batch]))


def embed(say) -> None:
    """Embeds all sentences with eager and with tuyere; prints the difference and the most similar pairs."""
    say("loading MiniLM and its tokenizer")
    model, inputs = load(), tokenize(SENTENCES)
    compiled = torch.compile(model, backend="tuyere")  # <- the one line
    with torch.no_grad():
        eager = model(**inputs)
        say(f"compiling, then embedding {len(SENTENCES)} sentences")
        ours = compiled(**inputs)
    say("")
    print(f"{len(SENTENCES)} sentences, {inputs['input_ids'].shape[1]} tokens each after padding")
    print(f"largest difference between eager's embeddings and tuyere's: {(eager - ours).abs().max():.1e}")
    scores = (ours @ ours.T).triu(1)
    print("\nthe most similar pairs, by tuyere's embeddings:")
    for score, index in zip(*(t.tolist() for t in scores.flatten().topk(6))):
        row, column = divmod(index, len(SENTENCES))
        print(f"  {score:.3f}  {SENTENCES[row]}\n         {SENTENCES[column]}")


def race(batch: int, started: float, say) -> None:
    """Compiles and times the runners at one batch size, a process each, and prints a table."""
    runners, compile_seconds, failed = [], {}, {}
    try:
        for name in RUNNERS:
            say(f"batch {batch}: starting {name}")
            runner = Runner(name, example, (batch,))
            runners.append(runner)
            try:
                left = max(5.0, INDUCTOR_DEADLINE - (time.monotonic() - started))
                limit = left if name == "inductor" else 120.0
                compile_seconds[name] = runner.ask("setup", timeout=limit)["compile_s"]
            except RunnerError as error:
                failed[name] = str(error).splitlines()[0]
                runner.close()
                runners.remove(runner)
        seconds = take_turns(runners, ROUNDS, lambda i: say(f"batch {batch}: timing, round {i + 1} of {ROUNDS}"))
    finally:
        for runner in runners:
            runner.close()
    say("")
    print(f"\nbatch {batch}       median ms     least ms   times as fast as eager   first call, s (with compiling)")
    for name in RUNNERS:
        if name in seconds:
            times = [1e3 * second for turn in seconds[name] for second in turn]
            faster = ratio(seconds["eager"], seconds[name])
            print(f"{name:12}{statistics.median(times):11.2f}{min(times):13.2f}{faster:20.2f}x{compile_seconds[name]:21.2f}")
        else:
            print(f"{name:12}{failed.get(name, 'failed while it was being timed')}")


def main() -> int:
    started = time.monotonic()
    progress = Progress()

    def say(text: str) -> None:
        progress.show(f"[{time.monotonic() - started:3.0f} s] {text}") if text else progress.done()

    embed(say)
    for batch in BATCHES:
        race(batch, started, say)
    print(f"\nthe whole demo took {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
