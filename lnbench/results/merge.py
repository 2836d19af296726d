"""Run folders of shards joined into the one that an undivided run would have written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lnbench.errors import RecordError
from lnbench.files import counted
from lnbench.results.bits import pack
from lnbench.results.correct import Correct, read_correct
from lnbench.results.environment import Environment
from lnbench.results.reading import first_difference, read
from lnbench.results.schema import Cell, Record, Run
from lnbench.results.store import RunFolder, identity
from lnbench.results.unanswered import unanswered_note

_MOST_NAMED = 8


@dataclass(frozen=True)
class _Shard:
    path: Path
    number: int
    of: int
    record: Record
    correct: Correct


def shard_note(shard: str) -> str:
    """What the record of shard `2/5` says of itself."""
    number, of = shard.split("/")
    return f"shard {number} of {of}: every {of}th condition only; lnbench merge joins the shards"


def merge(out: Path, folders: Sequence[Path], *, command: str = "") -> Record:
    """Join finished shards in `out` and return the record, equal to an undivided run's but for timings.

    RecordError for a folder that is no finished shard, for shards of different runs, for one that is there
    twice or missing, and for what `RunFolder` refuses.
    """
    shards = [_read(Path(folder)) for folder in folders]
    if not shards:
        raise RecordError("nothing to merge: give the run folders of all shards")
    _check(shards)
    shards.sort(key=lambda shard: shard.number)
    run = _joined(shards, command)
    cells = {cell.key: cell for shard in shards for cell in _with_bits(shard)}
    if missing := [
        f"{mode}/{condition}" for mode, condition in run.suite.keys if (mode, condition) not in cells
    ]:
        raise RecordError(f"the shards lack {counted(len(missing), 'cell')}, the first is {missing[0]}")
    labels, ids = shards[0].correct.labels, shards[0].correct.ids
    if labels is None or ids is None:
        raise RecordError(
            f"{shards[0].path} does not say which images it counted: its correct.npz is incomplete"
        )
    with RunFolder.create_or_resume(out, run) as folder:
        done = folder.finished()
        for condition in dict.fromkeys(condition for _, condition in run.suite.keys):
            new = [cells[mode, condition] for mode in run.suite.modes if (mode, condition) not in done]
            if new:
                folder.append(new)
        return folder.finish(labels=labels, ids=ids)


def _read(folder: Path) -> _Shard:
    record = read(folder)
    shard = record.config.get("shard")
    if not isinstance(shard, str):
        raise RecordError(f"{folder} is a whole run, not a shard: evaluate --shard i/n makes shards")
    correct = read_correct(folder, record)
    if correct is None:
        raise RecordError(f"{folder} lacks correct.npz; give the same evaluate command to write it again")
    number, of = shard.split("/")
    return _Shard(folder, int(number), int(of), record, correct)


def _check(shards: Sequence[_Shard]) -> None:
    """All shards of one run, each once."""
    first = shards[0]
    for shard in shards:
        difference = first_difference(_common(first.record.run), _common(shard.record.run))
        if shard.of != first.of:
            difference = f"it is cut into {shard.of} shards, the first into {first.of}"
        if difference:
            raise RecordError(f"{shard.path} and {first.path} are shards of different runs ({difference})")
        if shard.record.cells and len(shard.record.cells) < len(shard.record.suite.keys):
            raise RecordError(f"{shard.path} is not finished: give the same evaluate command to go on")
    by_number: dict[int, _Shard] = {}
    for shard in shards:
        if shard.number in by_number:
            raise RecordError(
                f"shard {shard.number}/{shard.of} is there twice: "
                f"{by_number[shard.number].path} and {shard.path}"
            )
        by_number[shard.number] = shard
    if missing := [str(n) for n in range(1, first.of + 1) if n not in by_number]:
        named = ", ".join(missing[:_MOST_NAMED]) + (", …" if len(missing) > _MOST_NAMED else "")
        raise RecordError(f"{len(missing)} of {first.of} shards are missing: {named}")


def _common(run: Run) -> dict[str, object]:
    """What all shards of a run have in common."""
    content = identity(run)
    content["suite"] = {key: value for key, value in content["suite"].items() if key != "conditions"}
    content["config"] = {key: value for key, value in content["config"].items() if key != "shard"}
    return content


def _joined(shards: Sequence[_Shard], command: str) -> Run:
    """The run that the shards are parts of, its conditions in their order."""
    run, of = shards[0].record.run, shards[0].of
    count = sum(len(shard.record.suite.conditions) for shard in shards)
    conditions = []
    for place in range(count):
        own = shards[place % of].record.suite.conditions
        if place // of >= len(own):
            raise RecordError(
                f"{shards[place % of].path} holds too few conditions for shard {place % of + 1}/{of}"
            )
        conditions.append(own[place // of])
    deviations = dict.fromkeys(
        text
        for shard in shards
        for text in shard.record.deviations
        if text not in (shard_note(f"{shard.number}/{of}"), unanswered_note(shard.record.cells))
    )
    notes = [
        f"merged from shards computed in different environments: {difference}"
        for shard in shards[1:]
        if (difference := _difference(run.environment, shard.record.environment))
    ]
    return run.model_copy(
        update={
            "command": command,
            "started": min(shard.record.started for shard in shards),
            "config": {**run.config, "shard": None},
            "suite": run.suite.model_copy(update={"conditions": tuple(conditions)}),
            "deviations": (*deviations, *dict.fromkeys(notes)),
        }
    )


def _difference(one: Environment, other: Environment) -> str | None:
    return first_difference(one.model_dump(mode="json"), other.model_dump(mode="json"))


def _with_bits(shard: _Shard) -> list[Cell]:
    return [
        cell.model_copy(update={"correct": pack(shard.correct.flags[cell.key])})
        for cell in shard.record.cells
    ]
