"""Instruments in space from stereo bags: from rendered pairs to metres, and what is wrong with a rig."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clip_rl_perception.bags.bag_make import MakeOptions, make_bag
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.messages import message_types
from clip_rl_perception.pictures.picture_files import decode_rgb
from clip_rl_perception.pictures.stereo_frames import EYES
from clip_rl_perception.replay.replay_options import OfflineOptions
from clip_rl_perception.replay.stereo_rigs import StereoRig, camera_info_beside, rigs_among
from clip_rl_perception.report import requirements
from clip_rl_perception.report.report_files import write_report
from clip_rl_perception.report.run_summary import summary
from clip_rl_perception.runs.record_json import read_run
from clip_rl_perception.runs.run_record import RunRecord
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.frames import SourceError
from clip_rl_training.data import training_bag_inputs as inputs
from clip_rl_training.synthetic.operation import stereo_videos
from clip_rl_training.synthetic.stereo_set import StereoSet
from clip_rl_training.synthetic.write_video import write_sequences
from replay_inputs import replayed, write_bag

QUICK = OfflineOptions(boundary=False, temporal=False)
TRUE = dataclasses.replace(QUICK, true_tags=True)
SIZE = (1280, 1024)


def stereo_bags(root: Path, *, sequences: int, frames: int, seed: int, **eyes: Any) -> list[Path]:
    """Rendered pairs as bags, one for each sequence."""
    made = StereoSet(**eyes)
    config = stereo_videos(SIZE[1], SIZE[0], 25.0, *made.distance_mm)
    list(write_sequences(root / "set", config, seed=seed, sequences=sequences, frames=frames, stereo=made))
    options = inputs.Options(inputs.Trees("endovis2018-type"), inputs.Scenes(), stereo=True)
    entries = inputs.open_inputs(options, source=root / "set", rate_hz=None, label_map=None, right=None)
    return [make_bag(entry, root / entry.name, MakeOptions()).path for entry in entries or ()]


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return stereo_bags(tmp_path_factory.mktemp("pairs"), sequences=4, frames=2, seed=17, distance_mm=(60.0, 110.0))


@pytest.fixture(scope="module")
def run(bags: list[Path]) -> RunRecord:
    return replayed(*bags, options=TRUE)


def rewritten(bag: Path, path: Path, change: Any) -> Path:
    """The bag with each message as `change` gives it back for (topic, message); None leaves it out."""
    with BagReader(bag) as reader, BagWriter(path) as made:
        for connection, time, data in reader.messages():
            message = change(connection.topic, reader.deserialize(data, connection.msgtype))
            if message is not None:
                made.write_message(connection.topic, connection.msgtype, message, time)
    return path


def test_with_true_tags_points_lie_where_they_are(run: RunRecord) -> None:
    assert run.space is not None and run.problems == ()
    assert (run.space["moments"], run.space["alone"], run.space["tags"]) == (8, 0, "truth")
    truth = run.space["truth"]
    assert truth["moments"] == 8 and truth["pairing"]["two_eyed"] >= 8
    assert truth["pairing"]["right"] == 1.0 and truth["pairing"]["precision"] == 1.0 and truth["pairing"]["stray"] == 0
    tips = truth["points"]["tip"]
    assert tips["count"] >= 0.6 * truth["asked"]["tip"] >= 6
    assert tips["median_mm"] < 2.0 and tips["across_mm"] < 0.6
    assert tips["inside_90"] >= 0.7
    assert truth["points"]["wrist"]["median_mm"] < 4.0
    assert truth["hidden"].get("tip", 0) == 0
    assert sorted(truth["sequences"]) == ["seq_101", "seq_102", "seq_103", "seq_104"]


def test_the_report_tells_it_and_can_be_held_against_requirements(run: RunRecord, tmp_path: Path) -> None:
    written = write_report(run, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Instruments in space" in page and "Tags are those of the truth" in page
    assert read_run(tmp_path).space == run.space
    wanted = requirements.parse("space_paired>=1,space_tip_median_mm<=2,space_tip_inside_90<=0.1")
    assert [verdict.holds for verdict in requirements.check(wanted, written)] == [True, True, False]
    # A report of before it was told is read as ever.
    told = json.loads((tmp_path / "report.json").read_text())
    del told["space"]
    (tmp_path / "report.json").write_text(json.dumps(told))
    older = read_run(tmp_path)
    assert older.space is None
    values = requirements.values_of(summary(older))
    assert values["space_tip_median_mm"] is None and values["space_hidden_tips"] is None


def test_the_networks_own_tags_are_judged_the_same_way(bags: list[Path]) -> None:
    run = replayed(bags[0], options=QUICK)  # a model that sees steel by its colour: not good, and judged
    assert run.space is not None and run.space["tags"] == "network"
    assert run.space["moments"] == 2 and run.space["truth"]["moments"] == 2
    assert any("is not confirmed yet" in reason for reason in run.space["point_reasons"]), "as the node tells"
    assert replayed(bags[0], options=dataclasses.replace(QUICK, in_space=False)).space is None


def test_both_eyes_in_one_picture_are_the_same_rig(bags: list[Path], tmp_path: Path) -> None:
    with BagReader(bags[0]) as reader:
        topics = reader.topics
        eyes = {eye: next(name for name in topics if name.startswith(f"/endoscope/{eye}/image")) for eye in EYES}
        halves: dict[str, dict[int, Any]] = {topic: {} for topic in eyes.values()}
        with BagWriter(tmp_path / "joined") as made:
            for connection, time, data in reader.messages():
                if connection.topic in halves:
                    message = reader.deserialize(data, connection.msgtype)
                    halves[connection.topic][message_types.stamp_of(message)] = decode_rgb(bytes(message.data))
                elif connection.topic.endswith("camera_info"):
                    message = reader.deserialize(data, connection.msgtype)
                    made.write_message(connection.topic, connection.msgtype, message, time)
            left, right = (halves[eyes[eye]] for eye in EYES)
            for stamp in left:
                both = np.concatenate([left[stamp], right[stamp]], 1)
                made.write_image(both, stamp, topic="/endoscope/image_raw", encoding="png")
    run = replayed(tmp_path / "joined", options=QUICK, stereo_layout="side_by_side", eye="both")
    apart = replayed(bags[0], options=QUICK, use_truth=False)
    assert run.space == apart.space and run.space is not None and run.space["moments"] == 2
    assert run.problems == ()


def test_a_calibration_of_eyes_that_are_swapped_is_said_once_and_the_rest_goes_on(
    bags: list[Path], tmp_path: Path
) -> None:
    def swapped(topic: str, message: Any) -> Any:
        if topic.endswith("right/camera_info"):
            return dataclasses.replace(message, p=message.p * np.where(np.arange(12) == 3, -1, 1))
        return message

    run = replayed(rewritten(bags[0], tmp_path / "bag", swapped), options=TRUE)
    assert len(run.frames) == 4 and run.space is not None and run.space["moments"] == 0
    assert run.space["truth"] is None and run.space["alone"] == 0
    (line,) = [line for line in run.problems if "no instruments in space" in line]
    assert "left and right camera_info are swapped" in line and "/endoscope" in line


def test_a_bag_without_calibration_says_so(bags: list[Path], tmp_path: Path) -> None:
    def bare(topic: str, message: Any) -> Any:
        return None if topic.endswith("left/camera_info") else message

    run = replayed(rewritten(bags[0], tmp_path / "bag", bare), options=TRUE)
    (line,) = [line for line in run.problems if "no instruments in space" in line]
    assert "no calibration on /endoscope/left/camera_info; expected sensor_msgs/CameraInfo there" in line


def test_frames_of_one_moment_are_those_with_near_stamps(bags: list[Path], tmp_path: Path) -> None:
    late = {"little": 2_000_000, "much": 20_000_000}
    for name, shift in late.items():

        def moved(topic: str, message: Any, shift: int = shift) -> Any:
            if topic.startswith("/endoscope/right"):
                stamp = message_types.stamp_of(message) if hasattr(message, "header") else None
                if stamp:
                    message = dataclasses.replace(
                        message, header=message_types.header(stamp + shift, message.header.frame_id)
                    )
            return message

        run = replayed(rewritten(bags[0], tmp_path / name, moved), options=QUICK)
        assert run.space is not None
        assert (run.space["moments"], run.space["alone"]) == ((2, 0) if name == "little" else (0, 4))


def test_a_size_that_changes_in_mid_stream_is_that_of_the_next_moment(bags: list[Path], tmp_path: Path) -> None:
    stamps: set[int] = set()

    def smaller(topic: str, message: Any) -> Any:
        if "image_raw" not in topic:
            return message
        stamps.add(message_types.stamp_of(message))
        if message_types.stamp_of(message) == min(stamps):
            return message
        picture = cv2.resize(cv2.imdecode(message.data, cv2.IMREAD_COLOR), (640, 512), interpolation=cv2.INTER_AREA)
        return dataclasses.replace(message, data=cv2.imencode(".png", picture)[1].ravel())

    run = replayed(rewritten(bags[0], tmp_path / "bag", smaller), options=QUICK)
    assert run.space is not None and run.space["moments"] == 2
    assert not any("no instruments in space" in line for line in run.problems)


def test_one_eye_is_no_stereo_bag(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag")
    assert replayed(bag).space is None
    with pytest.raises(ClipRlError, match="--true-tags needs a stereo bag"):
        replayed(bag, options=TRUE)


def test_rigs_are_topics_that_differ_in_left_and_right_alone() -> None:
    topics = ["/a/left/image_raw", "/a/right/image_raw/compressed", "/b/left/image", "/left/image", "/right/image"]
    assert rigs_among(topics) == [
        StereoRig("/a", "/a/left/image_raw", "/a/right/image_raw/compressed"),
        StereoRig("/", "/left/image", "/right/image"),
    ]
    assert rigs_among(["/x/left/left/image", "/x/right/right/image", "/leftover/image", "/rightover/image"]) == []


def test_the_calibration_is_the_one_beside_the_images(bags: list[Path]) -> None:
    info = camera_info_beside(bags[0], "/endoscope/right/image_raw/compressed")
    assert info.width == SIZE[0] and info.p[3] < 0 and np.isfinite(info.p).all()
    with pytest.raises(SourceError, match="no calibration on /other/camera_info"):
        camera_info_beside(bags[0], "/other/image")


def test_what_is_known_of_calibration_and_shafts_counts(bags: list[Path], run: RunRecord) -> None:
    vague = replayed(*bags, options=dataclasses.replace(TRUE, calibration_px=20.0, shaft_mm=8.0))
    assert run.space is not None and vague.space is not None
    before, after = (each.space["truth"]["points"]["tip"] for each in (run, vague))
    assert after["inside_90"] == 1.0 >= before["inside_90"], "a calibration that is off by 20 px explains every error"
    thick = replayed(bags[0], options=dataclasses.replace(TRUE, shaft_mm=40.0))
    assert thick.space is not None
    assert any("by the width of its shaft" in reason for reason in thick.space["reasons"])
    assert not any("by the width of its shaft" in reason for reason in run.space["reasons"])
