from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lnbench.errors import UsageError
from lnbench.norm.modes.registry import Setting, parse
from tests.norm import official
from tests.norm.networks import build, images
from tests.norm.streams import along, assert_same, case, drifting, published

DTYPES = [torch.float64, torch.float32]
# With these, some images pass each filter and some do not.
FILTERS = {"plain": "margin=0.85,d=0.96", "resnet20": "margin=0.4,d=0.4"}
LR = {"plain": 0.01, "resnet20": 0.00025}
CLASSES = {"plain": 5, "resnet20": 10}


def sgd(parameters: list[Tensor], lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr, momentum=0.9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["plain", "resnet20"])
def test_eta_is_its_authors(
    shared: Path, monkeypatch: pytest.MonkeyPatch, name: str, dtype: torch.dtype
) -> None:
    theirs = official.load(shared, "eata/eata.py", monkeypatch)
    network, stream = case(name, shared, dtype)
    text = f"eta:lr={LR[name]},{FILTERS[name]}"
    options = parse(text).options
    made: list[nn.Module] = []

    def make(configured: nn.Module, parameters: list[Tensor]) -> nn.Module:
        margin = options["margin"] * math.log(CLASSES[name])
        made.append(
            theirs.EATA(configured, sgd(parameters, LR[name]), e_margin=margin, d_margin=options["d"])
        )
        return made[0]

    wanted = published(theirs, network, stream, make)
    got = along(network, text, stream)
    assert_same(got, wanted, dtype)
    counts = got.state.counts
    assert counts["samples"] == made[0].num_samples_update_2
    assert counts["reliable"] == made[0].num_samples_update_1
    assert 0 < counts["samples"] < counts["reliable"] < sum(len(x) for x in stream)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["plain", "resnet20"])
