"""The table of a run that goes on: what is there, in which order, in how much room."""

from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from lnbench.results.bits import pack
from lnbench.results.render.live import Board, line
from lnbench.results.schema import Cell
from lnbench.types import CLEAN, Condition

GRID = [CLEAN, *(Condition(name, s) for name in ("snow", "fog", "contrast") for s in (1, 3, 5))]


def cell(condition: Condition, right: int, mode: str = "fixed", images: int = 200) -> Cell:
    bits = pack(np.arange(images) < right)
    return Cell(mode=mode, corruption=condition.corruption, severity=condition.severity, images=images,
                scores={"top1": right / images}, correct=bits)  # fmt: skip


def shown(board: Board, width: int = 80, height: int = 20) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(board.table(width, height))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(len(row) <= width for row in text.splitlines())
    return [" ".join(row.split()) for row in text.splitlines()]


def test_rows_fill_in_the_order_of_the_run_with_intervals() -> None:
    board = Board(["fixed", "batch"], GRID)
    assert shown(board) == ["top-1 % fixed batch", "clean", "snow", "fog", "contrast"]
    board.add(0, cell(CLEAN, 180))
    assert shown(board)[1] == "clean 90.00 ±4.2"
    assert board.finished() == "0 of 10 conditions"
    board.add(1, cell(CLEAN, 160, "batch"))
    for severity, right in ((1, 160), (3, 120)):
        board.add(0, cell(Condition("snow", severity), right))
    rows = shown(board)
    assert rows[1] == "clean 90.00 ±4.2 80.00 ±5.5" and board.filled() == (CLEAN,)
    assert board.finished() == "0 of 10 conditions"  # of a round, as far as anybody has said
    board.finish(CLEAN)
    assert board.finished() == "1 of 10 conditions"
    # 120 images right under both, 40 under one, 40 under none: mean 0.7, deviation 0.401, 95 % half width 5.6
    assert rows[2] == "snow 2/3 70.00 ±5.6"
    assert rows[5] == "mean so far 70.00 ±5.6"


def test_a_cell_that_comes_again_takes_the_place_of_the_one_before() -> None:
    board = Board(["fixed"], GRID)
    board.add(0, cell(CLEAN, 45, images=50))
    board.add(0, cell(CLEAN, 160))
    assert shown(board)[1] == "clean 80.00 ±5.5"


def test_what_has_no_room_is_left_out_and_said() -> None:
    many = Board([f"blend:N={n}" for n in range(9)], GRID)
    rows = shown(many)
    assert "blend:N=3" in rows[0] and "blend:N=4" not in rows[0]
    assert rows[-1] == "5 more modes in the table at the end"
    names = [Condition(f"corruption{number}", 1) for number in range(30)]
    long = Board(["fixed"], [CLEAN, *names])
    long.add(0, cell(CLEAN, 180))
    long.add(0, cell(names[20], 180))
    rows = shown(long, height=10)
    assert len(rows) <= 10
    assert rows[1].startswith("clean") and rows[-2].startswith("corruption20") and "mean" in rows[-1]


def test_a_condition_in_a_line() -> None:
    fog = Condition("fog", 3)
    assert line(fog, [("fixed", cell(fog, 180)), ("net · batch", cell(fog, 160))]) == (
        "fog/3: fixed 90.00 ±4.2, net · batch 80.00 ±5.5"
    )
