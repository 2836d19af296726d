"""The switch around norm layers: what each mode computes, and that nothing of the network changes."""

from __future__ import annotations

import copy
import gc
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from lnbench.errors import ModelError
from lnbench.norm.layer import is_understood
from lnbench.norm.localnorm import LocalNorm2d
from lnbench.norm.modes.registry import make, parse
from lnbench.norm.state import State
from lnbench.norm.wrap import NormLayers, attach
from tests.norm.networks import (
    BUILDERS,
    ROUNDING,
    HandMade,
    Plain,
    build,
    fingerprint,
    images,
    run,
    scattered,
)

pytestmark = pytest.mark.usefixtures("no_gradients")

NETWORKS = sorted(BUILDERS)
QUICK = [name for name in NETWORKS if name not in ("densenet121", "mobilenet_v2")]
MODES = ["fixed", "batch", "local", "local:vote=mean", "blend:N=4", "blend:N=4,scope=batch", "adapt:n=8"]


def with_layers(name: str, change: Callable[[nn.Module], None]) -> nn.Module:
    network = build(name)
    for layer in network.modules():
        if is_understood(layer):
            change(layer)
    return network


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", NETWORKS)
def test_fixed_is_bit_identical_and_nothing_changes(name: str, memory_format: torch.memory_format) -> None:
    network, x = build(name), images(4).contiguous(memory_format=memory_format)
    expected, before, tree = network(x), fingerprint(network), list(network.state_dict())
    layers = attach(network)
    assert torch.equal(network(x), expected)
    for mode in MODES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 1x1 maps at the end of the networks
            y = run(network, layers, mode, x)
        assert y.isfinite().all()
        assert torch.equal(y, expected) == (mode == "fixed")
    layers.use(parse("fixed"))
    assert torch.equal(network(x), expected)
    layers.detach()
    assert list(network.state_dict()) == tree and fingerprint(network) == before
    assert torch.equal(network(x), expected)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "efficientnet_b0", "plain"])
