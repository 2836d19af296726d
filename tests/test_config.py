"""Presets and options: everything packaged resolves, everything wrong is refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lnbench import config
from lnbench.corruptions import registry
from lnbench.errors import LnbenchError, UsageError
from lnbench.suite import Suite
from lnbench.types import CLEAN, Condition

NEEDED = {"model": "demo", "data": "demo"}


def write(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", config.preset_names())
def test_every_packaged_preset_resolves(name: str) -> None:
    preset = config.load_preset(name)
    assert preset.name == name
    assert preset.description
    run = config.resolve(preset, NEEDED)
    assert run.conditions[0] == CLEAN
    assert len(run.conditions) == 1 + len(run.corruptions) * len(run.severities)


def test_the_packaged_presets_are_the_promised_ones() -> None:
    assert set(config.preset_names()) >= {
        "imagenet-c", "imagenet-c-extra", "tiny-imagenet-c", "cifar10-c", "cifar100-c", "core", "demo", "ci",
    }  # fmt: skip


def test_imagenet_c_is_the_benchmark() -> None:
    preset = config.load_preset("imagenet-c")
    assert preset.corruptions == registry.BENCHMARK[:15]
    assert (preset.table, preset.baseline) == ("imagenet", "alexnet")
    assert config.load_preset("imagenet-c-extra").corruptions == registry.BENCHMARK[15:]


@pytest.mark.parametrize(("name", "batch"), [("tta-cifar10-c", 200), ("tta-imagenet-c", 64)])
def test_the_adaptation_presets_are_the_papers_protocol(name: str, batch: int) -> None:
    run = config.resolve(config.load_preset(name), NEEDED)
    assert run.corruptions == registry.BENCHMARK[:15] and run.severities == (5,)
    assert (run.batch_size, run.order, run.sequence, run.mixed) == (batch, "shuffled", "reset", False)
    assert run.error and run.baseline is None
    tuning = config.load_preset("imagenet-c-extra")
    assert not set(tuning.corruptions) & set(run.corruptions)


def test_options_win_over_the_preset_and_none_means_not_given() -> None:
    preset = config.load_preset("cifar10-c")
    run = config.resolve(preset, {**NEEDED, "modes": ["local"], "batch_size": None, "severities": [5, 1]})
    assert (run.modes, run.batch_size, run.severities) == (("local",), 200, (1, 5))


@pytest.mark.parametrize("name", config.preset_names())
def test_a_suite_by_itself_is_the_runs(name: str) -> None:
    preset, overrides = config.load_preset(name), {"severities": [5, 1], "backend": None}
    suite, run = config.resolve_suite(preset, overrides), config.resolve(preset, {**NEEDED, **overrides})
    assert type(suite) is Suite
    assert suite.model_dump() == run.model_dump(include=set(Suite.model_fields))
    assert suite.severities == (1, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": 16}, "32 to 8192"),
        ({"resize": (64, 70_000)}, "32 to 8192"),
        ({"limit": 0}, "limit"),
        ({"seed": -1}, "seed"),
        ({"interpolation": "cubic"}, "interpolation"),
    ],
)
def test_bad_selections_are_refused(options: dict[str, object], message: str) -> None:
    assert config.select(data="demo", limit=None).interpolation == "bilinear"
    with pytest.raises(UsageError, match=message):
        config.select(data="demo", **options)


def test_families_expand_and_doubles_vanish() -> None:
    run = config.resolve(
        config.load_preset("core"),
        {**NEEDED, "corruptions": ["noise", "gaussian_noise", "clean"], "modes": ["fixed", "fixed"]},
    )
    assert run.corruptions == registry.families()["noise"]
    assert run.modes == ("fixed",)


def test_own_parameters_and_severities_in_between(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "name: mine\ninclude: core\ncorruptions: [contrast]\nseverities: [2.5]\n"
        "parameters: {contrast: {2.5: [0.25]}}\n",
    )
    run = config.resolve(config.load_preset(path), NEEDED)
    assert run.parameters_of(Condition("contrast", 2.5), "cifar") == (0.25,)


def test_include_is_found_beside_the_including_file(tmp_path: Path) -> None:
    write(tmp_path, "name: base\ncorruptions: [fog]\nbatch_size: 7\n", "base.yaml")
    preset = config.load_preset(write(tmp_path, "name: mine\ninclude: base.yaml\nbatch_size: 9\n"))
    assert (preset.corruptions, preset.batch_size) == (("fog",), 9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not valid YAML"),
        ("- 1", "expected a mapping"),
        ("", "expected a mapping"),
        ("name: x\nbacth_size: 3", "did you mean batch_size"),
        ("name: x\nname: y", "key given twice"),
        ("name: x\ncorruptions: [gausian_noise]", "did you mean gaussian_noise"),
        ("name: x\nseverities: [6]", "outside 1–5"),
        ("name: x\nseverities: [1.5]\ncorruptions: [fog]", "1.5"),
        ("name: x\nmodes: [fixd]", "did you mean fixed"),
        ("name: x\nbatch_size: 0", "batch_size"),
        ("name: x\nbatch_size: many", "batch_size"),
        ("name: x\ntable: imagnet", "did you mean imagenet"),
        ("name: x\nparameters: {fog: {1: [1]}}", "parameters of fog"),
        ("name: x\nparameters: {contrast: {1: [.nan]}}", "contrast"),
        ("name: x\ninclude: core.yamll", "unknown preset"),
        ("name: x\ninclude: 3", "takes the name"),
        ("a: &a [1]\nb: *a", "aliases"),
        ("name: !!python/object/apply:os.system [true]", "not valid YAML"),
        ("? [1, 2]\n: 3", "preset"),
        ("1: 2", "plain words"),
    ],
)
def test_bad_presets_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.load_preset(write(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_include_is_relative_to_the_file_that_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a" / "first.yaml").write_text("name: first\ninclude: b/second.yaml\n")
    (tmp_path / "a" / "b" / "second.yaml").write_text("name: second\ninclude: ../third.yaml\n")
    (tmp_path / "a" / "third.yaml").write_text("name: third\nversion: 1\ndescription: found\n")
    for folder, path in ((tmp_path, "a/first.yaml"), (tmp_path / "elsewhere", "../a/first.yaml")):
        monkeypatch.chdir(folder)
        assert config.load_preset(path).description == "found"
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert config.load_preset(str(tmp_path / "a" / "first.yaml")).name == "first"


HOSTILE = {
    "many keys": "".join(f"key{number}: 1\n" for number in range(5000)),
    "many keys within": "parameters: {" + ",".join(f"k{number}: 1" for number in range(5000)) + "}",
    "a number of 5000 digits": "seed: " + "9" * 5000,
    "a number of 4000 digits": "limit: " + "9" * 4000,
    "a float of 5000 digits": "seed: 1." + "9" * 5000,
    "a number to base 60": "seed: " + "1:" * 50000 + "1",
    "lists in lists": "[" * 5000,
    "mappings in mappings": "".join(" " * depth + "a:\n" for depth in range(600)),
    "a name with an escape code": '"\\e[31mred": 1',
    "a name with a line feed": '"a\\n::error::b": 1',
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_preset_is_refused_at_once_in_one_line(tmp_path: Path, case: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.load_preset(write(tmp_path, HOSTILE[case]))
    assert str(caught.value).isprintable() or "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_chain_of_includes_ends(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path, f"name: n\ninclude: ./p{number + 1}.yaml\n", f"p{number}.yaml")
    with pytest.raises(UsageError, match="more than 20 presets include each other"):
        config.load_preset(str(tmp_path / "p0.yaml"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_preset(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", Path("/dev/zero.yaml")):
        with pytest.raises(UsageError):
            config.load_preset(str(path))


def test_a_preset_that_includes_itself(tmp_path: Path) -> None:
    path = write(tmp_path, "name: x\ninclude: ./mine.yaml\n")
    write(tmp_path, "name: y\ninclude: ./mine.yaml\n", "other.yaml")
    with pytest.raises(UsageError, match="includes itself"):
        config.load_preset(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"std": (1, 0, 1)}, "positive"),
        ({"resize": 16}, "32"),
        ({"limit": 0}, "limit"),
        ({"precision": "fp8"}, "precision"),
        ({"seed": -1}, "seed"),
        ({"modes": []}, "no normalization modes"),
        ({"severities": []}, "no severities"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config.resolve(config.load_preset("core"), {**NEEDED, **options})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.text(max_size=200),
        st.lists(
            st.sampled_from(
                ["name: x", "corruptions: ", "severities: [1, 2", "modes: {a: b}", "  - ", "&a ", "*a", "? ",
                 "parameters:\n  fog: ", "include: core", "\t", "!!binary x", "...", "---", "%YAML 9", "\x00"]
            ),
            max_size=8,
        ).map("\n".join),
    )
)  # fmt: skip
def test_no_yaml_gives_a_traceback(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        config.load_preset(str(path))
    except LnbenchError as error:
        assert "\n" not in str(error)
