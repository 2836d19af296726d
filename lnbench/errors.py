"""The errors a user can cause. Each carries one line: what, where, what to do.

LnbenchError            exit 3: the job could not be done
├── UsageError          exit 2: wrong option, preset, spec or name
├── CheckpointError     a weights file that cannot be read, trusted or fitted to the network
├── ModelError          a network that cannot be built or whose layers are not understood
├── DataError           images, labels or folders that cannot be read
└── RecordError         a run folder or results file that cannot be read, written or continued
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LnbenchError(Exception):
    """An error with a one-line message for the person at the terminal."""

    exit_code = 3


class UsageError(LnbenchError):
    """The command line, preset or specification is wrong."""

    exit_code = 2


class CheckpointError(LnbenchError):
    """A weights file cannot be read, trusted or fitted."""


class ModelError(LnbenchError):
    """A network cannot be built, or has layers that are not understood."""


class DataError(LnbenchError):
    """A dataset cannot be read or does not fit the network."""


class RecordError(LnbenchError):
    """A run folder or results file cannot be read, written or continued."""


class Left(SystemExit):
    """A process leaves without a word, with this exit code: another one says why."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Build the error for a name that is not registered, with the nearest known names."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
    return UsageError(f"unknown {kind} '{name}': {hint}")
