from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.scene.content_area import ContentAreaConfig, ContentAreaTracker, estimate_content_area
from clip_rl_perception.scene.types import Box, ContentArea

SIZE = (720, 960)


def tissue(size: tuple[int, int] = SIZE, brightness: float = 120.0, seed: int = 0) -> ByteArray:
    """Reddish texture with soft structure and noise, uint8 RGB."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(size=(6, 8)), size[::-1], interpolation=cv2.INTER_CUBIC) * 0.25
    image = (1 + coarse)[..., None] * np.array([1.0, 0.5, 0.45]) * brightness
    return np.clip(image + rng.normal(size=(*size, 3)) * 3, 0, 255).astype(np.uint8)


def surrounded(image: ByteArray, inside: npt.NDArray[np.bool_], black: float = 2.0, seed: int = 1) -> ByteArray:
    noise = np.random.default_rng(seed).normal(size=image.shape) * 1.5
    return np.where(inside[..., None], image, np.clip(black + noise, 0, 255)).astype(np.uint8)


def disc(size: tuple[int, int], circle: tuple[float, float, float]) -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[: size[0], : size[1]]
    return np.asarray(np.hypot(x - circle[0], y - circle[1]) <= circle[2], np.bool_)


def rectangle(size: tuple[int, int], box: Box) -> npt.NDArray[np.bool_]:
    inside = np.zeros(size, bool)
    inside[box.y : box.y + box.height, box.x : box.x + box.width] = True
    return inside


def assert_box(box: Box, want: Box, within: int) -> None:
    got = np.array([box.x, box.y, box.x + box.width, box.y + box.height])
    edges = np.array([want.x, want.y, want.x + want.width, want.y + want.height])
    assert np.abs(got - edges).max() <= within, f"{box} is not {want}"


def test_a_bright_frame_is_all_content() -> None:
    area = estimate_content_area(tissue())
    assert area == ContentArea(Box(0, 0, 960, 720))


@pytest.mark.parametrize("black", [0.0, 2.0, 16.0])
@pytest.mark.parametrize(
    "box", [Box(120, 0, 720, 720), Box(0, 90, 960, 540), Box(30, 12, 900, 700), Box(6, 0, 954, 720)]
)
def test_bars_are_cut_to_the_pixel(box: Box, black: float) -> None:
    area = estimate_content_area(surrounded(tissue(), rectangle(SIZE, box), black))
    assert area is not None and area.circle is None and area.corner_radius == 0
    assert_box(area.crop, box, 1)


@pytest.mark.parametrize(
    "circle", [(480.0, 360.0, 340.0), (470.0, 372.0, 430.0), (520.0, 330.0, 300.0), (480.0, 360.0, 520.0)]
)
def test_circles_are_found(circle: tuple[float, float, float]) -> None:
    area = estimate_content_area(surrounded(tissue(), disc(SIZE, circle)))
    assert area is not None and area.circle is not None
    np.testing.assert_allclose(area.circle, circle, atol=5)
    left, right = max(0, circle[0] - circle[2]), min(959, circle[0] + circle[2])
    top, bottom = max(0, circle[1] - circle[2]), min(719, circle[1] + circle[2])
    assert_box(area.crop, Box(round(left), round(top), round(right - left) + 1, round(bottom - top) + 1), 6)


def test_circle_between_bars() -> None:
    inside = disc(SIZE, (480, 360, 350)) & rectangle(SIZE, Box(0, 80, 960, 560))
    area = estimate_content_area(surrounded(tissue(), inside))
    assert area is not None and area.circle is not None
    np.testing.assert_allclose(area.circle, (480, 360, 350), atol=5)
    assert_box(area.crop, Box(130, 80, 701, 560), 6)


def test_rounded_rectangles_are_found() -> None:
    box, radius = Box(100, 20, 760, 680), 60
    inside = np.zeros(SIZE, np.uint8)
    cv2.rectangle(inside, (box.x + radius, box.y), (box.x + box.width - 1 - radius, box.y + box.height - 1), 1, -1)
    cv2.rectangle(inside, (box.x, box.y + radius), (box.x + box.width - 1, box.y + box.height - 1 - radius), 1, -1)
    for x in (box.x + radius, box.x + box.width - 1 - radius):
        for y in (box.y + radius, box.y + box.height - 1 - radius):
            cv2.circle(inside, (x, y), radius, 1, -1)
    area = estimate_content_area(surrounded(tissue(), inside.astype(bool)))
    assert area is not None and area.circle is None
    assert_box(area.crop, box, 1)
    assert abs(area.corner_radius - radius) <= 8


def test_black_instruments_at_the_border_do_not_shrink_it() -> None:
    frame = tissue()
    cv2.fillPoly(frame, [np.array([[0, 250], [0, 690], [500, 400], [480, 330]])], (6, 6, 8))  # 60 % of the left side
    cv2.fillPoly(frame, [np.array([[960, 500], [960, 719], [500, 719], [520, 600]])], (3, 3, 3))
    area = estimate_content_area(frame)
    assert area == ContentArea(Box(0, 0, 960, 720))
    inside = disc(SIZE, (480, 360, 340))
    area = estimate_content_area(surrounded(frame, inside))
    assert area is not None and area.circle is not None
    np.testing.assert_allclose(area.circle, (480, 360, 340), atol=5)


def test_a_vignette_is_no_border() -> None:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    fade = np.clip(1.35 - np.hypot(x - 480, y - 360) / 420, 0, 1)[..., None]
    frame = (tissue() * fade).astype(np.uint8)
    area = estimate_content_area(frame)
    assert area is None or area == ContentArea(Box(0, 0, 960, 720))


def test_text_in_the_surround_is_not_content() -> None:
    frame = surrounded(tissue(), rectangle(SIZE, Box(150, 0, 660, 720)))
    cv2.putText(frame, "12:30:07", (8, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (230, 230, 230), 2)
    area = estimate_content_area(frame)
    assert area is not None
    assert_box(area.crop, Box(150, 0, 660, 720), 1)


def test_smoke_does_not_hide_the_circle() -> None:
    haze = (0.35 * tissue() + 0.65 * 170).astype(np.uint8)
    area = estimate_content_area(surrounded(haze, disc(SIZE, (480, 360, 340))))
    assert area is not None and area.circle is not None
    np.testing.assert_allclose(area.circle, (480, 360, 340), atol=5)


@pytest.mark.parametrize("frame", [np.zeros((480, 640, 3), np.uint8), tissue((480, 640), brightness=6.0)])
def test_nothing_is_said_of_dark_frames(frame: ByteArray) -> None:
    assert estimate_content_area(frame) is None


@pytest.mark.parametrize("size", [(16, 16), (40, 500), (8192, 64), (64, 8192), (1, 1)])
def test_any_size_is_taken(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(40, 200, (*size, 3)).astype(np.uint8)
    area, _ = ContentAreaTracker().update(frame)
    assert area.crop == Box(0, 0, size[1], size[0])


def test_grayscale_scopes_work_too() -> None:
    grey = np.repeat(tissue()[..., :1], 3, axis=-1)
    area = estimate_content_area(surrounded(grey, disc(SIZE, (480, 360, 340))))
    assert area is not None and area.circle is not None


def test_tracker_keeps_the_area_when_single_frames_look_odd() -> None:
    steady = surrounded(tissue(), disc(SIZE, (480, 360, 340)))
    tracker = ContentAreaTracker(ContentAreaConfig(every=1))
    areas = []
    for frame in [steady] * 4 + [tissue()] + [steady] * 2 + [np.zeros_like(steady)] * 3 + [steady]:
        area, tracker = tracker.update(frame)
        areas.append(area)
    assert len(set(areas)) == 1 and areas[0].circle is not None


def test_tracker_follows_a_lasting_change_and_ignores_jitter() -> None:
    tracker = ContentAreaTracker(ContentAreaConfig(every=1))
    rng = np.random.default_rng(0)
    for _ in range(7):
        jitter = rng.uniform(-3, 3, 2)
        frame = surrounded(tissue(), disc(SIZE, (480 + jitter[0], 360 + jitter[1], 340)))
        first, tracker = tracker.update(frame)
    same = {first}
    for _ in range(3):
        area, tracker = tracker.update(frame)
        same.add(area)
    assert len(same) == 1
    for _ in range(8):
        area, tracker = tracker.update(surrounded(tissue(), disc(SIZE, (440, 340, 300))))
    assert area.circle is not None
    np.testing.assert_allclose(area.circle, (440, 340, 300), atol=5)


def test_tracker_begins_anew_with_another_size() -> None:
    tracker = ContentAreaTracker()
    area, tracker = tracker.update(surrounded(tissue(), disc(SIZE, (480, 360, 340))))
    assert area.circle is not None
    area, tracker = tracker.update(tissue((480, 640)))
    assert area == ContentArea(Box(0, 0, 640, 480))
    assert tracker.frames == 1 and tracker.frame_size == (480, 640)


def test_tracker_estimates_now_and_then() -> None:
    """After it has settled, a change is not noticed between estimates."""
    config = ContentAreaConfig(every=10, settle=3, memory=1)
    tracker = ContentAreaTracker(config)
    whole, circle = tissue(), surrounded(tissue(), disc(SIZE, (480, 360, 340)))
    noticed = []
    for index in range(12):
        area, tracker = tracker.update(whole if index < 4 else circle)
        noticed.append(area.circle is not None)
    assert noticed.index(True) == 10


DATA = Path(os.environ.get("CLIP_RL_DATA", ""))


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("CLIP_RL_DATA"), reason="CLIP_RL_DATA is not set")
def test_real_dark_grayscale_scenes_are_shown_whole() -> None:
    """da Vinci frames without a surround, black in the corners: hardly a frame may be cut, and no stream."""
    for scene in sorted((DATA / "davinci_grayscale").iterdir()):
        tracker = ContentAreaTracker(ContentAreaConfig(every=1))
        for path in sorted((scene / "images").iterdir())[::5]:
            frame = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            area, tracker = tracker.update(np.asarray(frame, np.uint8))
            assert area.crop == Box(0, 0, frame.shape[1], frame.shape[0]), path.name


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("CLIP_RL_DATA"), reason="CLIP_RL_DATA is not set")
def test_real_laparoscope_is_a_circle() -> None:
    capture = cv2.VideoCapture(str(DATA / "video" / "laparoscopy_720p25.mp4"))
    tracker = ContentAreaTracker(ContentAreaConfig(every=5))
    areas = []
    for _ in range(60):
        read, frame = capture.read()
        assert read
        area, tracker = tracker.update(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8))
        areas.append(area)
    assert all(area.circle is not None and abs(area.circle[2] - 572) < 10 for area in areas)
    assert len(set(areas)) <= 3
