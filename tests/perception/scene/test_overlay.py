from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.scene.overlay import draw_banner, draw_overlay, spoken
from clip_rl_perception.scene.types import Basis, Box, Instrument, Keypoint, Scene, Validity

SPACE = label_space_from_names(["background", "forceps", "scissors"])


def instrument(**changes: object) -> Instrument:
    values: dict[str, object] = {
        "class_id": 1,
        "confidence": 0.93,
        "box": Box(200, 300, 400, 200),
        "tip": (599.5, 400.0),
        "axis": (1.0, 0.0),
        "area": 50000.0,
        "touches_border": True,
        "track_id": 7,
    }
    return Instrument(**{**values, **changes})  # type: ignore[arg-type]


def scene(labels: ByteArray, tags: tuple[Instrument, ...], validity: Validity, reason: str = "") -> Scene:
    return Scene(
        label_map=labels,
        confidence=None,
        instruments=tags,
        validity=validity,
        reason=reason,
        novelty=float("nan"),
        view=make_letterbox(labels.shape, (352, 448)),
        refined=np.zeros((3, 88, 112), np.float32),
        stage_ms={},
        basis=Basis(("plain",)),
        disagreement=np.zeros((88, 112), np.float32),
    )


def test_classes_are_tinted_and_the_rest_keeps_its_look() -> None:
    rgb = np.full((200, 300, 3), 100, np.uint8)
    labels = np.zeros((200, 300), np.uint8)
    labels[50:150, 50:150] = 1
    labels[:, 250:] = 255
    before = rgb.copy()
    picture = draw_overlay(rgb, labels, SPACE, opacity=0.5)
    np.testing.assert_array_equal(rgb, before)
    color = np.array(SPACE.classes[1].color)
    np.testing.assert_allclose(picture[100, 100], (100 + color) / 2, atol=1)
    np.testing.assert_array_equal(picture[50, 100], color)  # the outline
    assert (picture[:45] == 100).all() and (picture[:, 160:] == 100).all()


def test_no_opacity_leaves_only_outlines() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[20:80, 20:80] = 2
    picture = draw_overlay(np.full((100, 100, 3), 50, np.uint8), labels, SPACE, opacity=0.0)
    changed = (picture != 50).any(axis=-1)
    assert changed.any() and not changed[25:75, 25:75].any()


def test_tag_marks_its_tip_box_and_name() -> None:
    rgb = np.zeros((1024, 1280, 3), np.uint8)
    labels = np.zeros((1024, 1280), np.uint8)
    picture = draw_overlay(rgb, labels, SPACE, [instrument()])
    assert picture[300, 400].any() and picture[499, 400].any()  # box
    assert picture[400, 595:605].any() and picture[400, 500].any()  # tip and axis
    assert picture[270:300, 200:400].any()  # name above the box
    assert not picture[600:].any()


def test_keypoints_in_sight_are_dots() -> None:
    rgb = np.zeros((1024, 1280, 3), np.uint8)
    points = (Keypoint("entry", 100.0, 800.0, 0.9, False), Keypoint("wrist", 700.4, 800.0, 0.9, True))
    picture = draw_overlay(rgb, rgb[..., 0], SPACE, [instrument(keypoints=points)])
    assert tuple(picture[800, 700]) == SPACE.classes[1].color and not picture[750:850, :300].any()


def test_what_is_not_confirmed_looks_less_sure() -> None:
    rgb = np.zeros((1024, 1280, 3), np.uint8)
    sure, perhaps = (draw_overlay(rgb, rgb[..., 0], SPACE, [instrument(confirmed=said)]) for said in (True, False))
    assert (sure[400, 480:560] == 255).all() and (perhaps[400, 480:560] == SPACE.classes[1].color).all()


def test_what_is_said_of_an_instrument() -> None:
    assert spoken(instrument(), "forceps") == "#7 forceps 93%"
    assert spoken(instrument(track_id=0, type_name="hook", type_probability=0.5), "forceps", " %") == "hook 50 %"


def test_names_do_not_cover_each_other() -> None:
    rgb = np.zeros((1024, 1280, 3), np.uint8)
    tags = [instrument(track_id=1), instrument(track_id=2), instrument(track_id=3)]
    one = draw_overlay(rgb, rgb[..., 0], SPACE, tags[:1])
    three = draw_overlay(rgb, rgb[..., 0], SPACE, tags)
    plate = (16, 16, 16)
    assert (three == plate).all(-1).sum() > 2.5 * (one == plate).all(-1).sum() - 4000


def test_banner_says_why() -> None:
    labels = np.zeros((512, 640), np.uint8)
    rgb = np.zeros((512, 640, 3), np.uint8)
    fine = draw_overlay(rgb, scene(labels, (), Validity.OK), SPACE)
    assert not fine.any()
    bad = draw_overlay(rgb, scene(labels, (), Validity.OUT_OF_BODY, "few tissue colours " * 20), SPACE)
    assert bad[2, 2].tolist() == [160, 20, 20] and (bad[:40] > 200).all(-1).any()
    assert not bad[60:].any()
    plain = np.zeros((512, 640, 3), np.uint8)
    draw_banner(plain, Validity.DEGRADED, "")
    assert plain.any()


def test_a_name_at_the_top_stays_below_the_banner() -> None:
    labels, rgb = np.zeros((1024, 1280), np.uint8), np.zeros((1024, 1280, 3), np.uint8)
    tag = instrument(box=Box(100, 0, 300, 200), tip=(250.0, 199.0))
    picture = draw_overlay(rgb, scene(labels, (tag,), Validity.DEGRADED, "dark"), SPACE)
    banner = draw_banner(rgb.copy(), Validity.DEGRADED, "dark")
    np.testing.assert_array_equal(picture[0, :, 0], 150)  # the whole banner
    assert (picture[banner : banner + 10, 110:200] == 16).all(-1).any()  # the name's plate


@pytest.mark.parametrize("size", [(16, 16), (16, 800), (800, 16), (1, 1)])
def test_any_size_can_be_drawn(size: tuple[int, int]) -> None:
    rgb, labels = np.zeros((*size, 3), np.uint8), np.ones(size, np.uint8)
    tag = instrument(box=Box(0, 0, size[1], size[0]), tip=(size[1] - 1.0, 0.0), class_id=99)
    picture = draw_overlay(rgb, scene(labels, (tag,), Validity.DEGRADED, "dark"), SPACE)
    assert picture.shape == rgb.shape and picture.any()


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="sizes must agree"):
        draw_overlay(np.zeros((10, 10, 3), np.uint8), np.zeros((5, 5), np.uint8), SPACE)
