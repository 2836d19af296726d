"""Run by test_fused.py where Triton interprets: every fused form beside its reference, in one process."""

from __future__ import annotations

import json

import torch

from lnbench.corruptions import fused, registry
from lnbench.corruptions.rng import Key
from tests.test_device import photographs

# Where the interpreter takes seconds, the severity that does most; where severities differ in kind, more.
SLOW = {
    "defocus_blur": (5,),
    "gaussian_blur": (1,),
    "glass_blur": (1,),
    "jpeg_compression": (5,),
    "spatter": (1, 2, 3, 5),
    "zoom_blur": (5,),
}


def pictures() -> torch.Tensor:
    """Photographs, and the levels at which roundings show: greys, black, white, primaries, ties."""
    made = photographs(2, 32)[:, :, :, :29].contiguous()
    steps = torch.tensor([0, 1, 51, 102, 127, 153, 254, 255], dtype=torch.uint8)
    cube = torch.cartesian_prod(steps, steps, steps).T.reshape(3, -1)
    flat = made[1].reshape(3, -1)
    flat[:, : cube.shape[1]] = cube
    made[1] = flat.view_as(made[1])
    return made


def main() -> None:
    pixels, ids = pictures(), torch.tensor([7, 2**40])
    for name in fused.HOMES:
        kernel = fused.written(name)
        assert kernel is not None
        found = {}
        for severity in SLOW.get(name, (2, 5)):
            parameters, key = registry.parameters("imagenet", name, severity), Key(3, ids).stream(name)
            wanted = registry.find(name).kernel(pixels, parameters, key)
            apart = (kernel(pixels, parameters, key).int() - wanted.int()).abs()
            found[severity] = [int(apart.max()), float((apart > 0).float().mean())]
        print(json.dumps({name: found}), flush=True)


if __name__ == "__main__":
    main()
