"""Data that a person holds already: arrays, a dataset or a loader of torch's, read once, back to 8 bits.

Corruptions act on 8-bit pixels, before mean and std. What a loader has made floats of is taken back where
that is exact (values that are whole multiples of 1/255, before or after a known mean and std), and else
refused with what to do.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler

from lnbench.data.arrays import check_labels, list_arrays, row_digest
from lnbench.data.store import Listing, Pixels, numerals
from lnbench.errors import DataError
from lnbench.types import InputNormalization

_NEAR = 0.01  # of a grey level: float32 arithmetic there and back stays within a thousandth

_KINDS = (
    "(images, labels), a Dataset of (image, label), a DataLoader of (images, labels), or a spec such as"
    " 'folder:PATH'"
)


class Held(NamedTuple):
    """A listing and the word for it in a record: `arrays`, `dataset:CIFAR10`, `loader:CIFAR10`."""

    listing: Listing
    spec: str


def hold(
    data: Any, *, names: Sequence[str] | None = None, normalization: InputNormalization | None = None
) -> Held:
    """List data that is in memory or behind one of torch's classes.

    Args:
        data: (images, labels), images uint8 (N, 3, H, W) or (N, H, W, 3) as tensor or array, or a list of PIL
            images; a Dataset of (image, label); a DataLoader of (images (B, 3, H, W), labels (B,)).
        names: of the classes; numerals otherwise.
        normalization: what the images were normalized by, where they were, to take it back.

    An image's number is its place in the data; a loader that shuffles is read in its dataset's order. Raises
    DataError for anything else, and for images that are no 8-bit RGB.
    """
    if isinstance(data, tuple | list) and len(data) == 2:
        images, labels = data
        many = isinstance(images, np.ndarray | torch.Tensor)
        pixels = _pixels(images, normalization, "images", 4) if many else None
        pictures = pixels if pixels is not None else _each(images, normalization)
        return Held(_listing(pictures, _labels(labels), "arrays", names), "arrays")
    if isinstance(data, DataLoader):
        spec = f"loader:{type(data.dataset).__name__}"
        return Held(_listing(*_loaded(data, normalization, spec), spec, names), spec)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str | dict):
        spec = f"dataset:{type(data).__name__}"
        targets = _targets(data)
        if targets is not None:
            return Held(_lazy(data, targets, normalization, spec, names), spec)
        found = [_pair(data[index], normalization, f"{spec}: item {index}") for index in range(len(data))]
        labels = np.array([label for _, label in found], np.int64)
        return Held(_listing([picture for picture, _ in found], labels, spec, names), spec)
    raise DataError(f"data is a {type(data).__name__}; give {_KINDS}")


def _listing(
    pictures: Pixels | list[Pixels], labels: npt.NDArray[Any], source: str, names: Sequence[str] | None
) -> Listing:
    if not len(pictures):
        raise DataError(f"{source}: holds no images")
    if isinstance(pictures, np.ndarray) or len({picture.shape for picture in pictures}) == 1:
        rows = pictures if isinstance(pictures, np.ndarray) else np.stack(pictures)
        return list_arrays(rows, labels, source=source, classes=names, stamp="")
    return _from_pictures(lambda index: pictures[index], check_labels(labels, len(pictures), names, source),
                          source, names)  # fmt: skip


def _from_pictures(
    picture: Any, labels: npt.NDArray[np.int64], source: str, names: Sequence[str] | None
) -> Listing:
    def read(index: int) -> tuple[Image.Image, bytes]:
        row = picture(index)
        return Image.fromarray(row), row_digest(row)

    return Listing(
        source=source,
        classes=numerals(labels) if names is None else tuple(names),
        labels=labels,
        stamp="",
        name=lambda index: f"{index:08d}",
        read=read,
        digest=lambda index: row_digest(picture(index)),
        named=names is not None,
    )


def _targets(dataset: Any) -> npt.NDArray[Any] | None:
    """The labels that torchvision's datasets hold beside their images: those can then be read one by one."""
    targets = getattr(dataset, "targets", None)
    if targets is None or getattr(dataset, "target_transform", None) is not None:
        return None
    labels = np.asarray(targets)
    return labels if labels.shape == (len(dataset),) and labels.dtype.kind in "iu" else None


def _lazy(
    dataset: Any,
    targets: npt.NDArray[Any],
    normalization: InputNormalization | None,
    source: str,
    names: Sequence[str] | None,
) -> Listing:
    """Read only what is asked for; one at a time, since a dataset need not bear several threads."""
    alone = threading.Lock()
    labels = check_labels(targets, len(targets), names, source)

    def picture(index: int) -> Pixels:
        with alone:
            found, label = _pair(dataset[index], normalization, f"{source}: item {index}")
        if label != labels[index]:
            raise DataError(f"{source}: item {index} has label {label}, its targets say {labels[index]}")
        return found

    return _from_pictures(picture, labels, source, names)


