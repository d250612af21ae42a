from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.scene.content_area import estimate_content_area
from clip_rl_perception.scene.letterbox import make_letterbox, to_network
from clip_rl_perception.scene.types import Box, ContentArea, Validity
from clip_rl_perception.scene.validity import FrameAppearance, Shown, ValidityConfig, check, measure_appearance

GOOD = FrameAppearance(brightness=110, contrast=50, glare=0.01, saturation=0.4, tissue=1.0, cold=0.0, detail=20)


def measure(rgb: ByteArray, content: ContentArea | None = None) -> FrameAppearance:
    view = make_letterbox((rgb.shape[0], rgb.shape[1]), (352, 448), content)
    return measure_appearance(to_network(rgb, view), view)


def textured(color: tuple[float, float, float], size: tuple[int, int] = (352, 448), seed: int = 0) -> ByteArray:
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(size=(12, 16)), size[::-1], interpolation=cv2.INTER_CUBIC)
    light = np.clip(1 + 0.4 * coarse + 0.08 * rng.normal(size=size), 0, 2)
    return np.clip(light[..., None] * np.array(color), 0, 255).astype(np.uint8)


def judged(rgb: ByteArray, novelty: float = 0.5, truncated: bool = False) -> tuple[Validity, str]:
    return check(measure(rgb), novelty, truncated)


def test_statistics_by_hand() -> None:
    """Left half (200, 100, 50), right half (0, 60, 120): blocks larger than the small copy's pixels."""
    rgb = np.zeros((352, 448, 3), np.uint8)
    rgb[:, :224] = (200, 100, 50)
    rgb[:, 224:] = (0, 60, 120)
    found = measure(rgb)
    assert found.brightness == pytest.approx(160)
    assert found.contrast == pytest.approx(40)
    assert found.glare == 0
    assert found.saturation == pytest.approx((0.75 + 1.0) / 2)
    assert found.tissue == pytest.approx(0.5)
    assert found.cold == pytest.approx(0.5)


def test_padding_and_surround_do_not_count() -> None:
    rgb = np.zeros((300, 600, 3), np.uint8)
    rgb[:, 150:450] = (180, 90, 80)
    found = measure(rgb, ContentArea(Box(150, 0, 300, 300)))
    assert found.brightness == pytest.approx(180) and found.contrast == pytest.approx(0)
    y, x = np.mgrid[:300, :600]
    rgb[np.hypot(x - 299.5, y - 149.5) > 150] = 0
    found = measure(rgb, ContentArea(Box(150, 0, 300, 300), circle=(299.5, 149.5, 146.0)))
    assert found.brightness > 170


def test_tissue_is_ok() -> None:
    assert judged(textured((170, 80, 75))) == (Validity.OK, "")
    assert judged(textured((190, 160, 90))) == (Validity.OK, "")  # fat


def test_grey_endoscopes_are_ok() -> None:
    assert judged(textured((120, 120, 120))) == (Validity.OK, "")


@pytest.mark.parametrize("color", [(40, 110, 160), (50, 130, 100)])
def test_drapes_are_outside_the_body(color: tuple[float, float, float]) -> None:
    validity, reason = judged(textured(color))
    assert validity == Validity.OUT_OF_BODY and "blue or green" in reason
    off = check(measure(textured(color)), 0.5, False, ValidityConfig(body_check=False))
    assert off == (Validity.OK, "")


def test_a_green_instrument_over_tissue_is_inside_the_body() -> None:
    rgb = textured((170, 80, 75))
    rgb[100:250, :350] = (40, 180, 140)
    assert judged(rgb)[0] == Validity.OK


def test_novelty() -> None:
    rgb = textured((170, 80, 75))
    assert judged(rgb, novelty=1.0)[0] == Validity.OK
    assert judged(rgb, novelty=math.nan)[0] == Validity.OK
    validity, reason = judged(rgb, novelty=1.37)
    assert validity == Validity.OUT_OF_DISTRIBUTION and "1.37" in reason
    off = check(measure(rgb), 2.0, False, ValidityConfig(novelty_limit=math.inf))
    assert off == (Validity.OK, "")


