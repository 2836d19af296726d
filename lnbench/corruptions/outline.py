"""Outlines of a layer and the distance to them, batched: OpenCV's Canny and distanceTransform."""

from __future__ import annotations

from lnbench.lazy import torch

# Rounds of edge following; each reaches one pixel further from a strong edge along weak ones. In the
# layers of every table, 4 already leave no edge out in a hundred.
FOLLOW = 8

# Chamfer costs of a step straight, diagonal and by a knight's move: OpenCV's 1, 1.4 and 2.1969 (5×5
# mask, in units of 2^-16) in units of 1/965, where all three come
# close to whole numbers and no sum overflows 16 bits.
UNIT = 965
COSTS = _STRAIGHT, _DIAGONAL, _KNIGHT = 965, 1351, 2120
FAR = 20  # distances from here on are all the same, in pixels

# Rows, columns and cost of every step that `distance` takes, in turn.
STEPS = tuple(
    (y * steps, x * steps, cost * steps)
    for cost, directions, lengths in (
        (_STRAIGHT, ((0, 1), (1, 0)), (1, 2, 4, 8, 4)),
        (_DIAGONAL, ((1, 1), (1, -1)), (1, 2, 4, 7)),
        (_KNIGHT, ((1, 2), (2, 1), (1, -2), (2, -1)), (1, 2, 4, 2)),
    )
    for y, x in directions
    for steps in lengths
)


def canny(layer: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """Mark edges as cv2.Canny does: int16 (B, H, W) of 0–255 -> uint8 (B, H, W), 255 on edges.

    Weak edges are followed for at most FOLLOW pixels from a strong one; OpenCV follows without limit.
    Conditions are kept as integers with all bits set or none: on CPUs far faster than booleans.
    """
    rows = torch.cat((layer[:, :1], layer, layer[:, -1:]), 1)
    padded = torch.cat((rows[:, :, :1], rows, rows[:, :, -1:]), 2)
    across = padded[:, :, 2:] - padded[:, :, :-2]
    across = across[:, :-2] + across[:, 2:] + across[:, 1:-1] * 2
    down = padded[:, 2:] - padded[:, :-2]
    down = down[:, :, :-2] + down[:, :, 2:] + down[:, :, 1:-1] * 2
    falling = (across ^ down).bitwise_right_shift_(15)  # the gradient points along the other diagonal
    flat, steep = directions(across.abs_(), down.abs_())
    strength = across + down
    batch, height, width = strength.shape
    around = strength.new_zeros((batch, height + 2, width + 2))
    around[:, 1:-1, 1:-1] = strength

    def above(y: int, x: int) -> torch.Tensor:
        """Where the strength is greater than the neighbor's."""
        neighbor = around[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width]
        return (neighbor - strength).bitwise_right_shift_(15)

    def not_below(y: int, x: int) -> torch.Tensor:
        neighbor = around[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width]
        return (strength - neighbor).bitwise_right_shift_(15).bitwise_not_()

    peak = above(-1, -1).bitwise_and_(above(1, 1)).bitwise_and_(~falling)
    peak |= above(-1, 1).bitwise_and_(above(1, -1)).bitwise_and_(falling)
    peak &= (flat | steep).bitwise_not_()
    peak |= above(0, -1).bitwise_and_(not_below(0, 1)).bitwise_and_(flat)
    peak |= above(-1, 0).bitwise_and_(not_below(1, 0)).bitwise_and_(steep)
    weak = peak.bitwise_and_((low - strength).bitwise_right_shift_(15))
    strong = weak & (high - strength).bitwise_right_shift_(15)
    return _follow(strong.to(torch.uint8), weak.to(torch.uint8))


def directions(across: torch.Tensor, down: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tell where gradients with these absolute parts are flat and where steep: int16 -> int16 masks.

    By the tangents of 22.5° and 67.5° in OpenCV's 15-bit fixed point.
    """
    x, y = across.to(torch.float32), down.to(torch.float32)
    flat, steep = torch.sub(y, x, alpha=13573 / 2**15), torch.sub(x * (79109 / 2**15), y)
    return _negative(flat), _negative(steep)


def _negative(values: torch.Tensor) -> torch.Tensor:
    """Return the sign bit of float32, as an int16 mask."""
    return values.view(torch.int32).bitwise_right_shift_(31).to(torch.int16)


def _follow(strong: torch.Tensor, weak: torch.Tensor) -> torch.Tensor:
    """Grow the strong edges along the weak ones, 8-connected."""
    batch, height, width = strong.shape
    edges = strong.new_zeros((batch, height + 2, width + 2))
    inner = edges[:, 1:-1, 1:-1]
    inner.copy_(strong)
    for _ in range(FOLLOW):
        rows = edges[:, :, :-2] | edges[:, :, 1:-1]
        rows |= edges[:, :, 2:]
        near = rows[:, :-2] | rows[:, 1:-1]
        near |= rows[:, 2:]
        torch.bitwise_and(near, weak, out=inner)
    return inner


def distance(edges: torch.Tensor) -> torch.Tensor:
    """Return the chamfer distance to the nearest edge, at most FAR: uint8 (B, H, W) -> int16, in 1 / UNIT.

    OpenCV's distanceTransform(DIST_L2, 5). Along the eight directions of the mask in turn, the least
    over steps of either sign, by doubling: exact because a shortest path uses neighboring directions
    only, and so stays inside the picture in any order.
    """
    field = (~edges).view(torch.int8).to(torch.int16).bitwise_and_(FAR * UNIT)  # edges are 255
    for y, x, cost in STEPS:
        _relax(field, y, x, cost)
    return field


def _relax(field: torch.Tensor, y: int, x: int, cost: int) -> None:
    """Take the least of the field and its copies moved by ±(y, x) plus `cost`, in place."""
    height, width = field.shape[1:]
    if y >= height or abs(x) >= width:
        return
    moved = field + cost
    ahead = field[:, y:, max(x, 0) : width + min(x, 0)]
    behind = field[:, : height - y, max(-x, 0) : width + min(-x, 0)]
    moved_ahead = moved[:, y:, max(x, 0) : width + min(x, 0)]
    moved_behind = moved[:, : height - y, max(-x, 0) : width + min(-x, 0)]
    torch.minimum(ahead, moved_behind, out=ahead)
    torch.minimum(behind, moved_ahead, out=behind)
