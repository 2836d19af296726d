"""The dict in a CIFAR batch, a Python 2 pickle, read without running anything that it names.

`pickles` walks it first: bounded steps, flat tuples, text as keys, no names but those below. For these
Python's unpickler then gets stand-ins of ours, which note what the file says of an array; arrays are made at
the end, when everything said of them can be checked.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lnbench.pickles import blocked_globals

_DTYPES = {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"}
_MOST_STEPS = 2_000_000  # CIFAR-100's training batch, with its file names, has some 200,000


@dataclass
class _Dtype:
    code: str
    order: str = "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


@dataclass
class _Array:
    """A NumPy array as the file describes it, before anything is checked."""

    shape: Any = ()
    dtype: Any = None
    fortran: Any = False
    raw: Any = b""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.fortran, self.raw = state


class _Nothing:
    """`numpy.ndarray` as an argument: a name that nothing is made of."""

    def __new__(cls, *_: Any) -> _Nothing:
        raise ValueError("refused: the pickle calls something that is no array")


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in old protocols."""
    if encoding != "latin1":
        raise ValueError("refused: the pickle asks for another encoding than latin1")
    return text.encode("latin-1")


def _empty() -> bytes:
    """`bytes()`, which stands there for b""."""
    return b""


_STAND_INS: dict[str, Callable[..., Any]] = {
    "numpy.core.multiarray._reconstruct": lambda *_: _Array(),
    "numpy.core.numeric._frombuffer": lambda raw, dtype, shape, order: _Array(
        shape, dtype, order == "F", raw
    ),
    "numpy.ndarray": _Nothing,
    "numpy.dtype": lambda code, *_: _Dtype(str(code)),
    "_codecs.encode": _encode,
    "builtins.bytes": _empty,
}


def _plain_name(name: str) -> str:
    """A name as today's Python and NumPy spell it, or as it stands there."""
    return name.replace("numpy._core.", "numpy.core.").replace("__builtin__.", "builtins.")


_KNOWN = re.compile(
    r"numpy\._?core\.(multiarray\._reconstruct|numeric\._frombuffer)|numpy\.(ndarray|dtype)"
    r"|_codecs\.encode|(__builtin__|builtins)\.bytes"
)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _STAND_INS.get(_plain_name(f"{module}.{name}"))
        if found is None:
            raise ValueError(f"refused: the pickle names {module}.{name}, which is not plain data")
        return found

    def persistent_load(self, _: Any) -> Any:
        raise ValueError("refused: the pickle points outside of itself")


def read_pickle(data: bytes) -> dict[Any, Any]:
    """The dict in a pickle of plain containers and integer arrays; raises ValueError for anything else.

    Byte strings of Python 2 come out as `str` (latin-1). Arrays among the values are ndarrays.
    """
    try:
        for name in blocked_globals(io.BytesIO(data), _KNOWN, most_steps=_MOST_STEPS, strict=True):
            if name != "a class named at run time":  # `find_class` sees those
                raise ValueError(f"refused: the pickle names {name}, which is not plain data")
        result = _Unpickler(io.BytesIO(data), encoding="latin1").load()
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


def _as_array(array: _Array) -> npt.NDArray[Any]:
    """Build the array, now that every part of its description can be checked."""
    if not isinstance(array.dtype, _Dtype) or array.dtype.code not in _DTYPES:
        raise ValueError("an array that does not hold integers")
    dtype = np.dtype(array.dtype.code)
    if array.dtype.order == ">":
        dtype = dtype.newbyteorder(">")
    raw = array.raw.encode("latin-1") if isinstance(array.raw, str) else bytes(memoryview(array.raw))
    order = "F" if array.fortran else "C"
    return np.frombuffer(raw, dtype).reshape([int(side) for side in array.shape], order=order)  # type: ignore[call-overload,no-any-return]
