"""Folders of images without labels: what they hold, and that nothing is scored on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lnbench.data.folder import list_images
from lnbench.data.loading import open_listing, open_store
from lnbench.data.specs import parse
from lnbench.data.store import Decoding
from lnbench.errors import DataError
from tests.cli.conftest import Lnbench, lnbench  # noqa: F401 – a fixture
from tests.networks import pictures, write_task

NAMES = ("1.png", "b.PNG", "deep/er/2.png", "deep/1.jpg")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures(4)[0][number]).save(file)
    (tmp_path / "photos" / "notes.txt").write_text("x")
    (tmp_path / "photos" / ".hidden.png").write_text("x")
    return tmp_path / "photos"


def test_every_image_at_any_depth_and_no_class(photos: Path) -> None:
    store = open_listing(list_images(photos), Decoding())
    assert store.names == ("1.png", "b.PNG", "deep/1.jpg", "deep/er/2.png")
    assert store.left_out == ((".txt", 1),)
    assert not store.labelled and store.classes == () and not store.labels.any()
    np.testing.assert_array_equal(store.images[0], pictures(4)[0][0].transpose(2, 0, 1))


def test_a_bare_folder_of_class_folders_stays_what_it_was(photos: Path) -> None:
    assert parse(str(photos)).kind == "folder"  # it holds a folder
    assert parse(str(photos / "deep" / "er")).kind == "images"
    assert open_store(parse(f"folder:{photos}"), Decoding()).classes == ("deep",)


@pytest.mark.parametrize("content", [(), ("a.txt",)])
def test_a_folder_without_images_is_refused(tmp_path: Path, content: tuple[str, ...]) -> None:
    for name in content:
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match="holds no image"):
        list_images(tmp_path)


USES = {
    "evaluate": (3, "has no labels, so nothing can be scored", "evaluate --data {0} --norm fixed --out run"),
    "finetune": (3, "has no labels to learn from", "convert {1} -o x.pth --to localnorm --finetune {0}"),
    "export": (
        3,
        "has no labels, and a corrupted set",
        "corrupt-export {0} out --corruption fog --layout imagenet-c",
    ),
    "distill": (0, "", "convert {1} -o x.pth --to localnorm --distill {0} --batch-size 8 --epochs 1"),
    "calibrate": (0, "", "convert {1} -o x.pth --to adapted --calibrate {0} -n 9"),
    "choose": (0, "", "choose --data {0} --weights {1} -n 9"),
}


@pytest.mark.parametrize("use", USES)
def test_what_needs_labels_says_so_and_the_rest_works(
    lnbench: Lnbench,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    use: str,
) -> None:
    code, text, words = USES[use]
    monkeypatch.chdir(tmp_path)
    model, weights, _ = write_task(tmp_path)
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(pictures(12)[0]):
        Image.fromarray(image).save(tmp_path / "photos" / f"{number}.png")
    network = () if words.startswith("corrupt") else ("--model", model, "--device", "cpu")
    ran = lnbench(*words.format("images:photos", weights).split(), *network)
    assert ran.code == code, ran.err
    assert text in " ".join(ran.err.split())
