"""The registry: complete and in order, strict with who enters, helpful with who asks."""

from __future__ import annotations

import pytest

from lnbench.corruptions import registry
from lnbench.errors import UsageError
from lnbench.results import scores


def test_the_benchmark_comes_first_and_in_its_order() -> None:
    assert registry.names()[:19] == registry.BENCHMARK
    assert registry.BENCHMARK[:3] == ("gaussian_noise", "shot_noise", "impulse_noise")
    assert registry.BENCHMARK[14] == "jpeg_compression"
    assert scores.ORDER == registry.BENCHMARK  # results knows no corruptions, yet sorts their cells alike
    families = registry.families()
    assert list(families) == ["noise", "blur", "weather", "digital", "extra"]
    assert registry.BENCHMARK[15:] == families["extra"][:4]
    assert sorted(registry.names()) == sorted(name for names in families.values() for name in names)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"name": "fog"}, "twice"), ({"family": "foggy"}, "foggy"), ({"tables": {"cifar10": ()}}, "cifar10")],
)
def test_mistakes_in_a_declaration_raise(change: dict[str, object], message: str) -> None:
    declared = {"name": "mist", "family": "weather", "parameters": {}, "tables": {}, **change}
    with pytest.raises(ValueError, match=message):
        registry.corruption(**declared)  # type: ignore[arg-type]
    assert "mist" not in registry.CORRUPTIONS


def test_unknown_names_suggest_near_ones() -> None:
    with pytest.raises(UsageError, match="did you mean gaussian_noise"):
        registry.find("gausian_noise")
