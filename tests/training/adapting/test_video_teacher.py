"""Four mirror images, and evidence both ways in time."""

from __future__ import annotations

import dataclasses

import numpy as np
from clip_rl_perception.looks.evidence import EvidenceConfig
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.scene.types import Validity
from clip_rl_training.adapting.video_teacher import SeenFrame, evidence_of

VIEW = make_letterbox((128, 160), (128, 160))
STEP_NS = 40_000_000


def seen(index: int, instrument: float, *, picture_seed: int = 0) -> SeenFrame:
    """A frame whose four looks all give `instrument` as its probability, everywhere."""
    probabilities = np.array([1 - instrument, instrument])[:, None, None]
    looks = np.broadcast_to(np.log(probabilities), (4, 2, 32, 40)).astype(np.float16)
    picture = np.random.default_rng(picture_seed).integers(0, 255, (64, 80, 3), dtype=np.uint8)
    return SeenFrame(VIEW, picture, looks, index * STEP_NS, Validity.OK, "")


def instrument(frames: list[SeenFrame], index: int) -> float:
    return float(evidence_of(frames, EvidenceConfig())[index].belief[1].mean())


def test_a_frame_learns_from_those_before_and_after_it() -> None:
    frames = [seen(0, 0.9), seen(1, 0.5), seen(2, 0.9)]
    alone = instrument([frames[1]], 0)
    after_one = instrument(frames[:2], 1)
    between = instrument(frames, 1)
    assert abs(alone - 0.5) < 1e-3
    assert alone + 0.1 < after_one
    assert after_one + 0.02 < between < 0.9


def test_time_has_no_direction() -> None:
    frames = [seen(0, 0.9), seen(1, 0.5), seen(2, 0.2)]
    mirrored = [dataclasses.replace(frame, stamp_ns=(2 - index) * STEP_NS) for index, frame in enumerate(frames)][::-1]
    forth, back = evidence_of(frames, EvidenceConfig()), evidence_of(mirrored, EvidenceConfig())
    for one, other in zip(forth, back[::-1], strict=True):
        np.testing.assert_allclose(one.belief, other.belief, atol=1e-5)
        np.testing.assert_allclose(one.weight, other.weight, atol=1e-4)


def test_another_scene_another_view_and_long_ago_do_not_count() -> None:
    plain = seen(1, 0.5)
    other_scene = seen(0, 0.9, picture_seed=1)
    other_view = dataclasses.replace(seen(0, 0.9), view=make_letterbox((128, 150), (128, 160)))
    long_ago = dataclasses.replace(seen(0, 0.9), stamp_ns=-2_000_000_000)
    for before in (other_scene, other_view, long_ago):
        assert abs(instrument([before, plain], 1) - 0.5) < 1e-3


def test_looks_that_disagree_are_told() -> None:
    frame = seen(0, 0.99)
    looks = frame.looked.copy()
    looks[1] = looks[1, ::-1]
    [evidence] = evidence_of([dataclasses.replace(frame, looked=looks)], EvidenceConfig())
    assert evidence.disagreement.min() > 0.3
    [agreed] = evidence_of([frame], EvidenceConfig())
    assert agreed.disagreement.max() < 1e-3


def test_out_of_body_is_not_used_and_blurred_is() -> None:
    frame = seen(0, 0.5)
    usable = {each: dataclasses.replace(frame, validity=each).usable for each in Validity}
    assert [each.name for each, good in usable.items() if not good and "OUT" in each.name] == [
        "OUT_OF_BODY",
        "OUT_OF_DISTRIBUTION",
    ]
    assert usable[Validity.OK] and usable[Validity.DEGRADED]
