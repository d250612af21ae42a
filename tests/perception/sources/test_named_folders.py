"""Folders as people name them: trees with a stray picture, capitals, one place in two spellings."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.folder_files import frames_in, image_folders
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.sources.frames import Frame
from clip_rl_perception.sources.input_paths import input_paths
from clip_rl_perception.sources.streams import InputOptions, Inputs, open_inputs, read
from clip_rl_perception.sources.truth_folder import mask_files, masks_beside
from PIL import Image


def save(folder: Path, name: str = "1.png", value: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(folder / name), np.full((8, 12), value, np.uint8))
    return folder / name


def opened(*paths: Path) -> Inputs:
    return open_inputs(InputOptions(tuple(paths)), load_label_space("binary"))


def test_a_stray_picture_beside_a_data_set_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for index in range(2):
            save(tmp_path / "tree" / name, f"{index}.png")
    save(tmp_path / "tree", "preview.png")
    inputs = opened(tmp_path / "tree")
    assert [stream.sequence for stream in inputs.streams] == ["tree"]
    (told,) = inputs.problems
    assert re.search(r"tree: only the 1 images in it are read, there are more in folders below it: a, b$", told)
    for index in range(4):
        save(tmp_path / "tree", f"{index}.png")
    assert opened(tmp_path / "tree").problems == ()


@pytest.mark.parametrize(("images", "masks"), [("Images", "Masks"), ("IMAGES", "labels"), ("images", "Labels")])
def test_capitals_of_folders_do_not_count(tmp_path: Path, images: str, masks: str) -> None:
    save(tmp_path / "set" / images)
    save(tmp_path / "set" / masks, value=1)
    assert len(frames_in(tmp_path / "set")) == 1 and len(mask_files(tmp_path / "set")) == 1
    assert masks_beside(tmp_path / "set" / images) == masks_beside(tmp_path / "set") == [tmp_path / "set" / masks]
    assert image_folders(tmp_path) == [tmp_path / "set"]
    for path in (tmp_path, tmp_path / "set" / images):
        (item,) = read(opened(path))
        assert isinstance(item.content, Frame) and item.content.labels is not None and item.content.labels.all()
    save(tmp_path / "clips" / images / "clip")
    save(tmp_path / "clips" / masks / "clip")
    assert masks_beside(tmp_path / "clips" / images / "clip") == [tmp_path / "clips" / masks / "clip"]


def test_a_folder_in_two_spellings_is_one_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "tree/a")
    save(tmp_path / "tree/b")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("tree", target_is_directory=True)
    spelled = [Path("tree/a"), tmp_path / "tree" / "a", Path("tree/b/../a"), Path("link/a")]
    assert input_paths(spelled) == ([(Path("tree/a"), "a")], [])
    found, _ = input_paths([Path("tree"), Path("tree/a")])
    assert [path for path, _ in found] == [Path("tree/a"), Path("tree/b")]


def test_an_image_in_two_spellings_is_one_but_a_link_is_another(tmp_path: Path) -> None:
    image = save(tmp_path)
    (tmp_path / "2.png").symlink_to(image)
    found, images = input_paths([image, tmp_path / "x" / ".." / "1.png", tmp_path / "2.png"])
    assert images == [image, tmp_path / "2.png"] and len(found) == 1


def test_a_tiff_of_several_pictures_is_told(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((8, 12, 3), value, np.uint8)) for value in (0, 90, 200)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    told = f"{tmp_path}: a.tif holds 3 pictures, and the first is read; save each as a file"
    assert opened(tmp_path).problems == (told,)
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=[pages[1].resize((6, 4))])
    assert opened(tmp_path).problems == (), "a thumbnail is no frame"
