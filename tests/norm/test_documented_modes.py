"""What the pages say of the modes is what the registry holds, and the example in them works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from lnbench.norm.modes import registry
from lnbench.norm.state import State
from lnbench.norm.wrap import attach
from tests.norm.networks import build, images

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "modes.md").read_text(encoding="utf-8")


OWN = [name for name in registry.names() if not name.startswith("test-")]  # other tests register theirs


@pytest.mark.parametrize("name", OWN)
def test_every_mode_has_its_row_its_section_and_its_options(name: str) -> None:
    assert re.search(rf"^\| `{re.escape(str(registry.make(name)))}` \|", PAGE, re.MULTILINE)
    assert re.search(rf"^(\*\*|#+ )`{name}[:`]", PAGE, re.MULTILINE)
    for option in registry.find(name).options:
        assert re.search(rf"`[^`]*\b{option}=", PAGE), f"{name}: {option}"


@pytest.mark.parametrize("name", OWN)
def test_the_table_of_costs_is_the_registrys(name: str) -> None:
    column = r" ([^|]*) \|"
    rows = re.findall(rf"^\| `{name}` \|{4 * column}$", PAGE, re.MULTILINE)
    (row,) = (row for row in rows if row[0].startswith("`"))
    unit, forward, backward, touched = row
    made = registry.make(name)
    assert unit.startswith(f"`{made.unit}`")
    assert forward.split(",")[0].split(";")[0] in (str(made.passes(1)), "`steps`")
    assert (touched == "none") == (backward == "–") == (not made.is_learning)
    assert ("images" in forward) == (made.images > 0)
    section = re.split(rf"^(?:\*\*|#+ )`{name}[:`]", PAGE, flags=re.MULTILINE)[1]
    section = re.split(r"^(?:\*\*`|#)", section, flags=re.MULTILINE)[0]
    said = ("one image, one answer", "one stream, one answer")[made.unit != "image"]
    for words in (f"Unit `{made.unit}`", said, "Deviations" if name != "eata" else "deviations"):
        assert words in section, f"{name}: {words}"


def test_the_readme_names_every_mode() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in OWN:
        assert re.search(rf"`{name}[:`]", readme), name


def test_the_mode_of_ones_own_works() -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "@mode(" in block)
    try:
        exec(compile(code, "share.py", "exec", dont_inherit=True), {"__name__": "share"})
        mode, network, state = registry.parse("share:m=1"), build("resnet18"), State()
        assert (str(mode), mode.unit) == ("share:m=1", "stream")
        layers, x = attach(network), images(6)
        with torch.no_grad():
            layers.use(mode, state)
            y = network(x)
            layers.use(registry.parse("batch"))
            # A new batch that weighs everything is the batch.
            torch.testing.assert_close(y, network(x), rtol=1e-4, atol=5e-4)
    finally:
        registry.KINDS.pop("share", None)
