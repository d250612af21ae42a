"""Tags as arrays for measuring: which count, what they are called, where their tips are, whose pixels are whose."""

from __future__ import annotations

import dataclasses

import numpy as np
from clip_rl_perception.labels import label_space_from_names, load_label_space
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.pipeline import PerceptionPipeline
from clip_rl_perception.runs.scene_tags import content_pixels, frame_tags, scene_tags
from clip_rl_perception.scene.types import Box, Instrument, Keypoint
from color_engine import EMBEDDING_DIM, ColorEngine, text_for

SPACE = label_space_from_names(["background", "forceps"])
PLAIN = Instrument(1, 0.75, Box(3, 4, 50, 60), (40.5, 50.5), (1.0, 0.0), 900.0, True, track_id=4)


def test_fields_of_tags_become_arrays() -> None:
    named = dataclasses.replace(
        PLAIN,
        type_name="clip applier",
        confirmed=False,
        track_id=9,
        keypoints=(Keypoint("wrist", 1.0, 2.0, 0.5, True), Keypoint("tip_2", 3.0, 4.0, 0.5, False)),
    )
    tags = frame_tags([PLAIN, named], SPACE, tentative=True)
    np.testing.assert_array_equal(tags.boxes, [[3, 4, 50, 60]] * 2)
    assert tags.confidences.tolist() == [0.75, 0.75] and tags.tracks.tolist() == [4, 9]
    assert tags.types == ("forceps", "clip applier") and tags.owners is None
    assert tags.points == ({"tip_1": (40.5, 50.5)}, {"wrist": (1.0, 2.0), "tip_2": (3.0, 4.0)})
    assert frame_tags([named, PLAIN], SPACE, tentative=False).tracks.tolist() == [4]
    assert frame_tags([], SPACE, tentative=True).boxes.shape == (0, 4)
    parts = load_label_space("endovis2017-parts")
    assert frame_tags([PLAIN], parts, tentative=True).types == ("",), "a part is no type"


def test_pixels_of_tags_are_numbered_as_those_that_count() -> None:
    colors = [(170, 80, 75), (120, 125, 130)]
    frame = np.full((352, 448, 3), colors[0], np.uint8)
    frame[40:80, :200] = frame[250:300, :300] = colors[1]
    pipeline = PerceptionPipeline(ColorEngine(), SPACE, text_for(colors), Calibration.uncalibrated(EMBEDDING_DIM))
    scene, _ = pipeline.process(frame, 0, None)
    assert len(scene.instruments) == 2 and content_pixels(scene.label_map) == 352 * 448
    doubted = dataclasses.replace(
        scene, instruments=(dataclasses.replace(scene.instruments[0], confirmed=False), scene.instruments[1])
    )
    both, one = scene_tags(scene, SPACE, tentative=True), scene_tags(doubted, SPACE, tentative=False)
    assert both.owners is not None and one.owners is not None
    assert set(np.unique(both.owners)) == {0, 1, 2} and set(np.unique(one.owners)) == {0, 1}
    np.testing.assert_array_equal(both.owners == 2, one.owners == 1)
    _, y, width, height = one.boxes[0].astype(int)
    rows, columns = np.nonzero(one.owners)
    assert abs(rows.min() - y) <= 4 and abs(rows.max() + 1 - y - height) <= 4 and abs(columns.max() + 1 - width) <= 4
