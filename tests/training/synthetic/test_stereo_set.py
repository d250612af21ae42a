"""Stereo videos on disk and in bags: rigs, calibrations, truth in space, each eye with truth of its own."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception import options
from clip_rl_perception.bags.bag_inputs import open_path
from clip_rl_perception.bags.bag_make import MakeOptions, make_bag
from clip_rl_perception.commands import bag
from clip_rl_perception.metrics.tag_measures import TrueSpace
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.camera_model import load_calibration
from clip_rl_perception.sources.space_truth import space_of_file
from clip_rl_training.commands import synth
from clip_rl_training.data import training_bag_inputs
from clip_rl_training.synthetic.drawing.eyes import Eye
from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame
from clip_rl_training.synthetic.drawing.synthetic_errors import SynthError
from clip_rl_training.synthetic.operation import SyntheticOperation, stereo_videos
from clip_rl_training.synthetic.stereo_set import StereoSet
from clip_rl_training.synthetic.write_video import sequence_seed, write_sequences

SIZE = (160, 128)


def write(root: Path, *, frames: int = 2, sequences: int = 2, workers: int = 1, error: float = 0.3) -> Path:
    eyes = StereoSet(calibration_error=error)
    config = stereo_videos(SIZE[1], SIZE[0], 25.0, *eyes.distance_mm)
    list(write_sequences(root, config, seed=5, sequences=sequences, frames=frames, workers=workers, stereo=eyes))
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("stereo") / "set")


def test_a_set_can_be_continued_and_does_not_depend_on_processes(root: Path, tmp_path: Path) -> None:
    begun = write(tmp_path / "begun", sequences=1)
    (begun / "seq_101/right_types/frame001.png").unlink()
    (begun / "seq_101/keypoints3d/frame000.json").unlink()
    assert contents(write(begun, workers=2)) == contents(root)


def test_both_eyes_have_the_same_folders(root: Path) -> None:
    for sequence in ("seq_101", "seq_102"):
        for left, right in (
            ("left_frames", "right_frames"),
            ("types", "right_types"),
            ("instances", "right_instances"),
        ):
            names = [sorted(path.name for path in (root / sequence / side).glob("*.png")) for side in (left, right)]
            assert names[0] == names[1] == ["frame000.png", "frame001.png"]
    lines = (root / "seq_101/right_instances/instruments.jsonl").read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines] == [0, 1]


def test_each_video_has_a_rig_of_its_own_and_calibrations_are_off_by_what_was_asked(tmp_path: Path) -> None:
    exact, off = StereoSet(), StereoSet(calibration_error=0.3)
    baselines, moved = [], []
    for sequence in range(200):
        seed = sequence_seed(9, sequence)
        true, told = exact.cameras(seed, 1280, 1024), off.cameras(seed, 1280, 1024)
        baselines.append(-true[1].p[3] / true[1].p[0] * 1000)
        assert exact.rig(seed) == off.rig(seed) and exact.rig(seed).baseline_mm == pytest.approx(baselines[-1])
        for one, other in zip(true, told, strict=True):
            assert other.k == (other.p[0], 0.0, other.p[2], 0.0, other.p[5], other.p[6], 0.0, 0.0, 1.0)
            moved += [other.p[2] - one.p[2], other.p[6] - one.p[6], (other.p[0] / one.p[0] - 1) * 640]
            assert other.p[3] / other.p[0] == pytest.approx(one.p[3] / one.p[0])
    assert 4.0 < min(baselines) < 4.2 and 5.8 < max(baselines) < 6.0
    assert float(np.std(moved)) == pytest.approx(0.3, rel=0.1) and abs(float(np.mean(moved))) < 0.03


def test_pictures_and_truth_do_not_have_the_error_of_the_calibration(root: Path, tmp_path: Path) -> None:
    exact = contents(write(tmp_path / "exact", error=0.0))
    differ = [name for name, content in contents(root).items() if exact[name] != content]
    assert differ == ["scenes.json", *(f"seq_{n}/{side}.yaml" for n in (101, 102) for side in ("left", "right"))]


def visible(spaces: dict[int, TrueSpace]) -> list[tuple[int, str, np.ndarray]]:
    return [
        (number, name, np.array(point.position))
        for number, space in spaces.items()
        for name, point in space.points.items()
        if point.visible_left and point.visible_right
    ]


def test_truth_in_space_lies_on_the_instruments_of_both_pictures(tmp_path: Path) -> None:
    folder = write(tmp_path, sequences=4, error=0.0)
    checked = 0
    for file in folder.glob("seq_*/keypoints3d/*.json"):
        for number, _, position in visible(space_of_file(file)):
            for side, kind in (("left", "instances"), ("right", "right_instances")):
                p = np.array(load_calibration(file.parents[1] / f"{side}.yaml").p).reshape(3, 4)
                x, y, z = p @ [*position, 1.0]
                shown = cv2.imread(str(file.parents[1] / kind / f"{file.stem}.png"), cv2.IMREAD_UNCHANGED)
                rows, columns = np.nonzero(shown == number)
                assert np.hypot(columns - x / z, rows - y / z).min() < 6.0
                checked += 1
    assert checked > 20


def test_a_bag_of_a_sequence_holds_both_eyes_with_their_cameras_and_truth(root: Path, tmp_path: Path) -> None:
    (entry, _) = training_bag_inputs.open_inputs(
        training_bag_inputs.Options(
            training_bag_inputs.Trees("endovis2018-type"), training_bag_inputs.Scenes(), stereo=True
        ),
        source=root, rate_hz=None, label_map=None, right=None,
    )  # fmt: skip
    made = make_bag(entry, tmp_path / "bag", MakeOptions())
    assert (made.frames, made.labelled, made.pairs, made.problems) == (2, 2, 2, ())
    left, right = (list(BagSource(made.path, topic=f"/endoscope/{side}/image_raw")) for side in ("left", "right"))
    folder = root / "seq_101"
    for index, (one, other) in enumerate(zip(left, right, strict=True)):
        assert one.stamp_ns == other.stamp_ns
        assert one.encoded == (folder / f"left_frames/frame{index:03d}.png").read_bytes()
        assert other.encoded == (folder / f"right_frames/frame{index:03d}.png").read_bytes()
        assert one.tags is not None and other.tags is not None and other.labels is not None
        stored = cv2.imread(str(folder / f"right_types/frame{index:03d}.png"), cv2.IMREAD_UNCHANGED)
        assert (other.labels == stored).all()
        spaces = {number: each.space for number, each in one.tags.instruments.items() if each.space is not None}
        assert spaces and spaces == space_of_file(folder / f"keypoints3d/frame{index:03d}.json")
        assert all(each.space is None for each in other.tags.instruments.values())
    with BagReader(made.path) as reader:
        for side in ("left", "right"):
            connection = reader.topics[f"/endoscope/{side}/camera_info"].connections[0]
            infos = [reader.deserialize(data, connection.msgtype) for _, _, data in reader.messages([connection])]
            told = load_calibration(folder / f"{side}.yaml")
            assert [tuple(info.p) for info in infos] == [told.p] * 2
            assert infos[0].header.frame_id == f"endoscope_{side}_optical"


def test_a_folder_of_two_eyes_with_calibrations_becomes_a_stereo_bag(root: Path, tmp_path: Path) -> None:
    made = make_bag(open_path(root / "seq_102"), tmp_path / "bag", MakeOptions())
    assert (made.frames, made.labelled, made.pairs) == (2, 0, 2)
    for name in ("left.yaml", "left_frames"):
        (tmp_path / "one").mkdir(exist_ok=True)
        (tmp_path / "one" / name).symlink_to(root / "seq_102" / name)
    assert make_bag(open_path(tmp_path / "one"), tmp_path / "other", MakeOptions()).pairs == 0


def test_rendered_pairs_in_a_bag_tell_where_instruments_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clip_rl_perception.commands.bag._plugins", lambda: {"training": training_bag_inputs})
    words = f"make --synthetic --stereo --size 160x128 --seconds 0.08 --out {tmp_path / 'bag'}".split()
    assert bag.run(options.parse(bag, words)) == 0
    left, right = (list(BagSource(tmp_path / "bag", topic=f"/endoscope/{s}/image_raw")) for s in ("left", "right"))
    assert len(left) == len(right) == 2
    assert all(frame.tags is not None and any(it.space for it in frame.tags.instruments.values()) for frame in left)
    assert all(frame.tags is not None and frame.labels is not None and frame.labels.any() for frame in right)


def test_a_pair_for_a_bag_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[tuple[int, int]] = []
    render = SyntheticOperation._render

    def counted(self: SyntheticOperation, index: int, noise: int, eye: Eye) -> SyntheticFrame:
        rendered.append((index, noise))
        return render(self, index, noise, eye)

    monkeypatch.setattr(SyntheticOperation, "_render", counted)
    scenes = training_bag_inputs.Scenes(synthetic=True, size=SIZE, seconds=0.12)
    options = training_bag_inputs.Options(training_bag_inputs.Trees(), scenes, stereo=True)
    (entry,) = training_bag_inputs.open_inputs(options, source=None, rate_hz=None, label_map=None, right=None) or ()
    assert entry.right is not None
    pairs = [(left.rgb, right.rgb) for left, right in zip(entry.frames, entry.right, strict=True)]
    assert sorted(rendered) == [(index, noise) for index in range(3) for noise in (1, 2)]
    again = [frame.rgb for frame in entry.right]  # a source alone, and once more
    assert all((one[1] == other).all() for one, other in zip(pairs, again, strict=True))
    assert next(iter(entry.frames)).rgb.tobytes() == pairs[0][0].tobytes()


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        ("--baseline 0 5", "baseline 0 to 5 mm: expected a range of mm above 0"),
        ("--baseline 6 4", "baseline 6 to 4 mm"),
        ("--distance 5 100", "distance 5 to 100 mm: expected a range of mm from 20 to 1000"),
        ("--distance 50 40", "distance 50 to 40 mm"),
        ("--calibration-error -1", "calibration error -1: expected 0 to 20 px"),
        ("--distance 20 21 --size 1280x128", "a shaft 20 mm away is wider than a picture of 1280x128 is"),
    ],
)
def test_what_no_endoscope_is_like_is_refused_in_a_line(tmp_path: Path, words: str, phrase: str) -> None:
    with pytest.raises(SynthError, match=phrase) as told:
        synth.run(options.parse(synth, ["stereo", "--out", str(tmp_path / "set"), *words.split()]))
    assert "\n" not in str(told.value)
    assert not (tmp_path / "set").exists()


def test_another_rig_is_another_set(root: Path) -> None:
    with pytest.raises(SynthError, match="holds scenes of another seed or configuration"):
        write(root, error=0.5)
