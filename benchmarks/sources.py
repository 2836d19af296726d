"""The same photographs through every form of data: are the counts equal, to the last image?

    python -m benchmarks.sources ../shared/data/imagenet_sample_800.zip \
        ../shared/checkpoints/tf_efficientnet_lite0.safetensors --limit 100 > benchmarks/results/sources.md

Unpacks the archive of wnid folders, writes it as list, .zip, .tar, webdataset shards, parquet and a
saved set of `datasets`, evaluates each in every cell of `core` with the modes `fixed` and `batch`, and
compares the per-image correctness bits and the images' fingerprint with the folder's.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path

from lnbench.config import load_preset, resolve
from lnbench.evaluate import evaluation
from lnbench.results.correct import read_correct
from lnbench.results.schema import Record
from tests.data.forms import NAMED


def evaluate(data: str, args: argparse.Namespace, out: Path) -> tuple[Record, dict[object, bytes]]:
    """The record of one form, and the bits of each cell."""
    preset = load_preset("core")
    config = resolve(preset, {
        "model": "timm:tf_efficientnet_lite0", "weights": str(args.weights), "data": data,
        "device": args.device, "modes": ["fixed", "batch"], "limit": args.limit,
        "severities": args.severity, "batch_size": 50,
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
        expected, bits = evaluate(f"folder:{root}", args, Path(place) / "run")
        count, images = len(expected.cells), expected.data.images
        top1 = {f"{cell.mode}/{cell.condition}": f"{100 * cell.top1:.2f}" for cell in expected.cells}
        print(f"{images} of {expected.data.total} photographs, {count} cells; top-1 of the folder: "
              f"fixed/clean {top1['fixed/clean']}, batch/clean {top1['batch/clean']}.\n")  # fmt: skip
        print("| form | clean top-1 | equal cells, bit for bit | fingerprint |")
        print("|---|---|---|---|")
        for number, (name, form) in enumerate(NAMED.items()):
            folder = Path(place) / str(number)
            folder.mkdir()
            record, own = evaluate(form(root, folder), args, Path(place) / f"run{number}")
            clean = next(cell for cell in record.cells if cell.name == "fixed/clean")
            equal = sum(own[key] == bits[key] for key in bits)
            same = "equal" if record.data.fingerprint == expected.data.fingerprint else "differs"
            print(f"| {name} | {100 * clean.top1:.2f} | {equal} of {count} | {same} |", flush=True)


if __name__ == "__main__":
    main()
