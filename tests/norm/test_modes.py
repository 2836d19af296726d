from __future__ import annotations

import contextlib
from typing import Annotated, Literal, get_args, get_origin

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lnbench.errors import UsageError
from lnbench.norm.modes import options, registry
from lnbench.norm.modes.registry import Mode, Option, Setting, make, parse
from lnbench.norm.selection import select
from lnbench.norm.state import State
from lnbench.norm.wrap import FIXED, attach
from tests.norm.networks import build, images

PLAIN = st.characters(exclude_characters=",").filter(str.isprintable)
LAYERS = st.sampled_from(["all", "localnorm", "first3", "last1", "bn1|layer1.*"])


@st.composite
def modes(draw: st.DrawFn) -> Mode:
    """Any mode of the registry with any values its options take."""
    kind = registry.find(draw(st.sampled_from(registry.names())))
    given_: dict[str, object] = {}
    for name, (declared, option, _) in kind.options.items():
        possible = get_args(declared) if options.is_union(declared) else (declared,)
        values = []
        for one in possible:
            if get_origin(one) is Literal:
                values.append(st.sampled_from(get_args(one)))
            elif one is int:
                values.append(st.integers(max(0, int(option.least)), 10**6))
            elif one is float:
                values.append(st.floats(max(0, option.least), 1e12, allow_nan=False).map(abs))
            elif one is str:
                values.append(st.text(PLAIN, min_size=1).filter(lambda text: text == text.strip()))
            else:
                values.append(st.none())
        given_[name] = draw(st.one_of(values))
    return make(kind.name, draw(LAYERS), **given_)


@given(modes())
def test_canonical_text_parses_back(mode: Mode) -> None:
    try:
        mode.refuse(None)
    except UsageError:
        with pytest.raises(UsageError):
            parse(str(mode))
        return
    assert parse(str(mode)) == mode and hash(parse(str(mode))) == hash(mode)


@pytest.mark.parametrize("name", registry.names())
def test_every_mode_describes_itself_its_options_and_its_unit(name: str) -> None:
    kind = registry.find(name)
    assert kind.about and "\n" not in registry.describe(name)
    for option, (_, said, _) in kind.options.items():
        assert said.about, f"{name}: {option} says nothing"
    assert make(name).unit in ("image", "batch", "stream")
    assert parse(name) == make(name)


@pytest.mark.parametrize("name", registry.names())
def test_layers_that_a_mode_is_not_for_stay_fixed(name: str) -> None:
    """One layer in the mode is the same as the whole network in `fixed` behind that layer's output."""
    network, x = build("resnet18"), images(6)
    layers, state = attach(network), State()
    with torch.no_grad():
        expected = network(x)
        mode = make(name, "layer4.1.bn2")
        layers.use(mode, state)
        mode.begin(network, lambda *_: x, state)
        y = network(x)
        assert torch.equal(y, expected) == (mode.kind == "fixed")
        seen: list[torch.Tensor] = []
        network.layer1[0].conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        state = State()
        layers.use(make(name, "bn1"), state)
        make(name, "bn1").begin(network, lambda *_: x, state)
        y = network(x)
        layers.use(FIXED)
        rest = network.layer4(network.layer3(network.layer2(network.layer1(seen[-1]))))
        assert torch.equal(network.fc(network.avgpool(rest).flatten(1)), y)


@pytest.mark.parametrize(
    ("layers", "picked"),
    [
        ("all", "abcde"), ("first2", "ab"), ("last2", "de"),
        ("first0", ""), ("last0", ""), ("localnorm", "b"), ("c", "c"), ("a|e", "ae"),
        ("[bc]", "bc"), ("*", "abcde"),
    ],
)  # fmt: skip
def test_layers_are_picked(layers: str, picked: str) -> None:
    assert select(layers, tuple("abcde"), ("b",), "local") == frozenset(picked)


