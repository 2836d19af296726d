"""Presets and options become one frozen, validated config; nothing later guesses.

A preset is names and numbers only. `resolve` merges it with what the command line asked for; what
depends on the network or the images (the table `by-size`) is settled by `prepare` and then recorded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from lnbench.corruptions import registry
from lnbench.errors import UsageError, unknown
from lnbench.faults import first_fault
from lnbench.files import one_line
from lnbench.plain import read_yaml
from lnbench.results.choice import Chosen
from lnbench.suite import Frozen, Suite
from lnbench.types import Interpolation

Precision = Literal["fp32", "bf16", "fp16"]
Channels = tuple[float, float, float]
Resolved = TypeVar("Resolved", bound=Frozen)


MOST_SIDE = 8192  # a float image of that side takes 800 MB, and every layer of a network as much again


def check_sides(sides: int | tuple[int, int]) -> int | tuple[int, int]:
    """Refuse a side or (height, width) that no image can be brought to. Raises UsageError."""
    for value in (sides,) if isinstance(sides, int) else sides:
        if not registry.MIN_SIDE <= value <= MOST_SIDE:
            raise UsageError(f"--resize and --crop: {registry.MIN_SIDE} to {MOST_SIDE} pixels, got {sides}")
    return sides


Sides = Annotated[int | tuple[int, int], AfterValidator(check_sides)]
Limit = Annotated[int, Field(ge=1)]
# Of a suite: its numbers never change under one name and version.
Version = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Preset(Suite):
    """A YAML file under a name."""

    name: str
    version: Version = 1
    description: str = ""
    models: tuple[str, ...] = ()
    data: str | None = None


class RunConfig(Suite):
    """Everything that decides the numbers of one record, resolved."""

    preset: str
    preset_version: Version = 1
    model: str
    weights: str | None = None
    ema: bool = False
    prefix: Annotated[str, Field(max_length=500)] | None = None
    data: str
    root: str | None = None
    limit: Limit | None = None
    seed: Seed = 0
    precision: Precision = "fp32"
    device: str = "auto"
    mean: Channels | None = None
    std: Channels | None = None
    resize: Sides | None = None
    crop: Sides | None = None
    interpolation: Interpolation | None = None
    exif: Literal["ignore", "apply"] = "ignore"
    classes: Literal["present", "all"] | None = None
    class_map: str | None = None
    classes_file: str | None = None
    skip_unreadable: bool = False
    diagnose: bool = False
    shard: str | None = None
    plugins: str | None = None
    chosen: Chosen | None = None

    @field_validator("shard")
    @classmethod
    def _shard_parses(cls, text: str | None, given: ValidationInfo) -> str | None:
        if text is not None:
            parse_shard(text)
            if given.data.get("mixed") or given.data.get("sequence") == "continual":
                raise UsageError("--shard: a mixed or continual stream cannot be cut; evaluate it whole")
        return text

    @field_validator("std")
    @classmethod
    def _std_positive(cls, std: Channels | None) -> Channels | None:
        if std is not None and min(std) <= 0:
            raise UsageError(f"--std must be positive, got {','.join(f'{v:g}' for v in std)}")
        return std

    @field_validator("chosen")
    @classmethod
    def _chosen_by_others(cls, chosen: Chosen | None, given: ValidationInfo) -> Chosen | None:
        if chosen is not None:
            chosen.check(given.data.get("corruptions", ()))
        return chosen


class Selection(Frozen):
    """Which images, and as which pixels: what a corrupted set needs beside its suite."""

    data: str
    root: str | None = None
    limit: Limit | None = None
    seed: Seed = 0
    resize: Sides | None = None
    crop: Sides | None = None
    interpolation: Interpolation = "bilinear"
    skip_unreadable: bool = False


def parse_shard(text: str) -> tuple[int, int]:
    """`2/5` → (2, 5). Raises UsageError."""
    match = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", text)
    if not match or int(match[1]) > int(match[2]):
        raise UsageError(f"--shard takes i/n with i from 1 to n, such as 2/5; got '{text}'")
    return int(match[1]), int(match[2])


def presets_folder() -> Path:
    """Where the packaged presets are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "presets"
    return installed if installed.is_dir() else package.parent / "presets"


def preset_names() -> list[str]:
    """The names of the packaged presets, sorted."""
    return sorted(path.stem for path in presets_folder().glob("*.yaml"))


