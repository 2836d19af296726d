"""The same files give the same store, in whatever form they come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lnbench.data import loading
from lnbench.data.loading import open_store
from lnbench.data.specs import parse
from lnbench.data.store import Decoding
from lnbench.types import Geometry
from tests.data.forms import EVERY, NAMED, NUMBERED
from tests.data.test_loading import damage

each_form = pytest.mark.parametrize("form", EVERY)


@each_form
def test_pixels_labels_and_ids_are_those_of_the_folder(form: str, class_folder: Path, tmp_path: Path) -> None:
    """Where the classes keep their names, so is the fingerprint: a record does not know the form."""
    expected = open_store(parse(str(class_folder)), Decoding(Geometry(36)))
    store = open_store(parse(EVERY[form](class_folder, tmp_path)), Decoding(Geometry(36)))
    np.testing.assert_array_equal(store.images, expected.images)
    np.testing.assert_array_equal(store.labels, expected.labels)
    np.testing.assert_array_equal(store.ids, expected.ids)
    if form in NAMED:
        assert (store.classes, store.named) == (expected.classes, True)
        assert store.fingerprint == expected.fingerprint
    if form in NUMBERED:
        assert (store.classes, store.named) == (("0", "1", "2"), False)


@each_form
def test_a_subset_a_cache_and_many_threads_change_nothing(
    form: str, class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = parse(EVERY[form](class_folder, tmp_path))
    whole = open_store(spec, Decoding())
    monkeypatch.setattr(loading, "cpus", lambda: 7)
    monkeypatch.setattr(loading, "_TASK", 1)
    calls: list[tuple[int, int]] = []
    told = Decoding(
        limit=4, seed=3, cache=tmp_path / "cache", on_progress=lambda *counts: calls.append(counts)
    )
    part = open_store(spec, told)
    assert calls == [(done, 4) for done in (1, 2, 3, 4)]
    np.testing.assert_array_equal(part.images, whole.images[part.ids])
    assert part.names == tuple(whole.names[index] for index in part.ids)
    again = open_store(spec, told)
    assert len(calls) == 4  # nothing was decoded
    assert (again.fingerprint, again.total, again.named) == (part.fingerprint, 6, whole.named)


@each_form
def test_an_unreadable_image_is_named_or_left_out(form: str, class_folder: Path, tmp_path: Path) -> None:
    damage(class_folder, ["b/0.png"])
    store = open_store(parse(EVERY[form](class_folder, tmp_path)), Decoding(skip_unreadable=True))
    assert store.ids.tolist() == [0, 1, 3, 4, 5]
    assert len(store.skipped) == 1 and store.total == 6


@each_form
def test_other_files_at_the_same_place_are_decoded_anew(
    form: str, class_folder: Path, tmp_path: Path
) -> None:
    told = Decoding(cache=tmp_path / "cache")
    before = open_store(parse(EVERY[form](class_folder, tmp_path)), told)
    (class_folder / "a" / "0.png").write_bytes((class_folder / "c" / "1.png").read_bytes())
    after = open_store(parse(EVERY[form](class_folder, tmp_path)), told)
    np.testing.assert_array_equal(after.images[0], before.images[5])
    assert after.fingerprint != before.fingerprint
