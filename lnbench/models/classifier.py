"""A network with everything between 8-bit pixels and logits: normalization, precision, memory format."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lnbench.device import one_kind_of_shortage
from lnbench.errors import LnbenchError, ModelError
from lnbench.files import said
from lnbench.models.factory import blame
from lnbench.types import InputNormalization

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Classifier:
    """Owns a network for evaluation: eval mode, no gradients, moved to `device` and cast in place.

    Under bf16 and fp16, layers with running statistics keep their parameters and buffers in float32, because
    eight bits of mantissa would move every stored variance by up to 0.4 %; they take and return the reduced
    type. `select` makes of all outputs the scores that count, float32 (B, outputs) → (B, classes), for every
    pass of every mode alike. Pixels and weights are laid out in memory as `format` says.
    """

    def __init__(
        self,
        network: nn.Module,
        normalization: InputNormalization,
        *,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
    ) -> None:
        self.device = torch.device(device)
        self.precision = precision
        self.dtype = DTYPES[precision]
        self.format = torch.channels_last  # (B, H, W, C) in memory, which convolutions like
        self.network = network.eval().to(self.device)
        for parameter in self.network.parameters():  # torch.jit modules have no requires_grad_()
            parameter.requires_grad_(False)
        cast(self.network, self.dtype)
        self.network.to(memory_format=self.format)
        self._normalize_by(normalization)
        self._outputs = 0  # how many classes, once counted
        self.select: Callable[[Tensor], Tensor] | None = None

    def renormalized(self, normalization: InputNormalization) -> Classifier:
        """The same network, not a copy of it, behind another input normalization."""
        other = copy.copy(self)
        other._normalize_by(normalization)
        return other

    def _normalize_by(self, normalization: InputNormalization) -> None:
        self.scale, self.offset = (t.to(self.device) for t in multiply_add(normalization))

    def logits(self, pixels: Tensor, network: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """uint8 (B, 3, H, W), on the classifier's device or not → float32 (B, classes).

        `network`: the classifier's own in another form, such as compiled. Inference mode is the caller's.
        Raises ModelError for what the network itself raises, naming the line of a person's own code, and when
        it returns anything but (B, classes), or not as many as before.
        """
        try:
            with one_kind_of_shortage():
                return self._logits(pixels, network)
        except (LnbenchError, torch.OutOfMemoryError):
            raise
        # SystemExit too: a forward that ends the program must not end it as if all were done.
        except (Exception, SystemExit) as error:
            raise blame(self.network, error) from error

    def _logits(self, pixels: Tensor, network: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        x = pixels.to(self.device, torch.float32, memory_format=self.format)  # (B, 3, H, W)
        x = torch.addcmul(self.offset, x, self.scale).to(self.dtype)
        if network is None:
            with as_written():
                out = self.network(x)
        else:
            out = network(x)
        if not isinstance(out, Tensor) or out.ndim != 2 or out.shape[0] != pixels.shape[0]:
            got = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
            raise ModelError(
                f"{type(self.network).__name__} returns {got} for {pixels.shape[0]} images: "
                "a classifier returns one row of class scores for each image"
            )
        if self._outputs and out.shape[1] != self._outputs:
            raise ModelError(
                f"{type(self.network).__name__} returns {out.shape[1]} class scores, it returned "
                f"{self._outputs} before: a classifier has the same classes for every image"
            )
        return out.float() if self.select is None else self.select(out.float())

    @torch.inference_mode()
    def classes(self, height: int, width: int) -> int:
        """Number of the network's outputs, counted on one black image of the size that will be evaluated.

        Raises ModelError when the network cannot take that size.
        """
        try:
            black = torch.zeros(1, 3, height, width, dtype=torch.uint8, device=self.device)
            self._outputs, self.select = 0, None
            with one_kind_of_shortage():
                self._outputs = self._logits(black).shape[1]
            return self._outputs
        except torch.OutOfMemoryError:
            raise ModelError(
                f"the memory of {self.device} does not hold {type(self.network).__name__} and one image: "
                "use --precision bf16, a smaller --crop or another --device"
            ) from None
        except (RuntimeError, ValueError, AssertionError) as error:
            raise ModelError(
                f"{type(self.network).__name__} cannot take {height}×{width} images ({said(error)}): "
                "give --resize and --crop"
            ) from None
        except LnbenchError:
            raise
        except (Exception, SystemExit) as error:
            raise blame(self.network, error) from error


def as_written() -> contextlib.AbstractContextManager[Any]:
    """In the block, what torch.compile has made runs as the code it was made from.

    Its graphs know nothing of the layers that a mode puts in place of others, nor of what looks on.
    """
    # Whoever has compiled has imported the compiler; for anyone else that would be a second for nothing.
    return (
        torch.compiler.set_stance("force_eager")
        if "torch._dynamo" in sys.modules
        else contextlib.nullcontext()
    )


def multiply_add(normalization: InputNormalization) -> tuple[Tensor, Tensor]:
    """(x/255 - mean) / std as x · scale + offset: two float32 tensors of shape (1, 3, 1, 1)."""
    mean = torch.tensor(normalization.mean, dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor(normalization.std, dtype=torch.float64).view(1, 3, 1, 1)
    return (1 / (255 * std)).float(), (-mean / std).float()


def cast(network: nn.Module, dtype: torch.dtype) -> None:
    """Cast floating weights in place, except those of layers with running statistics."""
    if dtype == torch.float32:
        network.float()
        return
    for module in network.modules():
        if "running_var" in module._buffers:
            module.float()
            # torch's fused batch_norm returns its input's type; layers in plain arithmetic would promote it.
            if not isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.register_forward_hook(back_to_input_type)
            continue
        for tensors in (module._parameters, module._buffers):
            for tensor in tensors.values():
                if tensor is not None and tensor.is_floating_point():
                    tensor.data = tensor.data.to(dtype)


def back_to_input_type(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """A forward hook: the output in the type of the input."""
    return output.to(inputs[0].dtype)
