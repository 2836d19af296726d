"""JUnit XML for CI systems: a test case for each cell and each headline figure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from lnbench.files import one_line
from lnbench.results.compare import Change, Comparison, Failure, describe
from lnbench.results.tables import outcome

# Characters that XML 1.0 cannot hold, escaped or not.
LONGEST = 10_000  # characters of a text
FORBIDDEN = re.compile(r"[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


def clean(value: str) -> str:
    """A text that XML can hold, on one line."""
    return FORBIDDEN.sub("�", one_line(value, LONGEST))


def to_junit(comparison: Comparison) -> str:
    """The comparison as one test suite; missing cells fail, or are skipped after --allow-mismatch."""
    cases = [
        _change_case(change, comparison.failures) for change in (*comparison.cells, *comparison.headlines)
    ]
    known = {change.name for change in (*comparison.cells, *comparison.headlines)}
    cases += [_missing_case(name, bool(comparison.mismatches)) for name in comparison.missing]
    known |= set(comparison.missing)
    general = [failure for failure in comparison.failures if failure.where not in known]
    cases += [_failed_case("lnbench.compare", failure.rule, [failure]) for failure in general]
    cases += [_pending_case(text) for text in comparison.unfinished]
    failed = sum(case.find("failure") is not None for case in cases)
    skipped = sum(case.find("skipped") is not None for case in cases)
    totals = {
        "tests": str(len(cases)),
        "failures": str(failed),
        "errors": str(len(comparison.unfinished)),
    }
    root = ElementTree.Element("testsuites", {"name": "lnbench compare", **totals, "time": "0"})
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": "lnbench compare", **totals, "skipped": str(skipped), "time": "0"}
    )
    suite.extend(cases)
    ElementTree.SubElement(suite, "system-out").text = clean(outcome(comparison))
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _change_case(change: Change, failures: Sequence[Failure]) -> ElementTree.Element:
    own = [failure for failure in failures if failure.where == change.name]
    if own:
        return _failed_case(*_address(change.name), own)
    case = _case(*_address(change.name))
    ElementTree.SubElement(case, "system-out").text = clean(describe(change))
    return case


def _missing_case(name: str, excused: bool) -> ElementTree.Element:
    case = _case(*_address(name))
    kind = "skipped" if excused else "failure"
    ElementTree.SubElement(case, kind, {"message": clean(f"{name} is missing")})
    return case


def _pending_case(text: str) -> ElementTree.Element:
    """An error, so that nobody takes a run that goes on for one that passed."""
    case = _case("lnbench.compare", clean(text))
    ElementTree.SubElement(case, "error", {"message": clean(text), "type": "unfinished"})
    return case


def _failed_case(classname: str, name: str, failures: Sequence[Failure]) -> ElementTree.Element:
    case = _case(classname, name)
    message = clean("; ".join(failure.text for failure in failures))
    body = ElementTree.SubElement(case, "failure", {"message": message, "type": "regression"})
    body.text = clean("; ".join(f"rule: {failure.rule}" for failure in failures))
    return case


def _case(classname: str, name: str) -> ElementTree.Element:
    return ElementTree.Element("testcase", {"classname": clean(classname), "name": clean(name), "time": "0"})


def _address(name: str) -> tuple[str, str]:
    """`fixed/fog/3` as class `lnbench.fixed` and name `fog/3`."""
    mode, _, rest = name.partition("/")
    return f"lnbench.{mode}", rest
