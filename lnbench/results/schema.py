"""The record: what a run was, what it found. Pydantic models, frozen, unknown keys refused.

A run folder's `run.json` is a `Run`, a line of its `cells.jsonl` is a `Cell`, its `results.json` a `Record`.
Rates are fractions in 0–1 everywhere; percent appears only where a person reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from platform import platform, python_version
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PlainSerializer

from lnbench import __version__
from lnbench.errors import LnbenchError
from lnbench.types import Condition

if TYPE_CHECKING:
    import pandas

SCHEMA: Literal[1] = 1
STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "pillow", "imagecorruptions")


def _finite(value: object) -> object:
    """A network that answers NaN has no likelihood: null in JSON, which knows no NaN."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if not is_number or abs(float(value)) < float("inf") else None  # type: ignore[arg-type]


def _plain(value: float) -> float:
    """A whole severity as the integer that people write: 3, not 3.0."""
    return int(value) if value == int(value) else value


Rate = Annotated[float, Field(ge=0, le=1)]
Score = Annotated[float | None, BeforeValidator(_finite)]
Severity = Annotated[float, Field(ge=0, le=1000), PlainSerializer(_plain, return_type=int | float)]
Interval = tuple[float, float]


class Cell(BaseModel):
    """Mode × condition: counts and scores, the unit of resume, comparison and JUnit.

    `nll` is in nats; `ece` has 15 equal-width bins; `seconds` is compute time, null in a baseline file.
    `batch_size` is set only where the batch is part of the answer (batch statistics).
    `correct`: base64 of the per-image correctness bits (see `bits.pack`), in `cells.jsonl` and baselines;
    `bins`: for each confidence bin (images, sum of confidences, number right); `shifts`: layer name →
    distance between stored and observed statistics, from `--diagnose`.
    """

    model_config = STRICT

    mode: str = Field(min_length=1)
    corruption: str = Field(min_length=1)
    severity: Severity
    images: int = Field(ge=1)
    top1: Rate
    top5: Rate
    nll: Score = None
    ece: Score = None
    seconds: float | None = Field(default=None, ge=0)
    batch_size: int | None = Field(default=None, ge=1)
    bins: tuple[tuple[int, float, float], ...] | None = None
    shifts: dict[str, float] | None = None
    correct: str | None = None

    @property
    def condition(self) -> Condition:
        return Condition(self.corruption, self.severity)

    @property
    def key(self) -> tuple[str, Condition]:
        return self.mode, self.condition

    @property
    def name(self) -> str:
        """`fixed/gaussian_noise/3`, or `fixed/clean`."""
        return f"{self.mode}/{self.condition}"


class Suite(BaseModel):
    """What was asked for: the cells a run will have, and everything that decides their pixels.

    `table` is the parameter table, null for precomputed sets; `overrides` the preset's own numbers
    (empty where the table's are used); `conditions` in running order, `(corruption, severity)` each.
    """

    model_config = STRICT

    preset: str | None = None
    table: str | None = None
    backend: Literal["native", "reference", "precomputed"]
    seed: int
    modes: tuple[str, ...] = Field(min_length=1)
    conditions: tuple[tuple[str, Severity], ...] = Field(min_length=1)
    overrides: dict[str, JsonValue] = {}

    @property
    def keys(self) -> tuple[tuple[str, Condition], ...]:
        """Every cell of the suite, modes outermost."""
        return tuple((mode, Condition(*condition)) for mode in self.modes for condition in self.conditions)


class Model(BaseModel):
    """The network: what was asked for, where its weights came from, how its input was prepared."""

    model_config = STRICT

    spec: str
    source: str
    weights: str | None = None
    sha256: str | None = None
    classes: int | None = None
    norm_layers: int = 0
    groups: int = 1
    parameters: int | None = None
    precision: str = "fp32"
    preprocessing: dict[str, JsonValue] = {}


class Data(BaseModel):
    """The images: where from, how many of how many, which could not be read, the class names."""

    model_config = STRICT

    spec: str
    source: str
    fingerprint: str
    images: int = Field(ge=1)
    total: int = Field(ge=1)
    classes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


class Environment(BaseModel):
    """Where the run was computed; never part of a run's identity."""

    model_config = STRICT

    lnbench: str
    python: str
    platform: str
    packages: dict[str, str]
    device: str
    threads: int
    processes: int = 1
    deterministic: dict[str, JsonValue] = {}


class Run(BaseModel):
    """`run.json`: one resolved config and its surroundings, written before the first cell.

    `config` is the resolved config as plain JSON; `command` the exact command line; `started` an ISO
    time; `deviations` one sentence for each way the run departs from the benchmark it names.
    """

    model_config = STRICT

    version: Literal[1] = Field(default=SCHEMA, alias="schema")
    command: str = ""
    started: str = ""
    config: dict[str, JsonValue]
    suite: Suite
    model: Model
    data: Data
    environment: Environment
    deviations: tuple[str, ...] = ()


class Summary(BaseModel):
    """The headline figures of one mode.

    `clean_interval`: 95 % Wilson; `mean_corruption_interval`: 95 %, over images, each counted with its
    mean correctness over the conditions (conditions share images, so counting every forward as a fresh
    image would make it far too narrow). `mce` and `relative_mce` are fractions (0.767 for 76.7), null
    where undefined; `mce_note` then says why, and otherwise what the figure rests on. `complete` is
    false while cells of the suite are missing.
    """

    model_config = STRICT

    clean_top1: Rate | None
    clean_interval: Interval | None
    mean_corruption_top1: Rate | None
    mean_corruption_interval: Interval | None
    mce: float | None
    relative_mce: float | None
    mce_baseline: str | None
    mce_note: str
    corruption_set: str
    complete: bool


class Record(BaseModel):
    """`results.json`: the run, its cells and their summary by mode, sealed with a checksum."""

    model_config = STRICT

    version: Literal[1] = Field(default=SCHEMA, alias="schema")
    command: str = ""
    started: str = ""
    config: dict[str, JsonValue]
    suite: Suite
    model: Model
    data: Data
    environment: Environment
    deviations: tuple[str, ...] = ()
    cells: tuple[Cell, ...]
    summary: dict[str, Summary]

    @property
    def run(self) -> Run:
        return Run.model_validate({name: getattr(self, name) for name in Run.model_fields})

    def cell(self, mode: str, condition: Condition) -> Cell | None:
        """The cell of that mode and condition, or None."""
        return next((cell for cell in self.cells if cell.key == (mode, condition)), None)

    def to_pandas(self) -> pandas.DataFrame:
        """One row for each cell, as in `results.csv`. LnbenchError where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise LnbenchError("to_pandas needs pandas: pip install 'lnbench[pandas]'") from None
        from lnbench.results.render.delimited import COLUMNS, rows

        return pandas.DataFrame(rows([self]), columns=list(COLUMNS))


def environment(
    *, device: str, threads: int, processes: int = 1, deterministic: Mapping[str, JsonValue] | None = None
) -> Environment:
    """Describe this machine: interpreter, platform and installed versions, without importing any of them."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return Environment(
        lnbench=__version__,
        python=python_version(),
        platform=platform(),
        packages=packages,
        device=device,
        threads=threads,
        processes=processes,
        deterministic=dict(deterministic or {}),
    )
