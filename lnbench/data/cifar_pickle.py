"""Read the containers and arrays of a pickle without running anything in it.

The CIFAR batches are Python 2 pickles. Python's own unpickler is not let near files from strangers,
restricted or not: it calls what the file names, and a few bytes can make it allocate all memory. This
one knows the opcodes of dicts, lists, tuples, strings, numbers and NumPy arrays, and nothing else.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

_RECONSTRUCT = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
_FROMBUFFER = {"numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer"}
_ENCODE = {"_codecs encode"}  # how Python 3 writes bytes in old protocols
_EMPTY_BYTES = {"__builtin__ bytes", "builtins bytes"}  # called without arguments for b"" there
_TYPES = {"numpy ndarray", "numpy dtype"}
_KNOWN = _RECONSTRUCT | _FROMBUFFER | _ENCODE | _EMPTY_BYTES | _TYPES

_DTYPES = {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"}

_PUSH = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, type] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_MARK = object()
_MOST_DEPTH = 8
_MOST_STEPS = 2_000_000  # CIFAR-100's training batch, with its file names, has some 200,000


@dataclass(frozen=True)
class _Global:
    """A name the file refers to; never looked up."""

    name: str


@dataclass
class _Dtype:
    code: str
    order: str = "|"


@dataclass
class _Array:
    """A NumPy array as the file describes it, before anything is checked."""

    shape: Any = ()
    dtype: Any = None
    fortran: Any = False
    raw: Any = b""


def read_pickle(data: bytes) -> dict[Any, Any]:
    """The dict in a pickle of plain containers and integer arrays; raises ValueError for anything else.

    Byte strings of Python 2 come out as `str` (latin-1). Arrays among the values are ndarrays.
    """
    try:
        result = _run(data)
        if not isinstance(result, dict):
            raise ValueError(f"holds a {type(result).__name__}, not a dict")
        return {
            key: _as_array(value) if isinstance(value, _Array) else value for key, value in result.items()
        }
    except ValueError:
        raise
    except Exception as error:
        # A damaged pickle pops empty stacks, hashes lists, indexes strings, …
        raise ValueError(f"damaged pickle ({type(error).__name__})") from error


def _run(data: bytes) -> Any:
    """Interpret the opcodes; the stack machine of the `pickletools` documentation, without calls."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for step, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if step > _MOST_STEPS:
            raise ValueError("a pickle of more parts than a batch of images has")
        name = opcode.name
        if name in _PUSH:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            _operate(name, argument, stack)
    raise ValueError("pickle without an end")


def _operate(name: str, argument: Any, stack: list[Any]) -> None:
    """Carry out one opcode that builds something from what lies on the stack."""
    if name == "GLOBAL":
        stack.append(_known(argument))
    elif name == "STACK_GLOBAL":
        attribute, module = stack.pop(), stack.pop()
        stack.append(_known(f"{module} {attribute}"))
    elif name == "APPEND":
        value = stack.pop()
        _list(stack).append(value)
    elif name == "APPENDS":
        values = _pop_mark(stack)
        _list(stack).extend(values)
    elif name == "SETITEM":
        value, key = stack.pop(), stack.pop()
        _dict(stack)[_key(key)] = value
    elif name == "SETITEMS":
        values = _pop_mark(stack)
        _dict(stack).update(zip(map(_key, values[::2]), values[1::2], strict=True))
    elif name == "DICT":
        values = _pop_mark(stack)
        stack.append(dict(zip(map(_key, values[::2]), values[1::2], strict=True)))
    elif name == "LIST":
        stack.append(_pop_mark(stack))
    elif name == "TUPLE":
        stack.append(_tuple(_pop_mark(stack)))
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        length = int(name[-1])
        stack[-length:] = [_tuple(stack[-length:])]
    elif name == "REDUCE":
        arguments, function = stack.pop(), stack.pop()
        stack.append(_called(function, arguments))
    elif name == "BUILD":
        state = stack.pop()
        _set_state(stack[-1], state)
    else:
        raise ValueError(f"refused: the pickle uses {name}, which plain data do not need")


def _known(name: str) -> _Global:
    if name not in _KNOWN:
        raise ValueError(f"refused: the pickle names {name.replace(' ', '.')}, which is not plain data")
    return _Global(name)


def _pop_mark(stack: list[Any]) -> list[Any]:
    values: list[Any] = []
    while (value := stack.pop()) is not _MARK:
        values.append(value)
    return values[::-1]


def _tuple(values: list[Any]) -> tuple[Any, ...]:
    """Tuples of an array's description; deep ones crash or stall whatever walks through them."""
    _check_depth(values, _MOST_DEPTH)
    return tuple(values)


def _check_depth(values: Iterable[Any], left: int) -> None:
    if left == 0:
        raise ValueError("refused: tuples nested deeper than arrays need")
    for value in values:
        if isinstance(value, tuple):
            _check_depth(value, left - 1)


def _key(key: Any) -> Any:
    """Text, whose hash nobody can choose: numbers can be picked to collide."""
    if not isinstance(key, (str, bytes)):
        raise ValueError(f"refused: a {type(key).__name__} as a key")
    return key


def _list(stack: list[Any]) -> list[Any]:
    if not isinstance(stack[-1], list):
        raise ValueError("damaged pickle (items for what is no list)")
    return stack[-1]


def _dict(stack: list[Any]) -> dict[Any, Any]:
    if not isinstance(stack[-1], dict):
        raise ValueError("damaged pickle (items for what is no dict)")
    return stack[-1]


def _called(function: Any, arguments: Any) -> Any:
    """Stand in for the few calls that describe arrays and bytes."""
    name = function.name if isinstance(function, _Global) else ""
    if name in _RECONSTRUCT:
        return _Array()
    if name == "numpy dtype":
        return _Dtype(str(arguments[0]))
    if name in _ENCODE and arguments[1:] == ("latin1",):
        return arguments[0].encode("latin-1")
    if name in _EMPTY_BYTES and arguments == ():
        return b""
    if name in _FROMBUFFER:
        raw, dtype, shape, order = arguments
        return _Array(shape, dtype, order == "F", raw)
    raise ValueError("refused: the pickle calls something that is no array")


def _set_state(target: Any, state: Any) -> None:
    if isinstance(target, _Dtype):
        target.order = state[1]
    elif isinstance(target, _Array):
        _, target.shape, target.dtype, target.fortran, target.raw = state
    else:
        raise ValueError("refused: the pickle sets the state of what is no array")


def _as_array(array: _Array) -> np.ndarray[Any, np.dtype[Any]]:
    """Build the array, now that every part of its description can be checked."""
    if not isinstance(array.dtype, _Dtype) or array.dtype.code not in _DTYPES:
        raise ValueError("an array that does not hold integers")
    dtype = np.dtype(array.dtype.code)
    if array.dtype.order == ">":
        dtype = dtype.newbyteorder(">")
    raw = array.raw.encode("latin-1") if isinstance(array.raw, str) else bytes(memoryview(array.raw))
    order = "F" if array.fortran else "C"
    return np.frombuffer(raw, dtype).reshape([int(side) for side in array.shape], order=order)  # type: ignore[call-overload,no-any-return]
