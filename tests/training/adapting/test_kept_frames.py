"""Frames of whatever the user has: what can be read is kept, what cannot is told in a line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.sources.streams import SourceOptions
from clip_rl_training.adapting.adapt_config import FramesConfig
from clip_rl_training.adapting.kept_frames import AdaptError, KeptVideo, keep_frames, kinds_of

from tests.training.adapting.adapting_videos import bar_frame, write_frames

SPACE = load_label_space("binary")


def kept(out: Path, *paths: Path, **settings: float) -> tuple[list[KeptVideo], list[str]]:
    said: list[str] = []
    config = FramesConfig(**settings)  # type: ignore[arg-type]
    return keep_frames(SourceOptions(paths=paths), SPACE, (64, 96), out, config, said.append), said


def test_frames_are_kept_by_number_and_small(tmp_path: Path) -> None:
    video = tmp_path / "large"
    video.mkdir()
    for index in range(3):
        cv2.imwrite(str(video / f"{index}.png"), cv2.resize(bar_frame(index), (960, 640))[..., ::-1])
    [found], said = kept(tmp_path / "out", video)
    assert (found.name, found.size, found.numbers, said) == ("large", (640, 960), (0, 1, 2), [])
    assert found.frame(1).shape == (96, 144, 3)  # 1.5 times what the network sees
    assert found.stamps_ns == (0, 40_000_000, 80_000_000)
    assert abs(found.frame(1).astype(int) - cv2.resize(bar_frame(1), (144, 96)).astype(int)).mean() < 6


def test_small_frames_stay_as_they_came(tmp_path: Path) -> None:
    [found], _ = kept(tmp_path / "out", write_frames(tmp_path / "v", 2))
    assert found.frame(0).shape == (80, 120, 3)


def test_of_more_frames_than_wanted_clips_are_taken_all_over(tmp_path: Path) -> None:
    [found], _ = kept(tmp_path / "out", write_frames(tmp_path / "v", 40), most=12, clip=3)
    assert found.numbers == (0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32)


def test_a_damaged_file_costs_the_others_nothing(tmp_path: Path) -> None:
    good, bad = write_frames(tmp_path / "good", 3), tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all" * 50)
    (good / "frame001.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    videos, said = kept(tmp_path / "out", bad, good)
    assert [(video.name, video.numbers) for video in videos] == [("good", (0, 2))]
    assert len(said) == 2
    assert "bad.mp4" in said[0] and said[0].endswith("left out")
    assert "frame001.png" in said[1]


def test_nothing_that_can_be_read_is_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all" * 50)
    with pytest.raises(AdaptError, match="none of what was given can be read"):
        kept(tmp_path / "out", bad)


def test_a_video_that_is_whole_is_not_read_again(tmp_path: Path) -> None:
    source = write_frames(tmp_path / "v", 3)
    [first], _ = kept(tmp_path / "out", source)
    cv2.imwrite(str(source / "frame000.png"), np.zeros((80, 120, 3), np.uint8))
    [again], _ = kept(tmp_path / "out", source)
    assert again == first
    assert again.frame(0).mean() > 20
    (first.folder / "video.json").unlink()
    [anew], _ = kept(tmp_path / "out", source)
    assert anew.frame(0).mean() < 5


def test_frames_of_several_cameras_are_told_in_a_line(tmp_path: Path) -> None:
    gray = tmp_path / "gray"
    gray.mkdir()
    cv2.imwrite(str(gray / "0.png"), np.full((50, 70), 90, np.uint8))
    videos, _ = kept(tmp_path / "out", write_frames(tmp_path / "colour", 2), gray)
    [line] = kinds_of(videos)
    assert line.startswith("frames of several kinds: 2 of 120x80 colour, 1 of 70x50 gray; all are used")
    assert kinds_of(videos[:1]) == []
