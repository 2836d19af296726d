"""The one door to `imagecorruptions` 1.1.2 (bethgelab, Apache-2.0), the independent reference.

That release imports `pkg_resources` and `scipy.ndimage.interpolation`, uses `np.float_` and
scikit-image's `multichannel`, all gone today, and draws from numpy's global generator and from one
of scikit-image's own. Its source is run here in a private namespace whose `import` hands it what it
expects and a seeded generator, so nothing of the process changes: not `sys.modules`, not numpy, not
`np.random`.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import importlib.util
import inspect
import types
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnbench.corruptions.registry import MIN_SIDE, find
from lnbench.errors import DataError, LnbenchError, UsageError
from lnbench.lazy import np
from lnbench.types import CLEAN_NAME

if TYPE_CHECKING:
    import numpy.typing as npt

    Pictures = npt.NDArray[np.uint8]

TABLE = "imagenet"
"""The only parameter table this backend has."""


def check(corruption: str, severity: float, table: str = TABLE) -> None:
    """Raise UsageError for a condition this backend does not have."""
    if table != TABLE:
        raise UsageError(f"backend 'reference' has the parameter table '{TABLE}' only, not '{table}'")
    if corruption == CLEAN_NAME:
        return
    if not find(corruption).reference:
        raise UsageError(
            f"backend 'reference' has no {corruption}, imagecorruptions does not compute it: "
            "leave it out or use backend 'native'"
        )
    if severity not in (1, 2, 3, 4, 5):
        raise UsageError(f"severity {severity:g}: backend 'reference' has the whole numbers 1 to 5 only")


def corrupt(
    images: Pictures,
    corruption: str,
    severity: float,
    seed: int,
    ids: Sequence[int] | npt.NDArray[np.int64],
    *,
    table: str = TABLE,
) -> Pictures:
    """Corrupt uint8 (B, H, W, 3) one by one; each depends on (seed, its id, corruption, severity) alone.

    Raises UsageError for a condition the package does not have, DataError for images under 32 pixels.
    """
    check(corruption, severity, table)
    if corruption == CLEAN_NAME:
        return images
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or len(ids) != len(images):
        raise ValueError(f"need uint8 (B, H, W, 3) and B ids, not {images.dtype} {images.shape}, {len(ids)}")
    if min(images.shape[1:3]) < MIN_SIDE:
        raise DataError(f"images of {images.shape[1]}×{images.shape[2]} pixels: need {MIN_SIDE} or more")
    pillow = importlib.import_module("PIL.Image")
    out = np.empty_like(images)
    source = _Source()
    kernel = source.load()[find(corruption).reference]
    for target, image, number in zip(out, images, ids, strict=True):
        source.reseed(f"{seed}/{int(number)}/{corruption}/{int(severity)}")
        with np.errstate(all="ignore"):  # spatter divides by the maximum of a layer that may be empty
            target[:] = np.asarray(kernel(pillow.fromarray(image), int(severity))).astype(np.uint8)
    return out


class _Source:
    """The package's source, run in a namespace of its own with its own random generators."""

    def __init__(self) -> None:
        self.folder = _folder()
        self.numpy = _Overlay(np, float_=np.float64)
        self.generator = np.random.default_rng(0)

    def reseed(self, text: str) -> None:
        digest = hashlib.blake2b(text.encode(), digest_size=32).digest()
        words = np.frombuffer(digest, dtype="<u4")
        # The interface the source was written for.
        self.numpy.__dict__["random"] = np.random.RandomState(words)
        self.generator = np.random.default_rng(words)

    def load(self) -> dict[str, Any]:
        """Run the source and return its global names."""
        names: dict[str, Any] = {
            "__name__": "imagecorruptions.corruptions",
            "__builtins__": {**vars(builtins), "__import__": self._import, "print": lambda *_: None},
        }
        exec(_code(self.folder), names)
        return names

    def _import(
        self,
        name: str,
        namespace: Any = None,
        local: Any = None,
        wanted: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """What `import` means inside the source."""
        if name == "numpy":
            return self.numpy
        if name == "pkg_resources":
            return _Overlay(None, resource_filename=lambda _, path: str(self.folder / path))
        if name == "scipy.ndimage.interpolation":
            name = "scipy.ndimage"
        module = builtins.__import__(name, namespace, local, wanted, level)
        if name == "skimage":
            importlib.import_module("skimage.color")
            util = importlib.import_module("skimage.util")
            return _Overlay(module, util=_Overlay(util, random_noise=self._random_noise))
        if name == "skimage.filters":
            return _Overlay(module, gaussian=_gaussian(module.gaussian))
        return module

    def _random_noise(self, image: Any, **options: Any) -> Any:
        draw = importlib.import_module("skimage.util").random_noise
        name = "rng" if "rng" in inspect.signature(draw).parameters else "seed"  # renamed in 0.21
        return draw(image, **options, **{name: self.generator})


class _Overlay(types.ModuleType):
    """A module seen through a few replaced names; the module itself stays as it is."""

    def __init__(self, module: types.ModuleType | None, **names: Any) -> None:
        super().__init__(module.__name__ if module else "overlay")
        self.__dict__.update(names)
        self.__dict__["_module"] = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_module"], name)


def _gaussian(function: Callable[..., Any]) -> Callable[..., Any]:
    """scikit-image's `gaussian`, understanding `multichannel` (renamed `channel_axis` in 0.19)."""

    def gaussian(image: Any, *args: Any, multichannel: bool = False, **options: Any) -> Any:
        return function(image, *args, channel_axis=-1 if multichannel else None, **options)

    return gaussian


def _folder() -> Path:
    spec = importlib.util.find_spec("imagecorruptions")
    if spec is None or spec.origin is None:
        raise LnbenchError("package 'imagecorruptions' is not installed: pip install imagecorruptions==1.1.2")
    return Path(spec.origin).parent


@lru_cache(maxsize=1)
def _code(folder: Path) -> types.CodeType:
    path = folder / "corruptions.py"
    return compile(path.read_text(encoding="utf-8"), str(path), "exec")
