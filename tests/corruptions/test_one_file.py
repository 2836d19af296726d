"""Adding a corruption is adding one file: what a command, a preset and the backends make of it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from lnbench import config
from lnbench.cli import app
from lnbench.corruptions import native, reference, registry
from lnbench.corruptions.rng import Key
from lnbench.errors import UsageError
from lnbench.types import Condition
from tests.corruptions import test_contract
from tests.oracle.pictures import photographs

# `lnbench.corruptions` is the public function of that name.
corruptions = import_module("lnbench.corruptions")
PAGE = Path(__file__).parents[2] / "docs" / "corruptions.md"


@pytest.fixture(autouse=True)
def posterize(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The file the docs show, in a folder that the package looks into; afterwards nothing is left of it."""
    example = PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    (tmp_path / "posterize.py").write_text(example, encoding="utf-8")
    monkeypatch.setattr(corruptions, "__path__", [*corruptions.__path__, str(tmp_path)])
    monkeypatch.setattr(registry, "CORRUPTIONS", registry.CORRUPTIONS.copy())
    corruptions.load()
    yield
    del sys.modules["lnbench.corruptions.posterize"], corruptions.posterize


def suite(tmp_path: Path, text: str) -> config.Preset:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\ncorruptions: [posterize]\n{text}", encoding="utf-8")
    return config.load_preset(str(path))


def test_it_follows_the_benchmark_and_joins_its_family() -> None:
    assert registry.names() == (*registry.BENCHMARK, "posterize")
    assert registry.families()["digital"][-1] == "posterize"


@pytest.mark.parametrize("size", test_contract.SIZES)
def test_it_keeps_the_contract(size: str) -> None:
    test_contract.test_shape_repeat_and_independence_of_the_batch("posterize", "cpu", size)
    test_contract.test_distance_to_clean_grows_with_severity("imagenet", "posterize")


def test_commands_list_and_evaluate_it(tmp_path: Path) -> None:
    listed = CliRunner().invoke(app, ["list", "corruptions"])
    assert listed.stdout.splitlines()[-1].split() == ["posterize", "digital", "parameters:", "step"]
    preset = suite(tmp_path, "table: tiny-imagenet\nseverities: [1, 5]")
    assert preset.parameters_of(Condition("posterize", 5)) == (48,)
    words = ["--preset", tmp_path / "mine.yaml", "--model", "demo", "--data", "demo", "--limit", 10]
    ran = CliRunner().invoke(app, ["evaluate", *map(str, words), "--out", str(tmp_path / "run")])
    assert ran.exit_code == 0, ran.stderr
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    cells = [(cell["corruption"], cell["severity"], cell["images"]) for cell in record["cells"]]
    assert cells == [("clean", 0, 10), ("posterize", 1, 10), ("posterize", 5, 10)]


def test_its_pixels_are_its_kernels() -> None:
    pixels = test_contract.pictures(32, 32, "cpu")
    corrupted = native.corrupt(pixels, "posterize", 5, Key(0, torch.arange(len(pixels))), (64,))
    assert torch.equal(corrupted, pixels & 0xC0)


def test_a_table_that_lacks_it_is_refused_in_one_line(tmp_path: Path) -> None:
    for text in ("table: cifar", "table: by-size"):
        with pytest.raises(UsageError) as caught:
            suite(tmp_path, text)
        assert str(caught.value) == (
            "table 'cifar' has no numbers for posterize: name table imagenet or tiny-imagenet in the preset, "
            "or give it its own under 'parameters'"
        )
    own = "table: cifar\nseverities: [1]\nparameters: {posterize: {1: [40]}}"
    assert suite(tmp_path, own).parameters_of(Condition("posterize", 1)) == (40,)


def test_the_reference_backend_refuses_it_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape("imagecorruptions does not compute it")) as caught:
        suite(tmp_path, "table: imagenet\nbackend: reference")
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="backend 'reference' has no posterize"):
        reference.corrupt(photographs(32, 32)[:1], "posterize", 1, 0, [0])