def test_batch_is_training_mode_without_its_side_effects(name: str) -> None:
    network, x = build(name), images(6)
    reference = copy.deepcopy(network)
    for layer in reference.modules():
        if is_understood(layer):
            layer.train()
    expected = reference(x)
    torch.testing.assert_close(run(network, attach(network), "batch", x), expected, **ROUNDING)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_local_is_instance_norm_with_the_layers_weights(memory_format: torch.memory_format) -> None:
    network, x = build("plain"), images(5).contiguous(memory_format=memory_format)
    y = run(network, attach(network), "local", x)
    # Written out with torch's own instance norm.
    plain = build("plain")
    for name in ("norm1", "norm2"):
        norm = getattr(plain, name)
        wanted = nn.InstanceNorm2d(norm.num_features, eps=norm.eps, affine=True)
        wanted.load_state_dict({"weight": norm.weight, "bias": norm.bias})
        setattr(plain, name, wanted)
    torch.testing.assert_close(y, plain(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", QUICK)
def test_a_batch_of_one_is_an_image(name: str) -> None:
    network = build(name)
    layers, x = attach(network), images(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        local, batch = run(network, layers, "local", x), run(network, layers, "batch", x)
        torch.testing.assert_close(local, batch, **ROUNDING)
        image, scoped = (run(network, layers, f"blend:N=3{scope}", x) for scope in ("", ",scope=batch"))
        torch.testing.assert_close(image, scoped, **ROUNDING)


@pytest.mark.parametrize("name", QUICK)
def test_blends_end_in_fixed_and_in_the_target(name: str) -> None:
    network, x = build(name), images(6)
    layers = attach(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for scope, target in (("image", "local"), ("batch", "batch")):
            far = run(network, layers, make("blend", N=float("inf"), scope=scope), x)
            torch.testing.assert_close(far, run(network, layers, "fixed", x), **ROUNDING)
            near = run(network, layers, make("blend", N=0.0, scope=scope), x)
            torch.testing.assert_close(near, run(network, layers, target, x), **ROUNDING)


@pytest.mark.parametrize("scope", ["image", "batch"])
def test_blend_weighs_stored_by_n_against_the_number_of_images(scope: str) -> None:
    # One layer, so that what it should do can be written down.
    network = nn.Sequential(build("plain").conv1, build("plain").norm1)
    x = images(6)
    y = run(network, attach(network), f"blend:N=10,scope={scope}", x)
    maps, norm, n = build("plain").conv1(x).double(), build("plain").norm1, 1 if scope == "image" else 6
    axes = (2, 3) if scope == "image" else (0, 2, 3)
    share = 10 / (10 + n)

    def mixed(stored: Tensor, target: Tensor) -> Tensor:
        return share * stored.double().view(1, -1, 1, 1) + (1 - share) * target

    mean = mixed(norm.running_mean, maps.mean(axes, keepdim=True))
    var = mixed(norm.running_var, maps.var(axes, correction=0, keepdim=True))
    expected = (maps - mean) / (var + norm.eps).sqrt() * norm.weight.view(1, -1, 1, 1)
    expected = expected + norm.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", QUICK)
def test_adapting_to_a_batch_and_showing_it_again_is_batch_mode(name: str) -> None:
    network, x = build(name), images(6)
    layers = attach(network)
    if name == "hand-made":
        return  # its shared layer sees two different inputs and adapts to their average
    adapted = run(network, layers, "adapt:n=6", x)
    torch.testing.assert_close(adapted, run(network, layers, "batch", x), **ROUNDING)


def adapted(network: nn.Module, layers: NormLayers, x: Tensor) -> State:
    """What mode `adapt` keeps of `x`."""
    mode, state = parse("adapt"), State()
    layers.use(mode, state)
    mode.begin(network, lambda *_: x, state)
    return state


def test_what_a_mode_keeps_survives_other_modes_and_other_states() -> None:
    network, x, other = build("resnet18"), images(6), images(6, seed=1)
    layers, mode = attach(network), parse("adapt")
    state = adapted(network, layers, x)
    first = network(x)
    layers.use(parse("batch"))
    network(other)
    adapted(network, layers, other)
    assert not torch.equal(network(x), first)
    layers.use(mode, state)
    assert torch.equal(network(x), first)


def test_a_shared_layer_adapts_to_all_it_saw() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.norm(x))

    network = Twice().eval()
    layers, x = attach(network), images(4)
    state = adapted(network, layers, x)
    once = F.batch_norm(x, None, None, training=True)
    for got, index in zip(state.statistics["norm"], range(2), strict=True):
        both = [torch.var_mean(seen, (0, 2, 3), correction=0)[1 - index] for seen in (x, once)]
        torch.testing.assert_close(got, (both[0] + both[1]) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["fixed", "local", "blend:N=4", "adapt:n=8"])
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "hand-made"])
def test_splitting_the_batch_changes_nothing_where_it_is_no_part_of_the_answer(name: str, mode: str) -> None:
    network, x = build(name), images(8)
    for made in (lambda: network, lambda: scattered(name)):
        net = made()
        layers = attach(net)
        state = State()
        layers.use(parse(mode), state)
        parse(mode).begin(net, lambda *_: x, state)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = net(x)
            for size in (1, 3, 5):
                parts = torch.cat([net(part) for part in x.split(size)])
                # Convolutions choose other algorithms for other batch sizes: rounding, no more.
                torch.testing.assert_close(parts, whole, **ROUNDING)
        layers.detach()


def test_one_value_is_defined_and_warned_about_once() -> None:
    network = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(3)
    ).eval()
    network[1].bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    network[3].bias.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    layers = attach(network)
    for mode, count in (("batch", 1), ("local", 5)):
        layers.switch.said.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                y = run(network, layers, mode, images(count))
        assert [str(warning.message).split(":")[0] for warning in caught] == ["layer '1'"]
        assert torch.equal(y, network[3].layer.bias.expand(count, -1))


