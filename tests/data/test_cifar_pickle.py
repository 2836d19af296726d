"""Pickles are read, never run."""

from __future__ import annotations

import os
import pickle
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lnbench.data.cifar_pickle import read_pickle


def python2_batch(rows: np.ndarray, labels: list[int], label_key: str = "labels") -> bytes:
    """A CIFAR batch as Python 2 wrote it (protocol 2, byte strings, numpy.core), opcode by opcode."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    raw = rows.tobytes()
    dtype = (
        b"cnumpy\ndtype\n(" + text(b"u1") + b"K\0K\1tR(K\3" + text(b"|") + b"NNN" + number(-1) * 2 + b"K\0tb"
    )
    shape = number(rows.shape[0]) + number(rows.shape[1]) + b"\x86"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\1(cnumpy\nndarray\n(K\0t" + text(b"b") + b"tR"
        + b"(K\1" + shape + dtype + b"\x89T" + struct.pack("<I", len(raw)) + raw + b"tb"
    )  # fmt: skip
    numbers = b"](" + b"".join(number(label) for label in labels) + b"e"
    items = text(b"data") + array + text(label_key.encode()) + numbers + text(b"batch_label") + text(b"x")
    return b"\x80\x02}q\0(" + items + b"u."


def test_python_2_batch_as_pythons_own_unpickler_reads_it() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
    data = python2_batch(rows, [5, 0, 9])
    oracle = pickle.loads(data, encoding="latin1")
    np.testing.assert_array_equal(oracle["data"], rows)
    result = read_pickle(data)
    np.testing.assert_array_equal(result.pop("data"), oracle.pop("data"))
    assert result == oracle


ARRAYS = st.tuples(
    st.sampled_from(["u1", "i1", "<u2", ">i4", "<i8"]), st.tuples(st.integers(0, 4), st.integers(0, 4))
).map(lambda p: np.arange(p[1][0] * p[1][1]).reshape(p[1]).astype(p[0]))
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=4), inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), PLAIN, max_size=6), ARRAYS, st.integers(2, 5))
def test_plain_data_of_every_protocol(plain: dict[str, Any], array: np.ndarray, protocol: int) -> None:
    fortran = np.asfortranarray(array)
    content = {**plain, "array": array, "fortran": fortran}
    result = read_pickle(pickle.dumps(content, protocol))
    for key, expected in (("array", array), ("fortran", fortran)):
        found = result.pop(key)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert result == {key: value for key, value in plain.items() if key not in ("array", "fortran")}


class Runs:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "call",
    [
        (os.mkdir, ("owned",)),
        (eval, ("__import__('os').mkdir('owned')",)),
        (getattr, ("text", "upper")),
        (np.load, ("owned",)),
        (np.array, ([1],)),
    ],
    ids=["mkdir", "eval", "getattr", "np.load", "np.array"],
)
def test_code_is_refused_by_name(
    call: Any, protocol: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({"data": Runs(*call)}, protocol)
    with pytest.raises(ValueError, match=r"refused: the pickle names \S+, which"):
        read_pickle(data)
    assert list(tmp_path.iterdir()) == []


def test_object_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="does not hold integers"):
        read_pickle(pickle.dumps({"data": np.array([None])}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x02.",
        b"\x80\x02]q\0.",
        b"\x80\x02}(u",
        b"\x80\x02r\xff\xff\xff\xff.",
        b"\x80\x04\x96" + struct.pack("<Q", 1 << 50) + b"x.",
        b"\x80\x02}](]](e.",
        b"T\xff\xff\xff\x7fabc.",
        b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.",  # a key of nested tuples
        b"\x80\x02}X\x01\0\0\0a)" + b"\x85" * 200_000 + b"s.",
        b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s.",  # of 2^60 items that share memory
        b"\x80\x02}(" + b"\x8a\x08" + (2**61 - 1).to_bytes(8, "little") + b"Nu.",  # a key of chosen hash
    ],
)
def test_damaged_or_greedy_pickles(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_pickle(data)


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_damaged_batches_give_a_value_error_or_a_dict(data: st.DataObject) -> None:
    rows = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    whole = bytearray(
        python2_batch(rows, [1, 2]) if data.draw(st.booleans()) else pickle.dumps({"data": rows})
    )
    for _ in range(data.draw(st.integers(1, 5))):
        # The pixels in the middle are uninteresting: most damage goes to both ends.
        place = data.draw(st.integers(-150, 150)) % max(1, len(whole))
        if data.draw(st.booleans()):
            whole[place : place + 1] = bytes([data.draw(st.integers(0, 255))])
        else:
            del whole[place : place + data.draw(st.integers(1, 9))]
    with suppress(ValueError):
        assert isinstance(read_pickle(bytes(whole)), dict)


def test_a_pickle_of_many_steps_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lnbench.data.cifar_pickle._MOST_STEPS", 100)
    with pytest.raises(ValueError, match="more parts than it needs"):
        read_pickle(b"\x80\x02]" + b"N" * 150 + b".")
