"""What the shell offers after TAB: names that begin as what is typed; files are the shell's own to offer."""

from __future__ import annotations

from collections.abc import Iterable


def presets(incomplete: str) -> list[str]:
    from lnbench.config import preset_names

    return _beginning(preset_names(), incomplete)


def corruptions(incomplete: str) -> list[str]:
    from lnbench.corruptions import registry

    return _beginning([*registry.CORRUPTIONS, *registry.families(), "clean"], incomplete)


def modes(incomplete: str) -> list[str]:
    """Names of modes, after a comma too: `fixed,ba`."""
    from lnbench.norm.modes import registry

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _beginning(registry.names(), last)]


def models(incomplete: str) -> list[str]:
    from lnbench.models.catalog import listing

    return _beginning((name for name, _ in listing() if not name.endswith(("NAME", "FACTORY"))), incomplete)


def data(incomplete: str) -> list[str]:
    from lnbench.data.registry import sources

    kinds = [kind + ":" * ("path" in source.takes) for kind, source in sources().items()]
    return _beginning(kinds, incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
