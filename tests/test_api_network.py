"""A person's network is given back as it was, whatever it is wrapped in and however the run ends."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lnbench
from lnbench.data.demo import open_demo
from tests.device import Device, fresh_tables
from tests.norm.test_session import demo, portrait
from tests.test_api import counted

OPTIONS: dict[str, Any] = {
    "corruptions": ["contrast"], "severities": [5], "modes": ["fixed", "batch"], "batch_size": 40,
    "device": "cpu", "progress": False,
}  # fmt: skip
Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def data() -> Data:
    """48 images of the demo and their labels."""
    images, labels, _ = open_demo("test")
    return images[::10], labels[::10]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("interrupt", [False, True])
def test_the_model_comes_back_whatever_happens(data: Data, precision: str, interrupt: bool) -> None:
    network = demo()
    if interrupt:
        calls = iter(range(4))

        def stop(*_: object) -> None:
            if next(calls, None) is None:
                raise KeyboardInterrupt

        network.linear.register_forward_hook(stop)
    before = portrait(network)
    with warnings.catch_warnings(), torch.autocast("cpu", dtype=torch.bfloat16):
        warnings.simplefilter("ignore")  # ImageNet's mean and std are the demo's too, half of it may be slow
        if interrupt:
            with pytest.raises(KeyboardInterrupt):
                lnbench.evaluate(network, data, **OPTIONS, precision=precision)
        else:
            lnbench.evaluate(network, data, **OPTIONS, precision=precision)
    assert portrait(network) == before


def compiled(network: nn.Module) -> nn.Module:
    return torch.compile(network, backend="eager")  # type: ignore[return-value]


def compiled_in_place(network: nn.Module) -> nn.Module:
    network.compile(backend="eager")
    return network


def compiled_in_part(network: Any) -> nn.Module:
    network.layer1 = torch.compile(network.layer1, backend="eager")
    return network  # type: ignore[no-any-return]


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled, compiled_in_place, compiled_in_part])
def test_wrapped_models_are_evaluated_as_what_is_inside(data: Data, wrap: Any) -> None:
    want = lnbench.evaluate(demo().eval(), data, **OPTIONS)
    network = demo().eval()
    wrapped, x = wrap(network), torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        said = wrapped(x)
    before = portrait(network)
    assert counted(lnbench.evaluate(wrapped, data, **OPTIONS)) == counted(want)
    assert portrait(network) == before
    with torch.no_grad():
        assert torch.equal(wrapped(x), said)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_is_taken_and_given_back_as_it_is(data: Data, kind: torch.dtype) -> None:
    network = demo().to(kind)
    before = portrait(network)
    found = lnbench.evaluate(network, data, **OPTIONS)
    assert portrait(network) == before and {p.dtype for p in network.parameters()} == {kind}
    # Its rounded weights, computed in the precision that is asked for.
    assert counted(found) == counted(lnbench.evaluate(network.float(), data, **OPTIONS))


def test_a_model_evaluated_on_another_device_comes_back_from_it(data: Data) -> None:
    network = demo()
    before = portrait(network)
    here = lnbench.evaluate(network, data, **OPTIONS)
    with fresh_tables(), Device():
        there = lnbench.evaluate(network, data, **{**OPTIONS, "device": "cuda"})
    assert portrait(network) == before and there.content.environment.device == "stand-in"
    assert [c.correct for c in there.content.cells] == [c.correct for c in here.content.cells]


def test_a_network_under_distributed_data_parallel_comes_back_and_trains_on(data: Data) -> None:
    group = torch.distributed
    group.init_process_group("gloo", store=group.HashStore(), rank=0, world_size=1)
    try:
        network = demo()
        wrapped = nn.parallel.DistributedDataParallel(network)
        before = portrait(network)
        lnbench.evaluate(wrapped, data, **OPTIONS)
        assert portrait(network) == before
        wrapped(torch.zeros(4, 3, 64, 64)).sum().backward()
    finally:
        group.destroy_process_group()
