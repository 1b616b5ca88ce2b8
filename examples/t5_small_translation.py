"""T5-small, one forward of the published benchmark's sentences, eager or compiled, under PyTorch's profiler.

``./dev shell python examples/t5_small_translation.py -m eager|compile -n ITERATIONS``: 50 calls to warm up, then N under the profiler, whose
table is printed by self CPU time. Weights and tokenizer are the hub's where they are cached; without them weights are random and the two
sentences' tokens are written out below (16 of them, and 4 for the decoder), which changes no time.
"""

import argparse
import sys

import torch
import transformers
from torch.profiler import ProfilerActivity, profile, record_function

from tuyere.bench.huggingface import ENTRIES, cached

HUB = "google-t5/t5-small"
SENTENCE, ANSWER = "Studies have been shown that owning a dog is good for you", "Studies show that"
# Stand-ins of the same lengths, where the tokenizer is not on the machine: the numbers carry no meaning.
SENTENCE_IDS = [[6536, 43, 118, 2008, 24, 293, 53, 3, 9, 1782, 19, 207, 21, 25, 5, 1]]
ANSWER_IDS = [[6536, 504, 24, 1]]


def inputs() -> dict[str, torch.Tensor]:
    """Ids of both sentences."""
    if not cached(HUB):
        print("T5's tokenizer and weights are not cached here: random weights, and tokens that stand in for the sentences'")
        return {"input_ids": torch.tensor(SENTENCE_IDS), "decoder_input_ids": torch.tensor(ANSWER_IDS)}
    tokenizer = transformers.AutoTokenizer.from_pretrained(HUB, local_files_only=True)
    return {
        "input_ids": tokenizer(SENTENCE, return_tensors="pt").input_ids,
        "decoder_input_ids": tokenizer(ANSWER, return_tensors="pt").input_ids,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=100, metavar="ITERATIONS", help="calls under the profiler (100)")
    parser.add_argument("-m", choices=("eager", "compile"), default="eager", help="how the model runs (eager)")
    options = parser.parse_args()

    tokens = inputs()
    model = ENTRIES["t5-small-16"].build().model
    if options.m == "compile":
        model = torch.compile(model, backend="tuyere")
    with torch.no_grad():
        for _ in range(50):
            model(**tokens)
        with profile(activities=[ProfilerActivity.CPU]) as trace, record_function("calls"):
            for _ in range(options.n):
                model(**tokens)
    print(trace.key_averages().table(sort_by="self_cpu_time_total", row_limit=20))
    return 0


if __name__ == "__main__":
    sys.exit(main())
