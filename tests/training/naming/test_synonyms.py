"""Other names for classes: files, prompts, drawing in training, and measuring with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.typed_data import ConfigError
from clip_rl_training.naming.synonyms import drawn, load_synonyms, prompts_of, renamed, wordings

SPACES = ("binary", "endovis2018-type", "endovis2017-parts")


@pytest.mark.parametrize("name", SPACES)
def test_held_out_names_cover_every_class_and_never_occur_in_training(name: str) -> None:
    space = load_label_space(name)
    train, held_out = load_synonyms("train"), load_synonyms("held_out")
    known = {text for entry in space.classes for text in entry.texts()}
    known |= {text for names in train.values() for other in names for text in prompts_of(other)}
    for entry in renamed(space, held_out).classes:
        assert entry.name in space.names
        assert set(entry.texts()).isdisjoint(known)


def test_every_step_draws_one_text_per_class_from_all_of_them() -> None:
    space, synonyms = load_label_space("binary"), {"instrument": ("tool",)}
    generator = torch.Generator().manual_seed(0)
    seen = {drawn(space, synonyms, generator).classes[1].texts() for _ in range(60)}
    own = space.classes[1].texts()
    assert seen == {(text,) for text in (*own, *prompts_of("tool"))}
    again = torch.Generator().manual_seed(0)
    assert drawn(space, synonyms, again) == drawn(space, synonyms, torch.Generator().manual_seed(0))


def test_a_prompt_may_be_said_in_every_way_of_its_class() -> None:
    spaces = [load_label_space("binary"), load_label_space("endovis2018-type")]
    said = wordings(spaces, {"instrument": ("tool",), "background": ("tissue",)})
    own = spaces[0].classes[1].texts()
    for prompt in own:
        assert said[prompt] == (*own, *prompts_of("tool"))
    clip = spaces[1].classes[7].texts()
    assert said[clip[0]] == clip
    assert "a photo of bowel" not in said


def test_names_get_an_article_unless_they_have_one() -> None:
    assert prompts_of("needle holder")[1] == "a needle holder"
    assert prompts_of("endoscopic tool")[0] == "a photo of an endoscopic tool in endoscopic surgery"
    assert prompts_of("the inside of the abdomen")[1] == "the inside of the abdomen"


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no synonyms 'nothing': neither a file nor one of held_out, train"):
        load_synonyms("nothing")
    path = tmp_path / "names.yaml"
    path.write_text("instrument: tool\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"names\.yaml: 'instrument' has 'tool'; expected a list"):
        load_synonyms(str(path))
    path.write_text("- tool\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected a mapping"):
        load_synonyms(str(path))
    with pytest.raises(ConfigError, match="synonyms lack background of label space 'binary'"):
        renamed(load_label_space("binary"), {"instrument": ("tool",)})
