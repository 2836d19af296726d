"""LocalNorm networks in every mode: a pass for each group, and how the passes are combined."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch

from lnbench.errors import UsageError
from lnbench.norm.convert import convert_localnorm, to_batchnorm
from lnbench.norm.localnorm import LocalNorm2d
from lnbench.norm.modes.local import combine
from lnbench.norm.modes.registry import parse
from lnbench.norm.state import State
from lnbench.norm.wrap import attach
from tests.norm.networks import (
    ROUNDING,
    build,
    images,
    run,
    scattered,
)

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "hand-made"])
def test_localnorm_networks_whose_groups_agree_are_the_original(name: str) -> None:
    network, local, x = build(name), convert_localnorm(build(name), 2), images(6)
    layers, locals_ = attach(network), attach(local)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for mode in ("fixed", "local", "blend:N=4", "blend:N=4,scope=batch", "adapt:n=6"):
            expected = run(network, layers, mode, x)
            for group in (0, 1) if mode == "local" else (None,):
                torch.testing.assert_close(run(local, locals_, mode, x, group), expected, **ROUNDING)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_batch_on_localnorm_is_its_training_forward(groups: int) -> None:
    network, x = scattered("mobilenet_v2", groups), images(8)
    reference = copy.deepcopy(network)
    for layer in reference.modules():
        if isinstance(layer, LocalNorm2d):
            layer.train()
    expected = reference(x)
    torch.testing.assert_close(run(network, attach(network), "batch", x), expected, **ROUNDING)


def test_local_on_localnorm_is_one_pass_for_each_group() -> None:
    network, x = scattered("resnet18", 3), images(4)
    plain = copy.deepcopy(network)
    layers = attach(network)
    assert layers.groups == 3
    assert parse("local").passes(3) == parse("local:vote=mean").passes(3) == 3
    assert parse("local:group=1").passes(3) == 1
    for mode in ("fixed", "batch", "blend", "adapt"):
        assert parse(mode).passes(3) == 1
    single = []
    for group in range(3):
        for layer in plain.modules():
            if isinstance(layer, LocalNorm2d):
                layer.group = group
        single.append(run(network, layers, "local", x, group))
        torch.testing.assert_close(single[-1], plain(x), **ROUNDING)
    state = State()
    for text, outputs in (("local", single), ("local:group=2", single[2:]), ("local:vote=mean", single)):
        mode = parse(text)
        layers.use(mode, state)
        for got, wanted in zip(
            mode.predict(network, x, state, 3),
            combine(torch.stack(outputs), mode.options["vote"]),
            strict=True,
        ):
            assert torch.equal(got, wanted)


def test_local_of_localnorm_layers_alone_is_what_the_plain_network_computes() -> None:
    network, x = convert_localnorm(build("resnet18"), 1, ("bn1", "layer1")), images(5)
    wanted = network(x)  # evaluation: LocalNorm layers by the image, BatchNorm layers by what they stored
    layers = attach(network)
    result = run(network, layers, "local:layers=localnorm", x, 0)
    torch.testing.assert_close(result, wanted, **ROUNDING)
    assert not torch.allclose(run(network, layers, "local", x, 0), wanted, atol=0.1)


def test_local_of_localnorm_layers_is_local_where_there_are_no_others() -> None:
    network, x = scattered("plain"), images(4)
    layers = attach(network)
    for group in (0, 1):
        local = run(network, layers, "local", x, group)
        assert torch.equal(run(network, layers, "local:layers=localnorm", x, group), local)


def test_local_of_localnorm_layers_needs_some() -> None:
    layers = attach(build("plain"))
    with pytest.raises(UsageError, match="the network has no LocalNorm layers"):
        layers.use(parse("local:layers=localnorm"))


def test_fixed_on_localnorm_is_the_averaged_batchnorm() -> None:
    for groups in (1, 3):
        network, x = scattered("resnet18", groups), images(4)
        expected = to_batchnorm(copy.deepcopy(network))(x)
        torch.testing.assert_close(run(network, attach(network), "fixed", x), expected, **ROUNDING)


def test_ordinary_networks_need_one_pass_and_have_no_groups_to_name() -> None:
    assert parse("local").passes(1) == 1
    with pytest.raises(UsageError, match="no group 2"):
        parse("local:group=2").refuse(attach(build("plain")).setting(200, 800))
    with pytest.raises(UsageError, match=r"no group 5; .* 3"):
        parse("local:group=5").refuse(attach(scattered("plain", 3)).setting(200, 800))


def test_a_batch_that_cannot_be_cut_is_refused() -> None:
    network = scattered("plain", 4)
    layers = attach(network)
    with pytest.raises(UsageError, match=r"6 images .* 4 groups .*--batch-size.* multiple of 4"):
        run(network, layers, "batch", images(6))


def test_combine_votes_and_averages() -> None:
    # Three passes, two images. The first image's votes tie between classes 1 and 2 and 0.
    logits = torch.tensor(
        [
            [[0.0, 0.0, 9.0], [5.0, 0.0, 0.0]],
            [[0.0, 3.0, 0.0], [0.0, 1.0, 0.0]],
            [[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
        ]
    )
    mean = logits.softmax(-1).mean(0)
    log_probs, predicted = combine(logits, "majority")
    assert predicted.tolist() == [0, 1]  # tie to the lowest class; two votes against one
    torch.testing.assert_close(log_probs, mean.log())
    log_probs, predicted = combine(logits, "mean")
    assert predicted.tolist() == mean.argmax(-1).tolist() == [2, 0]
    torch.testing.assert_close(log_probs, mean.log())
    log_probs, predicted = combine(logits[:1], "majority")
    assert predicted.tolist() == [2, 0]
    torch.testing.assert_close(log_probs, logits[0].log_softmax(-1))


def test_combine_against_bincount() -> None:
    logits = torch.randn(8, 40, 5, generator=torch.Generator().manual_seed(0))
    _, predicted = combine(logits, "majority")
    votes = logits.argmax(-1).T
    assert predicted.tolist() == [int(torch.bincount(row, minlength=5).argmax()) for row in votes]
