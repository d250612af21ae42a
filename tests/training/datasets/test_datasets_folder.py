"""A folder of somebody's own: how trees, names and masks may look, and what is said of those that cannot be read."""

from __future__ import annotations

from pathlib import Path

import cv2
import dataset_trees as trees
import numpy as np
import pytest
from clip_rl_perception import options
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.sources.truth_label_map import LabelMapError, load_label_map
from clip_rl_training.commands import data
from clip_rl_training.data import dataset_parts
from clip_rl_training.datasets import DatasetError, SegmentationDataset, open_dataset
from clip_rl_training.datasets.guessed_label_map import guessed_label_map, label_map_of
from clip_rl_training.datasets.palette_note import palette_note
from PIL import Image

INSTRUMENT = trees.stripes(2)


def write(root: Path, image: str, mask: str, values: np.ndarray, seed: int = 0) -> None:
    trees.write_rgb(root / image, trees.picture(seed))
    trees.write_rgb(root / mask, values)


def coded(root: Path, label_map: str) -> SegmentationDataset:
    return open_dataset("folder", root, label_map=label_map_of("folder", root, label_map))


def opened(root: Path) -> SegmentationDataset:
    return open_dataset("folder", root, label_map=label_map_of("folder", root, None))


@pytest.mark.parametrize("values", [INSTRUMENT * 255, INSTRUMENT, np.repeat((INSTRUMENT * 255)[..., None], 3, 2)])
def test_masks_of_two_values_need_no_label_map(values: np.ndarray, tmp_path: Path) -> None:
    write(tmp_path, "images/a.jpg", "masks/a.png", values)
    dataset = opened(tmp_path)
    assert dataset.label_space.names == ("background", "instrument")
    np.testing.assert_array_equal(dataset[0][1], INSTRUMENT)
    assert data.run(options.parse(data, ["check", "--root", str(tmp_path)])) == 0


COLORS = np.array([(0, 0, 0), (0, 255, 0), (255, 0, 0)], np.uint8)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            trees.stripes(3),
            "masks hold 0, 1, 2: name them in a file labels.yaml, `truth: {0: background, 1: NAME, 2: N",
        ),
        (COLORS[trees.stripes(3)], '`truth: {"0,0,0": background, "0,255,0": NAME, "255,0,0": NAME}`'),
        (np.array([0, 1, 255], np.uint8)[trees.stripes(3)], "--label-map binary takes 1 as instrument"),
        (INSTRUMENT * 0, "every mask that was looked at is 0 everywhere"),
        (np.arange(768, dtype=np.uint8).reshape(24, 32), "256 different values, more than classes would"),
    ],
)
def test_other_masks_say_what_to_write(values: np.ndarray, message: str, tmp_path: Path) -> None:
    write(tmp_path, "images/a.jpg", "masks/a.png", values)
    with pytest.raises(DatasetError) as caught:
        guessed_label_map(tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_what_was_said_to_write_is_read(tmp_path: Path) -> None:
    write(tmp_path, "images/a.jpg", "masks/a.png", COLORS[trees.stripes(3)])
    labels = tmp_path / "labels.yaml"
    labels.write_text('truth: {"0,0,0": background, "0,255,0": grasper, "255,0,0": scissors}\n')
    dataset = open_dataset("folder", tmp_path, label_map=label_map_of("folder", tmp_path, str(labels)))
    assert dataset.label_space.names == ("background", "grasper", "scissors")
    np.testing.assert_array_equal(dataset[0][1], trees.stripes(3))


def test_a_label_space_is_a_label_map(tmp_path: Path) -> None:
    classes = tmp_path / "classes.yaml"
    classes.write_text(
        "name: mine\nclasses:\n- {name: tissue}\n- {name: liver, prompts: [the liver]}\n"
        "- {name: hook, instrument: true}\n"
    )
    ids = np.array([0, 1, 2, 255], np.uint8)[trees.stripes(4)]
    write(tmp_path, "images/a.jpg", "masks/a.png", ids)
    dataset = open_dataset("folder", tmp_path, label_map=load_label_map(classes))
    np.testing.assert_array_equal(dataset[0][1], ids)
    assert dataset.label_space.name == "mine" and dataset.label_space.instrument_ids == (2,)
    assert dataset.label_space.classes[1].prompts == ("the liver",)
    classes.write_text("classes: [{name: a}, {name: a}]\n")
    with pytest.raises(LabelMapError, match="appears twice"):
        load_label_map(classes)


def test_jpeg_masks_are_named(tmp_path: Path) -> None:
    noisy = np.random.default_rng(0).integers(0, 9, (24, 32), np.uint8)
    write(tmp_path, "images/a.jpg", "masks/a.jpg", noisy)
    with pytest.raises(DatasetError, match=r"masks/a\.jpg: is a JPEG, which blurs the values of a mask"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("image_{}", "image_{}_mask"),
        ("frame{}", "mask{}"),
        ("{}", "{}_gt"),
        ("op-3 {}", "op-3 {} Segmentation"),
        ("v1_frame_{}_endo", "v1_frame_{}_label"),
    ],
)
def test_masks_of_other_names(image: str, mask: str, tmp_path: Path) -> None:
    for number in (7, 12):
        values = np.roll(INSTRUMENT, number, axis=1) * 255
        write(tmp_path, f"images/{image.format(number)}.jpg", f"masks/{mask.format(number)}.png", values, number)
    dataset = opened(tmp_path)
    assert [item.frame for item in dataset.items] == [image.format(number) for number in (7, 12)]
    for place, number in enumerate((7, 12)):
        np.testing.assert_array_equal(dataset[place][1], np.roll(INSTRUMENT, number, axis=1))


