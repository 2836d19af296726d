"""Which norm layers a mode is for: `layers=first3`, `localnorm`, or names with patterns."""

from __future__ import annotations

import fnmatch

from lnbench.errors import UsageError

ALL = "all"


def select(layers: str, names: tuple[str, ...], local: tuple[str, ...], asked: str) -> frozenset[str]:
    """The layers that `layers=` picks from the norm layers of a network, `local` among them being LocalNorm.

    `all`, `localnorm`, `first3`, `last3`, or names with `*` for anything, several joined by `|`.
    Raises UsageError, naming the mode as `asked`, where it picks none.
    """
    if layers == ALL:
        return frozenset(names)
    if layers == "localnorm":
        if not local:
            raise UsageError(
                f"mode '{asked}': the network has no LocalNorm layers; make some with lnbench convert"
            )
        return frozenset(local)
    for end in ("first", "last"):
        if layers.startswith(end) and (count := layers.removeprefix(end)).isdecimal():
            if int(count) > len(names):
                raise UsageError(f"mode '{asked}': the network has only {len(names)} norm layers")
            return frozenset(names[: int(count)] if end == "first" else names[len(names) - int(count) :])
    found = frozenset(
        name for name in names for pattern in layers.split("|") if fnmatch.fnmatchcase(name, pattern)
    )
    if not found:
        raise UsageError(
            f"mode '{asked}': no norm layer is called '{layers}'; the first are {', '.join(names[:4])}"
        )
    return found


def read_layers(text: str, value: str) -> str:
    """The canonical text of `layers=`; `text` is the mode it is said in. Raises UsageError."""
    if not value.isascii() or not value.isprintable() or set(value) & set("/' \""):
        raise UsageError(
            f"mode '{text}': layers takes all, localnorm, first3, last3 or names such as bn1|layer1.*"
        )
    for end in ("first", "last"):
        if value.startswith(end) and (count := value.removeprefix(end)).isdecimal():
            if len(count) > 6:
                raise UsageError(f"mode '{text}': no network has {count[:20]}… norm layers")
            return f"{end}{int(count)}"
    return value
