"""Synthetic videos on disk: the layout and coding of EndoVis 2018, resumable, the same for any number of processes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception import cli, options
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_training.commands import synth
from clip_rl_training.commands.synth import Frames
from clip_rl_training.datasets.endovis2018 import open_endovis2018
from clip_rl_training.datasets.endovis2018_type import open_endovis2018_type
from clip_rl_training.synthetic.drawing.synthetic_errors import SynthError
from clip_rl_training.synthetic.operation import SyntheticOperation, sequence_scene, showcase
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.synthetic_bag import START_NS, write_bag
from clip_rl_training.synthetic.write_video import sequence_seed, write_sequences

CONFIG = SceneConfig(height=64, width=80)
TYPES = load_label_space("endovis2018-type")
PUBLISHED_COLORS = {
    0: (0, 0, 0),
    1: (0, 255, 0),
    2: (0, 255, 255),
    3: (125, 255, 12),
    4: (255, 55, 0),
    5: (24, 55, 125),
    6: (187, 155, 25),
    7: (0, 255, 125),
    8: (255, 255, 125),
    9: (123, 15, 175),
    10: (124, 155, 5),
    11: (12, 255, 141),
}
"""The challenge's labels.json."""


def write(
    root: Path, *, config: SceneConfig = CONFIG, seed: int = 2, sequences: int = 2, frames: int = 3, workers: int = 1
) -> list[int]:
    return [
        done
        for done, _ in write_sequences(root, config, seed=seed, sequences=sequences, frames=frames, workers=workers)
    ]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def rgb(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]


def test_layout_and_coding_are_those_of_endovis_2018(tmp_path: Path) -> None:
    progress = write(tmp_path / "out")
    assert progress == list(range(7))
    root = tmp_path / "out"
    entries = json.loads((root / "labels.json").read_text())
    assert {entry["classid"]: tuple(entry["color"]) for entry in entries} == PUBLISHED_COLORS
    for sequence in range(2):
        folder = root / f"seq_{101 + sequence}"
        names = [f"frame{i:03d}.png" for i in range(3)]
        for kind in ("left_frames", "labels", "types", "parts", "instances"):
            assert sorted(path.name for path in (folder / kind).iterdir()) == names
        video = SyntheticOperation(sequence_scene(CONFIG, sequence), sequence_seed(2, sequence), 3)
        captions = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
        assert [entry["frame"] for entry in captions] == [0, 1, 2]
        told = [json.loads(line) for line in (folder / "instruments.jsonl").read_text().splitlines()]
        assert [entry["frame"] for entry in told] == [0, 1, 2]
        for index, name in enumerate(names):
            frame = video.frame(index)
            for entry, truth in zip(told[index]["instruments"], frame.instruments, strict=True):
                known = TYPES.names[truth.type_id] if truth.type_id < len(TYPES.names) else ""
                assert (entry["instance"], entry["type"]) == (truth.instance, known)
                for point, true in zip(entry["keypoints"], truth.keypoints, strict=True):
                    assert (point["name"], point["visible"]) == (true.name, true.visible)
                    assert (point["x"], point["y"]) == pytest.approx((true.x, true.y), abs=0.01)
            np.testing.assert_array_equal(rgb(folder / "left_frames" / name), frame.rgb)
            colors = np.array([PUBLISHED_COLORS[i] for i in range(12)], np.uint8)[frame.scene_map]
            np.testing.assert_array_equal(rgb(folder / "labels" / name), colors)
            for kind, expected in (
                ("types", frame.type_map),
                ("parts", frame.part_map),
                ("instances", frame.instance_map),
            ):
                np.testing.assert_array_equal(cv2.imread(str(folder / kind / name), cv2.IMREAD_UNCHANGED), expected)
            assert captions[index]["caption"] == frame.caption
            assert captions[index]["stamp"] == pytest.approx(frame.stamp)


