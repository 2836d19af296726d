"""`lnbench compare` through its real entry: decisions, files, refusals, start-up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lnbench.results.reading import read
from lnbench.results.store import RunFolder
from tests.cli.conftest import Lnbench
from tests.results.samples import labels, make_cells, make_run
from tests.results.test_compare import XSD
from tests.results.xsd import validate


def write(folder: Path, *, loss: float = 0.0, noise: int = 1, images: int = 400, seed: int = 0) -> Path:
    run = make_run(images=images, seed=seed)
    with RunFolder.create_or_resume(folder, run) as opened:
        opened.append(make_cells(run, loss=loss, noise=noise))
        opened.finish(labels=labels(run), ids=np.arange(images))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    return {
        "base": write(root / "base"),
        "same": write(root / "same"),
        "worse": write(root / "worse", loss=0.04, noise=2),
        "seed": write(root / "seed", seed=1),
    }


def test_the_same_numbers_pass(lnbench: Lnbench, runs: dict[str, Path]) -> None:
    ran = lnbench("compare", runs["base"], runs["same"])
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1] == "PASS: no regression in 15 cells (0 worse, 0 better, 15 same)"


def test_a_regression_exits_1_and_says_where(lnbench: Lnbench, runs: dict[str, Path]) -> None:
    ran = lnbench("compare", runs["base"], runs["worse"])
    assert (ran.code, ran.err) == (1, "")
    assert "- fixed: mean " in ran.out and ran.out.splitlines()[-1].startswith("FAIL: ")
    assert lnbench("compare", runs["worse"], runs["base"]).code == 0


def test_files_are_written_whatever_the_outcome(
    lnbench: Lnbench, runs: dict[str, Path], tmp_path: Path
) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("markdown", "junit", "json")}
    options = [word for name, file in files.items() for word in (f"--{name}", file)]
    assert lnbench("compare", runs["base"], runs["worse"], *options).code == 1
    assert files["markdown"].read_text().startswith("## ❌ lnbench: FAIL")
    assert json.loads(files["json"].read_text())["passed"] is False
    validate(files["junit"].read_text(), XSD)


def test_github_gets_a_summary_and_annotations(
    lnbench: Lnbench, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "summary.md").write_text("before\n")
    assert "::error" not in lnbench("compare", runs["base"], runs["worse"]).out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert (
        "\n::error title=lnbench compare::fixed: mean " in lnbench("compare", runs["base"], runs["worse"]).out
    )
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("before\n## ❌") and summary.count("## ❌") == 2


def test_rules_from_the_command_line(lnbench: Lnbench, runs: dict[str, Path]) -> None:
    base, worse = runs["base"], runs["worse"]
    assert lnbench("compare", base, worse, "--fail-if", "top1:-30pp").code == 0
    assert lnbench("compare", base, worse, "--fail-if", "top1:-30pp", "--fail-if", "top5:-1pp").code == 0
    assert lnbench("compare", base, worse, "--fail-if", "fixed/*/*: top1:-1pp").code == 1
    assert lnbench("compare", base, base, "--fail-if", "top1:-0pp", "--significance", "0.01").code == 0


def test_a_baseline_file_stands_for_its_run(lnbench: Lnbench, runs: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    assert lnbench("compare", runs["base"], "--update-baseline", file).code == 0
    first = file.read_bytes()
    for name, code in (("same", 0), ("worse", 1)):
        assert lnbench("compare", file, runs[name], "--update-baseline", file).code == code
        assert file.read_bytes() == first
    record = read(file)
    assert [cell.top1 for cell in record.cells] == [
        cell.top1
        for cell in sorted(read(runs["base"]).cells, key=lambda c: (c.mode, c.corruption, c.severity))
    ]
    lines = [line for line in first.decode().splitlines() if line.startswith('  {"mode"')]
    assert len(lines) == 15 and all('"correct"' in line for line in lines)


def test_more_than_two_runs_are_ranked(lnbench: Lnbench, runs: dict[str, Path], tmp_path: Path) -> None:
    ran = lnbench("compare", runs["worse"], runs["base"], runs["seed"], "--markdown", tmp_path / "rank.md")
    assert ran.code == 0
    assert "not like for like:" in ran.out and "different seed (0 and 1)" in ran.out.replace("\n", " ")
    assert (tmp_path / "rank.md").read_text().startswith("| # | run | mode |")


def one_line(err: str) -> bool:
    return err.startswith("lnbench: ") and err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["base", "seed"], 3, "different seed (0 and 1)"),
        (["base", "{tmp}/none"], 3, "does not exist"),
        (["base", "{tmp}"], 3, "is not a run folder"),
        (["base"], 2, "needs a BASE and a NEW"),
        (["base", "same", "--fail-if", "top1"], 2, "write FIGURE:CHANGE"),
        (["base", "same", "--significance", "3"], 2, "give a probability"),
        (["base", "same", "--margin", "1pp"], 2, "--margin is for --until-decided"),
        (["base", "same", "--until-decided", "--margin", "1"], 2, "--margin '1': give a loss"),
        (["base", "same", "--until-decided", "--power", "1pp"], 2, "--until-decided takes a BASE and a NEW"),
        (["base", "same", "seed", "--junit", "{tmp}/x.xml"], 2, "exactly a BASE and a NEW"),
        (["base", "same", "--junit", "{tmp}/no/x.xml"], 3, "cannot write"),
        (["base", "same", "--update-baseline", "{tmp}/no/x.json"], 3, "cannot write"),
    ],
)
def test_wrong_input_gives_one_line(
    lnbench: Lnbench, runs: dict[str, Path], tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    ran = lnbench("compare", *(runs.get(word) or word.format(tmp=tmp_path) for word in words))
    assert ran.code == code and message in ran.err
    assert one_line(ran.err)


def test_damaged_records_give_one_line(lnbench: Lnbench, runs: dict[str, Path], tmp_path: Path) -> None:
    broken = write(tmp_path / "broken")
    whole = (broken / "results.json").read_text()
    for text in (
        whole[:999],
        whole.replace('"schema": 2', '"schema": 9'),
        whole.replace("0.", "0.0", 1),
        "[]",
    ):
        (broken / "results.json").write_text(text)
        ran = lnbench("compare", runs["base"], broken)
        assert ran.code == 3 and one_line(ran.err), text[:40]


def test_comparing_loads_nothing_heavy(runs: dict[str, Path]) -> None:
    """What makes starting slow is what is imported: a list that does not depend on the machine's load."""
    code = (
        "import sys; sys.argv = ['lnbench', 'compare', *sys.argv[1:]]\n"
        "from lnbench.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'torchvision', 'scipy', 'matplotlib', 'jinja2', 'pandas', 'skimage', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(runs["base"]), str(runs["worse"])],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert ran.stdout.splitlines()[-1] == "[]"


def test_until_decided_says_after_how_many_images_it_is_certain(
    lnbench: Lnbench, runs: dict[str, Path]
) -> None:
    ran = lnbench("compare", runs["base"], runs["same"], "--until-decided", "--margin", "20pp")
    assert (ran.code, ran.err) == (0, "")
    assert "not worse by more than 20" in ran.out and "PASS: 0 worse, 6 not worse" in ran.out
    ran = lnbench("compare", runs["base"], runs["worse"], "--until-decided", "--margin", "1pp")
    assert ran.code == 1 and "FAIL: " in ran.out and "of 400 images" in ran.out


def test_power_says_how_many_images_a_loss_takes(lnbench: Lnbench, runs: dict[str, Path]) -> None:
    ran = lnbench("compare", runs["base"], runs["worse"], "--power", "1pp")
    assert (ran.code, ran.err) == (0, "")
    rows = [line.split() for line in ran.out.splitlines()]
    assert ["fixed"] in rows and "PASS" not in ran.out and "FAIL" not in ran.out
    (clean,) = [row for row in rows[rows.index(["fixed"]) : rows.index(["batch"])] if row[:1] == ["clean"]]
    images, smallest, needed = int(clean[1]), float(clean[2]), int(clean[3].replace(",", ""))
    assert images == 400 and smallest > 1 and needed > 400
    again = lnbench("compare", runs["base"], runs["worse"], "--power", f"{smallest}pp").out
    (same,) = [row for row in map(str.split, again.splitlines()) if row[:1] == ["clean"]][:1]
    assert int(same[3].replace(",", "")) == pytest.approx(400, rel=0.02)  # smallest is printed rounded
    usual = lnbench("compare", runs["base"], runs["worse"])
    assert f"smallest loss found at least 4 times in 5, in points: fixed clean {smallest:.2f}" in usual.out


def test_power_takes_two_runs_and_a_loss(lnbench: Lnbench, runs: dict[str, Path], tmp_path: Path) -> None:
    base, worse = runs["base"], runs["worse"]
    for words, message in (
        ([base, worse, "--power", "5"], "such as 0.5pp"),
        ([base, "--power", "1pp"], "takes a BASE and a NEW run"),
        ([base, worse, "--power", "1pp", "--junit", tmp_path / "x"], "takes a BASE and a NEW run"),
    ):
        ran = lnbench("compare", *words)
        assert ran.code == 2 and message in ran.err and len(ran.err.splitlines()) == 1
