"""docs/inputs.md against the code: every block is read, every key is named, the table is the study's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from benchmarks.preprocessing import OUT, TABLES
from lnbench import config
from lnbench.data import class_file
from lnbench.data.labels import AMBIGUOUS, Combine
from lnbench.data.tree import SUFFIXES
from lnbench.errors import ModelError
from lnbench.evaluate import evaluation
from lnbench.models.declared import KEYS
from lnbench.models.load import load
from lnbench.types import Geometry

PAGE = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+) ([\w-]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def block(what: str) -> list[tuple[str, str]]:
    return [(kind, text) for kind, name, text in BLOCKS if name == what]


@pytest.mark.parametrize(("kind", "text"), block("class-map"))
def test_class_maps_are_read(kind: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / f"map.{kind}"
    path.write_text(text)
    found = class_file.read_class_map(path)
    several = any(len(outputs) > 1 for outputs in found.outputs.values())
    assert found.outputs and (found.combine is not None) == several


def test_the_factory_declares_its_input(tmp_path: Path) -> None:
    ((_, text),) = block("factory")
    (tmp_path / "net.py").write_text(text)
    loaded = load(f"{tmp_path / 'net.py'}:build")
    assert loaded.geometry == Geometry(256, 224, "bicubic") and not loaded.assumed
    assert all(f'"{key}"' in text for key in KEYS)


def test_folders_are_matched_with_the_classes_that_the_factory_declares(tmp_path: Path) -> None:
    ((_, text),) = block("factory")
    (tmp_path / "net.py").write_text(text)
    for name in ("Kind_7", "kind 2", "kind9"):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "set" / name / "0.png")
    options = {"model": f"{tmp_path / 'net.py'}:build", "data": str(tmp_path / "set"), "modes": ["fixed"]}
    (subject,) = evaluation.prepare_all([config.resolve(config.load_preset("core"), options)]).subjects
    assert subject.class_map is not None and subject.class_map.how == "by name"
    assert [subject.class_map.columns[k] for k in subject.class_map.column_of] == [(7,), (2,), (9,)]
    (tmp_path / "net.py").write_text(text.replace("range(num_classes)", "range(9)"))
    with pytest.raises(ModelError, match="names 9 classes, but has 10 outputs"):
        evaluation.prepare_all([config.resolve(config.load_preset("core"), options)])


def test_the_list_of_models_is_read_and_shows_every_key(tmp_path: Path) -> None:
    ((_, text),) = block("models")
    (tmp_path / "models.yaml").write_text(text)
    entries = config.load_models(tmp_path / "models.yaml")
    assert entries[0].weights == str(tmp_path / "resnet20.th")
    assert {key for entry in entries for key in entry.model_fields_set} == set(config.ModelEntry.model_fields)


def test_the_suite_is_read_and_shows_every_key(tmp_path: Path) -> None:
    ((_, text),) = block("suite")
    (tmp_path / "mine.yaml").write_text(text)
    assert config.load_preset(str(tmp_path / "mine.yaml")).name == "mine"
    keys = set(re.findall(r"^(\w+):", text, re.MULTILINE))
    assert keys == {*config.Preset.model_fields, "include"}


def test_words_are_those_of_the_code() -> None:
    assert " ".join(SUFFIXES) in PAGE
    assert all(f"*{name}*" in PAGE for name in AMBIGUOUS)
    assert all(f"`{way}`" in PAGE for way in get_args(Combine))


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_mistakes_are_the_studys(name: str) -> None:
    found = json.loads((OUT / "preprocessing.json").read_text())
    shown = re.search(rf"<!-- {name}: .*? -->\n(.*?)<!-- /{name} -->", PAGE, re.DOTALL)
    assert shown is not None and shown[1] == TABLES[name](found)
