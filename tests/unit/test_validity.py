from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.scene.validity import FrameLook, ValidityConfig, judge, measure_look
from clip_rl_perception.scene.view import PAD_RGB, make_view, to_network

GOOD = FrameLook(luminance=120, deviation=50, sharpness=20, bright_share=0.01, saturation=0.4, warm_share=0.9)


@pytest.mark.parametrize(
    ("change", "validity", "word"),
    [
        ({}, Validity.OK, ""),
        ({"luminance": 24.0}, Validity.DEGRADED, "dark"),
        ({"bright_share": 0.51}, Validity.DEGRADED, "overexposed"),
        ({"deviation": 7.0}, Validity.DEGRADED, "no contrast"),
        ({"sharpness": 2.0}, Validity.DEGRADED, "blurred"),
        ({"warm_share": 0.05}, Validity.OUT_OF_BODY, "no tissue colours"),
        ({"warm_share": 0.0, "saturation": 0.01}, Validity.OK, ""),  # a gray endoscope shows no colour at all
    ],
)
def test_each_limit(change: dict[str, float], validity: Validity, word: str) -> None:
    found, reason = judge(dataclasses.replace(GOOD, **change), math.nan, False)
    assert found == validity
    assert word in reason
    assert (reason == "") == (validity is Validity.OK)


def test_novelty_counts_above_its_limit_and_never_when_unknown() -> None:
    assert judge(GOOD, 1.0, False)[0] is Validity.OK
    validity, reason = judge(GOOD, 1.25, False)
    assert validity is Validity.OUT_OF_DISTRIBUTION
    assert "1.25" in reason
    assert judge(GOOD, math.nan, False)[0] is Validity.OK
    assert judge(GOOD, 50.0, False, ValidityConfig(novelty_limit=math.inf))[0] is Validity.OK


def test_the_gravest_reason_wins_and_all_degradations_are_named() -> None:
    cold_and_novel = dataclasses.replace(GOOD, warm_share=0.0)
    assert judge(cold_and_novel, 3.0, True)[0] is Validity.OUT_OF_BODY
    validity, reason = judge(dataclasses.replace(GOOD, luminance=10.0, sharpness=1.0), 0.5, True)
    assert validity is Validity.DEGRADED
    assert "dark" in reason
    assert "blurred" in reason
    assert "latency budget" in reason


def test_look_of_a_known_image_leaves_padding_out() -> None:
    frame = np.zeros((100, 200, 3), np.uint8)
    frame[:, :100] = (200, 100, 100)  # warm, luminance 129.9, saturation 0.5
    frame[:, 100:] = (100, 200, 100)  # cold, luminance 158.7, saturation 0.5
    view = make_view((100, 200), (200, 200))
    network = to_network(frame, view)
    assert tuple(network[0, 0]) == PAD_RGB
    look = measure_look(network, view)
    assert look.luminance == pytest.approx((130 + 159) / 2, abs=0.5)
    assert look.deviation == pytest.approx((159 - 130) / 2, abs=0.5)
    assert look.saturation == pytest.approx(0.5, abs=0.01)
    assert look.warm_share == pytest.approx(0.5, abs=0.02)
    assert look.bright_share == 0.0


def test_blur_lowers_sharpness_below_the_limit() -> None:
    noise = np.random.default_rng(0).integers(60, 200, (128, 160, 3), dtype=np.uint8)
    view = make_view((128, 160), (128, 160))
    assert measure_look(noise, view).sharpness > 10
    blurred = np.asarray(cv2.GaussianBlur(noise, (0, 0), 12), np.uint8)
    assert measure_look(blurred, view).sharpness < ValidityConfig().blurred_sharpness


def test_a_black_frame_is_degraded_not_an_error() -> None:
    view = make_view((64, 64), (64, 64))
    look = measure_look(np.zeros((64, 64, 3), np.uint8), view)
    assert judge(look, math.nan, False)[0] is Validity.DEGRADED
