"""The proposal's rule, and its file: read back, refused where it is none, never written over another."""

from __future__ import annotations

from pathlib import Path

import pytest

from lnbench.errors import RecordError, UsageError
from lnbench.results.choice import Choice, Chosen, Figure, Seen, propose, read, sentences, write

FIXED = Figure(mode="fixed", clean=1.0, cost_half=0.1, corrupted=0.4, gain=0.0, gain_half=0.0, time=1.0)


def figure(mode: str, clean: float, gain: float | None) -> Figure:
    corrupted = None if gain is None else 0.4 + gain
    return Figure(
        mode=mode, clean=clean, cost_half=0.1, corrupted=corrupted, gain=gain, gain_half=0.05, time=1.1
    )


def choice(*figures: Figure, most: float = 0.05) -> Choice:
    best = propose(figures, most)
    tuned = figures[0].gain is not None
    seen = Seen(source="folder:x", names=("a", "b"), preset="p" if tuned else None,
                corruptions=("spatter",) if tuned else (), severities=(3.0,) if tuned else ())  # fmt: skip
    return Choice(
        lnbench="0", model="net.py:build", weights="my net.pth", seed=0, most=most, figures=figures,
        chosen=Chosen(mode=best.mode, sha256="f00", seen=seen),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("others", "most", "mode"),
    [
        ([figure("a", 0.96, 0.1), figure("b", 0.99, 0.05)], 0.05, "a"),
        ([figure("a", 0.90, 0.3), figure("b", 0.99, 0.05)], 0.05, "b"),  # too dear
        ([figure("a", 0.90, 0.3), figure("b", 0.99, 0.05)], 0.10, "a"),  # dear enough to allow, to the point
        ([figure("a", 0.99, -0.1), figure("b", 0.99, 0.0)], 0.05, "fixed"),  # no gain
        ([figure("a", 0.98, 0.1), figure("b", 0.99, 0.1)], 0.05, "b"),  # the cheaper of equals
    ],
)
def test_the_mode_of_most_gain_that_is_not_too_dear(others: list[Figure], most: float, mode: str) -> None:
    assert propose((FIXED, *others), most).mode == mode


def test_without_corruptions_the_deepest_local_that_is_not_too_dear() -> None:
    still = figure("fixed", 1.0, None)
    deep = [figure(f"local:layers=first{k}", 1 - k / 50, None) for k in (1, 2, 3)]
    assert propose((still, *deep, figure("adapt:n=32", 1.0, None)), 0.05).mode == "local:layers=first2"
    assert propose((still, *deep), 0.01).mode == "fixed"


def test_a_choice_is_read_back_and_says_what_to_run_next(tmp_path: Path) -> None:
    path, made = tmp_path / "a choice.json", choice(FIXED, figure("local:layers=first1", 0.97, 0.2))
    write(made, path)
    write(made, path)  # one of ours is replaced
    assert read(path) == made
    text = list(sentences(made, str(path)))
    assert "Proposed: local:layers=first1. Expected gain: +20.0 ± 5.0 points" in text[1]
    assert "within chance" not in text[1] and "Cost: 3.0 ± 10.0 points" in text[1]
    assert text[-1].endswith(f"--weights 'my net.pth' --data … --norm fixed --norm '{path}'")
    assert "within chance" in list(sentences(choice(FIXED, figure("a", 1.0, 0.04)), "x"))[1]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": "other"}', "[" * 100_000, "\x00"])
def test_another_file_is_no_choice_and_is_not_overwritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(RecordError, match="is no choice that"):
        read(path)
    with pytest.raises(UsageError, match="is not overwritten"):
        write(choice(FIXED), path)
    assert path.read_text() == content


def test_what_it_was_chosen_by_is_not_reported_on() -> None:
    chosen = choice(FIXED, figure("a", 1.0, 0.1)).chosen
    chosen.check(("fog", "contrast"))
    with pytest.raises(UsageError, match="was chosen by spatter"):
        chosen.check(("fog", "spatter"))
    assert "tuned on spatter" in chosen.note("folder:y", ("a", "b"), "f00")
    assert "evaluated here" not in chosen.note("folder:y", ("a", "b"), "f00")
    assert "1 of them are among the images evaluated here" in chosen.note("folder:x", ("a", "c"), "f00")
    assert "for other weights" in chosen.note("folder:y", (), "beef")
