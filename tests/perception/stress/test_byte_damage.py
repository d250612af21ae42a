from __future__ import annotations

import random

import pytest
from clip_rl_perception.stress.byte_damage import KINDS, damage, damage_yaml

DATA = bytes(range(256)) * 40


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 300, len(DATA)])
def test_each_kind_does_what_it_says(kind: str, size: int) -> None:
    data = DATA[:size]
    for seed in range(40):
        draw = random.Random(seed)
        begin = draw.randrange(size)
        changed, _ = KINDS[kind](data, begin, draw)
        if kind in ("flipped", "overwritten", "zeroed"):
            assert len(changed) == size and changed[:begin] == data[:begin]
        elif kind == "cut off":
            assert changed == data[:begin]
        elif kind == "removed":
            assert data.startswith(changed[:begin]) and data.endswith(changed[begin:]) and len(changed) < size
        elif kind in ("repeated", "inserted"):
            assert changed[:begin] == data[:begin] and changed.endswith(data[begin:]) and len(changed) > size
        else:
            assert sorted(changed) == sorted(data)


def test_damage_is_a_function_of_the_seed() -> None:
    one, again, other = (damage(DATA, random.Random(seed)) for seed in ("a 1", "a 1", "a 2"))
    assert one == again != other
    assert one[0] != DATA and " at byte " in one[1]


def test_nothing_is_left_to_damage() -> None:
    assert damage(b"", random.Random(1)) == (b"", "")


def test_every_kind_is_met_and_both_ends_often() -> None:
    done = [damage(DATA, random.Random(seed))[1].split("; ")[0] for seed in range(400)]
    assert {text.partition(" at byte ")[0] for text in done} == set(KINDS)
    places = [int(text.partition(" at byte ")[2].split(",")[0].split(" ")[0]) for text in done]
    assert sum(place < 256 for place in places) > 60 and sum(place >= len(DATA) - 256 for place in places) > 60


def test_yaml_loses_and_changes_lines() -> None:
    text = "info:\n  version: 8\n  files:\n    - a.mcap\n"
    changed = {damage_yaml(text, random.Random(seed)) for seed in range(300)}
    texts = [what for _, what in changed]
    assert ("info:\n  version: \n  files:\n    - a.mcap\n", "'version' is ''") in changed
    assert any("removed" in what for what in texts) and any("doubled" in what for what in texts)
    assert any(what.startswith("cut at line") for what in texts)
