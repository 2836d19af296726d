"""Resident memory stays under `--memory` whatever the dataset's size.

    python -m benchmarks.memory --images 50000 --side 128 --memory 1GiB
    python -m benchmarks.memory --arrays -o benchmarks/results/memory_arrays.json

Writes a folder of synthetic JPEG images in ten classes (with `--arrays` one npz file), evaluates a tiny
network on it in a process of its own, under the clean condition and one corruption, with and without the
bound, and reports the largest resident memory (getrusage) beside the size of the decoded images.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from lnbench.cli.values import size
from tests.networks import FACTORY

_CHILD = """
import resource, sys
from lnbench.cli import app
sys.argv = ["lnbench", *sys.argv[1:]]
try:
    app()
finally:
    print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--memory", default="1GiB")
    parser.add_argument("--arrays", action="store_true", help="an npz file, not a folder")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/memory.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = f"npz:{root / 'images.npz'}" if given.arrays else f"folder:{root / 'images'}"
        (write_arrays if given.arrays else write_images)(root, given.images, given.side)
        (root / "net.py").write_text(FACTORY)
        (root / "init.py").write_text(
            f"import sys; sys.path.insert(0, {str(root)!r})\n"
            "import net, torch; torch.save(net.tiny(10).state_dict(), sys.argv[1])\n"
        )
        subprocess.run([sys.executable, root / "init.py", root / "net.pth"], check=True)
        found = {
            "images": given.images,
            "side": given.side,
            "decoded_mib": round(given.images * 3 * given.side**2 / 2**20),
            "bound_mib": round((size("--memory", given.memory) or 0) / 2**20),
            "floor_mib": round(_floor() / 1024),
        }
        for name, options in (("bounded", ["--memory", given.memory]), ("unbounded", [])):
            begin = time.monotonic()
            peak = _run(root, data, name, options)
            found[name] = {"peak_mib": round(peak / 1024), "seconds": round(time.monotonic() - begin, 1)}
            print(found, flush=True)
    given.output.write_text(json.dumps(found, indent=1) + "\n")


def write_arrays(root: Path, images: int, side: int) -> None:
    """What numpy.savez writes, image by image: a child's largest resident memory begins with its parent's."""
    random = np.random.default_rng(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (images, side, side, 3)}
    with zipfile.ZipFile(root / "images.npz", "w") as archive:
        with archive.open("images.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _ in range(images):
                file.write(random.integers(0, 256, (side, side, 3), dtype=np.uint8).tobytes())
        with archive.open("labels.npy", "w") as file:
            np.lib.format.write_array(file, np.arange(images) % 10)


def write_images(root: Path, images: int, side: int) -> None:
    folder = root / "images"
    random = np.random.default_rng(0)
    for label in range(10):
        (folder / f"class{label}").mkdir(parents=True)
    for number in range(images):
        small = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((side, side), Image.Resampling.BILINEAR)
        picture.save(folder / f"class{number % 10}" / f"{number:06d}.jpg", quality=60)


def _run(root: Path, data: str, name: str, options: list[str]) -> int:
    command = [
        sys.executable, "-c", _CHILD, "evaluate", "--model", f"{root / 'net.py'}:tiny",
        "--weights", root / "net.pth", "--data", data, "--norm", "fixed",
        "--corruption", "contrast", "--severity", "3", "--out", root / name, *options,
    ]  # fmt: skip
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return int(ran.stderr.split("PEAK")[1])


def _floor() -> int:
    """Resident memory of a process that has only imported everything, in KiB."""
    code = (
        "import resource, lnbench.evaluate.evaluation;"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    return int(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )


if __name__ == "__main__":
    main()
