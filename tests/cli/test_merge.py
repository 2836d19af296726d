"""Shards and their join: the record of an undivided run, and no other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Lnbench
from tests.networks import write_task

OPTIONS = [
    "--corruption", "gaussian_noise", "--corruption", "contrast", "--severity", 2, "--severity", 5,
    "--norm", "fixed", "--norm", "batch", "--batch-size", 20,
]  # fmt: skip


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    model, weights, data = write_task(tmp_path_factory.mktemp("task"), images=60)
    return ["--model", model, "--weights", weights, "--data", data, *OPTIONS]


@pytest.fixture
def shards(lnbench: Lnbench, task: list[object], tmp_path: Path) -> list[Path]:
    folders = [tmp_path / f"part{number}" for number in (1, 2, 3)]
    for number, folder in enumerate(folders, 1):
        ran = lnbench("evaluate", *task, "--shard", f"{number}/3", "--out", folder)
        assert ran.code == 0, ran.err
    return folders


def record(folder: Path) -> dict[str, Any]:
    """`results.json` without what a time or a command line is in."""
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    for name in ("command", "started", "checksum"):
        del content[name]
    for cell in content["cells"]:
        del cell["seconds"]
    return content


def test_merged_shards_are_the_undivided_run(
    lnbench: Lnbench, task: list[object], shards: list[Path], tmp_path: Path
) -> None:
    assert lnbench("evaluate", *task, "--out", tmp_path / "whole").code == 0
    ran = lnbench("merge", tmp_path / "merged", shards[2], shards[0], shards[1])
    assert ran.code == 0, ran.err
    assert "gaussian_noise" in ran.out
    assert record(tmp_path / "merged") == record(tmp_path / "whole")
    for name in ("correct.npz", "results.csv"):
        one, other = ((tmp_path / folder / name) for folder in ("merged", "whole"))
        if name == "correct.npz":
            assert one.read_bytes() == other.read_bytes()
        assert one.exists() and other.exists()
    again = lnbench("merge", tmp_path / "merged", *shards)
    assert again.code == 0 and record(tmp_path / "merged") == record(tmp_path / "whole")


def test_a_merged_folder_goes_on_as_the_undivided_run(
    lnbench: Lnbench, task: list[object], shards: list[Path], tmp_path: Path
) -> None:
    assert lnbench("merge", tmp_path / "merged", *shards).code == 0
    ran = lnbench("evaluate", *task, "--out", tmp_path / "merged")
    assert ran.code == 0 and "10 of 10 cells are finished already" in ran.err


def test_gaps_overlaps_and_strangers_are_refused(
    lnbench: Lnbench, task: list[object], shards: list[Path], tmp_path: Path
) -> None:
    first, second, third = shards

    def refused(*folders: Path) -> str:
        ran = lnbench("merge", tmp_path / "merged", *folders)
        assert (ran.code, ran.out, len(ran.err.splitlines())) == (3, "", 1), ran
        assert not (tmp_path / "merged").exists()
        return ran.err

    assert "1 of 3 shards are missing: 2" in refused(first, third)
    assert "shard 1/3 is there twice" in refused(first, second, third, first)
    shutil.copytree(first, tmp_path / "copy")
    assert "shard 1/3 is there twice" in refused(first, second, third, tmp_path / "copy")
    lnbench("evaluate", *task, "--out", tmp_path / "whole")
    assert "is a whole run, not a shard" in refused(first, second, third, tmp_path / "whole")
    lnbench("evaluate", *task, "--shard", "3/3", "--seed", 1, "--out", tmp_path / "other")
    assert "shards of different runs (suite.seed is 0 there and 1 now)" in refused(
        first, second, tmp_path / "other"
    )
    lnbench("evaluate", *task, "--shard", "2/2", "--out", tmp_path / "halves")
    assert "cut into 2 shards, the first into 3" in refused(first, tmp_path / "halves", third)
    (second / "results.json").unlink()
    assert "unfinished run" in refused(first, second, third)
    assert "does not exist" in refused(first, tmp_path / "absent")


@pytest.mark.parametrize("text", ["0/3", "4/3", "half"])
def test_a_shard_that_is_none_is_a_usage_error(lnbench: Lnbench, task: list[object], text: str) -> None:
    ran = lnbench("evaluate", *task, "--shard", text)
    assert ran.code == 2 and "--shard takes i/n" in ran.err
