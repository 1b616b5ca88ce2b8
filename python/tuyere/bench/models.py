"""What a suite of models is made of, and the suites: entries that build a model with its inputs, by name."""

import dataclasses
import importlib
from collections.abc import Callable

import torch
from torch import nn

SEED = 1337


@dataclasses.dataclass(frozen=True)
class Example:
    """A model ready to be called: ``model(*args, **kwargs)``."""

    model: nn.Module
    args: tuple = ()
    kwargs: dict = dataclasses.field(default_factory=dict)
    parts: tuple[str, ...] = ()  # submodules (or their forward) that are compiled one by one, where Python between them decides
    weights: str = "random"  # where they come from

    def __call__(self):
        return self.model(*self.args, **self.kwargs)

    def compiled(self, compiler: Callable[[nn.Module], Callable]) -> "Example":
        """The same example with its model, or each of its parts, replaced by what ``compiler`` makes of it."""
        if not self.parts:
            return dataclasses.replace(self, model=compiler(self.model))
        for part in self.parts:
            owner, _, name = part.rpartition(".")
            owner = self.model.get_submodule(owner)
            setattr(owner, name, compiler(getattr(owner, name)))
        return self


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of a benchmark: a family of models at one size and batch."""

    name: str
    family: Callable[..., Example]
    batch: int = dataclasses.field(default=1, kw_only=True)
    heavy: bool = dataclasses.field(default=False, kw_only=True)  # measured only when asked for by its whole name
    model: str = dataclasses.field(default="", kw_only=True)  # what several entries of a suite have in common
    settings: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)  # the means (and charts) that it counts in
    note: str = dataclasses.field(default="", kw_only=True)  # what a reader of its results should know

    def build(self, small: bool = False) -> Example:
        """Builds the model in eval mode with its inputs; ``small`` gives the test configuration."""
        torch.manual_seed(SEED)
        example = self.family(self, small)
        self.prepare(example, small)
        example.model.eval()
        return example

    def facts(self) -> dict:
        """What a report says of the entry, besides its name."""
        facts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in ("name", "family", "heavy")}
        return {name: value for name, value in facts.items() if value}

    def prepare(self, example: Example, small: bool) -> None:
        """Changes the random weights where they would hide mistakes."""


# What each suite's module says: TITLE, ENTRIES (by name) and RUNNERS (names of those that are worth comparing there).
SUITES = {"transformers": "text", "vision": "vision", "torchbench": "torchbench", "huggingface": "huggingface"}


def suite(name: str):
    """The module of a suite."""
    return importlib.import_module(f".{SUITES[name]}", __package__)


def build(of: str, name: str, checkout: str = "") -> Example:
    """An entry of a suite at full size, or the model of its name in a checkout; a plain function, so that it can be sent to a process."""
    entry = suite(of).ENTRIES[name]
    return suite(of).from_checkout(entry, checkout) if checkout else entry.build()


def select(entries: dict[str, Entry], patterns: list[str] | None) -> list[Entry]:
    """The entries whose name contains one of the patterns (an exact name selects that entry alone); all light ones for None."""
    if not patterns:
        return [entry for entry in entries.values() if not entry.heavy]
    chosen = []
    for pattern in patterns:
        found = [entries[pattern]] if pattern in entries else [e for n, e in entries.items() if pattern in n and not e.heavy]
        if not found:
            raise ValueError(f"no model is named like {pattern!r}; there are: {', '.join(entries)}")
        chosen += [entry for entry in found if entry not in chosen]
    return chosen
