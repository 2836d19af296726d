"""A file of one's own before the command: what it registers works, and its mistakes have a place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lnbench import metrics
from lnbench.corruptions import registry as corruptions
from lnbench.data import registry as sources
from lnbench.norm.modes import registry as modes
from tests.cli.conftest import Lnbench

REGISTRIES = (
    (metrics, "METRICS"),
    (corruptions, "CORRUPTIONS"),
    (sources, "SOURCES"),
    (modes, "KINDS"),
)
PLUGIN = '''
import lnbench

ROWS = (0.9, 0.7, 0.5, 0.3, 0.1)


@lnbench.corruption(
    "halve", family="extra", parameters={"factor": (0, 1)},
    tables={"imagenet": ROWS, "tiny-imagenet": ROWS, "cifar": ROWS},
)
def halve(pixels, parameters, key):
    return (pixels * parameters[0]).byte()


@lnbench.mode("own-batch", unit="batch")
def own_batch(x, layer, state):
    """Statistics of the batch, by another name."""
    return layer.normalize_batch(x, state)


@lnbench.metric("wrong", better="lower", unit="%")
def wrong(log_probs, predicted, labels):
    """Images whose predicted class is wrong."""
    return (predicted != labels).double().sum(0, keepdim=True)


@lnbench.source("half-demo", about="every other image of the demo")
def half_demo():
    from lnbench.data.arrays import list_arrays
    from lnbench.data.demo import open_demo

    images, labels, classes = open_demo("test")
    rows = images[::8].transpose(0, 2, 3, 1)
    return list_arrays(rows, labels[::8], source="half-demo", classes=classes, stamp="half-demo")
'''


@pytest.fixture(autouse=True)
def _own_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    sources.sources()
    for module, name in REGISTRIES:
        monkeypatch.setattr(module, name, dict(getattr(module, name)))


def test_what_a_plugin_registers_is_evaluated_and_a_suite_may_name_it(
    lnbench: Lnbench, tmp_path: Path
) -> None:
    plugin, suite = tmp_path / "mine.py", tmp_path / "suite.yaml"
    plugin.write_text(PLUGIN)
    suite.write_text("name: mine\ncorruptions: [halve]\nseverities: [5]\nmodes: [batch, own-batch]\n")
    ran = lnbench(
        "evaluate", "--plugin", plugin, "--preset", suite, "--model", "demo", "--data", "half-demo",
        "--device", "cpu", "--out", tmp_path / "run",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    content = json.loads((tmp_path / "run" / "results.json").read_text())
    assert any(text.startswith("with code of one's own: mine.py (sha256") for text in content["deviations"])
    cells = content["cells"]
    assert len(cells) == 4 and {cell["corruption"] for cell in cells} == {"clean", "halve"}
    for cell in cells:
        assert cell["wrong"] == pytest.approx(1 - cell["top1"]) and cell["images"] == 60
    by_mode = [[c["correct" if "correct" in c else "top1"] for c in cells if c["mode"] == m] for m in
               ("batch", "own-batch")]  # fmt: skip
    assert by_mode[0] == by_mode[1] and by_mode[0][1] < by_mode[0][0] + 0.2


def test_other_commands_know_it_too(
    lnbench: Lnbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    own = ["--plugin", plugin, "--corruption", "halve", "--severity", 5]
    before = {module: dict(getattr(module, name)) for module, name in REGISTRIES}
    for words in (
        ["list", "corruptions", "--plugin", plugin],
        ["corrupt-preview", *own, "--resize", 64, "-o", tmp_path / "sheet.png"],
        ["corrupt-export", "demo", tmp_path / "out", "--layout", "imagenet-c", "--limit", 12, *own],
    ):
        for module, name in REGISTRIES:
            monkeypatch.setattr(module, name, dict(before[module]))
        ran = lnbench(*words)
        assert ran.code == 0, ran.err
        assert words[0] != "list" or "halve" in ran.out
    assert (tmp_path / "sheet.png").is_file() and (tmp_path / "out" / "halve" / "5").is_dir()


def test_a_run_is_not_gone_on_with_under_changed_code(
    lnbench: Lnbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin, before = tmp_path / "mine.py", dict(modes.KINDS)
    words = [
        "--model",
        "demo",
        "--data",
        "demo",
        "--norm",
        "own",
        "--corruption",
        "contrast",
        "--severity",
        5,
    ]
    outcomes = []
    for share in ("0.5", "0.25"):
        monkeypatch.setattr(modes, "KINDS", dict(before))
        plugin.write_text(
            "import lnbench\n\n\n@lnbench.mode('own')\ndef own(x, layer, state):\n"
            f"    return layer.stored(x, state) * {share}\n"
        )
        outcomes.append(
            lnbench("evaluate", "--plugin", plugin, *words, "--limit", 24, "--out", tmp_path / "run")
        )
    assert outcomes[0].code == 0, outcomes[0].err
    assert outcomes[1].code == 3 and "config.plugins is" in outcomes[1].err


@pytest.mark.parametrize(
    "text, said",
    [
        (None, "mine.py: No such file or directory"),
        ("import lnbench\n\n1 / 0\n", "mine.py, line 3: it raised ZeroDivisionError"),
        ("def x(:\n", "mine.py, line 1: it raised SyntaxError"),
        (PLUGIN + PLUGIN, "corruption 'halve' is registered twice"),
    ],
)
def test_a_plugin_that_cannot_be_run_is_refused_with_its_place(
    lnbench: Lnbench, tmp_path: Path, text: str | None, said: str
) -> None:
    plugin = tmp_path / "mine.py"
    if text is not None:
        plugin.write_text(text)
    ran = lnbench("evaluate", "--plugin", plugin, "--preset", "demo", "--out", tmp_path / "run")
    assert ran.code == 3 and said in ran.err and ran.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
