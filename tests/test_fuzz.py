"""A short run of `benchmarks/fuzz.py`: damaged and invented inputs end in a result or in one line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.fuzz import KINDS
from lnbench.errors import LnbenchError

CASES = 20


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_strangers_input_ends_in_a_result_or_one_line(kind: object, tmp_path: Path) -> None:
    for number in range(CASES):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            kind(folder, random.Random(number))  # type: ignore[operator]
        except LnbenchError as error:
            assert "\n" not in str(error), number


# Cases of the long run that once ended otherwise.
FOUND = {"a packed archive damaged within": ("archive", (7822, 9376))}


@pytest.mark.parametrize("what", FOUND)
def test_what_the_long_run_found(what: str, tmp_path: Path) -> None:
    name, numbers = FOUND[what]
    kind = next(kind for kind in KINDS if kind.__name__ == name)
    for number in numbers:
        (tmp_path / str(number)).mkdir()
        with pytest.raises(LnbenchError):
            kind(tmp_path / str(number), random.Random(number))
