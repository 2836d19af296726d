"""Natural shifts: the same engine on other sets, beside the clean images of their classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lnbench.data.folder import list_folder
from lnbench.data.loading import open_listing
from lnbench.data.store import Decoding
from tests.cli.conftest import Lnbench
from tests.networks import normalized, pictures, trained, write_task

NAMES = ("ant", "bee", "cat", "dog")
OPTIONS = ("--corruption", "contrast", "--severity", 3, "--batch-size", 8)


def write_set(folder: Path, seed: int, images: int, kept: tuple[str, ...] = NAMES) -> Path:
    """Class folders of the pictures of `kept` classes, so noisy that some are taken for another's."""
    random = np.random.default_rng(seed)
    for index, (clean, label) in enumerate(zip(*pictures(images, seed=seed), strict=True)):
        picture = np.clip(clean + random.normal(0, 110, clean.shape), 0, 255).astype(np.uint8)
        if NAMES[label] in kept:
            (folder / NAMES[label]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / NAMES[label] / f"{index:03d}.png")
    return folder


@pytest.fixture
def task(tmp_path: Path) -> list[object]:
    """Options of a run: a network of four named classes and clean images of all of them."""
    model, weights, _ = write_task(tmp_path, images=8)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    clean = write_set(tmp_path / "clean", 3, 48)
    return ["evaluate", "--model", model, "--weights", weights, "--data", clean,
            "--classes-file", tmp_path / "names.txt", *OPTIONS]  # fmt: skip


def accuracy(folder: Path, kept: tuple[str, ...], outputs: tuple[str, ...] | None = None) -> float:
    """Independently: argmax over the outputs of `outputs` (else of `kept`), on images of `kept` classes."""
    network = trained()
    columns = [NAMES.index(name) for name in outputs or kept]
    store = open_listing(list_folder(folder), Decoding())
    right = total = 0
    with torch.no_grad():
        for image, label in zip(store.images, store.labels, strict=True):
            if store.classes[label] in kept:
                logits = network(normalized(torch.from_numpy(image[None].copy())))[0, columns]
                right += columns[int(logits.argmax())] == NAMES.index(store.classes[label])
                total += 1
    return right / total


def record_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def cells_of(folder: Path) -> dict[tuple[str, str, float], float]:
    return {(c["mode"], c["corruption"], c["severity"]): c["top1"] for c in record_of(folder)["cells"]}


def test_figures_are_those_of_a_script(lnbench: Lnbench, task: list[object], tmp_path: Path) -> None:
    """All classes, two of them, and both sets beside each other; nothing else in the run moves."""
    some = ("ant", "cat")
    whole = write_set(tmp_path / "whole", 21, 40)
    part = write_set(tmp_path / "part", 22, 40, some)
    plain = lnbench(*task, "--norm", "fixed", "--norm", "batch", "--out", tmp_path / "plain")
    assert plain.code == 0, plain.err
    ran = lnbench(*task, "--norm", "fixed", "--norm", "batch", "--shift", f"whole={whole}",
                  "--shift", f"part=folder:{part}", "--out", tmp_path / "run")  # fmt: skip
    assert ran.code == 0, ran.err
    found, before = cells_of(tmp_path / "run"), cells_of(tmp_path / "plain")
    assert {key: found[key] for key in before} == before
    assert {key[1] for key in found} - {key[1] for key in before} == {"whole", "part", "clean@part"}
    assert found["fixed", "whole", 0] == pytest.approx(accuracy(whole, NAMES))
    assert found["fixed", "part", 0] == pytest.approx(accuracy(part, some))
    assert found["fixed", "clean@part", 0] == pytest.approx(accuracy(tmp_path / "clean", some))
    # Neither the mask nor the choice of images could be left out unnoticed.
    assert accuracy(part, some) != accuracy(part, some, NAMES)
    assert len({found["fixed", name, 0] for name in ("whole", "part", "clean", "clean@part")}) == 4
    record = record_of(tmp_path / "run")
    summary, usual = record["summary"]["fixed"], record_of(tmp_path / "plain")["summary"]["fixed"]
    for name in ("clean_top1", "mean_corruption_top1", "mean_corruption_interval", "corruption_set"):
        assert summary[name] == usual[name]
    gap = summary["shifts"]["part"]
    assert gap["gap"] == pytest.approx(found["fixed", "clean@part", 0] - found["fixed", "part", 0])
    assert summary["shifts"]["whole"]["clean_top1"] == found["fixed", "clean", 0]
    assert record["shifts"]["whole"]["beside"] == "clean"
    assert (record["shifts"]["part"]["classes"], record["shifts"]["part"]["shared"]) == (2, 2)
    for text in ("whole", "clean, classes of part", "part gap"):
        assert text in ran.out
    assert "clean@part" in (tmp_path / "run" / "results.csv").read_text()
    for name in ("results.csv", "report.md", "report.html"):
        assert "part" in (tmp_path / "run" / name).read_text()


