"""docs/corruptions.md has the registry's names, families, parameters and numbers, all and no others."""

from __future__ import annotations

import re
from pathlib import Path

from lnbench.corruptions import registry

PAGE = Path(__file__).parents[2] / "docs" / "corruptions.md"
Numbers = dict[tuple[str, str, int], tuple[str, ...]]


def sections() -> dict[str, tuple[str, str]]:
    """Family and text of each corruption's section: `### name` under `## Family`."""
    found = {}
    for chapter in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]:
        heading, _, rest = chapter.partition("\n")
        for section in re.split(r"^### ", rest, flags=re.M)[1:]:
            name, _, text = section.partition("\n")
            found[name] = (heading.lower(), text)
    return found


def documented() -> Numbers:
    """The numbers in the page's tables, by table, corruption and severity."""
    numbers: Numbers = {}
    for name, (_, text) in sections().items():
        severities = re.search(r"^\| table \| (.+) \|$", text, flags=re.M)
        assert severities, f"no table of {name}"
        for table, cells in re.findall(r"^\| `(.+?)` \| (.+) \|$", text, flags=re.M):
            for severity, cell in zip(severities[1].split(" | "), cells.split(" | "), strict=True):
                assert (table, name, int(severity)) not in numbers
                numbers[table, name, int(severity)] = tuple(cell.split(", "))
    return numbers


def test_every_number_is_the_registrys_and_none_is_missing() -> None:
    declared: Numbers = {
        (table, name, severity): tuple(f"{number:g}" for number in row)
        for name in registry.names()
        for table, rows in registry.find(name).tables.items()
        for severity, row in enumerate(rows, start=1)
    }
    assert len(declared) >= 19 * 3 * 5
    assert documented() == declared


def test_names_families_and_parameters_are_the_registrys() -> None:
    pages = {}
    for name, (family, text) in sections().items():
        line = re.search(r"^Parameters: (.+)\.$", text, flags=re.M)
        assert line, f"no parameters of {name}"
        pages[name] = (family, line[1].split(", "))
    known = {name: registry.find(name) for name in registry.names()}
    assert pages == {name: (one.family, list(one.parameters)) for name, one in known.items()}
    assert list(pages) == list(known)
