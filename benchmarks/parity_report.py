"""Write docs/parity.md from benchmarks/results/parity_*.json."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import parity_words as words
from benchmarks.parity_distributions import FIGURES, MEASURES
from benchmarks.parity_fields import RANDOM
from lnbench.corruptions.registry import BENCHMARK as NAMES
from lnbench.corruptions.rng import GENERATOR
from lnbench.results.significance import mcnemar_interval

DOCUMENT = Path(__file__).parents[1] / "docs" / "parity.md"
SEVERITIES = range(1, 6)
SIDES = {"imagenet": 224, "tiny-imagenet": 64, "cifar": 32}
APART = 2.5  # native counts as apart where it differs so many times as much as chance
Cell = dict[str, Any]
Cells = dict[str, Cell]

# Defined otherwise in imagecorruptions, so that equality is not to be expected.
OTHER = ("zoom_blur", "pixelate")


def write(results: Path) -> None:
    """Write the document from the files in `results`."""
    DOCUMENT.write_text(document(results))
    print(f"{DOCUMENT} written")


def document(results: Path) -> str:
    """The document as the files in `results` have it."""
    parts = [
        words.INTRODUCTION.format(now=GENERATOR),
        pixels(results),
        reference(results),
        distributions(results),
        accuracy(results),
    ]
    return "\n".join(part.rstrip() + "\n" for part in [parts[0], summary(results), *parts[1:]] if part)


def read(path: Path) -> Cells:
    """The cells of a results file, none where there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}


# -- pixels -------------------------------------------------------------------------------------------------


def missed(name: str, cell: Cell) -> bool:
    """Whether a cell of equal pixels is outside its corruption's target."""
    if name == "jpeg_compression":
        return bool(cell["within_1"] < 0.97)
    if name in RANDOM:
        return bool(cell["within_1"] < 0.995)
    return bool(cell["equal"] < 0.995 or cell["largest"] > 2)


def pixels(results: Path) -> str:
    cells = read(results / "parity_pixels.json")
    counts = [
        f"{cells[f'{table}/contrast/1']['images']} at {side} px"
        for table, side in SIDES.items()
        if f"{table}/contrast/1" in cells
    ]
    text = words.PIXELS.format(images=", ".join(counts), generator=generators(cells))
    for table, side in SIDES.items():
        text += f"\n### Table {table}, {side} px\n\n" + pixel_table(cells, table, NAMES)
    return text


def generators(cells: Cells) -> str:
    """The versions of the random generator that cells are of; those before the first number are 1."""
    return " and ".join(map(str, sorted({cell.get("generator", 1) for cell in cells.values()})))


def pixel_table(cells: Cells, table: str, names: Iterable[str], free: Iterable[str] = ()) -> str:
    """Rows corruptions, columns shares of equal values; `free` ones have no target."""
    heads = [*(f"s{severity}" for severity in SEVERITIES), "within 1, lowest", "largest"]
    lines = [f"| corruption | {' | '.join(heads)} |", "|:--|" + "--:|" * len(heads)]
    for name in names:
        found = [cells.get(f"{table}/{name}/{severity}") for severity in SEVERITIES]
        shown = [
            "–" if cell is None else mark(percent(cell["equal"]), name not in free and missed(name, cell))
            for cell in found
        ]
        there = [cell for cell in found if cell is not None]
        if there:
            shown.append(percent(min(cell["within_1"] for cell in there)))
            shown.append(str(max(cell["largest"] for cell in there)))
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def reference(results: Path) -> str:
    cells = read(results / "parity_reference.json")
    random = read(results / "parity_reference_distributions.json")
    if not cells:
        return ""
    names = [name for name in NAMES if name not in RANDOM]
    text = words.REFERENCE.format(images=next(iter(cells.values()))["images"]) + "\n"
    text += pixel_table(cells, "imagenet", names, OTHER)
    if random:
        text += (
            "\n"
            + words.REFERENCE_RANDOM.format(
                images=next(iter(random.values()))["images"], generator=generators(random)
            )
            + "\n"
        )
        text += distribution_table(
            {name: [random[f"imagenet/{name}/3"]] for name in RANDOM if f"imagenet/{name}/3" in random},
            marked=False,
        )
    return text