@pytest.mark.parametrize(
    ("rgb", "word"),
    [
        ((textured((170, 80, 75)) * 0.03).astype(np.uint8), "dark"),
        (np.full((352, 448, 3), 255, np.uint8), "overexposed"),
        ((textured((170, 80, 75)) * 0.04 + 170).astype(np.uint8), "low contrast"),
        (cv2.GaussianBlur(textured((170, 80, 75)), (0, 0), 12), "blurred"),
    ],
)
def test_bad_pictures_are_degraded(rgb: ByteArray, word: str) -> None:
    validity, reason = judged(rgb)
    assert validity == Validity.DEGRADED
    assert word in reason and "expected" in reason and "\n" not in reason


def test_looks_left_out_are_degraded() -> None:
    assert check(GOOD, 0.2, True) == (
        Validity.DEGRADED,
        "looks left out: they did not fit the latency budget",
    )


def test_the_gravest_finding_decides_and_all_are_told() -> None:
    outside = dataclasses.replace(GOOD, tissue=0.0, cold=0.9, brightness=5)
    validity, reason = check(outside, 3.0, True)
    assert validity == Validity.OUT_OF_BODY
    parts = reason.split("; ")
    assert [word in part for word, part in zip(("blue", "novelty", "left out", "dark"), parts, strict=True)] == [
        True
    ] * 4


@pytest.mark.parametrize(
    ("shown", "validity", "said"),
    [
        (Shown(0.5, 0.3, 0.2), Validity.OK, ""),
        (Shown(0.03, 0.9, 0.07), Validity.OUT_OF_BODY, "like a view outside the body"),
        (Shown(0.03, 0.07, 0.9), Validity.OUT_OF_DISTRIBUTION, "unlike an endoscope's picture"),
    ],
)
def test_what_a_frame_shows(shown: Shown, validity: Validity, said: str) -> None:
    found, reason = check(GOOD, 0.2, False, shown=shown)
    assert found == validity and reason.startswith(said)
    if said:
        assert reason.endswith("probability of surgery 0.03, expected at least 0.50") and "\n" not in reason
    assert check(GOOD, 0.2, False, ValidityConfig(surgery_limit=0.0), shown=shown) == (Validity.OK, "")


def test_colours_do_not_overrule_a_classifier() -> None:
    """Violet and green tissue is tissue: without a classifier its colour is all that is known."""
    violet = dataclasses.replace(GOOD, tissue=0.0, cold=0.9)
    assert check(violet, 0.2, False, shown=Shown(0.9, 0.1, 0.0)) == (Validity.OK, "")
    assert check(violet, 0.2, False)[0] == Validity.OUT_OF_BODY
    _, reason = check(violet, 0.2, False, shown=Shown(0.1, 0.9, 0.0))
    assert reason.startswith("like a view outside the body") and "blue or green" not in reason


def test_without_the_body_check_a_room_is_out_of_distribution() -> None:
    config = ValidityConfig(body_check=False)
    assert check(GOOD, 0.2, False, config, shown=Shown(0.1, 0.9, 0.0))[0] == Validity.OUT_OF_DISTRIBUTION


def test_a_room_is_graver_than_novelty_and_both_are_told() -> None:
    dark = dataclasses.replace(GOOD, brightness=5)
    validity, reason = check(dark, 3.0, False, shown=Shown(0.1, 0.9, 0.0))
    assert validity == Validity.OUT_OF_BODY
    assert [part.split(" ")[0] for part in reason.split("; ")] == ["like", "unlike", "too"]


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (16, 3000), (3000, 16)])
def test_any_size_is_measured(size: tuple[int, int]) -> None:
    found = measure(np.full((*size, 3), 90, np.uint8))
    assert found.brightness == pytest.approx(90)
    assert all(math.isfinite(value) for value in dataclasses.astuple(found))


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("CLIP_RL_DATA"), reason="CLIP_RL_DATA is not set")
def test_real_frames_are_ok() -> None:
    data = Path(os.environ["CLIP_RL_DATA"])
    paths = sorted((data / "endovis2018_type" / "images").iterdir())
    paths += [
        path
        for scene in sorted((data / "davinci_grayscale").iterdir())
        for path in sorted(scene.glob("images/*"))[::40]
    ]
    for path in paths:
        rgb = np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)
        found = check(measure(rgb, estimate_content_area(rgb)), math.nan, False)
        assert found == (Validity.OK, ""), path.name
