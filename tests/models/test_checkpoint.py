"""Weights files read and fitted: formats, refusals, and what must never run."""

from __future__ import annotations

import argparse
import hashlib
import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from lnbench import pickles
from lnbench.errors import CheckpointError
from lnbench.models.checkpoint import Checkpoint, classes_in, fit, read, write
from lnbench.models.cifar import cifar_network
from tests.models.networks import network

FORMATS = ["net.pth", "net.pt", "net.th", "net.pth.tar", "net.ckpt", "net.safetensors"]


def same(left: nn.Module, right: nn.Module) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    )


def saved(path: Path, value: object, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


def held(tensors: dict[str, Tensor]) -> Checkpoint:
    return Checkpoint(Path("net.pth"), "", tensors, {}, "", {})


# -- reading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_back(tmp_path: Path, source: nn.Module, name: str) -> None:
    path = tmp_path / name
    write(
        path, source.state_dict(), extras={"epoch": 7, "best": 91.5, "note": "ü"}, metadata={"norm": "batch"}
    )
    found = read(path)
    assert found.path == path
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.extras == {"epoch": 7, "best": 91.5, "note": "ü"}
    assert found.metadata == {"norm": "batch"}
    assert found.container == ("" if name.endswith("safetensors") else "state_dict")
    fitted = network()
    fit(fitted, found)
    assert same(fitted, source)
    assert list(tmp_path.iterdir()) == [path]  # nothing half-written is left


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("container", ["", "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module._orig_mod."])
def test_containers_and_wrappers(
    tmp_path: Path, source: nn.Module, container: str, prefix: str, new: bool
) -> None:
    tensors = {prefix + name: value for name, value in source.state_dict().items()}
    body = {container: tensors, "epoch": 3} if container else tensors
    found = read(saved(tmp_path / "net.tar", body, _use_new_zipfile_serialization=new))
    assert (found.container, found.extras) == (container, {"epoch": 3} if container else {})
    fitted = network()
    fit(fitted, found)
    assert same(fitted, source)


def test_a_network_that_is_itself_wrapped_takes_both(tmp_path: Path, source: nn.Module) -> None:
    for tensors in (source.state_dict(), {f"model.{n}": v for n, v in source.state_dict().items()}):
        wrapped = nn.Module()
        wrapped.model = network()
        fit(wrapped, read(saved(tmp_path / "net.pth", tensors)))
        assert same(wrapped, source)


def test_lightning_checkpoint(tmp_path: Path, source: nn.Module) -> None:
    body = {
        "epoch": 9, "global_step": 100, "pytorch-lightning_version": "2.4.0",
        "state_dict": {f"model.{name}": value for name, value in source.state_dict().items()},
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}],
        "hparams_name": "kwargs", "hyper_parameters": {"lr": 0.1},
    }  # fmt: skip
    found = read(saved(tmp_path / "last.ckpt", body))
    assert found.container == "state_dict" and found.extras["hyper_parameters"] == {"lr": 0.1}
    fitted = network()
    fit(fitted, found)
    assert same(fitted, source)


def test_the_moving_average_is_a_choice(tmp_path: Path, source: nn.Module) -> None:
    average = torch.optim.swa_utils.AveragedModel(source)
    plain = network()
    path = saved(tmp_path / "both.pth", {"model": plain.state_dict(), "model_ema": average.state_dict()})
    fitted = network()
    fit(fitted, read(path, ema=True))
    assert same(fitted, source)
    fit(fitted, read(path))
    assert same(fitted, plain)


def test_safetensors_hold_one_set(tmp_path: Path, source: nn.Module) -> None:
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file(
        source.state_dict(), path, metadata={"format": "pt", "lnbench.extras": "not json"}
    )
    assert read(path).metadata == {"format": "pt"} and read(path).extras == {}
    with pytest.raises(CheckpointError, match=r"no EMA weights: .*drop --ema"):
        read(path, ema=True)


@pytest.mark.parametrize("name", ["cifar10_resnet20-12fca82f.th", "cifar10_resnet56-4bfd9763.th"])
def test_old_published_checkpoints_fit_without_batch_counters(shared: Path, name: str) -> None:
    found = read(shared / "checkpoints" / name)
    assert found.sha256.startswith(name.removesuffix(".th").rpartition("-")[2])
    assert not any("num_batches_tracked" in key for key in found.tensors)
    assert found.container == "state_dict" and list(found.extras) == ["best_prec1"]
    fitted = cifar_network(re.findall(r"resnet\d+", name)[0])
    fit(fitted, found)
    assert torch.equal(fitted.linear.weight, found.tensors["linear.weight"])