def test_observe_gives_what_layers_see_and_store() -> None:
    network, x = build("resnet18"), images(6)
    seen: dict[str, Tensor] = {}
    names = [name for name, layer in network.named_modules() if is_understood(layer)]
    handles = [
        network.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: seen.setdefault(name, inputs[0])
        )
        for name in names
    ]
    network(x)
    for handle in handles:
        handle.remove()
    layers = attach(network)
    layers.use(parse("batch"))
    observations = layers.observe(lambda: network(x))
    assert [row.name for row in observations] == names == list(layers.names)
    for row in observations:
        layer = network.get_submodule(row.name).layer
        assert torch.equal(row.stored_mean, layer.running_mean) and torch.equal(
            row.stored_var, layer.running_var
        )
        torch.testing.assert_close(row.observed_mean, seen[row.name].mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
        var = seen[row.name].var((0, 2, 3), correction=0)
        torch.testing.assert_close(row.observed_var, var, rtol=1e-4, atol=1e-5)
        assert {values.dtype for values in row[1:]} == {torch.float32}
    assert layers.switch.mode == parse("batch")  # as it was
    assert layers.observe(lambda: None) == []


@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("mode", MODES)
def test_16_bit_networks_keep_float32_statistics(mode: str, groups: int | None) -> None:
    network = build("plain") if groups is None else scattered("plain", groups)
    exact, x = copy.deepcopy(network), images(8).to(torch.bfloat16)
    layers, network = attach(network), network.to(torch.bfloat16)
    y = run(network, layers, mode, x)
    assert y.dtype == torch.bfloat16
    state = layers.switch.state
    for layer in layers.layers:
        known = layer.known
        for values in (*known.statistics, *known.affine(state), *state.statistics.get(known.name, ())):
            assert values.dtype == torch.float32
    # Each of five operations rounds to 8 bits.
    torch.testing.assert_close(y.float(), run(exact, attach(exact), mode, x.float()), rtol=0.05, atol=0.1)


def test_float64_networks_stay_float64() -> None:
    network, x = build("plain").double(), images(4).double()
    layers = attach(network)
    for mode in ("batch", "local", "blend", "adapt"):
        assert run(network, layers, mode, x).dtype == torch.float64


def test_a_network_that_is_moved_or_trained_is_read_again() -> None:
    network = scattered("plain", 2)
    layers = attach(network)
    network.norm1.layer.weight.mul_(2)
    network.eval()
    expected = network.norm1.layer.weight.mean(0)
    torch.testing.assert_close(layers.layers[0].known.affine(State())[0], expected)
    network.to("meta")
    assert {layer.known.weights.device.type for layer in layers.layers} == {"meta"}


def test_in_training_the_layers_are_transparent() -> None:
    network = build("plain").train()
    reference, x = copy.deepcopy(network), images(4)
    layers = attach(network)
    layers.use(parse("local"))
    assert torch.equal(network(x), reference(x))
    assert torch.equal(network.norm1.layer.running_mean, reference.norm1.running_mean)


def test_detach_leaves_nothing_behind() -> None:
    network = build("resnet18")
    types = [type(module) for module in network.modules()]
    layers = attach(network)
    layers.detach("bn1")
    assert type(network.bn1) is nn.BatchNorm2d and "bn1" not in layers.names
    layers.detach()
    assert [type(module) for module in network.modules()] == types and len(layers) == 0
    gc.collect()
    attach(network)


def test_attaching_twice_is_refused() -> None:
    network = build("plain")
    attach(network)
    with pytest.raises(ValueError, match="detach"):
        attach(network)


def test_a_network_without_norm_layers_has_none() -> None:
    for network in (nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.GroupNorm(1, 4), nn.InstanceNorm2d(4))):
        layers = attach(network)
        assert len(layers) == 0 and layers.names == () and layers.groups == 1
        assert layers.observe(lambda: None) == []


class Stranger(nn.BatchNorm2d):
    """A subclass may do more in its forward."""


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Plain(Stranger), r"layer 'norm1' is of a kind that is not understood: .*Stranger.*BatchNormAct2d"),
        (
            Plain(lambda channels: nn.InstanceNorm2d(channels, track_running_stats=True)),
            "not understood.*Instance",
        ),
        (Plain(lambda channels: nn.BatchNorm2d(channels, track_running_stats=False)), "stores no statistics"),
        (Plain(lambda channels: LocalNorm2d(channels, channels)), r"groups: \[6, 8\]"),
        (nn.BatchNorm2d(3), "single normalization layer"),
    ],
)
def test_networks_that_are_not_understood_are_refused_by_name(network: nn.Module, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        attach(network.eval())
    assert "\n" not in str(caught.value)


def test_modes_compile() -> None:
    network, x = build("plain"), images(4)
    layers = attach(network)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    for mode in ("fixed", "batch", "local", "blend:N=4"):
        layers.use(parse(mode))
        torch.testing.assert_close(compiled(x), network(x), rtol=1e-5, atol=1e-5)


def test_frozen_batchnorm_has_all_modes() -> None:
    frozen, plain, x = Plain(FrozenBatchNorm2d).eval(), Plain(nn.BatchNorm2d).eval(), images(4)
    plain.load_state_dict(frozen.state_dict(), strict=False)
    for mode in ("fixed", "batch", "local", "blend:N=4"):
        results = []
        for network in (frozen, plain):
            layers = attach(network)
            results.append(run(network, layers, mode, x))
            layers.detach()
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_hand_made_network_has_every_axis() -> None:
    layers = attach(HandMade().eval())
    assert layers.names == ("bn3", "bn2", "bn1", "bn0")
