"""Truth of tags in folders: where it lies, how it may look, and what is said of one that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clip_rl_perception.metrics.tag_measures import TrueInstrument
from clip_rl_perception.sources.tag_truth import TagTruthError, TagTruthFolder, instances_beside

NUMBERS = np.repeat(np.array([0, 1, 1, 2], np.uint8), 8).reshape(4, 8)


def write(folder: Path, names: list[str], numbers: np.ndarray = NUMBERS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        assert cv2.imwrite(str(folder / name), numbers)
    return folder


def tell(path: Path, *frames: Any) -> None:
    path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in frames) + "\n")


ONE = {
    "instance": 1,
    "type": "clip-applier",
    "keypoints": [{"name": "tip_1", "x": 3, "y": 1.5}, {"name": "wrist", "x": 0, "y": 0, "visible": False}],
}


def test_frames_are_known_by_name_or_by_the_number_in_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "instances", ["frame007.png", "frame008.png", "b.png"])
    two = {"instance": 2, "type": ""}
    tell(
        tmp_path / "instruments.jsonl",
        {"frame": 7, "instruments": [ONE, two]},
        "",
        {"frame": "b", "instruments": [ONE]},
    )
    truth = TagTruthFolder(folder)
    found = truth.truth_of("frame007")
    assert found is not None
    np.testing.assert_array_equal(found.instances, NUMBERS)
    assert found.instruments == {1: TrueInstrument("clip-applier", {"tip_1": (3.0, 1.5)}), 2: TrueInstrument()}
    assert (b := truth.truth_of("b")) is not None and list(b.instruments) == [1]
    assert (bare := truth.truth_of("frame008")) is not None and not bare.instruments
    assert truth.truth_of("frame009") is None


def test_it_lies_beside_images_and_of_videos_in_folders_of_their_names(tmp_path: Path) -> None:
    assert instances_beside(tmp_path / "images") is None
    one = write(tmp_path / "seq_1" / "instances", ["a.png"])
    assert instances_beside(tmp_path / "seq_1" / "left_frames") == one
    two = write(tmp_path / "all" / "instances" / "v", ["a.png"])
    tell(two / "instruments.jsonl", {"frame": "a", "instruments": [ONE]})
    assert instances_beside(tmp_path / "all" / "images" / "v") == two
    assert (found := TagTruthFolder(two).truth_of("a")) is not None and list(found.instruments) == [1]


def test_more_than_255_instruments_and_grey_in_three_channels(tmp_path: Path) -> None:
    folder = write(tmp_path / "instances", ["a.png"], NUMBERS.astype(np.uint16) * 300)
    write(folder, ["b.png"], np.repeat(NUMBERS[..., None], 3, 2))
    assert (wide := TagTruthFolder(folder).truth_of("a")) is not None and wide.instances.max() == 600
    assert (grey := TagTruthFolder(folder).truth_of("b")) is not None and grey.instances.shape == (4, 8)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: not a frame; expected"),
        ("[" * 100_000, "line 1: not a frame; expected"),
        ("[]", "line 1: not a frame; expected"),
        ('{"instruments": []}', "line 1: not a frame; expected"),
        ({"frame": None}, "frame is None; expected a picture's name"),
        ({"frame": 1, "instruments": {}}, "instruments is {}; expected a list"),
        ({"frame": 1, "instruments": [3]}, "instrument 3; expected an object"),
        ({"frame": 1, "instruments": [{"instance": 0}]}, "a number from 1, each once"),
        ({"frame": 1, "instruments": [ONE, ONE]}, "a number from 1, each once"),
        ({"frame": 1, "instruments": [{"instance": 1, "type": 3}]}, "type of instance 1 is 3; expected a name"),
        (
            {"frame": 1, "instruments": [{"instance": 1, "keypoints": [{"x": 1}]}]},
            "expected objects with name, x and y",
        ),
        (
            {"frame": 1, "instruments": [{"instance": 1, "keypoints": [{"name": "hilt", "x": 1, "y": 2}]}]},
            "keypoint 'hilt' of instance 1 at (1.0, 2.0); expected one of entry, wrist, tip_1, tip_2",
        ),
        (
            '{"frame": 1, "instruments": [{"instance": 1, "keypoints": [{"name": "wrist", "x": NaN, "y": 2}]}]}',
            "numbers",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(line: Any, message: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "instances", ["a.png"])
    tell(tmp_path / "instruments.jsonl", line)
    with pytest.raises(TagTruthError) as caught:
        TagTruthFolder(folder)
    assert message in str(caught.value) and str(caught.value).startswith(str(tmp_path / "instruments.jsonl"))
    assert "\n" not in str(caught.value)


def test_pictures_that_are_none_of_numbers(tmp_path: Path) -> None:
    folder = write(tmp_path / "instances", ["a.png"], np.dstack([NUMBERS, NUMBERS, NUMBERS * 2]))
    (folder / "b.png").write_bytes(b"")
    truth = TagTruthFolder(folder)
    with pytest.raises(TagTruthError, match=r"a\.png is uint8 \(4, 8, 3\); expected instrument numbers"):
        truth.truth_of("a")
    with pytest.raises(TagTruthError, match=r"b\.png of 0 bytes does not decode"):
        truth.truth_of("b")
