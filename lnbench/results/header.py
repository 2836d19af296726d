"""How a run looks at its images, in one line and as rows: what every table and report is to be read with."""

from __future__ import annotations

from pathlib import PurePath

from pydantic import JsonValue

from lnbench.results import protocol
from lnbench.results.schema import Record, Run


def rows(run: Run | Record) -> list[tuple[str, str]]:
    """(name, value) of outputs, classes and preprocessing; empty where a record does not say."""
    model, data, prepared = run.model, run.data, run.model.preprocessing
    return [
        ("outputs", outputs(run)),
        ("classes", str(len(data.classes)) if data.classes else ""),
        ("mean", _numbers(prepared.get("mean")) + assumed(prepared)),
        ("std", _numbers(prepared.get("std")) + assumed(prepared)),
        ("resize", _size(prepared.get("resize"), "shorter side ") if prepared else ""),
        ("crop", _size(prepared.get("crop"), "") if prepared else ""),
        ("interpolation", str(prepared.get("interpolation") or "") if prepared.get("resize") else ""),
        ("computed on", f"{run.environment.device}, {model.precision}"),
    ]


def outputs(run: Run | Record) -> str:
    """How many outputs the network has, and which of them answer where not all do."""
    found = run.data.class_map
    if run.model.classes is None:
        return ""
    if found is None:
        return str(run.model.classes)
    kept = "" if found.answering == run.model.classes else f", {found.answering} classes answer"
    grouped = "" if found.combine is None else f" by the {found.combine} of theirs"
    return f"{run.model.classes}{kept}{grouped} (labels matched {found.how})"


def line(run: Run | Record) -> str:
    """The header of a run: everything that decides what the network sees, in one line."""
    model, data = run.model, run.data
    weights = "" if model.weights is None else f" ({PurePath(model.weights).name})"
    images = f"{data.images}" if data.images == data.total else f"{data.images} of {data.total}"
    found = {name: value for name, value in rows(run) if value}
    parts = [
        f"{model.spec}{weights}",
        *(f"{name} {found[name]}" for name in ("outputs",) if name in found),
        f"data {place(run)}",
        f"{images} image{'' if data.total == 1 else 's'}",
        *(f"{found[name]} {name}" for name in ("classes",) if name in found),
        *(f"{name} {found[name]}" for name in ("mean", "std", "resize", "crop") if name in found),
        *(found[name] for name in ("interpolation", "computed on") if name in found),
        *protocol.unusual(run),
    ]
    return " · ".join(parts)


def place(run: Run | Record) -> str:
    """Where the images lie: what a bare path was taken for, and which part of a set with splits."""
    kind, _, _ = run.data.source.partition(":")
    # Of a set that was corrupted elsewhere the source names the condition too.
    return run.data.source.rpartition(" ")[0] if kind.endswith("-c") else run.data.source


def preprocessing(run: Run | Record) -> str:
    """Mean, std, resize, crop and interpolation as one text."""
    names = ("mean", "std", "resize", "crop", "interpolation")
    return "; ".join(f"{name} {value}" for name, value in rows(run) if name in names and value)


def assumed(prepared: dict[str, JsonValue]) -> str:
    """What to say where nobody declared mean and std."""
    return " (assumed ImageNet)" if prepared.get("assumed") else ""


def _numbers(value: JsonValue) -> str:
    if not isinstance(value, list):
        return ""
    return ",".join(f"{number:g}" for number in value if isinstance(number, int | float))


def _size(value: JsonValue, one: str) -> str:
    if isinstance(value, list):
        return "×".join(str(side) for side in value)
    return "none" if value is None else f"{one}{value}"