def load_preset(name: str) -> Preset:
    """Read a packaged preset by name, or a YAML file by path. Raises UsageError."""
    merged = _read_included(name, ())
    try:
        return Preset(**merged)
    except ValidationError as error:
        raise _one_line(f"preset {name}", error) from None
    except TypeError:
        raise UsageError(f"preset {name}: keys must be plain words") from None


class ModelEntry(Frozen):
    """One network of a `--models` file; what is not given is as on the command line."""

    model: str
    weights: str | None = None
    mean: Channels | None = None
    std: Channels | None = None
    ema: bool | None = None
    prefix: str | None = None


def load_models(path: Path) -> list[ModelEntry]:
    """Read a YAML list of networks; weights are relative to the file. Raises UsageError."""
    where = f"models file {path}"
    entries = read_yaml(path, where, list)
    if not entries:
        raise UsageError(f"{where} names no model")
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            if not isinstance(entry, dict):
                raise UsageError(
                    f"{where}: entry {number}: expected 'model: …', found {type(entry).__name__}"
                )
            one = ModelEntry(**entry)
        except ValidationError as error:
            raise _one_line(f"{where}: entry {number}", error, ModelEntry) from None
        except TypeError:
            raise UsageError(f"{where}: entry {number}: keys must be plain words") from None
        weights = None if one.weights is None else str(path.parent / one.weights)
        found.append(one.model_copy(update={"weights": weights}))
    return found


def resolve(preset: Preset, overrides: Mapping[str, Any]) -> RunConfig:
    """One run's config: the preset, then everything in `overrides` that is not None."""
    return _resolved(
        RunConfig,
        {"preset": preset.name, "preset_version": preset.version, **_suite(preset), **_given(overrides)},
    )


def resolve_suite(preset: Preset, overrides: Mapping[str, Any]) -> Suite:
    """The preset's suite with everything in `overrides` that is not None. Raises UsageError."""
    return _resolved(Suite, {**_suite(preset), **_given(overrides)})


def select(**options: Any) -> Selection:
    """The images asked for; options that are None are not given. Raises UsageError."""
    return _resolved(Selection, _given(options))


def _suite(preset: Preset) -> dict[str, Any]:
    # What a preset does not say stays unsaid, so that it can be told from what somebody asked for.
    return {name: getattr(preset, name) for name in Suite.model_fields if name in preset.model_fields_set}


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _resolved(kind: type[Resolved], values: Mapping[str, Any]) -> Resolved:
    try:
        return kind(**values)
    except ValidationError as error:
        raise _one_line("options", error) from None


def _read_included(name: str, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The preset's mapping on top of what it includes, key by key; `seen`: the files on the way to it."""
    path = Path(os.path.normpath(_preset_path(name, seen)))
    if path in seen:
        raise UsageError(f"preset {name} includes itself: {' → '.join(map(str, (*seen, path)))}")
    if len(seen) >= _MOST_INCLUDED:
        raise UsageError(f"preset {name}: more than {_MOST_INCLUDED} presets include each other")
    mapping = read_yaml(path, f"preset {name}", dict)
    base = mapping.pop("include", None)
    if base is None:
        return mapping
    if not isinstance(base, str):
        raise UsageError(f"preset {name}: 'include' takes the name of one preset")
    return {**_read_included(base, (*seen, path)), **mapping}


_MOST_INCLUDED = 20


def _preset_path(name: str, seen: Sequence[Path]) -> Path:
    if name in preset_names():
        return presets_folder() / f"{name}.yaml"
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or os.sep in name:
        return seen[-1].parent / path if seen else path
    raise unknown("preset", name, preset_names())


def _one_line(where: str, error: ValidationError, model: type[Frozen] = Preset) -> UsageError:
    first = error.errors(include_url=False)[0]
    if first["type"] == "extra_forbidden":
        field = ".".join(str(part) for part in first["loc"])
        near = unknown("key", field, [*model.model_fields, *(["include"] if model is Preset else [])])
        return UsageError(f"{where}: {near}")
    place, words = first_fault(error)
    if where == "options":
        where, place = "", f"--{place.replace('_', '-')}" if place in RunConfig.model_fields else place
    more = error.error_count() - 1
    rest = f" (and {more} more)" if more else ""
    named = ": ".join(part for part in (where, place) if part)
    return UsageError(f"{named} {words}, got {one_line(repr(first['input']), 60)}{rest}")
