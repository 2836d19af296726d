"""The public functions of the package, each a thin layer over its rooms. Importing this loads no torch."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args, get_origin


class Entry(NamedTuple):
    """What there is under a name: a line about it, and a line about each of its options or parameters."""

    about: str
    options: dict[str, str]


def corruptions() -> dict[str, Entry]:
    """Every corruption by name, in the benchmark's order: its family, and the range of each parameter.

    Example:
        >>> import lnbench
        >>> lnbench.corruptions()["fog"].about
        'weather'
        >>> len(lnbench.corruptions()) >= 19
        True
    """
    from lnbench.corruptions import registry

    return {
        name: Entry(
            one.family,
            {
                parameter: f"{'whole number' if whole else 'number'} from {low:g} to {high:g}"
                for parameter, (low, high, whole) in one.parameters.items()
            },
        )
        for name, one in ((name, registry.find(name)) for name in registry.names())
    }


def modes() -> dict[str, Entry]:
    """Every normalization mode by name: what it does, and each of its options with its default.

    Every mode takes `layers=` besides: `first3`, `last3`, `localnorm`, or names such as `bn1|layer1.*`.

    Example:
        >>> import lnbench
        >>> lnbench.modes()["adapt"].options["n"]
        'images whose statistics are taken; default 32'
    """
    from lnbench.norm.modes import registry

    found = {}
    for name in registry.names():
        kind = registry.find(name)
        options = {}
        for option, (type_, said, default) in kind.options.items():
            words = f" ({', '.join(get_args(type_))})" if get_origin(type_) is Literal else ""
            options[option] = f"{said.about}{words}; default {default}"
        found[name] = Entry(kind.about, options)
    return found


def presets() -> dict[str, Entry]:
    """Every packaged corruption suite by name: what it is for, and what it holds.

    Example:
        >>> import lnbench
        >>> lnbench.presets()["core"].options["modes"]
        'fixed, batch, adapt:n=32'
    """
    from lnbench import config

    found = {}
    for name in config.preset_names():
        preset = config.load_preset(name)
        holds = {
            part: ", ".join(f"{value:g}" if isinstance(value, float) else value for value in values)
            for part, values in (
                ("corruptions", preset.corruptions),
                ("severities", preset.severities),
                ("modes", preset.modes),
            )
        }
        found[name] = Entry(preset.description, holds)
    return found
