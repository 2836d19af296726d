"""A preset never changes under its name and version: what was measured with it stays comparable."""

from __future__ import annotations

import hashlib
import json

import pytest

from lnbench import config
from lnbench.corruptions import registry
from lnbench.suite import BY_SIZE

# A changed preset, or a changed number in a parameter table, is a new version: raise `version` in the
# preset's file and add a line here. A line that stands is never changed.
PUBLISHED: dict[tuple[str, int], str] = {
    ("ci", 1): "df4d0d980d75e795",
    ("cifar10-c", 1): "57901c104ab637a4",
    ("cifar100-c", 1): "57901c104ab637a4",
    ("core", 1): "b0b7001aa372cac4",
    ("demo", 1): "6700ec019bf2a527",
    ("imagenet-c", 1): "509c5a287d81ddc7",
    ("imagenet-c-extra", 1): "bd7eceb6da59adc8",
    ("tiny-imagenet-c", 1): "61466ef03a54e7ee",
    ("tta-cifar10-c", 1): "a378c1f22a2633d8",
    ("tta-imagenet-c", 1): "973e9ad78c3cb560",
}


def digest(preset: config.Preset) -> str:
    """Of everything that decides a number; keys that say nothing beyond the usual do not count."""
    content = preset.model_dump(
        mode="json", exclude={"name", "version", "description"}, exclude_defaults=True
    )
    tables = registry.TABLES if preset.table == BY_SIZE else (preset.table,)
    content["numbers"] = {
        f"{table} {condition}": preset.parameters_of(condition, table)
        for table in tables
        for condition in preset.conditions
        if not condition.is_clean
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", config.preset_names())
def test_a_preset_does_not_change_under_its_name(name: str) -> None:
    preset = config.load_preset(name)
    found = digest(preset)
    assert PUBLISHED.get((name, preset.version)) == found, (
        f"{name} version {preset.version} is {found} now: raise its version and add a line to PUBLISHED"
    )


def test_every_number_counts() -> None:
    core = config.load_preset("core")
    changed = [
        core.model_copy(update=update)
        for update in (
            {"severities": (1.0, 2.0)},
            {"modes": ("fixed",)},
            {"batch_size": 100},
            {"parameters": {"contrast": {3.0: (0.3,)}}},
            {"table": "cifar"},
            {"models": ("demo",)},
        )
    ]
    assert len({digest(preset) for preset in (core, *changed)}) == 7
    renamed = core.model_copy(update={"name": "x", "version": 2, "description": ""})
    assert digest(renamed) == digest(core)