def test_a_shift_of_the_clean_images_has_no_gap(lnbench: Lnbench, task: list[object], tmp_path: Path) -> None:
    """The same files, all or of some classes: every mode finds the same on both sides."""
    some = write_set(tmp_path / "some", 3, 48, ("bee", "dog"))
    ran = lnbench(*task, "--norm", "fixed", "--norm", "batch", "--norm", "local", "--norm", "adapt:n=4",
                  "--shift", f"same={tmp_path / 'clean'}", "--shift", f"some={some}",
                  "--out", tmp_path / "run")  # fmt: skip
    assert ran.code == 0, ran.err
    for mode, summary in record_of(tmp_path / "run")["summary"].items():
        if mode != "adapt:n=4":  # draws other images for each condition
            assert [gap["gap"] for gap in summary["shifts"].values()] == [0, 0], mode


def test_interrupted_it_goes_on_and_other_images_are_another_run(
    lnbench: Lnbench,
    task: list[object],
    tmp_path: Path,
) -> None:
    part = write_set(tmp_path / "part", 22, 40, ("ant", "cat"))
    options = [*task, "--norm", "fixed", "--shift", f"part={part}", "--out", tmp_path / "run"]
    assert lnbench(*options).code == 0
    whole, lines = (
        cells_of(tmp_path / "run"),
        (tmp_path / "run" / "cells.jsonl").read_bytes().splitlines(True),
    )
    assert len(lines) == 4
    (tmp_path / "run" / "cells.jsonl").write_bytes(b"".join(lines[:3]))
    (tmp_path / "part").rename(tmp_path / "moved")
    options[options.index(f"part={part}")] = f"part={tmp_path / 'moved'}"
    assert lnbench(*options).code == 0
    assert cells_of(tmp_path / "run") == whole
    next((tmp_path / "moved" / "ant").iterdir()).unlink()
    ran = lnbench(*options)
    assert ran.code == 3 and "holds another run (shifts.part" in ran.err


def test_the_gate_sees_a_shift(lnbench: Lnbench, task: list[object], tmp_path: Path) -> None:
    part = write_set(tmp_path / "part", 22, 40, ("ant", "cat"))
    for name in ("base", "new"):
        ran = lnbench(*task, "--norm", "fixed", "--shift", f"part={part}", "--out", tmp_path / name)
        assert ran.code == 0, ran.err
    ran = lnbench("compare", tmp_path / "base", tmp_path / "new")
    assert ran.code == 0, ran.err
    assert "4 cells" in ran.out
    part = write_set(tmp_path / "other", 23, 40, ("ant", "cat"))
    assert lnbench(*task, "--norm", "fixed", "--shift", f"part={part}", "--out", tmp_path / "third").code == 0
    ran = lnbench("compare", tmp_path / "base", tmp_path / "third")
    assert "different data of shift part" in ran.out + ran.err


