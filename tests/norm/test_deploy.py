"""A network in a mode can leave Python: exported programs and ONNX files answer as the module does."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lnbench
from lnbench.data.demo import open_demo
from lnbench.errors import UsageError
from lnbench.models.load import load
from lnbench.norm import convert
from lnbench.norm.modes import registry

# The modes of the package whose answer needs no stream, and options that change how many passes there are.
STILL = [name for name in registry.names() if registry.make(name).unit != "stream"]
MODES = [*STILL, "local:layers=first1", "blend:N=1,layers=first3", "local:views=2"]
STREAM = [name for name in registry.names() if registry.make(name).unit == "stream" and name != "eata"]


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    pixels = torch.from_numpy(open_demo("test")[0][::12])  # (40, 3, 64, 64)
    return (pixels.float() / 255 - 0.45) / 0.25


def deployed(mode: str, inputs: Tensor, network: str = "demo") -> nn.Module:
    loaded = load(network, before_fit=convert.convert_like).network
    return lnbench.with_mode(loaded, mode, inputs=inputs)


def program(network: nn.Module, inputs: Tensor) -> torch.export.ExportedProgram:
    """Exported from 4 images for any number."""
    number = torch.export.Dim("images", min=2, max=64)
    return torch.export.export(network, (inputs[:4],), dynamic_shapes={"x": {0: number}})


@pytest.mark.parametrize("mode", MODES)
def test_an_exported_program_answers_as_the_module_does(mode: str, inputs: Tensor) -> None:
    network = deployed(mode, inputs)
    saved = io.BytesIO()
    torch.export.save(program(network, inputs), saved)
    saved.seek(0)
    again = torch.export.load(saved).module()
    with torch.no_grad():
        for images in (inputs, inputs[:4], inputs[3:10]):
            torch.testing.assert_close(again(images), network(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["local", "local:group=1"])
def test_a_vote_of_groups_is_exported_too(mode: str, inputs: Tensor) -> None:
    network = deployed(mode, inputs, "demo:localnorm")
    with torch.no_grad():
        found = program(network, inputs).module()(inputs)
        torch.testing.assert_close(found, network(inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["local:layers=first1", "adapt:n=8", "blend:N=16"])
def test_onnx_answers_as_the_module_does(mode: str, inputs: Tensor, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = deployed(mode, inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        made = torch.onnx.export(program(network, inputs), (), dynamo=True, verbose=False)
    assert made is not None
    made.save(str(tmp_path / "net.onnx"))
    session = runtime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    with torch.no_grad():
        expected = network(inputs).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert (found.argmax(-1) == expected.argmax(-1)).all()


def test_an_export_leaves_the_module_as_it_was(inputs: Tensor) -> None:
    network = deployed("iabn:k=4", inputs)
    with torch.no_grad():
        before = network(inputs)
        program(network, inputs)
        assert torch.equal(network(inputs), before)


@pytest.mark.parametrize("mode", [*STREAM, "eata:fisher=8"])
def test_what_changes_along_a_stream_is_not_exported(mode: str, inputs: Tensor) -> None:
    network = deployed(mode, inputs)
    with pytest.raises(UsageError, match="cannot be exported"):
        torch.export.export(network, (inputs[:4],))
