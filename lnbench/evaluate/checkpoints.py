"""Which checkpoints one command evaluates: a model, its weights files or globs of them, or a list file."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lnbench.config import Preset, load_models
from lnbench.errors import UsageError
from lnbench.results.seeds import folder_name


def expand(
    preset: Preset, model: str | None, weights: Sequence[str], models: Path | None
) -> list[dict[str, Any]]:
    """What is particular to every run asked for, over what they share; globs in sorted order.

    Raises UsageError.
    """
    if models is not None:
        if model or weights:
            raise UsageError("--models names networks and weights; drop --model and --weights")
        return [entry.model_dump(exclude_none=True) for entry in load_models(models)]
    specs = [model] if model else list(preset.models)
    if not specs:
        raise UsageError(f"preset {preset.name} names no model; give --model")
    if not weights:
        return [{"model": spec} for spec in specs]
    if len(specs) > 1:
        raise UsageError("--weights needs one --model to load them into")
    files = []
    for pattern in weights:
        literal = Path(pattern).exists() or not glob.has_magic(pattern)
        found = [pattern] if literal else sorted(glob.glob(pattern))  # noqa: PTH207 – may be absolute
        if not found:
            raise UsageError(f"--weights {pattern}: no file matches")
        files += found
    return [{"model": specs[0], "weights": file} for file in dict.fromkeys(files)]


def of_seeds(first: int, seeds: int | None, out: Path | None) -> list[tuple[dict[str, int], Path | None]]:
    """What is particular to the run of each seed, and its place; one run where no number was asked for."""
    if seeds is None or out is None:
        return [({}, out)]
    return [({"seed": seed}, out / folder_name(seed)) for seed in range(first, first + seeds)]
