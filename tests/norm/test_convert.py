from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from lnbench.errors import CheckpointError, ModelError
from lnbench.norm.convert import (
    convert_like,
    convert_localnorm,
    is_localnorm,
    kept_layers,
    to_batchnorm,
    verify_conversion,
)
from lnbench.norm.layer import is_understood, norm_layers
from lnbench.norm.localnorm import LocalNorm2d
from tests.norm.networks import BUILDERS, HandMade, Plain, build, fingerprint, images

NETWORKS = sorted(BUILDERS)


@pytest.mark.parametrize("name", NETWORKS)
def test_there_and_back_is_the_identity(name: str) -> None:
    network, x = build(name), images(2)
    before, types = fingerprint(network), [type(module) for module in network.modules()]
    with torch.no_grad():
        expected = network(x)
        back = to_batchnorm(convert_localnorm(network, groups=3))
        assert back is network
        assert torch.equal(back(x), expected)
    assert [type(module) for module in back.modules()] == types
    after = fingerprint(back)
    if name == "no affine":  # the converted layers have a weight and a bias to train, 1 and 0 at first
        after = {key: value for key, value in after.items() if key in before}
    assert after == before


@pytest.mark.parametrize("name", NETWORKS)
def test_every_group_starts_with_the_original_weight_and_bias(name: str) -> None:
    network = build(name)
    original = dict(copy.deepcopy(network).named_modules())
    convert_localnorm(network, groups=3)
    kept = kept_layers(network)
    converted = {name: layer for name, layer in network.named_modules() if isinstance(layer, LocalNorm2d)}
    norms = {name for name, layer in original.items() if is_understood(layer)}
    assert converted.keys() == norms - set(kept)
    for key, layer in converted.items():
        source = original[key]
        assert layer.eps == source.eps and layer.momentum == getattr(source, "momentum", 0.1)
        assert not layer.training
        for part, empty in (("weight", 1.0), ("bias", 0.0)):
            value = getattr(source, part)
            expected = torch.full((layer.num_features,), empty) if value is None else value
            assert torch.equal(getattr(layer, part), expected.expand(3, -1))
        assert torch.equal(layer.running_mean, source.running_mean)
        assert torch.equal(layer.running_var, source.running_var)
        # timm's layer applies its activation itself
        assert layer.act is getattr(source, "act", None) or type(layer.act) is type(source.act)


def test_activations_of_timm_survive() -> None:
    network = build("efficientnet_b0")
    count = sum(isinstance(module, nn.SiLU) for module in network.modules())
    convert_localnorm(network, 2)
    assert sum(isinstance(module, nn.SiLU) for module in network.modules()) == count > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_of_a_batch_are_ghost_batches_of_the_original(name: str) -> None:
    network, x = build(name), images(12)
    converted = convert_localnorm(copy.deepcopy(network), groups=3)
    before, after = fingerprint(network), fingerprint(converted)
    names = [key for key, _ in converted.named_modules()]
    # Two kernels, up to 121 layers, logits of order 1: rounding only.
    assert verify_conversion(network, converted, x) < 1e-3
    assert (fingerprint(network), fingerprint(converted)) == (before, after)
    assert [key for key, _ in converted.named_modules()] == names
    assert not network.training and not converted.training


def test_verification_finds_a_wrong_conversion() -> None:
    network = build("plain")
    converted = convert_localnorm(copy.deepcopy(network), groups=3)
    with torch.no_grad():
        converted.norm2.weight[1, 0] += 0.1
    assert verify_conversion(network, converted, images(12)) > 1e-3
    assert verify_conversion(network, convert_localnorm(build("plain"), 3).train(), images(12)) < 1e-4


def test_verification_leaves_training_flags() -> None:
    network = build("plain")
    converted = convert_localnorm(copy.deepcopy(network), 2)
    network.train()
    converted.norm1.train()
    flags = [[module.training for module in one.modules()] for one in (network, converted)]
    verify_conversion(network, converted, images(4))
    assert [[module.training for module in one.modules()] for one in (network, converted)] == flags


def test_batchnorm1d_stays_and_is_named() -> None:
    network = build("hand-made")
    convert_localnorm(network, 2)
    assert type(network.bn1) is type(network.bn0) is nn.BatchNorm1d
    assert type(network.bn3) is type(network.bn2) is LocalNorm2d
    assert kept_layers(network) == ("bn1", "bn0")


def test_a_shared_layer_stays_shared() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.BatchNorm2d(3)
            self.other = self.one

    network = convert_localnorm(Shared(), 2)
    assert isinstance(network.one, LocalNorm2d) and network.one is network.other
    assert len(list(network.parameters())) == 2


def test_a_single_layer_is_returned_converted() -> None:
    layer = nn.BatchNorm2d(4)
    local = convert_localnorm(layer, 2)
    assert isinstance(local, LocalNorm2d)
    assert type(to_batchnorm(local)) is nn.BatchNorm2d
    assert type(to_batchnorm(LocalNorm2d(4, 2))) is nn.BatchNorm2d


def test_frozen_parameters_stay_frozen() -> None:
    network = build("plain")
    network.norm1.requires_grad_(False)
    convert_localnorm(network, 2)
    assert [value.requires_grad for value in network.norm1.parameters()] == [False, False]
    assert [value.requires_grad for value in network.norm2.parameters()] == [True, True]
    to_batchnorm(network)
    assert [value.requires_grad for value in network.norm1.parameters()] == [False, False]


