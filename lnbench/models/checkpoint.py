"""Weights files: read without trusting them, fitted strictly, written atomically.

This is the only caller of torch.load. A file is identified by its content (sniff), its pickles are walked
before they are loaded (pickles), and they are loaded with `weights_only=True`; nothing in a file can run
unless the person asked for that with --allow-pickle.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lnbench import pickles
from lnbench.errors import CheckpointError
from lnbench.files import atomic, one_line, opened, regular
from lnbench.models import keys
from lnbench.models.sniff import SUFFIXES, Format, identify
from lnbench.models.unwrap import cleaned, entries, unwrap

_LONGEST_LINE = 1 << 20  # of a pickle: names, and numbers as text
OWN_ENTRY = "lnbench"  # metadata in a .pth file
EXTRAS_ENTRY = "lnbench.extras"  # extras in a safetensors file, as JSON


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file held.

    `tensors`: names without leading wrappers (`module.`, `model.`, `_orig_mod.`) → plain CPU tensors;
    `extras`: what else lay beside them (epoch, best_prec1, optimizer, …), values as loaded;
    `container`: where the tensors lay: "", "state_dict", "model", …, nested ones joined by "/";
    `metadata`: text that lnbench wrote, or a safetensors header's.
    """

    path: Path
    sha256: str
    tensors: dict[str, Tensor]
    extras: dict[str, object]
    container: str
    metadata: dict[str, str]


def read(path: Path, *, ema: bool = False, allow_pickle: bool = False, prefix: str = "") -> Checkpoint:
    """Read a weights file of any supported kind, told by its content and not by its suffix.

    `ema` takes the moving average (state_dict_ema, model_ema) that the file must then hold. `allow_pickle`
    lets a file that needs it run its own code, with a warning before it does; else it is refused.
    With a `prefix` (`net.`) only the tensors are taken whose names begin with it, without it.
    Raises CheckpointError.
    """
    path = Path(path)
    kind = identify(path)
    sha256 = digest(path)
    if kind == "safetensors":
        found, metadata = load_safetensors(path)
        extras = unpack_extras(metadata)
        container = ""
        if ema:
            raise CheckpointError(f"{path} holds no EMA weights: a safetensors file is one set; drop --ema")
    else:
        container, found, extras = unwrap(load_pickle(path, kind, allow_pickle), path, ema)
        own = extras.pop(OWN_ENTRY, None)
        own = entries(own) if isinstance(own, dict) else {}
        metadata = {k: v for k, v in own.items() if isinstance(k, str) and isinstance(v, str)}
    return Checkpoint(path, sha256, cleaned(found, path, prefix), extras, container, metadata)


def digest(path: Path) -> str:
    """SHA-256 of a file, as hex, read in pieces of 1 MiB."""
    total = hashlib.sha256()
    with opened(path, CheckpointError) as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()


# -- loading ------------------------------------------------------------------------------------------------


