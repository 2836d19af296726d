"""Small networks and datasets that tests evaluate through the real entry points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from lnbench.models import checkpoint

CLASSES = 4
FACTORY = '''
import torch
from torch import nn


def tiny(classes=4):
    """A convolution, a norm layer, a pool and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )
'''  # fmt: skip


def tiny(classes: int = CLASSES) -> nn.Sequential:
    """The network of `FACTORY`."""
    space: dict[str, object] = {}
    exec(FACTORY, space)  # the same source as the file that users' factories are read from
    return space["tiny"](classes)  # type: ignore[operator, no-any-return]


def pictures(images: int = 90, side: int = 32, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Coloured gratings of four orientations, uint8 (N, H, W, 3), and their labels: easy, but noise hurts."""
    random = np.random.default_rng(seed)
    labels = np.arange(images) % CLASSES
    y, x = np.mgrid[0:side, 0:side] / side
    made = []
    for label in labels:
        angle = np.pi * label / CLASSES + random.normal(0, 0.08)
        wave = np.sin(2 * np.pi * 4 * (x * np.cos(angle) + y * np.sin(angle)) + random.uniform(0, 6))
        colour = random.uniform(60, 120, 3)
        made.append(128 + wave[..., None] * colour + random.normal(0, 8, (side, side, 3)))
    return np.clip(np.stack(made), 0, 255).astype(np.uint8), labels.astype(np.int64)


def write_task(folder: Path, images: int = 90, side: int = 32) -> tuple[str, str, str]:
    """A factory file, a checkpoint trained for a moment and an npz: (model spec, weights, data spec)."""
    network = trained(side)
    (folder / "net.py").write_text(FACTORY)
    checkpoint.write(folder / "net.pth", network.state_dict(), extras={}, metadata={})
    pixels, labels = pictures(images, side)
    np.savez(folder / "data.npz", images=pixels, labels=labels)
    return f"{folder / 'net.py'}:tiny", str(folder / "net.pth"), f"npz:{folder / 'data.npz'}"


def trained(side: int = 32, steps: int = 60) -> nn.Sequential:
    """The tiny network after a few steps on other pictures of the same kind; deterministic."""
    torch.manual_seed(0)
    network = tiny()
    pixels, labels = pictures(256, side, seed=11)
    inputs = normalized(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
    targets = torch.from_numpy(labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(steps):
        part = torch.arange(step * 32, step * 32 + 32) % 256
        loss = nn.functional.cross_entropy(network(inputs[part]), targets[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def normalized(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 (B, 3, H, W) → float32, ImageNet mean and std, written plainly."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (pixels.float() / 255 - mean) / std