def test_weights_are_averaged_over_groups() -> None:
    network = convert_localnorm(build("hand-made"), 3)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, LocalNorm2d):
                layer.weight.add_(torch.randn_like(layer.weight))
                layer.bias.add_(torch.randn_like(layer.bias))
    mean = network.state_dict()["bn3.weight"].mean(0)
    restored = to_batchnorm(network).state_dict()
    torch.testing.assert_close(restored["bn3.weight"], mean)
    HandMade().load_state_dict(restored)  # any framework's BatchNorm takes them


PART = ("bn1", "layer1.0", "layer2.0.bn2")


def test_named_layers_and_those_within_are_converted_and_no_others() -> None:
    network = convert_localnorm(build("resnet18"), 2, PART)
    local = [name for name, layer in network.named_modules() if isinstance(layer, LocalNorm2d)]
    assert local == ["bn1", "layer1.0.bn1", "layer1.0.bn2", "layer2.0.bn2"]
    assert set(kept_layers(network)) == {
        name for name, layer in build("resnet18").named_modules() if is_understood(layer)
    } - set(local)
    assert verify_conversion(build("resnet18"), network, images(8)) < 1e-3  # logits of order 1, 20 layers


def test_a_partly_converted_checkpoint_is_fitted_layer_by_layer() -> None:
    tensors = convert_localnorm(build("resnet18"), 2, PART).state_dict()
    network = build("resnet18")
    assert convert_like(network, tensors) == 2
    network.load_state_dict(tensors)
    assert convert_like(build("resnet18"), build("resnet18").state_dict()) is None


def test_names_of_another_network_convert_every_layer() -> None:
    tensors = {"a.weight": torch.zeros(2, 4), "a.running_mean": torch.zeros(4)}
    network = build("resnet18")
    assert convert_like(network, tensors) == 2
    assert kept_layers(network) == ()


@pytest.mark.parametrize("name", ["layer9", "layer", "conv1", ""])
def test_a_name_without_batchnorm_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"called or within '{name}'; it has bn1, layer1.0.bn1"):
        convert_localnorm(build("resnet18"), 2, ("bn1", name))


@pytest.mark.parametrize("name", NETWORKS)
def test_localnorm_checkpoints_are_recognised(name: str) -> None:
    network = build(name)
    assert is_localnorm(network.state_dict()) is None
    for groups in (1, 5):
        assert is_localnorm(convert_localnorm(build(name), groups).state_dict()) == groups
    assert is_localnorm(to_batchnorm(convert_localnorm(network, 2)).state_dict()) is None


def test_what_is_not_localnorm_is_not_taken_for_it() -> None:
    linear: dict[str, Tensor] = {"head.weight": torch.zeros(5, 4), "head.bias": torch.zeros(5)}
    odd = {"a.weight": torch.zeros(2, 4), "a.running_mean": torch.zeros(3)}
    assert is_localnorm({}) is None
    assert is_localnorm(linear) is None
    assert is_localnorm(odd) is None
    assert is_localnorm({"weight": torch.zeros(2, 4), "running_mean": torch.zeros(4)}) == 2
    mixed = {"a.weight": torch.zeros(2, 4), "a.running_mean": torch.zeros(4)}
    mixed |= {"b.weight": torch.zeros(3, 4), "b.running_mean": torch.zeros(4)}
    with pytest.raises(CheckpointError, match=r"2 in 'a.weight', 3 in 'b.weight'"):
        is_localnorm(mixed)


class Stranger(nn.BatchNorm2d):
    """A subclass may do more in its forward."""


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3)), "no BatchNorm layer"),
        (nn.Sequential(nn.GroupNorm(2, 4)), "no BatchNorm layer"),
        (nn.Sequential(nn.BatchNorm1d(4)), "no BatchNorm layer over feature maps"),
        (Plain(lambda channels: LocalNorm2d(channels, 2)), "has LocalNorm layers already"),
        (Plain(Stranger), "layer 'norm1' is of a kind that is not understood: .*Stranger"),
        (Plain(lambda channels: nn.BatchNorm2d(channels, track_running_stats=False)), "stores no statistics"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_one_line(network: nn.Module, words: str) -> None:
    types = [type(module) for module in network.modules()]
    with pytest.raises(ModelError, match=words) as caught:
        convert_localnorm(network, 2)
    assert "\n" not in str(caught.value)
    assert [type(module) for module in network.modules()] == types  # untouched


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="groups >= 1"):
        convert_localnorm(Plain(nn.BatchNorm2d), 0)
    with pytest.raises(ModelError, match="no LocalNorm layer"):
        to_batchnorm(Plain(nn.BatchNorm2d))


def test_frozen_batchnorm_becomes_trainable_localnorm() -> None:
    network = convert_localnorm(Plain(FrozenBatchNorm2d), 2)
    assert all(
        isinstance(network.get_parameter(f"norm1.{part}"), nn.Parameter) for part in ("weight", "bias")
    )
    network.train()(images(4)).sum().backward()
    assert network.norm1.weight.grad is not None


@pytest.mark.parametrize("end", ["first", "last"])
@pytest.mark.parametrize("count", [1, 2])
def test_counted_layers_are_those_of_the_modes(end: str, count: int) -> None:
    network = build("resnet18")
    names = [name for name, _ in norm_layers(network)]
    convert_localnorm(network, groups=2, layers=(f"{end}{count}",))
    local = [name for name, layer in norm_layers(network) if isinstance(layer, LocalNorm2d)]
    assert local == (names[:count] if end == "first" else names[-count:])
