"""What a run says of itself whose outputs were not all numbers."""

from __future__ import annotations

from collections.abc import Sequence

from lnbench.results.schema import Cell


def unanswered_note(cells: Sequence[Cell]) -> str | None:
    """What a run whose outputs were not all numbers says of itself, made from its cells; else None."""
    touched = [cell for cell in cells if cell.unanswered]
    if not touched:
        return None
    return (
        f"{sum(cell.unanswered or 0 for cell in touched)} predictions in {len(touched)} of {len(cells)} "
        "cells are not numbers: counted as wrong, these cells have no NLL and no ECE"
    )
