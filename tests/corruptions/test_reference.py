"""The door to imagecorruptions: all nineteen run, repeat, and leave the process as it was."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from lnbench.corruptions import reference, registry
from lnbench.errors import DataError, UsageError
from tests.oracle.pictures import photographs

NAMES = [name for name in registry.names() if registry.find(name).reference]
FAST = [name for name in NAMES if name not in ("glass_blur", "frost")]


@pytest.mark.parametrize("name", NAMES)
def test_every_corruption_runs_repeats_and_ignores_its_batch(name: str) -> None:
    images = photographs(32, 32)[:2]
    state = np.random.get_state()  # noqa: NPY002
    modules = dict(sys.modules)
    first = reference.corrupt(images, name, 3, 5, [10, 11])
    assert first.shape == images.shape and first.dtype == np.uint8
    assert not np.array_equal(first, images)
    assert np.array_equal(reference.corrupt(images[1:], name, 3, 5, [11])[0], first[1])
    after = np.random.get_state()  # noqa: NPY002
    assert state[0] == after[0] and np.array_equal(state[1], after[1]) and state[2:] == after[2:]
    kept = {key: module for key, module in sys.modules.items() if key in modules}
    assert all(kept[key] is module for key, module in modules.items())
    assert not hasattr(np, "float_")


@pytest.mark.parametrize("name", FAST)
def test_other_sizes(name: str) -> None:
    images = photographs(37, 61)[:1]
    assert reference.corrupt(images, name, 1, 0, [0]).shape == images.shape


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "motion_blur", "fog"])
def test_seed_id_and_severity_choose_the_draw(name: str) -> None:
    images = np.repeat(photographs(32, 32)[:1], 2, axis=0)
    base = reference.corrupt(images, name, 3, 5, [10, 11])
    assert not np.array_equal(base[0], base[1])
    assert not np.array_equal(reference.corrupt(images, name, 3, 6, [10, 11]), base)
    assert not np.array_equal(reference.corrupt(images, name, 4, 5, [10, 11]), base)


def test_it_is_the_package() -> None:
    """Severity numbers that are the same in the original: contrast, worked out by hand."""
    image = photographs(32, 32)[:1]
    x = image[0] / 255.0
    means = x.mean(axis=(0, 1), keepdims=True)
    expected = np.uint8(np.clip((x - means) * 0.4 + means, 0, 1) * 255)
    assert np.array_equal(reference.corrupt(image, "contrast", 1, 0, [0])[0], expected)


def test_a_fresh_process_gives_the_same_picture_and_no_stray_modules() -> None:
    program = (
        "import sys, zlib, numpy as np\n"
        "from lnbench.corruptions import reference\n"
        "image = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(1, 32, 32, 3)\n"
        "print(zlib.crc32(reference.corrupt(image, 'snow', 2, 1, [7]).tobytes()))\n"
        "print([name for name in sys.modules if 'imagecorruptions' in name or 'pkg_resources' in name])\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.splitlines()[1] == "[]"
    assert runs[0].stderr == ""


def test_refusals() -> None:
    images = photographs(32, 32)
    ids = range(4)
    with pytest.raises(UsageError, match="'imagenet' only, not 'cifar'"):
        reference.corrupt(images, "fog", 1, 0, ids, table="cifar")
    with pytest.raises(UsageError, match=r"severity 2\.5"):
        reference.corrupt(images, "fog", 2.5, 0, ids)
    with pytest.raises(UsageError, match="did you mean fog"):
        reference.corrupt(images, "fogg", 1, 0, ids)
    with pytest.raises(DataError, match="31×32"):
        reference.corrupt(images[:, :31], "fog", 1, 0, ids)
    with pytest.raises(ValueError, match="uint8"):
        reference.corrupt(images.astype(float), "fog", 1, 0, ids)
    assert reference.corrupt(images, "clean", 0, 0, ids) is images
