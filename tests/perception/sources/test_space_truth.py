"""Truth in space: what files and bags tell is read as it was written, and what is not as described is said."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.metrics.tag_measures import TrueInstrument, TruePoint, TrueSpace
from clip_rl_perception.sources.camera_model import CameraModel, load_calibration, pinhole, write_calibration
from clip_rl_perception.sources.space_truth import SpaceTruthError, plain_space, space_of_file
from clip_rl_perception.sources.tag_truth import (
    TagTruthError,
    TagTruthFolder,
    instances_beside,
    instruments_from_plain,
    plain_instruments,
)

SPACE = TrueSpace({"wrist": TruePoint((0.01, -0.02, 0.1), True, False)}, (0.0, 0.6, 0.8))


def tree(root: Path) -> Path:
    """left_frames and right_frames with instances of their own; the left ones' in space."""
    numbers = np.zeros((8, 10), np.uint8)
    numbers[2:5, 3:6] = 4
    for folder in ("left_frames", "right_frames", "instances", "right_instances"):
        (root / folder).mkdir(parents=True)
        cv2.imwrite(str(root / folder / "frame007.png"), numbers)
    (root / "keypoints3d").mkdir()
    told = {"frame": "left_optical", "instruments": plain_space({4: TrueInstrument("probe", space=SPACE)})}
    (root / "keypoints3d/frame007.json").write_text(json.dumps(told))
    return root


def test_a_folder_tells_where_instruments_of_the_left_eye_are(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "instruments.jsonl").write_text('{"frame": 7, "instruments": [{"instance": 4, "type": "probe"}]}\n')
    left = TagTruthFolder(root / "instances").truth_of("frame007")
    assert left is not None and left.instruments == {4: TrueInstrument("probe", {}, SPACE)}
    right = TagTruthFolder(root / "right_instances").truth_of("frame007")
    assert right is not None and right.instruments == {}


def test_to_each_eye_belong_its_own_instances(tmp_path: Path) -> None:
    root = tree(tmp_path)
    assert instances_beside(root / "left_frames") == root / "instances"
    assert instances_beside(root / "right_frames") == root / "right_instances"
    (root / "right_instances").rename(root / "away")
    assert instances_beside(root / "right_frames") is None, "the left eye's truth is none of the right one"


def test_bags_tell_it_with_the_other_truth() -> None:
    instruments = {4: TrueInstrument("probe", {"tip_1": (3.0, 4.0)}, SPACE), 5: TrueInstrument("")}
    assert instruments_from_plain(json.loads(json.dumps(plain_instruments(instruments)))) == instruments
    with pytest.raises(TagTruthError, match="instance 1: 'up' in space: expected three numbers"):
        instruments_from_plain([{"instance": 1, "keypoints3d": {}, "axis3d": "up"}])


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        ("{", "expected instruments with instance, keypoints and axis in JSON"),
        ("[]", "expected instruments with instance, keypoints and axis"),
        ('{"instruments": [{"instance": 1}]}', "'keypoints'; expected instruments with"),
        ('{"instruments": [{"instance": 1, "axis": [0, 0, 1], "keypoints": {"tip_1": {}}}]}', "expected NAME: {xyz_m"),
        (
            '{"instruments": [{"instance": 1, "axis": [0, 0, 1], "keypoints": {"elbow": {"xyz_m": [1, 2, 3], '
            '"visible_left": true, "visible_right": true}}}]}',
            "keypoint 'elbow' in space: expected one of entry, wrist",
        ),
        ('{"instruments": [{"instance": 1, "axis": [0, NaN, 1], "keypoints": {}}]}', "expected three finite numbers"),
        ('{"instruments": [{"instance": 1, "axis": [0, 1], "keypoints": {}}]}', r"\[0, 1\] in space: expected three"),
    ],
)
def test_what_is_not_as_described_is_said(tmp_path: Path, content: str, phrase: str) -> None:
    file = tree(tmp_path) / "keypoints3d/frame007.json"
    file.write_text(content)
    with pytest.raises(SpaceTruthError, match=rf"frame007.json: .*{phrase}") as told:
        space_of_file(file)
    assert "\n" not in str(told.value)
    with pytest.raises(TagTruthError, match=r"frame007\.json"):
        TagTruthFolder(tmp_path / "instances").truth_of("frame007")


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    camera = pinhole(640, 512, baseline_m=0.0047)
    bent = CameraModel(
        640, 512, camera.k, (0.1, -0.2, 0.0, 1e-4, 0.0, 0.3, 0.0, 0.0), "rational_polynomial", camera.r, camera.p
    )
    for number, model in enumerate((camera, bent)):
        write_calibration(tmp_path / f"{number}.yaml", model, "right")
        assert load_calibration(tmp_path / f"{number}.yaml") == model
    assert load_calibration(tmp_path / "0.yaml").p[3] == pytest.approx(-0.0047 * camera.k[0])
