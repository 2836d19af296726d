"""`evaluate --rounds`, `--until` and `--against` as a person gives them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lnbench.evaluate import loop
from tests.cli.conftest import Lnbench
from tests.networks import write_task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    model, weights, data = write_task(tmp_path_factory.mktemp("task"), images=1_300)
    return ["evaluate", "--preset", "core", "--model", model, "--weights", weights, "--data", data,
            "--corruption", "contrast", "--severity", 5, "--batch-size", 64, "--norm", "fixed"]  # fmt: skip


def test_a_run_ends_when_it_is_known_and_says_so(
    lnbench: Lnbench, task: list[object], tmp_path: Path
) -> None:
    ran = lnbench(*task, "--until", "8", "--out", tmp_path / "run")
    said = ran.out.replace("\n", " ")
    assert ran.code == 0 and "512 of 1,300 images: known to ± 8 points" in said
    # What was said of the round and what the table says are one figure, that by which the run ended.
    found = re.search(
        r"512 of 1,300 images: fixed clean [\d.]+ ±([\d.]+), mean [\d.]+ ±([\d.]+)",
        ran.err.replace("\n", " "),
    )
    assert found is not None
    shown = [
        line.split()[-1] for line in ran.out.splitlines() if line.strip().startswith("±") and "of" not in line
    ]
    assert shown == [f"±{float(each):.1f}" for each in found.groups()]
    assert "at most about 0:0" in lnbench(*task, "--until", "8", "--out", tmp_path / "new", "--dry-run").out
    assert (
        "at whatever moment one looks (95 %)" in said and "had their number been fixed: fixed clean" in said
    )
    assert "with a smaller --until, or without, goes on from here" in ran.err.replace("\n", " ")
    left = lnbench(*task, "--rounds", "--out", tmp_path / "run", "--dry-run").out
    assert "512 of 1,300 images are counted already" in left and f"{2 * (1_300 - 512):,} forward" in left
    shown = lnbench("report", tmp_path / "run")
    assert shown.code == 0 and "512 of 1,300 images" in shown.out
    for suffix in ("md", "html", "csv", "tex"):
        assert lnbench("report", tmp_path / "run", "-o", tmp_path / f"report.{suffix}").code == 0
    assert "512 of 1,300 images" in (tmp_path / "report.md").read_text()
    again = lnbench(*task, "--out", tmp_path / "run")
    assert again.code == 0 and "of 1,300 images" not in again.out


def test_a_set_of_one_round_needs_no_batch_that_fits(
    lnbench: Lnbench, task: list[object], tmp_path: Path
) -> None:
    words = [*task, "--norm", "batch", "--batch-size", 120, "--rounds", "--out", tmp_path / "run"]
    assert lnbench(*words, "--limit", 120).code == 0
    refused = lnbench(*words[:-1], tmp_path / "other")
    assert refused.code == 2 and "so 960 at least, of 1300: use --batch-size 128" in refused.err.replace(
        "\n", " "
    )


def test_a_gate_ends_when_it_is_decided(lnbench: Lnbench, task: list[object], tmp_path: Path) -> None:
    base = tmp_path / "base"
    assert lnbench(*task, "--out", base).code == 0
    assert lnbench("compare", base, "--update-baseline", tmp_path / "base.json").code == 0
    new = tmp_path / "new"
    ran = lnbench(*task, "--against", tmp_path / "base.json", "--margin", "3pp", "--out", new)
    assert ran.code == 0 and "PASS: 0 worse, 2 not worse by more than 3 points" in ran.out.replace("\n", " ")
    found = lnbench("compare", tmp_path / "base.json", new)
    assert found.code == 0 and "on the 512 images that both runs counted" in found.out


def test_runs_that_ended_early_stand_beside_others_with_a_word_and_not_over_seeds(
    lnbench: Lnbench, task: list[object], tmp_path: Path
) -> None:
    for seed in (0, 1):
        assert lnbench(*task, "--seed", seed, "--rounds", "--until", "8",
                       "--out", tmp_path / "early" / f"seed-{seed}").code == 0  # fmt: skip
    assert lnbench(*task, "--out", tmp_path / "whole").code == 0
    early = tmp_path / "early"
    ranked = lnbench("compare", tmp_path / "whole", early / "seed-0", early / "seed-1")
    assert ranked.code == 0 and "512 images counted beside 1,300" in ranked.out.replace("\n", " ")
    ran = lnbench("compare", early, early)
    assert ran.code == 3 and "the runs of seed 0, 1 ended early" in ran.err


def test_an_interrupted_run_shows_its_table_and_ends_as_ever(
    lnbench: Lnbench, task: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = loop.run

    def interrupted(*given: Any) -> Any:
        if given[-1].span.start == 512:
            raise KeyboardInterrupt
        return run(*given)

    monkeypatch.setattr(loop, "run", interrupted)
    ran = lnbench(*task, "--rounds", "--out", tmp_path / "run")
    assert ran.code == 130 and "512 of 1,300 images: interrupted" in ran.out
    assert "the same command goes on" in ran.err


@pytest.mark.parametrize(
    "more, message",
    [
        (["--until", "x"], "give points"),
        (["--until", "fixed/fog:1"], "matches no cell"),
        (["--margin", "1pp"], "--margin is for --against"),
        (["--rounds", "--norm", "tent"], "learns along the stream"),
        (["--rounds", "--order", "sorted"], "do not go with --order"),
        (["--rounds", "--shard", "1/2"], "do not go with --shard"),
        (["--against", "missing.json"], "does not exist"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    lnbench: Lnbench, task: list[object], tmp_path: Path, more: list[str], message: str
) -> None:
    ran = lnbench(*task, *more, "--out", tmp_path / "run")
    assert ran.code in (2, 3) and message in ran.err and ran.err.splitlines()[-1].startswith("lnbench: ")
