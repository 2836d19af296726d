"""The record: what a run was, what it found. Pydantic models, frozen, unknown keys refused.

A run folder's `run.json` is a `Run`, a line of its `cells.jsonl` is a `Cell`, its `results.json` a `Record`.
Rates are fractions in 0–1 everywhere; percent appears only where a person reads.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from lnbench.files import counted
from lnbench.metrics import METRICS
from lnbench.results.environment import Environment
from lnbench.types import Baseline, Condition

SCHEMA: Literal[2] = 2
STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)


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
Share = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=0)]]  # images, right ones
LARGEST = 1e39  # of float32 figures and their means; far from where sums of them overflow


class Course(BaseModel):
    """How a cell went along its stream, where its answers depend on more than their own image.

    `tenths`: top-1 of the first tenth of the images to the last; `batches`: of the stream; `resets`: numbers,
    from 0, of the batches in which the mode forgot what it had learned because it was time; `recoveries`: of
    those in which it did because its predictions had collapsed, where there are any.
    """

    model_config = STRICT

    unit: Literal["batch", "stream"]
    tenths: tuple[Rate, ...]
    batches: int = Field(ge=1)
    resets: tuple[Annotated[int, Field(ge=0)], ...] = ()
    recoveries: tuple[Annotated[int, Field(ge=0)], ...] | None = None


class Cell(BaseModel):
    """Mode × condition: counts and scores, the unit of resume, comparison and JUnit.

    `scores`: each metric's figure by its name, null where it is not a number; in files they stand beside the
    other keys. A name that no metric here has is another lnbench's, and kept. `top1` is always among them.
    `seconds` is compute time, null in a baseline file.
    `batch_size` is set only where the batch is part of the answer (batch statistics). `draws`: where a mode
    drew images, (images, number right) of each draw's share of the set.
    `unanswered`: how many images got outputs that are not numbers, where there are any: counted as wrong.
    `correct`: base64 of the per-image correctness bits (see `bits.pack`), in `cells.jsonl` and baselines;
    `bins`: for each confidence bin (images, sum of confidences, number right); `shifts`: layer name →
    distance between stored and observed statistics, from `--diagnose`; `counts`: what the mode counted, such
    as the samples it learned from; `course`: where the batch or the stream is part of the answer.
    For a precomputed set, `fingerprint` of the condition's images and labels, as the record's of the first's;
    `counted`, bits over the whole dataset, where a condition's images are not those of the record's labels.
    """

    model_config = STRICT

    mode: str = Field(min_length=1)
    corruption: str = Field(min_length=1)
    severity: Severity
    images: int = Field(ge=1)
    scores: dict[str, Score]
    seconds: float | None = Field(default=None, ge=0)
    batch_size: int | None = Field(default=None, ge=1)
    draws: tuple[Share, ...] | None = Field(default=None, min_length=1)
    unanswered: int | None = Field(default=None, ge=1)
    bins: tuple[tuple[int, float, float], ...] | None = None
    shifts: dict[str, Annotated[float, Field(ge=0, le=LARGEST)]] | None = None
    counts: dict[str, float] | None = None
    course: Course | None = None
    correct: str | None = None
    fingerprint: str | None = None
    counted: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, content: Any) -> Any:
        if not isinstance(content, dict) or "scores" in content:
            return content
        known = {key: value for key, value in content.items() if key in cls.model_fields}
        return known | {"scores": {key: value for key, value in content.items() if key not in known}}

    @field_validator("scores")
    @classmethod
    def _scores_possible(cls, scores: dict[str, float | None]) -> dict[str, float | None]:
        if scores.get("top1") is None:
            raise ValueError("top1 is missing")
        for name, value in scores.items():
            if value is not None and abs(value) > LARGEST:
                raise ValueError(f"{name} {value:g} is beyond what float32 outputs can give")
            rate = name in METRICS and METRICS[name].unit == "%"
            if rate and value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} {value:g} is not in 0–1")
        return scores

    @model_serializer(mode="wrap")
    def _spread(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key, value in handler(self).items():
            content |= value if key == "scores" else {key: value}
        return {k: v for k, v in content.items() if v is not None or not info.exclude_none}

    @property
    def top1(self) -> float:
        return float(self.scores["top1"] or 0)

    @property
    def drawn(self) -> int:
        """How many draws of images the mode made; 0 where it draws none or the record does not say."""
        return len(self.draws or ())

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


class RecordedSuite(BaseModel):
    """What was asked for: the cells a run will have, and everything that decides their pixels.

    `version` of the preset, null in records from before it was kept; `table` is the parameter table, null
    for precomputed sets; `overrides` the preset's own numbers
    (empty where the table's are used); `conditions` in running order, `(corruption, severity)` each;
    `baseline`: against whose errors mCE is given once all its conditions are there, null for no mCE.
    `generator`: what the seed means where lnbench draws the noise (`corruptions.rng.GENERATOR`), 1 in records
    from before it was kept; null where the corruptions come from elsewhere.
    """

    model_config = STRICT

    preset: str | None = None
    version: int | None = Field(default=None, ge=1)
    table: str | None = None
    backend: Literal["native", "reference", "precomputed"]
    seed: int
    generator: int | None = Field(default=None, ge=1)
    modes: tuple[str, ...] = Field(min_length=1)
    conditions: tuple[tuple[str, Severity], ...] = Field(min_length=1)
    overrides: dict[str, JsonValue] = {}
    baseline: Baseline | None = None

    @model_validator(mode="before")
    @classmethod
    def _generator_of_old(cls, content: Any) -> Any:
        if isinstance(content, dict) and "generator" not in content and content.get("backend") == "native":
            return content | {"generator": 1}
        return content

    @property
    def keys(self) -> tuple[tuple[str, Condition], ...]:
        """Every cell of the suite, modes outermost."""
        return tuple((mode, Condition(*condition)) for mode in self.modes for condition in self.conditions)


class Model(BaseModel):
    """The network: what was asked for, where its weights came from, how its input was prepared.

    `sha256` of the weights' file; `code` of a factory's own code; `state` of the weights that came from no
    file. Null where there is none, and in records from before they were kept.
    """

    model_config = STRICT

    spec: str
    source: str
    weights: str | None = None
    sha256: str | None = None
    code: str | None = None
    state: str | None = None
    classes: int | None = None
    norm_layers: int = 0
    groups: int = 1
    parameters: int | None = None
    precision: str = "fp32"
    preprocessing: dict[str, JsonValue] = {}


class RecordedClassMap(BaseModel):
    """Which outputs of the network answered for which label, where label i was not simply output i.

    `how` labels and outputs were matched; `outputs` of each label, more than one being a superclass whose
    probability is the `combine` of theirs; `answering`: how many classes the figures choose from.
    """

    model_config = STRICT

    how: str
    outputs: tuple[tuple[int, ...], ...]
    answering: int = Field(ge=1)
    combine: Literal["mean", "largest"] | None = None


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
    class_map: RecordedClassMap | None = None

    @model_serializer(mode="wrap")
    def _plain_map_unsaid(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {key: value for key, value in content.items() if key != "class_map" or value is not None}


class Shift(BaseModel):
    """A natural shift: another test set of the same classes. Fields as in `Data`.

    `beside`: the condition of the clean images of its classes, with the same outputs left out; `shared`: how
    many of its `classes` those have.
    """

    model_config = STRICT

    spec: str
    source: str
    fingerprint: str
    images: int = Field(ge=1)
    total: int = Field(ge=1)
    skipped: int = Field(default=0, ge=0)
    classes: int = Field(ge=1)
    shared: int = Field(ge=1)
    beside: str
    class_map: RecordedClassMap | None = None


class Gap(BaseModel):
    """One mode on a natural shift: top-1 there, on the clean images of its classes, and what is lost."""

    model_config = STRICT

    top1: Rate
    interval: Interval
    clean_top1: Rate | None
    gap: float | None


class Run(BaseModel):
    """`run.json`: one resolved config and its surroundings, written before the first cell.

    `config` is the resolved config as plain JSON; `command` the exact command line; `started` an ISO
    time; `deviations` one sentence for each way the run departs from the benchmark it names.
    """

    model_config = STRICT

    version: Literal[2] = Field(default=SCHEMA, alias="schema")
    command: str = ""
    started: str = ""
    config: dict[str, JsonValue]
    suite: RecordedSuite
    model: Model
    data: Data
    environment: Environment
    deviations: tuple[str, ...] = ()
    shifts: dict[str, Shift] = {}


class Rounds(BaseModel):
    """Of a run in rounds that ended before the last: `images` of every condition were counted, of `of`.

    They are the first ones of the order that the suite's seed gives to all of them. `why` it ended.
    """

    model_config = STRICT

    images: int = Field(ge=1)
    of: int = Field(ge=1)
    why: str


class Summary(BaseModel):
    """The headline figures of one mode.

    `clean_interval`: 95 %, Wilson's; `mean_corruption_interval`: 95 %, over images, each counted with its
    mean correctness over the conditions (conditions share images, so counting every forward as a fresh image
    would make it far too narrow). Both are wider where several draws of a mode say so. `mce` and
    `relative_mce` are fractions (0.767 for 76.7), null where undefined; `mce_note` then says why, and
    otherwise what the figure rests on. `complete` is false while cells of the suite are missing.
    `clean_sequence`, `mean_corruption_sequence`: where the figures over the whole set lie, at whatever moment
    a run in rounds ended (95 %; see `sequences`); only there.
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
    shifts: dict[str, Gap] = {}
    clean_sequence: Interval | None = None
    mean_corruption_sequence: Interval | None = None

    @model_serializer(mode="wrap")
    def _sequences_unsaid(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {k: v for k, v in content.items() if not k.endswith("_sequence") or v is not None}


class Record(BaseModel):
    """`results.json`: the run, its cells and their summary by mode, sealed with a checksum.

    `unfinished`: read from a folder whose run goes on or was stopped; never written.
    """

    model_config = STRICT

    version: Literal[2] = Field(default=SCHEMA, alias="schema")
    command: str = ""
    started: str = ""
    config: dict[str, JsonValue]
    suite: RecordedSuite
    model: Model
    data: Data
    environment: Environment
    deviations: tuple[str, ...] = ()
    shifts: dict[str, Shift] = {}
    unfinished: bool = Field(default=False, exclude=True)
    cells: tuple[Cell, ...]
    summary: dict[str, Summary]
    rounds: Rounds | None = None

    @model_serializer(mode="wrap")
    def _whole_unsaid(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {key: value for key, value in content.items() if key != "rounds" or value is not None}

    @property
    def run(self) -> Run:
        return Run.model_validate({name: getattr(self, name) for name in Run.model_fields})

    @property
    def standing(self) -> str:
        """How far an unfinished run is: 'unfinished: 40 of 95 cells', in rounds '1,000 of 10,000 images'."""
        if self.rounds is not None:
            return f"unfinished: {self.rounds.images:,} of {self.rounds.of:,} images"
        return f"unfinished: {len(self.cells)} of {counted(len(self.suite.keys), 'cell')}"

    def cell(self, mode: str, condition: Condition) -> Cell | None:
        """The cell of that mode and condition, or None."""
        return next((cell for cell in self.cells if cell.key == (mode, condition)), None)