def test_eata_is_its_authors_with_their_fisher_information(
    shared: Path, monkeypatch: pytest.MonkeyPatch, name: str, dtype: torch.dtype
) -> None:
    """Their script measures it by a loop over batches of 64 of clean images; here over the stream's first."""
    theirs = official.load(shared, "eata/eata.py", monkeypatch)
    network, stream = case(name, shared, dtype)
    text = f"eata:fisher=80,alpha=500,lr={LR[name]},{FILTERS[name]}"
    options = parse(text).options

    def make(configured: nn.Module, parameters: list[Tensor]) -> nn.Module:
        fishers: dict[str, list[Tensor]] = {}
        named = {n: p for n, p in configured.named_parameters() if p.requires_grad}
        for part in torch.cat(stream)[:80].split(64):
            logits = configured(part)
            nn.functional.cross_entropy(logits, logits.argmax(1)).backward()
            for key, parameter in named.items():
                assert parameter.grad is not None
                added = parameter.grad**2 / 2
                fishers[key] = [added + fishers[key][0] if key in fishers else added, parameter.data.clone()]
                parameter.grad = None
        margin = options["margin"] * math.log(CLASSES[name])
        return theirs.EATA(  # type: ignore[no-any-return]
            configured, sgd(parameters, LR[name]), fishers, 500.0, e_margin=margin, d_margin=options["d"]
        )

    wanted = published(theirs, network, stream, make)
    got = along(network, text, stream)
    assert_same(got, wanted, dtype)
    free = along(network, text.replace("alpha=500", "alpha=0"), stream)
    assert not torch.allclose(free.logits[-1], got.logits[-1], atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_reset_after_so_many_batches_is_rdumb(
    shared: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """Theirs resets every 1000 batches; here every 3 of 8."""
    functional = official.load(shared, "rdumb/functional.py", monkeypatch)
    network, stream = case("plain", shared, dtype)
    # Their constants are those of 1000 classes: a head that gives each image classes of its own.
    network.head, classes = nn.Identity(), nn.Linear(8, 1000).to(dtype)
    torch.manual_seed(4)
    with torch.no_grad():
        nn.init.normal_(classes.weight, std=30)
        classes.bias.copy_(-classes.weight @ network(stream[0]).mean(0))
    network.head = classes

    class Adaptive(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()

    models = official.stub(
        "models", AdaptiveModel=Adaptive, functional=functional, register=lambda name: lambda made: made
    )
    theirs = official.load(shared, "rdumb/rdumb.py", monkeypatch, ("% 1000", "% 3"), models=models)
    wanted = published(functional, network, stream, lambda configured, _: theirs.RDumb(configured))
    got = along(network, "eta:reset=3,d=0.05", stream)
    assert_same(got, wanted, dtype)
    assert got.state.counts["resets"] == 2 and got.state.counts["updates"] > 3


def test_shut_filters_are_batch_and_open_ones_begin_as_it() -> None:
    stream = drifting(count=4)
    batch = along(build("plain"), "batch", stream).logits
    shut = along(build("plain"), "eta:margin=0,lr=0.1", stream)
    assert all(torch.equal(*pair) for pair in zip(shut.logits, batch, strict=True))
    assert shut.state.counts["updates"] == 0
    wide = along(build("plain"), "eta:margin=2,d=2,lr=0.1", stream)
    assert torch.equal(wide.logits[0], batch[0]) and not torch.allclose(wide.logits[1], batch[1], atol=1e-3)
    assert wide.state.counts["samples"] == sum(len(x) for x in stream)


def test_a_reset_forgets_the_average_prediction_and_keeps_the_fisher_information() -> None:
    """Their reset keeps the average prediction; so a reset there is not a fresh run, here it is."""
    stream, text = drifting(count=6), "eta:lr=0.05,margin=0.95,d=0.97"
    whole = along(build("plain"), f"{text},reset=3", stream).logits
    parts = [y for part in (stream[:3], stream[3:]) for y in along(build("plain"), text, part).logits]
    assert all(torch.equal(*pair) for pair in zip(whole, parts, strict=True))
    state = along(build("plain"), "eata:fisher=20,margin=1,reset=3", stream).state
    assert state.counts["resets"] == 1 and set(state.extra["fisher"]) == set(state.extra["anchor"])


def test_eata_asks_for_images_without_corruption() -> None:
    mode = parse("eata:fisher=200")
    assert mode.is_begun_clean and mode.images == 200 and not parse("eta").is_begun_clean
    with pytest.raises(UsageError, match="only 100 images: use a smaller fisher, or source=DATA"):
        mode.refuse(Setting(("bn",), (), 1, 50, 100))
    with pytest.raises(
        UsageError, match="a corrupted set has none: give others by source=DATA; eta needs none"
    ):
        mode.refuse(Setting(("bn",), (), 1, 50, 1000, clean=False))
    with pytest.raises(UsageError, match="mode local"):
        mode.refuse(Setting(("bn",), (), 1, 1, 1000))
    other = parse("eata:fisher=200,source=folder:a/b=c d")
    assert other.source == "folder:a/b=c d" and mode.source is None and parse(str(other)) == other
    for setting in (Setting(("bn",), (), 1, 50, 100), Setting(("bn",), (), 1, 50, 1000, clean=False)):
        other.refuse(setting)
    with pytest.raises(UsageError, match=r"^mode 'eata:source=a\\nb': source holds characters") as caught:
        parse("eata:source=a\nb")
    assert "\n" not in str(caught.value)


def test_the_fisher_information_is_the_same_whatever_is_learned_first() -> None:
    """A state that comes from another condition has it already."""
    stream = drifting(count=4)
    state = along(build("plain"), "eata:fisher=20,lr=0.1,margin=1", stream).state
    kept = {name: values.clone() for name, values in state.extra["fisher"].items()}
    along(build("plain"), "eata:fisher=20,lr=0.1,margin=1", [images(20, 16)], state)
    assert all(torch.equal(kept[name], values) for name, values in state.extra["fisher"].items())
