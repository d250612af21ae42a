"""Which right image belongs to a left one: of eyes that lost frames too, never one beside the other."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.bags.bag_inputs import open_path
from clip_rl_perception.bags.bag_make import MakeOptions, make_bag
from clip_rl_perception.bags.bag_writer import BagError, BagWriter
from clip_rl_perception.bags.eye_pairs import places_by_name
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.camera_model import pinhole
from clip_rl_perception.sources.frames import SourceError
from dataset_trees import write_rgb

LEFT, RIGHT = "/endoscope/left/image_raw", "/endoscope/right/image_raw"
PERIOD_NS = 40_000_000


def picture(number: int, side: int) -> np.ndarray:
    """One whose first pixel tells which it is."""
    return np.full((24, 32, 3), 10 * number + side, np.uint8)


def folder(path: Path, side: int, numbers: list[int], name: str = "frame{:03d}.png") -> Path:
    path.mkdir()
    for number in numbers:
        write_rgb(path / name.format(number), picture(number, side))
    return path


def bag(path: Path, side: int, numbers: list[int], late_ns: int = 0, topic: str = "/camera/image_raw") -> Path:
    with BagWriter(path) as writer:
        for number in numbers:
            stamp = 1_700_000_000_000_000_000 + number * PERIOD_NS + late_ns
            writer.write_image(picture(number, side), stamp, topic=topic, encoding="rgb8")
    return path


def pairs(made: Path) -> list[tuple[int, int]]:
    """Numbers of left and right images of one moment, by what the pictures show."""
    sides = [
        {frame.stamp_ns: int(frame.rgb[0, 0, 0]) // 10 for frame in BagSource(made, topic=t)} for t in (LEFT, RIGHT)
    ]
    near = [
        (number, other)
        for stamp, number in sides[0].items()
        for other_stamp, other in sides[1].items()
        if abs(stamp - other_stamp) < PERIOD_NS // 2
    ]
    return sorted(near)


@pytest.mark.parametrize(
    ("left", "right"), [("frame{:03d}.png", "frame{:03d}.png"), ("L_{:02d}.png", "{}_R.png")], ids=["alike", "numbers"]
)
def test_folders_with_gaps(tmp_path: Path, left: str, right: str) -> None:
    ours = folder(tmp_path / "left", 0, [1, 3, 4, 5], left)
    theirs = folder(tmp_path / "right", 1, [1, 2, 3, 5], right)
    made = make_bag(open_path(ours, right=theirs), tmp_path / "bag", MakeOptions(encoding="rgb8"))
    assert (made.frames, made.pairs) == (4, 3)
    assert pairs(made.path) == [(1, 1), (3, 3), (5, 5)]
    assert [line for line in made.problems if "no right image" in line] and len(made.problems) == 1


def test_bags_with_gaps_keep_their_own_stamps(tmp_path: Path) -> None:
    ours, theirs = bag(tmp_path / "l", 0, [0, 2, 3, 4]), bag(tmp_path / "r", 1, [0, 1, 2, 4], late_ns=3_000_000)
    made = make_bag(open_path(ours, right=theirs), tmp_path / "bag", MakeOptions(encoding="rgb8"))
    assert (made.frames, made.pairs) == (4, 3)
    assert pairs(made.path) == [(0, 0), (2, 2), (4, 4)]
    first = [next(iter(BagSource(made.path, topic=topic))).stamp_ns for topic in (LEFT, RIGHT)]
    assert first[1] - first[0] == 3_000_000


def test_bags_of_two_days(tmp_path: Path) -> None:
    ours, theirs = bag(tmp_path / "l", 0, [0, 1, 2]), bag(tmp_path / "r", 1, [0, 1, 2], late_ns=86_400 * 10**9)
    with pytest.raises(BagError, match=r"none of 3 left frames has a right one: .* no right image for it"):
        make_bag(open_path(ours, right=theirs), tmp_path / "bag", MakeOptions())
    assert not (tmp_path / "bag").exists()


def test_names_that_do_not_tell() -> None:
    assert places_by_name(["a", "b", "c"], ["x", "y", "z"]) == [0, 1, 2]
    assert places_by_name(["cam0_1", "cam0_2"], ["cam1_1", "cam1_2"]) == [0, 1]
    with pytest.raises(SourceError, match="left eye has 2 frames, the right one 3, and their names do not tell"):
        places_by_name(["a", "b"], ["x", "y", "z"])
    with pytest.raises(SourceError, match="do not tell"):
        places_by_name(["cam0_1", "cam0_2"], ["cam1_1"])


def test_videos_of_different_length_are_paired_by_place_and_told(tmp_path: Path) -> None:
    for name, frames in (("l.avi", 3), ("r.avi", 4)):
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*"MJPG"), 25, (32, 24))
        for number in range(frames):
            writer.write(picture(number, 0))
        writer.release()
    made = make_bag(open_path(tmp_path / "l.avi", right=tmp_path / "r.avi"), tmp_path / "bag", MakeOptions())
    assert (made.frames, made.pairs) == (3, 3)
    assert made.problems == ("left and right have 3 and 4 frames; they were paired by their place",)


def test_both_eyes_of_one_bag_by_topic(tmp_path: Path) -> None:
    both = tmp_path / "both"
    with BagWriter(both) as writer:
        for number in range(3):
            for side, topic in enumerate(("/a/image_raw", "/b/image_raw")):
                stamp = 1_700_000_000_000_000_000 + number * PERIOD_NS
                writer.write_image(picture(number, side), stamp, topic=topic, encoding="rgb8")
    with pytest.raises(
        SourceError, match=r"left and right images are the same ones, topic /a/image_raw; .*--right-topic"
    ):
        open_path(both, topic="/a/image_raw", right=both, right_topic="/a/image_raw")
    entry = open_path(both, topic="/a/image_raw", right=both, right_topic="/b/image_raw")
    made = make_bag(entry, tmp_path / "bag", MakeOptions(encoding="rgb8"))
    assert made.pairs == 3
    assert [int(frame.rgb[0, 0, 0]) % 10 for frame in BagSource(made.path, topic=RIGHT)] == [1, 1, 1]
    same = folder(tmp_path / "left", 0, [0, 1])
    with pytest.raises(SourceError, match=r"left and right images are the same ones$"):
        open_path(same, right=same)


def test_a_pair_with_one_calibration(tmp_path: Path) -> None:
    ours, theirs = folder(tmp_path / "left", 0, [0, 1]), folder(tmp_path / "right", 1, [0, 1])
    options = MakeOptions(camera=pinhole(32, 24, field_of_view=70.0))
    with pytest.raises(SourceError, match="a pair needs --right-camera as well"):
        make_bag(open_path(ours, right=theirs), tmp_path / "bag", options)
