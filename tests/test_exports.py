"""The public names: listed here, present, loaded only when used, and what their examples say."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
from types import ModuleType

import pytest

import lnbench
from lnbench import testing
from lnbench.corruptions.registry import CORRUPTIONS
from lnbench.data.registry import sources
from lnbench.metrics import METRICS
from lnbench.norm.modes.registry import KINDS

PUBLIC = [
    "Corrupt",
    "Key",
    "LocalNorm2d",
    "RunComparison",
    "RunRecord",
    "__version__",
    "compare",
    "convert_localnorm",
    "corrupt",
    "corruption",
    "corruptions",
    "evaluate",
    "metric",
    "mode",
    "modes",
    "norm_mode",
    "presets",
    "read",
    "source",
    "to_batchnorm",
    "with_mode",
]


def test_the_public_names_are_these_and_exist() -> None:
    assert lnbench.__all__ == PUBLIC == sorted(PUBLIC) == dir(lnbench)
    for name in PUBLIC:
        assert getattr(lnbench, name) is not None
        assert not isinstance(getattr(lnbench, name), ModuleType)
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        lnbench.evaluat  # noqa: B018


@pytest.mark.parametrize(
    "imports",
    [
        "import lnbench.corruptions.registry",
        "import lnbench.evaluate.loop",
        "from lnbench.evaluate import loop; loop.run",
        "from lnbench.corruptions import registry",
        "import importlib; importlib.import_module('lnbench.corruptions')",
        "import lnbench; lnbench.corruptions(); import lnbench.corruptions.rng",
    ],
)
def test_a_folder_of_the_same_name_does_not_hide_a_function(imports: str) -> None:
    code = f"{imports}; import lnbench; print(len(lnbench.corruptions()) >= 19, lnbench.evaluate.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True lnbench.api"


def test_importing_lnbench_or_its_command_line_loads_no_torch() -> None:
    names = "('torch', 'numpy', 'pydantic', 'rich.table')"
    code = f"import sys, lnbench, lnbench.cli; print([m for m in {names} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_lnbench_alone_imports_nothing_but_the_standard_library() -> None:
    """Which is what keeps it under 50 ms anywhere; a clock would be another machine's."""
    code = "import sys; before = set(sys.modules); import lnbench; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new = {name.strip("'[] \n") for name in done.stdout.split(",")}
    assert {name.split(".")[0] for name in new} - sys.stdlib_module_names == {"lnbench"}, new
    assert not any(name.startswith("lnbench.") for name in new), new


@pytest.mark.parametrize(
    "name", [*(name for name in PUBLIC if name != "__version__"), "assert_no_regression"]
)
def test_the_examples_say_what_happens(name: str) -> None:
    thing = getattr(testing if name == "assert_no_regression" else lnbench, name)
    module = importlib.import_module(thing.__module__)
    finder = doctest.DocTestFinder(recurse=False)
    found = finder.find(thing, name, module=module, globs={})
    assert any(test.examples for test in found), f"{name} shows no example"
    registries = (CORRUPTIONS, KINDS, METRICS, sources())
    before = [dict(registry) for registry in registries]
    try:
        for example in found:
            report: list[str] = []
            doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=report.append)
            assert not report, "".join(report)
    finally:  # what an example registers is its own
        for registry, known in zip(registries, before, strict=True):
            for added in registry.keys() - known.keys():
                del registry[added]
