"""Lists of types: of a model, of a label space, free texts, and those that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from clip_rl_perception.instrument_types import LONGEST, types_asked_for, types_from_texts, usual_types
from clip_rl_perception.labels import LabelError, label_space_from_names, load_label_space

SEVEN = load_label_space("endovis2018-type")
BINARY = load_label_space("binary")


def test_a_model_that_names_no_types_has_the_usual_seven() -> None:
    for space in (BINARY, load_label_space("endovis2017-parts")):
        types = usual_types(space)
        assert types.names == SEVEN.names[1:]
        assert [entry.id for entry in types.classes] == list(range(7))
        assert [entry.prompts for entry in types.classes] == [entry.prompts for entry in SEVEN.classes[1:]]


def test_a_model_that_names_types_has_its_own() -> None:
    assert usual_types(label_space_from_names(["tissue", "hook", "grasper"])).names == ("hook", "grasper")


def test_free_texts_in_any_language_become_prompts_and_known_ones_keep_theirs() -> None:
    types = types_from_texts(["Nadelhalter mit Hartmetall", "  鑷子", "large needle driver"])
    assert types.names == ("Nadelhalter mit Hartmetall", "鑷子", "large needle driver")
    assert types.classes[0].texts() == ("a photo of a Nadelhalter mit Hartmetall in endoscopic surgery",)
    known = SEVEN.classes[SEVEN.id_of("large-needle-driver")]
    assert types.classes[2].prompts == known.prompts
    assert len(types_from_texts([f"type {k}" for k in range(100)])) == 100
    assert len(types_from_texts(["hook"])) == 1
    assert types_from_texts(["clip\n applier\t1"]).names == ("clip applier 1",), "names stand in lines of text"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "the list is empty; give at least one"),
        (["hook", " "], "text 1 is empty"),
        (["needle driver", "hook", "Needle-Driver"], "'Needle-Driver' is there twice"),
        (["hook", "Unknown"], "'Unknown' is what an instrument is called that no type fits; leave it out"),
        (["x" * (LONGEST + 1)], f"text 0 has {LONGEST + 1} characters; at most {LONGEST}"),
        ([f"type {k}" for k in range(255)], "255 classes; 1 to 254 can be"),
    ],
)
def test_impossible_lists_are_one_line(texts: list[str], message: str) -> None:
    with pytest.raises(LabelError, match=message) as caught:
        types_from_texts(texts)
    assert "\n" not in str(caught.value)


def test_options_ask_for_types_in_four_ways(tmp_path: Path) -> None:
    assert types_asked_for("none", BINARY) is None
    for words, names in (
        ("", SEVEN.names[1:]),
        ("endovis2018-type", SEVEN.names[1:]),
        ("hook, clip applier", ("hook", "clip applier")),
        ("hook", ("hook",)),
    ):
        found = types_asked_for(words, BINARY)
        assert found is not None and found.names == names
    file = tmp_path / "mine.yaml"
    file.write_text("classes: [{name: tissue}, {name: hook, instrument: true}]", encoding="utf-8")
    found = types_asked_for(str(file), BINARY)
    assert found is not None and found.names == ("hook",)
    with pytest.raises(LabelError, match="no whole instruments, only tissue or parts"):
        types_asked_for("endovis2017-parts", BINARY)
    with pytest.raises(LabelError, match="text 1 is empty"):
        types_asked_for("hook,,", BINARY)