# -- distributions ------------------------------------------------------------------------------------------


def distributions(results: Path) -> str:
    cells = read(results / "parity_distributions.json")
    if not cells:
        return ""
    images = {key.split("/")[0]: cell["images"] for key, cell in cells.items()}
    text = words.DISTRIBUTIONS.format(
        small=images.get("cifar"), large=images.get("imagenet", 0), apart=APART, generator=generators(cells)
    )
    for table in ("cifar", "imagenet"):
        rows = {
            name: [cell for key, cell in cells.items() if key.startswith(f"{table}/{name}/")]
            for name in RANDOM
        }
        text += f"\n### Table {table}, {SIDES[table]} px\n\n" + distribution_table(rows)
    return text


def distribution_table(rows: dict[str, list[Cell]], *, marked: bool = True) -> str:
    """Rows corruptions, columns measures; pairs are means over the cells of a row."""
    lines = ["| corruption | mean | spread | spectrum, % | histogram, % |", "|:--|--:|--:|--:|--:|"]
    for name, cells in rows.items():
        shown = []
        for measure in (*FIGURES, *MEASURES):
            own, chance = pair(cells, measure)
            scale = 100 if measure in ("spectrum", "histogram") else 1
            text = f"{own * scale:.3f} / {chance * scale:.3f}" if cells else "–"
            shown.append(mark(text, marked and bool(cells) and own > APART * chance))
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def pair(cells: list[Cell], measure: str) -> tuple[float, float]:
    """Native against the definition, and chance, in the mean over cells."""
    if not cells:
        return 0.0, 0.0
    own, chance = (statistics.mean(cell[measure][i] for cell in cells) for i in (0, 1))
    return own, chance


# -- accuracy -----------------------------------------------------------------------------------------------


def accuracy(results: Path) -> str:
    parts = []
    for path, network, own in studies(results):
        cells = cells_of(path, network)
        images = next(iter(cells.values()))["images"]
        title = f"{network}, {images:,} images ({data_of(path)})"
        if own:
            found = [difference(cell, network) for cell in cells.values()]
            apart = sum(low > 0 or high < 0 for _, low, high in found)
            mean = statistics.mean(points for points, _, _ in found)
            parts.append(
                words.OWN.format(
                    title=title, apart=apart, cells=len(found), mean=mean, generator=generators(cells)
                )
                + "\n"
            )
        else:
            parts.append(
                f"### {title}\n\nRandom generator {generators(cells)}. {agreement_line(cells, network)}\n\n"
            )
        parts.append(accuracy_table(cells, network, RANDOM if own else NAMES) + "\n")
    return words.ACCURACY + "\n" + "".join(parts) if parts else ""


def studies(results: Path) -> list[tuple[Path, str, bool]]:
    """(file, network, whether with independent randomness), the paired ones first."""
    found = []
    for path in sorted(results.glob("parity_accuracy_*.json")):
        networks = {name for cell in read(path).values() for name in cell if name.startswith("resnet")}
        found += [(path, network, path.stem.endswith("_own")) for network in networks]
    return sorted(found, key=lambda study: (study[2], study[1], study[0]))


def cells_of(path: Path, network: str) -> Cells:
    """The cells that hold figures of a network."""
    return {key: cell for key, cell in read(path).items() if network in cell}


def data_of(path: Path) -> str:
    names = {"lossless": "lossless, the first of the test batch", "jpeg": "test folder, JPEG files"}
    name = path.stem.split("_")[2]
    return names.get(name, name)


def agreement_line(cells: Cells, network: str) -> str:
    """One paragraph: how many pixels, images and predictions differ at all."""
    images = sum(cell["images"] for cell in cells.values())
    changed = sum(cell["changed"] for cell in cells.values())
    equal = sum(cell["equal"] * cell["images"] for cell in cells.values()) / images
    differ = sum(cell[network]["only_native"] + cell[network]["only_definition"] for cell in cells.values())
    largest = max(abs(difference(cell, network)[0]) for cell in cells.values())
    rest = "" if len(cells) == 95 else f" **{len(cells)} of 95 cells so far.**"
    return (
        f"{percent(equal)} % of all pixel values are equal, the largest difference in levels is "
        f"{max(cell['largest'] for cell in cells.values())}, and {changed / images:.1%} of the images "
        f"differ in any pixel. Of {images:,} predictions {differ} turn from right to wrong or back; the "
        f"largest difference of a cell is {largest:.2f} points.{rest}"
    )


