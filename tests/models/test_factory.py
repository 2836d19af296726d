"""A factory's code is part of what a run is: every file it imports from its folder counts, and no other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from lnbench.errors import ModelError
from lnbench.models.catalog import parse
from lnbench.models.classifier import Classifier
from lnbench.models.code import code_digest
from lnbench.models.factory import call, load_module, state_digest
from lnbench.models.registry import build
from lnbench.types import InputNormalization

FILES = {
    "net.py": "import one, pack.inner\nfrom two import thing\ndef build():\n    import late\n",
    "one.py": "from importlib import import_module\nimport_module('named')\n",
    "two.py": "thing = 1",
    "named.py": "",
    "late.py": "",
    "pack/__init__.py": "from . import beside",
    "pack/inner.py": "from .deep import x\nfrom ..one import y",
    "pack/beside.py": "",
    "pack/deep/__init__.py": "from .. import beside\nimport one",
    "stranger.py": "",
    "pack/stranger.py": "",
    "pack/two.py": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_every_imported_file_counts_and_no_other(folder: Path, name: str) -> None:
    before = code_digest(folder / "net.py")
    (folder / name).write_text(FILES[name] + "\n# changed")
    changed = code_digest(folder / "net.py") != before
    assert changed == (name not in ("stranger.py", "pack/stranger.py", "pack/two.py"))


def test_the_digest_goes_with_the_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other") / "moved"
    before = code_digest(folder / "net.py")
    folder.rename(other)
    assert code_digest(other / "net.py") == before


def test_an_edit_within_the_same_second_and_size_is_run(tmp_path: Path) -> None:
    """Python's cache of compiled code would run the old text."""
    file = tmp_path / "net.py"
    for value in ("1", "2", "3"):
        file.write_text(f"value = {value}")
        assert load_module(file).value == int(value)
    assert [path.name for path in tmp_path.iterdir()] == ["net.py"]


def test_the_state_is_every_tensor_by_name_type_shape_and_bytes() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    found = {state_digest(network)}
    for change in (
        lambda: network[0].weight.data.view(-1)[7].add_(1e-6),
        lambda: network[1].running_var.mul_(2),
        lambda: network[1].num_batches_tracked.add_(1),
        lambda: network.half(),
        lambda: network[0].weight.__setattr__("data", network[0].weight.data.view(4, 9, 3, 1)),
    ):
        change()
        found.add(state_digest(network))
    assert len(found) == 6


FORWARDS = {
    "return {}['absent']": ("line 5: forward of Net raised KeyError: 'absent'"),
    "return x + 'a'": ("line 5: forward of Net raised TypeError"),
    "import sys; sys.exit(0)": ("line 5: forward of Net raised SystemExit: 0"),
    "return self.inner(x)": ("line 7: forward of Net raised ZeroDivisionError"),
    "return nn.Linear(4, 4)(x)": ("line 5: forward of Net raised RuntimeError: .*mat1 and mat2"),
    "return x.mean((2, 3)).repeat(1, 1 + (len(x) > 1))": "returns 6 class scores, it returned 3 before",
    "return x if len(x) > 1 else x.mean((2, 3))": r"returns shape \(2, 3, 32, 32\) for 2 images",
}


@pytest.mark.parametrize("body", FORWARDS)
def test_what_goes_wrong_in_a_forward_has_a_place(tmp_path: Path, body: str) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef build(): return Net()\nclass Net(nn.Module):\n  def forward(self, x):\n"
        f"    {body}\n  def inner(self, x):\n    return 1 / 0\n"
    )
    network = call(tmp_path / "net.py", "build", None)[0]
    classifier = Classifier(network, InputNormalization())
    if "len(x)" in body:
        assert classifier.classes(32, 32) == 3
    with pytest.raises(ModelError, match=FORWARDS[body]) as caught:
        classifier.logits(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert "\n" not in str(caught.value)
    if "line" in FORWARDS[body]:
        assert str(caught.value).startswith(str(tmp_path / "net.py"))


PACKAGE = {
    "nets/__init__.py": "",
    "nets/wide/__init__.py": "from .. import common",
    "nets/wide/net.py": (
        "from torch import nn\nfrom . import blocks\nfrom ..common import size\nimport nets.absolute\n"
        "def build(width=1, classes=3): return nn.Linear(size * width, classes)\n"
    ),
    "nets/wide/blocks.py": "",
    "nets/common.py": "size = 4",
    "nets/absolute.py": "",
    "nets/stranger.py": "",
    "stranger.py": "",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in PACKAGE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("nets", "blocks")]:
        del sys.modules[name]


def test_a_file_of_a_package_imports_as_the_package_does(package: Path) -> None:
    assert call(package / "nets/wide/net.py", "build", 5)[0].weight.shape == (5, 4)


def test_a_module_is_found_by_its_name(package: Path) -> None:
    spec = parse("nets.wide.net:build(width=2)")
    assert build(spec, classes=None, pretrained=False).network.weight.shape == (3, 8)
    for wrong in ("nets.absent:build", "nets.wide:build", "absent.net:build"):
        with pytest.raises(ModelError) as caught:
            build(parse(wrong), classes=None, pretrained=False)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", PACKAGE)
def test_what_a_file_of_a_package_imports_counts(package: Path, name: str) -> None:
    before = code_digest(package / "nets/wide/net.py")
    (package / name).write_text(PACKAGE[name] + "\n# changed")
    changed = code_digest(package / "nets/wide/net.py") != before
    assert changed == ("stranger" not in name)


def test_relative_imports_without_a_package(package: Path) -> None:
    (package / "net.py").write_text(
        "from .blocks import size\nfrom torch import nn\ndef build(): return nn.Linear(size, 2)"
    )
    (package / "blocks.py").write_text("size = 7")
    assert call(package / "net.py", "build", None)[0].weight.shape == (2, 7)


def test_arguments_of_a_factory(package: Path) -> None:
    file = package / "nets/wide/net.py"
    assert call(file, "build", 5, {"width": 3})[0].weight.shape == (5, 12)
    assert call(file, "build", 5, {"classes": 2})[0].weight.shape == (2, 4)  # what a person says counts
    with pytest.raises(ModelError, match="has no parameter 'depth'; its parameters: width, classes"):
        call(file, "build", 5, {"depth": 1})


EXITS = {
    "import": "import sys; sys.exit(0)\ndef build(): pass",
    "factory": "import sys\ndef build(): sys.exit(0)",
    "nothing": "raise SystemExit\ndef build(): pass",
}


@pytest.mark.parametrize("text", EXITS)
def test_an_exit_is_no_success(tmp_path: Path, text: str) -> None:
    (tmp_path / "net.py").write_text(EXITS[text])
    with pytest.raises(ModelError, match=r"net\.py, line [12]: .* raised SystemExit"):
        call(tmp_path / "net.py", "build", None)
