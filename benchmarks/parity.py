"""How near are the native corruptions to the definitions? Computes the evidence, writes docs/parity.md.

    python benchmarks/parity.py pixels --photos PHOTOS.zip
    python benchmarks/parity.py reference --photos PHOTOS.zip
    python benchmarks/parity.py distributions --data npz:LOSSLESS.npz --photos PHOTOS.zip
    python benchmarks/parity.py accuracy --name lossless --data npz:LOSSLESS.npz \\
        --network resnet20=RESNET20.th --network resnet56=RESNET56.th
    python benchmarks/parity.py accuracy --name jpeg --data JPEG_TEST.zip \\
        --network resnet20=RESNET20.th --network resnet56=RESNET56.th --changed-only resnet56
    python benchmarks/parity.py accuracy --own --name lossless …
    python benchmarks/parity.py report

Every command but the last computes the cells that its file benchmarks/results/parity_*.json lacks, or has of
another version of the random generator or of fewer images, and writes each as it is done: stop it and start
it again as you like, or start it several times with --part 1/2 and --part 2/2 to use two cores. `report`
writes the document from those files alone.

PHOTOS.zip holds photographs of any size, at least 224 px a side; without it scikit-image's own are taken.
--data is a data spec of lnbench (npz:PATH, folder:PATH, …) or a zip of class folders, of 32 px images;
--network is a network of lnbench's `cifar:` family and its checkpoint.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # for tests.oracle, where this file is run as a script

from benchmarks import parity_distributions, parity_fields, parity_report  # noqa: E402
from benchmarks.parity_data import WORK, load, load_network, pictures  # noqa: E402
from lnbench.corruptions import native, reference, registry  # noqa: E402
from lnbench.corruptions.rng import GENERATOR, Key  # noqa: E402
from lnbench.models.classifier import Classifier  # noqa: E402
from tests.oracle.pictures import difference, from_batch, to_batch  # noqa: E402

RESULTS = HERE / "results"
SIDES = {"imagenet": 224, "tiny-imagenet": 64, "cifar": 32}
PHOTOGRAPHS = 100  # whose pixels are compared one by one
COUNTS = {"imagenet": 4, "tiny-imagenet": 16, "cifar": 64}  # where the other side is slow
SEVERITIES = range(1, 6)
SLICE = 500  # images corrupted at a time
CHUNK = 50  # images in one pass of the network
Cell = dict[str, Any]


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    options.run(options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--part", default="1/1", help="of the missing cells: 1/2 the odd ones, 2/2 the even")
    photos = argparse.ArgumentParser(add_help=False)
    photos.add_argument("--photos", type=Path, help="zip of photographs; scikit-image's without it")
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data", required=True, help="32 px images: npz:PATH, folder:PATH, or a zip of folders"
    )
    data.add_argument("--limit", type=int, help="a seeded, class-balanced subset of so many images")

    def add(name: str, run: Callable[[argparse.Namespace], None], help: str, *parents: Any) -> Any:
        command = commands.add_parser(name, help=help, parents=list(parents))
        command.set_defaults(run=run)
        return command

    pixels_ = add("pixels", pixels, "native against the definitions, pixel by pixel", shared, photos)
    pixels_.add_argument("--count", type=int, default=PHOTOGRAPHS, help="photographs (%(default)s)")
    add("reference", against_reference, "native against imagecorruptions at 224 px", shared, photos)
    add("distributions", distributions, "random ones with each its own randomness", shared, photos, data)
    accuracy_ = add("accuracy", accuracy, "top-1 on native images and on the definitions'", shared, data)
    accuracy_.add_argument("--name", required=True, help="of the data, in the results")
    accuracy_.add_argument(
        "--network", required=True, action="append", metavar="NAME=CHECKPOINT", help="repeatable"
    )
    accuracy_.add_argument(
        "--changed-only",
        action="append",
        default=[],
        metavar="NAME",
        help="run this network only on images whose pixels differ: the difference without the level",
    )
    accuracy_.add_argument(
        "--own", action="store_true", help="random ones only, the definition with randomness of its own"
    )
    add("report", lambda _: parity_report.write(RESULTS), "write docs/parity.md from the results at hand")
    return parser.parse_args()


# -- commands -----------------------------------------------------------------------------------------------


def pixels(options: argparse.Namespace) -> None:
    """Equal pixels of native and definition, fed the same random field."""
    photographs = {side: pictures(side, options.count, options.photos) for side in SIDES.values()}

    def compute(table: str, name: str, severity: int) -> Cell:
        return same_field(photographs[SIDES[table]], table, name, severity)

    def complete(cell: Cell) -> bool:
        return bool(cell["images"] >= min(map(len, photographs.values())))

    fill("pixels", options.part, grid(registry.TABLES), compute, complete)


def same_field(images: np.ndarray, table: str, name: str, severity: int) -> Cell:
    """Equal pixels of native and definition on images uint8 (B, H, W, 3)."""
    parameters = registry.parameters(table, name, severity)
    ids = np.arange(len(images))
    fields = parity_fields.shared_fields(name, severity, parameters, 0, ids, images)
    wanted = parity_fields.define(name, images, parameters, fields)
    return agreement(corrupt(images, name, severity, parameters, ids), wanted)


def against_reference(options: argparse.Namespace) -> None:
    """Equal pixels of native and imagecorruptions; distributions where randomness differs."""

    def compute(table: str, name: str, severity: int) -> Cell:
        images = pictures(SIDES[table], COUNTS[table], options.photos)
        ids = np.arange(len(images))
        wanted = reference.corrupt(images, name, severity, 0, ids)
        result = corrupt(images, name, severity, registry.parameters(table, name, severity), ids)
        return agreement(result, wanted)

    names = [name for name in registry.BENCHMARK if name not in parity_fields.RANDOM]
    fill("reference", options.part, grid(["imagenet"], names), compute)

    def compare(table: str, name: str, severity: int) -> Cell:
        images = pictures(SIDES[table], 4 * COUNTS[table], options.photos)
        ids = np.arange(len(images))
        own = corrupt(images, name, severity, registry.parameters(table, name, severity), ids)
        draws = [reference.corrupt(images, name, severity, seed, ids) for seed in (1, 2)]
        return parity_distributions.compare(images, own, draws)

    random = ((table, name, severity) for table, name, severity in grid(["imagenet"], parity_fields.RANDOM))
    fill("reference_distributions", options.part, (cell for cell in random if cell[2] == 3), compare)


def distributions(options: argparse.Namespace) -> None:
    """Native with its own randomness against three draws of the definition with NumPy's."""
    small = load(options.data, options.limit or 300)[0]

    def compute(table: str, name: str, severity: int) -> Cell:
        side = SIDES[table]
        images = small if table == "cifar" else pictures(side, 3 * COUNTS[table], options.photos)
        parameters = registry.parameters(table, name, severity)
        own = corrupt(images, name, severity, parameters, np.arange(len(images)))
        draws = []
        for seed in (1, 2, 3):
            random = np.random.default_rng([seed, registry.BENCHMARK.index(name), severity])
            fields = parity_fields.own_fields(name, parameters, random, images)
            draws.append(parity_fields.define(name, images, parameters, fields))
        return parity_distributions.compare(images, own, draws)

    every = grid(["cifar", "imagenet"], parity_fields.RANDOM)
    few = (cell for cell in every if cell[0] == "cifar" or cell[2] == 3)
    fill("distributions", options.part, few, compute)