@pytest.mark.parametrize("layers", ["first6", "last9", "z", "layer1"])
def test_layers_that_are_not_there_are_refused(layers: str) -> None:
    with pytest.raises(UsageError, match="norm layer") as caught:
        parse(f"batch:layers={layers}").refuse(Setting(tuple("abcde"), (), 1, 200, 800))
    assert "\n" not in str(caught.value)


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        registry.mode("fixed")(lambda x, layer, state: x)


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("fixed", "fixed"),
        ("batch", "batch"),
        ("local", "local"),
        ("local:vote=majority", "local"),
        ("local:vote=mean", "local:vote=mean"),
        ("local:group=0", "local:group=0"),
        ("local:layers=first3,group=0", "local:group=0,layers=first3"),
        ("local:layers=all", "local"),
        ("batch:layers=first007", "batch:layers=first7"),
        ("blend", "blend:N=16"),
        ("blend:N=16.0", "blend:N=16"),
        ("blend:scope=batch", "blend:N=16,scope=batch"),
        (" blend: scope = image , N = .5 ", "blend:N=0.5"),
        ("blend:N=-0", "blend:N=0"),
        ("adapt", "adapt:n=32"),
        ("adapt:n=8", "adapt:n=8"),
        ("adapt:draws=4", "adapt:n=32,draws=4"),
        ("batch:size=016", "batch:size=16"),
        ("blend:layers=first2,scope=batch,size=8,N=4", "blend:N=4,scope=batch,size=8,layers=first2"),
    ],
)
def test_canonical_text(typed: str, canonical: str) -> None:
    assert str(parse(typed)) == canonical


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "unknown mode"),
        ("batches", "did you mean batch"),
        ("blend:M=3", "did you mean|takes"),
        ("blend:scop=batch", "did you mean scope"),
        ("blend:scope=group", "image or batch"),
        ("blend:N=-1", "at least 0"),
        ("blend:N=nan", "at least 0"),
        ("blend:N=inf", "at least 0"),
        ("blend:N=", "no value"),
        ("blend:N", "no value"),
        ("blend:N=1,N=2", "twice"),
        ("blend:,", "unknown option"),
        ("adapt:n=0", "at least 1"),
        ("adapt:draws=1", "at least 2"),
        ("adapt:n=3.5", "whole number"),
        ("adapt:n=٣", "whole number"),
        ("adapt:n=" + "9" * 5000, "whole number"),
        ("local:group=-1", "whole number"),
        ("local:vote=none", "majority or mean"),
        ("local:vote=mean,group=1", "not both"),
        ("fixed:n=3", "takes layers"),
        ("local:layers=first" + "9" * 30, "no network"),
        ("local:layers=a/b", "layers takes"),
        ("local:size=8", "has no batches"),
        ("blend:size=8", "has no batches"),
        ("batch:size=0", "at least 1"),
        ("batch:siz=8", "did you mean size"),
    ],
)
def test_bad_modes_are_refused_in_one_line(typed: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse(typed)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_a_mode_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse(str(parse(text))) == parse(text)


def test_what_a_prediction_depends_on() -> None:
    units = {name: make(name).unit for name in ("fixed", "batch", "local", "blend", "adapt")}
    assert units == {"fixed": "image", "batch": "batch", "local": "image", "blend": "image", "adapt": "image"}
    assert parse("blend:scope=batch").unit == "batch"


def test_options_of_every_part_are_the_modes() -> None:
    def begin(forward: object, images: object, state: object, *, c: Annotated[int, Option("c")] = 1) -> None:
        raise NotImplementedError

    @registry.mode("test-parts", begin=begin, unit=lambda *, b: "stream" if b == "on" else "image")
    def parts(
        x: object, layer: object, state: object, *, b: Annotated[Literal["on", "off"], Option("b")] = "off"
    ) -> object:
        """Parts."""
        raise NotImplementedError

    try:
        assert str(parse("test-parts:c=3,b=on")) == "test-parts:b=on,c=3"
        assert parse("test-parts:b=on").unit == "stream" and parse("test-parts").unit == "image"
        assert registry.describe("test-parts") == "Parts; b=off|on, c=1"
    finally:
        del registry.KINDS["test-parts"]
