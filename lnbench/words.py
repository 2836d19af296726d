"""What is said to a person in Python: errors and warnings that speak of arguments, not of options."""

from __future__ import annotations

import contextlib
import re
import sys
import warnings as python_warnings
from collections.abc import Iterator


def warn(text: str) -> None:
    """A warning at the line outside this package that asked."""
    frame, depth = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("lnbench"):
        frame, depth = frame.f_back, depth + 1
    python_warnings.warn(worded(text), stacklevel=depth)


@contextlib.contextmanager
def python_words() -> Iterator[None]:
    """Let errors speak of arguments, where the command line speaks of options.

    An exit of a person's own code, such as a dataset's, is an error of it: nothing came of what was asked.
    """
    from lnbench.blame import described, own_line
    from lnbench.errors import Left, LnbenchError

    try:
        yield
    except Left:
        raise
    except SystemExit as error:
        raise LnbenchError(f"{own_line(error) or 'code of yours'} raised {described(error)}") from error
    except LnbenchError as error:
        if (text := worded(str(error))) == str(error):
            raise
        raise type(error)(text) from None


_ARGUMENTS = {
    "norm": "modes=", "corruption": "corruptions=", "severity": "severities=", "fresh": "resume=False",
    "skip-unreadable": "skip_unreadable=True", "ema": "ema=True", "allow-mismatch": "allow_mismatch=True",
}  # fmt: skip


def worded(text: str) -> str:
    """`--batch-size 100` → `batch_size=100`, `--classes all` → `classes='all'`, `--fresh`: `resume=False`."""
    text = re.sub(r"--(classes|precision|backend|device) (\w+)", r"\1='\2'", text)
    return re.sub(
        r"--([a-z][a-z-]+)( (?=[\d\[{'\"]|[A-Z]{3}))?",
        lambda found: _ARGUMENTS.get(found[1], f"{found[1].replace('-', '_')}="),
        text,
    )
