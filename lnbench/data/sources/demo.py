"""The built-in demo, drawn from the pictures that scikit-image carries in its wheel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lnbench.data.registry import source
from lnbench.lazy import np

if TYPE_CHECKING:
    from lnbench.data.demo import Split
    from lnbench.data.store import Listing


@source("demo", about="the built-in demo")
def demo(split: Split) -> Listing:
    from lnbench.data.arrays import list_arrays
    from lnbench.data.demo import open_demo

    images, labels, classes = open_demo(split)
    rows = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    name = "demo:train" if split == "train" else "demo"
    return list_arrays(rows, labels, source=name, classes=classes, stamp=name)