def accuracy(options: argparse.Namespace) -> None:
    """Top-1 of networks on native images and on the definition's, image by image."""
    networks = dict(load_network(text) for text in options.network)
    fully = [name for name in networks if name not in options.changed_only]
    images, labels, ids = load(options.data, options.limit)
    names = parity_fields.RANDOM if options.own else registry.BENCHMARK
    where = f"accuracy_{options.name}{'_own' if options.own else ''}"

    def native_images(name: str, severity: int) -> np.ndarray:
        return corrupt(images, name, severity, registry.parameters("cifar", name, severity), ids)

    def complete(cell: Cell) -> bool:
        return set(networks) <= set(cell) and all("native" in cell[network] for network in fully)

    def compute(table: str, name: str, severity: int) -> Cell:
        have = current(RESULTS / f"parity_{where}.json", f"{table}/{name}/{severity}")
        missing = [network for network in networks if network not in have]
        for network in (name for name in fully if name in have and "native" not in have[name]):
            right = int((predictions(networks[network], native_images(name, severity)) == labels).sum())
            gained = have[network]["only_definition"] - have[network]["only_native"]
            have[network] |= {"native": right, "definition": right + gained}
        if not missing:
            return have
        if have and have["changed"] == 0 and not set(missing) & set(fully):
            return have | {network: {"only_native": 0, "only_definition": 0} for network in missing}
        parameters = registry.parameters("cifar", name, severity)
        result = native_images(name, severity)
        if options.own:
            random = np.random.default_rng([1, registry.BENCHMARK.index(name), severity])
            fields = parity_fields.own_fields(name, parameters, random, images)
            wanted = parity_fields.define(name, images, parameters, fields)
        else:
            wanted = defined_in_slices(images, name, severity, parameters, ids)
        changed = (result != wanted).any(axis=(1, 2, 3))
        cell = have | agreement(result, wanted) | {"changed": int(changed.sum())}
        for network in missing:
            run = networks[network]
            cell[network] = paired(run, result, wanted, labels, changed, fully=network in fully)
        return cell

    fill(where, options.part, grid(["cifar"], names), compute, complete)


