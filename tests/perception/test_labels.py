"""Label spaces: the shipped ones, files of one's own, lists of names, and every refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from clip_rl_perception import labels
from clip_rl_perception.labels import LabelClass, LabelError, LabelSpace


def write(path: Path, data: Any) -> Path:
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


# Class names in id order, as the challenges' label files give them.
PUBLISHED: dict[str, str] = {
    "binary": "background instrument",
    "endovis2017-binary": "background instrument",
    "endovis2017-parts": "background instrument-shaft instrument-wrist instrument-clasper",
    "endovis2017-type": "background bipolar-forceps prograsp-forceps large-needle-driver vessel-sealer "
    "grasping-retractor monopolar-curved-scissors other-instrument",
    "endovis2018": "background-tissue instrument-shaft instrument-clasper instrument-wrist kidney-parenchyma "
    "covered-kidney thread clamps suturing-needle suction-instrument small-intestine ultrasound-probe",
}


@pytest.mark.parametrize("name", labels.label_space_names())
def test_shipped_spaces_load_and_survive_plain_data(name: str) -> None:
    space = labels.load_label_space(name)
    assert space.name == name
    assert labels.label_space_from_dict(space.to_dict()) == space
    assert labels.label_space_from_dict(yaml.safe_load(yaml.safe_dump(space.to_dict()))) == space
    # Overlays and colour-coded masks tell classes apart by colour alone.
    assert len({entry.color for entry in space.classes}) == len(space)
    for entry in space.classes:
        assert all("{" not in text for text in entry.texts())


@pytest.mark.parametrize("name", PUBLISHED)
def test_shipped_spaces_hold_the_published_classes(name: str) -> None:
    assert labels.load_label_space(name).names == tuple(PUBLISHED[name].split())


def test_endovis2018_instruments_and_parts() -> None:
    space = labels.load_label_space("endovis2018")
    parts = {entry.name for entry in space.classes if entry.part}
    assert parts == {"instrument-shaft", "instrument-clasper", "instrument-wrist"}
    assert space.id_of("ultrasound-probe") in space.instrument_ids
    assert space.id_of("small-intestine") not in space.instrument_ids
    assert parts < {space.names[index] for index in space.instrument_ids}


def test_palette_has_a_row_per_mask_value() -> None:
    space = labels.label_space_from_names(["tissue", "grasper"])
    palette = space.palette
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert tuple(palette[0]) == (0, 0, 0)
    assert tuple(palette[1]) == space.classes[1].color != (0, 0, 0)
    assert not palette[2:255].any()
    assert tuple(palette[labels.UNLABELLED]) == (96, 96, 96)


def test_prompts_speak_the_name() -> None:
    entry = LabelClass(id=1, name="large-needle_driver", prompts=("a {name}", "a {name} near a {name}", "steel"))
    assert entry.texts() == ("a large needle driver", "a large needle driver near a large needle driver", "steel")


def test_names_without_prompts_and_flags() -> None:
    space = labels.label_space_from_names(["tissue", "grasper", "needle"])
    assert space.name == "custom"
    assert space.instrument_ids == (1, 2)
    assert space.classes[1].texts() == ("a photo of a grasper in surgery",)
    assert [entry.id for entry in space.classes] == [0, 1, 2]


def test_names_with_prompts_and_flags() -> None:
    space = labels.label_space_from_names(["a", "b"], prompts=["one", "two"], instrument=[True, False], name="mine")
    assert [entry.texts() for entry in space.classes] == [("one",), ("two",)]
    assert (space.name, space.instrument_ids) == ("mine", (0,))


@pytest.mark.parametrize(
    ("names", "prompts", "instrument", "message"),
    [
        ([], [], [], "0 classes; 1 to 254"),
        ([str(index) for index in range(255)], [], [], "255 classes; 1 to 254"),
        (["a", "b", "a"], [], [], "'a' appears twice"),
        (["a", " "], [], [], "class 1 has an empty name"),
        (["a", "b"], ["x"], [], "1 prompts for 2 names"),
        (["a", "b"], ["x", ""], [], "'b' has an empty prompt"),
        (["a", "b"], [], [True], "1 instrument for 2 names"),
    ],
)
def test_lists_that_are_refused(names: list[str], prompts: list[str], instrument: list[bool], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        labels.label_space_from_names(names, prompts, instrument)


def test_largest_space_is_possible() -> None:
    space = labels.label_space_from_names([str(index) for index in range(labels.MAX_CLASSES)])
    assert len(space) == 254
    assert labels.UNLABELLED not in [entry.id for entry in space.classes]


def test_ids_must_run_without_gaps() -> None:
    with pytest.raises(LabelError, match="class 'b' has id 2 at position 1"):
        LabelSpace("gap", (LabelClass(0, "a"), LabelClass(2, "b")))


@pytest.mark.parametrize("color", [(0, 0, 256), (-1, 0, 0), (1, 2)])
def test_colors_are_bytes(color: Any) -> None:
    with pytest.raises(LabelError, match=r"is not 3 values in 0\.\.255"):
        LabelSpace("color", (LabelClass(0, "a", color=color),))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected a mapping with 'name' and a list 'classes'"),
        ({"name": "x"}, "expected a mapping"),
        ({"classes": {"a": 1}}, "expected a mapping"),
        ({"classes": ["a"]}, "class 0 is not a mapping with a 'name'"),
        ({"classes": [{"id": 0}]}, "class 0 is not a mapping"),
        ({"classes": [{"name": "a", "colour": [0, 0, 0]}]}, "class 'a' has unknown keys .'colour'."),
        ({"classes": [{"name": "a", "id": "first"}]}, "class 'a': "),
        ({"classes": [{"name": "a", "color": 7}]}, "class 'a': "),
    ],
)
def test_files_that_are_refused(tmp_path: Path, data: Any, message: str) -> None:
    path = write(tmp_path / "space.yaml", data)
    with pytest.raises(LabelError, match=message) as caught:
        labels.load_label_space(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_ones_own_gets_defaults(tmp_path: Path) -> None:
    path = write(
        tmp_path / "space.yaml", {"name": "mine", "classes": [{"name": "tissue"}, {"name": "hook", "instrument": True}]}
    )
    space = labels.load_label_space(path)
    assert (space.name, space.names, space.instrument_ids) == ("mine", ("tissue", "hook"), (1,))
    assert space.classes[1].color == labels.distinct_color(1)


def test_text_that_is_not_yaml(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("classes: [", encoding="utf-8")
    with pytest.raises(LabelError, match="not YAML"):
        labels.load_label_space(path)


def test_unknown_names_list_what_exists() -> None:
    with pytest.raises(LabelError, match=r"neither a file nor one of .*endovis2018-type"):
        labels.load_label_space("endovis2081")
    with pytest.raises(LabelError, match="has no class 'x'; it has: tissue, hook"):
        labels.label_space_from_names(["tissue", "hook"]).id_of("x")


def test_generated_colors_differ() -> None:
    colors = [labels.distinct_color(index) for index in range(40)]
    assert colors[0] == (0, 0, 0)
    assert len(set(colors)) == len(colors)


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes("classes: [{name: Sch\u00e4re}]".encode("latin-1"))
    with pytest.raises(LabelError, match=r"mine\.yaml: not YAML: 'utf-8' codec can't decode"):
        labels.load_label_space(path)


def test_a_class_without_its_dash_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("classes:\n  - name: background\n    instrument: false\n    name: grasper\n")
    with pytest.raises(LabelError, match=r"key 'name' is there twice .*line 4"):
        labels.load_label_space(path)


def test_flags_are_true_or_false_and_one_prompt_may_stand_alone() -> None:
    with pytest.raises(LabelError, match=r"class 'a': instrument is 'n'; expected true or false"):
        labels.label_space_from_dict({"classes": [{"name": "a", "instrument": "n"}]})
    space = labels.label_space_from_dict({"classes": [{"name": "a", "prompts": "scissors"}]})
    assert space.classes[0].prompts == ("scissors",)
