"""What a validator finds wrong is said in a person's words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lnbench.config import load_models, load_preset, resolve
from lnbench.errors import UsageError

OPTIONS = {
    "limit": (0, "--limit must be at least 1, got 0"),
    "seed": (-1, "--seed must be at least 0, got -1"),
    "precision": ("x", "--precision must be 'fp32', 'bf16' or 'fp16', got 'x'"),
    "batch_size": (0, "--batch-size must be at least 1, got 0"),
    "resize": ("big", "--resize must be a whole number, got 'big' (and 1 more)"),
    "mean": ((float("nan"), 0, 0), "mean.0 must be a finite number, got nan"),
}
PRESETS = {
    "batch_size: many": "preset {0}: batch_size must be a whole number, got 'many'",
    "severities: 3": "preset {0}: severities must be a list, got 3",
    "parameters: {fog: 3}": "preset {0}: parameters.fog must be names with values, got 3",
    "parameters: {fog: {1: [x]}}": "preset {0}: parameters.fog.1.0 must be a number, got 'x'",
    "jpeg_roundtrip: 300": "preset {0}: jpeg_roundtrip must be at most 100, got 300",
    "mixed: perhaps": "preset {0}: mixed must be true or false, got 'perhaps'",
    "corruptions: fog": "preset {0}: corruptions must be a list, got 'fog'",
    "description: [1]": "preset {0}: description must be text, got [1]",
    "sequence: x": "preset {0}: sequence must be 'reset' or 'continual', got 'x'",
}
VALIDATORS = re.compile(
    "input should|valid integer|parsing|unable to|pydantic|tuple|dict|instance", re.IGNORECASE
)


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name: str) -> None:
    value, said = OPTIONS[name]
    with pytest.raises(UsageError) as caught:
        resolve(load_preset("demo"), {"data": "demo", "model": "demo", name: value})
    assert str(caught.value) == said


@pytest.mark.parametrize("text", PRESETS)
def test_presets(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"name: mine\n{text}\n")
    with pytest.raises(UsageError) as caught:
        load_preset(str(file))
    assert str(caught.value) == PRESETS[text].format(file)
    assert not VALIDATORS.search(str(caught.value))


def test_models(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("- {model: demo, mean: 3}")
    with pytest.raises(UsageError, match=r"entry 1: mean must be a list, got 3"):
        load_models(file)
