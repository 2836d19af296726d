"""Model specifications: what parses, what is refused with near names, and a start without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnbench.errors import UsageError
from lnbench.models.catalog import TORCHVISION, ModelSpec, listing, parse

GOOD = {
    "torchvision:resnet50": ModelSpec("torchvision", "resnet50"),
    "torchvision:resnet50/IMAGENET1K_V2": ModelSpec("torchvision", "resnet50", "IMAGENET1K_V2"),
    "timm:resnet18.a1_in1k": ModelSpec("timm", "resnet18.a1_in1k"),
    "hf-hub:timm/resnet18.a1_in1k": ModelSpec("hf-hub", "timm/resnet18.a1_in1k"),
    "cifar:resnet110": ModelSpec("cifar", "resnet110"),
    "demo": ModelSpec("demo", "batchnorm"),
    "demo:localnorm": ModelSpec("demo", "localnorm"),
    "net.py:build": ModelSpec("file", "net.py", "build"),
    "net.py:build(width=2, kind='a, b)', sides=[1, (2, 3)])": ModelSpec(
        "file", "net.py", "build", "width=2, kind='a, b)', sides=[1, (2, 3)]"
    ),
    "mine.nets:build": ModelSpec("module", "mine.nets", "build"),
    "mine.nets:build(width=2)": ModelSpec("module", "mine.nets", "build", "width=2"),
    "/a.py:b/net.py:build": ModelSpec("file", "/a.py:b/net.py", "build"),
    "/a b/c:d/net.py:build_2": ModelSpec("file", "/a b/c:d/net.py", "build_2"),
}


@pytest.mark.parametrize("text", GOOD)
def test_specs_parse_and_print_back(text: str) -> None:
    assert parse(text) == GOOD[text]
    assert str(GOOD[text]) == text
    assert parse(f"  {text} ") == GOOD[text]


def test_demo_batchnorm_is_the_demo() -> None:
    assert str(parse("demo:batchnorm")) == "demo"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnet50", "say where it comes from: torchvision:NAME"),
        ("", "say where it comes from"),
        ("torchvison:resnet50", "unknown source of models 'torchvison': did you mean torchvision"),
        ("cifar:resnet21", "did you mean resnet"),
        ("cifar:", "'' is no name"),
        ("timm:", "'' is no name"),
        ("timm:a b", "'a b' is no name"),
        ("timm:local-dir:/etc", "'local-dir:/etc' is no name"),
        ("hf-hub:resnet18", "hf-hub:ORG/NAME"),
        ("hf-hub:a/b/c", "hf-hub:ORG/NAME"),
        ("demo:local", "did you mean localnorm"),
        ("demo:", "unknown demo network ''"),
        ("net.py", "name the function that builds the network, as in net.py:build"),
        ("net.py:", "'' is not the name of a function"),
        ("net.py:a.b()", "is not the name of a function"),
        ("net.py:build(2)", "are no arguments"),
        ("net.py:build(**{})", "are no arguments"),
        ("net.py:build(w=__import__('os'))", "are no arguments"),
        ("net.py:build(w=1, w=2)", "are no arguments"),
        ("net.py:build(w=1)(v=2)", "are no arguments"),
        ("net.py:build(w=1", "arguments end in ')'"),
        (f"net.py:build(w={'[' * 900}{']' * 900})", "are no arguments"),
        (f"net.py:build(w={'9' * 5000})", "are no arguments"),
        ("mine.nets:build()x", "arguments end in ')'"),
    ],
)
def test_wrong_specs_say_what_to_type(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@given(
    st.text(max_size=40)
    | st.builds(
        lambda kind, name: f"{kind}:{name}",
        st.sampled_from(["timm", "file.py", "demo"]),
        st.text(max_size=20),
    )
)
def test_any_text_is_a_spec_or_a_usage_error(text: str) -> None:
    try:
        spec = parse(text)
    except UsageError:
        return
    assert parse(str(spec)) == spec


def test_what_is_listed_can_be_typed() -> None:
    for name, description in listing():
        assert description and "\n" not in description
        if name.upper() != name and "NAME" not in name and "FACTORY" not in name:
            assert str(parse(name)) == name


def test_torchvision_examples_exist() -> None:
    models = pytest.importorskip("torchvision").models
    known = models.list_models(module=models)
    assert {name.partition("/")[0] for name in TORCHVISION} <= set(known)


def test_the_catalog_starts_without_torch() -> None:
    program = "import sys, lnbench.models.catalog as c; c.listing(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2], timeout=60)
