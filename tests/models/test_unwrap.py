"""Where the tensors lie in what torch.load returned, and what may not pass for one."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lnbench.errors import CheckpointError
from lnbench.models.unwrap import CONTAINERS, EMA_CONTAINERS, cleaned, entries, unwrap

HERE = Path("net.pth")
W = {"fc.weight": torch.ones(2, 3)}
AVERAGE = {"fc.weight": torch.zeros(2, 3)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "net.pth"
    file.write_bytes(bytes(100))
    return file


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_and_their_neighbours(name: str) -> None:
    assert unwrap({name: W, "epoch": 3}, HERE, ema=False) == (name, W, {"epoch": 3})


def test_bare_tensors_with_and_without_company() -> None:
    assert unwrap(dict(W), HERE, ema=False) == ("", W, {})
    assert unwrap({**W, "epoch": 3}, HERE, ema=False) == ("", W, {"epoch": 3})


def test_a_weight_called_like_a_container_is_a_weight() -> None:
    bare = {"model": torch.ones(1), "fc.weight": torch.ones(2)}
    assert unwrap(bare, HERE, ema=False) == ("", bare, {})


def test_nested_containers() -> None:
    container, found, extras = unwrap({"model": {"state_dict": W, "lr": 0.1}, "epoch": 3}, HERE, ema=False)
    assert (container, found, extras) == ("model/state_dict", W, {"epoch": 3, "lr": 0.1})


@pytest.mark.parametrize("name", EMA_CONTAINERS)
def test_the_average_is_taken_only_when_asked(name: str) -> None:
    both = {"state_dict": W, name: AVERAGE}
    assert unwrap(both, HERE, ema=False)[1] == W
    assert unwrap(both, HERE, ema=True)[::2] == (name, {"state_dict": W})
    assert unwrap({name: {"module": AVERAGE, "updates": 7}}, HERE, ema=True)[0] == f"{name}/module"


@pytest.mark.parametrize(
    ("loaded", "ema", "words"),
    [
        ({"state_dict": W}, True, r"holds no EMA weights \(state_dict_ema, model_ema\): drop --ema"),
        ({"model_ema": W}, False, "holds only EMA weights: --ema takes them"),
        ({"encoder": {"w": torch.ones(1)}, "epoch": 3}, False, "holds no weights .*it holds: encoder, epoch"),
        ({torch.ones(1): 1, 10**5000: 2}, False, "it holds: a Tensor, a int"),
        ({}, False, "it holds: nothing"),
        ({"state_dict": {}}, False, "holds no weights"),
        ([1, 2], False, "holds a list, not a dict of weights"),
        (torch.ones(2), False, "holds a Tensor, not a dict"),
        (None, False, "holds a NoneType"),
    ],
)
def test_what_holds_no_weights_says_what_it_holds(loaded: object, ema: bool, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        unwrap(loaded, HERE, ema=ema)


def test_a_hundred_nested_containers_end() -> None:
    loaded: dict[str, Any] = {}
    inner = loaded
    for _ in range(100):
        inner["model"] = {}
        inner = inner["model"]
    inner["fc.weight"] = torch.ones(1)
    with pytest.raises(CheckpointError, match="holds no weights"):
        unwrap(loaded, HERE, ema=False)


def test_a_whole_network_gives_its_state() -> None:
    network = nn.Linear(3, 2)
    assert unwrap(network, HERE, ema=False)[1].keys() == network.state_dict().keys()
    assert unwrap({"model": network, "epoch": 1}, HERE, ema=False)[::2] == ("model", {"epoch": 1})


def test_shadowed_methods_do_not_matter() -> None:
    hostile: Any = OrderedDict(W)
    hostile.__dict__.update(items=None, keys=None, get=None, pop=None)
    assert entries(hostile).keys() == W.keys()


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module._orig_mod.module."])
def test_wrappers_come_off(path: Path, prefix: str) -> None:
    assert list(cleaned({f"{prefix}fc.weight": torch.ones(1), f"{prefix}fc.bias": torch.ones(1)}, path)) == [
        "fc.weight",
        "fc.bias",
    ]


def test_wrappers_that_lead_only_some_names_stay(path: Path) -> None:
    names = ["module.fc.weight", "fc.bias"]
    assert list(cleaned(dict.fromkeys(names, torch.ones(1)), path)) == names


def test_the_counter_of_an_averaged_model_is_left_out(path: Path) -> None:
    average = torch.optim.swa_utils.AveragedModel(nn.Linear(3, 2))
    assert list(cleaned(average.state_dict(), path)) == ["weight", "bias"]
    own = {"n_averaged": torch.ones(1), "fc.weight": torch.ones(1)}
    assert list(cleaned(own, path)) == list(own)


def shadowed() -> torch.Tensor:
    tensor: Any = torch.ones(2)
    tensor.numel = "not a function"
    return tensor  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(2),
        nn.Parameter(torch.ones(2)),
        torch.ones(2).half(),
        torch.ones(2).long(),
        torch.ones(2).bool(),
        shadowed(),
    ],
    ids=["tensor", "parameter", "half", "integers", "booleans", "with attributes"],
)
def test_plain_tensors_pass_without_gradient_or_attributes(path: Path, value: torch.Tensor) -> None:
    result = cleaned({"w": value}, path)["w"]
    assert type(result) is torch.Tensor and not result.requires_grad and not result.__dict__
    assert torch.equal(result, value.detach())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("w", [1.0], "'w' is a list, not a tensor"),
        ("w", None, "'w' is a NoneType, not a tensor"),
        ("w\x1b[2J", 3, r"'w\\x1b\[2J' is a int"),
        (7, torch.ones(1), "has a int where the name of a weight should be"),
        (("a", "b"), torch.ones(1), "has a tuple where the name"),
        ("w", torch.ones(2, 2).to_sparse(), "sparse, quantized or without data"),
        ("w", torch.ones(2, device="meta"), "sparse, quantized or without data"),
        ("w", torch.ones(2, dtype=torch.complex64), "is complex"),
        ("w", torch.ones(1).expand(10**12), "'w' claims 4 TB of a file of 100 bytes"),
    ],
)
def test_what_is_no_plain_weight_is_named(path: Path, name: object, value: object, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        cleaned({name: value}, path)


def test_a_small_broadcast_is_a_weight(path: Path) -> None:
    assert cleaned({"w": torch.ones(1).expand(4096)}, path)["w"].shape == (4096,)
