"""What a validator found wrong, in the words of a person who wrote the value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lnbench.files import one_line

if TYPE_CHECKING:
    from pydantic import ValidationError

_WORDS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "missing": "is missing",
    "extra_forbidden": "is not a name known here",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} values",
    "too_long": "must have at most {max_length} values",
    "string_pattern_mismatch": "does not have the right form",
    "json_invalid": "is not JSON",
    "none_required": "must not be given",
}
# By how the validator's names of types begin.
_KINDS = {
    "int": "must be a whole number",
    "float": "must be a number",
    "decimal": "must be a number",
    "bool": "must be true or false",
    "string": "must be text",
    "bytes": "must be text",
    "list": "must be a list",
    "tuple": "must be a list",
    "set": "must be a list",
    "dict": "must be names with values",
    "mapping": "must be names with values",
    "model": "must be names with values",
    "dataclass": "must be names with values",
    "date": "must be a date",
}
# Branches of a choice between types, which stand in the place as if they were keys.
_BRANCH = re.compile(r"(int|float|str|bool|none|list|tuple|dict)|.*[\[(].*")


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Where the first fault lies (`parameters.fog.1`, "" for the whole), and what is wrong with it."""
    fault: Mapping[str, Any] = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"] if not _BRANCH.fullmatch(str(part)))
    return one_line(place, 80), one_line(_words(fault), 200)


def _words(fault: Mapping[str, Any]) -> str:
    kind, context = str(fault["type"]), dict(fault.get("ctx", {}))
    if kind in _WORDS:
        try:
            return _WORDS[kind].format(**context)
        except (KeyError, IndexError):
            return str(fault["msg"]).lower()
    for start, words in _KINDS.items():
        if kind.startswith(f"{start}_"):
            return words
    return re.sub(r"^(value error|assertion failed), ", "", str(fault["msg"]), flags=re.IGNORECASE)
