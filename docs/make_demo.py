"""Put the demo's table into README.md, or check that it is still what the demo prints.

lnbench evaluate --preset demo --out demo && python docs/make_demo.py demo [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from lnbench.results.pivot import pivot
from lnbench.results.reading import read

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- demo -->\n", "<!-- /demo -->"
NAMES = {"demo": "BatchNorm", "demo-localnorm": "LocalNorm"}
# Another processor may add in another order and so decide a few almost tied images otherwise.
TOLERANCE = 1.0  # points


def table(folder: Path) -> str:
    """The demo's table as Markdown, percent with one digit."""
    records = [read(folder / name) for name in NAMES]
    grid = pivot(records, list(NAMES.values()))
    lines = [
        "| top-1 % | " + " | ".join(f"{label} `{mode}`" for label, mode in grid.columns) + " |",
        "|:--|" + "--:|" * len(grid.columns),
    ]
    for row in grid.rows:
        if row.kind in ("corruption", "clean", "mean"):
            shown = [
                f"**{100 * value:.1f}**" if column in row.best else f"{100 * value:.1f}"
                for column, value in enumerate(row.values)
                if value is not None
            ]
            lines.append(f"| {row.name} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def numbers(text: str) -> list[float]:
    """Every figure of a table, row by row."""
    words = text.replace("|", " ").replace("*", " ").split()
    return [float(word) for word in words if word.replace(".", "", 1).isdigit()]


def main() -> None:
    folder, check = Path(sys.argv[1]), "--check" in sys.argv
    before, rest = README.read_text(encoding="utf-8").split(START)
    old, after = rest.split(END)
    new = table(folder)
    if not check:
        README.write_text(before + START + new + END + after, encoding="utf-8")
        return
    pairs = list(zip(numbers(old), numbers(new), strict=True))
    worst = max(abs(one - other) for one, other in pairs)
    print(f"README: {len(pairs)} figures of the demo, largest difference {worst:.1f} points")
    if worst > TOLERANCE:
        raise SystemExit(f"README.md shows other figures than the demo:\n{new}")


if __name__ == "__main__":
    main()
