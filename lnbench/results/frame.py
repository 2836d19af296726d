"""A record as a pandas table, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lnbench.errors import LnbenchError
from lnbench.results.render.delimited import columns, rows
from lnbench.results.schema import Record

if TYPE_CHECKING:
    import pandas


def to_pandas(record: Record) -> pandas.DataFrame:
    """One row for each cell, as in `results.csv`. LnbenchError where pandas is not installed."""
    try:
        import pandas
    except ImportError:
        raise LnbenchError("to_pandas needs pandas: pip install 'lnbench[pandas]'") from None
    return pandas.DataFrame(rows([record]), columns=columns([record]))