def _loaded(
    loader: DataLoader[Any], normalization: InputNormalization | None, source: str
) -> tuple[list[Pixels], npt.NDArray[np.int64]]:
    """Every image and label of a loader, read once, in the order of its dataset."""
    pictures: list[Pixels] = []
    labels: list[npt.NDArray[Any]] = []
    for number, batch in enumerate(_in_order(loader)):
        if not isinstance(batch, tuple | list) or len(batch) < 2:
            raise DataError(f"{source}: batch {number} is a {type(batch).__name__}, not (images, labels)")
        alone = loader.batch_size is None and not isinstance(loader.dataset, IterableDataset)
        images = _pixels(batch[0], normalization, f"{source}: batch {number}", 3 if alone else 4)
        pictures += [images] if alone else list(images)
        labels.append(np.atleast_1d(_labels(batch[1])))
    return pictures, np.concatenate(labels) if labels else np.zeros(0, np.int64)


def _in_order(loader: DataLoader[Any]) -> Iterator[Any]:
    if isinstance(loader.dataset, IterableDataset):
        return iter(loader)
    plain = type(loader.batch_sampler) in (BatchSampler, type(None))
    if not plain or not isinstance(loader.sampler, SequentialSampler | RandomSampler):
        kind = type(loader.sampler if plain else loader.batch_sampler).__name__
        raise DataError(
            f"the loader draws its images by a {kind}, so that their numbers, and so their noise, would"
            " not be those of the dataset; give the dataset itself: loader.dataset"
        )
    if isinstance(loader.sampler, SequentialSampler) and not loader.drop_last:
        return iter(loader)
    again: DataLoader[Any] = DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
    )
    return iter(again)


def _pair(item: Any, normalization: InputNormalization | None, where: str) -> tuple[Pixels, int]:
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise DataError(f"{where} is a {type(item).__name__}, not (image, label)")
    label = _labels(item[1])
    if label.size != 1:
        raise DataError(f"{where}: its label has shape {label.shape}; need one class index")
    return _pixels(item[0], normalization, where, 3), int(label.reshape(()))


def _labels(labels: Any) -> npt.NDArray[Any]:
    array = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    if array.size and array.dtype.kind not in "iu":
        raise DataError(f"labels must be class indices, whole numbers, not {array.dtype}")
    return array


def _each(images: Any, normalization: InputNormalization | None) -> list[Pixels]:
    if not isinstance(images, Sequence) or isinstance(images, str):
        raise DataError(f"images are a {type(images).__name__}; give {_KINDS}")
    return [_pixels(image, normalization, f"image {n}", 3) for n, image in enumerate(images)]


def _pixels(image: Any, normalization: InputNormalization | None, where: str, axes: int) -> Pixels:
    """One image or a batch (`axes` 3 or 4) as uint8 (…, H, W, 3)."""
    if isinstance(image, Image.Image):
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            raise DataError(f"{where}: a picture of mode {image.mode} has no 8-bit pixels; convert it first")
        return np.array(image.convert("RGB"))
    array = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else image
    if not isinstance(array, np.ndarray):
        raise DataError(f"{where} is a {type(image).__name__}, not a tensor, an array or a PIL image")
    if array.ndim == axes and array.shape[-3] == 3 and array.shape[-1] != 3:
        array = np.moveaxis(array, -3, -1)
    if array.ndim != axes or array.shape[-1] != 3:
        shape = ("N, " if axes == 4 else "") + "3, H, W"
        raise DataError(
            f"{where} has shape {tuple(array.shape)}; need ({shape}) or channels last, RGB: repeat the"
            " channel of grey images three times"
        )
    return np.ascontiguousarray(_eight_bit(array, normalization, where))


def _eight_bit(array: npt.NDArray[Any], normalization: InputNormalization | None, where: str) -> Pixels:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "f" and array.size:
        candidates = [array * 255.0]
        if normalization is not None:
            candidates.append((array * np.array(normalization.std) + np.array(normalization.mean)) * 255.0)
        for values in candidates:
            whole = np.rint(values)
            if np.abs(values - whole).max() <= _NEAR and whole.min() >= 0 and whole.max() <= 255:
                return whole.astype(np.uint8)
        raise DataError(
            f"{where}: {array.dtype} from {array.min():.2f} to {array.max():.2f} are no 8-bit pixels, on"
            " which corruptions act: they were normalized, or resized as floats. Give uint8 images, without"
            " ToTensor and Normalize, or say the mean= and std= they were normalized with"
        )
    raise DataError(f"{where}: {array.dtype} are no 8-bit pixels; give uint8, 0 to 255")
