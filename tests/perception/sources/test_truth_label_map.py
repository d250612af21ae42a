"""Label maps: coding of the truth, mapping of predictions, and one clear line per mistake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.sources.truth_label_map import (
    LabelMapError,
    identity_label_map,
    label_map_from_dict,
    load_label_map,
)

SCENE = load_label_space("endovis2018")


def test_all_instruments_and_the_rest_is_background() -> None:
    mapping = label_map_from_dict(
        {"truth": {0: "background", 1: "instrument"}, "merge": {"instrument": "all-instruments"}}
    )
    table = mapping.prediction_table(SCENE)
    assert set(np.flatnonzero(table[:12])) == set(SCENE.instrument_ids)
    assert table[255] == 255
    assert mapping.unanswered(SCENE) == ()


def test_named_merges_and_names_that_stay_themselves() -> None:
    mapping = label_map_from_dict(
        {
            "truth": {0: "background", 1: "instrument", 2: "thread", 3: "stapler"},
            "merge": {"instrument": ["instrument-shaft", "instrument-wrist"]},
        }
    )
    table = mapping.prediction_table(SCENE)
    answers = {SCENE.names[index]: mapping.names[table[index]] for index in range(12) if table[index]}
    assert answers == {"instrument-shaft": "instrument", "instrument-wrist": "instrument", "thread": "thread"}
    assert mapping.unanswered(SCENE) == ("stapler",)


def test_list_may_hold_all_instruments_and_more() -> None:
    mapping = label_map_from_dict(
        {"truth": {0: "background", 1: "foreign"}, "merge": {"foreign": ["all-instruments", "suturing-needle"]}}
    )
    assert set(np.flatnonzero(mapping.prediction_table(SCENE)[:12])) == {*SCENE.instrument_ids, 8}


def test_truth_values_share_names_and_background_comes_first() -> None:
    mapping = label_map_from_dict(
        {"truth": {1: "tool", 2: "tool", 5: "background-tissue"}, "ignore": [255], "merge": {"tool": "all-instruments"}}
    )
    assert mapping.names == ("background-tissue", "tool")
    assert mapping.coding.decode(np.array([[1, 2, 5, 255]], np.uint8), "m").tolist() == [[1, 1, 0, 255]]


def test_value_zero_is_the_background_where_no_name_says_so() -> None:
    assert label_map_from_dict({"truth": {255: "instrument", 0: "tissue"}}).names == ("tissue", "instrument")
    assert label_map_from_dict({"truth": {3: "tissue", 4: "instrument"}}).names == ("tissue", "instrument")


def test_colors() -> None:
    mapping = label_map_from_dict(
        {"truth": {"0,0,0": "background-tissue", "0, 255, 0": "instrument-shaft"}, "ignore": ["9,9,9"]}
    )
    mask = np.array([[[0, 0, 0], [0, 255, 0], [9, 9, 9]]], np.uint8)
    assert mapping.coding.decode(mask, "m").tolist() == [[0, 1, 255]]


def test_colours_in_hexadecimal() -> None:
    mapping = label_map_from_dict({"truth": {"#000000": "background", "#Ff8000": "tool"}, "ignore": ["#0000ff"]})
    mask = np.array([[[0, 0, 0], [255, 128, 0], [0, 0, 255]]], np.uint8)
    assert mapping.coding.decode(mask, "m").tolist() == [[0, 1, 255]]


def test_identity_of_a_label_space() -> None:
    mapping = identity_label_map(SCENE)
    assert mapping.prediction_table(SCENE)[:12].tolist() == list(range(12))
    assert mapping.coding.decode(np.array([[11, 255]], np.uint8), "m").tolist() == [[11, 255]]


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(
        "truth: {0: background, 1: instrument}\nmerge: {instrument: all-instruments}\nsequence: '(seq_\\d+)_'\n"
    )
    mapping = load_label_map(path)
    assert mapping.names == ("background", "instrument")
    assert mapping.sequence is not None and mapping.sequence.search("seq_12_frame001").group(1) == "seq_12"  # type: ignore[union-attr]


def test_shipped_ones_go_by_name_and_a_file_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_label_map("davinci_grayscale").coding.decode(np.array([[0, 255]], np.uint8), "m").tolist() == [[0, 1]]
    monkeypatch.chdir(tmp_path)
    Path("binary").write_text("truth: {0: background, 7: needle}")
    assert load_label_map("binary").names == ("background", "needle")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "expected a mapping with 'truth'"),
        ({"truth": {}}, "expected a mapping with 'truth'"),
        ({"truth": {0: "a"}, "mrege": {}}, "unknown keys mrege; known are truth, ignore, merge, sequence"),
        ({"truth": {256: "a"}}, "truth has 256; expected a stored value 0 to 255"),
        ({"truth": {True: "a"}}, "truth has True"),
        ({"truth": {"red": "a"}}, "truth has 'red'"),
        ({"truth": {"0,0,300": "a"}}, "truth has '0,0,300'"),
        ({"truth": {0: "a", "0,0,1": "b"}}, "values and colours are mixed"),
        ({"truth": {0: "a"}, "ignore": 255}, r"ignore is 255; expected a list"),
        ({"truth": {0: "a", 1: "b"}, "ignore": [1]}, r"1 is in truth \('b'\) and in ignore"),
        ({"truth": {0: "a"}, "merge": ["a"]}, "merge is .*; expected a mapping"),
        ({"truth": {0: "a"}, "merge": {"b": ["x"]}}, "merge into 'b', which truth lacks; it has: a"),
        ({"truth": {0: "a"}, "merge": {"a": 3}}, "merge 'a' is 3; expected a list"),
        ({"truth": {0: "a"}, "sequence": "("}, "not a regular expression"),
        ({"truth": {0: "a"}, "sequence": "seq"}, "has no group"),
    ],
)
def test_mistakes_in_the_file(data: object, message: str) -> None:
    with pytest.raises(LabelMapError, match=message):
        label_map_from_dict(data, "map.yaml")


@pytest.mark.parametrize(
    ("merge", "message"),
    [
        (
            {"instrument": ["shaft"]},
            "merge 'instrument' names class 'shaft', which the prediction lacks; .*instrument-shaft",
        ),
        ({"instrument": ["clamps"], "other": ["clamps"]}, "class 'clamps' is merged into 'instrument' and 'other'"),
        ({}, "no predicted class answers to instrument, other"),
    ],
)
def test_mistakes_against_the_label_space(merge: dict[str, list[str]], message: str) -> None:
    mapping = label_map_from_dict({"truth": {0: "background", 1: "instrument", 2: "other"}, "merge": merge})
    with pytest.raises(LabelMapError, match=message):
        mapping.prediction_table(SCENE)


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(LabelMapError, match=r"no label map '.*none\.yaml': neither a file nor one of binary, davinci"):
        load_label_map(tmp_path / "none.yaml")
    with pytest.raises(LabelMapError, match="cannot be read: Is a directory"):
        load_label_map(tmp_path)
    (tmp_path / "bad.yaml").write_text("truth: {0: [")
    with pytest.raises(LabelMapError, match="not YAML"):
        load_label_map(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("truth: {0: background, 1: grasper, 1: scissors}", "key '1' is there twice"),
        ("truth: {0: background}\ntruth: {0: background, 1: grasper}", "key 'truth' is there twice"),
        ('truth: {"0,0,0": background, "0,255,0": a, "#00ff00": b}', "has '#00ff00' twice, as 'a' and as 'b'"),
    ],
)
def test_what_is_there_twice_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text(text)
    with pytest.raises(LabelMapError, match=message):
        load_label_map(path)