def test_a_preset_names_shifts(lnbench: Lnbench, task: list[object], tmp_path: Path) -> None:
    part = write_set(tmp_path / "part", 22, 40, ("ant", "cat"))
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nversion: 3\ncorruptions: [contrast]\nseverities: [3]\nbatch_size: 8\n"
        f"shifts:\n  part: {part}\n"
    )
    ran = lnbench(*task, "--preset", tmp_path / "mine.yaml", "--norm", "fixed", "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    record = record_of(tmp_path / "run")
    assert (record["suite"]["preset"], record["suite"]["version"]) == ("mine", 3)
    assert ["part", 0] in record["suite"]["conditions"]


def test_stored_conditions_and_mixed_streams_have_shifts_too(
    lnbench: Lnbench,
    task: list[object],
    tmp_path: Path,
) -> None:
    part = write_set(tmp_path / "part", 22, 40, ("ant", "cat"))
    shift = ("--norm", "fixed", "--norm", "batch", "--shift", f"part={part}")
    usual = lnbench(*task, *shift, "--out", tmp_path / "usual")
    assert usual.code == 0, usual.err
    mixed = lnbench(*task, *shift, "--mixed", "--out", tmp_path / "mixed")
    assert mixed.code == 0, mixed.err
    first, second = cells_of(tmp_path / "usual"), cells_of(tmp_path / "mixed")
    assert {k: v for k, v in first.items() if k[2] == 0} == {k: v for k, v in second.items() if k[2] == 0}
    exported = lnbench("corrupt-export", tmp_path / "clean", tmp_path / "stored", "--layout", "imagenet-c",
                       "--preset", "core", *OPTIONS[:4])  # fmt: skip
    assert exported.code == 0, exported.err
    again = [tmp_path / "stored" if word == tmp_path / "clean" else word for word in task]
    stored = lnbench(*again, *shift, "--out", tmp_path / "third")
    assert stored.code == 0, stored.err
    assert cells_of(tmp_path / "third") == first


WRONG = {
    "part": (2, "--shift takes NAME=DATA, got 'part'"),
    "clean={part}": (2, "that is a condition already"),
    "fog={part}": (2, "that is a condition already"),
    "a b={part}": (2, "a shift's name has letters, digits"),
    "x={part}/nowhere": (3, "no such file or folder"),
    "x={strange}": (3, "which answer for which is not known"),
    "x={small}": (3, "--resize and --crop"),
    "x={few}": (3, "x has 2 images, fewer than a batch of 8: give --batch-size 2 or less"),
}


def test_what_is_no_shift_is_one_line(lnbench: Lnbench, task: list[object], tmp_path: Path) -> None:
    part = write_set(tmp_path / "part", 22, 40, ("ant", "cat"))
    few = write_set(tmp_path / "few", 22, 3, ("ant", "cat"))
    for folder, names, side in (("strange", ("yak", "emu"), 32), ("small", NAMES, 40)):
        for name in names:
            (tmp_path / folder / name).mkdir(parents=True)
            Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(tmp_path / folder / name / "0.png")
    for text, (code, message) in WRONG.items():
        given = text.format(part=part, strange=tmp_path / "strange", small=tmp_path / "small", few=few)
        ran = lnbench(*task, "--norm", "batch", "--shift", given, "--out", tmp_path / "run")
        assert (ran.code, message in ran.err) == (code, True), ran.err
    assert not (tmp_path / "run" / "results.json").exists()


def test_classes_that_the_clean_images_lack(lnbench: Lnbench, task: list[object], tmp_path: Path) -> None:
    """Some: said in the record; all of them: refused."""
    part = write_set(tmp_path / "part", 22, 40, ("ant", "cat", "dog"))
    for name, kept in (("two", ("ant", "bee", "cat")), ("none", ("bee",))):
        write_set(tmp_path / name, 3, 64, kept)
    again = [tmp_path / "two" if word == tmp_path / "clean" else word for word in task]
    ran = lnbench(*again, "--norm", "fixed", "--shift", f"part={part}", "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    record = record_of(tmp_path / "run")
    said = "the clean accuracy beside part is on 2 of its 3 classes"
    assert said in record["deviations"] and said in " ".join(ran.err.split())
    assert cells_of(tmp_path / "run")["fixed", "clean@part", 0] == pytest.approx(
        accuracy(tmp_path / "two", ("ant", "cat"), ("ant", "cat", "dog"))
    )
    write_set(tmp_path / "none", 3, 64, ("dog",))
    other = write_set(tmp_path / "other", 22, 40, ("ant", "cat"))
    again = [tmp_path / "none" if word == tmp_path / "clean" else word for word in task]
    ran = lnbench(*again, "--norm", "fixed", "--shift", f"other={other}", "--out", tmp_path / "none-run")
    assert ran.code == 3 and "has none of the classes of" in ran.err


def test_lists_of_data_and_shifts_share_a_root(lnbench: Lnbench, task: list[object], tmp_path: Path) -> None:
    whole = write_set(tmp_path / "whole", 21, 40)
    lists = tmp_path / "lists"
    lists.mkdir()
    for name in ("clean", "whole"):
        listed = list_folder(tmp_path / name)
        rows = zip(map(listed.name, range(len(listed.labels))), listed.labels, strict=True)
        (lists / f"{name}.txt").write_text("".join(f"{name}/{file} {NAMES[k]}\n" for file, k in rows))
    plain = lnbench(*task, "--norm", "batch", "--shift", f"w={whole}", "--out", tmp_path / "plain")
    place = task.index("--data")
    for data in (f"list:{lists / 'clean.txt'}", task[place + 1]):
        out = tmp_path / f"run{data}"[-8:]
        asked = [*task[: place + 1], data, *task[place + 2 :]]
        shift = ("--shift", f"w=list:{lists / 'whole.txt'}")
        ran = lnbench(*asked, "--norm", "batch", *shift, "--root", tmp_path, "--out", tmp_path / out)
        assert (plain.code, ran.code) == (0, 0), plain.err + ran.err
        assert cells_of(tmp_path / out) == cells_of(tmp_path / "plain")
    lost = lnbench(*task, "--shift", f"w={whole}", "--root", tmp_path, "--out", tmp_path / "lost")
    assert lost.code == 2 and "--root goes with a list of images" in lost.err
