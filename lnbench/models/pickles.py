"""A look into a pickle without running it: the globals it names, and whether it is a trap.

torch's restricted unpickler runs no foreign code, yet a hostile file can still hurt: a tuple nested a million
deep crashes the interpreter when it is hashed as a dict key, one that shares its halves takes for ever to
hash, `bytearray(10**12)` fills the memory. This walk finds such things first, and tells a person every name
a file wants beyond plain weights, not only the first. No torch.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterable
from typing import Protocol

# A real checkpoint's tuples are sizes, strides and short argument lists, or a few thousand class names.
MAX_DEPTH = 100
MAX_ITEMS = 100_000
TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
# What files of weights are made of: a part of what torch's restricted unpickler allows.
PLAIN = re.compile(
    r"collections\.(OrderedDict|Counter)|(builtins|__builtin__)\.(set|complex)|_codecs\.encode"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state)"
    r"|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.Parameter|torch\.serialization\._get_layout"
    r"|torch\.(cuda\.|storage\.)?\w+Storage|torch\.(Size|device|bool|bfloat16|float\w+|u?int\d+)"
)

# Depth and number of items of a value, counted as hashing would: 0 and 1 for everything but tuples.
Extent = tuple[int, int]
ATOM: Extent = (0, 1)


class Stream(Protocol):
    """What pickletools reads from."""

    def read(self, count: int, /) -> bytes: ...
    def readline(self) -> bytes: ...
    def tell(self) -> int: ...


def blocked_globals(stream: Stream) -> list[str]:
    """Walk one pickle from the stream's position to behind its STOP; the globals no plain weights need.

    Raises ValueError for a pickle that is cut short, malformed, or grows one of the traps above.
    """
    blocked: dict[str, None] = {}
    stack: list[Extent | None] = []  # None is a mark
    memo: dict[int, Extent] = {}
    for opcode, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]
        name = opcode.name
        if name in ("GLOBAL", "INST"):
            path = str(argument).replace(" ", ".")
            if not PLAIN.fullmatch(path):
                blocked[path] = None
        if name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if name == "MEMOIZE" else int(argument or 0)] = top(stack)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo.get(int(argument or 0), ATOM))
        elif name == "DUP":
            stack.append(top(stack))
        else:
            popped = pop(stack, opcode.stack_before)
            extent = measure(popped) if name in TUPLES else ATOM
            for pushed in opcode.stack_after:
                stack.append(None if pushed is pickletools.markobject else extent)
    return list(blocked)


def top(stack: list[Extent | None]) -> Extent:
    return (stack[-1] if stack else ATOM) or ATOM


def pop(stack: list[Extent | None], before: Iterable[object]) -> list[Extent]:
    """Take what an opcode consumes: down to and with the last mark when it wants one, else item by item."""
    wanted = list(before)
    popped: list[Extent] = []
    if pickletools.markobject in wanted:
        while stack and (item := stack.pop()) is not None:
            popped.append(item)
        wanted = wanted[: wanted.index(pickletools.markobject)]
    for _ in wanted:
        if not stack:
            raise ValueError("it takes from an empty stack")
        popped.append(stack.pop() or ATOM)
    return popped


def measure(items: list[Extent]) -> Extent:
    depth = 1 + max((item[0] for item in items), default=0)
    count = 1 + sum(item[1] for item in items)
    if depth > MAX_DEPTH or count > MAX_ITEMS:
        raise ValueError("its tuples are nested deeper than weights need")
    return depth, count
