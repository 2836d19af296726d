"""What the wheel will hold: every folder with code, and the presets."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
import setuptools
import yaml

ROOT = Path(__file__).parents[1]


def packages(monkeypatch: pytest.MonkeyPatch, folder: Path) -> set[str]:
    """The packages that setup.py names for the tree in `folder`."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **options: asked.update(options))
    monkeypatch.chdir(folder)
    runpy.run_path(str(ROOT / "setup.py"), run_name="__main__")
    return set(asked["packages"])


def test_every_folder_with_code_is_packaged(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "lnbench").rglob("*.py")}
    expected = {".".join(folder.parts) for folder in folders} | {"lnbench.presets"}
    assert packages(monkeypatch, ROOT) == expected


def test_a_new_folder_is_packaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("lnbench", "lnbench/room", "lnbench/room/corner", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    found = packages(monkeypatch, tmp_path)
    assert found == {"lnbench", "lnbench.room", "lnbench.room.corner", "lnbench.presets"}


def test_the_citation_names_this_version() -> None:
    from lnbench import __version__

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == __version__ and cited["authors"] == [{"name": "the lnbench authors"}]
