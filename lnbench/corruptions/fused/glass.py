"""Glass blur's copying: every pixel follows its own chain of moves, where the reference doubles pointers."""

from __future__ import annotations

import triton
import triton.language as tl

from lnbench.corruptions import blur, rng
from lnbench.corruptions.fused.blur import gaussian_blur
from lnbench.corruptions.fused.random import level, states
from lnbench.lazy import torch

DRAWN, FOLLOWED = (
    512,
    64,
)  # pixels of one program; few follow together, as the longest chain keeps all waiting


@triton.jit
def draw(moves, states, delta, height, width, BLOCK: tl.constexpr):
    """How far off each pixel's source lies, 0 where the loop does not come by: int32 (passes · B, H·W)."""
    field = tl.program_id(1)
    size = height * width
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    first, second = tl.load(states + 2 * field), tl.load(states + 2 * field + 1)
    row, column = place // width, place % width
    visited = (row > delta) & (row <= height - delta) & (column > delta) & (column <= width - delta)
    right = ((level(place, first, second) * (2 * delta)) >> 16) - delta
    down = ((level(size + place, first, second) * (2 * delta)) >> 16) - delta
    move = tl.where(visited, down * width + right, 0)
    tl.store(moves + field.to(tl.int64) * size + place, move, mask=place < size)


@triton.jit
def follow(pixels, out, moves, images, passes, size, LINKS: tl.constexpr, BLOCK: tl.constexpr):
    """Each pixel from the end of its chain, the last pass first; see `blur.copy_sources`."""
    image = tl.program_id(1)
    start = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = start < size
    place = start
    for behind in range(passes):
        field = moves + ((passes - 1 - behind) * images + image).to(tl.int64) * size
        going = inside
        links = 0
        while (links < LINKS) & (tl.max(going.to(tl.int32), axis=0) > 0):
            move = tl.load(field + place, mask=going, other=0)
            place += move
            # What lies behind has been visited before and goes on; anything else is as it was.
            going = move > 0
            links += 1
    plane = image.to(tl.int64) * 3 * size
    for channel in tl.static_range(3):
        copied = tl.load(pixels + plane + channel * size + place, mask=inside, other=0)
        tl.store(out + plane + channel * size + start, copied, mask=inside)


def glass_blur(pixels: torch.Tensor, parameters: tuple[float, ...], key: rng.Key) -> torch.Tensor:
    """As `blur.glass_blur`."""
    sigma, max_delta, iterations = parameters
    shuffled = shuffle(gaussian_blur(pixels, (sigma,), key), int(max_delta), int(iterations), key)
    return gaussian_blur(shuffled, (sigma,), key)


def shuffle(pixels: torch.Tensor, delta: int, passes: int, key: rng.Key) -> torch.Tensor:
    """What `passes` of the copying loop make of the pixels."""
    images, (height, width), size = len(pixels), pixels.shape[2:], pixels[0, 0].numel()
    drawn = states(*(key.stream(number) for number in range(passes)))
    moves = torch.empty((passes * images, size), dtype=torch.int32, device=pixels.device)
    draw[(triton.cdiv(size, DRAWN), passes * images)](
        moves, drawn, delta, height, width, BLOCK=DRAWN, enable_fp_fusion=False
    )
    out = torch.empty_like(pixels)
    follow[(triton.cdiv(size, FOLLOWED), images)](
        pixels, out, moves, images, passes, size,
        LINKS=1 << blur._GLASS_DOUBLINGS, BLOCK=FOLLOWED, num_warps=1,
        enable_fp_fusion=False,
    )  # fmt: skip
    return out
