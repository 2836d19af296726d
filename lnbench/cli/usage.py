"""What is said of a command line that cannot be read: one line, in the program's own words.

The parser's errors are told apart by the names of their classes and by what they say: typer took click's
parser over at some time, and both kinds are met.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from typing import Any

from lnbench.errors import unknown
from lnbench.files import one_line

_LONGEST = 80  # characters of a value that is repeated

# Words of the field for an option that has another name.
_MEANT = {"--mode": "--norm", "--modes": "--norm", "--normalization": "--norm", "--dataset": "--data"}

# What the parser says of a value → what is said here.
_KINDS = {
    r"valid (integer|int\b)": "is not a whole number",
    r"valid (number|float)": "is not a number",
    r"maximum size": "has too many digits",
    r"less than or equal to (\S+)": "is more than {}",
    r"greater than or equal to (\S+)": "is less than {}",
    r"not in the range (\S+?)\.?$": "is not within {}",
    r"valid bool": "is neither yes nor no",
}


def told(error: Exception, words: Sequence[str], commands: Collection[str]) -> str | None:
    """What to say of an error of the parser: `--batch-size: 'x' is not a whole number (see … --help)`.

    `words`: the command line; `commands`: those there are. None where the error is none of the parser's.
    """
    if not hasattr(error, "format_message"):
        return None
    name = words[0] if words and words[0] in commands else ""
    kind = type(error).__name__
    if not name and words and not words[0].startswith("-"):
        said = str(unknown("command", one_line(words[0], _LONGEST), commands))
    elif kind == "NoSuchOption":
        said = _no_such_option(error)
    elif kind == "MissingParameter":
        said = f"{_shown(error)} is missing"
    elif kind in ("BadOptionUsage", "BadArgumentUsage"):
        option = getattr(error, "option_name", None) or _shown(error)
        said = f"{option} " + ("takes no value" if "not take" in error.format_message() else "needs a value")
    elif kind == "BadParameter":
        said = f"{_shown(error)}: {_bad_value(error)}"
    elif extra := re.search(r"extra argument\S* \((.*)\)", getattr(error, "message", "")):
        said = f"unexpected '{one_line(extra[1], _LONGEST)}'"
    else:
        said = one_line(getattr(error, "message", ""), 200).rstrip(".")
    program = f"lnbench {name}".rstrip()
    return f"{program}: {said} (see {program} --help)"


def _no_such_option(error: Any) -> str:
    known = [option for one in error.ctx.command.params for option in (*one.opts, *one.secondary_opts)]
    meant = [_MEANT[error.option_name]] if _MEANT.get(error.option_name) in known else []
    near = meant or difflib.get_close_matches(error.option_name, known, n=2, cutoff=0.6)
    hint = f": did you mean {' or '.join(near)}?" if near else ""
    return f"unknown option '{one_line(error.option_name, _LONGEST)}'{hint}"


def _shown(error: Any) -> str:
    """The option, `--batch-size`, or the argument as the help has it, `RUN`."""
    one = error.param
    if one is None:
        return one_line(error.param_hint or "a value", _LONGEST)
    name: str = one.opts[-1]
    return name if name.startswith("-") else (one.metavar or name).split()[0].rstrip(".").upper()


def _bad_value(error: Any) -> str:
    message = error.message
    if choices := re.search(r"is not one of (.*)", message, re.DOTALL):
        return str(unknown("value", _value(error), re.findall(r"'([^']*)'", choices[1])))
    for pattern, words in _KINDS.items():
        if found := re.search(pattern, message):
            return f"'{_value(error)}' {words.format(found[found.lastindex or 0])}"
    return one_line(message, 200).rstrip(".")


def _value(error: Any) -> str:
    """What was given: pydantic, which newer parsers ask, keeps it, click repeats it."""
    details = getattr(error.__cause__, "errors", None)
    quoted = re.match(r"'?(.*?)'? is not ", error.message, re.DOTALL)
    found = details()[0]["input"] if details else quoted[1] if quoted else ""
    return one_line(found, _LONGEST)
