"""Tips of tracks: what is sure is taken as it is, what is guessed does not jump."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.scene.steady_tips import RememberedTip, SteadyConfig, steady_tips
from clip_rl_perception.scene.tracks import TrackConfig, TrackMemory, track_instruments
from clip_rl_perception.scene.types import Box, Instrument, Keypoint

VIEW = make_letterbox((640, 640), (64, 64))
STEP_NS = 40_000_000


def seen(*tips: tuple[float, float, float]) -> Instrument:
    """An instrument with an entry and tips of (x, y, confidence)."""
    points = [Keypoint("entry", 0.0, 320.0, 0.9, True)]
    points += [Keypoint(f"tip_{place}", x, y, sure, True) for place, (x, y, sure) in enumerate(tips, start=1)]
    footprint = np.zeros((16, 16), np.uint8)
    footprint[6:10, :8] = 1
    box = Box(0, 240, 320, 160)
    return Instrument(1, 0.9, box, (320, 320), (1, 0), 5e4, True, keypoints=tuple(points), footprint=footprint)


def followed(*frames: Instrument, config: TrackConfig | None = None) -> list[list[tuple[float, float]]]:
    """Tips of the one track, frame by frame."""
    memory, found = TrackMemory(), []
    for place, frame in enumerate(frames):
        [tag], memory = track_instruments((frame,), place * STEP_NS, VIEW, memory, config)
        assert tag.track_id == 1 and tag.tip == frame.tip and tag.keypoints[0] == frame.keypoints[0]
        found.append([(point.x, point.y) for point in tag.keypoints[1:]])
    return found


def test_a_mean_by_hand() -> None:
    before = (RememberedTip(100.0, 50.0, 0.06), RememberedTip(300.0, 50.0, 0.5))
    config = SteadyConfig(half_life_s=0.1, most_before=0.1)
    tag, tips = steady_tips(seen((104.0, 50.0, 0.3), (290.0, 60.0, 0.9)), before, 0.1, config)
    # 0.03 is left of the first one's weight, of the second one's 0.25 but 0.1 counts.
    assert tag.keypoints[1].x == pytest.approx((0.03 * 100 + 0.09 * 104) / 0.12)
    assert tag.keypoints[2].x == pytest.approx((0.1 * 300 + 0.81 * 290) / 0.91)
    assert [tip.weight for tip in tips] == pytest.approx([0.12, 0.91])
    assert [point.confidence for point in tag.keypoints] == [0.9, 0.3, 0.9]


def test_a_sure_tip_is_followed_at_once_and_a_guess_does_not_jump() -> None:
    sure = [seen((300.0 + 20 * step, 320.0, 0.95)) for step in range(6)]
    for step, [(x, _)] in enumerate(followed(*sure)):
        assert abs(x - (300 + 20 * step)) < 2.5
    *_, [(x, y)] = followed(*sure, seen((200.0, 500.0, 0.1)))
    assert np.hypot(x - 400, y - 320) < 30
    *_, [(x, y)] = followed(*sure, *[seen((200.0, 500.0, 0.1))] * 25)  # a second later it is believed
    assert np.hypot(x - 200, y - 500) < 30


def test_jaws_do_not_change_places() -> None:
    one, two = (300.0, 300.0, 0.5), (300.0, 340.0, 0.6)
    *_, tips = followed(seen(one, two), seen(two, one), seen(one, two))
    assert tips == [pytest.approx((300.0, 300.0)), pytest.approx((300.0, 340.0))]


def test_nothing_of_before_counts_where_that_is_asked() -> None:
    frames = [seen((300.0, 320.0, 0.9)), seen((200.0, 500.0, 0.1))]
    config = TrackConfig(tips=SteadyConfig(most_before=0.0))
    assert followed(*frames, config=config)[-1] == [(200.0, 500.0)]


def test_what_has_no_keypoints_gets_none() -> None:
    tag, tips = steady_tips(seen(), (RememberedTip(1.0, 2.0, 3.0),), 0.04, SteadyConfig())
    assert len(tag.keypoints) == 1 and tips == ()
