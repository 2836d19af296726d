"""Labels as files give them beside each image: all whole numbers, or all names of classes, such as wnids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lnbench.data.arrays import MAX_CLASSES
from lnbench.data.store import numerals
from lnbench.data.tree import shown
from lnbench.errors import DataError
from lnbench.files import one_line
from lnbench.hashing import Indices


class LabelColumn(NamedTuple):
    """`labels`: int64 (N,), indices into `classes`; `named`: whether the classes have names of their own."""

    labels: Indices
    classes: tuple[str, ...]
    named: bool


def labels_of(values: Sequence[int | str], source: str, names: Sequence[str] | None = None) -> LabelColumn:
    """Read the label of each image; `names`: what the numbers stand for, where the file says so.

    Numbers are labels as they are. Names are sorted, and their places are the labels. Raises DataError for
    a mixture, for numbers below zero or beyond the names, and where there is nothing.
    """
    if not values:
        raise DataError(f"{source}: holds no images")
    numbers = [_number(value) for value in values]
    known = [number for number in numbers if number is not None]
    if not known:
        classes = sorted({str(value) for value in values})
        if len(classes) > MAX_CLASSES:
            raise DataError(f"{source}: {len(classes)} different labels are no classes")
        place = {name: label for label, name in enumerate(classes)}
        return LabelColumn(np.array([place[str(value)] for value in values], np.int64), shown(classes), True)
    if len(known) < len(values):
        odd = one_line(values[numbers.index(None)], 60)
        raise DataError(f"{source}: labels are numbers ({known[0]}) and names ('{odd}'); give one kind")
    low, high = min(known), max(known)
    count = MAX_CLASSES if names is None else len(names)
    if low < 0 or high >= count:
        raise DataError(f"{source}: label {low if low < 0 else high} lies outside 0…{count - 1}")
    labels = np.array(known, np.int64)
    return LabelColumn(labels, numerals(labels) if names is None else shown(names), names is not None)


def _number(value: int | str) -> int | None:
    """The whole number that stands there, or None for a name."""
    if isinstance(value, int):
        return value
    digits = value.removeprefix("-")
    return int(value) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else None
