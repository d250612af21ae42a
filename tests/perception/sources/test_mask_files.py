"""What masks hold is one thing, whoever reads them: palettes, single bits, greys and colours."""

from __future__ import annotations

import io
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.bags.bag_inputs import open_path
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.pictures.picture_files import PictureError
from clip_rl_perception.sources.bag_truth import StoredLabels
from clip_rl_perception.sources.frames import Frame, SourceInfo
from clip_rl_perception.sources.mask_coding import CodingError, ColorCoding, ValueCoding
from clip_rl_perception.sources.mask_files import decode_mask, read_mask
from clip_rl_perception.sources.truth_folder import TruthFolder
from clip_rl_perception.sources.truth_label_map import LabelMap, label_map_from_dict
from clip_rl_training.datasets import open_dataset
from PIL import Image

IDS = np.repeat(np.array([[0, 1, 1, 0], [1, 0, 0, 1]], np.uint8), 4, axis=0).repeat(4, axis=1)
IDS_MAP = {"truth": {0: "background", 1: "instrument"}, "ignore": [255]}
BLACK_WHITE_MAP = {"truth": {0: "background", 255: "instrument"}}
COLOR_MAP = {"truth": {"0,0,0": "background", "128,0,0": "instrument"}}


def with_palette(indices: ByteArray, *colors: tuple[int, int, int], suffix: str = "PNG") -> bytes:
    picture = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    picture.putpalette([value for color in colors for value in color])
    return saved(picture, suffix)