def load_safetensors(path: Path) -> tuple[dict[object, object], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises CheckpointError."""
    try:
        # Read and not mapped, as safe_open does: a mapped file that is cut short kills the process.
        with opened(path, CheckpointError) as file:
            content = file.read()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return dict(safetensors.torch.load(content)), dict(header.get("__metadata__") or {})
    except CheckpointError:
        raise
    except Exception as error:  # whatever a stranger's file makes the reader raise
        raise CheckpointError(f"{path} is a damaged safetensors file: {reason(error)}") from None


def unpack_extras(metadata: dict[str, str]) -> dict[str, object]:
    """Take lnbench's JSON of extras out of a safetensors header; what is not readable is not ours."""
    try:
        extras = json.loads(metadata.pop(EXTRAS_ENTRY, "{}"))
    except (ValueError, RecursionError):
        return {}
    return extras if isinstance(extras, dict) else {}


def load_pickle(path: Path, kind: Format, allow_pickle: bool) -> object:
    """The object in a torch.save file, old or new format, without running anything unless allowed.

    Raises CheckpointError.
    """
    try:
        blocked = blocked_in(path, kind)
    except Exception as error:  # pickletools and zipfile raise many kinds on damaged files
        raise damaged(path, error) from None
    if not blocked:
        try:
            return torch_load(path, weights_only=True)
        except pickle.UnpicklingError as error:
            blocked = [f"({reason(error)})"]
        except Exception as error:
            raise damaged(path, error) from None
    wants = ", ".join(one_line(name, 60) for name in blocked[:6]) + (", …" if len(blocked) > 6 else "")
    if not allow_pickle:
        raise CheckpointError(
            f"{path} holds more than plain weights and could run code: {wants}; "
            "only if you trust who made it, --allow-pickle loads it"
        )
    warnings.warn(f"{path}: --allow-pickle runs this file's own code: {wants}", stacklevel=3)
    try:
        return torch_load(path, weights_only=False)
    except ModuleNotFoundError as error:
        module = one_line(error.name, 60)
        raise CheckpointError(f"{path} needs the Python module '{module}': put it on PYTHONPATH") from None
    except Exception as error:
        raise CheckpointError(f"{path} cannot be loaded even with --allow-pickle: {reason(error)}") from None


def blocked_in(path: Path, kind: Format) -> list[str]:
    """Globals beyond plain weights in every pickle of a torch.save file. ValueError and others if damaged."""
    if kind == "zip":
        found: list[str] = []
        with regular(path) as whole, zipfile.ZipFile(whole) as archive:
            for member in archive.infolist():
                # torch.save without checksums leaves 0; a whole read of the others is what checks theirs.
                member.CRC = member.CRC or None  # type: ignore[assignment]
                with archive.open(member) as file:
                    if member.filename.endswith("/data.pkl"):
                        found += pickles.blocked_globals(file)
                    while file.read(1 << 20):
                        pass
        return found
    # Old format: magic number, protocol, system, the object, the storages' keys, then raw storages.
    with regular(path) as old:
        bounded = _Bounded(old, path.stat().st_size)
        return [name for _ in range(5) for name in pickles.blocked_globals(bounded)]


@dataclass(frozen=True)
class _Bounded:
    """A file of which no read is longer than what is left: a length that it lies about takes no memory."""

    file: BinaryIO
    size: int

    def read(self, count: int) -> bytes:
        return self.file.read(min(max(count, 0), self.size))

    def readline(self) -> bytes:
        return self.file.readline(_LONGEST_LINE)

    def tell(self) -> int:
        return self.file.tell()


def torch_load(path: Path, *, weights_only: bool) -> object:
    """The one call of torch.load: tensors on the CPU, without torch's warnings about itself."""
    with warnings.catch_warnings():
        # Old storages and pickle protocols make torch warn about itself; the person cannot act on it.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=weights_only)


def damaged(path: Path, error: Exception) -> CheckpointError:
    """What to say of a file that torch cannot read."""
    return CheckpointError(f"{path} is a damaged or hostile PyTorch file ({reason(error)}): copy it again")


def reason(error: BaseException) -> str:
    """The first telling line of an exception, safe to print."""
    text = str(error).strip()
    _, marker, inner = text.partition("WeightsUnpickler error: ")
    line = (inner if marker else text).strip().splitlines()
    return one_line(line[0], 120) if line else type(error).__name__


# -- fitting ------------------------------------------------------------------------------------------------


def fit(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Copy a checkpoint's tensors into a network of the same names and shapes, strictly, in place.

    Wrappers that lead all names are ignored on both sides; a missing batch counter is harmless. Raises
    CheckpointError, with the differing keys grouped, and for NaN, infinite or negative-variance weights.
    """
    wanted = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    prefix = keys.wrapper(wanted)
    given = {keys.modern(name): value for name, value in checkpoint.tensors.items()}
    difference = keys.compare(
        {name: tuple(value.shape) for name, value in given.items()},
        {name[len(prefix) :]: tuple(value.shape) for name, value in wanted.items()},
    )
    if difference:
        below = keys.common_prefix(difference, given)
        remedy = f"give --prefix {below}" if below else "give the --model it was trained with"
        raise CheckpointError(
            f"{checkpoint.path} does not fit the network ({keys.summary(difference)}): "
            f"{remedy}\n{keys.details(difference)}"
        )
    check_values(given, checkpoint.path)
    for name, target in wanted.items():
        source = given.get(name[len(prefix) :])
        if source is not None and target.is_floating_point() and not source.is_floating_point():
            raise CheckpointError(
                f"{checkpoint.path}: '{one_line(name, 60)}' holds whole numbers, not weights"
            )
    # Only a batch counter can still differ in shape; it is left as it is.
    fitting = {prefix + name: value for name, value in given.items()}
    fitting = {n: v for n, v in fitting.items() if n in wanted and v.shape == wanted[n].shape}
    network.load_state_dict(fitting, strict=False)


def check_values(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse NaN, infinities and negative running variances, all names counted, the first three shown."""
    wrong = {"NaN or infinite values": [], "negative variances": []}  # type: dict[str, list[str]]
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        least, most = (tensor if tensor.dtype.itemsize > 1 else tensor.float()).aminmax()  # NaN wins in both
        if not bool(least.isfinite() & most.isfinite()):
            wrong["NaN or infinite values"].append(name)
        elif name.endswith("running_var") and bool(least < 0):
            wrong["negative variances"].append(name)
    for what, names in wrong.items():
        if names:
            shown = ", ".join(one_line(name, 60) for name in names[:3]) + (", …" if len(names) > 3 else "")
            raise CheckpointError(
                f"{path} has {what} in {len(names)} of {len(tensors)} tensors ({shown}): "
                "its training diverged or the file is damaged; use another checkpoint"
            )


def classes_in(checkpoint: Checkpoint, network: nn.Module) -> int | None:
    """Number of classes of a checkpoint: rows of the weight it has for the network's classifying layer.

    That layer is the one timm's metadata name, else the last linear one, or the last convolution where a
    network ends in one (SqueezeNet). None where it cannot be told.
    """
    named = getattr(network, "pretrained_cfg", None) or {}
    named = named.get("classifier") if isinstance(named, dict) else None
    layers = [n for n, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    heads = ([named] if isinstance(named, str) else list(named or ())) or layers[-1:]
    if not heads:
        return None
    prefix = keys.wrapper(list(network.state_dict()))
    weight = checkpoint.tensors.get(f"{heads[0]}.weight"[len(prefix) :])
    return int(weight.shape[0]) if weight is not None and weight.ndim >= 2 else None


# -- writing ------------------------------------------------------------------------------------------------


def write(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    extras: Mapping[str, object],
    metadata: Mapping[str, str],
    container: str = "state_dict",
) -> None:
    """Write a checkpoint, .safetensors or torch.save format by suffix, complete or not at all.

    In torch.save format the tensors lie under `container` (bare for ""), `extras` beside it, `metadata` under
    "lnbench". Safetensors holds tensors and text only: numbers and text among the extras go into its header.
    Extras that cannot be written, or would need more than `weights_only=True` to read, are left out.
    Raises CheckpointError.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise CheckpointError(f"{path}: weights are written as one of {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise CheckpointError(f"cannot write {path}: there is no folder {path.parent}")
    # A copy of each: tied weights become independent, and a view does not drag its whole storage along.
    own = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    try:
        with atomic(path, CheckpointError) as file:
            if path.suffix == ".safetensors":
                texts = {k: v for k, v in extras.items() if isinstance(v, str | int | float | None)}
                header = {
                    **{name: _utf8(text) for name, text in metadata.items()},
                    **({EXTRAS_ENTRY: json.dumps(texts)} if texts else {}),
                }
                _write_ordered(safetensors.torch.save(own, header), file)
            else:
                body: dict[str, object] = dict(own)
                for name in reversed(container.split("/") if container else []):
                    body = {name: body}
                kept = {k: v for k, v in extras.items() if is_plain(v)}
                torch.save({**kept, **body, **({OWN_ENTRY: dict(metadata)} if metadata else {})}, file)
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"cannot write {path}: {reason(error)}") from None


def _utf8(text: str) -> str:
    """The text with escapes for the bytes of a path that are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _write_ordered(content: bytes, file: IO[bytes]) -> None:
    """Sort a safetensors file's metadata, which the library writes in random order: one content, one hash."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
    file.write(content[:8])
    file.write(ordered if len(ordered) == size else content[8 : 8 + size])  # the format pads with spaces
    file.write(memoryview(content)[8 + size :])


def is_plain(value: object) -> bool:
    """Whether torch.load(weights_only=True) takes the value back; huge ones are left alone too."""
    pending = [value]
    seen = 0
    while pending:
        item = pending.pop()
        seen += 1
        if isinstance(item, dict):
            pending += [*dict.keys(item), *dict.values(item)]
        elif type(item) in (list, tuple):
            pending += item  # type: ignore[arg-type]
        elif type(item) not in (str, int, float, bool, type(None), Tensor, nn.Parameter):
            return False
        if seen + len(pending) > 1_000_000:
            return False
    return True
