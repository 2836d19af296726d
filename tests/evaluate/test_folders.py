"""The scratch folder: one for each run, locked, removed with nothing of anybody else's."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest

from lnbench import config
from lnbench.dist import ALONE
from lnbench.evaluate.folders import _LOCK, run_name, scratch
from lnbench.files import lock


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, "core-demo"),
        ({"modes": ["tent"], "batch_size": 32}, "core-demo-b32"),
        ({"order": "sorted", "batch_size": 16}, "core-demo-sorted-b16"),
        (
            {"order": "dirichlet:delta=.1", "sequence": "continual"},
            "core-demo-dirichlet-delta-0.1-continual-b200",
        ),
        ({"mixed": True}, "core-demo-mixed-b200"),
    ],
)
def test_the_name_of_a_run_says_how_its_images_come(options: dict[str, Any], wanted: str) -> None:
    resolved = config.resolve(config.load_preset("core"), {"model": "demo", "data": "demo", **options})
    name, _, digest = run_name(resolved).rpartition("-")
    assert name == wanted and re.fullmatch("[0-9a-f]{8}", digest)


def test_two_runs_have_two_folders_and_neither_takes_the_others(tmp_path: Path) -> None:
    with scratch(tmp_path / "out", ALONE) as one:
        (one / "a.lnstore").write_text("decoding")
        with scratch(tmp_path / "out", ALONE) as other:
            assert other != one and other.parent == one.parent == tmp_path
        assert (one / "a.lnstore").exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", [None, Path("a/b/run")])
def test_nothing_is_left_and_no_folder_that_was_there_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: Path | None
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError), scratch(out, ALONE) as folder:
        (folder / ".a.lnstore.tmp").write_text("half")
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs").mkdir()
    (tmp_path / "a").mkdir()
    with scratch(out, ALONE):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "runs"]


def test_what_is_there_stays_but_what_a_killed_run_left_goes(tmp_path: Path) -> None:
    def folder(name: str, *files: str) -> Path:
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_text("")
        return tmp_path / name

    token = "0123456789abcdef"
    stay = [
        folder(".out.images", "photo.png"),  # somebody's
        folder(f".out.images-{token}", "a.lnstore"),  # without the lock, nobody knows whose
        folder(".out.images-mine", _LOCK),
        folder(".other.images-" + token, _LOCK),
        folder(".out.images-" + token[::-1], _LOCK),  # held by a run
        folder("elsewhere", _LOCK, "a.lnstore"),
    ]
    (tmp_path / f".out.images-{'1' * 16}").symlink_to(tmp_path / "elsewhere")
    left = folder(f".out.images-{'2' * 16}", _LOCK, "a.lnstore", "a.lock", ".b.lnstore.tmp")
    mixed = folder(f".out.images-{'3' * 16}", _LOCK, "a.lnstore", "photo.png")
    before = {one: sorted(one.iterdir()) for one in stay}
    with lock(stay[4] / _LOCK), contextlib.suppress(OSError), scratch(tmp_path / "out", ALONE):
        pass
    assert {one: sorted(one.iterdir()) for one in stay} == before
    assert not left.exists()
    assert [file.name for file in mixed.iterdir()] == ["photo.png"]
