"""Weights files written: whole or not at all, small, the same bytes, and read back safely."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from lnbench.errors import CheckpointError
from lnbench.models.checkpoint import is_plain, read, write
from tests.models.networks import network


def test_nested_containers_are_written_as_they_were_read(tmp_path: Path, source: nn.Module) -> None:
    path = tmp_path / "net.pth"
    write(path, source.state_dict(), extras={"lr": 1}, metadata={}, container="model/state_dict")
    assert list(torch.load(path, weights_only=True)["model"]) == ["state_dict"]
    assert read(path).container == "model/state_dict"


def test_a_bare_file_without_metadata_is_a_plain_state_dict(tmp_path: Path, source: nn.Module) -> None:
    write(tmp_path / "net.pth", source.state_dict(), extras={}, metadata={}, container="")
    network().load_state_dict(torch.load(tmp_path / "net.pth", weights_only=True))


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_only_what_reads_back_safely_is_written(tmp_path: Path, source: nn.Module, name: str) -> None:
    extras = {"epoch": 3, "args": argparse.Namespace(), "nested": [{"a": (1, np.float64(1))}]}
    write(tmp_path / name, source.state_dict(), extras=extras, metadata={})
    assert read(tmp_path / name).extras == {"epoch": 3}


def test_optimizer_state_survives(tmp_path: Path, source: nn.Module) -> None:
    optimizer = torch.optim.SGD(source.parameters(), lr=0.1, momentum=0.9)
    write(
        tmp_path / "net.pth", source.state_dict(), extras={"optimizer": optimizer.state_dict()}, metadata={}
    )
    assert read(tmp_path / "net.pth").extras["optimizer"] == optimizer.state_dict()


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_views_and_tied_weights_are_written_small_and_independent(tmp_path: Path, name: str) -> None:
    large = torch.ones(1000, 1000)
    tied = large[:2, :2].t()
    write(tmp_path / name, {"a": tied, "b": tied}, extras={}, metadata={})
    assert (tmp_path / name).stat().st_size < 4000
    assert torch.equal(read(tmp_path / name).tensors["b"], tied)


def test_is_plain_ends_on_shared_and_endless_values() -> None:
    value: Any = []
    for _ in range(60):
        value = [value, value]
    assert not is_plain(value)
    endless: list[Any] = []
    endless.append(endless)
    assert not is_plain(endless)
    assert is_plain({"a": [1, (2.0, None, "x", True)], 3: torch.ones(1)})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("net.onnx", "written as one of .pth"),
        ("nowhere/net.pth", "there is no folder"),
        ("folder.pth", "cannot write"),
    ],
)
def test_targets_that_cannot_be_written(tmp_path: Path, source: nn.Module, name: str, words: str) -> None:
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(CheckpointError, match=words):
        write(tmp_path / name, source.state_dict(), extras={}, metadata={})
    assert [path.name for path in tmp_path.iterdir()] == ["folder.pth"]


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, source: nn.Module, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    monkeypatch.setattr(safetensors.torch, "save", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*net.*: No space left"):
        write(path, source.state_dict(), extras={}, metadata={})
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_written_files_do_not_depend_on_where_or_when(tmp_path: Path, source: nn.Module, suffix: str) -> None:
    (tmp_path / "a").mkdir()
    first, second = tmp_path / f"x{suffix}", tmp_path / "a" / f"y{suffix}"
    metadata = {f"key {number}": f'ü "{number}" \\ \n' for number in range(20)}
    for path in (first, second):
        write(path, source.state_dict(), extras={"epoch": 1}, metadata=metadata)
    assert first.read_bytes() == second.read_bytes()
    assert metadata.items() <= read(first).metadata.items()
    assert all(torch.equal(read(first).tensors[name], value) for name, value in source.state_dict().items())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_written_files_have_the_usual_mode(tmp_path: Path, source: nn.Module, suffix: str) -> None:
    plain, path = tmp_path / "plain", tmp_path / f"net{suffix}"
    plain.touch()
    write(path, source.state_dict(), extras={}, metadata={})
    assert path.stat().st_mode == plain.stat().st_mode
