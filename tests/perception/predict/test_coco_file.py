"""Instances in COCO's format: exact pixels, told apart where instruments touch, read by pycocotools."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelClass, LabelSpace, label_space_from_names
from clip_rl_perception.predict.coco_file import CocoFile, polygons, run_lengths
from clip_rl_perception.scene.instance_masks import instrument_owners, track_numbers
from clip_rl_perception.scene.instruments import find_instruments
from clip_rl_perception.scene.label_map import full_size_maps, grid_winners
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.scene.types import KEYPOINTS, Basis, Box, ContentArea, Keypoint, Scene, Validity
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

TYPES = LabelSpace(
    "types",
    (
        LabelClass(0, "background"),
        LabelClass(1, "forceps", instrument=True),
        LabelClass(2, "scissors", instrument=True),
        LabelClass(3, "kidney"),
    ),
)
PARTS = LabelSpace(
    "parts",
    (
        LabelClass(0, "background"),
        LabelClass(1, "shaft", instrument=True, part=True),
        LabelClass(2, "clasper", instrument=True, part=True),
    ),
)


def scene_of(grid: np.ndarray, space: LabelSpace, frame: tuple[int, int], content: ContentArea | None = None) -> Scene:
    """The scene of a grid of class ids, (h, w), as the pipeline would make it."""
    view = make_letterbox(frame, (grid.shape[0] * 4, grid.shape[1] * 4), content)
    log_probs = np.full((len(space), *grid.shape), np.log(0.1 / len(space)), np.float32)
    np.put_along_axis(log_probs, grid[None].astype(np.intp), np.float32(np.log(0.9)), 0)
    labels, confidence = full_size_maps(log_probs, view, want_confidence=True)
    tags = find_instruments(grid_winners(log_probs), log_probs, labels, view, space)
    return Scene(labels, confidence, tags, Validity.OK, "", 0.0, view, log_probs, {}, Basis(), log_probs[0] * 0)


def two_types() -> np.ndarray:
    """Forceps from the left and scissors from the right that touch, a kidney below, and a speck of forceps."""
    grid = np.zeros((48, 64), np.uint8)
    grid[8:18, :32] = 1
    grid[8:18, 32:] = 2
    grid[32:44, 16:48] = 3
    grid[25, 40] = 1
    return grid


def written(path: Path, scenes: dict[str, Scene], space: LabelSpace, segmentation: Any = "rle") -> dict[str, Any]:
    file = CocoFile(path, space, segmentation, "a test")
    for name, scene in scenes.items():
        file.add(name, scene)
    file.close()
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def test_runs_go_down_the_columns_and_begin_with_what_is_not() -> None:
    assert run_lengths(np.array([[0, 1], [0, 1], [1, 0]])) == {"size": [3, 2], "counts": [2, 3, 1]}
    assert run_lengths(np.array([[1, 0], [1, 0]])) == {"size": [2, 2], "counts": [0, 2, 2]}
    assert run_lengths(np.zeros((2, 3))) == {"size": [2, 3], "counts": [6]}
    assert run_lengths(np.ones((2, 3))) == {"size": [2, 3], "counts": [0, 6]}


def test_polygons_are_outlines_of_pieces() -> None:
    mask = np.zeros((12, 12), np.uint8)
    mask[2:5, 3:8] = 1
    mask[9, 9] = 1  # a point has no outline
    (outline,) = polygons(mask)
    assert {*zip(outline[::2], outline[1::2], strict=True)} == {(3, 2), (3, 4), (7, 4), (7, 2)}


@pytest.mark.parametrize("frame", [(192, 256), (240, 320), (121, 163), (480, 500)])
def test_every_pixel_has_one_owner_and_only_tagged_instruments_own(frame: tuple[int, int]) -> None:
    scene = scene_of(two_types(), TYPES, frame)
    assert [tag.class_id for tag in scene.instruments] == [1, 2]
    owners = instrument_owners(scene, TYPES)
    for place, tag in enumerate(scene.instruments, start=1):
        mine = owners == place
        assert set(scene.label_map[mine]) == {tag.class_id}
        box = tag.box
        inside = np.zeros(frame, bool)
        inside[box.y : box.y + box.height, box.x : box.x + box.width] = True
        missing = (scene.label_map == tag.class_id) & inside & ~mine
        assert not missing.any(), "all of its class within its box, but for the speck, which lies elsewhere"
        assert abs(int(mine.sum()) - tag.area) < 0.15 * tag.area
    speck = (scene.label_map == 1) & (owners == 0)
    assert 0 < speck.sum() < 0.05 * scene.instruments[0].area


def test_two_instruments_of_one_class_are_told_apart() -> None:
    grid = np.zeros((24, 32), np.uint8)
    grid[3:7, :14] = grid[12:16, 18:] = 1
    scene = scene_of(grid, TYPES, (192, 256))
    owners = instrument_owners(scene, TYPES)
    assert len(scene.instruments) == 2 and set(np.unique(owners)) == {0, 1, 2}
    assert np.array_equal(owners > 0, scene.label_map == 1)
    assert len({*np.unique(owners[:80])} & {1, 2}) == len({*np.unique(owners[88:])} & {1, 2}) == 1


def test_parts_belong_to_one_instrument() -> None:
    grid = np.zeros((24, 32), np.uint8)
    grid[10:14, :16], grid[10:14, 16:20] = 1, 2
    scene = scene_of(grid, PARTS, (192, 256))
    assert len(scene.instruments) == 1
    assert np.array_equal(instrument_owners(scene, PARTS) == 1, scene.label_map > 0)


def test_where_votes_divided_an_instrument_owns_all_types_of_its_footprint() -> None:
    scene = scene_of(two_types(), TYPES, (192, 256))
    one, other = scene.instruments
    assert one.footprint is not None and other.footprint is not None
    both = dataclasses.replace(one, footprint=one.footprint | other.footprint)
    owners = instrument_owners(dataclasses.replace(scene, instruments=(both,)), TYPES)
    assert set(scene.label_map[owners == 1]) == {1}, "without keypoints it is what one class covers"
    voted = dataclasses.replace(both, keypoints=(Keypoint("wrist", 9.0, 9.0, 0.5, True),))
    owners = instrument_owners(dataclasses.replace(scene, instruments=(voted,)), TYPES)
    assert set(scene.label_map[owners == 1]) == {1, 2}
    assert (owners[scene.label_map == 2] == 1).all() and not owners[scene.label_map == 3].any()


def test_a_pixel_that_several_may_own_is_the_nearest_ones_whatever_they_are_made_of() -> None:
    scene = scene_of(two_types(), TYPES, (192, 256))
    one, other = scene.instruments
    voted = dataclasses.replace(other, keypoints=(Keypoint("wrist", 9.0, 9.0, 0.5, True),))
    wanted = instrument_owners(scene, TYPES)
    for tags in ((one, voted), (voted, one)):
        owners = instrument_owners(dataclasses.replace(scene, instruments=tags), TYPES)
        places = {tag.class_id: place for place, tag in enumerate(tags, start=1)}
        assert (owners[wanted == 1] == places[1]).all() and (owners[wanted == 2] == places[2]).all()


def test_a_content_area_in_the_frame() -> None:
    content = ContentArea(Box(40, 20, 160, 120))
    scene = scene_of(two_types(), TYPES, (160, 240), content)
    owners = instrument_owners(scene, TYPES)
    assert scene.label_map[0, 0] == 255 and not owners[scene.label_map == 255].any()
    assert np.array_equal(owners == 2, scene.label_map == 2)


def test_no_instruments() -> None:
    assert not instrument_owners(scene_of(np.zeros((24, 32), np.uint8), TYPES, (96, 128)), TYPES).any()


def test_pycocotools_reads_the_same_pixels(tmp_path: Path) -> None:
    scene = scene_of(two_types(), TYPES, (240, 320))
    empty = scene_of(np.zeros((24, 32), np.uint8), TYPES, (100, 50))
    data = written(tmp_path / "a.json", {"one.png": scene, "none.png": empty, "again.png": scene}, TYPES)
    assert [entry["name"] for entry in data["categories"]] == ["forceps", "scissors", "kidney"]
    assert [entry["supercategory"] for entry in data["categories"]] == ["instrument", "instrument", "scene"]
    coco = COCO(tmp_path / "a.json")
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["one.png", "none.png", "again.png"]
    assert coco.imgToAnns[2] == [] and [each["id"] for each in coco.imgToAnns[3]] == [4, 5, 6]
    union = np.zeros((240, 320), np.uint8)
    owners = instrument_owners(scene, TYPES)
    for place, annotation in enumerate(coco.imgToAnns[1], start=1):
        mask = coco.annToMask(annotation)
        assert np.array_equal(mask, owners == place if place < 3 else scene.label_map == 3)
        encoded = coco_masks.encode(np.asfortranarray(mask))
        assert annotation["area"] == coco_masks.area(encoded) and annotation["iscrowd"] == 0
        assert annotation["bbox"] == coco_masks.toBbox(encoded).tolist()
        union[mask > 0] = annotation["category_id"]
    assert np.array_equal(union[owners > 0], scene.label_map[owners > 0])
    scores = [each.get("score") for each in coco.imgToAnns[1]]
    assert scores == [pytest.approx(tag.confidence, abs=1e-4) for tag in scene.instruments] + [None]


def test_pixels_have_the_numbers_of_their_tracks() -> None:
    scene = scene_of(two_types(), TYPES, (96, 128))
    ids = (70_000, 0)
    tags = [dataclasses.replace(tag, track_id=number) for tag, number in zip(scene.instruments, ids, strict=True)]
    owners = instrument_owners(scene, TYPES)
    numbers = track_numbers(dataclasses.replace(scene, instruments=tuple(tags)), TYPES)
    assert numbers.dtype == np.uint16 and np.array_equal(numbers, np.where(owners == 1, 70_000 - 65_535, 0))
    pairs = zip(scene.instruments, (65_535, 65_536), strict=True)
    last = tuple(dataclasses.replace(tag, track_id=number) for tag, number in pairs)
    assert set(np.unique(track_numbers(dataclasses.replace(scene, instruments=last), TYPES))) == {0, 65_535, 1}


def test_keypoints_are_in_the_order_of_their_category(tmp_path: Path) -> None:
    scene = scene_of(two_types(), TYPES, (240, 320))
    points = (Keypoint("entry", -2.5, 60.0, 0.5, False), Keypoint("tip_1", 150.256, 61.0, 0.9, True))
    first = dataclasses.replace(scene.instruments[0], keypoints=points, type_name="hook", type_probability=0.7)
    scene = dataclasses.replace(scene, instruments=(first, dataclasses.replace(scene.instruments[1], confirmed=False)))
    written(tmp_path / "a.json", {"one.png": scene}, TYPES)
    coco = COCO(tmp_path / "a.json")
    assert [category.get("keypoints") for category in coco.dataset["categories"]] == [[*KEYPOINTS]] * 2 + [None]
    one, other, kidney = coco.imgToAnns[1]
    assert one["keypoints"] == [-2.5, 60.0, 1, 0, 0, 0, 150.26, 61.0, 2, 0, 0, 0] and one["num_keypoints"] == 2
    assert (one["type_name"], one["type_probability"], one["confirmed"], other["confirmed"]) == (
        "hook",
        0.7,
        True,
        False,
    )
    assert "keypoints" not in other and "type_name" not in other and "confirmed" not in kidney


def test_pycocotools_reads_polygons(tmp_path: Path) -> None:
    scene = scene_of(two_types(), TYPES, (240, 320))
    written(tmp_path / "a.json", {"one.png": scene}, TYPES, "polygons")
    coco = COCO(tmp_path / "a.json")
    for annotation in coco.imgToAnns[1]:
        mask = coco.annToMask(annotation)
        exact = scene.label_map == annotation["category_id"]
        assert (mask & exact).sum() > 0.93 * mask.sum()
        assert (mask & exact).sum() > 0.9 * annotation["area"]


def test_the_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    file = CocoFile(path, label_space_from_names(["background"]), "rle", "nothing")
    file.add("x.png", scene_of(np.zeros((4, 4), np.uint8), label_space_from_names(["background"]), (8, 8)))
    assert not path.exists()
    file.close()
    assert json.loads(path.read_text())["annotations"] == [] and [each.name for each in tmp_path.iterdir()] == [
        "a.json"
    ]
    with pytest.raises(ClipRlError, match="cannot write"):
        CocoFile(tmp_path / "none" / "a.json", TYPES, "rle", "")


def test_more_instruments_than_bytes_can_number() -> None:
    scene = scene_of(two_types(), TYPES, (96, 128))
    many = dataclasses.replace(scene, instruments=scene.instruments * 150)
    assert instrument_owners(many, TYPES).max() == 255
