"""Modes that differ in one number are found, and their curves hold the record's own figures."""

from __future__ import annotations

import pytest

from lnbench.results.sweeps import sweeps


def test_sweeps_are_found_whatever_lies_between() -> None:
    modes = ["blend:N=4", "fixed", "local:layers=first2", "blend:N=1", "local:layers=first0", "blend:N=16",
             "local:layers=first10", "adapt:n=8", "adapt:n=16"]  # fmt: skip
    found = {sweep.name: sweep for sweep in sweeps(modes)}
    assert set(found) == {"blend:N=·", "local:layers=first·"}
    assert found["blend:N=·"].values == (1, 4, 16)
    assert found["blend:N=·"].modes == ("blend:N=1", "blend:N=4", "blend:N=16")
    depth = found["local:layers=first·"]
    assert depth.option == "layers=first" and depth.values == (0, 2, 10)


def test_two_numbers_give_a_sweep_for_each_value_of_the_other() -> None:
    modes = [f"blend:N={n},layers=first{k}" for n in (1, 4, 16) for k in (1, 2, 3)]
    names = [sweep.name for sweep in sweeps(modes)]
    assert len(names) == 6 and "blend:N=4,layers=first·" in names and "blend:N=·,layers=first3" in names


@pytest.mark.parametrize("modes", [[], ["fixed"], ["adapt:n=8", "adapt:n=32"], ["batch", "fixed", "local"]])
def test_fewer_than_three_are_none(modes: list[str]) -> None:
    assert sweeps(modes) == ()


def test_names_of_layers_hold_numbers_that_are_none_of_theirs() -> None:
    assert sweeps([f"local:layers=layer{k}.*" for k in (1, 2, 3)]) == ()
