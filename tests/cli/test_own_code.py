"""A person's own code in a run: what it raises has a place, an exit is no success, wrappers come off."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lnbench.models import checkpoint
from tests.cli.conftest import Lnbench
from tests.networks import FACTORY, write_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("task")
    write_task(made, images=20)
    return made


def command(
    folder: Path, *more: object, weights: str = "net.pth", model: str = "net.py:tiny"
) -> list[object]:
    data = ["--data", f"npz:{folder / 'data.npz'}", "--corruption", "clean", "--norm", "fixed"]
    return ["evaluate", "--model", folder / model, "--weights", folder / weights, *data, *more]


PLUGINS = {
    "metric": "@lnbench.metric('odd', better='lower', unit='')\ndef odd(logits, labels): BODY",
    "corruption": "@lnbench.corruption('odd', family='noise', parameters={'imagenet': [1, 2, 3, 4, 5]})\n"
    "def odd(pixels, key, *parameters): BODY",
    "source": "@lnbench.source('odd', about='odd')\ndef odd(): BODY",
    "top": "BODY",
}
BODIES = {"exit": "raise SystemExit(0)", "key": "return {}['absent']", "type": "return 1 + ''"}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("what", ["source", "top"])
def test_what_a_plugin_raises_has_a_place(
    lnbench: Lnbench, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, body: str
) -> None:
    from lnbench.data.registry import SOURCES

    monkeypatch.delenv("LNBENCH_TRACEBACK", raising=False)
    text = BODIES[body] if what == "source" else BODIES[body].replace("return ", "")
    (tmp_path / "mine.py").write_text("import lnbench\n" + PLUGINS[what].replace("BODY", text))
    with monkeypatch.context() as patch:
        patch.setattr("lnbench.data.registry.SOURCES", dict(SOURCES))
        more = ["--plugin", tmp_path / "mine.py", "--data", "odd", "--out", tmp_path / "run"]
        ran = lnbench(*command(folder, *more))
    assert ran.code == 3, ran
    line = [line for line in ran.err.splitlines() if line.startswith("lnbench: ")]
    assert len(line) == 1 and "mine.py, line" in line[0] and "internal error" not in line[0], ran.err


def test_weights_below_a_prefix(lnbench: Lnbench, folder: Path, tmp_path: Path) -> None:
    plain = checkpoint.read(folder / "net.pth").tensors
    wrapped = {f"model.net.{name}": value for name, value in plain.items()}
    torch.save({"state_dict": {**wrapped, "model.loss.weight": torch.ones(3)}}, folder / "wrapped.ckpt")
    ran = lnbench(*command(folder, "--out", tmp_path / "a", weights="wrapped.ckpt"))
    assert ran.code == 3 and "--prefix net." in ran.err
    for prefix in ("net.", "net", "model.net."):
        more = ["--prefix", prefix, "--out", tmp_path / prefix]
        ran = lnbench(*command(folder, *more, weights="wrapped.ckpt"))
        assert ran.code == 0, ran
    assert '"prefix": "net."' in (tmp_path / "net." / "results.json").read_text()
    ran = lnbench(*command(folder, "--prefix", "nets.", weights="wrapped.ckpt"))
    assert ran.code == 3 and "no weights below --prefix nets." in ran.err


def test_a_pickled_network_finds_the_module_of_its_factory(
    lnbench: Lnbench, folder: Path, tmp_path: Path
) -> None:
    """The file's folder is on the path before the checkpoint is read."""
    import subprocess
    import sys

    (folder / "classy.py").write_text(
        FACTORY + "\nclass Own(nn.Sequential): pass\ndef own(classes=4): return Own(*tiny(classes))\n"
    )
    program = "import torch, classy; torch.save(classy.own(), 'pickled.pth')"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=folder)
    wanted = command(folder, "--out", tmp_path / "run", weights="pickled.pth", model="classy.py:own")
    ran = lnbench(*wanted)
    assert ran.code == 3 and "classy.Own" in ran.err
    with pytest.warns(UserWarning, match="runs this file's own code"):
        ran = lnbench(*wanted, "--allow-pickle")
    assert ran.code == 0, ran


def test_arguments_of_a_factory_are_on_record(lnbench: Lnbench, folder: Path, tmp_path: Path) -> None:
    spec = "net.py:tiny(classes=4)"
    ran = lnbench(*command(folder, "--out", tmp_path / "run", model=spec))
    assert ran.code == 0, ran
    assert spec in (tmp_path / "run" / "results.json").read_text()
