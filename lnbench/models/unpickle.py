"""A look into a pickle without running it: the globals it names, and whether it is a trap.

torch's restricted unpickler runs no foreign code, yet a hostile file can still hurt: a tuple nested a million
deep crashes the interpreter when it is hashed as a dict key, one that shares its halves takes for ever to
hash, a set of a broadcast tensor's values or `bytearray(10**12)` fills the memory. This walk finds such
things first, and tells every name a file wants beyond plain weights, not only the first one. No torch.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterable
from typing import NamedTuple, Protocol

# A real checkpoint's tuples are sizes, strides and short argument lists, or a few thousand class names.
MAX_DEPTH = 100
MAX_ITEMS = 100_000
# Encodings that `_codecs.encode` would run on a text of any length; weights need latin1 alone.
SLOW = {"punycode", "idna"}
TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
# What files of weights are made of: a part of what torch's restricted unpickler allows.
PLAIN = re.compile(
    r"collections\.(OrderedDict|Counter)|(builtins|__builtin__)\.(set|complex)|_codecs\.encode"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state)"
    r"|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.Parameter|torch\.serialization\._get_layout"
    r"|torch\.(cuda\.|storage\.)?\w+Storage|torch\.(Size|device|bool|bfloat16|float\w+|u?int\d+)"
)
# Those of them that would take a tensor apart into its single values.
CONTAINER = re.compile(
    r"collections (OrderedDict|Counter)|(builtins|__builtin__) set|torch (Size|\w+Storage)"
)


class Value(NamedTuple):
    """What the walk knows of a value: how deep and large its tuples are, counted as hashing would.

    `tag` is "made" for what a call returned (a tensor, which may be a broadcast of enormous extent) and for
    tuples that hold such, "container" for types that would take its values one by one.
    """

    depth: int = 0
    size: int = 1
    tag: str = ""


class Pickled(Protocol):
    """What pickletools reads from."""

    def read(self, count: int, /) -> bytes: ...
    def readline(self) -> bytes: ...
    def tell(self) -> int: ...


def blocked_globals(stream: Pickled) -> list[str]:
    """Walk one pickle from the stream's position to behind its STOP; the globals no plain weights need.

    Raises ValueError for a pickle that is cut short, malformed, or grows one of the traps above.
    """
    blocked: dict[str, None] = {}
    stack: list[Value | None] = []  # None is a mark
    memo: dict[int, Value] = {}
    for opcode, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]
        name = opcode.name
        if name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if name == "MEMOIZE" else int(argument or 0)] = top(stack)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo.get(int(argument or 0), Value()))
        elif name == "DUP":
            stack.append(top(stack))
        else:
            value = result(name, argument, pop(stack, opcode.stack_before))
            for pushed in opcode.stack_after:
                stack.append(None if pushed is pickletools.markobject else value)
        if name in ("GLOBAL", "INST", "STACK_GLOBAL"):
            path = str(argument).replace(" ", ".", 1) if argument else "a class named at run time"
            if not PLAIN.fullmatch(path):
                blocked[path] = None
    return list(blocked)


def top(stack: list[Value | None]) -> Value:
    return (stack[-1] if stack else None) or Value()


def pop(stack: list[Value | None], before: Iterable[object]) -> list[Value]:
    """Take what an opcode consumes, last first: down to and with the last mark, or item by item."""
    wanted = list(before)
    popped: list[Value] = []
    if pickletools.markobject in wanted:
        while stack and (item := stack.pop()) is not None:
            popped.append(item)
        wanted = wanted[: wanted.index(pickletools.markobject)]
    for _ in wanted:
        if not stack:
            raise ValueError("it takes from an empty stack")
        popped.append(stack.pop() or Value())
    return popped


def result(name: str, argument: object, popped: list[Value]) -> Value:
    """What an opcode leaves on the stack. ValueError when that would be a trap."""
    if name in TUPLES:
        depth = 1 + max((item.depth for item in popped), default=0)
        size = 1 + sum(item.size for item in popped)
        if depth > MAX_DEPTH or size > MAX_ITEMS:
            raise ValueError("its tuples are nested deeper than weights need")
        return Value(depth, size, "made" if any(item.tag == "made" for item in popped) else "")
    if isinstance(argument, str) and argument.lower() in SLOW:
        raise ValueError("it names an encoding whose time grows with the square of the text")
    if name == "GLOBAL":
        return Value(tag="container" if CONTAINER.fullmatch(str(argument)) else "")
    if name in ("REDUCE", "NEWOBJ"):
        arguments, function = popped[0], popped[1]
        if arguments.tag == "made" and function.tag == "container":
            raise ValueError("it makes a container of a tensor's single values")
        return Value(tag="made")
    return Value(tag="made" if name in ("BUILD", "BINPERSID", "PERSID") else "")
