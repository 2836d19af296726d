"""A look into a pickle without running it: the globals it names, and whether it is a trap.

The one reader of pickles from strangers, for weights and for the batches of CIFAR. What it has passed may be
handed to an unpickler that knows a few harmless names, torch's restricted one or Python's with stand-ins;
such unpicklers run no foreign code, yet a hostile file can still hurt them: a tuple nested a million deep
crashes the interpreter when it is hashed as a dict key, one that shares its halves takes for ever to hash,
keys that collide take the square of their number, a set of a broadcast tensor's values or
`bytearray(10**12)` or the two billionth place of a memo fills the memory. This walk finds such things first,
and tells every name a file wants beyond plain data, not only the first one. No torch.
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
TEXTS = ("STRING", "UNICODE", "BYTES", "BYTEARRAY")  # of opcodes' names
TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
# Whole numbers from here on can be picked so that they collide as keys (hashes are taken modulo 2**61 - 1).
LARGE_NUMBER = 1 << 60
MAX_LARGE = 1000
MAX_ODD_KEYS = 1000  # that are neither text nor whole numbers
# Some 30 for each tensor, and one for each figure of a training's history.
MOST_STEPS = 10_000_000
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

    `tag` is "text", "number", "made" for what a call returned (a tensor, which may be a broadcast of
    enormous extent) and for tuples that hold such, "container" for types that would take its values one by
    one.
    """

    depth: int = 0
    size: int = 1
    tag: str = ""


class Pickled(Protocol):
    """What pickletools reads from."""

    def read(self, count: int, /) -> bytes: ...
    def readline(self) -> bytes: ...
    def tell(self) -> int: ...


def blocked_globals(
    stream: Pickled,
    plain: re.Pattern[str] = PLAIN,
    *,
    most_steps: int = MOST_STEPS,
    strict: bool = False,
) -> list[str]:
    """Walk one pickle from the stream's position to behind its STOP; the globals that are not `plain`.

    `strict`: nothing but text is a key, and nothing but what a call returned is given a state. Raises
    ValueError for a pickle that is cut short, malformed, longer than `most_steps`, or grows one of the traps
    above.
    """
    blocked: dict[str, None] = {}
    stack: list[Value | None] = []  # None is a mark
    memo: dict[int, Value] = {}
    large = odd = 0
    for step, (opcode, argument, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
        if step > most_steps:
            raise ValueError("it has more parts than it needs")
        name = opcode.name
        if name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            place = len(memo) if name == "MEMOIZE" else int(argument or 0)
            if place > 2 * step + 1000:
                raise ValueError("it claims a place in the memo that it does not reach")
            memo[place] = top(stack)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo.get(int(argument or 0), Value()))
        elif name == "DUP":
            stack.append(top(stack))
        else:
            popped = pop(stack, opcode.stack_before)
            odd += check_keys(name, popped, strict)
            if strict and name == "BUILD" and popped[1].tag != "made":
                raise ValueError("refused: it sets the state of what is no array")
            large += isinstance(argument, int) and abs(argument) >= LARGE_NUMBER
            if large > MAX_LARGE or odd > MAX_ODD_KEYS:
                raise ValueError("its keys could be picked to collide")
            value = result(name, argument, popped)
            for pushed in opcode.stack_after:
                stack.append(None if pushed is pickletools.markobject else value)
        if name in ("GLOBAL", "INST", "STACK_GLOBAL"):
            path = str(argument).replace(" ", ".", 1) if argument else "a class named at run time"
            if not plain.fullmatch(path):
                blocked[path] = None
    return list(blocked)


def check_keys(name: str, popped: list[Value], strict: bool) -> int:
    """How many keys that are no text and no number an opcode puts into a dict. ValueError if it must not."""
    if name == "SETITEM":
        keys = popped[1:2]
    elif name == "SETITEMS":
        keys = popped[1:-1:2]  # last first: value, key, value, key, …, and the dict below the mark
    elif name == "DICT":
        keys = popped[1::2]
    else:
        return 0
    if strict and any(key.tag != "text" for key in keys):
        raise ValueError("refused: something other than text as a key")
    return sum(key.tag not in ("text", "number") for key in keys)


def top(stack: list[Value | None]) -> Value:
    """What lies on top of the stack; an unknown value where nothing does."""
    return (stack[-1] if stack else None) or Value()


def pop(stack: list[Value | None], before: Iterable[object]) -> list[Value]:
    """Take what an opcode consumes, last first: down to and with the last mark, or item by item.

    Raises ValueError where the stack has too little.
    """
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
    if isinstance(argument, str | bytes) and any(kind in name for kind in TEXTS):
        text = argument if isinstance(argument, str) else argument[:20].decode("latin-1")
        if text.lower() not in SLOW:
            return Value(tag="text")
        raise ValueError("it names an encoding whose time grows with the square of the text")
    if name == "GLOBAL":
        return Value(tag="container" if CONTAINER.fullmatch(str(argument)) else "")
    if name in ("REDUCE", "NEWOBJ"):
        arguments, function = popped[0], popped[1]
        if arguments.tag == "made" and function.tag == "container":
            raise ValueError("it makes a container of a tensor's single values")
        return Value(tag="made")
    if isinstance(argument, int) and name not in ("EXT1", "EXT2", "EXT4"):
        return Value(tag="number")
    return Value(tag="made" if name in ("BUILD", "BINPERSID", "PERSID") else "")
