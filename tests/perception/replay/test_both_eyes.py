"""Pictures that hold both eyes, replayed and predicted: what comes is what each eye's own picture gives."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception import options
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.commands import predict, replay
from clip_rl_perception.metrics.tag_measures import TagTruth, TrueInstrument
from clip_rl_perception.pictures.stereo_frames import EYES
from clip_rl_perception.replay.live import replay_online
from clip_rl_perception.replay.node_run import NodeRunOptions, parameters_of
from clip_rl_perception.replay.replay_options import OfflineOptions, RunOptions
from clip_rl_perception.report.accuracy import accuracy_report
from clip_rl_perception.runs.run_record import RunRecord
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.frames import Frame, SourceError
from clip_rl_perception.sources.streams import InputOptions, open_inputs, read
from clip_rl_perception.stream_options import ModelOptions
from replay_inputs import PERIOD, SPACE, START, image, labels, replayed

LAYOUTS = {"side_by_side": 1, "top_bottom": 0}
"""The axis along which the eyes are joined."""
RIGHT = 3
"""How many frames the right eye's pictures are ahead of the left eye's."""


def write(path: Path, axis: int | None, eye: str = "left") -> Path:
    """Six pictures with truth: both eyes joined along `axis`, or one eye alone."""
    with BagWriter(path) as bag:
        bag.write_label_space(SPACE, START, topic="/scope/labels")
        for index in range(6):
            stamp = START + index * PERIOD
            eyes = [index, index + RIGHT]
            shown = range(2) if axis is not None else [EYES.index(eye)]
            pictures = [image(eyes[place]) for place in shown]
            truth = [labels(eyes[place]) for place in shown]
            bag.write_image(np.concatenate(pictures, axis or 0), stamp, topic="/scope/image_raw", encoding="png")
            bag.write_labels(np.concatenate(truth, axis or 0), stamp, topic="/scope/labels")
    return path


def told(run: RunRecord) -> object:
    frames = [(frame.kind, frame.mask_sha256, frame.stamp_ns, frame.validity) for frame in run.frames]
    report = accuracy_report(run.frames, run.evaluated, run.nsd_tau)
    assert report is not None
    return frames, report["classes"], run.source["width"], run.source["height"]


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_half_is_replayed_as_that_eye_alone(tmp_path: Path, layout: str, eye: str) -> None:
    both = replayed(write(tmp_path / "both", LAYOUTS[layout]), stereo_layout=layout, eye=eye)
    alone = replayed(write(tmp_path / "alone", None, eye))
    assert told(both) == told(alone) and len(both.frames) == 6 and both.problems == ()
    assert both.source["eye"] == f"{eye} of {layout}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_eyes_are_replayed_each_as_it_would_be_alone(tmp_path: Path, layout: str) -> None:
    bag, out = write(tmp_path / "both", LAYOUTS[layout]), tmp_path / "out"
    options = OfflineOptions(bag=out / "perception", video=out)
    out.mkdir()
    run = replayed(bag, options=options, stereo_layout=layout, eye="both")
    assert run.source["eye"] == f"both of {layout}" and "no calibration on /scope/left/camera_info" in run.problems[0]
    for eye in EYES:
        half = [frame for frame in run.frames if frame.topic == f"/scope/{eye}/image_raw/compressed"]
        alone = replayed(bag, stereo_layout=layout, eye=eye).frames
        assert [frame.mask_sha256 for frame in half] == [frame.mask_sha256 for frame in alone] and len(half) == 6
        for one, other in zip(half, alone, strict=True):
            assert one.measures is not None and other.measures is not None
            assert np.array_equal(one.measures.confusion, other.measures.confusion)
    with BagReader(options.bag) as reader:
        assert {f"/scope/{eye}/{name}" for eye in EYES for name in ("mask", "instruments")} <= set(reader.topics)
    assert len(list(out.glob("overlay-*.mp4"))) == 2


def test_both_eyes_of_a_tree_of_folders_are_sequences_of_their_own(tmp_path: Path) -> None:
    for name in ("a/frames", "b/frames"):
        (tmp_path / name).mkdir(parents=True)
        assert cv2.imwrite(str(tmp_path / name / "0.png"), np.concatenate([image(0), image(RIGHT)], 1)[..., ::-1])
    inputs = open_inputs(InputOptions((tmp_path,), stereo_layout="side_by_side", eye="both"), SPACE)
    assert inputs.frames == 4
    assert {stream.sequence for stream in inputs.streams} == {f"{name}/frames:{eye}" for name in "ab" for eye in EYES}
    told = [(item.stream.halves[1], item.content.rgb) for item in read(inputs) if isinstance(item.content, Frame)]
    assert [eye for eye, _ in told] == [*EYES, *EYES]
    assert all(np.array_equal(rgb, image(0 if eye == "left" else RIGHT)) for eye, rgb in told)


def test_both_eyes_where_there_are_not_two(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--eye both needs --stereo-layout"):
        open_inputs(InputOptions((tmp_path,), eye="both"), SPACE)
    what = InputOptions((tmp_path,), stereo_layout="side_by_side", eye="both")
    with pytest.raises(SourceError, match="the node watches one eye: --eye left or right"):
        replay_online(what, ModelOptions(), NodeRunOptions(), RunOptions(), tmp_path / "out")


def test_masks_beside_images_are_halved_with_them(tmp_path: Path) -> None:
    for name, made in (("images", image), ("masks", labels)):
        (tmp_path / name).mkdir()
        for index in range(3):
            pixels = np.concatenate([made(index), made(index + RIGHT)], 1)
            assert cv2.imwrite(str(tmp_path / name / f"{index}.png"), pixels[..., ::-1] if name == "images" else pixels)
    what = InputOptions((tmp_path,), stereo_layout="side_by_side", eye="right")
    frames = [item.content for item in read(open_inputs(what, SPACE)) if isinstance(item.content, Frame)]
    assert len(frames) == 3
    for index, frame in enumerate(frames):
        assert np.array_equal(frame.rgb, image(index + RIGHT)) and frame.encoded is None
        assert frame.labels is not None and np.array_equal(frame.labels, labels(index + RIGHT))


def test_truth_of_tags_is_that_eyes(tmp_path: Path) -> None:
    numbers = np.concatenate([labels(0), 2 * labels(RIGHT)], 1)
    width = labels(0).shape[1]
    points = {1: {"tip_1": (80.0, 75.0)}, 2: {"tip_1": (width + 92.0, 75.0)}}
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_label_space(SPACE, START, topic="/scope/labels")
        bag.write_image(np.concatenate([image(0), image(RIGHT)], 1), START, topic="/scope/image_raw", encoding="png")
        bag.write_labels((numbers > 0).astype(np.uint8), START, topic="/scope/labels")
        truth = TagTruth(numbers, {number: TrueInstrument(points=known) for number, known in points.items()})
        bag.write_tag_truth(truth, START, topic="/scope/labels")
    for eye, number, tip in (("left", 1, (80.0, 75.0)), ("right", 2, (92.0, 75.0))):
        what = InputOptions((tmp_path / "bag",), stereo_layout="side_by_side", eye=eye)
        (frame,) = [item.content for item in read(open_inputs(what, SPACE))]
        assert isinstance(frame, Frame) and frame.tags is not None
        assert set(np.unique(frame.tags.instances)) == {0, number}
        assert {key: dict(each.points) for key, each in frame.tags.instruments.items() if each.points} == {
            number: {"tip_1": tip}
        }


def test_what_cannot_be_halved_is_left_out_and_named(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        for index, size in enumerate([(60, 80), (60, 81), (60, 80)]):
            pixels = np.full((*size, 3), 90, np.uint8)
            bag.write_image(pixels, START + index * PERIOD, topic="/scope/image_raw", encoding="png")
    run = replayed(tmp_path / "bag", stereo_layout="side_by_side")
    assert [frame.kind for frame in run.frames] == ["mask", "invalid", "mask"]
    assert any("need an even width; left out" in line for line in run.problems)


def test_commands_and_the_node_call_it_by_the_same_names(tmp_path: Path) -> None:
    given = ["--stereo-layout", "top_bottom", "--eye", "right"]
    for command, rest in ((replay, []), (predict, ["--out", "out"])):
        what = options.parse(command, ["in", *rest, *given]).what
        assert (what.stereo_layout, what.eye) == ("top_bottom", "right")
    asked = InputOptions((tmp_path,), stereo_layout="top_bottom", eye="right")
    assert parameters_of(asked, ModelOptions()) == {"stereo_layout": "top_bottom", "eye": "right"}
    assert parameters_of(InputOptions((tmp_path,)), ModelOptions()) == {}
