"""Which outputs of a network answer for which label of the data: found once, or refused in one line.

Pure: names and numbers in, a `ClassMap` out. Labels are matched, in this order, by a class map of the user's,
by whole numbers, by wnid (WordNet's "n01440764"), by the network's own class names, and by order where there
are as many labels as outputs and nothing else is known.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from lnbench.data.names import is_number
from lnbench.errors import DataError
from lnbench.files import one_line

Kept = Literal["present", "all"]
Combine = Literal["mean", "largest"]

IMAGENET = 1000  # outputs of a network trained on the classes of ILSVRC 2012
# Two classes each bear these names (a bird and a machine; a dancer's tights and a swimsuit). Lists of names
# tell them apart in their own ways, so that a folder of that name says nothing.
AMBIGUOUS = frozenset({"crane", "maillot"})

_WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class Labels:
    """What a dataset says of its classes.

    `classes`: a name for each label; where not `named` they are numerals up to the largest label seen.
    `occurring`: the labels that some image of the whole dataset has. `source`: the dataset, for messages.
    """

    classes: tuple[str, ...]
    named: bool
    occurring: tuple[int, ...]
    source: str


@dataclass(frozen=True)
class Outputs:
    """What is known of a network's outputs. `names`: the names each output goes by, in order, or none.

    `certain`: the names are those of the weights in use; otherwise only of the architecture's published ones,
    and a checkpoint with as many outputs may have been trained on other classes.
    """

    count: int
    names: tuple[tuple[str, ...], ...] = ()
    certain: bool = False
    network: str = "the network"


@dataclass(frozen=True)
class Written:
    """A class map as the user wrote it: label → outputs, each by index, wnid or name; how several combine."""

    outputs: Mapping[str, tuple[str, ...]]
    combine: Combine | None
    source: str


@dataclass(frozen=True)
class ClassMap:
    """Which outputs answer for which label.

    `columns`: the outputs behind each score that is counted, in the order of the outputs; more than one are a
    superclass, whose probability is the `combine` of theirs. `column_of`: the column of each label.
    `outputs`: how many the network has. `how`: what the labels were matched by.
    """

    columns: tuple[tuple[int, ...], ...]
    column_of: tuple[int, ...]
    outputs: int
    how: str
    kept: Kept = "present"
    combine: Combine | None = None

    @property
    def plain(self) -> bool:
        """Whether every output stands for itself and label i is output i: nothing is to be done."""
        return self.columns == tuple((k,) for k in range(self.outputs)) and self.column_of == tuple(
            range(len(self.column_of))
        )


@dataclass
class _Names:
    """Outputs by normalized name."""

    found: dict[str, int] = field(default_factory=dict)
    double: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, outputs: Outputs) -> _Names:
        names = cls()
        for index, own in enumerate(outputs.names):
            for name in {normalized(text) for text in own}:
                if names.found.setdefault(name, index) != index:
                    names.double.add(name)
        if outputs.count == IMAGENET and {"tench", "goldfish"} <= names.found.keys():
            names.double |= AMBIGUOUS
        return names


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """The wnids of ImageNet's 1,000 classes in the order of a network's outputs, which is the alphabet's."""
    text = (Path(__file__).parent / "imagenet_wnids.txt").read_text(encoding="ascii")
    return tuple(text.split())


def normalized(name: str) -> str:
    """A class name for matching: case, underscores and spaces do not count."""
    return re.sub(r"[\s_]+", "", name).casefold()


def class_map(
    labels: Labels, outputs: Outputs, *, kept: Kept | None = None, written: Written | None = None
) -> ClassMap:
    """Match the labels with the outputs of a network.

    `kept`: "present" leaves the outputs of absent classes out, before softmax; "all" keeps them; None is
    "present", but for labels that count from 0 without a gap and end before the outputs do: those, and what
    else cannot be matched, raise DataError.
    """
    if not labels.classes:
        raise DataError(
            f"{labels.source} has no labels, so nothing can be scored; such images are for choose, and for "
            "convert --distill and --calibrate"
        )
    if written is not None:
        groups, how = _by_file(labels, outputs, written), f"by {written.source}"
    elif not labels.named or all(is_number(name) for name in labels.classes):
        groups, how = _by_number(labels, outputs, kept), "by number"
    else:
        groups, how = _by_name(labels, outputs)
    # Numerals without names reach up to the largest label: which of them are classes, only the images say.
    used = tuple(range(len(labels.classes))) if labels.named else labels.occurring
    return _made(labels, outputs, groups, used, how, kept, written)


def _made(
    labels: Labels,
    outputs: Outputs,
    groups: Sequence[tuple[int, ...]],
    used: Iterable[int],
    how: str,
    kept: Kept | None,
    written: Written | None,
) -> ClassMap:
    owner: dict[int, int] = {}
    for label in used:
        for output in groups[label]:
            if owner.setdefault(output, label) != label:
                raise DataError(
                    f"{labels.source}: labels {_quoted(labels.classes[owner[output]])} and "
                    f"{_quoted(labels.classes[label])} both mean output {output} of {outputs.network}"
                )
    columns = {tuple(sorted(groups[label])) for label in used}
    if kept == "all":
        columns |= {(output,) for output in range(outputs.count) if output not in owner}
    ordered = tuple(sorted(columns))
    if len(ordered) == 1 and outputs.count > 1:
        raise DataError(
            f"{labels.source}: one class alone ({_quoted(labels.classes[0])}), and nothing to take it for "
            "when other outputs are left out: give --classes all"
        )
    place = {column: number for number, column in enumerate(ordered)}
    combine = None if written is None else written.combine
    return ClassMap(
        columns=ordered,
        column_of=tuple(place.get(tuple(sorted(group)), 0) for group in groups),
        outputs=outputs.count,
        how=how,
        kept="all" if len(ordered) == outputs.count else "present",
        combine=combine if any(len(column) > 1 for column in ordered) else None,
    )


