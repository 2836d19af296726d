"""From files to records and back: JSON laid out for people and git, sealed with a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lnbench.errors import RecordError
from lnbench.faults import first_fault
from lnbench.files import one_line, read_bytes
from lnbench.results.schema import SCHEMA, Record

RUN, CELLS, RESULTS, CORRECT, SHEET = "run.json", "cells.jsonl", "results.json", "correct.npz", "sheet.png"
BLOCKS = "blocks.jsonl"
CHECKSUM = "checksum"

Kind = TypeVar("Kind", bound=BaseModel)


def document(content: Mapping[str, Any]) -> bytes:
    """JSON with a line for each top-level value, or for each entry of it, so that it reads and diffs well.

    A byte of a path that is no UTF-8, a lone surrogate in Python, becomes JSON's escape, and is read as such.
    """
    lines = []
    for key, value in content.items():
        if isinstance(value, dict) and value:
            inner = ",\n".join(f"  {_dense(name)}: {_dense(entry)}" for name, entry in value.items())
            lines.append(f" {_dense(key)}: {{\n{inner}\n }}")
        elif isinstance(value, list) and value:
            inner = ",\n".join(f"  {_dense(entry)}" for entry in value)
            lines.append(f" {_dense(key)}: [\n{inner}\n ]")
        else:
            lines.append(f" {_dense(key)}: {_dense(value)}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("utf-8", "backslashreplace")


def _dense(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def dump(model: BaseModel) -> dict[str, Any]:
    """A model as plain JSON values under its file names."""
    content: dict[str, Any] = model.model_dump(mode="json", by_alias=True)
    return content


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """`content` with the checksum that `read` verifies."""
    return {**content, CHECKSUM: checksum(content)}


def checksum(content: Mapping[str, Any]) -> str:
    """sha256 of the content as canonical JSON, its own checksum left out: layout does not matter."""
    rest = {key: value for key, value in content.items() if key != CHECKSUM}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def record_bytes(record: Record) -> bytes:
    """The record as the bytes of `results.json`: without the bits, which `correct.npz` holds."""
    content = dump(record)
    content["cells"] = [
        {key: value for key, value in cell.items() if value is not None and key != "correct"}
        for cell in content["cells"]
    ]
    return document(sealed(content))


def read(path: str | Path, *, unfinished: bool = False) -> Record:
    """Read a run folder, a `results.json` or a baseline file; with `unfinished`, also what a run has so far.

    RecordError in one line when it is none of these, of a later schema, truncated, or changed since lnbench
    wrote it.
    """
    file = locate(Path(path), unfinished=unfinished)
    if file.name == RUN and Path(path).is_dir():
        from lnbench.results.unfinished import read_unfinished  # it is made of what is here

        return read_unfinished(Path(path))
    content = load_json(file)
    if "cells" not in content or "suite" not in content:
        raise RecordError(f"{file} is not an lnbench record: give a run folder, results.json or a baseline")
    if content.get(CHECKSUM) != checksum(content):
        raise RecordError(f"{file} was changed after lnbench wrote it (its checksum does not fit)")
    content = upgraded({key: value for key, value in content.items() if key != CHECKSUM})
    record = validate(Record, content, str(file))
    check_cells(record, file)
    return record


def locate(path: Path, *, unfinished: bool = False) -> Path:
    """The file of `path` that holds the record: itself, or the `results.json` of a run folder.

    Of a run that is not finished, its `run.json` where `unfinished` ones will do. Raises RecordError.
    """
    if path.is_dir():
        if (path / RESULTS).is_file():
            return path / RESULTS
        if (path / RUN).is_file() and unfinished:
            return path / RUN
        if (path / RUN).is_file():
            raise RecordError(f"{path} holds an unfinished run: give the same evaluate command to finish it")
        raise RecordError(f"{path} is not a run folder: it holds no {RESULTS}")
    if not path.exists():
        raise RecordError(f"{path} does not exist: give a run folder, results.json or a baseline")
    return path


def load_json(file: Path) -> dict[str, Any]:
    """The JSON object in `file`, its schema number checked. Raises RecordError."""
    try:
        content = json.loads(read_bytes(file))
    except (ValueError, RecursionError):
        raise RecordError(f"{file} is not whole JSON: truncated, damaged or not an lnbench file") from None
    if not isinstance(content, dict) or "schema" not in content:
        raise RecordError(f"{file} is not an lnbench record: it has no schema number")
    found = content["schema"]
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise RecordError(f"{file}: schema {one_line(found, 80)} is not a schema number")
    if found > SCHEMA:
        raise RecordError(f"{file} has schema {found}, this lnbench reads up to {SCHEMA}: upgrade lnbench")
    return content


def upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """What an earlier lnbench wrote, under this schema's keys.

    Schema 1 had an empty `environment.deterministic`, and gave mCE against AlexNet whatever `config.baseline`
    said.
    """
    if content["schema"] == SCHEMA:
        return content
    changed = {**content, "schema": SCHEMA}
    if isinstance(environment := content.get("environment"), dict):
        changed["environment"] = {key: v for key, v in environment.items() if key != "deterministic"}
    for part in ("suite", "config"):
        own = content.get(part)
        if isinstance(own, dict) and (part == "suite" or "baseline" in own):
            changed[part] = own | {"baseline": "alexnet"}
    return changed


def validate(kind: type[Kind], content: object, where: str) -> Kind:
    """`content` as a model; its first fault as a RecordError."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise RecordError(f"{where}: {_first_fault(error)}") from None


def parse(kind: type[Kind], text: bytes, where: str) -> Kind:
    """One JSON text as a model; its first fault as a RecordError."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise RecordError(f"{where}: {_first_fault(error)}") from None


def check_cells(record: Record, where: Path) -> None:
    """RecordError when a cell appears twice or does not belong to the suite."""
    expected, seen = set(record.suite.keys), set()
    for cell in record.cells:
        if cell.key in seen:
            raise RecordError(f"{where} holds cell {one_line(cell.name, 80)} twice")
        if cell.key not in expected:
            raise RecordError(f"{where} holds cell {one_line(cell.name, 80)}, which its suite does not have")
        seen.add(cell.key)
    if set(record.summary) != set(record.suite.modes):
        raise RecordError(f"{where}: the summary and the suite name different modes")


def _first_fault(error: ValidationError) -> str:
    place, words = first_fault(error)
    return f"{place or 'the whole'} {words}"


def first_difference(old: object, new: object, name: str = "") -> str | None:
    """Where two JSON values differ first: 'config.seed is 0 there and 1 now', or None."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            found = first_difference(old.get(key), new.get(key), f"{name}.{key}" if name else str(key))
            if found:
                return found
        return None
    if old == new:
        return None
    return f"{name} is {one_line(_dense(old), 80)} there and {one_line(_dense(new), 80)} now"
