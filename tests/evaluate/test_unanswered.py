"""Outputs that are not numbers: counted, scored wrong, said once, and the run goes on."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lnbench import config
from lnbench.evaluate import evaluation
from lnbench.results.reading import read
from lnbench.results.schema import Record
from tests.networks import FACTORY, pictures, write_task

# Some pictures are darker than the others; what the network sees of those is spoilt.
SPOILT = """

class Spoilt(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = tiny()

    def forward(self, x):
        dark = x.mean((1, 2, 3), keepdim=True) < -1.9
        return self.network(x.where(~dark, {value}))


def spoilt(classes=4):
    return Spoilt()
"""
DARK = 3


@pytest.fixture
def task(tmp_path: Path) -> dict[str, object]:
    write_task(tmp_path)
    pixels, labels = pictures()
    pixels[[4, 40, 77]] = 3
    np.savez(tmp_path / "data.npz", images=pixels, labels=labels)
    state = torch.load(tmp_path / "net.pth", weights_only=True)["state_dict"]
    torch.save({f"network.{name}": value for name, value in state.items()}, tmp_path / "net.pth")
    return {
        "model": f"{tmp_path / 'net.py'}:spoilt",
        "weights": str(tmp_path / "net.pth"),
        "data": f"npz:{tmp_path / 'data.npz'}",
        "severities": [1],
        "corruptions": ["contrast", "pixelate"],
        "modes": ["fixed", "batch", "adapt:n=8"],
        "batch_size": 30,
    }


def run(task: dict[str, object], out: Path, value: str, **options: object) -> tuple[Record, list[str]]:
    said: list[str] = []
    observer = evaluation.Observer(warning=said.append)
    (out.parent / "net.py").write_text(FACTORY + SPOILT.replace("{value}", value))
    run = config.resolve(config.load_preset("core"), {**task, **options})
    ready = evaluation.prepare_all([run], observer=observer)
    (outcome,) = evaluation.evaluate(ready, [out], observer=observer)
    return outcome.record, said


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')"])
def test_the_run_is_kept(task: dict[str, object], tmp_path: Path, value: str) -> None:
    out = tmp_path / "run"
    record, said = run(task, out, value, diagnose=True)
    assert len(record.cells) == 9
    spoilt = [cell for cell in record.cells if cell.unanswered]
    assert {cell.unanswered for cell in spoilt if cell.mode == "fixed"} == {DARK}
    for cell in spoilt:
        assert cell.scores.get("nll") is None and cell.scores.get("ece") is None
        assert sum(n for n, _, _ in cell.bins or ()) == cell.images - (cell.unanswered or 0)
    (text,) = [text for text in said if "not numbers" in text]
    clean = max((c for c in record.cells if c.corruption == "clean"), key=lambda cell: cell.unanswered or 0)
    assert text == (
        f"net: {clean.unanswered} of 90 images got outputs that are not numbers under {clean.name}: "
        "counted as wrong, without NLL and ECE"
    )
    total = sum(cell.unanswered or 0 for cell in record.cells)
    (note,) = [text for text in record.deviations if "not numbers" in text]
    assert note.startswith(f"{total} predictions in {len(spoilt)} of 9 cells")
    assert read(out) == replace_bits(record)
    again, _ = run(task, out, value, diagnose=True)
    assert again.deviations == record.deviations


def replace_bits(record: Record) -> Record:
    """The record as its file holds it."""
    kept = []
    for cell in record.cells:
        scores = {name: value for name, value in cell.scores.items() if value is not None}
        kept.append(cell.model_copy(update={"correct": None, "scores": scores}))
    return record.model_copy(update={"cells": tuple(kept)})


def test_the_other_images_are_what_they_are_without(task: dict[str, object], tmp_path: Path) -> None:
    """Spoilt images count as wrong; all others as in a network that answers them."""
    run(task, tmp_path / "spoilt", "float('nan')", modes=["fixed"])
    whole, said = run(task, tmp_path / "whole", "-1e9", modes=["fixed"])
    assert not [text for text in said if "not numbers" in text]
    assert not [text for text in whole.deviations if "not numbers" in text]
    bits = [np.load(tmp_path / name / "correct.npz")["bits"] for name in ("spoilt", "whole")]
    flags = [np.unpackbits(one, axis=1, count=90).astype(bool) for one in bits]
    others = np.setdiff1d(np.arange(90), [4, 40, 77])
    assert np.array_equal(flags[0][0, others], flags[1][0, others])
    assert not flags[0][0, [4, 40, 77]].any()
    assert json.loads((tmp_path / "spoilt" / "results.json").read_text())["cells"][0]["unanswered"] == DARK
    assert not math.isnan(whole.cells[0].scores["nll"] or 0)