def difference(cell: Cell, network: str) -> tuple[float, float, float]:
    """Native - definition in points, and its interval."""
    counts = cell[network]
    lost, gained = counts["only_definition"], counts["only_native"]
    low, high = mcnemar_interval(lost, gained, cell["images"])
    return 100 * (gained - lost) / cell["images"], 100 * low, 100 * high


def accuracy_table(cells: Cells, network: str, names: Iterable[str]) -> str:
    heads = ["native, mean", "definition, mean", *(f"s{severity}" for severity in SEVERITIES)]
    lines = [f"| corruption | {' | '.join(heads)} |", "|:--|" + "--:|" * len(heads)]
    for name in names:
        found = [cells.get(f"cifar/{name}/{severity}") for severity in SEVERITIES]
        there = [cell for cell in found if cell is not None]
        shown = [
            f"{100 * statistics.mean(cell[network][side] / cell['images'] for cell in there):.2f}"
            if there and all(side in cell[network] for cell in there)
            else "–"
            for side in ("native", "definition")
        ]
        for cell in found:
            if cell is None:
                shown.append("–")
                continue
            points, low, high = difference(cell, network)
            shown.append(mark(f"{signed(points)} ({signed(low)}, {signed(high)})", low > 0 or high < 0))
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


# -- summary ------------------------------------------------------------------------------------------------


def summary(results: Path) -> str:
    """The targets, the worst cell of each and whether it is met."""
    lines = ["| what | target | worst | met |", "|:--|:--|:--|:--|"]
    cells = read(results / "parity_pixels.json")
    kinds = {
        "deterministic, equal": ([n for n in NAMES if n not in RANDOM and n != "jpeg_compression"], "equal"),
        "jpeg_compression, within 1 level": (["jpeg_compression"], "within_1"),
        "random, same field, within 1 level": (RANDOM, "within_1"),
    }
    for (what, (names, field)), target in zip(kinds.items(), ("≥ 99.5 %", "≥ 97 %", "≥ 99.5 %"), strict=True):
        part = {key: cell for key, cell in cells.items() if key.split("/")[1] in names}
        if part:
            key, cell = min(part.items(), key=lambda item: item[1][field])
            bad = sum(missed(name.split("/")[1], one) for name, one in part.items())
            met = "yes" if not bad else mark(f"{bad} of {len(part)} cells miss", True)
            lines.append(f"| {what} | {target} | {percent(cell[field])} % ({key}) | {met} |")
            if field == "equal":
                key, cell = max(part.items(), key=lambda item: item[1]["largest"])
                met = "yes" if cell["largest"] <= 2 else mark("no", True)
                lines.append(f"| deterministic, largest difference | 2 levels | {cell['largest']} | {met} |")
    for path, network, own in studies(results):
        if own:
            continue
        found = cells_of(path, network)
        key, cell = max(found.items(), key=lambda item: abs(difference(item[1], network)[0]))
        points = difference(cell, network)[0]
        apart = sum(
            difference(one, network)[1] > 0 or difference(one, network)[2] < 0 for one in found.values()
        )
        what = f"accuracy of {network}, {cell['images']:,} images ({path.stem.split('_')[2]})"
        where = f" ({key.partition('/')[2]})" if points else " in every cell"
        worst = f"{signed(points)} points{where}"
        met = "yes" if not apart else mark(f"{apart} of {len(found)} cells apart", True)
        lines.append(f"| {what} | each interval holds 0 | {worst} | {met} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def percent(share: float) -> str:
    """A share with the digits that tell it from 1."""
    return "100" if share == 1 else f"{100 * share:.2f}" if share < 0.9999 else f"{100 * share:.4f}"


def signed(points: float) -> str:
    text = f"{points:+.2f}".replace("-", "−")
    return "0" if text in ("+0.00", "−0.00") else text


def mark(text: str, miss: bool) -> str:
    return f"**{text} ✗**" if miss else text