def test_names_that_do_not_fit_are_told_in_one_line(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, f"images/a{number}.jpg", f"masks/b{number}.png", INSTRUMENT)
    with pytest.raises(ClipRlError) as caught:
        opened(tmp_path)
    text = str(caught.value)
    assert "no mask is called like an image: images like a0.jpg, masks like b0.png" in text and "more:" not in text
    # Two frames that would have one name are no pair of anything.
    (tmp_path / "images/frame_a0.jpg").write_bytes((tmp_path / "images/a0.jpg").read_bytes())
    with pytest.raises(ClipRlError, match="no mask is called like an image"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("images", "masks", "sequences"),
    [
        ("{}/images", "{}/masks", ("v1", "v2")),
        ("images/{}", "masks/{}", ("v1", "v2")),
        ("day/{}/images", "day/{}/labels", ("day/v1", "day/v2")),
        ("day/images/{}", "day/masks/{}", ("day/v1", "day/v2")),
    ],
)
def test_a_folder_for_each_video(images: str, masks: str, sequences: tuple[str, ...], tmp_path: Path) -> None:
    for video in ("v1", "v2"):
        write(tmp_path, f"{images.format(video)}/0.jpg", f"{masks.format(video)}/0.png", INSTRUMENT * 255)
    assert opened(tmp_path).sequences == sequences


def test_a_video_without_masks_is_named(tmp_path: Path) -> None:
    write(tmp_path, "images/v1/0.jpg", "masks/v1/0.png", INSTRUMENT)
    trees.write_rgb(tmp_path / "images/v2/0.jpg", trees.picture(0))
    with pytest.raises(DatasetError, match=r"images/v2: has no masks; expected them in .*masks/v2"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (
            ("images/v1/0", "masks/v1/0"),
            r"images/v1: is left out, for images lie in .*images itself too; use one layout",
        ),
        (("v1/images/0", "v1/masks/0"), r"v1/images: is left out, for .*images is there too; use one layout"),
    ],
)
def test_a_second_layout_beside_the_first_is_named(others: tuple[str, str], message: str, tmp_path: Path) -> None:
    write(tmp_path, "images/0.jpg", "masks/0.png", INSTRUMENT * 255)
    assert opened(tmp_path).problems == ()
    write(tmp_path, f"{others[0]}.jpg", f"{others[1]}.png", INSTRUMENT * 255)
    with pytest.raises(DatasetError, match=message):
        opened(tmp_path)


def test_folders_of_images_or_masks_alone_are_named(tmp_path: Path) -> None:
    write(tmp_path, "images/v1/0.jpg", "masks/v1/0.png", INSTRUMENT * 255)
    (tmp_path / "images/v2/day").mkdir(parents=True)
    assert opened(tmp_path).problems == (), "empty folders hold nothing that could be left out"
    trees.write_rgb(tmp_path / "images/v2/day/0.jpg", trees.picture(0))
    with pytest.raises(DatasetError, match=r"images/v2/day: is left out, it lies too deep; expected images in .*v2$"):
        opened(tmp_path)
    (tmp_path / "images/v2/day/0.jpg").unlink()
    trees.write_rgb(tmp_path / "masks/v3/0.png", INSTRUMENT * 255)
    with pytest.raises(DatasetError, match=r"masks/v3: has no images; expected them in .*images/v3"):
        opened(tmp_path)


