"""Scenes on disk: what is written is read, what is there is not drawn again, each epoch has its own order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from clip_rl_training.data.samples import TEST, TRAINING, VALIDATION, DataError
from clip_rl_training.data.scene_sources import DrawnStills, RenderedStills, render_ahead
from clip_rl_training.instances.instance_scenes import draw_scenes
from clip_rl_training.synthetic.scene_config import SceneConfig

SCENE = SceneConfig(height=64, width=80)


def draw(root: Path, training: int, scene: SceneConfig = SCENE) -> list[str]:
    said: list[str] = []
    counts = {TRAINING: training, VALIDATION: 1, TEST: 1}
    render_ahead(root, counts, seed=3, scene=scene, workers=1, say=said.append)
    return said


def test_scenes_on_disk_equal_drawn_ones(tmp_path: Path) -> None:
    said = draw(tmp_path, 3)
    assert said[0].startswith("drawing 5 scenes")
    assert "5/5" in said[-1]
    stored, drawn = RenderedStills(tmp_path, seed=3, training=3), DrawnStills(3, SCENE)
    for split in (VALIDATION, TEST):
        one, other = stored.frame(split, 0), drawn.frame(split, 0)
        for name in ("type_map", "scene_map", "part_map", "instance_map", "content"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert one.caption == other.caption
        assert np.abs(one.rgb.astype(int) - other.rgb).mean() < 8
    assert not np.array_equal(stored.frame(VALIDATION, 0).rgb, stored.frame(TEST, 0).rgb)
    epochs = [[stored.frame(TRAINING, 3 * epoch + i).rgb.tobytes() for i in range(3)] for epoch in range(6)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1

    # A second call draws only what is missing; other ranges are refused; a damaged scene is named.
    assert draw(tmp_path, 3) == []
    assert draw(tmp_path, 4)[0].startswith("drawing 1 scenes")
    with pytest.raises(DataError, match="holds scenes of another scene than"):
        draw(tmp_path, 3, SceneConfig(height=64, width=96))
    (tmp_path / "test" / "000000.jpg").write_bytes(b"\xff\xd8 half")
    with pytest.raises(DataError, match=r"000000 is missing or damaged"):
        stored.frame(TEST, 0)


@pytest.mark.parametrize("content", ["", '{"seed": 3, "sce', "3"])
def test_a_damaged_note_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "scenes.json").write_text(content)
    with pytest.raises(
        DataError, match=r"scenes\.json is damaged .* choose another folder, or delete this one"
    ) as told:
        draw(tmp_path, 1)
    assert "\n" not in str(told.value)
    with pytest.raises(DataError, match=r"scenes\.json is damaged"):
        draw_scenes(tmp_path, {TRAINING: 1}, seed=3, scene=SCENE, network_size=(64, 96), workers=1, say=print)


def test_a_folder_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    draw(root, 1)
    assert RenderedStills(root, seed=3, training=1).frame(TRAINING, 0).rgb.shape == (64, 80, 3)