def saved(picture: Image.Image, suffix: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture.save(stream, suffix)
    return stream.getvalue()


BLACK, RED, WHITE = (0, 0, 0), (128, 0, 0), (255, 255, 255)
ONE_BIT = saved(Image.fromarray(IDS.astype(bool)))
MASKS = {
    "ids": (saved(Image.fromarray(IDS)), IDS_MAP),
    "ids in three channels": (saved(Image.fromarray(np.dstack([IDS] * 3))), IDS_MAP),
    "black and white": (saved(Image.fromarray(IDS * 255)), BLACK_WHITE_MAP),
    "indices into colours": (with_palette(IDS, BLACK, RED), IDS_MAP),
    "indices into greys": (with_palette(IDS, BLACK, WHITE), IDS_MAP),
    "indices into a full palette": (with_palette(IDS, BLACK, WHITE, *[BLACK] * 254), IDS_MAP),
    "greys of a palette": (with_palette(IDS, BLACK, WHITE), BLACK_WHITE_MAP),
    "greys of a palette, white first": (with_palette(1 - IDS, WHITE, BLACK), BLACK_WHITE_MAP),
    "colours of a palette": (with_palette(1 - IDS, RED, BLACK), COLOR_MAP),
    "bits": (ONE_BIT, IDS_MAP),
    "bits as black and white": (ONE_BIT, BLACK_WHITE_MAP),
    "indices in a BMP": (with_palette(IDS, BLACK, RED, suffix="BMP"), IDS_MAP),
    "indices in a TIFF": (with_palette(IDS, BLACK, RED, suffix="TIFF"), IDS_MAP),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("big_tiff", [False, True])
def test_the_orientation_of_a_mask_is_ignored(orientation: int, big_tiff: bool) -> None:
    for picture in (Image.fromarray(IDS), Image.open(io.BytesIO(with_palette(IDS, BLACK, RED)))):
        stream = io.BytesIO()
        picture.save(stream, "TIFF", tiffinfo={274: orientation}, big_tiff=big_tiff)
        mask = decode_mask(stream.getvalue())
        np.testing.assert_array_equal(mask.pixels if mask.indices is None else mask.indices, IDS)
        assert mask.pixels.shape[:2] == IDS.shape


def image_and_mask(root: Path, mask: bytes) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    cv2.imwrite(str(root / "images" / "a.png"), np.full((*IDS.shape, 3), 90, np.uint8))
    suffix = {b"\x89P": "png", b"BM": "bmp", b"II": "tiff"}[mask[:2]]
    (root / "masks" / f"a.{suffix}").write_bytes(mask)
    return root


def label_map(data: dict[str, object]) -> LabelMap:
    return label_map_from_dict(data, "map")


@pytest.mark.parametrize("name", MASKS)
def test_every_reader_sees_the_same(name: str, tmp_path: Path) -> None:
    content, data = MASKS[name]
    given, root = label_map(data), image_and_mask(tmp_path / "d", content)
    frame = Frame(np.zeros((*IDS.shape, 3), np.uint8), 0, "a.png", index=0)
    replayed = TruthFolder(root / "masks", given.coding, SourceInfo("folder", root, 1, 25.0, IDS.shape))
    read = [
        given.coding.decode(decode_mask(content), "m"),
        given.coding.decode(read_mask(next((root / "masks").iterdir())), "m"),
        replayed.truth_of(frame),
        open_dataset("folder", root, label_map=given)[0][1],
        next(iter(open_path(root, label_map=given).frames)).labels,
    ]
    if content.startswith(b"\x89PNG"):
        message = types.SimpleNamespace(format="png", data=np.frombuffer(content, np.uint8))
        read.append(StoredLabels(None, given.coding).decode(message, "labels"))
    for truth in read:
        np.testing.assert_array_equal(truth, IDS)


def test_images_named_by_stamps_find_their_masks_by_name(tmp_path: Path) -> None:
    """As `clip-rl predict BAG --images` writes them; a folder's stamps are made up."""
    content, data = MASKS["ids"]
    root = image_and_mask(tmp_path / "d", content)
    for file in (*(root / "images").iterdir(), *(root / "masks").iterdir()):
        file.rename(file.with_stem("1700000000040000000"))
    frame = Frame(np.zeros((*IDS.shape, 3), np.uint8), 0, "1700000000040000000.png", index=0)
    folder = TruthFolder(root / "masks", label_map(data).coding, SourceInfo("folder", root, 1, 25.0, IDS.shape))
    np.testing.assert_array_equal(folder.truth_of(frame), IDS)


@pytest.mark.parametrize("name", ["ids", "indices into colours", "indices into greys", "bits"])
def test_labels_of_a_bag_without_label_map(name: str) -> None:
    message = types.SimpleNamespace(format="png", data=np.frombuffer(MASKS[name][0], np.uint8))
    np.testing.assert_array_equal(StoredLabels(load_label_space("binary"), None).decode(message, "labels"), IDS)


def test_colours_of_a_palette_go_before_its_indices_where_a_class_list_names_them() -> None:
    space = load_label_space("binary")
    content = with_palette(1 - IDS, space.classes[1].color, space.classes[0].color)
    message = types.SimpleNamespace(format="png", data=np.frombuffer(content, np.uint8))
    np.testing.assert_array_equal(StoredLabels(space, None).decode(message, "labels"), IDS)


THREE = ValueCoding({0: 0, 1: 1, 255: 2}, {0: "background", 1: "shaft", 2: "tip"})
IGNORING = ValueCoding({0: 0, 1: 1}, {0: "background", 1: "instrument"}, ignore=[255])


@pytest.mark.parametrize(
    ("content", "coding", "words"),
    [
        (with_palette(IDS, BLACK, WHITE), THREE, "indices and whose greys both are"),
        (ONE_BIT, THREE, "indices and whose greys both are"),
        (with_palette(IDS * 7, BLACK, *[RED] * 7), IGNORING, "has a palette, and its index 7 no class; expected 0"),
        (saved(Image.fromarray(IDS.astype(np.uint16) * 300)), IGNORING, "is uint16 .*; expected 8-bit"),
        (saved(Image.fromarray(np.dstack([IDS * 0] * 3 + [IDS * 255]))), IGNORING, "all that it shows is transparency"),
        (saved(Image.fromarray(IDS * 3)), IGNORING, "value 3; .* 64 of 128 pixels have no class: was the mask resized"),
    ],
    ids=["greys", "bits", "index without class", "16 bits", "alpha", "value"],
)
def test_what_could_be_meant_in_another_way_is_refused(content: bytes, coding: ValueCoding, words: str) -> None:
    with pytest.raises(CodingError, match=words):
        coding.decode(decode_mask(content), "m.png")


def test_swapped_red_and_blue_are_suspected() -> None:
    coding = ColorCoding({(0, 0, 0): 0, (0, 0, 128): 1}, {0: "background", 1: "instrument"})
    with pytest.raises(CodingError, match="are red and blue swapped, in the map or in the mask"):
        coding.decode(decode_mask(with_palette(IDS, BLACK, RED)), "m.png")


def test_saved_with_loss(tmp_path: Path) -> None:
    grey = cv2.imencode(".jpg", cv2.GaussianBlur(IDS * 255, (3, 3), 0))[1].tobytes()
    with pytest.raises(CodingError, match="saved with loss"):
        label_map(BLACK_WHITE_MAP).coding.decode(decode_mask(grey), "m.jpg")


def test_a_damaged_mask_is_named(tmp_path: Path) -> None:
    content = MASKS["indices into colours"][0]
    with pytest.raises(PictureError, match=r"does not decode|is truncated"):
        decode_mask(content[: len(content) // 2])
    root = image_and_mask(tmp_path / "d", content[: len(content) // 2])
    with pytest.raises(ClipRlError, match=r"masks/a\.png is truncated"):
        open_dataset("folder", root, label_map=label_map(IDS_MAP))[0]
