"""The options of both doors: their names, defaults and checks, in one table."""

import dataclasses
import difflib

MODES = (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


@dataclasses.dataclass(frozen=True)
class Options:
    """What options={...} may hold."""

    release_weights: bool = False  # free the originals of packed weights after the first run
    no_compiler: bool = False  # never call a C compiler: the library's own kernels and interpreted loops
    dump: str | None = None  # comma-separated passes, or "all": graph text after them goes to stderr
    strict: bool = False  # raise what went wrong inside tuyere instead of running in PyTorch (for debugging)


def parse(options, mode=None) -> Options:
    """Options from a mapping; an unknown name or a wrong type is a ValueError that lists the known ones."""
    if mode not in MODES:
        raise ValueError(f"tuyere: unknown mode {mode!r}; known modes: {', '.join(map(repr, MODES[1:]))}")
    known = {field.name: field for field in dataclasses.fields(Options)}
    given = dict(options or {})
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"tuyere: unknown option {name!r}{hint}; known options: {', '.join(sorted(known))}")
        default = known[name].default
        if not isinstance(value, (str, type(None)) if default is None else type(default)):
            kind = "a str or None" if default is None else f"a {type(default).__name__}"
            raise ValueError(f"tuyere: option {name!r} must be {kind}, got {value!r}")
    return Options(**given)
