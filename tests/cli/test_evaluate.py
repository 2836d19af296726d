"""`lnbench evaluate` through its real entry: tables, files, resume."""

from __future__ import annotations

import itertools
import json
import os
import signal
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from lnbench.cli import run as entry
from lnbench.cli.values import size
from lnbench.data import decode
from lnbench.errors import UsageError
from tests.cli.conftest import Lnbench
from tests.networks import write_task
from tests.processes import call_world

FILES = {"run.json", "cells.jsonl", "correct.npz", "sheet.png", "results.json", "results.csv"}
FILES |= {"report.md", "report.html"}


def cells(folder: Path) -> dict[tuple[str, str, float], dict[str, Any]]:
    """Every cell of a finished run, timings left out."""
    record = json.loads((folder / "results.json").read_text())
    return {
        (cell["mode"], cell["corruption"], cell["severity"]): {
            k: v for k, v in cell.items() if k != "seconds"
        }
        for cell in record["cells"]
    }


SMALL = ["--corruption", "gaussian_noise", "--severity", 2, "--severity", 5, "--batch-size", 20]


def test_a_run_prints_its_table_and_leaves_its_record(
    lnbench: Lnbench, task: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    ran = lnbench("evaluate", *task, *SMALL, "--norm", "fixed", "--norm", "batch", "--out", out)
    assert ran.code == 0, ran.err
    head, *rows = (line.split() for line in ran.out.splitlines() if line.strip())
    assert head == ["top-1", "%", "fixed", "batch"]
    assert [row[0] for row in rows if row[0] in ("gaussian_noise", "clean", "mean")] == [
        "gaussian_noise", "clean", "mean",
    ]  # fmt: skip
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == FILES
    assert set(cells(out)) == {
        (mode, corruption, severity)
        for mode in ("fixed", "batch")
        for corruption, severity in (("clean", 0), ("gaussian_noise", 2), ("gaussian_noise", 5))
    }
    record = json.loads((out / "results.json").read_text())
    assert (
        record["model"]["sha256"] and record["data"]["fingerprint"] and record["config"]["batch_size"] == 20
    )


def test_the_same_command_again_recomputes_nothing_and_fresh_starts_over(
    lnbench: Lnbench, task: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = ["evaluate", *task, *SMALL, "--norm", "fixed", "--out", out]
    first = lnbench(*command)
    before = (out / "cells.jsonl").read_bytes()
    again = lnbench(*command)
    assert (again.code, again.out) == (0, first.out)
    assert "3 of 3 cells are finished already" in again.err
    assert (out / "cells.jsonl").read_bytes() == before
    (out / "notes.txt").write_text("mine")
    assert lnbench(*command, "--fresh").code == 0
    assert (out / "notes.txt").read_text() == "mine"


def test_another_run_does_not_get_the_folder(lnbench: Lnbench, task: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert lnbench("evaluate", *task, *SMALL, "--norm", "fixed", "--out", out).code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    other = lnbench("evaluate", *task, *SMALL, "--norm", "fixed", "--seed", 1, "--out", out)
    assert other.code == 3
    assert "seed" in other.err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


EDITS = {
    "the factory's file": ("net.py", "model.code"),
    "what it imports": ("layers.py", "model.code"),
    "a file beside it": ("unrelated.py", None),
}


@pytest.mark.parametrize("case", EDITS)
def test_code_that_changed_between_start_and_resume_is_refused(
    lnbench: Lnbench, tmp_path: Path, case: str
) -> None:
    name, message = EDITS[case]
    model, weights, data = write_task(tmp_path, images=40)
    (tmp_path / "layers.py").write_text("")
    (tmp_path / "unrelated.py").write_text("")
    with (tmp_path / "net.py").open("a") as file:
        file.write("\nimport layers\n")
    command = ["evaluate", "--model", model, "--weights", weights, "--data", data, "--norm", "fixed"]
    command += ["--corruption", "contrast", "--severity", 5, "--out", tmp_path / "run"]
    assert lnbench(*command).code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with (tmp_path / name).open("a") as file:
        file.write("\nif True: pass\n")
    again = lnbench(*command)
    if message is None:
        assert again.code == 0
    else:
        assert again.code == 3 and message in again.err and "Traceback" not in again.err
        assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
        assert lnbench(*command, "--fresh").code == 0


def test_a_network_built_with_other_weights_is_refused(lnbench: Lnbench, tmp_path: Path) -> None:
    """Without a weights file the factory decides, and one that draws builds another network each time."""
    model, _, data = write_task(tmp_path, images=40)
    command = ["evaluate", "--model", model, "--data", data, "--norm", "fixed"]
    command += ["--corruption", "contrast", "--severity", 5, "--out", tmp_path / "run"]
    assert lnbench(*command).code == 0
    again = lnbench(*command)
    assert again.code == 3 and "model.state is" in again.err


def _killed_after_two_conditions(words: list[str]) -> None:
    from lnbench.results.store import RunFolder

    append, calls = RunFolder.append, itertools.count(1)

    def dying(self: RunFolder, cells: Any) -> None:
        append(self, cells)
        if next(calls) == 2:
            with (self.path / "cells.jsonl").open("ab") as file:
                file.write(b'{"mode": "fixed", "corr')  # torn by the kill
            os.kill(os.getpid(), signal.SIGKILL)

    RunFolder.append = dying  # type: ignore[method-assign]
    entry(words)


def test_killed_half_way_and_started_again_equals_an_undisturbed_run(
    lnbench: Lnbench, task: list[str], tmp_path: Path
) -> None:
    command = ["evaluate", *task, *SMALL, "--norm", "fixed", "--norm", "batch", "--norm", "adapt:n=8,draws=3"]
    words = [*map(str, command), "--out", str(tmp_path / "killed")]
    (killed,) = call_world([partial(_killed_after_two_conditions, words)], tmp_path / "said")
    assert killed.code == -signal.SIGKILL, killed.err
    assert not (tmp_path / "killed" / "results.json").exists()
    assert lnbench(*command, "--out", tmp_path / "killed").code == 0
    assert lnbench(*command, "--out", tmp_path / "whole").code == 0
    assert cells(tmp_path / "killed") == cells(tmp_path / "whole")
    drawn = [cell["draws"] for cell in cells(tmp_path / "whole").values() if cell["mode"].startswith("adapt")]
    assert drawn and all([images for images, _ in shares] == [20, 20, 20] for shares in drawn)
    one, other = (np.load(tmp_path / name / "correct.npz") for name in ("killed", "whole"))
    assert all(np.array_equal(one[name], other[name]) for name in other.files)


def test_interrupted_says_so_and_keeps_what_is_finished(
    lnbench: Lnbench, task: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lnbench.results.store import RunFolder

    append = RunFolder.append

    def once(self: RunFolder, found: Any) -> None:
        append(self, found)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "append", once)
    ran = lnbench("evaluate", *task, *SMALL, "--norm", "fixed", "--out", tmp_path / "run")
    said = "lnbench: interrupted; what is finished is kept, the same command goes on"
    assert (ran.code, ran.err.splitlines()[-1]) == (130, said)
    assert len((tmp_path / "run" / "cells.jsonl").read_text().splitlines()) == 1


def test_a_dry_run_touches_nothing(
    lnbench: Lnbench, task: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = lnbench("evaluate", *task, *SMALL, "--norm", "fixed", "--norm", "adapt:n=8", "--dry-run")
    assert ran.code == 0
    assert "3 conditions, 6 cells, 60 images, 384 forward passes" in ran.out
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_on_a_folder_that_was_begun_plans_what_is_left(
    lnbench: Lnbench, task: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = ["evaluate", *task, *SMALL, "--norm", "fixed", "--norm", "adapt:n=8", "--out", out]
    assert lnbench(*command).code == 0
    assert "6 of 6 cells are finished already: nothing is left" in lnbench(*command, "--dry-run").out
    kept = (out / "cells.jsonl").read_bytes().splitlines(keepends=True)[:4]  # clean and severity 2
    (out / "cells.jsonl").write_bytes(b"".join(kept) + b'{"mode":"fi')  # as a run leaves that is killed
    before = contents(out)
    ran = lnbench(*command, "--dry-run")
    assert ran.code == 0 and "3 conditions, 6 cells, 60 images, 128 forward passes" in ran.out
    assert "4 of 6 cells are finished already\n" in ran.out
    whole = lnbench(*command, "--dry-run", "--fresh").out
    assert "384 forward passes" in whole and "finished" not in whole
    other = lnbench(*command, "--dry-run", "--seed", 1)
    assert other.code == 3 and "holds another run (suite.seed is 0 there and 1 now)" in other.err
    assert contents(out) == before


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_several_checkpoints_share_a_run(lnbench: Lnbench, task: list[str], tmp_path: Path) -> None:
    weights = Path(task[3])
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("a.pth", "b.pth"):
        (folder / name).write_bytes(weights.read_bytes())
    out = tmp_path / "out"
    common = ["--model", task[1], "--data", task[5], *SMALL, "--norm", "fixed"]
    ran = lnbench("evaluate", *common, "--weights", folder / "*.pth", "--out", out)
    assert ran.code == 0, ran.err
    assert {path.name for path in out.iterdir()} == {"a", "b"}
    assert cells(out / "a") == cells(out / "b")


def test_a_list_of_models_is_counted_in_one_pass_and_ranked(
    lnbench: Lnbench, task: list[str], tmp_path: Path
) -> None:
    folder = Path(task[3]).parent
    (folder / "models.yaml").write_text(
        f"- {{model: '{task[1]}', weights: net.pth}}\n"
        f"- {{model: '{task[1]}', weights: net.pth, mean: [0, 0, 0], std: [1, 1, 1]}}\n"
        f"- {{model: '{task[1]}', weights: absent.pth}}\n"
    )
    command = ["evaluate", "--models", folder / "models.yaml", "--data", task[5], *SMALL, "--norm", "fixed"]
    ran = lnbench(*command, "--out", tmp_path / "out")
    assert ran.code == 3
    assert "left out: " in ran.err and "absent.pth" in ran.err.splitlines()[0]
    assert "1 of 3 checkpoints could not be used" in ran.err.splitlines()[-1]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"net-1", "net-2"}
    assert ["#", "run", "mode"] in [line.split()[:3] for line in ran.out.splitlines()]
    strict = lnbench(*command, "--strict", "--out", tmp_path / "strict")
    assert strict.code == 3 and not (tmp_path / "strict").exists()
    assert len([line for line in strict.err.splitlines() if "absent.pth" in line]) == 1


MODELS = {
    "{model: x}": "expected a list",
    "[]": "names no model",
    "- cifar:resnet20": "entry 1: expected 'model: …'",
    "- {model: cifar:resnet20, weight: x}": "did you mean weights",
    "- {weights: x}": "entry 1: model",
    "- [": "not valid YAML",
}


@pytest.mark.parametrize("text", MODELS)
def test_a_list_of_models_that_is_none(lnbench: Lnbench, tmp_path: Path, text: str) -> None:
    (tmp_path / "models.yaml").write_text(text)
    ran = lnbench("evaluate", "--models", tmp_path / "models.yaml", "--data", "demo")
    assert ran.code == 2 and MODELS[text] in ran.err and len(ran.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("4GiB", 4 << 30), ("500MiB", 500 << 20), ("1.5GB", 1_500_000_000), ("2k", 2000), ("7", 7)],
)
def test_sizes(text: str, bytes_: int) -> None:
    assert size("--memory", text) == bytes_


@pytest.mark.parametrize("text", ["", "4 apples", "-1G", "GiB", "1e9"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="takes a size such as 4GiB"):
        size("--memory", text)


def test_the_224_pixel_path_decodes_once_and_starts_from_the_cache(
    lnbench: Lnbench, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(shared / "data" / "imagenet_sample_48.zip") as archive:
        for name in archive.namelist()[:3]:
            archive.extract(name, tmp_path / "images")
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=3)
    torch.save(network.state_dict(), tmp_path / "random.pth")
    decoded = []
    monkeypatch.setattr(
        "lnbench.data.encoded.decode",
        lambda data, **options: decoded.append(1) or decode.decode(data, **options),
    )
    command = ["evaluate", "--model", "torchvision:resnet18", "--weights", tmp_path / "random.pth",
               "--data", f"folder:{tmp_path / 'images'}", "--cache", tmp_path / "cache",
               "--corruption", "contrast", "--severity", 3, "--norm", "fixed", "--norm", "local"]  # fmt: skip
    assert lnbench(*command, "--out", tmp_path / "one").code == 0
    assert len(decoded) == 3
    assert lnbench(*command, "--out", tmp_path / "two").code == 0
    assert len(decoded) == 3
    assert cells(tmp_path / "one") == cells(tmp_path / "two")
    record = json.loads((tmp_path / "one" / "results.json").read_text())
    assert record["model"]["preprocessing"]["crop"] == 224
    assert record["suite"]["table"] == "imagenet"


def test_resnet20_gets_the_known_numbers(lnbench: Lnbench, shared: Path, tmp_path: Path) -> None:
    """Contrast has no randomness: the original definition gives exactly these counts (table cifar)."""
    ran = lnbench(
        "evaluate", "--model", "cifar:resnet20", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225",
        "--weights", shared / "checkpoints" / "cifar10_resnet20-12fca82f.th",
        "--data", shared / "data" / "cifar10_test_846.npz", "--corruption", "contrast",
        "--norm", "fixed", "--out", tmp_path / "run",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "warning" not in ran.err
    found = cells(tmp_path / "run")
    assert round(found["fixed", "clean", 0]["top1"] * 846) == 776
    accuracies = [found["fixed", "contrast", severity]["top1"] * 100 for severity in range(1, 6)]
    # Float convolutions may add in another order on another processor; 0.3 points are 2.5 images.
    assert accuracies == pytest.approx([91.96, 85.70, 79.31, 62.53, 26.48], abs=0.3)


def test_diagnose_records_where_the_network_breaks(lnbench: Lnbench, task: list[str], tmp_path: Path) -> None:
    """Clean images look to every layer like those of its training; strong noise does not."""
    out = tmp_path / "run"
    ran = lnbench("evaluate", *task, *SMALL, "--norm", "fixed", "--diagnose", "--out", out)
    assert ran.code == 0, ran.err
    found = cells(out)
    clean = found["fixed", "clean", 0]["shifts"]
    noisy = found["fixed", "gaussian_noise", 5]["shifts"]
    assert set(clean) == set(noisy) == {"1", "4"}
    assert all(value < 0.3 for value in clean.values())
    assert all(noisy[layer] > clean[layer] for layer in clean)
    assert "Shift of statistics by layer" in (out / "report.html").read_text()


def test_the_report_shows_one_of_the_images(lnbench: Lnbench, task: list[str], tmp_path: Path) -> None:
    assert lnbench("evaluate", *task, *SMALL, "--norm", "fixed", "--out", tmp_path / "run").code == 0
    assert 'src="data:image/png;base64,' in (tmp_path / "run" / "report.html").read_text()
