"""Which truth belongs to which input: of several eyes, folders and names, none is judged by another's."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.pictures.stereo_frames import BOTH
from clip_rl_perception.sources.frames import Frame, SourceError
from clip_rl_perception.sources.streams import InputOptions, open_inputs, read

SPACE = load_label_space("binary")
START, PERIOD = 1_700_000_000_000_000_000, 40_000_000
EYES = ("/scope/left/image_raw", "/scope/right/image_raw")


def save(folder: Path, name: str = "1.png", value: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(folder / name), np.full((8, 12), value, np.uint8))
    return folder / name


def stereo_bag(path: Path, label_topic: str = "/scope/left/labels") -> Path:
    with BagWriter(path) as bag:
        bag.write_label_space(SPACE, START, topic=label_topic)
        for index in range(3):
            for topic in EYES:
                bag.write_image(np.zeros((8, 12, 3), np.uint8), START + index * PERIOD, topic=topic, encoding="rgb8")
            bag.write_labels(np.ones((8, 12), np.uint8), START + index * PERIOD, topic=label_topic)
    return path


def truths(*paths: Path, **options: object) -> tuple[dict[str, set[int | None]], str]:
    """The class that fills the truth, by sequence, None where a frame has none; and all that is told."""
    inputs = open_inputs(InputOptions(tuple(paths), **options), SPACE)  # type: ignore[arg-type]
    found: dict[str, set[int | None]] = {}
    told = list(inputs.problems)
    for item in read(inputs):
        told += item.problems
        if isinstance(item.content, Frame):
            labels = item.content.labels
            found.setdefault(item.stream.sequence, set()).add(None if labels is None else int(labels[0, 0]))
    return found, "\n".join(told)


def test_a_label_topic_judges_the_images_beside_it(tmp_path: Path) -> None:
    bag = stereo_bag(tmp_path / "bag", "/scope/left/truth")
    found, told = truths(bag, label_topic="/scope/left/truth")
    assert found == {f"bag:{EYES[0]}": {1}, f"bag:{EYES[1]}": {None}}
    assert told.count("\n") == 0, "the truth itself is no input"
    assert "is not beside /scope/left/truth; it is evaluated without truth" in told
    assert truths(bag, label_topic="/scope/left/truth", topics=(EYES[1],))[0] == {"bag": {1}}, "asked for by name"


def test_a_label_topic_beside_no_image_is_refused(tmp_path: Path) -> None:
    bag = stereo_bag(tmp_path / "bag", "/truth/labels")
    with pytest.raises(SourceError, match=r"/truth/labels is beside none of .*; name with --topic the one"):
        truths(bag, label_topic="/truth/labels")


def test_masks_of_several_topics_are_a_folder_each(tmp_path: Path) -> None:
    bag, folder = stereo_bag(tmp_path / "bag"), tmp_path / "truth"
    for index in range(3):
        save(folder, f"{index}.png", 1)
    with pytest.raises(SourceError, match=r"truth/left: no such folder; .*or name one with --topic"):
        truths(bag, labels=folder)
    for index in range(3):
        save(folder / "left", f"{index}.png", 1)
        save(folder / "right", f"{index}.png", 0)
    save(folder / "right", "0.png", 1)
    assert truths(bag, labels=folder)[0] == {f"bag:{EYES[0]}": {1}, f"bag:{EYES[1]}": {0, 1}}
    assert truths(bag, labels=folder, topics=(EYES[1],))[0] == {"bag": {1}}


def test_masks_of_several_bags_and_topics(tmp_path: Path) -> None:
    bags = [stereo_bag(tmp_path / name) for name in ("a", "b")]
    for index in range(3):
        for place, name in enumerate(("a/left", "a/right", "b/left", "b/right")):
            save(tmp_path / "truth" / name, f"{index}.png", place % 2)
    found, _ = truths(*bags, labels=tmp_path / "truth")
    assert found == {f"{bag}:{topic}": {place} for bag in "ab" for place, topic in enumerate(EYES)}


def test_both_eyes_of_a_picture_share_its_masks(tmp_path: Path) -> None:
    save(tmp_path / "images")
    save(tmp_path / "truth", value=1)
    found, _ = truths(tmp_path / "images", labels=tmp_path / "truth", stereo_layout="side_by_side", eye=BOTH)
    assert found == {"images:left": {1}, "images:right": {1}}


def test_folders_of_one_name_have_masks_of_their_own(tmp_path: Path) -> None:
    paths = [tmp_path / patient / "frames" for patient in ("p1", "p2")]
    for path in paths:
        save(path)
    truth = tmp_path / "truth"
    save(truth / "frames")
    with pytest.raises(SourceError, match="no folder p1/frames in it"):
        truths(*paths, labels=truth)
    save(truth / "p1/frames", value=0)
    save(truth / "p2/frames", value=1)
    assert truths(*paths, labels=truth)[0] == {"p1/frames": {0}, "p2/frames": {1}}


def test_a_tree_has_a_tree_of_masks(tmp_path: Path) -> None:
    for place, name in enumerate(("x/a", "y/a", "y/b")):
        save(tmp_path / "tree" / name)
        save(tmp_path / "truth" / name.replace("y/b", "b"), value=place % 2)
    assert truths(tmp_path / "tree", labels=tmp_path / "truth")[0] == {"x/a": {0}, "y/a": {1}, "y/b": {0}}


def test_a_full_name_goes_before_a_short_one(tmp_path: Path) -> None:
    """Masks in `a` are those of the folder a, never of a.d, which has the same stem."""
    save(tmp_path / "a")
    save(tmp_path / "a.d")
    save(tmp_path / "truth/a", value=1)
    with pytest.raises(SourceError, match=r"no folder a\.d in it"):
        truths(tmp_path / "a", tmp_path / "a.d", labels=tmp_path / "truth")
    save(tmp_path / "truth/a.d")
    assert truths(tmp_path / "a", tmp_path / "a.d", labels=tmp_path / "truth")[0] == {"a": {1}, "a.d": {0}}


def test_images_of_several_folders_that_are_called_alike_have_no_mask(tmp_path: Path) -> None:
    images = [save(tmp_path / "x"), save(tmp_path / "y"), save(tmp_path / "y", "2.png")]
    save(tmp_path / "truth", value=1)
    save(tmp_path / "truth", "2.png", value=1)
    inputs = open_inputs(InputOptions(tuple(images), labels=tmp_path / "truth"), SPACE)
    frames = [item.content for item in read(inputs) if isinstance(item.content, Frame)]
    assert [frame.labels is not None for frame in frames] == [False, False, True]
    assert any("images of several folders are called 1: whose mask that is" in line for line in inputs.problems)


def test_a_video_without_instruments_leaves_255_what_it_is_elsewhere(tmp_path: Path) -> None:
    for video, value in (("v1", 255), ("v2", 0)):
        save(tmp_path / video / "images")
        save(tmp_path / video / "masks", value=value)
    found, told = truths(tmp_path / "v1", tmp_path / "v2")
    assert (found, told) == ({"v1": {1}, "v2": {0}}, "")
