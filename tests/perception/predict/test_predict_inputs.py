"""What `clip-rl predict` is given: never its own output, and what cannot be read costs the rest nothing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.cli import main
from clip_rl_perception.predict.prediction_files import OutputError, check_inputs
from clip_rl_perception.predict.readable_inputs import open_readable
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.input_paths import input_paths
from clip_rl_perception.sources.streams import InputOptions
from random_checkpoint import save_random_checkpoint
from replay_inputs import SPACE, image


def folder(path: Path, frames: int = 2) -> Path:
    path.mkdir(parents=True)
    for index in range(frames):
        cv2.imwrite(str(path / f"frame{index}.png"), image(index))
    return path


def video(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for index in range(3):
        writer.write(np.full((48, 64, 3), 40 * index, np.uint8))
    writer.release()
    return path


def test_images_that_it_wrote_survive_a_second_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_random_checkpoint(tmp_path / "model")
    frames, out = folder(tmp_path / "frames"), tmp_path / "mine"
    words = ["--checkpoint", str(model), "--engine", "torch", "--threads", "1", "--out", str(out)]
    assert main(["predict", str(frames), *words, "--images"]) == 0
    before = sorted(path.name for path in (out / "images").iterdir())
    for source in (out / "images", out):
        assert main(["predict", str(source), *words, "--overwrite"]) == 2
        assert "is read, and lies in" in capsys.readouterr().err
    assert sorted(path.name for path in (out / "images").iterdir()) == before == ["frame0.png", "frame1.png"]
    assert (out / "masks").is_dir()


def test_a_folder_beside_or_above_is_no_input(tmp_path: Path) -> None:
    check_inputs(tmp_path / "frames/out", [tmp_path / "frames"])
    check_inputs(tmp_path / "out", [tmp_path / "frames"])
    with pytest.raises(OutputError, match="lies in"):
        check_inputs(tmp_path / "out", [tmp_path / "frames", tmp_path / "out/images"])


def test_one_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    good, broken = video(tmp_path / "a.avi"), tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    opened = open_readable(InputOptions((good, broken, folder(tmp_path / "frames")), use_truth=False), SPACE)
    assert [stream.path.name for stream in opened.streams] == ["a.avi", "frames"]
    assert [line for line in opened.problems if "broken.mp4" in line and line.endswith("; left out")]
    with pytest.raises(SourceError, match=r"broken.mp4: not a video that can be read"):
        open_readable(InputOptions((broken,), use_truth=False), SPACE)
    (tmp_path / "other.mp4").write_bytes(b"nor this")
    with pytest.raises(SourceError, match=r"broken.mp4: not a video that can be read .*[^t]$"):
        open_readable(InputOptions((broken, tmp_path / "other.mp4"), use_truth=False), SPACE)


def test_a_folder_of_videos_stands_for_them(tmp_path: Path) -> None:
    for name in ("b.AVI", "a.avi"):
        video(tmp_path / "videos" / name)
    (tmp_path / "videos/notes.txt").write_text("x")
    found, images = input_paths([tmp_path / "videos"])
    assert [(path.name, name) for path, name in found] == [("a.avi", "a.avi"), ("b.AVI", "b.AVI")] and images == []
    opened = open_readable(InputOptions((tmp_path / "videos",), use_truth=False), SPACE)
    assert [stream.sequence for stream in opened.streams] == ["a.avi", "b.AVI"]


def test_a_tree_of_folders_that_hold_only_recordings_stands_for_them(tmp_path: Path) -> None:
    for place in ("p1/a.avi", "p2/a.avi", "p2/labels/x.avi", "replayed/overlay.avi"):
        video(tmp_path / "tree" / place)
    (tmp_path / "tree/replayed/.clip-rl").touch()
    (tmp_path / "tree/bag").mkdir()
    (tmp_path / "tree/bag/metadata.yaml").write_text("rosbag2_bagfile_information: {}")
    found, _ = input_paths([tmp_path / "tree"])
    assert [name for _, name in found] == ["bag", "p1/a.avi", "p2/a.avi"]
    opened = open_readable(InputOptions((tmp_path / "tree/p1", tmp_path / "tree/p2"), use_truth=False), SPACE)
    assert [stream.sequence for stream in opened.streams] == ["p1/a.avi", "p2/a.avi"]


def test_recordings_beside_images_are_named(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    folder(tree / "a")
    for place in ("op.avi", "b/c/op.avi"):
        video(tree / place)
    (tree / "masks").mkdir()
    video(tree / "masks/x.avi")
    video(tree / "replayed/overlay.avi")
    (tree / "replayed/.clip-rl").touch()
    line = f"{tree}: its images are read, and these are not: op.avi, b/c/op.avi; name them to have them read"
    assert open_readable(InputOptions((tree,), use_truth=False), SPACE).problems == (line,)
    assert open_readable(InputOptions((tree / "b/c",), use_truth=False), SPACE).problems == ()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    assert line in open_readable(InputOptions((tree, broken), use_truth=False), SPACE).problems


def test_folders_called_alike_but_for_signs_stay_apart(tmp_path: Path) -> None:
    model = save_random_checkpoint(tmp_path / "model")
    for name in ("p1", "p1_", "(p1)"):
        folder(tmp_path / "tree" / name)
    words = ["--checkpoint", str(model), "--engine", "torch", "--threads", "1", "--out", str(tmp_path / "out")]
    assert main(["predict", str(tmp_path / "tree"), *words]) == 0
    written = sorted(file.relative_to(tmp_path / "out/masks").as_posix() for file in tmp_path.glob("out/masks/*/*"))
    assert written == [f"{name}/frame{index}.png" for name in ("p1-2", "p1-3", "p1") for index in (0, 1)]
