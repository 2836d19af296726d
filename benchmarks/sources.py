"""The same photographs in every form of data, and under other names: is everything equal, to the last bit?

    python -m benchmarks.sources ../shared/data/imagenet_sample_800.zip \
        ../shared/checkpoints/tf_efficientnet_lite0.safetensors --photographs 2

Two parts, because the second is slow. *Stores*: all photographs are written in every form and decoded;
pixels, labels, ids, and what the labels mean to the network (the outputs that answer, and which of them for
each image) are compared with the folder's. What is counted is a function of these alone. *Cells*: some
photographs, evenly spread, are evaluated in every cell of `core` with the modes `fixed` and `batch`, and
every figure and bit of the record is compared. Writes benchmarks/results/sources.md.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lnbench.config import load_preset, resolve, resolve_suite, select
from lnbench.data.class_file import read_class_map
from lnbench.data.labels import AMBIGUOUS, Labels, Outputs, class_map, imagenet_wnids, normalized
from lnbench.data.loading import open_store
from lnbench.data.specs import parse
from lnbench.data.store import Decoding, Store
from lnbench.evaluate import evaluation
from lnbench.models import registry
from lnbench.pictures.export import export
from lnbench.results.correct import read_correct
from lnbench.results.schema import Record
from lnbench.types import Geometry
from tests.data.forms import NAMED, members

OUT = Path(__file__).parent / "results" / "sources.md"
MODEL = "timm:tf_efficientnet_lite0"
GEOMETRY = Geometry(256, 224, "bicubic")
MODES = ("fixed", "batch")
Given = dict[str, str]  # options of a run: data, and class_map where there is one
Form = Callable[[Path, Path], Given]


# -- The same photographs under other names -----------------------------------------------------------------


def as_numbers(root: Path, out: Path) -> Given:
    """Class folders called by the numbers of the outputs, as ImageNet-V2 has them."""
    for name, wnid, _ in members(root):
        _copied(root / name, out / str(imagenet_wnids().index(wnid)))
    return {"data": f"folder:{out}"}


def as_listed_numbers(root: Path, out: Path) -> Given:
    """A list that gives each image the number of its output."""
    rows = [f"{name} {imagenet_wnids().index(wnid)}\n" for name, wnid, _ in members(root)]
    (out / "numbers.txt").write_text("".join(rows))
    return {"data": f"list:{out / 'numbers.txt'}", "root": str(root)}


def as_listed_names(root: Path, out: Path) -> Given:
    """A list, in the folder's order, that calls each image's class as timm does."""
    called = class_names()
    rows = [
        f"{root / name}\t{called[wnid].upper().replace(' ', '_')}\n"
        for name, wnid, _ in members(root)
        if wnid in called
    ]
    (out / "names.txt").write_text("".join(rows))
    return {"data": f"list:{out / 'names.txt'}"}


def as_mapped(root: Path, out: Path) -> Given:
    """Class folders with names of their own, and a class map that gives the wnid of each."""
    found = {}
    for name, wnid, label in members(root):
        found[f"kind {label:03d}"] = wnid
        _copied(root / name, out / "set" / f"kind {label:03d}")
    (out / "map.csv").write_text("label,output\n" + "".join(f"{kind},{w}\n" for kind, w in found.items()))
    return {"data": f"folder:{out / 'set'}", "class_map": str(out / "map.csv")}


def as_named(root: Path, out: Path) -> Given:
    """Class folders called by their classes: another alphabet, so another order, other ids, other noise."""
    called = class_names()
    for name, wnid, _ in members(root):
        if wnid in called:
            _copied(root / name, out / called[wnid])
    return {"data": f"folder:{out}"}


def _copied(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder)


@functools.cache
def class_names() -> dict[str, str]:
    """By wnid: what timm calls each class of ImageNet, a name that no other class bears; where it has one."""
    names = registry.build(registry.parse(MODEL), classes=None, pretrained=False).names
    often = Counter(normalized(name) for own in names for name in own)
    found = {}
    for wnid, own in zip(imagenet_wnids(), names, strict=True):
        free = [name for name in own if often[normalized(name)] == 1 and name != wnid and "/" not in name]
        if free and free[-1] not in AMBIGUOUS:
            found[wnid] = free[-1]
    return found


RENAMED: dict[str, Form] = {
    "folders 0 … 999": as_numbers,
    "list of numbers": as_listed_numbers,
    "list of class names": as_listed_names,
    "class map": as_mapped,
}
OTHER_ORDER = "folders of class names"
FORMS: dict[str, Form] = {
    **{name: lambda root, out, form=form: {"data": form(root, out)} for name, form in NAMED.items()},
    **RENAMED,
    OTHER_ORDER: as_named,
}


# -- Stores -------------------------------------------------------------------------------------------------


def opened(given: Given) -> Store:
    return open_store(parse(given["data"], given.get("root")), Decoding(GEOMETRY))


def meaning(store: Store, given: Given, outputs: Outputs) -> tuple[object, list[int]]:
    """The outputs that answer, and which of them (by place) is right for each image."""
    written = read_class_map(Path(given["class_map"])) if "class_map" in given else None
    labels = Labels(store.classes, store.named, store.occurring, store.source)
    found = class_map(labels, outputs, written=written)
    return found.columns, [found.column_of[label] for label in store.labels.tolist()]


def compare_stores(root: Path, place: Path, names: tuple[tuple[str, ...], ...]) -> Iterator[str]:
    """A row for each form: what of its store equals the folder's."""
    outputs = Outputs(len(names), names, certain=True)
    whole = opened({"data": f"folder:{root}"})
    means = meaning(whole, {}, outputs)
    known = [k for k, name in enumerate(whole.names) if name.partition("/")[0] in class_names()]
    for number, (name, form) in enumerate(FORMS.items()):
        folder = place / str(number)
        folder.mkdir(parents=True)
        given = form(root, folder)
        store = opened(given)
        # Where a class has no name of its own its photographs are left out: on both sides.
        kept = known if len(store.labels) < len(whole.labels) else list(range(len(whole.labels)))
        order = np.arange(len(kept))
        if name == OTHER_ORDER:  # by file name, which knows the wnid
            file = {Path(text).name: k for k, text in enumerate(store.names)}
            order = np.array([file[Path(whole.names[k]).name] for k in kept])
        pixels = all(
            np.array_equal(store.images[i], whole.images[k]) for i, k in zip(order, kept, strict=True)
        )
        columns, right = meaning(store, given, outputs)
        if len(kept) < len(whole.labels):
            chosen = [means[0][column] for column in means[1]]  # type: ignore[index]
            same = [columns[right[i]] for i in order] == [chosen[k] for k in kept]  # type: ignore[index]
        else:
            same = (columns, right) == means
        ids = np.array_equal(store.ids, np.arange(len(kept))) and bool((order == np.arange(len(kept))).all())
        cells = (len(kept), said(pixels), said(ids), said(same), said(store.fingerprint == whole.fingerprint))
        yield f"| {name} | " + " | ".join(map(str, cells)) + " |"
        shutil.rmtree(folder)