def test_saving_without_checksums_is_no_damage(tmp_path: Path, source: nn.Module) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path / "net.pth", source.state_dict())
    finally:
        torch.serialization.set_crc32_options(True)
    assert read(path).tensors.keys() == source.state_dict().keys()


def test_one_flipped_bit_in_the_weights_is_found(tmp_path: Path, source: nn.Module) -> None:
    path = saved(tmp_path / "net.pth", source.state_dict())
    content = bytearray(path.read_bytes())
    weight = source.state_dict()["fc.weight"].numpy().tobytes()
    content[content.index(weight) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged or hostile PyTorch file \(Bad CRC-32"):
        read(path)


# -- files that want to run code ---------------------------------------------------------------------------


class Bomb:
    """What it does when unpickled would show as a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_code_in_a_file_never_runs_and_is_named(tmp_path: Path, new: bool) -> None:
    target = tmp_path / "ran"
    body = {"state_dict": {"w": torch.ones(1)}, "args": argparse.Namespace(lr=1), "x": Bomb(target)}
    path = saved(tmp_path / "net.pth", body, _use_new_zipfile_serialization=new)
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert "argparse.Namespace" in message and "Path.touch" in message.replace("getattr", "Path.touch")
    assert "--allow-pickle" in message and "\n" not in message
    assert not target.exists()


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_allow_pickle_warns_before_it_runs(tmp_path: Path, source: nn.Module, new: bool) -> None:
    body = {"state_dict": source.state_dict(), "args": argparse.Namespace(lr=1), "best": np.float64(91.5)}
    path = saved(tmp_path / "net.pth", body, _use_new_zipfile_serialization=new)
    with pytest.warns(UserWarning, match=r"--allow-pickle runs this file's own code: .*argparse.Namespace"):
        found = read(path, allow_pickle=True)
    assert found.extras == {"args": argparse.Namespace(lr=1), "best": 91.5}
    target = tmp_path / "ran"
    saved(path, Bomb(target), _use_new_zipfile_serialization=new)
    # As an error the warning comes first, so nothing has run.
    with pytest.raises(UserWarning, match="runs this file's own code"):
        read(path, allow_pickle=True)
    assert not target.exists()


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_file_that_deceives_the_walk_meets_the_second_lock(
    tmp_path: Path, new: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "ran"
    path = saved(tmp_path / "net.pth", Bomb(target), _use_new_zipfile_serialization=new)
    monkeypatch.setattr(pickles, "blocked_globals", lambda _: [])
    with pytest.raises(CheckpointError, match=r"could run code: \(Unsupported global: GLOBAL"):
        read(path)
    assert not target.exists()


def test_allow_pickle_changes_nothing_for_plain_weights(tmp_path: Path, source: nn.Module) -> None:
    found = read(saved(tmp_path / "net.pth", source.state_dict()), allow_pickle=True)
    assert found.tensors.keys() == source.state_dict().keys()


def test_a_whole_pickled_network_needs_allow_pickle(tmp_path: Path, source: nn.Module) -> None:
    path = saved(tmp_path / "net.pth", source)
    with pytest.raises(CheckpointError, match=r"torch.nn.modules.container.Sequential.*--allow-pickle"):
        read(path)
    with pytest.warns(UserWarning, match="allow-pickle"):
        found = read(path, allow_pickle=True)
    fitted = network()
    fit(fitted, found)
    assert same(fitted, source)


def test_a_missing_module_is_named(tmp_path: Path) -> None:
    body = pickle.dumps({}, protocol=2)[:-1] + b"X\x01\x00\x00\x00acnowhere_to_be_found\nThing\ns."
    path = saved(tmp_path / "net.pth", {"a": torch.ones(1)}, _use_new_zipfile_serialization=False)
    parts = [
        pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    ]
    path.write_bytes(b"".join([*parts, body, pickle.dumps([], protocol=2)]))
    with pytest.raises(CheckpointError, match=r"nowhere_to_be_found\.Thing"):
        read(path)
    with (
        pytest.warns(UserWarning),
        pytest.raises(CheckpointError, match="needs the Python module 'nowhere_to_be"),
    ):
        read(path, allow_pickle=True)


def test_what_torchs_own_loader_refuses_has_a_reason(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pth", {"w": torch.ones(1)}, pickle_protocol=4)
    with pytest.raises(CheckpointError, match=r"a class named at run time|Unsupported operand"):
        read(path)


# -- fitting -----------------------------------------------------------------------------------------------


def test_misfits_are_reported_in_groups_and_change_nothing(source: nn.Module) -> None:
    tensors = {
        f"backbone.{name}" if name[0] == "c" else name: value for name, value in source.state_dict().items()
    }
    tensors["fc.weight"] = torch.ones(7, 16)
    fitted = network()
    before = {name: value.clone() for name, value in fitted.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        fit(fitted, held(tensors))
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("net.pth does not fit the network (keys: 2 missing, 2 unexpected, 1 of another")
    assert first.endswith("): give the --model it was trained with")
    assert rest == [
        "  missing from the file: conv.weight, conv.bias",
        "  unexpected in the file: backbone.conv.weight, backbone.conv.bias",
        "  near: conv.weight in the network, backbone.conv.weight in the file",
        "  near: conv.bias in the network, backbone.conv.bias in the file",
        "  shape: fc.weight is (7, 16) in the file, (5, 16) in the network",
    ]
    assert all(torch.equal(before[name], value) for name, value in fitted.state_dict().items())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["conv.weight", "bn.running_var", "fc.bias"])
def test_nan_and_infinity_are_refused(source: nn.Module, name: str, dtype: torch.dtype, value: float) -> None:
    tensors = {key: tensor.to(dtype, copy=True) for key, tensor in source.state_dict().items()}
    tensors[name].view(-1)[-1] = value
    fitted = network()
    with pytest.raises(CheckpointError, match=rf"NaN or infinite values in 1 of 9 tensors \({name}\)"):
        fit(fitted, held(tensors))


def test_negative_variances_are_refused_and_zero_is_not(source: nn.Module) -> None:
    tensors = {name: value.clone() for name, value in source.state_dict().items()}
    tensors["bn.running_var"][2] = 0
    fit(network(), held(tensors))
    tensors["bn.running_var"][2] = -1e-9
    with pytest.raises(CheckpointError, match=r"negative variances in 1 of 9 tensors \(bn.running_var\)"):
        fit(network(), held(tensors))


def test_whole_numbers_are_no_weights(source: nn.Module) -> None:
    tensors = {**source.state_dict(), "fc.weight": torch.ones(5, 16, dtype=torch.int8)}
    with pytest.raises(CheckpointError, match=r"'fc.weight' holds whole numbers"):
        fit(network(), held(tensors))


@pytest.mark.parametrize(
    "counter", [None, torch.tensor([3, 4]), torch.tensor(3)], ids=["absent", "vector", "scalar"]
)
def test_batch_counters_never_stand_in_the_way(source: nn.Module, counter: Tensor | None) -> None:
    tensors = dict(source.state_dict())
    del tensors["bn.num_batches_tracked"]
    if counter is not None:
        tensors["bn.num_batches_tracked"] = counter
    fitted = network()
    fit(fitted, held(tensors))
    assert torch.equal(fitted.get_buffer("bn.running_var"), tensors["bn.running_var"])


def test_half_precision_weights_come_out_in_the_networks_type(source: nn.Module) -> None:
    fitted = network()
    fit(fitted, held({name: value.half() for name, value in source.state_dict().items()}))
    assert fitted.get_parameter("fc.weight").dtype == torch.float32
    # Half precision keeps 11 bits: half a unit in the last place of values up to 2.5 is 2^-10.
    assert torch.allclose(
        fitted.get_parameter("fc.weight"), source.get_parameter("fc.weight"), atol=2**-10, rtol=0
    )


def test_published_densenet_names_fit(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    block = torchvision.models.densenet._DenseBlock(2, 8, bn_size=2, growth_rate=4, drop_rate=0.0)
    fresh = torchvision.models.densenet._DenseBlock(2, 8, bn_size=2, growth_rate=4, drop_rate=0.0)
    old = {re.sub(r"(norm|conv)([12])", r"\1.\2", name): value for name, value in block.state_dict().items()}
    assert any(".norm.1." in name for name in old)
    fit(fresh, read(saved(tmp_path / "net.pth", old)))
    assert same(fresh, block)


def test_classes_are_counted_from_the_head(source: nn.Module) -> None:
    found = held(dict(source.state_dict()))
    assert classes_in(found, network()) == 5
    wrapped = nn.Module()
    wrapped.module = network()
    assert classes_in(found, wrapped) == 5
    assert classes_in(held({}), network()) is None
    assert classes_in(held({"fc.weight": torch.ones(3)}), network()) is None
    assert classes_in(found, nn.ReLU()) is None


def test_classes_are_counted_where_timm_says_the_head_is() -> None:
    two_heads = nn.Module()
    two_heads.head, two_heads.head_dist = nn.Linear(4, 7), nn.Linear(4, 9)
    found = held(two_heads.state_dict())
    assert classes_in(found, two_heads) == 9
    two_heads.pretrained_cfg = {"classifier": ("head", "head_dist")}
    assert classes_in(found, two_heads) == 7