def test_sequences_are_found_at_any_depth(tmp_path: Path) -> None:
    write(tmp_path, "a/b/c/d/e/images/0.jpg", "a/b/c/d/e/masks/0.png", INSTRUMENT * 255)
    (tmp_path / "a/b/again").symlink_to(tmp_path / "a")
    assert opened(tmp_path).sequences == ("a/b/c/d/e",)


def test_a_name_without_its_sequence_is_named(tmp_path: Path) -> None:
    labels = tmp_path / "labels.yaml"
    labels.write_text("truth: {0: background, 1: instrument}\nsequence: 'seq_(\\d+)?'\n")
    write(tmp_path, "images/seq_7.jpg", "masks/seq_7.png", INSTRUMENT)
    assert coded(tmp_path, str(labels)).sequences == ("7",)
    write(tmp_path, "images/seq_x.jpg", "masks/seq_x.png", INSTRUMENT)
    with pytest.raises(DatasetError, match=r"seq_x\.jpg: name does not match sequence"):
        coded(tmp_path, str(labels))


def test_a_flat_folder_says_where_images_and_masks_belong(tmp_path: Path) -> None:
    write(tmp_path, "image_1.jpg", "image_1_mask.png", INSTRUMENT)
    with pytest.raises(DatasetError, match=r"expected images/ and masks/; there is image_1\.jpg, image_1_mask\.png"):
        opened(tmp_path)


def test_how_masks_with_a_palette_are_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.zeros((24, 32), np.uint8)
    values[6:20, 8:20] = 1
    palettes = {"colours": [0, 0, 0, 128, 0, 0], "greys": [0, 0, 0, 255, 255, 255]}
    for name, palette in palettes.items():
        write(tmp_path / name, "images/000.png", "masks/000.png", values)
        picture = Image.fromarray(values, "P")
        picture.putpalette(palette + [0] * (768 - len(palette)))
        picture.save(tmp_path / name / "masks" / "000.png")
        dataset = coded(tmp_path / name, "binary")
        told = "masks have a palette (000.png is the first): its indices are taken as the stored values"
        assert palette_note(dataset) == told
        np.testing.assert_array_equal(dataset[0][1], values)
        assert data.run(options.parse(data, ["check", "--root", str(tmp_path / name), "--label-map", "binary"])) == 0
        assert f"note: {told}" in capsys.readouterr().out
    # 0 and 255, as only the greys are: then it is what they look like that counts.
    by_grey = coded(tmp_path / "greys", "davinci_grayscale")
    assert palette_note(by_grey).endswith("the colours that they point to are taken as the stored values")
    np.testing.assert_array_equal(by_grey[0][1], values)
    plain = tmp_path / "plain"
    write(plain, "images/000.png", "masks/000.png", values)
    assert palette_note(coded(plain, "binary")) == ""


def test_capitals_of_folders_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, "v1/images/a.png", "v1/masks/a.png", INSTRUMENT)
    write(tmp_path, "v2/Images/a.png", "v2/Masks/a.png", INSTRUMENT, seed=1)
    dataset = opened(tmp_path)
    assert (dataset.sequences, dataset.problems) == (("v1", "v2"), ())
    assert opened(tmp_path / "v2").sequences == ("v2",)
    trees.write_rgb(tmp_path / "v1/Images/b.png", trees.picture(2))
    with pytest.raises(DatasetError, match=r"v1: has images/ and \w+/; keep one"):
        opened(tmp_path)


@pytest.mark.parametrize("image", ["v2/b.png", "v2/pictures/b.png"])
def test_masks_without_a_folder_of_images_are_named(image: str, tmp_path: Path) -> None:
    write(tmp_path, "v1/images/a.png", "v1/masks/a.png", INSTRUMENT)
    write(tmp_path, image, "v2/masks/b.png", INSTRUMENT, seed=1)
    with pytest.raises(DatasetError, match=r"v2/masks: is left out, there is no folder 'images' beside it"):
        opened(tmp_path)
    (tmp_path / "v2/predictions.json").write_text("{}")  # which are no truth
    assert opened(tmp_path).sequences == ("v1",)


def test_images_of_twelve_bits_in_sixteen_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "images/a.png", "masks/a.png", INSTRUMENT)
    (tmp_path / "images/a.png").write_bytes(cv2.imencode(".png", np.full((24, 32), 4000, np.uint16))[1].tobytes())
    assert data.run(options.parse(data, ["check", "--root", str(tmp_path)])) == 0
    told = capsys.readouterr().out
    assert "note: a.png has no value above 4000 of 65535, as 12 bits in 16 have: it is read nearly black" in told
    dataset = opened(tmp_path)
    assert any("read nearly black" in line for line in dataset_parts.told(dict.fromkeys((0, 1, 2), dataset)))