def said(equal: bool) -> str:
    return "equal" if equal else "differ"


# -- Cells --------------------------------------------------------------------------------------------------


def evaluated(given: Mapping[str, Any], weights: Path, out: Path) -> tuple[Record, dict[Any, bytes]]:
    """The record of one form, and the bits of each cell."""
    config = resolve(load_preset("core"), {
        "model": MODEL, "weights": str(weights), "modes": MODES, "batch_size": 2, "device": "cpu", **given,
    })  # fmt: skip
    (outcome,) = evaluation.evaluate(evaluation.prepare_all([config]), [out])
    correct = read_correct(out, outcome.record)
    assert correct is not None
    return outcome.record, {key: flags.tobytes() for key, flags in correct.flags.items()}


def compare_cells(root: Path, place: Path, weights: Path) -> Iterator[str]:
    """A row for each form: in how many cells every figure and every image's bit is the folder's."""
    record, bits = evaluated({"data": f"folder:{root}"}, weights, place / "run")
    expected = {cell.name: cell.scores for cell in record.cells}
    yield f"| folder | {100 * expected['fixed/clean']['top1']:.1f} | |"
    for number, (name, form) in enumerate({**FORMS, "exported at 224 px": as_exported}.items()):
        folder = place / f"form{number}"
        folder.mkdir(parents=True)
        found, own = evaluated(form(root, folder), weights, place / f"run{number}")
        if name == OTHER_ORDER:
            cells = [cell for cell in found.cells if cell.mode == "fixed" and "noise" not in cell.corruption]
            equal = sum(
                all(cell.scores[each] == expected[cell.name][each] for each in ("top1", "top5"))
                for cell in cells
            )
            count = f"{equal} of {len(cells)} that have no noise and no batch"
        else:
            cells = list(found.cells)
            equal = sum(cell.scores == expected[cell.name] for cell in cells)
            count = f"{min(equal, sum(own[key] == bits[key] for key in bits))} of {len(expected)}"
        clean = next(cell.scores["top1"] for cell in cells if cell.name == "fixed/clean")
        yield f"| {name} | {100 * (clean or 0):.1f} | {count} |"


