from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.folder_files import below, entries, image_files, image_folders, natural_key
from clip_rl_perception.model.run_folder import checkpoint_in
from clip_rl_perception.sources.bag_files import is_bag, storage_files
from clip_rl_perception.sources.media_source import open_source

HIDDEN = ("._{}", ".{}.swp", "Thumbs.db", "desktop.ini", ".DS_Store")


def clutter(folder: Path, name: str) -> None:
    """What macOS, Windows and file servers leave beside a file."""
    for pattern in HIDDEN:
        (folder / pattern.format(name)).write_bytes(b"\x00\x05\x16\x07")
    for hidden in ("@eaDir", "__MACOSX", "#recycle", ".Trashes"):
        (folder / hidden / "images").mkdir(parents=True, exist_ok=True)
        (folder / hidden / name).write_bytes(b"\x00\x05\x16\x07")
        (folder / hidden / "images" / f"._{name}").write_bytes(b"\x00\x05\x16\x07")


def test_natural_order() -> None:
    names = ["f10.png", "f2.png", "f1.png", "F3.png", "a.png", "10.png", "9.png"]
    assert sorted(names, key=natural_key) == ["9.png", "10.png", "a.png", "f1.png", "f2.png", "F3.png", "f10.png"]


def test_hidden_files_are_no_frames(tmp_path: Path) -> None:
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"f{index}.png"), np.full((8, 9, 3), index, np.uint8))
        clutter(tmp_path, f"f{index}.png")
    source = open_source(tmp_path)
    frames = list(source)
    assert source.info.frames == 3 and source.problems == []
    assert [(frame.name, frame.stamp_ns) for frame in frames] == [(f"f{i}.png", i * 40_000_000) for i in range(3)]
    assert [path.name for path in entries(tmp_path)] == ["f0.png", "f1.png", "f2.png"]
    assert [path.name for path in below(tmp_path, "**/*.png")] == ["f0.png", "f1.png", "f2.png"]


def test_a_hidden_folder_that_is_asked_for_is_read(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    cv2.imwrite(str(tmp_path / ".cache" / "a.png"), np.zeros((8, 9, 3), np.uint8))
    assert [path.name for path in image_files(tmp_path / ".cache")] == ["a.png"]


@pytest.mark.parametrize("name", ["rec_0.mcap", "rec_0.db3"])
def test_hidden_files_are_no_storage(tmp_path: Path, name: str) -> None:
    clutter(tmp_path, name)
    assert not is_bag(tmp_path)
    (tmp_path / name).touch()
    assert is_bag(tmp_path) and storage_files(tmp_path) == [tmp_path / name]


def test_hidden_files_are_no_checkpoints(tmp_path: Path) -> None:
    for name in ("mine.safetensors", "mine.json", "._mine.safetensors", "._mine.json"):
        (tmp_path / name).touch()
    assert checkpoint_in(tmp_path)[0] == tmp_path / "mine.safetensors"


def test_pictures_that_no_camera_took_are_no_input(tmp_path: Path) -> None:
    drawn = ("out/overlays/p1", "out/confidence/p1", "out/masks/p1", "p3/masks/v", "p3/instances/v")
    for name in ("p1", "p2/overlays", "p3/images/v", "instances", *drawn):
        (tmp_path / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / name / "1.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "out/predictions.json").write_text("{}")
    found = [folder.relative_to(tmp_path).as_posix() for folder in image_folders(tmp_path)]
    assert found == ["instances", "p1", "p2/overlays", "p3/images/v"], "folders of people may be called so"


def test_names_of_any_bytes_and_links_to_what_is_gone(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "a.png").rename(tmp_path / "a\udcff.png")  # a letter of another encoding than UTF-8
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "c.png").symlink_to("c.png")
    source = open_source(tmp_path)
    assert [frame.name for frame in source] == ["a\udcff.png"]
    assert [left.reason.rpartition(": ")[0] for left in source.left_out] == [f"{x}.png cannot be read" for x in "bc"]
    assert len(source.sha256()) == 64