def _by_number(labels: Labels, outputs: Outputs, kept: Kept | None) -> list[tuple[int, ...]]:
    numbers = [int(name) for name in labels.classes]
    count, highest = len(numbers), max(numbers)
    seen = count if labels.named else len(labels.occurring)
    if len(set(numbers)) < count:
        double = next(n for n, times in Counter(numbers).items() if times > 1)
        raise DataError(f"{labels.source}: two classes are called {double}; number them apart")
    if not labels.named and highest >= outputs.count:
        raise DataError(
            f"{labels.source} has labels up to {highest}, {outputs.network} has only {outputs.count} "
            "classes: another dataset's checkpoint?"
        )
    if count == outputs.count:  # numbered from 1, or with gaps, but as many as there are outputs
        place = {number: k for k, number in enumerate(sorted(numbers))}
        return [(place[number],) for number in numbers]
    if highest >= outputs.count:
        raise _refused(labels, outputs, f"the highest is {highest}, the outputs end at {outputs.count - 1}")
    if kept is None and highest == seen - 1:
        # Ten digits are no tenth of ImageNet: counted from 0 without a gap, they may be anybody's numbers.
        raise _refused(
            labels,
            outputs,
            f"if label i is output i, say so: --classes present or --classes all; else {_FILE}",
        )
    return [(number,) for number in numbers]


def _by_name(labels: Labels, outputs: Outputs) -> tuple[list[tuple[int, ...]], str]:
    count = len(labels.classes)
    known = {wnid: k for k, wnid in enumerate(imagenet_wnids())} if outputs.count == IMAGENET else {}
    strange = [name for name in labels.classes if name not in known]
    if known and not strange:
        return [(known[name],) for name in labels.classes], "by wnid"
    names = _Names.of(outputs)
    keys = [normalized(name) for name in labels.classes]
    unmatched = [name for name, key in zip(labels.classes, keys, strict=True) if key not in names.found]
    if names.found and not unmatched:
        for name, key in zip(labels.classes, keys, strict=True):
            if key in names.double:
                raise _refused(labels, outputs, f"several classes are called {_quoted(name)}; {_FILE}")
        wnids = all(_WNID.fullmatch(name) for name in labels.classes)
        return [(names.found[key],) for key in keys], "by wnid" if wnids else "by name"
    likely = 2 * min(len(strange) if known else count, len(unmatched)) < count
    if count == outputs.count and not likely and not (names.found and outputs.certain):
        return [(k,) for k in range(count)], "by order"
    if known and (len(strange) < len(unmatched) or all(_WNID.fullmatch(name) for name in strange)):
        raise _refused(labels, outputs, f"{_some(strange)} no class of ImageNet's 1,000; {_FILE}")
    if names.found:
        raise _refused(labels, outputs, f"{_some(unmatched)} none of the network's classes; {_FILE}")
    hint = f"{_FILE}, or --classes-file with the network's own class names in order"
    raise _refused(labels, outputs, hint)


_FILE = "say which with --class-map FILE"


def _by_file(labels: Labels, outputs: Outputs, written: Written) -> list[tuple[int, ...]]:
    names = _Names.of(outputs)
    wnids = {wnid: k for k, wnid in enumerate(imagenet_wnids())} if outputs.count == IMAGENET else {}
    loose: dict[str, list[str]] = {}
    for label in written.outputs:
        loose.setdefault(normalized(label), []).append(label)
    groups = []
    for name in labels.classes:
        keys = [name] if name in written.outputs else loose.get(normalized(name), [])
        if len(keys) != 1:
            why = "names it twice" if keys else "does not name it"
            raise DataError(f"{labels.source}: label {_quoted(name)}: {written.source} {why}")
        group = {_output(text, outputs, names, wnids, written, name) for text in written.outputs[keys[0]]}
        groups.append(tuple(sorted(group)))
        if len(group) > 1 and written.combine is None:
            raise DataError(
                f"{written.source}: label {_quoted(name)} has {len(group)} outputs; say 'combine: mean' or "
                "'combine: largest'"
            )
    return groups


def _output(
    text: str, outputs: Outputs, names: _Names, wnids: Mapping[str, int], written: Written, label: str
) -> int:
    """An output by index, wnid or name."""
    key = normalized(text)
    if is_number(text) and int(text) < outputs.count:
        return int(text)
    if text in wnids:
        return wnids[text]
    if key in names.found and key not in names.double:
        return names.found[key]
    if is_number(text):
        why = f"it has {outputs.count} outputs, 0 to {outputs.count - 1}"
    elif key in names.double:
        why = "several of its classes are called so; give the index"
    else:
        why = (
            "it has no class of that name" if names.found else "its class names are not known; give the index"
        )
    raise DataError(f"{written.source}: label {_quoted(label)}: {_quoted(text)} of {outputs.network}: {why}")


def _refused(labels: Labels, outputs: Outputs, why: str) -> DataError:
    count = len(labels.classes if labels.named else labels.occurring)
    return DataError(
        f"{labels.source} has {count} {'classes' if labels.named else 'labels'}, {outputs.network} "
        f"{outputs.count} outputs, and which answer for which is not known: {why}"
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(_quoted(name) for name in names[:3])
    more = f" and {len(names) - 3} more are" if len(names) > 3 else " is" if len(names) == 1 else " are"
    return shown + more


def _quoted(name: str) -> str:
    return f"'{one_line(name, 60)}'"