def test_our_own_dataset_reader_opens_it(tmp_path: Path) -> None:
    write(tmp_path / "out")
    dataset = open_endovis2018(tmp_path / "out")
    assert dataset.problems == ()
    assert len(dataset) == 6
    assert set(dataset.sequences) == {"seq_101", "seq_102"}
    image, labels = dataset[0]
    frame = SyntheticOperation(sequence_scene(CONFIG, 0), sequence_seed(2, 0), 3).frame(0)
    np.testing.assert_array_equal(image, frame.rgb)
    np.testing.assert_array_equal(labels, frame.scene_map)


def test_instruments_of_unknown_type_are_ignored_where_types_are_asked(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, laparoscopic=1.0, instrument_counts=(0.0, 1.0))
    list(write_sequences(tmp_path / "out", config, seed=2, sequences=1, frames=1, workers=1))
    dataset = open_endovis2018_type(tmp_path / "out")
    _, labels = dataset[0]
    assert set(np.unique(labels)) == {0, 255}


def test_sets_of_the_command_hold_the_seven_types_alone(tmp_path: Path) -> None:
    options = Frames(out=tmp_path / "out", size=(160, 128), sequences=12, frames=1, workers=1)
    assert list(options.write())[-1] == (12, 12)
    dataset = open_endovis2018_type(tmp_path / "out")
    assert max(int(dataset[index][1].max()) for index in range(len(dataset))) in range(1, 8)


def test_resuming_writes_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "out"
    write(root)
    whole = contents(root)
    lost = root / "seq_102" / "labels" / "frame001.png"
    lost.unlink()
    ledger = root / "seq_101" / "captions.jsonl"
    ledger.write_text(ledger.read_text().splitlines()[0] + '\n{"frame": 1, "cap')  # a crash in the middle of a line
    kept = root / "seq_102" / "left_frames" / "frame002.png"
    before = kept.stat().st_mtime_ns
    progress = write(root)
    assert progress == [3, 4, 5, 6]
    assert contents(root) == whole
    assert kept.stat().st_mtime_ns == before
    assert write(root) == [6]
    # Fewer frames than there are: those beyond keep their pictures and their lines alike.
    assert write(root, frames=2) == [4]
    assert contents(root) == whole


def test_colour_comes_first_and_gray_as_often_as_the_configuration_says(tmp_path: Path) -> None:
    root = tmp_path / "out"
    write(root, sequences=3, frames=1)
    first = contents(root / "seq_101")
    write(root, sequences=5, frames=1)
    assert contents(root / "seq_101") == first, "a longer set begins like a shorter one"

    def is_gray(sequence: int) -> bool:
        shown = rgb(root / f"seq_{101 + sequence}" / "left_frames" / "frame000.png").astype(int)
        return bool(np.ptp(shown, axis=2).max() <= 12)  # but for what compression adds

    assert [is_gray(sequence) for sequence in range(5)] == [False, False, False, True, False]
    for share in (0.0, 0.28, 0.5, 1.0):
        config = dataclasses.replace(CONFIG, grayscale=share)
        gray = [sequence_scene(config, sequence).grayscale for sequence in range(50)]
        assert set(gray) <= {0.0, 1.0} and sum(gray) == int(50 * share)


@pytest.mark.parametrize("noted", ["0123456789ab", None])
def test_a_set_of_another_generator_is_not_mixed_with_this_ones(tmp_path: Path, noted: str | None) -> None:
    root = tmp_path / "out"
    write(root, sequences=1, frames=2)
    note = root / "scenes.json"
    said = json.loads(note.read_text()) | {"generator": noted}
    note.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))
    before = contents(root / "seq_101")
    assert write(root, sequences=1, frames=2) == [2], "a whole set is as good as ever"
    with pytest.raises(SynthError, match=r"holds 2 of 3 pictures, drawn by another version"):
        write(root, sequences=1, frames=3)
    assert contents(root / "seq_101") == before and json.loads(note.read_text()).get("generator") == noted


