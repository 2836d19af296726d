"""The gate: what pairs, what fails, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lnbench.errors import RecordError, UsageError
from lnbench.results.bits import pack
from lnbench.results.compare import Comparison, compare
from lnbench.results.correct import Correct, from_cells
from lnbench.results.render.delimited import comparison_to_json
from lnbench.results.render.github import MOST, SUMMARY_CAP, append_summary, commands
from lnbench.results.render.junit import to_junit
from lnbench.results.render.markdown import comparison_to_markdown
from lnbench.results.rules import parse
from lnbench.results.schema import Cell, Record, Run
from lnbench.results.store import make_record
from lnbench.results.tables import basis
from lnbench.types import CLEAN, Condition
from tests.results.samples import FULL, WNIDS, make_cells, make_run, rescored
from tests.results.xsd import validate

XSD = (Path(__file__).parent / "junit.xsd").read_text()


def pair(run: Run | None = None, **changes: float) -> tuple[Record, Record, Correct, Correct]:
    """A run and another of the same suite with `loss` (of every rate) and its own `noise`."""
    run = run or make_run(images=600)
    old, new = make_cells(run), make_cells(run, **changes)  # type: ignore[arg-type]
    return make_record(run, old), make_record(run, new), from_cells(old), from_cells(new)


def judge(records: tuple[Record, Record, Correct, Correct], *rules: str, **options: object) -> Comparison:
    return compare(*records, rules=[parse(rule) for rule in rules], **options)  # type: ignore[arg-type]


def test_a_run_does_not_differ_from_itself() -> None:
    found = judge(pair())
    assert found.passed and found.count("same") == len(found.cells) == 15
    assert all(change.difference == 0 and change.p == 1 for change in (*found.cells, *found.headlines))
    assert judge(pair(), "top1:-0pp", "mean_corruption_top1:-0pp", "nll:+0").passed


@pytest.mark.parametrize("name", ["code", "state"])
def test_another_network_under_one_name_is_said_and_not_refused(name: str) -> None:
    records = list(pair())
    for number, value in enumerate("12"):
        model = records[number].model.model_copy(update={name: value * 64})
        records[number] = records[number].model_copy(update={"model": model})
    found = judge(tuple(records))  # type: ignore[arg-type]
    assert found.passed and any("(111111111111 and 222222222222)" in line for line in basis(found))
    assert not any("differs" in line for line in basis(judge(pair())))


def test_a_loss_is_found_and_located() -> None:
    found = judge(pair(loss=0.03, noise=2))
    assert not found.passed
    assert {failure.where for failure in found.failures} >= {"fixed/mean_corruption_top1"}
    assert not judge(pair(loss=-0.03, noise=2)).failures


def test_the_difference_and_its_interval_are_those_of_the_bits() -> None:
    records = pair(loss=0.03, noise=2)
    found = judge(records)
    key = ("batch", Condition("contrast", 5))
    change = next(c for c in found.cells if (c.mode, c.condition) == key)
    before, after = records[2].flags[key], records[3].flags[key]
    assert change.difference == pytest.approx(after.mean() - before.mean())
    assert change.interval is not None and change.interval[0] < change.difference < change.interval[1]
    mean = next(c for c in found.headlines if c.name == "batch/mean_corruption_top1")
    assert mean.base == pytest.approx(records[0].summary["batch"].mean_corruption_top1)
    assert mean.new == pytest.approx(records[1].summary["batch"].mean_corruption_top1)


def test_mce_changes_are_those_of_the_summaries() -> None:
    run = make_run(images=60, conditions=FULL, table="imagenet", classes=1000, names=WNIDS, modes=("fixed",))
    records = pair(run, loss=0.05)
    found = {change.figure: change for change in judge(records).headlines}
    for figure in ("clean_top1", "mean_corruption_top1", "mce", "relative_mce"):
        assert found[figure].base == pytest.approx(getattr(records[0].summary["fixed"], figure))
        assert found[figure].new == pytest.approx(getattr(records[1].summary["fixed"], figure))
        interval = found[figure].interval
        assert interval is not None and interval[0] < found[figure].difference < interval[1]
    assert found["mce"].verdict == "worse" and found["mce"].difference > 0
    assert [f.where for f in judge(records, "mce:+1%").failures] == ["fixed/mce"]


def flip(record: Record, correct: Correct, key: tuple[str, Condition], lost: int) -> tuple[Record, Correct]:
    """The same run with `lost` right images of one cell made wrong."""
    flags = correct.flags[key].copy()
    flags[np.flatnonzero(flags)[:lost]] = False
    cells = []
    for cell in record.cells:
        if cell.key == key:
            cell = rescored(cell, top1=float(flags.mean())).model_copy(update={"correct": pack(flags)})
        cells.append(cell)
    return make_record(record.run, cells), Correct({**correct.flags, key: flags})


def test_size_rules_and_significance() -> None:
    old, _, evidence, _ = pair()
    key = ("fixed", Condition("contrast", 1))
    few, few_bits = flip(old, evidence, key, 4)  # 4 of 600: 0.67 points, p = 1/8
    many, many_bits = flip(old, evidence, key, 40)
    rule = [parse("top1:-0.5pp")]
    assert compare(old, few, evidence, few_bits, rules=rule).failures[0].where == "fixed/contrast/1"
    assert compare(old, few, evidence, few_bits, rules=rule, significance=0.05).passed
    assert not compare(old, many, evidence, many_bits, rules=rule, significance=0.05).passed
    assert compare(old, many, evidence, many_bits, rules=[parse("top1:-7pp")], significance=0.05).passed
    assert compare(old, few, evidence, few_bits).passed
    only = [parse("fixed/gaussian_noise/*: top1:-0.5pp")]
    assert compare(old, many, evidence, many_bits, rules=only).passed


@pytest.mark.parametrize(
    "change, message",
    [
        ({"fingerprint": "0" * 64}, "different data (ffffffffffff and 000000000000)"),
        ({"seed": 1}, "different seed (0 and 1)"),
        ({"generator": 1}, "different generator (2 and 1)"),
        ({"table": "imagenet"}, "different table (cifar and imagenet)"),
        ({"modes": ("fixed", "batch")}, "mode local only in the first"),
        ({"modes": ("fixed", "batch", "local", "blend:N=1")}, "mode blend:N=1 only in the second"),
        ({"conditions": (("gaussian_noise", 1),)}, "condition contrast/1 only in the first"),
    ],
)
def test_mismatches_are_refused_by_name(change: dict[str, object], message: str) -> None:
    run = make_run(**change)  # type: ignore[arg-type]
    old, _, old_bits, _ = pair(make_run())
    cells = make_cells(run)
    with pytest.raises(RecordError) as error:
        compare(old, make_record(run, cells), old_bits, from_cells(cells))
    assert message in str(error.value) and "--allow-mismatch" in str(error.value)
    assert "\n" not in str(error.value)


def test_another_batch_size_matters_where_the_batch_is_part_of_the_answer() -> None:
    old, _, evidence, _ = pair()
    other = [c.model_copy(update={"batch_size": 64}) if c.mode == "batch" else c for c in old.cells]
    with pytest.raises(RecordError, match=r"different batch size of batch \(20 and 64\)"):
        compare(old, make_record(old.run, other), evidence, evidence)


def test_allow_mismatch_compares_what_pairs() -> None:
    old, _, old_bits, _ = pair(make_run())
    run = make_run(modes=("fixed", "blend:N=1"))
    cells = make_cells(run)
    found = compare(old, make_record(run, cells), old_bits, from_cells(cells), allow_mismatch=True)
    assert {change.mode for change in found.cells} == {"fixed"}
    assert len(found.missing) == 15 and "local/clean" in found.missing
    assert found.mismatches and found.passed
    assert 'skipped="15"' in to_junit(found)
    validate(to_junit(found), XSD)


def test_other_images_have_no_paired_test() -> None:
    old, _, bits, _ = pair(make_run())
    other = make_run(fingerprint="0" * 64)
    new = make_record(other, make_cells(other, loss=0.2))
    with pytest.raises(RecordError, match="no paired test is possible, the runs are on different images"):
        compare(old, new, bits, bits, allow_mismatch=True)
    found = compare(old, new, bits, bits, rules=[parse("top1:-1pp")], allow_mismatch=True)
    assert not found.tested and not found.passed
    assert all(change.p is None for change in found.cells)


def test_without_bits_only_sizes_can_be_judged() -> None:
    old, new, _, _ = pair(loss=0.2)
    with pytest.raises(RecordError, match=r"correct.npz is not beside both records; give --fail-if alone"):
        compare(old, new)
    with pytest.raises(RecordError, match="no paired test"):
        compare(old, new, rules=[parse("top1:-1pp")], significance=0.05)
    assert not compare(old, new, rules=[parse("top1:-1pp")]).passed


def drop(record: Record, keep: Callable[[Cell], bool]) -> Record:
    return make_record(record.run, [cell for cell in record.cells if keep(cell)])


def test_a_missing_cell_is_a_failure() -> None:
    old, new, bits, _ = pair()
    partial = drop(new, lambda cell: cell.name != "local/contrast/5")
    for first, second in ((old, partial), (partial, old)):
        found = compare(first, second, bits, bits)
        assert [f.text for f in found.failures] == ["local/contrast/5 is missing"]
        validate(to_junit(found), XSD)


def test_comparing_nothing_is_a_failure() -> None:
    old, new, bits, _ = pair()
    found = compare(old, drop(new, lambda _: False), bits, bits)
    assert any("nothing was compared" in failure.text for failure in found.failures)
    validate(to_junit(found), XSD)
    found = judge(pair(), "nosuchmode/*/*: top1:-1pp")
    assert [f.text for f in found.failures] == [
        "'nosuchmode/*/*: top1:-1pp' matches nothing that both runs have"
    ]
    assert not judge(pair(), "mce:+1%").passed  # undefined in this run, so it matches nothing


def test_a_score_that_stops_being_a_number_fails() -> None:
    old, new, bits, _ = pair()
    broken = make_record(new.run, [rescored(cell, nll=None) for cell in new.cells])
    found = compare(old, broken, bits, bits, rules=[parse("nll:+1000")])
    assert len(found.failures) == 15
    assert json.loads(comparison_to_json(found))["passed"] is False


def test_a_score_of_zero_is_a_score() -> None:
    old, _, bits, _ = pair()
    perfect = make_record(old.run, [rescored(cell, ece=0.0) for cell in old.cells])
    assert compare(perfect, perfect, bits, bits, rules=[parse("ece:+1pp")]).passed


def test_significance_has_no_test_for_nll() -> None:
    with pytest.raises(UsageError, match="has a test for accuracy and mCE only"):
        judge(pair(), "nll:+1", significance=0.05)
    for level in (0, 1, -1, 7):
        with pytest.raises(UsageError, match="give a probability"):
            judge(pair(), significance=level)


def test_conditions_of_different_images_have_no_mean_to_test() -> None:
    old, _, bits, _ = pair()
    key = ("fixed", Condition("contrast", 1))
    shorter = Correct({**bits.flags, key: bits.flags[key][:-1]})
    cells = [
        rescored(c, top1=float(shorter.flags[key].mean())).model_copy(update={"images": 599})
        if c.key == key
        else c
        for c in old.cells
    ]
    ragged = make_record(old.run, cells)
    with pytest.raises(RecordError, match="conditions hold different images"):
        compare(ragged, ragged, shorter, shorter)
    assert compare(ragged, ragged, shorter, shorter, rules=[parse("top1:-1pp")]).passed


@pytest.mark.parametrize("noise", [1, 2, 3])
def test_junit_follows_the_schema(noise: int) -> None:
    found = judge(pair(loss=0.02, noise=noise), "top1:-1pp")
    document = to_junit(found)
    validate(document, XSD)
    assert document.count("<testcase ") == len(found.cells) + len(found.headlines)
    assert document.count("<failure ") == len({failure.where for failure in found.failures})


def test_the_step_summary_stays_under_githubs_cap(tmp_path: Path) -> None:
    run = make_run(modes=("fixed",), conditions=tuple(("fog", s / 100) for s in range(1, 800)), images=8)
    found = judge(pair(run, loss=0.1), "top1:-1pp")
    whole = comparison_to_markdown(found)
    assert whole.count("fog/") > 799
    short = comparison_to_markdown(found, 20_000)
    assert len(short.encode()) <= 20_000 and "more cells" in short and "## ❌ lnbench: FAIL" in short
    file = tmp_path / "summary.md"
    file.write_bytes(b"x" * (SUMMARY_CAP - 30_000))
    append_summary(file, lambda cap: comparison_to_markdown(found, cap))
    assert SUMMARY_CAP - 30_000 < file.stat().st_size < SUMMARY_CAP
    append_summary(tmp_path / "none" / "summary.md", lambda _: "text")  # no folder: not our failure


def test_annotations_are_few_and_single_lines() -> None:
    found = judge(pair(loss=0.2), "top1:-1pp")
    assert len(found.failures) > MOST
    lines = commands(found)
    assert len(lines) == MOST and lines[-1].endswith(f"and {len(found.failures) - MOST + 1} more failures")
    assert all(line.startswith("::error title=lnbench compare::") for line in lines)


def test_json_for_other_programs() -> None:
    content = json.loads(comparison_to_json(judge(pair(loss=0.2))))
    assert content["passed"] is False and len(content["cells"]) == 15
    clean = next(c for c in content["cells"] if c["mode"] == "fixed" and c["corruption"] == "clean")
    assert clean["severity"] == CLEAN.severity and clean["verdict"] == "worse"