def as_exported(root: Path, out: Path) -> Given:
    """What `corrupt-export --layout imagenet-c` writes of the same images, at the network's size."""
    suite = resolve_suite(load_preset("core"), {})
    images = select(data=f"folder:{root}", resize=256, crop=224, interpolation="bicubic")
    export(suite, images, out / "set", layout="imagenet-c", device=torch.device("cpu"))
    return {"data": f"imagenet-c:{out / 'set'}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--photographs", type=int, default=2, help="whose cells are computed")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = [HEAD.format(photographs=args.photographs)]
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(args.archive) as archive:
        root, part = Path(place) / "folder", Path(place) / "part"
        archive.extractall(root)
        lines += (
            STORES,
            *compare_stores(
                root,
                Path(place) / "stores",
                registry.build(registry.parse(MODEL), classes=None, pretrained=False).names,
            ),
        )
        print("\n".join(lines), flush=True)
        every = [name for name, wnid, _ in members(root) if wnid in class_names()]
        for name in every[:: max(1, len(every) // args.photographs)][: args.photographs]:
            _copied(root / name, (part / name).parent)
        lines += "", CELLS
        for row in compare_cells(part, Path(place) / "cells", args.weights):
            print(row, flush=True)
            lines.append(row)
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")


HEAD = """# The same photographs in every form of data

Made by `python -m benchmarks.sources ../shared/data/imagenet_sample_800.zip \\
../shared/checkpoints/tf_efficientnet_lite0.safetensors --photographs {photographs}`: EfficientNet-Lite0,
224 px, `core`, modes `fixed` and `batch`.

What is counted is a function of the store (pixels, labels, ids) and of the class map alone, so that equal
ones give equal integers in every cell. First these, of all photographs, against the folder's; a photograph
whose class has no name of its own (*crane*, *maillot*) is left out where names are used. Folders called by
their classes sort otherwise: their photographs have other ids, so other noise and other batches.
"""
STORES = """| form | photographs | pixels | order and ids | outputs and labels | fingerprint |
|:--|--:|:--|:--|:--|:--|"""
CELLS = """Then the cells of some of them: five corruptions × five severities and clean, modes `fixed` and
`batch`. Equal means that every score (top-1, top-5, NLL, ECE) and every image's bit is the folder's.

| form | fixed/clean | equal cells |
|:--|--:|:--|"""


if __name__ == "__main__":
    main()