def test_frames_without_truth_of_tags_are_drawn_anew_by_the_same_generator_alone(tmp_path: Path) -> None:
    root = tmp_path / "out"
    write(root)
    whole = contents(root)
    (root / "seq_101" / "instruments.jsonl").unlink()
    assert write(root) == [3, 4, 5, 6]
    assert contents(root) == whole
    (root / "seq_101" / "instruments.jsonl").unlink()
    note = root / "scenes.json"
    note.write_text(
        json.dumps({name: value for name, value in json.loads(note.read_text()).items() if name != "generator"})
    )
    with pytest.raises(SynthError, match="holds 3 of 6 pictures, drawn by another version"):
        write(root)
    for name in ("seq_101/captions.jsonl", "seq_101/labels/frame002.png"):
        assert contents(root)[name] == whole[name], "what is refused stays as it is"


def test_two_processes_write_what_one_does(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_folders_of_other_content_are_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "out"
    write(root, sequences=1, frames=1)
    with pytest.raises(SynthError, match="another seed or configuration"):
        write(root, seed=3)
    with pytest.raises(SynthError, match="another seed or configuration"):
        write(root, config=dataclasses.replace(CONFIG, smoke=1.0))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("precious")
    with pytest.raises(SynthError, match="something else"):
        write(foreign)
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]
    with pytest.raises(SynthError, match="counts must be at least 1"):
        write(tmp_path / "none", frames=0)


def test_bag_holds_images_truth_and_their_meaning(tmp_path: Path) -> None:
    config = dataclasses.replace(showcase(96, 128, 20.0), smoke=0.0)
    progress = list(write_bag(tmp_path / "bag", config, seed=4, frames=5))
    assert progress == [(i, 5) for i in range(6)]
    source = BagSource(tmp_path / "bag")
    frames = list(source)
    assert [frame.stamp_ns for frame in frames] == [START_NS + 50_000_000 * i for i in range(5)]
    video = SyntheticOperation(config, 4, 5)
    for index, frame in enumerate(frames):
        drawn = video.frame(index)
        assert frame.labels is not None
        np.testing.assert_array_equal(frame.labels, drawn.type_map)
        assert np.abs(frame.rgb.astype(int) - drawn.rgb).mean() < 6, "JPEG of the same picture"
    space = source.info.label_space
    assert space is not None and space.names[1] == "bipolar-forceps"


def test_the_bag_keeps_to_its_limit_or_says_why_not(tmp_path: Path) -> None:
    config = showcase(96, 128, 25.0)
    list(write_bag(tmp_path / "roomy", config, seed=1, frames=20))
    best = _size(tmp_path / "roomy")
    list(write_bag(tmp_path / "tight", config, seed=1, frames=20, limit_bytes=best - best // 8))
    assert _size(tmp_path / "tight") < best - best // 8
    with pytest.raises(SynthError, match="does not fit"):
        list(write_bag(tmp_path / "never", config, seed=1, frames=10, limit_bytes=1000))
    assert not (tmp_path / "never").exists()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_the_command_renders_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--out",
        str(tmp_path / "out"),
        "--sequences",
        "1",
        "--frames",
        "2",
        "--size",
        "80x64",
        "--workers",
        "1",
    ]
    assert _run(["frames", *arguments]) == 0
    assert capsys.readouterr().out == "", "a bar on standard error is for people; JSON is for who asks for it"
    assert _run(["frames", *arguments, "--events"]) == 0
    assert cv2.imread(str(tmp_path / "out" / "seq_101" / "left_frames" / "frame001.png")).shape == (64, 80, 3)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1] == {"event": "progress", "done": 2, "total": 2}


def test_bad_arguments_get_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _run(["frames", "--out", str(tmp_path / "a"), "--size", "80"])
    assert "'80' is not WIDTHxHEIGHT" in capsys.readouterr().err
    with pytest.raises(SynthError, match="both sides must be 32"):
        _run(["bag", "--out", str(tmp_path / "b"), "--size", "8x8"])
    with pytest.raises(SynthError, match="0 frames"):
        _run(["bag", "--out", str(tmp_path / "c"), "--seconds", "0", "--size", "80x64"])


def _run(arguments: list[str]) -> int:
    return synth.run(options.parse(synth, arguments))


def test_the_command_is_known_to_clip_rl() -> None:
    entry = cli.find_commands().get("synth")
    if entry is None:
        pytest.skip("the package is not installed, so it has no entry points")
    assert entry.load() is synth
