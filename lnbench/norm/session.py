"""A mode for one's own loop: for the length of a block, or for good."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lnbench.errors import UsageError
from lnbench.norm.modes.registry import Mode, parse
from lnbench.norm.restore import bare, restored
from lnbench.norm.state import State
from lnbench.norm.wrap import NormLayer, NormLayers, attach


@contextlib.contextmanager
def norm_mode(model: nn.Module, mode: str, *, inputs: Tensor | None = None) -> Iterator[nn.Module]:
    """Run a network in a normalization mode inside the block, in evaluation mode.

    The same weights, nothing copied. Behind the block the network is its old self: layers, training flags,
    gradients, hooks; also after an exception. Inside, `model(x)` gives logits; only a mode that combines
    several passes into one prediction gives log-probabilities.

    Args:
        model: a network; inside torch.compile, DataParallel or DistributedDataParallel its own is meant.
        mode: as on the command line: "batch", "local:layers=first1", "blend:N=16".
        inputs: for modes that look at some images first ("adapt:n=32"): those, float (n, 3, H, W), prepared
            as the network's inputs are.

    Yields the network itself, or what is inside a wrapper, with the mode in it; the given model has it too.

    Raises:
        UsageError: an unknown mode or option, layers that the network does not have, or missing `inputs`.
        ModelError: a normalization layer that is not understood.

    Example:
        >>> import lnbench, torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        >>> x = torch.randn(8, 3, 32, 32)
        >>> with lnbench.norm_mode(model, "batch"), torch.no_grad():
        ...     means = model(x).mean((0, 2, 3))
        >>> bool((means.abs() < 1e-5).all()), model.training
        (True, True)
    """
    network = bare(model)
    with restored(network):
        network.eval()
        _enter(network, parse(mode), inputs)
        yield network


def with_mode(model: nn.Module, mode: str, *, inputs: Tensor | None = None) -> nn.Module:
    """A copy of a network that is in a normalization mode for good, in evaluation mode.

    A module to keep: move it, save it whole with torch.save, call it, or hand it on with torch.export or
    torch.onnx.export, with any number of images where the mode's unit is the image. The given model stays as
    it is. In training mode its layers are the original ones. Arguments and errors as in `norm_mode`; a mode
    that goes on learning from what it sees has nothing that could be exported, and raises UsageError then.

    Example:
        >>> import lnbench, torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).eval()
        >>> deployed = lnbench.with_mode(model, "local:layers=first1")
        >>> deployed(torch.randn(1, 3, 32, 32)).shape
        torch.Size([1, 4, 30, 30])
    """
    return InMode(model, mode, inputs)


class InMode(nn.Module):
    """A network with a mode in it; `network` is a copy, its norm layers under the mode's control."""

    def __init__(self, model: nn.Module, mode: str, inputs: Tensor | None) -> None:
        super().__init__()
        self.mode = mode
        self._is_stream = parse(mode).unit == "stream"
        self.network = copy.deepcopy(bare(model)).eval()
        _enter(self.network, parse(mode), inputs)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """The network's inputs (B, 3, H, W) → logits (B, classes); see `norm_mode`, for errors too."""
        if self._is_stream and torch.compiler.is_exporting():
            raise UsageError(f"mode '{self.mode}' changes with every batch it sees: it cannot be exported")
        return self.network(x)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return repr(self.mode)


class _Passes:
    """The forward of a network in a mode whose prediction is more than one plain pass.

    A class, so that a network with it can be saved and copied.
    """

    def __init__(self, network: nn.Module, layers: NormLayers, mode: Mode, state: State) -> None:
        self.network, self.layers, self.mode, self.state = network, layers, mode, state

    def __call__(self, x: Tensor) -> Tensor:
        if self.network.training:
            return self.plain(x)
        logits: list[Tensor] = []

        def forward(part: Tensor) -> Tensor:
            logits.append(self.plain(part))
            return logits[-1]

        found = self.mode.predict(forward, x, self.state, self.layers.groups)
        whole = (
            len(logits) == 1 and logits[0].shape[0] == x.shape[0]
        )  # not with views of the images beside them
        return logits[0].detach() if whole else found.log_probs

    def plain(self, x: Tensor) -> Tensor:
        """One pass of the network's own."""
        return type(self.network).forward(self.network, x)  # type: ignore[no-any-return]


def _enter(network: nn.Module, mode: Mode, inputs: Tensor | None) -> None:
    """Put the mode into a network for as long as its layers stay."""
    if any(isinstance(module, NormLayer) for module in network.modules()):
        raise UsageError(
            "the network is in a normalization mode already: leave that block, or take its original"
        )
    if mode.draws > 1:
        raise UsageError(
            f"mode '{mode}': draws answer each for a share of a whole set; leave draws=… out here"
        )
    if inputs is None and mode.images:
        raise UsageError(f"mode '{mode}' looks at {mode.images} images first: give them as inputs=")
    if inputs is not None and len(inputs) < mode.images:
        raise UsageError(f"mode '{mode}' looks at {mode.images} images first, inputs holds {len(inputs)}")
    if mode.size is not None:
        raise UsageError(f"mode '{mode}': size=… cuts a run's images; leave it out and give such batches")
    layers = attach(network, own=mode.is_learning)
    batch = 2 * layers.groups  # what the batches will be is not known here
    mode.refuse(layers.setting(batch_size=batch, images=batch << 40))
    state = State()
    layers.use(mode, state)
    if inputs is not None and mode.images:
        with torch.no_grad():
            mode.begin(network, lambda count, draw: inputs[:count], state)
    if not mode.is_plain:
        network.forward = _Passes(network, layers, mode, state)
