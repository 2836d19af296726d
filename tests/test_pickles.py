"""The walk over a pickle: it passes what weights are made of, and sees traps without falling into them."""

from __future__ import annotations

import io
import pickle
import pickletools
import sys
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lnbench.pickles import MAX_DEPTH, MAX_ITEMS, MAX_LARGE, MAX_ODD_KEYS, blocked_globals

NONE, TUPLE1, TUPLE2, STOP = b"N", b"\x85", b"\x86", b"."
# Keys k·(2^61 - 1), whose hashes are all 0, and a value for each.
LARGE = [b"\x8a\x0c" + (k * (2**61 - 1)).to_bytes(12, "little") + b"N" for k in range(1, MAX_LARGE + 2)]
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
TENSOR = REBUILD + b"N" + TUPLE1 + b"R"  # what matters to the walk: the result of a call


def walk(content: bytes) -> list[str]:
    return blocked_globals(io.BytesIO(b"\x80\x02" + content))


def saved_pickles(value: object, **options: bool) -> list[bytes]:
    """The pickles inside a torch.save file."""
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    if options.get("_use_new_zipfile_serialization", True):
        with zipfile.ZipFile(stream) as archive:
            return [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
    stream.seek(0)
    found = []
    for _ in range(5):
        start = stream.tell()
        for _ in pickletools.genops(stream):
            pass
        found.append(stream.getvalue()[start : stream.tell()])
    return found


def training_state() -> dict[str, object]:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    # As torch.optim.AdamW and MultiStepLR write it; importing them takes seconds.
    averages = {"step": torch.tensor(1.0), "exp_avg": torch.ones(4), "exp_avg_sq": torch.ones(4)}
    group = {"lr": 0.1, "betas": (0.9, 0.999), "foreach": None, "amsgrad": False, "params": [0, 1]}
    optimizer = {"state": {0: averages, 1: averages}, "param_groups": [group]}
    scheduler = {"milestones": Counter([3, 5, 5]), "gamma": 0.1, "_last_lr": [0.1]}
    half = {name: value.half() for name, value in network.state_dict().items()}
    return {
        "state_dict": network.state_dict(),
        "half": half,
        "bfloat16": torch.ones(3, dtype=torch.bfloat16),
        "parameters": dict(network.named_parameters()),
        "optimizer": optimizer,
        "scheduler": scheduler,
        "shape": torch.ones(2, 3).shape,
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "epoch": 3,
        "classes": tuple(f"class {i}" for i in range(1000)),
        "seen": {1, 2},
        "bytes": b"abc",
        "ordered": OrderedDict(a=1),
    }


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_full_training_state_passes(new: bool) -> None:
    for content in saved_pickles(training_state(), _use_new_zipfile_serialization=new):
        assert blocked_globals(io.BytesIO(content)) == []


def test_shared_checkpoints_pass(shared: Path) -> None:
    for path in (shared / "checkpoints").glob("*.th"):
        with path.open("rb") as file:
            assert [name for _ in range(5) for name in blocked_globals(file)] == []


def test_every_blocked_name_is_told_once_in_order() -> None:
    assert walk(b"cos\nsystem\nX\x02\x00\x00\x00ls\x85Rcnumpy\nndarray\ncos\nsystem\n0.") == [
        "os.system",
        "numpy.ndarray",
    ]


def test_a_class_named_at_run_time_is_blocked() -> None:
    content = pickle.dumps(io.BytesIO, protocol=4)
    assert blocked_globals(io.BytesIO(content)) == ["a class named at run time"]


def test_old_instance_opcode_is_blocked() -> None:
    assert walk(b"(ios\nsystem\n.") == ["os.system"]


@pytest.mark.parametrize(
    "name", ["builtins\nbytearray", "__builtin__\nbytearray", "builtins\neval", "torch\nFloatTensor"]
)
def test_names_that_torch_or_python_might_allow_are_blocked(name: str) -> None:
    assert walk(b"c" + name.encode() + b"\n.") == [name.replace("\n", ".")]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b")" + TUPLE1 * 1_000_000, id="a million deep"),
        pytest.param(b")" + (b"q\x00h\x00" + TUPLE2) * 60, id="2^60 items that share memory"),
        pytest.param(b")" + (b"2" + TUPLE2) * 60, id="2^60 items by duplication"),
        pytest.param(b"(" + NONE * (MAX_ITEMS + 1) + b"t", id="one wide tuple"),
        pytest.param(b"cbuiltins\nset\n" + TENSOR + TUPLE1 + b"R", id="set of a tensor"),
        pytest.param(
            b"ccollections\nCounter\n" + TENSOR + b"q\x01" + TUPLE1 + b"R", id="counter of a tensor"
        ),
        pytest.param(b"ctorch\nSize\n" + b"NQ" + TUPLE1 + b"R", id="size of a storage"),
        pytest.param(b"ctorch\nSize\n" + TENSOR + TUPLE1 + b"\x81", id="size of a tensor by NEWOBJ"),
        pytest.param(b"c_codecs\nencode\nX\x08\0\0\0punycode", id="a slow encoding"),
        pytest.param(b"c_codecs\nencode\nX\x04\0\0\0IDNA", id="another slow encoding"),
        pytest.param(b"c_codecs\nencode\nU\x08punycode", id="a slow encoding as bytes"),
        pytest.param(b"}r\xff\xff\xff\x7f", id="a far place of the memo"),
        pytest.param(b"}(" + b"".join(LARGE), id="keys that collide"),
        pytest.param(b"](" + b"".join(number[:-1] for number in LARGE) + b"e", id="items that collide"),
        pytest.param(b"}(" + b"NN" * (MAX_ODD_KEYS + 1) + b"u", id="many odd keys"),
        pytest.param(b"}" + b"NNs" * (MAX_ODD_KEYS + 1), id="many odd keys one by one"),
        pytest.param(b"(" + b"NN" * (MAX_ODD_KEYS + 1) + b"d", id="many odd keys at once"),
    ],
)
def test_traps_are_refused(content: bytes) -> None:
    with pytest.raises(
        ValueError, match=r"nested deeper|single values|encoding whose|collide|does not reach"
    ):
        walk(content + STOP)


