"""Every disguise a weights file comes in is named for what it is, in one line."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from lnbench.errors import CheckpointError
from lnbench.models.sniff import identify, size_text

WEIGHTS = {"conv.weight": torch.arange(24.0).view(2, 3, 2, 2)}


def saved(**options: bool) -> bytes:
    stream = io.BytesIO()
    torch.save(WEIGHTS, stream, **options)
    return stream.getvalue()


def zipped(compression: int = zipfile.ZIP_STORED, comment: bytes = b"", **members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_pkl", ".pkl"), content)
        archive.comment = comment
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("weights.pth")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"abcd"))
    return stream.getvalue()


def numpy_array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


ZIP = saved()
LEGACY = saved(_use_new_zipfile_serialization=False)
SAFE = safetensors.torch.save(WEIGHTS)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 102500000\n"


@pytest.mark.parametrize(("content", "kind"), [(ZIP, "zip"), (LEGACY, "legacy"), (SAFE, "safetensors")])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".th", ".pth.tar", ".ckpt", ".safetensors", ".bin", ""])
def test_the_content_decides_not_the_suffix(tmp_path: Path, content: bytes, kind: str, suffix: str) -> None:
    if kind != "safetensors" and suffix == ".safetensors":
        suffix = ".old.safetensors"
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    assert identify(path) == kind


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_old_format_is_known_at_any_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "weights.pth"
    torch.save(WEIGHTS, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    assert identify(path) == "legacy"


DISGUISES = [
    (b"", "is empty"),
    (b"<!DOCTYPE html><html><body>404</body></html>", "HTML page"),
    (b"\xef\xbb\xbf\n  <HTML lang=en>", "HTML page"),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "HTML page"),
    (LFS, "Git LFS pointer of 74 bytes, not the file of 102 MB: run `git lfs pull`"),
    (b"version https://git-lfs.github.com/spec/v1\nsize x", "Git LFS pointer"),
    (gzip.compress(ZIP), "gzip-compressed: unpack it"),
    (b"BZh91AY&SY", "bzip2-compressed"),
    (b"\xfd7zXZ\x00\x00\x04", "xz-compressed"),
    (b"\x28\xb5\x2f\xfd\x04", "zstandard-compressed"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (tarred(), "a tar archive: unpack it"),
    (ZIP[: len(ZIP) // 2], "truncated or damaged zip file of"),
    (ZIP[:-10], "truncated or damaged zip file"),
    (b"PK\x03\x04", "truncated or damaged zip file of 4 bytes"),
    (zipped(readme=b"hello"), "zip archive that torch.save did not write (it holds readme)"),
    (zipped(), "torch.save did not write (it is empty)"),
    (zipped(net__constants_pkl=b"", net__data_pkl=b""), "a TorchScript program"),
    (zipped(zipfile.ZIP_DEFLATED, a__data_pkl=bytes(100_000)), "compressed or claims more"),
    (zipped(comment=b"x" * 30, a__data_pkl=b"}."), "compressed or claims more"),
    (SAFE[:20], "truncated or damaged safetensors file: its header claims"),
    (SAFE[:-1], "the header describes 96 bytes of weights, the file holds 95 bytes"),
    (SAFE + b"x", "the file holds 97 bytes"),
    ((1 << 62).to_bytes(8, "little") + b"{" + bytes(50), "its header claims"),
    ((40).to_bytes(8, "little") + b"{" + bytes(50), "its header is not readable"),
    ((2).to_bytes(8, "little") + b"{}" + bytes(50), "describes 0 bytes of weights"),
    ((50_000).to_bytes(8, "little") + b"{" + b"[" * 49_999, "its header is not readable"),
    ((14).to_bytes(8, "little") + b'{"a":{"x":1}} ', "its header is not readable"),
    (b"epoch 3, loss 0.25\n", "a text file (it begins 'epoch 3, loss 0.25')"),
    ("größe\n".encode(), "a text file"),
    (bytes(4096), "a file of zero bytes"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.", "a plain Python pickle"),
    (numpy_array(), "a NumPy array"),
    (b"\xde\xad\xbe\xef\x00\x01", "of an unknown format (first bytes de ad be ef)"),
]


@pytest.mark.parametrize(("content", "words"), DISGUISES, ids=[words for _, words in DISGUISES])
def test_disguises_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        identify(path)
    message = str(caught.value)
    assert words in message
    assert message.startswith(f"{path} ")
    assert "\n" not in message


def test_a_safetensors_name_does_not_hide_a_disguise(tmp_path: Path) -> None:
    for content, words in [
        (LFS, "Git LFS"),
        (b"<html>", "HTML"),
        (b"hi", "no safetensors file (a text file"),
    ]:
        path = tmp_path / "net.safetensors"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=words.replace("(", r"\(")):
            identify(path)


def test_a_missing_file_suggests_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "resnet20.pth").touch()
    with pytest.raises(CheckpointError, match=r"no such file \(did you mean resnet20.pth\?\)"):
        identify(tmp_path / "resnet2O.pth")
    with pytest.raises(CheckpointError, match="and no folder"):
        identify(tmp_path / "nowhere" / "resnet20.pth")


def test_a_folder_names_a_file_in_it(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(CheckpointError, match=r"is a folder: give the weights file itself, e.g. .*last.ckpt"):
        identify(tmp_path)


def test_pipes_and_impossible_names_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(CheckpointError, match="a device or pipe"):  # opening it would wait for ever
        identify(tmp_path / "pipe.pth")
    with pytest.raises(CheckpointError, match="cannot be read"):
        identify(Path("a\0b.pth"))
    with pytest.raises(CheckpointError, match="cannot be read"):
        identify(tmp_path / ("x" * 300))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_says_why(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(ZIP)
    path.chmod(0)
    with pytest.raises(CheckpointError, match="cannot be read: Permission denied"):
        identify(path)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (4130, "4.13 kB"), (102_500_000, "102 MB"), (1e15, "1e+03 TB")],
)
def test_sizes_read_well(count: int, text: str) -> None:
    assert size_text(count) == text
