"""Names of tensors: leading wrappers off, two sets matched, and the report when they do not. No torch."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lnbench.files import one_line

# DataParallel, Lightning, torch.compile: each wraps a network as an attribute of that name.
WRAPPERS = ("module.", "model.", "_orig_mod.")
Shape = tuple[int, ...]


def wrapper(names: Collection[str]) -> str:
    """The wrappers that lead *every* one of the names, as one prefix: 'module._orig_mod.', or ''."""
    prefix = ""
    while names:
        found = next((w for w in WRAPPERS if all(n.startswith(prefix + w) for n in names)), None)
        if found is None or any(len(n) == len(prefix + found) for n in names):
            break
        prefix += found
    return prefix


def modern(name: str) -> str:
    """A name as today's networks spell it.

    The published DenseNet weights say `denselayer1.norm.1.weight` where torchvision's network has
    `denselayer1.norm1.weight` (a dot was not allowed in module names after torch 0.4).
    """
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", name)


def harmless(name: str) -> bool:
    """Batch counters: absent before torch 0.4.1, unused in evaluation."""
    return name.rpartition(".")[2] == "num_batches_tracked"


@dataclass(frozen=True)
class Difference:
    """How the tensors of a file differ from those of a network, by name; both without their wrappers."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: tuple[tuple[str, Shape, Shape], ...]  # name, in the file, in the network
    common: int

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)


def compare(given: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> Difference:
    """Compare the names and shapes of a file with those of a network; batch counters never count."""
    both = [name for name in wanted if name in given]
    return Difference(
        missing=tuple(name for name in wanted if name not in given and not harmless(name)),
        unexpected=tuple(name for name in given if name not in wanted and not harmless(name)),
        shapes=tuple(
            (name, given[name], wanted[name])
            for name in both
            if given[name] != wanted[name] and not harmless(name)
        ),
        common=len(both),
    )


def common_prefix(difference: Difference, given: Collection[str]) -> str:
    """What stands before every missing name in the file: `net.` of a network within another, else ''."""
    if not difference.missing or difference.common:
        return ""
    first = difference.missing[0]
    leads = [name[: -len(first)] for name in given if name.endswith(f".{first}") and len(name) <= 200]
    fitting = (lead for lead in leads if all(lead + name in given for name in difference.missing))
    return one_line(next(fitting, ""), 200)


def summary(difference: Difference) -> str:
    """The difference in one phrase: `3 keys missing, 1 of another shape`."""
    counts = [
        (len(difference.missing), "missing"),
        (len(difference.unexpected), "unexpected"),
        (len(difference.shapes), "of another shape"),
    ]
    phrase = ", ".join(f"{count} {what}" for count, what in counts if count)
    return f"keys: {phrase}" + ("" if difference.common else ", not one in common")


def details(difference: Difference) -> str:
    """The difference for people, key by key or in groups: at most nine indented lines."""
    lines = []
    if difference.missing:
        lines.append(f"  missing from the file: {grouped(difference.missing)}")
    if difference.unexpected:
        lines.append(f"  unexpected in the file: {grouped(difference.unexpected)}")
    for name, near in near_names(difference.missing, difference.unexpected):
        lines.append(f"  near: {one_line(name, 60)} in the network, {one_line(near, 60)} in the file")
    for name, in_file, in_network in difference.shapes[:3]:
        lines.append(f"  shape: {one_line(name, 60)} is {in_file} in the file, {in_network} in the network")
    if len(difference.shapes) > 3:
        rest = [name for name, _, _ in difference.shapes[3:]]
        lines.append(f"  shape too: {grouped(rest)}")
    return "\n".join(lines)


def grouped(names: Collection[str]) -> str:
    """A few names as they are, many by their first part with a count: `layer1.* (24), fc.weight`."""
    if len(names) <= 4:
        return ", ".join(one_line(name, 60) for name in names)
    counts = Counter(name.partition(".")[0] for name in names)
    single = {name.partition(".")[0]: name for name in names}
    parts = [
        f"{one_line(part, 30)}.* ({count})" if count > 1 else one_line(single[part], 60)
        for part, count in list(counts.items())[:8]
    ]
    return ", ".join(parts) + (f", and {len(counts) - 8} more groups" if len(counts) > 8 else "")


def near_names(missing: Iterable[str], unexpected: Iterable[str]) -> list[tuple[str, str]]:
    """Up to three pairs (name in the network, similar name in the file)."""
    # Bounded, because matching is quadratic and the names may come from a stranger.
    candidates = [name for name in unexpected if len(name) <= 200][:500]
    pairs = []
    for name in [name for name in missing if len(name) <= 200][:3]:
        # A wrapper more or less, as in backbone.conv.weight, is nearer than any spelling.
        wrapped = [near for near in candidates if near.endswith(f".{name}") or name.endswith(f".{near}")]
        near = wrapped or difflib.get_close_matches(name, candidates, n=1, cutoff=0.75)
        pairs += [(name, near[0])] if near else []
    return pairs
