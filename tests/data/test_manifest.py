"""The note beside an export."""

from __future__ import annotations

from pathlib import Path

import pytest

from lnbench.data.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from lnbench.errors import DataError
from lnbench.types import Condition

SAMPLE = Manifest("imagenet-c", {"seed": "1"}, ("a", "b"), frozenset({"fog/1", "contrast/2.5"}))


def test_round_trip(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    write_manifest(tmp_path, SAMPLE)
    assert read_manifest(tmp_path) == SAMPLE
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]
    assert SAMPLE.has(Condition("contrast", 2.5)) and not SAMPLE.has(Condition("fog", 2))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"schema": 1}', "[" * 100_000,
     '{"schema": 1, "layout": 3, "identity": {}, "classes": [], "finished": []}',
     '{"schema": 1, "layout": "x", "identity": [], "classes": [], "finished": []}',
     '{"schema": 1, "layout": "x", "identity": {}, "classes": [1], "finished": []}'],
)  # fmt: skip
def test_damage(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(DataError, match="damaged; remove the folder"):
        read_manifest(tmp_path)


def test_a_later_schema(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"schema": 2}')
    with pytest.raises(DataError, match="schema 2 is not known"):
        read_manifest(tmp_path)
