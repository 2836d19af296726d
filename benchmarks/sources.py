"""The same photographs through every form of data: are the counts equal, to the last image?

    python -m benchmarks.sources ../shared/data/imagenet_sample_800.zip \
        ../shared/checkpoints/tf_efficientnet_lite0.safetensors --limit 16 --severity 3 \
        > benchmarks/results/sources.md

Unpacks the archive of wnid folders, writes it as list, .zip, .tar, webdataset shards, parquet and a
saved set of `datasets`, decodes all images of each and compares pixels, labels, ids and fingerprint with the
folder's; then evaluates them in cells of `core` with the modes `fixed` and `batch` and compares which image
is right. `--limit` and `--severity` bound the cells alone.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from lnbench.config import load_preset, resolve
from lnbench.data.loading import open_store
from lnbench.data.specs import parse
from lnbench.data.store import Decoding
from lnbench.evaluate import evaluation
from lnbench.results.correct import read_correct
from lnbench.results.schema import Record
from lnbench.types import Geometry
from tests.data.forms import NAMED


def evaluate(data: str, args: argparse.Namespace, out: Path) -> tuple[Record, dict[object, bytes]]:
    """The record of one form, and the bits of each cell."""
    preset = load_preset("core")
    config = resolve(preset, {
        "model": "timm:tf_efficientnet_lite0", "weights": str(args.weights), "data": data,
        "device": args.device, "modes": ["fixed", "batch"], "limit": args.limit,
        "severities": args.severity, "batch_size": 8,
    })  # fmt: skip
    prepared = evaluation.prepare_all([config])
    (outcome,) = evaluation.evaluate(prepared, [out])
    correct = read_correct(out, outcome.record)
    assert correct is not None
    return outcome.record, {key: flags.tobytes() for key, flags in correct.flags.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--severity", type=float, nargs="*")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "folder"
        with zipfile.ZipFile(args.archive) as archive:
            archive.extractall(root)
        geometry = Decoding(Geometry(256, 224, "bicubic"))
        whole = open_store(parse(f"folder:{root}"), geometry)
        expected, bits = evaluate(f"folder:{root}", args, Path(place) / "run")
        count, images = len(expected.cells), expected.data.images
        top1 = {cell.name: f"{100 * cell.top1:.2f}" for cell in expected.cells}
        print(f"All {whole.total} photographs decoded; {count} cells on {images} of them.\n")
        print("| form | pixels, labels, ids | fingerprint | fixed/clean | equal cells, bit for bit |")
        print("|---|---|---|---|---|")
        print(f"| folder | | | {top1['fixed/clean']} | |", flush=True)
        for number, (name, form) in enumerate(NAMED.items()):
            folder = Path(place) / str(number)
            folder.mkdir()
            data = form(root, folder)
            store = open_store(parse(data), geometry)
            same = all(
                np.array_equal(getattr(store, each), getattr(whole, each))
                for each in ("images", "labels", "ids")
            )
            print_equal = store.fingerprint == whole.fingerprint
            del store
            record, own = evaluate(data, args, Path(place) / f"run{number}")
            clean = next(cell for cell in record.cells if cell.name == "fixed/clean")
            equal = sum(own[key] == bits[key] for key in bits)
            words = {True: "equal", False: "differ"}
            print(f"| {name} | {words[same]} | {words[print_equal]} | {100 * clean.top1:.2f} "
                  f"| {equal} of {count} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
