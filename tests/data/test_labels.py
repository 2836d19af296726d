"""Which outputs answer for which label: matched by what the names say, or refused before scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lnbench.data import class_file
from lnbench.data.labels import ClassMap, Labels, Outputs, Written, class_map, imagenet_wnids
from lnbench.data.tree import in_order
from lnbench.errors import DataError

WNIDS = imagenet_wnids()
ANIMALS = (("tench", "Tinca tinca"), ("goldfish",), ("crane",), ("crane",), ("White_Shark",))


def labels(*names: str, named: bool = True, occurring: tuple[int, ...] | None = None) -> Labels:
    return Labels(names, named, tuple(range(len(names))) if occurring is None else occurring, "folder:x")


def answering(found: ClassMap) -> list[tuple[int, ...]]:
    """The outputs of each label."""
    return [found.columns[column] for column in found.column_of]


def test_the_wnids_are_a_thousand_in_order(shared: Path) -> None:
    assert len(set(WNIDS)) == 1000 and sorted(WNIDS) == list(WNIDS)
    assert "\n".join(WNIDS) == (shared / "data" / "imagenet_wnids.txt").read_text().strip()


def test_as_many_labels_as_outputs_is_nothing_to_do() -> None:
    assert class_map(labels("cat", "dog"), Outputs(2)).plain
    assert class_map(labels(*WNIDS), Outputs(1000)).plain
    assert class_map(labels(*map(str, range(12))), Outputs(12)).plain
    assert class_map(labels(*map(str, range(10)), named=False), Outputs(10)).plain


def test_wnids_pick_their_outputs() -> None:
    few = class_map(labels(*WNIDS[2:900:7]), Outputs(1000))
    assert few.columns == tuple((k,) for k in range(2, 900, 7))
    assert few.column_of == tuple(range(len(few.columns)))
    assert (few.how, few.kept) == ("by wnid", "present")
    every = class_map(labels(*WNIDS[2:900:7]), Outputs(1000), kept="all")
    assert every.columns == tuple((k,) for k in range(1000))
    assert every.column_of == tuple(range(2, 900, 7)) and not every.plain


@pytest.mark.parametrize("absent", [0, 499, 999])
def test_one_absent_class_shifts_no_other(absent: int) -> None:
    names = WNIDS[:absent] + WNIDS[absent + 1 :]
    found = class_map(labels(*names), Outputs(1000))
    assert answering(found) == [(WNIDS.index(name),) for name in names]
    assert len(found.columns) == 999


def test_whole_numbers_are_the_outputs_numbers() -> None:
    assert in_order(str(k) for k in range(1000)) == [str(k) for k in range(1000)]
    assert in_order(["b", "10", "9"]) == ["10", "9", "b"]
    assert in_order(["010", "9"]) == ["9", "010"]
    found = class_map(labels("3", "017", "200"), Outputs(1000))
    assert answering(found) == [(3,), (17,), (200,)] and len(found.columns) == 3
    # A list in the alphabet's order is matched by number all the same.
    assert answering(class_map(labels("0", "10", *map(str, range(2, 10)), "1"), Outputs(11))) == [
        (k,) for k in (0, 10, *range(2, 10), 1)
    ]


def test_of_labels_without_names_those_that_occur_are_classes() -> None:
    seen = labels(*map(str, range(8)), named=False, occurring=(1, 4, 7))
    assert class_map(seen, Outputs(1000)).columns == ((1,), (4,), (7,))
    assert class_map(seen, Outputs(8)).columns == ((1,), (4,), (7,))
    assert class_map(seen, Outputs(8), kept="all").plain


@pytest.mark.parametrize("named", [True, False])
def test_numbers_from_zero_may_be_anybodys(named: bool) -> None:
    ten = labels(*map(str, range(10)), named=named)
    with pytest.raises(DataError, match=r"10 (classes|labels), the network 1000 outputs.*--classes present"):
        class_map(ten, Outputs(1000))
    assert len(class_map(ten, Outputs(1000), kept="all").columns) == 1000
    assert len(class_map(ten, Outputs(1000), kept="present").columns) == 10


def test_names_are_matched_whatever_their_case_and_spaces() -> None:
    found = class_map(labels("Gold Fish", "tinca_TINCA", "whiteshark"), Outputs(5, ANIMALS))
    assert answering(found) == [(1,), (0,), (4,)]
    assert found.columns == ((0,), (1,), (4,)) and found.how == "by name"
    # The order of the scores is that of the outputs, however the folders are called: ties fall alike.
    assert found.column_of == (1, 0, 2)


REFUSED: dict[str, tuple[Labels, Outputs, dict[str, Any], str]] = {
    "nothing known": (labels("cat", "dog"), Outputs(3), {}, r"2 classes, the network 3 outputs.*--class-map"),
    "other names": (labels("cat", "tench"), Outputs(5, ANIMALS), {}, r"'cat' is none of"),
    "other weights' names": (
        labels("a", "b", "c", "d", "e"), Outputs(5, ANIMALS, certain=True), {}, r"'c' and 2 more are none",
    ),
    "ambiguous": (labels("crane", "tench"), Outputs(5, ANIMALS), {}, r"several classes are called 'crane'"),
    "not of the thousand": (labels(WNIDS[0], "n99999999"), Outputs(1000), {}, r"'n99999999' is no class"),
    "999 and a stranger": (labels(*WNIDS[:999], "misc"), Outputs(1000), {}, r"'misc' is no class of"),
    "wnids, another head": (labels(*WNIDS[:5]), Outputs(200), {}, r"5 classes, the network 200 outputs"),
    "numbers beyond": (labels("1", "1000"), Outputs(1000), {}, r"the highest is 1000, .* end at 999"),
    "labels beyond": (labels("0", "1", "2", named=False), Outputs(2), {}, r"labels up to 2.* only 2 classes"),
    "one number twice": (labels("7", "007"), Outputs(9), {}, r"two classes are called 7"),
    "one class": (labels(WNIDS[5]), Outputs(1000), {}, r"one class alone.*--classes all"),
    "two names of one": (labels("tench", "tinca tinca"), Outputs(5, ANIMALS), {}, r"both mean output 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_matched_is_refused_in_one_line(case: str) -> None:
    data, outputs, options, text = REFUSED[case]
    with pytest.raises(DataError, match=text) as caught:
        class_map(data, outputs, **options)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_ones_own_with_as_many_outputs_keeps_its_order() -> None:
    own = labels("a", "b", "c", "d", "e")
    assert class_map(own, Outputs(5, ANIMALS, certain=False)).plain
    assert class_map(labels(*map(str, range(1, 6))), Outputs(5)).plain  # numbered from 1, in order


def test_imagenets_two_cranes_are_refused_even_where_a_list_tells_them_apart() -> None:
    last = (("tench",), ("goldfish",), ("crane bird",), ("crane",))
    names = (*((f"class {k}",) for k in range(996)), *last)
    with pytest.raises(DataError, match="several classes are called 'crane'"):
        class_map(labels("crane", "tench"), Outputs(1000, names))


def written(combine: str | None = None, **outputs: tuple[str, ...]) -> Written:
    return Written(outputs, combine, "map.yaml")  # type: ignore[arg-type]


def test_a_class_map_names_outputs_by_index_wnid_and_name() -> None:
    names = tuple((f"thing {k}",) for k in range(1000))
    file = written("mean", bird=("7", WNIDS[8]), fish=("thing_1",), spare=("999",))
    found = class_map(labels("Bird", "fish"), Outputs(1000, names), written=file)
    assert found.columns == ((1,), (7, 8)) and found.column_of == (1, 0) and found.combine == "mean"
    every = class_map(labels("Bird", "fish"), Outputs(1000, names), kept="all", written=file)
    assert len(every.columns) == 999 and answering(every) == [(7, 8), (1,)]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (written(a=("1",)), r"label 'b': map.yaml does not name it"),
        (written(a=("1",), b=("1",)), r"'a' and 'b' both mean output 1"),
        (written(a=("1",), b=("5",)), r"label 'b': '5' of the network: it has 5 outputs, 0 to 4"),
        (written(a=("1",), b=("crane",)), r"several of its classes are called so; give the index"),
        (written(a=("1",), b=("whale",)), r"it has no class of that name"),
        (written(a=("1",), b=("2", "3")), r"label 'b' has 2 outputs; say 'combine: mean'"),
    ],
)
def test_a_class_map_that_does_not_fit_says_where(file: Written, text: str) -> None:
    with pytest.raises(DataError, match=text):
        class_map(labels("a", "b"), Outputs(5, ANIMALS), written=file)


MAPS = {
    "flat.yaml": "no: 3\n007: [4]\nbird: n01514668\n",
    "flat.json": '{"no": 3, "007": [4], "bird": "n01514668"}',
    "flat.csv": "label,output\nno,3\n007,4\nbird,n01514668\n",
}
GROUPED = {
    "grouped.yaml": "combine: largest\nclasses:\n  bird: [n01514668, hen, 9]\n  fish: 1\n",
    "grouped.json": '{"combine": "largest", "classes": {"bird": ["n01514668", "hen", 9], "fish": 1}}',
    "grouped.csv": "bird,n01514668,largest\nbird,hen\nbird,9\nfish,1\n",
}


@pytest.mark.parametrize("name", [*MAPS, *GROUPED])
def test_a_class_map_reads_alike_in_every_format(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text({**MAPS, **GROUPED}[name])
    found = class_file.read_class_map(path)
    if name in MAPS:
        assert (
            found.outputs == {"no": ("3",), "007": ("4",), "bird": ("n01514668",)} and found.combine is None
        )
    else:
        assert found.outputs == {"bird": ("n01514668", "hen", "9"), "fish": ("1",)}
        assert found.combine == "largest"


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.yaml", "a: &x [1]\nb: *x\n", "aliases"),
        ("a.yaml", "a: 1\na: 2\n", "a label is given twice"),
        ("a.json", '{"a": 1, "a": 2}', "a label is given twice"),
        ("a.json", '{"a": ', "cannot be parsed"),
        ("a.json", '{"a": {"b": 1}}', "label 'a': an output is an index"),
        ("a.yaml", "- 1\n", "is 'label: output' lines, not a list"),
        ("a.yaml", "combine: sum\nclasses: {a: 1}\n", "combine is mean or largest, not 'sum'"),
        ("a.yaml", "kombine: mean\nclasses: {a: 1}\n", "'kombine' beside 'classes'"),
        ("a.yaml", "classes: {}\n", "without a label"),
        ("a.csv", "a\n", "row 1 is not label,output"),
        ("a.csv", "a,1,mean\nb,2,largest\n", "one way to combine"),
        ("a.csv", b"\xff\xfe", "not UTF-8"),
    ],
)  # fmt: skip
def test_a_damaged_class_map_is_refused_in_one_line(
    name: str, content: str | bytes, text: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=text) as caught:
        class_file.read_class_map(path)
    assert "\n" not in str(caught.value)


def test_a_class_map_of_any_length_is_read_at_once(tmp_path: Path) -> None:
    """YAML takes seconds for a megabyte: beyond it is refused, where JSON and CSV are read."""
    import json

    from lnbench.data.class_file import read_class_map

    many = {f"class {number}": number % 1000 for number in range(90_000)}
    (tmp_path / "map.yaml").write_text("".join(f"{name}: {value}\n" for name, value in many.items()))
    (tmp_path / "map.json").write_text(json.dumps(many))
    assert len(read_class_map(tmp_path / "map.json").outputs) == 90_000
    with pytest.raises(DataError, match="larger than 1 MiB; write it as JSON or CSV"):
        read_class_map(tmp_path / "map.yaml")


def test_a_networks_own_names_are_a_list(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\n\nbig dog\n7\n")
    (tmp_path / "names.json").write_text('["cat", "big dog", 7]')
    for name in ("names.txt", "names.json"):
        assert class_file.read_classes(tmp_path / name) == (("cat",), ("big dog",), ("7",))
    (tmp_path / "names.yaml").write_text("cat: 1\n")
    with pytest.raises(DataError, match="expected a list"):
        class_file.read_classes(tmp_path / "names.yaml")
    with pytest.raises(DataError, match=r"cannot read .*none\.txt"):
        class_file.read_classes(tmp_path / "none.txt")


def test_wnids_of_a_larger_head_are_found_among_its_names() -> None:
    """timm's names for 12,000 and 21,000 classes of WordNet begin with the wnid."""
    names = tuple((f"n{k:08d}", f"thing {k}") for k in range(11821))
    found = class_map(labels("n00000007", "n00011820"), Outputs(11821, names, certain=True))
    assert (found.columns, found.how) == (((7,), (11820,)), "by wnid")
    with pytest.raises(DataError, match="'n00011821' is none of the network's classes"):
        class_map(labels("n00000007", "n00011821"), Outputs(11821, names, certain=True))
