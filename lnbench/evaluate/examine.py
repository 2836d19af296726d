"""What a network does with a handful of images before the grid is spent on it, found out by experiment.

`fixed` promises that nothing but an image decides its answer, and the other modes that they reach every
normalization by stored statistics. Names prove neither, so the network is run: twice on the same images, once
with other images beside them, and under watch, where every call that passes a norm layer of ours by is seen.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode

from lnbench.data.store import Store
from lnbench.errors import ModelError
from lnbench.evaluate.prepare import Subject
from lnbench.files import one_line
from lnbench.norm.state import State
from lnbench.norm.wrap import FIXED, NormLayer

_IMAGES = 2  # that are asked about; as many others keep them company
_SHOWN = 4
# Shares of the largest output. The same images in a batch of the same size differ by nothing at all where
# nothing but the image decides; batch statistics of four images move outputs by far more than this.
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 2e-2, torch.float16: 1e-2}
_CONTRAST = 4.0
_UNMOVED = 0.02

# Where a call says that it takes the input's own statistics: by name or by position.
_FUNCTIONAL = {
    F.batch_norm: ("training", 5),
    torch.batch_norm: ("training", 5),
    torch.native_batch_norm: ("training", 5),
    F.instance_norm: ("use_input_stats", 5),
    torch.instance_norm: ("use_input_stats", 5),
}
_ARITHMETIC = {"add", "sub", "rsub", "mul", "div", "true_divide", "addcmul", "addcdiv", "expand_as", "lerp"}
# Fewer elements than this are the colours of an input normalization, or a number.
_LEAST_CHANNELS = 4


def examine(subject: Subject, store: Store) -> tuple[str, ...]:
    """What should be said of a network before it is counted, one sentence each.

    Raises ModelError where `fixed` itself would be wrong: norm layers in training mode, buffers that a
    forward pass changes, norm layers that are not registered, and modes on a scripted network.
    """
    device = subject.classifier.device
    others = subject.modes != (FIXED,)
    if others:
        _refuse_script(subject)
    places = list(range(min(_IMAGES, len(store.labels))))
    images = torch.from_numpy(store.images[places]).to(device)  # a copy: what lies in a file is read-only
    try:
        with torch.inference_mode():
            return tuple(_examined(subject, images, others))
    except torch.OutOfMemoryError:
        return ()  # what does not fit is said, with a remedy, where it is counted


def _examined(subject: Subject, images: Tensor, others: bool) -> Iterator[str]:
    classifier = subject.classifier
    subject.layers.use(FIXED)
    count = len(images)
    beside = torch.cat([images, 255 - images])  # what is beside an image differs from it, and from black
    buffers = {name: value.clone() for name, value in classifier.network.named_buffers()}
    with _watching(classifier.network, len(beside), _ROUNDING[classifier.dtype]) as seen:
        first = classifier.logits(beside)
    _refuse(subject, seen, buffers)
    again = classifier.logits(beside)
    company = classifier.logits(torch.cat([images, torch.zeros_like(images)]))
    same = partial(_same, share=_ROUNDING[classifier.dtype])
    if not same(first, again):
        yield "gives other outputs for the same images each time: something in its forward is random"
    elif not same(first[:count], company[:count]):
        where = f" ({_named(seen.batch)})" if seen.batch else ""
        yield (
            f"an image's output changes with the images beside it{where}, in mode fixed too: every figure "
            f"holds for the chunks in which this device computes"
        )
    if _are_probabilities(first):
        yield (
            "its outputs are probabilities already (in 0–1, each row sums to 1) and go through softmax once "
            "more: top-1 and top-5 are right, NLL and ECE are not; return the scores before softmax"
        )
    if others:
        yield from _reach(subject, seen, images)


def _reach(subject: Subject, seen: _Seen, images: Tensor) -> Iterator[str]:
    """What the modes do not reach, where other modes than `fixed` are asked for."""
    if seen.more:
        yield (
            f"{_named(seen.more)} does more in mode fixed than normalize (a hook of its own, or a changed "
            "forward): the other modes leave that out"
        )
    passed = {place: ", ".join(sorted(how)) for place, how in seen.stored.items()}
    if passed:
        places = _named([f"{place} ({how})" for place, how in passed.items()])
        reached = len(subject.layers)
        yield (
            f"normalizes by stored statistics where no mode reaches: {places}; modes change "
            + (f"the other {reached} norm layers alone" if reached else "nothing here and equal fixed")
        )
    elif not len(subject.layers):
        own = "; it normalizes by each image's own" if _follows_itself(subject, images) else ""
        learning = dict.fromkeys(m.kind for m in subject.modes if m.is_learning) if subject.layers.own else ()
        but = f", but for {', '.join(learning)}" if learning else ""
        yield (
            "this network has no normalization layers with stored statistics: every mode equals fixed"
            f"{but}{own}"
        )


def _follows_itself(subject: Subject, images: Tensor) -> bool:
    """Whether four times the contrast leaves the outputs as they are, as instance normalization would."""
    own = subject.normalization
    red, green, blue = own.std
    stronger = replace(own, std=(red / _CONTRAST, green / _CONTRAST, blue / _CONTRAST))
    usual = subject.classifier.logits(images)
    strong = subject.classifier.renormalized(stronger).logits(images)
    moves = not _same(usual, usual.roll(1, 0), _UNMOVED)  # one that answers the same to all shows nothing
    return moves and _same(usual, strong, _UNMOVED)


def _same(one: Tensor, other: Tensor, share: float) -> bool:
    """Equal up to a share of the largest output; what is not a number is not judged."""
    one, other = one.nan_to_num(0, 0, 0), other.nan_to_num(0, 0, 0)
    return bool((one - other).abs().max() <= share * one.abs().max())


def _are_probabilities(logits: Tensor) -> bool:
    sums = logits.sum(1)
    return bool(
        logits.shape[1] > 1 and (logits >= 0).all() and (logits <= 1).all() and (sums - 1).abs().max() < 5e-3
    )


# -- What is refused ----------------------------------------------------------------------------------------


def _refuse_script(subject: Subject) -> None:
    for name, module in subject.classifier.network.named_modules():
        if isinstance(module, torch.jit.ScriptModule) and next(module.buffers(), None) is not None:
            what = f"layer '{one_line(name, 80)}'" if name else "the network"
            raise ModelError(
                f"{subject.name}: {what} is a torch.jit module, whose norm layers no mode reaches: "
                "give the plain network, or --norm fixed alone"
            )


def _refuse(subject: Subject, seen: _Seen, before: dict[str, Tensor]) -> None:
    if seen.loose:
        raise ModelError(
            f"{subject.name}: its forward calls a {_named(seen.loose)}, as in a plain list or dict: "
            "no checkpoint holds its weights and eval() does not reach it; keep it in an nn.ModuleList"
        )
    if seen.training:
        raise ModelError(
            f"{subject.name}: its forward puts norm layers into training mode ({_named(seen.training)}), "
            "where they follow the batch and change what they stored: take train() out of forward"
        )
    for name, value in subject.classifier.network.named_buffers():
        old = before.get(name)
        if old is not None and value.is_floating_point() and not torch.equal(old, value):
            if bool(old.isnan().any()):
                continue
            raise ModelError(
                f"{subject.name}: its forward changes the buffer '{one_line(name, 80)}' in evaluation, "
                "so that no answer is given twice: call the normalization with training=False there"
            )


# -- The watch ----------------------------------------------------------------------------------------------


@dataclass
class _Seen:
    """What one forward pass did: places by name, for `stored` with how."""

    stored: dict[str, set[str]] = field(default_factory=dict)  # statistics that no mode reaches
    batch: list[str] = field(default_factory=list)  # statistics of the batch
    loose: list[str] = field(default_factory=list)  # norm layers that the network does not know it has
    training: list[str] = field(default_factory=list)  # norm layers in training mode
    more: list[str] = field(default_factory=list)  # norm layers that do more than their formula


@contextlib.contextmanager
def _watching(network: nn.Module, batch: int, rounding: float) -> Iterator[_Seen]:
    """See every call of a function and of a module, those that the network does not hold included."""
    seen, stack = _Seen(), list[nn.Module]()
    names = _names(network)

    def enter(module: nn.Module, _: Any) -> None:
        stack.append(module)
        if module.training and (isinstance(module, NormLayer) or _stores(module)):
            known = id(module) in names
            _note(seen.training if known else seen.loose, _called(names, module))

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(module, NormLayer) and not module.training:
            found = module.known.normalize(inputs[0], module.known.statistics, State())
            if not _same(output, found, rounding):
                _note(seen.more, _called(names, module))
        while stack and stack.pop() is not module:  # a forward may catch what a part of it raises
            pass

    before = hooks.register_module_forward_pre_hook(enter)
    after = hooks.register_module_forward_hook(leave)
    try:
        with warnings.catch_warnings(), _Calls(seen, stack, names, network, batch):
            # Compiled parts warn that a hook is called once more for the wrapper around them: no matter here.
            warnings.filterwarnings("ignore", r"Using `torch\.compile\(module\)` when there are global hooks")
            yield seen
    finally:
        before.remove()
        after.remove()


# Inherits because torch has no other way to see the functions that a network calls.
class _Calls(TorchFunctionMode):
    """Notes normalization outside our layers: by torch's functions, and by arithmetic with buffers.

    A buffer is followed through whatever keeps its number of elements, until it meets, channel by channel, an
    activation of as many channels.
    """

    def __init__(
        self, seen: _Seen, stack: list[nn.Module], names: dict[int, str], network: nn.Module, batch: int
    ) -> None:
        super().__init__()
        self.seen, self.stack, self.names, self.batch = seen, stack, names, batch
        # Tensors are kept, so that no other gets the id of one that is gone.
        self.followed: dict[int, tuple[Tensor, str]] = {
            id(value): (value, name)
            for module in network.modules()
            for name, value in module.named_buffers(recurse=False)
            if value.is_floating_point() and value.numel() >= _LEAST_CHANNELS
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        out = func(*args, **given)
        if not _inside(self.stack):
            if func in _FUNCTIONAL:
                self._normalization(func, args, given)
            else:
                self._arithmetic(func, [*args, *given.values()], out)
        return out

    def _normalization(self, func: Any, args: Any, given: dict[str, Any]) -> None:
        name, place = _FUNCTIONAL[func]
        x = args[0] if args else given["input"]
        usual = name == "use_input_stats"
        if given.get(name, args[place] if len(args) > place else usual):
            # Standardized convolutions call it on their weights, which are no batch.
            if name == "training" and x.shape[0] == self.batch:
                _note(self.seen.batch, self._where())
        else:
            self.seen.stored.setdefault(self._where(), set()).add(func.__name__)

    def _arithmetic(self, func: Any, given: list[Any], out: Any) -> None:
        tensors = [value for value in given if isinstance(value, Tensor)]
        for value in tensors:
            _, name = self.followed.get(id(value), (None, None))
            if name is None:
                continue
            count = value.numel()
            met = any(
                other.numel() > count and other.ndim > 1 and count in (other.shape[1], other.shape[-1])
                for other in tensors
            )
            if met and getattr(func, "__name__", "").strip("_") in _ARITHMETIC:
                self.seen.stored.setdefault(self._where(), set()).add(one_line(name, 80))
            elif isinstance(out, Tensor) and out.numel() == count:
                self.followed[id(out)] = (out, name)

    def _where(self) -> str:
        return _called(self.names, self.stack[-1]) if self.stack else "outside of any module"


def _inside(stack: list[nn.Module]) -> bool:
    return any(isinstance(module, NormLayer) for module in stack)


def _stores(module: nn.Module) -> bool:
    """Whether it holds numbers that are no weights, as statistics are."""
    return any(value.is_floating_point() for value in module.buffers(recurse=False))


def _names(network: nn.Module) -> dict[int, str]:
    """Names by id, as the person who built the network knows them: without the layers that we put around."""
    names = {id(module): name for name, module in network.named_modules()}
    own = [module for module in network.modules() if isinstance(module, NormLayer)]
    return names | {id(part): module.name for module in own for part in (module, module.layer)}


def _called(names: dict[int, str], module: nn.Module) -> str:
    if id(module) not in names:
        return f"{one_line(type(module).__name__, 80)} that is not registered"
    name = names[id(module)]
    return f"'{one_line(name, 80)}'" if name else f"forward of {one_line(type(module).__name__, 80)}"


def _note(found: list[str], what: str) -> None:
    if what not in found:
        found.append(what)


def _named(found: list[str]) -> str:
    rest = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + rest
