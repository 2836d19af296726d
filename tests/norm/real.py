"""A published network and real images that were corrupted, for modes beside their authors' files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lnbench.corruptions.native import corrupt
from lnbench.corruptions.registry import parameters
from lnbench.corruptions.rng import Key
from lnbench.models.load import load
from tests.networks import normalized

BATCH = 10


def resnet20(shared: Path, dtype: torch.dtype) -> nn.Module:
    """The CIFAR-10 ResNet-20 in evaluation mode."""
    weights = shared / "checkpoints" / "cifar10_resnet20-12fca82f.th"
    return load("cifar:resnet20", weights).network.eval().to(dtype)


def batches(shared: Path, dtype: torch.dtype, count: int = 8) -> list[Tensor]:
    """Batches of CIFAR-10 test images under gaussian noise of severity 5, ready for the network."""
    with np.load(shared / "data" / "cifar10_test_846.npz") as stored:
        pixels = torch.from_numpy(stored["images"][: count * BATCH].transpose(0, 3, 1, 2).copy())
    numbers = parameters("cifar", "gaussian_noise", 5)
    noisy = corrupt(pixels, "gaussian_noise", 5, Key(0, torch.arange(len(pixels))), numbers)
    return list(normalized(noisy).to(dtype).split(BATCH))
