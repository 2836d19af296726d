"""The registry: complete, duplicates raise, unknown names get near ones."""

from __future__ import annotations

import pytest

from lnbench.corruptions import native, registry, tables
from lnbench.errors import UsageError


def test_duplicates_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "KERNELS", {})
    monkeypatch.setattr(registry, "GROUP", {})
    registry.register("once", group=5)(lambda pixels, parameters, key: pixels)
    assert registry.GROUP == {"once": 5}
    with pytest.raises(ValueError, match="once"):
        registry.register("once")(lambda pixels, parameters, key: pixels)


def test_unknown_names_suggest_near_ones() -> None:
    with pytest.raises(UsageError, match="did you mean gaussian_noise"):
        registry.find("gausian_noise")


def test_every_registered_name_has_a_table() -> None:
    native.available()
    assert set(registry.KERNELS) <= set(tables.NAMES)
    assert set(registry.GROUP) == set(registry.KERNELS)
