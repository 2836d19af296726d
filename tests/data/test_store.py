"""What stores and listings share: fingerprints and small checks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lnbench.data.store import check_side, file_stamp, fingerprint, numerals
from lnbench.errors import DataError
from lnbench.types import Geometry

LABELS, IDS = np.array([0, 1]), np.array([4, 9])
DIGESTS = [b"a" * 32, b"b" * 32]


def test_the_fingerprint_never_changes() -> None:
    # Recorded once: records of last year must still be recognised as of the same data.
    found = fingerprint(Geometry(256, 224, "bicubic"), ["a", "b"], LABELS, IDS, DIGESTS)
    assert found == "468853a240558785cd5a1b6b0bff2ecadeacc7e1af75139bc83389e1698a9fb9"


def test_everything_enters_the_fingerprint() -> None:
    prints = [
        fingerprint(Geometry(256, 224), ["a", "b"], LABELS, IDS, DIGESTS),
        fingerprint(Geometry(256), ["a", "b"], LABELS, IDS, DIGESTS),
        fingerprint(Geometry(256, 224), ["a", "c"], LABELS, IDS, DIGESTS),
        fingerprint(Geometry(256, 224), ["a", "b"], LABELS[::-1], IDS, DIGESTS),
        fingerprint(Geometry(256, 224), ["a", "b"], LABELS, IDS[::-1], DIGESTS),
        fingerprint(Geometry(256, 224), ["a", "b"], LABELS, IDS, DIGESTS[::-1]),
    ]
    assert len(set(prints)) == len(prints)


def test_file_stamps(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("x")
    stamps = {file_stamp([tmp_path / "a"]), file_stamp([tmp_path / "b"])}
    stamps.add(file_stamp([tmp_path / "a", tmp_path / "b"]))
    os.utime(tmp_path / "a", ns=(5, 5))
    stamps.add(file_stamp([tmp_path / "a"]))
    assert len(stamps) == 4


def test_numerals() -> None:
    assert numerals(np.array([2, 0, 0])) == ("0", "1", "2")


def test_sides() -> None:
    check_side(32, 32, "x")
    with pytest.raises(DataError, match=r"x: images of 32×31 px are too small: at least 32 px"):
        check_side(32, 31, "x")
