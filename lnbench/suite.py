"""A suite: which conditions, which modes, and how they are counted; what cannot be is refused."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from lnbench.corruptions import reference, registry
from lnbench.data import order as orders
from lnbench.errors import UsageError, unknown
from lnbench.norm.modes import registry as modes
from lnbench.norm.sweep import expand
from lnbench.types import CLEAN, CLEAN_NAME, Baseline, Condition

BY_SIZE = "by-size"

Backend = Literal["native", "reference"]
Parameters = dict[str, dict[float, tuple[float, ...]]]

# How images come, with what is usual. Written down only where it is not: a config of before there was a
# choice is still the same config, and its run folder is gone on with.
PROTOCOL = {
    "order": orders.SHUFFLED,
    "sequence": "reset",
    "mixed": False,
    "error": False,
    "shifts": {},
    "plugins": None,
    "chosen": None,
    "prefix": None,
}


class Frozen(BaseModel):
    """Checked when it is made and never changed; a name that it does not have is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Suite(Frozen):
    """What a preset and a run have in common: which conditions, which modes, how they are counted.

    `order`: of the images of a stream; `sequence`: whether what a stream mode learned is kept from one
    corrupted condition to the next; `mixed`: whether the corrupted conditions are one stream; `error`:
    whether tables show the mean error too, as papers on adaptation do; `shifts`: other test sets of the same
    classes, name → data spec.
    """

    table: str = BY_SIZE
    corruptions: tuple[str, ...] = ()
    severities: tuple[float, ...] = (1, 2, 3, 4, 5)
    parameters: Parameters = {}
    modes: tuple[str, ...] = ("fixed",)
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    baseline: Baseline | None = "alexnet"
    jpeg_roundtrip: Annotated[int, Field(ge=1, le=100)] | None = None
    backend: Backend = "native"
    order: Annotated[str, AfterValidator(lambda text: str(orders.parse(text)))] = orders.SHUFFLED
    sequence: Literal["reset", "continual"] = "reset"
    mixed: bool = False
    error: bool = False
    shifts: dict[str, str] = {}

    @field_validator("shifts")
    @classmethod
    def _shifts_have_names(cls, shifts: dict[str, str]) -> dict[str, str]:
        for name in shifts:
            if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,60}", name, re.ASCII):
                raise UsageError(f"a shift's name has letters, digits, '.', '_' and '-', not '{name[:80]}'")
            if name == CLEAN_NAME or name in registry.CORRUPTIONS:
                raise UsageError(f"--shift {name}: that is a condition already; give the set another name")
        return shifts

    @field_validator("table")
    @classmethod
    def _table_exists(cls, table: str) -> str:
        if table not in (BY_SIZE, *registry.TABLES):
            raise unknown("parameter table", table, [BY_SIZE, *registry.TABLES])
        return table

    @field_validator("corruptions")
    @classmethod
    def _corruptions_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        expanded: list[str] = []
        families = registry.families()
        for name in names:
            expanded += families.get(name, (name,))
        for name in expanded:
            if name not in (*registry.CORRUPTIONS, CLEAN_NAME):
                raise unknown("corruption", name, [*registry.CORRUPTIONS, *families, CLEAN_NAME])
        return tuple(dict.fromkeys(name for name in expanded if name != CLEAN_NAME))

    @field_validator("severities")
    @classmethod
    def _severities_in_range(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        for value in values:
            if not 1 <= value <= 5:
                raise UsageError(f"severity {value:g} is outside 1–5")
        if not values:
            raise UsageError("no severities asked for; give at least one of 1–5")
        return tuple(sorted(set(values)))

    @field_validator("modes")
    @classmethod
    def _modes_parse(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        if not texts:
            raise UsageError("no normalization modes asked for; give at least --norm fixed")
        return tuple(dict.fromkeys(str(modes.parse(one)) for text in texts for one in expand(text)))

    @model_validator(mode="after")
    def _numbers_exist(self) -> Suite:
        for name, levels in self.parameters.items():
            for values in levels.values():
                registry.check(name, values)
        for table in registry.TABLES if self.table == BY_SIZE else (self.table,):
            for condition in self.conditions:
                if not condition.is_clean:
                    self.parameters_of(condition, table)
        if self.mixed and self.sequence == "continual":
            raise UsageError("--mixed is one stream already; --sequence continual is for one after another")
        if self.mixed and (own := [text for text in self.modes if modes.parse(text).size is not None]):
            raise UsageError(f"mode '{own[0]}': all modes of a --mixed stream have batches of --batch-size")
        if self.backend == "reference" and self.parameters:
            raise UsageError(
                "--backend reference has its own fixed parameters; drop 'parameters' from the preset"
            )
        if self.backend == "reference":
            for condition in self.conditions:
                reference.check(condition.corruption, condition.severity)
        return self

    def table_for(self, side: int) -> str:
        """The parameter table for images whose shorter side is `side` pixels. Raises UsageError."""
        if self.table != BY_SIZE:
            table = self.table
        elif self.backend == "reference":
            table = "imagenet"
        else:
            table = "cifar" if side < 48 else "tiny-imagenet" if side < 128 else "imagenet"
        if self.backend == "reference" and table != "imagenet":
            raise UsageError(
                f"--backend reference has the parameters of table imagenet only, not {table}; "
                "use --backend native or a preset with table imagenet"
            )
        return table

    @model_serializer(mode="wrap")
    def _without_the_usual(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        return {key: value for key, value in content.items() if PROTOCOL.get(key, ...) != value}

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """`clean` first, so that a wrong set-up shows before the rest is computed."""
        grid = (Condition(name, severity) for name in self.corruptions for severity in self.severities)
        return (CLEAN, *grid)

    def parameters_of(self, condition: Condition, table: str | None = None) -> tuple[float, ...]:
        """The numbers of one condition: the preset's own, else the table's."""
        return registry.parameters(
            table or self.table, condition.corruption, condition.severity, self.parameters
        )
