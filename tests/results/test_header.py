"""The header says what decides the figures, in every format."""

from __future__ import annotations

import pytest

from lnbench.results import header
from lnbench.results.publish import FORMATS, Runs
from lnbench.results.schema import Record, RecordedClassMap
from tests.results.golden import sample


def record(**preprocessing: object) -> Record:
    found, _ = sample()
    prepared = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "resize": 256, "crop": [224, 192],
                "interpolation": "bicubic", **preprocessing}  # fmt: skip
    chosen = RecordedClassMap(how="by wnid", outputs=((3,), (5,)), answering=2)
    return found.model_copy(
        update={
            "model": found.model.model_copy(update={"preprocessing": prepared, "classes": 1000}),
            "data": found.data.model_copy(update={"class_map": chosen, "classes": ("n1", "n2")}),
        }
    )


def test_the_line_names_everything() -> None:
    said = header.line(record())
    for part in (
        "outputs 1000, 2 classes answer (labels matched by wnid)", "2 classes", "mean 0.5,0.5,0.5",
        "std 0.25,0.25,0.25", "resize shorter side 256", "crop 224×192", "bicubic", "fp32",
    ):  # fmt: skip
        assert part in said
    assert "\n" not in said and "assumed" not in said
    assert "mean 0.5,0.5,0.5 (assumed ImageNet)" in header.line(record(assumed=True))
    assert "resize none" in header.line(record(resize=None))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_it(name: str) -> None:
    runs = Runs((record(),), (), (None,), None)
    text = FORMATS[name](runs)
    for part in ("0.25,0.25,0.25", "shorter side 256", "bicubic", "1000, 2 classes answer"):
        assert part in " ".join(text.split()), name


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("folder:/data/imagenet/val", "folder:/data/imagenet/val"),  # of /data/imagenet
        ("zip:a.zip (set/val/)", "zip:a.zip (set/val/)"),
        ("imagenet-c:/data/my set fog/3", "imagenet-c:/data/my set"),
        ("cifar10-c:/data clean", "cifar10-c:/data"),
    ],
)
def test_the_place_is_what_the_data_was_taken_for(source: str, said: str) -> None:
    found = record()
    found = found.model_copy(update={"data": found.data.model_copy(update={"source": source})})
    assert header.place(found) == said and f"· data {said} ·" in header.line(found)
