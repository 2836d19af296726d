"""Run by test_fused.py where Triton interprets: every fused form beside its reference, in one process."""

from __future__ import annotations

import json

import torch

from lnbench.corruptions import fused, registry
from lnbench.corruptions.rng import Key
from tests.test_device import photographs


def pictures() -> torch.Tensor:
    """Photographs, and the levels at which roundings show: greys, black, white, primaries, ties."""
    made = photographs(3, 40)[:, :, :, :37].contiguous()
    steps = torch.tensor([0, 1, 51, 102, 127, 153, 254, 255], dtype=torch.uint8)
    cube = torch.cartesian_prod(steps, steps, steps).T.reshape(3, -1)
    flat = made[2].reshape(3, -1)
    flat[:, : cube.shape[1]] = cube
    made[2] = flat.view_as(made[2])
    return made


def main() -> None:
    pixels, ids = pictures(), torch.tensor([7, 8, 2**40])
    for name in fused.HOMES:
        kernel = fused.written(name)
        assert kernel is not None
        found = {}
        for severity in range(1, 6):
            parameters, key = registry.parameters("imagenet", name, severity), Key(3, ids).stream(name)
            wanted = registry.find(name).kernel(pixels, parameters, key)
            found[severity] = int((kernel(pixels, parameters, key) != wanted).sum())
        print(json.dumps({name: found}), flush=True)


if __name__ == "__main__":
    main()