def paired(
    run: Classifier,
    result: np.ndarray,
    wanted: np.ndarray,
    labels: np.ndarray,
    changed: np.ndarray,
    *,
    fully: bool,
) -> Cell:
    """Count images that the network gets right on one side only; `fully`: on each side, too.

    Images that are the same on both sides, `changed` (B,) False, cannot be right on one side only.
    """
    before = predictions(run, result[changed]) == labels[changed]
    after = predictions(run, wanted[changed]) == labels[changed]
    found = {"only_native": int((before & ~after).sum()), "only_definition": int((after & ~before).sum())}
    if fully:
        same = int((predictions(run, result[~changed]) == labels[~changed]).sum())
        found |= {"native": same + int(before.sum()), "definition": same + int(after.sum())}
    return found


# -- cells --------------------------------------------------------------------------------------------------


def grid(names: Any, corruptions: Any = registry.BENCHMARK) -> Iterator[tuple[str, str, int]]:
    """(table, corruption, severity), in benchmark order."""
    return ((table, name, severity) for table in names for name in corruptions for severity in SEVERITIES)


def fill(
    name: str,
    part: str,
    cells: Any,
    compute: Callable[[str, str, int], Cell],
    complete: Callable[[Cell], bool] = bool,
) -> None:
    """Compute the cells that results/parity_NAME.json lacks; write each when it is done.

    `complete` tells whether a cell of this generator has all that is wanted of it.
    """
    number, _, parts = part.partition("/")
    path = RESULTS / f"parity_{name}.json"

    def done(key: str) -> bool:
        cell = current(path, key)
        return bool(cell) and complete(cell)

    left = [cell for cell in cells if not done("/".join(map(str, cell)))]
    for cell in left[int(number) - 1 :: int(parts or 1)]:
        key = "/".join(map(str, cell))
        if done(key):  # by another process
            continue
        found = compute(*cell) | {"generator": GENERATOR}
        store(path, key, found)
        print(name, key, json.dumps(found), flush=True)


def current(path: Path, key: str) -> Cell:
    """The cell of a results file if it was computed with this version of the random generator, else empty."""
    cell = parity_report.read(path).get(key, {})
    return cell if cell.get("generator") == GENERATOR else {}


def store(path: Path, key: str, cell: Cell) -> None:
    """Add a cell, one line each; other processes may be adding to the same file."""
    path.parent.mkdir(exist_ok=True)
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cells = parity_report.read(path) | {key: cell}
        lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(cells.items()))
        partial = path.with_suffix(".partial")
        partial.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        partial.replace(path)


def agreement(result: np.ndarray, wanted: np.ndarray) -> Cell:
    """Shares of equal pixels and of those within a level, and the largest difference."""
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(result), SLICE):
        part = slice(start, start + SLICE)
        counts += np.bincount(difference(result[part], wanted[part]).ravel(), minlength=256)
    return {
        "images": len(result),
        "equal": round(counts[0] / counts.sum(), 7),
        "within_1": round(counts[:2].sum() / counts.sum(), 7),
        "largest": int(np.flatnonzero(counts)[-1]),
    }


# -- running ------------------------------------------------------------------------------------


def corrupt(
    images: np.ndarray, name: str, severity: int, parameters: tuple[float, ...], ids: np.ndarray
) -> np.ndarray:
    """Run the native kernel with seed 0: uint8 (B, H, W, 3) in and out."""
    key = Key(0, torch.from_numpy(ids))
    with torch.inference_mode():
        return from_batch(native.corrupt(to_batch(images), name, severity, key, parameters))


def defined_in_slices(
    images: np.ndarray, name: str, severity: int, parameters: tuple[float, ...], ids: np.ndarray
) -> np.ndarray:
    """Run the definition on native's random field, so much of it at a time as memory holds well."""
    done = []
    for start in range(0, len(images), SLICE):
        part = slice(start, start + SLICE)
        fields = parity_fields.shared_fields(name, severity, parameters, 0, ids[part], images[part])
        done.append(parity_fields.define(name, images[part], parameters, fields))
    return np.concatenate(done)


def predictions(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Predicted classes of uint8 (B, H, W, 3), int64 (B,)."""
    found = [np.zeros(0, dtype=np.int64)]
    with torch.inference_mode():
        for start in range(0, len(images), CHUNK):
            logits = classifier.logits(to_batch(images[start : start + CHUNK]))
            found.append(logits.argmax(1).numpy())
    return np.concatenate(found)


if __name__ == "__main__":
    main()