def test_the_limits_leave_room_for_real_tuples() -> None:
    assert walk(b")" + TUPLE1 * (MAX_DEPTH - 1) + STOP) == []
    assert walk(b"(" + NONE * (MAX_ITEMS - 1) + b"t" + STOP) == []
    assert walk(REBUILD + TENSOR + TUPLE1 + b"R" + STOP) == []  # a tensor may be made of another


@pytest.mark.parametrize("content", [b"", b"0.", b"R.", b"}", b"\xff.", b"X\xff\xff\xff\xffabc.", b"h\x07a."])
def test_malformed_pickles_are_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError):
        walk(content)


def tuple_extent(value: object) -> tuple[int, int]:
    """Depth and size of nested tuples, by plain recursion: the oracle."""
    if not isinstance(value, tuple):
        return 0, 1
    inner = [tuple_extent(item) for item in value]
    return 1 + max((d for d, _ in inner), default=0), 1 + sum(n for _, n in inner)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3), lambda inner: st.tuples(inner, inner), max_leaves=8
    )
)
def test_the_walk_measures_as_a_recursion_would(value: object) -> None:
    depth, size = tuple_extent(value)
    with pytest.MonkeyPatch.context() as patch:
        module = sys.modules["lnbench.pickles"]
        content = pickle.dumps(value, protocol=2)
        patch.setattr(module, "MAX_DEPTH", depth)
        patch.setattr(module, "MAX_ITEMS", size)
        assert blocked_globals(io.BytesIO(content)) == []
        if depth:
            for name, limit in [("MAX_DEPTH", depth), ("MAX_ITEMS", size)]:
                with pytest.MonkeyPatch.context() as lower, pytest.raises(ValueError, match="nested"):
                    lower.setattr(module, name, limit - 1)
                    blocked_globals(io.BytesIO(content))


def test_a_pickle_of_many_steps_ends() -> None:
    with pytest.raises(ValueError, match="more parts than it needs"):
        blocked_globals(io.BytesIO(b"\x80\x02]" + b"N0" * 150 + b"."), most_steps=100)


def test_text_keys_alone_where_asked_for() -> None:
    for key in (b"N", b"K\1", b")", b"]"):
        for content in (b"}" + key + b"Ns.", b"}(" + key + b"Nu.", b"(" + key + b"Nd."):
            assert blocked_globals(io.BytesIO(content)) == []
            with pytest.raises(ValueError, match="something other than text as a key"):
                blocked_globals(io.BytesIO(content), strict=True)
    for key in (b"U\1a", b"X\1\0\0\0a", b"C\1a", b"U\1aq\0"):
        assert blocked_globals(io.BytesIO(b"}" + key + b"Ns."), strict=True) == []


@pytest.mark.parametrize("target", [b"}", b"]", b"cnumpy\nndarray\n", b"U\1a"])
def test_a_state_is_for_what_was_made(target: bytes) -> None:
    content = target + b"(N}U\1aK\1stb."
    blocked_globals(io.BytesIO(content))
    with pytest.raises(ValueError, match="state of what is no array"):
        blocked_globals(io.BytesIO(content), strict=True)
